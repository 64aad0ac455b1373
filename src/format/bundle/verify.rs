//! Checks everything in a bundle: every snapshot through and through, and what lies beside them.
//!
//! A snapshot is given to SQLite for its thorough check, and all its embedded files are held against their sizes and
//! digests. Whether it is shown goes by the quick check alone, as it does in a mount.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::choose::Snapshot;
use super::stock::unfinished;
use super::{Bundle, VIEW, files};
use crate::browse;
use crate::database::{self, Database, Fault, examine_embedded};
use crate::error::{Error, Result};
use crate::finding::{ELSEWHERE, Finding, Severity};
use crate::format::{Container, views};
use crate::tree::{Coded, Content, Time};

/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// How often a snapshot is read: once as pages, once for its rows and its embedded files.
const PASSES: u64 = 2;

/// Reads and checks all snapshots. `progress` is told bytes done and bytes in all.
pub fn verify(bundle: &Bundle, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    if let Some(package) = &bundle.package {
        package.verify(progress)?;
    }
    let mut snapshots: Vec<_> = bundle.candidates.every_one().cloned().collect();
    if snapshots.is_empty() {
        snapshots.extend(bundle.chosen().ok().cloned());
    }
    let all: u64 = snapshots.iter().map(|snapshot| snapshot.file.size * PASSES).sum();
    let mut done = 0;
    for snapshot in &snapshots {
        let size = snapshot.file.size * PASSES;
        let read = AtomicU64::new(0).into();
        let outcome = told(
            || examine(bundle, snapshot, &read),
            || {
                progress(done + read.load(Ordering::Relaxed).min(size), all);
            },
        );
        match outcome {
            Ok(()) => {}
            Err(changed @ Error::SourceChanged(_)) => return Err(changed),
            Err(why) => bundle.tell_invalid(snapshot, &why),
        }
        done += size;
        progress(done, all);
    }
    look_inside(bundle)?;
    super::around::tell(bundle);
    Ok(())
}

/// Looks at what a mount shows of the current snapshot: it has nothing to warn of that is not told here.
fn look_inside(bundle: &Bundle) -> Result<()> {
    let is_valid = |snapshot: &&Snapshot| bundle.stock.check(snapshot).is_ok();
    let newest = Time { seconds: i64::MAX, nanos: 0 };
    // What was chosen at first may have been found to be damaged by now.
    let chosen = bundle.chosen().ok().filter(is_valid);
    let Some(current) = chosen.or_else(|| bundle.candidates.until(newest).find(is_valid)) else {
        return Ok(());
    };
    match bundle.stock.view(current, 0) {
        Ok(view) => {
            let damage = views::Damage::IsToldElsewhere;
            views::look_through(view.as_ref(), VIEW, damage, bundle.findings())
        }
        Err(why) => views::tell(VIEW, why, bundle.findings()),
    }
}

