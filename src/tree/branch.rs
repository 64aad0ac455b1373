//! A tree with what its files hold: what a project is made of, and what can hang in another one.

use std::sync::Arc;

use super::{Content, Kind, NodeId, Tree};
use crate::error::Result;

/// Names, nodes and bytes.
///
/// A directory of a branch may be a *door*: its own entries are none, and another branch stands behind it, which is
/// made when somebody looks for the first time.
pub trait Branch: Send + Sync + std::fmt::Debug {
    /// All names and nodes.
    fn tree(&self) -> &Tree;

    /// The bytes of a file, or of a link's target. Refuses what cannot be read, and says why.
    fn open(&self, node: NodeId) -> Result<Content>;

    /// The exact size of a file that its node does not know ([`super::Node::is_late`]). May take its time.
    fn late_size(&self, node: NodeId) -> Result<u64> {
        match self.known_size(node) {
            Some(size) => Ok(size),
            None => Ok(self.open(node)?.size()),
        }
    }

    /// The late size, if it is known without work.
    fn known_size(&self, _node: NodeId) -> Option<u64> {
        None
    }

    /// How much of a file can be had whose late size is an error.
    fn size_in_part(&self, _node: NodeId) -> u64 {
        0
    }

    /// What the bytes of a file are taken from: in two states of a project they are the very same where this is equal.
    /// A number alone does not say that, for a damaged file has the number of the healthy one. `None` if nothing is known.
    fn origin(&self, _node: NodeId) -> Option<[u8; 32]> {
        None
    }

    /// What stands behind a door; `None` for any other node. May take its time the first time.
    fn behind(&self, _node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        None
    }

    /// What stands behind a door that somebody has gone through before.
    fn open_door(&self, _node: NodeId) -> Option<Arc<dyn Branch>> {
        None
    }

    /// A child under another name than the one that is listed, for formats that take several.
    fn other_name(&self, _folder: NodeId, _name: &[u8]) -> Option<NodeId> {
        None
    }

    /// Extended attributes as name and value, in the order of names. Asks for nothing that may fail.
    fn attributes(&self, _node: NodeId) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A place in a branch that may hang in others: for whoever walks from the top, through doors.
#[derive(Debug, Clone)]
pub struct Spot {
    /// The branch.
    pub branch: Arc<dyn Branch>,
    /// The node in it.
    pub node: NodeId,
    above: Option<Arc<Spot>>,
}

impl Spot {
    /// The top of a branch.
    pub fn top(branch: Arc<dyn Branch>) -> Spot {
        Spot { branch, node: Tree::ROOT, above: None }
    }

    /// Another node of the same branch, behind its door if it has one.
    fn at(&self, node: NodeId) -> Result<Spot> {
        let here = Spot { branch: self.branch.clone(), node, above: self.above.clone() };
        match self.branch.behind(node) {
            Some(branch) => Ok(Spot { branch: branch?, node: Tree::ROOT, above: Some(Arc::new(here)) }),
            None => Ok(here),
        }
    }

    /// The child of a name.
    pub fn child(&self, name: &[u8]) -> Result<Option<Spot>> {
        let listed = self.branch.tree().child(self.node, name);
        listed.or_else(|| self.branch.other_name(self.node, name)).map(|node| self.at(node)).transpose()
    }

    /// The nodes of the children in the order of names; doors are not opened.
    pub fn children(&self) -> impl Iterator<Item = Spot> + use<> {
        let (branch, above) = (self.branch.clone(), self.above.clone());
        let nodes = branch.tree().children(self.node);
        nodes.map(move |node| Spot { branch: branch.clone(), node, above: above.clone() })
    }

    /// The same spot, behind its door if it is one.
    pub fn enter(&self) -> Result<Spot> {
        self.at(self.node)
    }

    /// The directory that it stands in; the top is its own.
    pub fn parent(&self) -> Spot {
        match (self.node, &self.above) {
            (Tree::ROOT, Some(door)) => door.parent(),
            _ => Spot { node: self.branch.tree().node(self.node).parent(), ..self.clone() },
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.branch.tree().node(self.node).kind
    }

    /// The name; empty for the top.
    pub fn name(&self) -> &[u8] {
        match (self.node, &self.above) {
            (Tree::ROOT, Some(door)) => door.name(),
            _ => self.branch.tree().name(self.node),
        }
    }

    /// The path from the top of all, without a leading slash.
    pub fn path(&self) -> Vec<u8> {
        let mut path = self.above.as_ref().map(|door| door.path()).unwrap_or_default();
        let inner = self.branch.tree().path(self.node);
        if !path.is_empty() && !inner.is_empty() {
            path.push(b'/');
        }
        path.extend(inner);
        path
    }

    /// The exact size.
    pub fn size(&self) -> Result<u64> {
        let node = self.branch.tree().node(self.node);
        if node.is_late() { self.branch.late_size(self.node) } else { Ok(node.size()) }
    }
}
