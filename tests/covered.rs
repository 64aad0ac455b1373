//! Mounts over their own source, in it, and in each other: nobody waits for himself.
//!
//! A wait that does not end cannot even be killed. So every step has its time, and whatever is still mounted when a test
//! has had its own is cut off in the kernel, which is an error to all who wait.

// A filter of system calls is set between fork and exec.
#![allow(unsafe_code)]

mod common;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{As, alive, eventually, everybody, is_root, run, succeed};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bundles in a folder, owned by who mounts. What is mounted below it ends with the test.
struct Scene {
    who: As,
    /// Dropped first.
    watch: Option<(Sender<()>, JoinHandle<()>)>,
    folder: TempDir,
}

impl Scene {
    fn new(who: As, bundles: &[&str]) -> Scene {
        let (folder, data) = (common::folder(), common::folder());
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bundles.tar.xz");
        let mut unpack = Command::new("tar");
        unpack.arg("-xJf").arg(archive).arg("-C").arg(data.path()).arg("--no-same-owner");
        succeed(unpack.arg("bundle/stale_lock.vasopack"));
        for name in bundles {
            let from = data.path().join("bundle/stale_lock.vasopack");
            succeed(Command::new("cp").arg("-a").arg(from).arg(folder.path().join(name)));
        }
        let (end, ended) = mpsc::channel();
        let top = folder.path().to_path_buf();
        let watch = std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                cut_off(&top);
            }
        });
        let scene = Scene { who, watch: Some((end, watch)), folder };
        scene.own();
        scene
    }

    fn own(&self) {
        if self.who == As::User {
            succeed(Command::new("chown").args(["-R", "65534:65534"]).arg(self.folder.path()));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in the folder, which ends, if it can, after a while.
    fn command(&self, program: impl AsRef<Path>, args: &[&str]) -> Command {
        let mut command = common::command(self.who, "timeout");
        command.args(["-k", "1", "30"]).arg(program.as_ref()).args(args).current_dir(self.folder.path());
        command
    }

    fn vaso(&self, args: &[&str]) -> Output {
        run(&mut self.command(common::program(), args))
    }

    fn sh(&self, script: &str) -> String {
        succeed(&mut self.command("sh", &["-c", script]))
    }

    fn mount(&self, args: &[&str]) -> u32 {
        let all = [&["mount", "--json"], args].concat();
        let said = succeed(&mut self.command(common::program(), &all));
        serde_json::from_str::<Value>(&said).expect(&said)["pid"].as_u64().unwrap() as u32
    }

    fn unmount(&self, name: &str) {
        succeed(&mut self.command(common::program(), &["umount", name]));
        assert!(!common::mounted(&self.path(name)));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        cut_off(self.folder.path());
        if let Some((end, watch)) = self.watch.take() {
            drop(end);
            let _ = watch.join();
        }
    }
}

/// Ends everything that is mounted below a folder, whether anybody answers or not.
fn cut_off(top: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in table.lines().rev() {
        let fields: Vec<&str> = line.split(' ').collect();
        if !Path::new(fields[4]).starts_with(top) {
            continue;
        }
        let number = fields[2].split(':').nth(1).unwrap();
        let _ = fs::write(format!("/sys/fs/fuse/connections/{number}/abort"), "1");
        let _ = run(Command::new("umount").args(["-l", fields[4]]));
    }
}

#[test]
fn r7_a_bundle_may_be_mounted_on_itself() {
    for who in everybody() {
        let scene = Scene::new(who, &["s.vasopack"]);
        symlink("s.vasopack", scene.path("link")).unwrap();
        let files = "cd s.vasopack && find HEAD.json snapshots -type f | sort | xargs sha256sum";
        let before = scene.sh(files);
        // What is underneath can be reached by whoever has had it open.
        let open = File::open(scene.path("s.vasopack")).unwrap();
        let below = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));

        let source = if who == As::Me { "link" } else { "s.vasopack" };
        let pid = scene.mount(&[source, "s.vasopack"]);
        assert_eq!(scene.sh(files), before, "{who:?}");
        assert!(scene.sh("ls s.vasopack/browse").lines().count() > 1);
        assert_eq!(scene.sh("cmp s.vasopack/current.sqlite s.vasopack/snapshots/000002.sqlite"), "");
        assert_eq!(scene.sh("find s.vasopack -type f -exec cat {} + | wc -c | tr -d 0-9"), "\n");
        scene.sh("df s.vasopack && stat -f s.vasopack && ls -lR s.vasopack/.vaso/history");

        // R5 holds, also after some looks at the source.
        std::thread::sleep(Duration::from_secs(1));
        fs::copy(below.join("snapshots/000001.sqlite"), below.join("snapshots/000003.sqlite")).unwrap();
        eventually("the new snapshot is shown", || {
            scene.sh("ls s.vasopack/snapshots").contains("000003.sqlite")
        });
        scene.sh("cmp s.vasopack/current.sqlite s.vasopack/snapshots/000003.sqlite");
        fs::remove_file(below.join("snapshots/000003.sqlite")).unwrap();
        eventually("it is gone", || !scene.sh("ls s.vasopack/snapshots").contains("000003.sqlite"));
        drop(open);

        // Whoever looks now sees what is mounted.
        for verb in [&["info"][..], &["verify"], &["log"], &["recover", "--list"], &["ls"]] {
            let output = scene.vaso(&[verb, &["s.vasopack"]].concat());
            assert!(matches!(output.status.code(), Some(0 | 1)), "{verb:?}: {output:?}");
        }
        let output = scene.vaso(&["mount", "s.vasopack", "s.vasopack"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");

        // Who is inside is named, and not the process that serves it.
        let mut holder = common::command(who, "sh");
        holder.args(["-c", "cd s.vasopack && exec sleep 60"]).current_dir(scene.folder.path());
        let mut holder = holder.spawn().unwrap();
        let name = PathBuf::from(format!("/proc/{}/comm", holder.id()));
        eventually("somebody is inside", || fs::read(&name).is_ok_and(|name| name == b"sleep\n"));
        let output = scene.vaso(&["umount", "s.vasopack"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("sleep (process") && !said.contains("vaso (process"), "{said}");
        holder.kill().unwrap();
        holder.wait().unwrap();
        eventually("nobody is inside", || scene.vaso(&["umount", "s.vasopack"]).status.success());
        assert!(!alive(pid) && !common::mounted(&scene.path("s.vasopack")));
        assert_eq!(scene.sh(files), before, "{who:?}");
        assert!(scene.path("s.vasopack/.lock").exists());
    }
}

#[test]
fn r5_a_bundle_that_was_replaced_is_noticed_beside_one_that_is_mounted_on_itself() {
    let scene = Scene::new(As::Me, &["s.vasopack", "other.vasopack"]);
    fs::create_dir(scene.path("mnt")).unwrap();
    fs::remove_file(scene.path("other.vasopack/snapshots/000002.sqlite")).unwrap();
    scene.mount(&["s.vasopack", "mnt"]);
    scene.mount(&["s.vasopack", "s.vasopack"]);
    // The first one still looks at what is underneath, and asks nothing of the second.
    std::thread::sleep(Duration::from_secs(1));
    scene.sh("cmp mnt/current.sqlite s.vasopack/current.sqlite && ls -R mnt/browse");
    scene.unmount("s.vasopack");
    fs::rename(scene.path("s.vasopack"), scene.path("away.vasopack")).unwrap();
    fs::rename(scene.path("other.vasopack"), scene.path("s.vasopack")).unwrap();
    eventually("the other one is shown", || scene.sh("ls mnt/snapshots") == "000001.sqlite\n");
    scene.unmount("mnt");
}

#[test]
fn r5_a_bundle_that_came_in_place_of_another_stays_when_it_is_mounted_on_itself() {
    for is_removed in [false, true] {
        let scene = Scene::new(As::Me, &["s.vasopack", "other.vasopack"]);
        fs::create_dir(scene.path("mnt")).unwrap();
        fs::remove_file(scene.path("other.vasopack/snapshots/000002.sqlite")).unwrap();
        scene.mount(&["s.vasopack", "mnt"]);
        fs::rename(scene.path("s.vasopack"), scene.path("away.vasopack")).unwrap();
        fs::rename(scene.path("other.vasopack"), scene.path("s.vasopack")).unwrap();
        let is_other = || scene.sh("ls mnt/snapshots") == "000001.sqlite\n";
        eventually("the other one is shown", is_other);
        if is_removed {
            fs::remove_dir_all(scene.path("away.vasopack")).unwrap();
        }
        scene.mount(&["s.vasopack", "s.vasopack"]);
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(500));
            assert!(is_other(), "removed: {is_removed}");
        }
        scene.sh("cmp mnt/current.sqlite s.vasopack/current.sqlite");
        scene.unmount("s.vasopack");
        scene.unmount("mnt");
    }
}

