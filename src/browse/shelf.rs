//! A tree of derived files while it is made: names, and what each file is.

use std::sync::Arc;

use super::beside::Found;
use super::files::Files;
use super::names::Names;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::tree::{Builder, Kind, Leaf, NodeId, SafePath, Time, Tree};

/// What files are made of: the time of it, and what tells it from any other.
pub type Origin = (Time, [u8; 32]);

/// A tree that is growing. All of it has one time, that of what it is derived from.
#[derive(Debug)]
pub struct Shelf<W> {
    builder: Builder,
    files: Arc<Files>,
    /// The path of the top from the top of the project.
    top: String,
    time: Time,
    /// What tells the content of the files from any other of their paths.
    shown: [u8; 32],
    whats: Vec<W>,
}

/// A tree that is done.
#[derive(Debug)]
pub struct Shelved<W> {
    /// Names and nodes.
    pub tree: Tree,
    top: String,
    whats: Vec<W>,
}

impl<W> Shelf<W> {
    /// A tree whose top is at `top` and has the number `root`.
    pub fn new(files: Arc<Files>, top: String, time: Time, root: u64) -> Shelf<W> {
        let mut builder = Builder::new(0);
        builder.hang_below(root);
        builder.top(time);
        let shown = files.identity().shown;
        Shelf { builder, files, top, time, shown, whats: Vec::new() }
    }

    /// The path of the top from the top of the project.
    pub fn top(&self) -> &str {
        &self.top
    }

    /// What files are made of here.
    pub fn origin(&self) -> Origin {
        (self.time, self.shown)
    }

    /// The time of a file from beside the project.
    pub fn time_beside(&self, found: &Found) -> Time {
        self.files.around().map_or(self.time, |around| around.time(found))
    }

    /// From here on files are made of something less than the whole project, and change with that alone.
    pub fn made_of(&mut self, (time, shown): Origin) {
        (self.time, self.shown) = (time, shown);
    }

    /// Adds a file. Names come out of [`Names`].
    pub fn file(&mut self, path: &str, size: u64, what: W) -> Result<()> {
        self.file_of_time(path, size, self.time, what)
    }

    /// Adds a file that has a time of its own.
    pub fn file_of_time(&mut self, path: &str, size: u64, time: Time, what: W) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.shown).update(self.top.as_bytes()).update(b"/").update(path.as_bytes());
        let identity = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
        let leaf = Leaf {
            size,
            time,
            mode: 0o444,
            kind: Kind::File,
            entry: Leaf::derived(self.whats.len() as u32),
            identity: u64::from_le_bytes(identity),
        };
        self.whats.push(what);
        self.builder.leaf(checked(path)?, leaf).map(|_| ())
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        self.builder.directory(checked(path)?, self.time, None).map(|_| ())
    }

    /// Adds a directory that something of its own stands behind.
    pub fn door(&mut self, path: &str, number: u32) -> Result<()> {
        self.builder.door(checked(path)?, self.time, number)
    }

    /// What was read for a part of the tree; a part that is damaged, or cannot be read here, is told and left out.
    pub fn part<T>(&self, name: &str, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(Error::Damaged { code, what, .. }) => {
                let at = format!("{}/{name}", self.top);
                let finding = Finding::of_damage(&Error::damaged(code, at, what));
                finding.into_iter().for_each(|finding| self.files.findings().add(finding));
                Ok(None)
            }
            Err(Error::Unsupported { what, .. }) => {
                let (at, remedy) = (format!("{}/{name}", self.top), "open the project with the application");
                let severity = crate::finding::Severity::Warning;
                self.files.findings().add(Finding::new(severity, "not-shown", at, what, remedy));
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Sorts and numbers.
    pub fn finish(self) -> Shelved<W> {
        Shelved { tree: self.builder.finish().0, top: self.top, whats: self.whats }
    }
}

fn checked(path: &str) -> Result<SafePath<'_>> {
    SafePath::check(path.as_bytes()).map_err(|why| Error::Refused(format!("{path}: {why}")))
}

impl<W> Shelved<W> {
    /// What a file is; fails for what is none.
    pub fn what(&self, node: NodeId) -> Result<&W> {
        let number = self.tree.node(node).derived();
        let what = number.and_then(|number| self.whats.get(number as usize));
        what.ok_or_else(|| Error::IsADirectory(self.path(node)))
    }

    /// The path of a node from the top of the project.
    pub fn path(&self, node: NodeId) -> String {
        format!("{}/{}", self.top, self.tree.shown(node))
    }
}

/// Names for files of one directory, each with what it is called below the top.
pub fn below(folder: &str, names: &mut Names, name: &str) -> String {
    format!("{folder}/{}", names.give(name))
}
