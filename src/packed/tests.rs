//! zlib streams in pieces, as assets lie in a database: what may be wrong with them, and with what is said of them.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{CUT_OFF, Decoding, HEAD, RECORD, zlib};
use crate::error::{Error, Result};
use crate::finding::{Findings, Severity};
use crate::store::CacheFolder;
use crate::tree::{Coded, Content};

/// Some bytes in pieces, one of which may be missing.
#[derive(Debug)]
struct Pieces {
    pieces: Vec<Option<Vec<u8>>>,
    piece: usize,
    size: u64,
    read: AtomicU64,
}

impl Pieces {
    fn new(bytes: &[u8], piece: usize) -> Pieces {
        let pieces = bytes.chunks(piece).map(|bytes| Some(bytes.to_vec())).collect();
        Pieces { pieces, piece, size: bytes.len() as u64, read: AtomicU64::new(0) }
    }
}

impl Coded for Pieces {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = offset as usize + i;
            let Some(piece) = &self.pieces[at / self.piece] else {
                return Err(Error::damaged("piece-missing", "asset", "a piece is missing"));
            };
            *byte = piece[at % self.piece];
        }
        Ok(())
    }
}

/// Text that packs to about a quarter.
fn text(len: usize) -> Vec<u8> {
    let line =
        |i: u32| format!("{i},{:.4}\n", f64::from(i.wrapping_mul(2_654_435_761) >> 12).sqrt()).into_bytes();
    let mut text: Vec<u8> = (0..).flat_map(line).take(len).collect();
    text.truncate(len);
    text
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One single block from front to end, in the codes that need not be sent; each byte by itself.
fn in_one_block(bytes: &[u8]) -> Vec<u8> {
    let (mut packed, mut word, mut count) = (vec![0x78, 0x01], 0b011u64, 3);
    let mut put = |code: u32, len: u32| {
        word |= u64::from(code.reverse_bits() >> (32 - len)) << count;
        count += len;
        while count >= 8 {
            packed.push(word as u8);
            (word, count) = (word >> 8, count - 8);
        }
    };
    for byte in bytes {
        match u32::from(*byte) {
            low @ ..144 => put(0x30 + low, 8),
            high => put(0x100 + high, 9),
        }
    }
    // The end of the block, and up to the next byte.
    put(0, 7 + 7);
    let (a, b) =
        bytes.iter().fold((1, 0), |(a, b), byte| ((a + u32::from(*byte)) % 65_521, (b + a) % 65_521));
    let b = (b + a + 65_521 - 1) % 65_521;
    packed.extend((b << 16 | a).to_be_bytes());
    packed
}

struct Opened {
    content: Content,
    findings: Arc<Findings>,
}

impl Opened {
    fn of(packed: &[u8], size: u64) -> Opened {
        let content = Content::Bytes(packed.into());
        Opened::with(content, size, [1; 32], None).expect("what is wrong shows when it is read")
    }

    fn with(
        content: Content,
        size: u64,
        identity: [u8; 32],
        folder: Option<Arc<CacheFolder>>,
    ) -> Result<Opened> {
        let findings = Arc::new(Findings::default());
        let shared = Decoding::new(findings.clone(), folder);
        Ok(Opened { content: zlib(content, size, "asset", identity, shared)?, findings })
    }

    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let n = self.content.read_at(at as u64, &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// Everything, in steps.
    fn whole(&self, step: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for at in (0..self.content.size() as usize).step_by(step) {
            all.extend(self.read(at, step)?);
        }
        Ok(all)
    }

    fn codes(&self) -> Vec<&'static str> {
        self.findings.list().iter().map(|finding| finding.code).collect()
    }
}

#[test]
fn a_stream_in_pieces_is_read_at_any_place_by_many() {
    let right = text(6_000_000);
    let packed = pack(&right);
    for piece in [997, 1 << 16, 2 << 20] {
        let content = Content::Coded(Arc::new(Pieces::new(&packed, piece)));
        let opened = Opened::with(content, right.len() as u64, [2; 32], None).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (opened, right) = (&opened, &right);
                scope.spawn(move || {
                    for i in 0..60 {
                        let at = (i * 2_654_435 + thread * 1_234_567) % right.len();
                        let end = right.len().min(at + 50_000);
                        assert!(opened.read(at, 50_000).unwrap() == right[at..end], "at {at}");
                    }
                });
            }
        });
        assert!(opened.whole(100_000).unwrap() == right);
        assert!(opened.codes().is_empty());
    }
}

