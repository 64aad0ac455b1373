//! What `vaso recover` says of a recovery.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Exit, name, output, say};
use crate::database::is_hot;
use crate::database::salvage::{
    Amiss, Choice, Elsewhere, Judged, Outcome, Recovery, adds_to, content_of, grouped, with_tail,
};
use crate::error::Result;
use crate::finding::Finding;
use crate::signs::head;

/// What is said of a log beside a snapshot.
const FOREIGN: &str = "it is a log beside a snapshot, which is complete without one: it is not read, and nobody knows whether it belongs to that";
const TOGETHER: &str = " and the snapshot beside it give a damaged database, which";

/// All candidates, and which is taken unasked.
pub fn list(path: &Path, format: &str, recovery: &Recovery, as_json: bool) -> Result<Exit> {
    let chosen = match recovery.choice {
        Choice::Take(place, _) => Some(recovery.all[place].number),
        _ => None,
    };
    let is_had = recovery.choice != Choice::Nothing || to_be_asked_for(recovery).next().is_some();
    let of_use = is_had && recovery.all.iter().any(Judged::is_of_use);
    let ended = if of_use { Exit::Done } else { Exit::Unreadable };
    if as_json {
        let object = json!({
            "project": path.to_string_lossy(), "format": format, "chosen": chosen, "missing": recovery.missing,
            "assets": recovery.assets, "too_new": recovery.too_new, "closed": recovery.closed,
            "candidates": recovery.all,
        });
        return output::json(&object).map(|()| ended);
    }
    let mut text = format!("Recovery options for: {}\nFormat: {format}\n", name(path));
    text += "\nAvailable recovery methods:\n";
    for judged in &recovery.all {
        text += &describe(judged);
    }
    text += &match (&recovery.choice, chosen) {
        (Choice::Sound, _) if recovery.undecided().iter().any(|judged| judged.log_damage.is_some()) => {
            let more = assets(&recovery.assets) + &beyond(&others(recovery));
            format!(
                "\nWhat was saved is in order; but not all could be used of what SQLite keeps beside a database:\n{}{}{more}",
                missing(recovery),
                undecided(recovery)
            )
        }
        (Choice::Sound, _) => {
            let files = assets(&recovery.assets);
            let but = [
                missing(recovery),
                files,
                undecided(recovery),
                too_new(recovery.too_new.as_ref()),
                closed(&recovery.closed),
                beyond(&others(recovery)),
            ]
            .concat();
            let is = match recovery.missing.is_some() || !recovery.assets.is_empty() {
                true => "What is there is in order",
                false if has_foreign(&recovery.undecided()) => "What was saved is in order",
                false => "The project is sound",
            };
            match but.is_empty() {
                true => format!("\n{is}: there is nothing to recover."),
                false => format!("\n{is}; but:\n{but}"),
            }
        }
        (Choice::Take(_, because), Some(number)) => format!("\nTaken unasked: {number} ({because})."),
        _ => "\nNo recovery options available.".to_string(),
    };
    if recovery.choice != Choice::Sound {
        text += &format!("\n{}", missing(recovery));
    }
    say(text.trim_end())?;
    Ok(ended)
}

/// Whether one of them is a log beside a snapshot, with something in it.
fn has_foreign(open: &[&Judged]) -> bool {
    open.iter().any(|judged| judged.foreign)
}

/// Why newer work may be missing of which nothing is there.
fn missing(recovery: &Recovery) -> String {
    let Some(missing) = &recovery.missing else { return String::new() };
    format!("  {missing}: look for newer work on other machines and in backups\n")
}

/// Embedded files that are not what is said of them, and where they are whole.
fn assets(all: &[Amiss]) -> String {
    let line = |amiss: &Amiss| match &amiss.whole_in {
        Some(path) => format!("  {}; it is whole in {}\n", amiss.what, path.display()),
        None => format!("  {}; take the file from where it came\n", amiss.what),
    };
    all.iter().map(line).collect()
}

