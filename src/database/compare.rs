//! What changed between two databases of one project.
//!
//! The numbers of datasets and events change at every save, so nothing is matched by them: samples are matched by
//! experiment and name, twins by their order, events by what they say. Only columns that both databases have are
//! compared; that a newer layout has more of them is no change.
//!
//! Memory: what is said of samples, and a few words for each event of one sample at a time. Traces stream.

pub mod definitions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use self::definitions::{Definition, changed_definitions};
use super::digest::{Pieces, lasting_name};
use super::salvage::is_set_apart;
use super::{Database, Sample};
use crate::error::Result;
use crate::finding::Findings;
use crate::tree::{Cell, Place, Table};

/// Samples with more events have them counted, and not matched.
const MATCHED: u64 = 100_000;

/// Rows of a stretch.
const STRETCH: u64 = 1 << 16;

/// A number before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// In the first database.
    pub before: u64,
    /// In the second one.
    pub after: u64,
}

/// What changed between two databases.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Keys of `meta` that were added, removed or changed.
    pub meta: Vec<String>,
    /// Samples that only the second one has.
    pub added: Vec<SampleTold>,
    /// Samples that only the first one has.
    pub removed: Vec<SampleTold>,
    /// Samples that both have, and that differ.
    pub edited: Vec<SampleChange>,
    /// Tables whose rows differ, where nothing above says so already.
    pub tables: BTreeMap<String, Counts>,
    /// What the two claim as the version of their layout, where that is not the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<Versions>,
    /// Tables, views, indices and triggers that are defined otherwise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub definitions: BTreeMap<String, Definition>,
}

/// The version of a layout before and after, as the files claim it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// In the first database.
    pub before: i64,
    /// In the second one.
    pub after: i64,
}

impl Versions {
    /// Those of two databases, if they differ.
    pub fn of(before: &Database, after: &Database) -> Option<Versions> {
        let versions = Versions { before: before.user_version(), after: after.user_version() };
        (versions.before != versions.after).then_some(versions)
    }
}

/// A sample that only one database has, and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SampleTold {
    /// The sample.
    #[serde(flatten)]
    pub sample: SampleName,
    /// Rows of its trace.
    pub trace_rows: u64,
    /// Events that are not deleted.
    pub events: u64,
}

/// What a sample is known by from save to save.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SampleName {
    /// Its experiment.
    pub experiment: String,
    /// Its name.
    pub name: String,
    /// Which of those that are called so; the first is 1.
    pub twin: u32,
}

/// What changed in a sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SampleChange {
    /// The sample.
    pub sample: SampleName,
    /// What differs of what is said about it: columns of `dataset`, keys of `extra_json`, `asset ROLE`,
    /// `result KIND`, `thumbnail`.
    pub fields: Vec<String>,
    /// Rows of its trace.
    pub trace_rows: Counts,
    /// Whether any value of its trace differs.
    pub trace_differs: bool,
    /// Events that are not deleted.
    pub events: EventChange,
}

/// What changed in the events of a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EventChange {
    /// Only in the second database.
    pub added: u64,
    /// Only in the first one.
    pub removed: u64,
    /// At the same time in both, and different.
    pub edited: u64,
}

/// The tables whose rows differ, whatever numbers a save has given to datasets, events and assets.
pub fn changed_tables(before: &Arc<Database>, after: &Arc<Database>) -> Result<BTreeMap<String, Counts>> {
    changed(before, after, |_| true)
}

