//! The records of a package: its directory, and what is left without one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use super::scratch::{self, STILL, Said};
use super::{Input, trees};
use crate::finding::Findings;
use crate::format::OpenOptions;
use crate::format::package::directory::{Directory, find_ends};
use crate::format::package::load::Loader;
use crate::format::package::method;
use crate::format::package::record::{self, CENTRAL_LEN, Central, End, LOCAL_LEN, Local, Parsed};
use crate::format::package::salvage::salvage;
use crate::format::package::{Package, times};
use crate::store::Source;
use crate::tree::Kind;

/// Bit 3 of the flags: sizes and checksum follow the data.
const HAS_DESCRIPTOR: u16 = 1 << 3;

pub fn directory(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let (count, used) = central_records(rest);
    ends_anywhere(rest);
    if how & 1 == 0 {
        load(&scratch::source(rest), None);
        return;
    }
    let front = usize::from(how >> 1) * 64;
    let mut file = vec![0; front];
    file.extend_from_slice(&rest[..used]);
    // More records than the plain field counts would need a ZIP64 end record.
    let Ok(short_count) = u16::try_from(count) else { return };
    scratch::end(&mut file, short_count, used as u32, front as u32);
    let expected = Directory { start: front as u64, size: used as u64, count, shift: 0 };
    load(&scratch::source(&file), Some(expected).filter(|_| short_count < u16::MAX));
}

/// How many records `bytes` begin with, and how many bytes they take.
fn central_records(bytes: &[u8]) -> (u64, usize) {
    let (mut count, mut used) = (0, 0);
    while let Parsed::Record(record, len) = Central::parse(&bytes[used..]) {
        assert!(len <= bytes.len() - used && CENTRAL_LEN + record.name.len() + record.extra.len() <= len);
        // A record is not one without its last byte, and does not depend on what stands behind it.
        assert!(matches!(Central::parse(&bytes[used..used + len - 1]), Parsed::Short));
        let Parsed::Record(alone, alone_len) = Central::parse(&bytes[used..used + len]) else {
            panic!("a record alone is none");
        };
        let numbers = |r: &Central<'_>| (r.packed, r.size, r.header, r.crc, r.bad_zip64);
        assert_eq!((numbers(&record), len), (numbers(&alone), alone_len));
        let fields: usize = record::extra_fields(record.extra).map(|(_, body)| 4 + body.len()).sum();
        assert!(fields <= record.extra.len());
        let time = times::of(record.extra, record.dos);
        assert!(time.nanos < 1_000_000_000);
        let _ = std::time::SystemTime::from(time);
        (count, used) = (count + 1, used + len);
    }
    (count, used)
}

/// End records wherever one could begin.
fn ends_anywhere(bytes: &[u8]) {
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'P') {
        let _ = End::locate64(&bytes[at..]);
        if let Some(end) = End::parse(&bytes[at..]) {
            for wide in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&record::END64)) {
                let _ = end.widen(&bytes[wide..]);
            }
        }
    }
}

/// Loads every directory that fits; if one is expected, it is the first, and is whole.
fn load(source: &Arc<Source>, expected: Option<Directory>) {
    let ends = find_ends(source).expect(STILL);
    assert_eq!(ends.directories.len(), ends.trailing.len());
    if expected.is_some() {
        assert_eq!(ends.directories.first().copied(), expected);
        assert_eq!(ends.trailing[0], 0);
    }
    for (i, directory) in ends.directories.iter().enumerate() {
        let Directory { start, size, count, shift } = *directory;
        assert!(start.checked_add(size).is_some_and(|end| end <= source.size()) && shift <= start);
        let findings = Findings::default();
        let loaded = Loader::from_directory(source, &findings, *directory, false).expect(STILL);
        assert!(loaded.is_some() || expected.is_none() || i > 0, "a directory that is right is refused");
        if let Some(loaded) = loaded {
            assert_eq!(loaded.records, count);
            trees::check_loaded(&loaded, start);
        }
    }
}

pub fn local(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    if let Some(local) = Local::parse(rest) {
        local_header(rest, &local);
    }
    descriptors(rest);
    if how & 1 == 0 {
        salvaged(rest);
        return;
    }
    let (file, expected) = file_without_directory(rest);
    let found = salvaged(&file);
    for (name, contents) in expected {
        assert_eq!(found.get(&name), Some(&contents), "{:?}", String::from_utf8_lossy(&name));
    }
}

pub fn inflate(data: &[u8]) {
    let mut input = Input(data);
    let mut state = input.take(8).iter().fold(1u64, |state, byte| state << 8 | u64::from(*byte));
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n.max(1)
    };
    crate::packed::against::both(input.0, &mut below);
}

