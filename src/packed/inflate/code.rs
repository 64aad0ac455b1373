//! The codes of a deflate block, as tables that are looked up by the next bits of the stream.
//!
//! A table answers with an entry: what a word of the code stands for, how many bits it takes, and how many extra bits
//! follow it. Words that are longer than a table is wide lead on to a second one behind it.
//!
//! Invariants: an entry says for how many bits it is certain, and nothing depends on bits behind them; so bits that are
//! not there yet may be taken for zeros. A code that has too many words is refused, and one with too few as well,
//! except one without any; and one of a single word, which is no other way to write, among lengths or distances.

/// The longest word of a code.
const LONGEST: u32 = 15;

/// A word of a code. The lowest eight bits say how many bits it takes with its extra bits, four more how many without;
/// then flags; the upper half is the value.
#[derive(Clone, Copy)]
pub struct Entry(u32);

impl Entry {
    const LITERAL: u32 = 1 << 15;
    const END: u32 = 1 << 14;
    /// The word goes on in a table that begins at the value.
    const LONG: u32 = 1 << 13;
    /// All that is neither a literal nor a number.
    const OTHER: u32 = 1 << 12;
    /// What is no word is known by its first bit.
    const NONE: Entry = Entry(Entry::OTHER | 1 << 8 | 1);

    #[inline(always)]
    pub fn is_literal(self) -> bool {
        self.0 & Entry::LITERAL != 0
    }

    /// Neither a literal nor a number.
    #[inline(always)]
    pub fn is_other(self) -> bool {
        self.0 & Entry::OTHER != 0
    }

    /// The end of the block.
    #[inline(always)]
    pub fn is_end(self) -> bool {
        self.0 & Entry::END != 0
    }

    #[inline(always)]
    pub fn is_long(self) -> bool {
        self.0 & Entry::LONG != 0
    }

    /// How many bits it takes, extra bits included.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 & 0xff
    }

    /// Its value without extra bits.
    #[inline(always)]
    pub fn value(self) -> u32 {
        self.0 >> 16
    }

    /// Its value; `bits` begin with the word.
    #[inline(always)]
    pub fn number(self, bits: u64) -> usize {
        let extra = (bits & ((1 << (self.0 & 63)) - 1)) >> self.short();
        self.value() as usize + extra as usize
    }

    /// How many bits it takes without the extra bits; or by how many the table is looked up to which it leads.
    #[inline(always)]
    fn short(self) -> u32 {
        self.0 >> 8 & 0xf
    }

    fn of_len(self, len: u32) -> Entry {
        Entry(self.0 + (len << 8 | len))
    }
}

/// Words of up to `WIDTH` bits at once, in `SIZE` entries in all.
pub struct Table<const WIDTH: u32, const SIZE: usize> {
    entries: [Entry; SIZE],
}

/// Lengths and literals. With what is behind it, fits into a core's nearest memory beside the window. Longer words lead
/// to at most 143 tables of 16: each has at least two of 286 words.
pub type Lengths = Table<11, { 2048 + 143 * 16 }>;
/// Distances: 30 words, so at most 15 tables of 128.
pub type Distances = Table<8, { 256 + 15 * 128 }>;
/// Lengths of words. These have seven bits at most.
pub type Sizes = Table<7, 128>;

impl<const WIDTH: u32, const SIZE: usize> Table<WIDTH, SIZE> {
    /// No words.
    pub const EMPTY: Self = Table { entries: [Entry::NONE; SIZE] };

    /// What `bits` begin with, or where it goes on.
    #[inline(always)]
    pub fn first(&self, bits: u64) -> Entry {
        self.entries[bits as usize & ((1 << WIDTH) - 1)]
    }

    /// What a long word goes on with; `bits` are those behind its first part.
    #[inline(always)]
    pub fn second(&self, first: Entry, bits: u64) -> Entry {
        self.entries[first.value() as usize + (bits as usize & ((1 << first.short()) - 1))]
    }

