//! A folder for caches: what can be computed again, kept to save the time.
//!
//! Invariants. Several processes may use one folder, and everything in it may be deleted at any time, the folder
//! included: it is made anew. A file has its head before it has its name. Who takes one away holds its lock, and has
//! looked whether the name still means it: what another one is adding to, or has put in its place, stays.
//!
//! Everything is found from descriptors that were taken at the start, so a mount over the folder leads nowhere else.
//! What they mean may be moved: then it is somebody's trash, and as good as deleted. The kernel is asked for their
//! paths, and not the paths for what they lead to now: that could be our own mount, which would have to answer us.
//!
//! The bound. What was added is counted, and from time to time the files that were not used for the longest time go,
//! and what they hold with them, also where somebody has them open. Each who adds may be a sixteenth of the bound
//! ahead of that, and that much is left for two.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use parking_lot::Mutex;

use super::record_file::{Alone, RecordFile, head};

mod usual;

/// So many folders above are held open, for the case that some of them are deleted, too.
const HELD: usize = 8;
/// What a file takes at the least.
const BLOCK: u64 = 4096;

/// A folder for caches, whose files never take more than a given number of bytes together.
#[derive(Debug)]
pub struct CacheFolder {
    room: Arc<Room>,
}

/// The folder itself, which its open files know.
#[derive(Debug)]
pub struct Room {
    /// The folders above it, from the top, and itself.
    way: Mutex<Vec<Arc<OwnedFd>>>,
    /// The names of all of them but the first.
    names: Vec<OsString>,
    /// The path of the folder, where the kernel can say whether it still has it.
    place: Option<PathBuf>,
    bound: u64,
    /// Bytes that were added since room was made.
    added: AtomicU64,
    /// Whether something that is wrong with it was told.
    told: AtomicBool,
}

impl CacheFolder {
    /// Uses `path`, which is made if it is missing, readable by its owner alone.
    pub fn open(path: &Path, bound: u64) -> io::Result<CacheFolder> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let full = path.canonicalize()?;
        let names = full.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_os_string()),
            _ => None,
        });
        let mut names: Vec<OsString> = names.collect();
        let first = names.len().saturating_sub(HELD);
        let top: PathBuf = [OsString::from("/")].into_iter().chain(names.drain(..first)).collect();
        let mut way = vec![Arc::new(open(&top, AS_FOLDER, Mode::empty())?)];
        for name in &names {
            let above = way.last().expect("it has the first");
            way.push(Arc::new(openat(above, name.as_os_str(), AS_FOLDER, Mode::empty())?));
        }
        let folder = way.last().expect("it has the first");
        check(folder)?;
        let place = path_of(folder).filter(|place| *place == full);
        // The first who adds something makes room for it.
        let (way, added) = (Mutex::new(way), AtomicU64::new(bound));
        Ok(CacheFolder {
            room: Arc::new(Room { way, names, place, bound, added, told: AtomicBool::new(false) }),
        })
    }

    /// The usual folder of whoever runs this, unless there is no place for one: `$XDG_CACHE_HOME/vaso`, or
    /// `~/.cache/vaso`; without a home, `$CACHE_DIRECTORY`, and for root `/var/cache/vaso`.
    pub fn usual() -> Option<PathBuf> {
        usual::usual(|name| std::env::var_os(name), nix::unistd::geteuid().is_root())
    }

    /// Whether it was told before that something is wrong with the folder; from now on it was.
    pub fn was_told(&self) -> bool {
        self.room.told.swap(true, Ordering::Relaxed)
    }

    /// How many bytes its files may take together.
    pub fn bound(&self) -> u64 {
        self.room.bound
    }

    /// The file for `key`, with records of `record` bytes (without their checksum).
    pub fn records(&self, key: [u8; 32], record: usize) -> io::Result<RecordFile> {
        let name = name_of(key);
        for _ in 0..3 {
            if let Some(file) = self.room.existing(&name)? {
                match RecordFile::of(file.try_clone()?, key, record, &self.room)? {
                    Some(file) => return Ok(file),
                    // Foreign, thrown away, or of another version. Whoever has it open keeps it.
                    None if self.room.remove(&name, &file, false)? => {}
                    None => return Err(ErrorKind::WouldBlock.into()),
                }
            }
            self.room.begin(&name, key)?;
        }
        Err(io::Error::other("the file is replaced again and again"))
    }

    /// The file for `key`, if there is one. Looking makes none.
    pub fn existing_records(&self, key: [u8; 32], record: usize) -> io::Result<Option<RecordFile>> {
        match self.room.existing(&name_of(key))? {
            Some(file) => RecordFile::of(file, key, record, &self.room),
            None => Ok(None),
        }
    }

    /// Adds a record to the file for `key`, which is opened where that was not done yet, and begun anew with all that
    /// it holds where it was deleted.
    pub fn append(&self, file: &mut Option<RecordFile>, key: [u8; 32], record: Vec<u8>) -> io::Result<()> {
        if file.as_ref().is_none_or(RecordFile::is_gone_now) {
            let new = self.records(key, record.len())?;
            let old = file.take().filter(|_| new.count().is_ok_and(|count| count == 0));
            for index in 0..old.as_ref().map_or(Ok(0), RecordFile::count)? {
                if let Some(record) = old.as_ref().and_then(|old| old.read(index).ok()?) {
                    new.append(record)?;
                }
            }
            *file = Some(new);
        }
        file.as_ref().expect("it was just opened").append(record).map(drop)
    }

    /// Deletes what was not used for the longest time, until the rest is well within the bound. Nothing but our own
    /// files is looked at.
    pub fn make_room(&self) -> io::Result<()> {
        self.room.make()
    }
}

