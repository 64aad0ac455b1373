//! Values of a known type in no known form: elements that no tensor has, integers wider than any machine's, packed
//! elements of too many bits.
//!
//! In a field such a value is no end of its neighbours: it is kept as bytes, like one of unknown type, and what is wrong
//! with it is told all the same, for it may as well be damage. Where it would end if it is what it seems is the first
//! end that is tried (`resync.rs`), and taken for want of another if a delimiter stands there. Nothing but its length is
//! ever made of it.

use super::input::{Fault, Parsed, Wrong};
use super::value::count_of;
use super::walk::{Open, Place, Walk};

/// The bytes of a number whose marker is the digit `marker`: two to the power of the digit, in bits.
fn bytes_of(marker: u8) -> Option<u64> {
    let digit = char::from(marker).to_digit(36).filter(|_| !marker.is_ascii_lowercase())?;
    Some(1 << digit.checked_sub(3)?)
}

/// How many bits an element has that begins with these bytes, and how many of them say so.
fn element_of(bytes: &[u8]) -> Option<(u64, u64)> {
    let bytes_at = |n: usize| bytes_of(*bytes.get(n)?);
    let (bytes, used) = match bytes.first()? {
        b'u' | b'i' | b'f' | b'e' | b'T' | b'w' => (bytes_at(1)?, 2),
        b'j' => (2 * bytes_at(1)?, 2),
        b's' => (bytes_at(1)? + bytes_at(2)?, 3),
        b'c' => (2 * bytes_at(1)? + bytes_at(2)?, 3),
        _ => return None,
    };
    Some((8 * bytes, used))
}

/// More bytes than there are before the elements of any value.
pub const HEAD: u64 = 4096;

/// How long the value is that begins with these bytes, which are [`HEAD`] or all of it; if that can be told.
pub fn length_of(head: &[u8]) -> Option<u64> {
    let mut walk = Walk::new(&head, 0..head.len() as u64, None, Place::Bare);
    let behind = walk.likely_length().ok()??;
    walk.cursor.at().checked_add(behind)
}

impl Walk<'_> {
    /// Whether `flaw` is of the form of the value at `start`, and not of what it holds.
    pub fn is_of_no_form(&mut self, start: u64, flaw: &Wrong) -> Parsed<bool> {
        self.cursor.seek(start);
        let marker = self.cursor.next()?.unwrap_or(0);
        Ok(match flaw.code {
            "vsf-element" | "vsf-width" | "vsf-bits" | "vsf-bool" | "vsf-time" => true,
            // Of other types it is the marker of a length.
            "vsf-size-marker" => b"uisce".contains(&marker),
            _ => false,
        })
    }

    /// Where the value at the cursor ends if it is what it seems to be, if that can be told.
    pub fn likely_end(&mut self) -> Parsed<Option<u64>> {
        let (start, wide) = (self.cursor.at(), self.wide);
        let end = match self.likely_length() {
            Ok(length) => length.and_then(|length| self.cursor.at().checked_add(length)),
            Err(Fault::Wrong(_)) => None,
            Err(input) => return Err(input),
        };
        self.cursor.seek(start);
        self.wide = wide;
        Ok(end.filter(|end| *end < self.cursor.end()))
    }

    /// The likely end of `open`, if a delimiter stands there.
    pub fn likely(&mut self, open: &Open) -> Parsed<Option<u64>> {
        let Some(end) = open.likely.filter(|_| self.place == Place::Field) else { return Ok(None) };
        self.cursor.seek(end);
        Ok(matches!(self.cursor.next()?, Some(b')' | b',')).then_some(end))
    }

    /// How many bytes the value has from where the walk then stands.
    fn likely_length(&mut self) -> Parsed<Option<u64>> {
        let marks = self.cursor.peek(3)?.to_vec();
        match marks[..] {
            [b'u', b'0', _] => Ok(Some(3)),
            [b'b', b'p', _] => {
                self.cursor.skip(2)?;
                let bits = self.count()?;
                let rank = self.rank()?;
                let count = count_of(&self.dimensions(rank)?).filter(|_| bits > 0);
                Ok(count.and_then(|count| data_of(count, bits)))
            }
            [b't', b'n', _] => {
                self.cursor.skip(2)?;
                let count = self.count()?;
                let Some(bits) = self.likely_element()? else { return Ok(None) };
                Ok(data_of(count, bits))
            }
            [b't' | b'q', ..] => {
                self.cursor.skip(1)?;
                let rank = self.rank()?;
                let Some(bits) = self.likely_element()? else { return Ok(None) };
                let shape = self.dimensions(rank)?;
                if marks[0] == b'q' {
                    self.dimensions(rank)?;
                }
                Ok(count_of(&shape).and_then(|count| data_of(count, bits)))
            }
            _ => Ok(element_of(&marks).map(|(bits, used)| used + bits / 8)),
        }
    }

    fn likely_element(&mut self) -> Parsed<Option<u64>> {
        let Some((bits, used)) = element_of(self.cursor.peek(3)?) else { return Ok(None) };
        self.cursor.skip(used)?;
        Ok(Some(bits))
    }
}

fn data_of(count: u64, bits: u64) -> Option<u64> {
    u64::try_from((u128::from(count) * u128::from(bits)).div_ceil(8)).ok()
}
