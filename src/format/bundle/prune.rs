//! Removes old snapshots.
//!
//! What stays, whatever is asked for: the current snapshot, the newest one of each of the last 30 days, one that any
//! program has open, and everything that is not valid or is a sync tool's copy, for it may hold what no other has.
//! Nothing is removed while the application is at work in the bundle.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Bundle;
use super::choose::Snapshot;
use crate::error::{Error, Result};
use crate::format::history::{Pruned, Spared};
use crate::store;
use crate::tree::Time;

/// One snapshot of each day is kept for so long.
const DAYS: i64 = 30;
/// The application takes a lock for abandoned when nobody has touched it for this long.
const STALE: Duration = Duration::from_secs(3600);

/// Removes old snapshots, or says which would go.
pub fn prune(bundle: &Bundle, keep: usize, dry_run: bool) -> Result<Pruned> {
    if keep == 0 {
        return Err(Error::Usage("--keep: at least one snapshot has to stay".into()));
    }
    if !bundle.source.is_folder() {
        let why =
            "snapshots inside a file are not removed by this version; a bundle's are (`vaso export`, later)";
        return Err(Error::Refused(format!("{}: {why}", bundle.source.path().display())));
    }
    let current = bundle.chosen()?;
    refuse_while_locked(bundle)?;
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
        } else if days.insert(day) && day + DAYS > now.seconds.div_euclid(86_400) {
            spare(snapshot, "it is the newest of its day");
        } else {
            old.push(*snapshot);
        }
    }
    let folder = bundle.source.location().folder()?.sub(b"snapshots")?;
    for snapshot in old.into_iter().rev() {
        let name = snapshot.name();
        let stamp = snapshot.file.stamp().ok_or_else(|| Error::NotFound(name.clone()))?;
        if store::is_open_somewhere(stamp.file) {
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

/// Two kinds of locks: one in the bundle, whose holder touches it, and one beside it, which names a process.
fn refuse_while_locked(bundle: &Bundle) -> Result<()> {
    let path = bundle.source.path();
    let busy = |who: String| Err(Error::Busy(format!("{}: {who}; close it there first", path.display())));
    let inside = bundle.source.location().folder()?.list()?.into_iter().find(|item| item.name == b".lock");
    if let Some(lock) = inside {
        let touched = SystemTime::UNIX_EPOCH + Duration::from_secs(lock.stamp.mtime.0.max(0) as u64);
        // A time in the future is no proof that nobody is there.
        if touched.elapsed().map_or(true, |age| age < STALE) {
            return busy("the application has the project open (.lock)".into());
        }
    }
    let beside = bundle.source.location().beside(".lock")?;
    if beside.stamp()?.is_some_and(|stamp| stamp.is_file() && stamp.size < 4096) {
        let text = std::io::read_to_string(beside.open()?).unwrap_or_default();
        let pid = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
        if let Some(pid) = pid.filter(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            return busy(format!("process {pid} has the project open ({})", beside.path().display()));
        }
    }
    Ok(())
}
