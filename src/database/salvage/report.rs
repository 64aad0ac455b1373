//! What was recovered and what was lost, for people and for scripts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::nameless::SetApart;
use super::record::{Key, Part};

/// Keys of rows that are told in a line.
const KEYS: usize = 20;

/// How well a number of lost rows is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// A tree that is whole says so, of the table or of an index.
    #[default]
    Exact,
    /// There may be more.
    AtLeast,
    /// Estimated.
    About,
    /// Estimated by what is left, where the pages that are gone may have had far more.
    AboutOrMore,
}

impl Certainty {
    fn word(self) -> &'static str {
        match self {
            Certainty::Exact => "",
            Certainty::AtLeast => "at least ",
            Certainty::About | Certainty::AboutOrMore => "about ",
        }
    }

    /// A number of rows in words.
    pub fn number(self, rows: u64) -> String {
        let more = if self == Certainty::AboutOrMore { " or more" } else { "" };
        format!("{}{}{more}", self.word(), grouped(rows))
    }

    /// Whether it is no number of rows that were counted.
    pub fn is_estimate(self) -> bool {
        matches!(self, Certainty::About | Certainty::AboutOrMore)
    }

    /// A number of lost rows in words.
    fn lost(self, rows: u64) -> String {
        match (self, rows) {
            (Certainty::Exact, _) | (_, 1..) => format!("{} lost", self.number(rows)),
            _ => "how many are lost cannot be told".into(),
        }
    }
}

/// One table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// Rows in the result.
    pub recovered: u64,
    /// Rows that were there before, and are not in the result.
    pub lost: u64,
    /// How well that is known.
    pub certainty: Certainty,
    /// Rows in the result from pages that no tree leads to.
    pub found_by_shape: u64,
    /// Rows in the result from pages that are damaged elsewhere.
    pub from_damaged_pages: u64,
    /// Rows that were found a second time, and left out.
    pub duplicates: u64,
    /// Rows on old pages that the project had deleted, and left out.
    pub deleted: u64,
    /// Rows of which a part lies in pages that are gone.
    pub cut_off: u64,
    /// Long rows that were not read, because too many share their pages.
    pub unread: u64,
    /// Rows that the schema itself refuses.
    pub refused: u64,
    /// Rows whose long values may be damaged: they end in a page of zeros, or share a page with another row.
    pub doubtful: u64,
    /// The keys of those, not more than a thousand.
    pub doubtful_keys: Vec<String>,
    /// Rows with values that their columns make others of, as they do with none that was written into them.
    pub converted: u64,
    /// Rows that belong to a row of another table that is not there, and was perhaps never there.
    pub orphans: u64,
    /// Rows of which an index has another key, or other values: one of the two was changed.
    pub contradicted: u64,
    /// What the index calls those, not more than a thousand.
    pub contradicted_keys: Vec<String>,
}

/// A stretch of a recording in which rows are missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gap {
    /// The time of the first row that is missing, or of the last one before the gap; none where no row is left before it.
    pub from: Option<f64>,
    /// The time of the last row that is missing, or of the first one after the gap; none where no row is left after it.
    pub to: Option<f64>,
    /// How many are missing, as far as that can be told.
    pub rows: u64,
}

/// The trace of one sample.
#[derive(Debug, Clone, Serialize)]
pub struct SampleReport {
    /// The number of its dataset.
    pub dataset: i64,
    /// Its experiment and name; none when its row in `dataset` is lost.
    pub name: Option<String>,
    /// Rows in the result.
    pub recovered: u64,
    /// Rows that are missing.
    pub lost: u64,
    /// How well that is known.
    pub certainty: Certainty,
    /// Where they are missing.
    pub gaps: Vec<Gap>,
}

