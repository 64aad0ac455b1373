//! Strided tensors in the order of their shape, gathered as they are read.
//!
//! A read here and there costs the pieces of the file that its elements lie in. Whoever reads on gets blocks: some
//! megabytes of the view at once, for which the file is read along its own order, in stretches that hold as many
//! elements of the block as can be, and each byte of it about once a block. One block is made at a time, and those that
//! were made stay in the project's budget.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::kept::{Kept, What};
use super::value::{Data, Tensor};
use crate::error::{Error, Result};
use crate::store::Source;
use crate::tree::Coded;

/// Bytes of the view that are gathered at once.
const BLOCK: u64 = 4 << 20;

/// The part of a block that is read here and there before all of it is gathered.
const PATIENCE: u64 = 16;

/// Blocks of which it is known how much of them was read.
const RECENT: usize = 8;

/// Bytes of the file that are read at once for a block, and the longest gap that is read rather than passed over.
const STRETCH: u64 = 1 << 20;
const GAP: u64 = 8 << 10;

/// The elements of a strided tensor in the order of its shape.
#[derive(Debug)]
pub struct Gathered {
    source: Arc<Source>,
    kept: Arc<Kept>,
    range: Range<u64>,
    /// Bits of one element.
    bits: u64,
    shape: Vec<u64>,
    strides: Vec<u64>,
    count: u64,
    /// Bytes of the file that are read at once for elements here and there.
    piece: u32,
    /// Elements of a block, and what tells the blocks of this view from those of others.
    block: u64,
    id: u64,
    /// How many bytes of blocks were read here and there lately; of those that were gathered, all.
    recent: Mutex<Vec<(u64, u64)>>,
}

/// One dimension of a part of the view: how many, and how far apart in the file and in the view.
#[derive(Debug, Clone, Copy)]
struct Axis {
    count: u64,
    from: u64,
    to: u64,
}

impl Gathered {
    const NEAR: u32 = 64 << 10;
    const FAR: u32 = 4 << 10;

