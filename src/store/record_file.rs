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
        let meta = fs::metadata(path)?;
        if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            // What others can write, others can forge.
            let what = "others may write into the folder; take it from them (chmod go-w), or name another";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
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
        let name = name_of(key);
        let path = self.path.join(&name);
        for _ in 0..3 {
            match self.existing(&path, key, record) {
                Ok(Some(file)) => return Ok(RecordFile { file, appending: Mutex::new(()), record }),
                Ok(None) => match fs::remove_file(&path) {
                    // Torn, foreign, or of another version. Whoever has it open keeps it.
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                },
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Err(_) => {}
            }
            self.make_room()?;
            self.begin(&path, &name, key)?;
        }
        Err(io::Error::other("the file is replaced again and again"))
    }

    /// The file for `key`, if there is one. Looking makes none.
    pub fn existing_records(&self, key: [u8; 32], record: usize) -> io::Result<Option<RecordFile>> {
        match self.existing(&self.path.join(name_of(key)), key, record) {
            Ok(file) => Ok(file.map(|file| RecordFile { file, appending: Mutex::new(()), record })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The file at `path`, if it is whole and belongs to `key`.
    fn existing(&self, path: &Path, key: [u8; 32], record: usize) -> io::Result<Option<File>> {
        let file = open(path)?;
        let meta = file.metadata()?;
        let step = (record + CHECKSUM) as u64;
        let own = meta.is_file() && meta.uid() == nix::unistd::geteuid().as_raw();
        if !own || meta.len() < HEAD || !(meta.len() - HEAD).is_multiple_of(step) {
            return Ok(None);
        }
        let mut head = [0; HEAD as usize];
        file.read_exact_at(&mut head, 0)?;
        Ok((head[..16] == MAGIC && head[16..] == key).then_some(file))
    }

    /// Makes the file with its head, in one step: two who do so at once end with the same file.
    fn begin(&self, path: &Path, name: &str, key: [u8; 32]) -> io::Result<()> {
        let unique = format!(".{name}-{}-{:?}", std::process::id(), std::thread::current().id());
        let part = self.path.join(unique);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let made = file.write_all(&[&MAGIC[..], &key].concat()).and_then(|()| fs::hard_link(&part, path));
        fs::remove_file(&part)?;
        match made {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    /// Deletes the files of ours that have not been added to for the longest time, until the rest is within the
    /// bound. Nothing else that lies in the folder is looked at.
    pub fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let ours = entry.file_name().to_str().is_some_and(is_our_name);
            match entry.metadata() {
                Ok(meta) if ours && meta.is_file() => {
                    files.push((meta.modified()?, meta.len(), entry.path()))
                }
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
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

/// Half of a key in hexadecimal digits.
fn name_of(key: [u8; 32]) -> String {
    key[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a name is half of a key.
fn is_our_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn open(path: &Path) -> io::Result<File> {
    const O_NOFOLLOW: i32 = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    OpenOptions::new().read(true).append(true).custom_flags(O_NOFOLLOW).open(path)
}

/// One file of records.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    /// Held while a record is appended, and its place is asked for.
    appending: Mutex<()>,
    record: usize,
}

impl RecordFile {
    fn step(&self) -> u64 {
        (self.record + CHECKSUM) as u64
    }

    /// How many records there are now.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(HEAD) / self.step())
    }

    /// The first bytes of a record, not checked.
    pub fn peek(&self, index: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, HEAD + index * self.step())
    }

    /// A whole record; `None` when its checksum is wrong.
    pub fn read(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; self.record + CHECKSUM];
        self.file.read_exact_at(&mut bytes, HEAD + index * self.step())?;
        let sum = bytes.split_off(self.record);
        Ok((crc32fast::hash(&bytes).to_le_bytes()[..] == sum[..]).then_some(bytes))
    }

    /// Throws all records away, for everybody: the file is no file of records any more, and is begun anew.
    pub fn spoil(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Adds a record, by one write, and gives its number.
    pub fn append(&self, mut record: Vec<u8>) -> io::Result<u64> {
        debug_assert_eq!(record.len(), self.record);
        record.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
        // Appending moves this file's position to behind what was written, wherever others have written.
        let appending = self.appending.lock();
        let mut file = &self.file;
        let written = file.write(&record)?;
        let end = file.stream_position()?;
        drop(appending);
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
