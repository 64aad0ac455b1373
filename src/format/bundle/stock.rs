//! The databases of a bundle: their bytes as they are shown, what they are worth, and the views of them.

use std::sync::Arc;

use super::choose::Snapshot;
use super::files::{File, Files};
use crate::browse;
use crate::database::{self, Database};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::format::OpenOptions;
use crate::store::{CacheFolder, Location};
use crate::tree::{Branch, Content, Time};

/// The bytes 18 and 19 of a database say by which kind of journal it is written.
const JOURNAL_BYTES: std::ops::Range<usize> = 18..20;
/// The kind that needs no files beside the database.
const ROLLBACK: u8 = 1;
/// Bytes of a database's header.
const HEADER: usize = 100;

/// What all views of a bundle share.
#[derive(Debug)]
pub struct Stock {
    /// The stored files.
    pub files: Files,
    /// A database with what lies beside it applied, for the project that is one file.
    pub whole: Option<Content>,
    /// Where the project lies.
    pub location: Arc<Location>,
    /// How the project was opened.
    pub options: OpenOptions,
    /// What was found.
    pub findings: Arc<Findings>,
    /// The newest time of all stored files.
    pub newest: Time,
}

/// A database whose header asks for no log: what was there is applied.
pub fn without_log(stored: Content) -> Result<Content> {
    let mut head = vec![0; HEADER.min(stored.size().try_into().unwrap_or(usize::MAX))];
    stored.read_at(0, &mut head)?;
    if head.len() < HEADER || head[JOURNAL_BYTES].iter().all(|kind| *kind == ROLLBACK) {
        return Ok(stored);
    }
    head[JOURNAL_BYTES].fill(ROLLBACK);
    Ok(Content::headed(head.into(), stored))
}

/// That a snapshot could not be checked to the end.
pub fn unfinished(snapshot: &Snapshot, what: &str) -> Finding {
    Finding::new(
        Severity::Warning,
        "check-unfinished",
        super::files::shown(&snapshot.file.path),
        format!("it could not be checked to the end: {what}"),
        "check it with `PRAGMA integrity_check` of SQLite, in a copy",
    )
}

impl Stock {
    fn cache(&self) -> Option<&CacheFolder> {
        self.options.cache.as_deref()
    }

    /// The bytes of a snapshot as they are shown under `current.sqlite`: a header that asks for a log which is not
    /// there, or was applied, is set to the kind that needs none.
    pub fn content(&self, file: &File) -> Result<Content> {
        let stored = match &self.whole {
            Some(whole) => whole.clone(),
            None => self.files.open(file)?,
        };
        without_log(stored)
    }

    fn identity(&self, file: &File) -> [u8; 32] {
        self.files.identity(file)
    }

    /// What is known of a snapshot from an earlier check.
    pub fn known_verdict(&self, snapshot: &Snapshot) -> Option<Result<()>> {
        self.options.shelf.verdict(&self.identity(&snapshot.file), self.cache())
    }

    /// Whether a snapshot looks like one, from a few of its pages and what is known of it.
    pub fn glance(&self, snapshot: &Snapshot) -> Result<()> {
        self.known_verdict(snapshot).unwrap_or_else(|| self.looks_valid(snapshot))
    }

    /// The same from its pages alone, whatever is known of it.
    pub fn looks_valid(&self, snapshot: &Snapshot) -> Result<()> {
        database::glance(&self.files.open(&snapshot.file)?, &snapshot.name()).map(drop)
    }

    /// Whether a snapshot is one through and through. What is found is remembered. One that SQLite cannot check within
    /// its limits is taken for what it seems, and that is told.
    pub fn check(&self, snapshot: &Snapshot) -> Result<()> {
        let identity = self.identity(&snapshot.file);
        if let Some(verdict) = self.known_verdict(snapshot) {
            return verdict;
        }
        let opened = self.content(&snapshot.file).and_then(|content| {
            database::glance(&content, &snapshot.name())?;
            Database::open(content, &snapshot.name())
        });
        let verdict = match opened {
            Ok(database) => database.quick_check(),
            // This is remembered as well: else the next choice would fall on the same one, and so without end.
            Err(why) => {
                let verdict = Err(why);
                self.remember(snapshot, &verdict);
                return verdict;
            }
        };
        if let Err(Error::Unsupported { what, .. }) = &verdict {
            self.findings.add(unfinished(snapshot, what));
            self.options.shelf.judge(identity, Ok(()), None);
            return Ok(());
        }
        self.remember(snapshot, &verdict);
        verdict
    }

    /// Keeps what was found about a snapshot.
    pub fn remember(&self, snapshot: &Snapshot, verdict: &Result<()>) {
        // What the disk or another program is to blame for says nothing about the snapshot.
        if matches!(verdict, Ok(()) | Err(Error::Damaged { .. })) {
            self.options.shelf.judge(self.identity(&snapshot.file), verdict.clone(), self.cache());
        }
    }

    /// The database of a snapshot.
    pub fn database(&self, snapshot: &Snapshot) -> Result<Arc<Database>> {
        Database::open(self.content(&snapshot.file)?, &snapshot.name())
    }

    /// The view of a snapshot, if it is open.
    pub fn open_view(&self, snapshot: &Snapshot, root: u64) -> Option<Arc<dyn Branch>> {
        self.options.shelf.view(&self.identity(&snapshot.file), root)
    }

    /// The view of a snapshot, as it hangs below the number `root`.
    pub fn view(&self, snapshot: &Snapshot, root: u64) -> Result<Arc<dyn Branch>> {
        if let Some(view) = self.open_view(snapshot, root) {
            return Ok(view);
        }
        let here = self.identity(&snapshot.file);
        let what = browse::What {
            identity: browse::Identity { here, shown: snapshot.file.shown_identity() },
            time: snapshot.time(),
            newest: self.newest,
            root,
        };
        let database = self.database(snapshot)?;
        let around = browse::Around { location: self.location.clone(), newest: self.newest };
        let (cache, findings) = (self.options.cache.clone(), self.findings.clone());
        let view = browse::database_view(database, what, Some(around), cache, findings)?;
        self.options.shelf.keep(here, root, view.clone());
        Ok(view)
    }
}
