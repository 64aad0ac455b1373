//! Values as bytes of the design: minimal lengths, big-endian numbers, the design's own forms.
//!
//! What has several forms in real files gets one here: a packed array of up to 64 bits is `bp`, a vector is a
//! tensor of one dimension, a time in floating seconds is `t5` or `t6`. What the design has no form for (hashes
//! that name their algorithm, times in oscillations, plain text) is written as real files have it. A value that
//! contradicts itself is [`Unfit`], and never becomes bytes.

use std::ops::Range;
use std::sync::Arc;

use super::eagle::{Count, EagleTime, Mark, Unit};
use super::element::Width;
use super::input::{Input, minimal_width};
use super::value::{Algorithm, Data, Packed, Sealed, Tensor, Value, count_of};
use super::{MAX_MEMORY, MAX_NAME, MAX_RANK, SMALL, formless};

/// Why something cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Names are words of letters, digits and underscores, with dots between them.
    #[error(
        "{0:?} is no name: names are words of a-z, A-Z, 0-9 and _ that begin with a letter, with dots between"
    )]
    Name(String),
    /// Two sections of one name could not be told apart.
    #[error("there is a section {0:?} already")]
    Twin(String),
    /// A reference to a section that is not there.
    #[error("there is no section {0:?} to refer to")]
    NoSuchSection(String),
    /// A number is wider than its type.
    #[error("{0} does not fit into its type")]
    Range(String),
    /// A shape that is larger than any file, or has too many dimensions.
    #[error("a shape of {0:?} cannot be written")]
    Shape(Vec<usize>),
    /// More or fewer bytes than the shape or the declared length needs.
    #[error("{there} bytes are given and {needed} are needed")]
    Length {
        /// How many are needed.
        needed: u64,
        /// How many there are.
        there: u64,
    },
    /// Strides that point past the elements, or are not as many as there are dimensions.
    #[error("the strides do not fit the shape")]
    Strides,
    /// Elements have 1 to 64 bits, or to 256 in the form that real files have.
    #[error("elements of {0} bits cannot be written")]
    Bits(u16),
    /// A number that says where something lies, which is right in one file alone.
    #[error("{0:?} says where something lies in another file: refer to a section of this one instead")]
    Place(String),
    /// A field that would be taken for the signature of its section.
    #[error("the last field of {0:?} would be taken for its signature: sign sections too, or rename it")]
    Signature(String),
    /// The bytes could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// The bytes lie in a file that was not given.
    #[error("the value's bytes are in a file that was not given")]
    Elsewhere,
    /// A value that would not read back as it is.
    #[error("the value of {0:?} would not be read back as it is")]
    Unclear(String),
    /// The registry knows the name, and wants another type.
    #[error("{key} is of type {wanted}, not {given}")]
    Type {
        /// The name.
        key: &'static str,
        /// The type that it has.
        wanted: &'static str,
        /// The type that was given.
        given: String,
    },
    /// More than a reader takes.
    #[error("{0}")]
    TooMany(&'static str),
}

/// A stretch of a file that is to be written.
#[derive(Clone)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A range of something else.
    From(Arc<dyn Input>, Range<u64>),
    /// Where the section of that name lies, as `o`, `b` and `n`.
    Place(String),
    /// A signature of the section that it stands in; filled in when all else is known.
    Signature,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Piece::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Piece::From(_, range) => write!(f, "bytes {range:?}"),
            Piece::Place(name) => write!(f, "the place of {name}"),
            Piece::Signature => f.write_str("a signature"),
        }
    }
}

/// Zeros, of which there are enough.
pub struct Zeros;

impl Input for Zeros {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn read_at(&self, _: u64, buf: &mut [u8]) -> crate::error::Result<()> {
        buf.fill(0);
        Ok(())
    }
}

/// Pieces one after another.
#[derive(Debug, Clone, Default)]
pub struct Pieces(pub Vec<Piece>);

