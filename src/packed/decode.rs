//! Decoders: from packed bytes to plain ones, front to back.
//!
//! Threats: a stream may be garbage, may never end, may give more than it declares. A decoder gives at most
//! what it is asked for, so the declared size bounds the work, and its memory does not depend on any size.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::index::{Checkpoint, Index, SPACING};
use super::inflate::{Inflater, Mark};
use crate::store::SourceReader;

/// The methods of a ZIP entry that are known here.
pub mod method {
    /// As it is.
    pub const STORED: u16 = 0;
    /// What nearly everything uses.
    pub const DEFLATE: u16 = 8;
    /// Deflate with a window of 64 KiB.
    pub const DEFLATE64: u16 = 9;
    /// bzip2.
    pub const BZIP2: u16 = 12;
    /// LZMA, with ZIP's own head.
    pub const LZMA: u16 = 14;
    /// Zstandard.
    pub const ZSTD: u16 = 93;
    /// XZ.
    pub const XZ: u16 = 95;
    /// Encrypted by AES; the real method is in an extra field.
    pub const AES: u16 = 99;

    /// A name for people.
    pub fn name(method: u16) -> String {
        match method {
            STORED => "stored".into(),
            DEFLATE => "deflate".into(),
            DEFLATE64 => "deflate64".into(),
            BZIP2 => "bzip2".into(),
            LZMA => "lzma".into(),
            ZSTD => "zstd".into(),
            XZ => "xz".into(),
            AES => "aes".into(),
            other => format!("method-{other}"),
        }
    }

    /// Whether a decoder for it is built in.
    pub fn supported(method: u16) -> bool {
        matches!(method, STORED | DEFLATE)
            || (cfg!(feature = "methods") && matches!(method, DEFLATE64 | BZIP2 | LZMA | ZSTD | XZ))
    }

    /// Whether a decoder of it may take as much memory as its stream asks for, up to 128 MiB.
    pub fn is_heavy(method: u16) -> bool {
        !matches!(method, STORED | DEFLATE)
    }
}

/// A stream that is being decoded.
pub trait Decoder: Send {
    /// Decodes some bytes into `out`, which is not empty. 0 is the proper end of the stream; a stream that
    /// stops before its end is an error.
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize>;

    /// Packed bytes that were not needed. Meaningful at the end of the stream.
    fn unused(&self) -> u64;
}

impl std::fmt::Debug for dyn Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

/// The decoder of a method, over an entry's packed bytes; `size` is what the entry declares. The caller has
/// asked [`method::supported`].
pub fn decoder(method: u16, input: SourceReader, size: u64) -> io::Result<Box<dyn Decoder>> {
    let _ = size;
    match method {
        method::STORED => Ok(Box::new(Stored { input })),
        method::DEFLATE => Ok(Box::new(Inflate::new(input))),
        #[cfg(feature = "methods")]
        other => super::methods::decoder(other, input, size),
        #[cfg(not(feature = "methods"))]
        other => Err(io::Error::new(io::ErrorKind::Unsupported, method::name(other))),
    }
}

struct Stored {
    input: SourceReader,
}

impl Decoder for Stored {
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.input, out)
    }

    fn unused(&self) -> u64 {
        self.input.remaining()
    }
}

/// A deflate stream, which may be entered at a mark, and makes marks on its way.
pub struct Inflate {
    input: SourceReader,
    inflater: Inflater,
    done: bool,
    /// Decoded bytes up to here.
    out: u64,
    /// Bytes of the whole stream, packed.
    packed: u64,
    index: Option<Arc<Index>>,
}

impl Inflate {
    /// From the start.
    pub fn new(input: SourceReader) -> Inflate {
        let packed = input.remaining();
        Inflate { input, inflater: Inflater::new(), done: false, out: 0, packed, index: None }
    }

    /// From a mark; `input` reads from the byte before it, and `packed` is the length of the whole stream.
    pub fn resume(mut input: SourceReader, packed: u64, from: &Checkpoint) -> io::Result<Inflate> {
        let mut byte = [0];
        io::Read::read_exact(&mut input, &mut byte)?;
        let inflater = Inflater::resume(from.mark.bits, byte[0], &from.window)?;
        Ok(Inflate { input, inflater, done: false, out: from.mark.out, packed, index: None })
    }

    /// Makes marks for `index` from now on.
    pub fn marking(mut self, index: Arc<Index>) -> Inflate {
        self.index = Some(index);
        self
    }

    fn mark(&mut self, bits: u8) {
        if let Some(index) = &self.index {
            let mark = Mark { out: self.out, input: self.packed - self.input.remaining(), bits };
            index.add(mark, self.inflater.window());
        }
    }
}

impl Decoder for Inflate {
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            let wants_mark = self.out >= SPACING && self.index.as_ref().is_some_and(|i| i.wants(self.out));
            let input = self.input.fill_buf()?;
            let ended = input.is_empty();
            let step = self.inflater.step(input, out, wants_mark)?;
            self.input.consume(step.used);
            self.out += step.made as u64;
            self.done = step.ended;
            if let Some(bits) = step.between_blocks.filter(|_| wants_mark) {
                self.mark(bits);
            }
            if step.made > 0 {
                return Ok(step.made);
            }
            if !self.done && step.used == 0 && ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream has no final block"));
            }
        }
        Ok(0)
    }

    fn unused(&self) -> u64 {
        self.input.remaining()
    }
}
