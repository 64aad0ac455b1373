//! From an error to the number that a system call gives. Exhaustive: a new kind of error has to choose here.

use fuser::Errno;

use crate::error::Error;

/// The errno of an error.
pub fn of(error: &Error) -> Errno {
    match error {
        // What the disk says of its own (ENOSPC, EACCES, ...) concerns the source, not the file in the mount:
        // for the caller the bytes are simply not to be had.
        Error::Io { .. } => Errno::EIO,
        Error::NotAProject { .. } => Errno::EIO,
        Error::Damaged { .. } => Errno::EIO,
        // The entry may be intact, so this is not EIO: backup programs should not call it a disk error.
        Error::Unsupported { .. } => Errno::EOPNOTSUPP,
        // New bytes under an old handle would be the worst answer; ESTALE would have the kernel retry.
        Error::SourceChanged(_) => Errno::EIO,
        Error::NotFound(_) => Errno::ENOENT,
        Error::NotADirectory(_) => Errno::ENOTDIR,
        Error::IsADirectory(_) => Errno::EISDIR,
        Error::NotALink(_) => Errno::EINVAL,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::Stale(_) => Errno::ESTALE,
        Error::NoAttribute => Errno::ENODATA,
        Error::ReadOnly => Errno::EROFS,
        Error::Usage(_) => Errno::EINVAL,
        Error::Busy(_) => Errno::EBUSY,
        Error::Refused(_) => Errno::EPERM,
    }
}
