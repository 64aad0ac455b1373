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
