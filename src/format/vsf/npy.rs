//! The heads of `.npy` files: what makes the bytes behind them an array.
//!
//! Tensors keep the order of bytes that they have in the file, so that these can be shown where they lie; packed
//! elements are unpacked for the reader and have the order of common machines. The head is padded to 64 bytes, as
//! NumPy does for maps.

use super::element::{Element, Width};

/// NumPy's most dimensions.
pub const MAX_RANK: usize = 32;

/// The type of an element in the file's own byte order, as Python writes it.
pub fn dtype(element: Element) -> String {
    let quoted = |letter: char, width: Width| match width {
        Width::W3 => format!("'|{letter}1'"),
        // NumPy has no integers of 128 bits.
        Width::W7 => "'|V16'".to_string(),
        width => format!("'>{letter}{}'", width.bytes()),
    };
    let signed = |width| quoted('i', width);
    match element {
        Element::Bool => "'|b1'".to_string(),
        Element::Unsigned(width) => quoted('u', width),
        Element::Signed(width) => signed(width),
        Element::F5 => "'>f4'".to_string(),
        Element::F6 => "'>f8'".to_string(),
        Element::J5 => "'>c8'".to_string(),
        Element::J6 => "'>c16'".to_string(),
        Element::Scalar(f, e) => format!("[('fraction', {}), ('exponent', {})]", signed(f), signed(e)),
        Element::Circle(f, e) => {
            format!("[('real', {0}), ('imaginary', {0}), ('exponent', {1})]", signed(f), signed(e))
        }
    }
}

/// The type of unpacked elements of so many bits, and how many bytes each has; `None` above 64.
pub fn unpacked(bits: u16) -> Option<(&'static str, usize)> {
    match bits {
        1..=8 => Some(("'|u1'", 1)),
        9..=16 => Some(("'<u2'", 2)),
        17..=32 => Some(("'<u4'", 4)),
        33..=64 => Some(("'<u8'", 8)),
        _ => None,
    }
}

/// The head of an array.
pub fn head(dtype: &str, shape: &[usize], fortran: bool) -> Vec<u8> {
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    let shape = match &lengths[..] {
        [one] => format!("({one},)"),
        some => format!("({})", some.join(", ")),
    };
    let order = if fortran { "True" } else { "False" };
    crate::browse::npy_head(&format!("{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}"))
}

/// What the head of an array says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it is made of; elements of 16 bytes without a type are taken as unsigned.
    pub element: Element,
    /// How many bytes are to be reversed at a time: 1 for none.
    pub swap: u64,
    /// Whether the first index is the fastest.
    pub fortran: bool,
    /// The lengths of its dimensions.
    pub shape: Vec<usize>,
    /// Where the elements begin.
    pub len: u64,
}

/// Reads the head of an array from the beginning of its file; `None` for what cannot be a tensor.
pub fn parse(bytes: &[u8]) -> Option<Head> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (start, len): (usize, usize) = match rest {
        [1, 0, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, 0, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return None,
    };
    let text = std::str::from_utf8(bytes.get(start..start.checked_add(len)?)?).ok()?;
    let value = |key: &str| Some(text.split_once(&format!("'{key}':"))?.1.trim_start());
    let descr = value("descr")?;
    let (element, swap) = match descr.starts_with('[') {
        true => (structured(&descr[..=descr.find(']')?])?, 1),
        false => plain(descr.strip_prefix('\'')?.split_once('\'')?.0)?,
    };
    let shape = value("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let lengths = shape.split(',').map(str::trim).filter(|n| !n.is_empty());
    let shape = lengths.map(|n| n.parse().ok()).collect::<Option<Vec<usize>>>()?;
    let fortran = match value("fortran_order")? {
        order if order.starts_with("True") => true,
        order if order.starts_with("False") => false,
        _ => return None,
    };
    Some(Head { element, swap, fortran, shape, len: (start + len) as u64 })
}

fn structured(descr: &str) -> Option<Element> {
    let pairs = Width::ALL.into_iter().flat_map(|f| Width::ALL.map(|e| (f, e)));
    let mut both = pairs.flat_map(|(f, e)| [Element::Scalar(f, e), Element::Circle(f, e)]);
    both.find(|element| dtype(*element) == descr)
}

fn plain(descr: &str) -> Option<(Element, u64)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let (element, width) = match kind {
        "b1" => (Element::Bool, 1),
        "u1" => (Element::Unsigned(Width::W3), 1),
        "u2" => (Element::Unsigned(Width::W4), 2),
        "u4" => (Element::Unsigned(Width::W5), 4),
        "u8" => (Element::Unsigned(Width::W6), 8),
        "i1" => (Element::Signed(Width::W3), 1),
        "i2" => (Element::Signed(Width::W4), 2),
        "i4" => (Element::Signed(Width::W5), 4),
        "i8" => (Element::Signed(Width::W6), 8),
        "f4" => (Element::F5, 4),
        "f8" => (Element::F6, 8),
        "c8" => (Element::J5, 4),
        "c16" => (Element::J6, 8),
        "V16" => (Element::Unsigned(Width::W7), 1),
        _ => return None,
    };
    match order {
        ">" => Some((element, 1)),
        "<" => Some((element, width)),
        "|" if width == 1 => Some((element, 1)),
        _ => None,
    }
}
