//! What a file holds, as it was found: values, fields and sections.
//!
//! What may be large stays in the file: a [`Data`] is either a few bytes in memory or a range. The markers that a
//! value was written with are kept, so that nothing about it is lost by reading.

use std::ops::Range;

use super::eagle::EagleTime;
use super::element::{Element, Width};
use super::input::{Input, Parsed, Wrong};
use super::registry::{self, Normal};
use super::spirix::Spirix;

/// Bytes of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In memory.
    Bytes(Vec<u8>),
    /// In the file that the value was read from.
    At(Range<u64>),
}

impl Data {
    /// How many there are.
    pub fn len(&self) -> u64 {
        match self {
            Data::Bytes(bytes) => bytes.len() as u64,
            Data::At(range) => range.end.saturating_sub(range.start),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, from `input` where they are not in memory. For data whose length the caller has bounded.
    pub fn load(&self, input: &(impl Input + ?Sized)) -> Parsed<Vec<u8>> {
        match self {
            Data::Bytes(bytes) => Ok(bytes.clone()),
            Data::At(range) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                input.read_at(range.start, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    /// The bytes that are in memory.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Data::Bytes(bytes) => Some(bytes),
            Data::At(_) => None,
        }
    }
}

/// How a hash, signature, key or code says by which algorithm it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// A letter: `b` in `hb` is BLAKE3, `e` in `ge` and `ke` Ed25519.
    Letter(u8),
    /// The digit of a SHA-2: `2` for 256, `5` for 512 bits.
    Sha(u8),
    /// Not at all: the design's own form.
    Unsaid,
}

/// A hash, signature, key or message authentication code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// By which algorithm.
    pub algorithm: Algorithm,
    /// The bytes.
    pub data: Data,
}

/// Bytes that were coded for the file: compressed, encrypted, or merely wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// How, as `z` for zstd.
    pub code: u8,
    /// The declared length in bits.
    pub bits: u64,
    /// The coded bytes.
    pub data: Data,
}

/// An array of any number of dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// What it is made of.
    pub element: Element,
    /// The lengths of its dimensions, in the stored order.
    pub shape: Vec<usize>,
    /// The steps of its dimensions in elements, for a strided one.
    pub strides: Option<Vec<usize>>,
    /// Whether it is marked as a vector (`tn`).
    pub vector: bool,
    /// The elements, big-endian, the last index fastest.
    pub data: Data,
}

impl Tensor {
    /// How many elements it has.
    pub fn count(&self) -> u64 {
        count_of(&self.shape).expect("a shape is checked when it is made")
    }

    /// How many elements are stored.
    pub fn stored(&self) -> u64 {
        match self.element {
            Element::Bool => self.count(),
            element => self.data.len() / (element.bits() / 8),
        }
    }

    /// Whether every element of the logical view is stored. The strides of a file are a claim.
    pub fn is_within(&self) -> bool {
        let Some(strides) = &self.strides else { return true };
        reach_of(&self.shape, strides).is_some_and(|reach| reach <= self.stored())
    }

    /// Whether no index leads to some of the stored elements, of as many as the shape has: then two lead to the same.
    pub fn leaves_out(&self) -> bool {
        let Some(strides) = &self.strides else { return false };
        if self.count() == 0 || self.stored() != self.count() || !self.is_within() {
            return false;
        }
        let mut steps: Vec<_> = strides.iter().zip(&self.shape).filter(|(_, n)| **n > 1).collect();
        steps.sort_unstable();
        let mut expected = 1;
        let is_dense = steps.iter().all(|(stride, n)| {
            let fits = **stride == expected;
            expected *= **n;
            fits
        });
        !is_dense
    }
}

/// How many elements have to be stored so that all of a strided view is; `None` where that is no number of 64 bits.
pub fn reach_of(shape: &[usize], strides: &[usize]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let steps = shape.iter().zip(strides);
    let last = steps.map(|(n, s)| (*n as u128 - 1).saturating_mul(*s as u128)).fold(0, u128::saturating_add);
    u64::try_from(last.saturating_add(1)).ok()
}

