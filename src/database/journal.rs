//! A database with a hot rollback journal rolled back, as SQLite's recovery would.
//!
//! A journal is one or more segments, each a header in a sector of its own and records: a page's number, the page as
//! it was, and a sum. The first record of a page counts: it is the oldest. A record whose sum does not hold ends the
//! journal. A journal whose header is zeros is not hot: its transaction was committed. One that names a super-journal
//! belongs to a transaction over several databases; such a journal is hot only while the super-journal exists, which
//! cannot be seen from here, so the caller says.
//!
//! A header is given the number of its records when they are on the disk, and only then are their pages overwritten. So
//! a journal is damaged where one of them is not as SQLite writes them: in its place, of another page than all others,
//! of one that was there before, with its sum. It is damaged too where its header is neither right nor zeros, and where
//! behind the end is what belongs to it: a record with the sum of the segment that ended, or the header of another one.
//! Then changes that were never committed cannot be taken back.
//!
//! Limits: the sum does not cover the number of a page, and does cover few of its bytes. Where a journal is written over
//! and over (`PERSIST`), headers of an older one of a database of the same size may lie behind the end; they count as
//! damage only where records in front of them lie as this journal would have them.

use std::collections::BTreeMap;

use super::overlay::Overlay;
use super::{LogDamage, glance};
use crate::error::Result;
use crate::tree::Content;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// What stands for "all records to the end".
const ALL: u32 = u32::MAX;
/// The bytes of a header.
const HEADER: usize = 28;
/// Those of them that are zeros until what the header counts is on the disk.
const UNSYNCED: usize = 12;
/// The byte that locks are taken on; its page holds nothing.
const PENDING: u64 = 0x4000_0000;

/// The database with `journal` rolled back, the database as it is if the journal is not hot; and whether not all of the
/// journal could be used.
pub fn with_journal(base: Content, journal: Content) -> Result<(Content, Option<LogDamage>)> {
    let Some(hot) = read(&base, &journal)? else {
        let mut head = [0; UNSYNCED];
        journal.read_at(0, &mut head)?;
        return Ok((base, (head != [0; UNSYNCED]).then_some(LogDamage::Journal)));
    };
    let Hot { page_size, pages_before, pages, damaged } = hot;
    let size = u64::from(pages_before) * u64::from(page_size);
    let whole = Overlay { base, other: journal, pages, page_size, size }.content();
    Ok((whole, damaged.then_some(LogDamage::Journal)))
}

/// Whether a journal begins as one whose transaction was not finished; `None` where it begins like no journal.
pub fn has_header(journal: &Content) -> Result<Option<bool>> {
    let mut magic = [0; MAGIC.len()];
    journal.read_at(0, &mut magic)?;
    // Until the journal is safe on the disk, and again when the transaction is, these are zeros.
    let is_cleared = magic == [0; MAGIC.len()];
    Ok(segment(journal, 0, None, 4096)?.map(|_| true).or(is_cleared.then_some(false)))
}

/// The name of the super-journal that a journal names. The journal is hot only while that file exists.
pub fn super_journal(journal: &Content) -> Result<Option<Vec<u8>>> {
    let size = journal.size();
    let mut tail = [0; 16];
    if size < 16 || journal.read_at(size - 16, &mut tail)? < 16 || tail[8..] != MAGIC {
        return Ok(None);
    }
    let (len, sum) = (u64::from(be(&tail, 0)), be(&tail, 4));
    if len == 0 || len > 4096 || len + 20 > size {
        return Ok(None);
    }
    let mut name = vec![0; len as usize];
    journal.read_at(size - 16 - len, &mut name)?;
    let found = name.iter().fold(0u32, |sum, byte| sum.wrapping_add(i32::from(*byte as i8) as u32));
    Ok((found == sum && !name.contains(&0)).then_some(name))
}

