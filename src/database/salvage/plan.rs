//! The layouts of all that a schema makes, which SQLite itself is asked for.
//!
//! It is asked in an empty database in memory that gets the statements of the schema and nothing else; no statement
//! ever runs on the damaged file. The statements are a stranger's: they may create tables, indices, views and triggers,
//! and nothing more; they call none but harmless functions; what they take is bounded.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::clock::Clock;
use super::defaults;
use super::harmless::{HARMLESS, MOST_SQL, harden};
use super::layout::{Affinity, Field, Identity, Index, Layout, Schema, StandIn};
use super::record::{Collation, Encoding, Sort};
use crate::database::check::{has_computed_columns, is_known_order};
use crate::database::file::{refuse_function, take_any_order};
use crate::database::layout::quoted;

/// How long it may take to make an empty database.
const TO_PLAN: Duration = Duration::from_secs(30);

/// Functions that no SQLite has, and that the tables of one schema may call.
const FUNCTIONS: usize = 64;

/// What a table has not that another stands in for.
const COMPUTED: &str = "its computed columns are not made again; what it stored of them is kept as values";
const SORTED: &str =
    "it is kept as a plain table, without its keys and checks: nothing here sorts as they do";

/// The layouts of a schema.
#[derive(Debug, Default)]
pub struct Plan {
    /// Its tables.
    pub tables: Vec<Layout>,
    /// Its indices.
    pub indices: Vec<Layout>,
    /// The tables that SQLite keeps for itself: no rows of the project, but pages of the file.
    pub internal: Vec<Layout>,
    /// The tables of which it is not known what rows mean that are older than a column.
    pub unread: Vec<String>,
}

impl Plan {
    /// Asks SQLite how this schema writes its rows, in a database that writes text so: a default may be bytes of it.
    pub fn of(schema: &[Schema], encoding: Encoding) -> rusqlite::Result<Plan> {
        let mut db = Connection::open_in_memory()?;
        db.pragma_update(None, "encoding", encoding.name())?;
        harden(&db, MOST_SQL)?;
        take_any_order(&db)?;
        Clock::new(TO_PLAN).watch(&mut db)?;
        let calling = create(&mut db, schema, &["table", "index"])?.calling;
        let mut plan = Plan::default();
        let (internal, own): (Vec<_>, Vec<_>) =
            schema.iter().filter(|row| row.kind == "table").partition(|row| row.is_internal());
        plan.internal = internal.into_iter().filter_map(Layout::of_internal).collect();
        for row in own {
            // What could not be made has no layout.
            let Ok(Some(layout)) = table(&db, row) else { continue };
            let without = match () {
                () if calling.contains(&row.name) && has_computed_columns(&db, &row.name)? => Some(COMPUTED),
                () if has_unknown_order(&db, &row.name)? => Some(SORTED),
                () => None,
            };
            let stand_in = without.map(|without| StandIn { sql: layout.as_plain_table(), without });
            plan.tables.push(Layout { stand_in, ..layout });
        }
        let own =
            plan.tables.iter().map(|t| own_indices(&db, &t.name)).collect::<rusqlite::Result<Vec<_>>>()?;
        let named = |row: &&Schema| row.kind == "index" && row.name.get(..7) != Some("sqlite_");
        let roots = |name: &str| schema.iter().find(|r| r.name == name).map_or(0, |r| r.root);
        let own = own.into_iter().flatten().map(|row| Schema { root: roots(&row.name), ..row });
        for row in schema.iter().filter(named).cloned().chain(own) {
            let row = &row;
            if let Some(table) = plan.tables.iter().find(|t| t.name.eq_ignore_ascii_case(&row.table))
                && let Ok(Some(layout)) = index(&db, row, table)
            {
                plan.indices.push(layout);
            }
        }
        plan.unread = defaults::read(&db, &mut plan.tables)?;
        Ok(plan)
    }

    /// Knows the order of those keys alone whose columns are all sorted in a way that the file `keeps`.
    pub fn know_orders(&mut self, keeps: impl Fn(&Sort) -> bool) {
        for layout in self.tables.iter_mut().chain(&mut self.indices) {
            layout.ordered &= layout.sorts.iter().all(&keeps);
        }
    }

    /// The layout of a table.
    pub fn table(&self, name: &str) -> Option<&Layout> {
        self.tables.iter().find(|t| t.name.eq_ignore_ascii_case(name))
    }
}

/// What came of making things.
#[derive(Debug, Default)]
pub struct Created {
    /// What was refused, and why.
    pub refused: Vec<(String, rusqlite::Error)>,
    /// What calls functions that fail here.
    pub calling: HashSet<String>,
}

