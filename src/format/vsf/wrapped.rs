//! Values that are wrapped: what can be unwrapped here.
//!
//! The unwrapped size is nowhere stated, and a few bytes can become gigabytes: whoever unwraps says how many bytes
//! are enough.

use std::io::Read;

use super::input::{Fault, Input, Parsed};
use super::value::Wrapped;

impl Wrapped {
    /// The code of zstd.
    pub const ZSTD: u8 = b'z';

    /// The code of bytes that are wrapped and no more.
    pub const BLOB: u8 = b'b';

    /// The bytes inside; `None` for a code that is not known, or kept secret. Refused where they are more than
    /// `limit`, or do not unwrap.
    pub fn unwrap_bytes(&self, input: &(impl Input + ?Sized), limit: u64) -> Parsed<Option<Vec<u8>>> {
        let known = matches!(self.code, Self::ZSTD | Self::BLOB);
        if !known {
            return Ok(None);
        }
        let too_much = || Fault::wrong(0, "vsf-too-large", format!("more than {limit} bytes are wrapped"));
        if self.data.len() > limit {
            return Err(too_much());
        }
        let inner = self.data.load(input)?;
        if self.code == Self::BLOB {
            return Ok(Some(inner));
        }
        let bad =
            |why: String| Fault::wrong(0, "vsf-wrapped", format!("the zstd stream does not decode: {why}"));
        // The decoder's own default bounds the window to 128 MiB.
        let decoder = ruzstd::decoding::StreamingDecoder::new(&inner[..]).map_err(|e| bad(e.to_string()))?;
        let mut out = Vec::new();
        decoder.take(limit.saturating_add(1)).read_to_end(&mut out).map_err(|e| bad(e.to_string()))?;
        if out.len() as u64 > limit { Err(too_much()) } else { Ok(Some(out)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vsf::Data;

    fn wrapped(code: u8, bytes: &[u8]) -> Wrapped {
        Wrapped { code, bits: bytes.len() as u64 * 8, data: Data::Bytes(bytes.to_vec()) }
    }

    /// A frame written down from the format's description: no checksum, one segment of 16 bytes, one block of the
    /// byte `V` 16 times.
    const FRAME: [u8; 10] = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x10, 0x83, 0x00, 0x00, b'V'];

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
    }
}
