//! A recovery from beginning to end: all candidates looked at, one taken, a new file published.
//!
//! Invariant: no file that was there before is changed; the only exceptions are `HEAD.json` of a bundle that is recovered in
//! place, which is replaced in one step. A result is published when it is complete and was checked, or not at all.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::candidate::{Candidate, Judged, Role, content_of, copy};
use super::choice::{Choice, choose, follow_readers, rank};
use super::disk;
use super::embedded::{self, Amiss};
use super::report::Report;
use super::workshop::Workshop;
use super::{in_place, stand_in, unsaved};
use crate::database::{Database, glance};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::signs::{self, head};
use crate::store::{Draft, Location, mode_of_copy, path_text};

/// The candidates of a project, looked at.
#[derive(Debug)]
pub struct Recovery {
    project: PathBuf,
    /// Which file that was at first, if there was one.
    file: Option<(u64, u64)>,
    /// All of them, ranked and numbered.
    pub all: Vec<Judged>,
    /// What is to be done unasked.
    pub choice: Choice,
    /// Why newer work than that of all candidates may be missing, so that no result is complete.
    pub missing: Option<String>,
    /// Embedded files of a project that is sound otherwise which are not what it says.
    pub assets: Vec<Amiss>,
    /// Why the application does not open it, sound as it is.
    pub too_new: Option<String>,
    /// What else keeps the application from opening it: files of a bundle that are missing, or torn.
    pub closed: Vec<Finding>,
    /// Who has it open.
    pub in_use: Option<String>,
}

/// Where a result goes.
#[derive(Debug, Clone, Copy)]
pub enum To<'a> {
    /// Beside the project, under a name that nobody has.
    Beside,
    /// This file, which is not there yet.
    File(&'a Path),
    /// Into the bundle, as its next snapshot.
    Snapshot,
}

/// A result that was written.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The new file.
    #[serde(serialize_with = "path_text::one")]
    pub path: PathBuf,
    /// The number of what it was made from.
    pub from: usize,
    /// What it was made from.
    #[serde(serialize_with = "path_text::one")]
    pub source: PathBuf,
    /// Why that was taken.
    pub because: &'static str,
    /// What salvage recovered and lost; none when the source is sound.
    pub report: Option<Report>,
    /// Whether the result has all that its source had, and nothing is known of anything newer that it has not.
    pub complete: bool,
    /// Why newer work may have been lost of which nothing is there.
    pub missing: Option<String>,
    /// Embedded files that are not what the result says of them.
    pub assets: Vec<Amiss>,
    /// Why the application does not open the result, if its version is a later one.
    pub too_new: Option<String>,
    /// Who has the project open: what was not saved yet is not in the result.
    pub in_use: Option<String>,
    /// Damaged files that are newer than the source: what was done since is not in the result.
    #[serde(serialize_with = "path_text::all")]
    pub newer: Vec<PathBuf>,
    /// What others hold that the result does not.
    pub elsewhere: Vec<Elsewhere>,
}

/// What a candidate that was not taken holds beyond the one that was.
#[derive(Debug, Serialize)]
pub struct Elsewhere {
    /// Its number.
    pub number: usize,
    /// Where it lies.
    #[serde(serialize_with = "path_text::one")]
    pub path: PathBuf,
    /// Whether it is damaged, so that this is what salvage gives of it.
    pub damaged: bool,
    /// In words.
    pub holds: Vec<String>,
}

impl Recovery {
    /// Looks at all candidates of `project`, for a result that goes somewhere if there is to be one.
    pub fn look(project: &Path, candidates: Vec<Candidate>, to: Option<To<'_>>) -> Result<Recovery> {
        let folder = match to {
            Some(To::File(file)) => Some(folder_of(file)?),
            Some(_) => Some(folder_of(project)?),
            None => None,
        };
        let file = file_at(project);
        let workshop = Workshop::of(folder.as_deref());
        let judged = candidates.into_iter().map(|candidate| Judged::of(candidate, &workshop));
        let mut all = judged.collect::<Result<Vec<Judged>>>()?;
        follow_readers(&mut all);
        unsaved::compare(&mut all)?;
        stand_in::compare(&mut all)?;
        rank(&mut all);
        all.iter().for_each(|judged| log::info!("{}", judged.verdict()));
        let mut choice = choose(&all);
        if let (Choice::Sound, Some(at)) = (&choice, all.iter().position(lies_in_its_log)) {
            choice = Choice::Take(at, "all of it is in its log, which SQLite removes beside an empty file");
        }
        let (mut assets, mut too_new) = (Vec::new(), None);
        let main = all.iter().find(|j| j.role == Role::Current && j.sound);
        if let (Choice::Sound, Some(main)) = (&choice, main) {
            let database = main.database()?;
            assets = embedded::amiss(&database, all.iter().filter(|j| !std::ptr::eq(*j, main)))?;
            too_new = database.is_too_new();
        }
        let locks = Location::find(project).and_then(|place| signs::locks(&place)).unwrap_or_default();
        let recovery = Recovery {
            project: project.to_path_buf(),
            file,
            all,
            choice,
            missing: None,
            assets,
            too_new,
            closed: Vec::new(),
            in_use: locks.iter().find(|lock| lock.live).map(signs::Lock::who),
        };
        recovery.is_unchanged()?;
        Ok(recovery)
    }

