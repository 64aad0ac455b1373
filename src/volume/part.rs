//! States of the project, and the parts that they are made of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::ROOT;
use super::control::{self, FOLDER};
use crate::error::{Error, Result};
use crate::format::Container;
use crate::store::Stamp;
use crate::tree::{Branch, NodeId, Tree};

/// One state of the project.
#[derive(Debug)]
pub struct Revision {
    pub(super) epoch: u32,
    pub(super) container: Arc<dyn Container>,
    /// The source was rewritten in place: these bytes are not there any more.
    pub(super) gone: AtomicBool,
    /// The source is in a state that cannot be loaded. Nothing is read until one comes that can be, which decides
    /// whether these bytes are still there.
    pub(super) doubtful: AtomicBool,
    /// All of it is of one state, as far as that can be told without its checksums. What is not trusted is checked
    /// at open, which takes its time.
    pub(super) trusted: AtomicBool,
    /// It is not trusted for its youth alone, and will be once its source has rested.
    pub(super) young: AtomicBool,
    loaded: Instant,
    /// The file was seen smaller since its stamp was accepted: what it has grown to is no append.
    pub(super) broken: AtomicBool,
    /// Another revision is current.
    pub(super) replaced: AtomicBool,
    opens_all: OnceLock<bool>,
}

impl Revision {
    pub(super) fn new(epoch: u32, container: Arc<dyn Container>) -> Arc<Revision> {
        let [gone, doubtful, broken, replaced] = [const { AtomicBool::new(false) }; 4];
        let [trusted, young] = [!container.distrusts(), container.distrusts()].map(AtomicBool::new);
        let (loaded, opens_all) = (Instant::now(), OnceLock::new());
        Arc::new(Revision {
            epoch,
            container,
            gone,
            doubtful,
            trusted,
            young,
            loaded,
            broken,
            replaced,
            opens_all,
        })
    }

    /// The project in this state.
    pub fn container(&self) -> &Arc<dyn Container> {
        &self.container
    }

    /// Whether the source was rewritten in place, for good.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether no file of it refuses to open.
    pub(super) fn opens_all(&self) -> bool {
        *self.opens_all.get_or_init(|| self.container.opens_all())
    }

    /// Whether it is not clear if these bytes are still there.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    /// Whether files are opened without being read first.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    /// Trusts it from now on, if nothing but its youth spoke against that, and that is over.
    pub(super) fn has_rested(&self) {
        // A file from the future is as old as the look at it.
        let is_young = || self.container.source().stamp().is_young() && self.loaded.elapsed() < Stamp::YOUTH;
        if self.young.load(Ordering::Acquire) && !is_young() {
            self.container.trust();
            self.trusted.store(!self.container.distrusts(), Ordering::Release);
            self.young.store(false, Ordering::Release);
        }
    }

    /// Whether its bytes are another state's, for good or for all that is known.
    ///
    /// A verdict is stored before the doubt is taken back, so the doubt is asked for first: whoever sees none after
    /// one sees the verdict as well. The other way round, both could change between the two questions.
    pub(super) fn is_refused(&self) -> bool {
        self.is_doubtful() || self.is_gone()
    }

    /// Fails when the source was rewritten in place, and while that is in doubt.
    pub(super) fn still_there(&self) -> Result<()> {
        match self.is_refused() {
            true => Err(Error::SourceChanged(self.container.source().path().to_path_buf())),
            false => Ok(()),
        }
    }
}

/// One branch of a revision: the top, what hangs behind a door of another, or what hangs in the control folder.
#[derive(Debug)]
pub struct Part {
    pub(super) revision: Arc<Revision>,
    pub(super) branch: Arc<dyn Branch>,
    /// The number of its root, by which the parts of a revision are told apart.
    pub(super) root: u64,
    /// The door that it hangs behind.
    pub(super) above: Option<(Arc<Part>, NodeId)>,
}

impl Part {
    pub(super) fn top(revision: Arc<Revision>) -> Arc<Part> {
        let branch: Arc<dyn Branch> = revision.container.clone();
        Arc::new(Part { revision, branch, root: ROOT, above: None })
    }

    /// What hangs in the control folder under the number `root`.
    pub(super) fn controlled(revision: Arc<Revision>, branch: Arc<dyn Branch>, root: u64) -> Arc<Part> {
        Arc::new(Part { revision, branch, root, above: None })
    }

    /// `branch` as it hangs behind a door of this part.
    pub(super) fn hang(self: &Arc<Part>, door: NodeId, branch: Arc<dyn Branch>) -> Arc<Part> {
        let root = self.tree().node(door).ino;
        Arc::new(Part { revision: self.revision.clone(), branch, root, above: Some((self.clone(), door)) })
    }

    /// Names and nodes.
    pub fn tree(&self) -> &Tree {
        self.branch.tree()
    }

    /// The number of a node.
    pub(super) fn number(&self, node: NodeId) -> u64 {
        if node == Tree::ROOT { self.root } else { self.tree().node(node).ino }
    }

    /// The number of the directory that a node stands in; the root's own for the root of all.
    pub(super) fn parent_number(&self, node: NodeId) -> Option<u64> {
        match (node, &self.above) {
            (Tree::ROOT, Some((above, door))) => above.parent_number(*door),
            (Tree::ROOT, None) => Some(if self.root == ROOT { ROOT } else { FOLDER }),
            (node, _) => Some(self.number(self.tree().node(node).parent())),
        }
    }

    /// What a node shows: itself, or the root of what stands behind it.
    pub(super) fn enter(self: &Arc<Part>, node: NodeId) -> Result<(Arc<Part>, NodeId)> {
        match self.branch.behind(node) {
            Some(branch) => Ok((self.hang(node, self.told(node, branch)?), Tree::ROOT)),
            None => Ok((self.clone(), node)),
        }
    }

    /// Whether the format wants a closer look before anybody looks at a node.
    pub(super) fn awaits(&self, node: NodeId) -> bool {
        self.root == ROOT && self.revision.container.awaits(node)
    }

    /// Whether looking at a node, as `stat` does, may take its time. A door is looked at from outside.
    pub(super) fn is_slow(&self, node: NodeId) -> bool {
        let it = self.tree().node(node);
        self.awaits(node) || it.is_late() && self.branch.known_size(node).is_none()
    }

    /// Whether looking into a directory may take its time.
    pub(super) fn is_shut(&self, node: NodeId) -> bool {
        let it = self.tree().node(node);
        self.awaits(node) || it.door().is_some() && self.branch.open_door(node).is_none()
    }

    /// The path of a node for people.
    pub(super) fn shown(&self, node: NodeId) -> String {
        self.tree().shown(node)
    }

    /// The path of a node from the top of the mount, for people.
    pub(super) fn path(&self, node: NodeId) -> String {
        let above = match &self.above {
            Some((above, door)) => above.path(*door),
            None if self.root == ROOT => String::new(),
            None => control::path_of_history(&self.revision),
        };
        let path = self.shown(node);
        let gap = if above.is_empty() || path.is_empty() { "" } else { "/" };
        format!("{above}{gap}{path}")
    }

    /// Has why somebody was refused at a node be looked up among the findings.
    pub(super) fn told<T>(&self, node: NodeId, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|why| {
            if matches!(why, Error::Damaged { .. } | Error::Io { .. }) {
                self.revision.container.findings().refused(&self.path(node), why);
            }
        })
    }

    /// Fails for what is not a directory.
    pub(super) fn not_a_directory(&self, node: NodeId) -> Error {
        Error::NotADirectory(self.shown(node))
    }
}
