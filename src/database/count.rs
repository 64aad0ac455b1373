//! How many rows there are, and whose.
//!
//! A row belongs to the dataset whose number its `dataset_id` equals, as SQLite compares the two: `7.0` does, and so
//! does the text `7` in a column of text. A row that equals no whole number is a stray: it belongs to no dataset that
//! there could be.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;

use super::Database;
use super::layout::{Shape, quoted};
use super::rows::plan;
use crate::error::Result;

/// Tables whose rows belong to datasets.
const OWNED: [&str; 7] = ["trace", "event", "event_audit", "ref", "asset", "result", "thumbnail"];

/// Tables whose strays are told. Of assets it is asked whether anything refers to them.
const STRAYED: [&str; 5] = ["trace", "event", "ref", "result", "thumbnail"];

/// That a row equals no whole number. With the sign before it the number is compared as one that is given.
pub(super) const IS_STRAY: &str = "(dataset_id = +CAST(dataset_id AS INTEGER)) IS NOT TRUE";

/// What rows belong to that no dataset is.
#[derive(Debug, Default)]
pub(super) struct Ownerless {
    /// Datasets that are not there, with the tables where their rows are.
    orphans: BTreeMap<i64, Vec<&'static str>>,
    /// How many rows of a table belong to none that could be.
    strays: BTreeMap<&'static str, u64>,
}

/// What stands in a column of numbers of datasets.
#[derive(Debug, Default)]
struct Numbers {
    whole: BTreeSet<i64>,
    /// Whether anything else stands there.
    has_others: bool,
}

/// Datasets that are told apart at most.
const MOST: usize = 100_000;

