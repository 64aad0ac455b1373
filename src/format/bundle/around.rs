//! What lies about a project: locks, databases of sessions, autosaves, backups, copies, what was never finished.
//!
//! A session's database, or an autosave, is compared with the snapshots, the current one first, until one is found that
//! has all of it; what the nearest has not is unsaved work. Everything is read where it lies, logs included, and
//! nothing is written.
//!
//! Limits: one in which a program is at work may change while it is read, which is told and is no failure. Beside a
//! project only names are taken for copies of it that no person gives to a project of his own.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Bundle, Snapshot, alone};
use crate::database::{Beyond, Database, with_logs};
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::format::{Around, Container, Left, Leftover};
use crate::signs::{self, names};
use crate::store::{Folder, Item, ItemKind, Source};
use crate::tree::{Content, Kind, Time};

/// Snapshots that one database is compared with.
const COMPARED: usize = 5;
/// Databases that are looked into.
const LOOKED_INTO: usize = 20;

/// Looks around.
pub fn look(bundle: &Bundle) -> Around {
    let mut around = Around::default();
    if bundle.stock.options.raw {
        return around;
    }
    match signs::locks(bundle.source.location()) {
        Ok(locks) => around.locks = locks,
        Err(why) => log::warn!("{}: its locks are not seen: {why}", bundle.source.path().display()),
    }
    let mut databases = 0;
    let mut compare = |folder: &Folder, items: &[Item], item: &Item, leftover: &mut Leftover| {
        databases += 1;
        // Of the others nothing is said.
        if databases <= LOOKED_INTO {
            compare(bundle, folder, items, item, leftover);
        }
    };
    // A folder that cannot be listed hides what is in it from everybody who may not list it.
    if bundle.kind == "bundle"
        && let Ok(folder) = bundle.source.location().folder()
    {
        sessions(&folder, b".staging", ".staging", &mut around, &mut compare);
    }
    around.leftovers.extend(stored(bundle));
    if let Ok(above) = bundle.source.location().above() {
        beside(bundle, &above, &mut around, &mut compare);
    }
    around.leftovers.sort_by(|a, b| (a.what, &a.path).cmp(&(b.what, &b.path)));
    around
}

/// Says what an item holds: called with its folder, all that is in that, and the item.
type Compare<'a> = &'a mut dyn FnMut(&Folder, &[Item], &Item, &mut Leftover);

fn leftover(what: Left, path: String, size: u64, written: Time) -> Leftover {
    let written_utc = written.utc();
    let (compared_with, unsaved, older, log_damage, problem) = (None, None, false, None, None);
    Leftover { what, path, size, written_utc, compared_with, unsaved, older, log_damage, problem }
}

fn of_item(what: Left, path: String, item: &Item) -> Leftover {
    let (seconds, nanos) = item.stamp.mtime;
    leftover(what, path, item.stamp.size, Time { seconds, nanos: nanos as u32 })
}

/// The databases of sessions in the folder `name`.
fn sessions(above: &Folder, name: &[u8], shown: &str, around: &mut Around, compare: Compare<'_>) {
    let Ok(folder) = above.sub(name) else { return };
    let Ok(items) = folder.list() else { return };
    let databases = items.iter().filter(|i| i.kind == ItemKind::File && i.name.ends_with(b".sqlite"));
    for item in databases {
        let path = format!("{shown}/{}", String::from_utf8_lossy(&item.name));
        let mut leftover = of_item(Left::Staging, path, item);
        compare(&folder, &items, item, &mut leftover);
        around.leftovers.push(leftover);
    }
}

/// What does not belong among the stored files.
fn stored(bundle: &Bundle) -> Vec<Leftover> {
    let mut found = Vec::new();
    for file in bundle.stock.files.list.iter().filter(|file| file.kind == Kind::File) {
        let of_snapshots = file.path.strip_prefix(b"snapshots/");
        let name = of_snapshots.unwrap_or(&file.path);
        if name.contains(&b'/') || bundle.kind == "legacy" {
            continue;
        }
        let is_log = ["-wal", "-journal"]
            .iter()
            .any(|log| name.strip_suffix(log.as_bytes()).is_some_and(|base| base.ends_with(b".sqlite")));
        let what = match of_snapshots {
            _ if is_unfinished(name) => Left::Temporary,
            Some(_) if is_log && file.size > 0 => Left::Log,
            Some(_) if names::conflicting_number(name).is_some() => Left::ConflictCopy,
            None if names::is_conflict_copy(name, "HEAD", ".json") => Left::ConflictCopy,
            _ => continue,
        };
        found.push(leftover(what, super::files::shown(&file.path), file.size, file.time));
    }
    found
}

