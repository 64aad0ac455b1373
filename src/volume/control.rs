//! `.vaso/`: a folder for control at the root, not listed, reachable by name.
//!
//! Its numbers are below [`crate::tree::RESERVED`], which no project's node gets. A project that stores an
//! entry of that name keeps it, and ours is its twin `.vaso~2`, and so on. Whose a folder is, its number tells.
//! What stands here is not the project's, so no backup sees it.
//!
//! Invariant: a number stands for one text. The kernel may open a file without asking and keep its pages, and a text
//! that grew under its number would be read with the old pages; so each new text gets the next of its numbers.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::{Attr, BLOCK, DIRECTORY_SIZE, Options, ROOT, Revision};
use crate::signs;
use crate::tree::{Kind, RESERVED, Time, Tree, free_twin};

/// The name of the folder, where the project does not have it.
const NAME: &str = ".vaso";
/// The folder's number.
pub const FOLDER: u64 = 2;
/// The number of the folder of earlier states.
pub const HISTORY: u64 = 4;
/// The numbers that the texts of `status.json` go round in.
const STATUS: [u64; 6] = [3, 5, 7, 9, 11, 13];
/// Those of `findings.jsonl`.
const FINDINGS: [u64; 5] = [6, 8, 10, 12, 14];

/// What is in the folder.
const INSIDE: [(&str, Control); 3] =
    [("status.json", Control::Status), ("findings.jsonl", Control::Findings), ("history", Control::History)];

/// The name that the folder has beside what the project stores: the first that is free.
fn own_name(revision: &Revision) -> String {
    free_twin(NAME, |name| revision.container.tree().child(Tree::ROOT, name).is_some())
}

/// The path of the folder of earlier states.
pub fn path_of_history(revision: &Revision) -> String {
    format!("{}/history", own_name(revision))
}

/// A node of the folder, or the folder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// `.vaso/`
    Folder,
    /// `.vaso/status.json`
    Status,
    /// `.vaso/findings.jsonl`
    Findings,
    /// `.vaso/history/`, which is a branch of the project.
    History,
}

impl Control {
    /// What a number stands for here.
    pub fn of(ino: u64) -> Option<Control> {
        match ino {
            FOLDER => Some(Control::Folder),
            RESERVED.. => None,
            n if STATUS.contains(&n) => Some(Control::Status),
            n if FINDINGS.contains(&n) => Some(Control::Findings),
            _ => None,
        }
    }

    /// Whether a name in a directory could stand for something here, told at no cost.
    pub fn may_be(parent: u64, name: &[u8]) -> bool {
        parent == FOLDER || (parent == ROOT && name.starts_with(NAME.as_bytes()))
    }

    /// What a name in a directory stands for here.
    pub fn find(parent: u64, name: &[u8], revision: &Revision) -> Option<Control> {
        match parent {
            ROOT if name == own_name(revision).as_bytes() => Some(Control::Folder),
            FOLDER => {
                Control::inside(revision).find(|(n, _)| n.as_bytes() == name).map(|(_, control)| control)
            }
            _ => None,
        }
    }

    /// What is in the folder of a project.
    pub fn inside(revision: &Revision) -> impl Iterator<Item = (&'static str, Control)> {
        let has_history = revision.container.history().is_some();
        INSIDE.into_iter().filter(move |(_, control)| *control != Control::History || has_history)
    }

    /// File or directory.
    pub fn kind(self) -> Kind {
        match self {
            Control::Folder | Control::History => Kind::Directory,
            Control::Status | Control::Findings => Kind::File,
        }
    }

    /// The file's text as it is now; none for a folder.
    fn text(self, revision: &Revision) -> Vec<u8> {
        match self {
            Control::Folder | Control::History => Vec::new(),
            Control::Status => status(revision),
            Control::Findings => findings(revision),
        }
    }

    /// What `stat` says of the number `ino`, whose text has `len` bytes.
    pub fn attr(self, ino: u64, len: usize, options: &Options) -> Attr {
        let kind = self.kind();
        let (mode, links, size) = match kind {
            Kind::Directory => (0o555, 2, DIRECTORY_SIZE),
            _ => (0o444, 1, len as u64),
        };
        Attr {
            ino,
            size,
            blocks: size.div_ceil(BLOCK),
            time: Time::default(),
            kind,
            mode: mode & !options.umask,
            links,
            uid: options.uid,
            gid: options.gid,
            lasting: false,
        }
    }
}

/// The texts that were given out last, by their numbers.
#[derive(Debug, Default)]
pub struct Texts {
    status: Mutex<Turns>,
    findings: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    texts: Vec<Arc<[u8]>>,
    now: usize,
}

impl Texts {
    /// The number that a name has now, and its text; and whether the number has stood for another one.
    pub fn now(&self, control: Control, revision: &Revision) -> (u64, Arc<[u8]>, bool) {
        let (turns, numbers) = match control {
            Control::Folder => return (FOLDER, Arc::from([]), false),
            Control::History => return (HISTORY, Arc::from([]), false),
            Control::Status => (&self.status, &STATUS[..]),
            Control::Findings => (&self.findings, &FINDINGS[..]),
        };
        let text = control.text(revision);
        let mut turns = turns.lock();
        if let Some(same) = turns.texts.get(turns.now).filter(|last| ***last == text[..]) {
            return (numbers[turns.now], same.clone(), false);
        }
        let text: Arc<[u8]> = text.into();
        let again = turns.texts.len() == numbers.len();
        if again {
            turns.now = (turns.now + 1) % numbers.len();
            let now = turns.now;
            turns.texts[now] = text.clone();
        } else {
            turns.now = turns.texts.len();
            turns.texts.push(text.clone());
        }
        (numbers[turns.now], text, again)
    }

    /// The text that a number stands for.
    pub fn of(&self, ino: u64) -> Option<Arc<[u8]>> {
        let place = |numbers: &[u64]| numbers.iter().position(|n| *n == ino);
        match (place(&STATUS), place(&FINDINGS)) {
            (Some(at), _) => self.status.lock().texts.get(at).cloned(),
            (_, Some(at)) => self.findings.lock().texts.get(at).cloned(),
            _ => None,
        }
    }
}

fn status(revision: &Revision) -> Vec<u8> {
    let container = revision.container();
    let [errors, warnings, notices] = container.findings().counts();
    // What cannot be looked at is no lock that anybody could name.
    let locks = signs::locks(container.source().location()).unwrap_or_default();
    let locks: Vec<_> = locks
        .iter()
        .map(|lock| json!({ "path": lock.path.to_string_lossy(), "live": lock.live, "pid": lock.pid, "host": lock.host }))
        .collect();
    let current = container.current();
    let status = json!({
        "source": container.source().path().to_string_lossy(),
        "kind": container.kind(),
        "current": current.as_ref().map(|current| &current.name),
        "chosen_because": current.as_ref().map(|current| &current.because),
        "checked": container.is_checked(),
        "mode": "ro",
        "revision": revision.epoch,
        "base": null,
        "staged": [],
        "locks": locks,
        "conflict": null,
        "findings": { "error": errors, "warning": warnings, "notice": notices },
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let mut text = serde_json::to_vec_pretty(&status).expect("plain values are JSON");
    text.push(b'\n');
    text
}

/// A line for each, in the order in which they came: so the file only grows.
fn findings(revision: &Revision) -> Vec<u8> {
    let mut text = Vec::new();
    for finding in revision.container().findings().as_they_came() {
        serde_json::to_writer(&mut text, &finding).expect("plain values are JSON");
        text.push(b'\n');
    }
    text
}
