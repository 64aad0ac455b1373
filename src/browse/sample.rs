//! The folder of one sample: everything that a project's database holds of it.
//!
//! ```text
//!   trace.csv  trace.npy  events.csv  events.deleted.csv   tables, rendered as they are read
//!   metadata.json                                          what is said about the sample, its assets and results
//!   results/<kind>.json                                    as it is stored, to the byte
//!   results/<kind>.csv                                     the same, where it is a table
//!   assets/<original name>                                 embedded files, and those beside the project
//!   thumbnail.png
//! ```
//!
//! It is made when somebody looks into it for the first time, from a few short reads. A part that is damaged is
//! told as a finding, and all others are there. What is stored of a dataset that does not exist is shown in the same way.
//!
//! Limits: of results together at most [`MAX_LOOKED_AT`] bytes are looked at for tables.

use std::sync::Arc;

use super::beside::Found;
use super::files::{As, Files};
use super::frame::Frame;
use super::names::{Names, last_component};
use super::shelf::{Origin, Shelf, Shelved, below};
use super::{asset, external};
use crate::database::{AssetInfo, Database, Outcome, Reference, Sample};
use crate::error::{Error, Result};
use crate::tree::{Branch, Content, Leaf, NodeId, Table, Time, Tree};

/// Bytes of results that are looked at when a folder is made.
const MAX_LOOKED_AT: u64 = 64 << 20;

/// What a file of a sample is.
#[derive(Debug)]
enum What {
    Rows(Arc<dyn Table>, As),
    Bytes(Arc<[u8]>),
    Thumbnail,
    Payload(Outcome),
    /// A result that is a table.
    Frame(Outcome),
    Asset(AssetInfo),
    Beside(Arc<Found>, AssetInfo),
}

/// The folder of a sample.
#[derive(Debug)]
pub struct Folder {
    database: Arc<Database>,
    files: Arc<Files>,
    sample: i64,
    shelved: Shelved<What>,
}

/// Where a folder is to be.
#[derive(Debug)]
pub struct Spot {
    /// The path from the top of the project.
    pub path: String,
    /// The number of its door.
    pub ino: u64,
    /// The time of all that is in it.
    pub time: Time,
}

/// An asset with the name that it is shown under.
#[derive(Debug)]
pub struct Named {
    /// The path in the folder; `None` for a file that is neither embedded nor beside the project.
    pub path: Option<String>,
    /// The file, where it is not embedded and lies beside the project.
    pub found: Option<Arc<Found>>,
    /// As what it is used.
    pub reference: Reference,
    /// What is said of it.
    pub info: AssetInfo,
}

impl Folder {
    /// Makes the folder of `sample`.
    pub fn new(database: &Arc<Database>, files: &Arc<Files>, sample: &Sample, spot: Spot) -> Result<Folder> {
        let mut shelf = Shelf::new(files.clone(), spot.path, spot.time, spot.ino);
        let id = sample.id;
        let mut rows = |name: &str, read: Result<Option<Arc<dyn Table>>>, how: As| -> Result<()> {
            match shelf.part(name, read)?.flatten() {
                Some(table) => shelf.file(name, Leaf::LATE, What::Rows(table, how)),
                None => Ok(()),
            }
        };
        rows("trace.csv", database.trace(id), As::Csv)?;
        rows("trace.npy", database.trace(id), As::Npy)?;
        rows("events.csv", database.events(id), As::Csv)?;
        rows("events.deleted.csv", deleted(database, id), As::Csv)?;
        let thumbnail = shelf.part("thumbnail.png", database.thumbnail(id))?.flatten();
        if let Some(png) = thumbnail.filter(|png| !png.is_empty()) {
            shelf.file("thumbnail.png", png.len() as u64, What::Thumbnail)?;
        }
        let results = shelf.part("results", database.results(id))?.unwrap_or_default();
        let shown = add_results(&mut shelf, database, &results)?;
        let at = format!("{}/assets", shelf.top());
        let assets = named(database, files, sample, ("assets", &at), &mut Names::default());
        let assets = shelf.part("assets", assets)?.unwrap_or_default();
        let all = add_assets(&mut shelf, &assets, |info, found| match found {
            Some(found) => What::Beside(found, info),
            None => What::Asset(info),
        })?;
        // The document names the files that are there.
        shelf.made_of(all);
        let metadata: Arc<[u8]> = super::metadata::of_sample(sample, &assets, &shown).into();
        shelf.file("metadata.json", metadata.len() as u64, What::Bytes(metadata))?;
        let (database, files) = (database.clone(), files.clone());
        Ok(Folder { database, files, sample: id, shelved: shelf.finish() })
    }

