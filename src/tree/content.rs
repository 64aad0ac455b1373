//! What a file's bytes are made of: a closed set, resolved when the file is opened.
//!
//! A format says which of them an entry is; everybody above reads through [`Content::read_at`]. Each has its exact size before the first read.

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
    /// A whole file that nobody writes to, which the kernel may read by itself.
    Whole(Arc<Source>),
    /// Decoded as they are read.
    Coded(Arc<dyn Coded>),
    /// Some bytes in memory, and behind them all of another content from a place on.
    Headed(Arc<[u8]>, Arc<Content>, u64),
}

/// What is to be done when bytes are decoded; it is told whether it had to wait for that.
pub type Then = Box<dyn FnOnce(bool) + Send>;

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
    fn when_ready(&self, _offset: u64, _len: usize, then: Then) -> Option<Then> {
        Some(then)
    }

    /// Fills `buf`, which ends within the stream, from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

impl Content {
    /// `content` with other bytes at its beginning: as many as `head` has.
    pub fn headed(head: Arc<[u8]>, content: Content) -> Content {
        let at = head.len() as u64;
        Content::Headed(head, Arc::new(content), at)
    }

    /// The exact size.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Range(_, range) => range.end - range.start,
            Content::Whole(source) => source.size(),
            Content::Coded(stream) => stream.size(),
            Content::Headed(head, rest, from) => head.len() as u64 + rest.size().saturating_sub(*from),
        }
    }

    /// Whether the bytes are still those that were opened. A read finds that out by itself; this is for whoever
    /// keeps what was read.
    pub fn check(&self) -> Result<()> {
        match self {
            Content::Bytes(_) => Ok(()),
            Content::Range(source, _) | Content::Whole(source) => source.check(),
            Content::Coded(stream) => stream.check(),
            Content::Headed(_, rest, _) => rest.check(),
        }
    }

    /// Whether reading these bytes takes no longer than reading them from the disk.
    pub fn is_ready(&self, offset: u64, len: usize) -> bool {
        match self {
            Content::Bytes(_) | Content::Range(..) | Content::Whole(_) => true,
            Content::Coded(stream) => {
                let len = len.min(stream.size().saturating_sub(offset).try_into().unwrap_or(usize::MAX));
                len == 0 || stream.is_ready(offset, len)
            }
            Content::Headed(head, rest, from) => {
                let behind = (offset + len as u64).saturating_sub(head.len() as u64);
                let at = offset.saturating_sub(head.len() as u64);
                behind == 0 || rest.is_ready(from + at, (behind - at) as usize)
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
            Content::Headed(head, rest, from) if offset >= head.len() as u64 => {
                rest.when_ready(from + (offset - head.len() as u64), len, then)
            }
            _ => Some(then),
        }
    }

    /// The first place from `offset` on that may hold anything but zeros, as far as that can be told without reading.
    pub fn next_data(&self, offset: u64) -> u64 {
        match self {
            Content::Range(source, range) if offset < range.end - range.start => {
                source.next_data(range.start + offset).min(range.end) - range.start
            }
            Content::Whole(source) => source.next_data(offset),
            _ => offset,
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
            Content::Whole(source) => source.read_at(offset, buf)?,
            Content::Coded(stream) => stream.read_at(offset, buf)?,
            Content::Headed(head, rest, from) => {
                let of_head = head.get(offset as usize..).unwrap_or_default();
                let (front, behind) = buf.split_at_mut(of_head.len().min(n));
                front.copy_from_slice(&of_head[..front.len()]);
                if !behind.is_empty() {
                    let at = from + offset + front.len() as u64 - head.len() as u64;
                    rest.read_at(at, behind)?;
                }
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_stands_before_the_rest() {
        let rest = Content::Bytes((0..100u8).collect::<Vec<_>>().into());
        for from in [0, 10, 100] {
            let content = Content::Headed(b"head".as_slice().into(), Arc::new(rest.clone()), from);
            let whole: Vec<u8> = b"head".iter().copied().chain(from as u8..100).collect();
            assert_eq!(content.size(), whole.len() as u64);
            for offset in 0..whole.len() + 2 {
                for len in [0, 1, 3, 4, 5, 200] {
                    let mut buf = vec![0; len];
                    let n = content.read_at(offset as u64, &mut buf).unwrap();
                    let end = (offset + len).min(whole.len());
                    assert_eq!(&buf[..n], whole.get(offset..end).unwrap_or_default());
                }
            }
        }
        let patched = Content::headed(b"xy".as_slice().into(), rest);
        assert_eq!(patched.size(), 100);
    }
}
