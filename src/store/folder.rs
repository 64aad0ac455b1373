//! A folder that is held open: what lies in it, and what tells its states apart.
//!
//! Everything is found from the descriptor and without following links, so that neither a mount over the folder
//! nor a link that appears in it leads anywhere else. What a mount of ours covers in it is told, and not looked at.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag};

use super::{Location, Stamp, reach};
use crate::error::{Error, Result};

/// More entries than this are not looked at: no project has them.
const MOST: usize = 100_000;

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, a socket or a device.
    Special,
    /// What a mount of ours covers. Nothing else is known of it.
    Covered,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: ItemKind,
    /// Its state.
    pub stamp: Stamp,
    /// Permission bits.
    pub mode: u16,
    /// When it was made, where the file system keeps that: what tells it from a file that had its number before.
    pub born: Option<SystemTime>,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens `name` in the folder behind a descriptor; `path` is for people.
    pub fn open_at(above: impl AsFd, name: &OsStr, path: PathBuf) -> Result<Folder> {
        match open_quietly(above.as_fd(), name) {
            Ok(fd) => Ok(Folder { fd, path }),
            Err(reach::COVERED) => Err(Error::Refused(format!(
                "{}: a project is mounted there, and is not looked into",
                path.display()
            ))),
            Err(e) => Err(Error::io("open the folder", path, e)),
        }
    }

    /// Opens the folder at a path, whatever is mounted there. It need not have a name in another: the root has none.
    pub fn open(path: &Path) -> Result<Folder> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = reach::open_quietly(|more| nix::fcntl::open(path, flags | more, Mode::empty()));
        fd.map(|fd| Folder { fd, path: path.to_path_buf() })
            .map_err(|e| Error::io("open the folder", path, e))
    }

    /// The folder behind a descriptor.
    pub(super) fn of(fd: OwnedFd, path: PathBuf) -> Folder {
        Folder { fd, path }
    }

    /// The path it was opened at, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in this one, or what is mounted there: of a project's own folders any may lie on another disk.
    pub fn sub(&self, name: &[u8]) -> Result<Folder> {
        let name = OsStr::from_bytes(name);
        Folder::open_at(&self.fd, name, self.path.join(name))
    }

    /// A folder in this one, on the same file system: whoever answers for a mount in it, which may be ourselves, is not
    /// asked. For paths that a stranger wrote.
    pub fn sub_unmounted(&self, name: &[u8]) -> Result<Folder> {
        let path = self.path.join(OsStr::from_bytes(name));
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
            .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH);
        let fd = openat2(&self.fd, name, how).map_err(|e| Error::io("open the folder", &path, e))?;
        Ok(Folder { fd, path })
    }

    /// The place of an entry.
    pub fn location(&self, name: &[u8]) -> Result<Arc<Location>> {
        let name = OsStr::from_bytes(name);
        let fd = self.fd.try_clone().map_err(|e| Error::io("open the folder", &self.path, e))?;
        Ok(Arc::new(Location::at(fd, name.to_os_string(), self.path.join(name))))
    }

    /// All entries in the order of their names.
    pub fn list(&self) -> Result<Vec<Item>> {
        let failed = |e: Errno| Error::io("list the folder", &self.path, e);
        let mut items = Vec::new();
        for entry in self.read()?.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if is_itself_or_above(name) {
                continue;
            }
            if items.len() == MOST {
                return Err(Error::not_a_project(&self.path, format!("it holds more than {MOST} entries")));
            }
            match self.look(name) {
                Ok(item) => items.push(item),
                // It went away in between.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("list the folder", &self.path, e)),
            }
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    /// The names of its files, in their order: of the first `most` entries, and without those that cannot be looked at.
    pub fn files(&self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut dir = self.read()?;
        let entries = dir.iter().map_while(std::result::Result::ok);
        let names = entries.map(|entry| entry.file_name().to_bytes().to_vec());
        let is_file = |name: &Vec<u8>| self.look(name).is_ok_and(|item| item.kind == ItemKind::File);
        let mut names: Vec<Vec<u8>> =
            names.filter(|name| !is_itself_or_above(name)).take(most).filter(is_file).collect();
        names.sort();
        Ok(names)
    }

    /// The folder opened once more, to be listed from its beginning.
    fn read(&self) -> Result<Dir> {
        let again = open_quietly(self.fd.as_fd(), OsStr::new("."));
        again.and_then(Dir::from_fd).map_err(|e| Error::io("list the folder", &self.path, e))
    }

    /// What an entry is.
    fn look(&self, name: &[u8]) -> std::io::Result<Item> {
        let entry = match reach::open(self.fd.as_fd(), OsStr::from_bytes(name), OFlag::O_PATH) {
            Ok(entry) => File::from(entry),
            Err(reach::COVERED) => {
                let (kind, stamp) = (ItemKind::Covered, Stamp::UNKNOWN);
                return Ok(Item { name: name.to_vec(), kind, stamp, mode: 0, born: None });
            }
            Err(e) => return Err(e.into()),
        };
        let meta = entry.metadata()?;
        let stamp = Stamp::of(&meta);
        let kind = match SFlag::from_bits_truncate(stamp.inode.1 & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => ItemKind::File,
            SFlag::S_IFDIR => ItemKind::Folder,
            SFlag::S_IFLNK => ItemKind::Link,
            _ => ItemKind::Special,
        };
        let mode = (stamp.inode.1 & 0o777) as u16;
        Ok(Item { name: name.to_vec(), kind, stamp, mode, born: meta.created().ok() })
    }

    /// The target of a link.
    pub fn link(&self, name: &[u8]) -> Result<Vec<u8>> {
        let name = OsStr::from_bytes(name);
        let target = readlinkat(self.fd.as_fd(), name);
        Ok(target.map_err(|e| Error::io("read the link", self.path.join(name), e))?.into_encoded_bytes())
    }

    /// Removes a file that is still in the state in which it was seen.
    pub fn remove(&self, name: &[u8], seen: Stamp) -> Result<()> {
        self.location(name)?.remove(seen)
    }

    /// Makes what was added and removed durable.
    pub fn sync(&self) -> Result<()> {
        nix::unistd::fsync(&self.fd).map_err(|e| Error::io("sync the folder", &self.path, e))
    }
}

