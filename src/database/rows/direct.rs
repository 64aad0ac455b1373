//! Rows straight from the pages of a table, where SQLite would do nothing but go through them one by one.
//!
//! SQLite is asked what it would do (`EXPLAIN`). If that is this program and no other, the same is done here, at a
//! fraction of the cost of its machine:
//!
//! ```text
//!   OpenRead      the tree at a page, whose keys are compared byte by byte and grow
//!   SeekGE/SeekGT the first entry of the dataset, or the first behind a time
//!   IdxGT         until another dataset begins
//!   Column        a field of the entry, by its number    RealAffinity    whole numbers become reals
//!   ResultRow, Next
//! ```
//!
//! So which page, which order, which field and which type are SQLite's word, and nothing of the schema is read here.
//!
//! Invariant: whatever is given is what SQLite gives. At anything that is not as in the usual trace (a value that
//! spills over into other pages, a key that is no number, an entry that is older than a column, a page
//! that is not sound, times that do not grow) this ends as [`End::Lost`], and SQLite reads the stretch.
//!
//! Limits. Only text in UTF-8; only keys of a dataset's number and one time.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use crate::database::glance;
use crate::database::pages::record;
use crate::database::pages::tree::{Tree, Walk};
use crate::error::Result;
use crate::tree::{Cell, Content};

/// Whole numbers up to this one are reals without loss.
const EXACT: u64 = 1 << 53;

/// What SQLite would do to read the rows of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    root: u32,
    /// For every column that is selected.
    columns: Vec<Taken>,
}

/// A field of the entry that is a column of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    field: usize,
    /// Whether whole numbers become reals.
    real: bool,
}

/// One step of a program.
struct Op {
    code: String,
    p: [i64; 3],
    p4: Option<String>,
    p5: i64,
}

/// How the rows are read from their pages.
#[derive(Debug)]
pub struct Direct {
    page_size: usize,
    usable: usize,
    pages: u32,
    root: u32,
    /// For every field, the cell that it becomes, and whether that is to be a real.
    fields: Vec<Option<(usize, bool)>>,
    /// How many cells are shown.
    width: usize,
}

/// What was given, and why there is no more.
#[derive(Debug)]
pub struct Given {
    /// The rows that were given.
    pub rows: u64,
    /// The time of the last of them.
    pub last: Option<f64>,
    /// Why there are no more.
    pub end: End,
}

/// Why rows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There are as many as were asked for, and more behind them.
    Enough,
    /// There are no more.
    Over,
    /// SQLite has to read the stretch.
    Lost,
}

/// What one entry is for whoever reads a dataset.
enum Entry {
    Ours(f64),
    Behind,
    Odd,
}

impl Direct {
    /// How to read what these two statements select, from the front and from behind a time; `None` if SQLite has
    /// to. The key of a row is the column at `key` and `width` columns are shown.
    pub fn of(
        connection: &Connection,
        content: &Content,
        statements: [&str; 2],
        key: usize,
        width: usize,
    ) -> Option<Direct> {
        let [front, behind] = statements;
        let program = Program::of(connection, front, 1)?;
        // The time is the second key, and a real.
        let is_time = program.columns.get(key).is_some_and(|time| time.field == 1 && time.real);
        if Program::of(connection, behind, 2)? != program || !is_time {
            return None;
        }
        let mut head = [0; 100];
        let found = glance::header(content, "").ok()?;
        content.read_at(0, &mut head).ok().filter(|n| *n == head.len())?;
        let page_size = usize::try_from(found.page_size).ok()?;
        let usable = page_size.checked_sub(head[20].into()).filter(|usable| *usable >= 480)?;
        // Text in UTF-8.
        if head[56..60] != [0, 0, 0, 1] {
            return None;
        }
        let mut fields = vec![None; 2];
        for (cell, taken) in program.columns.iter().enumerate() {
            fields.resize(fields.len().max(taken.field + 1), None);
            if cell < width && fields[taken.field].replace((cell, taken.real)).is_some() {
                return None;
            }
        }
        let pages = found.pages.try_into().ok()?;
        Some(Direct { page_size, usable, pages, root: program.root, fields, width })
    }

