//! Which parts of a stream were decoded so far, and their checksums: in whatever order they come, the whole is
//! checked as soon as it is complete. What is decoded again, perhaps from another mark, has to be what it was.

use std::collections::{BTreeMap, HashMap};

use super::sum::Sum;

/// More parts than this, with holes between them, are not kept apart: the last ones are forgotten, so that a
/// reader in order still comes to the end with all of them.
const MOST_PARTS: usize = 4096;

/// Checksums of disjoint parts, by where they start. Neighbours are one part.
#[derive(Debug, Default)]
pub struct Coverage {
    parts: BTreeMap<u64, Part>,
    /// The checksum of each piece that was decoded: some twenty bytes for 128 KiB.
    sums: HashMap<u64, u32>,
    /// The checksum that stands behind the stream, once its end was decoded.
    pub trailer: Option<u32>,
    /// Somebody has got the last page before the whole was checked.
    pub end_given: bool,
}

#[derive(Debug, Clone)]
struct Part {
    end: u64,
    sum: Sum,
}

impl Coverage {
    /// Whether a piece is what it was when it was decoded before, if it was. Of `most` pieces, those that came first,
    /// the checksum is kept.
    pub fn agrees(&mut self, piece: u64, sum: &Sum, most: usize) -> bool {
        let sum = sum.value();
        match self.sums.get(&piece) {
            Some(before) => *before == sum,
            None => {
                if self.sums.len() < most {
                    self.sums.insert(piece, sum);
                }
                true
            }
        }
    }

    /// How many checksums of pieces are kept.
    pub fn sums(&self) -> usize {
        self.sums.len()
    }

    /// Forgets them, and says how many they were.
    pub fn forget_sums(&mut self) -> usize {
        std::mem::take(&mut self.sums).len()
    }

    /// Adds `len` bytes from `start` on, whose checksum is `sum`, unless they are there.
    pub fn add(&mut self, start: u64, len: u64, sum: Sum) {
        let end = start + len;
        let before = self.parts.range(..=start).next_back().map(|(at, part)| (*at, part.end));
        let overlaps = before.is_some_and(|(_, before_end)| before_end > start);
        if len == 0 || overlaps || self.parts.range(start..end).next().is_some() {
            return;
        }
        let mut part = Part { end, sum };
        let mut at = start;
        if let Some((before, _)) = before.filter(|(_, before_end)| *before_end == start) {
            let mut first = self.parts.remove(&before).expect("it was just found");
            first.sum.combine(&part.sum);
            (at, part) = (before, Part { end, sum: first.sum });
        }
        if let Some(after) = self.parts.remove(&end) {
            part.sum.combine(&after.sum);
            part.end = after.end;
        }
        self.parts.insert(at, part);
        if self.parts.len() > MOST_PARTS {
            self.parts.pop_last();
        }
    }

    /// What is missing of the first `size` bytes, in steps of `step`; `None` if it is more than `most` steps.
    pub fn missing(&self, size: u64, step: u64, most: usize) -> Option<Vec<u64>> {
        let mut missing = Vec::new();
        let mut at = 0;
        let end = (size, size);
        for (start, part_end) in self.parts.iter().map(|(start, part)| (*start, part.end)).chain([end]) {
            for gap in (at..start).step_by(step as usize) {
                if missing.len() == most {
                    return None;
                }
                missing.push(gap);
            }
            at = part_end;
        }
        Some(missing)
    }

    /// Forgets the parts: the whole was checked.
    pub fn settle(&mut self) {
        self.parts.clear();
    }

    /// The checksum of the first `size` bytes, once all of them were added.
    pub fn whole(&self, size: u64) -> Option<u32> {
        let first = self.parts.get(&0)?;
        (first.end == size).then(|| first.sum.value())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sum::Check;
    use super::*;

    fn add(coverage: &mut Coverage, data: &[u8], start: usize, end: usize) {
        let mut sum = Sum::new(Check::Crc32(0));
        sum.update(&data[start..end]);
        coverage.add(start as u64, (end - start) as u64, sum);
    }

    #[test]
    fn the_order_does_not_matter() {
        let data: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        // Steps that have no factor in common with the number of pieces visit each of them once.
        for step in [1, 3, 7, 51, 99] {
            let mut coverage = Coverage::default();
            for i in 0..100 {
                assert_eq!(coverage.whole(100_000), None);
                let start = i * step % 100 * 1000;
                add(&mut coverage, &data, start, start + 1000);
                // What is there already changes nothing.
                add(&mut coverage, &data, start, start + 1000);
            }
            assert_eq!(coverage.whole(100_000), Some(crc32fast::hash(&data)), "step {step}");
            assert_eq!(coverage.parts.len(), 1);
        }
    }

    #[test]
    fn what_is_missing_is_known() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missing(25, 10, 3), Some(vec![0, 10, 20]));
        assert_eq!(coverage.missing(25, 10, 2), None);
        add(&mut coverage, &[7; 25], 10, 20);
        assert_eq!(coverage.missing(25, 10, 2), Some(vec![0, 20]));
        add(&mut coverage, &[7; 25], 20, 25);
        add(&mut coverage, &[7; 25], 0, 10);
        assert_eq!(coverage.missing(25, 10, 0), Some(vec![]));
    }

    #[test]
    fn too_many_holes_do_not_keep_a_reader_in_order_from_the_verdict() {
        let size = 4 * MOST_PARTS;
        let data: Vec<u8> = (0..size).map(|i| (i / 7) as u8).collect();
        let mut coverage = Coverage::default();
        (0..2 * MOST_PARTS).for_each(|i| add(&mut coverage, &data, i * 2 + 1, i * 2 + 2));
        assert!(coverage.parts.len() <= MOST_PARTS);
        (0..size).for_each(|i| add(&mut coverage, &data, i, i + 1));
        assert_eq!(coverage.whole(size as u64), Some(crc32fast::hash(&data)));
    }
}
