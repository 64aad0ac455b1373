//! Whether a damaged database has anything that another has not.
//!
//! What it lacks may be lost, and tells nothing. What it has and the other has not, or has otherwise, was put there: of
//! samples that both have, values, events, rows of traces, results and embedded files; keys of `meta`; rows of any table.
//!
//! Memory: a few bytes for each row of one sample, or of one table, of the other. Of more rows than `MOST` it is only
//! known whether they differ.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::beyond::NO_WORK;
use super::compare::{
    OF_SAMPLES, all_of, all_rows, columns_of, digest_of_rows, fields, of_both, parts, places, rows, write_row,
};
use super::digest::lasting_name;
use super::salvage::is_set_apart;
use super::{Database, Sample};
use crate::error::Result;
use crate::tree::Table;

const MOST: u64 = 1 << 20;

/// Whether `damaged` has anything that `other` has not.
pub fn has_more(damaged: &Arc<Database>, other: &Arc<Database>) -> Result<bool> {
    let (meta, others) = (damaged.meta()?, other.meta()?);
    if meta.iter().any(|(key, value)| !NO_WORK.contains(&key.as_str()) && others.get(key) != Some(value)) {
        return Ok(true);
    }
    let samples = all_of(other)?;
    for (name, sample) in all_of(damaged)? {
        let Some(before) = samples.get(&name) else { return Ok(true) };
        if sample_has_more(damaged, other, &sample, before)? {
            return Ok(true);
        }
    }
    for (table, count) in damaged.row_counts()? {
        let is_asked = *count > 0 && !OF_SAMPLES.contains(&table.as_str()) && !is_set_apart(table);
        if is_asked && table_has_more(damaged, other, table, *count)? {
            return Ok(true);
        }
    }
    has_more_beside(damaged, other)
}

/// The same of what is in no sample: rows without a dataset, and embedded files that nothing refers to or that have more
/// pieces. Other bytes of a piece that both have are damage, and are not taken for work.
fn has_more_beside(damaged: &Arc<Database>, other: &Arc<Database>) -> Result<bool> {
    let strays = other.strays()?;
    if damaged.strays()?.iter().any(|(table, rows)| rows > strays.get(table).unwrap_or(&0)) {
        return Ok(true);
    }
    let known = other.pieces_of_all()?;
    if damaged.unreferenced_assets()?.iter().any(|info| !known.contains_key(&lasting_name(info))) {
        return Ok(true);
    }
    let has_more = |(name, pieces): (&String, &BTreeMap<i64, _>)| {
        known.get(name).is_some_and(|others| pieces.keys().any(|seq| !others.contains_key(seq)))
    };
    Ok(damaged.pieces_of_all()?.iter().any(has_more))
}

fn sample_has_more(
    damaged: &Arc<Database>,
    other: &Arc<Database>,
    sample: &Sample,
    before: &Sample,
) -> Result<bool> {
    if !fields(before, &filled(sample.clone(), before)).is_empty() {
        return Ok(true);
    }
    let known = parts(other, before.id)?;
    if parts(damaged, sample.id)?.iter().any(|(name, part)| known.get(name) != Some(part)) {
        return Ok(true);
    }
    Ok(rows_have_more(&damaged.trace_as_stored(sample.id)?, &other.trace_as_stored(before.id)?)?
        || rows_have_more(&damaged.events_as_stored(sample.id)?, &other.events_as_stored(before.id)?)?)
}

/// The sample with what it lacks as it was before.
fn filled(mut sample: Sample, before: &Sample) -> Sample {
    fn or<T: Clone>(value: &mut Option<T>, before: &Option<T>) {
        *value = value.take().or_else(|| before.clone());
    }
    or(&mut sample.created_utc, &before.created_utc);
    or(&mut sample.notes, &before.notes);
    or(&mut sample.fps, &before.fps);
    or(&mut sample.pixel_size_um, &before.pixel_size_um);
    or(&mut sample.t0_seconds, &before.t0_seconds);
    if sample.extra_text.is_none() {
        (sample.extra, sample.extra_text) = (before.extra.clone(), before.extra_text.clone());
    }
    if let (Some(Value::Object(own)), Some(Value::Object(before))) = (&mut sample.extra, &before.extra) {
        for (key, value) in before {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    for (name, value) in &before.other {
        match sample.other.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) if own.is_null() => *own = value.clone(),
            Some(_) => {}
            None => sample.other.push((name.clone(), value.clone())),
        }
    }
    sample
}

fn rows_have_more(damaged: &Option<Arc<dyn Table>>, other: &Option<Arc<dyn Table>>) -> Result<bool> {
    let (Some(first), Some(second)) = (damaged, other) else { return Ok(rows(damaged)? > 0) };
    if rows(damaged)? > rows(other)? {
        return Ok(true);
    }
    let columns = columns_of(&**first, &**second);
    if rows(other)? > MOST {
        return Ok(digest_of_rows(&**first, &columns)? != digest_of_rows(&**second, &columns)?);
    }
    let mut known = Known::default();
    each(&**second, &columns, |row| known.add(row))?;
    each(&**first, &columns, |row| known.take(row))?;
    Ok(known.has_more)
}

