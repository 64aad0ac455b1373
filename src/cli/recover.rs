//! `vaso recover`

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::exit::Exit;
use super::{output, project};
use crate::database::salvage::{self, Candidate, Choice, Judged, Outcome, Recovery, Role, Stored, grouped};
use crate::error::{Error, Result};
use crate::format;
use crate::signs::Named;
use crate::store::{Location, Source};
use crate::tree::{Content, Kind};

/// Recover a damaged project: from its snapshots, unsaved sessions and backups, or page by page.
///
/// The damaged file is never touched: the result is X.recovered.vaso beside it. Exit code 0: a result was written (what
/// is lost is listed), or the project is sound; 2: nothing could be recovered.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project: a .vaso file or a .vasopack bundle
    #[arg(required_unless_present = "find_autosaves")]
    project: Option<PathBuf>,
    /// List what it could be recovered from, and what each holds
    #[arg(long, conflicts_with_all = ["use_number", "in_place", "extract"])]
    list: bool,
    /// Take this one of the list
    #[arg(long = "use", value_name = "K", conflicts_with = "extract")]
    use_number: Option<usize>,
    /// Publish the result as the next snapshot of the bundle
    #[arg(long, conflicts_with = "extract")]
    in_place: bool,
    /// Write this snapshot to a file, byte for byte
    #[arg(long, value_name = "N", requires = "output")]
    extract: Option<u64>,
    /// Where to
    #[arg(long, short, value_name = "FILE", requires = "extract")]
    output: Option<PathBuf>,
    /// Search a folder for autosaved files and unsaved sessions
    #[arg(long, value_name = "DIR", conflicts_with_all = ["project", "list", "use_number", "in_place", "extract"])]
    find_autosaves: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    if let Some(top) = &args.find_autosaves {
        return find_autosaves(top, args.json);
    }
    let Some(path) = &args.project else { return Ok(Exit::Usage) };
    let (format, candidates, whole) = candidates(path)?;
    if args.in_place && format != "bundle" {
        return Err(Error::Usage(format!("--in-place is for bundles; {} is none", path.display())));
    }
    if let (Some(number), Some(to)) = (args.extract, &args.output) {
        salvage::extract(&candidates, number, to)?;
        let text = format!("snapshot {number} is {}", to.display());
        return match args.json {
            true => output::json(&json!({ "path": to, "snapshot": number })),
            false => say(&text),
        }
        .map(|()| Exit::Done);
    }
    let mut recovery = Recovery::look(path, candidates);
    let current = recovery.all.iter().position(|judged| judged.role == Role::Current);
    if let (false, Choice::Sound, Some(at)) = (whole, &recovery.choice, current) {
        recovery.choice = Choice::Take(at, "sound, in a file that is cut off");
    }
    if args.list {
        return list(path, format, &recovery, args.json);
    }
    if !args.json {
        say(&format!("Attempting to recover: {}\n", name(path)))?;
    }
    let (place, because) = match (args.use_number, &recovery.choice) {
        (Some(number), _) => (recovery.numbered(number)?, "asked for"),
        (None, Choice::Take(place, because)) => (*place, *because),
        (None, Choice::Sound) => return sound(path, &recovery, args.json),
        (None, Choice::Nothing) => return nothing(path, &recovery, args.json),
    };
    let outcome = recovery.take(place, because, args.in_place)?;
    match args.json {
        true => output::json(&with(json!({ "recovered": true }), &outcome))?,
        false => report(&outcome, &recovery.all[place])?,
    }
    Ok(Exit::Done)
}

fn say(text: &str) -> Result<()> {
    output::print(|out| writeln!(out, "{}", lines(text)))
}

