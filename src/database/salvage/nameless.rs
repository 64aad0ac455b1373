//! Rows of tables whose names are lost, set apart.
//!
//! Where the schema is not whole, rows are left that no table has. They are put into a table of their own, as SQLite's shell
//! does with `.recover`: the page at which their tree begins, as far as what is left tells, the page that they lie on, how
//! many values they have, the row number (none where the page has no such numbers), and the values.
//!
//! Invariants. It is made only where there is such a row, and in results alone: what is judged, or compared with other
//! states, never has it. A row counts as recovered, or its table as one, nowhere.
//!
//! Limits. Only pages that are whole are taken. Entries of an index that nobody knows look like rows of a table WITHOUT
//! ROWID. If it is not known which pages are free, deleted rows may be among them, and that is said.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode, Statement, params_from_iter};
use serde::Serialize;

use super::Salvage;
use super::disk;
use super::fill::Bound;
use super::layout::{Affinity, Field, Identity, Layout};
use super::page::{Head, Kind, all_of};
use super::rebuild::failed;
use super::record::{Encoding, Types};
use super::report::grouped;
use super::survey::{Survey, Use};
use crate::database::layout::quoted;
use crate::error::{Error, Result};
use crate::tree::Cell as Value;

/// What the table is called, with a number behind it where the project has one of that name.
const NAME: &str = "lost_and_found";
/// Rows of more values are left out.
const MOST_VALUES: usize = 500;
/// No tree is deeper.
const DEEPEST: usize = 20;

/// Whether a table is one that a recovery has set apart.
pub fn is_set_apart(table: &str) -> bool {
    let rest = table.strip_prefix(NAME);
    rest.is_some_and(|rest| rest.trim_start_matches('_').bytes().all(|byte| byte.is_ascii_digit()))
}

/// Rows that no table has.
#[derive(Debug, Default)]
pub struct Nameless {
    /// The pages that they lie on.
    pages: Vec<u32>,
    /// How many there are.
    pub rows: u64,
    /// The most values that one of them has.
    values: usize,
}

/// The table that has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetApart {
    /// Its name.
    pub table: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows that could not be put into it.
    pub left_out: u64,
    /// Whether deleted rows may be among them.
    pub may_be_deleted: bool,
}

impl Nameless {
    /// Finds them.
    pub fn of(survey: &Survey<'_>) -> Result<Nameless> {
        let mut nameless = Nameless::default();
        let layouts = layouts();
        for number in &survey.unassigned {
            let Some(layout) = layout(survey, *number, &layouts)? else { continue };
            let holding = survey.reader.assess(*number, layout)?.filter(|holding| holding.is_whole());
            let Some(holding) = holding.filter(|holding| !holding.spots.is_empty()) else { continue };
            nameless.pages.push(*number);
            nameless.rows += holding.spots.len() as u64;
            let most = holding.spots.iter().map(|spot| spot.values).max();
            nameless.values = nameless.values.max(most.unwrap_or(0));
        }
        Ok(nameless)
    }

    /// How many there are, and what becomes of them, in words.
    pub fn words(&self, kept: Option<&SetApart>) -> String {
        let what = "rows of tables whose names are lost, or entries of indices,";
        let Some(kept) = kept else {
            return format!("{} {what} are in no table here", self.rows);
        };
        let mut words = format!("{} {what} are kept in the table {}", kept.rows, kept.table);
        if kept.left_out > 0 {
            words += &format!("; {} more could not be read", grouped(kept.left_out));
        }
        if kept.may_be_deleted {
            words += "; the list of free pages is damaged: deleted ones may be among them";
        }
        words
    }
}

/// What any row with a number has, and any without.
fn layouts() -> [Layout; 2] {
    [Identity::Number("rowid"), Identity::Fields(0)].map(|identity| Layout {
        name: NAME.to_string(),
        fields: vec![Field::of("", Affinity::Any); MOST_VALUES],
        ordered: identity != Identity::Fields(0),
        identity,
        sorts: Vec::new(),
        root: 0,
        least: 0,
        stand_in: None,
        index: None,
    })
}

