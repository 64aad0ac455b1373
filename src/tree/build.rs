//! Makes a tree in one pass over a list of paths.
//!
//! A node is first a [`Draft`]. Directories are found by (parent, name) through a hash table that holds nothing
//! but their numbers; files are only put down, and meet others of their name when [`Builder::finish`] puts all
//! of them level by level in the order of names.
//!
//! A later path wins over an earlier one of the same name, and the caller is told how often: drafts of losers
//! stay as dead weight until the tree is finished. Every step takes constant time, also for a package that is
//! made to contradict itself.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::number::number;
use super::{DERIVED, Kind, Node, NodeId, SafePath, Time, Tree};
use crate::error::{Error, Result};

/// What the builder has to know of a file.
#[derive(Debug, Clone, Copy)]
pub struct Leaf {
    /// The exact size.
    pub size: u64,
    /// The time of the data.
    pub time: Time,
    /// Permission bits.
    pub mode: u16,
    /// File or link.
    pub kind: Kind,
    /// The format's own number of the entry, or [`Leaf::derived`].
    pub entry: u32,
    /// What tells this content from any other under the same path, beside size and time: a checksum.
    pub identity: u64,
}

impl Leaf {
    /// In place of the size, for a file whose size is found out only when somebody asks for it.
    pub const LATE: u64 = u64::MAX;

    /// In place of an entry's number, for a file that is not stored.
    pub fn derived(number: u32) -> u32 {
        DERIVED + number
    }
}

/// What adding a path has done, as far as it shows at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Nothing else was touched.
    New,
    /// The directory had a record before.
    Again,
    /// The path was a directory, whose contents are gone with it.
    ReplacesDirectory,
}

/// What later paths have replaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Files by later files or directories of the same name.
    pub files: u64,
    /// The directories that have replaced files.
    pub by_directories: Vec<NodeId>,
}

/// 48 bytes: there may be millions.
#[derive(Debug, Clone, Copy)]
struct Draft {
    /// For a directory the number of its subdirectories.
    size: u64,
    identity: u64,
    seconds: i64,
    nanos: u32,
    parent: u32,
    name_at: u32,
    /// For a directory its place among the directories.
    entry: u32,
    name_len: u16,
    mode: u16,
    kind: Kind,
    /// Whether a record of its own gave a directory its time and mode.
    explicit: bool,
    /// A directory that a file has replaced. What is below it is dead as well, without being marked.
    dead: bool,
}

impl Draft {
    fn directory(parent: u32, name_at: u32, name_len: u16, place: u32) -> Draft {
        Draft {
            size: 0,
            identity: 0,
            seconds: 0,
            nanos: 0,
            parent,
            name_at,
            entry: place,
            name_len,
            mode: DIRECTORY_MODE,
            kind: Kind::Directory,
            explicit: false,
            dead: false,
        }
    }

    fn name(&self) -> std::ops::Range<usize> {
        let start = self.name_at as usize;
        start..start + self.name_len as usize
    }
}

/// A tree that is growing.
#[derive(Debug)]
pub struct Builder {
    names: Vec<u8>,
    drafts: Vec<Draft>,
    /// The directories.
    table: HashTable<u32>,
    directories: u32,
    hasher: DefaultHashBuilder,
    /// The directory of the path before: archives list a directory's files together.
    last: (Vec<u8>, u32),
    /// A file, in a directory of its own, that gets its time when all others are known: so much newer than they.
    newest: Option<(u32, i64)>,
    /// The number of the root.
    root: u64,
}

/// Numbers below this mean something to the kernel, or are kept for what is not a project's.
pub const RESERVED: u64 = 16;

const ROOT: u32 = 0;
const DIRECTORY_MODE: u16 = 0o555;

impl Builder {
    /// An empty tree; `expected` is a hint, and is not trusted beyond a million.
    pub fn new(expected: usize) -> Builder {
        let expected = expected.min(1 << 20);
        let mut drafts = Vec::with_capacity(expected + 1);
        drafts.push(Draft::directory(ROOT, 0, 0, 0));
        Builder {
            names: Vec::with_capacity(expected * 24),
            drafts,
            table: HashTable::new(),
            directories: 1,
            hasher: DefaultHashBuilder::default(),
            last: (Vec::new(), ROOT),
            newest: None,
            root: 1,
        }
    }

