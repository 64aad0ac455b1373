//! Whether a database is sound: SQLite looks at all of it.
//!
//! The quick check reads every page and every row. It does not ask whether the rows of a table WITHOUT ROWID lie in the
//! order of their keys, nor whether an index has the rows that its table has: what is read by key or by index may
//! still be missing. The thorough check asks for both, and costs a search in each index for each row.
//!
//! Invariant: no expression of a stranger's schema is run for it. Tables with indices that are computed, or with an
//! index whose condition may call something, are checked quickly only. Of tables with columns that are computed SQLite
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

/// The same; `None` of what nothing is stored in: a virtual table whose module is not there to be asked, or a view of
/// what is not there.
fn computes(connection: &Connection, table: &str) -> rusqlite::Result<Option<bool>> {
    let is_computed = |row: &Row<'_>| Ok(row.get::<_, i64>("hidden")? != 0);
    let is_of_nothing =
        |why: &str| ["no such module", "no such column", "no such table"].iter().any(|w| why.starts_with(w));
    match any(connection, &format!("PRAGMA main.table_xinfo({})", quoted(table)), &is_computed) {
        Err(rusqlite::Error::SqliteFailure(_, Some(why))) if is_of_nothing(&why) => Ok(None),
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
        if row.get::<_, i64>("partial")? != 0 && calls_something(connection, &index)? {
            return Ok(true);
        }
        let is_expression = |row: &Row<'_>| Ok(row.get::<_, i64>("cid")? == -2);
        any(connection, &format!("PRAGMA main.index_xinfo({})", quoted(&index)), &is_expression)
    };
    Ok(!any(connection, &format!("PRAGMA main.index_list({})", quoted(table)), &is_odd)?)
}

