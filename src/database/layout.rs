//! The tables and columns that are there.
//!
//! A table counts when it is an ordinary one: views are prohibited and modules of virtual tables are gone from every
//! connection, so what can be prepared is a table. Columns that are computed do not count: reading one runs an
//! expression of the schema.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode};

use super::link;
use crate::error::{Error, Result};

/// Tables with a shape; of the others only the names are kept.
const KNOWN: [&str; 10] =
    ["asset", "blob_chunk", "dataset", "event", "event_audit", "meta", "ref", "result", "thumbnail", "trace"];

/// Names of tables that are kept at most.
const TABLES: i64 = 1000;

/// A column, as the file declares it.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The name.
    pub name: String,
    /// The type, in capitals.
    pub kind: String,
    /// Whether SQLite knows it by that name: what is no UTF-8 was replaced in it.
    pub is_by_name: bool,
}

/// One table.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Its columns, in the file's order.
    pub columns: Vec<Declared>,
    /// The name of the number of a row; `None` in a table that has none.
    pub rowid: Option<&'static str>,
    /// The columns of the primary key, in order.
    pub key: Vec<String>,
}

impl Shape {
    /// Whether there is a column of that name.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|c| c.name.eq_ignore_ascii_case(column))
    }

    /// The column, or the word for nothing, for a list of what to select.
    pub fn or_null(&self, column: &str) -> String {
        if self.has(column) { quoted(column) } else { "NULL".into() }
    }
}

/// All tables.
#[derive(Debug, Default)]
pub struct Layout {
    shapes: BTreeMap<&'static str, Shape>,
    /// Every ordinary table, as it is written.
    pub names: Vec<String>,
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Layout {
    /// Looks at the whole schema.
    pub fn read(connection: &Connection) -> rusqlite::Result<Layout> {
        let mut layout = Layout { names: names(connection)?, ..Layout::default() };
        for known in KNOWN {
            layout.look_at(connection, known)?;
        }
        Ok(layout)
    }

    /// Looks only at what a project cannot be without.
    pub fn read_required(connection: &Connection) -> rusqlite::Result<Layout> {
        let mut layout = Layout::default();
        layout.look_at(connection, "meta")?;
        layout.look_at(connection, "dataset")?;
        Ok(layout)
    }

    fn look_at(&mut self, connection: &Connection, table: &'static str) -> rusqlite::Result<()> {
        if let Some(shape) = shape(connection, table)? {
            self.shapes.insert(table, shape);
        }
        Ok(())
    }

    /// A table with its columns.
    pub fn table(&self, table: &str) -> Option<&Shape> {
        self.shapes.get(table)
    }

    /// Whether there is an ordinary table of that name.
    pub fn has(&self, table: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(table))
    }

    /// A table, if it has these columns.
    pub fn with(&self, table: &str, columns: &[&str]) -> Option<&Shape> {
        self.table(table).filter(|shape| columns.iter().all(|column| shape.has(column)))
    }

    /// Whether this is a project at all.
    pub fn require(&self, name: &str) -> Result<()> {
        for (table, columns, code) in
            [("meta", ["key", "value"], "no-meta"), ("dataset", ["id", "name"], "no-dataset")]
        {
            if self.with(table, &columns).is_none() {
                let what = format!(
                    "there is no ordinary table `{table}` with the columns {}; this is no project database",
                    columns.join(" and ")
                );
                return Err(Error::damaged(code, name, what));
            }
        }
        Ok(())
    }
}

/// The names of the tables that have rows of their own, SQLite's not among them. Where there are too many, those that
/// have a shape come before others.
pub fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0
         ORDER BY name COLLATE NOCASE NOT IN ('{}'), name LIMIT ?1",
        KNOWN.join("', '")
    ))?;
    let mut rows = statement.query([TABLES])?;
    let mut names: Vec<String> = Vec::new();
    while let Some(row) = rows.next()? {
        let name = super::value::text(row.get_ref(0)?);
        if !name.to_ascii_lowercase().starts_with("sqlite_") && opens(connection, &name, "1")? {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether `column` can be selected from `table`.
fn opens(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    match connection.prepare(&format!("SELECT {column} FROM main.{} LIMIT 0", quoted(table))) {
        Ok(_) => Ok(true),
        Err(error) if link::code(&error) == Some(ErrorCode::Unknown) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The shape of any table; `None` if there is no ordinary one of that name.
pub fn shape(connection: &Connection, table: &str) -> rusqlite::Result<Option<Shape>> {
    if !opens(connection, table, "1")? {
        return Ok(None);
    }
    let mut shape = Shape::default();
    let mut key = Vec::new();
    let mut statement = connection.prepare(&format!("PRAGMA main.table_xinfo({})", quoted(table)))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = super::value::text(row.get_ref("name")?);
        let in_key: i64 = row.get("pk")?;
        if in_key > 0 {
            key.push((in_key, name.clone()));
        }
        if row.get::<_, i64>("hidden")? == 0 {
            let kind = super::value::text(row.get_ref("type")?).to_ascii_uppercase();
            let is_by_name = row.get_ref("name")?.as_str().is_ok();
            shape.columns.push(Declared { name, kind, is_by_name });
        }
    }
    key.sort();
    shape.key = key.into_iter().map(|(_, name)| name).collect();
    for rowid in ["rowid", "_rowid_", "oid"] {
        if !shape.has(rowid) && opens(connection, table, rowid)? {
            shape.rowid = Some(rowid);
            break;
        }
    }
    Ok(Some(shape))
}
