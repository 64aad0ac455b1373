//! What a look at a project costs and tells: listings that open nothing, errors that can be looked up, and views of
//! what is damaged or lies elsewhere.
//!
//! What is expected is made here, by Python and the real SQLite, or comes from records beside the projects.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{As, Mount, command, data, eventually, everybody, folder, rested, run, succeed, vaso};
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

/// A file as the real `sha256sum` has it.
fn sha256(path: &Path) -> String {
    succeed(Command::new("sha256sum").arg(path)).split_whitespace().next().unwrap().to_string()
}

#[test]
fn verify_examines_the_files_that_a_package_refers_to() {
    let home = common::folder();
    let path = home.path().join("Study.vaso");
    let beside = home.path().join("raw.tif");
    fs::write(&beside, b"12345").unwrap();
    let digest = sha256(&beside);
    // Where a path may lead elsewhere, nobody knows that there is nothing.
    for (uri, missing) in [
        ("file:///data/raw.tif", 0),
        ("/data/raw.tif", 0),
        ("..\\raw.tif", 0),
        ("raw.tif", 1),
        ("./raw/raw.tif", 1),
    ] {
        let refs = serde_json::json!([
            {"role": "raw", "uri": uri, "rel_hint": "raw.tif", "sha256": digest, "size": 5}
        ]);
        let mut pack = common::Pack::new();
        pack.stored("datasets/d1/dataset.json", br#"{"name": "One"}"#)
            .stored("datasets/d1/refs.json", refs.to_string().as_bytes());
        pack.write(&path);
        for (bytes, code, expected) in [
            (Some("12345"), 0, None),
            (Some("12346"), 1, Some("reference-differs")),
            (Some("123456"), missing, Some("reference-not-found")),
            (None, missing, Some("reference-not-found")),
        ] {
            match bytes {
                Some(bytes) => fs::write(&beside, bytes).unwrap(),
                None => fs::remove_file(&beside).unwrap(),
            }
            let output = run(vaso(As::Me).args(["verify", "--json"]).arg(&path));
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            let found = said["findings"].as_array().unwrap();
            let codes: Vec<_> = found.iter().map(|f| f["code"].as_str().unwrap()).collect();
            assert_eq!(
                (output.status.code(), &codes[..]),
                (Some(code), expected.as_slice()),
                "{uri} {bytes:?}"
            );
            assert!(found.iter().all(|f| f["path"] == "datasets/d1/refs.json"), "{found:?}");
        }
        // What was not compared with its digest is not called right.
        let output = run(vaso(As::Me).arg("verify").arg(&path));
        let said = String::from_utf8(output.stdout).unwrap();
        let verdict = if missing == 0 { "clean as far as can be told" } else { "not clean" };
        assert!(said.lines().last().unwrap().starts_with(verdict), "{said}");
    }
}

#[test]
fn files_that_an_old_project_names_are_shown_where_they_lie_beside_it() {
    let (data, path) = project("databases.tar.xz", "databases/v1.vaso");
    let beside = data.path().join("databases/old_assets/v1.tiff");
    fs::create_dir(beside.parent().unwrap()).unwrap();
    // The sample before has the same file embedded.
    let embedded = {
        let mount = Mount::new(As::Me, &path, &["--no-cache"]);
        let name = mount.sh("cd $M/browse/*/; ls -d */assets/*");
        assert!(name.starts_with("Vessel 1/"), "{name}");
        fs::read(mount.path("browse/Old exp").join(name.trim_end())).unwrap()
    };
    let info = |path: &Path| -> Value {
        serde_json::from_str(&succeed(vaso(As::Me).args(["info", "--json"]).arg(path))).unwrap()
    };
    let codes = |info: &Value| -> Vec<String> {
        let findings = info["findings"].as_array().unwrap().iter();
        findings.map(|f| f["code"].as_str().unwrap().to_string()).collect()
    };
    let verified = || {
        let output = run(vaso(As::Me).args(["verify", "--json"]).arg(&path));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), codes(&said))
    };
    let mut longer = embedded.clone();
    longer.push(0);
    let mut other = embedded.clone();
    other[1000] ^= 1;
    // What lies there; whether it is listed; whether it can be read; what the findings say of it.
    for (what, bytes, listed, readable) in [
        ("nothing", None, false, false),
        ("longer", Some(&longer), false, false),
        ("another", Some(&other), true, false),
        ("the file", Some(&embedded), true, true),
    ] {
        let _ = fs::remove_file(&beside);
        if let Some(bytes) = bytes {
            fs::write(&beside, bytes).unwrap();
        }
        for who in everybody() {
            let mount = Mount::new(who, &path, &["--no-cache"]);
            let found = mount.sh("cd $M/browse/*/'Vessel 2'; ls -d assets/* 2>/dev/null; true");
            assert_eq!(found, if listed { "assets/v1.tiff\n" } else { "" }, "{what}");
            let told: Vec<_> = findings(&mount).into_iter().map(|f| f["code"].clone()).collect();
            assert_eq!(
                told,
                if listed { vec![] } else { vec![Value::from("reference-not-found")] },
                "{what}"
            );
            if listed {
                let seen = read_all(who, &mount, "v1.tiff");
                assert_eq!(
                    (seen[0].1, seen[0].2),
                    (19_020, if readable { 0 } else { 5 }),
                    "{what}: {seen:?}"
                );
            }
            if readable {
                assert_eq!(mount.read("browse/Old exp/Vessel 2/assets/v1.tiff"), embedded);
                let attribute = mount.sh("cd $M/browse/*/'Vessel 2'; sha256sum assets/v1.tiff");
                assert!(attribute.starts_with(&sha256(&beside)));
            }
        }
        let told = info(&path);
        assert_eq!((&told["counts"]["assets"], &told["counts"]["external_assets"]), (&1.into(), &1.into()));
        let files: Vec<_> = told["datasets"].as_array().unwrap().iter().map(|d| d["files"].clone()).collect();
        assert_eq!(files, [1, 0], "{what}");
        assert_eq!(codes(&told).contains(&"reference-not-found".to_string()), !listed, "{what}");
        let expected = match (listed, readable) {
            (false, _) => "reference-not-found",
            (true, false) => "reference-differs",
            (true, true) => "",
        };
        let (_, found) = verified();
        assert_eq!(
            found.iter().map(String::as_str).find(|c| c.starts_with("reference")).unwrap_or(""),
            expected
        );
    }
    // Never through a link, whatever it leads to.
    fs::rename(&beside, data.path().join("v1.tiff")).unwrap();
    std::os::unix::fs::symlink("../../v1.tiff", &beside).unwrap();
    assert!(codes(&info(&path)).contains(&"reference-not-found".to_string()));
    fs::remove_dir_all(beside.parent().unwrap()).unwrap();
    fs::create_dir(data.path().join("elsewhere")).unwrap();
    fs::rename(data.path().join("v1.tiff"), data.path().join("elsewhere/v1.tiff")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", beside.parent().unwrap()).unwrap();
    assert!(codes(&info(&path)).contains(&"reference-not-found".to_string()));
}

