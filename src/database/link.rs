//! A connection to a stranger's database: what it may do, how long, and with how much.
//!
//! A schema is code. Views, triggers and virtual tables are off; an authorizer lets nothing through but reading
//! ordinary tables, a few functions and the few pragmas that this room uses; all other functions fail, whoever calls
//! them; what is stored as statistics for the planner is not believed. Lengths, depths and memory are limited, and so
//! is time: nobody waits longer than [`PATIENCE`] for a row.
//!
//! Limit. Where texts are sorted in a way that a program has brought along, they are sorted by their bytes here, so that the
//! table can be read at all: rows that are looked for by such a text may not be found.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, ffi};

use super::SALVAGE_HELPS;
use super::file::{self, Fault};
use crate::error::Error;
use crate::tree::Content;

/// How long a statement may take to its next row.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The longest value that is read. The application's largest are pieces of 2 MiB.
pub const LONGEST: i32 = 64 << 20;

/// The least that a value may have, however small its file is.
const SHORTEST: i32 = 1 << 20;

/// Steps of SQLite's machine between two looks at the clock. One step may copy as much as a value may have.
const STEPS: i32 = 500;

/// Pages that a connection keeps, in KiB.
const CACHE: i32 = 1024;

const FUNCTIONS: [&str; 7] = ["count", "length", "max", "min", "octet_length", "substr", "typeof"];

const PRAGMAS: [&str; 7] = [
    "index_list",
    "index_xinfo",
    "integrity_check",
    "page_count",
    "quick_check",
    "table_xinfo",
    "user_version",
];

/// Looks at the clock while a statement runs.
#[derive(Debug)]
pub struct Watch {
    /// Looks since the last row.
    looks: AtomicU32,
    milliseconds: AtomicU64,
    /// Time is up, whatever the clock says.
    stopped: Arc<AtomicBool>,
}

impl Watch {
    /// The next row has its own time.
    pub fn renew(&self) {
        self.looks.store(0, Ordering::Relaxed);
    }

    /// Whether the statement was told to stop, which is nobody's fault.
    pub fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn handler(self: Arc<Watch>) -> impl FnMut() -> bool + Send + 'static {
        let mut since = Instant::now();
        move || {
            if self.was_stopped() {
                return true;
            }
            if self.looks.fetch_add(1, Ordering::Relaxed) == 0 {
                since = Instant::now();
                return false;
            }
            since.elapsed() > Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
        }
    }
}

/// A connection with its limits.
#[derive(Debug)]
pub struct Link {
    /// SQLite's own.
    pub connection: Connection,
    /// Its clock.
    pub watch: Arc<Watch>,
    fault: Fault,
    longest: i32,
}

impl Link {
    /// Opens `content`. Nothing of the schema is read yet.
    pub fn open(content: &Content, name: &str, stopped: Arc<AtomicBool>) -> Result<Link, Error> {
        let longest = longest(content.size());
        let (connection, fault) = file::connect(content).map_err(|e| of_sqlite(e, name, longest, None))?;
        let watch = Arc::new(Watch { looks: AtomicU32::new(0), milliseconds: AtomicU64::new(0), stopped });
        let mut link = Link { connection, watch, fault, longest };
        link.set_patience(PATIENCE);
        link.set_up().map_err(|e| link.error(e, name))?;
        Ok(link)
    }

