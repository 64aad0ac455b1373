//! What a project could be recovered from, what each holds, and which is taken unasked.
//!
//! What a scientist wants is the newest work, as whole as it can be had; an older file that happens to be sound is no
//! substitute for a newer one that lost a few rows. The rule:
//!
//! 1. If the project's own file (of a bundle: its current snapshot) is sound, there is nothing to recover. The exception is
//!    unsaved work (staging, autosave) that is not older, has everything that the project has, and something more.
//! 2. If it is damaged, a sound file that is not older and holds at least as much as can be salvaged comes first: no
//!    salvage can vouch for the values on a damaged page.
//! 3. Else, if the salvage loses no sample and at most one row in a hundred, it is taken, whatever older files lie about;
//!    unless nobody can tell what is lost, and the newest sound file has more samples, or more than one row in a hundred
//!    more.
//! 4. Else the newest sound file is taken, if it has as many samples as the salvage and no more than one trace row in a
//!    hundred less; otherwise the salvage is.
//!
//! Whatever is taken, what the others hold beyond it is told, and any can be taken by its number.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::report::{Certainty, Report, grouped};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::store::{Draft, Location, Source};
use crate::tree::Content;

/// What a file is to its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The project's own file, with its log or journal; of a bundle, the current snapshot.
    Current,
    /// The database of a session that has not saved.
    Staging,
    /// What the application saved by itself.
    Autosave,
    /// Another snapshot.
    Snapshot,
    /// A copy made before a change.
    Backup,
}

/// A file that a project may be recovered from.
#[derive(Debug)]
pub struct Candidate {
    /// What it is.
    pub role: Role,
    /// Where it lies.
    pub path: PathBuf,
    /// The number of a snapshot.
    pub snapshot: Option<u64>,
    /// When it was last written.
    pub time: Option<SystemTime>,
    /// Its bytes, with log or journal applied; or why they cannot be had.
    pub content: Result<Content>,
}

/// What a database holds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Holds {
    /// Samples.
    pub samples: u64,
    /// Rows of traces.
    pub trace_rows: u64,
    /// Events.
    pub events: u64,
    /// Results.
    pub results: u64,
    /// Embedded files.
    pub assets: u64,
    /// Rows of traces by experiment and sample.
    #[serde(skip)]
    by_sample: BTreeMap<String, u64>,
}

/// A candidate that was looked at.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// Its number in the list.
    pub number: usize,
    /// What it is.
    pub role: Role,
    /// Where it lies.
    pub path: PathBuf,
    /// The number of a snapshot.
    pub snapshot: Option<u64>,
    /// Whether SQLite finds nothing wrong with it.
    pub sound: bool,
    /// What is wrong with it.
    pub damage: Option<String>,
    /// When the project was last changed, as it says itself.
    pub modified_utc: Option<String>,
    /// What it holds, or what can be salvaged of it.
    pub holds: Option<Holds>,
    /// What salvage recovers of a damaged one.
    pub salvage: Option<Report>,
    #[serde(skip)]
    time: Option<SystemTime>,
    #[serde(skip)]
    content: Option<Content>,
}

impl Holds {
    fn of(db: &Arc<Database>) -> Result<Holds> {
        let count = |table: &str| db.row_count(table).map(|n| n.unwrap_or(0));
        let mut holds = Holds {
            trace_rows: count("trace")?,
            events: count("event")?,
            results: count("result")?,
            assets: count("asset")?,
            ..Holds::default()
        };
        for sample in db.samples(&Findings::default())?.into_iter().filter(|s| !s.of_project) {
            let rows = db.row_count_of("trace", sample.id)?;
            holds.samples += 1;
            *holds.by_sample.entry(format!("{} / {}", sample.experiment, sample.name)).or_default() += rows;
        }
        Ok(holds)
    }

    fn counts(&self) -> [u64; 5] {
        [self.samples, self.trace_rows, self.events, self.results, self.assets]
    }

    /// Whether it has as much of everything.
    fn covers(&self, other: &Holds) -> bool {
        let counts = self.counts().iter().zip(other.counts()).all(|(a, b)| *a >= b);
        counts
            && other.by_sample.iter().all(|(name, rows)| self.by_sample.get(name).is_some_and(|n| n >= rows))
    }

    /// Whether it has as many samples, and no more than one trace row in a hundred less.
    fn is_nearly(&self, other: &Holds) -> bool {
        self.samples >= other.samples
            && self.trace_rows.saturating_mul(100) >= other.trace_rows.saturating_mul(99)
    }

