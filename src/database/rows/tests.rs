//! Rows from their pages, rows from SQLite, and what another SQLite says of the same file: all three have to be the
//! same, whatever the file is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::{Connection, params_from_iter, types::Value};
use tempfile::TempDir;

use super::direct::End;
use super::{Called, Rows, columns};
use crate::database::{Database, with_wal};
use crate::error::{Error, Result};
use crate::tree::{Cell, Content, Place, Table};

mod damage;

/// The tables that the application has made, from the first version on, with their indices.
const USUAL: [&str; 4] = [
    "create table trace(dataset_id integer not null references dataset(id) on delete cascade,
        t_seconds real not null, inner_diam real, outer_diam real, p_avg real, p1 real, p2 real,
        primary key(dataset_id, t_seconds)) without rowid;",
    "create table trace(dataset_id integer not null, t_seconds real not null, inner_diam real, outer_diam real,
        p_avg real, p1 real, p2 real, frame_number integer, tiff_page integer, temp real, table_marker integer,
        caliper_length real, primary key(dataset_id, t_seconds)) without rowid;
     create index trace_ds_t on trace(dataset_id, t_seconds);",
    "create table trace(dataset_id integer not null, t_seconds real not null, t_us integer, inner_diam real,
        outer_diam real, p_avg real, p1 real, p2 real, frame_number integer, tiff_page integer, temp real,
        table_marker integer, caliper_length real, primary key(dataset_id, t_seconds)) without rowid;
     create index trace_ds_t on trace(dataset_id, t_seconds);
     create index trace_ds_tus on trace(dataset_id, t_us);",
    // The key behind other columns, in other letters, and columns that are new.
    "create table trace(\"Inner_Diam\" real, note text, T_SECONDS double, extra, dataset_id int, p1 float,
        primary key(dataset_id, t_seconds)) without rowid;",
];

const REST: &str = "create table meta(key text primary key, value text);
    create table dataset(id integer primary key, name text, extra_json text);";

/// Prints the rows of datasets, a line for each, and a line behind each dataset.
const READER: &str = r"
import sqlite3, struct, sys
path, datasets, columns = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
def cell(v):
    if v is None: return 'n'
    if isinstance(v, float): return 'r' + struct.pack('>d', v).hex()
    if isinstance(v, int): return 'i%d' % v
    return 't' + v[0].hex() if isinstance(v, tuple) else 'b' + v.hex()
db = sqlite3.connect(path)
db.text_factory = lambda text: (text,)
listed = ', '.join('\x22%s\x22' % c for c in columns)
for dataset in datasets:
    for row in db.execute('select %s from trace where dataset_id = ? order by t_seconds' % listed, (int(dataset),)):
        print(' '.join(map(cell, row)))
    print('#')
";

fn shown(cell: &Cell<'_>) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match cell {
        Cell::Null => "n".into(),
        Cell::Integer(i) => format!("i{i}"),
        Cell::Real(r) => format!("r{:016x}", r.to_bits()),
        Cell::Text(t) => format!("t{}", hex(t)),
        Cell::Blob(b) => format!("b{}", hex(b)),
    }
}

/// The rows of one stretch, and what is behind it.
type Stretch = (Vec<String>, Option<Place>);

fn stretch(table: &dyn Table, from: &Place, most: u64) -> Result<Stretch> {
    let mut lines = Vec::new();
    let next = table.read(from, most, &mut |cells| {
        lines.push(cells.iter().map(shown).collect::<Vec<_>>().join(" "));
        Ok(())
    })?;
    Ok((lines, next))
}

/// All stretches, up to the end or the first that fails, and what that says.
fn stretches(table: &dyn Table, most: u64) -> (Vec<Stretch>, Option<String>) {
    let (mut all, mut from) = (Vec::new(), Some(Place::default()));
    while let Some(place) = from {
        match stretch(table, &place, most) {
            Ok(one) => {
                from = one.1.clone();
                all.push(one);
            }
            Err(error) => return (all, Some(error.to_string())),
        }
    }
    (all, None)
}

fn rows(table: &dyn Table) -> Vec<String> {
    stretch(table, &Place::default(), u64::MAX).unwrap().0
}

/// The trace of a dataset as it is read, and as SQLite alone reads it.
fn both(database: &Arc<Database>, dataset: i64) -> Option<(Rows, Rows)> {
    let made = || database.rows_of("trace", &columns::TRACE, dataset, "", &[], Called::ForPeople).unwrap();
    let (usual, sqlite) = (made()?, made()?);
    sqlite.direct.set(None).unwrap();
    Some((usual, sqlite))
}

