//! `vaso info`

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;
use crate::format::{Description, vsf};

/// Tell what a project is and what it holds.
///
/// Exit code 1 where that cannot be told: a database that is damaged, a snapshot that
/// cannot be read, a bundle without a valid one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    description: Description,
    /// Who has signed it, as it says itself, where files can be signed and this one seems to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<vsf::Claims>,
}

pub fn run(args: Args) -> Result<Exit> {
    let project = project::open_confirmed(&args.source)?;
    let signed = project.as_any().downcast_ref::<vsf::Project>().and_then(vsf::Project::claims);
    let told = Told { description: project.describe(), signed };
    match args.json {
        true => output::json(&told)?,
        false => output::print(|out| print(out, &told))?,
    }
    let is_amiss = told.description.findings.iter().any(|finding| AMISS.contains(&finding.code));
    Ok(if is_amiss { Exit::Findings } else { Exit::Done })
}

/// Findings after which what is told may not be what the project holds.
const AMISS: [&str; 6] = [
    "snapshot-unreadable",
    "no-snapshot",
    "no-valid-snapshot",
    "database-damaged",
    "database-unreadable",
    "database-partly-unreadable",
];

fn print(out: &mut dyn Write, told: &Told) -> std::io::Result<()> {
    let d = &told.description;
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
    if let Some(signed) = &told.signed {
        line("signed", &signed.text())?;
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
