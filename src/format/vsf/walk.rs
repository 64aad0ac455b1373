//! The token walk: one reader for every dialect.
//!
//! Values are recognised by their markers alone, wherever they stand; the few that mean different things in
//! different dialects ask for the format's version, and where that does not decide, for what follows. Delimiters
//! occur inside of payloads, so none is ever searched for. Two kinds of value do not say where they end: text whose
//! codebook is not here, and what is not known. Those are [`Found::Open`]. Others may be one of several, each with its
//! own end, and their bytes do not say which: those are [`Found::Fork`] (`ways.rs`). `resync.rs` decides both by what
//! follows, to the very end.

use std::collections::HashMap;

use super::eagle::{Count, EagleTime, Mark, Unit};
use super::element::{Element, Width};
use super::input::{Cursor, Fault, Input, Parsed, Wrong, width_of};
use super::pack::packed_len;
use super::spirix::Spirix;
use super::value::{Algorithm, Data, Packed, Sealed, Tensor, Value, Wrapped, count_of};
use super::ways::{Fork, Way};
use super::{MAX_NAME, MAX_RANK, SMALL};

/// Where a value stands; what may follow it depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Between `<` and the labels.
    Header,
    /// In a label of the header.
    Label,
    /// In a field of a section.
    Field,
    /// In the body of a section, in no field.
    Bare,
}

/// A value that does not say where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its marker.
    pub start: u64,
    /// The first byte after what is known to belong to it.
    pub known: u64,
    /// How many characters it has, if it is text.
    pub chars: Option<u64>,
    /// Where it ends if it is what it seems to be, if that can be told.
    pub likely: Option<u64>,
    /// What is wrong with it, if it is of a known type and of no known form.
    pub flaw: Option<Wrong>,
}

impl Open {
    /// Text of `chars` characters, whose bytes begin at `known`.
    fn text(start: u64, known: u64, chars: u64) -> Open {
        Open { start, known, chars: Some(chars), likely: None, flaw: None }
    }

    /// A value of which only the marker is known.
    fn unknown(start: u64) -> Open {
        Open { start, known: start + 1, chars: None, likely: None, flaw: None }
    }
}

/// What stands at a place.
#[derive(Debug)]
pub enum Found {
    /// A value; the walk stands behind it.
    Value(Value),
    /// A value whose end is not known; the walk stands behind what is known of it.
    Open(Open),
    /// One of several values; where the walk stands means nothing.
    Fork(Fork),
}

/// A walk over one header or one body.
pub struct Walk<'a> {
    pub cursor: Cursor<'a>,
    /// The format's version, as far as it has been read.
    pub version: Option<u64>,
    pub place: Place,
    /// How many `[` are open.
    pub depth: u32,
    /// How many of them are open when the body's own fields are read: 1 where the body has brackets.
    pub base: u32,
    /// How many items of the body itself, or labels of the header, have been read.
    pub top: u64,
    /// How many there are to be, if the label or the header says so.
    pub expected: Option<u64>,
    /// The first byte of a header, and how long it says that it is; `None` in a body.
    pub header: Option<(u64, Option<u64>)>,
    /// Where values end that do not say so.
    pub ends: HashMap<u64, u64>,
    /// What values are that may be one of several.
    pub picks: HashMap<u64, Way>,
    /// The first value that what follows did not decide.
    pub unsure: Option<u64>,
    /// What is wrong with values that were kept as bytes, the first few of them.
    pub flaws: Vec<Wrong>,
    /// How many steps may still be taken to decide anything.
    pub tries: u32,
    /// Numbers in wider markers than they need.
    pub wide: u64,
    /// How many more bytes may be taken into memory.
    pub room: u64,
}

impl<'a> Walk<'a> {
    pub fn new(
        input: &'a dyn Input,
        range: std::ops::Range<u64>,
        version: Option<u64>,
        place: Place,
    ) -> Self {
        Walk {
            header: (place == Place::Header).then_some((range.start, None)),
            cursor: Cursor::new(input, range),
            version,
            place,
            depth: 0,
            base: 0,
            top: 0,
            expected: None,
            ends: HashMap::new(),
            picks: HashMap::new(),
            unsure: None,
            flaws: Vec::new(),
            tries: super::resync::ALL_TRIES,
            wide: 0,
            room: super::MAX_MEMORY,
        }
    }

