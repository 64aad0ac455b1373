//! `.vaso` packages: projects in a ZIP file.
//!
//! ```text
//!   directory  finds the end record and the central directory      record, names, times   parse bytes
//!   load       makes entries and a tree of it                      salvage                when it is lost
//!   kind       which kind of project it is                         links                  which links are safe
//!   verify     checks every byte                                   describe, sample       tell what is in it
//!   trust      what is checked before it is given out              guess     where a header is damaged
//! ```
//!
//! The central directory is the truth; a local header is read when its entry is opened, for the place of the
//! data, and is compared with it. The last record of a name counts. Nothing is inflated at open, and no size
//! in the file decides how much memory is taken.

mod describe;
mod directory;
mod document;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guess;
mod kind;
mod links;
mod load;
mod method;
mod names;
mod record;
mod salvage;
pub mod sample;
mod times;
mod trust;
mod verify;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use self::document::Document;
use self::guess::Guesses;
use self::load::{Entry, Loaded, Loader, Refusal};
use self::record::{LOCAL_LEN, Local};
use self::trust::Trust;
use super::{Container, Description, OpenOptions};
use crate::browse;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::packed::{self, Check, Decoding, Packed};
use crate::store::Source;
use crate::tree::{Branch, Cache, Content, Kind, NodeId, Tree};

pub use self::salvage::{Part, parts};

/// Entries up to this size are decoded whole and checked before their first byte is given out.
const SMALL: u64 = 256 * 1024;
/// Bytes of small entries that are kept.
const SMALL_CACHE: usize = 8 << 20;
/// What of a stored entry is read in one go: header, name, extra fields of usual length, and bytes.
const ONE_GO: usize = 8 << 10;
/// The usual length of a local header's extra fields, and more.
const EXTRA: usize = 96;
/// A manifest larger than this is no manifest.
const MAX_MANIFEST: u64 = 16 << 20;

/// An opened package.
#[derive(Debug)]
pub struct Package {
    source: Arc<Source>,
    tree: Tree,
    entries: Vec<Entry>,
    by_place: Option<Vec<u32>>,
    shadowed: u64,
    records: u64,
    /// Where the directory starts; entries end before it.
    limit: u64,
    salvaged: bool,
    kind: kind::Kind,
    manifest: Option<Document>,
    findings: Arc<Findings>,
    options: OpenOptions,
    small: Cache<u32, Arc<[u8]>>,
    decoding: Mutex<Arc<Decoding>>,
    trust: Trust,
    /// Where entries lie whose headers do not say it.
    guesses: Guesses,
    /// What its views refer to.
    itself: Weak<Package>,
    /// The views, once somebody has looked.
    view: OnceLock<Arc<dyn Branch>>,
    /// One at a time opens them.
    viewing: Mutex<()>,
}

/// Opens a project in a ZIP file.
pub fn open(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let mut package = Package::read(source, options)?;
    package.recognise()?;
    Ok(Arc::new_cyclic(|itself: &Weak<Package>| {
        package.itself = itself.clone();
        package
    }))
}

impl Package {
    /// Reads any ZIP file, whatever project it is.
    fn read(source: Arc<Source>, options: OpenOptions) -> Result<Package> {
        let mut ends = directory::find_ends(&source)?;
        if ends.directories.is_empty() && options.unchecked {
            ends = directory::find_buried(&source)?;
        }
        for (i, directory) in ends.directories.iter().enumerate() {
            let findings = options.findings.clone().unwrap_or_default();
            let Some(loaded) = Loader::from_directory(&source, &findings, *directory, options.raw)? else {
                continue;
            };
            if ends.directories[i + 1..].iter().any(|other| other.count > 0) {
                findings.add(Finding::new(
                    Severity::Warning,
                    "second-end-record",
                    "",
                    "the file holds more than one end record with a directory; the one nearest the end counts",
                    "if something is missing, the file may be two packages, one behind the other",
                ));
            }
            if ends.trailing[i] > 0 {
                findings.add(Finding::new(
                    Severity::Warning,
                    "trailing-bytes",
                    "",
                    format!("{} bytes stand behind the end of the package", ends.trailing[i]),
                    "a save may have been interrupted there; look for a newer copy",
                ));
            }
            if directory.shift > 0 {
                findings.add(Finding::new(
                    Severity::Notice,
                    "prepended-bytes",
                    "",
                    format!("{} bytes stand before the package", directory.shift),
                    "no reason to act",
                ));
            }
            return Package::assemble(source, options, loaded, findings, directory.start, false);
        }
        if !options.salvage {
            let why = "it is cut off; unmount and mount again to see what can be salvaged";
            return Err(Error::not_a_project(source.path(), why));
        }
        let findings = options.findings.clone().unwrap_or_default();
        let limit = source.size();
        match salvage::salvage(&source, &findings, options.raw)? {
            Some(loaded) => Package::assemble(source, options, loaded, findings, limit, true),
            None => Err(Error::not_a_project(source.path(), match salvage::part_of_database(&source) {
                Some(remedy) => format!("the ZIP file is cut off, and nothing in it is whole; {remedy}"),
                None => "this is neither a package (ZIP) nor a database nor a VSF file; check that it was copied whole".into(),
            })),
        }
    }

