//! What somebody has meant beside what damage has made: neither is taken for the other.

use rusqlite::Connection;

use super::Report;
use super::heads::project;
use super::hostile::{made, one, recovered};

/// Where a text begins in the statement that makes a table.
fn place(bytes: &[u8], table: &str, text: &str) -> usize {
    let find = |from: usize, what: &str| {
        let at = bytes[from..].windows(what.len()).position(|window| window == what.as_bytes());
        from + at.unwrap_or_else(|| panic!("no {what}"))
    };
    find(find(0, &format!("CREATE TABLE {table}(")), text)
}

fn columns(c: &Connection, table: &str) -> Vec<String> {
    c.prepare(&format!("select * from {table}")).unwrap().column_names().map(str::to_string).collect()
}

fn told<'a>(report: &'a Report, table: &str) -> &'a super::TableReport {
    report.tables.iter().find(|t| t.name == table).unwrap()
}

/// Names that somebody has changed, or columns that were added, and a letter that SQLite does not take.
#[test]
fn what_is_meant_otherwise_is_never_mended_away_as_complete() {
    for (table, meant, damaged) in [
        (
            "trace",
            "alter table trace rename column p1 to px; alter table trace rename column p2 to p1;
             alter table trace rename column px to p2;",
            "WITHOUT ROWID",
        ),
        ("trace", "alter table trace rename column temp to t_C;", "WITHOUT ROWID"),
        ("trace", "alter table trace rename column p1 to pin;", "PRIMARY KEY("),
        ("dataset", "alter table dataset rename column fps to hz;", "PRIMARY KEY,"),
        ("dataset", "alter table dataset add column z;", "DEFAULT 0"),
    ] {
        let mut bytes = project("", meant);
        let at = place(&bytes, table, damaged) + damaged.len() - 3;
        bytes[at] = b'$';
        let (report, c, _) = recovered(bytes);
        assert!(!report.is_lossless(), "{meant} {:?}: {report:?}", columns(&c, table));
    }
}

/// Of a page of the schema, one cell of which is damaged, the others are as they were written.
#[test]
fn a_table_of_a_stranger_does_not_become_one_of_the_application() {
    let more = "insert into meta select 'k' || id, 'v' || id from event limit 20;
        create table notes(id integer primary key, txt text); insert into notes select id, label from event;
        insert into event_audit(dataset_id, event_id, action, source, utc_ts) select 1, id, 'a', 's', 't' from event;
        create table aud(id integer primary key, dataset_id, event_id, action, old_json, new_json, source,
            utc_ts); insert into aud select 1000 + id, 2, 2, 'b', 'o', 'n', 'q', 'u' from event_audit;";
    let bytes = made(&format!("pragma page_size = 16384; {}", with(more)), "trace").0;
    let cells = usize::from(u16::from_be_bytes([bytes[103], bytes[104]]));
    let two = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    for cell in 0..cells {
        for (byte, bit) in [(0, 1), (1, 1)] {
            let mut bytes = bytes.clone();
            bytes[two(108 + 2 * cell) + byte] ^= bit;
            let (report, c, _) = recovered(bytes);
            let case = format!("{cell} {byte} {bit}: {report:?}");
            let exists = |table: &str| {
                one(&c, &format!("select count(*) from sqlite_schema where name = '{table}'")) == 1
            };
            for (table, own, n) in [
                ("meta", "key like 'k%'", 20),
                ("thumbnail", "0", 0),
                ("event_audit", "action = 'a'", 60),
                ("notes", "txt like 'label%'", 60),
                ("aud", "action = 'b'", 60),
            ] {
                if !exists(table) {
                    assert!(["notes", "aud"].contains(&table), "{table} {case}");
                    assert!(!report.is_lossless() && report.set_apart.is_some(), "{table} {case}");
                    continue;
                }
                let there = one(&c, &format!("select count(*) from {table}"));
                let right = one(&c, &format!("select count(*) from {table} where {own}"));
                assert_eq!(there, right, "{table} {case}");
                // Rows that two tables could have are set apart.
                let is_told = !report.is_lossless() && report.set_apart.is_some();
                assert!(there == n || table == "event_audit" && is_told, "{table} {case}");
                assert_eq!(told(&report, table).duplicates, 0, "{table} {case}");
            }
        }
    }
}

fn with(more: &str) -> String {
    super::heads::with_project("", more)
}

/// A leaf of it lies twice in the file, and a row is there twice.
#[test]
fn a_table_that_says_itself_what_becomes_of_duplicates_is_recovered() {
    for table in [
        "k integer primary key on conflict replace, v text)",
        "k integer primary key on conflict ignore, v text)",
        "k integer primary key on conflict rollback, v text)",
        "k integer primary key, v text unique on conflict replace)",
        "k text, v text unique on conflict ignore)",
        "k integer primary key, v text unique on conflict rollback)",
        "k integer primary key on conflict replace, v text) without rowid",
        "k integer primary key, v text)",
    ] {
        let more = format!(
            "create table cz({table};
             with recursive n(i) as (select 1 union all select i + 1 from n where i <= 3000)
             insert into cz select i, 'some value ' || i from n;"
        );
        let (mut bytes, root) = made(&format!("pragma page_size = 1024; {}", with(&more)), "cz");
        let child = |cell: usize| {
            let page = &bytes[(root - 1) * 1024..root * 1024];
            let at = usize::from(u16::from_be_bytes([page[12 + 2 * cell], page[13 + 2 * cell]]));
            u32::from_be_bytes(page[at..at + 4].try_into().unwrap()) as usize
        };
        let (from, to) = (child(5), child(20));
        bytes.copy_within((from - 1) * 1024..from * 1024, (to - 1) * 1024);
        let (report, c, _) = recovered(bytes);
        let right = "select count(*) from cz where v = 'some value ' || k";
        let n = one(&c, "select count(*) from cz");
        assert!((2900..3001).contains(&n) && one(&c, right) == n, "{table} {n}: {report:?}");
        assert!(told(&report, "cz").recovered == n as u64 && !report.is_lossless(), "{table}: {report:?}");
        assert_eq!(one(&c, "select count(*) from trace"), 4000, "{table}");
    }
}
