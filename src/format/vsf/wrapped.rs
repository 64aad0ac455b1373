//! Values that are wrapped: what can be unwrapped here.
//!
//! The unwrapped size is at best a claim, and a few bytes can become gigabytes: whoever unwraps says how many bytes
//! are enough, and gets them in pieces. What a stream says about itself, its sizes and its checksums, has to hold.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::input::{Fault, Input, Parsed, Wrong};
use super::value::{Data, Wrapped};
use crate::error::Error;
use crate::finding::{Finding, Severity};

/// Wrapped bytes are shown unwrapped up to here.
pub const UNWRAP: u64 = 16 << 20;

/// Bytes that are read or unwrapped at once.
const PIECE: usize = 64 << 10;

/// Blocks that are walked over to find out that a stream is one frame.
const MANY_BLOCKS: usize = 4096;

impl Wrapped {
    /// The code of zstd.
    pub const ZSTD: u8 = b'z';

    /// The code of bytes that are wrapped and no more.
    pub const BLOB: u8 = b'b';

    /// The bytes inside; `None` for a code that is not known, or kept secret. Refused where they are more than
    /// `limit`, or do not unwrap.
    pub fn unwrap_bytes(&self, input: &(impl Input + ?Sized), limit: u64) -> Parsed<Option<Vec<u8>>> {
        let mut out = Vec::new();
        let poured = self.pour(&input, limit, &mut |piece| out.extend_from_slice(piece))?;
        Ok(poured.map(|_| out))
    }

    /// Gives the bytes inside to `to`, piece by piece; how many they are. As [`Wrapped::unwrap_bytes`].
    pub fn pour(&self, input: &dyn Input, limit: u64, to: &mut dyn FnMut(&[u8])) -> Parsed<Option<u64>> {
        let stored = Stored { input, data: &self.data, at: 0, failed: None };
        let mut stored = BufReader::with_capacity(PIECE, stored);
        let poured = match self.code {
            Self::BLOB if self.data.len() > limit => Err(too_much(limit)),
            Self::BLOB => copy(&mut stored, to),
            Self::ZSTD => frames(&mut stored, limit, to),
            _ => return Ok(None),
        };
        match stored.into_inner().failed {
            Some(error) => Err(error.into()),
            None => poured.map(Some),
        }
    }

    /// How many bytes are inside, as far as that is said without unwrapping them: by the only frame of a stream.
    pub fn declared(&self, input: &dyn Input) -> Parsed<Option<u64>> {
        match self.code {
            Self::BLOB => Ok(Some(self.data.len())),
            Self::ZSTD => declared(&self.data, input),
            _ => Ok(None),
        }
    }
}

/// What is told of a value that is not shown unwrapped. Nothing of the file is lost: it is shown as it is stored.
pub fn not_unwrapped(wrong: &Wrong, path: &str) -> Finding {
    let remedy = match wrong.code {
        "vsf-too-large" => "unwrap the .wrapped file with a program for it, such as zstd",
        _ => "restore this value from a backup; its bytes are shown as they are stored",
    };
    Finding::new(Severity::Warning, wrong.code, path, wrong.what.to_string(), remedy)
}

fn too_much(limit: u64) -> Fault {
    Fault::wrong(0, "vsf-too-large", format!("more than {limit} bytes are wrapped"))
}

fn bad(why: impl std::fmt::Display) -> Fault {
    Fault::wrong(0, "vsf-wrapped", format!("the zstd stream does not decode: {why}"))
}

/// The stored bytes, as they are read.
struct Stored<'a> {
    input: &'a dyn Input,
    data: &'a Data,
    at: u64,
    failed: Option<Error>,
}

fn read_stored(input: &dyn Input, data: &Data, at: u64, buf: &mut [u8]) -> Parsed<usize> {
    let n = data.len().saturating_sub(at).min(buf.len() as u64) as usize;
    match data {
        Data::Bytes(bytes) => buf[..n].copy_from_slice(&bytes[bytes.len().min(at as usize)..][..n]),
        Data::At(range) if n > 0 => input.read_at(range.start + at, &mut buf[..n])?,
        Data::At(_) => {}
    }
    Ok(n)
}

