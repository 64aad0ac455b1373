//! What was decoded or gathered of one file, as far as it is kept: one budget for all of it.
//!
//! A few kilobytes of a file can stand for gigabytes. Nothing of these is held by those who show them: they ask here
//! for what they need, make it if it is not there, and what was used least recently goes when the budget is spent. What
//! is large is made by one reader at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::input::{Parsed, Wrong};
use super::refers::Named;
use crate::error::Result as Made;

/// What is kept: how it was made, and from which byte of the file on, or which of its kind it is.
pub type Key = (What, u64);

/// How bytes were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// A piece of the file, of so many bytes.
    Piece(u32),
    /// A value, unwrapped.
    Unwrapped,
    /// A block of a view that has this number: many pieces, put in order.
    Block(u64),
}

/// How many bytes a value unwraps to, and how many it took to find out.
pub type Counted = (Result<Option<u64>, Wrong>, u64);

/// Bytes that may be needed again.
#[derive(Debug, Default)]
pub struct Kept {
    inner: Mutex<Inner>,
    /// How many bytes are inside of what had to be unwrapped to know it, or why it does not unwrap.
    counted: Mutex<HashMap<(u64, u64), Counted>>,
    /// Which sections refer to which, once anybody asked.
    pub named: Mutex<Option<Named>>,
    /// Held while something large is made.
    making: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<Key, (Arc<Vec<u8>>, u64)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

impl Inner {
    fn get(&mut self, key: Key) -> Option<Arc<Vec<u8>>> {
        let (bytes, used) = self.held.get_mut(&key)?;
        self.uses += 1;
        self.by_use.remove(used);
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(bytes.clone())
    }

    fn put(&mut self, key: Key, bytes: Arc<Vec<u8>>) {
        if bytes.len() > Kept::MOST || self.held.contains_key(&key) {
            return;
        }
        self.uses += 1;
        self.bytes += bytes.len();
        self.held.insert(key, (bytes, self.uses));
        self.by_use.insert(self.uses, key);
        while self.bytes > Kept::MOST {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.bytes -= self.held.remove(&oldest).map_or(0, |(bytes, _)| bytes.len());
        }
    }
}

impl Kept {
    /// The most bytes that are kept.
    pub const MOST: usize = 32 << 20;

    /// Those of `key`, made if they are not there.
    pub fn get(&self, key: Key, make: impl FnOnce() -> Made<Vec<u8>>) -> Made<Arc<Vec<u8>>> {
        if let Some(there) = self.inner.lock().get(key) {
            return Ok(there);
        }
        let _one = (!matches!(key.0, What::Piece(_))).then(|| self.making.lock());
        // Another may have made them meanwhile.
        if let Some(there) = self.inner.lock().get(key) {
            return Ok(there);
        }
        let made = Arc::new(make()?);
        self.inner.lock().put(key, made.clone());
        Ok(made)
    }

    /// How many bytes are inside of the value at byte `start`, of which at most `limit` are unwrapped: once for a
    /// file, from however many places it is referred to.
    pub fn counted(
        &self,
        start: u64,
        limit: u64,
        count: impl FnOnce() -> Parsed<Counted>,
    ) -> Parsed<Counted> {
        if let Some(there) = self.counted.lock().get(&(start, limit)) {
            return Ok(there.clone());
        }
        let counted = count()?;
        self.counted.lock().insert((start, limit), counted.clone());
        Ok(counted)
    }

    /// Whether those of `key` are there.
    pub fn has(&self, key: Key) -> bool {
        self.inner.lock().held.contains_key(&key)
    }

    /// Lets go of everything.
    pub fn forget(&self) {
        *self.inner.lock() = Inner::default();
        self.counted.lock().clear();
        *self.named.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let kept = Kept::default();
        let large = |n: u64| kept.get((What::Unwrapped, n), || Ok(vec![n as u8; Kept::MOST / 4])).unwrap();
        (0..4).for_each(|n| assert_eq!(large(n)[0], n as u8));
        large(0);
        large(9);
        let there = [0, 1, 2, 3, 9].map(|n| kept.has((What::Unwrapped, n)));
        assert_eq!(there, [true, false, true, true, true]);
        assert_eq!(kept.inner.lock().bytes, Kept::MOST);
        // What is larger than all is given and not kept.
        let whole = kept.get((What::Piece(1), 5), || Ok(vec![0; Kept::MOST + 1])).unwrap();
        assert_eq!((whole.len(), kept.has((What::Piece(1), 5))), (Kept::MOST + 1, false));
        kept.forget();
        assert!(!kept.has((What::Unwrapped, 0)));
        let failed = kept.get((What::Unwrapped, 0), || Err(crate::error::Error::Refused("no".into())));
        assert!(failed.is_err() && !kept.has((What::Unwrapped, 0)));
    }
}