/// The same of the tables for which `is_asked` holds. One that is not there has no rows.
fn changed(
    before: &Arc<Database>,
    after: &Arc<Database>,
    is_asked: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Counts>> {
    let (first, second) = (before.row_counts()?, after.row_counts()?);
    let mut changed = BTreeMap::new();
    for table in first.keys().chain(second.keys()).filter(|table| is_asked(table)) {
        let (one, other) = (first.get(table), second.get(table));
        let counts = Counts { before: *one.unwrap_or(&0), after: *other.unwrap_or(&0) };
        let in_both = one.is_some() && other.is_some();
        if !changed.contains_key(table)
            && (counts.before != counts.after || in_both && rows_differ(before, after, table)?)
        {
            changed.insert(table.clone(), counts);
        }
    }
    Ok(changed)
}

/// Whether tables with as many rows differ. A column that only one of them has is NULL in the other.
fn rows_differ(before: &Arc<Database>, after: &Arc<Database>, table: &str) -> Result<bool> {
    match table {
        "meta" => Ok(before.meta()? != after.meta()?),
        "dataset" => samples_differ(before, after),
        _ => {
            let columns = of_both(&before.telling_columns(table)?, &after.telling_columns(table)?);
            Ok(before.sum_of(table, &columns)? != after.sum_of(table, &columns)?)
        }
    }
}

fn samples_differ(before: &Database, after: &Database) -> Result<bool> {
    let (first, second) = (named(before)?, named(after)?);
    let same_names = first.keys().eq(second.keys());
    Ok(!same_names || first.iter().any(|(name, sample)| !fields(sample, &second[name]).is_empty()))
}

/// All that changed, down to the bytes of embedded files, rows of datasets that do not exist, and tables that nothing
/// is known of.
pub fn compare(before: &Arc<Database>, after: &Arc<Database>) -> Result<Difference> {
    let mut difference = compare_samples(before, after, &all_of(before)?, &all_of(after)?)?;
    difference.tables = changed_tables(before, after)?;
    difference.schema_version = Versions::of(before, after);
    difference.definitions = changed_definitions(before, after)?;
    let told: Vec<&str> = TOLD.iter().filter(|(_, is)| is(&difference)).map(|(table, _)| *table).collect();
    difference.tables.retain(|table, _| !told.contains(&table.as_str()));
    Ok(difference)
}

/// That a difference says already that a table has changed.
type IsTold = fn(&Difference) -> bool;

/// Of the tables that samples are made of, when a difference of samples tells of them.
const TOLD: [(&str, IsTold); 6] = [
    ("meta", |d| !d.meta.is_empty()),
    ("dataset", |d| {
        !d.added.is_empty()
            || !d.removed.is_empty()
            || d.edited.iter().any(|change| !change.fields.is_empty())
    }),
    ("trace", |d| {
        let alone = d.added.iter().chain(&d.removed).any(|sample| sample.trace_rows > 0);
        alone || d.edited.iter().any(|change| change.trace_differs)
    }),
    ("event", |d| {
        let alone = d.added.iter().chain(&d.removed).any(|sample| sample.events > 0);
        alone || d.edited.iter().any(|change| change.events != EventChange::default())
    }),
    ("result", |d| has_field(d, "result ")),
    ("ref", |d| has_field(d, "asset ")),
];

fn has_field(difference: &Difference, begin: &str) -> bool {
    difference.edited.iter().flat_map(|change| &change.fields).any(|field| field.starts_with(begin))
}

/// What changed of what people have entered or measured: of samples first, and of all that is in no sample. Where no
/// sample differs, every row and every byte of an embedded file is compared, as [`compare`] does.
pub fn compare_work(before: &Arc<Database>, after: &Arc<Database>) -> Result<Difference> {
    let mut difference = compare_samples(before, after, &all_of(before)?, &all_of(after)?)?;
    let Difference { added, removed, edited, .. } = &difference;
    let no_sample_differs = added.is_empty() && removed.is_empty() && edited.is_empty();
    let strays = [before.strays()?, after.strays()?];
    let is_in_both = |table: &str| before.has_table(table) && after.has_table(table);
    let is_asked = |table: &str| match table {
        _ if is_set_apart(table) => false,
        _ if !OF_SAMPLES.contains(&table) => true,
        // Its keys are told one by one.
        "meta" => false,
        _ if !no_sample_differs || !is_in_both(table) => false,
        // Of traces only these rows are not compared yet.
        "trace" => strays.iter().any(|strays| strays.contains_key(table)),
        // A layout without references says the same in other rows.
        "asset" | "blob_chunk" => before.has_table("ref") == after.has_table("ref"),
        _ => true,
    };
    difference.tables = changed(before, after, is_asked)?;
    if !no_sample_differs {
        for table in beside_samples(before, after)? {
            let (before, after) =
                (before.row_count(table)?.unwrap_or(0), after.row_count(table)?.unwrap_or(0));
            let counts = Counts { before, after };
            difference.tables.insert(table.to_string(), counts);
        }
    }
    Ok(difference)
}

/// Where samples differ, so do the tables that they are made of: those in which something else differs too.
fn beside_samples(before: &Database, after: &Database) -> Result<Vec<&'static str>> {
    let strays = [before.strays()?, after.strays()?];
    let of = |table: &&&'static str| strays[0].get(**table) != strays[1].get(**table);
    let mut tables: Vec<&'static str> = OF_SAMPLES.iter().filter(of).copied().collect();
    let (first, second) = (before.pieces_of_all()?, after.pieces_of_all()?);
    if first.iter().any(|(name, pieces)| second.get(name).is_some_and(|others| others != pieces)) {
        tables.push("blob_chunk");
    }
    let other = |one: &Database, there: &Pieces| -> Result<bool> {
        let unreferenced = one.unreferenced_assets()?;
        Ok(unreferenced.iter().any(|info| !there.contains_key(&lasting_name(info))))
    };
    if other(before, &second)? || other(after, &first)? {
        tables.push("asset");
    }
    Ok(tables)
}

