//! What a project in a ZIP file could be recovered from: the entries that its directory has, and those that it has not.
//!
//! An entry whose bytes are not what its checksum says is doubted, whatever SQLite finds in it; and so is one of which
//! the ZIP file does not have all. The bytes are taken as they are, however old the file is; what is wrong with them is
//! told by their checksums.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Sources, gone, is_newer};
use crate::database::salvage::{self, Candidate, Role, Stored};
use crate::error::{Error, Result};
use crate::format::package::Part;
use crate::format::{self, Container, OpenOptions};
use crate::signs::names::is_head;
use crate::signs::{Head, Named, head};
use crate::store::{Location, Source};
use crate::tree::{Content, Kind, NodeId};

/// What most ZIP files begin with; one that is damaged need not.
const ZIP: &[u8; 4] = b"PK\x03\x04";
/// The database of a shared project.
const SHARED: &str = "project.vaso";
/// The snapshots of a container.
const SNAPSHOTS: &str = "bundle/snapshots";

const CUT_OFF: &str = "the file is cut off, and newer work may have stood behind what is left of it";
const TAKEN_CUT_OFF: &str = "sound, in a file that is cut off";
const TAKEN_BURIED: &str = "sound, in a ZIP file behind whose end other bytes stand";
const TAKEN_DAMAGED: &str = "sound, in a ZIP file that is damaged elsewhere";

/// Opens the ZIP file as it lies on the disk, to have the bytes as they are.
fn open(path: &Path) -> Result<Arc<dyn Container>> {
    open_with(path, OpenOptions { unchecked: true, ..OpenOptions::default() })
}

fn open_with(path: &Path, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let options = OpenOptions { raw: true, ..options };
    format::open(Source::open_settled(Arc::new(Location::find(path)?))?, options)
}

/// What a project in a ZIP file could be recovered from; `None` where the file is no ZIP file, or none that a project
/// is known to be in, whatever it begins with.
pub fn look(path: &Path) -> Result<Option<Sources>> {
    let content = salvage::content_of(path)?;
    let mut front = [0; ZIP.len()];
    content.read_at(0, &mut front)?;
    let begins_as_one = front == *ZIP;
    let project = match open(path) {
        Ok(project) if matches!(project.kind(), "container" | "share-zip") => project,
        Ok(other) if begins_as_one => {
            let kind = other.kind();
            let why = format!(
                "this is a {kind}, and no database; `vaso verify` tells whether anything in it is damaged"
            );
            return Err(Error::not_a_project(path, why));
        }
        Err(Error::NotAProject { .. }) if !begins_as_one && salvage::seems_a_database(&content)? => {
            return Ok(None);
        }
        Err(none @ Error::NotAProject { .. }) => {
            let torn = torn(path, true)?;
            return match torn.is_empty() {
                true if begins_as_one => Err(none),
                true => Ok(None),
                false => Ok(Some(of_torn(path, torn))),
            };
        }
        Err(other) if begins_as_one || matches!(other, Error::SourceChanged(_) | Error::Io { .. }) => {
            return Err(other);
        }
        _ => return Ok(None),
    };
    // A damaged database that a project in a ZIP file was put into shows the entries of that, and no directory.
    if !begins_as_one && !project.is_whole() && salvage::seems_a_database(&content)? {
        return Ok(None);
    }
    of_project(path, project.as_ref(), begins_as_one).map(Some)
}

/// Nothing is known but what lies behind local headers.
fn of_torn(path: &Path, torn: Vec<Stored>) -> Sources {
    let is_shared = torn.iter().all(|stored| is_shared(&stored.path));
    let mut candidates = salvage::around(path);
    candidates.extend(of_stored(torn, None));
    let kind = if is_shared { "share-zip" } else { "container" };
    let missing = (!is_shared).then(|| CUT_OFF.to_string());
    Sources { kind, candidates, flaw: Some(TAKEN_CUT_OFF), missing }
}

fn of_project(path: &Path, project: &dyn Container, begins_as_one: bool) -> Result<Sources> {
    // Opened so, an entry is read and compared with its checksum before it is given out. What was found is told once.
    let findings = Some(project.shared_findings());
    let checking = open_with(path, OpenOptions { check: true, findings, ..OpenOptions::default() });
    if let Err(changed @ Error::SourceChanged(_)) = checking {
        return Err(changed);
    }
    let checking = checking.ok();
    let (mut stored, mut is_misled) = stored(path, project, checking.as_deref())?;
    let heads = heads(project);
    is_misled |= checking.as_deref().is_none_or(|checking| self::heads(checking).len() < heads.len());
    let is_whole = project.is_whole();
    // What is there in part is no part of the tree of a file that is cut off. Where the directory is there, what it does not
    // have is no part of the project: an older state of an entry, or of another project in one of the files.
    if !is_whole {
        for part in torn(path, false)? {
            if stored.iter().all(|there| there.path != part.path) {
                stored.push(part);
            }
        }
    }
    let head = heads.iter().find(|(name, _)| name == head::NAME).map(|(_, head)| head);
    let within = of_stored(stored, head);
    let kind = project.kind();
    let missing = if kind == "container" { missing(project, &heads, &within) } else { None };
    let flaw = match checking.as_deref() {
        _ if !is_whole => Some(TAKEN_CUT_OFF),
        Some(checking) if !checking.is_whole() => Some(TAKEN_BURIED),
        _ if is_misled || !begins_as_one => Some(TAKEN_DAMAGED),
        _ => None,
    };
    let mut candidates = salvage::around(path);
    candidates.extend(within);
    Ok(Sources { kind, candidates, flaw, missing })
}

