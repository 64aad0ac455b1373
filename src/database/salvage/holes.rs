//! Between which keys rows of the traces are missing.
//!
//! A tree has its rows in order. So where it leads to nothing, the keys beside that reference say between which rows the
//! others were; and where cells of a page cannot be read, so do their neighbours. What was found by its shape is not
//! missing, and parts such a stretch in two.
//!
//! A stretch with both ends in one sample is a gap in that sample's recording, of about as many rows as are usual in such a
//! time. One that goes on from sample to sample is open in each of them: how many of its rows are whose nobody knows.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::Connection;

use super::Salvage;
use super::assess::{Holding, Spot};
use super::layout::{Identity, Layout};
use super::losses::{by_index, number_of, sql};
use super::page::Head;
use super::record::{Key, Part};
use super::report::{Certainty, Gap, SampleReport};
use crate::error::Result;

/// The sample and the time of a row.
pub type Place = (i64, f64);

/// So many stretches are told in all; of the samples beyond it is only said that rows are missing. A file may claim any
/// number of each.
const TOLD: usize = 1 << 17;
/// So many times a stretch is held against a sample.
const COMPARED: usize = 1 << 26;

/// How much longer than a usual step one is that misses a row.
const MISSED: f64 = 1.5;

/// A stretch in which rows are missing, or may be.
#[derive(Debug, Clone, PartialEq)]
struct Hole {
    /// The row before it; none where it begins with the table.
    low: Option<Place>,
    /// The row behind it.
    high: Option<Place>,
    /// How many are missing, where it is known.
    rows: Option<u64>,
    /// Whether it is certain that some are.
    sure: bool,
}

/// The stretches of a trace in which rows are missing.
#[derive(Debug, Default)]
pub struct Holes {
    all: Vec<Hole>,
    /// Rows that are lost though the places of all cells are known.
    known: Vec<Place>,
}

/// Whether the keys of a table are those of a trace, in the order of time.
fn is_by_time(layout: &Layout) -> bool {
    let named = |at: usize, name: &str| {
        let is_ascending = layout.sorts.get(at).is_none_or(|sort| !sort.descending);
        is_ascending && layout.fields.get(at).is_some_and(|field| field.name == name)
    };
    let is_key = matches!(layout.identity, Identity::Fields(n) if n >= 2);
    layout.root != 0 && layout.ordered && is_key && named(0, "dataset_id") && named(1, "t_seconds")
}

fn place_of(key: &Key) -> Option<Place> {
    match (key.first(), key.get(1).and_then(number_of)) {
        (Some(Part::Integer(dataset)), Some(time)) => Some((*dataset, time)),
        _ => None,
    }
}

fn is_before(one: Place, other: Place) -> bool {
    one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).is_lt()
}

impl Holes {
    /// Those of the table at a place of the plan; `None` if its tree is not known, or not in the order of time.
    pub fn of(salvage: &Salvage<'_>, db: &Connection, at: usize) -> Result<Option<Holes>> {
        let (layout, pages) = (&salvage.catalog.plan.tables[at], &salvage.tables[at]);
        if !is_by_time(layout) {
            return Ok(None);
        }
        let reader = &salvage.survey.reader;
        let place = |bound: &super::survey::Bound| bound.as_deref().and_then(place_of);
        let gaps = pages.gaps.iter().map(|(low, high)| (place(low), place(high)));
        let open = gaps.map(|(low, high)| Hole { low, high, rows: None, sure: true });
        let mut holes = Holes { all: open.collect(), known: Vec::new() };
        // What was found by its shape may lie in them.
        let mut found = Vec::new();
        for number in &pages.found {
            let Some(holding) = reader.assess(*number, layout)? else { continue };
            let parts = parts(reader, *number, &holding, &holding.spots.iter().collect::<Vec<_>>())?;
            let covers = |spots: &[(&Spot, Option<usize>)]| {
                Some((place_of(&spots.first()?.0.key)?, place_of(&spots.last()?.0.key)?))
            };
            let is_leaf = holding.right == 0;
            let runs = parts.chunk_by(|(_, a), (_, b)| is_leaf && a.map(|a| a + 1) == *b);
            found.extend(runs.filter_map(covers));
        }
        found.sort_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        holes.all = holes.all.iter().flat_map(|hole| hole.without(&found)).collect();
        let torn: HashMap<u32, _> = pages.torn.iter().map(|(n, low, high)| (*n, (low, high))).collect();
        let mut there =
            db.prepare("SELECT 1 FROM trace WHERE dataset_id = ?1 AND t_seconds = ?2").map_err(sql)?;
        for number in &pages.reached {
            let Some(holding) = reader.assess(*number, layout)? else { continue };
            let bounds = torn.get(number);
            let mut spots = Vec::with_capacity(holding.spots.len());
            for spot in &holding.spots {
                // Of a whole page the end alone may be torn off.
                let is_at_end = spot.cell.extent.end + 4 >= reader.geometry.usable;
                let lost = match place_of(&spot.key).filter(|_| bounds.is_some() || is_at_end) {
                    Some(place) => (!there.exists(place).map_err(sql)?).then_some(place),
                    None => None,
                };
                match lost {
                    Some(place) => holes.known.push(place),
                    None => spots.push(spot),
                }
            }
            if let Some((low, high)) = bounds {
                let parts = parts(reader, *number, &holding, &spots)?;
                holes.add_torn(place(low), place(high), &holding, &parts);
            }
        }
        let start = |hole: &Hole| hole.low.unwrap_or((i64::MIN, f64::NEG_INFINITY));
        holes.all.sort_by(|a, b| start(a).0.cmp(&start(b).0).then(start(a).1.total_cmp(&start(b).1)));
        Ok(Some(holes))
    }

