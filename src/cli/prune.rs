//! `vaso prune`

use std::path::PathBuf;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;

/// Remove old snapshots from a bundle; those in a container stay.
///
/// The newest that are valid stay, as many as --keep says. So do the current one, the newest of each of the last 30
/// days, any that a program has open or a HEAD names, and all that are damaged or copies of sync tools.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// How many stay
    #[arg(long, value_name = "N")]
    keep: usize,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let project = project::open_confirmed(&args.source)?;
    let pruned = project::versions(project.as_ref())?.prune(args.keep, args.dry_run)?;
    if pruned.unseen_processes > 0 {
        output::complain(&format!(
            "{} processes of other users could not be looked at; what they have open is not known, and keeps its \
             bytes until they close it",
            pruned.unseen_processes
        ));
    }
    if args.json {
        output::json(&pruned)?;
        return Ok(Exit::Done);
    }
    output::print(|out| {
        for spared in &pruned.spared {
            writeln!(out, "stays: {} ({})", output::plain(&spared.name), spared.because)?;
        }
        let verb = if args.dry_run { "would be removed" } else { "removed" };
        let numbers: Vec<String> = pruned.removed.iter().map(u64::to_string).collect();
        match numbers.is_empty() {
            true => writeln!(out, "nothing to remove; {} snapshots", pruned.kept),
            false => {
                writeln!(out, "{verb}: {} ({} bytes); {} stay", numbers.join(", "), pruned.bytes, pruned.kept)
            }
        }
    })?;
    Ok(Exit::Done)
}
