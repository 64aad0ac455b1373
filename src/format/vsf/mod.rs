//! VSF: a binary format for typed values, tensors and raw bytes, in every dialect that real files speak.
//!
//! ```text
//!   RÅ< header: version, labels >   sections: [(name: values) …], or raw bytes
//!     input      bytes at offsets, and a cursor over them
//!     walk       one value at a time, recognised by its markers     ways     those that may be one of several
//!     resync     what and how long values are that do not say so             formless  those in no known form
//!     section    fields and values of one section
//!     file       the header and its labels      layout, generations   what they say about the rest
//!     build, plan, encode, read_back      files of the design, written      pack     elements of any width
//!     value, element, spirix, eagle, colour     what a file holds
//!     verify, seal, digest, claims   hashes and signatures   registry  names that mean the same everywhere
//!     alone       a value or a section without a file
//!     project, view        the same as a tree of directories: names, npy, arrays, gather, kept, show, refers
//!     record, found, assemble     a file from such a tree: supply, remake, arrange, text      rewrite, sign      signed files
//! ```
//!
//! Reading takes bytes, through [`Input`], and never more of them than it needs: a header is read to open a file,
//! a section when it is asked for, and tensors and blobs not at all; they are ranges of the file. Everything a
//! file says about itself is a claim: sizes are compared with what is there before anything is allocated, nesting
//! and counts have limits, and what cannot be read is kept as bytes beside what can.
//!
//! ```
//! use vaso::format::vsf;
//!
//! let bytes: &[u8] = b"R\xC3\x85<b3\x20z3\x02y3\x01n3\x01(d3\x01ao3\x20b3\x0Cn3\x01)>[(d3\x01k:u3\x07)]";
//! let file = vsf::open(bytes)?;
//! let section = file.section(bytes, &file.labels[0])?.section;
//! assert_eq!(section.field("k").unwrap().values[0].value, vsf::Value::Unsigned(vsf::Width::W3, 7));
//! # Ok::<(), vaso::error::Error>(())
//! ```

mod alone;
mod arrange;
mod arrays;
mod assemble;
mod build;
mod claims;
mod colour;
mod digest;
mod eagle;
mod element;
mod encode;
mod file;
mod formless;
mod found;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gather;
mod generations;
mod input;
mod kept;
mod layout;
mod names;
mod npy;
mod pack;
mod plan;
mod project;
mod read_back;
mod record;
mod refers;
pub mod registry;
mod remake;
mod resync;
mod rewrite;
mod seal;
mod section;
mod show;
mod sign;
mod spirix;
mod supply;
mod text;
mod value;
mod verify;
mod view;
mod walk;
mod ways;
mod wrapped;

pub use alone::{read_section, read_value};
pub use assemble::{Assembled, assemble};
pub use build::{Builder, Fields, is_name};
pub use claims::Claims;
pub use eagle::{Count, EPOCH, EagleTime, Mark, OSCILLATIONS, Unit};
pub use element::{Element, Width};
pub use encode::Unfit;
pub use file::{File, Header, Kind, Label, Trailing};
pub use found::compare_names;
pub use input::{Fault, Input, Wrong};
pub use pack::{Misfit, Sample, pack, packed_len, unpack, unpack_bytes};
pub use project::{Project, Signature, open as open_project};
pub use record::{NAME as RECORD, Record};
pub use seal::{Check, Outcome, Sealing, UNVERIFIED};
pub use section::Body;
pub use sign::{generate, key_from, public_from, public_text, signed};
pub use spirix::Spirix;
pub use value::{
    Algorithm, Data, Field, Item, Packed, Reference, Rest, Sealed, Section, Tensor, Value, Wrapped, count_of,
};

pub use verify::{Keys, verify, verify_section};

/// How every file begins.
pub const MAGIC: &[u8; 4] = b"R\xC3\x85<";

/// The newest version that is known.
pub const NEWEST: u64 = 10;

/// The longest header.
pub const MAX_HEADER: u64 = 16 << 20;

/// The most labels.
pub const MAX_LABELS: u64 = 1 << 20;

/// The most fields of one section.
pub const MAX_FIELDS: u64 = 1 << 18;

/// The longest name.
pub const MAX_NAME: u64 = 64 << 10;

/// The most sections within each other.
pub const MAX_DEPTH: u32 = 64;

/// The most dimensions of a tensor.
pub const MAX_RANK: u64 = 64;

/// The longest value that is taken into memory while it is read.
const SMALL: u64 = 64 << 10;

/// The most bytes of one section that are taken into memory.
const MAX_MEMORY: u64 = 16 << 20;

/// Reads a file's header. Sections are read with [`File::section`].
pub fn open(input: &(impl Input + ?Sized)) -> crate::error::Result<File> {
    file::open(&input)
}
