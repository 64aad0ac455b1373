//! What SQLite reads where a row is older than a column.
//!
//! A record ends before the columns that were added after it was written. What is read there, the statement of the table
//! says, by rules of SQLite's own: a constant, as the type of the column has it, or NULL. So SQLite itself reads it: in the
//! empty database that the schema has made, each table is told that its tree is another's, which has one row of the fewest
//! values.
//!
//! Limits. A default is as long as its statement at most; how much of them goes into the result is for who fills it to
//! bound.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::layout::Layout;
use super::record::Part;
use crate::database::layout::quoted;
use crate::database::value::cell;

/// Reads the defaults of all tables in a database that has them, and has no row. It is of no use afterwards. Gives the
/// tables whose defaults are not known.
pub fn read(db: &Connection, tables: &mut [Layout]) -> rusqlite::Result<Vec<String>> {
    let mut roots = HashMap::new();
    db.execute_batch("PRAGMA writable_schema = ON")?;
    for layout in tables.iter() {
        let keys = layout.key_fields();
        let root = match roots.get(&keys) {
            Some(root) => *root,
            None => oldest(db, keys)?,
        };
        roots.insert(keys, root);
        let lend =
            "UPDATE main.sqlite_schema SET rootpage = ?1 WHERE type = 'table' AND name = ?2 COLLATE NOCASE";
        db.execute(lend, (root, &layout.name))?;
    }
    db.execute_batch("PRAGMA writable_schema = RESET")?;
    let unread =
        tables.iter_mut().filter_map(|layout| of_table(db, layout).err().map(|_| layout.name.clone()));
    Ok(unread.collect())
}

/// Makes a tree with one row, which has the fewest values: those of its key, or a single one.
fn oldest(db: &Connection, keys: usize) -> rusqlite::Result<i64> {
    let root = |name: &str| {
        let find = "SELECT rootpage FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE";
        db.query_row(find, [name], |r| r.get::<_, i64>(0)).optional()
    };
    let mut name = format!("oldest_{keys}");
    while root(&name)?.is_some() {
        name.push('_');
    }
    let columns = |what: &str| vec![what; keys.max(1)].join(", ");
    let names: Vec<String> = (0..keys.max(1)).map(|at| format!("k{at}")).collect();
    let names = names.join(", ");
    let key = if keys > 0 { format!(", PRIMARY KEY({names})) WITHOUT ROWID") } else { ")".to_string() };
    let value = columns(if keys > 0 { "0" } else { "NULL" });
    db.execute_batch(&format!(
        "CREATE TABLE main.{name}({names}{key}; INSERT INTO main.{name} VALUES({value})"
    ))?;
    Ok(root(&name)?.unwrap_or_default())
}