impl Read for Stored<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match read_stored(self.input, self.data, self.at, buf) {
            Ok(n) => {
                self.at += n as u64;
                Ok(n)
            }
            Err(fault) => {
                self.failed = Some(fault.about(""));
                Err(io::Error::other("the bytes could not be read"))
            }
        }
    }
}

fn copy(stored: &mut impl BufRead, to: &mut dyn FnMut(&[u8])) -> Parsed<u64> {
    let mut all = 0;
    loop {
        let piece = stored.fill_buf().map_err(bad)?;
        let n = piece.len();
        if n == 0 {
            return Ok(all);
        }
        to(piece);
        stored.consume(n);
        all += n as u64;
    }
}

/// All frames of a stream, one behind the other.
fn frames(stored: &mut impl BufRead, limit: u64, to: &mut dyn FnMut(&[u8])) -> Parsed<u64> {
    // The decoder's own default bounds the window to 128 MiB.
    let mut decoder = FrameDecoder::new();
    let mut all = 0;
    loop {
        match decoder.init(&mut *stored) {
            Ok(()) => all = frame(&mut decoder, stored, all, limit, to)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let skipped = io::copy(&mut stored.take(length.into()), &mut io::sink()).map_err(bad)?;
                if skipped < length.into() {
                    return Err(bad("it breaks off"));
                }
            }
            Err(e) => return Err(bad(e)),
        }
        if stored.fill_buf().map_err(bad)?.is_empty() {
            return Ok(all);
        }
    }
}

fn frame(
    decoder: &mut FrameDecoder,
    stored: &mut impl BufRead,
    mut all: u64,
    limit: u64,
    to: &mut dyn FnMut(&[u8]),
) -> Parsed<u64> {
    let before = all;
    let mut piece = vec![0; PIECE];
    while !decoder.is_finished() || decoder.can_collect() > 0 {
        if decoder.can_collect() == 0 {
            decoder.decode_blocks(&mut *stored, BlockDecodingStrategy::UptoBlocks(1)).map_err(bad)?;
        }
        while decoder.can_collect() > 0 {
            let n = decoder.read(&mut piece).map_err(bad)?;
            all += n as u64;
            if all > limit {
                return Err(too_much(limit));
            }
            to(&piece[..n]);
        }
    }
    let said = decoder.content_size();
    if said > 0 && said != all - before {
        return Err(bad(format!("it promises {said} bytes and holds {}", all - before)));
    }
    match decoder.get_checksum_from_data() {
        Some(sum) if decoder.get_calculated_checksum() != Some(sum) => Err(bad("its checksum is another")),
        _ => Ok(all),
    }
}

