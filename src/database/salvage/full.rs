//! Pages whose head has a wrong number of cells, or whose pointers pass one over: SQLite fills each page exactly, so that a
//! row that is passed over is missed, and comes back where its pointer still stands behind the others.

use rusqlite::Connection;

use super::hostile::{made, one, recovered};
use super::page::Head;
use super::{Layout, Pages, Salvage};
use crate::tree::Content;

const SIZES: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// Two tables without an index. Some rows of each are shorter than the four bytes that a cell takes at least.
const TABLES: &str = "create table meta(key text primary key, value text);
    create table dataset(id integer primary key, name text);
    create table note(id integer primary key, txt text, n integer);
    create table kv(k integer primary key, v text) without rowid;
    insert into dataset values(1, 'a');
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 900)
    insert into note select i, case when i % 7 then 'note ' || i end, i * 3 from n;
    insert into kv select id, txt from note;";

fn file(size: usize, more: &str, table: &str) -> (Vec<u8>, usize) {
    made(&format!("pragma page_size = {size}; {TABLES} {more}"), table)
}

/// The first leaf of the tree at a page, and the last.
fn leaf(bytes: &[u8], size: usize, mut page: usize, is_last: bool) -> usize {
    loop {
        let at = (page - 1) * size;
        let head = Head::read(&bytes[at..at + size], 0, size).unwrap();
        if !head.kind.is_interior() {
            return at;
        }
        let first = at + head.pointer(&bytes[at..at + size], 0).unwrap();
        let left = u32::from_be_bytes(bytes[first..first + 4].try_into().unwrap());
        page = if is_last { head.right } else { left } as usize;
    }
}

/// Changes how many cells the page at a place says it has, and gives how many those are then.
fn count(bytes: &mut [u8], at: usize, by: i16) -> usize {
    let told = i16::from_be_bytes([bytes[at + 3], bytes[at + 4]]) + by;
    bytes[at + 3..at + 5].copy_from_slice(&told.to_be_bytes());
    told as usize
}

fn rows(c: &Connection, table: &str) -> i64 {
    one(c, &format!("select count(*) from {table}"))
}

#[test]
fn a_row_that_the_head_of_its_page_does_not_count_comes_back() {
    for size in SIZES {
        for table in ["note", "kv"] {
            let (bytes, root) = file(size, "", table);
            for (is_last, by) in [(false, -1), (true, -1), (false, -3), (true, -3)] {
                let mut bytes = bytes.clone();
                let at = leaf(&bytes, size, root, is_last);
                count(&mut bytes, at, by);
                let (report, c, _) = recovered(bytes);
                assert_eq!(rows(&c, table), 900, "{size} {table} {by}: {report:?}");
                assert!(!report.is_lossless(), "{size} {table}: {report:?}");
            }
        }
    }
}

#[test]
fn a_page_that_is_told_to_be_empty_is_not() {
    for table in ["note", "kv"] {
        let (mut bytes, root) = file(1024, "", table);
        let at = leaf(&bytes, 1024, root, false);
        bytes[at + 3..at + 5].fill(0);
        let (report, c, _) = recovered(bytes);
        assert_eq!(rows(&c, table), 900, "{report:?}");
    }
}

#[test]
fn a_row_that_nothing_points_at_any_more_is_missed() {
    for size in SIZES {
        for table in ["note", "kv"] {
            let (mut bytes, root) = file(size, "", table);
            let at = leaf(&bytes, size, root, false);
            let behind = at + 8 + 2 * count(&mut bytes, at, -1);
            bytes[behind..behind + 2].fill(0);
            let (report, c, _) = recovered(bytes);
            assert_eq!(rows(&c, table), 899, "{size} {table}: {report:?}");
            assert!(!report.is_lossless(), "{size} {table}: {report:?}");
            let told = report.tables.iter().find(|t| t.name == table).unwrap();
            assert!(told.from_damaged_pages > 0, "{told:?}");
        }
    }
}

#[test]
fn rows_below_a_page_that_the_head_of_another_does_not_count_come_back() {
    for table in ["note", "kv"] {
        let (mut bytes, root) = file(512, "", table);
        count(&mut bytes, (root - 1) * 512, -1);
        let (report, c, _) = recovered(bytes);
        assert_eq!(rows(&c, table), 900, "{report:?}");
        let told = report.tables.iter().find(|t| t.name == table).unwrap();
        assert_eq!((told.found_by_shape, report.is_lossless()), (0, false), "{report:?}");
    }
}

#[test]
fn a_table_that_the_head_of_the_schema_does_not_count_comes_back() {
    let (mut bytes, _) = file(4096, "", "kv");
    count(&mut bytes, 100, -1);
    let (report, c, _) = recovered(bytes);
    assert_eq!((rows(&c, "kv"), report.is_lossless()), (900, false), "{report:?}");
}

