//! One b-tree page as bytes: its head, its cells, and where each lies.
//!
//! Invariant: nothing in a page is believed before it was checked against the page itself; every function takes
//! bytes and gives `None` rather than a place outside them.
//!
//! Limit: a page has no checksum. Bytes that changed inside a value, and left its length alone, cannot be told
//! from the value.

use std::ops::Range;

/// What a b-tree page is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows of an ordinary table.
    TableLeaf,
    /// Children of an ordinary table's page, by row number.
    TableInterior,
    /// Entries of an index, or rows of a table WITHOUT ROWID.
    IndexLeaf,
    /// Children and entries of an index; a table WITHOUT ROWID has rows here too.
    IndexInterior,
}

impl Kind {
    /// The kind that a first byte stands for.
    pub fn of(byte: u8) -> Option<Kind> {
        match byte {
            2 => Some(Kind::IndexInterior),
            5 => Some(Kind::TableInterior),
            10 => Some(Kind::IndexLeaf),
            13 => Some(Kind::TableLeaf),
            _ => None,
        }
    }

    /// The first byte of such a page.
    pub fn byte(self) -> u8 {
        match self {
            Kind::IndexInterior => 2,
            Kind::TableInterior => 5,
            Kind::IndexLeaf => 10,
            Kind::TableLeaf => 13,
        }
    }

    /// Whether it is a page of an index, or of a table WITHOUT ROWID.
    pub fn is_of_index(self) -> bool {
        matches!(self, Kind::IndexLeaf | Kind::IndexInterior)
    }

    /// Whether its cells name children.
    pub fn is_interior(self) -> bool {
        matches!(self, Kind::TableInterior | Kind::IndexInterior)
    }

    /// Whether its cells have a payload.
    pub fn has_payload(self) -> bool {
        self != Kind::TableInterior
    }
}

/// A big-endian number of the file format: up to nine bytes, the ninth with eight bits.
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        if i == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

fn two(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// Four bytes at a place.
pub fn four(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The head of a b-tree page.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// What the page is.
    pub kind: Kind,
    /// How many cells it says it has.
    pub cells: usize,
    /// The first free block.
    free: usize,
    /// Where the cells' bytes begin.
    pub content: usize,
    /// Loose free bytes among the cells.
    fragments: usize,
    /// The last child of an interior page.
    pub right: u32,
    /// Where the cell pointers begin.
    pub pointers: usize,
}

impl Head {
    /// Reads the head at `start`, which is 100 on the first page and 0 elsewhere.
    pub fn read(page: &[u8], start: usize, usable: usize) -> Option<Head> {
        let kind = Kind::of(*page.get(start)?)?;
        let cells = two(page, start + 3)?;
        let content = match two(page, start + 5)? {
            0 => 65536,
            at => at,
        };
        let len = if kind.is_interior() { 12 } else { 8 };
        let right = if kind.is_interior() { four(page, start + 8)? } else { 0 };
        let (free, fragments) = (two(page, start + 1)?, usize::from(*page.get(start + 7)?));
        let pointers = start + len;
        // Four bytes are the least for a cell, and two for its pointer.
        (pointers + cells * 6 <= usable).then_some(Head {
            kind,
            cells,
            free,
            content,
            fragments,
            right,
            pointers,
        })
    }

    /// The end of the cell pointers.
    pub fn end(&self) -> usize {
        self.pointers + 2 * self.cells
    }

    /// The place that the page gives for a cell.
    pub fn pointer(&self, page: &[u8], cell: usize) -> Option<usize> {
        two(page, self.pointers + 2 * cell)
    }

    /// The free blocks, if their chain is sound.
    pub fn free_blocks(&self, page: &[u8], usable: usize) -> Option<Vec<Range<usize>>> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        let mut at = self.free;
        while at != 0 {
            let (next, len) = (two(page, at)?, two(page, at + 2)?);
            let end = at + len;
            let ordered = blocks.last().is_none_or(|last| last.end <= at);
            if at < self.end() || len < 4 || end > usable || !ordered {
                return None;
            }
            blocks.push(at..end);
            at = next;
        }
        Some(blocks)
    }

    /// Whether the loose bytes are as many as a sound page may have.
    pub fn fragments(&self) -> Option<usize> {
        (self.fragments <= 60).then_some(self.fragments)
    }

    /// Whether cells that lie there fill the page: with the free blocks, and as many loose bytes as it says it has, they
    /// take all from where the cells begin to the end, and no byte twice. SQLite sees to that.
    pub fn is_filled_by(
        &self,
        page: &[u8],
        usable: usize,
        cells: impl Iterator<Item = Range<usize>>,
    ) -> bool {
        let (Some(mut parts), Some(told)) = (self.free_blocks(page, usable), self.fragments()) else {
            return false;
        };
        parts.extend(cells);
        parts.sort_by_key(|part| part.start);
        let (mut end, mut loose) = (self.content, 0);
        for part in parts {
            let Some(gap) = part.start.checked_sub(end) else { return false };
            loose += gap;
            end = part.end;
        }
        self.content >= self.end() && end <= usable && loose + usable - end == told
    }

    /// The cells that fill the page, by its pointers. How many there are is not asked of its head: what the pointers lead
    /// to fills a page only at the right number, be it because another cell would be missing, or because what stands
    /// behind the last pointer leads to one that was deleted.
    pub fn cells_that_fill(&self, page: &[u8], usable: usize) -> Option<Vec<Cell>> {
        let free: usize = self.free_blocks(page, usable)?.iter().map(Range::len).sum();
        let wanted = usable.checked_sub(self.content + free + self.fragments()?)?;
        let (mut cells, mut taken) = (Vec::new(), 0);
        while taken < wanted {
            let cell = Cell::read(self.kind, page, self.pointer(page, cells.len())?, usable)?;
            taken += cell.extent.len();
            cells.push(cell);
        }
        let head = Head { cells: cells.len(), ..*self };
        let extents = cells.iter().map(|cell| cell.extent.clone());
        head.is_filled_by(page, usable, extents).then_some(cells)
    }
}

