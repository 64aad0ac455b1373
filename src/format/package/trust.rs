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

    /// Whether an entry that is packed in this way is to be checked.
    pub fn wants(&self, method: u16) -> bool {
        self.check && method == method::STORED || self.is_withdrawn()
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
        self.any_wrong.store(false, Ordering::Release);
    }
}