    /// The table that a result is.
    fn frame(&self, outcome: &Outcome, path: &str) -> Result<Arc<dyn Table>> {
        let payload = self.payload(outcome, path)?;
        let frame = Frame::of(&payload, path).ok_or_else(|| changed(path))?;
        Ok(Arc::new(frame.read_from(self.database.content().clone())))
    }

    fn payload(&self, outcome: &Outcome, path: &str) -> Result<Vec<u8>> {
        let payload = self.database.payload(outcome.id)?.unwrap_or_default();
        if payload.len() as u64 == outcome.payload_bytes { Ok(payload) } else { Err(changed(path)) }
    }
}

/// What is read now is not what was there when the folder was made.
fn changed(path: &str) -> Error {
    Error::damaged("rows-differ", path, "it is not what the database said before")
}

/// The events that are deleted, if there are any. Where nobody can tell, there is a file, which says why.
fn deleted(database: &Arc<Database>, id: i64) -> Result<Option<Arc<dyn Table>>> {
    let Some(table) = database.deleted_events(id)? else { return Ok(None) };
    Ok((table.rows()? > 0).then_some(table))
}

/// Puts the results onto the shelf, and gives each with the names of its files.
fn add_results(
    shelf: &mut Shelf<What>,
    database: &Database,
    results: &[Outcome],
) -> Result<Vec<(Outcome, Vec<String>)>> {
    let (mut names, mut looked_at) = (Names::default(), 0);
    let mut shown = Vec::new();
    for outcome in results {
        let path = below("results", &mut names, &format!("{}.json", outcome.kind));
        shelf.file(&path, outcome.payload_bytes, What::Payload(outcome.clone()))?;
        let mut paths = vec![path];
        looked_at += outcome.payload_bytes;
        if looked_at <= MAX_LOOKED_AT {
            let payload = shelf.part(&paths[0], database.payload(outcome.id))?.flatten();
            if payload.is_some_and(|payload| Frame::of(&payload, "").is_some()) {
                let path = below("results", &mut names, &format!("{}.csv", outcome.kind));
                shelf.file(&path, Leaf::LATE, What::Frame(outcome.clone()))?;
                paths.push(path);
            }
        }
        shown.push((outcome.clone(), paths));
    }
    Ok(shown)
}

/// The assets that a dataset uses, each with a name of its own among those of a folder, which findings call `at`.
pub fn named(
    database: &Arc<Database>,
    files: &Files,
    sample: &Sample,
    place: (&str, &str),
    names: &mut Names,
) -> Result<Vec<Named>> {
    with_names(database, files, (sample, database.references(sample.id)?), place, names)
}

/// The same of assets that are referred to as `references` say.
pub fn with_names(
    database: &Arc<Database>,
    files: &Files,
    (sample, references): (&Sample, Vec<Reference>),
    (folder, at): (&str, &str),
    names: &mut Names,
) -> Result<Vec<Named>> {
    let mut all = Vec::new();
    for reference in references {
        let Some(asset) = database.asset(reference.asset)? else { continue };
        let name = asset_name(sample, &reference, &asset.info);
        let is_embedded = asset.stored.is_some();
        let found = match files.around() {
            Some(around) if !is_embedded => around.find(&asset.info).map(Arc::new),
            _ => None,
        };
        if !is_embedded && found.is_none() {
            files.findings().add(external::not_found(&asset.info, at.to_string()));
        }
        let path = (is_embedded || found.is_some()).then(|| below(folder, names, &name));
        all.push(Named { path, found, reference, info: asset.info });
    }
    Ok(all)
}

