//! What a recovery says of rows that nobody can vouch for, and what it does not leave out for want of somebody who does.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use scene::{Scene, TRACE};
use serde_json::Value;

/// Changes a copy of a database with SQLite, and gives its path.
fn changed(scene: &Scene, sql: &str) -> PathBuf {
    let path = scene.path("project.vaso");
    fs::copy(scene.path("v7.db"), &path).unwrap();
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

const PAGE: usize = 4096;

fn root(path: &Path, table: &str) -> usize {
    number(path, &format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")) as usize
}

/// Zeros the first page of a table's tree, and gives how many rows it had, if rows are in such pages.
fn zero_root(path: &Path, table: &str) -> i64 {
    let root = root(path, table);
    let mut bytes = fs::read(path).unwrap();
    let page = &mut bytes[(root - 1) * PAGE..root * PAGE];
    let (kind, cells) = (page[0], u16::from_be_bytes([page[3], page[4]]));
    assert!([2, 5].contains(&kind), "{table} has one page only");
    page.fill(0);
    fs::write(path, bytes).unwrap();
    if kind == 2 { cells.into() } else { 0 }
}

/// Changes a bit of the byte at `at` behind the only place where `has` is found in front of `next`.
fn flip(path: &Path, has: &[u8], next: &[u8], at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let is_near = |from: usize| bytes[from + has.len()..][..24].windows(next.len()).any(|w| w == next);
    let places = bytes.windows(has.len()).enumerate().filter(|(i, w)| *w == has && is_near(*i));
    let places: Vec<usize> = places.map(|(i, _)| i).collect();
    assert_eq!(places.len(), 1);
    bytes[places[0] + at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn table<'a>(told: &'a Value, name: &str) -> &'a Value {
    let tables = told["report"]["tables"].as_array().unwrap();
    tables.iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("{told}"))
}

fn result(told: &Value) -> PathBuf {
    PathBuf::from(told["path"].as_str().unwrap())
}

#[test]
fn a_database_that_vacuums_itself_is_recovered_and_so_is_one_whose_head_only_says_so() {
    let scene = Scene::new();
    let path = changed(&scene, "PRAGMA auto_vacuum = 1; VACUUM");
    let all = number(&path, TRACE);
    let on_root = zero_root(&path, "trace");
    let told = scene.json(0, &["project.vaso"]);
    assert_eq!(number(&result(&told), TRACE), all - on_root, "{told}");
    assert_eq!(number(&result(&told), "PRAGMA auto_vacuum"), 1);
    for at in [52, 55] {
        let path = changed(&scene, "");
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        let told = scene.json(0, &["project.vaso"]);
        assert_eq!((&told["complete"], &told["report"]["lost"]), (&true.into(), &0.into()), "{told}");
        assert_eq!(number(&result(&told), TRACE), all);
        assert_eq!(number(&result(&told), "PRAGMA auto_vacuum"), 0);
    }
}

#[test]
fn rows_that_lie_where_pages_of_pointers_would_are_recovered() {
    let scene = Scene::new();
    let path = scene.path("project.vaso");
    let db = Connection::open(&path).unwrap();
    let attach = format!("PRAGMA foreign_keys = OFF; ATTACH '{}' AS old", scene.path("v7.db").display());
    db.execute_batch(&attach).unwrap();
    let mut made = db
        .prepare("SELECT sql, name FROM old.sqlite_schema WHERE type = 'table' ORDER BY name <> 'trace'")
        .unwrap();
    let made: Vec<(String, String)> =
        made.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
    for (sql, name) in made {
        db.execute_batch(&format!("{sql}; INSERT INTO main.{name} SELECT * FROM old.{name}")).unwrap();
    }
    db.execute_batch("DETACH old; PRAGMA user_version = 7").unwrap();
    let all = number(&path, TRACE);
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!((root(&path, "trace"), bytes[PAGE]), (2, 2), "it has rows");
    bytes[55] = 4;
    fs::write(&path, bytes).unwrap();
    let told = scene.json(0, &["project.vaso"]);
    assert_eq!((&told["complete"], &told["report"]["lost"]), (&true.into(), &0.into()), "{told}");
    assert_eq!(number(&result(&told), TRACE), all);
}

#[test]
fn a_row_that_an_index_has_otherwise_is_no_success() {
    let scene = Scene::new();
    let row = "SELECT t_seconds, t_us, outer_diam FROM trace WHERE dataset_id = 1 LIMIT 1 OFFSET 101";
    let path = changed(&scene, "");
    let all = number(&path, TRACE);
    let (seconds, micros, next): (f64, i64, f64) = Connection::open(&path)
        .unwrap()
        .query_row(row, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap();
    let next = next.to_be_bytes();
    // In the key: a row is lost, and one is there that never was.
    flip(&path, &seconds.to_be_bytes(), &next, 6);
    let told = scene.json(0, &["project.vaso"]);
    let trace = table(&told, "trace");
    assert_eq!(
        (&told["complete"], &trace["lost"], &trace["certainty"]),
        (&false.into(), &1.into(), &"about".into())
    );
    let name = format!("1/{seconds}");
    assert_eq!(trace["contradicted_keys"], serde_json::json!([name]), "{told}");
    assert_eq!(told["report"]["samples"][0]["gaps"][0]["from"], seconds, "{told}");
    let said = String::from_utf8(scene.recover(&["project.vaso"]).stdout).unwrap();
    assert!(
        said.contains("Recovered in part") && said.contains(&format!("may have changed: {name}")),
        "{said}"
    );
    // In a column that is no part of the key: the row is there, and may have changed.
    let path = changed(&scene, "");
    flip(&path, &micros.to_be_bytes()[5..], &next, 2);
    let told = scene.json(0, &["project.vaso"]);
    let trace = table(&told, "trace");
    assert_eq!(
        (&told["complete"], &trace["lost"], &trace["certainty"]),
        (&false.into(), &0.into(), &"exact".into())
    );
    assert_eq!((&trace["contradicted"], &trace["contradicted_keys"][0]), (&1.into(), &name.into()));
    assert_eq!(number(&result(&told), TRACE), all);
    // In a table that has row numbers, and an index of its own.
    let path = changed(&scene, "INSERT INTO meta VALUES('lens', 'quartz')");
    flip(&path, b"lens", b"quartz", 0);
    let told = scene.json(0, &["project.vaso"]);
    assert_eq!((&told["complete"], &table(&told, "meta")["contradicted"]), (&false.into(), &1.into()));
    let key = table(&told, "meta")["contradicted_keys"][0].as_str().unwrap();
    assert!(key.starts_with("lens/"), "{key}");
}

const TWINS: [(&str, &str); 2] =
    [("id INTEGER PRIMARY KEY, w TEXT", ""), ("w TEXT PRIMARY KEY, id INTEGER", "WITHOUT ROWID")];

fn twins(columns: &str, kind: &str) -> String {
    let fill = |name: &str, from: u32| {
        format!(
            "CREATE TABLE {name}({columns}) {kind};
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO {name}(id, w) SELECT i + {from}, (i + {from}) || replace(hex(zeroblob(100)), '0', 'q') FROM n;"
        )
    };
    format!("{}{}", fill("one", 1000), fill("two", 5000))
}

#[test]
fn pages_that_fit_two_tables_are_those_of_the_one_that_misses_some() {
    let scene = Scene::new();
    for (columns, kind) in TWINS {
        for (lost, other) in [("one", "two"), ("two", "one")] {
            let path = changed(&scene, &twins(columns, kind));
            let on_root = zero_root(&path, lost);
            let told = scene.json(0, &["project.vaso"]);
            assert_eq!(table(&told, lost)["recovered"], 300 - on_root, "{told}");
            assert_eq!(table(&told, other)["recovered"], 300);
            let right = format!(
                "SELECT count(*) FROM {lost} WHERE id / 300 = {}",
                if lost == "one" { 3 } else { 16 }
            );
            assert!(number(&result(&told), &right) > 0);
            let new = result(&told);
            let both = "SELECT count(*) FROM one JOIN two USING (id)";
            assert_eq!(number(&new, both), 0);
        }
    }
}

#[test]
fn pages_that_may_be_of_either_table_are_given_to_none() {
    let scene = Scene::new();
    for (columns, kind) in TWINS {
        for both in [true, false] {
            let path = changed(&scene, &twins(columns, kind));
            zero_root(&path, "one");
            if both {
                zero_root(&path, "two");
            } else {
                // The list of free pages is damaged: what no tree leads to may be old pages of either.
                let mut bytes = fs::read(&path).unwrap();
                bytes[39] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
            let told = scene.json(0, &["project.vaso"]);
            assert_eq!(
                (&told["complete"], &table(&told, "one")["recovered"]),
                (&false.into(), &0.into()),
                "{told}"
            );
        }
    }
}

/// A container whose snapshot is packed, and whose checksum of it is wrong.
fn with_wrong_checksum(snapshot: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let packed =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in
        [("HEAD.json", &br#"{"current": "000001.sqlite"}"#[..]), ("snapshots/000001.sqlite", snapshot)]
    {
        zip.start_file(format!("bundle/{name}"), packed).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let mut all = zip.finish().unwrap().into_inner();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(all.clone())).unwrap();
    let right = archive.by_name("bundle/snapshots/000001.sqlite").unwrap().crc32().to_le_bytes();
    let places: Vec<usize> =
        all.windows(4).enumerate().filter(|(_, w)| *w == right).map(|(i, _)| i).collect();
    assert_eq!(places.len(), 2, "in its header, and in the directory");
    places.into_iter().for_each(|at| all[at] ^= 1);
    all
}

#[test]
fn what_is_unpacked_to_its_end_is_recovered_whatever_its_checksum() {
    let scene = Scene::new();
    for (from, is_small) in [("v7.db", false), ("small.db", true)] {
        let bytes = fs::read(scene.path(from)).unwrap();
        assert_eq!(bytes.len() <= 256 << 10, is_small, "those are read in one piece");
        let all = number(&scene.path(from), TRACE);
        fs::write(scene.path("box.vaso"), with_wrong_checksum(&bytes)).unwrap();
        let told = scene.json(0, &["box.vaso"]);
        assert_eq!((&told["complete"], &told["report"]["lost"]), (&false.into(), &0.into()), "{told}");
        assert!(told["report"]["doubt"].is_string(), "{told}");
        assert_eq!(number(&result(&told), TRACE), all, "{from}");
    }
}

/// Tables of one shape, of which the texts of the first begin with letters up to m and those of the second with others;
/// every second one with a capital, and every third with a space at its end.
fn mixed(columns: &str) -> String {
    let fill = |name: &str, from: u32| {
        format!(
            "CREATE TABLE {name}({columns}) WITHOUT ROWID;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
             INSERT INTO {name}(id, w) SELECT i, char({from} + i % 13 - 32 * (i % 2)) || 'q' || i ||
                 replace(hex(zeroblob(40)), '0', 'x') || substr(' ', 1, i % 3 = 0) FROM n;"
        )
    };
    format!("{}{}", fill("one", 97), fill("two", 110))
}

/// The second child of the root of a table.
fn second_leaf(path: &Path, table: &str) -> usize {
    let (bytes, root) = (fs::read(path).unwrap(), root(path, table));
    let page = &bytes[(root - 1) * PAGE..root * PAGE];
    assert!([2, 5].contains(&page[0]), "{table} has one page only");
    let cell = usize::from(u16::from_be_bytes([page[14], page[15]]));
    u32::from_be_bytes(page[cell..cell + 4].try_into().unwrap()) as usize
}

#[test]
fn a_page_of_another_table_is_told_by_its_order_whatever_that_is() {
    let scene = Scene::new();
    for columns in [
        "w TEXT PRIMARY KEY, id INTEGER",
        "w TEXT COLLATE NOCASE PRIMARY KEY, id INTEGER",
        "w TEXT COLLATE RTRIM PRIMARY KEY, id INTEGER",
        "w TEXT, id INTEGER, PRIMARY KEY(w DESC)",
        "w TEXT COLLATE NOCASE, id INTEGER, PRIMARY KEY(w DESC, id)",
    ] {
        // Damage elsewhere costs these tables nothing.
        let path = changed(&scene, &mixed(columns));
        zero_root(&path, "trace");
        let told = scene.json(0, &["project.vaso"]);
        for name in ["one", "two"] {
            let found = table(&told, name);
            assert_eq!((&found["recovered"], &found["lost"]), (&600.into(), &0.into()), "{columns}: {found}");
            assert_eq!(found["from_damaged_pages"], 0, "{columns}: {found}");
        }
        let path = changed(&scene, &mixed(columns));
        let (from, to) = (second_leaf(&path, "two"), second_leaf(&path, "one"));
        let mut bytes = fs::read(&path).unwrap();
        bytes.copy_within((from - 1) * PAGE..from * PAGE, (to - 1) * PAGE);
        fs::write(&path, bytes).unwrap();
        let told = scene.json(0, &["project.vaso"]);
        let foreign = "SELECT count(*) FROM one WHERE lower(w) >= 'n'";
        assert_eq!(number(&result(&told), foreign), 0, "{columns}: {told}");
        assert!(table(&told, "one")["lost"].as_u64() > Some(10), "{columns}: {told}");
        assert_eq!(table(&told, "two")["recovered"], 600, "{columns}");
    }
}

#[test]
fn what_was_counted_is_at_least_lost_and_what_was_estimated_is_about_so_much() {
    let scene = Scene::new();
    let lost = |word: &str| {
        let told = scene.json(0, &["project.vaso"]);
        let one = table(&told, "one").clone();
        assert!(one["lost"].as_u64() > Some(0) && one["certainty"] == word, "{one}");
        let said = String::from_utf8(scene.recover(&["project.vaso"]).stdout).unwrap();
        let part = format!("{} {} lost", word.replace('-', " "), one["lost"]);
        assert!(said.contains(&format!("one: {} rows; {part}", one["recovered"])), "{said}");
        assert!(said.contains(&format!("rows recovered, {part}")), "{said}");
    };
    // A page says how many rows it had.
    let path = changed(&scene, &twins(TWINS[0].0, TWINS[0].1));
    let page = second_leaf(&path, "one");
    let mut bytes = fs::read(&path).unwrap();
    bytes[page * PAGE - 1500..page * PAGE - 1000].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    lost("at-least");
    // Of a page that is gone nobody knows.
    bytes[(page - 1) * PAGE..page * PAGE].fill(0);
    fs::write(&path, &bytes).unwrap();
    lost("about");
}

/// An earlier state of the table's only page holds no row less than its head says, and looks whole.
#[test]
fn an_index_that_is_damaged_still_tells_of_rows_that_are_not_there() {
    let scene = Scene::new();
    let more = "INSERT INTO meta VALUES('lens', 'quartz')";
    let pages = |sql: &str| fs::read(changed(&scene, sql)).unwrap();
    let before = pages(more);
    let mut bytes = pages(&format!("{more}, ('more', '1'), ('most', '2')"));
    let path = scene.path("project.vaso");
    let [table, index] = ["meta", "sqlite_autoindex_meta_1"].map(|name| root(&path, name));
    let page = |number: usize| (number - 1) * PAGE..number * PAGE;
    bytes[page(table)].copy_from_slice(&before[page(table)]);
    let key = bytes[page(index)].windows(4).position(|part| part == b"lens").unwrap();
    for at in [None, Some(page(index).start + key)] {
        if let Some(at) = at {
            bytes[at] ^= 0x40;
        }
        fs::write(&path, &bytes).unwrap();
        let told = scene.json(0, &["project.vaso"]);
        assert_eq!(told["complete"], false, "{at:?} {told}");
    }
}

#[test]
fn an_index_that_is_damaged_by_itself_contradicts_no_row() {
    let scene = Scene::new();
    let index = "sqlite_autoindex_meta_1";
    // The first letter becomes a comma, and stands behind other letters; the last one becomes its neighbour.
    for (at, bit, is_certain) in [(0, 0x40, true), (3, 1, false)] {
        let path = changed(&scene, "INSERT INTO meta VALUES('lens', 'quartz')");
        let all = number(&path, "SELECT count(*) FROM meta");
        let page = root(&path, index);
        let mut bytes = fs::read(&path).unwrap();
        let on_page = &mut bytes[(page - 1) * PAGE..page * PAGE];
        assert_eq!(on_page[0], 10, "it is one page");
        let places: Vec<usize> = (0..PAGE - 4).filter(|i| on_page[*i..].starts_with(b"lens")).collect();
        assert_eq!(places.len(), 1);
        on_page[places[0] + at] ^= bit;
        fs::write(&path, bytes).unwrap();
        let told = scene.json(0, &["project.vaso"]);
        let meta = table(&told, "meta");
        assert_eq!(told["complete"], is_certain, "{told}");
        assert_eq!(
            (&meta["lost"], &meta["contradicted"]),
            (&0.into(), &u64::from(!is_certain).into()),
            "{meta}"
        );
        assert_eq!(number(&result(&told), "SELECT count(*) FROM meta"), all);
        assert_eq!(number(&result(&told), "SELECT count(*) FROM meta WHERE key = 'lens'"), 1);
        let said = String::from_utf8(scene.recover(&["project.vaso"]).stdout).unwrap();
        let anew = format!("the index {index} of meta was damaged, and is made anew from the rows");
        assert_eq!(said.contains(&anew), is_certain, "{said}");
        assert_eq!(said.contains("Recovery succeeded!"), is_certain, "{said}");
    }
}
