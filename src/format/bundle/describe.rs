//! What is in a bundle.

use std::collections::BTreeMap;

use super::{Bundle, is_single, meta};
use crate::browse;
use crate::database::Counted;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::format::{Confirmed, Container, Dataset, Description};

/// Describes a bundle by its current snapshot.
pub fn describe(bundle: &Bundle) -> Description {
    let mut description = Description {
        source: bundle.source().path().display().to_string(),
        kind: bundle.kind(),
        version: None,
        id: meta::identifier(&bundle.stock.files),
        title: None,
        current: None,
        chosen_because: None,
        counts: BTreeMap::new(),
        datasets: Vec::new(),
        around: bundle.around().clone(),
        findings: Vec::new(),
    };
    let snapshots = bundle.candidates.all().count() as u64;
    if snapshots > 0 {
        description.counts.insert("snapshots", snapshots);
    }
    description.counts.insert("files", bundle.stock.files.list.len() as u64);
    description.counts.insert("bytes", bundle.stock.files.list.iter().map(|file| file.size).sum());
    if let Err(why) = database(bundle, &mut description) {
        match (bundle.chosen(), is_single(bundle.kind)) {
            (Ok(snapshot), true) => bundle.tell_invalid(snapshot, &why),
            _ => unreadable(bundle, &why),
        }
    }
    // Now that it was looked at.
    if let Some(current) = bundle.current() {
        (description.current, description.chosen_because) = (Some(current.name), Some(current.because));
    }
    super::around::tell(bundle);
    description.findings = bundle.findings().list();
    description
}

/// That the current snapshot could not be described.
fn unreadable(bundle: &Bundle, why: &Error) {
    bundle.findings().add(Finding::of_damage(why).unwrap_or_else(|| {
        let remedy = "`vaso recover` shows what can be recovered";
        Finding::new(Severity::Error, "database-unreadable", "", why.to_string(), remedy)
    }));
}

fn database(bundle: &Bundle, description: &mut Description) -> Result<()> {
    let Ok(snapshot) = bundle.chosen() else { return Ok(()) };
    if bundle.confirm()? == Confirmed::Wrong {
        return Ok(());
    }
    // Nothing is chosen where there is but one, so nobody has looked at it yet.
    if is_single(bundle.kind)
        && let Err(why @ Error::Damaged { .. }) = bundle.stock.check(snapshot)
    {
        bundle.tell_invalid(snapshot, &why);
    }
    let database = bundle.stock.database(snapshot)?;
    description.version = Some(database.user_version().to_string());
    // Each part by itself: what is wrong with one says nothing about the others.
    let part = |what: &str, why: Error| {
        let remedy = "`vaso recover` shows what can be recovered";
        let path = super::files::shown(&snapshot.file.path);
        let told = format!("{what} cannot be told: {why}");
        bundle.findings().add(Finding::new(
            Severity::Error,
            "database-partly-unreadable",
            path,
            told,
            remedy,
        ));
    };
    match database.meta() {
        Ok(meta) => description.title = meta.get("project_name").cloned(),
        Err(why) => part("what is said of the project", why),
    }
    for (table, name) in
        [("trace", "trace_rows"), ("event", "events"), ("asset", "assets"), ("result", "results")]
    {
        match database.row_count(table) {
            Ok(rows) => drop(rows.map(|rows| description.counts.insert(name, rows))),
            Err(why) => part(&format!("the number of rows in `{table}`"), why),
        }
    }
    // What is not embedded is not held by the project, whether it lies beside it or not.
    match database.external_assets() {
        Ok(external) if external.is_empty() => {}
        Ok(external) => {
            let count = external.len() as u64;
            description.counts.insert("external_assets", count);
            description.counts.entry("assets").and_modify(|assets| *assets = assets.saturating_sub(count));
        }
        Err(why) => part("what files are not embedded", why),
    }
    let path = super::files::shown(&snapshot.file.path);
    let amiss = browse::examine_external(&database, bundle.source().location(), false, &path);
    amiss.unwrap_or_default().into_iter().for_each(|finding| bundle.findings().add(finding));
    let samples = database.samples(bundle.findings())?;
    let samples: Vec<_> = samples.iter().filter(|sample| !sample.of_project).collect();
    description.counts.insert("samples", samples.len() as u64);
    let files = database.file_counts().unwrap_or_else(|why| {
        part("what files belong to samples", why);
        BTreeMap::new()
    });
    for sample in samples {
        let Counted { files, bytes } = files.get(&sample.id).copied().unwrap_or_default();
        let name = Some(format!("{}/{}", sample.experiment, sample.name));
        description.datasets.push(Dataset { id: sample.id.to_string(), name, modality: None, bytes, files });
    }
    Ok(())
}
