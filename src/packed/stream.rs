//! Reading a packed stream at any place, by several threads, in bounded memory.
//!
//! A read takes a cursor out of the [`super::pool`], or begins at a mark of the stream's [`super::index`], or at the
//! front, and decodes piece by piece; what it passes on its way is kept for the reads that come with it (the
//! kernel reads ahead in several requests at once, in any order). Marks are made on the way. Who reads in order
//! has the next pieces decoded by other threads ([`super::ahead`]), and what was read whole is not kept: the
//! kernel has it.
//!
//! The checksum of the whole is put together from the pieces, in whatever order they were decoded. If it is
//! wrong, the last page is not given out any more; if somebody has it already, because the end was read before
//! the rest, it is the piece that completes the whole. So nobody gets all of a damaged stream without an error.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::ahead::{Flow, LEAD};
use super::decode::{Decoder, Inflate};
use super::index::Index;
use super::input::Input;
use super::pool::{Cursor, Decoding, NEAR, Opened, PIECE, Working};
use super::sum::{Check, Sum};
use super::whole::{self, Packed, ends_early, fill, note_unused, too_long};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::tree::{Coded, Then};

/// The kernel's page: the smallest read that it repeats by itself when a larger one failed.
const PAGE: u64 = 4096;

/// One packed stream.
#[derive(Debug)]
pub struct Stream {
    pub(super) packed: Packed,
    shared: Arc<Decoding>,
}

impl Stream {
    /// Of `packed`. Nothing is read yet.
    pub(super) fn new(packed: Packed, shared: Arc<Decoding>) -> Arc<Stream> {
        Arc::new(Stream { packed, shared })
    }

    /// A cursor as near before `target` as the index allows, at the start of a piece.
    pub(super) fn enter(&self, target: u64, index: Option<Arc<Index>>) -> Result<Cursor> {
        let Packed { entry, method, ref content, .. } = self.packed;
        let heavy = method.is_heavy();
        let Some(index) = index else {
            return Ok(Cursor { entry, heavy, position: 0, decoder: self.packed.decoder()? });
        };
        if let Some(from) = index.checkpoint(target) {
            let position = from.mark.out.next_multiple_of(PIECE);
            // Up to the next piece nobody gets to see the bytes.
            let mut unseen = self.shared.spare(PIECE as usize);
            let bytes = Arc::get_mut(&mut unseen).expect("nobody else has it");
            let skipped = (position - from.mark.out) as usize;
            let input = |byte| Input::new(content.clone(), byte).ahead_by(&self.shared.aside);
            let entered = Inflate::resume(method, &from, input).and_then(|inflate| {
                let mut decoder = Box::new(inflate.marking(index.clone()));
                match fill(decoder.as_mut(), &mut bytes[..skipped]) {
                    (made, None) if made == skipped => Ok(Some(decoder)),
                    (_, None) => Ok(None),
                    (_, Some(failure)) => Err(failure),
                }
            });
            self.shared.give_back(unseen);
            match entered.map_err(|e| self.refuse(e)) {
                Ok(Some(decoder)) => return Ok(Cursor { entry, heavy, position, decoder }),
                // From the front it may be told what is wrong, and where.
                Ok(None) | Err(Error::Damaged { .. }) => index.forget(from.mark),
                Err(other) => return Err(other),
            }
        }
        let inflate = Inflate::new(method, Input::new(content.clone(), 0).ahead_by(&self.shared.aside));
        let decoder = Box::new(inflate.marking(index));
        Ok(Cursor { entry, heavy, position: 0, decoder })
    }

    /// How many pieces it has.
    pub(super) fn pieces(&self) -> u64 {
        self.packed.size.div_ceil(PIECE)
    }

    /// Where decoding can begin, for a method that allows it.
    pub(super) fn index(&self) -> Option<Arc<Index>> {
        self.shared.index(self)
    }

    /// A piece that is decoded.
    pub(super) fn cached(&self, piece: u64) -> Option<Arc<[u8]>> {
        self.shared.pieces.get(&(self.packed.entry, piece))
    }

    /// The piece that begins at `target`. Shorter than it should be where the stream is damaged.
    pub(super) fn piece(&self, target: u64) -> Result<Arc<[u8]>> {
        loop {
            if let Some(piece) = self.cached(target / PIECE) {
                return Ok(piece);
            }
            let Some(mut working) = self.shared.cursor(self, target, target + PIECE)? else { continue };
            // Taken out while it moves: a decoder that fails, or panics, is not used again.
            let mut cursor = working.cursor.take().expect("a cursor was found or started");
            let piece = self.advance(&mut cursor, target, &working)?;
            if cursor.position < self.packed.size && piece.len() as u64 == PIECE {
                working.cursor = Some(cursor);
            }
            return Ok(piece);
        }
    }

