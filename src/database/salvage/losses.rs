//! What is missing, by name and time.
//!
//! An index has an entry for every row of its table. Where an index outlived rows, it says exactly which they were; where
//! none did, gaps in the sampling of a trace tell about how many.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params_from_iter};

use super::fill::Bound;
use super::holes::{Holes, Place};
use super::layout::{Identity, Layout};
use super::record::{Encoding, Key, Part};
use super::report::{Certainty, Gap, SampleReport, TableReport};
use super::{Salvage, doubts};
use crate::database::json::lenient_json;
use crate::database::layout::quoted;
use crate::error::{Error, Result};

/// How many lost rows are told apart; more are only counted.
const MOST: usize = 1 << 20;

pub fn sql(error: rusqlite::Error) -> Error {
    Error::Refused(format!("cannot read the recovered database: {error}"))
}

/// A lost row: its dataset and time, as far as the index has them.
type Lost = (Option<i64>, Option<f64>);

/// What an index knows to be missing.
struct Missing {
    count: u64,
    rows: Vec<Lost>,
    certainty: Certainty,
    /// Whether nothing of the index is missing.
    is_whole: bool,
}

/// Makes the numbers of lost rows exact where an index can, and tells the samples of which rows are missing.
pub fn tell(
    salvage: &mut Salvage<'_>,
    db: &Connection,
    tables: &mut [TableReport],
) -> Result<Vec<SampleReport>> {
    let (mut traces, mut counted) = (None, vec![false; tables.len()]);
    for (at, report) in tables.iter_mut().enumerate() {
        let mut is_whole = report.lost + report.refused == 0 && report.certainty == Certainty::Exact;
        let missing = missing(salvage, db, at, report)?;
        if let Some(missing) = &missing {
            let exact = missing.certainty == Certainty::Exact;
            counted[at] = missing.is_whole;
            // What is more than the index has is what the pages say.
            if exact || report.lost <= missing.count {
                report.certainty = missing.certainty;
                report.lost = missing.count;
            } else if report.certainty == Certainty::Exact {
                report.certainty = Certainty::AtLeast;
            }
            is_whole &= !exact;
        }
        doubts::tell(salvage, db, at, is_whole, report)?;
        if is_whole && report.contradicted == 0 {
            tell_of_indices(salvage, &report.name);
        }
        if report.name == "trace" {
            let pages = &salvage.tables[at];
            let damaged = pages.broken > 0 || report.lost > 0 || !pages.found.is_empty();
            traces = Some((at, missing, damaged, report.certainty));
        }
    }
    let Some((at, missing, damaged, certainty)) = traces else {
        open_estimates(salvage, tables, &counted)?;
        return Ok(Vec::new());
    };
    let layout = &salvage.catalog.plan.tables[at];
    if !layout.has("dataset_id") || !layout.has("t_seconds") {
        // A stranger's table: its rows are counted, and nobody can say whose they are.
        open_estimates(salvage, tables, &counted)?;
        return Ok(Vec::new());
    }
    let holes = match counted[at] || certainty == Certainty::Exact {
        true => None,
        false => Holes::of(salvage, db, at)?,
    };
    let mut most = u64::MAX;
    let mut samples = match (&missing, &holes) {
        (_, Some(holes)) if !holes.is_empty() => {
            most = room(salvage, at)?.max(tables[at].lost);
            let known: Vec<Place> =
                missing.iter().flat_map(|m| &m.rows).filter_map(|row| row.0.zip(row.1)).collect();
            holes.tell(db, &samples_of(salvage, db)?, &known, most)?
        }
        (Some(missing), _) => of_index(db, missing)?,
        (None, _) if damaged => {
            most = room(salvage, at)?.max(tables[at].lost);
            by_sampling(db, most)?
        }
        (None, _) => Vec::new(),
    };
    if tables[at].certainty != Certainty::Exact {
        let pages = &salvage.tables[at];
        let may_miss = |dataset| match &holes {
            Some(holes) => holes.touch(dataset),
            None => salvage.catalog.plan.tables[at].root == 0 || pages.broken > 0,
        };
        add_unknown(&samples_of(salvage, db)?, &mut samples, may_miss);
    }
    name(db, &mut samples, certainty)?;
    // Where rows of one sample alone can be missing, all that are missing are its own.
    if let [sample] = &mut samples[..]
        && holes.is_some_and(|holes| !holes.is_empty())
        && sample.lost < tables[at].lost
        && sample.gaps.len() == 1
    {
        (sample.lost, sample.certainty) = (tables[at].lost, tables[at].certainty);
        sample.gaps[0].rows = sample.lost;
    }
    let placed = samples.iter().fold(0, |sum: u64, s| sum.saturating_add(s.lost));
    let about = samples.iter().any(|s| s.certainty.is_estimate());
    let is_open =
        samples.iter().any(|s| s.certainty == Certainty::AboutOrMore || s.lost == 0 && !s.gaps.is_empty());
    let trace = &mut tables[at];
    if about && placed.min(most) > trace.lost {
        trace.lost = placed.min(most);
        trace.certainty = if is_open { Certainty::AboutOrMore } else { Certainty::About };
    }
    open_estimates(salvage, tables, &counted)?;
    let trace = &tables[at];
    if !counted[at] && placed > 0 && trace.lost > placed {
        let rows = trace.certainty.number(trace.lost - placed);
        salvage
            .notes
            .push(format!("of {rows} of the lost rows of trace it cannot be told of which sample they are"));
    }
    if tables[at].certainty == Certainty::AboutOrMore {
        let estimates = samples.iter_mut().filter(|s| s.certainty == Certainty::About);
        estimates.for_each(|s| s.certainty = Certainty::AboutOrMore);
    }
    Ok(samples)
}

