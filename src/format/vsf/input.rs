//! Bytes at offsets, and a cursor that walks over them.
//!
//! A file may be ten gigabytes of pixels behind a header of a kilobyte: the cursor holds a small window, which
//! grows while it is read from front to back and starts small again after a jump. Every number that it is told
//! is a claim; nothing is allocated for one before the bytes behind it are known to be there.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::store::Source;
use crate::tree::Content;

/// Bytes of a known number, readable at any offset.
pub trait Input: Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`; the caller stays within [`Input::size`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

impl Input for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let there = usize::try_from(offset).ok().and_then(|at| self.get(at..)?.get(..buf.len()));
        let there = there.ok_or_else(|| Error::damaged("vsf-short", "", "a read ran past the end"))?;
        buf.copy_from_slice(there);
        Ok(())
    }
}

impl Input for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.as_slice().read_at(offset, buf)
    }
}

impl Input for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Source::read_at(self, offset, buf)
    }
}

impl Input for Content {
    fn size(&self) -> u64 {
        Content::size(self)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match Content::read_at(self, offset, buf)? == buf.len() {
            true => Ok(()),
            false => Err(Error::damaged("vsf-short", "", "a read ran past the end")),
        }
    }
}

/// What is wrong with the bytes, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The offset in the file at which it shows.
    pub at: u64,
    /// A short stable word for scripts.
    pub code: &'static str,
    /// The same for people.
    pub what: Cow<'static, str>,
}

/// Why something could not be parsed: the bytes could not be had, or they are not what they claim to be. The
/// former says nothing about the file and is never remembered as damage.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The bytes could not be read.
    Input(Error),
    /// The bytes are wrong.
    Wrong(Wrong),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Input(error)
    }
}

impl Fault {
    /// A fault in the bytes at `at`.
    pub fn wrong(at: u64, code: &'static str, what: impl Into<Cow<'static, str>>) -> Fault {
        Fault::Wrong(Wrong { at, code, what: what.into() })
    }

    /// As an error about `entry`.
    pub fn about(self, entry: &str) -> Error {
        match self {
            Fault::Input(error) => error,
            Fault::Wrong(wrong) => wrong.about(entry),
        }
    }
}

impl Wrong {
    /// As an error about `entry`.
    pub fn about(&self, entry: &str) -> Error {
        Error::damaged(self.code, entry, format!("{} (at byte {})", self.what, self.at))
    }
}

/// The result of parsing.
pub type Parsed<T> = Result<T, Fault>;

/// A number behind a size marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The number.
    pub value: u128,
    /// Whether no smaller marker could hold it.
    pub minimal: bool,
}

/// A place in the input that moves forward, never past `end`.
pub struct Cursor<'a> {
    input: &'a dyn Input,
    at: u64,
    end: u64,
    window: Vec<u8>,
    base: u64,
    step: usize,
}

impl<'a> Cursor<'a> {
    const FIRST: usize = 1 << 10;
    const MOST: usize = 64 << 10;

    /// A cursor over `range`, cut to what there is.
    pub fn new(input: &'a dyn Input, range: Range<u64>) -> Cursor<'a> {
        let end = range.end.min(input.size());
        Cursor { input, at: range.start.min(end), end, window: Vec::new(), base: 0, step: Self::FIRST }
    }

    pub fn input(&self) -> &'a dyn Input {
        self.input
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn left(&self) -> u64 {
        self.end - self.at
    }

    pub fn seek(&mut self, at: u64) {
        self.at = at.min(self.end);
    }

    /// A fault here.
    pub fn wrong(&self, code: &'static str, what: impl Into<Cow<'static, str>>) -> Fault {
        Fault::wrong(self.at, code, what)
    }

    /// The next `n` bytes without moving; all that is left where that is less.
    #[inline]
    pub fn peek(&mut self, n: usize) -> Parsed<&[u8]> {
        debug_assert!(n <= Self::MOST);
        let n = n.min(usize::try_from(self.left()).unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(&[]);
        }
        let held = self.base..self.base + self.window.len() as u64;
        if !(held.contains(&self.at) && self.at + n as u64 <= held.end) {
            self.fill(n, self.at >= held.start && self.at <= held.end)?;
        }
        let from = (self.at - self.base) as usize;
        Ok(&self.window[from..from + n])
    }

    #[cold]
    fn fill(&mut self, n: usize, onward: bool) -> Parsed<()> {
        self.step = if onward { (self.step * 2).min(Self::MOST) } else { Self::FIRST };
        let len = (self.step.max(n) as u64).min(self.input.size() - self.at) as usize;
        self.window.clear();
        self.window.resize(len, 0);
        self.base = self.at;
        let read = self.input.read_at(self.at, &mut self.window);
        if read.is_err() {
            self.window.clear();
        }
        Ok(read?)
    }

    /// The next byte without moving.
    pub fn next(&mut self) -> Parsed<Option<u8>> {
        Ok(self.peek(1)?.first().copied())
    }

    /// Moves over `n` bytes, which must be there.
    pub fn skip(&mut self, n: u64) -> Parsed<()> {
        if n > self.left() {
            return Err(self.short(n));
        }
        self.at += n;
        Ok(())
    }

    fn short(&self, n: u64) -> Fault {
        self.wrong("vsf-short", format!("{n} bytes are promised and {} are left", self.left()))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let bytes = self.peek(N)?.first_chunk::<N>().copied();
        let bytes = bytes.ok_or_else(|| self.short(N as u64))?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Parsed<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `n` bytes, whose number the caller has bounded.
    pub fn take(&mut self, n: usize) -> Parsed<Vec<u8>> {
        let range = self.range(n as u64)?;
        if n <= Self::FIRST {
            self.at = range.start;
            let bytes = self.peek(n)?.to_vec();
            self.at = range.end;
            return Ok(bytes);
        }
        let mut bytes = vec![0; n];
        self.input.read_at(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Where the next `n` bytes lie; moves over them.
    pub fn range(&mut self, n: u64) -> Parsed<Range<u64>> {
        let from = self.at;
        self.skip(n)?;
        Ok(from..self.at)
    }

    /// Moves over blanks, which a reader of the design's own layout may have kept.
    pub fn blanks(&mut self) -> Parsed<()> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.next()? {
            self.at += 1;
        }
        Ok(())
    }

    /// Whether the next byte is `byte`; moves over it if so.
    pub fn eat(&mut self, byte: u8) -> Parsed<bool> {
        let there = self.next()? == Some(byte);
        self.at += u64::from(there);
        Ok(there)
    }

    /// A big-endian number of `width` bytes.
    pub fn number(&mut self, width: usize) -> Parsed<u128> {
        let there = self.peek(width)?;
        if there.len() < width {
            return Err(self.short(width as u64));
        }
        let value = there.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
        self.at += width as u64;
        Ok(value)
    }

    /// A size marker and the number behind it.
    pub fn sized(&mut self) -> Parsed<Figure> {
        let marker = self.byte()?;
        let Some(width) = width_of(marker) else {
            self.at -= 1;
            return Err(match marker {
                b'8'..=b'9' | b'A'..=b'Z' => {
                    self.wrong("vsf-width", "integers of this width are not supported")
                }
                _ => self.wrong("vsf-size-marker", format!("0x{marker:02X} is not a size marker")),
            });
        };
        let value = self.number(width)?;
        Ok(Figure { value, minimal: width == minimal_width(value) })
    }
}

/// The bytes that a size marker announces.
pub fn width_of(marker: u8) -> Option<usize> {
    matches!(marker, b'3'..=b'7').then(|| 1 << (marker - b'3'))
}

/// The bytes of the smallest marker that holds `value`.
pub fn minimal_width(value: u128) -> usize {
    match value {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        0x1_0000_0000..=0xFFFF_FFFF_FFFF_FFFF => 8,
        _ => 16,
    }
}

impl<T: Input + ?Sized> Input for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buf)
    }
}
