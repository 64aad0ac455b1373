//! From records to a tree: which entries are shown, and which of them are refused.
//!
//! Threats and what happens: a name that leads elsewhere is absent; a name that stands twice is the last one's;
//! bytes outside the file, in the directory, or shared with an earlier entry are refused when opened; special
//! files are absent; a link that leaves the package is a plain file. Each is a finding, and all else is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::directory::{self, Directory};
use super::method;
use super::names;
use super::record::{Central, Flags, LOCAL_LEN};
use super::times;
use crate::browse;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::store::Source;
use crate::tree::{Added, Builder, Kind, Leaf, SafePath, Tree};

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
/// An empty deflate stream: what some writers put into a directory's entry.
const EMPTY_DEFLATED: u64 = 2;

/// What is kept of a central record: 40 bytes, for there may be millions. The decoded size and the time are in
/// the node.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Where its local header is in the file.
    pub header: u64,
    /// Packed bytes.
    pub packed: u64,
    /// CRC-32 of the decoded bytes.
    pub crc: u32,
    /// CRC-32 of the stored name, by which the local header's is compared.
    pub name_crc: u32,
    /// Length of the stored name.
    pub name_len: u16,
    /// Compression method.
    pub method: u16,
    /// General-purpose bits.
    pub flags: Flags,
    /// Why it cannot be opened, as far as the directory tells.
    pub refusal: Option<Refusal>,
}

impl Entry {
    /// What makes it the same entry in another directory of the same file.
    pub fn key(&self) -> (u64, u64, u32, u16, u32) {
        (self.header, self.packed, self.crc, self.method, self.name_crc)
    }
}

/// Why an entry that is listed is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its bytes belong to an earlier record.
    Overlaps,
    /// Its bytes end behind the directory's start, or the file's end.
    OutOfBounds,
    /// Its 64-bit numbers are cut off.
    BadZip64,
    /// It lies on another disk.
    OtherDisk,
    /// It is stored, and its two sizes differ.
    StoredSizes,
    /// It is encrypted.
    Encrypted,
    /// Nothing here decodes it.
    Method,
}

impl Refusal {
    /// Whether the entry may be intact, and only unreadable here.
    pub fn is_unsupported(self) -> bool {
        matches!(self, Refusal::Encrypted | Refusal::Method)
    }

    /// The word for it in findings and errors.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Overlaps => "overlapping-entry",
            Refusal::OutOfBounds => "entry-out-of-bounds",
            Refusal::BadZip64 => "bad-zip64",
            Refusal::OtherDisk => "entry-on-other-disk",
            Refusal::StoredSizes => "stored-size-mismatch",
            Refusal::Encrypted => "encrypted-entry",
            Refusal::Method => "unsupported-method",
        }
    }

    /// What opening the entry fails with.
    pub fn error(self, entry: &str, method: u16) -> Error {
        let what = self.reason(method);
        match self.is_unsupported() {
            true => Error::Unsupported { entry: entry.to_string(), what },
            false => Error::damaged(self.code(), entry, what),
        }
    }

    fn finding(self, entry: &str, method: u16) -> Finding {
        let remedy = "it is listed, and cannot be opened here";
        let listed = || Finding::new(Severity::Warning, self.code(), entry, self.reason(method), remedy);
        Finding::of_damage(&self.error(entry, method)).unwrap_or_else(listed)
    }

    /// What is wrong, in a sentence.
    fn reason(self, entry_method: u16) -> String {
        match self {
            Refusal::Overlaps => "its bytes belong to an earlier entry of the package".into(),
            Refusal::OutOfBounds => "its bytes would lie outside the package's data".into(),
            Refusal::BadZip64 => "its 64-bit sizes are cut off".into(),
            Refusal::OtherDisk => "it lies on another disk of a split archive".into(),
            Refusal::StoredSizes => "it is stored unpacked, and its two sizes differ".into(),
            Refusal::Encrypted => "it is encrypted; decrypt the package with the tool that made it".into(),
            Refusal::Method => format!(
                "it is packed by {}, which this build does not decode (feature `methods` adds bzip2, zstd, \
                 deflate64, lzma and xz)",
                method::name(entry_method)
            ),
        }
    }
}

/// What a directory became.
#[derive(Debug)]
pub struct Loaded {
    /// Names and nodes.
    pub tree: Tree,
    /// One for each record that is or was a file, in the directory's order; nodes hold indices.
    pub entries: Vec<Entry>,
    /// Indices by place in the file, where that is not the directory's own order.
    pub by_place: Option<Vec<u32>>,
    /// Records that a later one of the same name has replaced.
    pub shadowed: u64,
    /// All records.
    pub records: u64,
}

