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
    finished: bool,
}

impl Target {
    /// Begins `path`, which must not exist.
    pub fn create(path: &Path) -> io::Result<Target> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut part_name = OsString::from(format!(".vaso-{}-", std::process::id()));
        // Beside a name of 255 bytes there is no room for more of it.
        part_name.push(blake3::hash(name.as_encoded_bytes()).to_hex().as_str());
        let part = path.with_file_name(part_name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Target { file, part, path: path.to_path_buf(), finished: false })
    }

    /// Gives the file its mode, time and name. It is durable when this returns.
    pub fn finish(mut self, mode: u32, time: SystemTime) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.file.set_times(FileTimes::new().set_modified(time))?;
        self.file.sync_all()?;
        rename_new(&self.part, &self.path)?;
        self.finished = true;
        Ok(())
    }
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
