//! Holds the decoder against another one: whatever a stream is, both have to say the same of it.

use std::sync::Arc;

use super::{Inflater, Mark, Stop};

/// What becomes of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has an end, `used` bytes from its start.
    Whole {
        /// What it holds.
        bytes: Vec<u8>,
        /// How long it is.
        used: usize,
    },
    /// It has none; this is what could be decoded.
    CutOff(Vec<u8>),
    /// Nobody has written this.
    Invalid,
}

/// Decodes `packed` with both, and panics where they differ. `below` gives numbers below another, in no order: how
/// much of input and output there is at a time.
pub fn both(packed: &[u8], below: &mut impl FnMut(usize) -> usize) -> Outcome {
    let expected = by_zlib(packed);
    let (found, marks) = by_steps(packed, below);
    assert!(found == expected, "they differ");
    if let Outcome::Whole { bytes, .. } | Outcome::CutOff(bytes) = &expected {
        let few = 1 + marks.len() / 8;
        for (mark, window) in marks.into_iter().step_by(few) {
            again(packed, bytes, mark, &window);
        }
    }
    expected
}

fn by_zlib(packed: &[u8]) -> Outcome {
    let mut decoder = flate2::Decompress::new(false);
    let (mut bytes, mut buf) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let (used, made) = (decoder.total_in() as usize, decoder.total_out());
        let status = decoder.decompress(&packed[used..], &mut buf, flate2::FlushDecompress::None);
        bytes.extend_from_slice(&buf[..(decoder.total_out() - made) as usize]);
        match status {
            Ok(flate2::Status::StreamEnd) => {
                return Outcome::Whole { bytes, used: decoder.total_in() as usize };
            }
            Ok(_) if (used, made) == (decoder.total_in() as usize, decoder.total_out()) => {
                return Outcome::CutOff(bytes);
            }
            Ok(_) => {}
            Err(_) => return Outcome::Invalid,
        }
    }
}

/// Places between two blocks and within them, and what was decoded before each.
pub type Marks = Vec<(Mark, Arc<[u8]>)>;

/// Input and output in pieces of any size, now and then up to the end of a block, where it is noted.
fn by_steps(packed: &[u8], below: &mut impl FnMut(usize) -> usize) -> (Outcome, Marks) {
    let (mut inflater, mut bytes, mut used) = (Inflater::new(), Vec::new(), 0);
    let (mut buf, mut marks) = (vec![0; 100_000], Vec::new());
    let (most_in, most_out) = if below(3) == 0 { (20, 40) } else { (70_000, 100_000) };
    let mut ahead = 0;
    loop {
        // What was not used is offered again, and more.
        ahead = (ahead + below(most_in)).min(packed.len() - used);
        let room = 1 + below(most_out);
        if below(10) == 0 {
            inflater.rest();
        }
        let stop = [Stop::Never, Stop::Between, Stop::Within][below(3)];
        let Ok(step) = inflater.step(&packed[used..used + ahead], &mut buf[..room], stop) else {
            return (Outcome::Invalid, marks);
        };
        bytes.extend_from_slice(&buf[..step.made]);
        (used, ahead) = (used + step.used, ahead - step.used);
        if step.ended {
            return (Outcome::Whole { bytes, used }, marks);
        }
        if let Some(mark) = step.mark {
            assert!(stop == Stop::Within || mark.block == mark.at);
            assert!(mark.block <= mark.at && mark.at.div_ceil(8) <= used as u64);
            marks.push((mark, inflater.window()));
        }
        if step.mark.is_none_or(|mark| mark.block < mark.at)
            && (step.made, step.used) == (0, 0)
            && used + ahead == packed.len()
        {
            return (Outcome::CutOff(bytes), marks);
        }
    }
}

/// Begins at a mark and decodes the rest, as far as it goes.
fn again(packed: &[u8], bytes: &[u8], mark: Mark, window: &[u8]) {
    let from = |byte: u64| &packed[byte as usize..];
    let (mut inflater, mut packed) = Inflater::resume(mark, window, from).expect("it was there before");
    let (mut out, mut buf) = (mark.out as usize, vec![0; 30_000]);
    loop {
        let step = inflater.step(packed, &mut buf, Stop::Never).expect("it was decoded before");
        packed = &packed[step.used..];
        assert!(bytes[out..].starts_with(&buf[..step.made]), "from {mark:?}");
        out += step.made;
        if step.ended || (step.made, step.used) == (0, 0) {
            assert_eq!(out, bytes.len(), "from {mark:?}");
            return;
        }
    }
}