    /// What it has and `other` has not, in words.
    fn beyond(&self, other: &Holds) -> Vec<String> {
        let mut words = Vec::new();
        for (name, rows) in &self.by_sample {
            match other.by_sample.get(name) {
                None => words.push(format!("sample {name} ({} rows)", grouped(*rows))),
                Some(n) if n < rows => words.push(format!("{} more rows of {name}", grouped(rows - n))),
                Some(_) => {}
            }
        }
        let counts = [("events", self.events, other.events), ("results", self.results, other.results)];
        let more =
            counts.into_iter().chain([("assets", self.assets, other.assets)]).filter(|(_, a, b)| a > b);
        words.extend(more.map(|(what, a, b)| format!("{} more {what}", a - b)));
        words
    }
}

impl Judged {
    /// Looks at a candidate.
    pub fn of(candidate: Candidate) -> Judged {
        let Candidate { role, path, snapshot, time, content } = candidate;
        let mut judged = Judged {
            number: 0,
            role,
            path,
            snapshot,
            sound: false,
            damage: None,
            modified_utc: None,
            holds: None,
            salvage: None,
            time,
            content: None,
        };
        match content {
            Ok(content) => {
                judged.content = Some(content.clone());
                judged.look(content);
            }
            Err(e) => judged.damage = Some(e.to_string()),
        }
        judged
    }

    fn look(&mut self, content: Content) {
        let name = self.path.display().to_string();
        let sound = Database::open(content.clone(), &name).and_then(|db| db.quick_check().map(|()| db));
        let looked = sound.and_then(|db| {
            self.modified_utc = db.meta()?.remove("modified_utc");
            Holds::of(&db)
        });
        match looked {
            Ok(holds) => {
                self.sound = true;
                self.holds = Some(holds);
            }
            Err(e) => {
                self.damage = Some(e.to_string());
                if let Err(e) = self.salvage(&content) {
                    self.damage = Some(format!("{}; {e}", self.damage.take().unwrap_or_default()));
                }
            }
        }
    }

    /// What can be salvaged is found by doing it, away from the project.
    fn salvage(&mut self, content: &Content) -> Result<()> {
        let folder = std::env::temp_dir();
        let draft = Draft::begin(&folder).map_err(|e| Error::io("write into", &folder, e))?;
        let Some(report) = super::recover(content, draft.path())? else { return Ok(()) };
        let db = Database::open(content_of(draft.path())?, &self.path.display().to_string())?;
        self.modified_utc = db.meta()?.remove("modified_utc");
        self.holds = Some(Holds::of(&db)?);
        self.salvage = Some(report);
        Ok(())
    }

    /// Whether anything can be had of it.
    pub fn is_of_use(&self) -> bool {
        self.holds.is_some()
    }

    /// Writes what can be had of it to `path`, an empty file.
    pub fn write(&self, path: &std::path::Path) -> Result<Option<Report>> {
        let Some(content) = &self.content else {
            return Err(Error::Refused(self.damage.clone().unwrap_or_default()));
        };
        let report = match self.sound {
            true => {
                copy(content, path)?;
                None
            }
            false => super::recover(content, path)?,
        };
        // Nobody is told of a success that was not looked at.
        Database::open(content_of(path)?, &path.display().to_string())?.quick_check()?;
        Ok(report)
    }

    /// Whether it is as new as `other`, as far as can be told.
    fn is_as_new_as(&self, other: &Judged) -> bool {
        match (self.snapshot, other.snapshot) {
            (Some(own), Some(others)) => own >= others,
            _ => match (&self.modified_utc, &other.modified_utc) {
                (Some(own), Some(others)) => own >= others,
                _ => self.time >= other.time,
            },
        }
    }

    /// Whether salvage costs next to nothing.
    fn loses_little(&self) -> bool {
        let Some(report) = &self.salvage else { return false };
        let samples = report.tables.iter().find(|t| t.name == "dataset");
        samples.is_some_and(|t| t.lost == 0) && report.lost * 100 <= report.recovered + report.lost
    }

    /// Whether the numbers of its lost rows are known, and not only that there were some.
    fn knows_its_losses(&self) -> bool {
        let exact = |report: &Report| report.tables.iter().all(|t| t.certainty == Certainty::Exact);
        self.salvage.as_ref().is_some_and(exact)
    }