impl Pieces {
    /// Appends a few bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.to_vec())),
        }
    }

    /// Appends other pieces.
    pub fn append(&mut self, others: Pieces) {
        for piece in others.0 {
            match piece {
                Piece::Bytes(bytes) => self.put(&bytes),
                other => self.0.push(other),
            }
        }
    }

    /// The same with zeros in place of what lies elsewhere.
    pub fn unseen(mut self) -> Pieces {
        let zeros: Arc<dyn Input> = Arc::new(Zeros);
        for piece in &mut self.0 {
            if let Piece::From(_, range) = piece {
                *piece = Piece::From(zeros.clone(), 0..range.end - range.start);
            }
        }
        self
    }

    /// Appends the bytes of a value; those that lie elsewhere are taken from `from`.
    fn data(&mut self, data: &Data, from: Option<&Arc<dyn Input>>) -> Result<(), Unfit> {
        match (data, from) {
            (Data::Bytes(bytes), _) => self.put(bytes),
            (Data::At(range), Some(input)) if range.start <= range.end && range.end <= input.size() => {
                self.0.push(Piece::From(input.clone(), range.clone()));
            }
            (Data::At(_), _) => return Err(Unfit::Elsewhere),
        }
        Ok(())
    }

    /// The same for a value of bytes: where its head tells how long it is, the rest need not be looked at.
    fn opaque(&mut self, data: &Data, from: Option<&Arc<dyn Input>>) -> Result<(), Unfit> {
        if let (Data::At(range), Some(input)) = (data, from)
            && range.start <= range.end
            && range.end <= input.size()
            && data.len() > SMALL
        {
            let behind = range.start + formless::HEAD;
            let mut head = vec![0; formless::HEAD as usize];
            let read = input.read_at(range.start, &mut head);
            read.map_err(|error| Unfit::Unreadable(error.to_string()))?;
            if formless::length_of(&head) == Some(data.len()) {
                self.put(&head);
                return self.data(&Data::At(behind..range.end), from);
            }
        }
        self.seen(data, from)
    }

    /// The same for bytes that a reader has to look at to find their end: they are in memory.
    fn seen(&mut self, data: &Data, from: Option<&Arc<dyn Input>>) -> Result<(), Unfit> {
        if data.len() > MAX_MEMORY {
            return Err(Unfit::TooMany("more than 16 MiB of text, or of a type that nobody knows"));
        }
        let mut there = Pieces::default();
        there.data(data, from)?;
        for piece in &there.0 {
            match piece {
                Piece::From(input, range) => {
                    let bytes = Data::At(range.clone()).load(input.as_ref());
                    self.put(&bytes.map_err(|fault| Unfit::Unreadable(fault.about("").to_string()))?);
                }
                Piece::Bytes(bytes) => self.put(bytes),
                Piece::Place(_) | Piece::Signature => unreachable!("data is neither"),
            }
        }
        Ok(())
    }
}

/// Appends a size marker and the number, in as few bytes as hold it.
pub fn put_sized(out: &mut Vec<u8>, value: u128) {
    let width = minimal_width(value);
    out.push(b'3' + width.trailing_zeros() as u8);
    out.extend_from_slice(&value.to_be_bytes()[16 - width..]);
}

fn sized(value: u128) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    put_sized(&mut out, value);
    out
}

