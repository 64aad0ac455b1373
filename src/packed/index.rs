//! The index of a deflate stream: marks where decoding can begin, with the window that each needs.
//!
//! Marks are made while a stream is decoded for whoever reads it, and kept at once: half a pass leaves half an
//! index. They lie in a cache folder, where another mount finds them, or in bounded memory. A mark that
//! contradicts the stream is ignored, and so is one whose record is damaged; then decoding begins further in front.
//!
//! An index belongs to one stream of one state of one file: marks of a damaged copy would give wrong bytes of
//! the healthy one, whose directory says the same. And when a stream is found to be damaged, its index goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::aside::Aside;
use super::inflate::{Mark, Stop, WINDOW};
use crate::store::{CacheFolder, RecordFile};

/// Decoded bytes from one mark to the first block behind. Measured on a recording of 1 GiB, of which a mount on one
/// core gives random places: 384 KiB, 7 % of the decoded size as index, 1,150 a second; 256 KiB, 9 %, 1,230; 192 KiB,
/// 12 %, 1,470. The first pass does not show which of them it is, since another core writes.
pub const SPACING: u64 = 256 * 1024;
/// Where no block ends for so many times as long, a mark is made within it. Those between two blocks are better: whoever
/// begins there reads in one place, and no codes before it.
const LATE: u64 = 4;
/// The three numbers of a mark, and the length of the window; that follows.
pub const HEAD: usize = 3 * 8 + 2;
/// Bytes of a record.
pub const RECORD: usize = HEAD + WINDOW;
/// Windows of all streams together that are kept in memory where there is no folder: 4 MiB.
const IN_MEMORY: usize = 128;

/// Marks in a row that are not written down because somebody else keeps the file, before it is left alone.
const PATIENCE: u64 = 8;

/// A mark and its window.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where it is.
    pub mark: Mark,
    /// What was decoded before it.
    pub window: Arc<[u8]>,
}

/// What indexes have in memory, all of a project together.
#[derive(Debug, Default)]
pub struct Memory {
    windows: AtomicUsize,
    indexes: Mutex<Vec<Weak<Index>>>,
}

impl Memory {
    /// Keeps the windows within their bound: whoever has most of them gives up every second one, so that its whole
    /// stream stays reachable, in larger steps.
    fn thin_out(&self) {
        if self.windows.load(Ordering::Relaxed) <= IN_MEMORY {
            return;
        }
        let mut indexes = self.indexes.lock();
        indexes.retain(|index| index.strong_count() > 0);
        let all: Vec<Arc<Index>> = indexes.iter().filter_map(Weak::upgrade).collect();
        drop(indexes);
        while self.windows.load(Ordering::Relaxed) > IN_MEMORY {
            let most = all.iter().max_by_key(|index| index.known.lock().in_memory.len());
            if !most.is_some_and(|index| index.known.lock().halve()) {
                return;
            }
        }
    }
}

/// All marks of one stream.
#[derive(Debug)]
pub struct Index {
    known: Mutex<Known>,
    place: Option<(Arc<CacheFolder>, [u8; 32])>,
    aside: Option<Arc<Aside>>,
    /// The folder gave an error; it was told, and is left alone.
    failed: AtomicBool,
    /// It was thrown away, and nothing of it may come back.
    spoiled: AtomicBool,
    /// How often in a row somebody else kept the file.
    waited: AtomicU64,
    /// Held while marks are written down.
    writing: Mutex<()>,
    /// Somebody is going to see to that.
    asked: AtomicBool,
    /// How many marks were added, and how many a stream of this size can have in all, with room to spare.
    added: AtomicU64,
    most: u64,
    /// Decoded bytes from one mark to the next.
    spacing: u64,
    memory: Arc<Memory>,
    packed: u64,
    size: u64,
}

/// Marks, and the file that their records lie in.
#[derive(Debug)]
struct Known {
    marks: BTreeMap<u64, Place>,
    file: Option<Arc<RecordFile>>,
    /// How many of its records were looked at.
    seen: u64,
    /// The places of the marks whose windows are in memory.
    in_memory: BTreeSet<u64>,
    memory: Arc<Memory>,
}

impl Known {
    /// Has a file, and what was found in its records.
    fn take(&mut self, file: Arc<RecordFile>, places: Vec<Place>, seen: u64) {
        (self.file, self.seen) = (Some(file), seen);
        places.into_iter().for_each(|place| self.put(place));
    }

    fn put(&mut self, place: Place) {
        self.remove(place.mark.out);
        self.count(&place, true);
        self.marks.insert(place.mark.out, place);
    }

    fn remove(&mut self, out: u64) {
        if let Some(place) = self.marks.remove(&out) {
            self.count(&place, false);
        }
    }

