//! Bundles, containers and shared databases: what a mount of them shows, which snapshot is current, and that looking
//! leaves no trace.
//!
//! What is expected comes from records beside the projects, compared by a program of its own that knows nothing of
//! ours (`support/check_project.py`), or is made here.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{As, Mount, Reader, drop_caches, eventually, everybody, folder, run, succeed, vaso};
use serde_json::Value;
use tempfile::TempDir;

/// Copies a project of the collection into a folder that every user can read.
fn project(name: &str) -> (TempDir, PathBuf) {
    let data = folder();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bundles.tar.xz");
    let mut unpack = Command::new("tar");
    unpack.arg("-xJf").arg(archive).arg("-C").arg(data.path()).arg("--no-same-owner");
    succeed(unpack.arg(format!("bundle/{name}")));
    let path = data.path().join("bundle").join(name);
    assert!(path.exists(), "{name}");
    (data, path)
}

/// A small bundle made of two real snapshots: 1 is the empty one of a new project, 2 has data.
struct Made {
    folder: TempDir,
    path: PathBuf,
}

impl Made {
    fn new() -> Made {
        let (_data, from) = project("stale_lock.vasopack");
        let folder = folder();
        let path = folder.path().join("Study.vasopack");
        succeed(Command::new("cp").arg("-a").arg(&from).arg(&path));
        fs::remove_file(path.join(".lock")).unwrap();
        fs::remove_dir(path.join(".staging")).unwrap();
        Made { folder, path }
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        self.path.join("snapshots").join(name)
    }

    /// Another snapshot with the content of the second, under a name.
    fn add(&self, name: &str) -> &Made {
        fs::copy(self.snapshot("000002.sqlite"), self.snapshot(name)).unwrap();
        self
    }

    fn head(&self, text: &[u8]) -> &Made {
        fs::write(self.path.join("HEAD.json"), text).unwrap();
        self
    }

    /// What is current, and why.
    fn current(&self) -> (String, String) {
        let info: Value =
            serde_json::from_str(&succeed(vaso(As::Me).args(["info", "--json"]).arg(&self.path))).unwrap();
        let text = |key: &str| info[key].as_str().unwrap_or("none").to_string();
        (text("current"), text("chosen_because"))
    }
}