    /// Decodes a row of pieces for whoever reads them soon. Tells `done` of each that is there, and whether the next
    /// one may have to wait for its packed bytes; goes on as long as it says so.
    pub(super) fn decode(&self, pieces: Range<u64>, done: impl Fn(u64, bool) -> bool) -> Result<()> {
        let mut next = pieces.start;
        while next < pieces.end {
            self.verdict(next * PIECE + 1)?;
            let Some(mut working) = self.shared.cursor(self, next * PIECE, pieces.end * PIECE)? else {
                // Somebody else has decoded it.
                if !done(next, true) {
                    return Ok(());
                }
                next += 1;
                continue;
            };
            let mut cursor = working.cursor.take().expect("a cursor was found or started");
            loop {
                self.advance(&mut cursor, next * PIECE, &working)?;
                // Nobody waits for this cursor any more when those who wait for the piece are told.
                working.at(cursor.position);
                let go_on = done(next, cursor.decoder.in_memory() < PIECE as usize);
                next += 1;
                if cursor.position != next * PIECE || cursor.position == self.packed.size {
                    // The stream ends here: there is nothing to go on with.
                    return Ok(());
                }
                if !go_on || next == pieces.end || self.cached(next).is_some() {
                    working.cursor = Some(cursor);
                    if !go_on {
                        return Ok(());
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Decodes up to and including the piece at `target`, which it returns.
    fn advance(&self, cursor: &mut Cursor, target: u64, working: &Working<'_>) -> Result<Arc<[u8]>> {
        loop {
            let at = cursor.position;
            let wanted = PIECE.min(self.packed.size - at) as usize;
            // What is only passed by, or was read, is used again.
            let mut piece = self.shared.spare(wanted);
            let bytes = Arc::get_mut(&mut piece).expect("nobody else has it");
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
                let end = (cursor.position == self.packed.size).then(|| self.end(cursor.decoder.as_mut()));
                self.cover(at, bytes, cursor.decoder.trailer());
                if let Some(end) = end {
                    self.judge(end)?;
                }
            }
            let key = (self.packed.entry, at / PIECE);
            if at == target {
                self.shared.pieces.insert(key, piece.clone(), piece.len() + 64);
                return Ok(piece);
            }
            match short || target - at <= NEAR {
                true => self.shared.pieces.insert(key, piece, wanted + 64),
                false => self.shared.give_back(piece),
            }
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

    /// Counts decoded bytes in, and checks the checksum when they were the last that were missing. The `trailer` is
    /// the one that stands behind the stream, for whoever has come to it.
    fn cover(&self, start: u64, piece: &[u8], trailer: Option<u32>) {
        let Packed { entry, size, check, .. } = self.packed;
        let mut sum = Sum::new(check);
        sum.update(piece);
        let mut pool = self.shared.pool.lock();
        let judged = pool.bad_from.contains_key(&entry);
        if !pool.agrees(entry, start / PIECE, &sum) {
            drop(pool);
            // A mark was not what it seemed; which of the two was right, nobody knows.
            let what =
                "two ways of decoding it give different bytes; the index of it is thrown away, mount again";
            return self.condemn(0, Error::damaged("index-contradicts", &self.packed.name, what));
        }
        if judged {
            return;
        }
        let coverage = pool.coverage.entry(entry).or_default();
        coverage.add(start, piece.len() as u64, sum);
        coverage.trailer = coverage.trailer.or(trailer);
        let Some(found) = coverage.whole(size) else { return };
        if check == Check::Adler32 && coverage.trailer.is_none() {
            // There is no proper end; whoever decodes up to it says so before the end is given out.
            return;
        }
        let outcome = self.packed.judge(found, coverage.trailer);
        coverage.settle();
        let from = if coverage.end_given { start.min(self.last_page()) } else { self.last_page() };
        if outcome.is_ok() {
            pool.bad_from.insert(entry, size);
        }
        drop(pool);
        if let Err(wrong) = outcome {
            self.condemn(from, wrong);
        }
    }

    /// Has what little is missing for a verdict decoded before the end is given out. Readers in order come to the
    /// end while other threads are still at work on what lies before it.
    fn complete(&self) {
        let Packed { entry, size, .. } = self.packed;
        let pool = self.shared.pool.lock();
        if pool.bad_from.contains_key(&entry) {
            return;
        }
        let missing = pool.coverage.get(&entry).and_then(|c| c.missing(size, PIECE, LEAD as usize));
        drop(pool);
        for start in missing.into_iter().flatten() {
            // Whoever reads this piece is told why it cannot be read. The end need not suffer from it.
            if self.piece(start).is_err() {
                return;
            }
        }
    }

    /// At the declared size: the stream has to end here. Says how many packed bytes are left over.
    fn end(&self, decoder: &mut dyn Decoder) -> Result<u64> {
        match decoder.decode(&mut [0u8; 1]) {
            Ok(0) => Ok(decoder.unused()),
            Ok(_) => Err(too_long(&self.packed)),
            Err(e) => Err(self.refuse(e)),
        }
    }

    fn judge(&self, end: Result<u64>) -> Result<()> {
        match end {
            Ok(unused) => {
                note_unused(&self.shared.findings, &self.packed.name, unused);
                Ok(())
            }
            Err(damaged @ Error::Damaged { .. }) => {
                self.condemn(self.last_page(), damaged);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// From `offset` on, no byte of this stream is given out any more.
    fn condemn(&self, offset: u64, why: Error) {
        // Told first: who is refused can look up why.
        if let Some(finding) = Finding::of_damage(&why) {
            self.shared.findings.add(finding);
        }
        let mut pool = self.shared.pool.lock();
        let bad = pool.bad_from.entry(self.packed.entry).or_insert(offset);
        *bad = (*bad).min(offset);
        drop(pool);
        if let Some(index) = self.index() {
            index.spoil();
        }
    }

    /// Whether bytes before `end` may be given out.
    fn verdict(&self, end: u64) -> Result<()> {
        match self.shared.pool.lock().bad_from.get(&self.packed.entry) {
            Some(bad) if end > *bad => Err(self.not_here(*bad)),
            _ => Ok(()),
        }
    }

    /// Gives out bytes before `end`, if that may be done.
    fn give(&self, end: u64) -> Result<()> {
        if end <= self.last_page() {
            return self.verdict(end);
        }
        self.complete();
        let mut pool = self.shared.pool.lock();
        match pool.bad_from.get(&self.packed.entry) {
            Some(bad) if end > *bad => Err(self.not_here(*bad)),
            Some(_) => Ok(()),
            // In one step with the look at the verdict: it comes either before this, or knows of it.
            None => {
                pool.coverage.entry(self.packed.entry).or_default().end_given = true;
                Ok(())
            }
        }
    }

    fn not_here(&self, from: u64) -> Error {
        Error::damaged("stream-damaged", &self.packed.name, format!("it is damaged from byte {from} on"))
    }

    fn refuse(&self, error: io::Error) -> Error {
        whole::refuse(&self.packed.name, error)
    }
}

/// A packed stream that is being read.
#[derive(Debug)]
pub struct Reading {
    stream: Arc<Stream>,
    flow: Arc<Flow>,
}

impl Reading {
    /// Reads `packed`.
    pub fn new(packed: Packed, shared: Arc<Decoding>) -> Reading {
        Reading { stream: Stream::new(packed, shared), flow: Arc::default() }
    }

    /// Takes note of what is read, for what is read next. Who comes first opens the index, and others do not wait
    /// for it here.
    fn read_ahead(&self, piece: u64) {
        let stream = &self.stream;
        if !stream.packed.method.is_heavy()
            && let Opened::Yes(index) = stream.shared.opened(stream)
        {
            stream.shared.ahead.read(stream, &self.flow, piece, index.as_deref());
        }
    }
}

impl Coded for Reading {
    fn size(&self) -> u64 {
        self.stream.packed.size
    }

    fn check(&self) -> Result<()> {
        self.stream.packed.content.check()
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        let last = (offset + len.max(1) as u64 - 1) / PIECE;
        (offset / PIECE..=last).all(|piece| self.stream.cached(piece).is_some())
    }

    fn when_ready(&self, offset: u64, len: usize, then: Then) -> Option<Then> {
        let last = (offset + len.max(1) as u64 - 1) / PIECE;
        if self.stream.verdict(offset + len as u64).is_err() {
            return Some(then);
        }
        self.read_ahead(last);
        self.flow.when_ready(&self.stream, last, then)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let stream = self.stream.as_ref();
        let end = offset + buf.len() as u64;
        stream.verdict(end)?;
        // A source that changed under decoded pieces must not be read from memory either.
        self.check()?;
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
            if n as u64 == PIECE {
                stream.shared.pieces.remove(&(stream.packed.entry, start / PIECE));
                stream.shared.give_back(piece);
            }
            at += n as u64;
        }
        // This very read may have been the first full pass.
        stream.give(end)
    }
}