    /// The value at the cursor, which is not a section. In a field, where what follows shows its end, one of a known
    /// type and of no known form is like one of unknown type, and what is wrong with it is told.
    pub fn value(&mut self) -> Parsed<Found> {
        let (start, wide) = (self.cursor.at(), self.wide);
        match self.known_value() {
            Err(Fault::Wrong(flaw)) if self.place == Place::Field && self.is_of_no_form(start, &flaw)? => {
                self.wide = wide;
                self.cursor.seek(start);
                let likely = self.likely_end()?;
                self.cursor.seek(start + 1);
                Ok(Found::Open(Open { likely, flaw: Some(flaw), ..Open::unknown(start) }))
            }
            other => other,
        }
    }

    fn known_value(&mut self) -> Parsed<Found> {
        let start = self.cursor.at();
        let marker = self.cursor.byte()?;
        let next = self.cursor.next()?.unwrap_or(0);
        let sized = width_of(next).is_some();
        if b"uijscobnyzLpTtq".contains(&marker) && matches!(next, b'8' | b'9' | b'A'..=b'Z') {
            return Err(self.cursor.wrong("vsf-width", "integers of this width are not supported"));
        }
        if let Some(found) = self.fork(start, marker, next)? {
            return Ok(found);
        }
        let value = match marker {
            b'u' => self.unsigned(next)?,
            b'i' if sized => self.signed()?,
            b'f' if matches!(next, b'5' | b'6') => self.real()?,
            b'j' if matches!(next, b'5' | b'6') => self.complex()?,
            b's' | b'c' if sized => self.spirix(marker == b'c')?,
            b'e' | b'T' => self.time(marker)?,
            b't' if matches!(next, b'5' | b'6') => self.design_time()?,
            b't' | b'q' => Some(self.tensor(marker, false)?),
            b'b' if next == b'p' => Some(self.packed(true)?),
            b'p' if sized => Some(self.packed(false)?),
            b'd' => Some(Value::Name(self.named()?)),
            b'l' => Some(self.read_as(if self.place == Place::Header { Way::Number } else { Way::Text })?),
            b'a' if sized => Some(Value::Ascii(b'a', self.text()?)),
            b'h' | b'g' | b'k' | b'a' | b'm' => self.sealed(marker, next)?,
            b'v' => Some(self.wrapped()?),
            b'w' if self.version.is_none_or(|z| z < 7) && self.cursor.left() >= 8 => {
                Some(self.read_as(Way::Place)?)
            }
            b'w' if matches!(next, b'3'..=b'6') => Some(self.read_as(Way::SizedPlace)?),
            b'x' => {
                let chars = self.count()?;
                return Ok(Found::Open(Open::text(start, self.cursor.at(), chars)));
            }
            b'b' | b'n' | b'o' | b'y' | b'z' | b'L' if sized => {
                let number = self.cursor.sized()?;
                self.wide += u64::from(!number.minimal);
                Some(Value::Number(marker, number.value))
            }
            b'n' | b'r' | b'{' => self.known_length(start, marker, next)?,
            _ if marker.is_ascii_alphabetic() => None,
            _ => {
                self.cursor.seek(start);
                return Err(self.cursor.wrong("vsf-marker", format!("0x{marker:02X} begins no value")));
            }
        };
        Ok(match value {
            Some(value) => Found::Value(value),
            None => {
                self.cursor.seek(start);
                let likely = self.likely_end()?;
                self.cursor.seek(start + 1);
                Found::Open(Open { likely, ..Open::unknown(start) })
            }
        })
    }

    /// A length or count.
    pub fn count(&mut self) -> Parsed<u64> {
        let at = self.cursor.at();
        let figure = self.cursor.sized()?;
        self.wide += u64::from(!figure.minimal);
        u64::try_from(figure.value).map_err(|_| {
            self.cursor.seek(at);
            self.cursor.wrong("vsf-too-large", "the number is larger than any file can need")
        })
    }

    fn width(&mut self) -> Parsed<Width> {
        let marker = self.cursor.byte()?;
        Width::of(marker).ok_or_else(|| {
            self.cursor
                .wrong("vsf-size-marker", format!("0x{marker:02X} before this byte is not a size marker"))
        })
    }

