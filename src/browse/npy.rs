//! Tables as NumPy's `.npy`: a structured array, one field a column.
//!
//! Every column of numbers is a field `<f8`, whether it holds whole numbers or fractions, so that the type follows
//! from the names of the columns alone, and the size from the number of rows. Nothing, and whatever is no number, is
//! NaN. Columns of text are left out: the CSV has them. A whole number that a double cannot hold exactly, which is
//! beyond 2^53, is rounded, and so is a decimal of more digits than can be read back; both are told as findings, and the
//! CSV has them as they are. So are columns beyond those that a head can describe, which are some 500.
//!
//! The head is version 1.0, padded to 64 bytes, so that `np.load(path, mmap_mode="r")` maps aligned rows.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::form::Form;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::tree::{Cell, Cells, Column};

/// Rows of doubles.
#[derive(Debug)]
pub struct Npy {
    /// The description of the fields, as Python writes it.
    fields: String,
    /// The places of the columns that are fields, and whether a text in it is a number.
    columns: Vec<(usize, bool)>,
    /// Not every column of numbers is a field.
    is_cut: bool,
    rounded: AtomicBool,
    shortened: AtomicBool,
}

/// NumPy takes no longer head from a file that it does not trust.
const MAX_HEAD: usize = 10_000;
/// The head without fields and padding, with the longest number.
const REST_OF_HEAD: usize = 160;

impl Npy {
    /// Rows of the columns that hold numbers, as many as a head can describe. Refuses a table that has none.
    pub fn new(path: &str, columns: &[Column]) -> Result<Npy> {
        let mut numbers: Vec<usize> =
            (0..columns.len()).filter(|i| columns[*i].cells != Cells::Text).collect();
        let names: Vec<&str> = numbers.iter().map(|i| columns[*i].name.as_str()).collect();
        let (mut described, mut room) = (Vec::new(), MAX_HEAD - REST_OF_HEAD);
        for name in unique(&names) {
            let field = field(&name);
            let Some(left) = room.checked_sub(field.len() + ", ".len()) else { break };
            room = left;
            described.push(field);
        }
        let is_cut = described.len() < numbers.len();
        numbers.truncate(described.len());
        let numbers: Vec<_> = numbers.into_iter().map(|i| (i, columns[i].cells == Cells::Digits)).collect();
        if numbers.is_empty() {
            let what = "none of the columns holds numbers; the CSV has them all".to_string();
            return Err(Error::Unsupported { entry: path.to_string(), what });
        }
        let fields = format!("[{}]", described.join(", "));
        Ok(Npy {
            fields,
            columns: numbers,
            is_cut,
            rounded: AtomicBool::new(false),
            shortened: AtomicBool::new(false),
        })
    }

    /// Whether columns of numbers are left out, since NumPy takes no head that describes them all.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What is told of that.
    pub fn cut(path: &str) -> Finding {
        let what = "it has more columns than NumPy takes in one array, and the last ones are left out";
        let remedy = "read the CSV beside it, which has them all";
        Finding::new(Severity::Warning, "columns-not-shown", path, what, remedy)
    }
}

/// Whether a double is the whole number of these digits.
fn is_exact(digits: &str, double: f64) -> bool {
    digits.parse::<i128>().is_ok_and(|whole| double as i128 == whole)
}

/// The digits of a number from the first to the last that is not zero.
fn significant(number: &str) -> String {
    let mantissa = number.split('e').next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_string()
}

/// Field names are not empty, and no two are the same.
fn unique(names: &[&str]) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    let free = |(i, name): (usize, &&str)| {
        let base = if name.is_empty() { format!("column_{}", i + 1) } else { name.to_string() };
        let twin = |n: usize| if n == 1 { base.clone() } else { format!("{base}_{n}") };
        let free = (1..).map(twin).find(|name| !names.contains(&name.as_str()) && !taken.contains(name));
        // The first of a name keeps it, though it is in the list.
        let name = if taken.contains(&base) { free.expect("numbers do not end") } else { base };
        taken.insert(name.clone());
        name
    };
    names.iter().enumerate().map(free).collect()
}

/// `('name', '<f8')` as a literal of Python in ASCII.
fn field(name: &str) -> String {
    let mut text = String::from("('");
    for c in name.chars() {
        match c {
            '\'' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => write!(text, "\\U{:08x}", u32::from(c)).expect("a string takes all"),
        }
    }
    text.push_str("', '<f8')");
    text
}

/// The head of an NPY file, version 1, that says `text` of the array behind it.
pub fn head_of(text: &str) -> Vec<u8> {
    // Magic, version and length take ten bytes, and the end of the line one.
    let padded = (10 + text.len() + 1).next_multiple_of(64);
    let mut head = Vec::with_capacity(padded);
    head.extend_from_slice(b"\x93NUMPY\x01\x00");
    head.extend_from_slice(&((padded - 10) as u16).to_le_bytes());
    head.extend_from_slice(text.as_bytes());
    head.resize(padded - 1, b' ');
    head.push(b'\n');
    head
}

impl Form for Npy {
    fn head(&self, rows: u64) -> Vec<u8> {
        let text = format!("{{'descr': {}, 'fortran_order': False, 'shape': ({rows},), }}", self.fields);
        head_of(&text)
    }

    fn width(&self) -> Option<usize> {
        Some(self.columns.len() * 8)
    }

