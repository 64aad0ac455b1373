//! The views of a package.
//!
//! ```text
//!   <dataset>/channels.csv     as it is stored, but for its first line; from the Parquet, where there is no CSV
//!   <dataset>/channels.npy     from the Parquet
//!   <dataset>/events.csv       the dataset's own out of events/events.jsonl
//!   <dataset>/metadata.json    the dataset's documents, word for word
//!   <dataset>/assets/<name>    files that refs.json names: embedded ones, and those that lie beside the package
//!   orphans/events.csv         events of datasets that the package has not
//!   project.json               the manifest and the project's document
//!   CACHEDIR.TAG
//! ```
//!
//! Channels are called by their keys and their units, as the dataset's document has them (`inner_diam_um`).
//!
//! An asset is called what `rel_hint` says, else what its role is. Of files that are only referenced those are shown
//! that lie in the package's folder or below it (see `beside`); the others are told, and `metadata.json` names them. A
//! file bears the newest time of what it is made of, so that saving one dataset leaves the views of the others as they
//! were; one from beside the package bears none that is newer than all of the project.
//!
//! The package is asked for its tree and its files like by anybody else, and is not kept alive. To open the views one
//! document of each dataset and the events are read, and of a dataset whatever it has when somebody looks into its folder.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Weak};

use super::beside::{self, Found, Wanted};
use super::document::Document;
use super::files::{As, Files};
use super::lines::{Lines, Whose};
use super::names::Names;
use super::references::{self, Reference, Target};
use super::rendered::Shared;
use super::shelf::{Shelf, Shelved, below};
use super::units::Units;
use super::{NEWER, TAG, TAG_NAME};
use crate::database::json;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::store::{CacheFolder, Folder as Around, Location};
use crate::tree::{Branch, Cache, Content, Kind, Leaf, NodeId, Table, Time, Tree};

/// A document that is larger is none.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Folders of datasets that are kept.
const KEPT: usize = 4096;
/// The documents of a dataset, in the order in which they are shown.
const DOCUMENTS: [&str; 4] = ["dataset", "timebase", "qc", "rois"];

/// The package that is shown. It holds its views, so they do not hold it.
#[derive(Debug, Clone)]
struct Stored(Weak<dyn Branch>);

impl Stored {
    fn get(&self) -> Result<Arc<dyn Branch>> {
        self.0.upgrade().ok_or_else(|| Error::Busy("the package was closed".into()))
    }

    /// A file by its path, if it is there.
    fn file(&self, path: &str) -> Result<Option<(NodeId, u64)>> {
        let package = self.get()?;
        let tree = package.tree();
        let found = tree.find(path.as_bytes()).filter(|id| tree.node(*id).kind == Kind::File);
        Ok(found.map(|id| (id, tree.node(id).size())))
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        self.get()?.open(node)
    }

    /// The newest time and the identity of what lies at some paths, folders with all that is in them.
    fn state(&self, paths: &[&str]) -> Result<(Time, [u8; 32])> {
        let package = self.get()?;
        let tree = package.tree();
        let mut newest = None;
        let mut hasher = blake3::Hasher::new();
        let mut pending: Vec<NodeId> = paths.iter().filter_map(|path| tree.find(path.as_bytes())).collect();
        while let Some(id) = pending.pop() {
            let node = tree.node(id);
            hasher.update(&node.ino.to_le_bytes());
            if node.kind != Kind::Directory {
                newest = newest.max(Some(node.time()));
            }
            pending.extend(tree.children(id));
        }
        Ok((newest.unwrap_or_default(), *hasher.finalize().as_bytes()))
    }

