//! A package whose directory is lost: what the local headers still tell.
//!
//! The application appends in place, so a power cut leaves whole entries and no directory. Headers are searched
//! from the front; an entry counts when all of it is there and its checksum is right, and the last complete
//! one of a name wins. What an entry that is not whole surely spans is passed over, for a file within it may be a
//! ZIP itself, whose entries are none of the project's; else the search goes on behind its header, so a
//! hostile file could have the same bytes looked at many times; [`Effort`] ends that.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use super::load::{Loaded, Loader};
use super::record::{CENTRAL, Central, DESCRIPTOR, LOCAL, LOCAL_LEN, Local, descriptor_fits};
use super::{method, names};
use crate::error::{Error, Result, from_io};
use crate::finding::{Finding, Findings, Severity};
use crate::packed::{Input, Method, decoder};
use crate::signs::Named;
use crate::store::{Draft, Source};
use crate::tree::Content;

/// Bytes looked at in one piece.
const PIECE: u64 = 1 << 20;
/// So many bytes of an entry may be gone for what follows it to be looked for where it is now.
const SLIP: u64 = 1 << 12;
/// What may follow an entry.
const RECORDS: [[u8; 4]; 3] = [LOCAL, CENTRAL, DESCRIPTOR];
/// The longest name that is worth a look.
const MAX_NAME: usize = 4096;
/// The database of a shared project.
const SHARED: &[u8] = b"project.vaso";
/// Parts of databases that are given out at most.
const MOST_TORN: usize = 1000;

/// What may still be spent: a unit for every byte that is decoded, one for every byte that is read for it, since a
/// stream may be long and give nothing, and some for every header. An honest file needs its size, its decoded size
/// and a little more; this allows it to be packed thirty-two-fold.
struct Effort(u64);

impl Effort {
    const PER_HEADER: u64 = 4096;

    fn for_size(size: u64) -> Effort {
        Effort(size.saturating_mul(33).saturating_add(256 << 20))
    }

    fn spend(&mut self, units: u64) {
        self.0 = self.0.saturating_sub(units);
    }

    fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// The file, seen through a piece that moves forwards.
pub struct Window<'a> {
    source: &'a Source,
    start: u64,
    piece: Vec<u8>,
}

