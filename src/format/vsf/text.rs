//! Values from lines of text: the other direction of [`show::line`].
//!
//! A line becomes the narrowest type that is shown as that very line; what no number, time or truth value is shown
//! as, stays text.

use super::colour;
use super::eagle::EagleTime;
use super::element::Width;
use super::record::unhex;
use super::show;
use super::value::{Data, Sealed, Value};

/// The version of files that are written.
const VERSION: u64 = 2;

fn is_shown(value: &Value, line: &[u8]) -> bool {
    show::line(value, VERSION).is_some_and(|shown| shown == line)
}

/// A value of no type that is known beforehand.
pub fn infer(line: &[u8]) -> Value {
    let text = std::str::from_utf8(line).unwrap_or("");
    let unsigned = || text.parse().ok().map(|n| Value::Unsigned(Width::of_unsigned(n), n));
    let signed = || text.parse().ok().map(|n| Value::Signed(Width::of_signed(n), n));
    let found = [
        text.parse().ok().map(Value::Bool),
        unsigned(),
        signed(),
        real(text).map(Value::F6),
        complex(text, real).map(Value::J6),
        EagleTime::of_rfc3339(text).map(Value::Time),
    ];
    let found = found.into_iter().flatten().find(|value| is_shown(value, line));
    found.unwrap_or_else(|| Value::Ascii(b'l', Data::Bytes(line.to_vec())))
}

/// A value that was recorded, as the line says it now: of the type that it had, or the reason why it is none. Nobody
/// who corrects a number wants it to become text.
pub fn again(recorded: &Value, version: u64, line: &[u8]) -> Result<Value, String> {
    if show::line(recorded, version).is_some_and(|shown| shown == line) {
        return Ok(recorded.clone());
    }
    let text = std::str::from_utf8(line).unwrap_or("");
    let found = match recorded {
        Value::Bool(_) => text.parse().ok().map(Value::Bool),
        Value::Unsigned(width, _) => {
            let fits = |n: &u128| Width::of_unsigned(*n) <= *width;
            text.parse().ok().filter(fits).map(|n| Value::Unsigned(*width, n))
        }
        Value::Signed(width, _) => {
            let fits = |n: &i128| Width::of_signed(*n) <= *width;
            text.parse().ok().filter(fits).map(|n| Value::Signed(*width, n))
        }
        Value::F5(_) => single(text).map(Value::F5),
        Value::F6(_) => real(text).map(Value::F6),
        Value::J5(_) => complex(text, single).map(Value::J5),
        Value::J6(_) => complex(text, real).map(Value::J6),
        Value::Time(old) => old.again(text).map(Value::Time),
        Value::Number(letter, _) => text.parse().ok().map(|n| Value::Number(*letter, n)),
        Value::Name(_) => Some(Value::Name(Data::Bytes(line.to_vec()))),
        Value::Ascii(letter, _) => Some(Value::Ascii(*letter, Data::Bytes(line.to_vec()))),
        Value::World(_) => {
            let hex = text.strip_prefix("0x");
            hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(Value::World)
        }
        Value::Opaque(old) => {
            let new = old.bytes().and_then(|old| colour::again(old, text));
            new.map(|new| Value::Opaque(Data::Bytes(new)))
        }
        sealed => self::sealed(sealed, text),
    };
    found.ok_or_else(|| {
        let (kind, line) = (recorded.kind(), String::from_utf8_lossy(&line[..line.len().min(60)]));
        format!("its type is {kind}, which cannot hold {line:?} as it stands; write a value of that type")
    })
}

/// Hashes and the like, which are as long as they were.
fn sealed(recorded: &Value, text: &str) -> Option<Value> {
    let bytes = unhex(text)?;
    let again = |old: &Sealed| {
        let same = old.data.len() == bytes.len() as u64;
        same.then(|| Sealed { algorithm: old.algorithm, data: Data::Bytes(bytes.clone()) })
    };
    match recorded {
        Value::Hash(old) => again(old).map(Value::Hash),
        Value::Signature(old) => again(old).map(Value::Signature),
        Value::Key(old) => again(old).map(Value::Key),
        Value::Mac(letter, old) => again(old).map(|new| Value::Mac(*letter, new)),
        _ => None,
    }
}

/// A number, unless it is one that only infinity or zero comes near to.
fn real(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let zero = !mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    let digits = mantissa.bytes().any(|b| b.is_ascii_digit());
    (!digits || number.is_finite() && (number == 0.0) == zero).then_some(number)
}

/// The same in single precision, which shows no other digits than these.
fn single(text: &str) -> Option<f32> {
    let (wide, narrow) = (real(text)?, text.parse().ok()?);
    let shown = show::line(&Value::F5(narrow), VERSION)?;
    let shown: f64 = std::str::from_utf8(&shown).ok()?.parse().ok()?;
    (shown == wide || wide.is_nan()).then_some(narrow)
}

/// `re+imj`: the sign that parts them follows no exponent.
fn complex<T>(text: &str, real: impl Fn(&str) -> Option<T>) -> Option<[T; 2]> {
    let both = text.strip_suffix('j')?;
    let bytes = both.as_bytes();
    let parts = (1..bytes.len()).rev().filter(|at| matches!(bytes[*at], b'+' | b'-'));
    let mut pairs = parts.filter_map(|at| Some([real(&both[..at])?, real(&both[at..])?]));
    pairs.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_be_written_in_more_ways_than_it_is_shown() {
        let again = |value: Value, line: &str| again(&value, 2, line.as_bytes()).ok();
        assert_eq!(again(Value::F6(1.0), "0002.50"), Some(Value::F6(2.5)));
        assert_eq!(again(Value::F5(1.0), "0.150"), Some(Value::F5(0.15)));
        assert_eq!(again(Value::F5(1.0), "1e-50"), None);
        assert_eq!(again(Value::F5(1.0), "0.1500000001"), None);
        assert_eq!(again(Value::Unsigned(Width::W3, 1), "+007"), Some(Value::Unsigned(Width::W3, 7)));
        assert_eq!(again(Value::J5([1.0, 0.0]), "0.150-2e1j"), Some(Value::J5([0.15, -20.0])));
    }
}
