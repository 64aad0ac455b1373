//! A packed stream decoded from front to back, and what can be wrong with it.

use std::io;

use super::decode::{self, Decoder, Method};
use super::input::Input;
use super::pool::PIECE;
use super::sum::{Check, Sum};
use crate::error::{Error, Result, from_io};
use crate::finding::{Finding, Findings, Severity};
use crate::store::Stamp;
use crate::tree::Content;

/// What is to be decoded.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Its number among all that share decoders.
    pub entry: u32,
    /// Its path, for messages.
    pub name: String,
    /// How it is packed.
    pub method: Method,
    /// The packed bytes.
    pub content: Content,
    /// Decoded size, as far as it is known: a claim.
    pub size: u64,
    /// What the decoded bytes are checked by.
    pub check: Check,
    /// What the packed bytes are known by, the state that they are in included; `None` where that is their place
    /// in a file, and the state of that file.
    pub identity: Option<[u8; 32]>,
}

impl Packed {
    /// What an index lies under, if it may be kept. What the directory of an archive says would not do: a damaged
    /// copy says the same.
    pub fn key(&self) -> Option<[u8; 32]> {
        let mut hash = blake3::Hasher::new();
        match (&self.identity, &self.content) {
            (Some(identity), content) => {
                hash.update(b"index of identity 2");
                hash.update(identity);
                hash.update(&content.size().to_le_bytes());
                hash.update(&self.size.to_le_bytes());
            }
            (None, Content::Range(source, range)) => {
                let Stamp { file, size, mtime, ctime, .. } = source.stamp();
                let crc = if let Check::Crc32(crc) = self.check { crc } else { 0 };
                hash.update(b"deflate index 2");
                let times = [mtime.0, mtime.1, ctime.0, ctime.1].map(|n| n as u64);
                let entry = [self.size, range.start, range.end, crc.into()];
                for number in [file.0, file.1, size].into_iter().chain(times).chain(entry) {
                    hash.update(&number.to_le_bytes());
                }
            }
            (None, _) => return None,
        }
        Some(*hash.finalize().as_bytes())
    }

    /// A decoder at the front.
    pub fn decoder(&self) -> Result<Box<dyn Decoder>> {
        let input = Input::new(self.content.clone(), 0);
        decode::decoder(self.method, input, self.size).map_err(|e| refuse(&self.name, e))
    }

    /// Whether the checksum of all bytes is right; `trailer` is the one that stands behind the stream.
    pub fn judge(&self, found: u32, trailer: Option<u32>) -> Result<()> {
        let (code, right, who) = match self.check {
            Check::None => return Ok(()),
            Check::Crc32(crc) => ("crc-mismatch", Some(crc), "the package says"),
            Check::Adler32 => ("checksum-mismatch", trailer, "its packed stream says"),
        };
        match right {
            Some(right) if found == right => Ok(()),
            Some(right) => {
                let what = format!("the checksum of its bytes is {found:08x}, {who} {right:08x}");
                Err(Error::damaged(code, &self.name, what))
            }
            None => Err(Error::damaged(code, &self.name, "its packed stream has no checksum")),
        }
    }
}

/// Decodes until `out` is full or the stream ends; what was decoded before a failure counts.
pub fn fill(decoder: &mut dyn Decoder, out: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut made = 0;
    while made < out.len() {
        match decoder.decode(&mut out[made..]) {
            Ok(0) => break,
            Ok(n) => made += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (made, Some(e)),
        }
    }
    (made, None)
}

/// Decodes a whole stream in order, hands every piece to `each`, and checks size and checksum.
pub fn decode_all(packed: &Packed, findings: &Findings, mut each: impl FnMut(&[u8])) -> Result<()> {
    let failed = |e| refuse(&packed.name, e);
    let mut decoder = packed.decoder()?;
    let mut buf = vec![0u8; PIECE.min(packed.size.max(1)) as usize];
    let mut sum = Sum::new(packed.check);
    let mut made = 0u64;
    while made < packed.size {
        let wanted = (packed.size - made).min(buf.len() as u64) as usize;
        let (n, failure) = fill(decoder.as_mut(), &mut buf[..wanted]);
        sum.update(&buf[..n]);
        each(&buf[..n]);
        made += n as u64;
        if let Some(e) = failure {
            return Err(failed(e));
        }
        if n < wanted {
            return Err(ends_early(packed, made));
        }
    }
    if decoder.decode(&mut [0u8; 1]).map_err(failed)? != 0 {
        return Err(too_long(packed));
    }
    packed.judge(sum.value(), decoder.trailer())?;
    note_unused(findings, &packed.name, decoder.unused());
    Ok(())
}

/// The stream has ended before its declared size.
pub fn ends_early(packed: &Packed, made: u64) -> Error {
    let what = format!("its packed stream ends after {made} of {} bytes", packed.size);
    Error::damaged("size-mismatch", &packed.name, what)
}

/// The stream goes on behind its declared size.
pub fn too_long(packed: &Packed) -> Error {
    let what = format!("its packed stream is longer than the {} bytes it declares", packed.size);
    Error::damaged("size-mismatch", &packed.name, what)
}

/// Keeps a finding when packed bytes were left over.
pub fn note_unused(findings: &Findings, name: &str, unused: u64) {
    if unused > 0 {
        findings.add(Finding::new(
            Severity::Warning,
            "bytes-after-stream",
            name,
            format!("{unused} bytes stand behind the end of its packed stream; size and checksum are right"),
            "nothing is lost; saving the package anew removes them",
        ));
    }
}

/// The code of a stream of which the end is missing.
pub const CUT_OFF: &str = "stream-cut-off";

/// A decoder's complaint as an error of ours.
pub fn refuse(name: &str, error: io::Error) -> Error {
    from_io(error, |e| match e.kind() {
        io::ErrorKind::Unsupported => Error::Unsupported { entry: name.to_string(), what: e.to_string() },
        io::ErrorKind::UnexpectedEof => {
            Error::damaged(CUT_OFF, name, format!("its packed stream is cut off: {e}"))
        }
        _ => Error::damaged("stream-damaged", name, format!("its packed stream is damaged: {e}")),
    })
}
