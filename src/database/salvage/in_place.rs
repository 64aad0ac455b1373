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
use super::disk;
use super::places;
use super::report::Report;
use crate::database::json::{Entry, entries};
use crate::error::{Error, Result};
use crate::signs::{self, names};
use crate::store::{Draft, ItemKind, Location, drafted_by, mode_of_copy, replace};
use crate::tree::Time;

/// Publishes what `taken` holds as the next snapshot of `bundle`.
pub fn publish(bundle: &Path, taken: &Judged) -> Result<(PathBuf, Option<Report>)> {
    let held = signs::hold(&Location::find(bundle)?)?;
    let before = places::head_text(bundle)?;
    let folder = places::snapshots_folder(bundle)?;
    let refuse = |e: std::io::Error| disk::error(&folder, e);
    sweep(bundle, &held.ended)?;
    let draft = Draft::begin(&folder).map_err(refuse)?;
    let report = taken.write(draft.path())?;
    held.refresh()?;
    let next = places::snapshots(bundle).first().map_or(0, |(named, _)| named.number.0) + 1;
    let names = (next..next + 1000).map(|n| names::usual(n).into());
    let path = draft.publish(names, mode_of_copy(&taken.path, &taken.path)).map_err(refuse)?;
    if places::head_text(bundle)? != before {
        return Err(Error::SourceChanged(bundle.join("HEAD.json")));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = new_head(before.as_deref(), &name, taken.snapshot);
    replace(bundle, OsStr::new("HEAD.json"), text.as_bytes())
        .map_err(|e| Error::Refused(format!("{name} was made, but HEAD.json cannot be replaced: {e}")))?;
    Ok((path, report))
}

/// Removes what recoveries that have `ended` were writing: they held the lock, so that the files are theirs.
fn sweep(bundle: &Path, ended: &[u32]) -> Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    let top = Location::find(bundle)?.folder()?;
    for folder in [top.sub(b"snapshots")?, top] {
        for item in folder.list()?.iter().filter(|item| item.kind == ItemKind::File) {
            if drafted_by(&item.name).is_some_and(|pid| ended.contains(&pid)) {
                folder.remove(&item.name, item.stamp)?;
            }
        }
    }
    Ok(())
}

/// The keys of `HEAD.json` that have a new value after a recovery.
const OWN: [&str; 7] =
    ["current", "previous", "updated_utc", "timestamp", "write_in_progress", "recovered", "recovered_from"];

/// `HEAD.json` with its unknown keys kept, in their order and word for word: a number that was read and written again
/// may be another one.
fn new_head(before: Option<&[u8]>, current: &str, from: Option<u64>) -> String {
    let before = before.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let before = before.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text)).unwrap_or_default();
    let is_head = serde_json::from_str::<Map<String, Value>>(before).is_ok();
    let old = if is_head { entries(before).unwrap_or_default() } else { Vec::new() };
    let previous = old.iter().rfind(|entry| entry.name == "current").map_or("null", |entry| entry.value);
    let now = SystemTime::now();
    let values: [(&str, String); OWN.len()] = [
        (OWN[0], json!(current).to_string()),
        (OWN[1], previous.to_string()),
        (OWN[2], json!(Time::from(now).utc()).to_string()),
        (OWN[3], json!(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()).to_string()),
        (OWN[4], "false".to_string()),
        (OWN[5], "true".to_string()),
        (OWN[6], json!(from).to_string()),
    ];
    let mut own: Vec<_> = values.into_iter().map(Some).collect();
    let mut take = |name: &str| own.iter_mut().find(|v| v.as_ref().is_some_and(|v| v.0 == name))?.take();
    let is_own = |name: &str| OWN.contains(&name);
    let mut lines = Vec::new();
    for Entry { name, key, value } in &old {
        match take(name) {
            Some((key, value)) => lines.push(format!("  \"{key}\": {value}")),
            // A key that stands there twice says what it says last.
            None if is_own(name) => {}
            None => lines.push(format!("  {key}: {value}")),
        }
    }
    lines.extend(own.into_iter().flatten().map(|(key, value)| format!("  \"{key}\": {value}")));
    format!("{{\n{}\n}}", lines.join(",\n"))
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

    #[test]
    fn unknown_keys_of_head_keep_every_digit_and_their_order() {
        let before = concat!(
            "{\n  \"zoom\": 1.10,\n  \"current\": \"000003.sqlite\",\n",
            "  \"big\": 123456789012345678901234567890,\n  \"current\": \"000004.sqlite\",\n",
            "  \"list\": [\n    1e5,\n    \"\\u00b5\"\n  ],\n  \"a\": -0.0\n}",
        );
        for mark in ["", "\u{feff}"] {
            let head = new_head(Some(format!("{mark}{before}").as_bytes()), "000005.sqlite", None);
            let kept = concat!(
                "\n  \"big\": 123456789012345678901234567890,\n",
                "  \"list\": [\n    1e5,\n    \"\\u00b5\"\n  ],\n  \"a\": -0.0,\n",
                "  \"previous\": \"000004.sqlite\",\n",
            );
            let front = "{\n  \"zoom\": 1.10,\n  \"current\": \"000005.sqlite\",";
            assert!(head.starts_with(&format!("{front}{kept}")), "{head}");
            assert!(head.ends_with("\n  \"recovered\": true,\n  \"recovered_from\": null\n}"), "{head}");
            assert!(serde_json::from_str::<Value>(&head).is_ok(), "{head}");
        }
    }

    #[test]
    fn what_was_no_head_leaves_a_head_that_can_be_read() {
        for before in [None, Some("{\"current\": \"0000"), Some("[1]"), Some("{\"a\": NaN}"), Some("\0\0")] {
            let head = new_head(before.map(str::as_bytes), "000004.sqlite", None);
            assert_eq!(signs::Head::parse(head.as_bytes()).unwrap().current, Some(4), "{before:?}");
        }
    }
}
