//! What is in a bundle.

use std::collections::BTreeMap;

use super::Bundle;
use crate::database::Database;
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::format::{Confirmed, Container, Dataset, Description};

/// Describes a bundle by its current snapshot.
pub fn describe(bundle: &Bundle) -> Description {
    let mut description = Description {
        source: bundle.source().path().display().to_string(),
        kind: bundle.kind(),
        version: None,
        id: identifier(bundle),
        title: None,
        current: bundle.current().map(|current| current.name),
        chosen_because: bundle.current().map(|current| current.because),
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
        bundle.findings().add(Finding::of_damage(&why).unwrap_or_else(|| {
            let remedy = "`vaso recover` shows what can be recovered";
            Finding::new(Severity::Error, "database-unreadable", "", why.to_string(), remedy)
        }));
    }
    super::around::tell(bundle);
    description.findings = bundle.findings().list();
    description
}

/// The project's identifier, which stands beside its snapshots.
fn identifier(bundle: &Bundle) -> Option<String> {
    let file = bundle.stock.files.find(b"project.meta.json")?;
    let bytes = bundle.stock.files.read(file, 1 << 20).ok()?;
    let meta: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some(meta.get("project_uuid")?.as_str()?.to_string())
}

fn database(bundle: &Bundle, description: &mut Description) -> Result<()> {
    let Ok(snapshot) = bundle.chosen() else { return Ok(()) };
    if bundle.confirm()? == Confirmed::Wrong {
        return Ok(());
    }
    let database = bundle.stock.database(snapshot)?;
    description.version = Some(database.user_version().to_string());
    description.title = database.meta()?.get("project_name").cloned();
    for (table, name) in
        [("trace", "trace_rows"), ("event", "events"), ("asset", "assets"), ("result", "results")]
    {
        if let Some(rows) = database.row_count(table)? {
            description.counts.insert(name, rows);
        }
    }
    let samples = database.samples(bundle.findings())?;
    description.counts.insert("samples", samples.iter().filter(|s| !s.of_project).count() as u64);
    for sample in samples.iter().filter(|sample| !sample.of_project) {
        description.datasets.push(dataset(&database, sample.id, &sample.experiment, &sample.name)?);
    }
    Ok(())
}

fn dataset(database: &Database, id: i64, experiment: &str, name: &str) -> Result<Dataset> {
    Ok(Dataset {
        id: id.to_string(),
        name: Some(format!("{experiment}/{name}")),
        modality: None,
        bytes: 0,
        files: database.references(id)?.len() as u64,
    })
}
