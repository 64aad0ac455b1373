//! Inflate (RFC 1951) that can say where it is, and begin there again.
//!
//! A place between two blocks is worth most: there, decoding needs the bytes before it and nothing else. Within a block
//! it needs the codes of that as well, so such a [`Mark`] says where the block begins, too.
//!
//! It is written here because nobody else has it all. The zlib interface can stop and begin in the middle; behind it,
//! zlib-rs does 312 MB/s on one core, zlib-ng 219, miniz_oxide 195. libdeflate does 422, but of whole buffers alone;
//! fdeflate (1.2 to 1.3 times zlib-rs) and zune-inflate (184) can stop nowhere either. What stands here does about 1.5
//! times as much as zlib-rs, which the tests and the fuzzers hold it against, and is safe code throughout.
//!
//! Invariants: between two steps, no whole byte of input is held back, unless the input ended within a symbol or a head; so
//! [`Step::used`] is the place in the stream. A stream that another decoder would refuse is refused.
//!
//! Memory: 155 KiB for each, whatever the stream says; 60 KiB for one that rests.

#[cfg(any(test, fuzzing))]
pub mod against;
mod block;
mod code;
mod symbols;

use std::io::{self, BufRead};
use std::sync::Arc;

use parking_lot::Mutex;

use self::block::{Codes, HERE, want};
use self::code::Table;
use self::symbols::{At, Buffer, FULL};

/// How far back a deflate stream refers.
pub const WINDOW: usize = 32 * 1024;

/// Where decoding can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Decoded bytes before it.
    pub out: u64,
    /// Bits of the stream before it.
    pub at: u64,
    /// Bits before the block that it lies in; between two blocks, as many as before itself.
    pub block: u64,
}

/// Where a step is to say where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nowhere.
    Never,
    /// Between two blocks, where it stops for that.
    Between,
    /// Within a block as well, wherever it stops.
    Within,
}

/// What a call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Packed bytes consumed.
    pub used: usize,
    /// Decoded bytes given.
    pub made: usize,
    /// Where it has stopped, if that was asked for. It may be ahead of what was given.
    pub mark: Option<Mark>,
    /// The stream has ended.
    pub ended: bool,
}

/// A raw deflate stream that is being decoded.
pub struct Inflater {
    bits: u64,
    count: u32,
    /// Packed bytes that `bits` and all before them are of.
    taken: u64,
    /// Bits before the block.
    block: u64,
    /// Decoded bytes, given or not.
    out: u64,
    part: Part,
    /// This block is the last one.
    last: bool,
    /// A block has ended, another one comes, and nobody was told.
    between: bool,
    /// Gone with the stream.
    codes: Option<Box<Codes>>,
    /// What was decoded last, old bytes first: up to `given` it was given out, up to `end` it is there. Without room for
    /// more while it rests.
    buffer: Vec<u8>,
    given: usize,
    end: usize,
}

/// What comes next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A block.
    Head,
    /// How long a stored block is.
    StoredLen,
    /// So many bytes of a stored block.
    Stored(usize),
    /// How many words the codes of the block have.
    Counts,
    /// The lengths of the words in which the codes are written; so many are known.
    Sizes(usize),
    /// The codes; of so many words the length is known.
    Codes(usize),
    Symbols,
    /// The stream has ended.
    Nothing,
}

/// What streams that rest or are done with have left. Most streams are small, and most reads somewhere in a large one go
/// on for little: making all of it anew would take longer than decoding.
static SPARE: Mutex<Spare> = Mutex::new(Spare { codes: Vec::new(), rooms: Vec::new() });
const MOST_SPARE: usize = 4;

struct Spare {
    codes: Vec<Box<Codes>>,
    rooms: Vec<Vec<u8>>,
}

/// Whether there was input enough.
type Enough = Result<bool, &'static str>;

impl Inflater {
    /// At the start of a stream.
    pub fn new() -> Inflater {
        let codes = SPARE.lock().codes.pop().unwrap_or_default();
        Inflater {
            bits: 0,
            count: 0,
            taken: 0,
            block: 0,
            out: 0,
            part: Part::Head,
            last: false,
            between: false,
            codes: Some(codes),
            buffer: Vec::new(),
            given: 0,
            end: 0,
        }
    }

