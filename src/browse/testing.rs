//! Tables made of thin air, and Python to read what is rendered of them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Identity;
use super::csv::Csv;
use super::rendered::{Rendered, Shared};
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::store::{Location, Source};
use crate::tree::{Cell, Cells, Coded, Column, Content, Place, Table};

/// Writes a row: called with its number.
pub type Row = fn(u64, &mut dyn FnMut(&[Cell<'_>]) -> Result<()>) -> Result<()>;

/// A table whose rows are a function of their number.
#[derive(Debug)]
pub struct Made {
    pub columns: Vec<Column>,
    pub rows: u64,
    /// The rows that were given out so far.
    pub given: AtomicU64,
    /// How a row is written.
    pub row: Row,
    /// A row that cannot be read.
    pub broken: Option<u64>,
}

impl Made {
    /// The columns of a trace, every kind of gap in them.
    pub fn trace(rows: u64) -> Made {
        let columns = [
            ("t_seconds", Cells::Real),
            ("t_us", Cells::Integer),
            ("inner_diam_um", Cells::Real),
            ("outer_diam_um", Cells::Real),
            ("p_avg_mmhg", Cells::Real),
            ("p1_mmhg", Cells::Real),
            ("p2_set_mmhg", Cells::Real),
            ("frame_number", Cells::Integer),
            ("tiff_page", Cells::Integer),
            ("temp_c", Cells::Real),
            ("table_marker", Cells::Integer),
            ("caliper_length", Cells::Real),
            ("x", Cells::Real),
        ];
        Made::new(&columns, rows, |i, each| {
            let noise = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1u64 << 53) as f64;
            let hundredth = (noise * 1e5).round() / 100.0;
            let inner = if i % 17 == 3 { Cell::Null } else { Cell::Real(hundredth) };
            let page = if i % 30 == 0 { Cell::Integer(i as i64 / 30) } else { Cell::Null };
            let odd = match i % 1000 {
                1 => Cell::Real(f64::INFINITY),
                2 => Cell::Real(f64::NEG_INFINITY),
                3 => Cell::Real(5e-324),
                4 => Cell::Real(-0.0),
                _ => Cell::Real(noise),
            };
            each(&[
                Cell::Real(i as f64 / 10.0),
                Cell::Integer(i as i64 * 100_000),
                inner,
                Cell::Real(hundredth + 20.25),
                Cell::Real(60.0),
                Cell::Real(hundredth / 3.0),
                Cell::Real(60.0),
                Cell::Integer(i as i64),
                page,
                Cell::Real(37.0),
                Cell::Integer(0),
                Cell::Real(0.0),
                odd,
            ])
        })
    }

    pub fn new(columns: &[(&str, Cells)], rows: u64, row: Row) -> Made {
        let column = |(name, cells): &(&str, Cells)| Column { name: name.to_string(), cells: *cells };
        let columns = columns.iter().map(column).collect();
        Made { columns, rows, given: AtomicU64::new(0), row, broken: None }
    }

    pub fn given(&self) -> u64 {
        self.given.swap(0, Ordering::Relaxed)
    }
}

impl Table for Made {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn rows(&self) -> Result<u64> {
        Ok(self.rows)
    }

    fn read(
        &self,
        from: &Place,
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>> {
        let from = from.0.as_slice().try_into().map_or(0, u64::from_le_bytes);
        let to = from.saturating_add(most).min(self.rows);
        for i in from..to {
            self.given.fetch_add(1, Ordering::Relaxed);
            if self.broken == Some(i) {
                return Err(Error::damaged("broken", "a table", "a page is torn"));
            }
            (self.row)(i, each)?;
        }
        Ok((to < self.rows).then(|| Place(to.to_le_bytes().to_vec())))
    }
}

/// All bytes, read in steps of `step`.
pub fn whole(coded: &dyn Coded, step: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; coded.size() as usize];
    for (i, part) in bytes.chunks_mut(step).enumerate() {
        coded.read_at((i * step) as u64, part)?;
    }
    Ok(bytes)
}

/// The bytes of a file, as a source.
pub fn in_file(path: &Path) -> Content {
    let source = Source::open(Arc::new(Location::find(path).unwrap())).unwrap();
    let size = source.size();
    Content::Range(source, 0..size)
}

/// Looks that a table in a file, rendered, gives its bytes as long as the file is as it was, and an error afterwards,
/// also for what is in memory.
pub fn no_bytes_after_a_change(file: &Path, table: Arc<dyn Table>) {
    let identity = Identity { here: [7; 32], shown: [0; 32] };
    let shared = Arc::new(Shared::new(identity, None, Arc::new(Findings::default())));
    let form = Box::new(Csv::new(table.columns()));
    let rendered = Rendered::new("s/x.csv".into(), table, form, shared).unwrap();
    let bytes = whole(&rendered, 4099).unwrap();
    let mut again = vec![0; 1000];
    rendered.read_at(5000, &mut again).unwrap();
    assert!(again == bytes[5000..6000]);
    let mut stored = std::fs::read(file).unwrap();
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    std::fs::write(file, stored).unwrap();
    for at in [5000, 0, bytes.len() as u64 - 1000] {
        let outcome = rendered.read_at(at, &mut again);
        assert!(matches!(outcome, Err(Error::SourceChanged(_))), "{outcome:?} at {at}");
    }
}

/// Runs a script that needs NumPy and pandas, and gives what it prints; `None`, said aloud, where they are missing
/// on a machine that is not the one that decides.
pub fn python(script: &str, args: &[&std::path::Path]) -> Option<String> {
    let run = |script: &str, args: &[&std::path::Path]| {
        let output = Command::new("/usr/bin/python3")
            .args(["-W", "error::UserWarning", "-c", script])
            .args(args)
            .output();
        output.expect("python3 is there: apt-get install python3")
    };
    if !run("import numpy, pandas", &[]).status.success() {
        let what = "NumPy and pandas are missing: apt-get install python3-numpy python3-pandas";
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("NOT TESTED: {what}");
        return None;
    }
    let output = run(script, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}
