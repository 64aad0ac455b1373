//! `vaso recover` as scripts use it: exit codes, what is chosen, what is written, and what is left alone.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::folder;
use rusqlite::Connection;
use scene::{DATASET, Scene, TRACE};
use serde_json::Value;

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
    // What is known to be missing is no success.
    assert_eq!(found["complete"], false, "{found}");
    assert!(found["newer"][0].as_str().unwrap().ends_with("000003.sqlite"), "{found}");
    let said = String::from_utf8(scene.recover(&["corrupt_current.vasopack"]).stdout).unwrap();
    assert!(said.contains("Recovered in part") && !said.contains("succeeded"), "{said}");
    assert!(
        !said.contains("holds as much") && said.contains("000003.sqlite is newer, and damaged"),
        "{said}"
    );
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
    // The lock beside it is abandoned when its process is gone, and then only.
    let beside = scene.path("corrupt_current.vasopack.lock");
    fs::write(&beside, format!("{}\n1700000000\n", std::process::id())).unwrap();
    let old = SystemTime::now() - Duration::from_secs(90_000);
    fs::OpenOptions::new().write(true).open(&beside).unwrap().set_modified(old).unwrap();
    let held = scene.recover(&["corrupt_current.vasopack", "--in-place"]);
    assert_eq!(held.status.code(), Some(4), "{held:?}");
    fs::write(&beside, "99999999\n1700000000\n").unwrap();
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
    // The two sentences agree.
    for args in [&["corrupt_current.vasopack"][..], &["corrupt_current.vasopack", "--list"]] {
        let said = String::from_utf8(scene.recover(args).stdout).unwrap();
        assert!(said.contains("1 more events") && !said.contains("nothing to recover"), "{said}");
    }
    let said = scene.recover(&["corrupt_current.vasopack", "--in-place", "--use", "1"]).stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.ends_with("You can now try opening: corrupt_current.vasopack\n"), "{said}");
}

#[test]
fn a_snapshot_is_extracted_byte_for_byte_and_nothing_is_overwritten() {
    let scene = Scene::new();
    let args = ["corrupt_current.vasopack", "--extract", "2", "--output", "two.vaso"];
    assert_eq!(scene.recover(&args).status.code(), Some(0));
    let stored = fs::read(scene.path("corrupt_current.vasopack/snapshots/000002.sqlite")).unwrap();
    assert!(fs::read(scene.path("two.vaso")).unwrap() == stored);
    assert_eq!(scene.recover(&args).status.code(), Some(1));
    // Of one number the usual name counts; what has no snapshot's name is looked at all the same.
    let at = |name: &str| scene.path("corrupt_current.vasopack/snapshots").join(name);
    fs::write(at("7.sqlite"), b"another").unwrap();
    fs::copy(at("000001.sqlite"), at("000007.sqlite")).unwrap();
    fs::copy(at("000002.sqlite"), at("before the move.sqlite")).unwrap();
    let args = ["corrupt_current.vasopack", "--extract", "7", "--output", "seven.vaso"];
    assert_eq!(scene.recover(&args).status.code(), Some(0));
    assert!(fs::read(scene.path("seven.vaso")).unwrap() == fs::read(at("000001.sqlite")).unwrap());
    let list = scene.json(0, &["corrupt_current.vasopack", "--list"]);
    let named = |c: &&Value| c["path"].as_str().unwrap().ends_with("before the move.sqlite");
    let other = list["candidates"].as_array().unwrap().iter().find(named).unwrap();
    assert_eq!((&other["snapshot"], &other["holds"]["trace_rows"]), (&Value::Null, &300.into()));
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

fn finding<'a>(told: &'a Value, code: &str) -> &'a Value {
    let found = told["findings"].as_array().unwrap().iter().find(|f| f["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {told}"))
}