    /// Bytes of a value: in memory while they are few.
    pub fn data(&mut self, len: u64) -> Parsed<Data> {
        if len <= SMALL && len <= self.room {
            let bytes = self.cursor.take(len as usize)?;
            self.room -= len;
            return Ok(Data::Bytes(bytes));
        }
        Ok(Data::At(self.cursor.range(len)?))
    }

    fn unsigned(&mut self, next: u8) -> Parsed<Option<Value>> {
        let bool_of = |byte: u8| match byte {
            0x00 => Some(Value::Bool(false)),
            0xFF => Some(Value::Bool(true)),
            _ => None,
        };
        if next == b'0' {
            self.cursor.skip(1)?;
            let byte = self.cursor.byte()?;
            let wrong = || self.cursor.wrong("vsf-bool", "neither true nor false");
            return bool_of(byte).map(Some).ok_or_else(wrong);
        }
        if let Some(value) = bool_of(next) {
            self.cursor.skip(1)?;
            return Ok(Some(value));
        }
        let width = self.width()?;
        Ok(Some(Value::Unsigned(width, self.cursor.number(width.bytes())?)))
    }

    fn signed(&mut self) -> Parsed<Option<Value>> {
        let width = self.width()?;
        let raw = self.cursor.number(width.bytes())?;
        Ok(Some(Value::Signed(width, width.sign_extend(raw))))
    }

    pub fn f5(&mut self) -> Parsed<f32> {
        Ok(f32::from_be_bytes(self.cursor.array()?))
    }

    pub fn f6(&mut self) -> Parsed<f64> {
        Ok(f64::from_be_bytes(self.cursor.array()?))
    }

    fn real(&mut self) -> Parsed<Option<Value>> {
        Ok(Some(match self.cursor.byte()? {
            b'5' => Value::F5(self.f5()?),
            _ => Value::F6(self.f6()?),
        }))
    }

    fn complex(&mut self) -> Parsed<Option<Value>> {
        Ok(Some(match self.cursor.byte()? {
            b'5' => Value::J5([self.f5()?, self.f5()?]),
            _ => Value::J6([self.f6()?, self.f6()?]),
        }))
    }

    fn spirix(&mut self, circle: bool) -> Parsed<Option<Value>> {
        let fraction = self.width()?;
        let exponent = self.width()?;
        let len = fraction.bytes() * if circle { 2 } else { 1 } + exponent.bytes();
        let bytes = self.cursor.take(len)?;
        Ok(Spirix::of_bytes(fraction, exponent, circle, &bytes).map(Value::Spirix))
    }

    /// `T5`, and all forms of `e`.
    fn time(&mut self, marker: u8) -> Parsed<Option<Value>> {
        // Before format 6, and in floats ever since, it is seconds.
        let counted = match self.version {
            Some(0..=5) | None => Unit::Seconds,
            Some(_) => Unit::Oscillations,
        };
        let next = self.cursor.next()?.unwrap_or(0);
        let (count, unit, mark) = match (marker, next) {
            (b'T', b'3'..=b'7') => (self.signed_count()?, Unit::Seconds, Mark::Design),
            (b'e', b'3'..=b'7') => (self.signed_count()?, Unit::Oscillations, Mark::Plain),
            (b'e', b'i') => {
                self.cursor.skip(1)?;
                (self.signed_count()?, counted, Mark::Typed)
            }
            (b'e', b'u') => {
                self.cursor.skip(1)?;
                let width = self.width()?;
                let count = Count::Unsigned(width, self.cursor.number(width.bytes())?);
                (count, counted, Mark::Typed)
            }
            (b'e', b'f') => {
                self.cursor.skip(1)?;
                (self.typed_real()?, Unit::Seconds, Mark::Typed)
            }
            _ => return Ok(None),
        };
        Ok(Some(Value::Time(EagleTime { count, unit, mark })))
    }

    fn signed_count(&mut self) -> Parsed<Count> {
        let width = self.width()?;
        let raw = self.cursor.number(width.bytes())?;
        Ok(Count::Signed(width, width.sign_extend(raw)))
    }

    /// Behind `ef` or `e`: a digit and as many bytes as it says.
    pub fn typed_real(&mut self) -> Parsed<Count> {
        match self.cursor.byte()? {
            b'5' => Ok(Count::F5(self.f5()?)),
            b'6' => Ok(Count::F6(self.f6()?)),
            _ => Err(self.cursor.wrong("vsf-time", "a time in no known form")),
        }
    }

