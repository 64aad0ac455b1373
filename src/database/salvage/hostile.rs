//! Files that would make a recovery take for ever, or fill a disk or the memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rusqlite::Connection;

use super::page::{Cell, Head, Kind};
use super::{Report, recover, recover_unnamed};
use crate::database::Database;
use crate::error::Result;
use crate::tree::{Coded, Content};

pub const TRACE: &str = "
    create table meta(key text primary key, value text);
    create table dataset(id integer primary key, name text, extra_json text);
    create table trace(dataset_id integer, t_seconds real, t_us integer, inner_diam real,
        primary key(dataset_id, t_seconds)) without rowid;
    insert into dataset values(1, 'a', null);
    with recursive n(i) as (select 0 union all select i + 1 from n where i < 1999)
    insert into trace select 1, 1 + i * 0.1, i * 100000, 5 + i * 0.01 from n;";

/// A file that `sql` makes, and the page at which a table begins.
pub fn made(sql: &str, table: &str) -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let c = Connection::open(&path).unwrap();
    c.execute_batch(sql).unwrap();
    let root =
        c.query_row("select rootpage from sqlite_schema where name = ?1", [table], |r| r.get::<_, u32>(0));
    let root = root.unwrap() as usize;
    c.close().unwrap();
    (std::fs::read(path).unwrap(), root)
}

/// Without the root of the trace, which makes it damaged.
fn damaged(sql: &str) -> Vec<u8> {
    let (mut bytes, root) = made(&format!("{TRACE}{sql}"), "trace");
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    bytes
}

/// What is recovered, what of each table, and how large it is.
pub fn recovered(bytes: Vec<u8>) -> (Report, Connection, u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.sqlite");
    std::fs::write(&path, b"").unwrap();
    let report = recover(&Content::Bytes(bytes.into()), &path).unwrap().unwrap();
    let size = path.metadata().unwrap().len();
    // The file stays open without its name.
    let c = Connection::open(&path).unwrap();
    one(&c, "select count(*) from sqlite_schema");
    (report, c, size)
}

pub fn one(c: &Connection, sql: &str) -> i64 {
    c.query_row(sql, [], |r| r.get(0)).unwrap()
}

/// Replaces a part of a statement, as SQLite would not.
fn rewritten(sql: &str, was: &str, is: &str) -> String {
    let is = is.replace('\'', "''");
    format!(
        "{sql} pragma writable_schema=on;
         update sqlite_schema set sql = replace(sql, '{was}', '{is}'); pragma writable_schema=reset;"
    )
}

const THREE_HUNDRED: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
    insert into x select i, 'b' from n;";

#[test]
fn a_default_is_put_in_only_where_it_is_a_constant() {
    let sql = format!("create table x(a integer, b); {THREE_HUNDRED}");
    let size = damaged("").len() as u64;
    for (default, is) in [
        ("(zeroblob(20000000))", "null"),
        ("current_timestamp", "null"),
        ("(random())", "null"),
        ("((current_timestamp))", "null"),
        ("(1 + 1)", "null"),
        ("('a' || 'b')", "null"),
        ("'it''s (x)'", "'it''s (x)'"),
        ("-5", "-5"),
        ("1.5e-3", "0.0015"),
        ("0x1e", "30"),
        ("active", "'active'"),
        ("\"it's\"", "'it''s'"),
        ("(cast(7 as varchar(10)))", "'7'"),
        ("(-(5))", "-5"),
        ("x'00ff'", "x'00ff'"),
        ("(cast('7' as integer))", "7"),
    ] {
        let sql = rewritten(&sql, "a integer, b", &format!("a integer, b, c default {default}"));
        // As SQLite reads the rows while they are whole.
        let whole = Connection::open_in_memory().unwrap();
        whole.execute_batch(&sql).unwrap();
        assert_eq!(one(&whole, &format!("select count(*) from x where c is {is}")), 300, "{default}");
        let bytes = damaged(&sql);
        let (report, c, written) = recovered(bytes);
        assert!(written < size * 2, "{written}");
        assert_eq!(one(&c, &format!("select count(*) from x where c is {is} and b = 'b'")), 300, "{default}");
        assert!(
            report.tables.iter().any(|t| t.name == "x" && (t.recovered, t.lost, t.refused) == (300, 0, 0))
        );
        assert!(one(&c, "select count(*) from trace") > 1900);
    }
}