/// What a hot journal holds.
struct Hot {
    page_size: u32,
    /// Pages of the database before the transaction.
    pages_before: u32,
    pages: BTreeMap<u32, u64>,
    /// Whether there is more in it, or should be.
    damaged: bool,
}

impl Hot {
    /// Whether a record is as SQLite writes them.
    fn is_right(&self, record: &[u8], nonce: u32) -> bool {
        let number = be(record, 0);
        let was_there = number > 0 && number <= self.pages_before && !self.is_pending(number);
        was_there && !self.pages.contains_key(&(number - 1)) && holds(record, nonce)
    }

    fn is_pending(&self, number: u32) -> bool {
        u64::from(number) == PENDING / u64::from(self.page_size) + 1
    }
}

/// The header of a segment.
#[derive(Clone, Copy)]
struct Segment {
    records: u32,
    nonce: u32,
    pages_before: u32,
    sector: u64,
    page_size: u32,
}

fn be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The header at `at`; sizes are taken from the first one alone.
fn segment(journal: &Content, at: u64, first: Option<&Segment>, page_size: u32) -> Result<Option<Segment>> {
    let mut head = [0; HEADER];
    if journal.read_at(at, &mut head)? < head.len() || head[..8] != MAGIC {
        return Ok(None);
    }
    let (sector, claimed) = match first {
        Some(first) => (first.sector, first.page_size),
        None => (u64::from(be(&head, 20)), if be(&head, 24) == 0 { page_size } else { be(&head, 24) }),
    };
    let is_power = |n: u64, range: std::ops::RangeInclusive<u64>| n.is_power_of_two() && range.contains(&n);
    if !is_power(sector, 32..=65536) || !is_power(claimed.into(), 512..=65536) || at + sector > journal.size()
    {
        return Ok(None);
    }
    Ok(Some(Segment {
        records: be(&head, 8),
        nonce: be(&head, 12),
        pages_before: be(&head, 16),
        sector,
        page_size: claimed,
    }))
}

fn read(base: &Content, journal: &Content) -> Result<Option<Hot>> {
    let page_size = glance::header(base, "the database").map_or(4096, |glance| glance.page_size);
    let Some(first) = segment(journal, 0, None, page_size)? else { return Ok(None) };
    let Segment { page_size, pages_before, sector, .. } = first;
    let mut hot = Hot { page_size, pages_before, pages: BTreeMap::new(), damaged: false };
    let (mut at, mut here) = (0, first);
    while let Some(end) = records(journal, at + sector, &here, &mut hot)? {
        at = end.div_ceil(sector) * sector;
        match segment(journal, at, Some(&first), page_size)? {
            Some(next) => {
                hot.damaged |= next.pages_before != pages_before;
                here = next;
            }
            None => {
                hot.damaged |=
                    any_right(journal, end, end, &here, &hot)? || goes_on(journal, at, sector, &hot)?;
                break;
            }
        }
    }
    Ok(Some(hot))
}

/// Takes the records of a segment; gives where it ends, or `None` if the journal ends within it.
fn records(journal: &Content, begin: u64, segment: &Segment, hot: &mut Hot) -> Result<Option<u64>> {
    let mut record = vec![0; hot.page_size as usize + 8];
    let len = record.len() as u64;
    let fit = (journal.size() - begin) / len;
    let counted = segment.records != ALL;
    let claimed = if counted { segment.records.into() } else { fit };
    for i in 0..claimed.min(fit) {
        let from = begin + i * len;
        if journal.read_at(from, &mut record)? < record.len() {
            return Ok(None);
        }
        let is_right = hot.is_right(&record, segment.nonce);
        hot.damaged |= counted && !is_right;
        let number = be(&record, 0);
        let is_record = number != 0 && !hot.is_pending(number);
        if is_record && (number > hot.pages_before || hot.pages.contains_key(&(number - 1))) {
            continue;
        }
        if !is_right {
            // One that was never counted may be the end of what a crash has left, but not the middle.
            hot.damaged |= any_right(journal, from + len, journal.size(), segment, hot)?;
            return Ok(None);
        }
        hot.pages.insert(number - 1, from + 4);
    }
    hot.damaged |= claimed > fit;
    Ok((claimed <= fit).then(|| begin + claimed * len))
}

