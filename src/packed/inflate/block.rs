//! What stands in front of what a block holds: of what kind it is, how long it is, its codes.

use super::code::{DISTANCES, Distances, LENGTHS, Lengths, ORDER, SIZES, Sizes, Table};
use super::symbols::At;
use super::{Enough, Inflater, Part};

/// The codes of the block.
pub struct Codes {
    pub lengths: Lengths,
    pub distances: Distances,
    sizes: Sizes,
    /// How many words each of them has.
    counts: [usize; 3],
    /// How long the words are of which one table or the other is made.
    lens: [u8; 320],
    /// They are those that need not be sent.
    fixed: bool,
}

pub const HERE: &str = "the codes go with the stream";

impl Inflater {
    /// Goes through what stands in front of what a block holds.
    pub(super) fn prepare(&mut self, at: &mut At<'_>) -> Enough {
        match self.part {
            Part::Head => self.head(at),
            Part::StoredLen => self.stored_len(at),
            Part::Counts => self.counts(at),
            Part::Sizes(known) => self.sizes(at, known),
            Part::Codes(known) => self.codes(at, known),
            Part::Stored(_) | Part::Symbols | Part::Nothing => Ok(true),
        }
    }

    fn head(&mut self, at: &mut At<'_>) -> Enough {
        // Nobody asked.
        self.between = false;
        if !want(at, 3) {
            return Ok(false);
        }
        self.block = 8 * (self.taken + at.used as u64) - u64::from(at.count);
        self.last = next(at, 1) == 1;
        self.part = match next(at, 2) {
            0 => {
                // Up to the next byte of the stream.
                at.take(at.count % 8);
                Part::StoredLen
            }
            1 => {
                self.codes.as_deref_mut().expect(HERE).fix()?;
                Part::Symbols
            }
            2 => Part::Counts,
            _ => return Err("a block of no kind"),
        };
        Ok(true)
    }

    fn stored_len(&mut self, at: &mut At<'_>) -> Enough {
        if !want(at, 32) {
            return Ok(false);
        }
        let (len, inverse) = (next(at, 16), next(at, 16));
        if len != inverse ^ 0xffff {
            return Err("a stored block whose two lengths differ");
        }
        // What else was taken of the input is the block's.
        at.used -= at.count as usize / 8;
        (at.bits, at.count) = (0, 0);
        self.part = Part::Stored(len);
        Ok(true)
    }

    fn counts(&mut self, at: &mut At<'_>) -> Enough {
        if !want(at, 14) {
            return Ok(false);
        }
        let counts = [257 + next(at, 5), 1 + next(at, 5), 4 + next(at, 4)];
        if counts[0] > 286 || counts[1] > 30 {
            return Err("a code of more words than there are");
        }
        let codes = self.codes.as_deref_mut().expect(HERE);
        (codes.counts, codes.lens) = (counts, [0; 320]);
        self.part = Part::Sizes(0);
        Ok(true)
    }

    fn sizes(&mut self, at: &mut At<'_>, known: usize) -> Enough {
        let codes = self.codes.as_deref_mut().expect(HERE);
        for (known, symbol) in ORDER.iter().enumerate().take(codes.counts[2]).skip(known) {
            self.part = Part::Sizes(known);
            if !want(at, 3) {
                return Ok(false);
            }
            codes.lens[*symbol] = next(at, 3) as u8;
        }
        // Without any word, each bit says 0, and the block has no end.
        codes.sizes.set(&codes.lens[..19], &SIZES, false)?;
        codes.lens = [0; 320];
        self.part = Part::Codes(0);
        Ok(true)
    }

    fn codes(&mut self, at: &mut At<'_>, mut known: usize) -> Enough {
        let codes = self.codes.as_deref_mut().expect(HERE);
        let [lengths, distances, _] = codes.counts;
        let all = lengths + distances;
        while known < all {
            self.part = Part::Codes(known);
            // A word and its extra bits, if there are as many.
            want(at, 14);
            let entry = codes.sizes.first(at.bits);
            if at.count < entry.bits() {
                return Ok(false);
            }
            let more = entry.number(at.bits) - entry.value() as usize;
            at.take(entry.bits());
            let (len, times) = match entry.value() {
                16 if known == 0 => return Err("a repetition of nothing"),
                16 => (codes.lens[known - 1], 3 + more),
                17 => (0, 3 + more),
                18 => (0, 11 + more),
                len => (len as u8, 1),
            };
            if times > all - known {
                return Err("a repetition that goes too far");
            }
            codes.lens[known..known + times].fill(len);
            known += times;
        }
        if codes.lens[256] == 0 {
            return Err("a block without an end");
        }
        // First of all: a code that is refused leaves the other one changed, and these tables are used again.
        codes.fixed = false;
        codes.lengths.set(&codes.lens[..lengths], &LENGTHS, true)?;
        codes.distances.set(&codes.lens[lengths..all], &DISTANCES, true)?;
        self.part = Part::Symbols;
        Ok(true)
    }
}

impl Default for Codes {
    fn default() -> Codes {
        Codes {
            lengths: Table::EMPTY,
            distances: Table::EMPTY,
            sizes: Table::EMPTY,
            counts: [0; 3],
            lens: [0; 320],
            fixed: false,
        }
    }
}

impl Codes {
    /// Become those that need not be sent.
    fn fix(&mut self) -> Result<(), &'static str> {
        if !self.fixed {
            let mut lens = [8; 288];
            lens[144..256].fill(9);
            lens[256..280].fill(7);
            self.lengths.set(&lens, &LENGTHS, true)?;
            self.distances.set(&[5; 32], &DISTANCES, true)?;
            self.fixed = true;
        }
        Ok(())
    }
}

/// Has `bits` bits there, if the input has as many; or as many as it has.
pub fn want(at: &mut At<'_>, bits: u32) -> bool {
    while at.count < bits {
        if at.input.len() - at.used >= 8 {
            at.refill();
            return true;
        }
        let Some(byte) = at.input.get(at.used) else { return false };
        at.bits |= u64::from(*byte) << at.count;
        (at.used, at.count) = (at.used + 1, at.count + 8);
    }
    true
}

/// The next `bits` bits, which are there.
fn next(at: &mut At<'_>, bits: u32) -> usize {
    let value = at.bits & ((1 << bits) - 1);
    at.take(bits);
    value as usize
}
