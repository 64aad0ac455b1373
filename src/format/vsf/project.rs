//! A VSF file as a project: its labels as a tree.
//!
//! Opening costs the header. A section with fields is a door, behind which a [`View`] is made when somebody looks; raw
//! bytes are files where they lie. A section in whose directory other sections are cannot be a door, and is read at
//! once.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::VerifyingKey;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use serde::Serialize;

use super::claims::Claims;
use super::file::{File, Kind, Label};
use super::input::Fault;
use super::kept::Kept;
use super::names::{Names, is_cut, path_of};
use super::seal::{Check, Sealing};
use super::show;
use super::value::{Item, Section, Value, Wrapped};
use super::verify::{self, Keys};
use super::view::{Attributes, Entry, Place, Shown, View, leaf, of_label, sections_in};
use super::wrapped::{UNWRAP, not_unwrapped};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::format::{Container, Description, OpenOptions};
use crate::store::Source;
use crate::tree::{Branch, Builder, Content, Leaf, NodeId, SafePath, Time, Tree};

/// How much memory views may take that are kept though nobody uses them, and the least that each is taken for.
const KEPT: usize = 32 << 20;
const LEAST: usize = 64 << 10;

/// Bytes that are unwrapped to verify a file. A few kilobytes could stand for hours of it.
const UNWRAPPED: u64 = 16 << 30;

/// Labels up to which `header.json` is made when the file is opened.
const FEW: usize = 5_000;

/// The number of `header.json` among what is derived.
const HEADER: u32 = 0;

/// A VSF file that is open.
#[derive(Debug)]
pub struct Project {
    source: Arc<Source>,
    file: File,
    tree: Tree,
    /// Files of labels that hold their values themselves, and of sections that are no doors.
    entries: Vec<Entry>,
    /// What is known of directories that sections are, and no doors.
    sections: HashMap<NodeId, Attributes>,
    place: Place,
    header: OnceLock<Arc<[u8]>>,
    views: Mutex<Views>,
    kept: Arc<Kept>,
    /// Whose signatures were found when it was verified.
    signatures: Mutex<Vec<Signature>>,
    findings: Arc<Findings>,
}

/// Sections that somebody looks into, or did lately.
#[derive(Debug, Default)]
struct Views {
    /// By the number of the label and of the directory.
    open: HashMap<(u32, u64), Arc<View>>,
    /// The memory of those that were added since the unused ones went.
    added: usize,
}

/// A signature that fits the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The public key that it was made with, in hexadecimal.
    pub key: String,
    /// The section that it is of; `None` where it is of the file.
    pub section: Option<String>,
    /// Where it is not of the whole file, but of what that was before something was appended: how many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
}

/// Opens a VSF file: reads its header.
pub fn open(source: Arc<Source>, _: OpenOptions) -> Result<Arc<dyn Container>> {
    let file = super::open(source.as_ref()).map_err(|error| match error {
        Error::Damaged { what, .. } => Error::not_a_project(source.path(), what),
        other => other,
    })?;
    let findings = Arc::new(Findings::default());
    file.findings.iter().for_each(|finding| findings.add(finding.clone()));
    let place = place_of(&source, &file)?;
    let kept = Arc::<Kept>::default();
    let (tree, shown) = Layout::new(&source, &file, place, &kept, &findings).build()?;
    let (sections, entries) = (sections_in(&tree, shown.sections), shown.entries);
    let (header, views, signatures) = (OnceLock::new(), Mutex::default(), Mutex::default());
    Ok(Arc::new(Project {
        source,
        file,
        tree,
        entries,
        sections,
        place,
        header,
        views,
        kept,
        signatures,
        findings,
    }))
}

