//! Checksums of parts, of which the checksum of the whole is put together.

use zlib_rs::adler32::{adler32, adler32_combine};

/// What the whole of a stream is checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The CRC-32 that stands elsewhere.
    Crc32(u32),
    /// The Adler-32 that stands behind a zlib stream.
    Adler32,
    /// Nothing but its size.
    None,
}

/// The checksum of some bytes.
#[derive(Debug, Clone)]
pub enum Sum {
    /// CRC-32.
    Crc(crc32fast::Hasher),
    /// Adler-32, and of how many bytes.
    Adler(u32, u64),
}

impl Sum {
    /// Of no bytes, of the kind that a check needs. Where nothing is checked in the end, two ways of decoding a part
    /// are still compared.
    pub fn new(check: Check) -> Sum {
        match check {
            Check::Crc32(_) | Check::None => Sum::Crc(crc32fast::Hasher::new()),
            Check::Adler32 => Sum::Adler(1, 0),
        }
    }

    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Sum::Crc(crc) => crc.update(bytes),
            Sum::Adler(sum, len) => (*sum, *len) = (adler32(*sum, bytes), *len + bytes.len() as u64),
        }
    }

    /// Goes on with the bytes of another sum of the same kind.
    pub fn combine(&mut self, next: &Sum) {
        match (self, next) {
            (Sum::Crc(crc), Sum::Crc(next)) => crc.combine(next),
            (Sum::Adler(sum, len), Sum::Adler(next, next_len)) => {
                (*sum, *len) = (adler32_combine(*sum, *next, *next_len), *len + next_len);
            }
            _ => unreachable!("a stream has one kind of checksum"),
        }
    }

    /// Its value.
    pub fn value(&self) -> u32 {
        match self {
            Sum::Crc(crc) => crc.clone().finalize(),
            Sum::Adler(sum, _) => *sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RFC 1950 defines it.
    fn plain_adler(bytes: &[u8]) -> u32 {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in bytes {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        b << 16 | a
    }

    #[test]
    fn parts_have_the_sum_of_the_whole() {
        let data: Vec<u8> =
            (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
        for check in [Check::Adler32, Check::Crc32(0), Check::None] {
            for at in [0, 1, 65_521, 131_072, 200_000] {
                let (mut first, mut second) = (Sum::new(check), Sum::new(check));
                first.update(&data[..at]);
                second.update(&data[at..]);
                first.combine(&second);
                let right = if check == Check::Adler32 { plain_adler(&data) } else { crc32fast::hash(&data) };
                assert_eq!(first.value(), right, "{check:?} at {at}");
            }
        }
    }
}
