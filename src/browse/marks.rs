//! Marks: places in a table where rendering can begin, with what has been rendered in front of them.
//!
//! They are made while a table is rendered from the front, one for every stretch, and kept at once: in a cache
//! folder, if there is one. Stretches grow with a file beyond 16 GiB, so that their marks stay a few megabytes. What
//! is kept is a chain from the front; where records are missing or wrong, it ends, and is made anew from there.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{CacheFolder, RecordFile};
use crate::tree::Place;

/// Rendered bytes from one mark to the next.
pub const STRETCH: u64 = 256 * 1024;
/// The longest place that is kept beyond this mount.
const MAX_PLACE: usize = 55;
/// Row, offset, length of the place, place.
const RECORD: usize = 8 + 8 + 1 + MAX_PLACE;

/// A place where rendering can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Rows in front of it.
    pub row: u64,
    /// Rendered bytes in front of it, the head included.
    pub offset: u64,
    /// The place in the table.
    pub place: Place,
}

/// How many bytes a stretch at `offset` should have.
pub fn stretch(offset: u64) -> u64 {
    STRETCH.max(offset >> 16)
}

/// Where the marks of one file are kept.
#[derive(Debug, Default)]
pub struct Kept {
    file: Option<RecordFile>,
    failed: AtomicBool,
}

impl Kept {
    /// The marks behind `first` that lie under `key`, as far as they are a chain.
    pub fn load(folder: &CacheFolder, key: [u8; 32], first: Mark, size: u64) -> (Kept, Vec<Mark>) {
        let mut marks = vec![first];
        let kept = Kept::default();
        let read = folder.existing_records(key, RECORD).and_then(|file| {
            let Some(file) = file else { return Ok(None) };
            for record in 0..file.count()? {
                marks.extend(file.read(record)?.as_deref().and_then(parse));
            }
            Ok(Some(file))
        });
        let file = read.unwrap_or_else(|e| {
            kept.fail(&e);
            None
        });
        marks[1..].sort_by_key(|mark| mark.offset);
        marks.dedup();
        let chained = |pair: &[Mark]| {
            let (a, b) = (&pair[0], &pair[1]);
            let gap = b.offset.saturating_sub(a.offset);
            b.row > a.row && gap > 0 && gap <= stretch(a.offset) * 4 && b.offset <= size
        };
        let whole = marks.windows(2).position(|pair| !chained(pair)).map_or(marks.len(), |at| at + 1);
        marks.truncate(whole);
        (Kept { file, ..kept }, marks)
    }

    /// Says once that the folder does not work. Reading goes on without it.
    fn fail(&self, error: &std::io::Error) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            log::warn!("the cache folder does not work: {error}; large tables are slow to seek in");
        }
    }

    /// Keeps a mark.
    pub fn add(&mut self, folder: &CacheFolder, key: [u8; 32], mark: &Mark) {
        if self.failed.load(Ordering::Relaxed) || mark.place.0.len() > MAX_PLACE {
            return;
        }
        if let Err(e) = folder.append(&mut self.file, key, record(mark)) {
            self.fail(&e);
        }
    }

    /// Throws all away, for everybody.
    pub fn spoil(&mut self) {
        self.failed.store(true, Ordering::Relaxed);
        if let Some(Err(e)) = self.file.take().map(|file| file.spoil()) {
            log::warn!("cannot throw away marks that do not fit their table: {e}");
        }
    }
}

fn record(mark: &Mark) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD + 8);
    record.extend_from_slice(&mark.row.to_le_bytes());
    record.extend_from_slice(&mark.offset.to_le_bytes());
    record.push(mark.place.0.len() as u8);
    record.extend_from_slice(&mark.place.0);
    record.resize(RECORD, 0);
    record
}

fn parse(record: &[u8]) -> Option<Mark> {
    let (row, rest) = record.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first()?;
    let place = Place(rest.get(..usize::from(*len))?.to_vec());
    Some(Mark { row: u64::from_le_bytes(*row), offset: u64::from_le_bytes(*offset), place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(row: u64) -> Mark {
        Mark { row, offset: 100 + row * 1000, place: Place(row.to_le_bytes().to_vec()) }
    }

    #[test]
    fn marks_are_there_again_as_far_as_they_are_a_chain() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
        let (mut kept, none) = Kept::load(&cache, [7; 32], mark(0), u64::MAX);
        assert_eq!(none, [mark(0)]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes no file");
        let long = Mark { place: Place(vec![1; MAX_PLACE + 1]), ..mark(3) };
        // Out of order, twice, and one that is not kept.
        for mark in [mark(200), mark(100), mark(100), long, mark(300)] {
            kept.add(&cache, [7; 32], &mark);
        }
        let chain = [mark(0), mark(100), mark(200), mark(300)];
        assert_eq!(Kept::load(&cache, [7; 32], mark(0), u64::MAX).1, chain);
        assert_eq!(Kept::load(&cache, [7; 32], mark(0), 250_000).1, chain[..3]);
        assert_eq!(Kept::load(&cache, [8; 32], mark(0), u64::MAX).1, chain[..1]);
        // Another place at an offset: nobody knows which is right.
        kept.add(&cache, [7; 32], &Mark { row: 150, ..mark(200) });
        assert_eq!(Kept::load(&cache, [7; 32], mark(0), u64::MAX).1[..2], chain[..2]);
        assert!(Kept::load(&cache, [7; 32], mark(0), u64::MAX).1.len() <= 3);
        kept.spoil();
        assert_eq!(Kept::load(&cache, [7; 32], mark(0), u64::MAX).1, chain[..1]);
    }

    #[test]
    fn a_file_of_a_terabyte_has_few_marks() {
        let (mut offset, mut marks) = (0u64, 0);
        while offset < 1 << 40 {
            offset += stretch(offset);
            marks += 1;
        }
        assert!(marks < 400_000, "{marks}");
    }
}