    fn assemble(
        source: Arc<Source>,
        options: OpenOptions,
        loaded: Loaded,
        findings: Arc<Findings>,
        limit: u64,
        salvaged: bool,
    ) -> Result<Package> {
        let Loaded { tree, entries, by_place, shadowed, records } = loaded;
        let mut package = Package {
            source,
            tree,
            entries,
            by_place,
            shadowed,
            records,
            limit,
            salvaged,
            kind: kind::Kind::Package,
            manifest: None,
            decoding: Mutex::new(Decoding::new(findings.clone(), options.cache.clone())),
            findings,
            trust: Trust::new(options.check),
            guesses: Guesses::default(),
            options,
            small: Cache::new(SMALL_CACHE),
            itself: Weak::new(),
            view: OnceLock::new(),
            viewing: Mutex::default(),
        };
        package.settle_links()?;
        // Each entry has a checksum, so that another look tells.
        package.source.hold_strictly();
        Ok(package)
    }

    /// Turns links that would leave the package, and those that lead nobody knows where, into plain files.
    fn settle_links(&mut self) -> Result<()> {
        let links: Vec<NodeId> =
            self.tree.ids().filter(|id| self.tree.node(*id).kind == Kind::Link).collect();
        let mut plain = HashSet::new();
        for id in links {
            let target = match self.tree.node(id).size() {
                size if size > links::MAX_TARGET => None,
                _ => match self.read_whole(id) {
                    Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                    other => Some(other),
                },
            };
            if let Some(finding) = links::objection(&self.tree, id, target) {
                plain.insert(id);
                self.findings.add(finding);
            }
        }
        if !plain.is_empty() {
            let tree = std::mem::replace(&mut self.tree, crate::tree::Builder::new(0).finish().0);
            self.tree = tree.with_kinds(|_, id| plain.contains(&id).then_some(Kind::File));
        }
        Ok(())
    }

    /// The views, which hang behind a door.
    fn view(&self, door: NodeId) -> Result<Arc<dyn Branch>> {
        let _viewing = self.viewing.lock();
        if let Some(view) = self.view.get() {
            return Ok(view.clone());
        }
        let node = self.tree.node(door);
        let (itself, time): (Weak<dyn Branch>, _) = (self.itself.clone(), node.time());
        let here = *blake3::hash(format!("{:?}", self.source.stamp()).as_bytes()).as_bytes();
        let mut shown = blake3::Hasher::new();
        for id in self.tree.ids() {
            shown.update(&self.tree.node(id).ino.to_le_bytes());
        }
        let identity = browse::Identity { here, shown: *shown.finalize().as_bytes() };
        let what = browse::What { identity, time, newest: time, root: node.ino };
        let (cache, findings) = (self.options.cache.clone(), self.findings.clone());
        let made = browse::package_view(itself, self.source.location(), what, cache, findings)?;
        Ok(self.view.get_or_init(|| made).clone())
    }

