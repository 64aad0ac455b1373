//! What two databases say that their tables, views, indices and triggers are.
//!
//! A view that was changed, or a column that is computed in another way, moves no row, and yet nobody who reads it
//! sees what he saw before. What SQLite makes for itself does not count.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::database::{Database, value};
use crate::error::Result;

/// How the names of all that SQLite makes for itself begin.
const OWN: &str = "sqlite_";

/// What became of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    /// Only the second database has it.
    Added,
    /// Only the first one has it.
    Removed,
    /// It reads otherwise.
    Changed,
}

impl Definition {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Definition::Added => "added",
            Definition::Removed => "removed",
            Definition::Changed => "changed",
        }
    }
}

/// The definitions that differ, by kind and name.
pub fn changed_definitions(before: &Database, after: &Database) -> Result<BTreeMap<String, Definition>> {
    let (first, second) = (all(before)?, all(after)?);
    let removed = first.keys().filter(|key| !second.contains_key(*key));
    let mut changed: BTreeMap<_, _> = removed.map(|key| (key.clone(), Definition::Removed)).collect();
    for (key, text) in &second {
        match first.get(key) {
            None => changed.insert(key.clone(), Definition::Added),
            Some(before) if before != text => changed.insert(key.clone(), Definition::Changed),
            Some(_) => None,
        };
    }
    Ok(changed)
}

/// The hash of every definition, by kind and name.
fn all(database: &Database) -> Result<BTreeMap<String, blake3::Hash>> {
    database.with(|link| {
        let sql = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL";
        let mut statement = link.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let (mut all, mut bytes) = (BTreeMap::new(), 0);
        while let Some(row) = rows.next()? {
            let [kind, name, sql] = [0, 1, 2].map(|i| row.get_ref(i).map(value::text));
            let name = name?;
            if name.get(..OWN.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(OWN)) {
                continue;
            }
            let key = format!("{} {name}", kind?);
            database.budget(&mut bytes, key.len())?;
            all.insert(key, blake3::hash(sql?.as_bytes()));
        }
        Ok(all)
    })
}
