//! What is in a package, for `vaso info`.

use super::document::Document;
use super::{Package, kind, method};
use crate::finding::{Finding, Severity};
use crate::format::{Dataset, Description};
use crate::tree::{Kind, NodeId, Tree};

/// Largest `dataset.json` that is read for its name.
const MAX_DOCUMENT: u64 = 1 << 20;

impl Package {
    /// Notes a version that this program does not know.
    pub(super) fn note_version(&self) {
        let Some(version) = self.version().filter(|_| self.kind == kind::Kind::Package) else { return };
        if version.split('.').next() != Some("1") {
            self.findings.add(Finding::new(
                Severity::Warning,
                "newer-version",
                "manifest.json",
                format!("the package declares version {version}; this program knows version 1"),
                "it is shown as it is stored, read-only; use a newer version of this program to change it",
            ));
        }
    }

    /// Notes that there are no events, which some programs want.
    pub(super) fn note_events(&self) {
        if self.kind == kind::Kind::Package && self.tree.find(b"events/events.jsonl").is_none() {
            // The design does not ask for the file; the application, which writes the schema's name, does.
            let named = self.manifest.as_ref().is_some_and(|m| m.schema.get().is_some());
            self.findings.add(Finding::new(
                if named { Severity::Warning } else { Severity::Notice },
                "events-missing",
                "events/events.jsonl",
                "the package has no events file; some programs refuse to open it",
                "add an empty events/events.jsonl",
            ));
        }
    }

    /// The version of the format that it declares.
    fn version(&self) -> Option<&str> {
        let manifest = self.manifest.as_ref()?;
        manifest.format_version.get().or_else(|| manifest.version.get())
    }
}

/// Reads the small documents; whatever cannot be read is left out, and is a finding already.
pub fn describe(package: &Package) -> Description {
    let manifest = package.manifest.clone().unwrap_or_default();
    let project = document(package, b"project/project.json").unwrap_or_default();
    let title = manifest.summary.title.owned().or_else(|| project.title.owned());
    let datasets = datasets(package);
    let tree = &package.tree;
    let stored = || tree.ids().filter(|id| tree.is_stored(*id));
    let count = |kind: Kind| stored().filter(|id| tree.node(*id).kind == kind).count() as u64;
    let blobs = tree.ids().filter(|id| package.recorded_sha256(*id).is_some()).count() as u64;
    let packed = tree.ids().filter_map(|id| tree.node(id).entry());
    let packed = packed.map(|i| package.entries[i as usize].packed).fold(0, u64::saturating_add);
    let counts = [
        ("records", package.records),
        ("shadowed_records", package.shadowed),
        ("files", count(Kind::File)),
        ("directories", count(Kind::Directory)),
        ("links", count(Kind::Link)),
        ("bytes", stored().map(|id| tree.node(id).size()).fold(0, u64::saturating_add)),
        ("packed_bytes", packed),
        ("datasets", datasets.len() as u64),
        ("blobs", blobs),
        ("events", events(package)),
    ];
    Description {
        source: package.source.path().display().to_string(),
        kind: package.kind.word(),
        version: package.version().map(str::to_string).filter(|_| package.kind == kind::Kind::Package),
        id: manifest.package_id.owned().or_else(|| manifest.id.owned()),
        title,
        current: None,
        chosen_because: None,
        counts: counts.into_iter().collect(),
        datasets,
        around: Default::default(),
        findings: package.findings.list(),
    }
}

fn document(package: &Package, path: &[u8]) -> Option<Document> {
    let id = package.tree.find(path)?;
    let node = package.tree.node(id);
    (node.kind == Kind::File && node.size() <= MAX_DOCUMENT).then_some(())?;
    serde_json::from_slice(&package.read_whole(id).ok()?).ok()
}

fn datasets(package: &Package) -> Vec<Dataset> {
    let tree = &package.tree;
    let Some(folder) = tree.find(b"datasets") else { return Vec::new() };
    let described = |id: &NodeId| tree.child(*id, b"dataset.json").is_some();
    let dataset = |id: NodeId| {
        let path = [&tree.path(id)[..], b"/dataset.json"].concat();
        let document = document(package, &path).unwrap_or_default();
        let (files, bytes) = weigh(tree, id);
        let folder_name = String::from_utf8_lossy(tree.name(id)).into_owned();
        Dataset {
            id: document.id.owned().unwrap_or(folder_name),
            name: document.name.owned(),
            modality: document.modality.owned(),
            bytes,
            files,
        }
    };
    tree.children(folder).filter(described).map(dataset).collect()
}

/// Files and bytes below a directory.
fn weigh(tree: &Tree, top: NodeId) -> (u64, u64) {
    let mut below = vec![top];
    let (mut files, mut bytes) = (0, 0u64);
    while let Some(id) = below.pop() {
        match tree.node(id).kind {
            Kind::Directory => below.extend(tree.children(id)),
            _ => (files, bytes) = (files + 1, bytes.saturating_add(tree.node(id).size())),
        }
    }
    (files, bytes)
}

/// Complete lines of the event stream.
fn events(package: &Package) -> u64 {
    let Some(id) = package.tree.find(b"events/events.jsonl") else { return 0 };
    let Ok(packed) = package.packed(id) else { return 0 };
    let (mut lines, mut open) = (0, false);
    let count = |piece: &[u8]| {
        for b in piece {
            match b {
                b'\n' => (lines, open) = (lines + u64::from(open), false),
                b' ' | b'\r' | b'\t' => {}
                _ => open = true,
            }
        }
    };
    match crate::packed::decode_all(&packed, &package.findings, count) {
        Ok(()) => lines + u64::from(open),
        Err(_) => 0,
    }
}

/// The extended attributes of an entry.
pub fn attributes(package: &Package, id: NodeId) -> Vec<(&'static str, String)> {
    let Ok((_, entry)) = package.entry(id) else { return Vec::new() };
    let mut list = vec![
        ("user.vaso.crc32", format!("{:08x}", entry.crc)),
        ("user.vaso.method", method::name(entry.method)),
    ];
    if let Ok(range) = package.locate(id) {
        list.push(("user.vaso.offset", range.start.to_string()));
    }
    list.push(("user.vaso.packed_size", entry.packed.to_string()));
    if let Some(digest) = package.recorded_sha256(id) {
        list.push(("user.vaso.sha256", digest.to_string()));
    }
    list
}
