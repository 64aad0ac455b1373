//! How a damaged file is cut into pages, and what its head still says.
//!
//! The head is 100 bytes of the first page, and as easily lost as any others. What it says of the page size is
//! believed only if pages of that size explain the file; else the size is the one whose pages do; and how text is written
//! is held against the texts (see `encoding`). The other fields are believed when the head as a whole looks like one.

use std::collections::{BTreeMap, BTreeSet};

use super::encoding;
use super::page::{Cell, all_of, four, holds_together};
use super::pager::Pager;
use super::record::Encoding;
use crate::error::Result;
use crate::tree::Content;

/// What a database file begins with.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The page sizes that there are.
const SIZES: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
/// How many parts of the file are looked at to tell it, all over the file, and how long each is; more of them where those
/// have nothing.
const STRETCHES: [u64; 2] = [64, 1 << 12];
const STRETCH: u64 = 256 << 10;
/// So many overflow pages of a row are followed at most.
const LONGEST: u64 = 256;
/// How many pages of a size are looked at where no page is whole.
const SAMPLE: u32 = 96;

/// How the file is cut, and the fields of its head.
#[derive(Debug, Clone)]
pub struct Geometry {
    /// Bytes of a page.
    pub page_size: usize,
    /// Bytes of a page that SQLite uses.
    pub usable: usize,
    /// How text is written.
    pub encoding: Encoding,
    /// `PRAGMA user_version`, if the head is believed.
    pub user_version: Option<i32>,
    /// `PRAGMA application_id`, if the head is believed.
    pub application_id: Option<i32>,
    /// Whether pages of pointers lie between the others.
    pub auto_vacuum: bool,
    /// Whether the head is of a format that keeps descending keys as they are declared; older ones have them ascend.
    pub keeps_descending: bool,
    /// The first page of the free list and how many it has, if the head is believed.
    pub free_list: Option<(u32, u32)>,
    /// How many pages the head says there are.
    pub pages: Option<u32>,
    /// What was not as the head said, for people.
    pub notes: Vec<String>,
}

impl Geometry {
    /// Tells how `content` is cut; `None` when no page of any size is to be found.
    pub fn tell(content: &Content) -> Result<Option<Geometry>> {
        let mut head = [0; 100];
        let n = content.read_at(0, &mut head)?;
        let fields = Fields::read(&head).filter(|_| n == 100);
        let named = fields.as_ref().and_then(|f| f.page_size);
        let Some((page_size, reserved)) = page_size(content, fields.as_ref())? else { return Ok(None) };
        let mut notes = Vec::new();
        match (&fields, named) {
            (None, _) => {
                notes.push(format!("the head of the file is damaged; its pages are {page_size} bytes long"))
            }
            (_, Some(named)) if named != page_size => {
                notes.push(format!("the head says that pages are {named} bytes long; they are {page_size}"));
            }
            _ => {}
        }
        let usable = page_size - reserved;
        let named = fields.as_ref().and_then(|f| f.encoding);
        let encoding = encoding::tell(&Pager::new(content, page_size), usable, named)?;
        if let Some(named) = named.filter(|named| *named != encoding) {
            let (said, is) = (encoding::name(named), encoding::name(encoding));
            notes.push(format!("the head says that text is {said}; it is {is}"));
        }
        let mut auto_vacuum = fields.as_ref().is_some_and(|f| f.auto_vacuum);
        // The first page of pointers is the second of the file.
        if auto_vacuum && holds_together(&Pager::new(content, page_size).page(2)?, 0).is_some() {
            auto_vacuum = false;
            notes.push("the head says that there are pages of pointers; there are none".to_string());
        }
        Ok(Some(Geometry {
            page_size,
            usable,
            encoding,
            user_version: fields.as_ref().map(|f| f.user_version),
            application_id: fields.as_ref().map(|f| f.application_id),
            auto_vacuum,
            keeps_descending: fields.as_ref().is_some_and(|f| f.keeps_descending),
            free_list: fields.as_ref().map(|f| f.free_list),
            pages: fields.as_ref().map(|f| f.pages).filter(|n| *n > 0),
            notes,
        }))
    }

