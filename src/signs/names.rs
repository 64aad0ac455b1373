//! The names in a bundle: numbers of snapshots, and the copies that sync tools make of a file in conflict.

use std::cmp::Reverse;

use super::head;

/// Numbers of snapshots are below this.
const MOST: u64 = 1_000_000_000_000;
/// What a snapshot's name ends with.
const SUFFIX: &str = ".sqlite";

/// The number in the name of a snapshot: digits of any count, and the suffix in lower case.
pub fn number(name: &[u8]) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX.as_bytes())?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // As many zeros as a name has room for may stand before it.
    let more =
        |number: u64, digit: &u8| Some(number * 10 + u64::from(digit - b'0')).filter(|number| *number < MOST);
    digits.iter().try_fold(0, more)
}

/// The name that the application gives the snapshot of a number.
pub fn usual(number: u64) -> String {
    format!("{number:06}{SUFFIX}")
}

/// What the name of a file among the snapshots says. They are in the order of preference: the newest first, and of one
/// number the file itself, in the usual form, before any copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The number, of which the largest comes first.
    pub number: Reverse<u64>,
    /// Whether it is a sync tool's copy.
    pub copy: bool,
    unusual: bool,
    name: Vec<u8>,
}

impl Named {
    /// Reads a name; `None` for one that is neither a snapshot's nor a copy's.
    pub fn of(name: &[u8]) -> Option<Named> {
        let (number, copy) = match number(name) {
            Some(number) => (number, false),
            None => (conflicting_number(name)?, true),
        };
        let unusual = name != usual(number).as_bytes();
        Some(Named { number: Reverse(number), copy, unusual, name: name.to_vec() })
    }
}

/// Whether a path in a ZIP file is one that the Mac adds to whatever it packs: what it knows of the files beside them.
pub fn is_of_finder(path: &[u8]) -> bool {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    path.split(|b| *b == b'/').any(|part| part == b"__MACOSX")
        || name == b".DS_Store"
        || name.starts_with(b"._")
}

/// The number of a snapshot that a sync tool has made a copy of under `name`.
pub fn conflicting_number(name: &[u8]) -> Option<u64> {
    let digits = name.iter().take_while(|b| b.is_ascii_digit()).count();
    let (stem, rest) = name.split_at(digits);
    is_conflict_mark(rest.strip_suffix(SUFFIX.as_bytes())?)
        .then(|| number(&[stem, SUFFIX.as_bytes()].concat()))
        .flatten()
}

/// Whether `name` is a sync tool's copy of `STEM.EXT`.
pub fn is_conflict_copy(name: &[u8], stem: &str, ext: &str) -> bool {
    let rest = name.strip_prefix(stem.as_bytes()).and_then(|rest| rest.strip_suffix(ext.as_bytes()));
    rest.is_some_and(is_conflict_mark)
}

/// Whether `name` is that of HEAD, or of a sync tool's copy of it.
pub fn is_head(name: &[u8]) -> bool {
    name == head::NAME.as_bytes() || is_conflict_copy(name, "HEAD", ".json")
}

/// What sync tools put between the stem and the suffix of a copy.
fn is_conflict_mark(mark: &[u8]) -> bool {
    let Ok(mark) = std::str::from_utf8(mark) else { return false };
    // " (1)", " 2" and "-PCNAME" besides.
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let within = |open: &str| mark.strip_prefix(open).and_then(|rest| rest.strip_suffix(')'));
    is_certain_mark(mark.as_bytes())
        || within(" (").is_some_and(digits)
        || mark.strip_prefix(' ').is_some_and(digits)
        || mark.strip_prefix('-').is_some_and(|pc| !pc.is_empty() && !pc.contains(' ') && !pc.contains('.'))
}

/// The same, as far as no person would write it: " 2" and "-control" are names that people give.
pub fn is_certain_mark(mark: &[u8]) -> bool {
    let Ok(mark) = std::str::from_utf8(mark) else { return false };
    let within = |open: &str| mark.strip_prefix(open).and_then(|rest| rest.strip_suffix(')'));
    // " (NAME's conflicted copy 2026-02-03)", " (conflicted copy DATE TIME)", ".sync-conflict-DATE-TIME-ID"
    within(" (").is_some_and(|inner| inner.contains("conflicted copy"))
        || mark.strip_prefix(".sync-conflict-").is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_known_by_their_digits() {
        for (name, is) in [
            ("000042.sqlite", Some(42)),
            ("42.sqlite", Some(42)),
            ("1234567.sqlite", Some(1_234_567)),
            ("0000000000000042.sqlite", Some(42)),
            ("999999999999.sqlite", Some(999_999_999_999)),
            ("00000000000000000009.sqlite", Some(9)),
            ("00000000000000000000999999999999.sqlite", Some(999_999_999_999)),
            ("1000000000000.sqlite", None),
            ("00000000000001000000000000.sqlite", None),
            ("99999999999999999999999.sqlite", None),
            ("000042.SQLITE", None),
            ("+42.sqlite", None),
            ("٤٢.sqlite", None),
            (".sqlite", None),
            ("000042.sqlite-wal", None),
            ("000042 (1).sqlite", None),
        ] {
            assert_eq!(number(name.as_bytes()), is, "{name}");
        }
        assert_eq!((usual(42).as_str(), usual(1_234_567).as_str()), ("000042.sqlite", "1234567.sqlite"));
    }

    #[test]
    fn the_newest_comes_first_and_of_one_number_the_usual_name() {
        let mut names: Vec<Named> = [
            "2.sqlite",
            "000002 (1).sqlite",
            "000010 2.sqlite",
            "x.sqlite",
            "000002old.sqlite",
            "1234567.sqlite",
            "000002.sqlite",
        ]
        .iter()
        .filter_map(|name| Named::of(name.as_bytes()))
        .collect();
        names.sort();
        let names: Vec<&str> = names.iter().map(|n| std::str::from_utf8(&n.name).unwrap()).collect();
        let expected =
            ["1234567.sqlite", "000010 2.sqlite", "000002.sqlite", "2.sqlite", "000002 (1).sqlite"];
        assert_eq!(names, expected);
    }

    #[test]
    fn copies_of_sync_tools_are_known() {
        for mark in [
            " (Anna's conflicted copy 2026-02-03)",
            " 2",
            " (1)",
            "-LAB-PC7",
            ".sync-conflict-20260203-101112-ABCDEFG",
            " (conflicted copy 2026-02-03 101112)",
        ] {
            assert!(is_conflict_copy(format!("HEAD{mark}.json").as_bytes(), "HEAD", ".json"), "{mark}");
            assert_eq!(conflicting_number(format!("000007{mark}.sqlite").as_bytes()), Some(7), "{mark}");
        }
        for other in
            ["HEAD.json", "HEADER.json", "HEAD.json.bak", "HEAD old.json", "HEAD (x).json", "HEAD-.json"]
        {
            assert!(!is_conflict_copy(other.as_bytes(), "HEAD", ".json"), "{other}");
        }
        assert!(is_head(b"HEAD.json") && is_head(b"HEAD 2.json") && !is_head(b"HEADER.json"));
        assert!(is_of_finder(b"__MACOSX/._x") && is_of_finder(b"a/.DS_Store") && is_of_finder(b"._x"));
        assert!(!is_of_finder(b"x._y") && !is_of_finder(b"DS_Store") && !is_of_finder(b"a/MACOSX/x"));
        assert_eq!(conflicting_number(b"000007.sqlite"), None);
        assert_eq!(conflicting_number(b" (1).sqlite"), None);
    }
}
