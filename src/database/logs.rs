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

/// The database in `base`, which lies at `path`, with its journal and its log.
pub fn with_logs(
    base: Content,
    path: &Path,
    journal: Option<Content>,
    wal: Option<Content>,
) -> Result<Content> {
    let mut whole = base;
    if let Some(journal) = journal
        && joint(&journal, path)?.is_none()
    {
        whole = with_journal(whole, journal)?;
    }
    match wal {
        Some(wal) => with_wal(whole, wal),
        None => Ok(whole),
    }
}
