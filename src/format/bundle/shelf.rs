//! What is kept from one state of a bundle to the next: verdicts about snapshots, and views that were opened.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::store::CacheFolder;
use crate::tree::{Branch, Cache};

/// Verdicts that are remembered.
const VERDICTS: usize = 4096;
/// Views that stay open; the kernel keeps those that it still refers to.
const VIEWS: usize = 32;
/// What the record of a verdict is made of: the word for right.
const RIGHT: [u8; 8] = *b"right\0\0\0";

/// Shared by all states of a project that are opened with the same options.
#[derive(Debug)]
pub struct Shelf {
    verdicts: Cache<[u8; 32], Result<(), Error>>,
    views: Cache<([u8; 32], u64), Arc<dyn Branch>>,
}

impl Default for Shelf {
    fn default() -> Shelf {
        Shelf { verdicts: Cache::new(VERDICTS), views: Cache::new(VIEWS) }
    }
}

impl Shelf {
    /// What is known of the content of this identity.
    pub fn verdict(&self, identity: &[u8; 32], folder: Option<&CacheFolder>) -> Option<Result<()>> {
        if let Some(known) = self.verdicts.get(identity) {
            return Some(known);
        }
        // Only that a snapshot is right is kept from one mount to the next: what is wrong is worth a second look.
        let file = folder?.existing_records(key(identity), RIGHT.len()).ok()??;
        let right = file.read(0).ok()??;
        (right == RIGHT).then_some(Ok(()))
    }

    /// Keeps a verdict.
    pub fn judge(&self, identity: [u8; 32], verdict: Result<()>, folder: Option<&CacheFolder>) {
        if verdict.is_ok()
            && let Some(folder) = folder
        {
            let kept =
                folder.records(key(&identity), RIGHT.len()).and_then(|file| file.append(RIGHT.to_vec()));
            if let Err(e) = kept {
                log::debug!("a verdict is not kept: {e}");
            }
        }
        self.verdicts.insert(identity, verdict, 1);
    }

    /// The view of the content of this identity, as it hangs below the number `root`, if it is open.
    pub fn view(&self, identity: &[u8; 32], root: u64) -> Option<Arc<dyn Branch>> {
        self.views.get(&(*identity, root))
    }

    /// Keeps a view.
    pub fn keep(&self, identity: [u8; 32], root: u64, view: Arc<dyn Branch>) {
        self.views.insert((identity, root), view, 1);
    }
}

fn key(identity: &[u8; 32]) -> [u8; 32] {
    *blake3::hash(&[&identity[..], b"snapshot verdict 2"].concat()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_ask_for_a_verdict_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        let folder = CacheFolder::open(place.path(), 1 << 20).unwrap();
        let count = || std::fs::read_dir(place.path()).unwrap().count();
        let before = count();
        assert!(Shelf::default().verdict(&[1; 32], Some(&folder)).is_none());
        assert_eq!(count(), before);
        Shelf::default().judge([1; 32], Ok(()), Some(&folder));
        assert!(Shelf::default().verdict(&[1; 32], Some(&folder)).is_some_and(|verdict| verdict.is_ok()));
    }
}
