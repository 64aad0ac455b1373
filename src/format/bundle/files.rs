//! The stored files of a bundle, wherever they lie: in a folder, or in a ZIP file under a prefix.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::format::Container;
use crate::signs::names;
use crate::store::{Folder, Item, ItemKind, Location, SESSION, Source, Stamp};
use crate::tree::{Content, Kind, NodeId, Time};

/// Folders in folders are looked into so deep.
const DEPTH: usize = 16;
/// More files than this are not listed: no bundle has them.
const MOST: usize = 200_000;

/// Where the bytes of a file are.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In a folder, in this state, and made at this time as far as that is known.
    Listed(Stamp, Option<SystemTime>),
    /// In a ZIP file.
    Packed(NodeId),
    /// Open, the one of this number.
    Open(usize),
}

/// One stored file or link.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path in the bundle.
    pub path: Vec<u8>,
    /// File or link.
    pub kind: Kind,
    /// Its exact size.
    pub size: u64,
    /// When it was last written.
    pub time: Time,
    /// Permission bits.
    pub mode: u16,
    /// What tells its content from any other of the same path, size and time.
    pub identity: u64,
    place: Place,
}

impl File {
    /// The state in which it was found, where it lies in a folder.
    pub fn stamp(&self) -> Option<Stamp> {
        if let Place::Listed(stamp, _) = self.place { Some(stamp) } else { None }
    }

    /// When it was made, where it lies in a folder of a file system that keeps this.
    pub fn born(&self) -> Option<SystemTime> {
        if let Place::Listed(_, born) = self.place { born } else { None }
    }

    /// What tells its content from any other as far as the project itself says: the same in every copy of it.
    pub fn shown_identity(&self) -> [u8; 32] {
        let File { path, size, time, identity, .. } = self;
        *blake3::hash(format!("{path:?} {size} {time:?} {identity}").as_bytes()).as_bytes()
    }
}

/// All files of a bundle.
#[derive(Debug)]
pub struct Files {
    /// In the order in which they were found.
    pub list: Vec<File>,
    /// Empty folders, and all others.
    pub folders: Vec<(Vec<u8>, Time)>,
    origin: Origin,
    /// A file that stays open, and readable, whatever becomes of its name.
    held: Option<(Vec<u8>, Content)>,
}

#[derive(Debug)]
enum Origin {
    Folder(Folder),
    Package(Arc<dyn Container>),
    Sources(Vec<Arc<Source>>),
}

