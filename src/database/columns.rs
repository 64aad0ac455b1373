//! What the columns of a database are called for people, with their units, and what they hold.
//!
//! Seconds, microseconds, micrometres, millimetres of mercury, degrees Celsius. Columns of counts and of text keep
//! their names, and so do those whose unit the application does not say. Columns that are not listed here are shown
//! behind these, as they are called, with the type that the file declares.

use super::layout::Shape;
use crate::tree::{Cells, Column};

use Cells::{Integer, Real, Text};

/// Columns of a table that are shown at most.
const MOST: usize = 64;

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

/// What a column of a trace is called for people.
pub fn title(column: &str) -> &str {
    TRACE.iter().find(|(name, ..)| name.eq_ignore_ascii_case(column)).map_or(column, |(_, title, _)| title)
}

/// The columns of `shape` that are shown, as they are called in the file and for people; `without` are left out.
pub fn shown(shape: &Shape, known: &[Known], without: &[&str]) -> (Vec<String>, Vec<Column>) {
    let mut stored = Vec::new();
    let mut columns: Vec<Column> = Vec::new();
    for (name, title, cells) in known.iter().filter(|(name, ..)| shape.has(name) && !without.contains(name)) {
        stored.push(name.to_string());
        columns.push(Column { name: title.to_string(), cells: *cells });
    }
    for declared in &shape.columns {
        let name = declared.name.to_ascii_lowercase();
        let is_new = name != "dataset_id"
            && !without.contains(&name.as_str())
            && !known.iter().any(|(known, ..)| *known == name)
            && is_plain(&declared.name)
            && columns.iter().all(|c| c.name != declared.name);
        if is_new && columns.len() < MOST {
            stored.push(declared.name.clone());
            columns.push(Column { name: declared.name.clone(), cells: cells(&declared.kind) });
        }
    }
    (stored, columns)
}

/// A name that every reader of CSV and NPY takes as it is.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
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
