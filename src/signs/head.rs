//! `HEAD.json`: which snapshot its writers hold for current.
//!
//! It is a hint. It may be missing, torn, full of NULs, older than the snapshots beside it, or one of several that
//! sync tools have left; a snapshot is current because it is the newest that is valid.

use serde_json::Value;

use super::names;

/// Its name.
pub const NAME: &str = "HEAD.json";
/// A HEAD of more bytes is none.
pub const MAX: u64 = 1 << 20;

/// What a HEAD says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The number of the snapshot that it names.
    pub current: Option<u64>,
    /// The name as it stands there.
    pub name: Option<String>,
    /// A save was under way when it was written.
    pub write_in_progress: bool,
}

impl Head {
    /// Reads a HEAD of any form; what is wrong with it otherwise, for people.
    pub fn parse(bytes: &[u8]) -> Result<Head, &'static str> {
        if bytes.is_empty() {
            return Err("it is empty");
        }
        if bytes.iter().all(|b| *b == 0) {
            return Err("it holds nothing but NUL bytes, as after a power cut");
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else {
            return Err("it is torn, or no JSON object");
        };
        let name = match fields.get("current") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return Err("its `current` is no name"),
        };
        let current = name.as_deref().and_then(|name| names::number(name.as_bytes()));
        if name.is_some() && current.is_none() {
            return Err("its `current` is not the name of a snapshot");
        }
        let write_in_progress = fields.get("write_in_progress").and_then(Value::as_bool).unwrap_or(false);
        Ok(Head { current, name, write_in_progress })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for text in [
            r#"{"current": "000042.sqlite", "previous": null, "updated_utc": "2026-01-05T08:00:00Z",
                "timestamp": 1.5, "write_in_progress": false}"#,
            r#"{"current": "000042.sqlite", "timestamp": 3}"#,
            r#"{"current": "000042.sqlite", "ts": 3, "unknown": [1]}"#,
        ] {
            assert_eq!(Head::parse(text.as_bytes()).unwrap().current, Some(42));
        }
        assert_eq!(Head::parse(br#"{"current": null}"#).unwrap(), Head::default());
        assert!(Head::parse(br#"{"write_in_progress": true}"#).unwrap().write_in_progress);
    }

    #[test]
    fn what_is_none_says_why() {
        for wrong in [
            &b""[..],
            &[0; 300],
            b"{\"current\": \"0000",
            b"[]",
            b"{\"current\": 7}",
            b"{\"current\": \"../../etc/passwd\"}",
            b"{\"current\": \"snapshots/000001.sqlite\"}",
            b"\xff\xfe{",
        ] {
            assert!(Head::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
