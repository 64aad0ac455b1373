//! What a look at a project costs and tells: listings that open nothing, errors that can be looked up, and views of
//! what is damaged or lies elsewhere.
//!
//! What is expected is made here, by Python and the real SQLite, or comes from records beside the projects.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{As, Mount, command, data, eventually, everybody, folder, run, succeed, vaso};
use serde_json::Value;
use tempfile::TempDir;

/// A project of one of the collections, in a folder that every user can read.
fn project(archive: &str, name: &str) -> (TempDir, PathBuf) {
    let data = data(archive);
    let path = data.path().join(name);
    assert!(path.exists(), "{name}");
    (data, path)
}

/// Has Python do something to a file.
fn python(script: &str, args: &[&Path]) -> String {
    succeed(Command::new("/usr/bin/python3").args(["-c", script]).args(args))
}

/// Bytes that a process has asked the system for.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find(|line| line.starts_with("rchar")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The findings of a mount, as they can be looked up.
fn findings(mount: &Mount) -> Vec<Value> {
    let text = String::from_utf8(mount.read(".vaso/findings.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn status(mount: &Mount) -> Value {
    serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap()
}

/// Makes one leaf of the table of traces unreadable, by a walk from its root.
const TEAR_A_LEAF: &str = r#"
import sqlite3, struct, sys
path = sys.argv[1]
db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
(root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'trace'").fetchone()
(size,) = db.execute("PRAGMA page_size").fetchone()
with open(path, "r+b") as file:
    file.seek((root - 1) * size)
    page = file.read(size)
    assert page[0] == 2, "the root has children"
    cells = struct.unpack_from(">H", page, 3)[0]
    at = struct.unpack_from(">H", page, 12 + 2 * (cells // 2))[0]
    (child,) = struct.unpack_from(">I", page, at)
    file.seek((child - 1) * size)
    assert file.read(1) == b"\x0a"
    file.seek((child - 1) * size)
    file.write(b"\xff")
"#;

/// What a script in Python says of every file of a kind below a folder: name, size, and errno or 0.
const READ_ALL: &str = r#"
import os, sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).rglob(sys.argv[2])):
    try:
        size, error = path.stat().st_size, 0
        assert len(path.read_bytes()) == size
    except OSError as e:
        error = e.errno
    print(path.relative_to(sys.argv[1]), size, error, sep="\t")
"#;

fn read_all(who: As, mount: &Mount, glob: &str) -> Vec<(String, u64, i32)> {
    let mut read = command(who, "/usr/bin/python3");
    let said = succeed(read.args(["-c", READ_ALL]).arg(&mount.dir).arg(glob).current_dir("/"));
    let line = |line: &str| {
        let mut words = line.split('\t');
        let mut word = || words.next().unwrap();
        (word().to_string(), word().parse().unwrap(), word().parse().unwrap())
    };
    said.lines().map(line).collect()
}

#[test]
fn r6_whoever_is_refused_a_view_can_look_up_why() {
    let (_data, path) = project("databases.tar.xz", "databases/v7.vaso");
    python(TEAR_A_LEAF, &[&path]);
    for who in everybody() {
        let mount = Mount::new(who, &path, &["--no-cache"]);
        assert!(findings(&mount).is_empty());
        for glob in ["trace.csv", "trace.npy"] {
            let seen = read_all(who, &mount, glob);
            let (bad, good): (Vec<_>, Vec<_>) = seen.iter().partition(|(.., errno)| *errno != 0);
            assert!(bad.len() == 1 && !good.is_empty(), "{seen:?}");
            let (name, size, errno) = bad[0];
            // It is there and is not empty, so that whoever copies it opens it and is told.
            assert!(*size > 0 && *errno == 5, "{seen:?}");
            let told: Vec<_> = findings(&mount).into_iter().filter(|f| f["path"] == **name).collect();
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(
                (&told[0]["severity"], &told[0]["code"]),
                (&"error".into(), &"database-damaged".into())
            );
            assert!(told[0]["remedy"].as_str().unwrap().contains("vaso recover"));
        }
        assert_eq!(status(&mount)["findings"]["error"], 2);
        // Once each, however often they are read.
        read_all(who, &mount, "trace.*");
        assert_eq!(status(&mount)["findings"]["error"], 2);
    }
}

#[test]
fn r6_a_listing_shows_a_damaged_snapshot_and_a_look_inside_is_refused_and_told() {
    let (_data, path) = project("bundles.tar.xz", "bundle/corrupt_current.vasopack");
    for who in everybody() {
        let mount = Mount::new(who, &path, &["--no-cache"]);
        let listed = mount.sh("ls -l $M/.vaso/history/000003");
        assert!(listed.contains("browse") && !listed.contains('?'), "{listed}");
        let inside = mount.path(".vaso/history/000003/browse");
        assert!(!run(command(who, "ls").arg(&inside)).status.success());
        let told = findings(&mount);
        assert!(told.iter().any(|f| f["path"] == ".vaso/history/000003/browse"), "{told:?}");
    }
}

#[test]
fn r4_attributes_of_fifty_snapshots_open_none() {
    let (_data, path) = project("bundles.tar.xz", "bundle/fifty_five.vasopack");
    let mount = Mount::new(As::Me, &path, &["--no-cache"]);
    mount.sh("ls $M/.vaso/history >/dev/null");
    let before = read_by(mount.pid);
    let lines =
        mount.sh("ls -l $M/.vaso/history/* | grep -c browse; find $M/.vaso/history -maxdepth 2 -ls | wc -l");
    assert_eq!(lines, "55\n222\n");
    // The kernel's own requests are read too, a hundred bytes each; to open the snapshots takes 2.6 MB.
    let looked = read_by(mount.pid);
    assert!(looked - before < 400_000, "{} bytes: to look at doors opens none", looked - before);
    mount.sh("ls $M/.vaso/history/000010/browse >/dev/null");
    assert!(read_by(mount.pid) - looked > 10_000, "to go in does");
    // What is behind a door does not show in its attributes, so that they are the same before and after.
    let links = "stat -c '%h %Y %i' $M/.vaso/history/000010/browse $M/.vaso/history/000011/browse";
    let before = mount.sh(links);
    mount.sh("ls $M/.vaso/history/000011/browse >/dev/null");
    assert_eq!(mount.sh(links), before);
}

#[test]
fn what_is_not_checked_through_yet_is_not_called_valid() {
    for (name, later) in [
        ("bundle/stale_lock.vasopack", "it is the newest valid snapshot, as HEAD.json says"),
        ("bundle/corrupt_current.vasopack", "; the newer 000003.sqlite is not valid"),
    ] {
        let (_data, path) = project("bundles.tar.xz", name);
        let mount = Mount::new(As::Me, &path, &["--no-cache"]);
        let said = status(&mount);
        let because = said["chosen_because"].as_str().unwrap().to_string();
        assert_eq!(said["checked"], false, "{name}");
        assert!(because.starts_with("it seems to be the newest valid snapshot"), "{because}");
        assert!(because.ends_with("; it is not checked through yet"), "{because}");
        mount.sh("ls $M/browse >/dev/null");
        let said = status(&mount);
        let because = said["chosen_because"].as_str().unwrap();
        assert!(said["checked"] == true && because.ends_with(later), "{name}: {because}");
        // Who asks without a mount waits for the check.
        let info: Value =
            serde_json::from_str(&succeed(vaso(As::Me).args(["info", "--json"]).arg(&path))).unwrap();
        assert_eq!(info["chosen_because"], because, "{name}");
    }
}

#[test]
fn a_choice_that_nobody_expects_is_in_the_log_of_an_ordinary_mount() {
    for (name, expected) in [
        ("bundle/stale_lock.vasopack", &[][..]),
        (
            "bundle/missing_head.vasopack",
            &[".sqlite is current: it seems to be the newest valid snapshot; HEAD.json is missing"],
        ),
        ("bundle/corrupt_current.vasopack", &["000002.sqlite is current: it seems to be"]),
    ] {
        let (_data, path) = project("bundles.tar.xz", name);
        let folder = folder();
        let (dir, log) = (folder.path().join("mnt"), folder.path().join("log"));
        fs::create_dir(&dir).unwrap();
        let mut command = vaso(As::Me);
        command.args(["mount", "--foreground", "--no-cache"]).arg(&path).arg(&dir);
        let mut daemon = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        eventually("a mount", || dir.join(".vaso").exists());
        succeed(Command::new("ls").arg(dir.join("browse")));
        succeed(vaso(As::Me).arg("umount").arg(&dir));
        daemon.wait().unwrap();
        let log = fs::read_to_string(&log).unwrap();
        let said: Vec<&str> = log.lines().filter(|line| line.contains(" is current: ")).collect();
        assert_eq!(said.len(), expected.len(), "{name}: {log}");
        for (line, part) in said.iter().zip(expected) {
            assert!(line.starts_with("vaso: warn: ") && line.contains(part), "{name}: {line}");
        }
    }
}