/// An estimate knows what pages that are left say of others. Where those that are gone may have had far more rows, it is
/// one of some of them. Rows that an index which is whole has are `counted`.
fn open_estimates(salvage: &Salvage<'_>, tables: &mut [TableReport], counted: &[bool]) -> Result<()> {
    for (at, report) in tables.iter_mut().enumerate().filter(|(at, _)| !counted[*at]) {
        let is_estimate = report.certainty == Certainty::About && report.lost > 0;
        if is_estimate && room(salvage, at)? / 2 > report.lost {
            report.certainty = Certainty::AboutOrMore;
        }
    }
    Ok(())
}

/// The samples that there are, by whatever is left that names them.
fn samples_of(salvage: &Salvage<'_>, db: &Connection) -> Result<BTreeSet<i64>> {
    let plan = &salvage.catalog.plan;
    let mut asked: Vec<String> = Vec::new();
    if plan.table("dataset").is_some_and(|table| table.has("id") && table.has("name")) {
        // This one has attachments of the project, and is no sample.
        asked.push("SELECT id FROM dataset WHERE name IS NOT '__project_attachments__'".into());
    }
    for table in ["trace", "event", "result", "ref"] {
        if plan.table(table).is_some_and(|table| table.has("dataset_id")) {
            asked.push(format!("SELECT dataset_id FROM {}", quoted(table)));
        }
    }
    let mut query = db.prepare(&format!("{} ORDER BY 1", asked.join(" UNION "))).map_err(sql)?;
    let numbers = query.query_map([], |r| r.get::<_, i64>(0)).map_err(sql)?.flatten();
    Ok(numbers.collect())
}

/// Adds the samples of which rows may lie on pages that are gone.
fn add_unknown(all: &BTreeSet<i64>, samples: &mut Vec<SampleReport>, may_miss: impl Fn(i64) -> bool) {
    for &dataset in all {
        let is_told = samples.iter().any(|sample| sample.dataset == dataset);
        if !is_told && may_miss(dataset) {
            let (lost, certainty) = (0, Certainty::AtLeast);
            samples.push(SampleReport {
                dataset,
                name: None,
                recovered: 0,
                lost,
                certainty,
                gaps: Vec::new(),
            });
        }
    }
    samples.sort_by_key(|sample| sample.dataset);
}

