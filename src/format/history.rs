//! What can be asked of a project that keeps its earlier states, for any format that does.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::database;
use crate::error::Result;
use crate::tree::Content;

/// One earlier state, or the current one.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// Its number.
    pub number: u64,
    /// Its name in the project.
    pub name: String,
    /// When it was written, UTC.
    pub time: String,
    /// Bytes.
    pub size: u64,
    /// Whether it can be shown.
    pub valid: bool,
    /// What is wrong with it, if it cannot.
    pub problem: Option<String>,
    /// Whether it is the current one.
    pub current: bool,
    /// The rows before and after of each table that differs from the valid state before it; none for the first.
    pub changed: Option<BTreeMap<String, Rows>>,
    /// What it and the valid state before it claim as the version of their layout, where that is not the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<database::Versions>,
    /// Tables, views, indices and triggers that are defined otherwise than in the valid state before it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub definitions: BTreeMap<String, database::Definition>,
}

/// Rows of a table.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rows {
    /// In the state before.
    pub before: u64,
    /// In this one.
    pub after: u64,
}

/// What changed between two states.
#[derive(Debug, Clone, Serialize)]
pub struct Changes {
    /// The number of the first.
    pub from: u64,
    /// The number of the second.
    pub to: u64,
    /// The changes, in the words of the format.
    #[serde(flatten)]
    pub changes: serde_json::Value,
    /// The same, a line for each.
    #[serde(skip)]
    pub lines: Vec<String>,
}

/// A state that is taken out.
#[derive(Debug)]
pub struct Extract {
    /// Its name in the project.
    pub name: String,
    /// Its stored bytes.
    pub content: Content,
    /// Their CRC-32, where the project records one.
    pub crc32: Option<u32>,
    /// When it was written.
    pub time: std::time::SystemTime,
    /// The permissions of a copy of it.
    pub mode: u32,
    /// What is wrong with it, if it is not valid.
    pub problem: Option<String>,
}

/// What pruning has done, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pruned {
    /// Numbers of states that were removed.
    pub removed: Vec<u64>,
    /// Bytes of them.
    pub bytes: u64,
    /// Numbers of states that stay beyond those that were to be kept, and why.
    pub spared: Vec<Spared>,
    /// How many stay in all.
    pub kept: usize,
    /// Processes of other users whose open files could not be looked at.
    pub unseen_processes: usize,
}

/// A state that is older than those that were to be kept, and stays.
#[derive(Debug, Clone, Serialize)]
pub struct Spared {
    /// Its name.
    pub name: String,
    /// Why it stays.
    pub because: String,
}

/// A project that keeps its earlier states.
pub trait Versions {
    /// All states, the oldest first. Looks at all of each; `progress` is told bytes done and bytes in all.
    fn log(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<State>>;

    /// What changed from one state to another. Without the second it is the current one, without the first the valid
    /// one before that.
    fn diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Changes>;

    /// The stored bytes of a state.
    fn extract(&self, number: u64) -> Result<Extract>;

    /// Removes old states, and keeps the newest `keep` that are valid, the current one, and whatever may hold what no
    /// other has. With `dry_run` nothing is removed.
    fn prune(&self, keep: usize, dry_run: bool) -> Result<Pruned>;
}