    /// What it holds beyond `other`, in words.
    pub fn beyond(&self, other: &Judged) -> Vec<String> {
        match (&self.holds, &other.holds) {
            (Some(own), Some(others)) => own.beyond(others),
            _ => Vec::new(),
        }
    }
}

/// The bytes of a file.
pub fn content_of(path: &std::path::Path) -> Result<Content> {
    let source = Source::open(Arc::new(Location::find(path)?))?;
    let size = source.size();
    Ok(Content::Range(source, 0..size))
}

/// Copies bytes into an empty file.
pub fn copy(content: &Content, path: &std::path::Path) -> Result<()> {
    use std::io::Write;
    let cannot = |e| Error::Refused(format!("cannot write {}: {e}", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(cannot)?;
    let mut buf = vec![0; 1 << 18];
    let mut offset = 0;
    loop {
        let n = content.read_at(offset, &mut buf)?;
        if n == 0 {
            return Ok(());
        }
        file.write_all(&buf[..n]).map_err(cannot)?;
        offset += n as u64;
    }
}

/// What is to be done unasked.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: the project is sound.
    Sound,
    /// This one is taken, for this reason.
    Take(usize, &'static str),
    /// Nothing can be had of any.
    Nothing,
}

/// Puts the candidates into order, by what they hold, and numbers them.
pub fn rank(all: &mut [Judged]) {
    let key =
        |j: &Judged| (j.is_of_use(), j.role == Role::Current, j.sound, j.holds.clone().map(|h| h.counts()));
    all.sort_by(|a, b| key(b).cmp(&key(a)).then(b.snapshot.cmp(&a.snapshot)).then(a.path.cmp(&b.path)));
    all.iter_mut().enumerate().for_each(|(i, j)| j.number = i + 1);
}

/// The rule at the head of this module.
pub fn choose(all: &[Judged]) -> Choice {
    let current = all.iter().position(|j| j.role == Role::Current);
    let is_unsaved = |j: &Judged| matches!(j.role, Role::Staging | Role::Autosave);
    if let Some(at) = current.filter(|at| all[*at].sound) {
        let main = &all[at];
        let more = |j: &&Judged| {
            let (Some(own), Some(theirs)) = (&j.holds, &main.holds) else { return false };
            is_unsaved(j)
                && j.sound
                && j.is_as_new_as(main)
                && own.covers(theirs)
                && !own.beyond(theirs).is_empty()
        };
        return match newest(all.iter().filter(more)) {
            Some(j) => Choice::Take(place(all, j), "unsaved work that the project has not"),
            None => Choice::Sound,
        };
    }
    let sound = || all.iter().filter(|j| j.sound && j.is_of_use());
    let Some((main, held)) = current.map(|at| &all[at]).and_then(|j| Some((j, j.holds.as_ref()?))) else {
        if let Some(j) = newest(sound()) {
            return Choice::Take(place(all, j), "the newest that is sound");
        }
        let most = all.iter().filter(|j| j.is_of_use()).max_by_key(|j| j.holds.clone().map(|h| h.counts()));
        return most.map_or(Choice::Nothing, |j| Choice::Take(place(all, j), "what holds the most"));
    };
    let covers = |j: &&Judged| j.is_as_new_as(main) && j.holds.as_ref().is_some_and(|h| h.covers(held));
    if let Some(j) = newest(sound().filter(covers)) {
        return Choice::Take(place(all, j), "sound, not older, and holds at least as much");
    }
    let holds_more = |j: &Judged| j.holds.as_ref().is_some_and(|h| !held.is_nearly(h));
    let falls_short = !main.knows_its_losses() && newest(sound()).is_some_and(holds_more);
    if main.loses_little() && !falls_short {
        return Choice::Take(place(all, main), "the newest work, with little or nothing lost");
    }
    let stands_in = |j: &&Judged| j.holds.as_ref().is_some_and(|h| h.is_nearly(held));
    match newest(sound().filter(stands_in)) {
        Some(j) => {
            Choice::Take(place(all, j), "the newest that is sound, and holds as much as can be salvaged")
        }
        None => Choice::Take(place(all, main), "no other file holds as much"),
    }
}

fn place(all: &[Judged], one: &Judged) -> usize {
    all.iter().position(|j| std::ptr::eq(j, one)).unwrap_or(0)
}

fn newest<'a>(all: impl Iterator<Item = &'a Judged>) -> Option<&'a Judged> {
    all.reduce(|best, j| if best.is_as_new_as(j) { best } else { j })
}
