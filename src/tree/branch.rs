//! A tree with what its files hold: what a project is made of, and what can hang in another one.

use std::sync::Arc;

use super::{Content, NodeId, Tree};
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
        Ok(self.open(node)?.size())
    }

    /// The late size, if it is known without work.
    fn known_size(&self, _node: NodeId) -> Option<u64> {
        None
    }

    /// What stands behind a door; `None` for any other node. May take its time the first time.
    fn behind(&self, _node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        None
    }

    /// Extended attributes as name and value, in the order of names. Asks for nothing that may fail.
    fn attributes(&self, _node: NodeId) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