    /// Where the b-tree page begins in the page of this number.
    pub fn start(&self, page: u32) -> usize {
        if page == 1 { 100 } else { 0 }
    }

    /// Whether the page holds pointers back to parents, and no rows.
    pub fn is_pointer_map(&self, page: u32) -> bool {
        self.auto_vacuum && page >= 2 && (page - 2).is_multiple_of((self.usable / 5 + 1) as u32)
    }
}

/// The fields of a head that looks like one.
struct Fields {
    page_size: Option<usize>,
    reserved: u8,
    encoding: Option<Encoding>,
    user_version: i32,
    application_id: i32,
    auto_vacuum: bool,
    keeps_descending: bool,
    free_list: (u32, u32),
    pages: u32,
}

impl Fields {
    fn read(head: &[u8; 100]) -> Option<Fields> {
        let at = |at| four(head, at).unwrap_or(0);
        let page_size = match u16::from_be_bytes([head[16], head[17]]) {
            1 => Some(65536),
            n if n >= 512 && n.is_power_of_two() => Some(usize::from(n)),
            _ => None,
        };
        let encoding = match at(56) {
            1 => Some(Encoding::Utf8),
            2 => Some(Encoding::Utf16Le),
            3 => Some(Encoding::Utf16Be),
            _ => None,
        };
        let constants = head[21..24] == [64, 32, 32];
        let signs = [
            &head[..16] == MAGIC,
            constants,
            page_size.is_some(),
            encoding.is_some(),
            (1..=4).contains(&at(44)),
            head[72..92] == [0; 20],
        ];
        let fits = signs.iter().filter(|s| **s).count() >= 4 && (signs[0] || constants);
        fits.then(|| Fields {
            page_size,
            reserved: head[20],
            encoding,
            user_version: at(60) as i32,
            application_id: at(68) as i32,
            auto_vacuum: at(52) != 0,
            keeps_descending: at(44) == 4,
            free_list: (at(32), at(36)),
            pages: at(28),
        })
    }
}

/// The page size that explains most of the file, and how many bytes at the ends of its pages belong to nothing. A head
/// whose number of pages is that of the file is right unless nothing at all speaks for it; another one wins unless a size
/// is clearly better. Where no page is whole, those that hold together tell it.
fn page_size(content: &Content, head: Option<&Fields>) -> Result<Option<(usize, usize)>> {
    let named = head.and_then(|head| head.page_size);
    for most in STRETCHES {
        let mut best: Option<(u64, usize, usize)> = None;
        let mut of_named = None;
        for size in SIZES {
            let reserved = head.filter(|_| named == Some(size)).map_or(0, |head| head.reserved.into());
            let Some((score, gap)) = explained(content, size, reserved, most)? else { continue };
            if named == Some(size) {
                of_named = Some((score, size, gap));
            }
            if best.is_none_or(|(most, ..)| score > most) {
                best = Some((score, size, gap));
            }
        }
        let Some((score, size, gap)) = best else { continue };
        let pages = head.map_or(0, |head| u64::from(head.pages));
        if let Some((own, named, gap)) = of_named
            && (pages * named as u64 == content.size() || own * 2 >= score)
        {
            return Ok(Some((named, gap)));
        }
        return Ok(Some((size, gap)));
    }
    held_size(content, head)
}