    /// Calls `each` with up to `most` rows of a dataset behind a time. Fails only if `each` does.
    pub fn read(
        &self,
        content: &Content,
        stopped: &AtomicBool,
        (dataset, behind): (i64, Option<f64>),
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Given> {
        let (page_size, usable, pages, root) = (self.page_size, self.usable, self.pages, self.root);
        let tree = Tree { content, page_size, usable, pages, root };
        let mut given = Given { rows: 0, last: None, end: End::Lost };
        let is_before = |entry: &[u8]| {
            let (whose, time) = key(entry)?;
            Some(whose < dataset || whose == dataset && behind.is_some_and(|behind| time <= behind))
        };
        let Some(mut walk) = Walk::seek(&tree, is_before) else { return Ok(given) };
        let mut last = behind;
        while !walk.is_over() {
            if stopped.load(Ordering::Relaxed) {
                return Ok(given);
            }
            let mut cells = vec![Cell::Null; self.width];
            for entry in walk.here() {
                match self.decode(entry, dataset, &mut cells) {
                    Entry::Ours(_) if given.rows == most => {
                        given.end = End::Enough;
                        return Ok(given);
                    }
                    Entry::Ours(time) if last.is_none_or(|last| last < time) => last = Some(time),
                    Entry::Behind => {
                        given.end = End::Over;
                        return Ok(given);
                    }
                    _ => return Ok(given),
                }
                each(&cells)?;
                given.rows += 1;
                given.last = last;
            }
            if walk.pass().is_none() {
                return Ok(given);
            }
        }
        given.end = End::Over;
        Ok(given)
    }

    fn decode<'a>(&self, entry: &'a [u8], dataset: i64, cells: &mut [Cell<'a>]) -> Entry {
        let (mut whose, mut time) = (Cell::Null, Cell::Null);
        let count = record::fields(entry, |n, value| {
            match n {
                0 => whose = value,
                1 => time = value,
                _ => {}
            }
            if let Some(Some((cell, real))) = self.fields.get(n) {
                cells[*cell] = match value {
                    Cell::Integer(whole) if *real => Cell::Real(whole as f64),
                    other => other,
                };
            }
        });
        let count = count.filter(|count| *count >= self.fields.len());
        let (Some(_), Cell::Integer(whose), Some(time)) = (count, whose, exact(time)) else {
            return Entry::Odd;
        };
        match whose {
            _ if whose == dataset => Entry::Ours(time),
            _ if whose > dataset => Entry::Behind,
            _ => Entry::Odd,
        }
    }
}

/// The dataset and the time that an entry begins with, if they are numbers.
fn key(entry: &[u8]) -> Option<(i64, f64)> {
    let (mut whose, mut time) = (Cell::Null, Cell::Null);
    record::fields(entry, |n, value| match n {
        0 => whose = value,
        1 => time = value,
        _ => {}
    })?;
    match whose {
        Cell::Integer(whose) => Some((whose, exact(time)?)),
        _ => None,
    }
}

/// A time as a real, if that is the same number.
fn exact(time: Cell<'_>) -> Option<f64> {
    match time {
        Cell::Real(time) => Some(time),
        Cell::Integer(whole) if whole.unsigned_abs() <= EXACT => Some(whole as f64),
        _ => None,
    }
}

impl Program {
    /// What SQLite would do for a statement with `parameters`, if it is what is done here.
    fn of(connection: &Connection, sql: &str, parameters: i64) -> Option<Program> {
        let ops = ops(connection, sql, parameters).ok()?;
        let mut steps = Steps { ops: &ops, at: 0 };
        steps.take("Init")?;
        steps.take("Noop");
        let open = steps.take("OpenRead")?;
        let [cursor, root, database] = open.p;
        // Two keys, compared byte by byte, from small to large; a table of the file itself.
        if database != 0 || open.p4.as_deref() != Some("k(2,,)") {
            return None;
        }
        let search = steps.search(cursor, parameters)?;
        let columns = steps.columns()?;
        let (from, to) = columns.first().map(|first| (first.into, first.into + columns.len() as i64))?;
        let are_in_a_row = columns.iter().zip(from..to).all(|(c, into)| c.cursor == cursor && c.into == into);
        let row = steps.take("ResultRow")?;
        let next = steps.take("Next")?;
        let halt = steps.at as i64;
        for code in ["Halt", "Transaction", "Goto"] {
            steps.take(code)?;
        }
        let is_all = steps.at == ops.len()
            && are_in_a_row
            && row.p[..2] == [from, to - from]
            && next.p[..2] == [cursor, search.again]
            && search.ends.iter().all(|end| *end == halt);
        let columns = columns.iter().map(|c| c.taken).collect();
        Some(Program { root: root.try_into().ok()?, columns }).filter(|_| is_all)
    }
}

/// The steps of a program, one by one.
struct Steps<'a> {
    ops: &'a [Op],
    at: usize,
}

