//! A cheap look: could this be a project database? Reads the header and the schema, a few pages in all, however
//! large the file is; whether the other pages are sound is for [`super::Database::quick_check`].

use super::SALVAGE_HELPS;
use super::layout::Layout;
use super::link::Link;
use crate::error::{Error, Result};
use crate::tree::Content;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What the header says, and was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Bytes in a page.
    pub page_size: u32,
    /// Pages of the database.
    pub pages: u64,
    /// Bytes behind the last page; SQLite ignores them.
    pub beyond: u64,
    /// Whether the header asks for a write-ahead log.
    pub wal: bool,
    /// The version that the file claims for its layout.
    pub user_version: i32,
    /// Grows with each transaction, but not under a write-ahead log.
    pub change_counter: u32,
}

/// Looks at a database: size, header, page count against the size, and the two tables that a project must have.
pub fn glance(content: &Content, name: &str) -> Result<Glance> {
    let glance = header(content, name)?;
    let link = Link::open(content, name, Default::default())?;
    Layout::read_required(&link.connection).map_err(|e| link.error(e, name))?.require(name)?;
    Ok(glance)
}

/// Looks at the header alone.
pub fn header(content: &Content, name: &str) -> Result<Glance> {
    let size = content.size();
    if size == 0 {
        return Err(Error::damaged(
            "empty-file",
            name,
            "the file has no bytes: it was not written, or is not downloaded",
        ));
    }
    let mut head = [0; 100];
    let have = content.read_at(0, &mut head)?;
    if head.starts_with(b"PK\x03\x04") {
        let what =
            "this is a ZIP file in the place of a database: copy it out (vaso cp), and open it by itself";
        return Err(Error::damaged("not-a-database", name, what));
    }
    if have < head.len() || !head.starts_with(MAGIC) {
        return Err(Error::damaged("not-a-database", name, "this is no SQLite database"));
    }
    let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let page_size = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65536,
        size => u32::from(size),
    };
    if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
        let what = format!("the header claims pages of {page_size} bytes, which cannot be");
        return Err(Error::damaged("bad-page-size", name, what));
    }
    // The count is meant only if the version that wrote it was the last to write.
    let claimed = if word(24) == word(92) { u64::from(word(28)) } else { 0 };
    let whole = size / u64::from(page_size);
    let pages = if claimed == 0 { whole } else { claimed };
    if pages > whole || pages == 0 {
        let what = format!("the file ends after {whole} of {} pages{SALVAGE_HELPS}", pages.max(1));
        return Err(Error::damaged("truncated", name, what));
    }
    Ok(Glance {
        page_size,
        pages,
        beyond: size - pages * u64::from(page_size),
        wal: head[18] == 2 || head[19] == 2,
        user_version: word(60) as i32,
        change_counter: word(24),
    })
}
