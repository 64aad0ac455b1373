//! The index of a deflate stream: marks where decoding can begin, with the window that each needs.
//!
//! Marks are made while a stream is decoded for whoever reads it, and kept at once: half a pass leaves half an
//! index. They lie in a cache folder, where another mount finds them, or in bounded memory. A mark that
//! contradicts the stream is ignored, and so is one whose record is damaged; then decoding begins further in front.
//!
//! An index belongs to one stream of one state of one file: marks of a damaged copy would give wrong bytes of
//! the healthy one, whose directory says the same. And when a stream is found to be damaged, its index goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::aside::Aside;
use super::inflate::{Mark, WINDOW};
use crate::store::{CacheFolder, RecordFile};

/// Decoded bytes from one mark to the first block behind. Measured on a recording of 1 GiB, of which a mount on one
/// core gives random places: 384 KiB, 7 % of the decoded size as index, 1,030 a second; 256 KiB, 9 %, 1,060; 192 KiB,
/// 13 %, 1,310. The first pass does not show which of them it is, since another core writes.
pub const SPACING: u64 = 192 * 1024;
/// Out, input, bits, length of the window; the window follows.
const HEAD: usize = 20;
/// Bytes of a record.
pub const RECORD: usize = HEAD + WINDOW;
/// Windows of one stream that are kept in memory where there is no folder: 2 MiB.
const IN_MEMORY: usize = 64;

/// A mark and its window.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where it is.
    pub mark: Mark,
    /// What was decoded before it.
    pub window: Arc<[u8]>,
}

/// All marks of one stream.
#[derive(Debug)]
pub struct Index {
    marks: Mutex<BTreeMap<u64, Place>>,
    file: Option<RecordFile>,
    aside: Option<Arc<Aside>>,
    /// The folder gave an error; it was told, and is left alone.
    failed: AtomicBool,
    /// How many marks were added, and how many a stream of this size can have in all, with room to spare.
    added: AtomicU64,
    most: u64,
}

#[derive(Debug, Clone)]
struct Place {
    mark: Mark,
    window: Window,
}

#[derive(Debug, Clone)]
enum Window {
    Record(u64),
    Memory(Arc<[u8]>),
}

impl Index {
    /// The index that lies in a folder under a key, for a stream of `packed` and `size` bytes; empty if there is
    /// none, and in memory without a folder.
    pub fn open(place: Option<(&CacheFolder, [u8; 32])>, packed: u64, size: u64) -> Index {
        let mut index = Index {
            marks: Mutex::default(),
            file: None,
            aside: None,
            failed: AtomicBool::new(false),
            added: AtomicU64::new(0),
            most: size / SPACING * 2 + 16,
        };
        let Some((folder, key)) = place else { return index };
        let read = folder.records(key, RECORD).and_then(|file| {
            let mut marks = BTreeMap::new();
            for record in 0..file.count()? {
                let mut head = [0; HEAD];
                file.peek(record, &mut head)?;
                let (mark, _) = parse(&head);
                if mark.out < size && (1..=packed).contains(&mark.input) && mark.bits < 8 {
                    marks.insert(mark.out, Place { mark, window: Window::Record(record) });
                }
            }
            Ok((file, marks))
        });
        match read {
            Ok((file, marks)) => (index.file, index.marks) = (Some(file), Mutex::new(marks)),
            Err(e) => index.fail(&e),
        }
        index
    }

    /// Has marks written down by another thread.
    pub fn written_by(mut self, aside: &Arc<Aside>) -> Index {
        self.aside = Some(aside.clone());
        self
    }