impl Files {
    /// The files of a folder. Of what belongs to a session only `with_session` shows something.
    pub fn of_folder(location: &Location, with_session: bool, findings: &Findings) -> Result<Files> {
        let top = location.folder()?;
        let mut files =
            Files { list: Vec::new(), folders: Vec::new(), origin: Origin::Folder(top), held: None };
        let Origin::Folder(top) = &files.origin else { unreachable!("it was just put there") };
        let items = top.list()?;
        let shown = |item: &&Item| with_session || !SESSION.contains(&item.name.as_slice());
        let mut pending: Vec<(Vec<u8>, Item)> =
            items.iter().filter(shown).rev().map(|item| (Vec::new(), item.clone())).collect();
        while let Some((above, item)) = pending.pop() {
            let path =
                if above.is_empty() { item.name.clone() } else { [&above, &b"/"[..], &item.name].concat() };
            let shown = String::from_utf8_lossy(&path).into_owned();
            if files.list.len() + files.folders.len() >= MOST {
                findings.add(Finding::new(
                    Severity::Warning,
                    "too-many-files",
                    "",
                    format!("the folder holds more than {MOST} files; the rest is not shown"),
                    "move what does not belong to the project elsewhere",
                ));
                break;
            }
            match item.kind {
                ItemKind::Special => findings.add(Finding::new(
                    Severity::Warning,
                    "special-file",
                    shown,
                    "a pipe, socket or device; it is not shown",
                    "remove it: it is no part of a project",
                )),
                // As with one that cannot be read: nothing can be said of a bundle without them.
                ItemKind::Covered if path == b"snapshots" => {
                    let why = "a project is mounted over the bundle's snapshots, which cannot be reached";
                    return Err(Error::Refused(format!("{}: {why}", top.path().join("snapshots").display())));
                }
                ItemKind::Covered => findings.add(Finding::new(
                    Severity::Warning,
                    "mounted-inside",
                    shown,
                    "a project is mounted there; neither that nor what it covers is shown",
                    "unmount it, and mount it outside of this project",
                )),
                ItemKind::Folder => {
                    let (seconds, nanos) = item.stamp.mtime;
                    files.folders.push((path.clone(), Time { seconds, nanos: nanos as u32 }));
                    if path.iter().filter(|b| **b == b'/').count() >= DEPTH {
                        findings.add(Finding::new(
                            Severity::Warning,
                            "too-deep",
                            shown,
                            format!("a folder in more than {DEPTH} others; what is in it is not shown"),
                            "move it elsewhere: it is no part of a project",
                        ));
                        continue;
                    }
                    match descend(top, &path).and_then(|folder| folder.list()) {
                        Ok(inner) => {
                            pending.extend(inner.into_iter().rev().map(|item| (path.clone(), item)));
                        }
                        // Without its snapshots nothing can be said of a bundle.
                        Err(why) if path == b"snapshots" => return Err(why),
                        Err(why) => findings.add(Finding::new(
                            Severity::Error,
                            "folder-unreadable",
                            shown,
                            format!("{why}; it is shown without what is in it"),
                            "make it readable, or move it elsewhere if it is no part of the project",
                        )),
                    }
                }
                ItemKind::File | ItemKind::Link => files.list.push(listed(path, &item)),
            }
        }
        Ok(files)
    }

    /// The files of a ZIP file whose paths begin with `prefix`, which is taken away.
    pub fn of_package(package: Arc<dyn Container>, prefix: &[u8]) -> Files {
        let mut list = Vec::new();
        let mut folders = Vec::new();
        let tree = package.tree();
        for id in tree.ids().skip(1) {
            let path = tree.path(id);
            let node = tree.node(id);
            let Some(path) = path.strip_prefix(prefix).filter(|path| !path.is_empty()) else { continue };
            if node.derived().is_some() || !tree.is_stored(id) {
                continue;
            }
            // A database that is shared lies among whatever was packed with it.
            if prefix.is_empty() && names::is_of_finder(path) {
                continue;
            }
            if node.kind == Kind::Directory {
                folders.push((path.to_vec(), node.time()));
                continue;
            }
            list.push(File {
                path: path.to_vec(),
                kind: node.kind,
                size: node.size(),
                time: node.time(),
                mode: node.mode,
                identity: node.ino,
                place: Place::Packed(id),
            });
        }
        Files { list, folders, origin: Origin::Package(package), held: None }
    }

    /// Files that are open, each by itself.
    pub fn of_sources(first: Arc<Source>, others: impl Iterator<Item = Arc<Source>>) -> Files {
        let sources: Vec<Arc<Source>> = std::iter::once(first).chain(others).collect();
        let file = |(i, source): (usize, &Arc<Source>)| {
            let stamp = source.stamp();
            let (seconds, nanos) = stamp.mtime;
            let name = source.path().file_name().unwrap_or_default();
            File {
                path: name.as_bytes().to_vec(),
                kind: Kind::File,
                size: stamp.size,
                time: Time { seconds, nanos: nanos as u32 },
                mode: (stamp.inode.1 & 0o555) as u16,
                identity: 0,
                place: Place::Open(i),
            }
        };
        let list = sources.iter().enumerate().map(file).collect();
        Files { list, folders: Vec::new(), origin: Origin::Sources(sources), held: None }
    }

    /// The file of a path.
    pub fn find(&self, path: &[u8]) -> Option<&File> {
        self.list.iter().find(|file| file.path == path)
    }

    /// Keeps a file open from now on: others may remove its name, and its bytes stay readable.
    pub fn hold(&mut self, file: &File) -> Result<()> {
        self.held = Some((file.path.clone(), self.open(file)?));
        Ok(())
    }

