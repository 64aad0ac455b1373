//! A database with what SQLite has left beside it: as SQLite would see it, without a byte written.
//!
//! A hot journal is rolled back first, and the log is applied to what that gives. A journal that names a super-journal
//! belongs to a transaction over several databases; it is hot only while the super-journal is where it says. Where
//! that is gone, the transaction was committed, and the journal has no say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::journal::has_header;
use super::{super_journal, with_journal, with_wal};
use crate::error::Result;
use crate::tree::Content;

/// What beside a database cannot be used, although it seems that it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDamage {
    /// Of a log, so many frames up to the last that ends a transaction; none where nobody can tell how many there are.
    Log(Option<u64>),
    /// Of a hot journal, something.
    Journal,
}

impl LogDamage {
    /// What a finding is called.
    pub fn code(&self) -> &'static str {
        match self {
            LogDamage::Log(_) => "log-damaged",
            LogDamage::Journal => "journal-damaged",
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        let what = match self {
            LogDamage::Journal => {
                return "the journal beside it is damaged: it could not be rolled back in whole, and changes that were \
                        never committed may be among the data"
                    .to_string();
            }
            LogDamage::Log(None) => "nothing of it could be used".to_string(),
            LogDamage::Log(Some(1)) => "one frame of it could not be used".to_string(),
            LogDamage::Log(Some(n)) => format!("{n} frames of it could not be used"),
        };
        format!("the log beside it is damaged: {what}, and what it held may be the newest data")
    }
}

/// A journal whose transaction was committed with others, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joint {
    /// The super-journal, which is not there.
    pub super_journal: PathBuf,
    /// A file of its name lies beside the database: perhaps the two were moved together.
    pub beside: bool,
}

/// What the journal of the database at `path` has no say over; `None` for a journal that is to be rolled back.
pub fn joint(journal: &Content, path: &Path) -> Result<Option<Joint>> {
    let Some(name) = super_journal(journal)? else { return Ok(None) };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let super_journal = folder.join(OsStr::from_bytes(&name));
    if is_there(&super_journal) {
        return Ok(None);
    }
    let beside = super_journal.file_name().is_some_and(|name| is_there(&folder.join(name)));
    Ok(Some(Joint { super_journal, beside }))
}

/// Whether SQLite would roll the journal of the database at `path` back, for the sake of what was before; `None` of one
/// that it cannot read.
pub fn is_hot(journal: &Content, path: &Path) -> Result<Option<bool>> {
    Ok(match (has_header(journal)?, joint(journal, path)?) {
        (Some(true), Some(_)) => Some(false),
        (is_open, _) => is_open,
    })
}

/// As SQLite has it: an empty file is none.
fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() || meta.len() > 0)
}

/// The database in `base`, which lies at `path`, with its journal and its log; and in words, what of these could not be
/// used.
pub fn with_logs(
    base: Content,
    path: &Path,
    journal: Option<Content>,
    wal: Option<Content>,
) -> Result<(Content, Option<String>)> {
    let (mut whole, mut damage) = (base, Vec::new());
    if let Some(journal) = journal
        && joint(&journal, path)?.is_none()
    {
        let (rolled_back, unused) = with_journal(whole, journal)?;
        whole = rolled_back;
        damage.extend(unused);
    }
    if let Some(wal) = wal {
        let (applied, unused) = with_wal(whole, wal)?;
        whole = applied;
        damage.extend(unused);
    }
    let words: Vec<String> = damage.iter().map(LogDamage::words).collect();
    Ok((whole, (!words.is_empty()).then(|| words.join("; "))))
}
