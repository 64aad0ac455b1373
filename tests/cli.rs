//! The command line as scripts use it: exit codes, what is printed where, and what is left behind.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use common::{As, Pack, everybody, folder, noise, recording, run, succeed, vaso};
use serde_json::Value;
use tempfile::TempDir;
use zip::ZipArchive;

/// When every entry of the packages made here was written.
const WRITTEN: &str = "2026-03-01T12:34:56Z";

/// A folder with a good package, a damaged one, and what is none.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene { folder: folder() };
        study().write(&scene.path("good.vaso"));
        study().write(&scene.path("damaged.vaso"));
        spoil(&scene.path("damaged.vaso"), "data/noise.bin");
        fs::write(scene.path("text.vaso"), "This is a text, and no package at all.\n").unwrap();
        fs::write(scene.path("other.vaso"), stranger()).unwrap();
        fs::create_dir(scene.path("folder.vaso")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = vaso(As::Me);
        command.args(args).current_dir(self.folder.path());
        command
    }

    fn vaso(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    /// Runs it to a good end in which it has nothing to say, and gives what it printed.
    #[track_caller]
    fn good(&self, args: &[&str]) -> Vec<u8> {
        let output = self.vaso(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
        output.stdout
    }
}

fn study() -> Pack {
    let mut pack = Pack::new();
    pack.deflated("data/recording.csv", &recording(1, 300_000))
        // Noise is packed as it is, so that a wrong byte in it spoils the checksum and not the stream.
        .deflated("data/noise.bin", &noise(2, 200_000))
        .stored("data/deep/raw.bin", &noise(3, 1000))
        .deflated("notes.txt", b"hello\n")
        .stored("odd\x1b[31m\x07.txt", b"red\n");
    pack
}

/// A ZIP file as any program makes one.
fn stranger() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("photo.txt", zip::write::SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap().into_inner()
}

/// Makes a byte in the middle of an entry's packed bytes another one.
fn spoil(path: &Path, entry: &str) {
    let mut archive = archive(path);
    let entry = archive.by_name(entry).unwrap();
    let at = entry.data_start().unwrap() + entry.compressed_size() / 2;
    drop(entry);
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn archive(path: &Path) -> ZipArchive<File> {
    ZipArchive::new(File::open(path).unwrap()).unwrap()
}

/// What is below a folder: bytes and time of each file, by its path.
fn below(top: &Path) -> BTreeMap<String, (Vec<u8>, String)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![top.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let time = succeed(Command::new("date").args(["-u", "+%FT%TZ", "-r"]).arg(&path));
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_string();
            found.insert(name, (fs::read(&path).unwrap(), time.trim_end().to_string()));
        }
    }
    found
}

/// The same of a package, by another reader of ZIP files.
fn stored(package: &Path) -> BTreeMap<String, (Vec<u8>, String)> {
    let mut archive = archive(package);
    let mut found = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).unwrap();
        let t = entry.last_modified().unwrap();
        let (date, time) = ((t.year(), t.month(), t.day()), (t.hour(), t.minute(), t.second()));
        let date = format!("{:04}-{:02}-{:02}", date.0, date.1, date.2);
        let time = format!("{date}T{:02}:{:02}:{:02}Z", time.0, time.1, time.2);
        found.insert(entry.name().unwrap().into_owned(), (bytes, time));
    }
    found
}

#[test]
fn exit_codes_say_how_it_ended() {
    let scene = Scene::new();
    let sources = ["good.vaso", "damaged.vaso", "other.vaso", "text.vaso", "missing.vaso", "folder.vaso"];
    for (i, source) in sources.into_iter().enumerate() {
        let (copy, copy_all) = (format!("copy-{i}"), format!("all-{i}"));
        for (args, when_good, when_damaged) in [
            (vec!["info", source], 0, 0),
            (vec!["verify", source], 0, 1),
            (vec!["ls", source], 0, 0),
            (vec!["ls", source, "nothing"], 1, 1),
            (vec!["cat", source, "notes.txt"], 0, 0),
            (vec!["cat", source, "data/noise.bin"], 0, 1),
            (vec!["cp", source, "data/noise.bin", &copy], 0, 1),
            (vec!["cp", source, ".", &copy_all], 0, 1),
        ] {
            let code = match source {
                "good.vaso" => when_good,
                "damaged.vaso" => when_damaged,
                _ => 2,
            };
            let output = scene.vaso(&args);
            assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
            assert!(code != 2 || output.stdout.is_empty(), "{args:?}");
        }
    }
}

