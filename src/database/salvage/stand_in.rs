//! What a damaged project still holds that a sound file has not, so that this is no substitute for it.
//!
//! Counts are not enough: labels, notes and results are work too, and as many samples may be others.
//!
//! Limit: of what is damaged only what it has is believed, since what it lacks may be lost and not removed.

use std::sync::Arc;

use super::candidate::{Judged, Role};
use super::disk;
use crate::database::{self, Beyond, Database};
use crate::error::Result;

/// Files that a project is compared with. What is older than those lacks no less.
const COMPARED: usize = 5;

/// What is said where nobody has looked.
const UNKNOWN: &str = "what it holds beyond cannot be told";

/// Compares the project, if it is damaged, with the sound files that hold nearly as much: each is told what it lacks.
pub fn compare(all: &mut [Judged]) -> Result<()> {
    let is_main = |j: &&Judged| j.role == Role::Current && !j.sound && j.has_work();
    let Some(main) = all.iter().find(is_main) else { return Ok(()) };
    let Some(held) = &main.holds else { return Ok(()) };
    let is_near = |j: &Judged| {
        (j.is_sound_and_own() || j.lacks_its_log_alone())
            && j.has_work()
            && j.holds.as_ref().is_some_and(|h| h.is_nearly(held))
    };
    // Snapshots come newest first, and so do backups.
    let which: Vec<usize> = (0..all.len()).filter(|i| is_near(&all[*i])).collect();
    if which.is_empty() {
        return Ok(());
    }
    let database = match main.database() {
        Err(why) if disk::is(&why) => return Err(why),
        other => other.ok(),
    };
    let lacks = |(n, i): (usize, &usize)| match &database {
        Some(database) if n < COMPARED => {
            let lacks = all[*i].database().and_then(|other| beyond(database, &other));
            let counted = || Some(main.beyond(&all[*i]).join(", ")).filter(|words| !words.is_empty());
            lacks.map_or_else(|_| Some(UNKNOWN.into()), |lacks| lacks.or_else(counted))
        }
        _ => Some(UNKNOWN.into()),
    };
    let found: Vec<Option<String>> = which.iter().enumerate().map(lacks).collect();
    for (i, lacks) in which.into_iter().zip(found) {
        all[i].lacks = lacks;
    }
    Ok(())
}

/// What a damaged database has that another has not, in words; `None` if there is nothing that could be named.
fn beyond(damaged: &Arc<Database>, other: &Arc<Database>) -> Result<Option<String>> {
    if !database::has_more(damaged, other)? {
        return Ok(None);
    }
    let (mut beyond, meta) = (Beyond::of(damaged, Some(other))?, damaged.meta()?);
    beyond.meta.retain(|key| meta.contains_key(key));
    let words = beyond.words_of_changes();
    Ok(Some(words).filter(|words| !words.is_empty()))
}