/// What is to be decided by a person, each with how to take it.
fn undecided(recovery: &Recovery) -> String {
    let mut text = String::new();
    for judged in recovery.undecided() {
        let (number, path) = (judged.number, judged.path.display());
        let damaged = if judged.sound { "" } else { " is damaged, and" };
        let unsaved = judged.unsaved.as_ref().filter(|unsaved| unsaved.is_some());
        text += &match unsaved {
            Some(unsaved) => {
                let damaged = if judged.foreign && !judged.sound { TOGETHER } else { damaged };
                let part = if unsaved.in_part { "at least, as far as it can be salvaged: " } else { "" };
                let words = &unsaved.words;
                format!(
                    "  {number} ({path}){damaged} holds unsaved work: {part}{words}{}",
                    since(recovery, judged)
                )
            }
            None if judged.log_damage.is_some() => format!("  {number} ({path}) is damaged"),
            None if judged.is_of_use() && judged.is_of_session() => {
                format!(
                    "  {number} ({path}) is damaged, and nobody knows whether all that was in it was saved"
                )
            }
            None if judged.is_of_use() => format!("  {number} ({path}) is newer, and damaged"),
            None if judged.snapshot.is_some() => {
                format!("  {path} is newer and damaged, and nothing can be had of it")
            }
            None => format!("  {path} is of a session and damaged, and nothing can be had of it"),
        };
        if let Some(report) = judged.salvage.as_ref() {
            text += &format!(" ({})", report.words());
        }
        text += &judged.log_damage.as_ref().map(|log| format!("; {log}")).unwrap_or_default();
        text += &if judged.foreign { format!("; {FOREIGN}") } else { String::new() };
        text += if judged.is_of_use() { "; take it with " } else { "" };
        text += &if judged.is_of_use() { format!("--use {number}\n") } else { "\n".into() };
    }
    text
}

/// That unsaved work does not have what was saved after it was begun, or may not.
fn since(recovery: &Recovery, judged: &Judged) -> String {
    let (Some(main), Some(unsaved)) = (recovery.main(), &judged.unsaved) else { return String::new() };
    let from = name(&unsaved.compared_with);
    let saved = name(&main.path);
    match &unsaved.as_near {
        _ if unsaved.compared_with != main.path => {
            format!(
                " (compared with {from}, from which it seems to have been begun: what {saved} has since is not in it)"
            )
        }
        Some(other) => {
            let other = name(other);
            format!(
                " (compared with {from}; it may have been begun from {other}, without what was saved since)"
            )
        }
        None if !judged.is_as_new_as(main) => {
            format!(" (compared with {from}, and older: what was saved since is not in it)")
        }
        None => String::new(),
    }
}

/// What others hold beyond the project, which is sound, and that asks for no decision.
fn others(recovery: &Recovery) -> Vec<Elsewhere> {
    let mut others = recovery.main().map_or_else(Vec::new, |main| recovery.beyond(main));
    let open = recovery.undecided();
    others.retain(|other| open.iter().all(|judged| judged.number != other.number));
    others
}

/// What others hold beyond what is taken, or is there.
fn beyond(all: &[Elsewhere]) -> String {
    let mut text = String::new();
    for other in all {
        let damaged = if other.damaged { " (it is damaged; this is what salvage gives of it)" } else { "" };
        text += &format!("  Not in it, but in {} (--use {}){damaged}:\n", other.path.display(), other.number);
        for what in &other.holds {
            text += &format!("    {what}\n");
        }
    }
    text
}

fn describe(judged: &Judged) -> String {
    let mark = if judged.is_of_use() { '✓' } else { '✗' };
    let mut text =
        format!("\n{}. [{mark}] {}\n   {}\n", judged.number, judged.role.word(), judged.path.display());
    if let Some(number) = judged.snapshot {
        text += &format!("   Snapshot {number}\n");
    }
    if judged.foreign {
        text += &format!("   Not read by itself: {FOREIGN}\n");
    }
    if let Some(time) = &judged.written_utc {
        text += &format!("   File written: {time}\n");
    }
    if let Some(damage) = &judged.damage {
        text += &format!("   Damaged: {}\n", damage.replace('\n', " "));
    }
    if let Some(holds) = &judged.holds {
        let what = if judged.sound { "Holds" } else { "Salvage gives" };
        text += &format!(
            "   {what}: {} samples, {} trace rows, {} events, {} results, {} assets\n",
            holds.samples,
            grouped(holds.trace_rows),
            holds.events,
            holds.results,
            holds.assets
        );
    }
    if let Some(report) = &judged.salvage {
        text += &format!("   In all: {}\n", report.words());
    }
    if let Some(unsaved) = judged.unsaved.as_ref().filter(|unsaved| unsaved.is_some()) {
        let from = unsaved.compared_with.display();
        text += &format!("   Unsaved work (compared with {from}): {}\n", unsaved.words);
    }
    text
}