/// Records on their way into a tree.
#[derive(Debug)]
pub struct Loader<'a> {
    findings: &'a Findings,
    builder: Builder,
    entries: Vec<Entry>,
    shadowed: u64,
    records: u64,
    /// Entries end before this place in the file.
    limit: u64,
    shift: u64,
}

impl<'a> Loader<'a> {
    /// For a directory; `limit` is where its entries' bytes end.
    pub fn new(findings: &'a Findings, expected: u64, limit: u64, shift: u64) -> Loader<'a> {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX).min(1 << 20);
        let entries = Vec::with_capacity(expected);
        Loader { findings, builder: Builder::new(expected), entries, shadowed: 0, records: 0, limit, shift }
    }

    /// Reads a whole directory; `None` when it is not what its end record says.
    pub fn from_directory(
        source: &Arc<Source>,
        findings: &'a Findings,
        directory: Directory,
        raw: bool,
    ) -> Result<Option<Loaded>> {
        let mut loader = Loader::new(findings, directory.count, directory.start, directory.shift);
        let whole = directory::scan(source, directory, |record| loader.add(record))?;
        if whole { loader.finish(raw).map(Some) } else { Ok(None) }
    }

    fn tell(&self, severity: Severity, code: &'static str, name: &[u8], message: String, remedy: &str) {
        self.findings.add(Finding::new(severity, code, names::shown(name), message, remedy));
    }

    /// Leaves an entry out, and says so.
    fn skip(&self, code: &'static str, name: &[u8], message: String) -> Result<()> {
        self.tell(Severity::Warning, code, name, message, "the entry is not shown; all others are");
        Ok(())
    }

    /// Takes one record.
    pub fn add(&mut self, record: Central<'_>) -> Result<()> {
        self.records += 1;
        let name = match names::decode(record.name, record.flags, record.extra) {
            Ok(name) => name,
            Err(why) => return self.skip("unsafe-name", record.name, why.to_string()),
        };
        let path = match SafePath::check(&name) {
            Ok(path) => path,
            Err(why) => return self.skip("unsafe-name", &name, why.to_string()),
        };
        let mode = record.unix_mode();
        let file_type = mode.map_or(0, |m| m & S_IFMT);
        let time = times::of(record.extra, record.dos);
        if path.is_directory() || file_type == S_IFDIR {
            if record.size > 0 || record.packed > EMPTY_DEFLATED {
                return self.skip("directory-with-data", &name, "a directory entry carries data".into());
            }
            let bits = mode.map(|m| (m & 0o777 | 0o500) as u16).filter(|_| file_type != 0);
            let added = self.builder.directory(path, time, bits)?;
            self.account(added, &name);
            return Ok(());
        }
        if !matches!(file_type, 0 | S_IFREG | S_IFLNK) {
            let what = format!("a device, pipe or socket (mode {:o})", mode.unwrap_or_default());
            return self.skip("special-file", &name, what);
        }
        let refusal = self.refusal(&record);
        if let Some(refusal) = refusal {
            self.findings.add(refusal.finding(&names::shown(&name), record.method));
        }
        if record.contradicts_zip64 {
            let message = "its 64-bit sizes contradict the plain ones, which count".to_string();
            self.tell(Severity::Warning, "zip64-contradiction", &name, message, "save the package anew");
        }
        let entry = self.entries.len() as u32;
        let header = record.header.saturating_add(self.shift);
        self.entries.push(Entry {
            header,
            packed: record.packed,
            crc: record.crc,
            name_crc: crc32fast::hash(record.name),
            name_len: record.name.len() as u16,
            method: record.method,
            flags: record.flags,
            refusal,
        });
        let leaf = Leaf {
            // What no file can be is no size to show; the entry is refused.
            size: if i64::try_from(record.size).is_ok() { record.size } else { 0 },
            time,
            mode: mode.map_or(0o444, |m| (m & 0o777 | 0o400) as u16),
            kind: if file_type == S_IFLNK { Kind::Link } else { Kind::File },
            entry,
            // What refuses to open is another content than what was read under this name and checksum before.
            identity: u64::from(record.crc) | refusal.map_or(0, |why| 1 + why as u64) << 32,
        };
        let added = self.builder.leaf(path, leaf)?;
        self.account(added, &name);
        Ok(())
    }

    fn account(&mut self, added: Added, name: &[u8]) {
        match added {
            Added::New => {}
            Added::Again => self.shadowed += 1,
            Added::ReplacesDirectory => {
                self.shadowed += 1;
                self.both(name, "it is a file and a directory; the later record, the file, counts");
            }
        }
    }