    /// Says once that the folder does not work. Reading goes on without it.
    fn fail(&self, error: &std::io::Error) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            log::warn!("the index cache does not work: {error}; large packed files are slow to seek in");
        }
    }

    /// Whether a mark at `out` would be of use.
    pub fn wants(&self, out: u64) -> bool {
        let marks = self.marks.lock();
        out >= SPACING && marks.range(out - SPACING + 1..out + SPACING / 2).next().is_none()
    }

    /// The place of the last mark at or before `target`; 0 when there is none.
    pub fn reach(&self, target: u64) -> u64 {
        self.marks.lock().range(..=target).next_back().map_or(0, |(out, _)| *out)
    }

    /// The place of the first mark at or behind `target`.
    pub fn after(&self, target: u64) -> Option<u64> {
        self.marks.lock().range(target..).next().map(|(out, _)| *out)
    }

    /// The last mark at or before `target`.
    pub fn checkpoint(&self, target: u64) -> Option<Checkpoint> {
        loop {
            let place = self.marks.lock().range(..=target).next_back()?.1.clone();
            match self.window(&place) {
                Some(window) => return Some(Checkpoint { mark: place.mark, window }),
                None => drop(self.marks.lock().remove(&place.mark.out)),
            }
        }
    }

    fn window(&self, place: &Place) -> Option<Arc<[u8]>> {
        let record = match &place.window {
            Window::Memory(window) => return Some(window.clone()),
            Window::Record(record) => *record,
        };
        match self.file.as_ref()?.read(record) {
            Ok(bytes) => {
                let bytes = bytes?;
                let (mark, len) = parse(&bytes);
                (mark == place.mark && len <= WINDOW).then(|| bytes[HEAD..HEAD + len].into())
            }
            Err(e) => {
                self.fail(&e);
                None
            }
        }
    }

    /// Throws everything away: the stream is damaged, and so may be what was decoded of it.
    pub fn spoil(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.marks.lock().clear();
        if let Some(Err(e)) = self.file.as_ref().map(RecordFile::spoil) {
            log::warn!("cannot throw away an index of a damaged file: {e}");
        }
    }

    /// Keeps a mark: in memory, until it is written down.
    pub fn add(self: &Arc<Self>, mark: Mark, window: Arc<[u8]>) {
        if self.added.fetch_add(1, Ordering::Relaxed) >= self.most {
            // Marks that do not stay: something is wrong with the folder, and it must not be filled for ever.
            return;
        }
        let mut marks = self.marks.lock();
        marks.insert(mark.out, Place { mark, window: Window::Memory(window.clone()) });
        if self.file.is_none() || self.failed.load(Ordering::Relaxed) {
            return thin_out(&mut marks);
        }
        drop(marks);
        match &self.aside {
            Some(aside) => {
                let index = self.clone();
                aside.run(move || index.write(mark, &window));
            }
            None => self.write(mark, &window),
        }
    }

    /// Writes a mark down.
    fn write(&self, mark: Mark, window: &[u8]) {
        let Some(file) = self.file.as_ref().filter(|_| !self.failed.load(Ordering::Relaxed)) else {
            return thin_out(&mut self.marks.lock());
        };
        match file.append(record(mark, window)) {
            Ok(record) => {
                if let Some(place) = self.marks.lock().get_mut(&mark.out).filter(|place| place.mark == mark) {
                    place.window = Window::Record(record);
                }
            }
            Err(e) => {
                self.fail(&e);
                thin_out(&mut self.marks.lock());
            }
        }
    }
}

/// Keeps the windows in memory within their bound.
fn thin_out(marks: &mut BTreeMap<u64, Place>) {
    let in_memory = |place: &Place| matches!(place.window, Window::Memory(_));
    if marks.values().filter(|p| in_memory(p)).count() > IN_MEMORY {
        // Every second one: the whole stream stays reachable, in larger steps.
        let mut keep = false;
        marks.retain(|_, place| {
            keep = !keep;
            keep || !in_memory(place)
        });
    }
}

/// A record of the file.
pub fn record(mark: Mark, window: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD + 8);
    record.extend_from_slice(&mark.out.to_le_bytes());
    record.extend_from_slice(&mark.input.to_le_bytes());
    record.extend_from_slice(&[mark.bits, 0]);
    record.extend_from_slice(&(window.len() as u16).to_le_bytes());
    record.extend_from_slice(window);
    record.resize(RECORD, 0);
    record
}

/// The mark and the length of the window that a record's head gives.
fn parse(head: &[u8]) -> (Mark, usize) {
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let mark = Mark { out: u64_at(0), input: u64_at(8), bits: head[16] };
    (mark, usize::from(u16::from_le_bytes([head[18], head[19]])))
}
