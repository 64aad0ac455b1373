//! The numbers that the kernel holds, and what they stand for.
//!
//! A number is entered when a look-up gives it out and leaves when the kernel has forgotten it as often as it
//! was told. They are kept in shards by number, each with its own lock.
//!
//! The tables of the shards grow by doubling. Were all of a size, all would double at once, and then half of their
//! memory would lie idle; so the shards are of sizes evenly spread between one and two, and at any
//! number of entries some have just doubled and others are nearly full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Part;
use super::numbers::Numbers;
use crate::tree::{Kind, NodeId};

const SHARDS: usize = 32;

/// A node of a part of a revision, which lives as long as something refers to it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which part of which revision.
    pub part: Arc<Part>,
    /// Which node of its tree.
    pub node: NodeId,
}

impl Place {
    /// Whether the bytes of this place are the very same as those of another with the same number.
    pub fn same_bytes(&self, other: &Place) -> bool {
        let origin = |place: &Place| place.part.branch.origin(place.node);
        let same_branch = Arc::ptr_eq(&self.part.branch, &other.part.branch) && self.node == other.node;
        same_branch || origin(self).is_some_and(|one| origin(other) == Some(one))
    }
}

/// All numbers that the kernel holds, the root excepted.
#[derive(Debug, Default)]
pub struct Known {
    shards: [Mutex<Numbers>; SHARDS],
    /// Opens are not reported to us, so every number that is held must be taken for open.
    opens_unknown: AtomicBool,
}

impl Known {
    fn shard(&self, ino: u64) -> &Mutex<Numbers> {
        &self.shards[shard_of(ino)]
    }

    /// From now on the kernel opens files without asking.
    pub fn opens_are_unknown(&self) {
        self.opens_unknown.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn are_opens_unknown(&self) -> bool {
        self.opens_unknown.load(Ordering::Relaxed)
    }

    /// What a number stands for.
    pub fn get(&self, ino: u64) -> Option<Place> {
        let shard = self.shard(ino).lock();
        shard.get(ino).map(|held| shard.place(&held))
    }

    /// Counts one more reference to a place, and gives the number that it gets: its own, or another one while the
    /// kernel has that open for content that is gone.
    pub fn remember(&self, part: &Arc<Part>, node: NodeId) -> u64 {
        let own = part.number(node);
        let epoch = part.revision.epoch;
        let mut number = own;
        for attempt in 1u64.. {
            let mut shard = self.shard(number).lock();
            let Some(mut held) = shard.get(number) else {
                shard.insert(number, part, node);
                return number;
            };
            // What is known of a later revision is not taken back by a look-up that came late: the number means
            // the same content, or a directory.
            let before_epoch = shard.part(&held).revision.epoch;
            if shard.is_at(&held, part, node) || before_epoch > epoch {
                held.lookups += 1;
                shard.set(number, held);
                return number;
            }
            if before_epoch < epoch {
                let before = shard.place(&held);
                let directory = part.tree().node(node).kind == Kind::Directory;
                let open = self.are_opens_unknown() || shard.is_open(number);
                let gone = before.part.revision.gone.load(Ordering::Acquire);
                if directory || !gone || !open {
                    let now = Place { part: part.clone(), node };
                    held.drop_cache |= !directory && (gone || !before.same_bytes(&now));
                    held.lookups += 1;
                    let last = shard.move_to(number, held, part, node);
                    // Not under the lock: a revision may end here.
                    drop(shard);
                    drop((before, last));
                    return number;
                }
            }
            drop(shard);
            number = substitute(own, attempt);
        }
        unreachable!("there are more numbers than look-ups")
    }

    /// Moves a number to its place in another revision.
    pub fn move_to(&self, ino: u64, place: &Place) {
        let mut shard = self.shard(ino).lock();
        let last = shard.get(ino).and_then(|held| shard.move_to(ino, held, &place.part, place.node));
        drop(shard);
        drop(last);
    }

    /// Gives references back. With the last one the number goes.
    pub fn forget(&self, ino: u64, count: u64) {
        let mut shard = self.shard(ino).lock();
        let Some(mut held) = shard.get(ino) else { return };
        held.lookups = held.lookups.saturating_sub(count);
        if held.lookups > 0 {
            return shard.set(ino, held);
        }
        let last = shard.remove(ino);
        drop(shard);
        drop(last);
    }

    /// Notes one more open; whether pages of earlier opens are still right.
    pub fn opened(&self, ino: u64) -> bool {
        let mut shard = self.shard(ino).lock();
        let Some(mut held) = shard.get(ino) else { return false };
        shard.opened(ino);
        let drop_cache = std::mem::take(&mut held.drop_cache);
        if drop_cache {
            shard.set(ino, held);
        }
        !drop_cache
    }

    /// Notes the end of an open.
    pub fn released(&self, ino: u64) {
        self.shard(ino).lock().released(ino);
    }

    /// All numbers and their places, each shard's as they are when it is come to. What is held before the first step
    /// and is not forgotten meanwhile is among them.
    pub fn each(&self) -> impl Iterator<Item = (u64, Place)> {
        self.shards.iter().flat_map(|shard| shard.lock().list())
    }
}

/// The shard of a number. Numbers are hashes, so the highest bits of one are a fraction as good as random; of fractions
/// evenly spread, the logarithms lie twice as close at the end as at the beginning.
fn shard_of(ino: u64) -> usize {
    BY_FRACTION[(ino >> (64 - FRACTION_BITS)) as usize].into()
}

const FRACTION_BITS: u32 = 12;

/// `SHARDS * log2(1 + fraction)`, rounded down.
static BY_FRACTION: [u8; 1 << FRACTION_BITS] = {
    // To the power of `SHARDS` it is two.
    const STEP: f64 = 1.021_897_148_654_116_6;
    let mut table = [0; 1 << FRACTION_BITS];
    let (mut i, mut shard, mut end) = (0, 0, STEP);
    while i < table.len() {
        while 1.0 + i as f64 / table.len() as f64 >= end {
            (shard, end) = (shard + 1, end * STEP);
        }
        table[i] = shard;
        i += 1;
    }
    table
};

const _: () = assert!(BY_FRACTION[BY_FRACTION.len() - 1] as usize == SHARDS - 1);

/// A number in place of one that is taken.
fn substitute(ino: u64, attempt: u64) -> u64 {
    let hash = blake3::hash(&[ino.to_le_bytes(), attempt.to_le_bytes()].concat());
    let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    number.max(crate::tree::RESERVED)
}

#[cfg(test)]
mod tests;
