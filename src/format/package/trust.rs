//! Which entries are held against their checksums before a byte of them is given out, and which were already.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::method;
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::packed::{self, Packed};

/// What is believed of a package's entries.
#[derive(Debug)]
pub struct Trust {
    /// Stored entries are checked (`-o check`); packed ones are when they are read to the end.
    check: bool,
    /// All are: the file may hold some of each of two states. Of a packed entry the part in front of the seam
    /// would be read without an error.
    withdrawn: AtomicBool,
    found: Mutex<Found>,
    /// One is among those that were found wrong.
    any_wrong: AtomicBool,
}

/// The entries that were checked.
#[derive(Debug, Default)]
struct Found {
    right: HashSet<u32>,
    /// They stay refused, whatever is believed again of the others.
    wrong: HashSet<u32>,
}

impl Trust {
    pub fn new(check: bool, withdrawn: bool) -> Trust {
        let [withdrawn, any_wrong] = [withdrawn, false].map(AtomicBool::new);
        Trust { check, withdrawn, found: Mutex::default(), any_wrong }
    }

    /// Whether nothing is believed.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// From now on nothing is believed.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// All is believed again, but what was found wrong.
    pub fn give_back(&self) {
        self.withdrawn.store(false, Ordering::Release);
    }

    /// Whether an entry that is packed in this way is to be checked.
    pub fn wants(&self, entry: u32, method: u16) -> bool {
        let was_wrong = || self.any_wrong.load(Ordering::Acquire) && self.found.lock().wrong.contains(&entry);
        self.check && method == method::STORED || self.is_withdrawn() || was_wrong()
    }

    /// Reads an entry once, unless it was before.
    pub fn check(&self, packed: &Packed, findings: &Findings) -> Result<()> {
        if self.found.lock().right.contains(&packed.entry) {
            return Ok(());
        }
        let checked = packed::decode_all(packed, findings, |_| ());
        match &checked {
            Ok(()) => drop(self.found.lock().right.insert(packed.entry)),
            Err(Error::Damaged { .. }) => {
                self.found.lock().wrong.insert(packed.entry);
                self.any_wrong.store(true, Ordering::Release);
            }
            Err(_) => {}
        }
        checked
    }

    /// The source has changed: what was right need not be any more, nor what was wrong.
    pub fn forget(&self) {
        *self.found.lock() = Found::default();
        self.any_wrong.store(false, Ordering::Release);
    }
}
