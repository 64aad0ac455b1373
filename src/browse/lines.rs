//! The events of one dataset of a package, as lines of JSON:
//!
//! ```text
//!   {"id": "ev-1", "dataset_id": "0000...", "t": 7.9, "label": "Set 40 mmHg", "lane": null, "style": {}}
//! ```
//!
//! Any other key that an event of them has is a column behind these, called as it is. A line that is no event is passed
//! over, with a finding: a save that was interrupted leaves the last one torn. Lines of more than [`MAX_LINE`] bytes are
//! passed over as well.
//!
//! Limit: of other keys [`MAX_OTHERS`] are shown, those that come first; that there are more is told.

use super::frame::{cell, unquoted};
use crate::database::json;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::tree::{Cell, Cells, Column, Content, Place, Table, free_twin};
use std::collections::{HashMap, HashSet};
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

/// Other keys that are shown at most.
const MAX_OTHERS: usize = 200;
/// The key that says whose an event is.
const OWNER: &str = "dataset_id";

/// Whose events are meant.
#[derive(Debug)]
pub enum Whose {
    /// Those of one dataset.
    Dataset(String),
    /// Those of none of these datasets, each with what it names as its own.
    Others(HashSet<String>),
}

/// Some of the events.
#[derive(Debug)]
pub struct Lines {
    content: Content,
    /// What findings call the file.
    path: String,
    whose: Whose,
    /// The keys of the columns.
    keys: Vec<String>,
    columns: Vec<Column>,
    findings: Arc<Findings>,
    /// How many there were when the keys were looked for.
    count: u64,
    /// How many of them name a dataset.
    named: u64,
}

impl Lines {
    /// Those in `content`, which is read once to find all their keys.
    pub fn new(content: Content, path: &str, whose: Whose, findings: Arc<Findings>) -> Result<Lines> {
        let mut lines = Lines {
            content,
            path: path.to_string(),
            whose,
            keys: Vec::new(),
            columns: Vec::new(),
            findings,
            count: 0,
            named: 0,
        };
        let owner = [(OWNER, OWNER, Cells::Text)];
        let is_named = matches!(lines.whose, Whose::Others(_));
        let owner = owner.iter().filter(|_| is_named);
        for (key, name, cells) in owner.chain(&KEYS) {
            lines.keys.push(key.to_string());
            lines.columns.push(Column { name: name.to_string(), cells: *cells });
        }
        let (others, has_more) = lines.survey()?;
        let mut taken: HashSet<Vec<u8>> = lines.columns.iter().map(|c| c.name.clone().into_bytes()).collect();
        for key in others {
            let name = if key.is_empty() { "unnamed" } else { &key };
            let name = free_twin(name, |name| taken.contains(name));
            taken.insert(name.clone().into_bytes());
            lines.columns.push(Column { name, cells: Cells::Text });
            lines.keys.push(key);
        }
        if has_more {
            let what = format!(
                "events have more than {MAX_OTHERS} keys of their own; the views have the first ones"
            );
            let remedy = "read events/events.jsonl itself for the others";
            lines.findings.add(Finding::new(
                Severity::Warning,
                "columns-not-shown",
                &lines.path,
                what,
                remedy,
            ));
        }
        Ok(lines)
    }

    /// How many there are, and how many of them name a dataset.
    pub fn counts(&self) -> (u64, u64) {
        (self.count, self.named)
    }

    /// The keys of events that are none of the usual ones, those that come first in front, and whether there are more;
    /// and counts the events.
    fn survey(&mut self) -> Result<(Vec<String>, bool)> {
        let (mut others, mut known, mut has_more) = (Vec::new(), HashSet::new(), false);
        let (mut count, mut named) = (0, 0);
        let is_usual = |key: &str| key == OWNER || KEYS.iter().any(|(usual, ..)| *usual == key);
        each_line(&self.content, 0, &mut |line, _| {
            let Some(entries) = entries(line).filter(|entries| self.is_ours(entries)) else {
                return Ok(true);
            };
            count += 1;
            named += u64::from(owner(&entries).is_some());
            let mut new: Vec<&String> =
                entries.keys().filter(|key| !is_usual(key) && !known.contains(*key)).collect();
            new.sort();
            for key in new {
                if others.len() == MAX_OTHERS {
                    has_more = true;
                    break;
                }
                known.insert(key.clone());
                others.push(key.clone());
            }
            Ok(true)
        })?;
        (self.count, self.named) = (count, named);
        Ok((others, has_more))
    }

