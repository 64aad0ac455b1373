//! Whether all that a file had is accounted for, beside what its trees say they lost.

use super::Salvage;
use super::layout::{Fit, Layout};
use super::page::{Head, Kind};
use super::survey::Pages;
use crate::error::Result;

impl Salvage<'_> {
    /// Whether nothing says that there were rows which no table misses.
    pub fn accounts_for_all(&self) -> Result<bool> {
        // Of a schema that is not whole, a table may be gone with all its rows.
        let is_whole = self.catalog.is_whole
            && !self.catalog.is_guessed
            && !self.lacks_defaults
            && self.catalog.plan.unread.is_empty()
            && !self.may_have_deleted_rows()
            && !self.may_lack_pages();
        Ok(is_whole && !self.has_unclaimed()? && self.bears_out_what_was_mended()?)
    }

    /// Whether pages that nothing leads to gave rows, and may be old ones: the free list does not account for all of
    /// those. A tree that is whole has lost none, so that its list has, where it seems whole.
    pub fn may_have_deleted_rows(&self) -> bool {
        let survey = &self.survey;
        let is_doubtful = !survey.free_list_is_whole || survey.free_list_is_denied;
        let mut tables = self.catalog.plan.tables.iter().zip(&self.tables);
        tables.any(|(layout, t)| !t.found.is_empty() && (is_doubtful || t.is_whole_of(layout)))
    }

    /// Whether the head of the file tells of more pages than there are, and not all of those are known to be free. Trees
    /// that are whole do not say so: the head may be newer than they are.
    fn may_lack_pages(&self) -> bool {
        let survey = &self.survey;
        let there = survey.reader.pager.count();
        let gone = survey.reader.geometry.pages.unwrap_or(there).saturating_sub(there);
        gone > 0 && !(survey.free_list_is_whole && survey.free_and_gone == gone)
    }

    /// Whether there are rows that fit no table, though it is known how every tree is written: a table may be gone from
    /// the schema.
    pub fn has_unclaimed(&self) -> Result<bool> {
        let (catalog, reader) = (&self.catalog, &self.survey.reader);
        let has_root = |layouts: &[Layout]| layouts.iter().filter(|layout| layout.root != 0).count();
        let told = catalog.schema.iter().filter(|row| row.kind == "table" && row.root != 0).count();
        let knows_tables = told == has_root(&catalog.plan.tables) + has_root(&catalog.plan.internal);
        for number in self.survey.unassigned.iter().filter(|_| knows_tables) {
            let page = reader.pager.page(*number)?;
            let head = Head::read(&page, reader.geometry.start(*number), reader.geometry.usable);
            let Some(head) = head.filter(|head| head.cells > 0) else { continue };
            if head.kind == Kind::TableLeaf || catalog.knows_all() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether every row of what was mended is exactly as the mended statement has rows written.
    fn bears_out_what_was_mended(&self) -> Result<bool> {
        let plan = &self.catalog.plan;
        for (kind, name, _) in &self.catalog.mended {
            let (layouts, pages) = match kind.as_str() {
                "table" => (&plan.tables, &self.tables),
                _ => (&plan.indices, &self.indices),
            };
            let own = layouts.iter().position(|layout| layout.name.eq_ignore_ascii_case(name));
            let Some(own) = own else { return Ok(false) };
            if !self.fits_exactly(&layouts[own], &pages[own])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fits_exactly(&self, layout: &Layout, pages: &Pages) -> Result<bool> {
        if !pages.is_whole_of(layout) {
            return Ok(false);
        }
        for page in &pages.reached {
            let holding = self.survey.reader.assess(*page, layout)?;
            if !holding.is_some_and(|holding| holding.spots.iter().all(|spot| spot.fit == Fit::Exact)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
