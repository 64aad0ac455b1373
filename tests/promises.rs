//! The promises of the README, each over a real mount, as root and as an ordinary user.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{
    As, Mount, Pack, Reader, drop_caches, eventually, everybody, folder, noise, recording, rested, run, vaso,
};

const EIO: i32 = 5;

/// A package with entries of every sort. With `refusing`, one of them refuses to open, so that the kernel has
/// to ask for every open; without, it opens files by itself.
fn package(seed: u64, refusing: bool) -> Vec<u8> {
    let mut pack = Pack::new();
    pack.stored("stored", &noise(seed, 1_000_000))
        .deflated("packed", &recording(seed, 1_500_000))
        .deflated("small", format!("small {seed}\n").as_bytes())
        .deflated("same", b"the same in every state")
        .stored("deep/er/than/that", &noise(seed + 1, 70_000))
        .stored("refused", b"?");
    let mut bytes = pack.bytes();
    if refusing {
        common::make_unsupported(&mut bytes, "refused");
    }
    bytes
}

/// What [`package`] holds, without the manifest.
fn contents(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("stored", noise(seed, 1_000_000)),
        ("packed", recording(seed, 1_500_000)),
        ("small", format!("small {seed}\n").into_bytes()),
        ("same", b"the same in every state".to_vec()),
        ("deep/er/than/that", noise(seed + 1, 70_000)),
    ]
}

/// Everybody, with and without opens that are asked for.
fn cases() -> Vec<(As, bool)> {
    everybody().into_iter().flat_map(|who| [(who, false), (who, true)]).collect()
}

/// A source that its user may read.
fn source(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("Study.vaso");
    fs::write(&path, bytes).unwrap();
    rested(&path, 3600);
    path
}

/// Names, bytes and all times of a folder.
fn traces(folder: &Path) -> Vec<String> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let times = [
            meta.atime(),
            meta.atime_nsec(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        let digest = if meta.is_file() { crc32fast::hash(&peek(&entry.path())) } else { 0 };
        list.push(format!("{:?} {} {times:?} {digest}", entry.file_name(), meta.len()));
    }
    let meta = fs::metadata(folder).unwrap();
    list.push(format!("folder {} {}", meta.mtime(), meta.mtime_nsec()));
    list.sort();
    list
}

