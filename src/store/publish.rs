//! New files and replaced files, durable when they are told of.
//!
//! Invariant: a name either has the whole of the new bytes or is as it was before; nobody's file is overwritten by a
//! [`Draft`], and [`replace`] takes the place of one file in one step. Both have synced the file before it gets its
//! name, and the folder after.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Location, Source};
use crate::error::Result;

/// Tells drafts of one process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A file that is being made, under a name of its own. Dropped before it is published, it is gone.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
}

impl Draft {
    /// An empty file in `folder`, readable by its owner alone.
    pub fn begin(folder: &Path) -> io::Result<Draft> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".vaso-{}-{number}.part", std::process::id()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Draft { path })
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the first of these names that nobody has, with these permissions.
    pub fn publish(self, names: impl IntoIterator<Item = OsString>, mode: u32) -> io::Result<PathBuf> {
        let file = File::open(&self.path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        let folder = folder_of(&self.path);
        for name in names {
            let to = folder.join(name);
            match super::target::rename_new(&self.path, &to) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
                Ok(()) => {
                    sync_folder(&folder)?;
                    return Ok(to);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The file without its name: gone with the last who has it open, however that one ends.
    pub fn unnamed(self) -> Result<Arc<Source>> {
        let source = Source::open(Arc::new(Location::find(&self.path)?))?;
        drop(self);
        source.accept(source.state_now()?);
        Ok(source)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Published, there is nothing of this name any more; a leftover that stays harms nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that was writing a draft of this name.
pub fn drafted_by(name: &[u8]) -> Option<u32> {
    let numbers = std::str::from_utf8(name).ok()?.strip_prefix(".vaso-")?.strip_suffix(".part")?;
    let (process, number) = numbers.split_once('-')?;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| process.parse().ok())?
}

/// Puts `bytes` in the place of the file `name` in `folder`, in one step, with the permissions it had.
pub fn replace(folder: &Path, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::begin(folder)?;
    let mut file = OpenOptions::new().write(true).open(draft.path())?;
    file.write_all(bytes)?;
    let to = folder.join(name);
    let mode = std::fs::symlink_metadata(&to).map_or(0o644, |m| m.permissions().mode() & 0o777);
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    std::fs::rename(draft.path(), &to)?;
    sync_folder(folder)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "theirs").unwrap();
        let draft = Draft::begin(folder.path()).unwrap();
        std::fs::write(draft.path(), "ours").unwrap();
        let at = draft.publish(["a".into(), "b".into()], 0o640).unwrap();
        assert_eq!(at, folder.path().join("b"));
        assert_eq!(std::fs::read(at).unwrap(), b"ours");
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"theirs");
        drop(Draft::begin(folder.path()).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("HEAD.json");
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
        replace(folder.path(), OsStr::new("HEAD.json"), b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o604);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