/// Says which indices of a table were damaged, of which all rows are there.
fn tell_of_indices(salvage: &mut Salvage<'_>, table: &str) {
    for (index, pages) in salvage.catalog.plan.indices.iter().zip(&salvage.indices) {
        let is_own = index.index.as_ref().is_some_and(|of| of.table == table);
        if is_own && pages.broken + pages.damaged > 0 {
            let what =
                format!("the index {} of {table} was damaged, and is made anew from the rows", index.name);
            salvage.notes.push(what);
        }
    }
}

/// Asks the soundest index of a table which rows it should have; `None` where there is none, or where the table is
/// whole and has them all.
fn missing(
    salvage: &Salvage<'_>,
    db: &Connection,
    at: usize,
    report: &TableReport,
) -> Result<Option<Missing>> {
    let table = &salvage.catalog.plan.tables[at];
    let mut best: Option<(bool, usize, usize)> = None;
    for (i, index) in salvage.catalog.plan.indices.iter().enumerate() {
        let Some(of) = &index.index else { continue };
        let pages = &salvage.indices[i];
        let whole = pages.broken == 0 && pages.damaged == 0;
        let rank = (whole, pages.reached.len(), i);
        if of.complete && of.table == table.name && !pages.reached.is_empty() && best.is_none_or(|b| rank > b)
        {
            best = Some(rank);
        }
    }
    let Some((whole, _, i)) = best else { return Ok(None) };
    let index = &salvage.catalog.plan.indices[i];
    let pages = &salvage.indices[i].reached;
    let is_sound = report.lost == 0 && report.certainty == Certainty::Exact;
    if is_sound && !whole {
        return Ok(None);
    }
    let mut missing = Missing { count: 0, rows: Vec::new(), certainty: Certainty::About, is_whole: whole };
    let mut query = db.prepare(&lookup(table, &[])).map_err(sql)?;
    let mut all = 0;
    entries(salvage, index, pages, &mut |entry| {
        all += 1;
        if !query.exists(params_from_iter(entry.identity)).map_err(sql)? {
            missing.count += 1;
            if missing.rows.len() < MOST {
                missing.rows.push(entry.row);
            }
        }
        Ok(())
    })?;
    if is_sound && missing.count == 0 {
        return Ok(None);
    }
    let hits = all - missing.count;
    if hits.saturating_mul(2) < report.recovered {
        // It is not that of this table, or next to nothing is left of it.
        return Ok(None);
    }
    missing.certainty = match (whole, hits == report.recovered) {
        // With no row that both have, nothing vouches for the index itself.
        (true, true) if hits > 0 => Certainty::Exact,
        (true, false) => Certainty::About,
        _ if salvage.indices[i].damaged > 0 => Certainty::About,
        _ => Certainty::AtLeast,
    };
    Ok(Some(missing))
}

/// The question whether a row is there, that has certain values in these columns.
pub fn lookup(table: &Layout, columns: &[&str]) -> String {
    let mut condition = match &table.identity {
        Identity::Fields(n) => {
            let parts: Vec<String> =
                table.fields[..*n].iter().map(|f| format!("{} IS ?", quoted(&f.name))).collect();
            parts.join(" AND ")
        }
        Identity::Alias(at) => format!("{} = ?", quoted(&table.fields[*at].name)),
        Identity::Number(name) => format!("{name} = ?"),
    };
    columns.iter().for_each(|name| condition += &format!(" AND {} IS ?", quoted(name)));
    format!("SELECT 1 FROM main.{} NOT INDEXED WHERE {condition}", quoted(&table.name))
}

/// An entry of an index.
pub struct Entry<'a> {
    /// Its values, as far as they are kept.
    pub values: &'a Key,
    /// What identifies its row.
    pub identity: Vec<Bound<'a>>,
    /// Whether it lies on a page that is whole.
    pub intact: bool,
    row: Lost,
}

