//! Values that may be one of several.
//!
//! Four markers say less than they should: the seconds of formats 2 and 3 do not tell whether they have four bytes or
//! eight, `l` was text before it was a number, a place on the world had no size before it had one, and strided tensors
//! are stored as far as their shape or as far as their strides. A way is possible if a delimiter stands where it ends;
//! but a delimiter may as well be part of the bytes, so where more than one is possible all that follows decides
//! (`resync.rs`), and never the next byte alone.

use std::collections::hash_map::Entry;

use super::eagle::{Count, EagleTime, Mark, Unit};
use super::input::{Fault, Parsed};
use super::value::Value;
use super::walk::{Found, Place, Walk};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Seconds in double precision, with no width.
    Double,
    /// Seconds in single precision, with no width.
    Single,
    /// Seconds with a digit for their width.
    Typed,
    /// `l` as a number.
    Number,
    /// `l` as text.
    Text,
    /// A place of eight bytes.
    Place,
    /// A place with its size.
    SizedPlace,
    /// A strided tensor of as many elements as its shape has.
    Shape,
    /// A strided tensor of as many elements as its strides reach, which are more, or all that are there: its writer
    /// counted on them.
    Reach,
}

/// A value that may be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Its marker.
    pub start: u64,
    /// What it may be and where it would end, the likeliest first; at least two.
    pub ways: Vec<(Way, u64)>,
}

impl Walk<'_> {
    /// What the value with this marker may be, the likeliest first; none for most, which say it themselves.
    fn ways(&self, marker: u8, next: u8) -> &'static [Way] {
        let version = self.version;
        match (marker, next) {
            (b'e', b'f') if version.is_none_or(|z| z <= 3) => &[Way::Double, Way::Single, Way::Typed],
            (b'l', _) if self.place == Place::Header || version.is_none_or(|z| z < 7) => &[],
            (b'l', _) if version == Some(7) => &[Way::Text, Way::Number],
            (b'l', _) => &[Way::Number, Way::Text],
            (b'w', _) if version == Some(7) => &[Way::Place, Way::SizedPlace],
            (b'q', _) => &[Way::Shape, Way::Reach],
            _ => &[],
        }
    }

    /// The value at `start`, behind whose marker the walk stands, if it is one that may be several. Where only one way
    /// is possible it is that; where none is, the first that can be read at all.
    pub fn fork(&mut self, start: u64, marker: u8, next: u8) -> Parsed<Option<Found>> {
        let ways = self.ways(marker, next);
        if ways.is_empty() {
            return Ok(None);
        }
        if let Some(way) = self.picks.get(&start) {
            return self.read_as(*way).map(|value| Some(Found::Value(value)));
        }
        let from = self.cursor.at();
        // What is only tried takes no memory, and is not counted.
        let (room, wide) = (std::mem::take(&mut self.room), self.wide);
        let (mut possible, mut readable) = (Vec::new(), None);
        for way in ways {
            self.cursor.seek(from);
            match self.read_as(*way) {
                Ok(_) => {
                    let end = self.cursor.at();
                    readable = readable.or(Some(*way));
                    possible.extend(self.may_end_here()?.then_some((*way, end)));
                }
                Err(Fault::Wrong(_)) => {}
                Err(input) => return Err(input),
            }
        }
        (self.room, self.wide) = (room, wide);
        self.cursor.seek(from);
        let way = match &possible[..] {
            [] if marker == b'w' => return Ok(None),
            [] if marker == b'q' => Way::Shape,
            [] => readable.unwrap_or(ways[0]),
            [(way, _)] => *way,
            _ => return Ok(Some(Found::Fork(Fork { start, ways: possible }))),
        };
        self.read_as(way).map(|value| Some(Found::Value(value)))
    }

    /// The value as one of those that it may be; the walk stands behind its marker.
    pub fn read_as(&mut self, way: Way) -> Parsed<Value> {
        let time = |count, mark| Value::Time(EagleTime { count, unit: Unit::Seconds, mark });
        if matches!(way, Way::Double | Way::Single | Way::Typed) {
            self.cursor.skip(1)?;
        }
        Ok(match way {
            Way::Double => time(Count::F6(self.f6()?), Mark::Bare),
            Way::Single => time(Count::F5(self.f5()?), Mark::Bare),
            Way::Typed => time(self.typed_real()?, Mark::Typed),
            Way::Number => Value::Number(b'l', self.cursor.sized()?.value),
            Way::Text => Value::Ascii(b'l', self.text()?),
            Way::Place => Value::World(self.cursor.number(8)? as u64),
            Way::SizedPlace => {
                let place = u64::try_from(self.cursor.sized()?.value);
                Value::World(place.map_err(|_| self.cursor.wrong("vsf-too-large", "no place on the world"))?)
            }
            Way::Shape => self.tensor(b'q', false)?,
            Way::Reach => self.tensor(b'q', true)?,
        })
    }

    /// The value at the cursor, as what follows says that it is.
    pub fn decided(&mut self) -> Parsed<Found> {
        let start = self.cursor.at();
        let fork = match self.value()? {
            Found::Fork(fork) => fork,
            sure => return Ok(sure),
        };
        let likeliest = fork.ways[0].0;
        self.resolve(fork.into())?;
        if let Entry::Vacant(room) = self.picks.entry(start) {
            room.insert(likeliest);
            self.unsure.get_or_insert(start);
        }
        self.cursor.seek(start);
        self.value()
    }
}
