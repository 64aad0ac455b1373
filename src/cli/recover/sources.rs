//! What a project could be recovered from: the files of a folder, or the entries of a ZIP file.
//!
//! An entry whose bytes are not what its checksum says is doubted, whatever SQLite finds in it; and so is one of which
//! the ZIP file does not have all.

use std::cell::LazyCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::project;
use crate::database::salvage::{self, Candidate, Role, Stored};
use crate::error::{Error, Result};
use crate::format::{self, Container, OpenOptions};
use crate::signs::{Head, Named};
use crate::store::{Location, Source};
use crate::tree::{Content, Kind, NodeId};

/// The database of a shared project.
const SHARED: &str = "project.vaso";

/// What a project could be recovered from.
pub struct Sources {
    /// What it is.
    pub kind: &'static str,
    /// All that may hold something of it.
    pub candidates: Vec<Candidate>,
    /// Whether the file is whole that those lie in.
    pub whole: bool,
    /// Why newer work than theirs may be missing, whatever is in them.
    pub missing: Option<String>,
}

impl Sources {
    fn whole(kind: &'static str, candidates: Vec<Candidate>) -> Sources {
        Sources { kind, candidates, whole: true, missing: None }
    }
}

/// Looks for all that a project could be recovered from.
pub fn look(path: &Path) -> Result<Sources> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if meta.is_dir() {
        return Ok(Sources::whole("bundle", salvage::in_bundle(path)?));
    }
    let mut front = [0; 4];
    salvage::content_of(path)?.read_at(0, &mut front)?;
    if &front != b"PK\x03\x04" {
        return Ok(Sources::whole("legacy", salvage::beside(path)));
    }
    let project = match project::open(path) {
        Err(none @ Error::NotAProject { .. }) => {
            let torn = torn(path)?;
            if torn.is_empty() {
                return Err(none);
            }
            let shared = torn.iter().all(|stored| is_shared(&stored.path));
            let mut all = salvage::around(path);
            all.extend(of_stored(torn, None));
            let kind = if shared { "share-zip" } else { "container" };
            let missing = (!shared).then(|| CUT_OFF.to_string());
            return Ok(Sources { kind, candidates: all, whole: false, missing });
        }
        other => other?,
    };
    let kind = project.kind();
    if !matches!(kind, "container" | "share-zip") {
        let why = format!(
            "this is a {kind}, and no database; `vaso verify` tells whether anything in it is damaged"
        );
        return Err(Error::not_a_project(path, why));
    }
    let mut all = salvage::around(path);
    let tree = project.tree();
    let head = tree.find(b"HEAD.json").and_then(|id| salvage::head_in(&project.open(id).ok()?));
    let mut stored = stored(path, project.as_ref())?;
    // Of a ZIP file that is cut off, a snapshot that is there in part is no part of the tree.
    let torn = if project.is_whole() { Vec::new() } else { torn(path)? };
    for part in torn {
        if stored.iter().all(|whole| whole.path != part.path) {
            stored.push(part);
        }
    }
    let within = of_stored(stored, head.as_ref());
    let missing = if kind == "container" { missing(project.as_ref(), head.as_ref(), &within) } else { None };
    all.extend(within);
    Ok(Sources { kind, candidates: all, whole: project.is_whole(), missing })
}

const CUT_OFF: &str = "the file is cut off, and newer work may have stood behind what is left of it";

/// Why newer snapshots than those in a container may be missing, with the one that is known by name.
fn missing(project: &dyn Container, head: Option<&Head>, within: &[Candidate]) -> Option<String> {
    let newest = within.iter().filter_map(|candidate| candidate.snapshot).max();
    let is_newer = |number: u64| newest.is_none_or(|newest| number > newest);
    let named = head.and_then(|head| head.name.clone().filter(|_| head.current.is_some_and(is_newer)));
    let named = named.map(|name| format!("HEAD.json names {name}, which is not there"));
    if project.is_whole() {
        return named;
    }
    let lost = project.findings().list().into_iter().filter(|finding| finding.code == "entry-lost");
    let of_snapshot = |path: String| {
        let name = path.strip_prefix("bundle/snapshots/")?.to_string();
        Some((Named::of(name.as_bytes())?.number.0, name)).filter(|(number, _)| is_newer(*number))
    };
    let begun = lost.filter_map(|finding| of_snapshot(finding.path)).max();
    let begun = begun.map(|(_, name)| format!("of {name} only a part is there, of which nothing can be had"));
    Some(match begun.or(named) {
        Some(more) => format!("{CUT_OFF}: {more}"),
        None => CUT_OFF.to_string(),
    })
}

