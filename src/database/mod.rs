//! Project databases: SQLite over any [`Content`], read only, and the model that lies in it.
//!
//! A [`Database`] trusts nothing that the file says: not its schema (see `link`), not its version. What is there
//! is found by looking at the tables and columns, so that all layouts that ever were are read by the same code, and
//! one that is to come shows its new columns too.
//!
//! ```text
//!   file      SQLite's file layer over Content (the one unsafe module)
//!   link      a connection with its limits          layout    the tables and columns that are there
//!   glance    a few pages: could this be a project?
//!   sample    datasets, as people think of them     rows      traces and events as tables
//!   pages     pages, records and trees as bytes, for rows and for salvage
//!   asset     embedded files, piece by piece        part      results, thumbnails, references
//!   embedded  and whether they are what is said
//!   count     how many rows, and whose              compare   what changed between two databases
//!   digest    what the rows of a table amount to    check     whether SQLite finds it sound
//!   account   whether every page belongs to something
//!   beyond    what one holds that another has not    json  its words, and what they say
//!   more      whether one does from which rows may be lost
//!   logs: wal  journal  overlay     a database as it is after SQLite's own recovery, without writing a byte
//! ```
//!
//! Memory: each connection keeps a MiB of pages, at most four connections rest in a database, and all of SQLite
//! in a process may have 512 MiB. Values longer than 64 MiB are not read.

mod account;
mod asset;
mod beyond;
mod check;
mod columns;
mod compare;
mod count;
mod digest;
mod embedded;
mod file;
mod glance;
mod journal;
pub mod json;
mod layout;
mod link;
mod logs;
mod more;
mod overlay;
mod pages;
mod part;
mod rows;
pub mod salvage;
mod sample;
mod value;
mod wal;
mod widths;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::tree::Content;

pub use asset::{Asset, AssetInfo, Stored};
pub use beyond::Beyond;
pub use compare::definitions::{Definition, changed_definitions};
pub use compare::{
    Counts, Difference, EventChange, SampleChange, SampleName, SampleTold, Versions, changed_tables, compare,
    compare_work,
};
pub use embedded::{Fault, examine_embedded};
pub use glance::{Glance, glance};
pub use journal::{super_journal, with_journal};
pub use logs::{Joint, LogDamage, is_hot, joint, with_logs};
pub use part::{Counted, Outcome, Reference};
pub use sample::{Attachment, DEFAULT_EXPERIMENT, PROJECT_ATTACHMENTS, Sample};

pub use wal::{log_damage, with_wal};

use layout::Layout;
use link::Link;

/// What is said behind a damage that salvage may help against. Recovery itself does not say it.
const SALVAGE_HELPS: &str = "; `vaso recover` saves what is left";
use more::has_more;

/// Connections that rest in a database between two reads.
const IDLE: usize = 4;

/// The newest version of the layout that the application writes.
const NEWEST: i64 = 7;

/// All text that one listing of the model may take.
const MODEL_BYTES: usize = 256 << 20;

/// A project database that is open for reading. Several threads may use it at once.
#[derive(Debug)]
pub struct Database {
    content: Content,
    name: String,
    layout: Layout,
    user_version: i64,
    stopped: Arc<AtomicBool>,
    idle: Mutex<Vec<Link>>,
    pieces: OnceLock<asset::Listed>,
    outcomes: part::ByDataset<Outcome>,
    references: part::ByDataset<Reference>,
    counts: OnceLock<BTreeMap<String, u64>>,
    ownerless: OnceLock<count::Ownerless>,
    names: OnceLock<digest::Names>,
    sums: Mutex<BTreeMap<(String, Vec<String>), digest::Sum>>,
}

