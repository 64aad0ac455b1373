//! Packs elements of any width into a continuous string of bits, and unpacks them.
//!
//! The first element is in the high bits of the first byte; elements cross bytes, rows are not padded, and the
//! last byte is filled with zeros. Cameras write 10, 12 and 14 bits: four elements of these fill 5, 6 and 7
//! bytes, which are spread over a word with shifts and masks and no branch. Everything else goes one element at
//! a time.

/// Why nothing was packed or unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Elements have 1 to 64 bits.
    #[error("elements of {0} bits: 1 to 64 are possible")]
    Bits(u32),
    /// The integers that were given are narrower than the elements.
    #[error("elements of {0} bits do not fit into integers of {1}")]
    Narrow(u32, u32),
    /// There are fewer packed bytes than elements asked for.
    #[error("there are not enough packed bytes for so many elements")]
    Short,
    /// An element that is too large would lose its high bits.
    #[error("element {0} does not fit into its bits")]
    TooLarge(usize),
}

/// An integer that elements are unpacked into: `u8`, `u16`, `u32`, `u64`.
pub trait Sample: Copy + private::Word {
    /// How many bits it has.
    const BITS: u32;
}

mod private {
    pub trait Word {
        fn of(value: u64) -> Self;
        fn wide(self) -> u64;
    }
}

macro_rules! sample {
    ($($word:ty)*) => {$(
        impl Sample for $word {
            const BITS: u32 = <$word>::BITS;
        }
        impl private::Word for $word {
            #[inline(always)]
            fn of(value: u64) -> $word {
                value as $word
            }
            #[inline(always)]
            fn wide(self) -> u64 {
                u64::from(self)
            }
        }
    )*};
}

sample!(u8 u16 u32 u64);

/// The bytes that `count` elements take.
pub fn packed_len(bits: u32, count: u64) -> Option<u64> {
    u64::try_from((u128::from(count) * u128::from(bits)).div_ceil(8)).ok()
}

/// Elements in one block of the fast path.
const BLOCK: usize = 32;

/// Bytes that the fast path may look at for one block.
const LOOK: usize = 64;

/// Fills `out` with the elements from number `first` on of those in `packed`.
pub fn unpack<T: Sample>(bits: u32, packed: &[u8], first: usize, out: &mut [T]) -> Result<(), Misfit> {
    check(bits, packed, first, out.len())?;
    if T::BITS < bits {
        return Err(Misfit::Narrow(bits, T::BITS));
    }
    // Four elements of an even width end with a byte.
    let lead = (first.wrapping_neg() % 4).min(out.len());
    let (head, body) = out.split_at_mut(lead);
    each(bits, packed, first, head);
    let at = first + lead;
    let done = match bits {
        10 => blocks::<10, T>(&packed[at / 4 * 5..], body),
        12 => blocks::<12, T>(&packed[at / 4 * 6..], body),
        14 => blocks::<14, T>(&packed[at / 4 * 7..], body),
        _ => 0,
    };
    each(bits, packed, at + done, &mut body[done..]);
    Ok(())
}

/// Fills `out` with elements as little-endian integers of `width` bytes, from number `first` on.
pub fn unpack_bytes(
    bits: u32,
    packed: &[u8],
    first: usize,
    width: usize,
    out: &mut [u8],
) -> Result<(), Misfit> {
    let count = out.len() / width.max(1);
    check(bits, packed, first, count)?;
    if !matches!(width, 1 | 2 | 4 | 8) || (width as u32) * 8 < bits {
        return Err(Misfit::Narrow(bits, width as u32 * 8));
    }
    // By way of a buffer that stays in the cache.
    let mut buffer = [0u64; 256];
    let mut half = [0u16; 1024];
    let mut at = first;
    if width == 2 {
        for piece in out.chunks_mut(2 * half.len()) {
            let half = &mut half[..piece.len() / 2];
            unpack(bits, packed, at, half)?;
            at += half.len();
            for (to, from) in piece.as_chunks_mut::<2>().0.iter_mut().zip(half) {
                *to = from.to_le_bytes();
            }
        }
        return Ok(());
    }
    for piece in out.chunks_mut(width * buffer.len()) {
        let buffer = &mut buffer[..piece.len() / width];
        unpack(bits, packed, at, buffer)?;
        at += buffer.len();
        for (to, from) in piece.chunks_exact_mut(width).zip(buffer) {
            to.copy_from_slice(&from.to_le_bytes()[..width]);
        }
    }
    Ok(())
}

