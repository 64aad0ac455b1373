//! What the writers of a bundle leave beside its data for each other, and for readers: the names of snapshots, HEAD, and
//! locks.
//!
//! ```text
//!   names   numbers of snapshots, and the copies of sync tools        head   which snapshot is current, as they say
//!   lock    who is at work in a project
//! ```
//!
//! None of it is trusted: a snapshot counts because it is valid, whatever HEAD says of it.

pub mod head;
mod lock;
pub mod names;

pub use head::Head;
pub use lock::{Held, Lock, hold, locks, refuse_while_live};
pub use names::Named;
