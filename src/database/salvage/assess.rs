//! What a page still holds of a table: all of it, some of it for certain, or nothing.
//!
//! A page is **intact** when every cell pointer leads to a record of the table, no two cells overlap, and the keys
//! ascend. It is **full** when, with what is free, they are all that it was filled with: else its head has a wrong number
//! of cells, or something was changed that passes a row over. Where the pointers, read on or not so far, lead to just the
//! cells that fill it, those are its rows, whatever the number says. Of a page that is not intact, rows are taken in two
//! ways, and only in these:
//!
//! * *Tiled*: the cells that the pointers still lead to, the free blocks, and records found end to end in the gaps
//!   cover the whole cell area, and are together exactly as many as the head of the page says. Then only the pointers
//!   were damaged.
//! * *Certain*: cells in ascending order that touch, on both sides, another such cell, a free block, or the edge of the
//!   cell area: no damaged byte is next to them. A row that is torn in the middle lies beside bytes that are no row.
//!
//! Everything else in the page is lost, and counted.
//!
//! Limits. Of a key as much is kept as a page has bytes, and two keys that are alike that far are in order. One page
//! may make its reader read so many bytes for its keys each time that it is held against a table, and the rows that are
//! taken of a file so many times the file: cells may share what they do not hold themselves. Rows of a sound file share
//! nothing, so that each page is read once for the rows, and a few times for what is asked of them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use super::geometry::Geometry;
use super::layout::{Fit, Layout};
use super::page::{Cell, Head, four};
use super::pager::Pager;
use super::record::{Key, Sorted, Types};
use crate::error::Result;

/// The loose bytes that may lie between two cells.
const LOOSE: usize = 3;

/// How many pages long what is read of the keys of one page may be, if pages were of [`A_PAGE`] bytes at least. Cells
/// that do not overlap and have overflow pages are eight at most.
const PAGES: u64 = 16;
const A_PAGE: u64 = 16 << 10;

/// How often the pages of a file may be read for whole payloads, in all.
const PASSES: u64 = 16;

/// One row's cell.
#[derive(Debug, Clone)]
pub struct Spot {
    /// Where it lies.
    pub cell: Cell,
    /// Its key.
    pub key: Key,
    /// How many values it has.
    pub values: usize,
    /// How well it fits.
    pub fit: Fit,
}

/// A page, as a part of one table.
#[derive(Debug)]
pub struct Holding {
    /// The rows that are certain, in the order of the page.
    pub spots: Vec<Spot>,
    /// How many cells the page says it has.
    pub told: usize,
    /// How many of its pointers may lead to a cell. The count may be what is damaged, and what stands behind the pointers
    /// leads nowhere.
    pub pointed_to: usize,
    /// Whether each of its cells is a row, in order and apart.
    pub intact: bool,
    /// Whether nothing says that it had other rows: those that are here fill it, and are as many as it says.
    pub full: bool,
    /// The last child, of an interior page.
    pub right: u32,
}

impl Holding {
    /// The worst fit of its rows.
    pub fn fit(&self) -> Fit {
        self.spots.iter().map(|s| s.fit).min().unwrap_or(Fit::No)
    }

    /// Whether nothing in it is damaged.
    pub fn is_whole(&self) -> bool {
        self.intact && self.full
    }

    /// How many rows the page had and has no more, at the least.
    pub fn lost(&self) -> usize {
        if self.intact { 0 } else { self.pointed_to.saturating_sub(self.spots.len()) }
    }
}

/// Reads pages of a file as parts of tables.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The file.
    pub pager: Pager<'a>,
    /// How it is cut.
    pub geometry: Geometry,
    /// Overflow pages that were read for whole payloads.
    pub walked: std::cell::Cell<u64>,
}

