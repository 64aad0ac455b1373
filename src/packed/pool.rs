//! What all packed streams of a project share: decoders that wait where they were left, decoded pieces, indexes.
//!
//! A [`Cursor`] is a decoder somewhere in a stream. Whoever needs a place takes the nearest one before it, and
//! brings it back; nobody queues behind another reader, unless that one is about to pass the very place.
//!
//! Memory: [`IDLE`] cursors and [`PIECES`] bytes of decoded pieces for a whole project, however many streams
//! are open and whatever they declare.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::ahead::Ahead;
use super::aside::Aside;
use super::coverage::Coverage;
use super::decode::Decoder;
use super::index::{Index, Memory};
use super::stream::Stream;
use super::sum::Sum;
use super::whole::Packed;
use crate::error::Result;
use crate::finding::Findings;
use crate::store::CacheFolder;
use crate::tree::Cache;

/// Decoded bytes are kept in pieces of this size: what the kernel asks for at once.
pub const PIECE: u64 = 128 * 1024;
/// Decoded bytes that are kept for all streams together.
const PIECES: usize = 10 << 20;
/// Idle cursors that are kept for all streams together, of 60 KiB each: files that are read side by side have one each.
const IDLE: usize = 64;
/// Those that were used last keep their room, up to 700 KiB each.
const READY: usize = 8;
/// A place that another cursor will pass this soon is worth waiting for.
pub const NEAR: u64 = 12 * PIECE;
/// Waiting for this much to be decoded takes as long as entering at a mark, and no core.
const SOON: u64 = 4 * PIECE;
/// Spare pieces that are kept.
const SPARE: usize = 16;
/// Indexes that are kept open: each is a file descriptor, or a few marks whose windows have a bound of their own.
const INDEXES: usize = 64;
const IN_MEMORY: usize = 4096;
/// So many pieces of all streams together are compared with what they were before: 16 GiB, and some megabytes.
const MOST_SUMS: usize = 1 << 17;

/// What all packed streams of a project share. They are told apart by their numbers, which the project gives, or by
/// what each is known by; not by both in one project.
#[derive(Debug)]
pub struct Decoding {
    pub(super) pool: Mutex<Pool>,
    /// A cursor has moved, or is back.
    moved: Condvar,
    pub(super) pieces: Cache<(u32, u64), Arc<[u8]>>,
    /// Pieces that nobody has any more, to be decoded into.
    spare: Mutex<Vec<Arc<[u8]>>>,
    numbers: Mutex<HashMap<[u8; 32], u32>>,
    indexes: Cache<u32, Arc<OnceLock<Arc<Index>>>>,
    /// Held while a place for an index is made, and not while that is opened.
    opening: Mutex<()>,
    memory: Arc<Memory>,
    folder: Option<Arc<CacheFolder>>,
    pub(super) ahead: Ahead,
    pub(super) aside: Arc<Aside>,
    pub(super) findings: Arc<Findings>,
}

#[derive(Debug, Default)]
pub struct Pool {
    next_ticket: u64,
    idle: VecDeque<Cursor>,
    /// The cursors that are being used.
    busy: Vec<Busy>,
    /// Streams that were decoded to their end, and from where on they cannot be trusted; the size if nowhere.
    pub(super) bad_from: HashMap<u32, u64>,
    /// What was decoded of each stream.
    pub(super) coverage: HashMap<u32, Coverage>,
    /// How many checksums of pieces are kept.
    sums: usize,
}

