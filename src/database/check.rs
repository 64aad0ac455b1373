//! Whether a database is sound: SQLite looks at all of it.
//!
//! The quick check reads every page and every row. It does not ask whether the rows of a table WITHOUT ROWID lie in the
//! order of their keys, nor whether an index has the rows that its table has: what is read by key or by index may
//! still be missing. The thorough check asks for both, and costs a search in each index for each row.
//!
//! Invariant: no expression of a stranger's schema is run for it. Tables with indices that are computed, with an index whose
//! condition may call something, or with keys in an order that a program has brought along, are checked quickly only. Of tables with columns that are computed SQLite
//! checks nothing, since it would compute them: what they store is read, the pages of their indices are looked at as
//! bytes, and nothing else is known of them.
//!
//! An index without an entry is opened by no check of SQLite's: whether it can be opened is seen from its first page.
//!
//! A row of more values than its table has columns is read by SQLite as though nothing were wrong (see `widths`).
//!
//! That no page is lost is SQLite's to see, or is counted where SQLite does not look (see `account`).
//!
//! Limit: in a schema that is computed in part, or that has more than [`TABLES`] entries, SQLite is asked about the tables
//! one by one, and about those only that the layout knows. [`Database::unchecked`] tells the others.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::layout::{self, quoted};
use super::link::Link;
use super::pages::tree::Tree;
use super::{Database, Step, glance, value};
use crate::error::Result;

/// The thorough check may take so many times as long as a look at all pages.
const THOROUGH: u32 = 4;

impl Database {
    /// Lets SQLite look at every page. The time it may take grows with the size.
    pub fn quick_check(&self) -> Result<()> {
        self.with(|link| {
            self.checked_quickly(link)?;
            self.widths(link, "quick-check-failed")
        })
    }

    /// Lets SQLite look at every page, at the order of the rows, and at what the indices have of them.
    pub fn integrity_check(&self) -> Result<()> {
        const CODE: &str = "integrity-check-failed";
        self.with(|link| {
            let c = &link.connection;
            if all_tables(c, &|table| is_plain(c, table))? {
                self.checked(link, "integrity_check(1)", CODE, THOROUGH)?;
                self.look_at_roots(link, CODE)?;
                self.accounted(link, CODE)?;
                return self.widths(link, CODE);
            }
            self.checked_quickly(link)?;
            for table in self.one_by_one(c)? {
                if is_plain(c, &table)? {
                    self.checked(link, &format!("integrity_check({})", quoted(&table)), CODE, THOROUGH)?;
                }
            }
            self.look_at_roots(link, CODE)?;
            self.widths(link, CODE)
        })
    }

    /// The tables that the thorough check leaves out, since something is computed in them.
    pub fn checked_in_part(&self) -> Result<Vec<String>> {
        self.with(|link| {
            let mut names = Vec::new();
            for table in &self.layout.names {
                if !is_plain(&link.connection, table)? {
                    names.push(table.clone());
                }
            }
            Ok(names)
        })
    }

