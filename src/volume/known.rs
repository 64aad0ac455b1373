//! The numbers that the kernel holds, and what they stand for.
//!
//! A number is entered when a look-up gives it out and leaves when the kernel has forgotten it as often as it
//! was told. The map is cut into shards by number, each with its own lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Part;
use crate::tree::{Kind, NodeId};

const SHARDS: usize = 16;

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

#[derive(Debug)]
struct Held {
    place: Place,
    lookups: u64,
    opens: u32,
    /// Whether the kernel may have pages of an earlier content under this number: the next open drops them.
    drop_cache: bool,
}

/// All numbers that the kernel holds, the root excepted.
#[derive(Debug, Default)]
pub struct Known {
    shards: [Mutex<HashMap<u64, Held>>; SHARDS],
    /// Opens are not reported to us, so every number that is held must be taken for open.
    opens_unknown: std::sync::atomic::AtomicBool,
}

impl Known {
    fn shard(&self, ino: u64) -> &Mutex<HashMap<u64, Held>> {
        &self.shards[(ino % SHARDS as u64) as usize]
    }

    /// From now on the kernel opens files without asking.
    pub fn opens_are_unknown(&self) {
        self.opens_unknown.store(true, Ordering::Relaxed);
    }

    /// What a number stands for.
    pub fn get(&self, ino: u64) -> Option<Place> {
        self.shard(ino).lock().get(&ino).map(|held| held.place.clone())
    }

    /// Counts one more reference to a place, whose own number is `ino`, and gives the number that it gets:
    /// another one while the kernel has its own open for content that is gone.
    pub fn remember(&self, ino: u64, part: &Arc<Part>, node: NodeId) -> u64 {
        let directory = part.tree().node(node).kind == Kind::Directory;
        let place = || Place { part: part.clone(), node };
        let epoch = part.revision.epoch;
        let mut number = ino;
        for attempt in 1u64.. {
            let mut shard = self.shard(number).lock();
            let Some(held) = shard.get_mut(&number) else {
                shard.insert(number, Held { place: place(), lookups: 1, opens: 0, drop_cache: false });
                return number;
            };
            let before = &held.place;
            // What is known of a later revision is not taken back by a look-up that came late: the number means
            // the same content, or a directory.
            let before_epoch = before.part.revision.epoch;
            let same = before_epoch == epoch && before.part.root == part.root && before.node == node;
            if same || before_epoch > epoch {
                held.lookups += 1;
                return number;
            }
            if before_epoch < epoch {
                let open = held.opens > 0 || self.opens_unknown.load(Ordering::Relaxed);
                let gone = before.part.revision.gone.load(Ordering::Acquire);
                if directory || !gone || !open {
                    let now = place();
                    held.drop_cache |= !directory && (gone || !before.same_bytes(&now));
                    held.lookups += 1;
                    let before = std::mem::replace(&mut held.place, now);
                    // Not under the lock: a revision may end here.
                    drop(shard);
                    drop(before);
                    return number;
                }
            }
            drop(shard);
            number = substitute(ino, attempt);
        }
        unreachable!("there are more numbers than look-ups")
    }

    /// Moves a number to its place in another revision.
    pub fn move_to(&self, ino: u64, place: Place) {
        let mut shard = self.shard(ino).lock();
        let before = shard.get_mut(&ino).map(|held| std::mem::replace(&mut held.place, place));
        drop(shard);
        drop(before);
    }

    /// Gives references back. With the last one the number goes.
    pub fn forget(&self, ino: u64, count: u64) {
        let mut shard = self.shard(ino).lock();
        let Some(held) = shard.get_mut(&ino) else { return };
        held.lookups = held.lookups.saturating_sub(count);
        let forgotten = if held.lookups == 0 { shard.remove(&ino) } else { None };
        drop(shard);
        drop(forgotten);
    }

    /// Notes one more open; whether pages of earlier opens are still right.
    pub fn opened(&self, ino: u64) -> bool {
        let mut shard = self.shard(ino).lock();
        let Some(held) = shard.get_mut(&ino) else { return false };
        held.opens += 1;
        !std::mem::take(&mut held.drop_cache)
    }

    /// Notes the end of an open.
    pub fn released(&self, ino: u64) {
        if let Some(held) = self.shard(ino).lock().get_mut(&ino) {
            held.opens = held.opens.saturating_sub(1);
        }
    }

    /// All numbers and their places at some moment.
    pub fn list(&self) -> Vec<(u64, Place)> {
        let mut list = Vec::new();
        for shard in &self.shards {
            list.extend(shard.lock().iter().map(|(ino, held)| (*ino, held.place.clone())));
        }
        list
    }
}

/// A number in place of one that is taken.
fn substitute(ino: u64, attempt: u64) -> u64 {
    let hash = blake3::hash(&[ino.to_le_bytes(), attempt.to_le_bytes()].concat());
    let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    number.max(crate::tree::RESERVED)
}
