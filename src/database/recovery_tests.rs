//! What SQLite's own recovery makes of a database and what lies beside it, and what ours shows.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{LogDamage, super_journal};
use crate::error::Result;
use crate::tree::Content;

fn content(path: &Path) -> Content {
    Content::Bytes(fs::read(path).unwrap().into())
}

fn bytes(content: &Content) -> Vec<u8> {
    let mut all = vec![0; content.size() as usize];
    assert_eq!(content.read_at(0, &mut all).unwrap(), all.len());
    // Again in odd pieces, that cross pages.
    let mut again = Vec::new();
    let mut piece = [0; 777];
    while let n @ 1.. = content.read_at(again.len() as u64, &mut piece).unwrap() {
        again.extend_from_slice(&piece[..n]);
    }
    assert!(all == again);
    all
}

fn with_wal(base: Content, wal: Content) -> Result<Content> {
    Ok(super::with_wal(base, wal)?.0)
}

fn with_journal(base: Content, journal: Content) -> Result<Content> {
    Ok(super::with_journal(base, journal)?.0)
}

/// A copy of the database and its companion, as a crash would leave them.
struct Crash {
    _dir: TempDir,
    database: PathBuf,
    companion: PathBuf,
}

fn crash(database: &Path, suffix: &str) -> Crash {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.sqlite");
    let beside = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
    fs::copy(database, &copy).unwrap();
    fs::copy(beside(database), beside(&copy)).unwrap();
    Crash { companion: beside(&copy), database: copy, _dir: dir }
}

impl Crash {
    /// Lets SQLite recover the copy, and gives its bytes, with a header that asks for no log.
    fn recovered(&self) -> Vec<u8> {
        let c = Connection::open(&self.database).unwrap();
        let _: i64 = c.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).unwrap();
        let _: i64 = c.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)).unwrap();
        drop(c);
        let mut bytes = fs::read(&self.database).unwrap();
        bytes[18..20].iter_mut().for_each(|b| *b = (*b).min(1));
        bytes
    }
}

fn fill(c: &Connection, from: u32, to: u32) {
    for i in from..to {
        let text = format!("{i} ").repeat(40 + i as usize % 200);
        c.execute("insert or replace into t values(?1, ?2)", (i, text)).unwrap();
    }
}

fn walled(page_size: u32) -> (TempDir, PathBuf, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let c = Connection::open(&path).unwrap();
    c.execute_batch(&format!(
        "pragma page_size={page_size}; pragma auto_vacuum=full; pragma journal_mode=wal;
         pragma wal_autocheckpoint=0; pragma cache_size=5; pragma cache_spill=5;
         create table t(a integer primary key, b)"
    ))
    .unwrap();
    (dir, path, c)
}

#[test]
fn a_log_is_applied_as_sqlite_would() {
    for page_size in [512, 4096, 65536] {
        let (_dir, path, c) = walled(page_size);
        let mut seen = 0;
        for round in 0..6 {
            c.execute_batch("begin").unwrap();
            fill(&c, round * 30, round * 30 + 120);
            if round % 2 == 1 {
                c.execute("delete from t where a % 3 < 2", []).unwrap();
            }
            // In the middle of a transaction, of which pages are in the log already.
            let crashed = crash(&path, "-wal");
            let ours = with_wal(content(&crashed.database), content(&crashed.companion)).unwrap();
            assert!(bytes(&ours) == crashed.recovered(), "within round {round} of {page_size}");
            c.execute_batch("commit").unwrap();
            let crashed = crash(&path, "-wal");
            let log = fs::read(&crashed.companion).unwrap();
            let ours = with_wal(content(&crashed.database), Content::Bytes(log.clone().into())).unwrap();
            assert!(bytes(&ours) == crashed.recovered(), "round {round} of {page_size}");
            seen += 1;
            if round == 3 {
                // The log begins again, and keeps frames of the old one behind its end.
                c.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(())).unwrap();
            }
        }
        assert_eq!(seen, 6);
    }
}