fn each(table: &dyn Table, columns: &[String], mut each: impl FnMut(&[u8])) -> Result<()> {
    let (places, mut row) = (places(table, columns), Vec::new());
    all_rows(table, |cells| {
        write_row(&mut row, cells, &places);
        each(&row);
    })
}

fn table_has_more(damaged: &Arc<Database>, other: &Arc<Database>, table: &str, count: u64) -> Result<bool> {
    let others = other.row_counts()?.get(table).copied().unwrap_or(0);
    if count > others {
        return Ok(true);
    }
    let columns = of_both(&other.telling_columns(table)?, &damaged.telling_columns(table)?);
    if others > MOST {
        return Ok(damaged.sum_of(table, &columns)? != other.sum_of(table, &columns)?);
    }
    let mut known = Known::default();
    other.each_telling_row(table, &columns, |row| known.add(row))?;
    damaged.each_telling_row(table, &columns, |row| known.take(row))?;
    Ok(known.has_more)
}

/// Rows, each with how often it is there.
#[derive(Default)]
struct Known {
    rows: HashMap<u64, u32>,
    has_more: bool,
}

impl Known {
    fn key(row: &[u8]) -> u64 {
        u64::from_le_bytes(blake3::hash(row).as_bytes()[..8].try_into().expect("eight bytes"))
    }

    fn add(&mut self, row: &[u8]) {
        *self.rows.entry(Known::key(row)).or_default() += 1;
    }

    fn take(&mut self, row: &[u8]) {
        match self.rows.get_mut(&Known::key(row)).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => self.has_more = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::project;
    use super::*;

    const SAVED: &str = r#"
        insert into meta values('project_name', 'p'), ('modified_utc', '1');
        insert into dataset values(1, 'a', '{"experiment": "WT", "note": "x"}'), (2, 'b', null);
        insert into trace values(1, 0, 0, 1.5, 37), (1, 1, 1000000, 2.5, 37), (2, 0, 0, 3.5, 37);
        insert into event(dataset_id, t_seconds, label) values (1, 1, 'x'), (1, 1, 'x'), (2, 1, 'y');
        insert into asset(id, sha256) values(1, 'bb'); insert into ref values(1, 1, 'tiff', null);
        insert into blob_chunk values(1, 0, x'00'), (1, 1, x'01');
        create table of_others(a, b); insert into of_others values(1, 'one'), (2, 'two'), (2, 'two');"#;

    #[test]
    fn what_is_lost_is_not_more_and_what_is_otherwise_is() {
        let saved = project(SAVED);
        for (sql, more) in [
            ("", false),
            ("delete from meta; delete from of_others where a = 1", false),
            ("delete from trace where t_seconds = 1; delete from event where id = 1", false),
            ("update dataset set extra_json = '{\"experiment\": \"WT\"}' where id = 1", false),
            ("update meta set value = '2' where key = 'modified_utc'", false),
            (
                "delete from dataset where id = 2; delete from trace where dataset_id = 2; delete from event where dataset_id = 2",
                false,
            ),
            ("drop table of_others", false),
            ("update meta set value = 'q' where key = 'project_name'; delete from trace", true),
            ("insert into meta values('mine', '1'); delete from meta where key = 'project_name'", true),
            ("update dataset set extra_json = '{\"experiment\": \"WT\", \"mine\": 1}' where id = 1", true),
            (
                "delete from trace where t_seconds = 1; update trace set inner_diam = 9 where dataset_id = 1",
                true,
            ),
            ("delete from event where id > 1; update event set label = 'z'", true),
            ("delete from of_others where a = 1; insert into of_others values(2, 'two')", true),
            ("delete from of_others; insert into of_others values(3, null)", true),
            ("create table mine(a); insert into mine values(null)", true),
            ("insert into dataset values(3, 'a', '{\"experiment\": \"WT\"}'); delete from trace", true),
            // What is in no sample.
            ("insert into trace(dataset_id, t_seconds) values('foo', 1)", true),
            ("insert into asset(id, sha256, original_name) values(2, 'aa', 'new.tif')", true),
            ("insert into blob_chunk values(1, 2, x'02')", true),
            ("update blob_chunk set data = x'ff'; delete from blob_chunk where seq = 1", false),
            // What a recovery has set apart is nobody's work.
            ("create table lost_and_found(id); insert into lost_and_found values(1)", false),
        ] {
            let damaged = project(&format!("{SAVED}{sql}"));
            assert_eq!(has_more(&damaged, &saved).unwrap(), more, "{sql}");
        }
    }
}
