//! `vaso extract`

use std::io::Write;
use std::path::PathBuf;

use super::exit::Exit;
use super::{output, project};
use crate::error::{Error, Result};
use crate::format::history::Extract;
use crate::store::Target;

/// Copy one snapshot out of a project, byte for byte.
///
/// Where the number has several files, the first valid one. One that is not valid is copied too, with exit code 1; one
/// that does not have the checksum that the project records for it is not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project
    source: PathBuf,
    /// The number of the snapshot, as `vaso log` lists it
    number: u64,
    /// The new file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(args: Args) -> Result<Exit> {
    let project = project::open(&args.source)?;
    let Extract { name, content, crc32, time, mode, problem } =
        project::versions(project.as_ref())?.extract(args.number)?;
    let cannot = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Refused(format!("{} exists already; choose another name", args.output.display()))
        }
        _ => Error::Refused(format!("cannot write {}: {e}", args.output.display())),
    };
    let mut target = Target::create(&args.output).map_err(cannot)?;
    let mut progress = output::Progress::new("copying");
    let mut buf = vec![0; 1 << 20];
    let (mut at, mut sum) = (0, crc32fast::Hasher::new());
    loop {
        let n = content.read_at(at, &mut buf)?;
        if n == 0 {
            break;
        }
        target.write_all(&buf[..n]).map_err(cannot)?;
        sum.update(&buf[..n]);
        at += n as u64;
        progress.at(at, content.size());
    }
    if crc32.is_some_and(|recorded| recorded != sum.finalize()) {
        let what = "its bytes do not have the checksum that is recorded for them; nothing is written, and `vaso recover` sees what is left";
        return Err(Error::damaged("crc-mismatch", name, what));
    }
    target.finish(mode, time).map_err(cannot)?;
    let Some(problem) = problem else { return Ok(Exit::Done) };
    output::complain(&format!(
        "{name} is not valid ({problem}); {} has its bytes as they are, and `vaso recover` sees what is left in them",
        args.output.display()
    ));
    Ok(Exit::Findings)
}
