//! Whether a database is sound: SQLite looks at all of it.
//!
//! The quick check reads every page and every row. It does not ask whether the rows of a table WITHOUT ROWID lie in the
//! order of their keys, nor whether an index has the rows that its table has: what is read by key or by index may
//! still be missing. The thorough check asks for both, and costs a search in each index for each row.
//!
//! Invariant: no expression of a stranger's schema is run for it. Tables with columns or indices that are computed, and
//! those with an index whose condition may call something, are checked quickly only.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::layout::quoted;
use super::link::Link;
use super::{Database, Step, value};
use crate::error::Result;

/// The thorough check may take so many times as long as a look at all pages.
const THOROUGH: u32 = 4;

impl Database {
    /// Lets SQLite look at every page. The time it may take grows with the size.
    pub fn quick_check(&self) -> Result<()> {
        self.with(|link| self.checked(link, "quick_check(1)", "quick-check-failed", 1))
    }

    /// Lets SQLite look at every page, at the order of the rows, and at what the indices have of them.
    pub fn integrity_check(&self) -> Result<()> {
        const CODE: &str = "integrity-check-failed";
        self.with(|link| {
            let mut plain = Vec::new();
            for table in &self.layout.names {
                if is_plain(&link.connection, table)? {
                    plain.push(table);
                }
            }
            if plain.len() == self.layout.names.len() {
                return self.checked(link, "integrity_check(1)", CODE, THOROUGH);
            }
            self.checked(link, "quick_check(1)", "quick-check-failed", 1)?;
            plain.iter().try_for_each(|table| {
                self.checked(link, &format!("integrity_check({})", quoted(table)), CODE, THOROUGH)
            })
        })
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

/// Whether nothing is computed in a table or its indices.
fn is_plain(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let table = quoted(table);
    let any = |sql: &str, fits: &dyn Fn(&Row<'_>) -> rusqlite::Result<bool>| {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if fits(row)? {
                return Ok(true);
            }
        }
        rusqlite::Result::Ok(false)
    };
    let is_computed = |row: &Row<'_>| Ok(row.get::<_, i64>("hidden")? != 0);
    if any(&format!("PRAGMA main.table_xinfo({table})"), &is_computed)? {
        return Ok(false);
    }
    let is_odd = |row: &Row<'_>| {
        let index = value::text(row.get_ref("name")?);
        if row.get::<_, i64>("partial")? != 0 && calls_something(connection, &index)? {
            return Ok(true);
        }
        let is_expression = |row: &Row<'_>| Ok(row.get::<_, i64>("cid")? == -2);
        any(&format!("PRAGMA main.index_xinfo({})", quoted(&index)), &is_expression)
    };
    Ok(!any(&format!("PRAGMA main.index_list({table})"), &is_odd)?)
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
        let database = with_rows(live);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), database).unwrap();
        let c = Connection::open(file.path()).unwrap();
        c.execute_batch(swapped).unwrap();
        c.close().unwrap();
        assert_eq!(code(std::fs::read(file.path()).unwrap()), Some("integrity-check-failed"));
    }

    #[test]
    fn what_a_schema_computes_is_not_run_by_the_check() {
        let slow = "create index slow on event(replace(hex(zeroblob(9000000)), '0', 'abc'));";
        let database = Database::open(made(&format!("{PROJECT}{slow}")), "x").unwrap();
        database.integrity_check().unwrap();
        assert!(database.with(|link| Ok(is_plain(&link.connection, "trace")?)).unwrap());
        assert!(!database.with(|link| Ok(is_plain(&link.connection, "event")?)).unwrap());
        for (condition, is) in [("deleted_utc is null", true), ("length(label) > 3", false)] {
            let sql = format!("{PROJECT} create index part on event(dataset_id) where {condition};");
            let database = Database::open(made(&sql), "x").unwrap();
            assert_eq!(database.with(|link| Ok(is_plain(&link.connection, "event")?)).unwrap(), is);
            database.integrity_check().unwrap();
        }
    }
}
