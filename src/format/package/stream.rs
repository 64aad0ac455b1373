//! Reading a packed entry at any place, by several threads, in bounded memory.
//!
//! A read takes a cursor out of the [`super::pool`], or begins at a mark of the entry's [`super::index`], or at the
//! front, and decodes piece by piece; what it passes on its way is kept for the reads that come with it (the
//! kernel reads ahead in several requests at once, in any order). Marks are made on the way. Who reads in order
//! has the next pieces decoded by other threads ([`super::ahead`]).
//!
//! The checksum of the whole is put together from the pieces, in whatever order they were decoded. If it is
//! wrong, the last page is not given out any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decode::{self, Inflate, method};
use super::index::Index;
use super::pool::{Cursor, Decoding, NEAR, PIECE, Working};
use super::whole::{self, Packed, check_crc, ends_early, fill, note_unused, too_long};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::store::{Source, SourceReader};
use crate::tree::Coded;

/// Pieces that one thread decodes ahead in one go: about the distance of two marks.
const AHEAD: u64 = 4;
/// The kernel's page: the smallest read that it repeats by itself when a larger one failed.
const PAGE: u64 = 4096;

/// One packed entry.
#[derive(Debug)]
pub struct Stream {
    pub(super) packed: Packed,
    pub(super) source: Arc<Source>,
    shared: Arc<Decoding>,
}

impl Stream {
    /// A cursor as near before `target` as the index allows, at the start of a piece.
    pub(super) fn enter(&self, target: u64, index: Option<Arc<Index>>) -> Result<Cursor> {
        let Packed { entry, method, size, ref range, .. } = self.packed;
        let heavy = method::is_heavy(method);
        let reader = |start| SourceReader::new(self.source.clone(), start..range.end);
        let Some(index) = index else {
            let decoder = decode::decoder(method, reader(range.start), size).map_err(|e| self.refuse(e))?;
            return Ok(Cursor { entry, heavy, position: 0, decoder });
        };
        if let Some(from) = index.checkpoint(target) {
            let input = reader(range.start + from.mark.input - 1);
            let inflate =
                Inflate::resume(input, range.end - range.start, &from).map_err(|e| self.refuse(e))?;
            let mut decoder = Box::new(inflate.marking(index.clone()));
            let position = from.mark.out.next_multiple_of(PIECE);
            // Up to the next piece nobody gets to see the bytes.
            let mut skipped = vec![0; (position - from.mark.out) as usize];
            let (made, failure) = fill(decoder.as_mut(), &mut skipped);
            match failure.map(|e| self.refuse(e)) {
                None if made == skipped.len() => return Ok(Cursor { entry, heavy, position, decoder }),
                // From the front it may be told what is wrong, and where.
                None | Some(Error::Damaged { .. }) => {}
                Some(other) => return Err(other),
            }
        }
        let decoder = Box::new(Inflate::new(reader(range.start)).marking(index));
        Ok(Cursor { entry, heavy, position: 0, decoder })
    }

    /// The piece that begins at `target`. Shorter than it should be where the stream is damaged.
    pub(super) fn piece(&self, target: u64) -> Result<Arc<[u8]>> {
        let key = (self.packed.entry, target / PIECE);
        loop {
            if let Some(piece) = self.shared.pieces.get(&key) {
                return Ok(piece);
            }
            let Some(mut working) = self.shared.cursor(self, target)? else { continue };
            // Taken out while it moves: a decoder that fails, or panics, is not used again.
            let mut cursor = working.cursor.take().expect("a cursor was found or started");
            let piece = self.advance(&mut cursor, target, &working)?;
            if cursor.position < self.packed.size && piece.len() as u64 == PIECE {
                working.cursor = Some(cursor);
            }
            return Ok(piece);
        }
    }

    /// Decodes up to and including the piece at `target`, which it returns.
    fn advance(&self, cursor: &mut Cursor, target: u64, working: &Working<'_>) -> Result<Arc<[u8]>> {
        let mut spare: Option<Arc<[u8]>> = None;
        loop {
            let at = cursor.position;
            let wanted = PIECE.min(self.packed.size - at) as usize;
            // One allocation, decoded into directly; what is only passed by is used again.
            let fits = spare.take().filter(|piece| piece.len() == wanted);
            let mut piece = fits.unwrap_or_else(|| std::iter::repeat_n(0, wanted).collect());
            let bytes = Arc::get_mut(&mut piece).expect("nobody else has seen it");
            let (made, failure) = fill(cursor.decoder.as_mut(), bytes);
            cursor.position += made as u64;
            let short = made < wanted;
            if short {
                piece = piece[..made].into();
                let reason = match failure.map(|e| self.refuse(e)) {
                    Some(damaged @ Error::Damaged { .. }) => damaged,
                    // Not the stream's fault: nothing is remembered.
                    Some(other) => return Err(other),
                    None => ends_early(&self.packed, cursor.position),
                };
                self.condemn(cursor.position, reason);
            } else {
                self.cover(at, bytes);
                if cursor.position == self.packed.size {
                    self.judge(cursor)?;
                }
            }
            let kept = short || target - at <= NEAR;
            if kept {
                let key = (self.packed.entry, at / PIECE);
                self.shared.pieces.insert(key, piece.clone(), piece.len() + 64);
            }
            if at == target {
                return Ok(piece);
            }
            spare = (!kept).then_some(piece);
            working.at(cursor.position);
            if short {
                return Err(self.not_here(at + made as u64));
            }
        }
    }

