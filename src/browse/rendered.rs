//! A table, rendered as it is read.
//!
//! ```text
//!   head | stretch | stretch | stretch ...      bytes of the file
//!        ^ mark    ^ mark    ^ mark             row, offset, place in the table
//! ```
//!
//! A stretch is rendered whole, from its mark, and kept while others need the room; the marks are those of
//! [`super::marks`]. Whoever needs a stretch that somebody is rendering waits for it. The size is known before the
//! first byte is given out: from the number of rows where all have one width, from an earlier mount, or by rendering
//! everything once.
//!
//! Invariants. Every stretch begins and ends where it did before, and the last one ends at the size: a table
//! that gives other rows than it gave is an error and never other bytes.
//!
//! Limits. Memory holds stretches of a quarter of a megabyte, each one row at least; a row may have no more than
//! [`MAX_ROW`] bytes. Somebody who reads far behind the last mark has to wait until all in front is rendered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::form::Form;
use super::marks::{Kept, Mark, stretch};
use super::sizes::{Extent, Sizes};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::packed::Decoding;
use crate::store::CacheFolder;
use crate::tree::{Cache, Cell, Coded, Place, Table};

/// Rendered bytes that one project keeps.
const KEPT: usize = 16 << 20;
/// Files that cannot be rendered that are kept in mind.
const MOST_IN_PART: usize = 4096;
/// Rows of a first stretch, when nothing is known of how long they are.
const FIRST_ROWS: u64 = 1024;
/// The most bytes that the texts of one row have together.
const MAX_ROW: usize = 32 << 20;
/// Stands in every key: what rendered otherwise has another.
const VERSION: &[u8] = b"vaso views 5";

/// What tells the content of a view from any other.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// For what is kept from one time to the next, on this machine: no other content has it, whatever its times
    /// and sizes are.
    pub here: [u8; 32],
    /// For what is shown: a function of the project alone, so that a copy of it looks the same.
    pub shown: [u8; 32],
}

/// What all rendered files of a project share.
#[derive(Debug)]
pub struct Shared {
    identity: Identity,
    cache: Option<Arc<CacheFolder>>,
    decoding: Arc<Decoding>,
    sizes: Sizes,
    pieces: Cache<([u8; 16], u64), Arc<Vec<u8>>>,
    /// Files that cannot be rendered to their ends: why, and how much of them can be.
    in_part: Cache<[u8; 16], (Error, u64)>,
    findings: Arc<Findings>,
}

impl Shared {
    /// For the project of this identity, which no other content has.
    pub fn new(identity: Identity, cache: Option<Arc<CacheFolder>>, findings: Arc<Findings>) -> Shared {
        let sizes = Sizes::load(cache.clone(), key(&identity.here, b"sizes", b""));
        // Streams are those of embedded files.
        let of_assets = Findings::retold(findings.clone(), super::asset::retell);
        let decoding = Decoding::new(Arc::new(of_assets), cache.clone());
        let (pieces, in_part) = (Cache::new(KEPT), Cache::new(MOST_IN_PART));
        Shared { identity, cache, decoding, sizes, pieces, in_part, findings }
    }

    /// What the packed streams of the project share.
    pub fn decoding(&self) -> &Arc<Decoding> {
        &self.decoding
    }

    /// The size of the file at `path`, if it is known.
    pub fn size(&self, path: &str) -> Option<u64> {
        self.sizes.get(&hash(path)).map(|extent| extent.size)
    }

    /// Why the file at `path` cannot be rendered to its end, and how much of it can be, if that was found out.
    pub fn in_part(&self, path: &str) -> Option<(Error, u64)> {
        self.in_part.get(&hash(path))
    }

    /// What tells this project from all others.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same as [`Shared::findings`], for whoever keeps them.
    pub fn shared_findings(&self) -> Arc<Findings> {
        self.findings.clone()
    }

    /// Where findings go.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }
}

fn key(identity: &[u8; 32], what: &[u8], path: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(VERSION).update(identity).update(&[what.len() as u8]).update(what).update(path);
    *hasher.finalize().as_bytes()
}

