//! JSON as Python reads it, which is what projects are written with: its words as they stand there, and what they say.
//!
//! More is JSON to Python than to the standard: a bare `NaN` or infinity (null as a value), half of a surrogate pair
//! (U+FFFD here), a number that no double holds (kept as its text), two keys of one name (the last counts). What is
//! written by Python is read, so that no sample loses its place for one character in a note. Whoever passes JSON on
//! takes its words, which are what was stored, rather than values, which are not always.
//!
//! Limit: values in each other are followed to a depth of 500, and without recursion.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Deeper than documents of people, and not too deep for those who read ours: Python gives up at about 1,000.
const DEEPEST: usize = 500;

/// A word of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// `{`, `}`, `[`, `]`, `,` or `:`.
    Mark(u8),
    /// A text as it stands there, quotes included.
    Text(&'a str),
    /// A number, `true`, `false`, `null`, `NaN`, `Infinity`, `-Infinity`.
    Word(&'a str),
}

/// The words of a text, until something is none.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// How many values those that are read lie in.
    depth: usize,
}

/// What must come next, if not an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Value,
    Key,
    Colon,
    Comma,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.text.as_bytes();
        self.space();
        let start = self.at;
        let token = match *bytes.get(start)? {
            mark @ (b'{' | b'}' | b'[' | b']' | b',' | b':') => {
                self.at += 1;
                return Some(Token::Mark(mark));
            }
            b'"' => {
                self.at = end_of_text(bytes, start + 1)?;
                Token::Text(&self.text[start..self.at])
            }
            _ => {
                let inside = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
                self.at += bytes[start..].iter().take_while(inside).count();
                Token::Word(Some(&self.text[start..self.at]).filter(|word| is_word(word))?)
            }
        };
        Some(token)
    }
}

