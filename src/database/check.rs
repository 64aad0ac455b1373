//! Whether SQLite itself finds a database sound: quickly, or thoroughly.
//!
//! The quick check looks at every page; it does not see that rows stand in the wrong order, or that an index tells of
//! others than there are. The thorough one does, and takes a search in each index for each row. What passes the
//! thorough check passes the quick one.

use rusqlite::types::ValueRef;

use super::{Database, value};
use crate::error::Result;

/// The thorough check may take so many times as long as a look at all pages.
const THOROUGH: u32 = 4;

impl Database {
    /// Lets SQLite look at every page. The time it may take grows with the size.
    pub fn quick_check(&self) -> Result<()> {
        self.passes("PRAGMA quick_check(1)", "quick-check-failed", 1)
    }

    /// Lets SQLite look at every page, at the order of all rows, and at all indices.
    pub fn integrity_check(&self) -> Result<()> {
        self.passes("PRAGMA integrity_check(1)", "integrity-check-failed", THOROUGH)
    }

    fn passes(&self, pragma: &str, code: &'static str, patience: u32) -> Result<()> {
        self.with(|link| {
            link.set_patience(self.patience_for_all() * patience);
            let found = link.connection.query_row(pragma, [], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Text(b"ok") => None,
                    other => Some(value::text(other)),
                })
            });
            let found = found?;
            if let Some(fault) = link.take_fault() {
                return Err(fault.into());
            }
            let Some(what) = found else { return Ok(()) };
            // The first line of several only names the database.
            let what = what.lines().rfind(|line| !line.is_empty()).unwrap_or("SQLite finds it damaged");
            Err(self.damaged(code, what).into())
        })
    }
}
