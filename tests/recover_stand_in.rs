//! When an older sound file takes the place of a damaged newer one: what was done since is compared, and not only counted.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use scene::{Scene, TRACE};
use serde_json::Value;

const PAGE: usize = 4096;

/// What somebody has done in a day, and no count tells.
const REVIEWED: &str =
    "update event set label = 'REVIEWED ' || label; update dataset set notes = 'read twice';
    update meta set value = '2026-10-01T00:00:00Z' where key = 'modified_utc'";

const IS_REVIEWED: &str = "SELECT count(*) FROM event WHERE label LIKE 'REVIEWED %'";

fn execute(path: &Path, sql: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(sql).unwrap();
    db.close().unwrap();
}

/// The pages that are leaves of the trace, counted from 0.
fn leaves(bytes: &[u8]) -> Vec<usize> {
    // A record of the trace has 13 values: its head is of 14 bytes.
    let is_leaf = |page: &[u8]| {
        let at = usize::from(u16::from_be_bytes([page[8], page[9]]));
        page[0] == 10 && page.get(at + 1) == Some(&14)
    };
    (0..bytes.len() / PAGE).filter(|n| is_leaf(&bytes[n * PAGE..(n + 1) * PAGE])).collect()
}

/// A project with a backup that is years old and sound: each is `v7.db`, and what a statement does to it. Of the project
/// so many leaves of the trace are gone.
fn project(scene: &Scene, now: &str, then: &str, gone: usize) -> PathBuf {
    let (main, backup) = (scene.path("v7.db"), scene.path("v7.db.bak"));
    fs::copy(&main, &backup).unwrap();
    execute(&backup, then);
    execute(&backup, "update meta set value = '2020-01-01T00:00:00Z' where key = 'modified_utc'");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    fs::OpenOptions::new().write(true).open(&backup).unwrap().set_modified(old).unwrap();
    execute(&main, now);
    let mut bytes = fs::read(&main).unwrap();
    let leaves = leaves(&bytes);
    assert!(leaves.len() > gone + 2, "{leaves:?}");
    leaves[1..1 + gone].iter().for_each(|n| bytes[n * PAGE..(n + 1) * PAGE].fill(0));
    fs::write(&main, bytes).unwrap();
    backup
}

fn is_from(told: &Value, name: &str) -> bool {
    told["source"].as_str().unwrap().ends_with(name)
}

fn said(scene: &Scene) -> String {
    String::from_utf8(scene.recover(&["v7.db"]).stdout).unwrap()
}

#[test]
fn a_day_of_work_is_not_given_for_a_page_of_rows() {
    let scene = Scene::new();
    project(&scene, REVIEWED, "select 1", 1);
    let told = scene.json(0, &["v7.db"]);
    assert!(is_from(&told, "v7.db"), "{told}");
    assert!(scene.count("v7.recovered.vaso", IS_REVIEWED) > 0);
    // The sound one is named as what has the lost rows.
    let other = &told["elsewhere"][0];
    assert!(other["path"].as_str().unwrap().ends_with("v7.db.bak"), "{told}");
    assert!(other["holds"][0].as_str().unwrap().contains(" more rows of "), "{told}");
    let said = said(&scene);
    assert!(
        said.contains("of which no sound file has all that is left") && said.contains("--use 2"),
        "{said}"
    );
}

#[test]
fn where_nothing_was_done_since_an_older_file_that_is_sound_comes_first() {
    let scene = Scene::new();
    project(&scene, "select 1", "select 1", 1);
    let told = scene.json(0, &["v7.db"]);
    assert!(is_from(&told, "v7.db.bak"), "{told}");
    assert_eq!(scene.count("v7.recovered.vaso", TRACE), 2750);
}

#[test]
fn of_work_that_is_not_taken_is_told_what_it_is() {
    let scene = Scene::new();
    project(&scene, REVIEWED, "select 1", 15);
    let told = scene.json(0, &["v7.db"]);
    assert!(is_from(&told, "v7.db.bak"), "{told}");
    let said = said(&scene);
    assert!(
        said.contains("changed in it, as far as it can be salvaged: ") && said.contains("--use 1"),
        "{said}"
    );
    assert!(said.contains("edited event") && said.contains("other notes"), "{said}");
}

#[test]
fn as_many_samples_that_are_others_are_no_substitute() {
    for (now, then) in [
        ("update dataset set name = 'Re-recorded' where id = 2", "select 1"),
        ("select 1", "update dataset set name = 'Other ' || id"),
    ] {
        let scene = Scene::new();
        project(&scene, now, then, 1);
        let told = scene.json(0, &["v7.db"]);
        assert!(is_from(&told, "v7.db"), "{now}: {told}");
    }
    // Of another study nothing is a substitute, whatever is lost.
    let scene = Scene::new();
    project(&scene, "select 1", "update dataset set name = 'Other ' || id", 15);
    let told = scene.json(0, &["v7.db"]);
    assert!(is_from(&told, "v7.db"), "{told}");
}

#[test]
fn a_session_of_which_the_log_alone_is_damaged_is_whole_where_the_snapshot_is_not() {
    let scene = Scene::new();
    let bundle = "orphan_staging.vasopack";
    let (snapshot, staging) =
        (scene.path(&format!("{bundle}/snapshots/000002.sqlite")), scene.path(&format!("{bundle}/.staging")));
    fs::remove_dir_all(&staging).unwrap();
    fs::create_dir(&staging).unwrap();
    let (work, rows) =
        (scene.path("work.db"), scene.count(&format!("{bundle}/snapshots/000002.sqlite"), TRACE));
    fs::copy(&snapshot, &work).unwrap();
    let db = Connection::open(&work).unwrap();
    db.execute_batch(
        "pragma journal_mode = wal; pragma wal_autocheckpoint = 0; update dataset set notes = 'lost'",
    )
    .unwrap();
    fs::copy(&work, staging.join("s.sqlite")).unwrap();
    let mut log = fs::read(scene.path("work.db-wal")).unwrap();
    log[32 + 24 + 500] ^= 0xff;
    fs::write(staging.join("s.sqlite-wal"), log).unwrap();
    let mut bytes = fs::read(&snapshot).unwrap();
    let leaf = leaves(&bytes)[0];
    bytes[leaf * PAGE..(leaf + 1) * PAGE].fill(0);
    fs::write(&snapshot, bytes).unwrap();
    let told = scene.json(0, &[bundle]);
    assert!(is_from(&told, ".staging/s.sqlite"), "{told}");
    assert_eq!(told["complete"], false, "{told}");
    assert_eq!(scene.count("orphan_staging.recovered.vaso", TRACE), rows);
}