#[test]
fn a_table_that_its_schema_blows_up_is_left_out_and_said() {
    let sql = format!("create table x(a integer, b); {THREE_HUNDRED}");
    // Each is twice the one before, until it is longer than any value of this file.
    let columns: String = (0..16).map(|n| format!(", c{} as (c{n} || c{n}) stored", n + 1)).collect();
    let columns = format!("a integer, b, c0 as (b || 'twenty letters or so') stored{columns}");
    let bytes = damaged(&rewritten(&sql, "a integer, b", &columns));
    let size = bytes.len() as u64;
    let (report, c, written) = recovered(bytes);
    assert!(written < size * 12 + (16 << 20), "{written}");
    assert_eq!(one(&c, "select count(*) from x"), 0);
    let table = report.tables.iter().find(|t| t.name == "x").unwrap();
    assert_eq!((table.recovered, table.refused), (0, 300));
    assert!(report.notes.iter().any(|note| note.starts_with("x: ")), "{:?}", report.notes);
    assert!(one(&c, "select count(*) from trace") > 1900);
}

#[test]
fn an_index_that_cannot_be_made_is_left_out_and_its_rows_are_kept() {
    let rows = "create table x(a integer, b); create index good on x(lower(b));
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 9000)
        insert into x select i, 'b' from n; create index slow on x(a);";
    let slow = "length(replace(hex(zeroblob(9000000)),'0','ab'))";
    for (was, is) in [
        ("slow on x(a)", format!("slow on x({slow})")),
        ("slow on x(a)", format!("slow on x(a) where {slow} > 3")),
    ] {
        let (report, c, _) = recovered(damaged(&rewritten(rows, was, &is)));
        assert_eq!(one(&c, "select count(*) from x"), 9000);
        let indices: String = c
            .query_row(
                "select group_concat(name) from sqlite_schema where type = 'index' and sql is not null",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(indices, "good");
        assert!(
            report.not_made.iter().any(|n| n.starts_with("slow could not be made again"))
                && !report.is_lossless(),
            "{report:?}"
        );
    }
}

#[test]
fn what_cannot_be_computed_here_is_kept_as_it_was_stored() {
    let sql = |columns: &str| {
        format!("create table x({columns}); {}", THREE_HUNDRED.replace("into x", "into x(a, b)"))
    };
    let slow = "length(replace(hex(zeroblob(9000000)),'0','ab'))";
    for (columns, was, is) in [
        ("a integer, b, c text as (hex(b)) stored", "", ""),
        ("a integer primary key, b, c integer as (length(b)) stored", "length(b)", slow),
        ("a integer, b, c integer as (length(b))", "length(b)", slow),
        (
            "c text as (hex(b)) stored, a integer, b, primary key(b, a)) without rowid; create table y(a",
            "hex(b)",
            slow,
        ),
    ] {
        let (report, c, _) = recovered(damaged(&rewritten(&sql(columns), was, is)));
        assert_eq!(one(&c, "select count(distinct a) from x where b = 'b'"), 300, "{columns}");
        if !columns.contains("length(b))") || columns.contains("stored") {
            let value = if columns.contains("hex") { "'62'" } else { "1" };
            assert_eq!(one(&c, &format!("select count(*) from x where c = {value}")), 300, "{columns}");
        }
        let table = report.tables.iter().find(|t| t.name == "x").unwrap();
        assert_eq!((table.recovered, table.refused, table.lost), (300, 0, 0), "{columns}");
        assert!(report.not_made.iter().any(|n| n.starts_with("x: its computed columns")), "{report:?}");
    }
}

/// Bytes that count how many of them are read, and may see how many files a folder has meanwhile.
#[derive(Debug)]
struct Watched {
    content: Content,
    bytes: AtomicU64,
    folder: Option<PathBuf>,
    files: AtomicUsize,
}

impl Coded for Watched {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn is_ready(&self, _: u64, _: usize) -> bool {
        true
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        if let Some(folder) = &self.folder {
            self.files.fetch_max(std::fs::read_dir(folder).unwrap().count(), Ordering::Relaxed);
        }
        self.content.read_at(offset, buf).map(drop)
    }
}

