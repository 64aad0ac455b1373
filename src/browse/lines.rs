//! The events of one dataset of a package, as lines of JSON:
//!
//! ```text
//!   {"id": "ev-1", "dataset_id": "0000...", "t": 7.9, "label": "Set 40 mmHg", "lane": null, "style": {}}
//! ```
//!
//! Other keys are not shown; the stored file has them. A line that is no event is passed over, with a finding: a save
//! that was interrupted leaves the last one torn. Lines of more than [`MAX_LINE`] bytes are passed over as well.

use super::frame::{cell, unquoted};
use crate::database::json;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::tree::{Cell, Cells, Column, Content, Place, Table};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that are read at once.
const STEP: usize = 64 << 10;
/// The longest line that is an event.
const MAX_LINE: usize = 1 << 20;
/// The keys of an event, what they are called, and what they hold.
const KEYS: [(&str, &str, Cells); 5] = [
    ("id", "id", Cells::Text),
    ("t", "t_seconds", Cells::Real),
    ("label", "label", Cells::Text),
    ("lane", "lane", Cells::Text),
    ("style", "style", Cells::Text),
];

/// The events of a dataset.
#[derive(Debug)]
pub struct Lines {
    content: Content,
    /// What findings call the file.
    path: String,
    dataset: String,
    columns: Vec<Column>,
    findings: Arc<Findings>,
}

impl Lines {
    /// Those of `dataset` in `content`.
    pub fn new(content: Content, path: &str, dataset: &str, findings: Arc<Findings>) -> Lines {
        let column = |(_, name, cells): (&str, &str, Cells)| Column { name: name.to_string(), cells };
        let columns = KEYS.map(column).to_vec();
        Lines { content, path: path.to_string(), dataset: dataset.to_string(), columns, findings }
    }

    /// Whether it is one of the dataset's; calls `each` with it. What is no event is told.
    fn event(&self, line: &[u8], each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>) -> Result<bool> {
        if line.trim_ascii().is_empty() {
            return Ok(false);
        }
        let Some(entries) = entries(line) else {
            let (what, remedy) = ("a line of it is no event, and is not shown", "restore it from a backup");
            // Whoever has verified it has told which lines.
            let is_told = |told: &Finding| told.code == "event-line-invalid" && told.path == self.path;
            if !self.findings.list().iter().any(is_told) {
                self.findings.add(Finding::new(Severity::Warning, "event-torn", &self.path, what, remedy));
            }
            return Ok(false);
        };
        let is_ours =
            entries.get("dataset_id").and_then(|id| json::said(id)).as_deref() == Some(&self.dataset);
        if !is_ours {
            return Ok(false);
        }
        let items = KEYS.map(|(key, ..)| entries.get(key).copied().unwrap_or("null"));
        let said = items.map(unquoted);
        let mut cells = [Cell::Null; KEYS.len()];
        for (i, item) in items.iter().enumerate() {
            cells[i] = cell(item, &said[i]);
        }
        each(&cells).map(|()| true)
    }
}

/// The values of an event by their keys; `None` of a line that is none.
fn entries(line: &[u8]) -> Option<HashMap<String, &str>> {
    std::str::from_utf8(line).ok().filter(|line| line.len() <= MAX_LINE).and_then(json::fields)
}

/// Whether a line is an event of some dataset.
pub fn is_event(line: &[u8]) -> bool {
    entries(line).is_some()
}

impl Table for Lines {
    fn check(&self) -> Result<()> {
        self.content.check()
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn rows(&self) -> Result<u64> {
        let mut rows = 0;
        self.read(&Place::default(), u64::MAX, &mut |_| {
            rows += 1;
            Ok(())
        })?;
        Ok(rows)
    }

    fn read(
        &self,
        from: &Place,
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>> {
        let not_ours = |_| Error::Refused("a place is none of this table".into());
        let start =
            if from.0.is_empty() { 0 } else { u64::from_le_bytes(from.0[..].try_into().map_err(not_ours)?) };
        // `line` begins at `start`; of a long one only the front is kept.
        let (mut start, mut at, mut left) = (start, start, most);
        let (mut line, mut buf) = (Vec::new(), vec![0; STEP]);
        loop {
            let n = self.content.read_at(at, &mut buf)?;
            let mut rest = &buf[..n];
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                keep(&mut line, &rest[..end]);
                at += end as u64 + 1;
                rest = &rest[end + 1..];
                left -= u64::from(self.event(&line, each)?);
                line.clear();
                start = at;
                if left == 0 {
                    return Ok(Some(Place(start.to_le_bytes().to_vec())));
                }
            }
            keep(&mut line, rest);
            at += rest.len() as u64;
            if n == 0 {
                self.event(&line, each)?;
                debug_assert!(start <= at);
                return Ok(None);
            }
        }
    }
}

/// Adds to a line, as far as it may still be an event.
fn keep(line: &mut Vec<u8>, more: &[u8]) {
    line.extend_from_slice(&more[..more.len().min((MAX_LINE + 1).saturating_sub(line.len()))]);
}

#[cfg(test)]
mod tests {
    use super::super::csv::Csv;
    use super::super::form::Form;
    use super::*;

    #[test]
    fn the_events_of_a_dataset_are_read_in_steps_of_any_length() {
        let long = format!("{{\"dataset_id\": \"a\", \"label\": \"{}\"}}", "x".repeat(MAX_LINE));
        let text = [
            r#"{"id": "e1", "dataset_id": "a", "t": 7.90, "label": "KCl, 60", "lane": null, "style": {"c": 1}}"#,
            r#"{"id": "e2", "dataset_id": "b", "t": 1, "label": "other"}"#,
            "",
            &long,
            r#"{"id": "e3", "dataset_id": "a", "t": 8, "label": "\u00b5"}"#,
            "torn {",
            r#"{"id": "e4", "dataset_id": "a"}"#,
        ];
        let findings = Arc::new(Findings::default());
        let content = Content::Bytes(text.join("\n").into_bytes().into());
        let lines = Lines::new(content, "events/events.jsonl", "a", findings.clone());
        assert_eq!(lines.rows().unwrap(), 3);
        for most in [1, 2, 100] {
            let form = Csv::new(lines.columns());
            let mut out = form.head(0);
            let mut from = Some(Place::default());
            while let Some(place) = from {
                let each = &mut |cells: &[Cell<'_>]| {
                    form.row(cells, &mut out);
                    Ok(())
                };
                from = lines.read(&place, most, each).unwrap();
            }
            let expected =
                "id,t_seconds,label,lane,style\ne1,7.9,\"KCl, 60\",,\"{\"\"c\"\": 1}\"\ne3,8,µ,,\ne4,,,,\n";
            assert_eq!(String::from_utf8(out).unwrap(), expected, "in steps of {most}");
        }
        assert_eq!(findings.list().iter().map(|f| f.code).collect::<Vec<_>>(), ["event-torn"]);
    }
}