/// An array whose elements are packed bit by bit, the first in the high bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bits of one element: 1 to 64 in the design, to 256 in files.
    pub bits: u16,
    /// The lengths of its dimensions.
    pub shape: Vec<usize>,
    /// Whether it is marked `bp`, as in the design, or `p`.
    pub design: bool,
    /// The packed bytes.
    pub data: Data,
}

impl Packed {
    /// How many elements it has.
    pub fn count(&self) -> u64 {
        count_of(&self.shape).expect("a shape is checked when it is made")
    }
}

/// The product of the lengths; `None` where it, or the product of those that are not zero, is no number of 63
/// bits.
pub fn count_of(shape: &[usize]) -> Option<u64> {
    let product = |mut lens: Box<dyn Iterator<Item = u64> + '_>| {
        lens.try_fold(1u64, |product, n| product.checked_mul(n)).filter(|n| *n <= i64::MAX as u64)
    };
    let without_zeros = shape.iter().map(|n| *n as u64).filter(|n| *n > 0);
    let count = product(Box::new(without_zeros))?;
    Some(if shape.contains(&0) { 0 } else { count })
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// `u3` to `u7`.
    Unsigned(Width, u128),
    /// `i3` to `i7`.
    Signed(Width, i128),
    /// Single precision.
    F5(f32),
    /// Double precision.
    F6(f64),
    /// Real and imaginary part in single precision.
    J5([f32; 2]),
    /// Real and imaginary part in double precision.
    J6([f64; 2]),
    /// A Spirix scalar or circle.
    Spirix(Spirix),
    /// A point in time.
    Time(EagleTime),
    /// `d`: a name.
    Name(Data),
    /// `l` or `a`: plain text.
    Ascii(u8, Data),
    /// `x`: text of so many characters, coded with a book that the file does not hold.
    Text(u64, Data),
    /// `h`.
    Hash(Sealed),
    /// `g`.
    Signature(Sealed),
    /// `k`.
    Key(Sealed),
    /// `ah`, `mh`: a message authentication code, and its first letter.
    Mac(u8, Sealed),
    /// `v`.
    Wrapped(Wrapped),
    /// `t` and `q`.
    Tensor(Tensor),
    /// `bp` and `p`.
    Packed(Packed),
    /// A section within a field.
    Section(Box<Section>),
    /// A number that is marked with what it is for: `o` an offset, `b` a size, `n` a count, and others.
    Number(u8, u128),
    /// `w`: a place on the world.
    World(u64),
    /// Anything else, from its marker to its end.
    Opaque(Data),
}

impl Value {
    /// Whether it is a number of a reference: where something lies, how long it is, or how many there are.
    pub(super) fn is_place(&self) -> bool {
        matches!(self, Value::Number(b'o' | b'b' | b'n', _))
    }

    /// The type as it is written in the file, without sizes: `u4`, `hb`, `t`.
    pub fn kind(&self) -> String {
        let sealed = |letter: u8, sealed: &Sealed| match sealed.algorithm {
            Algorithm::Letter(a) | Algorithm::Sha(a) => format!("{}{}", char::from(letter), char::from(a)),
            Algorithm::Unsaid => char::from(letter).to_string(),
        };
        let digit = |letter: char, w: &Width| format!("{letter}{}", char::from(w.marker()));
        match self {
            Value::Bool(_) => "u0".into(),
            Value::Unsigned(w, _) => digit('u', w),
            Value::Signed(w, _) => digit('i', w),
            Value::F5(_) => "f5".into(),
            Value::F6(_) => "f6".into(),
            Value::J5(_) => "j5".into(),
            Value::J6(_) => "j6".into(),
            Value::Spirix(n) => n.element().to_string(),
            Value::Time(_) => "e".into(),
            Value::Name(_) => "d".into(),
            Value::Ascii(letter, _) => char::from(*letter).to_string(),
            Value::Text(..) => "x".into(),
            Value::Hash(s) => sealed(b'h', s),
            Value::Signature(s) => sealed(b'g', s),
            Value::Key(s) => sealed(b'k', s),
            Value::Mac(letter, s) => sealed(*letter, s),
            Value::Wrapped(_) => "v".into(),
            Value::Tensor(t) if t.strides.is_some() => "q".into(),
            Value::Tensor(_) => "t".into(),
            Value::Packed(p) => if p.design { "bp" } else { "p" }.into(),
            Value::Section(_) => "section".into(),
            Value::Number(letter, _) => char::from(*letter).to_string(),
            Value::World(_) => "w".into(),
            Value::Opaque(data) => match data.bytes() {
                Some(bytes) => super::colour::kind(bytes).unwrap_or_else(|| {
                    bytes.iter().take(2).map(|b| char::from(*b)).filter(char::is_ascii).collect()
                }),
                None => "?".into(),
            },
        }
    }
}

