//! The views of a package, for its folder `browse`.

use std::sync::{Arc, Weak};

use super::Package;
use crate::browse::{self, Identity};
use crate::error::Result;
use crate::store::Stamp;
use crate::tree::{Branch, Time};

impl Package {
    /// The views of this package, which is `me`, as they hang below the number `root`. What is found while they are
    /// rendered is found about the package.
    pub fn view(&self, me: Weak<dyn Branch>, root: u64) -> Result<Arc<dyn Branch>> {
        let newest = self.newest();
        let identity = Identity { here: self.identity_here(), shown: self.identity_shown() };
        let what = browse::What { identity, time: newest, newest, root };
        browse::package_view(me, what, self.options.cache.clone(), self.findings.clone())
    }

    /// The newest time of what is stored.
    fn newest(&self) -> Time {
        let stored = self.tree.ids().map(|id| self.tree.node(id)).filter(|node| node.entry().is_some());
        stored.map(|node| node.time()).max().unwrap_or_default()
    }

    /// Tells this state of this file from any other on this machine.
    fn identity_here(&self) -> [u8; 32] {
        let Stamp { file, size, mtime, ctime, .. } = self.source.stamp();
        let text = format!("package {file:?} {size} {mtime:?} {ctime:?}");
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// Tells what is stored in this package from what is stored in any other, wherever it lies.
    fn identity_shown(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for id in self.tree.ids() {
            if let Ok((_, entry)) = self.entry(id) {
                let (path, size) = (self.tree.path(id), self.tree.node(id).size());
                hasher.update(&(path.len() as u64).to_le_bytes()).update(&path);
                hasher.update(&size.to_le_bytes()).update(&entry.crc.to_le_bytes());
            }
        }
        *hasher.finalize().as_bytes()
    }
}
