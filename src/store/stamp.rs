//! The signs by which a change of a file is noticed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;

/// What `stat` says of a file, as far as it tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode number: which file it is.
    pub file: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write, in seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Time of the last change of anything, names and permissions included.
    pub ctime: (i64, i64),
    /// Link count, mode and owner: what may change the ctime without touching a byte.
    pub inode: (u64, u32, u32, u32),
}

impl Stamp {
    /// For so long a writer may pause, on a slow network for instance, without being taken for one that is done.
    pub const YOUTH: Duration = Duration::from_secs(5);

    /// The coarsest that a file system keeps times, FAT, and what the kernel's clock may be late.
    const COARSE: Duration = Duration::from_millis(2010);

    /// That of what was not looked at.
    pub(super) const UNKNOWN: Stamp =
        Stamp { file: (0, 0), size: 0, mtime: (0, 0), ctime: (0, 0), inode: (0, 0, 0, 0) };

    /// The stamp in a `stat`.
    pub fn of(meta: &Metadata) -> Stamp {
        Stamp {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            inode: (meta.nlink(), meta.mode(), meta.uid(), meta.gid()),
        }
    }

    /// The stamp of an open file: by `fstat`, which happens after every read and costs less than `statx`.
    pub fn now(file: &File) -> io::Result<Stamp> {
        Ok(Stamp::from(&nix::sys::stat::fstat(file)?))
    }

    /// Whether it is that of a regular file.
    pub fn is_file(&self) -> bool {
        self.inode.1 & 0o170_000 == 0o100_000
    }

    /// Whether it is that of a link.
    pub fn is_link(&self) -> bool {
        self.inode.1 & 0o170_000 == 0o120_000
    }

    /// Whether it is that of a folder.
    pub fn is_folder(&self) -> bool {
        self.inode.1 & 0o170_000 == 0o040_000
    }

    /// Whether the file was written so lately that whoever writes it may not be done. One that is from the future is.
    pub fn is_young(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.mtime.0.saturating_add(Stamp::YOUTH.as_secs() as i64) >= now.as_secs() as i64
    }

    /// For how long still another write may leave this very stamp: where times are kept in whole seconds, until the next
    /// one has begun. Until then it says nothing of the bytes. (One that is far from now says what it can.)
    pub fn settles_in(&self) -> Option<Duration> {
        if (self.mtime.1, self.ctime.1) != (0, 0) {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let then = Duration::from_secs(u64::try_from(self.ctime.0).ok()?);
        if then > now {
            return (then - now < Stamp::COARSE).then(|| then - now + Stamp::COARSE);
        }
        Stamp::COARSE.checked_sub(now - then).filter(|left| !left.is_zero())
    }

    /// Whether the bytes may differ from those under `self`, given that the file is now at `now`.
    ///
    /// A ctime that moved alone means that a byte was written and the mtime set back, unless something that
    /// moves the ctime by itself is seen to have changed: links, mode, owner, or (`renamed`) the name.
    pub fn may_have_new_bytes(&self, now: &Stamp, renamed: bool) -> bool {
        if (self.file, self.size, self.mtime) != (now.file, now.size, now.mtime) {
            return true;
        }
        self.ctime != now.ctime && self.inode == now.inode && !renamed
    }
}

impl From<&FileStat> for Stamp {
    fn from(stat: &FileStat) -> Stamp {
        Stamp {
            file: (stat.st_dev, stat.st_ino),
            size: stat.st_size as u64,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
            inode: (stat.st_nlink, stat.st_mode, stat.st_uid, stat.st_gid),
        }
    }
}

/// One state of all that a project is read from: a file or a folder, and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The file's or folder's own.
    pub stamp: Stamp,
    /// A digest of the stamps of the files in a folder, or of the log beside a database.
    pub beside: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_whole_seconds_settles_when_the_next_has_begun() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let at = |seconds, nanos| Stamp {
            file: (1, 2),
            size: 3,
            mtime: (seconds, 0),
            ctime: (seconds, nanos),
            inode: (1, 0o100_644, 0, 0),
        };
        assert!(at(now, 0).settles_in().is_some_and(|left| left <= Stamp::COARSE));
        for settled in [at(now, 1), at(now - 3, 0), at(now + 60, 0), at(-1, 0)] {
            assert_eq!(settled.settles_in(), None);
        }
    }
}
