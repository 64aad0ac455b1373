//! The snapshots of a bundle as its history.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::choose::Snapshot;
use super::{Bundle, prune};
use crate::database::{self, Counts, Difference, SampleName, SampleTold};
use crate::error::{Error, Result};
use crate::format::history::{Changes, Extract, Pruned, Rows, State, Versions};

impl Bundle {
    /// What stands for a number: the first file of it that is valid through and through, or the first with what is
    /// wrong with it.
    fn standing(&self, number: u64) -> Result<(&Snapshot, Result<()>)> {
        let mut first = None;
        for snapshot in self.candidates.of_number(number) {
            match self.stock.check(snapshot) {
                Err(changed @ Error::SourceChanged(_)) => return Err(changed),
                Ok(()) => return Ok((snapshot, Ok(()))),
                Err(why) => drop(first.get_or_insert((snapshot, Err(why)))),
            }
        }
        first.ok_or_else(|| {
            Error::Refused(format!("there is no snapshot {number} in it; `vaso log` lists them"))
        })
    }

    fn numbered(&self, number: u64) -> Result<&Snapshot> {
        match self.standing(number)? {
            (snapshot, Ok(())) => Ok(snapshot),
            (_, Err(why @ Error::Io { .. })) => Err(why),
            (snapshot, Err(why)) => {
                Err(Error::Refused(format!("{} is not valid: {}", snapshot.name(), what(&why))))
            }
        }
    }

    /// The permissions of a copy of a snapshot.
    fn mode_of_copy(&self, snapshot: &Snapshot) -> u32 {
        let project = self.source.path();
        crate::store::mode_of_copy(project, &project.join(OsStr::from_bytes(&snapshot.file.path)))
    }

    fn is_current(&self, snapshot: &Snapshot) -> bool {
        self.chosen().is_ok_and(|chosen| chosen.file.path == snapshot.file.path)
    }

    /// The newest valid snapshot before a number.
    fn before(&self, number: u64) -> Option<&Snapshot> {
        let older = self.candidates.numbers().rev().filter(|older| *older < number);
        older.filter_map(|older| self.standing(older).ok()).find_map(|(s, verdict)| verdict.ok().map(|()| s))
    }
}

/// What is wrong, without saying again with what.
fn what(why: &Error) -> String {
    match why {
        Error::Damaged { what, .. } | Error::Unsupported { what, .. } => what.clone(),
        other => other.to_string(),
    }
}

impl Versions for Bundle {
    fn log(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<State>> {
        let all = self.candidates.all().map(|snapshot| snapshot.file.size).sum();
        let (mut done, mut states, mut before) = (0, Vec::new(), None);
        for number in self.candidates.numbers() {
            let (snapshot, verdict) = self.standing(number)?;
            let (mut changed, mut schema_version, mut definitions) = (None, None, BTreeMap::new());
            if verdict.is_ok() {
                let database = self.stock.database(snapshot)?;
                if let Some(before) = &before {
                    let tables = database::changed_tables(before, &database)?;
                    let rows = |(table, Counts { before, after })| (table, Rows { before, after });
                    changed = Some(tables.into_iter().map(rows).collect());
                    schema_version = database::Versions::of(before, &database);
                    definitions = database::changed_definitions(before, &database)?;
                }
                before = Some(database);
            }
            states.push(State {
                number,
                name: snapshot.name(),
                time: snapshot.time().utc(),
                size: snapshot.file.size,
                valid: verdict.is_ok(),
                problem: verdict.err().map(|why| what(&why)),
                current: self.is_current(snapshot),
                changed,
                schema_version,
                definitions,
            });
            done += snapshot.file.size;
            progress(done, all);
        }
        Ok(states)
    }

    fn diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Changes> {
        let to = match to {
            Some(number) => self.numbered(number)?,
            None => self.chosen()?,
        };
        let number = to.number.ok_or_else(|| Error::Refused("the project keeps no history".into()))?;
        let from = match from {
            Some(number) => self.numbered(number)?,
            None => self.before(number).ok_or_else(|| {
                Error::Refused(format!("there is no valid snapshot before {number} to compare it with"))
            })?,
        };
        let difference = database::compare(&self.stock.database(from)?, &self.stock.database(to)?)?;
        Ok(Changes {
            from: from.number.unwrap_or(0),
            to: number,
            lines: lines(&difference),
            changes: serde_json::to_value(&difference).map_err(|e| Error::Refused(e.to_string()))?,
        })
    }

    fn extract(&self, number: u64) -> Result<Extract> {
        let (snapshot, verdict) = self.standing(number)?;
        Ok(Extract {
            name: snapshot.name(),
            content: self.stock.files.open(&snapshot.file)?,
            crc32: self.stock.files.crc32(&snapshot.file),
            time: snapshot.time().into(),
            mode: self.mode_of_copy(snapshot),
            problem: verdict.err().map(|why| what(&why)),
        })
    }

    fn prune(&self, keep: usize, dry_run: bool) -> Result<Pruned> {
        prune::prune(self, keep, dry_run)
    }
}

/// The changes for people.
fn lines(difference: &Difference) -> Vec<String> {
    let name = |sample: &SampleName| {
        let twin =
            if sample.twin > 1 { format!(" (the {}. of this name)", sample.twin) } else { String::new() };
        format!("{}/{}{twin}", sample.experiment, sample.name)
    };
    let mut lines: Vec<String> = Vec::new();
    let alone = |how: &str, told: &SampleTold| {
        let SampleTold { sample, trace_rows, events } = told;
        format!("sample {how:<8} {}: {trace_rows} trace rows, {events} events", name(sample))
    };
    lines.extend(difference.added.iter().map(|told| alone("added", told)));
    lines.extend(difference.removed.iter().map(|told| alone("removed", told)));
    for change in &difference.edited {
        let mut what = Vec::new();
        let events = &change.events;
        for (count, how) in [(events.added, "added"), (events.removed, "removed"), (events.edited, "edited")]
        {
            if count > 0 {
                what.push(format!("{count} event{} {how}", if count == 1 { "" } else { "s" }));
            }
        }
        let Counts { before, after } = change.trace_rows;
        match (before == after, change.trace_differs) {
            (false, _) => what.push(format!("trace rows {before} -> {after}")),
            (true, true) => what.push("values of the trace changed".into()),
            (true, false) => {}
        }
        if !change.fields.is_empty() {
            what.push(change.fields.join(", "));
        }
        lines.push(format!("sample edited   {}: {}", name(&change.sample), what.join("; ")));
    }
    for (table, Counts { before, after }) in &difference.tables {
        let how = if before == after { "edited".into() } else { format!("rows {before} -> {after}") };
        lines.push(format!("table           {table}: {how}"));
    }
    if !difference.meta.is_empty() {
        lines.push(format!("project         {}", difference.meta.join(", ")));
    }
    for (what, how) in &difference.definitions {
        lines.push(format!("definition      {what}: {}", how.word()));
    }
    if let Some(versions) = &difference.schema_version {
        lines.push(format!("schema version  {} -> {}", versions.before, versions.after));
    }
    lines
}