impl Reader<'_> {
    /// What page `number` holds of a table, if it is a page with payloads.
    pub fn assess(&self, number: u32, layout: &Layout) -> Result<Option<Holding>> {
        let page = self.pager.page(number)?;
        let usable = self.geometry.usable;
        let Some(head) = Head::read(&page, self.geometry.start(number), usable) else { return Ok(None) };
        if !head.kind.has_payload() {
            return Ok(None);
        }
        let mut types = Types::default();
        let mut spots = Vec::with_capacity(head.cells);
        let mut left = PAGES * A_PAGE.max(usable as u64);
        let places = places(&page, &head);
        for &at in &places {
            spots.extend(self.spot(&page, &head, at, layout, &mut types, &mut left)?);
        }
        let missing = self.pager.missing(number);
        spots.retain(|s: &Spot| {
            missing.iter().all(|m| m.end <= s.cell.extent.start || m.start >= s.cell.extent.end)
        });
        let sorted = layout.sorted();
        let whole = spots.len() == head.cells && missing.is_empty();
        let pointed_to = places.iter().filter(|at| **at >= head.content).count();
        let told = head.cells;
        let mut holding = Holding { spots, told, pointed_to, intact: true, full: true, right: head.right };
        let in_order = !layout.ordered || ascend(&holding.spots, sorted);
        let extents = holding.spots.iter().map(|spot| spot.cell.extent.clone());
        if whole && in_order && head.is_filled_by(&page, usable, extents) {
            return Ok(Some(holding));
        }
        holding.full = false;
        if missing.is_empty()
            && let Some(spots) = self.recount(&page, &head, layout, &mut left)?
        {
            (holding.told, holding.pointed_to) = (spots.len(), spots.len());
            holding.spots = spots;
            return Ok(Some(holding));
        }
        if whole && in_order && !overlaps(&holding.spots) {
            return Ok(Some(holding));
        }
        holding.intact = false;
        drop_overlapping(&mut holding.spots);
        if layout.ordered {
            holding.spots = ascending(std::mem::take(&mut holding.spots), sorted);
        }
        let tiled = match missing.is_empty() {
            true => self.tile(&page, &head, layout, &holding.spots, &mut left)?,
            false => None,
        };
        match tiled {
            Some(tiled) => holding.spots = tiled,
            None => keep_certain(&page, &head, usable, &mut holding.spots),
        }
        Ok(Some(holding))
    }

    /// The rows of a page whose head has a wrong number of them: those that fill it, if all are rows and in order.
    fn recount(
        &self,
        page: &[u8],
        head: &Head,
        layout: &Layout,
        left: &mut u64,
    ) -> Result<Option<Vec<Spot>>> {
        let cells = head.cells_that_fill(page, self.geometry.usable);
        let Some(cells) = cells.filter(|cells| !cells.is_empty()) else { return Ok(None) };
        let (mut types, mut spots) = (Types::default(), Vec::with_capacity(cells.len()));
        for cell in cells {
            let spot = self.spot(page, head, cell.extent.start, layout, &mut types, left)?;
            let Some(spot) = spot else { return Ok(None) };
            spots.push(spot);
        }
        let in_order = !layout.ordered || ascend(&spots, layout.sorted());
        Ok(in_order.then_some(spots))
    }

    /// The record at `at`, if there is one that fits, and no more than `left` bytes have to be read for it.
    fn spot(
        &self,
        page: &[u8],
        head: &Head,
        at: usize,
        layout: &Layout,
        types: &mut Types,
        left: &mut u64,
    ) -> Result<Option<Spot>> {
        let usable = self.geometry.usable;
        let Some(cell) = Cell::read(head.kind, page, at, usable) else { return Ok(None) };
        let Some(front) = self.front(page, &cell, layout, types, left)? else { return Ok(None) };
        let fit = layout.fit(&types.serials, self.geometry.encoding);
        if fit == Fit::No {
            return Ok(None);
        }
        let key = layout.key(cell.rowid, types, &front, usable);
        Ok(key.map(|key| Spot { cell, key, values: types.serials.len(), fit }))
    }

    /// The head of a cell's record, and what is kept of its key; `types` is filled.
    fn front<'p>(
        &self,
        page: &'p [u8],
        cell: &Cell,
        layout: &Layout,
        types: &mut Types,
        left: &mut u64,
    ) -> Result<Option<Cow<'p, [u8]>>> {
        let mut spend = |bytes: u64| {
            *left = left.saturating_sub(bytes);
            *left > 0
        };
        let local = &page[cell.local.clone()];
        let len = Types::len(local).filter(|len| *len <= cell.payload && spend(*len));
        let Some(len) = len else { return Ok(None) };
        let Some(front) = self.gather(page, cell, len, &mut |_| true, false)? else { return Ok(None) };
        if types.read(&front, cell.payload).is_none() {
            return Ok(None);
        }
        let usable = self.geometry.usable as u64;
        // What an index has behind a long value is which row that is.
        let most = if layout.index.is_some() { 8 * usable } else { usable };
        let need = types.front(layout.key_fields()).min(types.head() + most);
        if need > local.len() as u64 && !spend(need) {
            return Ok(None);
        }
        self.gather(page, cell, need, &mut |_| true, false)
    }

    /// A whole payload, if its chain of overflow pages is whole, ends where the payload does, and `may_use` says no to
    /// none of them. `zeros` are let pass where they begin at the edge of a page.
    pub fn payload<'p>(
        &self,
        page: &'p [u8],
        cell: &Cell,
        may_use: &mut dyn FnMut(u32) -> bool,
        zeros: bool,
    ) -> Result<Option<Cow<'p, [u8]>>> {
        let mut may_walk = |next: u32| {
            if self.is_spent() {
                return false;
            }
            self.walked.set(self.walked.get() + 1);
            may_use(next)
        };
        self.gather(page, cell, cell.payload, &mut may_walk, zeros)
    }

    /// Whether so much was read for whole payloads that no more of those with overflow pages are.
    pub fn is_spent(&self) -> bool {
        self.walked.get() >= PASSES * u64::from(self.pager.count())
    }

    /// At least the first `need` bytes of a payload.
    fn gather<'p>(
        &self,
        page: &'p [u8],
        cell: &Cell,
        need: u64,
        may_use: &mut dyn FnMut(u32) -> bool,
        zeros: bool,
    ) -> Result<Option<Cow<'p, [u8]>>> {
        let local = &page[cell.local.clone()];
        if need <= local.len() as u64 {
            return Ok(Some(Cow::Borrowed(local)));
        }
        let size = u64::from(self.pager.count()) * self.geometry.usable as u64;
        if need > cell.payload || cell.payload > size {
            return Ok(None);
        }
        let mut all = local.to_vec();
        let mut next = cell.overflow;
        while (all.len() as u64) < need {
            if next < 2 || next > self.pager.count() || !self.pager.is_whole(next) || !may_use(next) {
                return Ok(None);
            }
            let part = self.pager.page(next)?;
            let left = (cell.payload - all.len() as u64).min(self.geometry.usable as u64 - 4) as usize;
            if !zeros && begins_to_be_zero(&all, &part, left) {
                return Ok(None);
            }
            all.extend_from_slice(&part[4..4 + left]);
            next = four(&part, 0).unwrap_or(0);
        }
        let sound = need < cell.payload || next == 0;
        Ok(sound.then_some(Cow::Owned(all)))
    }

    /// The rows of a page whose pointers are damaged, if all of its cell area is accounted for.
    fn tile(
        &self,
        page: &[u8],
        head: &Head,
        layout: &Layout,
        sound: &[Spot],
        left: &mut u64,
    ) -> Result<Option<Vec<Spot>>> {
        let usable = self.geometry.usable;
        let (Some(free), Some(loose)) = (head.free_blocks(page, usable), head.fragments()) else {
            return Ok(None);
        };
        if head.content < head.end() || head.content > usable || sound.len() > head.cells {
            return Ok(None);
        }
        let mut covered: Vec<Range<usize>> =
            sound.iter().map(|s| s.cell.extent.clone()).chain(free).collect();
        covered.sort_by_key(|r| r.start);
        covered.push(usable..usable);
        let mut all = sound.to_vec();
        let mut types = Types::default();
        let (mut at, mut unused) = (head.content, 0);
        for range in covered {
            if range.start < at {
                return Ok(None);
            }
            while at < range.start {
                match self.spot(page, head, at, layout, &mut types, left)? {
                    Some(spot) if spot.cell.extent.end <= range.start && spot.fit > Fit::Odd => {
                        at = spot.cell.extent.end;
                        all.push(spot);
                    }
                    _ => {
                        unused += 1;
                        at += 1;
                    }
                }
                if unused > loose || all.len() > head.cells {
                    return Ok(None);
                }
            }
            at = at.max(range.end);
        }
        let sorted = layout.sorted();
        all.sort_by(|a, b| sorted.order(&a.key, &b.key));
        let exact = all.len() == head.cells && unused == loose && (!layout.ordered || ascend(&all, sorted));
        Ok((exact && head.cells > 0 && !head.kind.is_interior()).then_some(all))
    }
}