    /// The stretches between the rows of a page that is damaged.
    fn add_torn(
        &mut self,
        low: Option<Place>,
        high: Option<Place>,
        holding: &Holding,
        parts: &[(&Spot, Option<usize>)],
    ) {
        if !holding.intact && parts.len() == holding.told {
            return;
        }
        // The number of cells may be what is damaged.
        let is_counted = holding.told == holding.pointed_to;
        let keys = parts.iter().map(|(spot, at)| (place_of(&spot.key), *at));
        let ends = std::iter::once((low, Some(usize::MAX))).chain(keys).chain([(high, Some(holding.told))]);
        let ends: Vec<_> = ends.collect();
        for pair in ends.windows(2) {
            let ((low, before), (high, behind)) = (pair[0], pair[1]);
            let between = before.zip(behind).and_then(|(a, b)| b.checked_sub(a.wrapping_add(1)));
            match between {
                Some(0) if !holding.intact => {}
                Some(n) if !holding.intact => {
                    self.all.push(Hole { low, high, rows: is_counted.then_some(n as u64), sure: true });
                }
                _ => self.all.push(Hole { low, high, rows: None, sure: false }),
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.known.is_empty()
    }

    /// Whether rows of a sample may be missing.
    pub fn touch(&self, dataset: i64) -> bool {
        self.all.iter().any(|hole| hole.sure && hole.touches(dataset))
            || self.known.iter().any(|(of, _)| *of == dataset)
    }

    /// The samples in which rows are missing, or may be. Of `lost` rows the places are known otherwise; each sample may have
    /// lost as many rows as there is `room` for.
    pub fn tell(
        &self,
        db: &Connection,
        datasets: &BTreeSet<i64>,
        lost: &[Place],
        room: u64,
    ) -> Result<Vec<SampleReport>> {
        let mut lost: Vec<Place> = lost.iter().chain(&self.known).copied().collect();
        lost.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        lost.dedup();
        let named = lost.iter().map(|(dataset, _)| *dataset);
        let ends = self.all.iter().flat_map(|hole| hole.low.iter().chain(&hole.high)).map(|(of, _)| *of);
        let all: BTreeSet<i64> = datasets.iter().copied().chain(named).chain(ends).collect();
        let (mut samples, mut told) = (Vec::new(), 0);
        let is_too_much = all.len().saturating_mul(self.all.len()) > COMPARED;
        for dataset in all {
            if is_too_much || told > TOLD {
                samples.push(unknown(dataset));
                continue;
            }
            let own =
                lost.partition_point(|(of, _)| *of < dataset)..lost.partition_point(|(of, _)| *of <= dataset);
            let times: Vec<f64> = lost[own].iter().map(|(_, time)| *time).collect();
            let holes = self.all.iter().filter(|hole| hole.touches(dataset)).collect::<Vec<_>>();
            told += holes.len();
            if !times.is_empty() || !holes.is_empty() {
                samples.extend(sample(db, dataset, &holes, times, room)?);
            }
        }
        Ok(samples)
    }
}

impl Hole {
    fn touches(&self, dataset: i64) -> bool {
        self.low.is_none_or(|(low, _)| low <= dataset) && self.high.is_none_or(|(high, _)| dataset <= high)
    }

    /// What is left of it between stretches that are there, which are in order.
    fn without(&self, found: &[(Place, Place)]) -> Vec<Hole> {
        let (mut left, mut low) = (Vec::new(), self.low);
        let is_within = |(first, last): &&(Place, Place)| {
            self.low.is_none_or(|low| is_before(low, *first))
                && self.high.is_none_or(|high| is_before(*last, high))
        };
        for (first, last) in found.iter().filter(is_within) {
            if low.is_none_or(|low| is_before(low, *first)) {
                left.push(Hole { low, high: Some(*first), ..self.clone() });
            }
            if low.is_none_or(|low| is_before(low, *last)) {
                low = Some(*last);
            }
        }
        // Of a page that was found in it nobody knows whether more than that was there.
        let sure = self.sure && left.is_empty();
        left.push(Hole { low, high: self.high, ..self.clone() });
        left.into_iter().map(|hole| Hole { sure, ..hole }).collect()
    }
}

/// A sample of which nobody tells where rows are missing.
fn unknown(dataset: i64) -> SampleReport {
    let (lost, certainty, gaps) = (0, Certainty::AtLeast, Vec::new());
    SampleReport { dataset, name: None, recovered: 0, lost, certainty, gaps }
}

/// The rows of a page with the numbers of their cells, if its pointers lead to all of them.
fn parts<'s>(
    reader: &super::Reader<'_>,
    number: u32,
    holding: &Holding,
    spots: &[&'s Spot],
) -> Result<Vec<(&'s Spot, Option<usize>)>> {
    let page = reader.pager.page(number)?;
    let head = Head::read(&page, reader.geometry.start(number), reader.geometry.usable);
    let mut places = HashMap::new();
    if let Some(head) = head.filter(|head| head.cells == holding.told) {
        places.extend((0..head.cells).filter_map(|i| Some((head.pointer(&page, i)?, i))));
    }
    let numbered = spots.iter().map(|spot| (*spot, places.get(&spot.cell.extent.start).copied()));
    Ok(numbered.collect())
}

/// The usual time between two rows of a sample, beside these gaps.
fn step(db: &Connection, dataset: i64, gaps: &[(Option<f64>, Option<f64>)]) -> Result<Option<f64>> {
    let mut rows =
        db.prepare("SELECT t_seconds FROM trace WHERE dataset_id = ?1 ORDER BY t_seconds").map_err(sql)?;
    let times = rows.query_map([dataset], |r| r.get(0)).map_err(sql)?.flatten();
    let times: Vec<f64> = times.filter(|time: &f64| time.is_finite()).collect();
    let gaps: HashSet<(u64, u64)> = gaps
        .iter()
        .filter_map(|(from, to)| Some((from.as_ref()?.to_bits(), to.as_ref()?.to_bits())))
        .collect();
    let is_step = |pair: &&[f64]| !gaps.contains(&(pair[0].to_bits(), pair[1].to_bits()));
    let mut steps: Vec<f64> = times.windows(2).filter(is_step).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_by(f64::total_cmp);
    Ok(steps.get(steps.len() / 2).copied().filter(|s| *s > 0.0))
}

/// What is missing of one sample.
fn sample(
    db: &Connection,
    dataset: i64,
    holes: &[&Hole],
    mut times: Vec<f64>,
    room: u64,
) -> Result<Option<SampleReport>> {
    let own = |end: Option<Place>| end.filter(|(of, _)| *of == dataset).map(|(_, time)| time);
    let ends: Vec<_> = holes.iter().map(|hole| (own(hole.low), own(hole.high))).collect();
    // Of a hole that is not sure it is asked whether it is longer than that.
    let sure = holes.iter().zip(&ends).filter(|(hole, _)| hole.sure);
    let step = step(db, dataset, &sure.map(|(_, ends)| *ends).collect::<Vec<_>>())?;
    let usual = |from: f64, to: f64| {
        let step = step.filter(|step| (to - from) / step > MISSED)?;
        Some((((to - from) / step).round() as u64).saturating_sub(1).min(room))
    };
    // Each with whether its number is known, and is not only the least.
    let mut gaps: Vec<(Gap, bool)> = Vec::new();
    let mut is_estimate = false;
    for (hole, (from, to)) in holes.iter().zip(ends) {
        let before = times.len();
        times.retain(|t| from.is_some_and(|from| *t < from) || to.is_some_and(|to| *t > to));
        let known = (before - times.len()) as u64;
        let (rows, is_known) = match (from.zip(to), hole.rows) {
            (Some(_), Some(rows)) => (rows.max(known), true),
            (Some((from, to)), None) => match usual(from, to) {
                Some(rows) if rows > known => {
                    is_estimate = true;
                    (rows, true)
                }
                _ if known == 0 && !hole.sure => continue,
                _ => (known, false),
            },
            (None, _) => (known, false),
        };
        match gaps.last_mut() {
            // The row between two of them is there; but nobody wants to read of each page that is gone.
            Some((last, was_known)) if *was_known == is_known && last.to.is_some() && last.to == from => {
                last.to = to;
                last.rows = last.rows.saturating_add(rows);
            }
            _ => gaps.push((Gap { from, to, rows }, is_known)),
        }
    }
    gaps.extend(by_index(db, dataset, &times)?.into_iter().map(|gap| (gap, true)));
    if gaps.is_empty() {
        return Ok(None);
    }
    let start = |gap: &Gap| gap.from.unwrap_or(f64::NEG_INFINITY);
    gaps.sort_by(|(a, _), (b, _)| start(a).total_cmp(&start(b)));
    let certainty = match (is_estimate, gaps.iter().all(|(_, is_known)| *is_known)) {
        (true, true) => Certainty::About,
        (true, false) => Certainty::AboutOrMore,
        _ => Certainty::AtLeast,
    };
    let gaps: Vec<Gap> = gaps.into_iter().map(|(gap, _)| gap).collect();
    let lost = gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(gap.rows)).min(room);
    Ok(Some(SampleReport { dataset, name: None, recovered: 0, lost, certainty, gaps }))
}