#[test]
fn a_damaged_log_counts_as_far_as_sqlite_reads_it() {
    let (_dir, path, c) = walled(1024);
    for round in 0..5 {
        fill(&c, round * 5, round * 5 + 10);
    }
    let whole = crash(&path, "-wal");
    let log = fs::read(&whole.companion).unwrap();
    for at in (0..log.len()).step_by(log.len() / 30).chain([3, 4, 9, 17, 25, 33, 37, 41, 49]) {
        for cut in [false, true] {
            let crashed = crash(&path, "-wal");
            let mut log = log.clone();
            if cut {
                log.truncate(at);
            } else {
                log[at] ^= 0x40;
            }
            fs::write(&crashed.companion, &log).unwrap();
            let ours = bytes(&with_wal(content(&crashed.database), Content::Bytes(log.into())).unwrap());
            let theirs = std::panic::catch_unwind(|| crashed.recovered());
            // Another version of the log is refused by SQLite; there it is no log for us.
            if at / 4 != 1 || cut {
                assert!(ours == theirs.unwrap(), "{at} {cut}");
            }
        }
    }
}

#[test]
fn of_a_log_that_is_damaged_it_is_told_what_was_committed_and_cannot_be_used() {
    let (_dir, path, c) = walled(1024);
    let told = |log: &[u8]| match super::with_wal(Content::Bytes([].into()), Content::Bytes(log.into())) {
        Ok((_, Some(LogDamage::Log(frames)))) => Some(frames),
        Ok((_, None)) => None,
        other => panic!("{other:?}"),
    };
    let log = || fs::read(crash(&path, "-wal").companion).unwrap();
    fill(&c, 0, 10);
    c.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(())).unwrap();
    // The log begins again, over frames of the old one that are left behind its end.
    let old = log();
    c.execute("insert into t values(1000, 'one')", []).unwrap();
    let first = log();
    assert!(first.len() == old.len() && first != old);
    assert_eq!(told(&first), None);
    fill(&c, 20, 60);
    let whole = log();
    let frames = (whole.len() as u64 - 32) / 1048;
    assert_eq!(told(&whole), None);
    // A power cut: some of the last transaction is there, and not its end.
    let cut = |n: usize| &whole[..32 + n * 1048];
    assert_eq!((told(&whole[..32]), told(cut(1)), told(&whole[..whole.len() - 7])), (None, None, None));
    assert_eq!((told(&[]), told(&vec![0; 5000])), (None, None));
    for at in 0..32 {
        let mut log = whole.clone();
        log[at] ^= 0x41;
        assert_eq!(told(&log), Some(Some(frames)), "byte {at} of the header");
    }
    // The number of a page, the size, a salt, a sum, the page.
    for at in [3, 9, 13, 17, 21, 24, 900] {
        let mut log = whole.clone();
        log[32 + 4 * 1048 + at] ^= 0x41;
        let unused = told(&log).flatten();
        assert!(
            unused.is_some_and(|n| n >= frames - 4 && n < frames),
            "byte {at} of the fifth frame: {unused:?}"
        );
    }
    // Behind the last frame is nothing that tells of it.
    let last = whole.len() - 1048;
    for salts in [8..12, 12..16, 8..16] {
        let mut log = whole.clone();
        log[last..][salts.clone()].iter_mut().for_each(|byte| *byte ^= 0x41);
        assert!(told(&log).flatten().is_some(), "bytes {salts:?} of the last frame");
    }
}

