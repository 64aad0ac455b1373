//! Symbolic links: shown as links only where they stay inside the package.

use crate::tree::{Kind, NodeId, Tree};

/// The longest target that is looked at: what a system call takes.
pub const MAX_TARGET: u64 = 4095;

/// Whether a link at `id` that says `target` leads to a place inside the tree, whatever stands there. A path
/// that goes through another link is not followed, since `..` behind one leads elsewhere than it seems.
pub fn stays_inside(tree: &Tree, id: NodeId, target: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' || target.contains(&0) || target.len() as u64 > MAX_TARGET {
        return false;
    }
    let mut at = Some(tree.node(id).parent());
    let mut parts = target.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").peekable();
    while let Some(part) = parts.next() {
        if part == b".." {
            match at {
                // Behind a name that does not exist, nothing is reached anyway; but where it would be is unknown.
                None => return false,
                Some(Tree::ROOT) => return false,
                Some(dir) => at = Some(tree.node(dir).parent()),
            }
            continue;
        }
        at = at.and_then(|dir| tree.child(dir, part));
        if at == Some(id) {
            return false;
        }
        let through_link =
            at.is_some_and(|next| tree.node(next).kind == Kind::Link) && parts.peek().is_some();
        if through_link {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Builder, Leaf, SafePath, Time};

    #[test]
    fn only_links_that_stay_inside_are_links() {
        let mut b = Builder::new(0);
        for (i, (path, kind)) in
            [("a/link", Kind::Link), ("a/file", Kind::File), ("b/other", Kind::Link)].into_iter().enumerate()
        {
            let leaf =
                Leaf { size: 1, time: Time::default(), mode: 0o444, kind, entry: i as u32, identity: 0 };
            b.leaf(SafePath::check(path.as_bytes()).unwrap(), leaf).unwrap();
        }
        let (tree, _) = b.finish();
        let link = tree.find(b"a/link").unwrap();
        for inside in ["file", "./file", "../a/file", "../b", "nothing", "../b/other"] {
            assert!(stays_inside(&tree, link, inside.as_bytes()), "{inside}");
        }
        let long = "x/".repeat(3000);
        for outside in [
            "/etc/passwd",
            "../../x",
            "..//../x",
            "",
            "a\0b",
            "link",
            "../b/other/..",
            "nothing/../..",
            &long,
        ] {
            assert!(!stays_inside(&tree, link, outside.as_bytes()), "{outside}");
        }
    }
}
