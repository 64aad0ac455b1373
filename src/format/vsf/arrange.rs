//! Arrays of `.npy` files as values: tensors in the order and with the strides that they had, and packed elements.

use std::sync::Arc;

use super::MAX_RANK;
use super::arrays::Order;
use super::element::Element;
use super::found::refuse;
use super::gather::advance;
use super::input::Input;
use super::npy::{self, Head};
use super::supply::{Joint, OnDisk, Packing, Swapped};
use super::value::{Packed, Tensor, Value, count_of};
use crate::error::Result;

/// Tensors in neither order of indices are put in theirs up to here.
const MAX_SCATTER: u64 = 1 << 30;

/// An array as what was recorded, or as the tensor that it is.
pub fn array(path: &str, file: Arc<OnDisk>, recorded: Option<&Value>, supply: &mut Joint) -> Result<Value> {
    let mut start = vec![0; file.size().min(1 << 20) as usize];
    file.read_at(0, &mut start)?;
    let no_array = || {
        refuse(path, "it is no array that a tensor can hold: save it as integers, reals or complex numbers")
    };
    let head = npy::parse(&start).ok_or_else(no_array)?;
    let count = count_of(&head.shape).filter(|_| head.shape.len() as u64 <= MAX_RANK);
    let width = if head.element == Element::Bool { 1 } else { head.element.bits() / 8 };
    let bytes = count.and_then(|n| n.checked_mul(width)).ok_or_else(no_array)?;
    if file.size() - head.len != bytes {
        return Err(refuse(
            path,
            format!("its head promises {bytes} bytes of elements, and it has another number; save it again"),
        ));
    }
    let count = count.unwrap_or(0);
    let file: Arc<dyn Input> = file;
    if let Some(Value::Packed(old)) = recorded {
        let expected = npy::unpacked(old.bits).map(|(_, width)| width as u64);
        let integers = matches!(head.element, Element::Unsigned(_)) && expected == Some(width);
        if !integers || head.fortran || (width > 1 && head.swap == 1) {
            let why = "packed elements are little-endian unsigned integers in the order of rows";
            let why = format!("{why}, of {} bytes here; save it so", expected.unwrap_or(0));
            return Err(refuse(path, why));
        }
        let bits = old.bits.into();
        let packing = Packing { path: path.into(), inner: file, from: head.len, width, bits, count };
        let data = supply.add(Arc::new(packing), 0);
        return Ok(Value::Packed(Packed { shape: head.shape, data, ..old.clone() }));
    }
    let (element, old) = match recorded {
        // NumPy has one type for all elements of 16 bytes that are no complex numbers.
        Some(Value::Tensor(old)) if npy::dtype(old.element) == npy::dtype(head.element) => {
            (old.element, Some(old).filter(|old| old.shape == head.shape && old.is_within()))
        }
        _ => (head.element, None),
    };
    let input: Arc<dyn Input> = match (element, head.swap) {
        (Element::Bool, _) => {
            let path = path.into();
            Arc::new(Packing { path, inner: file, from: head.len, width: 1, bits: 1, count })
        }
        (_, 1) => Arc::new(Tail(file, head.len)),
        (_, width) => Arc::new(Swapped { inner: file, from: head.len, width }),
    };
    tensor(path, element, &head, old, input, supply).map(Value::Tensor)
}

/// An input from a byte on.
struct Tail(Arc<dyn Input>, u64);

impl Input for Tail {
    fn size(&self) -> u64 {
        self.0.size() - self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(self.1 + offset, buf)
    }
}

fn tensor(
    path: &str,
    element: Element,
    head: &Head,
    old: Option<&Tensor>,
    input: Arc<dyn Input>,
    supply: &mut Joint,
) -> Result<Tensor> {
    let shape = head.shape.clone();
    let made = |strides, data| Tensor { element, shape: shape.clone(), strides, vector: false, data };
    let recorded = old.and_then(|old| Some((super::arrays::order(old), old.strides.clone()?, old)));
    match recorded {
        Some((Order::Rows, strides, _)) if !head.fortran => {
            return Ok(made(Some(strides), supply.add(input, 0)));
        }
        Some((Order::Columns, strides, _)) if head.fortran => {
            return Ok(made(Some(strides), supply.add(input, 0)));
        }
        Some((Order::Other, strides, old))
            if !head.fortran && input.size() <= MAX_SCATTER && old.count() <= MAX_SCATTER =>
        {
            if let Some(stored) = scatter(head, old, &strides, input.as_ref())? {
                return Ok(made(Some(strides), supply.add(Arc::new(stored), 0)));
            }
        }
        _ => {}
    }
    if !head.fortran {
        return Ok(made(None, supply.add(input, 0)));
    }
    if element == Element::Bool {
        return Err(refuse(path, "truth values have to be in the order of rows; save it with order='C'"));
    }
    // The first index is the fastest.
    let mut step = 1usize;
    let mut strides = Vec::with_capacity(shape.len());
    for length in &shape {
        strides.push(step);
        step = step.saturating_mul((*length).max(1));
    }
    Ok(made(Some(strides), supply.add(input, 0)))
}

/// Elements where the strides want them; `None` where two that differ would share a place. What no index leads to is as
/// it was, where that is known, and else zero.
fn scatter(head: &Head, old: &Tensor, strides: &[usize], input: &dyn Input) -> Result<Option<Vec<u8>>> {
    let mut view = vec![0; input.size() as usize];
    input.read_at(0, &mut view)?;
    let known = old.data.bytes().filter(|known| known.len() == view.len());
    let mut stored = known.map_or_else(|| vec![0; view.len()], <[u8]>::to_vec);
    let is_bool = old.element == Element::Bool;
    let width = if is_bool { 1 } else { (old.element.bits() / 8) as usize };
    if is_bool {
        let count = old.count() as usize;
        (view, stored) = (bytes_of(&view, count), bytes_of(&stored, count));
    }
    let mut written = vec![false; view.len() / width];
    let mut index = vec![0u64; head.shape.len()];
    for one in view.chunks_exact(width) {
        let place: usize = index.iter().zip(strides).map(|(i, s)| *i as usize * s).sum();
        let Some(to) = stored.get_mut(place * width..(place + 1) * width) else { return Ok(None) };
        if written[place] && to != one {
            return Ok(None);
        }
        to.copy_from_slice(one);
        written[place] = true;
        advance(index.iter_mut().zip(head.shape.iter().map(|length| *length as u64)).rev());
    }
    Ok(Some(if is_bool { bits_of(&stored) } else { stored }))
}

/// Bits as bytes that are 0 or 1.
fn bytes_of(bits: &[u8], count: usize) -> Vec<u8> {
    (0..count).map(|n| bits[n / 8] >> (7 - n % 8) & 1).collect()
}

/// Bytes that are 0 or 1 as bits.
fn bits_of(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(8).map(|chunk| chunk.iter().enumerate().map(|(n, bit)| bit << (7 - n)).sum()).collect()
}