#[test]
fn the_index_is_there_again_for_the_same_bytes_and_no_others() {
    let right = text(8_000_000);
    for packed in [pack(&right), in_one_block(&right)] {
        is_there_again(&right, &packed);
    }
}

fn is_there_again(right: &[u8], packed: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(CacheFolder::open(&folder.path().join("cache"), 1 << 30).unwrap());
    let cost = |identity: [u8; 32], at: usize| {
        let pieces = Arc::new(Pieces::new(packed, 2 << 20));
        let content = Content::Coded(pieces.clone());
        let opened = Opened::with(content, right.len() as u64, identity, Some(cache.clone())).unwrap();
        let end = right.len().min(at + 5000);
        assert!(opened.read(at, 5000).unwrap() == right[at..end]);
        pieces.read.load(Ordering::Relaxed)
    };
    assert!(cost([3; 32], 7_000_000) > packed.len() as u64 / 2, "the first comes from the front");
    assert!(cost([3; 32], 7_000_000) < packed.len() as u64 / 4);
    assert!(cost([3; 32], 3_000_000) < packed.len() as u64 / 4);
    assert!(cost([4; 32], 7_000_000) > packed.len() as u64 / 2);
    // From an index, and from the end to the front: the checksum of the whole is put together all the same.
    let content = Content::Bytes(packed.into());
    let opened = Opened::with(content, right.len() as u64, [3; 32], Some(cache.clone())).unwrap();
    for at in (0..right.len()).step_by(100_000).rev() {
        assert!(opened.read(at, 100_000).unwrap() == right[at..right.len().min(at + 100_000)]);
    }
    assert!(opened.codes().is_empty());
}

#[test]
fn an_index_whose_folder_is_deleted_is_written_down_anew() {
    let right = text(8_000_000);
    let packed = pack(&right);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cache");
    let cache = Arc::new(CacheFolder::open(&folder, 1 << 30).unwrap());
    let open = || {
        let pieces = Arc::new(Pieces::new(&packed, 2 << 20));
        let content = Content::Coded(pieces.clone());
        (Opened::with(content, right.len() as u64, [3; 32], Some(cache.clone())).unwrap(), pieces)
    };
    let written = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        files.map(|file| file.metadata().map_or(0, |meta| meta.len())).sum::<u64>()
    };
    let eventually = |least: u64| {
        (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            written() >= least
        })
    };
    let (first, _) = open();
    first.whole(100_000).unwrap();
    assert!(eventually(20 * 32_768));
    let all = written();
    // By whoever only reads by it.
    let (second, _) = open();
    second.read(6_000_000, 10).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(second.read(3_000_000, 10).unwrap() == right[3_000_000..3_000_010]);
    assert!(eventually(all), "{} of {all}", written());
    let (again, read) = open();
    again.read(7_000_000, 10).unwrap();
    assert!(read.read.load(Ordering::Relaxed) < packed.len() as u64 / 4);
    // By whoever makes marks, the file alone.
    drop((first, second, again));
    std::fs::remove_dir_all(&folder).unwrap();
    let (making, _) = open();
    // Little at first: whatever is decoded ahead of it, marks are still to come.
    (0..1_000_000).step_by(100_000).for_each(|at| _ = making.read(at, 100_000).unwrap());
    assert!(eventually(3 * 32_768));
    std::fs::remove_file(std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path()).unwrap();
    (1_000_000..8_000_000).step_by(100_000).for_each(|at| _ = making.read(at, 100_000).unwrap());
    assert!(eventually(all / 10 * 9), "{} of {all}", written());
}

