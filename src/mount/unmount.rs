//! Ending a mount from outside, and waiting until its daemon has finished.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::table;
use crate::error::{Error, Result};

/// How long a daemon may take to finish after its mount has gone.
const FINISH: Duration = Duration::from_secs(60);

/// Unmount only if nobody is inside.
pub(super) const WHEN_IDLE: MntFlags = MntFlags::empty();

/// How an unmount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// The daemon has finished.
    Finished,
    /// The directory is free; the daemon serves what is still open, and then finishes.
    Lazily,
    /// The mount has ended; which process served it could not be seen.
    Unseen,
    /// It was a dead mount, and is cleared away.
    Dead,
}

/// Ends the mount at `dir`.
pub fn unmount(dir: &Path, lazy: bool) -> Result<Unmounted> {
    let point = table::resolve(dir)?;
    let shown = point.display();
    match table::at(&point)? {
        Some(mount) if mount.is_ours() => {}
        Some(mount) => {
            let why = format!("{shown} is a mount of type {}, not one of vaso; use umount(8)", mount.kind);
            return Err(Error::Refused(why));
        }
        None => return Err(Error::Refused(format!("nothing is mounted at {shown}"))),
    }
    if lazy {
        detach(&point)?;
        return Ok(Unmounted::Lazily);
    }
    let daemon = match daemon(&point) {
        Ok(Some(daemon)) => Some(daemon),
        Ok(None) => {
            detach(&point)?;
            return Ok(Unmounted::Dead);
        }
        // Root may unmount what another user has mounted, and not look into it.
        Err(unseen) => {
            log::debug!("{unseen}");
            None
        }
    };
    match end(&point, WHEN_IDLE) {
        Ok(()) => {}
        Err(Errno::EBUSY) => {
            return Err(Error::Busy(busy(&point, daemon.as_ref().map(|daemon| daemon.pid))));
        }
        Err(e) => return Err(not_ended(&point, e)),
    }
    match daemon {
        Some(daemon) => daemon.wait().map(|()| Unmounted::Finished),
        None => Ok(Unmounted::Unseen),
    }
}

/// Frees the directory at once, whoever is inside.
pub fn detach(point: &Path) -> Result<()> {
    end(point, MntFlags::MNT_DETACH).map_err(|e| not_ended(point, e))
}

/// Why a mount did not end. That somebody may not end it is no failure of the system's.
fn not_ended(point: &Path, why: Errno) -> Error {
    match why {
        Errno::EPERM => {
            let point = point.display();
            Error::Refused(format!(
                "the system does not let you unmount {point}: whoever has mounted it can, and root"
            ))
        }
        other => Error::io("unmount", point, other),
    }
}

/// Unmounts by ourselves where that is allowed, else through the helper that may.
pub(super) fn end(point: &Path, flags: MntFlags) -> std::result::Result<(), Errno> {
    match umount2(point, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EPERM) => {}
        other => return other,
    }
    let mut command = Command::new("fusermount3");
    command.arg("-u");
    if flags.contains(MntFlags::MNT_DETACH) {
        command.arg("-z");
    }
    let output = command.arg("--").arg(point).output().map_err(|_| Errno::EPERM)?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if said.contains("busy") => Err(Errno::EBUSY),
        false => Err(Errno::EPERM),
    }
}

/// A process, told apart from a later one of the same number by the time it started.
#[derive(Debug)]
struct Daemon {
    pid: u32,
    started: Option<String>,
}

/// The process behind a mount, which its status file names; `None` when there is none any more.
fn daemon(point: &Path) -> Result<Option<Daemon>> {
    // A project may store a file of that name; ours is then in the twin folder, and known by its number.
    for n in 1..100 {
        let folder = if n == 1 { ".vaso".to_string() } else { format!(".vaso~{n}") };
        let path = point.join(folder).join("status.json");
        match std::fs::metadata(&path) {
            Ok(meta) if meta.ino() < crate::tree::RESERVED => return status(&path).map(Some),
            Ok(_) => {}
            // A folder of that name may be without such a file, and what bears it may be no folder.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) if e.raw_os_error() == Some(Errno::ENOTCONN as i32) => return Ok(None),
            Err(e) => return Err(Error::io("ask", &path, e)),
        }
    }
    Err(Error::Refused(format!("{}: the mount has no status", point.display())))
}

fn status(path: &Path) -> Result<Daemon> {
    let text = std::fs::read(path).map_err(|e| Error::io("ask", path, e))?;
    let status: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let pid = status.get("pid").and_then(|pid| u32::try_from(pid.as_u64()?).ok());
    let unclear = || Error::Refused(format!("{}: it names no process", path.display()));
    pid.map(|pid| Daemon { pid, started: started(pid) }).ok_or_else(unclear)
}

/// When a process started, in the kernel's ticks; `None` when it has ended.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; fields are counted behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next(), Some("Z" | "X"));
    if ended { None } else { fields.nth(18).map(str::to_string) }
}

impl Daemon {
    fn wait(&self) -> Result<()> {
        let until = Instant::now() + FINISH;
        while self.started.is_some() && started(self.pid) == self.started {
            if Instant::now() > until {
                let why = format!("the mount is gone, but its process {} has not finished", self.pid);
                return Err(Error::Busy(why));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Who holds a mount, for people. We are gone in a moment, and whoever started us inside stays. The process that serves
/// it has the source open, which may lie below it by its path, and not in it.
fn busy(point: &Path, daemon: Option<u32>) -> String {
    let own = std::process::id();
    let mut holders = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.parse::<u32>().ok());
        let pid = pid.filter(|pid| *pid != own && Some(*pid) != daemon);
        let Some(pid) = pid else { continue };
        if let Some(how) = holds(pid, point) {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            holders.push(format!("{} (process {pid}, {how})", comm.trim()));
        }
    }
    let who = match holders.len() {
        0 if holds(own, point).is_some() => "this very command, which was started inside".to_string(),
        0 => "a process of another user, or another mount inside".to_string(),
        1..=5 => holders.join(", "),
        n => format!("{}, and {} more", holders[..5].join(", "), n - 5),
    };
    format!("{} is in use by {who}; close what is open there and try again, or use --lazy", point.display())
}

/// What a process has open below `point`. Links in /proc are read, never followed.
fn holds(pid: u32, point: &Path) -> Option<&'static str> {
    let inside = |path: PathBuf| std::fs::read_link(path).is_ok_and(|to| to.starts_with(point));
    let proc = PathBuf::from(format!("/proc/{pid}"));
    if inside(proc.join("cwd")) {
        return Some("its working directory");
    }
    if inside(proc.join("exe")) {
        return Some("its program");
    }
    let fds = std::fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
    if fds.map(|fd| fd.path()).any(inside) {
        return Some("an open file");
    }
    let maps = std::fs::read(proc.join("maps")).unwrap_or_default();
    let mapped = |line: &[u8]| {
        let path = line.iter().position(|b| *b == b'/').map(|at| Path::new(OsStr::from_bytes(&line[at..])));
        path.is_some_and(|p| p.starts_with(point))
    };
    maps.split(|b| *b == b'\n').any(mapped).then_some("a mapped file")
}
