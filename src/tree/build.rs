//! Makes a tree in one pass over a list of paths.
//!
//! A node is first a [`Draft`]; drafts are found by (parent, name) through a hash table that holds nothing but
//! their numbers. [`Builder::finish`] then puts them level by level in the order of names, and counts.
//!
//! A later path wins over an earlier one of the same name. The loser is told to the caller, who knows what to
//! report; drafts of losers stay as dead weight until the tree is finished. Every step takes constant time,
//! also for a package that is made to contradict itself.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::{Kind, Node, SafePath, Time, Tree};
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
    /// The format's own number of the entry.
    pub entry: u32,
    /// What tells this content from any other under the same path, beside size and time: a checksum.
    pub identity: u64,
}

/// What adding a path has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The path is new.
    New,
    /// The path was there; its entry, which is given, is shadowed.
    Shadows(u32),
    /// The path was a directory, whose contents are gone with it.
    ReplacesDirectory,
    /// A file of this entry stood where a directory is needed now, and is gone.
    ReplacesFile(u32),
}

#[derive(Debug, Clone, Copy)]
struct Draft {
    parent: u32,
    name_at: u32,
    name_len: u16,
    mode: u16,
    kind: Kind,
    /// Whether a record of its own gave a directory its time and mode.
    explicit: bool,
    /// A directory that a file has replaced. What is below it is dead as well, without being marked.
    dead: bool,
    entry: u32,
    time: Time,
    size: u64,
    identity: u64,
}

/// A tree that is growing.
#[derive(Debug)]
pub struct Builder {
    names: Vec<u8>,
    drafts: Vec<Draft>,
    table: HashTable<u32>,
    hasher: RandomState,
    /// The directory of the path before: archives list a directory's files together.
    last: (Vec<u8>, u32),
}

/// Numbers below this mean something to the kernel, or are kept for what is not a project's.
pub const RESERVED: u64 = 16;

const ROOT: u32 = 0;
const DIRECTORY_MODE: u16 = 0o555;

impl Builder {
    /// An empty tree; `expected` is a hint, and is not trusted beyond a million.
    pub fn new(expected: usize) -> Builder {
        let expected = expected.min(1 << 20);
        let root = Draft {
            parent: ROOT,
            name_at: 0,
            name_len: 0,
            mode: DIRECTORY_MODE,
            kind: Kind::Directory,
            explicit: false,
            dead: false,
            entry: 0,
            time: Time::default(),
            size: 0,
            identity: 0,
        };
        let mut drafts = Vec::with_capacity(expected + 1);
        drafts.push(root);
        Builder {
            names: Vec::with_capacity(expected * 24),
            drafts,
            table: HashTable::with_capacity(expected),
            hasher: RandomState::new(),
            last: (Vec::new(), ROOT),
        }
    }

    /// Adds a file or a link, and the directories above it.
    pub fn leaf(&mut self, path: SafePath<'_>, leaf: Leaf) -> Result<Added> {
        let (folder, name) = path.split();
        let (parent, lost) = self.folder(folder)?;
        let (mut id, new) = self.get_or_add(parent, name)?;
        let before = self.drafts[id as usize];
        let replaces_directory = !new && before.kind == Kind::Directory;
        if replaces_directory {
            self.bury(id);
            (id, _) = self.get_or_add(parent, name)?;
        }
        let draft = &mut self.drafts[id as usize];
        draft.kind = leaf.kind;
        draft.mode = leaf.mode;
        draft.entry = leaf.entry;
        draft.time = leaf.time;
        draft.size = leaf.size;
        draft.identity = leaf.identity;
        Ok(match (lost, new) {
            (Some(entry), _) => Added::ReplacesFile(entry),
            (None, true) => Added::New,
            (None, false) if replaces_directory => Added::ReplacesDirectory,
            (None, false) => Added::Shadows(before.entry),
        })
    }

    /// Adds a directory that has a record of its own, and those above it.
    pub fn directory(&mut self, path: SafePath<'_>, time: Time, mode: Option<u16>) -> Result<Added> {
        let (id, lost) = self.folder(path.bytes())?;
        let draft = &mut self.drafts[id as usize];
        let again = draft.explicit;
        draft.explicit = true;
        draft.time = time;
        draft.mode = mode.unwrap_or(DIRECTORY_MODE);
        Ok(match lost {
            Some(entry) => Added::ReplacesFile(entry),
            None if again => Added::Shadows(0),
            None => Added::New,
        })
    }

