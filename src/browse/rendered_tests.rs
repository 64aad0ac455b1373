//! Rendered files are the same from every side.

use crate::browse::Identity;
use std::fs;
use std::sync::Arc;

use super::csv::Csv;
use super::form::Form;
use super::npy::Npy;
use super::rendered::{Rendered, Shared};
use super::testing::{Made, python, whole};
use crate::error::{Error, Result};
use crate::finding::Findings;
use crate::store::CacheFolder;
use crate::tree::{Cell, Cells, Coded, Table};

fn shared(cache: Option<Arc<CacheFolder>>) -> Arc<Shared> {
    Arc::new(Shared::new(Identity { here: [9; 32], shown: [0; 32] }, cache, Arc::new(Findings::default())))
}

/// A way to render a table.
type Make = fn(&Arc<Made>, &Arc<Shared>) -> Result<Rendered>;

fn csv(table: &Arc<Made>, shared: &Arc<Shared>) -> Result<Rendered> {
    let form = Box::new(Csv::new(table.columns()));
    Rendered::new("s/trace.csv".into(), table.clone(), form, shared.clone())
}

fn npy(table: &Arc<Made>, shared: &Arc<Shared>) -> Result<Rendered> {
    let form = Box::new(Npy::new("s/trace.npy", table.columns()).unwrap());
    Rendered::new("s/trace.npy".into(), table.clone(), form, shared.clone())
}

/// What one goes through when the table is rendered in one go.
fn at_once(table: &Made, form: &dyn Form) -> Vec<u8> {
    let mut out = form.head(table.rows);
    for i in 0..table.rows {
        (table.row)(i, &mut |cells| {
            form.row(cells, &mut out);
            Ok(())
        })
        .unwrap();
    }
    out
}

#[test]
fn every_way_to_read_gives_the_same_bytes() {
    let table = Arc::new(Made::trace(20_000));
    let forms: [(Box<dyn Form>, Make); 2] = [
        (Box::new(Csv::new(table.columns())), csv),
        (Box::new(Npy::new("x", table.columns()).unwrap()), npy),
    ];
    for (form, make) in forms {
        let expected = at_once(&table, form.as_ref());
        let rendered = make(&table, &shared(None)).unwrap();
        assert_eq!(rendered.size(), expected.len() as u64);
        for step in [expected.len(), 1 << 17, 4099] {
            assert!(whole(&rendered, step).unwrap() == expected, "in steps of {step}");
        }
        // Four threads at random places of another one.
        let rendered = make(&table, &shared(None)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (rendered, expected) = (&rendered, &expected);
                scope.spawn(move || {
                    let mut seed = thread + 1;
                    for _ in 0..300 {
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let at = (seed >> 20) as usize % expected.len();
                        let len = ((seed >> 8) as usize % 10_000).min(expected.len() - at);
                        let mut buf = vec![0; len];
                        rendered.read_at(at as u64, &mut buf).unwrap();
                        assert!(buf == expected[at..at + len], "{len} bytes at {at}");
                    }
                });
            }
        });
    }
}

#[test]
fn sizes_and_marks_are_known_to_the_next_mount() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Some(Arc::new(CacheFolder::open(folder.path(), 1 << 20).unwrap()));
    let table = Arc::new(Made::trace(50_000));
    let first = shared(cache.clone());
    assert_eq!(first.size("s/trace.csv"), None);
    let expected = whole(&csv(&table, &first).unwrap(), 1 << 17).unwrap();
    assert_eq!(first.size("s/trace.csv"), Some(expected.len() as u64));
    table.given();
    let again = shared(cache.clone());
    assert_eq!(again.size("s/trace.csv"), Some(expected.len() as u64));
    let rendered = csv(&table, &again).unwrap();
    assert_eq!(table.given(), 0, "the size is known");
    let mut tail = [0; 100];
    rendered.read_at(rendered.size() - 100, &mut tail).unwrap();
    assert_eq!(tail, expected[expected.len() - 100..]);
    assert!(table.given() < 8_000, "one stretch for a read at the end");
    assert!(whole(&rendered, 4096).unwrap() == expected);
    // An array's marks are made as it is read.
    let array = whole(&npy(&table, &again).unwrap(), 1 << 17).unwrap();
    table.given();
    let rendered = npy(&table, &shared(cache.clone())).unwrap();
    rendered.read_at(rendered.size() - 100, &mut tail).unwrap();
    assert_eq!(tail, array[array.len() - 100..]);
    assert!(table.given() < 8_000);
    // Of another project nothing is known.
    let other = Shared::new(Identity { here: [8; 32], shown: [0; 32] }, cache, Arc::new(Findings::default()));
    assert_eq!(other.size("s/trace.csv"), None);
}

