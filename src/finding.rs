//! What is worth telling about a project: damage, contradictions, and choices that were made for the reader.
//!
//! A finding never stops anything by itself. It is logged once, when it is first made, and is listed by
//! `vaso info` and `vaso verify`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::error::Error;

/// The name under which findings are logged.
pub const LOG: &str = "vaso::finding";

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Data is lost or cannot be read.
    Error,
    /// Something contradicts itself; the bytes that are shown are right.
    Warning,
    /// Worth knowing, and no reason to act.
    Notice,
}

/// One observation about a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A short stable word for scripts, as `crc-mismatch`.
    pub code: &'static str,
    /// The path in the project that it concerns; empty for the project as a whole.
    pub path: String,
    /// What was seen.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// A finding about `path`, which may be empty.
    pub fn new(
        severity: Severity,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { severity, code, path: path.into(), message: message.into(), remedy: remedy.into() }
    }

    fn log(&self) {
        let level = match self.severity {
            Severity::Error => log::Level::Error,
            Severity::Warning => log::Level::Warn,
            Severity::Notice => log::Level::Info,
        };
        let about = if self.path.is_empty() { "the project" } else { &self.path };
        log::log!(target: LOG, level, "{about}: {} ({})", self.message, self.code);
    }

    /// The finding that an error is about one entry; `None` for an error that is not about damage.
    pub fn of_damage(error: &Error) -> Option<Finding> {
        let Error::Damaged { code, entry, what } = error else { return None };
        Some(Finding::new(Severity::Error, code, entry, what, remedy(code)))
    }
}

/// What to do about an embedded file that is damaged.
pub const ELSEWHERE: &str = "take the file from an older snapshot, or from where it came";

/// What to do where the system does not read.
pub const UNREADABLE: &str = "make it readable (permissions, disk, download)";

/// What to do about damage, as far as its code says.
fn remedy(code: &str) -> &'static str {
    match code {
        "database-damaged" | "rows-differ" | "rows-out-of-order" | "page-missing" | "truncated" => {
            "`vaso recover` saves what is left; everything else in the project is readable"
        }
        "piece-missing" | "asset-missing" | "asset-missing-piece" | "asset-size" => ELSEWHERE,
        "index-contradicts" => {
            "mount again: it is decoded from its front then; restore nothing, unless this comes back"
        }
        _ => "restore this entry from a backup; everything else in the project is readable",
    }
}

/// How a finding reads elsewhere.
type Retell = fn(Finding) -> Finding;

/// The findings of one project so far. A repeated one is neither kept nor logged again, and after
/// [`Findings::LIMIT`] they are only counted: a hostile package must not fill the memory with complaints.
#[derive(Debug, Default)]
pub struct Findings {
    inner: Mutex<Inner>,
    /// Where all of it goes instead, in other words.
    to: Option<(Arc<Findings>, Retell)>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each with the place at which it came.
    list: BTreeMap<Finding, usize>,
    more: u64,
}

impl Findings {
    /// How many are kept.
    pub const LIMIT: usize = 10_000;

    /// For somebody who knows less of what is found than others do: what is told here goes to `findings`, as `retell`
    /// has it.
    pub fn retold(findings: Arc<Findings>, retell: fn(Finding) -> Finding) -> Findings {
        Findings { inner: Mutex::default(), to: Some((findings, retell)) }
    }

    /// Keeps a finding, and logs it if it is new. Nobody who looks for findings waits for the log.
    pub fn add(&self, finding: Finding) {
        if let Some((to, retell)) = &self.to {
            return to.add(retell(finding));
        }
        let mut inner = self.inner.lock();
        if inner.list.contains_key(&finding) {
            return;
        }
        let before = inner.list.len();
        if before >= Self::LIMIT {
            inner.more += 1;
            return;
        }
        // The first hundred go to the log one by one; a reader of the log needs no more to know what to run.
        let told = (before < 100).then(|| finding.clone());
        inner.list.insert(finding, before);
        drop(inner);
        match told {
            Some(finding) => finding.log(),
            None if before == 100 => {
                log::warn!(target: LOG, "more findings follow; `vaso verify` lists up to {}", Self::LIMIT);
            }
            None => {}
        }
    }

    /// Keeps why somebody was refused at `path`, unless whoever has found it has told already. What the system says of
    /// the disk is told too; that a source has changed is no fault of it.
    pub fn refused(&self, path: &str, why: &Error) {
        let (code, entry, what, remedy) = match why {
            Error::Damaged { code, entry, what } => (*code, entry.as_str(), what.clone(), remedy(code)),
            Error::Io { .. } => ("unreadable", "", why.to_string(), UNREADABLE),
            _ => return,
        };
        // An entry with a directory is a path, if not of this mount; else it is the name of a whole database.
        let told = |known: &Finding| known.path == path || known.path == entry && entry.contains('/');
        let is_told = {
            let inner = self.inner.lock();
            inner.list.keys().take_while(|known| known.severity == Severity::Error).any(told)
        };
        if !is_told {
            let what = if entry.is_empty() || entry == path { what } else { format!("{entry}: {what}") };
            self.add(Finding::new(Severity::Error, code, path, what, remedy));
        }
    }

    /// All that are kept, the gravest first, each with a stable place.
    pub fn list(&self) -> Vec<Finding> {
        let inner = self.inner.lock();
        let mut list: Vec<Finding> = inner.list.keys().cloned().collect();
        if inner.more > 0 {
            list.push(Finding::new(
                Severity::Notice,
                "more-findings",
                "",
                format!("{} more findings are not listed", inner.more),
                "mend the ones above first",
            ));
        }
        list
    }

    /// Those that are kept in the order in which they came: what was told once keeps its place.
    pub fn as_they_came(&self) -> Vec<Finding> {
        let inner = self.inner.lock();
        let mut list: Vec<(usize, &Finding)> =
            inner.list.iter().map(|(finding, place)| (*place, finding)).collect();
        list.sort_unstable_by_key(|(place, _)| *place);
        list.into_iter().map(|(_, finding)| finding.clone()).collect()
    }

    /// How many there are of each kind: errors, warnings and notices.
    pub fn counts(&self) -> [u64; 3] {
        let inner = self.inner.lock();
        let mut counts = [0; 3];
        inner.list.keys().for_each(|finding| counts[finding.severity as usize] += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FINDINGS: std::sync::LazyLock<Findings> = std::sync::LazyLock::new(Findings::default);
    /// What the log was told while findings could be looked at, and were kept already.
    static TOLD: Mutex<Vec<(String, bool)>> = Mutex::new(Vec::new());

    struct Log;

    impl log::Log for Log {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            if record.target() == LOG && record.args().to_string().starts_with("slow log") {
                let kept = FINDINGS.inner.try_lock().is_some_and(|inner| inner.list.len() == 1);
                TOLD.lock().push((record.args().to_string(), kept));
            }
        }

        fn flush(&self) {}
    }

    #[test]
    fn nobody_waits_for_the_log() {
        log::set_logger(&Log).expect("no other test logs");
        log::set_max_level(log::LevelFilter::Info);
        let finding = Finding::new(Severity::Notice, "slow-log", "slow log", "told once", "none");
        (0..2).for_each(|_| FINDINGS.add(finding.clone()));
        log::set_max_level(log::LevelFilter::Off);
        assert_eq!(*TOLD.lock(), [("slow log: told once (slow-log)".to_string(), true)]);
    }
}
