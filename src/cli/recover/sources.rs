//! What a project could be recovered from: the files of a folder, or the entries of a ZIP file; and what lies beside it.

use std::ffi::OsString;
use std::path::Path;

use crate::database::salvage::{self, Candidate};
use crate::error::{Error, Result};
use crate::signs::Head;
use crate::store::led_to;

mod archive;

/// What a database begins with.
const DATABASE: &[u8; 16] = b"SQLite format 3\0";

/// What a project could be recovered from.
pub struct Sources {
    /// What it is.
    pub kind: &'static str,
    /// All that may hold something of it.
    pub candidates: Vec<Candidate>,
    /// Why a sound database in it is taken all the same: the file that it lies in is not.
    pub flaw: Option<&'static str>,
    /// Why newer work than theirs may be missing, whatever is in them.
    pub missing: Option<String>,
}

/// Looks for all that a project could be recovered from.
pub fn look(path: &Path) -> Result<Sources> {
    // A log or a journal lies beside the file itself, and so do the copies that were made of it.
    let real = led_to(path);
    let mut sources = match std::fs::metadata(&real) {
        Ok(meta) if meta.is_dir() => in_folder(&real)?,
        Ok(_) => in_file(&real)?,
        Err(e) => left_of(&real, Error::io("open", path, e))?,
    };
    // What was made of the project by the name of the link lies beside that.
    if real != path {
        let known = |new: &Candidate, all: &[Candidate]| {
            let place = |path: &Path| path.canonicalize().ok();
            all.iter().any(|there| place(&there.path).is_some() && place(&there.path) == place(&new.path))
        };
        let more = salvage::around(path).into_iter().filter(|new| !known(new, &sources.candidates));
        let more: Vec<Candidate> = more.collect();
        sources.candidates.extend(more);
    }
    Ok(sources)
}

fn in_folder(path: &Path) -> Result<Sources> {
    let candidates = salvage::in_bundle(path)?;
    let there: Vec<Option<u64>> = candidates.iter().map(|candidate| candidate.snapshot).collect();
    let missing = gone(&salvage::heads(path), &there);
    Ok(Sources { kind: "bundle", candidates, flaw: None, missing })
}

fn in_file(path: &Path) -> Result<Sources> {
    let mut front = [0; DATABASE.len()];
    salvage::content_of(path)?.read_at(0, &mut front)?;
    let archive = if front == *DATABASE { None } else { archive::look(path)? };
    Ok(archive.unwrap_or_else(|| Sources {
        kind: "legacy",
        candidates: salvage::beside(path),
        flaw: None,
        missing: None,
    }))
}

/// What lies beside a project that is not there itself.
fn left_of(path: &Path, none: Error) -> Result<Sources> {
    let is_gone = matches!(&none, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound);
    let candidates = if is_gone { salvage::around(path) } else { Vec::new() };
    if candidates.is_empty() {
        return Err(none);
    }
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let missing = Some(format!("{} itself is not there", name.to_string_lossy()));
    Ok(Sources { kind: "missing", candidates, flaw: None, missing })
}

/// Whether a snapshot would be newer than all that are there.
fn is_newer(number: u64, there: &[Option<u64>]) -> bool {
    there.iter().all(|snapshot| snapshot.is_none_or(|there| number > there))
}

/// The newest snapshot that a HEAD names, or a copy of it, if it is not there, nor a newer one.
fn gone(heads: &[(String, Head)], there: &[Option<u64>]) -> Option<String> {
    let is_first = |from: &String| from == crate::signs::head::NAME;
    let named = heads.iter().filter_map(|(from, head)| Some((head.current?, is_first(from), from, head)));
    let (number, _, from, head) = named.max_by_key(|(number, is_first, ..)| (*number, *is_first))?;
    let name = head.name.as_ref().filter(|_| is_newer(number, there))?;
    Some(format!("{from} names {name}, which is not there"))
}
