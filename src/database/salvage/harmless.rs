//! What a stranger's schema may do while its database is made anew: little, and of little size.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use crate::database::file::keep_functions;

/// The longest statement that is taken.
pub const MOST_SQL: i32 = 1 << 20;

/// Functions that cost no more than a look at what they are given, and give no more than that.
pub const HARMLESS: [&str; 34] = [
    "abs",
    "avg",
    "coalesce",
    "count",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "if",
    "ifnull",
    "iif",
    "julianday",
    "length",
    "likelihood",
    "likely",
    "lower",
    "max",
    "min",
    "nullif",
    "octet_length",
    "round",
    "sign",
    "strftime",
    "substr",
    "substring",
    "sum",
    "time",
    "total",
    "typeof",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
];

/// A stranger's schema may say what it likes: it reaches nothing but itself, and makes no value longer than `longest`.
pub fn harden(db: &Connection, longest: i32) -> rusqlite::Result<()> {
    keep_functions(db, &HARMLESS)?;
    for (config, value) in [
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
    ] {
        db.set_db_config(config, value)?;
    }
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, longest.max(MOST_SQL)),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MOST_SQL),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    ] {
        db.set_limit(limit, value)?;
    }
    Ok(())
}