/// The part of a program that finds the first row.
struct Search {
    /// Where every row begins.
    again: i64,
    /// Where the program goes when there are no more rows.
    ends: Vec<i64>,
}

/// The part of a program that takes a field.
struct Field {
    cursor: i64,
    into: i64,
    taken: Taken,
}

impl<'a> Steps<'a> {
    /// The step at hand, if it is this one.
    fn take(&mut self, code: &str) -> Option<&'a Op> {
        let op = self.ops.get(self.at).filter(|op| op.code == code)?;
        self.at += 1;
        Some(op)
    }

    /// From the parameters to the test whether a row is the dataset's.
    fn search(&mut self, cursor: i64, parameters: i64) -> Option<Search> {
        let first = self.ops.get(self.at)?.p[1];
        let mut ends = Vec::new();
        for n in 0..parameters {
            if self.take("Variable")?.p[..2] != [n + 1, first + n] {
                return None;
            }
            ends.extend(self.take("IsNull").map(|op| op.p[1]));
        }
        // Numbers keep their values, but that the number of a dataset as a real might be rounded.
        let kinds = |op: &'a Op| op.p4.as_deref().unwrap_or_default();
        let is_of_numbers = |op| kinds(op).bytes().all(|kind| matches!(kind, b'A' | b'C' | b'D' | b'E'));
        let rounds = |op: &'a Op| op.p[0] == first && kinds(op).starts_with('E');
        if self.take("Affinity").is_some_and(|op| !is_of_numbers(op) || rounds(op)) {
            return None;
        }
        let seek = self.take(if parameters == 1 { "SeekGE" } else { "SeekGT" })?;
        let again = self.at as i64;
        let until = self.take("IdxGT")?;
        for (op, keys) in [(seek, parameters), (until, 1)] {
            if op.p[0] != cursor || op.p[2] != first || op.p4 != Some(keys.to_string()) || op.p5 != 0 {
                return None;
            }
            ends.push(op.p[1]);
        }
        Some(Search { again, ends })
    }

    fn columns(&mut self) -> Option<Vec<Field>> {
        let mut columns = Vec::new();
        while let Some(op) = self.take("Column") {
            let [cursor, field, into] = op.p;
            let affinity = self.take("RealAffinity");
            if op.p5 != 0 || affinity.is_some_and(|op| op.p[0] != into) {
                return None;
            }
            let taken = Taken { field: usize::try_from(field).ok()?, real: affinity.is_some() };
            columns.push(Field { cursor, into, taken });
        }
        Some(columns)
    }
}

fn ops(connection: &Connection, sql: &str, parameters: i64) -> rusqlite::Result<Vec<Op>> {
    let mut statement = connection.prepare(&format!("EXPLAIN {sql}"))?;
    let mut rows = statement.query(rusqlite::params_from_iter((0..parameters).map(|_| 0)))?;
    let mut ops = Vec::new();
    while let Some(row) = rows.next()? {
        let number = |name| row.get::<_, Option<i64>>(name).map(Option::unwrap_or_default);
        ops.push(Op {
            code: row.get("opcode")?,
            p: [number("p1")?, number("p2")?, number("p3")?],
            p4: row.get("p4")?,
            p5: number("p5")?,
        });
    }
    Ok(ops)
}
