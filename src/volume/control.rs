//! `.vaso/`: a folder for control at the root, not listed, reachable by name.
//!
//! Its numbers are below [`crate::tree::RESERVED`], which no project's node gets. A project that stores an
//! entry of that name keeps it, and ours is its twin `.vaso~2`, and so on. Whose a folder is, its number tells. What stands here is not the project's, so no backup
//! sees it.

use serde_json::json;

use super::{Attr, BLOCK, DIRECTORY_SIZE, Options, ROOT, Revision};
use crate::tree::{Kind, Time, Tree, free_twin};

/// The name of the folder, where the project does not have it.
const NAME: &str = ".vaso";
/// The folder's number.
pub const FOLDER: u64 = 2;
/// The status file's number.
pub const STATUS: u64 = 3;
/// The number of the folder of earlier states.
pub const HISTORY: u64 = 4;

/// The name that the folder has beside what the project stores: the first that is free.
fn own_name(revision: &Revision) -> String {
    free_twin(NAME, |name| revision.container.tree().child(Tree::ROOT, name).is_some())
}

/// A node of the folder, or the folder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// `.vaso/`
    Folder,
    /// `.vaso/status.json`
    Status,
    /// `.vaso/history/`, which is a branch of the project.
    History,
}

impl Control {
    /// What a number stands for here.
    pub fn of(ino: u64) -> Option<Control> {
        match ino {
            FOLDER => Some(Control::Folder),
            STATUS => Some(Control::Status),
            _ => None,
        }
    }

    /// Whether a name in a directory could stand for something here, told at no cost.
    pub fn may_be(parent: u64, name: &[u8]) -> bool {
        parent == FOLDER || (parent == ROOT && name.starts_with(NAME.as_bytes()))
    }

    /// What a name in a directory stands for here.
    pub fn find(parent: u64, name: &[u8], revision: &Revision) -> Option<Control> {
        match (parent, name) {
            (ROOT, name) if name == own_name(revision).as_bytes() => Some(Control::Folder),
            (FOLDER, b"status.json") => Some(Control::Status),
            (FOLDER, b"history") => Some(Control::History),
            _ => None,
        }
    }

    /// The bytes of a file; nothing for the folder.
    pub fn content(self, revision: &Revision) -> Vec<u8> {
        if self != Control::Status {
            return Vec::new();
        }
        let container = revision.container();
        let status = json!({
            "source": container.source().path().to_string_lossy(),
            "kind": container.kind(),
            "current": container.current().map(|current| current.name),
            "chosen_because": container.current().map(|current| current.because),
            "mode": "ro",
            "revision": revision.epoch,
            "base": null,
            "staged": [],
            "locks": [],
            "conflict": null,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        let mut text = serde_json::to_vec_pretty(&status).expect("plain values are JSON");
        text.push(b'\n');
        text
    }

    /// What `stat` says.
    pub fn attr(self, revision: &Revision, options: &Options) -> Attr {
        let (ino, kind, mode, links) = match self {
            Control::Folder => (FOLDER, Kind::Directory, 0o555, 2),
            Control::History => (HISTORY, Kind::Directory, 0o555, 2),
            Control::Status => (STATUS, Kind::File, 0o444, 1),
        };
        let size = match self {
            Control::Folder | Control::History => DIRECTORY_SIZE,
            Control::Status => self.content(revision).len() as u64,
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