fn watched(bytes: Vec<u8>, folder: Option<PathBuf>) -> Arc<Watched> {
    let content = Content::Bytes(bytes.into());
    Arc::new(Watched { content, folder, bytes: AtomicU64::new(0), files: AtomicUsize::new(0) })
}

/// Letters, more than are kept of a file.
const LETTERS: &str = "replace(hex(zeroblob(4000000)), '0', 'x')";

#[test]
fn what_many_pointers_lead_to_is_not_read_many_times() {
    let sql = "create table ref(asset_id integer, dataset_id integer, role text, note text,
        primary key(asset_id, dataset_id, role)) without rowid;";
    let sql = format!("{TRACE}{sql} insert into ref values(1, 1, {LETTERS}, null);");
    let (bytes, root) = made(&sql, "ref");
    let read = |cells: u8| {
        let mut bytes = bytes.clone();
        let page = &mut bytes[(root - 1) * 4096..root * 4096];
        page[4] = cells;
        let pointer = [page[8], page[9]];
        page[8..8 + 2 * usize::from(cells)].chunks_mut(2).for_each(|place| place.copy_from_slice(&pointer));
        let watched = watched(bytes, None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.sqlite");
        std::fs::write(&path, b"").unwrap();
        let report = recover(&Content::Coded(watched.clone()), &path).unwrap().unwrap();
        let of_ref = report.tables.iter().find(|t| t.name == "ref").unwrap().recovered;
        (watched.bytes.load(Ordering::Relaxed), of_ref)
    };
    let (once, rows) = read(1);
    assert_eq!(rows, 1);
    let (often, rows) = read(60);
    assert!(often <= 2 * once, "{often} bytes, and {once} for one pointer");
    // The page is full of what the first one leads to.
    assert_eq!(rows, 1);
}

#[test]
fn keys_that_differ_only_behind_a_page_are_all_kept() {
    let sql = "create table long(role text primary key, n integer) without rowid; create index by_role on long(role, n);
        with recursive n(i) as (select 100 union all select i + 1 from n where i < 149)
        insert into long select replace(hex(zeroblob(3000)), '0', 'x') || i || replace(hex(zeroblob(1500)), '0', 'y'), i
        from n;";
    let (report, c, _) = recovered(damaged(sql));
    let right = "select count(*) from long where length(role) = 9003 and substr(role, 6001, 3) = n || ''";
    assert_eq!(one(&c, right), 50);
    let table = report.tables.iter().find(|t| t.name == "long").unwrap();
    assert_eq!((table.recovered, table.lost, table.found_by_shape), (50, 0, 0));
}

#[test]
fn text_of_two_bytes_a_letter_may_be_longer_here_than_in_its_file() {
    let text = "replace(hex(zeroblob(500000)), '0', char(0x6f22))";
    let sql = format!("pragma encoding = 'UTF-16'; {TRACE} create table x(a); insert into x values({text});");
    let (mut bytes, root) = made(&sql, "trace");
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    let (report, c, _) = recovered(bytes);
    let right = format!("select count(*) from x where a = {text}");
    assert_eq!(one(&c, &right), 1, "{:?}", report.notes);
}

#[test]
fn what_is_left_out_of_a_long_schema_is_no_exact_loss() {
    let tables: String =
        (0..4200).map(|n| format!("create table t{n}(a); insert into t{n} values({n});")).collect();
    let (bytes, _) = made(&format!("begin; {TRACE} {tables} commit"), "trace");
    let (report, c, _) = recovered(bytes);
    assert!(!report.schema_found && !report.lost_is_exact);
    let trace = report.tables.iter().find(|t| t.name == "trace").unwrap();
    assert_eq!(one(&c, "select count(*) from trace"), 2000, "{trace:?}");
}

#[test]
fn tables_of_the_result_that_are_not_checked_are_told() {
    let many: String = (0..1100).map(|i| format!("create table t{i:04}(a);")).collect();
    for (sql, is_told) in [(many.as_str(), true), ("", false)] {
        let (report, ..) = recovered(damaged(sql));
        let told: Vec<_> = report.notes.iter().filter(|note| note.contains("were not checked")).collect();
        assert_eq!(told.len(), usize::from(is_told), "{:?}", report.notes);
    }
}