fn check(bits: u32, packed: &[u8], first: usize, count: usize) -> Result<(), Misfit> {
    if !(1..=64).contains(&bits) {
        return Err(Misfit::Bits(bits));
    }
    let needed = first.checked_add(count).and_then(|n| packed_len(bits, n as u64)).ok_or(Misfit::Short)?;
    if needed > packed.len() as u64 { Err(Misfit::Short) } else { Ok(()) }
}

/// Whole blocks, as many as there are; how many elements they were.
fn blocks<const B: usize, T: Sample>(mut packed: &[u8], out: &mut [T]) -> usize {
    let mut done = 0;
    for block in out.as_chunks_mut::<BLOCK>().0 {
        let Some(look) = packed.first_chunk::<LOOK>() else { break };
        for (n, four) in block.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let from = n * B / 2;
            let word = u64::from_be_bytes(look[from..from + 8].try_into().expect("eight bytes"));
            let spread = spread::<B>(word);
            four[0] = T::of(spread & 0xFFFF);
            four[1] = T::of(spread >> 16 & 0xFFFF);
            four[2] = T::of(spread >> 32 & 0xFFFF);
            four[3] = T::of(spread >> 48);
        }
        packed = &packed[4 * B..];
        done += BLOCK;
    }
    done
}

/// The four elements in the high bits of `word`, each in 16 bits, the first in the lowest.
#[inline(always)]
fn spread<const B: usize>(word: u64) -> u64 {
    let four = word >> (64 - 4 * B);
    let two = (four >> (2 * B)) | (four & ((1 << (2 * B)) - 1)) << 32;
    let mask = ((1u64 << B) - 1) * 0x1_0000_0001;
    (two >> B & mask) | (two & mask) << 16
}

fn each<T: Sample>(bits: u32, packed: &[u8], first: usize, out: &mut [T]) {
    for (n, to) in out.iter_mut().enumerate() {
        *to = T::of(one(bits, packed, first + n));
    }
}

/// One element, which is known to be there.
#[inline]
fn one(bits: u32, packed: &[u8], index: usize) -> u64 {
    let bit = index as u128 * u128::from(bits);
    let (byte, skip) = ((bit / 8) as usize, (bit % 8) as u32);
    if bits <= 57
        && let Some(word) = packed[byte..].first_chunk::<8>()
    {
        return u64::from_be_bytes(*word) << skip >> (64 - bits);
    }
    let mut word = [0; 16];
    let there = (packed.len() - byte).min(16);
    word[..there].copy_from_slice(&packed[byte..byte + there]);
    (u128::from_be_bytes(word) << skip >> (128 - bits)) as u64
}

/// Packs elements. One that does not fit into its bits is refused; nothing is cut off.
pub fn pack<T: Sample>(bits: u32, elements: &[T]) -> Result<Vec<u8>, Misfit> {
    if !(1..=64).contains(&bits) {
        return Err(Misfit::Bits(bits));
    }
    if bits < T::BITS
        && let Some(n) = elements.iter().position(|e| e.wide() >> bits != 0)
    {
        return Err(Misfit::TooLarge(n));
    }
    let len = packed_len(bits, elements.len() as u64).and_then(|n| usize::try_from(n).ok());
    let mut out = Vec::with_capacity(len.ok_or(Misfit::Short)?);
    let (fours, rest) = match bits {
        10 | 12 | 14 => elements.as_chunks::<4>(),
        _ => elements[..0].as_chunks::<4>(),
    };
    for four in fours {
        let word = four.iter().fold(0, |word, e| word << bits | e.wide()) << (64 - 4 * bits);
        out.extend_from_slice(&word.to_be_bytes()[..bits as usize / 2]);
    }
    pack_each(bits, if fours.is_empty() { elements } else { rest }, &mut out);
    Ok(out)
}

