//! Recovery of damaged project databases.
//!
//! The damaged file is read as pages of bytes, never opened by SQLite, never written. What its trees still lead to is
//! followed; what they have lost is found by looking at every page (see `survey`); of damaged pages only rows that are
//! certain are taken (see `assess`). A new database is made of it, with the schema, the indices and the `user_version`
//! that it had, and a report says what is in it and what is not.
//!
//! ```text
//!   geometry  how the file is cut        (one page and one record: `pages`, in the room above)
//!   encoding  how it writes text
//!   pager     pages by number            assess   what a page still holds of a table
//!   layout    how tables write rows      plan     which layouts a schema makes
//!   known     the schemas that were ever written          mend     what of them was changed in few letters
//!   catalog   the schema of the file     survey   what each page is, and whose
//!   defaults  what rows mean that are older than a column
//!   rows      the rows of some pages     fill     those of a table into the new database
//!   rebuild   the new database           shape    how many leaves a tree has lost
//!   losses    what an index knows to be missing         doubts    and what it has otherwise
//!   holes     between which keys rows are missing
//!   orphans   rows that belong to one that is not there  whole     whether all else is accounted for
//!   nameless  rows of tables whose names are lost
//!   version   which version of the layout it is
//!   harmless  what a schema may do                      clock    how long it may keep SQLite busy
//!   disk      what the disk does not take
//!
//!   places    the files that a project may be recovered from     candidate   what each holds
//!   unsaved   what of that was never saved                       choice      which is taken
//!   stand_in  what no sound file has of a damaged project
//!   recovery  from the choice to the new file                    in_place    the next snapshot of a bundle
//!   embedded  embedded files that are not what is said           workshop    where there is room to judge
//! ```
//!
//! Invariants. No row is invented: every row in the result was read whole from the file. Rows that the project had
//! deleted stay deleted, as far as the file tells. A row of a page that is whole is never left out.
//!
//! Limits. SQLite's pages have no checksums: a value that was changed in place and that no index has, and a page that was
//! swapped for another of the same table and chain length, cannot be told from the true one. Virtual tables, and what
//! SQLite keeps for itself (`sqlite_stat1`), are not made again.

mod assess;
mod candidate;
mod catalog;
mod choice;
mod clock;
mod defaults;
mod disk;
mod doubts;
mod embedded;
mod encoding;
mod fill;
mod geometry;
mod harmless;
mod holes;
mod in_place;
mod known;
mod layout;
mod losses;
mod mend;
mod nameless;
mod orphans;
mod pager;
mod places;
mod plan;
mod rebuild;
mod recovery;
mod report;
mod rows;
mod shape;
mod stand_in;
mod survey;
mod unsaved;
mod version;
mod whole;
mod workshop;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::pages::{page, record};
use crate::error::Result;
use crate::store::Draft;
use crate::tree::Content;

use assess::Reader;
use catalog::Catalog;
use geometry::Geometry;
use layout::Layout;
use nameless::Nameless;
use pager::Pager;
use record::{Collation, Encoding};
use survey::{Pages, Survey, Use, Whole};
use version::Version;

pub use candidate::{Candidate, Holds, Judged, Role, content_of};
pub use choice::Choice;
pub use embedded::Amiss;
pub use nameless::{SetApart, is_set_apart};
pub use places::{
    Stored, adds_to, around, autosaves, beside, head_in, heads, in_bundle, of_snapshots, with_tail,
};
pub use recovery::{Elsewhere, Extracted, Outcome, Recovery, To, extract};
pub use report::{Certainty, Gap, Report, SampleReport, TableReport, grouped};
pub use unsaved::Unsaved;

/// How often a file is walked without the pages that are in a wrong tree: those that are found then may show others.
const ROUNDS: usize = 3;

/// So many free pages for each that has bytes have to be zeros for it to be known that they were made so.
const MOST_ZEROS: usize = 8;

/// Whether pages are to be found where those of a database would be, whatever the file begins with.
pub fn seems_a_database(content: &Content) -> Result<bool> {
    Ok(Geometry::tell(content)?.is_some())
}

/// A damaged file that was looked through.
#[derive(Debug)]
pub struct Salvage<'a> {
    survey: Survey<'a>,
    catalog: Catalog,
    /// The pages of each table of the plan.
    tables: Vec<Pages>,
    /// The pages of each index of the plan.
    indices: Vec<Pages>,
    /// Deleted rows seen, for each table.
    stale: Vec<u64>,
    notes: Vec<String>,
    /// What of the schema the result has not as it was.
    not_made: Vec<String>,
    /// The pages of each table that SQLite keeps for itself.
    internal: Vec<Pages>,
    version: Version,
    /// Whether rows have NULL in the result where they mean a default.
    lacks_defaults: bool,
    /// Rows that no table has, where one may be lost with its name.
    nameless: Nameless,
    /// Whether those go into a table of their own, and into which they went.
    sets_apart: bool,
    set_apart: Option<SetApart>,
}