fn is_unfinished(name: &[u8]) -> bool {
    name.ends_with(b".tmp") || name.starts_with(b".vaso-") && name.ends_with(b".part")
}

/// What lies beside the project and bears its name.
fn beside(bundle: &Bundle, above: &Folder, around: &mut Around, compare: Compare<'_>) {
    let path = bundle.source.path();
    let full = path.file_name().unwrap_or_default().as_encoded_bytes();
    let stem = path.file_stem().unwrap_or_default().as_encoded_bytes();
    let shown = |item: &Item| above.path().join(String::from_utf8_lossy(&item.name).as_ref());
    let Ok(items) = above.list() else { return };
    for item in items.iter().filter(|item| item.kind == ItemKind::File && item.stamp.size > 0) {
        let Some(what) = kin(&item.name, full, stem) else { continue };
        let mut leftover = of_item(what, shown(item).display().to_string(), item);
        if what == Left::Autosave {
            compare(above, &items, item, &mut leftover);
        }
        around.leftovers.push(leftover);
    }
    let ours = [&b"."[..], full, b".staging"].concat();
    if let Some(item) = items.iter().find(|item| item.name == ours) {
        sessions(above, &ours, &shown(item).display().to_string(), around, compare);
    }
}

/// What a file beside the project `full`, without its suffix `stem`, is to it.
fn kin(name: &[u8], full: &[u8], stem: &[u8]) -> Option<Left> {
    if let Some(tail) = name.strip_prefix(full) {
        match tail {
            b".autosave" => return Some(Left::Autosave),
            b".bak" | b".bak1" | b".bak2" | b".backup" | b".legacy" => return Some(Left::Backup),
            b"-wal" | b"-journal" => return Some(Left::Log),
            b".tmp" => return Some(Left::Temporary),
            _ => {}
        }
    }
    let tail = name.strip_prefix(stem)?;
    let version = tail.strip_prefix(b".v").and_then(|tail| tail.strip_suffix(b".backup.vaso"));
    match tail {
        b".autosave.sqlite" => Some(Left::Autosave),
        b".vaso.legacy" => Some(Left::Backup),
        _ if version.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit)) => Some(Left::Backup),
        _ => {
            let mark = tail.strip_suffix(&full[stem.len()..])?;
            names::is_certain_mark(mark).then_some(Left::ConflictCopy)
        }
    }
}

/// Compares a database that was left with what was saved.
fn compare(bundle: &Bundle, folder: &Folder, items: &[Item], item: &Item, leftover: &mut Leftover) {
    let written = written(items, item);
    let opened = open(folder, items, item, &mut leftover.log_damage);
    match opened.and_then(|database| nearest(bundle, &database, written)) {
        Ok(Nearest { beyond, name, older }) => {
            leftover.compared_with = name;
            leftover.unsaved = Some(beyond);
            leftover.older = older;
        }
        Err(why) => leftover.problem = Some(why.to_string()),
    }
}

/// What a database holds beyond the snapshot that is nearest to it.
struct Nearest {
    beyond: Beyond,
    /// The snapshot; none where there is none.
    name: Option<String>,
    /// Whether the database is older.
    older: bool,
}

/// When an item was last written, or the log beside it, by the clock of the file system.
fn written(items: &[Item], item: &Item) -> Time {
    let log = [&item.name, &b"-wal"[..]].concat();
    let log = items.iter().find(|other| other.name == log && other.kind == ItemKind::File);
    let time = |item: &Item| Time { seconds: item.stamp.mtime.0, nanos: item.stamp.mtime.1 as u32 };
    time(item).max(log.map(time).unwrap_or_else(|| time(item)))
}

/// Whether what was written at `written` is older than a saved state: by what both say, by the times of their files, or by
/// both. Where these contradict each other, it is not.
fn is_older(said: [Option<String>; 2], written: Time, saved: Time) -> bool {
    let [own, others] = &said;
    let said = own.as_ref().zip(others.as_ref()).map_or(Ordering::Equal, |(own, others)| own.cmp(others));
    let ages = [said, written.cmp(&saved)];
    ages.contains(&Ordering::Less) && !ages.contains(&Ordering::Greater)
}

/// When a saved state was written; of one in a ZIP file, when that was.
fn saved_at(bundle: &Bundle, snapshot: &Snapshot) -> Time {
    let of_file = || {
        let (seconds, nanos) = bundle.source.stamp().mtime;
        Time { seconds, nanos: nanos as u32 }
    };
    match bundle.kind {
        "bundle" => snapshot.time(),
        // The newest changes may lie in a log beside it; what is in a journal is older.
        "legacy" => {
            let states = bundle.stock.files.list.iter().filter(|file| !file.path.ends_with(b"-journal"));
            states.map(|file| file.time).max().unwrap_or_default()
        }
        _ => of_file(),
    }
}