#[test]
fn a_frame_whose_writer_was_stopped_over_an_older_log_is_an_end_and_no_damage() {
    const FRAME: usize = 24 + 1024;
    let (_dir, path, c) = walled(1024);
    fill(&c, 0, 60);
    c.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(())).unwrap();
    let log = || fs::read(crash(&path, "-wal").companion).unwrap();
    let end = |log: &[u8]| {
        let own = log[32..].chunks_exact(FRAME).take_while(|frame| frame[8..16] == log[16..24]);
        32 + own.count() * FRAME
    };
    let told = |log: &[u8]| super::log_damage(&Content::Bytes(log.into())).unwrap();
    c.execute("insert into t values(1000, 'one')", []).unwrap();
    let one = log();
    c.execute("insert into t values(1001, 'two')", []).unwrap();
    let two = log();
    c.execute("insert into t values(1002, 'three')", []).unwrap();
    let three = log();
    let last = end(&two) - FRAME;
    assert!(end(&one) <= last && last < end(&three) && end(&three) + FRAME < one.len());
    assert!([&one, &two, &three].iter().all(|log| told(log).is_none()));
    for written in [24, 24 + 1, 24 + 100, 24 + 512, FRAME - 9] {
        let crashed = crash(&path, "-wal");
        let mut torn = two.clone();
        torn[last + written..].copy_from_slice(&one[last + written..]);
        fs::write(&crashed.companion, &torn).unwrap();
        // What both pages have alike is written, whoever was stopped.
        let changed = torn[last..].iter().zip(&two[last..]).filter(|(a, b)| a != b).count();
        assert!(changed > 4 && torn[last + 8..last + 16] == torn[16..24], "{written}");
        assert_eq!(told(&torn), None, "{written} bytes of the last frame");
        assert_eq!(told(&torn[..last + FRAME]), None, "{written} bytes, where the older log ended");
        let ours = bytes(&with_wal(content(&crashed.database), Content::Bytes(torn.clone().into())).unwrap());
        assert!(ours == crashed.recovered(), "{written}");
        let c = Connection::open(&crashed.database).unwrap();
        let all: i64 = c.query_row("select count(*) from t where a >= 1000", [], |row| row.get(0)).unwrap();
        assert_eq!(all, 1, "what was committed is there");
        // Behind it one was committed: it was complete once.
        torn[end(&two)..].copy_from_slice(&three[end(&two)..]);
        assert!(told(&torn).is_some(), "{written} bytes of a frame in the midst");
    }
    for at in (0..FRAME).filter(|at| !(4..8).contains(at)) {
        let mut log = two.clone();
        log[last + at] ^= 0x41;
        assert!(told(&log).is_some(), "byte {at} of the last frame");
    }
}

/// SQLite takes the log without it: nothing says that the page was not the one that is there. Here something does.
#[test]
fn a_last_commit_that_was_finished_is_missed_whatever_stands_behind_it() {
    const FRAME: usize = 24 + 1024;
    let (_dir, path, c) = walled(1024);
    fill(&c, 0, 60);
    let log = || fs::read(crash(&path, "-wal").companion).unwrap();
    let told = |log: &[u8]| super::log_damage(&Content::Bytes(log.into())).unwrap();
    c.execute("insert into t values(1000, 'one')", []).unwrap();
    let end = log().len();
    let mut damaged = log();
    damaged[end - 700..end - 684].fill(0xa5);
    assert!(told(&damaged).is_some(), "it ends the file, and nothing of it is a gap");
    // A transaction that does not fit into memory writes before it is committed.
    c.execute_batch("pragma cache_size = 2; pragma cache_spill = on; begin").unwrap();
    fill(&c, 2000, 2400);
    let mut spilled = log();
    assert!(spilled.len() > end + FRAME && told(&spilled).is_none());
    spilled[end - 700..end - 684].fill(0xa5);
    assert!(told(&spilled).is_some(), "the next frame goes on from it");
    // What was rolled back stays behind what is written next, and proves nothing.
    c.execute_batch("rollback").unwrap();
    c.execute("insert into t values(1001, 'two')", []).unwrap();
    let after = log();
    assert!(after.len() == spilled.len() && told(&after).is_none());
}

/// The same log as a big-endian machine would have written it.
fn big_endian(log: &[u8], page_size: usize) -> Vec<u8> {
    let mut log = log.to_vec();
    let sum = |state: (u32, u32), bytes: &[u8]| {
        let words: Vec<u32> = bytes.chunks(4).map(|w| u32::from_be_bytes(w.try_into().unwrap())).collect();
        words.chunks(2).fold(state, |(a, b), w| {
            let a = a.wrapping_add(w[0]).wrapping_add(b);
            (a, b.wrapping_add(w[1]).wrapping_add(a))
        })
    };
    let write = |log: &mut Vec<u8>, at: usize, (a, b): (u32, u32)| {
        log[at..at + 4].copy_from_slice(&a.to_be_bytes());
        log[at + 4..at + 8].copy_from_slice(&b.to_be_bytes());
    };
    log[3] |= 1;
    let mut state = sum((0, 0), &log[..24]);
    write(&mut log, 24, state);
    for at in (32..log.len()).step_by(24 + page_size) {
        state = sum(sum(state, &log[at..at + 8]), &log[at + 24..at + 24 + page_size]);
        write(&mut log, at + 16, state);
    }
    log
}

