//! The model over databases that are made here: layouts that no sample has, and contents that nobody should write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::{Database, changed_tables, glance};
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::tree::{Cell, Coded, Content, Place, Table};

/// The bytes of a database that `sql` makes.
pub(crate) fn made(sql: &str) -> Content {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let c = Connection::open(&path).unwrap();
    c.execute_batch(sql).unwrap();
    drop(c);
    Content::Bytes(std::fs::read(path).unwrap().into())
}

pub(crate) const PROJECT: &str = "
    create table meta(key text primary key, value text);
    create table dataset(id integer primary key, name text, extra_json text);
    create table trace(dataset_id integer, t_seconds real, t_us integer, inner_diam real, temp real,
        primary key(dataset_id, t_seconds)) without rowid;
    create table event(id integer primary key, dataset_id integer, t_seconds real, label text, deleted_utc text);
    create index event_ds_t on event(dataset_id, t_seconds);
    create table asset(id integer primary key, kind text, sha256 text, size_bytes integer, compressed integer,
        chunk_size integer, original_name text, mime text);
    create table blob_chunk(asset_id integer, seq integer, data blob, primary key(asset_id, seq)) without rowid;
    create table ref(asset_id integer, dataset_id integer, role text, note text,
        primary key(asset_id, dataset_id, role)) without rowid;
    create table result(id integer primary key, dataset_id integer, kind text, version text, created_utc text,
        payload_json text);
    create table thumbnail(dataset_id integer primary key, png blob);
";

pub(super) fn project(sql: &str) -> Arc<Database> {
    Database::open(made(&format!("{PROJECT}{sql}")), "x").unwrap()
}

/// Bytes that count how many of them are read, and may do something at a read.
#[derive(Debug)]
struct Counted {
    content: Content,
    bytes: Arc<AtomicU64>,
    fail: bool,
}

impl Coded for Counted {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn is_ready(&self, _: u64, _: usize) -> bool {
        true
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let before = self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        assert!(before < 1 << 40, "a read that panics");
        if self.fail && before > 100_000 {
            return Err(Error::SourceChanged("x".into()));
        }
        self.content.read_at(offset, buf).map(drop)
    }
}

fn counted(content: Content, fail: bool) -> (Content, Arc<AtomicU64>) {
    let bytes = Arc::<AtomicU64>::default();
    (Content::Coded(Arc::new(Counted { content, bytes: bytes.clone(), fail })), bytes)
}

fn text(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "null".into(),
        Cell::Integer(i) => i.to_string(),
        Cell::Real(r) => format!("{r:?}"),
        Cell::Text(t) => format!("'{}'", String::from_utf8_lossy(t)),
        Cell::Blob(b) => format!("{b:?}"),
    }
}

/// One line a row, read in stretches of `most`.
fn lines(table: &dyn Table, most: u64) -> Result<Vec<String>> {
    let (mut lines, mut from) = (Vec::new(), Place::default());
    loop {
        let next = table.read(&from, most, &mut |cells| {
            lines.push(cells.iter().map(text).collect::<Vec<_>>().join(" "));
            Ok(())
        })?;
        match next {
            Some(place) => from = place,
            None => return Ok(lines),
        }
    }
}

fn code(error: Error) -> &'static str {
    match error {
        Error::Damaged { code, .. } => code,
        other => panic!("{other}"),
    }
}

/// About 10 MB, in 200,000 rows.
fn large() -> Content {
    made(&format!(
        "{PROJECT} insert into dataset values(1, 'a', null), (2, 'b', null);
         with recursive n(i) as (select 0 union all select i + 1 from n where i < 199999)
         insert into trace select 1 + (i >= 150000), i * 0.1, i * 100000, i * 0.01, 37.0 from n;"
    ))
}

#[test]
fn a_glance_costs_a_few_pages() {
    let (content, bytes) = counted(large(), false);
    assert!(content.size() > 8_000_000);
    let seen = glance(&content, "x").unwrap();
    assert_eq!((seen.page_size, seen.pages * 4096, seen.beyond), (4096, content.size(), 0));
    assert!(bytes.load(Ordering::Relaxed) < 20_000, "{bytes:?}");
}

