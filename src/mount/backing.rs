//! Files that the kernel reads by itself: whole files that nobody writes to.
//!
//! Invariant: all opens of a number that exist at the same time are of one kind. Those that the kernel serves share
//! one registration, which lives as long as the last of them; while one that the daemon serves is open, no other is
//! given to the kernel.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};
use parking_lot::Mutex;

use crate::volume::Opened;

/// The opens of whole files.
#[derive(Debug, Default)]
pub struct Backings {
    /// The kernel offers it, and has not refused it to us: it takes the rights of an administrator.
    allowed: AtomicBool,
    open: Mutex<HashMap<u64, Opens>>,
}

#[derive(Debug)]
struct Opens {
    /// None while the daemon serves them.
    id: Option<BackingId>,
    count: usize,
}

impl Backings {
    /// The kernel offers it.
    pub fn allow(&self) {
        self.allowed.store(true, Ordering::Relaxed);
    }

    /// Answers an open of a number.
    pub fn reply(&self, ino: u64, opened: Opened, flags: FopenFlags, reply: ReplyOpen) {
        let Some(source) = opened.whole.filter(|_| self.allowed.load(Ordering::Relaxed)) else {
            return reply.opened(FileHandle(0), flags);
        };
        // Held while the kernel is told: another open of the number must not come in between.
        let mut open = self.open.lock();
        let opens = open.entry(ino).or_insert(Opens { id: None, count: 0 });
        if opens.count == 0 {
            // Where the kernel would leave access times, it does not get the file.
            let file = source.reopen_quietly();
            opens.id = match file.and_then(|file| reply.open_backing(file.as_fd())) {
                Ok(id) => Some(id),
                Err(e) => {
                    log::debug!("the kernel does not read {} by itself: {e}", source.path().display());
                    if e.kind() == std::io::ErrorKind::PermissionDenied {
                        self.allowed.store(false, Ordering::Relaxed);
                    }
                    None
                }
            };
        }
        opens.count += 1;
        match &opens.id {
            // What the daemon was asked for before is not looked at any more.
            Some(id) => reply.opened_passthrough(FileHandle(1), FopenFlags::empty(), id),
            None => reply.opened(FileHandle(1), flags),
        }
    }

    /// The end of an open that was answered with `handle`.
    pub fn released(&self, ino: u64, handle: FileHandle) {
        if handle.0 == 0 {
            return;
        }
        let mut open = self.open.lock();
        if let Some(opens) = open.get_mut(&ino) {
            opens.count -= 1;
            if opens.count == 0 {
                open.remove(&ino);
            }
        }
    }
}