    /// Decides which kind of project this is.
    fn recognise(&mut self) -> Result<()> {
        let manifest = self.tree.find(b"manifest.json").filter(|id| self.tree.node(*id).kind == Kind::File);
        if let Some(id) = manifest.filter(|id| self.tree.node(*id).size() <= MAX_MANIFEST) {
            match self.read_whole(id) {
                Ok(text) => self.manifest = serde_json::from_slice(&text).ok(),
                Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                // A manifest that cannot be read decides nothing.
                Err(_) => {}
            }
        }
        let signs =
            kind::Signs { tree: &self.tree, manifest: self.manifest.as_ref(), salvaged: self.salvaged };
        let kinds = signs.kinds();
        let Some(first) = kinds.first() else {
            let why = match self.salvaged {
                true => format!(
                    "the ZIP file has no directory (cut off?), and no manifest.json of a package could be \
                     salvaged; {}",
                    salvage::part_of_database(&self.source).unwrap_or("restore it from a backup")
                ),
                false => match signs.bundle_folder() {
                    Some(folder) => format!(
                        "this is a ZIP file with a bundle in it ({folder}), packed as a folder: unpack it, and open that"
                    ),
                    None => "this is a ZIP file, but no project: manifest.json is missing, unreadable or of another \
                             kind; to look into any ZIP file, use unzip"
                        .into(),
                },
            };
            return Err(Error::not_a_project(self.source.path(), why));
        };
        self.kind = *first;
        if kinds.len() > 1 {
            let words: Vec<&str> = kinds.iter().map(|k| k.word()).collect();
            self.findings.add(Finding::new(
                Severity::Warning,
                "ambiguous-kind",
                "",
                format!("the file could be each of {}; it is opened as {}", words.join(", "), words[0]),
                "no reason to act if what is shown is right",
            ));
        }
        self.note_version();
        self.note_events();
        Ok(())
    }

    fn entry(&self, id: NodeId) -> Result<(u32, &Entry)> {
        match self.tree.node(id).entry() {
            Some(number) => Ok((number, &self.entries[number as usize])),
            None => Err(Error::IsADirectory(self.tree.shown(id))),
        }
    }

    /// Where an entry's packed bytes lie: its local header is read, and compared with the central record.
    fn locate(&self, id: NodeId) -> Result<Range<u64>> {
        let (_, entry) = self.entry(id)?;
        self.refuse(id, entry)?;
        let len = LOCAL_LEN + usize::from(entry.name_len);
        // Names are short; this happens for every file that is read.
        let (mut short, mut long) = ([0; 320], Vec::new());
        let head = match short.get_mut(..len) {
            Some(head) => head,
            None => {
                long.resize(len, 0);
                &mut long[..]
            }
        };
        // The refusal rules out that this passes the limit.
        self.source.read_at(entry.header, head)?;
        match self.locate_by(id, head) {
            Err(damaged @ Error::Damaged { .. }) if self.options.unchecked => self.guess(id, damaged),
            other => other,
        }
    }

    fn refuse(&self, id: NodeId, entry: &Entry) -> Result<()> {
        match entry.refusal {
            Some(refusal) => Err(refusal.error(&self.tree.shown(id), entry.method)),
            None => Ok(()),
        }
    }

    /// The same, from a local header that was read with the whole of its name.
    fn locate_by(&self, id: NodeId, head: &[u8]) -> Result<Range<u64>> {
        let (number, entry) = self.entry(id)?;
        let damaged = |what: &str| Error::damaged("local-header-mismatch", self.tree.shown(id), what);
        let head_len = LOCAL_LEN as u64 + u64::from(entry.name_len);
        let Some(local) = Local::parse(head) else {
            return Err(damaged("its local header is not where the directory says"));
        };
        if local.name_len != usize::from(entry.name_len) || crc32fast::hash(local.name) != entry.name_crc {
            return Err(damaged("its local header bears another name"));
        }
        if local.method != entry.method {
            return Err(damaged("its local header names another compression method"));
        }
        if local.flags.encrypted() != entry.flags.encrypted() {
            return Err(damaged("its local header disagrees about encryption"));
        }
        let start = entry.header + head_len + local.extra_len as u64;
        let end = start.checked_add(entry.packed).filter(|end| *end <= self.next_header(number));
        let Some(end) = end else {
            return Err(damaged("its bytes would run into what stands behind them"));
        };
        let size = self.tree.node(id).size();
        if local.knows_sizes() && (local.packed, local.size, local.crc) != (entry.packed, size, entry.crc) {
            self.findings.add(Finding::new(
                Severity::Warning,
                "local-sizes-differ",
                self.tree.shown(id),
                "its local header gives other sizes or another checksum than the directory, which counts",
                "nothing is lost; saving the package anew mends it",
            ));
        }
        Ok(start..end)
    }

