//! Embedded files that are not what their database says of them, and where else they are whole.
//!
//! Neither SQLite nor salvage sees that bytes of a file were changed: only its digest tells. It is asked of what is called
//! sound, and of every result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::candidate::Judged;
use crate::database::{Database, Fault, examine_embedded};
use crate::error::{Error, Result};
use crate::store::path_text;

/// Databases in which a file is looked for.
const LOOKED_INTO: usize = 20;

/// An embedded file that is not what its database says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amiss {
    /// Which it is, and what is wrong with it.
    pub what: String,
    /// What has it as it should be.
    #[serde(serialize_with = "path_text::maybe")]
    pub whole_in: Option<PathBuf>,
}

/// Those of `database`; they are looked for in `others`.
pub fn amiss<'a>(database: &Database, others: impl Iterator<Item = &'a Judged>) -> Result<Vec<Amiss>> {
    let mut faults: Vec<Fault> = Vec::new();
    let examined = examine_embedded(database, &mut |fault| {
        if fault.is_loss() {
            faults.push(fault);
        }
    });
    let mut amiss = Vec::new();
    match examined {
        Err(why @ (Error::Damaged { .. } | Error::Unsupported { .. })) => {
            amiss.push(Amiss { what: format!("embedded files cannot be read: {why}"), whole_in: None });
        }
        other => other?,
    }
    let wanted = faults.iter().filter_map(digest).collect();
    let found = look_for(wanted, others);
    amiss.extend(faults.into_iter().map(|fault| {
        let whole_in = digest(&fault).and_then(|digest| found.get(&digest)).cloned();
        Amiss { what: fault.what, whole_in }
    }));
    Ok(amiss)
}

fn digest(fault: &Fault) -> Option<String> {
    fault.sha256.as_ref().map(|digest| digest.to_ascii_lowercase())
}

/// Where files of these digests are whole: in the first of `others`, as far as that is sound.
fn look_for<'a>(
    mut wanted: BTreeSet<String>,
    others: impl Iterator<Item = &'a Judged>,
) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for other in others.filter(|other| other.sound).take(LOOKED_INTO) {
        if wanted.is_empty() {
            break;
        }
        let Ok(database) = other.database() else { continue };
        let said = database.assets().unwrap_or_default().into_iter().filter_map(|info| info.sha256);
        let mut there: BTreeSet<String> =
            said.map(|digest| digest.to_ascii_lowercase()).filter(|digest| wanted.contains(digest)).collect();
        if there.is_empty() {
            continue;
        }
        let mut bad = Vec::new();
        if examine_embedded(&database, &mut |fault| bad.extend(digest(&fault))).is_err() {
            continue;
        }
        there.retain(|digest| !bad.contains(digest));
        for digest in there {
            wanted.remove(&digest);
            found.insert(digest, other.path.clone());
        }
    }
    found
}