impl Database {
    /// The rows of a table; `None` if there is no ordinary table of that name.
    pub fn row_count(&self, table: &str) -> Result<Option<u64>> {
        if !self.has_table(table) {
            return Ok(None);
        }
        // The condition keeps SQLite from counting whole pages, in which it cannot be stopped.
        let sql = format!("SELECT count(*) FROM {} WHERE ?1", quoted(table));
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let rows: i64 = link.connection.query_row(&sql, [1], |row| row.get(0))?;
            Ok(Some(rows.max(0) as u64))
        })
    }

    /// The rows of all tables, by name. They are counted once.
    pub fn row_counts(&self) -> Result<&BTreeMap<String, u64>> {
        if let Some(counts) = self.counts.get() {
            return Ok(counts);
        }
        let mut counts = BTreeMap::new();
        for table in &self.layout.names {
            if let Some(rows) = self.row_count(table)? {
                counts.insert(table.clone(), rows);
            }
        }
        // Another thread may have been faster, with the same.
        Ok(self.counts.get_or_init(|| counts))
    }

    /// The rows that a dataset has in a table.
    pub fn row_count_of(&self, table: &str, dataset: i64) -> Result<u64> {
        if self.layout.with(table, &["dataset_id"]).is_none() {
            return Ok(0);
        }
        let sql = format!("SELECT count(*) FROM {} WHERE dataset_id = ?1", quoted(table));
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let rows: i64 = link.connection.query_row(&sql, [dataset], |row| row.get(0))?;
            Ok(rows.max(0) as u64)
        })
    }

    /// The datasets that rows belong to and that are not there, with the tables where such rows are.
    pub fn orphans(&self) -> Result<&BTreeMap<i64, Vec<&'static str>>> {
        Ok(&self.ownerless()?.orphans)
    }

    /// How many rows belong to no dataset that there could be, by table: what they name is no whole number, or the table
    /// has no column for it.
    pub fn strays(&self) -> Result<&BTreeMap<&'static str, u64>> {
        Ok(&self.ownerless()?.strays)
    }

    /// Found out once.
    fn ownerless(&self) -> Result<&Ownerless> {
        if let Some(known) = self.ownerless.get() {
            return Ok(known);
        }
        let there = self.numbers("dataset", "id")?.whole;
        let mut found = Ownerless::default();
        for table in OWNED {
            let numbers = self.numbers(table, "dataset_id")?;
            for id in numbers.whole.difference(&there) {
                found.orphans.entry(*id).or_default().push(table);
            }
            let Some(shape) = self.layout.table(table).filter(|_| STRAYED.contains(&table)) else { continue };
            let condition = match shape.has("dataset_id") {
                true if !numbers.has_others => continue,
                true => IS_STRAY,
                false => "1",
            };
            let rows = self.rows_where(table, condition)?;
            if rows > 0 {
                found.strays.insert(table, rows);
            }
        }
        // Another thread may have been faster, with the same.
        Ok(self.ownerless.get_or_init(|| found))
    }

    fn rows_where(&self, table: &str, condition: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {} WHERE ?1 AND {condition}", quoted(table));
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let rows: i64 = link.connection.query_row(&sql, [1], |row| row.get(0))?;
            Ok(rows.max(0) as u64)
        })
    }

    /// The different whole numbers in a column: one search each where an index has the column, else in one pass.
    fn numbers(&self, table: &str, column: &str) -> Result<Numbers> {
        let mut numbers = Numbers::default();
        let Some(shape) = self.layout.with(table, &[column]) else { return Ok(numbers) };
        let is_text = is_text(shape, column);
        let (table, column) = (quoted(table), quoted(column));
        let next = format!("SELECT {column} FROM {table} WHERE {column} >= ?1 ORDER BY {column} LIMIT 1");
        let all = match is_text {
            false => format!("SELECT {column} FROM {table}"),
            // The text of a whole number is that number here, and no other text is.
            true => format!(
                "SELECT CASE WHEN {column} = +CAST({column} AS INTEGER) THEN CAST({column} AS INTEGER) END FROM {table}"
            ),
        };
        let front = format!(
            "SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} IS NULL) \
             OR EXISTS (SELECT 1 FROM {table} WHERE {column} < ?1)"
        );
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let steps = plan(&link.connection, &next)?;
            let is_indexed = !is_text && steps.iter().all(|step| step.starts_with("SEARCH"));
            if is_indexed {
                numbers.has_others = link.connection.query_row(&front, [i64::MIN], |row| row.get(0))?;
            }
            let mut statement = link.connection.prepare(if is_indexed { &next } else { &all })?;
            let mut from = Some(i64::MIN);
            while let Some(least) = from.take() {
                let mut rows = if is_indexed { statement.query([least])? } else { statement.query([])? };
                while let Some(row) = rows.next()? {
                    let cell = row.get_ref(0)?;
                    let Some(number) = whole(cell) else {
                        numbers.has_others = true;
                        // Numbers stand in front of all else.
                        from = above(cell).filter(|next| is_indexed && *next > least);
                        continue;
                    };
                    // A number below the one that was searched for is damage; the next search would find it again.
                    from = number.checked_add(1).filter(|_| is_indexed && number >= least);
                    numbers.whole.insert(number);
                    if numbers.whole.len() > MOST {
                        return Err(self.unsupported("there are more than 100,000 datasets").into());
                    }
                }
            }
            Ok(numbers)
        })
    }
}

/// Whether numbers that are compared with the column become text.
fn is_text(shape: &Shape, column: &str) -> bool {
    let declared = shape.columns.iter().find(|declared| declared.name.eq_ignore_ascii_case(column));
    let is = |kind: &str| ["CHAR", "CLOB", "TEXT"].iter().any(|word| kind.contains(word));
    declared.is_some_and(|declared| !declared.kind.contains("INT") && is(&declared.kind))
}

/// The whole number that a value equals.
fn whole(cell: ValueRef<'_>) -> Option<i64> {
    match cell {
        ValueRef::Integer(number) => Some(number),
        // The greatest number that fits is no real: the next one is.
        ValueRef::Real(r) if r == r.trunc() && (-TWO_63..TWO_63).contains(&r) => Some(r as i64),
        _ => None,
    }
}

/// The least whole number above a real that is none.
fn above(cell: ValueRef<'_>) -> Option<i64> {
    match cell {
        ValueRef::Real(r) if (-TWO_63..TWO_63).contains(&r) => (r.floor() as i64).checked_add(1),
        _ => None,
    }
}

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
