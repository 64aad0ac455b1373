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

/// Whether a default is a constant of a moderate size, so that SQLite reads it where a record is short: a word, a
/// number or a text, with signs, in parentheses or converted. Whatever is computed is none.
pub fn is_constant(default: &str) -> bool {
    default.len() <= MOST_DEFAULT && behind_constant(default).is_some_and(|rest| rest.trim_start().is_empty())
}

/// What is left behind the constant that a text begins with.
fn behind_constant(text: &str) -> Option<&str> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        return behind_constant(inner)?.trim_start().strip_prefix(')');
    }
    if let Some(signed) = text.strip_prefix(['+', '-']) {
        return behind_constant(signed);
    }
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let is_inside = |c: char| c.is_alphanumeric() || c == '_' || is_number && c == '.';
    let (word, rest) = text.split_at(text.find(|c| !is_inside(c)).unwrap_or(text.len()));
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let is_bytes = word.eq_ignore_ascii_case("x") && quote == '\'';
        return (word.is_empty() || is_bytes).then(|| behind_quotes(rest, quote))?;
    }
    if is_number && word.ends_with(['e', 'E']) && !word.starts_with("0x") {
        let digits = rest.strip_prefix(['+', '-'])?;
        return Some(digits.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    if word.eq_ignore_ascii_case("cast") && rest.trim_start().starts_with('(') {
        let kind = behind_constant(rest.trim_start().strip_prefix('(')?)?.trim_start();
        let (kind, rest) = kind.split_once(')').filter(|(kind, _)| is_as(kind))?;
        // A type may have a length in parentheses of its own.
        return if kind.contains('(') { rest.trim_start().strip_prefix(')') } else { Some(rest) };
    }
    let of_the_clock = word.get(..8).is_some_and(|front| front.eq_ignore_ascii_case("current_"));
    (!word.is_empty() && !of_the_clock).then_some(rest)
}

fn is_as(kind: &str) -> bool {
    kind.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("as"))
}

/// What is left behind a text in quotes.
fn behind_quotes(text: &str, quote: char) -> Option<&str> {
    let mut rest = text.strip_prefix(quote)?;
    loop {
        rest = rest.split_once(quote)?.1;
        match rest.strip_prefix(quote) {
            Some(more) => rest = more,
            None => return Some(rest),
        }
    }
}

/// A default that is longer is not put into every row.
const MOST_DEFAULT: usize = 1024;
