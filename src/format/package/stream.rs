//! Reading a packed entry at any place, by several threads, in bounded memory.
//!
//! A [`Cursor`] is a decoder somewhere in an entry. A read takes the nearest one behind its place out of the
//! pool, or starts at the front, and decodes piece by piece; what it passes on its way is kept for the reads
//! that come with it (the kernel reads ahead in several requests at once, in any order). Nobody queues behind
//! another reader, unless that one is about to pass the very place.
//!
//! Memory: [`IDLE`] cursors and [`PIECES`] bytes of decoded pieces for a whole package, however many entries
//! are open and whatever they declare.
//!
//! A deflate stream has an index ([`super::index`]): a cursor may begin at a mark in the middle, and makes marks
//! on its way. Who reads in order has the next pieces decoded ahead, by other threads, from the next marks.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::coverage::Coverage;
use super::decode::{self, Decoder, Inflate, method};
use super::index::Index;
use crate::error::{Error, Result, from_io};
use crate::finding::{Finding, Findings, Severity};
use crate::store::{CacheFolder, Source, SourceReader};
use crate::tree::{Cache, Coded};

/// Decoded bytes are kept in pieces of this size: what the kernel asks for at once.
pub const PIECE: u64 = 128 * 1024;
/// Decoded bytes that are kept for all entries together.
const PIECES: usize = 16 << 20;
/// Idle cursors that are kept for all entries together; each takes about 150 KiB.
const IDLE: usize = 48;
/// A place that another cursor will pass this soon is worth waiting for.
const NEAR: u64 = 12 * PIECE;
/// Pieces that one thread decodes ahead in one go: about the distance of two marks.
const AHEAD: u64 = 4;
/// Indexes that are kept open.
const INDEXES: usize = 64;
/// The kernel's page: the smallest read that it repeats by itself when a larger one failed.
const PAGE: u64 = 4096;

/// What all packed entries of a package share.
#[derive(Debug)]
pub struct Decoding {
    pool: Mutex<Pool>,
    /// A cursor has moved, or is back.
    moved: Condvar,
    pieces: Cache<(u32, u64), Arc<[u8]>>,
    indexes: Cache<u32, Arc<Index>>,
    folder: Option<Arc<CacheFolder>>,
    ahead: Ahead,
    findings: Arc<Findings>,
}

#[derive(Debug, Default)]
struct Pool {
    next_ticket: u64,
    idle: VecDeque<Cursor>,
    /// The cursors that are being used.
    busy: Vec<Busy>,
    /// Entries that were decoded to their end, and from where on they cannot be trusted; the size if nowhere.
    bad_from: HashMap<u32, u64>,
    /// What was decoded of entries that have no verdict yet.
    coverage: HashMap<u32, Coverage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Busy {
    ticket: u64,
    entry: u32,
    position: u64,
    heavy: bool,
}

/// A decoder at a multiple of [`PIECE`], or at the end, of one entry.
#[derive(Debug)]
struct Cursor {
    entry: u32,
    heavy: bool,
    position: u64,
    decoder: Box<dyn Decoder>,
}

/// What is to be decoded.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The entry's number in its package.
    pub entry: u32,
    /// Its path, for messages.
    pub name: String,
    /// Compression method.
    pub method: u16,
    /// Where its packed bytes lie.
    pub range: Range<u64>,
    /// Decoded size.
    pub size: u64,
    /// CRC-32 of the decoded bytes.
    pub crc: u32,
    /// Its time, in seconds.
    pub time: i64,
}

impl Packed {
    /// What an index lies under: everything that the package says of the content.
    fn key(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        hash.update(b"deflate index 1");
        hash.update(self.name.as_bytes());
        for number in [self.size, self.range.end - self.range.start, self.crc.into(), self.time as u64] {
            hash.update(&number.to_le_bytes());
        }
        *hash.finalize().as_bytes()
    }
}

impl Decoding {
    /// Nothing decoded yet. Indexes lie in `folder`, or in memory.
    pub fn new(findings: Arc<Findings>, folder: Option<Arc<CacheFolder>>) -> Arc<Decoding> {
        Arc::new(Decoding {
            pool: Mutex::default(),
            moved: Condvar::new(),
            pieces: Cache::new(PIECES),
            // Without a folder an index takes memory, else a file descriptor.
            indexes: Cache::new(if folder.is_some() { INDEXES } else { 4 }),
            folder,
            ahead: Ahead::default(),
            findings,
        })
    }

