//! What a database holds that another has not: the unsaved work of a session, against what was saved.

use std::sync::Arc;

use serde::Serialize;

use super::compare::{named, rows};
use super::{Counts, Database, EventChange, SampleChange, SampleName, SampleTold, compare_work};
use crate::error::Result;

/// Keys of `meta` that programs change without anybody's doing.
pub(super) const NO_WORK: [&str; 3] = ["modified_utc", "modified_at", "app_version"];
/// The table in which the bytes of embedded files are.
const PIECES: &str = "blob_chunk";
/// Samples that are told by name.
const TOLD: usize = 12;

/// What one database has, or has otherwise, and another has not.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Beyond {
    /// Samples that the other has not, with all that is in them.
    pub added: Vec<SampleChange>,
    /// Samples that differ.
    pub edited: Vec<SampleChange>,
    /// Samples that the other has, and that were removed here.
    pub removed: Vec<SampleName>,
    /// Keys of `meta` that differ, without those that change by themselves.
    pub meta: Vec<String>,
    /// Other tables whose rows differ.
    pub tables: Vec<String>,
}

impl Beyond {
    /// What `database` holds beyond `saved`; all of it where nothing was saved.
    pub fn of(database: &Arc<Database>, saved: Option<&Arc<Database>>) -> Result<Beyond> {
        let Some(saved) = saved else {
            let samples = named(database)?;
            let added = samples.iter().map(|(name, sample)| new(database, name, sample.id));
            return Ok(Beyond { added: added.collect::<Result<_>>()?, ..Beyond::default() });
        };
        let difference = compare_work(saved, database)?;
        let added = difference.added.iter().map(of);
        Ok(Beyond {
            added: added.collect(),
            edited: difference.edited,
            removed: difference.removed.into_iter().map(|told| told.sample).collect(),
            meta: difference.meta.into_iter().filter(|key| !NO_WORK.contains(&key.as_str())).collect(),
            tables: difference.tables.into_keys().collect(),
        })
    }

    /// Whether there is nothing of the kind.
    pub fn is_empty(&self) -> bool {
        *self == Beyond::default()
    }

    /// The more, the further apart the two are: samples that one of them has alone, and then each thing that differs. The
    /// state from which a database was begun is nearer than one that was saved since.
    pub fn distance(&self) -> (usize, u64) {
        let edits = |change: &SampleChange| {
            let SampleChange { fields, trace_differs, events, .. } = change;
            fields.len() as u64 + u64::from(*trace_differs) + events.added + events.edited + events.removed
        };
        let others = (self.meta.len() + self.tables.len()) as u64;
        let differs = self.edited.iter().map(edits).fold(others, u64::saturating_add);
        (self.added.len() + self.removed.len(), differs)
    }

    /// What was done to samples that both have, and to the project itself, in words: what counts of rows do not tell, and
    /// what is not only missing.
    pub fn words_of_changes(&self) -> String {
        let mut words = Vec::new();
        for SampleChange { sample, fields, trace_differs, trace_rows, events } in &self.edited {
            let mut changes = Vec::new();
            if *trace_differs && trace_rows.before == trace_rows.after {
                changes.push("other values in the trace".to_string());
            }
            for (n, how) in [(events.added, "new"), (events.edited, "edited")].iter().filter(|(n, _)| *n > 0)
            {
                changes.push(many(*n, &format!("{how} event")));
            }
            if !fields.is_empty() {
                changes.push(format!("other {}", fields.join(", ")));
            }
            if !changes.is_empty() {
                words.push(format!("{} of {}/{}", changes.join(", "), sample.experiment, sample.name));
            }
        }
        self.end_samples(&mut words);
        words.join("; ")
    }

