//! What belongs to a dataset beside its rows: results, a thumbnail, references to assets.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use rusqlite::{OptionalExtension, Row, types::ValueRef};
use serde::Serialize;

use super::layout::quoted;
use super::rows::plan;
use super::{AssetInfo, Database, value};
use crate::error::Result;

/// A result of an analysis, without what it found, which may be long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Its number in this database.
    pub id: i64,
    /// What kind of result.
    pub kind: String,
    /// The version of the analysis.
    pub version: Option<String>,
    /// When it was made.
    pub created_utc: Option<String>,
    /// Bytes of what it found, as they are read out: text in UTF-8, however the file encodes it.
    pub payload_bytes: u64,
}

/// That a dataset uses an asset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reference {
    /// The number of the asset.
    pub asset: i64,
    /// What it is used as: `snapshot_tiff`, `attachment:0`.
    pub role: String,
    /// What is said about it.
    pub note: Option<String>,
}

/// The embedded files of a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub files: u64,
    /// What they take, as the database says.
    pub bytes: u64,
}

/// What belongs to each dataset, for tables in which it cannot be searched for.
#[derive(Debug)]
pub(super) struct ByDataset<T> {
    /// Whether an index helps, so that nothing is kept here.
    is_searched: OnceLock<bool>,
    all: OnceLock<BTreeMap<i64, Vec<T>>>,
}

impl<T> Default for ByDataset<T> {
    fn default() -> ByDataset<T> {
        ByDataset { is_searched: OnceLock::new(), all: OnceLock::new() }
    }
}

impl<T: Clone> ByDataset<T> {
    /// What belongs to one dataset; `list` reads the whole table, once.
    fn of(&self, dataset: i64, list: impl FnOnce() -> Result<Vec<(i64, T)>>) -> Result<Vec<T>> {
        if self.all.get().is_none() {
            let mut all: BTreeMap<i64, Vec<T>> = BTreeMap::new();
            for (dataset, one) in list()? {
                all.entry(dataset).or_default().push(one);
            }
            // Another thread may have been faster, with the same.
            let _ = self.all.set(all);
        }
        Ok(self.all.get().and_then(|all| all.get(&dataset)).cloned().unwrap_or_default())
    }
}

/// The reference in a row of dataset, asset, role and note, and the bytes that it takes.
fn reference(row: &Row<'_>) -> rusqlite::Result<Option<(Reference, usize)>> {
    let Some(asset) = value::some_integer(row.get_ref(1)?) else { return Ok(None) };
    let (role, note) = (value::text(row.get_ref(2)?), value::some_text(row.get_ref(3)?));
    let bytes = role.len() + note.as_ref().map_or(0, String::len);
    Ok(Some((Reference { asset, role, note }, bytes)))
}

/// Whether what is found of a result is read out as other bytes than are stored: a number becomes text, and so does text
/// in UTF-16, of which `octet_length` tells how long it is there. To know how long it becomes it has to be read; in a
/// database in UTF-8, where every `a` is one byte, no text is.
const RECODED: &str = "typeof(payload_json) IN ('integer', 'real') \
    OR typeof(payload_json) = 'text' AND octet_length('a') > 1 AND octet_length(payload_json) <= 48 << 20";

