//! A project whose file is written over under a mount, in ways of which `stat` or the directory tell little.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{As, Mount, Pack, Reader, eventually, everybody, folder, noise, rested, succeed, vaso};
use tempfile::TempDir;

const EIO: i32 = 5;
/// What an in-place save leaves alone.
const OLD: usize = 300_000;

/// A package with these stored entries.
fn package(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut pack = Pack::new();
    for (name, bytes) in entries {
        pack.stored(name, bytes);
    }
    pack.bytes()
}

fn write_at(path: &Path, bytes: &[u8], at: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

/// A package that has rested, mounted, and somebody who reads it.
fn mounted(who: As, package: &[u8]) -> (TempDir, PathBuf, Mount, Reader) {
    let home = folder();
    let path = home.path().join("P.vaso");
    fs::write(&path, package).unwrap();
    rested(&path, 60);
    let mount = Mount::new(who, &path, &["--no-cache"]);
    (home, path, mount, Reader::new(who))
}

/// Where bytes stand in a package.
fn place(package: &[u8], bytes: &[u8]) -> usize {
    package.windows(64).position(|window| window == &bytes[..64]).unwrap()
}

#[test]
fn r5_an_append_whose_middle_comes_last_is_an_error_until_it_is_there() {
    let (old, new) = (noise(1, OLD), noise(2, 3_000_000));
    let before = package(&[("old", &old)]);
    let after = package(&[("old", &old), ("new", &new)]);
    let middle = place(&after, &new) + 1_000_000;
    for who in everybody() {
        let (_home, path, mount, mut reader) = mounted(who, &before);
        reader.open("held", &mount.path("old")).unwrap();
        assert!(reader.pread("held", 0, 100_000) == Ok(old[..100_000].to_vec()));
        let same = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
        write_at(&path, &after[middle + 1_000_000..], middle + 1_000_000);
        write_at(&path, &after[same..middle], same);
        eventually("the append is seen", || reader.stat(&mount.path("new")).is_ok());
        for _ in 0..3 {
            assert!(reader.whole(&mount.path("new")) == Err(EIO), "{who:?}: bytes were given out");
            assert!(reader.whole(&mount.path("old")).as_ref() == Ok(&old), "{who:?}");
        }
        write_at(&path, &after[middle..middle + 1_000_000], middle);
        assert!(fs::read(&path).unwrap() == after);
        eventually("all of it is there", || match reader.whole(&mount.path("new")) {
            Ok(bytes) => {
                assert!(bytes == new, "{who:?}: other bytes");
                true
            }
            Err(_) => false,
        });
        assert!(reader.pread("held", 100_000, OLD) == Ok(old[100_000..].to_vec()));
        assert!(mount.is_alive());
    }
}

#[test]
fn r5_what_is_mended_in_place_is_right_for_whoever_opens_it_then() {
    let (stored, more) = (noise(3, 4_000_000), noise(4, 1000));
    for grown in [false, true] {
        let good = package(&[("stored", &stored)]);
        let mended = match grown {
            false => good.clone(),
            true => package(&[("stored", &stored), ("more", &more)]),
        };
        let (mut damaged, hole) = (good.clone(), place(&good, &stored));
        damaged[hole..hole + 2_000_000].fill(0);
        for who in everybody() {
            let (_home, path, mount, mut reader) = mounted(who, &damaged);
            assert!(reader.beginning(&mount.path("stored"), 500_000) == Ok(vec![0; 500_000]));
            write_at(&path, &mended, 0);
            eventually("it is right", || reader.whole(&mount.path("stored")).as_ref() == Ok(&stored));
            assert!(mount.is_alive());
        }
    }
}

#[test]
fn r5_a_rewrite_of_the_same_size_and_time_is_noticed_whatever_else_has_changed() {
    let (one, other) = (vec![b'A'; 900_000], vec![b'B'; 900_000]);
    let [before, after] = [&one, &other].map(|bytes| package(&[("stored", bytes)]));
    for who in everybody() {
        let (_home, path, mount, mut reader) = mounted(who, &before);
        reader.open("held", &mount.path("stored")).unwrap();
        assert!(reader.pread("held", 0, 4096) == Ok(one[..4096].to_vec()));
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        write_at(&path, &after, 0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        eventually("it is noticed", || reader.pread("held", 500_000, 4096) == Err(EIO));
        eventually("what is there now is shown", || {
            reader.whole(&mount.path("stored")).as_ref() == Ok(&other)
        });
        // A mode that has changed alone is nothing.
        reader.open("now", &mount.path("stored")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for at in [0, 500_000] {
            assert!(reader.pread("now", at, 4096) == Ok(other[..4096].to_vec()), "{who:?}");
        }
        assert!(mount.is_alive());
    }
}

#[test]
fn r5_a_rewrite_is_noticed_also_where_the_directory_says_what_it_said() {
    let stored = noise(5, 900_000);
    let good = package(&[("stored", &stored)]);
    let (mut damaged, hole) = (good.clone(), place(&good, &stored) + 300_000);
    damaged[hole..hole + 300_000].fill(0);
    for who in everybody() {
        let (_home, path, mount, mut reader) = mounted(who, &good);
        reader.open("held", &mount.path("stored")).unwrap();
        assert!(reader.pread("held", 0, 4096) == Ok(stored[..4096].to_vec()));
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        write_at(&path, &damaged, 0);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        eventually("it is noticed", || reader.pread("held", 500_000, 4096) == Err(EIO));
        assert!(reader.whole(&mount.path("stored")) == Err(EIO), "{who:?}");
        assert!(mount.is_alive());
    }
}

#[test]
fn r5_what_was_found_wrong_while_it_was_young_is_not_believed_for_a_new_mode() {
    let stored = noise(6, 900_000);
    let mut damaged = package(&[("stored", &stored), ("right", b"right")]);
    let hole = place(&damaged, &stored) + 300_000;
    damaged[hole..hole + 300_000].fill(0);
    let home = folder();
    let path = home.path().join("P.vaso");
    fs::write(&path, &damaged).unwrap();
    let mount = Mount::new(As::Me, &path, &["--no-cache"]);
    let mut reader = Reader::new(As::Me);
    assert!(reader.whole(&mount.path("stored")) == Err(EIO));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    // What has rested for five seconds is believed where nothing speaks against it.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(7) {
        assert!(reader.whole(&mount.path("stored")) == Err(EIO), "after {:?}", since.elapsed());
        assert_eq!(reader.whole(&mount.path("right")), Ok(b"right".to_vec()));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn r5_what_was_smaller_meanwhile_was_not_appended_to() {
    let (old, new) = (noise(7, 3_000_000), noise(8, 1000));
    let before = package(&[("old", &old)]);
    let after = package(&[("old", &old), ("new", &new)]);
    let hole = place(&after, &old) + 1_000_000;
    for who in everybody() {
        let (_home, path, mount, mut reader) = mounted(who, &before);
        reader.open("held", &mount.path("old")).unwrap();
        assert!(reader.pread("held", 0, 4096) == Ok(old[..4096].to_vec()));
        fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        // It is looked at three times a second.
        std::thread::sleep(Duration::from_millis(1200));
        write_at(&path, &after[hole + 1_000_000..], hole + 1_000_000);
        write_at(&path, &after[..hole], 0);
        eventually("the new state is seen", || reader.stat(&mount.path("new")).is_ok());
        for _ in 0..5 {
            let held = reader.pread("held", 1_200_000, 4096);
            assert!(held == Err(EIO) || held == Ok(old[1_200_000..1_204_096].to_vec()), "{who:?}: zeros");
            assert!(reader.whole(&mount.path("old")) == Err(EIO), "{who:?}: zeros");
            std::thread::sleep(Duration::from_millis(200));
        }
        write_at(&path, &after, 0);
        eventually("all is right", || reader.whole(&mount.path("old")).as_ref() == Ok(&old));
        assert!(mount.is_alive());
    }
}

#[test]
fn r5_right_after_a_save_all_can_be_looked_at() {
    let dataset: &[u8] = br#"{"id": "u", "name": "U"}"#;
    let channels: &[u8] = b"t,d\n1,2\n";
    let mut entries = vec![("datasets/u/dataset.json", dataset), ("datasets/u/channels.csv", channels)];
    for who in everybody() {
        for look in ["browse", "browse/U", "browse/U/metadata.json"] {
            entries.truncate(2);
            let (_home, path, mount, mut reader) = mounted(who, &package(&entries));
            for more in ["one", "two", "three"] {
                // The daemon looks three times a second by itself; this is between two looks.
                eventually("the last save was seen", || {
                    entries.len() == 2 || reader.stat(&mount.path(entries[entries.len() - 1].0)).is_ok()
                });
                entries.push((more, b"x"));
                write_at(&path, &package(&entries), 0);
                match look.ends_with("json") {
                    true => assert!(reader.whole(&mount.path(look)).is_ok(), "{who:?} {look} {more}"),
                    false => assert!(!reader.list(&mount.path(look)).is_empty(), "{who:?} {look} {more}"),
                }
            }
            assert!(mount.is_alive());
        }
    }
}

/// Packs a file with a time of now, in steps of two seconds: as coarse as times are kept anywhere.
const OUTER: &str = "
import sys, time, zipfile
inner, outer, manifest = sys.argv[1:]
packed = zipfile.ZipFile(outer, 'w')
packed.writestr('manifest.json', manifest)
packed.writestr(zipfile.ZipInfo('inner.vaso', time.gmtime()[:6]), open(inner, 'rb').read())
packed.close()
";

#[test]
fn r5_a_time_that_another_write_may_leave_as_well_is_waited_out() {
    let home = folder();
    let [inner, outer] = ["inner.vaso", "outer.vaso"].map(|name| home.path().join(name));
    fs::write(&inner, package(&[("a", b"x")])).unwrap();
    succeed(Command::new("python3").args(["-c", OUTER]).args([&inner, &outer]).arg(common::MANIFEST));
    let mount = Mount::new(As::Me, &outer, &["--no-cache"]);
    let packed = mount.path("inner.vaso");
    let written = fs::metadata(&packed).unwrap();
    assert_eq!(written.ctime_nsec(), 0);
    assert!(succeed(vaso(As::Me).arg("ls").arg(&packed)).contains("a\n"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(now >= Duration::from_secs(written.ctime() as u64 + 2), "{now:?} {}", written.ctime());
}