fn is_itself_or_above(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Opens a folder. Listing moves the access time, except for the owner, who may ask that it does not.
fn open_quietly(above: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    reach::open_quietly(|more| reach::open(above, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | more))
}

/// Who has a file open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// Another process that we may look at has it open.
    pub open: bool,
    /// Processes that we may not look at.
    pub hidden: usize,
}

/// Looks whether another process has a file open, told by device and inode number, under this name: to who has it open
/// under another it does not matter what becomes of this one. What has another name is not asked for its number, for
/// it may lie in a file system that does not answer.
pub fn look_for_users(name: &OsStr, file: (u64, u64)) -> Users {
    use std::os::unix::fs::MetadataExt;
    let mut users = Users { open: false, hidden: 0 };
    let own = std::process::id().to_string();
    let bears_it = |fd: &Path| std::fs::read_link(fd).is_ok_and(|target| target.file_name() == Some(name));
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = process.file_name();
        let is_other =
            number.to_str().is_some_and(|text| text != own && text.bytes().all(|b| b.is_ascii_digit()));
        if !is_other {
            continue;
        }
        match std::fs::read_dir(process.path().join("fd")) {
            Ok(open) => {
                let mut open = open.flatten().map(|fd| fd.path()).filter(|fd| bears_it(fd));
                let is_it = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == file;
                users.open |= open.any(|fd| std::fs::metadata(fd).is_ok_and(is_it));
            }
            // The kernel's own threads have no command line, and no files. What has ended meanwhile has none either.
            Err(_) => {
                let line = std::fs::read(process.path().join("cmdline"));
                users.hidden += usize::from(line.is_ok_and(|line| !line.is_empty()));
            }
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_a_folder_as_well() {
        for path in ["/", "."] {
            let found = Folder::open(Path::new(path)).unwrap().files(MOST).unwrap();
            let entries = std::fs::read_dir(path).unwrap().flatten();
            let is_file = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
            let mut there: Vec<Vec<u8>> =
                entries.filter(is_file).map(|entry| entry.file_name().into_encoded_bytes()).collect();
            there.sort();
            assert_eq!(found, there, "{path}");
        }
    }
}
