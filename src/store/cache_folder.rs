//! A folder for caches: what can be computed again, kept to save the time.
//!
//! Invariants. Several processes may use one folder, and everything in it may be deleted at any time. A file has its
//! head before it has its name. Who takes one away holds its lock, and has looked whether the name still means it: what
//! another one is adding to, or has put in its place, stays.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::record_file::{Alone, RecordFile, head};

/// A folder for caches, whose files never take more than a given number of bytes together.
#[derive(Debug)]
pub struct CacheFolder {
    folder: OwnedFd,
    bound: u64,
}

impl CacheFolder {
    /// Uses `path`, which is made if it is missing, readable by its owner alone.
    pub fn open(path: &Path, bound: u64) -> io::Result<CacheFolder> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let meta = fs::metadata(path)?;
        if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            // What others can write, others can forge.
            let what = "others may write into the folder; take it from them (chmod go-w), or name another";
            return Err(io::Error::new(ErrorKind::PermissionDenied, what));
        }
        let folder = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(CacheFolder { folder, bound })
    }

    /// The folder for the user's caches, as the desktop's conventions have it.
    pub fn usual() -> Option<std::path::PathBuf> {
        let absolute =
            |name: &str| std::env::var_os(name).map(std::path::PathBuf::from).filter(|p| p.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(base.join("vaso"))
    }

    /// The file for `key`, with records of `record` bytes (without their checksum).
    pub fn records(&self, key: [u8; 32], record: usize) -> io::Result<RecordFile> {
        let name = name_of(key);
        for _ in 0..3 {
            if let Some(file) = self.existing(&name)? {
                match RecordFile::of(file.try_clone()?, key, record)? {
                    Some(file) => return Ok(file),
                    // Foreign, thrown away, or of another version. Whoever has it open keeps it.
                    None => drop(self.remove(&name, &file)?),
                }
            }
            self.make_room()?;
            self.begin(&name, key)?;
        }
        Err(io::Error::other("the file is replaced again and again"))
    }

    /// The file for `key`, if there is one. Looking makes none.
    pub fn existing_records(&self, key: [u8; 32], record: usize) -> io::Result<Option<RecordFile>> {
        match self.existing(&name_of(key))? {
            Some(file) => RecordFile::of(file, key, record),
            None => Ok(None),
        }
    }

    /// What has this name, whatever it is.
    fn existing(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        match openat(&self.folder, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the file with its head, in one step: two who do so at once end with the same file.
    fn begin(&self, name: &str, key: [u8; 32]) -> io::Result<()> {
        let part = format!(".{name}-{}-{:?}", std::process::id(), std::thread::current().id());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut file =
            File::from(openat(&self.folder, part.as_str(), flags, Mode::from_bits_truncate(0o600))?);
        let made = file.write_all(&head(key)).and_then(|()| {
            linkat(&self.folder, part.as_str(), &self.folder, name, AtFlags::empty()).map_err(io::Error::from)
        });
        unlinkat(&self.folder, part.as_str(), UnlinkatFlags::NoRemoveDir)?;
        match made {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    /// Takes a file away, unless somebody is adding to it right now, or the name means another one already.
    fn remove(&self, name: &str, file: &File) -> io::Result<()> {
        let _alone = match Alone::with(file) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        let there = match fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        let meta = file.metadata()?;
        if (there.st_dev, there.st_ino) == (meta.dev(), meta.ino()) {
            unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(())
    }

    /// Deletes the files of ours that have not been added to for the longest time, until the rest is within the
    /// bound. Nothing else that lies in the folder is looked at.
    pub fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, String, File)> = Vec::new();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::from_fd(openat(&self.folder, ".", flags, Mode::empty())?)?;
        for entry in dir.iter() {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| is_our_name(name)) else {
                continue;
            };
            let Some(file) = self.existing(name)? else { continue };
            let meta = file.metadata()?;
            if meta.is_file() {
                files.push((meta.modified()?, meta.len(), name.to_string(), file));
            }
        }
        files.sort_by_key(|(modified, ..)| *modified);
        let mut sum: u64 = files.iter().map(|(_, len, ..)| len).sum();
        for (_, len, name, file) in files {
            if sum <= self.bound {
                break;
            }
            self.remove(&name, &file)?;
            sum -= len;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::record_file::HEAD;
    use super::*;

    const SIZE: usize = 100;

    fn record(n: u8) -> Vec<u8> {
        vec![n; SIZE]
    }

    #[test]
    fn records_are_there_again_and_only_under_their_key() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::open(&folder.path().join("vaso"), 1 << 20).unwrap();
        let file = cache.records([1; 32], SIZE).unwrap();
        file.append(record(1)).unwrap();
        // A second process with the same file.
        let other = cache.records([1; 32], SIZE).unwrap();
        assert_eq!(other.append(record(2)).unwrap(), 1);
        assert_eq!(file.append(record(3)).unwrap(), 2);
        assert_eq!(file.read(2).unwrap(), Some(record(3)));
        assert_eq!(file.count().unwrap(), 3);
        assert_eq!(file.read(1).unwrap(), Some(record(2)));
        assert_eq!(cache.records([2; 32], SIZE).unwrap().count().unwrap(), 0);
        // Half of the key makes the name; the whole key has to fit.
        let mut near = [1; 32];
        near[31] = 2;
        assert_eq!(cache.records(near, SIZE).unwrap().count().unwrap(), 0);
    }

    #[test]
    fn what_is_torn_or_flipped_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
        let file = cache.records([3; 32], SIZE).unwrap();
        file.append(record(1)).unwrap();
        file.append(record(2)).unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEAD as usize + 5] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let file = cache.records([3; 32], SIZE).unwrap();
        assert_eq!((file.read(0).unwrap(), file.read(1).unwrap()), (None, Some(record(2))));
        // Somebody was killed in the middle of a write.
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let file = cache.records([3; 32], SIZE).unwrap();
        assert_eq!(file.count().unwrap(), 1, "the whole ones are there");
        assert_eq!(file.append(record(4)).unwrap(), 1);
        assert_eq!((file.count().unwrap(), file.read(1).unwrap()), (2, Some(record(4))));
        bytes[20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(
            cache.records([3; 32], SIZE).unwrap().count().unwrap(),
            0,
            "of another key, it is begun anew"
        );
    }

    /// As large as a window is: one write of it makes the file grow in steps.
    const LARGE: usize = 32_788;

    #[test]
    fn a_file_that_is_being_added_to_is_not_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let open = || CacheFolder::open(folder.path(), 1 << 30).unwrap();
        let (one, two) = (open(), open());
        for round in 0..5 {
            let file = one.records([round; 32], LARGE).unwrap();
            std::thread::scope(|scope| {
                let adding = scope.spawn(|| (0..400).for_each(|_| _ = file.append(vec![7; LARGE]).unwrap()));
                for _ in 0..1000 {
                    two.records([round; 32], LARGE).unwrap();
                }
                adding.join().unwrap();
            });
            assert_eq!(two.records([round; 32], LARGE).unwrap().count().unwrap(), 400, "round {round}");
        }
    }

    #[test]
    fn two_who_add_to_one_file_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let add = |who: u8| {
            let cache = CacheFolder::open(folder.path(), 1 << 30).unwrap();
            let file = cache.records([9; 32], LARGE).unwrap();
            for n in 0..200 {
                let mut bytes = vec![who; LARGE];
                bytes[0] = n;
                let at = file.append(bytes.clone()).unwrap();
                assert_eq!(file.read(at).unwrap(), Some(bytes), "{who} {n}");
                cache.records([9; 32], LARGE).unwrap();
            }
        };
        std::thread::scope(|scope| {
            drop([1, 2].map(|who| {
                scope.spawn({
                    let add = &add;
                    move || add(who)
                })
            }))
        });
        let file = CacheFolder::open(folder.path(), 1 << 30).unwrap().records([9; 32], LARGE).unwrap();
        let mut all: Vec<_> =
            (0..file.count().unwrap()).map(|n| file.read(n).unwrap().unwrap()[..2].to_vec()).collect();
        all.sort();
        all.dedup();
        assert_eq!((file.count().unwrap(), all.len()), (400, 400));
    }

    #[test]
    fn what_lies_in_the_folder_beside_is_not_ours_to_delete() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.pdf"), vec![0; 5000]).unwrap();
        let cache = CacheFolder::open(folder.path(), 1000).unwrap();
        for i in 0..5 {
            let file = cache.records([i; 32], SIZE).unwrap();
            for n in 0..5 {
                file.append(record(n)).unwrap();
            }
        }
        cache.make_room().unwrap();
        assert_eq!(fs::read(folder.path().join("thesis.pdf")).unwrap().len(), 5000);
    }

    #[test]
    fn many_who_begin_a_file_at_once_have_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
        for round in 0..20 {
            std::thread::scope(|scope| {
                for n in 0..8 {
                    let cache = &cache;
                    scope.spawn(move || {
                        let file = cache.records([round; 32], SIZE).unwrap();
                        let at = file.append(record(n)).unwrap();
                        assert_eq!(file.read(at).unwrap(), Some(record(n)));
                    });
                }
            });
            assert_eq!(cache.records([round; 32], SIZE).unwrap().count().unwrap(), 8);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20, "nothing else is left");
    }

    #[test]
    fn a_folder_that_others_may_write_into_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(CacheFolder::open(folder.path(), 1000).is_err());
    }

    #[test]
    fn the_bound_holds_and_deleting_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::open(folder.path(), 2000).unwrap();
        let files: Vec<RecordFile> = (0..20).map(|i| cache.records([i; 32], SIZE).unwrap()).collect();
        for file in &files {
            for n in 0..5 {
                file.append(record(n)).unwrap();
            }
        }
        cache.make_room().unwrap();
        let sum: u64 =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sum <= 2000 && sum > 0, "{sum}");
        assert_eq!(files[0].read(4).unwrap(), Some(record(4)), "an open file stays usable");
    }
}