    /// The view of a tensor whose strides stay within what is stored; `None` where it cannot be made.
    pub fn new(source: Arc<Source>, kept: Arc<Kept>, tensor: &Tensor) -> Option<Gathered> {
        let Data::At(range) = tensor.data.clone() else { return None };
        let strides = tensor.strides.as_ref()?;
        let bits = tensor.element.bits();
        let wide = |list: &[usize]| list.iter().map(|n| *n as u64).collect::<Vec<_>>();
        let (shape, strides) = (wide(&tensor.shape), wide(strides));
        let width = bits.div_ceil(8);
        let seen = tensor.count().checked_mul(width).filter(|n| *n <= i64::MAX as u64);
        if !tensor.is_within() || seen.is_none() {
            return None;
        }
        // Where neighbours of the view lie far apart in a file that is too large to be kept, most of a large piece
        // would be read for nothing.
        let step = strides.last().map_or(0, |step| step.saturating_mul(bits) / 8);
        let far = step >= Self::NEAR.into() && range.end - range.start > Kept::MOST as u64 / 2;
        let piece = if far { Self::FAR } else { Self::NEAR };
        let block = block_of(&shape, &strides, BLOCK / width);
        let mut hasher = blake3::Hasher::new();
        for n in [range.start, range.end, bits].iter().chain(&shape).chain(&strides) {
            hasher.update(&n.to_le_bytes());
        }
        let id = u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("eight bytes"));
        let (count, recent) = (tensor.count(), Mutex::default());
        Some(Gathered { source, kept, range, bits, shape, strides, count, piece, block, id, recent })
    }

    /// Bytes of one element of the view.
    fn width(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// The index of an element of the view.
    fn index(&self, element: u64) -> Vec<u64> {
        let mut rest = element;
        let mut index = vec![0; self.shape.len()];
        for (at, length) in index.iter_mut().zip(&self.shape).rev() {
            (*at, rest) = (rest % length, rest / length);
        }
        index
    }

    /// The number of the stored element at `index`.
    fn place(&self, index: &[u64]) -> u64 {
        index.iter().zip(&self.strides).map(|(i, step)| i * step).sum()
    }

    /// Whether block `number`, of which `len` bytes are to be read, is worth being made.
    fn is_wanted(&self, number: u64, len: u64) -> bool {
        let mut recent = self.recent.lock();
        let read_of = |n: u64| recent.iter().find(|(block, _)| *block == n).map_or(0, |(_, bytes)| *bytes);
        let follows = number > 0 && read_of(number - 1) == u64::MAX;
        let bytes = read_of(number).saturating_add(len);
        let enough = (self.block * self.width() as u64).min(self.size()) / PATIENCE;
        let bytes = if follows || bytes > enough { u64::MAX } else { bytes };
        recent.retain(|(block, _)| *block != number);
        recent.insert(0, (number, bytes));
        recent.truncate(RECENT);
        bytes == u64::MAX
    }

    /// The bytes of the view from `offset` on, one element after another.
    fn here_and_there(&self, offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let width = self.width();
        let mut skip = (offset % width as u64) as usize;
        let mut index = self.index(offset / width as u64);
        let mut near = Near::default();
        let mut one = [0; 64];
        while !buf.is_empty() {
            let n = (width - skip).min(buf.len());
            let place = self.place(&index);
            let at = self.range.start + place * self.bits / 8;
            near.read(self, at, &mut one[..width])?;
            if self.bits == 1 {
                one[0] = one[0] >> (7 - place % 8) & 1;
            }
            buf[..n].copy_from_slice(&one[skip..skip + n]);
            buf = &mut buf[n..];
            skip = 0;
            advance(index.iter_mut().zip(self.shape.iter().copied()).rev());
        }
        Ok(())
    }

    /// Block `number`, whole.
    fn make(&self, number: u64) -> Result<Vec<u8>> {
        let (mut first, end) = (number * self.block, ((number + 1) * self.block).min(self.count));
        let width = self.width();
        let mut out = vec![0; (end - first) as usize * width];
        let (mut room, mut stretch) = (&mut out[..], Vec::new());
        while first < end {
            let (base, axes) = self.part(first, end - first);
            let count: u64 = axes.iter().map(|axis| axis.count).product();
            let (part, rest) = room.split_at_mut(count as usize * width);
            self.gather(base, axes, part, &mut stretch)?;
            (first, room) = (first + count, rest);
        }
        Ok(out)
    }

    /// The largest part of the view that begins with element `first`, has no more than `most` elements and is whole in
    /// all dimensions but one; and the number of the stored element that it begins with.
    fn part(&self, first: u64, most: u64) -> (u64, Vec<Axis>) {
        let index = self.index(first);
        let (mut axes, mut inner) = (Vec::new(), 1);
        for (axis, (length, from)) in self.shape.iter().zip(&self.strides).enumerate().rev() {
            let count = (length - index[axis]).min(most / inner);
            axes.push(Axis { count, from: *from, to: inner });
            if count < *length {
                break;
            }
            inner *= length;
            if inner > most {
                break;
            }
        }
        (self.place(&index), axes)
    }

    /// Gathers a part of the view whose first element is stored as number `base`.
    fn gather(&self, base: u64, mut axes: Vec<Axis>, out: &mut [u8], stretch: &mut Vec<u8>) -> Result<()> {
        axes.retain(|axis| axis.count > 1);
        axes.sort_by_key(|axis| axis.from);
        // The dimensions of one stretch, and how many stored elements that has.
        let (mut within, mut span) = (0, 1);
        let bytes = |elements: u64| elements.saturating_mul(self.bits) / 8;
        while let Some(axis) = axes.get(within) {
            if bytes(axis.from.saturating_sub(span)) > GAP {
                break;
            }
            let most = 1 + STRETCH.saturating_sub(bytes(span)) / bytes(axis.from).max(1);
            if axis.count > most {
                return self.gather_parts(base, axes, (within, most), out, stretch);
            }
            span += (axis.count - 1) * axis.from;
            within += 1;
        }
        let (inner, outer) = axes.split_at(within);
        let mut index = vec![0; outer.len()];
        loop {
            let step =
                |to: fn(&Axis) -> u64| -> u64 { index.iter().zip(outer).map(|(i, axis)| i * to(axis)).sum() };
            let (first, to) = (base + step(|axis| axis.from), step(|axis| axis.to));
            let start = first * self.bits / 8;
            let end = ((first + span) * self.bits).div_ceil(8);
            stretch.resize((end - start) as usize, 0);
            self.source.read_at(self.range.start + start, stretch)?;
            let skip = if self.bits == 1 { first % 8 } else { 0 };
            let room = &mut out[to as usize * self.width()..];
            match self.bits {
                1 => scatter(
                    inner,
                    |from| [stretch[(skip + from) as usize / 8] >> (7 - (skip + from) % 8) & 1],
                    room,
                ),
                8 => scatter(inner, element::<1>(stretch), room),
                16 => scatter(inner, element::<2>(stretch), room),
                32 => scatter(inner, element::<4>(stretch), room),
                64 => scatter(inner, element::<8>(stretch), room),
                128 => scatter(inner, element::<16>(stretch), room),
                _ => scatter_any(inner, stretch, room, self.width()),
            }
            if !advance(index.iter_mut().zip(outer.iter().map(|axis| axis.count))) {
                return Ok(());
            }
        }
    }

    /// The same, so many indices of one dimension at a time.
    fn gather_parts(
        &self,
        base: u64,
        axes: Vec<Axis>,
        (which, most): (usize, u64),
        out: &mut [u8],
        stretch: &mut Vec<u8>,
    ) -> Result<()> {
        let all = axes[which];
        for first in (0..all.count).step_by(most as usize) {
            let mut part = axes.clone();
            part[which].count = most.min(all.count - first);
            let room = &mut out[(first * all.to) as usize * self.width()..];
            self.gather(base + first * all.from, part, room, stretch)?;
        }
        Ok(())
    }
}