/// One cell, with the places of its parts in its page.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The child before it, in an interior page.
    pub left: u32,
    /// The row number, in a table's page.
    pub rowid: i64,
    /// How long its payload is, overflow included.
    pub payload: u64,
    /// The part of the payload that lies in the page.
    pub local: Range<usize>,
    /// The first page of the rest; 0 when there is none.
    pub overflow: u32,
    /// All bytes of the cell.
    pub extent: Range<usize>,
}

impl Cell {
    /// Reads the cell at `at`, which lies within `usable`.
    pub fn read(kind: Kind, page: &[u8], at: usize, usable: usize) -> Option<Cell> {
        let page = page.get(..usable)?;
        let mut pos = at;
        let mut left = 0;
        if kind.is_interior() {
            left = four(page, pos)?;
            pos += 4;
        }
        let mut number = || {
            let (value, len) = varint(page.get(pos..)?)?;
            pos += len;
            Some(value)
        };
        let payload = if kind.has_payload() { number()? } else { 0 };
        let rowid = if matches!(kind, Kind::TableLeaf | Kind::TableInterior) { number()? as i64 } else { 0 };
        let (local, spills) = local_part(kind, payload, usable);
        let end = pos.checked_add(local)?;
        let overflow = if spills { four(page, end)? } else { 0 };
        let all = if spills { end + 4 } else { end };
        // A cell takes four bytes at least, since a free block in its place has to.
        let extent = at..all.max(at + 4);
        (extent.end <= usable).then_some(Cell { left, rowid, payload, local: pos..end, overflow, extent })
    }
}

/// How much of a payload lies in the page itself, and whether there is more.
fn local_part(kind: Kind, payload: u64, usable: usize) -> (usize, bool) {
    let most = match kind {
        Kind::TableLeaf => usable - 35,
        _ => (usable - 12) * 64 / 255 - 23,
    };
    if payload <= most as u64 {
        return (payload as usize, false);
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let wished = least + ((payload - least as u64) % (usable as u64 - 4)) as usize;
    (if wished <= most { wished } else { least }, true)
}

/// How well a page holds together as a whole, whatever its rows mean: `None` when it does not. Gives how many
/// bytes at its end belong to nothing, which are the file's reserved bytes if the page is sound.
pub fn holds_together(page: &[u8], start: usize) -> Option<usize> {
    let size = page.len();
    let head = Head::read(page, start, size)?;
    if head.cells == 0 {
        return None;
    }
    let mut end = 0;
    for i in 0..head.cells {
        let at = head.pointer(page, i)?;
        if at < head.end() {
            return None;
        }
        // The end of what is usable is not known yet, and decides only how long payloads are split.
        let cell = Cell::read(head.kind, page, at, size)?;
        end = end.max(cell.extent.end);
    }
    for block in head.free_blocks(page, size)? {
        end = end.max(block.end);
    }
    Some(size - end)
}

/// The cells of a page that is whole, if it was made for so many usable bytes: they fill it, and are as many as it says.
pub fn all_of(page: &[u8], start: usize, usable: usize) -> Option<Vec<Cell>> {
    let head = Head::read(page, start, usable).filter(|head| head.cells > 0)?;
    head.cells_that_fill(page, usable).filter(|cells| cells.len() == head.cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8]), None);
        assert_eq!(varint(&[]), None);
    }

    #[test]
    fn any_bytes_as_a_page_are_survived() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut page = vec![0u8; 512];
            for byte in &mut page {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = (state >> 56) as u8;
            }
            page[0] = [2, 5, 10, 13][(state >> 40) as usize & 3];
            page[3] = 0;
            let _ = holds_together(&page, 0);
            if let Some(head) = Head::read(&page, 0, 500) {
                let _ = head.free_blocks(&page, 500);
                for at in 0..520 {
                    let _ = Cell::read(head.kind, &page, at, 500);
                }
            }
        }
    }
}
