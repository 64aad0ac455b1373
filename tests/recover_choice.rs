//! What `vaso recover` chooses, and what it says where a person has to: unsaved work, newer snapshots that are damaged,
//! projects of which nothing is left, bytes that are not what was written.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use scene::{DATASET, Scene, TRACE};
use serde_json::Value;

const BUNDLE: &str = "orphan_staging.vasopack";

/// The bundle with a staging database that is its snapshot and what `sql` does to it.
fn staged(scene: &Scene, sql: &str) -> PathBuf {
    let staging = scene.path(&format!("{BUNDLE}/.staging"));
    fs::remove_dir_all(&staging).unwrap();
    fs::create_dir(&staging).unwrap();
    let path = staging.join("s.sqlite");
    fs::copy(scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite")), &path).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(sql).unwrap();
    db.close().unwrap();
    path
}

/// A second with a sample of 40 rows in it.
const NEW_SAMPLE: &str = r#"insert into dataset(id, name, created_utc, extra_json)
        values(77, 'late', '2026-01-01', '{"experiment": "E"}');
    insert into trace(dataset_id, t_seconds) with recursive n(i) as (select 0 union all select i + 1 from n
        where i < 39) select 77, i * 0.5 from n;"#;

fn text(scene: &Scene, code: i32, args: &[&str]) -> String {
    let output = scene.recover(args);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn unsaved_edits_are_recovered_that_no_count_tells() {
    for (sql, words) in [
        ("update trace set inner_diam = inner_diam + 1 where rowid_of = 1", "other values in the trace"),
        ("delete from event where id = (select min(id) from event)", "1 removed event"),
        (
            "update event set deleted_utc = '2026-01-01' where id = (select min(id) from event)",
            "1 removed event",
        ),
        ("update dataset set notes = 'seen by nobody' where id = 1", "other notes"),
    ] {
        let scene = Scene::new();
        let sql = sql.replace("rowid_of = 1", "t_seconds = (select min(t_seconds) from trace)");
        let path = staged(&scene, &sql);
        let bytes = fs::read(&path).unwrap();
        let found = scene.json(0, &[BUNDLE]);
        assert!(found["source"].as_str().unwrap().ends_with(".staging/s.sqlite"), "{sql}: {found}");
        assert!(fs::read(scene.path("orphan_staging.recovered.vaso")).unwrap() == bytes, "{sql}");
        let list = scene.json(0, &[BUNDLE, "--list"]);
        let staging = list["candidates"].as_array().unwrap().iter().find(|c| c["role"] == "staging").unwrap();
        let told = staging["unsaved"]["words"].as_str().unwrap();
        assert!(told.contains(words), "{sql}: {told}");
    }
}

#[test]
fn a_session_that_changed_nothing_is_nothing_to_recover() {
    let scene = Scene::new();
    staged(&scene, "update meta set value = '2030-01-01T00:00:00Z' where key = 'modified_utc'");
    assert!(text(&scene, 0, &[BUNDLE]).contains("The project is sound"));
}

#[test]
fn a_new_sample_is_recovered_although_an_event_is_gone() {
    let scene = Scene::new();
    staged(&scene, &format!("{NEW_SAMPLE} delete from event where id = (select max(id) from event)"));
    scene.json(0, &[BUNDLE]);
    assert_eq!(scene.count("orphan_staging.recovered.vaso", DATASET), 3);
}

#[test]
fn what_takes_samples_away_is_told_and_left_to_a_person() {
    let scene = Scene::new();
    staged(
        &scene,
        &format!("{NEW_SAMPLE} delete from dataset where id = 1; delete from trace where dataset_id = 1"),
    );
    let told = scene.json(1, &[BUNDLE]);
    assert_eq!((&told["sound"], told["undecided"].as_array().unwrap().len()), (&true.into(), 1));
    let number = told["undecided"][0].to_string();
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(said.contains(&format!("take it with --use {number}")), "{said}");
    assert!(said.contains("the new sample E/late with 40 trace rows and 0 events"), "{said}");
    assert!(!said.contains('✓'), "{said}");
    assert!(!scene.path("orphan_staging.recovered.vaso").exists());
    scene.json(0, &[BUNDLE, "--use", &number]);
    assert_eq!(scene.count("orphan_staging.recovered.vaso", DATASET), 2);
}

fn zero(path: &Path, page: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0);
    fs::write(path, bytes).unwrap();
}

/// The pages that are leaves of the trace of a database.
fn leaves_of_trace(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    // A record of the trace has 13 values: its head is of 14 bytes.
    let is_leaf = |page: &[u8]| {
        let at = usize::from(u16::from_be_bytes([page[8], page[9]]));
        page[0] == 10 && page.get(at + 1) == Some(&14)
    };
    (1..=bytes.len() / 4096).filter(|n| is_leaf(&bytes[(n - 1) * 4096..n * 4096])).collect()
}

#[test]
fn of_a_damaged_session_no_number_is_told_as_if_it_were_whole() {
    let scene = Scene::new();
    let path = staged(&scene, NEW_SAMPLE);
    zero(&path, leaves_of_trace(&path)[0]);
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(
        said.contains("is damaged, and holds unsaved work: at least, as far as it can be salvaged"),
        "{said}"
    );
    assert!(said.contains("the new sample E/late") && said.contains("--use"), "{said}");
    assert!(said.contains("lost"), "{said}");
    let told = scene.json(1, &[BUNDLE]);
    let number = told["undecided"][0].to_string();
    scene.json(0, &[BUNDLE, "--use", &number]);
    assert_eq!(scene.count("orphan_staging.recovered.vaso", DATASET), 3);
}

#[test]
fn no_kind_of_work_in_a_damaged_session_is_denied() {
    let scene = Scene::new();
    for sql in [
        "update dataset set notes = 'a week of notes' where id = 1",
        "update meta set value = 'New name' where key = 'project_name'",
        "insert into meta values('of_a_plugin', '1')",
        "insert into result(dataset_id, kind, version, created_utc, payload_json) values(1, 'k2', '1', '2026-01-01', '{}')",
        "insert into asset(id, kind, sha256, size_bytes, compressed, chunk_size) values(99, 'x', 'ab', 0, 0, 10);
         insert into ref(asset_id, dataset_id, role) values(99, 1, 'attachment:9')",
        "insert or replace into thumbnail values(1, x'8950')",
        "create table mine(a); insert into mine values('seen by nobody')",
        "insert into event_audit(dataset_id, action, source, utc_ts) values(1, 'x', 'y', '2026-01-01')",
        "update trace set outer_diam = 1.25 where dataset_id = 1",
    ] {
        let path = staged(&scene, sql);
        zero(&path, leaves_of_trace(&path)[1]);
        let said = text(&scene, 1, &[BUNDLE]);
        assert!(
            said.contains("is damaged, and holds unsaved work: at least") && said.contains("--use"),
            "{sql}: {said}"
        );
        assert!(!said.contains("✓"), "{sql}: {said}");
    }
    // Of what is lost nobody can tell whether it was saved.
    let path = staged(&scene, "");
    zero(&path, leaves_of_trace(&path)[1]);
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(!said.contains("✓") && !said.contains("unsaved work"), "{said}");
    assert!(said.contains("nobody knows whether all that was in it was saved"), "{said}");
    // Where all of it is there and was saved, there is nothing to decide: of the free pages only the number is wrong.
    let path = staged(&scene, "");
    let mut bytes = fs::read(&path).unwrap();
    bytes[39] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(text(&scene, 0, &[BUNDLE, "--list"]).contains("Damaged: "));
    assert!(text(&scene, 0, &[BUNDLE]).contains("there is nothing to recover"));
}

#[test]
fn what_a_log_beside_a_snapshot_holds_is_told_and_left_to_a_person() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.path(&format!("{BUNDLE}/.staging"))).unwrap();
    let snapshot = scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite"));
    let log = snapshot.with_extension("sqlite-wal");
    let (before, work) = (fs::read(&snapshot).unwrap(), scene.path("work.db"));
    fs::write(&work, &before).unwrap();
    let db = Connection::open(&work).unwrap();
    db.execute_batch("pragma journal_mode = wal; pragma wal_autocheckpoint = 0").unwrap();
    db.execute_batch(NEW_SAMPLE).unwrap();
    fs::copy(scene.path("work.db-wal"), &log).unwrap();
    let found = scene.json(1, &[BUNDLE]);
    assert_eq!(found["sound"], false, "{found}");
    let number = found["undecided"][0].to_string();
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(said.contains("holds unsaved work") && said.contains("the new sample E/late"), "{said}");
    assert!(!said.contains("sound"), "{said}");
    // It is whole, and is called so.
    let is_log = |judged: &&Value| judged["path"].as_str().unwrap().ends_with("-wal");
    let candidate = found["candidates"].as_array().unwrap().iter().find(is_log).unwrap();
    assert_eq!((&candidate["foreign"], &candidate["sound"]), (&true.into(), &true.into()), "{candidate}");
    assert_eq!((&candidate["damage"], &candidate["log_damage"]), (&Value::Null, &Value::Null), "{candidate}");
    for said in [&said, &text(&scene, 0, &[BUNDLE, "--list"])] {
        assert!(!said.to_lowercase().contains("damaged"), "{said}");
        assert!(said.contains("a log beside a snapshot, which is complete without one"), "{said}");
    }
    let taken = scene.json(0, &[BUNDLE, "--use", &number]);
    assert_eq!(taken["complete"], false);
    assert_eq!(scene.count("orphan_staging.recovered.vaso", DATASET), 3);
    assert!(fs::read(&snapshot).unwrap() == before);
    // A log of which all is in the snapshot too adds nothing.
    db.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())).unwrap();
    fs::copy(&work, &snapshot).unwrap();
    assert!(fs::metadata(&log).unwrap().len() > 0);
    assert_eq!(scene.json(0, &[BUNDLE])["sound"], true);
    assert!(!text(&scene, 0, &[BUNDLE]).contains("newest changes"));
    // Of the project that is one file it is said only while it holds anything.
    let (file, log) = (scene.path("project.vaso"), scene.path("project.vaso-wal"));
    fs::copy(&work, &file).unwrap();
    fs::copy(scene.path("work.db-wal"), &log).unwrap();
    let said = text(&scene, 0, &["project.vaso"]);
    assert!(said.contains("nothing to recover") && !said.contains("newest changes"), "{said}");
    db.execute_batch("update dataset set notes = 'later'").unwrap();
    fs::copy(scene.path("work.db-wal"), &log).unwrap();
    let said = text(&scene, 0, &["project.vaso"]);
    assert!(said.contains("Its newest changes may lie in"), "{said}");
    // One that is damaged, or does not go with the snapshot, is no less than that.
    let damaged = snapshot.with_extension("sqlite-wal");
    let mut bytes = fs::read(&log).unwrap();
    bytes[3] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(said.contains("the log beside it is damaged"), "{said}");
}