fn nearest(bundle: &Bundle, database: &Arc<Database>, written: Time) -> Result<Nearest> {
    let mut nearest: Option<Nearest> = None;
    for snapshot in saved(bundle) {
        let other = bundle.stock.database(snapshot)?;
        let beyond = Beyond::of(database, Some(&other))?;
        let said = |database: &Database| Ok(database.meta()?.remove("modified_utc"));
        let older = is_older([said(database)?, said(&other)?], written, saved_at(bundle, snapshot));
        if nearest.as_ref().is_none_or(|nearest| beyond.distance() < nearest.beyond.distance()) {
            nearest = Some(Nearest { beyond, name: Some(snapshot.name()), older });
        }
        if nearest.as_ref().is_some_and(|nearest| nearest.beyond.is_empty()) {
            break;
        }
    }
    match nearest {
        Some(nearest) => Ok(nearest),
        None => Ok(Nearest { beyond: Beyond::of(database, None)?, name: None, older: false }),
    }
}

/// The database of an item, with the logs that lie beside it; `damage` is what of these cannot be used.
fn open(folder: &Folder, items: &[Item], item: &Item, damage: &mut Option<String>) -> Result<Arc<Database>> {
    let content = |item: &Item| -> Result<Content> {
        let source = Source::open_listed(folder.location(&item.name)?, item.stamp)?;
        Ok(Content::Range(source, 0..item.stamp.size))
    };
    let log = |suffix: &str| {
        let name = [&item.name, suffix.as_bytes()].concat();
        let log =
            items.iter().find(|log| log.name == name && log.kind == ItemKind::File && log.stamp.size > 0);
        log.map(content).transpose()
    };
    let name = String::from_utf8_lossy(&item.name).into_owned();
    let path = folder.path().join(&name);
    let (whole, unused) = with_logs(content(item)?, &path, log("-journal")?, log("-wal")?)?;
    *damage = unused;
    Database::open(super::stock::without_log(whole)?, &name)
}

/// The valid snapshots, the current one first, or the one database that there is.
fn saved(bundle: &Bundle) -> Vec<&Snapshot> {
    let Ok(current) = bundle.chosen() else { return Vec::new() };
    let others = bundle.candidates.all().rev().filter(|snapshot| snapshot.file.path != current.file.path);
    let valid = |snapshot: &&Snapshot| bundle.stock.check(snapshot).is_ok();
    std::iter::once(current).chain(others).filter(valid).take(COMPARED).collect()
}

/// Adds what is to be told of it to the findings of the project.
pub fn tell(bundle: &Bundle) {
    let around = bundle.around();
    let at_work = around.locks.iter().any(|lock| lock.live);
    for lock in &around.locks {
        let path = lock.path.display().to_string();
        let (code, what, remedy) = match lock.live {
            true => ("locked", "the project is open in a program", "no reason to act: reading needs no lock"),
            false => {
                ("stale-lock", "left behind", "no reason to act: the next program that writes removes it")
            }
        };
        let what = format!("{what}: {}", lock.who());
        bundle.stock.findings.add(Finding::new(Severity::Notice, code, path, what, remedy));
    }
    for leftover in &around.leftovers {
        let Leftover { path, .. } = leftover;
        let (severity, code, what, remedy) = match leftover.what {
            Left::Staging | Left::Autosave => of_work(leftover, at_work),
            Left::ConflictCopy if path.starts_with("HEAD") => continue,
            Left::ConflictCopy => (
                Severity::Warning,
                "conflict-copy",
                "a sync tool has kept this copy: two machines have saved at the same time".into(),
                "see which of the two holds what you need (vaso info, vaso log), and move the other elsewhere",
            ),
            Left::Log if bundle.kind == "legacy" => {
                let (what, remedy) = alone::of_log(bundle.source.path(), &bundle.stock.files, path);
                (Severity::Notice, "log", what.into(), remedy)
            }
            // Of which pages it has, and which the file, SQLite alone decides: a snapshot is complete by itself.
            Left::Log if path.ends_with("-journal") => (
                Severity::Warning,
                "log",
                "a program has begun to change what it lies beside, and half of that may be in there; what is in this \
                 file is older, and is not put back"
                    .into(),
                "copy both files elsewhere, and open the copy with SQLite, which puts back what was; compare the two",
            ),
            Left::Log => (
                Severity::Warning,
                "log",
                "a program has opened what it lies beside for writing; what it holds is not shown".into(),
                "a snapshot is complete by itself; look with SQLite, in a copy, whether it holds anything",
            ),
            Left::Backup => (
                Severity::Notice,
                "backup",
                "a copy that was made before a change".into(),
                "`vaso recover --list` tells what it holds; it may be removed when nobody needs it",
            ),
            Left::Temporary => (
                Severity::Notice,
                "unfinished",
                "a file that a program has not finished writing, or is writing".into(),
                "remove it when no program is at work in the project",
            ),
        };
        bundle.stock.findings.add(Finding::new(severity, code, path, what, remedy));
    }
}