#[test]
fn unsaved_work_is_told_with_its_counts_and_nothing_is_written() {
    let scene = Scene::new();
    let bundle = "orphan_staging.vasopack";
    scene.all();
    let before = scene.all();
    for (verb, code) in [("verify", 1), ("info", 0)] {
        let (ended, told) = scene.told(verb, bundle);
        assert_eq!(ended, Some(code));
        let left = &told["leftovers"][0];
        assert_eq!(
            (&left["what"], &left["path"]),
            (&"staging".into(), &".staging/d61c516506da.sqlite".into())
        );
        assert_eq!(left["compared_with"], "000002.sqlite");
        // As the sqlite3 tool counts them.
        let added = &left["unsaved"]["added"];
        assert_eq!(added.as_array().unwrap().len(), 1);
        let sample = serde_json::json!({ "experiment": "ExpA", "name": "unsaved vessel", "twin": 1 });
        assert_eq!((&added[0]["sample"], &added[0]["trace_rows"]["after"]), (&sample, &250.into()));
        assert_eq!(added[0]["events"]["added"], 2);
        let found = finding(&told, "orphaned-staging");
        assert_eq!(found["severity"], "warning");
        let words = "the new sample ExpA/unsaved vessel with 250 trace rows and 2 events";
        assert!(found["message"].as_str().unwrap().contains(words), "{found}");
    }
    assert!(scene.all() == before);
    // Saved, it is nothing that is missing; also where another machine has saved something else since.
    let staged = folder();
    for tail in ["", "-wal"] {
        let name = format!("{bundle}/.staging/d61c516506da.sqlite{tail}");
        fs::copy(scene.path(&name), staged.path().join(format!("s.sqlite{tail}"))).unwrap();
    }
    let snapshot = |n: u32| scene.path(&format!("{bundle}/snapshots/{n:06}.sqlite"));
    let db = Connection::open(staged.path().join("s.sqlite")).unwrap();
    db.execute("VACUUM INTO ?1", [snapshot(3).to_str().unwrap()]).unwrap();
    fs::copy(snapshot(2), snapshot(4)).unwrap();
    let (ended, told) = scene.told("verify", bundle);
    let left = &told["leftovers"][0];
    assert_eq!((ended, &left["compared_with"]), (Some(0), &"000003.sqlite".into()), "{told}");
    assert_eq!(finding(&told, "orphaned-staging")["severity"], "notice");
    // With no snapshot at all, all of it is unsaved.
    fs::remove_dir_all(scene.path(&format!("{bundle}/snapshots"))).unwrap();
    let (_, told) = scene.told("verify", bundle);
    assert_eq!(told["leftovers"][0]["unsaved"]["added"].as_array().unwrap().len(), 3);
    assert_eq!(told["leftovers"][0]["compared_with"], Value::Null);
}