    /// The same, with room for so many directories.
    pub fn with_room_for_directories(mut self, expected: usize) -> Builder {
        self.table = HashTable::with_capacity(expected.min(1 << 20));
        self
    }

    /// Adds a file or a link, and the directories above it.
    pub fn leaf(&mut self, path: SafePath<'_>, leaf: Leaf) -> Result<Added> {
        let (folder, name) = path.split();
        let parent = self.folder(folder)?;
        let mut added = Added::New;
        if self.drafts[parent as usize].size > 0
            && let Some(directory) = self.find(parent, name)
        {
            self.bury(directory);
            added = Added::ReplacesDirectory;
        }
        let (_, name_at) = self.room()?;
        self.names.extend_from_slice(name);
        self.drafts.push(Draft {
            size: leaf.size,
            identity: leaf.identity,
            seconds: leaf.time.seconds,
            nanos: leaf.time.nanos,
            parent,
            name_at,
            entry: leaf.entry,
            name_len: name.len() as u16,
            mode: leaf.mode,
            kind: leaf.kind,
            explicit: false,
            dead: false,
        });
        Ok(added)
    }

    /// Adds a file that will be `newer` seconds newer than all else; its directory, which nothing else is in, gets
    /// the newest time of the others.
    pub fn newest(&mut self, path: SafePath<'_>, leaf: Leaf, newer: i64) -> Result<()> {
        self.directory(SafePath::check(path.split().0).expect("it has a directory"), Time::default(), None)?;
        self.leaf(path, leaf)?;
        self.newest = Some((self.drafts.len() as u32 - 1, newer));
        Ok(())
    }

    /// What was added at the root with a name that begins with `prefix`.
    pub fn names_at_root(&self, prefix: &[u8]) -> impl Iterator<Item = &[u8]> {
        let at_root = self.drafts[1..].iter().filter(|draft| draft.parent == ROOT && !draft.dead);
        at_root.map(|draft| &self.names[draft.name()]).filter(move |name| name.starts_with(prefix))
    }

    /// Adds a directory that has a record of its own, and those above it.
    pub fn directory(&mut self, path: SafePath<'_>, time: Time, mode: Option<u16>) -> Result<Added> {
        let id = self.folder(path.bytes())?;
        let draft = &mut self.drafts[id as usize];
        let again = std::mem::replace(&mut draft.explicit, true);
        (draft.seconds, draft.nanos) = (time.seconds, time.nanos);
        draft.mode = mode.unwrap_or(DIRECTORY_MODE);
        Ok(if again { Added::Again } else { Added::New })
    }

