use super::against::{Marks, Outcome, both};
use super::*;
use std::io::Write;

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// What was decoded, in steps of 30,000 bytes, and the marks on the way.
fn decode(packed: &[u8], stop: Stop) -> (Vec<u8>, Marks) {
    let (mut inflater, mut input, mut buf) = (Inflater::new(), packed, vec![0; 30_000]);
    let (mut out, mut marks) = (Vec::new(), Vec::new());
    loop {
        let step = inflater.step(input, &mut buf, stop).unwrap();
        out.extend_from_slice(&buf[..step.made]);
        input = &input[step.used..];
        if step.ended {
            assert_eq!((input.len(), out.len() as u64), (0, inflater.out()));
            return (out, marks);
        }
        marks.extend(step.mark.map(|mark| (mark, inflater.window())));
    }
}

#[test]
fn decoding_begins_again_at_every_mark() {
    let data: Vec<u8> =
        (0..900_000u32).flat_map(|i| format!("{},", i.wrapping_mul(i) % 9973).into_bytes()).collect();
    let packed = deflate(&data);
    let mut buf = vec![0; 30_000];
    for stop in [Stop::Between, Stop::Within] {
        let (out, marks) = decode(&packed, stop);
        assert!(out == data);
        let within = marks.iter().filter(|(mark, _)| mark.block < mark.at).count();
        assert!(marks.len() > 10 && marks.iter().any(|(mark, _)| mark.at % 8 > 0));
        assert!(if stop == Stop::Within { within > 50 } else { within == 0 }, "{within}");
        for (mark, window) in marks {
            let (mut again, rest) = Inflater::resume(mark, &window, |byte| &packed[byte as usize..]).unwrap();
            let step = again.step(rest, &mut buf, Stop::Never).unwrap();
            let at = mark.out as usize;
            assert!(step.made == buf.len().min(data.len() - at));
            assert!(buf[..step.made] == data[at..at + step.made], "from {mark:?}");
        }
    }
}

#[test]
fn a_place_in_a_block_that_is_none_is_refused() {
    let packed = deflate(&b"vessel wall".repeat(20_000));
    // A stored block, and bits that are no head.
    let stored = [&[0, 3, 0, 0xfc, 0xff, 1, 2, 3][..], &packed].concat();
    let nothing = [7; 40];
    for (what, packed, mark) in [
        ("without codes", &stored[..], Mark { out: 2, at: 7 * 8, block: 0 }),
        ("no kind", &nothing, Mark { out: 2, at: 7 * 8, block: 0 }),
        ("end of file", &packed[..3], Mark { out: 2, at: 2 * 8, block: 0 }),
    ] {
        let outcome = Inflater::resume(mark, &[1, 2], |byte| &packed[byte as usize..]);
        let error = outcome.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}

/// Found by the fuzzer.
#[test]
fn decoding_begins_again_where_all_that_is_left_are_bits_of_one_byte() {
    // A literal, the end of the block, and the head of another one, which is cut off.
    let packed = [0x32, 7, 8];
    let mut inflater = Inflater::new();
    let mut buf = [0; 10];
    assert_eq!(inflater.step(&packed, &mut buf, Stop::Never).unwrap().made, 1);
    let mark = inflater.step(&[], &mut buf, Stop::Within).unwrap().mark.unwrap();
    assert_eq!(mark, Mark { out: 1, at: 21, block: 18 });
    let (mut again, rest) = Inflater::resume(mark, b"7", |byte| &packed[byte as usize..]).unwrap();
    let step = again.step(rest, &mut buf, Stop::Never).unwrap();
    assert_eq!((step.made, step.used, step.ended), (0, 0, false));
}

#[test]
fn it_says_what_another_decoder_says() {
    let mut state = 1u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n.max(1)
    };
    let (mut whole, mut cut, mut invalid) = (0, 0, 0);
    for round in 0..1500 {
        let len = [10, 300, 5000, 200_000][round % 4];
        let (kind, period) = (below(5), 1 + below(40));
        let mut data: Vec<u8> = Vec::with_capacity(len);
        while data.len() < len {
            match kind {
                0 => data.push(below(256) as u8),
                1 => data.extend(format!("{}.{},", below(3), below(9999)).bytes()),
                2 => data.push((data.len() % period) as u8),
                3 => data.push(if below(100) == 0 { below(256) as u8 } else { 7 }),
                _ if data.len() < 50 || below(3) == 0 => data.push(below(64) as u8),
                _ => {
                    let from = data.len() - 1 - below(data.len().min(WINDOW) - 1);
                    (0..3 + below(300)).for_each(|i| data.push(data[from + i]));
                }
            }
        }
        let level = flate2::Compression::new([0, 1, 6, 9][below(4)]);
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        for part in data.chunks(1 + below(len)) {
            encoder.write_all(part).unwrap();
            if below(3) == 0 {
                encoder.flush().unwrap();
            }
        }
        let mut packed = encoder.finish().unwrap();
        match round % 3 {
            0 => {}
            1 => packed.truncate(below(packed.len())),
            _ => (0..1 + below(3)).for_each(|_| {
                let at = below(packed.len());
                packed[at] ^= 1 << below(8);
            }),
        }
        match both(&packed, &mut below) {
            Outcome::Whole { bytes, .. } => {
                assert!(round % 3 != 0 || bytes == data);
                whole += 1;
            }
            outcome => {
                assert!(round % 3 != 0, "{outcome:?}");
                if outcome == Outcome::Invalid { invalid += 1 } else { cut += 1 }
            }
        }
    }
    assert!(whole > 500 && cut > 250 && invalid > 100, "{whole} {cut} {invalid}");
}

