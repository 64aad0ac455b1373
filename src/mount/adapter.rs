//! The kernel's requests, translated into the volume's methods and back. Nothing is decided here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use parking_lot::RwLock;

use super::backing::Backings;
use super::errno;
use super::patience::{Patience, contained};
use super::readahead;
use crate::error::{Error, Result};
use crate::tree::Kind;
use crate::volume::{Attr, Listing, Statfs, Volume};

/// Names and attributes never change under a number; what does change is invalidated explicitly.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

thread_local! {
    /// What a read is gathered in. One for each worker, as large as the largest read so far.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A volume as the kernel sees it.
pub struct Adapter {
    volume: Arc<Volume>,
    /// Opens are not worth asking: nothing is refused at open.
    without_open: bool,
    xattr: bool,
    reads: Arc<Reads>,
    /// For what takes its time and is no read: a look-up never waits for those.
    patience: Patience,
    backings: Arc<Backings>,
    /// Whether the kernel may read whole files by itself.
    passthrough: bool,
    listings: Arc<Listings>,
}

/// The directories that are open.
#[derive(Default)]
struct Listings {
    open: RwLock<HashMap<u64, Arc<Listing>>>,
    last: AtomicU64,
}

impl Listings {
    fn reply(&self, outcome: Result<Listing>, reply: ReplyOpen) {
        match outcome {
            Ok(listing) => {
                let fh = self.last.fetch_add(1, Ordering::Relaxed) + 1;
                self.open.write().insert(fh, Arc::new(listing));
                reply.opened(FileHandle(fh), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
            }
            Err(e) => reply.error(errno::of(&e)),
        }
    }
}

impl Adapter {
    /// Shows `volume`. With `xattr` false the kernel is told that there are no extended attributes at all.
    pub fn new(volume: Arc<Volume>, xattr: bool, passthrough: bool) -> Adapter {
        let reads = Reads { volume: volume.clone(), soon: Patience::short(), patience: Patience::long() };
        Adapter {
            reads: Arc::new(reads),
            without_open: volume.opens_all(),
            volume,
            xattr,
            patience: Patience::long(),
            backings: Arc::default(),
            passthrough,
            listings: Arc::default(),
        }
    }

    fn attribute(&self, ino: u64, name: &OsStr) -> Result<String> {
        // `ls -l` asks every file for attributes of the system; there are none, and finding out must cost nothing.
        if !name.as_bytes().starts_with(b"user.") {
            return Err(Error::NoAttribute);
        }
        let found = self.volume.attributes(ino)?.into_iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value).ok_or(Error::NoAttribute)
    }

    fn listing(&self, fh: FileHandle) -> Option<Arc<Listing>> {
        self.listings.open.read().get(&fh.0).cloned()
    }
}

/// How long the kernel may keep names and attributes without asking.
fn lifetime(attr: &Attr) -> Duration {
    if attr.lasting { FOREVER } else { Duration::ZERO }
}

fn reply_entry(outcome: Result<Attr>, reply: ReplyEntry) {
    match outcome {
        Ok(attr) => reply.entry(&lifetime(&attr), &file_attr(&attr), Generation(0)),
        Err(e) => reply.error(errno::of(&e)),
    }
}

fn reply_attr(outcome: Result<Attr>, reply: ReplyAttr) {
    match outcome {
        Ok(attr) => reply.attr(&lifetime(&attr), &file_attr(&attr)),
        Err(e) => reply.error(errno::of(&e)),
    }
}

fn reply_open(volume: &Volume, backings: &Backings, ino: u64, reply: ReplyOpen) {
    match volume.open(ino) {
        Ok(opened) => {
            let keep = if opened.keep_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
            backings.reply(ino, opened, keep | FopenFlags::FOPEN_NOFLUSH, reply);
        }
        Err(e) => reply.error(errno::of(&e)),
    }
}

/// What answers reads, on whatever thread.
struct Reads {
    volume: Arc<Volume>,
    /// For what was decoded meanwhile.
    soon: Patience,
    /// For what has to be decoded.
    patience: Patience,
}

/// A read that is to be answered.
struct Asked {
    ino: u64,
    offset: u64,
    size: usize,
    reply: ReplyData,
}

impl Reads {
    /// Answers what takes no longer than a look at the disk. What somebody is about to decode is answered when it is
    /// there, and what nobody does by a thread that may take its time.
    fn answer(self: &Arc<Self>, asked: Asked) {
        if let Some(asked) = self.at_once(asked) {
            let (ino, offset, size) = (asked.ino, asked.offset, asked.size);
            let reads = self.clone();
            let then = Box::new(move |waited: bool| match waited {
                true => reads.soon.clone().run(move || reads.answer_now(asked)),
                false => reads.slowly(asked),
            });
            if let Some(now) = self.volume.when_ready(ino, offset, size, then) {
                now(false);
            }
        }
    }

    /// Answers what was waited for; nobody waits twice.
    fn answer_now(self: &Arc<Self>, asked: Asked) {
        if let Some(asked) = self.at_once(asked) {
            self.slowly(asked);
        }
    }

    /// Has a thread that may take its time answer.
    fn slowly(self: &Arc<Self>, asked: Asked) {
        let reads = self.clone();
        self.patience.run(move || {
            with_buffer(asked.size, |buffer| {
                let outcome = reads.volume.read(asked.ino, asked.offset, buffer);
                reply_read(outcome, buffer, asked.reply);
            });
        });
    }

    fn at_once(&self, asked: Asked) -> Option<Asked> {
        with_buffer(asked.size, |buffer| match self.volume.read_at_once(asked.ino, asked.offset, buffer) {
            Some(outcome) => {
                reply_read(outcome, buffer, asked.reply);
                None
            }
            None => Some(asked),
        })
    }
}

fn reply_read(outcome: Result<usize>, buffer: &[u8], reply: ReplyData) {
    match outcome {
        Ok(n) => reply.data(&buffer[..n]),
        Err(e) => {
            log::debug!("{e}");
            reply.error(errno::of(&e));
        }
    }
}

/// Calls `work` with a buffer of this thread, which is as large as the largest that was asked for so far.
fn with_buffer<T>(size: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            work(&mut buffer[..size])
        }
        // One read within another: where no thread could be started, this one does the work of two.
        Err(_) => work(&mut vec![0; size]),
    })
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Link => FileType::Symlink,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    let at: SystemTime = attr.time.into();
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: at,
        mtime: at,
        // Borg reads a file again each night whose attributes have changed before 1970.
        ctime: at.max(UNIX_EPOCH),
        crtime: at,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Answers a request for an extended attribute, or for the size that its answer would have.
