//! The views of a project that is a database.
//!
//! ```text
//!   <experiment>/<sample>/     what sample.rs makes of it, when somebody looks
//!   attachments/               files of the project as a whole
//!   orphans/dataset-<id>/      rows whose dataset does not exist
//!   orphans/no-dataset/        rows of traces and events that name no dataset that there could be
//!   orphans/assets/            embedded files that nothing refers to
//!   project.json               the table `meta`
//!   experiments.json           experiments and samples, in the project's order, with the names they have here
//!   CACHEDIR.TAG
//! ```
//!
//! A sample in a subfolder stands with the others of its experiment; the documents name the subfolder. Everything
//! bears the time of the state that is shown, which its caller knows, but for the tag, which is two seconds newer than
//! all else in the project.
//!
//! To open it the rows of `dataset`, `meta`, `asset` and `ref` are read, and the numbers of datasets that rows belong
//! to; where any belong to none, they are counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::asset;
use super::beside::Found;
use super::external::Around;
use super::files::{As, Files};
use super::metadata::{self, Experiment};
use super::names::Names;
use super::rendered::Shared;
use super::sample::{Folder, Named, Spot, add_assets, named, with_names};
use super::shelf::{Shelf, Shelved};
use super::{NEWER, TAG, TAG_NAME};
use crate::database::json::{self, Entry};
use crate::database::{AssetInfo, Database, Reference, Sample};
use crate::error::Result;
use crate::finding::{Finding, Findings, Severity};
use crate::store::CacheFolder;
use crate::tree::{Branch, Cache, Content, Leaf, NodeId, Table, Time, Tree};

/// Where views stand, as findings and errors name it.
const TOP: &str = "browse";
/// The names at the top that no experiment gets.
const OWN: [&str; 5] = [TAG_NAME, "project.json", "experiments.json", "attachments", "orphans"];
/// Folders of samples that are kept.
const KEPT: usize = 4096;
/// Columns that are told by name.
const NAMED: usize = 10;

/// The views of a database.
#[derive(Debug)]
struct View {
    database: Arc<Database>,
    files: Arc<Files>,
    time: Time,
    /// All that are not of the project, then those that do not exist.
    samples: Vec<Sample>,
    shelved: Shelved<What>,
    folders: Cache<u32, Arc<dyn Branch>>,
}

#[derive(Debug)]
enum What {
    Bytes(Arc<[u8]>),
    Asset(AssetInfo),
    Beside(Arc<Found>, AssetInfo),
    Rows(Arc<dyn Table>),
}

/// The views of `database`, which are a function of it, of `what`, and of what lies around it.
pub fn database_view(
    database: Arc<Database>,
    what: super::What,
    around: Option<Around>,
    cache: Option<Arc<CacheFolder>>,
    findings: Arc<Findings>,
) -> Result<Arc<dyn Branch>> {
    let super::What { identity, time, newest, root } = what;
    let files = Arc::new(Files::new(Shared::new(identity, cache, findings)).with_around(around));
    tell_hidden(&database, files.findings());
    let mut shelf = Shelf::new(files.clone(), TOP.into(), time, root);
    let (of_project, mut samples): (Vec<Sample>, Vec<Sample>) =
        database.samples(files.findings())?.into_iter().partition(|sample| sample.of_project);
    let meta = shelf.part("project.json", database.meta())?.unwrap_or_default();
    let mut experiments = experiments(&meta, &samples);
    name_all(&mut experiments, &samples);
    for experiment in &experiments {
        shelf.directory(&experiment.folder)?;
        for (place, folder) in &experiment.samples {
            shelf.door(&format!("{}/{folder}", experiment.folder), *place as u32)?;
        }
    }
    let document = |bytes: Vec<u8>| (bytes.len() as u64, What::Bytes(bytes.into()));
    let (size, what) = document(metadata::of_experiments(&experiments, &samples));
    shelf.file("experiments.json", size, what)?;
    let (size, what) = document(metadata::of_project(database.user_version(), &meta));
    shelf.file("project.json", size, what)?;
    add_attachments(&mut shelf, &database, &files, &of_project)?;
    for id in shelf.part("orphans", database.orphans())?.into_iter().flat_map(|orphans| orphans.keys()) {
        let name = format!("dataset-{id}");
        shelf.door(&format!("orphans/{name}"), samples.len() as u32)?;
        samples.push(Sample { id: *id, name, ..Sample::default() });
    }
    add_strays(&mut shelf, &database, files.findings())?;
    add_unreferenced(&mut shelf, &database, &files)?;
    let tagged = Time { seconds: newest.max(time).seconds.saturating_add(NEWER), ..newest.max(time) };
    shelf.file_of_time(TAG_NAME, TAG.len() as u64, tagged, What::Bytes(TAG.into()))?;
    let (shelved, folders) = (shelf.finish(), Cache::new(KEPT));
    Ok(Arc::new(View { database, files, time, samples, shelved, folders }))
}

/// The rows that belong to no dataset that there could be. Of those in other tables no view has any.
fn add_strays(shelf: &mut Shelf<What>, database: &Arc<Database>, findings: &Findings) -> Result<()> {
    let Some(strays) = shelf.part("orphans/no-dataset", database.strays())?.filter(|s| !s.is_empty()) else {
        return Ok(());
    };
    for (table, name) in [("trace", "trace.csv"), ("event", "events.csv")] {
        let path = format!("orphans/no-dataset/{name}");
        if let Some(rows) = shelf.part(&path, database.stray_rows(table))?.flatten() {
            shelf.file(&path, Leaf::LATE, What::Rows(rows))?;
        }
    }
    let counts: Vec<String> = strays.iter().map(|(table, rows)| format!("{rows} of {table}")).collect();
    let what = format!(
        "rows that name no dataset by a whole number are in no sample: {}; those of traces and events are in \
         orphans/no-dataset",
        counts.join(", ")
    );
    let remedy = "open current.sqlite with SQLite to see all of them, and to give them their dataset_id";
    findings.add(Finding::new(Severity::Warning, "rows-without-dataset", TOP, what, remedy));
    Ok(())
}

