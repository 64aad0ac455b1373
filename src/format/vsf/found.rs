//! The directory that a VSF file is made from: what is in it, and whether the file shows all of it.
//!
//! Invariant: what [`compare_names`] lets pass has every file of the directory under the same name, and no other; what is made
//! from the values (`section.json`, `header.json`) and what is shown twice (`.packed`, `.wrapped`) may be missing in
//! the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use super::supply::OnDisk;
use super::{project, record};
use crate::error::{Error, Result};
use crate::format::OpenOptions;
use crate::store::{Location, Source};
use crate::tree::{Kind, Spot};

/// The most directories within each other: as many as a path can name. Each dot in a label's name makes one.
const LEVELS: u32 = 4096;

/// Files by their paths in the directory.
pub type Files = BTreeMap<String, Arc<OnDisk>>;

/// Links by their paths in the directory, and where they lead.
pub type Links = BTreeMap<String, Vec<u8>>;

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Found {
    /// The files.
    pub files: Files,
    /// The directories below it.
    pub folders: BTreeSet<String>,
    /// The links, and where they lead.
    pub links: Links,
}

/// The refusal of a path.
pub fn refuse(path: &str, why: impl std::fmt::Display) -> Error {
    Error::Refused(format!("cannot pack {path}: {why}"))
}

/// All files below `dir`, by their paths in it.
pub fn find(dir: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut pending = vec![(dir.to_path_buf(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = pending.pop() {
        let failed = |e| Error::io("read the directory", &folder, e);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let shown = format!("{prefix}{}", name.to_string_lossy());
            if name.to_str().is_none() {
                return Err(refuse(&shown, "its name is not UTF-8; rename it"));
            }
            let kind = entry.file_type().map_err(failed)?;
            match () {
                () if kind.is_dir() && depth >= LEVELS => {
                    return Err(refuse(&shown, "more than 4096 directories within each other; move it up"));
                }
                () if kind.is_dir() => {
                    pending.push((entry.path(), format!("{shown}/"), depth + 1));
                    found.folders.insert(shown);
                }
                () if kind.is_file() => {
                    let file = OnDisk::find(&entry.path())?;
                    found.files.insert(shown, Arc::new(file));
                }
                () if kind.is_symlink() => {
                    let target = std::fs::read_link(entry.path()).map_err(failed)?;
                    found.links.insert(shown, target.into_os_string().into_vec());
                }
                () => return Err(refuse(&shown, "it is neither a file nor a directory; remove it")),
            }
        }
    }
    Ok(found)
}

/// Whether a file is made from the values of others.
pub fn is_derived(path: &str) -> bool {
    path == record::NAME || path == "header.json" || path.rsplit('/').next() == Some("section.json")
}

/// Whether what is shown at `path` may be missing because it says the same as another file that is there.
fn is_twin(path: &str, files: &Files) -> bool {
    let pairs = [(".npy", ".packed"), (".packed", ".npy"), (".bin", ".wrapped")];
    pairs.into_iter().any(|(one, other)| {
        path.strip_suffix(one).is_some_and(|stem| files.contains_key(&format!("{stem}{other}")))
    })
}

/// Refuses `packed`, a VSF file that was made from `dir`, unless it shows files of the same names. What is in them is not
/// compared: an array may lie in another order of bytes there, and a number be written otherwise.
pub fn compare_names(dir: &Path, packed: &Path) -> Result<()> {
    let found = find(dir)?;
    let source = Source::open(Arc::new(Location::find(packed)?))?;
    let project = project::open(source, OpenOptions::default())?;
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    let mut pending: Vec<Spot> = Spot::top(project).enter()?.children().collect();
    while let Some(spot) = pending.pop() {
        let path = String::from_utf8_lossy(&spot.path()).into_owned();
        if spot.kind() == Kind::Directory {
            pending.extend(spot.enter()?.children());
            folders.insert(path);
            continue;
        }
        if let (Kind::Link, Some(there)) = (spot.kind(), found.links.get(&path)) {
            let content = spot.branch.open(spot.node)?;
            let mut target = vec![0; content.size() as usize];
            content.read_at(0, &mut target)?;
            // One that closes a circle becomes one that leads nowhere.
            if target != *there && target != path.rsplit('/').next().unwrap_or_default().as_bytes() {
                return Err(refuse(&path, "the file would have it lead elsewhere; restore it"));
            }
        }
        files.insert(path);
    }
    let there = found.files.keys().chain(found.links.keys());
    let lost = there.filter(|path| !is_derived(path)).find(|path| !files.contains(*path));
    if let Some(path) = lost {
        return Err(refuse(path, "no VSF file shows it under this name; rename it or move it"));
    }
    let more = files
        .iter()
        .filter(|path| !is_derived(path) && !found.links.contains_key(*path))
        .find(|path| !found.files.contains_key(*path) && !is_twin(path, &found.files));
    if let Some(path) = more {
        let why = format!("it is not there, and the file would have it; delete {}", record::NAME);
        return Err(refuse(path, why));
    }
    // The innermost: those around it are only as empty as it is.
    let empty = found.folders.difference(&folders).max_by_key(|path| path.matches('/').count());
    if let Some(path) = empty {
        return Err(refuse(path, "it has no values, and no section is empty; remove it"));
    }
    if let Some(path) = folders.difference(&found.folders).next() {
        let why = format!("it is not there, and the file would have it; delete {}", record::NAME);
        return Err(refuse(path, why));
    }
    Ok(())
}