#[test]
fn a_log_of_the_other_byte_order_is_applied() {
    let (_dir, path, c) = walled(1024);
    fill(&c, 0, 40);
    let crashed = crash(&path, "-wal");
    let log = big_endian(&fs::read(&crashed.companion).unwrap(), 1024);
    fs::write(&crashed.companion, &log).unwrap();
    let ours = bytes(&with_wal(content(&crashed.database), Content::Bytes(log.into())).unwrap());
    assert!(ours.len() > 5_000);
    assert!(ours == crashed.recovered());
}

/// A database in the middle of a transaction that has reached the disk.
fn journaled(page_size: u32, sync: &str) -> (TempDir, PathBuf, Connection, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let c = Connection::open(&path).unwrap();
    c.execute_batch(&format!(
        "pragma page_size={page_size}; pragma journal_mode=delete; pragma synchronous={sync};
         pragma cache_size=5; pragma cache_spill=5; create table t(a integer primary key, b)"
    ))
    .unwrap();
    fill(&c, 0, 200);
    let before = fs::read(&path).unwrap();
    c.execute_batch("begin").unwrap();
    fill(&c, 100, 400);
    (dir, path, c, before)
}

#[test]
fn a_hot_journal_is_rolled_back_as_sqlite_would() {
    for (page_size, sync) in [(512, "full"), (4096, "normal"), (1024, "off"), (8192, "full")] {
        let (_dir, path, c, before) = journaled(page_size, sync);
        for round in 0..3 {
            let crashed = crash(&path, "-journal");
            assert!(fs::read(&crashed.database).unwrap() != before);
            let journal = fs::read(&crashed.companion).unwrap();
            assert!(!is_damaged(&before, &journal), "{page_size} {sync} {round}");
            let ours = with_journal(content(&crashed.database), content(&crashed.companion)).unwrap();
            let ours = bytes(&ours);
            assert!(ours == crashed.recovered(), "{page_size} {sync} {round}");
            assert!(ours == before);
            c.execute("delete from t where a % 7 < ?1", [round]).unwrap();
        }
        // Committed: the header is gone, and the journal is not hot.
        let crashed = crash(&path, "-journal");
        let mut journal = fs::read(&crashed.companion).unwrap();
        journal[..28].fill(0);
        assert!(!is_damaged(&before, &journal));
        let ours = with_journal(content(&crashed.database), Content::Bytes(journal.into())).unwrap();
        assert!(bytes(&ours) == fs::read(&crashed.database).unwrap());
    }
}

#[test]
fn a_damaged_journal_counts_as_far_as_sqlite_reads_it() {
    let (_dir, path, _c, _) = journaled(1024, "full");
    let whole = fs::read(crash(&path, "-journal").companion).unwrap();
    let mut same = 0;
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        for cut in [false, true] {
            let crashed = crash(&path, "-journal");
            let mut journal = whole.clone();
            if cut {
                journal.truncate(at);
            } else {
                journal[at] ^= 0x40;
            }
            fs::write(&crashed.companion, &journal).unwrap();
            let ours = with_journal(content(&crashed.database), Content::Bytes(journal.into())).unwrap();
            let mut all = vec![0; ours.size() as usize];
            // What SQLite cannot make sense of after that is not compared.
            let Ok(theirs) = std::panic::catch_unwind(|| crashed.recovered()) else { continue };
            if ours.read_at(0, &mut all).is_ok() {
                assert!(all == theirs, "{at} {cut}");
                same += 1;
            }
        }
    }
    assert!(same > 50, "{same}");
}

fn is_damaged(base: &[u8], journal: &[u8]) -> bool {
    let journal = Content::Bytes(journal.into());
    super::with_journal(Content::Bytes(base.into()), journal).unwrap().1 == Some(LogDamage::Journal)
}