fn is_shared(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new(SHARED))
}

/// Entries as what they are for the project: the database of a shared one, or snapshots.
fn of_stored(stored: Vec<Stored>, head: Option<&Head>) -> Vec<Candidate> {
    let (shared, snapshots): (Vec<_>, Vec<_>) = stored.into_iter().partition(|s| is_shared(&s.path));
    let mut all: Vec<Candidate> = shared.into_iter().map(|s| s.as_candidate(Role::Current, None)).collect();
    all.extend(salvage::of_snapshots(snapshots, head));
    all
}

/// The databases in a ZIP file.
fn stored(path: &Path, project: &dyn Container) -> Result<Vec<Stored>> {
    let tree = project.tree();
    let time = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let is_file = |id: &NodeId| tree.node(*id).kind == Kind::File;
    let mut databases: Vec<(NodeId, std::path::PathBuf)> = Vec::new();
    if project.kind() == "share-zip" {
        databases.extend(tree.find(SHARED.as_bytes()).filter(is_file).map(|id| (id, path.join(SHARED))));
    } else if let Some(folder) = tree.find(b"snapshots") {
        let files = tree.children(folder).filter(is_file);
        let named = files.filter(|id| tree.name(*id).ends_with(b".sqlite"));
        let at = |id| path.join("bundle/snapshots").join(OsStr::from_bytes(tree.name(id)));
        databases.extend(named.map(|id| (id, at(id))));
    }
    let open = |check| {
        let findings = Some(project.shared_findings());
        let options = OpenOptions { check, unchecked: !check, findings, ..OpenOptions::default() };
        format::open(Source::open(Arc::new(Location::find(path)?))?, options)
    };
    // Opened so, an entry is read and compared with its checksum before it is given out.
    let checking = open(true)?;
    // Of one that is not what its checksum says, as much is wanted as there is.
    let unchecked = LazyCell::new(|| open(false));
    let stored = databases.into_iter().map(|(id, path)| {
        let within = |other: &dyn Container| other.tree().find(&tree.path(id));
        let checked = within(checking.as_ref()).map_or(Ok(()), |id| read_through(checking.as_ref(), id));
        let doubt = match checked {
            Err(Error::Damaged { what, .. }) => Some(what),
            _ => None,
        };
        let other = doubt.as_ref().and_then(|_| unchecked.as_ref().ok());
        let content = match other.and_then(|other| Some((other, within(other.as_ref())?))) {
            Some((other, id)) => other.open(id),
            None => project.open(id),
        };
        Stored { path, time, content, doubt }
    });
    Ok(stored.collect())
}

/// Reads an entry to its end, where its checksum is compared.
fn read_through(checking: &dyn Container, id: NodeId) -> Result<()> {
    let content = checking.open(id)?;
    if matches!(content, Content::Range(..)) {
        return Ok(());
    }
    let (mut buf, mut at) = (vec![0; 1 << 20], 0);
    loop {
        match content.read_at(at, &mut buf)? {
            0 => return Ok(()),
            n => at += n as u64,
        }
    }
}

/// The databases in a ZIP file of which not all is there, or not as it was.
fn torn(path: &Path) -> Result<Vec<Stored>> {
    let source = Source::open(Arc::new(Location::find(path)?))?;
    let time = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let stored = |(name, content): (Vec<u8>, Content)| Stored {
        path: path.join(OsStr::from_bytes(&name)),
        time,
        content: Ok(content),
        doubt: Some("the ZIP file does not have all of it, or not as it was written".into()),
    };
    Ok(format::package::torn(&source)?
        .into_iter()
        .filter(|(name, _)| format::package::is_database(name))
        .map(stored)
        .collect())
}
