//! A project that is looked into without a mount.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::{self, Container, OpenOptions};
use crate::store::{Location, Source};
use crate::tree::{Kind, NodeId, Tree};

/// Opens the project at `path`.
pub fn open(path: &Path) -> Result<Arc<dyn Container>> {
    format::open(Source::open(Arc::new(Location::find(path)?))?, OpenOptions::default())
}

/// The node at a path that a person has typed: `..` goes up, and never above the root.
pub fn find(tree: &Tree, path: &Path) -> Result<NodeId> {
    let missing = || Error::NotFound(path.display().to_string());
    let mut at = Tree::ROOT;
    for part in path.as_os_str().as_bytes().split(|b| *b == b'/') {
        at = match part {
            b"" | b"." => at,
            b".." => tree.node(at).parent(),
            name => tree.child(at, name).ok_or_else(missing)?,
        };
    }
    Ok(at)
}

/// The file at a path.
pub fn find_file(tree: &Tree, path: &Path) -> Result<NodeId> {
    let id = find(tree, path)?;
    match tree.node(id).kind {
        Kind::Directory => Err(Error::IsADirectory(path.display().to_string())),
        _ => Ok(id),
    }
}

/// Gives a file's bytes to `each`, front to back.
pub fn read(
    project: &dyn Container,
    id: NodeId,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let content = project.open(id)?;
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
