//! Walking a tree of the kind that indices and tables WITHOUT ROWID are, entry by entry.
//!
//! ```text
//!   interior     | child 0 | entry 0 | child 1 | entry 1 | ... | right child |
//!   leaf                   | entry 0 | entry 1 | ...
//! ```
//!
//! Invariants. A search looks at the entries that SQLite's looks at, so that both end at one place even where the
//! entries do not stand in their order. A page is taken only if all that SQLite asks of a page holds, and more: every
//! cell lies within it, none spills over, and none is empty but a root. Whoever walks is told when that ends (`None`),
//! and no other pages are guessed.
//!
//! Limits. As deep as SQLite's trees, which is twenty pages; one page of each level is in memory. A tree that leads
//! back into itself is walked for ever: that the keys grow is for whoever walks to see.

use super::page::{Cell, Head, Kind};
use crate::tree::Content;

/// The deepest tree that SQLite reads.
const DEEPEST: usize = 20;

/// A tree, and the file that it lies in.
#[derive(Debug)]
pub struct Tree<'a> {
    /// The file.
    pub content: &'a Content,
    /// Bytes of a page.
    pub page_size: usize,
    /// Bytes of a page that SQLite uses.
    pub usable: usize,
    /// How many pages there are.
    pub pages: u32,
    /// The page at the top.
    pub root: u32,
}

/// A page on the way from the top to the place.
#[derive(Debug, Default)]
struct Level {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    right: u32,
    is_leaf: bool,
    /// The entry that is next. In an interior page also the child that is walked, which stands before it.
    at: usize,
}

#[derive(Debug)]
struct Entry {
    left: u32,
    from: usize,
    to: usize,
}

/// A place in a tree.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree<'a>,
    /// From the top; none behind the last entry.
    levels: Vec<Level>,
    /// Room for pages to come.
    spare: Vec<Level>,
}

impl Tree<'_> {
    /// Whether all of its pages are of the kind, with cells and overflow pages that are there; what they hold is not
    /// asked. No more pages are looked at than there are.
    pub fn holds_together(&self) -> bool {
        let (mut pending, mut left) = (vec![(self.root, 0)], self.pages);
        let (mut page, mut next) = (vec![0; self.page_size], [0; 4]);
        let mut may_read = |number: u32, bytes: &mut [u8]| {
            let offset = u64::from(number.wrapping_sub(1)) * self.page_size as u64;
            let is_there = (2..=self.pages).contains(&number) && left > 0;
            left = left.saturating_sub(1);
            is_there && self.content.read_at(offset, bytes).is_ok_and(|n| n == bytes.len())
        };
        while let Some((number, depth)) = pending.pop() {
            if depth == DEEPEST || !may_read(number, &mut page) {
                return false;
            }
            let Some(head) = Head::read(&page, 0, self.usable) else { return false };
            if !matches!(head.kind, Kind::IndexLeaf | Kind::IndexInterior) {
                return false;
            }
            for i in 0..head.cells {
                let at = head.pointer(&page, i).filter(|at| *at >= head.end());
                let Some(cell) = at.and_then(|at| Cell::read(head.kind, &page, at, self.usable)) else {
                    return false;
                };
                let (mut overflow, mut rest) = (cell.overflow, cell.payload - cell.local.len() as u64);
                while rest > 0 {
                    if !may_read(overflow, &mut next) {
                        return false;
                    }
                    (overflow, rest) =
                        (u32::from_be_bytes(next), rest.saturating_sub(self.usable as u64 - 4));
                }
                if head.kind.is_interior() {
                    pending.push((cell.left, depth + 1));
                }
            }
            if head.kind.is_interior() {
                pending.push((head.right, depth + 1));
            }
        }
        true
    }
}

