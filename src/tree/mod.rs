//! Names and nodes: what a project looks like, independent of its format and of the kernel.
//!
//! A [`Tree`] is immutable. All names lie in one arena and a node is a few dozen bytes, so that a million
//! entries are a few large allocations. Nodes stand level by level, and the children of a directory stand
//! side by side in the order of their names: a look-up is a binary search, a listing is a slice.
//!
//! ```text
//!   nodes   [ root | datasets  events  manifest.json | d1  d2 | events.jsonl | ... ]
//!              |        first, count ───────────────────^
//!   names   "datasetseventsmanifest.jsond1d2events.jsonl..."
//! ```
//!
//! Content is not here: a node knows its format's own number for the entry, and [`crate::format::Container`]
//! resolves that to [`Content`] at open.

mod branch;
mod build;
mod cache;
mod content;
mod name;
mod number;
mod table;
mod time;

pub use branch::{Branch, Spot};
pub use build::{Added, Builder, Leaf, RESERVED, Replaced};
pub use cache::Cache;
pub use content::{Coded, Content, Then};
pub use name::{NameError, SafePath, escaped, free_twin};
pub use table::{Cell, Cells, Column, Place, Table};
pub use time::Time;

/// A node's place in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Numbers of entries from here on are those of derived files.
const DERIVED: u32 = 1 << 31;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Has children.
    Directory,
    /// Has bytes.
    File,
    /// Has a target.
    Link,
}

/// One node. 56 bytes: there may be millions.
#[derive(Debug, Clone)]
pub struct Node {
    /// The inode number, a function of the path and of the content's identity.
    pub ino: u64,
    /// The exact size in bytes; for a directory the number of its subdirectories.
    size: u64,
    seconds: i64,
    nanos: u32,
    name_at: u32,
    parent: u32,
    /// For a directory its first child; else the format's number of the entry.
    first: u32,
    /// For a directory the number of its children.
    count: u32,
    name_len: u16,
    /// Permission bits, without setuid, setgid and sticky.
    pub mode: u16,
    /// What it is.
    pub kind: Kind,
}

const _: () = assert!(size_of::<Node>() == 56);

impl Node {
    /// The exact size of a file's bytes or of a link's target; zero for a directory, and for a file whose size is
    /// late.
    pub fn size(&self) -> u64 {
        if self.kind == Kind::Directory || self.is_late() { 0 } else { self.size }
    }

    /// Whether the size is found out only when somebody asks for it ([`Branch::late_size`]).
    pub fn is_late(&self) -> bool {
        self.kind == Kind::File && self.size == Leaf::LATE
    }

    /// The number of a door: another branch stands behind this directory ([`Branch::behind`]).
    pub fn door(&self) -> Option<u32> {
        let door = self.kind == Kind::Directory && self.count == 0 && self.first >= DERIVED;
        door.then(|| self.first - DERIVED)
    }

    /// The link count: a directory is named by its parent, by itself, and by every subdirectory. Of a door nobody has
    /// to know what is behind it: it has one, which says that subdirectories are not counted.
    pub fn links(&self) -> u32 {
        match (self.kind, self.door()) {
            (Kind::Directory, None) => 2 + self.size as u32,
            _ => 1,
        }
    }

    /// The time of the data it comes from.
    pub fn time(&self) -> Time {
        Time { seconds: self.seconds, nanos: self.nanos }
    }

    /// The format's own number of the entry; `None` for a directory, and for what is derived.
    pub fn entry(&self) -> Option<u32> {
        (self.kind != Kind::Directory && self.first < DERIVED).then_some(self.first)
    }

    /// The number of a derived file, which is not stored.
    pub fn derived(&self) -> Option<u32> {
        (self.kind != Kind::Directory && self.first >= DERIVED).then(|| self.first - DERIVED)
    }

    /// The directory that it stands in; the root is its own parent.
    pub fn parent(&self) -> NodeId {
        NodeId(self.parent)
    }
}

/// All names and nodes of a project.
#[derive(Debug, Clone)]
pub struct Tree {
    names: Box<[u8]>,
    nodes: Box<[Node]>,
    bytes: u64,
}

impl Tree {
    /// The top directory.
    pub const ROOT: NodeId = NodeId(0);

    /// The node at `id`. Ids come from this tree.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// How many nodes there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// The sum of all file sizes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The name of a node; empty for the root.
    pub fn name(&self, id: NodeId) -> &[u8] {
        let node = self.node(id);
        &self.names[node.name_at as usize..][..node.name_len as usize]
    }

    /// All nodes, level by level.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Whether a node is stored; else it was derived, or is a directory of what was derived.
    pub fn is_stored(&self, id: NodeId) -> bool {
        let child = self.child_at(id, 0).map(|child| self.node(child));
        let node = self.node(id);
        node.derived().is_none()
            && node.door().is_none()
            && child.is_none_or(|child| child.derived().is_none())
    }

    /// The children of a directory in the order of their names; nothing for anything else.
    pub fn children(&self, id: NodeId) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        let node = self.node(id);
        let range = match node.kind {
            Kind::Directory => node.first..node.first + node.count,
            _ => 0..0,
        };
        range.map(NodeId)
    }

    /// The child at a place in the order of names, in constant time.
    pub fn child_at(&self, id: NodeId, index: u64) -> Option<NodeId> {
        let node = self.node(id);
        let inside = node.kind == Kind::Directory && index < u64::from(node.count);
        inside.then(|| NodeId(node.first + index as u32))
    }

    /// The child of `parent` that is called `name`.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let node = self.node(parent);
        if node.kind != Kind::Directory {
            return None;
        }
        // Behind a door are no nodes of this tree.
        let children = self.nodes.get(node.first as usize..)?.get(..node.count as usize)?;
        let found =
            children.binary_search_by(|n| self.names[n.name_at as usize..][..n.name_len as usize].cmp(name));
        found.ok().map(|i| NodeId(node.first + i as u32))
    }

    /// The node at a path from the root; empty components and `.` are passed over, `..` is not understood.
    pub fn find(&self, path: &[u8]) -> Option<NodeId> {
        path.split(|b| *b == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .try_fold(Self::ROOT, |at, part| self.child(at, part))
    }

    /// The path of a node from the root, without a leading slash.
    pub fn path(&self, id: NodeId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = id;
        while at != Self::ROOT {
            parts.push(self.name(at));
            at = self.node(at).parent();
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// The path of a node, for people.
    pub fn shown(&self, id: NodeId) -> String {
        String::from_utf8_lossy(&self.path(id)).into_owned()
    }

    /// The same tree in which some files have become links or plain files; `change` says what a file becomes.
    /// Sizes stay: a link's size is that of its target text, which is the size of the plain file.
    pub fn with_kinds(mut self, change: impl Fn(&Tree, NodeId) -> Option<Kind>) -> Tree {
        let changes: Vec<(NodeId, Kind)> =
            self.ids().filter_map(|id| change(&self, id).map(|kind| (id, kind))).collect();
        for (id, kind) in changes {
            debug_assert!(kind != Kind::Directory && self.node(id).kind != Kind::Directory);
            self.nodes[id.0 as usize].kind = kind;
        }
        self
    }
}