#[test]
fn what_is_compared_with_two_others_is_counted_and_summed_up_once() {
    let [one, (two, bytes), three] = [(); 3].map(|()| counted(large(), false));
    let [one, two, three] = [one.0, two, three.0].map(|content| Database::open(content, "x").unwrap());
    assert!(changed_tables(&one, &two).unwrap().is_empty());
    let read = bytes.swap(0, Ordering::Relaxed);
    assert!(read > 8_000_000, "{read}");
    assert!(changed_tables(&two, &three).unwrap().is_empty());
    let read = bytes.load(Ordering::Relaxed);
    assert!(read < 100_000, "{read}");
}

#[test]
fn only_the_pages_that_are_needed_are_read() {
    let (content, bytes) = counted(large(), false);
    let database = Database::open(content, "x").unwrap();
    let table = database.trace(1).unwrap().unwrap();
    bytes.store(0, Ordering::Relaxed);
    let mut from = Place::default();
    for _ in 0..3 {
        from = table.read(&from, 10, &mut |_| Ok(())).unwrap().unwrap();
    }
    assert!(bytes.load(Ordering::Relaxed) < 40_000, "{bytes:?}");
    assert_eq!(table.rows().unwrap(), 150_000);
    let all = lines(&*table, 7001).unwrap();
    assert_eq!(all.len(), 150_000);
    assert_eq!(all[149_999], format!("{:?} 14999900000 1499.99 37.0", 149_999.0 * 0.1));
    assert!(database.orphans().unwrap().is_empty());
}

#[test]
fn a_failing_source_fails_in_its_own_words() {
    let (content, _) = counted(large(), true);
    let database = Database::open(content, "x").unwrap();
    assert!(matches!(database.quick_check(), Err(Error::SourceChanged(_))));
    let table = database.trace(1).unwrap().unwrap();
    assert!(matches!(lines(&*table, 100_000), Err(Error::SourceChanged(_))));
}

#[test]
fn a_source_that_panics_is_an_error() {
    let (content, bytes) = counted(large(), false);
    let database = Database::open(content, "x").unwrap();
    bytes.store(1 << 40, Ordering::Relaxed);
    assert!(matches!(database.quick_check(), Err(Error::Refused(_))));
}

#[test]
fn a_check_can_be_stopped() {
    let database = Database::open(large(), "x").unwrap();
    database.quick_check().unwrap();
    let stopper = database.clone();
    let (content, bytes) = counted(large(), false);
    let slow = Database::open(content, "x").unwrap();
    let other = slow.clone();
    let watcher = std::thread::spawn(move || {
        while bytes.load(Ordering::Relaxed) < 100_000 {
            std::thread::yield_now();
        }
        other.stop();
    });
    // Whether the check was faster than the watcher or not, it does not call the database damaged.
    assert!(!matches!(slow.quick_check(), Err(Error::Damaged { .. })));
    watcher.join().unwrap();
    assert!(matches!(slow.quick_check(), Err(Error::Busy(_))));
    stopper.stop();
    assert!(matches!(database.meta(), Err(Error::Busy(_))));
}

#[test]
fn damage_is_found_by_the_check() {
    let Content::Bytes(bytes) = large() else { unreachable!() };
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x55);
    let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
    assert!(matches!(database.quick_check(), Err(Error::Damaged { .. })));
}

