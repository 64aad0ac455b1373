//! The file system as plain methods: what the kernel may ask, answered without a kernel.
//!
//! A [`Volume`] shows one project at a time, as a [`Revision`]; when the source changes, the next one takes its
//! place, and what the kernel still holds of the earlier keeps its own meaning:
//!
//! * a number stands for one path and one content. Replaced content has another number, and the old one keeps
//!   its bytes until the kernel forgets it;
//! * after a rewrite in place the old bytes are gone: whoever has such a file open gets an error from then on.
//!   Its number goes to nobody else while it is open, so that two contents never meet in one page cache.
//!
//! Lock order: `refreshing`, then `revisions`, then one shard of `known`. None is held across a system call,
//! except `refreshing`, which serialises the loading of a changed source and is taken by nobody who is to answer at once.

mod control;
mod known;
mod listing;
mod numbers;
mod part;
mod refresh;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use parking_lot::{Mutex, RwLock};

use self::control::{Control, Texts};
use self::known::{Known, Place};
use self::refresh::Refresh;
use crate::error::{Error, Result};
use crate::format::{Confirmed, Container, OpenOptions, UNLISTED_ATTRIBUTES};
use crate::store::Source;
use crate::tree::{Cache, Content, Kind, NodeId, Then, Time, Tree};

pub use self::listing::Listing;
pub use self::part::{Part, Revision};
pub use self::refresh::Outcome;

/// The root's number, which the kernel prescribes.
pub const ROOT: u64 = 1;
/// How many opened contents are kept at hand.
const CONTENTS: usize = 1024;
/// A file system's unit of space.
const BLOCK: u64 = 512;
/// What a directory is said to take.
const DIRECTORY_SIZE: u64 = 4096;

/// How a volume answers.
#[derive(Debug, Clone)]
pub struct Options {
    /// Owner of everything.
    pub uid: u32,
    /// Group of everything.
    pub gid: u32,
    /// Permission bits that are taken away.
    pub umask: u16,
    /// How the project is opened.
    pub open: OpenOptions,
}

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Exact size.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Time of the data.
    pub time: Time,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Link count.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// It is of the current revision, so the kernel may keep it until it is told otherwise. What is given out
    /// late, of a revision that was replaced meanwhile, must be asked for again.
    pub lasting: bool,
}

/// What `df` says, in blocks of [`Statfs::BLOCK`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statfs {
    /// All blocks; none is free.
    pub blocks: u64,
    /// All nodes; none is free.
    pub files: u64,
}

impl Statfs {
    /// The unit in which space is counted.
    pub const BLOCK: u32 = 4096;
}

/// Something that the kernel has to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// A name in a directory.
    Name(u64, Vec<u8>),
    /// Attributes and data of a number.
    Inode(u64),
}

/// What an open says of the kernel's cache.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Pages from earlier opens are still right.
    pub keep_cache: bool,
    /// The whole of it is a file that nobody writes to.
    pub whole: Option<Arc<Source>>,
}

/// A project as a file system.
#[derive(Debug)]
pub struct Volume {
    options: Options,
    /// The tops of all revisions that something still refers to; the last one is current.
    revisions: RwLock<Vec<Arc<Part>>>,
    known: Known,
    /// By epoch, number of the part's root, and node.
    contents: Cache<(u32, u64, NodeId), Content>,
    texts: Texts,
    refreshing: Mutex<Refresh>,
    invalidations: Mutex<Option<Sender<Invalidation>>>,
}

impl Volume {
    /// A volume that shows `container`.
    pub fn new(container: Arc<dyn Container>, options: Options) -> Volume {
        refresh::tell_choice(container.as_ref(), None);
        let first = Part::top(Revision::new(0, container));
        Volume {
            options,
            revisions: RwLock::new(vec![first]),
            known: Known::default(),
            contents: Cache::new(CONTENTS),
            texts: Texts::default(),
            refreshing: Mutex::default(),
            invalidations: Mutex::new(None),
        }
    }

    /// Where to send what the kernel has to forget. The receiver works in a thread of its own: a request that
    /// waited for an invalidation could wait for itself.
    pub fn notify(&self, to: Sender<Invalidation>) {
        *self.invalidations.lock() = Some(to);
    }

