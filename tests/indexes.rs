//! Indexes of packed files under a mount: deleted, cut short, damaged, without room; and what reads cost the daemon.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use common::{As, Mount, Pack, Reader, drop_caches, eventually, folder, noise, recording};

/// A package with one large packed file, and what that holds.
fn large_packed(path: &Path, len: usize) -> Vec<u8> {
    let data = recording(5, len);
    let mut pack = Pack::new();
    pack.deflated("packed", &data);
    pack.write(path);
    data
}

/// A number that the system keeps of a process.
fn number_of(pid: u32, file: &str, what: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// Bytes that a process has read so far, from whatever file.
fn read_by(pid: u32) -> u64 {
    number_of(pid, "io", "rchar:")
}

/// Hundredths of a second that a process has computed so far.
fn processor(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How readers end, and the most private memory in KiB that the daemon has had until then.
fn watched(readers: &mut Child, daemon: u32) -> (ExitStatus, u64) {
    let mut most = 0;
    loop {
        most = most.max(number_of(daemon, "status", "RssAnon:"));
        if let Some(ended) = readers.try_wait().unwrap() {
            return (ended, most);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Bytes of all files in a folder; 0 if there is none.
fn taken(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.map(|file| file.metadata().map_or(0, |meta| meta.len())).sum()
}

struct Scene {
    _home: tempfile::TempDir,
    path: PathBuf,
    data: Vec<u8>,
    cache: PathBuf,
}

impl Scene {
    fn new(len: usize) -> Scene {
        let home = folder();
        let path = home.path().join("Packed.vaso");
        let data = large_packed(&path, len);
        Scene { path, data, cache: home.path().join("caches/vaso"), _home: home }
    }

    fn mount(&self) -> Mount {
        Mount::new(As::Me, &self.path, &["--cache", self.cache.to_str().unwrap()])
    }

    /// Reads from the mount what has to be there.
    fn read(&self, mount: &Mount, at: usize, len: usize) {
        let mut reader = Reader::new(As::Me);
        reader.open("f", &mount.path("packed")).unwrap();
        assert!(reader.pread("f", at as u64, len).unwrap() == self.data[at..at + len], "at {at}");
    }

    /// What 4 KiB cost after a mount.
    fn cost(&self, at: usize) -> u64 {
        let mount = self.mount();
        let before = read_by(mount.pid);
        self.read(&mount, at, 4096);
        read_by(mount.pid) - before
    }

    fn packed(&self) -> u64 {
        fs::metadata(&self.path).unwrap().len()
    }
}

#[test]
fn r4_a_cache_deleted_under_a_mount_is_there_again_for_the_next() {
    let scene = Scene::new(24 << 20);
    let mount = scene.mount();
    scene.read(&mount, 0, scene.data.len());
    mount.unmount();
    let wipes: [&dyn Fn(); 3] = [
        &|| fs::remove_dir_all(&scene.cache).unwrap(),
        &|| fs::remove_dir_all(scene.cache.parent().unwrap()).unwrap(),
        &|| {
            fs::read_dir(&scene.cache)
                .unwrap()
                .for_each(|file| fs::remove_file(file.unwrap().path()).unwrap())
        },
    ];
    for wipe in wipes {
        let whole = taken(&scene.cache);
        assert!(whole > 60 * 32_768, "an index was kept");
        // By whoever reads with its help.
        let mount = scene.mount();
        scene.read(&mount, 22 << 20, 4096);
        wipe();
        let mut places = (1..40).map(|n| n * 5 % 22 * (1 << 20) + n * 4096);
        eventually("the index is there again for a reader", || {
            places.next().into_iter().for_each(|at| scene.read(&mount, at, 4096));
            // A mark that was written down twice is there once.
            taken(&scene.cache) >= whole / 10 * 9
        });
        mount.unmount();
        assert!(scene.cost(17 << 20) < scene.packed() / 8);
        // In the middle of its making.
        wipe();
        let mount = scene.mount();
        scene.read(&mount, 0, 12 << 20);
        wipe();
        scene.read(&mount, 12 << 20, 12 << 20);
        eventually("the index is there again", || taken(&scene.cache) >= whole / 4 * 3);
        mount.unmount();
        for at in [5 << 20, 10 << 20, 23 << 20] {
            assert!(scene.cost(at) < scene.packed() / 8, "at {at}");
        }
    }
}

#[test]
fn a_cache_in_the_very_folder_that_is_mounted_over_works() {
    let scene = Scene::new(12 << 20);
    let dir = scene.cache.parent().unwrap();
    fs::create_dir_all(&scene.cache).unwrap();
    fs::set_permissions(&scene.cache, Permissions::from_mode(0o700)).unwrap();
    let mount = || Mount::at(As::Me, &scene.path, dir, &["--cache", scene.cache.to_str().unwrap()]);
    let first = mount();
    scene.read(&first, 0, scene.data.len());
    first.unmount();
    assert!(taken(&scene.cache) > 30 * 32_768, "what lies under the mount is there again");
    let second = mount();
    let before = read_by(second.pid);
    scene.read(&second, 10 << 20, 4096);
    assert!(read_by(second.pid) - before < scene.packed() / 4);
    second.unmount();
}

#[test]
fn r4_half_a_pass_that_is_killed_leaves_half_an_index() {
    let scene = Scene::new(24 << 20);
    let mount = scene.mount();
    scene.read(&mount, 0, 12 << 20);
    // The daemon of this very mount.
    common::run(Command::new("kill").args(["-9", &mount.pid.to_string()]));
    eventually("it is dead", || !mount.is_alive());
    common::run(common::vaso(As::Me).args(["umount", "--lazy"]).arg(&mount.dir));
    assert!(scene.cost(10 << 20) < scene.packed() / 8);
    assert!(scene.cost(3 << 20) < scene.packed() / 8);
    let mount = scene.mount();
    scene.read(&mount, 0, scene.data.len());
}

/// Memory of its own that a daemon takes at most while 48 readers are at work on one packed file.
#[test]
fn readers_of_a_packed_file_do_not_make_the_daemon_large() {
    const READERS: &str = r#"
import os, random, sys, threading
path, size = sys.argv[1], os.stat(sys.argv[1]).st_size
def at_random(seed):
    numbers, fd = random.Random(seed), os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(100):
        at = numbers.randrange(size // 4096) * 4096
        os.posix_fadvise(fd, at, 4096, os.POSIX_FADV_DONTNEED)
        assert len(os.pread(fd, 4096, at)) == 4096
def in_order(n):
    fd = os.open(path, os.O_RDONLY)
    start = size // 24 * n
    for at in range(start, start + size // 24, 1 << 20):
        os.posix_fadvise(fd, at, 4 << 20, os.POSIX_FADV_DONTNEED)
        os.pread(fd, 1 << 20, at)
threads = [threading.Thread(target=work, args=(n,)) for n in range(24) for work in (at_random, in_order)]
[t.start() for t in threads]
[t.join() for t in threads]
"#;
    let scene = Scene::new(96 << 20);
    let mount = scene.mount();
    scene.read(&mount, 0, scene.data.len());
    let mut readers =
        Command::new("python3").args(["-c", READERS]).arg(mount.path("packed")).spawn().unwrap();
    let (ended, most) = watched(&mut readers, mount.pid);
    assert!(ended.success() && most < 64 << 10, "{most} KiB");
}

#[test]
fn without_a_cache_nothing_is_kept_on_disk() {
    let scene = Scene::new(8 << 20);
    let home = folder();
    let dir = home.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let caches = home.path().join("caches");
    fs::create_dir(&caches).unwrap();
    for option in [&["--no-cache"][..], &["-o", "nocache"], &[]] {
        let mut command = common::vaso(As::Me);
        command.env("XDG_CACHE_HOME", &caches).arg("mount").args(option).arg(&scene.path).arg(&dir);
        common::succeed(command.stdout(Stdio::piped()));
        assert!(fs::read(dir.join("packed")).unwrap() == scene.data);
        common::succeed(common::vaso(As::Me).arg("umount").arg(&dir));
        let kept = fs::read_dir(&caches).unwrap().count();
        assert_eq!(kept, usize::from(option.is_empty()), "{option:?}");
    }
}

/// Mounts with these variables, reads all, unmounts, and gives what the daemon said.
fn said_by(scene: &Scene, who: As, variables: &[(&str, &Path)]) -> String {
    let folder = folder();
    let (dir, log) = (folder.path().join("mnt"), folder.path().join("log"));
    fs::create_dir(&dir).unwrap();
    if who == As::User {
        std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    }
    let mut command = common::vaso(who);
    command.args(["mount", "--foreground"]).arg(&scene.path).arg(&dir).envs(variables.iter().copied());
    let mut daemon = command.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    eventually("it is mounted", || common::mounted(&dir));
    assert!(Reader::new(who).whole(&dir.join("packed")) == Ok(scene.data.clone()));
    common::succeed(common::vaso(who).arg("umount").arg(&dir));
    assert!(daemon.wait().unwrap().success());
    fs::read_to_string(log).unwrap()
}

#[test]
fn without_a_cache_of_the_user_it_lies_in_the_home_and_without_a_home_where_services_have_it() {
    let scene = Scene::new(8 << 20);
    let place = folder();
    let (home, service) = (place.path().join("home"), place.path().join("service"));
    fs::create_dir(&home).unwrap();
    let said = said_by(&scene, As::Me, &[("HOME", &home), ("CACHE_DIRECTORY", &service)]);
    assert!(
        taken(&home.join(".cache/vaso")) > 32_768 && !service.exists() && !said.contains("no index"),
        "{said}"
    );
    let said = said_by(&scene, As::Me, &[("CACHE_DIRECTORY", &service)]);
    assert!(taken(&service) > 32_768 && !said.contains("no index"), "{said}");
}

#[test]
fn root_leaves_the_home_of_a_user_alone_and_a_user_is_told_whose_a_folder_is() {
    if !common::is_root() {
        return eprintln!("only root can give a folder away");
    }
    let scene = Scene::new(8 << 20);
    let place = folder();
    let (home, service) = (place.path().join("home"), place.path().join("service"));
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    said_by(&scene, As::Me, &[("HOME", &home), ("CACHE_DIRECTORY", &service)]);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
    assert!(taken(&service) > 32_768);
    fs::create_dir_all(home.join(".cache/vaso")).unwrap();
    let said = said_by(&scene, As::User, &[("HOME", &home)]);
    assert!(said.contains("belongs to somebody else (user 0); name a folder"), "{said}");
    fs::remove_dir_all(home.join(".cache")).unwrap();
    let said = said_by(&scene, As::User, &[("HOME", &home)]);
    assert!(taken(&home.join(".cache/vaso")) > 32_768 && !said.contains("no index"), "{said}");
    let said = said_by(&scene, As::User, &[("CACHE_DIRECTORY", Path::new(""))]);
    assert!(said.contains("there is no home to keep it in; name a folder"), "{said}");
}

#[test]
fn a_cache_moved_away_under_a_mount_is_there_again_and_grows_no_more() {
    let scene = Scene::new(24 << 20);
    let trash = scene.cache.parent().unwrap().parent().unwrap().join("trash");
    let mount = scene.mount();
    scene.read(&mount, 0, 12 << 20);
    eventually("an index is begun", || taken(&scene.cache) > 20 * 32_768);
    fs::rename(&scene.cache, &trash).unwrap();
    let before = taken(&trash);
    scene.read(&mount, 12 << 20, 12 << 20);
    // What was there is copied, and there is more; how much more depends on how far ahead it was decoded.
    eventually("the index is there again", || taken(&scene.cache) > before);
    mount.unmount();
    assert!(taken(&trash) <= before + 32_800, "what was being written is finished at most");
    assert!(scene.cost(5 << 20) < scene.packed() / 8 && scene.cost(23 << 20) < scene.packed() / 8);
}

#[test]
fn a_cache_folder_without_room_or_rights_costs_time_and_nothing_else() {
    let scene = Scene::new(12 << 20);
    // As a user whose folder is closed to writing.
    let folder = folder();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    if common::is_root() {
        std::os::unix::fs::chown(&closed, Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).unwrap();
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    let mut places = vec![(if common::is_root() { As::User } else { As::Me }, closed)];
    let mut small = Command::new("mount");
    small.args(["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs"]).arg(&full);
    if common::is_root() {
        common::succeed(&mut small);
        places.push((As::Me, full.clone()));
    }
    for (who, cache) in &places {
        let dir = folder.path().join("mnt");
        fs::create_dir(&dir).unwrap();
        if *who == As::User {
            std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
        }
        // In the foreground, what it says can be read.
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = common::vaso(*who);
        command.args(["mount", "--foreground", "--cache"]).arg(cache).arg(&scene.path).arg(&dir);
        let mut daemon = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
        eventually("it is mounted", || common::mounted(&dir));
        let mut reader = Reader::new(*who);
        assert!(reader.whole(&dir.join("packed")) == Ok(scene.data.clone()));
        reader.open("f", &dir.join("packed")).unwrap();
        assert!(reader.pread("f", 9 << 20, 4096).unwrap() == scene.data[9 << 20..][..4096]);
        drop(reader);
        common::succeed(common::vaso(*who).arg("umount").arg(&dir));
        assert!(daemon.wait().unwrap().success());
        let said = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(said.matches("the index cache does not work").count(), 1, "{cache:?}: {said}");
        fs::remove_dir(&dir).unwrap();
    }
    if common::is_root() {
        common::succeed(Command::new("umount").arg(&full));
    }
}

/// Far more marks than are kept in memory, when it happens.
#[test]
fn a_cache_folder_that_fills_up_on_the_way_stops_nobody() {
    if !common::is_root() {
        return eprintln!("only root can make a folder of a given size");
    }
    let scene = Scene::new(96 << 20);
    let folder = folder();
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    let mut small = Command::new("mount");
    common::succeed(small.args(["-t", "tmpfs", "-o", "size=9m,mode=700", "tmpfs"]).arg(&full));
    let mount = Mount::new(As::Me, &scene.path, &["--cache", full.to_str().unwrap()]);
    for _ in 0..2 {
        let mut sum = Command::new("timeout");
        sum.args(["120", "cmp"]).arg(mount.path("packed")).arg("-").stdin(Stdio::piped());
        let mut reader = sum.spawn().unwrap();
        std::io::Write::write_all(&mut reader.stdin.take().unwrap(), &scene.data).unwrap();
        assert!(reader.wait().unwrap().success());
        scene.read(&mount, 95 << 20, 4096);
        drop_caches();
    }
    let idle = || {
        let before = processor(mount.pid);
        std::thread::sleep(std::time::Duration::from_millis(300));
        processor(mount.pid) - before < 10
    };
    eventually("the daemon has nothing to do", idle);
    mount.unmount();
    common::succeed(Command::new("umount").arg(&full));
}

/// Somebody may make indexes where nobody else may write.
#[test]
fn an_index_that_can_only_be_read_is_used() {
    if !common::is_root() {
        return eprintln!("only root can mount a folder to be read alone");
    }
    let scene = Scene::new(24 << 20);
    let mount = scene.mount();
    scene.read(&mount, 0, scene.data.len());
    mount.unmount();
    let bind = |args: &[&str]| common::succeed(Command::new("mount").args(args).arg(&scene.cache));
    bind(&["--bind", scene.cache.to_str().unwrap()]);
    bind(&["-o", "remount,ro,bind"]);
    assert!(fs::write(scene.cache.join("x"), "").is_err());
    let (cost, before) = (scene.cost(17 << 20), taken(&scene.cache));
    let mount = scene.mount();
    scene.read(&mount, 0, scene.data.len());
    mount.unmount();
    common::succeed(Command::new("umount").arg(&scene.cache));
    assert!(cost < scene.packed() / 8, "{cost} of {}", scene.packed());
    assert_eq!(taken(&scene.cache), before);
}

/// Each has a decoder of its own, that waits where it was left.
#[test]
fn many_packed_files_read_side_by_side_are_decoded_once_and_take_bounded_memory() {
    const READERS: &str = r#"
import os, sys, threading
def in_order(path):
    with open(path, 'rb', buffering=0) as f:
        while f.read(1 << 18): barrier.wait()
names = sorted(n for n in os.listdir(sys.argv[1]) if n.startswith('packed'))
barrier = threading.Barrier(len(names))
threads = [threading.Thread(target=in_order, args=(os.path.join(sys.argv[1], n),)) for n in names]
[t.start() for t in threads]
[t.join() for t in threads]
"#;
    let home = folder();
    let path = home.path().join("Many.vaso");
    let data = recording(5, 4 << 20);
    let mut pack = Pack::new();
    for n in 0..64 {
        pack.deflated(&format!("packed{n}"), &data);
    }
    pack.write(&path);
    let size = fs::metadata(&path).unwrap().len();
    let cache = home.path().join("cache");
    for options in [&["--cache", cache.to_str().unwrap()][..], &["--no-cache"]] {
        let mount = Mount::new(As::Me, &path, options);
        let before = read_by(mount.pid);
        let mut readers = Command::new("python3").args(["-c", READERS]).arg(&mount.dir).spawn().unwrap();
        let (ended, most) = watched(&mut readers, mount.pid);
        assert!(ended.success() && most < 64 << 10, "{most} KiB {options:?}");
        let read = read_by(mount.pid) - before;
        // Who waited a while reads again what it had not used of its last piece.
        assert!(read < size * 5, "{read} bytes of {size} {options:?}");
        mount.unmount();
    }
}

/// Nobody reads in order, nothing is kept on disk, and who is killed leaves a request behind that is still answered.
#[test]
fn readers_who_jump_about_in_many_packed_files_and_are_killed_do_not_make_the_daemon_large() {
    const READERS: &str = r#"
import os, random, sys, threading
def jump_about(seed):
    numbers = random.Random(seed)
    for n in range(JUMPS):
        fd = os.open(os.path.join(sys.argv[1], f'packed{numbers.randrange(FILES)}'), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        length = 4096 if n % 4 else 400_000
        at = numbers.randrange(os.fstat(fd).st_size - length)
        assert len(os.pread(fd, length, at)) == length
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
threads = [threading.Thread(target=jump_about, args=(int(sys.argv[2]) * 100 + n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
"#;
    const FILES: usize = 30;
    let home = folder();
    let path = home.path().join("Many.vaso");
    let mut one = Pack::new();
    one.deflated("packed", &recording(5, 8 << 20));
    let mut one = zip::ZipArchive::new(std::io::Cursor::new(one.bytes())).unwrap();
    let mut many = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for i in 0..one.len() {
        let name = one.by_index_raw(i).unwrap().name().unwrap().into_owned();
        let names =
            if name == "packed" { (0..FILES).map(|n| format!("packed{n}")).collect() } else { vec![name] };
        for name in names {
            many.raw_copy_file_rename(one.by_index_raw(i).unwrap(), name).unwrap();
        }
    }
    many.finish().unwrap();
    let mount = Mount::new(As::Me, &path, &["--no-cache"]);
    let script =
        |jumps: usize| READERS.replace("JUMPS", &jumps.to_string()).replace("FILES", &FILES.to_string());
    let start = |seed: usize, jumps| {
        let mut python = Command::new("python3");
        python.args(["-c", &script(jumps)]).arg(&mount.dir).arg(seed.to_string()).spawn().unwrap()
    };
    // Five times eight at the same time; two of the five go on until they are killed.
    let mut killed = [start(0, 1 << 30), start(1, 1 << 30)];
    let mut others = [2, 3, 4].map(|seed| start(seed, 20));
    let mut most = 0;
    for (i, readers) in others.iter_mut().enumerate() {
        let (ended, memory) = watched(readers, mount.pid);
        most = most.max(memory);
        if let Some(readers) = killed.get_mut(i) {
            readers.kill().unwrap();
            readers.wait().unwrap();
        }
        assert!(ended.success());
    }
    // The caps were met, or the test would see nothing.
    assert!((20 << 10..64 << 10).contains(&most), "{most} KiB");
    mount.unmount();
}

#[test]
fn a_random_read_of_stored_bytes_is_one_read_and_the_second_costs_nothing() {
    let home = folder();
    let path = home.path().join("Stored.vaso");
    let data = noise(3, 16 << 20);
    let mut pack = Pack::new();
    pack.stored("stored", &data);
    pack.write(&path);
    let mount = Mount::new(As::Me, &path, &["--no-cache"]);
    let mut reader = Reader::new(As::Me);
    reader.open("f", &mount.path("stored")).unwrap();
    const ROUND: u64 = 200;
    drop_caches();
    let mut round = |factor: u64| {
        let before = (number_of(mount.pid, "io", "syscr:"), read_by(mount.pid));
        for i in 0..ROUND {
            // Far apart, so that the kernel reads nothing ahead.
            let at = (i * factor % ROUND) * 20 * 4096;
            assert!(reader.pread("f", at, 4096).unwrap() == data[at as usize..][..4096]);
        }
        (number_of(mount.pid, "io", "syscr:") - before.0, read_by(mount.pid) - before.1)
    };
    let (calls, bytes) = round(77);
    // One takes the request from the kernel, one the bytes from the file; now and then somebody looks at the source.
    assert!((2 * ROUND..2 * ROUND + 100).contains(&calls), "{calls} calls for {ROUND} reads");
    assert!(bytes < ROUND * 3 * 4096, "{bytes} bytes for {ROUND} reads");
    let (calls, bytes) = round(77);
    assert!(calls < 20 && bytes < 100_000, "{calls} calls and {bytes} bytes for what the kernel has");
}
