//! Arrays whose bytes do not lie in the file as NumPy wants them, made as they are read.

use std::ops::Range;
use std::sync::Arc;

use super::element::Element;
use super::pack;
use super::value::Tensor;
use crate::error::{Error, Result};
use crate::store::Source;
use crate::tree::Coded;

/// Packed elements, unpacked: a read costs the packed bytes of what it asks for.
#[derive(Debug)]
pub struct Unpacked {
    /// The file.
    pub source: Arc<Source>,
    /// The packed bytes.
    pub range: Range<u64>,
    /// Bits of one element.
    pub bits: u16,
    /// Bytes of one unpacked element.
    pub width: usize,
    /// How many elements there are.
    pub count: u64,
}

impl Unpacked {
    /// Elements that are unpacked at once; a multiple of eight, whose packed bytes are whole at any width.
    const STEP: u64 = 16 << 10;

    /// Whole elements from number `first` on.
    fn elements(&self, first: u64, out: &mut [u8]) -> Result<()> {
        let count = (out.len() / self.width) as u64;
        let bits = u64::from(self.bits);
        let begin = first - first % 8;
        let start = self.range.start + begin / 8 * bits;
        let last = (u128::from(first + count) * u128::from(bits)).div_ceil(8) as u64;
        let packed = self.source.read_range(start..(self.range.start + last).min(self.range.end))?;
        let done = pack::unpack_bytes(bits as u32, &packed, (first - begin) as usize, self.width, out);
        done.map_err(|why| Error::damaged("vsf-packed", "", why.to_string()))
    }
}

impl Coded for Unpacked {
    fn size(&self) -> u64 {
        self.count * self.width as u64
    }

    fn check(&self) -> Result<()> {
        self.source.check()
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        true
    }

    fn read_at(&self, offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let width = self.width as u64;
        let mut at = offset;
        // A read may begin and end within an element.
        while !buf.is_empty() {
            let (first, skip) = (at / width, (at % width) as usize);
            let n = if skip > 0 || buf.len() < self.width {
                let mut one = [0; 8];
                self.elements(first, &mut one[..self.width])?;
                let n = (self.width - skip).min(buf.len());
                buf[..n].copy_from_slice(&one[skip..skip + n]);
                n
            } else {
                let n = ((buf.len() / self.width) as u64).min(Self::STEP) as usize * self.width;
                self.elements(first, &mut buf[..n])?;
                n
            };
            buf = &mut buf[n..];
            at += n as u64;
        }
        Ok(())
    }
}

/// The elements of a strided tensor in the order of its shape. All that is stored is in memory: the view may ask for
/// it in any order.
#[derive(Debug)]
pub struct Gathered {
    source: Arc<Source>,
    stored: Vec<u8>,
    size: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    count: u64,
}

impl Gathered {
    /// The most stored bytes that are gathered from.
    pub const MOST: u64 = 64 << 20;

    /// The view of a tensor whose strides stay within what is stored; `None` where it cannot be made.
    pub fn new(source: Arc<Source>, tensor: &Tensor) -> Result<Option<Gathered>> {
        let strides = tensor.strides.clone().unwrap_or_default();
        let bits = tensor.element.bits();
        let view = tensor.element.bytes_of(tensor.count()).filter(|n| *n <= i64::MAX as u64);
        if !tensor.is_within() || bits < 8 || tensor.data.len() > Self::MOST || view.is_none() {
            return Ok(None);
        }
        let stored = tensor.data.load(source.as_ref()).map_err(|fault| fault.about(""))?;
        let size = bits as usize / 8;
        Ok(Some(Gathered {
            source,
            stored,
            size,
            shape: tensor.shape.clone(),
            strides,
            count: tensor.count(),
        }))
    }

    /// Where an element of the view is stored.
    fn place(&self, element: u64) -> usize {
        let mut rest = element;
        let mut place = 0;
        for (length, stride) in self.shape.iter().zip(&self.strides).rev() {
            place += (rest % *length as u64) as usize * stride;
            rest /= *length as u64;
        }
        place * self.size
    }
}

impl Coded for Gathered {
    fn size(&self) -> u64 {
        self.count * self.size as u64
    }

    fn check(&self) -> Result<()> {
        self.source.check()
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let size = self.size as u64;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let skip = (at % size) as usize;
            let n = (self.size - skip).min(buf.len() - done);
            let place = self.place(at / size) + skip;
            buf[done..done + n].copy_from_slice(&self.stored[place..place + n]);
            done += n;
        }
        Ok(())
    }
}

/// How a tensor's elements lie, as far as NumPy has a word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The last index fastest.
    Rows,
    /// The first index fastest.
    Columns,
    /// Neither.
    Other,
}

/// The order that a tensor's strides make. Dimensions of one element may have any stride.
pub fn order(tensor: &Tensor) -> Order {
    let Some(strides) = &tensor.strides else { return Order::Rows };
    if tensor.count() == 0 {
        return Order::Rows;
    }
    if tensor.element == Element::Bool || tensor.stored() != tensor.count() {
        return Order::Other;
    }
    let dense = |dimensions: &[(&usize, &usize)]| {
        let mut expected = 1;
        dimensions.iter().all(|(length, stride)| {
            let fits = **length == 1 || **stride == expected;
            expected *= **length;
            fits
        })
    };
    let forward: Vec<_> = tensor.shape.iter().zip(strides).collect();
    let backward: Vec<_> = forward.iter().rev().copied().collect();
    match () {
        () if dense(&backward) => Order::Rows,
        () if dense(&forward) => Order::Columns,
        () => Order::Other,
    }
}
