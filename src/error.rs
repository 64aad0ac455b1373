//! What can go wrong, in one type.
//!
//! A variant names the *kind* of failure, which decides the errno of a system call (`mount/errno.rs`) and the
//! exit code of a verb (`cli/exit.rs`); both tables are exhaustive, so that a new kind cannot be forgotten in
//! either. The text says what was being done, to which file, and what to do next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure that is known to the product. Cheap to clone, since a verdict about an entry is kept and repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused something outside a mount's own tree.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was being done, as a verb: "open", "read".
        doing: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The system's reason.
        cause: Arc<std::io::Error>,
    },
    /// The source is readable but is no project, or not one that can be opened.
    #[error("{path}: {why}")]
    NotAProject {
        /// The source.
        path: PathBuf,
        /// What was found, and what to do.
        why: String,
    },
    /// Bytes inside the project contradict themselves.
    #[error("{entry}: {what}")]
    Damaged {
        /// A short stable word for scripts, which the finding bears too.
        code: &'static str,
        /// The entry that is damaged, as its path in the project.
        entry: String,
        /// What is wrong with it.
        what: String,
    },
    /// The entry is intact as far as can be told, but cannot be decoded here.
    #[error("{entry}: {what}")]
    Unsupported {
        /// The entry's path in the project.
        entry: String,
        /// Why it is not readable.
        what: String,
    },
    /// The source was rewritten after it was loaded; what is read now would not be what was promised.
    #[error("{0}: the file was changed by another program; open it again to see the new contents")]
    SourceChanged(PathBuf),
    /// No such name.
    #[error("{0}: no such file or directory in the project")]
    NotFound(String),
    /// A directory was needed.
    #[error("{0}: not a directory")]
    NotADirectory(String),
    /// Something other than a directory was needed.
    #[error("{0}: is a directory")]
    IsADirectory(String),
    /// A symbolic link was needed.
    #[error("{0}: not a symbolic link")]
    NotALink(String),
    /// The name is longer than a file name may be.
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    /// The number belongs to nothing that is known any more.
    #[error("stale inode number {0}")]
    Stale(u64),
    /// No extended attribute of that name.
    #[error("no such extended attribute")]
    NoAttribute,
    /// The mount is read-only.
    #[error("the project is mounted read-only")]
    ReadOnly,
    /// The command line asks for something that does not make sense.
    #[error("{0}")]
    Usage(String),
    /// Something holds the mount or the project.
    #[error("{0}")]
    Busy(String),
    /// The operation was understood and refused.
    #[error("{0}")]
    Refused(String),
}

/// The result of anything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An operating-system failure while `doing` something to `path`.
    pub fn io(doing: &'static str, path: impl AsRef<Path>, cause: impl Into<std::io::Error>) -> Error {
        Error::Io { doing, path: path.as_ref().to_path_buf(), cause: Arc::new(cause.into()) }
    }

    /// Damage in one entry.
    pub fn damaged(code: &'static str, entry: impl Into<String>, what: impl Into<String>) -> Error {
        Error::Damaged { code, entry: entry.into(), what: what.into() }
    }

    /// A source that is not a project.
    pub fn not_a_project(path: impl AsRef<Path>, why: impl Into<String>) -> Error {
        Error::NotAProject { path: path.as_ref().to_path_buf(), why: why.into() }
    }
}

/// Lets a decoder that speaks [`std::io::Error`] carry ours through, and out again with [`from_io`].
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

/// Takes our own error out of an I/O error that carried it, however deep a decoder has wrapped it; anything
/// else is what the decoder itself said.
pub fn from_io(error: std::io::Error, otherwise: impl FnOnce(std::io::Error) -> Error) -> Error {
    let mut inner = error.get_ref().map(|e| e as &(dyn std::error::Error + 'static));
    while let Some(e) = inner {
        if let Some(ours) = e.downcast_ref::<Error>() {
            return ours.clone();
        }
        // An I/O error hides what it carries from `source`.
        inner = match e.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            Some(carried) => Some(carried),
            None => e.source(),
        };
    }
    otherwise(error)
}
