//! `vaso verify`

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::{output, project};
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::format::{Around, NOT_FOUND, vsf};

/// Read everything in a project, and check it.
///
/// Every entry against its checksum, every blob against its digest, every reference against the blobs. Exit
/// code 0: clean (notices alone are clean); 1: findings; 2: the source cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// The public key of whoever has to have signed it, as `vaso vsf keygen` prints it; several: one of them
    #[arg(long, value_name = "PUB")]
    key: Vec<String>,
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
    /// Whose signatures fit the bytes, where files can be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<vsf::Signature>>,
    #[serde(flatten)]
    around: Around,
}

pub fn run(args: Args) -> Result<Exit> {
    let keys = args.key.iter().map(|key| vsf::public_from(key)).collect::<Result<Vec<_>>>()?;
    let project = project::open(&args.source)?;
    let signed = project.as_any().downcast_ref::<vsf::Project>();
    if signed.is_none() && !keys.is_empty() {
        return Err(Error::Usage(format!("a {} bears no signature: --key is for VSF files", project.kind())));
    }
    let mut progress = output::Progress::new("verifying");
    let outcome = match signed {
        Some(file) => file.verify_with(&keys, &mut |done, all| progress.at(done, all)),
        None => project.verify(&mut |done, all| progress.at(done, all)),
    };
    drop(progress);
    outcome?;
    let signatures = signed.map(vsf::Project::signatures);
    let findings = project.findings().list();
    let ok = findings.iter().all(|f| f.severity == Severity::Notice);
    let around = project.around().clone();
    let source = project.source().path().display().to_string();
    let report = Report { source, kind: project.kind(), ok, findings, signatures, around };
    if args.json {
        output::json(&report)?;
    } else {
        output::print(|out| {
            print_findings(out, &report.findings)?;
            for signature in report.signatures.iter().flatten() {
                writeln!(out, "signed: {} by {}", output::plain(&what_is_signed(signature)), signature.key)?;
            }
            writeln!(out, "{}", verdict(&report))
        })?;
    }
    Ok(if ok { Exit::Done } else { Exit::Findings })
}

/// What a signature is of, in words.
fn what_is_signed(signature: &vsf::Signature) -> String {
    let what = signature.section.as_deref();
    match signature.first {
        None => what.unwrap_or("the file").to_string(),
        Some(bytes) => match what {
            None => format!("the first {bytes} bytes"),
            Some(section) => format!("{section}, in the first {bytes} bytes,"),
        },
    }
}

/// The last line. What could not be verified is not called right.
fn verdict(report: &Report) -> String {
    let open = |finding: &&Finding| [vsf::UNVERIFIED, NOT_FOUND].contains(&finding.code);
    let unverified = report.findings.iter().filter(open).count();
    match (report.ok, unverified) {
        (false, _) => "not clean: see the findings above".into(),
        (true, 0) => "clean: every checksum and digest is right".into(),
        (true, 1) => "clean as far as can be told: one thing could not be verified, see above".into(),
        (true, n) => format!("clean as far as can be told: {n} things could not be verified, see above"),
    }
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