/// The bytes of a cell, text or not.
fn read_out(cell: ValueRef<'_>) -> Option<Cow<'_, [u8]>> {
    match cell {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
        number => Some(Cow::Owned(value::text(number).into_bytes())),
    }
}

impl Database {
    /// The results of a dataset, in the order of their numbers.
    pub fn results(&self, dataset: i64) -> Result<Vec<Outcome>> {
        let Some(shape) = self.layout.with("result", &["id", "dataset_id", "kind", "payload_json"]) else {
            return Ok(Vec::new());
        };
        let columns = format!(
            "dataset_id, id, kind, {}, {}, octet_length(payload_json), CASE WHEN {RECODED} THEN payload_json END",
            shape.or_null("version"),
            shape.or_null("created_utc")
        );
        let row = |row: &Row<'_>| -> rusqlite::Result<Option<(Outcome, usize)>> {
            let Some(id) = value::some_integer(row.get_ref(1)?) else { return Ok(None) };
            let stored = value::some_integer(row.get_ref(5)?).unwrap_or(0).max(0) as u64;
            let recoded = read_out(row.get_ref(6)?).map(|bytes| bytes.len() as u64);
            let result = Outcome {
                id,
                kind: value::text(row.get_ref(2)?),
                version: value::some_text(row.get_ref(3)?),
                created_utc: value::some_text(row.get_ref(4)?),
                payload_bytes: recoded.unwrap_or(stored),
            };
            let bytes = result.kind.len() + result.version.as_ref().map_or(0, String::len);
            Ok(Some((result, bytes)))
        };
        self.listed(&self.outcomes, dataset, &columns, "result", "id", row)
    }

    /// What a result found, as it is stored; usually JSON, which may hold a bare `NaN`.
    pub fn payload(&self, result: i64) -> Result<Option<Vec<u8>>> {
        match self.layout.with("result", &["id", "payload_json"]) {
            Some(_) => self.bytes("SELECT payload_json FROM result WHERE id = ?1", result),
            None => Ok(None),
        }
    }

    /// The small picture of a dataset.
    pub fn thumbnail(&self, dataset: i64) -> Result<Option<Vec<u8>>> {
        match self.layout.with("thumbnail", &["dataset_id", "png"]) {
            Some(_) => self.bytes("SELECT png FROM thumbnail WHERE dataset_id = ?1", dataset),
            None => Ok(None),
        }
    }

    /// The assets that a dataset uses, in the order of their roles.
    pub fn references(&self, dataset: i64) -> Result<Vec<Reference>> {
        let Some((columns, table, order)) = self.of_references() else { return Ok(Vec::new()) };
        self.listed(&self.references, dataset, &columns, table, order, reference)
    }

    /// The columns that tell references, their table, and their order.
    fn of_references(&self) -> Option<(String, &'static str, &'static str)> {
        if let Some(shape) = self.layout.with("ref", &["asset_id", "dataset_id", "role"]) {
            let note = shape.or_null("note");
            return Some((format!("dataset_id, asset_id, role, {note}"), "ref", "role, asset_id"));
        }
        self.layout.with("asset", &["id", "dataset_id", "role"])?;
        Some(("dataset_id, id, role, NULL".into(), "asset", "role, id"))
    }

    /// How many embedded files each dataset has, and how large they are: one pass over each table.
    pub fn file_counts(&self) -> Result<BTreeMap<i64, Counted>> {
        let Some((columns, table, _)) = self.of_references() else { return Ok(BTreeMap::new()) };
        let infos = self.assets()?;
        let external: BTreeSet<i64> =
            infos.iter().filter(|info| info.external.is_some()).map(|info| info.id).collect();
        let sizes: BTreeMap<i64, u64> =
            infos.into_iter().map(|info| (info.id, info.size_bytes.unwrap_or(0))).collect();
        let mut counts: BTreeMap<i64, Counted> = BTreeMap::new();
        self.each_of(&format!("SELECT {columns} FROM {}", quoted(table)), None, |row| {
            if let (Some(dataset), Some((reference, _))) =
                (value::some_integer(row.get_ref(0)?), reference(row)?)
                && !external.contains(&reference.asset)
            {
                let counted = counts.entry(dataset).or_default();
                counted.files += 1;
                let size = sizes.get(&reference.asset).copied().unwrap_or(0);
                counted.bytes = counted.bytes.saturating_add(size);
            }
            Ok(0)
        })?;
        Ok(counts)
    }

    /// The assets that no dataset refers to, nor one that is not there.
    pub fn unreferenced_assets(&self) -> Result<Vec<AssetInfo>> {
        let mut assets = self.assets()?;
        let (Some((columns, table, _)), false) = (self.of_references(), assets.is_empty()) else {
            return Ok(assets);
        };
        let mut used = BTreeSet::new();
        self.each_of(&format!("SELECT {columns} FROM {}", quoted(table)), None, |row| {
            let is_owned = value::some_integer(row.get_ref(0)?).is_some();
            used.extend(value::some_integer(row.get_ref(1)?).filter(|_| is_owned));
            Ok(0)
        })?;
        assets.retain(|info| !used.contains(&info.id));
        Ok(assets)
    }

    /// References to assets that are not there, each with its dataset.
    pub fn dangling_references(&self) -> Result<Vec<(i64, Reference)>> {
        let Some((columns, table, order)) = self.of_references() else { return Ok(Vec::new()) };
        let assets: BTreeSet<i64> = self.assets()?.into_iter().map(|info| info.id).collect();
        let mut dangling = Vec::new();
        self.each_of(&format!("SELECT {columns} FROM {} ORDER BY {order}", quoted(table)), None, |row| {
            let dataset = value::some_integer(row.get_ref(0)?);
            let (Some(dataset), Some((reference, bytes))) = (dataset, reference(row)?) else { return Ok(0) };
            if assets.contains(&reference.asset) {
                return Ok(0);
            }
            dangling.push((dataset, reference));
            Ok(bytes)
        })?;
        Ok(dangling)
    }

    /// The rows of a table that belong to a dataset: searched for where an index helps, else from a list of all, which
    /// is made once, so that asking for each dataset in turn takes no longer than the rows are many.
    fn listed<T: Clone>(
        &self,
        known: &ByDataset<T>,
        dataset: i64,
        columns: &str,
        table: &str,
        order: &str,
        make: impl Fn(&Row<'_>) -> rusqlite::Result<Option<(T, usize)>>,
    ) -> Result<Vec<T>> {
        let select = format!("SELECT {columns} FROM {}", quoted(table));
        let search = format!("{select} WHERE dataset_id = ?1 ORDER BY {order}");
        let is_searched = match known.is_searched.get() {
            Some(known) => *known,
            None => {
                let steps = self.with(|link| Ok(plan(&link.connection, &search)?))?;
                *known.is_searched.get_or_init(|| steps.iter().any(|step| step.starts_with("SEARCH")))
            }
        };
        if is_searched {
            let mut found = Vec::new();
            self.each_of(&search, Some(dataset), |row| {
                let made = make(row)?;
                let bytes = made.as_ref().map_or(0, |(_, bytes)| *bytes);
                found.extend(made.map(|(one, _)| one));
                Ok(bytes)
            })?;
            return Ok(found);
        }
        known.of(dataset, || {
            let mut all = Vec::new();
            self.each_of(&format!("{select} ORDER BY {order}"), None, |row| {
                let dataset = value::some_integer(row.get_ref(0)?);
                let (Some(dataset), Some((one, bytes))) = (dataset, make(row)?) else { return Ok(0) };
                all.push((dataset, one));
                Ok(bytes)
            })?;
            Ok(all)
        })
    }

    /// Calls `each` with every row; it says how many bytes of it are kept.
    fn each_of(
        &self,
        sql: &str,
        dataset: Option<i64>,
        mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        self.with(|link| {
            if dataset.is_none() {
                link.set_patience(self.patience_for_all());
            }
            let mut statement = link.connection.prepare(sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(dataset))?;
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                let more = each(row)?;
                self.budget(&mut bytes, more)?;
            }
            Ok(())
        })
    }

    /// The bytes of one cell, text or not.
    fn bytes(&self, sql: &str, id: i64) -> Result<Option<Vec<u8>>> {
        self.with(|link| {
            let found = link
                .connection
                .query_row(sql, [id], |row| Ok(read_out(row.get_ref(0)?).map(Cow::into_owned)));
            Ok(found.optional()?.flatten())
        })
    }
}
