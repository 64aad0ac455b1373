//! A section as a directory: one file for every field.
//!
//! A view is made when somebody looks into the section for the first time. What is small is in it; arrays are
//! ranges of the file behind a head, or made as they are read.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::arrays::{self, Order, Unpacked, Unwrapped};
use super::element::Element;
use super::file::{File, Label};
use super::gather::Gathered;
use super::input::{Fault, Parsed};
use super::kept::Kept;
use super::names::{Names, component, path_of};
use super::value::{Data, Item, Packed, Reference, Section, Tensor, Value, Wrapped};
use super::wrapped::{UNWRAP, not_unwrapped};
use super::{npy, show};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::store::Source;
use crate::tree::{Branch, Builder, Content, Kind, Leaf, NodeId, SafePath, Time, Tree};

/// Bytes that are unwrapped to find out how many they are, in all that is shown at once: a section, or what takes part
/// in the tree of the file.
const COUNTED: u64 = 256 << 20;

/// About how many bytes of memory a file of a view takes beside what it holds.
const ENTRY: usize = 500;

/// Sections of more fields have no `section.json`.
const MANY: u64 = 100_000;

/// Extended attributes, in the order of names.
pub type Attributes = Vec<(&'static str, String)>;

/// A file that is shown.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path below where it is shown.
    pub path: Vec<u8>,
    /// Whether it is a file or a link.
    pub kind: Kind,
    /// Its bytes; of a link where it leads.
    pub content: Content,
    /// What else is known of it.
    pub attributes: Attributes,
    /// What its name has behind that of the field.
    pub suffix: &'static str,
    /// The number of its field, counted from front to back with those within each other.
    pub field: usize,
}

impl Entry {
    /// What the tree says of it, as number `entry`.
    pub fn leaf(&self, entry: u32, place: Place) -> Leaf {
        Leaf { kind: self.kind, ..leaf(&self.content, entry, place) }
    }

    /// It gets another name in the same directory; a link to itself stays one.
    pub fn rename(&mut self, path: &[u8]) {
        let loops = matches!(&self.content, Content::Bytes(target) if target[..] == *last(&self.path));
        if self.kind == Kind::Link && loops {
            self.content = Content::Bytes(last(path).into());
        }
        self.path = path.to_vec();
    }
}

/// The name at the end of a path.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// The files that values become.
#[derive(Debug)]
pub struct Shown<'a> {
    pub(super) source: &'a Arc<Source>,
    version: u64,
    /// What is decoded of the file.
    pub kept: Arc<Kept>,
    /// What is worth telling.
    pub findings: Arc<Findings>,
    /// The name of the label that is shown, for messages, and the directory that it is shown in.
    title: (String, Vec<u8>),
    /// How many bytes may still be unwrapped only to be counted, in all that is shown at once.
    uncounted: u64,
    /// The files.
    pub entries: Vec<Entry>,
    /// The directories, which nothing may be in, and the number of the field that each is.
    pub folders: Vec<(Vec<u8>, usize)>,
    /// What is known of the sections that are directories, by where they are.
    pub sections: Vec<(Vec<u8>, Attributes)>,
    names: Names,
    /// Paths that are others', whatever is free beside them.
    pub reserved: Arc<HashSet<Vec<u8>>>,
    /// How many directories the paths of `entries` lie below the top of the file's tree.
    pub above: usize,
    /// Where the section lies that is shown, and whether only because a field refers to it.
    pub(super) own: Option<Reference>,
    pub(super) referred: bool,
    /// How many bytes of sections without labels may still be shown where a field refers to them.
    pub(super) unshown: u64,
    /// The field that is shown, and how many there were.
    pub(super) field: usize,
    fields: usize,
}