/// What the HEADs in a container say, each with its name.
fn heads(project: &dyn Container) -> Vec<(String, Head)> {
    let tree = project.tree();
    let Some(bundle) = tree.find(b"bundle") else { return Vec::new() };
    let is_head = |id: &NodeId| tree.node(*id).kind == Kind::File && is_head(tree.name(*id));
    let says = |id| {
        let name = String::from_utf8_lossy(tree.name(id)).into_owned();
        Some((name, salvage::head_in(&project.open(id).ok()?)?))
    };
    tree.children(bundle).filter(is_head).filter_map(says).collect()
}

/// Why newer snapshots than those in a container may be missing, with the one that is known by name.
fn missing(project: &dyn Container, heads: &[(String, Head)], within: &[Candidate]) -> Option<String> {
    let there: Vec<Option<u64>> = within.iter().map(|candidate| candidate.snapshot).collect();
    let named = gone(heads, &there);
    if project.is_whole() {
        return named;
    }
    let lost = project.findings().list().into_iter().filter(|finding| finding.code == "entry-lost");
    let of_snapshot = |path: String| {
        let name = path.strip_prefix("bundle/snapshots/")?.to_string();
        Some((Named::of(name.as_bytes())?.number.0, name)).filter(|(number, _)| is_newer(*number, &there))
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

/// The databases that the directory of a ZIP file has; and whether one of them is what its checksum says, and is given to
/// nobody else, since its header is damaged.
fn stored(
    path: &Path,
    project: &dyn Container,
    checking: Option<&dyn Container>,
) -> Result<(Vec<Stored>, bool)> {
    let tree = project.tree();
    let time = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let is_file = |id: &NodeId| tree.node(*id).kind == Kind::File;
    let mut databases: Vec<(NodeId, PathBuf)> = Vec::new();
    if project.kind() == "share-zip" {
        databases.extend(tree.find(SHARED.as_bytes()).filter(is_file).map(|id| (id, path.join(SHARED))));
    } else if let Some(folder) = tree.find(SNAPSHOTS.as_bytes()) {
        let files = tree.children(folder).filter(is_file);
        let named = files.filter(|id| tree.name(*id).ends_with(b".sqlite"));
        let at = |id| path.join(SNAPSHOTS).join(OsStr::from_bytes(tree.name(id)));
        databases.extend(named.map(|id| (id, at(id))));
    }
    let (mut all, mut is_misled) = (Vec::new(), false);
    for (id, path) in databases {
        let within = checking.and_then(|other| Some((other, other.tree().find(&tree.path(id))?)));
        let checked = within.map_or(Ok(()), |(other, id)| match other.open(id)? {
            // It was compared when it was opened.
            Content::Range(..) => Ok(()),
            content => read_through(&content).map(drop),
        });
        let content = project.open(id);
        let doubt = match checked {
            Err(Error::Damaged { .. }) if is_right(project, id, &content)? => {
                is_misled = true;
                None
            }
            Err(Error::Damaged { what, .. }) => Some(what),
            Err(changed @ Error::SourceChanged(_)) => return Err(changed),
            _ => None,
        };
        all.push(Stored { path, time, content, doubt });
    }
    Ok((all, is_misled))
}

/// Whether an entry's bytes are what their checksum says.
fn is_right(project: &dyn Container, id: NodeId, content: &Result<Content>) -> Result<bool> {
    let Ok(content) = content else { return Ok(false) };
    match read_through(content) {
        Ok((size, crc)) => Ok(project.tree().node(id).size() == size && project.crc32(id) == Some(crc)),
        Err(changed @ Error::SourceChanged(_)) => Err(changed),
        Err(_) => Ok(false),
    }
}

/// Reads to the end, where a checksum is compared if there is one; how many bytes there are, and their own checksum.
fn read_through(content: &Content) -> Result<(u64, u32)> {
    let (mut buf, mut at, mut sum) = (vec![0; 1 << 20], 0, crc32fast::Hasher::new());
    loop {
        match content.read_at(at, &mut buf)? {
            0 => return Ok((at, sum.finalize())),
            n => {
                sum.update(&buf[..n]);
                at += n as u64;
            }
        }
    }
}

/// The databases in a ZIP file that are found by their local headers alone: most are there in part, or not as they were.
fn torn(path: &Path, whole_too: bool) -> Result<Vec<Stored>> {
    let source = Source::open(Arc::new(Location::find(path)?))?;
    let time = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let doubt = "the ZIP file does not have all of it, or not as it was written";
    let stored = |part: Part| Stored {
        path: path.join(OsStr::from_bytes(&part.name)),
        time,
        content: Ok(part.content),
        doubt: (!part.is_whole).then(|| doubt.to_string()),
    };
    Ok(format::package::parts(&source, whole_too)?.into_iter().map(stored).collect())
}
