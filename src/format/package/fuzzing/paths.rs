//! Stored names: which are shown, and which tree they make. The tree is compared with a plain list of paths to
//! which the same rules are applied one by one.

use std::collections::BTreeMap;

use super::trees;
use crate::format::package::names;
use crate::format::package::record::Flags;
use crate::tree::{Added, Builder, Kind, Leaf, SafePath, Time, Tree};

/// So many names of one input go into a tree, none of more components than that: the list of paths takes the
/// product of both for each.
const MOST: usize = 64;
const DEPTH: usize = 32;

const UTF8: u8 = 1;
const WITH_EXTRA: u8 = 2;
const RIGHT_EXTRA: u8 = 4;
const DIRECTORY: u8 = 8;
const LINK: u8 = 16;

pub fn names(data: &[u8]) {
    let mut builder = Builder::new(data.len());
    let mut list = List::default();
    for (number, line) in data.split(|b| *b == b'\n').enumerate() {
        let Some((how, text)) = line.split_first() else { continue };
        let extra;
        let (stored, extra) = match text.iter().position(|b| *b == 1).filter(|_| how & WITH_EXTRA != 0) {
            Some(at) => {
                extra = unicode_path(&text[..at], &text[at + 1..], how & RIGHT_EXTRA != 0);
                (&text[..at], &extra[..])
            }
            None => (text, &[][..]),
        };
        let flags = Flags(if how & UTF8 != 0 { 1 << 11 } else { 0 });
        let shown = names::shown(stored);
        assert!(shown.chars().count() <= 203);
        let Ok(name) = names::decode(stored, flags, extra) else {
            assert!(
                flags.utf8() || !extra.is_empty(),
                "a name that says nothing of itself is of the code page"
            );
            continue;
        };
        assert!(std::str::from_utf8(&name).is_ok());
        if extra.is_empty() && (flags.utf8() || stored.is_ascii()) {
            assert_eq!(&name[..], stored);
        }
        let path = SafePath::check(&name);
        assert_eq!(path.is_ok(), is_safe(&name), "{:?}", String::from_utf8_lossy(&name));
        let Ok(path) = path else { continue };
        check_path(path, &name);
        if number >= MOST || path.components().count() > DEPTH {
            continue;
        }
        // Some times are before 1970.
        let time = Time { seconds: i64::from(number as u8 ^ how) - 20, nanos: number as u32 };
        if path.is_directory() || how & DIRECTORY != 0 {
            let mode = Some(0o700 | u16::from(*how)).filter(|_| how & LINK == 0);
            let added = builder.directory(path, time, mode).expect("there are few names");
            assert_eq!(added, list.directory(path.bytes(), time, mode));
        } else {
            let kind = if how & LINK != 0 { Kind::Link } else { Kind::File };
            let size = number as u64 * 1000;
            let leaf = Leaf { size, time, mode: 0o444, kind, entry: number as u32, identity: size };
            let added = builder.leaf(path, leaf).expect("there are few names");
            assert_eq!(added, list.leaf(path.bytes(), leaf));
        }
    }
    let (tree, replaced) = builder.finish();
    trees::check(&tree);
    list.compare(&tree);
    assert!(replaced.by_directories.iter().all(|id| tree.node(*id).kind == Kind::Directory));
    assert!(replaced.by_directories.len() as u64 <= replaced.files);
}

/// The extra field with a name in UTF-8; it belongs to `stored` if it is right.
fn unicode_path(stored: &[u8], utf8: &[u8], right: bool) -> Vec<u8> {
    let mut field = 0x7075u16.to_le_bytes().to_vec();
    field.extend_from_slice(&(utf8.len() as u16 + 5).to_le_bytes());
    field.push(1);
    field.extend_from_slice(&(crc32fast::hash(stored) ^ u32::from(!right)).to_le_bytes());
    field.extend_from_slice(utf8);
    field
}

