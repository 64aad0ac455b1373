//! A share of the numbers that the kernel holds, in few bytes each: there may be as many as a project has nodes.
//!
//! ```text
//!   plain    [ node | part, drop_cache | lookups ]   8 bytes, found by the node's own number
//!   special  number -> part, node, lookups, drop_cache
//!   opens    number -> opens
//! ```
//!
//! What a node's tree knows is not written down again: the number of a plain entry is read from the tree. Few are
//! special: a number in place of one that was taken, a count that has outgrown its field, a part beyond the first
//! 32768.
//!
//! Invariants: a number is either plain or special. A part is held once for all entries that name it, and exactly as
//! long as one does. It is never dropped here, under a lock, for a revision may end with it: the last one is
//! given to the caller.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::Part;
use super::known::Place;
use crate::tree::NodeId;

/// Room for so many is never given back.
const KEPT: usize = 256;

/// What a number stands for, and what is noted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    part: u32,
    node: NodeId,
    /// How often the kernel was told the number and has not forgotten it.
    pub lookups: u64,
    /// Whether the kernel may have pages of an earlier content under this number: the next open drops them.
    pub drop_cache: bool,
}

/// The same of a number that is its node's own.
#[derive(Debug, Clone, Copy)]
struct Plain {
    node: NodeId,
    /// The highest bit is `drop_cache`.
    part: u16,
    lookups: u16,
}

impl Plain {
    const DROP_CACHE: u16 = 1 << 15;

    /// `None` where a field is too small.
    fn of(held: &Held) -> Option<Plain> {
        let part = u16::try_from(held.part).ok().filter(|part| *part < Plain::DROP_CACHE)?;
        let flag = if held.drop_cache { Plain::DROP_CACHE } else { 0 };
        Some(Plain { node: held.node, part: part | flag, lookups: held.lookups.try_into().ok()? })
    }

    fn part(&self) -> u32 {
        (self.part & !Plain::DROP_CACHE).into()
    }

    fn held(&self) -> Held {
        let drop_cache = self.part & Plain::DROP_CACHE != 0;
        Held { part: self.part(), node: self.node, lookups: self.lookups.into(), drop_cache }
    }
}

/// The numbers. Every method takes constant time but [`Numbers::list`].
#[derive(Debug, Default)]
pub struct Numbers {
    plain: HashTable<Plain>,
    special: HashMap<u64, Held>,
    opens: HashMap<u64, u32>,
    parts: Parts,
    hasher: DefaultHashBuilder,
}

impl Numbers {
    /// What is held under a number.
    pub fn get(&self, ino: u64) -> Option<Held> {
        let found = self.plain.find(self.hasher.hash_one(ino), |entry| self.parts.number(entry) == ino);
        found.map(Plain::held).or_else(|| self.special.get(&ino).copied())
    }

    /// The part of what is held.
    pub fn part(&self, held: &Held) -> &Arc<Part> {
        self.parts.get(held.part)
    }

    /// The place of what is held.
    pub fn place(&self, held: &Held) -> Place {
        Place { part: self.part(held).clone(), node: held.node }
    }

    /// Whether it is this node of this part, or of another that shows the same.
    pub fn is_at(&self, held: &Held, part: &Part, node: NodeId) -> bool {
        let there = self.part(held);
        held.node == node && there.revision.epoch == part.revision.epoch && there.root == part.root
    }

    /// Enters a number that is not held, with one reference.
    pub fn insert(&mut self, ino: u64, part: &Arc<Part>, node: NodeId) {
        let own = part.number(node) == ino;
        let part = self.parts.enter(part);
        let held = Held { part, node, lookups: 1, drop_cache: false };
        match Plain::of(&held).filter(|_| own) {
            Some(plain) => {
                let Numbers { plain: table, parts, hasher, .. } = self;
                let hash_of = |entry: &Plain| hasher.hash_one(parts.number(entry));
                table.insert_unique(hasher.hash_one(ino), plain, hash_of);
            }
            None => drop(self.special.insert(ino, held)),
        }
    }

    /// Puts down what is held under a number, in whichever way it fits.
    pub fn set(&mut self, ino: u64, held: Held) {
        let own = self.part(&held).number(held.node) == ino;
        let Some(plain) = Plain::of(&held).filter(|_| own) else {
            self.take_plain(ino);
            self.special.insert(ino, held);
            return;
        };
        self.special.remove(&ino);
        let Numbers { parts, hasher, .. } = self;
        let is_it = |entry: &Plain| parts.number(entry) == ino;
        let hash_of = |entry: &Plain| hasher.hash_one(parts.number(entry));
        match self.plain.entry(hasher.hash_one(ino), is_it, hash_of) {
            Entry::Occupied(mut entry) => *entry.get_mut() = plain,
            Entry::Vacant(entry) => drop(entry.insert(plain)),
        }
    }

