//! Real mounts, as root and as an ordinary user: what holds from `vaso mount` to the end of its process.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use common::{
    As, Pack, alive, command, eventually, everybody, is_root, noise, recording, rested, run, succeed,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A folder with a package and an empty directory `mnt`, owned by who mounts. What is mounted in it ends with
/// the test.
struct Scene {
    who: As,
    folder: TempDir,
}

impl Scene {
    fn new(who: As) -> Scene {
        let scene = Scene { who, folder: common::folder() };
        study().write(&scene.path("Study.vaso"));
        scene.own("Study.vaso");
        scene.make_dir("mnt");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn own(&self, name: &str) {
        if self.who == As::User {
            chown(self.path(name), Some(65534), Some(65534)).unwrap();
        }
    }

    fn make_dir(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        self.own(name);
    }

    /// A command whose relative paths are those of the folder.
    fn command(&self, program: impl AsRef<Path>, args: &[&str]) -> Command {
        let mut command = command(self.who, program);
        command.args(args).current_dir(self.folder.path());
        command
    }

    fn vaso(&self, args: &[&str]) -> Output {
        run(&mut self.command(common::program(), args))
    }

    /// Mounts with more arguments after `mount`, and gives the process that serves it.
    fn mount(&self, args: &[&str]) -> u32 {
        let all = [&["mount", "--json"], args].concat();
        let said = succeed(&mut self.command(common::program(), &all));
        serde_json::from_str::<Value>(&said).expect(&said)["pid"].as_u64().unwrap() as u32
    }

    fn unmount(&self, name: &str) {
        succeed(&mut self.command(common::program(), &["umount", name]));
        assert!(!self.is_mounted(name));
    }

    fn is_mounted(&self, name: &str) -> bool {
        common::mounted(&self.path(name))
    }

    /// Runs a shell script as who mounts. A hang is a failure.
    fn sh(&self, script: &str) -> String {
        succeed(&mut self.command("timeout", &["10", "sh", "-c", script]))
    }

    fn python(&self, script: &str, arg: &str) -> Value {
        let said = succeed(&mut self.command("timeout", &["10", "python3", "-c", script, arg]));
        serde_json::from_str(&said).expect(&said)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let output = run(&mut self.command("timeout", &["10", "cat", name]));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        for point in
            points.map(|p| p.replace("\\040", " ")).filter(|p| Path::new(p).starts_with(self.folder.path()))
        {
            let _ = run(common::vaso(self.who).args(["umount", "--lazy", &point]));
        }
    }
}

/// A process that was started here, and ends with the test.
struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it, and waits for the first line that it prints.
    fn start(command: &mut Command) -> (Running, String) {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        (Running { child, said }, line)
    }

