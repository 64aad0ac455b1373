//! The new database: the schema as it was, the rows that are left, the indices made anew.
//!
//! Rows that the trees lead to go in first, so that what was found by its shape alone never takes their place. The
//! result passes `integrity_check`, or there is none.
//!
//! The schema is a stranger's. A row, a table and the whole result have limits on size, and all of it one on time: a
//! table or an index that goes beyond is left out and said, and the others are made. What is computed is not checked.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, ToSql, params_from_iter};

use super::Salvage;
use super::clock::Clock;
use super::harmless;
use super::layout::{self, Identity, Layout, Schema};
use super::record::{Encoding, Key, Part, order};
use super::report::{Certainty, TableReport};
use super::rows::{Row, Taken};
use super::survey::Use;
use super::version;
use crate::database::check;
use crate::error::{Error, Result};
use crate::tree::Cell as Value;

/// How long it may take at each stage, whatever the size. A stranger's schema may be slow by intent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that take no longer than a second, on the slowest disk.
const A_SECOND: u64 = 128 << 10;

/// How many times the size of its source the result may have, and how much it may have in any case. Half of each page
/// of a table may be empty, and there are indices.
const TIMES: u64 = 4;
const ANY_SIZE: u64 = 4 << 20;

/// Rows between two looks at the size, of tables that get nothing but what was read.
const ROWS: u64 = 64;

/// What SQLite keeps the numbers of AUTOINCREMENT in.
const SEQUENCES: &str = "sqlite_sequence";
/// How many rows in doubt are named, and how many sequences kept.
const NAMED: usize = 1000;

/// An error of SQLite while `doing` something to the new database.
pub fn failed(doing: &str, path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    let text = format!("cannot {doing} {}", path.display());
    move |e| Error::Refused(format!("{text}: {e}"))
}

/// A value on its way into the new database.
struct Bound<'a>(Value<'a>, Encoding);

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

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Puts rows into one table.
struct Filler<'a> {
    db: &'a Connection,
    layout: &'a Layout,
    encoding: Encoding,
    statements: HashMap<usize, Statement<'a>>,
    inserted: u64,
    duplicates: u64,
    refused: u64,
    refusal: Option<String>,
    /// How many pages the result has, and how many it may have.
    size: Statement<'a>,
    most_pages: u64,
    /// Why nothing more is put into it, and nothing of it is kept.
    overrun: Option<&'static str>,
}

