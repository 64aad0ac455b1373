//! An index that somebody has written to. Records whose checksum is wrong are as good as absent; records that were
//! forged with care may spoil what is read, but never unnoticed: wrong bytes do not survive a whole pass.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::Input;
use super::headers::deflate;
use super::scratch::{self, Cache, STILL, Said};
use crate::error::Error;
use crate::finding::Findings;
use crate::format::OpenOptions;
use crate::format::package::directory::find_ends;
use crate::format::package::load::{Loaded, Loader};
use crate::format::package::{Package, SMALL, method};
use crate::packed::{HEAD, Inflater, Mark, RECORD, Stop, record};
use crate::store::{CacheFolder, Source};
use crate::tree::{Branch, Content};

/// More records than this say nothing new.
const MOST: usize = 12;
/// What is asked for at once.
const PIECE: usize = 128 * 1024;
/// The name of the only entry.
const NAME: &[u8] = b"recording.csv";

/// A package with one packed entry.
struct Scene {
    source: Arc<Source>,
    loaded: Loaded,
    /// What the entry really is.
    right: Vec<u8>,
    /// Whether the package says so, too.
    healthy: bool,
    /// Where decoding can begin, as a true index would say it.
    marks: Vec<(Mark, Arc<[u8]>)>,
}

/// How the entry is read.
#[derive(Clone, Copy)]
enum Order {
    Forwards,
    Backwards,
    Shuffled(usize),
    ByTwo,
}

pub fn index(data: &[u8]) {
    let mut input = Input(data);
    let (how, seed, file) = (input.byte(), input.byte(), input.byte());
    let scene = &scenes()[usize::from(how & 7)];
    let right_sums = how & 8 != 0;
    let order = match how >> 4 & 3 {
        0 => Order::Forwards,
        1 => Order::Backwards,
        2 => Order::Shuffled(seed.into()),
        _ => Order::ByTwo,
    };
    let cache = Cache::new();
    let package = scene.package(cache.folder().clone());
    let id = package.tree.find(NAME).expect("it has one entry");
    let key = package.packed(id).expect("its header is in order").key().expect("it lies in a file");
    cache.folder().records(key, RECORD).expect("a new folder takes a file");
    let path = fs::read_dir(cache.path()).expect("it was just made").next().expect("it has one file");
    let path = path.expect("it can be listed").path();
    let mut bytes = fs::read(&path).expect("it was just written");
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        forge(&mut input, scene, right_sums, key, &mut bytes);
    }
    put(&path, bytes, file, seed);
    let content = Branch::open(&package, id).expect("what is wrong is told when it is read");
    assert!(matches!(content, Content::Coded(_)));
    let complete = read(&content, order, &scene.right);
    if scene.healthy && !right_sums {
        assert!(complete, "a record without its checksum was believed");
    }
    assert!(scene.healthy || !complete, "a damaged entry was read to its end");
}

