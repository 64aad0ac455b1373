//! A recovery from beginning to end: all candidates looked at, one taken, a new file published.
//!
//! Invariant: no file that was there before is changed; the only exceptions are `HEAD.json` of a bundle that is recovered in
//! place, which is replaced in one step. A result is published when it is complete and was checked, or not at all.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::candidate::{Candidate, Choice, Judged, Role, choose, copy, rank};
use super::in_place;
use super::report::Report;
use crate::error::{Error, Result};
use crate::store::Draft;

/// The candidates of a project, looked at.
#[derive(Debug)]
pub struct Recovery {
    project: PathBuf,
    /// All of them, ranked and numbered.
    pub all: Vec<Judged>,
    /// What is to be done unasked.
    pub choice: Choice,
}

/// A result that was written.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The new file.
    pub path: PathBuf,
    /// The number of what it was made from.
    pub from: usize,
    /// What it was made from.
    pub source: PathBuf,
    /// Why that was taken.
    pub because: &'static str,
    /// What salvage recovered and lost; none when the source is sound.
    pub report: Option<Report>,
    /// What others hold that the result does not.
    pub elsewhere: Vec<Elsewhere>,
}

/// What a candidate that was not taken holds beyond the one that was.
#[derive(Debug, Serialize)]
pub struct Elsewhere {
    /// Its number.
    pub number: usize,
    /// Where it lies.
    pub path: PathBuf,
    /// In words.
    pub holds: Vec<String>,
}

impl Recovery {
    /// Looks at all candidates of `project`.
    pub fn look(project: &Path, candidates: Vec<Candidate>) -> Recovery {
        let mut all: Vec<Judged> = candidates.into_iter().map(Judged::of).collect();
        follow_readers(&mut all);
        rank(&mut all);
        let choice = choose(&all);
        Recovery { project: project.to_path_buf(), all, choice }
    }

    /// The place of the candidate with this number.
    pub fn numbered(&self, number: usize) -> Result<usize> {
        let found = self.all.iter().position(|j| j.number == number && j.is_of_use());
        found.ok_or_else(|| {
            Error::Usage(format!("there is no candidate {number} that holds anything; see --list"))
        })
    }

    /// Writes what is held by the candidate at `place`: beside the project, or as the next snapshot.
    pub fn take(&self, place: usize, because: &'static str, as_snapshot: bool) -> Result<Outcome> {
        let taken = &self.all[place];
        let (path, report) = match as_snapshot {
            true => in_place::publish(&self.project, taken)?,
            false => self.beside(taken)?,
        };
        let elsewhere = self.all.iter().filter(|j| !std::ptr::eq(*j, taken));
        let elsewhere =
            elsewhere.map(|j| Elsewhere { number: j.number, path: j.path.clone(), holds: j.beyond(taken) });
        Ok(Outcome {
            path,
            from: taken.number,
            source: taken.path.clone(),
            because,
            report,
            elsewhere: elsewhere.filter(|e| !e.holds.is_empty()).collect(),
        })
    }

    fn beside(&self, taken: &Judged) -> Result<(PathBuf, Option<Report>)> {
        let full = std::path::absolute(&self.project).map_err(|e| Error::io("find", &self.project, e))?;
        let folder = full.parent().unwrap_or(Path::new("/"));
        let stem = full.file_stem().map(OsString::from).unwrap_or_default();
        let name = move |n: usize| {
            let mut name = stem.clone();
            name.push(if n == 1 { ".recovered.vaso".to_string() } else { format!(".recovered-{n}.vaso") });
            name
        };
        let draft = Draft::begin(folder)
            .map_err(|e| Error::Refused(format!("cannot write into {}: {e}", folder.display())))?;
        let report = taken.write(draft.path())?;
        let mode = mode_of(&taken.path);
        let path = draft.publish((1..10_000).map(name), mode).map_err(|e| {
            Error::Refused(format!("cannot give the result a name in {}: {e}", folder.display()))
        })?;
        Ok((path, report))
    }
}

/// Readers of a bundle take the newest snapshot that is sound; HEAD may be behind it after a crash, or a sync.
fn follow_readers(all: &mut [Judged]) {
    let current = all.iter().position(|j| j.role == Role::Current && j.snapshot.is_some());
    let newer = |j: &&Judged| j.sound && current.is_some_and(|at| j.snapshot > all[at].snapshot);
    let newest = all.iter().filter(newer).max_by_key(|j| j.snapshot).map(|j| j.path.clone());
    if let (Some(at), Some(path)) = (current, newest) {
        all[at].role = Role::Snapshot;
        all.iter_mut().filter(|j| j.path == path).for_each(|j| j.role = Role::Current);
    }
}

/// The permissions of a new file: those of the one it is made from, and writable for its owner.
pub fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode() & 0o666 | 0o600)
}

/// Writes snapshot `number` to `output`, byte for byte. Of equal numbers the usual name counts.
pub fn extract(candidates: &[Candidate], number: u64, output: &Path) -> Result<()> {
    let numbered = || candidates.iter().filter(|c| c.snapshot == Some(number));
    // They are in the order of preference.
    let Some(candidate) = numbered().next() else {
        let there: Vec<String> = candidates.iter().filter_map(|c| Some(c.snapshot?.to_string())).collect();
        return Err(Error::NotFound(format!("snapshot {number} (there are: {})", there.join(", "))));
    };
    let full = std::path::absolute(output).map_err(|e| Error::io("find", output, e))?;
    let (Some(folder), Some(name)) = (full.parent(), full.file_name()) else {
        return Err(Error::Usage(format!("{} is no name for a file", output.display())));
    };
    let refuse = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Refused(format!("{} exists; nothing was written", output.display()))
        }
        _ => Error::Refused(format!("cannot write {}: {e}", output.display())),
    };
    if full.symlink_metadata().is_ok() {
        return Err(refuse(std::io::ErrorKind::AlreadyExists.into()));
    }
    let draft = Draft::begin(folder).map_err(refuse)?;
    copy(candidate.content.as_ref().map_err(Clone::clone)?, draft.path())?;
    draft.publish([name.to_os_string()], mode_of(&candidate.path)).map_err(refuse)?;
    Ok(())
}

impl Role {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Role::Current => "current",
            Role::Staging => "staging_recovery",
            Role::Autosave => "autosave",
            Role::Snapshot => "snapshot_fallback",
            Role::Backup => "backup_restore",
        }
    }
}
