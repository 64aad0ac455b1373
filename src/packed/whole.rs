//! A packed entry decoded from front to back, and what can be wrong with it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::decode::{self, Decoder};
use super::pool::PIECE;
use crate::error::{Error, Result, from_io};
use crate::finding::{Finding, Findings, Severity};
use crate::store::{Source, SourceReader, Stamp};

/// What is to be decoded.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The entry's number in its package.
    pub entry: u32,
    /// Its path, for messages.
    pub name: String,
    /// Compression method.
    pub method: u16,
    /// Where its packed bytes lie.
    pub range: Range<u64>,
    /// Decoded size.
    pub size: u64,
    /// CRC-32 of the decoded bytes.
    pub crc: u32,
}

impl Packed {
    /// What an index lies under: this entry, in this state of this file. What the directory says would not do:
    /// a damaged copy says the same.
    pub fn key(&self, stamp: &Stamp) -> [u8; 32] {
        let Stamp { file, size, mtime, ctime, .. } = *stamp;
        let mut hash = blake3::Hasher::new();
        hash.update(b"deflate index 1");
        let times = [mtime.0, mtime.1, ctime.0, ctime.1].map(|n| n as u64);
        let entry = [self.size, self.range.start, self.range.end, self.crc.into()];
        for number in [file.0, file.1, size].into_iter().chain(times).chain(entry) {
            hash.update(&number.to_le_bytes());
        }
        *hash.finalize().as_bytes()
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

/// Decodes a whole entry in order, hands every piece to `each`, and checks size and checksum.
pub fn decode_all(
    packed: &Packed,
    source: &Arc<Source>,
    findings: &Findings,
    mut each: impl FnMut(&[u8]),
) -> Result<()> {
    let input = SourceReader::new(source.clone(), packed.range.clone());
    let failed = |e| refuse(&packed.name, e);
    let mut decoder = decode::decoder(packed.method, input, packed.size).map_err(failed)?;
    let mut buf = vec![0u8; PIECE.min(packed.size.max(1)) as usize];
    let mut crc = crc32fast::Hasher::new();
    let mut made = 0u64;
    while made < packed.size {
        let wanted = (packed.size - made).min(buf.len() as u64) as usize;
        let (n, failure) = fill(decoder.as_mut(), &mut buf[..wanted]);
        crc.update(&buf[..n]);
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
    check_crc(packed, crc.finalize())?;
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

/// Whether a checksum is the one that the package gives.
pub fn check_crc(packed: &Packed, found: u32) -> Result<()> {
    if found == packed.crc {
        return Ok(());
    }
    let what = format!("the checksum of its bytes is {found:08x}, the package says {:08x}", packed.crc);
    Err(Error::damaged("crc-mismatch", &packed.name, what))
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

/// A decoder's complaint as an error of ours.
pub fn refuse(name: &str, error: io::Error) -> Error {
    from_io(error, |e| match e.kind() {
        io::ErrorKind::Unsupported => Error::Unsupported { entry: name.to_string(), what: e.to_string() },
        _ => Error::damaged("stream-damaged", name, format!("its packed stream is damaged: {e}")),
    })
}
