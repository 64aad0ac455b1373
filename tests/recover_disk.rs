//! A disk that is full, or not there: `vaso recover` says so, and leaves nothing that looks like a result.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{As, is_root, run, succeed, vaso};
use rusqlite::Connection;
use scene::{Scene, TRACE};
use serde_json::Value;

const DAMAGED: &str = "flipped_trace_leaf.vaso";

/// Runs `vaso recover` where no file can grow beyond so many bytes.
fn bounded(scene: &Scene, bytes: u64, args: &[&str]) -> Output {
    let mut shell = Command::new("bash");
    shell.arg("-c").arg("trap '' XFSZ; ulimit -f $0; exec \"$@\"").arg((bytes >> 10).to_string());
    run(shell.arg(common::program()).arg("recover").args(args).current_dir(scene.path("")))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_the_disk_does_not_take_is_an_error_and_no_result() {
    let scene = Scene::new();
    scene.json(0, &[DAMAGED]);
    let result = scene.path("flipped_trace_leaf.recovered.vaso");
    let size = result.metadata().unwrap().len();
    fs::remove_file(result).unwrap();
    let before = names(&scene.path(""));
    // Room for the tables, and not for all of the indices.
    for lacks in [1, 8, 24, 48] {
        let output = bounded(&scene, size - (lacks << 10), &["--json", DAMAGED]);
        assert_eq!(output.status.code(), Some(2), "{lacks}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cannot write the recovered database into"), "{said}");
        assert!(names(&scene.path("")) == before, "{lacks}");
    }
}

/// A folder with so many KiB and no more, until it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new(kib: u64) -> Small {
        let folder = common::folder();
        let mut mount = Command::new("mount");
        succeed(mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(folder.path()));
        Small(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        succeed(Command::new("umount").arg(self.0.path()));
    }
}

fn schema(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut query = db.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// What is judged is made elsewhere, where there is room.
#[test]
fn what_is_told_is_what_was_written() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    scene.json(0, &[DAMAGED]);
    let whole = scene.path("flipped_trace_leaf.recovered.vaso");
    let kib = whole.metadata().unwrap().len() >> 10;
    let mut seen = [0, 0];
    for room in (kib - 160..kib + 16).step_by(16) {
        let small = Small::new((scene.path(DAMAGED).metadata().unwrap().len() >> 10) + room);
        let project = small.0.path().join("x.vaso");
        fs::copy(scene.path(DAMAGED), &project).unwrap();
        let output = run(vaso(As::Me).args(["recover", "--json"]).arg(&project));
        let result = small.0.path().join("x.recovered.vaso");
        seen[usize::from(result.exists())] += 1;
        if result.exists() {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(schema(&result), schema(&whole), "{room}");
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(told["complete"], true, "{told}");
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
        assert_eq!(names(small.0.path()), ["x.vaso"]);
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    assert_eq!(scene.count("flipped_trace_leaf.recovered.vaso", TRACE), 2750);
}

/// Two files of which the damaged one is newer.
fn with_an_older_backup(scene: &Scene) {
    let (main, old) = (scene.path("project.vaso"), scene.path("project.vaso.bak"));
    fs::copy(scene.path(DAMAGED), &main).unwrap();
    fs::copy(scene.path("v7.db"), &old).unwrap();
    Connection::open(&old)
        .unwrap()
        .execute_batch("UPDATE meta SET value='2020-01-01T00:00:00Z' WHERE key='modified_utc'")
        .unwrap();
}

#[test]
fn without_a_temporary_folder_the_work_is_done_elsewhere() {
    let scene = Scene::new();
    with_an_older_backup(&scene);
    for args in [&["project.vaso"][..], &["project.vaso", "--list"]] {
        let mut command = vaso(As::Me);
        command
            .args(["recover", "--json"])
            .args(args)
            .env("TMPDIR", scene.path("none"))
            .current_dir(scene.path(""));
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        match args.len() {
            1 => assert_eq!(
                (&told["source"], &told["complete"]),
                (&"project.vaso".into(), &true.into()),
                "{told}"
            ),
            _ => assert_eq!(told["candidates"][0]["salvage"]["lost"], 0, "{told}"),
        }
    }
    assert_eq!(scene.count("project.recovered.vaso", TRACE), 2750);
}

#[test]
fn want_of_room_to_work_in_is_no_damage() {
    let scene = Scene::new();
    with_an_older_backup(&scene);
    let before = names(&scene.path(""));
    for args in [&["project.vaso"][..], &["project.vaso", "--list"]] {
        let output = bounded(&scene, 16 << 10, args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("set TMPDIR to a folder"), "{said}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("backup_restore"), "{output:?}");
    }
    assert_eq!(names(&scene.path("")), before);
}
