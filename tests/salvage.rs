//! Damaged databases give back every row of the pages that are whole, and none that was never there.
//!
//! Which rows lie on which pages is told by `tests/data/rows_by_page.py`, which shares no code with the program.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::folder;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;
use vaso::database::salvage::{self, Certainty, Report};
use vaso::tree::Content;

/// The databases and projects of `tests/data/salvage.tar.xz`.
struct Corpus(TempDir);

impl Corpus {
    fn unpack() -> Corpus {
        let folder = folder();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/salvage.tar.xz");
        let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status();
        assert!(status.expect("tar is installed").success());
        Corpus(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("salvage").join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }
}

/// Recovers a database from bytes, and opens the result.
struct Recovered {
    report: Report,
    db: Connection,
    _folder: TempDir,
}

fn recover(bytes: &[u8]) -> Option<Recovered> {
    let folder = folder();
    let path = folder.path().join("new.db");
    fs::write(&path, b"").unwrap();
    let report = salvage::recover(&Content::Bytes(bytes.into()), &path).unwrap()?;
    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    Some(Recovered { report, db, _folder: folder })
}

/// All rows of a table, in the order of its key, each as text that tells types apart.
fn rows(db: &Connection, table: &str) -> Vec<String> {
    let name = format!("\"{table}\"");
    let mut columns = Vec::new();
    let mut key = BTreeMap::new();
    let mut info = db.prepare(&format!("SELECT name, pk FROM pragma_table_info({name})")).unwrap();
    let mut found = info.query([]).unwrap();
    while let Some(row) = found.next().unwrap() {
        let (column, pk): (String, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        if pk > 0 {
            key.insert(pk, format!("\"{column}\""));
        }
        columns.push(format!("quote(\"{column}\")"));
    }
    let without: bool =
        db.query_row("SELECT wr FROM pragma_table_list WHERE name = ?1", [table], |r| r.get(0)).unwrap();
    let order: Vec<String> = key.into_values().collect();
    let order = if without { order.join(", ") } else { "rowid".to_string() };
    if !without {
        columns.insert(0, "rowid".to_string());
    }
    let sql = format!("SELECT {} FROM {name} ORDER BY {order}", columns.join(" || ',' || "));
    let mut query = db.prepare(&sql).unwrap();
    let text =
        |r: &rusqlite::Row<'_>| Ok(String::from_utf8_lossy(r.get_ref(0)?.as_bytes().unwrap()).into_owned());
    query.query_map([], text).unwrap().map(Result::unwrap).collect()
}

/// What identifies each row of a table.
fn keys(db: &Connection, table: &str) -> BTreeSet<String> {
    let without: bool =
        db.query_row("SELECT wr FROM pragma_table_list WHERE name = ?1", [table], |r| r.get(0)).unwrap();
    let mut key = vec!["rowid".to_string()];
    if without {
        let mut info = db.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0").unwrap();
        let names = info.query_map([table], |r| r.get::<_, String>(0)).unwrap();
        key = names.map(|name| format!("quote(\"{}\")", name.unwrap())).collect();
    }
    let mut query = db.prepare(&format!("SELECT {} FROM \"{table}\"", key.join(" || ',' || "))).unwrap();
    let text = |r: &rusqlite::Row<'_>| Ok(format!("{:?}", r.get_ref(0)?));
    query.query_map([], text).unwrap().map(Result::unwrap).collect()
}

/// A sound database: for each row, by its table, the pages that it lies on.
struct Sound {
    name: String,
    bytes: Vec<u8>,
    page_size: usize,
    rows: Vec<(String, String, Vec<usize>)>,
    /// What identifies the rows of each table.
    keys: BTreeMap<String, BTreeSet<String>>,
    /// The pages of the schema.
    schema: BTreeSet<usize>,
}

impl Sound {
    fn read(name: &str, path: &Path, pages: &Value) -> Sound {
        let uri = format!("file:{}?immutable=1", path.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(uri, flags).unwrap();
        let mut all = Vec::new();
        let mut all_keys = BTreeMap::new();
        for (table, runs) in pages.as_object().unwrap() {
            all_keys.insert(table.clone(), keys(&db, table));
            let mut rows = rows(&db, table).into_iter();
            for run in runs.as_array().unwrap() {
                let on: Vec<usize> =
                    run[1].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize).collect();
                for row in rows.by_ref().take(run[0].as_u64().unwrap() as usize) {
                    all.push((table.clone(), row, on.clone()));
                }
            }
            assert!(rows.next().is_none(), "{name} {table}: more rows than pages");
        }
        let bytes = fs::read(path).unwrap();
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            n => usize::from(n),
        };
        let words = ["CREATE TABLE".to_string(), "C\0R\0E\0A\0T\0E\0 \0T\0A\0B\0L\0E\0".to_string()];
        let has = |page: &[u8]| words.iter().any(|w| page.windows(w.len()).any(|part| part == w.as_bytes()));
        let pages = bytes.chunks(page_size).zip(1..).filter(|(page, _)| has(page)).map(|(_, n)| n);
        let schema = pages.chain([1]).collect();
        Sound { name: name.to_string(), bytes, page_size, rows: all, keys: all_keys, schema }
    }

    fn pages(&self) -> usize {
        self.bytes.len() / self.page_size
    }
}

/// A sequence of numbers that is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % below.max(1)
    }
}