#[test]
fn what_is_no_project_is_refused_with_a_stable_word() {
    let refused = |content: Content| {
        let seen = code(glance(&content, "x").unwrap_err());
        assert_eq!(code(Database::open(content, "x").unwrap_err()), seen);
        seen
    };
    let whole = made(PROJECT);
    let Content::Bytes(bytes) = &whole else { unreachable!() };
    let cut = |n: usize| Content::Bytes(bytes[..n].into());
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        Content::Bytes(bytes.into())
    };
    assert_eq!(refused(cut(0)), "empty-file");
    assert_eq!(refused(cut(99)), "not-a-database");
    assert_eq!(refused(Content::Bytes(vec![b'x'; 9000].into())), "not-a-database");
    assert_eq!(refused(cut(bytes.len() - 1)), "truncated");
    assert_eq!(refused(changed(16, &[0, 3])), "bad-page-size");
    assert_eq!(refused(made("create table meta(key, value)")), "no-dataset");
    assert_eq!(refused(made("create table dataset(id, name); create table meta(key)")), "no-meta");
    let hidden = "create table a(key, value); create table dataset(id, name); ";
    assert_eq!(refused(made(&format!("{hidden} create view meta as select * from a"))), "no-meta");
    assert_eq!(
        refused(made(&format!("{hidden} create virtual table meta using fts5(key, value)"))),
        "no-meta"
    );
    let computed = "create table meta(key, v, value as (v || 'x')); create table dataset(id, name)";
    assert_eq!(refused(made(computed)), "no-meta");
    // As databases with a log say, whose log is not there.
    Database::open(changed(18, &[2, 2]), "x").unwrap();
}

#[test]
fn what_a_schema_computes_is_never_run() {
    let database = project(
        "create table other(a, b);
         create view result2 as with recursive c(x) as (select 1 union all select x + 1 from c) select x from c;
         drop table result;
         create view result as select 1 as id, 1 as dataset_id, 'k' as kind, x as payload_json from result2;
         drop table thumbnail;
         create virtual table thumbnail using fts5(dataset_id, png);
         alter table event add column slow as (zeroblob(900000000));
         create trigger t after insert on dataset begin delete from dataset; end;
         create index i on event(abs(t_seconds));
         insert into dataset(id, name) values(1, 'a');
         insert into event(dataset_id, t_seconds, label) values(1, 1.0, 'x');",
    );
    database.quick_check().unwrap();
    assert!(database.results(1).unwrap().is_empty());
    assert_eq!(database.payload(1).unwrap(), None);
    assert_eq!(database.thumbnail(1).unwrap(), None);
    assert!(!database.has_table("result") && !database.has_table("thumbnail") && database.has_table("other"));
    assert!(!database.row_counts().unwrap().contains_key("result2"));
    let events = database.events(1).unwrap();
    assert!(events.is_none_or(|events| events.columns().iter().all(|c| c.name != "slow")));
}

#[test]
fn every_type_may_be_a_time() {
    // A table without types keeps what it is given.
    let sql = "
        drop table trace; drop table event;
        create table trace(dataset_id, t_seconds, inner_diam, primary key(dataset_id, t_seconds)) without rowid;
        create table event(id integer primary key, dataset_id, t_seconds, label text, deleted_utc);
        create index e on event(dataset_id, t_seconds);
        insert into dataset(id, name) values(1, 'a');
        insert into trace values(1, 2, 1), (1, -1e999, null), (1, 1.5, 'text'), (1, '1.5', x'00ff'), (1, x'', 3),
            (1, 'b', 4), (1, x'62', 5), (1, 9007199254740993, 6), (1, 9007199254740992.0, 7), (2, 0, 8);
        insert into event values(9, 1, null, 'a', null), (3, 1, null, 'b', null), (5, 1, 1, 'c', null),
            (4, 1, 1, 'd', null), (1, 1, 'x', 'e', null), (2, 1, x'00', 'f', null), (6, 1, 0, 'gone', 'now');";
    let database = project(sql);
    let trace = database.trace(1).unwrap().unwrap();
    let expected = [
        "-inf null",
        "1.5 'text'",
        "2 1",
        "9007199254740992.0 7",
        "9007199254740993 6",
        "'1.5' [0, 255]",
        "'b' 4",
        "[] 3",
        "[98] 5",
    ];
    let events = database.events(1).unwrap().unwrap();
    let deleted = database.deleted_events(1).unwrap().unwrap();
    for most in [1, 2, 3, 100] {
        assert_eq!(lines(&*trace, most).unwrap(), expected);
        let expected = ["3 null 'b'", "9 null 'a'", "4 1 'd'", "5 1 'c'", "1 'x' 'e'", "2 [0] 'f'"];
        assert_eq!(lines(&*events, most).unwrap(), expected);
        assert_eq!(lines(&*deleted, most).unwrap(), ["6 0 'gone' 'now'"]);
    }
    assert_eq!((trace.rows().unwrap(), events.rows().unwrap(), deleted.rows().unwrap()), (9, 6, 1));
}

