//! A table that an analysis stored as JSON, as pandas' `DataFrame.to_dict("split")` makes it:
//!
//! ```text
//!   {"__type__": "dataframe", "value": {"index": [0, 1], "columns": ["a", "b"], "data": [[1, 2.5], [3, NaN]]}}
//! ```
//!
//! The index is a column of its own, in front, unless it only counts the rows from zero. Numbers are those that
//! stand there; `null` and `NaN` are nothing; `true` and `false` are `True` and `False`, as pandas writes them; a list
//! in a cell is its JSON.
//!
//! Limits: what has no columns, or a row with more or fewer cells than there are columns, is no table.

use std::sync::Arc;

use crate::database::json::{self, Tokens};
use crate::error::{Error, Result};
use crate::tree::{Cell, Cells, Column, Content, Place, Table};

/// The table in a payload.
#[derive(Debug)]
pub struct Frame {
    text: Arc<str>,
    path: String,
    columns: Vec<Column>,
    rows: u64,
    /// Where the lists of rows and, if it is shown, of the index begin.
    data: usize,
    index: Option<usize>,
    /// What the text was read from.
    stored: Option<Content>,
}

impl Frame {
    /// The table in `payload`, if it is one.
    pub fn of(payload: &[u8], path: &str) -> Option<Frame> {
        let text = std::str::from_utf8(payload).ok()?;
        let outer = json::fields(text)?;
        if json::said(outer.get("__type__")?).as_deref() != Some("dataframe") {
            return None;
        }
        let inner = json::fields(outer.get("value")?)?;
        let (index, columns, data) = (inner.get("index")?, inner.get("columns")?, inner.get("data")?);
        let mut names: Vec<String> = json::items(columns)?.map(name).collect();
        // Of a table without columns there is nothing to read.
        if names.is_empty() {
            return None;
        }
        let mut rows = 0;
        for row in json::items(data)? {
            if json::items(row)?.count() != names.len() {
                return None;
            }
            rows += 1;
        }
        let labels = json::items(index)?;
        let counts = json::items(index)?.enumerate().all(|(i, label)| label == i.to_string());
        if labels.count() as u64 != rows {
            return None;
        }
        if !counts {
            let taken = |name: &[u8]| names.iter().any(|other| other.as_bytes() == name);
            let free = crate::tree::free_twin("index", taken);
            names.insert(0, free);
        }
        let column = |name: String| Column { name, cells: Cells::Text };
        // Behind the bracket.
        let place = |list: &str| list.as_ptr().addr() - text.as_ptr().addr() + 1;
        Some(Frame {
            path: path.to_string(),
            columns: names.into_iter().map(column).collect(),
            rows,
            data: place(data),
            index: (!counts).then(|| place(index)),
            text: text.into(),
            stored: None,
        })
    }

    /// The same, as what was read from `stored`: once that has changed, no more of it is given out.
    pub fn read_from(self, stored: Content) -> Frame {
        Frame { stored: Some(stored), ..self }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged("table-irregular", &self.path, what)
    }

    /// The place that was encoded: how many rows were read, and where the next ones stand.
    fn places(&self, from: &Place) -> Option<(u64, usize, Option<usize>)> {
        if from.0.is_empty() {
            return Some((0, self.data, self.index));
        }
        let words: Vec<u64> = from
            .0
            .chunks(8)
            .map(|word| word.try_into().map(u64::from_le_bytes))
            .collect::<Result<_, _>>()
            .ok()?;
        let [row, data, index] = words[..] else { return None };
        let inside = |at: u64| Some(at as usize).filter(|at| self.text.is_char_boundary(*at));
        Some((row, inside(data)?, if self.index.is_some() { Some(inside(index)?) } else { None }))
    }
}

/// The name of a column.
fn name(label: &str) -> String {
    if label.starts_with('"') { json::said(label).unwrap_or_else(|| label.into()) } else { label.into() }
}

/// The next item of a list, and the place behind it and its comma.
fn next(text: &str, at: usize) -> Option<(&str, usize)> {
    let mut tokens = Tokens::of(&text[at..]);
    let item = tokens.value()?;
    // A comma, or the end of the list.
    tokens.next()?;
    Some((item, at + tokens.place()))
}

/// What a cell says, where it is not in the JSON word for word.
pub fn unquoted(item: &str) -> Option<String> {
    item.starts_with('"').then(|| json::said(item)).flatten()
}

/// The cell that an item of JSON is; `said` is what it says, if it is a text.
pub fn cell<'a>(item: &'a str, said: &'a Option<String>) -> Cell<'a> {
    match (said, item) {
        (Some(said), _) => Cell::Text(said.as_bytes()),
        (None, "null" | "NaN") => Cell::Null,
        (None, "true") => Cell::Text(b"True"),
        (None, "false") => Cell::Text(b"False"),
        (None, "Infinity") => Cell::Real(f64::INFINITY),
        (None, "-Infinity") => Cell::Real(f64::NEG_INFINITY),
        (None, word) => match (word.parse(), word.parse::<f64>()) {
            (Ok(whole), _) if word != "-0" => Cell::Integer(whole),
            // A whole number beyond all sizes stays as it stands there.
            (_, Ok(real)) if real.is_finite() && word.contains(['.', 'e', 'E']) => Cell::Real(real),
            _ => Cell::Text(word.as_bytes()),
        },
    }
}

