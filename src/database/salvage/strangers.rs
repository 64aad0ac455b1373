//! Pages that lie where another one should: none of their rows becomes one of another table, and none is left out.

use rusqlite::Connection;

use super::heads::{LABELS, labels, project};
use super::hostile::{one, recovered};

const SIZE: usize = 4096;
/// What the project has besides.
const MORE: &str = "update trace set t_us = cast(t_seconds * 1000000 as integer);
    insert into meta values('format', 'sqlite-v3'), ('a', 'b'), ('c', 'd');
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
    insert into event_audit(dataset_id, event_id, action, source, utc_ts) select 1, i, 'add', 'ui', '2026' from n;";

fn root(bytes: &[u8], name: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    std::fs::write(&path, bytes).unwrap();
    let c = Connection::open(&path).unwrap();
    one(&c, &format!("select rootpage from sqlite_schema where name = '{name}'")) as usize
}

/// The page below another that one of its cells names, or behind all of them its head.
fn child(bytes: &[u8], page: usize, cell: usize) -> usize {
    let is_last = cells(bytes, page) == cell as i64;
    let page = &bytes[(page - 1) * SIZE..page * SIZE];
    assert!(page[0] == 2 || page[0] == 5, "an interior page");
    let pointer = usize::from(u16::from_be_bytes([page[12 + 2 * cell], page[13 + 2 * cell]]));
    let at = if is_last { 8 } else { pointer };
    u32::from_be_bytes(page[at..at + 4].try_into().unwrap()) as usize
}

fn cells(bytes: &[u8], page: usize) -> i64 {
    i64::from(u16::from_be_bytes([bytes[(page - 1) * SIZE + 3], bytes[(page - 1) * SIZE + 4]]))
}

/// Puts one page into the place of another, and that into the place of the one if they are to be swapped.
fn displaced(bytes: &[u8], from: usize, to: usize, swap: bool) -> Vec<u8> {
    let mut result = bytes.to_vec();
    let page = |number: usize| (number - 1) * SIZE..number * SIZE;
    result[page(to)].copy_from_slice(&bytes[page(from)]);
    if swap {
        result[page(from)].copy_from_slice(&bytes[page(to)]);
    }
    result
}

/// Holds what is recovered against what was there but for so many rows of the trace.
fn is_right(bytes: Vec<u8>, lost: i64, case: &str) {
    let (report, c, _) = recovered(bytes);
    let case = format!("{case}: {report:?}");
    let right = "select count(*) from trace where t_us = cast(t_seconds * 1000000 as integer)
        and abs(inner_diam - 5 - (t_seconds - 1) / 10) < 1e-6 and outer_diam = 9";
    assert_eq!((one(&c, right), one(&c, "select count(*) from trace")), (4000 - lost, 4000 - lost), "{case}");
    assert_eq!((labels(&c), one(&c, "select count(*) from event")), (LABELS, LABELS), "{case}");
    let of_dataset = "select count(*) from dataset where name in ('first', 'second')";
    assert_eq!((one(&c, of_dataset), one(&c, "select count(*) from dataset")), (2, 2), "{case}");
    assert_eq!(one(&c, "select count(*) from event_audit where action = 'add'"), 300, "{case}");
    assert_eq!(one(&c, "select count(*) from event_audit"), 300, "{case}");
    assert_eq!(one(&c, "select count(*) from meta"), 3, "{case}");
    for table in ["asset", "blob_chunk", "ref", "result", "thumbnail"] {
        assert_eq!(one(&c, &format!("select count(*) from {table}")), 0, "{case}");
    }
    let trace = report.tables.iter().find(|t| t.name == "trace").unwrap();
    assert_eq!((trace.duplicates, trace.contradicted), (0, 0), "{case}");
}

#[test]
fn a_tree_that_begins_in_anothers_place_is_its_own() {
    let bytes = project("", MORE);
    let [trace, by_time, by_micros, meta, dataset, event, audit] =
        ["trace", "trace_ds_t", "trace_ds_tus", "sqlite_autoindex_meta_1", "dataset", "event", "event_audit"]
            .map(|name| root(&bytes, name));
    for (a, b) in [(trace, by_time), (trace, by_micros), (dataset, event), (dataset, audit), (event, audit)] {
        is_right(displaced(&bytes, a, b, true), 0, &format!("{a} and {b} changed places"));
    }
    for from in [by_time, by_micros, meta] {
        let lost = cells(&bytes, trace);
        is_right(
            displaced(&bytes, from, trace, false),
            lost,
            &format!("{from} lies in the place of the trace"),
        );
    }
}

#[test]
fn a_leaf_that_lies_in_anothers_place_is_its_own() {
    let bytes = project("", MORE);
    let [trace, by_time, by_micros] = ["trace", "trace_ds_t", "trace_ds_tus"].map(|name| root(&bytes, name));
    let last = |root: usize| cells(&bytes, root) as usize;
    for index in [by_time, by_micros] {
        // Times in microseconds are behind all others, and fit the last page.
        for (cell, of_index) in [(0, 0), (1, 0), (last(trace), last(index)), (last(trace), last(index) - 2)] {
            let (leaf, index_leaf) = (child(&bytes, trace, cell), child(&bytes, index, of_index));
            let case = format!("{leaf} and {index_leaf}");
            is_right(displaced(&bytes, leaf, index_leaf, true), 0, &format!("{case} changed places"));
            let lost = cells(&bytes, leaf);
            is_right(displaced(&bytes, index_leaf, leaf, false), lost, &format!("{case}, which is lost"));
        }
    }
}

#[test]
fn a_leaf_that_changed_places_with_a_free_page_was_not_deleted() {
    let more = format!(
        "{MORE} pragma secure_delete = on; create table old(a);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
        insert into old select 'a text that is rather long' || i from n; delete from old;"
    );
    let bytes = project("", &more);
    let free = bytes.chunks(SIZE).rposition(|page| page.iter().all(|b| *b == 0)).unwrap() + 1;
    let trace = root(&bytes, "trace");
    for cell in [0, 7] {
        let leaf = child(&bytes, trace, cell);
        is_right(displaced(&bytes, leaf, free, true), 0, &format!("{leaf} and {free}"));
    }
}

/// Made before its table was given a column, such a copy has the very pages that the table still has.
#[test]
fn a_table_keeps_the_rows_of_which_there_is_a_copy() {
    let more = format!(
        "{MORE} create table notes(id integer primary key, a, b);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
        insert into notes select i, 'a note ' || i, i * 2 from n;
        create table notes_backup(id integer primary key, a, b); insert into notes_backup select * from notes;
        alter table notes add column c;"
    );
    let mut bytes = project("", &more);
    let page = root(&bytes, "thumbnail");
    bytes[(page - 1) * SIZE..page * SIZE].fill(0);
    let (report, c, _) = recovered(bytes);
    for table in ["notes", "notes_backup"] {
        assert_eq!(one(&c, &format!("select count(*) from {table}")), 3000, "{table}: {report:?}");
    }
}
