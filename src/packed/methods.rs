//! The methods that the application never writes and strangers may: bzip2, zstd, deflate64, lzma, xz.
//!
//! Windows are bounded by [`WINDOW`]: a head that asks for more is refused before anything is allocated.

use std::io::{self, Read};

use super::decode::{Decoder, Method};
use super::input::Input;

/// The largest window that a stream may ask for.
const WINDOW: u64 = 128 << 20;

/// The decoder of one of these methods.
pub fn decoder(method: Method, mut input: Input, size: u64) -> io::Result<Box<dyn Decoder>> {
    let reader: Box<dyn Read + Send> = match method {
        Method::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
        Method::Deflate64 => Box::new(deflate64::Deflate64Decoder::with_buffer(input)),
        // The decoder's own default bounds the window to the same 128 MiB.
        Method::Zstd => Box::new(ruzstd::decoding::StreamingDecoder::new(input).map_err(zstd_error)?),
        Method::Xz => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(input, false, (WINDOW >> 10) as u32 + 1024))
        }
        Method::Lzma => {
            // ZIP's head: version, length of the properties, the properties.
            let mut head = [0u8; 9];
            input.read_exact(&mut head)?;
            if u16::from_le_bytes([head[2], head[3]]) != 5 {
                return Err(invalid("the LZMA properties are not five bytes"));
            }
            let window = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
            if u64::from(window) > WINDOW {
                return Err(too_wide());
            }
            Box::new(lzma_rust2::LzmaReader::new_with_props(input, size, head[4], window, None)?)
        }
        other => return Err(io::Error::new(io::ErrorKind::Unsupported, other.word())),
    };
    Ok(Box::new(Foreign { reader }))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn too_wide() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the stream needs a window of more than 128 MiB")
}

fn zstd_error(error: ruzstd::decoding::errors::FrameDecoderError) -> io::Error {
    use ruzstd::decoding::errors::FrameDecoderError::WindowSizeTooBig;
    match error {
        WindowSizeTooBig { .. } => too_wide(),
        other => invalid(&other.to_string()),
    }
}

struct Foreign {
    reader: Box<dyn Read + Send>,
}

impl Decoder for Foreign {
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.reader.read(out)
    }

    /// These decoders read ahead, and do not tell how far.
    fn unused(&self) -> u64 {
        0
    }
}