/// Whether any record of a segment is right that begins at `from`, or behind it up to `last`.
fn any_right(journal: &Content, mut from: u64, last: u64, segment: &Segment, hot: &Hot) -> Result<bool> {
    let mut record = vec![0; hot.page_size as usize + 8];
    while !hot.damaged && from <= last && journal.read_at(from, &mut record)? == record.len() {
        if hot.is_right(&record, segment.nonce) {
            return Ok(true);
        }
        from += record.len() as u64;
    }
    Ok(false)
}

/// Whether there are more segments, although what is at `at` is no header. All headers of a journal end alike.
fn goes_on(journal: &Content, at: u64, sector: u64, hot: &Hot) -> Result<bool> {
    let (mut first, mut here) = ([0; HEADER], [0; HEADER]);
    journal.read_at(0, &mut first)?;
    if journal.read_at(at, &mut here)? < here.len() {
        return Ok(false);
    }
    let is_own = here[16..] == first[16..];
    // SQLite begins a header with zeros, and puts one before that of an older journal.
    if is_own && here[..UNSYNCED] == [0; UNSYNCED] || here[0] == 0 && here[1..8] == MAGIC[1..] {
        return Ok(false);
    }
    if is_own {
        return Ok(true);
    }
    let mut piece = vec![0; 1 << 16];
    let mut from = at;
    loop {
        let n = journal.read_at(from, &mut piece)?;
        let begins = |head: &[u8]| head[..8] == MAGIC || head[..UNSYNCED] == [0; UNSYNCED];
        let is_header = |head: &[u8]| head.len() >= HEADER && begins(head) && head[16..HEADER] == first[16..];
        if let Some(sectors) = piece[..n].chunks(sector as usize).position(is_header) {
            return is_segment(journal, at + sector, from + sectors as u64 * sector, hot);
        }
        if n == 0 {
            return Ok(false);
        }
        from += n as u64;
    }
}

/// Whether what lies between a header that is lost and the next one are the records of that segment. Where a journal is
/// written over and over, an older one with headers like these may lie behind its end; but its records do not begin
/// where a header of this one would have them begin.
fn is_segment(journal: &Content, begin: u64, end: u64, hot: &Hot) -> Result<bool> {
    let mut record = vec![0; hot.page_size as usize + 8];
    let len = record.len() as u64;
    let count = end.saturating_sub(begin) / len;
    let mut before = None;
    for i in 0..count {
        if journal.read_at(begin + i * len, &mut record)? < record.len() {
            return Ok(false);
        }
        let (number, nonce) = (be(&record, 0), nonce_of(&record));
        let is_new = number > 0 && number <= hot.pages_before && !hot.pages.contains_key(&(number - 1));
        let fits = count == 1 || before.is_some_and(|(page, of)| page != number && of == nonce);
        if is_new && fits {
            return Ok(true);
        }
        before = is_new.then_some((number, nonce));
    }
    Ok(false)
}

/// Whether a record's sum holds.
fn holds(record: &[u8], nonce: u32) -> bool {
    nonce_of(record) == nonce
}

/// The nonce for which a record's sum holds: that is the nonce and every two-hundredth byte of the page from the end.
fn nonce_of(record: &[u8]) -> u32 {
    let page = &record[4..record.len() - 4];
    let mut nonce = be(record, record.len() - 4);
    let mut at = page.len().checked_sub(200);
    while let Some(i) = at.filter(|i| *i > 0) {
        nonce = nonce.wrapping_sub(page[i].into());
        at = i.checked_sub(200);
    }
    nonce
}