#[test]
fn locks_are_told_and_a_session_at_work_is_no_orphan() {
    let scene = Scene::new();
    let bundle = "orphan_staging.vasopack";
    let inside = scene.path(&format!("{bundle}/.lock"));
    let told = || scene.told("verify", bundle).1;
    fs::write(&inside, r#"{"pid": 4711, "timestamp": 1.5, "hostname": "lab7"}"#).unwrap();
    // Above every number that a process can have.
    fs::write(scene.path("orphan_staging.vasopack.lock"), "99999999\n1700000000\n").unwrap();
    let at_work = told();
    let live: Vec<_> = at_work["locks"].as_array().unwrap().iter().map(|l| l["live"].clone()).collect();
    assert_eq!(live, [true, false]);
    assert!(finding(&at_work, "locked")["message"].as_str().unwrap().contains("process 4711 on lab7"));
    finding(&at_work, "stale-lock");
    assert_eq!(finding(&at_work, "staging")["severity"], "notice");
    let touched = SystemTime::now() - Duration::from_secs(4000);
    fs::OpenOptions::new().write(true).open(&inside).unwrap().set_modified(touched).unwrap();
    let abandoned = told();
    assert_eq!(finding(&abandoned, "orphaned-staging")["severity"], "warning");
}

#[test]
fn leftovers_beside_a_project_and_in_it_are_told() {
    let scene = Scene::new();
    let text = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(what, name)| (what.to_string(), name.to_string())).collect()
    };
    assert_eq!(scene.left("stale_bak_wins.vaso"), text(&[("backup", "stale_bak_wins.vaso.bak")]));
    assert_eq!(scene.left("wal_leftover.vaso"), text(&[("log", "wal_leftover.vaso-wal")]));
    assert_eq!(scene.left("v7.db"), text(&[]));
    for name in [
        "v7.db.tmp",
        "v7.db.bak2",
        "v7.v6.backup.vaso",
        "v7 (Ana's conflicted copy 2026-02-03).db",
        "v7.autosave.sqlite",
        "v7-control.db",
        "v7 2.db",
    ] {
        fs::copy(scene.path("v7.db"), scene.path(name)).unwrap();
    }
    let expected = [
        ("autosave", "v7.autosave.sqlite"),
        ("conflict_copy", "v7 (Ana's conflicted copy 2026-02-03).db"),
        ("backup", "v7.db.bak2"),
        ("backup", "v7.v6.backup.vaso"),
        ("temporary", "v7.db.tmp"),
    ];
    assert_eq!(scene.left("v7.db"), text(&expected));
    let (ended, told) = scene.told("verify", "v7.db");
    assert_eq!(ended, Some(1), "a conflict is a finding");
    // The autosave holds nothing more; one that does is unsaved work.
    assert_eq!(finding(&told, "autosave")["severity"], "notice");
    let db = Connection::open(scene.path("v7.autosave.sqlite")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=DELETE; DELETE FROM event WHERE id = (SELECT min(id) FROM event);
         UPDATE meta SET value = '2099-01-01T00:00:00Z' WHERE key = 'modified_utc'",
    )
    .unwrap();
    db.close().unwrap();
    let (_, told) = scene.told("verify", "v7.db");
    let found = finding(&told, "autosave");
    assert_eq!(found["severity"], "warning", "{found}");
    assert!(found["message"].as_str().unwrap().contains("1 removed event"), "{found}");

    let inside = scene.path("corrupt_current.vasopack");
    for name in ["HEAD.json.tmp", "snapshots/000002.sqlite-wal", "snapshots/000002 (1).sqlite"] {
        fs::write(inside.join(name), b"something").unwrap();
    }
    let expected = [
        ("conflict_copy", "000002 (1).sqlite"),
        ("log", "000002.sqlite-wal"),
        ("temporary", "HEAD.json.tmp"),
    ];
    assert_eq!(scene.left("corrupt_current.vasopack"), text(&expected));
}

