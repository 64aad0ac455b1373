//! JSON as Python reads it, which is what projects are written with.
//!
//! More is JSON to Python than to the standard: a bare `NaN` or infinity (null here), half of a surrogate pair (U+FFFD
//! here), a number that no double holds (kept as its text). What is written by Python is read, so that no sample loses
//! its place for one character in a note.
//!
//! Limit: values in each other are followed to a depth of [`DEEPEST`].

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// Deeper than documents of people, and less deep than Python goes.
const DEEPEST: usize = 500;

/// What a text of JSON says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// It.
    pub value: Value,
    /// Whether there are halves of surrogate pairs in it, which are U+FFFD here.
    pub has_halves: bool,
}

/// One text of JSON and nothing else; `None` if it is none.
pub fn lenient_json(text: &str) -> Option<Said> {
    let mut words = Words::of(text);
    let value = words.value(0)?;
    words.space();
    (words.at == text.len()).then_some(Said { value, has_halves: words.has_halves })
}

/// A key of an object and its value, as they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the key says.
    pub name: String,
    /// The key in its quotes.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

/// The entries of an object in their order, each as it stands there; `None` where it is none.
pub fn entries(text: &str) -> Option<Vec<Entry<'_>>> {
    lenient_json(text).filter(|said| said.value.is_object())?;
    let mut words = Words::of(text);
    let mut entries = Vec::new();
    words.take(b'{')?;
    while words.take(b'}').is_none() {
        words.take(b',');
        let (name, key) = words.span(Words::text)?;
        words.take(b':')?;
        let (_, value) = words.span(|words| words.value(1))?;
        entries.push(Entry { name, key, value });
    }
    Some(entries)
}

/// What can be read of an object that is torn, or JSON only in part: the entries at its top that are whole.
pub fn whole_entries(text: &str) -> Map<String, Value> {
    let (mut words, mut found) = (Words::of(text), Map::new());
    if words.take(b'{').is_none() {
        return found;
    }
    loop {
        let mut ahead = words.clone();
        let mut entry = || {
            let (name, _) = ahead.span(Words::text)?;
            ahead.take(b':')?;
            let value = ahead.value(1)?;
            ahead.space();
            // At the very end nobody knows whether a number goes on.
            matches!(ahead.peek(), Some(b',' | b'}')).then_some((name, value))
        };
        match entry() {
            Some((name, value)) => {
                found.insert(name, value);
                words = ahead;
            }
            None => words.skip(),
        }
        if words.take(b',').is_none() {
            return found;
        }
    }
}

