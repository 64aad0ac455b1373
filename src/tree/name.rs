//! Paths that are safe to show.
//!
//! A name that came out of a file is bytes; a [`SafePath`] is a name that was checked. Only the latter can be
//! put into a tree, so that nothing outside a mount can ever be reached through a name in a project.

/// Why a stored name is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no component in it.
    #[error("the name is empty")]
    Empty,
    /// It starts at the root of a file system.
    #[error("the name is absolute")]
    Absolute,
    /// It has a component that stands for a place, not a name.
    #[error("the name has an empty, `.` or `..` component")]
    Relative,
    /// A component that becomes `.` or `..` when a program normalises it.
    #[error("the name has a component that is `.` or `..` in disguise")]
    Disguised,
    /// NUL ends names in every system call.
    #[error("the name contains a NUL byte")]
    Nul,
    /// Windows programs write it as a separator; elsewhere it is a letter.
    #[error("the name contains a backslash")]
    Backslash,
    /// `C:/...`
    #[error("the name begins with a drive letter")]
    Drive,
    /// A component that no system call takes.
    #[error("a component of the name is longer than 255 bytes")]
    LongComponent,
    /// A path that no system call takes.
    #[error("the name is longer than 4095 bytes")]
    LongPath,
    /// The file says that it is UTF-8.
    #[error("the name is marked as UTF-8 and is not")]
    NotUtf8,
}

/// A relative path of proper components, and whether it was written as a directory (with a slash at its end).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafePath<'a> {
    path: &'a [u8],
    directory: bool,
}

impl<'a> SafePath<'a> {
    /// The longest component, as in every Linux file system.
    pub const MAX_COMPONENT: usize = 255;
    /// The longest path that a system call takes, without its terminating NUL.
    pub const MAX_PATH: usize = 4095;

    /// Checks a stored name.
    pub fn check(name: &'a [u8]) -> Result<SafePath<'a>, NameError> {
        let (path, directory) = match name {
            [path @ .., b'/'] => (path, true),
            path => (path, false),
        };
        if path.is_empty() {
            return Err(if directory { NameError::Absolute } else { NameError::Empty });
        }
        if path[0] == b'/' {
            return Err(NameError::Absolute);
        }
        // Both at once, without a branch: a million names pass here.
        if path.iter().fold(false, |odd, b| odd | (*b == 0) | (*b == b'\\')) {
            return Err(if path.contains(&0) { NameError::Nul } else { NameError::Backslash });
        }
        if path.len() > Self::MAX_PATH {
            return Err(NameError::LongPath);
        }
        if matches!(path, [letter, b':', b'/', ..] if letter.is_ascii_alphabetic()) {
            return Err(NameError::Drive);
        }
        let ascii = path.is_ascii();
        for part in path.split(|b| *b == b'/') {
            match part {
                b"" | b"." | b".." => return Err(NameError::Relative),
                part if part.len() > Self::MAX_COMPONENT => return Err(NameError::LongComponent),
                part if !ascii && dots_in_disguise(part) => return Err(NameError::Disguised),
                _ => {}
            }
        }
        Ok(SafePath { path, directory })
    }

    /// The path without a slash at its end.
    pub fn bytes(&self) -> &'a [u8] {
        self.path
    }

    /// Whether the name was written as a directory.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The components from the top.
    pub fn components(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.path.split(|b| *b == b'/')
    }

    /// The path of the directory that it stands in, and the last component.
    pub fn split(&self) -> (&'a [u8], &'a [u8]) {
        match self.path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&self.path[..at], &self.path[at + 1..]),
            None => (b"", self.path),
        }
    }
}

