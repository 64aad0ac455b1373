//! How many rows there are, and whose.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::quoted;
use super::rows::plan;
use super::{Database, value};
use crate::error::Result;

/// Tables whose rows belong to datasets.
const OWNED: [&str; 7] = ["trace", "event", "event_audit", "ref", "asset", "result", "thumbnail"];

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
    pub fn orphans(&self) -> Result<BTreeMap<i64, Vec<&'static str>>> {
        let there = self.numbers("dataset", "id")?;
        let mut orphans: BTreeMap<i64, Vec<&'static str>> = BTreeMap::new();
        for table in OWNED {
            for id in self.numbers(table, "dataset_id")?.difference(&there) {
                orphans.entry(*id).or_default().push(table);
            }
        }
        Ok(orphans)
    }

    /// The different whole numbers in a column: one search each where an index has the column, else in one pass.
    fn numbers(&self, table: &str, column: &str) -> Result<BTreeSet<i64>> {
        let mut numbers = BTreeSet::new();
        if self.layout.with(table, &[column]).is_none() {
            return Ok(numbers);
        }
        let (table, column) = (quoted(table), quoted(column));
        let next = format!("SELECT {column} FROM {table} WHERE {column} >= ?1 ORDER BY {column} LIMIT 1");
        let all = format!("SELECT {column} FROM {table} WHERE typeof({column}) = 'integer'");
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let steps = plan(&link.connection, &next)?;
            let is_indexed = steps.iter().all(|step| step.starts_with("SEARCH"));
            let mut statement = link.connection.prepare(if is_indexed { &next } else { &all })?;
            let mut from = Some(i64::MIN);
            while let Some(least) = from.take() {
                let mut rows = if is_indexed { statement.query([least])? } else { statement.query([])? };
                while let Some(row) = rows.next()? {
                    let Some(number) = value::some_integer(row.get_ref(0)?) else { break };
                    // A number below the one that was searched for is damage; the next search would find it again.
                    from = number.checked_add(1).filter(|_| is_indexed && number >= least);
                    numbers.insert(number);
                    if numbers.len() > MOST {
                        return Err(self.unsupported("there are more than 100,000 datasets").into());
                    }
                }
            }
            Ok(numbers)
        })
    }
}