#[test]
fn r5_a_mount_over_the_snapshots_leaves_what_was_shown_last() {
    let scene = Scene::new(As::Me, &["s.vasopack", "other.vasopack"]);
    fs::create_dir(scene.path("mnt")).unwrap();
    scene.mount(&["s.vasopack", "mnt"]);
    let all = "ls mnt mnt/snapshots mnt/browse && sha256sum mnt/current.sqlite";
    let before = scene.sh(all);
    scene.mount(&["other.vasopack", "s.vasopack/snapshots"]);
    eventually("it is told", || scene.sh("cat mnt/.vaso/findings.jsonl").contains("source-unreadable"));
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(scene.sh(all), before);
    }
    scene.unmount("s.vasopack/snapshots");
    // And the bundle is followed again.
    fs::remove_file(scene.path("s.vasopack/snapshots/000002.sqlite")).unwrap();
    eventually("it is gone", || !scene.sh("ls mnt/snapshots").contains("000002.sqlite"));
    scene.unmount("mnt");
}

#[test]
fn a_bundle_is_not_mounted_inside_itself() {
    for who in everybody() {
        let scene = Scene::new(who, &["s.vasopack"]);
        fs::create_dir(scene.path("s.vasopack/mnt")).unwrap();
        symlink("s.vasopack/mnt", scene.path("link")).unwrap();
        scene.own();
        for dir in ["s.vasopack/mnt", "s.vasopack/snapshots", "s.vasopack/.staging", "link"] {
            let output = scene.vaso(&["mount", "s.vasopack", dir]);
            assert_eq!(output.status.code(), Some(1), "{dir}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("lies in the project"), "{dir}: {said}");
            assert!(!common::mounted(&scene.path(dir)));
        }
    }
}

#[test]
fn r7_what_is_mounted_in_a_bundle_is_not_looked_into() {
    // Two that would wait for each other.
    for who in everybody() {
        let scene = Scene::new(who, &["a.vasopack", "b.vasopack"]);
        for name in ["a.vasopack/in", "b.vasopack/in"] {
            fs::create_dir(scene.path(name)).unwrap();
        }
        scene.own();
        let first = scene.mount(&["a.vasopack", "b.vasopack/in"]);
        let second = scene.mount(&["b.vasopack", "a.vasopack/in"]);
        for _ in 0..5 {
            // What is listed may be gone when it is looked at.
            scene.sh("ls -R a.vasopack b.vasopack >/dev/null 2>&1; df a.vasopack/in b.vasopack/in");
            std::thread::sleep(Duration::from_millis(200));
        }
        for path in ["a.vasopack/in", "b.vasopack/in"] {
            let all = scene.sh(&format!("find {path} | wc -l"));
            assert!(all.trim().parse::<usize>().unwrap() > 10, "{all}");
            assert_eq!(scene.sh(&format!("test -e {path}/in/HEAD.json || echo none")), "none\n");
        }
        let told = scene.sh("cat a.vasopack/in/.vaso/findings.jsonl");
        assert!(told.contains("mounted-inside") && told.contains("\"in\""), "{told}");
        scene.unmount("b.vasopack/in");
        scene.unmount("a.vasopack/in");
        assert!(!alive(first) && !alive(second));
    }
    // One that came in by another way than its own.
    if is_root() {
        let scene = Scene::new(As::Me, &["s.vasopack"]);
        for name in ["mnt", "s.vasopack/in"] {
            fs::create_dir(scene.path(name)).unwrap();
        }
        let pid = scene.mount(&["s.vasopack", "mnt"]);
        scene.sh("mount --bind mnt s.vasopack/in");
        for _ in 0..5 {
            // What is listed may be gone when it is looked at.
            scene.sh("ls -R mnt s.vasopack >/dev/null 2>&1; df mnt");
            std::thread::sleep(Duration::from_millis(200));
        }
        scene.sh("umount s.vasopack/in");
        eventually("it is a folder again", || scene.sh("test -d mnt/in && echo yes || echo no") == "yes\n");
        scene.unmount("mnt");
        assert!(!alive(pid));
    }
}

/// Lets a command, and what it starts, see `openat2` fail in this way, as an old kernel or a container's filter has it.
fn without_openat2(command: &mut Command, error: i32) {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let number = libc::SYS_openat2 as u32;
    let filter = [
        // The number of the call comes first in what the filter is shown.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let set = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the filter outlives the call, which only reads it.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: it makes one system call, and takes no memory.
    unsafe { command.pre_exec(set) };
}

#[test]
fn r7_a_bundle_is_read_and_mounted_on_itself_where_openat2_is_missing_or_forbidden() {
    // Without privileges such a filter forbids what mounts for others.
    if !is_root() {
        return;
    }
    for error in [libc::EPERM, libc::ENOSYS] {
        let scene = Scene::new(As::Me, &["s.vasopack"]);
        let vaso = |args: &[&str]| {
            let mut command = scene.command(common::program(), args);
            without_openat2(&mut command, error);
            succeed(&mut command)
        };
        let files = "cd s.vasopack && find HEAD.json snapshots -type f | sort | xargs sha256sum";
        let before = scene.sh(files);
        let told = vaso(&["info", "s.vasopack"]);
        vaso(&["mount", "s.vasopack", "s.vasopack"]);
        // Each look finds the source covered, and must not ask the mount.
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(scene.sh(files), before, "{error}");
        }
        scene.sh(
            "ls -R s.vasopack/browse && cmp s.vasopack/current.sqlite s.vasopack/snapshots/000002.sqlite",
        );
        // Whoever is in a mount may look at what is in it.
        assert!(!told.is_empty() && !vaso(&["ls", "s.vasopack"]).is_empty());
        vaso(&["info", "s.vasopack"]);
        scene.unmount("s.vasopack");
    }
}
