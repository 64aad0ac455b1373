//! `vaso cp`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::{output, project};
use crate::error::{Error, Result, from_io};
use crate::store::Target;
use crate::tree::{Kind, Spot, Time};

/// Copy a file or a directory out of a project.
///
/// Nothing is overwritten: DEST must not exist, or be a directory to copy into. A file is complete under its
/// name, or not there. What cannot be read is told, and the rest is copied (exit code 1). Times and permissions are
/// kept, but that the owner may write.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// A file or directory in it; `.` is all of it
    path: PathBuf,
    /// Where to
    dest: PathBuf,
}

pub fn run(args: Args) -> Result<Exit> {
    let (project, top) = project::find(&args.source, &args.path, true)?;
    let mut dest = args.dest.clone();
    if dest.is_dir() {
        match top.name() {
            b"" => dest.push(project.source().path().file_stem().unwrap_or(OsStr::new("project"))),
            name => dest.push(OsStr::from_bytes(name)),
        }
    }
    let directory = top.kind() == Kind::Directory;
    let failed = copy(top, project.source().path(), &dest)?;
    if failed == 0 {
        return Ok(Exit::Done);
    }
    if directory {
        let files = if failed == 1 { "1 file was".to_string() } else { format!("{failed} files were") };
        output::complain(&format!("{files} not copied, as said above; everything else was"));
    }
    Ok(Exit::Findings)
}

/// Copies everything from `top` down, which is of the project at `source`; how many files could not be read, each of
/// which was told.
pub fn copy(top: Spot, source: &Path, dest: &Path) -> Result<u64> {
    let source = source.to_path_buf();
    let mut copy = Copy { progress: output::Progress::new("copying"), source, all: 0, done: 0, failed: 0 };
    copy.all = copy.total(&top)?;
    copy.tree(top, dest)?;
    Ok(copy.failed)
}

struct Copy {
    progress: output::Progress,
    /// The project's own file or folder.
    source: PathBuf,
    all: u64,
    done: u64,
    failed: u64,
}

impl Copy {
    /// Copies everything from `top` down. Not by calling itself: stored paths may be thousands deep.
    fn tree(&mut self, top: Spot, dest: &Path) -> Result<()> {
        let mut pending = vec![(top, dest.to_path_buf())];
        let mut made: Vec<(Time, u16, PathBuf)> = Vec::new();
        while let Some((spot, to)) = pending.pop() {
            match spot.kind() {
                Kind::Directory => {
                    let mode = spot.branch.tree().node(spot.node).mode;
                    let Some(spot) = self.entered(&spot)? else { continue };
                    // Nobody else looks in before its permissions are known to be those of all that is in it.
                    let created = std::fs::DirBuilder::new().mode(0o700).create(&to);
                    created.map_err(|e| cannot_write(&to, e))?;
                    pending.extend(spot.children().map(|c| {
                        let to = to.join(OsStr::from_bytes(c.name()));
                        (c, to)
                    }));
                    let node = spot.branch.tree().node(spot.node);
                    made.push((node.time(), mode, to));
                }
                Kind::File => self.file(&spot, &to)?,
                Kind::Link => self.link(&spot, &to)?,
            }
        }
        // Times and permissions last, and from the bottom: every file that is made changes its directory's time, and may
        // only be made where we may write.
        for (time, mode, to) in made.into_iter().rev() {
            let times = std::fs::FileTimes::new().set_modified(time.into());
            let mode = std::fs::Permissions::from_mode(u32::from(mode) | 0o200);
            let set = std::fs::File::open(&to).and_then(|dir| {
                dir.set_times(times)?;
                dir.set_permissions(mode)
            });
            set.map_err(|e| cannot_write(&to, e))?;
        }
        Ok(())
    }

    /// Behind the door of a directory; `None` if what is there cannot be read, which is told.
    fn entered(&mut self, spot: &Spot) -> Result<Option<Spot>> {
        match spot.enter() {
            Ok(spot) => Ok(Some(spot)),
            Err(e) => self.passed_over(e).map(|()| None),
        }
    }

    fn file(&mut self, spot: &Spot, to: &Path) -> Result<()> {
        let node = spot.branch.tree().node(spot.node);
        let mut target = Target::create(to).map_err(|e| cannot_write(to, e))?;
        let read = project::read(spot, |piece| {
            self.done += piece.len() as u64;
            self.progress.at(self.done, self.all);
            target.write_all(piece)
        });
        match read.map_err(|e| from_io(e, |e| cannot_write(to, e))) {
            Ok(()) => target
                .finish(u32::from(node.mode) | 0o200, node.time().into())
                .map_err(|e| cannot_write(to, e)),
            Err(e) => self.passed_over(e),
        }
    }

    /// Tells an error of one entry, and goes on; any other ends the copy.
    fn passed_over(&mut self, error: Error) -> Result<()> {
        if !self.is_of_one(&error) {
            return Err(error);
        }
        output::complain(&error.to_string());
        self.failed += 1;
        Ok(())
    }

    /// Whether an error is that of one entry, beside which all else can be copied. What the system does not read is one
    /// where the entry lies in a file of its own; why a target cannot be written is a refusal, and never one.
    fn is_of_one(&self, error: &Error) -> bool {
        match error {
            Error::Damaged { .. } | Error::Unsupported { .. } => true,
            Error::Io { path, .. } => *path != self.source,
            _ => false,
        }
    }

    /// The bytes below `top`, as far as they are known without rendering anything.
    fn total(&self, top: &Spot) -> Result<u64> {
        let mut below = vec![top.clone()];
        let mut bytes = 0u64;
        while let Some(spot) = below.pop() {
            let spot = match spot.enter() {
                Ok(spot) => spot,
                Err(e) if self.is_of_one(&e) => continue,
                Err(e) => return Err(e),
            };
            bytes = bytes.saturating_add(spot.branch.tree().node(spot.node).size());
            below.extend(spot.children());
        }
        Ok(bytes)
    }

    fn link(&mut self, spot: &Spot, to: &Path) -> Result<()> {
        let mut target = Vec::new();
        let read = project::read(spot, |piece| {
            target.extend_from_slice(piece);
            Ok(())
        });
        if let Err(e) = read.map_err(|e| from_io(e, |e| cannot_write(to, e))) {
            return self.passed_over(e);
        }
        std::os::unix::fs::symlink(OsStr::from_bytes(&target), to).map_err(|e| cannot_write(to, e))
    }
}

/// Why a file could not be made.
pub fn cannot_write(to: &Path, error: io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::AlreadyExists => "it exists already; choose another name or remove it".to_string(),
        _ => error.to_string(),
    };
    Error::Refused(format!("cannot write {}: {what}", to.display()))
}