#[test]
fn a_table_that_gives_other_rows_is_an_error_and_no_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Some(Arc::new(CacheFolder::open(folder.path(), 1 << 20).unwrap()));
    let rows = 10_000;
    let table = Arc::new(Made::trace(rows));
    for make in [csv, npy] {
        for others in [rows - 1, rows + 1, rows / 2, rows * 2] {
            make(&table, &shared(cache.clone())).unwrap();
            let other = Arc::new(Made::trace(others));
            let rendered = make(&other, &shared(cache.clone())).unwrap();
            let error = whole(&rendered, 4096).unwrap_err();
            assert!(matches!(error, Error::Damaged { code: "rows-differ", .. }), "{error}");
            // It has noticed, and the next mount counts anew.
            let rendered = make(&other, &shared(cache.clone())).unwrap();
            assert!(whole(&rendered, 4096).is_ok());
            fs::read_dir(folder.path()).unwrap().for_each(|e| fs::remove_file(e.unwrap().path()).unwrap());
        }
    }
    // A page that is torn costs what lies behind it, and in an array nothing before it.
    let mut broken = Made::trace(rows);
    broken.broken = Some(9_000);
    let broken = Arc::new(broken);
    assert!(matches!(csv(&broken, &shared(None)), Err(Error::Damaged { code: "broken", .. })));
    let rendered = npy(&broken, &shared(None)).unwrap();
    let expected = whole(&npy(&table, &shared(None)).unwrap(), 4096).unwrap();
    let mut front = vec![0; 500_000];
    rendered.read_at(0, &mut front).unwrap();
    assert!(front == expected[..500_000]);
    assert!(rendered.read_at(rendered.size() - 10, &mut [0; 10]).is_err());
}

#[test]
fn rows_of_any_length_are_rendered_in_bounded_stretches() {
    // Thousands of short rows, then some of a megabyte, then short ones.
    static LONG: [u8; 1 << 20] = [b'"'; 1 << 20];
    let table = Made::new(&[("n", Cells::Integer), ("label", Cells::Text)], 6_000, |i, each| {
        let label = if (5_000..5_020).contains(&i) { &LONG[..] } else { b"short" };
        each(&[Cell::Integer(i as i64), Cell::Text(label)])
    });
    let expected = at_once(&table, &Csv::new(table.columns()));
    let table = Arc::new(table);
    let rendered = csv(&table, &shared(None)).unwrap();
    let read = table.given();
    assert!(read < 6_000 * 4, "{read} rows were read to find out the size");
    assert!(rendered.longest_stretch() <= (2 << 20) + 100);
    assert!(whole(&rendered, 1 << 16).unwrap() == expected);
    // A row that nobody could use.
    static ENDLESS: [u8; 33 << 20] = [b'x'; 33 << 20];
    let table = Made::new(&[("label", Cells::Text)], 3, |_, each| each(&[Cell::Text(&ENDLESS[..])]));
    assert!(matches!(csv(&Arc::new(table), &shared(None)), Err(Error::Unsupported { .. })));
}

#[test]
fn a_table_without_rows_is_a_head() {
    let table = Arc::new(Made::trace(0));
    let shared = shared(None);
    let text = whole(&csv(&table, &shared).unwrap(), 10).unwrap();
    assert!(text.starts_with(b"t_seconds,t_us,") && text.ends_with(b",x\n"));
    assert_eq!(npy(&table, &shared).unwrap().size() % 64, 0);
}

