//! `browse/`: what is derived, beside what is stored.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{As, Mount, Pack};

/// The first line of the convention, which programs compare byte by byte.
const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n";

/// Everything below a directory, itself included, with times.
fn times(top: &Path) -> Vec<(i64, i64, PathBuf)> {
    let mut found = Vec::new();
    let mut pending = vec![top.to_path_buf()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push((meta.mtime(), meta.mtime_nsec(), path.strip_prefix(top).unwrap().to_path_buf()));
    }
    found.sort();
    found
}

fn names(mount: &Mount) -> Vec<String> {
    let list = fs::read_dir(&mount.dir).unwrap();
    let mut names: Vec<String> = list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_tag_alone_bears_the_newest_time() {
    let folder = common::data("packages.tar.xz");
    let mut seen = 0;
    for entry in fs::read_dir(folder.path().join("pkg")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let mount = Mount::new(As::Me, &path, &[]);
        let times = times(&mount.dir);
        let [.., before, last] = &times[..] else { panic!("{path:?} is empty") };
        assert_eq!(last.2, Path::new("browse/CACHEDIR.TAG"), "{path:?}");
        assert_eq!((last.0, last.1), (before.0 + 2, before.1), "{path:?}");
        assert!(fs::read(mount.path("browse/CACHEDIR.TAG")).unwrap().starts_with(SIGNATURE));
        seen += 1;
    }
    assert!(seen > 3, "{seen} packages");
}

#[test]
fn raw_shows_what_is_stored_alone() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    Pack::new().write(&path);
    assert_eq!(names(&Mount::new(As::Me, &path, &["-o", "raw"])), ["events", "manifest.json"]);
    assert_eq!(names(&Mount::new(As::Me, &path, &[])), ["browse", "events", "manifest.json"]);
}

#[test]
fn a_stored_entry_of_the_name_keeps_it_and_ours_is_the_twin() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    pack.stored("browse/CACHEDIR.TAG", b"mine").stored("browse~2", b"a file").stored("browser", b"another");
    pack.write(&path);
    let mount = Mount::new(As::Me, &path, &[]);
    let expected = ["browse", "browser", "browse~2", "browse~3", "events", "manifest.json"];
    assert_eq!(names(&mount), expected);
    assert_eq!(mount.read("browse/CACHEDIR.TAG"), b"mine");
    assert_eq!(mount.read("browse~2"), b"a file");
    assert!(mount.read("browse~3/CACHEDIR.TAG").starts_with(SIGNATURE));
    assert_eq!(times(&mount.dir).last().unwrap().2, Path::new("browse~3/CACHEDIR.TAG"));
}

#[test]
fn what_is_derived_does_not_count_as_the_projects() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    pack.stored("d/x", b"12345");
    pack.write(&path);
    let info = common::succeed(common::vaso(As::Me).args(["info", "--json"]).arg(&path));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let manifest = fs::metadata(Mount::new(As::Me, &path, &[]).path("manifest.json")).unwrap().len();
    // The root, d and events; manifest, events and x.
    assert_eq!((&info["counts"]["directories"], &info["counts"]["files"]), (&3.into(), &3.into()));
    assert_eq!(info["counts"]["bytes"], manifest + 5);
    common::succeed(common::vaso(As::Me).arg("verify").arg(&path));
}

/// The package's own mount lies in its folder, and a reference leads into the view that is being made.
#[test]
fn a_reference_into_the_packages_own_mount_leads_nowhere() {
    for who in common::everybody() {
        let home = common::folder();
        let path = home.path().join("P.vaso");
        let references = serde_json::json!([
            {"sha256": "0".repeat(64), "size": 1, "uri": "x", "rel_hint": "m/browse/vessel/assets/x"},
        ]);
        let mut pack = common::Pack::new();
        pack.stored("datasets/d/dataset.json", br#"{"id": "d", "name": "vessel"}"#);
        pack.stored("datasets/d/refs.json", references.to_string().as_bytes());
        pack.write(&path);
        let dir = home.path().join("m");
        std::fs::create_dir(&dir).unwrap();
        if who == As::User {
            std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
        }
        let mount = Mount::at(who, &path, &dir, &[]);
        let mut list = common::command(who, "timeout");
        let listed = common::succeed(list.args(["60", "ls"]).arg(dir.join("browse/vessel")));
        assert!(listed.contains("metadata.json"), "{listed}");
        mount.unmount();
    }
}
