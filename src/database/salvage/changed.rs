//! Files of which every page looks whole, and that are not what they were: letters of the schema, pages of another state.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::hostile::{made, one, recovered};
use super::known;
use super::report::{Certainty, Report, TableReport};

const TABLES: [&str; 10] =
    ["meta", "dataset", "trace", "event", "event_audit", "asset", "blob_chunk", "ref", "result", "thumbnail"];

/// A project of the newest version with rows in every table, and what `more` does with it.
fn project(more: &str) -> Vec<u8> {
    let known = known::all().remove(0);
    let tables: String = known.schema.into_iter().filter_map(|row| row.sql).map(|sql| sql + ";").collect();
    let sql = format!(
        "pragma foreign_keys = off; pragma user_version = 7; begin; {tables}
         insert into meta values('format', 'sqlite-v3');
         insert into dataset(id, name, created_utc, extra_json)
             values(1, 'Vessel 1', '2026', '{{\"experiment\": \"E\"}}'), (2, 'Vessel 2', '2027', null);
         create temp table n as with recursive n(i) as (select 1 union all select i + 1 from n where i < 60) select i from n;
         insert into trace select d.id, n.i * 0.1, n.i * 100000, 50 + n.i, 90.5, 80, 81, 82, n.i, n.i / 30, 37.0, 0, 5.5
             from dataset d, n;
         insert into event(dataset_id, t_seconds, t_us, label) select id, i, i * 1000000, i from dataset, n where i < 9;
         insert into event_audit(dataset_id, event_id, action, source, utc_ts) select 1, i, 'add', '5', '2026' from n;
         insert into asset(kind, sha256, size_bytes, compressed, chunk_size) values('x', '11', 9, 0, 9), ('x', '22', 9, 0, 9);
         insert into blob_chunk select id, 0, x'0102' from asset;
         insert into ref select id, id, 'attachment:0', null from asset;
         insert into result(dataset_id, kind, version, created_utc, payload_json) select id, '7', '1', '2026', '[]' from dataset;
         insert into thumbnail select id, x'ff' from dataset;
         drop table n; commit; {more}"
    );
    made(&sql, "meta").0
}

/// All rows of a table, with their types; none where there is no such table.
fn rows(c: &Connection, table: &str) -> Vec<String> {
    let Ok(mut query) = c.prepare(&format!("select * from {table}")) else { return Vec::new() };
    let n = query.column_count();
    let row = |r: &rusqlite::Row<'_>| {
        (0..n)
            .map(|i| r.get::<_, rusqlite::types::Value>(i).map(|v| format!("{v:?}")))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut all: Vec<String> = query.query_map([], row).unwrap().map(|row| row.unwrap().join(",")).collect();
    all.sort();
    all
}

fn all(c: &Connection) -> BTreeMap<&'static str, Vec<String>> {
    TABLES.iter().map(|table| (*table, rows(c, table))).collect()
}

fn sound(bytes: &[u8]) -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), bytes).unwrap();
    let c = Connection::open(dir.path().join("x")).unwrap();
    (dir, c)
}

fn told<'a>(report: &'a Report, table: &str) -> &'a TableReport {
    report.tables.iter().find(|t| t.name == table).unwrap()
}

/// Where a text is in a file that has it once.
fn place(bytes: &[u8], text: &str) -> usize {
    let mut places = bytes.windows(text.len()).enumerate().filter(|(_, w)| *w == text.as_bytes());
    let (at, _) = places.next().unwrap();
    assert!(places.next().is_none(), "{text}");
    at
}