/// What was done to a file, and to which pages.
#[derive(Debug, Default)]
struct Damage {
    what: Vec<&'static str>,
    pages: BTreeSet<usize>,
    /// Whether some page has other bytes than before that are not all zeros.
    foreign: bool,
}

fn damage(sound: &Sound, dice: &mut Dice) -> (Vec<u8>, Damage) {
    let mut bytes = sound.bytes.clone();
    let mut done = Damage::default();
    let size = sound.page_size;
    for _ in 0..=dice.roll(3) {
        let all = bytes.len() / size;
        if all < 3 {
            break;
        }
        let at = dice.roll(all);
        // The first pages are the ones on which everything else hangs.
        let at = if dice.roll(6) == 0 { dice.roll(3) } else { at };
        let page = at * size..(at + 1) * size;
        match dice.roll(7) {
            0 => {
                done.what.push("bytes flipped");
                for _ in 0..=dice.roll(64) {
                    bytes[page.start + dice.roll(size)] ^= 1 + dice.roll(255) as u8;
                }
                done.foreign = true;
            }
            1 => {
                done.what.push("every seventh byte flipped");
                bytes[page].iter_mut().step_by(7).for_each(|b| *b ^= 0x5a);
                done.foreign = true;
            }
            2 => {
                done.what.push("page zeroed");
                bytes[page].fill(0);
            }
            3 => {
                done.what.push("page zeroed from the middle");
                let from = page.start + dice.roll(size);
                bytes[from..page.end].fill(0);
                done.foreign = true;
            }
            4 => {
                done.what.push("pages swapped");
                let other = dice.roll(all);
                for i in 0..size {
                    bytes.swap(at * size + i, other * size + i);
                }
                done.pages.insert(other + 1);
                done.foreign = true;
            }
            5 => {
                done.what.push("cut off");
                let keep = all - dice.roll(all / 2);
                let len = keep * size - dice.roll(2) * dice.roll(size);
                bytes.truncate(len);
                done.pages.extend(len / size + 1..=sound.pages());
                continue;
            }
            _ => {
                done.what.push("tail zeroed");
                let from = all - dice.roll(all / 2);
                bytes[from * size..].fill(0);
                done.pages.extend(from + 1..=sound.pages());
                continue;
            }
        }
        done.pages.insert(at + 1);
    }
    (bytes, done)
}

/// How many rows were there, how many had to come back, and how many did.
#[derive(Default)]
struct Tally {
    all: usize,
    owed: usize,
    back: usize,
}

