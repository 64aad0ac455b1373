//! Files beside a package that its references name: what is told of them, and what they are called and numbered.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{As, Mount, Pack, everybody, folder, run, succeed, vaso};
use serde_json::{Value, json};
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A package in a folder of its own, with this `refs.json`, and a file `raw.tif` beside it.
fn study(references: &str, raw: &[u8]) -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    pack.stored("datasets/d/dataset.json", br#"{"id": "d", "name": "One"}"#);
    pack.stored("datasets/d/refs.json", references.as_bytes());
    pack.stored("notes.txt", b"notes");
    pack.write(&path);
    fs::write(folder.path().join("raw.tif"), raw).unwrap();
    (folder, path)
}

/// What a reference says of `raw.tif`.
fn reference(raw: &[u8]) -> Value {
    json!({"sha256": sha256(raw), "size": raw.len(), "uri": "raw.tif", "rel_hint": "raw.tif"})
}

fn codes<'a>(findings: impl IntoIterator<Item = &'a Value>) -> Vec<(String, String)> {
    let word = |f: &Value, key: &str| f[key].as_str().unwrap().to_string();
    findings.into_iter().map(|f| (word(f, "severity"), word(f, "code"))).collect()
}

/// What is told when `who` verifies it: how that ends, and the findings.
fn verified(who: As, path: &Path) -> (Option<i32>, Vec<Value>) {
    let output = run(vaso(who).args(["verify", "--json"]).arg(path));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), said["findings"].as_array().unwrap().clone())
}