/// Where the headers of a journal that is in order begin, each with the number of its records.
fn headers(journal: &[u8], page_size: usize) -> Vec<(usize, usize)> {
    let four = |at: usize| u32::from_be_bytes(journal[at..at + 4].try_into().unwrap()) as usize;
    let (sector, mut at, mut all) = (four(20), 0, Vec::new());
    while at + 28 <= journal.len() && journal[at] == 0xd9 {
        all.push((at, four(at + 8)));
        at = (at + sector + four(at + 8) * (page_size + 8)).next_multiple_of(sector);
    }
    all
}

#[test]
fn a_journal_that_cannot_be_rolled_back_in_whole_is_damaged() {
    let (_dir, path, _c, before) = journaled(1024, "full");
    let whole = fs::read(crash(&path, "-journal").companion).unwrap();
    let headers = headers(&whole, 1024);
    let sector = 512;
    assert!(headers.len() > 2 && whole[20..24] == [0, 0, 2, 0]);
    let crashed = fs::read(crash(&path, "-journal").database).unwrap();
    let changed = |at: usize, bit: u8| {
        let mut journal = whole.clone();
        journal[at] ^= bit;
        is_damaged(&crashed, &journal)
    };
    for (nth, (head, records)) in headers.iter().copied().enumerate() {
        // Magic, number of records, nonce; of the first one, sizes as well, and the others have them again.
        for at in 0..if nth == 0 { 28 } else { 20 } {
            for bit in 0..8 {
                // A size of zero is that of the database.
                let is_zero = at == 26 && bit == 2;
                assert!(changed(head + at, 1 << bit) != is_zero, "bit {bit} of byte {at} of header {nth}");
            }
        }
        for record in [0, records / 2, records - 1] {
            let at = head + sector + record * 1032;
            // The number that is too large or that of another page, a byte of the page that is summed up, the sum.
            for byte in [0, 4 + 824, 1028, 1031] {
                assert!(changed(at + byte, 0x80), "byte {byte} of record {record} of segment {nth}");
            }
            let mut journal = whole.clone();
            journal.copy_within(at + 1032..at + 1036, at);
            assert!(is_damaged(&crashed, &journal), "record {record} of segment {nth} is of another page");
            assert!(is_damaged(&crashed, &whole[..at + 1000]), "cut in record {record} of segment {nth}");
        }
        let mut journal = whole.clone();
        journal[head..head + 512].fill(0xa5);
        assert!(is_damaged(&crashed, &journal), "header {nth} is gone");
    }
    assert!(is_damaged(&crashed, &whole[..20]) && is_damaged(&crashed, b"no journal at all"));
    // A crash before anything was counted, or while more was written that was not.
    let mut unsynced = whole.clone();
    unsynced[..12].fill(0);
    assert!(!is_damaged(&before, &unsynced));
    let last = headers[headers.len() - 1];
    let end = (last.0 + sector + last.1 * 1032).next_multiple_of(sector);
    for cut in [0, end, end + 20, end + 600, end + 2000] {
        assert!(!is_damaged(&crashed, &whole[..cut.min(whole.len())]), "{cut}");
    }
}

#[test]
fn a_journal_that_nobody_waits_for_is_damaged_only_where_more_of_it_follows() {
    let (_dir, path, _c, _) = journaled(1024, "off");
    let crashed = crash(&path, "-journal");
    let (base, whole) = (fs::read(&crashed.database).unwrap(), fs::read(&crashed.companion).unwrap());
    assert_eq!(whole[8..12], [0xff; 4]);
    assert!(!is_damaged(&base, &whole) && !is_damaged(&base, &whole[..whole.len() - 7]));
    let sum = |record: usize| 512 + record * 1032 + 1031;
    for (record, damaged) in [(0, true), (7, true), ((whole.len() - 512) / 1032 - 1, false)] {
        let mut journal = whole.clone();
        journal[sum(record)] ^= 1;
        assert_eq!(is_damaged(&base, &journal), damaged, "{record}");
    }
}

