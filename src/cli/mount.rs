//! `vaso mount`

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::json;

use super::exit::Exit;
use super::{logging, output, project};
use crate::error::{Error, Result};
use crate::mount::{self, MountOptions, Mounting, Ready};
use crate::tree::Kind;
use crate::volume::Volume;

/// Show a project as a directory.
///
/// Returns when the mount answers; a background process serves it until `vaso umount DIR`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Options for -o (several with commas):
  uid=N, gid=N        owner of everything (default: who mounts)
  umask=OCTAL         permission bits to take away
  allow_other         let every user in      (needs user_allow_other in /etc/fuse.conf, except for root)
  allow_root          let root in as well
  default_permissions have the kernel check permission bits (follows from allow_other with uid, gid or umask)
  check               check stored entries against their checksum when they are opened, not only in `verify`
  raw                 show what is stored alone, without the derived folder `browse`
  snapshot=N, at=TIME show one state of a bundle, as at=2026-03-01T12:00Z, and stay with it; of times those of the
                      snapshots' files count, and at=2026-03-01 is 00:00 (UTC) of that day
  nopassthrough       have the daemon read snapshots too, which as root the kernel does by itself
  cache=FOLDER        as --cache; nocache: as --no-cache
  noxattr             give no extended attributes; makes `ls -l` several times faster
  nofail              a project that is not there is no error (for fstab)
  ro,noexec,noatime   as in mount(8); its other options are passed over

In /etc/fstab:  /data/Study.vaso  /mnt/study  fuse.vaso  ro,nofail  0  0")]
pub struct Args {
    /// Options, as -o uid=1000,umask=027
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Keep the indexes of large packed files here (default: $XDG_CACHE_HOME/vaso, else ~/.cache/vaso)
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Keep no indexes on disk
    #[arg(long)]
    no_cache: bool,
    /// Stay in the foreground; ^C unmounts
    #[arg(short, long)]
    foreground: bool,
    /// Print one JSON object when the mount answers
    #[arg(long)]
    json: bool,
    /// The project
    source: PathBuf,
    /// An existing directory
    dir: PathBuf,
    /// The background process: announce readiness, then let go of the terminal
    #[arg(long, hide = true)]
    child: bool,
    /// For mount(8): do everything but the mount
    #[arg(long, hide = true)]
    fake: bool,
    /// For mount(8): pass over unknown options
    #[arg(long, hide = true)]
    sloppy: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let mut options = match args.sloppy {
        true => MountOptions::parse_known(&args.options)?,
        false => MountOptions::parse(&args.options)?,
    };
    // The child reads the same options, and whoever has started it has said this.
    if !args.child {
        options.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    }
    options.nocache |= args.no_cache;
    if let Some(folder) = &args.cache {
        options.cache = Some(std::path::absolute(folder).map_err(|e| Error::io("find", folder, e))?);
    }
    if options.nofail && !args.source.exists() {
        log::warn!("{} is not there; nothing is mounted (nofail)", args.source.display());
        return Ok(Exit::Done);
    }
    if args.fake {
        return project::open(&args.source).map(|_| Exit::Done);
    }
    if !args.foreground && !args.child {
        return background(&args);
    }
    if args.child {
        mount::detach_session();
    }
    let mounting = Mounting { source: args.source.clone(), dir: args.dir.clone(), options };
    mount::run(&mounting, move |volume| answer(&args, volume))?;
    Ok(Exit::Done)
}

/// The mount answers: say so to who waits.
fn answer(args: &Args, volume: &Volume) -> Result<()> {
    let current = volume.current();
    let container = current.container();
    let tree = container.tree();
    let files = tree.ids().filter(|id| tree.node(*id).kind != Kind::Directory).count();
    let report = json!({
        "source": container.source().path().to_string_lossy(),
        "dir": std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone()).to_string_lossy(),
        "kind": container.kind(),
        "mode": "ro",
        "pid": std::process::id(),
        "files": files,
        "findings": container.findings().list(),
    });
    if args.child {
        logging::to_the_system();
        return mount::announce(&report.to_string());
    }
    if args.json {
        return output::print(|out| writeln!(out, "{report}"));
    }
    log::info!("ready");
    Ok(())
}

fn background(args: &Args) -> Result<Exit> {
    let mut again: Vec<OsString> = vec!["mount".into(), "--child".into()];
    for option in &args.options {
        again.extend(["-o".into(), option.into()]);
    }
    again.extend(args.no_cache.then(|| "--no-cache".into()));
    if let Some(folder) = &args.cache {
        again.extend(["--cache".into(), folder.into()]);
    }
    again.extend(args.sloppy.then(|| "--sloppy".into()));
    again.extend(passed_on());
    again.extend(["--".into(), args.source.clone().into(), args.dir.clone().into()]);
    let report = |report: &str| match args.json {
        true => output::print(|out| writeln!(out, "{report}")),
        false => Ok(()),
    };
    match mount::launch(&again, report)? {
        Ready::Mounted => Ok(Exit::Done),
        // The child has said why.
        Ready::Failed(code) => Ok(Exit::Of(u8::try_from(code).unwrap_or(2))),
    }
}

/// How much is said is the child's business as well.
fn passed_on() -> Option<OsString> {
    match log::max_level() {
        log::LevelFilter::Off => Some("-q".into()),
        log::LevelFilter::Info => Some("-v".into()),
        log::LevelFilter::Debug | log::LevelFilter::Trace => Some("-vv".into()),
        log::LevelFilter::Error | log::LevelFilter::Warn => None,
    }
}
