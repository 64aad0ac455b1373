//! The formats that can be opened: one trait, and one table.
//!
//! A format turns a [`Source`] into a tree and, entry by entry, into [`crate::tree::Content`]. It knows nothing of inode
//! tables, handles or errnos, and nothing of a mount. A new format is one folder and one line in [`FORMATS`];
//! the conformance suite in `tests/conformance.rs` runs against every line.

use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings};
use crate::store::{CacheFolder, Source};
use crate::tree::{Branch, NodeId};

mod around;
pub mod bundle;
pub mod history;
pub mod package;
mod views;
pub mod vsf;

pub use crate::browse::NOT_FOUND;
pub use around::{Around, Left, Leftover};

/// How a project is to be opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Check the checksum of stored entries when they are opened, not only in `verify`.
    pub check: bool,
    /// Give out what is packed as far as it can be unpacked, whatever its checksum: for whoever salvages it.
    pub unchecked: bool,
    /// Put together what is left of a project that is cut off, which reads all of it.
    pub salvage: bool,
    /// Show the stored bytes alone, and nothing that is derived.
    pub raw: bool,
    /// Where what is computed may be kept for the next time.
    pub cache: Option<Arc<CacheFolder>>,
    /// Which state is shown, for formats with a history; then it stays that one.
    pub pin: Option<Pin>,
    /// What outlives one state of a project.
    pub shelf: Arc<bundle::Shelf>,
    /// Where findings go, if the project was opened before and what was found is not to be told again.
    pub findings: Option<Arc<Findings>>,
}

/// One state of a project with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The one of this number.
    Number(u64),
    /// The one that was current at this time.
    At(crate::tree::Time),
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            check: false,
            unchecked: false,
            salvage: true,
            raw: false,
            cache: None,
            pin: None,
            shelf: Arc::default(),
            findings: None,
        }
    }
}

/// Attributes that are told to whoever asks for them by name, and are not listed: they change when something else
/// in the project does, and would make every file that has only moved look changed to a backup.
pub const UNLISTED_ATTRIBUTES: &[&str] = &["user.vaso.offset"];

/// An opened project: a branch, which is the top of all that it shows, and what is to be known of it.
pub trait Container: Branch {
    /// The file or folder that it was read from.
    fn source(&self) -> &Arc<Source>;

    /// Which kind of project it is, as a word for scripts.
    fn kind(&self) -> &'static str;

    /// Opens a file and reads it whole into `buf`, where that is one look at the disk and not two; `None` where
    /// it is not, or where it does not fit.
    fn open_and_read(&self, _node: NodeId, _buf: &mut [u8]) -> Result<Option<usize>> {
        Ok(None)
    }

    /// The CRC-32 that is recorded for a stored file. What is read of the file may not have been held against it.
    fn crc32(&self, _node: NodeId) -> Option<u32> {
        None
    }

    /// What can be asked of its earlier states, for formats that keep them.
    fn versions(&self) -> Option<&dyn history::Versions> {
        None
    }

    /// Whether `open` refuses nothing that the tree shows, as far as is known without opening.
    fn opens_all(&self) -> bool;

    /// Whether it was read as it was written, and not put together from what was left of it.
    fn is_whole(&self) -> bool;

    /// What is current and why, for formats with a history.
    fn current(&self) -> Option<Current> {
        None
    }

    /// Whether the current state was looked at through and through, now or before, and is right; `None` for formats
    /// without a history.
    fn is_checked(&self) -> Option<bool> {
        None
    }

    /// Whether `confirm` is to be asked before a node is looked at. Only nodes that are derived may have to wait.
    fn awaits(&self, _node: NodeId) -> bool {
        false
    }

    /// Looks whether what was chosen as current without a look inside holds what it promises. Where it does not,
    /// another choice is made at the next opening: it says so, and the caller opens the project anew.
    fn confirm(&self) -> Result<Confirmed> {
        Ok(Confirmed::Right)
    }

    /// The states that it was in before, for formats that keep them.
    fn history(&self) -> Option<Arc<dyn Branch>> {
        None
    }

    /// What was found so far.
    fn findings(&self) -> &Findings;

    /// The same, for whoever adds to it.
    fn shared_findings(&self) -> Arc<Findings>;

    /// What lies about it and is no part of it: locks, unsaved sessions, copies. May have to read a lot.
    fn around(&self) -> &Around {
        Around::nothing()
    }

    /// What it is and what it holds.
    fn describe(&self) -> Description;

    /// Reads everything and checks it against every checksum there is. `progress` is told bytes done and bytes in all.
    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;

