//! Tables as CSV: a line of names, then a line for every row.
//!
//! ```text
//!   t_seconds,inner_diam_um,label
//!   0.1,102.75,"KCl, 60 mM"
//!   0.2,,washout
//! ```
//!
//! Fields are parted by commas and lines by `\n`, and a text is quoted where RFC 4180 asks for it. Nothing is an
//! empty field, and an empty text is `""`. A real is the shortest text that reads back as the same number and shows
//! that it is a real (`37.0`); infinities are `inf` and `-inf`. Text is as it is, but that what is not UTF-8 becomes
//! U+FFFD. Bytes are `x'00ff'`. The same cells give the same bytes on every machine.
//!
//! Limits. A program that splits lines at every comma (`numpy.genfromtxt`) reads tables of numbers only. A table
//! of one column has `""` for nothing, since an empty line is no row to most readers.

use std::sync::atomic::{AtomicBool, Ordering};

use super::form::Form;
use crate::tree::{Cell, Column};

/// Rows as lines of CSV.
#[derive(Debug)]
pub struct Csv {
    head: Vec<u8>,
    /// Whether nothing has to be written as something.
    single: bool,
    replaced: AtomicBool,
}

impl Csv {
    /// Lines of these columns.
    pub fn new(columns: &[Column]) -> Csv {
        let mut head = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                head.push(b',');
            }
            text(column.name.as_bytes(), &mut head);
        }
        head.push(b'\n');
        Csv { head, single: columns.len() == 1, replaced: AtomicBool::new(false) }
    }
}

impl Form for Csv {
    fn head(&self, _rows: u64) -> Vec<u8> {
        self.head.clone()
    }

    fn width(&self) -> Option<usize> {
        None
    }

    fn row(&self, cells: &[Cell<'_>], out: &mut Vec<u8>) {
        let mut number = zmij::Buffer::new();
        for cell in cells {
            match *cell {
                Cell::Null if self.single => out.extend_from_slice(b"\"\""),
                Cell::Null => {}
                Cell::Integer(value) => integer(value, out),
                Cell::Real(value) => out.extend_from_slice(number.format(value).as_bytes()),
                Cell::Text(bytes) => {
                    if !text(bytes, out) {
                        self.replaced.store(true, Ordering::Relaxed);
                    }
                }
                Cell::Blob(bytes) => blob(bytes, out),
            }
            out.push(b',');
        }
        match out.last_mut() {
            Some(last) if !cells.is_empty() => *last = b'\n',
            _ => out.push(b'\n'),
        }
    }

    fn notes(&self) -> Vec<(&'static str, &'static str)> {
        let what = "text that is not UTF-8; what cannot be read is shown as U+FFFD";
        self.replaced.load(Ordering::Relaxed).then_some(("text-not-utf8", what)).into_iter().collect()
    }
}

/// Digits in pairs: half as many divisions.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

fn integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    while rest >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    let [tens, ones] = PAIRS[rest as usize];
    at -= 1;
    digits[at] = ones;
    if rest >= 10 {
        at -= 1;
        digits[at] = tens;
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a text, and says whether it was UTF-8.
fn text(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let quoted = bytes.is_empty() || bytes.iter().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'));
    if quoted {
        out.push(b'"');
    }
    let mut right = true;
    for chunk in bytes.utf8_chunks() {
        match quoted {
            true => doubled(chunk.valid().as_bytes(), out),
            false => out.extend_from_slice(chunk.valid().as_bytes()),
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
            right = false;
        }
    }
    if quoted {
        out.push(b'"');
    }
    right
}

/// Quotes inside quotes are doubled.
fn doubled(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, part) in bytes.split(|b| *b == b'"').enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part);
    }
}

fn blob(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"x'");
    out.extend(bytes.iter().flat_map(|b| [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]));
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Cells;

    fn csv(names: &[&str], rows: &[&[Cell<'_>]]) -> (String, Csv) {
        let column = |name: &&str| Column { name: name.to_string(), cells: Cells::Real };
        let form = Csv::new(&names.iter().map(column).collect::<Vec<_>>());
        let mut out = form.head(0);
        rows.iter().for_each(|row| form.row(row, &mut out));
        (String::from_utf8(out).unwrap(), form)
    }

    #[test]
    fn every_cell_is_written_as_it_is() {
        use Cell::*;
        let (text, form) = csv(
            &["a", "b,\"c\"", "µ"],
            &[
                &[Null, Integer(i64::MIN), Real(37.0)],
                &[Integer(0), Integer(7), Integer(-10)],
                &[Integer(100), Integer(i64::MAX), Integer(12_345)],
                &[Real(0.1 + 0.2), Real(-0.0), Real(5e-324)],
                &[Real(f64::INFINITY), Real(f64::NEG_INFINITY), Real(1.797_693_134_862_315_7e308)],
                &[Text(b""), Text(b"a,b"), Text(b"say \"x\"")],
                &[Text(b"two\nlines"), Text("é µ".as_bytes()), Text(b"\r")],
                &[Blob(b""), Blob(b"\x00\xff"), Text(b" ")],
            ],
        );
        let expected = "a,\"b,\"\"c\"\"\",µ\n,-9223372036854775808,37.0\n0,7,-10\n\
             100,9223372036854775807,12345\n0.30000000000000004,-0.0,5e-324\n\
             inf,-inf,1.7976931348623157e+308\n\"\",\"a,b\",\"say \"\"x\"\"\"\n\
             \"two\nlines\",é µ,\"\r\"\nx'',x'00ff', \n";
        assert_eq!(text, expected);
        assert_eq!(form.notes(), []);
    }

    #[test]
    fn what_is_not_utf8_is_replaced_and_told() {
        let (text, form) = csv(&["a"], &[&[Cell::Text(b"a\xffb,\xe2\x82")], &[Cell::Null]]);
        assert_eq!(text, "a\n\"a\u{fffd}b,\u{fffd}\"\n\"\"\n");
        assert_eq!(form.notes()[0].0, "text-not-utf8");
    }
}