/// Runs the statements of `schema` that make things of these kinds.
pub fn create(db: &mut Connection, schema: &[Schema], kinds: &[&str]) -> rusqlite::Result<Created> {
    let [calls, makes_view] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (called, is_view) = (Arc::clone(&calls), Arc::clone(&makes_view));
    db.authorizer(Some(move |context: AuthContext<'_>| {
        if let AuthAction::Function { function_name } = context.action
            && !HARMLESS.iter().any(|name| name.eq_ignore_ascii_case(function_name))
        {
            called.store(true, Ordering::Relaxed);
        }
        only_creation(context, is_view.load(Ordering::Relaxed))
    }))?;
    let (mut created, mut unknown) = (Created::default(), HashSet::new());
    for kind in kinds {
        for row in schema.iter().filter(|row| row.kind == *kind && !row.is_internal()) {
            let Some(sql) = &row.sql else { continue };
            calls.store(false, Ordering::Relaxed);
            let view = sql.get(..12).is_some_and(|front| front.eq_ignore_ascii_case("create view "));
            makes_view.store(view, Ordering::Relaxed);
            let mut made = run_one(db, sql);
            while let Some(name) = made.as_ref().err().and_then(unknown_function)
                && unknown.len() < FUNCTIONS
                && unknown.insert(name.clone())
            {
                refuse_function(db, &name)?;
                made = run_one(db, sql);
            }
            if let Err(e) = made {
                created.refused.push((row.name.clone(), e));
            } else if calls.load(Ordering::Relaxed) {
                created.calling.insert(row.name.clone());
            }
        }
    }
    db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    Ok(created)
}

/// The function that SQLite knows nothing of, if that is what it says.
fn unknown_function(error: &rusqlite::Error) -> Option<String> {
    let (rusqlite::Error::SqliteFailure(_, Some(why)) | rusqlite::Error::SqlInputError { msg: why, .. }) =
        error
    else {
        return None;
    };
    why.strip_prefix("no such function: ").map(str::to_string)
}