/// Adds one record.
fn forge(input: &mut Input<'_>, scene: &Scene, right_sum: bool, key: [u8; 32], bytes: &mut Vec<u8>) {
    let how = input.byte();
    let mut pick = || &scene.marks[usize::from(input.byte()) % scene.marks.len()];
    let (mark, window) = pick();
    let honest = record(*mark, window);
    let mut forged = match how & 4 {
        0 => honest.clone(),
        _ => record(*mark, &pick().1),
    };
    for _ in 0..how >> 5 {
        match how & 3 {
            0 => {}
            1 => forged[usize::from(input.byte()) % HEAD] ^= input.byte(),
            2 => forged[input.number() % RECORD] ^= input.byte(),
            // A place within the entry, which random bytes would hardly ever give.
            _ => {
                let out = (input.number() as u64) << 8 | u64::from(input.byte());
                forged[..8].copy_from_slice(&(out % (scene.right.len() as u64 + 2)).to_le_bytes());
            }
        }
    }
    if how & 8 != 0 {
        let head = input.take(HEAD);
        forged[..head.len()].copy_from_slice(head);
    }
    let sum = crc32fast::hash(&[&key[..], if right_sum { &forged } else { &honest }].concat());
    bytes.extend_from_slice(&forged);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// Puts the file of records there, or something else in its place.
fn put(path: &Path, mut bytes: Vec<u8>, how: u8, seed: u8) {
    match how {
        1 => bytes.truncate(bytes.len().saturating_sub(1 + usize::from(seed))),
        2 => bytes[usize::from(seed) % 48] ^= 1 + seed / 48,
        3 => bytes.clear(),
        4 | 5 => {
            fs::remove_file(path).expect("it was just made");
            match how {
                4 => fs::create_dir(path).expect("the place is free"),
                _ => symlink("/dev/zero", path).expect("the place is free"),
            }
            return;
        }
        _ => {}
    }
    fs::write(path, bytes).expect("it was just made");
}

/// Reads everything. Whether all of it was given out, and its last byte once more when all of it was decoded; then
/// it is right.
fn read(content: &Content, order: Order, right: &[u8]) -> bool {
    let pieces = content.size().div_ceil(PIECE as u64) as usize;
    // A step that has no factor in common with any small number visits each piece once.
    let step = |i: usize, seed: usize| (i * 31 + seed) % pieces;
    let forwards: Vec<usize> = (0..pieces).collect();
    let backwards: Vec<usize> = (0..pieces).rev().collect();
    let outcomes: Vec<(usize, Result<Vec<u8>, Error>)> = match order {
        Order::Forwards => pass(content, &forwards),
        Order::Backwards => pass(content, &backwards),
        Order::Shuffled(seed) => pass(content, &(0..pieces).map(|i| step(i, seed)).collect::<Vec<_>>()),
        Order::ByTwo => std::thread::scope(|scope| {
            let other = scope.spawn(|| pass(content, &backwards));
            let mut all = pass(content, &forwards);
            all.extend(other.join().expect("reading never panics"));
            all
        }),
    };
    let last = content.read_at(content.size() - 1, &mut [0]);
    for error in outcomes.iter().filter_map(|(_, read)| read.as_ref().err()).chain(last.as_ref().err()) {
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
    let complete = last.is_ok() && outcomes.iter().all(|(_, read)| read.is_ok());
    if complete {
        for (number, piece) in outcomes {
            let at: Range<usize> = number * PIECE..right.len().min((number + 1) * PIECE);
            assert!(piece.is_ok_and(|piece| piece == right[at]), "wrong bytes survived a whole pass");
        }
    }
    complete
}

fn pass(content: &Content, order: &[usize]) -> Vec<(usize, Result<Vec<u8>, Error>)> {
    let piece = |number: &usize| {
        let at = number * PIECE;
        let mut bytes = vec![0; PIECE.min(content.size() as usize - at)];
        (*number, content.read_at(at as u64, &mut bytes).map(|_| bytes))
    };
    order.iter().map(piece).collect()
}

/// Made once: packing takes longer than everything else here.
fn scenes() -> &'static [Scene; 8] {
    static SCENES: OnceLock<[Scene; 8]> = OnceLock::new();
    SCENES.get_or_init(|| {
        let text = recording(300_000);
        let packed = in_blocks(&text);
        let noise: Vec<u8> =
            (0..270_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13 ^ i >> 3) as u8).collect();
        // As most programs pack: blocks end where they happen to.
        let usual =
            [&numbers(0, 60_000)[..], &vec![0; 150_000], &noise[..20_000], &numbers(9, 50_000)].concat();
        let long = recording(700_000);
        let mut flipped = packed.clone();
        flipped[packed.len() / 2] ^= 0x10;
        let (crc, size) = (crc32fast::hash(&text), text.len());
        [
            scene(&text, &packed, crc, size),
            // Packed without compression: blocks end between two bytes.
            scene(&noise, &deflate(&noise, 0), crc32fast::hash(&noise), noise.len()),
            scene(&usual, &deflate(&usual, 1), crc32fast::hash(&usual), usual.len()),
            // Longer than the distance of two marks: some are made on the way.
            scene(&long, &in_blocks(&long), crc32fast::hash(&long), long.len()),
            scene(&text, &packed, crc ^ 1, size),
            scene(&text, &packed, crc, size - 1),
            scene(&text, &packed, crc, size + 1),
            scene(&text, &flipped, crc, size),
        ]
    })
}