/// Puts an asset of many pieces in the place of the second one, and takes some of them away.
const TAKE_PIECES: &str = r#"
import random, sqlite3, sys, zlib
db = sqlite3.connect(sys.argv[1])
noise = random.Random(1).randbytes(30_000)
stream = zlib.compress(noise)
db.execute("DELETE FROM blob_chunk WHERE asset_id = 2")
for seq in range(0, len(stream) // 512 + 1):
    db.execute("INSERT INTO blob_chunk VALUES(2, ?, ?)", (seq, stream[seq * 512:][:512]))
db.execute("DELETE FROM blob_chunk WHERE asset_id = 2 AND " + sys.argv[2])
db.commit()
"#;

#[test]
fn a_missing_piece_of_an_embedded_file_is_told_as_such() {
    for (taken, words) in [
        ("seq = (SELECT max(seq) FROM blob_chunk WHERE asset_id = 2)", "its pieces end early"),
        ("seq > 0", "its pieces end early"),
        ("seq = 3", "piece 3 is missing, and all after it cannot be placed"),
        ("1", "none of its pieces is there"),
    ] {
        let (_data, path) = project("databases.tar.xz", "databases/v7.vaso");
        python(TAKE_PIECES, &[&path, Path::new(taken)]);
        let mount = Mount::new(As::Me, &path, &["--no-cache"]);
        let seen = read_all(As::Me, &mount, "n.txt");
        assert!(seen.len() == 1 && seen[0].2 == 5, "{taken}: {seen:?}");
        let told = findings(&mount);
        assert_eq!(told.len(), 1, "{taken}: {told:?}");
        let word = |key: &str| told[0][key].as_str().unwrap();
        assert_eq!((word("path"), word("code")), (seen[0].0.as_str(), "asset-missing-piece"), "{taken}");
        assert!(word("message").starts_with(words), "{taken}: {told:?}");
        assert!(word("remedy").contains("older snapshot"), "{taken}: {told:?}");
    }
}

#[test]
fn the_history_takes_numbers_and_times_as_the_options_of_a_mount_do() {
    let (_data, path) = project("bundles.tar.xz", "bundle/stale_lock.vasopack");
    for (name, time) in [("000001.sqlite", "2026-03-01T10:00:30Z"), ("000002.sqlite", "2026-03-01T11:00:30Z")]
    {
        succeed(Command::new("touch").args(["-d", time]).arg(path.join("snapshots").join(name)));
    }
    let stored = |name: &str| fs::read(path.join("snapshots").join(name)).unwrap();
    let cat = |at: &str| {
        let inner = format!(".vaso/history/{at}/current.sqlite");
        run(vaso(As::Me).arg("cat").arg(&path).arg(inner))
    };
    for who in everybody() {
        let mount = Mount::new(who, &path, &["--no-cache"]);
        let listed = mount.sh("ls $M/.vaso/history $M/.vaso/history/at");
        for (at, name) in [
            ("2", "000002.sqlite"),
            ("01", "000001.sqlite"),
            ("000001", "000001.sqlite"),
            ("at/2026-03-01T11:01Z", "000002.sqlite"),
            ("at/2026-03-01T11:00Z", "000001.sqlite"),
            ("at/2026-03-01T13:00:30+02:00", "000002.sqlite"),
        ] {
            let in_mount = mount.read(&format!(".vaso/history/{at}/current.sqlite"));
            assert!(in_mount == stored(name), "{at}");
            assert!(cat(at).stdout == stored(name), "{at}");
            mount.sh(&format!("ls $M/.vaso/history/{at}/browse >/dev/null"));
        }
        for at in ["3", "2x", "-1", "at/2026-03-01T09:00Z", "at/42", "at/2026-02-30", "2026-03-01T11:01Z"] {
            let looked = run(command(who, "ls").arg(mount.path(".vaso/history").join(at)));
            assert!(String::from_utf8_lossy(&looked.stderr).contains("No such file"), "{at}: {looked:?}");
            assert!(!cat(at).status.success(), "{at}");
        }
        assert_eq!(mount.sh("ls $M/.vaso/history $M/.vaso/history/at"), listed);
    }
    let said = succeed(vaso(As::Me).arg("ls").arg(&path).arg(".vaso/history"));
    assert_eq!(said, "000001\n000002\nat\n");
}

/// A container of which one snapshot has 24 MB that nobody asks for.
const MAKE_CONTAINER: &str = r#"
import os, sqlite3, sys, zipfile
database, container = sys.argv[1:]
db = sqlite3.connect(database)
db.execute("PRAGMA journal_mode=DELETE")
db.execute("CREATE TABLE more(id INTEGER PRIMARY KEY, data BLOB)")
for i in range(24):
    db.execute("INSERT INTO more VALUES(?, ?)", (i, os.urandom(1 << 20)))
db.commit()
db.close()
with zipfile.ZipFile(container, "w", zipfile.ZIP_STORED) as zip:
    zip.writestr("bundle/HEAD.json", '{"current": "000001.sqlite"}')
    zip.write(database, "bundle/snapshots/000001.sqlite")
"#;

#[test]
fn r4_a_query_in_a_container_reads_only_the_pages_that_it_needs() {
    let (data, path) = project("databases.tar.xz", "databases/v7.vaso");
    let container = data.path().join("P.vaso");
    python(MAKE_CONTAINER, &[&path, &container]);
    let listed = || {
        let mount = Mount::new(As::Me, &container, &["--no-cache"]);
        mount.sh("ls $M >/dev/null");
        let read = read_by(mount.pid);
        assert!(read < 1 << 20, "{read} bytes to mount and list");
        mount
    };
    // What was written just now is not believed, but nobody has asked for any of it.
    listed().unmount();
    rested(&container, 3600);
    let mount = listed();
    // The first look checks all of the snapshot, once.
    mount.sh("ls -l $M/current.sqlite >/dev/null");
    let before = read_by(mount.pid);
    let query = r#"
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro&immutable=1", uri=True)
print(db.execute("SELECT name FROM dataset ORDER BY id").fetchall(), db.execute("SELECT max(p1) FROM trace").fetchone())
"#;
    let shown = python(query, &[&mount.path("current.sqlite")]);
    let read = read_by(mount.pid) - before;
    assert!(read < 8 << 20, "{read} bytes of 24 MiB");
    assert_eq!(shown, python(query, &[&path]));
}

/// Everything that `stat` says of all files below a folder, access times too. Asking for them changes none.
const TRACES: &str = r#"
import os, sys
from pathlib import Path
for path in [Path(sys.argv[1]), *sorted(Path(sys.argv[1]).rglob("*"))]:
    s = path.lstat()
    print(path, s.st_ino, s.st_mode, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, "" if path.is_dir() else s.st_atime_ns)
"#;

#[test]
fn r1_looking_at_a_database_or_a_container_changes_no_time_of_it() {
    for (archive, name) in [
        ("databases.tar.xz", "databases/v7.vaso"),
        ("databases.tar.xz", "databases/v1.vaso"),
        ("packages.tar.xz", "container/basic.vaso"),
    ] {
        for who in everybody() {
            let (data, from) = project(archive, name);
            let folder = data.path().join("own");
            fs::create_dir(&folder).unwrap();
            let path = folder.join("P.vaso");
            fs::copy(&from, &path).unwrap();
            if who == As::User {
                // Only the owner may ask for no access times.
                succeed(Command::new("chown").args(["-R", "65534:65534"]).arg(&folder));
            }
            // So that a read would show in the access time, whatever the mount's rules for it are.
            succeed(Command::new("touch").args(["-a", "-d", "2001-01-01"]).arg(&path));
            let before = python(TRACES, &[&folder]);
            let mount = Mount::new(who, &path, &["--no-cache"]);
            mount.sh("find $M -type f -exec cat {} + >/dev/null; ls -lR $M/.vaso >/dev/null");
            mount.unmount();
            for verb in [vec!["info"], vec!["verify"], vec!["ls", "-lR"], vec!["recover", "--list"]] {
                run(vaso(who).args(verb).arg(&path));
            }
            assert_eq!(python(TRACES, &[&folder]), before, "{name} {who:?}");
        }
    }
}

#[test]
fn of_two_snapshots_of_one_second_the_newer_has_the_time_for_its_name() {
    let (_data, path) = project("bundles.tar.xz", "bundle/stale_lock.vasopack");
    for name in ["000001.sqlite", "000002.sqlite"] {
        let mut touch = Command::new("touch");
        succeed(touch.args(["-d", "2026-03-01T10:00:30.25Z"]).arg(path.join("snapshots").join(name)));
    }
    let stored = |name: &str| fs::read(path.join("snapshots").join(name)).unwrap();
    let history = Mount::new(As::Me, &path, &["--no-cache"]);
    for (at, name) in [("10:00:30Z", "000002.sqlite"), ("10:00:30Z~2", "000001.sqlite")] {
        let seen = history.read(&format!(".vaso/history/at/2026-03-01T{at}/current.sqlite"));
        assert!(seen == stored(name), "{at}");
    }
    let pinned = Mount::new(As::Me, &path, &["--no-cache", "-o", "at=2026-03-01T10:00:30Z"]);
    assert!(pinned.read("current.sqlite") == stored("000002.sqlite"));
}