impl<'a> Walk<'a> {
    /// A walk that begins behind all entries that `is_before`.
    pub fn seek(tree: &'a Tree<'a>, is_before: impl Fn(&[u8]) -> Option<bool>) -> Option<Walk<'a>> {
        let mut walk = Walk { tree, levels: Vec::new(), spare: Vec::new() };
        let mut page = tree.root;
        loop {
            let level = walk.load(page)?;
            let (mut low, mut high) = (0, level.entries.len());
            while low < high {
                let middle = (low + high - 1) / 2;
                match is_before(level.entry(middle))? {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            level.at = low;
            if level.is_leaf {
                break;
            }
            page = level.child();
        }
        walk.settle();
        Some(walk)
    }

    /// The entries from the place on, as many as lie in one page in a row; none at the end.
    pub fn here(&self) -> impl Iterator<Item = &[u8]> {
        let level = self.levels.last();
        let range = match level {
            Some(level) if level.is_leaf => level.at..level.entries.len(),
            Some(level) => level.at..level.at + 1,
            None => 0..0,
        };
        range.filter_map(move |i| Some(level?.entry(i)))
    }

    /// Whether there is no entry any more.
    pub fn is_over(&self) -> bool {
        self.levels.is_empty()
    }

    /// Goes on behind the entries that are `here`.
    pub fn pass(&mut self) -> Option<()> {
        let Some(level) = self.levels.last_mut() else { return Some(()) };
        if level.is_leaf {
            level.at = level.entries.len();
            self.settle();
            return Some(());
        }
        level.at += 1;
        let mut page = level.child();
        loop {
            let level = self.load(page)?;
            if level.is_leaf {
                return Some(());
            }
            page = level.child();
        }
    }

    /// Goes up while there is nothing left to walk in a page.
    fn settle(&mut self) {
        while let Some(level) = self.levels.pop_if(|level| level.at >= level.entries.len()) {
            self.spare.push(level);
        }
    }

    /// Goes down to a page.
    fn load(&mut self, page: u32) -> Option<&mut Level> {
        let mut level = self.spare.pop().unwrap_or_default();
        level.read(self.tree, page)?;
        let is_only = self.levels.is_empty() && level.is_leaf;
        if self.levels.len() == DEEPEST || level.entries.is_empty() && !is_only {
            return None;
        }
        self.levels.push(level);
        self.levels.last_mut()
    }
}

impl Level {
    fn read(&mut self, tree: &Tree<'_>, page: u32) -> Option<()> {
        // The first page is never one of these: the schema lies there.
        if page < 2 || page > tree.pages {
            return None;
        }
        self.bytes.resize(tree.page_size, 0);
        let offset = u64::from(page - 1) * tree.page_size as u64;
        let n = tree.content.read_at(offset, &mut self.bytes).ok()?;
        let head = Head::read(&self.bytes, 0, tree.usable).filter(|_| n == tree.page_size)?;
        if !matches!(head.kind, Kind::IndexLeaf | Kind::IndexInterior) {
            return None;
        }
        self.entries.clear();
        for i in 0..head.cells {
            let at = head.pointer(&self.bytes, i).filter(|at| *at >= head.end())?;
            let cell =
                Cell::read(head.kind, &self.bytes, at, tree.usable).filter(|cell| cell.overflow == 0)?;
            if cell.payload != cell.local.len() as u64 {
                return None;
            }
            self.entries.push(Entry { left: cell.left, from: cell.local.start, to: cell.local.end });
        }
        (self.right, self.is_leaf, self.at) = (head.right, head.kind == Kind::IndexLeaf, 0);
        Some(())
    }

    fn entry(&self, i: usize) -> &[u8] {
        &self.bytes[self.entries[i].from..self.entries[i].to]
    }

    fn child(&self) -> u32 {
        self.entries.get(self.at).map_or(self.right, |entry| entry.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 512;

    fn tree(content: &Content) -> Tree<'_> {
        let pages = (content.size() / SIZE as u64) as u32;
        Tree { content, page_size: SIZE, usable: SIZE, pages, root: 2 }
    }

    #[test]
    fn a_page_that_is_its_own_child_ends_the_walk() {
        let mut bytes = vec![0; 3 * SIZE];
        // One cell, an entry of one byte behind the child; both children are the page itself.
        bytes[SIZE..SIZE + 14].copy_from_slice(&[2, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 2, 1, 0]);
        bytes[SIZE + 256..SIZE + 262].copy_from_slice(&[0, 0, 0, 2, 1, 7]);
        let leaf = [10, 0, 0, 0, 1, 1, 0, 0, 1, 0];
        bytes[2 * SIZE..2 * SIZE + 10].copy_from_slice(&leaf);
        bytes[2 * SIZE + 256..2 * SIZE + 258].copy_from_slice(&[1, 5]);
        let content = Content::Bytes(bytes.clone().into());
        assert!(Walk::seek(&tree(&content), |_| Some(false)).is_none());
        // With a leaf before it the entries of the leaf and its own are there, and then it is over.
        bytes[SIZE + 259] = 3;
        let content = Content::Bytes(bytes.into());
        let tree = tree(&content);
        let mut walk = Walk::seek(&tree, |_| Some(false)).unwrap();
        assert_eq!(walk.here().collect::<Vec<_>>(), [[5]]);
        walk.pass().unwrap();
        assert_eq!(walk.here().collect::<Vec<_>>(), [[7]]);
        let steps = std::iter::from_fn(|| walk.pass()).take(1000).count();
        assert!(steps < 2 * DEEPEST, "{steps}");
    }

    #[test]
    fn any_bytes_are_walked() {
        let mut state = 3u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as usize
        };
        let mut walked = 0;
        for _ in 0..3000 {
            let mut bytes: Vec<u8> = (0..8 * SIZE).map(|_| next() as u8).collect();
            for page in bytes.chunks_mut(SIZE) {
                let (is_leaf, cells) = (next() % 3 > 0, 1 + next() % 6);
                page[0] = if is_leaf { 10 } else { 2 };
                page[3..5].copy_from_slice(&[0, cells as u8]);
                page[8..12].copy_from_slice(&[0, 0, 0, (next() % 9) as u8]);
                let head = if is_leaf { 8 } else { 12 };
                for cell in 0..cells {
                    let at = 32 + next() % 470;
                    page[head + 2 * cell..][..2].copy_from_slice(&(at as u16).to_be_bytes());
                    if !is_leaf && next() % 8 > 0 {
                        page[at..at + 4].copy_from_slice(&[0, 0, 0, (next() % 9) as u8]);
                    }
                }
            }
            let content = Content::Bytes(bytes.into());
            let tree = tree(&content);
            let split = next() as u8;
            let Some(mut walk) = Walk::seek(&tree, |entry| Some(*entry.first()? < split)) else { continue };
            for _ in 0..100 {
                walked += walk.here().map(<[u8]>::len).sum::<usize>();
                if walk.is_over() || walk.pass().is_none() {
                    break;
                }
            }
        }
        assert!(walked > 5_000, "{walked}");
    }
}
