//! `vaso vsf`

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::exit::Exit;
use super::{cp, output, project};
use crate::error::{Error, Result, from_io};
use crate::finding::Severity;
use crate::format::vsf::{self, Builder, RECORD, Record};
use crate::store::{Location, Source, Target};
use crate::tree::Spot;

/// Make and take apart VSF files.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the tree of a VSF file to a new directory
    ///
    /// It is what a mount shows, with a record of the exact types (`.vsf-record.json`) for `vaso vsf pack`.
    Unpack {
        /// The VSF file
        file: PathBuf,
        /// The new directory
        dir: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a VSF file from a directory
    ///
    /// Directories become sections; text files, .npy and .packed their values; .bin files raw bytes.
    Pack {
        /// The directory
        dir: PathBuf,
        /// The new VSF file
        file: PathBuf,
        /// Put the BLAKE3 hash of the file into it
        #[arg(long)]
        hash: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Sign a VSF file (Ed25519)
    ///
    /// The unsigned file is kept beside it as FILE~1.
    Sign {
        /// The VSF file
        file: PathBuf,
        /// The private key, as `vaso vsf keygen` makes it
        #[arg(long)]
        key: PathBuf,
        /// Write the signed file here, and leave FILE as it is
        #[arg(short, long, value_name = "OUT")]
        output: Option<PathBuf>,
        /// Sign every section by itself too; those of a file whose sections were signed are
        #[arg(long)]
        sections: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a private key; the public key is printed
    Keygen {
        /// The new file of the private key
        #[arg(short, long, value_name = "KEY", default_value = "vaso.key")]
        output: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: Args) -> Result<Exit> {
    match args.verb {
        Verb::Unpack { file, dir, json } => unpack(&file, &dir, json),
        Verb::Pack { dir, file, hash, json } => pack(&dir, &file, hash, json),
        Verb::Sign { file, key, output, sections, json } => {
            sign(&file, &key, output.as_deref(), sections, json)
        }
        Verb::Keygen { output, json } => {
            let public = vsf::generate(&output)?;
            match json {
                true => output::json(&json!({ "file": output.to_string_lossy(), "public": public }))?,
                false => output::print(|out| writeln!(out, "{public}"))?,
            }
            Ok(Exit::Done)
        }
    }
}

fn unpack(file: &Path, dir: &Path, json: bool) -> Result<Exit> {
    let project = project::open(file)?;
    if project.kind() != "vsf" {
        return Err(Error::not_a_project(file, "this is no VSF file"));
    }
    let mut record = Record::of(project.source())?;
    let complain = |reasons: &[String]| {
        let tell = |why| output::complain(&format!("what is unpacked cannot be packed again: {why}"));
        reasons.iter().for_each(tell);
    };
    complain(&record.cannot);
    for note in &record.notes {
        output::complain(&format!("will be in a packed file, but may be read as something else: {note}"));
    }
    for seal in &record.seals {
        output::complain(&format!("fits this file alone, and will not be in one that is packed: {seal}"));
    }
    let failed = cp::copy(Spot::top(project.clone()), project.source().path(), dir)?;
    complain(record.compare(dir));
    let to = dir.join(RECORD);
    let cannot = |e| cp::cannot_write(&to, e);
    let mut target = Target::create(&to).map_err(cannot)?;
    target.write_all(&record.to_bytes()).map_err(cannot)?;
    target.finish(0o644, SystemTime::now()).map_err(cannot)?;
    if json {
        let (dir, Record { cannot, seals, notes, .. }) = (dir.to_string_lossy(), &record);
        let said = json!({ "dir": dir, "failed": failed, "cannot": cannot, "seals": seals, "notes": notes });
        output::json(&said)?;
    }
    // Sections of which only a part could be read: the rest of each is there as bytes.
    let findings = project.findings().list();
    let lost: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    for finding in &lost {
        output::complain(&format!("{}: {} ({})", finding.path, finding.message, finding.code));
    }
    Ok(if failed == 0 && lost.is_empty() { Exit::Done } else { Exit::Findings })
}

fn pack(dir: &Path, file: &Path, hash: bool, json: bool) -> Result<Exit> {
    // Before minutes of work for nothing.
    if file.symlink_metadata().is_ok() {
        return Err(cp::cannot_write(file, io::ErrorKind::AlreadyExists.into()));
    }
    let mut progress = output::Progress::new("comparing");
    let mut made = vsf::assemble(dir, &mut |done, all| progress.at(done, all))?;
    drop(progress);
    if hash {
        made.builder.hashed();
    }
    let size = write(&made.builder, file, 0o644, None, |packed| vsf::compare_names(dir, packed))?;
    made.notes.iter().for_each(|note| output::complain(note));
    if json {
        let (hashed, notes) = (made.builder.is_hashed(), made.notes);
        let file = file.to_string_lossy();
        output::json(&json!({ "file": file, "size": size, "hashed": hashed, "notes": notes }))?;
    }
    Ok(Exit::Done)
}

fn sign(file: &Path, key: &Path, output: Option<&Path>, sections: bool, json: bool) -> Result<Exit> {
    let key = vsf::key_from(key)?;
    let public = key.verifying_key();
    let source = Source::open(Arc::new(Location::find(file)?))?;
    let (builder, sections) = vsf::signed(&source, key, sections)?;
    let path = output.unwrap_or(source.path());
    match output {
        Some(output) => write(&builder, output, 0o644, None, |_| Ok(()))?,
        None => {
            let meta = File::open(path).and_then(|file| file.metadata());
            let mode = meta.map_err(|e| Error::io("open", path, e))?.permissions().mode() & 0o777;
            write(&builder, path, mode, Some(&source), |_| Ok(()))?
        }
    };
    if json {
        let (file, key) = (path.to_string_lossy(), vsf::public_text(&public));
        output::json(&json!({ "file": file, "key": key, "sections": sections }))?;
    }
    Ok(Exit::Done)
}

/// Writes a file under its name, which nobody has, or the file of `old`, which stays under another. `check` looks at it
/// before it gets its name. How long it is.
fn write(
    builder: &Builder,
    path: &Path,
    mode: u32,
    old: Option<&Source>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<u64> {
    let cannot = |e: io::Error| from_io(e, |e| cp::cannot_write(path, e));
    builder.check().map_err(|why| Error::Refused(format!("cannot write {}: {why}", path.display())))?;
    let target = match old {
        None => Target::create(path),
        Some(_) => Target::replacing(path),
    };
    let mut target = target.map_err(cannot)?;
    let mut progress = output::Progress::new("writing");
    let size = builder.write_telling(&mut target, &mut |done, all| progress.at(done, all)).map_err(cannot)?;
    drop(progress);
    check(target.written())?;
    if let Some(old) = old {
        old.check()?;
    }
    target.finish(mode, SystemTime::now()).map_err(cannot)?;
    Ok(size)
}
