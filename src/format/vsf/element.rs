//! The types of single values and of the elements of tensors.

use std::fmt;

use super::pack::packed_len;

/// How many bits an integer has, as its size marker says: `3` is 8 bits, `7` is 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// 8 bits.
    W3,
    /// 16 bits.
    W4,
    /// 32 bits.
    W5,
    /// 64 bits.
    W6,
    /// 128 bits.
    W7,
}

impl Width {
    /// All of them, the narrowest first.
    pub const ALL: [Width; 5] = [Width::W3, Width::W4, Width::W5, Width::W6, Width::W7];

    /// The width that a marker stands for.
    pub fn of(marker: u8) -> Option<Width> {
        Self::ALL.get(usize::from(marker.checked_sub(b'3')?)).copied()
    }

    /// The narrowest that holds an unsigned value.
    pub fn of_unsigned(value: u128) -> Width {
        let fits = |w: &&Width| w.bits() == 128 || value >> w.bits() == 0;
        *Self::ALL.iter().find(fits).expect("the last one holds all")
    }

    /// The narrowest that holds a signed value.
    pub fn of_signed(value: i128) -> Width {
        let fits = |w: &&Width| w.sign_extend(value as u128) == value;
        *Self::ALL.iter().find(fits).expect("the last one holds all")
    }

    /// The marker.
    pub fn marker(self) -> u8 {
        b'3' + self as u8
    }

    /// How many bytes.
    pub fn bytes(self) -> usize {
        1 << self as u8
    }

    /// How many bits.
    pub fn bits(self) -> u32 {
        8 << self as u8
    }

    /// The low bits of `raw` as a two's complement number.
    pub fn sign_extend(self, raw: u128) -> i128 {
        let unused = 128 - self.bits();
        (raw as i128) << unused >> unused
    }
}

/// What a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// One bit each, the first in the high bit of the first byte.
    Bool,
    /// `u3` to `u7`.
    Unsigned(Width),
    /// `i3` to `i7`.
    Signed(Width),
    /// `f5`: IEEE single precision.
    F5,
    /// `f6`: IEEE double precision.
    F6,
    /// `j5`: real and imaginary part in single precision.
    J5,
    /// `j6`: real and imaginary part in double precision.
    J6,
    /// `s33` to `s77`: fraction and exponent.
    Scalar(Width, Width),
    /// `c33` to `c77`: two fractions and the exponent that they share.
    Circle(Width, Width),
}

impl Element {
    /// The element whose markers are `letter` and `digits`, and how many of the digits it used.
    pub fn of(letter: u8, digits: [u8; 2]) -> Option<(Element, usize)> {
        let one = Width::of(digits[0]);
        let two = || Some((one?, Width::of(digits[1])?));
        Some(match (letter, digits[0]) {
            (b'u', b'0') => (Element::Bool, 1),
            (b'u', _) => (Element::Unsigned(one?), 1),
            (b'i', _) => (Element::Signed(one?), 1),
            (b'f', b'5') => (Element::F5, 1),
            (b'f', b'6') => (Element::F6, 1),
            (b'j', b'5') => (Element::J5, 1),
            (b'j', b'6') => (Element::J6, 1),
            (b's', _) => two().map(|(f, e)| (Element::Scalar(f, e), 2))?,
            (b'c', _) => two().map(|(f, e)| (Element::Circle(f, e), 2))?,
            _ => return None,
        })
    }

    /// The element of that name, as `u4`.
    pub fn named(name: &str) -> Option<Element> {
        let (&letter, digits) = name.as_bytes().split_first()?;
        let (element, used) = match digits {
            [a] => Element::of(letter, [*a, 0])?,
            [a, b] => Element::of(letter, [*a, *b])?,
            _ => return None,
        };
        (used == digits.len()).then_some(element)
    }

    /// How many bits one takes.
    pub fn bits(self) -> u64 {
        match self {
            Element::Bool => 1,
            Element::Unsigned(w) | Element::Signed(w) => w.bits().into(),
            Element::F5 => 32,
            Element::F6 | Element::J5 => 64,
            Element::J6 => 128,
            Element::Scalar(f, e) => (f.bits() + e.bits()).into(),
            Element::Circle(f, e) => (2 * f.bits() + e.bits()).into(),
        }
    }

    /// How many bytes `count` of them take; `None` where that is no number of 64 bits.
    pub fn bytes_of(self, count: u64) -> Option<u64> {
        packed_len(self.bits() as u32, count)
    }

    /// The markers, as they stand in a file.
    pub fn markers(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |w: &Width| char::from(w.marker());
        match self {
            Element::Bool => f.write_str("u0"),
            Element::Unsigned(w) => write!(f, "u{}", digit(w)),
            Element::Signed(w) => write!(f, "i{}", digit(w)),
            Element::F5 => f.write_str("f5"),
            Element::F6 => f.write_str("f6"),
            Element::J5 => f.write_str("j5"),
            Element::J6 => f.write_str("j6"),
            Element::Scalar(a, b) => write!(f, "s{}{}", digit(a), digit(b)),
            Element::Circle(a, b) => write!(f, "c{}{}", digit(a), digit(b)),
        }
    }
}
