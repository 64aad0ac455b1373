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
    let text = format!("{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}");
    // Magic, version and length take ten bytes, and the end of the line one.
    let padded = (10 + text.len() + 1).next_multiple_of(64);
    let mut head = Vec::with_capacity(padded);
    head.extend_from_slice(b"\x93NUMPY\x01\x00");
    head.extend_from_slice(&((padded - 10) as u16).to_le_bytes());
    head.extend_from_slice(text.as_bytes());
    head.resize(padded - 1, b' ');
    head.push(b'\n');
    head
}