/// What samples are made of, of which a difference of samples tells.
pub(super) const OF_SAMPLES: [&str; 9] =
    ["meta", "dataset", "trace", "event", "result", "ref", "asset", "blob_chunk", "thumbnail"];

fn compare_samples(
    before: &Arc<Database>,
    after: &Arc<Database>,
    first: &BTreeMap<SampleName, Sample>,
    second: &BTreeMap<SampleName, Sample>,
) -> Result<Difference> {
    let meta = changed_keys(&before.meta()?, &after.meta()?);
    let mut difference = Difference { meta, ..Default::default() };
    for (name, sample) in first.iter().filter(|(name, _)| !second.contains_key(name)) {
        difference.removed.push(told_of(before, name, sample.id)?);
    }
    for (name, sample) in second.iter().filter(|(name, _)| !first.contains_key(name)) {
        difference.added.push(told_of(after, name, sample.id)?);
    }
    for (name, one) in first {
        let Some(other) = second.get(name) else { continue };
        let change = sample_change(before, after, name, one, other)?;
        let same = SampleChange { sample: name.clone(), trace_rows: change.trace_rows, ..Default::default() };
        if change != same {
            difference.edited.push(change);
        }
    }
    Ok(difference)
}

fn told_of(database: &Arc<Database>, name: &SampleName, id: i64) -> Result<SampleTold> {
    let (trace_rows, events) = (rows(&database.trace(id)?)?, rows(&database.events(id)?)?);
    Ok(SampleTold { sample: name.clone(), trace_rows, events })
}

/// Samples by the names that last, and after them what belongs to datasets that do not exist.
pub(super) fn all_of(database: &Database) -> Result<BTreeMap<SampleName, Sample>> {
    let mut all = named(database)?;
    for id in database.orphans()?.keys().copied() {
        let (experiment, name) = ("(no dataset)".to_string(), format!("dataset {id}"));
        all.insert(SampleName { experiment, name, twin: 1 }, Sample { id, ..Sample::default() });
    }
    Ok(all)
}

/// Samples by the names that last.
pub(super) fn named(database: &Database) -> Result<BTreeMap<SampleName, Sample>> {
    let mut twins: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut named = BTreeMap::new();
    for sample in database.samples(&Findings::default())? {
        let twin = twins.entry((sample.experiment.clone(), sample.name.clone())).or_default();
        *twin += 1;
        let name =
            SampleName { experiment: sample.experiment.clone(), name: sample.name.clone(), twin: *twin };
        named.insert(name, sample);
    }
    Ok(named)
}

/// The keys whose values differ, or that one has and the other has not.
fn changed_keys<V: PartialEq>(first: &BTreeMap<String, V>, second: &BTreeMap<String, V>) -> Vec<String> {
    let keys: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    keys.into_iter().filter(|key| first.get(*key) != second.get(*key)).cloned().collect()
}

/// The rows of a table, where there is one.
pub(super) fn rows(table: &Option<Arc<dyn Table>>) -> Result<u64> {
    table.as_ref().map_or(Ok(0), |table| table.rows())
}

