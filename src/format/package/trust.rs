//! Which entries are held against their checksums before a byte of them is given out, and which were already.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::load::Entry;
use super::method;
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::packed::{self, Packed};
use crate::store::Stamp;

/// So many states that were appended to and have not rested are kept in mind.
const STEPS: usize = 64;

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
    /// Where earlier states ended that this one was appended to and that were not trusted yet, and since when they have
    /// been there.
    young: Mutex<Vec<(u64, Instant)>>,
    since: Instant,
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
            young: Mutex::default(),
            since: Instant::now(),
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

    /// Whatever else is not, what is believed of an older state of the file is, whose entries end at `limit`: this one
    /// was appended to it. What has been there for long enough meanwhile has rested.
    pub fn go_on_from(&self, older: &Trust, limit: u64) {
        if !older.is_withdrawn() {
            self.but.fetch_max(limit, Ordering::AcqRel);
            return;
        }
        let any_wrong = older.any_wrong.load(Ordering::Acquire);
        self.any_wrong.fetch_or(any_wrong, Ordering::AcqRel);
        self.but.fetch_max(older.but.load(Ordering::Acquire).min(limit), Ordering::AcqRel);
        let mut steps = older.young.lock().clone();
        steps.push((limit, older.since));
        steps.iter_mut().for_each(|(end, _)| *end = (*end).min(limit));
        if !any_wrong {
            let rested =
                steps.iter().filter(|(_, since)| since.elapsed() > Stamp::YOUTH).map(|(end, _)| *end);
            self.but.fetch_max(rested.max().unwrap_or(0), Ordering::AcqRel);
            steps.retain(|(_, since)| since.elapsed() <= Stamp::YOUTH);
        }
        // Of many saves within so short a time the first ones are enough.
        steps.truncate(STEPS);
        *self.young.lock() = steps;
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