/// The rules for names, once more and in other words.
fn is_safe(name: &[u8]) -> bool {
    let path = name.strip_suffix(b"/").unwrap_or(name);
    let drive = path.len() > 2 && path[0].is_ascii_alphabetic() && path[1..3] == *b":/";
    let plain = path.split(|b| *b == b'/').all(|part| {
        let text = String::from_utf8_lossy(part);
        let text = text.replace(['\u{2024}', '\u{fe52}', '\u{ff0e}'], ".");
        let text = text.replace(['\u{2025}', '\u{fe30}'], "..");
        trees::is_proper(part) && text != "." && text != ".."
    });
    plain && !drive && path.len() <= 4095 && !path.contains(&b'\\')
}

fn check_path(path: SafePath<'_>, name: &[u8]) {
    assert_eq!(path.is_directory(), name.ends_with(b"/"));
    let parts: Vec<&[u8]> = path.components().collect();
    assert!(parts.iter().all(|part| trees::is_proper(part)));
    assert_eq!(parts.join(&b'/'), path.bytes());
    let (folder, last) = path.split();
    assert_eq!(Some(&last), parts.last());
    assert_eq!(parts[..parts.len() - 1].join(&b'/'), folder);
}

#[derive(Debug, Clone, Copy)]
enum There {
    Directory(Option<(Time, u16)>),
    Leaf(Leaf),
}

/// All paths, each with what it is.
#[derive(Debug, Default)]
struct List(BTreeMap<Vec<u8>, There>);

impl List {
    /// Makes `path` and those above it directories.
    fn folders(&mut self, path: &[u8]) {
        let ends = (0..path.len()).filter(|i| path[*i] == b'/').chain([path.len()]);
        for folder in ends.map(|end| &path[..end]).filter(|folder| !folder.is_empty()) {
            let there = self.0.entry(folder.to_vec()).or_insert(There::Directory(None));
            if let There::Leaf(_) = there {
                *there = There::Directory(None);
            }
        }
    }

    fn directory(&mut self, path: &[u8], time: Time, mode: Option<u16>) -> Added {
        self.folders(path);
        match self.0.insert(path.to_vec(), There::Directory(Some((time, mode.unwrap_or(0o555))))) {
            Some(There::Directory(Some(_))) => Added::Again,
            _ => Added::New,
        }
    }

    fn leaf(&mut self, path: &[u8], leaf: Leaf) -> Added {
        let above = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        self.folders(&path[..above]);
        let before = self.0.insert(path.to_vec(), There::Leaf(leaf));
        if let Some(There::Directory(_)) = before {
            let inside = [path, b"/"].concat();
            self.0.retain(|other, _| !other.starts_with(&inside));
        }
        match before {
            Some(There::Directory(_)) => Added::ReplacesDirectory,
            _ => Added::New,
        }
    }

    fn compare(&self, tree: &Tree) {
        assert_eq!(tree.len(), self.0.len() + 1);
        for id in tree.ids().skip(1) {
            let node = tree.node(id);
            match self.0.get(&tree.path(id)).unwrap_or_else(|| panic!("{:?} is not listed", tree.shown(id))) {
                There::Leaf(leaf) => {
                    assert_eq!(
                        (node.kind, node.entry(), node.mode),
                        (leaf.kind, Some(leaf.entry), leaf.mode)
                    );
                    assert_eq!((node.size(), node.time()), (leaf.size, leaf.time));
                }
                There::Directory(own) => {
                    // A directory without a record bears the newest time in it, and none before 1970.
                    let newest = tree.children(id).map(|child| tree.node(child).time()).max();
                    let implied = (newest.unwrap_or_default().max(Time::default()), 0o555);
                    assert_eq!(node.kind, Kind::Directory);
                    assert_eq!((node.time(), node.mode), own.unwrap_or(implied), "{:?}", tree.shown(id));
                }
            }
        }
    }
}