    /// Becomes the table of a code whose words have these lengths; `symbols` says what they stand for. 0 is no word.
    /// Whether it may be a single word is said by `single`.
    pub fn set(&mut self, lens: &[u8], symbols: &[Entry], single: bool) -> Result<(), &'static str> {
        let (counts, longest) = count(lens, single)?;
        let mut sorted = [0u16; 288];
        let mut places = [0; LONGEST as usize + 1];
        for len in 1..LONGEST as usize {
            places[len + 1] = places[len] + counts[len];
        }
        for (symbol, len) in (0..).zip(lens).filter(|(_, len)| **len > 0) {
            let place = &mut places[usize::from(*len)];
            sorted[*place] = symbol;
            *place += 1;
        }
        let mut words = sorted.iter().map(|symbol| symbols[usize::from(*symbol)]);
        let mut code = 0;
        self.entries[0] = Entry::NONE;
        for len in 1..=WIDTH {
            // What is there is what one bit less says; whatever that bit is, it stands.
            let half = 1 << (len - 1);
            self.entries.copy_within(..half, half);
            for word in words.by_ref().take(counts[len as usize]) {
                self.entries[code] = word.of_len(len);
                code = next(code, len);
            }
        }
        let below = longest.saturating_sub(WIDTH);
        let (mut first, mut start, mut free) = (None, 0, 1 << WIDTH);
        for len in WIDTH + 1..=longest {
            for word in words.by_ref().take(counts[len as usize]) {
                let front = code & ((1 << WIDTH) - 1);
                if first != Some(front) {
                    (first, start, free) = (Some(front), free, free + (1 << below));
                    let flags = Entry::OTHER | Entry::LONG;
                    self.entries[front] = Entry((start as u32) << 16 | flags | below << 8 | WIDTH);
                }
                let rest = len - WIDTH;
                for place in (code >> WIDTH..1 << below).step_by(1 << rest) {
                    self.entries[start + place] = word.of_len(rest);
                }
                code = next(code, len);
            }
        }
        Ok(())
    }
}

/// How many words of each length there are, and the longest, if these are lengths that a code can have.
fn count(lens: &[u8], single: bool) -> Result<([usize; LONGEST as usize + 1], u32), &'static str> {
    let mut counts = [0; LONGEST as usize + 1];
    for len in lens {
        counts[usize::from(*len)] += 1;
    }
    counts[0] = 0;
    let (mut left, mut longest) = (1, 0);
    for len in 1..=LONGEST {
        left = 2 * left - counts[len as usize] as i32;
        if left < 0 {
            return Err("a code has too many words");
        }
        if counts[len as usize] > 0 {
            longest = len;
        }
    }
    match left > 0 && longest > u32::from(single) {
        true => Err("a code has too few words"),
        false => Ok((counts, longest)),
    }
}

/// The word that follows among those of `len` bits. Words are sent from their first bit, which is the lowest here.
fn next(code: usize, len: u32) -> usize {
    match !code & ((1 << len) - 1) {
        0 => 0,
        free => {
            let bit = 1 << free.ilog2();
            code & (bit - 1) | bit
        }
    }
}

/// What the words of the first code stand for: bytes, the end of the block, lengths.
pub static LENGTHS: [Entry; 288] = {
    let mut symbols = [Entry(Entry::OTHER); 288];
    let mut byte = 0;
    while byte < 256 {
        symbols[byte] = Entry((byte as u32) << 16 | Entry::LITERAL);
        byte += 1;
    }
    symbols[256] = Entry(Entry::OTHER | Entry::END);
    let (mut symbol, mut base) = (257, 3);
    while symbol < 285 {
        let extra = if symbol < 265 { 0 } else { (symbol as u32 - 261) / 4 };
        symbols[symbol] = Entry(base << 16 | extra);
        (symbol, base) = (symbol + 1, base + (1 << extra));
    }
    symbols[285] = Entry(258 << 16);
    symbols
};