#[test]
fn what_no_encoder_writes_is_refused() {
    let bits = |fields: &[(u64, u32)]| {
        let (mut bytes, mut word, mut count) = (Vec::new(), 0u128, 0);
        for (value, len) in fields {
            word |= u128::from(*value) << count;
            count += len;
            while count >= 8 {
                bytes.push(word as u8);
                (word, count) = (word >> 8, count - 8);
            }
        }
        bytes.push(word as u8);
        bytes.extend([0; 40]);
        bytes
    };
    let cases = [
        ("no kind", bits(&[(1, 1), (3, 2)])),
        ("two lengths", bits(&[(1, 1), (0, 2), (0, 5), (5, 16), (5, 16)])),
        ("more words", bits(&[(1, 1), (2, 2), (30, 5), (0, 5), (0, 4)])),
        ("more words", bits(&[(1, 1), (2, 2), (0, 5), (31, 5), (0, 4)])),
        // The only word of the code of lengths stands for many zeros.
        ("too few words", bits(&[(1, 1), (2, 2), (0, 5), (0, 5), (0, 4), (0, 3), (0, 3), (1, 3), (0, 3)])),
        // In the fixed code, 287 is 11000111, and distance 30 is 11110; both come from the first bit on.
        ("a length that is none", bits(&[(1, 1), (1, 2), (0b1110_0011, 8)])),
        ("a distance that is none", bits(&[(1, 1), (1, 2), (0x0c, 8), (0b100_0000, 7), (0b01111, 5)])),
        ("before the start", bits(&[(1, 1), (1, 2), (0b100_0000, 7), (0, 5)])),
    ];
    // Found by the fuzzer: without any word, each bit says 0, and only the last of 258 shows that it is nothing.
    let endless = bits(&[(1, 1), (2, 2), (0, 5), (0, 5), (0, 4)]);
    for len in 0..endless.len() {
        let outcome = both(&endless[..len], &mut |n| n - 1);
        assert_eq!(outcome == Outcome::Invalid, len >= 36, "{len}");
    }
    for (what, packed) in cases {
        assert_eq!(both(&packed, &mut |n| n - 1), Outcome::Invalid, "{what}");
        for len in [packed.len(), 20] {
            let error =
                Inflater::new().step(&packed[..len], &mut [0; 100], Stop::Never).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }
}

#[test]
fn garbage_is_an_error() {
    let mut buf = [0; 100];
    assert!(Inflater::new().step(&[0xff; 50], &mut buf, Stop::Never).is_err());
}
