//! Files that exist only while they are looked at, and packages in which every number may lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::format::package::record::{CENTRAL, END, LOCAL};
use crate::store::{CacheFolder, Location, Source};

/// Nobody writes into what [`source`] opens, so that no read of it may fail.
pub const STILL: &str = "the file is there and nobody writes into it";

/// A path in the folder for temporary files that nobody else has.
fn path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("vaso-test-fuzzing-{}-{number}", std::process::id()))
}

/// A source of these bytes. The file has no name any more when this returns, so that a panic leaves nothing.
pub fn source(bytes: &[u8]) -> Arc<Source> {
    let path = path();
    fs::write(&path, bytes).expect("the folder for temporary files takes a file");
    // Of what was written just now nothing is believed, and all would be read another way.
    let file = fs::OpenOptions::new().write(true).open(&path).expect("it was just made");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
    let opened = Location::find(&path).and_then(|location| Source::open(Arc::new(location)));
    fs::remove_file(&path).expect("it was just made");
    let source = opened.expect("a file that was just made can be opened");
    // Losing its name has changed the file; that is noticed now, and its stamp stays as it is from here on.
    source.check().expect(STILL);
    source
}

/// A cache folder that goes with the value.
pub struct Cache {
    path: PathBuf,
    folder: Arc<CacheFolder>,
}

impl Cache {
    /// A new one.
    pub fn new() -> Cache {
        let path = path();
        let folder = CacheFolder::open(&path, 1 << 24).expect("a new folder is ours");
        Cache { path, folder: Arc::new(folder) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What packages are told of it.
    pub fn folder(&self) -> &Arc<CacheFolder> {
        &self.folder
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // An index that is still being written down would make the folder anew.
        for _ in 0..5000 {
            if Arc::strong_count(&self.folder) == 1 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What the records of a package say of an entry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    pub name: &'a [u8],
    pub method: u16,
    pub flags: u16,
    pub crc: u32,
    pub packed: u32,
    pub size: u32,
}

fn put<const N: usize>(out: &mut Vec<u8>, numbers: [u16; N]) {
    numbers.into_iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
}

fn put_wide<const N: usize>(out: &mut Vec<u8>, numbers: [u32; N]) {
    numbers.into_iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
}

impl Said<'_> {
    /// Adds the local header.
    pub fn local(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&LOCAL);
        put(out, [20, self.flags, self.method, 0, 0x21]);
        put_wide(out, [self.crc, self.packed, self.size]);
        put(out, [self.name.len() as u16, 0]);
        out.extend_from_slice(self.name);
    }

    /// Adds the central record of a file whose local header is at `header`.
    pub fn central(&self, out: &mut Vec<u8>, header: u32) {
        out.extend_from_slice(&CENTRAL);
        put(out, [3 << 8 | 30, 20, self.flags, self.method, 0, 0x21]);
        put_wide(out, [self.crc, self.packed, self.size]);
        put(out, [self.name.len() as u16, 0, 0, 0, 0]);
        put_wide(out, [0o100_644 << 16, header]);
        out.extend_from_slice(self.name);
    }
}

/// Adds the end record of a directory.
pub fn end(out: &mut Vec<u8>, count: u16, size: u32, offset: u32) {
    out.extend_from_slice(&END);
    put(out, [0, 0, count, count]);
    put_wide(out, [size, offset]);
    put(out, [0]);
}