/// A file's bytes, without an access time of our own.
fn peek(path: &Path) -> Vec<u8> {
    use std::os::unix::fs::OpenOptionsExt;
    const O_NOATIME: i32 = 0o1_000_000;
    let file = OpenOptions::new().read(true).custom_flags(O_NOATIME).open(path).unwrap();
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn r1_a_look_never_writes() {
    for who in everybody() {
        let home = folder();
        let path = source(home.path(), &package(1, false));
        if who == As::User {
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        }
        // An access time in the past would be moved by any read that leaves one.
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
        OpenOptions::new().write(true).open(&path).unwrap().set_times(times).unwrap();
        let before = traces(home.path());
        let mount = Mount::new(who, &path, &[]);
        mount.sh("cd $M && ls -lR . >/dev/null && find . -type f ! -name refused | xargs cat >/dev/null && df . >/dev/null");
        let inode = fs::metadata(&path).unwrap().ino();
        let locks = fs::read_to_string("/proc/locks").unwrap();
        assert!(!locks.contains(&format!(":{inode} ")), "a lock is held: {locks}");
        mount.unmount();
        for verb in [&["info"][..], &["verify"], &["ls", "-lR"]] {
            common::succeed(common::vaso(who).args(verb).arg(&path));
        }
        common::succeed(common::vaso(who).arg("cat").arg(&path).arg("packed"));
        assert_eq!(traces(home.path()), before, "{who:?}");
    }
}

#[test]
fn r1_to_list_what_could_be_recovered_leaves_no_access_time() {
    for who in everybody() {
        let (home, elsewhere) = (common::data("salvage.tar.xz"), folder());
        let mut paths: Vec<PathBuf> = common::succeed(Command::new("find").arg(home.path()))
            .lines()
            .map(PathBuf::from)
            .filter(|path| path != home.path())
            .collect();
        paths.sort();
        if who == As::User {
            // Only the owner may ask for none.
            common::succeed(Command::new("chown").args(["-R", "65534:65534"]).arg(home.path()));
        }
        common::succeed(Command::new("touch").args(["-a", "-d", "2001-01-01"]).args(&paths));
        let times = || -> Vec<String> {
            let meta = |path: &PathBuf| (path.clone(), fs::symlink_metadata(path).unwrap());
            let all = paths.iter().map(meta);
            all.map(|(path, m)| format!("{path:?} {} {} {}", m.atime(), m.mtime_nsec(), m.ctime_nsec()))
                .collect()
        };
        let before = times();
        let moved = || -> Vec<String> { times().into_iter().filter(|now| !before.contains(now)).collect() };
        let none: [String; 0] = [];
        for (i, name) in ["orphan_staging.vasopack", "flipped_trace_leaf.vaso"].into_iter().enumerate() {
            let project = home.path().join("salvage").join(name);
            assert!(project.exists(), "{name}");
            run(vaso(who).args(["recover", "--list"]).arg(&project));
            assert_eq!(moved(), none, "{who:?} {name}");
            let output = elsewhere.path().join(format!("{i}.db"));
            run(vaso(who).arg("recover").arg(&project).arg("--output").arg(&output));
            assert_eq!(moved(), none, "{who:?} {name}");
        }
    }
}

/// Path, `stat` without the device, and checksum of everything in a mount.
fn picture(who: As, mount: &Mount, backwards: bool) -> Vec<String> {
    let mut reader = Reader::new(who);
    let mut paths = reader.walk(&mount.dir);
    if backwards {
        paths.reverse();
    }
    let mut list: Vec<String> = paths
        .iter()
        .map(|p| {
            let bytes = reader.whole(&mount.path(p)).map(|b| crc32fast::hash(&b));
            format!("{p} {:?} {bytes:?}", reader.stat(&mount.path(p)).unwrap())
        })
        .collect();
    list.sort();
    list
}

#[test]
fn r2_the_same_project_is_the_same_tree_everywhere() {
    for (who, refusing) in cases() {
        let (here, there) = (folder(), folder());
        let bytes = package(2, refusing);
        let first = source(here.path(), &bytes);
        let mount = Mount::new(who, &first, &[]);
        let before = picture(who, &mount, false);
        assert!(before.len() > 8);
        assert_eq!(picture(who, &mount, true), before, "looked at again");
        mount.unmount();
        assert_eq!(picture(who, &Mount::new(who, &first, &[]), true), before, "mounted again");
        // A copy, elsewhere, with another time and name.
        let copy = there.path().join("Renamed copy.vaso");
        fs::write(&copy, &bytes).unwrap();
        assert_eq!(picture(who, &Mount::new(who, &copy, &[]), true), before, "a copy");
    }
}

#[test]
fn r3_stat_does_not_lie() {
    for (who, refusing) in cases() {
        let home = folder();
        let mount = Mount::new(who, &source(home.path(), &package(3, refusing)), &[]);
        let mut reader = Reader::new(who);
        for path in reader.walk(&mount.dir) {
            let before = reader.stat(&mount.path(&path)).unwrap();
            let [_, mode, links, size, blocks, ..] = before[..] else { unreachable!() };
            if mode & 0o170_000 == 0o040_000 {
                let children = reader.list(&mount.path(&path));
                let is_dir = |r: &mut Reader, name: &String| {
                    r.stat(&mount.path(&path).join(name)).unwrap()[1] & 0o170_000 == 0o040_000
                };
                let directories = children.iter().filter(|name| is_dir(&mut reader, name)).count();
                // What is made only when somebody goes in is not counted before, and so never is.
                let expected = if path == "browse" { 1 } else { 2 + directories as u64 };
                assert_eq!(links, expected, "{path}");
            } else {
                assert_eq!((links, blocks), (1, size.div_ceil(512)), "{path}");
                if let Ok(bytes) = reader.whole(&mount.path(&path)) {
                    assert_eq!(bytes.len() as u64, size, "{path}");
                }
            }
            assert_eq!(reader.stat(&mount.path(&path)).unwrap(), before, "{path}: after the first read");
        }
        let df = mount.sh("stat -f -c '%b %f %S %c' $M");
        let numbers: Vec<u64> = df.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let held: u64 = contents(3).iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert!(numbers[0] * numbers[2] >= held && numbers[1] == 0 && numbers[3] > 8, "{df}");
    }
}

#[test]
fn r4_you_pay_for_what_you_read() {
    for who in everybody() {
        let home = folder();
        let mut pack = Pack::new();
        pack.stored("large", &noise(4, 64 << 20));
        let path = home.path().join("Large.vaso");
        pack.write(&path);
        let mount = Mount::new(who, &path, &[]);
        let read_so_far = || read_by(mount.pid);
        // Starting a program reads some files; the data is 64 MiB.
        let mounted = read_so_far();
        assert!(mounted < 4 << 20, "mounting has read {mounted} bytes");
        let mut reader = Reader::new(who);
        reader.open("f", &mount.path("large")).unwrap();
        let bytes = reader.pread("f", 40 << 20, 4096).unwrap();
        assert_eq!(bytes, noise(4, 64 << 20)[40 << 20..][..4096]);
        let read = read_so_far() - mounted;
        assert!(read < 1 << 20, "4 KiB have cost {read} bytes");
    }
}

/// Bytes that a process has read so far, from whatever file.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|l| l.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// A package with one large packed file, and what that holds.
fn large_packed(path: &Path) -> Vec<u8> {
    let data = recording(5, 24 << 20);
    let mut pack = Pack::new();
    pack.deflated("packed", &data);
    pack.write(path);
    data
}

#[test]
fn r4_far_inside_a_packed_file_from_the_second_visit_on_also_after_a_remount() {
    for who in everybody() {
        let home = folder();
        let path = home.path().join("Packed.vaso");
        let data = large_packed(&path);
        let cache = home.path().join("cache");
        let options = ["--cache", cache.to_str().unwrap()];
        let mount = Mount::new(who, &path, &options);
        // Half a pass leaves half an index.
        let mut reader = Reader::new(who);
        reader.open("f", &mount.path("packed")).unwrap();
        assert!(reader.pread("f", 0, data.len() / 2).unwrap() == data[..data.len() / 2]);
        drop(reader);
        mount.unmount();
        let cost = |at: usize, budget: u64| {
            let mount = Mount::new(who, &path, &options);
            let mut reader = Reader::new(who);
            reader.open("f", &mount.path("packed")).unwrap();
            let before = read_by(mount.pid);
            assert!(reader.pread("f", at as u64, 4096).unwrap() == data[at..at + 4096], "at {at}");
            let read = read_by(mount.pid) - before;
            assert!(read < budget, "{who:?}: 4 KiB at {at} have cost {read} bytes");
        };
        let packed = fs::metadata(&path).unwrap().len();
        cost(10 << 20, packed / 8);
        // The second half is not indexed yet, and costs its way from the middle; the next time it does not.
        cost(23 << 20, packed * 3 / 4);
        cost(23 << 20, packed / 8);
        cost(17 << 20, packed / 8);
    }
}

#[test]
fn r4_an_index_that_is_wiped_torn_foreign_or_shared_does_no_harm() {
    let home = folder();
    let path = home.path().join("Packed.vaso");
    let data = large_packed(&path);
    let cache = home.path().join("cache");
    let options = ["--cache", cache.to_str().unwrap()];
    let check = |mount: &Mount| {
        let mut reader = Reader::new(As::Me);
        for at in [20 << 20, 3 << 20, 23 << 20, 0, 11 << 20] {
            reader.open("f", &mount.path("packed")).unwrap();
            assert!(reader.pread("f", at, 300_000).unwrap() == data[at as usize..][..300_000], "at {at}");
            reader.close("f");
        }
        assert!(reader.whole(&mount.path("packed")).unwrap() == data);
        assert!(mount.is_alive());
    };
    // Two daemons, one folder.
    let (one, two) = (Mount::new(As::Me, &path, &options), Mount::new(As::Me, &path, &options));
    check(&one);
    check(&two);
    let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    assert!(whole.len() > 20 * 32_768, "an index was kept");
    // Wiped under both.
    fs::remove_file(&file).unwrap();
    check(&one);
    drop((one, two));
    // Bits flipped in every window; cut off in the middle; of another file.
    for damage in 0..3 {
        let mut bytes = whole.clone();
        match damage {
            0 => bytes.iter_mut().skip(100).step_by(3001).for_each(|b| *b ^= 0x10),
            1 => bytes.truncate(whole.len() - 1234),
            _ => bytes[20..40].fill(0),
        }
        fs::write(&file, bytes).unwrap();
        check(&Mount::new(As::Me, &path, &options));
    }
    // No folder at all, and one that cannot be one.
    check(&Mount::new(As::Me, &path, &["--no-cache"]));
    let not_a_folder = path.to_str().unwrap();
    check(&Mount::new(As::Me, &path, &["--cache", not_a_folder]));
}

#[test]
fn r4_an_index_made_of_a_damaged_copy_is_not_used_for_the_good_one() {
    let home = folder();
    let path = home.path().join("Packed.vaso");
    let data = large_packed(&path);
    let good = fs::read(&path).unwrap();
    let cache = home.path().join("cache");
    let options = ["--cache", cache.to_str().unwrap()];
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let put = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    put(&treacherous(&good, &data));
    let mount = Mount::new(As::Me, &path, &options);
    let mut reader = Reader::new(As::Me);
    reader.open("f", &mount.path("packed")).unwrap();
    // Half of it: nobody knows yet that it is damaged.
    let half = reader.pread("f", 0, data.len() / 2).unwrap();
    assert!(half != data[..data.len() / 2], "the damage is of no use for this test");
    drop(reader);
    mount.unmount();
    // The good one comes back, in place, under the same time.
    put(&good);
    let mount = Mount::new(As::Me, &path, &options);
    let mut reader = Reader::new(As::Me);
    reader.open("f", &mount.path("packed")).unwrap();
    for at in [10 << 20, 5 << 20, 11 << 20] {
        assert!(reader.pread("f", at, 200_000).unwrap() == data[at as usize..][..200_000], "at {at}");
    }
    assert!(reader.whole(&mount.path("packed")) == Ok(data));
}

/// The package with one bit flipped, so that its packed entry is decoded on, to other bytes in other places.
fn treacherous(good: &[u8], data: &[u8]) -> Vec<u8> {
    let name = (0..good.len()).find(|i| good[*i..].starts_with(b"packed")).unwrap();
    let start = name + "packed".len() + usize::from(u16::from_le_bytes([good[name - 2], good[name - 1]]));
    for bit in (start * 8 + 300_000..).step_by(997).take(2000) {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut inflate = flate2::Decompress::new(false);
        let mut out = vec![0; 13 << 20];
        let decoded = inflate.decompress(&bad[start..], &mut out, flate2::FlushDecompress::None);
        let all = decoded.is_ok() && inflate.total_out() == out.len() as u64;
        // Shifted or different, at every place that the test looks at.
        if all
            && [5 << 20, 10 << 20, 11 << 20].iter().all(|at| out[*at..at + 40_000] != data[*at..at + 40_000])
        {
            return bad;
        }
    }
    panic!("no bit is treacherous");
}

/// Reads a file through an open handle, page by page and as a whole, and says what came.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    All,
    Nothing,
    Mixed(String),
}