/// The size that the first frame gives, if that has one and is all there is.
fn declared(data: &Data, input: &dyn Input) -> Parsed<Option<u64>> {
    let mut head = [0; 18];
    let there = read_stored(input, data, 0, &mut head)?;
    let head = &head[..there];
    if there < 5 || head[..4] != [0x28, 0xB5, 0x2F, 0xFD] {
        return Ok(None);
    }
    let flags = head[4];
    let single = flags & 0x20 != 0;
    let width = match flags >> 6 {
        0 if !single => return Ok(None),
        n => 1usize << n,
    };
    let at = 5 + usize::from(!single) + [0, 1, 2, 4][usize::from(flags & 3)];
    let Some(size) = head.get(at..at + width) else { return Ok(None) };
    let size = size.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let size = size.saturating_add(if width == 2 { 256 } else { 0 });
    let mut at = (at + width) as u64;
    for _ in 0..MANY_BLOCKS {
        let mut block = [0; 3];
        if read_stored(input, data, at, &mut block)? < block.len() {
            return Ok(None);
        }
        let block = u64::from(block[0]) | u64::from(block[1]) << 8 | u64::from(block[2]) << 16;
        at += 3 + if block >> 1 & 3 == 1 { 1 } else { block >> 3 };
        if block & 1 == 1 {
            at += if flags & 4 == 0 { 0 } else { 4 };
            return Ok((at == data.len()).then_some(size));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(code: u8, bytes: &[u8]) -> Wrapped {
        Wrapped { code, bits: bytes.len() as u64 * 8, data: Data::Bytes(bytes.to_vec()) }
    }

    /// A frame written down from the format's description: no checksum, one segment of 16 bytes, one block of the
    /// byte `V` 16 times.
    const FRAME: [u8; 10] = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x10, 0x83, 0x00, 0x00, b'V'];

    /// `printf 'wrapped literally, and checked' | zstd --check`: the size is not said, the literals are stored as they
    /// are, the last four bytes are the checksum.
    const CHECKED: &[u8] =
        b"\x28\xb5\x2f\xfd\x04\x58\xf1\x00\x00wrapped literally, and checked\x14\x3f\x66\xd7";

    #[test]
    fn zstd_is_decoded_and_bounded() {
        let none: &[u8] = &[];
        let value = wrapped(Wrapped::ZSTD, &FRAME);
        assert_eq!(value.unwrap_bytes(none, 16).unwrap().unwrap(), b"V".repeat(16));
        assert!(value.unwrap_bytes(none, 15).is_err());
        assert!(wrapped(Wrapped::ZSTD, b"no frame").unwrap_bytes(none, 100).is_err());
        assert!(wrapped(Wrapped::ZSTD, &FRAME[..9]).unwrap_bytes(none, 100).is_err());
        assert!(wrapped(b'X', b"secret").unwrap_bytes(none, 100).unwrap().is_none());
        assert_eq!(wrapped(Wrapped::BLOB, b"plain").unwrap_bytes(none, 100).unwrap().unwrap(), b"plain");
        assert!(wrapped(Wrapped::BLOB, b"plain").unwrap_bytes(none, 4).is_err());
    }

    #[test]
    fn what_a_stream_says_about_itself_has_to_hold() {
        let none: &[u8] = &[];
        let inside = |bytes: &[u8]| wrapped(Wrapped::ZSTD, bytes).unwrap_bytes(none, 1000);
        assert_eq!(inside(CHECKED).unwrap().unwrap(), b"wrapped literally, and checked");
        for at in 9..CHECKED.len() {
            let mut flipped = CHECKED.to_vec();
            flipped[at] ^= 1;
            let Err(Fault::Wrong(wrong)) = inside(&flipped) else { panic!("byte {at} is changed") };
            assert_eq!(wrong.code, "vsf-wrapped");
        }
        let mut lie = FRAME;
        lie[5] = 0x11;
        assert!(inside(&lie).is_err());
    }

    #[test]
    fn frames_behind_each_other_are_one_stream() {
        let none: &[u8] = &[];
        let skipped = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let stream = [&FRAME[..], &skipped, CHECKED, &FRAME].concat();
        let value = wrapped(Wrapped::ZSTD, &stream);
        let all = [&b"V".repeat(16)[..], b"wrapped literally, and checked", &b"V".repeat(16)].concat();
        assert_eq!(value.unwrap_bytes(none, 1000).unwrap().unwrap(), all);
        assert_eq!(value.declared(&none).unwrap(), None);
        for cut in [1, 9, stream.len() - FRAME.len() - 1, FRAME.len() + 10] {
            assert!(
                wrapped(Wrapped::ZSTD, &stream[..stream.len() - cut]).unwrap_bytes(none, 1000).is_err(),
                "{cut}"
            );
        }
        assert_eq!(wrapped(Wrapped::ZSTD, &FRAME).declared(&none).unwrap(), Some(16));
        assert_eq!(wrapped(Wrapped::ZSTD, CHECKED).declared(&none).unwrap(), None);
    }
}