    /// A document as text, if it is there. What is not UTF-8 is U+FFFD in it.
    fn document(&self, path: &str) -> Result<Option<String>> {
        Ok(self.bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The bytes of a document, if it is there.
    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some((node, size)) = self.file(path)? else { return Ok(None) };
        if size > MAX_DOCUMENT {
            let what = "it is larger than a document may be".to_string();
            return Err(Error::Unsupported { entry: path.to_string(), what });
        }
        let mut bytes = vec![0; size as usize];
        let n = self.open(node)?.read_at(0, &mut bytes)?;
        bytes.truncate(n);
        Ok(Some(bytes))
    }

    /// What findings call a file.
    fn shown(&self, path: &str) -> Result<String> {
        let package = self.get()?;
        let tree = package.tree();
        Ok(tree.find(path.as_bytes()).map_or_else(|| path.to_string(), |id| tree.shown(id)))
    }
}

/// The views of `package`, which are a function of it, of `what`, and of what lies beside its `location`.
pub fn package_view(
    package: Weak<dyn Branch>,
    location: &Location,
    what: super::What,
    cache: Option<Arc<CacheFolder>>,
    findings: Arc<Findings>,
) -> Result<Arc<dyn Branch>> {
    let super::What { identity, time, newest, root } = what;
    let (stored, files) = (Stored(package), Arc::new(Files::new(Shared::new(identity, cache, findings))));
    let mut shelf = Shelf::new(files.clone(), "browse".into(), time, root);
    let mut names = Names::with(&[TAG_NAME, "project.json", "orphans"]);
    let (mut datasets, mut ids) = (Vec::new(), HashSet::new());
    for folder in folders(stored.get()?.tree()) {
        let path = format!("datasets/{folder}/dataset.json");
        let about = shelf.part(&path, stored.document(&path))?.flatten();
        let name = about.as_deref().and_then(|about| text(about, "name")).filter(|name| !name.is_empty());
        let name = names.give(&name.unwrap_or_else(|| folder.clone()));
        shelf.door(&name, datasets.len() as u32)?;
        ids.insert(about.as_deref().and_then(identifier).unwrap_or_else(|| folder.clone()));
        datasets.push(folder);
    }
    let project = of_project(&shelf, &stored)?;
    shelf.made_of(stored.state(&["manifest.json", "project/project.json"])?);
    shelf.file("project.json", project.len() as u64, What::Bytes(project.into()))?;
    add_orphans(&mut shelf, &stored, &files, &ids)?;
    let newest = newest.max(time);
    let tagged = Time { seconds: newest.seconds.saturating_add(NEWER), ..newest };
    shelf.file_of_time(TAG_NAME, TAG.len() as u64, tagged, What::Bytes(TAG.into()))?;
    let (shelved, opened, around) = (shelf.finish(), Cache::new(KEPT), location.above().ok());
    Ok(Arc::new(View { stored, files, datasets, ids, shelved, opened, around, newest }))
}

/// Adds the events of datasets that are not there. Of events that cannot be read each dataset tells why.
fn add_orphans(shelf: &mut Shelf<What>, stored: &Stored, files: &Files, ids: &HashSet<String>) -> Result<()> {
    let Some((_, size)) = stored.file(EVENTS)?.filter(|(_, size)| *size > 0) else { return Ok(()) };
    if size > MAX_SEARCHED {
        let what = "it was not looked whether there are events of datasets that the package has not";
        let remedy = "no reason to act; the file is larger than is searched";
        files.findings().add(Finding::new(Severity::Notice, "events-not-searched", EVENTS, what, remedy));
        return Ok(());
    }
    let (count, named) = match orphans(stored, files, ids) {
        Ok(lines) => lines.counts(),
        Err(changed @ Error::SourceChanged(_)) => return Err(changed),
        Err(_) => (0, 0),
    };
    if count == 0 {
        return Ok(());
    }
    let own = shelf.origin();
    shelf.made_of(stored.state(&[EVENTS, "datasets"])?);
    shelf.file("orphans/events.csv", Leaf::LATE, What::Events)?;
    shelf.made_of(own);
    let what = format!(
        "{count} of its events name no dataset of the package; they are in orphans/events.csv of the views"
    );
    // Those that name none may be of the project as a whole.
    let (severity, remedy) = match named {
        0 => (Severity::Notice, "no reason to act, if they are of the project as a whole"),
        _ => (Severity::Warning, "give them the id of their dataset, or remove them"),
    };
    files.findings().add(Finding::new(severity, "events-without-dataset", EVENTS, what, remedy));
    Ok(())
}

fn orphans(stored: &Stored, files: &Files, ids: &HashSet<String>) -> Result<Lines> {
    let (node, _) = stored.file(EVENTS)?.ok_or_else(|| Error::NotFound(EVENTS.into()))?;
    let whose = Whose::Others(ids.clone());
    Lines::new(stored.open(node)?, EVENTS, whose, files.shared_findings())
}

/// The folders of datasets, in the order of their names.
fn folders(tree: &Tree) -> Vec<String> {
    let datasets = tree.find(b"datasets").into_iter().flat_map(|datasets| tree.children(datasets));
    let is_dataset = |id: &NodeId| tree.child(*id, b"dataset.json").is_some();
    datasets.filter(is_dataset).filter_map(|id| String::from_utf8(tree.name(id).to_vec()).ok()).collect()
}

/// A text in a document.
fn text(document: &str, key: &str) -> Option<String> {
    value(document, key).and_then(json::said)
}

/// What a dataset calls itself.
fn identifier(document: &str) -> Option<String> {
    value(document, "id").and_then(json::named)
}

/// What a document has under a key, as it stands there.
fn value<'a>(document: &'a str, key: &str) -> Option<&'a str> {
    json::entries(document)?.iter().find(|entry| entry.name == key).map(|entry| entry.value)
}