/// Whether every row comes from the pages, and how many there are.
fn is_direct(rows: &Rows) -> (bool, u64) {
    let given = rows.directly(&[], u64::MAX, &mut |_| Ok(())).unwrap();
    (given.end == End::Over, given.rows)
}

/// Whose traces there may be, and somebody who has none.
fn datasets(database: &Database) -> Vec<i64> {
    let sql = "SELECT dataset_id FROM trace UNION SELECT id FROM dataset UNION SELECT 1 UNION SELECT 12345";
    let found = database.with(|link| {
        let mut statement = link.connection.prepare(sql)?;
        let ids = statement.query_map([], |row| Ok(row.get::<_, i64>(0).ok()))?;
        Ok(ids.collect::<rusqlite::Result<Vec<_>>>()?)
    });
    found.map_or_else(|_| (1..=4).collect(), |ids| ids.into_iter().flatten().collect())
}

/// Reads all traces of a file in all three ways, in stretches of every length. Gives how many rows there are, and
/// whether all of them come from the pages.
fn check(path: &Path, content: Content) -> (bool, u64) {
    let Ok(database) = Database::open(content, "x") else { return (false, 0) };
    let (mut direct, mut count) = (true, 0);
    let (mut healthy, mut found) = (Vec::new(), Vec::new());
    for dataset in datasets(&database) {
        let Some((usual, sqlite)) = both(&database, dataset) else { return (false, 0) };
        let name = format!("{} {dataset}", path.display());
        let (all, failed) = stretches(&sqlite, u64::MAX);
        for most in [1, 7, 1009, u64::MAX] {
            if most > 1 || all.first().is_none_or(|(rows, _)| rows.len() < 1000) {
                assert!(stretches(&usual, most) == stretches(&sqlite, most), "{name} by {most}");
            }
        }
        direct &= failed.is_some() || is_direct(&usual).0;
        if failed.is_none() {
            count += all[0].0.len() as u64;
            healthy.push(dataset);
            found.push(all.into_iter().next().unwrap().0);
        }
    }
    if !healthy.is_empty() {
        let (stored, _) = columns::shown(database.layout.table("trace").unwrap(), &columns::TRACE, &[]);
        assert!(found == by_python(path, &healthy, &stored), "{}", path.display());
    }
    (direct, count)
}

/// The rows of each of these datasets, as Python's SQLite gives them.
fn by_python(path: &Path, datasets: &[i64], columns: &[String]) -> Vec<Vec<String>> {
    let listed = datasets.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    let mut command = Command::new("python3");
    let said = command.args(["-c", READER]).arg(path).arg(listed).args(columns).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let mut all = vec![Vec::new()];
    for line in String::from_utf8(said.stdout).unwrap().lines() {
        match line {
            "#" => all.push(Vec::new()),
            line => all.last_mut().unwrap().push(line.to_string()),
        }
    }
    all.pop();
    all
}

/// A database that `sql` makes, and what it is checked to be.
struct Made {
    _dir: TempDir,
    path: PathBuf,
}

impl Made {
    fn new(pragmas: &str, sql: &str) -> Made {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sqlite");
        let c = Connection::open(&path).unwrap();
        c.execute_batch(&format!("pragma foreign_keys = off; {pragmas}; {REST} {sql}")).unwrap();
        drop(c);
        Made { _dir: dir, path }
    }

    fn content(&self) -> Content {
        Content::Bytes(fs::read(&self.path).unwrap().into())
    }

    fn check(&self) -> (bool, u64) {
        check(&self.path, self.content())
    }
}

/// Rows of three datasets, put in by turns, with every kind of number.
fn many(rows: u32) -> String {
    format!(
        "with recursive n(i) as (select 0 union all select i + 1 from n where i < {rows} - 1)
         insert into trace(dataset_id, t_seconds, inner_diam, p1)
         select 1 + i % 3, i * 0.1 - 30, case i % 7 when 0 then null when 1 then -0.0 when 2 then i
            when 3 then -i * 1000000.0 when 4 then 9223372036854775807 when 5 then 1e300 / (i + 1) else i / 3.0 end,
            case i % 5 when 0 then 9007199254740993 when 1 then 1e999 when 2 then -1e999 when 3 then 'text' || i
            else x'00ff' end from n;"
    )
}