/// What ends a statement early: SQLite, or whoever takes the rows.
enum Stop {
    Sqlite(rusqlite::Error),
    Ours(Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Sqlite(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Ours(error)
    }
}

type Step<T> = std::result::Result<T, Stop>;

impl Database {
    /// Opens the database in `content`; `name` is what errors call it. Reads the header and the schema.
    pub fn open(content: Content, name: &str) -> Result<Arc<Database>> {
        glance::header(&content, name)?;
        let stopped = Arc::<AtomicBool>::default();
        let link = Link::open(&content, name, stopped.clone())?;
        let found = Layout::read(&link.connection).and_then(|layout| {
            Ok((layout, link.connection.query_row("PRAGMA user_version", [], |r| r.get(0))?))
        });
        let (layout, user_version) = found.map_err(|e| link.error(e, name))?;
        layout.require(name)?;
        let idle = Mutex::new(vec![link]);
        let pieces = OnceLock::new();
        Ok(Arc::new(Database {
            content,
            name: name.into(),
            layout,
            user_version,
            stopped,
            idle,
            pieces,
            outcomes: Default::default(),
            references: Default::default(),
            counts: OnceLock::new(),
            ownerless: OnceLock::new(),
            names: OnceLock::new(),
            sums: Mutex::default(),
        }))
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that it is read from.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The version that the file claims for its layout. Nothing here goes by it.
    pub fn user_version(&self) -> i64 {
        self.user_version
    }

    /// Why the application does not open it, if it claims a version of a later one.
    pub fn is_too_new(&self) -> Option<String> {
        let claimed = self.user_version;
        let what = "and the application that is known here opens none above";
        (claimed > NEWEST).then(|| format!("its user_version is {claimed}, {what} {NEWEST}"))
    }

    /// Whether there is an ordinary table of that name.
    pub fn has_table(&self, table: &str) -> bool {
        self.layout.has(table)
    }

    /// Ends all statements that are under way, and fails those to come, with [`Error::Busy`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The table `meta`. Values that are no text are written as text.
    pub fn meta(&self) -> Result<BTreeMap<String, String>> {
        self.with(|link| {
            let mut statement = link.connection.prepare("SELECT key, value FROM meta")?;
            let mut rows = statement.query([])?;
            let (mut meta, mut bytes) = (BTreeMap::new(), 0);
            while let Some(row) = rows.next()? {
                let (key, value) = (value::text(row.get_ref(0)?), value::text(row.get_ref(1)?));
                self.budget(&mut bytes, key.len() + value.len())?;
                meta.insert(key, value);
            }
            Ok(meta)
        })
    }

    /// How long a statement may take that looks at everything.
    fn patience_for_all(&self) -> Duration {
        link::PATIENCE + Duration::from_millis(self.content.size() / (8 << 10))
    }

    fn damaged(&self, code: &'static str, what: impl Into<String>) -> Error {
        Error::damaged(code, self.name.clone(), what)
    }

    fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { entry: self.name.clone(), what: what.into() }
    }

    /// Counts `more` bytes of a listing, and refuses what would not fit into memory.
    fn budget(&self, bytes: &mut usize, more: usize) -> Result<()> {
        *bytes += more + 64;
        if *bytes > MODEL_BYTES {
            return Err(self.unsupported("a table has more text than fits into memory"));
        }
        Ok(())
    }

    /// Does `run` with a connection of its own.
    fn with<T>(&self, run: impl FnOnce(&Link) -> Step<T>) -> Result<T> {
        let rested = self.idle.lock().pop();
        let link = match rested {
            Some(link) => link,
            None => Link::open(&self.content, &self.name, self.stopped.clone())?,
        };
        link.set_patience(link::PATIENCE);
        let result = match self.stopped.load(Ordering::Relaxed) {
            true => Err(Stop::Ours(Error::Busy(format!("{}: the database is being closed", self.name)))),
            false => run(&link),
        };
        let is_refused = matches!(result, Err(Stop::Sqlite(_)));
        let result = result.map_err(|stop| match stop {
            Stop::Sqlite(error) => link.error(error, &self.name),
            Stop::Ours(error) => error,
        });
        // SQLite looks at the cells of a page when it reads it, and not again once the page is in memory: a page that
        // it has refused would be taken the next time.
        let mut idle = self.idle.lock();
        if idle.len() < IDLE && !is_refused {
            idle.push(link);
        }
        result
    }
}

#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
pub(crate) mod tests;
