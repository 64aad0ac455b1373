//! Trouble with the disk that a recovered database is written to: it says nothing of the file that is recovered, nor of any
//! row, and is never taken for damage.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rusqlite::{Connection, ErrorCode};

use crate::database::link::code;
use crate::error::Error;

/// What fails then. It tells these errors from those of reading.
const WRITING: &str = "write the recovered database into";

/// An error of the system while a file in `folder` was written.
pub fn error(folder: &Path, cause: io::Error) -> Error {
    Error::io(WRITING, folder, cause)
}

/// What SQLite's `error` means for the file at `path`, if it is about the disk.
pub fn of_sqlite(error: &rusqlite::Error, path: &Path) -> Option<Error> {
    let cause = match code(error)? {
        ErrorCode::DiskFull => Errno::ENOSPC.into(),
        ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen => {
            io::Error::other(error.to_string())
        }
        _ => return None,
    };
    Some(self::error(&folder_of(path), cause))
}

/// Whether it is such an error.
pub fn is(error: &Error) -> bool {
    matches!(error, Error::Io { doing: WRITING, .. })
}

/// Whether what went wrong is no matter of the rows.
pub fn is_no_matter_of_rows(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseCorrupt
    )
}

/// Whether `error` says that the result has reached the size that it may have. SQLite calls that full, as it does a disk;
/// but then the disk has room for all that the result may grow by.
pub fn is_by_limit(error: &rusqlite::Error, db: &Connection, path: &Path) -> bool {
    if code(error) != Some(ErrorCode::DiskFull) {
        return false;
    }
    let number = |pragma: &str| {
        db.query_row(&format!("PRAGMA {pragma}"), [], |r| r.get::<_, i64>(0)).ok().map(i64::unsigned_abs)
    };
    let grows = || {
        let pages = number("max_page_count")?.checked_sub(number("page_count")?)?;
        pages.checked_mul(number("page_size")?)
    };
    let room = nix::sys::statvfs::statvfs(&folder_of(path));
    let room = room.map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    grows().zip(room.ok()).is_some_and(|(grows, room)| room >= grows)
}

/// The folder that the file at `path` lies in.
pub fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
