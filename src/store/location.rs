//! Where a source lies: a directory that is held open, and a name in it.
//!
//! A mount may cover the very folder that its source lies in, or that it is. What is opened through the descriptors
//! taken before the mount still reaches the real files, and never ourselves. A folder is found by its name as long as
//! that leads to one, so that another in its place is noticed, and by its own descriptor while a mount of ours covers it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use parking_lot::Mutex;

use super::folder::{Folder, Item, ItemKind};
use super::{Stamp, State, reach};
use crate::error::{Error, Result};

/// A file's place, independent of what is mounted over it later.
#[derive(Debug)]
pub struct Location {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
    link: Option<Link>,
    /// What the name led to last, if it is a folder. Held for a copy only, never across a system call.
    itself: Mutex<Option<Itself>>,
}

/// A folder that a name has led to. As long as it is held, its number is not another's.
#[derive(Debug, Clone)]
struct Itself {
    fd: Arc<OwnedFd>,
    file: (u64, u64),
}

impl Itself {
    /// The folder behind a descriptor; none if a file is.
    fn of(fd: &OwnedFd, stamp: Stamp) -> Option<Itself> {
        if !stamp.is_folder() {
            return None;
        }
        let again = openat(fd.as_fd(), ".", FOLDER | OFlag::O_PATH, Mode::empty()).ok()?;
        Some(Itself { fd: Arc::new(again), file: stamp.file })
    }
}

/// The link by which a place was found.
#[derive(Debug)]
struct Link {
    folder: OwnedFd,
    name: OsString,
    target: OsString,
}

impl Link {
    fn at(path: &Path) -> Option<Link> {
        let target = nix::fcntl::readlink(path).ok()?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = open_folder(folder).ok()?;
        Some(Link { folder, name: path.file_name()?.to_os_string(), target })
    }
}

fn open_folder(path: &Path) -> nix::Result<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Links that are followed, one behind the other: as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where a link at the end of a path leads; the path itself where it is none. What it leads to may be gone.
pub fn led_to(path: &Path) -> PathBuf {
    // Without a slash at its end, which would lead through the link.
    let mut at: PathBuf = path.components().collect();
    for _ in 0..MOST_LINKS {
        let Ok(target) = std::fs::read_link(&at) else { break };
        at = at.parent().map(|folder| folder.join(&target)).unwrap_or(target);
    }
    at
}

/// A folder, and no link to one.
const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What SQLite keeps beside a database, and what its state depends on.
const LOGS: [&str; 2] = ["-wal", "-journal"];
/// What belongs to a session that is at work in a folder: it changes under any reader, and is no state of the project.
pub const SESSION: [&[u8]; 2] = [b".staging", b".lock"];
/// The folders of a folder that are looked into.
const INNER: &[u8] = b"snapshots";

impl Location {
    /// The place of a name in an open folder; `path` is for people.
    pub fn at(folder: OwnedFd, name: OsString, path: PathBuf) -> Location {
        Location { folder, name, path, link: None, itself: Mutex::new(None) }
    }

    /// Finds `path`, which may be relative, or a symbolic link.
    pub fn find(path: &Path) -> Result<Location> {
        let full = path.canonicalize().map_err(|e| Error::io("open", path, e))?;
        let (Some(parent), Some(name)) = (full.parent(), full.file_name()) else {
            return Err(Error::not_a_project(path, "this is the root of the file system, not a project"));
        };
        let folder = open_folder(parent).map_err(|e| Error::io("open the folder", parent, e))?;
        // Be it a mount of ours: who finds it now may ask that one.
        let itself = openat(folder.as_fd(), name, FOLDER | OFlag::O_PATH, Mode::empty()).ok();
        let itself = itself.and_then(|fd| Itself::of(&fd, Stamp::from(&nix::sys::stat::fstat(&fd).ok()?)));
        let (name, link) = (name.to_os_string(), Link::at(path));
        Ok(Location { folder, name, path: full.clone(), link, itself: Mutex::new(itself) })
    }