    /// The directory at `path`, made where it is missing; and the entry of a file that had to make way.
    fn folder(&mut self, path: &[u8]) -> Result<(u32, Option<u32>)> {
        if path.is_empty() {
            return Ok((ROOT, None));
        }
        if path == self.last.0 && self.drafts[self.last.1 as usize].kind == Kind::Directory {
            return Ok((self.last.1, None));
        }
        let mut at = ROOT;
        let mut lost = None;
        for part in path.split(|b| *b == b'/') {
            let (id, new) = self.get_or_add(at, part)?;
            let draft = &mut self.drafts[id as usize];
            if !new && draft.kind != Kind::Directory {
                lost = Some(draft.entry);
                draft.explicit = false;
                draft.size = 0;
                draft.identity = 0;
                draft.mode = DIRECTORY_MODE;
                draft.time = Time::default();
            }
            draft.kind = Kind::Directory;
            at = id;
        }
        self.last.0.clear();
        self.last.0.extend_from_slice(path);
        self.last.1 = at;
        Ok((at, lost))
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    fn name_of(names: &[u8], draft: &Draft) -> std::ops::Range<usize> {
        let start = draft.name_at as usize;
        debug_assert!(start + draft.name_len as usize <= names.len());
        start..start + draft.name_len as usize
    }

    fn get_or_add(&mut self, parent: u32, name: &[u8]) -> Result<(u32, bool)> {
        let hash = self.hash(parent, name);
        let found = self.table.find(hash, |id| {
            let draft = &self.drafts[*id as usize];
            draft.parent == parent && &self.names[Self::name_of(&self.names, draft)] == name
        });
        if let Some(id) = found {
            return Ok((*id, false));
        }
        let full = || {
            Error::damaged("too-many-names", "", "the project has more names than four gigabytes can hold")
        };
        let id = u32::try_from(self.drafts.len()).map_err(|_| full())?;
        let name_at = u32::try_from(self.names.len()).map_err(|_| full())?;
        self.names.extend_from_slice(name);
        self.drafts.push(Draft {
            parent,
            name_at,
            name_len: name.len() as u16,
            mode: DIRECTORY_MODE,
            kind: Kind::Directory,
            explicit: false,
            dead: false,
            entry: 0,
            time: Time::default(),
            size: 0,
            identity: 0,
        });
        let (drafts, names, hasher) = (&self.drafts, &self.names, &self.hasher);
        self.table.insert_unique(hash, id, |id| {
            let draft = &drafts[*id as usize];
            hasher.hash_one((draft.parent, &names[Self::name_of(names, draft)]))
        });
        Ok((id, true))
    }

    /// A file takes a directory's place. The name gets a new draft, so that nothing below the old one is found
    /// again: constant time, however often a hostile package does it.
    fn bury(&mut self, id: u32) {
        self.last = (Vec::new(), ROOT);
        self.drafts[id as usize].dead = true;
        let draft = self.drafts[id as usize];
        let hash = self.hash(draft.parent, &self.names[Self::name_of(&self.names, &draft)]);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
    }

    /// Sorts, numbers and counts.
    pub fn finish(self) -> Tree {
        let Builder { names, mut drafts, table, .. } = self;
        drop(table);
        // A parent is always made before its children.
        for at in 1..drafts.len() {
            drafts[at].dead |= drafts[drafts[at].parent as usize].dead;
        }
        let order = level_order(&names, &drafts);
        let mut nodes = lay_out(&drafts, &order);
        let bytes = count(&mut nodes, &drafts, &order);
        number(&mut nodes, &names, |i| drafts[order[i] as usize].identity);
        Tree { names: names.into_boxed_slice(), nodes: nodes.into_boxed_slice(), bytes }
    }
}

/// The drafts level by level, each directory's children side by side in the order of names.
fn level_order(names: &[u8], drafts: &[Draft]) -> Vec<u32> {
    // Children of each draft as a counting sort by parent, then by name within.
    let alive = |id: &u32| !drafts[*id as usize].dead;
    let mut starts = vec![0u32; drafts.len() + 1];
    for draft in (1..drafts.len() as u32).filter(alive).map(|id| &drafts[id as usize]) {
        starts[draft.parent as usize + 1] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut next = starts.clone();
    let mut by_parent = vec![0u32; *starts.last().expect("one longer than the drafts") as usize];
    for id in (1..drafts.len() as u32).filter(alive) {
        let slot = &mut next[drafts[id as usize].parent as usize];
        by_parent[*slot as usize] = id;
        *slot += 1;
    }
    let name = |id: u32| &names[Builder::name_of(names, &drafts[id as usize])];
    let mut order = Vec::with_capacity(by_parent.len() + 1);
    order.push(ROOT);
    let mut at = 0;
    while at < order.len() {
        let id = order[at] as usize;
        let children = &mut by_parent[starts[id] as usize..starts[id + 1] as usize];
        children.sort_by(|a, b| name(*a).cmp(name(*b)));
        order.extend_from_slice(children);
        at += 1;
    }
    order
}

fn lay_out(drafts: &[Draft], order: &[u32]) -> Vec<Node> {
    let mut place = vec![0u32; drafts.len()];
    for (i, id) in order.iter().enumerate() {
        place[*id as usize] = i as u32;
    }
    let node = |id: &u32| {
        let draft = &drafts[*id as usize];
        Node {
            ino: 0,
            size: if draft.kind == Kind::Directory { 0 } else { draft.size },
            seconds: draft.time.seconds,
            nanos: draft.time.nanos,
            name_at: draft.name_at,
            parent: place[draft.parent as usize],
            first: if draft.kind == Kind::Directory { 0 } else { draft.entry },
            count: 0,
            name_len: draft.name_len,
            mode: draft.mode,
            kind: draft.kind,
        }
    };
    order.iter().map(node).collect()
}

/// First children, numbers of children and subdirectories, times of directories that have no record; and the
/// sum of all sizes. From the last node to the first, so that children are done before their directory.
fn count(nodes: &mut [Node], drafts: &[Draft], order: &[u32]) -> u64 {
    let mut bytes = 0u64;
    for i in (0..nodes.len()).rev() {
        let Node { parent, kind, seconds, nanos, size, .. } = nodes[i];
        if kind != Kind::Directory {
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

/// Gives every node its inode number: a hash of its parent's number, its name and its content's identity,
/// which makes it a hash of the path. Two nodes never share a number, and none is below [`RESERVED`].
fn number(nodes: &mut [Node], names: &[u8], identity: impl Fn(usize) -> u64) {
    number_with(nodes, names, identity, |input| {
        let hash = blake3::hash(input);
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    });
}

fn number_with(
    nodes: &mut [Node],
    names: &[u8],
    identity: impl Fn(usize) -> u64,
    hash: impl Fn(&[u8]) -> u64,
) {
    let mut taken: HashTable<u64> = HashTable::with_capacity(nodes.len());
    nodes[0].ino = 1;
    let mut input = Vec::with_capacity(512);
    for i in 1..nodes.len() {
        let node = &nodes[i];
        input.clear();
        input.extend_from_slice(&nodes[node.parent as usize].ino.to_le_bytes());
        match node.kind {
            Kind::Directory => input.push(b'd'),
            _ => {
                input.push(if node.kind == Kind::File { b'f' } else { b'l' });
                input.extend_from_slice(&identity(i).to_le_bytes());
                input.extend_from_slice(&node.size.to_le_bytes());
                input.extend_from_slice(&node.seconds.to_le_bytes());
                input.extend_from_slice(&node.nanos.to_le_bytes());
            }
        }
        input.extend_from_slice(&names[node.name_at as usize..][..node.name_len as usize]);
        let mut ino = hash(&input);
        let mut again = 0u32;
        // The order of nodes is a function of the project, so is the outcome of a collision.
        while ino < RESERVED || taken.find(ino, |other| *other == ino).is_some() {
            again += 1;
            input.extend_from_slice(&again.to_le_bytes());
            ino = hash(&input);
        }
        taken.insert_unique(ino, ino, |other| *other);
        nodes[i].ino = ino;
    }
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
        let tree = b.finish();
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
        assert_eq!(add(&mut b, "x", 1), Added::Shadows(0));
        assert_eq!(add(&mut b, "x/y", 2), Added::ReplacesFile(1));
        assert_eq!(add(&mut b, "x", 3), Added::ReplacesDirectory);
        add(&mut b, "x/y/z", 4);
        assert_eq!(add(&mut b, "x", 5), Added::ReplacesDirectory);
        add(&mut b, "w/v", 6);
        let tree = b.finish();
        let expected =
            [("", None), ("w", None), ("w/v", Some(6)), ("x", Some(5))].map(|(p, e)| (p.to_string(), e));
        assert_eq!(listing(&tree), expected);
    }

    #[test]
    fn a_directory_that_returns_has_only_its_new_children() {
        let mut b = Builder::new(0);
        add(&mut b, "x/old", 0);
        add(&mut b, "x", 1);
        assert_eq!(add(&mut b, "x/new", 2), Added::ReplacesFile(1));
        let tree = b.finish();
        let expected = [("", None), ("x", None), ("x/new", Some(2))].map(|(p, e)| (p.to_string(), e));
        assert_eq!(listing(&tree), expected);
    }

    #[test]
    fn numbers_are_unique_even_where_the_hash_collides() {
        let mut b = Builder::new(0);
        for i in 0..200 {
            add(&mut b, &format!("d{}/f{i}", i % 7), i);
        }
        let tree = b.finish();
        let mut nodes = tree.nodes.to_vec();
        number_with(&mut nodes, &tree.names, |i| i as u64, |input| blake3::hash(input).as_bytes()[0].into());
        let mut inos: Vec<u64> = nodes.iter().map(|n| n.ino).collect();
        inos.sort_unstable();
        inos.dedup();
        assert_eq!(inos.len(), nodes.len());
        assert!(nodes[1..].iter().all(|n| n.ino >= RESERVED));
    }

    #[test]
    fn numbers_do_not_depend_on_the_order_of_the_entries() {
        let paths = ["a/1", "a/2", "b/c/3", "d"];
        let tree = |order: &[usize]| {
            let mut b = Builder::new(0);
            for i in order {
                add(&mut b, paths[*i], *i as u32);
            }
            let tree = b.finish();
            paths.map(|p| tree.node(tree.find(p.as_bytes()).unwrap()).ino)
        };
        assert_eq!(tree(&[0, 1, 2, 3]), tree(&[3, 1, 2, 0]));
    }
}
