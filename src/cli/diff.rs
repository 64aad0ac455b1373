//! `vaso diff`

use std::path::PathBuf;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;

/// Tell what changed between two snapshots: samples, events, traces, and every other table.
///
/// Without B it is the current snapshot; without A as well, A is the valid one before that.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// The number of the first snapshot
    a: Option<u64>,
    /// The number of the second snapshot
    b: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let project = project::open_confirmed(&args.source)?;
    let changes = project::versions(project.as_ref())?.diff(args.a, args.b)?;
    if args.json {
        output::json(&changes)?;
        return Ok(Exit::Done);
    }
    output::print(|out| {
        writeln!(out, "from snapshot {} to {}:", changes.from, changes.to)?;
        if changes.lines.is_empty() {
            writeln!(out, "nothing has changed, but for numbers that every save gives anew")?;
        }
        changes.lines.iter().try_for_each(|line| writeln!(out, "{}", output::plain(line)))
    })?;
    Ok(Exit::Done)
}
