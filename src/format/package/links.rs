//! Symbolic links: shown as links only where they stay inside the package.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::tree::{Kind, NodeId, Tree};

/// The longest target that is looked at: what a system call takes.
pub const MAX_TARGET: u64 = 4095;

/// Why a link at `id` is shown as a plain file; `None` for one that stays inside. `target` is what it holds, or why that
/// cannot be read; none where it is longer than any target.
pub fn objection(tree: &Tree, id: NodeId, target: Option<Result<Arc<[u8]>>>) -> Option<Finding> {
    let unreadable = match target {
        Some(Ok(target)) if stays_inside(tree, id, &target) => return None,
        Some(Ok(_)) => None,
        Some(Err(Error::Damaged { what, .. } | Error::Unsupported { what, .. })) => Some(what),
        Some(Err(other)) => Some(other.to_string()),
        None => Some("it is longer than a path may be".into()),
    };
    let (code, message, remedy) = match unreadable {
        None => (
            "link-leaves-package",
            "a symbolic link that does not stay inside the package; it is shown as a plain file that holds the \
             target's text"
                .into(),
            "no reason to act, unless the link was meant to be followed",
        ),
        Some(why) => (
            "link-unreadable",
            format!("a symbolic link whose target cannot be read: {why}; it is shown as a plain file"),
            "restore the link from a backup, if it was meant to be followed",
        ),
    };
    Some(Finding::new(Severity::Warning, code, tree.shown(id), message, remedy))
}

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
