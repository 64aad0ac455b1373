//! What is damage to a check, and what is none.

use super::*;
use crate::database::tests::{PROJECT, made};
use crate::error::Error;
use crate::tree::Content;

const PAGE: usize = 4096;

fn with_rows(sql: &str) -> Vec<u8> {
    let rows = "
        insert into dataset(id, name) values(1, 'a');
        with recursive n(i) as (select 0 union all select i + 1 from n where i < 3999)
        insert into trace select 1, i * 0.1, i * 100000, i * 0.01, 37.0 from n;
        insert into event(dataset_id, t_seconds, label) select 1, t_seconds, 'x' from trace limit 90;";
    let Content::Bytes(bytes) = made(&format!("{PROJECT}{sql}{rows}")) else { unreachable!() };
    bytes.to_vec()
}

#[test]
fn an_index_that_cannot_be_opened_is_damage_also_where_it_is_empty() {
    let whole = with_rows("create table empty(a, b); create index of_empty on empty(a);");
    let database = |bytes: &[u8]| Database::open(Content::Bytes(bytes.into()), "x").unwrap();
    database(&whole).integrity_check().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &whole).unwrap();
    let sql = "select rootpage from sqlite_schema where name = 'of_empty'";
    let c = Connection::open(file.path()).unwrap();
    let root: usize = c.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    let at = (root - 1) * PAGE;
    assert_eq!(whole[at], LEAF);
    for kind in [INTERIOR, 5, 13, 0] {
        let mut bytes = whole.clone();
        bytes[at] = kind;
        let Err(Error::Damaged { what, .. }) = database(&bytes).integrity_check() else {
            panic!("{kind} is no damage")
        };
        assert!(kind != INTERIOR || what.contains("of_empty cannot be opened"), "{what}");
    }
}

fn changed(bytes: &[u8], sql: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let c = Connection::open(file.path()).unwrap();
    c.execute_batch(sql).unwrap();
    c.close().unwrap();
    std::fs::read(file.path()).unwrap()
}

/// Leaves of keyed rows that have many.
fn leaves(bytes: &[u8]) -> Vec<usize> {
    let many = |page: &[u8]| page[0] == 10 && u16::from_be_bytes([page[3], page[4]]) > 80;
    (0..bytes.len() / PAGE).filter(|n| many(&bytes[n * PAGE..(n + 1) * PAGE])).collect()
}

fn code(bytes: Vec<u8>) -> Option<&'static str> {
    let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
    database.quick_check().unwrap();
    match database.integrity_check() {
        Ok(()) => None,
        Err(Error::Damaged { code, .. }) => Some(code),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn rows_out_of_order_are_damage_that_the_quick_check_passes() {
    for more in ["", "create index odd on event(abs(t_seconds)); alter table meta add column v as (key);"] {
        let mut bytes = with_rows(more);
        assert_eq!(code(bytes.clone()), None);
        let leaves = leaves(&bytes);
        let (one, other) = (leaves[leaves.len() / 3] * PAGE, leaves[leaves.len() / 2] * PAGE);
        for i in 0..PAGE {
            bytes.swap(one + i, other + i);
        }
        assert_eq!(code(bytes), Some("integrity-check-failed"));
    }
}

#[test]
fn an_index_without_its_rows_is_damage() {
    let live = "create index live on event(dataset_id) where deleted_utc is null;";
    assert_eq!(code(with_rows(live)), None);
    // Each index now leads to the entries of the other.
    let swapped = "pragma writable_schema=on; update sqlite_schema set rootpage = (select sum(rootpage) from
        sqlite_schema where name in ('live', 'event_ds_t')) - rootpage where name in ('live', 'event_ds_t');";
    assert_eq!(code(changed(&with_rows(live), swapped)), Some("integrity-check-failed"));
}

#[test]
fn a_column_that_cannot_be_computed_is_no_damage() {
    // Whoever computes it fails: SQLite has no such number.
    let fails = "fails integer as (abs(-9223372036854775807 - 1 + (key is null)))";
    // So it does in a table of which no list of tables knows, because of its name.
    let hidden = "name = 'sqlite_x', tbl_name = 'sqlite_x', type = 'TABLE', sql = replace(sql, 'aqlite_x', 'sqlite_x')";
    let plain = with_rows(
        "create table aqlite_x(key); insert into aqlite_x values(1); insert into meta values(1, 2);",
    );
    for (table, more) in [("meta", "rootpage = rootpage"), ("aqlite_x", hidden)] {
        let sql = format!(
            "pragma writable_schema=on;
             update sqlite_schema set sql = replace(sql, '(key', '({fails}, key')
                 where name = '{table}';
             update sqlite_schema set {more} where name = '{table}';"
        );
        let bytes = changed(&plain, &sql);
        assert_eq!(code(bytes), None, "{table}");
    }
    let fails = "pragma writable_schema=on; update sqlite_schema set sql = replace(sql, 'temp real',
        'temp real, fails integer as (abs(-9223372036854775807 - 1 + (t_us < 0)))') where name = 'trace'";
    let mut bytes = changed(&plain, fails);
    assert_eq!(code(bytes.clone()), None);
    let leaves = leaves(&bytes);
    let at = leaves[leaves.len() / 2] * PAGE;
    bytes[at + 8..at + PAGE].fill(0xff);
    let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
    assert!(matches!(database.quick_check(), Err(Error::Damaged { .. })), "what it stores is still read");
}

