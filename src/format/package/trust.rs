//! Which entries are held against their checksums before a byte of them is given out, and which were already.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::load::Entry;
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
    /// But those that begin in front of this, which are those of a state that was trusted and appended to.
    but: AtomicU64,
    /// Those that were found right.
    right: Mutex<HashSet<u32>>,
    /// One was found wrong: then the file does hold some of each.
    any_wrong: AtomicBool,
}

impl Trust {
    pub fn new(check: bool) -> Trust {
        Trust {
            check,
            withdrawn: AtomicBool::new(false),
            but: AtomicU64::new(0),
            right: Mutex::default(),
            any_wrong: AtomicBool::new(false),
        }
    }

    /// Whether nothing is believed.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// From now on nothing is believed.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// All is believed again, unless something was found wrong meanwhile.
    pub fn give_back(&self) {
        if !self.any_wrong.load(Ordering::Acquire) {
            self.withdrawn.store(false, Ordering::Release);
        }
    }

    /// Whatever else is not, what is believed of an older state of the file is, whose entries end at `limit`.
    pub fn go_on_from(&self, older: &Trust, limit: u64) {
        let end = if older.is_withdrawn() { older.but.load(Ordering::Acquire) } else { limit };
        self.but.fetch_max(end, Ordering::AcqRel);
    }

    /// Whether an entry is to be checked.
    pub fn wants(&self, entry: &Entry) -> bool {
        let is_believed = || entry.header < self.but.load(Ordering::Acquire);
        self.check && entry.method == method::STORED || self.is_withdrawn() && !is_believed()
    }

    /// Reads an entry once, unless it was before.
    pub fn check(&self, packed: &Packed, findings: &Findings) -> Result<()> {
        if self.right.lock().contains(&packed.entry) {
            return Ok(());
        }
        let checked = packed::decode_all(packed, findings, |_| ());
        match &checked {
            Ok(()) => drop(self.right.lock().insert(packed.entry)),
            Err(Error::Damaged { .. }) => self.any_wrong.store(true, Ordering::Release),
            Err(_) => {}
        }
        checked
    }

    /// The source has changed: what was right need not be any more, nor what was wrong.
    pub fn forget(&self) {
        self.right.lock().clear();
        self.but.store(0, Ordering::Release);
        self.any_wrong.store(false, Ordering::Release);
    }
}