impl<'a> Shown<'a> {
    /// None yet.
    pub fn new(source: &'a Arc<Source>, file: &File) -> Shown<'a> {
        let version = file.header.version().unwrap_or(0);
        Shown {
            source,
            version,
            kept: Arc::default(),
            findings: Arc::default(),
            title: Default::default(),
            uncounted: COUNTED,
            entries: Vec::new(),
            folders: Vec::new(),
            sections: Vec::new(),
            names: Names::default(),
            reserved: Arc::default(),
            above: 0,
            own: None,
            referred: false,
            unshown: file.size,
            field: 0,
            fields: 0,
        }
    }

    /// `folder/name`, or its first twin that is free; taken from now on.
    pub(super) fn free(&mut self, folder: &[u8], name: &[u8], suffix: &str) -> Vec<u8> {
        let mut path = folder.to_vec();
        if !folder.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path.extend_from_slice(suffix.as_bytes());
        if self.reserved.contains(&path) {
            self.names.take(&path);
        }
        self.names.free(path)
    }

    fn put(
        &mut self,
        folder: &[u8],
        name: &[u8],
        suffix: &'static str,
        content: Content,
        mut attributes: Attributes,
    ) {
        attributes.sort();
        let path = self.free(folder, name, suffix);
        let (kind, field) = (Kind::File, self.field);
        self.entries.push(Entry { path, kind, content, attributes, suffix, field });
    }

    pub(super) fn bytes(
        &mut self,
        folder: &[u8],
        name: &[u8],
        suffix: &'static str,
        bytes: Vec<u8>,
        attributes: Attributes,
    ) {
        self.put(folder, name, suffix, Content::Bytes(bytes.into()), attributes);
    }

    pub(super) fn range(
        &mut self,
        folder: &[u8],
        name: &[u8],
        suffix: &'static str,
        range: Range<u64>,
        attributes: Attributes,
    ) {
        let content = Content::Range(self.source.clone(), range);
        self.put(folder, name, suffix, content, attributes);
    }

    /// The files of a section, in `folder`.
    pub fn section(&mut self, folder: &[u8], section: &Section, file: &File) -> Result<()> {
        self.folders.push((folder.to_vec(), self.field));
        let known = of_section("section", section.span.start.into(), Some(section.count().into()));
        self.sections.push((folder.to_vec(), known));
        for (n, item) in section.items.iter().enumerate() {
            self.value(folder, n.to_string().as_bytes(), item, file)?;
        }
        for field in &section.fields {
            self.fields += 1;
            self.field = self.fields;
            let name = component(&field.name);
            match field.reference() {
                _ if field.values.is_empty() => self.empty(folder, &name, field.span.start),
                Some(reference) if field.values.len() <= 3 => {
                    self.reference(folder, &name, &reference, file)?
                }
                _ => self.values(folder, &name, &field.values, file)?,
            }
        }
        if let Some(rest) = &section.rest {
            let start = rest.range.start;
            self.range(folder, b"section", ".rest", rest.range.clone(), attributes("rest".into(), start));
        }
        Ok(())
    }

    /// A name without a value: an empty file.
    pub fn empty(&mut self, folder: &[u8], name: &[u8], start: u64) {
        self.bytes(folder, name, "", Vec::new(), attributes("flag".into(), start));
    }

    /// All values of a field: in one file where each is a line.
    pub fn values(&mut self, folder: &[u8], name: &[u8], items: &[Item], file: &File) -> Result<()> {
        let lines: Option<Vec<Vec<u8>>> =
            items.iter().map(|item| show::line(&item.value, self.version)).collect();
        if let Some(lines) = lines {
            let mut text = lines.join(&b'\n');
            text.push(b'\n');
            let kinds: Vec<String> = items.iter().map(|item| item.value.kind()).collect();
            let mut attributes = attributes(kinds.join(","), items.first().map_or(0, |item| item.span.start));
            if items.len() > 1 {
                attributes.push(("user.vsf.count", items.len().to_string()));
            }
            self.bytes(folder, name, "", text, attributes);
            return Ok(());
        }
        items.iter().try_for_each(|item| self.value(folder, name, item, file))
    }

    fn value(&mut self, folder: &[u8], name: &[u8], item: &Item, file: &File) -> Result<()> {
        if let Some(mut line) = show::line(&item.value, self.version) {
            line.push(b'\n');
            self.bytes(folder, name, "", line, attributes(item.value.kind(), item.span.start));
            return Ok(());
        }
        let kind = item.value.kind();
        let whole = item.span.clone();
        match &item.value {
            Value::Tensor(tensor) => self.tensor(folder, name, tensor)?,
            Value::Packed(packed) => self.packed(folder, name, packed),
            Value::Section(section) => {
                let inner = self.free(folder, name, "");
                let outer = self.field;
                self.section(&inner, section, file)?;
                self.field = outer;
            }
            Value::Text(chars, data) => {
                let range = tail(&whole, data);
                let mut attributes = attributes(kind, range.start);
                attributes.push(("user.vsf.count", chars.to_string()));
                self.range(folder, name, ".x", range, attributes);
            }
            Value::Wrapped(wrapped) => self.wrapped(folder, name, &whole, wrapped)?,
            // Text that is too long to be held, and hashes that are.
            Value::Name(data) | Value::Ascii(_, data) => {
                let range = tail(&whole, data);
                let attributes = attributes(kind, range.start);
                self.range(folder, name, ".txt", range, attributes);
            }
            Value::Hash(s) | Value::Signature(s) | Value::Key(s) | Value::Mac(_, s) => {
                let range = tail(&whole, &s.data);
                let attributes = attributes(kind, range.start);
                self.range(folder, name, ".bin", range, attributes);
            }
            _ => {
                let attributes = attributes(kind, whole.start);
                self.range(folder, name, ".raw", whole, attributes);
            }
        }
        Ok(())
    }

    fn tensor(&mut self, folder: &[u8], name: &[u8], tensor: &Tensor) -> Result<()> {
        let Data::At(range) = tensor.data.clone() else { return Ok(()) };
        let mut attributes = vec![
            ("user.vsf.bits", tensor.element.bits().to_string()),
            ("user.vsf.count", tensor.count().to_string()),
            ("user.vsf.offset", range.start.to_string()),
            ("user.vsf.shape", list(&tensor.shape)),
            ("user.vsf.type", tensor.element.to_string()),
        ];
        attributes.extend(tensor.strides.as_deref().map(|strides| ("user.vsf.strides", list(strides))));
        let stored = Content::Range(self.source.clone(), range.clone());
        let order = arrays::order(tensor);
        let body = match (tensor.element, order) {
            _ if tensor.shape.len() > npy::MAX_RANK => None,
            (Element::Bool, Order::Rows) => Some(Content::Coded(Arc::new(Unpacked {
                source: self.source.clone(),
                range: range.clone(),
                bits: 1,
                width: 1,
                count: tensor.count(),
            }))),
            (_, Order::Rows | Order::Columns) => Some(stored.clone()),
            (_, Order::Other) => {
                let gathered = Gathered::new(self.source.clone(), self.kept.clone(), tensor);
                gathered.map(|g| Content::Coded(Arc::new(g)))
            }
        };
        match body {
            Some(body) => {
                let head = npy::head(&npy::dtype(tensor.element), &tensor.shape, order == Order::Columns);
                self.put(folder, name, ".npy", Content::Headed(head.into(), Arc::new(body), 0), attributes);
            }
            None => self.put(folder, name, ".bin", stored, attributes),
        }
        Ok(())
    }

    fn packed(&mut self, folder: &[u8], name: &[u8], packed: &Packed) {
        let Data::At(range) = packed.data.clone() else { return };
        let attributes = vec![
            ("user.vsf.bits", packed.bits.to_string()),
            ("user.vsf.count", packed.count().to_string()),
            ("user.vsf.offset", range.start.to_string()),
            ("user.vsf.shape", list(&packed.shape)),
            ("user.vsf.type", if packed.design { "bp" } else { "p" }.to_string()),
        ];
        let count = packed.count();
        let unpacked =
            npy::unpacked(packed.bits).filter(|(_, width)| count <= i64::MAX as u64 / *width as u64);
        if let Some((dtype, width)) = unpacked.filter(|_| packed.shape.len() <= npy::MAX_RANK) {
            let head = npy::head(dtype, &packed.shape, false);
            let (source, range) = (self.source.clone(), range.clone());
            let body = Unpacked { source, range, bits: packed.bits, width, count };
            let content = Content::Headed(head.into(), Arc::new(Content::Coded(Arc::new(body))), 0);
            self.put(folder, name, ".npy", content, attributes.clone());
        }
        self.range(folder, name, ".packed", range, attributes);
    }

    /// The wrapped bytes, and beside them what is in them where that can be told.
    fn wrapped(&mut self, folder: &[u8], name: &[u8], whole: &Range<u64>, wrapped: &Wrapped) -> Result<()> {
        let range = tail(whole, &wrapped.data);
        let attributes = attributes(format!("v{}", char::from(wrapped.code)), range.start);
        let path = self.told(folder, name);
        let wrapped = Wrapped { data: Data::At(range.clone()), ..wrapped.clone() };
        match self.inside(&wrapped, range.start) {
            Ok(Some(size)) => {
                let (source, kept, findings) =
                    (self.source.clone(), self.kept.clone(), self.findings.clone());
                let start = range.start;
                let content = Unwrapped { source, kept, wrapped, start, size, path, findings };
                let content = Content::Coded(Arc::new(content));
                self.put(folder, name, ".bin", content, attributes.clone());
            }
            Ok(None) => {}
            Err(Fault::Wrong(wrong)) => self.findings.add(not_unwrapped(&wrong, &path)),
            Err(Fault::Input(error)) => return Err(error),
        }
        self.range(folder, name, ".wrapped", range, attributes);
        Ok(())
    }

    /// A name for messages.
    pub(super) fn told(&self, folder: &[u8], name: &[u8]) -> String {
        let (title, base) = &self.title;
        let below = folder.strip_prefix(&base[..]).unwrap_or(folder);
        let parts = [title.as_bytes(), below, name];
        let parts = parts.map(String::from_utf8_lossy);
        parts
            .iter()
            .map(|part| part.trim_matches('/'))
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/")
    }

    /// How many bytes are wrapped: as is said, or as are found.
    fn inside(&mut self, wrapped: &Wrapped, start: u64) -> Parsed<Option<u64>> {
        let source = self.source.as_ref();
        let too_large = |n| Err(Fault::wrong(0, "vsf-too-large", format!("more than {n} bytes are wrapped")));
        match wrapped.declared(&source)? {
            Some(size) if size > UNWRAP => too_large(UNWRAP),
            Some(size) => Ok(Some(size)),
            None => {
                let limit = UNWRAP.min(self.uncounted);
                let count = || {
                    let mut counted = 0;
                    match wrapped.pour(&source, limit, &mut |piece| counted += piece.len() as u64) {
                        Ok(all) => Ok((Ok(all), counted)),
                        Err(Fault::Wrong(wrong)) => Ok((Err(wrong), counted)),
                        Err(input) => Err(input),
                    }
                };
                let (all, counted) = self.kept.counted(start, limit, count)?;
                self.uncounted -= counted.min(self.uncounted);
                all.map_err(Fault::Wrong)
            }
        }
    }
}

/// Where the bytes of a value lie, which are at its end.
fn tail(whole: &Range<u64>, data: &Data) -> Range<u64> {
    whole.end - data.len()..whole.end
}

/// What is known of every value: its type, and where in the file it or its bytes begin.
fn attributes(kind: String, offset: u64) -> Attributes {
    vec![("user.vsf.offset", offset.to_string()), ("user.vsf.type", kind)]
}

/// What is known of a section or blob: where it begins, and how many items it has.
fn of_section(kind: &str, offset: u128, count: Option<u128>) -> Attributes {
    let count = count.map(|n| ("user.vsf.count", n.to_string()));
    let place = [("user.vsf.offset", offset.to_string()), ("user.vsf.type", kind.to_string())];
    count.into_iter().chain(place).collect()
}

/// What a label says of its section or blob.
pub fn of_label(label: &Label) -> Attributes {
    let Some(reference) = &label.reference else { return Vec::new() };
    let kind = if label.kind() == super::file::Kind::Blob { "unboxed" } else { "section" };
    of_section(kind, reference.offset, reference.count)
}

/// The directories of `tree` that sections are; the first counts where two are one.
pub fn sections_in(tree: &Tree, sections: Vec<(Vec<u8>, Attributes)>) -> HashMap<NodeId, Attributes> {
    let mut found = HashMap::new();
    for (path, attributes) in sections {
        if let Some(node) = tree.find(&path).filter(|node| tree.node(*node).kind == Kind::Directory) {
            found.entry(node).or_insert(attributes);
        }
    }
    found
}

fn list(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Where a view hangs, and what its files bear.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The number of the directory.
    pub root: u64,
    /// The time of all files.
    pub time: Time,
    /// What tells this state of the file from others.
    pub identity: u64,
}

/// A section as a directory.
#[derive(Debug)]
pub struct View {
    tree: Tree,
    entries: Vec<Entry>,
    /// What is known of sections within the section.
    sections: HashMap<NodeId, Attributes>,
    /// About how much memory it takes.
    pub weight: usize,
}

impl View {
    /// The view of a label's section.
    pub fn new(
        source: &Arc<Source>,
        file: &File,
        label: &Label,
        place: Place,
        kept: &Arc<Kept>,
        findings: &Arc<Findings>,
    ) -> Result<View> {
        let mut shown = Shown::new(source, file);
        (shown.kept, shown.findings) = (kept.clone(), findings.clone());
        shown.above = 1 + path_of(&label.name).iter().filter(|b| **b == b'/').count();
        shown.label(b"", file, label)?;
        let mut builder = Builder::new(shown.entries.len());
        builder.hang_below(place.root);
        builder.top(place.time);
        for (folder, _) in shown.folders.iter().filter(|(folder, _)| !folder.is_empty()) {
            if let Ok(path) = SafePath::check(folder) {
                builder.directory(path, place.time, None)?;
            }
        }
        for (n, entry) in shown.entries.iter().enumerate() {
            // A path of too many levels is not shown; `section.json` has what is there.
            if let Ok(path) = SafePath::check(&entry.path) {
                builder.leaf(path, entry.leaf(n as u32, place))?;
            }
        }
        let held = |content: &Content| match content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Headed(head, ..) => head.len(),
            _ => 0,
        };
        let files = shown.entries.iter().map(|entry| ENTRY + entry.path.len() + held(&entry.content));
        let weight = files.sum::<usize>() + ENTRY * shown.folders.len();
        let tree = builder.finish().0;
        let mut sections = sections_in(&tree, shown.sections);
        sections.insert(Tree::ROOT, of_label(label));
        Ok(View { tree, entries: shown.entries, sections, weight })
    }
}