    /// The index of a stream that has one.
    fn index(&self, packed: &Packed) -> Option<Arc<Index>> {
        if packed.method != method::DEFLATE {
            return None;
        }
        if let Some(index) = self.indexes.get(&packed.entry) {
            return Some(index);
        }
        let length = packed.range.end - packed.range.start;
        let index = Arc::new(Index::open(self.folder.as_deref(), packed.key(), length, packed.size));
        self.indexes.insert(packed.entry, index.clone(), 1);
        Some(index)
    }

    /// The cursor from which `target` is reached soonest; waits for one that is about to get there. `None`
    /// when somebody else has decoded the piece in the meantime.
    fn cursor<'a>(&'a self, stream: &Stream, target: u64) -> Result<Option<Working<'a>>> {
        let Packed { entry, method, .. } = stream.packed;
        let heavy = method::is_heavy(method);
        let before = |position: u64| position <= target;
        let index = self.index(&stream.packed);
        let mut pool = self.pool.lock();
        loop {
            if self.pieces.get(&(entry, target / PIECE)).is_some() {
                return Ok(None);
            }
            let idle = (0..pool.idle.len())
                .filter(|i| pool.idle[*i].entry == entry && before(pool.idle[*i].position))
                .max_by_key(|i| pool.idle[*i].position);
            let mark = index.as_ref().map_or(0, |index| index.reach(target));
            let idle = idle.filter(|i| pool.idle[*i].position >= mark);
            let reached = idle.map_or(mark, |i| pool.idle[i].position);
            let coming = pool.busy.iter().any(|busy| {
                let near = before(busy.position) && target - busy.position <= NEAR;
                let nearer = busy.position > reached || reached == 0;
                // Of decoders that may take much memory, one works at a time.
                (busy.entry == entry && near && nearer) || (heavy && busy.heavy)
            });
            if coming {
                self.moved.wait(&mut pool);
                continue;
            }
            let ticket = pool.next_ticket;
            pool.next_ticket += 1;
            pool.busy.push(Busy { ticket, entry, position: reached, heavy });
            if heavy && idle.is_none() {
                pool.idle.retain(|cursor| !cursor.heavy);
            }
            let found = idle.and_then(|i| pool.idle.remove(i));
            drop(pool);
            // From here on the ticket is given back whatever happens.
            let mut working = Working { shared: self, ticket, cursor: None };
            working.cursor = Some(match found {
                Some(cursor) => cursor,
                None => stream.enter(target, index)?,
            });
            return Ok(Some(working));
        }
    }
}

/// A cursor in use. Dropped with it, the cursor is back in the pool; without, it is gone.
struct Working<'a> {
    shared: &'a Decoding,
    ticket: u64,
    cursor: Option<Cursor>,
}

impl Working<'_> {
    /// Says how far the cursor is, to those who wait for it.
    fn at(&self, position: u64) {
        let mut pool = self.shared.pool.lock();
        if let Some(busy) = pool.busy.iter_mut().find(|busy| busy.ticket == self.ticket) {
            busy.position = position;
        }
        drop(pool);
        self.shared.moved.notify_all();
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut pool = self.shared.pool.lock();
        pool.busy.retain(|busy| busy.ticket != self.ticket);
        pool.idle.extend(self.cursor.take());
        if pool.idle.len() > IDLE {
            pool.idle.pop_front();
        }
        drop(pool);
        self.shared.moved.notify_all();
    }
}

/// One packed entry.
#[derive(Debug)]
struct Stream {
    packed: Packed,
    source: Arc<Source>,
    shared: Arc<Decoding>,
}