fn of_project(shelf: &Shelf<What>, stored: &Stored) -> Result<Vec<u8>> {
    let mut document = Document::default();
    document.begin('{');
    for (key, path) in [("manifest", "manifest.json"), ("project", "project/project.json")] {
        if let Some(text) = shelf.part(path, stored.document(path))?.flatten() {
            document.key(key).stored(&text);
        }
    }
    document.end('}');
    Ok(document.finish())
}

/// The views of a package.
#[derive(Debug)]
struct View {
    stored: Stored,
    files: Arc<Files>,
    /// The names of the datasets' folders.
    datasets: Vec<String>,
    /// What events call the datasets.
    ids: HashSet<String>,
    shelved: Shelved<What>,
    opened: Cache<u32, Arc<dyn Branch>>,
    /// The folder in which the package lies, if it can be opened.
    around: Option<Around>,
    /// The newest time of the project.
    newest: Time,
}

/// What a file is.
#[derive(Debug)]
enum What {
    Bytes(Arc<[u8]>),
    Stored(NodeId),
    Beside(Arc<Found>),
    /// Stored, with another beginning in the place of so many bytes.
    Begun(NodeId, Arc<[u8]>, u64),
    Channels(NodeId, As),
    Events,
}

/// The folder of a dataset.
#[derive(Debug)]
struct Folder {
    stored: Stored,
    files: Arc<Files>,
    id: String,
    units: Units,
    shelved: Shelved<What>,
}

impl Folder {
    fn new(view: &View, folder: &str, path: String, ino: u64) -> Result<Folder> {
        let (stored, files) = (view.stored.clone(), view.files.clone());
        let own = stored.state(&[&format!("datasets/{folder}")])?;
        let mut shelf = Shelf::new(files.clone(), path, own.0, ino);
        shelf.made_of(own);
        let mut documents = Vec::new();
        for name in DOCUMENTS {
            let path = format!("datasets/{folder}/{name}.json");
            documents.extend(shelf.part(&path, stored.document(&path))?.flatten().map(|text| (name, text)));
        }
        let about =
            |name: &str| documents.iter().find(|(key, _)| *key == name).map(|(_, text)| text.as_str());
        let units = Units::of(about("dataset").unwrap_or("{}"));
        let file = |name: &str| stored.file(&format!("datasets/{folder}/{name}"));
        let (csv, parquet) = (file("channels.csv")?, file("channels.parquet")?);
        let parquet = parquet.filter(|_| cfg!(feature = "parquet"));
        match (csv, parquet) {
            (Some((node, size)), _) => {
                let begun =
                    shelf.part("channels.csv", stored.open(node).and_then(|csv| units.on_csv(&csv)))?;
                match begun.flatten() {
                    Some((line, end)) => {
                        let size = size - end + line.len() as u64;
                        shelf.file("channels.csv", size, What::Begun(node, line.into(), end))?;
                    }
                    None => shelf.file("channels.csv", size, What::Stored(node))?,
                }
            }
            (None, Some((node, _))) => {
                shelf.file("channels.csv", Leaf::LATE, What::Channels(node, As::Csv))?
            }
            (None, None) => {}
        }
        if let Some((node, _)) = parquet {
            shelf.file("channels.npy", Leaf::LATE, What::Channels(node, As::Npy))?;
        }
        if stored.file(EVENTS)?.is_some() {
            shelf.made_of(stored.state(&[EVENTS])?);
            shelf.file("events.csv", Leaf::LATE, What::Events)?;
            shelf.made_of(own);
        }
        let id = about("dataset").and_then(identifier).unwrap_or_else(|| folder.to_string());
        let path = format!("datasets/{folder}/refs.json");
        let refs = shelf.part(&path, stored.bytes(&path))?.flatten().unwrap_or_else(|| b"[]".to_vec());
        let assets = Assets { view, folder, own, names: Names::default(), at: stored.shown(&path)? };
        let text = String::from_utf8_lossy(&refs);
        let assets = assets.add(&mut shelf, &text, matches!(text, Cow::Borrowed(_)))?;
        let metadata = of_dataset(&documents, &assets);
        shelf.file("metadata.json", metadata.len() as u64, What::Bytes(metadata.into()))?;
        Ok(Folder { stored, files, id, units, shelved: shelf.finish() })
    }