    fn both(&self, name: &[u8], message: &str) {
        let remedy = "look whether the loser was meant; both are in the package";
        self.tell(Severity::Warning, "file-and-directory", name, message.into(), remedy);
    }

    fn refusal(&self, record: &Central<'_>) -> Option<Refusal> {
        let least = (LOCAL_LEN + record.name.len()) as u64;
        let end = record.header.checked_add(self.shift).and_then(|at| at.checked_add(least));
        let end = end.and_then(|at| at.checked_add(record.packed));
        if record.bad_zip64 {
            Some(Refusal::BadZip64)
        } else if record.disk != 0 {
            Some(Refusal::OtherDisk)
        } else if end.is_none_or(|end| end > self.limit) || i64::try_from(record.size).is_err() {
            Some(Refusal::OutOfBounds)
        } else if record.flags.encrypted() || record.method == method::AES {
            Some(Refusal::Encrypted)
        } else if method::supported(record.method).is_none() {
            Some(Refusal::Method)
        } else if record.method == method::STORED && record.packed != record.size {
            Some(Refusal::StoredSizes)
        } else {
            None
        }
    }

    /// Sorts, looks for overlaps, and makes the tree; with what is derived, unless it is to be `raw`.
    pub fn finish(mut self, raw: bool) -> Result<Loaded> {
        if !raw {
            browse::add(&mut self.builder)?;
        }
        let (tree, replaced) = std::mem::replace(&mut self.builder, Builder::new(0)).finish();
        self.shadowed += replaced.files;
        for directory in replaced.by_directories {
            let message = "a directory of this path replaces a file; the later record counts";
            self.both(&tree.path(directory), message);
        }
        if self.shadowed > 0 {
            self.findings.add(Finding::new(
                Severity::Notice,
                "shadowed-records",
                "",
                format!("{} records are replaced by later ones of the same name", self.shadowed),
                "nothing is lost; saving the package anew removes them",
            ));
        }
        let by_place = by_place(&self.entries);
        let overlapping = overlapping(&self.entries, by_place.as_deref());
        if !overlapping.is_empty() {
            for entry in &overlapping {
                self.entries[*entry as usize].refusal = Some(Refusal::Overlaps);
            }
            let hit = |id| tree.node(id).entry().is_some_and(|e| overlapping.binary_search(&e).is_ok());
            for id in tree.ids().filter(|id| hit(*id)) {
                self.findings.add(Refusal::Overlaps.finding(&tree.shown(id), 0));
            }
        }
        self.entries.shrink_to_fit();
        Ok(Loaded { tree, entries: self.entries, by_place, shadowed: self.shadowed, records: self.records })
    }
}

impl Entry {
    /// The bytes it takes in the file at least: header, name, and packed bytes. (The local extra field is not
    /// known without reading it.)
    fn least_end(&self) -> u64 {
        let head = (LOCAL_LEN + usize::from(self.name_len)) as u64;
        self.header.saturating_add(head).saturating_add(self.packed)
    }

    /// Whether its place in the file is known to be one.
    fn has_place(&self) -> bool {
        !matches!(self.refusal, Some(Refusal::OutOfBounds | Refusal::BadZip64 | Refusal::OtherDisk))
    }
}

/// The order of places in the file, unless that is the order of the entries already.
fn by_place(entries: &[Entry]) -> Option<Vec<u32>> {
    if entries.is_sorted_by_key(|e| e.header) {
        return None;
    }
    let mut order: Vec<u32> = (0..entries.len() as u32).collect();
    order.sort_by_key(|i| entries[*i as usize].header);
    Some(order)
}

/// The entries whose bytes are also an earlier record's, in ascending order.
fn overlapping(entries: &[Entry], by_place: Option<&[u32]>) -> Vec<u32> {
    let at = |i: usize| by_place.map_or(i, |order| order[i] as usize);
    let placed = || (0..entries.len()).map(at).filter(|i| entries[*i].has_place());
    let mut end = 0;
    let apart = placed().all(|i| {
        let fits = entries[i].header >= end;
        end = entries[i].least_end();
        fits
    });
    if apart {
        return Vec::new();
    }
    // Somebody made this on purpose: give the places away in the order of the records.
    let mut given: BTreeMap<u64, u64> = BTreeMap::new();
    let mut refused = Vec::new();
    for (i, entry) in entries.iter().enumerate().filter(|(_, e)| e.has_place()) {
        let (start, end) = (entry.header, entry.least_end());
        let before = given.range(..end).next_back();
        if before.is_some_and(|(_, before_end)| *before_end > start) {
            refused.push(i as u32);
        } else {
            given.insert(start, end);
        }
    }
    refused
}