    /// At a mark; `window` are the decoded bytes before it, at most [`WINDOW`], and `from` reads the stream from a byte
    /// on. Says what goes on to be read.
    pub fn resume<I: BufRead>(
        mark: Mark,
        window: &[u8],
        from: impl Fn(u64) -> I,
    ) -> io::Result<(Inflater, I)> {
        let mut inflater = Inflater::new();
        if mark.block < mark.at {
            let mut input = inflater.enter(mark.block, &from)?;
            while inflater.part != Part::Symbols {
                let (there, before) = (input.fill_buf()?, inflater.part);
                let cut = there.is_empty();
                let used = inflater.advance(there, |this, at| match this.part {
                    Part::StoredLen | Part::Stored(_) | Part::Nothing => Err("a block without codes"),
                    _ => this.prepare(at),
                })?;
                input.consume(used);
                // What there is may be in `bits` already.
                if cut && inflater.part == before {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let input = inflater.enter(mark.at, &from)?;
        let window = &window[window.len().saturating_sub(WINDOW)..];
        inflater.make_room();
        (inflater.given, inflater.end, inflater.out) = (window.len(), window.len(), mark.out);
        inflater.buffer[..window.len()].copy_from_slice(window);
        Ok((inflater, input))
    }

    /// Goes to a place of the stream.
    fn enter<I: BufRead>(&mut self, at: u64, from: impl Fn(u64) -> I) -> io::Result<I> {
        let mut input = from(at / 8);
        (self.bits, self.count, self.taken) = (0, 0, at / 8);
        let used = at as u32 % 8;
        if used > 0 {
            let mut byte = [0];
            input.read_exact(&mut byte)?;
            self.taken += 1;
            (self.bits, self.count) = ((byte[0] >> used).into(), 8 - used);
        }
        Ok(input)
    }

    /// Decodes from `input` into `out`; where it stops on its own account, `stop` says. After an error, it is of no use
    /// any more.
    pub fn step(&mut self, input: &[u8], out: &mut [u8], stop: Stop) -> io::Result<Step> {
        let mut made = self.give(out);
        let mut used = 0;
        if made < out.len() && !(stop != Stop::Never && self.between) {
            let limit = self.limit(out.len() - made);
            let before = self.end;
            let mut room = std::mem::take(&mut self.buffer);
            let buffer = room.as_mut_slice().try_into().expect("it has its full length");
            let outcome = self.advance(input, |this, at| this.decode(at, buffer, limit, stop));
            self.buffer = room;
            used = outcome?;
            self.out += (self.end - before) as u64;
            made += self.give(&mut out[made..]);
        }
        let stopped = match stop {
            Stop::Never => false,
            Stop::Between => std::mem::take(&mut self.between),
            Stop::Within => std::mem::take(&mut self.between) || self.part == Part::Symbols,
        };
        Ok(Step {
            used,
            made,
            mark: stopped.then(|| self.mark()),
            ended: self.given == self.end && self.part == Part::Nothing,
        })
    }

    /// Decoded bytes up to here, given or not.
    pub fn out(&self) -> u64 {
        self.out
    }

    /// Where it is.
    fn mark(&self) -> Mark {
        let at = 8 * self.taken - u64::from(self.count);
        Mark { out: self.out, at, block: if self.part == Part::Symbols { self.block } else { at } }
    }

    /// Has `work` use `input`, and says how much of it was used.
    fn advance(
        &mut self,
        input: &[u8],
        work: impl FnOnce(&mut Self, &mut At<'_>) -> Enough,
    ) -> io::Result<usize> {
        let mut at = At { input, used: 0, bits: self.bits, count: self.count, end: self.end };
        let enough = work(self, &mut at).map_err(|what| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the deflate stream is invalid: {what}"))
        })?;
        if enough {
            let whole = at.used.min(at.count as usize / 8);
            at.used -= whole;
            at.count -= 8 * whole as u32;
        }
        (self.bits, self.count, self.end) = (at.bits & ((1 << at.count) - 1), at.count, at.end);
        self.taken += at.used as u64;
        Ok(at.used)
    }

    /// Gives out what is there.
    fn give(&mut self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.end - self.given);
        out[..n].copy_from_slice(&self.buffer[self.given..self.given + n]);
        self.given += n;
        n
    }

    fn make_room(&mut self) {
        if self.buffer.len() < size_of::<Buffer>() {
            let spare = SPARE.lock().rooms.pop();
            let mut room = spare.unwrap_or_else(|| vec![0; size_of::<Buffer>()]);
            // What lies behind it is of another stream, and is written to before it is read.
            room[..self.end].copy_from_slice(&self.buffer[..self.end]);
            self.buffer = room;
        }
    }

    /// Makes room, of which there is enough for a while, and says up to where `wanted` bytes may be decoded. All was
    /// given out.
    fn limit(&mut self, wanted: usize) -> usize {
        self.make_room();
        if FULL.saturating_sub(self.end) < wanted.min(FULL - WINDOW) {
            self.buffer.copy_within(self.end - WINDOW..self.end, 0);
            (self.given, self.end) = (WINDOW, WINDOW);
        }
        FULL.min(self.end + wanted)
    }

    /// Decodes until `limit` is reached or passed by a match, or the input or the block ends.
    fn decode(&mut self, at: &mut At<'_>, buffer: &mut Buffer, limit: usize, stop: Stop) -> Enough {
        while at.end < limit {
            let enough = match self.part {
                Part::Head if stop != Stop::Never && self.between => return Ok(true),
                Part::Stored(left) => self.stored(at, buffer, left, limit),
                Part::Symbols => {
                    let Codes { lengths, distances, .. } = self.codes.as_deref().expect(HERE);
                    match symbols::run(at, buffer, limit, lengths, distances)? {
                        true => self.end_block(),
                        false => at.end >= limit || self.symbol(at, buffer)?,
                    }
                }
                Part::Nothing => return Ok(true),
                _ => self.prepare(at)?,
            };
            if !enough {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end_block(&mut self) -> bool {
        self.between = !self.last;
        self.part = if self.last { Part::Nothing } else { Part::Head };
        true
    }

    fn stored(&mut self, at: &mut At<'_>, buffer: &mut Buffer, left: usize, limit: usize) -> bool {
        let n = left.min(limit - at.end).min(at.input.len() - at.used);
        buffer[at.end..at.end + n].copy_from_slice(&at.input[at.used..at.used + n]);
        (at.end, at.used) = (at.end + n, at.used + n);
        self.part = Part::Stored(left - n);
        if left == n { self.end_block() } else { n > 0 }
    }

    /// One symbol of the few bytes that there are. Without all of its bits, none of them is used.
    fn symbol(&mut self, at: &mut At<'_>, buffer: &mut Buffer) -> Enough {
        let Codes { lengths, distances, .. } = self.codes.as_deref().expect(HERE);
        want(at, 48);
        let mut bits = (at.bits, at.count);
        let Some((entry, len)) = word(lengths, &mut bits) else { return Ok(false) };
        if entry.is_literal() {
            buffer[at.end] = len as u8;
            at.end += 1;
        } else if entry.is_end() {
            self.end_block();
        } else if entry.is_other() {
            return Err("a length that is none");
        } else {
            let Some((entry, distance)) = word(distances, &mut bits) else { return Ok(false) };
            if entry.is_other() {
                return Err("a distance that is none");
            }
            if distance > at.end {
                return Err("a distance that reaches before the start");
            }
            symbols::copy(buffer, at.end, distance, len);
            at.end += len;
        }
        (at.bits, at.count) = bits;
        Ok(true)
    }

    /// Gives its room away until it goes on.
    pub fn rest(&mut self) {
        if self.buffer.len() < size_of::<Buffer>() {
            return;
        }
        let from = self.given.min(self.end.saturating_sub(WINDOW));
        let kept = self.buffer[from..self.end].to_vec();
        (self.given, self.end) = (self.given - from, self.end - from);
        let room = std::mem::replace(&mut self.buffer, kept);
        SPARE.lock().keep(room);
    }

    /// The last decoded bytes, as far as the stream may refer to them.
    pub fn window(&self) -> Arc<[u8]> {
        self.buffer[self.end.saturating_sub(WINDOW)..self.end].into()
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        let mut spare = SPARE.lock();
        spare.codes.extend(self.codes.take());
        spare.codes.truncate(MOST_SPARE);
        spare.keep(std::mem::take(&mut self.buffer));
    }
}

impl Spare {
    /// Keeps room, if it is as much as is needed.
    fn keep(&mut self, room: Vec<u8>) {
        if room.len() == size_of::<Buffer>() && self.rooms.len() < MOST_SPARE {
            self.rooms.push(room);
        }
    }
}

/// The next word of a code, and its value, if all its `bits` are there: how many are, stands behind them.
fn word<const WIDTH: u32, const SIZE: usize>(
    table: &Table<WIDTH, SIZE>,
    bits: &mut (u64, u32),
) -> Option<(code::Entry, usize)> {
    let mut entry = table.first(bits.0);
    if entry.is_long() {
        *bits = (bits.0 >> WIDTH, bits.1.checked_sub(WIDTH)?);
        entry = table.second(entry, bits.0);
    }
    let left = bits.1.checked_sub(entry.bits())?;
    let value = entry.number(bits.0);
    *bits = (bits.0 >> entry.bits(), left);
    Some((entry, value))
}

#[cfg(test)]
mod tests;
