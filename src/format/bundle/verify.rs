//! Checks everything in a bundle: every snapshot through and through, and what lies beside them.

use super::Bundle;
use super::choose::not_valid;
use crate::error::{Error, Result};
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
    super::around::tell(bundle);
    Ok(())
}
