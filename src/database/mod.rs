//! SQLite project databases.

pub mod salvage;
