//! Rows and pages that are whole and look like others: each comes back, and as its own table's.

use super::Report;
use super::hostile::{TRACE, made, one, recovered};

#[test]
fn a_zero_in_eight_bytes_with_more_behind_it_is_no_torn_row() {
    // SQLite writes the time of the first row so, which lies where its page ends.
    let (bytes, root) = made(&TRACE.replace("1 + i * 0.1", "i * 0.1"), "trace");
    assert!(bytes.windows(12).any(|w| w[..3] == [9, 7, 8] && w[4..] == [0; 8]));
    // Clean, and with another page gone.
    for other in [None, Some(root)] {
        let mut bytes = bytes.clone();
        other.into_iter().for_each(|page| bytes[(page - 1) * 4096..page * 4096].fill(0));
        let (report, c, _) = recovered(bytes);
        assert_eq!(one(&c, "select count(*) from trace where t_seconds = 0.0 and inner_diam = 5.0"), 1);
        let trace = report.tables.iter().find(|t| t.name == "trace").unwrap();
        assert!(other.is_some() || trace.lost == 0, "{trace:?}");
    }
}

const TWINS: &str = "
    create table meta(key text primary key, value text);
    create table dataset(id integer primary key, name text);
    insert into dataset values(1, 'a');
    create table a(x integer primary key, y real, n text) without rowid;
    create table b(x integer primary key, y real, n text) without rowid;
    with recursive n(i) as (select 0 union all select i + 1 from n where i < 2999)
    insert into a select i, i * 0.5 + 0.25, 'a' || i from n;
    insert into b select x + 5000, y, 'b' || (x + 5000) from a;";

/// A file of small pages that `sql` makes, where the tree of a table begins, and how many rows lie there.
fn small(sql: &str, table: &str) -> (Vec<u8>, usize, usize) {
    let (bytes, root) = made(&format!("pragma page_size=1024; {sql}"), table);
    let at = (root - 1) * 1024;
    assert_eq!(bytes[at], 2, "an interior page");
    let rows = usize::from(bytes[at + 4]);
    (bytes, at, rows)
}

fn lost(report: &Report, table: &str) -> u64 {
    report.tables.iter().find(|t| t.name == table).unwrap().lost
}

#[test]
fn pages_that_two_tables_could_have_are_those_of_the_one_that_lost_some() {
    for (table, other) in [("a", "b"), ("b", "a")] {
        let (mut bytes, at, rows) = small(TWINS, table);
        bytes[at..at + 1024].fill(0);
        let (report, c, _) = recovered(bytes);
        let count = |t: &str| one(&c, &format!("select count(*) from {t} where n = '{t}' || x"));
        assert_eq!((count(table), count(other)), (3000 - rows as i64, 3000), "{report:?}");
        assert_eq!(one(&c, &format!("select count(*) from {table}")), 3000 - rows as i64);
    }
}

#[test]
fn a_copy_of_a_page_of_one_table_is_no_page_of_another() {
    let (mut copied, root, _) = small(TWINS, "a");
    let (_, others, _) = small(TWINS, "b");
    // The first leaf of each: no key of the one belongs into the other.
    let leaf = |mut at: usize| {
        while copied[at] == 2 {
            let cell = usize::from(u16::from_be_bytes([copied[at + 12], copied[at + 13]]));
            at = (u32::from_be_bytes(copied[at + cell..][..4].try_into().unwrap()) as usize - 1) * 1024;
        }
        at
    };
    let (from, to) = (leaf(others), leaf(root));
    copied.copy_within(from..from + 1024, to);
    let (report, c, _) = recovered(copied);
    assert_eq!(one(&c, "select count(*) from a where n <> 'a' || x"), 0);
    assert!(one(&c, "select count(*) from a") > 2900 && lost(&report, "a") > 0, "{report:?}");
    assert_eq!(one(&c, "select count(*) from b where n = 'b' || x"), 3000);
}

#[test]
fn pages_that_an_index_could_have_are_those_of_the_table_that_lost_some() {
    let sql = "create table p(x integer, y integer, primary key(x, y)) without rowid;
        create index py on p(y, x);
        with recursive n(i) as (select 0 union all select i + 1 from n where i < 3999)
        insert into p select i, 9000 - i from n;";
    let (bytes, at, rows) = small(&format!("{TWINS}{sql}"), "p");
    let mut without = bytes.clone();
    without[at..at + 1024].fill(0);
    let (report, c, _) = recovered(without);
    assert_eq!(one(&c, "select count(*) from p where x + y = 9000 and x < 4000"), 4000 - rows as i64);
    assert_eq!((one(&c, "select count(*) from p"), lost(&report, "p")), (4000 - rows as i64, rows as u64));
    // Where both have lost some, nobody can tell.
    let (_, index, _) = small(&format!("{TWINS}{sql}"), "py");
    let mut without = bytes;
    for page in [at, index] {
        without[page..page + 1024].fill(0);
    }
    let (report, c, _) = recovered(without);
    assert_eq!(one(&c, "select count(*) from p"), 0);
    assert!(!report.is_lossless());
}

#[test]
fn short_rows_of_a_table_that_was_given_columns_are_its_own() {
    let sql = "create table s(k integer primary key, n text) without rowid;
        create index sn on s(n);
        with recursive n(i) as (select 0 union all select i + 1 from n where i < 2999)
        insert into s select i, 'n' || i from n;
        alter table s add column c real; alter table s add column d text default 'x';
        insert into s select k + 3000, n, k + 0.5, 'y' from s where k < 1000;";
    let (mut bytes, at, rows) = small(&format!("{TWINS}{sql}"), "s");
    bytes[at..at + 1024].fill(0);
    let (report, c, _) = recovered(bytes);
    let right = "select count(*) from s where n = 'n' || (k % 3000) and d = iif(k < 3000, 'x', 'y')
        and c is iif(k < 3000, null, k - 2999.5)";
    assert_eq!((one(&c, right), lost(&report, "s")), (4000 - rows as i64, rows as u64), "{report:?}");
}

#[test]
fn pages_of_a_table_that_the_schema_has_lost_are_given_to_no_other() {
    let sql = format!(
        "{TRACE} create table ref(asset_id integer not null, dataset_id integer not null, role text not null,
            primary key(asset_id, dataset_id, role)) without rowid;
        insert into ref values(1, 1, 'a'), (2, 1, 'b'), (3, 1, 'c');
        create table wr(k text primary key, n integer, v text) without rowid;
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
        insert into wr select 'k' || (i * 7919), i, 'v' || i from n;"
    );
    let (mut bytes, _) = made(&format!("pragma page_size=512; {sql}"), "wr");
    let lost: Vec<usize> = (1..bytes.len() / 512)
        .filter(|page| {
            bytes[page * 512..][..512].windows(15).any(|text| text.eq_ignore_ascii_case(b"create table wr"))
        })
        .collect();
    assert_eq!(lost.len(), 1);
    bytes[lost[0] * 512..][..512].fill(0);
    let (report, c, _) = recovered(bytes);
    // Most of their values are of the types that `ref` declares.
    assert_eq!(one(&c, "select count(*) from ref where typeof(asset_id) <> 'integer'"), 0, "{report:?}");
    assert!(!report.is_lossless());
    let is_told = |note: &String| note.starts_with("300 rows of tables whose names are lost");
    assert!(report.notes.iter().any(is_told), "{report:?}");
    let kept = "select count(*) from lost_and_found where c0 = 'k' || (c1 * 7919) and c2 = 'v' || c1";
    assert_eq!(one(&c, kept), 300);
}