    fn is_ours(&self, entries: &HashMap<String, &str>) -> bool {
        let owner = owner(entries);
        match &self.whose {
            Whose::Dataset(id) => owner.as_ref() == Some(id),
            Whose::Others(ids) => owner.is_none_or(|owner| !ids.contains(&owner)),
        }
    }

    /// Whether it is one of those that are meant; calls `each` with it. What is no event is told.
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
        if !self.is_ours(&entries) {
            return Ok(false);
        }
        let items: Vec<&str> =
            self.keys.iter().map(|key| entries.get(key).copied().unwrap_or("null")).collect();
        let said: Vec<Option<String>> = items.iter().map(|item| unquoted(item)).collect();
        let cells: Vec<Cell<'_>> = items.iter().zip(&said).map(|(item, said)| cell(item, said)).collect();
        each(&cells).map(|()| true)
    }
}

/// Whose an event is, as far as it says so.
fn owner(entries: &HashMap<String, &str>) -> Option<String> {
    entries.get(OWNER).and_then(|id| json::named(id))
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
        let (mut left, mut next) = (most, None);
        each_line(&self.content, start, &mut |line, behind| {
            left -= u64::from(self.event(line, each)?);
            next = behind.filter(|_| left == 0);
            Ok(left > 0)
        })?;
        Ok(next.map(|start| Place(start.to_le_bytes().to_vec())))
    }
}

/// Takes a line, and where the next one begins; says whether it wants more.
type Take<'t> = &'t mut dyn FnMut(&[u8], Option<u64>) -> Result<bool>;

/// Calls `each` with every line from `start` on, and with where the next one begins, until it has enough. Of a long line
/// only the front is kept.
fn each_line(content: &Content, start: u64, each: Take<'_>) -> Result<()> {
    let (mut at, mut line, mut buf) = (start, Vec::new(), vec![0; STEP]);
    loop {
        let n = content.read_at(at, &mut buf)?;
        let mut rest = &buf[..n];
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            keep(&mut line, &rest[..end]);
            at += end as u64 + 1;
            rest = &rest[end + 1..];
            if !each(&line, Some(at))? {
                return Ok(());
            }
            line.clear();
        }
        keep(&mut line, rest);
        at += rest.len() as u64;
        if n == 0 {
            each(&line, None)?;
            return Ok(());
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
            r#"{"id": "e4", "dataset_id": "a", "z": true, "extra": {"a": 1}, "t_seconds": "x"}"#,
            r#"{"id": "e5", "dataset_id": "nope", "t": 1, "label": "orphan", "of": "c"}"#,
            r#"{"id": "e6", "dataset_id": 5}"#,
        ];
        let findings = Arc::new(Findings::default());
        let content = Content::Bytes(text.join("\n").into_bytes().into());
        let of_a = "id,t_seconds,label,lane,style,extra,t_seconds~2,z\n\
            e1,7.9,\"KCl, 60\",,\"{\"\"c\"\": 1}\",,,\ne3,8,µ,,,,,\ne4,,,,,\"{\"\"a\"\": 1}\",x,True\n";
        let of_none = "dataset_id,id,t_seconds,label,lane,style,of\nnope,e5,1,orphan,,,c\n5,e6,,,,,\n";
        let ids = ["a", "b"].map(String::from).into();
        for (whose, rows, expected) in
            [(Whose::Dataset("a".into()), 3, of_a), (Whose::Others(ids), 2, of_none)]
        {
            let lines = Lines::new(content.clone(), "events/events.jsonl", whose, findings.clone()).unwrap();
            assert_eq!((lines.rows().unwrap(), lines.counts().0), (rows, rows));
            in_steps(&lines, expected);
        }
        assert_eq!(findings.list().iter().map(|f| f.code).collect::<Vec<_>>(), ["event-torn"]);
    }

    fn in_steps(lines: &Lines, expected: &str) {
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
            assert_eq!(String::from_utf8(out).unwrap(), expected, "in steps of {most}");
        }
    }
}
