//! The same functions over a few known inputs, so that they are compiled and run wherever the tests are. What was
//! once found by trying many has a test of its own at the end.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use super::headers::deflate;
use super::scratch::{Said, end};
use super::{Input, directory, index, inflate, local, manifest, names, package};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 7] = [
    ("directory", directory),
    ("local", local),
    ("inflate", inflate),
    ("index", index),
    ("names", names),
    ("manifest", manifest),
    ("package", package),
];

/// The seeds of a target.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// A package of one deflated entry.
fn one_entry(name: &[u8], contents: &[u8], change: impl FnOnce(&mut Said<'_>)) -> Vec<u8> {
    let packed = deflate(contents, 6);
    let (size, crc) = (contents.len() as u32, crc32fast::hash(contents));
    let mut said = Said { name, method: 8, flags: 0, crc, packed: packed.len() as u32, size };
    change(&mut said);
    let mut file = Vec::new();
    said.local(&mut file);
    file.extend_from_slice(&packed);
    let start = file.len() as u32;
    said.central(&mut file, 0);
    let len = file.len() as u32 - start;
    end(&mut file, 1, len, start);
    file
}

#[test]
fn every_target_has_a_program_and_the_script_runs_it() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = fs::read_dir(top.join("fuzz/fuzz_targets")).unwrap();
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_string();
    let mut programs: Vec<String> = programs.map(|entry| stem(entry.unwrap().path())).collect();
    programs.sort();
    let script = fs::read_to_string(top.join("scripts/fuzz")).unwrap();
    let list = script.split_once("${TARGETS:-").unwrap().1.split_once('}').unwrap().0;
    let mut run: Vec<&str> = list.split(' ').collect();
    run.sort_unstable();
    assert_eq!(programs, run);
    assert!(TARGETS.iter().all(|(name, _)| run.contains(name)));
}

#[test]
fn every_target_has_its_seeds_and_they_pass() {
    for (name, target) in TARGETS {
        for (seed, bytes) in seeds(name) {
            let outcome = catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{name}: the seed {seed}");
        }
    }
}

#[test]
fn every_target_takes_anything() {
    for (name, target) in TARGETS {
        target(b"");
        for (_, seed) in seeds(name).iter().take(if name == "index" { 2 } else { 12 }) {
            // Cut off anywhere, and with a bit changed anywhere.
            for n in 1..12 {
                target(&seed[..seed.len() * n / 12]);
                let mut changed = seed.clone();
                changed[seed.len() * n / 13] ^= 1 << (n % 8);
                target(&changed);
            }
        }
    }
}

#[test]
fn large_entries_are_read_in_pieces_and_their_damage_is_seen() {
    let contents: Vec<u8> = (0..90_000u32).flat_map(|i| format!("{},", i / 100).into_bytes()).collect();
    assert!(contents.len() as u64 > crate::format::package::SMALL);
    package(&one_entry(b"manifest.json", &contents, |_| ()));
    package(&one_entry(b"x", &contents, |said| said.crc ^= 1));
    package(&one_entry(b"x", &contents, |said| said.size += 1));
    package(&one_entry(b"x", &contents, |said| said.size -= 1));
    // A size that nothing could have: the entry is read as far as it goes.
    package(&one_entry(b"x", &contents, |said| said.size = 0xffff_fff0));
}

#[test]
fn what_is_taken_from_too_few_bytes_is_zero() {
    let mut input = Input(&[1, 2, 3]);
    assert_eq!((input.number(), input.number(), input.byte()), (0x0201, 3, 0));
    assert!(input.is_empty() && input.take(5).is_empty());
}

// What was found.

#[test]
fn a_summary_that_is_no_object_made_the_whole_manifest_none() {
    manifest(b"\x1f{\"format\": \"vasods-v1\", \"summary\": \"a text\"}");
    manifest(b"\x02{\"schema\": \"s\", \"summary\": null}");
}
