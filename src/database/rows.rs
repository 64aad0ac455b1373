//! Traces and events as tables: rows in an order of their own, read in stretches by an index.
//!
//! A stretch begins behind the key of the row before it, so no row is read twice and none is skipped. That holds
//! only if the keys grow; rows whose keys do not are damage, and the stretch ends there. (A hostile file could else
//! give rows for ever.)
//!
//! The order is that of time, where an index has it or the table is small; else that of storage.
//!
//! A trace whose table lies in that order is read from its pages (`direct`). Wherever that ends early, SQLite reads
//! the stretch from its beginning, and has to find the same rows first.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql};

use super::columns::{self, EVENT, TRACE};
use super::count::IS_STRAY;
use super::layout::{Shape, quoted};
use super::{Database, SALVAGE_HELPS, Step, value};
use crate::error::{Error, Result};
use crate::tree::{Cell, Cells, Column, Place, Table};

mod direct;
mod key;
#[cfg(test)]
mod tests;

use direct::{Direct, End, Given};
use key::Key;

/// Tables with so many rows at most may be put in order in memory.
const SORTED: i64 = 20_000;

impl Database {
    /// The trace of a dataset, in the order of time; `None` without a table of traces.
    pub fn trace(self: &Arc<Self>, dataset: i64) -> Result<Option<Arc<dyn Table>>> {
        Ok(self.rows_of("trace", &TRACE, dataset, "", &[], Called::ForPeople)?.map(shared))
    }

    /// The same with every column that the file has, under the name that it has there.
    pub(super) fn trace_as_stored(self: &Arc<Self>, dataset: i64) -> Result<Option<Arc<dyn Table>>> {
        Ok(self.rows_of("trace", &TRACE, dataset, "", &[], Called::AsStored)?.map(shared))
    }

    /// The events of a dataset that are not deleted, in the order of time.
    pub fn events(self: &Arc<Self>, dataset: i64) -> Result<Option<Arc<dyn Table>>> {
        self.live_events(dataset, Called::ForPeople)
    }

    /// The same with every column that the file has, under the name that it has there.
    pub(super) fn events_as_stored(self: &Arc<Self>, dataset: i64) -> Result<Option<Arc<dyn Table>>> {
        self.live_events(dataset, Called::AsStored)
    }

    fn live_events(self: &Arc<Self>, dataset: i64, called: Called) -> Result<Option<Arc<dyn Table>>> {
        let filter = if self.knows_deleted() { " AND +deleted_utc IS NULL" } else { "" };
        let without = ["deleted_utc", "deleted_reason", "deleted_by"];
        Ok(self.rows_of("event", &EVENT, dataset, filter, &without, called)?.map(shared))
    }

    /// The events of a dataset that are deleted; `None` where events cannot be.
    pub fn deleted_events(self: &Arc<Self>, dataset: i64) -> Result<Option<Arc<dyn Table>>> {
        if !self.knows_deleted() {
            return Ok(None);
        }
        let filter = " AND +deleted_utc IS NOT NULL";
        let rows = self.rows_of("event", &EVENT, dataset, filter, &[], Called::ForPeople)?;
        Ok(rows.map(shared))
    }

    /// The rows of a table of traces or events that belong to no dataset that there could be, in the order of
    /// storage, each with what it names as its dataset; `None` if there are none.
    pub fn stray_rows(self: &Arc<Self>, table: &str) -> Result<Option<Arc<dyn Table>>> {
        let all: [(_, &[_]); 2] = [("trace", &TRACE), ("event", &EVENT)];
        let known = all.into_iter().find(|(name, _)| *name == table);
        let Some((table, known)) =
            known.filter(|(table, _)| self.strays().is_ok_and(|s| s.contains_key(table)))
        else {
            return Ok(None);
        };
        let Some(shape) = self.layout.table(table) else { return Ok(None) };
        let (mut stored, mut shown) = columns::shown(shape, known, &[]);
        let mut condition = "1";
        if shape.has(OWNER) {
            condition = IS_STRAY;
            stored.insert(0, OWNER.into());
            shown.insert(0, Column { name: OWNER.into(), cells: Cells::Text });
        }
        let of = (0, format!("{condition} AND ?1 = 0"));
        Ok(Some(shared(Rows::new(self.clone(), table, of, &stored, shown, &storage(shape)))))
    }

    /// The columns of traces and of events that no view has, by table.
    pub fn hidden_columns(&self) -> Vec<(&'static str, Vec<String>)> {
        let of = |table, known: &[_]| {
            let shape = self.layout.table(table);
            (table, shape.map(|shape| columns::hidden(shape, known)).unwrap_or_default())
        };
        let all = [of("trace", &TRACE), of("event", &EVENT)];
        all.into_iter().filter(|(_, names)| !names.is_empty()).collect()
    }

    /// Whether events are kept when they are deleted.
    pub(super) fn knows_deleted(&self) -> bool {
        self.layout.with("event", &["deleted_utc"]).is_some()
    }

