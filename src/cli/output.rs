//! What is printed: names made harmless, pipes that close, progress that appears when it is worth it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result};

/// A text without the control characters by which a file name could command a terminal.
pub fn plain(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    match text.contains(harmful) {
        false => Cow::Borrowed(text),
        true => text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect::<String>().into(),
    }
}

/// A name for standard output: as it is for a program, harmless for a terminal.
pub fn name(bytes: &[u8]) -> Cow<'_, [u8]> {
    // Asked once: there may be a million names.
    static TERMINAL: OnceLock<bool> = OnceLock::new();
    if !TERMINAL.get_or_init(|| io::stdout().is_terminal()) {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(plain(&String::from_utf8_lossy(bytes)).into_owned().into_bytes())
}

/// Prints one JSON value and a newline.
pub fn json(value: &impl Serialize) -> Result<()> {
    print(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Writes to standard output. A reader that has seen enough is no error.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => match e.downcast::<Error>() {
            Ok(ours) => Err(ours),
            Err(e) => Err(Error::Refused(format!("cannot write to standard output: {e}"))),
        },
        Ok(()) => Ok(()),
    }
}

/// Says something on standard error, if anybody listens.
pub fn complain(text: &str) {
    // A closed pipe is no error, and there is no better place to report any other.
    let _ = writeln!(io::stderr(), "vaso: {}", plain(text));
}

/// Says on standard error that work of unknown length goes on, if that is a terminal, until it is dropped.
pub fn waiting(label: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is well formed");
    let bar = ProgressBar::new_spinner().with_style(style).with_message(label);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A progress bar on standard error, if that is a terminal and the work takes over a second.
pub struct Progress {
    label: &'static str,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new(label: &'static str) -> Progress {
        Progress { label, since: Instant::now(), bar: None }
    }

    /// So many bytes of so many are done.
    pub fn at(&mut self, done: u64, all: u64) {
        if self.bar.is_none() && self.since.elapsed() > Duration::from_secs(1) && io::stderr().is_terminal() {
            let style = "{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left";
            let style = ProgressStyle::with_template(style).expect("the template is well formed");
            self.bar = Some(ProgressBar::new(all).with_style(style).with_message(self.label));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