    fn set_up(&mut self) -> rusqlite::Result<()> {
        let c = &mut self.connection;
        file::keep_functions(c, &FUNCTIONS)?;
        file::take_any_order(c)?;
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, self.longest),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 256 << 10),
            (Limit::SQLITE_LIMIT_COLUMN, 2000),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 50),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 4),
            (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, 8),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            c.set_limit(limit, value)?;
        }
        for (config, value) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        ] {
            c.set_db_config(config, value)?;
        }
        // None of these reads the file.
        c.execute_batch(&format!(
            "PRAGMA cell_size_check=ON; PRAGMA ignore_check_constraints=ON; PRAGMA temp_store=MEMORY; \
             PRAGMA cache_size=-{CACHE}; PRAGMA mmap_size=0;"
        ))?;
        c.progress_handler(STEPS, Some(self.watch.clone().handler()))?;
        file::authorize(c, permit)
    }

    /// How long statements may take to their next row from now on.
    pub fn set_patience(&self, patience: Duration) {
        let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.watch.milliseconds.store(milliseconds, Ordering::Relaxed);
        self.watch.renew();
    }

    /// What a read has failed with since this was asked last. SQLite does not always pass it on.
    pub fn take_fault(&self) -> Option<Error> {
        self.fault.lock().take()
    }

    /// What SQLite's error means here.
    pub fn error(&self, error: rusqlite::Error, name: &str) -> Error {
        if let Some(fault) = self.take_fault()
            && code(&error) == Some(ErrorCode::SystemIoFailure)
        {
            return fault;
        }
        of_sqlite(error, name, self.longest, Some(&self.watch))
    }
}

/// The longest value that is read of a file: none is longer than its file.
fn longest(size: u64) -> i32 {
    i32::try_from(size).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}

/// SQLite's own code for a failure.
pub fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            Some(error.code)
        }
        _ => None,
    }
}

fn of_sqlite(error: rusqlite::Error, name: &str, longest: i32, watch: Option<&Watch>) -> Error {
    let unsupported = |what: &str| Error::Unsupported { entry: name.into(), what: what.into() };
    match code(&error) {
        Some(ErrorCode::OperationInterrupted) if watch.is_some_and(Watch::was_stopped) => {
            Error::Busy(format!("{name}: the database is being closed"))
        }
        Some(ErrorCode::OperationInterrupted) => {
            unsupported("a query of the database took too long; nothing more of it is read")
        }
        // No value can be longer than its file.
        Some(ErrorCode::TooBig) if longest < LONGEST => Error::damaged(
            "database-damaged",
            name,
            format!("a value claims to be longer than the file{SALVAGE_HELPS}"),
        ),
        Some(ErrorCode::TooBig) => unsupported("a value is longer than 64 MiB"),
        Some(ErrorCode::OutOfMemory) => unsupported("the database asks for more memory than it may have"),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            Error::damaged("schema-refused", name, "the schema asks for something that is no data")
        }
        Some(ErrorCode::NotADatabase) => {
            Error::damaged("not-a-database", name, "this is no SQLite database, or its first page is damaged")
        }
        _ => Error::damaged("database-damaged", name, format!("SQLite says: {error}{SALVAGE_HELPS}")),
    }
}

