//! Mounts: the only room that knows the kernel's protocol.
//!
//! ```text
//!   adapter   requests to the volume's methods      errno     errors to numbers
//!   kernel    the mount itself                      patience  threads for what takes its time
//!   session   the daemon's life                     launch    the program started again, in the background
//!   unmount   ending a mount from outside           table     what is mounted where       options   -o
//!   memory    what threads share of it               readahead how far the kernel reads ahead
//! ```

mod adapter;
mod backing;
mod errno;
mod kernel;
mod launch;
mod memory;
mod options;
mod patience;
mod readahead;
mod session;
mod table;
mod unmount;

pub use launch::{Ready, announce, detach_session, launch};
pub use options::MountOptions;
pub use session::{Mounting, run};
pub use unmount::{Unmounted, unmount};
