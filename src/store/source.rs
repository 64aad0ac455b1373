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

use parking_lot::RwLock;

use super::{Location, Stamp};
use crate::error::{Error, Result};

/// A file that was loaded, with the stamp its bytes are accepted under.
#[derive(Debug)]
pub struct Source {
    file: File,
    location: Arc<Location>,
    /// Held for a copy only, never across a system call.
    accepted: RwLock<Stamp>,
}

impl Source {
    /// Opens what lies at `location` now.
    pub fn open(location: Arc<Location>) -> Result<Arc<Source>> {
        let file = location.open()?;
        let meta = file.metadata().map_err(|e| Error::io("look at", location.path(), e))?;
        if meta.is_dir() {
            return Err(Error::not_a_project(
                location.path(),
                "this is a folder; this version opens project files (.vaso packages)",
            ));
        }
        if !meta.is_file() {
            return Err(Error::not_a_project(location.path(), "this is not a regular file"));
        }
        let accepted = RwLock::new(Stamp::of(&meta));
        Ok(Arc::new(Source { file, location, accepted }))
    }

    /// The path it was opened at, for people.
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    /// Where it was opened.
    pub fn location(&self) -> &Arc<Location> {
        &self.location
    }

    /// The size under the accepted stamp.
    pub fn size(&self) -> u64 {
        self.accepted.read().size
    }

    /// The stamp that bytes are accepted under.
    pub fn stamp(&self) -> Stamp {
        *self.accepted.read()
    }

    /// The stamp of the open file at this moment.
    pub fn stamp_now(&self) -> Result<Stamp> {
        Stamp::now(&self.file).map_err(|e| Error::io("look at", self.path(), e))
    }

    /// Accepts a later stamp of the same file. The caller has made sure that every range which this source's
    /// tree points to holds the same bytes under it (the file was appended to).
    pub fn accept(&self, stamp: Stamp) {
        *self.accepted.write() = stamp;
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
        if accepted.may_have_new_bytes(&now, !named) {
            return Err(Error::SourceChanged(self.path().to_path_buf()));
        }
        let mut current = self.accepted.write();
        if *current == accepted {
            *current = now;
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