/// Nothing is to be recovered; but something else may ask for a decision.
pub fn sound(path: &Path, recovery: &Recovery, as_json: bool) -> Result<Exit> {
    let open = recovery.undecided();
    let (logs, is_half) = recovery.main().map(logs).unwrap_or_default();
    let files = assets(&recovery.assets);
    let is_done = open.is_empty() && recovery.missing.is_none() && !is_half && files.is_empty();
    let ended = if is_done { Exit::Done } else { Exit::Findings };
    // What a damaged log held may belong to the project, and so does what is missing: then nobody calls that sound.
    let has_log = open.iter().any(|judged| judged.log_damage.is_some());
    let has_foreign = has_foreign(&open);
    let is_sound = !has_log && !has_foreign && recovery.missing.is_none() && !is_half && files.is_empty();
    if as_json {
        let numbers: Vec<usize> = open.iter().map(|judged| judged.number).collect();
        let object = json!({
            "project": path.to_string_lossy(), "recovered": false, "sound": is_sound, "missing": recovery.missing,
            "undecided": numbers, "assets": recovery.assets, "too_new": recovery.too_new, "closed": recovery.closed,
            "candidates": recovery.all,
        });
        return output::json(&object).map(|()| ended);
    }
    let more = beyond(&others(recovery));
    let mut text = match open.is_empty() {
        _ if !has_log && recovery.missing.is_some() => format!(
            "Nothing was written: what is there is in order, but newer work may be missing:\n{}{}",
            missing(recovery),
            undecided(recovery)
        ),
        _ if !has_log && is_half => format!(
            "Nothing was written: SQLite finds nothing wrong, but half of a change may be in it:\n{}",
            undecided(recovery)
        ),
        _ if !files.is_empty() && !has_log && !has_foreign => format!(
            "Nothing was written: SQLite finds the database in order, but embedded files are not what it says:\n\
             {files}{}",
            undecided(recovery)
        ),
        true if more.is_empty() && recovery.has_no_head() => {
            "What was saved is in order, and nothing was written; but the application does not open it:\n"
                .into()
        }
        true if more.is_empty() => {
            "✓ The project is sound: there is nothing to recover, and nothing was written.\n".to_string()
        }
        true => {
            "The project itself is sound, and nothing was written; but others hold what it has not:\n".into()
        }
        false if has_log => format!(
            "Nothing was written: what was saved is in order, but not all could be used of what SQLite keeps beside a \
             database:\n{}{}",
            undecided(recovery),
            missing(recovery)
        ),
        false if has_foreign => format!(
            "Nothing was written: what was saved is in order, but a log lies beside a snapshot, and holds what that has \
             not:\n{}",
            undecided(recovery)
        ),
        false => format!(
            "The project itself is sound, and nothing was written; but there is something to decide:\n{}",
            undecided(recovery)
        ),
    };
    if !text.contains(&files) {
        text += &files;
    }
    text += &logs;
    text += &too_new(recovery.too_new.as_ref());
    text += &closed(&recovery.closed);
    text += &more;
    say(text.trim_end())?;
    Ok(ended)
}

/// What keeps the application from opening it.
fn closed(all: &[Finding]) -> String {
    all.iter().map(|f| format!("  {}: {}; {}\n", f.path, f.message, f.remedy)).collect()
}

fn too_new(why: Option<&String>) -> String {
    why.map(|why| format!("  {why}\n")).unwrap_or_default()
}

/// What is to be said of the log and the journal beside the project's database, and whether half of a change may be in
/// that: a journal beside a snapshot is not applied.
fn logs(main: &Judged) -> (String, bool) {
    let beside = |tail: &str| {
        Some(with_tail(&main.path, tail)).filter(|path| path.symlink_metadata().is_ok_and(|m| m.len() > 0))
    };
    let mut text = String::new();
    // What a snapshot and the log beside it give is a candidate, of which is told what it holds.
    let is_own = main.snapshot.is_none();
    if let Some(log) = beside("-wal").filter(|log| is_own && adds_to(log, &main.path)) {
        let log = log.display();
        text += &format!("  Its newest changes may lie in {log}: keep the two files together\n");
    }
    let hot = |path: &PathBuf| is_hot(&content_of(path).ok()?, &main.path).ok()?;
    let Some(journal) = beside("-journal").filter(|path| hot(path) == Some(true)) else {
        return (text, false);
    };
    let is_half = main.snapshot.is_some();
    let before = if is_half { "is not put back" } else { "is put back" };
    let journal = journal.display();
    text += &format!(
        "  A change to it was not finished, and the file may hold a half of that; what was before {before} from \
         {journal}: keep the two files together\n"
    );
    (text, is_half)
}

