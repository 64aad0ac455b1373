//! Whether rows have more values than their table has columns.
//!
//! SQLite writes no such row. It reads one as though nothing were wrong, and gives the values of the first columns: the
//! statement that makes the table was changed, two columns became one, and all that stand behind have the names of others.
//!
//! Limit. Rows are looked at where a table begins and where it ends: of the statement all rows speak.

use super::link::Link;
use super::pages::page::{Cell, Head, Kind};
use super::pages::record::Types;
use super::{Database, Step, glance};

/// The deepest tree that SQLite reads.
const DEEPEST: usize = 20;

impl Database {
    /// Looks at the first rows and the last rows of every table. `code` is what damage is called.
    pub(super) fn widths(&self, link: &Link, code: &'static str) -> Step<()> {
        let root = "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
        let mut root = link.connection.prepare(root)?;
        let columns = "SELECT count(*) FROM pragma_table_xinfo(?1) WHERE hidden <> 2";
        let mut columns = link.connection.prepare(columns)?;
        // A column that stands in a key twice, in two orders, is stored twice.
        let of_key =
            "SELECT count(*) FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS stored
            WHERE list.origin = 'pk' AND stored.cid >= 0";
        let mut of_key = link.connection.prepare(of_key)?;
        for table in &self.layout.names {
            let Ok(Ok(page)) = root.query_row([table], |row| row.get::<_, i64>(0)).map(u32::try_from) else {
                continue;
            };
            let columns = columns.query_row([table], |row| row.get::<_, i64>(0))? as usize;
            let of_key = of_key.query_row([table], |row| row.get::<_, i64>(0))? as usize;
            for is_last in [false, true] {
                let (most, is_by_key) = self.most_values(page, is_last)?;
                let stored = if is_by_key { columns.max(of_key) } else { columns };
                if most > stored {
                    let what = format!(
                        "rows of {table} have more values than it has columns: the statement that makes it was changed"
                    );
                    return Err(self.damaged(code, what).into());
                }
            }
        }
        Ok(())
    }

    /// The most values that a row has, of those on the way down to the first leaf of a tree, or to the last; and whether
    /// the rows are in the order of a key.
    fn most_values(&self, mut number: u32, is_last: bool) -> Step<(usize, bool)> {
        let glance = glance::header(&self.content, &self.name)?;
        let mut reserved = [0];
        self.content.read_at(20, &mut reserved)?;
        let mut page = vec![0; usize::try_from(glance.page_size).unwrap_or(0)];
        let usable = page.len().saturating_sub(reserved[0].into());
        let (mut most, mut is_by_key, mut types) = (0, false, Types::default());
        for _ in 0..DEEPEST {
            let offset = u64::from(number.saturating_sub(1)) * page.len() as u64;
            let is_there = number > 1 && self.content.read_at(offset, &mut page)? == page.len();
            let Some(head) = Head::read(&page, 0, usable).filter(|_| is_there) else { break };
            is_by_key |= matches!(head.kind, Kind::IndexLeaf | Kind::IndexInterior);
            let cell = |i| Cell::read(head.kind, &page, head.pointer(&page, i)?, usable);
            for cell in (0..head.cells).filter_map(cell).filter(|_| head.kind.has_payload()) {
                if types.read(&page[cell.local.clone()], cell.payload).is_some() {
                    most = most.max(types.serials.len());
                }
            }
            number = match cell(0) {
                _ if !head.kind.is_interior() => break,
                Some(first) if !is_last => first.left,
                _ => head.right,
            };
        }
        Ok((most, is_by_key))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::error::Error;
    use crate::tree::Content;

    const ROWS: &str = "create table meta(key text primary key, value text);
        create table dataset(id integer primary key, name text, notes text, extra_json text);
        create table trace(dataset_id integer, t_seconds real, t_us integer, inner_diam real,
            primary key(dataset_id, t_seconds)) without rowid;
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 900)
        insert into dataset select i, 'a', 'b', null from n;
        insert into trace select 1, id * 0.1, id, 5.5 from dataset;";

    fn is_damaged(more: &str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sqlite");
        let c = Connection::open(&path).unwrap();
        c.execute_batch(&format!("{ROWS}{more}")).unwrap();
        c.close().unwrap();
        let database = Database::open(Content::Bytes(std::fs::read(&path).unwrap().into()), "x").unwrap();
        [database.integrity_check(), database.quick_check()].into_iter().all(|checked| match checked {
            Ok(()) => false,
            Err(Error::Damaged { .. }) => true,
            Err(other) => panic!("{other}"),
        })
    }

    #[test]
    fn two_columns_that_became_one_are_damage() {
        for (table, was, is) in [
            ("trace", "t_us integer, inner", "t_us integer$ inner"),
            ("dataset", "notes text, extra", "notes text$ extra"),
        ] {
            let change = format!(
                "pragma writable_schema = on; update sqlite_schema set sql = replace(sql, '{was}', '{is}')
                 where name = '{table}'; pragma writable_schema = reset;"
            );
            assert!(is_damaged(&change), "{table}");
        }
    }

    #[test]
    fn columns_that_come_and_go_are_none() {
        let computed =
            "create table odd(a, b as (a * 2), c as (a + 1) stored, d); insert into odd(a, d) values(1, 2);";
        let twice =
            "create table twice(a, b, primary key(b, a, b)) without rowid; insert into twice values(1, 2);";
        for more in [
            "",
            "alter table trace add column n real default 1; insert into trace values(2, 1, 1, 1, 1);",
            "alter table trace drop column inner_diam;",
            "alter table dataset drop column notes; alter table dataset add column more text;",
            computed,
            twice,
            "create table cd(a text, b, primary key(a, a collate nocase)) without rowid; insert into cd values('a', 1);",
        ] {
            assert!(!is_damaged(more), "{more}");
        }
    }
}