fn layout<'a>(survey: &Survey<'_>, number: u32, layouts: &'a [Layout; 2]) -> Result<Option<&'a Layout>> {
    for layout in layouts {
        if survey.suits(number, layout)? {
            return Ok(Some(layout));
        }
    }
    Ok(None)
}

/// Puts them into a table of their own, in a result that may have so many pages.
pub fn keep(
    salvage: &Salvage<'_>,
    db: &Connection,
    most_pages: u64,
    path: &std::path::Path,
) -> Result<Option<SetApart>> {
    let fail = failed("write the recovered database", path);
    let Salvage { survey, nameless, .. } = salvage;
    if nameless.rows == 0 {
        return Ok(None);
    }
    let mut keeper = Keeper::begin(salvage, db, most_pages).map_err(&fail)?;
    let (parents, layouts) = (parents(survey)?, layouts());
    for number in &nameless.pages {
        let Some(layout) = layout(survey, *number, &layouts)? else { continue };
        keeper.page(survey, layout, root(*number, &parents), *number)?;
    }
    keeper.end().map_err(&fail)
}

/// The pages above those that no tree leads to.
fn parents(survey: &Survey<'_>) -> Result<HashMap<u32, u32>> {
    let (mut parents, usable) = (HashMap::new(), survey.reader.geometry.usable);
    for number in 2..=survey.reader.pager.count() {
        if survey.use_of(number) != Use::Unknown {
            continue;
        }
        let page = survey.reader.pager.page(number)?;
        if !Kind::of(page[0]).is_some_and(Kind::is_interior) {
            continue;
        }
        if let (Some(head), Some(cells)) = (Head::read(&page, 0, usable), all_of(&page, 0, usable)) {
            let children = cells.iter().map(|cell| cell.left).chain([head.right]);
            parents.extend(children.map(|child| (child, number)));
        }
    }
    Ok(parents)
}

fn root(page: u32, parents: &HashMap<u32, u32>) -> u32 {
    (0..DEEPEST).fold(page, |page, _| parents.get(&page).copied().unwrap_or(page))
}

/// Puts rows into the table.
struct Keeper<'a> {
    db: &'a Connection,
    insert: Statement<'a>,
    size: Statement<'a>,
    most_pages: u64,
    encoding: Encoding,
    kept: SetApart,
    /// Why nothing of it is kept.
    is_overrun: bool,
}

