//! Looks at what a mount shows of a project beside its own files, so that `verify` tells all that a mount would.
//!
//! The folder of each sample is made, and then its tables are rendered: that a text is no UTF-8, or that a number is
//! rounded, is known when it is met. A table of a database that cannot be rendered is damaged where it is stored, and
//! whoever checks the stored bytes tells that; the stored bytes of a file that is a table by itself are just what they
//! were when they were written, and what is wrong with them is told here.
//!
//! Limits: so many folders, and so long; a table that was begun is read to its end if its size has to be found out. What
//! was not looked at is said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::tree::{Branch, NodeId};

/// Folders of samples that are looked into, and for how long at most.
const FOLDERS: usize = 1000;
const LOOK: Duration = Duration::from_secs(60);
/// For how long their tables are rendered.
const RENDER: Duration = Duration::from_secs(60);

/// Who looks for what is wrong with the bytes that tables are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Nobody else.
    IsTold,
    /// Whoever checks the database.
    IsToldElsewhere,
}

/// Looks into `view`, which findings call `top`.
pub fn look_through(view: &dyn Branch, top: &str, damage: Damage, findings: &Findings) -> Result<()> {
    let (tree, begun) = (view.tree(), Instant::now());
    let folders: Vec<NodeId> = tree.ids().filter(|id| tree.node(*id).door().is_some()).collect();
    let mut tables: Vec<(Arc<dyn Branch>, NodeId, String)> = Vec::new();
    for (seen, folder) in folders.iter().enumerate() {
        if seen == FOLDERS || begun.elapsed() > LOOK {
            let what = format!("only {seen} of its {} samples were looked into", folders.len());
            let remedy = "no reason to act: their rows were checked; look at the others in a mount";
            findings.add(Finding::new(Severity::Notice, "looked-at-in-part", top, what, remedy));
            break;
        }
        match view.behind(*folder) {
            Some(Ok(made)) => {
                let inside = made.tree();
                let late = inside.ids().filter(|id| inside.node(*id).is_late());
                let path = |id| format!("{top}/{}/{}", tree.shown(*folder), inside.shown(id));
                tables.extend(late.map(|id| (made.clone(), id, path(id))));
            }
            Some(Err(why)) => tell(&format!("{top}/{}", tree.shown(*folder)), why, findings)?,
            None => {}
        }
    }
    let until = Instant::now() + RENDER;
    for (seen, (folder, table, path)) in tables.iter().enumerate() {
        let is_done = match render(folder.as_ref(), *table, until) {
            Ok(is_done) => is_done,
            Err(changed @ Error::SourceChanged(_)) => return Err(changed),
            Err(why) => {
                if damage == Damage::IsTold {
                    findings.refused(path, &why);
                }
                true
            }
        };
        if !is_done {
            let what =
                format!("only {seen} of its {} tables were read through as they are shown", tables.len());
            let remedy = "no reason to act: the rows were checked as they are stored";
            findings.add(Finding::new(Severity::Notice, "looked-at-in-part", top, what, remedy));
            break;
        }
    }
    Ok(())
}

/// Reads a rendered file, and says whether there was time for all of it.
fn render(folder: &dyn Branch, file: NodeId, until: Instant) -> Result<bool> {
    let mut piece = vec![0; 1 << 18];
    let mut at = 0;
    let mut content = None;
    while Instant::now() < until {
        let read = match &content {
            None => folder.open(file).map(|opened| content = Some(opened)).map(|()| None),
            Some(content) => content.read_at(at, &mut piece).map(Some),
        };
        match read {
            Ok(Some(0)) => return Ok(true),
            Ok(n) => at += n.unwrap_or(0) as u64,
            Err(why) => return Err(why),
        }
    }
    Ok(false)
}

/// Makes a finding of what cannot be shown at `at`; that the source changed ends it all.
pub fn tell(at: &str, why: Error, findings: &Findings) -> Result<()> {
    match why {
        changed @ Error::SourceChanged(_) => return Err(changed),
        Error::Unsupported { what, .. } => {
            let remedy = "open the project with the application";
            findings.add(Finding::new(Severity::Warning, "not-shown", at, what, remedy));
        }
        other => findings.refused(at, &other),
    }
    Ok(())
}