/// What is to be told of a session's database, or of an autosave.
fn of_work(leftover: &Leftover, at_work: bool) -> (Severity, &'static str, String, &'static str) {
    let (whose, code) = match leftover.what {
        Left::Autosave => ("an autosave", "autosave"),
        _ if at_work => ("the database of a session that is at work", "staging"),
        _ => ("the database of a session that ended without saving", "orphaned-staging"),
    };
    let keep = match leftover.what {
        Left::Autosave => {
            "`vaso recover` saves it; do that first, for the application deletes it as soon as it opens the project"
        }
        // The application knows of no other folder.
        _ if leftover.path.starts_with(".staging/") => {
            "`vaso recover` saves it; the application deletes it an hour later, when it opens the project"
        }
        _ => "`vaso recover` saves it; there is no haste: nothing deletes it",
    };
    let saved = match &leftover.compared_with {
        Some(name) => format!("compared with {name}"),
        None => "and there is no valid snapshot".into(),
    };
    match (&leftover.problem, &leftover.unsaved) {
        (Some(why), _) if at_work => (
            Severity::Notice,
            code,
            format!("{whose}; what is in it cannot be told now: {why}"),
            "look again later",
        ),
        (Some(why), _) => (
            Severity::Warning,
            code,
            match &leftover.log_damage {
                Some(log) => format!("{whose}, and it is damaged: {why}; {log}"),
                None => format!("{whose}, and it is damaged: {why}"),
            },
            "`vaso recover --list` tells what can be salvaged of it",
        ),
        // While a program writes, its log may be seen in the middle of a frame.
        (None, Some(beyond)) if leftover.log_damage.is_some() => {
            let severity = if at_work { Severity::Notice } else { Severity::Warning };
            let log = leftover.log_damage.as_deref().unwrap_or_default();
            let rest = match beyond.is_empty() {
                true => format!("without that, it holds nothing that was not saved ({saved})"),
                false => format!("without that, it holds, {saved}: {}", beyond.words()),
            };
            let remedy =
                "keep a copy of it and of its log; `vaso recover --list` tells what can be salvaged of it";
            (severity, code, format!("{whose}; {log}; {rest}"), remedy)
        }
        (None, Some(beyond)) if !beyond.is_empty() => {
            let (severity, age) = match (leftover.older && leftover.what == Left::Autosave, at_work) {
                (true, _) => (Severity::Notice, ", which is newer"),
                (false, true) => (Severity::Notice, ""),
                (false, false) => (Severity::Warning, ""),
            };
            (severity, code, format!("{whose}; it holds, {saved}{age}: {}", beyond.words()), keep)
        }
        (None, None) => (
            Severity::Warning,
            code,
            format!("{whose}; it was not looked into, for there are more than {LOOKED_INTO} of them"),
            "`vaso recover --list` tells what each of them holds",
        ),
        (None, Some(_)) => (
            Severity::Notice,
            code,
            format!("{whose}; it holds nothing that was not saved ({saved})"),
            "no reason to act",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bears_a_projects_name_is_known_and_another_project_is_not() {
        use Left::*;
        for (name, what) in [
            ("P.vaso.bak", Some(Backup)),
            ("P.vaso.bak2", Some(Backup)),
            ("P.vaso.backup", Some(Backup)),
            ("P.vaso.legacy", Some(Backup)),
            ("P.v7.backup.vaso", Some(Backup)),
            ("P.vaso.autosave", Some(Autosave)),
            ("P.autosave.sqlite", Some(Autosave)),
            ("P.vaso-wal", Some(Log)),
            ("P.vaso-journal", Some(Log)),
            ("P.vaso.tmp", Some(Temporary)),
            ("P (Ana's conflicted copy 2026-02-03).vaso", Some(ConflictCopy)),
            ("P (conflicted copy 2026-02-03 101112).vaso", Some(ConflictCopy)),
            ("P.sync-conflict-20260203-101112-ABCDEFG.vaso", Some(ConflictCopy)),
            ("P.vaso", None),
            ("P 2.vaso", None),
            ("P-control.vaso", None),
            ("P (1).vaso", None),
            ("P.vaso.bak3", None),
            ("P.v.backup.vaso", None),
            ("P.recovered.vaso", None),
            ("Px.vaso.bak", None),
        ] {
            assert_eq!(kin(name.as_bytes(), b"P.vaso", b"P"), what, "{name}");
        }
    }
}