fn of_table(db: &Connection, layout: &mut Layout) -> rusqlite::Result<()> {
    let table = quoted(&layout.name);
    let least = layout.key_fields().max(1);
    let later = layout.fields.iter_mut().skip(least);
    let mut later: Vec<_> = later.filter(|field| !field.generated).collect();
    if later.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = later.iter().map(|field| quoted(&field.name)).collect();
    let select = format!("SELECT {} FROM main.{table} NOT INDEXED", names.join(", "));
    db.query_row(&select, [], |r| {
        for (at, field) in later.iter_mut().enumerate() {
            let value = Part::of(cell(r.get_ref(at)?));
            field.default = (value != Part::Null).then(|| Arc::new(value));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::Report;
    use super::super::hostile::{TRACE, made, recovered};

    /// Any default that a column may be given later.
    const DEFAULTS: &[&str] = &[
        "'it''s (x)'",
        "5",
        "(5)",
        "- 5",
        "-5",
        "+5",
        "(- -5)",
        "1.50",
        ".5",
        "5.",
        "1e5",
        "1e+5",
        "1.5e-3",
        "-0.0",
        "9e999",
        "0x1F",
        "-0x1F",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
        "TRUE",
        "(false)",
        "(-true)",
        "null",
        "(null)",
        "hello",
        "`n/a`",
        "[a b]",
        "\"d q\"",
        "\"current_date\"",
        "'current_date'",
        "''",
        "x'00ff'",
        "('a\nb')",
        "(5 /* um */)",
        "/* c */ 5",
        "(--c\n5)",
        "(((('a'))))",
        "(+'x')",
        "(-'5')",
        "(cast('5' as int))",
        "(cast(5 as real))",
        "(cast('a' as blob))",
        "(cast(x'4100' as text))",
        "(cast('12' as varchar(3)))",
        "(cast(cast(5.5 as int) as text))",
        "(cast(- 5.50 as text))",
        "(cast(5 as decimal(10,2)))",
        "('a' collate nocase)",
        "(not 1)",
        "(5 not null)",
        "(1 + 1)",
        "('a' || 'b')",
        "(random())",
        "(zeroblob(20000000))",
        "current_timestamp",
        "((current_timestamp))",
    ];

    /// Tables of either kind with rows that are older than the last columns, and one that is not.
    fn tables(defaults: &[&str], encoding: &str) -> String {
        let kinds = ["", "text", "integer", "real", "numeric", "blob"];
        let added = |(at, default): (usize, &&str)| {
            kinds.map(|kind| format!(", c{at}{kind} {kind} default {default}")).concat()
        };
        let added: String = defaults.iter().enumerate().map(added).collect();
        format!(
            "pragma encoding = '{encoding}'; {TRACE}
             create table r(a integer, b); create table w(b, a integer primary key) without rowid;
             with recursive n(i) as (select 1 union all select i + 1 from n where i < 20)
             insert into r select i, 'b' from n; insert into w select b, a from r;
             pragma writable_schema = on;
             update sqlite_schema set sql = substr(sql, 1, instr(sql, ')') - 1) || '{added})' where name = 'r';
             update sqlite_schema set sql = 'create table w(b, a integer primary key{added}) without rowid'
                where name = 'w';
             pragma writable_schema = reset;
             insert into r(a, b) values(99, 'c'); insert into w(a, b) values(99, 'c');",
            added = added.replace('\'', "''"),
        )
    }

    /// All values of a table, but of the one row that was made when it had all its columns.
    fn values(c: &Connection, table: &str) -> Vec<String> {
        let mut query = c.prepare(&format!("select * from {table} where a < 99 order by a")).unwrap();
        let columns = query.column_count();
        let names: Vec<String> = query.column_names().map(str::to_string).collect();
        let row = |r: &rusqlite::Row<'_>| {
            let value = |at: usize| format!("{} {:?}", names[at], r.get_ref(at).unwrap());
            Ok((0..columns).map(value).collect::<Vec<_>>())
        };
        query.query_map([], row).unwrap().flat_map(|row| row.unwrap()).collect()
    }

    /// What is recovered of a file that is whole.
    fn again(sql: &str) -> (tempfile::TempDir, Connection, Report, Connection) {
        let (bytes, _) = made(sql, "trace");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whole.sqlite");
        std::fs::write(&path, &bytes).unwrap();
        let (report, c, _) = recovered(bytes);
        (dir, Connection::open(path).unwrap(), report, c)
    }

    #[test]
    fn a_row_that_is_older_than_a_column_reads_as_it_did() {
        for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
            let (_dir, whole, report, c) = again(&tables(DEFAULTS, encoding));
            for table in ["r", "w"] {
                let (was, is) = (values(&whole, table), values(&c, table));
                assert_eq!(was.len(), 20 * (2 + 6 * DEFAULTS.len()));
                let others: Vec<_> = was.iter().zip(&is).filter(|(was, is)| was != is).collect();
                assert!(others.is_empty() && was.len() == is.len(), "{encoding} {table}: {others:?}");
            }
            assert!(report.is_lossless(), "{encoding}: {report:?}");
        }
    }

    #[test]
    fn a_long_default_is_no_reason_to_lose_a_row_or_it() {
        let long = "x".repeat(1025);
        for (what, n) in [("default", 20), ("not null default", 20), ("default", 40_000)] {
            let more = format!(
                "create table x(a integer primary key, b); create table w(a integer primary key, b) without rowid;
                 with recursive n(i) as (select 1 union all select i + 1 from n where i < {n})
                 insert into x select i, 'b' from n; insert into w select a, b from x where a < 9000;
                 alter table x add column c text {what} '{long}'; alter table w add column c text {what} '{long}';"
            );
            let (_dir, whole, report, c) = again(&format!("{TRACE}{more}"));
            for table in ["x", "w"] {
                let sum = format!("select count(*) || ' ' || sum(length(c)) || c from {table}");
                let sum = |c: &Connection| c.query_row(&sum, [], |r| r.get::<_, String>(0)).unwrap();
                assert_eq!(sum(&c), sum(&whole), "{what} {table}: {:?}", report.notes);
            }
            assert!(report.is_lossless() && report.set_apart.is_none(), "{what}: {report:?}");
        }
    }

    #[test]
    fn a_default_is_kept_where_another_column_cannot_be_computed() {
        let more = "create table x(a integer primary key, b, d as (printf('%d', a)) stored);
            insert into x(b) values('b'), ('c'); alter table x add column c text default 'n/a';";
        let (_dir, _, report, c) = again(&format!("{TRACE}{more}"));
        let n = c.query_row("select count(*) from x where c = 'n/a' and d = a", [], |r| r.get(0));
        assert_eq!(n, Ok(2), "{report:?}");
    }

    /// Forty thousand million letters, of a file of a megabyte.
    #[test]
    fn defaults_that_would_fill_a_disk_are_left_out_and_the_rows_are_kept() {
        let long = "x".repeat(1_000_000);
        let more = format!(
            "create table x(a integer primary key, b);
             with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)
             insert into x select i, 'b' from n; alter table x add column c text default '{long}';"
        );
        let (bytes, _) = made(&format!("{TRACE}{more}"), "trace");
        let size = bytes.len() as u64;
        let (report, c, written) = recovered(bytes);
        assert!(written < 32 * size + (300 << 20), "{written}");
        let n = |what: &str| c.query_row(&format!("select count({what}) from x"), [], |r| r.get::<_, u32>(0));
        let (all, with) = (n("*").unwrap(), n("c").unwrap());
        assert!(all == 40_000 && with < all, "{with} of {all}: {:?}", report.notes);
        assert!(!report.is_lossless());
        let told = report.notes.iter().find(|note| note.starts_with("x: ")).cloned().unwrap_or_default();
        assert!(
            told.contains(&format!("{} rows", super::super::grouped((all - with).into()))),
            "{:?}",
            report.notes
        );
    }
}