    /// The events of this dataset.
    fn events(&self) -> Result<Arc<dyn Table>> {
        let (node, _) = self.stored.file(EVENTS)?.ok_or_else(|| Error::NotFound(EVENTS.into()))?;
        let findings = self.files.shared_findings();
        let whose = Whose::Dataset(self.id.clone());
        Ok(Arc::new(Lines::new(self.stored.open(node)?, EVENTS, whose, findings)?))
    }
}

/// All events of a package.
const EVENTS: &str = "events/events.jsonl";
/// The size up to which they are searched for those of no dataset when the views are opened.
const MAX_SEARCHED: u64 = 64 << 20;

#[cfg(feature = "parquet")]
fn channels(content: Content, path: &str, findings: &Findings) -> Result<Arc<dyn Table>> {
    super::parquet::table(content, path, findings)
}

#[cfg(not(feature = "parquet"))]
fn channels(_: Content, path: &str, _: &Findings) -> Result<Arc<dyn Table>> {
    Err(Error::Unsupported { entry: path.to_string(), what: "this program was built without Parquet".into() })
}

/// The files that a dataset refers to.
struct Assets<'v> {
    view: &'v View,
    /// The dataset's folder, its time and its identity.
    folder: &'v str,
    own: (Time, [u8; 32]),
    names: Names,
    /// What findings call the document that names them.
    at: String,
}

impl Assets<'_> {
    fn tell(&self, finding: Finding) {
        self.view.files.findings().add(finding);
    }

    /// Puts them onto the shelf, and gives each reference with the path of its file. What is put there later is made of
    /// all of them. Of a document that is not right, what can be read of it counts.
    fn add<'a>(
        mut self,
        shelf: &mut Shelf<What>,
        document: &'a str,
        is_text: bool,
    ) -> Result<Vec<(&'a str, Option<String>)>> {
        let references = references::references(document).filter(|_| is_text).unwrap_or_else(|| {
            self.tell(references::invalid(&self.at));
            references::readable(document)
        });
        let (mut assets, mut shown) = (Vec::new(), blake3::Hasher::new());
        shown.update(&self.own.1);
        for reference in references {
            let path = match reference.target() {
                Target::Blob(digest) => self.add_blob(shelf, &reference, &digest)?,
                Target::Beside(wanted) => self.add_beside(shelf, &reference, &wanted, &mut shown)?,
                Target::Unknown(why) => {
                    self.tell(references::incomplete(&reference, why, &self.at));
                    None
                }
            };
            assets.push((reference.text, path));
        }
        if assets.iter().any(|(_, path)| path.is_some()) {
            shelf.made_of((self.own.0, *shown.finalize().as_bytes()));
        }
        Ok(assets)
    }

    fn add_blob(
        &mut self,
        shelf: &mut Shelf<What>,
        reference: &Reference<'_>,
        digest: &str,
    ) -> Result<Option<String>> {
        let Some((node, size)) = blob(&self.view.stored, self.folder, digest)? else {
            self.tell(references::blob_missing(digest, &self.at));
            return Ok(None);
        };
        let path = below("assets", &mut self.names, &reference.name());
        shelf.file(&path, size, What::Stored(node))?;
        Ok(Some(path))
    }

    fn add_beside(
        &mut self,
        shelf: &mut Shelf<What>,
        reference: &Reference<'_>,
        wanted: &Wanted,
        shown: &mut blake3::Hasher,
    ) -> Result<Option<String>> {
        let Some(around) = &self.view.around else { return Ok(None) };
        let Some(found) = beside::find(around, wanted) else {
            self.tell(references::not_found(wanted, &self.at));
            return Ok(None);
        };
        let identity = found.identity();
        shown.update(&identity);
        let (seconds, nanos) = found.stamp.mtime;
        let time = Time { seconds, nanos: nanos as u32 }.min(self.view.newest);
        let own = blake3::hash(&[self.own.1, identity].concat());
        let path = below("assets", &mut self.names, &reference.name());
        shelf.made_of((time, *own.as_bytes()));
        shelf.file(&path, found.stamp.size, What::Beside(Arc::new(found)))?;
        shelf.made_of(self.own);
        Ok(Some(path))
    }
}