/// A container with these files of a bundle, all stored.
fn container(bundle: &Path, names: &[&str]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in names {
        zip.start_file(format!("bundle/{name}"), stored).unwrap();
        zip.write_all(&fs::read(bundle.join(name)).unwrap()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const INSIDE: [&str; 5] = [
    "HEAD.json",
    "project.meta.json",
    "snapshots/000001.sqlite",
    "snapshots/000002.sqlite",
    "snapshots/000003.sqlite",
];

#[test]
fn a_container_is_recovered_as_its_bundle_is() {
    let scene = Scene::new();
    let whole = container(&scene.path("corrupt_current.vasopack"), &INSIDE);
    fs::write(scene.path("box.vaso"), &whole).unwrap();
    let found = scene.json(0, &["box.vaso"]);
    assert!(found["source"].as_str().unwrap().ends_with("bundle/snapshots/000002.sqlite"), "{found}");
    assert_eq!(found["elsewhere"][0]["holds"][0], "1 more events");
    assert_eq!(scene.count("box.recovered.vaso", TRACE), 300);
    let two = fs::read(scene.path("corrupt_current.vasopack/snapshots/000002.sqlite")).unwrap();
    assert!(fs::read(scene.path("box.recovered.vaso")).unwrap() == two);
    assert!(fs::read(scene.path("box.vaso")).unwrap() == whole, "the container stays as it is");
    let list = scene.json(0, &["box.vaso", "--list"]);
    assert_eq!((&list["format"], list["candidates"].as_array().unwrap().len()), (&"container".into(), 3));
    // The damaged snapshot is salvaged where it is asked for.
    let damaged = list["candidates"].as_array().unwrap().iter().find(|c| c["snapshot"] == 3).unwrap();
    assert_eq!(damaged["sound"], false);
    scene.json(0, &["box.vaso", "--use", &damaged["number"].to_string()]);
    assert!(scene.count("box.recovered-2.vaso", TRACE) > 0);
    let args = ["box.vaso", "--extract", "2", "--output", "two.vaso"];
    assert_eq!(scene.recover(&args).status.code(), Some(0));
    assert!(fs::read(scene.path("two.vaso")).unwrap() == two);
    // In place nothing is done to a container.
    assert_eq!(scene.recover(&["box.vaso", "--in-place"]).status.code(), Some(64));
}

#[test]
fn of_a_container_that_is_cut_off_what_is_there_is_recovered() {
    let scene = Scene::new();
    let bundle = scene.path("corrupt_current.vasopack");
    let whole = container(&bundle, &INSIDE);
    let two = fs::read(bundle.join("snapshots/000002.sqlite")).unwrap();
    let at = whole.windows(two.len()).position(|bytes| bytes == two).unwrap();
    // In the middle of the third snapshot; behind it, in the directory; at the end of the second.
    let third = fs::metadata(bundle.join("snapshots/000003.sqlite")).unwrap().len() as usize;
    for (cut, name) in [
        (at + two.len() + third / 2, "middle"),
        (whole.len() - 30, "directory"),
        (at + two.len() + 20, "second"),
    ] {
        fs::write(scene.path(&format!("{name}.vaso")), &whole[..cut]).unwrap();
        let found = scene.json(0, &[&format!("{name}.vaso")]);
        assert!(found["source"].as_str().unwrap().ends_with("000002.sqlite"), "{name}: {found}");
        assert_eq!(scene.count(&format!("{name}.recovered.vaso"), TRACE), 300, "{name}");
    }
    // Cut through the second one, of which most pages are there: its rows are, and its whole predecessor has none.
    fs::write(scene.path("through.vaso"), &whole[..at + two.len() * 3 / 4]).unwrap();
    let found = scene.json(0, &["through.vaso"]);
    assert!(found["source"].as_str().unwrap().ends_with("000002.sqlite"), "{found}");
    assert!(scene.count("through.recovered.vaso", TRACE) > 0);
    // Nothing but a part of one.
    let only = container(&bundle, &["snapshots/000002.sqlite"]);
    fs::write(scene.path("only.vaso"), &only[..two.len() * 3 / 4]).unwrap();
    scene.json(0, &["only.vaso"]);
    assert!(scene.count("only.recovered.vaso", TRACE) > 0);
}

#[test]
fn what_a_recovery_in_place_left_that_was_killed_keeps_nobody_waiting() {
    let scene = Scene::new();
    let bundle = scene.path("corrupt_current.vasopack");
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let lock = |boot: &str| {
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
        let told = serde_json::json!({
            "pid": dead, "timestamp": 1.5, "hostname": "lab7", "boot_id": boot.trim(), "pid_namespace": namespace,
            "start_ticks": 1,
        });
        fs::write(bundle.join(".lock"), told.to_string()).unwrap();
        fs::write(scene.path("corrupt_current.vasopack.lock"), format!("{dead}\n1700000000\n")).unwrap();
    };
    let (ours, anothers) =
        (format!("snapshots/.vaso-{dead}-1.part"), format!("snapshots/.vaso-{}-1.part", dead + 1));
    fs::write(bundle.join(&ours), "half").unwrap();
    fs::write(bundle.join(&anothers), "half").unwrap();
    let left = scene.left("corrupt_current.vasopack");
    for part in [&ours, &anothers] {
        assert!(left.iter().any(|(what, path)| what == "temporary" && part.ends_with(path)), "{left:?}");
    }
    lock("of another machine");
    let held = scene.recover(&["corrupt_current.vasopack", "--in-place"]);
    assert_eq!(held.status.code(), Some(4), "{held:?}");
    assert!(bundle.join(&ours).exists());
    lock(&fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
    scene.json(0, &["corrupt_current.vasopack", "--in-place"]);
    assert!(!bundle.join(&ours).exists() && bundle.join(&anothers).exists());
    assert!(!bundle.join(".lock").exists());
}
