//! `vaso umount`

use std::path::PathBuf;

use super::exit::Exit;
use crate::error::Result;
use crate::mount::{self, Unmounted};

/// End a mount, and wait until it has finished.
///
/// Says who holds the mount when it is busy (exit code 4). A dead mount that a crash has left is cleared away.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory that is mounted over
    dir: PathBuf,
    /// Free the directory at once; what is open stays readable until it is closed
    #[arg(long)]
    lazy: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let dir = args.dir.display();
    match mount::unmount(&args.dir, args.lazy)? {
        Unmounted::Finished => log::info!("{dir} is unmounted"),
        Unmounted::Lazily => log::info!("{dir} is free; open files stay readable until they are closed"),
        Unmounted::Unseen => {
            log::warn!("{dir} is unmounted; it belongs to another user, so nothing waited for it")
        }
        Unmounted::Dead => log::warn!("{dir} was a dead mount, and is cleared away"),
    }
    Ok(Exit::Done)
}