impl<'a> Window<'a> {
    /// At its beginning.
    pub fn new(source: &'a Source) -> Window<'a> {
        Window { source, start: 0, piece: Vec::new() }
    }

    /// The bytes from `at` on, at least `len` of them where the file has them.
    pub fn at(&mut self, at: u64, len: u64) -> Result<&[u8]> {
        let size = self.source.size();
        let end = at.saturating_add(len).min(size);
        let held = self.start..self.start + self.piece.len() as u64;
        if at < held.start || end > held.end {
            let at = at.min(size);
            self.piece = self.source.read_range(at..size.min(at + PIECE.max(len)))?;
            self.start = at;
        }
        Ok(&self.piece[(at.min(size) - self.start) as usize..])
    }

    /// The place of the next local header at or after `at`.
    pub fn next_header(&mut self, mut at: u64) -> Result<Option<u64>> {
        let size = self.source.size();
        while at + LOCAL_LEN as u64 <= size {
            let piece = self.at(at, LOCAL_LEN as u64)?;
            if let Some(i) = piece.windows(4).position(|w| w == LOCAL) {
                return Ok(Some(at + i as u64));
            }
            at += (piece.len() - 3) as u64;
        }
        Ok(None)
    }
}

/// Reads every header of the file; `None` when no entry is whole.
pub fn salvage(source: &Arc<Source>, findings: &Findings, raw: bool) -> Result<Option<Loaded>> {
    let size = source.size();
    let mut loader = Loader::new(findings, 0, size, 0);
    let mut lost: Vec<(String, u64)> = Vec::new();
    let mut found = 0u64;
    let given_up = search(source, |header, local, entry| {
        match entry {
            Some(entry) => {
                found += 1;
                loader.add(entry.record(header, local))?;
            }
            None if lost.len() < 1000 => {
                let name = names::decode(local.name, local.flags, local.extra);
                lost.push((names::shown(&name.unwrap_or_else(|_| local.name.into())), header));
            }
            None => {}
        }
        Ok(true)
    })?;
    if let Some(at) = given_up {
        findings.add(Finding::new(
            Severity::Error,
            "salvage-stopped",
            "",
            format!("the search for entries was given up at byte {at}: the file repeats itself"),
            "restore the file from a backup",
        ));
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
    let loaded = loader.finish(raw)?;
    findings.add(Finding::new(
        Severity::Error,
        "directory-lost",
        "",
        format!("the package's directory is lost; {found} complete entries were found and are shown"),
        "copy what is shown to a new package, and compare it with a backup",
    ));
    Ok(Some(loaded))
}

/// Whether an entry of this name is the database of a project: a snapshot of a bundle, or a shared project.
fn is_database(name: &[u8]) -> bool {
    let snapshot = name.strip_prefix(b"bundle/snapshots/");
    name == SHARED || snapshot.is_some_and(|name| Named::of(name).is_some())
}

/// What to do about a file of which no project can be shown, if a part of a project's database is in it.
pub fn part_of_database(source: &Arc<Source>) -> Option<&'static str> {
    let torn = places(source, false).unwrap_or_default();
    let remedy = "but a part of a project's database is there, and `vaso recover` saves what is left of it";
    (!torn.is_empty()).then_some(remedy)
}

/// A database in a file that has lost its directory, or what is there of one.
#[derive(Debug)]
pub struct Part {
    /// The name of its entry.
    pub name: Vec<u8>,
    /// What is there.
    pub content: Content,
    /// Whether that is all of it, by its checksum.
    pub is_whole: bool,
}

/// What is there of databases whose entries are cut off, or whose checksums are wrong, and of a shared project, which
/// nothing else shows where the directory is lost; and, if `whole_too`, of those that are whole, where the directory may
/// not have them. At most one for each name, the last. What is packed is decoded up to the damage, into files that no
/// folder has.
pub fn parts(source: &Arc<Source>, whole_too: bool) -> Result<Vec<Part>> {
    let mut effort = Effort::for_size(source.size());
    let mut parts = Vec::new();
    for (name, (method, packed, size, is_whole)) in places(source, whole_too)? {
        let content = match method {
            Method::Stored => Content::Range(source.clone(), packed),
            method => front(source, method, packed, size, &mut effort)?,
        };
        if content.size() > 0 {
            parts.push(Part { name, content, is_whole });
        }
    }
    Ok(parts)
}

/// How an entry is packed, where, the size that it had, as far as that is known, and whether it is whole.
type Place = (Method, Range<u64>, Option<u64>, bool);

/// The places of databases that are to be had in no other way; and, if `whole_too`, of all others.
fn places(source: &Arc<Source>, whole_too: bool) -> Result<BTreeMap<Vec<u8>, Place>> {
    let end = source.size();
    let mut torn: BTreeMap<Vec<u8>, Place> = BTreeMap::new();
    search(source, |header, local, entry| {
        let start = local.data(header);
        let method = method::supported(local.method)
            .filter(|_| entry.is_none() || whole_too || local.name == SHARED)
            .filter(|_| is_database(local.name) && !local.flags.encrypted());
        // A packed stream ends by itself; stored bytes do not.
        let (packed, size) = match (local.knows_sizes(), method) {
            (true, _) => (local.packed, Some(local.size)),
            (false, Some(Method::Stored) | None) => (0, None),
            (false, _) => (end, None),
        };
        if let Some(method) = method.filter(|_| packed > 0 && start < end) {
            let packed = start..start.saturating_add(packed).min(end);
            torn.insert(local.name.to_vec(), (method, packed, size, entry.is_some()));
        }
        Ok(torn.len() < MOST_TORN)
    })?;
    Ok(torn)
}

/// What can be decoded of a packed entry, in a file that no folder has.
fn front(
    source: &Arc<Source>,
    method: Method,
    packed: Range<u64>,
    size: Option<u64>,
    effort: &mut Effort,
) -> Result<Content> {
    let folder = std::env::temp_dir();
    let cannot = |e: io::Error| {
        let what = format!("{e}; set TMPDIR to a folder on a disk with room for it");
        Error::io("write into", &folder, io::Error::new(e.kind(), what))
    };
    let draft = Draft::begin(&folder).map_err(cannot)?;
    let mut file = OpenOptions::new().write(true).open(draft.path()).map_err(cannot)?;
    decode(source, method, packed, size, effort, &mut |bytes| file.write_all(bytes).map_err(cannot))?;
    let made = draft.unnamed()?;
    let size = made.size();
    Ok(Content::Range(made, 0..size))
}

/// Calls `each` with every header that has a name, and with its entry where that is whole, as long as it says so. The
/// place where the search was given up, if it was.
fn search(
    source: &Arc<Source>,
    mut each: impl FnMut(u64, &Local<'_>, Option<&Whole>) -> Result<bool>,
) -> Result<Option<u64>> {
    let mut effort = Effort::for_size(source.size());
    let mut window = Window::new(source);
    let mut at = 0;
    while let Some(header) = window.next_header(at)? {
        effort.spend(Effort::PER_HEADER);
        if effort.is_spent() {
            return Ok(Some(at));
        }
        at = header + 4;
        let head = window.at(header, (LOCAL_LEN + MAX_NAME) as u64 + u64::from(u16::MAX))?;
        let Some(local) = Local::parse(head) else { continue };
        if local.name_len == 0 || local.name_len > MAX_NAME || local.name.len() < local.name_len {
            continue;
        }
        let (entry, spanned) = look(source, header, &local, &mut effort)?;
        at = at.max(spanned);
        if !each(header, &local, entry.as_ref())? {
            break;
        }
    }
    Ok(None)
}

/// An entry that is whole.
struct Whole {
    packed: u64,
    size: u64,
    crc: u32,
}

impl Whole {
    /// What a directory would say of it.
    fn record<'a>(&self, header: u64, local: &Local<'a>) -> Central<'a> {
        Central {
            host: 0,
            flags: local.flags,
            method: local.method,
            dos: local.dos,
            crc: self.crc,
            packed: self.packed,
            size: self.size,
            disk: 0,
            header,
            external: 0,
            name: local.name,
            extra: local.extra,
            bad_zip64: false,
            contradicts_zip64: false,
        }
    }
}

