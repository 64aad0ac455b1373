//! Noticing that the source has changed (R5).
//!
//! Three cases, told by what `stat` says and by what the new state holds:
//!
//! * *replaced*: another file has the name. The old one is still open here, and keeps its bytes;
//! * *appended to*: it grew, and everything that was shown is still where it was. Old ranges stay valid;
//! * *rewritten in place*: anything else. The bytes of the old state are gone, and reading them is an error.
//!
//! A file that is being written has no directory for a moment. Such a state is not believed until the file
//! has rested for [`REST`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::known::Place;
use super::{Invalidation, Revision, Volume};
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::format::{self, Container, OpenOptions};
use crate::store::{Source, Stamp};
use crate::tree::{Kind, NodeId, Tree};

/// How long a file has to rest before a damaged state of it is believed.
const REST: Duration = Duration::from_millis(700);
/// How long a reader waits for a verdict about a file that is being written.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What is known about a change that has not settled.
#[derive(Debug, Default)]
pub struct Refresh {
    /// The last stamp that was seen and could not be loaded, and since when it has been that.
    unsettled: Option<(Stamp, Instant)>,
    /// A stamp that was refused for good.
    refused: Option<Stamp>,
}

/// What looking at the source has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was.
    Unchanged,
    /// It has changed, and it is not clear yet into what.
    Unsettled,
    /// A new revision is shown.
    Changed,
    /// What is there now is no project; the last revision stays.
    Refused,
}

impl Volume {
    /// Looks at the source, and shows its new state if it has one.
    pub fn refresh(&self) -> Result<Outcome> {
        self.refresh_in(&mut self.refreshing.lock())
    }

    /// Lets go of revisions that nobody holds anything of any more.
    fn sweep(&self) {
        let mut revisions = self.revisions.write();
        let current = revisions.last().map(|r| r.epoch);
        let before = revisions.len();
        // Numbers that the kernel holds, listings, and look-ups on their way refer to it.
        revisions.retain(|r| Some(r.epoch) == current || Arc::strong_count(r) > 1);
        let left: Vec<u32> = revisions.iter().map(|r| r.epoch).collect();
        let swept = left.len() < before;
        drop(revisions);
        if swept {
            self.contents.retain(|(epoch, _)| left.contains(epoch));
        }
    }

    fn refresh_in(&self, state: &mut Refresh) -> Result<Outcome> {
        self.sweep();
        let current = self.current();
        let source = current.container.source();
        let Some(there) = source.location().stamp()? else {
            self.note(
                &current,
                "source-deleted",
                "the project's file is gone; what is open stays readable until the unmount",
            );
            return Ok(Outcome::Unchanged);
        };
        let accepted = source.stamp();
        if there == accepted || state.refused == Some(there) {
            let gone = current.gone.load(Ordering::Acquire);
            return Ok(if gone { Outcome::Refused } else { Outcome::Unchanged });
        }
        if !accepted.may_have_new_bytes(&there, false) {
            source.accept(there);
            return Ok(Outcome::Unchanged);
        }
        // A state that could not be loaded once is not tried again before it has rested.
        let known = state.unsettled.is_some_and(|(stamp, _)| stamp == there);
        if known && !state.rested(there) {
            return Ok(Outcome::Unsettled);
        }
        match self.load(&current) {
            // Whatever the loader says of a file that was written meanwhile concerns a state that is past.
            Ok(next) if next.source().stamp_now()? != next.source().stamp() => {
                state.unsettled = None;
                Ok(Outcome::Unsettled)
            }
            Ok(next) => {
                *state = Refresh::default();
                self.install(&current, next);
                Ok(Outcome::Changed)
            }
            // The disk or the network may be better in a moment.
            Err(error @ Error::Io { .. }) => Err(error),
            Err(_) if !state.rested(there) => Ok(Outcome::Unsettled),
            Err(error) => {
                *state = Refresh { unsettled: None, refused: Some(there) };
                if there.file == accepted.file {
                    current.gone.store(true, Ordering::Release);
                    self.drop_pages(&current);
                }
                self.note(&current, "source-unreadable", &format!("the new state is not shown: {error}"));
                Ok(Outcome::Refused)
            }
        }
    }