/// The time in the file, where there is one, else the file's own; and what tells its state from others.
fn place_of(source: &Source, file: &File) -> Result<Place> {
    let stamp = source.stamp();
    let written = file.header.items.iter().find_map(|item| match item.value {
        Value::Time(time) => time.unix_nanos(),
        _ => None,
    });
    let own = i128::from(stamp.mtime.0) * 1_000_000_000 + i128::from(stamp.mtime.1);
    // The landing itself is the time of a writer without a clock, and no file system knows times of other millennia.
    let landing = i128::from(super::EPOCH) * 1_000_000_000;
    let known = -62_135_596_800_000_000_000..=253_402_300_799_000_000_000;
    let nanos = written.filter(|n| known.contains(n) && *n != landing).unwrap_or(own);
    let time = Time {
        seconds: nanos.div_euclid(1_000_000_000) as i64,
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&source.read_range(file.header.span.clone())?);
    for number in [stamp.size as i64, stamp.mtime.0, stamp.mtime.1] {
        hasher.update(&number.to_le_bytes());
    }
    let digest = hasher.finalize();
    let identity = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes"));
    Ok(Place { root: 1, time, identity })
}

/// The tree while it is made.
struct Layout<'a> {
    file: &'a File,
    place: Place,
    findings: &'a Arc<Findings>,
    builder: Builder,
    shown: Shown<'a>,
    /// Paths that something is at, or below.
    names: Names,
    standing: Standing,
    /// How many bytes of sections may still be read at once: more than there are, unless they lie upon each other.
    unread: u64,
}

/// Which paths are directories because of the labels alone.
#[derive(Debug, Default)]
pub struct Standing {
    /// The directories that labels stand in. No file gets the name of one, nor that of a section: where both meet, the
    /// section is found under its name.
    pub folders: HashSet<Vec<u8>>,
    /// Of each label, whether it is the section that is found under its name.
    owners: Vec<bool>,
    /// What sections within fields cannot be called, where their files share directories with labels.
    pub reserved: Arc<HashSet<Vec<u8>>>,
}

/// Takes the names of the directories and of the sections.
pub fn standing(file: &File, paths: &[Cow<[u8]>], names: &mut Names) -> Standing {
    let mut folders = HashSet::new();
    for path in paths {
        for at in path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at) {
            if names.take(&path[..at]) {
                folders.insert(path[..at].to_vec());
            }
        }
    }
    names.expect(paths.len());
    let own = |(label, path): (&Label, &Cow<[u8]>)| label.kind() == Kind::Section && names.take(path);
    let owners: Vec<bool> = file.labels.iter().zip(paths).map(own).collect();
    let shares =
        |(label, path): (&Label, &Cow<[u8]>)| label.kind() == Kind::Section && folders.contains(&path[..]);
    let shared = !folders.is_empty() && file.labels.iter().zip(paths).any(shares);
    let reserved = if shared {
        names.taken().filter(|p| p.contains(&b'/')).map(<[u8]>::to_vec).collect()
    } else {
        HashSet::new()
    };
    Standing { folders, owners, reserved: Arc::new(reserved) }
}

/// The size that a label promises, as far as a file can have it.
fn promised(label: &Label) -> u64 {
    let size = label.reference.as_ref().map_or(0, |reference| reference.size);
    u64::try_from(size).map_or(i64::MAX as u64, |size| size.min(i64::MAX as u64))
}

