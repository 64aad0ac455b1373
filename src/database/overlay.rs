//! A database whose pages lie in two places: most in the database itself, some in a log or journal beside it.
//!
//! Nothing is copied: a page is looked up and read where it lies. The header is shown as that of a database without
//! a write-ahead log, for there is none beside it any more.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::tree::{Coded, Content, Then};

/// Pages from a base, with some of them elsewhere.
#[derive(Debug)]
pub struct Overlay {
    /// The pages that are nowhere else. May be shorter than the whole.
    pub base: Content,
    /// What the others lie in.
    pub other: Content,
    /// Where each of the others begins, by its number, from zero.
    pub pages: BTreeMap<u32, u64>,
    /// Bytes in a page.
    pub page_size: u32,
    /// The size of the whole.
    pub size: u64,
}

impl Overlay {
    /// What is read, as content.
    pub fn content(self) -> Content {
        Content::Coded(std::sync::Arc::new(self))
    }

    /// Where the bytes from `at` on lie, and how many of them lie there in a row.
    fn find(&self, at: u64) -> (&Content, u64, u64) {
        let page = at / u64::from(self.page_size);
        let within = at % u64::from(self.page_size);
        let left = u64::from(self.page_size) - within;
        match u32::try_from(page).ok().and_then(|page| self.pages.get(&page)) {
            Some(offset) => (&self.other, offset + within, left),
            None => (&self.base, at, left),
        }
    }
}

impl Coded for Overlay {
    fn size(&self) -> u64 {
        self.size
    }

    fn check(&self) -> Result<()> {
        self.base.check()?;
        self.other.check()
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        self.base.is_ready(offset, len) && self.other.is_ready(0, self.other.size() as usize)
    }

    fn when_ready(&self, offset: u64, len: usize, then: Then) -> Option<Then> {
        self.base.when_ready(offset, len, then)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (content, from, left) = self.find(at);
            let n = left.min((buf.len() - done) as u64) as usize;
            let part = &mut buf[done..done + n];
            if content.read_at(from, part)? < n {
                let what = format!("the page at byte {at} is neither in the database nor beside it");
                return Err(Error::damaged("page-missing", "the database", what));
            }
            for (i, byte) in part.iter_mut().enumerate() {
                let is_journal_mode = (18..20).contains(&(at + i as u64));
                if is_journal_mode && *byte == 2 {
                    *byte = 1;
                } else if at + i as u64 >= 20 {
                    break;
                }
            }
            done += n;
        }
        Ok(())
    }
}