/// How many elements a block has, about `most`: whole runs along the dimension whose elements are neighbours in the file,
/// where those are not longer.
fn block_of(shape: &[u64], strides: &[u64], most: u64) -> u64 {
    let steps =
        strides.iter().zip(shape).enumerate().filter(|(_, (step, length))| **step > 0 && **length > 1);
    let closest = steps.min_by_key(|(_, (step, _))| **step).map_or(0, |(axis, _)| axis);
    let inner = shape.iter().skip(closest + 1).try_fold(1u64, |all, n| all.checked_mul(*n));
    match inner.filter(|inner| (1..=most).contains(inner)) {
        Some(inner) => most / inner * inner,
        None => most,
    }
}

/// The next index: its places with how far each goes, the fastest first. False behind the last one, which the first follows.
pub(super) fn advance<'a>(places: impl Iterator<Item = (&'a mut u64, u64)>) -> bool {
    for (at, length) in places {
        *at += 1;
        if *at < length {
            return true;
        }
        *at = 0;
    }
    false
}

fn element<const N: usize>(stretch: &[u8]) -> impl Fn(u64) -> [u8; N] {
    |from| *stretch[from as usize * N..].first_chunk().expect("the stretch reaches to the last element")
}

/// Puts the elements of a stretch where they belong. Two dimensions are walked in small tiles: the one that is the closest
/// in the file, and the one that is in the view.
fn scatter<const N: usize>(axes: &[Axis], element: impl Fn(u64) -> [u8; N], out: &mut [u8]) {
    tiles(axes, |from, to| out[to as usize * N..][..N].copy_from_slice(&element(from)));
}

fn scatter_any(axes: &[Axis], stretch: &[u8], out: &mut [u8], width: usize) {
    tiles(axes, |from, to| {
        out[to as usize * width..][..width].copy_from_slice(&stretch[from as usize * width..][..width]);
    });
}

/// Calls `each` with the places of every element in the file and in the view, from the first on.
#[inline(always)]
fn tiles(axes: &[Axis], mut each: impl FnMut(u64, u64)) {
    const FROM: u64 = 8;
    const TO: u64 = 32;
    let one = Axis { count: 1, from: 0, to: 0 };
    let mut axes = axes.to_vec();
    axes.sort_by_key(|axis| axis.to);
    let fast = if axes.is_empty() { one } else { axes.remove(0) };
    let closest = (0..axes.len()).min_by_key(|n| axes[*n].from);
    let slow = closest.map_or(one, |n| axes.remove(n));
    let mut index = vec![0; axes.len()];
    loop {
        let from: u64 = index.iter().zip(&axes).map(|(i, axis)| i * axis.from).sum();
        let to: u64 = index.iter().zip(&axes).map(|(i, axis)| i * axis.to).sum();
        for b in (0..fast.count).step_by(TO as usize) {
            for a in (0..slow.count).step_by(FROM as usize) {
                for b in b..(b + TO).min(fast.count) {
                    let (from, to) = (from + b * fast.from, to + b * fast.to);
                    for a in a..(a + FROM).min(slow.count) {
                        each(from + a * slow.from, to + a * slow.to);
                    }
                }
            }
        }
        if !advance(index.iter_mut().zip(axes.iter().map(|axis| axis.count))) {
            return;
        }
    }
}

/// The piece of the file that was read last.
#[derive(Default)]
struct Near {
    start: u64,
    bytes: Arc<Vec<u8>>,
}

impl Near {
    fn read(&mut self, from: &Gathered, mut at: u64, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let there = at.checked_sub(self.start).and_then(|skip| self.bytes.get(skip as usize..));
            let Some(there) = there.filter(|there| !there.is_empty()) else {
                let piece = u64::from(from.piece);
                self.start = at - at % piece;
                // Not only to the end of this tensor: the piece is its neighbour's too.
                let range = self.start..(self.start + piece).min(from.source.size());
                let key = (What::Piece(from.piece), self.start);
                self.bytes = from.kept.get(key, || from.source.read_range(range))?;
                if at - self.start >= self.bytes.len() as u64 {
                    return Err(Error::damaged("vsf-short", "", "an element is not there"));
                }
                continue;
            };
            let n = there.len().min(out.len());
            out[..n].copy_from_slice(&there[..n]);
            (out, at) = (&mut out[n..], at + n as u64);
        }
        Ok(())
    }
}

impl Coded for Gathered {
    fn size(&self) -> u64 {
        self.count * self.width() as u64
    }

    fn check(&self) -> Result<()> {
        self.source.check()
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        false
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        // What is kept is of the file as it was.
        self.source.check()?;
        let block = self.block * self.width() as u64;
        while !buf.is_empty() {
            let (number, skip) = (offset / block, offset % block);
            let n = (block - skip).min(buf.len() as u64) as usize;
            let (here, rest) = buf.split_at_mut(n);
            let key = (What::Block(self.id), number);
            if self.kept.has(key) || self.is_wanted(number, n as u64) {
                let all = self.kept.get(key, || self.make(number))?;
                here.copy_from_slice(&all[skip as usize..][..n]);
            } else {
                self.here_and_there(offset, here)?;
            }
            (buf, offset) = (rest, offset + n as u64);
        }
        Ok(())
    }
}
