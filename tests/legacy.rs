//! Legacy projects, mounted: databases of every layout, and databases with what a crash has left beside them.
//!
//! What is expected comes from the records of the collection, or from Python and the real SQLite
//! (`support/make_legacy.py`), which make the projects and know what is in them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{As, Mount, data, everybody, folder, run, succeed, vaso};
use serde_json::Value;
use tempfile::TempDir;

const PYTHON: &str = "/usr/bin/python3";

/// The helpers in Python, where an ordinary user can read them.
struct Support(TempDir);

impl Support {
    fn new() -> Support {
        let copies = folder();
        for name in ["check_project.py", "make_legacy.py"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name);
            fs::copy(from, copies.path().join(name)).unwrap();
        }
        Support(copies)
    }

    fn made(&self, what: &str) -> TempDir {
        let made = folder();
        succeed(Command::new(PYTHON).arg(self.0.path().join("make_legacy.py")).arg(what).arg(made.path()));
        made
    }

    /// What `make_legacy.py` says of a file or a mount; `None` where SQLite refuses it.
    fn told(&self, who: As, what: &str, path: &Path) -> Option<Value> {
        let script = self.0.path().join("make_legacy.py");
        let output = run(common::command(who, PYTHON).arg(script).arg(what).arg(path));
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Mounts a project for everybody, and compares all that is shown with its truth.
    fn check(&self, project: &Path, truth: &Path) {
        for who in everybody() {
            let mount = Mount::new(who, project, &[]);
            let mut check = common::command(who, PYTHON);
            let output = run(check.arg(self.0.path().join("check_project.py")).arg(&mount.dir).arg(truth));
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            assert!(output.status.success(), "{project:?} {who:?}: {said:?}");
        }
    }
}

/// A copy that every user can read.
fn copy(from: &Path, to: &Path) {
    fs::write(to, fs::read(from).unwrap()).unwrap();
}

#[test]
fn projects_of_the_collection_show_what_they_are_known_to_hold() {
    let support = Support::new();
    let (data, salvage) = (data("databases.tar.xz"), data("salvage.tar.xz"));
    let at = |name: &str| data.path().join("databases").join(name);
    let work = folder();
    let project = |name: &str| work.path().join(name);
    copy(&at("v1.vaso"), &project("v1.vaso"));
    copy(&at("v3a.vaso"), &project("v3a.vaso"));
    copy(&salvage.path().join("salvage/v5.db"), &project("v5.vaso"));
    copy(&at("v7.vaso"), &project("v7.vaso"));
    for name in ["v1", "v3a", "v5", "v7"] {
        support.check(&project(&format!("{name}.vaso")), &at(&format!("{name}.vaso.json")));
    }
    // The newest sample lies in the log alone.
    copy(&at("v7.vaso"), &project("log.vaso"));
    copy(&at("wal_leftover.vaso-wal"), &project("log.vaso-wal"));
    let truth: Value = serde_json::from_slice(&fs::read(at("wal_leftover.vaso.json")).unwrap()).unwrap();
    let with_log = serde_json::json!({ "content": truth["content_with_wal"] });
    fs::write(project("log.json"), with_log.to_string()).unwrap();
    support.check(&project("log.vaso"), &project("log.json"));
}

#[test]
fn layouts_that_no_collection_has_show_their_samples_traces_and_events() {
    let support = Support::new();
    let made = support.made("layouts");
    let mut names: Vec<String> = fs::read_dir(made.path())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".vaso").map(str::to_string)
        })
        .collect();
    names.sort();
    assert_eq!(names, ["v2", "v3b", "v3c", "v4", "v6"]);
    for name in names {
        let path = |suffix: &str| made.path().join(format!("{name}.{suffix}"));
        support.check(&path("vaso"), &path("json"));
    }
}