/// One damaged file, judged.
fn judge(sound: &Sound, recovered: Option<&Recovered>, damage: &Damage, case: &str) -> Result<Tally, String> {
    let mut back: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (table, ..) in &sound.rows {
        let there = |r: &&Recovered| r.report.tables.iter().any(|t| t.name == *table);
        if !back.contains_key(table.as_str()) {
            let of = recovered.filter(|r| there(r)).map(|r| rows(&r.db, table)).unwrap_or_default();
            back.insert(table, of.into_iter().collect());
        }
    }
    let mut tally = Tally::default();
    for (table, row, pages) in &sound.rows {
        let owed = pages.iter().all(|p| !damage.pages.contains(p));
        let there = back.get_mut(table.as_str()).unwrap().remove(row);
        if owed && !there {
            return Err(format!("{case}: {table} lost {row:.200} on pages {pages:?}"));
        }
        tally.all += 1;
        tally.owed += usize::from(owed);
        tally.back += usize::from(there);
    }
    // What may be a lost page, and may be a value of zeros, is given and told to be in doubt.
    let doubtful = |table: &str| {
        let told = recovered.and_then(|r| r.report.tables.iter().find(|t| t.name == table));
        told.map_or(0, |t| t.doubtful)
    };
    let invented: Vec<_> = back.iter().filter(|(table, rows)| rows.len() as u64 > doubtful(table)).collect();
    // A value that was changed in place cannot be told from a true one; nothing else may appear.
    match damage.foreign || invented.is_empty() {
        true => Ok(tally),
        false => Err(format!("{case}: invented {:.300}", format!("{invented:?}"))),
    }
}

/// Written by the application.
const REAL: &[&str] = &["v1.db", "v3a.db", "v5.db", "v7.db", "small.db", "snapshot.db"];
/// Made by `tests/data/odd_databases.py`: UTF-16, pages of 512 bytes and of 64 KiB, pages of pointers, reserved bytes,
/// rows that were deleted; all with long rows in tables with and without row numbers.
const ODD: &[&str] = &[
    "utf16le.db",
    "utf16be.db",
    "small_pages.db",
    "large_pages.db",
    "auto_vacuum.db",
    "reserved.db",
    "with_deleted.db",
];

fn sound_databases(corpus: &Corpus) -> Vec<Sound> {
    REAL.iter()
        .chain(ODD)
        .map(|name| Sound::read(name, &corpus.path(name), &corpus.json(&format!("{name}.pages.json"))))
        .collect()
}

/// The page of `with_deleted.db` that lists its free pages.
const FREE_LIST: usize = 36;

