//! `vaso recover`

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::Exit;
use super::{output, project};
use crate::database::salvage::{self, Candidate, Choice, Outcome, Recovery, Role, To};
use crate::error::{Error, Result};
use crate::finding::Finding;

mod sources;
mod words;

use sources::Sources;

/// Recover a damaged project: from its snapshots, unsaved sessions and backups, or page by page.
///
/// The damaged file is never touched: the result is X.recovered.vaso beside it, or the file that --output names. Exit code
/// 0: a result was written (what is lost is listed), or the project is sound; 1: the project is sound, and something else
/// asks for a decision, as unsaved work does; 2: nothing could be recovered.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project: a .vaso file or a .vasopack bundle
    #[arg(required_unless_present = "find_autosaves")]
    project: Option<PathBuf>,
    /// List what it could be recovered from, and what each holds
    #[arg(long, conflicts_with_all = ["use_number", "in_place", "extract", "output"])]
    list: bool,
    /// Take this one of the list
    #[arg(long = "use", value_name = "K", conflicts_with = "extract")]
    use_number: Option<usize>,
    /// Publish the result as the next snapshot of the bundle
    #[arg(long, conflicts_with_all = ["extract", "output"])]
    in_place: bool,
    /// Write this snapshot to a file, byte for byte
    #[arg(long, value_name = "N", requires = "output")]
    extract: Option<u64>,
    /// Write the result to this file, which must not exist
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Search a folder for autosaved files and unsaved sessions
    #[arg(long, value_name = "DIR", conflicts_with_all = ["project", "list", "use_number", "in_place", "extract", "output"])]
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
    let to = match (&args.output, args.in_place) {
        (Some(file), _) => To::File(file),
        (None, true) => To::Snapshot,
        (None, false) => To::Beside,
    };
    let waiting = output::waiting("looking at all that is there");
    let mut recovery = Recovery::look(path, candidates, (!args.list).then_some(to))?;
    waiting.finish_and_clear();
    recovery.missing = missing;
    recovery.closed = if format == "bundle" { closed(path) } else { Vec::new() };
    let current = recovery.all.iter().position(|judged| judged.role == Role::Current);
    if let (Some(flaw), Choice::Sound, Some(at)) = (flaw, &recovery.choice, current)
        && recovery.all[at].has_work()
    {
        recovery.choice = Choice::Take(at, flaw);
    }
    if let (true, Choice::Sound, Some(at)) = (args.in_place, &recovery.choice, current)
        && recovery.has_no_head()
    {
        recovery.choice = Choice::Take(at, "sound, and HEAD.json is written anew");
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
    let waiting = output::waiting("writing what is left");
    let outcome = recovery.take(place, because, to)?;
    waiting.finish_and_clear();
    match args.json {
        true => output::json(&Written { recovered: true, outcome: &outcome })?,
        false => {
            let within = args.in_place.then_some((path.as_path(), recovery.closed.as_slice()));
            words::report(&outcome, &recovery.all[place], within)?;
        }
    }
    Ok(Exit::Done)
}

/// A result that was written, in JSON.
#[derive(serde::Serialize)]
struct Written<'a> {
    recovered: bool,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// What keeps the application from opening a bundle, whatever is in its snapshots.
fn closed(path: &Path) -> Vec<Finding> {
    // What cannot be opened has said why already.
    let findings = project::open(path).map(|project| project.findings().list()).unwrap_or_default();
    let closes = |finding: &Finding| match finding.path.as_str() {
        "HEAD.json" => matches!(finding.code, "head-missing" | "head-unreadable"),
        "project.meta.json" => true,
        _ => false,
    };
    findings.into_iter().filter(closes).collect()
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
            "path": to.to_string_lossy(), "snapshot": number, "source": extracted.source.to_string_lossy(), "valid": problem.is_none(), "problem": problem,
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

fn find_autosaves(top: &Path, as_json: bool) -> Result<Exit> {
    let search = salvage::autosaves(top)?;
    search.closed.iter().for_each(|why| output::complain(&format!("{why}; what is in it is not listed")));
    if search.is_cut_short {
        output::complain("there is too much to look at all of it: search in the folders below, one by one");
    }
    let is_all = search.closed.is_empty() && !search.is_cut_short;
    let (found, ended) = (search.found, if is_all { Exit::Done } else { Exit::Findings });
    if as_json {
        let found: Vec<_> = found.iter().map(|path| path.to_string_lossy()).collect();
        return output::json(&json!({ "autosaves": found, "complete": is_all })).map(|()| ended);
    }
    output::print(|out| {
        writeln!(out, "Found {} autosave file(s):\n", found.len())?;
        for path in &found {
            out.write_all(b"  ")?;
            out.write_all(&output::name(path.as_os_str().as_bytes()))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })?;
    Ok(ended)
}
