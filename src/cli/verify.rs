//! `vaso verify`

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::format::Around;

/// Read everything in a project, and check it.
///
/// Every entry against its checksum, every blob against its digest, every reference against the blobs. Exit
/// code 0: clean (notices alone are clean); 1: findings; 2: the source cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    source: String,
    kind: &'static str,
    ok: bool,
    findings: Vec<Finding>,
    #[serde(flatten)]
    around: Around,
}

pub fn run(args: Args) -> Result<Exit> {
    let project = project::open(&args.source)?;
    let mut progress = output::Progress::new("verifying");
    let outcome = project.verify(&mut |done, all| progress.at(done, all));
    drop(progress);
    outcome?;
    let findings = project.findings().list();
    let ok = findings.iter().all(|f| f.severity == Severity::Notice);
    let around = project.around().clone();
    let source = project.source().path().display().to_string();
    let report = Report { source, kind: project.kind(), ok, findings, around };
    if args.json {
        output::json(&report)?;
    } else {
        output::print(|out| {
            print_findings(out, &report.findings)?;
            let bytes = project.tree().bytes();
            match ok {
                true => writeln!(out, "clean: every checksum and digest is right ({bytes} bytes)"),
                false => writeln!(out, "not clean: see the findings above"),
            }
        })?;
    }
    Ok(if ok { Exit::Done } else { Exit::Findings })
}

/// A line for each finding, and one for what to do.
pub fn print_findings(out: &mut dyn Write, findings: &[Finding]) -> std::io::Result<()> {
    for f in findings {
        let severity = match f.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        let path = if f.path.is_empty() { String::new() } else { format!("{}: ", f.path) };
        writeln!(out, "{severity}: {}{} [{}]", output::plain(&path), output::plain(&f.message), f.code)?;
        writeln!(out, "    {}", output::plain(&f.remedy))?;
    }
    Ok(())
}