#[test]
fn lost_pages_of_an_index_beside_a_computed_column_are_damage() {
    let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
        insert into odd select i, hex(i * 7919 % 4001), 0 from n where i < 3999
        union all select i, replace(hex(zeroblob(10000 + i)), '0', 'y'), 0 from n where i > 3998;";
    let columns = "a integer primary key, b text, c integer";
    let tables = format!("create table odd({columns}, d as (length(b)));
        create index on_b on odd(b); create index on_d on odd(d, a); create index part on odd(b) where a > 9;");
    for index in ["on_b", "on_d", "part"] {
        let bytes = with_rows(&format!("{tables} {rows}"));
        assert_eq!(code(bytes.clone()), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), &bytes).unwrap();
        let c = Connection::open(dir.path().join("x")).unwrap();
        let mut pages = c.prepare("select pageno, pagetype from dbstat where name = ?1").unwrap();
        let pages = pages.query_map([index], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        let pages: Vec<(i64, String)> = pages.map(|page| page.unwrap()).collect();
        assert!(pages.len() > 5, "{pages:?}");
        for (number, kind) in pages {
            let number = number as usize;
            // What ends in zeros may be a value.
            if kind == "overflow" && bytes[(number - 1) * PAGE..][..4] == [0; 4] {
                continue;
            }
            let mut bytes = bytes.clone();
            bytes[(number - 1) * PAGE..number * PAGE].fill(0);
            let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
            let checked = database.quick_check();
            assert!(matches!(checked, Err(Error::Damaged { .. })), "{index} {number} {kind}: {checked:?}");
        }
    }
}

#[test]
fn bytes_that_are_lost_beside_a_computed_column_are_damage() {
    let long = "cast(replace(hex(zeroblob(10000)), '0', 'x') as blob)";
    let mut bytes =
        with_rows(&format!("create table odd(a, b as (length(a))); insert into odd values({long});"));
    assert_eq!(code(bytes.clone()), None);
    let page = |page: &[u8]| page[4..].iter().all(|b| *b == b'x');
    let first = bytes.chunks(PAGE).position(page).unwrap() * PAGE;
    bytes[first..first + 4].fill(0xff);
    let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
    assert!(matches!(database.quick_check(), Err(Error::Damaged { .. })));
}

#[test]
fn a_virtual_table_is_no_damage() {
    let places = "create virtual table places using rtree(id, low, high);";
    let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
    for more in [places.to_string(), format!("{places}{slow}")] {
        let database = Database::open(made(&format!("{PROJECT}{more}")), "x").unwrap();
        database.quick_check().unwrap();
        database.integrity_check().unwrap();
    }
}

#[test]
fn tables_that_no_check_looks_at_are_told() {
    let unchecked = |sql: &str| {
        let database = Database::open(made(&format!("{PROJECT}{sql}")), "x").unwrap();
        database.integrity_check().unwrap();
        database.unchecked().unwrap()
    };
    let none = (Vec::new(), 0);
    let counted = "create table counted(id integer primary key autoincrement, key text); analyze;";
    let computed = "create table odd(key, v as (key));";
    let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
    for sql in ["", counted, computed, slow, &format!("{counted}{computed}"), &format!("{counted}{slow}")] {
        assert_eq!(unchecked(sql), none, "{sql}");
    }
    // A project has nine tables, which come before all others.
    let many = |n: usize| (0..n).map(|i| format!("create table t{i:04}(a);")).collect::<String>();
    assert_eq!(unchecked(&many(991)), none);
    assert_eq!(unchecked(&many(992)), (vec!["t0991".to_string()], 1));
    let (names, all) = unchecked(&many(1004));
    let last = |n: usize| format!("t{n:04}");
    assert_eq!((names, all), ((991..1001).map(last).collect(), 13));
}

#[test]
fn what_a_schema_computes_is_not_run_by_the_check() {
    let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
    let database = Database::open(made(&format!("{PROJECT}{slow}")), "x").unwrap();
    database.integrity_check().unwrap();
    assert!(database.with(|link| Ok(is_plain(&link.connection, "trace")?)).unwrap());
    assert!(!database.with(|link| Ok(is_plain(&link.connection, "event")?)).unwrap());
    assert_eq!(database.checked_in_part().unwrap(), ["event"]);
    for (condition, is) in [("deleted_utc is null", true), ("length(label) > 3", false)] {
        let sql = format!("{PROJECT} create index part on event(dataset_id) where {condition};");
        let database = Database::open(made(&sql), "x").unwrap();
        assert_eq!(database.with(|link| Ok(is_plain(&link.connection, "event")?)).unwrap(), is);
        database.integrity_check().unwrap();
    }
}

#[test]
fn a_view_that_cannot_be_resolved_is_no_damage() {
    for view in [
        "a1 as select id from a2; create view a2 as select id from event",
        "a1 as select * from a1",
        "a1 as select nofunc(id) from event",
        "a1 as select substr(id) from event",
        "a1 as select dataset_id from event join trace",
        "a1 as select * from event e join dataset d using(nocol)",
        "a1 as select sum(sum(id)) from event",
        "a1 as select id from event union select id, label from event",
        "a1 as select id from event group by 7",
        "a1 as select id from event indexed by gone",
        "a1 as select name from pragma_table_info('event')",
        "a1 as with recursive n(i) as (select 1 union all select i from n) select i from n",
        "a1 as select label from event order by label collate nobody",
        "a1(x, y) as select id from event",
    ] {
        let bytes = with_rows(&format!("create view {view};"));
        assert_eq!(code(bytes.clone()), None, "{view}");
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        assert_eq!(database.checked_in_part().unwrap(), [""; 0], "{view}");
        assert_eq!(database.unchecked().unwrap().1, 0, "{view}");
    }
}

#[test]
fn views_that_would_take_for_ever_are_not_opened() {
    let views: String =
        (1..40).map(|n| format!("create view v{n} as select * from v{0}, v{0};", n - 1)).collect();
    let bytes = with_rows(&format!("create view v0 as select 1 as a; {views}"));
    assert_eq!(code(bytes.clone()), None);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let since = std::time::Instant::now();
    thorough(&Connection::open(file.path()).unwrap()).unwrap();
    assert!(since.elapsed().as_secs() < 5);
}

/// A project with a part that was made with a collation and a function that no other program has.
fn with_own(sql: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), with_rows("")).unwrap();
    let c = Connection::open(file.path()).unwrap();
    // The other way round than here.
    let order = "pragma writable_schema=on; update sqlite_schema set sql = replace(sql, 'collate nocase', 'collate mine');";
    crate::database::file::refuse_function(&c, "mine").unwrap();
    c.execute_batch(&format!("{sql} {order}")).unwrap();
    c.close().unwrap();
    std::fs::read(file.path()).unwrap()
}