/// Changes every database in one way, and demands all rows of the other pages, and no others.
fn each(change: impl Fn(&Sound, &mut Vec<u8>) -> BTreeSet<usize>) {
    let corpus = Corpus::unpack();
    let mut wrong = Vec::new();
    for sound in sound_databases(&corpus) {
        let mut bytes = sound.bytes.clone();
        let pages = change(&sound, &mut bytes);
        let damage = Damage { pages, ..Damage::default() };
        let recovered = recover(&bytes);
        match judge(&sound, recovered.as_ref(), &damage, &sound.name) {
            Ok(tally) => println!("{}: {} of {} rows", sound.name, tally.back, tally.all),
            Err(what) => wrong.push(what),
        }
        let version = recovered.map(|r| r.report.user_version);
        let whole = u32::from_be_bytes(sound.bytes[60..64].try_into().unwrap()) as i32;
        if version != Some(whole) {
            wrong.push(format!("{}: version {version:?} of {whole}", sound.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn zero(sound: &Sound, bytes: &mut [u8], page: usize) {
    bytes[(page - 1) * sound.page_size..page * sound.page_size].fill(0);
}

#[test]
fn a_lost_first_page_costs_no_row() {
    each(|sound, bytes| {
        zero(sound, bytes, 1);
        [1].into()
    });
}

#[test]
fn a_lost_schema_costs_no_row() {
    each(|sound, bytes| {
        sound.schema.iter().for_each(|page| zero(sound, bytes, *page));
        sound.schema.clone()
    });
}

#[test]
fn a_wrong_page_size_in_the_head_costs_nothing() {
    for other in [512u16, 8192, 1, 777] {
        each(|_, bytes| {
            bytes[16..18].copy_from_slice(&other.to_be_bytes());
            BTreeSet::new()
        });
    }
}

#[test]
fn lost_interior_pages_cost_only_the_rows_on_them() {
    each(|sound, bytes| {
        let interior: BTreeSet<usize> = (2..=sound.pages())
            .filter(|n| matches!(sound.bytes[(n - 1) * sound.page_size], 2 | 5))
            // Pages of pointers begin with such bytes too, and so may free ones.
            .filter(|n| sound.bytes[(n - 1) * sound.page_size + 7] <= 60)
            .collect();
        interior.iter().for_each(|page| zero(sound, bytes, *page));
        interior
    });
}

#[test]
fn a_zeroed_tail_costs_only_the_rows_in_it() {
    each(|sound, bytes| {
        let from = sound.pages() * 2 / 3;
        bytes[from * sound.page_size..].fill(0);
        (from + 1..=sound.pages()).collect()
    });
}

/// A page of which only the front was written: rows that lie across the edge are torn, and must not come back.
#[test]
fn a_torn_page_gives_no_row_that_never_was() {
    let corpus = Corpus::unpack();
    let sound = Sound::read("v1.db", &corpus.path("v1.db"), &corpus.json("v1.db.pages.json"));
    let page = sound.rows.iter().rev().find(|(table, ..)| table == "trace").unwrap().2[0];
    let mut back = 0;
    for from in (0..sound.page_size).step_by(59) {
        let mut bytes = sound.bytes.clone();
        bytes[(page - 1) * sound.page_size + from..page * sound.page_size].fill(0);
        let damage = Damage { pages: [page].into(), ..Damage::default() };
        back = back
            .max(judge(&sound, recover(&bytes).as_ref(), &damage, &format!("torn at {from}")).unwrap().back);
    }
    let elsewhere = sound.rows.iter().filter(|(.., pages)| !pages.contains(&page)).count();
    assert!(back > elsewhere, "something of the torn page comes back");
}

#[test]
fn what_was_deleted_stays_deleted_and_is_told() {
    let corpus = Corpus::unpack();
    let bytes = corpus.bytes("with_deleted.db");
    let report = recover(&bytes).unwrap().report;
    let trace = report.tables.iter().find(|t| t.name == "trace").unwrap();
    assert!(trace.deleted > 300 && trace.lost == 0 && trace.recovered == 1200, "{trace:?}");
}

#[test]
fn a_sound_database_comes_back_whole() {
    let corpus = Corpus::unpack();
    for sound in sound_databases(&corpus) {
        let recovered = recover(&sound.bytes).unwrap();
        let tally = judge(&sound, Some(&recovered), &Damage::default(), &sound.name).unwrap();
        assert_eq!(tally.back, tally.all);
        let report = recovered.report;
        assert!(report.lost == 0 && report.is_lossless() && report.notes.is_empty(), "{report:?}");
    }
}

/// What a report says of lost rows, against those that were there. A key that was changed in place is one that is lost
/// and one that never was: nobody can tell, and it does not count.
fn told_right(sound: &Sound, got: &Recovered, case: &str) -> Result<(), String> {
    let (mut all, mut foreign) = (0, 0);
    for (table, before) in &sound.keys {
        let Some(told) = got.report.tables.iter().find(|t| t.name == *table) else {
            all += before.len() as u64;
            continue;
        };
        let after = keys(&got.db, table);
        let lost = before.difference(&after).count() as u64;
        let invented = after.difference(before).count() as u64;
        all += lost;
        foreign += invented;
        let right = match told.certainty {
            Certainty::Exact => told.lost <= lost && told.lost + invented >= lost,
            Certainty::AtLeast => told.lost <= lost,
            Certainty::About | Certainty::AboutOrMore => true,
        };
        if !right {
            return Err(format!("{case}: {table} lost {lost} ({invented} are new), and it says {told:?}"));
        }
    }
    let report = &got.report;
    match report.lost_is_exact && !(report.lost <= all && report.lost + foreign >= all) {
        true => Err(format!("{case}: {all} rows lost, told {}", report.lost)),
        false => Ok(()),
    }
}

/// 208 cases; as many as `VASO_SALVAGE_CASES` says where that is set, which are 1,000 in `scripts/test`.
#[test]
fn whole_pages_give_all_their_rows_whatever_the_damage() {
    let corpus = Corpus::unpack();
    let sound = sound_databases(&corpus);
    let cases = std::env::var("VASO_SALVAGE_CASES").map_or(208, |n| n.parse().unwrap());
    let first = std::env::var("VASO_SALVAGE_FIRST").map_or(0, |n| n.parse().unwrap());
    let mut classes: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut known = 0;
    for case in first..first + cases {
        let mut dice = Dice(case as u64 * 7919 + 1);
        dice.roll(1);
        let sound = &sound[case % sound.len()];
        let (bytes, mut damage) = damage(sound, &mut dice);
        // Without the list of free pages, what was deleted cannot be told for certain; the report says so.
        damage.foreign |=
            sound.name == "with_deleted.db" && damage.pages.iter().any(|p| [1, FREE_LIST].contains(p));
        let name = format!("case {case} of {}: {:?} pages {:?}", sound.name, damage.what, damage.pages);
        // Letters that were changed in a statement of the schema make another table, for SQLite as well.
        if damage.foreign && damage.pages.iter().any(|p| sound.schema.contains(p)) {
            recover(&bytes);
            continue;
        }
        let recovered = recover(&bytes);
        if let Some(Err(wrong)) = recovered.as_ref().map(|got| told_right(sound, got, &name)) {
            failed.push(wrong);
        }
        let exact = recovered.as_ref().is_some_and(|got| got.report.lost_is_exact);
        known += usize::from(exact);
        let tally = match judge(sound, recovered.as_ref(), &damage, &name) {
            Ok(tally) => tally,
            Err(wrong) => {
                failed.push(wrong);
                continue;
            }
        };
        let class = if damage.what.len() == 1 { damage.what[0] } else { "several" };
        let sum = classes.entry(class).or_default();
        sum.all += tally.all;
        sum.owed += tally.owed;
        sum.back += tally.back;
    }
    for (class, t) in classes {
        let share = |n: usize| 100.0 * n as f64 / t.all.max(1) as f64;
        println!("{class}: {:.2} % on whole pages, {:.2} % came back", share(t.owed), share(t.back));
    }
    println!("of {known} of {cases} all that is lost is known");
    assert!(failed.is_empty(), "{} of {cases} cases:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_flipped_leaf_costs_no_row() {
    let corpus = Corpus::unpack();
    let truth = corpus.json("truth/legacy_bad__stale_bak_wins.vaso.json");
    let got = recover(&corpus.bytes("flipped_trace_leaf.vaso")).unwrap();
    // The undamaged file is at hand: what is taken from the damaged page is what was on it.
    let uri = format!("file:{}?immutable=1", corpus.path("stale_bak_wins.vaso").display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let whole = Connection::open_with_flags(uri, flags).unwrap();
    for (table, facts) in truth["content"]["tables"].as_object().unwrap() {
        assert_eq!(rows(&got.db, table), rows(&whole, table), "{table}");
        assert_eq!(rows(&got.db, table).len() as u64, facts["rows"].as_u64().unwrap());
    }
    assert_eq!((got.report.lost, got.report.user_version), (0, 7));
    let version: i32 = got.db.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
    assert_eq!(version, 7);
    let trace = got.report.tables.iter().find(|t| t.name == "trace").unwrap();
    assert_eq!(trace.from_damaged_pages, 57);
}

#[test]
fn a_truncated_file_gives_the_rows_of_the_pages_that_exist() {
    let corpus = Corpus::unpack();
    let whole = Sound::read("v7.db", &corpus.path("v7.db"), &corpus.json("v7.db.pages.json"));
    let bytes = corpus.bytes("truncated.vaso");
    assert!(whole.bytes.starts_with(&bytes));
    let damage = Damage { pages: (61..=100).collect(), ..Damage::default() };
    let got = recover(&bytes).unwrap();
    judge(&whole, Some(&got), &damage, "truncated.vaso").unwrap();
    // 2,750 rows in all; the index outlived the cut and knows every one that is missing.
    let trace = got.report.tables.iter().find(|t| t.name == "trace").unwrap();
    assert_eq!((trace.recovered + trace.lost, trace.certainty), (2750, Certainty::Exact));
    let told: u64 = got.report.samples.iter().map(|s| s.lost).sum();
    assert_eq!(told, trace.lost);
    let line = &got.report.lines().into_iter().find(|l| l.starts_with("sample WT / Vessel 2")).unwrap();
    assert!(line.starts_with("sample WT / Vessel 2: 14 of 750 rows; lost"), "{line}");
}