    /// Where the bytes of the next entry that is not refused begin, or the directory.
    fn next_header(&self, number: u32) -> u64 {
        let own = self.entries[number as usize].header;
        let at = |i: usize| self.by_place.as_ref().map_or(i, |order| order[i] as usize);
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.entries[at(middle)].header <= own {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        (low..self.entries.len())
            .map(|i| &self.entries[at(i)])
            .find(|e| e.refusal.is_none_or(|r| r.is_unsupported()))
            .map_or(self.limit, |e| e.header.min(self.limit))
    }

    fn packed(&self, id: NodeId) -> Result<Packed> {
        let (number, entry) = self.entry(id)?;
        let content = Content::Range(self.source.clone(), self.locate(id)?);
        let name = self.tree.shown(id);
        let Some(method) = method::supported(entry.method) else {
            return Err(Refusal::Method.error(&name, entry.method));
        };
        let size = self.tree.node(id).size();
        let check = if self.options.unchecked { Check::None } else { Check::Crc32(entry.crc) };
        Ok(Packed { entry: number, name, method, content, size, check, identity: None })
    }

    /// Decodes a whole entry and checks it. The memory it takes is what it gives, not what it declares.
    fn read_whole(&self, id: NodeId) -> Result<Arc<[u8]>> {
        let packed = self.packed(id)?;
        let mut bytes = Vec::with_capacity(packed.size.min(SMALL) as usize);
        packed::decode_all(&packed, &self.findings, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes.into())
    }

    /// Keeps what an error says of an entry's damage.
    fn note(&self, error: &Error) {
        if let Some(finding) = Finding::of_damage(error) {
            self.findings.add(finding);
        }
    }

    /// What an entry's bytes are made of.
    fn content(&self, id: NodeId) -> Result<Content> {
        let (number, entry) = self.entry(id)?;
        let is_small = self.tree.node(id).size() <= SMALL && !self.options.unchecked;
        if entry.method != method::STORED && is_small {
            if let Some(bytes) = self.small.get(&number) {
                return Ok(Content::Bytes(bytes));
            }
            let bytes = self.read_whole(id)?;
            self.small.insert(number, bytes.clone(), bytes.len() + 64);
            return Ok(Content::Bytes(bytes));
        }
        if self.trust.wants(entry) {
            self.trust.check(&self.packed(id)?, &self.findings)?;
        }
        if entry.method == method::STORED {
            return Ok(Content::Range(self.source.clone(), self.locate(id)?));
        }
        let packed = self.packed(id)?;
        Ok(packed::open(packed, self.decoding.lock().clone()))
    }

    /// A small stored entry is read with its header, in one go; whoever opens such a file reads it.
    fn read_with_header(&self, id: NodeId, buf: &mut [u8]) -> Result<Option<usize>> {
        let (_, entry) = self.entry(id)?;
        let size = entry.packed as usize;
        let head = LOCAL_LEN + usize::from(entry.name_len);
        let mut whole = [0; ONE_GO];
        let small = entry.packed <= (ONE_GO - EXTRA) as u64 && head + EXTRA + size <= ONE_GO;
        let fits = entry.method == method::STORED && small && size <= buf.len();
        if !fits || self.trust.wants(entry) {
            return Ok(None);
        }
        self.refuse(id, entry)?;
        let len = ((head + EXTRA + size) as u64).min(self.limit - entry.header) as usize;
        self.source.read_at(entry.header, &mut whole[..len])?;
        let range = self.locate_by(id, &whole[..head])?;
        let start = (range.start - entry.header) as usize;
        let Some(bytes) = whole[..len].get(start..start + size) else { return Ok(None) };
        buf[..size].copy_from_slice(bytes);
        Ok(Some(size))
    }

    /// The digest that the package records for an entry: the name of a blob.
    fn recorded_sha256(&self, id: NodeId) -> Option<&str> {
        let node = self.tree.node(id);
        let folder = self.tree.name(node.parent());
        let name = std::str::from_utf8(self.tree.name(id)).ok()?;
        let digest = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (node.kind == Kind::File && folder == b"blobs" && digest).then_some(name)
    }
}

impl Branch for Package {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn open(&self, id: NodeId) -> Result<Content> {
        self.content(id).inspect_err(|e| self.note(e))
    }