#[test]
fn an_order_or_a_function_that_is_not_known_is_no_damage() {
    let rows = "insert into a1 values('a', 1), ('B', 2), ('c', 3);";
    for (sql, part) in [
        (format!("create table a1(x text collate nocase, y); {rows}"), None),
        (format!("create table a1(x text collate nocase primary key, y); {rows}"), Some("a1")),
        (format!("create table a1(x text collate nocase primary key, y) without rowid; {rows}"), Some("a1")),
        (
            format!(
                "create table a1(x text collate nocase, y); create index a2 on a1(y) where x > 'b'; {rows}"
            ),
            Some("a1"),
        ),
        (
            format!("create table a1(x, y); create index a2 on a1(y) where x collate nocase > 'b'; {rows}"),
            Some("a1"),
        ),
        ("create index a1 on dataset(name collate nocase);".into(), Some("dataset")),
        ("create table a1(x check(mine(x) > 0));".into(), None),
        ("create table a1(x, y as (mine(x)), z as (mine(x)) stored);".into(), Some("a1")),
        ("create index a1 on meta(mine(key));".into(), Some("meta")),
        ("create index a1 on meta(key) where mine(key);".into(), Some("meta")),
    ] {
        let bytes = with_own(&sql);
        assert_eq!(code(bytes.clone()), None, "{sql}");
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        assert_eq!(database.checked_in_part().unwrap(), part.into_iter().collect::<Vec<_>>(), "{sql}");
        if sql.contains("a1 values") {
            assert_eq!(database.row_count("a1").unwrap(), Some(3), "{sql}");
        }
    }
}

#[test]
fn an_operator_in_the_condition_of_an_index_is_not_run_and_is_no_damage() {
    for condition in
        ["label like 'x%'", "label GLOB 'x*'", "t_seconds->>'a' is null", "t_seconds->'a' is null"]
    {
        let bytes = with_rows(&format!("create index part on event(dataset_id) where {condition};"));
        assert_eq!(code(bytes.clone()), None, "{condition}");
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        assert_eq!(database.checked_in_part().unwrap(), ["event"], "{condition}");
    }
}