    /// The directory at `path`, made where it is missing.
    fn folder(&mut self, path: &[u8]) -> Result<u32> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        if path == self.last.0 {
            return Ok(self.last.1);
        }
        let mut at = ROOT;
        for part in path.split(|b| *b == b'/') {
            at = match self.find(at, part) {
                Some(id) => id,
                None => self.make(at, part)?,
            };
        }
        self.last.0.clear();
        self.last.0.extend_from_slice(path);
        self.last.1 = at;
        Ok(at)
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    /// The living directory of a name.
    fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let found = self.table.find(self.hash(parent, name), |id| {
            let draft = &self.drafts[*id as usize];
            draft.parent == parent && &self.names[draft.name()] == name
        });
        found.copied()
    }

    /// The numbers that the next draft and the next name get.
    fn room(&self) -> Result<(u32, u32)> {
        // Entries are counted as drafts are, and derived numbers begin where theirs have to end.
        debug_assert!(self.drafts.len() < DERIVED as usize, "an entry's number would be a derived one");
        match (u32::try_from(self.drafts.len()), u32::try_from(self.names.len())) {
            (Ok(id), Ok(name_at)) => Ok((id, name_at)),
            _ => {
                let what = "the project has more names than four gigabytes can hold";
                Err(Error::damaged("too-many-names", "", what))
            }
        }
    }

    fn make(&mut self, parent: u32, name: &[u8]) -> Result<u32> {
        let (id, name_at) = self.room()?;
        self.names.extend_from_slice(name);
        self.drafts.push(Draft::directory(parent, name_at, name.len() as u16, self.directories));
        self.directories += 1;
        self.drafts[parent as usize].size += 1;
        let hash = self.hash(parent, name);
        let (drafts, names, hasher) = (&self.drafts, &self.names, &self.hasher);
        self.table.insert_unique(hash, id, |id| {
            let draft = &drafts[*id as usize];
            hasher.hash_one((draft.parent, &names[draft.name()]))
        });
        Ok(id)
    }

    /// A file takes a directory's place. The name may get a new draft later, so that nothing below the old one
    /// is found again: constant time, however often a hostile package does it.
    fn bury(&mut self, id: u32) {
        self.last = (Vec::new(), ROOT);
        self.drafts[id as usize].dead = true;
        let draft = self.drafts[id as usize];
        let hash = self.hash(draft.parent, &self.names[draft.name()]);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == id) {
            entry.remove();
            self.drafts[draft.parent as usize].size -= 1;
        }
    }

    /// Adds a door, a directory that another branch stands behind: under a name that nothing is added below.
    pub fn door(&mut self, path: SafePath<'_>, time: Time, number: u32) -> Result<()> {
        self.directory(path, time, None)?;
        let id = self.last.1;
        self.drafts[id as usize].identity = Leaf::derived(number).into();
        Ok(())
    }

    /// A door that bears the newest time of all else.
    pub fn newest_door(&mut self, path: SafePath<'_>, number: u32) -> Result<()> {
        self.door(path, Time::default(), number)?;
        self.newest = Some((self.last.1, 0));
        Ok(())
    }

    /// The tree will hang in another one, where the number of its root is `ino`: numbers are those of paths from
    /// the top of all.
    pub fn hang_below(&mut self, ino: u64) {
        self.root = ino;
    }

    /// Gives the root a time, which else is that of the newest in it.
    pub fn top(&mut self, time: Time) {
        let root = &mut self.drafts[ROOT as usize];
        (root.explicit, root.seconds, root.nanos) = (true, time.seconds, time.nanos);
    }

    /// Sorts, numbers and counts.
    pub fn finish(self) -> (Tree, Replaced) {
        let Builder { names, mut drafts, table, directories, newest, root, .. } = self;
        drop(table);
        // A parent is always made before its children.
        for at in 1..drafts.len() {
            let parent = drafts[at].parent as usize;
            drafts[at].dead |= drafts[parent].dead;
        }
        let Order { drafts: order, replaced } = level_order(&names, &drafts, directories as usize);
        let mut nodes = lay_out(&drafts, &order);
        if let Some((draft, newer)) = newest {
            let file = order.iter().position(|id| *id == draft).expect("nothing came after it");
            make_newest(&mut nodes, file, newer);
        }
        let bytes = count(&mut nodes, &drafts, &order);
        nodes[0].ino = root;
        number(&mut nodes, &names, |i| drafts[order[i] as usize].identity);
        (Tree { names: names.into_boxed_slice(), nodes: nodes.into_boxed_slice(), bytes }, replaced)
    }
}

struct Order {
    drafts: Vec<u32>,
    replaced: Replaced,
}