/// A name whose bytes are `%XX` where they are part of a character that `hides` (or of none, for which it is asked with
/// `None`), and so is a `%` that would be taken for one of them.
pub fn escaped(name: &[u8], hides: impl Fn(Option<char>) -> bool) -> Vec<u8> {
    let mut safe = Vec::with_capacity(name.len());
    let hex = |at: usize| name.get(at).is_some_and(u8::is_ascii_hexdigit);
    let mut at = 0;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let bytes = &name[at..at + c.len_utf8()];
            put(&mut safe, bytes, hides(Some(c)) || c == '%' && hex(at + 1) && hex(at + 2));
            at += bytes.len();
        }
        put(&mut safe, chunk.invalid(), hides(None));
        at += chunk.invalid().len();
    }
    safe
}

fn put(safe: &mut Vec<u8>, bytes: &[u8], hidden: bool) {
    match hidden {
        true => bytes.iter().for_each(|byte| safe.extend_from_slice(format!("%{byte:02X}").as_bytes())),
        false => safe.extend_from_slice(bytes),
    }
}

/// The name that ours gets beside stored ones: itself, or the first of its twins `~2`, `~3` that is free.
pub fn free_twin(name: &str, taken: impl Fn(&[u8]) -> bool) -> String {
    let twin = |n: u64| if n == 1 { name.to_string() } else { format!("{name}~{n}") };
    (1..)
        .map(twin)
        .find(|twin| !taken(twin.as_bytes()))
        .expect("a tree has fewer names than there are numbers")
}

/// Sync clients and archive tools normalise names; these become dots under Unicode's compatibility forms.
fn dots_in_disguise(part: &[u8]) -> bool {
    if part.len() > 6 || part.is_ascii() {
        return false;
    }
    let Ok(text) = std::str::from_utf8(part) else { return false };
    let dots: Option<usize> = text
        .chars()
        .map(|c| match c {
            '.' | '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => Some(1),
            '\u{2025}' | '\u{fe30}' => Some(2),
            _ => None,
        })
        .sum();
    matches!(dots, Some(1 | 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_leads_elsewhere() {
        use NameError::*;
        for (name, why) in [
            (&b""[..], Empty),
            (b"/", Absolute),
            (b"//a", Absolute),
            (b"/etc/passwd", Absolute),
            (b"..", Relative),
            (b"a/../b", Relative),
            (b"a/./b", Relative),
            (b"a//b", Relative),
            (b"./a", Relative),
            (b"a\0b", Nul),
            (b"a\\b", Backslash),
            (b"C:/x", Drive),
            ("．．/x".as_bytes(), Disguised),
            ("a/‥".as_bytes(), Disguised),
            (&[b'n'; 256], LongComponent),
            (&b"d/".repeat(2049), LongPath),
        ] {
            let start = String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned();
            assert_eq!(SafePath::check(name).err(), Some(why), "{start:?}");
        }
    }

    #[test]
    fn what_is_hidden_is_written_in_digits_and_nothing_is_taken_for_it() {
        let hides = |c: Option<char>| c.is_none_or(|c| c == '/' || c.is_control());
        for (name, expected) in [
            (&b"a/b"[..], &b"a%2Fb"[..]),
            (b"50% or %2f, %2", b"50% or %252f, %2"),
            (b"%%2F", b"%%252F"),
            (b"\xff%41", b"%FF%2541"),
            ("\u{85}µ".as_bytes(), "%C2%85µ".as_bytes()),
            (b"%4\xff", b"%4%FF"),
            (b"", b""),
        ] {
            assert_eq!(escaped(name, hides), expected, "{}", name.escape_ascii());
        }
        assert_eq!(escaped(b"\xff", |_| false), b"\xff");
    }

    #[test]
    fn takes_what_is_only_unusual() {
        for name in [&b"C:x"[..], b"f:stream", b"a\nb", b"...", b"a. ", b"CON", b"%2e%2e", b" ", b"\xff"] {
            assert_eq!(SafePath::check(name).unwrap().bytes(), name);
        }
        let dir = SafePath::check(b"a/b/").unwrap();
        assert!(dir.is_directory());
        assert_eq!(dir.split(), (&b"a"[..], &b"b"[..]));
    }
}
