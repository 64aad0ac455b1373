//! Names out of a project as names of files: every one becomes a name that is safe, and no two are the same.
//!
//! Unsafe bytes are `%XX`, and so is a `%` that two hexadecimal digits follow; twins are numbered `~2`, `~3` in
//! the order in which they are stored. A name of more than 255 bytes is cut in front of its suffix.

use std::collections::{HashMap, HashSet};

use crate::tree::{SafePath, escaped};

/// The longest suffix that is kept of a name that is cut: `.ome.tiff` is, a sentence is not.
const MAX_SUFFIX: usize = 16;
/// What stands for a name that is empty.
const UNNAMED: &str = "unnamed";

/// The names of one directory.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// The number that the next twin of a name tries first: a thousand twins take a thousand steps.
    next: HashMap<String, u64>,
}

impl Names {
    /// A directory in which these are taken.
    pub fn with(taken: &[&str]) -> Names {
        Names { taken: taken.iter().map(|name| name.to_string()).collect(), next: HashMap::new() }
    }

    /// The name that something called `name` gets here.
    pub fn give(&mut self, name: &str) -> String {
        let safe = cut(&safe(name), SafePath::MAX_COMPONENT);
        if self.taken.insert(safe.clone()) {
            return safe;
        }
        let next = self.next.entry(safe.clone()).or_insert(2);
        loop {
            let suffix = format!("~{next}");
            *next += 1;
            let twin = cut(&safe, SafePath::MAX_COMPONENT - suffix.len()) + &suffix;
            if self.taken.insert(twin.clone()) {
                return twin;
            }
        }
    }
}

/// The last component of a path of any system.
pub fn last_component(path: &str) -> &str {
    path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("")
}

/// The name with its unsafe bytes written as `%XX`.
fn safe(name: &str) -> String {
    let hidden = |hides: fn(char) -> bool| {
        let safe = escaped(name.as_bytes(), |c| c.is_none_or(hides));
        String::from_utf8_lossy(&safe).into_owned()
    };
    let safe = hidden(|c| matches!(c, '/' | '\\') || c.is_control());
    match SafePath::check(safe.as_bytes()) {
        _ if safe.is_empty() => UNNAMED.to_string(),
        // A name of dots, or of what some program makes dots of.
        Err(_) if safe.len() <= 6 => hidden(|_| true),
        _ => safe,
    }
}

/// At most `most` bytes of a safe name, with its suffix.
fn cut(safe: &str, most: usize) -> String {
    if safe.len() <= most {
        return safe.to_string();
    }
    let suffix =
        safe.rfind('.').map(|at| &safe[at..]).filter(|suffix| suffix.len() <= MAX_SUFFIX).unwrap_or("");
    let mut end = most - suffix.len();
    // Neither through a letter nor through an escape.
    while !safe.is_char_boundary(end) {
        end -= 1;
    }
    if let Some(at) = safe[..end].rfind('%').filter(|at| end - at < 3 && *at + 3 <= safe.len()) {
        end = at;
    }
    format!("{}{suffix}", &safe[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_one_that_is_safe() {
        for (name, expected) in [
            ("Vessel 01", "Vessel 01"),
            ("a/b: weird*name?", "a%2Fb: weird*name?"),
            ("", "unnamed"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("‥", "%E2%80%A5"),
            ("...", "..."),
            ("50% KCl", "50% KCl"),
            ("%2F", "%252F"),
            ("\0\n\\\u{7f}", "%00%0A%5C%7F"),
            ("C:\\x", "C:%5Cx"),
            ("µm é", "µm é"),
        ] {
            let given = Names::default().give(name);
            assert_eq!(given, expected);
            assert!(SafePath::check(given.as_bytes()).is_ok());
        }
    }

    #[test]
    fn twins_are_numbered_in_their_order() {
        let mut names = Names::with(&["attachments"]);
        let given = ["A", "A", "A~2", "A", "A~2", "attachments"].map(|name| names.give(name));
        assert_eq!(given, ["A", "A~2", "A~2~2", "A~3", "A~2~3", "attachments~2"]);
    }

    #[test]
    fn a_long_name_is_cut_between_letters_and_keeps_its_suffix() {
        let mut names = Names::default();
        for long in ["µ".repeat(300), "/".repeat(200), "x".repeat(252) + "/zz.tiff", "..".repeat(200)] {
            for name in [long.clone() + ".tiff", long.clone(), long] {
                let given = names.give(&name);
                assert!(given.len() <= 255 && SafePath::check(given.as_bytes()).is_ok(), "{given}");
                assert!(!name.ends_with(".tiff") || given.contains(".tiff"), "{given}");
                let stem = given.split('.').next().unwrap();
                assert!(!stem.ends_with('%') && !stem.ends_with("%2"), "{given}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_twins_take_no_time() {
        let mut names = Names::default();
        let last = (0..100_000).map(|_| names.give("the same")).last();
        assert_eq!(last.as_deref(), Some("the same~100000"));
    }

    #[test]
    fn paths_of_every_system_have_a_last_component() {
        let parts =
            ["C:\\data\\x.tif", "/home/a/x.tif", "x.tif", "\\\\host\\x.tif/", "", "//"].map(last_component);
        assert_eq!(parts, ["x.tif", "x.tif", "x.tif", "x.tif", "", ""]);
    }
}
