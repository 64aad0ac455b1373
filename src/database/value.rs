//! SQLite's values as ours: every type may stand in every column.

use rusqlite::types::ValueRef;
use serde_json::Value;

use crate::tree::Cell;

/// A value as a cell.
pub fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(i) => Cell::Integer(i),
        ValueRef::Real(r) => Cell::Real(r),
        ValueRef::Text(t) => Cell::Text(t),
        ValueRef::Blob(b) => Cell::Blob(b),
    }
}

/// A value as text; bytes that are no UTF-8 as U+FFFD.
pub fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(i) => i.to_string(),
        ValueRef::Real(r) => real(r),
        ValueRef::Text(t) | ValueRef::Blob(t) => String::from_utf8_lossy(t).into_owned(),
    }
}

/// A value as text, if there is one.
pub fn some_text(value: ValueRef<'_>) -> Option<String> {
    (value != ValueRef::Null).then(|| text(value))
}

/// A value as a number, if it is one.
pub fn some_real(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Integer(i) => Some(i as f64),
        ValueRef::Real(r) => Some(r),
        _ => None,
    }
}

/// A value as a whole number, if it is one.
pub fn some_integer(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(i) => Some(i),
        _ => None,
    }
}

/// A value as JSON; infinities and bytes, which JSON has not, as text.
pub fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => i.into(),
        ValueRef::Real(r) => serde_json::Number::from_f64(r).map_or_else(|| real(r).into(), Value::Number),
        ValueRef::Text(t) => String::from_utf8_lossy(t).into(),
        ValueRef::Blob(b) => b.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

fn real(r: f64) -> String {
    if r.is_finite() { zmij::Buffer::new().format(r).to_string() } else { r.to_string() }
}

/// How much memory a value takes.
pub fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(b) | ValueRef::Blob(b) => b.len(),
        _ => 8,
    }
}