    fn row(&self, cells: &[Cell<'_>], out: &mut Vec<u8>) {
        for (i, has_digits) in &self.columns {
            let value = match cells.get(*i) {
                Some(Cell::Real(value)) => *value,
                Some(Cell::Integer(value)) => {
                    // What a double makes of it; 2^63 itself is no whole number of ours.
                    let double = *value as f64;
                    if double as i128 != i128::from(*value) {
                        self.rounded.store(true, Ordering::Relaxed);
                    }
                    double
                }
                Some(Cell::Text(digits)) if *has_digits => {
                    let digits = std::str::from_utf8(digits).unwrap_or_default();
                    let double = digits.parse().unwrap_or(f64::NAN);
                    if digits.contains('.') {
                        if significant(digits) != significant(&format!("{double:e}")) {
                            self.shortened.store(true, Ordering::Relaxed);
                        }
                    } else if !is_exact(digits, double) {
                        self.rounded.store(true, Ordering::Relaxed);
                    }
                    double
                }
                _ => f64::NAN,
            };
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn notes(&self) -> Vec<(&'static str, &'static str)> {
        let whole =
            "whole numbers beyond 2^53, which a double cannot hold, are rounded; the CSV has them exactly";
        let decimal = "decimals of more digits than a double holds are rounded; the CSV has them exactly";
        let rounded = self.rounded.load(Ordering::Relaxed).then_some(("integer-rounded", whole));
        let shortened = self.shortened.load(Ordering::Relaxed).then_some(("decimal-rounded", decimal));
        rounded.into_iter().chain(shortened).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, cells: Cells) -> Column {
        Column { name: name.to_string(), cells }
    }

    #[test]
    fn a_head_is_what_the_format_says() {
        let columns = [column("t", Cells::Real), column("label", Cells::Text), column("n", Cells::Integer)];
        let npy = Npy::new("x.npy", &columns).unwrap();
        assert_eq!(npy.width(), Some(16));
        for rows in [0, 1, u64::MAX] {
            let head = npy.head(rows);
            assert_eq!(head.len() % 64, 0);
            assert!(head.starts_with(b"\x93NUMPY\x01\x00") && head.ends_with(b"\n"));
            assert_eq!(usize::from(u16::from_le_bytes([head[8], head[9]])) + 10, head.len());
        }
        let text = String::from_utf8_lossy(&npy.head(7)[10..]).into_owned();
        let expected = "{'descr': [('t', '<f8'), ('n', '<f8')], 'fortran_order': False, 'shape': (7,), }";
        assert_eq!(text.trim_end(), expected);
    }

    #[test]
    fn names_are_apart_and_ascii() {
        let names = ["a", "a", "a_2", "", "µ'\\"].map(|name| column(name, Cells::Real));
        let npy = Npy::new("x.npy", &names).unwrap();
        let expected = "[('a', '<f8'), ('a_3', '<f8'), ('a_2', '<f8'), ('column_4', '<f8'), \
                        ('\\U000000b5\\'\\\\', '<f8')]";
        assert_eq!(npy.fields, expected);
    }

    #[test]
    fn what_is_no_number_is_nan_and_what_is_rounded_is_told() {
        let columns = [column("a", Cells::Real), column("b", Cells::Integer)];
        let npy = Npy::new("x.npy", &columns).unwrap();
        let mut out = Vec::new();
        npy.row(&[Cell::Null, Cell::Text(b"5")], &mut out);
        npy.row(&[Cell::Real(-0.0), Cell::Integer(1 << 53)], &mut out);
        assert_eq!(npy.notes(), []);
        npy.row(&[Cell::Real(0.1), Cell::Integer(i64::MAX)], &mut out);
        assert_eq!(npy.notes()[0].0, "integer-rounded");
        let nan = f64::NAN.to_le_bytes();
        let two63 = 9_223_372_036_854_775_808f64.to_le_bytes();
        let expected = [
            nan,
            nan,
            (-0.0f64).to_le_bytes(),
            9_007_199_254_740_992f64.to_le_bytes(),
            0.1f64.to_le_bytes(),
            two63,
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn what_no_array_can_be_made_of_is_refused() {
        for columns in [&[column("label", Cells::Text)][..], &[]] {
            assert!(matches!(Npy::new("x.npy", columns), Err(Error::Unsupported { .. })));
        }
    }

    #[test]
    fn columns_beyond_the_head_are_left_out_and_told() {
        let columns = |n: usize| -> Vec<Column> {
            (0..n).map(|i| column(&format!("number \u{b5}{i:03}"), Cells::Real)).collect()
        };
        for (n, is_cut) in [(100, false), (2000, true)] {
            let npy = Npy::new("x.npy", &columns(n)).unwrap();
            assert!(npy.is_cut() == is_cut && (npy.columns.len() < n) == is_cut, "{n}");
            let head = npy.head(u64::MAX);
            // As NumPy counts it: what stands behind magic, version and length.
            assert!(head.len() - 10 <= MAX_HEAD, "{}", head.len());
            assert!(!is_cut || head.len() > MAX_HEAD - 200, "{}", head.len());
            let mut row = Vec::new();
            npy.row(&vec![Cell::Real(1.5); n], &mut row);
            assert_eq!(Some(row.len()), npy.width());
        }
    }
}