/// Gives the entries of an index whose rows can be told, and returns how many others it has.
pub fn entries(
    salvage: &Salvage<'_>,
    index: &Layout,
    pages: &[u32],
    each: &mut dyn FnMut(Entry<'_>) -> Result<()>,
) -> Result<u64> {
    let reader = &salvage.survey.reader;
    let Some(of) = &index.index else { return Ok(0) };
    let mut others = 0;
    let place = |name: &str| index.fields.iter().position(|f| f.name == name);
    let (dataset, seconds, micros) = (place("dataset_id"), place("t_seconds"), place("t_us"));
    for number in pages {
        let Some(holding) = reader.assess(*number, index)? else { continue };
        for spot in &holding.spots {
            let Some(identity) = bound(&spot.key, &of.identity, reader.geometry.encoding) else {
                others += 1;
                continue;
            };
            let part = |at: &usize| spot.key.get(*at).filter(|part| !part.is_cut());
            let whole = dataset.as_ref().and_then(part).and_then(|p| match p {
                Part::Integer(v) => Some(*v),
                _ => None,
            });
            let time = seconds.as_ref().and_then(part).and_then(number_of);
            let time = time.or_else(|| Some(micros.as_ref().and_then(part).and_then(number_of)? / 1e6));
            each(Entry { values: &spot.key, identity, intact: holding.intact, row: (whole, time) })?;
        }
    }
    Ok(others)
}

/// The values at these places, if all of them are kept whole.
pub fn bound<'a>(values: &'a Key, places: &[usize], encoding: Encoding) -> Option<Vec<Bound<'a>>> {
    let whole = |at: &usize| values.get(*at).filter(|part| !part.is_cut());
    places.iter().map(|at| whole(at).map(|part| Bound(part.value(), encoding))).collect()
}

pub fn number_of(part: &Part) -> Option<f64> {
    match part {
        Part::Integer(v) => Some(*v as f64),
        Part::Real(v) => Some(*v),
        _ => None,
    }
}

/// The samples of the lost rows of an index.
fn of_index(db: &Connection, missing: &Missing) -> Result<Vec<SampleReport>> {
    let mut by_dataset: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (dataset, time) in &missing.rows {
        if let (Some(dataset), Some(time)) = (dataset, time) {
            by_dataset.entry(*dataset).or_default().push(*time);
        }
    }
    let all_told = missing.rows.len() as u64 == missing.count;
    let certainty = if all_told { missing.certainty } else { Certainty::AtLeast };
    let mut samples = Vec::new();
    for (dataset, mut times) in by_dataset {
        times.sort_by(f64::total_cmp);
        let gaps = by_index(db, dataset, &times)?;
        let lost = times.len() as u64;
        samples.push(SampleReport { dataset, name: None, recovered: 0, lost, certainty, gaps });
    }
    Ok(samples)
}

/// Lost rows of a sample, in order: those that no recovered one lies between make a gap.
pub fn by_index(db: &Connection, dataset: i64, times: &[f64]) -> Result<Vec<Gap>> {
    let mut between = db
        .prepare("SELECT 1 FROM trace WHERE dataset_id = ?1 AND t_seconds > ?2 AND t_seconds < ?3 LIMIT 1")
        .map_err(sql)?;
    let mut gaps: Vec<Gap> = Vec::new();
    for time in times {
        match gaps.last_mut() {
            Some(gap) if !between.exists((dataset, gap.to, *time)).map_err(sql)? => {
                gap.to = Some(*time);
                gap.rows += 1;
            }
            _ => gaps.push(Gap { from: Some(*time), to: Some(*time), rows: 1 }),
        }
    }
    Ok(gaps)
}

/// A time in which at least this many rows should have been taken, and none was, is a gap.
const A_GAP: f64 = 16.0;

