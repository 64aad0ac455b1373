//! The next snapshot of a bundle, made from a recovery.
//!
//! The snapshot is published first, under a number above all others, conflict copies included, and a name that overwrites
//! nothing; that is the commit. Then `HEAD.json` is replaced in one step. Both of the application's locks are held
//! meanwhile.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::candidate::Judged;
use super::places;
use super::recovery::mode_of;
use super::report::Report;
use crate::error::{Error, Result};
use crate::signs::{self, names};
use crate::store::{Draft, Location, replace};
use crate::tree::Time;

/// Publishes what `taken` holds as the next snapshot of `bundle`.
pub fn publish(bundle: &Path, taken: &Judged) -> Result<(PathBuf, Option<Report>)> {
    let held = signs::hold(&Location::find(bundle)?)?;
    let before = places::head_text(bundle)?;
    let folder = places::snapshots_folder(bundle)?;
    let refuse = |e: std::io::Error| Error::Refused(format!("cannot write into {}: {e}", folder.display()));
    let draft = Draft::begin(&folder).map_err(refuse)?;
    let report = taken.write(draft.path())?;
    held.refresh()?;
    let next = places::snapshots(bundle).first().map_or(0, |(named, _)| named.number.0) + 1;
    let names = (next..next + 1000).map(|n| names::usual(n).into());
    let path = draft.publish(names, mode_of(&taken.path)).map_err(refuse)?;
    if places::head_text(bundle)? != before {
        return Err(Error::SourceChanged(bundle.join("HEAD.json")));
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