impl<'a> Keeper<'a> {
    fn begin(salvage: &Salvage<'_>, db: &'a Connection, most_pages: u64) -> rusqlite::Result<Keeper<'a>> {
        let is_taken = |name: &String| {
            let taken = "SELECT 1 FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE";
            db.prepare(taken)?.exists([name])
        };
        let mut table = NAME.to_string();
        for n in 1.. {
            if !is_taken(&table)? {
                break;
            }
            table = format!("{NAME}_{n}");
        }
        let values: String = (0..salvage.nameless.values).map(|n| format!(", c{n}")).collect();
        let name = quoted(&table);
        db.execute_batch(&format!(
            "BEGIN; CREATE TABLE main.{name}(rootpgno INTEGER, pgno INTEGER, nfield INTEGER, id INTEGER{values})"
        ))?;
        let places = vec!["?"; 4 + salvage.nameless.values].join(", ");
        let survey = &salvage.survey;
        Ok(Keeper {
            db,
            insert: db.prepare(&format!("INSERT INTO main.{name} VALUES({places})"))?,
            size: db.prepare("PRAGMA page_count")?,
            most_pages,
            encoding: survey.reader.geometry.encoding,
            kept: SetApart {
                table,
                rows: 0,
                left_out: 0,
                may_be_deleted: !survey.free_list_is_whole || survey.free_list_is_denied,
            },
            is_overrun: false,
        })
    }

    /// The rows of one page.
    fn page(&mut self, survey: &Survey<'_>, layout: &Layout, root: u32, number: u32) -> Result<()> {
        let Some(holding) = survey.reader.assess(number, layout)? else { return Ok(()) };
        let page = survey.reader.pager.page(number)?;
        let mut types = Types::default();
        for spot in &holding.spots {
            let mut may_use =
                |page: u32| matches!(survey.use_of(page), Use::Unknown | Use::Empty | Use::Overflow);
            let payload = survey.reader.payload(&page, &spot.cell, &mut may_use, false)?;
            let payload = payload.filter(|payload| types.read(payload, spot.cell.payload).is_some());
            let Some(payload) = payload else {
                self.kept.left_out += 1;
                continue;
            };
            let id = spot.key.first().map_or(Value::Null, |part| part.value());
            let mut values = vec![
                Value::Integer(root.into()),
                Value::Integer(number.into()),
                Value::Integer(types.serials.len() as i64),
                id,
            ];
            values.extend(types.values(&payload).map_while(|value| value));
            self.row(values)?;
        }
        Ok(())
    }

    fn row(&mut self, mut values: Vec<Value<'_>>) -> Result<()> {
        // Rows may share what they do not hold themselves.
        let pages = self.size.query_row([], |r| r.get(0)).unwrap_or(0i64);
        self.is_overrun |= pages as u64 > self.most_pages;
        if self.is_overrun {
            self.kept.left_out += 1;
            return Ok(());
        }
        values.resize(self.insert.parameter_count(), Value::Null);
        let values = values.into_iter().map(|value| Bound(value, self.encoding));
        match self.insert.execute(params_from_iter(values)) {
            Ok(_) => self.kept.rows += 1,
            Err(rusqlite::Error::SqliteFailure(e, _)) if e.code == ErrorCode::OperationInterrupted => {
                // SQLite has taken back all that it had.
                self.is_overrun = true;
                self.kept.left_out += 1;
            }
            Err(rusqlite::Error::SqliteFailure(e, what)) if disk::is_no_matter_of_rows(e.code) => {
                let why = what.unwrap_or_else(|| e.to_string());
                return Err(Error::Refused(format!("cannot write the recovered database: {why}")));
            }
            Err(_) => self.kept.left_out += 1,
        }
        Ok(())
    }

    /// Keeps the table, or nothing of it.
    fn end(self) -> rusqlite::Result<Option<SetApart>> {
        let Keeper { db, insert, size, kept, is_overrun, .. } = self;
        drop((insert, size));
        let is_kept = !is_overrun && kept.rows > 0;
        if !db.is_autocommit() {
            db.execute_batch(if is_kept { "COMMIT" } else { "ROLLBACK" })?;
        }
        Ok(is_kept.then_some(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hostile::{TRACE, made, one, recovered};
    use super::super::recover_unnamed;
    use super::*;
    use crate::database::Database;
    use crate::tree::Content;

    /// A project with two tables that are none of those that are known, and where the schema lies.
    const STRANGERS: &str = "
        create table notebook(id integer primary key, day text, page text, n);
        create table wr(k text primary key, n integer, v text) without rowid;
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
        insert into notebook select i * 2, 'day ' || i, iif(i % 50, 'x' || i, hex(zeroblob(5000)) || i), x'00ff' from n;
        insert into wr select 'k' || id, id, day from notebook;
        delete from notebook where id > 500;";

    /// A file without the pages of its schema that tell of these tables.
    fn without_names(sql: &str, tables: &[&str]) -> Vec<u8> {
        let (mut bytes, _) = made(&format!("pragma page_size=512; {TRACE}{sql}"), tables[0]);
        let has = |page: &[u8], name: &&str| {
            let word = format!("create table {name}(").to_uppercase();
            page.windows(word.len()).any(|text| text.eq_ignore_ascii_case(word.as_bytes()))
        };
        let lost: Vec<usize> = (1..bytes.len() / 512)
            .filter(|page| tables.iter().any(|name| has(&bytes[page * 512..][..512], name)))
            .collect();
        assert!(!lost.is_empty());
        lost.iter().for_each(|page| bytes[page * 512..][..512].fill(0));
        bytes
    }

    #[test]
    fn rows_of_tables_whose_names_are_lost_are_set_apart() {
        let bytes = without_names(STRANGERS, &["notebook", "wr"]);
        let (report, c, _) = recovered(bytes);
        let kept = report.set_apart.clone().unwrap();
        assert_eq!((kept.table.as_str(), kept.left_out, kept.may_be_deleted), (NAME, 0, false), "{report:?}");
        let notebook =
            "from lost_and_found where id > 0 and nfield = 4 and c0 is null and c1 = 'day ' || (id / 2)
            and c2 = iif(id / 2 % 50, 'x' || (id / 2), hex(zeroblob(5000)) || (id / 2)) and c3 = x'00ff'";
        assert_eq!(one(&c, &format!("select count(distinct id) {notebook}")), 250, "{report:?}");
        // All lie below one page, and on others.
        assert_eq!(one(&c, &format!("select count(distinct rootpgno) {notebook}")), 1);
        assert_eq!(one(&c, &format!("select count(*) {notebook} and pgno = rootpgno")), 0);
        let wr = "from lost_and_found where id is null and nfield = 3 and c0 = 'k' || c1 and c2 = 'day ' || (c1 / 2)";
        assert_eq!(one(&c, &format!("select count(*) {wr} and c3 is null")), 300);
        // The row of `dataset` has fewer values than those of any that is known.
        assert_eq!((kept.rows, one(&c, "select count(*) from lost_and_found")), (551, 551));
        let told = format!(
            "551 rows of tables whose names are lost, or entries of indices, are kept in the table {NAME}"
        );
        assert!(report.notes.contains(&told), "{report:?}");
        assert!(!report.is_lossless() && report.tables.iter().all(|t| t.name != NAME));
        assert_eq!(one(&c, "select count(*) from trace"), 2000);
        assert_eq!(report.recovered, 2000);
    }

    #[test]
    fn where_no_name_is_lost_nothing_is_set_apart() {
        let (bytes, root) = made(&format!("pragma page_size=512; {TRACE}{STRANGERS}"), "notebook");
        for lost in [None, Some(root)] {
            let mut bytes = bytes.clone();
            lost.into_iter().for_each(|page| bytes[(page - 1) * 512..page * 512].fill(0));
            let (report, c, _) = recovered(bytes);
            assert_eq!(report.set_apart, None);
            assert_eq!(one(&c, "select count(*) from sqlite_schema where name like 'lost%'"), 0);
        }
    }

    #[test]
    fn a_project_that_has_such_a_table_keeps_it() {
        let own =
            format!("create table lost_and_found(a); insert into lost_and_found values(7); {STRANGERS}");
        let (report, c, _) = recovered(without_names(&own, &["notebook", "wr"]));
        let mut tables = vec![report.set_apart.unwrap().table];
        tables.extend(report.tables.into_iter().map(|t| t.name).filter(|name| name == NAME));
        assert!(one(&c, &format!("select count(*) from {}", tables[0])) >= 550);
        assert!(tables.iter().all(|name| is_set_apart(name)), "{tables:?}");
    }

    #[test]
    fn deleted_rows_that_may_be_among_them_are_told() {
        let gone = "delete from notebook where id between 100 and 300;";
        let mut bytes = without_names(&format!("{STRANGERS}{gone}"), &["notebook", "wr"]);
        let (report, ..) = recovered(bytes.clone());
        assert!(!report.set_apart.unwrap().may_be_deleted);
        // Without the list of free pages.
        bytes[32..40].fill(0xee);
        let (report, ..) = recovered(bytes);
        let kept = report.set_apart.unwrap();
        assert!(kept.may_be_deleted && kept.rows > 400, "{kept:?}");
        assert!(report.notes.iter().any(|note| note.ends_with("deleted ones may be among them")));
    }

    #[test]
    fn what_is_judged_has_the_tables_of_the_project_alone() {
        let content = Content::Bytes(without_names(STRANGERS, &["notebook", "wr"]).into());
        let (made, report) = recover_unnamed(&content, &std::env::temp_dir()).unwrap().unwrap();
        assert_eq!(report.set_apart, None);
        assert!(report.notes.iter().any(|note| note.starts_with("551 rows of tables whose names are lost")));
        let database = Database::open(made, "judged").unwrap();
        assert!(database.row_counts().unwrap().keys().all(|table| !is_set_apart(table)));
    }

    #[test]
    fn the_names_that_such_a_table_may_have_are_known() {
        for (name, is) in
            [(NAME, true), ("lost_and_found_1", true), ("lost_and_found_by", false), ("lost", false)]
        {
            assert_eq!(is_set_apart(name), is, "{name}");
        }
    }
}
