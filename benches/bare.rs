//! A file system that only passes bytes: what any daemon can reach without the kernel's passthrough.
//!
//! `scripts/bench` measures vaso against it, and has the kernel read as far ahead of both. It asks the kernel for the
//! same as `src/mount/` does, and answers from flat tables; a read is one `pread` of another file. An index says where
//! the bytes of each file are, a line each: `DATAFILE<tab>OFFSET<tab>SIZE<tab>MTIME<tab>PATH`. Directories follow from the
//! paths.
//!
//! `bare [--noxattr] [--threads N] INDEX DIR` stays in the foreground until DIR is unmounted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
const BLOCK: u32 = 4096;
/// The data file of a directory.
const NO_FILE: u32 = u32::MAX;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file or directory. Names stay where they are in the index, which lives as long as the program.
struct Node {
    name: &'static [u8],
    parent: u32,
    file: u32,
    links: u32,
    offset: u64,
    size: u64,
    mtime: u64,
    children: Vec<u32>,
}

struct Bare {
    /// The root is the first; a number in the kernel is one more than the place here.
    nodes: Vec<Node>,
    names: HashMap<(u32, &'static [u8]), u32>,
    files: Vec<File>,
    owner: (u32, u32),
    xattr: bool,
}

impl Bare {
    fn new(index: &'static [u8], xattr: bool) -> io::Result<Bare> {
        let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let mut bare = Bare { nodes: Vec::new(), names: HashMap::new(), files: Vec::new(), owner, xattr };
        bare.nodes.push(directory(b"", 0));
        let mut opened: HashMap<&[u8], u32> = HashMap::new();
        // Neighbours in the index are mostly in the same folder.
        let mut folder: (&[u8], u32) = (b"", 0);
        for line in index.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let bad = || io::Error::other(format!("not a line of an index: {}", line.escape_ascii()));
            let mut fields = line.splitn(5, |&b| b == b'\t');
            let mut field = || fields.next().ok_or_else(bad);
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
            let data = field()?;
            let [offset, size, mtime] = [number(field()?), number(field()?), number(field()?)];
            let path = field()?;
            let (Some(offset), Some(size), Some(mtime)) = (offset, size, mtime) else { return Err(bad()) };
            let file = match opened.get(data) {
                Some(&file) => file,
                None => {
                    bare.files.push(File::open(OsStr::from_bytes(data))?);
                    opened.insert(data, bare.files.len() as u32 - 1);
                    bare.files.len() as u32 - 1
                }
            };
            let (above, name) = match path.iter().rposition(|&b| b == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&b""[..], path),
            };
            if folder.0 != above {
                folder = (above, bare.folder(above));
            }
            let parent = folder.1;
            bare.add(Node { file, links: 1, offset, size, mtime, ..directory(name, parent) });
        }
        let mut lists: Vec<_> = bare.nodes.iter_mut().map(|n| std::mem::take(&mut n.children)).collect();
        for (place, list) in lists.iter_mut().enumerate() {
            list.sort_unstable_by_key(|&child| bare.nodes[child as usize].name);
            bare.nodes[place].children = std::mem::take(list);
        }
        Ok(bare)
    }

    fn add(&mut self, node: Node) -> u32 {
        let place = self.nodes.len() as u32;
        let parent = &mut self.nodes[node.parent as usize];
        parent.children.push(place);
        parent.links += u32::from(node.file == NO_FILE);
        self.names.insert((node.parent, node.name), place);
        self.nodes.push(node);
        place
    }

    /// The directory of that path, made if it is not there.
    fn folder(&mut self, path: &'static [u8]) -> u32 {
        path.split(|&b| b == b'/').filter(|part| !part.is_empty()).fold(0, |parent, name| {
            match self.names.get(&(parent, name)) {
                Some(&place) => place,
                None => self.add(directory(name, parent)),
            }
        })
    }

    fn attr(&self, place: u32) -> FileAttr {
        let node = &self.nodes[place as usize];
        let at = UNIX_EPOCH + Duration::from_secs(node.mtime);
        FileAttr {
            ino: INodeNo(u64::from(place) + 1),
            size: node.size,
            blocks: node.size.div_ceil(512),
            atime: at,
            mtime: at,
            ctime: at,
            crtime: at,
            kind: node.kind(),
            perm: if node.file == NO_FILE { 0o755 } else { 0o644 },
            nlink: node.links,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }

    /// Shows the entries of a directory from `offset` on, until `each` says that it is full.
    fn list(&self, ino: INodeNo, offset: u64, mut each: impl FnMut(u32, u64, &'static [u8]) -> bool) {
        let node = &self.nodes[place(ino)];
        let own = place(ino) as u32;
        let dots = [(own, &b"."[..]), (node.parent, b"..")].into_iter();
        let children = node.children.iter().map(|&child| (child, self.nodes[child as usize].name));
        // Not `dots.chain(children).skip(offset)`: that would walk to the offset at every call.
        let rest = children.skip((offset as usize).saturating_sub(2));
        for (next, (child, name)) in (offset + 1..).zip(dots.skip(offset as usize).chain(rest)) {
            if each(child, next, name) {
                return;
            }
        }
    }
}

impl Node {
    fn kind(&self) -> FileType {
        if self.file == NO_FILE { FileType::Directory } else { FileType::RegularFile }
    }
}

fn directory(name: &'static [u8], parent: u32) -> Node {
    Node { name, parent, file: NO_FILE, links: 2, offset: 0, size: 0, mtime: 0, children: Vec::new() }
}

fn place(ino: INodeNo) -> usize {
    ino.0 as usize - 1
}

impl Filesystem for Bare {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
        ];
        for capability in wanted {
            config.add_capabilities(capability).map_err(|e| io::Error::other(format!("no {e:?}")))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.names.get(&(place(parent) as u32, name.as_bytes())) {
            Some(&found) => reply.entry(&FOREVER, &self.attr(found), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attr(place(ino) as u32));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
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
        let node = &self.nodes[place(ino)];
        let Some(file) = self.files.get(node.file as usize) else { return reply.error(Errno::EISDIR) };
        let size = u64::from(size).min(node.size.saturating_sub(offset)) as usize;
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match file.read_exact_at(&mut buffer[..size], node.offset + offset) {
                Ok(()) => reply.data(&buffer[..size]),
                Err(_) => reply.error(Errno::EIO),
            }
        });
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.list(ino, offset, |child, next, name| {
            let kind = self.nodes[child as usize].kind();
            reply.add(INodeNo(u64::from(child) + 1), next, kind, OsStr::from_bytes(name))
        });
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.list(ino, offset, |child, next, name| {
            let attr = self.attr(child);
            reply.add(attr.ino, next, OsStr::from_bytes(name), &FOREVER, &attr, Generation(0))
        });
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, self.nodes.len() as u64, 0, BLOCK, 255, BLOCK);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(if self.xattr { Errno::NO_XATTR } else { Errno::ENOSYS });
    }

    fn listxattr(&self, _: &Request, _: INodeNo, size: u32, reply: ReplyXattr) {
        match (self.xattr, size) {
            (false, _) => reply.error(Errno::ENOSYS),
            (true, 0) => reply.size(0),
            (true, _) => reply.data(&[]),
        }
    }
}

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: bare [--noxattr] [--threads N] INDEX DIR");
    // The same number as in `src/mount/kernel.rs`.
    let mut threads = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 8) + 2;
    let (mut xattr, mut paths) = (true, Vec::new());
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--noxattr" => xattr = false,
            b"--threads" => {
                let number = args.next().and_then(|n| n.to_str()?.parse().ok());
                threads = number.ok_or_else(usage)?;
            }
            _ => paths.push(arg),
        }
    }
    let [index, dir] = &paths[..] else { return Err(usage()) };
    let bare = Bare::new(Box::leak(std::fs::read(index)?.into_boxed_slice()), xattr)?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::NoSuid, MountOption::NoDev];
    config.mount_options.push(MountOption::FSName("bare".into()));
    config.n_threads = Some(threads);
    fuser::mount(bare, dir, &config)
}
