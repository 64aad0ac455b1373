//! The rows of one table, put into the new database.
//!
//! A row that is there already is left out; one that the schema refuses is counted. A table that grows beyond its bounds,
//! or takes too long, has no row at all.

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, ToSql, params_from_iter};

use super::disk;
use super::layout::{Identity, Layout};
use super::rebuild::failed;
use super::record::{Encoding, Key, Part, Sorted};
use super::report::{Certainty, TableReport, grouped, words};
use super::rows::{Row, Taken};
use super::{Pages, Salvage};
use crate::database::layout::quoted;
use crate::error::{Error, Result};
use crate::tree::Cell as Value;

/// Rows between two looks at the size, of tables that get nothing but what was read.
const ROWS: u64 = 64;

/// A value on its way into the new database.
pub struct Bound<'a>(pub Value<'a>, pub Encoding);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Integer(v) => ToSqlOutput::Borrowed(ValueRef::Integer(v)),
            Value::Real(v) => ToSqlOutput::Borrowed(ValueRef::Real(v)),
            Value::Text(v) if self.1 == Encoding::Utf8 => ToSqlOutput::Borrowed(ValueRef::Text(v)),
            Value::Text(v) => {
                let text = String::from_utf8(self.1.utf8(v)).unwrap_or_default();
                ToSqlOutput::Owned(rusqlite::types::Value::Text(text))
            }
            Value::Blob(v) => ToSqlOutput::Borrowed(ValueRef::Blob(v)),
        })
    }
}

type Begun<'a> = rusqlite::Result<Filler<'a>>;

/// Puts rows into one table.
struct Filler<'a> {
    db: &'a Connection,
    path: &'a Path,
    layout: &'a Layout,
    encoding: Encoding,
    statement: Option<Statement<'a>>,
    inserted: u64,
    duplicates: u64,
    refused: u64,
    refusal: Option<String>,
    /// Rows with values of which their columns make others.
    converted: u64,
    /// Rows that got NULL for defaults.
    without_defaults: u64,
    /// How many pages the result has, and how many it may have.
    size: Statement<'a>,
    room: &'a mut Room,
    /// Why nothing more is put into it, and nothing of it is kept.
    overrun: Option<&'static str>,
}