#[test]
fn a_deleted_row_behind_the_last_pointer_stays_deleted() {
    for table in ["note", "kv"] {
        let key = if table == "note" { "id" } else { "k" };
        let (mut bytes, root) = file(4096, &format!("delete from {table} where {key} = 900;"), table);
        let at = leaf(&bytes, 4096, root, true);
        count(&mut bytes, at, 1);
        let (report, c, _) = recovered(bytes);
        assert_eq!(rows(&c, table), 899, "{report:?}");
        assert_eq!(one(&c, &format!("select count(*) from {table} where {key} = 900")), 0);
    }
}

#[test]
fn loose_bytes_that_are_counted_wrong_cost_no_row() {
    // Also where SQLite has written a zero in eight bytes, which a page that is damaged has where a row is torn.
    let real = "create table real(id integer primary key, a real, b real);
        with recursive n(i) as (select 0 union all select i + 1 from n where i < 499)
        insert into real select i, i * 0.1, i * 0.3 from n;";
    for table in ["note", "kv", "real"] {
        let (mut bytes, root) = file(4096, real, table);
        let at = leaf(&bytes, 4096, root, false);
        bytes[at + 7] ^= 1;
        let (report, c, _) = recovered(bytes);
        assert_eq!(rows(&c, table), if table == "real" { 500 } else { 900 }, "{report:?}");
        assert!(!report.is_lossless());
    }
}

/// Sizes of pages, pages of pointers, zeros over what was deleted, long rows and short ones, rows that went and changed.
#[test]
fn every_page_of_a_sound_database_is_full() {
    let mut state = 11u64;
    let mut dice = move |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    for case in 0..96 {
        let (size, vacuum, secure) = (SIZES[case % 8], case / 8 % 3, case / 24 % 2);
        let mut sql = format!(
            "pragma auto_vacuum = {vacuum}; pragma secure_delete = {secure}; {TABLES}
            create index by_n on note(n); create table one(a); create table flag(a integer, primary key(a)) without rowid;
            insert into one select null from note; insert into flag values(0), (1);"
        );
        for _ in 0..4 + dice(12) {
            let (from, n, len) = (dice(900), 1 + dice(300), dice(3 * size as u64));
            sql += &match dice(5) {
                0 => format!("delete from note where id between {from} and {};", from + n),
                1 => format!("delete from kv where k % {} = 0;", 2 + dice(9)),
                2 => {
                    format!("update note set txt = substr(hex(zeroblob({len})), {from}) where id % {n} = 1;")
                }
                3 => format!("update kv set v = v || substr(v, 1, {}) where k > {from};", dice(60)),
                _ => format!(
                    "replace into note select k, hex(randomblob(k % {})), null from kv;",
                    1 + dice(90)
                ),
            };
            sql += "delete from one where rowid % 3 = 0; insert into one values(0), ('a');";
        }
        let (bytes, _) = made(&format!("pragma page_size = {size}; {sql}"), "note");
        let content = Content::Bytes(bytes.into());
        let salvage = Salvage::examine(&content).unwrap().unwrap();
        let is_full = |(layout, pages): (&Layout, &Pages)| {
            let told = (pages.found.len(), pages.broken, pages.damaged);
            assert_eq!(told, (0, 0, 0), "{case} {}: {sql}", layout.name);
        };
        let plan = &salvage.catalog.plan;
        plan.tables.iter().zip(&salvage.tables).for_each(is_full);
        plan.indices.iter().zip(&salvage.indices).for_each(is_full);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), b"").unwrap();
        let report = salvage.rebuild(&dir.path().join("x")).unwrap().unwrap();
        assert!(report.is_lossless(), "{case}: {report:?}");
    }
}

/// What the first byte says of the first page, or how many cells it says it has, cannot be: all of them stand in it.
#[test]
fn the_first_page_is_the_schema_whatever_its_head_says() {
    for size in [512, 4096] {
        let more: String = (0..20).map(|n| format!("create table t{n}(a, b, c);")).collect();
        let (bytes, _) = file(size, &more, "note");
        assert_eq!(bytes[100], if size == 512 { 5 } else { 13 });
        for (at, bit) in (0..8).map(|bit| (100, 1 << bit)).chain([(103, 4), (103, 128)]) {
            let mut bytes = bytes.clone();
            bytes[at] ^= bit;
            let (report, c, _) = recovered(bytes);
            assert_eq!((rows(&c, "note"), rows(&c, "kv")), (900, 900), "{size} {at} {bit}: {report:?}");
            assert!(report.is_lossless(), "{size} {at} {bit}: {report:?}");
        }
    }
}