/// Names are a stranger's, and need be no text.
fn permit(action: c_int, first: &[u8], second: &[u8]) -> bool {
    let is_one_of =
        |name: &[u8], all: &[&str]| all.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(name));
    match action {
        ffi::SQLITE_SELECT => true,
        // What the file says of its own statistics steers the planner, and is not believed.
        ffi::SQLITE_READ => !first.to_ascii_lowercase().starts_with(b"sqlite_stat"),
        ffi::SQLITE_FUNCTION => is_one_of(second, &FUNCTIONS),
        ffi::SQLITE_PRAGMA => is_one_of(first, &PRAGMAS),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::hooks::{AuthContext, Authorization};

    use super::*;

    fn made(sql: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sqlite");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        std::fs::read(path).unwrap()
    }

    fn opened(bytes: Vec<u8>) -> Link {
        Link::open(&Content::Bytes(bytes.into()), "x", Arc::default()).unwrap()
    }

    fn link() -> Link {
        opened(made("create table t(a); insert into t values(1);"))
    }

    #[test]
    fn only_ordinary_tables_are_read() {
        let link = link();
        let one: i64 = link.connection.query_row("select count(*) from t", [], |r| r.get(0)).unwrap();
        assert_eq!(one, 1);
        for sql in [
            "create table u(a)",
            "create temp table u(a)",
            "insert into t values(2)",
            "attach ':memory:' as other",
            "pragma journal_mode=delete",
            "pragma writable_schema=on",
            "select load_extension('x')",
            "select randomblob(10)",
            "select * from sqlite_dbpage",
            "with recursive r(x) as (select 1 union all select x+1 from r) select x from r",
            "vacuum",
        ] {
            let run = |sql| link.connection.prepare(sql)?.query([])?.next().map(drop);
            assert!(run(sql).is_err(), "{sql}");
        }
    }

    /// Every place of a schema that may call something.
    #[test]
    fn a_schema_runs_no_function_but_the_few() {
        for call in ["hex(a)", "zeroblob(1)", "replace(a, 1, 2)", "a like 'x'", "printf('%9d', a)"] {
            for (m, schema) in [
                format!("create table t(a, b real as ({call})); insert into t values(1);"),
                format!("create table t(a, b real as (length({call})) stored); insert into t values(1);"),
                format!("create table t(a, check({call} is not null)); insert into t values(1);"),
                format!("create table t(a); insert into t values(1); create index i on t({call});"),
                format!("create table t(a); insert into t values(1); create index i on t(a) where {call} is not null;"),
            ]
            .iter()
            .enumerate()
            {
                let mut link = opened(made(schema));
                let c = &mut link.connection;
                c.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).unwrap();
                let check = |sql: &str| c.query_row(sql, [], |r| r.get::<_, String>(0));
                match check("pragma integrity_check") {
                    // Stored values are read and not computed, and nobody asks for what rows should be like.
                    Ok(verdict) => assert!(verdict == "ok" && (1..=2).contains(&m), "{schema}"),
                    Err(error) => assert!(error.to_string().contains("not run here"), "{schema}: {error}"),
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_no_text_keeps_nobody_from_the_others() {
        let mut bytes = made("create table tab1(ab, cd); insert into tab1 values(1, 2);");
        let at = bytes.windows(7).position(|part| part == b"ab, cd)").unwrap();
        bytes[at] = 0xed;
        let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        assert_eq!(opened(bytes).connection.query_row("select cd from tab1", [], read), Ok(2));
    }

    #[test]
    fn no_value_is_longer_than_its_file() {
        assert_eq!([0, 3 << 20, u64::MAX].map(longest), [SHORTEST, 3 << 20, LONGEST]);
    }

    #[test]
    fn a_value_that_claims_to_be_longer_than_its_file_is_damage() {
        let mut bytes = made("create table t(a); insert into t values(hex(zeroblob(524290)));");
        // The number of the row, and the length of the record's head, between what is written of both lengths.
        let lengths = |letters: usize| {
            let seven = |n: usize, shift: usize| 0x80 | (n >> shift) as u8;
            let (payload, kind) = (letters + 5, 13 + 2 * letters);
            let payload = [seven(payload, 14), seven(payload, 7), payload as u8 & 0x7f];
            let kind = [seven(kind, 21), seven(kind, 14), seven(kind, 7), kind as u8 & 0x7f];
            [&payload[..], &[1, 5], &kind].concat()
        };
        let at = bytes.windows(9).position(|part| part == lengths(1_048_580)).unwrap();
        bytes[at..at + 9].copy_from_slice(&lengths(2_000_000));
        let link = opened(bytes);
        let read = |row: &rusqlite::Row<'_>| row.get_ref(0).map(drop);
        let error = link.connection.query_row("select a from t", [], read).unwrap_err();
        let error = link.error(error, "x");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }

    #[test]
    fn what_takes_too_long_ends() {
        let link = link();
        let long = "select count(*) from (select 1 from t, (values (1),(2),(3),(4),(5),(6),(7),(8),(9))) a"
            .to_string();
        let long = format!(
            "{long} {}",
            (0..7)
                .map(|i| format!(", (values (1),(2),(3),(4),(5),(6),(7),(8),(9)) v{i}"))
                .collect::<String>()
        );
        link.set_patience(Duration::ZERO);
        let error = link.connection.query_row(&long, [], |r| r.get::<_, i64>(0)).unwrap_err();
        assert!(matches!(link.error(error, "x"), Error::Unsupported { .. }));
        link.set_patience(Duration::from_secs(3600));
        link.watch.stopped.store(true, Ordering::Relaxed);
        let error = link.connection.query_row(&long, [], |r| r.get::<_, i64>(0)).unwrap_err();
        assert!(matches!(link.error(error, "x"), Error::Busy(_)));
    }
}
