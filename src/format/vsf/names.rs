//! Names of a file as names in a directory.
//!
//! A dot between two letters parts directories; any other stays in its name. What no file may be called, and what a
//! terminal or another system would stumble over, is `%XX`, and so is a `%` that would be taken for one of these:
//! joined with dots and unescaped, a path is the stored name again. One that is too long for a file system is cut
//! and ends in a digest; `header.json` has it whole.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::tree::{SafePath, escaped};

/// The longest path that a name becomes; what is mounted adds to it.
const MAX_PATH: usize = 2048;

/// The longest name of one file, with room for a suffix and a twin's number.
const MAX_NAME: usize = 200;

/// Paths that are given out once. Constant work for each, also where a million bear the same name; and all of them
/// lie in one arena.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    taken: HashTable<Range<usize>>,
    hasher: DefaultHashBuilder,
    /// Of names that were asked for, the number of the twin to try next.
    next: HashMap<Vec<u8>, u64>,
}

impl Names {
    /// Takes a path as it is; whether it was free.
    pub fn take(&mut self, path: &[u8]) -> bool {
        let Names { bytes, taken, hasher, .. } = self;
        let is_same = |at: &Range<usize>| &bytes[at.clone()] == path;
        let hash = |at: &Range<usize>| hasher.hash_one(&bytes[at.clone()]);
        let Entry::Vacant(room) = taken.entry(hasher.hash_one(path), is_same, hash) else { return false };
        room.insert(bytes.len()..bytes.len() + path.len());
        bytes.extend_from_slice(path);
        true
    }

    /// Makes room for so many more.
    pub fn expect(&mut self, more: usize) {
        let (bytes, hasher) = (&self.bytes, &self.hasher);
        self.taken.reserve(more, |at| hasher.hash_one(&bytes[at.clone()]));
    }

    /// All that are taken, in no order.
    pub fn taken(&self) -> impl Iterator<Item = &[u8]> {
        self.taken.iter().map(|at| &self.bytes[at.clone()])
    }

    /// The path itself, or the first of its twins `~2`, `~3` that is free.
    pub fn free(&mut self, path: Vec<u8>) -> Vec<u8> {
        if self.take(&path) {
            return path;
        }
        let mut next = self.next.get(&path).copied().unwrap_or(2);
        loop {
            let twin = [&path[..], format!("~{next}").as_bytes()].concat();
            next += 1;
            if self.take(&twin) {
                self.next.insert(path, next);
                return twin;
            }
        }
    }
}

/// The path of a label: dotted names are directories.
pub fn path_of(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'.') {
        return component(name);
    }
    let is_separator = |at: usize| {
        name[at] == b'.' && at > 0 && name[at - 1] != b'.' && name.get(at + 1).is_some_and(|b| *b != b'.')
    };
    let mut path = Vec::with_capacity(name.len() + 8);
    let mut from = 0;
    for at in (0..name.len()).filter(|at| is_separator(*at)).chain([name.len()]) {
        if from > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&component(&name[from..at]));
        from = at + 1;
    }
    Cow::Owned(if path.len() > MAX_PATH { cut(name) } else { path })
}

/// One name, whatever is in it, as the name of one file.
pub fn component(name: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ');
    match name {
        b"" => return Cow::Borrowed(b"%"),
        b"%" => return Cow::Borrowed(b"%25"),
        // Most are, and there may be a million.
        _ if name.len() <= MAX_NAME && name.iter().all(is_plain) => return Cow::Borrowed(name),
        _ => {}
    }
    let dots = matches!(name, b"." | b"..");
    let hides = |c| match c {
        Some('/' | '\\' | '\0'..='\x1F' | '\x7F') | None => true,
        c => dots && c == Some('.'),
    };
    let mut out = escaped(name, hides);
    // Other scripts have dots too, which sync programs take for ours.
    if SafePath::check(&out).is_err() && out.len() <= MAX_NAME {
        out = escaped(name, |_| true);
    }
    Cow::Owned(if out.len() > MAX_NAME { cut(name) } else { out })
}

/// Whether a label's path does not tell all of its name.
pub fn is_cut(name: &[u8]) -> bool {
    // A byte becomes three at most.
    name.len() > MAX_NAME / 3 && unescaped(&path_of(name)) != name
}

/// The stored name of a path that [`path_of`] has made.
pub fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for (n, part) in path.split(|b| *b == b'/').enumerate() {
        if n > 0 {
            out.push(b'.');
        }
        if part == b"%" {
            continue;
        }
        let mut at = 0;
        while at < part.len() {
            let code = part.get(at + 1..at + 3).filter(|_| part[at] == b'%');
            let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            out.push(code.unwrap_or(part[at]));
            at += if code.is_some() { 3 } else { 1 };
        }
    }
    out
}

/// The beginning of a name, as far as it is harmless, and a digest of all of it.
fn cut(name: &[u8]) -> Vec<u8> {
    let harmless = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_' || **b == b'-';
    let mut out: Vec<u8> = name.iter().take_while(harmless).take(100).copied().collect();
    out.extend_from_slice(b"~");
    out.extend_from_slice(&blake3::hash(name).to_hex().as_bytes()[..16]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_part_directories_and_nothing_leads_elsewhere() {
        for (name, path) in [
            (&b"imaging.raw"[..], &b"imaging/raw"[..]),
            (b"a.b.c", b"a/b/c"),
            (b"..", b"%2E%2E"),
            (b".", b"%2E"),
            (b"", b"%"),
            (b"%", b"%25"),
            (b".hid", b".hid"),
            (b"a..b", b"a..b"),
            (b"a.", b"a."),
            (b"a/b", b"a%2Fb"),
            (b"../../etc", b"..%2F..%2Fetc"),
            (b"a\nb", b"a%0Ab"),
            (b"a\0b", b"a%00b"),
            (b"50%", b"50%"),
            (b"50%25", b"50%2525"),
            (b"\xFF\xFE", b"%FF%FE"),
            ("māori".as_bytes(), "māori".as_bytes()),
        ] {
            assert_eq!(path_of(name), Cow::Borrowed(path), "{}", name.escape_ascii());
        }
        for long in [b"n".repeat(300), b"x.".repeat(20_000), b"/".repeat(100)] {
            assert!(path_of(&long).len() <= 120 && is_cut(&long));
        }
    }

    proptest! {
        #[test]
        fn names_are_safe_and_come_back(
            name in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                "[a-z./%2F\\\\․]{0,40}".prop_map(String::into_bytes),
            ],
        ) {
            let path = path_of(&name);
            prop_assert!(SafePath::check(&path).is_ok(), "{}", path.escape_ascii());
            prop_assert_eq!(unescaped(&path) != name, is_cut(&name));
        }
    }
}
