//! Open directories: what is in them, in the order of names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::control::{self, Control};
use super::{Attr, Invalidation, Part, ROOT, Revision, Volume, settled};
use crate::error::{Error, Result};
use crate::tree::{Kind, NodeId};

/// An open directory: its listing is that of one revision from beginning to end.
#[derive(Debug)]
pub struct Listing(Listed);

#[derive(Debug)]
enum Listed {
    Node { part: Arc<Part>, node: NodeId },
    Control(Arc<Revision>),
}

impl Volume {
    /// Opens a directory.
    pub fn opendir(&self, ino: u64) -> Result<Listing> {
        self.settling(|| self.list_of(ino))
    }

    fn list_of(&self, ino: u64) -> Result<Listing> {
        match Control::of(ino) {
            Some(Control::Folder) => return Ok(Listing(Listed::Control(self.current()))),
            Some(_) => return Err(Error::NotADirectory(format!("number {ino}"))),
            None => {}
        }
        let (part, node) = self.resolve(ino)?;
        match part.tree().node(node).kind {
            Kind::Directory => {
                let (part, node) = self.enter(part, node)?;
                Ok(Listing(Listed::Node { part, node }))
            }
            _ => Err(part.not_a_directory(node)),
        }
    }

    /// The same, if it takes no longer than a look into tables; `None` where a door has to be opened first.
    pub fn opendir_at_once(&self, ino: u64) -> Option<Result<Listing>> {
        let shut =
            Control::of(ino).is_none() && self.resolve(ino).is_ok_and(|(part, node)| part.is_shut(node));
        if shut { None } else { settled(self.list_of(ino)) }
    }

    /// The end of a listing. What the kernel has kept of one that was overtaken by a change is dropped again.
    pub fn closedir(&self, ino: u64, listing: &Listing) {
        let Listed::Node { part, .. } = &listing.0 else { return };
        if part.revision.replaced.load(Ordering::Acquire) {
            self.send(vec![Invalidation::Inode(ino)]);
        }
    }

    /// Calls `each` with number, next offset, kind and name of the entries from `offset` on, `.` and `..`
    /// first, until it says that it is full.
    pub fn readdir(
        &self,
        listing: &Listing,
        offset: u64,
        mut each: impl FnMut(u64, u64, Kind, &[u8]) -> bool,
    ) {
        let (own, above) = match &listing.0 {
            Listed::Node { part, node } => (part.number(*node), part.parent_number(*node).unwrap_or(ROOT)),
            Listed::Control(_) => (control::FOLDER, ROOT),
        };
        let dots = [(&b"."[..], own), (b"..", above)];
        for (i, (name, ino)) in dots.into_iter().enumerate().skip(offset.min(2) as usize) {
            if each(ino, i as u64 + 1, Kind::Directory, name) {
                return;
            }
        }
        match &listing.0 {
            Listed::Node { part, node } => {
                let tree = part.tree();
                for index in offset.saturating_sub(2).. {
                    let Some(id) = tree.child_at(*node, index) else { return };
                    if each(part.number(id), index + 3, tree.node(id).kind, tree.name(id)) {
                        return;
                    }
                }
            }
            Listed::Control(revision) => {
                let left = (3..).zip(Control::inside(revision)).skip(offset.saturating_sub(2) as usize);
                for (next, (name, control)) in left {
                    let ino = self.control(control, revision).ino;
                    if each(ino, next, control.kind(), name.as_bytes()) {
                        return;
                    }
                }
            }
        }
    }

    /// Like [`Volume::readdir`], with attributes. `each` says whether it is full, and then the entry was not
    /// taken. The kernel holds a reference to what was taken, except `.` and `..`.
    pub fn readdir_plus(
        &self,
        listing: &Listing,
        offset: u64,
        mut each: impl FnMut(&Attr, u64, &[u8]) -> bool,
    ) {
        let (part, node) = match &listing.0 {
            Listed::Node { part, node } => (part, node),
            Listed::Control(revision) => {
                return self.readdir_plus_of_control(revision, listing, offset, each);
            }
        };
        let tree = part.tree();
        self.readdir(listing, offset, |ino, next, _, name| {
            if next <= 2 {
                // The kernel takes nothing but the number of these two.
                return each(&self.attr_as_listed(part, *node, ino), next, name);
            }
            let id = tree.child_at(*node, next - 3).expect("the entry that readdir is at");
            let ino = self.remember(part, id);
            let full = each(&self.attr_as_listed(part, id, ino), next, name);
            if full {
                self.forget(ino, 1);
            }
            full
        });
    }

    fn readdir_plus_of_control(
        &self,
        revision: &Arc<Revision>,
        listing: &Listing,
        offset: u64,
        mut each: impl FnMut(&Attr, u64, &[u8]) -> bool,
    ) {
        self.readdir(listing, offset, |ino, next, _, name| {
            if ino != control::HISTORY {
                return self.getattr(ino).is_ok_and(|attr| each(&attr, next, name));
            }
            // Its number is one that the kernel gives back.
            self.history(revision.clone()).is_ok_and(|attr| {
                let full = each(&attr, next, name);
                if full {
                    self.forget(attr.ino, 1);
                }
                full
            })
        });
    }
}