    /// Where the bytes that nobody gets to see begin, if the whole is found to be wrong.
    fn last_page(&self) -> u64 {
        self.packed.size.saturating_sub(1) / PAGE * PAGE
    }

    /// Counts decoded bytes in, and checks the checksum when they were the last that were missing.
    fn cover(&self, start: u64, piece: &[u8]) {
        let Packed { entry, size, .. } = self.packed;
        let mut crc = crc32fast::Hasher::new();
        crc.update(piece);
        let mut pool = self.shared.pool.lock();
        if pool.bad_from.contains_key(&entry) {
            return;
        }
        let coverage = pool.coverage.entry(entry).or_default();
        coverage.add(start, piece.len() as u64, crc);
        let Some(found) = coverage.whole(size) else { return };
        pool.coverage.remove(&entry);
        let outcome = check_crc(&self.packed, found);
        if outcome.is_ok() {
            pool.bad_from.insert(entry, size);
        }
        drop(pool);
        if let Err(wrong) = outcome {
            self.condemn(self.last_page(), wrong);
        }
    }

    /// At the declared size: the stream has to end here.
    fn judge(&self, cursor: &mut Cursor) -> Result<()> {
        let outcome = match cursor.decoder.decode(&mut [0u8; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(too_long(&self.packed)),
            Err(e) => Err(self.refuse(e)),
        };
        match outcome {
            Ok(()) => {
                note_unused(&self.shared.findings, &self.packed.name, cursor.decoder.unused());
                Ok(())
            }
            Err(damaged @ Error::Damaged { .. }) => {
                self.condemn(self.last_page(), damaged);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// From `offset` on, no byte of this entry is given out any more.
    fn condemn(&self, offset: u64, why: Error) {
        let mut pool = self.shared.pool.lock();
        let bad = pool.bad_from.entry(self.packed.entry).or_insert(offset);
        *bad = (*bad).min(offset);
        drop(pool);
        if let Some(index) = self.shared.index(self) {
            index.spoil();
        }
        if let Some(finding) = Finding::of_damage(&why) {
            self.shared.findings.add(finding);
        }
    }

    /// Whether bytes before `end` may be given out.
    fn verdict(&self, end: u64) -> Result<()> {
        match self.shared.pool.lock().bad_from.get(&self.packed.entry) {
            Some(bad) if end > *bad => Err(self.not_here(*bad)),
            _ => Ok(()),
        }
    }

    fn not_here(&self, from: u64) -> Error {
        Error::damaged("stream-damaged", &self.packed.name, format!("it is damaged from byte {from} on"))
    }

    fn refuse(&self, error: io::Error) -> Error {
        whole::refuse(&self.packed.name, error)
    }
}

/// A packed entry that is being read.
#[derive(Debug)]
pub struct Reading {
    stream: Arc<Stream>,
    /// The piece that was read last, which tells who reads in order.
    last: AtomicU64,
}

impl Reading {
    /// Reads `packed`, whose range lies in `source`.
    pub fn new(packed: Packed, source: Arc<Source>, shared: Arc<Decoding>) -> Reading {
        Reading { stream: Arc::new(Stream { packed, source, shared }), last: AtomicU64::new(u64::MAX) }
    }

    /// Has the next pieces decoded for somebody who reads in order: one stretch for each thread.
    fn read_ahead(&self, piece: u64) {
        let before = self.last.swap(piece, Ordering::Relaxed);
        if before.wrapping_add(1) != piece || !piece.is_multiple_of(AHEAD) {
            return;
        }
        let Stream { packed, shared, .. } = self.stream.as_ref();
        if method::is_heavy(packed.method) {
            return;
        }
        let pieces = packed.size.div_ceil(PIECE);
        let index = shared.index(&self.stream);
        // One more than there are threads, so that none of them waits for the reader.
        for stretch in 1..=shared.ahead.threads() + 1 {
            let from = piece + stretch * AHEAD;
            // Beyond the second, only where a mark lets a thread begin there: else all would start from here.
            let start = from * PIECE;
            let entrance = index.as_ref().map_or(0, |index| index.reach(start));
            if from < pieces && (stretch <= 2 || entrance + 2 * AHEAD * PIECE > start) {
                shared.ahead.want(&self.stream, from..pieces.min(from + AHEAD));
            }
        }
    }
}

impl Coded for Reading {
    fn size(&self) -> u64 {
        self.stream.packed.size
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        let last = (offset + len.max(1) as u64 - 1) / PIECE;
        let Stream { packed, shared, .. } = self.stream.as_ref();
        (offset / PIECE..=last).all(|n| shared.pieces.get(&(packed.entry, n)).is_some())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let stream = self.stream.as_ref();
        let end = offset + buf.len() as u64;
        stream.verdict(end)?;
        // A source that changed under decoded pieces must not be read from memory either.
        stream.source.check()?;
        let mut at = offset;
        while at < end {
            let start = at / PIECE * PIECE;
            self.read_ahead(start / PIECE);
            let piece = stream.piece(start)?;
            let from = (at - start) as usize;
            let n = (end.min(start + PIECE) - at) as usize;
            let Some(bytes) = piece.get(from..from + n) else {
                stream.verdict(end)?;
                return Err(stream.not_here(start + piece.len() as u64));
            };
            buf[(at - offset) as usize..][..n].copy_from_slice(bytes);
            at += n as u64;
        }
        // This very read may have been the first full pass.
        stream.verdict(end)
    }
}
