//! Hashes of bytes that hold the hash itself, and signatures of it: in the places of these, they count as zeros.

use std::ops::Range;

use super::input::{Input, width_of};
use crate::error::Result;

/// The BLAKE3 hash of `range` with zeros in `holes`, and in the bytes of whatever looks like a signature of one
/// of `letters`; and how many of those there were.
pub fn hash(
    input: &dyn Input,
    range: Range<u64>,
    holes: &[Range<u64>],
    letters: &[u8],
    progress: &mut dyn FnMut(u64),
) -> Result<(blake3::Hash, u64)> {
    const STEP: u64 = 1 << 20;
    // A signature's head: its two letters, a size marker and up to sixteen bytes.
    const HEAD: u64 = 19;
    let mut hasher = blake3::Hasher::new();
    let (mut at, mut zero_until, mut signatures) = (range.start, range.start, 0);
    let mut buf = Vec::new();
    while at < range.end {
        let len = STEP.min(range.end - at) as usize;
        let seen = (STEP + HEAD).min(range.end - at) as usize;
        buf.resize(seen, 0);
        input.read_at(at, &mut buf)?;
        let mut next = (zero_until.saturating_sub(at)).min(seen as u64) as usize;
        buf[..next].fill(0);
        while let Some(found) = find_signature(&buf[next.min(len)..], len - next.min(len), letters) {
            let start = at + (next + found.start) as u64;
            next += found.head_only();
            if start + found.len > range.end {
                continue;
            }
            signatures += 1;
            zero_until = start + found.len;
            let end = (zero_until - at).min(seen as u64) as usize;
            let from = (start - at).min(seen as u64) as usize;
            buf[from..end].fill(0);
            next = end;
        }
        for hole in holes {
            let from = hole.start.clamp(at, at + len as u64) - at;
            let to = hole.end.clamp(at, at + len as u64) - at;
            buf[from as usize..to as usize].fill(0);
        }
        hasher.update(&buf[..len]);
        progress(len as u64);
        at += len as u64;
    }
    Ok((hasher.finalize(), signatures))
}

/// What looks like a signature.
struct Lookalike {
    /// Where its `g` stands.
    head: usize,
    /// Where its bytes begin.
    start: usize,
    /// How many they are.
    len: u64,
}

impl Lookalike {
    /// Where to look on if it is none after all.
    fn head_only(&self) -> usize {
        self.head + 1
    }
}

/// The first `g`, one of `letters`, and a length, whose `g` is among the first `within` bytes.
fn find_signature(bytes: &[u8], within: usize, letters: &[u8]) -> Option<Lookalike> {
    if letters.is_empty() {
        return None;
    }
    let mut from = 0;
    while let Some(n) = bytes[from..within].iter().position(|b| *b == b'g') {
        let head = from + n;
        from = head + 1;
        let Some([letter, marker]) = bytes.get(head + 1..head + 3) else { continue };
        let Some(width) = width_of(*marker).filter(|_| letters.contains(letter)) else {
            continue;
        };
        let Some(number) = bytes.get(head + 3..head + 3 + width) else { continue };
        let less_one = number.iter().fold(0u128, |v, b| v << 8 | u128::from(*b));
        if let Some(len) = u64::try_from(less_one).ok().and_then(|n| n.checked_add(1))
            && len < 1 << 62
        {
            return Some(Lookalike { head, start: head + 3 + width, len });
        }
    }
    None
}