/// The embedded files that nothing refers to.
fn add_unreferenced(shelf: &mut Shelf<What>, database: &Arc<Database>, files: &Files) -> Result<()> {
    let assets = shelf.part("orphans/assets", database.unreferenced_assets())?.unwrap_or_default();
    let reference = |info: &AssetInfo| {
        let role = if info.kind.is_empty() { format!("asset-{}", info.id) } else { info.kind.clone() };
        Reference { asset: info.id, role, note: None }
    };
    let references = assets.iter().map(reference).collect();
    let (sample, at) = (Sample::default(), format!("{TOP}/orphans/assets"));
    let assets =
        with_names(database, files, (&sample, references), ("orphans/assets", &at), &mut Names::default());
    let assets = shelf.part("orphans/assets", assets)?.unwrap_or_default();
    add_files(shelf, &assets)
}

/// Tells of the columns that no view has.
fn tell_hidden(database: &Database, findings: &Findings) {
    for (table, names) in database.hidden_columns() {
        let list = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = format!(
            "of the table {table}, these columns are in no view, since their names are no text: {list}{more}"
        );
        let remedy = "open current.sqlite with SQLite to see them";
        findings.add(Finding::new(Severity::Warning, "columns-not-shown", TOP, what, remedy));
    }
}

/// The experiments in the project's order: as it lists them, then those of samples, then those that only have a name.
fn experiments(meta: &std::collections::BTreeMap<String, String>, samples: &[Sample]) -> Vec<Experiment> {
    let text = |key: &str| meta.get(key).map_or("", String::as_str);
    let about = json::entries(text("experiments_meta")).unwrap_or_default();
    let order: Vec<String> =
        json::items(text("experiment_order")).into_iter().flatten().filter_map(json::said).collect();
    let names = about.iter().map(|entry| entry.name.as_str());
    let known: HashSet<&str> = names.chain(samples.iter().map(|sample| sample.experiment.as_str())).collect();
    let mut experiments: Vec<Experiment> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let listed = order.into_iter().filter(|name| known.contains(name.as_str()));
    let all = listed.chain(samples.iter().map(|sample| sample.experiment.clone()));
    for name in all.chain(about.iter().map(|entry| entry.name.clone())) {
        places.entry(name.clone()).or_insert_with(|| {
            experiments.push(Experiment { name, ..Experiment::default() });
            experiments.len() - 1
        });
    }
    for Entry { name, value: meta, .. } in about {
        experiments[places[&name]].meta = Some(meta.to_string());
    }
    for (place, sample) in samples.iter().enumerate() {
        experiments[places[&sample.experiment]].samples.push((place, String::new()));
    }
    experiments
}

/// Gives every experiment and every sample the name of its directory.
fn name_all(experiments: &mut [Experiment], samples: &[Sample]) {
    let mut names = Names::with(&OWN);
    for experiment in experiments {
        experiment.folder = names.give(&experiment.name);
        let mut names = Names::default();
        for (place, folder) in &mut experiment.samples {
            *folder = names.give(&samples[*place].name);
        }
    }
}

/// The files of the project as a whole.
fn add_attachments(
    shelf: &mut Shelf<What>,
    database: &Arc<Database>,
    files: &Files,
    of_project: &[Sample],
) -> Result<()> {
    let mut names = Names::default();
    let at = format!("{TOP}/attachments");
    for sample in of_project {
        let assets = named(database, files, sample, ("attachments", &at), &mut names);
        let assets = shelf.part("attachments", assets)?.unwrap_or_default();
        add_files(shelf, &assets)?;
    }
    Ok(())
}

fn add_files(shelf: &mut Shelf<What>, assets: &[Named]) -> Result<()> {
    let what = |info, found| match found {
        Some(found) => What::Beside(found, info),
        None => What::Asset(info),
    };
    add_assets(shelf, assets, what).map(drop)
}

impl Branch for View {
    fn tree(&self) -> &Tree {
        &self.shelved.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        let path = self.shelved.path(node);
        match self.shelved.what(node)? {
            What::Bytes(bytes) => Ok(Content::Bytes(bytes.clone())),
            What::Asset(info) => asset::open(&self.database, &self.files, info.id, &path),
            What::Beside(found, _) => found.open(),
            What::Rows(table) => Ok(Content::Coded(self.files.open(&path, As::Csv, || Ok(table.clone()))?)),
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

    fn behind(&self, node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        let door = self.tree().node(node).door()?;
        if let Some(folder) = self.folders.get(&door) {
            return Some(Ok(folder));
        }
        let sample = self.samples.get(door as usize)?;
        let spot = Spot { path: self.shelved.path(node), ino: self.tree().node(node).ino, time: self.time };
        let made = Folder::new(&self.database, &self.files, sample, spot).map(|folder| {
            let folder: Arc<dyn Branch> = Arc::new(folder);
            self.folders.insert(door, folder.clone(), 1);
            folder
        });
        Some(made)
    }

    fn open_door(&self, node: NodeId) -> Option<Arc<dyn Branch>> {
        self.folders.get(&self.tree().node(node).door()?)
    }
}
