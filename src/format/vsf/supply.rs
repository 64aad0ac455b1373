//! Bytes of values from files in a directory: as they lie there, in the other byte order, or packed.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::found::refuse;
use super::input::Input;
use super::pack::{self, Misfit};
use super::value::Data;
use crate::error::{Error, Result};

/// A file of a directory. It is opened for each read, since there may be more than can be open at once; one that
/// changes meanwhile is noticed.
#[derive(Debug)]
pub struct OnDisk {
    path: PathBuf,
    size: u64,
    state: (u64, i64, i64),
}

fn state(meta: &fs::Metadata) -> (u64, i64, i64) {
    (meta.ino(), meta.mtime(), meta.mtime_nsec())
}

impl OnDisk {
    /// A regular file.
    pub fn find(path: &Path) -> Result<OnDisk> {
        let meta = fs::symlink_metadata(path).map_err(|e| Error::io("open", path, e))?;
        Ok(OnDisk { path: path.to_path_buf(), size: meta.len(), state: state(&meta) })
    }

    /// All of it, which is at most `limit` bytes.
    pub fn load(&self, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            let path = self.path.display();
            return Err(Error::Refused(format!(
                "{path} is too large: at most {limit} bytes are possible here"
            )));
        }
        let mut bytes = vec![0; self.size as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }
}

impl Input for OnDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let failed = |e| Error::io("read", &self.path, e);
        let file = File::open(&self.path).map_err(failed)?;
        file.read_exact_at(buf, offset).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let same = meta.len() == self.size && state(&meta) == self.state;
        if same { Ok(()) } else { Err(Error::SourceChanged(self.path.clone())) }
    }
}

/// Elements in the other byte order, from byte `from` on.
pub struct Swapped {
    /// What they lie in.
    pub inner: Arc<dyn Input>,
    /// Where they begin.
    pub from: u64,
    /// The bytes of one number.
    pub width: u64,
}

impl Input for Swapped {
    fn size(&self) -> u64 {
        self.inner.size() - self.from
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let width = self.width;
        let start = offset - offset % width;
        let end = (offset + buf.len() as u64).next_multiple_of(width);
        let mut whole = vec![0; (end - start) as usize];
        self.inner.read_at(self.from + start, &mut whole)?;
        whole.chunks_mut(width as usize).for_each(<[u8]>::reverse);
        let skip = (offset - start) as usize;
        buf.copy_from_slice(&whole[skip..skip + buf.len()]);
        Ok(())
    }
}

/// Little-endian integers from byte `from` on, packed as they are read.
pub struct Packing {
    /// Whose elements they are.
    pub path: String,
    /// What they lie in.
    pub inner: Arc<dyn Input>,
    /// Where they begin.
    pub from: u64,
    /// The bytes of one.
    pub width: u64,
    /// The bits that one is packed into.
    pub bits: u64,
    /// How many there are.
    pub count: u64,
}

impl Input for Packing {
    fn size(&self) -> u64 {
        pack::packed_len(self.bits as u32, self.count).expect("there are as many in the file")
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        // Eight elements are as many bytes as one has bits.
        let group = offset / self.bits;
        let last = (offset + buf.len() as u64).div_ceil(self.bits);
        let (first, end) = (group * 8, (last * 8).min(self.count));
        let mut whole = vec![0; ((end - first) * self.width) as usize];
        self.inner.read_at(self.from + first * self.width, &mut whole)?;
        let wide = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let elements: Vec<u64> = whole.chunks(self.width as usize).map(wide).collect();
        let packed = pack::pack(self.bits as u32, &elements)
            .map_err(|why| match why {
                Misfit::TooLarge(n) => {
                    format!("element {} needs more than {} bits", group * 8 + n as u64, self.bits)
                }
                other => other.to_string(),
            })
            .map_err(|why| refuse(&self.path, format!("{why}; correct the array")))?;
        let skip = (offset - group * self.bits) as usize;
        buf.copy_from_slice(&packed[skip..skip + buf.len()]);
        Ok(())
    }
}

/// Packed bytes with zeros where the last one has no elements.
pub struct Cleared<'a> {
    /// The bytes.
    pub inner: &'a dyn Input,
    /// How many bits are elements.
    pub bits: u128,
}

impl Input for Cleared<'_> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(offset, buf)?;
        let spare = (u128::from(self.size()) * 8).saturating_sub(self.bits);
        if offset + buf.len() as u64 == self.size()
            && let Some(last) = buf.last_mut().filter(|_| spare < 8)
        {
            *last &= 0xFF << spare;
        }
        Ok(())
    }
}

/// Ranges of several inputs as one.
#[derive(Default)]
pub struct Joint {
    parts: Vec<(u64, Arc<dyn Input>, u64)>,
    size: u64,
}

impl Joint {
    /// Appends an input from byte `from` on; where that is now.
    pub fn add(&mut self, input: Arc<dyn Input>, from: u64) -> Data {
        let start = self.size;
        self.size += input.size() - from;
        self.parts.push((start, input, from));
        Data::At(start..self.size)
    }
}

impl Input for Joint {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let mut n = self.parts.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
        while !buf.is_empty() {
            let (start, input, from) = &self.parts[n];
            let there = start + input.size() - from - offset;
            let take = there.min(buf.len() as u64) as usize;
            let (now, later) = buf.split_at_mut(take);
            if take > 0 {
                input.read_at(from + offset - start, now)?;
            }
            (buf, offset, n) = (later, offset + take as u64, n + 1);
        }
        Ok(())
    }
}

/// Whether two inputs are the same bytes, each from where it says on. `tell` is told how many were compared.
pub fn same(a: (&dyn Input, u64), b: (&dyn Input, u64), tell: &mut dyn FnMut(u64)) -> Result<bool> {
    const STEP: u64 = 1 << 20;
    let size = a.0.size() - a.1;
    if b.0.size() - b.1 != size {
        return Ok(false);
    }
    let mut at = 0;
    while at < size {
        let n = STEP.min(size - at) as usize;
        let (mut x, mut y) = (vec![0; n], vec![0; n]);
        a.0.read_at(a.1 + at, &mut x)?;
        b.0.read_at(b.1 + at, &mut y)?;
        if x != y {
            return Ok(false);
        }
        tell(n as u64);
        at += n as u64;
    }
    Ok(true)
}