impl<'a> Salvage<'a> {
    /// Looks through a file; `None` when there is nothing in it that could be recovered.
    pub fn examine(content: &'a Content) -> Result<Option<Salvage<'a>>> {
        let Some(geometry) = Geometry::tell(content)? else { return Ok(None) };
        let as_told = Salvage::look(content, &geometry, false)?;
        if let Some(salvage) = &as_told
            && salvage.catalog.is_whole
            && salvage.has_unclaimed()?
        {
            let completed = Salvage::look(content, &geometry, true)?;
            if let Some(salvage) = completed.filter(Salvage::has_rows_of_added_tables) {
                return salvage.finish().map(Some);
            }
        }
        as_told.map(Salvage::finish).transpose()
    }

    /// Looks through a file until no page is in a wrong tree; also a schema that seems whole is completed if it
    /// `is_distrusted`.
    fn look(content: &'a Content, geometry: &Geometry, is_distrusted: bool) -> Result<Option<Salvage<'a>>> {
        let mut strangers = HashSet::new();
        for _ in 0..ROUNDS {
            let Some(salvage) = Salvage::look_through(content, geometry, &strangers, is_distrusted)? else {
                return Ok(None);
            };
            let more = salvage.strangers()?;
            if more.is_empty() {
                return Ok(Some(salvage));
            }
            strangers.extend(more);
        }
        Salvage::look_through(content, geometry, &strangers, is_distrusted)
    }

    /// Whether pages are those of a table that the schema does not have.
    fn has_rows_of_added_tables(&self) -> bool {
        let mut tables = self.catalog.plan.tables.iter().zip(&self.tables);
        tables.any(|(layout, pages)| layout.root == 0 && !pages.found.is_empty())
    }

    /// Walks all trees, which leave out pages that are `strangers` to them, and finds what they do not lead to.
    fn look_through(
        content: &'a Content,
        geometry: &Geometry,
        strangers: &HashSet<(u32, u32)>,
        is_distrusted: bool,
    ) -> Result<Option<Salvage<'a>>> {
        let geometry = geometry.clone();
        let notes = geometry.notes.clone();
        let mut pager = Pager::new(content, geometry.page_size);
        pager.mend_first(geometry.usable)?;
        let reader = Reader { pager, geometry, walked: Default::default() };
        let mut survey = Survey::new(reader, strangers.clone())?;
        let mut catalog = Catalog::read(&mut survey, is_distrusted)?;
        let Geometry { keeps_descending, encoding, .. } = survey.reader.geometry;
        // What is no text in UTF-16 becomes UTF-8 in a way of SQLite's own.
        let is_utf8 = encoding == Encoding::Utf8;
        catalog.plan.know_orders(|sort| {
            (keeps_descending || !sort.descending) && (is_utf8 || sort.collation == Collation::Binary)
        });
        if catalog.plan.tables.is_empty() {
            return Ok(None);
        }
        let plan = &catalog.plan;
        let walk = |survey: &mut Survey<'a>, layouts: &[Layout]| {
            layouts.iter().map(|l| survey.walk(l)).collect::<Result<Vec<Pages>>>()
        };
        let mut tables = walk(&mut survey, &plan.tables)?;
        let indices = walk(&mut survey, &plan.indices)?;
        let internal = walk(&mut survey, &plan.internal)?;
        survey.walk_free_list()?;
        let is_whole = |(l, p): (&Layout, &Pages)| p.is_whole_of(l);
        let trees = Whole {
            tables: plan.tables.iter().zip(&tables).map(is_whole).collect(),
            indices: plan.indices.iter().zip(&indices).map(is_whole).collect(),
            names: catalog.is_whole,
            and_all_else: catalog.knows_all() && survey.free_list_is_whole && !survey.free_list_is_denied,
        };
        let found = survey.assign(plan, &trees)?;
        let stale = vec![0; tables.len()];
        for (at, pages) in found {
            tables[at].found = pages;
        }
        let version = Version::default();
        Ok(Some(Salvage {
            survey,
            catalog,
            tables,
            indices,
            stale,
            notes,
            not_made: Vec::new(),
            internal,
            version,
            lacks_defaults: false,
            nameless: Nameless::default(),
            sets_apart: false,
            set_apart: None,
        }))
    }

