//! Files of records of one size, in a [`super::CacheFolder`].
//!
//! Invariants. A record is believed only under its own checksum, which is also one of the key, so a torn or foreign one
//! is at worst ignored. Who adds one holds the file's lock, so several processes may add to one file, and what is no
//! whole record at its end was left by somebody who was killed. An open file stays readable when it is deleted.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use parking_lot::Mutex;

use super::cache_folder::Room;

/// What a file begins with: a format that has changed has another.
const MAGIC: [u8; 16] = *b"vaso records 2\n\0";
/// Bytes before the first record: the magic and the key.
pub const HEAD: u64 = 48;
/// Bytes of a record's checksum.
const CHECKSUM: usize = 4;
/// How often a lock is asked for, and how long is waited in between. Who has one needs it for one write; who was
/// stopped in the middle must not stop others.
const ASKED: u32 = 1000;
const BETWEEN: Duration = Duration::from_micros(100);
/// Seconds after which a file that is used is said to be used, again.
const FRESH: u64 = 600;

/// What a file of this key begins with.
pub fn head(key: [u8; 32]) -> Vec<u8> {
    [&MAGIC[..], &key].concat()
}

/// While it lives, nobody else adds to a file, or takes it away.
#[derive(Debug)]
pub struct Alone<'a>(&'a File);

impl Alone<'_> {
    /// Waits for others, a little: [`ErrorKind::WouldBlock`] if they need longer.
    pub fn with(file: &File) -> io::Result<Alone<'_>> {
        for _ in 0..ASKED {
            match file.try_lock() {
                Ok(()) => return Ok(Alone(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // It goes with the file at the latest.
        let _ = self.0.unlock();
    }
}

/// One file of records.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    key: [u8; 32],
    /// Held while a record is added: threads of one process share the lock of the file.
    adding: Mutex<()>,
    record: usize,
    /// Nothing can be added where the folder can only be read.
    can_add: bool,
    room: Arc<Room>,
    opened: Instant,
    /// Seconds from then to when it was last said to be used.
    used: AtomicU64,
    /// Whether it lay elsewhere when that was last looked at.
    lost: AtomicBool,
}

impl RecordFile {
    /// `file` as one of this key, with records of `record` bytes; `None` if it is of another, or of none.
    pub fn of(file: File, key: [u8; 32], record: usize, room: &Arc<Room>) -> io::Result<Option<RecordFile>> {
        let can_add = fcntl(&file, FcntlArg::F_GETFL)? & OFlag::O_ACCMODE.bits() == OFlag::O_RDWR.bits();
        let meta = file.metadata()?;
        let own = meta.is_file() && meta.uid() == nix::unistd::geteuid().as_raw();
        if !own || meta.len() < HEAD {
            return Ok(None);
        }
        let mut found = [0; HEAD as usize];
        match file.read_exact_at(&mut found, 0) {
            Err(e) if e.kind() != ErrorKind::UnexpectedEof => return Err(e),
            Err(_) => return Ok(None),
            Ok(()) => {}
        }
        if found[..] != head(key) {
            return Ok(None);
        }
        touch(&file);
        let (opened, used) = (Instant::now(), AtomicU64::new(0));
        let (adding, room) = (Mutex::new(()), room.clone());
        let lost = AtomicBool::new(false);
        Ok(Some(RecordFile { file, key, adding, record, can_add, room, opened, used, lost }))
    }

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
        Ok((self.checksum(&bytes)[..] == sum[..]).then_some(bytes))
    }

    fn checksum(&self, record: &[u8]) -> [u8; CHECKSUM] {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.key);
        sum.update(record);
        sum.finalize().to_le_bytes()
    }

    /// Whether it was deleted, thrown away, or, as far as was looked, moved: what is added to it now, nobody else
    /// finds.
    pub fn is_gone(&self) -> bool {
        let gone = self.file.metadata().is_ok_and(|meta| meta.nlink() == 0 || meta.len() < HEAD);
        gone || self.lost.load(Ordering::Relaxed)
    }

    /// The same, and looks where it lies. Who reads does not: a file that was moved is as good to read.
    pub fn is_gone_now(&self) -> bool {
        self.lost.store(self.room.has_lost(&self.file), Ordering::Relaxed);
        self.is_gone()
    }

    /// Says now and then that it is used, to those who look for what is not.
    pub fn keep(&self) {
        let now = self.opened.elapsed().as_secs();
        let last = self.used.load(Ordering::Relaxed);
        if now - last.min(now) >= FRESH
            && self.used.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && !self.is_gone_now()
        {
            touch(&self.file);
        }
    }

    /// Throws all records away, for everybody: the file is no file of records any more, and is begun anew.
    pub fn spoil(&self) -> io::Result<()> {
        let _adding = self.adding.lock();
        // Somebody who is adding a record right now would make a file of it again, of holes. Who was stopped in the
        // middle of that does not keep what is wrong.
        let _alone = Alone::with(&self.file).ok();
        self.file.set_len(0)
    }

    /// Adds a record and gives its number. [`ErrorKind::NotFound`] when the file is gone, [`ErrorKind::FileTooLarge`]
    /// when it has its share of the folder, [`ErrorKind::WouldBlock`] when others keep it for long, and
    /// [`ErrorKind::ReadOnlyFilesystem`] when it can only be read.
    pub fn append(&self, mut record: Vec<u8>) -> io::Result<u64> {
        debug_assert_eq!(record.len(), self.record);
        record.extend_from_slice(&self.checksum(&record));
        let index = self.add(&record)?;
        self.room.add(self.step());
        Ok(index)
    }

    fn add(&self, record: &[u8]) -> io::Result<u64> {
        if !self.can_add {
            return Err(io::Error::new(ErrorKind::ReadOnlyFilesystem, "the cache folder can only be read"));
        }
        let _adding = self.adding.lock();
        let _alone = Alone::with(&self.file)?;
        if self.is_gone_now() {
            return Err(io::Error::new(ErrorKind::NotFound, "the file was thrown away"));
        }
        let index = self.count()?;
        let at = HEAD + index * self.step();
        if at + self.step() > self.room.share() {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                "the file has its share of the cache folder",
            ));
        }
        self.file.write_all_at(record, at).inspect_err(|_| {
            // Half a record is not counted, and is written over by the next one; without it, less is taken.
            let _ = self.file.set_len(at);
        })?;
        Ok(index)
    }
}

/// Says that a file is used now. What cannot be said is not.
fn touch(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}