fn run_one(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

fn only_creation(context: AuthContext<'_>, makes_view: bool) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateVtable { .. }
        | AuthAction::DropVtable { .. }
        | AuthAction::Pragma { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. } => Authorization::Deny,
        // A view of several rows of values asks for it.
        AuthAction::Select if !makes_view => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// The layout of one table; `None` if it is none that has rows.
fn table(db: &Connection, row: &Schema) -> rusqlite::Result<Option<Layout>> {
    let name = &row.name;
    let without: Option<bool> = db
        .query_row(
            "SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main' AND type = 'table'",
            [name],
            |r| r.get(0),
        )
        .ok();
    let Some(without) = without else { return Ok(None) };
    let mut columns: Vec<(Field, bool, i64)> = Vec::new();
    let sql = format!("SELECT name, type, \"notnull\", hidden, pk FROM pragma_table_xinfo({})", quoted(name));
    let mut query = db.prepare(&sql)?;
    let mut rows = query.query([])?;
    while let Some(r) = rows.next()? {
        let hidden: i64 = r.get(3)?;
        let field = Field {
            name: r.get(0)?,
            affinity: Affinity::of(&r.get::<_, String>(1)?),
            not_null: r.get(2)?,
            default: None,
            is_key: false,
            generated: hidden == 3,
        };
        columns.push((field, hidden == 2, r.get(4)?));
    }
    let key = db.query_row("SELECT name FROM pragma_index_list(?1) WHERE origin = 'pk'", [name], |r| {
        r.get::<_, String>(0)
    });
    let layout = |fields, identity, sorts: Option<Vec<Sort>>| Layout {
        name: name.clone(),
        fields,
        identity,
        ordered: sorts.is_some(),
        sorts: sorts.unwrap_or_default(),
        root: row.root,
        least: 0,
        stand_in: None,
        index: None,
    };
    if without {
        let entries = entries(db, &key?)?;
        let sorts = entries.iter().filter(|e| e.key).map(|e| e.sort).collect();
        let keys = entries.iter().filter(|e| e.key).count();
        let fields = entries.iter().filter_map(|e| columns.get(e.column?)).map(|(f, ..)| f.clone()).collect();
        return Ok(Some(layout(fields, Identity::Fields(keys), sorts)));
    }
    // A primary key that has no index of its own is the row number.
    let is_single = columns.iter().filter(|(.., pk)| *pk > 0).count() == 1;
    let alias = is_single && key.is_err();
    columns.iter_mut().for_each(|(field, _, pk)| field.is_key = is_single && !alias && *pk > 0);
    let stored: Vec<&(Field, bool, i64)> = columns.iter().filter(|(_, virtually, _)| !virtually).collect();
    let identity = match stored.iter().position(|(.., pk)| alias && *pk > 0) {
        Some(at) => Identity::Alias(at),
        None => {
            let taken = |n: &str| columns.iter().any(|(f, ..)| f.name.eq_ignore_ascii_case(n));
            let Some(free) = ["rowid", "_rowid_", "oid"].into_iter().find(|n| !taken(n)) else {
                return Ok(None);
            };
            Identity::Number(free)
        }
    };
    let fields = stored.into_iter().map(|(f, ..)| f.clone()).collect();
    Ok(Some(layout(fields, identity, Some(Vec::new()))))
}

/// Whether the keys of a table stand in an order that is not known here.
fn has_unknown_order(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT stored.coll FROM pragma_index_list(?1) list, pragma_index_xinfo(list.name) stored
        WHERE list.origin <> 'c' AND stored.key";
    let mut query = db.prepare(sql)?;
    let mut rows = query.query([table])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, Option<String>>(0)?.is_some_and(|order| !is_known_order(&order)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The indices that a table makes by itself. The key of a table WITHOUT ROWID is the table.
fn own_indices(db: &Connection, table: &str) -> rusqlite::Result<Vec<Schema>> {
    let find = "SELECT l.name FROM pragma_index_list(?1) l, pragma_table_list(?1) t \
                WHERE l.origin <> 'c' AND t.schema = 'main' AND (l.origin = 'u' OR NOT t.wr)";
    let mut query = db.prepare(find)?;
    let row = |name| Schema {
        kind: "index".to_string(),
        name,
        table: table.to_string(),
        root: 0,
        sql: None,
        doubtful: false,
    };
    query.query_map([table], |r| r.get(0).map(row))?.collect()
}

/// A column of an index.
struct Entry {
    /// The column of the table; none for an expression, or the row number.
    column: Option<usize>,
    rowid: bool,
    key: bool,
    /// The order in which its values stand; none that is known where a program brings its own.
    sort: Option<Sort>,
}

fn entries(db: &Connection, index: &str) -> rusqlite::Result<Vec<Entry>> {
    let mut query = db.prepare("SELECT cid, \"desc\", coll, key FROM pragma_index_xinfo(?1)")?;
    let rows = query.query_map([index], |r| {
        let cid: i64 = r.get(0)?;
        let collation: Option<String> = r.get(2)?;
        let collation = collation.map_or(Some(Collation::Binary), |name| Collation::named(&name));
        let descending = r.get(1)?;
        let sort = collation.map(|collation| Sort { collation, descending });
        Ok(Entry { column: usize::try_from(cid).ok(), rowid: cid == -1, key: r.get(3)?, sort })
    })?;
    rows.collect()
}

/// The layout of one index.
fn index(db: &Connection, row: &Schema, table: &Layout) -> rusqlite::Result<Option<Layout>> {
    let partial: bool = db.query_row(
        "SELECT partial FROM pragma_index_list(?1) WHERE name = ?2",
        [&row.table, &row.name],
        |r| r.get(0),
    )?;
    let entries = entries(db, &row.name)?;
    let mut names = Vec::new();
    let mut query = db.prepare("SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    for name in query.query_map([&row.table], |r| r.get::<_, String>(0))? {
        names.push(name?);
    }
    let field = |e: &Entry| {
        let named = e.column.and_then(|c| names.get(c));
        let own = named.and_then(|n| table.fields.iter().find(|f| f.name == *n)).cloned();
        own.map(|field| Field { is_key: false, ..field }).unwrap_or_else(|| match e.rowid {
            true => Field { not_null: true, ..Field::of("", Affinity::Integer) },
            false => Field::of("", Affinity::Any),
        })
    };
    let fields: Vec<Field> = entries.iter().map(field).collect();
    let identity = match table.identity {
        Identity::Fields(n) => {
            let place = |key: &Field| fields.iter().position(|f| f.name == key.name);
            table.fields[..n].iter().map(place).collect::<Option<Vec<_>>>()
        }
        _ => fields.len().checked_sub(1).map(|last| vec![last]),
    };
    let Some(identity) = identity else { return Ok(None) };
    let index = Index { table: table.name.clone(), identity, complete: !partial };
    let keys = Identity::Fields(fields.len());
    let sorts: Option<Vec<Sort>> = entries.iter().map(|entry| entry.sort).collect();
    let (name, root) = (row.name.clone(), row.root);
    Ok(Some(Layout {
        name,
        fields,
        identity: keys,
        ordered: sorts.is_some(),
        sorts: sorts.unwrap_or_default(),
        root,
        least: 0,
        stand_in: None,
        index: Some(index),
    }))
}
