//! What a file's bytes are made of: a closed set, resolved when the file is opened.
//!
//! A format says which of them an entry is; everybody above reads through [`Content::read_at`]. A head plus a
//! range, a whole file for the kernel to read by itself, and a view rendered on demand join this set with the
//! formats that need them; each has its exact size before the first read.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::store::Source;

/// The bytes of one file.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory, checked whole.
    Bytes(Arc<[u8]>),
    /// As they lie in the source.
    Range(Arc<Source>, Range<u64>),
    /// Decoded as they are read.
    Coded(Arc<dyn Coded>),
}

/// What is to be done when bytes are decoded.
pub type Then = Box<dyn FnOnce() + Send>;

/// A stream that is decoded on demand. Several threads may read it at once, at different places.
pub trait Coded: Send + Sync + std::fmt::Debug {
    /// The exact number of decoded bytes.
    fn size(&self) -> u64;

    /// Whether what it is decoded from is still what it was when it was opened.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether these bytes are decoded already, so that reading them takes no time.
    fn is_ready(&self, offset: u64, len: usize) -> bool;

    /// Calls `then` once these bytes are decoded, or will not be, if somebody is about to do so already; else
    /// gives it back.
    fn when_ready(&self, offset: u64, len: usize, then: Then) -> Option<Then>;

    /// Fills `buf`, which ends within the stream, from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

impl Content {
    /// The exact size.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Range(_, range) => range.end - range.start,
            Content::Coded(stream) => stream.size(),
        }
    }

    /// Whether the bytes are still those that were opened. A read finds that out by itself; this is for whoever
    /// keeps what was read.
    pub fn check(&self) -> Result<()> {
        match self {
            Content::Bytes(_) => Ok(()),
            Content::Range(source, _) => source.check(),
            Content::Coded(stream) => stream.check(),
        }
    }

    /// Whether reading these bytes takes no longer than reading them from the disk.
    pub fn is_ready(&self, offset: u64, len: usize) -> bool {
        match self {
            Content::Bytes(_) | Content::Range(..) => true,
            Content::Coded(stream) => {
                let len = len.min(stream.size().saturating_sub(offset).try_into().unwrap_or(usize::MAX));
                len == 0 || stream.is_ready(offset, len)
            }
        }
    }

    /// Calls `then` once these bytes can be read without waiting, if others see to that; else gives it back.
    pub fn when_ready(&self, offset: u64, len: usize, then: Then) -> Option<Then> {
        match self {
            Content::Coded(stream) if offset < stream.size() => {
                let left = stream.size() - offset;
                stream.when_ready(offset, left.min(len as u64) as usize, then)
            }
            _ => Some(then),
        }
    }

    /// Reads into `buf` from `offset`, as much as there is; less than asked for only at the end.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = self.size().saturating_sub(offset);
        let n = left.min(buf.len() as u64) as usize;
        let buf = &mut buf[..n];
        if n == 0 {
            return Ok(0);
        }
        match self {
            Content::Bytes(bytes) => buf.copy_from_slice(&bytes[offset as usize..][..n]),
            Content::Range(source, range) => source.read_at(range.start + offset, buf)?,
            Content::Coded(stream) => stream.read_at(offset, buf)?,
        }
        Ok(n)
    }
}
