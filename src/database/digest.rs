//! What the rows of a table amount to, as one number: the same for the same rows, in whatever order they lie.
//!
//! A save gives datasets, events and assets new numbers, so a number counts as what it stands for: a dataset as its
//! experiment and name, an asset as its digest, an event as its dataset, its time and its label. The digests of all rows are
//! added up, which takes no memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compare::{digest_of_rows, named, write};
use super::layout::{self, quoted};
use super::{AssetInfo, Database, value};
use crate::error::Result;
use crate::tree::Cell;

/// The sum of the digests of rows.
pub(super) type Sum = [u64; 4];

/// Numbers that a save gives anew, and that nothing else is known by.
const RENEWED: [(&str, &[&str]); 4] =
    [("event", &["id"]), ("event_audit", &["id"]), ("result", &["id"]), ("asset", &["id"])];

/// The table whose events may be gone: a number that stands for none says nothing.
const AUDIT: &str = "event_audit";
/// What stands there for such a number.
const GONE: &str = "an event that is not there";

/// What the numbers in a database stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    datasets: BTreeMap<i64, String>,
    assets: BTreeMap<i64, String>,
    events: BTreeMap<i64, Vec<u8>>,
}

/// The digests of pieces by their numbers, for every embedded file.
pub(super) type Pieces = BTreeMap<String, BTreeMap<i64, [u8; 32]>>;

/// What an asset is known by from save to save.
pub(super) fn lasting_name(info: &AssetInfo) -> String {
    let name = info.sha256.as_ref().or(info.external.as_ref()).or(info.original_name.as_ref());
    name.unwrap_or(&info.kind).clone()
}

/// What a number in a column stands for.
#[derive(Clone, Copy)]
enum Refers {
    Dataset,
    Asset,
    Event,
    None,
}

impl Database {
    /// The columns of a table that say something by themselves; none if there is no such table.
    pub(super) fn telling_columns(&self, table: &str) -> Result<Vec<String>> {
        let shape = self.with(|link| Ok(layout::shape(&link.connection, table)?))?;
        let renewed = RENEWED.iter().find(|(name, _)| name.eq_ignore_ascii_case(table));
        let is_renewed = |column: &str| {
            renewed.is_some_and(|(_, columns)| columns.iter().any(|name| name.eq_ignore_ascii_case(column)))
        };
        let columns = shape.into_iter().flat_map(|shape| shape.columns);
        let telling = columns.filter(|column| column.is_by_name && !is_renewed(&column.name));
        Ok(telling.map(|column| column.name).collect())
    }

    /// What the rows of a table amount to in these columns; one that it has not is NULL.
    pub(super) fn sum_of(self: &Arc<Self>, table: &str, columns: &[String]) -> Result<Sum> {
        let key = (table.to_string(), columns.to_vec());
        if let Some(known) = self.sums.lock().get(&key) {
            return Ok(*known);
        }
        let names = self.lasting_names()?;
        let sum = match table {
            // Rows that belong to no dataset are in no trace.
            "trace"
                if self.layout.with("trace", &["dataset_id"]).is_some()
                    && !self.strays()?.contains_key(table) =>
            {
                self.sum_of_traces(columns, names)?
            }
            _ => self.sum_of_rows(table, columns, names)?,
        };
        self.sums.lock().insert(key, sum);
        Ok(sum)
    }