/// Text of several lines, each made harmless.
fn lines(text: &str) -> String {
    text.split('\n').map(|line| output::plain(line).into_owned()).collect::<Vec<_>>().join("\n")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn with(mut object: Value, more: &impl serde::Serialize) -> Value {
    let more = serde_json::to_value(more).unwrap_or_default();
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

/// What a project is, what it could be recovered from, and whether the file is whole that those lie in.
fn candidates(path: &Path) -> Result<(&'static str, Vec<Candidate>, bool)> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if meta.is_dir() {
        return Ok(("bundle", salvage::in_bundle(path)?, true));
    }
    let mut front = [0; 4];
    salvage::content_of(path)?.read_at(0, &mut front)?;
    if &front != b"PK\x03\x04" {
        return Ok(("legacy", salvage::beside(path), true));
    }
    let project = match project::open(path) {
        Err(none @ Error::NotAProject { .. }) => {
            let torn = torn(path)?;
            if torn.is_empty() {
                return Err(none);
            }
            let mut all = salvage::around(path);
            all.extend(salvage::of_snapshots(torn, None));
            return Ok(("container", all, false));
        }
        other => other?,
    };
    if project.kind() != "container" {
        let why = format!(
            "this is a {}, and no database; `vaso verify` tells what is damaged in it",
            project.kind()
        );
        return Err(Error::not_a_project(path, why));
    }
    let mut all = salvage::around(path);
    let tree = project.tree();
    let time = meta.modified().ok();
    if let Some(folder) = tree.find(b"snapshots") {
        let files = tree.children(folder).filter(|id| tree.node(*id).kind == Kind::File);
        let databases = files.filter(|id| tree.name(*id).ends_with(b".sqlite"));
        let stored = databases.map(|id| {
            let name = OsStr::from_bytes(tree.name(id));
            let path = path.join("bundle/snapshots").join(name);
            Stored { path, time, content: project.open(id) }
        });
        let head = tree.find(b"HEAD.json").and_then(|id| salvage::head_in(&project.open(id).ok()?));
        // Of a ZIP file that is cut off, a snapshot that is there in part is no part of the tree.
        let mut stored: Vec<Stored> = stored.collect();
        let torn = if project.is_whole() { Vec::new() } else { torn(path)? };
        for part in torn {
            if stored.iter().all(|whole| whole.path != part.path) {
                stored.push(part);
            }
        }
        all.extend(salvage::of_snapshots(stored, head.as_ref()));
    }
    Ok(("container", all, project.is_whole()))
}

/// The snapshots of a container of which not all is there, or not as it was.
fn torn(path: &Path) -> Result<Vec<Stored>> {
    let source = Source::open(Arc::new(Location::find(path)?))?;
    let time = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let parts = format::package::torn(&source)?.into_iter();
    let snapshots = parts.filter(|(name, _)| {
        name.strip_prefix(b"bundle/snapshots/").is_some_and(|name| Named::of(name).is_some())
    });
    let stored = |(name, content): (Vec<u8>, Content)| Stored {
        path: path.join(OsStr::from_bytes(&name)),
        time,
        content: Ok(content),
    };
    Ok(snapshots.map(stored).collect())
}

fn list(path: &Path, format: &str, recovery: &Recovery, as_json: bool) -> Result<Exit> {
    let chosen = match recovery.choice {
        Choice::Take(place, _) => Some(recovery.all[place].number),
        _ => None,
    };
    if as_json {
        let object =
            json!({ "project": path, "format": format, "chosen": chosen, "candidates": recovery.all });
        return output::json(&object).map(|()| Exit::Done);
    }
    let mut text = format!("Recovery options for: {}\nFormat: {format}\n", name(path));
    text += "\nAvailable recovery methods:\n";
    for judged in &recovery.all {
        text += &describe(judged);
    }
    text += &match (&recovery.choice, chosen) {
        (Choice::Sound, _) => "\nThe project is sound: there is nothing to recover.".to_string(),
        (Choice::Take(_, because), Some(number)) => format!("\nTaken unasked: {number} ({because})."),
        _ => "\nNo recovery options available.".to_string(),
    };
    say(&text)?;
    Ok(Exit::Done)
}

fn describe(judged: &Judged) -> String {
    let mark = if judged.is_of_use() { '✓' } else { '✗' };
    let mut text =
        format!("\n{}. [{mark}] {}\n   {}\n", judged.number, judged.role.word(), judged.path.display());
    if let Some(number) = judged.snapshot {
        text += &format!("   Snapshot {number}");
        text += judged.modified_utc.as_ref().map(|t| format!(", changed {t}")).unwrap_or_default().as_str();
        text += "\n";
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
        text += &format!("   {} rows in all; lost {}\n", grouped(report.recovered), grouped(report.lost));
    }
    text
}

fn sound(path: &Path, recovery: &Recovery, as_json: bool) -> Result<Exit> {
    if as_json {
        let object =
            json!({ "project": path, "recovered": false, "sound": true, "candidates": recovery.all });
        return output::json(&object).map(|()| Exit::Done);
    }
    let mut text =
        "✓ The project is sound: there is nothing to recover, and nothing was written.".to_string();
    if let Some(main) = recovery.all.iter().find(|j| j.role == Role::Current) {
        let mut log = main.path.clone().into_os_string();
        log.push("-wal");
        if std::fs::symlink_metadata(&log).is_ok_and(|m| m.len() > 0) {
            let log = Path::new(&log).display();
            text += &format!("\n  Its newest changes may lie in {log}: keep the two files together");
        }
        for other in &recovery.all {
            let more = other.beyond(main);
            if !more.is_empty() {
                text += &format!(
                    "\n  {} ({}) holds beyond it: {}",
                    other.number,
                    other.path.display(),
                    more.join(", ")
                );
            }
        }
    }
    say(&text)?;
    Ok(Exit::Done)
}

fn nothing(path: &Path, recovery: &Recovery, as_json: bool) -> Result<Exit> {
    if as_json {
        let object =
            json!({ "project": path, "recovered": false, "sound": false, "candidates": recovery.all });
        output::json(&object)?;
    } else {
        let why = recovery.all.first().and_then(|j| j.damage.clone()).unwrap_or_default();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        say(&format!(
            "✗ Recovery failed\n  {why}\n\nTry these recovery options:\n  \
             1. Run with --list to see all that was looked at\n  \
             2. Check for autosave files: --find-autosaves {}\n  \
             3. Look for earlier versions in backups, and in the history of the cloud service",
            folder.display()
        ))?;
    }
    Ok(Exit::Unreadable)
}

fn report(outcome: &Outcome, taken: &Judged) -> Result<()> {
    let mut text = "✓ Recovery succeeded!\n".to_string();
    text += &format!("  Recovered from {} ({})\n", outcome.source.display(), outcome.because);
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
            text +=
                &format!("  {} rows recovered, {} lost\n", grouped(report.recovered), grouped(report.lost));
            for line in report.lines() {
                text += &format!("    {line}\n");
            }
        }
    }
    for other in &outcome.elsewhere {
        text += &format!("  Not in it, but in {} (--use {}):\n", other.path.display(), other.number);
        for what in &other.holds {
            text += &format!("    {what}\n");
        }
    }
    text += &format!("\n  Recovered files:\n    - {}\n", outcome.path.display());
    text += &format!("\nYou can now try opening: {}", name(&outcome.path));
    say(&text)
}

fn find_autosaves(top: &Path, as_json: bool) -> Result<Exit> {
    let found = salvage::autosaves(top)?;
    if as_json {
        return output::json(&json!({ "autosaves": found })).map(|()| Exit::Done);
    }
    output::print(|out| {
        writeln!(out, "Found {} autosave file(s):\n", found.len())?;
        for path in &found {
            let shown = path.display().to_string();
            match std::io::stdout().is_terminal() {
                true => writeln!(out, "  {}", output::plain(&shown))?,
                false => writeln!(out, "  {shown}")?,
            }
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}