/// Appends `value`, which is not a section, to `out`.
pub fn put_value(out: &mut Pieces, value: &Value, from: Option<&Arc<dyn Input>>) -> Result<(), Unfit> {
    match value {
        Value::Bool(b) => out.put(&[b'u', if *b { 0xFF } else { 0 }]),
        Value::Unsigned(width, n) => put_number(out, b'u', *width, *n, Width::of_unsigned(*n))?,
        Value::Signed(width, n) => put_number(out, b'i', *width, *n as u128, Width::of_signed(*n))?,
        Value::F5(n) => out.put(&[b"f5", &n.to_be_bytes()[..]].concat()),
        Value::F6(n) => out.put(&[b"f6", &n.to_be_bytes()[..]].concat()),
        Value::J5([re, im]) => out.put(&[b"j5", &re.to_be_bytes()[..], &im.to_be_bytes()].concat()),
        Value::J6([re, im]) => out.put(&[b"j6", &re.to_be_bytes()[..], &im.to_be_bytes()].concat()),
        Value::Spirix(n) => {
            let parts = [(n.re, n.fraction), (n.im.unwrap_or(0), n.fraction), (n.exp, n.exponent)];
            if let Some((part, _)) = parts.iter().find(|(part, width)| Width::of_signed(*part) > *width) {
                return Err(Unfit::Range(part.to_string()));
            }
            out.put(n.element().markers().as_bytes());
            out.put(&n.to_bytes());
        }
        Value::Time(time) => put_time(out, time)?,
        Value::Name(data) if data.len() > MAX_NAME => return Err(Unfit::TooMany("a name of over 64 KiB")),
        Value::Name(data) => put_counted(out, b"d", data.len().into(), data, from)?,
        Value::Ascii(letter @ (b'l' | b'a'), data) => {
            put_counted(out, &[*letter], data.len().into(), data, from)?
        }
        Value::Text(chars, data) => {
            out.put(&[b"x", &sized((*chars).into())[..]].concat());
            out.seen(data, from)?;
        }
        Value::Hash(sealed) => put_sealed(out, b'h', sealed, from)?,
        Value::Signature(sealed) => put_sealed(out, b'g', sealed, from)?,
        Value::Key(sealed) => put_sealed(out, b'k', sealed, from)?,
        Value::Mac(letter @ (b'a' | b'm'), sealed) => put_sealed(out, *letter, sealed, from)?,
        Value::Wrapped(wrapped) => {
            check_length(wrapped.bits.div_ceil(8), &wrapped.data)?;
            put_counted(out, &[b'v', wrapped.code], wrapped.bits.into(), &wrapped.data, from)?;
        }
        Value::Tensor(tensor) => put_tensor(out, tensor, from)?,
        Value::Packed(packed) => put_packed(out, packed, from)?,
        Value::Number(letter @ (b'o' | b'b' | b'n' | b'y' | b'z' | b'L'), n) => {
            out.put(&[*letter]);
            out.put(&sized(*n));
        }
        Value::World(place) => out.put(&[b"w", &place.to_be_bytes()[..]].concat()),
        Value::Opaque(data) => out.opaque(data, from)?,
        Value::Ascii(..) | Value::Mac(..) | Value::Number(..) | Value::Section(_) => {
            return Err(Unfit::Unclear(value.kind()));
        }
    }
    Ok(())
}

fn put_number(out: &mut Pieces, letter: u8, width: Width, raw: u128, needs: Width) -> Result<(), Unfit> {
    if needs > width {
        return Err(Unfit::Range(format!("{:?}", raw as i128)));
    }
    out.put(&[letter, width.marker()]);
    out.put(&raw.to_be_bytes()[16 - width.bytes()..]);
    Ok(())
}

fn put_counted(
    out: &mut Pieces,
    marker: &[u8],
    count: u128,
    data: &Data,
    from: Option<&Arc<dyn Input>>,
) -> Result<(), Unfit> {
    out.put(marker);
    out.put(&sized(count));
    out.data(data, from)
}

fn check_length(needed: u64, data: &Data) -> Result<(), Unfit> {
    let there = data.len();
    if there == needed { Ok(()) } else { Err(Unfit::Length { needed, there }) }
}

fn put_time(out: &mut Pieces, time: &EagleTime) -> Result<(), Unfit> {
    match (time.count, time.unit) {
        (Count::F5(n), Unit::Seconds) => out.put(&[b"t5", &n.to_be_bytes()[..]].concat()),
        (Count::F6(n), Unit::Seconds) => out.put(&[b"t6", &n.to_be_bytes()[..]].concat()),
        (Count::Signed(width, n), Unit::Seconds) if time.mark == Mark::Design => {
            put_number(out, b'T', width, n as u128, Width::of_signed(n))?;
        }
        (Count::Signed(width, n), Unit::Seconds) => {
            out.put(b"e");
            put_number(out, b'i', width, n as u128, Width::of_signed(n))?;
        }
        (Count::Unsigned(width, n), Unit::Seconds) => {
            out.put(b"e");
            put_number(out, b'u', width, n, Width::of_unsigned(n))?;
        }
        (Count::Signed(width, n), Unit::Oscillations) => {
            put_number(out, b'e', width, n as u128, Width::of_signed(n))?;
        }
        (Count::Unsigned(_, n), Unit::Oscillations) => {
            let n = i128::try_from(n).map_err(|_| Unfit::Range(n.to_string()))?;
            put_number(out, b'e', Width::of_signed(n), n as u128, Width::W3)?;
        }
        (Count::F5(_) | Count::F6(_), Unit::Oscillations) => return Err(Unfit::Unclear("e".into())),
    }
    Ok(())
}

