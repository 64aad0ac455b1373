//! Decoders: from packed bytes to plain ones, front to back.
//!
//! Threats: a stream may be garbage, may never end, may give more than it declares. A decoder gives at most
//! what it is asked for, so the declared size bounds the work, and its memory does not depend on any size.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::index::{Checkpoint, Index};
use super::inflate::{Inflater, Stop};
use super::input::Input;

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Stored,
    /// Deflate, as nearly everything is.
    Deflate,
    /// Deflate between two bytes of head and an Adler-32 (RFC 1950).
    Zlib,
    /// Deflate with a window of 64 KiB.
    Deflate64,
    /// bzip2.
    Bzip2,
    /// LZMA, with the head that it has in a ZIP.
    Lzma,
    /// Zstandard.
    Zstd,
    /// XZ.
    Xz,
}

impl Method {
    /// A name for people.
    pub fn word(self) -> &'static str {
        match self {
            Method::Stored => "stored",
            Method::Deflate => "deflate",
            Method::Zlib => "zlib",
            Method::Deflate64 => "deflate64",
            Method::Bzip2 => "bzip2",
            Method::Lzma => "lzma",
            Method::Zstd => "zstd",
            Method::Xz => "xz",
        }
    }

    /// Whether there is a decoder for it.
    pub fn is_built_in(self) -> bool {
        !self.is_heavy() || cfg!(feature = "methods")
    }

    /// Whether a decoder of it may take as much memory as its stream asks for, up to 128 MiB.
    pub fn is_heavy(self) -> bool {
        !matches!(self, Method::Stored | Method::Deflate | Method::Zlib)
    }

    /// Whether it can be decoded from a place in the middle.
    pub fn has_index(self) -> bool {
        matches!(self, Method::Deflate | Method::Zlib)
    }
}

/// A stream that is being decoded.
pub trait Decoder: Send {
    /// Decodes some bytes into `out`, which is not empty. 0 is the proper end of the stream; a stream that
    /// stops before its end is an error.
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize>;

    /// Packed bytes that were not needed. Meaningful at the end of the stream.
    fn unused(&self) -> u64;

    /// Packed bytes that it has in memory already.
    fn in_memory(&self) -> usize {
        0
    }

    /// Gives away what room it can do without until it goes on.
    fn rest(&mut self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The checksum that stands behind the stream, where there is one. Known at its proper end.
    fn trailer(&self) -> Option<u32> {
        None
    }
}

impl std::fmt::Debug for dyn Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

/// The decoder of a method, from the front; `size` is what is declared for the decoded bytes. The caller has asked
/// [`Method::is_built_in`].
pub fn decoder(method: Method, input: Input, size: u64) -> io::Result<Box<dyn Decoder>> {
    let _ = size;
    match method {
        Method::Stored => Ok(Box::new(Stored { input })),
        Method::Deflate | Method::Zlib => Ok(Box::new(Inflate::new(method, input))),
        #[cfg(feature = "methods")]
        other => super::methods::decoder(other, input, size),
        #[cfg(not(feature = "methods"))]
        other => Err(io::Error::new(io::ErrorKind::Unsupported, other.word())),
    }
}

struct Stored {
    input: Input,
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
    input: Input,
    inflater: Inflater,
    envelope: Envelope,
    done: bool,
    index: Option<Arc<Index>>,
}

/// Bytes before the stream in a zlib stream.
const ZLIB_HEAD: usize = 2;

/// What stands around the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Envelope {
    None,
    /// The two bytes of a zlib stream, still to be read.
    Head,
    /// Its checksum, still to be read.
    Trailer,
    /// The checksum.
    Read(u32),
}

impl Inflate {
    /// From the start.
    pub fn new(method: Method, input: Input) -> Inflate {
        let envelope = if method == Method::Zlib { Envelope::Head } else { Envelope::None };
        Inflate { input, inflater: Inflater::new(), envelope, done: false, index: None }
    }

    /// From a mark; `input` reads the packed bytes from a place on.
    pub fn resume(method: Method, from: &Checkpoint, input: impl Fn(u64) -> Input) -> io::Result<Inflate> {
        let (before, envelope) = match method {
            Method::Zlib => (ZLIB_HEAD as u64, Envelope::Trailer),
            _ => (0, Envelope::None),
        };
        let (inflater, input) = Inflater::resume(from.mark, &from.window, |byte| input(before + byte))?;
        Ok(Inflate { input, inflater, envelope, done: false, index: None })
    }

    /// Makes marks for `index` from now on.
    pub fn marking(mut self, index: Arc<Index>) -> Inflate {
        self.index = Some(index);
        self
    }

    /// Reads the two bytes before a zlib stream.
    fn head(&mut self) -> io::Result<()> {
        let mut head = [0; ZLIB_HEAD];
        io::Read::read_exact(&mut self.input, &mut head)?;
        let whole = u16::from_be_bytes(head);
        // Deflate, a window of at most 32 KiB, the check of these two bytes, and no dictionary of somebody's.
        if head[0] & 0x0f != 8 || head[0] >> 4 > 7 || whole % 31 != 0 || head[1] & 0x20 != 0 {
            let what = format!("{whole:04x} is no head of a zlib stream");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.envelope = Envelope::Trailer;
        Ok(())
    }

    /// Reads the checksum behind a zlib stream.
    fn end(&mut self) -> io::Result<()> {
        if self.envelope == Envelope::Trailer {
            let mut trailer = [0; 4];
            io::Read::read_exact(&mut self.input, &mut trailer).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::new(e.kind(), "its checksum is cut off"),
                _ => e,
            })?;
            self.envelope = Envelope::Read(u32::from_be_bytes(trailer));
        }
        Ok(())
    }
}

impl Decoder for Inflate {
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.envelope == Envelope::Head {
            self.head()?;
        }
        while !self.done {
            let stop = self.index.as_ref().map_or(Stop::Never, |index| index.wants(self.inflater.out()));
            let input = self.input.fill_buf()?;
            let ended = input.is_empty();
            let step = self.inflater.step(input, out, stop)?;
            self.input.consume(step.used);
            self.done = step.ended;
            if let (Some(mark), Some(index)) = (step.mark, &self.index) {
                index.add(mark, self.inflater.window());
            }
            if step.made > 0 {
                return Ok(step.made);
            }
            if !self.done && step.used == 0 && ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream has no final block"));
            }
        }
        self.end()?;
        Ok(0)
    }

    fn unused(&self) -> u64 {
        self.input.remaining()
    }

    fn in_memory(&self) -> usize {
        self.input.in_memory()
    }

    fn rest(&mut self) -> Vec<Vec<u8>> {
        self.inflater.rest();
        self.input.rest()
    }

    fn trailer(&self) -> Option<u32> {
        match self.envelope {
            Envelope::Read(sum) => Some(sum),
            _ => None,
        }
    }
}
