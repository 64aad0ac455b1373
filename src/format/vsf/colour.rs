//! Colours: a marker that says what is counted, and the channels behind it.
//!
//! They stay the bytes that they are ([`Value::Opaque`](super::Value::Opaque)), and are shown as a line: `#rrggbb` where
//! the channels are bytes of red, green and blue, else the letters of the marker and its numbers, or its name. The named
//! ones had one letter before format 7 and have `c` and a letter since; some of the old ones are markers of something
//! else now. So a marker may have two lengths, of which the one counts behind which the value may end.

use super::element::Width;
use super::show;
use super::spirix::Spirix;

/// The first format whose named colours begin with `rc`.
const WITH_C: u64 = 7;

/// What a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    /// An integer of so many bytes.
    Whole(usize),
    /// Single precision.
    Real,
    /// A Spirix scalar of two parts of 16 bits.
    Scalar,
}

impl Channel {
    fn bytes(self) -> usize {
        match self {
            Channel::Whole(bytes) => bytes,
            Channel::Real | Channel::Scalar => 4,
        }
    }

    fn text(self, bytes: &[u8]) -> Option<String> {
        let whole = bytes.iter().fold(0u128, |n, byte| n << 8 | u128::from(*byte));
        Some(match self {
            Channel::Whole(_) => whole.to_string(),
            Channel::Real => show::single(f32::from_bits(whole as u32)),
            // Its parts: what they mean as a number depends on the format.
            Channel::Scalar => {
                let parts = Spirix::of_bytes(Width::W4, Width::W4, false, bytes)?;
                format!("{}:{}", parts.re, parts.exp)
            }
        })
    }
}

/// What stands behind a marker: how many bytes it has, and the channels behind it.
fn channels(marks: &[u8]) -> Option<(usize, Channel, usize)> {
    use Channel::{Real, Scalar, Whole};
    let (channel, count) = match *marks.get(1)? {
        b'e' | b'i' => (Whole(1), 1),
        b'x' | b'p' => (Whole(2), 1),
        b'z' => (Real, 1),
        b'u' => (Whole(1), 3),
        b's' => (Whole(2), 3),
        b'f' => (Real, 3),
        b'a' => (Whole(1), 4),
        b't' => (Whole(2), 4),
        b'h' => (Real, 4),
        b'd' => (Scalar, 1),
        b'b' => (Scalar, 3),
        b'w' => (Scalar, 4),
        digit @ (b'1'..=b'9' | b'A'..=b'Z') => {
            let count = char::from(digit).to_digit(36)?;
            return Some((3, Whole(Width::of(*marks.get(2)?)?.bytes()), count as usize));
        }
        _ => return None,
    };
    Some((2, channel, count))
}

fn name(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'b' => "blue",
        b'c' => "cyan",
        b'g' => "grey",
        b'j' => "magenta",
        b'k' => "black",
        b'l' => "lime",
        b'n' => "green",
        b'o' => "orange",
        b'q' => "aqua",
        b'r' => "red",
        b'v' => "violet",
        b'w' => "white",
        b'y' => "yellow",
        _ => return None,
    })
}

/// How many bytes the colour may have that begins with `marks`, the likeliest first; none if it is no colour.
pub fn lengths(marks: &[u8], version: Option<u64>) -> Vec<usize> {
    if marks.first() != Some(&b'r') {
        return Vec::new();
    }
    let counted = channels(marks).map(|(marks, channel, count)| marks + channel.bytes() * count);
    let named = match marks {
        [_, b'c', letter, ..] if letter.is_ascii_alphabetic() => Some(3),
        _ => None,
    };
    let old = marks.get(1).and_then(|letter| name(*letter)).map(|_| 2);
    let mut lengths: Vec<usize> = [counted, named, old].into_iter().flatten().collect();
    if version.is_some_and(|z| z < WITH_C) {
        lengths.reverse();
    }
    lengths
}