    /// `t5` and `t6`: no tensor, whose number of dimensions never needs 32 bits.
    fn design_time(&mut self) -> Parsed<Option<Value>> {
        let start = self.cursor.at();
        let count = self.typed_real()?;
        if !self.may_end_here()? || self.place == Place::Bare && self.element().is_ok() {
            // Then it claims to be a tensor all the same, and is refused as one.
            self.cursor.seek(start);
            return self.tensor(b't', false).map(Some);
        }
        Ok(Some(Value::Time(EagleTime { count, unit: Unit::Seconds, mark: Mark::Design })))
    }

    /// Whether a value may end at the cursor, going by what follows.
    pub fn may_end_here(&mut self) -> Parsed<bool> {
        let next = self.cursor.next()?;
        Ok(match self.place {
            Place::Field => matches!(next, Some(b')' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r')),
            Place::Label => next.is_some_and(|b| matches!(b, b')' | b',' | b':') || b.is_ascii_alphabetic()),
            Place::Header => next.is_some_and(|b| matches!(b, b'(' | b'>') || b.is_ascii_alphabetic()),
            Place::Bare => next.is_none_or(|b| b.is_ascii_alphabetic() || matches!(b, b'(' | b']')),
        })
    }

    pub fn dimensions(&mut self, rank: u64) -> Parsed<Vec<usize>> {
        let mut shape = Vec::with_capacity(rank as usize);
        for _ in 0..rank {
            let n = self.count()?;
            let wide = || self.cursor.wrong("vsf-shape", "a dimension is longer than any file");
            shape.push(usize::try_from(n).map_err(|_| wide())?);
        }
        Ok(shape)
    }

    pub fn rank(&mut self) -> Parsed<u64> {
        let rank = self.count()?;
        match rank <= MAX_RANK {
            true => Ok(rank),
            false => {
                Err(self.cursor.wrong("vsf-rank", format!("{rank} dimensions; up to {MAX_RANK} are read")))
            }
        }
    }

    fn element(&mut self) -> Parsed<Element> {
        let there = self.cursor.peek(3)?;
        let byte = |n: usize| there.get(n).copied().unwrap_or(0);
        let (letter, digits) = (byte(0), [byte(1), byte(2)]);
        let Some((element, used)) = Element::of(letter, digits) else {
            return Err(self
                .cursor
                .wrong("vsf-element", format!("0x{letter:02X} 0x{:02X} is no element type", digits[0])));
        };
        self.cursor.skip(1 + used as u64)?;
        Ok(element)
    }

    /// Of so many bytes, which have to be there; none if no number can say it.
    fn extent(&mut self, bytes: Option<u64>) -> Parsed<Data> {
        let Some(len) = bytes else {
            return Err(self.cursor.wrong("vsf-shape", "the shape is larger than any file"));
        };
        Ok(Data::At(self.cursor.range(len)?))
    }

    /// A tensor, behind its marker. As many elements are stored as the shape has; or, with `reaching`, as many as the
    /// strides reach, where those take more bytes, or the others are not there. (Where they reach fewer, because elements
    /// repeat, all are stored, unless that cannot be.)
    pub fn tensor(&mut self, marker: u8, reaching: bool) -> Parsed<Value> {
        let vector = marker == b't' && self.cursor.eat(b'n')?;
        let rank = if vector { 1 } else { self.rank()? };
        let mut shape = if vector { self.dimensions(1)? } else { Vec::new() };
        let element = self.element()?;
        if !vector {
            shape = self.dimensions(rank)?;
        }
        let strides = if marker == b'q' { Some(self.dimensions(rank)?) } else { None };
        let counted = count_of(&shape).and_then(|count| element.bytes_of(count));
        let stored = match &strides {
            Some(strides) if reaching => {
                let reached =
                    super::value::reach_of(&shape, strides).and_then(|reach| element.bytes_of(reach));
                let left = self.cursor.left();
                let refused = |(reached, counted)| reached == counted || reached < counted && counted <= left;
                if reached.zip(counted).is_none_or(refused) {
                    return Err(self.cursor.wrong("vsf-stride", "the strides reach no more than is there"));
                }
                reached
            }
            _ => counted,
        };
        let data = self.extent(stored)?;
        Ok(Value::Tensor(Tensor { element, shape, strides, vector, data }))
    }

    /// `bp`, bits, rank, dimensions; or `p`, rank, bits in one byte of which 0 is 256, dimensions.
    fn packed(&mut self, design: bool) -> Parsed<Value> {
        let (bits, rank) = if design {
            self.cursor.skip(1)?;
            let bits = self.count()?;
            (bits, self.rank()?)
        } else {
            let rank = self.rank()?;
            let bits = self.cursor.byte()?;
            (if bits == 0 { 256 } else { bits.into() }, rank)
        };
        let most = if design { 64 } else { 256 };
        if !(1..=most).contains(&bits) {
            return Err(self
                .cursor
                .wrong("vsf-bits", format!("elements of {bits} bits; 1 to {most} are possible")));
        }
        let shape = self.dimensions(rank)?;
        let data = self.extent(count_of(&shape).and_then(|count| packed_len(bits as u32, count)))?;
        Ok(Value::Packed(Packed { bits: bits as u16, shape, design, data }))
    }

    /// A name, behind its marker.
    pub fn named(&mut self) -> Parsed<Data> {
        let len = self.count()?;
        if len > MAX_NAME && len <= self.cursor.left() {
            return Err(self
                .cursor
                .wrong("vsf-name", format!("a name of {len} bytes; up to {MAX_NAME} are read")));
        }
        self.data(len)
    }

    pub fn text(&mut self) -> Parsed<Data> {
        let len = self.count()?;
        self.data(len)
    }

    /// `h`, `g`, `k` and codes: a letter for the algorithm and the length less one; or, as in the design, no
    /// algorithm and the length.
    fn sealed(&mut self, marker: u8, next: u8) -> Parsed<Option<Value>> {
        let after = self.cursor.peek(3)?;
        let sha512 = after == [b'5', b'3', 0x3F];
        let digit_follows = after.get(1).is_some_and(|b| width_of(*b).is_some());
        let algorithm = match next {
            b'2' if marker == b'h' => Algorithm::Sha(b'2'),
            b'5' if marker == b'h' && sha512 => Algorithm::Sha(b'5'),
            b'3'..=b'7' if matches!(marker, b'h' | b'g' | b'k') => Algorithm::Unsaid,
            letter if letter.is_ascii_alphabetic() && digit_follows => Algorithm::Letter(letter),
            _ => return Ok(None),
        };
        let len = if algorithm == Algorithm::Unsaid {
            self.count()?
        } else {
            self.cursor.skip(1)?;
            let less_one = self.count()?;
            less_one.checked_add(1).ok_or_else(|| self.cursor.wrong("vsf-too-large", "a length of 2^64"))?
        };
        let sealed = Sealed { algorithm, data: self.data(len)? };
        Ok(Some(match marker {
            b'h' => Value::Hash(sealed),
            b'g' => Value::Signature(sealed),
            b'k' => Value::Key(sealed),
            letter => Value::Mac(letter, sealed),
        }))
    }

    fn wrapped(&mut self) -> Parsed<Value> {
        let code = self.cursor.byte()?;
        let bits = self.count()?;
        let data = self.data(bits.div_ceil(8))?;
        Ok(Value::Wrapped(Wrapped { code, bits, data }))
    }

    /// Rare values of a known length: network addresses, colours, opcodes.
    fn known_length(&mut self, start: u64, marker: u8, next: u8) -> Parsed<Option<Value>> {
        self.cursor.seek(start);
        let marks = self.cursor.peek(3)?.to_vec();
        let lengths = match (marker, next) {
            (b'n', b'i') => vec![6],
            (b'n', b'j') => vec![18],
            (b'n', b'm') => vec![8],
            (b'n', b'p') | (b'{', _) => vec![4],
            _ => super::colour::lengths(&marks, self.version),
        };
        for len in lengths {
            self.cursor.seek(start);
            if self.cursor.left() < len as u64 {
                continue;
            }
            let bytes = self.cursor.take(len)?;
            let whole = marker != b'{' || bytes[3] == b'}';
            if whole && self.may_end_here()? {
                return Ok(Some(Value::Opaque(Data::Bytes(bytes))));
            }
        }
        Ok(None)
    }
}
