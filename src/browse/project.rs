//! The views of a project that is a database.
//!
//! ```text
//!   <experiment>/<sample>/     what sample.rs makes of it, when somebody looks
//!   attachments/               files of the project as a whole
//!   orphans/dataset-<id>/      rows whose dataset does not exist
//!   project.json               the table `meta`
//!   experiments.json           experiments and samples, in the project's order, with the names they have here
//!   CACHEDIR.TAG
//! ```
//!
//! A sample in a subfolder stands with the others of its experiment; the documents name the subfolder. Everything
//! bears the time of the state that is shown, which its caller knows, but for the tag, which is two seconds newer than
//! all else in the project.
//!
//! To open it the rows of `dataset` and `meta` are read, and the numbers of datasets that rows belong to; nothing
//! else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::asset;
use super::beside::Found;
use super::external::Around;
use super::files::Files;
use super::metadata::{self, Experiment};
use super::names::Names;
use super::rendered::Shared;
use super::sample::{Folder, Spot, add_assets, named};
use super::shelf::{Shelf, Shelved};
use super::{NEWER, TAG, TAG_NAME};
use crate::database::json::{self, Entry};
use crate::database::{Database, Sample};
use crate::error::Result;
use crate::finding::{Finding, Findings, Severity};
use crate::store::CacheFolder;
use crate::tree::{Branch, Cache, Content, NodeId, Time, Tree};

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
    Asset(i64),
    Beside(Arc<Found>),
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
    for (id, _) in shelf.part("orphans", database.orphans())?.unwrap_or_default() {
        let name = format!("dataset-{id}");
        shelf.door(&format!("orphans/{name}"), samples.len() as u32)?;
        samples.push(Sample { id, name, ..Sample::default() });
    }
    let tagged = Time { seconds: newest.max(time).seconds.saturating_add(NEWER), ..newest.max(time) };
    shelf.file_of_time(TAG_NAME, TAG.len() as u64, tagged, What::Bytes(TAG.into()))?;
    let (shelved, folders) = (shelf.finish(), Cache::new(KEPT));
    Ok(Arc::new(View { database, files, time, samples, shelved, folders }))
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
        add_assets(shelf, &assets, |info, found| match found {
            Some(found) => What::Beside(found),
            None => What::Asset(info.id),
        })?;
    }
    Ok(())
}

impl Branch for View {
    fn tree(&self) -> &Tree {
        &self.shelved.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        match self.shelved.what(node)? {
            What::Bytes(bytes) => Ok(Content::Bytes(bytes.clone())),
            What::Asset(id) => asset::open(&self.database, &self.files, *id, &self.shelved.path(node)),
            What::Beside(found) => found.open(),
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