    /// A script that holds something and then prints `ready`.
    fn holder(scene: &Scene, script: &str) -> Running {
        let (running, line) = Running::start(&mut scene.command("sh", &["-c", script]));
        assert_eq!(line, "ready\n", "{script}");
        running
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tables() -> Vec<u8> {
    recording(2, 400_000)
}

fn raw() -> Vec<u8> {
    noise(1, 300_000)
}

fn blob() -> (String, Vec<u8>) {
    let bytes = noise(3, 5000);
    let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    (format!("datasets/_shared/blobs/{digest}"), bytes)
}

fn study() -> Pack {
    let mut pack = Pack::new();
    pack.stored("raw.bin", &raw())
        .deflated("tables/recording.csv", &tables())
        .deflated("notes.txt", b"hello\n");
    let (name, bytes) = blob();
    pack.stored(&name, &bytes);
    pack
}

/// Refused with this code; what was said.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn signal(name: &str, pid: u32) {
    succeed(Command::new("kill").args([name, &pid.to_string()]));
}

/// The line of the kernel's table for a mount point without spaces.
fn table_line(point: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines: Vec<&str> = table.lines().filter(|l| l.split(' ').nth(4) == point.to_str()).collect();
    assert_eq!(lines.len(), 1, "{table}");
    lines[0].to_string()
}

#[test]
fn a_mount_answers_when_the_command_returns() {
    for who in everybody() {
        let scene = Scene::new(who);
        let output = scene.vaso(&["mount", "--no-cache", "--json", "Study.vaso", "mnt"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(
            scene.sh("ls mnt"),
            "browse\ndatasets\nevents\nmanifest.json\nnotes.txt\nraw.bin\ntables\n"
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["source"], scene.path("Study.vaso").to_str().unwrap());
        assert_eq!(report["dir"], scene.path("mnt").to_str().unwrap());
        assert_eq!((&report["kind"], &report["mode"]), (&"package".into(), &"ro".into()));
        let pid = report["pid"].as_u64().unwrap() as u32;
        assert!(alive(pid));
        assert_eq!(scene.read("mnt/raw.bin"), raw());
        assert_eq!(scene.read("mnt/tables/recording.csv"), tables());
        scene.unmount("mnt");
    }
}

#[test]
fn the_kernels_table_shows_a_read_only_mount_of_our_type() {
    for who in everybody() {
        let scene = Scene::new(who);
        scene.mount(&["Study.vaso", "mnt"]);
        let line = table_line(&scene.path("mnt"));
        let (mount, file_system) = line.split_once(" - ").unwrap();
        assert_eq!(file_system.split(' ').next(), Some("fuse.vaso"), "{line}");
        let flags: Vec<&str> = mount.split(' ').nth(5).unwrap().split(',').collect();
        assert!(flags.contains(&"ro") && flags.contains(&"nosuid") && flags.contains(&"nodev"), "{line}");
        let touch = run(&mut scene.command("touch", &["mnt/new"]));
        assert!(refused(&touch, 1).contains("Read-only"), "{touch:?}");
    }
}

#[test]
fn a_source_may_have_any_name_and_be_a_link() {
    for who in everybody() {
        let scene = Scene::new(who);
        for name in ["My study, 2nd run (naïve 日本).vaso", "Study=1\\.vaso", "link.vaso"] {
            match name {
                "link.vaso" => symlink("Study.vaso", scene.path(name)).unwrap(),
                _ => drop(fs::copy(scene.path("Study.vaso"), scene.path(name)).unwrap()),
            }
            let full = scene.path(name);
            for source in [name, full.to_str().unwrap()] {
                scene.mount(&[source, "mnt"]);
                assert_eq!(scene.read("mnt/notes.txt"), b"hello\n", "{source}");
                scene.unmount("mnt");
            }
        }
    }
}

#[test]
fn a_link_may_lead_into_what_is_derived() {
    for who in everybody() {
        let scene = Scene::new(who);
        let mut pack = Pack::new();
        pack.link("in/link", "../browse/CACHEDIR.TAG");
        pack.link("nowhere", "browse/nothing/../../raw.bin");
        pack.write(&scene.path("Links.vaso"));
        scene.mount(&["Links.vaso", "mnt"]);
        assert!(scene.read("mnt/in/link").starts_with(b"Signature: 8a477f597d28d172789f06886806bc55"));
        assert_eq!(scene.read("mnt/nowhere"), b"browse/nothing/../../raw.bin", "it may leave the package");
        scene.unmount("mnt");
    }
}

#[test]
fn a_source_needs_no_more_than_permission_to_read() {
    for who in everybody() {
        let scene = Scene::new(who);
        scene.make_dir("closed");
        fs::rename(scene.path("Study.vaso"), scene.path("closed/Study.vaso")).unwrap();
        let mode = |name: &str, mode| fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode));
        mode("closed/Study.vaso", 0o400).unwrap();
        mode("closed", 0o500).unwrap();
        scene.mount(&["closed/Study.vaso", "mnt"]);
        assert_eq!(scene.read("mnt/raw.bin"), raw());
        scene.unmount("mnt");
        // So that whoever runs the tests can remove it.
        mode("closed", 0o700).unwrap();
    }
}

#[test]
fn a_directory_may_have_spaces_and_be_a_link() {
    for who in everybody() {
        let scene = Scene::new(who);
        scene.make_dir("my  study, é");
        symlink("my  study, é", scene.path("link")).unwrap();
        for dir in ["my  study, é", "my  study, é/", "link"] {
            scene.mount(&["Study.vaso", dir]);
            assert!(scene.is_mounted("my  study, é"));
            assert_eq!(scene.read("my  study, é/notes.txt"), b"hello\n");
            succeed(&mut scene.command(common::program(), &["umount", dir]));
            assert!(!scene.is_mounted("my  study, é"));
        }
    }
}

#[test]
fn a_mount_may_cover_its_own_source() {
    for who in everybody() {
        for dir in ["home", "home/below"] {
            let scene = Scene::new(who);
            scene.make_dir("home");
            scene.make_dir("home/below");
            fs::rename(scene.path("Study.vaso"), scene.path("home/Study.vaso")).unwrap();
            let pid = scene.mount(&["home/Study.vaso", dir]);
            assert_eq!(scene.read(&format!("{dir}/raw.bin")), raw());
            assert_eq!(scene.read(&format!("{dir}/tables/recording.csv")), tables());
            assert_eq!(scene.sh(&format!("find {dir} -type f | wc -l")), "8\n");
            let seen = scene.sh("test -e home/Study.vaso && echo yes || echo no");
            assert_eq!(seen, if dir == "home" { "no\n" } else { "yes\n" });
            scene.unmount(dir);
            assert!(!alive(pid) && scene.path("home/Study.vaso").exists());
        }
    }
}

/// A mount whose process was killed.
fn dead(scene: &Scene) {
    let pid = scene.mount(&["Study.vaso", "mnt"]);
    signal("-9", pid);
    eventually("the killed process ends", || !alive(pid));
    let ls = run(&mut scene.command("ls", &["mnt"]));
    assert!(!ls.status.success() && scene.is_mounted("mnt"), "{ls:?}");
}

#[test]
fn a_dead_mount_is_mounted_over() {
    for who in everybody() {
        let scene = Scene::new(who);
        dead(&scene);
        scene.mount(&["Study.vaso", "mnt"]);
        table_line(&scene.path("mnt"));
        assert_eq!(scene.read("mnt/notes.txt"), b"hello\n");
        scene.unmount("mnt");
    }
}

#[test]
fn a_dead_mount_is_cleared_away_by_umount() {
    for who in everybody() {
        for args in [&["umount", "mnt"][..], &["umount", "--lazy", "mnt"]] {
            let scene = Scene::new(who);
            dead(&scene);
            assert_eq!(scene.vaso(args).status.code(), Some(0));
            assert!(!scene.is_mounted("mnt"));
        }
    }
}

#[test]
fn a_live_mount_is_not_mounted_over() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        let output = scene.vaso(&["mount", "Study.vaso", "mnt"]);
        let said = refused(&output, 4);
        assert!(said.contains(&format!("vaso umount {}", scene.path("mnt").display())), "{said}");
        assert!(alive(pid));
        table_line(&scene.path("mnt"));
    }
}

