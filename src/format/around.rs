//! What lies about a project and is no part of it.

use serde::Serialize;

use crate::database::Beyond;
use crate::signs::Lock;

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Around {
    /// Who is at work in the project, or was.
    pub locks: Vec<Lock>,
    /// Files that somebody has left.
    pub leftovers: Vec<Leftover>,
}

impl Around {
    /// That there is nothing of the kind.
    pub fn nothing() -> &'static Around {
        static NOTHING: Around = Around { locks: Vec::new(), leftovers: Vec::new() };
        &NOTHING
    }
}

/// What a file was, before it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// The database of a session.
    Staging,
    /// What the application saved by itself.
    Autosave,
    /// A sync tool's copy.
    ConflictCopy,
    /// What SQLite keeps beside a database.
    Log,
    /// A copy made before a change.
    Backup,
    /// A file that was never finished.
    Temporary,
}

/// A file that was left.
#[derive(Debug, Clone, Serialize)]
pub struct Leftover {
    /// What it was.
    pub what: Left,
    /// Its path: in the project, or, where it lies beside it, from the root.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// When it was last written.
    pub written_utc: String,
    /// The snapshot that is nearest to it, or the project's database.
    pub compared_with: Option<String>,
    /// What it holds that none of those has that it was compared with.
    pub unsaved: Option<Beyond>,
    /// Whether it is older than what it was compared with.
    pub older: bool,
    /// What of the log beside it cannot be used, so that this may not be all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_damage: Option<String>,
    /// Why nobody can tell.
    pub problem: Option<String>,
}