impl<'a> Layout<'a> {
    fn new(
        source: &'a Arc<Source>,
        file: &'a File,
        place: Place,
        kept: &Arc<Kept>,
        findings: &'a Arc<Findings>,
    ) -> Layout<'a> {
        let doors = file.labels.iter().filter(|label| label.kind() == Kind::Section).count();
        let builder = Builder::new(file.labels.len()).with_room_for_directories(doors);
        let mut shown = Shown::new(source, file);
        (shown.kept, shown.findings) = (kept.clone(), findings.clone());
        let (names, standing) = (Names::default(), Standing::default());
        Layout { file, place, findings, builder, shown, names, standing, unread: file.size.saturating_mul(4) }
    }

    fn build(mut self) -> Result<(Tree, Shown<'a>)> {
        let paths: Vec<_> = self.file.labels.iter().map(|label| path_of(&label.name)).collect();
        self.standing = standing(self.file, &paths, &mut self.names);
        self.shown.reserved = self.standing.reserved.clone();
        for (n, (label, path)) in self.file.labels.iter().zip(&paths).enumerate() {
            if is_cut(&label.name) {
                let text = "the name is too long to be shown; header.json has it";
                let finding = Finding::new(
                    Severity::Notice,
                    "vsf-long-name",
                    label.title(),
                    text,
                    "give it a shorter one",
                );
                self.findings.add(finding);
            }
            self.label(n as u32, label, path)?;
        }
        let header = self.names.free(b"header.json".to_vec());
        // To say how long it is takes making it, which is for whoever asks where there are many labels.
        let few = self.file.labels.len() <= FEW;
        let size = if few { show::header_text(self.file).len() as u64 } else { Leaf::LATE };
        let leaf = Leaf {
            size,
            time: self.place.time,
            mode: 0o444,
            kind: crate::tree::Kind::File,
            entry: Leaf::derived(HEADER),
            identity: self.place.identity,
        };
        self.builder.leaf(SafePath::check(&header).expect("a plain name"), leaf)?;
        self.builder.top(self.place.time);
        Ok((self.builder.finish().0, self.shown))
    }

    fn label(&mut self, n: u32, label: &Label, path: &[u8]) -> Result<()> {
        match label.kind() {
            Kind::Blob => {
                let path = self.names.free([path, b".bin"].concat());
                // What is not there has the size that it should have: of an empty file nobody would ever ask for
                // the bytes, and be told that they are lost.
                let size = match self.file.range(label) {
                    Ok(range) => range.end - range.start,
                    Err(_) => promised(label),
                };
                let leaf = Leaf { size, ..leaf(&Content::Bytes(Arc::from([])), n, self.place) };
                self.leaf(&path, leaf)
            }
            Kind::Section if self.standing.folders.contains(path) => {
                self.shown.sections.push((path.to_vec(), of_label(label)));
                let size = self.file.range(label).map_or(0, |range| range.end - range.start);
                let Some(left) = self.unread.checked_sub(size) else {
                    self.findings.add(overlap(label, "this one is not shown"));
                    return Ok(());
                };
                self.unread = left;
                self.inner(|shown, file| match shown.label(path, file, label) {
                    Err(error @ Error::Damaged { .. }) => {
                        let finding = Finding::of_damage(&error);
                        finding.into_iter().for_each(|finding| shown.findings.add(finding));
                        Ok(())
                    }
                    other => other,
                })
            }
            Kind::Section => {
                let twin = if self.standing.owners[n as usize] {
                    None
                } else {
                    Some(self.names.free(path.to_vec()))
                };
                match SafePath::check(twin.as_deref().unwrap_or(path)) {
                    Ok(path) => self.builder.door(path, self.place.time, n),
                    Err(_) => Ok(()),
                }
            }
            Kind::Inline | Kind::Flag => {
                let (folder, name) = match path.iter().rposition(|b| *b == b'/') {
                    Some(at) => (&path[..at], &path[at + 1..]),
                    None => (&b""[..], path),
                };
                self.inner(|shown, file| match &label.values[..] {
                    [] => {
                        shown.empty(folder, name, label.span.start);
                        Ok(())
                    }
                    [Item { value: Value::Section(section), .. }] => {
                        shown.inline(folder, name, section, label, file)
                    }
                    values => shown.values(folder, name, values, file),
                })
            }
        }
    }

    /// Adds files that are made at once.
    fn inner(&mut self, make: impl FnOnce(&mut Shown<'a>, &File) -> Result<()>) -> Result<()> {
        let (before, folders) = (self.shown.entries.len(), self.shown.folders.len());
        make(&mut self.shown, self.file)?;
        // One may have no files.
        for (folder, _) in &self.shown.folders[folders..] {
            if let Ok(path) = SafePath::check(folder) {
                self.builder.directory(path, self.place.time, None)?;
            }
        }
        let labels = self.file.labels.len();
        for n in before..self.shown.entries.len() {
            let entry = &mut self.shown.entries[n];
            let path = self.names.free(entry.path.clone());
            entry.rename(&path);
            let leaf = entry.leaf((labels + n) as u32, self.place);
            self.leaf(&path, leaf)?;
        }
        Ok(())
    }

    fn leaf(&mut self, path: &[u8], leaf: Leaf) -> Result<()> {
        match SafePath::check(path) {
            Ok(path) => self.builder.leaf(path, leaf).map(drop),
            Err(_) => Ok(()),
        }
    }
}

