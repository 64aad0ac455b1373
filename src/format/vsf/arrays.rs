//! Values whose bytes do not lie in the file as they are shown, made as they are read.

use std::ops::Range;
use std::sync::Arc;

use super::element::Element;
use super::input::{Fault, Wrong};
use super::kept::{Kept, What};
use super::pack;
use super::value::{Tensor, Wrapped};
use super::wrapped::{UNWRAP, not_unwrapped};
use crate::error::{Error, Result};
use crate::finding::Findings;
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

/// A wrapped value, unwrapped.
#[derive(Debug)]
pub struct Unwrapped {
    /// The file.
    pub source: Arc<Source>,
    /// What was unwrapped of it lately.
    pub kept: Arc<Kept>,
    /// The wrapped value, whose bytes lie in the file.
    pub wrapped: Wrapped,
    /// The first of its bytes.
    pub start: u64,
    /// How many bytes are inside.
    pub size: u64,
    /// Its path, for whoever is told that it does not unwrap.
    pub path: String,
    /// Where that is told.
    pub findings: Arc<Findings>,
}

impl Unwrapped {
    fn make(&self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.size as usize);
        let limit = UNWRAP.max(self.size);
        let made = self.wrapped.pour(&self.source.as_ref(), limit, &mut |piece| out.extend_from_slice(piece));
        let wrong = match made {
            Ok(Some(all)) if all == self.size => return Ok(out),
            Ok(_) => {
                let what = format!("{} bytes are promised to be inside, and {} are", self.size, out.len());
                Wrong { at: self.start, code: "vsf-wrapped", what: what.into() }
            }
            Err(Fault::Wrong(wrong)) => wrong,
            Err(Fault::Input(error)) => return Err(error),
        };
        self.findings.add(not_unwrapped(&wrong, &self.path));
        Err(wrong.about(&self.path))
    }
}

impl Coded for Unwrapped {
    fn size(&self) -> u64 {
        self.size
    }

    fn check(&self) -> Result<()> {
        self.source.check()
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        self.kept.has((What::Unwrapped, self.start))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.source.check()?;
        let all = self.kept.get((What::Unwrapped, self.start), || self.make())?;
        buf.copy_from_slice(&all[offset as usize..][..buf.len()]);
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
    if tensor.stored() != tensor.count() {
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
        // Bits are unpacked one by one, and so put in order at once.
        () if tensor.element == Element::Bool => Order::Other,
        () if dense(&forward) => Order::Columns,
        () => Order::Other,
    }
}