    /// Looks at the source until it is clear what it has become, or patience ends.
    pub(super) fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let Some(mut state) = self.refreshing.try_lock_until(until) else { return };
            let outcome = self.refresh_in(&mut state);
            drop(state);
            match outcome {
                Ok(Outcome::Unsettled) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(_) => return,
                Err(error) => return log::warn!("{error}"),
            }
        }
    }

    /// The state that is there now. What is left of a file never takes the place of a whole one: only where the
    /// current state was salvaged, the next may be as well.
    fn load(&self, current: &Revision) -> Result<Arc<dyn Container>> {
        let location = current.container.source().location().clone();
        let options = OpenOptions { salvage: !current.container.is_whole(), ..self.options.open.clone() };
        format::open(Source::open(location)?, options)
    }

    fn note(&self, revision: &Revision, code: &'static str, message: &str) {
        let remedy = "put the project back, or unmount";
        revision.container.findings().add(Finding::new(Severity::Warning, code, "", message, remedy));
    }

    /// Makes `next` the revision that look-ups see, and tells the kernel what to forget.
    fn install(&self, current: &Arc<Revision>, next: Arc<dyn Container>) {
        let path = next.source().path();
        if current.container.source().stamp().file == next.source().stamp().file {
            self.judge(next.as_ref());
            match current.gone.load(Ordering::Acquire) {
                false => log::info!("{}: appended to; a new revision is shown", path.display()),
                true => {
                    log::warn!("{}: rewritten in place; files open since before give EIO", path.display())
                }
            }
        } else {
            log::info!("{}: replaced; a new revision is shown", path.display());
        }
        let revision = Revision::new(current.epoch + 1, next);
        self.revisions.write().push(revision.clone());
        current.replaced.store(true, Ordering::Release);
        self.hand_over(&revision);
    }

    /// Which of the revisions that were read from this very file can still be read from it.
    fn judge(&self, next: &dyn Container) {
        let stamp = next.source().stamp();
        for revision in self.revisions.read().iter() {
            let old = revision.container.source();
            if old.stamp().file != stamp.file {
                continue;
            }
            // The same size under another time is a rewrite, however much its directory looks like before.
            if stamp.size > old.size() && next.continues(revision.container.as_ref()) {
                revision.container.forget_decoded();
                self.contents.retain(|(epoch, _)| *epoch != revision.epoch);
                old.accept(stamp);
            } else {
                revision.gone.store(true, Ordering::Release);
            }
        }
    }

    /// Moves the numbers that mean the same in the new revision, and has the kernel look the others up again.
    fn hand_over(&self, new: &Arc<Revision>) {
        let mut forget = vec![Invalidation::Inode(super::ROOT), Invalidation::Inode(super::control::STATUS)];
        for (ino, place) in self.known.list() {
            let old = &place.revision;
            if old.epoch == new.epoch {
                continue;
            }
            let tree = old.container.tree();
            let there = same_path(tree, place.node, new.container.tree());
            let gone = old.gone.load(Ordering::Acquire);
            let directory = tree.node(place.node).kind == Kind::Directory;
            let same = there.filter(|id| new.container.tree().node(*id).ino == ino);
            if let Some(node) = same.filter(|_| directory || !gone) {
                self.known.move_to(ino, Place { revision: new.clone(), node });
                let other_mode = tree.node(place.node).mode != new.container.tree().node(node).mode;
                if directory || other_mode {
                    forget.push(Invalidation::Inode(ino));
                }
                continue;
            }
            let parent = tree.node(place.node).parent();
            let parent = if parent == Tree::ROOT { super::ROOT } else { tree.node(parent).ino };
            forget.push(Invalidation::Name(parent, tree.name(place.node).to_vec()));
            if gone {
                forget.push(Invalidation::Inode(ino));
            }
        }
        self.send(forget);
    }

    /// The bytes of a revision are gone: pages of it must not be read either.
    fn drop_pages(&self, revision: &Revision) {
        let of = |(ino, place): (u64, Place)| {
            (place.revision.epoch == revision.epoch).then_some(Invalidation::Inode(ino))
        };
        self.send(self.known.list().into_iter().filter_map(of).collect());
    }

    pub(super) fn send(&self, list: Vec<Invalidation>) {
        let Some(to) = self.invalidations.lock().clone() else { return };
        for one in list {
            // The receiver is gone only when the mount is.
            if to.send(one).is_err() {
                return;
            }
        }
    }
}

impl Refresh {
    /// Whether the file has been at this stamp for long enough.
    fn rested(&mut self, there: Stamp) -> bool {
        match self.unsettled {
            Some((stamp, since)) if stamp == there => since.elapsed() >= REST,
            _ => {
                self.unsettled = Some((there, Instant::now()));
                false
            }
        }
    }
}

/// The node of another tree that has the same path.
fn same_path(tree: &Tree, id: NodeId, other: &Tree) -> Option<NodeId> {
    other.find(&tree.path(id))
}