/// Whether a page is all zeros, and what it continues is not: a value that ends in zeros would hardly begin to do so at
/// the edge of a page, and a page that was lost does.
fn begins_to_be_zero(before: &[u8], page: &[u8], used: usize) -> bool {
    const FEW: usize = 32;
    let zeros = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
    used > FEW && zeros(page) && !zeros(&before[before.len().saturating_sub(FEW)..])
}

/// Where the cell pointers lead to, without the places that more than one leads to.
fn places(page: &[u8], head: &Head) -> Vec<usize> {
    let all: Vec<usize> = (0..head.cells).filter_map(|i| head.pointer(page, i)).collect();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    let count = |at: usize| sorted.partition_point(|a| *a <= at) - sorted.partition_point(|a| *a < at);
    all.into_iter().filter(|at| *at >= head.end() && count(*at) == 1).collect()
}

fn overlaps(spots: &[Spot]) -> bool {
    let mut extents: Vec<&Range<usize>> = spots.iter().map(|s| &s.cell.extent).collect();
    extents.sort_by_key(|e| e.start);
    extents.windows(2).any(|pair| pair[0].end > pair[1].start)
}

fn ascend(spots: &[Spot], sorted: Sorted<'_>) -> bool {
    spots.windows(2).all(|pair| sorted.precedes(&pair[0].key, &pair[1].key))
}

