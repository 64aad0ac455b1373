//! What holds for every tree, and for everything that a directory became.

use std::collections::HashSet;

use crate::format::package::load::{Entry, Loaded, Refusal};
use crate::format::package::record::LOCAL_LEN;
use crate::tree::{Kind, NodeId, RESERVED, SafePath, Tree};

/// So many bytes of paths are followed from the root in one tree; a path is made for each node, and a deep tree
/// has many long ones.
const PATHS: usize = 1 << 18;

/// A name that may stand in a listing.
pub fn is_proper(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..")
        && component.len() <= SafePath::MAX_COMPONENT
        && !component.contains(&0)
        && !component.contains(&b'/')
}

/// Looks at every node.
pub fn check(tree: &Tree) {
    let mut numbers = HashSet::new();
    let (mut reached, mut bytes, mut paths) = (1, 0u64, 0);
    assert_eq!(tree.node(Tree::ROOT).kind, Kind::Directory);
    assert_eq!(tree.node(Tree::ROOT).parent(), Tree::ROOT);
    assert!(tree.name(Tree::ROOT).is_empty());
    for id in tree.ids() {
        let node = tree.node(id);
        assert!(numbers.insert(node.ino), "two nodes have the number {}", node.ino);
        assert_eq!(node.mode & !0o777, 0, "{:o}", node.mode);
        assert_eq!(node.entry().is_none() && node.derived().is_none(), node.kind == Kind::Directory);
        if id != Tree::ROOT {
            assert!(node.ino >= RESERVED, "the number {} is kept for something else", node.ino);
            assert!(is_proper(tree.name(id)), "{:?}", tree.name(id));
            assert!(node.parent() < id, "a directory stands before what is in it");
            assert_eq!(tree.node(node.parent()).kind, Kind::Directory);
            assert_eq!(tree.child(node.parent(), tree.name(id)), Some(id));
        }
        let (children, directories) = check_children(tree, id);
        reached += children;
        match node.kind {
            Kind::Directory if node.door().is_some() => assert_eq!((node.links(), children), (1, 0)),
            Kind::Directory => assert_eq!(u64::from(node.links()), 2 + directories),
            _ => assert_eq!((node.links(), children), (1, 0)),
        }
        bytes = bytes.saturating_add(node.size());
        if paths < PATHS {
            let path = tree.path(id);
            paths += path.len();
            assert!(path.len() <= SafePath::MAX_PATH);
            assert_eq!(tree.find(&path), Some(id), "{:?}", tree.shown(id));
        }
    }
    assert_eq!(reached, tree.len() as u64, "a node is in no directory");
    assert_eq!(bytes, tree.bytes());
}

/// How many children there are, and how many of them are directories.
fn check_children(tree: &Tree, id: NodeId) -> (u64, u64) {
    let (mut count, mut directories) = (0, 0);
    let mut before: Option<NodeId> = None;
    for child in tree.children(id) {
        assert_eq!(tree.node(child).parent(), id);
        assert_eq!(tree.child_at(id, count), Some(child));
        assert!(before.is_none_or(|before| tree.name(before) < tree.name(child)), "not in order");
        before = Some(child);
        count += 1;
        directories += u64::from(tree.node(child).kind == Kind::Directory);
    }
    assert_eq!(tree.child_at(id, count), None);
    (count, directories)
}

/// What is listed, and that no two entries share a byte below `limit`.
pub fn check_loaded(loaded: &Loaded, limit: u64) {
    let Loaded { tree, entries, by_place, shadowed, records } = loaded;
    check(tree);
    assert!(entries.len() as u64 <= *records && shadowed <= records);
    let mut shown = HashSet::new();
    for number in tree.ids().filter_map(|id| tree.node(id).entry()) {
        assert!((number as usize) < entries.len());
        assert!(shown.insert(number), "two nodes have the bytes of entry {number}");
    }
    let order: Vec<u32> = by_place.clone().unwrap_or_else(|| (0..entries.len() as u32).collect());
    let every: HashSet<u32> = order.iter().copied().collect();
    assert!(every.len() == entries.len() && order.len() == entries.len(), "an order of all entries");
    assert!(order.is_sorted_by_key(|i| entries[*i as usize].header));
    let mut free = 0;
    for entry in order.iter().map(|i| &entries[*i as usize]).filter(|e| takes_place(e)) {
        assert!(entry.header >= free, "two entries that can be opened share bytes");
        free = entry.header + (LOCAL_LEN + usize::from(entry.name_len)) as u64 + entry.packed;
        assert!(free <= limit, "an entry that can be opened ends at {free}, behind {limit}");
    }
}

fn takes_place(entry: &Entry) -> bool {
    use Refusal::{BadZip64, OtherDisk, OutOfBounds, Overlaps};
    !matches!(entry.refusal, Some(Overlaps | OutOfBounds | BadZip64 | OtherDisk))
}
