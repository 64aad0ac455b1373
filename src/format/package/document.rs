//! The few fields that are read of a project's JSON documents.
//!
//! Threats: a document may be megabytes of anything. Only texts of a bounded length are kept, whatever else
//! stands there is passed over while it is parsed, and nesting is bounded by the parser.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The longest text that is kept.
const MAX_TEXT: usize = 4096;

/// A field that should be a text; nothing when it is something else, or too long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Option<Box<str>>);

impl Text {
    /// The text, if it is one.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The same as an owned string.
    pub fn owned(&self) -> Option<String> {
        self.get().map(str::to_string)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

/// What a visitor makes of values that it does not look for: nothing, and the document goes on.
macro_rules! passes_over_all_else {
    () => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text((text.len() <= MAX_TEXT).then(|| text.into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    passes_over_all_else!();
}

/// What is read of a manifest, of `project.json` and of `dataset.json`. A key that stands twice is an error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    /// The schema as the application names it.
    pub schema: Text,
    /// The schema as the design names it.
    #[serde(rename = "$schema")]
    pub dollar_schema: Text,
    /// The version as the application names it.
    pub format_version: Text,
    /// The version as the design names it.
    pub version: Text,
    /// A kind of its own, as `vasods-v1`.
    pub format: Text,
    /// A package's identifier.
    pub package_id: Text,
    /// Any identifier.
    pub id: Text,
    /// A project's title.
    pub title: Text,
    /// A dataset's name.
    pub name: Text,
    /// What kind of measurement.
    pub modality: Text,
    /// The summary in a manifest.
    pub summary: Summary,
}

/// The summary in a manifest; empty when it is something else than an object.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The project's title.
    pub title: Text,
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Summary, D::Error> {
        deserializer.deserialize_any(SummaryVisitor)
    }
}

struct SummaryVisitor;

impl<'de> Visitor<'de> for SummaryVisitor {
    type Value = Summary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a summary")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Summary, A::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Fields {
            title: Text,
        }
        let Fields { title } = Fields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Summary { title })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Summary, E> {
        Ok(Summary::default())
    }

    passes_over_all_else!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_texts_are_kept() {
        let long = "x".repeat(MAX_TEXT + 1);
        let text = format!(
            r#"{{"schema": "s", "version": 1.5, "id": {{"a": [1, null]}}, "title": "{long}", "z": []}}"#
        );
        let document: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(document.schema.get(), Some("s"));
        assert_eq!([document.version.get(), document.id.get(), document.title.get()], [None; 3]);
    }

    #[test]
    fn a_summary_that_is_none_does_not_spoil_the_rest() {
        for summary in ["null", "\"text\"", "[1, [2]]", "3", "-1", "0.5", "true", "{\"title\": 1}"] {
            let text = format!(r#"{{"summary": {summary}, "schema": "s"}}"#);
            let document: Document = serde_json::from_str(&text).unwrap();
            assert_eq!((document.schema.get(), document.summary.title.get()), (Some("s"), None), "{summary}");
        }
        let document: Document = serde_json::from_str(r#"{"summary": {"a": {}, "title": "t"}}"#).unwrap();
        assert_eq!(document.summary.title.get(), Some("t"));
    }

    #[test]
    fn garbage_depth_and_keys_that_stand_twice_are_errors() {
        for text in ["1", "", "{\"version\": \"1\", \"version\": \"2\"}", "\u{0}"] {
            assert!(serde_json::from_str::<Document>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Document>("[]").unwrap().schema.get(), None);
        let deep = "[".repeat(200_000);
        assert!(serde_json::from_str::<Document>(&format!("{{\"x\": {deep}")).is_err());
    }
}
