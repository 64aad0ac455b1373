//! What backup programs make of a mount: the real ones, on real mounts.
//!
//! Each tool backs up a mount, then the same project again after something that must not matter: a remount, a
//! lost cache, another copy of the package, another place. What it saves again is compared with what has
//! changed, which is nothing. Then the same with a project in which one file has changed.
//!
//! | tool | told by | second run |
//! |---|---|---|
//! | restic | its summary, and every item that is not `unchanged` | no file and no directory |
//! | borg | every item with the status added, modified, changed or failed | at most [`TAG`] |
//! | rsync | `-aHAXn --itemize-changes --delete` against the first run's copy | nothing |
//! | tar | what `--listed-incremental --no-check-device` archives | directories only: it always does |
//!
//! Borg reads again whatever bears the newest time of all that it has seen, since that may still have been
//! written to. [`TAG`] is newer than any file of the project, so that it is never one of them.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use common::{As, MANIFEST, Mount, command, is_root, noise, recording, run, succeed};
use serde_json::Value;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// The one file of a mount that is not the project's.
const TAG: &str = "browse/CACHEDIR.TAG";
/// The file that changes where one does. Where it gets longer, half of the project lies elsewhere than before, and
/// is the same all the same.
const CHANGED: &str = "datasets/d07/f02.csv";

/// A file of a package that an application has written, from `tests/data/packages.tar.xz`: 1,817 entries.
const CORPUS: &str = "pkg/many_200.vaso";
/// Another, of 54 entries, which all bear the same time.
const ONE_TIME: &str = "pkg/packed_dups.vaso";

/// Restic compares device numbers, which every mount takes from the same supply: its tests run alone here.
static NUMBERS: RwLock<()> = RwLock::new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Restic,
    Borg,
    Rsync,
    Tar,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Restic => "restic",
            Tool::Borg => "borg",
            Tool::Rsync => "rsync",
            Tool::Tar => "tar",
        }
    }
}

/// What a run of a tool has taken for new or changed, as paths in the project.
#[derive(Debug, Default)]
struct Seen {
    /// Files and links.
    files: BTreeSet<String>,
    /// Directories; only for the tools that compare them.
    dirs: BTreeSet<String>,
    /// Restic's name for what it has saved.
    snapshot: String,
}

