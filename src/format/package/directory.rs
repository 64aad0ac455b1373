//! Finds the end record, and with it the central directory.
//!
//! The directory is the truth about a package. An end record is *believable* when the directory is where it
//! says, allowing for bytes that were put before the package, and when exactly so many records fill exactly
//! so many bytes. From the end of the file, the first believable one whose comment reaches the end counts;
//! else the first believable one at all; else the directory is lost. A field that lies makes a record
//! unbelievable, so that two readers never see two different packages in one file. One that lies within an entry is
//! that of a package in the package, which is not shown in place of it where its own is cut off.

use std::sync::Arc;

use super::method;
use super::record::{
    CENTRAL, Central, END, END_LEN, END64_LEN, End, LOCAL_LEN, LOCATOR64_LEN, Local, Parsed,
};
use super::salvage::Window;
use crate::error::Result;
use crate::store::Source;

/// A comment is at most 65,535 bytes, so an end record begins at most this far from the end of the file.
const SEARCH: u64 = END_LEN as u64 + u16::MAX as u64;
/// So many end records are looked at; more of them are somebody's joke.
const MOST_ENDS: usize = 8;
/// So many entries in front of an end record are passed over at most.
const MOST_BEFORE: usize = 1 << 20;
/// The directory is read in pieces of this size.
const PIECE: usize = 1 << 20;

/// Where the central directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    /// Its first byte in the file; entries end before it.
    pub start: u64,
    /// Its length.
    pub size: u64,
    /// How many records it holds.
    pub count: u64,
    /// How many bytes were put before the package without adjusting its offsets.
    pub shift: u64,
}

/// What the end of the file says.
#[derive(Debug, Default)]
pub struct Ends {
    /// Directories that fit, the preferred one first.
    pub directories: Vec<Directory>,
    /// How many bytes stand behind the preferred end record and its comment.
    pub trailing: Vec<u64>,
}

/// All end records whose directory seems to be where they say, the preferred first.
pub fn find_ends(source: &Source) -> Result<Ends> {
    let size = source.size();
    let window_start = size.saturating_sub(SEARCH);
    let window = source.read_range(window_start..size)?;
    let mut reaching = Vec::new();
    let mut others = Vec::new();
    for at in (0..window.len().saturating_sub(END_LEN - 1)).rev() {
        if window[at..at + 4] != END {
            continue;
        }
        let Some(end) = End::parse(&window[at..]) else { continue };
        let position = window_start + at as u64;
        let trailing = (window.len() - at - END_LEN).checked_sub(end.comment_len);
        let (Some(trailing), Some(directory)) = (trailing, fit(source, position, end)?) else { continue };
        // Offsets that count from the front are those of the file itself.
        if (directory.shift > 0 || directory.count == 0) && is_of_entry(source, directory, position)? {
            continue;
        }
        match trailing {
            0 => reaching.push((directory, 0)),
            n => others.push((directory, n as u64)),
        }
    }
    // The comment of a package may end with what would be the end of an empty one.
    reaching.sort_by_key(|(directory, _)| directory.count == 0);
    let (directories, trailing) = reaching.into_iter().chain(others).take(MOST_ENDS).unzip();
    Ok(Ends { directories, trailing })
}

/// The end record and directory of a package behind whose end more stands than [`find_ends`] looks through, for whoever
/// salvages it. Its offsets count from the front of the file, as those of a package within an entry do not; and no entry
/// begins behind it, for then more was written, and what was the end is none.
pub fn find_buried(source: &Source) -> Result<Ends> {
    let size = source.size();
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let window = source.read_range(start..size.min(end + END_LEN as u64))?;
        let last = window.len().min((end - start) as usize);
        for at in (0..last).rev() {
            let Some(record) = window.get(at..).filter(|rest| rest.starts_with(&END)).and_then(End::parse)
            else {
                continue;
            };
            let position = start + at as u64;
            let behind = position + (END_LEN + record.comment_len) as u64;
            let fits = fit(source, position, record)?.filter(|found| found.shift == 0 && found.count > 0);
            let Some(directory) = fits.filter(|_| behind <= size) else { continue };
            return Ok(match Window::new(source).next_header(behind)? {
                Some(_) => Ends::default(),
                None => Ends { directories: vec![directory], trailing: vec![size - behind] },
            });
        }
        end = start;
    }
    Ok(Ends::default())
}

