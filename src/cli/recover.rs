//! `vaso recover`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::Exit;
use super::output;
use crate::database::salvage::{self, Candidate, Choice, Recovery, Role};
use crate::error::{Error, Result};

mod sources;
mod words;

use sources::Sources;

/// Recover a damaged project: from its snapshots, unsaved sessions and backups, or page by page.
///
/// The damaged file is never touched: the result is X.recovered.vaso beside it. Exit code 0: a result was written (what
/// is lost is listed), or the project is sound; 1: the project is sound, and something else asks for a decision, as
/// unsaved work does; 2: nothing could be recovered.
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
    let Sources { kind: format, candidates, flaw, missing } = sources::look(path)?;
    if args.in_place && format != "bundle" {
        return Err(Error::Usage(format!("--in-place is for bundles; {} is none", path.display())));
    }
    if let (Some(number), Some(to)) = (args.extract, &args.output) {
        return extract(path, candidates, number, to, args.json);
    }
    let mut recovery = Recovery::look(path, candidates, !args.list)?;
    recovery.missing = missing;
    let current = recovery.all.iter().position(|judged| judged.role == Role::Current);
    if let (Some(flaw), Choice::Sound, Some(at)) = (flaw, &recovery.choice, current)
        && recovery.all[at].has_work()
    {
        recovery.choice = Choice::Take(at, flaw);
    }
    if args.list {
        return words::list(path, format, &recovery, args.json);
    }
    if !args.json {
        say(&format!("Attempting to recover: {}\n", name(path)))?;
    }
    let (place, because) = match (args.use_number, &recovery.choice) {
        (Some(number), _) => (recovery.numbered(number)?, "asked for"),
        (None, Choice::Take(place, because)) => (*place, *because),
        (None, Choice::Sound) => return words::sound(path, &recovery, args.json),
        (None, Choice::Nothing) => return words::nothing(path, &recovery, args.json),
    };
    let outcome = recovery.take(place, because, args.in_place)?;
    match args.json {
        true => output::json(&with(json!({ "recovered": true }), &outcome))?,
        false => words::report(&outcome, &recovery.all[place], args.in_place.then_some(path.as_path()))?,
    }
    Ok(Exit::Done)
}

fn extract(path: &Path, candidates: Vec<Candidate>, number: u64, to: &Path, as_json: bool) -> Result<Exit> {
    let extracted = salvage::extract(path, candidates, number, to)?;
    let problem = &extracted.problem;
    if let Some(problem) = problem {
        let from = name(&extracted.source);
        output::complain(&format!("{from} is not valid, and was written as it is: {problem}"));
    }
    match as_json {
        true => output::json(&json!({
            "path": to, "snapshot": number, "source": extracted.source, "valid": problem.is_none(), "problem": problem,
        }))?,
        false => say(&format!("snapshot {number} is {}", to.display()))?,
    }
    Ok(if problem.is_some() { Exit::Findings } else { Exit::Done })
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
