//! What the tests share: packages to make, projects to unpack, mounts that end with the test.
#![allow(dead_code, missing_docs)]

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Whoever runs the tests.
    Me,
    /// An ordinary user, through fusermount3. Only root can become one.
    User,
}

/// Both, where the tests run as root; an ordinary user is one already.
pub fn everybody() -> Vec<As> {
    if is_root() { vec![As::Me, As::User] } else { vec![As::Me] }
}

pub fn is_root() -> bool {
    // The owner of our own process directory is who we are.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

const NOBODY: &str = "65534";

/// The program where every user can run it: the build folder may lie below a closed home.
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(reachable_program).clone()
}

// The cleaner waits for us, so we cannot wait for it.
#[allow(clippy::zombie_processes)]
fn reachable_program() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_vaso"));
    let reachable = || {
        let mut test = Command::new("setpriv");
        test.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "test", "-x"]).arg(&built);
        test.status().expect("setpriv is part of util-linux").success()
    };
    if !is_root() || reachable() {
        return built;
    }
    let folder = folder().keep();
    let copy = folder.join("vaso");
    fs::copy(&built, &copy).unwrap();
    // A static is never dropped: a shell waits for the end of this process, and removes the copy.
    let clean = r#"tail --pid="$1" -f /dev/null; rm -r "$2""#;
    let mut cleaner = Command::new("setsid");
    cleaner.args(["sh", "-c", clean, "sh", &std::process::id().to_string()]).arg(&folder);
    cleaner.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    copy
}

/// A command that runs as `who`.
pub fn command(who: As, program: impl AsRef<Path>) -> Command {
    let mut command = match who {
        As::Me => Command::new(program.as_ref()),
        As::User => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program.as_ref());
            command
        }
    };
    // The caches of the user and of the system are no business of a test; where one is wanted, it is named.
    command.stdin(Stdio::null()).env_remove("VASO_LOG").env_remove("HOME").env_remove("XDG_CACHE_HOME");
    command.env("CACHE_DIRECTORY", "/dev/null/none");
    command
}

/// The program itself, as `who`.
pub fn vaso(who: As) -> Command {
    command(who, program())
}