    /// The tables at which no check looks: the first of them in the order of the schema, and how many they are.
    pub fn unchecked(&self) -> Result<(Vec<String>, usize)> {
        self.with(|link| {
            let c = &link.connection;
            let (mut names, mut all) = (Vec::new(), 0);
            if none_is_computed(c)? {
                return Ok((names, all));
            }
            let looked_at: BTreeSet<String> = self.one_by_one(c)?.into_iter().collect();
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' COLLATE NOCASE AND rootpage > 0";
            let mut statement = c.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let name = value::text(row.get_ref(0)?);
                if !looked_at.contains(&name) {
                    all += 1;
                    names.extend((all <= NAMED).then_some(name));
                }
            }
            Ok((names, all))
        })
    }

    /// The tables about which SQLite is asked where it may not look at all of them at once.
    fn one_by_one(&self, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let mut tables = self.layout.names.clone();
        let mut statement = connection.prepare(SQLITES_OWN)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = value::text(row.get_ref(0)?);
            // What is computed in one of these was put there by nobody but a stranger, and is not to be read.
            if !has_computed_columns(connection, &name)? {
                tables.push(name);
            }
        }
        Ok(tables)
    }

    fn checked_quickly(&self, link: &Link) -> Step<()> {
        const CODE: &str = "quick-check-failed";
        let c = &link.connection;
        if none_is_computed(c)? {
            self.checked(link, "quick_check(1)", CODE, 1)?;
            return self.accounted(link, CODE);
        }
        for table in self.one_by_one(c)? {
            if has_computed_columns(c, &table)? {
                self.read_through(link, &table)?;
                self.look_at_indices(link, &table)?;
            } else {
                self.checked(link, &format!("quick_check({})", quoted(&table)), CODE, 1)?;
            }
        }
        self.account(link, CODE)
    }

    /// Looks whether SQLite can open each index: its first page is one of an index, and one that only leads to others has
    /// an entry.
    fn look_at_roots(&self, link: &Link, code: &'static str) -> Step<()> {
        let page_size = u64::from(glance::header(&self.content, &self.name)?.page_size);
        let sql =
            "SELECT name, rootpage FROM sqlite_schema WHERE type = 'index' COLLATE NOCASE AND rootpage > 1";
        let mut statement = link.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let root = value::some_integer(row.get_ref(1)?).unwrap_or(0) as u64;
            let mut head = [0; 5];
            self.content.read_at((root - 1).saturating_mul(page_size), &mut head)?;
            if !matches!(head, [LEAF, ..]) && !matches!(head, [INTERIOR, _, _, cells @ ..] if cells != [0, 0])
            {
                let what = format!("the index {} cannot be opened", value::text(row.get_ref(0)?));
                return Err(self.damaged(code, what).into());
            }
        }
        Ok(())
    }

    /// Counts the pages, where SQLite may not have done so when it was asked about all tables.
    fn accounted(&self, link: &Link, code: &'static str) -> Step<()> {
        if has_entry_without_page(&link.connection)? { self.account(link, code) } else { Ok(()) }
    }

    /// Reads all that a table stores.
    fn read_through(&self, link: &Link, table: &str) -> Step<()> {
        let Some(shape) = layout::shape(&link.connection, table)? else { return Ok(()) };
        // For its end all of a value is read; for its length, of bytes, nothing but the head of the row.
        let ends: Vec<String> =
            shape.columns.iter().map(|c| format!("max(substr({}, -1))", quoted(&c.name))).collect();
        let sql = format!("SELECT {} FROM main.{} NOT INDEXED", ends.join(", "), quoted(table));
        link.set_patience(self.patience_for_all());
        link.connection.query_row(&sql, [], |_| Ok(()))?;
        Ok(())
    }

    /// Looks at the pages of a table's indices, whatever they are on.
    fn look_at_indices(&self, link: &Link, table: &str) -> Step<()> {
        let head = glance::header(&self.content, &self.name)?;
        let mut reserved = [0];
        self.content.read_at(20, &mut reserved)?;
        let page_size = usize::try_from(head.page_size).unwrap_or(usize::MAX);
        let usable = page_size.saturating_sub(reserved[0].into());
        let sql = "SELECT name, rootpage FROM sqlite_schema
            WHERE type = 'index' COLLATE NOCASE AND tbl_name = ?1 COLLATE NOCASE";
        let mut statement = link.connection.prepare(sql)?;
        let mut rows = statement.query([table])?;
        while let Some(row) = rows.next()? {
            let (content, pages, root) =
                (&self.content, head.pages.try_into().unwrap_or(u32::MAX), row.get(1)?);
            if !(Tree { content, page_size, usable, pages, root }).holds_together() {
                let index = value::text(row.get_ref(0)?);
                return Err(self
                    .damaged("quick-check-failed", format!("the index {index} is damaged"))
                    .into());
            }
        }
        Ok(())
    }

    fn checked(&self, link: &Link, pragma: &str, code: &'static str, patience: u32) -> Step<()> {
        link.set_patience(self.patience_for_all() * patience);
        let found = link.connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
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
    }
}

/// What a page of an index begins with: one of entries alone, and one that leads to others.
const LEAF: u8 = 10;
const INTERIOR: u8 = 2;

/// More tables are not asked about one by one.
const TABLES: usize = 1000;

/// Operators that are functions by another name, beside `->`.
const OPERATORS: [&str; 4] = ["glob", "like", "match", "regexp"];

/// Names of tables that are told at most.
const NAMED: usize = 10;

/// The tables that SQLite makes for itself.
const SQLITES_OWN: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0
    AND name IN ('sqlite_sequence', 'sqlite_stat1', 'sqlite_stat4') LIMIT 3";

