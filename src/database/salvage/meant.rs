//! What somebody has meant beside what damage has made: neither is taken for the other.

use super::Report;
use super::hostile::{made, one, recovered};

fn told<'a>(report: &'a Report, table: &str) -> &'a super::TableReport {
    report.tables.iter().find(|t| t.name == table).unwrap()
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
