//! `vaso recover` as scripts use it: exit codes, what is chosen, what is written, and what is left alone.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{As, folder, run, vaso};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

struct Scene(TempDir);

impl Scene {
    fn new() -> Scene {
        let folder = folder();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/salvage.tar.xz");
        let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status();
        assert!(status.expect("tar is installed").success());
        Scene(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("salvage").join(name)
    }

    fn recover(&self, args: &[&str]) -> Output {
        let mut command = vaso(As::Me);
        command.arg("recover").args(args).current_dir(self.path(""));
        run(&mut command)
    }

    #[track_caller]
    fn json(&self, code: i32, args: &[&str]) -> Value {
        let output = self.recover(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Every file with its bytes, times and permissions.
    fn all(&self) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, i64, u32)> {
        let mut all = BTreeMap::new();
        let mut pending = vec![self.path("")];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                if meta.is_dir() {
                    pending.push(path);
                } else {
                    let times = (meta.mtime_nsec() ^ meta.mtime(), meta.ctime_nsec(), meta.atime_nsec());
                    let bytes = fs::read(&path).unwrap();
                    all.insert(path, (bytes, times.0, times.1, times.2, meta.mode()));
                }
            }
        }
        all
    }

    fn count(&self, file: &str, sql: &str) -> i64 {
        let db = Connection::open(self.path(file)).unwrap();
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        assert_eq!(db.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0)).unwrap(), 7);
        db.query_row(sql, [], |r| r.get(0)).unwrap()
    }
}

const TRACE: &str = "SELECT count(*) FROM trace";
const DATASET: &str = "SELECT count(*) FROM dataset";

#[test]
fn a_damaged_file_is_left_as_it_is_and_a_new_one_made_beside_it() {
    let scene = Scene::new();
    // The first reading moves the access times; it is the second that must not.
    scene.all();
    let before = scene.all();
    let found = scene.json(0, &["flipped_trace_leaf.vaso"]);
    assert_eq!((&found["recovered"], &found["report"]["lost"]), (&true.into(), &0.into()));
    assert_eq!(scene.count("flipped_trace_leaf.recovered.vaso", TRACE), 2750);
    scene.json(0, &["flipped_trace_leaf.vaso"]);
    assert_eq!(scene.count("flipped_trace_leaf.recovered-2.vaso", TRACE), 2750);
    let after = scene.all();
    assert_eq!(after.len(), before.len() + 2);
    for (path, file) in before {
        assert!(after[&path] == file, "{} was touched", path.display());
    }
}

#[test]
fn a_sound_project_is_told_so_and_nothing_is_written() {
    let scene = Scene::new();
    let before = scene.all().len();
    for project in ["stale_bak_wins.vaso", "wal_leftover.vaso", "v7.db"] {
        let told = scene.json(0, &[project]);
        assert_eq!((&told["recovered"], &told["sound"]), (&false.into(), &true.into()), "{project}");
    }
    assert_eq!(scene.all().len(), before);
}

#[test]
fn a_sound_autosave_that_is_not_older_comes_before_a_salvage() {
    let scene = Scene::new();
    let found = scene.json(0, &["bad_with_autosave.vaso"]);
    assert!(found["source"].as_str().unwrap().ends_with(".autosave"));
    assert_eq!(scene.count("bad_with_autosave.recovered.vaso", TRACE), 2750);
    let list = scene.json(0, &["bad_with_autosave.vaso", "--list"]);
    assert_eq!(list["candidates"][0]["salvage"]["lost"], 0);
    scene.json(0, &["bad_with_autosave.vaso", "--use", "1"]);
    assert_eq!(scene.count("bad_with_autosave.recovered-2.vaso", TRACE), 2750);
}

#[test]
fn an_old_backup_does_not_replace_a_newer_file_that_lost_little() {
    let scene = Scene::new();
    let (main, old) = (scene.path("flipped_trace_leaf.vaso"), scene.path("flipped_trace_leaf.vaso.bak"));
    fs::copy(scene.path("stale_bak_wins.vaso"), &old).unwrap();
    let db = Connection::open(&old).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=DELETE; UPDATE meta SET value='2020-01-01T00:00:00Z' WHERE key='modified_utc'",
    )
    .unwrap();
    db.close().unwrap();
    let found = scene.json(0, &["flipped_trace_leaf.vaso"]);
    assert_eq!(found["source"].as_str(), main.file_name().unwrap().to_str());
}