fn look(reader: &mut Reader, key: &str, expected: &[u8]) -> Seen {
    let mut good = 0;
    let mut places = 0;
    for at in (0..expected.len()).step_by(4096 * 5 + 123) {
        let end = (at + 4096).min(expected.len());
        places += 1;
        match reader.pread(key, at as u64, end - at) {
            Ok(bytes) if bytes == expected[at..end] => good += 1,
            Ok(bytes) => return Seen::Mixed(format!("{} foreign bytes at {at}", bytes.len())),
            Err(EIO) => {}
            Err(errno) => return Seen::Mixed(format!("errno {errno} at {at}")),
        }
    }
    match good {
        0 => Seen::Nothing,
        n if n == places => Seen::All,
        n => Seen::Mixed(format!("{n} of {places} places")),
    }
}

/// Opens every file of [`contents`] under the key `state/name` and reads it whole, so that the cache is warm.
fn open_all(reader: &mut Reader, mount: &Mount, state: &str, seed: u64) {
    for (name, bytes) in contents(seed) {
        let key = format!("{state}/{name}");
        reader.open(&key, &mount.path(name)).unwrap();
        assert!(reader.pread(&key, 0, bytes.len() + 1).unwrap() == bytes, "{key}");
    }
}

#[test]
fn r5_replaced_open_handles_keep_the_old_file() {
    for (who, refusing) in cases() {
        let home = folder();
        let path = source(home.path(), &package(10, refusing));
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        open_all(&mut reader, &mount, "old", 10);
        let (same, small) = (reader.ino(&mount.path("same")), reader.ino(&mount.path("small")));
        let next = home.path().join("next");
        fs::write(&next, package(20, refusing)).unwrap();
        fs::rename(&next, &path).unwrap();
        eventually("the new state is seen", || {
            reader.whole(&mount.path("small")) == Ok(b"small 20\n".to_vec())
        });
        open_all(&mut reader, &mount, "new", 20);
        for round in 0..3 {
            for (name, old) in contents(10) {
                assert_eq!(
                    look(&mut reader, &format!("old/{name}"), &old),
                    Seen::All,
                    "{who:?} old {name} {round}"
                );
            }
            for (name, new) in contents(20) {
                assert_eq!(
                    look(&mut reader, &format!("new/{name}"), &new),
                    Seen::All,
                    "{who:?} new {name} {round}"
                );
            }
            // From the second round on through the daemon again, not from the cache.
            drop_caches();
        }
        assert_eq!(reader.ino(&mount.path("same")), same, "unchanged content keeps its number");
        assert_ne!(reader.ino(&mount.path("small")), small, "replaced content has another");
        assert!(mount.is_alive());
    }
}