#[test]
fn a_source_or_a_directory_that_is_not_there_mounts_nothing() {
    for who in everybody() {
        let scene = Scene::new(who);
        fs::write(scene.path("text.vaso"), "not a package").unwrap();
        for (args, code) in [
            (["missing.vaso", "mnt"], 2),
            (["text.vaso", "mnt"], 2),
            (["Study.vaso", "missing"], 1),
            (["Study.vaso", "text.vaso"], 1),
        ] {
            let said = refused(&scene.vaso(&["mount", "--no-cache", args[0], args[1]]), code);
            assert!(said.starts_with("vaso: ") && said.lines().count() == 1, "{said}");
            assert!(!scene.is_mounted("mnt"));
        }
    }
}

#[test]
fn umount_returns_when_the_process_has_ended() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        scene.read("mnt/raw.bin");
        let output = scene.vaso(&["umount", "mnt"]);
        assert!(!alive(pid));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!scene.is_mounted("mnt"));
    }
}

#[test]
fn a_busy_mount_stays_and_its_holder_is_named() {
    for who in everybody() {
        let scene = Scene::new(who);
        let daemon = scene.mount(&["Study.vaso", "mnt"]);
        for hold in ["exec 3<mnt/raw.bin", "cd mnt/tables"] {
            let holder = Running::holder(&scene, &format!("{hold}; echo ready; exec sleep 100"));
            let comm = format!("/proc/{}/comm", holder.pid());
            eventually("the shell becomes sleep", || fs::read_to_string(&comm).unwrap() == "sleep\n");
            let said = refused(&scene.vaso(&["umount", "mnt"]), 4);
            assert!(said.contains(&format!("sleep (process {}", holder.pid())), "{said}");
            assert!(alive(daemon) && scene.is_mounted("mnt"));
        }
        scene.unmount("mnt");
        assert!(!alive(daemon));
    }
}