#[test]
fn without_an_index_small_tables_are_in_order_and_large_ones_as_they_lie() {
    let sql = |n: u32| {
        format!(
            "drop table event; create table event(id integer primary key, dataset_id, t_seconds, label);
             insert into dataset(id, name) values(1, 'a');
             with recursive n(i) as (select 0 union all select i + 1 from n where i < {n} - 1)
             insert into event select i, 1, -i, null from n;"
        )
    };
    for (n, first) in [(100, "99 -99 null"), (30_000, "0 0 null")] {
        let events = project(&sql(n)).events(1).unwrap().unwrap();
        let all = lines(&*events, 41).unwrap();
        assert_eq!((all.len(), all[0].as_str()), (n as usize, first));
    }
}

#[test]
fn names_for_people_have_units_and_new_columns_are_shown() {
    let database = project(
        "alter table trace add column flow real; alter table trace add column \"Diam (\u{b5}m)\" real;
         alter table trace add column note text; alter table trace add column inner_diam_um real;
         alter table trace add column \"\" real; alter table trace add column \"a, \"\"b\"\"\" real;
         alter table trace add column \"temp (\u{fffd}C)\" real;
         insert into dataset(id, name) values(1, 'a'); insert into trace values(1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9);",
    );
    let names = |table: Option<Arc<dyn Table>>| {
        table.unwrap().columns().iter().map(|c| c.name.clone()).collect::<Vec<_>>().join("|")
    };
    let of_trace = "t_seconds|t_us|inner_diam_um|temp_c|flow|Diam (\u{b5}m)|note|inner_diam_um~2|unnamed|a, \"b\"|temp (\u{fffd}C)";
    assert_eq!(names(database.trace(1).unwrap()), of_trace);
    assert_eq!(
        lines(&*database.trace(1).unwrap().unwrap(), 9).unwrap(),
        ["0.0 0 1.0 2.0 3.0 4.0 '5' 6.0 7.0 8.0 9.0"]
    );
    assert_eq!(names(database.events(1).unwrap()), "id|t_seconds|label");
    assert_eq!(names(database.deleted_events(1).unwrap()), "id|t_seconds|label|deleted_utc");
    assert!(database.hidden_columns().is_empty());
}

