//! The inner loop of inflate: symbols of a block, as long as there is plenty of input and room.
//!
//! Nearly all time of decoding is spent here. What makes it fast: the stream comes eight bytes at a time, the next table
//! entry is looked up before the bytes of the last one are copied, and history and new bytes lie in one buffer, so that a
//! match is a copy within it, in words, which may write past its end. All of it is safe code: a place is within the
//! buffer because its length is a power of two, and [`OVER`] bytes more.

use super::code::{Distances, Lengths};

/// Decoded bytes that are held, old and new.
pub const ROOM: usize = 128 * 1024;
/// No symbol begins here or behind, but two literals before it may have been the first of their turn.
pub const FULL: usize = ROOM - 2;
/// The longest match, begun at the last place, and what copying in words writes behind it.
const OVER: usize = 258 + 16;

pub type Buffer = [u8; ROOM + OVER];

/// Once around takes input twice, seven bytes each, and looks at eight.
const PLENTY: usize = 24;

/// Where decoding is.
pub struct At<'a> {
    pub input: &'a [u8],
    /// What of it is used.
    pub used: usize,
    /// Bits that are taken from it and not used yet, the next one lowest; those above `count` are zeros, or what the
    /// input has there.
    pub bits: u64,
    pub count: u32,
    /// How much of the buffer is decoded.
    pub end: usize,
}

impl At<'_> {
    /// Takes as many bytes as there is room for; there are eight at least. 56 bits are there then, or more.
    #[inline(always)]
    pub fn refill(&mut self) {
        let word = self.input[self.used..self.used + 8].try_into().expect("eight bytes");
        self.bits |= u64::from_le_bytes(word) << self.count;
        self.used += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    #[inline(always)]
    pub fn take(&mut self, bits: u32) {
        self.bits = self.bits.wrapping_shr(bits);
        self.count = self.count.wrapping_sub(bits);
    }
}

/// Decodes until the block ends, which is answered with true, `limit` is reached, which is at most [`FULL`], or there is little input left.
#[inline(never)]
pub fn run(
    at: &mut At<'_>,
    buffer: &mut Buffer,
    limit: usize,
    lengths: &Lengths,
    distances: &Distances,
) -> Result<bool, &'static str> {
    let plenty = at.input.len().saturating_sub(PLENTY);
    // Kept in registers.
    let mut on = At { ..*at };
    let mut ended = false;
    if on.used >= plenty || on.end >= limit {
        return Ok(false);
    }
    on.refill();
    let mut entry = lengths.first(on.bits);
    // Each time around begins with 56 bits or more. Two literals take up to 22 of them and leave enough for a length (20
    // bits), or for a third literal and the next look into the table.
    'block: loop {
        'symbol: {
            macro_rules! literal {
                () => {
                    buffer[on.end & (ROOM - 1)] = entry.value() as u8;
                    on.end += 1;
                    on.take(entry.bits());
                    entry = lengths.first(on.bits);
                };
            }
            if entry.is_literal() {
                literal!();
                if entry.is_literal() {
                    literal!();
                    if entry.is_literal() {
                        literal!();
                        break 'symbol;
                    }
                }
            }
            if entry.is_other() {
                if entry.is_long() {
                    on.take(entry.bits());
                    entry = lengths.second(entry, on.bits);
                    if entry.is_literal() {
                        literal!();
                        break 'symbol;
                    }
                }
                if entry.is_end() {
                    on.take(entry.bits());
                    ended = true;
                    break 'block;
                }
                if entry.is_other() {
                    return Err("a length that is none");
                }
            }
            let len = entry.number(on.bits);
            on.take(entry.bits());
            // A distance takes up to 28.
            on.refill();
            entry = distances.first(on.bits);
            if entry.is_long() {
                on.take(entry.bits());
                entry = distances.second(entry, on.bits);
            }
            if entry.is_other() {
                return Err("a distance that is none");
            }
            let distance = entry.number(on.bits);
            on.take(entry.bits());
            if distance > on.end {
                return Err("a distance that reaches before the start");
            }
            entry = lengths.first(on.bits);
            copy(buffer, on.end, distance, len);
            on.end += len;
        }
        if on.used >= plenty || on.end >= limit {
            break;
        }
        on.refill();
    }
    *at = on;
    Ok(ended)
}

/// Repeats `len` bytes from `distance` before `end`, which is below [`ROOM`]; what comes behind them may be written to.
#[inline(always)]
pub fn copy(buffer: &mut Buffer, end: usize, distance: usize, len: usize) {
    // These change nothing, and show the compiler that no place is out of the buffer.
    let (mut to, from) = (end & (ROOM - 1), (end - distance) & (ROOM - 1));
    let stop = to + len;
    if distance >= 16 {
        return in_words::<16>(buffer, from, to, stop);
    }
    if distance >= 8 {
        return in_words::<8>(buffer, from, to, stop);
    }
    // The bytes overlap what they are copied to: a word of their repetition, as often as it fits.
    let word = buffer[from..from + 8].try_into().expect("eight bytes");
    let once = u64::from_le_bytes(word) & ((1 << (8 * distance)) - 1);
    let word = once.wrapping_mul(REPEAT[distance & 7]).to_le_bytes();
    let stride = 8 / distance * distance;
    loop {
        buffer[to..to + 8].copy_from_slice(&word);
        to += stride;
        if to >= stop {
            return;
        }
    }
}

/// Copies from `from` to `to`, which lies at least `LEN` bytes behind it, until `stop` or beyond.
#[inline(always)]
fn in_words<const LEN: usize>(buffer: &mut Buffer, mut from: usize, mut to: usize, stop: usize) {
    loop {
        let word: [u8; LEN] = buffer[from..from + LEN].try_into().expect("as many bytes");
        buffer[to..to + LEN].copy_from_slice(&word);
        (from, to) = (from + LEN, to + LEN);
        if to >= stop {
            return;
        }
    }
}

/// So many bytes, times this, are those bytes again and again.
const REPEAT: [u64; 8] = {
    let mut factors = [0; 8];
    let mut distance = 1;
    while distance < 8 {
        let mut shift = 0;
        while shift < 64 {
            factors[distance] |= 1 << shift;
            shift += 8 * distance;
        }
        distance += 1;
    }
    factors
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_copied_byte_by_byte() {
        for distance in (1..40).chain([258, 1000, 32_768]) {
            for len in 3..=258 {
                let mut buffer: Box<Buffer> = Box::new([0; ROOM + OVER]);
                for (i, byte) in buffer.iter_mut().enumerate() {
                    *byte = (i * i / 7 % 251) as u8;
                }
                for end in [distance, 40_000, ROOM - 1] {
                    let mut expected = buffer[..end].to_vec();
                    (0..len).for_each(|_| expected.push(expected[expected.len() - distance]));
                    copy(&mut buffer, end, distance, len);
                    assert!(buffer[..end + len] == expected, "{len} from {distance} before {end}");
                }
            }
        }
    }
}
