//! Where the log goes: to standard error; once a mount is in the background, to the system's log.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;

use log::Level;

use super::output;

/// Where the system takes messages of daemons.
const SYSTEM_LOG: &str = "/dev/log";

static SYSTEM: OnceLock<UnixDatagram> = OnceLock::new();

/// Starts the log. `reports` leaves out findings, for verbs that print them.
pub fn start(verbose: u8, quiet: bool, reports: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "off",
        // The library that speaks to the kernel is told apart: its own words are for those who debug it.
        (_, 0) => "warn,fuser=off",
        (_, 1) => "info,fuser=warn",
        (_, _) => "debug,fuser=info",
    };
    let env = env_logger::Env::new().filter_or("VASO_LOG", level);
    let mut builder = env_logger::Builder::from_env(env);
    if reports {
        builder.filter_module(crate::finding::LOG, log::LevelFilter::Off);
    }
    builder
        .format(|f, record| {
            let message = record.args().to_string();
            let text = output::plain(&message);
            match SYSTEM.get() {
                // A message that nobody takes is lost, and the mount goes on.
                Some(socket) => drop(tell(socket, record.level(), &text)),
                None => writeln!(f, "vaso: {}: {text}", record.level().as_str().to_ascii_lowercase())?,
            }
            Ok(())
        })
        .init();
}

/// From now on the log goes to the system's, if it has one: standard error is about to be nobody's.
pub fn to_the_system() {
    match connect(Path::new(SYSTEM_LOG)) {
        Ok(socket) => drop(SYSTEM.set(socket)),
        Err(e) => log::debug!("the system has no log at {SYSTEM_LOG}: {e}"),
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    // A log that is full must not hold up a reader.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn tell(socket: &UnixDatagram, level: Level, text: &str) -> io::Result<usize> {
    // The facility of daemons, and how grave it is.
    let priority = 3 * 8
        + match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
    socket.send(format!("<{priority}>vaso[{}]: {text}", std::process::id()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_log_is_told_who_speaks_and_how_grave_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        let socket = connect(&path).unwrap();
        tell(&socket, Level::Warn, "the disk is full").unwrap();
        let mut message = [0; 200];
        let n = log.recv(&mut message).unwrap();
        let expected = format!("<28>vaso[{}]: the disk is full", std::process::id());
        assert_eq!(std::str::from_utf8(&message[..n]).unwrap(), expected);
        // Nobody listens any more: an error, and no wait.
        drop(log);
        assert!(tell(&socket, Level::Error, "gone").is_err());
    }
}
