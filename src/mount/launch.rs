//! The background daemon: the program started again, with a pipe that says when the mount answers.
//!
//! Not a fork: a process that has threads cannot be forked safely. The child's standard output is the pipe.
//! It writes one line when it is ready, and lets go of the terminal; what goes wrong before that it says on
//! standard error, which is the caller's. On its standard input it hears that the line was passed on. Where that does
//! not come, it ends the mount: a command that fails, or is killed, leaves none that nobody knows of.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// How a start ended.
#[derive(Debug)]
pub enum Ready {
    /// The mount answers.
    Mounted,
    /// The child has said why not, and ended with this code.
    Failed(i32),
}

/// Starts this program again with `args`, and waits until its mount answers. Then `report` passes on the line that the
/// child wrote; where it fails, the mount is undone.
pub fn launch(args: &[OsString], report: impl FnOnce(&str) -> Result<()>) -> Result<Ready> {
    let program = std::env::current_exe().map_err(|e| Error::io("find", "this program", e))?;
    let mut child = Command::new(&program)
        // By its own name, whatever name it was called by: as a helper of mount(8) it would read other arguments.
        .arg0("vaso")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| Error::io("start", &program, e))?;
    let pipe = child.stdout.take().expect("standard output was piped");
    let mut line = String::new();
    BufReader::new(pipe).read_line(&mut line).map_err(|e| Error::io("wait for", &program, e))?;
    if line.ends_with('\n') {
        let mut passed_on = child.stdin.take().expect("standard input was piped");
        if let Err(e) = report(line.trim_end()) {
            drop(passed_on);
            child.wait().map_err(|e| Error::io("wait for", &program, e))?;
            return Err(e);
        }
        passed_on.write_all(b"\n").map_err(|e| Error::io("tell", &program, e))?;
        return Ok(Ready::Mounted);
    }
    let status = child.wait().map_err(|e| Error::io("wait for", &program, e))?;
    Ok(Ready::Failed(status.code().unwrap_or(2)))
}

/// In the child, before it opens anything: a session of its own, so that neither a closed terminal nor ^C in it ends the
/// mount; and none of the files that the caller had open. A script's lock would be held, and a pipe not end, for as long
/// as the mount lives.
pub fn detach_session() {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = open.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The one that the list was read by is closed already.
        let _ = nix::unistd::close(number);
    }
    // It fails only for a process that leads a group already, and then there is nothing to detach from.
    let _ = nix::unistd::setsid();
}

/// In the child: says that the mount answers, lets go of the caller's files and folder, and waits until the caller has
/// passed it on. An error is a caller who will not.
pub fn announce(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Error::io("tell", "the caller", e))?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(|e| Error::io("open", "/dev/null", e))?;
    nix::unistd::dup2_stdout(&null).map_err(|e| Error::io("close", "standard output", e))?;
    nix::unistd::dup2_stderr(&null).map_err(|e| Error::io("close", "standard error", e))?;
    std::env::set_current_dir("/").map_err(|e| Error::io("change to", "/", e))?;
    let heard = std::io::stdin().read_exact(&mut [0]);
    heard.map_err(|e| Error::io("hear from", "the caller", e))?;
    nix::unistd::dup2_stdin(&null).map_err(|e| Error::io("close", "standard input", e))
}