#[test]
fn without_a_folder_no_stream_throws_the_marks_of_others_away() {
    let right = text(4_000_000);
    let packed = pack(&right);
    let shared = Decoding::new(Arc::default(), None);
    let streams: Vec<(Arc<Pieces>, Content)> = (0..20)
        .map(|n| {
            let pieces = Arc::new(Pieces::new(&packed, 1 << 20));
            let size = right.len() as u64;
            let content = zlib(Content::Coded(pieces.clone()), size, "asset", [n; 32], shared.clone());
            (pieces, content.unwrap())
        })
        .collect();
    let read = |at: usize| {
        for (_, content) in &streams {
            let mut bytes = [0; 10];
            content.read_at(at as u64, &mut bytes).unwrap();
            assert!(bytes == right[at..at + 10]);
        }
        streams.iter().map(|(pieces, _)| pieces.read.swap(0, Ordering::Relaxed)).sum::<u64>()
    };
    let most = 20 * packed.len() as u64;
    assert!(read(3_900_000) > most * 9 / 10);
    let second = read(1_900_000);
    assert!(second < most / 4, "{second} of {most}: from the front it is the half");
}

#[test]
fn whatever_byte_of_an_index_is_wrong_the_bytes_are_right() {
    /// The magic and the key; where a record stands, where decoding begins and how long its window is.
    const HEADS: [std::ops::Range<usize>; 2] = [0..48, 48 + RECORD + 4..48 + RECORD + 4 + HEAD];
    let right = text(1_500_000);
    let packed = pack(&right);
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(CacheFolder::open(folder.path(), 1 << 30).unwrap());
    let open = || {
        let content = Content::Bytes(packed.as_slice().into());
        Opened::with(content, right.len() as u64, [3; 32], Some(cache.clone())).unwrap()
    };
    open().whole(100_000).unwrap();
    // Whoever finds a file that is none makes another of the same name, perhaps right now.
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let written = || std::fs::read(&file).unwrap();
    assert!((0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        written().len() > 4 * RECORD
    }));
    let good = written();
    for at in HEADS.into_iter().flatten() {
        for change in [0x01, 0x80, 0xff, good[at]] {
            let mut bad = good.clone();
            bad[at] ^= change;
            std::fs::write(&file, &bad).unwrap();
            let opened = open();
            for place in [1_200_000, 400_000, 900_000] {
                assert!(opened.read(place, 5000).unwrap() == right[place..place + 5000], "{at} ^ {change}");
            }
            assert!(opened.whole(100_000).unwrap() == right, "{at} ^ {change}");
            assert!(opened.codes().is_empty(), "{at} ^ {change}");
        }
    }
}

