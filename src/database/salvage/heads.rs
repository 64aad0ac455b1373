//! Heads of files in which one field is wrong, and files whose long rows are many: neither costs a row.

use rusqlite::Connection;

use super::hostile::{made, one, recovered};
use super::known;

/// How many events it has.
pub const LABELS: i64 = 60;

/// A project of version 7, and what `more` puts into it.
pub fn project(before: &str, more: &str) -> Vec<u8> {
    made(&with_project(before, more), "trace").0
}

/// The statements that make it.
pub fn with_project(before: &str, more: &str) -> String {
    let known = known::all().into_iter().find(|known| known.user_version == 7).unwrap();
    let tables: String = known.schema.into_iter().filter_map(|row| row.sql).map(|sql| sql + ";").collect();
    let rows = format!(
        "insert into dataset(id, name, created_utc) values(1, 'first', '2026-01-01'), (2, 'second', '2026-01-01');
         with recursive n(i) as (select 1 union all select i + 1 from n where i <= {LABELS})
         insert into event(dataset_id, t_seconds, label) select 1 + i % 2, i * 0.5, 'label ' || i from n limit {LABELS};
         with recursive n(i) as (select 0 union all select i + 1 from n where i < 3999)
         insert into trace(dataset_id, t_seconds, inner_diam, outer_diam)
         select 1 + i % 2, 1 + i * 0.1, 5 + i * 0.01, 9 from n;"
    );
    format!("{before} pragma foreign_keys = off; begin; {tables} {rows} commit; {more}")
}

pub fn labels(c: &Connection) -> i64 {
    one(c, "select count(*) from event where label = 'label ' || id")
}

#[test]
fn text_is_read_as_it_is_written_whatever_the_head_says() {
    for (byte, name) in [(1, "UTF-8"), (2, "UTF-16le"), (3, "UTF-16be")] {
        let bytes = project(&format!("pragma encoding = '{name}';"), "");
        for said in [1, 2, 3] {
            for schema_is_lost in [false, true] {
                let mut bytes = bytes.clone();
                assert_eq!(bytes[59], byte);
                bytes[59] = said;
                if schema_is_lost {
                    bytes[100..4096].fill(0);
                }
                let (report, c, _) = recovered(bytes);
                let case = format!("{name} called {said}, {schema_is_lost}: {:?}", report.notes);
                assert_eq!(labels(&c), LABELS, "{case}");
                assert_eq!(
                    one(&c, "select count(*) from dataset where name in ('first', 'second')"),
                    2,
                    "{case}"
                );
                assert_eq!(one(&c, "select count(*) from trace"), 4000, "{case}");
                let told = report.notes.iter().any(|note| note.starts_with("the head says that text is"));
                assert_eq!(told, said != byte, "{case}");
            }
        }
    }
}

#[test]
fn long_rows_come_back_however_many_tables_they_are_held_against() {
    let more = "create table long(id integer primary key, w text unique);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
        insert into long select i * i, 'w' || i || replace(hex(zeroblob(2750)), '0', 'q') from n;
        with recursive n(i) as (select 0 union all select i + 1 from n where i < 3)
        insert into blob_chunk select 1, i, randomblob(16384) from n;
        insert into meta values('long', replace(hex(zeroblob(7500)), '0', 'x'));
        insert into thumbnail values(1, randomblob(9000));";
    let mut bytes = project("", more);
    bytes[..4096].fill(0);
    let (report, c, _) = recovered(bytes);
    assert_eq!(one(&c, "select count(*) from blob_chunk where length(data) = 16384"), 4, "{report:?}");
    assert_eq!(one(&c, "select count(*) from thumbnail where length(png) = 9000"), 1);
    assert_eq!(one(&c, "select count(*) from meta where length(value) = 15000"), 1);
    // It has no table any more, and none of the known ones has rows without a key.
    assert_eq!(one(&c, "select count(*) from meta where key is null"), 0);
    assert!(report.tables.iter().all(|t| (t.cut_off, t.unread) == (0, 0)), "{report:?}");
}

#[test]
fn rows_that_may_have_been_deleted_are_told_where_the_free_list_is_lost() {
    let mut bytes = project("pragma secure_delete = off;", "delete from trace where dataset_id = 2;");
    let told = |bytes: Vec<u8>| {
        let (report, c, _) = recovered(bytes);
        let told = report.notes.iter().any(|note| note.contains("may include deleted ones"));
        (one(&c, "select count(*) from trace where dataset_id = 1"), told, report)
    };
    let (rows, is_told, report) = told(bytes.clone());
    assert_eq!((rows, is_told, report.is_lossless()), (2000, false, true), "{report:?}");
    bytes[32..40].fill(0);
    let (rows, is_told, report) = told(bytes);
    assert_eq!((rows, is_told, report.is_lossless()), (2000, true, false), "{report:?}");
}

#[test]
fn a_table_of_a_number_and_a_text_is_told_from_one_of_two_texts() {
    let more = "create table long(id integer primary key, w text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
        insert into long select i * i, 'w' || i || replace(hex(zeroblob(150)), '0', 'q') from n;";
    let (mut bytes, root) = made(&with_project("", more), "long");
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    let (report, c, _) = recovered(bytes);
    let right = "select count(*) from long where id = (substr(w, 2) + 0) * (substr(w, 2) + 0)";
    assert_eq!(one(&c, right), 100, "{report:?}");
    assert_eq!(one(&c, "select count(*) from meta where key is null"), 0);
}