/// How much of the parts of the file that are looked at pages of this size explain, and the gap at their ends: those that
/// are whole, to the last byte, and the pages that their long rows go on in. A row that fills a page of one size and goes
/// on behind it may fill one of another size as well: a page that has only such a row proves next to nothing, and one
/// whose long row ends where it says that it does proves the pages in between as well.
fn explained(content: &Content, size: usize, reserved: usize, most: u64) -> Result<Option<(u64, usize)>> {
    let pager = Pager::new(content, size);
    let all = content.size() / size as u64;
    let stretches = content.size().div_ceil(STRETCH);
    let mut scores: BTreeMap<usize, u64> = BTreeMap::new();
    for stretch in (0..stretches).step_by(stretches.div_ceil(most).max(1) as usize) {
        let offset = stretch * STRETCH;
        if content.next_data(offset) >= offset + STRETCH {
            continue;
        }
        let (first, each) = (offset / size as u64, STRETCH / size as u64);
        for number in (first + 1..=(first + each).min(all)).map_while(|n| u32::try_from(n).ok()) {
            let start = if number == 1 { 100 } else { 0 };
            let page = pager.page(number)?;
            let gaps: BTreeSet<usize> =
                [0, reserved].into_iter().chain(holds_together(&page, start)).collect();
            for gap in gaps.into_iter().filter(|gap| *gap <= 255 && size - gap >= 480) {
                let Some(cells) = all_of(&page, start, size - gap) else { continue };
                let mut pages = 0;
                for cell in cells.iter().filter(|cell| cell.overflow != 0) {
                    pages += chain(&pager, cell, size - gap)?;
                }
                let proof = if cells.len() > 1 || pages > 0 { 16 } else { 1 };
                *scores.entry(gap).or_default() += (pages * 16 + proof) * size as u64 / 16;
            }
        }
    }
    Ok(scores.into_iter().rev().max_by_key(|(_, score)| *score).map(|(gap, score)| (score, gap)))
}

/// How many overflow pages a cell has, if they end where its payload does.
fn chain(pager: &Pager<'_>, cell: &Cell, usable: usize) -> Result<u64> {
    let pages = (cell.payload - cell.local.len() as u64).div_ceil(usable as u64 - 4);
    let mut next = cell.overflow;
    for _ in 0..pages.min(LONGEST) {
        if next < 2 || next > pager.count() {
            return Ok(0);
        }
        next = four(&pager.page(next)?, 0).unwrap_or(0);
    }
    Ok(if pages > LONGEST || next == 0 { pages.min(LONGEST) } else { 0 })
}

/// The page size whose pages hold together best, damaged as they are, and the gap at their ends. What the head names wins
/// unless another is clearly better.
fn held_size(content: &Content, head: Option<&Fields>) -> Result<Option<(usize, usize)>> {
    for most in [SAMPLE, 1 << 14] {
        let mut best: Option<(usize, usize, usize)> = None;
        for size in SIZES {
            let Some((found, gap)) = sound_pages(content, size, most)? else { continue };
            let score = found * size;
            if best.is_none_or(|(most, ..)| score > most) {
                best = Some((score, size, gap));
            }
        }
        let Some((score, size, gap)) = best else { continue };
        if let Some((head, named)) = head.and_then(|head| Some((head, head.page_size?)))
            && let Some((found, gap)) = sound_pages(content, named, most)?
            && found * named * 2 >= score
        {
            return Ok(Some((named, gap.min(head.reserved.into()))));
        }
        return Ok(Some((size, gap)));
    }
    Ok(None)
}

/// How many of up to `most` pages of this size hold together, and the gap at their ends that most of them have.
fn sound_pages(content: &Content, size: usize, most: u32) -> Result<Option<(usize, usize)>> {
    let pager = Pager::new(content, size);
    let all = u32::try_from(content.size() / size as u64).unwrap_or(u32::MAX);
    let step = (all / most).max(1);
    let mut gaps: BTreeMap<usize, usize> = BTreeMap::new();
    for number in (1..=all).step_by(step as usize).take(most as usize + 1) {
        let start = if number == 1 { 100 } else { 0 };
        if let Some(gap) =
            holds_together(&pager.page(number)?, start).filter(|gap| *gap <= 255 && size - gap >= 480)
        {
            *gaps.entry(gap).or_default() += 1;
        }
    }
    // A page may have a few loose bytes at its end: the smallest gap that is common is the reserved one.
    let all: usize = gaps.values().sum();
    let common = gaps.iter().find(|(_, n)| **n * 4 >= all).map(|(gap, _)| *gap);
    Ok(common.map(|gap| (all, gap)))
}
