//! What was built is read back by the reader before it is accepted.
//!
//! Text without its codebook and types that nobody knows do not say where they end: whether they are read as they were
//! meant shows only when all of their section is. What is compared is what every value is, and where it and its field
//! end.

use std::mem::{Discriminant, discriminant};
use std::ops::Range;
use std::sync::Arc;

use super::encode::{Piece, Pieces, Unfit};
use super::input::Input;
use super::section;
use super::value::{Field, Section, Value};
use crate::error::{Error, Result as Read};

/// What has to be read back: of each field its length and how many values it has, of each value what it is, its length
/// and, of a section, its own shape. Places count as [`SOME_PLACE`].
pub type Shape = Vec<Part>;

/// One thing that has to be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A field, its length and its number of values.
    Field(u64, u64),
    /// A value and its length.
    Value(Discriminant<Value>, u64),
}

impl Part {
    /// Of a value that is so long.
    pub fn of(value: &Value, len: u64) -> Part {
        Part::Value(discriminant(value), len)
    }

    /// Of a section that is so long.
    pub fn section(len: u64) -> Part {
        let none = Section { prefix: vec![], fields: vec![], items: vec![], rest: None, span: 0..0 };
        Part::of(&Value::Section(Box::new(none)), len)
    }
}

fn shape_of(fields: &[Field], out: &mut Shape) {
    let length = |span: &Range<u64>| span.end - span.start;
    for field in fields {
        out.push(Part::Field(length(&field.span), field.values.len() as u64));
        for item in &field.values {
            out.push(Part::of(&item.value, length(&item.span)));
            if let Value::Section(inner) = &item.value {
                shape_of(&inner.fields, out);
            }
        }
    }
}

/// A place as it is counted before it is known.
pub const SOME_PLACE: &[u8] = b"o3\0b3\0n3\0";

/// A section is what the reader says it is: field by field as long, with as many values, as was put in.
pub fn read_back(name: &str, pieces: &Pieces, count: u64, shape: &Shape) -> Result<(), Unfit> {
    let there = Joined::new(pieces);
    let unclear = || Unfit::Unclear(name.to_string());
    // What cannot be read back is told by what it lies in.
    let body = section::read(&there, 0..there.size, Some(2), Some(count));
    let section = body.map_err(|error| Unfit::Unreadable(error.to_string()))?.section;
    let mut read = Shape::with_capacity(shape.len());
    shape_of(&section.fields, &mut read);
    let whole = section.rest.is_none() && section.prefix.is_empty() && section.items.is_empty();
    if whole && read == *shape { Ok(()) } else { Err(unclear()) }
}

/// How long pieces are, with no more than room for a place.
pub fn size_of(pieces: &Pieces) -> u64 {
    let size = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.len() as u64,
        Piece::Place(_) => SOME_PLACE.len() as u64,
        Piece::Signature => 64,
        Piece::From(_, range) => range.end - range.start,
    };
    // More bytes than there are numbers for are too many, wherever that is asked.
    pieces.0.iter().map(size).fold(0, u64::saturating_add)
}

/// Pieces as one input. Of bytes that lie elsewhere no more is read than a walk looks at.
pub struct Joined {
    parts: Vec<(u64, Lies)>,
    size: u64,
}

/// Where a stretch of bytes lies.
enum Lies {
    Here(Vec<u8>),
    There(Arc<dyn Input>, Range<u64>),
}

impl Lies {
    fn len(&self) -> u64 {
        match self {
            Lies::Here(bytes) => bytes.len() as u64,
            Lies::There(_, range) => range.end - range.start,
        }
    }
}

impl Joined {
    /// All of the pieces.
    pub fn new(pieces: &Pieces) -> Joined {
        let mut joined = Joined { parts: Vec::new(), size: 0 };
        for piece in &pieces.0 {
            let lies = match piece {
                Piece::Bytes(bytes) => Lies::Here(bytes.clone()),
                Piece::Place(_) => Lies::Here(SOME_PLACE.to_vec()),
                Piece::Signature => Lies::Here(vec![0; 64]),
                Piece::From(input, range) => Lies::There(input.clone(), range.clone()),
            };
            let len = lies.len();
            joined.parts.push((joined.size, lies));
            joined.size = joined.size.saturating_add(len);
        }
        joined
    }

    /// The first part that ends behind `offset`.
    fn first(&self, offset: u64) -> usize {
        self.parts.partition_point(|(at, lies)| at.saturating_add(lies.len()) <= offset)
    }

    /// A range of which all lies in memory.
    pub fn held(&self, range: &Range<u64>) -> Option<&[u8]> {
        match self.parts.get(self.first(range.start))? {
            (at, Lies::Here(bytes)) => {
                let from = range.start.checked_sub(*at)? as usize;
                bytes.get(from..from.checked_add((range.end - range.start) as usize)?)
            }
            _ => None,
        }
    }
}

impl Input for Joined {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Read<()> {
        let end = offset + buf.len() as u64;
        if end > self.size {
            return Err(Error::damaged("vsf-short", "", "a read ran past the end"));
        }
        for (at, lies) in self.parts[self.first(offset)..].iter().take_while(|(at, _)| *at < end) {
            let from = offset.max(*at);
            let to = end.min(at + lies.len());
            let into = &mut buf[(from - offset) as usize..(to - offset) as usize];
            match lies {
                Lies::Here(bytes) => into.copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]),
                Lies::There(input, range) => input.read_at(range.start + (from - at), into)?,
            }
        }
        Ok(())
    }
}
