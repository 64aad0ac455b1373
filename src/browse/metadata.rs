//! What a project says about itself, as documents for people: the columns of its rows, word for word where they are
//! JSON already, in the order in which they are stored.

use super::document::Document;
use super::sample::Named;
use crate::database::{Outcome, Sample};

/// `metadata.json` of a sample.
pub fn of_sample(sample: &Sample, assets: &[Named], results: &[(Outcome, Vec<String>)]) -> Vec<u8> {
    let mut document = Document::default();
    document.begin('{');
    document.key("name").text(&sample.name);
    document.key("experiment").text(&sample.experiment);
    document.key("subfolder").maybe(sample.subfolder.as_deref());
    document.key("dataset_id").integer(sample.id);
    document.key("created_utc").maybe(sample.created_utc.as_deref());
    document.key("notes").maybe(sample.notes.as_deref());
    for (key, value) in
        [("fps", sample.fps), ("pixel_size_um", sample.pixel_size_um), ("t0_seconds", sample.t0_seconds)]
    {
        match value {
            Some(value) => document.key(key).real(value),
            None => document.key(key).word("null"),
        }
    }
    match &sample.extra_text {
        Some(text) => document.key("extra").stored(text),
        None => document.key("extra").word("null"),
    }
    document.key("columns").begin('{');
    for (column, value) in &sample.other {
        document.key(column).stored(&value.to_string());
    }
    document.end('}');
    document.key("assets").begin('[');
    assets.iter().for_each(|asset| of_asset(&mut document, asset));
    document.end(']');
    document.key("results").begin('[');
    for (outcome, paths) in results {
        document.begin('{');
        document.key("kind").text(&outcome.kind);
        document.key("version").maybe(outcome.version.as_deref());
        document.key("created_utc").maybe(outcome.created_utc.as_deref());
        document.key("files").begin('[');
        paths.iter().for_each(|path| document.text(path));
        document.end(']');
        document.end('}');
    }
    document.end(']');
    document.end('}');
    document.finish()
}

fn of_asset(document: &mut Document, asset: &Named) {
    let Named { path, reference, info, .. } = asset;
    document.begin('{');
    document.key("file").maybe(path.as_deref());
    document.key("role").text(&reference.role);
    document.key("note").maybe(reference.note.as_deref());
    document.key("kind").text(&info.kind);
    document.key("original_name").maybe(info.original_name.as_deref());
    document.key("mime").maybe(info.mime.as_deref());
    match info.size_bytes {
        Some(size) => document.key("size_bytes").word(&size.to_string()),
        None => document.key("size_bytes").word("null"),
    }
    document.key("sha256").maybe(info.sha256.as_deref());
    if let Some(external) = &info.external {
        document.key("external").text(external);
    }
    document.end('}');
}

/// An experiment with its samples and the names that they are shown under.
#[derive(Debug, Default)]
pub struct Experiment {
    /// What it is called.
    pub name: String,
    /// The name of its directory.
    pub folder: String,
    /// What is said about it, as JSON.
    pub meta: Option<String>,
    /// The places of its samples among all, and the names of their directories.
    pub samples: Vec<(usize, String)>,
}

/// `experiments.json`.
pub fn of_experiments(experiments: &[Experiment], samples: &[Sample]) -> Vec<u8> {
    let mut document = Document::default();
    document.begin('[');
    for experiment in experiments {
        document.begin('{');
        document.key("name").text(&experiment.name);
        document.key("folder").text(&experiment.folder);
        match &experiment.meta {
            Some(meta) => document.key("meta").stored(meta),
            None => document.key("meta").word("null"),
        }
        document.key("samples").begin('[');
        for (place, folder) in &experiment.samples {
            let sample = &samples[*place];
            document.begin('{');
            document.key("name").text(&sample.name);
            document.key("folder").text(folder);
            document.key("subfolder").maybe(sample.subfolder.as_deref());
            match sample.experiment_index {
                Some(index) => document.key("experiment_index").integer(index),
                None => document.key("experiment_index").word("null"),
            }
            document.key("created_utc").maybe(sample.created_utc.as_deref());
            document.end('}');
        }
        document.end(']');
        document.end('}');
    }
    document.end(']');
    document.finish()
}

/// `project.json`: the version of the layout, and all of the table `meta`.
pub fn of_project(user_version: i64, meta: &std::collections::BTreeMap<String, String>) -> Vec<u8> {
    let mut document = Document::default();
    document.begin('{');
    document.key("user_version").integer(user_version);
    document.key("meta").begin('{');
    for (key, value) in meta {
        document.key(key).stored_or_text(value);
    }
    document.end('}');
    document.end('}');
    document.finish()
}