/// A whole recovery.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Bytes of a page.
    pub page_size: usize,
    /// How many pages there are of each kind.
    pub pages: BTreeMap<&'static str, usize>,
    /// The `user_version` of the result.
    pub user_version: i32,
    /// Whether something tells it: the head of the file, or what is in it.
    pub version_is_known: bool,
    /// Whether all of the schema was found in the file.
    pub schema_found: bool,
    /// All rows in the result.
    pub recovered: u64,
    /// All rows that are known to be lost.
    pub lost: u64,
    /// Whether those are all that are lost.
    pub lost_is_exact: bool,
    /// Why values may be other than they were written, in rows that look whole.
    pub doubt: Option<String>,
    /// Each table.
    pub tables: Vec<TableReport>,
    /// Each sample of which trace rows are missing, or whose name is.
    pub samples: Vec<SampleReport>,
    /// The table with rows of tables whose names are lost, in a result that has one. They count as recovered nowhere.
    pub set_apart: Option<SetApart>,
    /// What of the schema is not in the result as it was: tables, columns, indices, views and triggers.
    pub not_made: Vec<String>,
    /// Everything else that is worth knowing.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether it is known that nothing is lost or changed, of the rows and of the schema.
    pub fn is_lossless(&self) -> bool {
        self.lost == 0
            && self.lost_is_exact
            && self.version_is_known
            && self.not_made.is_empty()
            && !self.has_doubts()
            && self.tables.iter().all(|t| t.refused + t.cut_off + t.unread == 0)
    }

    /// Whether some values may be other than they were written.
    pub fn has_doubts(&self) -> bool {
        self.doubt.is_some()
            || self.tables.iter().any(|t| t.doubtful + t.contradicted + t.converted + t.orphans > 0)
    }

    /// How many rows were recovered and lost, in words.
    pub fn words(&self) -> String {
        let is_estimate = |t: &TableReport| t.lost > 0 && t.certainty.is_estimate();
        let about = self.tables.iter().any(is_estimate);
        // An estimate of some is none of all.
        let is_open = |t: &TableReport| {
            t.certainty == Certainty::AboutOrMore || t.certainty != Certainty::Exact && !is_estimate(t)
        };
        let certainty = match self.lost_is_exact {
            true => Certainty::Exact,
            false if about => Certainty::About,
            false => Certainty::AtLeast,
        };
        let more =
            if about && (!self.schema_found || self.tables.iter().any(is_open)) { ", or more" } else { "" };
        let separator = if self.lost == 0 && !self.lost_is_exact { "; " } else { ", " };
        format!("{} rows recovered{separator}{}{more}", grouped(self.recovered), certainty.lost(self.lost))
    }

    /// One line a table that has something to say, one a sample, and the notes.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for t in &self.tables {
            let mut line = format!("{}: {} rows", t.name, grouped(t.recovered));
            if t.lost > 0 || t.certainty != Certainty::Exact {
                line += &format!("; {}", t.certainty.lost(t.lost));
            }
            let parts = [
                (t.found_by_shape, "found on pages that nothing leads to"),
                (t.from_damaged_pages, "taken from damaged pages"),
                (t.cut_off, "left out because a part of them is gone"),
                (
                    t.unread,
                    "left out because too many long rows share their pages, and not all could be read",
                ),
                (t.duplicates, "left out because they are there twice"),
                (t.deleted, "left out because the project had deleted them"),
                (t.refused, "left out because the schema refuses them"),
                (
                    t.doubtful,
                    "with long values that may be damaged (they end in a page of zeros, or share one with another row)",
                ),
            ];
            for (n, what) in parts.iter().filter(|(n, _)| *n > 0) {
                line += &format!("; {} {what}", grouped(*n));
            }
            line += &named(t.doubtful, &t.doubtful_keys);
            if t.contradicted > 0 {
                let what = "that an index has not, or with another key or other values, so that they may have changed";
                line += &format!("; {} {what}", grouped(t.contradicted));
                line += &named(t.contradicted, &t.contradicted_keys);
            }
            let parts = [
                (
                    t.converted,
                    "with values of other types than their columns have, which makes others of them: the schema or the \
                     rows may have changed",
                ),
                (t.orphans, "that belong to a row which is not there, though nothing says that it was lost"),
            ];
            for (n, what) in parts.iter().filter(|(n, _)| *n > 0) {
                line += &format!("; {} {what}", grouped(*n));
            }
            lines.push(line);
        }
        lines.extend(self.samples.iter().map(SampleReport::line));
        lines.extend(self.not_made.iter().chain(&self.notes).cloned());
        let doubt = |why| format!("{why}: values in it may have changed, and nobody can tell which");
        lines.extend(self.doubt.as_ref().map(doubt));
        lines
    }
}

/// The first of the keys of so many rows.
fn named(all: u64, keys: &[String]) -> String {
    let more = if all > KEYS as u64 { ", and more" } else { "" };
    let keys: Vec<&str> = keys.iter().take(KEYS).map(String::as_str).collect();
    if keys.is_empty() { String::new() } else { format!(": {}{more}", keys.join(", ")) }
}