/// The entry whose header is `local`, if all of it is there and its checksum is right; and where it ends. Where one that
/// is not whole does is sure if the two sizes of stored bytes agree, if another record begins there, or if nothing but
/// the end of the file ends its stream. Else it is 0: a size that is wrong must not hide what follows.
fn look(
    source: &Arc<Source>,
    header: u64,
    local: &Local<'_>,
    effort: &mut Effort,
) -> Result<(Option<Whole>, u64)> {
    let start = local.data(header);
    let file_end = source.size();
    let known_end = start.checked_add(local.packed).filter(|_| local.knows_sizes());
    let method = method::supported(local.method).filter(|_| start <= file_end && !local.flags.encrypted());
    let packed = start..known_end.unwrap_or(file_end).min(file_end);
    let (is_cut_off, ended) = (known_end.is_none_or(|end| end > file_end), packed.end);
    // Stored bytes do not know their own end, as a packed stream does.
    let found = match method.filter(|method| *method != Method::Stored || !is_cut_off) {
        Some(method) => {
            let size = known_end.map(|_| local.size);
            decode(source, method, packed, size, effort, &mut |_| Ok(()))?
        }
        None => Found::Damaged,
    };
    match found {
        Found::Stream(decoded) if known_end.is_none() => {
            // Sizes follow the data.
            let end = file_end - decoded.unused;
            let packed = end - start;
            let tail = source.read_range(end..file_end.min(end + 24))?;
            if descriptor_fits(&tail, decoded.crc, packed, decoded.size) {
                return Ok((Some(Whole { packed, size: decoded.size, crc: decoded.crc }), end));
            }
        }
        Found::Stream(decoded) if !is_cut_off && decoded.size == local.size && decoded.crc == local.crc => {
            let Local { packed, size, crc, .. } = *local;
            return Ok((Some(Whole { packed, size, crc }), ended));
        }
        Found::CutOff if is_cut_off => return Ok((None, file_end)),
        _ => {}
    }
    let Some(end) = known_end else { return Ok((None, 0)) };
    let agreed = method == Some(Method::Stored) && local.packed == local.size;
    if end >= file_end {
        return Ok((None, if agreed || end == file_end { file_end } else { 0 }));
    }
    Ok((
        None,
        match source.read_range(end..file_end.min(end + 4))? {
            next if is_record(&next) => end,
            _ if agreed => before(source, start, end)?,
            _ => 0,
        },
    ))
}

