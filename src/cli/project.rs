//! A project that is looked into without a mount.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
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
    format::open(Source::open(Arc::new(Location::find(path)?))?, options)
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
/// above the folder of earlier states.
/// What is current is looked at through and through if that, or all of a directory (`deep`), is wanted.
pub fn find(source: &Path, path: &Path, deep: bool) -> Result<(Arc<dyn Container>, Spot)> {
    let parts =
        || path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut project = open(source)?;
    let first = parts().next().and_then(|name| project.tree().child(Tree::ROOT, name));
    if first.map_or(deep, |id| project.awaits(id)) {
        let findings = Some(project.shared_findings());
        project = confirmed(source, OpenOptions { findings, ..OpenOptions::default() })?;
    }
    // As in a mount, earlier states stand in the control folder, where the project has nothing of that name.
    let mut rest = parts();
    let is_history = rest.by_ref().take(2).eq([&b".vaso"[..], b"history"]) && first.is_none();
    let (mut at, rest) = match project.history().filter(|_| is_history) {
        Some(history) => (Spot::top(history), rest.collect::<Vec<_>>()),
        None => (Spot::top(project.clone()), parts().collect()),
    };
    for part in rest {
        at = match part {
            b".." => at.parent(),
            name => at.child(name)?.ok_or_else(|| Error::NotFound(path.display().to_string()))?,
        };
    }
    Ok((project, at))
}

/// The same, for a file.
pub fn find_file(source: &Path, path: &Path) -> Result<Spot> {
    let (_, spot) = find(source, path, false)?;
    match spot.kind() {
        Kind::Directory => Err(Error::IsADirectory(path.display().to_string())),
        _ => Ok(spot),
    }
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
