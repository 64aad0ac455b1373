//! How a mount starts: what is said and how often, and what is left where nobody can be told.

mod common;

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{As, Pack, Reader, eventually, everybody, folder, run};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

struct Scene {
    who: As,
    _folder: tempfile::TempDir,
    project: PathBuf,
    dir: PathBuf,
}

impl Scene {
    fn new(who: As) -> Scene {
        let folder = folder();
        let (project, dir) = (folder.path().join("P.vaso"), folder.path().join("mnt"));
        let mut pack = Pack::new();
        pack.stored("file", b"bytes");
        pack.write(&project);
        fs::create_dir(&dir).unwrap();
        if who == As::User {
            std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
        }
        Scene { who, _folder: folder, project, dir }
    }

    fn mount(&self, options: &[&str]) -> Command {
        let mut command = common::vaso(self.who);
        command.args(["mount", "--no-cache"]).args(options).arg(&self.project).arg(&self.dir);
        command
    }

    fn is_mounted(&self) -> bool {
        common::mounted(&self.dir)
    }

    fn answers(&self) {
        let read = Reader::new(self.who).whole(&self.dir.join("file"));
        assert_eq!(read, Ok(b"bytes".to_vec()), "{:?}", self.who);
    }

    fn unmount(&self) {
        common::succeed(common::vaso(self.who).arg("umount").arg(&self.dir));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = run(common::vaso(self.who).args(["umount", "--lazy"]).arg(&self.dir));
        }
    }
}

/// A pipe that has no room for another byte.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b' '; 4096]).is_ok() {}
    while writer.write(b" ").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// A command that was started, and that ends with the test.
struct Running(Child);

impl Running {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_mount_that_cannot_be_reported_is_undone() {
    for who in everybody() {
        for options in [&["--json"][..], &["--json", "--foreground"]] {
            let scene = Scene::new(who);
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = run(scene.mount(options).stdout(full));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{options:?} {said}");
            assert!(said.contains("standard output"), "{said}");
            assert!(!scene.is_mounted(), "{options:?}");
        }
    }
}

#[test]
fn a_reader_who_has_gone_is_no_error() {
    for who in everybody() {
        let scene = Scene::new(who);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(scene.mount(&["--json"]).stdout(writer));
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
        scene.answers();
        scene.unmount();
    }
}

#[test]
fn a_mount_answers_while_its_report_waits_and_is_undone_with_who_would_report_it() {
    for who in everybody() {
        let scene = Scene::new(who);
        let start = |options: &[&str]| {
            let (reader, writer) = full_pipe();
            let mut command = scene.mount(options);
            let running = Running(command.stdout(writer).spawn().unwrap());
            eventually("it is mounted", || scene.is_mounted());
            scene.answers();
            (reader, running)
        };
        let (_reader, mut running) = start(&["--json"]);
        assert!(!running.has_ended());
        running.kill();
        eventually("it is undone", || !scene.is_mounted());

        // Whoever reads at last is told.
        let (mut reader, mut running) = start(&["--json"]);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(running.0.wait().unwrap().success());
        let report: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
        assert_eq!(report["dir"], scene.dir.to_str().unwrap());
        scene.answers();
        scene.unmount();

        let (_reader, mut running) = start(&["--json", "--foreground"]);
        scene.unmount();
        assert!(running.0.wait().unwrap().success());
    }
}

#[test]
fn a_warning_about_an_option_is_said_once() {
    for who in everybody() {
        let scene = Scene::new(who);
        let helper = scene.dir.with_file_name("mount.vaso");
        symlink(common::program(), &helper).unwrap();
        let mut sloppy = common::command(who, &helper);
        sloppy.arg(&scene.project).arg(&scene.dir).args(["-s", "-o", "rw,nocache,unheard=of"]);
        for (mut command, told) in
            [(scene.mount(&["-o", "rw"]), &["rw"][..]), (sloppy, &["rw", "unheard=of"])]
        {
            let output = run(&mut command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert_eq!(said.lines().count(), told.len(), "{said}");
            assert!(told.iter().zip(said.lines()).all(|(word, line)| line.contains(word)), "{said}");
            scene.unmount();
        }
    }
}

#[test]
fn what_fstab_says_of_labels_and_for_others_keeps_nobody_from_mounting() {
    for who in everybody() {
        let scene = Scene::new(who);
        let options = "ro,_netdev,nofail,noauto,user=me,comment=systemd.automount,x-systemd.requires=/data,\
                       x-gvfs-name=My%20study,seclabel,context=\"system_u:object_r:fusefs_t:s0:c1,c2\"";
        let mut command = scene.mount(&["-o", options]);
        common::succeed(command.stdout(Stdio::piped()));
        scene.answers();
        scene.unmount();
    }
}

#[test]
fn a_mount_keeps_no_file_that_its_caller_had_open() {
    for who in everybody() {
        let scene = Scene::new(who);
        let lock = scene.project.with_file_name("lock");
        fs::write(&lock, "").unwrap();
        let script = r#"exec 9<"$1"; flock -n 9 && "$2" mount --no-cache "$3" "$4""#;
        let mut command = common::command(who, "sh");
        command.args(["-c", script, "sh"]).arg(&lock).arg(common::program());
        common::succeed(command.arg(&scene.project).arg(&scene.dir));
        common::succeed(common::command(who, "flock").arg("-n").arg(&lock).arg("true"));
        scene.answers();
        scene.unmount();
    }
}

#[test]
fn a_limit_of_file_sizes_and_stray_signals_leave_no_dead_mount() {
    for who in everybody() {
        let scene = Scene::new(who);
        let bytes = common::recording(1, 4 << 20);
        let mut pack = Pack::new();
        pack.stored("file", b"bytes").deflated("large", &bytes);
        pack.write(&scene.project);
        let cache = common::folder();
        fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o777)).unwrap();
        // The index of the large file is written beyond a limit of half a kilobyte.
        let script = r#"ulimit -f 1; "$1" mount --cache "$2/c" --json "$3" "$4""#;
        let mut command = common::command(who, "sh");
        command.args(["-c", script, "sh"]).arg(common::program()).arg(cache.path());
        let told = common::succeed(command.arg(&scene.project).arg(&scene.dir));
        assert!(Reader::new(who).whole(&scene.dir.join("large")).as_ref() == Ok(&bytes));
        let pid = serde_json::from_str::<serde_json::Value>(&told).unwrap()["pid"].to_string();
        for signal in ["-XFSZ", "-USR1", "-USR2", "-ALRM"] {
            common::succeed(Command::new("kill").args([signal, &pid]));
        }
        scene.answers();
        scene.unmount();
    }
}

#[test]
fn what_is_mounted_in_place_of_a_detached_mount_outlives_that() {
    for who in everybody() {
        let scene = Scene::new(who);
        let pid = || {
            let told = common::succeed(&mut scene.mount(&["--json"]));
            serde_json::from_str::<serde_json::Value>(&told).unwrap()["pid"].as_u64().unwrap() as u32
        };
        let first = pid();
        let mut reader = Reader::new(who);
        reader.open("held", &scene.dir.join("file")).unwrap();
        common::succeed(common::vaso(who).args(["umount", "--lazy"]).arg(&scene.dir));
        let second = pid();
        reader.close("held");
        eventually("the first daemon has ended", || !common::alive(first));
        scene.answers();
        assert!(common::alive(second));
        scene.unmount();
    }
}
