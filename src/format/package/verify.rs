//! Checks every byte of a package: each entry against its checksum, each blob against its digest, each
//! reference against the blobs.
//!
//! Entries are independent, so they are checked on all cores; only the outcome is in order.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::Package;
use crate::browse;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::format::views;
use crate::packed;
use crate::tree::{Kind, NodeId};

/// Reads everything. Findings go to the package's list; an error means that the source itself failed.
pub fn verify(package: &Package, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let tree = &package.tree;
    let files: Vec<NodeId> = tree.ids().filter(|id| tree.node(*id).entry().is_some()).collect();
    // Declared sizes may be absurd; the packed bytes are what there is to read.
    let packed = |id: &NodeId| package.entry(*id).map_or(0, |(_, e)| e.packed);
    let all = files.iter().map(packed).fold(0, u64::saturating_add);
    let (next, done, failed) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(None));
    let running = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || {
        let _out = Out(&running);
        while let Some(id) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = check(package, *id) {
                *failed.lock() = Some(error);
                stop.store(true, Ordering::Relaxed);
            }
            done.fetch_add(packed(id), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(files.len().max(1));
        running.store(threads, Ordering::Release);
        for _ in 0..threads {
            scope.spawn(work);
        }
        let mut waited = 0;
        while running.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(if waited < 20 { 1 } else { 50 }));
            waited += 1;
            progress(done.load(Ordering::Relaxed).min(all), all);
        }
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    references(package)?;
    events(package)?;
    look_inside(package)
}

/// Looks at what a mount shows of it: it has nothing to warn of that is not told here.
fn look_inside(package: &Package) -> Result<()> {
    // Of a bundle in a ZIP file the views are those of its database.
    if matches!(package.kind, super::kind::Kind::Container | super::kind::Kind::Share) {
        return Ok(());
    }
    let tree = &package.tree;
    let Some(door) = tree.ids().find(|id| tree.node(*id).door().is_some()) else { return Ok(()) };
    let at = tree.shown(door);
    match package.view(door) {
        Ok(view) => views::look_through(view.as_ref(), &at, views::Damage::IsTold, &package.findings),
        Err(why) => views::tell(&at, why, &package.findings),
    }
}

/// Counts a thread out, also one that panics: otherwise nobody would get to see the panic.
struct Out<'a>(&'a AtomicUsize);

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// One entry. What is wrong with it is a finding; only a source that fails altogether is an error.
fn check(package: &Package, id: NodeId) -> Result<()> {
    let outcome = package.packed(id).and_then(|entry| {
        let digest = package.recorded_sha256(id);
        let mut sha256 = digest.map(|_| Sha256::new());
        packed::decode_all(&entry, &package.findings, |piece| {
            if let Some(sha256) = &mut sha256 {
                sha256.update(piece);
            }
        })?;
        Ok(digest.zip(sha256))
    });
    match outcome {
        Ok(Some((recorded, sha256))) => {
            let found: String = sha256.finalize().iter().map(|b| format!("{b:02x}")).collect();
            if found != recorded {
                package.findings.add(Finding::new(
                    Severity::Error,
                    "digest-mismatch",
                    package.tree.shown(id),
                    format!("the blob's bytes have the SHA-256 {found}, not the one it is named by"),
                    "restore the blob from a backup or from the file it was made of",
                ));
            }
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(Error::Unsupported { what, .. }) => {
            // A refusal that the directory tells of is a finding already; this one came up while decoding.
            if package.entry(id)?.1.refusal.is_none() {
                let (path, remedy) = (package.tree.shown(id), "it is listed, and cannot be read here");
                package.findings.add(Finding::new(
                    Severity::Warning,
                    "unsupported-stream",
                    path,
                    what,
                    remedy,
                ));
            }
            Ok(())
        }
        Err(damaged @ Error::Damaged { .. }) => {
            package.note(&damaged);
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// Every `vaso://blobs/<digest>` has its blob, and every file beside the package is the one that is meant.
fn references(package: &Package) -> Result<()> {
    let tree = &package.tree;
    let Some(folder) = tree.find(b"datasets") else { return Ok(()) };
    let is_inside = |id: &NodeId| tree.node(tree.node(tree.node(*id).parent()).parent()).parent() == folder;
    let blobs = tree.ids().filter(is_inside).filter_map(|id| package.recorded_sha256(id));
    let blobs: HashSet<&str> = blobs.collect();
    for dataset in tree.children(folder) {
        let Some(id) = tree.child(dataset, b"refs.json") else { continue };
        if tree.node(id).kind != Kind::File || tree.node(id).size() > super::MAX_MANIFEST {
            continue;
        }
        let text = match package.read_whole(id) {
            Ok(text) => text,
            Err(changed @ Error::SourceChanged(_)) => return Err(changed),
            // A damaged entry is a finding already.
            Err(_) => continue,
        };
        let at = tree.shown(id);
        let Ok(text) = std::str::from_utf8(&text) else {
            package.findings.add(browse::references_invalid(&at));
            continue;
        };
        let has_blob = |digest: &str| blobs.contains(digest);
        for finding in browse::examine_references(text, package.source.location(), &at, has_blob) {
            package.findings.add(finding);
        }
    }
    Ok(())
}

/// Every line of the event stream is an event as the views take it, `NaN` and all. A torn last line loses that line only.
fn events(package: &Package) -> Result<()> {
    let Some(id) = package.tree.find(b"events/events.jsonl") else { return Ok(()) };
    if package.tree.node(id).kind != Kind::File || package.tree.node(id).size() > super::MAX_MANIFEST {
        return Ok(());
    }
    let text = match package.read_whole(id) {
        Ok(text) => text,
        Err(changed @ Error::SourceChanged(_)) => return Err(changed),
        Err(_) => return Ok(()),
    };
    for (i, line) in text.split(|b| *b == b'\n').enumerate() {
        let blank = line.iter().all(u8::is_ascii_whitespace);
        if !blank && !browse::is_event(line) {
            package.findings.add(Finding::new(
                Severity::Warning,
                "event-line-invalid",
                package.tree.shown(id),
                format!("line {} is not a JSON object", i + 1),
                "that event is lost; all other lines are kept",
            ));
        }
    }
    Ok(())
}