#[test]
fn wrong_usage_is_64_and_prints_nothing_on_standard_output() {
    let scene = Scene::new();
    for args in [
        &[][..],
        &["frobnicate"],
        &["info"],
        &["verify", "--fast", "good.vaso"],
        &["ls", "good.vaso", "data", "more"],
        &["cat", "good.vaso"],
        &["cp", "good.vaso", "notes.txt"],
        &["mount", "good.vaso"],
        &["mount", "-o", "uid=me", "good.vaso", "folder.vaso"],
        &["umount"],
    ] {
        let output = scene.vaso(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let scene = Scene::new();
    let version = String::from_utf8(scene.good(&["--version"])).unwrap();
    assert_eq!(version, format!("vaso {}\n", env!("CARGO_PKG_VERSION")));
    assert!(String::from_utf8(scene.good(&["--help"])).unwrap().contains("vaso demo"));
    for verb in ["mount", "umount", "ls", "cat", "cp", "info", "verify", "demo"] {
        let help = String::from_utf8(scene.good(&[verb, "--help"])).unwrap();
        assert!(help.contains(&format!("Usage: vaso {verb}")), "{help}");
    }
}

/// What a verb printed under `--json`: one value, and nothing else.
#[track_caller]
fn json(scene: &Scene, args: &[&str]) -> Value {
    let output = scene.vaso(args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"))
}

#[track_caller]
fn has_fields(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "{field} is not in {value}");
    }
}

#[test]
fn json_has_the_documented_fields() {
    let scene = Scene::new();
    let info = json(&scene, &["info", "--json", "good.vaso"]);
    has_fields(
        &info,
        &["source", "kind", "version", "id", "current", "chosen_because", "counts", "findings"],
    );
    assert_eq!((&info["kind"], &info["version"]), (&"package".into(), &"1.0.0".into()));
    assert_eq!(info["counts"]["files"], 7);
    assert_eq!(info["source"], scene.path("good.vaso").to_str().unwrap());

    let clean = json(&scene, &["verify", "--json", "good.vaso"]);
    assert_eq!((&clean["ok"], &clean["findings"]), (&true.into(), &Value::Array(vec![])));
    let verify = json(&scene, &["verify", "--json", "damaged.vaso"]);
    has_fields(&verify, &["source", "kind", "ok", "findings"]);
    assert_eq!((&verify["ok"], verify["findings"].as_array().unwrap().len()), (&false.into(), 1));
    let finding = &verify["findings"][0];
    has_fields(finding, &["severity", "code", "path", "message", "remedy"]);
    assert_eq!((&finding["severity"], &finding["code"]), (&"error".into(), &"crc-mismatch".into()));
    assert_eq!(finding["path"], "data/noise.bin");

    let ls = json(&scene, &["ls", "-R", "--json", "good.vaso"]);
    let rows = ls.as_array().unwrap();
    rows.iter().for_each(|row| has_fields(row, &["path", "kind", "size", "mode", "time"]));
    let row = rows.iter().find(|row| row["path"] == "data/deep/raw.bin").unwrap();
    assert_eq!((&row["kind"], &row["size"], &row["time"]), (&"file".into(), &1000.into(), &WRITTEN.into()));
    assert!(rows.iter().any(|row| row["path"] == "data/deep" && row["kind"] == "directory"));
}

#[test]
fn json_is_not_mixed_with_prose() {
    let scene = Scene::new();
    for args in [&["info", "--json"][..], &["verify", "--json"], &["ls", "-R", "--json"]] {
        for source in ["good.vaso", "damaged.vaso"] {
            assert!(json(&scene, &[args, &["-vv", source]].concat()).get(0).is_some() == (args[0] == "ls"));
        }
        // What cannot be opened has no value to print, and its reason is prose.
        let output = scene.vaso(&[args, &["text.vaso"]].concat());
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"vaso: "), "{output:?}");
    }
}