impl Stream {
    /// A cursor as near before `target` as the index allows, at the start of a piece.
    fn enter(&self, target: u64, index: Option<Arc<Index>>) -> Result<Cursor> {
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
    fn piece(&self, target: u64) -> Result<Arc<[u8]>> {
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
            self.cover(at, &bytes[..made]);
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
            } else if cursor.position == self.packed.size {
                self.judge(cursor)?;
            }
            if short || target - at <= NEAR {
                let key = (self.packed.entry, at / PIECE);
                self.shared.pieces.insert(key, piece.clone(), piece.len() + 64);
            } else {
                spare = Some(piece.clone());
            }
            if at == target {
                return Ok(piece);
            }
            drop(piece);
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
        refuse(&self.packed.name, error)
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
        let index = shared.index(packed);
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

/// Threads that decode ahead. They come with the first who reads in order, and end with the package.
#[derive(Debug, Default)]
struct Ahead {
    wanted: OnceLock<SyncSender<(Arc<Stream>, Range<u64>)>>,
}

impl Ahead {
    fn threads(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |n| n.get().min(8)) as u64
    }

    /// Has these pieces decoded, unless there is more to do already.
    fn want(&self, stream: &Arc<Stream>, pieces: Range<u64>) {
        let wanted = self.wanted.get_or_init(|| {
            let threads = self.threads();
            let (wanted, work) = sync_channel::<(Arc<Stream>, Range<u64>)>(threads as usize * 4);
            let work = Arc::new(Mutex::new(work));
            for _ in 0..threads {
                let work = work.clone();
                let name = "vaso-ahead".to_string();
                let decode = move || {
                    // The lock is for taking work, one thread at a time; it is given back before the work.
                    while let Some((stream, mut pieces)) = next(&work) {
                        // What fails here fails again for whoever reads it, and is told then.
                        while pieces.next().is_some_and(|n| stream.piece(n * PIECE).is_ok()) {}
                    }
                };
                if let Err(e) = std::thread::Builder::new().name(name).spawn(decode) {
                    log::warn!("cannot decode ahead: {e}");
                }
            }
            wanted
        });
        // Full: those who decode are behind already.
        let _ = wanted.try_send((stream.clone(), pieces));
    }
}

fn next<T>(work: &Mutex<Receiver<T>>) -> Option<T> {
    work.lock().recv().ok()
}

/// Decodes until `out` is full or the stream ends; what was decoded before a failure counts.
fn fill(decoder: &mut dyn Decoder, out: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut made = 0;
    while made < out.len() {
        match decoder.decode(&mut out[made..]) {
            Ok(0) => break,
            Ok(n) => made += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (made, Some(e)),
        }
    }
    (made, None)
}

/// Decodes a whole entry in order, hands every piece to `each`, and checks size and checksum.
pub fn decode_all(
    packed: &Packed,
    source: &Arc<Source>,
    findings: &Findings,
    mut each: impl FnMut(&[u8]),
) -> Result<()> {
    let input = SourceReader::new(source.clone(), packed.range.clone());
    let failed = |e| refuse(&packed.name, e);
    let mut decoder = decode::decoder(packed.method, input, packed.size).map_err(failed)?;
    let mut buf = vec![0u8; PIECE.min(packed.size.max(1)) as usize];
    let mut crc = crc32fast::Hasher::new();
    let mut made = 0u64;
    while made < packed.size {
        let wanted = (packed.size - made).min(buf.len() as u64) as usize;
        let (n, failure) = fill(decoder.as_mut(), &mut buf[..wanted]);
        crc.update(&buf[..n]);
        each(&buf[..n]);
        made += n as u64;
        if let Some(e) = failure {
            return Err(failed(e));
        }
        if n < wanted {
            return Err(ends_early(packed, made));
        }
    }
    if decoder.decode(&mut [0u8; 1]).map_err(failed)? != 0 {
        return Err(too_long(packed));
    }
    check_crc(packed, crc.finalize())?;
    note_unused(findings, &packed.name, decoder.unused());
    Ok(())
}

fn ends_early(packed: &Packed, made: u64) -> Error {
    let what = format!("its packed stream ends after {made} of {} bytes", packed.size);
    Error::damaged("size-mismatch", &packed.name, what)
}

fn too_long(packed: &Packed) -> Error {
    let what = format!("its packed stream is longer than the {} bytes it declares", packed.size);
    Error::damaged("size-mismatch", &packed.name, what)
}

fn check_crc(packed: &Packed, found: u32) -> Result<()> {
    if found == packed.crc {
        return Ok(());
    }
    let what = format!("the checksum of its bytes is {found:08x}, the package says {:08x}", packed.crc);
    Err(Error::damaged("crc-mismatch", &packed.name, what))
}

fn note_unused(findings: &Findings, name: &str, unused: u64) {
    if unused > 0 {
        findings.add(Finding::new(
            Severity::Warning,
            "bytes-after-stream",
            name,
            format!("{unused} bytes stand behind the end of its packed stream; size and checksum are right"),
            "nothing is lost; saving the package anew removes them",
        ));
    }
}

/// A decoder's complaint as an error of ours.
fn refuse(name: &str, error: io::Error) -> Error {
    from_io(error, |e| match e.kind() {
        io::ErrorKind::Unsupported => Error::Unsupported { entry: name.to_string(), what: e.to_string() },
        _ => Error::damaged("stream-damaged", name, format!("its packed stream is damaged: {e}")),
    })
}