#[test]
fn whatever_bit_is_wrong_nobody_gets_all_of_it() {
    let right = text(300_000);
    let packed = pack(&right);
    let places = (0..10)
        .chain((10..packed.len() - 10).step_by(packed.len() / 60))
        .chain(packed.len() - 10..packed.len());
    for at in places {
        for bit in [0, 3, 7] {
            let mut packed = packed.clone();
            packed[at] ^= 1 << bit;
            for step in [50_000, 300_000] {
                let opened = Opened::of(&packed, right.len() as u64);
                let whole = opened.whole(step);
                // Bits that fill up the last byte mean nothing.
                if at == packed.len() - 5 && whole.as_ref().is_ok_and(|whole| *whole == right) {
                    continue;
                }
                assert!(whole.is_err(), "bit {bit} of byte {at}");
                let list = opened.findings.list();
                assert!(list.iter().any(|f| f.severity == Severity::Error && f.path == "asset"));
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_found_in_any_order() {
    let right = text(1_000_000);
    let mut packed = pack(&right);
    *packed.last_mut().unwrap() ^= 1;
    // In order, the last page is missing and no more.
    let opened = Opened::of(&packed, right.len() as u64);
    assert!(opened.read(0, 999_424).unwrap() == right[..999_424]);
    assert!(opened.read(999_424, 576).is_err());
    assert_eq!(opened.codes(), ["checksum-mismatch"]);
}

#[test]
fn whoever_has_the_end_already_does_not_get_the_rest() {
    let right = text(9_000_000);
    let mut packed = pack(&right);
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(CacheFolder::open(&folder.path().join("cache"), 1 << 30).unwrap());
    let open = |packed: &[u8]| {
        Opened::with(Content::Bytes(packed.into()), right.len() as u64, [6; 32], Some(cache.clone())).unwrap()
    };
    assert!(open(&packed).whole(100_000).unwrap() == right);
    *packed.last_mut().unwrap() ^= 1;
    // By the index, the end is decoded first, and its checksum is known before there is anything to compare it with.
    let opened = open(&packed);
    assert!(opened.read(right.len() - 10, 10).unwrap() == right[right.len() - 10..]);
    assert!(opened.codes().is_empty());
    let refused = (0..right.len()).step_by(100_000).filter(|at| opened.read(*at, 100_000).is_err()).count();
    assert!(refused > 0);
    assert_eq!(opened.codes(), ["checksum-mismatch"]);
}

#[test]
fn the_declared_size_is_a_claim() {
    let right = text(400_000);
    let packed = pack(&right);
    let size = right.len() as u64;
    for claim in [size + 1, size + 200_000, 1 << 40, i64::MAX as u64] {
        let opened = Opened::of(&packed, claim);
        assert!(opened.read(0, 400_000).unwrap() == right, "what there is, is given");
        assert!(opened.read(400_000, 1).is_err());
        assert!(opened.read(claim as usize - 1, 1).is_err());
        assert_eq!(opened.codes(), ["size-mismatch"]);
    }
    for claim in [1, size / 2, size - 1] {
        let opened = Opened::of(&packed, claim);
        assert!(opened.whole(1 << 20).is_err());
        assert_eq!(opened.codes(), ["size-mismatch"]);
    }
    let content = Content::Bytes(packed.as_slice().into());
    assert!(Opened::with(content.clone(), u64::MAX, [0; 32], None).is_err());
    assert!(Opened::with(content, 0, [0; 32], None).is_err(), "nobody would ever read it");
    assert_eq!(Opened::of(&pack(b""), 0).content.size(), 0);
}

#[test]
fn a_missing_piece_takes_nothing_with_it_that_stands_before() {
    let right = text(3_000_000);
    let packed = pack(&right);
    let mut pieces = Pieces::new(&packed, 100_003);
    pieces.pieces[3] = None;
    // How far the pieces before it reach, by another decoder.
    let mut before = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(&packed[..300_009]);
    std::io::Read::read_to_end(&mut decoder, &mut before).unwrap_err();
    assert!(before.len() > 500_000 && before.len() < right.len());
    let opened = Opened::with(Content::Coded(Arc::new(pieces)), right.len() as u64, [5; 32], None).unwrap();
    let mut got = 0;
    while let Ok(bytes) = opened.read(got, 1) {
        assert_eq!(bytes[0], right[got]);
        got = if got + 4096 < before.len() - 2000 { got + 4096 } else { got + 1 };
    }
    assert!(got >= before.len(), "{got} of {}", before.len());
    assert!(opened.read(right.len() - 1, 1).is_err());
    assert_eq!(opened.codes(), ["piece-missing"]);
}

#[test]
fn cut_off_and_trailing_bytes_are_told() {
    let right = text(500_000);
    let packed = pack(&right);
    for missing in [1, 4, 5, 1000, packed.len()] {
        let opened = Opened::of(&packed[..packed.len() - missing], right.len() as u64);
        assert!(opened.whole(1 << 17).is_err(), "without the last {missing}");
        assert_eq!(opened.codes(), [CUT_OFF], "without the last {missing}");
    }
    let opened = Opened::of(&[&packed[..], b"behind"].concat(), right.len() as u64);
    assert!(opened.whole(1 << 17).unwrap() == right);
    assert_eq!(opened.codes(), ["bytes-after-stream"]);
}

#[test]
fn what_two_streams_share_does_not_mix() {
    let (one, two) = (text(700_000), text(900_000)[200_000..].to_vec());
    let shared = Decoding::new(Arc::default(), None);
    let open = |bytes: &[u8], identity| {
        let packed: Arc<[u8]> = pack(bytes).into();
        zlib(Content::Bytes(packed), bytes.len() as u64, "asset", identity, shared.clone()).unwrap()
    };
    let (first, second, again) = (open(&one, [1; 32]), open(&two, [2; 32]), open(&one, [1; 32]));
    for at in (0..700_000).step_by(70_000) {
        for (content, right) in [(&first, &one), (&second, &two), (&again, &one)] {
            let mut bytes = vec![0; 70_000];
            content.read_at(at as u64, &mut bytes).unwrap();
            assert!(bytes == right[at..at + 70_000]);
        }
    }
}

/// Bytes that cannot be read from some place on, and whoever tries is kept until `release`.
#[derive(Debug)]
struct Failing {
    bytes: Vec<u8>,
    from: u64,
    how: How,
    released: Mutex<bool>,
    release: Condvar,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Damaged,
    Changed,
    Panics,
}

impl Coded for Failing {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset + buf.len() as u64;
        if offset < self.from && self.from < end {
            // What stands before is asked for again.
            return Err(Error::damaged("piece-missing", "asset", "a piece is missing"));
        }
        if self.from < end {
            let mut released = self.released.lock();
            self.release.wait_while(&mut released, |released| !*released);
            match self.how {
                How::Damaged => return Err(Error::damaged("piece-missing", "asset", "a piece is missing")),
                How::Changed => return Err(Error::SourceChanged("asset".into())),
                How::Panics => panic!("a defect, made for this test"),
            }
        }
        buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
        Ok(())
    }
}

/// How many bytes can be decoded of the first `from` packed ones.
fn until(packed: &[u8], from: u64) -> usize {
    let mut bytes = Vec::new();
    let cut = &packed[..from as usize];
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(cut), &mut bytes).unwrap_err();
    bytes.len()
}

#[test]
fn nobody_waits_for_what_nobody_decodes_any_more() {
    const STEP: usize = 131_072;
    let right = text(6_000_000);
    let packed = pack(&right);
    let from = packed.len() as u64 / 2;
    // The first piece that cannot be decoded, as another decoder sees it.
    let last = until(&packed, from) / STEP;
    let mut waited = 0;
    for (round, how) in [How::Damaged, How::Changed, How::Panics].repeat(3).into_iter().enumerate() {
        let (bytes, released, release) = (packed.clone(), Mutex::new(false), Condvar::new());
        let failing = Arc::new(Failing { bytes, from, how, released, release });
        let size = right.len() as u64;
        let opened = Opened::with(Content::Coded(failing.clone()), size, [round as u8; 32], None).unwrap();
        for piece in 0..last + 4 {
            // As the mount reads: where somebody is about to decode it, it waits, and reads then.
            let (tell, told) = channel();
            let then = Box::new(move |_| tell.send(()).expect("somebody waits"));
            let now = opened.content.when_ready((piece * STEP) as u64, STEP, then);
            waited += usize::from(now.is_none() && piece == last);
            if piece >= last {
                // The thread that is at work on it fails with somebody waiting.
                *failing.released.lock() = true;
                failing.release.notify_all();
            }
            if let Some(now) = now {
                now(false);
            }
            // Nothing but a stall takes so long.
            told.recv_timeout(Duration::from_secs(120)).expect("whoever waits is told");
            let read = catch_unwind(AssertUnwindSafe(|| opened.read(piece * STEP, STEP)));
            match read {
                Ok(Ok(bytes)) => assert!(bytes == right[piece * STEP..][..STEP] && piece <= last),
                _ => assert!(piece >= last, "piece {piece} of {last} does not need what is missing"),
            }
        }
    }
    assert!(waited > 0, "the test has not seen what it is for");
}

#[test]
fn what_lies_behind_damage_costs_nothing() {
    const STEP: usize = 131_072;
    let right = text(24_000_000);
    let mut packed = pack(&right);
    let from = packed.len() / 2;
    (0..60_000).for_each(|i| packed[from + i] = (i * i / 7 % 251) as u8);
    let pieces = Arc::new(Pieces::new(&packed, packed.len()));
    let opened = Opened::with(Content::Coded(pieces.clone()), right.len() as u64, [3; 32], None).unwrap();
    let mut errors = 0;
    for at in (0..right.len() - STEP).step_by(STEP) {
        let (tell, told) = channel();
        let then = Box::new(move |_| tell.send(()).expect("somebody waits"));
        if let Some(now) = opened.content.when_ready(at as u64, STEP, then) {
            now(false);
        }
        told.recv_timeout(Duration::from_secs(120)).expect("whoever waits is told");
        errors += usize::from(opened.read(at, STEP).is_err());
        std::thread::sleep(Duration::from_millis(5));
    }
    let read = pieces.read.load(Ordering::Relaxed) as usize;
    assert!(errors > 60, "{errors}");
    assert!(read < 2 * packed.len(), "{read} bytes were read of {}", packed.len());
}
