//! What SQLite does not see, and `vaso recover` tells all the same: embedded files that are not what is said of them, an
//! empty index that cannot be opened, a version that is too new.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use scene::Scene;
use serde_json::Value;

/// A copy of a sound project, with something done to it.
fn changed(scene: &Scene, name: &str, sql: &str) -> PathBuf {
    let path = scene.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(scene.path("v7.db"), &path).unwrap();
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

fn root(path: &Path, name: &str) -> usize {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = Connection::open(path).unwrap().query_row(sql, [name], |row| row.get(0)).unwrap();
    root as usize
}

fn said(scene: &Scene, args: &[&str]) -> String {
    String::from_utf8(scene.recover(args).stdout).unwrap()
}

/// The codes that `vaso verify` finds.
fn codes(scene: &Scene, project: &str) -> Vec<String> {
    let (_, told) = scene.told("verify", project);
    told["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_string()).collect()
}

const ROTTEN: &str = "UPDATE blob_chunk SET data = zeroblob(length(data)) WHERE asset_id = 1";

#[test]
fn a_project_with_an_embedded_file_that_is_not_what_it_says_is_not_sound() {
    let scene = Scene::new();
    changed(&scene, "x.vaso", ROTTEN);
    assert!(codes(&scene, "x.vaso").contains(&"asset-digest".to_string()));
    let told = scene.json(1, &["x.vaso"]);
    assert_eq!((&told["recovered"], &told["sound"]), (&false.into(), &false.into()), "{told}");
    let what = told["assets"][0]["what"].as_str().unwrap();
    assert!(what.starts_with("asset 1 (") && told["assets"][0]["whole_in"].is_null(), "{told}");
    for args in [&["x.vaso"][..], &["x.vaso", "--list"]] {
        let text = said(&scene, args);
        assert!(text.contains(what) && !text.contains("is sound"), "{text}");
    }
}

#[test]
fn a_result_with_such_a_file_is_not_complete() {
    let scene = Scene::new();
    let path = changed(&scene, "x.vaso", ROTTEN);
    let index = root(&path, "event_ds_t");
    let mut bytes = fs::read(&path).unwrap();
    bytes[(index - 1) * 4096..index * 4096].fill(0);
    fs::write(&path, bytes).unwrap();
    let told = scene.json(0, &["x.vaso"]);
    assert_eq!((&told["report"]["lost"], &told["complete"]), (&0.into(), &false.into()), "{told}");
    assert!(told["assets"][0]["what"].as_str().unwrap().starts_with("asset 1 ("), "{told}");
    let text = said(&scene, &["x.vaso"]);
    assert!(text.contains("Recovered in part") && text.contains("asset 1 ("), "{text}");
}

#[test]
fn an_older_snapshot_that_has_the_file_whole_is_named() {
    let scene = Scene::new();
    changed(&scene, "B.vasopack/snapshots/000001.sqlite", "UPDATE dataset SET notes = 'older'");
    changed(&scene, "B.vasopack/snapshots/000002.sqlite", ROTTEN);
    let head = r#"{"current": "000002.sqlite", "timestamp": 1}"#;
    fs::write(scene.path("B.vasopack/HEAD.json"), head).unwrap();
    let told = scene.json(1, &["B.vasopack"]);
    assert_eq!(told["sound"], false, "{told}");
    assert!(told["assets"][0]["whole_in"].as_str().unwrap().ends_with("snapshots/000001.sqlite"), "{told}");
    let taken = scene.json(0, &["B.vasopack", "--use", "1"]);
    let source = taken["source"].as_str().unwrap();
    assert!(source.ends_with("000002.sqlite") && taken["complete"] == false, "{taken}");
}

#[test]
fn an_empty_index_that_cannot_be_opened_is_seen_by_all() {
    let scene = Scene::new();
    let path = changed(&scene, "x.vaso", "DELETE FROM ref; VACUUM");
    assert_eq!(codes(&scene, "x.vaso"), [""; 0]);
    let index = root(&path, "ref_dataset_role");
    let mut bytes = fs::read(&path).unwrap();
    let kind = &mut bytes[(index - 1) * 4096];
    assert_eq!(*kind, 10);
    *kind = 2;
    fs::write(&path, bytes).unwrap();
    assert!(codes(&scene, "x.vaso").contains(&"integrity-check-failed".to_string()));
    let told = scene.json(0, &["x.vaso"]);
    assert_eq!(told["recovered"], true, "{told}");
    assert_eq!(codes(&scene, "x.recovered.vaso"), [""; 0]);
}

#[test]
fn a_version_that_the_application_does_not_open_is_told() {
    let scene = Scene::new();
    changed(&scene, "x.vaso", "PRAGMA user_version = 8");
    assert_eq!(codes(&scene, "x.vaso"), ["newer-version"]);
    let told = scene.json(0, &["x.vaso"]);
    assert_eq!(told["sound"], true, "{told}");
    let why = told["too_new"].as_str().unwrap();
    assert!(why.contains("user_version is 8"), "{told}");
    let text = said(&scene, &["x.vaso"]);
    assert!(text.contains(why), "{text}");
    let written: Value = scene.json(0, &["x.vaso", "--use", "1"]);
    assert_eq!(written["too_new"].as_str(), Some(why), "{written}");
}
