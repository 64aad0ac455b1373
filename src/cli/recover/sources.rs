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
use crate::format::package::Part;
use crate::format::{self, Container, OpenOptions};
use crate::signs::names::is_head;
use crate::signs::{Head, Named, head};
use crate::store::{Location, Source};
use crate::tree::{Content, Kind, NodeId, Tree};

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
        let candidates = salvage::in_bundle(path)?;
        let missing = gone(&salvage::heads(path), &candidates);
        return Ok(Sources { missing, ..Sources::whole("bundle", candidates) });
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
    let heads = heads(project.as_ref());
    let head = heads.iter().find(|(name, _)| name == head::NAME).map(|(_, head)| head);
    let mut stored = stored(path, project.as_ref())?;
    // Of a ZIP file that is cut off, a snapshot that is there in part is no part of the tree.
    let torn = if project.is_whole() { Vec::new() } else { torn(path)? };
    for part in torn {
        if stored.iter().all(|whole| whole.path != part.path) {
            stored.push(part);
        }
    }
    let within = of_stored(stored, head);
    let missing = if kind == "container" { missing(project.as_ref(), &heads, &within) } else { None };
    all.extend(within);
    Ok(Sources { kind, candidates: all, whole: project.is_whole(), missing })
}

const CUT_OFF: &str = "the file is cut off, and newer work may have stood behind what is left of it";

/// What the HEADs in a container say, each with its name.
fn heads(project: &dyn Container) -> Vec<(String, Head)> {
    let tree = project.tree();
    let is_head = |id: &NodeId| tree.node(*id).kind == Kind::File && is_head(tree.name(*id));
    let says = |id| {
        let name = String::from_utf8_lossy(tree.name(id)).into_owned();
        Some((name, salvage::head_in(&project.open(id).ok()?)?))
    };
    tree.children(Tree::ROOT).filter(is_head).filter_map(says).collect()
}

/// Whether a snapshot would be newer than all that are there.
fn is_newer(number: u64, candidates: &[Candidate]) -> bool {
    candidates.iter().all(|candidate| candidate.snapshot.is_none_or(|there| number > there))
}

/// The newest snapshot that a HEAD names, or a copy of it, if it is not there, nor a newer one.
fn gone(heads: &[(String, Head)], candidates: &[Candidate]) -> Option<String> {
    let named = heads.iter().filter_map(|(from, head)| Some((head.current?, from == head::NAME, from, head)));
    let (number, _, from, head) = named.max_by_key(|(number, is_first, ..)| (*number, *is_first))?;
    let name = head.name.as_ref().filter(|_| is_newer(number, candidates))?;
    Some(format!("{from} names {name}, which is not there"))
}

/// Why newer snapshots than those in a container may be missing, with the one that is known by name.
fn missing(project: &dyn Container, heads: &[(String, Head)], within: &[Candidate]) -> Option<String> {
    let is_newer = |number: u64| is_newer(number, within);
    let named = gone(heads, within);
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

/// The databases in a ZIP file without a directory that it does not show: most are there in part, or not as they were.
fn torn(path: &Path) -> Result<Vec<Stored>> {
    let source = Source::open(Arc::new(Location::find(path)?))?;
    let time = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let doubt = "the ZIP file does not have all of it, or not as it was written";
    let stored = |part: Part| Stored {
        path: path.join(OsStr::from_bytes(&part.name)),
        time,
        content: Ok(part.content),
        doubt: (!part.is_whole).then(|| doubt.to_string()),
    };
    Ok(format::package::parts(&source)?.into_iter().map(stored).collect())
}