#[test]
fn the_usual_traces_are_read_from_their_pages() {
    for (i, usual) in USUAL.iter().enumerate() {
        let made = Made::new("", &format!("{usual} {}", many(10_000)));
        assert_eq!(made.check(), (true, 10_000), "{i}");
    }
}

#[test]
fn rows_that_are_older_than_a_column_are_read_by_sqlite() {
    let older = format!("{} {}", USUAL[0], many(900));
    for default in ["", "default null", "default ''", "default x''", "default 5.0", "default '5'"] {
        let sql = format!("{older} alter table trace add temp real {default}; alter table trace add z;");
        assert_eq!(Made::new("", &sql).check(), (false, 900), "{default}");
    }
}

#[test]
fn pages_of_every_size_are_read() {
    for size in [512, 1024, 2048, 8192, 16384, 32768, 65536] {
        for vacuum in ["none", "full"] {
            let pragmas = format!("pragma page_size = {size}; pragma auto_vacuum = {vacuum}");
            let made = Made::new(&pragmas, &format!("{} {}", USUAL[2], many(6000)));
            assert_eq!(made.check(), (true, 6000), "{size} {vacuum}");
        }
    }
}

#[test]
fn pages_with_holes_are_read() {
    // Rows that are gone leave free blocks; others grow in their place.
    for keep in [2, 3, 10, 97] {
        let sql = format!(
            "{} {} pragma secure_delete = off; delete from trace where cast(t_seconds * 10 as int) % {keep} != 0;
             update trace set p2 = t_seconds * 3.3, inner_diam = null where cast(t_seconds as int) % 2 = 0;
             insert into trace(dataset_id, t_seconds) values(2, 0.05), (9, 5), (-4, -1e999), (-4, 1e999);",
            USUAL[2],
            many(5000)
        );
        let (direct, count) = Made::new("pragma page_size = 1024", &sql).check();
        assert!(direct && count > 50, "{keep}: {count}");
    }
}

#[test]
fn few_rows_and_none_are_read() {
    for (values, count) in
        [("(1, 0.0)", 1), ("(3, 1), (3, 2)", 2), ("(1, -0.0), (9223372036854775807, 5)", 2)]
    {
        let sql = format!("{} insert into trace(dataset_id, t_seconds) values {values};", USUAL[2]);
        assert_eq!(Made::new("", &sql).check(), (true, count));
    }
    let sql = format!("{} insert into dataset(id, name) values(1, 'a');", USUAL[2]);
    assert_eq!(Made::new("", &sql).check(), (true, 0));
}

#[test]
fn a_stretch_begins_behind_any_row() {
    let made = Made::new("pragma page_size = 512", &format!("{} {}", USUAL[1], many(1500)));
    let database = Database::open(made.content(), "x").unwrap();
    let (usual, sqlite) = both(&database, 2).unwrap();
    let all = rows(&sqlite);
    let (singles, _) = stretches(&sqlite, 1);
    assert_eq!(singles.len(), 500);
    for (i, (_, place)) in singles.iter().enumerate().filter(|(_, (_, place))| place.is_some()) {
        let place = place.as_ref().unwrap();
        assert_eq!(stretch(&usual, place, u64::MAX).unwrap(), (all[i + 1..].to_vec(), None));
        assert_eq!(stretch(&usual, place, 3).unwrap(), stretch(&sqlite, place, 3).unwrap());
        assert_eq!(stretch(&usual, place, 0).unwrap(), (Vec::new(), Some(place.clone())));
    }
    assert_eq!(stretch(&usual, &Place::default(), 0).unwrap(), (Vec::new(), Some(Place::default())));
}

#[test]
fn places_between_rows_and_beside_them_are_found() {
    use super::Key;
    let made = Made::new("", &format!("{} {}", USUAL[1], many(1500)));
    let database = Database::open(made.content(), "x").unwrap();
    let (usual, sqlite) = both(&database, 2).unwrap();
    let keys = [
        Key::Null,
        Key::Integer(0),
        Key::Integer(i64::MAX),
        Key::Real(f64::NEG_INFINITY),
        Key::Real(-30.0),
        Key::Real(1e-9),
        Key::Real(-0.0),
        Key::Real(77.123),
        Key::Real(f64::INFINITY),
        Key::Real(f64::NAN),
        Key::Text(b"1".to_vec()),
        Key::Blob(Vec::new()),
    ];
    for key in keys {
        let place = Key::encode(std::slice::from_ref(&key));
        assert_eq!(stretch(&usual, &place, 5).ok(), stretch(&sqlite, &place, 5).ok(), "{key:?}");
    }
}