fn is_record(bytes: &[u8]) -> bool {
    RECORDS.iter().any(|record| bytes == record)
}

/// Where stored bytes end that are damaged, and behind which no record stands where one should: where some of them are
/// gone, the next one begins shortly before.
fn before(source: &Source, start: u64, end: u64) -> Result<u64> {
    let from = start.max(end.saturating_sub(SLIP));
    let bytes = source.read_range(from..source.size().min(end + 3))?;
    let next = bytes.windows(4).position(is_record);
    Ok(next.map_or(end, |at| from + at as u64))
}

/// What is found where a stream should be.
enum Found {
    Stream(Decoded),
    /// It is right as far as its bytes go.
    CutOff,
    Damaged,
}

struct Decoded {
    size: u64,
    crc: u32,
    unused: u64,
}

/// Decodes to the end, or to one byte more than `size`, and gives `each` what it makes.
fn decode(
    source: &Arc<Source>,
    method: Method,
    range: Range<u64>,
    size: Option<u64>,
    effort: &mut Effort,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Found> {
    let input = Input::new(Content::Range(source.clone(), range), 0);
    let Ok(mut decoder) = decoder(method, input, size.unwrap_or(u64::MAX)) else {
        return Ok(Found::Damaged);
    };
    let mut buf = vec![0u8; 64 * 1024];
    let mut crc = crc32fast::Hasher::new();
    let mut made = 0u64;
    let mut unread = decoder.unused();
    loop {
        let outcome = decoder.decode(&mut buf);
        let read = unread.saturating_sub(decoder.unused());
        unread -= read;
        effort.spend(read);
        match outcome {
            Ok(0) => {
                let (crc, unused) = (crc.finalize(), decoder.unused());
                return Ok(Found::Stream(Decoded { size: made, crc, unused }));
            }
            Ok(n) => {
                made += n as u64;
                crc.update(&buf[..n]);
                each(&buf[..n])?;
                effort.spend(n as u64);
                if size.is_some_and(|size| made > size) || effort.is_spent() {
                    return Ok(Found::Damaged);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Found::CutOff),
            Err(e) => {
                return match from_io(e, |e| Error::damaged("stream-damaged", "", e.to_string())) {
                    Error::Damaged { .. } => Ok(Found::Damaged),
                    other => Err(other),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::package::fuzzing;

    #[test]
    fn a_stream_that_gives_nothing_costs_what_is_read_of_it() {
        // Blocks of no bytes, and no last one. Each header before them has all of them read once more: a file of
        // 20 MB with 400 headers took half a minute, and larger ones hours.
        let source = fuzzing::source(&[0, 0, 0, 0xff, 0xff].repeat(100_000));
        let mut effort = Effort(1_000_000);
        let decoded =
            decode(&source, Method::Deflate, 0..500_000, None, &mut effort, &mut |_| Ok(())).unwrap();
        assert!(!matches!(decoded, Found::Stream(_)));
        assert_eq!(effort.0, 500_000);
    }
}