    /// The top of the state that new look-ups see.
    fn top(&self) -> Arc<Part> {
        self.revisions.read().last().expect("there is always a current revision").clone()
    }

    /// The state that new look-ups see.
    pub fn current(&self) -> Arc<Revision> {
        self.top().revision.clone()
    }

    /// What a number stands for; a door for itself.
    fn resolve(&self, ino: u64) -> Result<(Arc<Part>, NodeId)> {
        if ino == ROOT {
            return Ok((self.top(), Tree::ROOT));
        }
        let Place { part, node } = self.known.get(ino).ok_or(Error::Stale(ino))?;
        Ok((part, node))
    }

    /// What a node shows: itself, or what stands behind it.
    fn enter(&self, part: Arc<Part>, node: NodeId) -> Result<(Arc<Part>, NodeId)> {
        let (part, node) = self.settled(part, node)?;
        part.enter(node)
    }

    /// A node of the revision that is shown. What the format chose without a look inside is looked at first; where
    /// that was the wrong choice, it is the same path of the next revision.
    fn settled(&self, mut part: Arc<Part>, mut node: NodeId) -> Result<(Arc<Part>, NodeId)> {
        while part.awaits(node) {
            if part.revision.container.confirm()? == Confirmed::Wrong {
                let path = part.tree().path(node);
                part = self.choose_again(&part)?;
                node = part.tree().find(&path).ok_or(Error::NotFound(String::new()))?;
            }
        }
        Ok((part, node))
    }

    /// What `stat` says of a node, whose size is found out for it. A door is looked at from outside, so that a listing
    /// of fifty snapshots opens none.
    fn attr(&self, part: &Arc<Part>, id: NodeId, ino: u64) -> Result<Attr> {
        let node = part.tree().node(id);
        if node.door().is_some() {
            let (part, id) = self.settled(part.clone(), id)?;
            return Ok(self.attr_as_listed(&part, id, ino));
        }
        let mut attr = self.attr_as_listed(part, id, ino);
        if node.is_late() {
            attr.size = match part.told(id, part.branch.late_size(id)) {
                Ok(size) => size,
                // It is there, and whoever opens it is told why it cannot be read. It is never empty: what seems to
                // be empty is not opened, and would be taken for healthy.
                Err(Error::Damaged { .. } | Error::Unsupported { .. }) => {
                    attr.lasting = false;
                    part.branch.size_in_part(id).max(1)
                }
                Err(other) => return Err(other),
            };
            attr.blocks = attr.size.div_ceil(BLOCK);
        } else if self.may_hide_a_refusal(part, id)
            && let Err(Error::Damaged { .. } | Error::Unsupported { .. }) = self.content(part, id)
        {
            // As above: it is not empty, or nobody would be refused.
            (attr.size, attr.blocks) = (1, 1);
        }
        Ok(attr)
    }

    /// Whether a file that is empty may be one that refuses to open, and nobody asks at open: the kernel was told so of
    /// a state that refused nothing, and of an empty file it asks for nothing else.
    fn may_hide_a_refusal(&self, part: &Part, id: NodeId) -> bool {
        let node = part.tree().node(id);
        let empty = node.kind == Kind::File && node.size() == 0 && !node.is_late();
        empty && self.known.are_opens_unknown() && !part.revision.opens_all()
    }

    /// The same as far as it is known without work; what is not known is not lasting.
    fn attr_as_listed(&self, part: &Part, id: NodeId, ino: u64) -> Attr {
        let node = part.tree().node(id);
        let late = if node.is_late() { part.branch.known_size(id) } else { None };
        let known = !part.awaits(id) && !node.is_late() || late.is_some();
        let known = known && !self.may_hide_a_refusal(part, id);
        let revision = &part.revision;
        let size = if node.kind == Kind::Directory { DIRECTORY_SIZE } else { late.unwrap_or(node.size()) };
        Attr {
            ino,
            size,
            blocks: size.div_ceil(BLOCK),
            time: node.time(),
            kind: node.kind,
            mode: if node.kind == Kind::Link { 0o777 } else { node.mode & !self.options.umask },
            links: node.links(),
            uid: self.options.uid,
            gid: self.options.gid,
            lasting: known && !revision.replaced.load(Ordering::Acquire),
        }
    }