#[test]
fn no_number_of_columns_is_too_large_for_a_view() {
    let mut sql: String =
        (0..600).map(|i| format!("alter table trace add column \"column number {i:04}\" real;")).collect();
    sql += &sql.replace("table trace", "table event");
    sql += "insert into dataset(id, name) values(1, 'a');
        insert into trace(dataset_id, t_seconds, \"column number 0599\") values(1, 0, 2.5);
        insert into event(dataset_id, t_seconds, label, \"column number 0599\") values(1, 0, 'x', 3.5);";
    let database = project(&sql);
    for (table, last) in [(database.trace(1), " 2.5"), (database.events(1), " 3.5")] {
        let table = table.unwrap().unwrap();
        assert!(table.columns().len() > 600);
        assert!(lines(&*table, 9).unwrap()[0].ends_with(last));
    }
    assert!(database.hidden_columns().is_empty());
}

#[test]
fn a_thousand_tables_of_others_hide_none_of_ours() {
    let mut sql: String = (0..1200).map(|i| format!("create table a{i:04}(x);")).collect();
    sql += "insert into dataset(id, name) values(1, 'a'); insert into trace values(1, 0, 0, 1.5, 37);";
    let database = project(&sql);
    let names = &database.layout.names;
    assert!(names.len() == 1000 && names.is_sorted() && names.iter().any(|name| name == "a0000"));
    assert_eq!(database.row_counts().unwrap()["trace"], 1);
}

#[test]
fn samples_say_where_they_belong() {
    let database = project(
        r#"insert into dataset values
            (1, 'Vessel', '{"experiment": "WT", "experiment_index": 3, "subfolder": "Day 1",
                "attachments": [{"name": "n", "filename": "f.txt", "asset_role": "attachment:0"}]}'),
            (2, 'a/b', null),
            (3, '__project_attachments__', '{}'),
            (4, 'bare', '{"experiment": "KO", "x": [NaN, -Infinity, "NaN \" NaN"]}'),
            (5, 'bad', '{"experiment": '),
            (6, x'ff41', '[1]');
            alter table dataset add column more; update dataset set more = x'01ff' where id = 1;"#,
    );
    let findings = Findings::default();
    let samples = database.samples(&findings).unwrap();
    let places: Vec<_> = samples.iter().map(|s| (s.id, s.experiment.as_str(), s.name.as_str())).collect();
    let expected = [
        (1, "WT", "Vessel"),
        (2, "Default", "a/b"),
        (3, "Default", "__project_attachments__"),
        (4, "KO", "bare"),
        (5, "Default", "bad"),
        (6, "Default", "\u{fffd}A"),
    ];
    assert_eq!(places, expected);
    assert_eq!(samples[0].experiment_index, Some(3));
    assert_eq!(samples[0].subfolder.as_deref(), Some("Day 1"));
    assert_eq!(samples[0].attachments[0].filename.as_deref(), Some("f.txt"));
    assert_eq!(samples[0].attachments[0].role.as_deref(), Some("attachment:0"));
    assert_eq!(samples[0].other, [("more".to_string(), "01ff".into())]);
    assert_eq!(samples.iter().filter(|s| s.of_project).count(), 1);
    let extra = samples[3].extra.as_ref().unwrap();
    assert_eq!(extra["x"], serde_json::json!([null, null, "NaN \" NaN"]));
    assert!(samples[4].extra.is_none() && samples[4].extra_text.is_some());
    let codes: Vec<_> = findings.list().iter().map(|f| f.code).collect();
    assert_eq!(codes, ["extra-not-json", "text-not-utf8"]);
}

#[test]
fn rows_without_a_dataset_are_found() {
    let database = project(
        "insert into dataset(id, name) values(1, 'a');
         insert into trace(dataset_id, t_seconds) values(1, 0), (7, 0), (7, 1), (-3, 0);
         insert into event(dataset_id, t_seconds) values(1, 0), (8, 0);
         insert into result(dataset_id, kind) values(7, 'k'), (1, 'k'), ('text', 'k');
         insert into thumbnail values(9, null); insert into ref values(1, 8, 'r', null);",
    );
    let orphans: Vec<_> = database.orphans().unwrap().clone().into_iter().collect();
    let expected = [
        (-3, vec!["trace"]),
        (7, vec!["trace", "result"]),
        (8, vec!["event", "ref"]),
        (9, vec!["thumbnail"]),
    ];
    assert_eq!(orphans, expected);
    assert_eq!(database.strays().unwrap().clone().into_iter().collect::<Vec<_>>(), [("result", 1)]);
    assert_eq!(database.row_count_of("trace", 7).unwrap(), 2);
    assert_eq!(database.row_count("trace").unwrap(), Some(4));
    assert_eq!(database.row_count("nothing").unwrap(), None);
}

#[test]
fn pieces_are_one_stream_up_to_the_first_that_is_missing() {
    let database = project(
        "insert into asset(id, kind, compressed) values(1, 'k', 0), (2, 'k', 0), (3, 'k', 1), (4, 'k', 0);
         insert into blob_chunk values(1, 0, x'0001'), (1, 1, x''), (1, 2, x'020304'), (1, 3, zeroblob(5000000)),
            (1, 4, x'05'), (2, 0, x'0a0b'), (2, 2, x'0c'), (3, 1, x'0d'), (4, 0, 'text');",
    );
    let stored = |id| database.asset(id).unwrap().unwrap().stored.unwrap();
    let read = |content: &Content, at: u64, n: usize| {
        let mut buf = vec![0xee; n];
        content.read_at(at, &mut buf).map(|n| buf[..n].to_vec())
    };
    let one = stored(1);
    assert_eq!(one.size(), 5_000_006);
    assert_eq!(read(&one, 0, 7).unwrap(), [0, 1, 2, 3, 4, 0, 0]);
    assert_eq!(read(&one, 5_000_004, 10).unwrap(), [0, 5]);
    assert_eq!(read(&one, 1, 2).unwrap(), [1, 2]);
    let gap = stored(2);
    assert_eq!(read(&gap, 0, 2).unwrap(), [10, 11]);
    assert_eq!(code(read(&gap, 0, 3).unwrap_err()), "piece-missing");
    assert_eq!(code(read(&gap, 2, 1).unwrap_err()), "piece-missing");
    assert_eq!(code(read(&stored(3), 0, 1).unwrap_err()), "piece-missing");
    assert_eq!(code(read(&stored(4), 0, 1).unwrap_err()), "piece-missing");
    assert!(database.asset(5).unwrap().is_none());
    assert_eq!(database.assets().unwrap().len(), 4);
}

#[test]
fn pieces_are_looked_up_without_being_read() {
    let content = made(&format!(
        "{PROJECT} insert into asset(id, kind, compressed) values(1, 'k', 0);
         with recursive n(i) as (select 0 union all select i + 1 from n where i < 15)
         insert into blob_chunk select 1, i, randomblob(1000000) from n;"
    ));
    let (content, bytes) = counted(content, false);
    let database = Database::open(content, "x").unwrap();
    bytes.store(0, Ordering::Relaxed);
    let stored = database.asset(1).unwrap().unwrap().stored.unwrap();
    assert_eq!(stored.size(), 16_000_000);
    assert!(bytes.load(Ordering::Relaxed) < 200_000, "{bytes:?}");
    let mut buf = [0; 4096];
    stored.read_at(9_500_000, &mut buf).unwrap();
    assert!(bytes.load(Ordering::Relaxed) < 1_500_000, "{bytes:?}");
}

#[test]
fn old_layouts_name_their_external_files() {
    let database = project(
        "drop table asset; drop table ref;
         create table asset(id integer primary key, dataset_id, role, storage, rel_path, mime, sha256, bytes);
         insert into asset values(1, 1, 'tiff', 'embedded', null, 'image/tiff', 'aa', 3),
            (2, 1, 'stack', 'external', 'old/x.tiff', null, null, null);
         insert into blob_chunk values(1, 0, x'010203');",
    );
    let references = database.references(1).unwrap();
    let roles: Vec<_> = references.iter().map(|r| (r.asset, r.role.as_str())).collect();
    assert_eq!(roles, [(2, "stack"), (1, "tiff")]);
    let one = database.asset(1).unwrap().unwrap();
    assert_eq!(
        (one.info.kind.as_str(), one.info.size_bytes, one.stored.unwrap().size()),
        ("tiff", Some(3), 3)
    );
    let two = database.asset(2).unwrap().unwrap();
    assert_eq!(two.info.external.as_deref(), Some("old/x.tiff"));
    assert!(two.stored.is_none());
}

#[test]
fn several_threads_read_one_database() {
    let database = Database::open(large(), "x").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let table = database.trace(2).unwrap().unwrap();
                assert_eq!(lines(&*table, 9_999).unwrap().len(), 50_000);
            });
        }
    });
    assert!(database.idle.lock().len() <= super::IDLE);
}