/// Appends to a package as the application does: new entries over the old directory, and a new directory.
fn append(path: &Path, entries: &[(&str, &str)]) {
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'a')\n\
                  for n, t in zip(sys.argv[2::2], sys.argv[3::2]): z.writestr(n, t)\nz.close()";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-W", "ignore", "-c", script]).arg(path);
    for (name, text) in entries {
        command.arg(name).arg(text);
    }
    common::succeed(&mut command);
}

#[test]
fn r5_appended_to_old_ranges_stay_valid() {
    for (who, refusing) in cases() {
        let home = folder();
        let path = source(home.path(), &package(30, refusing));
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        open_all(&mut reader, &mount, "old", 30);
        for round in 1..4 {
            append(&path, &[("small", &format!("appended {round}")), (&format!("new{round}"), "new")]);
            let expected = format!("appended {round}").into_bytes();
            eventually("the appended state is seen", || {
                reader.whole(&mount.path("small")).as_ref() == Ok(&expected)
            });
            assert!(reader.list(&mount.dir).contains(&format!("new{round}")));
            drop_caches();
            for (name, old) in contents(30) {
                assert_eq!(
                    look(&mut reader, &format!("old/{name}"), &old),
                    Seen::All,
                    "{who:?} {name} {round}"
                );
            }
        }
    }
}

#[test]
fn r5_rewritten_in_place_old_handles_fail_and_never_see_new_bytes() {
    for (who, refusing) in cases() {
        for keep_time in [false, true] {
            let home = folder();
            let path = source(home.path(), &package(40, refusing));
            let mount = Mount::new(who, &path, &[]);
            let mut reader = Reader::new(who);
            open_all(&mut reader, &mount, "old", 40);
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, package(50, refusing)).unwrap();
            if keep_time {
                OpenOptions::new().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }
            eventually("the new state is seen", || {
                // Meanwhile an old handle gives old bytes, or fails.
                let seen = look(&mut reader, "old/stored", &noise(40, 1_000_000));
                assert!(!matches!(&seen, Seen::Mixed(what) if what.contains("foreign")), "{seen:?}");
                reader.whole(&mount.path("small")) == Ok(b"small 50\n".to_vec())
            });
            let told = String::from_utf8(mount.read(".vaso/findings.jsonl")).unwrap();
            assert!(told.contains("\"rewritten-in-place\""), "{told}");
            open_all(&mut reader, &mount, "new", 50);
            eventually("the kernel has dropped the old pages", || {
                contents(40)
                    .iter()
                    .all(|(name, old)| look(&mut reader, &format!("old/{name}"), old) == Seen::Nothing)
            });
            for round in 0..2 {
                for (name, new) in contents(50) {
                    assert_eq!(
                        look(&mut reader, &format!("new/{name}"), &new),
                        Seen::All,
                        "{who:?} {name} {round}"
                    );
                }
                for (name, old) in contents(40) {
                    let seen = look(&mut reader, &format!("old/{name}"), &old);
                    assert_eq!(seen, Seen::Nothing, "{who:?} old {name} {round}");
                }
                drop_caches();
            }
            assert!(mount.is_alive());
        }
    }
}

#[test]
fn r5_a_save_that_takes_its_time_is_seen_whole_or_not_at_all() {
    for who in everybody() {
        let home = folder();
        let path = source(home.path(), &package(60, false));
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        let next = package(70, false);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        for (i, piece) in next.chunks(next.len() / 8 + 1).enumerate() {
            file.write_all_at(piece, (i * (next.len() / 8 + 1)) as u64).unwrap();
            let seen = reader.whole(&mount.path("small"));
            let allowed = [Ok(b"small 60\n".to_vec()), Ok(b"small 70\n".to_vec()), Err(EIO)];
            assert!(allowed.contains(&seen), "{seen:?}");
            assert_eq!(reader.list(&mount.dir).len(), 9, "the tree is one of the two");
        }
        eventually("the new state is seen", || {
            reader.whole(&mount.path("small")) == Ok(b"small 70\n".to_vec())
        });
        for (name, bytes) in contents(70) {
            assert!(reader.whole(&mount.path(name)) == Ok(bytes), "{name}");
        }
    }
}

#[test]
fn r5_stored_bytes_overwritten_under_the_same_directory_are_never_taken_for_the_old_ones() {
    for (who, refusing) in cases() {
        let home = folder();
        let bytes = package(75, refusing);
        let path = source(home.path(), &bytes);
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        let old = noise(75, 1_000_000);
        reader.open("old", &mount.path("stored")).unwrap();
        // Warm in parts only, so that the rest has to come through the daemon.
        assert!(reader.pread("old", 0, 8192).unwrap() == old[..8192]);
        let place = (0..bytes.len()).find(|i| bytes[*i..].starts_with(&old[..32])).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&vec![0xB7; 600_000], place as u64 + 200_000).unwrap();
        eventually("an old handle fails", || {
            let seen = look(&mut reader, "old", &old);
            assert!(!matches!(&seen, Seen::Mixed(what) if what.contains("foreign")), "{seen:?}");
            seen == Seen::Nothing
        });
    }
}