    /// Fails if anything is not what it was when it was looked at, or if another file has taken the project's place: what
    /// was found then is not told of what is there now. A project that is gone meanwhile is only worth more.
    fn is_unchanged(&self) -> Result<()> {
        self.all.iter().try_for_each(Judged::is_unchanged)?;
        match file_at(&self.project) {
            now if now.is_some() && now != self.file => Err(Error::SourceChanged(self.project.clone())),
            _ => Ok(()),
        }
    }

    /// The place of the candidate with this number.
    pub fn numbered(&self, number: usize) -> Result<usize> {
        let found = self.all.iter().position(|j| j.number == number && j.is_of_use());
        found.ok_or_else(|| {
            Error::Usage(format!("there is no candidate {number} that holds anything; see --list"))
        })
    }

    /// Whether the application opens it not for want of a `HEAD.json`.
    pub fn has_no_head(&self) -> bool {
        self.closed.iter().any(|finding| finding.path == head::NAME)
    }

    /// Writes what is held by the candidate at `place`.
    pub fn take(&self, place: usize, because: &'static str, to: To<'_>) -> Result<Outcome> {
        let taken = &self.all[place];
        let (path, report) = match to {
            To::Snapshot => in_place::publish(&self.project, taken)?,
            To::Beside => self.beside(taken)?,
            To::File(file) => {
                let new = NewFile::begin(file)?;
                let report = taken.write(new.draft.path())?;
                (new.publish(mode_of_copy(&self.project, &taken.path))?, report)
            }
        };
        let result = Database::open(content_of(&path)?, &path.display().to_string())?;
        let assets = embedded::amiss(&result, self.all.iter().filter(|j| !std::ptr::eq(*j, taken)))?;
        Ok(Outcome {
            path,
            from: taken.number,
            source: taken.path.clone(),
            because,
            complete: report.as_ref().is_none_or(Report::is_lossless)
                && assets.is_empty()
                && self.is_newest(taken)
                && !self.loses_a_log(taken)
                && self.missing.is_none(),
            missing: self.missing.clone(),
            assets,
            too_new: result.is_too_new(),
            in_use: self.in_use.clone(),
            newer: self.newer(taken).map(|j| j.path.clone()).collect(),
            report,
            elsewhere: self.beyond(taken),
        })
    }

    /// The damaged files that are newer than `taken`, so that it is known that something was done since, or may have been.
    fn newer<'a>(&'a self, taken: &'a Judged) -> impl Iterator<Item = &'a Judged> {
        let main_is_newer = move |main: &Judged| match &taken.unsaved {
            Some(unsaved) if taken.is_of_session() => !unsaved.is_of(main) || !taken.is_as_new_as(main),
            _ => !taken.is_as_new_as(main),
        };
        let number = taken.snapshot.or(self.main().and_then(|main| main.snapshot));
        self.all.iter().filter(move |j| {
            let is_newer = match (j.role, number) {
                (Role::Current, _) => main_is_newer(j),
                (Role::Snapshot, Some(number)) => j.snapshot > Some(number),
                _ => false,
            };
            !j.sound && !std::ptr::eq(*j, taken) && is_newer
        })
    }

    /// Whether nothing that is newer than `taken` holds anything that it has not, as far as can be told.
    fn is_newest(&self, taken: &Judged) -> bool {
        let is_newer =
            |e: &Elsewhere| self.all.iter().any(|j| j.number == e.number && taken.is_older_than(j));
        self.newer(taken).next().is_none() && !self.beyond(taken).iter().any(is_newer)
    }

    /// Whether a log could not be used that may have held newer data than `taken`, or nobody knows whose it is.
    fn loses_a_log(&self, taken: &Judged) -> bool {
        self.all.iter().any(|j| (j.log_damage.is_some() || j.foreign) && !j.is_older_than(taken))
    }