/// The markers and what is behind them; `None` for what is no colour.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [b'r', letter] if name(*letter).is_some() => Some((bytes, &[])),
        [b'r', b'c', letter] if letter.is_ascii_alphabetic() => Some((bytes, &[])),
        [b'r', ..] => {
            let (marks, channel, count) = channels(bytes)?;
            (bytes.len() == marks + channel.bytes() * count).then(|| bytes.split_at(marks))
        }
        _ => None,
    }
}

/// The letters of its marker.
pub fn kind(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(parts(bytes)?.0).into_owned())
}

/// The line that a colour is; `None` for what is none.
pub fn line(bytes: &[u8]) -> Option<String> {
    let (marks, behind) = parts(bytes)?;
    let letters = String::from_utf8_lossy(marks);
    if behind.is_empty() {
        let known = marks.last().and_then(|letter| name(*letter));
        return Some(known.map_or(letters.to_string(), |name| format!("{letters} {name}")));
    }
    if matches!(marks, b"ru" | b"ra") {
        return Some(format!("#{}", show::hex(behind)));
    }
    let (_, channel, _) = channels(bytes)?;
    let texts: Option<Vec<String>> = behind.chunks(channel.bytes()).map(|one| channel.text(one)).collect();
    Some(format!("{letters} {}", texts?.join(" ")))
}

/// The bytes of a colour that was shown as another line, which is `text` now; `None` where that says none of its type.
pub fn again(bytes: &[u8], text: &str) -> Option<Vec<u8>> {
    let (marks, behind) = parts(bytes)?;
    let digits = text.strip_prefix('#').filter(|_| matches!(marks, b"ru" | b"ra"))?;
    let new = super::record::unhex(digits).filter(|new| new.len() == behind.len())?;
    Some([marks, &new].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths and meanings are those that the released writers' encoders have.
    #[test]
    fn each_marker_has_its_length_and_its_line() {
        let colours: [(&[u8], &str); 17] = [
            (b"ru\x01\x80\xFF", "#0180ff"),
            (b"ra\x01\x80\xFF\x40", "#0180ff40"),
            (b"re\x80", "re 128"),
            (b"rx\x03\xE8", "rx 1000"),
            (b"rz\x3F\0\0\0", "rz 0.5"),
            (b"ri\x83", "ri 131"),
            (b"rp\xF8\0", "rp 63488"),
            (b"rs\0\x01\0\x02\xFF\xFF", "rs 1 2 65535"),
            (b"rf\x3F\0\0\0\x3E\x80\0\0\0\0\0\0", "rf 0.5 0.25 0.0"),
            (b"rt\0\x01\0\x02\0\x03\0\x04", "rt 1 2 3 4"),
            (b"rh\x3F\0\0\0\x3F\0\0\0\x3F\0\0\0\x3F\x80\0\0", "rh 0.5 0.5 0.5 1.0"),
            (b"rd\x40\0\0\x01", "rd 16384:1"),
            (b"rb\x40\0\0\x01\x40\0\xFF\xFF\x40\0\0\0", "rb 16384:1 16384:-1 16384:0"),
            (
                b"rG3\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F",
                "rG3 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
            ),
            (b"rr", "rr red"),
            (b"rcr", "rcr red"),
            (b"rcz", "rcz"),
        ];
        for (bytes, text) in colours {
            assert_eq!(line(bytes).as_deref(), Some(text));
            for version in [2, 10] {
                assert!(lengths(bytes, Some(version)).contains(&bytes.len()), "{text}");
            }
            assert_eq!(line(&[bytes, b"\0"].concat()), None, "{text}");
            assert!(text.starts_with('#') || text.starts_with(&kind(bytes).unwrap()));
        }
        assert_eq!((lengths(b"rb)", Some(2)), lengths(b"rb)", Some(10))), (vec![2, 14], vec![14, 2]));
        assert_eq!((lengths(b"rm3", Some(10)), lengths(b"u4\0", Some(10))), (vec![], vec![]));
        assert_eq!(again(b"ru\x01\x02\x03", "#0a0B0c"), Some(b"ru\x0A\x0B\x0C".to_vec()));
        for text in ["#0a0b", "0a0b0c", "#0a0b0c0d", "red"] {
            assert_eq!(again(b"ru\x01\x02\x03", text), None);
        }
    }
}