#[test]
fn umount_from_inside_names_who_stays_there_and_not_itself() {
    let scene = Scene::new(As::Me);
    scene.mount(&["Study.vaso", "mnt"]);
    let output = run(scene
        .command("sh", &["-c", "cd mnt/tables && \"$0\" umount ../../mnt; exit $?"])
        .arg(common::program()));
    let said = refused(&output, 4);
    assert!(said.contains("sh (process") && !said.contains("vaso (process"), "{said}");
    scene.unmount("mnt");
}

#[test]
fn a_lazy_umount_frees_the_directory_and_serves_what_is_open() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        let script = "exec 3<mnt/tables/recording.csv; echo ready; read line; cat <&3; exec 3<&-; read line";
        let mut holder = Running::holder(&scene, script);
        let output = scene.vaso(&["umount", "--lazy", "mnt"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!scene.is_mounted("mnt"));
        assert_eq!(scene.sh("ls -A mnt"), "");
        assert!(alive(pid));
        let mut input = holder.child.stdin.take().unwrap();
        input.write_all(b"\n").unwrap();
        let mut read = vec![0; tables().len()];
        holder.said.read_exact(&mut read).unwrap();
        assert!(read == tables());
        eventually("the process ends with the last open file", || !alive(pid));
        drop(input);
    }
}

#[test]
fn umount_refuses_what_is_not_ours() {
    for who in everybody() {
        let scene = Scene::new(who);
        for name in ["mnt", "missing", "Study.vaso"] {
            let said = refused(&scene.vaso(&["umount", name]), 1);
            assert!(said.contains("nothing is mounted at"), "{said}");
        }
        if who == As::Me && is_root() {
            let mnt = scene.path("mnt");
            succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&mnt));
            let outputs = ["--lazy", "-q"].map(|flag| scene.vaso(&["umount", flag, "mnt"]));
            let still = scene.is_mounted("mnt");
            succeed(Command::new("umount").arg(&mnt));
            assert!(still);
            for output in outputs {
                assert!(refused(&output, 1).contains("tmpfs"), "{output:?}");
            }
        }
    }
}

#[test]
fn a_signal_ends_the_foreground_cleanly() {
    for who in everybody() {
        for name in ["-TERM", "-INT"] {
            let scene = Scene::new(who);
            let args = ["mount", "-f", "--json", "Study.vaso", "mnt"];
            let (mut running, line) = Running::start(&mut scene.command(common::program(), &args));
            let report: Value = serde_json::from_str(&line).expect(&line);
            assert_eq!(report["pid"], running.pid());
            assert_eq!(scene.read("mnt/notes.txt"), b"hello\n");
            signal(name, running.pid());
            eventually("the foreground ends", || !alive(running.pid()));
            assert_eq!(running.child.wait().unwrap().code(), Some(0), "{name}");
            assert!(!scene.is_mounted("mnt"));
        }
    }
}

#[test]
fn a_signal_ends_the_background_cleanly() {
    for who in everybody() {
        for name in ["-TERM", "-INT", "-HUP"] {
            let scene = Scene::new(who);
            let pid = scene.mount(&["Study.vaso", "mnt"]);
            signal(name, pid);
            eventually("the process ends", || !alive(pid));
            assert!(!scene.is_mounted("mnt"));
        }
    }
}

#[test]
fn a_signal_frees_the_directory_while_a_file_is_open() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        let _holder = Running::holder(&scene, "exec 3<mnt/raw.bin; echo ready; exec sleep 100");
        signal("-TERM", pid);
        eventually("the directory is free", || !scene.is_mounted("mnt"));
        eventually("the process ends", || !alive(pid));
    }
}

#[test]
fn the_systems_own_unmount_ends_the_process() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        succeed(&mut scene.command("fusermount3", &["-u", "mnt"]));
        assert!(!scene.is_mounted("mnt"));
        eventually("the process ends", || !alive(pid));
    }
}

#[test]
fn owner_and_mask_are_what_the_options_say() {
    for who in everybody() {
        let scene = Scene::new(who);
        let shown = |options: &[&str]| {
            scene.mount(&[options, &["Study.vaso", "mnt"]].concat());
            let shown = scene.sh("stat -c '%u %g %a' mnt/notes.txt");
            scene.unmount("mnt");
            shown.trim_end().to_string()
        };
        let me = scene.sh("echo $(id -u) $(id -g)");
        assert_eq!(shown(&[]), format!("{} 644", me.trim_end()));
        assert_eq!(shown(&["-o", "uid=1234,gid=4321,umask=027"]), "1234 4321 640");
        assert_eq!(shown(&["-o", "uid=7", "-o", "umask=077,gid=8"]), "7 8 600");
    }
}

