use super::*;

fn add(index: &Arc<Index>, n: u64) {
    index.add(Mark { out: n * SPACING, at: 8 * n, block: 8 * n }, vec![n as u8; WINDOW].into());
}

fn in_memory(index: &Index) -> usize {
    let known = index.known.lock();
    let there = known.marks.values().filter(|place| matches!(place.window, Window::Memory(_))).count();
    assert_eq!(there, known.in_memory.len());
    assert_eq!(there, index.memory.windows.load(Ordering::Relaxed));
    there
}

#[test]
fn what_another_daemon_has_written_down_is_not_written_down_again() {
    let home = tempfile::tempdir().unwrap();
    let open = || {
        let folder = Arc::new(CacheFolder::open(home.path(), 1 << 30).unwrap());
        Arc::new(Index::open(Some((folder, [7; 32])), 1 << 40, 1 << 40))
    };
    let (one, other) = (open(), open());
    for n in 1..=100 {
        add(&one, n);
        add(&other, n);
    }
    (101..=200).for_each(|n| add(&one, n));
    add(&other, 300);
    let count = || one.known.lock().file.as_ref().unwrap().count().unwrap();
    assert_eq!(count(), 201);
    assert_eq!(other.checkpoint(150 * SPACING).unwrap().window[0], 150);
    assert_eq!((in_memory(&one), in_memory(&other)), (0, 0));
    // Also where the file is gone, and one of them has made another.
    std::fs::remove_dir_all(home.path()).unwrap();
    (401..=410).for_each(|n| [&one, &other].into_iter().for_each(|index| add(index, n)));
    assert!(count() <= 212, "{}", count());
    assert_eq!(open().known.lock().marks.len(), 211);
}

/// Another daemon keeps the file for longer than anybody waits.
#[test]
fn marks_that_cannot_be_written_down_are_bounded_and_those_that_were_are_not_counted() {
    let home = tempfile::tempdir().unwrap();
    let folder = || Arc::new(CacheFolder::open(home.path(), 1 << 30).unwrap());
    let index = Arc::new(Index::open(Some((folder(), [7; 32])), 1 << 40, 1 << 40));
    index.memory.indexes.lock().push(Arc::downgrade(&index));
    (1..=400).for_each(|n| add(&index, n));
    assert_eq!(in_memory(&index), 0);
    let file = std::fs::read_dir(home.path()).unwrap().next().unwrap().unwrap().path();
    let other = std::fs::File::open(&file).unwrap();
    other.lock().unwrap();
    (401..=404).for_each(|n| add(&index, n));
    assert_eq!(in_memory(&index), 4);
    other.unlock().unwrap();
    add(&index, 405);
    assert_eq!(in_memory(&index), 0, "those that had to wait go with the next");
    let again = Index::open(Some((folder(), [7; 32])), 1 << 40, 1 << 40);
    assert_eq!(again.known.lock().marks.len(), 405);
    // For good: what does not get there is kept within its bound, and every mark that is left is of use.
    other.lock().unwrap();
    (406..=1000).for_each(|n| add(&index, n));
    assert!((IN_MEMORY / 2..=IN_MEMORY).contains(&in_memory(&index)));
    let from = index.checkpoint(2000 * SPACING).unwrap();
    assert_eq!(from.window[0], (from.mark.out / SPACING) as u8);
}

#[test]
fn who_takes_no_more_marks_asks_for_none() {
    let index = Arc::new(Index::open(None, 1 << 26, 1 << 26));
    (0..index.most).for_each(|n| add(&index, 1 + n % 8));
    assert_eq!(index.wants(100 * SPACING), Stop::Never);
}

/// A stream is found to be damaged while its index is written down anew.
#[test]
fn what_was_spoiled_is_not_renewed() {
    let home = tempfile::tempdir().unwrap();
    let folder = || Arc::new(CacheFolder::open(home.path(), 1 << 30).unwrap());
    let mut left = 0;
    for round in 0..200u64 {
        let key = [round as u8; 32];
        let index = Arc::new(Index::open(Some((folder(), key)), 1 << 40, 1 << 40));
        (1..=40).for_each(|n| add(&index, n));
        for entry in std::fs::read_dir(home.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let other = index.clone();
        let thread = std::thread::spawn(move || other.checkpoint(5 * SPACING));
        std::thread::sleep(std::time::Duration::from_micros(round * 30));
        index.spoil();
        thread.join().unwrap();
        let again = Index::open(Some((folder(), key)), 1 << 40, 1 << 40);
        left += usize::from(!again.known.lock().marks.is_empty() || !index.known.lock().marks.is_empty());
    }
    assert_eq!(left, 0);
}

/// What stands in a cache folder may be another's, and decoding from there shows it, or ends too soon.
#[test]
fn a_mark_that_contradicts_the_stream_is_forgotten_and_the_one_before_it_is_used() {
    use super::super::pool::PIECE;
    use super::super::stream::Stream;
    use super::super::{Check, Decoding, Method, Packed};
    use crate::tree::Content;
    use std::io::Write;

    let right: Vec<u8> =
        (0..400_000u32).flat_map(|i| format!("{}\n", i.wrapping_mul(i)).into_bytes()).collect();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(&right).unwrap();
    let packed = encoder.finish().unwrap();
    let bit = |at: u64| packed[at as usize / 8] >> (at % 8) & 1;
    // A block of the kind that there is none of, and the last bits of the stream.
    let none = (packed.len() as u64 * 4..).find(|at| bit(at + 1) == 1 && bit(at + 2) == 1).unwrap();
    let stream = Stream::new(
        Packed {
            entry: 0,
            name: "asset".into(),
            method: Method::Deflate,
            content: Content::Bytes(packed.as_slice().into()),
            size: right.len() as u64,
            check: Check::Crc32(crc32fast::hash(&right)),
            identity: None,
        },
        Decoding::new(Arc::default(), None),
    );
    (0..stream.pieces()).for_each(|piece| _ = stream.piece(piece * PIECE).unwrap());
    let index = stream.index().unwrap();
    let target = right.len() as u64 / PIECE * PIECE;
    let good = index.reach(target);
    assert!(good > target / 2, "the stream has marks of its own");
    for at in [none, packed.len() as u64 * 8 - 3] {
        let wrong = Mark { out: target - 10, at, block: at };
        index.add(wrong, vec![0; WINDOW].into());
        assert_eq!(index.reach(target), wrong.out);
        let from_the_front = stream.enter(target, Some(index.clone())).unwrap();
        assert_eq!((from_the_front.position, index.reach(target)), (0, good));
        let by_the_one_before = stream.enter(target, Some(index.clone())).unwrap();
        assert_eq!(by_the_one_before.position, good.next_multiple_of(PIECE));
    }
    assert!(*stream.piece(target).unwrap() == right[target as usize..]);
}