impl Table for Frame {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn check(&self) -> Result<()> {
        self.stored.as_ref().map_or(Ok(()), Content::check)
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
        let (mut row, mut data, mut index) =
            self.places(from).ok_or_else(|| Error::Refused("a place is none of this table".into()))?;
        let end = row.saturating_add(most).min(self.rows);
        let missing = || self.damaged("its lists end early");
        while row < end {
            let (list, behind) = next(&self.text, data).ok_or_else(missing)?;
            data = behind;
            let mut items: Vec<&str> = Vec::with_capacity(self.columns.len());
            if let Some(at) = &mut index {
                let (label, behind) = next(&self.text, *at).ok_or_else(missing)?;
                (*at, items) = (behind, vec![label]);
            }
            items.extend(json::items(list).ok_or_else(|| self.damaged("a row of it is no list"))?);
            if items.len() != self.columns.len() {
                let what = format!("row {row} has not as many cells as there are columns");
                return Err(self.damaged(&what));
            }
            let said: Vec<Option<String>> = items.iter().map(|item| unquoted(item)).collect();
            let cells: Vec<Cell<'_>> = items.iter().zip(&said).map(|(item, said)| cell(item, said)).collect();
            each(&cells)?;
            row += 1;
        }
        let words = [row, data as u64, index.unwrap_or(0) as u64];
        Ok((row < self.rows).then(|| Place(words.iter().flat_map(|word| word.to_le_bytes()).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv::Csv;
    use super::super::form::Form;
    use super::super::testing::{in_file, no_bytes_after_a_change};
    use super::*;

    fn csv(payload: &str, most: u64) -> Result<String> {
        let frame = Frame::of(payload.as_bytes(), "x.csv").expect("a table");
        let form = Csv::new(frame.columns());
        let mut out = form.head(0);
        let mut from = Some(Place::default());
        while let Some(place) = from {
            from = frame.read(&place, most, &mut |cells| {
                form.row(cells, &mut out);
                Ok(())
            })?;
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_table_is_read_in_steps_of_any_length() {
        let payload = r#"{"value": {"data": [[-9, 1.10, "a,b", null], [ 1e400, NaN , "\u00b5", [1, {"x":2}] ],
            [true, -Infinity, 123456789012345678901234567890, -0]], "columns": ["index", "pct", 3, "x"],
            "index": ["r1", "r2", 7]}, "__type__": "dataframe"}"#;
        let expected = "index~2,index,pct,3,x\nr1,-9,1.1,\"a,b\",\nr2,1e400,,µ,\"[1, {\"\"x\"\":2}]\"\n\
                        7,True,-inf,123456789012345678901234567890,-0\n";
        for most in [1, 2, 100] {
            assert_eq!(csv(payload, most).unwrap(), expected);
        }
    }

    #[test]
    fn an_index_that_only_counts_is_left_out() {
        let payload =
            r#"{"__type__":"dataframe","value":{"index":[0,1],"columns":["a"],"data":[[1],[2.0]]}}"#;
        assert_eq!(csv(payload, 1).unwrap(), "a\n1\n2.0\n");
        let empty = r#"{"__type__":"dataframe","value":{"index":[],"columns":["a"],"data":[]}}"#;
        assert_eq!(csv(empty, 1).unwrap(), "a\n");
    }

    #[test]
    fn what_is_no_table_is_none_nor_is_one_with_rows_of_other_lengths() {
        for payload in [
            "",
            "[]",
            "{}",
            r#"{"__type__":"series","value":{"index":[],"columns":[],"data":[]}}"#,
            r#"{"__type__":"dataframe","value":{"index":[],"columns":[]}}"#,
            r#"{"__type__":"dataframe","value":{"index":[0],"columns":[],"data":[]}}"#,
            // Without columns there is nothing that a reader of tables takes.
            r#"{"__type__":"dataframe","value":{"index":[],"columns":[],"data":[]}}"#,
            r#"{"__type__":"dataframe","value":{"index":[0,1],"columns":[],"data":[[],[]]}}"#,
            r#"{"__type__":"dataframe","value":{"index":["a","b"],"columns":[],"data":[[],[]]}}"#,
            r#"{"__type__":"dataframe","value":{"index":[],"columns":[],"data":{}}}"#,
            r#"{"__type__":"dataframe","value":{"index":[],"columns":[],"data":[]}"#,
        ] {
            assert!(Frame::of(payload.as_bytes(), "x").is_none(), "{payload}");
        }
        for data in ["[1,2]", "5", "[]"] {
            let payload = format!(
                r#"{{"__type__":"dataframe","value":{{"index":[0],"columns":["a"],"data":[{data}]}}}}"#
            );
            assert!(Frame::of(payload.as_bytes(), "x").is_none(), "{payload}");
        }
    }

    #[test]
    fn a_table_whose_database_is_rewritten_in_place_gives_no_more_bytes_from_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.sqlite");
        let rows: Vec<String> = (0..20_000).map(|i| format!("[{i}, {}.5]", i * 3)).collect();
        let index: Vec<String> = (0..rows.len()).map(|i| i.to_string()).collect();
        let payload = format!(
            r#"{{"__type__": "dataframe", "value": {{"index": [{}], "columns": ["a", "b"], "data": [{}]}}}}"#,
            index.join(", "),
            rows.join(", ")
        );
        std::fs::write(&file, &payload).unwrap();
        let frame = Frame::of(payload.as_bytes(), "x.csv").unwrap().read_from(in_file(&file));
        no_bytes_after_a_change(&file, Arc::new(frame));
    }
}