/// A value, and where all of it lies in the file, its markers with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The value.
    pub value: Value,
    /// Its bytes.
    pub span: Range<u64>,
}

/// A name with any number of values; one without is a flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name, as stored.
    pub name: Vec<u8>,
    /// Its values.
    pub values: Vec<Item>,
    /// All of it, with its brackets.
    pub span: Range<u64>,
}

/// Where bytes lie that something refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The first byte, from the start of the file. As stored: it may point anywhere.
    pub offset: u128,
    /// How many.
    pub size: u128,
    /// How many items they are; 0 for bytes that have no structure.
    pub count: Option<u128>,
}

impl Reference {
    /// The bytes, if they lie within a file of `size`.
    pub fn range(&self, size: u64) -> Option<Range<u64>> {
        let start = u64::try_from(self.offset).ok()?;
        let end = start.checked_add(u64::try_from(self.size).ok()?)?;
        (end <= size).then_some(start..end)
    }

    /// The reference that the numbers among `values` make: an offset, a size and perhaps a count, in any order.
    pub fn among(values: &[Item]) -> Option<Reference> {
        let number = |marker: u8| {
            values.iter().find_map(|item| match item.value {
                Value::Number(m, n) if m == marker => Some(n),
                _ => None,
            })
        };
        Some(Reference { offset: number(b'o')?, size: number(b'b')?, count: number(b'n') })
    }
}

impl Field {
    /// Its value under the canonical key of its name, if the registry knows that.
    pub fn normal(&self) -> Option<Normal> {
        let name = std::str::from_utf8(&self.name).ok()?;
        registry::normalise_all(name, self.values.iter().map(|item| &item.value))
    }

    /// The signature that it is, as the design has them at the end of files and sections.
    pub fn signature(&self) -> Option<(&Item, &Sealed)> {
        match &self.values[..] {
            [item] if self.name == b"signature" => match &item.value {
                Value::Signature(sealed) => Some((item, sealed)),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the field refers to, if that is what its values say.
    pub fn reference(&self) -> Option<Reference> {
        Reference::among(&self.values)
    }
}

/// What could not be read of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// The bytes that are left.
    pub range: Range<u64>,
    /// Why.
    pub wrong: Wrong,
}

/// The body of a section.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Values before the first field: its name, in older formats.
    pub prefix: Vec<Item>,
    /// Its fields, in the stored order.
    pub fields: Vec<Field>,
    /// Values that are in no field, where a body has no brackets.
    pub items: Vec<Item>,
    /// What could not be read.
    pub rest: Option<Rest>,
    /// All of it.
    pub span: Range<u64>,
}

impl Section {
    /// How many items it has, as a label counts them.
    pub fn count(&self) -> u64 {
        (self.fields.len() + self.items.len()) as u64
    }

    /// What its fields say under canonical keys, in the order of the fields: in the key's unit, with the name in the file.
    pub fn normals(&self) -> impl Iterator<Item = Normal> {
        self.fields.iter().filter_map(Field::normal)
    }

    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name.as_bytes())
    }
}
