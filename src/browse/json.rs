//! JSON, written and passed on.
//!
//! What a project stores as JSON is not made into numbers and back: its words are written as they stand there, in
//! their order, only indented, so that no digit is lost. That includes `NaN` and `Infinity`, which Python writes and
//! reads, and two keys of one name. What is no JSON is passed on as a text. Only half of a surrogate pair, which few
//! readers take, is written as U+FFFD.
//!
//! Limits: values in each other are followed to a depth of [`MAX_DEPTH`].

use std::borrow::Cow;

use crate::database::lenient_json;

/// Deeper than documents of people, and not too deep for those who read ours: Python gives up at about 1,000.
const MAX_DEPTH: usize = 500;

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
}

impl<'a> Tokens<'a> {
    /// The words of `text`.
    pub fn of(text: &'a str) -> Tokens<'a> {
        Tokens { text, at: 0 }
    }

    /// The next word; `None` at the end, and where there is no word.
    pub fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
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

    /// The place behind the last word.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Whether nothing is left but white space.
    pub fn is_done(&self) -> bool {
        self.text[self.at..].bytes().all(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
    }

    /// The next value as it stands there, passed over.
    pub fn value(&mut self) -> Option<&'a str> {
        let mut ahead = self.clone();
        let first = ahead.next()?;
        let start = match first {
            Token::Mark(_) => ahead.at - 1,
            Token::Text(text) | Token::Word(text) => ahead.at - text.len(),
        };
        walk(self, &mut |_, _| {})?;
        Some(&self.text[start..self.at])
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

/// Goes through one value, and tells each word with the depth at which it stands; `None` where it is no JSON.
fn walk<'a>(tokens: &mut Tokens<'a>, each: &mut impl FnMut(Token<'a>, usize)) -> Option<()> {
    let mut open: Vec<u8> = Vec::new();
    loop {
        // A value, or the end of what was just opened.
        let token = tokens.next()?;
        let just_opened = |open: &[u8]| open.last().copied();
        match token {
            Token::Mark(mark @ (b'{' | b'[')) => {
                if open.len() == MAX_DEPTH {
                    return None;
                }
                each(token, open.len());
                open.push(mark);
                let mut ahead = tokens.clone();
                let closing = ahead.next()?;
                match (closing, just_opened(&open)) {
                    (Token::Mark(b'}'), Some(b'{')) | (Token::Mark(b']'), Some(b'[')) => {
                        *tokens = ahead;
                        open.pop();
                        each(closing, open.len());
                    }
                    (_, Some(b'{')) => {
                        key(tokens, open.len(), each)?;
                        continue;
                    }
                    _ => continue,
                }
            }
            Token::Mark(_) => return None,
            scalar => each(scalar, open.len()),
        }
        // Behind a value: the next one, or ends.
        loop {
            let Some(inside) = open.last().copied() else { return Some(()) };
            let token = tokens.next()?;
            match (token, inside) {
                (Token::Mark(b','), inside) => {
                    each(token, open.len());
                    if inside == b'{' {
                        key(tokens, open.len(), each)?;
                    }
                    break;
                }
                (Token::Mark(b'}'), b'{') | (Token::Mark(b']'), b'[') => {
                    open.pop();
                    each(token, open.len());
                }
                _ => return None,
            }
        }
    }
}

fn key<'a>(tokens: &mut Tokens<'a>, depth: usize, each: &mut impl FnMut(Token<'a>, usize)) -> Option<()> {
    let (name, colon) = (tokens.next()?, tokens.next()?);
    if !matches!((name, colon), (Token::Text(_), Token::Mark(b':'))) {
        return None;
    }
    each(name, depth);
    each(colon, depth);
    Some(())
}

/// Whether `text` is one value of JSON and nothing else.
pub fn is_json(text: &str) -> bool {
    let mut tokens = Tokens::of(text);
    walk(&mut tokens, &mut |_, _| {}).is_some() && tokens.is_done()
}

/// The keys and values of an object, as they stand there; `None` where it is none.
pub fn entries(text: &str) -> Option<Vec<(String, &str)>> {
    let mut entries = Vec::new();
    let mut tokens = inside(text, b'{')?;
    while !tokens.is_done() {
        let Token::Text(key) = tokens.next()? else { return None };
        tokens.next()?;
        entries.push((said(key)?, tokens.value()?));
        tokens.next()?;
    }
    Some(entries)
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
    let text = unmarked(text);
    if !is_json(text) {
        return None;
    }
    let mut tokens = Tokens::of(text);
    if tokens.next()? != Token::Mark(mark) {
        return None;
    }
    let mut ahead = tokens.clone();
    let empty = matches!(ahead.next()?, Token::Mark(b'}' | b']'));
    Some(if empty { ahead } else { tokens })
}

/// What a text of JSON says, half of a surrogate pair as U+FFFD; `None` where it says what is no text.
pub fn said(quoted: &str) -> Option<String> {
    match lenient_json(quoted)?.value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}

/// A text without the mark of the byte order that some programs put before it.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A text as it stands there, but for halves of surrogate pairs.
fn without_halves(quoted: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = quoted.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(found) = quoted[at..].find('\\') {
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

/// A document that is being written, indented by two.
#[derive(Debug, Default)]
pub struct Document {
    out: String,
    /// Of each value that is open whether there is something in it.
    open: Vec<bool>,
    after_key: bool,
}

impl Document {
    /// The next value begins here.
    fn item(&mut self) {
        if std::mem::take(&mut self.after_key) {
            return;
        }
        if let Some(filled) = self.open.last_mut() {
            let comma = if std::mem::replace(filled, true) { ",\n" } else { "\n" };
            self.out.push_str(comma);
            self.indent(self.open.len());
        }
    }

    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n("  ", depth));
    }

    /// Begins an object or a list: `{` or `[`.
    pub fn begin(&mut self, mark: char) {
        self.item();
        self.out.push(mark);
        self.open.push(false);
    }

    /// Ends what was begun last: `}` or `]`.
    pub fn end(&mut self, mark: char) {
        if self.open.pop() == Some(true) {
            self.out.push('\n');
            self.indent(self.open.len());
        }
        self.out.push(mark);
    }

    /// A key, whose value comes next.
    pub fn key(&mut self, name: &str) -> &mut Document {
        self.item();
        self.quote(name);
        self.out.push_str(": ");
        self.after_key = true;
        self
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.item();
        self.quote(text);
    }

    /// A text, or nothing.
    pub fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.word("null"),
        }
    }

    /// A number or a word of JSON.
    pub fn word(&mut self, word: &str) {
        self.item();
        self.out.push_str(word);
    }

    /// A whole number.
    pub fn integer(&mut self, value: i64) {
        self.word(&value.to_string());
    }

    /// A real as the shortest text that reads back the same.
    pub fn real(&mut self, value: f64) {
        match value {
            f64::INFINITY => self.word("Infinity"),
            f64::NEG_INFINITY => self.word("-Infinity"),
            value if value.is_nan() => self.word("NaN"),
            value => self.word(zmij::Buffer::new().format(value)),
        }
    }

    /// What was stored as JSON; a text if it is none.
    pub fn stored(&mut self, text: &str) {
        if !is_json(unmarked(text)) {
            return self.text(text);
        }
        let text = unmarked(text);
        let base = self.open.len();
        self.item();
        let mut tokens = Tokens::of(text);
        let mut last = None;
        // It was found to be JSON.
        let _ = walk(&mut tokens, &mut |token, depth| {
            let line = match (last, token) {
                (Some(Token::Mark(b'{')), Token::Mark(b'}'))
                | (Some(Token::Mark(b'[')), Token::Mark(b']')) => false,
                (_, Token::Mark(b'}' | b']')) => true,
                (_, Token::Mark(b',' | b':')) => false,
                (last, _) => matches!(last, Some(Token::Mark(b'{' | b'[' | b','))),
            };
            if line {
                self.out.push('\n');
                self.indent(base + depth);
            }
            match token {
                Token::Mark(b':') => self.out.push_str(": "),
                Token::Mark(mark) => self.out.push(mark.into()),
                Token::Text(text) => self.out.push_str(&without_halves(text)),
                Token::Word(text) => self.out.push_str(text),
            }
            last = Some(token);
        });
    }

    /// What was stored as a text, which may be an object or a list.
    pub fn stored_or_text(&mut self, text: &str) {
        match unmarked(text).trim_start().starts_with(['{', '[']) {
            true => self.stored(text),
            false => self.text(text),
        }
    }

    fn quote(&mut self, text: &str) {
        self.out.push_str(&serde_json::to_string(text).expect("a text is written"));
    }

    /// The bytes, with a newline at the end.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.push('\n');
        self.out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_are_passed_on_as_they_are() {
        let text = r#" {"b":[1.10,-0, 1e400 ,NaN,{"x":{}, "y":[]}],"a":"\u00b5 \" ","a":null} "#;
        let mut document = Document::default();
        document.begin('{');
        document.key("extra").stored(text);
        document.key("torn").stored("{\"a\": ");
        document.key("n").real(0.1);
        document.end('}');
        let expected = r#"{
  "extra": {
    "b": [
      1.10,
      -0,
      1e400,
      NaN,
      {
        "x": {},
        "y": []
      }
    ],
    "a": "\u00b5 \" ",
    "a": null
  },
  "torn": "{\"a\": ",
  "n": 0.1
}
"#;
        assert_eq!(String::from_utf8(document.finish()).unwrap(), expected);
    }

