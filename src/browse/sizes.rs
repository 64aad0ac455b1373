//! The sizes of rendered files, as far as they are known: found out once, and kept in the cache folder for the
//! next mount, all of one project in one small file.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::{CacheFolder, RecordFile};

/// Hash of the path, size, rows.
const RECORD: usize = 16 + 8 + 8;
/// More than a project has views; what is more in the file is not read.
const MOST: u64 = 1 << 20;

/// What is known of a rendered file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The exact number of bytes.
    pub size: u64,
    /// The number of rows.
    pub rows: u64,
}

/// All that is known of a project's views.
#[derive(Debug)]
pub struct Sizes {
    key: [u8; 32],
    folder: Option<Arc<CacheFolder>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    extents: HashMap<[u8; 16], Extent>,
    file: Option<RecordFile>,
}

impl Sizes {
    /// What lies in the folder under `key`.
    pub fn load(folder: Option<Arc<CacheFolder>>, key: [u8; 32]) -> Sizes {
        let mut known = Known::default();
        if let Some(Err(e)) = folder.as_deref().map(|folder| known.read(folder, key)) {
            log::warn!("the cache folder does not work: {e}; sizes of views are found out anew");
        }
        Sizes { key, folder, known: Mutex::new(known) }
    }

    /// What is known of the file whose path has this hash.
    pub fn get(&self, path: &[u8; 16]) -> Option<Extent> {
        self.known.lock().extents.get(path).copied()
    }

    /// Keeps what was found out.
    pub fn add(&self, path: [u8; 16], extent: Extent) {
        let known = &mut *self.known.lock();
        if known.extents.insert(path, extent) == Some(extent) {
            return;
        }
        let Some(folder) = &self.folder else { return };
        let record = [&path[..], &extent.size.to_le_bytes(), &extent.rows.to_le_bytes()].concat();
        if let Err(e) = folder.append(&mut known.file, self.key, record) {
            log::warn!("the cache folder does not work: {e}; sizes of views are found out anew next time");
        }
    }

    /// Forgets a file, which proved to be otherwise.
    pub fn spoil(&self, path: &[u8; 16]) {
        let known = &mut *self.known.lock();
        known.extents.remove(path);
        if let Some(Err(e)) = known.file.take().map(|file| file.spoil()) {
            log::warn!("cannot throw away sizes that are wrong: {e}");
        }
    }
}

impl Known {
    fn read(&mut self, folder: &CacheFolder, key: [u8; 32]) -> std::io::Result<()> {
        let Some(file) = folder.existing_records(key, RECORD)? else { return Ok(()) };
        for index in 0..file.count()?.min(MOST) {
            let Some(record) = file.read(index)? else { continue };
            let u64_at = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
            let path = record[..16].try_into().expect("sixteen bytes");
            self.extents.insert(path, Extent { size: u64_at(16), rows: u64_at(24) });
        }
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Some(Arc::new(CacheFolder::open(folder.path(), 1 << 20).unwrap()));
        let sizes = Sizes::load(cache.clone(), [1; 32]);
        assert_eq!(sizes.get(&[5; 16]), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes no file");
        let (a, b) = (Extent { size: 10, rows: 2 }, Extent { size: 11, rows: 2 });
        sizes.add([5; 16], a);
        sizes.add([6; 16], b);
        sizes.add([6; 16], b);
        let again = Sizes::load(cache.clone(), [1; 32]);
        assert_eq!([again.get(&[5; 16]), again.get(&[6; 16])], [Some(a), Some(b)]);
        assert_eq!(Sizes::load(cache.clone(), [2; 32]).get(&[5; 16]), None);
        again.spoil(&[5; 16]);
        assert_eq!(again.get(&[5; 16]), None);
        assert_eq!(Sizes::load(cache, [1; 32]).get(&[6; 16]), None);
    }
}