impl Shown<'_> {
    /// The files of a label's section, and its `section.json`, in `folder`.
    pub fn label(&mut self, folder: &[u8], file: &File, label: &Label) -> Result<()> {
        self.title = (label.title(), folder.to_vec());
        self.own = label.reference.clone();
        let body = file.section(self.source.as_ref(), label)?;
        file.oddities(label, &body).into_iter().for_each(|finding| self.findings.add(finding));
        self.with_json(folder, &body.section, file)
    }

    /// The files of the section that a label holds itself, and its `section.json`.
    pub fn inline(
        &mut self,
        folder: &[u8],
        name: &[u8],
        section: &Section,
        label: &Label,
        file: &File,
    ) -> Result<()> {
        let inner = self.free(folder, name, "");
        self.title = (label.title(), inner.clone());
        self.with_json(&inner, section, file)
    }

    fn with_json(&mut self, folder: &[u8], section: &Section, file: &File) -> Result<()> {
        if section.count() <= MANY {
            let json = show::pretty(&show::section(section, self.version));
            self.bytes(folder, b"section.json", "", json, Vec::new());
        } else {
            let text = format!("{} fields; there is no section.json", section.count());
            let (title, remedy) = (self.title.0.clone(), "nothing has to be done");
            self.findings.add(Finding::new(Severity::Notice, "vsf-large", title, text, remedy));
        }
        self.section(folder, section, file)
    }
}

/// The leaf of a file that is shown.
pub fn leaf(content: &Content, entry: u32, place: Place) -> Leaf {
    Leaf {
        size: content.size(),
        time: place.time,
        mode: 0o444,
        kind: Kind::File,
        entry,
        identity: place.identity,
    }
}

impl Branch for View {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        match self.tree.node(node).entry() {
            Some(entry) => Ok(self.entries[entry as usize].content.clone()),
            None => Err(Error::IsADirectory(self.tree.shown(node))),
        }
    }

    fn attributes(&self, node: NodeId) -> Attributes {
        let known = match self.tree.node(node).entry() {
            Some(entry) => Some(&self.entries[entry as usize].attributes),
            None => self.sections.get(&node),
        };
        known.cloned().unwrap_or_default()
    }
}
