//! Pages of a damaged file, by number.
//!
//! Invariant: a page that the file has is read as it is, but for the head of the first, where that cannot be; what lies behind the end of the file, and what the disk
//! refuses to give, is zeros, and told apart. Nothing is ever written, locked or asked of SQLite.
//!
//! Limit: sixteen stretches of 256 KiB are kept, however large the file is.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Deref, Range};
use std::rc::Rc;

use super::page::{Head, Kind};
use crate::error::{Error, Result};
use crate::tree::Content;

/// Bytes read in one piece; every page size divides it.
const STRETCH: u64 = 256 * 1024;
/// The least that a failing disk gives or refuses.
const SECTOR: usize = 512;
/// How many stretches are kept.
const KEPT: usize = 16;

/// A page, lent from the stretch it lies in.
#[derive(Debug, Clone)]
pub struct Page {
    stretch: Rc<[u8]>,
    at: usize,
    len: usize,
}

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.stretch[self.at..self.at + self.len]
    }
}

/// A file as pages of one size.
#[derive(Debug)]
pub struct Pager<'a> {
    content: &'a Content,
    /// Bytes of a page.
    pub page_size: usize,
    kept: RefCell<Vec<(u64, Rc<[u8]>)>>,
    unreadable: RefCell<BTreeSet<u64>>,
    /// The first page, where its head was mended.
    first: Option<Rc<[u8]>>,
}

/// Where the head of the first page begins, and the count of cells in it.
const FIRST: usize = 100;
const COUNT: Range<usize> = FIRST + 3..FIRST + 5;

impl<'a> Pager<'a> {
    /// A file as pages of `page_size`, a power of two from 512 to 65536.
    pub fn new(content: &'a Content, page_size: usize) -> Pager<'a> {
        debug_assert!(page_size.is_power_of_two() && (512..=65536).contains(&page_size));
        Pager { content, page_size, kept: RefCell::default(), unreadable: RefCell::default(), first: None }
    }

    /// The first page has the schema, and is one of two kinds. Where it is told to be another, or to have more cells than it
    /// has room for, it is the one whose cells fill it exactly: no page is of both.
    pub fn mend_first(&mut self, usable: usize) -> Result<()> {
        let page = self.page(1)?;
        let fills = |page: &[u8]| {
            Head::read(page, FIRST, usable).and_then(|head| Some(head.cells_that_fill(page, usable)?.len()))
        };
        let is_told = Head::read(&page, FIRST, usable).is_some_and(|head| !head.kind.is_of_index());
        if !self.missing(1).is_empty() || is_told && fills(&page).is_some() {
            return Ok(());
        }
        for kind in [Kind::TableLeaf, Kind::TableInterior] {
            let mut mended = page.to_vec();
            // Without a count there is room for them, and their number is how many fill it.
            mended[FIRST] = kind.byte();
            mended[COUNT].fill(0);
            if let Some(cells) = fills(&mended).filter(|cells| *cells > 0)
                && (page[FIRST] != kind.byte() || !is_told)
                && let Ok(count) = u16::try_from(cells)
            {
                mended[COUNT].copy_from_slice(&count.to_be_bytes());
                self.first = Some(mended.into());
                return Ok(());
            }
        }
        Ok(())
    }

    /// How many pages there are, the last of which may be cut off.
    pub fn count(&self) -> u32 {
        self.content.size().div_ceil(self.page_size as u64).try_into().unwrap_or(u32::MAX)
    }

    /// The first page from `number` on that may hold anything but zeros.
    pub fn next_data(&self, number: u32) -> u32 {
        let size = self.page_size as u64;
        let at = self.content.next_data((u64::from(number) - 1) * size);
        (at / size + 1).try_into().unwrap_or(u32::MAX)
    }

    /// Whether all bytes of a page are there.
    pub fn is_whole(&self, number: u32) -> bool {
        let end = u64::from(number) * self.page_size as u64;
        let bad = self.unreadable.borrow();
        end <= self.content.size() && bad.range(end - self.page_size as u64..end).next().is_none()
    }

    /// The parts of a page that are not there.
    pub fn missing(&self, number: u32) -> Vec<Range<usize>> {
        let size = self.page_size as u64;
        let from = (u64::from(number) - 1) * size;
        let there = self.content.size().saturating_sub(from).min(size) as usize;
        let bad = self.unreadable.borrow();
        let sector = |at: &u64| (at - from) as usize..((at - from) as usize + SECTOR).min(self.page_size);
        let cut = Some(there..self.page_size).filter(|r| !r.is_empty());
        bad.range(from..from + size).map(sector).chain(cut).collect()
    }

    /// How many places of the file the disk refused to give.
    pub fn unreadable(&self) -> usize {
        self.unreadable.borrow().len()
    }

    /// The page, the first of which is 1; zeros where there is none.
    pub fn page(&self, number: u32) -> Result<Page> {
        debug_assert!(number > 0);
        if let (1, Some(first)) = (number, &self.first) {
            return Ok(Page { stretch: Rc::clone(first), at: 0, len: self.page_size });
        }
        let offset = (u64::from(number) - 1) * self.page_size as u64;
        let stretch = self.stretch(offset / STRETCH)?;
        Ok(Page { stretch, at: (offset % STRETCH) as usize, len: self.page_size })
    }

    fn stretch(&self, number: u64) -> Result<Rc<[u8]>> {
        let mut kept = self.kept.borrow_mut();
        if let Some(at) = kept.iter().position(|(n, _)| *n == number) {
            // The last one is the one that was used last.
            let found = kept.remove(at);
            kept.push(found);
            return Ok(Rc::clone(&kept[kept.len() - 1].1));
        }
        let stretch: Rc<[u8]> = self.read(number * STRETCH)?.into();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((number, Rc::clone(&stretch)));
        Ok(stretch)
    }

    fn read(&self, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; STRETCH as usize];
        match self.content.read_at(offset, &mut bytes) {
            Ok(_) => Ok(bytes),
            Err(Error::Io { .. } | Error::Damaged { .. }) => self.read_by_sector(offset),
            Err(e) => Err(e),
        }
    }

    /// What a failing disk still gives.
    fn read_by_sector(&self, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; STRETCH as usize];
        for (i, sector) in bytes.chunks_mut(SECTOR).enumerate() {
            let at = offset + (i * SECTOR) as u64;
            match self.content.read_at(at, sector) {
                Ok(_) => {}
                Err(Error::Io { .. } | Error::Damaged { .. }) => {
                    sector.fill(0);
                    self.unreadable.borrow_mut().insert(at);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(bytes)
    }
}
