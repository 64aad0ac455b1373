//! A database that is a project by itself, with what SQLite has left beside it.
//!
//! It is shown as SQLite would see it: a hot journal rolled back, a log applied. It mounts however damaged it is, for
//! its bytes are worth having; where its first page is gone, the log beside it may have a good one.

use std::path::Path;
use std::sync::Arc;

use super::choose::Snapshot;
use super::files::{self, Files};
use super::stock::Stock;
use super::{Bundle, Container, OpenOptions};
use crate::database::{self, Joint, LogDamage};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::store::Source;
use crate::tree::Content;

/// What lies beside a database, by the end of its name.
type Logs = Vec<(&'static str, Arc<Source>)>;

/// Opens a database that is a project by itself, with what lies beside it.
pub fn open_legacy(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let findings = options.findings.clone().unwrap_or_default();
    let logs = logs(&source)?;
    let whole = applied(&source, &logs, &findings)?;
    assemble(source, options, logs, whole, findings)
}

/// Opens a file that is none of ours by its first bytes, if what lies beside it makes it a database; `why` is what was
/// said of it otherwise.
pub fn open_headless(source: Arc<Source>, options: OpenOptions, why: String) -> Result<Arc<dyn Container>> {
    let findings = options.findings.clone().unwrap_or_default();
    let logs = logs(&source)?;
    let refused = |more: &str| Err(Error::not_a_project(source.path(), format!("{why}{more}")));
    if logs.is_empty() {
        return match source.size() >= 512 && source.size().is_multiple_of(512) {
            true => refused("; if it was a database, `vaso recover` looks for what is left of it"),
            false => refused(""),
        };
    }
    let whole = applied(&source, &logs, &findings)?;
    if let Err(why) = database::glance(&whole, &name(&source)) {
        return match why {
            changed @ (Error::SourceChanged(_) | Error::Io { .. }) => Err(changed),
            _ => refused(
                "; but what SQLite keeps beside a database lies beside it: `vaso recover` looks for what is left of both",
            ),
        };
    }
    findings.add(Finding::new(
        Severity::Error,
        "first-page-damaged",
        name(&source),
        "the first page of the database is damaged; a good one is in the log beside it, and is shown",
        "keep the two files together, and make a copy of what current.sqlite shows",
    ));
    assemble(source, options, logs, whole, findings)
}

fn name(source: &Source) -> String {
    files::shown(source.path().file_name().unwrap_or_default().as_encoded_bytes())
}

fn assemble(
    source: Arc<Source>,
    options: OpenOptions,
    logs: Logs,
    whole: Content,
    findings: Arc<Findings>,
) -> Result<Arc<dyn Container>> {
    let files = Files::of_sources(source.clone(), logs.into_iter().map(|(_, source)| source));
    Bundle::assemble(source, "legacy", None, files, Some(whole), options, findings)
}

/// What lies beside a database. A journal is older than a log, and is rolled back before that is applied.
fn logs(source: &Source) -> Result<Logs> {
    let mut logs = Vec::new();
    for log in ["-journal", "-wal"] {
        let location = Arc::new(source.location().beside(log)?);
        if location.stamp()?.is_some_and(|stamp| stamp.size > 0 && stamp.is_file()) {
            logs.push((log, Source::open(location)?));
        }
    }
    Ok(logs)
}

/// The database with what lies beside it.
fn applied(source: &Arc<Source>, logs: &Logs, findings: &Findings) -> Result<Content> {
    let mut whole = Content::Range(source.clone(), 0..source.size());
    for (log, beside) in logs {
        let log_content = Content::Range(beside.clone(), 0..beside.size());
        let applied = match *log {
            "-wal" => database::with_wal(whole.clone(), log_content),
            _ => rolled_back(whole.clone(), log_content, source.path(), findings),
        };
        match applied {
            Ok((applied, damage)) => {
                damage.iter().for_each(|damage| findings.add(damaged_log(beside, damage)));
                whole = applied;
            }
            Err(changed @ Error::SourceChanged(_)) => return Err(changed),
            Err(why) => findings.add(Finding::new(
                Severity::Error,
                "log-unusable",
                files::shown(beside.path().as_os_str().as_encoded_bytes()),
                format!("what it holds cannot be applied to the database: {why}"),
                "`vaso recover` sees what is left",
            )),
        }
    }
    Ok(whole)
}

/// That a log or a journal cannot be used in whole.
fn damaged_log(log: &Source, damage: &LogDamage) -> Finding {
    Finding::new(
        Severity::Error,
        damage.code(),
        files::shown(log.path().as_os_str().as_encoded_bytes()),
        format!("of the database, {}", damage.words()),
        "keep both files as they are, and look for another copy of this one; `vaso recover` saves what can be read",
    )
}

/// What is to be told of the log, or of the journal, at `path` beside the database `main`, and what to do about it.
pub fn of_log(main: &Path, files: &Files, path: &str) -> (&'static str, &'static str) {
    let is_journal = path.ends_with("-journal");
    let suffix = if is_journal { "-journal" } else { "-wal" };
    let content = files.list.iter().skip(1).find(|file| file.path.ends_with(suffix.as_bytes()));
    let content = content.and_then(|file| files.open(file).ok());
    if is_journal {
        return match content.and_then(|content| database::is_hot(&content, main).ok()).flatten() {
            Some(true) => (
                "SQLite's journal of a change that was not finished, of which the file of the database may hold a half; \
                 what is in the journal is older, and is shown in place of that",
                "keep the two files together: SQLite puts back what was when a program opens the database",
            ),
            Some(false) => (
                "SQLite's journal of a change that was finished, as far as can be told; nothing of it is shown",
                "no reason to act: SQLite does the same",
            ),
            None => (
                "SQLite's journal of a change, which cannot be read; the file of the database may hold a half of that",
                "keep the two files together, and look for another copy of both",
            ),
        };
    }
    match content.and_then(|content| database::log_damage(&content).ok()) {
        Some(None) => (
            "what SQLite keeps beside the database; the newest changes may lie in it, and are shown",
            "no reason to act: keep the two files together",
        ),
        Some(Some(_)) => (
            "what SQLite keeps beside the database; the newest changes may lie in it, and not all of them are shown: \
             it is damaged",
            "keep the two files together, and look for another copy of the log",
        ),
        None => (
            "what SQLite keeps beside the database; the newest changes may lie in it, and nothing of it is shown",
            "keep the two files together, and look for another copy of the log",
        ),
    }
}

/// The database at `path` with its journal rolled back, if that is hot.
fn rolled_back(
    base: Content,
    journal: Content,
    path: &Path,
    findings: &Findings,
) -> Result<(Content, Option<LogDamage>)> {
    let Some(Joint { super_journal, beside }) = database::joint(&journal, path)? else {
        return database::with_journal(base, journal);
    };
    let name = super_journal.display();
    let (severity, code, more, remedy) = match beside {
        false => (Severity::Notice, "journal-committed", "", "no reason to act: SQLite does the same"),
        true => (
            Severity::Warning,
            "super-journal-moved",
            "; but a file of that name lies beside: if both were moved here, the transaction was not finished",
            "where that is so, move all its files back to where they were, and open the project there",
        ),
    };
    let what = format!(
        "its journal belongs to a transaction over several databases, and {name} is not there any more, so that it \
         was committed and is not rolled back{more}"
    );
    findings.add(Finding::new(
        severity,
        code,
        files::shown(path.as_os_str().as_encoded_bytes()),
        what,
        remedy,
    ));
    Ok((base, None))
}

/// Whether there is anything to make a view of in the one database of a project. Its bytes are shown in any case.
pub fn is_readable(stock: &Stock, snapshot: &Snapshot) -> bool {
    let looked =
        stock.content(&snapshot.file).and_then(|content| database::glance(&content, &snapshot.name()));
    if let Err(why) = &looked {
        stock.findings.add(damaged(snapshot, why, "current.sqlite shows what is there, without browse"));
    }
    looked.is_ok()
}

/// That the one database of a project is damaged.
pub fn damaged(snapshot: &Snapshot, why: &Error, shown: &str) -> Finding {
    let what = match why {
        Error::Damaged { what, .. } | Error::Unsupported { what, .. } => what.clone(),
        other => other.to_string(),
    };
    let remedy = "`vaso recover` saves what is left";
    Finding::new(
        Severity::Error,
        "database-damaged",
        files::shown(&snapshot.file.path),
        format!("{what}; {shown}"),
        remedy,
    )
}
