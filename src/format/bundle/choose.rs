//! Which snapshot is current: the newest that is valid, whatever the HEADs say.
//!
//! The candidates are looked at from the newest number down, and no further than to the first valid one: a look
//! costs a few pages. Of equal numbers the usual form of the name wins; a sync tool's copy of a snapshot stands in
//! only where its number has no valid file of its own.

use std::collections::BTreeMap;

use super::files::{File, Files, shown};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::format::{Current, Pin};
use crate::signs::{Head, Named, head, names};
use crate::tree::{Kind, Time};

/// The folder of snapshots.
const SNAPSHOTS: &[u8] = b"snapshots/";

/// One snapshot: what its number stands for.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its number; none for the one database of a project without a history.
    pub number: Option<u64>,
    /// The file.
    pub file: File,
    /// A sync tool's copy, and not the file itself.
    pub copy: bool,
}

impl Snapshot {
    /// Its name in the folder of snapshots.
    pub fn name(&self) -> String {
        shown(self.file.path.strip_prefix(SNAPSHOTS).unwrap_or(&self.file.path))
    }

    /// When it was written.
    pub fn time(&self) -> Time {
        self.file.time
    }
}

/// Whether a snapshot is worth showing: an error says what is wrong with it.
pub type Judge<'a> = &'a dyn Fn(&Snapshot) -> Result<()>;

