//! The rows of a table, page by page, with what was lost on the way.

use std::borrow::Cow;

use super::assess::{Holding, Spot};
use super::layout::Layout;
use super::page::Cell;
use super::record::{Key, Types};
use super::survey::{Survey, Use};
use crate::error::Result;
use crate::tree::Cell as Value;

/// One row, as it lies in the file.
#[derive(Debug)]
pub struct Row<'a> {
    /// What identifies it.
    pub key: &'a Key,
    /// Its values; fewer than the table has columns when some were added later.
    pub values: &'a [Value<'a>],
}

/// What pages gave, and what they did not.
#[derive(Debug, Default, Clone)]
pub struct Taken {
    /// Rows given.
    pub rows: u64,
    /// Rows that damaged pages say they had, and do not have any more.
    pub lost_in_pages: u64,
    /// Rows taken from damaged pages.
    pub from_damaged: u64,
    /// Rows whose long values lie in pages that are gone.
    pub cut_off: Vec<Key>,
    /// How many those are.
    pub cut_off_count: u64,
    /// Long rows that were not read: the file would have to be read too often.
    pub unread: u64,
    /// Rows whose last overflow page is all zeros, which may be the value.
    pub doubtful: u64,
    /// Their keys.
    pub doubtful_keys: Vec<Key>,
}

/// Bytes behind the last cell of a page that may be of no use: SQLite leaves fewer than these.
const FRAGMENT: usize = 4;

/// How many keys of lost rows are remembered.
const REMEMBERED: usize = 1000;

impl Survey<'_> {
    /// Gives the rows of some pages of a table, in the order of the pages.
    pub fn rows(
        &mut self,
        pages: &[u32],
        layout: &Layout,
        each: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<Taken> {
        let mut taken = Taken::default();
        let mut types = Types::default();
        for number in pages {
            let Some(holding) = self.reader.assess(*number, layout)? else { continue };
            let page = self.reader.pager.page(*number)?;
            taken.lost_in_pages += holding.lost() as u64;
            for spot in &holding.spots {
                let mut chain = Vec::new();
                let uses = |page: u32| matches!(self.use_of(page), Use::Unknown | Use::Empty | Use::Overflow);
                let mut may_use = |page: u32| {
                    chain.push(page);
                    uses(page)
                };
                let mut payload = self.reader.payload(&page, &spot.cell, &mut may_use, false)?;
                if payload.is_none() {
                    chain.clear();
                    payload = self.ending_in_zeros(&page, &spot.cell, &mut chain)?;
                }
                let sound = payload.filter(|p| types.read(p, spot.cell.payload).is_some());
                let Some(payload) = sound else {
                    if spot.cell.overflow != 0 && self.reader.is_spent() {
                        taken.unread += 1;
                        continue;
                    }
                    taken.cut_off_count += 1;
                    if taken.cut_off.len() < REMEMBERED {
                        taken.cut_off.push(spot.key.clone());
                    }
                    continue;
                };
                let zeros = chain.last().is_some_and(|last| self.use_of(*last) == Use::Empty);
                let next = |what| if what == Use::Overflow { Use::Shared } else { Use::Overflow };
                chain.into_iter().for_each(|page| self.set_use(page, next(self.use_of(page))));
                let values: Vec<Value<'_>> = types.values(&payload).map_while(|v| v).collect();
                if values.iter().zip(&layout.fields).any(|(value, field)| field.is_torn(value))
                    && self.is_torn(&page, &holding, spot, layout, &values)
                {
                    taken.lost_in_pages += 1;
                    continue;
                }
                if zeros {
                    taken.doubtful += 1;
                    if taken.doubtful_keys.len() < REMEMBERED {
                        taken.doubtful_keys.push(spot.key.clone());
                    }
                }
                each(&Row { key: &spot.key, values: &values })?;
                taken.rows += 1;
                taken.from_damaged += u64::from(!holding.is_whole());
            }
        }
        Ok(taken)
    }

    /// A payload whose last page is all zeros, if those may be the end of a plain blob.
    fn ending_in_zeros<'p>(
        &self,
        page: &'p [u8],
        cell: &Cell,
        chain: &mut Vec<u32>,
    ) -> Result<Option<Cow<'p, [u8]>>> {
        if cell.overflow == 0 || !self.zeros_may_be_values() {
            return Ok(None);
        }
        let mut may_use = |page: u32| {
            chain.push(page);
            matches!(self.use_of(page), Use::Unknown | Use::Empty | Use::Overflow)
        };
        let payload = self.reader.payload(page, cell, &mut may_use, true)?;
        let each = self.reader.geometry.usable - 4;
        let Some(payload) = payload else { return Ok(None) };
        // As many bytes as lie on the last page.
        let last = (payload.len() - cell.local.len() - 1) % each + 1;
        let mut types = Types::default();
        let read = types.read(&payload, cell.payload);
        let value = read.and_then(|()| types.values(&payload).last()?);
        let is_blob = matches!(value, Some(Value::Blob(bytes)) if bytes.len() >= last);
        Ok(is_blob.then_some(payload))
    }

    /// Whether a row that has a zero in eight bytes was torn. SQLite writes such zeros for some statements, and others in
    /// none; of a page that is whole, a row can only be torn where the page ends, in columns in which no other row has
    /// such zeros, and where nothing but zeros stands behind them.
    fn is_torn(
        &self,
        page: &[u8],
        holding: &Holding,
        spot: &Spot,
        layout: &Layout,
        values: &[Value<'_>],
    ) -> bool {
        if !holding.intact {
            return true;
        }
        if spot.cell.extent.end + FRAGMENT < self.reader.geometry.usable {
            return false;
        }
        let mut written = vec![false; layout.fields.len()];
        let mut types = Types::default();
        for other in holding.spots.iter().filter(|s| s.cell.extent.start != spot.cell.extent.start) {
            let local = &page[other.cell.local.clone()];
            if types.read(local, other.cell.payload).is_none() {
                continue;
            }
            for (i, value) in types.values(local).map_while(|v| v).enumerate() {
                written[i] |= layout.fields[i].is_torn(&value);
            }
        }
        let has_no_other = |value: &Value<'_>| match value {
            // These two and NULL may have no bytes at all.
            Value::Null | Value::Integer(0 | 1) => true,
            Value::Integer(_) => false,
            Value::Real(v) => v.to_bits() == 0,
            Value::Text(bytes) | Value::Blob(bytes) => bytes.iter().all(|b| *b == 0),
        };
        let mut end = values.iter().enumerate().rev().take_while(|(_, value)| has_no_other(value));
        end.any(|(i, value)| layout.fields[i].is_torn(value) && !written[i])
    }

    /// Gives the keys of the rows that share an overflow page with another: one of them is wrong, and nobody can say
    /// which. To be asked when all rows were given.
    pub fn sharing(&self, pages: &[u32], layout: &Layout, each: &mut dyn FnMut(&Key)) -> Result<()> {
        for number in pages {
            let Some(holding) = self.reader.assess(*number, layout)? else { continue };
            let page = self.reader.pager.page(*number)?;
            for spot in &holding.spots {
                let mut shared = false;
                let mut look = |page: u32| {
                    shared |= self.use_of(page) == Use::Shared;
                    !shared
                };
                self.reader.payload(&page, &spot.cell, &mut look, true)?;
                if shared {
                    each(&spot.key);
                }
            }
        }
        Ok(())
    }
}