    fn finish(mut self) -> Result<Salvage<'a>> {
        self.set_deleted_apart()?;
        self.describe()?;
        Ok(self)
    }

    /// Pages in the wrong tree, each with the root of that: they have no row as the tree writes rows today, and are
    /// exactly another's. As a table may have rows of an older layout, and values of any type, more has to speak for it:
    /// that the same page lies elsewhere as well; or that the other tree is not whole, and that a page of this one lies
    /// where it should not.
    fn strangers(&self) -> Result<HashSet<(u32, u32)>> {
        let plan = &self.catalog.plan;
        let tables = plan.tables.iter().zip(&self.tables);
        let trees: Vec<(&Layout, &Pages)> = tables.chain(plan.indices.iter().zip(&self.indices)).collect();
        let unlike: Vec<(usize, u32)> = trees
            .iter()
            .enumerate()
            .flat_map(|(at, (_, pages))| pages.unlike.iter().map(move |page| (at, *page)))
            .collect();
        let mut strangers = HashSet::new();
        let (mut asked, mut has_strayed) = (usize::MAX, false);
        for (at, page) in &unlike {
            let (layout, pages) = trees[*at];
            let holding = self.survey.reader.assess(*page, layout)?;
            let values = holding.and_then(|holding| Some(holding.spots.first()?.values));
            for (other, (theirs, own)) in trees.iter().enumerate() {
                // A copy of a table that was made before it was given columns has the rows that it still has.
                let is_older_self = other < plan.tables.len() && layout.begins_like(theirs);
                let is_theirs = other != *at && !is_older_self && values == Some(theirs.fields.len());
                if !is_theirs || !self.survey.is_of(*page, theirs)? {
                    continue;
                }
                if asked != *at {
                    asked = *at;
                    has_strayed = !pages.found.is_empty();
                    for (_, page) in unlike.iter().filter(|(owner, _)| owner != at) {
                        has_strayed = has_strayed || self.survey.is_of(*page, layout)?;
                    }
                }
                let is_whole = own.is_whole_of(theirs) && own.unlike.is_empty();
                if has_strayed && !is_whole || self.survey.is_twin(*page)? {
                    strangers.insert((layout.root, *page));
                }
            }
        }
        Ok(strangers)
    }

    /// A tree that is whole misses nothing: where old pages may lie about, those of its table that it does not lead to
    /// are old ones. The rows on those, and on the free list, are deleted rows, but for a page that a tree has lost.
    fn set_deleted_apart(&mut self) -> Result<()> {
        let plan = &self.catalog.plan;
        let old = self.survey.may_have_old_pages()?;
        for (at, pages) in self.tables.iter_mut().enumerate() {
            let layout = &plan.tables[at];
            if old && pages.is_whole_of(layout) {
                for page in std::mem::take(&mut pages.found) {
                    let holding = self.survey.reader.assess(page, layout)?;
                    self.stale[at] += holding.map_or(0, |h| h.spots.len() as u64);
                }
            }
        }
        let (mut zeros, mut kept) = (0, Vec::new());
        for page in 1..=self.survey.reader.pager.count() {
            if self.survey.use_of(page) != Use::Free {
                continue;
            }
            match self.survey.reader.pager.page(page)?.iter().all(|b| *b == 0) {
                true => zeros += 1,
                false => kept.push(page),
            }
        }
        for page in &kept {
            let survey::Owner::Table(at, _) = self.survey.owner(*page, plan, None)? else { continue };
            let (layout, pages) = (&plan.tables[at], &mut self.tables[at]);
            // Where the others were made zeros as they were freed, this one was not freed: it changed places with one.
            if zeros > kept.len() * MOST_ZEROS && self.survey.fills_a_gap(*page, layout, pages)? {
                pages.found.push(*page);
                self.survey.set_use(*page, Use::Found);
                continue;
            }
            let holding = self.survey.reader.assess(*page, layout)?;
            self.stale[at] += holding.map_or(0, |h| h.spots.len() as u64);
        }
        Ok(())
    }

    /// Makes the database at `path`, an empty file, as somebody will have it. `None` when not one row is left.
    pub fn rebuild(mut self, path: &Path) -> Result<Option<Report>> {
        self.sets_apart = true;
        self.rebuild_in(rebuild::open(path)?, path)
    }

    /// Makes the database in what `db` has opened, an empty file that errors call `path`: the tables of the project alone.
    fn rebuild_in(mut self, db: Connection, path: &Path) -> Result<Option<Report>> {
        let (db, mut tables) = rebuild::rebuild(&mut self, db, path)?;
        let samples = losses::tell(&mut self, &db, &mut tables)?;
        orphans::tell(&mut self, &db, &mut tables)?;
        db.close().map_err(|(_, e)| rebuild::failed("close", path)(e))?;
        let recovered = tables.iter().map(|t| t.recovered).sum();
        if recovered == 0 {
            return Ok(None);
        }
        if self.nameless.rows > 0 {
            self.notes.push(self.nameless.words(self.set_apart.as_ref()));
        }
        let is_exact = self.accounts_for_all()? && tables.iter().all(|t| t.certainty == Certainty::Exact);
        Ok(Some(Report {
            page_size: self.survey.reader.geometry.page_size,
            pages: self.pages(),
            user_version: self.version.number,
            version_is_known: self.version.is_known,
            schema_found: self.catalog.is_whole,
            recovered,
            lost: tables.iter().fold(0, |sum, t| sum.saturating_add(t.lost)),
            lost_is_exact: is_exact,
            doubt: None,
            tables,
            samples,
            set_apart: self.set_apart,
            not_made: self.not_made,
            notes: self.notes,
        }))
    }

    fn pages(&self) -> BTreeMap<&'static str, usize> {
        let word = |what| match what {
            Use::Unknown => "unrecognised",
            Use::Empty => "zeros",
            Use::Reached => "table",
            Use::Found => "found by shape",
            Use::Index => "index",
            Use::Overflow => "overflow",
            Use::Shared => "overflow of two rows",
            Use::Free => "free",
            Use::Trunk => "free list",
            Use::PointerMap => "pointer map",
        };
        self.survey.counts().into_iter().map(|(what, n)| (word(what), n)).collect()
    }

    /// Says what was not as it should be.
    fn describe(&mut self) -> Result<()> {
        let reader = &self.survey.reader;
        let (there, told) = (reader.pager.count(), reader.geometry.pages);
        if let Some(told) = told.filter(|told| *told > there) {
            self.notes.push(format!("the file is cut off: {there} of {told} pages are there"));
        }
        match reader.pager.unreadable() {
            0 => {}
            n => self.notes.push(format!("the disk does not give {n} sectors of the file")),
        }
        if let Some(version) = self.catalog.completed_from {
            let what = "the schema is damaged; what is missing of it is taken from version";
            self.notes.push(format!("{what} {version}"));
        }
        for (kind, name, version) in &self.catalog.mended {
            let what = "was changed in a few letters, and is taken from version";
            self.notes.push(format!("the statement of the {kind} {name} {what} {version}"));
        }
        for table in &self.catalog.plan.unread {
            let what = "what rows mean that are older than a column could not be read: they have NULL there";
            self.notes.push(format!("{table}: {what}"));
        }
        if self.may_have_deleted_rows() {
            let what = "the list of free pages is damaged: rows found by shape may include deleted ones";
            self.notes.push(what.to_string());
        }
        match self.survey.unassigned.len() {
            0 => {}
            n => {
                self.notes.push(format!("{n} pages of rows fit no table of the schema, or more than one"));
                if !self.catalog.is_whole || self.has_unclaimed()? {
                    self.nameless = Nameless::of(&self.survey)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod changed;
#[cfg(test)]
mod full;
#[cfg(test)]
mod heads;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod meant;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod unknown;

/// Looks through a file and makes a database of what is left, at `path`, an empty file.
pub fn recover(content: &Content, path: &Path) -> Result<Option<Report>> {
    match Salvage::examine(content)? {
        Some(salvage) => salvage.rebuild(path),
        None => Ok(None),
    }
}

/// Looks through a file and makes a database of what is left of the project, to be judged, in a file that no folder has: it
/// lies on the disk of `folder`, and is gone with the last who has it open, however that one ends.
fn recover_unnamed(content: &Content, folder: &Path) -> Result<Option<(Content, Report)>> {
    let Some(salvage) = Salvage::examine(content)? else { return Ok(None) };
    let draft = Draft::begin(folder).map_err(|e| disk::error(folder, e))?;
    let path = draft.path().to_path_buf();
    let db = rebuild::open(&path)?;
    let source = draft.unnamed()?;
    let Some(report) = salvage.rebuild_in(db, &path)? else { return Ok(None) };
    source.accept(source.state_now()?);
    let size = source.size();
    Ok(Some((Content::Range(source, 0..size), report)))
}