impl<'a> Filler<'a> {
    /// Begins with a table of the result.
    fn begin(
        (db, path): (&'a Connection, &'a Path),
        layout: &'a Layout,
        encoding: Encoding,
        room: &'a mut Room,
    ) -> Begun<'a> {
        let size = db.prepare("PRAGMA page_count")?;
        db.execute_batch("BEGIN")?;
        Ok(Filler {
            db,
            path,
            layout,
            encoding,
            statement: None,
            inserted: 0,
            duplicates: 0,
            refused: 0,
            refusal: None,
            converted: 0,
            without_defaults: 0,
            size,
            room,
            overrun: None,
        })
    }

    /// Keeps the rows, or none of them; gives what there is to say.
    fn end(&mut self) -> rusqlite::Result<Vec<String>> {
        self.statement = None;
        let (mut notes, name) = (Vec::new(), &self.layout.name);
        let why = self.refusal.take();
        notes.extend(why.map(|why| format!("{name}: the schema refuses some rows: {why}")));
        if self.without_defaults > 0 {
            let what =
                "are older than a column, and have NULL for its default: all of them would be too much";
            notes.push(format!("{name}: {} rows {what}", grouped(self.without_defaults)));
        }
        if let Some(why) = self.overrun {
            notes.push(format!("{name}: no row is kept: {why}"));
            self.refused += std::mem::take(&mut self.inserted);
        }
        // What took too long was taken back by SQLite itself.
        if !self.db.is_autocommit() {
            self.db.execute_batch(if self.overrun.is_some() { "ROLLBACK" } else { "COMMIT" })?;
        }
        Ok(notes)
    }

    /// The statement for a record. A table may say itself what becomes of a row that another is in the way of: here it is
    /// left out, and counted, whatever it says.
    fn statement(&self) -> rusqlite::Result<Statement<'a>> {
        let layout = self.layout;
        let mut names: Vec<String> = Vec::new();
        if let Identity::Number(name) = layout.identity {
            names.push(name.to_string());
        }
        names.extend(layout.fields.iter().filter(|f| !f.generated).map(|f| quoted(&f.name)));
        let places = vec!["?"; names.len()].join(", ");
        self.db.prepare(&format!(
            "INSERT OR ABORT INTO main.{} ({}) VALUES ({places})",
            quoted(&layout.name),
            names.join(", ")
        ))
    }

    /// Whether there is room for the defaults of the columns that a record of so many values is older than.
    fn has_room_for_defaults(&mut self, values: usize) -> bool {
        let defaults = self.layout.fields.iter().skip(values).filter_map(|field| field.default.as_deref());
        let len: u64 = defaults.map(|part| part.size() as u64).sum();
        // A row that is longer than a part of a page has pages of its own; of the others a page has some, and may be half empty.
        let page = self.room.page_size;
        let is_long = len > page / if self.layout.has_rowid() { 2 } else { 8 };
        self.room.take(if is_long { len + 2 * page } else { 2 * len })
    }

    /// Whether the result is as large as it may be.
    fn is_too_large(&mut self, row: &Row<'_>) -> bool {
        let layout = self.layout;
        let is_made_up = row.values.len() < layout.fields.len() || layout.fields.iter().any(|f| f.generated);
        (is_made_up || self.inserted.is_multiple_of(ROWS))
            && self.size.query_row([], |r| r.get(0)).is_ok_and(|pages: i64| pages as u64 > self.room.pages())
    }

    fn insert(&mut self, row: &Row<'_>) -> Result<()> {
        if self.overrun.is_some() || self.is_too_large(row) {
            self.overrun.get_or_insert("the schema makes too much of them");
            self.refused += 1;
            return Ok(());
        }
        let layout = self.layout;
        let statement = match self.statement.take() {
            Some(statement) => Ok(statement),
            None => self.statement(),
        };
        let is_older = row.values.len() < layout.fields.len();
        let has_defaults = is_older && self.has_room_for_defaults(row.values.len());
        self.without_defaults += u64::from(is_older && !has_defaults);
        let number = row.key.first().map_or(Value::Null, |part| part.value());
        let mut values = Vec::with_capacity(row.values.len() + 1);
        if matches!(layout.identity, Identity::Number(_)) {
            values.push(Bound(number, self.encoding));
        }
        for (i, field) in layout.fields.iter().enumerate().filter(|(_, field)| !field.generated) {
            let default = field.default.as_deref().filter(|_| has_defaults);
            values.push(match row.values.get(i) {
                _ if layout.identity == Identity::Alias(i) => Bound(number, self.encoding),
                Some(value) => Bound(*value, self.encoding),
                None => Bound(default.map_or(Value::Null, Part::value), Encoding::Utf8),
            });
        }
        let done = statement.and_then(|mut statement| {
            let done = statement.execute(params_from_iter(values));
            self.statement = Some(statement);
            done
        });
        match done {
            Ok(_) => {
                self.inserted += 1;
                let mut values = row.values.iter().zip(&layout.fields);
                self.converted += u64::from(values.any(|(value, field)| field.changes(value, self.encoding)));
            }
            Err(rusqlite::Error::SqliteFailure(e, _))
                if e.code == ErrorCode::ConstraintViolation
                    && matches!(e.extended_code, PRIMARY_KEY | UNIQUE | ROWID) =>
            {
                self.duplicates += 1;
            }
            Err(rusqlite::Error::SqliteFailure(e, _)) if e.code == ErrorCode::OperationInterrupted => {
                // SQLite has taken back all rows of the table.
                self.overrun = Some("the schema makes it take too long");
                self.refused += 1;
            }
            Err(rusqlite::Error::SqliteFailure(e, what)) if disk::is_no_matter_of_rows(e.code) => {
                let error = rusqlite::Error::SqliteFailure(e, what);
                // Of a schema that makes too much of what it gets, the disk knows nothing.
                let is_of_the_schema = disk::is_by_limit(&error, self.db, self.path);
                let trouble = disk::of_sqlite(&error, self.path).filter(|_| !is_of_the_schema);
                return Err(trouble.unwrap_or_else(|| {
                    Error::Refused(format!("cannot write the recovered database: {error}"))
                }));
            }
            Err(e) => {
                self.refused += 1;
                self.refusal.get_or_insert(e.to_string());
            }
        }
        Ok(())
    }
}

const PRIMARY_KEY: i32 = rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY;
const UNIQUE: i32 = rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;
const ROWID: i32 = rusqlite::ffi::SQLITE_CONSTRAINT_ROWID;

/// The keys that pages the tree leads to have between them: what lies there and is not on them was deleted, if old pages
/// may lie about.
struct Ranges<'a>(Vec<(Key, Key)>, Sorted<'a>);

impl<'a> Ranges<'a> {
    fn of(salvage: &Salvage<'_>, at: usize, sorted: Sorted<'a>) -> Result<Ranges<'a>> {
        let layout = &salvage.catalog.plan.tables[at];
        let mut ranges = Vec::new();
        for page in salvage.tables[at].reached.iter().filter(|_| layout.ordered) {
            let Some(holding) = salvage.survey.reader.assess(*page, layout)? else { continue };
            // An interior page of a table WITHOUT ROWID has the rows of its children between its own.
            let leaf = holding.right == 0;
            if let (true, true, Some(first), Some(last)) =
                (leaf, holding.is_whole(), holding.spots.first(), holding.spots.last())
            {
                ranges.push((first.key.clone(), last.key.clone()));
            }
        }
        ranges.sort_by(|a, b| sorted.order(&a.0, &b.0));
        Ok(Ranges(ranges, sorted))
    }

    fn hold(&self, key: &Key) -> bool {
        if key.iter().any(Part::is_cut) {
            return false;
        }
        let after = self.0.partition_point(|(first, _)| self.1.order(first, key) != Ordering::Greater);
        after.checked_sub(1).is_some_and(|i| self.1.order(key, &self.0[i].1) != Ordering::Greater)
    }
}