fn sample_change(
    before: &Arc<Database>,
    after: &Arc<Database>,
    name: &SampleName,
    one: &Sample,
    other: &Sample,
) -> Result<SampleChange> {
    let mut fields = fields(one, other);
    fields.extend(changed_keys(&parts(before, one.id)?, &parts(after, other.id)?));
    let traces = (before.trace_as_stored(one.id)?, after.trace_as_stored(other.id)?);
    let trace_rows = Counts { before: rows(&traces.0)?, after: rows(&traces.1)? };
    let trace_differs = trace_rows.before != trace_rows.after
        || match &traces {
            (Some(first), Some(second)) => {
                let columns = columns_of(&**first, &**second);
                digest_of_rows(&**first, &columns)? != digest_of_rows(&**second, &columns)?
            }
            _ => false,
        };
    let events = match (before.events_as_stored(one.id)?, after.events_as_stored(other.id)?) {
        (Some(first), Some(second)) => event_change(&*first, &*second)?,
        (first, second) => EventChange { removed: rows(&first)?, added: rows(&second)?, edited: 0 },
    };
    Ok(SampleChange { sample: name.clone(), fields, trace_rows, trace_differs, events })
}

/// What differs of what is said about a sample itself.
pub(super) fn fields(one: &Sample, other: &Sample) -> Vec<String> {
    let mut fields = Vec::new();
    let mut differs = |name: &str, differs: bool| {
        if differs {
            fields.push(name.to_string());
        }
    };
    differs("created_utc", one.created_utc != other.created_utc);
    differs("notes", one.notes != other.notes);
    differs("fps", one.fps != other.fps);
    differs("pixel_size_um", one.pixel_size_um != other.pixel_size_um);
    differs("t0_seconds", one.t0_seconds != other.t0_seconds);
    match (&one.extra, &other.extra) {
        (Some(Value::Object(first)), Some(Value::Object(second))) => {
            let keys: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
            for key in keys {
                differs(&format!("extra_json.{key}"), first.get(key) != second.get(key));
            }
        }
        _ => differs("extra_json", one.extra_text != other.extra_text),
    }
    let names = |sample: &Sample| sample.other.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let value = |sample: &Sample, name: &String| {
        sample.other.iter().find(|(there, _)| there == name).map_or(Value::Null, |(_, value)| value.clone())
    };
    for name in of_both(&names(one), &names(other)) {
        differs(&name, value(one, &name) != value(other, &name));
    }
    fields
}

/// What belongs to a sample, by a name that lasts, each with a digest.
pub(super) fn parts(database: &Arc<Database>, id: i64) -> Result<BTreeMap<String, String>> {
    let mut parts = BTreeMap::new();
    let mut roles: BTreeMap<String, u32> = BTreeMap::new();
    for reference in database.references(id)? {
        let twin = roles.entry(reference.role.clone()).or_default();
        *twin += 1;
        let suffix = if *twin > 1 { format!(" ({twin})") } else { String::new() };
        let info = database.asset_info(reference.asset)?;
        let told = info.map(|info| (info.sha256.or(info.external), info.original_name, info.size_bytes));
        parts.insert(format!("asset {}{suffix}", reference.role), format!("{told:?} {:?}", reference.note));
    }
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for result in database.results(id)? {
        let twin = kinds.entry(result.kind.clone()).or_default();
        *twin += 1;
        let payload = database.payload(result.id)?.unwrap_or_default();
        let suffix = if *twin > 1 { format!(" ({twin})") } else { String::new() };
        let told = format!("{:?} {}", result.version, blake3::hash(&payload));
        parts.insert(format!("result {}{suffix}", result.kind), told);
    }
    if let Some(picture) = database.thumbnail(id)? {
        parts.insert("thumbnail".into(), blake3::hash(&picture).to_string());
    }
    Ok(parts)
}

/// A newer layout gives the time of a row in microseconds too.
const TIME_AGAIN: &str = "t_us";

/// The columns that one or the other has, but for what a newer layout says again.
pub(super) fn of_both(first: &[String], second: &[String]) -> Vec<String> {
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|name| !other.contains(name) && *name != TIME_AGAIN).cloned().collect()
    };
    let common = first.iter().filter(|name| second.contains(name)).cloned();
    common.chain(only(first, second)).chain(only(second, first)).collect()
}

/// The same of the rows of tables, their numbers not among them.
pub(super) fn columns_of(first: &dyn Table, second: &dyn Table) -> Vec<String> {
    let names = |table: &dyn Table| -> Vec<String> {
        table.columns().iter().filter(|c| c.name != "id").map(|c| c.name.clone()).collect()
    };
    of_both(&names(first), &names(second))
}