/// The codes of what `vaso info` finds.
fn codes(path: &Path) -> Vec<String> {
    let info: Value =
        serde_json::from_slice(&run(vaso(As::Me).args(["info", "--json"]).arg(path)).stdout).unwrap();
    let findings = info["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap().to_string()).collect()
}

#[test]
fn what_a_crash_has_left_is_shown_as_sqlite_would_and_stays_as_it_is() {
    let support = Support::new();
    let made = support.made("hot");
    let bytes = || -> Vec<(PathBuf, Vec<u8>)> {
        let mut paths: Vec<PathBuf> = fs::read_dir(made.path()).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = bytes();
    let mut seen = Vec::new();
    for (name, code) in [
        ("hot", None),
        ("there", None),
        ("gone", Some("journal-committed")),
        ("log", None),
        ("moved", Some("super-journal-moved")),
    ] {
        let path = made.path().join(format!("{name}.vaso"));
        let found = codes(&path);
        let of_journals = found.iter().find(|code| code.contains("journal")).map(String::as_str);
        assert_eq!(of_journals, code, "{name}: {found:?}");
        for who in everybody() {
            let mount = Mount::new(who, &path, &[]);
            seen.push((name, support.told(who, "seen", &mount.dir), mount.read("current.sqlite")));
        }
    }
    assert_eq!(bytes(), before);
    // Last, for it recovers the files themselves.
    for (name, ours, bytes) in seen {
        let path = made.path().join(format!("{name}.vaso"));
        match name {
            // Half of a transaction, which SQLite finds damaged too: the stored bytes are shown, and it is told.
            "moved" => {
                assert!(bytes == fs::read(&path).unwrap());
                assert_eq!(support.told(As::Me, "real", &path), None);
            }
            _ => {
                let theirs = support.told(As::Me, "real", &path).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(ours, Some(theirs), "{name}");
            }
        }
    }
}

#[test]
fn what_is_said_of_a_log_or_a_journal_is_what_is_in_it() {
    let support = Support::new();
    let made = support.made("hot");
    let at = |name: &str| made.path().join(name);
    let changed = |from: &str, to: &str, at_byte: usize| {
        let mut bytes = fs::read(at(from)).unwrap();
        bytes[at_byte] ^= 0x40;
        fs::write(at(to), bytes).unwrap();
    };
    for name in ["damaged", "headless"] {
        fs::copy(at("log.vaso"), at(&format!("{name}.vaso"))).unwrap();
    }
    changed("log.vaso-wal", "damaged.vaso-wal", 32 + 24 + 500);
    changed("log.vaso-wal", "headless.vaso-wal", 20);
    for name in ["garbled", "cleared"] {
        fs::copy(at("hot.vaso"), at(&format!("{name}.vaso"))).unwrap();
    }
    changed("hot.vaso-journal", "garbled.vaso-journal", 3);
    fs::write(at("cleared.vaso-journal"), vec![0; 5000]).unwrap();
    let shown = "the newest changes may lie in it, and are shown";
    let damaged = "not all of them are shown: it is damaged";
    let hot = "what is in the journal is older, and is shown in place of that";
    for (name, words) in [
        ("log", shown),
        ("damaged", damaged),
        ("headless", damaged),
        ("hot", hot),
        ("there", hot),
        ("gone", "a change that was finished"),
        ("moved", "a change that was finished, as far as can be told"),
        ("cleared", "a change that was finished"),
        ("garbled", "cannot be read"),
    ] {
        let path = at(&format!("{name}.vaso"));
        for verb in ["info", "verify"] {
            let report: Value =
                serde_json::from_slice(&run(vaso(As::Me).args([verb, "--json"]).arg(&path)).stdout).unwrap();
            let findings = report["findings"].as_array().unwrap();
            let told: Vec<&str> = findings
                .iter()
                .filter(|f| f["code"] == "log")
                .map(|f| f["message"].as_str().unwrap())
                .collect();
            assert!(told.len() == 1 && told[0].contains(words), "{name}: {told:?}");
            assert_eq!(told[0].contains("newest"), words == shown || words == damaged, "{told:?}");
            assert_eq!(findings.iter().any(|f| f["code"] == "log-damaged"), words == damaged, "{name}");
        }
    }
    let said = succeed(vaso(As::Me).arg("recover").arg(at("hot.vaso")));
    assert!(said.contains("hot.vaso-journal: keep the two files together"), "{said}");
    assert!(said.contains("what was before is put back") && !said.contains("newest"), "{said}");
    let said = succeed(vaso(As::Me).arg("recover").arg(at("gone.vaso")));
    assert!(!said.contains("journal"), "{said}");
}

/// Packs the entries of a ZIP file, or a file, anew and deflated, without one of them.
const PACK: &str = "
import sys, zipfile
source, to, without = sys.argv[1:]
packed = zipfile.ZipFile(to, 'w', zipfile.ZIP_DEFLATED)
if zipfile.is_zipfile(source):
    old = zipfile.ZipFile(source)
    for entry in old.infolist():
        if entry.filename != without:
            packed.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)
else:
    packed.write(source, 'project.vaso')
packed.close()
";

#[test]
fn what_lies_in_a_zip_file_is_shown_the_same_packed_or_not_and_without_a_head() {
    let support = Support::new();
    let (databases, packages) = (data("databases.tar.xz"), data("packages.tar.xz"));
    let work = folder();
    let pack = |from: &Path, name: &str, without: &str| {
        let to = work.path().join(name);
        succeed(Command::new(PYTHON).args(["-c", PACK]).arg(from).arg(&to).arg(without));
        to
    };
    let kind = |path: &Path| {
        let info = succeed(vaso(As::Me).args(["info", "--json"]).arg(path));
        let info: Value = serde_json::from_str(&info).unwrap();
        ["kind", "current", "chosen_because"].map(|key| info[key].as_str().unwrap_or_default().to_string())
    };
    let v7 = databases.path().join("databases/v7.vaso");
    let share = pack(&v7, "share.vasopack", "");
    assert_eq!(kind(&share)[0], "share-zip");
    support.check(&share, &v7.with_extension("vaso.json"));
    let basic = packages.path().join("container/basic.vaso");
    let truth = packages.path().join("truth/container__basic.vaso.json");
    let deflated = pack(&basic, "deflated.vaso", "");
    assert_eq!(kind(&deflated)[0], "container");
    support.check(&deflated, &truth);
    let headless = kind(&pack(&basic, "headless.vaso", "bundle/HEAD.json"));
    assert_eq!(headless[..2], kind(&basic)[..2]);
    assert!(headless[2].contains("HEAD.json is missing"), "{headless:?}");
}

/// Packs a file as a shared project, and other names beside it; the one that is said to be empty is.
const SHARE: &str = "
import sys, zipfile
source, to, *beside = sys.argv[1:]
packed = zipfile.ZipFile(to, 'w')
for name in beside[1:]:
    packed.writestr(name, 'x')
packed.write(source, 'project.vaso')
packed.writestr(beside[0].removesuffix(' (empty)'), '' if beside[0].endswith(' (empty)') else 'x')
packed.close()
";

#[test]
fn what_lies_beside_a_shared_database_does_not_hide_it() {
    let databases = data("databases.tar.xz");
    let v7 = databases.path().join("databases/v7.vaso");
    let work = folder();
    let share = work.path().join("share.vaso");
    for (beside, shown) in [
        (&["README.txt"][..], "README.txt\nbrowse\ncurrent.sqlite\nproject.vaso\n"),
        (&["project.vaso-wal (empty)"], "browse\ncurrent.sqlite\nproject.vaso\nproject.vaso-wal\n"),
        (
            &["__MACOSX/._project.vaso", ".DS_Store", "._project.vaso"],
            "browse\ncurrent.sqlite\nproject.vaso\n",
        ),
    ] {
        succeed(Command::new(PYTHON).args(["-c", SHARE]).arg(&v7).arg(&share).args(beside));
        assert_eq!(succeed(vaso(As::Me).arg("ls").arg(&share)), shown);
        assert!(succeed(vaso(As::Me).arg("verify").arg(&share)).contains("clean"));
        let stored = run(vaso(As::Me).arg("cat").arg(&share).arg("project.vaso"));
        assert!(stored.stdout == fs::read(&v7).unwrap(), "{beside:?}");
    }
    // With snapshots beside it nobody can tell which is meant, and with a log it would be another database.
    for beside in ["snapshots/000001.sqlite", "project.vaso-wal", "project.vaso-journal"] {
        succeed(Command::new(PYTHON).args(["-c", SHARE]).arg(&v7).arg(&share).arg(beside));
        assert_eq!(run(vaso(As::Me).arg("info").arg(&share)).status.code(), Some(2), "{beside}");
    }
}

/// Makes `log.vaso` with a log that has the newest first page, and clears the first page of the database; and
/// `plain.vaso`, the same without a log.
const HEADLESS: &str = r#"
import shutil, sqlite3, sys
base, out = sys.argv[1:]
shutil.copyfile(base, out + "/work.db")
db = sqlite3.connect(out + "/work.db")
db.execute("pragma journal_mode=wal")
db.execute("create table later(x)")
db.execute("insert into meta values('later', 'in the log')")
db.commit()
for name in ("log.vaso", "plain.vaso"):
    shutil.copyfile(out + "/work.db", out + "/" + name)
shutil.copyfile(out + "/work.db-wal", out + "/log.vaso-wal")
db.close()
for name in ("log.vaso", "plain.vaso"):
    with open(out + "/" + name, "r+b") as f:
        f.write(bytes(4096))
"#;

#[test]
fn a_first_page_that_is_gone_is_taken_from_the_log_or_recovery_is_named() {
    let databases = data("databases.tar.xz");
    let work = folder();
    let base = databases.path().join("databases/v7.vaso");
    succeed(Command::new(PYTHON).args(["-c", HEADLESS]).arg(&base).arg(work.path()));
    let (log, plain) = (work.path().join("log.vaso"), work.path().join("plain.vaso"));
    for who in everybody() {
        let mount = Mount::new(who, &log, &[]);
        let shown = String::from_utf8(mount.read("browse/project.json")).unwrap();
        assert!(shown.contains("in the log"), "{shown}");
    }
    assert!(codes(&log).contains(&"first-page-damaged".to_string()));
    let output = run(vaso(As::Me).arg("info").arg(&plain));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("vaso recover"));
    // The log says nothing of a page that was not written after it was begun.
    fs::write(work.path().join("plain.vaso-wal"), b"no log").unwrap();
    let output = run(vaso(As::Me).arg("info").arg(&plain));
    assert!(String::from_utf8_lossy(&output.stderr).contains("vaso recover"));
}

#[test]
fn damage_in_a_single_database_is_told_once() {
    let databases = data("databases.tar.xz");
    let work = folder();
    let path = work.path().join("flipped.vaso");
    let mut bytes = fs::read(databases.path().join("databases/v7.vaso")).unwrap();
    let last = bytes.len() - 4096;
    bytes[last] = 0xee;
    fs::write(&path, &bytes).unwrap();
    for verb in ["info", "verify"] {
        let output = run(vaso(As::Me).args([verb, "--json"]).arg(&path));
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let of_damage: Vec<_> = findings.iter().filter(|f| f["severity"] == "error").collect();
        assert_eq!(of_damage.len(), 1, "{verb}: {findings:?}");
        assert_eq!(of_damage[0]["code"], "database-damaged");
        let message = of_damage[0]["message"].as_str().unwrap();
        assert!(!message.contains("flipped.vaso") && !message.contains("older snapshot"), "{message}");
    }
    // Cut off: still one sentence, which does not say the name twice.
    fs::write(&path, &bytes[..40_960]).unwrap();
    let output = run(vaso(As::Me).args(["verify", "--json"]).arg(&path));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors = report["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "error").count();
    assert_eq!((output.status.code(), errors), (Some(1), 1), "{report}");
}