/// How long a tool's test has the supply of device numbers.
#[allow(dead_code, reason = "held, not used")]
enum Turn {
    Alone(RwLockWriteGuard<'static, ()>),
    Together(RwLockReadGuard<'static, ()>),
}

/// A folder with a package, a place to mount it, and all that a tool keeps.
struct Scene {
    tool: Tool,
    who: As,
    package: PathBuf,
    /// The device number of the first mount.
    device: Option<u64>,
    folder: TempDir,
    _turn: Turn,
}

impl Scene {
    fn new(tool: Tool, who: As, package: &[u8]) -> Scene {
        let found = run(Command::new("sh").args(["-c", "command -v \"$1\"", "sh", tool.name()]));
        assert!(found.status.success(), "{} is not installed; scripts/test installs it", tool.name());
        let turn = match tool {
            Tool::Restic => Turn::Alone(NUMBERS.write().unwrap_or_else(PoisonError::into_inner)),
            _ => Turn::Together(NUMBERS.read().unwrap_or_else(PoisonError::into_inner)),
        };
        let folder = common::folder();
        let package_path = folder.path().join("Study.vaso");
        let scene = Scene { tool, who, package: package_path, device: None, folder, _turn: turn };
        fs::write(&scene.package, package).unwrap();
        // A copy made later has another time, whatever the resolution of the clock.
        age(&scene.package);
        for name in ["mnt", "other", "kept"] {
            fs::create_dir(scene.path(name)).unwrap();
            if who == As::User {
                std::os::unix::fs::chown(scene.path(name), Some(65534), Some(65534)).unwrap();
            }
        }
        match tool {
            Tool::Restic => drop(scene.good(&["restic", "init"])),
            Tool::Borg => drop(scene.good(&["borg", "init", "--encryption", "none"])),
            Tool::Rsync | Tool::Tar => {}
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another copy of the package, as `cp` makes it.
    fn copy(&self) -> PathBuf {
        let copy = self.path("Copy of the study.vaso");
        fs::copy(&self.package, &copy).unwrap();
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_ne!(time(&copy), time(&self.package));
        copy
    }

    /// Mounts a package at `mnt` or elsewhere. Restic's second mount gets the device number of its first.
    ///
    /// Restic (before 0.17, and by default after) stores the device number with every file and directory, and
    /// calls a directory changed when it is another. The kernel gives every mount the lowest number that is
    /// free: usually that of the mount that has just ended, but not if another program mounts meanwhile.
    fn mount(&mut self, package: &Path, place: &str, options: &[&str]) -> Mount {
        let place = self.path(place);
        if self.tool != Tool::Restic {
            return Mount::at(self.who, package, &place, options);
        }
        let spare = || Mount::new(self.who, &self.package, &["--no-cache"]);
        let Some(wanted) = self.device else {
            // What others mount meanwhile gets one of these, which are free by then.
            let _lower = [spare(), spare(), spare()];
            let mount = Mount::at(self.who, package, &place, options);
            self.device = Some(self.device_of(&place));
            return mount;
        };
        for _ in 0..100 {
            let mut lower = Vec::new();
            loop {
                let mount = Mount::at(self.who, package, &place, options);
                let got = self.device_of(&place);
                if got == wanted {
                    return mount;
                }
                mount.unmount();
                if got > wanted {
                    break;
                }
                // It takes the number that was too low.
                lower.push(spare());
            }
            drop(lower);
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("some other program's mount has taken the device number {wanted}, and keeps it");
    }

    fn device_of(&self, place: &Path) -> u64 {
        succeed(command(self.who, "stat").args(["-c", "%d"]).arg(place)).trim().parse().unwrap()
    }

    /// Lists two directories at length, later names first: another order than that of any walk.
    fn list_two(&self, place: &str) {
        let mut dirs = self.find(place, "d");
        let (last, middle) = (dirs.pop_last().unwrap(), dirs.len() / 2);
        let middle = dirs.into_iter().nth(middle).unwrap();
        for dir in [last, middle] {
            succeed(command(self.who, "ls").arg("-l").arg(self.path(place).join(dir)));
        }
    }

    /// The paths of all of a kind in a mount.
    fn find(&self, place: &str, kind: &str) -> BTreeSet<String> {
        let mut find = command(self.who, "find");
        find.arg(self.path(place)).args(["-mindepth", "1", "-type", kind, "-printf", "%P\\n"]);
        succeed(&mut find).lines().map(str::to_string).collect()
    }

    /// Runs a tool in the scene's folder.
    fn tool(&self, words: &[&str]) -> Output {
        self.tool_in(".", words)
    }

    /// Runs a tool in a directory that perhaps only who mounted may enter.
    fn tool_in(&self, place: &str, words: &[&str]) -> Output {
        let mut command = command(self.who, "sh");
        command.args(["-c", "cd \"$1\" && shift && exec \"$@\"", "sh"]).arg(self.path(place)).args(words);
        // What each keeps, and that none asks.
        command
            .current_dir("/")
            .env("LC_ALL", "C.UTF-8")
            .env("RESTIC_REPOSITORY", self.path("kept/repository"))
            .env("RESTIC_CACHE_DIR", self.path("kept/cache"))
            .env("RESTIC_PASSWORD", "not secret")
            .env("BORG_REPO", self.path("kept/repository"))
            .env("BORG_BASE_DIR", self.path("kept/base"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        for meant_for_others in ["RESTIC_FEATURES", "BORG_CACHE_DIR", "BORG_CONFIG_DIR", "TAR_OPTIONS"] {
            command.env_remove(meant_for_others);
        }
        run(&mut command)
    }

    /// The same, to a good end.
    fn good(&self, words: &[&str]) -> Output {
        good(words, self.tool(words))
    }

    /// Backs up what is mounted at `place`. `before` is the run before, where the tool does not find it itself.
    fn back_up(&self, place: &str, more: &[&str], before: Option<&Seen>) -> Seen {
        match self.tool {
            Tool::Restic => self.restic(place, more, before),
            Tool::Borg => self.borg(place, more),
            Tool::Rsync => self.rsync(place),
            Tool::Tar => self.tar(place, more),
        }
    }

    /// Restic takes the last snapshot of the same absolute path for its comparison. A user who has moved names
    /// it: `--parent`. Below that, paths are compared as they were given: relative to the directory it runs in.
    fn restic(&self, place: &str, more: &[&str], before: Option<&Seen>) -> Seen {
        let mut words = vec!["restic", "backup", "--json", "--verbose", "--verbose"];
        if let Some(before) = before {
            words.extend(["--parent", &before.snapshot]);
        }
        words.extend(more);
        words.push(".");
        let said = text(good(&words, self.tool_in(place, &words)).stdout);
        let (mut seen, mut summary) = (Seen::default(), Value::Null);
        for line in said.lines() {
            let line: Value = serde_json::from_str(line).expect(line);
            match line["message_type"].as_str().unwrap() {
                "summary" => summary = line,
                "verbose_status"
                    if !matches!(line["action"].as_str().unwrap(), "unchanged" | "scan_finished") =>
                {
                    let item = line["item"].as_str().unwrap().trim_start_matches('/');
                    match item.strip_suffix('/') {
                        Some(dir) => seen.dirs.insert(dir.to_string()),
                        None => seen.files.insert(item.to_string()),
                    };
                }
                _ => {}
            }
        }
        seen.snapshot = summary["snapshot_id"].as_str().expect(&said).to_string();
        // What the items say is what the summary counts. (Only its counts have all directories, the root too.)
        let count = |key: &str| summary[key].as_u64().unwrap() as usize;
        assert_eq!(seen.files.len(), count("files_new") + count("files_changed"), "{summary}");
        let dirs = count("dirs_new") + count("dirs_changed");
        assert!(dirs >= seen.dirs.len(), "{summary}");
        for unnamed in seen.dirs.len()..dirs {
            seen.dirs.insert(format!("({unnamed} without a name)"));
        }
        seen
    }

    /// Borg knows a file by its absolute path, as written. A user who has moved gives both places one name: a
    /// link, which leads here or there.
    fn borg(&self, place: &str, more: &[&str]) -> Seen {
        let link = self.path("current");
        let _ = fs::remove_file(&link);
        symlink(place, &link).unwrap();
        let listed = succeed(command(self.who, "ls").arg("-A").arg(self.path(place)));
        let roots: Vec<String> = listed.lines().map(|name| format!("current/{name}")).collect();
        let mut words = vec!["borg", "create", "--list", "--filter", "AMCE"];
        words.extend(more);
        words.push("::{utcnow:%s.%f}");
        words.extend(roots.iter().map(String::as_str));
        let said = text(good(&words, self.tool(&words)).stderr);
        let file = |line: &str| match line.split_once(" current/") {
            Some(("A" | "M", path)) => path.to_string(),
            _ => panic!("borg said {line:?}"),
        };
        Seen { files: said.lines().map(file).collect(), ..Seen::default() }
    }

    /// The first run makes a copy; the others only tell what they would do to it.
    fn rsync(&self, place: &str) -> Seen {
        let is_first = !self.path("kept/copy").exists();
        let mut words = vec!["rsync", "-aHAX", "--itemize-changes", "--delete"];
        if !is_first {
            words.push("--dry-run");
        }
        let (from, to) = (format!("{place}/"), "kept/copy/");
        words.extend([&*from, to]);
        self.itemized(&words)
    }

    fn itemized(&self, words: &[&str]) -> Seen {
        let said = text(self.good(words).stdout);
        let mut seen = Seen::default();
        for line in said.lines() {
            // "cd+++++++++ datasets/", ".f..t...... a.csv", "cL+++++++++ link -> target", "*deleting   x".
            let (what, path) = line.split_once(' ').unwrap_or_else(|| panic!("rsync said {line:?}"));
            let path = path.trim_start().split(" -> ").next().unwrap().trim_end_matches('/').to_string();
            match what.as_bytes().get(1) {
                Some(b'd') if what.len() > 9 && !what.starts_with('*') => seen.dirs.insert(path),
                _ => seen.files.insert(path),
            };
        }
        seen
    }

    /// Every run continues the list of the run before. Directories are always archived, with the names in them.
    fn tar(&self, place: &str, more: &[&str]) -> Seen {
        let list = format!("--listed-incremental={}", self.path("kept/list").display());
        let archive = self.path("kept/archive.tar");
        let mut words =
            vec!["tar", &*list, "--no-check-device", "--create", "--file", archive.to_str().unwrap()];
        words.extend(more);
        words.push(".");
        good(&words, self.tool_in(place, &words));
        let archived = text(self.good(&["tar", "--list", "--file", archive.to_str().unwrap()]).stdout);
        let files = archived.lines().filter(|name| !name.ends_with('/'));
        Seen {
            files: files.map(|name| name.trim_start_matches("./").to_string()).collect(),
            ..Seen::default()
        }
    }

    /// The first backup, of the package at `mnt`. Saves everything, or the other runs would say nothing.
    fn first(&mut self, options: &[&str]) -> (Mount, Seen) {
        let mount = self.mount(&self.package.clone(), "mnt", options);
        let seen = self.back_up("mnt", &[], None);
        let files = self.find("mnt", "f");
        assert!(files.len() > 20, "{files:?}");
        assert!(seen.files.is_superset(&files), "{:?} was not saved at all", &files - &seen.files);
        (mount, seen)
    }

    /// Holds when a run has found nothing to save.
    fn nothing_new(&self, what: &str, seen: &Seen) {
        let mut files = seen.files.clone();
        if self.tool == Tool::Borg {
            files.remove(TAG);
        }
        assert!(files.is_empty(), "{what}: {} saves {} files: {files:?}", self.tool.name(), files.len());
        assert!(seen.dirs.is_empty(), "{what}: {} saves directories: {:?}", self.tool.name(), seen.dirs);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Rsync's copy has the modes of the mount: nobody but root removes a file from such a directory.
        let _ = run(command(self.who, "chmod").args(["-R", "u+w"]).arg(self.path("kept")));
    }
}

fn good(words: &[&str], output: Output) -> Output {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{words:?}: {}\n{out}{err}", output.status);
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn age(path: &Path) {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

/// Needs root, and a container may still not be let: a test says the same without, only less of it.
fn drop_caches() {
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
}

/// A package from the archive of real ones.
fn corpus(name: &str) -> Vec<u8> {
    fs::read(common::data("packages.tar.xz").path().join(name)).unwrap()
}

/// What is different in [`CHANGED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    /// Saved anew: other bytes, and the time of that, which is later than any backup of this test.
    Saved,
    /// Other bytes; as many as before, and of the same time.
    BytesAlone,
}

/// So many files in each of its 40 directories has a project of some size; and one where it is enough that there
/// are some.
const MANY: u32 = 50;
const FEW: u32 = 5;

/// A project with 40 directories of as many files, stored and deflated, and with links. Every directory is later
/// than the one before, and all files of a directory bear one time, as those of one recording do.
fn study(files: u32, change: Change) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let time = |day: u32| {
        DateTime::from_date_and_time(2024, 1 + (day / 14) as u8, 1 + (day % 14) as u8 * 2, 12, 30, 0).unwrap()
    };
    let options = |time, deflated| {
        let method = if deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(time)
            .unix_permissions(0o644)
    };
    let mut add = |name: &str, bytes: &[u8], options| {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("manifest.json", MANIFEST.as_bytes(), options(time(0), false));
    add("events/events.jsonl", b"", options(time(0), false));
    // Read to the end it leaves an index in the cache.
    add("datasets/d20/large.csv", &recording(1, 3 << 20), options(time(20), true));
    add("datasets/d21/large.tiff", &noise(2, 1 << 20), options(time(21), false));
    for day in 0..40 {
        for file in 0..files {
            let name = format!("datasets/d{day:02}/f{file:02}.csv");
            let seed = u64::from(day * 50 + file);
            let mut bytes = recording(seed, 100 + 7 * seed as usize % 1900);
            let mut when = time(day);
            if name == CHANGED && change != Change::Nothing {
                bytes.reverse();
                if change == Change::Saved {
                    bytes.extend_from_slice(b"and one line more\n");
                    when = DateTime::from_date_and_time(2099, 6, 1, 12, 30, 0).unwrap();
                }
            }
            add(&name, &bytes, options(when, file % 2 == 1));
        }
    }
    for day in (0..40).step_by(8) {
        let target = format!("../datasets/d{day:02}/f00.csv");
        zip.add_symlink(format!("links/l{day:02}"), target, options(time(day), false)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Backed up, unmounted, mounted, two directories listed, backed up.
fn remounted(tool: Tool, who: As, package: &[u8]) {
    let mut scene = Scene::new(tool, who, package);
    let (mount, _) = scene.first(&[]);
    mount.unmount();
    let mount = scene.mount(&scene.package.clone(), "mnt", &[]);
    scene.list_two("mnt");
    scene.nothing_new("after a remount", &scene.back_up("mnt", &[], None));
    mount.unmount();
}

fn nothing_is_new_after_a_remount(tool: Tool) {
    remounted(tool, As::Me, &corpus(CORPUS));
    remounted(tool, As::Me, &study(MANY, Change::Nothing));
}

fn nothing_is_new_for_an_ordinary_user(tool: Tool) {
    let who = if is_root() { As::User } else { As::Me };
    remounted(tool, who, &corpus(ONE_TIME));
}

/// The program's own folder of indexes, and what the kernel keeps of files, directories and numbers.
fn nothing_is_new_after_the_caches_are_lost(tool: Tool) {
    let mut scene = Scene::new(tool, As::Me, &study(FEW, Change::Nothing));
    let cache = scene.path("cache");
    let options = ["--cache", cache.to_str().unwrap()];
    let (mount, _) = scene.first(&options);
    mount.unmount();
    assert!(fs::read_dir(&cache).unwrap().next().is_some(), "there was no cache");
    fs::remove_dir_all(&cache).unwrap();
    drop_caches();
    let mount = scene.mount(&scene.package.clone(), "mnt", &options);
    scene.list_two("mnt");
    scene.nothing_new("after a remount", &scene.back_up("mnt", &[], None));
    // And under a mount that goes on.
    let _ = fs::remove_dir_all(&cache);
    drop_caches();
    scene.nothing_new("while mounted", &scene.back_up("mnt", &[], None));
    mount.unmount();
}

fn nothing_is_new_in_a_copy_at_the_same_place(tool: Tool) {
    let mut scene = Scene::new(tool, As::Me, &study(FEW, Change::Nothing));
    let (mount, _) = scene.first(&[]);
    mount.unmount();
    let copy = scene.copy();
    let mount = scene.mount(&copy, "mnt", &[]);
    scene.list_two("mnt");
    scene.nothing_new("in a copy", &scene.back_up("mnt", &[], None));
    mount.unmount();
}

fn nothing_is_new_in_a_copy_elsewhere(tool: Tool) {
    let mut scene = Scene::new(tool, As::Me, &corpus(CORPUS));
    let (here, before) = scene.first(&[]);
    let copy = scene.copy();
    // Both at once: by the way they have different device numbers.
    let there = Mount::at(As::Me, &copy, &scene.path("other"), &[]);
    assert_ne!(scene.device_of(&here.dir), scene.device_of(&there.dir));
    scene.list_two("other");
    let mut seen = scene.back_up("other", &[], Some(&before));
    if tool == Tool::Restic {
        // It writes the device number into every directory (see `Scene::mount`).
        seen.dirs.clear();
    }
    scene.nothing_new("beside the other", &seen);
    if tool == Tool::Rsync {
        let both = scene.itemized(&["rsync", "-aHAXn", "--itemize-changes", "--delete", "mnt/", "other/"]);
        scene.nothing_new("from mount to mount", &both);
    }
    there.unmount();
    here.unmount();
    // The other alone.
    let there = scene.mount(&copy, "other", &[]);
    scene.list_two("other");
    scene.nothing_new("instead of the other", &scene.back_up("other", &[], Some(&before)));
    there.unmount();
}

/// The same procedure, so that what the tests above find is not a blindness of theirs.
fn changed(tool: Tool, change: Change) -> Seen {
    let mut scene = Scene::new(tool, As::Me, &study(FEW, Change::Nothing));
    let (mount, _) = scene.first(&[]);
    mount.unmount();
    fs::write(&scene.package, study(FEW, change)).unwrap();
    let mount = scene.mount(&scene.package.clone(), "mnt", &[]);
    scene.list_two("mnt");
    let mut seen = scene.back_up("mnt", &[], None);
    mount.unmount();
    // Its time follows the newest of the project, and borg always reads it.
    seen.files.remove(TAG);
    seen
}

fn exactly_the_file_that_was_saved_is_new(tool: Tool) {
    let seen = changed(tool, Change::Saved);
    assert_eq!(Vec::from_iter(&seen.files), [CHANGED], "{tool:?}");
    if matches!(tool, Tool::Restic | Tool::Rsync) {
        assert!(seen.dirs.contains("datasets/d07"), "{tool:?}: {:?}", seen.dirs);
        assert!(!seen.dirs.contains("datasets/d08"), "{tool:?}: {:?}", seen.dirs);
    }
}

/// By its inode number (restic, borg) or its checksum among the attributes (rsync). Tar has only the time.
fn new_bytes_of_the_same_size_and_time_are_noticed(tool: Tool) {
    let seen = changed(tool, Change::BytesAlone);
    assert_eq!(Vec::from_iter(&seen.files), [CHANGED], "{tool:?}");
}

/// Who leaves out caches leaves out `browse`, and nothing of the project. (Restic and tar keep the directory
/// and the tag itself: so that what is restored is marked too.)
fn leaving_out_caches_leaves_out_nothing_of_the_project(tool: Tool) {
    let mut scene = Scene::new(tool, As::Me, &study(FEW, Change::Nothing));
    let mount = scene.mount(&scene.package.clone(), "mnt", &[]);
    let tag = mount.read(TAG);
    assert!(tag.starts_with(b"Signature: 8a477f597d28d172789f06886806bc55"), "{tag:?}");
    let run = scene.back_up("mnt", &["--exclude-caches"], None);
    let saved = match tool {
        Tool::Restic => scene.good(&["restic", "ls", &run.snapshot]),
        Tool::Borg => {
            let name = text(scene.good(&["borg", "list", "--short"]).stdout);
            scene.good(&["borg", "list", "--short", &format!("::{}", name.trim())])
        }
        Tool::Tar => scene.good(&["tar", "--list", "--file", "kept/archive.tar"]),
        Tool::Rsync => unreachable!("it knows no caches"),
    };
    let path = |line: &str| {
        let line = line.strip_prefix("current").or(line.strip_prefix('.')).unwrap_or(line);
        line.trim_matches('/').to_string()
    };
    let saved: BTreeSet<String> = text(saved.stdout).lines().map(path).collect();
    let is_browse = |path: &str| path == "browse" || path.starts_with("browse/");
    for kind in ["f", "d", "l"] {
        for name in scene.find("mnt", kind) {
            let expected = match (is_browse(&name), tool) {
                (false, _) => true,
                (true, Tool::Borg) => false,
                (true, _) => name == "browse" || name == TAG,
            };
            assert_eq!(saved.contains(&name), expected, "{tool:?}: {name}");
        }
    }
    mount.unmount();
}

/// A module for each case with a test for each tool.
macro_rules! matrix {
    ($($case:ident: $($test:ident $tool:ident),+;)+) => {$(
        mod $case {
            $(
                #[test]
                fn $test() {
                    super::$case(super::Tool::$tool);
                }
            )+
        }
    )+};
}

matrix! {
    nothing_is_new_after_a_remount: restic Restic, borg Borg, rsync Rsync, tar Tar;
    nothing_is_new_for_an_ordinary_user: restic Restic, borg Borg, rsync Rsync, tar Tar;
    nothing_is_new_after_the_caches_are_lost: restic Restic, borg Borg, rsync Rsync, tar Tar;
    nothing_is_new_in_a_copy_at_the_same_place: restic Restic, borg Borg, rsync Rsync, tar Tar;
    nothing_is_new_in_a_copy_elsewhere: restic Restic, borg Borg, rsync Rsync, tar Tar;
    exactly_the_file_that_was_saved_is_new: restic Restic, borg Borg, rsync Rsync, tar Tar;
    new_bytes_of_the_same_size_and_time_are_noticed: restic Restic, borg Borg, rsync Rsync;
    leaving_out_caches_leaves_out_nothing_of_the_project: restic Restic, borg Borg, tar Tar;
}