/// A text that is being read.
#[derive(Debug, Clone)]
struct Words<'a> {
    text: &'a str,
    at: usize,
    has_halves: bool,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Words<'a> {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Words { text, at, has_halves: false }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes over a mark, if it is the next word.
    fn take(&mut self, mark: u8) -> Option<()> {
        self.space();
        (self.peek()? == mark).then(|| self.at += 1)
    }

    /// What `read` reads, and its text.
    fn span<T>(&mut self, read: impl Fn(&mut Words<'a>) -> Option<T>) -> Option<(T, &'a str)> {
        self.space();
        let from = self.at;
        let what = read(self)?;
        Some((what, &self.text[from..self.at]))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.space();
        match self.peek()? {
            b'{' | b'[' if depth == DEEPEST => None,
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.text().map(Value::String),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut object = Map::new();
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(Value::Object(object));
        }
        loop {
            self.space();
            let name = self.text()?;
            self.take(b':')?;
            object.insert(name, self.value(depth + 1)?);
            if self.take(b',').is_none() {
                return self.take(b'}').map(|()| Value::Object(object));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut list = Vec::new();
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(Value::Array(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            if self.take(b',').is_none() {
                return self.take(b']').map(|()| Value::Array(list));
            }
        }
    }

    fn word(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..];
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let word = &rest[..rest.find(|c| !inside(c)).unwrap_or(rest.len())];
        self.at += word.len();
        if matches!(word, "NaN" | "Infinity" | "-Infinity") {
            return Some(Value::Null);
        }
        let too_large = || {
            let is_number = serde_json::from_str::<IgnoredAny>(word).is_ok();
            is_number.then(|| Value::String(word.to_string()))
        };
        serde_json::from_str(word).ok().or_else(too_large)
    }

    fn text(&mut self) -> Option<String> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut said = String::new();
        loop {
            let rest = &self.text[self.at..];
            let stop = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            said.push_str(&rest[..stop]);
            self.at += stop;
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(said);
                }
                b'\\' => said.push(self.escaped()?),
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let what = *self.text.as_bytes().get(self.at + 1)?;
        if what == b'u' {
            let first = self.unit(self.at)?;
            self.at += 6;
            let second = self.unit(self.at).filter(|second| (0xdc00..0xe000).contains(second));
            let high = (0xd800..0xdc00).contains(&first);
            let units = [first, second.unwrap_or_default()];
            let pair = &units[..if high && second.is_some() { 2 } else { 1 }];
            self.at += 6 * (pair.len() - 1);
            let said = char::decode_utf16(pair.iter().copied()).next()?;
            self.has_halves |= said.is_err();
            return Some(said.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.at += 2;
        Some(match what {
            b'"' | b'\\' | b'/' => what.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return None,
        })
    }

    /// The unit of UTF-16 that is written at a place, if one is.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    }

    /// Passes over whatever is there, up to the comma or the end of the object that is being read.
    fn skip(&mut self) {
        let bytes = self.text.as_bytes();
        let (mut open, mut quoted) = (0usize, false);
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'\\' if quoted => self.at += 1,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' | b'[' => open += 1,
                b'}' | b']' if open > 0 => open -= 1,
                b'}' | b']' | b',' if open == 0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Option<Value> {
        lenient_json(text).map(|said| said.value)
    }

    /// Each is read by `json.loads` of Python 3, the mark of the byte order by its reader of bytes.
    #[test]
    fn what_python_writes_is_read() {
        assert_eq!(value("\u{feff}{\"a\": 1}"), Some(json!({"a": 1})));
        assert_eq!(
            value(r#"["\ud83d\ude00", "\ud800", "x\udc00y"]"#),
            Some(json!(["😀", "\u{fffd}", "x\u{fffd}y"]))
        );
        assert_eq!(
            value(r#"["\ud800\ud83d\ude00", "\ud800\u0041"]"#),
            Some(json!(["\u{fffd}😀", "\u{fffd}A"]))
        );
        assert_eq!(value("[1e400, -1E+999, 0.5, -7]"), Some(json!(["1e400", "-1E+999", 0.5, -7])));
        assert_eq!(value(r#"[NaN, -Infinity, "NaN \" NaN"]"#), Some(json!([null, null, "NaN \" NaN"])));
        assert_eq!(value(r#" {"a": [], "a": {}} "#), Some(json!({"a": {}})));
        assert!(lenient_json(r#""\ud800""#).unwrap().has_halves);
        assert!(!lenient_json(r#""\ud83d\ude00""#).unwrap().has_halves);
        let deep = |n: usize| format!("{{\"a\": {}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(value(&deep(200)).is_some() && value(&deep(DEEPEST - 1)).is_some());
        assert!(value(&deep(DEEPEST)).is_none() && value(&deep(1 << 20)).is_none());
    }

    /// None is read by Python either.
    #[test]
    fn what_is_none_is_not_read() {
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[,1]",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nan",
            "--1",
            "\"\\x\"",
            "\"\n\"",
            "\"\\u12\"",
            "\"\\ud8zz\"",
            "{} {}",
            "{a: 1}",
            "[1 2]",
            "True",
            "\u{feff}",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn entries_keep_their_words_and_their_order() {
        let text = r#"{"z": 1.10, "\u0061" : {"b":[1 , 2]}, "z":123456789012345678901234567890}"#;
        let found: Vec<_> = entries(text).unwrap().into_iter().map(|e| (e.name, e.key, e.value)).collect();
        let expected = [
            ("z".to_string(), "\"z\"", "1.10"),
            ("a".to_string(), "\"\\u0061\"", r#"{"b":[1 , 2]}"#),
            ("z".to_string(), "\"z\"", "123456789012345678901234567890"),
        ];
        assert_eq!(found, expected);
        assert_eq!(entries("{}"), Some(Vec::new()));
        assert!(entries("[]").is_none() && entries("{").is_none());
    }

    #[test]
    fn of_a_torn_object_the_whole_entries_are_read() {
        let whole = |text: &str| Value::Object(whole_entries(text));
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        let text = format!(r#"{{"deep": {deep}, "a": 1 2, "b": nope, "experiment": "WT", "c": [{{"d": ",}}"#);
        assert_eq!(whole(&text), json!({"experiment": "WT"}));
        assert_eq!(whole(r#"{"experiment": "WT", "subfolder": "Da"#), json!({"experiment": "WT"}));
        assert_eq!(whole(r#"{"experiment": "WT", "experiment_index": 1"#), json!({"experiment": "WT"}));
        assert_eq!(whole(r#"{"x": "\q", "experiment": "WT"}"#), json!({"experiment": "WT"}));
        assert_eq!(whole(r#"{"x": {"experiment": "no"}, "#), json!({"x": {"experiment": "no"}}));
        for text in ["", "[", "x", "{", "{,", "{\"", "\u{feff}"] {
            assert_eq!(whole(text), json!({}), "{text}");
        }
    }
}
