//! A database with its write-ahead log applied, as SQLite's recovery would.
//!
//! A log is a header and frames, each a page with its number, two salts and a sum over all before it. The frames
//! count up to the last one that ends a transaction and whose salts and sums hold, from the first frame on; what
//! comes behind is of an older log, or was never finished. The log is read once, in pieces.
//!
//! A log is damaged where its header is not right, or where behind the last frame that counts a frame of this log ends a
//! transaction: that was committed, and may be the newest work. Frames of which both salts are others are left from an
//! earlier use of the file, unless the sum goes on with one, which it does not cover the salts of; a frame that ends no
//! transaction was being written when the power failed.
//!
//! The first frame that does not count may itself say that it ends a transaction. With another such frame of this log
//! behind it, it was complete once; so it was if one word of four bytes put right makes its sum right, if the next frame
//! goes on from the sum that it says, or if the file ends with it, which had no older log, and nothing in it can be a gap.
//! Else it is the end of a
//! log whose writer was stopped: the head of a frame is written before its page, over what the file had there. Limit: more
//! damage than a word to the very last frame cannot be told from that where the file goes on with an older log. Frames
//! that end no transaction prove nothing by being there: those of one that was rolled back stay, salts and all.

use std::collections::BTreeMap;

use super::LogDamage;
use super::overlay::Overlay;
use crate::error::Result;
use crate::tree::Content;

const HEADER: u64 = 32;
const FRAME: u64 = 24;
/// What a disk writes in one go, at the least.
const SECTOR: usize = 512;
/// Of the sum's two byte orders, that with this bit is big-endian.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// What of a log cannot be applied, if there is anything of the kind.
pub fn log_damage(wal: &Content) -> Result<Option<LogDamage>> {
    Ok(read(wal)?.1)
}

/// The database with `wal` applied, the database itself if nothing in the log counts; and what of the log could not be
/// applied. The header says that there is no log either way.
pub fn with_wal(base: Content, wal: Content) -> Result<(Content, Option<LogDamage>)> {
    let (committed, damage) = read(&wal)?;
    let size = match &committed {
        Some(log) => u64::from(log.pages_after) * u64::from(log.page_size),
        None => base.size(),
    };
    let (pages, page_size) = match committed {
        Some(log) => {
            // Pages behind the end were cut off by the last transaction.
            let mut pages = log.pages;
            pages.retain(|page, _| *page < log.pages_after);
            (pages, log.page_size)
        }
        None => (BTreeMap::new(), 4096),
    };
    Ok((Overlay { base, other: wal, pages, page_size, size }.content(), damage))
}

/// What counts in a log.
struct Log {
    page_size: u32,
    /// Pages of the database after the last transaction.
    pages_after: u32,
    pages: BTreeMap<u32, u64>,
}

/// The running sum over header and frames.
#[derive(Clone, Copy)]
struct Sum {
    a: u32,
    b: u32,
    big: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let word = |at: usize| {
                let four = pair[at..at + 4].try_into().expect("four bytes");
                if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
            };
            let (first, second) = (word(0), word(4));
            self.a = self.a.wrapping_add(first).wrapping_add(self.b);
            self.b = self.b.wrapping_add(second).wrapping_add(self.a);
        }
    }

    fn is(&self, bytes: &[u8]) -> bool {
        be(bytes, 0) == self.a && be(bytes, 4) == self.b
    }

    /// Whether one word is wrong, of those written in `bytes` or of the last `summed` bytes that were added. What is added
    /// to a word adds to `a` and `b` multiples of itself that depend on nothing but how many words come behind it, and of
    /// which at least one is odd.
    fn is_but_for_a_word(&self, bytes: &[u8], summed: usize) -> bool {
        let (more_a, more_b) = (be(bytes, 0).wrapping_sub(self.a), be(bytes, 4).wrapping_sub(self.b));
        if more_a == 0 || more_b == 0 {
            return true;
        }
        let behind = |(a, b): (u32, u32)| (a.wrapping_add(b), a.wrapping_add(b).wrapping_add(b));
        let (mut first, mut second) = ((1, 1), (0, 1));
        (0..summed / 8).any(|_| {
            let fits = [first, second].into_iter().any(|(by_a, by_b): (u32, u32)| {
                let more = match by_a & 1 {
                    1 => more_a.wrapping_mul(inverse(by_a)),
                    _ => more_b.wrapping_mul(inverse(by_b)),
                };
                more.wrapping_mul(by_a) == more_a && more.wrapping_mul(by_b) == more_b
            });
            (first, second) = (behind(first), behind(second));
            fits
        })
    }
}

