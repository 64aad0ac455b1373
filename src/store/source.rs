//! One open file of a project, whose bytes are what they were when it was loaded, or an error.
//!
//! Invariant: a successful [`Source::read_at`] gave bytes of the state that the accepted stamp describes.
//! That stamp was taken before the read; it is compared with the file's own after the read, and what was read in
//! between is dropped when they differ. (A writer moves the file's times before it changes a byte.)

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use parking_lot::RwLock;

use super::{Location, Stamp, State};
use crate::error::{Error, Result};

/// A file that was loaded, with the stamp its bytes are accepted under; or a folder, whose files are sources of their
/// own.
#[derive(Debug)]
pub struct Source {
    file: File,
    location: Arc<Location>,
    /// See [`Source::hold_strictly`].
    strictly: AtomicBool,
    /// Held for a copy only, never across a system call.
    accepted: RwLock<State>,
}

impl Source {
    /// The same as [`Source::open`]; a time that another write may leave as well is waited out first, once. For whoever
    /// does not look at it again when it has settled.
    pub fn open_settled(location: Arc<Location>) -> Result<Arc<Source>> {
        if let Some(rest) = location.stamp()?.filter(Stamp::is_file).and_then(|stamp| stamp.settles_in()) {
            std::thread::sleep(rest);
        }
        Source::open(location)
    }

    /// Opens what lies at `location` now.
    pub fn open(location: Arc<Location>) -> Result<Arc<Source>> {
        let file = location.open()?;
        let meta = file.metadata().map_err(|e| Error::io("look at", location.path(), e))?;
        if !meta.is_file() && !meta.is_dir() {
            return Err(Error::not_a_project(location.path(), "this is neither a regular file nor a folder"));
        }
        let stamp = Stamp::of(&meta);
        // What lies beside it is looked at before anything of it is read: a change after this is one.
        let beside = location.state()?.map_or(0, |state| state.beside);
        Ok(Arc::new(Source::new(file, location, State { stamp, beside })))
    }

    /// Opens a file of a folder, whose state is that of the folder's listing.
    pub fn open_listed(location: Arc<Location>, listed: Stamp) -> Result<Arc<Source>> {
        let file = location.open()?;
        let now = Stamp::now(&file).map_err(|e| Error::io("look at", location.path(), e))?;
        if now != listed {
            return Err(Error::SourceChanged(location.path().to_path_buf()));
        }
        Ok(Arc::new(Source::new(file, location, State { stamp: now, beside: 0 })))
    }

    fn new(file: File, location: Arc<Location>, state: State) -> Source {
        Source { file, location, strictly: AtomicBool::new(false), accepted: RwLock::new(state) }
    }

    /// From now on a ctime that has moved is a change, whatever else may have moved it: whoever has loaded this looks
    /// at it anew, and can tell.
    pub fn hold_strictly(&self) {
        self.strictly.store(true, Ordering::Relaxed);
    }

    /// Whether the bytes of the file, which is now at `now`, may differ from those that were accepted under `accepted`.
    /// A file that is not at its place any more cannot be looked at anew.
    pub fn is_changed(&self, accepted: &Stamp, now: &Stamp, renamed: bool) -> bool {
        let strictly = !renamed && self.strictly.load(Ordering::Relaxed);
        accepted.may_have_new_bytes(now, renamed) || strictly && accepted.ctime != now.ctime
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.stamp().is_folder()
    }

    /// The open file once more, for the kernel to read by itself, which leaves no access time either.
    pub fn reopen_quietly(&self) -> io::Result<File> {
        super::quiet::reopen(&self.file)
    }

    /// The path it was opened at, for people.
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    /// Where it was opened.
    pub fn location(&self) -> &Arc<Location> {
        &self.location
    }

    /// The first place from `offset` on that may hold anything but zeros; the size where there is none.
    pub fn next_data(&self, offset: u64) -> u64 {
        let Ok(from) = offset.try_into() else { return offset };
        // All reads say where, so nobody minds that this moves the place of the open file.
        match lseek(&self.file, from, Whence::SeekData) {
            Ok(at) => u64::try_from(at).unwrap_or(offset),
            Err(Errno::ENXIO) => self.size().max(offset),
            Err(_) => offset,
        }
    }

    /// The size under the accepted stamp.
    pub fn size(&self) -> u64 {
        self.accepted.read().stamp.size
    }

    /// The stamp that bytes are accepted under.
    pub fn stamp(&self) -> Stamp {
        self.accepted.read().stamp
    }

    /// The state of the whole project that was loaded.
    pub fn state(&self) -> State {
        *self.accepted.read()
    }

    /// The state of what is open here, and of what lies beside it, at this moment.
    pub fn state_now(&self) -> Result<State> {
        let beside = self.location.state()?.map_or(0, |state| state.beside);
        Ok(State { stamp: self.stamp_now()?, beside })
    }

    /// The stamp of the open file at this moment.
    pub fn stamp_now(&self) -> Result<Stamp> {
        Stamp::now(&self.file).map_err(|e| Error::io("look at", self.path(), e))
    }

    /// Accepts a later stamp of the same file. The caller has made sure that every range which this source's
    /// tree points to holds the same bytes under it (the file was appended to).
    pub fn accept(&self, state: State) {
        *self.accepted.write() = state;
    }

    /// Whether the bytes are still those that were loaded.
    pub fn check(&self) -> Result<()> {
        self.check_against(self.stamp())
    }

    /// Whether nothing has happened since `accepted` was the accepted stamp. (Another may be by now.)
    fn check_against(&self, accepted: Stamp) -> Result<()> {
        let now = self.stamp_now()?;
        if accepted == now {
            return Ok(());
        }
        let named = self.location.stamp()?.is_some_and(|there| there.file == now.file);
        if self.is_changed(&accepted, &now, !named) {
            return Err(Error::SourceChanged(self.path().to_path_buf()));
        }
        let mut current = self.accepted.write();
        if current.stamp == accepted {
            current.stamp = now;
        }
        Ok(())
    }

    /// Fills `buf` from `offset`. Running past the end is an error: callers know the size.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let accepted = self.stamp();
        let read = self.file.read_exact_at(buf, offset);
        self.check_against(accepted)?;
        read.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::SourceChanged(self.path().to_path_buf()),
            _ => Error::io("read", self.path(), e),
        })
    }

    /// Reads `range` into memory. For ranges whose length the caller has bounded.
    pub fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut buf = vec![0; (range.end - range.start) as usize];
        self.read_at(range.start, &mut buf)?;
        Ok(buf)
    }
}