/// Nothing is done with a folder but to find things in it.
const AS_FOLDER: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// What others can write, others can forge; and to their folders, they can do so at any time.
fn check(folder: &OwnedFd) -> io::Result<()> {
    let stat = fstat(folder)?;
    let what = if stat.st_uid != nix::unistd::geteuid().as_raw() {
        format!("the folder belongs to somebody else (user {})", stat.st_uid)
    } else if stat.st_mode & 0o022 != 0 {
        "others may write into the folder; take it from them (chmod go-w)".to_string()
    } else {
        return Ok(());
    };
    Err(io::Error::new(ErrorKind::PermissionDenied, what))
}

/// Where what is open lies now. Nothing but memory is looked at.
fn path_of(open: &impl AsRawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).ok()
}

impl Room {
    /// Whether a file that was opened in the folder lies there no more, or the folder is not where it was. What cannot
    /// be said is not so.
    pub fn has_lost(&self, file: &File) -> bool {
        self.place.as_ref().is_some_and(|place| path_of(file).is_some_and(|now| now.parent() != Some(place)))
    }

    /// Whether one of the folders of the way, with so many names from the first, lies where it did.
    fn stays(&self, folder: &OwnedFd, names: usize) -> bool {
        let above = self.names.len() - names;
        let was = self.place.as_ref().and_then(|place| place.ancestors().nth(above));
        was.is_none_or(|was| path_of(folder).is_none_or(|now| now == was))
    }

    fn is_moved(&self) -> bool {
        !self.stays(&self.folder(), self.names.len())
    }

    fn folder(&self) -> Arc<OwnedFd> {
        self.way.lock().last().expect("it has the first").clone()
    }

    /// The most that one file may have.
    pub fn share(&self) -> u64 {
        self.bound / 4 * 3
    }

    /// Takes note that a file has grown.
    pub fn add(&self, bytes: u64) {
        if self.added.fetch_add(bytes, Ordering::Relaxed) + bytes < self.bound / 16 {
            return;
        }
        self.added.store(0, Ordering::Relaxed);
        if let Err(e) = self.make() {
            log::warn!("cannot make room in the cache folder: {e}");
        }
    }

    /// Makes the folder, and those above it that are gone.
    fn anew(&self) -> io::Result<()> {
        let mut way = self.way.lock();
        let make = |above: &OwnedFd, name: &OsString| match mkdirat(above, name.as_os_str(), Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => openat(above, name.as_os_str(), AS_FOLDER, Mode::empty()),
            Err(e) => Err(e),
        };
        let mut there = self.names.len();
        let mut failure = Errno::ENOENT;
        while there > 0 {
            if !self.stays(&way[there - 1], there - 1) {
                there -= 1;
                continue;
            }
            match make(&way[there - 1], &self.names[there - 1]) {
                Ok(fd) => {
                    way[there] = Arc::new(fd);
                    break;
                }
                // The one above is gone as well.
                Err(e) => (failure, there) = (e, there - 1),
            }
        }
        if there == 0 {
            return Err(failure.into());
        }
        for i in there..self.names.len() {
            way[i + 1] = Arc::new(make(&way[i], &self.names[i])?);
        }
        check(way.last().expect("it has the first"))
    }