    fn rows_of(
        self: &Arc<Self>,
        table: &'static str,
        known: &[(&'static str, &'static str, Cells)],
        dataset: i64,
        filter: &'static str,
        without: &[&str],
        called: Called,
    ) -> Result<Option<Rows>> {
        let Some(shape) = self.layout.with(table, &[OWNER]) else { return Ok(None) };
        let (stored, shown) = match called {
            Called::ForPeople => columns::shown(shape, known, without),
            Called::AsStored => columns::as_stored(shape, known, without),
        };
        let keys = self.order(table, shape, filter)?;
        let of = (dataset, format!("dataset_id = ?1{filter}"));
        Ok(Some(Rows::new(self.clone(), table, of, &stored, shown, &keys)))
    }

    /// The columns that the rows of a table are put in order by.
    fn order(&self, table: &str, shape: &Shape, filter: &str) -> Result<Vec<String>> {
        let storage = storage(shape);
        let Some(time) = TIMES.into_iter().find(|time| shape.has(time)) else { return Ok(storage) };
        let is_other =
            |column: &&String| ![OWNER, time].iter().any(|known| known.eq_ignore_ascii_case(column));
        let mut time = vec![time.to_string()];
        time.extend(storage.iter().filter(is_other).cloned());
        self.with(|link| {
            let sql = format!("SELECT * FROM {table} WHERE dataset_id = ?1{filter} ORDER BY {}", list(&time));
            if !plan(&link.connection, &sql)?.iter().any(|step| step.contains("TEMP B-TREE")) {
                return Ok(time);
            }
            let few = format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {})", SORTED + 1);
            let rows: i64 = link.connection.query_row(&few, [], |row| row.get(0))?;
            Ok(if rows <= SORTED { time } else { storage })
        })
    }
}

/// The column that says to which dataset a row belongs.
const OWNER: &str = "dataset_id";
/// The columns that say when, the one that rows are put in order by first.
const TIMES: [&str; 2] = ["t_seconds", "t_us"];

/// What tells rows apart, in the order in which they are stored.
fn storage(shape: &Shape) -> Vec<String> {
    shape.rowid.map_or_else(|| shape.key.clone(), |rowid| vec![rowid.into()])
}

/// Under which names columns are given.
#[derive(Debug, Clone, Copy)]
enum Called {
    ForPeople,
    AsStored,
}

fn shared(rows: Rows) -> Arc<dyn Table> {
    Arc::new(rows)
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(", ")
}

/// Rows that were read from the pages themselves are not those that SQLite finds there.
const NOT_THE_SAME: &str = "its pages give other rows when they are read again";

/// How SQLite means to run a statement.
pub(super) fn plan(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let mut rows =
        statement.query(rusqlite::params_from_iter(std::iter::repeat_n(0, statement_parameters(sql))))?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(value::text(row.get_ref("detail")?));
    }
    Ok(steps)
}

/// How many parameters our own statements have: they are numbered from one.
fn statement_parameters(sql: &str) -> usize {
    (1..10).take_while(|n| sql.contains(&format!("?{n}"))).count()
}

/// Rows of one dataset.
#[derive(Debug)]
struct Rows {
    database: Arc<Database>,
    dataset: i64,
    columns: Vec<Column>,
    count: String,
    from_front: String,
    from_key: String,
    from_null: String,
    /// Where the keys stand among what is selected.
    keys: Vec<usize>,
    rows: OnceLock<u64>,
    /// How they are read without SQLite, where that gives the same.
    direct: OnceLock<Option<Direct>>,
}

impl Rows {
    fn new(
        database: Arc<Database>,
        table: &str,
        (dataset, of): (i64, String),
        stored: &[String],
        columns: Vec<Column>,
        keys: &[String],
    ) -> Rows {
        let mut selected = stored.to_vec();
        let mut places = Vec::new();
        for key in keys {
            let at = selected.iter().position(|s| s.eq_ignore_ascii_case(key)).unwrap_or_else(|| {
                selected.push(key.clone());
                selected.len() - 1
            });
            places.push(at);
        }
        let front = format!("SELECT {} FROM {table} WHERE {of}", list(&selected));
        let order = format!(" ORDER BY {}", list(keys));
        let values: Vec<String> = (2..2 + keys.len()).map(|n| format!("?{n}")).collect();
        let first = quoted(&keys[0]);
        let after_null = match keys.len() {
            1 => format!("{first} IS NOT NULL"),
            _ => format!("({first} IS NOT NULL OR ({}) > ({}))", list(&keys[1..]), values[1..].join(", ")),
        };
        Rows {
            database,
            dataset,
            columns,
            count: format!("SELECT count(*) FROM {table} WHERE {of}"),
            from_front: format!("{front}{order}"),
            from_key: format!("{front} AND ({}) > ({}){order}", list(keys), values.join(", ")),
            from_null: format!("{front} AND {after_null}{order}"),
            keys: places,
            rows: OnceLock::new(),
            direct: OnceLock::new(),
        }
    }