fn numbers(from: u32, len: usize) -> Vec<u8> {
    let number = |i: u32| format!("{i},{}\n", i.wrapping_mul(i) % 9973).into_bytes();
    (from..).flat_map(number).take(len).collect()
}

/// Something new every now and then, and what was there before in between: few symbols for many bytes, all of
/// which depend on the window.
fn recording(len: usize) -> Vec<u8> {
    let mut text = numbers(7, 5000);
    for i in 0.. {
        text.extend(numbers(i * 1000, 60));
        let again = text.len() - 4100 - i as usize % 7 * 13;
        text.extend_from_within(again..again + 4000);
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len);
    text
}

/// Packed with many ends of blocks, most of them within a byte.
fn in_blocks(contents: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    for block in contents.chunks(20_011) {
        encoder.write_all(block).and_then(|()| encoder.flush()).expect("memory takes everything");
    }
    encoder.finish().expect("memory takes everything")
}

fn scene(right: &[u8], packed: &[u8], crc: u32, size: usize) -> Scene {
    assert!(size as u64 > SMALL, "shorter entries are decoded whole");
    let said = Said {
        name: NAME,
        method: method::DEFLATE,
        flags: 0,
        crc,
        packed: packed.len() as u32,
        size: size as u32,
    };
    let mut file = Vec::new();
    said.local(&mut file);
    file.extend_from_slice(packed);
    let start = file.len() as u32;
    said.central(&mut file, 0);
    let len = file.len() as u32 - start;
    scratch::end(&mut file, 1, len, start);
    let source = scratch::source(&file);
    let directory = find_ends(&source).expect(STILL).directories[0];
    let loaded = Loader::from_directory(&source, &Findings::default(), directory, true).expect(STILL);
    let loaded = loaded.expect("the directory is in order");
    let marks = marks(packed);
    assert!(!marks.is_empty(), "one block is no scene");
    let healthy = size == right.len() && crc32fast::hash(right) == crc && decoded(packed) == right;
    Scene { source, loaded, right: right.to_vec(), healthy, marks }
}

impl Scene {
    /// The package, newly opened.
    fn package(&self, cache: Arc<CacheFolder>) -> Package {
        let options = OpenOptions { cache: Some(cache), ..OpenOptions::default() };
        let Loaded { ref tree, ref entries, ref by_place, shadowed, records } = self.loaded;
        let (tree, entries, by_place) = (tree.clone(), entries.clone(), by_place.clone());
        let loaded = Loaded { tree, entries, by_place, shadowed, records };
        let limit = self.source.size();
        Package::assemble(self.source.clone(), options, loaded, Arc::default(), limit, false).expect(STILL)
    }
}

fn decoded(packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::DeflateDecoder::new(packed);
    let _ = std::io::Read::read_to_end(&mut decoder, &mut out);
    out
}

/// Places between two blocks, and within every third or so, as far as the stream can be decoded.
fn marks(packed: &[u8]) -> Vec<(Mark, Arc<[u8]>)> {
    let (mut inflater, mut found) = (Inflater::new(), Vec::new());
    let mut input = 0;
    let mut buf = vec![0; 1 << 16];
    let stops = [Stop::Between, Stop::Between, Stop::Within];
    for stop in stops.into_iter().cycle() {
        let Ok(step) = inflater.step(&packed[input..], &mut buf, stop) else { break };
        input += step.used;
        if step.ended || (step.made, step.used) == (0, 0) {
            break;
        }
        if let Some(mark) = step.mark {
            found.push((mark, inflater.window()));
        }
    }
    found
}