    /// Whether the link by which it was found leads to another place by now.
    pub fn is_left_by_its_link(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            let is_other = match nix::fcntl::readlinkat(link.folder.as_fd(), link.name.as_os_str()) {
                Ok(target) => target != link.target,
                // A file in its place.
                Err(e) => e == Errno::EINVAL,
            };
            // The same place may be said in another way.
            let there = || {
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let there = openat(link.folder.as_fd(), link.name.as_os_str(), flags, Mode::empty()).ok()?;
                // What a mount of ours shows is not where this place is.
                if reach::is_ours(&there) { None } else { nix::sys::stat::fstat(&there).ok() }
            };
            let here = || self.stamp().ok().flatten().map(|stamp| stamp.file);
            is_other && there().map(|stat| Stamp::from(&stat).file) != here()
        })
    }

    /// Whether the folder is one no more: whatever comes to its path is another.
    pub fn is_adrift(&self) -> bool {
        nix::sys::stat::fstat(&self.folder).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// The absolute path, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is there now, not as what a mount of ours shows there.
    fn reach(&self, flags: OFlag) -> nix::Result<OwnedFd> {
        match reach::open(self.folder.as_fd(), &self.name, flags) {
            Err(reach::COVERED) => {
                let itself = self.itself.lock().clone();
                // Somebody has made a folder in place of a file, and mounted there.
                let fd = itself.ok_or(Errno::ENOENT)?.fd;
                // Or it was removed, and what is covered is another, which was never seen.
                if nix::sys::stat::fstat(&fd)?.st_nlink == 0 {
                    return Err(Errno::ENOENT);
                }
                openat(fd.as_fd(), ".", FOLDER | flags, Mode::empty())
            }
            Ok(fd) => {
                self.hold(&fd)?;
                Ok(fd)
            }
            other => other,
        }
    }

    /// Keeps what the name leads to now, for the time when a mount of ours covers it: what it led to before may lie
    /// elsewhere by then.
    fn hold(&self, fd: &OwnedFd) -> nix::Result<()> {
        let stamp = Stamp::from(&nix::sys::stat::fstat(fd)?);
        let held = self.itself.lock().as_ref().map(|itself| itself.file);
        if held != stamp.is_folder().then_some(stamp.file) {
            let now = Itself::of(fd, stamp);
            // What was held is closed after the lock is free again: this ends with the statement.
            let before = std::mem::replace(&mut *self.itself.lock(), now);
            drop(before);
        }
        Ok(())
    }

    /// Opens what is there now, for reading, without leaving an access time where that is allowed.
    pub fn open(&self) -> Result<File> {
        let fd = reach::open_quietly(|more| self.reach(OFlag::O_RDONLY | OFlag::O_NONBLOCK | more));
        fd.map(File::from).map_err(|e| Error::io("open", &self.path, e))
    }

    /// The stamp of what is there now; `None` when nothing is.
    pub fn stamp(&self) -> Result<Option<Stamp>> {
        // O_PATH opens nothing, so neither a lock nor a device is disturbed, and `std` does the stat.
        match self.reach(OFlag::O_PATH) {
            Ok(fd) => {
                let meta = File::from(fd).metadata().map_err(|e| Error::io("look at", &self.path, e))?;
                Ok(Some(Stamp::of(&meta)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(Error::io("look at", &self.path, e)),
        }
    }

    /// The state of what is there now, a file or a folder, with all that belongs to it; `None` when nothing is.
    pub fn state(&self) -> Result<Option<State>> {
        let Some(stamp) = self.stamp()? else { return Ok(None) };
        let mut digest = blake3::Hasher::new();
        if stamp.is_folder() {
            let folder = self.folder()?;
            let items = folder.list()?;
            digest_items(&mut digest, &items);
            if items.iter().any(|item| item.name == INNER && item.kind == ItemKind::Folder) {
                digest_items(&mut digest, &folder.sub(INNER)?.list()?);
            }
        } else {
            for log in LOGS {
                if let Some(stamp) = self.beside(log)?.stamp()? {
                    digest.update(log.as_bytes());
                    digest_stamp(&mut digest, &stamp);
                }
            }
        }
        let beside = u64::from_le_bytes(digest.finalize().as_bytes()[..8].try_into().expect("32 bytes"));
        Ok(Some(State { stamp, beside }))
    }

    /// The folder that lies here.
    pub fn folder(&self) -> Result<Folder> {
        let fd = reach::open_quietly(|more| self.reach(FOLDER | more));
        fd.map(|fd| Folder::of(fd, self.path.clone()))
            .map_err(|e| Error::io("open the folder", &self.path, e))
    }

    /// The folder that it lies in.
    pub fn above(&self) -> Result<Folder> {
        let path = self.path.parent().unwrap_or(Path::new("/")).to_path_buf();
        Folder::open_at(&self.folder, OsStr::new("."), path)
    }

    /// Removes a file that is still in the state in which it was seen.
    pub fn remove(&self, seen: Stamp) -> Result<()> {
        if self.stamp()? != Some(seen) {
            return Err(Error::SourceChanged(self.path.clone()));
        }
        unlinkat(self.folder.as_fd(), self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(|e| Error::io("remove", &self.path, e))
    }

    /// The place of the file whose name goes on with `suffix`.
    pub fn beside(&self, suffix: &str) -> Result<Location> {
        let with = |name: &std::ffi::OsStr| {
            let mut name = name.to_os_string();
            name.push(suffix);
            name
        };
        let folder = self.folder.try_clone().map_err(|e| Error::io("open the folder of", &self.path, e))?;
        let path = PathBuf::from(with(self.path.as_os_str()));
        Ok(Location::at(folder, with(&self.name), path))
    }
}

fn digest_items(digest: &mut blake3::Hasher, items: &[Item]) {
    for item in items.iter().filter(|item| !SESSION.contains(&item.name.as_slice())) {
        digest.update(&(item.name.len() as u64).to_le_bytes());
        digest.update(&item.name);
        // A folder's own times say nothing that its entries do not say.
        match item.kind {
            ItemKind::Folder => drop(digest.update(b"folder")),
            _ => digest_stamp(digest, &item.stamp),
        }
    }
}

fn digest_stamp(digest: &mut blake3::Hasher, stamp: &Stamp) {
    let Stamp { file, size, mtime, ctime, inode } = *stamp;
    for number in [file.0, file.1, size, inode.1.into()] {
        digest.update(&number.to_le_bytes());
    }
    for number in [mtime.0, mtime.1, ctime.0, ctime.1] {
        digest.update(&number.to_le_bytes());
    }
}