#[test]
fn what_an_older_transaction_has_left_in_a_journal_is_no_damage() {
    let (_dir, path, c, _) = journaled(1024, "full");
    c.execute_batch("commit; pragma journal_mode=persist").unwrap();
    for (round, rows) in [300, 12, 60, 5, 120].into_iter().enumerate() {
        c.execute_batch("begin").unwrap();
        fill(&c, 0, rows);
        let crashed = crash(&path, "-journal");
        let (base, journal) = (fs::read(&crashed.database).unwrap(), fs::read(&crashed.companion).unwrap());
        assert!(journal.len() > 30_000 && !is_damaged(&base, &journal), "{round}");
        c.execute_batch("commit").unwrap();
        let journal = fs::read(format!("{}-journal", path.display())).unwrap();
        assert!(journal.len() > 30_000 && !is_damaged(&base, &journal), "{round}");
    }
}

#[test]
fn an_end_within_the_records_of_an_older_journal_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let c = Connection::open(&path).unwrap();
    c.execute_batch(
        "pragma page_size=4096; create table t(a integer primary key, b);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 400)
         insert into t select i, randomblob(900) from n;",
    )
    .unwrap();
    let _: String = c.query_row("pragma journal_mode=persist", [], |row| row.get(0)).unwrap();
    let sum_of =
        |record: &[u8]| (1..=4096 - 200).rev().step_by(200).map(|i| u32::from(record[4 + i])).sum::<u32>();
    let four = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let mut within = 0;
    for rows in 30..60 {
        // No row becomes longer or shorter, so the two journals are of a database of the same size.
        c.execute_batch("pragma cache_size=60; pragma cache_spill=60; update t set b = randomblob(900)")
            .unwrap();
        let before = fs::read(&path).unwrap();
        c.execute_batch("pragma cache_size=20; pragma cache_spill=20; begin").unwrap();
        c.execute("update t set b = randomblob(900) where a % 6 = 0 and a / 6 < ?1", [rows]).unwrap();
        let crashed = crash(&path, "-journal");
        let (base, mut journal) =
            (fs::read(&crashed.database).unwrap(), fs::read(&crashed.companion).unwrap());
        let own = headers(&journal, 4096);
        let Some((head, records)) = own.last() else { continue };
        // What a commit does before anything else: it gives the last header the number of its records.
        let last = (head + 512 + records * 4104).next_multiple_of(512);
        assert_eq!(journal[last..last + 12], [0; 12]);
        let nonce = four(&journal[last + 12..]);
        let is_right = |record: &&[u8]| nonce.wrapping_add(sum_of(record)) == four(&record[4100..]);
        let count = journal[last + 512..].chunks_exact(4104).take_while(is_right).count();
        let magic = journal[..8].to_vec();
        journal[last..last + 8].copy_from_slice(&magic);
        journal[last + 8..last + 12].copy_from_slice(&(count as u32).to_be_bytes());
        fs::write(&crashed.companion, &journal).unwrap();
        let end = (last + 512 + count * 4104).next_multiple_of(512);
        let is_older = |head: &[u8]| head[..8] == magic && head[16..28] == journal[16..28];
        within += usize::from(journal[end..].chunks_exact(512).any(is_older));
        assert!(!is_damaged(&base, &journal), "{rows}");
        let ours = bytes(&with_journal(content(&crashed.database), content(&crashed.companion)).unwrap());
        assert!(base != before && ours == before && ours == crashed.recovered(), "{rows}");
        c.execute_batch("rollback").unwrap();
    }
    assert!(within > 10, "{within}");
}

#[test]
fn a_super_journal_is_named() {
    let (dir, path, c, _) = journaled(1024, "full");
    assert_eq!(super_journal(&content(&crash(&path, "-journal").companion)).unwrap(), None);
    drop(c);
    let _ = dir;
    let mut journal = vec![0; 2048];
    let name = "/tmp/\u{e9}-mj1234";
    let sum = name.bytes().fold(0u32, |sum, b| sum.wrapping_add(b as i8 as u32));
    journal.extend_from_slice(name.as_bytes());
    journal.extend_from_slice(&(name.len() as u32).to_be_bytes());
    journal.extend_from_slice(&sum.to_be_bytes());
    journal.extend_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    let found = super_journal(&Content::Bytes(journal.into())).unwrap();
    assert_eq!(found.as_deref(), Some(name.as_bytes()));
}