/// Where columns stand, those that are there.
pub(super) fn places(table: &dyn Table, names: &[String]) -> Vec<Option<usize>> {
    names.iter().map(|name| table.columns().iter().position(|c| c.name == *name)).collect()
}

/// Writes the cells of a row at these places, NULL for what is not there.
pub(super) fn write_row(out: &mut Vec<u8>, cells: &[Cell<'_>], places: &[Option<usize>]) {
    out.clear();
    places.iter().for_each(|place| write(out, place.map_or(Cell::Null, |place| cells[place])));
}

/// Calls `each` with every row.
pub(super) fn all_rows(table: &dyn Table, mut each: impl FnMut(&[Cell<'_>])) -> Result<()> {
    let mut from = Place::default();
    loop {
        let next = table.read(&from, STRETCH, &mut |cells| {
            each(cells);
            Ok(())
        })?;
        match next {
            Some(place) => from = place,
            None => return Ok(()),
        }
    }
}

/// Writes a cell so that different ones are written differently.
pub(super) fn write(out: &mut Vec<u8>, cell: Cell<'_>) {
    let (tag, number, bytes): (u8, [u8; 8], &[u8]) = match cell {
        Cell::Null => (0, [0; 8], &[]),
        Cell::Integer(i) => (1, i.to_le_bytes(), &[]),
        Cell::Real(r) => (2, r.to_le_bytes(), &[]),
        Cell::Text(t) => (3, (t.len() as u64).to_le_bytes(), t),
        Cell::Blob(b) => (4, (b.len() as u64).to_le_bytes(), b),
    };
    out.push(tag);
    out.extend_from_slice(&number);
    out.extend_from_slice(bytes);
}

pub(super) fn digest_of_rows(table: &dyn Table, columns: &[String]) -> Result<blake3::Hash> {
    let places = places(table, columns);
    let (mut hasher, mut row) = (blake3::Hasher::new(), Vec::new());
    all_rows(table, |cells| {
        write_row(&mut row, cells, &places);
        hasher.update(&row);
    })?;
    Ok(hasher.finalize())
}

type Digest = [u8; 32];

/// An event: its time, and all that it says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    time: Digest,
    all: Digest,
}

fn told(table: &dyn Table, columns: &[String]) -> Result<Vec<Told>> {
    let places_of_all = places(table, columns);
    let time_at = places(table, &["t_seconds".to_string()]);
    let mut events = Vec::new();
    let mut text = Vec::new();
    all_rows(table, |cells| {
        let mut hash = |places: &[Option<usize>]| {
            write_row(&mut text, cells, places);
            *blake3::hash(&text).as_bytes()
        };
        events.push(Told { time: hash(&time_at), all: hash(&places_of_all) });
    })?;
    events.sort();
    Ok(events)
}

fn event_change(first: &dyn Table, second: &dyn Table) -> Result<EventChange> {
    let (before, after) = (first.rows()?, second.rows()?);
    if before.max(after) > MATCHED {
        let added = after.saturating_sub(before);
        return Ok(EventChange { added, removed: before.saturating_sub(after), edited: 0 });
    }
    let columns = columns_of(first, second);
    let (mut removed, mut added) = (told(first, &columns)?, told(second, &columns)?);
    take_pairs(&mut removed, &mut added, |event| (event.time, event.all));
    let edited = take_pairs(&mut removed, &mut added, |event| event.time);
    Ok(EventChange { added: added.len() as u64, removed: removed.len() as u64, edited })
}

/// Takes out what both have under the same key, one for one, and says how many pairs there were. Both are in order.
fn take_pairs<K: Ord>(first: &mut Vec<Told>, second: &mut Vec<Told>, key: impl Fn(&Told) -> K) -> u64 {
    let (one, other) = (std::mem::take(first), std::mem::take(second));
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    let mut pairs = 0;
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        match key(a).cmp(&key(b)) {
            std::cmp::Ordering::Less => first.extend(one.next()),
            std::cmp::Ordering::Greater => second.extend(other.next()),
            std::cmp::Ordering::Equal => {
                one.next();
                other.next();
                pairs += 1;
            }
        }
    }
    first.extend(one);
    second.extend(other);
    pairs
}

#[cfg(test)]
mod tests;