    /// Leaves out samples that are too many to be named, and adds what is of the project itself.
    fn end_samples(&self, words: &mut Vec<String>) {
        let more = words.len().saturating_sub(TOLD);
        words.truncate(TOLD);
        if more > 0 {
            words.push(format!("and {}", many(more as u64, "more sample")));
        }
        if !self.meta.is_empty() {
            words.push(format!("of the project, other {}", self.meta.join(", ")));
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        let name = |sample: &SampleName| {
            let twin = if sample.twin > 1 { format!("~{}", sample.twin) } else { String::new() };
            format!("{}/{}{twin}", sample.experiment, sample.name)
        };
        let new = self.added.iter().map(|change| {
            format!(
                "the new sample {} with {} and {}",
                name(&change.sample),
                many(change.trace_rows.after, "trace row"),
                many(change.events.added, "event")
            )
        });
        words.extend(new);
        words.extend(
            self.edited.iter().map(|change| format!("{} of {}", edits(change), name(&change.sample))),
        );
        words.extend(self.removed.iter().map(|sample| format!("without the sample {}", name(sample))));
        self.end_samples(&mut words);
        let (pieces, rows): (Vec<&str>, Vec<&str>) =
            self.tables.iter().map(String::as_str).partition(|table| *table == PIECES);
        if !pieces.is_empty() {
            words.push("other bytes of embedded files".into());
        }
        if !rows.is_empty() {
            words.push(format!("other rows of {}", rows.join(", ")));
        }
        words.join("; ")
    }
}

fn many(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What was done to a sample.
fn edits(change: &SampleChange) -> String {
    let SampleChange { fields, trace_rows: Counts { before, after }, trace_differs, events, .. } = change;
    let mut words = Vec::new();
    match after.cmp(before) {
        std::cmp::Ordering::Greater => words.push(many(after - before, "more trace row")),
        std::cmp::Ordering::Less => words.push(many(before - after, "fewer trace row")),
        std::cmp::Ordering::Equal if *trace_differs => words.push("other values in the trace".into()),
        std::cmp::Ordering::Equal => {}
    }
    for (n, how) in [(events.added, "new"), (events.edited, "edited"), (events.removed, "removed")] {
        if n > 0 {
            words.push(many(n, &format!("{how} event")));
        }
    }
    if !fields.is_empty() {
        words.push(format!("other {}", fields.join(", ")));
    }
    words.join(", ")
}

/// A sample with all that is in it.
fn new(database: &Arc<Database>, name: &SampleName, id: i64) -> Result<SampleChange> {
    let (trace_rows, events) = (rows(&database.trace(id)?)?, rows(&database.events(id)?)?);
    Ok(of(&SampleTold { sample: name.clone(), trace_rows, events }))
}

fn of(told: &SampleTold) -> SampleChange {
    let trace_rows = Counts { before: 0, after: told.trace_rows };
    let events = EventChange { added: told.events, ..EventChange::default() };
    SampleChange { sample: told.sample.clone(), trace_rows, events, ..SampleChange::default() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::project;
    use super::*;

    const SAVED: &str = r#"
        insert into meta values('project_name', 'p'), ('modified_utc', '1');
        insert into dataset values(1, 'a', '{"experiment": "WT"}'), (2, 'b', null);
        insert into trace values(1, 0, 0, 1.5, 37), (1, 1, 1000000, 2.5, 37), (2, 0, 0, 3.5, 37);
        insert into event(dataset_id, t_seconds, label) values (1, 1, 'x'), (2, 1, 'y');"#;

    #[test]
    fn what_only_one_has_is_told_with_its_counts() {
        let saved = project(SAVED);
        let staged = project(&format!(
            r#"{SAVED}
            update meta set value = '2' where key = 'modified_utc';
            insert into dataset values(7, 'c', '{{"experiment": "KO"}}');
            insert into trace values(7, 0, 0, 1, 1), (7, 1, 1, 1, 1), (7, 2, 2, 1, 1), (1, 2, 2000000, 9, 37);
            insert into event(dataset_id, t_seconds, label) values (7, 1, 'z'), (1, 9, 'w'), (1, 9.5, 'w');
            delete from dataset where id = 2; delete from trace where dataset_id = 2; delete from event where dataset_id = 2;"#
        ));
        let beyond = Beyond::of(&staged, Some(&saved)).unwrap();
        let counts = |changes: &[SampleChange]| -> Vec<(String, u64, u64)> {
            let one = |c: &SampleChange| (c.sample.name.clone(), c.trace_rows.after, c.events.added);
            changes.iter().map(one).collect()
        };
        assert_eq!(counts(&beyond.added), [("c".into(), 3, 1)]);
        assert_eq!(counts(&beyond.edited), [("a".into(), 3, 2)]);
        assert_eq!(beyond.removed[0].name, "b");
        assert_eq!(
            beyond.words(),
            "the new sample KO/c with 3 trace rows and 1 event; 1 more trace row, 2 new events of WT/a; \
             without the sample Default/b"
        );
        assert!(Beyond::of(&saved, Some(&saved)).unwrap().is_empty());
        // What a recovery has set apart is nobody's work.
        let apart = "create table lost_and_found(id); insert into lost_and_found values(1);";
        let apart = project(&format!("{SAVED}{apart}"));
        assert!(Beyond::of(&apart, Some(&saved)).unwrap().is_empty());
        let all = Beyond::of(&saved, None).unwrap();
        assert_eq!(counts(&all.added), [("b".into(), 1, 1), ("a".into(), 2, 1)]);
    }

    #[test]
    fn work_that_is_in_no_sample_is_work() {
        let base = format!(
            "{SAVED} insert into asset(id, kind, sha256) values(1, 'k', 'bb');
            insert into ref values(1, 1, 'attachment:0', null);
            insert into blob_chunk values(1, 0, x'00'), (1, 1, x'01');"
        );
        let saved = project(&base);
        assert!(Beyond::of(&project(&base), Some(&saved)).unwrap().is_empty());
        let sample = "insert into dataset values(9, 'new', null);";
        for (sql, words) in [
            (
                "insert into asset(id, sha256) values(2, 'aa'); insert into blob_chunk values(2, 0, x'00')",
                "other bytes of embedded files; other rows of asset",
            ),
            ("insert into trace(dataset_id, t_seconds) values('foo', 1)", "other rows of trace"),
            ("insert into event(dataset_id, t_seconds) values('foo', 1)", "other rows of event"),
            ("insert into result(dataset_id, kind) values('foo', 'k')", "other rows of result"),
            ("update blob_chunk set data = x'ff' where seq = 1", "other bytes of embedded files"),
            ("delete from blob_chunk where seq = 1", "other bytes of embedded files"),
            ("delete from blob_chunk", "other bytes of embedded files"),
            ("update asset set mime = 'image/tiff'", "other rows of asset"),
        ] {
            let staged = project(&format!("{base}{sql};"));
            assert_eq!(Beyond::of(&staged, Some(&saved)).unwrap().words(), words, "{sql}");
            assert!(!Beyond::of(&saved, Some(&staged)).unwrap().is_empty(), "{sql}");
            // Beside a new sample as well, but for what an asset is said to be.
            let staged = project(&format!("{base}{sql}; {sample}"));
            let told = Beyond::of(&staged, Some(&saved)).unwrap();
            assert!(sql.contains("mime") || !told.tables.is_empty(), "{sql}");
        }
        // A new sample with its file is told as a sample alone.
        let file =
            "insert into asset(id, sha256) values(2, 'aa'); insert into blob_chunk values(2, 0, x'00');
            insert into ref values(2, 9, 'tiff', null);";
        let told = Beyond::of(&project(&format!("{base}{sample}{file}")), Some(&saved)).unwrap();
        assert!(told.tables.is_empty() && told.added.len() == 1, "{}", told.words());
    }
}