/// Of two cells that share bytes, nobody knows which is right.
fn drop_overlapping(spots: &mut Vec<Spot>) {
    let mut by_place: Vec<usize> = (0..spots.len()).collect();
    by_place.sort_by_key(|i| spots[*i].cell.extent.start);
    let mut bad = vec![false; spots.len()];
    let mut widest: Option<usize> = None;
    for i in by_place {
        if let Some(w) = widest
            && spots[w].cell.extent.end > spots[i].cell.extent.start
        {
            bad[w] = true;
            bad[i] = true;
        }
        if widest.is_none_or(|w| spots[i].cell.extent.end > spots[w].cell.extent.end) {
            widest = Some(i);
        }
    }
    let mut bad = bad.into_iter();
    spots.retain(|_| !bad.next().unwrap_or(false));
}

/// The longest run of rows whose keys ascend.
fn ascending(spots: Vec<Spot>, sorted: Sorted<'_>) -> Vec<Spot> {
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(spots.len());
    for (i, spot) in spots.iter().enumerate() {
        let place = tails.partition_point(|t| sorted.order(&spots[*t].key, &spot.key) == Ordering::Less);
        before.push(place.checked_sub(1).map(|p| tails[p]));
        match tails.get_mut(place) {
            Some(tail) => *tail = i,
            None => tails.push(i),
        }
    }
    let mut keep = vec![false; spots.len()];
    let mut at = tails.last().copied();
    while let Some(i) = at {
        keep[i] = true;
        at = before[i];
    }
    spots.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(spot, _)| spot).collect()
}

/// Drops the rows that lie beside bytes which are neither rows nor free.
fn keep_certain(page: &[u8], head: &Head, usable: usize, spots: &mut Vec<Spot>) {
    let free = head.free_blocks(page, usable).unwrap_or_default();
    let mut covered: Vec<Range<usize>> = spots.iter().map(|s| s.cell.extent.clone()).chain(free).collect();
    covered.sort_by_key(|r| r.start);
    let before = |start: usize| {
        let i = covered.partition_point(|r| r.start < start);
        i.checked_sub(1).map_or(head.content, |i| covered[i].end)
    };
    let after = |end: usize| {
        let i = covered.partition_point(|r| r.start < end);
        covered.get(i).map_or(usable, |r| r.start)
    };
    let touches = |e: &Range<usize>| {
        let (edge, next) = (before(e.start), after(e.end));
        edge <= e.start && e.start - edge <= LOOSE && next >= e.end && next - e.end <= LOOSE
    };
    let keep: Vec<bool> = spots.iter().map(|s| touches(&s.cell.extent)).collect();
    let mut keep = keep.into_iter();
    spots.retain(|_| keep.next().unwrap_or(false));
}
