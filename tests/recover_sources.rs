//! Where `vaso recover` looks: beside what a link leads to, beside a project that is gone, and in a ZIP file of which
//! anything but the database is damaged.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use scene::{Scene, TRACE};
use serde_json::Value;
use zip::CompressionMethod::{self, Deflated, Stored};

const LATE: &str = "select count(*) from dataset where id = 77";

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn beside(path: &Path, tail: &str) -> PathBuf {
    PathBuf::from(format!("{}{tail}", path.display()))
}

fn result(told: &Value) -> PathBuf {
    PathBuf::from(told["path"].as_str().unwrap_or_else(|| panic!("{told}")))
}

fn candidates(list: &Value) -> Vec<&str> {
    let names = list["candidates"].as_array().unwrap().iter();
    let mut names: Vec<&str> =
        names.map(|c| c["path"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    names.sort();
    names
}

/// What SQLite leaves of a database that was changed by `sql` and is still open: the database, and one of its logs.
fn left_open(from: &Path, to: &Path, mode: &str, sql: &str, tail: &str) {
    let work = to.with_extension("work");
    fs::copy(from, &work).unwrap();
    let db = Connection::open(&work).unwrap();
    db.execute_batch(&format!("pragma journal_mode={mode}; {sql}")).unwrap();
    fs::copy(&work, to).unwrap();
    fs::copy(beside(&work, tail), beside(to, tail)).unwrap();
    drop(db);
    for path in [work.clone(), beside(&work, "-wal"), beside(&work, "-shm"), beside(&work, "-journal")] {
        let _ = fs::remove_file(path);
    }
}

/// A project in a folder of its own, with a link to it.
fn linked(scene: &Scene) -> PathBuf {
    fs::create_dir(scene.path("real")).unwrap();
    symlink("real/X.vaso", scene.path("L.vaso")).unwrap();
    scene.path("real/X.vaso")
}

#[test]
fn what_lies_beside_the_file_that_a_link_leads_to_belongs_to_it() {
    let scene = Scene::new();
    let real = linked(&scene);
    let late =
        "pragma wal_autocheckpoint=0; insert into dataset(id, name, created_utc) values(77, 'late', '2026')";
    left_open(&scene.path("v7.db"), &real, "wal", late, "-wal");
    let mut bytes = fs::read(&real).unwrap();
    let root =
        number(&scene.path("v7.db"), "select rootpage from sqlite_schema where name = 'trace'") as usize;
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    fs::write(&real, bytes).unwrap();
    // Beside the link lies nothing that SQLite would ever read.
    fs::write(scene.path("L.vaso-wal"), b"of another").unwrap();
    fs::copy(scene.path("small.db"), scene.path("L.vaso.bak")).unwrap();
    fs::copy(scene.path("small.db"), scene.path("real/X.vaso.autosave")).unwrap();
    let list = scene.json(0, &["L.vaso", "--list"]);
    assert_eq!(candidates(&list), ["L.vaso.bak", "X.vaso", "X.vaso.autosave"], "{list}");
    fs::remove_file(scene.path("real/X.vaso.autosave")).unwrap();
    let told = scene.json(0, &["L.vaso"]);
    assert!(told["source"].as_str().unwrap().ends_with("real/X.vaso"), "{told}");
    assert_eq!(number(&result(&told), LATE), 1, "{told}");
    assert_eq!(result(&told).parent(), Some(&*fs::canonicalize(scene.path("")).unwrap()));
    assert!(result(&told).ends_with("L.recovered.vaso"), "{told}");
}

#[test]
fn a_journal_beside_the_file_that_a_link_leads_to_is_put_back() {
    let scene = Scene::new();
    let real = linked(&scene);
    let half = "pragma cache_size=5; pragma cache_spill=5; begin; update trace set inner_diam = -1";
    left_open(&scene.path("v7.db"), &real, "delete", half, "-journal");
    assert_eq!(scene.json(0, &["L.vaso"])["sound"], true);
    let said = scene.recover(&["L.vaso"]);
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("real/X.vaso-journal: keep the two files together"), "{said}");
}

#[test]
fn sessions_beside_the_bundle_that_a_link_leads_to_belong_to_it() {
    let scene = Scene::new();
    fs::create_dir(scene.path("real")).unwrap();
    fs::rename(scene.path("corrupt_current.vasopack"), scene.path("real/A.vasopack")).unwrap();
    symlink("real/A.vasopack", scene.path("B.vasopack")).unwrap();
    fs::create_dir(scene.path("real/.A.vasopack.staging")).unwrap();
    fs::copy(scene.path("v7.db"), scene.path("real/.A.vasopack.staging/s.sqlite")).unwrap();
    let list = scene.json(0, &["B.vasopack", "--list"]);
    assert!(candidates(&list).contains(&"s.sqlite"), "{list}");
    assert!(result(&scene.json(0, &["B.vasopack"])).ends_with("B.recovered.vaso"));
}

#[test]
fn of_a_project_that_is_gone_what_lies_beside_it_is_found() {
    let scene = Scene::new();
    fs::create_dir(scene.path("gone")).unwrap();
    assert_eq!(scene.recover(&["gone/X.vaso"]).status.code(), Some(2));
    fs::copy(scene.path("v7.db"), scene.path("gone/X.vaso.bak")).unwrap();
    let list = scene.json(0, &["gone/X.vaso", "--list"]);
    assert_eq!(candidates(&list), ["X.vaso.bak"]);
    let told = scene.json(0, &["gone/X.vaso"]);
    assert_eq!(number(&result(&told), TRACE), 2750);
    assert_eq!((&told["complete"], &told["missing"]), (&false.into(), &"X.vaso itself is not there".into()));
    let said = scene.recover(&["gone/X.vaso"]);
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("Recovered in part") && said.contains("X.vaso itself is not there"), "{said}");
    // A link to it is as good.
    symlink("gone/X.vaso", scene.path("L.vaso")).unwrap();
    assert!(result(&scene.json(0, &["L.vaso"])).ends_with("salvage/L.recovered.vaso"));
}