    #[test]
    fn halves_of_characters_and_a_mark_of_the_byte_order_keep_nobody_from_reading() {
        let stored = |text: &str| {
            let mut document = Document::default();
            document.stored(text);
            String::from_utf8(document.finish()).unwrap()
        };
        let text = r#""\ud83d\ude00 \ud800 \udc00\ud800\ud800\udc00 \\ud800 \u00b5""#;
        let expected = r#""\ud83d\ude00 \ufffd \ufffd\ufffd\ud800\udc00 \\ud800 \u00b5""#;
        assert_eq!(stored(text), format!("{expected}\n"));
        assert_eq!(stored("\u{feff}1e400"), "1e400\n");
    }

    #[test]
    fn objects_and_lists_are_taken_apart() {
        let text = r#" {"a": [1, {"b": 2}], "\u00b5" :3,"a":{} } "#;
        let found = entries(text).unwrap();
        assert_eq!(found, [("a".into(), r#"[1, {"b": 2}]"#), ("µ".into(), "3"), ("a".into(), "{}")]);
        assert_eq!(items(found[0].1).unwrap().collect::<Vec<_>>(), ["1", r#"{"b": 2}"#]);
        assert_eq!(items("[]").unwrap().count() + entries(" {} ").unwrap().len(), 0);
        assert!(items("{}").is_none() && entries("[]").is_none() && entries("{").is_none());
        assert_eq!(entries(r#"{"\ud800": 1}"#).unwrap(), [("\u{fffd}".to_string(), "1")]);
        assert_eq!(entries("\u{feff}{\"a\": 1}").unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_json_is_seen() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "--1",
            "nul",
            "\"a",
            "\"\\x\"",
            "\"\n\"",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "\"\\u12\"",
            "é",
        ] {
            assert!(!is_json(text), "{text}");
        }
        for text in ["1", "-0.5E+10", "\"\"", "[]", "{}", " [ [ ] , { } ] ", "-Infinity", "{\"a\":[{}]}"] {
            assert!(is_json(text), "{text}");
        }
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(
            is_json(&deep(MAX_DEPTH)) && !is_json(&deep(MAX_DEPTH + 1)) && !is_json(&"[".repeat(1 << 20))
        );
    }
}
