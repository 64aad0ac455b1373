//! The command line: one file for each verb, and no logic of its own.
//!
//! Data goes to standard output, prose and progress to standard error. Exit codes are in `exit.rs`.

mod cat;
mod cp;
mod demo;
mod diff;
mod exit;
mod extract;
mod helper;
mod info;
mod log;
mod logging;
mod ls;
mod mount;
mod output;
mod project;
mod prune;
mod recover;
mod umount;
mod verify;
mod vsf;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};

use crate::error::Result;
use exit::Exit;

/// Open scientific project files as ordinary directories.
///
/// vaso mounts .vaso packages, .vasopack bundles and project databases as directories that any program can read:
/// file managers, Python, R, backup software. Looking never changes a byte of the project.
#[derive(Debug, Parser)]
#[command(
    name = "vaso",
    version,
    after_help = "\
Try it:
  vaso demo                         makes a sample project, mounts it, shows what to try
  vaso mount Study.vaso ~/study     the project is now a directory
  vaso umount ~/study

Exit codes: 0 done; 1 findings, or refused and explained; 2 the source is unreadable or not a project;
3 the source was changed meanwhile; 4 busy; 64 wrong usage.

VASO_LOG=debug (or -v, -vv) shows what the program does."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Mount(mount::Args),
    Umount(umount::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Cp(cp::Args),
    Info(info::Args),
    Verify(verify::Args),
    Log(log::Args),
    Diff(diff::Args),
    Extract(extract::Args),
    Prune(prune::Args),
    Recover(recover::Args),
    Vsf(vsf::Args),
    Demo(demo::Args),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let as_helper = helper::is_called(&args);
    let exit = start(if as_helper { helper::translate(args) } else { args });
    if as_helper { helper::exit(exit) } else { exit.into() }
}

fn start(args: Vec<OsString>) -> Exit {
    // A file that may grow no further is an error to be told, as a full disk is, and not the end.
    let _ = SigSet::from_iter([Signal::SIGXFSZ]).thread_block();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Asking for help is no error; clap's own code for wrong usage is another than ours.
            let asked = !e.use_stderr();
            return match e.print() {
                Ok(()) if asked => Exit::Done,
                _ => Exit::Usage,
            };
        }
    };
    // What these verbs print is the findings; logging them too would say everything twice.
    let reports = matches!(cli.verb, Verb::Info(_) | Verb::Verify(_));
    logging::start(cli.verbose, cli.quiet, reports);
    match run(cli.verb) {
        Ok(exit) => exit,
        Err(e) => {
            output::complain(&e.to_string());
            exit::of(&e)
        }
    }
}

fn run(verb: Verb) -> Result<Exit> {
    match verb {
        Verb::Mount(args) => mount::run(args),
        Verb::Umount(args) => umount::run(args),
        Verb::Ls(args) => ls::run(args),
        Verb::Cat(args) => cat::run(args),
        Verb::Cp(args) => cp::run(args),
        Verb::Info(args) => info::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Log(args) => log::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Extract(args) => extract::run(args),
        Verb::Prune(args) => prune::run(args),
        Verb::Recover(args) => recover::run(args),
        Verb::Vsf(args) => vsf::run(args),
        Verb::Demo(args) => demo::run(args),
    }
}