/// A ZIP file of these entries.
fn packed(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const FIRST: &str = "bundle/snapshots/000001.sqlite";
const SECOND: &str = "bundle/snapshots/000002.sqlite";

/// A container of two snapshots, of which the second has all rows of the trace.
fn container(scene: &Scene, method: CompressionMethod) -> Vec<u8> {
    let [first, second] = ["small.db", "v7.db"].map(|name| fs::read(scene.path(name)).unwrap());
    let head: &[u8] = br#"{"current": "000002.sqlite"}"#;
    packed(&[("bundle/HEAD.json", head), (FIRST, &first), (SECOND, &second)], method)
}

/// Where the local header of an entry is.
fn header(zip: &[u8], name: &str) -> usize {
    zip.windows(name.len()).position(|part| part == name.as_bytes()).unwrap() - 30
}

fn made_at(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Recovers `zip`, and gives what is told and how many rows of a trace are back.
#[track_caller]
fn recovered(scene: &Scene, zip: &[u8]) -> (Value, i64) {
    fs::write(scene.path("box.vaso"), zip).unwrap();
    made_at(&scene.path("box.vaso"), SystemTime::now() - Duration::from_secs(3600));
    let told = scene.json(0, &["box.vaso"]);
    assert_eq!(told["recovered"], true, "{told}");
    let rows = number(&result(&told), TRACE);
    (told, rows)
}

#[test]
fn how_old_a_file_is_decides_nothing() {
    let scene = Scene::new();
    let mut zip = container(&scene, Deflated);
    let at = header(&zip, SECOND) + 60;
    // In the midst of the packed stream, where all that was in front of it can be had.
    let length = zip[at..].windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    zip[at + length * 19 / 20..][..40].fill(0xff);
    let (old, rows) = recovered(&scene, &zip);
    assert!(rows > 1000 && old["source"].as_str().unwrap().ends_with("000002.sqlite"), "{old}");
    let path = scene.path("box.vaso");
    for time in [SystemTime::now(), SystemTime::now() + Duration::from_secs(900)] {
        made_at(&path, time);
        let told = scene.json(0, &["box.vaso"]);
        assert_eq!((&told["source"], number(&result(&told), TRACE)), (&old["source"], rows), "{told}");
    }
}

#[test]
fn a_zip_file_is_known_by_its_directory_whatever_it_begins_with() {
    let scene = Scene::new();
    for method in [Stored, Deflated] {
        let whole = container(&scene, method);
        let mut bit = whole.clone();
        bit[0] ^= 1;
        let mut zeros = whole.clone();
        let second = header(&whole, SECOND);
        zeros[..second.min(4096)].fill(0);
        for (what, zip) in
            [("bit", bit), ("zeros", zeros), ("front", [vec![7; 1000], whole.clone()].concat())]
        {
            let (told, rows) = recovered(&scene, &zip);
            assert_eq!((rows, &told["complete"]), (2750, &true.into()), "{what}: {told}");
            assert_eq!(scene.json(0, &["box.vaso", "--list"])["format"], "container");
        }
        let mut shared = packed(&[("project.vaso", &fs::read(scene.path("v7.db")).unwrap())], method);
        shared[1] = 0;
        assert_eq!(recovered(&scene, &shared).1, 2750);
    }
    // A database that has lost its head is none, whatever is in it.
    let mut bytes = fs::read(scene.path("v7.db")).unwrap();
    bytes[..100].fill(0);
    fs::write(scene.path("plain.vaso"), bytes).unwrap();
    assert_eq!(scene.json(0, &["plain.vaso", "--list"])["format"], "legacy");
}

#[test]
fn an_entry_whose_header_is_damaged_is_taken_by_its_checksum() {
    let scene = Scene::new();
    for method in [Stored, Deflated] {
        let whole = container(&scene, method);
        let at = header(&whole, SECOND);
        for from in
            [at..at + 30, at + 35..at + 36, at + 28..at + 30, at + 8..at + 9, at..at + 30 + SECOND.len()]
        {
            let mut zip = whole.clone();
            zip[from.clone()].iter_mut().for_each(|byte| *byte ^= 0x55);
            let (told, rows) = recovered(&scene, &zip);
            assert!(told["source"].as_str().unwrap().ends_with("000002.sqlite"), "{told}");
            assert_eq!((rows, &told["complete"]), (2750, &true.into()), "{method} {from:?}: {told}");
            assert!(told["because"].as_str().unwrap().contains("damaged elsewhere"), "{told}");
            // With a byte of it changed as well it is doubted.
            let word = b"Vessel";
            if let (Stored, Some(name)) = (method, zip.windows(word.len()).rposition(|part| part == word)) {
                zip[name] = b'W';
                let (told, rows) = recovered(&scene, &zip);
                assert_eq!((rows, &told["complete"]), (2750, &false.into()), "{method} {from:?}: {told}");
            }
        }
    }
}

#[test]
fn bytes_put_into_a_zip_file_or_taken_from_it_leave_what_is_in_front_of_them() {
    let scene = Scene::new();
    for method in [Stored, Deflated] {
        let whole = container(&scene, method);
        let (first, second) = (header(&whole, FIRST), header(&whole, SECOND));
        let end = whole.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
        let into = |at: usize| [&whole[..at], &[0x20], &whole[at..]].concat();
        let without = |at: usize| [&whole[..at], &whole[at + 1..]].concat();
        for zip in [into((second + end * 3) / 4), without((second + end * 3) / 4)] {
            let (told, rows) = recovered(&scene, &zip);
            assert!(told["source"].as_str().unwrap().ends_with("000002.sqlite"), "{told}");
            assert!(rows > 500 && told["complete"] == false, "{method} {rows}: {told}");
        }
        // In front of the current snapshot, which is whole.
        for zip in [into((first + second) / 2), without((first + second) / 2)] {
            assert_eq!(recovered(&scene, &zip).1, 2750, "{method}");
        }
    }
}

#[test]
fn what_stands_behind_the_end_of_a_zip_file_does_not_make_it_cut_off() {
    let scene = Scene::new();
    for method in [Stored, Deflated] {
        let whole = container(&scene, method);
        for tail in [vec![0; 70_000], vec![0x5a; 3 << 20]] {
            let (told, rows) = recovered(&scene, &[&whole[..], &tail].concat());
            assert_eq!(
                (rows, &told["complete"], &told["missing"]),
                (2750, &true.into(), &Value::Null),
                "{told}"
            );
            assert!(
                told["because"].as_str().unwrap().contains("behind whose end other bytes stand"),
                "{told}"
            );
        }
        // Where an entry was begun there, newer work is lost.
        let begun = [&whole[..], &vec![0; 70_000], &whole[..40]].concat();
        let (told, _) = recovered(&scene, &begun);
        assert!(told["missing"].as_str().unwrap().contains("the file is cut off"), "{told}");
    }
}

/// What another state of the project has, or another project in one of the files, is not the damaged snapshot.
#[test]
fn what_lies_elsewhere_under_the_same_name_does_not_take_the_place_of_a_damaged_entry() {
    let scene = Scene::new();
    let [own, other] = ["v7.db", "small.db"].map(|name| fs::read(scene.path(name)).unwrap());
    let wipe = |zip: &mut [u8], name: &str| {
        let at = header(zip, name);
        zip[at..at + 1024].fill(0);
    };
    for method in [Stored, Deflated] {
        let nested = packed(&[(SECOND, &other)], method);
        let pack = |with: bool| {
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            let options = |method| zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(SECOND, options(method)).unwrap();
            zip.write_all(&own).unwrap();
            if with {
                // Stored, so that its headers stand in the file as they are.
                zip.start_file("bundle/attachments/old.zip", options(Stored)).unwrap();
                zip.write_all(&nested).unwrap();
            }
            zip.finish().unwrap().into_inner()
        };
        let (mut alone, mut beside) = (pack(false), pack(true));
        for zip in [&mut alone, &mut beside] {
            wipe(zip, SECOND);
        }
        // The attachment is damaged as well, so that nobody passes over what is in it.
        let at = header(&beside, "bundle/attachments/old.zip");
        beside[at] = 0;
        for zip in [&alone, &beside] {
            fs::write(scene.path("box.vaso"), zip).unwrap();
            let output = scene.recover(&["box.vaso", "--json"]);
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            match method {
                Stored => assert_eq!(number(&result(&told), TRACE), 2750, "{told}"),
                // Without its beginning nothing of a packed stream can be had.
                _ => assert_eq!(output.status.code(), Some(2), "{told}"),
            }
        }
        // An older state in front, which the directory has not any more.
        let old = packed(&[("project.vaso", &other)], method);
        let end = old.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
        let mut zip = [&old[..end], &packed(&[("project.vaso", &own)], method)].concat();
        let at = zip.windows(12).enumerate().filter(|(_, part)| *part == b"project.vaso");
        let at = at.map(|(at, _)| at).nth(1).unwrap() - 30;
        zip[at..at + 1024].fill(0);
        fs::write(scene.path("box.vaso"), &zip).unwrap();
        let output = scene.recover(&["box.vaso", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told["sound"] != true && told["complete"] != true, "{told}");
    }
}