/// The drafts level by level, each directory's children side by side in the order of names, and of one name
/// only the last.
fn level_order(names: &[u8], drafts: &[Draft], directories: usize) -> Order {
    // Children by parent: a counting sort over the directories' places.
    let place = |id: u32| drafts[id as usize].entry as usize;
    let alive = || (1..drafts.len() as u32).filter(|id| !drafts[*id as usize].dead);
    let mut starts = vec![0u32; directories + 1];
    for id in alive() {
        starts[place(drafts[id as usize].parent) + 1] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut next = starts.clone();
    let mut by_parent = vec![0u32; starts[directories] as usize];
    for id in alive() {
        let slot = &mut next[place(drafts[id as usize].parent)];
        by_parent[*slot as usize] = id;
        *slot += 1;
    }
    let name = |id: &u32| &names[drafts[*id as usize].name()];
    let mut replaced = Replaced::default();
    let mut order = Vec::with_capacity(by_parent.len() + 1);
    order.push(ROOT);
    let mut at = 0;
    while at < order.len() {
        let id = order[at];
        at += 1;
        if drafts[id as usize].kind != Kind::Directory {
            continue;
        }
        let place = place(id);
        let children = &mut by_parent[starts[place] as usize..starts[place + 1] as usize];
        if children.is_sorted_by(|a, b| name(a) < name(b)) {
            order.extend_from_slice(children);
            continue;
        }
        // Stable: of one name, the last that was added stands last. A directory that is alive came after all
        // files of its name, for a later file would have buried it.
        children.sort_by(|a, b| name(a).cmp(name(b)));
        for same in children.chunk_by(|a, b| name(a) == name(b)) {
            let last = same[same.len() - 1];
            replaced.files += same.len() as u64 - 1;
            if same.len() > 1 && drafts[last as usize].kind == Kind::Directory {
                replaced.by_directories.push(NodeId(order.len() as u32));
            }
            order.push(last);
        }
    }
    Order { drafts: order, replaced }
}

fn lay_out(drafts: &[Draft], order: &[u32]) -> Vec<Node> {
    // Only directories are parents.
    let mut places: Vec<u32> = Vec::new();
    for (i, id) in order.iter().enumerate() {
        let draft = &drafts[*id as usize];
        if draft.kind == Kind::Directory {
            let place = draft.entry as usize;
            places.resize(places.len().max(place + 1), 0);
            places[place] = i as u32;
        }
    }
    let node = |id: &u32| {
        let draft = &drafts[*id as usize];
        let directory = draft.kind == Kind::Directory;
        Node {
            ino: 0,
            size: if directory { 0 } else { draft.size },
            seconds: draft.seconds,
            nanos: draft.nanos,
            name_at: draft.name_at,
            parent: places[drafts[draft.parent as usize].entry as usize],
            first: if directory { draft.identity as u32 } else { draft.entry },
            count: 0,
            name_len: draft.name_len,
            mode: draft.mode,
            kind: draft.kind,
        }
    };
    order.iter().map(node).collect()
}

/// Gives the file at `file` and its directory their times.
fn make_newest(nodes: &mut [Node], file: usize, newer: i64) {
    let others = nodes.iter().enumerate().filter(|(i, _)| *i != file);
    let (seconds, nanos) = others.map(|(_, node)| (node.seconds, node.nanos)).max().unwrap_or_default();
    let folder = nodes[file].parent as usize;
    (nodes[folder].seconds, nodes[folder].nanos) = (seconds, nanos);
    (nodes[file].seconds, nodes[file].nanos) = (seconds.saturating_add(newer), nanos);
}

/// First children, numbers of children and subdirectories, times of directories that have no record; and the
/// sum of all sizes. From the last node to the first, so that children are done before their directory.
fn count(nodes: &mut [Node], drafts: &[Draft], order: &[u32]) -> u64 {
    let mut bytes = 0u64;
    for i in (0..nodes.len()).rev() {
        let Node { parent, kind, seconds, nanos, size, .. } = nodes[i];
        if kind != Kind::Directory && !nodes[i].is_late() {
            bytes = bytes.saturating_add(size);
        }
        if i == 0 {
            break;
        }
        let implied = !drafts[order[parent as usize] as usize].explicit;
        let folder = &mut nodes[parent as usize];
        folder.first = i as u32;
        folder.count += 1;
        folder.size += u64::from(kind == Kind::Directory);
        if implied && (seconds, nanos) > (folder.seconds, folder.nanos) {
            (folder.seconds, folder.nanos) = (seconds, nanos);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(entry: u32) -> Leaf {
        let time = Time { seconds: 1000 + i64::from(entry), nanos: 0 };
        Leaf { size: 10, time, mode: 0o444, kind: Kind::File, entry, identity: entry.into() }
    }

    fn add(b: &mut Builder, path: &str, entry: u32) -> Added {
        b.leaf(SafePath::check(path.as_bytes()).unwrap(), leaf(entry)).unwrap()
    }

    fn listing(tree: &Tree) -> Vec<(String, Option<u32>)> {
        let mut all: Vec<_> = tree.ids().map(|id| (tree.shown(id), tree.node(id).entry())).collect();
        all.sort();
        all
    }

    #[test]
    fn children_stand_side_by_side_in_the_order_of_names() {
        let mut b = Builder::new(0);
        for (i, path) in ["z", "b/2", "a/y/deep", "b/1", "a/x"].iter().enumerate() {
            assert_eq!(add(&mut b, path, i as u32), Added::New);
        }
        let (tree, _) = b.finish();
        let names = |path: &str| -> Vec<String> {
            let dir = tree.find(path.as_bytes()).unwrap();
            tree.children(dir).map(|c| String::from_utf8(tree.name(c).to_vec()).unwrap()).collect()
        };
        assert_eq!(names(""), ["a", "b", "z"]);
        assert_eq!(names("a"), ["x", "y"]);
        assert_eq!(names("b"), ["1", "2"]);
        assert_eq!(tree.node(tree.find(b"a").unwrap()).links(), 3);
        assert_eq!(tree.node(Tree::ROOT).links(), 4);
        assert_eq!(tree.bytes(), 50);
        // A directory without a record bears the newest time below it.
        assert_eq!(tree.node(tree.find(b"a").unwrap()).time().seconds, 1004);
        assert_eq!(tree.find(b"a/x/none"), None);
        assert_eq!(tree.find(b"c"), None);
    }

    #[test]
    fn the_last_of_a_name_wins_whatever_it_is() {
        let mut b = Builder::new(0);
        add(&mut b, "x", 0);
        assert_eq!(add(&mut b, "x", 1), Added::New);
        assert_eq!(add(&mut b, "x/y", 2), Added::New);
        assert_eq!(add(&mut b, "x", 3), Added::ReplacesDirectory);
        add(&mut b, "x/y/z", 4);
        assert_eq!(add(&mut b, "x", 5), Added::ReplacesDirectory);
        add(&mut b, "w/v", 6);
        let (tree, replaced) = b.finish();
        let expected =
            [("", None), ("w", None), ("w/v", Some(6)), ("x", Some(5))].map(|(p, e)| (p.to_string(), e));
        assert_eq!(listing(&tree), expected);
        // 0, 1 and 3 by 5. What was below the directories went with them.
        assert_eq!(replaced, Replaced { files: 3, by_directories: vec![] });
        assert_eq!(tree.node(Tree::ROOT).links(), 3);
    }

    #[test]
    fn a_directory_that_returns_has_only_its_new_children() {
        let mut b = Builder::new(0);
        add(&mut b, "x/old", 0);
        add(&mut b, "x", 1);
        add(&mut b, "x/new", 2);
        let (tree, replaced) = b.finish();
        let expected = [("", None), ("x", None), ("x/new", Some(2))].map(|(p, e)| (p.to_string(), e));
        assert_eq!(listing(&tree), expected);
        let x = tree.find(b"x").unwrap();
        assert_eq!(replaced, Replaced { files: 1, by_directories: vec![x] });
    }

    #[test]
    fn numbers_do_not_depend_on_the_order_of_the_entries() {
        let paths = ["a/1", "a/2", "b/c/3", "d"];
        let tree = |order: &[usize]| {
            let mut b = Builder::new(0);
            for i in order {
                add(&mut b, paths[*i], *i as u32);
            }
            let (tree, _) = b.finish();
            paths.map(|p| tree.node(tree.find(p.as_bytes()).unwrap()).ino)
        };
        assert_eq!(tree(&[0, 1, 2, 3]), tree(&[3, 1, 2, 0]));
    }
}