fn local_header(bytes: &[u8], local: &Local<'_>) {
    assert!(local.name.len() <= local.name_len && local.extra.len() <= local.extra_len);
    let len = LOCAL_LEN + local.name_len + local.extra_len;
    if len <= bytes.len() {
        assert_eq!((local.name.len(), local.extra.len()), (local.name_len, local.extra_len));
        let alone = Local::parse(&bytes[..len]).expect("it is all there");
        assert_eq!((local.packed, local.size, local.crc), (alone.packed, alone.size, alone.crc));
    }
}

/// A descriptor that says the right thing fits in each of its four forms; what is cut off does not.
fn descriptors(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut number = || u32::from_le_bytes([input.byte(), input.byte(), input.byte(), input.byte()]);
    let [crc, packed, size] = [number(), number(), number()];
    let _ = record::descriptor_fits(bytes, crc, packed.into(), size.into());
    for wide in [false, true] {
        for signed in [false, true] {
            let descriptor = descriptor(crc, packed, size, wide, signed);
            let fits = |b: &[u8]| record::descriptor_fits(b, crc, packed.into(), size.into());
            assert!(fits(&descriptor));
            assert!(!fits(&descriptor[..11]));
        }
    }
}

fn descriptor(crc: u32, packed: u32, size: u32, wide: bool, signed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if signed {
        bytes.extend_from_slice(&record::DESCRIPTOR);
    }
    bytes.extend_from_slice(&crc.to_le_bytes());
    for number in [packed, size] {
        match wide {
            true => bytes.extend_from_slice(&u64::from(number).to_le_bytes()),
            false => bytes.extend_from_slice(&number.to_le_bytes()),
        }
    }
    bytes
}

/// Entries without a directory, made of what the bytes say, and what of them has to be found.
fn file_without_directory(bytes: &[u8]) -> (Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut input = Input(bytes);
    let (mut file, mut expected, mut intact) = (Vec::new(), BTreeMap::new(), true);
    while !input.is_empty() && file.len() < 1 << 16 {
        let how = input.byte();
        // Letters only: what other names come to is the business of another target.
        let name = [b'a' + input.byte() % 26, b'a' + how % 3];
        let body_len = input.number() % 2048;
        // Zeros in front make contents that are longer than what they are packed in.
        let contents = [&vec![0; usize::from(how >> 5) * 3000], input.take(body_len)].concat();
        let deflated = how & 1 != 0;
        let packed =
            if deflated { deflate(&contents, u32::from(how >> 3 & 3) * 3) } else { contents.clone() };
        let described = deflated && how & 2 != 0;
        let (crc, packed_len, size) =
            (crc32fast::hash(&contents), packed.len() as u32, contents.len() as u32);
        let method = if deflated { method::DEFLATE } else { method::STORED };
        let said = match described {
            true => Said { name: &name, method, flags: HAS_DESCRIPTOR, ..Said::default() },
            false => Said { name: &name, method, flags: 0, crc, packed: packed_len, size },
        };
        said.local(&mut file);
        file.extend_from_slice(&packed);
        if described {
            file.extend_from_slice(&descriptor(crc, packed_len, size, how & 4 != 0, how & 8 != 0));
        }
        // The last of a name counts.
        expected.insert(name.to_vec(), contents);
        if how & 0x1c == 0x1c {
            let (at, flip) = (input.number(), input.byte());
            let len = file.len();
            file[at % len] ^= flip;
            intact &= flip == 0;
        }
    }
    (file, if intact { expected } else { BTreeMap::new() })
}

/// A deflate stream.
pub fn deflate(contents: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(contents).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// What salvaging finds, by path: all of it can be read, and is what its checksum says.
fn salvaged(bytes: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let source = scratch::source(bytes);
    let findings = Arc::new(Findings::default());
    let mut found = BTreeMap::new();
    let Some(loaded) = salvage(&source, &findings, true).expect(STILL) else { return found };
    let limit = source.size();
    trees::check_loaded(&loaded, limit);
    assert!(loaded.entries.iter().all(|e| e.refusal.is_none()), "a salvaged entry is refused");
    let package = Package::assemble(source, OpenOptions::default(), loaded, findings, limit, true);
    let package = package.expect(STILL);
    for id in package.tree.ids().filter(|id| package.tree.node(*id).kind != Kind::Directory) {
        let contents = package.read_whole(id);
        let contents = contents.unwrap_or_else(|e| panic!("a salvaged entry cannot be read: {e}"));
        found.insert(package.tree.path(id), contents.to_vec());
    }
    found
}
