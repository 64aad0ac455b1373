//! Schemas with what SQLite does not know here, or does not run: nothing of the rest is lost for it.

use rusqlite::Connection;

use super::Report;
use super::hostile::{TRACE, made, one, recovered};
use crate::database::Database;
use crate::tree::Content;

/// What is recovered of a file that `sql` makes more of, of which a page of the trace is lost.
fn recovered_with(sql: &str) -> (Report, Connection) {
    let (mut bytes, root) = made(&format!("{TRACE}{sql}"), "trace");
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    let (report, c, _) = recovered(bytes);
    (report, c)
}

fn has(c: &Connection, name: &str) -> bool {
    one(c, &format!("select count(*) from sqlite_schema where name = '{name}'")) == 1
}

#[test]
fn a_view_that_cannot_be_resolved_keeps_nothing_from_being_recovered() {
    for view in [
        "a1 as select id from a2; create view a2 as select id from dataset",
        "a1 as select * from a1",
        "a1 as select nofunc(id) from dataset",
        "a1 as select substr(id) from dataset",
        "a1 as select sum(sum(id)) from dataset",
        "a1 as select id from dataset union select id, name from dataset",
        "a1 as select id from dataset indexed by gone",
        "a1 as select name from pragma_table_info('dataset')",
        "a1 as select name from dataset order by name collate nobody",
    ] {
        let (report, c) = recovered_with(&format!("create view {view};"));
        assert!(one(&c, "select count(*) from trace") > 1900, "{view}: {report:?}");
        assert!(has(&c, "a1"), "{view}");
    }
}

/// The same of a file that a program has made with an order and a function of its own, `mine`.
fn recovered_of_another(sql: &str) -> (Report, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let c = rusqlite::Connection::open(&path).unwrap();
    crate::database::file::refuse_function(&c, "mine").unwrap();
    let order = "pragma writable_schema=on; update sqlite_schema set sql = replace(sql, 'collate nocase', 'collate mine');";
    c.execute_batch(&format!("{TRACE}{sql}{order}")).unwrap();
    let root = one(&c, "select rootpage from sqlite_schema where name = 'trace'") as usize;
    c.close().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    let (report, c, _) = recovered(bytes);
    (report, c)
}

#[test]
fn rows_that_a_program_sorts_or_checks_in_its_own_way_are_kept() {
    let rows = "insert into a1 values('a', 1), ('B', 2), ('c', 3);";
    for (columns, is_as_it_was) in [
        ("x text collate nocase, y", true),
        ("x text check(mine(x) > 0), y", true),
        ("x text check(x > 0), y default (mine(3))", true),
        ("x text collate nocase primary key, y", false),
        ("x text collate nocase unique, y", false),
        ("x text collate nocase, y, primary key(y, x)) without rowid; create table a2(z", false),
        ("x text collate nocase primary key, y) without rowid; create table a2(z", false),
    ] {
        let check = "pragma ignore_check_constraints=on;";
        let (report, c) = recovered_of_another(&format!("{check} create table a1({columns}); {rows}"));
        let told = report.tables.iter().find(|t| t.name == "a1").unwrap();
        assert_eq!((told.recovered, told.lost), (3, 0), "{columns}: {report:?}");
        let right = "select count(*) from a1 where (x, y) in (values('a', 1), ('B', 2), ('c', 3))";
        if !columns.contains("collate") || !is_as_it_was {
            assert_eq!(one(&c, right), 3, "{columns}");
        }
        assert_eq!(one(&c, "select sum(y) from a1 not indexed"), 6, "{columns}");
        let statement = "select count(*) from sqlite_schema where name = 'a1' and sql like '%mine%'";
        assert_eq!(one(&c, statement), i64::from(is_as_it_was), "{columns}");
        let is_told = |report: &Report| {
            report.not_made.iter().any(|what| what.starts_with("a1: it is kept as a plain"))
        };
        assert_eq!(is_told(&report), !is_as_it_was, "{columns}: {report:?}");
        assert!(report.schema_found && !report.is_lossless(), "{columns}");
        assert!(one(&c, "select count(*) from trace") > 1900);
    }
}