/// A table of few columns, with this key and rows.
fn keyed(columns: &str, key: &str, rest: &str) -> String {
    let key = if key.is_empty() { String::new() } else { format!(", primary key({key})") };
    let without = if key.is_empty() { "" } else { "without rowid" };
    format!("create table trace({columns}{key}) {without}; {rest}")
}

#[test]
fn what_is_not_usual_is_read_by_sqlite() {
    let (usual, fill) = (USUAL[2], many(300));
    let long = "x".repeat(3000);
    let plain = "dataset_id integer, t_seconds real, inner_diam real, p1 real";
    let usual_key = "dataset_id, t_seconds";
    let cases = [
        // Rows that are shorter than the table is wide: the rest are defaults.
        format!("{usual} {fill} alter table trace add column flow real default 5;"),
        format!(
            "{usual} {fill} alter table trace add n text default 'x'; update trace set n = 'y' where t_us > 5;"
        ),
        // A value that spills over into other pages, in the last row alone.
        format!(
            "{usual} alter table trace add n text; {fill} update trace set n = '{long}' where t_seconds > -0.15;"
        ),
        // Keys of other kinds and in other orders.
        keyed(plain, "dataset_id, t_seconds desc", &fill),
        keyed(plain, "t_seconds, dataset_id", &fill),
        keyed(plain, "dataset_id, t_seconds, p1", &fill),
        keyed(plain, "dataset_id collate nocase, t_seconds", &fill),
        keyed("dataset_id text, t_seconds real, inner_diam real, p1 real", usual_key, &fill),
        keyed("dataset_id int, t_seconds text collate nocase, inner_diam real, p1 real", usual_key, &fill),
        keyed("dataset_id int, t_seconds numeric, inner_diam real, p1 real", usual_key, &fill),
        // Times that are no numbers.
        format!("{usual} {fill} insert into trace(dataset_id, t_seconds) values(1, 'soon'), (1, x'00');"),
        // Tables with row numbers.
        keyed(plain, "", &fill),
        keyed(plain, "", &format!("create index i on trace(dataset_id, t_seconds); {fill}")),
        keyed("id integer primary key, dataset_id int, t_seconds real, inner_diam real, p1 real", "", &fill),
        keyed(
            "t_seconds real, dataset_id integer primary key, p1",
            "",
            "insert into trace values(1.5, 1, 3);",
        ),
    ];
    for sql in cases {
        let (direct, count) = Made::new("", &sql).check();
        assert!(!direct && count > 0, "{sql}: {direct} {count}");
    }
    for encoding in ["UTF-16le", "UTF-16be"] {
        let pragma = format!("pragma encoding = '{encoding}'");
        let made = Made::new(&pragma, &format!("{} {fill}", USUAL[3]));
        assert_eq!(made.check(), (false, 300));
    }
}

#[test]
fn columns_of_every_kind_are_read_alike() {
    let fill = many(300);
    let usual_key = "dataset_id, t_seconds";
    let four = |kinds: [&str; 4]| {
        let [a, b, c, d] = kinds;
        keyed(&format!("dataset_id {a}, t_seconds {b}, inner_diam {c}, p1 {d}"), usual_key, &fill)
    };
    let cases = [
        keyed(
            "dataset_id int, t_seconds real, inner_diam real, c real as (p1 * 2), p1 real",
            usual_key,
            &fill,
        ),
        keyed(
            "dataset_id int, t_seconds real, c real as (p1 * 2) stored, inner_diam real, p1",
            usual_key,
            &fill,
        ),
        format!("{} alter table trace add column late real default 7.5; {fill}", USUAL[2]),
        format!("{} {fill} alter table trace drop column p2;", USUAL[2]),
        four(["integer", "real", "any", "blob"]),
        four(["", "real", "blob", "text"]) + "insert into trace values(1.5, 7, 1, 1), ('1', 8, 1, 1);",
        four(["integer", "real", "\"real blob\"", "\"char real\""]),
        four(["real", "real", "numeric", "floating_point"]),
        four(["integer not null", "double precision not null", "floating_int", "varchar(7)"]),
    ];
    for sql in cases {
        assert!(Made::new("", &sql).check().1 > 0, "{sql}");
    }
}

