//! vaso: scientific project files as ordinary directories.
//!
//! # The house
//!
//! ```text
//!   main.rs
//!     cli/        one file per verb, no logic of its own
//!     mount/      the kernel's protocol stops here: adapter, errno, daemon
//!     volume/     inode numbers, open directories, what happens when the source changes;
//!                 the file-system operations as plain methods
//!     format/     trait Container, one table of formats
//!       package/    .vaso packages: ZIP files
//!       vsf/        .vsf files: a codec for every dialect, and its files as a tree
//!     browse/     what is derived from a project, for people
//!     database/   SQLite projects: reading over any bytes, the tables as they are found
//!     signs/      what the writers of a bundle leave for each other: names, HEAD, locks
//!     packed/     packed streams, read at any place
//!     tree/       names, nodes, content
//!     store/      bytes: the only door to the disk
//!   error.rs  finding.rs     what can go wrong, and what is worth telling
//! ```
//!
//! A room stands above everything that it uses. A read comes in at the bottom: `store` gives bytes, a format
//! parses them, `tree` holds the nodes, `volume` answers, `mount` translates. A format never sees an inode
//! number, a handle or an errno; `mount` never sees a format. `tests/walls.rs` reads the sources and checks
//! this drawing.
//!
//! The core, everything below `mount`, runs without a kernel and without root:
//!
//! ```no_run
//! use std::sync::Arc;
//! use vaso::{format, store};
//!
//! let location = store::Location::find("Study.vaso".as_ref())?;
//! let source = store::Source::open(Arc::new(location))?;
//! let project = format::open(source, format::OpenOptions::default())?;
//! let manifest = project.tree().find(b"manifest.json").expect("a package has one");
//! let mut bytes = vec![0; project.tree().node(manifest).size() as usize];
//! project.open(manifest)?.read_at(0, &mut bytes)?;
//! # Ok::<(), vaso::error::Error>(())
//! ```
//!
//! # Where to begin
//!
//! The README, then this page, then [`mod@format`] and any one format's folder. The promises that the product
//! makes (R1 to R7) are listed in the README; `tests/promises.rs` has a test for each, by its number.

pub mod browse;
pub mod cli;
pub mod database;
pub mod error;
pub mod finding;
pub mod format;
pub mod mount;
pub mod packed;
pub mod signs;
pub mod store;
pub mod tree;
pub mod volume;
