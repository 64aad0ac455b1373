//! What the columns of a database are called for people, with their units, and what they hold.
//!
//! Seconds, microseconds, micrometres, millimetres of mercury, degrees Celsius. Columns of counts and of text keep
//! their names, and so do those whose unit the application does not say. Columns that are not listed here are shown
//! behind these, as they are called, with the type that the file declares.

use std::collections::HashSet;

use super::layout::Shape;
use crate::tree::{Cells, Column, free_twin};

use Cells::{Integer, Real, Text};

/// The column of the file, the name for people, what it holds.
type Known = (&'static str, &'static str, Cells);

/// The table `trace`.
pub const TRACE: [Known; 12] = [
    ("t_seconds", "t_seconds", Real),
    ("t_us", "t_us", Integer),
    ("inner_diam", "inner_diam_um", Real),
    ("outer_diam", "outer_diam_um", Real),
    ("p_avg", "p_avg_mmhg", Real),
    ("p1", "p1_mmhg", Real),
    ("p2", "p2_mmhg", Real),
    ("frame_number", "frame_number", Integer),
    ("tiff_page", "tiff_page", Integer),
    ("temp", "temp_c", Real),
    ("table_marker", "table_marker", Integer),
    ("caliper_length", "caliper_length", Real),
];

/// The table `event`.
pub const EVENT: [Known; 20] = [
    ("id", "id", Integer),
    ("t_seconds", "t_seconds", Real),
    ("t_us", "t_us", Integer),
    ("label", "label", Text),
    ("frame", "frame", Integer),
    ("source_frame", "source_frame", Integer),
    ("source_row", "source_row", Integer),
    ("source_time_str", "source_time_str", Text),
    ("p_avg", "p_avg_mmhg", Real),
    ("p1", "p1_mmhg", Real),
    ("p2", "p2_mmhg", Real),
    ("temp", "temp_c", Real),
    ("od", "od_um", Real),
    ("id_diam", "id_diam_um", Real),
    ("caliper", "caliper", Real),
    ("od_ref_pct", "od_ref_pct", Real),
    ("extra_json", "extra_json", Text),
    ("deleted_utc", "deleted_utc", Text),
    ("deleted_reason", "deleted_reason", Text),
    ("deleted_by", "deleted_by", Text),
];

/// What a known column of a trace is called by all who compare; any other is called as it is.
pub fn known(column: &str) -> &str {
    TRACE.iter().find(|(name, ..)| name.eq_ignore_ascii_case(column)).map_or(column, |(name, ..)| name)
}

/// A column of a table that rows are read from.
struct Stored {
    /// As it is called in the file.
    name: String,
    title: String,
    cells: Cells,
}

/// The columns of `shape`, but for `without`: those that are known, and the others in the file's order.
fn all(shape: &Shape, known: &[Known], without: &[&str]) -> Vec<Stored> {
    let there = known.iter().filter(|(name, ..)| shape.has(name) && !without.contains(name));
    let mut all: Vec<Stored> = there
        .map(|(name, title, cells)| Stored {
            name: name.to_string(),
            title: title.to_string(),
            cells: *cells,
        })
        .collect();
    for declared in &shape.columns {
        let name = declared.name.to_ascii_lowercase();
        let is_new = name != "dataset_id"
            && !without.contains(&name.as_str())
            && !known.iter().any(|(known, ..)| *known == name);
        if is_new && declared.is_by_name {
            let (name, cells) = (declared.name.clone(), cells(&declared.kind));
            all.push(Stored { title: name.clone(), name, cells });
        }
    }
    all
}

/// All columns as they are called in the file, for whoever compares.
pub fn as_stored(shape: &Shape, known: &[Known], without: &[&str]) -> (Vec<String>, Vec<Column>) {
    let of = |one: Stored| (one.name.clone(), Column { name: one.name, cells: one.cells });
    all(shape, known, without).into_iter().map(of).unzip()
}

/// The columns of `shape` that are shown, as they are called in the file and for people; `without` are left out.
///
/// Two that are called the same are told apart as files are.
pub fn shown(shape: &Shape, known: &[Known], without: &[&str]) -> (Vec<String>, Vec<Column>) {
    let (mut stored, mut columns, mut taken) = (Vec::new(), Vec::new(), HashSet::new());
    for one in all(shape, known, without) {
        let title = if one.title.is_empty() { "unnamed" } else { &one.title };
        let title = free_twin(title, |name| taken.contains(name));
        taken.insert(title.clone().into_bytes());
        stored.push(one.name);
        columns.push(Column { name: title, cells: one.cells });
    }
    (stored, columns)
}

/// Those of the file's columns that [`shown`] leaves out.
pub fn hidden(shape: &Shape, known: &[Known]) -> Vec<String> {
    let (stored, _) = shown(shape, known, &[]);
    let is_hidden = |name: &&String| {
        let is = |other: &String| other.eq_ignore_ascii_case(name);
        !name.eq_ignore_ascii_case("dataset_id") && !stored.iter().any(is)
    };
    shape.columns.iter().map(|column| &column.name).filter(is_hidden).cloned().collect()
}

/// What SQLite's rules make of a declared type.
fn cells(kind: &str) -> Cells {
    let has = |word: &str| kind.contains(word);
    if has("INT") {
        Integer
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Real
    } else {
        Text
    }
}