/// A blob, in the dataset's own folder, in the shared one, or in that of any other dataset.
fn blob(stored: &Stored, folder: &str, digest: &str) -> Result<Option<(NodeId, u64)>> {
    for folder in [folder, "_shared"] {
        if let Some(found) = stored.file(&format!("datasets/{folder}/blobs/{digest}"))? {
            return Ok(Some(found));
        }
    }
    let package = stored.get()?;
    let tree = package.tree();
    let datasets = tree.find(b"datasets").into_iter().flat_map(|datasets| tree.children(datasets));
    let blobs = datasets.filter_map(|dataset| tree.child(dataset, b"blobs"));
    let mut found = blobs.filter_map(|blobs| tree.child(blobs, digest.as_bytes()));
    Ok(found.find(|id| tree.node(*id).kind == Kind::File).map(|id| (id, tree.node(id).size())))
}

fn of_dataset(documents: &[(&str, String)], assets: &[(&str, Option<String>)]) -> Vec<u8> {
    let mut document = Document::default();
    document.begin('{');
    for (name, text) in documents {
        document.key(name).stored(text);
    }
    document.key("assets").begin('[');
    for (reference, path) in assets {
        document.begin('{');
        document.key("file").maybe(path.as_deref());
        document.key("reference").stored(reference);
        document.end('}');
    }
    document.end(']');
    document.end('}');
    document.finish()
}

impl Branch for View {
    fn tree(&self) -> &Tree {
        &self.shelved.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        let path = self.shelved.path(node);
        match self.shelved.what(node)? {
            What::Bytes(bytes) => Ok(Content::Bytes(bytes.clone())),
            What::Events => {
                let table = || -> Result<Arc<dyn Table>> {
                    Ok(Arc::new(orphans(&self.stored, &self.files, &self.ids)?))
                };
                Ok(Content::Coded(self.files.open(&path, As::Csv, table)?))
            }
            _ => Err(Error::NotFound(path)),
        }
    }

    fn size_in_part(&self, node: NodeId) -> u64 {
        self.files.size_in_part(&self.shelved.path(node))
    }

    fn known_size(&self, node: NodeId) -> Option<u64> {
        self.files.known_size(&self.shelved.path(node))
    }

    fn behind(&self, node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        let it = self.tree().node(node);
        let door = it.door()?;
        if let Some(folder) = self.opened.get(&door) {
            return Some(Ok(folder));
        }
        let dataset = self.datasets.get(door as usize)?;
        let made = Folder::new(self, dataset, self.shelved.path(node), it.ino).map(|folder| {
            let folder: Arc<dyn Branch> = Arc::new(folder);
            self.opened.insert(door, folder.clone(), 1);
            folder
        });
        Some(made)
    }

    fn open_door(&self, node: NodeId) -> Option<Arc<dyn Branch>> {
        self.opened.get(&self.tree().node(node).door()?)
    }
}

impl Branch for Folder {
    fn tree(&self) -> &Tree {
        &self.shelved.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        let path = self.shelved.path(node);
        match self.shelved.what(node)? {
            What::Bytes(bytes) => Ok(Content::Bytes(bytes.clone())),
            What::Stored(node) => self.stored.open(*node),
            What::Beside(found) => found.open(),
            What::Begun(node, line, end) => {
                Ok(Content::Headed(line.clone(), Arc::new(self.stored.open(*node)?), *end))
            }
            What::Channels(node, how) => {
                let table = || {
                    let table = channels(self.stored.open(*node)?, &path, self.files.findings())?;
                    Ok(self.units.on_table(table))
                };
                Ok(Content::Coded(self.files.open(&path, *how, table)?))
            }
            What::Events => Ok(Content::Coded(self.files.open(&path, As::Csv, || self.events())?)),
        }
    }

    fn size_in_part(&self, node: NodeId) -> u64 {
        self.files.size_in_part(&self.shelved.path(node))
    }

    fn known_size(&self, node: NodeId) -> Option<u64> {
        self.files.known_size(&self.shelved.path(node))
    }
}
