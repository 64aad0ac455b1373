//! How the tables of a schema write their rows: which values a record has, in which order, and what each may be.
//!
//! SQLite itself is asked, in an empty database in memory that gets the statements of the schema and nothing else; no
//! statement ever runs on the damaged file. The statements are a stranger's: they may create tables, indices, views and
//! triggers, and nothing more, and what they take is bounded.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, config::DbConfig};

use super::record::{Encoding, Key, Part};
use crate::tree::Cell as Value;

/// A row of `sqlite_schema`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table that it belongs to.
    pub table: String,
    /// The first page of its tree; 0 when that is not known, or there is none.
    pub root: u32,
    /// The statement; none for an index that a table makes by itself.
    pub sql: Option<String>,
    /// Whether it comes from a damaged page, where letters of it may be wrong.
    pub doubtful: bool,
}

impl Schema {
    /// The row that a statement of ours makes.
    pub fn of_statement(sql: &str) -> Option<Schema> {
        let mut words = sql
            .split(|c: char| c.is_whitespace() || c == '(')
            .skip_while(|w| w.eq_ignore_ascii_case("create") || w.eq_ignore_ascii_case("unique"));
        let kind = words.next()?.to_ascii_lowercase();
        let name = words.next()?.to_string();
        let table = match kind.as_str() {
            "index" => words.nth(1)?.to_string(),
            _ => name.clone(),
        };
        Some(Schema { kind, name, table, root: 0, sql: Some(sql.to_string()), doubtful: false })
    }

    /// Whether SQLite keeps it for itself.
    pub fn is_internal(&self) -> bool {
        self.name.get(..7).is_some_and(|front| front.eq_ignore_ascii_case("sqlite_"))
    }
}

/// What a column makes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Whole numbers.
    Integer,
    /// Numbers with a fraction.
    Real,
    /// Any numbers.
    Numeric,
    /// Text.
    Text,
    /// Declared as bytes.
    Blob,
    /// Anything.
    Any,
}

impl Affinity {
    /// SQLite's rule for a declared type.
    fn of(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |word| declared.contains(word);
        match () {
            () if declared.is_empty() || declared == "ANY" => Affinity::Any,
            () if has("INT") => Affinity::Integer,
            () if has("CHAR") || has("CLOB") || has("TEXT") => Affinity::Text,
            () if has("BLOB") => Affinity::Blob,
            () if has("REAL") || has("FLOA") || has("DOUB") => Affinity::Real,
            () => Affinity::Numeric,
        }
    }
}

/// How well a record fits a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It cannot be of this table.
    No,
    /// Only if something unusual was stored.
    Odd,
    /// As a record of this table before columns were added to it.
    Short,
    /// Exactly.
    Exact,
}

/// A value of a record, as its table declares it.
#[derive(Debug, Clone)]
pub struct Field {
    /// The column.
    pub name: String,
    affinity: Affinity,
    not_null: bool,
    has_default: bool,
    /// Computed from others: stored, and never inserted.
    pub generated: bool,
}

/// How a row is told from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By the first fields of the record.
    Fields(usize),
    /// By the row number, which is that field of the record (where NULL stands for it).
    Alias(usize),
    /// By the row number, which goes by this name.
    Number(&'static str),
}

/// How a table, or an index, writes a row.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The name.
    pub name: String,
    /// The values of a record, in the order in which they are written.
    pub fields: Vec<Field>,
    /// What makes the row.
    pub identity: Identity,
    /// Whether keys stand in the plain order of their values.
    pub ordered: bool,
    /// The first page of its tree, or 0.
    pub root: u32,
    /// For an index: where the identity of the row that an entry stands for is found.
    pub index: Option<Index>,
}

/// What an index says of its table.
#[derive(Debug, Clone)]
pub struct Index {
    /// The table.
    pub table: String,
    /// The places of the values that identify the row.
    pub identity: Vec<usize>,
    /// Whether it has an entry for every row.
    pub complete: bool,
}

impl Layout {
    /// Whether its rows lie in pages with row numbers.
    pub fn has_rowid(&self) -> bool {
        !matches!(self.identity, Identity::Fields(_))
    }

    /// How many fields make the key, where the record has it.
    pub fn key_fields(&self) -> usize {
        if let Identity::Fields(n) = self.identity { n } else { 0 }
    }

    /// How well a record with these types fits.
    pub fn fit(&self, serials: &[u64], encoding: Encoding) -> Fit {
        if serials.len() > self.fields.len() || serials.len() < self.key_fields() {
            return Fit::No;
        }
        let mut fit = if serials.len() == self.fields.len() { Fit::Exact } else { Fit::Short };
        for (i, field) in self.fields.iter().enumerate() {
            let alias = self.identity == Identity::Alias(i);
            fit = fit.min(match serials.get(i) {
                Some(serial) if alias => {
                    if *serial == 0 {
                        Fit::Exact
                    } else {
                        Fit::No
                    }
                }
                Some(serial) => field.fit(*serial, encoding),
                // Added later: the record knows nothing of it.
                None if field.not_null && !field.has_default || self.index.is_some() => Fit::No,
                None => Fit::Exact,
            });
        }
        fit
    }