/// Does `work` in another thread, and calls `tell` now and then until it is done.
fn told<T: Send>(work: impl FnOnce() -> T + Send, mut tell: impl FnMut()) -> T {
    std::thread::scope(|scope| {
        let (at_work, ended) = mpsc::channel::<()>();
        let thread = scope.spawn(move || {
            let _at_work = at_work;
            work()
        });
        while ended.recv_timeout(TELL) == Err(RecvTimeoutError::Timeout) {
            tell();
        }
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Looks at all of a snapshot. An error is that it is not valid; what else is wrong with it is found.
fn examine(bundle: &Bundle, snapshot: &Snapshot, read: &Arc<AtomicU64>) -> Result<()> {
    let stored = bundle.stock.content(&snapshot.file)?;
    let content = Content::Coded(Arc::new(Counted { stored, read: read.clone() }));
    database::glance(&content, &snapshot.name())?;
    let database = Database::open(content, &snapshot.name())?;
    let thorough = database.integrity_check();
    // What passes the thorough check passes the quick one.
    let verdict = if thorough.is_ok() { Ok(()) } else { database.quick_check() };
    bundle.stock.remember(snapshot, &verdict);
    match verdict {
        Ok(()) | Err(Error::Unsupported { .. }) => {}
        Err(why) => return Err(why),
    }
    let find = |severity, code, what: String, remedy: &str| {
        bundle.findings().add(Finding::new(severity, code, files::shown(&snapshot.file.path), what, remedy));
    };
    match thorough {
        Ok(()) => {
            for (severity, code, what, remedy) in left_out(&database)? {
                find(severity, code, what, remedy);
            }
        }
        Err(Error::Damaged { code, what, .. }) => find(
            Severity::Error,
            code,
            format!("its rows or indices are not in order: {what}"),
            "`vaso recover` puts them in order in a new file; it is shown as it is",
        ),
        Err(Error::Unsupported { what, .. }) => bundle.findings().add(unfinished(snapshot, &what)),
        Err(other) => return Err(other),
    }
    if let Some(what) = database.is_too_new() {
        find(Severity::Notice, "newer-version", what, "open it with a newer version of the application");
    }
    let fault = &mut |fault: Fault| {
        let (severity, remedy) = match fault.is_loss() {
            false => (Severity::Notice, "no reason to act: nothing refers to them"),
            true => (Severity::Error, ELSEWHERE),
        };
        find(severity, fault.code, fault.what, remedy);
    };
    let path = files::shown(&snapshot.file.path);
    match database.samples(bundle.findings()) {
        Ok(_) => {}
        Err(changed @ Error::SourceChanged(_)) => return Err(changed),
        Err(Error::Unsupported { what, .. }) => {
            let what = format!("its samples cannot be shown: {what}");
            find(Severity::Warning, "not-shown", what, "open the project with the application");
        }
        Err(why) => bundle.findings().refused(&path, &why),
    }
    match browse::examine_external(&database, bundle.source().location(), true, &path) {
        Ok(amiss) => amiss.into_iter().for_each(|finding| bundle.findings().add(finding)),
        Err(changed @ Error::SourceChanged(_)) => return Err(changed),
        // The table of assets is read once more below, and told of there.
        Err(_) => {}
    }
    match examine_embedded(&database, fault) {
        Err(Error::Damaged { what, .. } | Error::Unsupported { what, .. }) => {
            let remedy = "`vaso recover` saves what is left";
            find(
                Severity::Error,
                "assets-unreadable",
                format!("its embedded files cannot be read: {what}"),
                remedy,
            );
            Ok(())
        }
        other => other,
    }
}

/// What the thorough check has left out.
fn left_out(database: &Database) -> Result<Vec<(Severity, &'static str, String, &'static str)>> {
    let mut found = Vec::new();
    let tables = database.checked_in_part()?;
    if !tables.is_empty() {
        let tables = tables.join(", ");
        let what = format!(
            "the order of the rows of {tables} was not checked: the schema computes with them, or sorts them in a way that is not known here"
        );
        let remedy = "no reason to act, if you know who has written it";
        found.push((Severity::Notice, "checked-in-part", what, remedy));
    }
    let (names, all) = database.unchecked()?;
    if all > 0 {
        let more = if all > names.len() { format!(" and {} more", all - names.len()) } else { String::new() };
        let what = format!(
            "{all} of its tables were not checked, since there are too many, or they go by names of SQLite's own: {}{more}",
            names.join(", ")
        );
        let remedy =
            "if you know who has written it, check a copy of it with `PRAGMA integrity_check` of SQLite";
        found.push((Severity::Warning, "tables-not-checked", what, remedy));
    }
    Ok(found)
}

/// A database that counts how much of it is read.
#[derive(Debug)]
struct Counted {
    stored: Content,
    read: Arc<AtomicU64>,
}

impl Coded for Counted {
    fn size(&self) -> u64 {
        self.stored.size()
    }

    fn check(&self) -> Result<()> {
        self.stored.check()
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        self.stored.is_ready(offset, len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.stored.read_at(offset, buf).map(drop)
    }
}
