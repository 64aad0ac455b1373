//! A project that is looked into without a mount.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result, from_io};
use crate::format::history::Versions;
use crate::format::{self, Confirmed, Container, OpenOptions};
use crate::store::{Location, Source};
use crate::tree::{Kind, Spot, Tree};

/// Opens the project at `path`.
pub fn open(path: &Path) -> Result<Arc<dyn Container>> {
    open_with(path, OpenOptions::default())
}

/// The same, with options. What is known from earlier looks is used, and nothing is added to it.
fn open_with(path: &Path, options: OpenOptions) -> Result<Arc<dyn Container>> {
    format::open(Source::open_settled(Arc::new(Location::find(path)?))?, options)
}

/// Opens the project at `path` for a look inside its current state, which is looked at through and through first:
/// where it is not what it seemed, another one is current.
pub fn open_confirmed(path: &Path) -> Result<Arc<dyn Container>> {
    confirmed(path, OpenOptions::default())
}

fn confirmed(path: &Path, mut options: OpenOptions) -> Result<Arc<dyn Container>> {
    // Verdicts are shared by all openings of this call, so that each goes one snapshot further.
    loop {
        let project = open_with(path, options.clone())?;
        if project.current().is_none() || project.confirm()? == Confirmed::Right {
            return Ok(project);
        }
        // What was found stays found, and is told once.
        options.findings = Some(project.shared_findings());
    }
}

/// Opens the project at `source`, and finds what a person has typed in it: `..` goes up, and never above the root, or
/// above the folder of earlier states. Links in the midst of the path are followed as on a mount, and one at its end
/// where a slash stands behind it.
/// What is current is looked at through and through if that, or all of a directory (`deep`), is wanted.
pub fn find(source: &Path, path: &Path, deep: bool) -> Result<(Arc<dyn Container>, Spot)> {
    let typed = path.as_os_str().as_bytes();
    reach(source, path, deep, typed.ends_with(b"/") || typed.ends_with(b"/."))
}

/// The same, for a file; a link is what it leads to.
pub fn find_file(source: &Path, path: &Path) -> Result<Spot> {
    let (_, spot) = reach(source, path, false, true)?;
    match spot.kind() {
        Kind::Directory => Err(Error::IsADirectory(path.display().to_string())),
        _ => Ok(spot),
    }
}

fn reach(source: &Path, path: &Path, deep: bool, through: bool) -> Result<(Arc<dyn Container>, Spot)> {
    let parts = || parts_of(path.as_os_str().as_bytes());
    let mut project = open(source)?;
    let first = parts().next().and_then(|name| project.tree().child(Tree::ROOT, name));
    let mut is_confirmed = first.map_or(deep, |id| project.awaits(id));
    loop {
        if is_confirmed {
            let findings = Some(project.shared_findings());
            project = confirmed(source, OpenOptions { findings, ..OpenOptions::default() })?;
        }
        // As in a mount, earlier states stand in the control folder, where the project has nothing of that name.
        let mut rest = parts();
        let is_history = rest.by_ref().take(2).eq([&b".vaso"[..], b"history"]) && first.is_none();
        let (top, rest) = match project.history().filter(|_| is_history) {
            Some(history) => (Spot::top(history), rest.collect::<Vec<_>>()),
            None => (Spot::top(project.clone()), parts().collect()),
        };
        // A link may lead to what is current.
        let may_follow = is_confirmed || project.current().is_none();
        match walk(top, &rest, through, may_follow, path)? {
            Some(spot) => return Ok((project, spot)),
            None => is_confirmed = true,
        }
    }
}

/// The names in a path.
fn parts_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Links that are followed in one path: as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// What stands at a path below `top`; through a link at its end too, if that is wanted. `None` where a link would have
/// to be followed and may not.
fn walk(top: Spot, parts: &[&[u8]], through: bool, may_follow: bool, shown: &Path) -> Result<Option<Spot>> {
    let (mut at, mut links) = (top, 0);
    // The next name is the last one here, with whether it was typed.
    let mut left: Vec<(Vec<u8>, bool)> = parts.iter().rev().map(|part| (part.to_vec(), true)).collect();
    while let Some((part, is_typed)) = left.pop() {
        if part == b".." {
            // Whoever types goes no higher than the top; a link that goes there leads elsewhere.
            if !is_typed && at.path().is_empty() {
                return Err(leaves(shown));
            }
            at = at.parent();
            continue;
        }
        let child = at.child(&part)?.ok_or_else(|| Error::NotFound(shown.display().to_string()))?;
        if child.kind() != Kind::Link || left.is_empty() && !through {
            at = child;
            continue;
        }
        if !may_follow {
            return Ok(None);
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Error::Refused(format!("{}: too many levels of symbolic links", shown.display())));
        }
        let mut target = Vec::new();
        let read = read(&child, |piece| {
            target.extend_from_slice(piece);
            Ok(())
        });
        read.map_err(|e| from_io(e, |e| Error::io("read the link", shown, e)))?;
        if target.starts_with(b"/") {
            return Err(leaves(shown));
        }
        let names: Vec<&[u8]> = parts_of(&target).collect();
        left.extend(names.iter().rev().map(|name| (name.to_vec(), false)));
    }
    Ok(Some(at))
}

fn leaves(path: &Path) -> Error {
    let what = "a symbolic link leads out of the project, where it is not followed; on a mount it is";
    Error::Refused(format!("{}: {what}", path.display()))
}

/// Gives a file's bytes to `each`, front to back.
pub fn read(spot: &Spot, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let content = spot.branch.open(spot.node)?;
    let mut buf = vec![0; 128 * 1024];
    let mut offset = 0;
    loop {
        let n = content.read_at(offset, &mut buf)?;
        if n == 0 {
            return Ok(());
        }
        each(&buf[..n])?;
        offset += n as u64;
    }
}

/// The history of a project that keeps one.
pub fn versions(project: &dyn Container) -> Result<&dyn Versions> {
    project.versions().ok_or_else(|| {
        let path = project.source().path().display();
        match project.kind() {
            kind @ ("bundle" | "container") => {
                let kind = format::in_words(kind);
                Error::Refused(format!("{path}: {kind} without a snapshot; there is no history yet"))
            }
            kind => Error::Refused(format!("{path}: {} keeps no history", format::in_words(kind))),
        }
    })
}
