//! How the tables of a schema write their rows: which values a record has, in which order, and what each may be.

use std::sync::Arc;

use super::record::{Encoding, Key, Part, Sort, Sorted, Types};
use crate::database::layout::quoted;
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
    pub fn of(declared: &str) -> Affinity {
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
    /// What its declared type makes of values.
    pub affinity: Affinity,
    /// Whether it always has a value.
    pub not_null: bool,
    /// What a record means that has no such value, in UTF-8; where there is nothing, it means NULL.
    pub default: Option<Arc<Part>>,
    /// Whether it alone is the key of a table that numbers its rows as well. SQLite takes NULL for it; hardly anybody does.
    pub is_key: bool,
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
    /// Whether it is known in which order keys stand.
    pub ordered: bool,
    /// That order, where it is not the plain one of all values.
    pub sorts: Vec<Sort>,
    /// The first page of its tree, or 0.
    pub root: u32,
    /// The fewest columns that a table of its name ever had. Rows that no tree vouches for have more than half as many.
    pub least: usize,
    /// What is made in its place, if it cannot be filled here.
    pub stand_in: Option<StandIn>,
    /// For an index: where the identity of the row that an entry stands for is found.
    pub index: Option<Index>,
}

/// A table that stores the same as another, and computes and sorts nothing.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// The statement that makes it.
    pub sql: String,
    /// What of the other it has not, in words.
    pub without: &'static str,
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

    /// Whether it has a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Whether its columns begin with all those of another.
    pub fn begins_like(&self, other: &Layout) -> bool {
        let names =
            |layout: &Layout| layout.fields.iter().map(|field| field.name.to_lowercase()).collect::<Vec<_>>();
        names(self).starts_with(&names(other))
    }

    /// The order of its keys.
    pub fn sorted(&self) -> Sorted<'_> {
        Sorted(&self.sorts)
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
                None if field.not_null && field.default.is_none() || self.index.is_some() => Fit::No,
                None => Fit::Exact,
            });
        }
        fit
    }

    /// How many of a record's values are of the types that its table declares, and how many are of others.
    pub fn ordinary(&self, serials: &[u64], encoding: Encoding) -> (usize, usize) {
        let says = |(serial, field): &(&u64, &Field)| **serial != 0 || field.is_key;
        let values = serials.iter().zip(&self.fields).filter(says);
        let all = values.clone().count();
        let good = values.filter(|(serial, field)| field.fit(**serial, encoding) == Fit::Exact).count();
        (good, all - good)
    }

    /// Whether a record has values that SQLite never writes into their columns, or hardly anybody: it makes text of numbers
    /// for a column of text, and what always has bytes is made for them.
    pub fn has_never(&self, serials: &[u64]) -> bool {
        let is_number = |serial: u64| matches!(serial, 1..=9);
        serials.iter().zip(&self.fields).any(|(serial, field)| match field.affinity {
            Affinity::Text => is_number(*serial),
            Affinity::Blob => field.not_null && is_number(*serial),
            _ => false,
        })
    }

    /// The key of a row, kept; of long values the first `most` bytes.
    pub fn key(&self, rowid: i64, types: &Types, payload: &[u8], most: usize) -> Option<Key> {
        match self.identity {
            Identity::Fields(n) => types.key(payload, n, most),
            _ => Some(vec![Part::Integer(rowid)]),
        }
    }

    /// A table that SQLite keeps for itself.
    pub fn of_internal(row: &Schema) -> Option<Layout> {
        let columns: &[&str] = match row.name.to_ascii_lowercase().as_str() {
            "sqlite_sequence" => &["name", "seq"],
            "sqlite_stat1" => &["tbl", "idx", "stat"],
            "sqlite_stat4" => &["tbl", "idx", "neq", "nlt", "ndlt", "sample"],
            _ => return None,
        };
        Some(Layout {
            name: row.name.clone(),
            fields: columns.iter().map(|name| Field::of(name, Affinity::Any)).collect(),
            identity: Identity::Number("rowid"),
            ordered: true,
            sorts: Vec::new(),
            root: row.root,
            index: None,
            least: 0,
            stand_in: None,
        })
    }

    /// The statement for a table that stores the same, and computes nothing.
    pub fn as_plain_table(&self) -> String {
        let column = |(i, field): (usize, &Field)| {
            let kind = match field.affinity {
                Affinity::Integer => "INTEGER",
                Affinity::Real => "REAL",
                Affinity::Numeric => "NUMERIC",
                Affinity::Text => "TEXT",
                Affinity::Blob => "BLOB",
                Affinity::Any => "",
            };
            let key = if self.identity == Identity::Alias(i) { "INTEGER PRIMARY KEY" } else { kind };
            format!("{} {key}", quoted(&field.name))
        };
        let columns: Vec<String> = self.fields.iter().enumerate().map(column).collect();
        let keys: Vec<String> = self.fields[..self.key_fields()].iter().map(|f| quoted(&f.name)).collect();
        let end =
            if keys.is_empty() { ")" } else { &format!(", PRIMARY KEY({})) WITHOUT ROWID", keys.join(", ")) };
        format!("CREATE TABLE {}({}{end}", quoted(&self.name), columns.join(", "))
    }

    /// The table of the schema itself.
    pub fn of_schema() -> Layout {
        let field = |name: &str, affinity| {
            let not_null = !matches!(name, "sql" | "rootpage");
            Field { not_null, ..Field::of(name, affinity) }
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
            sorts: Vec::new(),
            root: 1,
            least: 0,
            stand_in: None,
            index: None,
        }
    }
}

