//! `vaso info`

use std::io::Write;
use std::path::PathBuf;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;
use crate::format::Description;

/// Tell what a project is and what it holds.
///
/// Exit code 1 where that cannot be told: a database that is damaged, a snapshot that cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let description = project::open_confirmed(&args.source)?.describe();
    match args.json {
        true => output::json(&description)?,
        false => output::print(|out| print(out, &description))?,
    }
    let is_amiss = description.findings.iter().any(|finding| AMISS.contains(&finding.code));
    Ok(if is_amiss { Exit::Findings } else { Exit::Done })
}

/// Findings after which what is told may not be what the project holds.
const AMISS: [&str; 4] =
    ["snapshot-unreadable", "database-damaged", "database-unreadable", "database-partly-unreadable"];

fn print(out: &mut dyn Write, d: &Description) -> std::io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<18}{}", output::plain(value));
    line("source", &d.source)?;
    line("kind", d.kind)?;
    for (name, value) in [
        ("version", &d.version),
        ("id", &d.id),
        ("title", &d.title),
        ("current", &d.current),
        ("because", &d.chosen_because),
    ] {
        if let Some(value) = value {
            line(name, value)?;
        }
    }
    for (name, count) in &d.counts {
        line(&name.replace('_', " "), &count.to_string())?;
    }
    for dataset in &d.datasets {
        let name = dataset.name.as_deref().unwrap_or("(no name)");
        let modality = dataset.modality.as_deref().map(|m| format!(", {m}")).unwrap_or_default();
        let files = if dataset.files == 1 { "file" } else { "files" };
        let text =
            format!("{name} ({}{modality}; {} {files}, {} bytes)", dataset.id, dataset.files, dataset.bytes);
        line("dataset", &text)?;
    }
    super::verify::print_findings(out, &d.findings)
}