#[test]
fn recovery_in_part_is_no_success() {
    let scene = Scene::new();
    // Without its first page nobody knows what the file had.
    zero(&scene.path("v7.db"), 1);
    let found = scene.json(0, &["v7.db"]);
    assert_eq!((&found["complete"], &found["report"]["lost_is_exact"]), (&false.into(), &false.into()));
    let said = text(&scene, 0, &["v7.db"]);
    assert!(said.contains("Recovered in part") && !said.contains("succeeded"), "{said}");
    assert!(said.contains("rows recovered; how many are lost cannot be told"), "{said}");
    assert!(!said.contains("little or nothing") && !said.contains("0 lost"), "{said}");
    let said = text(&scene, 0, &["v7.db", "--list"]);
    assert!(said.contains("how many are lost cannot be told") && !said.contains("lost 0"), "{said}");
    // Where an index knows that nothing is lost, it is one.
    let said = text(&scene, 0, &["flipped_trace_leaf.vaso"]);
    assert!(said.contains("✓ Recovery succeeded!") && said.contains(" rows recovered, 0 lost"), "{said}");
    // What is lost is lost, whatever is known of it.
    let said = text(&scene, 0, &["truncated.vaso"]);
    assert!(said.contains("Recovered in part"), "{said}");
}

#[test]
fn samples_whose_names_are_lost_are_not_told_to_be_whole() {
    let scene = Scene::new();
    let path = scene.path("v7.db");
    let db = Connection::open(&path).unwrap();
    let page: u32 =
        db.query_row("select rootpage from sqlite_schema where name = 'dataset'", [], |r| r.get(0)).unwrap();
    let indices: Vec<u32> = {
        let mut q = db
            .prepare("select rootpage from sqlite_schema where type = 'index' and tbl_name = 'trace'")
            .unwrap();
        q.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    db.close().unwrap();
    let leaf = leaves_of_trace(&path)[3];
    for page in indices.into_iter().chain([page]).map(|page| page as usize).chain([leaf]) {
        zero(&path, page);
    }
    let found = scene.json(0, &["v7.db"]);
    let samples = found["report"]["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 3, "{found}");
    for sample in samples {
        assert_ne!(sample["certainty"], "exact", "{sample}");
    }
    assert_eq!(found["report"]["lost_is_exact"], false);
}

/// Two snapshots: the first is empty, as the application makes it; the second is what `second` says.
fn two(scene: &Scene, second: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let snapshots = scene.path(&format!("{BUNDLE}/snapshots"));
    let path = snapshots.join("000002.sqlite");
    fs::write(&path, second(fs::read(&path).unwrap())).unwrap();
    fs::remove_dir_all(scene.path(&format!("{BUNDLE}/.staging"))).unwrap();
    path
}

#[test]
fn an_empty_project_is_no_recovery() {
    for head in ["000001.sqlite", "000002.sqlite"] {
        let scene = Scene::new();
        let path = two(&scene, |bytes| vec![0; bytes.len()]);
        fs::write(scene.path(&format!("{BUNDLE}/HEAD.json")), format!("{{\"current\": \"{head}\"}}"))
            .unwrap();
        let said = text(&scene, 2, &[BUNDLE]);
        assert!(
            said.contains("Recovery failed") && said.contains(path.file_name().unwrap().to_str().unwrap()),
            "{said}"
        );
        assert!(!scene.path("orphan_staging.recovered.vaso").exists());
        assert_eq!(scene.json(2, &[BUNDLE])["recovered"], false);
    }
}

#[test]
fn a_list_of_nothing_ends_as_nothing_recoverable() {
    let scene = Scene::new();
    fs::write(scene.path("noise.vaso"), common::noise(5, 20_000)).unwrap();
    assert_eq!(scene.json(2, &["noise.vaso", "--list"])["chosen"], Value::Null);
    text(&scene, 2, &["noise.vaso", "--list"]);
    text(&scene, 0, &["v7.db", "--list"]);
}

#[test]
fn a_newer_snapshot_that_is_damaged_is_what_is_recovered() {
    let scene = Scene::new();
    let path = two(&scene, |bytes| bytes);
    let leaf = leaves_of_trace(&path)[0];
    zero(&path, leaf);
    // HEAD has stayed behind at the first one, which is empty.
    fs::write(scene.path(&format!("{BUNDLE}/HEAD.json")), "{\"current\": \"000001.sqlite\"}").unwrap();
    let found = scene.json(0, &[BUNDLE]);
    assert!(found["source"].as_str().unwrap().ends_with("000002.sqlite"), "{found}");
    assert_eq!(found["complete"], false);
    assert_eq!(scene.count("orphan_staging.recovered.vaso", DATASET), 2);
    assert!(scene.count("orphan_staging.recovered.vaso", TRACE) > 0);
}

#[test]
fn a_newer_snapshot_with_nothing_more_in_it_is_told() {
    let scene = Scene::new();
    two(&scene, |bytes| bytes);
    let snapshots = scene.path(&format!("{BUNDLE}/snapshots"));
    fs::copy(snapshots.join("000002.sqlite"), snapshots.join("000003.sqlite")).unwrap();
    let three = snapshots.join("000003.sqlite");
    zero(&three, leaves_of_trace(&three)[0]);
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(said.contains("000003.sqlite) is newer, and damaged") && said.contains("--use"), "{said}");
    fs::write(&three, b"").unwrap();
    let said = text(&scene, 1, &[BUNDLE]);
    assert!(said.contains("is newer and damaged, and nothing can be had of it"), "{said}");
}

#[test]
fn pages_of_a_trace_that_changed_places_are_damage() {
    let scene = Scene::new();
    let path = scene.path("v7.db");
    let leaves = leaves_of_trace(&path);
    let (one, other) = ((leaves[2] - 1) * 4096, (leaves[5] - 1) * 4096);
    let mut bytes = fs::read(&path).unwrap();
    for i in 0..4096 {
        bytes.swap(one + i, other + i);
    }
    fs::write(&path, &bytes).unwrap();
    let db = Connection::open(&path).unwrap();
    assert_eq!(db.query_row("PRAGMA quick_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
    db.close().unwrap();
    let found = scene.json(0, &["v7.db"]);
    assert_eq!((&found["recovered"], &found["complete"]), (&true.into(), &true.into()), "{found}");
    assert_eq!(scene.count("v7.recovered.vaso", TRACE), 2750);
}

#[test]
fn of_one_number_the_first_that_is_valid_is_extracted() {
    let scene = Scene::new();
    let snapshots = scene.path("corrupt_current.vasopack/snapshots");
    fs::write(snapshots.join("000003.sqlite"), b"").unwrap();
    fs::copy(snapshots.join("000002.sqlite"), snapshots.join("000003 (1).sqlite")).unwrap();
    let extract =
        |n: &str, to: &str| scene.recover(&["corrupt_current.vasopack", "--extract", n, "--output", to]);
    let done = extract("3", "three.vaso");
    assert_eq!((done.status.code(), done.stderr.is_empty()), (Some(0), true), "{done:?}");
    let two = fs::read(snapshots.join("000002.sqlite")).unwrap();
    assert!(fs::read(scene.path("three.vaso")).unwrap() == two);
    // One that is not valid is written all the same, and said to be none.
    let damaged = common::noise(3, 9000);
    fs::write(snapshots.join("000009.sqlite"), &damaged).unwrap();
    let done = extract("9", "nine.vaso");
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("000009.sqlite is not valid"), "{done:?}");
    assert!(fs::read(scene.path("nine.vaso")).unwrap() == damaged);
}

/// A ZIP file of these entries.
fn packed(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn of_a_container_that_is_cut_off_no_result_is_complete() {
    let database = &fs::read(Scene::new().path("v7.db")).unwrap();
    let head = br#"{"current": "000002.sqlite"}"#;
    let older: [(&str, &[u8]); 2] =
        [("bundle/HEAD.json", head), ("bundle/snapshots/000001.sqlite", database)];
    let entries = [older[0], older[1], ("bundle/snapshots/000002.sqlite", database)];
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let whole = packed(&entries, method);
        let name = b"bundle/snapshots/000002.sqlite";
        let header = whole.windows(name.len()).position(|w| w == name).unwrap() - 30;
        for cut in [header, header + 10, header + 60] {
            let scene = Scene::new();
            fs::write(scene.path("box.vaso"), &whole[..cut]).unwrap();
            let found = scene.json(0, &["box.vaso"]);
            assert!(found["source"].as_str().unwrap().ends_with("000001.sqlite"), "{found}");
            assert_eq!(found["complete"], false, "{method} {cut}: {found}");
            assert!(found["missing"].as_str().unwrap().contains("000002.sqlite"), "{found}");
            let said = text(&scene, 0, &["box.vaso"]);
            assert!(said.contains("Recovered in part") && said.contains("the file is cut off"), "{said}");
        }
    }
    // Of one that is not cut off HEAD may say so.
    let scene = Scene::new();
    let mut torn = database.clone();
    torn[8192..16384].fill(0);
    let entries = [older[0], ("bundle/snapshots/000001.sqlite", &torn[..])];
    fs::write(scene.path("box.vaso"), packed(&entries, zip::CompressionMethod::Stored)).unwrap();
    let found = scene.json(0, &["box.vaso"]);
    assert_eq!(found["missing"], "HEAD.json names 000002.sqlite, which is not there", "{found}");
    assert_eq!(found["complete"], false);
}

#[test]
fn newer_work_that_a_head_names_and_is_not_there_is_no_sound_project() {
    let wanting = |scene: &Scene, project: &str, missing: &str| {
        let (code, verified) = scene.told("verify", project);
        let finding = verified["findings"].as_array().unwrap().iter().find(|f| f["code"] == "head-dangling");
        let told = format!("{} {}", finding.unwrap()["path"].as_str().unwrap(), finding.unwrap()["message"]);
        assert_eq!((code, told.contains("000009.sqlite")), (Some(1), true), "{told}");
        let found = scene.json(1, &[project]);
        assert_eq!((&found["missing"], &found["sound"]), (&missing.into(), &false.into()), "{found}");
        assert_eq!(scene.json(0, &[project, "--list"])["missing"], missing);
        for said in [text(scene, 1, &[project]), text(scene, 0, &[project, "--list"])] {
            assert!(said.contains(missing) && !said.contains('✓') | said.contains("[✓]"), "{said}");
            assert!(!said.contains("sound"), "{said}");
        }
        // What is written all the same is not all.
        assert_eq!(scene.json(0, &[project, "--use", "1"])["complete"], false);
    };
    let head = r#"{"current": "000009.sqlite"}"#;
    for name in ["HEAD.json", "HEAD-LAB7.json"] {
        let scene = Scene::new();
        staged(&scene, "select 1");
        fs::write(scene.path(&format!("{BUNDLE}/{name}")), head).unwrap();
        wanting(&scene, BUNDLE, &format!("{name} names 000009.sqlite, which is not there"));
        // One that is behind misses nothing.
        fs::write(scene.path(&format!("{BUNDLE}/{name}")), r#"{"current": "000000.sqlite"}"#).unwrap();
        assert_eq!(scene.json(0, &[BUNDLE])["missing"], Value::Null);
    }
    let scene = Scene::new();
    let database = fs::read(scene.path("v7.db")).unwrap();
    let entries: [(&str, &[u8]); 2] =
        [("bundle/HEAD.json", head.as_bytes()), ("bundle/snapshots/000001.sqlite", &database)];
    fs::write(scene.path("box.vaso"), packed(&entries, zip::CompressionMethod::Stored)).unwrap();
    wanting(&scene, "box.vaso", "HEAD.json names 000009.sqlite, which is not there");
}

#[test]
fn an_entry_that_is_not_what_its_checksum_says_is_not_sound() {
    let scene = Scene::new();
    let database = fs::read(scene.path("v7.db")).unwrap();
    let head = br#"{"current": "000001.sqlite"}"#;
    let entries: [(&str, &[u8]); 2] =
        [("bundle/HEAD.json", head), ("bundle/snapshots/000001.sqlite", &database)];
    let mut whole = packed(&entries, zip::CompressionMethod::Stored);
    fs::write(scene.path("box.vaso"), &whole).unwrap();
    assert_eq!(scene.json(0, &["box.vaso"])["sound"], true);
    // A digit of a time, in a value: SQLite finds nothing wrong with it.
    let word = b"pixel_size_um";
    assert!(database.windows(word.len()).any(|w| w == word));
    let at = whole
        .windows(8)
        .rposition(|w| w == b"Vessel 1")
        .or_else(|| whole.windows(6).rposition(|w| w == b"Vessel"));
    whole[at.unwrap()] = b'W';
    fs::write(scene.path("box.vaso"), &whole).unwrap();
    let found = scene.json(0, &["box.vaso"]);
    assert_eq!((&found["recovered"], &found["complete"]), (&true.into(), &false.into()), "{found}");
    let list = scene.json(0, &["box.vaso", "--list"]);
    let candidate = &list["candidates"][0];
    assert_eq!(candidate["sound"], false);
    assert!(candidate["damage"].as_str().unwrap().contains("checksum"), "{candidate}");
    let said = text(&scene, 0, &["box.vaso"]);
    assert!(said.contains("checksum") && said.contains("nobody can tell which"), "{said}");
    assert_eq!(scene.count("box.recovered.vaso", TRACE), 2750);
    let done = scene.recover(&["box.vaso", "--extract", "1", "--output", "one.vaso"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("checksum"), "{done:?}");
}

#[test]
fn a_shared_project_is_recovered_as_a_database_is() {
    let scene = Scene::new();
    let whole = fs::read(scene.path("v7.db")).unwrap();
    for (name, method) in [("s", zip::CompressionMethod::Stored), ("d", zip::CompressionMethod::Deflated)] {
        let zip = packed(&[("project.vaso", &whole)], method);
        fs::write(scene.path(&format!("{name}.vasopack")), &zip).unwrap();
        assert_eq!(scene.json(0, &[&format!("{name}.vasopack")])["sound"], true);
        let damaged = fs::read(scene.path("flipped_trace_leaf.vaso")).unwrap();
        let zip = packed(&[("project.vaso", &damaged)], method);
        fs::write(scene.path(&format!("{name}.vasopack")), &zip).unwrap();
        let found = scene.json(0, &[&format!("{name}.vasopack")]);
        assert_eq!(found["report"]["lost"], 0, "{found}");
        assert_eq!(scene.count(&format!("{name}.recovered.vaso"), TRACE), 2750);
    }
    // Cut off behind the database, and in the middle of it.
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let zip = packed(&[("project.vaso", &whole)], method);
        fs::write(scene.path("behind.vasopack"), &zip[..zip.len() - 30]).unwrap();
        let found = scene.json(0, &["behind.vasopack"]);
        assert_eq!(found["recovered"], true, "{found}");
        assert_eq!(scene.count("behind.recovered.vaso", TRACE), 2750, "{found}");
        fs::remove_file(scene.path("behind.recovered.vaso")).unwrap();
    }
    let zip = packed(&[("project.vaso", &whole)], zip::CompressionMethod::Stored);
    fs::write(scene.path("cut.vasopack"), &zip[..zip.len() * 2 / 3]).unwrap();
    let found = scene.json(0, &["cut.vasopack"]);
    assert_eq!(found["complete"], false);
    assert!(scene.count("cut.recovered.vaso", TRACE) > 0);
}

/// The same entries, as a writer makes them that knows no size before it has written all.
fn streamed(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new_stream(Vec::new());
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn of_a_packed_database_that_is_cut_off_all_is_recovered_in_front_of_the_cut() {
    let scene = Scene::new();
    let database: &[u8] = &fs::read(scene.path("v7.db")).unwrap();
    let deflated = zip::CompressionMethod::Deflated;
    let (share, snapshot) = ([("project.vaso", database)], [("bundle/snapshots/000002.sqlite", database)]);
    for (name, zip) in [
        ("share", packed(&share, deflated)),
        ("box", packed(&snapshot, deflated)),
        ("stream", streamed(&share)),
    ] {
        let data = 30 + if name == "box" { 30 } else { 12 };
        let cut = &zip[..zip.len() * 2 / 3];
        // What another decoder makes of it, as a database that is cut off.
        let mut front = Vec::new();
        let _ = std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&cut[data..]), &mut front);
        assert!(front.len() > database.len() / 4 && database.starts_with(&front), "{}", front.len());
        fs::write(scene.path(&format!("{name}.front.vaso")), &front).unwrap();
        let right = scene.json(0, &[&format!("{name}.front.vaso")]);
        fs::write(scene.path(&format!("{name}.vaso")), cut).unwrap();
        let found = scene.json(0, &[&format!("{name}.vaso")]);
        assert_eq!((&found["recovered"], &found["complete"]), (&true.into(), &false.into()), "{found}");
        assert_eq!(found["report"]["tables"], right["report"]["tables"], "{name}");
        let rows = scene.count(&format!("{name}.recovered.vaso"), TRACE);
        assert!(
            rows > 0 && rows == scene.count(&format!("{name}.front.recovered.vaso"), TRACE),
            "{name}: {rows}"
        );
    }
    // An entry of which a byte was changed is one whose front is there, too.
    let mut changed = packed(&share, deflated);
    let middle = changed.len() / 2;
    changed[middle..middle + 64].fill(0xff);
    fs::write(scene.path("changed.vaso"), &changed[..changed.len() - 22]).unwrap();
    let found = scene.json(0, &["changed.vaso"]);
    assert_eq!(found["complete"], false, "{found}");
    assert!(scene.count("changed.recovered.vaso", TRACE) > 0);
}

/// Gives a file the time of its last change: hours after a day began.
fn written(path: &Path, hour: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_132_800 + hour * 3600);
    fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A bundle whose session was begun from snapshot 2, at two o'clock, and whose snapshot 3 is what `sql` makes of that.
fn begun_from_two(scene: &Scene, sql: &str, hour: u64) -> PathBuf {
    let staged = staged(scene, "update event set label = 'mine' where id = (select min(id) from event)");
    let snapshots = scene.path(&format!("{BUNDLE}/snapshots"));
    let three = snapshots.join("000003.sqlite");
    fs::copy(snapshots.join("000002.sqlite"), &three).unwrap();
    let db = Connection::open(&three).unwrap();
    db.execute_batch(sql).unwrap();
    db.close().unwrap();
    fs::write(scene.path(&format!("{BUNDLE}/HEAD.json")), "{\"current\": \"000003.sqlite\"}").unwrap();
    written(&snapshots.join("000001.sqlite"), 0);
    written(&snapshots.join("000002.sqlite"), 1);
    written(&staged, hour);
    written(&three, 9);
    three
}

/// What is nobody's doing, and what somebody has done in many places.
const RECALIBRATED: &str = "update trace set inner_diam = inner_diam * 1.07;
    update event set label = 'corrected ' || label;
    update dataset set notes = 'calibrated on Monday'";

#[test]
fn unsaved_work_of_an_older_state_takes_nothing_back_that_was_saved_since() {
    let notes = "update dataset set notes = 'read twice' where id = 1";
    // The same event, and nothing else: what the session was begun from cannot be told.
    let label = "update event set label = 'theirs' where id = (select min(id) from event)";
    for sql in [RECALIBRATED, NEW_SAMPLE, notes, label] {
        // Before and after the snapshot was made: the session may have gone on.
        for hour in [2, 10] {
            let scene = Scene::new();
            let three = begun_from_two(&scene, sql, hour);
            let bytes = fs::read(&three).unwrap();
            let before = scene.all().len();
            for place in [&[BUNDLE, "--in-place"][..], &[BUNDLE]] {
                let told = scene.json(1, place);
                assert_eq!(
                    (&told["sound"], &told["recovered"]),
                    (&true.into(), &false.into()),
                    "{sql}: {told}"
                );
                assert_eq!(told["undecided"].as_array().unwrap().len(), 1, "{sql}: {told}");
            }
            let said = text(&scene, 1, &[BUNDLE, "--in-place"]);
            assert!(said.contains("holds unsaved work") && said.contains("take it with --use"), "{said}");
            assert!(said.contains("begun") && said.contains("000002.sqlite"), "{said}");
            assert!(!said.contains('✓') && !said.contains("succeeded"), "{said}");
            assert_eq!(scene.json(0, &[BUNDLE, "--list"])["chosen"], Value::Null, "{sql}");
            assert!(fs::read(&three).unwrap() == bytes && scene.all().len() == before, "{sql}");
        }
    }
}

#[test]
fn unsaved_work_of_an_older_state_is_no_substitute_for_a_damaged_newer_one() {
    let scene = Scene::new();
    let three = begun_from_two(&scene, RECALIBRATED, 10);
    zero(&three, leaves_of_trace(&three)[0]);
    let found = scene.json(0, &[BUNDLE]);
    assert!(!found["because"].as_str().unwrap().contains("not older"), "{found}");
    assert_eq!(found["complete"], false, "{found}");
    let said = text(&scene, 0, &[BUNDLE]);
    assert!(said.contains("Recovered in part") && said.contains("000003.sqlite"), "{said}");
}

#[test]
fn unsaved_work_that_goes_on_from_the_current_state_is_taken() {
    let scene = Scene::new();
    let three = begun_from_two(&scene, RECALIBRATED, 10);
    let session = scene.path(&format!("{BUNDLE}/.staging/s.sqlite"));
    fs::copy(&three, &session).unwrap();
    let db = Connection::open(&session).unwrap();
    db.execute_batch("update event set label = 'mine' where id = (select min(id) from event)").unwrap();
    db.close().unwrap();
    written(&session, 10);
    let found = scene.json(0, &[BUNDLE, "--in-place"]);
    assert!(found["source"].as_str().unwrap().ends_with(".staging/s.sqlite"), "{found}");
}

#[test]
fn an_autosave_that_is_older_by_its_time_is_told_and_not_taken() {
    let scene = Scene::new();
    let (main, autosave) = (scene.path("v7.db"), scene.path("v7.db.autosave"));
    fs::copy(&main, &autosave).unwrap();
    let db = Connection::open(&main).unwrap();
    db.execute_batch(
        "delete from event where id = (select max(id) from event);
         update event set label = 'corrected' where id = (select min(id) from event);
         insert into event(dataset_id, t_seconds, label) values(1, 1.5, 'washout');
         update dataset set notes = 'seen again' where id = 1",
    )
    .unwrap();
    db.close().unwrap();
    written(&main, 40);
    written(&autosave, 10);
    let said = text(&scene, 0, &["v7.db"]);
    assert!(said.contains("The project itself is sound, and nothing was written"), "{said}");
    assert!(said.contains("v7.db.autosave") && said.contains("other work, and older"), "{said}");
    let (_, told) = scene.told("verify", "v7.db");
    let left = &told["leftovers"][0];
    assert_eq!((&left["what"], &left["older"]), (&"autosave".into(), &true.into()), "{told}");
    // Where nothing tells which of the two is newer, a person decides.
    written(&autosave, 40);
    assert_eq!(scene.json(1, &["v7.db"])["undecided"].as_array().unwrap().len(), 1);
    written(&autosave, 10);
    // Damaged, it is still the newer one, whatever is taken.
    let mut bytes = fs::read(&main).unwrap();
    bytes[(leaves_of_trace(&main)[0] - 1) * 4096] = 0xee;
    fs::write(&main, bytes).unwrap();
    written(&main, 40);
    let found = scene.json(0, &["v7.db"]);
    assert!(!found["because"].as_str().unwrap().contains("not older"), "{found}");
    assert_eq!(found["complete"], false, "{found}");
    // The list tells when each was written, as `date -u -d @N +%FT%TZ` has it.
    let list = scene.json(0, &["v7.db", "--list"]);
    let times: Vec<&str> =
        list["candidates"].as_array().unwrap().iter().map(|c| c["written_utc"].as_str().unwrap()).collect();
    assert_eq!(times.iter().filter(|time| **time == "2026-11-20T10:00:00Z").count(), 1, "{times:?}");
    let said = text(&scene, 0, &["v7.db", "--list"]);
    assert!(said.contains("File written: 2026-11-20T10:00:00Z"), "{said}");
    // One that is newer is unsaved work.
    fs::copy(scene.path("wal_leftover.vaso"), &main).unwrap();
    written(&main, 10);
    written(&autosave, 40);
    assert_eq!(scene.told("verify", "v7.db").1["leftovers"][0]["older"], false);
}

#[test]
fn a_log_beside_a_snapshot_is_not_taken_unasked_where_nothing_else_is_left() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.path(&format!("{BUNDLE}/.staging"))).unwrap();
    let snapshots = scene.path(&format!("{BUNDLE}/snapshots"));
    let (snapshot, work) = (snapshots.join("000002.sqlite"), scene.path("work.db"));
    fs::copy(&snapshot, &work).unwrap();
    let db = Connection::open(&work).unwrap();
    // All pages are in the log.
    db.execute_batch("pragma journal_mode = wal; pragma wal_autocheckpoint = 0").unwrap();
    db.execute_batch("create table filled(a); vacuum").unwrap();
    for other in fs::read_dir(&snapshots).unwrap() {
        fs::write(other.unwrap().path(), vec![0; 4096]).unwrap();
    }
    fs::copy(scene.path("work.db-wal"), snapshot.with_extension("sqlite-wal")).unwrap();
    let found = scene.json(2, &[BUNDLE]);
    assert_eq!(found["recovered"], false, "{found}");
    let candidate =
        found["candidates"].as_array().unwrap().iter().find(|judged| judged["foreign"] == true).unwrap();
    let number = candidate["number"].to_string();
    let said = text(&scene, 2, &[BUNDLE]);
    assert!(said.contains(&format!("take it with --use {number}")) && said.contains("unasked"), "{said}");
    assert_eq!(scene.json(0, &[BUNDLE, "--list"])["chosen"], Value::Null);
    assert_eq!(scene.json(0, &[BUNDLE, "--use", &number])["complete"], false);
    assert!(scene.count("orphan_staging.recovered.vaso", DATASET) > 1);
}