    fn count(&mut self, place: &Place, more: bool) {
        let memory = &self.memory.windows;
        match (&place.window, more) {
            (Window::Record(_), _) => {}
            (Window::Memory(_), true) => {
                self.in_memory.insert(place.mark.out);
                memory.fetch_add(1, Ordering::Relaxed);
            }
            (Window::Memory(_), false) => {
                self.in_memory.remove(&place.mark.out);
                memory.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The first mark whose window is in memory alone.
    fn first_in_memory(&self) -> Option<(Mark, Arc<[u8]>)> {
        match self.marks.get(self.in_memory.first()?) {
            Some(Place { mark, window: Window::Memory(window) }) => Some((*mark, window.clone())),
            _ => unreachable!("those in memory are counted"),
        }
    }

    /// Gives up every second window in memory, the first of them included. Whether there was any.
    fn halve(&mut self) -> bool {
        let given_up: Vec<u64> = self.in_memory.iter().copied().step_by(2).collect();
        given_up.iter().for_each(|out| self.remove(*out));
        !given_up.is_empty()
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.memory.windows.fetch_sub(self.in_memory.len(), Ordering::Relaxed);
    }
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
    pub fn open(place: Option<(Arc<CacheFolder>, [u8; 32])>, packed: u64, size: u64) -> Index {
        // The index of a stream takes up to half of the folder, however large the stream is.
        let room = place.as_ref().map_or(u64::MAX, |(folder, _)| folder.bound() / 2 / RECORD as u64);
        let spacing = SPACING.max(size / room.max(1));
        let memory = Arc::<Memory>::default();
        let (marks, in_memory) = (BTreeMap::new(), BTreeSet::new());
        let known = Known { marks, file: None, seen: 0, in_memory, memory: memory.clone() };
        let index = Index {
            known: Mutex::new(known),
            place,
            aside: None,
            failed: AtomicBool::new(false),
            spoiled: AtomicBool::new(false),
            waited: AtomicU64::new(0),
            writing: Mutex::new(()),
            asked: AtomicBool::new(false),
            added: AtomicU64::new(0),
            most: size / spacing * 2 + 16,
            spacing,
            memory,
            packed,
            size,
        };
        if let Some((folder, key)) = &index.place {
            match index.read(folder, *key) {
                Ok((file, places, seen)) => index.known.lock().take(file, places, seen),
                // Somebody is at work on it; this one stays in memory.
                Err(e) if is_passing(&e) => {}
                Err(e) => index.fail(&e),
            }
        }
        index
    }

    /// What lies in the folder.
    fn read(&self, folder: &CacheFolder, key: [u8; 32]) -> io::Result<(Arc<RecordFile>, Vec<Place>, u64)> {
        let file = folder.records(key, RECORD)?;
        let (places, seen) = self.look(&file, 0)?;
        Ok((Arc::new(file), places, seen))
    }

    /// The marks in a file from a record on, and how many records it has.
    fn look(&self, file: &RecordFile, from: u64) -> io::Result<(Vec<Place>, u64)> {
        let (mut places, count) = (Vec::new(), file.count()?);
        for record in from..count {
            let mut head = [0; HEAD];
            match file.peek(record, &mut head) {
                // Thrown away by somebody else: what was there is as good as ever, and it is gone for the next look.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
                other => other?,
            }
            let (mark, _) = parse(&head);
            if mark.out < self.size && mark.block <= mark.at && mark.at / 8 < self.packed {
                places.push(Place { mark, window: Window::Record(record) });
            }
        }
        Ok((places, count))
    }

    /// Takes note of marks that others have written down, so that they are not written down twice.
    fn take_over(&self, file: &Arc<RecordFile>) -> io::Result<()> {
        let seen = self.known.lock().seen;
        let (places, count) = self.look(file, seen)?;
        let mut known = self.known.lock();
        known.seen = count;
        for place in places {
            if !matches!(known.marks.get(&place.mark.out), Some(Place { window: Window::Record(_), .. })) {
                known.put(place);
            }
        }
        Ok(())
    }

    /// For a project, whose streams share memory, and a thread that writes marks down.
    pub fn shared(mut self, aside: &Arc<Aside>, memory: &Arc<Memory>) -> Arc<Index> {
        self.aside = Some(aside.clone());
        self.memory = memory.clone();
        // Nothing is in memory yet.
        self.known.get_mut().memory = memory.clone();
        let index = Arc::new(self);
        let mut indexes = memory.indexes.lock();
        if indexes.len() == indexes.capacity() {
            // It grows with those that are open, and not with all that ever were.
            indexes.retain(|index| index.strong_count() > 0);
        }
        indexes.push(Arc::downgrade(&index));
        drop(indexes);
        index
    }

    /// Says once that the folder does not work. Reading goes on without it.
    fn fail(&self, error: &io::Error) {
        let Some((folder, _)) = self.place.as_ref().filter(|_| !self.failed.swap(true, Ordering::Relaxed))
        else {
            return;
        };
        match error.kind() {
            ErrorKind::FileTooLarge => log::info!("an index is as large as it may be; the rest is in memory"),
            _ if folder.was_told() => log::debug!("an index is in memory: {error}"),
            ErrorKind::ReadOnlyFilesystem => {
                log::info!("the index cache can only be read; what is new stays in memory")
            }
            _ => log::warn!("the index cache does not work: {error}; large packed files are slow to seek in"),
        }
    }

    /// Where a mark behind `out` would be of use.
    pub fn wants(&self, out: u64) -> Stop {
        if out < self.spacing || self.added.load(Ordering::Relaxed) >= self.most {
            return Stop::Never;
        }
        let known = self.known.lock();
        let none = |spaces: u64| {
            let before = (out + 1).saturating_sub(spaces * self.spacing);
            known.marks.range(before..out + self.spacing / 2).next().is_none()
        };
        match (none(1), out >= LATE * self.spacing && none(LATE)) {
            (false, _) => Stop::Never,
            (true, false) => Stop::Between,
            (true, true) => Stop::Within,
        }
    }

    /// The place of the last mark at or before `target`; 0 when there is none.
    pub fn reach(&self, target: u64) -> u64 {
        self.known.lock().marks.range(..=target).next_back().map_or(0, |(out, _)| *out)
    }

    /// The place of the first mark at or behind `target`.
    pub fn after(&self, target: u64) -> Option<u64> {
        self.known.lock().marks.range(target..).next().map(|(out, _)| *out)
    }

    /// The last mark at or before `target`.
    pub fn checkpoint(self: &Arc<Self>, target: u64) -> Option<Checkpoint> {
        loop {
            let known = self.known.lock();
            let place = known.marks.range(..=target).next_back()?.1.clone();
            let file = known.file.clone();
            drop(known);
            let window = self.window(&place, file.as_deref());
            if let Some(file) = &file {
                self.look_after(file);
            }
            if let Some(window) = window {
                return Some(Checkpoint { mark: place.mark, window });
            }
            let mut known = self.known.lock();
            // Written down anew in the meantime, it may be there again.
            if same(&known.file, &file) {
                known.remove(place.mark.out);
            }
        }
    }

    fn window(&self, place: &Place, file: Option<&RecordFile>) -> Option<Arc<[u8]>> {
        let record = match &place.window {
            Window::Memory(window) => return Some(window.clone()),
            Window::Record(record) => *record,
        };
        match file?.read(record) {
            Ok(bytes) => {
                let bytes = bytes?;
                let (mark, len) = parse(&bytes);
                (mark == place.mark && len <= WINDOW).then(|| bytes[HEAD..HEAD + len].into())
            }
            // Thrown away by somebody else.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => None,
            Err(e) => {
                self.fail(&e);
                None
            }
        }
    }

    /// Says that a file is used, and has it written down anew where it was deleted.
    fn look_after(self: &Arc<Self>, file: &RecordFile) {
        if !file.is_gone() {
            return file.keep();
        }
        if self.failed.load(Ordering::Relaxed) || self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let index = self.clone();
        let renew = move || {
            let writing = index.writing.lock();
            index.renew(&writing);
            drop(writing);
            index.asked.store(false, Ordering::Relaxed);
        };
        let Some(aside) = &self.aside else { return renew() };
        if !aside.try_run(renew) {
            // Too much to do for that thread: the next who looks asks again.
            self.asked.store(false, Ordering::Relaxed);
        }
    }

    /// Writes everything down anew, if the file is gone: what is in memory, and what can still be read of the old file.
    fn renew(&self, _writing: &MutexGuard<()>) {
        let Some((folder, key)) = &self.place else { return };
        let (old, mine) = {
            let known = self.known.lock();
            (known.file.clone(), known.marks.values().cloned().collect::<Vec<Place>>())
        };
        if self.failed.load(Ordering::Relaxed) || old.as_ref().is_some_and(|old| !old.is_gone()) {
            return;
        }
        let renewed = self.read(folder, *key).and_then(|(file, mut places, seen)| {
            let there: BTreeSet<u64> = places.iter().map(|place| place.mark.out).collect();
            for Place { mark, window } in mine {
                // Another daemon may have been faster.
                if there.contains(&mark.out) {
                    continue;
                }
                let Some(window) = self.window(&Place { mark, window }, old.as_deref()) else { continue };
                let record = file.append(record(mark, &window))?;
                places.push(Place { mark, window: Window::Record(record) });
            }
            Ok((file, places, seen))
        });
        match renewed {
            Ok((file, places, seen)) => {
                let mut known = self.known.lock();
                // Thrown away in the meantime: who does that says so first, and then looks at what is known.
                if self.spoiled.load(Ordering::SeqCst) {
                    drop(known);
                    return throw_away(&file);
                }
                // What was added in the meantime is written down by whoever was asked to.
                known.marks.retain(|_, place| matches!(place.window, Window::Memory(_)));
                known.take(file, places, seen);
            }
            // It is being deleted right now, or kept by others: whoever looks next sees to it.
            Err(e) if is_passing(&e) => {}
            Err(e) => self.fail(&e),
        }
    }

    /// Throws everything away: the stream is damaged, and so may be what was decoded of it.
    pub fn spoil(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.spoiled.store(true, Ordering::SeqCst);
        let mut known = self.known.lock();
        let outs: Vec<u64> = known.marks.keys().copied().collect();
        outs.into_iter().for_each(|out| known.remove(out));
        let file = known.file.clone();
        drop(known);
        file.iter().for_each(|file| throw_away(file));
    }

    /// Leaves a mark alone that contradicts the stream.
    pub fn forget(&self, mark: Mark) {
        self.known.lock().remove(mark.out);
    }

    /// Keeps a mark: in memory, until it is written down.
    pub fn add(self: &Arc<Self>, mark: Mark, window: Arc<[u8]>) {
        // Who asks where marks are wanted was told already; others may have asked at the same time.
        if self.added.fetch_add(1, Ordering::Relaxed) >= self.most {
            // Marks that do not stay: something is wrong with the folder, and it must not be filled for ever.
            return;
        }
        let mut known = self.known.lock();
        if self.spoiled.load(Ordering::SeqCst) {
            return;
        }
        known.put(Place { mark, window: Window::Memory(window) });
        let stays = known.file.is_none() || self.failed.load(Ordering::Relaxed);
        drop(known);
        let index = self.clone();
        let asked = !stays
            && match &self.aside {
                // Where that thread has no room for more, the mark waits in memory for the next that is written down.
                Some(aside) => aside.try_run(move || index.write_down()),
                None => {
                    index.write_down();
                    true
                }
            };
        if !asked {
            self.memory.thin_out();
        }
    }

    /// Writes down what is in memory. What cannot be stays there, within its bound.
    fn write_down(&self) {
        let writing = self.writing.lock();
        let mut renewed = 0;
        while !self.failed.load(Ordering::Relaxed) {
            let Some(file) = self.known.lock().file.clone() else { break };
            let taken_over = self.take_over(&file);
            let Some((mark, window)) = self.known.lock().first_in_memory() else { return };
            match taken_over.and_then(|()| file.append(record(mark, &window))) {
                Ok(record) => {
                    self.waited.store(0, Ordering::Relaxed);
                    let mut known = self.known.lock();
                    let there = known.marks.get(&mark.out).is_some_and(|place| place.mark == mark);
                    if there && same(&known.file, &Some(file)) {
                        known.put(Place { mark, window: Window::Record(record) });
                    }
                }
                // The file may be deleted again and again; then there is no hurry.
                Err(e) if e.kind() == ErrorKind::NotFound && renewed < 3 => {
                    renewed += 1;
                    self.renew(&writing);
                }
                Err(e) if e.kind() == ErrorKind::NotFound => break,
                Err(e)
                    if e.kind() == ErrorKind::WouldBlock
                        && self.waited.fetch_add(1, Ordering::Relaxed) < PATIENCE =>
                {
                    break;
                }
                Err(e) => {
                    self.fail(&e);
                    break;
                }
            }
        }
        drop(writing);
        self.memory.thin_out();
    }
}

/// Whether a file is being thrown away, or kept by others, right now: whoever looks next finds it otherwise.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock | ErrorKind::UnexpectedEof)
}

fn throw_away(file: &RecordFile) {
    if let Err(e) = file.spoil() {
        log::warn!("cannot throw away an index of a damaged file: {e}");
    }
}

/// Whether both are the same open file.
fn same(one: &Option<Arc<RecordFile>>, other: &Option<Arc<RecordFile>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// A record of the file.
pub fn record(mark: Mark, window: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD + 8);
    for number in [mark.out, mark.at, mark.block] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record.extend_from_slice(&(window.len() as u16).to_le_bytes());
    record.extend_from_slice(window);
    record.resize(RECORD, 0);
    record
}

/// The mark and the length of the window that a record's head gives.
fn parse(head: &[u8]) -> (Mark, usize) {
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let mark = Mark { out: u64_at(0), at: u64_at(8), block: u64_at(16) };
    (mark, usize::from(u16::from_le_bytes([head[24], head[25]])))
}

#[cfg(test)]
mod tests;