    /// How many of a record's values are of the types that its table declares, and how many are of others.
    pub fn ordinary(&self, serials: &[u64], encoding: Encoding) -> (usize, usize) {
        let values = serials.iter().zip(&self.fields).filter(|(serial, _)| **serial != 0);
        let all = values.clone().count();
        let good = values.filter(|(serial, field)| field.fit(**serial, encoding) == Fit::Exact).count();
        (good, all - good)
    }

    /// The key of a row, kept.
    pub fn key<'v>(&self, rowid: i64, values: impl Iterator<Item = Option<Value<'v>>>) -> Option<Key> {
        match self.identity {
            Identity::Fields(n) => {
                let key: Key = values.take(n).map(|v| v.map(Part::of)).collect::<Option<_>>()?;
                (key.len() == n).then_some(key)
            }
            _ => Some(vec![Part::Integer(rowid)]),
        }
    }

    /// A table that SQLite keeps for itself.
    fn of_internal(row: &Schema) -> Option<Layout> {
        let columns: &[&str] = match row.name.to_ascii_lowercase().as_str() {
            "sqlite_sequence" => &["name", "seq"],
            "sqlite_stat1" => &["tbl", "idx", "stat"],
            "sqlite_stat4" => &["tbl", "idx", "neq", "nlt", "ndlt", "sample"],
            _ => return None,
        };
        let field = |name: &&str| Field {
            name: name.to_string(),
            affinity: Affinity::Any,
            not_null: false,
            has_default: false,
            generated: false,
        };
        Some(Layout {
            name: row.name.clone(),
            fields: columns.iter().map(field).collect(),
            identity: Identity::Number("rowid"),
            ordered: true,
            root: row.root,
            index: None,
        })
    }

    /// The table of the schema itself.
    pub fn of_schema() -> Layout {
        let field = |name: &str, affinity| Field {
            name: name.to_string(),
            affinity,
            not_null: !matches!(name, "sql" | "rootpage"),
            has_default: false,
            generated: false,
        };
        let text = Affinity::Text;
        Layout {
            name: "sqlite_schema".to_string(),
            fields: vec![
                field("type", text),
                field("name", text),
                field("tbl_name", text),
                field("rootpage", Affinity::Integer),
                field("sql", text),
            ],
            identity: Identity::Number("rowid"),
            ordered: true,
            root: 1,
            index: None,
        }
    }
}

impl Field {
    /// Whether this is a value that SQLite rarely writes: a zero in eight bytes, where most statements write none. Such
    /// zeros may be what is left of a page whose end was never written.
    pub fn is_torn(&self, value: &Value<'_>) -> bool {
        let numeric = matches!(self.affinity, Affinity::Integer | Affinity::Real | Affinity::Numeric);
        numeric && matches!(value, Value::Real(v) if v.to_bits() == 0)
    }

    fn fit(&self, serial: u64, encoding: Encoding) -> Fit {
        let (whole, real) = (matches!(serial, 1..=6 | 8 | 9), serial == 7);
        let (blob, text) = (serial >= 12 && serial.is_multiple_of(2), serial >= 13 && serial % 2 == 1);
        if serial == 0 {
            return if self.not_null { Fit::No } else { Fit::Exact };
        }
        if text && encoding != Encoding::Utf8 && (serial - 13) / 2 % 2 == 1 {
            return Fit::No;
        }
        let good = match self.affinity {
            Affinity::Integer => whole,
            Affinity::Real => whole || real,
            Affinity::Numeric => whole || real || text,
            Affinity::Text => text,
            Affinity::Blob => blob,
            Affinity::Any => true,
        };
        if good { Fit::Exact } else { Fit::Odd }
    }
}

/// The layouts of a schema.
#[derive(Debug, Default)]
pub struct Plan {
    /// Its tables.
    pub tables: Vec<Layout>,
    /// Its indices.
    pub indices: Vec<Layout>,
    /// The tables that SQLite keeps for itself: no rows of the project, but pages of the file.
    pub internal: Vec<Layout>,
    /// What could not be made: name and reason.
    pub refused: Vec<(String, String)>,
}