/// More sections than the file has bytes for, of which `label` is the first that is too much.
fn overlap(label: &Label, what: &str) -> Finding {
    let text = format!("sections lie upon each other; {what}");
    let remedy = "ask for a file from its writer that does not contradict itself";
    Finding::new(Severity::Warning, "vsf-overlap", label.title(), text, remedy)
}

impl Project {
    /// Reads every section, and checks every seal. Where there are `keys`, one of them has to have signed the file.
    pub fn verify_with(&self, keys: &[VerifyingKey], progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.signatures.lock().clear();
        self.verify_sections(keys)?;
        let mut done = 0;
        let all = self.file.size.max(1);
        let checks = verify::verify(self.source.as_ref(), &self.file, keys, &mut |bytes| {
            done += bytes;
            // Some rules read the file more than once.
            progress(done.min(all - 1), all);
        })?;
        checks.iter().for_each(|check| self.checked(check));
        progress(all, all);
        self.source.check()
    }

    /// Whose signatures were found when it was verified.
    pub fn signatures(&self) -> Vec<Signature> {
        self.signatures.lock().clone()
    }

    /// Who it says has signed it, if it says so; that was not verified.
    pub fn claims(&self) -> Option<Claims> {
        Claims::of(&self.file, self.source.as_ref())
    }

    fn checked(&self, check: &Check) {
        check.finding().into_iter().for_each(|finding| self.findings.add(finding));
        let section = match &check.sealing {
            Sealing::Section(label) => Some(label.clone()),
            _ => None,
        };
        let key = check.signer.map(|key| show::hex(key.as_bytes()));
        self.signatures.lock().extend(key.map(|key| Signature { key, section, first: check.first }));
    }

    fn verify_sections(&self, keys: &[VerifyingKey]) -> Result<()> {
        let mut seen = HashSet::new();
        let mut budget = self.file.size.saturating_mul(4).saturating_add(64 << 20);
        let mut wrapped = UNWRAPPED;
        let mut keys = Keys::of(&self.file, keys);
        for label in &self.file.labels {
            if let Kind::Inline = label.kind() {
                self.try_values(label.title(), &label.values, &mut wrapped)?;
            }
            let Ok(range) = self.file.range(label) else { continue };
            // A hostile header can point to the same bytes a million times.
            if label.kind() != Kind::Section || !seen.insert(range.start) {
                continue;
            }
            // Nor is more read than a file of sections that lie apart can hold.
            let Some(left) = budget.checked_sub(range.end - range.start) else {
                self.findings.add(overlap(label, "not all of them were verified"));
                break;
            };
            budget = left;
            let body = self.file.section(self.source.as_ref(), label)?;
            self.file.oddities(label, &body).into_iter().for_each(|finding| self.findings.add(finding));
            self.try_wrapped(label.title(), &body.section, &mut wrapped)?;
            let seals = verify::verify_section(self.source.as_ref(), &self.file, label, &body, &mut keys)?;
            seals.iter().for_each(|check| self.checked(check));
        }
        Ok(())
    }

    fn label(&self, node: NodeId) -> Option<(&Label, u32)> {
        let it = self.tree.node(node);
        let number = it.door().or_else(|| it.entry())?;
        Some((self.file.labels.get(number as usize)?, number))
    }

    fn header(&self) -> Arc<[u8]> {
        self.header.get_or_init(|| show::header_text(&self.file).into()).clone()
    }
}

impl Project {
    /// Unwraps what is wrapped in a section, to see whether it can be; at most as many bytes as are `left`.
    fn try_wrapped(&self, path: String, section: &Section, left: &mut u64) -> Result<()> {
        self.try_values(path.clone(), &section.items, left)?;
        for field in &section.fields {
            let name = String::from_utf8_lossy(&field.name[..field.name.len().min(200)]);
            self.try_values(format!("{path}/{name}"), &field.values, left)?;
        }
        Ok(())
    }

