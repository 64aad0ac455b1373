//! `vaso log`

use std::path::PathBuf;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;
use crate::format::history::State;

/// List the snapshots of a project: when, how large, valid or not, and what changed.
///
/// The time is that of the file (in UTC): a copy that was made without times has those of the copying.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let project = project::open_confirmed(&args.source)?;
    let mut progress = output::Progress::new("looking");
    let states = project::versions(project.as_ref())?.log(&mut |done, all| progress.at(done, all));
    drop(progress);
    let states = states?;
    if args.json {
        output::json(&states)?;
        return Ok(Exit::Done);
    }
    output::print(|out| {
        for state in states.iter().rev() {
            writeln!(out, "{}", output::plain(&line(state)))?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

fn line(state: &State) -> String {
    let mark = if state.current { '*' } else { ' ' };
    let what = match (&state.problem, &state.changed) {
        (Some(problem), _) => format!("not valid: {problem}"),
        (None, None) => "the first".into(),
        (None, Some(changed)) => {
            let of = |(table, rows): (&String, &crate::format::history::Rows)| match rows.after as i128
                - rows.before as i128
            {
                0 => format!("{table} edited"),
                more => format!("{table} {more:+}"),
            };
            let version = state.schema_version.as_ref();
            let version = version.map(|v| format!("schema version {} -> {}", v.before, v.after));
            let definitions = state.definitions.iter().map(|(what, how)| format!("{what} {}", how.word()));
            let all: Vec<String> = changed.iter().map(of).chain(definitions).chain(version).collect();
            if all.is_empty() { "nothing has changed".into() } else { all.join(", ") }
        }
    };
    format!("{mark} {:>6}  {}  {:>13}  {what}", state.number, state.time, state.size)
}
