//! Which entries are held against their checksums before a byte of them is given out, and which were already.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::method;
use crate::error::Result;
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
}

impl Trust {
    pub fn new(check: bool) -> Trust {
        Trust { check, withdrawn: AtomicBool::new(false), right: Mutex::default() }
    }

    /// From now on nothing is believed.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Whether an entry that is packed in this way is to be checked.
    pub fn wants(&self, method: u16) -> bool {
        self.check && method == method::STORED || self.withdrawn.load(Ordering::Acquire)
    }

    /// Reads an entry once, unless it was before.
    pub fn check(&self, packed: &Packed, findings: &Findings) -> Result<()> {
        if self.right.lock().contains(&packed.entry) {
            return Ok(());
        }
        packed::decode_all(packed, findings, |_| ())?;
        self.right.lock().insert(packed.entry);
        Ok(())
    }

    /// The source has changed: what was right need not be any more.
    pub fn forget(&self) {
        self.right.lock().clear();
    }
}