/// The findings of a mount in whose folder of the dataset somebody has looked.
fn told_by_a_mount(path: &Path) -> Vec<Value> {
    let mount = Mount::new(As::Me, path, &["--no-cache"]);
    fs::read_dir(mount.path("browse/One")).unwrap();
    let text = String::from_utf8(mount.read(".vaso/findings.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_size_may_be_written_with_a_fraction_of_nothing() {
    let text = json!([reference(b"12345")]).to_string().replace("\"size\":5", "\"size\":5.0");
    let (_folder, path) = study(&text, b"12345");
    assert_eq!(verified(As::Me, &path), (Some(0), vec![]));
    assert_eq!(succeed(vaso(As::Me).arg("cat").arg(&path).arg("browse/One/assets/raw.tif")), "12345");
}

#[test]
fn a_reference_that_cannot_be_used_is_told() {
    let without = |key: &str, value: Value| {
        let mut reference = reference(b"12345");
        reference[key] = value;
        reference
    };
    for (unusable, why) in [
        (without("size", Value::Null), "size"),
        (without("size", "5".into()), "size"),
        (without("size", 5.5.into()), "size"),
        (without("size", (-5).into()), "size"),
        (without("sha256", Value::Null), "SHA-256"),
        (without("sha256", "12".into()), "SHA-256"),
        (json!({"role": "raw", "size": 5, "sha256": sha256(b"12345")}), "names no file"),
        (json!("raw.tif"), "no object"),
    ] {
        let (_folder, path) = study(&json!([unusable, reference(b"12345")]).to_string(), b"12345");
        let expected = [("warning".to_string(), "reference-incomplete".to_string())];
        let (code, found) = verified(As::Me, &path);
        assert_eq!((code, &codes(&found)[..]), (Some(1), &expected[..]), "{unusable}");
        assert!(found[0]["message"].as_str().unwrap().contains(why), "{found:?}");
        assert_eq!(found[0]["path"], "datasets/d/refs.json");
        assert_eq!(told_by_a_mount(&path), found, "{unusable}");
        // The others are shown.
        let list = succeed(vaso(As::Me).arg("ls").arg(&path).arg("browse/One/assets"));
        assert_eq!(list, "raw.tif\n");
    }
}

#[test]
fn what_verify_tells_of_references_a_mount_tells_too() {
    let missing = json!([{"uri": format!("vaso://blobs/{}", "a".repeat(64)), "role": "tiff"}]).to_string();
    let odd = json!([{"uri": "vaso://blobs/../x", "role": "tiff"}]).to_string();
    for (references, code) in [
        (&missing[..], "blob-missing"),
        (&odd, "blob-missing"),
        ("{\"refs\": []}", "document-invalid"),
        ("[{\"uri\": \"raw.tif\"", "document-invalid"),
        ("[] and more", "document-invalid"),
        ("", "document-invalid"),
    ] {
        let (_folder, path) = study(references, b"12345");
        let (ended, found) = verified(As::Me, &path);
        assert_eq!(
            (ended, &codes(&found)[..]),
            (Some(1), &[("error".into(), code.into())][..]),
            "{references}"
        );
        assert_eq!(told_by_a_mount(&path), found, "{references}");
    }
}

#[test]
fn a_file_that_lies_there_and_cannot_be_read_is_not_called_missing() {
    if !common::is_root() {
        eprintln!("not run: only root can have files that others cannot read, and be the others");
        return;
    }
    let (folder, path) = study(&json!([reference(b"12345")]).to_string(), b"12345");
    fs::set_permissions(folder.path().join("raw.tif"), Permissions::from_mode(0o600)).unwrap();
    let (code, found) = verified(As::User, &path);
    assert_eq!((code, codes(&found)), (Some(1), vec![("error".into(), "unreadable".into())]));
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("raw.tif") && message.contains("Permission denied"), "{message}");
    // One file that cannot be read keeps nobody from having the others.
    let copy = folder.path().join("copy");
    let output = run(vaso(As::User).arg("cp").arg(&path).arg(".").arg(&copy));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Permission denied") && said.contains("1 file was not copied"), "{said}");
    let list = succeed(Command::new("find").arg(".").args(["-type", "f"]).current_dir(&copy));
    let mut list: Vec<&str> = list.lines().collect();
    list.sort_unstable();
    let expected = [
        "./browse/CACHEDIR.TAG",
        "./browse/One/events.csv",
        "./browse/One/metadata.json",
        "./browse/project.json",
        "./datasets/d/dataset.json",
        "./datasets/d/refs.json",
        "./events/events.jsonl",
        "./manifest.json",
        "./notes.txt",
    ];
    assert_eq!(list, expected);
}

/// Takes and gives permissions, and a second name, which move a file's times but none of its bytes.
fn touch_nothing(raw: &Path) {
    fs::set_permissions(raw, Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(raw, Permissions::from_mode(0o644)).unwrap();
    let other = raw.with_extension("second");
    fs::hard_link(raw, &other).unwrap();
    fs::remove_file(other).unwrap();
}

#[test]
fn a_file_beside_is_read_after_its_permissions_have_changed() {
    for who in everybody() {
        let raw: Vec<u8> = common::noise(1, 300_000);
        let (folder, path) = study(&json!([reference(&raw)]).to_string(), &raw);
        let beside = folder.path().join("raw.tif");
        let mount = Mount::new(who, &path, &["--no-cache"]);
        let asset = mount.path("browse/One/assets/raw.tif");
        let mut reader = common::Reader::new(who);
        // Before the first read, between two, and while it is open.
        assert!(reader.stat(&asset).is_ok());
        touch_nothing(&beside);
        assert_eq!(reader.whole(&asset), Ok(raw.clone()), "{who:?}");
        touch_nothing(&beside);
        assert_eq!(reader.whole(&asset), Ok(raw.clone()), "{who:?}");
        reader.open("held", &asset).unwrap();
        assert_eq!(reader.pread("held", 0, 10), Ok(raw[..10].to_vec()));
        touch_nothing(&beside);
        assert_eq!(reader.pread("held", 200_000, 5000), Ok(raw[200_000..205_000].to_vec()));
        reader.close("held");
        // Bytes that changed under the old time are found out, permissions or not.
        let meta = fs::metadata(&beside).unwrap();
        let mut other = raw.clone();
        other[250_000] ^= 1;
        fs::write(&beside, &other).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&beside).unwrap();
        file.set_modified(meta.modified().unwrap()).unwrap();
        touch_nothing(&beside);
        let fresh = Mount::new(who, &path, &["--no-cache"]);
        common::drop_caches();
        assert_eq!(reader.whole(&fresh.path("browse/One/assets/raw.tif")), Err(5), "{who:?}");
        // What the kernel has kept there are the bytes that the reference means.
        let kept = reader.whole(&asset);
        assert!(kept == Err(5) || kept == Ok(raw), "{who:?}");
        drop(reader);
    }
}

/// Numbers, times and sizes of all that is shown of the dataset.
fn numbers(path: &Path) -> String {
    let mount = Mount::new(As::Me, path, &["--no-cache"]);
    mount.sh("cd $M/browse && find . -printf '%i %T@ %s %p\\n' | sort -k4")
}

#[test]
fn numbers_do_not_depend_on_where_a_file_lies_or_who_may_read_it() {
    let raw = b"12345";
    let (folder, path) = study(&json!([reference(raw)]).to_string(), raw);
    let beside = folder.path().join("raw.tif");
    common::rested(&beside, 7200);
    let before = numbers(&path);
    assert!(before.contains("assets/raw.tif"), "{before}");
    fs::set_permissions(&beside, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(numbers(&path), before);
    fs::set_permissions(&beside, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(numbers(&path), before);
    let elsewhere = common::folder();
    let copy = elsewhere.path().join("copy");
    succeed(Command::new("cp").arg("-a").arg(folder.path()).arg(&copy));
    assert_eq!(numbers(&copy.join("P.vaso")), before);
    // What was written at another time may be another file.
    let number = |text: &str| {
        text.lines().find(|l| l.ends_with("raw.tif")).unwrap().split(' ').next().map(str::to_string)
    };
    common::rested(&beside, 7100);
    assert_ne!(number(&numbers(&path)), number(&before));
}

#[test]
fn numbers_of_files_that_an_old_project_names_do_not_depend_on_where_they_lie() {
    let data = common::data("databases.tar.xz");
    let top = data.path().join("databases");
    let path = top.join("v1.vaso");
    let embedded = {
        let mount = Mount::new(As::Me, &path, &["--no-cache"]);
        fs::read(
            mount
                .path("browse/Old exp/Vessel 1/assets")
                .join(mount.sh("ls $M/browse/*/'Vessel 1'/assets").trim_end()),
        )
        .unwrap()
    };
    fs::create_dir(top.join("old_assets")).unwrap();
    let beside = top.join("old_assets/v1.tiff");
    fs::write(&beside, embedded).unwrap();
    common::rested(&beside, 7200);
    let before = numbers(&path);
    assert!(before.contains("Vessel 2/assets/v1.tiff"), "{before}");
    assert_ne!(fs::metadata(&beside).unwrap().ctime(), 0);
    fs::set_permissions(&beside, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(numbers(&path), before);
    let elsewhere = common::folder();
    let copy = elsewhere.path().join("copy");
    succeed(Command::new("cp").arg("-a").arg(&top).arg(&copy));
    assert_eq!(numbers(&copy.join("v1.vaso")), before);
}
