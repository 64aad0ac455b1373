//! `.vaso/history/`: every snapshot, by number and by time. Listing it opens none.
//!
//! A number and a time are also found as `-o snapshot=` and `-o at=` take them: `42` is `000042`, and a time is the newest
//! snapshot that looks valid and is no newer. Such names are not listed.

use std::collections::HashSet;
use std::sync::Arc;

use super::choose::Snapshot;
use super::stock::Stock;
use super::{CURRENT, VIEW};
use crate::error::{Error, Result};
use crate::tree::{Branch, Builder, Content, Kind, Leaf, NodeId, SafePath, Time, Tree, free_twin};

/// The number of the folder in the control folder.
const ROOT: u64 = 4;

/// All snapshots as folders.
#[derive(Debug)]
pub struct History {
    stock: Arc<Stock>,
    snapshots: Vec<Snapshot>,
    tree: Tree,
}

impl History {
    /// The history of a bundle.
    pub fn new(stock: Arc<Stock>, snapshots: Vec<Snapshot>) -> Result<History> {
        let mut builder = Builder::new(snapshots.len() * 6);
        builder.hang_below(ROOT);
        let mut taken = HashSet::new();
        // Of one second, the newest has the time for its name, as for `-o at=`.
        let mut name = |snapshot: &Snapshot| {
            let time = free_twin(&snapshot.time().utc(), |name| taken.contains(name));
            taken.insert(time.clone().into_bytes());
            time
        };
        let mut times: Vec<Option<String>> =
            snapshots.iter().rev().map(|snapshot| snapshot.number.map(|_| name(snapshot))).collect();
        times.reverse();
        for (i, (snapshot, time)) in snapshots.iter().zip(times).enumerate() {
            let (Some(number), Some(time)) = (snapshot.number, time) else { continue };
            for folder in [format!("{number:06}"), format!("at/{time}")] {
                let current = Leaf {
                    size: snapshot.file.size,
                    time: snapshot.time(),
                    mode: 0o444,
                    kind: Kind::File,
                    entry: i as u32,
                    identity: number,
                };
                builder.leaf(safe(&format!("{folder}/{CURRENT}"))?, current)?;
                builder.door(safe(&format!("{folder}/{VIEW}"))?, snapshot.time(), i as u32)?;
            }
        }
        Ok(History { stock, snapshots, tree: builder.finish().0 })
    }
}

fn safe(path: &str) -> Result<SafePath<'_>> {
    SafePath::check(path.as_bytes()).map_err(|e| Error::damaged("name", path, e.to_string()))
}

impl History {
    /// The folder of the newest snapshot that looks valid and is no newer than `time`.
    fn at(&self, time: Time) -> Option<NodeId> {
        let older = self.snapshots.iter().enumerate().rev().filter(|(_, snapshot)| snapshot.time() <= time);
        let (i, _) = older.into_iter().find(|(_, snapshot)| self.stock.glance(snapshot).is_ok())?;
        let folders = self.tree.find(b"at").into_iter().flat_map(|folder| self.tree.children(folder));
        let is_of = |folder: &NodeId| {
            let current = self.tree.child(*folder, CURRENT.as_bytes());
            current.and_then(|current| self.tree.node(current).entry()) == Some(i as u32)
        };
        folders.into_iter().find(is_of)
    }
}

impl Branch for History {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        match self.tree.node(node).entry() {
            Some(entry) => self.stock.content(&self.snapshots[entry as usize].file),
            None => Err(Error::IsADirectory(self.tree.shown(node))),
        }
    }

    fn other_name(&self, folder: NodeId, name: &[u8]) -> Option<NodeId> {
        let name = std::str::from_utf8(name).ok()?;
        if folder == Tree::ROOT && name.bytes().all(|b| b.is_ascii_digit()) {
            return self.tree.child(Tree::ROOT, format!("{:06}", name.parse::<u64>().ok()?).as_bytes());
        }
        (self.tree.find(b"at") == Some(folder))
            .then(|| Time::parse_last(name))
            .flatten()
            .and_then(|time| self.at(time))
    }

    fn behind(&self, node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        let it = self.tree.node(node);
        let snapshot = &self.snapshots[it.door()? as usize];
        Some(self.stock.view(snapshot, it.ino))
    }

    fn open_door(&self, node: NodeId) -> Option<Arc<dyn Branch>> {
        let it = self.tree.node(node);
        self.stock.open_view(&self.snapshots[it.door()? as usize], it.ino)
    }
}
