//! The background daemon: the program started again, with a pipe that says when the mount answers.
//!
//! Not a fork: a process that has threads cannot be forked safely. The child's standard output is the pipe.
//! It writes one line when it is ready, and then lets go of the terminal; what goes wrong before that it says
//! on standard error, which is the caller's.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// How a start ended.
#[derive(Debug)]
pub enum Ready {
    /// The mount answers; the line that the child wrote.
    Mounted(String),
    /// The child has said why not, and ended with this code.
    Failed(i32),
}

/// Starts this program again with `args`, and waits until its mount answers.
pub fn launch(args: &[OsString]) -> Result<Ready> {
    let program = std::env::current_exe().map_err(|e| Error::io("find", "this program", e))?;
    let mut child = Command::new(&program)
        // By its own name, whatever name it was called by: as a helper of mount(8) it would read other arguments.
        .arg0("vaso")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| Error::io("start", &program, e))?;
    let pipe = child.stdout.take().expect("standard output was piped");
    let mut line = String::new();
    BufReader::new(pipe).read_line(&mut line).map_err(|e| Error::io("wait for", &program, e))?;
    if line.ends_with('\n') {
        return Ok(Ready::Mounted(line.trim_end().to_string()));
    }
    let status = child.wait().map_err(|e| Error::io("wait for", &program, e))?;
    Ok(Ready::Failed(status.code().unwrap_or(2)))
}

/// In the child: a session of its own, so that neither a closed terminal nor ^C in it ends the mount.
pub fn detach_session() {
    // It fails only for a process that leads a group already, and then there is nothing to detach from.
    let _ = nix::unistd::setsid();
}

/// In the child: says that the mount answers, and lets go of the caller's files and folder.
pub fn announce(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    // A caller that was killed meanwhile does not end the mount.
    if let Err(e) = said {
        log::debug!("nobody waits for the mount: {e}");
    }
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(|e| Error::io("open", "/dev/null", e))?;
    nix::unistd::dup2_stdout(&null).map_err(|e| Error::io("close", "standard output", e))?;
    nix::unistd::dup2_stderr(&null).map_err(|e| Error::io("close", "standard error", e))?;
    std::env::set_current_dir("/").map_err(|e| Error::io("change to", "/", e))
}