    fn origin(&self, node: NodeId) -> Option<[u8; 32]> {
        let (_, entry) = self.entry(node).ok().filter(|(_, entry)| entry.refusal.is_none())?;
        // What was written stays as it was: a file that was rewritten in place is another revision.
        let (device, inode) = self.source.stamp().file;
        let place = [device, inode, entry.header].map(u64::to_le_bytes);
        Some(blake3::hash(place.as_flattened()).into())
    }

    fn behind(&self, node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        self.tree.node(node).door()?;
        Some(self.view(node))
    }

    fn open_door(&self, node: NodeId) -> Option<Arc<dyn Branch>> {
        self.tree.node(node).door()?;
        self.view.get().cloned()
    }

    fn attributes(&self, id: NodeId) -> Vec<(&'static str, String)> {
        describe::attributes(self, id)
    }
}

impl Container for Package {
    fn crc32(&self, node: NodeId) -> Option<u32> {
        self.entry(node).ok().map(|(_, entry)| entry.crc)
    }

    fn source(&self) -> &Arc<Source> {
        &self.source
    }

    fn kind(&self) -> &'static str {
        self.kind.word()
    }

    fn open_and_read(&self, id: NodeId, buf: &mut [u8]) -> Result<Option<usize>> {
        match self.tree.node(id).entry() {
            Some(_) => self.read_with_header(id, buf).inspect_err(|e| self.note(e)),
            None => Ok(None),
        }
    }

    fn opens_all(&self) -> bool {
        // Under `check`, what opening finds out may be a refusal.
        !self.options.check && self.entries.iter().all(|e| e.refusal.is_none())
    }

    fn is_whole(&self) -> bool {
        !self.salvaged
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }

    fn shared_findings(&self) -> Arc<Findings> {
        self.findings.clone()
    }

    fn describe(&self) -> Description {
        describe::describe(self)
    }

    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        verify::verify(self, progress)
    }

    fn continues(&self, older: &dyn Container) -> bool {
        let Some(older) = older.as_any().downcast_ref::<Package>() else { return false };
        let still: HashSet<_> = self.entries.iter().map(Entry::key).collect();
        let shown = older.tree.ids().filter_map(|id| older.tree.node(id).entry());
        shown.map(|i| &older.entries[i as usize]).all(|e| still.contains(&e.key()))
    }

    fn forget_decoded(&self) {
        self.small.clear();
        self.trust.forget();
        // Streams that were opened before keep what they have; who accepts the new state opens them anew.
        *self.decoding.lock() = Decoding::new(self.findings.clone(), self.options.cache.clone());
    }

    fn goes_on_from(&self, older: &dyn Container) {
        if let Some(older) = older.as_any().downcast_ref::<Package>() {
            // What is new may lie where something was before.
            let known: HashSet<_> = older.entries.iter().map(Entry::key).collect();
            let new = self.entries.iter().filter(|entry| !known.contains(&entry.key()));
            let first = new.map(|entry| entry.header).min().unwrap_or(u64::MAX);
            // Of what was cut off nobody knows where it would have ended.
            let limit = if older.salvaged { 0 } else { older.limit };
            self.trust.go_on_from(&older.trust, first.min(limit));
        }
    }

    fn distrust(&self) {
        self.trust.withdraw();
    }

    fn distrusts(&self) -> bool {
        self.trust.is_withdrawn()
    }

    fn trust(&self) {
        // A header that another state has written says as much as a checksum.
        if !self.findings.list().iter().any(|finding| finding.code == "local-sizes-differ") {
            self.trust.give_back();
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