impl Gap {
    /// In words, with what is in front of them in a line.
    fn words(&self, certainty: Certainty) -> String {
        let rows = grouped(self.rows);
        let lies = match (self.from, self.to) {
            (Some(from), Some(to)) => format!("between t={from} s and t={to} s"),
            (Some(from), None) => format!("after t={from} s"),
            (None, Some(to)) => format!("before t={to} s"),
            (None, None) => "at times that nobody knows".into(),
        };
        match (self.rows, self.from.zip(self.to)) {
            (0, None) if (self.from, self.to) == (None, None) => String::new(),
            (0, _) => format!("; rows may be missing {lies}"),
            (1, Some((from, to))) if from == to => format!("; lost the row at t={from} s"),
            (1, Some(_)) => format!("; lost {}1 row {lies}", certainty.word()),
            (_, Some(_)) => format!("; lost {}{rows} rows {lies}", certainty.word()),
            (_, None) if certainty == Certainty::About => format!("; lost about {rows} rows {lies}"),
            (_, None) => format!("; lost at least {rows} rows {lies}"),
        }
    }
}

impl SampleReport {
    fn line(&self) -> String {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => format!("dataset {} (its name is lost)", self.dataset),
        };
        let mut line = format!("sample {name}: {}", grouped(self.recovered));
        line += &match self.lost == 0 && self.certainty != Certainty::Exact {
            true => format!(" rows; {}", self.certainty.lost(0)),
            false => {
                let all = self.recovered.saturating_add(self.lost);
                format!(" of {} rows", self.certainty.number(all))
            }
        };
        for gap in self.gaps.iter().take(20) {
            line += &gap.words(self.certainty);
        }
        if self.gaps.len() > 20 {
            line += &format!("; and {} more gaps", self.gaps.len() - 20);
        }
        line
    }
}

/// A key for people.
pub fn words(key: &Key) -> String {
    let part = |part: &Part| match part {
        Part::Null => "NULL".to_string(),
        Part::Integer(v) => v.to_string(),
        Part::Real(v) => v.to_string(),
        Part::Text(v) => String::from_utf8_lossy(v).chars().take(40).collect(),
        Part::Blob(v) => format!("{} bytes", v.len()),
        Part::Cut { text: true, front } => words(&vec![Part::Text(front.clone())]),
        Part::Cut { text: false, .. } => "bytes".to_string(),
    };
    key.iter().map(part).collect::<Vec<_>>().join("/")
}

/// A number with a comma at every thousand.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_told_in_words() {
        let gaps = vec![Gap { from: Some(12.3), to: Some(24.1), rows: 120 }];
        let sample = SampleReport {
            dataset: 2,
            name: Some("Exp 1 / Vessel 002".to_string()),
            recovered: 35_880,
            lost: 120,
            certainty: Certainty::Exact,
            gaps,
        };
        let line =
            "sample Exp 1 / Vessel 002: 35,880 of 36,000 rows; lost 120 rows between t=12.3 s and t=24.1 s";
        assert_eq!(sample.line(), line);
    }

    #[test]
    fn what_cannot_be_told_is_no_number() {
        let words = |lost, lost_is_exact, certainty| {
            let table = TableReport { lost, certainty, ..TableReport::default() };
            let tables = vec![table];
            let schema_found = true;
            Report { recovered: 1200, lost, lost_is_exact, schema_found, tables, ..Report::default() }.words()
        };
        assert_eq!(words(0, true, Certainty::Exact), "1,200 rows recovered, 0 lost");
        assert_eq!(
            words(0, false, Certainty::AtLeast),
            "1,200 rows recovered; how many are lost cannot be told"
        );
        assert_eq!(words(7, false, Certainty::AtLeast), "1,200 rows recovered, at least 7 lost");
        assert_eq!(words(7, false, Certainty::About), "1,200 rows recovered, about 7 lost");
        let table = |lost, certainty| TableReport { lost, certainty, ..TableReport::default() };
        for (other, all) in [(table(0, Certainty::AtLeast), 7), (table(2, Certainty::AtLeast), 9)] {
            let tables = vec![table(7, Certainty::About), table(0, Certainty::Exact), other];
            let report =
                Report { recovered: 1200, lost: all, schema_found: true, tables, ..Report::default() };
            assert_eq!(report.words(), format!("1,200 rows recovered, about {all} lost, or more"));
        }
    }
}