impl Pool {
    /// Whether a piece of a stream is what it was when it was decoded before, as far as that is known.
    pub(super) fn agrees(&mut self, entry: u32, piece: u64, sum: &Sum) -> bool {
        let coverage = self.coverage.entry(entry).or_default();
        let before = coverage.sums();
        let agrees = coverage.agrees(piece, sum, MOST_SUMS);
        self.sums += coverage.sums() - before;
        if self.sums > MOST_SUMS {
            // Those first of streams that were checked as a whole.
            for unchecked in [false, true] {
                for (other, coverage) in &mut self.coverage {
                    if *other != entry && (unchecked || self.bad_from.contains_key(other)) {
                        self.sums -= coverage.forget_sums();
                    }
                }
                if self.sums <= MOST_SUMS {
                    break;
                }
            }
        }
        agrees
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Busy {
    ticket: u64,
    entry: u32,
    position: u64,
    /// How far it is going to go.
    until: u64,
    heavy: bool,
}

/// What is known of an index without opening it.
pub enum Opened {
    /// It is open; or there is none, for another method.
    Yes(Option<Arc<Index>>),
    /// Opening it takes its time.
    NotYet,
}

/// A decoder at a multiple of [`PIECE`], or at the end, of one stream.
#[derive(Debug)]
pub struct Cursor {
    pub(super) entry: u32,
    pub(super) heavy: bool,
    pub(super) position: u64,
    pub(super) decoder: Box<dyn Decoder>,
}

impl Decoding {
    /// Nothing decoded yet. Indexes lie in `folder`, or in memory.
    pub fn new(findings: Arc<Findings>, folder: Option<Arc<CacheFolder>>) -> Arc<Decoding> {
        Arc::new(Decoding {
            pool: Mutex::default(),
            moved: Condvar::new(),
            pieces: Cache::new(PIECES),
            spare: Mutex::default(),
            numbers: Mutex::default(),
            indexes: Cache::new(if folder.is_some() { INDEXES } else { IN_MEMORY }),
            opening: Mutex::default(),
            memory: Arc::default(),
            folder,
            ahead: Ahead::default(),
            aside: Arc::default(),
            findings,
        })
    }

    /// The number of the stream that is known by `identity`.
    pub(super) fn number(&self, identity: [u8; 32]) -> u32 {
        let mut numbers = self.numbers.lock();
        let next = numbers.len() as u32;
        *numbers.entry(identity).or_insert(next)
    }

    /// A piece of `len` bytes to be decoded into.
    pub(super) fn spare(&self, len: usize) -> Arc<[u8]> {
        let found = if len as u64 == PIECE { self.spare.lock().pop() } else { None };
        found.unwrap_or_else(|| std::iter::repeat_n(0, len).collect())
    }

    /// Takes a piece back, if nobody else has it.
    pub(super) fn give_back(&self, mut piece: Arc<[u8]>) {
        if piece.len() as u64 == PIECE && Arc::get_mut(&mut piece).is_some() {
            let mut spare = self.spare.lock();
            if spare.len() < SPARE {
                spare.push(piece);
            }
        }
    }

    /// The index of a stream, if it is open or there can be none.
    pub(super) fn opened(&self, stream: &Stream) -> Opened {
        if !stream.packed.method.has_index() {
            return Opened::Yes(None);
        }
        let slot = self.indexes.get(&stream.packed.entry);
        slot.and_then(|slot| slot.get().cloned()).map_or(Opened::NotYet, |index| Opened::Yes(Some(index)))
    }

    /// The index of a stream that has one.
    pub(super) fn index(&self, stream: &Stream) -> Option<Arc<Index>> {
        let Packed { entry, method, size, ref content, .. } = stream.packed;
        if !method.has_index() {
            return None;
        }
        let slot = self.indexes.get(&entry).unwrap_or_else(|| {
            // One of each stream: two would keep every mark twice.
            let _opening = self.opening.lock();
            self.indexes.get(&entry).unwrap_or_else(|| {
                let slot = Arc::<OnceLock<_>>::default();
                self.indexes.insert(entry, slot.clone(), 1);
                slot
            })
        });
        let open = || {
            let place = self.folder.clone().zip(stream.packed.key());
            Index::open(place, content.size(), size).shared(&self.aside, &self.memory)
        };
        Some(slot.get_or_init(open).clone())
    }

    /// The cursor from which `target` is reached soonest, to go on until `until`; waits for one that is about to
    /// get there. `None` when somebody else has decoded the piece in the meantime.
    pub(super) fn cursor(&self, stream: &Stream, target: u64, until: u64) -> Result<Option<Working<'_>>> {
        let Packed { entry, method, .. } = stream.packed;
        let heavy = method.is_heavy();
        let before = |position: u64| position <= target;
        let index = self.index(stream);
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
                // Who is on the way there is not far behind whoever would begin at a mark now.
                let passes = target < busy.until && busy.position + SOON >= reached;
                let nearer = busy.position > reached || reached == 0 || passes;
                // Of decoders that may take much memory, one works at a time.
                (busy.entry == entry && near && nearer) || (heavy && busy.heavy)
            });
            if coming {
                self.moved.wait(&mut pool);
                continue;
            }
            let ticket = pool.next_ticket;
            pool.next_ticket += 1;
            pool.busy.push(Busy { ticket, entry, position: reached, until, heavy });
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
pub struct Working<'a> {
    shared: &'a Decoding,
    ticket: u64,
    pub(super) cursor: Option<Cursor>,
}

impl Working<'_> {
    /// Says how far the cursor is, to those who wait for it.
    pub(super) fn at(&self, position: u64) {
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
        let oldest = if pool.idle.len() > IDLE { pool.idle.pop_front() } else { None };
        let resting = pool.idle.len().checked_sub(READY + 1);
        let room = resting.map(|at| pool.idle[at].decoder.rest());
        drop(pool);
        self.shared.moved.notify_all();
        // Memory goes back without the lock.
        drop((oldest, room));
    }
}

#[cfg(test)]
mod tests {
    use super::super::sum::Check;
    use super::*;

    #[test]
    fn checksums_of_pieces_have_one_bound_and_those_of_what_was_checked_go_first() {
        let sum = |bytes: &[u8]| {
            let mut sum = Sum::new(Check::None);
            sum.update(bytes);
            sum
        };
        let (right, wrong) = (sum(b"right"), sum(b"wrong"));
        let mut pool = Pool::default();
        let third = MOST_SUMS as u64 / 3;
        for entry in 0..3 {
            assert!((0..third).all(|piece| pool.agrees(entry, piece, &right)));
        }
        assert!(!pool.agrees(0, 5, &wrong) && !pool.agrees(1, 5, &wrong));
        // One of them was checked as a whole.
        pool.bad_from.insert(1, 1 << 30);
        for entry in 3..50 {
            assert!((0..third).all(|piece| pool.agrees(entry, piece, &right)));
            let kept: usize = pool.coverage.values().map(Coverage::sums).sum();
            assert!(kept == pool.sums && kept <= MOST_SUMS, "{kept} of {MOST_SUMS}");
            assert!(entry > 3 || (!pool.agrees(0, 5, &wrong) && pool.agrees(1, 5, &wrong)));
            assert!(!pool.agrees(entry, 5, &wrong), "the newest is always compared");
        }
    }
}