/// What the result may take.
#[derive(Debug)]
pub struct Room {
    /// How large its pages are.
    pub page_size: u64,
    /// How many pages it may have in all, but for defaults.
    pub most_pages: u64,
    /// How many bytes of defaults may still go into it, and how many did.
    pub for_defaults: u64,
    /// Bytes of defaults that are in it.
    pub defaults: u64,
}

impl Room {
    /// How many pages there may be by now.
    pub fn pages(&self) -> u64 {
        self.most_pages + self.defaults.div_ceil(self.page_size)
    }

    /// Takes so many bytes for defaults, if they are left.
    fn take(&mut self, bytes: u64) -> bool {
        let left = self.for_defaults.checked_sub(bytes);
        self.defaults += left.map_or(0, |_| bytes);
        self.for_defaults = left.unwrap_or(self.for_defaults);
        left.is_some()
    }
}

/// Fills one table of the result.
pub fn fill(
    salvage: &mut Salvage<'_>,
    db: &Connection,
    at: usize,
    room: &mut Room,
    path: &Path,
) -> Result<TableReport> {
    let fail = failed("write the recovered database", path);
    let layout = salvage.catalog.plan.tables[at].clone();
    let pages = salvage.tables[at].clone();
    let encoding = salvage.survey.reader.geometry.encoding;
    let mut filler = Filler::begin((db, path), &layout, encoding, room).map_err(&fail)?;
    let taken = salvage.survey.rows(&pages.reached, &layout, &mut |row| filler.insert(row))?;
    let reached = filler.inserted;
    let (more, deleted) = fill_found(salvage, at, &pages, &mut filler)?;
    salvage.lacks_defaults |= filler.without_defaults > 0;
    salvage.notes.extend(filler.end().map_err(&fail)?);
    let found_by_shape = filler.inserted.saturating_sub(reached);
    let cut_off = taken.cut_off_count + more.cut_off_count;
    // What is estimated here is made exact by an index, where one is left.
    let leaves = pages.reached.len().max(1) as u64;
    let unread = taken.unread + more.unread;
    let lost = cut_off + unread + taken.lost_in_pages + more.lost_in_pages;
    // What was found by shape is not gone, but missed by the tree all the same.
    let by_reference = pages.shape.lost_leaves(salvage.survey.gone() + pages.found.len() as u64);
    let by_reference = by_reference.saturating_mul((taken.rows / leaves).max(1));
    let by_reference = by_reference.saturating_sub(found_by_shape);
    let certainty = match () {
        () if by_reference > 0 => Certainty::About,
        // What is counted was there; behind what does not lead to its pages any more may have been others.
        () if pages.broken > 0 || pages.damaged > 0 => Certainty::AtLeast,
        // Nothing says which pages the table had: those that are gone are missed by nobody.
        () if layout.root == 0 || !pages.found.is_empty() || !salvage.catalog.is_whole => Certainty::AtLeast,
        () => Certainty::Exact,
    };
    Ok(TableReport {
        name: layout.name.clone(),
        recovered: filler.inserted,
        lost: lost.saturating_add(by_reference),
        certainty,
        found_by_shape,
        from_damaged_pages: taken.from_damaged + more.from_damaged,
        duplicates: filler.duplicates,
        deleted: deleted + salvage.stale[at],
        cut_off,
        unread,
        refused: filler.refused,
        doubtful: taken.doubtful + more.doubtful,
        doubtful_keys: taken.doubtful_keys.iter().chain(&more.doubtful_keys).map(words).collect(),
        converted: filler.converted,
        // What indices say of them is asked when all tables are there.
        orphans: 0,
        contradicted: 0,
        contradicted_keys: Vec::new(),
    })
}

/// Puts in what was found by its shape; gives also how many rows of it the project had deleted.
fn fill_found(
    salvage: &mut Salvage<'_>,
    at: usize,
    pages: &Pages,
    filler: &mut Filler<'_>,
) -> Result<(Taken, u64)> {
    if pages.found.is_empty() {
        return Ok((Taken::default(), 0));
    }
    let (layout, mut deleted) = (filler.layout, 0);
    let sorted = layout.sorted();
    let ranges = match salvage.survey.free_list_is_whole {
        true => Ranges(Vec::new(), sorted),
        false => Ranges::of(salvage, at, sorted)?,
    };
    let taken = salvage.survey.rows(&pages.found, layout, &mut |row| {
        if ranges.hold(row.key) {
            deleted += 1;
            return Ok(());
        }
        filler.insert(row)
    })?;
    Ok((taken, deleted))
}
