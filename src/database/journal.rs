//! A database with a hot rollback journal rolled back, as SQLite's recovery would.
//!
//! A journal is one or more segments, each a header in a sector of its own and records: a page's number, the page as
//! it was, and a sum. The first record of a page counts: it is the oldest. A record whose sum does not hold ends the
//! journal; it was never synced, so its page was not overwritten. A journal without a header is not hot: its
//! transaction was committed. One that names a super-journal belongs to a transaction over several databases; such a
//! journal is hot only while the super-journal exists, which cannot be seen from here, so the caller says.

use std::collections::BTreeMap;

use super::glance;
use super::overlay::Overlay;
use crate::error::Result;
use crate::tree::Content;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// What stands for "all records to the end".
const ALL: u32 = u32::MAX;
/// The byte that locks are taken on; its page holds nothing.
const PENDING: u64 = 0x4000_0000;

/// The database with `journal` rolled back; the database as it is if the journal is not hot.
pub fn with_journal(base: Content, journal: Content) -> Result<Content> {
    Ok(match read(&base, &journal)? {
        Some(hot) => {
            let size = u64::from(hot.pages_before) * u64::from(hot.page_size);
            Overlay { base, other: journal, pages: hot.pages, page_size: hot.page_size, size }.content()
        }
        None => base,
    })
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
    let mut head = [0; 28];
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
        pages_before: first.map_or(be(&head, 16), |first| first.pages_before),
        sector,
        page_size: claimed,
    }))
}

fn read(base: &Content, journal: &Content) -> Result<Option<Hot>> {
    let page_size = glance::header(base, "the database").map_or(4096, |glance| glance.page_size);
    let Some(first) = segment(journal, 0, None, page_size)? else { return Ok(None) };
    let mut hot =
        Hot { page_size: first.page_size, pages_before: first.pages_before, pages: BTreeMap::new() };
    let (mut at, mut next) = (0, Some(first));
    while let Some(segment_here) = next {
        let Some(end) = records(journal, at + segment_here.sector, &segment_here, &mut hot)? else { break };
        at = end.div_ceil(segment_here.sector) * segment_here.sector;
        next = segment(journal, at, Some(&first), page_size)?;
    }
    Ok(Some(hot))
}

/// Takes the records of a segment; gives where it ends, or `None` if the journal ends within it.
fn records(journal: &Content, begin: u64, segment: &Segment, hot: &mut Hot) -> Result<Option<u64>> {
    let mut record = vec![0; hot.page_size as usize + 8];
    let len = record.len() as u64;
    let fit = (journal.size() - begin) / len;
    let claimed = if segment.records == ALL { fit } else { segment.records.into() };
    for i in 0..claimed.min(fit) {
        let from = begin + i * len;
        if journal.read_at(from, &mut record)? < record.len() {
            return Ok(None);
        }
        let number = be(&record, 0);
        if number == 0 || u64::from(number) == PENDING / u64::from(hot.page_size) + 1 {
            return Ok(None);
        }
        if number > hot.pages_before || hot.pages.contains_key(&(number - 1)) {
            continue;
        }
        if !holds(&record, segment.nonce) {
            return Ok(None);
        }
        hot.pages.insert(number - 1, from + 4);
    }
    Ok((claimed <= fit).then(|| begin + claimed * len))
}

/// Whether a record's sum holds: the nonce, and every two-hundredth byte of the page from the end.
fn holds(record: &[u8], nonce: u32) -> bool {
    let page = &record[4..record.len() - 4];
    let mut sum = nonce;
    let mut at = page.len().checked_sub(200);
    while let Some(i) = at.filter(|i| *i > 0) {
        sum = sum.wrapping_add(page[i].into());
        at = i.checked_sub(200);
    }
    sum == be(record, record.len() - 4)
}
