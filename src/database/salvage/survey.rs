//! What every page of the file is, and which table it belongs to.
//!
//! Trees are walked from their roots; a page is believed to be a part of a tree only if it holds what the tree says:
//! pages of the right kind, records of the table's shape, keys within the bounds that its parent gives. What no tree
//! leads to, and no free list has, is assigned by the shape of its records, if exactly one table fits; where several do,
//! and all trees and the free list are known, if exactly one of those has lost pages. A page counts once, so trees that
//! bite their own tails end.
//!
//! Pages that changed places may fit where they lie now: a table takes records of fewer values, as they were written
//! before it was given columns, and values of any type. So where all is walked, those pages are asked for that have no row
//! as their tree writes rows today and that are exactly another's (see `strangers` in the room above); if there are any,
//! all is walked again without them.

mod free_list;
mod walk;

use std::cell::{Cell as Counter, OnceCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

use super::assess::{Holding, Reader, Spot};
use super::layout::{Fit, Layout};
use super::page::Kind;
use super::plan::Plan;
use super::record::{Key, Types};
use super::shape::Shape;
use crate::error::{Error, Result};
use walk::fits;

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Not told (yet).
    Unknown,
    /// Nothing but zeros.
    Empty,
    /// Of a table, and its tree leads to it.
    Reached,
    /// Of a table, by the shape of its records alone.
    Found,
    /// Of an index.
    Index,
    /// The rest of a long row.
    Overflow,
    /// The rest of two long rows, one of which is wrong. A third is not believed, so that nobody reads it for ever.
    Shared,
    /// On the free list.
    Free,
    /// A page of the free list itself.
    Trunk,
    /// Pointers back to parents.
    PointerMap,
}

/// The pages of one table.
#[derive(Debug, Default, Clone)]
pub struct Pages {
    /// Those that the tree leads to, in its order, if they have rows.
    pub reached: Vec<u32>,
    /// Those that were found by shape.
    pub found: Vec<u32>,
    /// References in the tree that lead to no page of it.
    pub broken: usize,
    /// How many of the pages are damaged in part.
    pub damaged: usize,
    /// Between which keys the pages are that `broken` counts.
    pub gaps: Vec<(Bound, Bound)>,
    /// The pages that `damaged` counts, if the tree says between which keys they are.
    pub torn: Vec<(u32, Bound, Bound)>,
    /// How its tree is made.
    pub shape: Shape,
    /// Those of `reached` that have no row as its layout writes rows today: old ones, odd ones, or another's.
    pub unlike: Vec<u32>,
}

impl Pages {
    /// Whether the tree of a layout was found, and nothing of it is missing.
    pub fn is_whole_of(&self, layout: &Layout) -> bool {
        layout.root != 0 && self.broken == 0 && self.damaged == 0
    }

    /// Whether anything is missing, or was not where it should be.
    pub fn is_sound(&self) -> bool {
        self.broken == 0 && self.damaged == 0 && self.found.is_empty()
    }
}

/// A file whose pages are being told apart.
#[derive(Debug)]
pub struct Survey<'a> {
    /// The pages.
    pub reader: Reader<'a>,
    uses: Vec<Use>,
    /// Whether the free list is whole, so that what is not on it is not free.
    pub free_list_is_whole: bool,
    /// Whether a page looks like a part of a free list, though the head of the file says that there is none.
    pub free_list_is_denied: bool,
    /// How many pages the free list names that the file has not any more.
    pub free_and_gone: u32,
    /// Pages of rows that fit no table, or more than one.
    pub unassigned: Vec<u32>,
    /// Whether some tree leads to a page of zeros, so that pages were lost in that way.
    led_to_zeros: bool,
    /// How often a page was held against one of many tables.
    trials: Counter<u64>,
    /// What the pages that trees lead to hash to, and whether two do, once that is asked for.
    known: OnceCell<HashMap<u64, bool>>,
    /// Pages that a tree leads to and that are another's, each with the root of the tree.
    strangers: HashSet<(u32, u32)>,
}

/// So many tables and indices are tried for every page; of more, so many for each page on the average.
const FEW: usize = 64;

/// More pages are not looked through: each takes a byte of memory, and the size of a file with holes is only a claim.
const MOST: u32 = 1 << 30;

/// Pages of trees are compared with others where the file has fewer.
const MOST_KNOWN: u32 = 1 << 24;

/// Which trees are whole.
#[derive(Debug)]
pub struct Whole {
    /// Those of the tables, in the order of the plan.
    pub tables: Vec<bool>,
    /// Those of the indices.
    pub indices: Vec<bool>,
    /// Whether the schema is, so that no table has lost its name.
    pub names: bool,
    /// Whether all else is known, too: then no page that nothing leads to is that of a whole tree.
    pub and_all_else: bool,
}