    /// The project's own file, or its current snapshot.
    pub fn main(&self) -> Option<&Judged> {
        self.all.iter().find(|j| j.role == Role::Current)
    }

    /// What all others hold beyond `taken`: more of something, or work that was never saved.
    pub fn beyond(&self, taken: &Judged) -> Vec<Elsewhere> {
        let others = self.all.iter().filter(|j| !std::ptr::eq(*j, taken));
        let beyond = others.map(|j| {
            let mut holds = j.beyond(taken);
            if let Some(unsaved) = j.unsaved.as_ref().filter(|unsaved| unsaved.is_some()) {
                let from = unsaved.compared_with.display();
                let what = if j.is_older_than(taken) { "other work, and older" } else { "unsaved work" };
                holds.push(format!("{what} (compared with {from}): {}", unsaved.words));
            }
            if let Some(lacks) = taken.lacks.as_ref().filter(|_| j.role == Role::Current) {
                holds.push(format!("changed in it, as far as it can be salvaged: {lacks}"));
            }
            Elsewhere { number: j.number, path: j.path.clone(), damaged: !j.sound, holds }
        });
        beyond.filter(|e| !e.holds.is_empty()).collect()
    }

    /// What asks for a decision although the project is sound: unsaved work, newer snapshots that are damaged, and damaged
    /// sessions, unless all of one is there and was saved.
    pub fn undecided(&self) -> Vec<&Judged> {
        let Some(main) = self.main() else { return Vec::new() };
        let is_open = |j: &&Judged| {
            let unsaved = j.unsaved.as_ref().is_some_and(super::Unsaved::is_some);
            let may_lack = j.salvage.as_ref().is_some_and(|report| !report.is_lossless());
            let is_recent = j.role == Role::Staging || j.is_of_session() && !j.is_older_than(main);
            is_recent && (unsaved || may_lack)
                || !j.sound
                    && j.is_newer_than(main)
                    && (j.snapshot.is_some() || j.log_damage.is_some() || !j.is_of_use() && !j.has_no_bytes())
        };
        self.all.iter().filter(is_open).collect()
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
        let draft = Draft::begin(folder).map_err(|e| disk::error(folder, e))?;
        let report = taken.write(draft.path())?;
        self.is_unchanged()?;
        let mode = mode_of_copy(&self.project, &taken.path);
        let path = draft.publish((1..10_000).map(name), mode).map_err(|e| disk::error(folder, e))?;
        Ok((path, report))
    }
}

/// Whether the project's own file is empty, and its log has everything. SQLite removes such a log unread.
fn lies_in_its_log(judged: &Judged) -> bool {
    let is_own = judged.role == Role::Current && judged.snapshot.is_none() && judged.has_work();
    is_own && judged.path.metadata().is_ok_and(|m| m.is_file() && m.len() == 0)
}

/// Which file lies at a path, by its device and number.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The folder that a project lies in, and what is made of it.
fn folder_of(project: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(project).map_err(|e| Error::io("find", project, e))?;
    Ok(full.parent().unwrap_or(Path::new("/")).to_path_buf())
}

/// A snapshot that was written to a file.
#[derive(Debug)]
pub struct Extracted {
    /// Where it was stored.
    pub source: PathBuf,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// Writes snapshot `number` to `output`, byte for byte. Of equal numbers the first counts that is valid, in the order of
/// preference; where none is, the first that has any bytes.
pub fn extract(project: &Path, candidates: Vec<Candidate>, number: u64, output: &Path) -> Result<Extracted> {
    let there: Vec<String> = candidates.iter().filter_map(|c| Some(c.snapshot?.to_string())).collect();
    let numbered = candidates.into_iter().filter(|c| c.snapshot == Some(number));
    let mut numbered: Vec<(Candidate, Option<String>)> = numbered
        .map(|candidate| {
            let problem = problem(&candidate);
            (candidate, problem)
        })
        .collect();
    let has_bytes = |c: &Candidate| c.content.as_ref().is_ok_and(|content| content.size() > 0);
    numbered.sort_by_key(|(candidate, problem)| (problem.is_some(), !has_bytes(candidate)));
    let Some((candidate, problem)) = numbered.into_iter().next() else {
        return Err(Error::NotFound(format!("snapshot {number} (there are: {})", there.join(", "))));
    };
    let new = NewFile::begin(output)?;
    copy(candidate.content.as_ref().map_err(Clone::clone)?, new.draft.path())?;
    new.publish(mode_of_copy(project, &candidate.path))?;
    Ok(Extracted { source: candidate.path, problem })
}

/// A file of a name that somebody has asked for, while it is written.
struct NewFile<'a> {
    draft: Draft,
    name: OsString,
    asked: &'a Path,
}