#[test]
fn a_letter_of_the_schema_costs_no_value() {
    let bytes = project("");
    let (_dir, c) = sound(&bytes);
    let before = all(&c);
    for (was, is) in [
        ("dataset(id INTEGER PRIMARY", "dataset(id HNTEGER PRIMARY"),
        ("thumbnail(dataset_id INTEGER", "thumbnail(dataset_id INTDGER"),
        ("asset(id INTEGER PRIMARY", "asset(id INTEFER PRIMARY"),
        ("version TEXT NOT NULL, cr", "version TEXD NOT NULL, cr"),
        ("id INTEGER PRIMARY KEY, name TEXT", "id INTEGER PRIMARY KEY, neme TEXT"),
        ("CREATE TABLE dataset(", "CREATE TABLE detaset("),
        ("notes TEXT, fps", "notes TEXT$ fps"),
        (", t_us INTEGER, inner_diam REAL", ", t_us INTEGER$ inner_diam REAL"),
        ("tiff_page INTEGER, temp", "tiff_page INTEGER$ temp"),
        ("ON event(dataset_id, t_seconds)", "ON event(dataset_id- t_seconds)"),
        ("PRIMARY KEY(asset_id, seq)) WITHOUT", "PRIMARY KEY(asset_id, seq))\0WITHOUT"),
    ] {
        let mut bytes = bytes.clone();
        let at = place(&bytes, was);
        bytes[at..at + was.len()].copy_from_slice(is.as_bytes());
        let (report, c, _) = recovered(bytes);
        assert_eq!(all(&c), before, "{is}: {report:?}");
        assert!(report.notes.iter().any(|note| note.contains("is taken from version 7")), "{is}: {report:?}");
    }
}

/// Any bit of the page of the schema, one in seven of them: no result that is called complete has anything else.
#[test]
fn no_bit_of_the_schema_makes_other_values_of_a_complete_result() {
    let bytes = project("");
    let (_dir, c) = sound(&bytes);
    let (before, mut complete, mut other) = (all(&c), 0, Vec::new());
    for at in (100..4096).step_by(7).filter(|at| bytes[*at] != 0) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at / 7 % 8);
        let (report, c, _) = recovered(bytes);
        if report.is_lossless() {
            complete += 1;
            other.extend((all(&c) != before).then_some((at, report)));
        }
    }
    assert!(complete > 100 && other.is_empty(), "{complete}: {other:?}");
}

#[test]
fn a_type_that_makes_other_values_of_what_was_written_is_told() {
    let stranger = "create table notes(id integer primary key, day text, v text);
        insert into notes values(1, '2026', 'a'), (2, '07', 'b');";
    let bytes = project(stranger);
    let (report, ..) = recovered(bytes.clone());
    assert!(report.is_lossless(), "{report:?}");
    let mut bytes = bytes;
    let at = place(&bytes, "day text");
    bytes[at + 7] ^= 16;
    let (report, ..) = recovered(bytes);
    assert_eq!((told(&report, "notes").converted, report.is_lossless()), (2, false), "{report:?}");
    // A key that has no index of its own any more.
    let mut bytes = project(stranger);
    let at = place(&bytes, "notes(id integer");
    bytes[at + 9] ^= 1;
    let (report, ..) = recovered(bytes);
    assert!(!report.is_lossless(), "{report:?}");
}

/// An older page of the schema, which is whole.
#[test]
fn a_table_that_the_schema_does_not_name_comes_back() {
    let forget = |name: &str| {
        format!(
            "pragma writable_schema = on; delete from sqlite_schema where tbl_name = '{name}';
             pragma writable_schema = reset;"
        )
    };
    let (_dir, c) = sound(&project(""));
    let before = all(&c);
    for name in ["event", "result", "trace"] {
        let (report, c, _) = recovered(project(&forget(name)));
        assert_eq!(rows(&c, name), before[name], "{name}: {report:?}");
        assert!(!report.is_lossless(), "{name}: {report:?}");
    }
    let stranger = "create table notes(id integer primary key, day text); insert into notes values(1, 'a');";
    let (report, ..) = recovered(project(&format!("{stranger}{}", forget("notes"))));
    assert!(!report.is_lossless() && report.set_apart.is_some(), "{report:?}");
}

#[test]
fn entries_of_an_index_that_the_schema_does_not_name_are_no_rows() {
    let (_dir, c) = sound(&project(""));
    let before = all(&c);
    // Three whole numbers, as the first two values of a piece of an embedded file are.
    for which in [
        "name = 'event_ds_tus'",
        "type = 'index' and sql is not null",
        "type = 'index' and sql is not null or tbl_name = 'ref'",
    ] {
        let forget = format!(
            "pragma writable_schema = on; delete from sqlite_schema where {which}; pragma writable_schema = reset;"
        );
        let (report, c, _) = recovered(project(&forget));
        assert_eq!(all(&c), before, "{which}: {report:?}");
    }
    // However many entries the page of the schema has, where nothing tells how many those were.
    let bytes = project("");
    for entries in 0..18 {
        let mut bytes = bytes.clone();
        (bytes[104], bytes[107]) = (entries, 59);
        let (report, c, _) = recovered(bytes);
        for (table, rows) in all(&c) {
            assert!(rows.iter().all(|row| before[table].contains(row)), "{entries} {table}: {report:?}");
        }
        assert!(!report.is_lossless());
    }
}