#[test]
fn a_chain_of_empty_trunks_is_a_free_list() {
    let (mut bytes, _) = made(&format!("pragma page_size=512; {TRACE}"), "trace");
    let (first, trunks) = (bytes.len() / 512 + 1, 30_000);
    for n in 1..=trunks {
        let next = if n == trunks { 0 } else { first + n };
        bytes.extend_from_slice(&(next as u32).to_be_bytes());
        bytes.resize(bytes.len() + 508, 7);
        let zeros = bytes.len() - 508;
        bytes[zeros..zeros + 4].fill(0);
    }
    let pages = bytes.len() / 512;
    for (at, value) in [(28, pages), (32, first), (36, trunks)] {
        bytes[at..at + 4].copy_from_slice(&(value as u32).to_be_bytes());
    }
    let (report, c, _) = recovered(bytes.clone());
    let gap = "with recursive n(i) as (select 0 union all select i + 1 from n where i < 1999)
        select coalesce(min(i), -1) from n where i * 100000 not in (select t_us from trace)";
    assert_eq!((report.pages["free list"], report.recovered, one(&c, gap)), (trunks, 2001, -1), "{report:?}");
    // One that bites its tail is none.
    bytes[(pages - 1) * 512..][..4].copy_from_slice(&(first as u32).to_be_bytes());
    let (report, _, _) = recovered(bytes);
    assert_eq!((report.pages.get("free list"), report.recovered), (None, 2001));
}

#[test]
fn what_is_only_looked_at_has_no_name_that_could_be_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = damaged(&format!("create table x(a, b); insert into x values(1, {LETTERS});"));
    let watched = watched(bytes, Some(folder.path().to_path_buf()));
    let (made, report) = recover_unnamed(&Content::Coded(watched.clone()), folder.path()).unwrap().unwrap();
    assert_eq!(watched.files.load(Ordering::Relaxed), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let database = Database::open(made, "x").unwrap();
    database.integrity_check().unwrap();
    assert_eq!(database.row_count("x").unwrap(), Some(1));
    assert!(report.recovered > 1900);
}

#[test]
fn long_rows_that_all_lead_to_one_broken_chain_are_not_all_read() {
    let sql = "create table x(a integer primary key, b blob); insert into x values(1, randomblob(8163));
        with recursive n(i) as (select 2 union all select i + 1 from n where i < 400)
        insert into x select i, randomblob(543) from n;";
    let (mut bytes, root) = made(&format!("pragma page_size=512; {TRACE} {sql}"), "x");
    let (mut first, mut rows) = (None, 0);
    for at in (0..bytes.len() / 512).filter(|at| at + 1 != root) {
        let page = bytes[at * 512..][..512].to_vec();
        let Some(head) = Head::read(&page, 0, 512).filter(|head| head.kind == Kind::TableLeaf) else {
            continue;
        };
        for cell in (0..head.cells).filter_map(|i| Cell::read(head.kind, &page, head.pointer(&page, i)?, 512))
        {
            match (cell.payload, first) {
                (8167, _) => first = Some(cell.overflow),
                // As long as the first, with the same overflow pages.
                (547, Some(first)) => {
                    let at = at * 512;
                    bytes[at + cell.extent.start..][..2].copy_from_slice(&[0xbf, 0x67]);
                    bytes[at + cell.local.start + 2..][..2].copy_from_slice(&[0xff, 0x52]);
                    bytes[at + cell.local.end..][..4].copy_from_slice(&u32::to_be_bytes(first));
                    rows += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(rows, 399);
    let mut page = first.unwrap() as usize;
    loop {
        let next = &mut bytes[(page - 1) * 512..][..4];
        match u32::from_be_bytes(next.try_into().unwrap()) {
            0 => break next.copy_from_slice(&[0, 0, 0, 2]),
            on => page = on as usize,
        }
    }
    let (report, _, _) = recovered(bytes);
    let x = report.tables.iter().find(|t| t.name == "x").unwrap();
    assert!(x.unread > 0 && x.cut_off > 0, "{x:?}");
    assert_eq!((x.recovered, x.lost, x.cut_off + x.unread), (0, 400, 400), "{x:?}");
    assert!(
        !report.is_lossless() && report.lines().iter().any(|line| line.contains("not all could be read"))
    );
}