#[test]
fn unsaved_work_of_a_crashed_session_is_recovered() {
    let scene = Scene::new();
    let found = scene.json(0, &["orphan_staging.vasopack"]);
    assert!(found["source"].as_str().unwrap().contains(".staging"));
    assert_eq!(scene.count("orphan_staging.recovered.vaso", TRACE), 475);
    assert_eq!(scene.count("orphan_staging.recovered.vaso", DATASET), 3);
    assert!(scene.path("orphan_staging.vasopack/.staging/d61c516506da.sqlite-wal").exists());
}

#[test]
fn a_bundle_falls_back_as_the_application_does_and_tells_what_is_missing() {
    let scene = Scene::new();
    let found = scene.json(0, &["corrupt_current.vasopack"]);
    assert!(found["source"].as_str().unwrap().ends_with("000002.sqlite"));
    assert_eq!(found["elsewhere"][0]["holds"][0], "1 more events");
    assert_eq!(scene.count("corrupt_current.recovered.vaso", TRACE), 300);
}

#[test]
fn in_place_the_result_is_the_next_snapshot_above_all_others() {
    let scene = Scene::new();
    let snapshots = scene.path("corrupt_current.vasopack/snapshots");
    fs::write(snapshots.join("000007 (conflicted copy 2026-02-03).sqlite"), b"").unwrap();
    fs::write(scene.path("corrupt_current.vasopack/.lock"), b"{}").unwrap();
    let held = scene.recover(&["corrupt_current.vasopack", "--in-place"]);
    assert_eq!(held.status.code(), Some(4), "{held:?}");
    fs::remove_file(scene.path("corrupt_current.vasopack/.lock")).unwrap();
    scene.json(0, &["corrupt_current.vasopack", "--in-place"]);
    let two = fs::read(snapshots.join("000002.sqlite")).unwrap();
    assert!(fs::read(snapshots.join("000008.sqlite")).unwrap() == two);
    let head: Value =
        serde_json::from_slice(&fs::read(scene.path("corrupt_current.vasopack/HEAD.json")).unwrap()).unwrap();
    assert_eq!(head["current"], "000008.sqlite");
    assert_eq!((&head["previous"], &head["recovered_from"]), (&"000003.sqlite".into(), &2.into()));
    assert!(!scene.path("corrupt_current.vasopack/.lock").exists());
    assert!(!scene.path("corrupt_current.vasopack.lock").exists());
    let again = scene.json(0, &["corrupt_current.vasopack", "--in-place"]);
    assert_eq!(again["sound"], true);
}

#[test]
fn a_snapshot_is_extracted_byte_for_byte_and_nothing_is_overwritten() {
    let scene = Scene::new();
    let args = ["corrupt_current.vasopack", "--extract", "2", "--output", "two.vaso"];
    assert_eq!(scene.recover(&args).status.code(), Some(0));
    let stored = fs::read(scene.path("corrupt_current.vasopack/snapshots/000002.sqlite")).unwrap();
    assert!(fs::read(scene.path("two.vaso")).unwrap() == stored);
    assert_eq!(scene.recover(&args).status.code(), Some(1));
    let none = ["corrupt_current.vasopack", "--extract", "9", "--output", "nine.vaso"];
    assert_eq!(scene.recover(&none).status.code(), Some(1));
    assert!(!scene.path("nine.vaso").exists());
}

#[test]
fn autosaves_are_found_and_links_are_not_followed() {
    let scene = Scene::new();
    std::os::unix::fs::symlink("/", scene.path("everything")).unwrap();
    let found = scene.json(0, &["--find-autosaves", "."]);
    let found: Vec<&str> =
        found["autosaves"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    let expected =
        ["./bad_with_autosave.vaso.autosave", "./orphan_staging.vasopack/.staging/d61c516506da.sqlite"];
    assert_eq!(found, expected);
}

#[test]
fn nothing_recoverable_is_no_success() {
    let scene = Scene::new();
    fs::write(scene.path("noise.vaso"), common::noise(5, 20_000)).unwrap();
    fs::write(scene.path("empty.vaso"), b"").unwrap();
    for project in ["noise.vaso", "empty.vaso", "missing.vaso"] {
        assert_eq!(scene.recover(&[project]).status.code(), Some(2), "{project}");
    }
    assert_eq!(scene.recover(&[]).status.code(), Some(64));
    assert!(!scene.path("noise.recovered.vaso").exists());
}