#[test]
fn an_unknown_option_is_wrong_usage_and_names_the_nearest() {
    for who in everybody() {
        let scene = Scene::new(who);
        for (option, nearest) in [("alow_other", "allow_other"), ("noxatr", "noxattr"), ("uit=3", "uid=")] {
            let said = refused(&scene.vaso(&["mount", "-o", option, "Study.vaso", "mnt"]), 64);
            assert!(said.contains(option) && said.contains(&format!("{nearest:?}")), "{said}");
            assert!(!scene.is_mounted("mnt"));
        }
    }
}

#[test]
fn what_fstab_says_is_accepted() {
    for who in everybody() {
        let scene = Scene::new(who);
        scene.mount(&["-o", "ro,noauto,user,_netdev,x-gvfs-show,defaults", "Study.vaso", "mnt"]);
        assert_eq!(scene.read("mnt/notes.txt"), b"hello\n");
        let output = scene.vaso(&["mount", "-o", "ro,nofail", "missing.vaso", "mnt"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        scene.unmount("mnt");
        assert_eq!(scene.vaso(&["mount", "-o", "nofail", "missing.vaso", "mnt"]).status.code(), Some(0));
        assert!(!scene.is_mounted("mnt"));
    }
}

#[test]
fn others_are_let_in_only_when_asked() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(As::Me);
    let reads = || run(command(As::User, "cat").arg(scene.path("mnt/notes.txt"))).status.success();
    scene.mount(&["Study.vaso", "mnt"]);
    assert!(!reads());
    scene.unmount("mnt");
    scene.mount(&["-o", "allow_other", "Study.vaso", "mnt"]);
    assert!(reads());
    scene.unmount("mnt");
}

/// A package one of whose stored bytes is wrong: where it is, and what is there.
fn spoil(path: &Path, entry: &[u8]) -> Vec<u8> {
    let mut file = fs::read(path).unwrap();
    let start = file.windows(64).position(|w| w == &entry[..64]).unwrap();
    let middle = entry.len() / 2;
    file[start + middle] ^= 0x40;
    fs::write(path, &file).unwrap();
    file[start..start + entry.len()].to_vec()
}

#[test]
fn check_refuses_wrong_stored_bytes_at_open() {
    const OPEN: &str = "import os, sys, json
try:
    os.close(os.open(sys.argv[1], os.O_RDONLY))
    print(0)
except OSError as e:
    print(e.errno)";
    for who in everybody() {
        let scene = Scene::new(who);
        let spoiled = spoil(&scene.path("Study.vaso"), &raw());
        rested(&scene.path("Study.vaso"), 3600);
        scene.mount(&["Study.vaso", "mnt"]);
        assert_eq!(scene.python(OPEN, "mnt/raw.bin"), 0);
        assert!(scene.read("mnt/raw.bin") == spoiled);
        scene.unmount("mnt");
        scene.mount(&["-o", "check", "Study.vaso", "mnt"]);
        let eio = 5;
        assert_eq!(scene.python(OPEN, "mnt/raw.bin"), eio);
        assert_eq!(scene.python(OPEN, &blob().0.replace("datasets", "mnt/datasets")), 0);
        assert!(refused(&run(&mut scene.command("cat", &["mnt/raw.bin"])), 1).contains("Input/output error"));
        scene.unmount("mnt");
    }
}

#[test]
fn the_helper_of_mount_mounts_and_its_f_is_fake() {
    for who in everybody() {
        let scene = Scene::new(who);
        for name in ["mount.vaso", "mount.fuse.vaso"] {
            symlink(common::program(), scene.path(name)).unwrap();
            let helper = |args: &[&str]| succeed(&mut scene.command(scene.path(name), args));
            helper(&["Study.vaso", "mnt", "-f", "-o", "ro,uid=1000"]);
            helper(&["Study.vaso", "mnt", "-sfnv", "-o", "ro"]);
            assert!(!scene.is_mounted("mnt"));
            assert_eq!(helper(&["Study.vaso", "mnt", "-n", "-o", "ro,uid=1000"]), "");
            assert_eq!(scene.sh("stat -c %u mnt/notes.txt"), "1000\n");
            scene.unmount("mnt");
            // mount(8) takes 64 for "some of them were mounted".
            for (args, code) in
                [(["Study.vaso", "mnt", "-o", "bogus"], 1), (["no.vaso", "mnt", "-o", "ro"], 32)]
            {
                let output = run(&mut scene.command(scene.path(name), &args));
                assert_eq!(output.status.code(), Some(code), "{args:?}");
            }
        }
    }
}

#[test]
fn a_link_that_leads_elsewhere_by_now_is_told() {
    let scene = Scene::new(As::Me);
    symlink("Study.vaso", scene.path("current.vaso")).unwrap();
    scene.mount(&["current.vaso", "mnt"]);
    let found = || scene.read("mnt/.vaso/findings.jsonl");
    let is_told = || String::from_utf8(found()).unwrap().contains("source-link-moved");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!is_told());
    symlink("Other.vaso", scene.path("next")).unwrap();
    fs::rename(scene.path("next"), scene.path("current.vaso")).unwrap();
    common::eventually("it is told", is_told);
    assert_eq!(scene.read("mnt/notes.txt"), b"hello\n");
    scene.unmount("mnt");
}