impl Whole {
    fn has(&self, is_table: bool, at: usize) -> bool {
        if is_table { self.tables[at] } else { self.indices[at] }
    }
}

/// The key beside a page of a tree; none at its ends.
pub type Bound = Option<Rc<Key>>;

impl<'a> Survey<'a> {
    /// Nothing is told yet but what shows by itself.
    pub fn new(reader: Reader<'a>, strangers: HashSet<(u32, u32)>) -> Result<Survey<'a>> {
        let count = reader.pager.count();
        if count > MOST {
            let what = format!("it claims {count} pages, and more than {MOST} cannot be looked through");
            return Err(Error::Refused(what));
        }
        let mut uses = vec![Use::Unknown; count as usize];
        let mut data = 0;
        for number in 1..=count {
            if number > data {
                data = reader.pager.next_data(number).max(number);
            }
            if number < data {
                uses[number as usize - 1] = Use::Empty;
            } else if reader.geometry.is_pointer_map(number) && !is_leaf(&reader, number)? {
                uses[number as usize - 1] = Use::PointerMap;
            } else if reader.pager.page(number)?.iter().all(|b| *b == 0) {
                uses[number as usize - 1] = Use::Empty;
            }
        }
        Ok(Survey {
            reader,
            uses,
            free_list_is_whole: false,
            free_list_is_denied: false,
            free_and_gone: 0,
            unassigned: Vec::new(),
            led_to_zeros: false,
            trials: Counter::new(0),
            known: OnceCell::new(),
            strangers,
        })
    }

    /// What a page is; unknown where there is none.
    pub fn use_of(&self, page: u32) -> Use {
        self.uses.get((page as usize).wrapping_sub(1)).copied().unwrap_or(Use::Unknown)
    }

    /// Says what a page is, if the file has it.
    pub fn set_use(&mut self, page: u32, what: Use) {
        if let Some(place) = self.uses.get_mut((page as usize).wrapping_sub(1)) {
            *place = what;
        }
    }

    /// How many pages there are of each use.
    pub fn counts(&self) -> BTreeMap<Use, usize> {
        let mut counts = BTreeMap::new();
        for what in &self.uses {
            *counts.entry(*what).or_default() += 1;
        }
        counts
    }

    /// How many pages are gone, or cannot be told: any tree may have lost them.
    pub fn gone(&self) -> u64 {
        let there = self.reader.pager.count();
        let cut_off = self.reader.geometry.pages.unwrap_or(there).saturating_sub(there);
        let untold = self.uses.iter().filter(|what| matches!(what, Use::Unknown | Use::Empty)).count();
        untold as u64 + u64::from(cut_off)
    }

    /// Whether what no tree leads to may have been deleted: a file whose free list is whole accounts for all its old
    /// pages, and an interior page without a tree says that a tree lost its own.
    pub fn may_have_old_pages(&self) -> Result<bool> {
        if self.free_list_is_whole {
            return Ok(false);
        }
        for number in 1..=self.reader.pager.count() {
            if !matches!(self.use_of(number), Use::Unknown | Use::Found) {
                continue;
            }
            let page = self.reader.pager.page(number)?;
            let start = self.reader.geometry.start(number);
            if page.get(start).and_then(|b| Kind::of(*b)).is_some_and(Kind::is_interior) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a page of zeros may be what was written: nothing says that pages were lost in that way.
    pub fn zeros_may_be_values(&self) -> bool {
        !self.led_to_zeros && self.reader.geometry.pages == Some(self.reader.pager.count())
    }

    fn is_free_to_claim(&self, page: u32) -> bool {
        page >= 1 && page as usize <= self.uses.len() && self.use_of(page) == Use::Unknown
    }

    /// Assigns what no tree leads to. Gives the pages by the place of their table in the plan.
    ///
    /// Where the name of a table may be lost, one whose tree misses nothing gets no page: it may be the other's.
    pub fn assign(&mut self, plan: &Plan, trees: &Whole) -> Result<BTreeMap<usize, Vec<u32>>> {
        let whole = trees.and_all_else.then_some(trees);
        let mut found: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let mut left = Vec::new();
        for number in 1..=self.reader.pager.count() {
            if self.use_of(number) != Use::Unknown || !has_rows(&self.reader, number)? {
                continue;
            }
            match self.owner(number, plan, whole)? {
                Owner::Table(at, _) if !trees.names && trees.has(true, at) => left.push(number),
                Owner::Table(at, _) => {
                    self.set_use(number, Use::Found);
                    found.entry(at).or_default().push(number);
                }
                Owner::Index => self.set_use(number, Use::Index),
                Owner::Nobody => left.push(number),
            }
        }
        for number in left {
            // Of trees that nobody knows, any may have written it.
            let owner = if whole.is_some() { self.only_owner(number, plan)? } else { None };
            match owner {
                Some(at) => {
                    self.set_use(number, Use::Found);
                    found.entry(at).or_default().push(number);
                }
                None => self.unassigned.push(number),
            }
        }
        found.values_mut().for_each(|pages| pages.sort_unstable());
        Ok(found)
    }

    /// The table of a whole page with values of types that its table does not declare, if there is only one that it can
    /// be: SQLite keeps any type in any column.
    fn only_owner(&self, number: u32, plan: &Plan) -> Result<Option<usize>> {
        let mut owner = None;
        let others = plan.indices.iter().chain(&plan.internal).map(|layout| (None, layout));
        let tables = plan.tables.iter().enumerate().map(|(at, layout)| (Some(at), layout));
        for (at, layout) in tables.chain(others) {
            if self.fits_oddly(number, layout)? {
                if owner.is_some() || at.is_none() {
                    return Ok(None);
                }
                owner = at;
            }
        }
        Ok(owner)
    }

    /// Whether a whole page may be one of a table, as most of its values are of the types that it declares.
    fn fits_oddly(&self, number: u32, layout: &Layout) -> Result<bool> {
        if !self.suits(number, layout)? {
            return Ok(false);
        }
        let Some(holding) = self.reader.assess(number, layout)? else { return Ok(false) };
        let is_long = |s: &Spot| s.values * 2 > layout.fields.len();
        if !holding.intact || holding.fit() == Fit::No || !holding.spots.iter().all(is_long) {
            return Ok(false);
        }
        let page = self.reader.pager.page(number)?;
        let (mut types, mut good, mut bad) = (Types::default(), 0, 0);
        for spot in &holding.spots {
            if types.read(&page[spot.cell.local.clone()], spot.cell.payload).is_some() {
                if layout.has_never(&types.serials) {
                    return Ok(false);
                }
                let (ordinary, others) = layout.ordinary(&types.serials, self.reader.geometry.encoding);
                good += ordinary;
                bad += others;
            }
        }
        Ok(good > bad)
    }

    /// Whether a page is of the kind that the rows of a table, or the entries of an index, lie in.
    pub fn suits(&self, number: u32, layout: &Layout) -> Result<bool> {
        let page = self.reader.pager.page(number)?;
        let kind = page.get(self.reader.geometry.start(number)).and_then(|b| Kind::of(*b));
        Ok(match kind {
            Some(Kind::TableLeaf) => layout.has_rowid(),
            Some(Kind::IndexLeaf | Kind::IndexInterior) => !layout.has_rowid(),
            _ => false,
        })
    }

    /// Whose page this is, by the shape of its records, and by what the trees are known to have.
    pub fn owner(&self, number: u32, plan: &Plan, whole: Option<&Whole>) -> Result<Owner> {
        let layouts = plan.tables.len() + plan.indices.len();
        if layouts > FEW {
            let trials = self.trials.get() + layouts as u64;
            self.trials.set(trials);
            if trials > FEW as u64 * (u64::from(self.reader.pager.count()) + 1024) {
                return Ok(Owner::Nobody);
            }
        }
        let (mut most, mut best) = (0, Vec::new());
        let tables = plan.tables.iter().enumerate().map(|(at, layout)| (true, at, layout));
        let indices = plan.indices.iter().enumerate().map(|(at, layout)| (false, at, layout));
        for (is_table, at, layout) in tables.chain(indices) {
            let score = self.score(number, layout, whole.is_some())?;
            if score > most {
                best.clear();
                most = score;
            }
            if score > 0 && score == most {
                best.push((is_table, at));
            }
        }
        if let Some(whole) = whole.filter(|_| best.len() > 1)
            && !self.is_copy(number)?
        {
            best.retain(|(is_table, at)| !whole.has(*is_table, *at));
        }
        Ok(match best[..] {
            [(true, at)] if self.may_be_short(number, plan, at, whole)? => Owner::Table(at, most),
            [(false, _), ..] => Owner::Index,
            _ => Owner::Nobody,
        })
    }

    /// A table WITHOUT ROWID that was given columns later has short records; but so has an index. A page of such records is
    /// the table's only where that has lost pages, and no index that has could be meant.
    fn may_be_short(&self, number: u32, plan: &Plan, at: usize, whole: Option<&Whole>) -> Result<bool> {
        let table = &plan.tables[at];
        let is_long = |spot: &Spot| spot.values * 2 > table.fields.len();
        let is_short = |holding: Holding| !holding.spots.iter().all(is_long);
        if table.has_rowid() || !self.reader.assess(number, table)?.is_some_and(is_short) {
            return Ok(true);
        }
        let Some(whole) = whole.filter(|whole| !whole.has(true, at)) else { return Ok(false) };
        for (_, index) in plan.indices.iter().enumerate().filter(|(at, _)| !whole.has(false, *at)) {
            if self.suits(number, index)? && self.reader.assess(number, index)?.is_some_and(|h| h.intact) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a page is the same as one that a tree leads to: a copy that went to a wrong place.
    fn is_copy(&self, number: u32) -> Result<bool> {
        Ok(self.known(number)?.is_none_or(|known| known.is_some()))
    }

    /// Whether trees lead to a page and to one that is the same: one of them lies in a wrong place.
    pub fn is_twin(&self, number: u32) -> Result<bool> {
        Ok(self.known(number)?.is_some_and(|known| known == Some(true)))
    }

    /// Whether trees lead to the bytes of a page, and whether they do so twice; `None` if there are too many pages.
    fn known(&self, number: u32) -> Result<Option<Option<bool>>> {
        let hash = |number: u32| -> Result<u64> {
            let mut hasher = DefaultHasher::new();
            hasher.write(&self.reader.pager.page(number)?);
            Ok(hasher.finish())
        };
        if self.known.get().is_none() && self.reader.pager.count() < MOST_KNOWN {
            let mut known = HashMap::new();
            for number in 1..=self.reader.pager.count() {
                if matches!(self.use_of(number), Use::Reached | Use::Index) {
                    known.entry(hash(number)?).and_modify(|twice| *twice = true).or_insert(false);
                }
            }
            let _ = self.known.set(known);
        }
        let hash = hash(number)?;
        Ok(self.known.get().map(|known| known.get(&hash).copied()))
    }

    /// Whether a page is a whole one of a table, whose tree has lost one just there.
    pub fn fills_a_gap(&self, number: u32, layout: &Layout, pages: &Pages) -> Result<bool> {
        if !layout.ordered || !self.is_of(number, layout)? {
            return Ok(false);
        }
        let Some(holding) = self.reader.assess(number, layout)? else { return Ok(false) };
        let mut gaps = pages.gaps.iter().filter(|(low, high)| low.is_some() || high.is_some());
        Ok(gaps.any(|(low, high)| fits(&holding, layout, low, high)))
    }

    /// Whether a page is whole, and all of its rows are as a layout writes rows today.
    pub fn is_of(&self, number: u32, layout: &Layout) -> Result<bool> {
        if !self.suits(number, layout)? {
            return Ok(false);
        }
        let holding = self.reader.assess(number, layout)?;
        Ok(holding.is_some_and(|holding| holding.intact && holding.told > 0 && holding.fit() == Fit::Exact))
    }

    /// How many rows of a page fit a table, those counting double that have all of its columns.
    fn score(&self, number: u32, layout: &Layout, all_are_known: bool) -> Result<usize> {
        if !self.suits(number, layout)? {
            return Ok(0);
        }
        let Some(holding) = self.reader.assess(number, layout)? else { return Ok(0) };
        // Half of a page is little to go by when no tree vouches for it.
        if holding.fit() <= Fit::Odd || holding.spots.len() * 2 < holding.told {
            return Ok(0);
        }
        // A short record may be one of an index that nobody knows.
        let half = |s: &Spot| s.values * 2 > layout.fields.len();
        if !all_are_known && !layout.has_rowid() && !holding.spots.iter().all(half) {
            return Ok(0);
        }
        // Nor has any version written so few values, and they are those of a table that nobody knows.
        let is_few = |spot: &Spot| spot.values * 2 <= layout.least;
        if !all_are_known && holding.spots.iter().any(is_few) {
            return Ok(0);
        }
        Ok(holding.spots.iter().map(|s| if s.fit == Fit::Exact { 2 } else { 1 }).sum())
    }
}

/// Whose a page is.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner {
    /// Of the table at that place in the plan, which its rows fit as well as the second number says.
    Table(usize, usize),
    /// Of some index.
    Index,
    /// Of none, or of more than one.
    Nobody,
}

fn has_rows(reader: &Reader<'_>, number: u32) -> Result<bool> {
    let page = reader.pager.page(number)?;
    let kind = page.get(reader.geometry.start(number)).and_then(|b| Kind::of(*b));
    Ok(kind.is_some_and(Kind::has_payload))
}

fn is_leaf(reader: &Reader<'_>, number: u32) -> Result<bool> {
    let page = reader.pager.page(number)?;
    let kind = page.first().and_then(|b| Kind::of(*b));
    Ok(kind.is_some_and(|k| !k.is_interior()))
}
