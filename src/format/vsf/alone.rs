//! One value, or the body of one section, without a file around it: as messages and other formats hold them.
//!
//! What may be large stays where it is, here too: a [`Data`](super::Data) is a range of the bytes that were given.

use std::sync::Arc;

use super::build::Fields;
use super::encode::{Piece, Pieces, Unfit, put_value};
use super::input::{Fault, Input};
use super::section::{self, Body};
use super::value::Value;
use super::walk::{Place, Walk};
use crate::error::Result;

/// Reads the value that the bytes begin with, as a file of `version` has it, and tells how many bytes it takes.
///
/// ```
/// use vaso::format::vsf::{self, Value, Width};
///
/// let (value, length) = vsf::read_value(b"u4\x07\x80 and more", 2)?;
/// assert_eq!((value, length), (Value::Unsigned(Width::W4, 1920), 4));
/// assert!(vsf::read_value(b"u4\x07", 2).is_err());
/// # Ok::<(), vaso::error::Error>(())
/// ```
pub fn read_value(bytes: &[u8], version: u64) -> Result<(Value, usize)> {
    let mut walk = Walk::new(&bytes, 0..bytes.len() as u64, Some(version), Place::Bare);
    let bracketed = bytes.first() == Some(&b'[');
    walk.base = bracketed.into();
    let value = match bracketed {
        true => walk.section(true).and_then(|mut section| match section.rest.take() {
            Some(rest) => Err(Fault::Wrong(rest.wrong)),
            None => Ok(Value::Section(Box::new(section))),
        }),
        false => walk.whole_value(0),
    };
    let value = value.map_err(|fault| fault.about("the value"))?;
    Ok((value, walk.cursor.at() as usize))
}

/// Reads the body of a section, with or without its brackets, as a file of `version` has it. What cannot be read is the
/// section's rest.
///
/// ```
/// use vaso::format::vsf;
///
/// let section = vsf::read_section(b"[(d3\x01k:u3\x07)(d3\x01l:u3\x08)]", 2)?.section;
/// assert_eq!((section.fields.len(), section.rest), (2, None));
/// # Ok::<(), vaso::error::Error>(())
/// ```
pub fn read_section(bytes: &[u8], version: u64) -> Result<Body> {
    section::read(&bytes, 0..bytes.len() as u64, Some(version), None)
}

impl Value {
    /// The bytes of the value as files of the design have it. Those that are not in memory are taken from `from`.
    ///
    /// ```
    /// use vaso::format::vsf::{self, Value, Width};
    ///
    /// assert_eq!(Value::Unsigned(Width::W4, 1920).to_bytes(None)?, b"u4\x07\x80");
    /// assert!(Value::Unsigned(Width::W3, 1920).to_bytes(None).is_err());
    /// # Ok::<(), vsf::Unfit>(())
    /// ```
    pub fn to_bytes(&self, from: Option<&Arc<dyn Input>>) -> Result<Vec<u8>, Unfit> {
        let mut pieces = Pieces::default();
        match self {
            Value::Section(section) => Fields::of(section, from)?.put_into(&mut pieces),
            value => put_value(&mut pieces, value, from)?,
        }
        let mut bytes = Vec::new();
        for piece in pieces.0 {
            match piece {
                Piece::Bytes(more) => bytes.extend_from_slice(&more),
                Piece::From(input, range) => {
                    let start = bytes.len();
                    let more = usize::try_from(range.end - range.start).map_err(|_| Unfit::Elsewhere)?;
                    bytes.try_reserve_exact(more).map_err(|e| Unfit::Unreadable(e.to_string()))?;
                    bytes.resize(start + more, 0);
                    let read = input.read_at(range.start, &mut bytes[start..]);
                    read.map_err(|error| Unfit::Unreadable(error.to_string()))?;
                }
                Piece::Place(_) | Piece::Signature => unreachable!("values have neither"),
            }
        }
        Ok(bytes)
    }
}