/// All snapshots by number, and what their HEADs say.
#[derive(Debug)]
pub struct Candidates {
    /// By number; for each the file first, then copies in the order of names.
    by_number: BTreeMap<u64, Vec<Snapshot>>,
    /// Of numbers that have several files, which of them stands for it.
    standing: BTreeMap<u64, usize>,
    heads: Vec<(String, Result<Head, &'static str>)>,
}

impl Candidates {
    /// Finds them among the files of a bundle.
    pub fn find(files: &Files, findings: &Findings) -> Result<Candidates> {
        let mut found: Vec<(Named, Snapshot)> = Vec::new();
        for file in files.list.iter().filter(|file| file.kind == Kind::File) {
            let Some(name) = file.path.strip_prefix(SNAPSHOTS).filter(|name| !name.contains(&b'/')) else {
                continue;
            };
            let Some(named) = Named::of(name) else { continue };
            let snapshot = Snapshot { number: Some(named.number.0), file: file.clone(), copy: named.copy };
            found.push((named, snapshot));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut by_number: BTreeMap<u64, Vec<Snapshot>> = BTreeMap::new();
        for (named, snapshot) in found {
            by_number.entry(named.number.0).or_default().push(snapshot);
        }
        for same in by_number.values_mut() {
            let plain = same.iter().filter(|s| !s.copy).count();
            for other in same.iter().take(plain).skip(1) {
                findings.add(Finding::new(
                    Severity::Warning,
                    "same-number",
                    shown(&other.file.path),
                    format!("has the number of {}, which counts", same[0].name()),
                    "see which of the two holds what you need, and move the other elsewhere",
                ));
            }
            // Of one number one file is a candidate; the copies come after it.
            let copies = same.split_off(plain.min(same.len()));
            same.truncate(1);
            same.extend(copies);
        }
        let mut heads = Vec::new();
        for file in files.list.iter().filter(|f| f.kind == Kind::File && !f.path.contains(&b'/')) {
            if !names::is_head(&file.path) {
                continue;
            }
            let plain = file.path == head::NAME.as_bytes();
            let head = match files.read(file, head::MAX) {
                Ok(bytes) => Head::parse(&bytes),
                Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                Err(_) => Err("it cannot be read"),
            };
            if let Err(why) = &head {
                let remedy = match plain {
                    true => {
                        "nothing is lost, but the application does not open the project so: `vaso recover --in-place` \
                         writes it anew, with the same work in a new snapshot"
                    }
                    false => "no reason to act: it is a copy that a sync tool has kept",
                };
                let what = format!("{why}; the newest valid snapshot is shown");
                findings.add(Finding::new(
                    Severity::Warning,
                    "head-unreadable",
                    shown(&file.path),
                    what,
                    remedy,
                ));
            } else if !plain {
                findings.add(Finding::new(
                    Severity::Warning,
                    "head-conflict",
                    shown(&file.path),
                    "a sync tool has kept this copy of HEAD.json: two machines have saved at the same time",
                    "compare the newest snapshots (vaso log, vaso diff), then remove the copy",
                ));
            }
            heads.push((shown(&file.path), head));
        }
        let has_head = heads.iter().any(|(name, _)| name == "HEAD.json");
        if !has_head && !by_number.is_empty() {
            let (what, head) = no_head(files);
            let (severity, code, remedy) = match head {
                None => (
                    Severity::Notice,
                    "head-missing",
                    "nothing is lost, but the application does not open the project so: `vaso recover \
                     --in-place` writes it anew, with the same work in a new snapshot",
                ),
                Some(_) => (
                    Severity::Warning,
                    "head-unreadable",
                    "the application does not open the project so; put an ordinary file in its place",
                ),
            };
            let what = format!("{what}; the newest valid snapshot is shown");
            findings.add(Finding::new(severity, code, "HEAD.json", what, remedy));
            heads.extend(head.map(|head| ("HEAD.json".to_string(), Err(head))));
        }
        heads.sort_by_key(|(name, _)| (name != "HEAD.json", name.clone()));
        let candidates = Candidates { by_number, standing: BTreeMap::new(), heads };
        candidates.tell_of_dangling_heads(findings);
        Ok(candidates)
    }

    fn tell_of_dangling_heads(&self, findings: &Findings) {
        for (path, head) in &self.heads {
            let Ok(Head { current: Some(number), name: Some(name), .. }) = head else { continue };
            let (code, what, remedy) = match self.of_number(*number) {
                [] => (
                    "head-dangling",
                    format!("it names {name}, which is not there"),
                    "look for that snapshot on other machines and in backups; the next save writes HEAD anew",
                ),
                [first, ..] if first.name() != *name => (
                    "head-other-name",
                    format!("it names {name}; but of that number {} counts", first.name()),
                    "see whether that is the one that was meant; the next save writes HEAD anew",
                ),
                _ => continue,
            };
            findings.add(Finding::new(Severity::Warning, code, path.clone(), what, remedy));
        }
    }

    /// Finds out which file stands for a number that has several: the first that is valid. Of all others nothing is
    /// read.
    pub fn settle(&mut self, judge: Judge) -> Result<()> {
        for (number, same) in self.by_number.iter().filter(|(_, same)| same.len() > 1) {
            for (place, snapshot) in same.iter().enumerate() {
                match judge(snapshot) {
                    Ok(()) => {
                        self.standing.insert(*number, place);
                        break;
                    }
                    Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether any HEAD names this number.
    pub fn is_named(&self, number: u64) -> bool {
        self.heads.iter().any(|(_, head)| head.as_ref().is_ok_and(|head| head.current == Some(number)))
    }

    /// Whether there is no snapshot at all.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// One snapshot for each number, the oldest first: the one that stands for it.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.by_number
            .iter()
            .filter_map(|(number, same)| same.get(self.standing.get(number).copied().unwrap_or(0)))
    }

    /// All files of one number, in the order in which they count.
    pub fn of_number(&self, number: u64) -> &[Snapshot] {
        self.by_number.get(&number).map_or(&[], Vec::as_slice)
    }

    /// All numbers, the oldest first.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.by_number.keys().copied()
    }

    /// Every file that could be a snapshot, the oldest first.
    pub fn every_one(&self) -> impl Iterator<Item = &Snapshot> {
        self.by_number.values().flatten()
    }

    /// The newest valid snapshot, and why it is that one; `None` when there is none.
    pub fn choose(&self, judge: Judge, findings: &Findings) -> Result<Option<(Snapshot, Current)>> {
        let mut passed = Passed::default();
        for snapshot in self.by_number.values().rev().flatten() {
            match judge(snapshot) {
                Ok(()) => {
                    let because = self.because(snapshot, &passed);
                    if snapshot.copy {
                        findings.add(Finding::new(
                            Severity::Warning,
                            "snapshot-conflict",
                            shown(&snapshot.file.path),
                            "a sync tool's copy of a snapshot that is not there, or not valid, under its own name",
                            "look for the snapshot on the other machine",
                        ));
                    }
                    let expected = !snapshot.copy && passed.0.is_empty() && self.is_of_head(snapshot);
                    let current = Current { name: snapshot.name(), because, expected };
                    return Ok(Some((snapshot.clone(), current)));
                }
                Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                Err(why) => passed.over(snapshot, &why, findings),
            }
        }
        Ok(None)
    }

    /// Whether HEAD.json itself, and no copy of it, names a snapshot.
    fn is_of_head(&self, snapshot: &Snapshot) -> bool {
        let says = |head: &Head| head.name == Some(snapshot.name());
        self.heads.iter().any(|(name, head)| name == head::NAME && head.as_ref().is_ok_and(says))
    }

    fn because(&self, chosen: &Snapshot, passed: &Passed) -> String {
        let head = self.heads.iter().find(|(name, _)| name == head::NAME).map(|(_, head)| head);
        // A HEAD may mean it and call it otherwise: `2.sqlite`, or what only a copy is there of.
        let says = |head: &Head| head.name == Some(chosen.name());
        let other = self.heads.iter().find(|(_, head)| head.as_ref().is_ok_and(says));
        let of_head = match (head, other) {
            (_, Some((name, _))) => format!("it is the newest valid snapshot, as {name} says"),
            (None, _) => "it is the newest valid snapshot; HEAD.json is missing".into(),
            (Some(Err(why)), _) => format!("it is the newest valid snapshot; of HEAD.json, {why}"),
            (Some(Ok(Head { name: None, .. })), _) => {
                "it is the newest valid snapshot; HEAD.json names none".into()
            }
            (Some(Ok(Head { name: Some(name), write_in_progress, current })), _) => {
                let same = if *current == chosen.number { ", which has its number" } else { "" };
                let saving = if *write_in_progress { " and says that a save was under way" } else { "" };
                format!("it is the newest valid snapshot; HEAD.json names {name}{same}{saving}")
            }
        };
        of_head + &passed.words()
    }

    /// Every file that could be a snapshot and is no newer, the newest number first.
    pub fn until(&self, time: Time) -> impl Iterator<Item = &Snapshot> {
        self.by_number.values().rev().flatten().filter(move |snapshot| snapshot.time() <= time)
    }

    /// The snapshot that a pin names, and why.
    pub fn pinned(&self, pin: Pin, judge: Judge, findings: &Findings) -> Result<Option<(Snapshot, Current)>> {
        let (list, because): (Vec<&Snapshot>, _) = match pin {
            Pin::Number(number) => (self.of_number(number).iter().collect(), "this snapshot was asked for"),
            Pin::At(time) => {
                (self.until(time).collect(), "it is the newest valid snapshot of the time that was asked for")
            }
        };
        let mut passed = Passed::default();
        for snapshot in list {
            match judge(snapshot) {
                Ok(()) => {
                    let because = because.to_string() + &passed.words();
                    let expected = passed.0.is_empty();
                    let current = Current { name: snapshot.name(), because, expected };
                    return Ok(Some((snapshot.clone(), current)));
                }
                Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                Err(why) => passed.over(snapshot, &why, findings),
            }
        }
        Ok(None)
    }
}

/// What stands in the place of HEAD, in words for a finding, and as what is wrong with it; the latter only where anything
/// stands there.
fn no_head(files: &Files) -> (&'static str, Option<&'static str>) {
    let is_link = files.find(b"HEAD.json").is_some_and(|file| file.kind == Kind::Link);
    let is_folder = files.folders.iter().any(|(path, _)| path == b"HEAD.json");
    let what = match (is_link, is_folder) {
        (true, _) => "it is a link, and none is followed",
        (_, true) => "it is a folder",
        _ => return ("it is missing", None),
    };
    (what, Some(what))
}

/// The snapshots that were passed over on the way to the one that is shown, and why.
#[derive(Debug, Default)]
struct Passed(Vec<(String, String)>);

impl Passed {
    fn over(&mut self, snapshot: &Snapshot, why: &Error, findings: &Findings) {
        let what = match why {
            Error::Io { cause, .. } => format!("cannot be read ({cause})"),
            _ => "is not valid".to_string(),
        };
        self.0.push((snapshot.name(), what));
        findings.add(not_valid(snapshot, why));
    }

    fn words(&self) -> String {
        let unread = self.0.iter().filter(|(_, what)| what != "is not valid").count();
        match self.0.as_slice() {
            [] => String::new(),
            [(name, what)] => format!("; the newer {name} {what}"),
            many if unread == 0 => format!("; {} newer ones are not valid", many.len()),
            many if unread == many.len() => format!("; {unread} newer ones cannot be read"),
            many => {
                let count = many.len() - unread;
                format!("; of the newer ones, {unread} cannot be read, and {count} are not valid")
            }
        }
    }
}

/// A snapshot that is passed over.
pub fn not_valid(snapshot: &Snapshot, why: &Error) -> Finding {
    let (code, what, remedy) = match why {
        Error::Io { doing, cause, .. } => (
            "snapshot-unreadable",
            format!("the system does not {doing} it: {cause}; nobody can tell whether it is valid"),
            "make it readable (permissions, disk, download), for the newest work may be in it",
        ),
        Error::Damaged { what, .. } => ("snapshot-invalid", what.clone(), PASSED_OVER),
        other => ("snapshot-invalid", other.to_string(), PASSED_OVER),
    };
    Finding::new(Severity::Error, code, shown(&snapshot.file.path), what, remedy)
}

/// What to do about a snapshot that is passed over.
const PASSED_OVER: &str = "it is passed over; `vaso recover` sees what is left of it";