/// What is done to a bundle, in words; which snapshot is current then, and a part of the reason.
type Case = (&'static str, Box<dyn Fn(&Made)>, &'static str, &'static str);

/// All that lies below a folder, which moves the access times of folders.
fn everything(top: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = succeed(Command::new("find").arg(top)).lines().map(PathBuf::from).collect();
    paths.sort();
    assert!(paths.len() > 3);
    paths
}

/// Everything that `stat` says, access times too.
fn traces(paths: &[PathBuf]) -> Vec<String> {
    let trace = |path: &PathBuf| {
        let m = fs::symlink_metadata(path).unwrap();
        let times = (m.atime(), m.atime_nsec(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        format!("{path:?} {} {} {:o} {} {times:?}", m.size(), m.ino(), m.mode(), m.nlink())
    };
    paths.iter().map(trace).collect()
}

/// Bytes that a process has asked the system for.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find(|line| line.starts_with("rchar")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_a_mount_shows_equals_the_truth() {
    // Where an ordinary user can read it.
    let support = folder();
    let checker = support.path().join("check_project.py");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/check_project.py"), &checker).unwrap();
    let mut checked = 0;
    for archive in ["bundles.tar.xz", "packages.tar.xz"] {
        let data = common::data(archive);
        for truth in fs::read_dir(data.path().join("truth")).unwrap() {
            let truth = truth.unwrap().path();
            let name = truth.file_stem().unwrap().to_str().unwrap().replace("__", "/");
            if !name.starts_with("bundle/") && !name.starts_with("container/") {
                continue;
            }
            let path = data.path().join(&name);
            for who in everybody() {
                let mount = Mount::new(who, &path, &[]);
                let mut check = common::command(who, "/usr/bin/python3");
                let output = run(check.arg(&checker).arg(&mount.dir).arg(&truth));
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    output.status.success(),
                    "{name} {who:?}: {said}{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                checked += 1;
            }
        }
    }
    assert!(checked >= 13, "{checked}");
}

#[test]
fn the_newest_valid_snapshot_is_current_whatever_head_says() {
    let cases: Vec<Case> = vec![
        ("as it is", Box::new(|_| ()), "000002.sqlite", "as HEAD.json says"),
        (
            "torn",
            Box::new(|m| {
                m.head(b"{\"current\": \"0000");
            }),
            "000002.sqlite",
            "torn",
        ),
        (
            "nul",
            Box::new(|m| {
                m.head(&[0; 200]);
            }),
            "000002.sqlite",
            "NUL",
        ),
        (
            "empty",
            Box::new(|m| {
                m.head(b"");
            }),
            "000002.sqlite",
            "empty",
        ),
        (
            "missing",
            Box::new(|m| fs::remove_file(m.path.join("HEAD.json")).unwrap()),
            "000002.sqlite",
            "HEAD.json is missing",
        ),
        (
            "a crash between the snapshot and HEAD",
            Box::new(|m| {
                m.add("000003.sqlite");
            }),
            "000003.sqlite",
            "HEAD.json names 000002.sqlite",
        ),
        (
            "a save under way, and its snapshot missing",
            Box::new(|m| {
                m.add("000007.sqlite");
                m.head(br#"{"current": "000009.sqlite", "previous": "000002.sqlite", "write_in_progress": true}"#);
            }),
            "000007.sqlite",
            "a save was under way",
        ),
        (
            "a placeholder of a cloud",
            Box::new(|m| fs::write(m.snapshot("000003.sqlite"), b"").unwrap()),
            "000002.sqlite",
            "000003.sqlite is not valid",
        ),
        (
            "cut off",
            Box::new(|m| {
                m.add("000003.sqlite");
                fs::OpenOptions::new()
                    .write(true)
                    .open(m.snapshot("000003.sqlite"))
                    .unwrap()
                    .set_len(40_960)
                    .unwrap();
            }),
            "000002.sqlite",
            "000003.sqlite is not valid",
        ),
        (
            "damaged inside",
            Box::new(|m| {
                let mut bytes = fs::read(m.snapshot("000002.sqlite")).unwrap();
                // The type of every page but the first.
                (4096..bytes.len()).step_by(4096).for_each(|at| bytes[at] = 0xee);
                fs::write(m.snapshot("000003.sqlite"), bytes).unwrap();
            }),
            "000002.sqlite",
            "000003.sqlite is not valid",
        ),
        (
            "more digits",
            Box::new(|m| {
                m.add("1234567.sqlite").add("999999.sqlite");
            }),
            "1234567.sqlite",
            "newest",
        ),
        (
            "a copy of a number that is not there",
            Box::new(|m| {
                m.add("000004 (Anna's conflicted copy 2026-02-03).sqlite");
            }),
            "000004 (Anna's conflicted copy 2026-02-03).sqlite",
            "newest",
        ),
        (
            "a copy of a number that is there",
            Box::new(|m| {
                m.add("000002 (1).sqlite");
            }),
            "000002.sqlite",
            "as HEAD.json says",
        ),
        (
            "a HEAD of another machine",
            Box::new(|m| {
                m.add("000003.sqlite");
                fs::write(m.path.join("HEAD-LAB7.json"), br#"{"current": "000003.sqlite"}"#).unwrap();
            }),
            "000003.sqlite",
            "as HEAD-LAB7.json says",
        ),
        (
            "not a number",
            Box::new(|m| {
                m.add("9.SQLITE").add("x9.sqlite").add("9.sqlite.tmp");
            }),
            "000002.sqlite",
            "newest",
        ),
    ];
    for (what, make, name, because) in cases {
        let made = Made::new();
        make(&made);
        let (current, why) = made.current();
        assert_eq!(current, name, "{what}");
        assert!(why.contains(because), "{what}: {why}");
        // A mount comes to the same, however it is looked at first.
        for first in ["cat $M/current.sqlite >/dev/null", "ls $M/browse >/dev/null", "ls -l $M >/dev/null"] {
            let mount = Mount::new(As::Me, &made.path, &[]);
            mount.sh(first);
            assert_eq!(
                fs::read(mount.path("current.sqlite")).unwrap(),
                fs::read(made.snapshot(name)).unwrap(),
                "{what}"
            );
            assert!(mount.path("browse/ExpA/s1/trace.csv").exists(), "{what}");
            let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
            assert_eq!(status["current"], name, "{what}");
            assert!(status["chosen_because"].as_str().unwrap().contains(because), "{what}");
        }
    }
}

#[test]
fn a_head_may_call_a_snapshot_otherwise_and_all_verbs_agree() {
    let usual = "000002.sqlite";
    // What lies there, what HEAD names, and what counts.
    let cases: [(&[&str], &str, &str); 5] = [
        (&[usual], "2.sqlite", usual),
        (&["2.sqlite"], usual, "2.sqlite"),
        (&["0000000000000000000002.sqlite"], "02.sqlite", "0000000000000000000002.sqlite"),
        (&[usual, "2.sqlite"], "2.sqlite", usual),
        (&["000002 (1).sqlite"], usual, "000002 (1).sqlite"),
    ];
    for (there, named, counts) in cases {
        let made = Made::new();
        let bytes = fs::read(made.snapshot(usual)).unwrap();
        fs::remove_file(made.snapshot(usual)).unwrap();
        there.iter().for_each(|name| fs::write(made.snapshot(name), &bytes).unwrap());
        made.head(format!(r#"{{"current": "{named}"}}"#).as_bytes());
        let because =
            format!("it is the newest valid snapshot; HEAD.json names {named}, which has its number");
        assert_eq!(made.current(), (counts.to_string(), because.clone()));
        let mount = Mount::new(As::Me, &made.path, &[]);
        mount.sh("cat $M/current.sqlite >/dev/null");
        let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
        assert_eq!((&status["current"], &status["chosen_because"]), (&counts.into(), &because.into()));
        drop(mount);
        let json = |verb: &[&str]| -> Value {
            let output = run(vaso(As::Me).args(verb).arg("--json").arg(&made.path));
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{verb:?}: {output:?}"))
        };
        let verified = json(&["verify"]);
        let told = verified["findings"].as_array().unwrap().iter().find(|f| f["code"] == "head-other-name");
        assert_eq!(told.unwrap()["message"], format!("it names {named}; but of that number {counts} counts"));
        let log = json(&["log"]);
        let current = log.as_array().unwrap().iter().find(|state| state["current"] == true).unwrap();
        assert_eq!(current["name"], counts);
        let list = json(&["recover", "--list"]);
        let current = list["candidates"].as_array().unwrap().iter().find(|c| c["role"] == "current").unwrap();
        assert!(current["path"].as_str().unwrap().ends_with(&format!("/{counts}")), "{named}: {current}");
        let found = json(&["recover"]);
        assert_eq!((&found["recovered"], &found["sound"]), (&false.into(), &true.into()), "{named}: {found}");
    }
}

#[test]
fn of_one_number_recover_follows_what_readers_take() {
    let made = Made::new();
    made.add("000003.sqlite").add("3.sqlite").add("000003 (1).sqlite");
    let list = run(vaso(As::Me).args(["recover", "--list", "--json"]).arg(&made.path)).stdout;
    let list: Value = serde_json::from_slice(&list).unwrap();
    let current = list["candidates"].as_array().unwrap().iter().find(|c| c["role"] == "current").unwrap();
    assert!(current["path"].as_str().unwrap().ends_with("/000003.sqlite"), "{current}");
    assert_eq!(made.current().0, "000003.sqlite");
}

/// The findings of a mount of which everything was read, as severity and code, without mere notices.
fn warned_by_a_mount(path: &Path) -> Vec<(String, String)> {
    let mount = Mount::new(As::Me, path, &[]);
    mount.sh("find $M -type f -exec cat {} + >/dev/null 2>&1; true");
    let lines = String::from_utf8(mount.read(".vaso/findings.jsonl")).unwrap();
    warned(lines.lines().map(|line| serde_json::from_str(line).unwrap()))
}

fn warned(findings: impl Iterator<Item = Value>) -> Vec<(String, String)> {
    let word = |f: &Value, key: &str| f[key].as_str().unwrap().to_string();
    let mut all: Vec<_> = findings
        .filter(|f| f["severity"] != "notice")
        .map(|f| (word(&f, "severity"), word(&f, "code")))
        .collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn a_mount_warns_of_nothing_that_verify_does_not_tell() {
    let cases = [
        ("extra-not-json", "update dataset set extra_json = '{torn'"),
        ("extra-half-character", r#"update dataset set extra_json = '{"experiment": "a\ud800"}'"#),
        ("cell-too-long", "update dataset set notes = printf('%.*c', 5000000, 'x')"),
    ];
    for (code, sql) in cases {
        let made = Made::new();
        made.add("000003.sqlite");
        let db = rusqlite::Connection::open(made.snapshot("000003.sqlite")).unwrap();
        db.execute_batch(sql).unwrap();
        db.close().unwrap();
        let mounted = warned_by_a_mount(&made.path);
        assert!(mounted.iter().any(|(_, found)| found == code), "{code}: {mounted:?}");
        let output = run(vaso(As::Me).args(["verify", "--json"]).arg(&made.path));
        assert_eq!(output.status.code(), Some(1), "{code}: {output:?}");
        let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
        let verified = warned(verified["findings"].as_array().unwrap().iter().cloned());
        let quiet: Vec<_> = mounted.iter().filter(|found| !verified.contains(found)).collect();
        assert!(quiet.is_empty(), "{code}: {quiet:?}, and verify: {verified:?}");
        // Of an earlier state too.
        made.add("000004.sqlite");
        let output = run(vaso(As::Me).args(["verify", "--json"]).arg(&made.path));
        assert_eq!(output.status.code(), Some(1), "{code}: {output:?}");
    }
}

#[test]
fn without_a_valid_snapshot_the_stored_files_are_there() {
    let made = Made::new();
    for name in ["000001.sqlite", "000002.sqlite"] {
        fs::write(made.snapshot(name), b"nothing of the kind").unwrap();
    }
    let mount = Mount::new(As::Me, &made.path, &[]);
    assert_eq!(mount.sh("ls $M"), "HEAD.json\nproject.meta.json\nsnapshots\n");
    assert_eq!(mount.read("snapshots/000002.sqlite"), b"nothing of the kind");
    drop(mount);
    let output = run(vaso(As::Me).args(["info", "--json"]).arg(&made.path));
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding =
        info["findings"].as_array().unwrap().iter().find(|f| f["code"] == "no-valid-snapshot").unwrap();
    assert!(finding["remedy"].as_str().unwrap().contains("vaso recover"));
    // Any other folder is no project.
    fs::create_dir(made.folder.path().join("Photos")).unwrap();
    let output = run(vaso(As::Me).arg("info").arg(made.folder.path().join("Photos")));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn r1_looking_at_a_bundle_leaves_no_trace() {
    for who in everybody() {
        let made = Made::new();
        if who == As::User {
            // Only the owner may ask for no access times.
            succeed(Command::new("chown").args(["-R", "65534:65534"]).arg(made.folder.path()));
        }
        // So that a read would show in the access time, whatever the mount's rules for it are.
        let paths = everything(made.folder.path());
        succeed(Command::new("touch").args(["-a", "-d", "2001-01-01"]).args(&paths));
        let before = traces(&paths);
        let mount = Mount::new(who, &made.path, &[]);
        mount.sh("find $M -type f -exec cat {} + >/dev/null; ls -lR $M/.vaso/history >/dev/null");
        mount.unmount();
        for verb in [vec!["info"], vec!["verify"], vec!["log"], vec!["diff"], vec!["ls", "-lR"]] {
            run(vaso(who).args(verb).arg(&made.path));
        }
        assert_eq!(traces(&paths), before, "{who:?}");
        assert_eq!(everything(made.folder.path()), paths, "{who:?}");
    }
}

#[test]
fn r5_a_snapshot_that_arrives_is_seen_and_open_files_keep_theirs() {
    for who in everybody() {
        let made = Made::new();
        let second = fs::read(made.snapshot("000002.sqlite")).unwrap();
        let first = fs::read(made.snapshot("000001.sqlite")).unwrap();
        let mount = Mount::new(who, &made.path, &[]);
        let pinned = Mount::new(who, &made.path, &["-o", "snapshot=2"]);
        let mut reader = Reader::new(who);
        reader.open("csv", &mount.path("browse/ExpA/s1/trace.csv")).unwrap();
        reader.open("db", &mount.path("current.sqlite")).unwrap();
        let csv = reader.pread("csv", 0, 1 << 20).unwrap();
        // A sync tool writes beside, and renames; the number is newer, and so it is current.
        let part = made.snapshot(".000003.part");
        fs::write(&part, &first).unwrap();
        fs::rename(&part, made.snapshot("000003.sqlite")).unwrap();
        let since = Instant::now();
        while reader.whole(&mount.path("current.sqlite")) != Ok(first.clone()) {
            assert!(since.elapsed() < Duration::from_secs(10), "{who:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(
            mount.sh("ls $M/snapshots | wc -l; ls $M/browse"),
            "3\nCACHEDIR.TAG\nexperiments.json\nproject.json\n"
        );
        drop_caches();
        assert_eq!(reader.pread("db", 0, 1 << 20).unwrap(), second, "{who:?}");
        assert_eq!(reader.pread("csv", 0, 1 << 20).unwrap(), csv, "{who:?}");
        // A HEAD that moves is seen too.
        let because = || {
            let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
            status["chosen_because"].as_str().unwrap().to_string()
        };
        assert!(because().contains("HEAD.json names 000002.sqlite"), "{}", because());
        fs::write(made.path.join(".HEAD.part"), br#"{"current": "000003.sqlite"}"#).unwrap();
        fs::rename(made.path.join(".HEAD.part"), made.path.join("HEAD.json")).unwrap();
        eventually("the new HEAD", || because().contains("as HEAD.json says"));
        // What is pinned has not moved.
        assert_eq!(reader.whole(&pinned.path("current.sqlite")), Ok(second.clone()));
        assert_eq!(pinned.sh("ls $M/snapshots | wc -l"), "2\n");
        // A snapshot that is rewritten in place, which nobody should do, is an error to whoever has it open.
        let stored = Mount::new(who, &made.path, &["-o", "nopassthrough"]);
        reader.open("stored", &stored.path("snapshots/000002.sqlite")).unwrap();
        let mut other = second.clone();
        other[50_000] ^= 1;
        fs::write(made.snapshot("000002.sqlite"), &other).unwrap();
        drop_caches();
        eventually("an error, and no new byte", || reader.pread("stored", 0, 100_000) == Err(5));
        reader.close("stored");
        let told = || String::from_utf8(stored.read(".vaso/findings.jsonl")).unwrap();
        let is_told = || {
            let all = told();
            let mut of_it = all.lines().filter(|line| line.contains("rewritten-in-place"));
            of_it.next().is_some_and(|line| line.contains("\"snapshots/000002.sqlite\""))
                && of_it.next().is_none()
        };
        eventually("the rewrite is told", is_told);
        // And so of every state that comes after.
        fs::write(made.path.join("notes.txt"), "x").unwrap();
        eventually("the next state", || stored.sh("ls $M").contains("notes.txt"));
        assert!(is_told(), "{}", told());
    }
}

#[test]
fn a_moment_can_be_asked_for() {
    let made = Made::new();
    made.add("000003.sqlite");
    touch(&made.snapshot("000001.sqlite"), "2026-03-01T10:00:00Z");
    touch(&made.snapshot("000002.sqlite"), "2026-03-01T11:00:00Z");
    touch(&made.snapshot("000003.sqlite"), "2026-03-01T12:00:00.584Z");
    for (option, name) in [
        ("at=2026-03-01T12:00Z", "000003.sqlite"),
        // As `vaso log` prints it, which is to the second.
        ("at=2026-03-01T12:00:00Z", "000003.sqlite"),
        ("at=2026-03-01T12:00:00.58Z", "000003.sqlite"),
        ("at=2026-03-01T12:00:00.4Z", "000002.sqlite"),
        ("at=2026-03-01T11:59:59Z", "000002.sqlite"),
        ("at=2026-03-01T10:30Z", "000001.sqlite"),
        ("snapshot=1", "000001.sqlite"),
        ("snapshot=000003", "000003.sqlite"),
    ] {
        let mount = Mount::new(As::Me, &made.path, &["-o", option]);

        assert_eq!(mount.read("current.sqlite"), fs::read(made.snapshot(name)).unwrap(), "{option}");
        let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
        assert_eq!(status["current"], name);
    }
    let dir = made.folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    for (option, code) in [("snapshot=99", 1), ("at=2020-01-01", 1), ("snapshot=x", 64), ("at=soon", 64)] {
        let output = run(vaso(As::Me).args(["mount", "-o", option]).arg(&made.path).arg(&dir));
        assert_eq!(output.status.code(), Some(code), "{option}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // History has the same, by number and by time.
    let mount = Mount::new(As::Me, &made.path, &[]);
    assert_eq!(mount.sh("ls $M/.vaso/history"), "000001\n000002\n000003\nat\n");
    assert_eq!(
        mount.sh("ls $M/.vaso/history/at"),
        "2026-03-01T10:00:00Z\n2026-03-01T11:00:00Z\n2026-03-01T12:00:00Z\n"
    );
    let last = mount.read(".vaso/history/at/2026-03-01T12:00/current.sqlite");
    assert_eq!(last, fs::read(made.snapshot("000003.sqlite")).unwrap());
    for place in ["000002", "at/2026-03-01T11:00:00Z"] {
        let at = |name: &str| format!(".vaso/history/{place}/{name}");
        assert_eq!(mount.read(&at("current.sqlite")), fs::read(made.snapshot("000002.sqlite")).unwrap());
        assert_eq!(mount.read(&at("browse/ExpA/s1/trace.csv")), mount.read("browse/ExpA/s1/trace.csv"));
    }
}

#[test]
fn r4_mounting_and_listing_read_next_to_nothing() {
    let (_data, path) = project("fifty_five.vasopack");
    let mount = Mount::new(As::Me, &path, &["--no-cache"]);
    mount.sh("ls $M $M/snapshots >/dev/null; ls -l $M/snapshots >/dev/null");
    let mounted = read_by(mount.pid);
    assert!(mounted < 1 << 20, "{mounted} bytes to mount and list");
    assert_eq!(mount.sh("ls $M/.vaso/history | wc -l"), "56\n");
    mount.sh("ls $M/.vaso/history/000010 $M/.vaso/history/at >/dev/null");
    assert!(read_by(mount.pid) - mounted < 4096, "to list the history opens no snapshot");
}

#[test]
fn snapshots_are_the_same_bytes_with_the_kernel_reading_and_with_the_daemon() {
    for who in everybody() {
        for options in [&[][..], &["-o", "nopassthrough"]] {
            let made = Made::new();
            // Large enough that reading it shows.
            let mut bytes = fs::read(made.snapshot("000002.sqlite")).unwrap();
            bytes.resize(8 << 20, 7);
            fs::write(made.snapshot("000001.sqlite"), &bytes).unwrap();
            let mount = Mount::new(who, &made.path, options);
            let mut reader = Reader::new(who);
            let path = mount.path("snapshots/000001.sqlite");
            let before = if who == As::Me { read_by(mount.pid) } else { 0 };
            assert_eq!(reader.whole(&path), Ok(bytes.clone()));
            // Several at once, at different places, some of them ending before others.
            for key in ["a", "b", "c"] {
                reader.open(key, &path).unwrap();
            }
            reader.close("b");
            drop_caches();
            assert_eq!(reader.pread("a", 5 << 20, 100).unwrap(), bytes[5 << 20..][..100]);
            assert_eq!(reader.pread("c", (8 << 20) - 10, 100).unwrap(), bytes[(8 << 20) - 10..]);
            reader.close("a");
            reader.open("d", &path).unwrap();
            assert_eq!(reader.pread("d", 0, 100).unwrap(), bytes[..100]);
            if common::is_root() && who == As::Me {
                let by_daemon = read_by(mount.pid) - before;
                assert_eq!(
                    by_daemon > 8 << 20,
                    options.len() == 2,
                    "{by_daemon} bytes by the daemon, {options:?}"
                );
            }
            // The same of what is current, which is the very file.
            let pinned = [&["-o", "snapshot=1"][..], options].concat();
            let mount = Mount::new(who, &made.path, &pinned);
            let path = mount.path("current.sqlite");
            assert_eq!(reader.whole(&path), Ok(bytes.clone()));
            if common::is_root() && who == As::Me {
                drop_caches();
                let before = read_by(mount.pid);
                assert_eq!(reader.whole(&path), Ok(bytes.clone()));
                let by_daemon = read_by(mount.pid) - before;
                assert_eq!(by_daemon > 8 << 20, options.len() == 2, "{by_daemon} bytes of current.sqlite");
            }
        }
    }
}

#[test]
fn a_bundle_that_is_at_work_can_be_mounted_beside_it() {
    let made = Made::new();
    fs::create_dir(made.path.join(".staging")).unwrap();
    fs::write(made.path.join(".lock"), br#"{"pid": 1, "timestamp": 0, "hostname": "x"}"#).unwrap();
    let mount = Mount::new(As::Me, &made.path, &[]);
    let inode = || fs::metadata(mount.path("current.sqlite")).unwrap().ino();
    let before = inode();
    for i in 0..5 {
        fs::write(made.path.join(".staging/session.sqlite"), vec![i; 5000]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    // What the session does is no new state of the project.
    let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
    assert_eq!((status["revision"].as_u64(), inode()), (Some(0), before));
    assert_eq!(mount.sh("ls -A $M"), "HEAD.json\nbrowse\ncurrent.sqlite\nproject.meta.json\nsnapshots\n");
    // As stored it is there.
    let raw = Mount::new(As::Me, &made.path, &["-o", "raw"]);
    assert_eq!(raw.sh("ls -A $M"), ".lock\n.staging\nHEAD.json\nproject.meta.json\nsnapshots\n");
    assert_eq!(raw.read(".staging/session.sqlite"), vec![4; 5000]);
}

#[test]
fn links_and_special_files_serve_as_nothing() {
    let made = Made::new();
    fs::rename(made.snapshot("000002.sqlite"), made.folder.path().join("outside.sqlite")).unwrap();
    std::os::unix::fs::symlink("../../outside.sqlite", made.snapshot("000002.sqlite")).unwrap();
    succeed(Command::new("mkfifo").arg(made.snapshot("000003.sqlite")));
    let mount = Mount::new(As::Me, &made.path, &[]);
    assert_eq!(mount.read("current.sqlite"), fs::read(made.snapshot("000001.sqlite")).unwrap());
    assert_eq!(mount.sh("ls $M/snapshots"), "000001.sqlite\n000002.sqlite\n");
    assert_eq!(
        fs::read_link(mount.path("snapshots/000002.sqlite")).unwrap(),
        Path::new("../../outside.sqlite")
    );
}

#[test]
fn verbs_of_the_history_tell_and_take_and_prune() {
    let made = Made::new();
    let json = |args: &[&str]| -> Value {
        let said = succeed(vaso(As::Me).args(args).arg("--json"));
        serde_json::from_str(&said).unwrap()
    };
    let path = made.path.to_str().unwrap();
    // A third snapshot in which a sample got an event and another was removed, by the real SQLite.
    made.add("000003.sqlite");
    succeed(Command::new("sqlite3").arg(made.snapshot("000003.sqlite")).arg(
        "delete from trace where dataset_id=2; delete from event where dataset_id=2; \
         delete from dataset where id=2; \
         insert into event(dataset_id, t_seconds, t_us, label) values(1, 1.5, 1500000, 'washout');",
    ));
    fs::write(made.snapshot("000004.sqlite"), b"").unwrap();
    let log = json(&["log", path]);
    let row = |i: usize, key: &str| log[i][key].clone();
    assert_eq!(log.as_array().unwrap().len(), 4);
    assert_eq!((row(0, "number"), row(0, "valid"), row(0, "changed")), (1.into(), true.into(), Value::Null));
    assert_eq!(row(1, "changed")["dataset"], serde_json::json!({"before": 0, "after": 2}));
    assert_eq!(row(1, "changed")["trace"], serde_json::json!({"before": 0, "after": 150}));
    assert_eq!(row(2, "changed")["event"], serde_json::json!({"before": 4, "after": 3}));
    assert_eq!((row(2, "current"), row(3, "valid")), (true.into(), false.into()));
    let log = run(vaso(As::Me).args(["-v", "info", path])).stderr;
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("000003.sqlite is current: it is the newest valid snapshot"), "{log}");
    let diff = json(&["diff", path]);
    assert_eq!((&diff["from"], &diff["to"]), (&2.into(), &3.into()));
    assert_eq!(diff["removed"][0]["name"], "s2");
    assert_eq!(diff["edited"][0]["sample"]["name"], "s1");
    assert_eq!(diff["edited"][0]["events"]["added"], 1);
    assert_eq!(json(&["diff", path, "1", "2"])["added"].as_array().unwrap().len(), 2);
    let text = succeed(vaso(As::Me).args(["diff", path]));
    assert!(text.contains("sample removed  ExpA/s2") && text.contains("1 event added"), "{text}");

    let out = made.folder.path().join("out.sqlite");
    let extract = |n: &str| run(vaso(As::Me).args(["extract", path, n, "-o"]).arg(&out)).status.code();
    assert_eq!(extract("2"), Some(0));
    assert_eq!(fs::read(&out).unwrap(), fs::read(made.snapshot("000002.sqlite")).unwrap());
    assert_eq!(extract("2"), Some(1), "nothing is overwritten");
    assert_eq!(extract("77"), Some(1));

    // Old ones, of days that are long gone, which no HEAD names.
    made.head(br#"{"current": "000003.sqlite"}"#);
    for (i, name) in ["000001.sqlite", "000002.sqlite"].iter().enumerate() {
        let time = format!("2020-01-0{}T00:00:00Z", i + 1);
        succeed(Command::new("touch").args(["-d", &time]).arg(made.snapshot(name)));
    }
    let dry = json(&["prune", path, "--keep", "1", "--dry-run"]);
    assert_eq!(dry["removed"], serde_json::json!([1, 2]));
    assert!(made.snapshot("000001.sqlite").exists());
    // While the application is at work nothing is removed; nor is what somebody has open.
    fs::write(made.path.join(".lock"), b"{}").unwrap();
    let prune = || run(vaso(As::Me).args(["prune", path, "--keep", "1"])).status.code();
    assert_eq!(prune(), Some(4));
    fs::remove_file(made.path.join(".lock")).unwrap();
    let open = fs::File::open(made.snapshot("000002.sqlite")).unwrap();
    assert_eq!(prune(), Some(0));
    let left = || {
        let mut names: Vec<String> = fs::read_dir(made.path.join("snapshots"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left(), ["000002.sqlite", "000003.sqlite", "000004.sqlite"]);
    drop(open);
    assert_eq!(prune(), Some(0));
    assert_eq!(left(), ["000003.sqlite", "000004.sqlite"], "what is not valid may hold what no other has");
    assert_eq!(run(vaso(As::Me).args(["prune", path, "--keep", "0"])).status.code(), Some(64));
}

/// Bundles that want to do harm. Their harmless snapshots are no projects; they are given the bytes of a real one here,
/// so that the rest of each bundle has something to hide or to break.
#[test]
fn nothing_in_a_bundle_does_harm_and_the_newest_valid_snapshot_is_shown() {
    let hostile = common::data("hostile_bundles.tar.xz");
    let top = hostile.path().join("vasopack");
    let harmless = fs::read(top.join("lock_garbage.vasopack/snapshots/000001.sqlite")).unwrap();
    let real = fs::read(Made::new().snapshot("000002.sqlite")).unwrap();
    let mut bundles: Vec<PathBuf> = fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().path()).collect();
    bundles.sort();
    let (mut shown, mut hidden) = (0, 0);
    for bundle in bundles {
        let snapshots = bundle.join("snapshots");
        let is_folder = fs::symlink_metadata(&snapshots).is_ok_and(|m| m.is_dir());
        let mut newest: Option<(u64, bool, String)> = None;
        for entry in fs::read_dir(&snapshots).into_iter().flatten().filter(|_| is_folder) {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if !meta.is_file() || meta.len() != harmless.len() as u64 || fs::read(&path).unwrap() != harmless
            {
                continue;
            }
            fs::write(&path, &real).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            let digits = name.strip_suffix(".sqlite").unwrap_or_default();
            let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
            if let Some(number) = digits.parse().ok().filter(|n| is_plain && *n < 1_000_000_000_000u64) {
                newest = newest.max(Some((number, name == format!("{number:06}.sqlite"), name)));
            }
        }
        let newest = newest.map(|(_, _, name)| name);
        // To read a link moves its access time, and nobody can ask that it does not.
        let mut paths = everything(&bundle);
        paths.retain(|path| !path.is_symlink());
        let before = traces(&paths);
        let verb = |args: &[&str]| {
            let output = run(vaso(As::Me).args(args).arg(&bundle));
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (code, info) = verb(&["info", "--json"]);
        assert_eq!(code, Some(newest.is_none().into()), "{bundle:?}");
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["current"].as_str(), newest.as_deref(), "{bundle:?}");
        for args in [&["verify"][..], &["log"], &["recover", "--list"]] {
            let (code, said) = verb(args);
            assert!(matches!(code, Some(0..=2)), "{bundle:?} {args:?}: {code:?} {said}");
        }
        let mount = Mount::new(As::Me, &bundle, &[]);
        mount.sh("ls -lR $M >/dev/null; ls -lR $M/.vaso/history >/dev/null 2>&1 || true");
        match newest {
            Some(_) => {
                assert!(mount.read("current.sqlite") == real, "{bundle:?}");
                assert!(mount.path("browse/ExpA/s1/trace.csv").exists(), "{bundle:?}");
                shown += 1;
            }
            None => {
                assert!(!mount.path("current.sqlite").exists(), "{bundle:?}");
                hidden += 1;
            }
        }
        mount.unmount();
        assert_eq!(traces(&paths), before, "{bundle:?}");
        let now = everything(&bundle).into_iter().filter(|path| !path.is_symlink());
        assert_eq!(now.collect::<Vec<_>>(), paths);
    }
    assert!(shown > 45 && hidden >= 3, "{shown} {hidden}");
}

/// Runs a script of Python with arguments.
fn python(script: &str, args: &[&std::ffi::OsStr]) -> String {
    succeed(Command::new("/usr/bin/python3").args(["-c", script]).args(args))
}

/// The codes of findings that `vaso verify` prints, without notices, and its exit code.
fn verified(path: &Path) -> (Option<i32>, Vec<String>) {
    let output = run(vaso(As::Me).args(["verify", "--json"]).arg(path));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let grave = findings.iter().filter(|finding| finding["severity"] != "notice");
    (output.status.code(), grave.map(|finding| finding["code"].as_str().unwrap().to_string()).collect())
}

/// Embeds a file of three pieces in the first dataset, and spoils it in one way.
const EMBED: &str = r#"
import hashlib, random, sqlite3, sys, zlib
path, fault = sys.argv[1:]
plain = random.Random(7).randbytes(5000)
packed = zlib.compress(plain)
db = sqlite3.connect(path)
db.execute("insert into asset(id, kind, sha256, size_bytes, compressed, chunk_size, original_name, mime) "
           "values(900, 'tiff', ?, ?, 1, 2000, 'cell.tiff', 'image/tiff')",
           (hashlib.sha256(plain).hexdigest(), len(plain)))
dataset = db.execute("select min(id) from dataset").fetchone()[0]
db.execute("insert into ref(asset_id, dataset_id, role) values(900, ?, 'attachment:7')", (dataset,))
for seq in range(0, len(packed), 2000):
    db.execute("insert into blob_chunk values(900, ?, ?)", (seq // 2000, packed[seq:seq + 2000]))
other = zlib.compress(bytes(5000))
db.execute({
    "right": "select 1",
    "digest": "update asset set sha256 = lower(hex(zeroblob(32))) where id = 900",
    "piece": "delete from blob_chunk where asset_id = 900 and seq = 1",
    "last": "delete from blob_chunk where asset_id = 900 and seq = 2",
    "size": "update asset set size_bytes = 5001 where id = 900",
    "gone": "delete from asset where id = 900",
    "bytes": "update blob_chunk set data = zeroblob(2000) where asset_id = 900 and seq = 1",
}[fault])
db.commit()
"#;

#[test]
fn verify_holds_every_embedded_file_against_its_size_and_digest() {
    for (fault, code) in [
        ("right", None),
        ("digest", Some("asset-digest")),
        ("piece", Some("asset-missing-piece")),
        ("last", Some("asset-missing-piece")),
        ("size", Some("asset-size")),
        ("bytes", Some("asset-digest")),
        ("gone", Some("asset-missing")),
    ] {
        let made = Made::new();
        python(EMBED, &[made.snapshot("000002.sqlite").as_ref(), fault.as_ref()]);
        let expected: Vec<String> = code.into_iter().map(str::to_string).collect();
        assert_eq!(verified(&made.path), (Some(i32::from(code.is_some())), expected), "{fault}");
        // The same where the database lies by itself.
        let alone = made.folder.path().join("Study.vaso");
        fs::copy(made.snapshot("000002.sqlite"), &alone).unwrap();
        let expected: Vec<String> = code.into_iter().map(str::to_string).collect();
        assert_eq!(verified(&alone), (Some(i32::from(code.is_some())), expected), "{fault}, alone");
    }
}

/// Swaps two leaf pages of the table `trace`, and prints what SQLite's two checks say of it.
const SWAP: &str = r#"
import sqlite3, sys
path = sys.argv[1]
db = sqlite3.connect(path)
size = db.execute("pragma page_size").fetchone()[0]
leaves = [row[0] for row in db.execute("select pageno from dbstat where name = 'trace' and pagetype = 'leaf' order by path")]
db.close()
a, b = [(page - 1) * size for page in leaves[1:3]]
data = bytearray(open(path, "rb").read())
data[a:a + size], data[b:b + size] = data[b:b + size], data[a:a + size]
open(path, "wb").write(data)
db = sqlite3.connect(path)
print(db.execute("pragma quick_check").fetchone()[0], "|", db.execute("pragma integrity_check(1)").fetchone()[0])
"#;

#[test]
fn verify_sees_rows_that_stand_in_the_wrong_order() {
    let made = Made::new();
    let said = python(SWAP, &[made.snapshot("000002.sqlite").as_ref()]);
    assert!(said.starts_with("ok | row not in PRIMARY KEY order"), "{said}");
    let (code, codes) = verified(&made.path);
    assert_eq!((code, codes), (Some(1), vec!["integrity-check-failed".to_string()]));
    // For a mount it is as valid as it was.
    assert_eq!(made.current().0, "000002.sqlite");
}

/// Adds so many tables, without rows, and then swaps pages as above.
const MANY: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for i in range(1000): db.execute(f"create table a{i:04}(a)")
db.commit()
names = sorted(row[0] for row in db.execute("select name from sqlite_schema where type = 'table'"))
print(len([name for name in names if not name.startswith("sqlite_")]) - 1000)
"#;

#[test]
fn verify_tells_of_which_tables_it_knows_nothing() {
    let made = Made::new();
    let path = made.snapshot("000002.sqlite");
    let said = python(MANY, &[path.as_ref()]);
    let unknown = said.trim();
    assert_eq!(verified(&made.path), (Some(1), vec!["tables-not-checked".to_string()]));
    let told = run(vaso(As::Me).arg("verify").arg(&made.path));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&format!("{unknown} of its tables were not checked")), "{told}");
    assert!(told.contains("a0999") && !told.contains("trace"), "{told}");
    // The tables of a project are looked at all the same.
    python(SWAP, &[path.as_ref()]);
    assert_eq!(verified(&made.path), (Some(1), vec!["integrity-check-failed".to_string()]));
}

/// Spoils the last page of a database, so that its header and its schema are as good as before.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 4096;
    bytes[last] = 0xee;
    fs::write(path, bytes).unwrap();
}

fn touch(path: &Path, time: &str) {
    succeed(Command::new("touch").args(["-d", time]).arg(path));
}

#[test]
fn a_moment_falls_back_to_the_newest_that_is_valid_inside_and_a_number_is_what_was_asked_for() {
    let made = Made::new();
    made.add("000003.sqlite");
    spoil(&made.snapshot("000003.sqlite"));
    for (i, name) in ["000001.sqlite", "000002.sqlite", "000003.sqlite"].into_iter().enumerate() {
        touch(&made.snapshot(name), &format!("2026-03-01T1{i}:00:00Z"));
    }
    let mount = Mount::new(As::Me, &made.path, &["-o", "at=2026-03-01T13:00Z"]);
    assert_eq!(mount.read("current.sqlite"), fs::read(made.snapshot("000002.sqlite")).unwrap());
    assert!(mount.path("browse/ExpA/s1/trace.csv").exists());
    let status: Value = serde_json::from_slice(&mount.read(".vaso/status.json")).unwrap();
    assert_eq!(status["current"], "000002.sqlite");
    let because = status["chosen_because"].as_str().unwrap();
    assert!(because.contains("the newer 000003.sqlite is not valid"), "{because}");
    // Where none is valid, what was stored is still there, and all else is an error of the disk's kind.
    fs::copy(made.snapshot("000003.sqlite"), made.snapshot("000001.sqlite")).unwrap();
    touch(&made.snapshot("000001.sqlite"), "2026-03-01T10:00:00Z");
    let mount = Mount::new(As::Me, &made.path, &["-o", "at=2026-03-01T10:30Z"]);
    let refused = fs::read(mount.path("current.sqlite")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(nix::errno::Errno::EIO as i32));
    assert!(fs::read_dir(mount.path("browse")).is_err());
    assert_eq!(mount.read("snapshots/000001.sqlite"), fs::read(made.snapshot("000001.sqlite")).unwrap());
    let findings = String::from_utf8(mount.read(".vaso/findings.jsonl")).unwrap();
    assert_eq!(findings.matches("snapshot-invalid").count(), 1, "{findings}");
    // Whoever names a snapshot gets that one, whatever it is worth.
    let mount = Mount::new(As::Me, &made.path, &["-o", "snapshot=3"]);
    assert_eq!(mount.read("current.sqlite"), fs::read(made.snapshot("000003.sqlite")).unwrap());
    mount.sh("ls -l $M >/dev/null");
    // A good file of the same number goes before.
    made.add("000003 (1).sqlite");
    let mount = Mount::new(As::Me, &made.path, &["-o", "snapshot=3"]);
    assert_eq!(mount.read("current.sqlite"), fs::read(made.snapshot("000003 (1).sqlite")).unwrap());
}

/// Makes a path that no ordinary user can read.
fn lock_away(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
}

#[test]
fn a_snapshot_that_the_system_does_not_read_is_not_called_invalid() {
    let who = As::User;
    if !common::is_root() {
        return;
    }
    let made = Made::new();
    lock_away(&made.snapshot("000002.sqlite"));
    let output = run(vaso(who).args(["info", "--json"]).arg(&made.path));
    assert_eq!(output.status.code(), Some(1));
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    let because = info["chosen_because"].as_str().unwrap();
    assert!(because.contains("the newer 000002.sqlite cannot be read (Permission denied"), "{because}");
    let finding =
        info["findings"].as_array().unwrap().iter().find(|f| f["code"] == "snapshot-unreadable").unwrap();
    assert_eq!(
        (finding["severity"].as_str(), finding["path"].as_str()),
        (Some("error"), Some("snapshots/000002.sqlite"))
    );
    // A mount says so, too.
    let dir = made.folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    let output = run(vaso(who).args(["mount", "--json"]).arg(&made.path).arg(&dir));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    succeed(vaso(who).arg("umount").arg(&dir));
    assert!(said.contains("000002.sqlite") && said.contains("Permission denied"), "{said}");
    assert!(report["findings"].as_array().unwrap().iter().any(|f| f["code"] == "snapshot-unreadable"));
    let (code, codes) = {
        let output = run(vaso(who).args(["verify", "--json"]).arg(&made.path));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(code == Some(1) && codes.contains("snapshot-unreadable") && !codes.contains("snapshot-invalid"));
}

#[test]
fn of_several_files_of_one_number_the_first_valid_one_stands_for_it() {
    let made = Made::new();
    fs::write(made.snapshot("000003.sqlite"), b"").unwrap();
    made.add("000003 (1).sqlite");
    // Other bytes than those of the second.
    succeed(
        Command::new("sqlite3").arg(made.snapshot("000003 (1).sqlite")).arg("delete from event where id = 1"),
    );
    let good = fs::read(made.snapshot("000003 (1).sqlite")).unwrap();
    let path = made.path.to_str().unwrap();
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&succeed(vaso(As::Me).args(args).arg("--json"))).unwrap()
    };
    let log = json(&["log", path]);
    let third = &log.as_array().unwrap()[2];
    assert_eq!((&third["number"], &third["name"]), (&3.into(), &"000003 (1).sqlite".into()));
    assert_eq!((&third["valid"], &third["current"]), (&true.into(), &true.into()));
    assert_eq!(json(&["diff", path, "2", "3"])["edited"][0]["events"]["removed"], 1);
    let out = made.folder.path().join("out.sqlite");
    let extract = |n: &str| run(vaso(As::Me).args(["extract", path, n, "-o"]).arg(&out));
    assert_eq!(extract("3").status.code(), Some(0));
    assert!(fs::read(&out).unwrap() == good);
    let mount = Mount::new(As::Me, &made.path, &[]);
    assert!(mount.read(".vaso/history/000003/current.sqlite") == good);
    assert!(mount.path(".vaso/history/000003/browse/ExpA/s1/trace.csv").exists());
    // What is not valid is taken out as it is, and that is told.
    fs::remove_file(&out).unwrap();
    fs::write(made.snapshot("000004.sqlite"), b"nothing of the kind").unwrap();
    let output = extract("4");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("000004.sqlite is not valid"));
    assert_eq!(fs::read(&out).unwrap(), b"nothing of the kind");
    assert_eq!(run(vaso(As::Me).args(["diff", path, "3", "4"])).status.code(), Some(1));
}

#[test]
fn only_what_keeps_a_history_can_be_asked_for_a_state() {
    let made = Made::new();
    let legacy = made.folder.path().join("alone.vaso");
    fs::copy(made.snapshot("000002.sqlite"), &legacy).unwrap();
    let package = made.folder.path().join("package.vaso");
    common::Pack::new().write(&package);
    let dir = made.folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let mount = |path: &Path, option: &str| {
        let output = run(vaso(As::Me).args(["mount", "-o", option]).arg(path).arg(&dir));
        if output.status.success() {
            succeed(vaso(As::Me).arg("umount").arg(&dir));
        }
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for path in [&legacy, &package] {
        for option in ["snapshot=1", "at=2026-03-01"] {
            let (code, said) = mount(path, option);
            assert_eq!(code, Some(1), "{path:?} {option}: {said}");
            assert!(said.contains("keeps no history"), "{said}");
        }
    }
    for option in ["snapshot=2,at=2026-03-01", "at=2026-02-30", "at=2026-03-01T24:10Z"] {
        assert_eq!(mount(&made.path, option).0, Some(64), "{option}");
    }
}

#[test]
fn a_pinned_snapshot_stays_readable_whatever_is_removed() {
    let made = Made::new();
    made.add("000003.sqlite");
    for (i, name) in ["000001.sqlite", "000002.sqlite"].into_iter().enumerate() {
        touch(&made.snapshot(name), &format!("2020-01-0{}T00:00:00Z", i + 1));
    }
    let second = fs::read(made.snapshot("000002.sqlite")).unwrap();
    // Nothing of it has been read yet.
    let mount = Mount::new(As::Me, &made.path, &["-o", "snapshot=2"]);
    let prune = |who: As, more: &[&str]| -> Value {
        let mut command = vaso(who);
        let said = succeed(command.args(["prune", "--keep", "1", "--json"]).args(more).arg(&made.path));
        serde_json::from_str(&said).unwrap()
    };
    let pruned = prune(As::Me, &[]);
    assert_eq!(pruned["removed"], serde_json::json!([1]));
    assert_eq!(pruned["spared"][0]["because"], "a HEAD names it");
    made.head(br#"{"current": "000003.sqlite"}"#);
    let pruned = prune(As::Me, &[]);
    assert_eq!(pruned["spared"][0]["because"], "a program has it open");
    if common::is_root() {
        // Somebody who cannot look at the daemon is told that there are such.
        let pruned = prune(As::User, &["--dry-run"]);
        assert!(pruned["unseen_processes"].as_u64().unwrap() > 0, "{pruned}");
    }
    fs::remove_file(made.snapshot("000002.sqlite")).unwrap();
    assert!(mount.read("current.sqlite") == second);
    assert!(mount.path("browse/ExpA/s1/trace.csv").exists());
    assert!(mount.read("snapshots/000002.sqlite") == second);
}

#[test]
fn a_file_system_that_does_not_answer_keeps_nobody_from_pruning() {
    let made = Made::new();
    touch(&made.snapshot("000001.sqlite"), "2020-01-01T00:00:00Z");
    let mount = Mount::new(As::Me, &made.path, &[]);
    let mut reader = Reader::new(As::Me);
    // Whoever asks for the attributes of this one asks the daemon.
    reader.open("status", &mount.path(".vaso/status.json")).unwrap();
    let signal = |signal: &str| succeed(Command::new("kill").args([signal, &mount.pid.to_string()]));
    signal("-STOP");
    let mut prune = vaso(As::Me)
        .args(["prune", "--keep", "1", "--dry-run"])
        .arg(&made.path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    let ended = loop {
        let ended = prune.try_wait().unwrap();
        if ended.is_some() || since.elapsed() > Duration::from_secs(20) {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    signal("-CONT");
    prune.wait().unwrap();
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[test]
fn a_head_that_names_nothing_is_told() {
    let made = Made::new();
    made.head(br#"{"current": "000009.sqlite"}"#);
    assert_eq!(verified(&made.path), (Some(1), vec!["head-dangling".to_string()]));
    made.head(br#"{"current": "000001.sqlite"}"#);
    assert_eq!(verified(&made.path), (Some(0), vec![]));
}

#[test]
fn folders_that_cannot_be_looked_into_are_told_and_hide_nothing_else() {
    let made = Made::new();
    let deep = vec!["deep"; 20].join("/");
    fs::create_dir_all(made.path.join(&deep)).unwrap();
    fs::write(made.path.join(deep).join("file"), b"x").unwrap();
    let (code, codes) = verified(&made.path);
    assert_eq!((code, codes), (Some(1), vec!["too-deep".to_string()]));
    fs::remove_dir_all(made.path.join("deep")).unwrap();
    if common::is_root() {
        let secret = made.path.join("secret");
        fs::create_dir(&secret).unwrap();
        lock_away(&secret);
        let output = run(vaso(As::User).args(["info", "--json"]).arg(&made.path));
        let info: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(info["current"], "000002.sqlite");
        let found = |code: &str| info["findings"].as_array().unwrap().iter().any(|f| f["code"] == code);
        assert!(found("folder-unreadable"));
        let mount = Mount::new(As::User, &made.path, &[]);
        assert_eq!(
            mount.sh("ls $M"),
            "HEAD.json\nbrowse\ncurrent.sqlite\nproject.meta.json\nsecret\nsnapshots\n"
        );
    }
}

/// Puts a text wherever a project has JSON.
const PLANT: &str = r#"
import sqlite3, sys
path, source = sys.argv[1:]
text = open(source, "rb").read()
db = sqlite3.connect(path)
for key in ("experiments_meta", "experiment_order", "project_tags", "project_ui_state"):
    db.execute("insert or replace into meta values(?, cast(? as text))", (key, text))
first = db.execute("select min(id) from dataset").fetchone()[0]
db.execute("update dataset set extra_json = cast(? as text) where id = ?", (text, first))
db.execute("update event set extra_json = cast(? as text)", (text,))
db.execute("insert into result(dataset_id, kind, version, created_utc, payload_json) "
           "values(?, 'planted', '1', '2026', cast(? as text))", (first, text))
db.commit()
"#;

/// Reads everything that a mount shows, within a minute.
fn walk(mount: &Mount, what: &str) {
    mount.sh(
        "timeout 60 find $M -type f -exec cat {} + >/dev/null; timeout 60 ls -lR $M/.vaso/history >/dev/null",
    );
    assert!(mount.is_alive(), "{what}");
}

#[test]
fn no_json_does_harm_wherever_it_stands() {
    let data = common::data("hostile_json.tar.xz");
    let mut planted = 0;
    for entry in fs::read_dir(data.path().join("json")).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read(&file).unwrap();
        let made = Made::new();
        python(PLANT, &[made.snapshot("000002.sqlite").as_ref(), file.as_ref()]);
        made.head(&text);
        fs::write(made.path.join("project.meta.json"), &text).unwrap();
        let mut info = vaso(As::Me);
        let output = run(info.args(["info", "--json"]).arg(&made.path));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["current"], "000002.sqlite", "{file:?}");
        assert_eq!(told["counts"]["samples"], 2, "{file:?}");
        let mount = Mount::new(As::Me, &made.path, &[]);
        walk(&mount, file.to_str().unwrap());
        assert!(mount.read("current.sqlite") == fs::read(made.snapshot("000002.sqlite")).unwrap());
        assert_eq!(mount.read("HEAD.json"), text);
        // The payload is shown as it is stored, bytes that are no text too.
        let shown = mount.sh("cat \"$(find $M/browse -name planted.json)\" | sha256sum");
        let stored = succeed(Command::new("sha256sum").arg(&file));
        assert_eq!(shown.split(' ').next(), stored.split(' ').next(), "{file:?}");
        mount.unmount();
        for verb in ["verify", "log"] {
            let code = run(vaso(As::Me).arg(verb).arg(&made.path)).status.code();
            assert!(matches!(code, Some(0 | 1)), "{file:?} {verb}: {code:?}");
        }
        planted += 1;
    }
    assert_eq!(planted, 14);
}

/// Grafts the schema of one database onto another, as far as SQLite lets that be done; prints how much of it.
const GRAFT: &str = r#"
import sqlite3, sys
path, source = sys.argv[1:]
statements = [source]
if source.endswith(".sqlite"):
    try:
        statements = [row[0] for row in sqlite3.connect(f"file:{source}?mode=ro", uri=True).execute(
            "select sql from sqlite_schema where sql is not null")]
    except sqlite3.Error:
        statements = []
db = sqlite3.connect(path)
done = 0
for sql in statements[:50]:
    try:
        db.execute(sql)
        done += 1
    except sqlite3.Error:
        pass
db.commit()
print(done)
"#;

/// What a stranger could add to the tables of a project.
const EVIL: [&str; 6] = [
    "alter table event add column evil text generated always as (hex(zeroblob(900000000))) virtual",
    "alter table dataset add column evil text generated always as (hex(zeroblob(900000000))) virtual",
    "alter table trace add column evil real generated always as (abs(t_seconds) * 2) virtual",
    "create index evil on event(hex(label))",
    "create trigger evil after insert on event begin delete from trace; end",
    "create view evil as with recursive r(x) as (select 1 union all select x + 1 from r) select x from r",
];

#[test]
fn no_schema_does_harm_on_a_real_project() {
    let data = common::data("databases.tar.xz");
    let mut sources: Vec<String> = fs::read_dir(data.path().join("databases/hostile"))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_string())
        .filter(|path| path.contains("schema_"))
        .collect();
    sources.extend(EVIL.map(str::to_string));
    let clean = Made::new();
    let mount = Mount::new(As::Me, &clean.path, &[]);
    let trace = mount.read("browse/ExpA/s1/trace.npy");
    mount.unmount();
    let mut grafted = 0;
    for source in sources {
        let made = Made::new();
        let done = python(GRAFT, &[made.snapshot("000002.sqlite").as_ref(), source.as_ref()]);
        if done.trim() == "0" {
            continue;
        }
        grafted += 1;
        let output = run(vaso(As::Me).args(["info", "--json"]).arg(&made.path));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["current"], "000002.sqlite", "{source}");
        assert_eq!(told["counts"]["samples"], 2, "{source}: {told}");
        assert_eq!(told["counts"]["trace_rows"], 150, "{source}");
        let mount = Mount::new(As::Me, &made.path, &[]);
        walk(&mount, &source);
        assert!(mount.read("current.sqlite") == fs::read(made.snapshot("000002.sqlite")).unwrap());
        assert!(mount.read("browse/ExpA/s1/trace.npy") == trace, "{source}");
        mount.unmount();
        for verb in ["verify", "log"] {
            let code = run(vaso(As::Me).arg(verb).arg(&made.path)).status.code();
            assert!(matches!(code, Some(0 | 1)), "{source} {verb}: {code:?}");
        }
    }
    assert!(grafted > 10, "{grafted}");
}

#[test]
fn a_listing_goes_on_past_what_cannot_be_looked_at() {
    let made = Made::new();
    // The trace of the first sample is not in order, so its CSV has no size.
    python(SWAP, &[made.snapshot("000002.sqlite").as_ref()]);
    let output = run(vaso(As::Me).args(["ls", "-lR"]).arg(&made.path));
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{told}");
    let unknown: Vec<&str> = said.lines().filter(|line| line.contains(" ? ")).collect();
    assert!(!unknown.is_empty() && unknown.iter().all(|line| line.ends_with("trace.csv")), "{said}");
    assert!(told.contains("trace.csv"), "{told}");
    // All else is there, what comes after it too.
    for name in ["events.csv", "metadata.json", "snapshots:", "000001.sqlite"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let output = run(vaso(As::Me).args(["ls", "-R", "--json"]).arg(&made.path));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(rows.as_array().unwrap().iter().any(|row| row["size"].is_null()));
}

#[test]
fn log_and_diff_see_every_change() {
    for (sql, table) in [
        ("update trace set outer_diam = 7 where t_seconds = (select max(t_seconds) from trace)", "trace"),
        ("update event set deleted_utc = '2026-01-01' where id = (select min(id) from event)", "event"),
        ("insert into event(dataset_id, t_seconds, label) values(777, 1, 'stray')", "event"),
        ("create table unknown(x); insert into unknown values(1)", "unknown"),
    ] {
        let made = Made::new();
        made.add("000003.sqlite");
        succeed(Command::new("sqlite3").arg(made.snapshot("000003.sqlite")).arg(sql));
        let json = |verb: &str| -> Value {
            serde_json::from_str(&succeed(vaso(As::Me).args([verb, "--json"]).arg(&made.path))).unwrap()
        };
        let log = json("log");
        let changed: Vec<String> = log[2]["changed"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(changed, [table], "{sql}");
        let said = succeed(vaso(As::Me).arg("diff").arg(&made.path));
        assert!(!said.contains("nothing has changed"), "{sql}: {said}");
    }
    // What came with a sample is told with it.
    let made = Made::new();
    let diff = succeed(vaso(As::Me).args(["diff", "--json"]).arg(&made.path).args(["1", "2"]));
    let diff: Value = serde_json::from_str(&diff).unwrap();
    let added = diff["added"].as_array().unwrap();
    let rows: u64 = added.iter().map(|sample| sample["trace_rows"].as_u64().unwrap()).sum();
    let events: u64 = added.iter().map(|sample| sample["events"].as_u64().unwrap()).sum();
    assert_eq!((rows, events), (150, 4));
}

/// The checksums of the ZIP file prove what is shown of it, also where that is derived.
#[test]
fn a_container_whose_time_has_moved_is_no_other_one() {
    for pinned in [false, true] {
        let made = Made::new();
        let database = fs::read(made.snapshot("000002.sqlite")).unwrap();
        let mut pack = common::Pack::new();
        pack.stored("bundle/HEAD.json", br#"{"current": "000002.sqlite"}"#);
        let older = fs::read(made.snapshot("000001.sqlite")).unwrap();
        pack.deflated("bundle/snapshots/000001.sqlite", &older);
        pack.stored("bundle/snapshots/000002.sqlite", &database);
        let path = made.folder.path().join("Study.vaso");
        fs::write(&path, pack.bytes()).unwrap();
        let pin: &[&str] = if pinned { &["-o", "snapshot=2"] } else { &[] };
        let mount = Mount::new(As::Me, &path, pin);
        let mut reader = Reader::new(As::Me);
        let names = ["current.sqlite", "snapshots/000001.sqlite", "snapshots/000002.sqlite", "HEAD.json"];
        let before = names.map(|name| {
            reader.open(name, &mount.path(name)).unwrap();
            reader.pread(name, 0, 1 << 30).unwrap()
        });
        assert!(before[0] == database);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for round in 0..3 {
            match round {
                0 => file.set_len(file.metadata().unwrap().len()).unwrap(),
                1 => file.set_modified(std::time::SystemTime::now()).unwrap(),
                // A view that is pinned is what a backup reads while the application saves.
                _ => {
                    let script =
                        "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'a').writestr('more', b'x')";
                    succeed(Command::new("/usr/bin/python3").args(["-c", script]).arg(&path));
                }
            }
            drop_caches();
            for (name, before) in names.iter().zip(&before) {
                assert!(reader.pread(name, 0, 1 << 30).as_ref() == Ok(before), "{pinned} {name} {round}");
                assert!(reader.whole(&mount.path(name)).as_ref() == Ok(before), "{pinned} {name} {round}");
            }
        }
        // The same size and directory once more, and this time a byte is another, of which SQLite has nothing to say.
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|part| part == b"ExpA").unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[bytes[at] ^ 1], at as u64).unwrap();
        for name in names {
            eventually("an old handle fails", || {
                drop_caches();
                reader.pread(name, 0, 1 << 30).is_err()
            });
        }
        // Whoever opens it now is not given that byte either, and the newest that is right is current, if it may be.
        assert!(reader.whole(&mount.path("snapshots/000002.sqlite")).is_err());
        let current = reader.whole(&mount.path("current.sqlite"));
        assert!(if pinned { current.is_err() } else { current == Ok(older) });
    }
}

/// One flipped bit makes another number of it, which is that of an older state.
#[test]
fn a_head_that_has_not_its_checksum_chooses_nothing() {
    let made = Made::new();
    let mut pack = common::Pack::new();
    pack.stored("bundle/HEAD.json", br#"{"current": "000002.sqlite"}"#);
    pack.stored("bundle/project.meta.json", br#"{"format": "vasopack", "title": "A study"}"#);
    for name in ["000001.sqlite", "000002.sqlite"] {
        pack.stored(&format!("bundle/snapshots/{name}"), &fs::read(made.snapshot(name)).unwrap());
    }
    let mut bytes = pack.bytes();
    let mut turn = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
        let path = made.folder.path().join("Study.vaso");
        fs::write(&path, &bytes).unwrap();
        Made { folder: folder(), path }
    };
    let turned = turn(b"000002.sqlite\"}", b"000001.sqlite\"}");
    let (current, because) = turned.current();
    assert_eq!(current, "000002.sqlite", "{because}");
    assert!(because.contains("of HEAD.json, it cannot be read"), "{because}");
    let (code, codes) = verified(&turned.path);
    assert!(code == Some(1) && codes.iter().any(|code| code == "head-unreadable"), "{codes:?}");
    let turned = turn(b"A study", b"A stuey");
    assert!(verified(&turned.path).1.iter().any(|code| code == "meta-unreadable"));
}

#[test]
fn a_snapshot_that_has_not_its_checksum_is_not_taken_out_of_a_container() {
    let made = Made::new();
    let database = fs::read(made.snapshot("000002.sqlite")).unwrap();
    for (n, stored) in [true, false].into_iter().enumerate() {
        let mut pack = common::Pack::new();
        pack.stored("bundle/HEAD.json", br#"{"current": "000002.sqlite"}"#);
        match stored {
            true => pack.stored("bundle/snapshots/000002.sqlite", &database),
            false => pack.deflated("bundle/snapshots/000002.sqlite", &database),
        };
        let mut bytes = pack.bytes();
        let path = made.folder.path().join(format!("{n}.vaso"));
        let out = made.folder.path().join(format!("{n}.sqlite"));
        let extract = || run(vaso(As::Me).arg("extract").arg(&path).arg("2").arg("-o").arg(&out));
        fs::write(&path, &bytes).unwrap();
        assert_eq!(extract().status.code(), Some(0));
        assert!(fs::read(&out).unwrap() == database);
        fs::remove_file(&out).unwrap();
        // A value that SQLite has nothing to say about; of a packed one, what the directory says of its sum.
        let at = match stored {
            true => bytes.windows(4).position(|part| part == b"ExpA").unwrap(),
            false => bytes.windows(4).rposition(|part| part == b"PK\x01\x02").unwrap() + 16,
        };
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let output = extract();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("checksum"), "{output:?}");
        assert!(!out.exists());
    }
}