impl NewFile<'_> {
    fn begin(asked: &Path) -> Result<NewFile<'_>> {
        let full = std::path::absolute(asked).map_err(|e| Error::io("find", asked, e))?;
        let (Some(folder), Some(name)) = (full.parent(), full.file_name()) else {
            return Err(Error::Usage(format!("{} is no name for a file", asked.display())));
        };
        if full.symlink_metadata().is_ok() {
            return Err(NewFile::refused(asked, std::io::ErrorKind::AlreadyExists.into()));
        }
        let draft = Draft::begin(folder).map_err(|e| NewFile::refused(asked, e))?;
        Ok(NewFile { draft, name: name.to_os_string(), asked })
    }

    fn publish(self, mode: u32) -> Result<PathBuf> {
        self.draft.publish([self.name], mode).map_err(|e| NewFile::refused(self.asked, e))
    }

    fn refused(asked: &Path, why: std::io::Error) -> Error {
        match why.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::Refused(format!("{} exists; nothing was written", asked.display()))
            }
            _ => Error::Refused(format!("cannot write {}: {why}", asked.display())),
        }
    }
}

/// Why a candidate is not valid as a snapshot: by the quick check, as everywhere else. What the thorough one finds beyond
/// that is for `vaso verify`.
fn problem(candidate: &Candidate) -> Option<String> {
    let checked = candidate.content.clone().and_then(|content| {
        let name = candidate.path.file_name().unwrap_or_default().to_string_lossy();
        glance(&content, &name)?;
        match Database::open(content, &name)?.quick_check() {
            // What SQLite cannot check within its limits is taken for what it seems.
            Err(Error::Unsupported { .. }) => Ok(()),
            other => other,
        }
    });
    candidate.doubt.clone().or_else(|| checked.err().map(|why| why.to_string()))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::hostile::{TRACE, made};
    use super::*;
    use crate::tree::{Coded, Content};

    /// A file that another program changes at one of its reads.
    #[derive(Debug)]
    struct Changing {
        bytes: Vec<u8>,
        reads: AtomicU64,
        last: u64,
    }

    impl Coded for Changing {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn check(&self) -> Result<()> {
            match self.reads.load(Ordering::Relaxed) > self.last {
                true => Err(Error::SourceChanged("x.vaso".into())),
                false => Ok(()),
            }
        }

        fn is_ready(&self, _: u64, _: usize) -> bool {
            true
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.check()?;
            buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
            Ok(())
        }
    }

    #[test]
    fn a_file_that_is_changed_meanwhile_is_no_damage() {
        let (mut bytes, root) = made(TRACE, "trace");
        bytes[(root - 1) * 4096..root * 4096].fill(0);
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("x.vaso");
        std::fs::write(&project, &bytes).unwrap();
        let look = |last| {
            let content = Arc::new(Changing { bytes: bytes.clone(), reads: AtomicU64::new(0), last });
            let candidate = Candidate {
                role: Role::Current,
                path: project.clone(),
                snapshot: None,
                time: None,
                content: Ok(Content::Coded(content.clone())),
                log_damage: None,
                foreign: false,
                doubt: None,
            };
            let looked = Recovery::look(&project, vec![candidate], None);
            (looked, content.reads.load(Ordering::Relaxed))
        };
        let (found, reads) = look(u64::MAX);
        let rows = found.unwrap().all[0].holds.as_ref().unwrap().trace_rows;
        assert!(rows > 1000 && reads > 10, "{rows} rows, {reads} reads");
        for last in 0..reads * 3 / 4 {
            let found = look(last).0;
            assert!(matches!(found, Err(Error::SourceChanged(_))), "read {last} of {reads}: {found:?}");
        }
    }

    #[test]
    fn another_file_in_the_place_of_the_project_is_not_what_was_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("x.vaso");
        std::fs::write(&project, made(TRACE, "trace").0).unwrap();
        let all = super::super::beside(&project);
        let recovery = Recovery::look(&project, all, Some(To::Beside)).unwrap();
        // It is still open: that its name is gone takes nothing away.
        let aside = folder.path().join("aside");
        std::fs::rename(&project, &aside).unwrap();
        assert!(recovery.take(0, "asked for", To::Beside).is_ok());
        std::fs::copy(&aside, &project).unwrap();
        let changed = recovery.take(0, "asked for", To::Beside);
        assert!(matches!(changed, Err(Error::SourceChanged(_))), "{changed:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "x, aside and one result");
    }
}
