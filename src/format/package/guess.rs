//! Where the bytes of an entry lie whose local header is damaged, or not where the directory says.
//!
//! The directory still says how long they are, and has their checksum: of all the places that they may begin at, the
//! right one is where that is right. Where it is right nowhere, only a place counts that the directory itself names: behind
//! its header, if a database begins there, or in front of the next entry. Behind another header of the same name lies
//! something else then: what the entry once was, or a part of another file; unless it is where it should be but for a few
//! bytes. That is for whoever salvages, and judges what
//! it gets: nobody else is given a guess.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::load::Entry;
use super::record::{LOCAL_LEN, Local};
use super::salvage::Window;
use super::{Package, method};
use crate::error::{Error, Result, from_io};
use crate::finding::Findings;
use crate::packed::{self, Check, Method, Packed};
use crate::store::Source;
use crate::tree::{Content, NodeId};

/// So many entries are looked for in one package.
const MOST: usize = 1000;
/// So many headers of one name are tried, the last ones.
const MOST_NAMESAKES: usize = 8;
/// So many headers of one file are kept.
const MOST_HEADERS: usize = 1 << 20;
/// So many bytes may have been put in front of an entry, or taken from there, by accident. Another entry of the same name
/// is farther away.
const SLIP: u64 = 16;
/// So many times the bytes of the file are decoded for it, and so many in any case.
const TIMES: u64 = 4;
const ANY_SIZE: u64 = 64 << 20;
/// How long what may stand behind an entry is: its sizes and its checksum.
const DESCRIPTORS: [u64; 4] = [16, 12, 24, 20];
/// What a database begins with.
const DATABASE: &[u8; 16] = b"SQLite format 3\0";

/// What was found so far, by the number of the entry.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    headers: Option<Vec<Header>>,
    /// How many bytes were decoded.
    decoded: u64,
    places: BTreeMap<u32, Option<Range<u64>>>,
}

/// A local header of the file, wherever it is.
#[derive(Debug)]
struct Header {
    name_crc: u32,
    method: u16,
    at: u64,
    data: u64,
}

impl Package {
    /// Where an entry seems to lie of which `damaged` says what is wrong with its header, and which stays where no place
    /// will do.
    pub(super) fn guess(&self, id: NodeId, damaged: Error) -> Result<Range<u64>> {
        let (number, entry) = self.entry(id)?;
        let mut made = self.guesses.0.lock();
        if !made.places.contains_key(&number) && made.places.len() < MOST {
            if made.headers.is_none() {
                made.headers = Some(headers(&self.source)?);
            }
            let all = made.headers.iter().flatten().rev();
            let same = all.filter(|h| h.name_crc == entry.name_crc && h.method == entry.method);
            let is_near = |header: &Header| header.at.abs_diff(entry.header) <= SLIP;
            let by_name: Vec<(u64, bool)> =
                same.map(|header| (header.data, is_near(header))).take(MOST_NAMESAKES).collect();
            let place = self.place(id, by_name, &mut made.decoded)?;
            made.places.insert(number, place);
        }
        made.places.get(&number).cloned().flatten().ok_or(damaged)
    }

    /// The first place that will do; `by_name` are those behind headers of the same name elsewhere, and whether they are
    /// where the directory says but for a few bytes. Counts what it decodes.
    fn place(&self, id: NodeId, by_name: Vec<(u64, bool)>, decoded: &mut u64) -> Result<Option<Range<u64>>> {
        let (number, entry) = self.entry(id)?;
        let (file_end, name) = (self.source.size(), self.tree.shown(id));
        let Some(method) = method::supported(entry.method) else { return Ok(None) };
        let named = entry.header + LOCAL_LEN as u64 + u64::from(entry.name_len);
        let mut extra = [0; 2];
        self.source.read_at(entry.header + LOCAL_LEN as u64 - 2, &mut extra)?;
        let fore = [named + u64::from(u16::from_le_bytes(extra)), named];
        let aft = ends(entry).filter_map(|gap| self.next_header(number).checked_sub(entry.packed + gap));
        let aft: Vec<u64> =
            aft.filter(|start| (named..=named + u64::from(u16::MAX)).contains(start)).collect();
        let mut likely = None;
        let mut tried = Vec::new();
        let named_here = fore.into_iter().chain(aft.iter().copied()).map(|start| (start, true));
        for (start, is_named_here) in named_here.chain(by_name) {
            if start >= file_end || tried.contains(&start) {
                continue;
            }
            tried.push(start);
            *decoded = decoded.saturating_add(self.tree.node(id).size().max(entry.packed));
            if *decoded > file_end.saturating_mul(TIMES).max(ANY_SIZE) {
                break;
            }
            let range = start..start.saturating_add(entry.packed).min(file_end);
            let content = Content::Range(self.source.clone(), range.clone());
            let (size, check) = (self.tree.node(id).size(), Check::Crc32(entry.crc));
            let packed =
                Packed { entry: number, name: name.clone(), method, content, size, check, identity: None };
            match packed::decode_all(&packed, &Findings::default(), |_| ()) {
                Ok(()) => return Ok(Some(range)),
                Err(gone @ (Error::SourceChanged(_) | Error::Io { .. })) => return Err(gone),
                Err(_) if is_named_here && likely.is_none() && begins_as_a_database(&packed)? => {
                    likely = Some(range)
                }
                Err(_) => {}
            }
        }
        // A packed stream that begins as nothing that is known would give nothing.
        let last = aft.first().filter(|_| method == Method::Stored).map(|start| *start..start + entry.packed);
        Ok(likely.or(last))
    }
}

/// How many bytes may stand between an entry's end and what comes next, the likeliest first.
fn ends(entry: &Entry) -> impl Iterator<Item = u64> {
    let after = entry.flags.has_descriptor();
    let (first, last) = if after { (None, Some(0)) } else { (Some(0), None) };
    first.into_iter().chain(DESCRIPTORS).chain(last)
}

fn begins_as_a_database(packed: &Packed) -> Result<bool> {
    let mut head = [0; DATABASE.len()];
    let mut made = 0;
    let mut decoder = packed.decoder()?;
    while made < head.len() {
        match decoder.decode(&mut head[made..]) {
            Ok(0) => break,
            Ok(n) => made += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                return match from_io(e, |e| Error::damaged("stream-damaged", &packed.name, e.to_string())) {
                    Error::Damaged { .. } => Ok(false),
                    other => Err(other),
                };
            }
        }
    }
    Ok(&head == DATABASE)
}

/// All local headers of a file.
fn headers(source: &Arc<Source>) -> Result<Vec<Header>> {
    let mut window = Window::new(source);
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(header) = window.next_header(at)?.filter(|_| all.len() < MOST_HEADERS) {
        at = header + 4;
        let Some(local) = Local::parse(window.at(header, LOCAL_LEN as u64 + u64::from(u16::MAX))?) else {
            continue;
        };
        if local.name.len() == local.name_len {
            let name_crc = crc32fast::hash(local.name);
            all.push(Header { name_crc, method: local.method, at: header, data: local.data(header) });
        }
    }
    Ok(all)
}