/// How many rows of a table the pages could have that are gone: as many each as its pages have that are left.
fn room(salvage: &Salvage<'_>, at: usize) -> Result<u64> {
    let (survey, pages) = (&salvage.survey, &salvage.tables[at]);
    let mut most = 0;
    for page in pages.reached.iter().chain(&pages.found) {
        let holding = survey.reader.assess(*page, &salvage.catalog.plan.tables[at])?;
        most = most.max(holding.map_or(0, |h| h.told as u64));
    }
    let pages = survey.gone() + pages.damaged as u64;
    // Without a row nobody knows.
    Ok(pages.saturating_mul(if most > 0 { most } else { u64::MAX }))
}

/// Without an index: where a trace that is sampled evenly has holes. A hole may be a pause that somebody made, so that no
/// more rows are told to be lost than there is `room` for.
fn by_sampling(db: &Connection, room: u64) -> Result<Vec<SampleReport>> {
    let mut query = db.prepare("SELECT DISTINCT dataset_id FROM trace").map_err(sql)?;
    let datasets: Vec<i64> = query.query_map([], |r| r.get(0)).map_err(sql)?.flatten().collect();
    let mut rows =
        db.prepare("SELECT t_seconds FROM trace WHERE dataset_id = ?1 ORDER BY t_seconds").map_err(sql)?;
    let mut samples = Vec::new();
    for dataset in datasets {
        let times = rows.query_map([dataset], |r| r.get(0)).map_err(sql)?.flatten();
        let times: Vec<f64> = times.filter(|time: &f64| time.is_finite()).collect();
        let mut steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_by(f64::total_cmp);
        let Some(step) = steps.get(steps.len() / 2).copied().filter(|s| *s > 0.0) else { continue };
        let holes = times.windows(2).filter(|pair| (pair[1] - pair[0]) / step > A_GAP);
        let gap = |pair: &[f64]| Gap {
            from: Some(pair[0]),
            to: Some(pair[1]),
            rows: (((pair[1] - pair[0]) / step).round() as u64).saturating_sub(1).min(room),
        };
        let gaps: Vec<Gap> = holes.map(gap).filter(|gap| gap.rows > 0).collect();
        let lost = gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(gap.rows)).min(room);
        if lost > 0 {
            let certainty = Certainty::About;
            samples.push(SampleReport { dataset, name: None, recovered: 0, lost, certainty, gaps });
        }
    }
    Ok(samples)
}

/// Names the samples, and counts what is left of them; adds those whose names are lost. `certainty` is that of the
/// whole trace.
fn name(db: &Connection, samples: &mut Vec<SampleReport>, certainty: Certainty) -> Result<()> {
    let certainty = if certainty == Certainty::Exact { certainty } else { Certainty::AtLeast };
    let nameless = "SELECT DISTINCT dataset_id FROM trace WHERE dataset_id NOT IN (SELECT id FROM dataset)";
    if let Ok(mut query) = db.prepare(nameless) {
        for dataset in query.query_map([], |r| r.get::<_, i64>(0)).map_err(sql)?.flatten() {
            if !samples.iter().any(|s| s.dataset == dataset) {
                samples.push(SampleReport {
                    dataset,
                    name: None,
                    recovered: 0,
                    lost: 0,
                    certainty,
                    gaps: Vec::new(),
                });
            }
        }
    }
    for sample in samples {
        let count = "SELECT count(*) FROM trace WHERE dataset_id = ?1";
        sample.recovered = db.query_row(count, [sample.dataset], |r| r.get::<_, i64>(0)).map_err(sql)? as u64;
        let find = "SELECT name, extra_json FROM dataset WHERE id = ?1";
        let found = db.query_row(find, [sample.dataset], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, Option<String>>(1)?))
        });
        sample.name = found.ok().map(|(name, extra)| {
            let extra = extra.and_then(|text| lenient_json(&text));
            let experiment = extra.as_ref().and_then(|e| e.value.get("experiment")?.as_str());
            format!("{} / {name}", experiment.unwrap_or("Default"))
        });
    }
    Ok(())
}
