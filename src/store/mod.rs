//! Bytes and durability: the only door to the disk.
//!
//! Reading goes through a [`Source`]: one open file with the [`Stamp`] it had when it was loaded. Every read
//! compares the stamp before and after, so bytes that another program wrote in the meantime are never taken
//! for the project's. Nothing is mapped into memory: a mapping cannot be checked after its bytes were used,
//! and a file that shrinks under one kills the process.

mod cache_folder;
mod folder;
mod location;
pub mod path_text;
mod private;
mod publish;
mod quiet;
mod reach;
mod record_file;
mod source;
mod stamp;
mod target;

pub use cache_folder::CacheFolder;
pub use folder::{Folder, Item, ItemKind, look_for_users};
pub use location::{Location, SESSION, led_to};
pub use private::mode_of_copy;
pub use publish::{Draft, drafted_by, replace};
pub use reach::MOUNT_TYPE;
pub use record_file::RecordFile;
pub use source::Source;
pub use stamp::{Stamp, State};
pub use target::Target;
