//! `refs.json` of a dataset: which files it refers to, and what is amiss with that.
//!
//! A blob is named by its digest; a file beside the package is known by its size and its SHA-256. A reference that has
//! not what it takes is told, and so is one that leads nowhere: by `vaso verify`, and in the same words by a mount in
//! which somebody looks at the dataset.
//!
//! The document is read as Python reads it, which has written it. A size may have a fraction of nothing (`12000.0`).

use std::collections::HashMap;

use super::beside::{self, NOT_FOUND, Wanted};
use super::names::last_component;
use crate::database::json;
use crate::finding::{Finding, Severity};
use crate::store::Location;

/// What stands before the digest of an embedded file.
const BLOBS: &str = "vaso://blobs/";

/// One entry of the list.
#[derive(Debug, Default)]
pub struct Reference<'a> {
    /// It, as it stands there.
    pub text: &'a str,
    /// `None` where it is no object.
    fields: Option<HashMap<String, &'a str>>,
}

/// What a reference leads to.
#[derive(Debug)]
pub enum Target {
    /// An embedded file, by what should be its digest.
    Blob(String),
    /// A file beside the package.
    Beside(Wanted),
    /// Nobody can tell; why.
    Unknown(&'static str),
}

/// The entries of the list; `None` where the document is none.
pub fn references(document: &str) -> Option<Vec<Reference<'_>>> {
    let list = || Some(json::items(document)?.map(Reference::of).collect());
    json::is_json(document).then(list).flatten()
}

/// For each entry the blob that it names, for whoever throws bytes at this.
#[cfg(any(test, fuzzing))]
pub fn targets(document: &str) -> Option<Vec<Option<String>>> {
    let blob = |reference: Reference<'_>| match reference.target() {
        Target::Blob(digest) => Some(digest),
        Target::Beside(_) | Target::Unknown(_) => None,
    };
    Some(references(document)?.into_iter().map(blob).collect())
}

/// Those of a document that is not right, as far as it can be read.
pub fn readable(document: &str) -> Vec<Reference<'_>> {
    json::items(document).into_iter().flatten().map(Reference::of).collect()
}

/// That a document is no list. `at` is its path, as everywhere here.
pub fn invalid(at: &str) -> Finding {
    let what = "refs.json is not a JSON list of references";
    Finding::new(Severity::Error, "document-invalid", at, what, "restore it from a backup")
}

/// That a blob is not in the package.
pub fn blob_missing(digest: &str, at: &str) -> Finding {
    // Where the digest should be may stand anything.
    let shown: String = digest.chars().take(200).flat_map(char::escape_default).collect();
    let what = format!("it refers to the blob {shown}, which is not in the package");
    let remedy = "restore the blob from a backup or from the file it was made of";
    Finding::new(Severity::Error, "blob-missing", at, what, remedy)
}

/// That a reference does not say enough.
pub fn incomplete(reference: &Reference<'_>, why: &str, at: &str) -> Finding {
    let name: String = reference.name().chars().take(200).flat_map(char::escape_debug).collect();
    let what = match name.is_empty() {
        true => format!("one of its references cannot be used: {why}"),
        false => format!("its reference to {name} cannot be used: {why}"),
    };
    let remedy = "link the file anew with the application, which records its size and SHA-256";
    Finding::new(Severity::Warning, "reference-incomplete", at, what, remedy)
}

/// That a file is not there. A package without its data is not clean; where the file may lie at a path that nobody
/// looks at, which is usual while a package is where it was made, that is not known.
pub fn not_found(wanted: &Wanted, at: &str) -> Finding {
    let name = last_component(&wanted.paths[0]);
    let (severity, rest) = match wanted.is_below() {
        true => (Severity::Warning, ""),
        false => (Severity::Notice, "; where it was when that was recorded, nobody looks"),
    };
    let what = format!("it refers to {name}, which does not lie beside the package as it is recorded{rest}");
    let remedy = "put the file beside the package, and open that anew, to see it among its assets";
    Finding::new(severity, NOT_FOUND, at, what, remedy)
}

/// What is amiss with the references of a document: those that lead nowhere or say too little, and files beside the
/// package that are other ones. `has_blob` tells which digests are in the package.
pub fn examine(
    document: &str,
    location: &Location,
    at: &str,
    has_blob: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let Some(references) = references(document) else { return vec![invalid(at)] };
    let around = location.above();
    let mut findings = Vec::new();
    for reference in &references {
        match (reference.target(), &around) {
            (Target::Blob(digest), _) if !has_blob(&digest) => findings.push(blob_missing(&digest, at)),
            (Target::Beside(wanted), Ok(around)) => {
                let about = format!("it refers to {}", last_component(&wanted.paths[0]));
                match beside::find(around, &wanted) {
                    Some(found) => findings.extend(beside::examine(found, &about, at)),
                    None => findings.push(not_found(&wanted, at)),
                }
            }
            (Target::Unknown(why), _) => findings.push(incomplete(reference, why, at)),
            (Target::Blob(_) | Target::Beside(_), _) => {}
        }
    }
    findings
}

impl<'a> Reference<'a> {
    fn of(text: &'a str) -> Reference<'a> {
        Reference { text, fields: json::fields(text) }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.fields.as_ref()?.get(key).copied()
    }

    fn said(&self, key: &str) -> Option<String> {
        self.value(key).and_then(json::said).filter(|text| !text.is_empty())
    }

    /// What its file is called.
    pub fn name(&self) -> String {
        let hint = self.said("rel_hint").map(|hint| last_component(&hint).to_string());
        hint.filter(|name| !name.is_empty()).or_else(|| self.said("role")).unwrap_or_default()
    }

    /// What it leads to.
    pub fn target(&self) -> Target {
        if self.fields.is_none() {
            return Target::Unknown("it is no object");
        }
        let uri = self.said("uri");
        if let Some(digest) = uri.as_deref().and_then(|uri| uri.strip_prefix(BLOBS)) {
            return Target::Blob(digest.to_string());
        }
        let uri = uri.filter(|uri| !uri.starts_with("vaso://"));
        let paths: Vec<String> = self.said("rel_hint").into_iter().chain(uri).collect();
        let sha256 = self.said("sha256").filter(|digest| is_sha256(digest));
        match (sha256, self.value("size").and_then(size)) {
            _ if paths.is_empty() => Target::Unknown("it names no file"),
            (Some(sha256), Some(size)) => {
                Target::Beside(Wanted { sha256: sha256.to_ascii_lowercase(), size, paths })
            }
            (None, None) => Target::Unknown("it has neither a size nor a SHA-256"),
            (None, Some(_)) => Target::Unknown("it has no SHA-256"),
            (Some(_), None) => Target::Unknown("it has no size"),
        }
    }
}

/// A size as it stands there.
fn size(word: &str) -> Option<u64> {
    let real = || word.parse::<f64>().ok().filter(|size| size.fract() == 0.0);
    // What is larger is no longer a whole number that somebody has counted.
    let whole = || real().filter(|size| (0.0..9e15).contains(size)).map(|size| size as u64);
    word.parse().ok().or_else(whole)
}

fn is_sha256(digest: &str) -> bool {
    digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_however_it_is_written() {
        for (word, expected) in [
            ("12000", Some(12_000)),
            ("12000.0", Some(12_000)),
            ("1.2e4", Some(12_000)),
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("-0.0", Some(0)),
            ("12000.5", None),
            ("-1", None),
            ("1e300", None),
            ("NaN", None),
            ("null", None),
            ("\"12000\"", None),
            ("true", None),
        ] {
            assert_eq!(size(word), expected, "{word}");
        }
    }
}