impl<'a> Filler<'a> {
    /// The statement for a record of so many values.
    fn statement(&self, values: usize) -> rusqlite::Result<Statement<'a>> {
        let layout = self.layout;
        let mut names: Vec<String> = Vec::new();
        if let Identity::Number(name) = layout.identity {
            names.push(name.to_string());
        }
        names.extend(layout.fields.iter().take(values).filter(|f| !f.generated).map(|f| quoted(&f.name)));
        let mut places = vec!["?"; names.len()];
        // SQLite reads NULL where a record is short, unless the default is a constant.
        let odd = layout.fields.iter().skip(values).filter(|f| f.has_odd_default);
        names.extend(odd.map(|f| quoted(&f.name)));
        places.resize(names.len(), "NULL");
        let places = places.join(", ");
        self.db.prepare(&format!(
            "INSERT INTO main.{} ({}) VALUES ({places})",
            quoted(&layout.name),
            names.join(", ")
        ))
    }

    /// Whether the result is as large as it may be.
    fn is_too_large(&mut self, row: &Row<'_>) -> bool {
        let layout = self.layout;
        let is_made_up = row.values.len() < layout.fields.len() || layout.fields.iter().any(|f| f.generated);
        (is_made_up || self.inserted.is_multiple_of(ROWS))
            && self.size.query_row([], |r| r.get(0)).is_ok_and(|pages: i64| pages as u64 > self.most_pages)
    }

    fn insert(&mut self, row: &Row<'_>) -> Result<()> {
        if self.overrun.is_some() || self.is_too_large(row) {
            self.overrun.get_or_insert("the schema makes too much of them");
            self.refused += 1;
            return Ok(());
        }
        let layout = self.layout;
        let statement = match self.statements.remove(&row.values.len()) {
            Some(statement) => Ok(statement),
            None => self.statement(row.values.len()),
        };
        let number = row.key.first().map_or(Value::Null, |part| part.value());
        let mut values = Vec::with_capacity(row.values.len() + 1);
        if matches!(layout.identity, Identity::Number(_)) {
            values.push(Bound(number, self.encoding));
        }
        for (i, value) in row.values.iter().enumerate().filter(|(i, _)| !layout.fields[*i].generated) {
            let alias = layout.identity == Identity::Alias(i);
            values.push(Bound(if alias { number } else { *value }, self.encoding));
        }
        let done = statement.and_then(|mut statement| {
            let done = statement.execute(params_from_iter(values));
            self.statements.insert(row.values.len(), statement);
            done
        });
        match done {
            Ok(_) => self.inserted += 1,
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
            Err(rusqlite::Error::SqliteFailure(e, what)) if is_of_the_disk(e.code) => {
                let why = what.unwrap_or_else(|| e.to_string());
                return Err(Error::Refused(format!("cannot write the recovered database: {why}")));
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

fn is_of_the_disk(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseCorrupt
    )
}

/// The keys that pages the tree leads to have between them: what lies there and is not on them was deleted, if old pages
/// may lie about.
struct Ranges(Vec<(Key, Key)>);

impl Ranges {
    fn of(salvage: &Salvage<'_>, at: usize) -> Result<Ranges> {
        let layout = &salvage.catalog.plan.tables[at];
        let mut ranges = Vec::new();
        for page in salvage.tables[at].reached.iter().filter(|_| layout.ordered) {
            let Some(holding) = salvage.survey.reader.assess(*page, layout)? else { continue };
            // An interior page of a table WITHOUT ROWID has the rows of its children between its own.
            let leaf = holding.right == 0;
            if let (true, true, Some(first), Some(last)) =
                (leaf, holding.intact, holding.spots.first(), holding.spots.last())
            {
                ranges.push((first.key.clone(), last.key.clone()));
            }
        }
        ranges.sort_by(|a, b| order(&a.0, &b.0));
        Ok(Ranges(ranges))
    }

    fn hold(&self, key: &Key) -> bool {
        if key.iter().any(Part::is_cut) {
            return false;
        }
        let after = self.0.partition_point(|(first, _)| order(first, key) != Ordering::Greater);
        after.checked_sub(1).is_some_and(|i| order(key, &self.0[i].1) != Ordering::Greater)
    }
}

/// Opens an empty file. Its name is not needed any more from then on: the journal is kept in memory.
pub fn open(path: &Path) -> Result<Connection> {
    Connection::open(path).map_err(failed("write the recovered database", path))
}

/// Makes the database in `db`, an empty file, and says what each table has.
pub fn rebuild(
    salvage: &mut Salvage<'_>,
    mut db: Connection,
    path: &Path,
) -> Result<(Connection, Vec<TableReport>)> {
    let fail = failed("write the recovered database", path);
    let bounds = Bounds::of(salvage);
    prepare(&db, salvage, &bounds).map_err(&fail)?;
    let clock = Clock::new(bounds.time);
    clock.watch(&mut db).map_err(&fail)?;
    let plain = stand_ins(salvage);
    let refused = layout::create(&mut db, &plain, &["table"]).map_err(&fail)?.refused;
    let mut reports = Vec::new();
    let mut time = bounds.time * 2;
    for at in 0..salvage.catalog.plan.tables.len() {
        // No table takes all of the time that the others need.
        let since = Instant::now();
        clock.renew(time / 2);
        reports.push(fill(salvage, &db, at, &bounds, path)?);
        time = time.saturating_sub(since.elapsed());
    }
    clock.renew(bounds.time);
    tell_shared(salvage, &mut reports)?;
    keep_sequences(salvage, &db)?;
    salvage.version = version::tell(salvage, &db);
    db.pragma_update(None, "user_version", salvage.version.number).map_err(&fail)?;
    salvage.notes.extend(salvage.version.note.clone());
    let late =
        layout::create(&mut db, &salvage.catalog.schema, &["index", "view", "trigger"]).map_err(&fail)?;
    let late = late.refused;
    for (name, why) in refused.into_iter().chain(late) {
        salvage.notes.push(format!("{name} could not be made again: {why}"));
    }
    clock.renew(bounds.time * 2);
    check(&db, salvage, &reports, path)?;
    Ok((db, reports))
}

/// The schema, with tables that compute nothing in the place of those that cannot be filled here.
fn stand_ins(salvage: &mut Salvage<'_>) -> Vec<Schema> {
    let mut schema = salvage.catalog.schema.clone();
    for table in &mut salvage.catalog.plan.tables {
        let Some(sql) = &table.stand_in else { continue };
        let same = |row: &&mut Schema| row.kind == "table" && row.name.eq_ignore_ascii_case(&table.name);
        for row in schema.iter_mut().filter(same) {
            row.sql = Some(sql.clone());
        }
        table.fields.iter_mut().for_each(|field| field.generated = false);
        let what = "its computed columns are not made again; what it stored of them is kept as values";
        salvage.notes.push(format!("{}: {what}", table.name));
    }
    schema
}

/// What the result may take.
struct Bounds {
    /// The longest value, or row.
    longest: i32,
    /// Pages that all tables may have, with what comes with them.
    pages: u64,
    /// How long a stage may take.
    time: Duration,
}

impl Bounds {
    /// By what the source holds: holes are a claim of no worth.
    fn of(salvage: &Salvage<'_>) -> Bounds {
        let reader = &salvage.survey.reader;
        let counts = salvage.survey.counts();
        let pages: usize = counts.iter().filter(|(what, _)| **what != Use::Empty).map(|(_, n)| n).sum();
        let page_size = reader.pager.page_size as u64;
        let size = pages as u64 * page_size;
        Bounds {
            // Two bytes of UTF-16 are three of UTF-8.
            longest: i32::try_from(size + size / 2).unwrap_or(i32::MAX),
            pages: pages as u64 * TIMES + ANY_SIZE / page_size,
            time: PATIENCE + Duration::from_secs(size / A_SECOND),
        }
    }
}

fn prepare(db: &Connection, salvage: &Salvage<'_>, bounds: &Bounds) -> rusqlite::Result<()> {
    harmless::harden(db, bounds.longest)?;
    let geometry = &salvage.survey.reader.geometry;
    let encoding = match geometry.encoding {
        Encoding::Utf8 => "UTF-8",
        Encoding::Utf16Le => "UTF-16le",
        Encoding::Utf16Be => "UTF-16be",
    };
    let vacuum = if geometry.auto_vacuum { "PRAGMA auto_vacuum=1;" } else { "" };
    // As many pages again for the indices, and one row beyond that is not taken back.
    let most = 2 * bounds.pages + 2 * bounds.longest as u64 / geometry.page_size as u64;
    // A journal in memory: what is too much is taken back.
    db.execute_batch(&format!(
        "PRAGMA page_size={}; PRAGMA encoding='{encoding}'; {vacuum} PRAGMA foreign_keys=OFF;
         PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA ignore_check_constraints=ON;
         PRAGMA max_page_count={most}; PRAGMA application_id={};",
        geometry.page_size,
        geometry.application_id.unwrap_or(0),
    ))
}

/// Fills one table.
fn fill(
    salvage: &mut Salvage<'_>,
    db: &Connection,
    at: usize,
    bounds: &Bounds,
    path: &Path,
) -> Result<TableReport> {
    let fail = failed("write the recovered database", path);
    let layout = salvage.catalog.plan.tables[at].clone();
    let pages = salvage.tables[at].clone();
    let encoding = salvage.survey.reader.geometry.encoding;
    let mut filler = Filler {
        db,
        layout: &layout,
        encoding,
        statements: HashMap::new(),
        inserted: 0,
        duplicates: 0,
        refused: 0,
        refusal: None,
        size: db.prepare("PRAGMA page_count").map_err(&fail)?,
        most_pages: bounds.pages,
        overrun: None,
    };
    db.execute_batch("BEGIN").map_err(&fail)?;
    let taken = salvage.survey.rows(&pages.reached, &layout, &mut |row| filler.insert(row))?;
    let (mut first, mut deleted) = (filler.inserted, 0);
    let mut more = Taken::default();
    if !pages.found.is_empty() {
        let ranges = match salvage.survey.free_list_is_whole {
            true => Ranges(Vec::new()),
            false => Ranges::of(salvage, at)?,
        };
        more = salvage.survey.rows(&pages.found, &layout, &mut |row| {
            if ranges.hold(row.key) {
                deleted += 1;
                return Ok(());
            }
            filler.insert(row)
        })?;
    }
    if let Some(why) = filler.refusal.take() {
        salvage.notes.push(format!("{}: the schema refuses some rows: {why}", layout.name));
    }
    if let Some(why) = filler.overrun {
        salvage.notes.push(format!("{}: no row is kept: {why}", layout.name));
        filler.refused += std::mem::take(&mut filler.inserted);
        first = 0;
    }
    filler.statements.clear();
    match (filler.overrun, db.is_autocommit()) {
        (_, true) => Ok(()),
        (None, _) => db.execute_batch("COMMIT"),
        (Some(_), _) => db.execute_batch("ROLLBACK"),
    }
    .map_err(&fail)?;
    let found_by_shape = filler.inserted - first;
    let cut_off = taken.cut_off_count + more.cut_off_count;
    // What is estimated here is made exact by an index, where one is left.
    let leaves = pages.reached.len().max(1) as u64;
    let lost = cut_off + taken.lost_in_pages + more.lost_in_pages;
    let by_reference = (pages.broken as u64).saturating_mul((taken.rows / leaves).max(1));
    let by_reference = by_reference.saturating_sub(found_by_shape);
    let certainty = match () {
        () if pages.broken > 0 || pages.damaged > 0 => Certainty::About,
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
        refused: filler.refused,
        doubtful: taken.doubtful + more.doubtful,
        doubtful_keys: taken.doubtful_keys.iter().chain(&more.doubtful_keys).map(words).collect(),
    })
}

/// Counts the rows that share overflow pages as doubtful, all of them, and names them.
fn tell_shared(salvage: &Salvage<'_>, reports: &mut [TableReport]) -> Result<()> {
    if !salvage.survey.counts().contains_key(&Use::Shared) {
        return Ok(());
    }
    for (at, report) in reports.iter_mut().enumerate() {
        let pages = &salvage.tables[at];
        for pages in [&pages.reached, &pages.found] {
            salvage.survey.sharing(pages, &salvage.catalog.plan.tables[at], &mut |key| {
                let key = words(key);
                if !report.doubtful_keys.contains(&key) {
                    report.doubtful += 1;
                    if report.doubtful_keys.len() < NAMED {
                        report.doubtful_keys.push(key);
                    }
                }
            })?;
        }
    }
    Ok(())
}

/// A key for people.
fn words(key: &Key) -> String {
    let part = |part: &Part| match part {
        Part::Null => "NULL".to_string(),
        Part::Integer(v) => v.to_string(),
        Part::Real(v) => v.to_string(),
        Part::Text(v) => String::from_utf8_lossy(v).chars().take(40).collect(),
        Part::Blob(v) => format!("{} bytes", v.len()),
        Part::Cut { text: true, front } => words(&vec![Part::Text(front.clone())]),
        Part::Cut { text: false, .. } => "bytes".to_string(),
    };
    key.iter().map(part).collect::<Vec<_>>().join("/")
}

/// SQLite makes the numbers of AUTOINCREMENT from the rows that go in; those that were given to deleted rows are not
/// to be given again.
fn keep_sequences(salvage: &mut Salvage<'_>, db: &Connection) -> Result<()> {
    let plan = &salvage.catalog.plan;
    let Some(at) = plan.internal.iter().position(|layout| layout.name.eq_ignore_ascii_case(SEQUENCES)) else {
        return Ok(());
    };
    let (mut told, encoding) = (Vec::new(), salvage.survey.reader.geometry.encoding);
    let pages = &salvage.internal[at];
    salvage.survey.rows(&pages.reached, &plan.internal[at], &mut |row| {
        if let [Value::Text(name), Value::Integer(last), ..] = row.values
            && told.len() < NAMED
        {
            told.extend(String::from_utf8(encoding.utf8(name)).ok().map(|name| (name, *last)));
        }
        Ok(())
    })?;
    if pages.broken > 0 || pages.damaged > 0 {
        let what = "numbers of rows that were deleted may be given again";
        salvage.notes.push(format!("{SEQUENCES} is damaged: {what}"));
    }
    for (name, last) in told.iter().filter(|(name, _)| plan.table(name).is_some()) {
        let grow = "UPDATE main.sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
        // Without a table that counts so there are no sequences, and nothing is to be kept.
        if db.execute(grow, (name, last)) == Ok(0) {
            let add = "INSERT INTO main.sqlite_sequence(name, seq) VALUES(?1, ?2)";
            db.execute(add, (name, last))
                .map_err(|e| Error::Refused(format!("cannot keep {SEQUENCES}: {e}")))?;
        }
    }
    Ok(())
}

/// The result is sound and has as many rows as went in, or it is not given to anybody.
fn check(db: &Connection, salvage: &mut Salvage<'_>, reports: &[TableReport], path: &Path) -> Result<()> {
    let fail = failed("check the recovered database", path);
    let refuse = |what: String| Err(Error::Refused(format!("{}: {what}", path.display())));
    for pragma in check::thorough(db).map_err(&fail)? {
        let verdict: String = db.query_row(&pragma, [], |r| r.get(0)).map_err(&fail)?;
        // A CHECK or a NOT NULL that old rows do not meet is a matter of the rows, and those are as they were.
        let of_rows = verdict.contains("CHECK constraint") || verdict.contains("NULL value in");
        if verdict != "ok" && !of_rows {
            return refuse(format!("the result does not pass its own check ({verdict})"));
        }
    }
    for report in reports {
        let sql = format!("SELECT count(*) FROM main.{} NOT INDEXED", quoted(&report.name));
        let n: i64 = db.query_row(&sql, [], |r| r.get(0)).map_err(&fail)?;
        if n as u64 != report.recovered {
            return refuse(format!("{}: {n} rows are there, {} went in", report.name, report.recovered));
        }
    }
    let mut query = db.prepare("SELECT count(*) FROM pragma_foreign_key_check").map_err(&fail)?;
    // A schema whose references lead nowhere has an error here, and no orphans that could be counted.
    let orphans: i64 = query.query_row([], |r| r.get(0)).unwrap_or(0);
    if orphans > 0 {
        salvage.notes.push(format!("{orphans} rows belong to a row that is lost, and are kept"));
    }
    Ok(())
}
