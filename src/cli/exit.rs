//! Exit codes, all in one place. Scripts rely on them; a code that goes out of use stays here as a comment.

use std::process::ExitCode;

use crate::error::Error;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: there are findings, or it was refused and explained.
    Findings,
    /// 2: the source cannot be read, or is no project.
    Unreadable,
    /// 3: the source was changed by another program.
    Conflict,
    /// 4: something is in use.
    Busy,
    /// 64: the command line makes no sense.
    Usage,
    /// What a child process has ended with.
    Of(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Findings => 1,
            Exit::Unreadable => 2,
            Exit::Conflict => 3,
            Exit::Busy => 4,
            Exit::Usage => 64,
            Exit::Of(code) => code,
        })
    }
}

/// The exit code of an error. Exhaustive: a new kind of error has to choose here.
pub fn of(error: &Error) -> Exit {
    match error {
        Error::Io { .. } | Error::NotAProject { .. } => Exit::Unreadable,
        Error::Damaged { .. } | Error::Unsupported { .. } => Exit::Findings,
        Error::SourceChanged(_) => Exit::Conflict,
        Error::NotFound(_) | Error::NotADirectory(_) | Error::IsADirectory(_) | Error::NotALink(_) => {
            Exit::Findings
        }
        Error::NameTooLong | Error::Stale(_) | Error::NoAttribute | Error::ReadOnly => Exit::Findings,
        Error::Refused(_) => Exit::Findings,
        Error::Busy(_) => Exit::Busy,
        Error::Usage(_) => Exit::Usage,
    }
}