#[test]
fn a_row_that_others_belong_to_is_missed() {
    let delete = "delete from dataset where id = 2;";
    let (report, ..) = recovered(project(delete));
    assert_eq!((told(&report, "event").orphans, report.is_lossless()), (8, false), "{report:?}");
    // With a page that is damaged it is a row that was lost.
    let mut bytes = project(delete);
    let (_dir, c) = sound(&bytes);
    let root = one(&c, "select rootpage from sqlite_schema where name = 'dataset'") as usize;
    bytes[(root - 1) * 4096 + 7] ^= 1;
    let (report, ..) = recovered(bytes);
    let dataset = told(&report, "dataset");
    assert_eq!((dataset.lost, dataset.certainty), (1, Certainty::AtLeast), "{report:?}");
    assert!(!report.is_lossless() && report.tables.iter().all(|t| t.orphans == 0));
}

#[test]
fn a_file_that_is_shorter_than_its_head_says_is_complete_if_what_is_gone_was_free() {
    let mut bytes = project("");
    let pages = bytes.len() / 4096;
    bytes[28..32].copy_from_slice(&(pages as u32 + 2).to_be_bytes());
    let (report, ..) = recovered(bytes);
    assert!(!report.is_lossless() && !report.lost_is_exact, "{report:?}");
    let free = "create table long(a); insert into long values(zeroblob(40000)); drop table long;";
    let mut bytes = project(free);
    let trunk = u32::from_be_bytes(bytes[32..36].try_into().unwrap()) as usize;
    assert!(bytes.len() / 4096 > trunk + 2, "{trunk}");
    bytes.truncate(bytes.len() - 2 * 4096);
    let (report, ..) = recovered(bytes);
    assert!(report.is_lossless(), "{report:?}");
}

#[test]
fn rows_that_no_index_has_are_in_doubt() {
    let sql = |more: &str| {
        format!(
            "create table notes(id integer primary key, n integer);
        create index by_n on notes(n); insert into notes values(1, 5), (2, 6); {more}"
        )
    };
    let (older, newer) = (project(&sql("")), project(&sql("insert into notes values(3, 7);")));
    let (_dir, c) = sound(&newer);
    let root = one(&c, "select rootpage from sqlite_schema where name = 'by_n'") as usize;
    let mut bytes = newer.clone();
    bytes[(root - 1) * 4096..root * 4096].copy_from_slice(&older[(root - 1) * 4096..root * 4096]);
    let (report, ..) = recovered(bytes);
    assert_eq!((told(&report, "notes").contradicted, report.is_lossless()), (1, false), "{report:?}");
    let (report, ..) = recovered(newer);
    assert!(report.is_lossless(), "{report:?}");
}

#[test]
fn an_estimate_that_sees_only_a_part_says_so_and_names_every_sample() {
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 6000)
            insert into trace(dataset_id, t_seconds, t_us, inner_diam) select d.id, 100 + n.i * 0.1, n.i, 5.5 from n, dataset d;
        insert into dataset(id, name, created_utc) values(3, 'Vessel 3', '2026');
        insert into trace(dataset_id, t_seconds) values(3, 1.5);
        insert into result(dataset_id, kind, version, created_utc, payload_json) values(4, 'k', '1', '2026', '');";
    let mut bytes = project(many);
    let from = bytes.len() / 4096 / 5 * 4096;
    bytes[from..].fill(0);
    let (report, c, _) = recovered(bytes);
    let trace = told(&report, "trace");
    let left = one(&c, "select count(*) from trace") as u64;
    assert!(trace.recovered == left && left < 8000, "{report:?}");
    assert!(trace.certainty == Certainty::AboutOrMore || trace.certainty == Certainty::AtLeast, "{trace:?}");
    let samples: Vec<i64> = report.samples.iter().map(|sample| sample.dataset).collect();
    assert!(samples.ends_with(&[2, 3, 4]) || samples.ends_with(&[2, 3]), "{samples:?}: {report:?}");
    assert!(report.lines().iter().any(|line| line.contains("or more lost") || line.contains("at least")));
}