/// Reads both without options, and the CSV by hand; prints `True` for everything that is as it has to be.
const READ: &str = r#"
import csv, math, struct, sys
import numpy, pandas
table, array, truth = sys.argv[1:]
names = open(table).readline().rstrip('\n').split(',')
width = len(names)
words = numpy.fromfile(truth, '<u8').reshape(-1, width)
loaded = numpy.load(array)
mapped = numpy.load(array, mmap_mode='r')
print(list(loaded.dtype.names) == names, loaded.shape == (len(words),), mapped.shape == loaded.shape)
print(all((loaded[n].view('<u8') == words[:, i]).all() for i, n in enumerate(names)))
print(all((mapped[n].view('<u8') == words[:, i]).all() for i, n in enumerate(names)))
# Python's own float of every field, bit for bit; an empty one is NaN.
bits = lambda text: struct.unpack('<Q', struct.pack('<d', float(text) if text else math.nan))[0]
rows = list(csv.reader(open(table, newline='')))[1:]
print(all([bits(cell) for cell in row] == list(want) for row, want in zip(rows, words.tolist())), len(rows) == len(words))
values = words.view('<f8')
# Without options pandas itself reads long numbers with an error of up to 1.4e-12, whoever wrote them.
same = lambda a, b: bool((numpy.isclose(a, b, rtol=1e-11, atol=1e-300) | (numpy.isnan(a) & numpy.isnan(b)) | (a == b)).all())
frame = pandas.read_csv(table)
print(list(frame.columns) == names, all(same(frame[n].to_numpy('f8'), values[:, i]) for i, n in enumerate(names)))
frame = pandas.read_csv(table, float_precision='round_trip')
print(all(same(frame[n].to_numpy('f8').view('<u8'), words[:, i]) for i, n in enumerate(names)))
text = numpy.genfromtxt(table, names=True, delimiter=',')
print(list(text.dtype.names) == names, all(same(text[n], values[:, i]) for i, n in enumerate(names)))
"#;

#[test]
fn python_reads_both_without_options_and_gets_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let table = Arc::new(Made::trace(12_345));
    let shared = shared(None);
    let [text, array, truth] = ["t.csv", "t.npy", "truth"].map(|name| folder.path().join(name));
    fs::write(&text, whole(&csv(&table, &shared).unwrap(), 1 << 17).unwrap()).unwrap();
    fs::write(&array, whole(&npy(&table, &shared).unwrap(), 1 << 17).unwrap()).unwrap();
    // The truth is what the table was made of, cell by cell, without any form.
    let mut words: Vec<u8> = Vec::new();
    for i in 0..table.rows {
        let mut each = |cells: &[Cell<'_>]| {
            words.extend(cells.iter().flat_map(|cell| match cell {
                Cell::Real(value) => value.to_bits().to_le_bytes(),
                Cell::Integer(value) => (*value as f64).to_bits().to_le_bytes(),
                _ => 0x7ff8_0000_0000_0000u64.to_le_bytes(),
            }));
            Ok(())
        };
        (table.row)(i, &mut each).unwrap();
    }
    fs::write(&truth, words).unwrap();
    if let Some(said) = python(READ, &[&text, &array, &truth]) {
        assert!(!said.contains("False") && said.split_whitespace().count() == 12, "{said}");
    }
}

/// `cargo test --release --lib -- --ignored --nocapture how_fast`
#[test]
#[ignore = "a measurement"]
fn how_fast_a_table_is_rendered() {
    let table = Arc::new(Made::trace(2_000_000));
    for (name, make) in [("csv", csv as Make), ("npy", npy)] {
        let shared = shared(None);
        let begin = std::time::Instant::now();
        let rendered = make(&table, &shared).unwrap();
        let known = begin.elapsed();
        let mut buf = vec![0; 1 << 17];
        let begin = std::time::Instant::now();
        for at in (0..rendered.size()).step_by(buf.len()) {
            let n = (rendered.size() - at).min(buf.len() as u64) as usize;
            rendered.read_at(at, &mut buf[..n]).unwrap();
        }
        let megabytes = rendered.size() as f64 / 1e6;
        println!(
            "{name}: {megabytes:.0} MB, size known after {known:?}, read with {:.0} MB/s",
            megabytes / begin.elapsed().as_secs_f64()
        );
    }
}
