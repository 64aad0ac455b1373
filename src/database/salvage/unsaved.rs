//! What the databases of sessions, and autosaves, hold that was not saved.
//!
//! Each is compared with the saved states, the current one first, until one is found that has all of it; what the
//! nearest has not is unsaved work. Counts are not enough: values, notes and deletions are work too.
//!
//! A database that was begun from an older state would take back what was saved since. It goes on from the state to which
//! it is nearest; where two that differ are as near, nobody can tell from which it was begun.
//!
//! Limit: of a damaged database only what it has is believed, since what it lacks may be lost and not removed.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::candidate::{Judged, Role};
use super::disk;
use crate::database::{self, Beyond, Database, SampleChange};
use crate::error::Result;
use crate::store::path_text;

/// Saved states that one database is compared with.
const COMPARED: usize = 5;
/// Databases that are compared.
const LOOKED_INTO: usize = 20;

/// What is in a database and in no saved state.
#[derive(Debug, Clone, Serialize)]
pub struct Unsaved {
    /// The saved state that it is nearest to.
    #[serde(serialize_with = "path_text::one")]
    pub compared_with: PathBuf,
    /// Another saved state that is as near, and is not the same.
    #[serde(serialize_with = "path_text::maybe")]
    pub as_near: Option<PathBuf>,
    /// In words; why it cannot be told, where it cannot.
    pub words: String,
    /// What it is; none where it cannot be told.
    pub beyond: Option<Beyond>,
    /// Whether the database is damaged, so that this is not all of it.
    pub in_part: bool,
    /// Whether it has anything that the saved state has not, and does not only lack something.
    #[serde(skip)]
    has_more: bool,
}

impl Unsaved {
    /// Whether there is anything of the kind, or may be.
    pub fn is_some(&self) -> bool {
        match &self.beyond {
            None => true,
            Some(_) if self.in_part => self.has_more,
            Some(beyond) => !beyond.is_empty(),
        }
    }

    /// Whether it was begun from `saved`, as far as anybody can tell.
    pub fn is_of(&self, saved: &Judged) -> bool {
        self.compared_with == saved.path && self.as_near.is_none()
    }

    /// Whether it is `saved` with more work done, and takes no sample and no row of a trace away.
    pub fn goes_on_from(&self, saved: &Judged) -> bool {
        let takes = |change: &SampleChange| change.trace_rows.after < change.trace_rows.before;
        let beyond = self.beyond.as_ref().filter(|beyond| !beyond.is_empty());
        let is_known = self.is_of(saved) || self.compared_with == saved.path && self.only_adds();
        is_known && beyond.is_some_and(|beyond| beyond.removed.is_empty() && !beyond.edited.iter().any(takes))
    }

    /// Whether all that was saved is there as it was, so that it takes nothing back, whenever it was begun.
    pub fn only_adds(&self) -> bool {
        let adds = |change: &SampleChange| {
            let SampleChange { fields, trace_differs, events, .. } = change;
            fields.is_empty() && !trace_differs && events.edited == 0 && events.removed == 0
        };
        self.beyond.as_ref().is_some_and(|beyond| {
            let Beyond { removed, meta, tables, edited, .. } = beyond;
            removed.is_empty() && meta.is_empty() && tables.is_empty() && edited.iter().all(adds)
        })
    }
}

/// Whether what can be had of a damaged database is more than what a sound one has. If nobody can tell, it is.
pub fn has_more(damaged: &Judged, sound: &Judged) -> bool {
    let compared = || database::has_more(&damaged.database()?, &sound.database()?);
    compared().unwrap_or(true)
}

/// Compares the databases of sessions with what was saved. It fails where there is no room for those that are damaged.
pub fn compare(all: &mut [Judged]) -> Result<()> {
    let of_session = |j: &Judged| j.is_of_session() && j.is_of_use();
    let which: Vec<usize> = (0..all.len()).filter(|i| of_session(&all[*i])).take(LOOKED_INTO).collect();
    if which.is_empty() {
        return Ok(());
    }
    let is_saved = |j: &&Judged| match j.role {
        Role::Current => j.is_of_use(),
        Role::Snapshot => j.sound,
        _ => false,
    };
    let mut saved: Vec<&Judged> = all.iter().filter(is_saved).collect();
    saved.sort_by_key(|j| (j.role != Role::Current, std::cmp::Reverse(j.snapshot)));
    saved.truncate(COMPARED);
    let found = which.iter().map(|i| nearest(&all[*i], &saved)).collect::<Result<Vec<_>>>()?;
    for (i, unsaved) in which.into_iter().zip(found) {
        all[i].unsaved = unsaved;
    }
    Ok(())
}

fn nearest(staged: &Judged, saved: &[&Judged]) -> Result<Option<Unsaved>> {
    let in_part = !staged.sound;
    let Some(first) = saved.first() else { return Ok(None) };
    let cannot = |why: crate::error::Error| Unsaved {
        compared_with: first.path.clone(),
        as_near: None,
        words: format!("what it holds that was not saved cannot be told: {why}"),
        beyond: None,
        in_part,
        has_more: true,
    };
    let database = match staged.database() {
        Ok(opened) => opened,
        Err(why) if disk::is(&why) => return Err(why),
        Err(why) => return Ok(Some(cannot(why))),
    };
    let mut found: Vec<(&Judged, Beyond, bool)> = Vec::new();
    let mut failed = None;
    for other in saved {
        match beyond(&database, other, in_part) {
            Err(why) if disk::is(&why) => return Err(why),
            Err(why) => failed = Some(cannot(why)),
            Ok((beyond, has_more)) => {
                found.push((*other, beyond, has_more));
                if !has_more {
                    found.drain(..found.len() - 1);
                    break;
                }
            }
        }
    }
    let Some(at) = (0..found.len()).min_by_key(|at| found[*at].1.distance()) else { return Ok(failed) };
    let (state, least) = (found[at].0, found[at].1.distance());
    let as_near = found.iter().enumerate().find_map(|(i, (other, beyond, _))| {
        let is_other = i != at && beyond.distance() == least && !holds_the_same(other, state);
        is_other.then(|| other.path.clone())
    });
    let (_, beyond, has_more) = found.swap_remove(at);
    Ok(Some(Unsaved {
        compared_with: state.path.clone(),
        as_near,
        words: beyond.words(),
        beyond: Some(beyond),
        in_part,
        has_more,
    }))
}

/// Whether two saved states have the same work in them, as far as can be told.
fn holds_the_same(one: &Judged, other: &Judged) -> bool {
    let compared = || Beyond::of(&one.database()?, Some(&other.database()?));
    compared().is_ok_and(|beyond| beyond.is_empty())
}

/// What a database holds beyond a saved state, and whether it has anything that this has not.
fn beyond(database: &Arc<Database>, saved: &Judged, in_part: bool) -> Result<(Beyond, bool)> {
    let saved = saved.database()?;
    let beyond = Beyond::of(database, Some(&saved))?;
    let has_more = if in_part { database::has_more(database, &saved)? } else { !beyond.is_empty() };
    Ok((beyond, has_more))
}
