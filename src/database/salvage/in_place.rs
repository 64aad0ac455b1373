//! The next snapshot of a bundle, made from a recovery.
//!
//! The snapshot is published first, under a number above all others, conflict copies included, and a name that overwrites
//! nothing; that is the commit. Then `HEAD.json` is replaced in one step. Both of the application's locks are held
//! meanwhile.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::candidate::Judged;
use super::places;
use super::recovery::mode_of;
use super::report::Report;
use crate::error::{Error, Result};
use crate::store::{Draft, replace};
use crate::tree::Time;

/// How long the application respects a lock that nobody refreshes.
const STALE: Duration = Duration::from_secs(3600);

/// Publishes what `taken` holds as the next snapshot of `bundle`.
pub fn publish(bundle: &Path, taken: &Judged) -> Result<(PathBuf, Option<Report>)> {
    let _inner = Lock::take(&bundle.join(".lock"), |pid, time| {
        json!({ "pid": pid, "timestamp": time, "hostname": hostname() }).to_string()
    })?;
    let _outer = Lock::take(&places::with(bundle, ".lock"), |pid, time| format!("{pid}\n{}\n", time as u64))?;
    let head = bundle.join("HEAD.json");
    let before = fs::read(&head).ok();
    let folder = bundle.join("snapshots");
    let refuse = |e: std::io::Error| Error::Refused(format!("cannot write into {}: {e}", folder.display()));
    let draft = Draft::begin(&folder).map_err(refuse)?;
    let report = taken.write(draft.path())?;
    let next = places::snapshots(bundle).first().map_or(0, |s| s.0) + 1;
    let names = (next..next + 1000).map(|n| format!("{n:06}.sqlite").into());
    let path = draft.publish(names, mode_of(&taken.path)).map_err(refuse)?;
    if fs::read(&head).ok() != before {
        return Err(Error::SourceChanged(head));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = new_head(before.as_deref(), &name, taken.snapshot);
    replace(bundle, OsStr::new("HEAD.json"), text.as_bytes())
        .map_err(|e| Error::Refused(format!("{name} was made, but HEAD.json cannot be replaced: {e}")))?;
    Ok((path, report))
}

/// `HEAD.json` with its unknown keys kept.
fn new_head(before: Option<&[u8]>, current: &str, from: Option<u64>) -> String {
    let old: Option<Map<String, Value>> = before.and_then(|b| serde_json::from_slice(b).ok());
    let mut head = old.unwrap_or_default();
    let previous = head.get("current").cloned().unwrap_or(Value::Null);
    let now = SystemTime::now();
    let values = [
        ("current", json!(current)),
        ("previous", previous),
        ("updated_utc", json!(Time::from(now).utc())),
        ("timestamp", json!(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())),
        ("write_in_progress", json!(false)),
        ("recovered", json!(true)),
        ("recovered_from", json!(from)),
    ];
    for (key, value) in values {
        head.insert(key.to_string(), value);
    }
    serde_json::to_string_pretty(&head).unwrap_or_default()
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string()
}

/// One of the application's locks, held.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path, text: impl Fn(u32, f64) -> String) -> Result<Lock> {
        let age = |m: fs::Metadata| m.modified().ok().and_then(|t| t.elapsed().ok());
        if fs::symlink_metadata(path).is_ok_and(|m| age(m).is_some_and(|age| age > STALE)) {
            fs::remove_file(path).map_err(|e| Error::io("remove the stale lock", path, e))?;
        }
        let make = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file: File = make.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                let what =
                    "the project is in use (or was, within the last hour); close it in the application";
                Error::Busy(format!("{}: {what}", path.display()))
            }
            _ => Error::Refused(format!("cannot make the lock {}: {e}", path.display())),
        })?;
        let lock = Lock(path.to_path_buf());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = text(std::process::id(), now.as_secs_f64());
        file.write_all(text.as_bytes()).map_err(|e| Error::io("write the lock", path, e))?;
        Ok(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that cannot be removed goes stale by itself.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_application_does() {
        // As `date -u -d @N +%FT%TZ` says.
        let utc = |seconds| Time { seconds, nanos: 0 }.utc();
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_225_479), "2026-11-21T01:44:39Z");
    }

    #[test]
    fn unknown_keys_of_head_stay() {
        let head = new_head(Some(br#"{"current": "000003.sqlite", "mine": 7}"#), "000004.sqlite", Some(2));
        let head: Value = serde_json::from_str(&head).unwrap();
        assert_eq!((&head["previous"], &head["mine"]), (&json!("000003.sqlite"), &json!(7)));
        assert_eq!((&head["recovered"], &head["recovered_from"]), (&json!(true), &json!(2)));
    }
}
