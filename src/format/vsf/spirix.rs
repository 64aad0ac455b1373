//! Spirix numbers: a fraction and an exponent in two's complement, of any of five widths each.
//!
//! The parts are kept exactly, whatever they mean. What they mean as a number changed once: files of format 9
//! and later store scalars without their sign bit. [`Spirix::decimal`] is therefore told the format, and its
//! result is only ever shown beside the parts.

use super::element::{Element, Width};

/// One Spirix number. Parts are sign-extended to 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spirix {
    /// The width of the fraction.
    pub fraction: Width,
    /// The width of the exponent.
    pub exponent: Width,
    /// The fraction, or the real part's.
    pub re: i128,
    /// The imaginary part's fraction, for a circle.
    pub im: Option<i128>,
    /// The exponent.
    pub exp: i128,
}

/// The first format whose scalars have their sign in the complement of the highest bit.
const IMPLICIT_SIGN: u64 = 9;

impl Spirix {
    /// The element type.
    pub fn element(&self) -> Element {
        match self.im {
            None => Element::Scalar(self.fraction, self.exponent),
            Some(_) => Element::Circle(self.fraction, self.exponent),
        }
    }

    /// The parts of one stored number; `bytes` is as long as the element.
    pub fn of_bytes(fraction: Width, exponent: Width, circle: bool, bytes: &[u8]) -> Option<Spirix> {
        let (re, rest) = bytes.split_at_checked(fraction.bytes())?;
        let (im, exp) = rest.split_at_checked(if circle { fraction.bytes() } else { 0 })?;
        if exp.len() != exponent.bytes() {
            return None;
        }
        let raw = |bytes: &[u8]| bytes.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
        Some(Spirix {
            fraction,
            exponent,
            re: fraction.sign_extend(raw(re)),
            im: circle.then(|| fraction.sign_extend(raw(im))),
            exp: exponent.sign_extend(raw(exp)),
        })
    }

    /// The stored bytes: fraction or fractions, then the exponent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        let mut put = |value: i128, width: Width| out.extend(&value.to_be_bytes()[16 - width.bytes()..]);
        put(self.re, self.fraction);
        if let Some(im) = self.im {
            put(im, self.fraction);
        }
        put(self.exp, self.exponent);
        out
    }

    /// The number as text, for a file of format `version`: the nearest double, or the name of the state that is
    /// no number.
    pub fn decimal(&self, version: u64) -> String {
        match self.im {
            None if version >= IMPLICIT_SIGN => self.implicit(),
            None => self.explicit(self.re),
            Some(im) => format!("{}, {}", self.explicit(self.re), self.explicit(im)),
        }
    }

    /// The sign bit is stored; the smallest exponent marks what is no number.
    fn explicit(&self, fraction: i128) -> String {
        if self.exp == self.lowest_exponent() {
            return self.state(fraction).to_string();
        }
        let scale = self.exp.checked_sub(i128::from(self.fraction.bits()) - 1);
        show(scaled(fraction, scale))
    }

    /// The sign bit is the complement of the highest stored bit; exponents are biased, and 0 marks what is no
    /// number.
    fn implicit(&self) -> String {
        // Kept sign-extended, a biased exponent of 0 is 0.
        if self.exp == 0 {
            return self.state(self.re).to_string();
        }
        // The bias is half of the range: flipping the highest bit takes it away.
        let unbiased = self.exp ^ self.lowest_exponent();
        let top = 1u128 << (self.fraction.bits() - 1);
        let mask = top | (top - 1);
        let stored = self.re as u128 & mask;
        let half = scaled_unsigned(if stored & top != 0 { stored } else { (mask - stored).wrapping_add(1) });
        let sign = if stored & top != 0 { 1.0 } else { -1.0 };
        // A stored 0 is the most negative fraction, 2 to the number of bits.
        let magnitude = if stored == 0 { 2f64.powi(self.fraction.bits() as i32) } else { half };
        let scale = unbiased.checked_sub(i128::from(self.fraction.bits()) - 1);
        show(sign * times_power(magnitude, scale))
    }

    fn lowest_exponent(&self) -> i128 {
        i128::MIN >> (128 - self.exponent.bits())
    }

    /// What a fraction means beside the exponent that marks it as no number.
    fn state(&self, fraction: i128) -> &'static str {
        let bits = self.fraction.bits();
        let top = |n: u32| (fraction >> (bits - n)) & ((1 << n) - 1);
        match fraction {
            0 => "0",
            -1 => "infinity",
            _ => match (top(2), top(3)) {
                (0b01, _) => "exploded positive",
                (0b10, _) => "exploded negative",
                (_, 0b001) => "vanished positive",
                (_, 0b110) => "vanished negative",
                _ => "undefined",
            },
        }
    }
}

fn scaled(fraction: i128, scale: Option<i128>) -> f64 {
    let sign = if fraction < 0 { -1.0 } else { 1.0 };
    sign * times_power(scaled_unsigned(fraction.unsigned_abs()), scale)
}

fn scaled_unsigned(value: u128) -> f64 {
    value as f64
}

/// `value` times two to the `scale`, in two steps so that neither overflows before the product does.
fn times_power(value: f64, scale: Option<i128>) -> f64 {
    let scale = scale.unwrap_or(i128::MIN).clamp(-4000, 4000) as i32;
    let half = scale / 2;
    value
        * 2f64.powi(half / 2)
        * 2f64.powi(half - half / 2)
        * 2f64.powi((scale - half) / 2)
        * 2f64.powi(scale - half - (scale - half) / 2)
}

fn show(value: f64) -> String {
    if value == 0.0 {
        return "too small for a double".to_string();
    }
    if value.is_infinite() {
        return "too large for a double".to_string();
    }
    zmij::Buffer::new().format(value).to_string()
}