    /// Has a number that is held stand for something else, and gives the part that nothing names any more.
    pub fn move_to(&mut self, ino: u64, held: Held, part: &Arc<Part>, node: NodeId) -> Option<Arc<Part>> {
        let before = held.part;
        let part = self.parts.enter(part);
        // The number of what was there before is read once more.
        self.set(ino, Held { part, node, ..held });
        self.parts.leave(before)
    }

    /// Takes a number out, and gives the part that nothing names any more.
    pub fn remove(&mut self, ino: u64) -> Option<Arc<Part>> {
        self.opens.remove(&ino);
        let part = self.take_plain(ino).or_else(|| self.special.remove(&ino))?.part;
        self.shrink();
        self.parts.leave(part)
    }

    /// Whether there are opens of a number.
    pub fn is_open(&self, ino: u64) -> bool {
        self.opens.contains_key(&ino)
    }

    /// Notes one more open of a number that is held.
    pub fn opened(&mut self, ino: u64) {
        *self.opens.entry(ino).or_default() += 1;
    }

    /// Notes the end of an open.
    pub fn released(&mut self, ino: u64) {
        if let Some(opens) = self.opens.get_mut(&ino) {
            *opens -= 1;
            if *opens == 0 {
                self.opens.remove(&ino);
            }
        }
    }

    /// All of them.
    pub fn list(&self) -> Vec<(u64, Place)> {
        let mut list = Vec::with_capacity(self.plain.len() + self.special.len());
        list.extend(self.plain.iter().map(|entry| (self.parts.number(entry), self.place(&entry.held()))));
        list.extend(self.special.iter().map(|(ino, held)| (*ino, self.place(held))));
        list
    }

    fn take_plain(&mut self, ino: u64) -> Option<Held> {
        let hash = self.hasher.hash_one(ino);
        let entry = self.plain.find_entry(hash, |entry| self.parts.number(entry) == ino).ok()?;
        Some(entry.remove().0.held())
    }

    /// Gives memory back when most of it lies idle.
    fn shrink(&mut self) {
        let (len, room) = (self.plain.len(), self.plain.capacity());
        if room > KEPT && len < room / 8 {
            let (parts, hasher) = (&self.parts, &self.hasher);
            self.plain.shrink_to(2 * len, |entry| hasher.hash_one(parts.number(entry)));
        }
        if self.special.is_empty() && self.special.capacity() > KEPT {
            self.special = HashMap::new();
        }
    }
}

/// The parts that entries name, each once however often it was made: what hangs behind a door is made at every look-up.
#[derive(Debug, Default)]
struct Parts {
    /// With the number of entries that name it.
    slots: Vec<Option<(Arc<Part>, u64)>>,
    free: Vec<u32>,
    /// By epoch, number of the root, and address of the branch, which stays where it is while its part is here.
    by_key: HashMap<(u32, u64, usize), u32>,
}

impl Parts {
    fn get(&self, slot: u32) -> &Arc<Part> {
        &self.slots[slot as usize].as_ref().expect("a part is here while an entry names it").0
    }

    /// The number of a plain entry.
    fn number(&self, entry: &Plain) -> u64 {
        self.get(entry.part()).number(entry.node)
    }

    fn key(part: &Part) -> (u32, u64, usize) {
        (part.revision.epoch, part.root, Arc::as_ptr(&part.branch).cast::<()>().addr())
    }

    /// The slot of a part, which one more entry names.
    fn enter(&mut self, part: &Arc<Part>) -> u32 {
        let key = Parts::key(part);
        if let Some(slot) = self.by_key.get(&key) {
            self.slots[*slot as usize].as_mut().expect("its key is here").1 += 1;
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("memory ends before four thousand million parts")
        });
        self.slots[slot as usize] = Some((part.clone(), 1));
        self.by_key.insert(key, slot);
        slot
    }

    /// One entry less names a part; with the last one it is given to the caller.
    fn leave(&mut self, slot: u32) -> Option<Arc<Part>> {
        let place = &mut self.slots[slot as usize];
        let (_, count) = place.as_mut().expect("an entry named it");
        *count -= 1;
        if *count > 0 {
            return None;
        }
        let (part, _) = place.take()?;
        self.by_key.remove(&Parts::key(&part));
        self.free.push(slot);
        Some(part)
    }
}