fn hash(path: &str) -> [u8; 16] {
    *blake3::hash(path.as_bytes()).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// A rendered file.
#[derive(Debug)]
pub struct Rendered {
    path: String,
    hash: [u8; 16],
    key: [u8; 32],
    table: Arc<dyn Table>,
    form: Box<dyn Form>,
    head: Vec<u8>,
    /// `u64::MAX` while it is found out.
    size: u64,
    /// The number of rows, where it is known before they are rendered.
    rows: Option<u64>,
    state: Mutex<State>,
    changed: Condvar,
    /// How many of the form's notes were told.
    told: AtomicUsize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct State {
    /// In order; never empty.
    marks: Vec<Mark>,
    /// Offsets of the marks whose stretches are being rendered.
    working: Vec<u64>,
    kept: Kept,
}

/// What a stretch has come to.
#[derive(Debug)]
struct Stretch {
    bytes: Vec<u8>,
    rows: u64,
    next: Option<Place>,
}

/// What there is to do for a stretch.
#[derive(Debug)]
struct Task {
    mark: Mark,
    /// The mark at its end, if there is one.
    end: Option<Mark>,
    /// How many rows to ask for.
    most: u64,
}

impl Rendered {
    /// Makes the file at `path` of `table`, and finds out its size, which may take as long as rendering it.
    pub fn new(
        path: String,
        table: Arc<dyn Table>,
        form: Box<dyn Form>,
        shared: Arc<Shared>,
    ) -> Result<Rendered> {
        let hash = hash(&path);
        let known = shared.sizes.get(&hash);
        let (head, extent) = match form.width() {
            Some(width) => {
                let rows = match known {
                    Some(extent) => extent.rows,
                    None => table.rows()?,
                };
                let head = form.head(rows);
                let size = rows.checked_mul(width as u64).and_then(|n| n.checked_add(head.len() as u64));
                let Some(size) = size.filter(|size| *size < u64::MAX / 2) else {
                    return Err(Error::damaged(
                        "table-too-large",
                        path,
                        "it has more rows than a file can hold",
                    ));
                };
                (head, Some(Extent { size, rows }))
            }
            None => (form.head(0), known),
        };
        let size = extent.map_or(u64::MAX, |extent| extent.size);
        let key = key(&shared.identity.here, b"marks", path.as_bytes());
        let first = Mark { row: 0, offset: head.len() as u64, place: Place::default() };
        let (kept, marks) = match &shared.cache {
            Some(folder) => Kept::load(folder, key, first, size),
            None => (Kept::default(), vec![first]),
        };
        let state = Mutex::new(State { marks, working: Vec::new(), kept });
        let rows = form.width().and(extent).map(|extent| extent.rows);
        let (changed, told) = (Condvar::new(), AtomicUsize::new(0));
        let mut rendered =
            Rendered { path, hash, key, table, form, head, size, rows, state, changed, told, shared };
        let extent = match extent {
            Some(extent) => extent,
            None => rendered.survey().inspect_err(|why| rendered.give_up(why))?,
        };
        rendered.size = extent.size;
        rendered.shared.sizes.add(hash, extent);
        Ok(rendered)
    }

    /// Renders from the last mark to the end.
    fn survey(&self) -> Result<Extent> {
        loop {
            let last = self.state.lock().marks.last().expect("there is a first").clone();
            let (piece, rows) = self.make(&self.turn(last.offset))?;
            if self.is_last(last.offset) {
                return Ok(Extent { size: last.offset + piece.len() as u64, rows: last.row + rows });
            }
        }
    }

    /// Keeps why it is not to be had, and how much of it is. What the disk is to blame for may be over the next time.
    fn give_up(&self, why: &Error) {
        if let Error::Damaged { .. } | Error::Unsupported { .. } = why {
            let end = self.state.lock().marks.last().map_or(0, |mark| mark.offset);
            self.shared.in_part.insert(self.hash, (why.clone(), end), 1);
        }
    }

    /// The bytes of the stretch whose mark is at `offset`, from memory or rendered.
    fn piece(&self, offset: u64) -> Result<Arc<Vec<u8>>> {
        let kept = || self.shared.pieces.get(&(self.hash, offset));
        if let Some(piece) = kept() {
            return Ok(piece);
        }
        let turn = self.turn(offset);
        // Whoever had the turn before may have rendered it.
        match kept() {
            Some(piece) => Ok(piece),
            None => Ok(self.make(&turn)?.0),
        }
    }

    /// Waits until nobody else is at work on the stretch.
    fn turn(&self, offset: u64) -> Turn<'_> {
        let mut state = self.state.lock();
        while state.working.contains(&offset) {
            self.changed.wait(&mut state);
        }
        state.working.push(offset);
        Turn { rendered: self, offset }
    }

    /// Renders a stretch, keeps it, and gives it with its rows.
    fn make(&self, turn: &Turn<'_>) -> Result<(Arc<Vec<u8>>, u64)> {
        let task = self.task(turn.offset);
        let stretch = self.stretch(&task)?;
        self.tell();
        self.judge(&task, &stretch).inspect_err(|_| self.spoil())?;
        let Stretch { bytes, rows, next } = stretch;
        let end = turn.offset + bytes.len() as u64;
        if let (None, Some(place)) = (&task.end, next) {
            let mark = Mark { row: task.mark.row + rows, offset: end, place };
            let state = &mut *self.state.lock();
            if let Some(folder) = &self.shared.cache {
                state.kept.add(folder, self.key, &mark);
            }
            state.marks.push(mark);
        }
        let piece = Arc::new(bytes);
        self.shared.pieces.insert((self.hash, turn.offset), piece.clone(), piece.len());
        Ok((piece, rows))
    }

    fn task(&self, offset: u64) -> Task {
        let state = self.state.lock();
        let at = state.marks.partition_point(|mark| mark.offset < offset);
        let mark = state.marks[at].clone();
        let end = state.marks.get(at + 1).cloned();
        let wanted = stretch(offset);
        let before = at.checked_sub(1).map(|before| &state.marks[before]);
        let most = match (&end, self.form.width(), before) {
            (Some(end), ..) => end.row - mark.row,
            (None, Some(width), _) => wanted / (width as u64).max(1),
            // As many as there would be if rows were as long as those just before.
            (None, None, Some(before)) => {
                let (rows, bytes) = (mark.row - before.row, mark.offset - before.offset);
                (u128::from(rows) * u128::from(wanted) / u128::from(bytes.max(1))) as u64
            }
            (None, None, None) => FIRST_ROWS,
        };
        Task { mark, end, most: most.max(1) }
    }

    /// Renders; with fewer rows than it was to be, if they are too long.
    fn stretch(&self, task: &Task) -> Result<Stretch> {
        let wanted = stretch(task.mark.offset) as usize;
        let most_bytes = match &task.end {
            Some(end) => (end.offset - task.mark.offset) as usize,
            None => wanted * 2,
        };
        let mut most = task.most;
        loop {
            let expected = if task.most < FIRST_ROWS { 1 << 14 } else { wanted / 8 * 9 };
            let mut bytes = Vec::with_capacity(expected.min(most_bytes));
            let (mut rows, mut fitting, mut too_long) = (0u64, 0u64, None);
            let next = self.table.read(&task.mark.place, most, &mut |cells: &[Cell<'_>]| {
                self.weigh(cells)?;
                self.form.row(cells, &mut bytes);
                rows += 1;
                if bytes.len() <= wanted {
                    fitting = rows;
                }
                if bytes.len() > most_bytes && rows > 1 {
                    too_long = Some(fitting.max(1));
                    return Err(self.damaged("its rows are longer than those that were counted before"));
                }
                Ok(())
            });
            match too_long {
                // Not for want of room: it had to end at a mark.
                Some(fewer) if task.end.is_none() => most = fewer,
                _ => {
                    let next = next.inspect_err(|_| {
                        if too_long.is_some() {
                            self.spoil()
                        }
                    })?;
                    bytes.shrink_to(bytes.len() + bytes.len() / 4);
                    return Ok(Stretch { bytes, rows, next });
                }
            }
        }
    }

    /// Refuses a row that nobody could use, before it takes the memory.
    fn weigh(&self, cells: &[Cell<'_>]) -> Result<()> {
        let bytes = cells.iter().map(|cell| match cell {
            Cell::Text(bytes) | Cell::Blob(bytes) => bytes.len(),
            _ => 0,
        });
        if self.form.width().is_some() || bytes.sum::<usize>() <= MAX_ROW {
            return Ok(());
        }
        let what = "a row of it has more than 32 MiB of text, which no reader of tables is known to take";
        Err(Error::Unsupported { entry: self.path.clone(), what: what.to_string() })
    }

    /// Whether a stretch is what it has to be.
    fn judge(&self, task: &Task, stretch: &Stretch) -> Result<()> {
        let Task { mark, end, .. } = task;
        let (row, offset) = (mark.row + stretch.rows, mark.offset + stretch.bytes.len() as u64);
        let width_is_right =
            self.form.width().is_none_or(|width| stretch.rows * width as u64 == stretch.bytes.len() as u64);
        let right = match (end, &stretch.next) {
            (Some(end), Some(next)) => (row, offset, next) == (end.row, end.offset, &end.place),
            // The table says only now that there is nothing behind the last mark.
            (Some(end), None) => (row, offset) == (end.row, end.offset) && offset == self.size,
            (None, Some(_)) => stretch.rows > 0 && offset <= self.size,
            (None, None) => self.size == u64::MAX || offset == self.size,
        };
        match right && width_is_right && self.rows.is_none_or(|rows| row <= rows) {
            true => Ok(()),
            false => Err(self.damaged("its rows are not those that were counted before")),
        }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged("rows-differ", &self.path, what)
    }

    /// What is remembered of the table does not fit it: the next mount finds out anew.
    fn spoil(&self) {
        self.state.lock().kept.spoil();
        self.shared.sizes.spoil(&self.hash);
    }

    /// Makes a finding of what the form has to say, once.
    fn tell(&self) {
        let notes = self.form.notes();
        if self.told.fetch_max(notes.len(), Ordering::Relaxed) == notes.len() {
            return;
        }
        for (code, what) in notes {
            let remedy =
                "no reason to act if the view is only looked at; the project's own bytes are unchanged";
            self.shared.findings.add(Finding::new(Severity::Notice, code, &self.path, what, remedy));
        }
    }

    /// The offset of the last known mark at or in front of `at`.
    fn reach(&self, at: u64) -> u64 {
        let state = self.state.lock();
        let behind = state.marks.partition_point(|mark| mark.offset <= at);
        state.marks[behind - 1].offset
    }

    /// The bytes of the longest stretch between two marks.
    #[cfg(test)]
    pub fn longest_stretch(&self) -> u64 {
        let state = self.state.lock();
        state.marks.windows(2).map(|pair| pair[1].offset - pair[0].offset).max().unwrap_or(0)
    }

    fn is_last(&self, offset: u64) -> bool {
        self.state.lock().marks.last().is_some_and(|mark| mark.offset == offset)
    }

    /// Copies from the stretches what is at `at`, as much as one of them has.
    fn copy(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        loop {
            let start = self.reach(at);
            let piece = self.piece(start)?;
            let from = (at - start) as usize;
            if let Some(bytes) = piece.get(from..).filter(|bytes| !bytes.is_empty()) {
                let n = bytes.len().min(buf.len());
                buf[..n].copy_from_slice(&bytes[..n]);
                return Ok(n);
            }
            if self.reach(at) > start {
                continue;
            }
            // What was kept by an earlier opening has set no mark in this one.
            let turn = self.turn(start);
            if self.is_last(start) {
                self.make(&turn)?;
            }
            if self.reach(at) == start {
                return Err(self.damaged("it has fewer rows than were counted before"));
            }
        }
    }
}

/// Somebody is at work on a stretch.
#[derive(Debug)]
struct Turn<'a> {
    rendered: &'a Rendered,
    offset: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.rendered.state.lock();
        if let Some(at) = state.working.iter().position(|offset| *offset == self.offset) {
            state.working.swap_remove(at);
        }
        self.rendered.changed.notify_all();
    }
}

impl Coded for Rendered {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        let end = offset + len as u64;
        let mut at = offset.max(self.head.len() as u64);
        while at < end {
            let start = self.reach(at);
            match self.shared.pieces.get(&(self.hash, start)) {
                Some(piece) if start + piece.len() as u64 > at => at = start + piece.len() as u64,
                _ => return false,
            }
        }
        true
    }

    fn check(&self) -> Result<()> {
        self.table.check()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        // What was rendered of a source that changed must not be read from memory either.
        self.check()?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            done += match self.head.get(at as usize..) {
                Some(head) if !head.is_empty() => {
                    let n = head.len().min(buf.len() - done);
                    buf[done..done + n].copy_from_slice(&head[..n]);
                    n
                }
                _ => self.copy(at, &mut buf[done..])?,
            };
        }
        Ok(())
    }
}
