//! `vaso recover`: where the result goes, what paths may be called, and what keeps the application from opening a bundle.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::{As, Mount, run, vaso};
use rusqlite::Connection;
use scene::{Scene, TRACE};
use serde_json::Value;

const DAMAGED: &str = "flipped_trace_leaf.vaso";
const BUNDLE: &str = "orphan_staging.vasopack";

/// The bundle without what a session has left in it.
fn with_sound_bundle() -> Scene {
    let scene = Scene::new();
    fs::remove_dir_all(scene.path(BUNDLE).join(".staging")).unwrap();
    scene
}

#[test]
fn a_result_goes_where_it_is_asked_for() {
    let scene = Scene::new();
    let before = scene.all();
    fs::create_dir(scene.path("elsewhere")).unwrap();
    let told = scene.json(0, &[DAMAGED, "--output", "elsewhere/mended.db"]);
    assert_eq!(told["path"].as_str().map(Path::new).and_then(Path::file_name), Some("mended.db".as_ref()));
    assert_eq!(scene.count("elsewhere/mended.db", TRACE), 2750);
    // What is there is not written over, and nothing is left of the attempt.
    let theirs = fs::read(scene.path("elsewhere/mended.db")).unwrap();
    let output = scene.recover(&[DAMAGED, "-o", "elsewhere/mended.db"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("exists"), "{output:?}");
    assert_eq!(fs::read(scene.path("elsewhere/mended.db")).unwrap(), theirs);
    assert_eq!(fs::read_dir(scene.path("elsewhere")).unwrap().count(), 1);
    assert_eq!(scene.all().len(), before.len() + 1);
    // A bundle has its own place, and a list has none.
    for other in ["--in-place", "--list"] {
        assert_eq!(scene.recover(&[BUNDLE, other, "-o", "x.db"]).status.code(), Some(64), "{other}");
    }
}

#[test]
fn who_has_the_project_open_is_told() {
    let scene = Scene::new();
    assert_eq!(scene.json(0, &[DAMAGED])["in_use"], Value::Null);
    fs::write(scene.path(&format!("{DAMAGED}.lock")), format!("{}\n1700000000\n", std::process::id()))
        .unwrap();
    let told = scene.json(0, &[DAMAGED]);
    let who = format!("process {}", std::process::id());
    assert!(told["in_use"].as_str().unwrap().contains(&who), "{told}");
    let said = String::from_utf8(scene.recover(&[DAMAGED]).stdout).unwrap();
    assert!(said.contains(&who) && said.contains("is not in the result"), "{said}");
}

/// More folders beside each other than a process may have open.
#[test]
fn autosaves_are_found_in_any_number_of_folders() {
    let scene = Scene::new();
    let top = scene.path("many");
    for n in 0..1500 {
        fs::create_dir_all(top.join(format!("{n}"))).unwrap();
        fs::write(top.join(format!("{n}/X.vaso.autosave")), "x").unwrap();
        fs::write(top.join(format!("{n}/empty.autosave")), "").unwrap();
    }
    let found = scene.json(0, &["--find-autosaves", "many"]);
    assert_eq!(found["autosaves"].as_array().unwrap().len(), 1500);
    assert_eq!(found["complete"], true);
}

#[test]
fn a_bundle_that_the_application_does_not_open_is_told_and_gets_a_head() {
    for torn in [false, true] {
        let scene = with_sound_bundle();
        let head = scene.path(BUNDLE).join("HEAD.json");
        assert_eq!(scene.json(0, &[BUNDLE])["closed"].as_array().map(Vec::len), Some(0));
        match torn {
            false => fs::remove_file(&head).unwrap(),
            true => fs::write(&head, "{\"current\": \"0000").unwrap(),
        }
        let told = scene.json(0, &[BUNDLE]);
        assert_eq!((&told["sound"], &told["recovered"]), (&true.into(), &false.into()));
        assert_eq!(told["closed"][0]["path"], "HEAD.json");
        let said = String::from_utf8(scene.recover(&[BUNDLE]).stdout).unwrap();
        assert!(said.contains("the application does not open it") && said.contains("--in-place"), "{said}");
        let newest = |scene: &Scene| {
            let names = fs::read_dir(scene.path(BUNDLE).join("snapshots")).unwrap();
            names.map(|e| e.unwrap().file_name().into_string().unwrap()).max().unwrap()
        };
        let before = newest(&scene);
        let work = fs::read(scene.path(BUNDLE).join("snapshots").join(&before)).unwrap();
        scene.json(0, &[BUNDLE, "--in-place"]);
        let after = newest(&scene);
        assert!(after > before, "{after}");
        assert_eq!(fs::read(scene.path(BUNDLE).join("snapshots").join(&after)).unwrap(), work);
        let head: Value = serde_json::from_slice(&fs::read(head).unwrap()).unwrap();
        assert_eq!(head["current"], after.as_str());
        assert_eq!(scene.json(0, &[BUNDLE])["closed"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn a_bundle_without_its_description_is_not_said_to_open() {
    let scene = with_sound_bundle();
    fs::remove_file(scene.path(BUNDLE).join("project.meta.json")).unwrap();
    let told = scene.json(0, &[BUNDLE]);
    assert_eq!(told["closed"][0]["code"], "meta-missing");
    let said = String::from_utf8(scene.recover(&[BUNDLE, "--use", "1", "--in-place"]).stdout).unwrap();
    assert!(said.contains("project.meta.json") && !said.contains("You can now try"), "{said}");
}

/// SQLite removes a log beside an empty file, unread: whoever opened the two would lose everything.
#[test]
fn an_empty_file_whose_log_has_everything_is_written_anew() {
    let scene = Scene::new();
    let (path, other) = (scene.path("log.vaso"), scene.path("all.vaso"));
    let db = Connection::open(&other).unwrap();
    let tables =
        "SELECT sql FROM theirs.sqlite_schema WHERE type = 'table' AND name IN ('meta', 'dataset', 'trace')";
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; ATTACH '{}' AS theirs; PRAGMA user_version = 7",
        scene.path("v7.db").display()
    ))
    .unwrap();
    let sql: Vec<String> =
        db.prepare(tables).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    db.execute_batch(&sql.join(";")).unwrap();
    for table in ["meta", "dataset", "trace"] {
        db.execute_batch(&format!("INSERT INTO main.{table} SELECT * FROM theirs.{table}")).unwrap();
    }
    fs::write(&path, b"").unwrap();
    fs::copy(scene.path("all.vaso-wal"), scene.path("log.vaso-wal")).unwrap();
    let told = scene.json(0, &["log.vaso"]);
    assert_eq!((&told["recovered"], &told["complete"]), (&true.into(), &true.into()), "{told}");
    assert_eq!(scene.count("log.recovered.vaso", TRACE), 2750);
    // This is what would have become of it.
    let db = Connection::open(&path).unwrap();
    assert!(db.query_row(TRACE, [], |r| r.get::<_, i64>(0)).is_err());
    assert!(!scene.path("log.vaso-wal").exists());
}

#[test]
fn paths_from_old_disks_are_no_reason_to_say_nothing() {
    let scene = Scene::new();
    let folder = scene.path("").join(OsStr::from_bytes(b"Gef\xe4\xdfe"));
    fs::create_dir(&folder).unwrap();
    let copy = |from: &str, to: &[u8]| {
        let to = folder.join(OsStr::from_bytes(to));
        fs::copy(scene.path(from), &to).unwrap();
        to
    };
    let damaged = copy(DAMAGED, b"Versuch \xb5m.vaso");
    let autosave = copy("stale_bak_wins.vaso", b"Versuch \xb5m.vaso.autosave");
    let json = |args: &[&OsStr], code: i32| -> Value {
        let output = run(vaso(As::Me).arg("recover").args(args).arg("--json"));
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let list = json(&[damaged.as_ref(), "--list".as_ref()], 0);
    let path = list["candidates"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("Versuch \u{fffd}m.vaso"), "{path}");
    let found = json(&["--find-autosaves".as_ref(), scene.path("").as_ref()], 0);
    let lossy = autosave.to_string_lossy().into_owned();
    assert!(found["autosaves"].as_array().unwrap().contains(&lossy.into()), "{found}");
    let told = json(&[damaged.as_ref(), "--use".as_ref(), "1".as_ref()], 0);
    assert!(told["path"].as_str().unwrap().ends_with(".recovered.vaso") && told["complete"].is_boolean());

    // A lock beside it stands in the state of a mount and in what verbs tell.
    copy("v7.db", b"ruhig \xb5m.vaso");
    let quiet = folder.join(OsStr::from_bytes(b"ruhig \xb5m.vaso"));
    fs::write(folder.join(OsStr::from_bytes(b"ruhig \xb5m.vaso.lock")), "99999999\n1\n").unwrap();
    let mount = Mount::new(As::Me, &quiet, &[]);
    let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
    assert!(status["locks"][0]["path"].as_str().unwrap().ends_with("\u{fffd}m.vaso.lock"), "{status}");
    let output = run(vaso(As::Me).args(["verify", "--json"]).arg(&quiet));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(told["kind"], "legacy");
}