#[test]
fn an_index_in_an_order_that_is_not_known_is_left_out_and_said() {
    for index in ["a1(x collate nocase)", "a1(x)", "a1(mine(x))", "a1(y) where mine(x)"] {
        let column = if index == "a1(x)" { "x text collate nocase" } else { "x text" };
        let index = format!("create index a2 on {index};");
        let rows = "insert into a1 values('a', 1), ('B', 2);";
        // SQLite makes what is in the index only of rows that are there.
        let sql = match index.contains("mine") {
            true => format!("create table a1({column}, y); {index}"),
            false => format!("create table a1({column}, y); {rows} {index}"),
        };
        let (report, c) = recovered_of_another(&sql);
        if !index.contains("mine") {
            assert!(!has(&c, "a2"), "{index}");
            assert!(
                report.not_made.iter().any(|what| what.starts_with("a2 could not be made again")),
                "{index}"
            );
            assert_eq!(one(&c, "select count(*) from a1 not indexed"), 2, "{index}");
        }
        assert!(report.schema_found, "{index}");
    }
}

#[test]
fn what_is_not_made_again_is_no_whole_recovery() {
    let rows = "create table a1(x text, y); insert into a1 values('a', 1), ('B', 2);";
    for (sql, is_told) in [
        ("", false),
        ("create index a2 on a1(hex(x));", true),
        ("create index a2 on a1(y) where x like 'a%';", true),
        ("alter table a1 add column z as (hex(x));", true),
        ("create virtual table a2 using rtree(id, low, high);", true),
        ("create view a2 as values(1, 2), (3, 4);", false),
        ("create unique index a2 on a1(x, y;", true),
    ] {
        let sql = sql.replace("y;", "y);");
        let (mut bytes, _) = made(&format!("{TRACE}{rows}{sql}"), "trace");
        if sql.contains("unique") {
            let at = bytes.windows(8).position(|part| part == b"a1(x, y)").unwrap();
            bytes[at + 7] = b'(';
        }
        let (report, c, _) = recovered(bytes);
        assert_eq!(one(&c, "select count(*) from a1 not indexed"), 2, "{sql}");
        assert_eq!((report.not_made.is_empty(), report.lost), (!is_told, 0), "{sql}: {report:?}");
        assert_eq!(report.is_lossless(), !is_told, "{sql}: {report:?}");
        assert!(!is_told || report.lines().iter().any(|line| report.not_made.contains(line)), "{sql}");
    }
}

#[test]
fn pages_are_given_back_as_before() {
    for mode in [0, 1, 2] {
        let (mut bytes, root) = made(&format!("pragma auto_vacuum={mode}; {TRACE}"), "trace");
        bytes[(root - 1) * 4096..root * 4096].fill(0);
        let (_, c, _) = recovered(bytes);
        assert_eq!(one(&c, "pragma auto_vacuum"), mode);
    }
}

/// SQLite asks for its own orders, too, before it makes those for UTF-16 of those for UTF-8.
#[test]
fn sqlites_own_orders_are_its_own_in_every_encoding() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        for collation in ["nocase", "rtrim"] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let c = Connection::open(file.path()).unwrap();
            c.execute_batch(&format!(
                "pragma encoding = '{encoding}'; {TRACE}
                 create table cl(a text collate {collation} primary key, n);
                 create table wl(a text collate {collation} primary key, n) without rowid;
                 insert into cl values('b', 1), ('B ', 2), ('a', 3), ('C', 4); insert into wl select * from cl;"
            ))
            .unwrap();
            let whole = "pragma integrity_check";
            assert_eq!(c.query_row(whole, [], |r| r.get::<_, String>(0)).unwrap(), "ok");
            c.close().unwrap();
            let mut bytes = std::fs::read(file.path()).unwrap();
            let database = Database::open(Content::Bytes(bytes.clone().into()), "x").unwrap();
            database.integrity_check().unwrap();
            // So that only salvage reads it.
            bytes[19] = 9;
            let (report, c, _) = recovered(bytes);
            assert_eq!(
                c.query_row(whole, [], |r| r.get::<_, String>(0)).unwrap(),
                "ok",
                "{encoding} {collation}"
            );
            for table in ["cl", "wl"] {
                assert_eq!(
                    one(&c, &format!("select count(*) from {table} where a = 'C'")),
                    1,
                    "{encoding} {collation}"
                );
                assert_eq!(one(&c, &format!("select count(*) from {table}")), 4, "{report:?}");
            }
        }
    }
}