    /// Counts one more reference of the kernel to a node, and gives its number.
    fn remember(&self, part: &Arc<Part>, node: NodeId) -> u64 {
        match (node, part.root) {
            (Tree::ROOT, ROOT) => ROOT,
            _ => self.known.remember(part, node),
        }
    }

    /// The child of a directory; the kernel holds one more reference to it.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr> {
        Ok(self.settling(|| self.look(parent, name, true))?.expect("there is time"))
    }

    /// The same, if it takes no longer than a look into tables; `None` where something has to be opened or
    /// rendered first. Then [`Volume::lookup`] is for a thread that may take its time.
    pub fn lookup_at_once(&self, parent: u64, name: &[u8]) -> Option<Result<Attr>> {
        settled(self.look(parent, name, false).transpose()?)
    }

    fn look(&self, parent: u64, name: &[u8], patient: bool) -> Result<Option<Attr>> {
        if name.len() > crate::tree::SafePath::MAX_COMPONENT {
            return Err(Error::NameTooLong);
        }
        if Control::may_be(parent, name) {
            let current = self.current();
            match Control::find(parent, name, &current) {
                Some(Control::History) => return self.history(current).map(Some),
                Some(control) => return Ok(Some(self.control(control, &current))),
                None if parent == control::FOLDER => return Err(Error::NotFound(String::new())),
                None => {}
            }
        }
        let (mut part, mut dir) = self.resolve(parent)?;
        if part.tree().node(dir).door().is_some() {
            if !patient && part.is_shut(dir) {
                return Ok(None);
            }
            (part, dir) = self.enter(part, dir)?;
        }
        let tree = part.tree();
        if tree.node(dir).kind != Kind::Directory {
            return Err(part.not_a_directory(dir));
        }
        let Some(child) = tree.child(dir, name) else {
            // Programs ask for what is not there all the time; nobody gets to see the message.
            let child = part.branch.other_name(dir, name).ok_or(Error::NotFound(String::new()))?;
            // What such a name stands for may be another thing the next time.
            let attr = self.attr_as_listed(&part, child, self.remember(&part, child));
            return Ok(Some(Attr { lasting: false, ..attr }));
        };
        if !patient && part.is_slow(child) {
            return Ok(None);
        }
        if part.awaits(child) {
            // Which of two revisions it is of, shows here.
            let path = tree.path(child);
            self.settled(part.clone(), child)?;
            let now = if part.revision.replaced.load(Ordering::Acquire) { self.top() } else { part };
            let child = now.tree().find(&path).ok_or(Error::NotFound(String::new()))?;
            let ino = self.remember(&now, child);
            return self.attr(&now, child, ino).inspect_err(|_| self.forget(ino, 1)).map(Some);
        }
        let ino = self.remember(&part, child);
        // What cannot be looked at gets no number; the reference goes back.
        self.attr(&part, child, ino).inspect_err(|_| self.forget(ino, 1)).map(Some)
    }

    /// What stands in the control folder, as it is now.
    fn control(&self, control: Control, revision: &Revision) -> Attr {
        let (ino, text, again) = self.texts.now(control, revision);
        if again {
            self.send(vec![Invalidation::Inode(ino)]);
        }
        control.attr(ino, text.len(), &self.options)
    }

    /// The folder of earlier states; the kernel holds one more reference to it.
    fn history(&self, revision: Arc<Revision>) -> Result<Attr> {
        let history = revision.container.history().ok_or(Error::NotFound(String::new()))?;
        let part = Part::controlled(revision, history, control::HISTORY);
        let ino = self.remember(&part, Tree::ROOT);
        let attr = self.attr_as_listed(&part, Tree::ROOT, ino);
        Ok(Attr { lasting: false, ..attr })
    }

    /// The kernel gives `count` references back.
    pub fn forget(&self, ino: u64, count: u64) {
        self.known.forget(ino, count);
    }

    /// `stat` of a number.
    pub fn getattr(&self, ino: u64) -> Result<Attr> {
        self.settling(|| self.attr_of(ino))
    }

    fn attr_of(&self, ino: u64) -> Result<Attr> {
        if let Some(control) = Control::of(ino) {
            let text = self.texts.of(ino).unwrap_or_default();
            return Ok(control.attr(ino, text.len(), &self.options));
        }
        let (part, node) = self.resolve(ino)?;
        self.attr(&part, node, ino)
    }

    /// The same, if it takes no longer than a look into tables.
    pub fn getattr_at_once(&self, ino: u64) -> Option<Result<Attr>> {
        if let Ok((part, node)) = self.resolve(ino)
            && part.is_slow(node)
        {
            return None;
        }
        settled(self.attr_of(ino))
    }

    /// Opens a file: refuses what cannot be read.
    pub fn open(&self, ino: u64) -> Result<Opened> {
        if Control::of(ino).is_some() {
            return Ok(Opened { keep_cache: false, whole: None });
        }
        let resolved = || {
            let (part, node) = self.resolve(ino)?;
            self.content(&part, node)
        };
        let content = self.settling(resolved)?;
        let whole = if let Content::Whole(source) = content { Some(source) } else { None };
        Ok(Opened { keep_cache: self.known.opened(ino), whole })
    }

    /// Whether opening takes no longer than a look at the disk: nothing is checked, and nothing has changed.
    pub fn opens_at_once(&self, ino: u64) -> bool {
        let unchanged = || {
            let (part, _) = self.resolve(ino).ok()?;
            let source = part.revision.container.source();
            if !part.revision.is_trusted() {
                return None;
            }
            // The files of a folder are looked at one by one; what is derived may have to be rendered.
            (part.root == ROOT && (source.is_folder() || source.check().is_ok())).then_some(())
        };
        !self.options.open.check && unchanged().is_some()
    }

    /// The end of one open.
    pub fn release(&self, ino: u64) {
        self.known.released(ino);
    }

    /// Whether no file that is shown refuses to open, so that opens need not be asked.
    pub fn opens_all(&self) -> bool {
        self.current().opens_all()
    }

    /// From now on the kernel opens files without asking.
    pub fn opens_are_unknown(&self) {
        self.known.opens_are_unknown();
    }

    /// Does `look`, and once more if the source has changed underneath and that has settled: after an append all is
    /// still where it was, and what is shown now may be another revision's.
    fn settling<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        match look() {
            Err(Error::SourceChanged(_)) => {
                self.settle();
                look()
            }
            other => other,
        }
    }

    fn content(&self, part: &Part, node: NodeId) -> Result<Content> {
        let key = (part.revision.epoch, part.root, node);
        if let Some(content) = self.contents.get(&key) {
            return Ok(content);
        }
        let content = part.told(node, part.branch.open(node))?;
        self.contents.insert(key, content.clone(), 1);
        Ok(content)
    }

    /// Reads from a file.
    pub fn read(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.read_once(ino, offset, buf) {
            Err(Error::SourceChanged(_)) if !self.is_gone(ino) => {
                self.settle();
                self.read_once(ino, offset, buf)
            }
            other => other,
        }
    }

    /// Reads from a file if that takes no longer than a look at the disk; `None` where bytes have to be decoded
    /// first, or a changed source has to settle. Then [`Volume::read`] is for a thread that may take its time.
    pub fn read_at_once(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        if Control::of(ino).is_some() {
            return Some(self.read_once(ino, offset, buf));
        }
        let (part, node) = match self.resolve(ino) {
            Ok(found) => found,
            Err(e) => return Some(Err(e)),
        };
        if let Err(e) = part.revision.still_there() {
            // A doubt may be settled by a look at the source.
            return part.revision.is_gone().then_some(Err(e));
        }
        // What is derived, or is checked first, takes its time where it is opened for the first time; all else is a look
        // at the disk, or small.
        let opens_at_once = part.root == ROOT && !self.options.open.check && part.revision.is_trusted();
        if offset == 0 && opens_at_once {
            match part.revision.container.open_and_read(node, buf) {
                Ok(None) => {}
                // The kernel has the whole of it then, and asks no more: no content is kept.
                Ok(Some(_)) if part.revision.still_there().is_err() => return None,
                Ok(Some(n)) => return Some(Ok(n)),
                Err(Error::SourceChanged(_)) => return None,
                Err(e) => return Some(part.told(node, Err(e))),
            }
        }
        let content = match self.contents.get(&(part.revision.epoch, part.root, node)) {
            Some(content) => Ok(content),
            None if opens_at_once => self.content(&part, node),
            None => return None,
        };
        let done = match content {
            Ok(content) if !content.is_ready(offset, buf.len()) => return None,
            Ok(content) => content.read_at(offset, buf),
            Err(e) => Err(e),
        };
        match done {
            Err(Error::SourceChanged(_)) => None,
            // As in `read_once`.
            Ok(_) if part.revision.still_there().is_err() => None,
            done => Some(part.told(node, done)),
        }
    }

    /// Calls `then`, which is to read, once [`Volume::read_at_once`] would do, if somebody decodes these bytes
    /// already; else gives it back.
    pub fn when_ready(&self, ino: u64, offset: u64, len: usize, then: Then) -> Option<Then> {
        let Ok((part, node)) = self.resolve(ino) else { return Some(then) };
        match self.contents.get(&(part.revision.epoch, part.root, node)) {
            Some(content) => content.when_ready(offset, len, then),
            None => Some(then),
        }
    }

    fn is_gone(&self, ino: u64) -> bool {
        self.resolve(ino).is_ok_and(|(part, _)| part.revision.is_gone())
    }

    fn read_once(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if Control::of(ino).is_some() {
            let text = self.texts.of(ino).ok_or(Error::Stale(ino))?;
            return Content::Bytes(text).read_at(offset, buf);
        }
        let (part, node) = self.resolve(ino)?;
        part.revision.still_there()?;
        let read = part.told(node, self.content(&part, node)?.read_at(offset, buf))?;
        // A doubt may have come up since, under which everything can be read.
        part.revision.still_there().map(|()| read)
    }

    /// The target of a link, if it takes no longer than a look at the disk.
    pub fn readlink_at_once(&self, ino: u64) -> Option<Result<Vec<u8>>> {
        self.target(ino, |target| self.read_at_once(ino, 0, target))
    }

    /// The target of a link.
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>> {
        self.target(ino, |target| Some(self.read(ino, 0, target))).expect("there is time")
    }

    fn target(
        &self,
        ino: u64,
        read: impl FnOnce(&mut [u8]) -> Option<Result<usize>>,
    ) -> Option<Result<Vec<u8>>> {
        let size = || {
            let (part, node) = self.resolve(ino)?;
            let tree = part.tree();
            match tree.node(node).kind {
                // A link is a link only if its target was read at load, so its size is one that a path may have.
                Kind::Link => Ok(tree.node(node).size() as usize),
                _ => Err(Error::NotALink(tree.shown(node))),
            }
        };
        let mut target = match size() {
            Ok(size) => vec![0; size],
            Err(e) => return Some(Err(e)),
        };
        let read = read(&mut target)?;
        Some(read.map(|n| {
            target.truncate(n);
            target
        }))
    }

    /// The extended attributes of a number, in the order of names. A link has none: the kernel lets nobody read
    /// attributes of users from a link, and programs that copy them take a name without a value for an error.
    pub fn attributes(&self, ino: u64) -> Result<Vec<(&'static str, String)>> {
        if Control::of(ino).is_some() {
            return Ok(Vec::new());
        }
        let (part, node) = self.resolve(ino)?;
        match part.tree().node(node).kind {
            Kind::Link => Ok(Vec::new()),
            _ => Ok(part.branch.attributes(node)),
        }
    }

    /// The names of the attributes that are listed.
    pub fn attribute_names(&self, ino: u64) -> Result<impl Iterator<Item = &'static str>> {
        let names = self.attributes(ino)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| !UNLISTED_ATTRIBUTES.contains(name)))
    }

    /// What `df` says.
    pub fn statfs(&self) -> Statfs {
        let top = self.top();
        let tree = top.tree();
        Statfs { blocks: tree.bytes().div_ceil(Statfs::BLOCK.into()), files: tree.len() as u64 }
    }
}

/// An answer that was had at once, unless the source has changed meanwhile: then somebody has to wait for what it is now.
fn settled<T>(answer: Result<T>) -> Option<Result<T>> {
    match answer {
        Err(Error::SourceChanged(_)) => None,
        answer => Some(answer),
    }
}
