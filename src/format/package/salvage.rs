//! A package whose directory is lost: what the local headers still tell.
//!
//! The application appends in place, so a power cut leaves whole entries and no directory. Headers are searched
//! from the front; an entry counts when all of it is there and its checksum is right, and the last complete
//! one of a name wins. Work is bounded: after a bad entry the search goes on behind its header, so a hostile
//! file could have the same bytes decoded many times; [`EFFORT`] ends that.

use std::sync::Arc;

use super::decode::{self, method};
use super::load::{Loaded, Loader};
use super::names;
use super::record::{Central, Flags, LOCAL, LOCAL_LEN, Local, descriptor_fits};
use crate::error::{Error, Result, from_io};
use crate::finding::{Finding, Findings, Severity};
use crate::store::{Source, SourceReader};

/// How much is read and decoded at most, for each byte of the file.
const EFFORT: u64 = 2048;
/// Bytes looked at in one piece.
const PIECE: usize = 1 << 20;

/// Reads every header of the file; `None` when no entry is whole.
pub fn salvage(source: &Arc<Source>, findings: &Findings) -> Result<Option<Loaded>> {
    let size = source.size();
    let mut loader = Loader::new(findings, 0, size, 0);
    let mut lost: Vec<(String, u64)> = Vec::new();
    let mut found = 0u64;
    let mut effort = size.saturating_mul(EFFORT).saturating_add(1 << 20);
    let mut at = 0;
    while let Some(header) = next_header(source, at)? {
        let head =
            source.read_range(header..size.min(header + LOCAL_LEN as u64 + 2 * u64::from(u16::MAX)))?;
        let Some(local) = Local::parse(&head) else {
            at = header + 4;
            continue;
        };
        match whole(source, header, &local, &mut effort)? {
            Some(entry) => {
                at = entry.end;
                found += 1;
                loader.add(Central {
                    host: 0,
                    flags: local.flags,
                    method: local.method,
                    dos: local.dos,
                    crc: entry.crc,
                    packed: entry.packed,
                    size: entry.size,
                    disk: 0,
                    header,
                    external: 0,
                    name: local.name,
                    extra: local.extra,
                    bad_zip64: false,
                    contradicts_zip64: false,
                })?;
            }
            None => {
                if lost.len() < 1000 && local.name.len() == local.name_len && local.name_len > 0 {
                    let name = names::decode(local.name, Flags(local.flags.0), local.extra);
                    lost.push((names::shown(&name.unwrap_or_else(|_| local.name.into())), header));
                }
                at = header + 4;
            }
        }
        if effort == 0 {
            findings.add(Finding::new(
                Severity::Error,
                "salvage-stopped",
                "",
                format!("the search for entries was given up at byte {at}: the file repeats itself"),
                "restore the file from a backup",
            ));
            break;
        }
    }
    for (name, header) in lost {
        findings.add(Finding::new(
            Severity::Error,
            "entry-lost",
            name,
            format!("an entry at byte {header} is incomplete or damaged, and was left out"),
            "an earlier complete entry of this name is shown if there is one; look for a backup",
        ));
    }
    if found == 0 {
        return Ok(None);
    }
    let loaded = loader.finish();
    findings.add(Finding::new(
        Severity::Error,
        "directory-lost",
        "",
        format!("the package's directory is lost; {found} complete entries were found and are shown"),
        "copy what is shown to a new package, and compare it with a backup",
    ));
    Ok(Some(loaded))
}

/// The place of the next local header at or after `at`.
fn next_header(source: &Source, mut at: u64) -> Result<Option<u64>> {
    let size = source.size();
    while at + LOCAL_LEN as u64 <= size {
        let piece = source.read_range(at..size.min(at + PIECE as u64))?;
        if let Some(i) = piece.windows(4).position(|w| w == LOCAL) {
            return Ok(Some(at + i as u64));
        }
        at += (piece.len() - 3) as u64;
    }
    Ok(None)
}

struct Whole {
    end: u64,
    packed: u64,
    size: u64,
    crc: u32,
}

/// The entry whose header is `local`, if all of it is there and its checksum is right.
fn whole(source: &Arc<Source>, header: u64, local: &Local<'_>, effort: &mut u64) -> Result<Option<Whole>> {
    let start = header + (LOCAL_LEN + local.name_len + local.extra_len) as u64;
    let file_end = source.size();
    if start > file_end || local.flags.encrypted() || !method::supported(local.method) {
        return Ok(None);
    }
    if local.knows_sizes() {
        let Some(end) = start.checked_add(local.packed).filter(|end| *end <= file_end) else {
            return Ok(None);
        };
        let decoded = decode(source, local.method, start..end, Some(local.size), effort)?;
        let right = decoded.is_some_and(|d| d.size == local.size && d.crc == local.crc);
        let Local { packed, size, crc, .. } = *local;
        return Ok(right.then_some(Whole { end, packed, size, crc }));
    }
    // Sizes follow the data. A deflate stream knows its own end; stored bytes do not.
    if local.method == method::STORED {
        return Ok(None);
    }
    let Some(decoded) = decode(source, local.method, start..file_end, None, effort)? else { return Ok(None) };
    let end = file_end - decoded.unused;
    let packed = end - start;
    let tail = source.read_range(end..file_end.min(end + 24))?;
    let fits = descriptor_fits(&tail, decoded.crc, packed, decoded.size);
    Ok(fits.then_some(Whole { end, packed, size: decoded.size, crc: decoded.crc }))
}

struct Decoded {
    size: u64,
    crc: u32,
    unused: u64,
}

/// Decodes to the end, or to one byte more than `size`; `None` when the stream is damaged.
fn decode(
    source: &Arc<Source>,
    method: u16,
    range: std::ops::Range<u64>,
    size: Option<u64>,
    effort: &mut u64,
) -> Result<Option<Decoded>> {
    let input = SourceReader::new(source.clone(), range);
    let Ok(mut decoder) = decode::decoder(method, input, size.unwrap_or(u64::MAX)) else { return Ok(None) };
    let mut buf = vec![0u8; 64 * 1024];
    let mut crc = crc32fast::Hasher::new();
    let mut made = 0u64;
    loop {
        match decoder.decode(&mut buf) {
            Ok(0) => return Ok(Some(Decoded { size: made, crc: crc.finalize(), unused: decoder.unused() })),
            Ok(n) => {
                made += n as u64;
                crc.update(&buf[..n]);
                *effort = effort.saturating_sub(n as u64);
                if size.is_some_and(|size| made > size) || *effort == 0 {
                    return Ok(None);
                }
            }
            Err(e) => {
                return match from_io(e, |e| Error::damaged("stream-damaged", "", e.to_string())) {
                    Error::Damaged { .. } => Ok(None),
                    other => Err(other),
                };
            }
        }
    }
}