/// Such a copy has the directory of the old file at its end until it is done; also where it is made longer first.
#[test]
fn r5_a_copy_that_is_being_written_over_the_file_shows_nobody_some_of_each() {
    for (who, refusing) in cases() {
        for longer in [false, true] {
            let home = folder();
            let bytes = package(76, refusing);
            let path = source(home.path(), &bytes);
            let mount = Mount::new(who, &path, &[]);
            let mut reader = Reader::new(who);
            open_all(&mut reader, &mount, "old", 76);
            let next = package(77, refusing);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            // The first copy pauses in the middle of what is stored, and the second in what is packed.
            for (seam, torn) in [(500_000, "stored"), (1_400_000, "packed")] {
                file.write_all_at(&next[..seam], 0).unwrap();
                if longer {
                    file.set_len(bytes.len() as u64 + seam as u64 / 1000).unwrap();
                }
                let old = contents(76);
                // While it is not clear what the file has become, all of it is refused for a moment.
                eventually("what is torn is refused, however little is read of it, and nothing else", || {
                    drop_caches();
                    for (name, old) in &old {
                        let seen = reader.whole(&mount.path(name));
                        assert!(
                            seen == Err(EIO) || seen.as_ref() == Ok(old),
                            "{who:?} {longer} {name} {seam}"
                        );
                    }
                    reader.beginning(&mount.path(torn), 4096) == Err(EIO)
                        && reader.whole(&mount.path("small")) == Ok(b"small 76\n".to_vec())
                        && mount.sh("cat $M/.vaso/findings.jsonl").contains(torn)
                });
            }
            file.write_all_at(&next, 0).unwrap();
            file.set_len(next.len() as u64).unwrap();
            eventually("the new state is seen", || {
                contents(77).iter().all(|(name, new)| reader.whole(&mount.path(name)).as_ref() == Ok(new))
            });
        }
    }
}

/// Nobody has seen the state before, and the directory is right for both.
#[test]
fn r5_what_is_opened_in_the_midst_of_a_copy_is_right_or_an_error() {
    for (who, refusing) in cases() {
        let home = folder();
        let path = source(home.path(), &package(78, refusing));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&package(79, refusing)[..500_000], 0).unwrap();
        // As if it paused already, and goes on pausing.
        rested(&path, 3);
        for (name, old) in contents(78) {
            let torn = name == "stored";
            let said = run(vaso(who).arg("cat").arg(&path).arg(name));
            assert_eq!(said.status.code(), Some(if torn { 1 } else { 0 }), "{who:?} {name}");
            assert!(said.stdout == if torn { Vec::new() } else { old }, "{who:?} {name}");
        }
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        for round in 0..2 {
            assert_eq!(reader.beginning(&mount.path("stored"), 4096), Err(EIO), "{who:?} {round}");
            for (name, old) in contents(78).into_iter().skip(1) {
                assert!(reader.whole(&mount.path(name)) == Ok(old), "{who:?} {name} {round}");
            }
            // What was found wrong stays refused when all else is believed again.
            std::thread::sleep(Duration::from_secs(4));
            drop_caches();
        }
    }
}

#[test]
fn r5_what_has_rested_is_not_read_whole_for_its_first_bytes() {
    let home = folder();
    let path = source(home.path(), &package(80, false));
    rested(&path, 3);
    let mount = Mount::new(As::Me, &path, &[]);
    std::thread::sleep(Duration::from_secs(4));
    let before = read_by(mount.pid);
    assert_eq!(
        Reader::new(As::Me).beginning(&mount.path("stored"), 4096),
        Ok(contents(80)[0].1[..4096].to_vec())
    );
    let read = read_by(mount.pid) - before;
    assert!(read < 900_000, "{read}");
}

/// Waits until an old handle gives an error, which nothing but its own bytes may come before.
fn until_refused(reader: &mut Reader, key: &str, old: &[u8]) {
    eventually("an old handle fails", || {
        drop_caches();
        let seen = look(reader, key, old);
        assert!(!matches!(&seen, Seen::Mixed(what) if what.contains("foreign")), "{seen:?}");
        seen == Seen::Nothing
    });
}

#[test]
fn r5_a_save_that_pauses_half_way_leaves_old_handles_valid() {
    for (who, refusing) in cases() {
        let home = folder();
        let path = source(home.path(), &package(35, refusing));
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        open_all(&mut reader, &mount, "old", 35);
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'a')\n\
                      with z.open('new', 'w') as f:\n f.write(b'x' * 300000); z.fp.flush()\n \
                      print('half', flush=True); sys.stdin.readline(); f.write(b'y')\nz.close()";
        let mut saver = Command::new("/usr/bin/python3")
            .args(["-W", "ignore", "-c", script])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = saver.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).unwrap();
        until_refused(&mut reader, "old/stored", &contents(35)[0].1);
        saver.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(saver.wait().unwrap().success());
        eventually("the appended state is seen", || reader.list(&mount.dir).contains(&"new".to_string()));
        drop_caches();
        for (name, old) in contents(35) {
            assert_eq!(look(&mut reader, &format!("old/{name}"), &old), Seen::All, "{who:?} {name}");
        }
        assert_eq!(reader.whole(&mount.path("new")).map(|bytes| bytes.len()), Ok(300_001));
    }
}

/// The last that Python's zipfile does is to set the size that the file has already, which moves its time.
#[test]
fn r5_setting_the_size_after_a_save_is_no_rewrite() {
    for (who, refusing) in cases() {
        let home = folder();
        let bytes = package(38, refusing);
        let path = source(home.path(), &bytes);
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        open_all(&mut reader, &mount, "old", 38);
        append(&path, &[("small", "appended"), ("new", "new")]);
        eventually("the appended state is seen", || {
            reader.whole(&mount.path("small")) == Ok(b"appended".to_vec())
        });
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for round in 0..2 {
            file.set_len(file.metadata().unwrap().len()).unwrap();
            drop_caches();
            for (name, old) in contents(38) {
                let seen = look(&mut reader, &format!("old/{name}"), &old);
                assert_eq!(seen, Seen::All, "{who:?} {name} {round}");
            }
        }
        // The same size and the same directory once more, and this time it is a rewrite.
        let old = &contents(38)[0].1;
        let place = (0..bytes.len()).find(|i| bytes[*i..].starts_with(&old[..32])).unwrap();
        file.write_all_at(&[0xB7; 600], place as u64 + 200_000).unwrap();
        until_refused(&mut reader, "old/stored", old);
        until_refused(&mut reader, "old/small", &contents(38)[2].1);
    }
}

