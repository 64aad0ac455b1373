//! Files of records of one size, in a cache folder: what can be computed again, kept to save the time.
//!
//! Invariants. A record is believed only under its own checksum, so a torn or foreign one is at worst
//! ignored. Records are appended by one write each, so several processes may add to one file. Everything may
//! be deleted at any time: an open file stays usable, and a missing one begins anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;

/// A folder for caches, whose files never take more than a given number of bytes together.
#[derive(Debug)]
pub struct CacheFolder {
    path: PathBuf,
    bound: u64,
}

/// What a file begins with: a format that has changed has another.
const MAGIC: [u8; 16] = *b"vaso records 1\n\0";
/// Bytes before the first record: the magic and the key.
const HEAD: u64 = 48;
/// Bytes of a record's checksum.
const CHECKSUM: usize = 4;

impl CacheFolder {
    /// Uses `path`, which is made if it is missing, readable by its owner alone.
    pub fn open(path: &Path, bound: u64) -> io::Result<CacheFolder> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let owner = fs::metadata(path)?.uid();
        if owner != nix::unistd::geteuid().as_raw() {
            // What others can write, others can forge.
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the folder belongs to another user",
            ));
        }
        Ok(CacheFolder { path: path.to_path_buf(), bound })
    }

    /// The folder for the user's caches, as the desktop's conventions have it.
    pub fn usual() -> Option<PathBuf> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(base.join("vaso"))
    }

    /// The file for `key`, with records of `record` bytes (without their checksum).
    pub fn records(&self, key: [u8; 32], record: usize) -> io::Result<RecordFile> {
        let name: String = key[..16].iter().map(|b| format!("{b:02x}")).collect();
        let path = self.path.join(name);
        let mut file = open(&path)?;
        let len = file.metadata()?.len();
        let step = (record + CHECKSUM) as u64;
        let fits = len >= HEAD && (len - HEAD).is_multiple_of(step) && {
            let mut head = [0; HEAD as usize];
            file.read_exact_at(&mut head, 0)?;
            head[..16] == MAGIC && head[16..] == key
        };
        if !fits {
            if len > 0 {
                // Torn, or of another version. Whoever has it open keeps it.
                fs::remove_file(&path)?;
                file = open(&path)?;
            }
            self.make_room()?;
            file.write_all(&[&MAGIC[..], &key].concat())?;
        }
        Ok(RecordFile { reading: file.try_clone()?, file: Mutex::new(file), record })
    }

    /// Deletes the files that have not been added to for the longest time, until the rest is within the bound.
    pub fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_file() {
                files.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        files.sort();
        let mut sum: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if sum <= self.bound {
                break;
            }
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => sum -= len,
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    const O_NOFOLLOW: i32 = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(O_NOFOLLOW).open(path)
}

/// One file of records.
#[derive(Debug)]
pub struct RecordFile {
    /// Locked for appending only.
    file: Mutex<File>,
    reading: File,
    record: usize,
}

impl RecordFile {
    fn step(&self) -> u64 {
        (self.record + CHECKSUM) as u64
    }

    /// How many records there are now.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.reading.metadata()?.len().saturating_sub(HEAD) / self.step())
    }

    /// The first bytes of a record, not checked.
    pub fn peek(&self, index: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reading.read_exact_at(buf, HEAD + index * self.step())
    }

    /// A whole record; `None` when its checksum is wrong.
    pub fn read(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; self.record + CHECKSUM];
        self.reading.read_exact_at(&mut bytes, HEAD + index * self.step())?;
        let sum = bytes.split_off(self.record);
        Ok((crc32fast::hash(&bytes).to_le_bytes()[..] == sum[..]).then_some(bytes))
    }

    /// Adds a record, by one write, and gives its number.
    pub fn append(&self, mut record: Vec<u8>) -> io::Result<u64> {
        debug_assert_eq!(record.len(), self.record);
        record.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
        // Appending moves this file's position to behind what was written, wherever others have written.
        let mut file = self.file.lock();
        let written = file.write(&record)?;
        let end = file.stream_position()?;
        drop(file);
        match written == record.len() && end >= HEAD + self.step() {
            true => Ok((end - HEAD) / self.step() - 1),
            // Half a record would shift all later ones; without a whole number of them the file is thrown away.
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

#[cfg(test)]
mod tests {
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
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(cache.records([3; 32], SIZE).unwrap().count().unwrap(), 0, "begun anew");
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
