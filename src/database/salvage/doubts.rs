//! Rows of which an index says something else than the table.
//!
//! An index has the values of its columns a second time. Where the two disagree one of them was changed in place, though
//! every page looks whole, and nobody can say which: the row is given as the table has it, and named. An index whose page
//! is damaged by itself, as one on which the keys are out of order, contradicts no row: it is made anew from the rows. But
//! more entries than there are rows are those of rows that were lost. A row that none of the indices has which are whole
//! is of another state than they are.

use std::collections::BTreeSet;

use rusqlite::{Connection, params_from_iter};

use super::Salvage;
use super::layout::{Identity, Layout};
use super::losses::{bound, entries, lookup, sql};
use super::record::Key;
use super::report::{Certainty, TableReport, words};
use crate::error::Result;

/// How many of them are named.
const NAMED: usize = 1000;
/// How many columns of an index are compared: SQLite refuses conditions of too many parts.
const COLUMNS: usize = 64;

/// Tells the rows of a table that its indices contradict. What an index has and the table has not contradicts it only
/// if the table `is_whole`; else it was lost.
pub fn tell(
    salvage: &Salvage<'_>,
    db: &Connection,
    at: usize,
    is_whole: bool,
    report: &mut TableReport,
) -> Result<()> {
    let plan = &salvage.catalog.plan;
    let (table, encoding) = (&plan.tables[at], salvage.survey.reader.geometry.encoding);
    let mut named = BTreeSet::new();
    // Rows that an index which is whole does not have, if none has them.
    let mut unlisted = u64::MAX;
    for (index, pages) in plan.indices.iter().zip(&salvage.indices) {
        let Some(of) = index.index.as_ref().filter(|of| of.table == table.name) else { continue };
        let compared = compared(index, &of.identity);
        let columns: Vec<&str> = compared.iter().map(|at| index.fields[*at].name.as_str()).collect();
        let mut by_key = db.prepare(&lookup(table, &[])).map_err(sql)?;
        let mut by_all = db.prepare(&lookup(table, &columns)).map_err(sql)?;
        let (mut count, mut all, mut absent, mut listed) = (0, 0, 0, 0);
        let others = entries(salvage, index, &pages.reached, &mut |entry| {
            // A long value is not kept whole: of such an entry no more can be told than whether its row is there.
            let values = bound(entry.values, &compared, encoding);
            all += 1;
            let is_same = match &values {
                Some(values) => {
                    by_all.exists(params_from_iter(entry.identity.iter().chain(values))).map_err(sql)?
                }
                None => false,
            };
            if is_same {
                listed += 1;
                return Ok(());
            }
            let is_there = by_key.exists(params_from_iter(entry.identity)).map_err(sql)?;
            listed += u64::from(is_there);
            if !entry.intact {
                absent += u64::from(!is_there);
                return Ok(());
            }
            if is_there && values.is_some() || !is_there && is_whole {
                count += 1;
                if named.len() < NAMED {
                    named.insert(name(table, &of.identity, entry.values));
                }
            }
            if !is_there && is_whole && report.certainty == Certainty::Exact {
                report.certainty = Certainty::AtLeast;
            }
            Ok(())
        })?;
        if of.complete && pages.is_whole_of(index) {
            unlisted = unlisted.min(report.recovered.saturating_sub(listed + others));
        }
        // An entry whose key was damaged leaves a row without one; more entries than rows are those of lost rows.
        let lost = if of.complete && is_whole && absent > 0 {
            absent.min(u64::saturating_sub(all, report.recovered))
        } else {
            0
        };
        if lost > 0 && report.certainty == Certainty::Exact {
            report.certainty = Certainty::AtLeast;
        }
        count += lost;
        // More than one index may have the same row otherwise.
        report.contradicted = report.contradicted.max(count).max(named.len() as u64);
    }
    if unlisted < u64::MAX {
        report.contradicted = report.contradicted.max(unlisted);
    }
    report.contradicted_keys = named.into_iter().collect();
    Ok(())
}

/// The places of the columns of an index that do not identify its row, and that its table has.
fn compared(index: &Layout, identity: &[usize]) -> Vec<usize> {
    let columns = (0..index.fields.len()).filter(|at| !identity.contains(at));
    columns.filter(|at| !index.fields[*at].name.is_empty()).take(COLUMNS).collect()
}

/// What an index calls a row. The number of a row that has another key tells nobody anything.
fn name(table: &Layout, identity: &[usize], values: &Key) -> String {
    match table.identity {
        Identity::Number(_) => words(values),
        _ => words(&identity.iter().filter_map(|at| values.get(*at).cloned()).collect()),
    }
}
