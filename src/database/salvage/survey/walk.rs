//! A tree, followed from its root: what it leads to, and where it leads to nothing.

use std::cmp::Ordering;
use std::rc::Rc;

use super::super::assess::{Holding, Spot};
use super::super::layout::{Fit, Layout};
use super::super::page::{Cell, Head, Kind};
use super::super::record::{Key, Part};
use super::{Bound, Pages, Survey, Use};
use crate::error::Result;

/// A page of a tree that is to be visited, and what its place says of it.
struct Branch {
    number: u32,
    /// How many pages are above it.
    depth: usize,
    /// Between which keys its own are.
    low: Bound,
    high: Bound,
}

impl Branch {
    /// Adds the children of an interior page, so that the first is visited first.
    fn descend(&self, children: Vec<(u32, Bound)>, right: u32, stack: &mut Vec<Branch>) {
        let (depth, mut low) = (self.depth + 1, self.low.clone());
        let mut all = Vec::with_capacity(children.len() + 1);
        for (number, high) in children {
            all.push(Branch { number, depth, low, high: high.clone() });
            low = high;
        }
        all.push(Branch { number: right, depth, low, high: self.high.clone() });
        stack.extend(all.into_iter().rev());
    }
}

impl Survey<'_> {
    /// Follows a tree from its root.
    pub fn walk(&mut self, layout: &Layout) -> Result<Pages> {
        let mut pages = Pages::default();
        if layout.root == 0 {
            return Ok(pages);
        }
        let mut stack = vec![Branch { number: layout.root, depth: 0, low: None, high: None }];
        while let Some(branch) = stack.pop() {
            let number = branch.number;
            if !self.is_free_to_claim(number)
                || self.strangers.contains(&(layout.root, number))
                || !self.visit(&branch, layout, &mut pages, &mut stack)?
            {
                pages.broken += 1;
                pages.shape.has_lost(branch.depth);
                pages.gaps.push((branch.low, branch.high));
                self.led_to_zeros |= self.use_of(number) == Use::Empty;
            }
        }
        Ok(pages)
    }

    /// Takes one page into a tree; `false` if it does not belong there.
    fn visit(
        &mut self,
        branch: &Branch,
        layout: &Layout,
        pages: &mut Pages,
        stack: &mut Vec<Branch>,
    ) -> Result<bool> {
        let Branch { number, depth, ref low, ref high } = *branch;
        let page = self.reader.pager.page(number)?;
        let usable = self.reader.geometry.usable;
        let start = self.reader.geometry.start(number);
        let Some(head) = Head::read(&page, start, usable) else { return Ok(false) };
        match (head.kind, layout.has_rowid()) {
            (Kind::TableInterior, true) => {
                let (children, intact, full) = children(&page, &head, usable);
                if children.len() <= 1 && !intact {
                    return Ok(false);
                }
                pages.damaged += usize::from(!intact || !full);
                pages.shape.has_parent(depth, children.len() + 1);
                branch.descend(children, head.right, stack);
            }
            (Kind::TableLeaf, true) | (Kind::IndexLeaf | Kind::IndexInterior, false) => {
                let Some(holding) = self.reader.assess(number, layout)? else { return Ok(false) };
                if !fits(&holding, layout, low, high) {
                    return Ok(false);
                }
                if head.kind.is_interior() {
                    let ordered = layout.ordered;
                    let key = |s: &Spot| ordered.then(|| Rc::new(s.key.clone()));
                    let children = holding.spots.iter().map(|s| (s.cell.left, key(s))).collect();
                    pages.shape.has_parent(depth, holding.spots.len() + 1);
                    branch.descend(children, head.right, stack);
                } else {
                    pages.shape.has_leaf(depth);
                }
                if !holding.is_whole() {
                    pages.damaged += 1;
                    pages.torn.push((number, low.clone(), high.clone()));
                }
                pages.reached.push(number);
                if holding.told > 0 && holding.spots.iter().all(|s| s.fit < Fit::Exact) {
                    pages.unlike.push(number);
                }
            }
            _ => return Ok(false),
        }
        let what = if layout.index.is_some() { Use::Index } else { Use::Reached };
        self.set_use(number, what);
        Ok(true)
    }
}

/// Whether a page is where the tree says that it is.
pub fn fits(holding: &Holding, layout: &Layout, low: &Bound, high: &Bound) -> bool {
    if holding.told == 0 {
        // Only a root may be without rows.
        return low.is_none() && high.is_none();
    }
    let (Some(first), Some(last)) = (holding.spots.first(), holding.spots.last()) else { return false };
    let sorted = layout.sorted();
    let above = |bound: &Bound| bound.as_ref().is_none_or(|b| sorted.precedes(b, &first.key));
    let is_below = |b: &Key| sorted.precedes(&last.key, b) || sorted.order(&last.key, b) == Ordering::Equal;
    let below = |bound: &Bound| bound.as_ref().is_none_or(|b| is_below(b));
    let clear = holding.intact || holding.spots.len() * 4 >= holding.told || holding.fit() > Fit::Odd;
    clear && (!layout.ordered || (above(low) && below(high)))
}

/// The children of a table's interior page that are named in ascending order, whether those are all that are named, and
/// whether the page is full of them: else it may have had others.
fn children(page: &[u8], head: &Head, usable: usize) -> (Vec<(u32, Bound)>, bool, bool) {
    let cell = |i| {
        let at = head.pointer(page, i).filter(|at| *at >= head.end())?;
        Cell::read(head.kind, page, at, usable)
    };
    let cells = head.cells_that_fill(page, usable);
    let full = cells.as_ref().is_some_and(|cells| cells.len() == head.cells);
    let named = cells.as_ref().map_or(head.cells, Vec::len);
    let cells = cells.unwrap_or_else(|| (0..head.cells).filter_map(cell).collect());
    let mut all: Vec<(u32, i64)> = Vec::with_capacity(named);
    for cell in cells {
        if all.last().is_none_or(|(_, before)| *before < cell.rowid) {
            all.push((cell.left, cell.rowid));
        }
    }
    let intact = all.len() == named;
    let bound = |rowid| Some(Rc::new(vec![Part::Integer(rowid)]));
    // Bounds of a damaged page may be wrong, and its children still right.
    let all = all.into_iter().map(|(left, rowid)| (left, if intact { bound(rowid) } else { None })).collect();
    (all, intact, full)
}
