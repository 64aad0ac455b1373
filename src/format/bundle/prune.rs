//! Removes old snapshots.
//!
//! What stays, whatever is asked for: the current snapshot, the newest one of each of the last 30 days, one that any
//! program has open, one that any HEAD names, and everything that is not valid or is a sync tool's copy, for it may hold
//! what no other has. What processes of other users have open cannot be seen by everybody, and then that is told.
//! Nothing is removed while the application is at work in the bundle; its locks are held meanwhile.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::Bundle;
use super::choose::Snapshot;
use crate::error::{Error, Result};
use crate::format::history::{Pruned, Spared};
use crate::tree::Time;
use crate::{signs, store};

/// One snapshot of each day is kept for so long.
const DAYS: i64 = 30;

/// Removes old snapshots, or says which would go.
pub fn prune(bundle: &Bundle, keep: usize, dry_run: bool) -> Result<Pruned> {
    if keep == 0 {
        return Err(Error::Usage("--keep: at least one snapshot has to stay".into()));
    }
    if !bundle.source.is_folder() {
        let why = "snapshots inside a file are not removed: that would be to write the file anew; those of a bundle are";
        return Err(Error::Refused(format!("{}: {why}", bundle.source.path().display())));
    }
    let current = bundle.chosen()?;
    signs::refuse_while_live(bundle.source.location())?;
    let mut pruned = Pruned::default();
    let mut spare = |snapshot: &Snapshot, because: &str| {
        pruned.spared.push(Spared { name: snapshot.name(), because: because.to_string() });
    };
    let (mut newest, mut old) = (0, Vec::new());
    let now = Time::from(SystemTime::now());
    let mut days = BTreeSet::new();
    let all: Vec<&Snapshot> = bundle.candidates.every_one().collect();
    for snapshot in all.iter().rev() {
        let day = snapshot.time().seconds.div_euclid(86_400);
        if snapshot.copy {
            spare(snapshot, "a sync tool's copy may hold what no other has");
        } else if let Err(why) = bundle.stock.check(snapshot) {
            if let Error::SourceChanged(_) = why {
                return Err(why);
            }
            spare(snapshot, "it is not valid, and may hold what no other has");
        } else if newest < keep {
            newest += 1;
            days.insert(day);
        } else if snapshot.file.path == current.file.path {
            spare(snapshot, "it is the current one");
        } else if snapshot.number.is_some_and(|number| bundle.candidates.is_named(number)) {
            spare(snapshot, "a HEAD names it");
        } else if days.insert(day) && day + DAYS > now.seconds.div_euclid(86_400) {
            spare(snapshot, "it is the newest of its day");
        } else {
            old.push(*snapshot);
        }
    }
    let _held = match dry_run || old.is_empty() {
        true => None,
        false => Some(signs::hold(bundle.source.location())?),
    };
    let folder = bundle.source.location().folder()?.sub(b"snapshots")?;
    for snapshot in old.into_iter().rev() {
        let name = snapshot.name();
        let stamp = snapshot.file.stamp().ok_or_else(|| Error::NotFound(name.clone()))?;
        let seen = store::look_for_users(name.as_ref(), stamp.file);
        pruned.unseen_processes = pruned.unseen_processes.max(seen.hidden);
        if seen.open {
            spare(snapshot, "a program has it open");
            continue;
        }
        if !dry_run {
            folder.remove(name.as_bytes(), stamp)?;
        }
        pruned.removed.extend(snapshot.number);
        pruned.bytes += snapshot.file.size;
    }
    if !dry_run && !pruned.removed.is_empty() {
        folder.sync()?;
    }
    pruned.kept = all.len() - pruned.removed.len();
    Ok(pruned)
}