/// Whether the condition of an index may call a function: beside those of its columns it has parentheses.
fn calls_something(connection: &Connection, index: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1";
    let sql = connection.query_row(sql, [index], |row| Ok(value::text(row.get_ref(0)?)))?;
    Ok(sql.matches('(').count() != 1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROJECT, made};
    use super::*;
    use crate::error::Error;
    use crate::tree::Content;

    const PAGE: usize = 4096;

    fn with_rows(sql: &str) -> Vec<u8> {
        let rows = "
            insert into dataset(id, name) values(1, 'a');
            with recursive n(i) as (select 0 union all select i + 1 from n where i < 3999)
            insert into trace select 1, i * 0.1, i * 100000, i * 0.01, 37.0 from n;
            insert into event(dataset_id, t_seconds, label) select 1, t_seconds, 'x' from trace limit 90;";
        let Content::Bytes(bytes) = made(&format!("{PROJECT}{sql}{rows}")) else { unreachable!() };
        bytes.to_vec()
    }

    #[test]
    fn an_index_that_cannot_be_opened_is_damage_also_where_it_is_empty() {
        let whole = with_rows("create table empty(a, b); create index of_empty on empty(a);");
        let database = |bytes: &[u8]| Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        database(&whole).integrity_check().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &whole).unwrap();
        let sql = "select rootpage from sqlite_schema where name = 'of_empty'";
        let c = Connection::open(file.path()).unwrap();
        let root: usize = c.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
        let at = (root - 1) * PAGE;
        assert_eq!(whole[at], LEAF);
        for kind in [INTERIOR, 5, 13, 0] {
            let mut bytes = whole.clone();
            bytes[at] = kind;
            let Err(Error::Damaged { what, .. }) = database(&bytes).integrity_check() else {
                panic!("{kind} is no damage")
            };
            assert!(kind != INTERIOR || what.contains("of_empty cannot be opened"), "{what}");
        }
    }

    fn changed(bytes: &[u8], sql: &str) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let c = Connection::open(file.path()).unwrap();
        c.execute_batch(sql).unwrap();
        c.close().unwrap();
        std::fs::read(file.path()).unwrap()
    }

    /// Leaves of keyed rows that have many.
    fn leaves(bytes: &[u8]) -> Vec<usize> {
        let many = |page: &[u8]| page[0] == 10 && u16::from_be_bytes([page[3], page[4]]) > 80;
        (0..bytes.len() / PAGE).filter(|n| many(&bytes[n * PAGE..(n + 1) * PAGE])).collect()
    }

    fn code(bytes: Vec<u8>) -> Option<&'static str> {
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        database.quick_check().unwrap();
        match database.integrity_check() {
            Ok(()) => None,
            Err(Error::Damaged { code, .. }) => Some(code),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn rows_out_of_order_are_damage_that_the_quick_check_passes() {
        for more in ["", "create index odd on event(abs(t_seconds)); alter table meta add column v as (key);"]
        {
            let mut bytes = with_rows(more);
            assert_eq!(code(bytes.clone()), None);
            let leaves = leaves(&bytes);
            let (one, other) = (leaves[leaves.len() / 3] * PAGE, leaves[leaves.len() / 2] * PAGE);
            for i in 0..PAGE {
                bytes.swap(one + i, other + i);
            }
            assert_eq!(code(bytes), Some("integrity-check-failed"));
        }
    }

    #[test]
    fn an_index_without_its_rows_is_damage() {
        let live = "create index live on event(dataset_id) where deleted_utc is null;";
        assert_eq!(code(with_rows(live)), None);
        // Each index now leads to the entries of the other.
        let swapped = "pragma writable_schema=on; update sqlite_schema set rootpage = (select sum(rootpage) from
            sqlite_schema where name in ('live', 'event_ds_t')) - rootpage where name in ('live', 'event_ds_t');";
        assert_eq!(code(changed(&with_rows(live), swapped)), Some("integrity-check-failed"));
    }

    #[test]
    fn a_column_that_cannot_be_computed_is_no_damage() {
        // Whoever computes it fails: SQLite has no such number.
        let fails = "fails integer as (abs(-9223372036854775807 - 1 + (key is null)))";
        // So it does in a table of which no list of tables knows, because of its name.
        let hidden = "name = 'sqlite_x', tbl_name = 'sqlite_x', type = 'TABLE', sql = replace(sql, 'aqlite_x', 'sqlite_x')";
        let plain = with_rows(
            "create table aqlite_x(key); insert into aqlite_x values(1); insert into meta values(1, 2);",
        );
        for (table, more) in [("meta", "rootpage = rootpage"), ("aqlite_x", hidden)] {
            let sql = format!(
                "pragma writable_schema=on;
                 update sqlite_schema set sql = replace(sql, '(key', '({fails}, key')
                     where name = '{table}';
                 update sqlite_schema set {more} where name = '{table}';"
            );
            let bytes = changed(&plain, &sql);
            assert_eq!(code(bytes), None, "{table}");
        }
        let fails = "pragma writable_schema=on; update sqlite_schema set sql = replace(sql, 'temp real',
            'temp real, fails integer as (abs(-9223372036854775807 - 1 + (t_us < 0)))') where name = 'trace'";
        let mut bytes = changed(&plain, fails);
        assert_eq!(code(bytes.clone()), None);
        let leaves = leaves(&bytes);
        let at = leaves[leaves.len() / 2] * PAGE;
        bytes[at + 8..at + PAGE].fill(0xff);
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        assert!(matches!(database.quick_check(), Err(Error::Damaged { .. })), "what it stores is still read");
    }

    #[test]
    fn lost_pages_of_an_index_beside_a_computed_column_are_damage() {
        let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
            insert into odd select i, hex(i * 7919 % 4001), 0 from n where i < 3999
            union all select i, replace(hex(zeroblob(10000 + i)), '0', 'y'), 0 from n where i > 3998;";
        let columns = "a integer primary key, b text, c integer";
        let tables = format!("create table odd({columns}, d as (length(b)));
            create index on_b on odd(b); create index on_d on odd(d, a); create index part on odd(b) where a > 9;");
        for index in ["on_b", "on_d", "part"] {
            let bytes = with_rows(&format!("{tables} {rows}"));
            assert_eq!(code(bytes.clone()), None);
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("x"), &bytes).unwrap();
            let c = Connection::open(dir.path().join("x")).unwrap();
            let mut pages = c.prepare("select pageno, pagetype from dbstat where name = ?1").unwrap();
            let pages = pages.query_map([index], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
            let pages: Vec<(i64, String)> = pages.map(|page| page.unwrap()).collect();
            assert!(pages.len() > 5, "{pages:?}");
            for (number, kind) in pages {
                let number = number as usize;
                // What ends in zeros may be a value.
                if kind == "overflow" && bytes[(number - 1) * PAGE..][..4] == [0; 4] {
                    continue;
                }
                let mut bytes = bytes.clone();
                bytes[(number - 1) * PAGE..number * PAGE].fill(0);
                let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
                let checked = database.quick_check();
                assert!(
                    matches!(checked, Err(Error::Damaged { .. })),
                    "{index} {number} {kind}: {checked:?}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_lost_beside_a_computed_column_are_damage() {
        let long = "cast(replace(hex(zeroblob(10000)), '0', 'x') as blob)";
        let mut bytes =
            with_rows(&format!("create table odd(a, b as (length(a))); insert into odd values({long});"));
        assert_eq!(code(bytes.clone()), None);
        let page = |page: &[u8]| page[4..].iter().all(|b| *b == b'x');
        let first = bytes.chunks(PAGE).position(page).unwrap() * PAGE;
        bytes[first..first + 4].fill(0xff);
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        assert!(matches!(database.quick_check(), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_virtual_table_is_no_damage() {
        let places = "create virtual table places using rtree(id, low, high);";
        let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
        for more in [places.to_string(), format!("{places}{slow}")] {
            let database = Database::open(made(&format!("{PROJECT}{more}")), "x").unwrap();
            database.quick_check().unwrap();
            database.integrity_check().unwrap();
        }
    }

    #[test]
    fn tables_that_no_check_looks_at_are_told() {
        let unchecked = |sql: &str| {
            let database = Database::open(made(&format!("{PROJECT}{sql}")), "x").unwrap();
            database.integrity_check().unwrap();
            database.unchecked().unwrap()
        };
        let none = (Vec::new(), 0);
        let counted = "create table counted(id integer primary key autoincrement, key text); analyze;";
        let computed = "create table odd(key, v as (key));";
        let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
        for sql in ["", counted, computed, slow, &format!("{counted}{computed}"), &format!("{counted}{slow}")]
        {
            assert_eq!(unchecked(sql), none, "{sql}");
        }
        // A project has nine tables, which come before all others.
        let many = |n: usize| (0..n).map(|i| format!("create table t{i:04}(a);")).collect::<String>();
        assert_eq!(unchecked(&many(991)), none);
        assert_eq!(unchecked(&many(992)), (vec!["t0991".to_string()], 1));
        let (names, all) = unchecked(&many(1004));
        let last = |n: usize| format!("t{n:04}");
        assert_eq!((names, all), ((991..1001).map(last).collect(), 13));
    }

    #[test]
    fn what_a_schema_computes_is_not_run_by_the_check() {
        let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
        let database = Database::open(made(&format!("{PROJECT}{slow}")), "x").unwrap();
        database.integrity_check().unwrap();
        assert!(database.with(|link| Ok(is_plain(&link.connection, "trace")?)).unwrap());
        assert!(!database.with(|link| Ok(is_plain(&link.connection, "event")?)).unwrap());
        assert_eq!(database.checked_in_part().unwrap(), ["event"]);
        for (condition, is) in [("deleted_utc is null", true), ("length(label) > 3", false)] {
            let sql = format!("{PROJECT} create index part on event(dataset_id) where {condition};");
            let database = Database::open(made(&sql), "x").unwrap();
            assert_eq!(database.with(|link| Ok(is_plain(&link.connection, "event")?)).unwrap(), is);
            database.integrity_check().unwrap();
        }
    }
}
