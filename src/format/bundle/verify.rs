//! Checks everything in a bundle: every snapshot through and through, and what lies beside them.

use super::Bundle;
use super::choose::not_valid;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::format::Container;

/// Reads and checks all snapshots. `progress` is told bytes done and bytes in all.
pub fn verify(bundle: &Bundle, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    if let Some(package) = &bundle.package {
        package.verify(progress)?;
    }
    let mut snapshots: Vec<_> = bundle.candidates.every_one().cloned().collect();
    if snapshots.is_empty() {
        snapshots.extend(bundle.chosen().ok().cloned());
    }
    let all: u64 = snapshots.iter().map(|snapshot| snapshot.file.size).sum();
    let mut done = 0;
    for snapshot in &snapshots {
        match bundle.stock.examine(snapshot) {
            Ok(()) => {}
            Err(changed @ (Error::SourceChanged(_) | Error::Io { .. })) => return Err(changed),
            Err(why) => bundle.findings().add(not_valid(snapshot, &why)),
        }
        done += snapshot.file.size;
        progress(done, all);
    }
    if bundle.stock.options.raw || bundle.package.is_some() || bundle.kind() != "bundle" {
        return Ok(());
    }
    session(bundle)
}

/// What a session has left in the folder, or is at work on.
fn session(bundle: &Bundle) -> Result<()> {
    let folder = bundle.source().location().folder()?;
    for item in folder.list()? {
        match item.name.as_slice() {
            b".lock" => bundle.findings().add(Finding::new(
                Severity::Notice,
                "locked",
                ".lock",
                "the project is open in the application, or was when it ended without closing it",
                "no reason to act: reading needs no lock",
            )),
            b".staging" => {
                let staged = match folder.sub(b".staging") {
                    Ok(staging) => staging.list()?,
                    Err(_) => continue,
                };
                for file in staged.iter().filter(|item| item.name.ends_with(b".sqlite")) {
                    let name = String::from_utf8_lossy(&file.name).into_owned();
                    bundle.findings().add(Finding::new(
                        Severity::Warning,
                        "orphaned-staging",
                        format!(".staging/{name}"),
                        "a session's database, which may hold work that is in no snapshot",
                        "`vaso recover --list` tells what it holds; the application deletes it when it opens the \
                         project an hour later",
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