fn reply_xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    match size as usize {
        0 => reply.size(value.len() as u32),
        size if size < value.len() => reply.error(fuser::Errno::ERANGE),
        _ => reply.data(value),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        ];
        for capability in wanted {
            // An older kernel is only slower without them.
            if let Err(missing) = config.add_capabilities(capability) {
                log::debug!("the kernel does not offer {missing:?}");
            }
        }
        // The kernel asks for reads of the size that it would write in.
        if let Err(nearest) = config.set_max_write(readahead::REQUEST) {
            log::debug!("the kernel asks for {nearest} bytes at once");
        }
        self.without_open &= config.add_capabilities(InitFlags::FUSE_NO_OPEN_SUPPORT).is_ok();
        if self.without_open {
            self.volume.opens_are_unknown();
        }
        let mut offered = || config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
        if self.passthrough && !self.without_open && offered() {
            // The backing file lies on a file system of its own, not on another stack.
            if config.set_max_stack_depth(1).is_ok() {
                self.backings.allow();
            }
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if let Some(outcome) = self.volume.lookup_at_once(parent.0, name.as_bytes()) {
            return reply_entry(outcome, reply);
        }
        let (volume, name) = (self.volume.clone(), name.to_os_string());
        self.patience.run(move || reply_entry(volume.lookup(parent.0, name.as_bytes()), reply));
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.volume.forget(ino.0, count);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(outcome) = self.volume.getattr_at_once(ino.0) {
            return reply_attr(outcome, reply);
        }
        let volume = self.volume.clone();
        self.patience.run(move || reply_attr(volume.getattr(ino.0), reply));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let told = |outcome: Result<Vec<u8>>, reply: ReplyData| match outcome {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(errno::of(&e)),
        };
        if let Some(outcome) = self.volume.readlink_at_once(ino.0) {
            return told(outcome, reply);
        }
        let volume = self.volume.clone();
        self.patience.run(move || told(volume.readlink(ino.0), reply));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(errno::of(&Error::ReadOnly));
        }
        if self.without_open {
            // From here on the kernel opens files by itself, and keeps what it has read of them.
            return reply.error(fuser::Errno::ENOSYS);
        }
        if self.volume.opens_at_once(ino.0) {
            return contained(|| reply_open(&self.volume, &self.backings, ino.0, reply));
        }
        let (volume, backings) = (self.volume.clone(), self.backings.clone());
        self.patience.run(move || reply_open(&volume, &backings, ino.0, reply));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let asked = Asked { ino: ino.0, offset, size: size as usize, reply };
        contained(|| self.reads.answer(asked));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // There is nothing to write back. The kernel takes this as a yes, and does not ask at every close again;
        // where it opens files by itself it never hears that they need no flush.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.backings.released(ino.0, fh);
        self.volume.release(ino.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if let Some(outcome) = self.volume.opendir_at_once(ino.0) {
            return self.listings.reply(outcome, reply);
        }
        let (volume, listings) = (self.volume.clone(), self.listings.clone());
        self.patience.run(move || listings.reply(volume.opendir(ino.0), reply));
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(listing) = self.listing(fh) else { return reply.error(fuser::Errno::EBADF) };
        self.volume.readdir(&listing, offset, |ino, next, kind, name| {
            reply.add(INodeNo(ino), next, file_type(kind), OsStr::from_bytes(name))
        });
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let Some(listing) = self.listing(fh) else { return reply.error(fuser::Errno::EBADF) };
        self.volume.readdir_plus(&listing, offset, |attr, next, name| {
            let (attr, lifetime) = (file_attr(attr), lifetime(attr));
            reply.add(attr.ino, next, OsStr::from_bytes(name), &lifetime, &attr, Generation(0))
        });
        reply.ok();
    }

    fn releasedir(&self, _: &Request, ino: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        if let Some(listing) = self.listings.open.write().remove(&fh.0) {
            self.volume.closedir(ino.0, &listing);
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let Statfs { blocks, files } = self.volume.statfs();
        reply.statfs(blocks, 0, 0, files, 0, Statfs::BLOCK, 255, Statfs::BLOCK);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.xattr {
            return reply.error(fuser::Errno::ENOSYS);
        }
        match self.attribute(ino.0, name) {
            Ok(value) => reply_xattr(reply, size, value.as_bytes()),
            Err(e) => reply.error(errno::of(&e)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.xattr {
            return reply.error(fuser::Errno::ENOSYS);
        }
        match self.volume.attribute_names(ino.0) {
            Ok(list) => {
                let mut names = Vec::new();
                for name in list {
                    names.extend_from_slice(name.as_bytes());
                    names.push(0);
                }
                reply_xattr(reply, size, &names);
            }
            Err(e) => reply.error(errno::of(&e)),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        match mask.contains(AccessFlags::W_OK) {
            true => reply.error(errno::of(&Error::ReadOnly)),
            false => reply.ok(),
        }
    }
}

#[cfg(test)]
mod tests;