/// Whether the package whose end record is at `position` is an entry: whether the file begins with entries one behind the
/// other, or an entry with such, up to one that begins with this package. A package behind another that is cut
/// off is none of its entries.
fn is_of_entry(source: &Source, package: Directory, position: u64) -> Result<bool> {
    let begins = if package.count == 0 { position } else { package.shift };
    let mut header = 0;
    for _ in 0..MOST_BEFORE {
        if position - header < LOCAL_LEN as u64 {
            break;
        }
        let fixed = source.read_range(header..header + LOCAL_LEN as u64)?;
        let Some(local) = Local::parse(&fixed) else { break };
        // Large sizes are in the field behind the name.
        let data = local.data(header);
        let all = source.read_range(header..data.min(source.size()))?;
        let Some(local) = Local::parse(&all).filter(Local::knows_sizes) else { break };
        let Some(end) = data.checked_add(local.packed) else { break };
        // Where it is packed, and its bytes can be seen all the same, other bytes of its packing stand before them.
        if end > position && (data == begins || local.method != method::STORED) {
            return Ok(true);
        }
        header = if end > position { data } else { end };
        if header > position {
            break;
        }
    }
    Ok(false)
}

/// The directory of the end record at `position`, if there is one where it says.
fn fit(source: &Source, position: u64, mut end: End) -> Result<Option<Directory>> {
    let mut directory_end = position;
    if end.needs_zip64 {
        match find_end64(source, position)? {
            Some((at, record)) => {
                let Some(wide) = end.widen(&record) else { return Ok(None) };
                end = wide;
                directory_end = at;
            }
            None if end.count == u64::from(u16::MAX) => {}
            None => return Ok(None),
        }
    }
    if end.split {
        return Ok(None);
    }
    if end.count == 0 && end.size == 0 {
        return Ok(Some(Directory { start: directory_end, size: 0, count: 0, shift: 0 }));
    }
    // A record takes at least 46 bytes: a count that could not fit is not worth a scan.
    if end.count.checked_mul(46).is_none_or(|least| least > end.size) {
        return Ok(None);
    }
    let adjacent = directory_end.checked_sub(end.size);
    for start in [adjacent, Some(end.offset)].into_iter().flatten() {
        let (Some(shift), Some(last)) = (start.checked_sub(end.offset), start.checked_add(end.size)) else {
            continue;
        };
        if last <= directory_end && source.read_range(start..start + 4)? == CENTRAL {
            return Ok(Some(Directory { start, size: end.size, count: end.count, shift }));
        }
    }
    Ok(None)
}

/// The ZIP64 end record that belongs to the end record at `position`, and where it is.
fn find_end64(source: &Source, position: u64) -> Result<Option<(u64, Vec<u8>)>> {
    let Some(locator_at) = position.checked_sub(LOCATOR64_LEN as u64) else { return Ok(None) };
    let locator = source.read_range(locator_at..position)?;
    let Some(declared) = End::locate64(&locator) else { return Ok(None) };
    // Where it says; or right before the locator, when bytes were put before the package.
    let before = locator_at.checked_sub(END64_LEN as u64);
    for at in [Some(declared), before].into_iter().flatten() {
        if at.checked_add(END64_LEN as u64).is_some_and(|end| end <= locator_at) {
            let record = source.read_range(at..at + END64_LEN as u64)?;
            if record[..4] == super::record::END64 {
                return Ok(Some((at, record)));
            }
        }
    }
    Ok(None)
}

/// Calls `each` for every record; false when the directory is not exactly `count` records in `size` bytes.
pub fn scan(
    source: &Arc<Source>,
    directory: Directory,
    mut each: impl FnMut(Central<'_>) -> Result<()>,
) -> Result<bool> {
    let mut buf: Vec<u8> = Vec::new();
    let (mut used, mut filled) = (0, 0);
    let mut next = directory.start;
    let end = directory.start + directory.size;
    let mut seen = 0;
    loop {
        match Central::parse(&buf[used..filled]) {
            Parsed::Record(record, len) => {
                seen += 1;
                if seen > directory.count {
                    return Ok(false);
                }
                each(record)?;
                used += len;
            }
            Parsed::Other => return Ok(false),
            Parsed::Short if next < end => {
                buf.copy_within(used..filled, 0);
                (used, filled) = (0, filled - used);
                let piece = (end - next).min(PIECE as u64) as usize;
                buf.resize(buf.len().max(filled + piece), 0);
                source.read_at(next, &mut buf[filled..filled + piece])?;
                filled += piece;
                next += piece as u64;
            }
            Parsed::Short => return Ok(used == filled && seen == directory.count),
        }
    }
}
