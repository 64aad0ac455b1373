//! What a project could be recovered from, and what each file holds.
//!
//! A candidate is sound if SQLite finds nothing wrong with it, thoroughly, and nobody else has a doubt about its bytes.
//! What a damaged one holds is found by salvaging it, away from the project.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::disk;
use super::report::{Report, grouped};
use super::unsaved::Unsaved;
use super::workshop::Workshop;
use crate::database::{Database, SALVAGE_HELPS};
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::store::{Location, Source, path_text};
use crate::tree::{Content, Time};

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
    /// What of log or journal could not be used.
    pub log_damage: Option<String>,
    /// Whether it is a snapshot with a log that lies beside that, and perhaps does not belong to it.
    pub foreign: bool,
    /// Why the bytes may not be those that were written, whatever SQLite finds.
    pub doubt: Option<String>,
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
    #[serde(serialize_with = "path_text::one")]
    pub path: PathBuf,
    /// The number of a snapshot.
    pub snapshot: Option<u64>,
    /// Whether nothing is wrong with it.
    pub sound: bool,
    /// What is wrong with it.
    pub damage: Option<String>,
    /// What of the log or the journal beside it could not be used, so that nobody knows whether this is the newest data.
    pub log_damage: Option<String>,
    /// Whether it is what a snapshot and the log beside that give together. A snapshot is complete without a log, and
    /// nobody knows whether this one belongs to it.
    pub foreign: bool,
    /// When the file was last written, with its log; of what lies in a ZIP file, when that was.
    pub written_utc: Option<String>,
    /// When the project was last changed, as it says itself. Not every save says it anew.
    pub modified_utc: Option<String>,
    /// What it holds, or what can be salvaged of it.
    pub holds: Option<Holds>,
    /// What salvage recovers of a damaged one.
    pub salvage: Option<Report>,
    /// What no saved state has, of a session's database or an autosave.
    pub unsaved: Option<Unsaved>,
    /// What the project has, if that is damaged, and this has not, though it holds nearly as much.
    pub lacks: Option<String>,
    #[serde(skip)]
    doubt: Option<String>,
    #[serde(skip)]
    time: Option<SystemTime>,
    #[serde(skip)]
    content: Option<Content>,
    #[serde(skip)]
    workshop: Workshop,
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

    /// How many of each.
    pub fn counts(&self) -> [u64; 5] {
        [self.samples, self.trace_rows, self.events, self.results, self.assets]
    }

    /// Whether it has as much of everything.
    pub fn covers(&self, other: &Holds) -> bool {
        let counts = self.counts().iter().zip(other.counts()).all(|(a, b)| *a >= b);
        counts
            && other.by_sample.iter().all(|(name, rows)| self.by_sample.get(name).is_some_and(|n| n >= rows))
    }

    /// Whether it has as many samples, and no more than one trace row in a hundred less.
    pub fn is_nearly(&self, other: &Holds) -> bool {
        self.samples >= other.samples
            && self.trace_rows.saturating_mul(100) >= other.trace_rows.saturating_mul(99)
    }

    /// Whether any sample of it is one of `other`, if that has some.
    pub fn shares_a_sample_with(&self, other: &Holds) -> bool {
        other.by_sample.is_empty() || other.by_sample.keys().any(|name| self.by_sample.contains_key(name))
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
    /// Looks at a candidate. It fails where there is no room to salvage it in, and where its file is changed meanwhile:
    /// that is no damage, and what was read of two states is neither.
    pub fn of(candidate: Candidate, workshop: &Workshop) -> Result<Judged> {
        let Candidate { role, path, snapshot, time, content, log_damage, foreign, doubt } = candidate;
        let mut judged = Judged {
            number: 0,
            role,
            path,
            snapshot,
            sound: false,
            damage: None,
            log_damage,
            foreign,
            written_utc: time.map(|time| Time::from(time).utc()),
            modified_utc: None,
            holds: None,
            salvage: None,
            unsaved: None,
            lacks: None,
            doubt: None,
            time,
            content: None,
            workshop: workshop.clone(),
        };
        match content {
            Ok(content) => {
                judged.content = Some(content.clone());
                let looked = judged.look(&content, doubt);
                judged.is_unchanged()?;
                looked?;
            }
            Err(changed @ Error::SourceChanged(_)) => return Err(changed),
            Err(e) => judged.damage = Some(e.to_string()),
        }
        Ok(judged)
    }

    fn look(&mut self, content: &Content, doubt: Option<String>) -> Result<()> {
        let checked = self.open(content.clone()).and_then(|db| db.integrity_check().map(|()| db));
        let looked = checked.and_then(|db| {
            self.modified_utc = db.meta()?.remove("modified_utc");
            Holds::of(&db)
        });
        let mut damage: Vec<String> = doubt.iter().chain(&self.log_damage).cloned().collect();
        match looked {
            Ok(holds) if damage.is_empty() => {
                self.sound = true;
                self.holds = Some(holds);
                return Ok(());
            }
            Ok(_) => {}
            Err(e) => damage.push(e.to_string()),
        }
        match self.salvage(content) {
            Err(e) if disk::is(&e) => return Err(e),
            done => damage.extend(done.err().map(|e| e.to_string())),
        }
        self.doubt = doubt;
        self.salvage = self.salvage.take().map(|report| self.doubted(report));
        self.damage = Some(damage.join("; ").replace(SALVAGE_HELPS, ""));
        Ok(())
    }

    /// Fails if its file is not what it was when it was opened.
    pub fn is_unchanged(&self) -> Result<()> {
        match self.content.as_ref().map(Content::check) {
            Some(changed @ Err(Error::SourceChanged(_))) => changed,
            // What else there is to say of it is said by whoever reads it.
            _ => Ok(()),
        }
    }

    /// What salvage reports, with what it does not know.
    fn doubted(&self, mut report: Report) -> Report {
        report.doubt.clone_from(&self.doubt);
        if let Some(log) = &self.log_damage {
            report.lost_is_exact = false;
            report.notes.push(log.clone());
        }
        report
    }

    fn open(&self, content: Content) -> Result<Arc<Database>> {
        Database::open(content, &self.path.display().to_string())
    }

    /// What can be salvaged is found by doing it.
    fn salvage(&mut self, content: &Content) -> Result<()> {
        let Some((made, report)) = self.workshop.recover(content)? else { return Ok(()) };
        let db = self.open(made)?;
        self.modified_utc = db.meta()?.remove("modified_utc");
        self.holds = Some(Holds::of(&db)?);
        self.salvage = Some(report);
        Ok(())
    }

    /// What was found, in a line of the log.
    pub fn verdict(&self) -> String {
        let size = match &self.content {
            Some(content) => format!("{} bytes", grouped(content.size())),
            None => "no bytes".into(),
        };
        let (path, role) = (self.path.display(), self.role.word());
        let verdict = match (&self.damage, self.sound) {
            (Some(damage), _) => format!("damaged: {}", damage.replace('\n', " ")),
            (None, true) => "sound".into(),
            (None, false) => "nothing can be had of it".into(),
        };
        let pages = self.salvage.as_ref().map(|report| {
            let pages: Vec<String> = report.pages.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            format!("; pages of {} bytes: {}; {}", report.page_size, pages.join(", "), report.words())
        });
        format!("candidate {} ({role}) {path}: {size}; {verdict}{}", self.number, pages.unwrap_or_default())
    }

    /// Its database, as it is or as it can be salvaged.
    pub fn database(&self) -> Result<Arc<Database>> {
        let cannot = || Error::Refused(self.damage.clone().unwrap_or_default());
        let content = self.content.as_ref().ok_or_else(cannot)?;
        if self.sound {
            return self.open(content.clone());
        }
        let (made, _) = self.workshop.recover(content)?.ok_or_else(cannot)?;
        self.open(made)
    }

    /// Whether it may be taken unasked as what somebody has written.
    pub fn is_sound_and_own(&self) -> bool {
        self.sound && !self.foreign
    }

    /// Whether it is somebody's session, and sound but for a log of which nothing, or not all, could be used.
    pub fn lacks_its_log_alone(&self) -> bool {
        self.log_damage.is_some() && self.damage == self.log_damage && self.is_of_session() && !self.foreign
    }

    /// Whether anything can be had of it.
    pub fn is_of_use(&self) -> bool {
        self.holds.is_some()
    }

    /// Whether it is known to be a file without a byte, in which nothing was ever written.
    pub fn has_no_bytes(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.size() == 0)
    }

    /// Whether there is anything in it that somebody has recorded, and not only the frame of a project.
    pub fn has_work(&self) -> bool {
        let other_rows = |report: &Report| report.tables.iter().any(|t| t.name != "meta" && t.recovered > 0);
        self.holds.as_ref().is_some_and(|h| h.counts() != [0; 5])
            || self.salvage.as_ref().is_some_and(other_rows)
    }

    /// Writes what can be had of it to `path`, an empty file.
    pub fn write(&self, path: &std::path::Path) -> Result<Option<Report>> {
        let Some(content) = &self.content else {
            return Err(Error::Refused(self.damage.clone().unwrap_or_default()));
        };
        let made = match self.sound {
            true => copy(content, path).map(|()| None),
            false => super::recover(content, path).and_then(|report| match report {
                Some(report) => Ok(Some(report)),
                None => Err(Error::Refused(format!("{}: nothing can be had of it", self.path.display()))),
            }),
        };
        self.is_unchanged()?;
        let report = made?;
        // Nobody is told of a success that was not looked at.
        self.open(content_of(path)?)?.quick_check()?;
        Ok(report.map(|report| self.doubted(report)))
    }

    /// How its age compares with that of `other` by each thing that tells it. Numbers of snapshots decide alone. The file's
    /// time is lost in some copies, and what the project says is not said anew at every save: both count.
    fn ages(&self, other: &Judged) -> [Ordering; 2] {
        if let (Some(own), Some(others)) = (self.snapshot, other.snapshot) {
            return [own.cmp(&others); 2];
        }
        let said = self.modified_utc.as_ref().zip(other.modified_utc.as_ref()).map(|(a, b)| a.cmp(b));
        let written = self.time.zip(other.time).map(|(a, b)| a.cmp(&b));
        [said, written].map(|age| age.unwrap_or(Ordering::Equal))
    }

    /// Whether the project in it was changed no earlier than that in `other`, as both say.
    pub fn says_it_is_as_new_as(&self, other: &Judged) -> bool {
        self.ages(other)[0] != Ordering::Less
    }

    /// Whether nothing says that it is older than `other`.
    pub fn is_as_new_as(&self, other: &Judged) -> bool {
        !self.ages(other).contains(&Ordering::Less)
    }

    /// Whether it is older than `other`, and nothing says the contrary.
    pub fn is_older_than(&self, other: &Judged) -> bool {
        let ages = self.ages(other);
        ages.contains(&Ordering::Less) && !ages.contains(&Ordering::Greater)
    }

    /// Whether it is a newer snapshot than `other`, or of a session.
    pub fn is_newer_than(&self, other: &Judged) -> bool {
        self.is_of_session() || self.snapshot.is_some() && self.snapshot > other.snapshot
    }

    /// Whether it is the database of a session, or an autosave.
    pub fn is_of_session(&self) -> bool {
        matches!(self.role, Role::Staging | Role::Autosave)
    }

    /// Whether salvage costs next to nothing, as far as its losses are known.
    pub fn seems_to_lose_little(&self) -> bool {
        let Some(report) = &self.salvage else { return false };
        let samples = report.tables.iter().find(|t| t.name == "dataset");
        let all = report.recovered.saturating_add(report.lost);
        samples.is_some_and(|t| t.lost == 0) && report.lost.saturating_mul(100) <= all
    }

    /// Whether salvage gives all samples and all but one row in thirty, as far as its losses are known, and of nothing less
    /// than that of what `other` has: then what was done last counts for more than the rows that are lost.
    pub fn loses_little_beside(&self, other: &Judged) -> bool {
        let (Some(report), Some(held), Some(others)) = (&self.salvage, &self.holds, &other.holds) else {
            return false;
        };
        let samples = report.tables.iter().find(|t| t.name == "dataset");
        let all = report.recovered.saturating_add(report.lost);
        let has_as_many = |(own, others): (&u64, u64)| own.saturating_mul(30) >= others.saturating_mul(29);
        samples.is_some_and(|t| t.lost == 0)
            && report.lost.saturating_mul(30) <= all
            && held.counts().iter().zip(others.counts()).all(has_as_many)
    }

    /// Whether the numbers of its lost rows are known, and not only that there were some, and nothing that is left is in
    /// doubt.
    pub fn knows_its_losses(&self) -> bool {
        self.salvage.as_ref().is_some_and(|report| report.lost_is_exact && !report.has_doubts())
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
    let cannot = |e| disk::error(&disk::folder_of(path), e);
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