    /// The CRC-32 that is recorded for a file; none in a folder.
    pub fn crc32(&self, file: &File) -> Option<u32> {
        match (&self.origin, file.place) {
            (Origin::Package(package), Place::Packed(node)) => package.crc32(node),
            _ => None,
        }
    }

    /// The bytes of a file, or of a link's target.
    pub fn open(&self, file: &File) -> Result<Content> {
        if let Some((_, content)) = self.held.as_ref().filter(|(path, _)| *path == file.path) {
            return Ok(content.clone());
        }
        match (&self.origin, file.place) {
            (Origin::Package(package), Place::Packed(node)) => package.open(node),
            (Origin::Folder(top), Place::Listed(stamp, _)) => {
                let (above, name) = split(&file.path);
                let inner;
                let folder = if above.is_empty() {
                    top
                } else {
                    inner = descend(top, above)?;
                    &inner
                };
                if file.kind == Kind::Link {
                    return Ok(Content::Bytes(folder.link(name)?.into()));
                }
                let source = Source::open_listed(folder.location(name)?, stamp)?;
                match above == b"snapshots" && crate::signs::names::number(name).is_some() {
                    true => Ok(Content::Whole(source)),
                    false => Ok(Content::Range(source, 0..file.size)),
                }
            }
            (Origin::Sources(sources), Place::Open(i)) => {
                Ok(Content::Range(sources[i].clone(), 0..file.size))
            }
            _ => Err(Error::NotFound(String::from_utf8_lossy(&file.path).into_owned())),
        }
    }

    /// The whole of a file of at most `most` bytes, held against its checksum where it has one.
    pub fn read(&self, file: &File, most: u64) -> Result<Vec<u8>> {
        let shown = String::from_utf8_lossy(&file.path).into_owned();
        if file.size > most {
            return Err(Error::damaged("too-large", shown, format!("it is larger than {most} bytes")));
        }
        let content = self.open(file)?;
        let mut bytes = vec![0; file.size as usize];
        let n = content.read_at(0, &mut bytes)?;
        bytes.truncate(n);
        if self.crc32(file).is_some_and(|crc| crc != crc32fast::hash(&bytes)) {
            return Err(Error::damaged("crc-mismatch", shown, "its checksum is wrong"));
        }
        Ok(bytes)
    }

    /// What tells the content of a file from that of any other, for what is kept about it from one time to the next.
    pub fn identity(&self, file: &File) -> [u8; 32] {
        let mut digest = blake3::Hasher::new();
        match (&self.origin, file.place) {
            (Origin::Sources(sources), _) => {
                // What is shown is the database with its log, so all of them tell it.
                let stamps: Vec<Stamp> = sources.iter().map(|source| source.stamp()).collect();
                digest.update(format!("{stamps:?}").as_bytes())
            }
            (_, Place::Listed(stamp, _)) => digest.update(format!("{stamp:?}").as_bytes()),
            (Origin::Package(package), _) => {
                digest.update(format!("{:?} {}", package.source().stamp(), file.identity).as_bytes())
            }
            _ => digest.update(&file.path),
        };
        *digest.finalize().as_bytes()
    }
}

fn listed(path: Vec<u8>, item: &Item) -> File {
    let (seconds, nanos) = item.stamp.mtime;
    File {
        path,
        kind: if item.kind == ItemKind::Link { Kind::Link } else { Kind::File },
        size: item.stamp.size,
        time: Time { seconds, nanos: nanos as u32 },
        mode: item.mode & 0o555,
        identity: 0,
        place: Place::Listed(item.stamp, item.born),
    }
}

/// The folder at a path below `top`, without following links.
fn descend(top: &Folder, path: &[u8]) -> Result<Folder> {
    let mut parts = path.split(|b| *b == b'/');
    let first = parts.next().unwrap_or_default();
    parts.try_fold(top.sub(first)?, |folder, part| folder.sub(part))
}

/// The folder of a path, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// A path for people.
pub fn shown(path: &[u8]) -> String {
    OsStr::from_bytes(path).to_string_lossy().into_owned()
}