/// The length is stored less one where there is an algorithm, and as it is where there is none.
fn put_sealed(
    out: &mut Pieces,
    letter: u8,
    sealed: &Sealed,
    from: Option<&Arc<dyn Input>>,
) -> Result<(), Unfit> {
    let len = u128::from(sealed.data.len());
    let less_one = len.checked_sub(1).ok_or(Unfit::Length { needed: 1, there: 0 });
    let (second, count) = match sealed.algorithm {
        Algorithm::Unsaid if letter == b'h' || letter == b'g' || letter == b'k' => (None, len),
        Algorithm::Letter(a) if a.is_ascii_alphabetic() => (Some(a), less_one?),
        Algorithm::Sha(b'2') if letter == b'h' => (Some(b'2'), less_one?),
        Algorithm::Sha(b'5') if letter == b'h' && len == 64 => (Some(b'5'), less_one?),
        _ => return Err(Unfit::Unclear(char::from(letter).to_string())),
    };
    out.put(&[letter]);
    out.put(second.as_slice());
    out.put(&sized(count));
    out.data(&sealed.data, from)
}

fn put_shape(out: &mut Pieces, shape: &[usize]) {
    for n in shape {
        out.put(&sized(*n as u128));
    }
}

fn checked_count(shape: &[usize]) -> Result<u64, Unfit> {
    let count = count_of(shape).filter(|_| shape.len() as u64 <= MAX_RANK);
    count.ok_or_else(|| Unfit::Shape(shape.to_vec()))
}

fn put_tensor(out: &mut Pieces, tensor: &Tensor, from: Option<&Arc<dyn Input>>) -> Result<(), Unfit> {
    let count = checked_count(&tensor.shape)?;
    let needed = tensor.element.bytes_of(count).ok_or_else(|| Unfit::Shape(tensor.shape.clone()))?;
    check_length(needed, &tensor.data)?;
    if let Some(strides) = &tensor.strides
        && (strides.len() != tensor.shape.len() || !tensor.is_within())
    {
        return Err(Unfit::Strides);
    }
    out.put(if tensor.strides.is_some() { b"q" } else { b"t" });
    out.put(&sized(tensor.shape.len() as u128));
    out.put(tensor.element.markers().as_bytes());
    put_shape(out, &tensor.shape);
    put_shape(out, tensor.strides.as_deref().unwrap_or(&[]));
    out.data(&tensor.data, from)
}

fn put_packed(out: &mut Pieces, packed: &Packed, from: Option<&Arc<dyn Input>>) -> Result<(), Unfit> {
    let count = checked_count(&packed.shape)?;
    if !(1..=256).contains(&packed.bits) {
        return Err(Unfit::Bits(packed.bits));
    }
    let bytes = (u128::from(count) * u128::from(packed.bits)).div_ceil(8);
    let needed = u64::try_from(bytes).map_err(|_| Unfit::Shape(packed.shape.clone()))?;
    check_length(needed, &packed.data)?;
    let rank = sized(packed.shape.len() as u128);
    if packed.bits <= 64 {
        out.put(&[b"bp", &sized(packed.bits.into())[..], &rank].concat());
    } else {
        // The design ends at 64 bits; real files go on, and write 256 as 0.
        out.put(&[b"p", &rank[..], &[packed.bits as u8]].concat());
    }
    put_shape(out, &packed.shape);
    out.data(&packed.data, from)
}