    /// Takes the keys of a row, which have to be greater than those of the row before.
    fn advance(&self, row: &Row<'_>, keys: &mut Vec<Key>) -> Step<()> {
        let mut grown = keys.is_empty().then_some(Ordering::Greater);
        for (i, place) in self.keys.iter().enumerate() {
            let cell = row.get_ref(*place)?;
            if keys.len() <= i {
                keys.push(Key::Null);
            }
            if grown.is_none() {
                match keys[i].compare(cell) {
                    Ordering::Equal => {}
                    order => grown = Some(order.reverse()),
                }
            }
            if !keys[i].set(cell) {
                return Err(self.damage("a time is a text or a blob of more than 1,024 bytes").into());
            }
        }
        match grown {
            Some(Ordering::Greater) => Ok(()),
            _ => Err(self.damage("rows do not stand in their order").into()),
        }
    }

    /// Rows straight from their pages, as far as that can be.
    fn directly(
        &self,
        keys: &[Key],
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Given> {
        let direct = match self.direct.get() {
            Some(direct) => direct,
            None => {
                let found = self.database.with(|link| {
                    let (content, width) = (&self.database.content, self.columns.len());
                    let [key] = self.keys[..] else { return Ok(None) };
                    Ok(Direct::of(&link.connection, content, [&self.from_front, &self.from_key], key, width))
                })?;
                self.direct.get_or_init(|| found)
            }
        };
        let behind = match keys {
            [] => Some(None),
            [Key::Real(time)] if !time.is_nan() => Some(Some(*time)),
            _ => None,
        };
        match (direct, behind) {
            (Some(direct), Some(behind)) => {
                let Database { content, stopped, .. } = &*self.database;
                direct.read(content, stopped, (self.dataset, behind), most, each)
            }
            _ => Ok(Given { rows: 0, last: None, end: End::Lost }),
        }
    }

    /// Rows as SQLite gives them, behind those that were given already.
    fn by_sqlite(
        &self,
        mut keys: Vec<Key>,
        most: u64,
        given: &Given,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>> {
        let sql = match keys.first() {
            None => &self.from_front,
            Some(Key::Null) => &self.from_null,
            Some(_) => &self.from_key,
        };
        self.database.with(|link| {
            let mut statement = link.connection.prepare(sql)?;
            let named = statement.parameter_count();
            statement.raw_bind_parameter(1, self.dataset)?;
            for (i, key) in keys.iter().enumerate().filter(|(i, _)| i + 2 <= named) {
                statement.raw_bind_parameter(i + 2, key as &dyn ToSql)?;
            }
            let mut rows = statement.raw_query();
            let mut cells: Vec<Cell<'static>> = Vec::with_capacity(self.columns.len());
            for n in 0..=most {
                let Some(row) = rows.next()? else {
                    let is_less = n < given.rows;
                    return if is_less { Err(self.damage(NOT_THE_SAME).into()) } else { Ok(None) };
                };
                link.watch.renew();
                if n == most {
                    break;
                }
                self.advance(row, &mut keys)?;
                if n < given.rows {
                    let differs = n + 1 == given.rows && keys.first() != given.last.map(Key::Real).as_ref();
                    match differs {
                        true => return Err(self.damage(NOT_THE_SAME).into()),
                        false => continue,
                    }
                }
                let mut here = emptied(cells);
                for i in 0..self.columns.len() {
                    here.push(value::cell(row.get_ref(i)?));
                }
                each(&here)?;
                cells = emptied(here);
            }
            Ok(Some(Key::encode(&keys)))
        })
    }

    fn damage(&self, what: &str) -> Error {
        let what = format!("dataset {}: {what}{SALVAGE_HELPS}", self.dataset);
        self.database.damaged("rows-out-of-order", what)
    }
}

impl Table for Rows {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn check(&self) -> Result<()> {
        self.database.content.check()
    }

    fn rows(&self) -> Result<u64> {
        if let Some(rows) = self.rows.get() {
            return Ok(*rows);
        }
        let rows: i64 = self.database.with(|link| {
            link.set_patience(self.database.patience_for_all());
            Ok(link.connection.query_row(&self.count, [self.dataset], |row| row.get(0))?)
        })?;
        Ok(*self.rows.get_or_init(|| rows.max(0) as u64))
    }

    fn read(
        &self,
        from: &Place,
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>> {
        let keys = Key::decode(from, self.keys.len())
            .ok_or_else(|| Error::Refused("a place is none of this table".into()))?;
        let given = self.directly(&keys, most, each)?;
        match (given.end, given.last) {
            (End::Over, _) => Ok(None),
            (End::Enough, Some(last)) => Ok(Some(Key::encode(&[Key::Real(last)]))),
            (End::Enough, None) => Ok(Some(from.clone())),
            (End::Lost, _) => self.by_sqlite(keys, most, &given, each),
        }
    }
}

/// The same room for cells of another row.
fn emptied<'b>(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'b>> {
    cells.clear();
    cells.into_iter().map(|_| Cell::Null).collect()
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Key::Null => ValueRef::Null,
            Key::Integer(i) => ValueRef::Integer(*i),
            Key::Real(r) => ValueRef::Real(*r),
            Key::Text(t) => ValueRef::Text(t),
            Key::Blob(b) => ValueRef::Blob(b),
        }))
    }
}
