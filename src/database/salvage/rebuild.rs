//! The new database: the schema as it was, the rows that are left, the indices made anew.
//!
//! Rows that the trees lead to go in first, so that what was found by its shape alone never takes their place. The
//! result passes `integrity_check`, or there is none.
//!
//! The schema is a stranger's. A row, a table and the whole result have limits on size, and all of it one on time: a
//! table or an index that goes beyond is left out and said, and the others are made. What is computed is not checked.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::Salvage;
use super::clock::Clock;
use super::disk;
use super::fill::{Room, fill};
use super::harmless;
use super::layout::Schema;
use super::nameless;
use super::plan::create;
use super::report::{TableReport, words};
use super::survey::Use;
use super::version;
use crate::database::check;
use crate::database::file::{keep_known_orders, take_any_order};
use crate::database::layout::quoted;
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

/// The same for what its rows have in no file: the defaults of columns that they are older than. A claim of many rows and
/// a long default is a small file.
const TIMES_OF_DEFAULTS: u64 = 16;
const ANY_DEFAULTS: u64 = 256 << 20;

/// What SQLite keeps the numbers of AUTOINCREMENT in.
const SEQUENCES: &str = "sqlite_sequence";
/// Where the head of a file says whether it gives pages back only when it is asked to.
const INCREMENTAL: std::ops::Range<usize> = 64..68;
/// How many rows in doubt are named, and how many sequences kept.
const NAMED: usize = 1000;

/// An error of SQLite while `doing` something to the new database.
pub fn failed(doing: &str, path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    let text = format!("cannot {doing} {}", path.display());
    move |e| disk::of_sqlite(&e, path).unwrap_or_else(|| Error::Refused(format!("{text}: {e}")))
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
    take_any_order(&db).map_err(&fail)?;
    let refused = create(&mut db, &plain, &["table"]).map_err(&fail)?.refused;
    let mut reports = Vec::new();
    let mut time = bounds.time * 2;
    let mut room = bounds.room();
    for at in 0..salvage.catalog.plan.tables.len() {
        // No table takes all of the time that the others need.
        let since = Instant::now();
        clock.renew(time / 2);
        reports.push(fill(salvage, &db, at, &mut room, path)?);
        time = time.saturating_sub(since.elapsed());
    }
    clock.renew(bounds.time);
    tell_shared(salvage, &mut reports)?;
    keep_sequences(salvage, &db)?;
    salvage.version = version::tell(salvage, &db);
    db.pragma_update(None, "user_version", salvage.version.number).map_err(&fail)?;
    salvage.notes.extend(salvage.version.note.clone());
    // No index is made in an order that is not the one that it is to have.
    keep_known_orders(&db).map_err(&fail)?;
    let late = create(&mut db, &salvage.catalog.schema, &["index", "view", "trigger"]).map_err(&fail)?;
    let late = late.refused;
    take_any_order(&db).map_err(&fail)?;
    for (name, why) in refused.into_iter().chain(late) {
        // What the disk does not take is no fault of the schema.
        if let Some(trouble) = disk::of_sqlite(&why, path).filter(|_| !disk::is_by_limit(&why, &db, path)) {
            return Err(trouble);
        }
        salvage.not_made.push(format!("{name} could not be made again: {why}"));
    }
    if salvage.sets_apart {
        clock.renew(bounds.time);
        salvage.set_apart = nameless::keep(salvage, &db, room.pages(), path)?;
    }
    clock.renew(bounds.time * 2);
    check(&db, salvage, &reports, path)?;
    Ok((db, reports))
}

/// The schema, with tables that compute nothing in the place of those that cannot be filled here.
fn stand_ins(salvage: &mut Salvage<'_>) -> Vec<Schema> {
    let mut schema = salvage.catalog.schema.clone();
    for table in &mut salvage.catalog.plan.tables {
        let Some(stand_in) = &table.stand_in else { continue };
        let same = |row: &&mut Schema| row.kind == "table" && row.name.eq_ignore_ascii_case(&table.name);
        for row in schema.iter_mut().filter(same) {
            row.sql = Some(stand_in.sql.clone());
        }
        table.fields.iter_mut().for_each(|field| field.generated = false);
        salvage.not_made.push(format!("{}: {}", table.name, stand_in.without));
    }
    schema
}

/// What the result may take.
struct Bounds {
    /// The longest value, or row.
    longest: i32,
    /// How large a page is, and how many all tables may have, with what comes with them.
    page_size: u64,
    pages: u64,
    /// Bytes that defaults may take besides.
    defaults: u64,
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
            page_size,
            pages: pages as u64 * TIMES + ANY_SIZE / page_size,
            defaults: size * TIMES_OF_DEFAULTS + ANY_DEFAULTS,
            time: PATIENCE + Duration::from_secs(size / A_SECOND),
        }
    }

    /// What the tables may take.
    fn room(&self) -> Room {
        Room { page_size: self.page_size, most_pages: self.pages, for_defaults: self.defaults, defaults: 0 }
    }
}

fn prepare(db: &Connection, salvage: &Salvage<'_>, bounds: &Bounds) -> rusqlite::Result<()> {
    harmless::harden(db, bounds.longest)?;
    let geometry = &salvage.survey.reader.geometry;
    let encoding = geometry.encoding.name();
    let head = salvage.survey.reader.pager.page(1).ok();
    let is_incremental = head.is_some_and(|head| head.get(INCREMENTAL).is_some_and(|word| word != [0; 4]));
    let vacuum = match geometry.auto_vacuum {
        true if is_incremental => "PRAGMA auto_vacuum=2;",
        true => "PRAGMA auto_vacuum=1;",
        false => "",
    };
    // As many pages again for the indices, and one row beyond that is not taken back.
    let pages = bounds.pages + bounds.defaults / bounds.page_size;
    let most = 2 * pages + 2 * bounds.longest as u64 / geometry.page_size as u64;
    // A journal in memory: what is too much is taken back. It comes before the first statement that writes, since a file
    // without a name can have no other.
    db.execute_batch(&format!(
        "PRAGMA page_size={}; PRAGMA encoding='{encoding}'; PRAGMA foreign_keys=OFF;
         PRAGMA journal_mode=MEMORY; {vacuum} PRAGMA synchronous=OFF; PRAGMA ignore_check_constraints=ON;
         PRAGMA max_page_count={most}; PRAGMA application_id={};",
        geometry.page_size,
        geometry.application_id.unwrap_or(0),
    ))
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
    let (pragmas, left_out) = check::thorough(db).map_err(&fail)?;
    if left_out > 0 {
        salvage.notes.push(format!(
            "{left_out} tables of the result were not checked beyond the number of their rows: there are too many, or \
             the schema computes in them"
        ));
    }
    for pragma in pragmas {
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
    Ok(())
}