/// Runs to the end, and gives what it said.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Runs to a good end, and gives what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A folder that every user can use.
pub fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("vaso-test-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A mount that ends with the test, whatever happens.
pub struct Mount {
    pub dir: PathBuf,
    pub pid: u32,
    who: As,
    _folder: Option<TempDir>,
}

impl Mount {
    /// Mounts `source` on a new directory.
    pub fn new(who: As, source: &Path, options: &[&str]) -> Mount {
        let folder = folder();
        let dir = folder.path().join("mnt");
        fs::create_dir(&dir).unwrap();
        if who == As::User {
            std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
        }
        let mut mount = Mount::at(who, source, &dir, options);
        mount._folder = Some(folder);
        mount
    }

    /// Mounts `source` on `dir`.
    pub fn at(who: As, source: &Path, dir: &Path, options: &[&str]) -> Mount {
        let mut command = vaso(who);
        command.arg("mount").arg("--json").args(options).arg(source).arg(dir);
        let said = succeed(&mut command);
        let report: serde_json::Value = serde_json::from_str(&said).expect(&said);
        let pid = report["pid"].as_u64().unwrap() as u32;
        Mount { dir: dir.to_path_buf(), pid, who, _folder: None }
    }

    /// A path in the mount.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Reads a file as the user who mounted: others, root included, are not let in.
    pub fn read(&self, path: &str) -> Vec<u8> {
        match self.who {
            As::Me => fs::read(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}")),
            As::User => {
                let output = run(command(self.who, "cat").arg(self.path(path)));
                assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
                output.stdout
            }
        }
    }

    /// Runs a shell command in the mount's directory, as the user who mounted.
    pub fn sh(&self, script: &str) -> String {
        succeed(command(self.who, "sh").args(["-c", script]).current_dir("/").env("M", &self.dir))
    }

    /// Unmounts as a user would.
    pub fn unmount(mut self) {
        self.end().unwrap();
    }

    fn end(&mut self) -> Result<(), String> {
        // A child that another test is starting holds copies of our open files until it executes its program.
        for attempt in 0.. {
            let output = run(vaso(self.who).arg("umount").arg(&self.dir));
            if output.status.success() {
                // Once only: a later mount at the same place is not ours.
                self.pid = 0;
                return Ok(());
            }
            if output.status.code() != Some(4) || attempt == 50 {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        unreachable!()
    }

    /// Whether the daemon runs.
    pub fn is_alive(&self) -> bool {
        alive(self.pid)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let pid = self.pid;
        if pid == 0 || !mounted(&self.dir) {
            return;
        }
        if let Err(said) = self.end() {
            // The process that this very mount has started, and no other.
            let _ = run(Command::new("kill").args(["-9", &pid.to_string()]));
            let _ = run(vaso(self.who).args(["umount", "--lazy"]).arg(&self.dir));
            if !std::thread::panicking() {
                panic!("the mount did not end: {said}");
            }
        }
    }
}

/// Whether a process runs.
pub fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    matches!(state, Some(s) if s != b'Z' && s != b'X')
}

/// Whether something is mounted at exactly this path.
pub fn mounted(dir: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .any(|l| l.split(' ').nth(4).is_some_and(|p| p.replace("\\040", " ") == dir.to_str().unwrap()))
}

/// Waits until `what` holds, for at most ten seconds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A package in the making. Every one has a manifest that makes it a project.
pub struct Pack {
    zip: ZipWriter<Cursor<Vec<u8>>>,
}

pub const MANIFEST: &str =
    r#"{"schema": "https://vaso.dev/schemas/vaso-package-v1.json", "format_version": "1.0.0"}"#;

impl Pack {
    pub fn new() -> Pack {
        let mut pack = Pack { zip: ZipWriter::new(Cursor::new(Vec::new())) };
        pack.stored("manifest.json", MANIFEST.as_bytes());
        pack.stored("events/events.jsonl", b"");
        pack
    }

    fn options(method: CompressionMethod) -> SimpleFileOptions {
        let time = DateTime::from_date_and_time(2026, 3, 1, 12, 34, 56).unwrap();
        SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(time)
            .unix_permissions(0o644)
    }

    fn add(&mut self, name: &str, bytes: &[u8], options: SimpleFileOptions) -> &mut Pack {
        self.zip.start_file(name, options).unwrap();
        self.zip.write_all(bytes).unwrap();
        self
    }

    pub fn stored(&mut self, name: &str, bytes: &[u8]) -> &mut Pack {
        self.add(name, bytes, Pack::options(CompressionMethod::Stored))
    }

    pub fn deflated(&mut self, name: &str, bytes: &[u8]) -> &mut Pack {
        self.add(name, bytes, Pack::options(CompressionMethod::Deflated))
    }

    pub fn with_mode(&mut self, name: &str, bytes: &[u8], mode: u32) -> &mut Pack {
        self.add(name, bytes, Pack::options(CompressionMethod::Stored).unix_permissions(mode))
    }

    pub fn link(&mut self, name: &str, target: &str) -> &mut Pack {
        self.zip.add_symlink(name, target, Pack::options(CompressionMethod::Stored)).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.zip.finish().unwrap().into_inner()
    }

    pub fn write(self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
        rested(path, 3600);
    }
}

/// Has a file look as if it was written so many seconds ago, and not just now, when nothing of it is believed yet.
pub fn rested(path: &Path, seconds: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

/// Bytes that do not repeat and that everybody computes alike.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 24) as u8
    };
    (0..len).map(step).collect()
}

/// Text that packs well, as a recording does.
pub fn recording(seed: u64, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 64);
    let mut i = 0u64;
    while text.len() < len {
        let value = (seed + i).wrapping_mul(2_654_435_761) % 100_000;
        text.extend_from_slice(format!("{i},{}.{:03}\n", value / 1000, value % 1000).as_bytes());
        i += 1;
    }
    text.truncate(len);
    text
}

/// Unpacks one of the archives in `tests/data` into a new folder that every user can read.
pub fn data(name: &str) -> TempDir {
    let folder = folder();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    succeed(Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).arg("--no-same-owner"));
    folder
}

/// The package at `path`, opened without a mount.
pub fn open(path: &Path) -> vaso::error::Result<std::sync::Arc<dyn vaso::format::Container>> {
    let location = vaso::store::Location::find(path)?;
    let source = vaso::store::Source::open(std::sync::Arc::new(location))?;
    vaso::format::open(source, vaso::format::OpenOptions::default())
}

/// A process that opens and reads files as some user, and keeps them open while the test goes on. (Root may
/// not look into an ordinary user's mount.)
pub struct Reader {
    child: std::process::Child,
    input: std::process::ChildStdin,
    output: std::io::BufReader<std::process::ChildStdout>,
}

/// What a read gave: the bytes, or the errno.
pub type Read = Result<Vec<u8>, i32>;

const READER: &str = r#"
import os, sys, mmap
files, out = {}, sys.stdout.buffer
def answer(data):
    out.write(b"%d\n" % len(data) + data); out.flush()