    fn try_values(&self, path: String, items: &[Item], left: &mut u64) -> Result<()> {
        for item in items {
            match &item.value {
                Value::Section(nested) => self.try_wrapped(path.clone(), nested, left)?,
                Value::Wrapped(wrapped) => self.try_one(&path, wrapped, left)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn try_one(&self, path: &str, wrapped: &Wrapped, left: &mut u64) -> Result<()> {
        let mut counted = 0;
        let limit = UNWRAP.min(*left);
        let done = wrapped.pour(&self.source.as_ref(), limit, &mut |piece| counted += piece.len() as u64);
        *left = left.saturating_sub(counted);
        match done {
            Ok(_) => Ok(()),
            Err(Fault::Wrong(wrong)) => {
                self.findings.add(not_unwrapped(&wrong, path));
                Ok(())
            }
            Err(Fault::Input(error)) => Err(error),
        }
    }
}

impl Branch for Project {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        let it = self.tree.node(node);
        if it.derived() == Some(HEADER) {
            return Ok(Content::Bytes(self.header()));
        }
        let Some(entry) = it.entry() else { return Err(Error::IsADirectory(self.tree.shown(node))) };
        match self.file.labels.get(entry as usize) {
            Some(label) => {
                let range = self.file.range(label).map_err(|wrong| wrong.about(&self.tree.shown(node)))?;
                Ok(Content::Range(self.source.clone(), range))
            }
            None => Ok(self.entries[entry as usize - self.file.labels.len()].content.clone()),
        }
    }

    fn behind(&self, node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        if let Some(view) = self.open_door(node) {
            return Some(Ok(view));
        }
        let it = self.tree.node(node);
        it.door()?;
        let (label, number) = self.label(node)?;
        let place = Place { root: it.ino, ..self.place };
        let view = match View::new(&self.source, &self.file, label, place, &self.kept, &self.findings) {
            Ok(view) => Arc::new(view),
            Err(error) => return Some(Err(error)),
        };
        let mut views = self.views.lock();
        views.added += view.weight.max(LEAST);
        if views.added > KEPT {
            views.open.retain(|_, view| Arc::strong_count(view) > 1);
            views.added = view.weight.max(LEAST);
        }
        Some(Ok(views.open.entry((number, it.ino)).or_insert(view).clone()))
    }

    fn open_door(&self, node: NodeId) -> Option<Arc<dyn Branch>> {
        let it = self.tree.node(node);
        let view = self.views.lock().open.get(&(it.door()?, it.ino)).cloned();
        view.map(|view| view as Arc<dyn Branch>)
    }

    fn attributes(&self, node: NodeId) -> Attributes {
        let Some((label, _)) = self.label(node) else {
            let entry = self.tree.node(node).entry();
            let own = entry.and_then(|n| self.entries.get(n as usize - self.file.labels.len()));
            let known = own.map(|entry| &entry.attributes).or_else(|| self.sections.get(&node));
            return known.cloned().unwrap_or_default();
        };
        of_label(label)
    }
}

impl Container for Project {
    fn source(&self) -> &Arc<Source> {
        &self.source
    }

    fn kind(&self) -> &'static str {
        "vsf"
    }

    fn opens_all(&self) -> bool {
        self.file.labels.iter().all(|label| label.reference.is_none() || self.file.range(label).is_ok())
    }

    fn is_whole(&self) -> bool {
        self.file.header.broken.is_none()
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }

    fn shared_findings(&self) -> Arc<Findings> {
        self.findings.clone()
    }

    fn describe(&self) -> Description {
        let count = |kind: Kind| self.file.labels.iter().filter(|label| label.kind() == kind).count() as u64;
        let counts = [("labels", self.file.labels.len() as u64), ("sections", count(Kind::Section))];
        let blobs = [("blobs", count(Kind::Blob)), ("bytes", self.file.size)];
        Description {
            source: self.source.path().display().to_string(),
            kind: self.kind(),
            version: self.file.header.version().map(|z| z.to_string()),
            id: None,
            title: None,
            current: None,
            chosen_because: None,
            counts: counts.into_iter().chain(blobs).collect(),
            datasets: Vec::new(),
            around: Default::default(),
            findings: self.findings.list(),
        }
    }

    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.verify_with(&[], progress)
    }

    /// Nothing in the file tells whether its raw bytes are still the same: only a file that was not touched is.
    fn continues(&self, older: &dyn Container) -> bool {
        older.as_any().is::<Project>() && self.source.stamp() == older.source().stamp()
    }

    fn forget_decoded(&self) {
        *self.views.lock() = Views::default();
        self.kept.forget();
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