/// What the words of the second code stand for: distances.
pub static DISTANCES: [Entry; 32] = {
    let mut symbols = [Entry(Entry::OTHER); 32];
    let (mut symbol, mut base) = (0, 1);
    while symbol < 30 {
        let extra = if symbol < 4 { 0 } else { (symbol as u32 - 2) / 2 };
        symbols[symbol] = Entry(base << 16 | extra);
        (symbol, base) = (symbol + 1, base + (1 << extra));
    }
    symbols
};

/// What the words of the code stand for in which both others are written: lengths from 0 to 15, and three ways to
/// repeat.
pub static SIZES: [Entry; 19] = {
    let mut symbols = [Entry(0); 19];
    let extra = [2, 3, 7];
    let mut symbol = 0;
    while symbol < 19 {
        symbols[symbol] = Entry((symbol as u32) << 16 | if symbol < 16 { 0 } else { extra[symbol - 16] });
        symbol += 1;
    }
    symbols
};

/// The order in which the lengths of that one are sent.
pub const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads words bit by bit, as RFC 1951 (3.2.2) makes them from lengths.
    fn by_the_book(lens: &[u8], bits: u64) -> Option<(usize, u32)> {
        let (mut code, mut codes) = (0u64, Vec::new());
        for len in 1..=15 {
            code <<= 1;
            for (symbol, _) in lens.iter().enumerate().filter(|(_, l)| u32::from(**l) == len) {
                codes.push((code, len, symbol));
                code += 1;
            }
        }
        let word = |len: u32| (0..len).fold(0, |word, bit| word << 1 | (bits >> bit & 1));
        codes.iter().find(|(code, len, _)| word(*len) == *code).map(|(_, len, symbol)| (*symbol, *len))
    }

    fn numbers() -> impl FnMut(u64) -> u64 {
        let mut state = 7u64;
        move |below| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        }
    }

    #[test]
    fn every_word_is_found_and_takes_its_bits() {
        let mut below = numbers();
        for round in 0..60 {
            // A full code of random shape: a word is split in two until there are enough.
            let mut lens = vec![1u8, 1];
            let wanted = 2 + below(280) as usize;
            while lens.len() < wanted {
                let at = if round % 3 == 0 { lens.len() - 1 } else { below(lens.len() as u64) as usize };
                if lens[at] == 15 {
                    if lens.iter().all(|len| *len == 15) {
                        break;
                    }
                    let short = lens.iter().position(|len| *len < 15).unwrap();
                    lens[short] += 1;
                    lens.push(lens[short]);
                    continue;
                }
                lens[at] += 1;
                lens.push(lens[at]);
            }
            let mut table = Box::new(Lengths::EMPTY);
            table.set(&lens, &LENGTHS, true).unwrap();
            for _ in 0..2000 {
                let bits = below(1 << 20);
                let mut entry = table.first(bits);
                let mut taken = 0;
                if entry.is_long() {
                    taken = entry.bits();
                    entry = table.second(entry, bits >> taken);
                }
                let (symbol, len) = by_the_book(&lens, bits).unwrap();
                let expected = LENGTHS[symbol];
                assert_eq!(taken + entry.short(), len, "{lens:?} {bits:b}");
                assert_eq!((entry.value(), entry.is_literal()), (expected.value(), expected.is_literal()));
            }
        }
    }

    #[test]
    fn what_no_code_can_be_is_refused() {
        let mut table = Box::new(Distances::EMPTY);
        let mut set = |lens: &[u8]| table.set(lens, &DISTANCES, true);
        assert!(set(&[1, 1, 1]).is_err() && set(&[1, 2, 2, 15]).is_err());
        assert!(set(&[2, 2, 2]).is_err() && set(&[2]).is_err() && set(&[1, 2]).is_err());
        assert!(set(&[0, 0, 1]).is_ok() && set(&[]).is_ok() && set(&[1, 0, 2, 2]).is_ok());
        set(&[0, 0, 1]).unwrap();
        assert!(!table.first(0).is_other() && table.first(0).value() == 3);
        assert!(table.first(1).is_other());
        assert!(table.set(&[0, 0, 1], &DISTANCES, false).is_err());
        assert!(table.set(&[0, 0, 0], &DISTANCES, false).is_ok() && table.first(0).is_other());
    }
}