#[test]
fn a_log_beside_the_database_counts() {
    let made = Made::new("pragma journal_mode = wal", &format!("{} {}", USUAL[2], many(3000)));
    let c = Connection::open(&made.path).unwrap();
    let update = "update trace set p2 = 5.5, inner_diam = t_seconds where t_seconds > 20;";
    let insert = "insert into trace(dataset_id, t_seconds) values(2, 0.051), (4, 4);";
    c.execute_batch(&format!("pragma wal_autocheckpoint = 0; {update}")).unwrap();
    c.execute_batch(&format!("{insert} delete from trace where t_seconds < -10;")).unwrap();
    let wal = fs::read(made.path.with_extension("sqlite-wal")).unwrap();
    assert!(wal.len() > 100_000);
    let content = with_wal(made.content(), Content::Bytes(wal.into())).unwrap().0;
    let count: i64 = c.query_row("select count(*) from trace", [], |row| row.get(0)).unwrap();
    assert_eq!(check(&made.path, content), (true, count as u64));
}

#[test]
fn the_databases_of_the_tests_are_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for archive in ["databases", "bundles", "salvage"] {
        let tar = data.join(format!("{archive}.tar.xz"));
        assert!(
            Command::new("tar").arg("-xJf").arg(tar).arg("-C").arg(dir.path()).status().unwrap().success()
        );
    }
    let (mut pending, mut seen, mut direct, mut lines) = (vec![dir.path().to_path_buf()], 0, 0, 0);
    let mut known = std::collections::HashSet::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        // The log is not applied here, and must not be by others.
        let is_new = known.insert(blake3::hash(&bytes));
        if !bytes.starts_with(b"SQLite format 3\0") || path.to_string_lossy().contains("wal") || !is_new {
            continue;
        }
        let alone = dir.path().join("alone.sqlite");
        fs::write(&alone, &bytes).unwrap();
        let (is_direct, count) = check(&alone, Content::Bytes(bytes.into()));
        fs::remove_file(&alone).unwrap();
        seen += 1;
        direct += u32::from(is_direct && count > 0);
        lines += count;
    }
    assert!(seen > 60 && direct > 20 && lines > 20_000, "{seen} {direct} {lines}");
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        (-300i64..300).prop_map(Value::Integer),
        (0u32..63).prop_map(|bits| Value::Integer(-(1 << bits))),
        any::<f64>().prop_map(Value::Real),
        (-100_000i64..100_000).prop_map(|n| Value::Real(n as f64)),
        (-100_000i64..100_000).prop_map(|n| Value::Real(n as f64 / 100.0)),
        "\\PC{0,20}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Blob),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_rows_are_read_alike(
        rows in proptest::collection::vec((0i64..4, -50.0f64..50.0, value(), value(), value(), value()), 0..400),
        size in prop_oneof![Just(512), Just(1024), Just(4096)],
        whole in any::<bool>(),
    ) {
        let made = Made::new(&format!("pragma page_size = {size}"), USUAL[2]);
        let c = Connection::open(&made.path).unwrap();
        c.execute_batch("begin").unwrap();
        for (dataset, time, a, b, d, e) in rows {
            let time = if whole { time.round() } else { time };
            let sql = "insert or ignore into trace(dataset_id, t_seconds, t_us, inner_diam, temp, table_marker)
                values(?, ?, ?, ?, ?, ?)";
            let values = [Value::Integer(dataset), Value::Real(time), a, b, d, e];
            c.execute(sql, params_from_iter(values)).unwrap();
        }
        c.execute_batch("commit").unwrap();
        drop(c);
        // In small pages a row of four texts spills over.
        let (direct, _) = made.check();
        prop_assert!(direct || size < 4096);
    }
}

#[test]
fn an_error_of_whoever_takes_the_rows_ends_them() {
    let made = Made::new("", &format!("{} {}", USUAL[2], many(300)));
    let database = Database::open(made.content(), "x").unwrap();
    let (usual, _) = both(&database, 1).unwrap();
    let mut seen = 0;
    let failed = usual.read(&Place::default(), 100, &mut |_| {
        seen += 1;
        if seen == 7 { Err(Error::Refused("enough".into())) } else { Ok(()) }
    });
    assert!(matches!(failed, Err(Error::Refused(what)) if what == "enough") && seen == 7);
    database.stop();
    assert!(matches!(rows_of(&usual), Err(Error::Busy(_))));
}

fn rows_of(table: &dyn Table) -> Result<Stretch> {
    stretch(table, &Place::default(), u64::MAX)
}
