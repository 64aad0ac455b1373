//! JSON, written and passed on.
//!
//! What a project stores as JSON is not made into numbers and back: its words are written as they stand there, in
//! their order, only indented, so that no digit is lost. That includes `NaN` and `Infinity`, which Python writes and
//! reads, and two keys of one name. What is no JSON is passed on as a text. Only half of a surrogate pair, which few
//! readers take, is written as U+FFFD.

use crate::database::json::{Token, Tokens, is_json, without_halves};

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
        if !is_json(text) {
            return self.text(text);
        }
        let base = self.open.len();
        self.item();
        let mut tokens = Tokens::of(text);
        let mut last = None;
        // It was found to be JSON.
        let _ = tokens.walk(&mut |token, depth| {
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
        let shown = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
        match shown.starts_with(['{', '[']) {
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
}