/// What gives one when it is multiplied by an odd number: each step doubles the bits that are right.
fn inverse(odd: u32) -> u32 {
    (0..4).fold(odd, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
}

fn be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// What counts in a log, and what of it should count and cannot.
fn read(wal: &Content) -> Result<(Option<Log>, Option<LogDamage>)> {
    let mut head = [0; HEADER as usize];
    if wal.read_at(0, &mut head)? < head.len() {
        return Ok((None, None));
    }
    let magic = be(&head, 0);
    let page_size = be(&head, 8);
    let mut sum = Sum { a: 0, b: 0, big: magic & 1 == 1 };
    sum.add(&head[..24]);
    let is_log =
        magic & !1 == MAGIC && be(&head, 4) == VERSION && is_page_size(page_size) && sum.is(&head[24..]);
    if is_log {
        return read_frames(wal, page_size, &head[16..24], be(&head, 12) > 0, sum);
    }
    let is_damaged = wal.size() > HEADER && !is_zero(wal)?;
    Ok((None, if is_damaged { Some(LogDamage::Log(headless(wal, page_size)?)) } else { None }))
}

fn is_page_size(size: u32) -> bool {
    size.is_power_of_two() && (512..=65536).contains(&size)
}

fn is_zero(wal: &Content) -> Result<bool> {
    let (mut piece, mut at) = (vec![0; 1 << 16], 0);
    loop {
        match wal.read_at(at, &mut piece)? {
            0 => return Ok(true),
            n if piece[..n].iter().any(|b| *b != 0) => return Ok(false),
            n => at += n as u64,
        }
    }
}

/// The frames of a log whose header is not right. Two in a row have the same salts, which tells how long one is.
fn headless(wal: &Content, said: u32) -> Result<Option<u64>> {
    let salts = |at: u64| -> Result<Option<[u8; 8]>> {
        let mut salts = [0; 8];
        Ok((wal.read_at(at + 8, &mut salts)? == salts.len()).then_some(salts))
    };
    let Some(first) = salts(HEADER)? else { return Ok(None) };
    let mut page_size = is_page_size(said).then_some(said);
    for size in (9..=16).map(|bits| 1 << bits) {
        if salts(HEADER + FRAME + u64::from(size))? == Some(first) {
            page_size = Some(size);
            break;
        }
    }
    let Some(page_size) = page_size else { return Ok(None) };
    Ok(last_commit(wal, page_size, &first, HEADER)?.map(|end| frames(end - HEADER, page_size)))
}

/// How many frames are so many bytes.
fn frames(bytes: u64, page_size: u32) -> u64 {
    bytes / (FRAME + u64::from(page_size))
}

/// The end of the last frame from `at` on that has one of these salts and ends a transaction.
fn last_commit(wal: &Content, page_size: u32, salts: &[u8], mut at: u64) -> Result<Option<u64>> {
    let mut head = [0; FRAME as usize];
    let (step, mut last) = (FRAME + u64::from(page_size), None);
    while at + step <= wal.size() && wal.read_at(at, &mut head)? == head.len() {
        at += step;
        // Both are new each time that a log begins again.
        if has_a_salt(&head, salts) && be(&head, 4) > 0 {
            last = Some(at);
        }
    }
    Ok(last)
}

fn has_a_salt(head: &[u8], salts: &[u8]) -> bool {
    head[8..12] == salts[..4] || head[12..16] == salts[4..]
}

/// Whether the page of the last frame in a file may be one that was not finished: what was not written of it would be
/// zeros.
fn has_a_gap(page: &[u8]) -> bool {
    page.chunks(SECTOR).any(|part| part.ends_with(&[0; 8]))
}

/// Whether the frame at `at` was written behind one of this sum, whatever has become of that one since.
fn is_gone_on_with(wal: &Content, at: u64, mut sum: Sum, salts: &[u8], page: usize) -> Result<bool> {
    let mut frame = vec![0; FRAME as usize + page];
    if wal.read_at(at, &mut frame)? < frame.len() {
        return Ok(false);
    }
    let (head, page) = frame.split_at(FRAME as usize);
    sum.add(&head[..8]);
    sum.add(page);
    Ok(head[8..16] == *salts && sum.is(&head[16..]))
}

fn read_frames(
    wal: &Content,
    page_size: u32,
    salts: &[u8],
    was_restarted: bool,
    mut sum: Sum,
) -> Result<(Option<Log>, Option<LogDamage>)> {
    let mut log: Option<Log> = None;
    let mut pending: Vec<(u32, u64)> = Vec::new();
    let mut frame = vec![0; FRAME as usize + page_size as usize];
    let (mut at, mut applied, mut goes_on) = (HEADER, HEADER, None);
    while wal.read_at(at, &mut frame)? == frame.len() {
        let (head, page) = frame.split_at(FRAME as usize);
        let (number, pages_after) = (be(head, 0), be(head, 4));
        sum.add(&head[..8]);
        sum.add(page);
        if number == 0 || head[8..16] != *salts || !sum.is(&head[16..]) {
            let end = at + frame.len() as u64;
            let is_last = end + frame.len() as u64 > wal.size();
            let said = Sum { a: be(head, 16), b: be(head, 20), ..sum };
            let was_finished = sum.is(&head[16..])
                || has_a_salt(head, salts)
                    && (sum.is_but_for_a_word(&head[16..], 8 + page.len())
                        || is_last && !was_restarted && !has_a_gap(page)
                        || is_gone_on_with(wal, end, said, salts, page.len())?);
            goes_on = (pages_after > 0 && was_finished).then_some(end);
            at = end;
            break;
        }
        pending.push((number - 1, at + FRAME));
        at += frame.len() as u64;
        if pages_after > 0 {
            let log = log.get_or_insert(Log { page_size, pages_after, pages: BTreeMap::new() });
            log.pages_after = pages_after;
            log.pages.extend(pending.drain(..));
            applied = at;
        }
    }
    let unused = last_commit(wal, page_size, salts, at)?.max(goes_on);
    Ok((log, unused.map(|end| LogDamage::Log(Some(frames(end - applied, page_size))))))
}
