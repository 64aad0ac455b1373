//! `browse/`: what is derived from a project, for people and for programs that know no format.
//!
//! ```text
//!   project    views of a database         sample     the folder of one sample       metadata   its documents
//!   package    views of a package          shelf      a tree while it is made        names      safe, and apart
//!   rendered   a table as bytes            form       how: csv, npy                  marks, sizes   what is kept of it
//!   files      those that are open         frame, lines, parquet   tables in JSON, in lines, in Parquet
//!   asset      embedded files              beside     files that a project refers to      external   those of a database
//!   references which files those are       document   JSON that is written           units      names with units
//! ```
//!
//! Nothing is rendered before somebody asks for the size or the bytes of that very file, and the folder of a sample is
//! made when somebody looks into it.
//!
//! One file, the tag, is the sign by which backup programs know that the folder can be made again. It has a second
//! use: programs that watch times read whatever bears the newest time of a set anew on the next run, since it may
//! have changed within the same tick. Of every project this small file alone bears it.
//!
//! Everything here is a function of the project. If the project stores an entry of the folder's name, that one
//! keeps it, and ours is the twin.

mod asset;
mod beside;
mod csv;
mod document;
mod external;
mod files;
mod form;
mod frame;
mod lines;
mod marks;
mod metadata;
mod names;
mod npy;
#[cfg(test)]
mod odd_tests;
mod package;
#[cfg(feature = "parquet")]
mod parquet;
mod project;
#[cfg(test)]
mod project_tests;
mod references;
mod rendered;
#[cfg(test)]
mod rendered_tests;
mod sample;
mod shelf;
mod sizes;
#[cfg(test)]
mod testing;
mod units;

pub use beside::NOT_FOUND;
pub use external::{Around, examine as examine_external};
pub use lines::is_event;
pub use npy::head_of as npy_head;
pub use package::package_view;
pub use project::database_view;
#[cfg(any(test, fuzzing))]
pub use references::targets as reference_targets;
pub use references::{examine as examine_references, invalid as references_invalid};
pub use rendered::Identity;

use std::collections::HashSet;

use crate::error::Result;
use crate::tree::{Builder, SafePath, Time, free_twin};

/// The folder.
const NAME: &str = "browse";
/// The sign, as the convention has it: name, and first line.
const TAG_NAME: &str = "CACHEDIR.TAG";
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
# What is in this folder is derived from the project it stands in, and is made again when it is mounted.\n\
# A backup may leave it out (--exclude-caches).\n";
/// How much newer the tag is than all else. File systems that store times in steps of two seconds keep the order.
const NEWER: i64 = 2;

/// Adds the folder to a tree that is otherwise complete: a door, behind which the views stand.
pub fn add(builder: &mut Builder) -> Result<()> {
    let taken: HashSet<Vec<u8>> = builder.names_at_root(NAME.as_bytes()).map(<[u8]>::to_vec).collect();
    let folder = free_twin(NAME, |name| taken.contains(name));
    builder.newest_door(SafePath::check(folder.as_bytes()).expect("a plain name"), 0)
}

/// What a view is of, and where it hangs.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// Tells the content from any other.
    pub identity: Identity,
    /// When the data was written.
    pub time: Time,
    /// The newest time of the whole project.
    pub newest: Time,
    /// The number that it hangs below.
    pub root: u64,
}