/// What stands behind the end so long that no directory is found any more tells nothing of what stands before it.
#[test]
fn r5_after_a_state_that_cannot_be_loaded_the_next_one_decides() {
    for rewritten in [false, true] {
        let home = folder();
        let bytes = package(36, false);
        fs::create_dir(home.path().join("beside")).unwrap();
        let path = source(home.path(), &bytes);
        let mount = Mount::new(As::Me, &path, &[]);
        let mut reader = Reader::new(As::Me);
        open_all(&mut reader, &mount, "old", 36);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&noise(1, 200_000)).unwrap();
        until_refused(&mut reader, "old/stored", &contents(36)[0].1);
        if rewritten {
            fs::write(&path, package(37, false)).unwrap();
            eventually("the new state is seen", || {
                reader.whole(&mount.path("small")) == Ok(b"small 37\n".to_vec())
            });
        } else {
            let copy = source(&home.path().join("beside"), &bytes);
            append(&copy, &[("new", "new")]);
            let next = fs::read(&copy).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&next, 0).unwrap();
            file.set_len(next.len() as u64).unwrap();
            eventually("the appended state is seen", || {
                reader.whole(&mount.path("new")) == Ok(b"new".to_vec())
            });
        }
        drop_caches();
        let expected = if rewritten { Seen::Nothing } else { Seen::All };
        for (name, old) in contents(36) {
            assert_eq!(look(&mut reader, &format!("old/{name}"), &old), expected, "{name}");
        }
    }
}

/// The damaged one has the same names, sizes, times and checksums in its directory, and so the same numbers.
#[test]
fn r5_a_repaired_project_gives_the_right_bytes_under_the_same_numbers() {
    for (who, refusing) in cases() {
        for appended in [false, true] {
            let home = folder();
            let good = package(85, refusing);
            let mut bad = good.clone();
            let stored = noise(85, 1_000_000);
            let place = (0..good.len()).find(|i| good[*i..].starts_with(&stored[..32])).unwrap();
            bad[place + 300_000] ^= 1;
            let name = b"packed".as_slice();
            let packed = (0..good.len()).find(|i| good[*i..].starts_with(name)).unwrap();
            bad[packed + 150_000] ^= 0x10;
            let path = source(home.path(), &bad);
            let mount = Mount::new(who, &path, &[]);
            let mut reader = Reader::new(who);
            assert!(reader.whole(&mount.path("stored")) != Ok(stored.clone()), "it is damaged");
            assert!(reader.whole(&mount.path("packed")).is_err(), "it is damaged, and that is seen");
            let numbers = ["stored", "packed"].map(|name| reader.ino(&mount.path(name)));
            if appended {
                let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'a')\n\
                    good = zipfile.ZipFile(sys.argv[2])\n\
                    for name in ('stored', 'packed'): z.writestr(good.getinfo(name), good.read(name))\nz.close()";
                let whole = home.path().join("good");
                fs::write(&whole, &good).unwrap();
                let mut python = Command::new("/usr/bin/python3");
                common::succeed(python.args(["-W", "ignore", "-c", script]).args([&path, &whole]));
            } else {
                let next = home.path().join("next");
                fs::write(&next, &good).unwrap();
                fs::rename(&next, &path).unwrap();
            }
            for (name, right) in [("stored", stored), ("packed", recording(85, 1_500_000))] {
                eventually(&format!("{who:?}: {name} is as it should be"), || {
                    reader.whole(&mount.path(name)).as_ref() == Ok(&right)
                });
            }
            assert_eq!(["stored", "packed"].map(|name| reader.ino(&mount.path(name))), numbers);
        }
    }
}