/// Logs beside snapshots that hold work: nobody takes one unasked.
fn to_be_asked_for(recovery: &Recovery) -> impl Iterator<Item = &Judged> {
    recovery.all.iter().filter(|judged| judged.foreign && judged.has_work())
}

/// Nothing can be recovered unasked.
pub fn nothing(path: &Path, recovery: &Recovery, as_json: bool) -> Result<Exit> {
    if as_json {
        let object = json!({
            "project": path.to_string_lossy(), "recovered": false, "sound": false, "missing": recovery.missing,
            "candidates": recovery.all,
        });
        output::json(&object)?;
    } else {
        for judged in to_be_asked_for(recovery) {
            let (path, number) = (judged.path.display(), judged.number);
            say(&format!("{path} holds work: {FOREIGN}; take it with --use {number}"))?;
        }
        let damaged = recovery.all.iter().filter(|judged| !judged.sound && !judged.foreign);
        let why = damaged.map(|judged| {
            let why = judged.damage.as_deref().unwrap_or_default().replace('\n', " ");
            format!("  {}: {why}\n", judged.path.display())
        });
        let mut why: String = why.collect();
        if recovery.all.iter().any(|judged| judged.sound) {
            why += "  What is sound is empty: there is no sample in it\n";
        }
        let more = if to_be_asked_for(recovery).next().is_some() { " unasked" } else { "" };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        say(&format!(
            "✗ Recovery failed: nothing can be had{more} of any of these\n{why}\nTry these recovery options:\n  \
             1. Run with --list to see all that was looked at\n  \
             2. Check for autosave files: --find-autosaves {}\n  \
             3. Look for earlier versions in backups, and in the history of the cloud service",
            folder.display()
        ))?;
    }
    Ok(Exit::Unreadable)
}

/// What was written.
///
/// `within` is the bundle that it lies in, if it is the next snapshot of one, and what else that lacks.
pub fn report(outcome: &Outcome, taken: &Judged, within: Option<(&Path, &[Finding])>) -> Result<()> {
    let head = match () {
        () if !taken.has_work() => "A copy was made; but there is no sample in it",
        () if outcome.complete => "✓ Recovery succeeded!",
        () => "Recovered in part",
    };
    let mut text = format!("{head}\n  Recovered from {} ({})\n", outcome.source.display(), outcome.because);
    match &outcome.report {
        None => {
            if let Some(h) = &taken.holds {
                text += &format!(
                    "  {} samples, {} trace rows, {} events\n",
                    h.samples,
                    grouped(h.trace_rows),
                    h.events
                );
            }
        }
        Some(report) => {
            text += &format!("  {}\n", report.words());
            for line in report.lines() {
                text += &format!("    {line}\n");
            }
        }
    }
    if taken.foreign {
        text += &format!("  {FOREIGN}\n");
    }
    for newer in &outcome.newer {
        text += &format!("  {} is newer, and damaged: what was done since is not in it\n", newer.display());
    }
    text += &assets(&outcome.assets);
    text += &too_new(outcome.too_new.as_ref());
    text += &outcome.missing.as_ref().map(|missing| format!("  {missing}\n")).unwrap_or_default();
    if let Some(who) = &outcome.in_use {
        text += &format!(
            "  The project is open in a program ({who}): what it has not saved is not in the result\n"
        );
    }
    text += &beyond(&outcome.elsewhere);
    text += &format!("\n  Recovered files:\n    - {}\n", outcome.path.display());
    let lacks: Vec<Finding> = within
        .map_or(&[][..], |(_, closed)| closed)
        .iter()
        .filter(|f| f.path != head::NAME)
        .cloned()
        .collect();
    text += &match lacks.is_empty() {
        true => {
            format!("\nYou can now try opening: {}", name(within.map_or(&outcome.path, |(bundle, _)| bundle)))
        }
        false => format!("\nThe application does not open the bundle yet:\n{}", closed(&lacks).trim_end()),
    };
    say(&text)
}
