//! The rendered files of one project that are open, so that all who read one share its marks.

use std::sync::Arc;

use parking_lot::Mutex;

use super::csv::Csv;
use super::external::Around;
use super::form::Form;
use super::npy::Npy;
use super::rendered::{Identity, Rendered, Shared};
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::packed::Decoding;
use crate::tree::{Cache, Table};

/// Files that are open at once; the marks of one may take some megabytes.
const OPEN: usize = 512;

/// How a table is to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Lines of text.
    Csv,
    /// Rows of doubles.
    Npy,
}

/// One file that is open, or about to be. The lock is held while its size is found out: whoever asks for the same
/// file waits, and nobody renders it twice.
type Slot = Arc<Mutex<Option<Arc<Rendered>>>>;

/// The rendered files of a project.
#[derive(Debug)]
pub struct Files {
    shared: Arc<Shared>,
    /// Where files lie that are not embedded; none where nothing may lie beside the project.
    around: Option<Around>,
    open: Cache<String, Slot>,
    /// Held while a slot is looked for.
    making: Mutex<()>,
}

impl Files {
    /// Of one project; nothing is rendered yet.
    pub fn new(shared: Shared) -> Files {
        let (shared, open, making) = (Arc::new(shared), Cache::new(OPEN), Mutex::new(()));
        Files { shared, around: None, open, making }
    }

    /// The same, of a project that refers to files beside it.
    pub fn with_around(self, around: Option<Around>) -> Files {
        Files { around, ..self }
    }

    /// Where files lie that are not embedded.
    pub fn around(&self) -> Option<&Around> {
        self.around.as_ref()
    }

    /// The file at `path`. If it is not open, `table` gives what it is made of.
    pub fn open(
        &self,
        path: &str,
        how: As,
        table: impl FnOnce() -> Result<Arc<dyn Table>>,
    ) -> Result<Arc<Rendered>> {
        let slot = self.slot(path);
        let mut slot = slot.lock();
        if let Some(rendered) = &*slot {
            return Ok(rendered.clone());
        }
        // Nobody renders in vain what is damaged. What took too long may do better the next time.
        if let Some((why @ Error::Damaged { .. }, _)) = self.shared.in_part(path) {
            return Err(why);
        }
        let table = table()?;
        let form: Box<dyn Form> = match how {
            As::Csv => Box::new(Csv::new(table.columns())),
            As::Npy => {
                let npy = Npy::new(path, table.columns())?;
                if npy.is_cut() {
                    self.shared.findings().add(Npy::cut(path));
                }
                Box::new(npy)
            }
        };
        let rendered = Rendered::new(path.to_string(), table, form, self.shared.clone())?;
        Ok(slot.insert(Arc::new(rendered)).clone())
    }

    fn slot(&self, path: &str) -> Slot {
        let _making = self.making.lock();
        let path = path.to_string();
        match self.open.get(&path) {
            Some(slot) => slot,
            None => {
                let slot = Slot::default();
                self.open.insert(path, slot.clone(), 1);
                slot
            }
        }
    }

    /// The size of the file at `path`, if it is known.
    pub fn known_size(&self, path: &str) -> Option<u64> {
        self.shared.size(path)
    }

    /// How much of the file at `path` can be rendered, if that is not all of it.
    pub fn size_in_part(&self, path: &str) -> u64 {
        self.shared.in_part(path).map_or(0, |(_, size)| size)
    }

    /// What the packed streams of the project share.
    pub fn decoding(&self) -> &Arc<Decoding> {
        self.shared.decoding()
    }

    /// Where findings go.
    pub fn findings(&self) -> &Findings {
        self.shared.findings()
    }

    /// The same, for whoever keeps them.
    pub fn shared_findings(&self) -> Arc<Findings> {
        self.shared.shared_findings()
    }

    /// What tells this project from all others.
    pub fn identity(&self) -> &Identity {
        self.shared.identity()
    }
}