#[test]
fn a_mount_lets_go_of_the_callers_pipes() {
    for who in everybody() {
        let scene = Scene::new(who);
        let script = format!("'{}' mount --no-cache Study.vaso mnt 2>&1 | cat", common::program().display());
        assert_eq!(scene.sh(&script), "");
        assert_eq!(scene.read("mnt/notes.txt"), b"hello\n");
        scene.unmount("mnt");
    }
}

const ATTRIBUTES: &str = "import os, sys, json
print(json.dumps([[n, os.getxattr(sys.argv[1], n).decode()] for n in os.listxattr(sys.argv[1])]))";
const OFFSET: &str = "import os, sys
print(int(os.getxattr(sys.argv[1], 'user.vaso.offset')))";

fn attributes(scene: &Scene, path: &str) -> Vec<(String, String)> {
    serde_json::from_value(scene.python(ATTRIBUTES, path)).unwrap()
}

#[test]
fn attributes_say_where_and_how_an_entry_is_stored() {
    for who in everybody() {
        let scene = Scene::new(who);
        let source = fs::read(scene.path("Study.vaso")).unwrap();
        scene.mount(&["Study.vaso", "mnt"]);
        let (blob_name, blob_bytes) = blob();
        for (name, bytes, method) in [
            ("raw.bin", raw(), "stored"),
            (&blob_name, blob_bytes, "stored"),
            ("tables/recording.csv", tables(), "deflate"),
        ] {
            let list = attributes(&scene, &format!("mnt/{name}"));
            let value = |key: &str| list.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
            assert!(list.is_sorted(), "{list:?}");
            assert_eq!(value("user.vaso.crc32"), Some(&*format!("{:08x}", crc32fast::hash(&bytes))));
            assert_eq!(value("user.vaso.method"), Some(method));
            let number = |key: &str| value(key).unwrap().parse::<usize>().unwrap();
            // Not listed: it changes when something else in the package does.
            assert_eq!(value("user.vaso.offset"), None);
            let offset = scene.python(OFFSET, &format!("mnt/{name}")).as_u64().unwrap() as usize;
            let packed = &source[offset..offset + number("user.vaso.packed_size")];
            match method {
                "stored" => assert!(packed == bytes, "{name}"),
                _ => assert!(inflate(packed) == bytes, "{name}"),
            }
            let digest = name.rsplit('/').next().filter(|_| name == blob_name);
            assert_eq!(value("user.vaso.sha256"), digest, "{name}");
        }
        assert!(attributes(&scene, "mnt/tables").is_empty());
        scene.unmount("mnt");
    }
}

#[test]
fn a_link_lists_no_attributes_that_the_kernel_would_not_give_out() {
    const LIST: &str =
        "import os, sys, json; print(json.dumps(os.listxattr(sys.argv[1], follow_symlinks=False)))";
    for who in everybody() {
        let scene = Scene::new(who);
        let mut pack = study();
        pack.link("latest", "notes.txt");
        pack.write(&scene.path("Study.vaso"));
        scene.mount(&["Study.vaso", "mnt"]);
        assert_eq!(scene.python(LIST, "mnt/latest"), Value::Array(Vec::new()));
        assert_eq!(scene.read("mnt/latest"), b"hello\n");
        scene.unmount("mnt");
    }
}

