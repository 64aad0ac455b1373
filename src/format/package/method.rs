//! The compression methods of a ZIP entry that are known here, by their numbers.

use crate::packed::Method;

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
    match (known(method), method) {
        (Some(known), _) => known.word().into(),
        (None, AES) => "aes".into(),
        (None, other) => format!("method-{other}"),
    }
}

fn known(method: u16) -> Option<Method> {
    Some(match method {
        STORED => Method::Stored,
        DEFLATE => Method::Deflate,
        DEFLATE64 => Method::Deflate64,
        BZIP2 => Method::Bzip2,
        LZMA => Method::Lzma,
        ZSTD => Method::Zstd,
        XZ => Method::Xz,
        _ => return None,
    })
}

/// The method of that number, if a decoder for it is built in.
pub fn supported(method: u16) -> Option<Method> {
    known(method).filter(|method| method.is_built_in())
}