impl<'a> Tokens<'a> {
    /// The words of `text`, behind the mark of the byte order that some programs put before it.
    pub fn of(text: &'a str) -> Tokens<'a> {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Tokens { text, at, depth: 0 }
    }

    fn space(&mut self) {
        while matches!(self.text.as_bytes().get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The place behind the last word.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Whether nothing is left but white space.
    pub fn is_done(&self) -> bool {
        self.text[self.at..].bytes().all(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
    }

    /// Goes through one value, and tells each word with the depth at which it stands; `None` where it is no JSON.
    pub fn walk(&mut self, each: &mut impl FnMut(Token<'a>, usize)) -> Option<()> {
        // Of each value that is open the mark that ends it.
        let mut open: Vec<u8> = Vec::new();
        let (mut due, mut may_end) = (Due::Value, false);
        loop {
            let token = self.next()?;
            let mut depth = open.len();
            (due, may_end) = match (due, token) {
                (Due::Value, Token::Text(_) | Token::Word(_)) => (Due::Comma, true),
                (_, Token::Mark(mark)) if may_end && open.last() == Some(&mark) => {
                    open.pop();
                    depth -= 1;
                    (Due::Comma, true)
                }
                (Due::Value, Token::Mark(b'{')) => {
                    open.push(b'}');
                    (Due::Key, true)
                }
                (Due::Value, Token::Mark(b'[')) => {
                    open.push(b']');
                    (Due::Value, true)
                }
                (Due::Key, Token::Text(_)) => (Due::Colon, false),
                (Due::Colon, Token::Mark(b':')) => (Due::Value, false),
                (Due::Comma, Token::Mark(b',')) => {
                    (if open.last() == Some(&b'}') { Due::Key } else { Due::Value }, false)
                }
                _ => return None,
            };
            if self.depth + open.len() > DEEPEST {
                return None;
            }
            each(token, depth);
            if due == Due::Comma && open.is_empty() {
                return Some(());
            }
        }
    }

    /// The next value as it stands there, passed over.
    pub fn value(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        self.walk(&mut |_, _| {})?;
        Some(&self.text[start..self.at])
    }

    /// A key of an object, and its colon.
    fn key(&mut self) -> Option<&'a str> {
        match (self.next()?, self.next()?) {
            (Token::Text(key), Token::Mark(b':')) => Some(key),
            _ => None,
        }
    }

    /// What the next value says.
    fn said(&mut self) -> Option<Said> {
        // Of each object that is open the key whose value comes next.
        let mut open: Vec<(Value, Option<String>)> = Vec::new();
        let mut said = Said { value: Value::Null, has_halves: false };
        self.walk(&mut |token, _| {
            let value = match token {
                Token::Mark(b'{') => return open.push((json!({}), None)),
                Token::Mark(b'[') => return open.push((json!([]), None)),
                Token::Mark(b'}' | b']') => open.pop().unwrap_or_default().0,
                Token::Mark(_) => return,
                Token::Word("NaN" | "Infinity" | "-Infinity") => Value::Null,
                Token::Text(word) | Token::Word(word) => {
                    let word = without_halves(word);
                    said.has_halves |= matches!(word, Cow::Owned(_));
                    serde_json::from_str(&word).unwrap_or_else(|_| word.into())
                }
            };
            match (open.last_mut(), value) {
                (Some((Value::Array(list), _)), value) => list.push(value),
                (Some((Value::Object(_), key @ None)), Value::String(name)) => *key = Some(name),
                (Some((Value::Object(object), key)), value) => {
                    object.insert(key.take().unwrap_or_default(), value);
                }
                (_, value) => said.value = value,
            }
        })?;
        Some(said)
    }

    /// Passes over whatever is there, up to the comma or the end of the object that is being read.
    fn pass_over(&mut self) {
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

/// The place behind a text's closing quote.
fn end_of_text(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match *bytes.get(at + 1)? {
                b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                _ => return None,
            },
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn is_word(word: &str) -> bool {
    matches!(word, "true" | "false" | "null" | "NaN" | "Infinity" | "-Infinity") || is_number(word)
}

fn is_number(word: &str) -> bool {
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match word.find(['e', 'E']) {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

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
    let mut tokens = Tokens::of(text);
    tokens.said().filter(|_| tokens.is_done())
}

/// What a text of JSON says, half of a surrogate pair as U+FFFD; `None` where it says what is no text.
pub fn said(quoted: &str) -> Option<String> {
    match lenient_json(quoted)?.value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// What names something: a text, or a number as it stands.
pub fn named(value: &str) -> Option<String> {
    match lenient_json(value)?.value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether `text` is one value of JSON and nothing else.
pub fn is_json(text: &str) -> bool {
    let mut tokens = Tokens::of(text);
    tokens.walk(&mut |_, _| {}).is_some() && tokens.is_done()
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
    let mut entries = Vec::new();
    let mut tokens = inside(text, b'{')?;
    while !tokens.is_done() {
        let (key, value) = (tokens.key()?, tokens.value()?);
        entries.push(Entry { name: name(key)?, key, value });
        tokens.next()?;
    }
    Some(entries)
}

/// The values of an object by their keys, as they stand there; `None` where it is none.
pub fn fields(text: &str) -> Option<HashMap<String, &str>> {
    Some(entries(text)?.into_iter().map(|entry| (entry.name, entry.value)).collect())
}

/// What a key says.
fn name(key: &str) -> Option<String> {
    serde_json::from_str(&without_halves(key)).ok()
}

/// What can be read of an object that is torn, or JSON only in part: the entries at its top that are whole.
pub fn whole_entries(text: &str) -> Map<String, Value> {
    let (mut tokens, mut found) = (Tokens { depth: 1, ..Tokens::of(text) }, Map::new());
    if tokens.next() != Some(Token::Mark(b'{')) {
        return found;
    }
    loop {
        let mut ahead = tokens.clone();
        let mut entry = || {
            let (name, value) = (name(ahead.key()?)?, ahead.said()?.value);
            // At the very end nobody knows whether a number goes on.
            matches!(ahead.clone().next(), Some(Token::Mark(b',' | b'}'))).then_some((name, value))
        };
        match entry() {
            Some((name, value)) => {
                found.insert(name, value);
                tokens = ahead;
            }
            None => tokens.pass_over(),
        }
        if tokens.next() != Some(Token::Mark(b',')) {
            return found;
        }
    }
}

/// The items of a list, as they stand there; `None` where it is none.
pub fn items(text: &str) -> Option<impl Iterator<Item = &str>> {
    let mut tokens = inside(text, b'[')?;
    Some(std::iter::from_fn(move || {
        let item = tokens.value()?;
        tokens.next();
        Some(item)
    }))
}

/// The words in an object or a list up to its end, which is passed over like a comma.
fn inside(text: &str, mark: u8) -> Option<Tokens<'_>> {
    let mut tokens = Tokens::of(text);
    if !is_json(text) || tokens.next()? != Token::Mark(mark) {
        return None;
    }
    let mut ahead = tokens.clone();
    let empty = matches!(ahead.next()?, Token::Mark(b'}' | b']'));
    Some(if empty { ahead } else { tokens })
}

/// A text as it stands there, but for halves of surrogate pairs.
pub fn without_halves(quoted: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = quoted.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(found) = quoted.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        let is_low = |unit: &u16| (0xdc00..0xe000).contains(unit);
        at += match (unit(at), unit(at + 6)) {
            (None, _) => 2,
            (Some(0xd800..0xdc00), Some(low)) if is_low(&low) => 12,
            (Some(0xd800..0xe000), _) => {
                out += &quoted[done..at];
                out += "\\ufffd";
                done = at + 6;
                6
            }
            _ => 6,
        };
    }
    match done {
        0 => Cow::Borrowed(quoted),
        _ => Cow::Owned(out + &quoted[done..]),
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

    /// None is read by Python either, whose depth is another.
    #[test]
    fn what_is_none_is_not_read() {
        let none = r#" |{|}|{"a"}|{"a":}|{"a":1,}|{"a":1]|{"a":1 "b":2}|{a: 1}|{,}|[1,]|[,1]|[1}|[1 2]|1 2|{} {}|01|1.|.5|
            1e|+1|--1|-|nul|nan|True|é|"a|"\x"|"\u12"|"\ud8zz""#;
        for text in none.split('|').chain(["", "\"\n\"", "\u{feff}"]) {
            assert!(value(text).is_none() && !is_json(text), "{text}");
        }
        for text in ["1", "-0.5E+10", "\"\"", "[]", "{}", " [ [ ] , { } ] ", "-Infinity", "{\"a\":[{}]}"] {
            assert!(value(text).is_some() && is_json(text), "{text}");
        }
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(is_json(&deep(DEEPEST)) && !is_json(&deep(DEEPEST + 1)) && !is_json(&"[".repeat(1 << 20)));
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
        assert_eq!(entries("\u{feff}{\"\\ud800\": 1}").unwrap()[0].name, "\u{fffd}");
        assert_eq!(fields(text).unwrap()["z"], "123456789012345678901234567890");
    }

    #[test]
    fn items_keep_their_words() {
        assert_eq!(items(r#" [1.10, {"b": 2} ] "#).unwrap().collect::<Vec<_>>(), ["1.10", r#"{"b": 2}"#]);
        assert_eq!(items("[]").unwrap().count(), 0);
        assert!(items("{}").is_none() && items("[1").is_none());
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