    /// The same for all tables, and read once.
    fn lasting_names(&self) -> Result<&Names> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let mut names = Names::default();
        for (name, sample) in named(self)? {
            names.datasets.insert(sample.id, format!("{name:?}"));
        }
        for info in self.assets()? {
            names.assets.insert(info.id, lasting_name(&info));
        }
        names.events = self.names_of_events(&names)?;
        // Another thread may have been faster, with the same.
        Ok(self.names.get_or_init(|| names))
    }

    /// The pieces of every embedded file, each by its number with its digest, by what the file is known by.
    pub(super) fn pieces_of_all(&self) -> Result<Pieces> {
        let assets = self.assets()?;
        let names: BTreeMap<i64, String> = assets.iter().map(|info| (info.id, lasting_name(info))).collect();
        let mut pieces: Pieces = names.values().map(|name| (name.clone(), BTreeMap::new())).collect();
        self.stored_pieces(&mut |piece| {
            let of = names.get(&piece.asset).and_then(|name| pieces.get_mut(name));
            if let (Some(of), Some(seq)) = (of, piece.seq) {
                of.insert(seq, *blake3::hash(piece.bytes.unwrap_or_default()).as_bytes());
            }
            Ok(())
        })?;
        Ok(pieces)
    }

    /// What events are known by, where anything refers to them. Of those that are the same in all of it each has its own.
    fn names_of_events(&self, names: &Names) -> Result<BTreeMap<i64, Vec<u8>>> {
        let mut events = BTreeMap::new();
        let refers = self.layout.with(AUDIT, &["event_id"]).is_some();
        let Some(shape) = self.layout.with("event", &["id", "dataset_id"]).filter(|_| refers) else {
            return Ok(events);
        };
        let columns = ["id", "dataset_id", "t_seconds", "label"].map(|column| shape.or_null(column));
        let sql = format!("SELECT {} FROM event ORDER BY id", columns.join(", "));
        let mut twins: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let mut statement = link.connection.prepare(&sql)?;
            let (mut rows, mut bytes) = (statement.query([])?, 0);
            while let Some(row) = rows.next()? {
                link.watch.renew();
                let Some(id) = value::some_integer(row.get_ref(0)?) else { continue };
                let mut name = Vec::new();
                let dataset = value::some_integer(row.get_ref(1)?).and_then(|id| names.datasets.get(&id));
                match dataset {
                    Some(dataset) => write(&mut name, Cell::Blob(dataset.as_bytes())),
                    None => write(&mut name, value::cell(row.get_ref(1)?)),
                }
                for column in [2, 3] {
                    write(&mut name, value::cell(row.get_ref(column)?));
                }
                let mut name = blake3::hash(&name).as_bytes().to_vec();
                let twin = twins.entry(name.clone()).or_default();
                *twin += 1;
                name.extend(twin.to_le_bytes());
                self.budget(&mut bytes, 2 * name.len())?;
                events.insert(id, name);
            }
            Ok(())
        })?;
        Ok(events)
    }

    /// Traces are read by their datasets, which is several times as fast.
    fn sum_of_traces(self: &Arc<Self>, columns: &[String], names: &Names) -> Result<Sum> {
        let mut sum = Sum::default();
        let orphans = self.orphans()?.keys().map(|id| (*id, format!("dataset {id}")));
        for (id, name) in names.datasets.clone().into_iter().chain(orphans) {
            let Some(trace) = self.trace_as_stored(id)? else { continue };
            if trace.rows()? > 0 {
                let rows = digest_of_rows(&*trace, &of_trace(columns))?;
                add(&mut sum, &[name.as_bytes(), rows.as_bytes()].concat());
            }
        }
        Ok(sum)
    }

    fn sum_of_rows(&self, table: &str, columns: &[String], names: &Names) -> Result<Sum> {
        let mut sum = Sum::default();
        self.each_row(table, columns, names, |row| add(&mut sum, row))?;
        Ok(sum)
    }

    /// Calls `each` with every row of a table as what it says in these columns.
    pub(super) fn each_telling_row(
        &self,
        table: &str,
        columns: &[String],
        each: impl FnMut(&[u8]),
    ) -> Result<()> {
        self.each_row(table, columns, self.lasting_names()?, each)
    }

    fn each_row(
        &self,
        table: &str,
        columns: &[String],
        names: &Names,
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        let shape = self.with(|link| Ok(layout::shape(&link.connection, table)?))?.unwrap_or_default();
        let list: Vec<String> = columns.iter().map(|column| shape.or_null(column)).collect();
        let list = if list.is_empty() { "NULL".to_string() } else { list.join(", ") };
        let sql = format!("SELECT {list} FROM {}", quoted(table));
        let is = |column: &String, name: &str| column.eq_ignore_ascii_case(name);
        let of_audit = table.eq_ignore_ascii_case(AUDIT);
        let known = columns.iter().map(|column| match () {
            () if is(column, "dataset_id") => Refers::Dataset,
            () if is(column, "asset_id") => Refers::Asset,
            () if is(column, "event_id") => Refers::Event,
            () => Refers::None,
        });
        let known: Vec<Refers> = known.collect();
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut text = Vec::new();
            while let Some(row) = rows.next()? {
                link.watch.renew();
                text.clear();
                for (i, known) in known.iter().enumerate() {
                    let cell = row.get_ref(i)?;
                    let number = value::some_integer(cell);
                    let name = number.and_then(|number| match known {
                        Refers::Dataset => names.datasets.get(&number).map(String::as_bytes),
                        Refers::Asset => names.assets.get(&number).map(String::as_bytes),
                        Refers::Event => {
                            let gone = of_audit.then_some(GONE.as_bytes());
                            names.events.get(&number).map(Vec::as_slice).or(gone)
                        }
                        Refers::None => None,
                    });
                    match name {
                        Some(name) => write(&mut text, Cell::Blob(name)),
                        None => write(&mut text, value::cell(cell)),
                    }
                }
                each(&text);
            }
            Ok(())
        })
    }
}

/// The columns of a trace as they are called in its rows.
fn of_trace(columns: &[String]) -> Vec<String> {
    let stored = |column: &&String| !column.eq_ignore_ascii_case("dataset_id");
    columns.iter().filter(stored).map(|column| super::columns::known(column).to_string()).collect()
}

fn add(sum: &mut Sum, bytes: &[u8]) {
    let digest = blake3::hash(bytes);
    for (word, more) in sum.iter_mut().zip(digest.as_bytes().chunks_exact(8)) {
        *word = word.wrapping_add(u64::from_le_bytes(more.try_into().expect("eight bytes")));
    }
}