fn pack_each<T: Sample>(bits: u32, elements: &[T], out: &mut Vec<u8>) {
    let (mut held, mut count) = (0u128, 0u32);
    for element in elements {
        held = held << bits | u128::from(element.wide());
        count += bits;
        while count >= 8 {
            count -= 8;
            out.push((held >> count) as u8);
        }
    }
    if count > 0 {
        out.push((held << (8 - count)) as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, bit by bit.
    fn bit_by_bit(bits: u32, packed: &[u8], count: usize) -> Vec<u64> {
        let bit = |n: usize| u64::from(packed[n / 8] >> (7 - n % 8) & 1);
        let element =
            |n: usize| (0..bits as usize).fold(0, |value, b| value << 1 | bit(n * bits as usize + b));
        (0..count).map(element).collect()
    }

    #[test]
    fn a_known_string_of_bits() {
        // Written down from the definition: 0b0000000001 0000000010 0000000011 1111111110 1111111111.
        let packed = [0x00, 0x40, 0x20, 0x0F, 0xFE, 0xFF, 0xC0];
        let mut out = [0u16; 5];
        unpack(10, &packed, 0, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 1022, 1023]);
        assert_eq!(pack(10, &out).unwrap(), packed);
    }

    #[test]
    fn what_would_lose_bits_is_refused() {
        assert_eq!(pack(12, &[0u16, 4096]), Err(Misfit::TooLarge(1)));
        assert_eq!(unpack(12, &[0; 3], 0, &mut [0u8; 2]), Err(Misfit::Narrow(12, 8)));
        assert_eq!(unpack(12, &[0; 2], 0, &mut [0u16; 2]), Err(Misfit::Short));
        assert_eq!(unpack(0, &[0; 2], 0, &mut [0u16; 2]), Err(Misfit::Bits(0)));
        assert_eq!(unpack(65, &[0; 99], 0, &mut [0u64; 2]), Err(Misfit::Bits(65)));
        assert_eq!(unpack(64, &[0; 99], usize::MAX, &mut [0u64; 2]), Err(Misfit::Short));
    }

    proptest! {
        #[test]
        fn unpacking_is_the_definition(
            bits in prop_oneof![1u32..=64, Just(10), Just(12), Just(14)],
            packed in prop::collection::vec(any::<u8>(), 0..700),
            cut in any::<(usize, usize)>(),
        ) {
            let count = packed.len() * 8 / bits as usize;
            let expected = bit_by_bit(bits, &packed, count);
            let first = cut.0 % (count + 1);
            let n = cut.1 % (count - first + 1);
            let mut wide = vec![0u64; n];
            unpack(bits, &packed, first, &mut wide).unwrap();
            prop_assert_eq!(&wide, &expected[first..first + n]);
            if bits <= 16 {
                let mut narrow = vec![0u16; n];
                unpack(bits, &packed, first, &mut narrow).unwrap();
                prop_assert!(narrow.iter().zip(&wide).all(|(a, b)| u64::from(*a) == *b));
            }
            let width = (bits.div_ceil(8) as usize).next_power_of_two();
            let mut bytes = vec![0; n * width];
            unpack_bytes(bits, &packed, first, width, &mut bytes).unwrap();
            let le = |b: &[u8]| b.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
            prop_assert_eq!(bytes.chunks(width).map(le).collect::<Vec<_>>(), wide);
        }

        #[test]
        fn packing_is_the_inverse(bits in prop_oneof![1u32..=64, Just(10), Just(12), Just(14)],
                                  raw in prop::collection::vec(any::<u64>(), 0..200)) {
            let elements: Vec<u64> = raw.iter().map(|e| e >> (64 - bits)).collect();
            let packed = pack(bits, &elements).unwrap();
            prop_assert_eq!(packed.len() as u64, packed_len(bits, elements.len() as u64).unwrap());
            prop_assert_eq!(bit_by_bit(bits, &packed, elements.len()), elements);
        }
    }
}