impl Plan {
    /// Asks SQLite how this schema writes its rows.
    pub fn of(schema: &[Schema]) -> rusqlite::Result<Plan> {
        let mut db = Connection::open_in_memory()?;
        let mut plan = Plan { refused: create(&mut db, schema, &["table", "index"])?, ..Plan::default() };
        let (internal, own): (Vec<_>, Vec<_>) =
            schema.iter().filter(|row| row.kind == "table").partition(|row| row.is_internal());
        plan.internal = internal.into_iter().filter_map(Layout::of_internal).collect();
        for row in own {
            match table(&db, row) {
                Ok(Some(layout)) => plan.tables.push(layout),
                Ok(None) => {}
                Err(e) => plan.refused.push((row.name.clone(), e.to_string())),
            }
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
        Ok(plan)
    }

    /// The layout of a table.
    pub fn table(&self, name: &str) -> Option<&Layout> {
        self.tables.iter().find(|t| t.name.eq_ignore_ascii_case(name))
    }
}

/// Runs the statements of `schema` that make things of these kinds; gives what was refused, and why.
pub fn create(
    db: &mut Connection,
    schema: &[Schema],
    kinds: &[&str],
) -> rusqlite::Result<Vec<(String, String)>> {
    harden(db)?;
    db.authorizer(Some(only_creation))?;
    let mut refused = Vec::new();
    for kind in kinds {
        for row in schema.iter().filter(|row| row.kind == *kind && !row.is_internal()) {
            let Some(sql) = &row.sql else { continue };
            if let Err(e) = run_one(db, sql) {
                refused.push((row.name.clone(), e.to_string()));
            }
        }
    }
    db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    Ok(refused)
}

fn run_one(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// A stranger's schema may say what it likes: it reaches nothing but itself, and not for long.
pub fn harden(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    db.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20)?;
    db.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, 200)?;
    Ok(())
}

fn only_creation(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateVtable { .. }
        | AuthAction::DropVtable { .. }
        | AuthAction::Pragma { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Select => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The layout of one table; `None` if it is none that has rows.
fn table(db: &Connection, row: &Schema) -> rusqlite::Result<Option<Layout>> {
    let name = &row.name;
    let without: Option<bool> = db
        .query_row(
            "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 AND type = 'table'",
            [name],
            |r| r.get(0),
        )
        .ok();
    let Some(without) = without else { return Ok(None) };
    let mut columns: Vec<(Field, bool, i64)> = Vec::new();
    let sql = format!(
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, hidden, pk FROM pragma_table_xinfo({})",
        quoted(name)
    );
    let mut query = db.prepare(&sql)?;
    let mut rows = query.query([])?;
    while let Some(r) = rows.next()? {
        let hidden: i64 = r.get(4)?;
        let field = Field {
            name: r.get(0)?,
            affinity: Affinity::of(&r.get::<_, String>(1)?),
            not_null: r.get(2)?,
            has_default: r.get(3)?,
            generated: hidden == 3,
        };
        columns.push((field, hidden == 2, r.get(5)?));
    }
    let key = db.query_row("SELECT name FROM pragma_index_list(?1) WHERE origin = 'pk'", [name], |r| {
        r.get::<_, String>(0)
    });
    let layout = |fields, identity, ordered| Layout {
        name: name.clone(),
        fields,
        identity,
        ordered,
        root: row.root,
        index: None,
    };
    if without {
        let entries = entries(db, &key?)?;
        let ordered = entries.iter().filter(|e| e.key).all(|e| e.plain);
        let keys = entries.iter().filter(|e| e.key).count();
        let fields = entries.iter().filter_map(|e| columns.get(e.column?)).map(|(f, ..)| f.clone()).collect();
        return Ok(Some(layout(fields, Identity::Fields(keys), ordered)));
    }
    // A primary key that has no index of its own is the row number.
    let alias = columns.iter().filter(|(.., pk)| *pk > 0).count() == 1 && key.is_err();
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
    Ok(Some(layout(fields, identity, true)))
}

/// The indices that a table makes by itself. The key of a table WITHOUT ROWID is the table.
fn own_indices(db: &Connection, table: &str) -> rusqlite::Result<Vec<Schema>> {
    let find = "SELECT l.name FROM pragma_index_list(?1) l, pragma_table_list t \
                WHERE l.origin <> 'c' AND t.schema = 'main' AND t.name = ?1 AND (l.origin = 'u' OR NOT t.wr)";
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
    /// Whether its values stand in their plain order.
    plain: bool,
}

fn entries(db: &Connection, index: &str) -> rusqlite::Result<Vec<Entry>> {
    let mut query = db.prepare("SELECT cid, \"desc\", coll, key FROM pragma_index_xinfo(?1)")?;
    let rows = query.query_map([index], |r| {
        let cid: i64 = r.get(0)?;
        let collation: Option<String> = r.get(2)?;
        let plain = !r.get::<_, bool>(1)? && collation.is_none_or(|c| c.eq_ignore_ascii_case("binary"));
        Ok(Entry { column: usize::try_from(cid).ok(), rowid: cid == -1, key: r.get(3)?, plain })
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
        let any = Field {
            name: String::new(),
            affinity: if e.rowid { Affinity::Integer } else { Affinity::Any },
            not_null: e.rowid,
            has_default: false,
            generated: false,
        };
        own.unwrap_or(any)
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
    let (name, root) = (row.name.clone(), row.root);
    Ok(Some(Layout { name, fields, identity: keys, ordered: false, root, index: Some(index) }))
}
