//! Look-ups and reads allocate nothing, and a number that the kernel holds takes few bytes: counted, by an allocator
//! that counts.

#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Pack, noise, recording};
use vaso::volume::{Attr, Options, ROOT, Volume};

thread_local! {
    /// By this thread; other tests have their own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this thread has allocated and not given back.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system allocator's; counting touches nothing but numbers of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.set(HELD.get() + layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.set(HELD.get() + size as i64 - layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// More files than contents are kept at hand, so that each is opened again and again.
const FILES: usize = 3000;

fn volume() -> (tempfile::TempDir, Volume) {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    pack.stored("big", &noise(1, 1 << 20)).deflated("little", &recording(1, 10_000));
    pack.deflated("long", &recording(2, 2 << 20));
    for i in 0..FILES {
        pack.stored(&format!("many/{i:04}"), &noise(i as u64, 100));
    }
    pack.write(&path);
    let open = vaso::format::OpenOptions::default();
    let options = Options { uid: 0, gid: 0, umask: 0, open };
    (folder, Volume::new(common::open(&path).unwrap(), options))
}

fn lookup(volume: &Volume, parent: u64, name: &str) -> Attr {
    volume.lookup(parent, name.as_bytes()).unwrap()
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(5)))), 1);
}

#[test]
fn a_look_up_allocates_nothing() {
    let (_folder, volume) = volume();
    let many = lookup(&volume, ROOT, "many").ino;
    let names: Vec<String> = (0..FILES).map(|i| format!("{i:04}")).collect();
    let all = || {
        for name in &names {
            let attr = lookup(&volume, many, name);
            assert_eq!(volume.getattr(attr.ino).unwrap().size, 100);
            assert!(volume.lookup(many, b"not there").is_err());
            volume.forget(attr.ino, 1);
        }
    };
    // The first time, tables grow.
    all();
    assert_eq!(allocations(all), 0);
}

#[test]
fn a_number_that_is_held_takes_few_bytes_however_many_there_are() {
    const NODES: usize = 60_000;
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    for i in 0..NODES {
        pack.stored(&format!("many/{i:05}"), b"");
    }
    pack.write(&path);
    let open = vaso::format::OpenOptions::default();
    let options = Options { uid: 0, gid: 0, umask: 0, open };
    let volume = Volume::new(common::open(&path).unwrap(), options);
    let many = lookup(&volume, ROOT, "many").ino;
    let names: Vec<String> = (0..NODES).map(|i| format!("{i:05}")).collect();
    let mut numbers = Vec::with_capacity(NODES);
    let before = HELD.get();
    for round in 0..2 {
        // Tables grow by doubling, which must not show at any number of nodes.
        for name in &names {
            numbers.push(lookup(&volume, many, name).ino);
            let each = (HELD.get() - before) as f64 / numbers.len() as f64;
            assert!(numbers.len() < 4096 || each < 18.0, "{each} bytes for each of {}", numbers.len());
        }
        let full = HELD.get();
        for (name, ino) in names.iter().zip(&numbers) {
            assert_eq!(lookup(&volume, many, name).ino, *ino);
        }
        assert_eq!(HELD.get(), full, "what is held twice takes no more");
        for ino in numbers.drain(..) {
            volume.forget(ino, 2);
            assert!(volume.getattr(ino).is_err(), "it is forgotten");
        }
        let left = HELD.get() - before;
        assert!(left < 150_000, "{left} bytes are left in round {round}");
    }
}

#[test]
fn reading_allocates_nothing() {
    let (_folder, volume) = volume();
    let read = |ino: u64, offset: u64, buf: &mut [u8]| {
        volume.read_at_once(ino, offset, buf).expect("nothing to decode").unwrap()
    };
    let [big, little, long] = ["big", "little", "long"].map(|name| lookup(&volume, ROOT, name).ino);
    let many = lookup(&volume, ROOT, "many").ino;
    let files: Vec<u64> = (0..FILES).map(|i| lookup(&volume, many, &format!("{i:04}")).ino).collect();
    let mut buf = vec![0; 128 * 1024];
    // Decoded once, it is at hand.
    volume.read(little, 0, &mut buf).unwrap();
    volume.read(long, 0, &mut buf[..4096]).unwrap();
    let mut three = || {
        for i in 0..1000u64 {
            assert_eq!(read(big, i * 997, &mut buf[..4096]), 4096);
            assert_eq!(read(little, i * 5, &mut buf[..4096]), 4096);
            assert_eq!(read(long, i * 100, &mut buf[..4096]), 4096);
        }
    };
    three();
    assert_eq!(allocations(&mut three), 0, "the same files again");
    let mut small = [0; 4096];
    let mut each = || files.iter().for_each(|ino| assert_eq!(read(*ino, 0, &mut small), 100));
    // The first time, tables grow.
    each();
    assert_eq!(allocations(&mut each), 0, "one file after the other");
}

#[test]
fn a_random_read_of_a_packed_file_allocates_what_its_decoder_needs() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let data = recording(2, 16 << 20);
    let mut pack = Pack::new();
    pack.deflated("long", &data);
    pack.write(&path);
    let cache = vaso::store::CacheFolder::open(&folder.path().join("cache"), 1 << 30).unwrap();
    let open = vaso::format::OpenOptions { cache: Some(cache.into()), ..Default::default() };
    let location = vaso::store::Location::find(&path).unwrap();
    let project =
        vaso::format::open(vaso::store::Source::open(location.into()).unwrap(), open.clone()).unwrap();
    let volume = Volume::new(project, Options { uid: 0, gid: 0, umask: 0, open });
    let long = lookup(&volume, ROOT, "long").ino;
    let mut buf = vec![0; 128 * 1024];
    for at in (0..data.len()).step_by(buf.len()) {
        volume.read(long, at as u64, &mut buf).unwrap();
    }
    let pieces = data.len() as u64 / (128 << 10);
    let mut read = |i: u64| {
        let at = (i * 47 % pieces) * (128 << 10) + 70_000;
        assert_eq!(volume.read(long, at, &mut buf[..4096]).unwrap(), 4096);
        assert!(buf[..4096] == data[at as usize..][..4096]);
    };
    // The first times, tables grow.
    (0..400).for_each(&mut read);
    let each: Vec<u64> = (400..1000).map(|i| allocations(|| read(i))).collect();
    // A decoder, its state, its input, and the window that it begins with; nothing where the piece is at hand.
    let (most, sum) = (each.iter().max().unwrap(), each.iter().sum::<u64>());
    assert!((4..=12).contains(most) && sum <= 600 * 7, "{most} at most, {sum} together");
}