for line in sys.stdin.buffer:
    verb, *args = line.rstrip(b"\n").split(b"\t")
    try:
        if verb == b"open":
            files[args[0]] = os.open(args[1], os.O_RDONLY); answer(b"")
        elif verb == b"pread":
            fd, at, n, data = files[args[0]], int(args[1]), int(args[2]), b""
            while n > 0:
                piece = os.pread(fd, n, at)
                if not piece: break
                data += piece; at += len(piece); n -= len(piece)
            answer(data)
        elif verb == b"close":
            os.close(files.pop(args[0])); answer(b"")
        elif verb == b"stat":
            s = os.lstat(args[0])
            answer(b"%d %d %d %d %d %d %d %d %d" % (s.st_ino, s.st_mode, s.st_nlink, s.st_size, s.st_blocks,
                                                s.st_mtime_ns, s.st_ctime_ns, s.st_uid, s.st_gid))
        elif verb == b"list":
            answer(b"\n".join(sorted(os.listdir(args[0]))))
        elif verb == b"walk":
            found = []
            for top, dirs, names in os.walk(args[0]):
                found += [os.path.relpath(os.path.join(top, n), args[0]) for n in dirs + names]
            answer(b"\n".join(sorted(found)))
    except OSError as e:
        out.write(b"-%d\n" % e.errno); out.flush()
"#;

impl Reader {
    pub fn new(who: As) -> Reader {
        let mut child = command(who, "/usr/bin/python3")
            .args(["-c", READER])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Reader { child, input, output: std::io::BufReader::new(output) }
    }

    fn ask(&mut self, words: &[&[u8]]) -> Read {
        use std::io::{BufRead, Read as _};
        let mut line = words.join(&b'\t');
        line.push(b'\n');
        self.input.write_all(&line).unwrap();
        let mut head = String::new();
        self.output.read_line(&mut head).unwrap();
        let head: i64 = head.trim().parse().expect("the reader has ended");
        if head < 0 {
            return Err(-head as i32);
        }
        let mut bytes = vec![0; head as usize];
        self.output.read_exact(&mut bytes).unwrap();
        Ok(bytes)
    }

    pub fn open(&mut self, key: &str, path: &Path) -> Result<(), i32> {
        self.ask(&[b"open", key.as_bytes(), path.to_str().unwrap().as_bytes()]).map(drop)
    }

    pub fn pread(&mut self, key: &str, at: u64, len: usize) -> Read {
        self.ask(&[b"pread", key.as_bytes(), at.to_string().as_bytes(), len.to_string().as_bytes()])
    }

    pub fn close(&mut self, key: &str) {
        self.ask(&[b"close", key.as_bytes()]).unwrap();
    }

    /// Opens, reads all, closes.
    pub fn whole(&mut self, path: &Path) -> Read {
        self.open("whole", path)?;
        let bytes = self.pread("whole", 0, 1 << 30);
        self.close("whole");
        bytes
    }

    /// Opens, reads the first bytes, closes.
    pub fn beginning(&mut self, path: &Path, len: usize) -> Read {
        self.open("beginning", path)?;
        let bytes = self.pread("beginning", 0, len);
        self.close("beginning");
        bytes
    }

    /// Inode number, mode, links, size, blocks, mtime, ctime, owner, group.
    pub fn stat(&mut self, path: &Path) -> Result<Vec<u64>, i32> {
        let text = self.ask(&[b"stat", path.to_str().unwrap().as_bytes()])?;
        let text = String::from_utf8(text).unwrap();
        Ok(text.split(' ').map(|n| n.parse().unwrap()).collect())
    }

    pub fn ino(&mut self, path: &Path) -> u64 {
        self.stat(path).unwrap()[0]
    }

    pub fn list(&mut self, dir: &Path) -> Vec<String> {
        lines(self.ask(&[b"list", dir.to_str().unwrap().as_bytes()]).unwrap())
    }

    /// All paths below a directory.
    pub fn walk(&mut self, dir: &Path) -> Vec<String> {
        lines(self.ask(&[b"walk", dir.to_str().unwrap().as_bytes()]).unwrap())
    }
}

fn lines(text: Vec<u8>) -> Vec<String> {
    String::from_utf8(text).unwrap().lines().map(str::to_string).collect()
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a stored entry of a package one that no decoder is known for, so that opening it is refused.
pub fn make_unsupported(package: &mut [u8], name: &str) {
    let places: Vec<usize> =
        (0..package.len()).filter(|i| package[*i..].starts_with(name.as_bytes())).collect();
    assert_eq!(places.len(), 2, "a local header and a central record");
    package[places[0] - 30 + 8] = 97;
    package[places[1] - 46 + 10] = 97;
}

/// Has the kernel forget what it keeps of files, where it lets us.
pub fn drop_caches() {
    if is_root() {
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    }
}
