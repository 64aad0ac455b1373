//! A project that changes under a mount into a state in which files refuse to open. The kernel was told of the state
//! before that it need not ask at open.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{Mount, Pack, Reader, eventually, everybody, folder};

/// EOPNOTSUPP
const UNSUPPORTED: i32 = 95;

fn package(seed: &str) -> Vec<u8> {
    let mut pack = Pack::new();
    pack.stored("state", seed.as_bytes()).stored("held", format!("held {seed}").as_bytes());
    pack.stored("same", b"the same in both").stored("changed", format!("changed {seed}").as_bytes());
    pack.stored("nothing", b"").stored("empty", b"");
    pack.bytes()
}

/// Where a name stands: in its local header, and in its central record.
fn places(package: &[u8], name: &str) -> [usize; 2] {
    let all: Vec<usize> =
        (0..package.len()).filter(|at| package[*at..].starts_with(name.as_bytes())).collect();
    let header = |at: &&usize| package[..**at].ends_with(&[name.len() as u8, 0, 0, 0]);
    let local = all.iter().find(header).unwrap();
    [*local, *all.last().unwrap()]
}

/// Says that entries are encrypted.
fn lock(package: &mut [u8], names: &[&str]) {
    for name in names {
        let [local, central] = places(package, name);
        package[local - 30 + 6] |= 1;
        package[central - 46 + 8] |= 1;
    }
}

/// What a package becomes by a directory behind its own that says otherwise of its entries.
fn with_another_directory(package: &[u8], names: &[&str]) -> Vec<u8> {
    let end = package.len() - 22;
    let start = u32::from_le_bytes(package[end + 16..end + 20].try_into().unwrap()) as usize;
    let mut locked = package.to_vec();
    lock(&mut locked, names);
    let mut all = [package, &locked[start..]].concat();
    let end = all.len() - 22;
    all[end + 16..end + 20].copy_from_slice(&(package.len() as u32).to_le_bytes());
    all
}

fn read(reader: &mut Reader, path: &Path) -> common::Read {
    reader.open("now", path)?;
    let bytes = reader.pread("now", 0, 100);
    reader.close("now");
    bytes
}

#[test]
fn r5_what_is_open_stays_and_r6_what_refuses_now_gives_neither_bytes_nor_emptiness() {
    const LOCKED: [&str; 3] = ["same", "changed", "nothing"];
    for who in everybody() {
        for appended in [false, true] {
            let home = folder();
            let path = home.path().join("P.vaso");
            fs::write(&path, package("one")).unwrap();
            let mount = Mount::new(who, &path, &["--no-cache"]);
            let mut reader = Reader::new(who);
            let old =
                [("held", &b"held one"[..]), ("same", b"the same in both"), ("changed", b"changed one")];
            for (name, bytes) in old {
                reader.open(name, &mount.path(name)).unwrap();
                assert_eq!(reader.pread(name, 0, 100), Ok(bytes.to_vec()));
            }
            for name in ["nothing", "empty"] {
                assert_eq!(read(&mut reader, &mount.path(name)), Ok(Vec::new()));
            }
            if appended {
                let next = with_another_directory(&fs::read(&path).unwrap(), &LOCKED);
                fs::write(home.path().join("next"), &next).unwrap();
                // In place, as who appends does.
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                std::io::Write::write_all(&mut file, &next[package("one").len()..]).unwrap();
            } else {
                let mut next = package("two");
                lock(&mut next, &LOCKED);
                fs::write(home.path().join("next"), next).unwrap();
                fs::rename(home.path().join("next"), &path).unwrap();
            }
            eventually("the new state is seen", || {
                read(&mut reader, &mount.path("changed")) == Err(UNSUPPORTED)
            });
            for _ in 0..2 {
                for name in LOCKED {
                    let now = read(&mut reader, &mount.path(name));
                    assert_eq!(now, Err(UNSUPPORTED), "{who:?} {name} appended: {appended}");
                }
                assert_eq!(read(&mut reader, &mount.path("empty")), Ok(Vec::new()));
                assert_eq!(reader.stat(&mount.path("empty")).unwrap()[3], 0);
                for (name, bytes) in old {
                    assert_eq!(reader.pread(name, 0, 100), Ok(bytes.to_vec()), "{who:?} {name} {appended}");
                }
                common::drop_caches();
            }
            assert!(mount.is_alive());
        }
    }
}

/// Saves as the application does: a new file, which takes the name.
fn save(path: &Path, text: &str) -> u64 {
    let next = path.with_extension("tmp");
    fs::write(&next, text).unwrap();
    fs::rename(&next, path).unwrap();
    fs::metadata(path).unwrap().ino()
}

#[test]
fn r5_a_file_of_a_bundle_that_was_replaced_is_not_called_rewritten_for_its_number() {
    let data = common::data("bundles.tar.xz");
    let bundle = data.path().join("bundle/stale_lock.vasopack");
    let head = bundle.join("HEAD.json");
    let text = fs::read_to_string(&head).unwrap();
    let mount = Mount::new(common::As::Me, &bundle, &["--no-cache"]);
    let told = || fs::read_to_string(mount.path(".vaso/findings.jsonl")).unwrap();
    let shown = |text: &str| {
        // Whoever reads it keeps it open, and its number with it.
        let shown =
            || fs::metadata(mount.path("HEAD.json")).is_ok_and(|meta| meta.len() == text.len() as u64);
        eventually("the new file is shown", shown);
    };
    let mut is_reused = false;
    for round in 1..=6 {
        let before = fs::metadata(&head).unwrap().ino();
        // The number of the first is free again for the second.
        save(&head, &format!("{text}{}", " ".repeat(100 + round)));
        let new = format!("{text}{}", " ".repeat(round));
        is_reused |= save(&head, &new) == before;
        shown(&new);
        assert!(!told().contains("rewritten-in-place"), "{}", told());
    }
    assert!(is_reused, "this needs a file system that gives the number of a removed file to the next one");
    // A rewrite is told.
    fs::write(&head, &text).unwrap();
    shown(&text);
    assert!(told().contains("rewritten-in-place"), "{}", told());
}