#[test]
fn r5_a_listing_that_is_open_across_a_change_leaves_nothing_wrong_behind() {
    for who in everybody() {
        for in_place in [false, true] {
            let home = folder();
            let many = |prefix: &str, seed: u64| {
                let mut pack = Pack::new();
                // More names than the kernel asks for at once.
                for i in 0..3000 {
                    pack.stored(&format!("d/{prefix} a name that takes some room in a listing {i:04}"), b"x");
                }
                pack.stored("both", format!("{seed}").as_bytes());
                pack.bytes()
            };
            let path = source(home.path(), &many("old", 1));
            let mount = Mount::new(who, &path, &[]);
            let script = "import os, sys, time\n\
                          it = os.scandir(sys.argv[1]); next(it); print('begun', flush=True); sys.stdin.readline()\n\
                          for e in it: e.stat(follow_symlinks=False)\n\
                          it.close(); print('done', flush=True)";
            let mut lister = common::command(who, "/usr/bin/python3")
                .args(["-c", script])
                .arg(mount.path("d"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut said = std::io::BufReader::new(lister.stdout.take().unwrap());
            let mut line = String::new();
            std::io::BufRead::read_line(&mut said, &mut line).unwrap();
            assert_eq!(line, "begun\n");
            let next = many("new", 2);
            if in_place {
                fs::write(&path, next).unwrap();
            } else {
                fs::write(home.path().join("next"), next).unwrap();
                fs::rename(home.path().join("next"), &path).unwrap();
            }
            let mut reader = Reader::new(who);
            eventually("the new state is seen", || reader.whole(&mount.path("both")) == Ok(b"2".to_vec()));
            lister.stdin.take().unwrap().write_all(b"\n").unwrap();
            // It may end with an error: some of what it lists is gone.
            lister.wait().unwrap();
            eventually("the listing is the new one", || {
                let names = reader.list(&mount.path("d"));
                names.len() == 3000 && names.iter().all(|name| name.starts_with("new"))
            });
            for path in reader.walk(&mount.dir) {
                assert!(reader.stat(&mount.path(&path)).is_ok(), "{who:?} {path}");
            }
            assert_eq!(reader.whole(&mount.path("both")), Ok(b"2".to_vec()));
        }
    }
}

#[test]
fn r5_many_saves_by_rename_leave_no_old_file_open() {
    let home = folder();
    let path = source(home.path(), &package(76, false));
    let mount = Mount::new(As::Me, &path, &[]);
    let open_files = || fs::read_dir(format!("/proc/{}/fd", mount.pid)).unwrap().count();
    let mut reader = Reader::new(As::Me);
    let before = open_files();
    for i in 0..12 {
        fs::write(home.path().join("next"), package(if i % 2 == 0 { 77 } else { 76 }, false)).unwrap();
        fs::rename(home.path().join("next"), &path).unwrap();
        let expected = format!("small {}\n", if i % 2 == 0 { 77 } else { 76 }).into_bytes();
        eventually("the new state is seen", || reader.whole(&mount.path("small")).as_ref() == Ok(&expected));
        assert!(reader.whole(&mount.path("same")).is_ok());
    }
    drop_caches();
    eventually("old files are closed", || open_files() <= before + 3);
}

#[test]
fn r7_slow_readers_hold_up_nobody_else() {
    for who in everybody() {
        let home = folder();
        let mut pack = Pack::new();
        for i in 0..6 {
            pack.deflated(&format!("far{i}"), &vec![b'0'; 400 << 20]);
        }
        pack.stored("near", b"here");
        let path = home.path().join("Far.vaso");
        pack.write(&path);
        let mount = Mount::new(who, &path, &[]);
        let script = "for i in 0 1 2 3 4 5; do tail -c 1 $M/far$i >/dev/null & done; sleep 0.1; \
                      timeout 5 cat $M/near && timeout 5 ls $M >/dev/null; echo $?; wait";
        assert_eq!(mount.sh(script), "here0\n");
    }
}

#[test]
fn r6_damage_is_contained() {
    for (who, refusing) in cases() {
        let home = folder();
        let mut bytes = package(80, refusing);
        let place = |name: &str, bytes: &[u8]| {
            (0..bytes.len()).find(|i| bytes[*i..].starts_with(name.as_bytes())).unwrap()
        };
        // A packed entry in its middle, a small one at its start, and a local header.
        let packed = place("packed", &bytes);
        bytes[packed + 200_000] ^= 0xff;
        bytes[packed + 200_001] ^= 0xff;
        let small = place("small", &bytes) + 7;
        bytes[small] ^= 0x55;
        let header = place("deep/er/than/that", &bytes) - 30;
        bytes[header] = b'X';
        let path = source(home.path(), &bytes);
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        for (name, expected) in contents(80) {
            let got = reader.whole(&mount.path(name));
            match name {
                "packed" | "small" | "deep/er/than/that" => assert_eq!(got, Err(EIO), "{who:?} {name}"),
                _ => assert!(got == Ok(expected), "{who:?} {name}"),
            }
        }
        // What comes before the damage is readable, and right.
        reader.open("p", &mount.path("packed")).unwrap();
        assert!(reader.pread("p", 0, 100_000).unwrap() == recording(80, 1_500_000)[..100_000]);
        assert!(mount.is_alive());
        let output = common::run(common::vaso(who).args(["verify", "--json"]).arg(&path));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut named: Vec<&str> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["severity"] == "error")
            .map(|f| f["path"].as_str().unwrap())
            .collect();
        named.sort();
        assert_eq!(named, ["deep/er/than/that", "packed", "small"]);
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn r6_a_wrong_checksum_fails_the_last_page_for_good() {
    for (who, refusing) in cases() {
        let home = folder();
        let mut bytes = package(90, refusing);
        let expected = recording(90, 1_500_000);
        let crc = crc32fast::hash(&expected).to_le_bytes();
        // The checksum in header and directory, not the data.
        let places: Vec<usize> = (0..bytes.len() - 4).filter(|i| bytes[*i..*i + 4] == crc).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at] ^= 1;
        }
        let mount = Mount::new(who, &source(home.path(), &bytes), &[]);
        let mut reader = Reader::new(who);
        assert_eq!(reader.whole(&mount.path("packed")), Err(EIO));
        reader.open("p", &mount.path("packed")).unwrap();
        let last_page = (expected.len() - 1) / 4096 * 4096;
        for _ in 0..3 {
            assert_eq!(reader.pread("p", last_page as u64, 10), Err(EIO), "the verdict sticks");
            assert!(
                reader.pread("p", last_page as u64 - 4096, 4096).unwrap()
                    == expected[last_page - 4096..last_page]
            );
            drop_caches();
        }
    }
}

#[test]
fn r6_no_order_of_reading_gives_all_of_an_entry_with_a_wrong_checksum() {
    const STEP: usize = 128 << 10;
    // The small one lies within what is decoded for a verdict, the large one is beyond it.
    for (seed, size) in [(95, 7 << 20), (96, 20 << 20)] {
        let home = folder();
        let data = recording(seed, size);
        let mut pack = Pack::new();
        for name in ["forward", "backward", "end-first", "all-at-once"] {
            pack.deflated(name, &data);
        }
        let path = home.path().join("Wrong.vaso");
        pack.write(&path);
        let mut bytes = fs::read(&path).unwrap();
        let crc = crc32fast::hash(&data).to_le_bytes();
        let places: Vec<usize> = (0..bytes.len() - 4).filter(|i| bytes[*i..*i + 4] == crc).collect();
        assert_eq!(places.len(), 8);
        places.into_iter().for_each(|at| bytes[at] ^= 1);
        fs::write(&path, &bytes).unwrap();
        rested(&path, 3600);
        let last = (size - 1) / 4096 * 4096;
        let steps = || (0..size).step_by(STEP);
        let orders: [(&str, Vec<usize>); 3] = [
            ("forward", steps().collect()),
            ("backward", steps().rev().collect()),
            ("end-first", std::iter::once(last).chain(steps()).collect()),
        ];
        // Half a pass leaves half an index: the end can be read then without all that comes before it.
        let cache = home.path().join("cache");
        let options = ["--cache", cache.to_str().unwrap()];
        let first = Mount::new(As::Me, &path, &options);
        first.sh(&format!("for f in $M/*; do head -c {} $f >/dev/null; done", size / 2));
        drop(first);
        assert!(fs::read_dir(&cache).unwrap().count() >= 4);
        let mount = Mount::new(As::Me, &path, &options);
        for (name, order) in orders {
            let mut reader = Reader::new(As::Me);
            reader.open("f", &mount.path(name)).unwrap();
            let failed: Vec<_> =
                order.iter().filter(|at| reader.pread("f", **at as u64, STEP).is_err()).collect();
            assert!(!failed.is_empty(), "{name} {size}");
        }
        let script = "for i in 0 1 2 3; do (for j in 3 2 1 0; do \
                      tail -c +$(((i * 4 + j) * SIZE / 16 + 1)) $M/all-at-once | head -c $((SIZE / 16)) \
                      >/dev/null; done) & done; wait; cat $M/all-at-once >/dev/null 2>&1; echo $?";
        assert_eq!(mount.sh(&script.replace("SIZE", &size.to_string())), "1\n");
    }
}

#[test]
fn r7_a_source_truncated_or_deleted_under_readers_gives_errors_and_no_dead_mount() {
    for (who, refusing) in cases() {
        let home = folder();
        let path = source(home.path(), &package(100, refusing));
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        reader.open("stored", &mount.path("stored")).unwrap();
        reader.open("packed", &mount.path("packed")).unwrap();
        assert_eq!(reader.pread("stored", 0, 10).unwrap(), noise(100, 10));
        OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
        drop_caches();
        for key in ["stored", "packed"] {
            eventually("reading the lost part fails", || reader.pread(key, 600_000, 4096) == Err(EIO));
        }
        assert!(mount.is_alive());
        assert_eq!(reader.list(&mount.dir).len(), 9, "the names are still there");
        fs::remove_file(&path).unwrap();
        assert!(reader.stat(&mount.path("small")).is_ok());
        std::thread::sleep(std::time::Duration::from_millis(700));
        assert!(mount.is_alive());
        // And when the project comes back, it is shown.
        source(home.path(), &package(110, refusing));
        eventually("the project is back", || {
            reader.whole(&mount.path("small")) == Ok(b"small 110\n".to_vec())
        });
        drop(reader);
        mount.unmount();
    }
}

#[test]
fn r7_a_deleted_source_stays_readable() {
    for who in everybody() {
        let home = folder();
        let path = source(home.path(), &package(120, false));
        let mount = Mount::new(who, &path, &[]);
        fs::remove_file(&path).unwrap();
        let mut reader = Reader::new(who);
        for (name, bytes) in contents(120) {
            assert!(reader.whole(&mount.path(name)) == Ok(bytes), "{name}");
        }
    }
}

#[test]
fn r5_what_cannot_be_followed_is_told() {
    for with_folder in [false, true] {
        let home = folder();
        let above = home.path().join("above");
        fs::create_dir(&above).unwrap();
        let path = source(&above, &package(121, false));
        let mount = Mount::new(As::Me, &path, &[]);
        let told = match with_folder {
            false => {
                let [other, link] = ["Other.vaso", "link"].map(|name| above.join(name));
                fs::write(&other, package(122, false)).unwrap();
                std::os::unix::fs::symlink(&other, &link).unwrap();
                fs::rename(&link, &path).unwrap();
                "a link stands in its place"
            }
            true => {
                fs::remove_dir_all(&above).unwrap();
                fs::create_dir(&above).unwrap();
                source(&above, &package(122, false));
                "gone with its folder"
            }
        };
        eventually(told, || mount.sh("cat $M/.vaso/findings.jsonl").contains(told));
        for (name, bytes) in contents(121) {
            assert!(Reader::new(As::Me).whole(&mount.path(name)) == Ok(bytes), "{told} {name}");
        }
    }
}

#[test]
fn r7_sixty_four_readers_killed_while_reading_leave_the_mount_alive() {
    for (who, refusing) in cases() {
        let home = folder();
        let mut pack = Pack::new();
        pack.stored("stored", &noise(7, 8 << 20))
            .deflated("packed", &recording(7, 8 << 20))
            .stored("refused", b"?");
        let mut bytes = pack.bytes();
        if refusing {
            common::make_unsupported(&mut bytes, "refused");
        }
        let mount = Mount::new(who, &source(home.path(), &bytes), &[]);
        let mut readers = Vec::new();
        for i in 0..64 {
            let name = if i % 2 == 0 { "stored" } else { "packed" };
            let script = format!("while :; do cat \"$M/{name}\" >/dev/null; done");
            let child = common::command(who, "setsid")
                .args(["sh", "-c", &script])
                .env("M", &mount.dir)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            readers.push(child);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        for child in &mut readers {
            // The group of this very child: the shell and its `cat`.
            common::run(Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]));
            child.wait().unwrap();
        }
        assert!(mount.is_alive());
        let mut reader = Reader::new(who);
        assert!(reader.whole(&mount.path("stored")) == Ok(noise(7, 8 << 20)));
        assert!(reader.whole(&mount.path("packed")) == Ok(recording(7, 8 << 20)));
        drop(reader);
        mount.unmount();
    }
}

#[test]
fn r7_a_writer_gets_a_clear_refusal() {
    for who in everybody() {
        let home = folder();
        let mount = Mount::new(who, &source(home.path(), &package(130, false)), &[]);
        let said = mount.sh(
            "cd $M; for c in 'touch new' 'rm small' 'mkdir d' 'mv small other' 'echo x >> small' 'chmod 600 small' \
             'ln -s a b'; do sh -c \"$c\" 2>&1 && echo DONE; done; true",
        );
        assert!(!said.contains("DONE"), "{said}");
        assert_eq!(said.matches("Read-only file system").count(), 7, "{said}");
    }
}

/// Not a promise of its own: the tests above would say nothing if the files were not what they seem.
#[test]
fn the_test_package_is_what_the_tests_think() {
    let home = folder();
    let path = source(home.path(), &package(1, true));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444);
    let script =
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(len(z.namelist()), z.read('small'))";
    let said = common::succeed(Command::new("/usr/bin/python3").args(["-c", script]).arg(&path));
    assert_eq!(said.trim(), r"8 b'small 1\n'");
    std::io::stdout().flush().unwrap();
}