#[test]
fn a_pipe_that_closes_is_no_error() {
    let folder = folder();
    let source = folder.path().join("many.vaso");
    let mut pack = Pack::new();
    for i in 0..20_000 {
        pack.stored(&format!("entries/of the many, number {i:05}.txt"), b"");
    }
    pack.stored("large.txt", &recording(1, 1_000_000));
    pack.write(&source);
    for line in [
        r#""$V" ls "$S" entries | head -n 1"#,
        r#""$V" ls -lR "$S" | head -n 1"#,
        r#""$V" ls -R --json "$S" | head -n 1"#,
        r#""$V" cat "$S" large.txt large.txt | head -n 1"#,
    ] {
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", line]).env("V", common::program()).env("S", &source);
        let output = run(&mut bash);
        assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
        assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), 1, "{line}");
    }
}

#[test]
fn ls_shows_sizes_and_times_as_stored() {
    let scene = Scene::new();
    let long = String::from_utf8(scene.good(&["ls", "-l", "good.vaso", "data"])).unwrap();
    let mut rows: Vec<Vec<&str>> = long.lines().map(|line| line.split_whitespace().collect()).collect();
    rows.retain(|row| row[0].starts_with('-'));
    assert_eq!(
        rows,
        [["-rw-r--r--", "200000", WRITTEN, "noise.bin"], ["-rw-r--r--", "300000", WRITTEN, "recording.csv"]]
    );
    let one = String::from_utf8(scene.good(&["ls", "-l", "good.vaso", "data/deep/raw.bin"])).unwrap();
    assert_eq!(one.split_whitespace().collect::<Vec<_>>(), ["-rw-r--r--", "1000", WRITTEN, "raw.bin"]);
}

#[test]
fn ls_shows_directories_within_directories() {
    let scene = Scene::new();
    let all = String::from_utf8(scene.good(&["ls", "-R", "good.vaso", "data"])).unwrap();
    assert_eq!(all, "./data:\ndeep\nnoise.bin\nrecording.csv\n\n./data/deep:\nraw.bin\n");
    let flat = String::from_utf8(scene.good(&["ls", "good.vaso", "data"])).unwrap();
    assert_eq!(flat, "deep\nnoise.bin\nrecording.csv\n");
}

#[test]
fn a_pipe_gets_names_as_they_are() {
    let scene = Scene::new();
    let name = b"odd\x1b[31m\x07.txt\n";
    for args in [&["ls", "good.vaso"][..], &["ls", "-l", "good.vaso"]] {
        let listed = scene.good(args);
        assert!(listed.windows(name.len()).any(|w| w == name), "{args:?}");
    }
}

#[test]
fn cat_prints_one_file_after_the_other() {
    let scene = Scene::new();
    let all = scene.good(&["cat", "good.vaso", "notes.txt", "data/noise.bin", "./data/../notes.txt"]);
    assert!(all == [b"hello\n", &noise(2, 200_000)[..], b"hello\n"].concat());
}

