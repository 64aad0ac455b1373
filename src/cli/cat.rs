//! `vaso cat`

use std::path::PathBuf;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;

/// Print files of a project.
///
/// Of a symbolic link, what it leads to inside the project.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// Files in it
    #[arg(required = true)]
    path: Vec<PathBuf>,
}

pub fn run(args: Args) -> Result<Exit> {
    for path in &args.path {
        let file = project::find_file(&args.source, path)?;
        output::print(|out| project::read(&file, |piece| out.write_all(piece)))?;
    }
    Ok(Exit::Done)
}
