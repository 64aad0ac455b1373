//! The pages that no table has any more, as the free list names them, or as they look where nothing leads to it.

use std::collections::HashSet;

use super::super::page::four;
use super::{Survey, Use};
use crate::error::Result;

impl Survey<'_> {
    /// Reads the free list. What it says of pages that a tree leads to is wrong.
    pub fn walk_free_list(&mut self) -> Result<()> {
        let Some((first, told)) = self.reader.geometry.free_list else { return self.find_trunks() };
        let (mut next, mut free, mut trunks) = (first, Vec::new(), Vec::new());
        let (mut seen, mut unique) = (HashSet::new(), true);
        // Most of a file that is cut off may be gone, and still the numbers have to fit into memory.
        let most = (told as usize).min(self.uses.len().saturating_mul(16).max(1 << 20));
        while next != 0 && unique {
            let Some((after, leaves)) = self.trunk(next)?.filter(|_| seen.insert(next)) else { break };
            trunks.push(next);
            // A list that names a page twice, or more than it says it has, is none.
            unique = leaves.iter().all(|leaf| seen.insert(*leaf)) && seen.len() <= most;
            free.extend(leaves);
            next = after;
        }
        self.free_list_is_whole =
            next == 0 && unique && (free.len() + trunks.len()) as u64 == u64::from(told);
        // The end of the list may be gone with the end of the file; what was read of it is right.
        let cut = next as usize > self.uses.len() && self.reader.geometry.pages >= Some(next) && unique;
        self.free_list_is_denied = self.free_list_is_whole && told == 0 && self.has_trunk()?;
        if self.free_list_is_whole || cut {
            trunks.into_iter().for_each(|page| self.set_use(page, Use::Trunk));
            self.free_and_gone = free.iter().filter(|page| **page > self.reader.pager.count()).count() as u32;
            free.into_iter().for_each(|page| self.set_use(page, Use::Free));
            return Ok(());
        }
        self.find_trunks()
    }

    /// A page of the free list: the next one, and the free pages it names.
    fn trunk(&self, number: u32) -> Result<Option<(u32, Vec<u32>)>> {
        if !self.is_free_to_claim(number) {
            return Ok(None);
        }
        let page = self.reader.pager.page(number)?;
        let (Some(next), Some(n)) = (four(&page, 0), four(&page, 4)) else { return Ok(None) };
        if n as usize > self.reader.geometry.usable / 4 - 2 {
            return Ok(None);
        }
        let leaves: Vec<u32> = (0..n as usize).filter_map(|i| four(&page, 8 + 4 * i)).collect();
        let claim = |page: &u32| matches!(self.use_of(*page), Use::Unknown | Use::Empty) && *page >= 1;
        // Of a file that is cut off, free pages may be among those that are gone.
        let gone = |page: &u32| *page as usize > self.uses.len() && self.reader.geometry.pages >= Some(*page);
        let inside = |page: &u32| claim(page) && *page as usize <= self.uses.len() && *page != number;
        let sound = leaves.iter().all(|l| inside(l) || gone(l));
        Ok(sound.then_some((next, leaves)))
    }

    /// Whether a page looks like a part of a free list.
    fn has_trunk(&self) -> Result<bool> {
        for number in 2..=self.reader.pager.count() {
            if self.use_of(number) == Use::Unknown
                && let Some((next, leaves)) = self.trunk(number)?
                && !leaves.is_empty()
                && next as usize <= self.uses.len()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Pages that look like parts of a free list which nothing leads to any more.
    fn find_trunks(&mut self) -> Result<()> {
        for number in 2..=self.reader.pager.count() {
            if self.use_of(number) == Use::Empty {
                continue;
            }
            let Some((next, leaves)) = self.trunk(number)? else { continue };
            let mut sorted = leaves.clone();
            sorted.sort_unstable();
            sorted.dedup();
            // A single number proves nothing: the rest of a blob may begin with one.
            if sorted.len() == leaves.len() && leaves.len() >= 2 && next as usize <= self.uses.len() {
                self.set_use(number, Use::Trunk);
                leaves.into_iter().for_each(|page| self.set_use(page, Use::Free));
            }
        }
        Ok(())
    }
}
