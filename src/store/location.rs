//! Where a source lies: a directory that is held open, and a name in it.
//!
//! A mount may cover the very folder that its source lies in. What is opened through the directory descriptor
//! taken before the mount still reaches the real file, and never ourselves.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::Stamp;
use crate::error::{Error, Result};

/// A file's place, independent of what is mounted over it later.
#[derive(Debug)]
pub struct Location {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Location {
    /// Finds `path`, which may be relative, or a symbolic link.
    pub fn find(path: &Path) -> Result<Location> {
        let full = path.canonicalize().map_err(|e| Error::io("open", path, e))?;
        let (Some(parent), Some(name)) = (full.parent(), full.file_name()) else {
            return Err(Error::not_a_project(path, "this is the root of the file system, not a project"));
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = nix::fcntl::open(parent, flags, Mode::empty())
            .map_err(|e| Error::io("open the folder", parent, e))?;
        Ok(Location { folder, name: name.to_os_string(), path: full })
    }

    /// The absolute path, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is there now, for reading, without leaving an access time where that is allowed.
    pub fn open(&self) -> Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let open = |flags| openat(self.folder.as_fd(), self.name.as_os_str(), flags, Mode::empty());
        // O_NOATIME is for the owner of the file; anybody else gets EPERM and reads as everybody does.
        let fd = match open(flags | OFlag::O_NOATIME) {
            Err(nix::errno::Errno::EPERM) => open(flags),
            other => other,
        };
        fd.map(File::from).map_err(|e| Error::io("open", &self.path, e))
    }

    /// The stamp of what is there now; `None` when nothing is.
    pub fn stamp(&self) -> Result<Option<Stamp>> {
        // O_PATH opens nothing, so neither a lock nor a device is disturbed, and `std` does the stat.
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        match openat(self.folder.as_fd(), self.name.as_os_str(), flags, Mode::empty()) {
            Ok(fd) => {
                let meta = File::from(fd).metadata().map_err(|e| Error::io("look at", &self.path, e))?;
                Ok(Some(Stamp::of(&meta)))
            }
            Err(nix::errno::Errno::ENOENT) => Ok(None),
            Err(e) => Err(Error::io("look at", &self.path, e)),
        }
    }
}
