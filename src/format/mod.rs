//! The formats that can be opened: one trait, and one table.
//!
//! A format turns a [`Source`] into a [`Tree`] and, entry by entry, into [`Content`]. It knows nothing of inode
//! tables, handles or errnos, and nothing of a mount. A new format is one folder and one line in [`FORMATS`];
//! the conformance suite in `tests/conformance.rs` runs against every line.

use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings};
use crate::store::{CacheFolder, Source};
use crate::tree::{Content, NodeId, Tree};

pub mod package;
pub mod vsf;

/// How a project is to be opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Check the checksum of stored entries when they are opened, not only in `verify`.
    pub check: bool,
    /// Put together what is left of a project that is cut off, which reads all of it.
    pub salvage: bool,
    /// Show the stored bytes alone, and nothing that is derived.
    pub raw: bool,
    /// Where what is computed may be kept for the next time.
    pub cache: Option<Arc<CacheFolder>>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { check: false, salvage: true, raw: false, cache: None }
    }
}

/// Attributes that are told to whoever asks for them by name, and are not listed: they change when something else
/// in the project does, and would make every file that has only moved look changed to a backup.
pub const UNLISTED_ATTRIBUTES: &[&str] = &["user.vaso.offset"];

/// An opened project: a tree, and the bytes of its files.
pub trait Container: Send + Sync + std::fmt::Debug {
    /// The file that it was read from.
    fn source(&self) -> &Arc<Source>;

    /// Which kind of project it is, as a word for scripts.
    fn kind(&self) -> &'static str;

    /// All names and nodes.
    fn tree(&self) -> &Tree;

    /// The bytes of a file, or of a link's target. Refuses what cannot be read, and says why.
    fn open(&self, node: NodeId) -> Result<Content>;

    /// Opens a file and reads it whole into `buf`, where that is one look at the disk and not two; `None` where
    /// it is not, or where it does not fit.
    fn open_and_read(&self, _node: NodeId, _buf: &mut [u8]) -> Result<Option<(Content, usize)>> {
        Ok(None)
    }

    /// Whether `open` refuses nothing that the tree shows, as far as is known without opening.
    fn opens_all(&self) -> bool;

    /// Whether it was read as it was written, and not put together from what was left of it.
    fn is_whole(&self) -> bool;

    /// Extended attributes as name and value, in the order of names. Asks for nothing that may fail.
    fn attributes(&self, node: NodeId) -> Vec<(&'static str, String)>;

    /// What was found so far.
    fn findings(&self) -> &Findings;

    /// What it is and what it holds.
    fn describe(&self) -> Description;

    /// Reads everything and checks it against every checksum there is. `progress` is told bytes done and bytes in all.
    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;

    /// Whether every byte that `older`, an earlier state of the same file, points to is still where it was:
    /// the file was only appended to.
    fn continues(&self, older: &dyn Container) -> bool;

    /// Forgets what was decoded so far: the source was changed, and nothing of before is taken for granted.
    fn forget_decoded(&self);

    /// For comparisons between two containers of one format.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What `vaso info` prints.
#[derive(Debug, Serialize)]
pub struct Description {
    /// The source's path.
    pub source: String,
    /// Which kind of project, as `package`.
    pub kind: &'static str,
    /// The version of the format that it declares.
    pub version: Option<String>,
    /// The project's own identifier.
    pub id: Option<String>,
    /// The title its makers gave it.
    pub title: Option<String>,
    /// What is current, for formats with a history.
    pub current: Option<String>,
    /// Why that is what is shown.
    pub chosen_because: Option<String>,
    /// How many of what.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// The datasets in it.
    pub datasets: Vec<Dataset>,
    /// Everything worth knowing.
    pub findings: Vec<Finding>,
}

/// One dataset in a project.
#[derive(Debug, Serialize)]
pub struct Dataset {
    /// Its identifier.
    pub id: String,
    /// The name its makers gave it.
    pub name: Option<String>,
    /// What kind of measurement.
    pub modality: Option<String>,
    /// Bytes in its folder.
    pub bytes: u64,
    /// Files in its folder.
    pub files: u64,
}

/// One line of the table of formats.
pub struct Format {
    /// The name of the family, as in messages.
    pub name: &'static str,
    /// Whether the first bytes of a file are of this format; `None` when its first bytes say nothing.
    pub magic: Option<&'static [u8]>,
    /// Opens it; fails with [`Error::NotAProject`] when it is none.
    pub open: fn(Arc<Source>, OpenOptions) -> Result<Arc<dyn Container>>,
}

/// Every format, in the order in which they are tried. First bytes decide; what has no certain first bytes
/// comes last.
pub const FORMATS: &[Format] = &[
    Format { name: "legacy database", magic: Some(b"SQLite format 3\0"), open: not_yet },
    Format { name: "VSF", magic: Some(b"R\xc3\x85<"), open: not_yet },
    Format { name: "package", magic: None, open: package::open },
];

/// A kind that is recognised, and that this version does not read.
fn not_yet(source: Arc<Source>, _: OpenOptions) -> Result<Arc<dyn Container>> {
    let head = source.read_range(0..source.size().min(16))?;
    let name = FORMATS.iter().find(|f| f.magic.is_some_and(|m| head.starts_with(m))).map_or("", |f| f.name);
    Err(Error::not_a_project(
        source.path(),
        format!("this is a {name} project, which this version does not open yet; it opens packages (ZIP)"),
    ))
}

/// Opens a project, whatever it is; its content decides, never its suffix.
pub fn open(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let head = source.read_range(0..source.size().min(16))?;
    let of = |f: &&Format| f.magic.is_none_or(|magic| head.starts_with(magic));
    match FORMATS.iter().find(of) {
        Some(format) => (format.open)(source, options),
        None => Err(Error::not_a_project(source.path(), "no format in the table takes it")),
    }
}