    /// Whether every byte that `older`, an earlier state of the same file, points to is still where it was:
    /// the file was only appended to.
    fn continues(&self, older: &dyn Container) -> bool;

    /// Forgets what was decoded so far: the source was changed, and nothing of before is taken for granted.
    fn forget_decoded(&self);

    /// The files of a folder whose bytes may be others than in `older`, though they are still the same files; none of
    /// anything but a folder.
    fn rewritten_since(&self, _older: &dyn Container) -> Vec<String> {
        Vec::new()
    }

    /// What was believed of `older`, to which this was appended, is believed here as well, whatever is not.
    fn goes_on_from(&self, _older: &dyn Container) {}

    /// From now on a file is held against its checksum, if it has one, before a byte of it is given out: the source
    /// may hold some of each of two states.
    fn distrust(&self) {}

    /// Whether files are held against their checksums.
    fn distrusts(&self) -> bool {
        false
    }

    /// From now on they are not any more, if none was found wrong: the source has rested.
    fn trust(&self) {}

    /// The ZIP file that it lies in, which has the checksums of all that it is made of.
    fn enclosing(&self) -> Option<&dyn Container> {
        None
    }

    /// For comparisons between two containers of one format.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Current {
    /// Its name in the project.
    pub name: String,
    /// Why that one.
    pub because: String,
    /// Whether it is what anybody would expect: what the project itself says, or what was asked for.
    pub expected: bool,
}

/// What a closer look at the current state has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// It is what it promised to be.
    Right,
    /// It is not; another one is current from now on.
    Wrong,
}

impl Pin {
    /// As `-o` has it.
    pub fn for_people(&self) -> String {
        match self {
            Pin::Number(number) => format!("snapshot={number}"),
            Pin::At(time) => format!("at={}", time.utc()),
        }
    }
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
    /// What lies about it.
    #[serde(flatten)]
    pub around: Around,
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
    Format { name: "legacy database", magic: Some(b"SQLite format 3\0"), open: bundle::open_legacy },
    Format { name: "VSF", magic: Some(b"R\xc3\x85<"), open: vsf::open_project },
    Format { name: "package", magic: None, open: open_zip },
];

/// A ZIP file: a package, or what a bundle or a database lies in.
fn open_zip(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let package = package::open(source, options.clone())?;
    match package.kind() {
        _ if options.raw => Ok(package),
        kind @ "container" => bundle::open_in_package(package, kind, b"bundle/", options),
        kind @ "share-zip" => bundle::open_in_package(package, kind, b"", options),
        _ => Ok(package),
    }
}

/// Opens a project, whatever it is; its content decides, never its suffix.
pub fn open(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let (pin, unchecked) = (options.pin, options.unchecked);
    let project = open_any(source, options)?;
    // What was written a moment ago may be half of a copy that is still being written over an older state. Not before
    // here: what was looked at so far decides what is shown, and is looked at again before any of it is. Whoever salvages
    // wants the bytes as they are, and what they are does not depend on how old the file is.
    if !unchecked && project.source().stamp().is_young() {
        project.distrust();
    }
    match pin {
        Some(pin) if project.versions().is_none() => Err(Error::Refused(format!(
            "{}: {} keeps no history that {} could choose from; leave that out",
            project.source().path().display(),
            in_words(project.kind()),
            pin.for_people()
        ))),
        _ => Ok(project),
    }
}

fn open_any(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    if source.is_folder() {
        return bundle::open_folder(source, options);
    }
    let head = source.read_range(0..source.size().min(16))?;
    let of = |f: &&Format| f.magic.is_none_or(|magic| head.starts_with(magic));
    let Some(format) = FORMATS.iter().find(of) else {
        return Err(Error::not_a_project(source.path(), "no format in the table takes it"));
    };
    match (format.open)(source.clone(), options.clone()) {
        // Its first bytes say nothing. It may be a database whose first page is gone.
        Err(Error::NotAProject { why, .. }) if format.magic.is_none() && !head.starts_with(b"PK") => {
            bundle::open_headless(source, options, why)
        }
        other => other,
    }
}

/// A kind of project, as a sentence names it.
pub fn in_words(kind: &str) -> &str {
    match kind {
        "bundle" => "a bundle",
        "container" => "a container",
        "package" => "a package",
        "legacy" => "a project that is one database",
        "share-zip" => "a shared project",
        "vasods" => "a dataset for import",
        "old-zip-a" | "old-zip-b" => "an old project in a ZIP file",
        "vsf" => "a VSF file",
        other => other,
    }
}