fn inflate(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::DeflateDecoder::new(packed).read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn an_unknown_attribute_is_no_data() {
    const ASK: &str = "import os, sys
try:
    os.getxattr(sys.argv[1], 'user.vaso.nothing')
    print(0)
except OSError as e:
    print(e.errno)";
    for who in everybody() {
        let scene = Scene::new(who);
        scene.mount(&["Study.vaso", "mnt"]);
        let enodata = 61;
        for path in ["mnt/raw.bin", "mnt/tables", "mnt", "mnt/.vaso/status.json"] {
            assert_eq!(scene.python(ASK, path), enodata, "{path}");
        }
        scene.unmount("mnt");
    }
}

#[test]
fn noxattr_gives_no_attributes_and_is_not_asked_again() {
    const ASK: &str = "import errno, os, sys, json
try:
    print(json.dumps(os.listxattr(sys.argv[1])))
except OSError as e:
    print(json.dumps(errno.errorcode[e.errno]))";
    // How often the daemon was asked while somebody asks for attributes a hundred times.
    const ASK_OFTEN: &str = "import os, sys, json
path, pid = sys.argv[1].split(':')
asked = lambda: int(next(l for l in open(f'/proc/{pid}/io') if l.startswith('syscr')).split()[1])
os.stat(path)
before = asked()
for _ in range(100):
    for ask in (lambda: os.listxattr(path), lambda: os.getxattr(path, 'user.vaso.sha256')):
        try:
            ask()
        except OSError:
            pass
print(json.dumps(asked() - before))";
    let help = succeed(common::vaso(As::Me).args(["mount", "--help"]));
    let told = help.lines().skip_while(|line| !line.contains("noxattr")).take(3).collect::<String>();
    assert!(told.contains("several times faster"), "{told}");
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["-o", "noxattr", "Study.vaso", "mnt"]);
        assert_eq!(scene.python(ASK, "mnt/raw.bin"), "ENOTSUP");
        assert_eq!(scene.read("mnt/notes.txt"), b"hello\n");
        let asked = |pid: u32| scene.python(ASK_OFTEN, &format!("mnt/raw.bin:{pid}")).as_u64().unwrap();
        let without = asked(pid);
        assert!(without < 20, "the daemon was asked {without} times");
        scene.unmount("mnt");
        assert!(!alive(pid));
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        assert!(asked(pid) >= 100, "counting requests counts nothing");
        scene.unmount("mnt");
    }
}

#[test]
fn the_status_is_reachable_and_not_listed() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = scene.mount(&["Study.vaso", "mnt"]);
        assert!(!scene.sh("ls -A mnt; find mnt").contains(".vaso"));
        let status: Value = serde_json::from_slice(&scene.read("mnt/.vaso/status.json")).unwrap();
        assert_eq!(status["source"], scene.path("Study.vaso").to_str().unwrap());
        assert_eq!(status["pid"], pid);
        assert_eq!(scene.sh("ls -A mnt/.vaso; ls -l mnt/.vaso >/dev/null"), "findings.jsonl\nstatus.json\n");
        let missing = run(&mut scene.command("cat", &["mnt/.vaso/nothing"]));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("No such file"), "{missing:?}");
        scene.unmount("mnt");
    }
}

#[test]
fn who_is_refused_can_look_up_why() {
    for who in everybody() {
        let scene = Scene::new(who);
        spoil(&scene.path("Study.vaso"), &raw());
        scene.mount(&["-o", "check", "Study.vaso", "mnt"]);
        // Read before there is anything: what is cached of the empty file must not show afterwards.
        assert_eq!(scene.read("mnt/.vaso/findings.jsonl"), b"");
        let [before, after] = [0, 1].map(|_| {
            let status: Value = serde_json::from_slice(&scene.read("mnt/.vaso/status.json")).unwrap();
            assert!(!run(&mut scene.command("cat", &["mnt/raw.bin"])).status.success());
            status["findings"].clone()
        });
        assert_eq!(before, serde_json::json!({ "error": 0, "warning": 0, "notice": 0 }));
        assert_eq!(after["error"], 1);
        let told = String::from_utf8(scene.read("mnt/.vaso/findings.jsonl")).unwrap();
        let finding: Value = serde_json::from_str(told.trim_end()).expect(&told);
        assert_eq!(
            (&finding["code"], &finding["path"]),
            (&"crc-mismatch".into(), &"raw.bin".into()),
            "{told}"
        );
        scene.unmount("mnt");
    }
}