#[test]
fn cat_says_why_it_does_not_print() {
    let scene = Scene::new();
    for (path, why) in [("data", "data: is a directory"), ("data/nothing", "data/nothing: no such file")] {
        let output = scene.vaso(&["cat", "good.vaso", path]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty() && said.starts_with(&format!("vaso: {why}")), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn cp_copies_bytes_and_times() {
    let scene = Scene::new();
    let all = stored(&scene.path("good.vaso"));
    scene.good(&["cp", "good.vaso", "data/recording.csv", "one.csv"]);
    scene.good(&["cp", "good.vaso", "data", "tree"]);
    scene.good(&["cp", "good.vaso", ".", "everything"]);
    let one = below(&scene.path("."));
    assert_eq!(one["one.csv"], all["data/recording.csv"]);
    let mut everything = below(&scene.path("everything"));
    // What a mount shows beside the stored: all of that is from 2026-03-01T12:34:56.
    assert_eq!(everything.remove("browse/CACHEDIR.TAG").unwrap().1, "2026-03-01T12:34:58Z");
    assert_eq!(everything.remove("browse/project.json").unwrap().1, "2026-03-01T12:34:56Z");
    assert!(everything == all);
    let part =
        all.iter().filter_map(|(name, what)| Some((name.strip_prefix("data/")?.to_string(), what.clone())));
    assert!(below(&scene.path("tree")) == part.collect());
}

#[test]
fn cp_copies_into_a_directory_that_is_there() {
    let scene = Scene::new();
    let all = stored(&scene.path("good.vaso"));
    fs::create_dir(scene.path("into")).unwrap();
    scene.good(&["cp", "good.vaso", "notes.txt", "into"]);
    scene.good(&["cp", "good.vaso", "data", "into"]);
    scene.good(&["cp", "good.vaso", ".", "into/"]);
    let copied = below(&scene.path("into"));
    assert_eq!(copied["notes.txt"], all["notes.txt"]);
    assert!(copied["data/deep/raw.bin"] == all["data/deep/raw.bin"]);
    assert!(all.iter().all(|(name, what)| copied[&format!("good/{name}")] == *what));
}

#[test]
fn cp_overwrites_nothing() {
    let scene = Scene::new();
    fs::write(scene.path("mine.txt"), "mine").unwrap();
    fs::create_dir(scene.path("into")).unwrap();
    fs::create_dir(scene.path("into/data")).unwrap();
    fs::write(scene.path("into/data/noise.bin"), "mine").unwrap();
    fs::write(scene.path("into/notes.txt"), "mine").unwrap();
    let before = below(scene.folder.path());
    for args in [["notes.txt", "mine.txt"], ["data", "mine.txt"], ["notes.txt", "into"], ["data", "into"]] {
        let output = scene.vaso(&[&["cp", "good.vaso"][..], &args].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("exists"), "{output:?}");
        assert!(below(scene.folder.path()) == before, "{args:?}");
    }
}

#[test]
fn cp_tells_of_a_damaged_file_and_copies_the_rest() {
    let scene = Scene::new();
    let output = scene.vaso(&["cp", "damaged.vaso", ".", "copy"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("data/noise.bin") && said.contains("1 file was not copied"), "{said}");
    let mut rest = stored(&scene.path("good.vaso"));
    rest.remove("data/noise.bin");
    for derived in ["browse/CACHEDIR.TAG", "browse/project.json"].map(String::from) {
        let copy = below(&scene.path("copy"))[&derived].clone();
        rest.insert(derived, copy);
    }
    assert!(below(&scene.path("copy")) == rest);
    let alone = scene.vaso(&["cp", "damaged.vaso", "data/noise.bin", "copy/alone.bin"]);
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
    assert!(below(&scene.path("copy")) == rest);
}

/// Everything that `stat` says of a file that looking could change.
fn stat(path: &Path) -> [(i64, i64); 4] {
    let m = fs::symlink_metadata(path).unwrap();
    [
        (m.mtime(), m.mtime_nsec()),
        (m.atime(), m.atime_nsec()),
        (m.ctime(), m.ctime_nsec()),
        (m.ino() as i64, m.size() as i64),
    ]
}

#[test]
fn looking_changes_nothing() {
    let scene = Scene::new();
    let outside = folder();
    let home = scene.path("folder.vaso");
    let source = home.join("good.vaso");
    fs::rename(scene.path("good.vaso"), &source).unwrap();
    let bytes = fs::read(&source).unwrap();
    let mnt = outside.path().join("mnt");
    fs::create_dir(&mnt).unwrap();
    // An access time that is older than a day is renewed by any access, even where most are not noted.
    let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let old = FileTimes::new().set_modified(at(10_000)).set_accessed(at(10_001));
    for path in [&source, &home] {
        File::open(path).unwrap().set_times(old).unwrap();
    }
    let before = [stat(&source), stat(&home)];
    let verbs: [&[&str]; 8] = [
        &["info"],
        &["info", "--json"],
        &["verify"],
        &["ls", "-lR"],
        &["ls", "-R", "--json"],
        &["cat"],
        &["cp"],
        &["mount"],
    ];
    for verb in verbs {
        let mut command = vaso(As::Me);
        command.args(verb).arg(&source);
        match verb[0] {
            "cat" => command.args(["notes.txt", "data/noise.bin"]),
            "cp" => command.arg(".").arg(outside.path().join("copy")),
            "mount" => command.arg(&mnt),
            _ => &mut command,
        };
        assert!(run(&mut command).status.success(), "{verb:?}");
        if verb[0] == "mount" {
            let seen = below(&mnt).len();
            succeed(vaso(As::Me).arg("umount").arg(&mnt));
            assert_eq!(seen, 9);
        }
        assert_eq!([stat(&source), stat(&home)], before, "{verb:?}");
    }
    assert!(fs::read(&source).unwrap() == bytes);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
}

#[test]
fn a_demo_without_a_terminal_leaves_nothing() {
    for who in everybody() {
        let temp = folder();
        let said = succeed(vaso(who).arg("demo").env("TMPDIR", temp.path()));
        assert!(said.contains("channels.csv") && said.contains("Unmounted."), "{said}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_demo_whose_pipe_closes_is_no_error_and_leaves_nothing() {
    let temp = folder();
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", r#""$V" demo | true"#]);
    let output = run(bash.env("V", common::program()).env("TMPDIR", temp.path()));
    let left: Vec<PathBuf> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().path()).collect();
    for folder in left.iter().filter(|f| common::mounted(&f.join("mnt"))) {
        succeed(vaso(As::Me).arg("umount").arg(folder.join("mnt")));
    }
    assert!(
        output.status.success() && left.is_empty(),
        "{left:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_demo_leaves_the_sample_in_a_folder_that_was_named() {
    for who in everybody() {
        let temp = folder();
        let named = temp.path().join("try it");
        succeed(vaso(who).arg("demo").arg(&named));
        let sample = named.join("Sample.vaso");
        assert!(!common::mounted(&named.join("mnt")));
        succeed(vaso(who).arg("verify").arg(&sample));
        let test = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).testzip())";
        assert_eq!(succeed(Command::new("python3").args(["-c", test]).arg(&sample)), "None\n");
        let again = run(vaso(who).arg("demo").arg(&named));
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        succeed(vaso(who).arg("verify").arg(&sample));
    }
}

#[test]
fn an_error_is_a_sentence_or_two() {
    let scene = Scene::new();
    fs::write(scene.path("cut.vaso"), &fs::read(scene.path("other.vaso")).unwrap()[..50]).unwrap();
    fs::write(scene.path("empty.vaso"), "").unwrap();
    fs::write(scene.path("lite.vaso"), b"SQLite format 3\0and more").unwrap();
    for args in [
        &["info", "missing.vaso"][..],
        &["info", "other.vaso"],
        &["verify", "text.vaso"],
        &["verify", "cut.vaso"],
        &["ls", "empty.vaso"],
        &["ls", "folder.vaso"],
        &["ls", "good.vaso", "nothing"],
        &["cat", "good.vaso", "data"],
        &["cat", "good.vaso", "no\x1b[31mthing\nat all"],
        &["cp", "good.vaso", "notes.txt", "text.vaso"],
        &["cp", "good.vaso", "notes.txt", "no/where"],
        &["mount", "missing.vaso", "folder.vaso"],
        &["mount", "good.vaso", "nowhere"],
        &["mount", "-o", "uid=me", "good.vaso", "folder.vaso"],
        &["umount", "folder.vaso"],
        &["demo", "folder.vaso"],
    ] {
        let output = scene.vaso(args);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!((1..=2).contains(&said.lines().count()), "{args:?}: {said}");
        assert!(said.lines().all(|line| line.starts_with("vaso: ")), "{args:?}: {said}");
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {said:?}");
    }
}

#[test]
fn a_damaged_entry_is_told_in_a_line_or_two() {
    let scene = Scene::new();
    for args in
        [&["cat", "damaged.vaso", "data/noise.bin"][..], &["cp", "damaged.vaso", "data/noise.bin", "copy"]]
    {
        let said = String::from_utf8(scene.vaso(args).stderr).unwrap();
        assert!(said.contains("data/noise.bin") && said.contains("checksum"), "{said}");
        assert!(said.lines().all(|line| line.starts_with("vaso: ")), "{said}");
    }
}

#[test]
fn links_inside_a_project_are_followed_as_on_a_mount() {
    let scene = Scene::new();
    let mut pack = Pack::new();
    pack.stored("d/x", b"x").stored("d/e/y", b"y").link("lnk", "d/x").link("dir", "d/e").link("d/e/up", "..");
    pack.link("first", "lnk").link("a", "b").link("b", "a").link("gone", "d/nothing");
    pack.link("tag", "browse/CACHEDIR.TAG");
    for i in 0..50 {
        pack.link(&format!("c{i}"), &format!("c{}", i + 1));
    }
    pack.stored("c50", b"the end");
    pack.write(&scene.path("links.vaso"));
    let mount = common::Mount::new(As::Me, &scene.path("links.vaso"), &[]);
    for path in ["lnk", "first", "dir/y", "dir/up/x", "dir/../x", "d/e/up/e/up/x", "tag", "c11", "dir/./y"] {
        let expected = fs::read(mount.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(scene.good(&["cat", "links.vaso", path]), expected, "{path}");
    }
    for (path, errno) in [("a", 40), ("c9", 40), ("gone", 2), ("dir", 21), ("lnk/z", 20)] {
        let refused = fs::read(mount.path(path)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(errno), "{path}");
        let output = scene.vaso(&["cat", "links.vaso", path]);
        assert_eq!(output.status.code(), Some(1), "{path}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{path}");
    }
    assert_eq!(scene.good(&["ls", "links.vaso", "dir/y"]), b"y\n");
    assert_eq!(scene.good(&["ls", "links.vaso", "dir/up"]), b"up\n");
    assert_eq!(scene.good(&["ls", "links.vaso", "dir/up/"]), b"e\nx\n");
    assert_eq!(scene.good(&["ls", "links.vaso", "dir/up/e"]), b"up\ny\n");
    scene.good(&["cp", "links.vaso", "dir/up/x", "x"]);
    assert_eq!(fs::read(scene.path("x")).unwrap(), b"x");
    // A link itself is copied as one.
    scene.good(&["cp", "links.vaso", "lnk", "copied"]);
    assert_eq!(fs::read_link(scene.path("copied")).unwrap(), Path::new("d/x"));
}

#[test]
fn a_link_that_leaves_a_bundle_is_not_followed() {
    let scene = Scene::new();
    let data = common::data("bundles.tar.xz");
    let list = succeed(Command::new("find").arg(data.path()).args(["-name", "*.vasopack", "-type", "d"]));
    let bundle = PathBuf::from(list.lines().next().expect("there are bundles"));
    fs::write(scene.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(scene.path("secret"), bundle.join("whole")).unwrap();
    std::os::unix::fs::symlink("../../../../etc/hostname", bundle.join("up")).unwrap();
    std::os::unix::fs::symlink("project.meta.json", bundle.join("inside")).unwrap();
    let bundle = bundle.to_str().unwrap();
    for link in ["whole", "up"] {
        let output = scene.vaso(&["cat", bundle, link]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{said}");
        assert!(said.contains("out of the project"), "{said}");
    }
    assert_eq!(scene.good(&["cat", bundle, "inside"]), scene.good(&["cat", bundle, "project.meta.json"]));
}

#[test]
fn a_mount_of_another_user_is_refused_and_explained() {
    if !common::is_root() {
        eprintln!("not run: only root can be two users");
        return;
    }
    let scene = Scene::new();
    let mount = common::Mount::new(As::Me, &scene.path("good.vaso"), &[]);
    for more in [&[][..], &["--lazy"]] {
        let output = run(vaso(As::User).arg("umount").args(more).arg(&mount.dir));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("whoever has mounted it"), "{said}");
    }
    assert!(mount.is_alive());
    mount.unmount();
}

#[test]
fn cp_keeps_the_permissions_of_directories_as_those_of_files() {
    let scene = Scene::new();
    let mut zip = zip::ZipWriter::new(File::create(scene.path("modes.vaso")).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("manifest.json", options).unwrap();
    std::io::Write::write_all(&mut zip, common::MANIFEST.as_bytes()).unwrap();
    for (folder, mode) in [("private", 0o700), ("private/closed", 0o500), ("group", 0o750), ("open", 0o777)] {
        zip.add_directory(folder, options.unix_permissions(mode)).unwrap();
        zip.start_file(format!("{folder}/x"), options.unix_permissions(0o600)).unwrap();
    }
    zip.start_file("plain/x", options).unwrap();
    zip.finish().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    for who in everybody() {
        let copy = scene.path(&format!("{who:?}"));
        succeed(vaso(who).arg("cp").arg(scene.path("modes.vaso")).arg(".").arg(&copy));
        for (folder, expected) in [
            ("private", 0o700),
            ("private/closed", 0o700),
            ("group", 0o750),
            ("open", 0o777),
            ("plain", 0o755),
        ] {
            assert_eq!(mode(&copy.join(folder)), expected, "{folder}");
            assert_eq!(mode(&copy.join(folder).join("x")), if folder == "plain" { 0o644 } else { 0o600 });
        }
        assert_eq!(mode(&copy), 0o755);
    }
}
