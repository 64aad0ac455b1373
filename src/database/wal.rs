//! A database with its write-ahead log applied, as SQLite's recovery would.
//!
//! A log is a header and frames, each a page with its number, two salts and a sum over all before it. The frames
//! count up to the last one that ends a transaction and whose salts and sums hold, from the first frame on; what
//! comes behind is of an older log, or was never finished. The log is read once, in pieces.

use std::collections::BTreeMap;

use super::overlay::Overlay;
use crate::error::Result;
use crate::tree::Content;

const HEADER: u64 = 32;
const FRAME: u64 = 24;
/// Of the sum's two byte orders, that with this bit is big-endian.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// The database with `wal` applied; the database itself if nothing in the log counts. The header says that there is
/// no log either way.
pub fn with_wal(base: Content, wal: Content) -> Result<Content> {
    let committed = committed(&wal)?;
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
    Ok(Overlay { base, other: wal, pages, page_size, size }.content())
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
}

fn be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn committed(wal: &Content) -> Result<Option<Log>> {
    let mut head = [0; HEADER as usize];
    if wal.read_at(0, &mut head)? < head.len() {
        return Ok(None);
    }
    let magic = be(&head, 0);
    let page_size = be(&head, 8);
    let mut sum = Sum { a: 0, b: 0, big: magic & 1 == 1 };
    sum.add(&head[..24]);
    let is_log = magic & !1 == MAGIC
        && be(&head, 4) == VERSION
        && page_size.is_power_of_two()
        && (512..=65536).contains(&page_size)
        && sum.is(&head[24..]);
    if !is_log {
        return Ok(None);
    }
    read_frames(wal, page_size, &head[16..24], sum)
}

fn read_frames(wal: &Content, page_size: u32, salts: &[u8], mut sum: Sum) -> Result<Option<Log>> {
    let mut log: Option<Log> = None;
    let mut pending: Vec<(u32, u64)> = Vec::new();
    let mut frame = vec![0; FRAME as usize + page_size as usize];
    let mut at = HEADER;
    while wal.read_at(at, &mut frame)? == frame.len() {
        let (head, page) = frame.split_at(FRAME as usize);
        let (number, pages_after) = (be(head, 0), be(head, 4));
        sum.add(&head[..8]);
        sum.add(page);
        if number == 0 || head[8..16] != *salts || !sum.is(&head[16..]) {
            break;
        }
        pending.push((number - 1, at + FRAME));
        if pages_after > 0 {
            let log = log.get_or_insert(Log { page_size, pages_after, pages: BTreeMap::new() });
            log.pages_after = pages_after;
            log.pages.extend(pending.drain(..));
        }
        at += frame.len() as u64;
    }
    Ok(log)
}