#[test]
fn df_shows_what_is_stored_and_nothing_free() {
    for who in everybody() {
        let scene = Scene::new(who);
        scene.mount(&["Study.vaso", "mnt"]);
        let shown = scene.sh("stat -f -c '%b %S %f %a' mnt");
        let numbers: Vec<u64> = shown.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let bytes = numbers[0] * numbers[1];
        assert!((705_000..800_000).contains(&bytes), "{shown}");
        assert_eq!(numbers[2..], [0, 0]);
        scene.unmount("mnt");
    }
}

/// A project that stores what looks like our control folder cannot lead an unmount astray.
#[test]
fn a_stored_control_folder_keeps_its_name_and_deceives_nobody() {
    let folder = common::folder();
    let mut pack = common::Pack::new();
    pack.stored(".vaso/status.json", br#"{"pid": 1}"#);
    let path = folder.path().join("Spoof.vaso");
    pack.write(&path);
    let mount = common::Mount::new(common::As::Me, &path, &[]);
    assert_eq!(mount.read(".vaso/status.json"), br#"{"pid": 1}"#);
    let own: serde_json::Value = serde_json::from_slice(&mount.read(".vaso~2/status.json")).unwrap();
    assert_eq!(own["pid"], mount.pid);
    let (pid, limit) = (mount.pid, std::time::Instant::now());
    mount.unmount();
    assert!(!common::alive(pid) && limit.elapsed().as_secs() < 10);
}

#[test]
fn a_stored_file_of_the_control_folders_name_keeps_nobody_from_waiting() {
    let folder = common::folder();
    let mut pack = common::Pack::new();
    pack.stored(".vaso", b"a file");
    let path = folder.path().join("File.vaso");
    pack.write(&path);
    let mount = common::Mount::new(common::As::Me, &path, &[]);
    assert_eq!(mount.read(".vaso"), b"a file");
    let output = run(common::vaso(As::Me).arg("umount").arg(&mount.dir));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!common::alive(mount.pid), "it was waited for");
}

/// After a lazy unmount the directory may be another mount's, which a signal to the first must not end.
#[test]
fn a_signal_to_a_detached_daemon_leaves_a_later_mount_alone() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = common::Pack::new();
    pack.stored("file", b"bytes");
    pack.write(&path);
    let dir = folder.path().join("mnt");
    std::fs::create_dir(&dir).unwrap();
    let first = common::Mount::at(common::As::Me, &path, &dir, &[]);
    let held = std::fs::File::open(dir.join("file")).unwrap();
    common::succeed(common::vaso(common::As::Me).args(["umount", "--lazy"]).arg(&dir));
    let second = common::Mount::at(common::As::Me, &path, &dir, &[]);
    common::succeed(std::process::Command::new("kill").args(["-TERM", &first.pid.to_string()]));
    common::eventually("the first daemon ends", || !first.is_alive());
    assert!(second.is_alive());
    assert_eq!(second.read("file"), b"bytes");
    drop(held);
    second.unmount();
    drop(first);
}

/// The helper of mount(8) may be a copy of the program, not only a link.
#[test]
fn a_copy_under_the_helpers_name_mounts() {
    let folder = common::folder();
    let helper = folder.path().join("mount.vaso");
    // By another process: a descriptor for writing that a test beside this one inherits would make it "busy".
    common::succeed(common::command(common::As::Me, "cp").arg(common::program()).arg(&helper));
    let path = folder.path().join("P.vaso");
    common::Pack::new().write(&path);
    let dir = folder.path().join("mnt");
    std::fs::create_dir(&dir).unwrap();
    common::succeed(common::command(common::As::Me, &helper).arg(&path).arg(&dir).args(["-o", "ro"]));
    assert!(dir.join("manifest.json").exists());
    common::succeed(common::vaso(common::As::Me).arg("umount").arg(&dir));
}
