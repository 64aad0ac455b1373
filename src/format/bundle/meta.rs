//! `project.meta.json`: what the application asks of a bundle before it opens it.
//!
//! We need nothing of it but the identifier; that it is not there, or says something else, is told to whoever wants to open
//! the project in the application.

use serde_json::{Map, Value};

use super::files::Files;
use crate::error::Error;
use crate::finding::{Finding, Findings, Severity};
use crate::tree::Kind;

/// Its name in the project.
const NAME: &str = "project.meta.json";
/// More bytes are no such file.
const MAX: u64 = 1 << 20;
/// The formats that the application opens.
const FORMATS: [&str; 2] = ["vaso-v1", "bundle-v1"];

/// What is in it, or what is wrong with it.
fn read(files: &Files) -> Result<Map<String, Value>, (&'static str, String)> {
    let wrong = |what: &str| ("meta-unreadable", what.to_string());
    let file = match files.find(NAME.as_bytes()) {
        Some(file) if file.kind == Kind::File => file,
        Some(_) => return Err(wrong("it is a link, and none is followed")),
        None if files.folders.iter().any(|(path, _)| path == NAME.as_bytes()) => {
            return Err(wrong("it is a folder"));
        }
        None => return Err(("meta-missing", "it is missing".into())),
    };
    let bytes = files.read(file, MAX).map_err(|why| match why {
        Error::Damaged { what, .. } => wrong(&what),
        other => wrong(&other.to_string()),
    })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(bytes).map_err(|_| wrong("it is torn, or no JSON object"))
}

/// The project's identifier.
pub fn identifier(files: &Files) -> Option<String> {
    Some(read(files).ok()?.get("project_uuid")?.as_str()?.to_string())
}

/// Tells what keeps the application from opening the bundle.
pub fn tell(files: &Files, findings: &Findings) {
    let (code, what) = match read(files) {
        Err(wrong) => wrong,
        Ok(fields) => match fields.get("format") {
            None | Some(Value::Null) => return,
            Some(Value::String(format)) if FORMATS.contains(&format.as_str()) => return,
            Some(other) => {
                ("meta-foreign", format!("its `format` is {other}, which no known version writes"))
            }
        },
    };
    findings.add(Finding::new(
        if code == "meta-missing" { Severity::Notice } else { Severity::Warning },
        code,
        NAME,
        format!("{what}; all that is stored is shown"),
        "the application does not open the project so; restore this file from a backup or another machine",
    ));
}
