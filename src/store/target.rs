//! New files for people: complete under their name, or not there at all.

use std::ffi::OsString;
use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// A file that is being written under another name beside its own. Dropped before [`Target::finish`], it is
/// gone.
#[derive(Debug)]
pub struct Target {
    file: File,
    part: PathBuf,
    path: PathBuf,
    /// Whether the name is somebody's, who gets another.
    replaces: bool,
    finished: bool,
}

impl Target {
    /// Begins `path`, which must not exist.
    pub fn create(path: &Path) -> io::Result<Target> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Target::begin(path, false)
    }

    /// Begins a new state of `path`. Its file stays what it is until the end, and is then `path~1`, or the first
    /// of `path~2`, `path~3` that is free.
    pub fn replacing(path: &Path) -> io::Result<Target> {
        Target::begin(path, true)
    }

    fn begin(path: &Path, replaces: bool) -> io::Result<Target> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut part_name = OsString::from(format!(".vaso-{}-", std::process::id()));
        // Beside a name of 255 bytes there is no room for more of it.
        part_name.push(blake3::hash(name.as_encoded_bytes()).to_hex().as_str());
        let part = path.with_file_name(part_name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Target { file, part, path: path.to_path_buf(), replaces, finished: false })
    }

    /// Where the bytes are that were written so far, to be looked at before they get their name.
    pub fn written(&self) -> &Path {
        &self.part
    }

    /// Gives the file its mode, time and name. It is durable when this returns.
    pub fn finish(mut self, mode: u32, time: SystemTime) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.file.set_times(FileTimes::new().set_modified(time))?;
        self.file.sync_all()?;
        if self.replaces {
            keep(&self.path)?;
            std::fs::rename(&self.part, &self.path)?;
        } else {
            rename_new(&self.part, &self.path)?;
        }
        self.finished = true;
        match self.path.parent() {
            Some(folder) if self.replaces && folder != Path::new("") => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }
}

/// Gives the file of a name a second one.
fn keep(path: &Path) -> io::Result<()> {
    for number in 1..=9999 {
        let mut other = path.as_os_str().to_os_string();
        other.push(format!("~{number}"));
        match std::fs::hard_link(path, other) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Renames onto a name that must not exist.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Some network file systems do not know the flag; a hard link does not replace either.
        Err(nix::errno::Errno::EINVAL) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

impl Write for Target {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a leftover that cannot be removed.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}