    /// What has this name, whatever it is; to be read alone where it cannot be written.
    fn existing(&self, name: &str) -> io::Result<Option<File>> {
        if self.is_moved() {
            return Ok(None);
        }
        let flags = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let open = |how| openat(self.folder(), name, flags | how, Mode::empty());
        match open(OFlag::O_RDWR).or_else(|e| match e {
            Errno::EROFS | Errno::EACCES => open(OFlag::O_RDONLY),
            other => Err(other),
        }) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the file with its head, in one step: two who do so at once end with the same file.
    fn begin(&self, name: &str, key: [u8; 32]) -> io::Result<()> {
        self.add(BLOCK);
        let part = format!(".{name}-{}-{:?}", std::process::id(), std::thread::current().id());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let create = || match self.is_moved() {
            true => Err(Errno::ENOENT),
            false => openat(self.folder(), part.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR),
        };
        let file = File::from(match create() {
            Err(Errno::ENOENT) => {
                self.anew()?;
                create()?
            }
            other => other?,
        });
        let folder = self.folder();
        // While it is locked, nobody takes it for a leftover.
        let alone = Alone::with(&file)?;
        let made = (&file).write_all(&head(key)).and_then(|()| {
            linkat(&folder, part.as_str(), &folder, name, AtFlags::empty()).map_err(io::Error::from)
        });
        let gone = unlinkat(&folder, part.as_str(), UnlinkatFlags::NoRemoveDir);
        drop(alone);
        match made.and(gone.map_err(io::Error::from)) {
            // Somebody else has made it, or has just deleted everything: whoever asked looks again.
            Err(e) if !matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Err(e),
            _ => Ok(()),
        }
    }

    /// Takes a file away, unless somebody is adding to it right now: whether it is gone. The name may mean another one
    /// already. `whole`, with all that it holds for those who have it open.
    fn remove(&self, name: &str, file: &File, whole: bool) -> io::Result<bool> {
        let _alone = match Alone::with(file) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        };
        let folder = self.folder();
        let there = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(true),
            other => other?,
        };
        let meta = file.metadata()?;
        if (there.st_dev, there.st_ino) == (meta.dev(), meta.ino()) {
            if whole && meta.nlink() == 1 {
                file.set_len(0)?;
            }
            unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(true)
    }

    fn make(&self) -> io::Result<()> {
        if self.is_moved() {
            return Ok(());
        }
        let mut files: Vec<((i64, i64), u64, String)> = Vec::new();
        let folder = self.folder();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = match openat(&folder, ".", flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(()),
            other => Dir::from_fd(other?)?,
        };
        for entry in dir.iter() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // `..` above all is not looked at: our own mount may cover it, and would have to answer us.
            if !is_our_name(name) && !is_part(name) {
                continue;
            }
            let stat = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => continue,
                other => other?,
            };
            let regular = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
            if !regular {
                continue;
            }
            if is_our_name(name) {
                let size = (stat.st_size as u64).next_multiple_of(BLOCK);
                files.push(((stat.st_mtime, stat.st_mtime_nsec), size, name.to_string()));
            } else {
                self.clear(name)?;
            }
        }
        files.sort();
        let mut sum: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, name) in files {
            if sum <= self.bound / 8 * 7 {
                break;
            }
            if let Some(file) = self.existing(&name)? {
                self.remove(&name, &file, true)?;
            }
            sum -= size;
        }
        Ok(())
    }

    /// Clears away what somebody began who was killed then.
    fn clear(&self, part: &str) -> io::Result<()> {
        let Some(file) = self.existing(part)? else { return Ok(()) };
        if file.try_lock().is_err() {
            // It is being made.
            return Ok(());
        }
        match unlinkat(self.folder(), part, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Half of a key in hexadecimal digits.
fn name_of(key: [u8; 32]) -> String {
    key[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a name is half of a key.
fn is_our_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a name is that of a file that is being made.
fn is_part(name: &str) -> bool {
    let own = name.strip_prefix('.').and_then(|name| name.get(..33));
    own.is_some_and(|own| own.ends_with('-') && is_our_name(&own[..32]))
}

#[cfg(test)]
mod tests;