/// Puts assets onto a shelf. Gives what the shelf is made of if all of them count: its time, and what tells it from any
/// other.
pub fn add_assets<W>(
    shelf: &mut Shelf<W>,
    assets: &[Named],
    what: impl Fn(AssetInfo, Option<Arc<Found>>) -> W,
) -> Result<Origin> {
    let own = shelf.origin();
    let mut all = blake3::Hasher::new();
    all.update(&own.1);
    let mut has_beside = false;
    for Named { path, found, info, .. } in assets {
        let Some(path) = path else { continue };
        let mut size = info.size_bytes.unwrap_or(Leaf::LATE);
        if let Some(found) = found {
            let identity = found.identity();
            all.update(&identity);
            let shown = *blake3::hash(&[own.1, identity].concat()).as_bytes();
            shelf.made_of((shelf.time_beside(found), shown));
            (size, has_beside) = (found.stamp.size, true);
        }
        shelf.file(path, size, what(info.clone(), found.clone()))?;
        shelf.made_of(own);
    }
    Ok(if has_beside { (own.0, *all.finalize().as_bytes()) } else { own })
}

/// What an asset was called: as it says itself, as the sample lists it, or after its role.
fn asset_name(sample: &Sample, reference: &Reference, info: &AssetInfo) -> String {
    let of_attachment = || {
        let listed = sample.attachments.iter().find(|a| a.role.as_deref() == Some(&reference.role))?;
        listed.filename.clone().or_else(|| listed.name.clone())
    };
    let of_snapshot = || {
        let path = sample.extra.as_ref()?.get("snapshot_path")?.as_str()?;
        matches!(reference.role.as_str(), "snapshot_tiff" | "tiff").then(|| path.to_string())
    };
    let is_name = |name: &String| !last_component(name).is_empty();
    let original = info.original_name.clone().filter(is_name);
    let of_place = || info.external.clone();
    let name = original
        .or_else(|| of_attachment().filter(is_name))
        .or_else(|| of_snapshot().filter(is_name))
        .or_else(|| of_place().filter(is_name));
    match name {
        Some(name) => last_component(&name).to_string(),
        None => format!("{}{}", reference.role, asset::suffix(info)),
    }
}

impl Branch for Folder {
    fn tree(&self) -> &Tree {
        &self.shelved.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        let (what, path) = (self.shelved.what(node)?, self.shelved.path(node));
        match what {
            What::Rows(table, how) => Ok(Content::Coded(self.files.open(&path, *how, || Ok(table.clone()))?)),
            What::Frame(outcome) => {
                Ok(Content::Coded(self.files.open(&path, As::Csv, || self.frame(outcome, &path))?))
            }
            What::Bytes(bytes) => Ok(Content::Bytes(bytes.clone())),
            What::Thumbnail => {
                let png = self.database.thumbnail(self.sample)?.unwrap_or_default();
                let size = self.tree().node(node).size();
                if png.len() as u64 == size { Ok(Content::Bytes(png.into())) } else { Err(changed(&path)) }
            }
            What::Payload(outcome) => Ok(Content::Bytes(self.payload(outcome, &path)?.into())),
            What::Asset(info) => asset::open(&self.database, &self.files, info.id, &path),
            What::Beside(found, _) => found.open(),
        }
    }

    fn size_in_part(&self, node: NodeId) -> u64 {
        self.files.size_in_part(&self.shelved.path(node))
    }

    fn known_size(&self, node: NodeId) -> Option<u64> {
        self.files.known_size(&self.shelved.path(node))
    }

    fn attributes(&self, node: NodeId) -> Vec<(&'static str, String)> {
        match self.shelved.what(node) {
            Ok(What::Asset(info) | What::Beside(_, info)) => asset::attributes(info),
            _ => Vec::new(),
        }
    }
}