/// Beyond these SQLite leaves fractions as they are.
const WHOLE: f64 = 9e18;

/// Whether SQLite makes a number of a text.
fn is_number(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let begins_so = text.first().is_some_and(|byte| byte.is_ascii_digit() || b"+-.".contains(byte));
    let is_plain = text.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
    begins_so && is_plain && std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok())
}

impl Field {
    /// A column of which no more is known.
    pub fn of(name: &str, affinity: Affinity) -> Field {
        Field {
            name: name.to_string(),
            affinity,
            not_null: false,
            default: None,
            is_key: false,
            generated: false,
        }
    }

    /// Whether this is a value that SQLite rarely writes: a zero in eight bytes, where most statements write none. Such
    /// zeros may be what is left of a page whose end was never written.
    pub fn is_torn(&self, value: &Value<'_>) -> bool {
        let numeric = matches!(self.affinity, Affinity::Integer | Affinity::Real | Affinity::Numeric);
        numeric && matches!(value, Value::Real(v) if v.to_bits() == 0)
    }

    /// Whether the declared type makes another value of this one. SQLite does so before it writes, so that no value that was
    /// written into the column is changed by it again: the type is another than it was.
    pub fn changes(&self, value: &Value<'_>, encoding: Encoding) -> bool {
        let of_numbers = matches!(self.affinity, Affinity::Integer | Affinity::Real | Affinity::Numeric);
        match value {
            Value::Null | Value::Blob(_) => false,
            Value::Integer(v) => match self.affinity {
                Affinity::Text => true,
                // Whole numbers that a fraction holds are written as such, and read as fractions.
                Affinity::Real => *v as f64 as i64 != *v || v.unsigned_abs() == 1 << 63,
                _ => false,
            },
            Value::Real(v) => match self.affinity {
                Affinity::Text => true,
                Affinity::Integer | Affinity::Numeric => v.fract() == 0.0 && v.abs() < WHOLE,
                _ => false,
            },
            Value::Text(bytes) => of_numbers && is_number(&encoding.utf8(bytes)),
        }
    }

    fn fit(&self, serial: u64, encoding: Encoding) -> Fit {
        let (whole, real) = (matches!(serial, 1..=6 | 8 | 9), serial == 7);
        let (blob, text) = (serial >= 12 && serial.is_multiple_of(2), serial >= 13 && serial % 2 == 1);
        if serial == 0 {
            return match () {
                () if self.not_null => Fit::No,
                () if self.is_key => Fit::Odd,
                () => Fit::Exact,
            };
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