/// Whether `is` holds for every table that SQLite knows, those that it keeps for itself, and those that are called so,
/// among them. What goes by another name than SQLite can be asked for is none for which it holds.
fn all_tables(
    connection: &Connection,
    is: &dyn Fn(&str) -> rusqlite::Result<bool>,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema")?;
    let (mut rows, mut seen) = (statement.query([])?, 0);
    while let Some(row) = rows.next()? {
        seen += 1;
        let name = row.get_ref(0)?.as_str().ok().filter(|name| !name.contains('\0'));
        if seen > TABLES || !name.map_or(Ok(false), is)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the schema has a view or a virtual table, or what may be one.
fn has_entry_without_page(connection: &Connection) -> rusqlite::Result<bool> {
    let has_none = |row: &Row<'_>| {
        let root = value::some_integer(row.get_ref(0)?).unwrap_or(0);
        // Whatever page is told of a virtual table, SQLite knows of none.
        Ok(root <= 0 || value::text(row.get_ref(1)?).to_ascii_lowercase().contains("virtual"))
    };
    any(connection, "SELECT rootpage, sql FROM sqlite_schema", &has_none)
}

/// Whether SQLite may be asked to look at all tables at once, and only quickly.
fn none_is_computed(connection: &Connection) -> rusqlite::Result<bool> {
    all_tables(connection, &|table| Ok(!has_computed_columns(connection, table)?))
}

/// What SQLite can be asked for in order to check a database thoroughly and compute nothing, and how many tables are
/// left out of that: where something is computed, those beyond [`TABLES`] too.
pub fn thorough(connection: &Connection) -> rusqlite::Result<(Vec<String>, usize)> {
    if all_tables(connection, &|table| is_plain(connection, table))? {
        return Ok((vec!["PRAGMA integrity_check(1)".into()], 0));
    }
    let mut all = Vec::new();
    for table in layout::names(connection)? {
        if !has_computed_columns(connection, &table)? {
            let check = if is_plain(connection, &table)? { "integrity" } else { "quick" };
            all.push(format!("PRAGMA {check}_check({})", quoted(&table)));
        }
    }
    // Without a function, which may not be called here. SQLite's own are called `sqlite_` and something.
    let sql = "SELECT count(*) FROM sqlite_schema
        WHERE type = 'table' AND rootpage > 0 AND (name < 'sqlite_' OR name >= 'sqlite`')";
    let tables: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    let left_out = usize::try_from(tables).unwrap_or(0).saturating_sub(all.len());
    Ok((all, left_out))
}

/// Whether a row for which `fits` holds is among those of a statement.
fn any(
    connection: &Connection,
    sql: &str,
    fits: &dyn Fn(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if fits(row)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a table has columns whose values are computed.
pub fn has_computed_columns(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    Ok(computes(connection, table)?.unwrap_or(false))
}

/// The same; `None` of what stores nothing in rows of its own: a view, or a virtual table whose module is not there to be
/// asked. A view is not looked into, since whether it can be resolved is nothing that is stored, and may take for ever.
fn computes(connection: &Connection, table: &str) -> rusqlite::Result<Option<bool>> {
    if table.contains('\0') || !connection.table_exists(Some("main"), table)? {
        return Ok(None);
    }
    let is_computed = |row: &Row<'_>| Ok(row.get::<_, i64>("hidden")? != 0);
    match any(connection, &format!("PRAGMA main.table_xinfo({})", quoted(table)), &is_computed) {
        Err(rusqlite::Error::SqliteFailure(_, Some(why))) if why.starts_with("no such module") => Ok(None),
        other => other.map(Some),
    }
}

/// Whether nothing is computed in a table or its indices.
fn is_plain(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    match computes(connection, table)? {
        None => return Ok(true),
        Some(true) => return Ok(false),
        Some(false) => {}
    }
    let is_odd = |row: &Row<'_>| {
        let index = value::text(row.get_ref("name")?);
        if row.get::<_, i64>("partial")? != 0
            && (calls_something(connection, &index)? || sorts_unknown(connection, table)?)
        {
            return Ok(true);
        }
        let is_odd = |row: &Row<'_>| {
            let collation = value::text(row.get_ref("coll")?);
            Ok(row.get::<_, i64>("cid")? == -2 || !is_known_order(&collation))
        };
        any(connection, &format!("PRAGMA main.index_xinfo({})", quoted(&index)), &is_odd)
    };
    Ok(!any(connection, &format!("PRAGMA main.index_list({})", quoted(table)), &is_odd)?)
}

/// Whether texts are sorted in a way of SQLite's own, and not in one that a program has brought along.
pub fn is_known_order(collation: &str) -> bool {
    ["binary", "nocase", "rtrim"].iter().any(|known| known.eq_ignore_ascii_case(collation))
}

/// Whether a table has columns whose texts are compared in a way that is not known here.
fn sorts_unknown(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let is_unknown = |row: &Row<'_>| {
        let column = value::text(row.get_ref("name")?);
        // Nothing is known of one that cannot be asked for by its name.
        let Ok((_, collation, ..)) = connection.column_metadata(Some("main"), table, column.as_str()) else {
            return Ok(true);
        };
        Ok(collation.is_some_and(|collation| !is_known_order(&collation.to_string_lossy())))
    };
    any(connection, &format!("PRAGMA main.table_xinfo({})", quoted(table)), &is_unknown)
}

/// Whether the condition of an index may call a function, or compare in a way that is not known here: beside those of its
/// columns it has parentheses, or it has an operator that is a function.
fn calls_something(connection: &Connection, index: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1";
    let sql = connection.query_row(sql, [index], |row| Ok(value::text(row.get_ref(0)?)))?;
    let words: Vec<&str> =
        sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let is = |word: &str, one: &&str| one.eq_ignore_ascii_case(word);
    let is_operator = |word: &&str| OPERATORS.iter().any(|one| is(word, one));
    let is_odd_order = |pair: &[&str]| is(pair[0], &"collate") && !is_known_order(pair[1]);
    Ok(sql.matches('(').count() != 1
        || sql.contains("->")
        || words.iter().any(is_operator)
        || words.windows(2).any(is_odd_order))
}

#[cfg(test)]
mod tests;
