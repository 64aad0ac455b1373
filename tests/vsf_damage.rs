//! Broken and hostile files: what can be read is read right, the rest is refused with a reason, and nothing takes
//! more time or memory than the file is worth.
//!
//! What each broken file is expected to do is written beside it in the corpus; the tables here say the same in
//! codes. Where the hostile set expects a whole file to be refused for one bad entry or a wrong count, the entry is
//! refused, or the count reported, and the rest is readable.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use vaso::error::Result;
use vaso::finding::Severity;
use vaso::format::vsf::{self, Input, Kind, Value};
use vaso::tree::{Kind as FileKind, Spot};

/// What a file turned out to be.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Labels that are readable in full.
    good: Vec<String>,
    /// Labels that are not, or not in full.
    bad: Vec<String>,
    /// The codes of all findings.
    codes: BTreeSet<&'static str>,
}

fn look(bytes: &[u8]) -> Option<Seen> {
    let file = vsf::open(bytes).ok()?;
    let mut seen = Seen { good: vec![], bad: vec![], codes: file.findings.iter().map(|f| f.code).collect() };
    for label in &file.labels {
        let whole = match label.kind() {
            Kind::Section => file.section(bytes, label).is_ok_and(|body| {
                let found = file.oddities(label, &body);
                seen.codes.extend(found.iter().map(|f| f.code));
                !found.iter().any(|f| f.severity == Severity::Error)
            }),
            Kind::Blob => file.range(label).is_ok(),
            Kind::Inline | Kind::Flag => true,
        };
        if whole { &mut seen.good } else { &mut seen.bad }.push(label.title());
    }
    for check in vsf::verify(bytes, &file, &[], &mut |_| ()).unwrap() {
        seen.codes.extend(check.finding().map(|f| f.code));
    }
    Some(seen)
}

fn seen(good: &[&str], bad: &[&str], codes: &[&'static str]) -> Option<Seen> {
    let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    Some(Seen { good: strings(good), bad: strings(bad), codes: codes.iter().copied().collect() })
}

fn named(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name).with_extension("vsf")).unwrap()
}

#[test]
fn broken_files_do_as_is_expected_of_each() {
    let data = common::data("vsf.tar.xz");
    let folder = data.path().join("vsf/corrupt");
    let planes = ["plane.a", "plane.b", "plane.c"];
    let z = ["metadata", "plane.a", "plane.b", "plane.c"];
    let s = ["metadata", "raw_pixels"];
    let seal = "vsf-seal";
    let long = "n".repeat(200);
    let expected: &[(&str, Option<Seen>)] = &[
        ("bp_bits_0", seen(&[], &["a"], &["vsf-bits"])),
        ("bp_bits_65", seen(&[], &["a"], &["vsf-bits"])),
        ("count_lie_less", seen(&["a"], &[], &["vsf-item-count"])),
        ("count_lie_more", seen(&["a"], &[], &["vsf-item-count"])),
        ("dup_labels", seen(&["a", "a"], &[], &["vsf-twin"])),
        ("empty_file", None),
        ("header_length_lie", seen(&["a"], &[], &["vsf-header-length"])),
        ("label_count_less", seen(&["a", "b"], &[], &["vsf-label-count"])),
        ("name_bad_utf8", seen(&["\u{fffd}\u{fffd}\u{fffd}"], &[], &[])),
        ("name_dot", seen(&["."], &[], &[])),
        ("name_dots", seen(&[".."], &[], &[])),
        ("name_empty", seen(&[""], &[], &[])),
        ("name_long", seen(&[&long], &[], &[])),
        ("name_newline", seen(&["a\nb"], &[], &[])),
        ("name_slash", seen(&["a/b"], &[], &[])),
        ("nest_bomb", seen(&[], &["a"], &["vsf-depth"])),
        ("offset_in_header", seen(&["h"], &[], &["vsf-trailing"])),
        ("offset_past_eof", seen(&["a"], &["b"], &["vsf-past-end"])),
        ("offset_u64_wrap", seen(&["a"], &["b"], &["vsf-past-end"])),
        ("overlap_blobs", seen(&["b1", "b2"], &[], &["vsf-overlap"])),
        ("q_stride_oob", seen(&[], &["a"], &["vsf-stride"])),
        ("q_stride_zero", seen(&["a"], &[], &[])),
        ("seed_bad_size_marker", None),
        // Nothing in the file says what its bytes should be.
        ("seed_flip_blob", seen(&s, &[], &[])),
        ("seed_magic", None),
        ("seed_no_gt", seen(&s, &[], &["vsf-header-open"])),
        ("seed_trailing_junk", seen(&s, &[], &["vsf-trailing"])),
        ("seed_trunc_4", None),
        ("seed_trunc_header", seen(&[], &["metadata"], &["vsf-header-open", "vsf-past-end"])),
        ("seed_trunc_section", seen(&[], &s, &["vsf-past-end"])),
        ("size_past_eof", seen(&["a"], &["b"], &["vsf-past-end"])),
        ("tensor_huge_ndim", seen(&[], &["a"], &["vsf-rank"])),
        ("tensor_short", seen(&[], &["a"], &["vsf-short"])),
        ("tensor_unknown_elem", seen(&[], &["a"], &["vsf-element"])),
        ("z10_flip_blob", seen(&z, &[], &[seal])),
        ("z10_flip_section", seen(&planes, &["metadata"], &["vsf-marker", seal])),
        ("z10_no_gt", seen(&z, &[], &["vsf-header-open", seal])),
        ("z10_no_lt", None),
        ("z10_trunc_4", None),
        ("z10_trunc_blob", seen(&z[..3], &["plane.c"], &["vsf-past-end", seal])),
        ("z10_trunc_section", seen(&[], &z, &["vsf-past-end", seal])),
        ("z2_bad_size_marker", None),
        ("z2_flip_section", seen(&planes, &["metadata"], &["vsf-marker", seal])),
        ("z2_magic", None),
        ("z2_no_lt", None),
        ("z2_trailing_junk", seen(&z, &[], &["vsf-trailing", seal])),
        ("z2_trunc_blob", seen(&z[..3], &["plane.c"], &["vsf-past-end", seal])),
        ("z2_trunc_header", seen(&[], &z[..3], &["vsf-header-open", "vsf-past-end", seal])),
    ];
    for (name, expected) in expected {
        assert_eq!(look(&named(&folder, name)), *expected, "{name}");
    }
    let there = fs::read_dir(&folder)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension() == Some("vsf".as_ref()));
    assert_eq!(there.count(), expected.len());
}

/// By class: nothing of what is expected to be refused is read whole without a word, and what is valid is read.
#[test]
fn hostile_files_do_as_is_expected_of_each() {
    let data = common::data("vsf.tar.xz");
    let folder = data.path().join("vsf/hostile");
    let manifest: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for entry in &manifest {
        let name = entry["name"].as_str().unwrap();
        let seen = look(&fs::read(folder.join(name)).unwrap());
        let expect = entry["expect"].as_str().unwrap();
        *counts.entry(expect).or_insert(0) += 1;
        let serious =
            |s: &Seen| s.codes.iter().any(|code| !matches!(*code, "vsf-wide" | "vsf-offsets-in-bits"));
        match (expect, &seen) {
            // These are written in bits throughout; bytes are looked for first.
            ("ok", Some(seen)) => {
                assert!(seen.bad.is_empty() || name == "t_zero_dim_big.vsf", "{name}: {seen:?}");
                assert!(!seen.good.is_empty() || name == "t_zero_dim_big.vsf", "{name}: {seen:?}");
            }
            ("reject" | "lie", None) => {}
            // Eight versions newer than its reader needs is no damage, and a header of no labels holds nothing.
            ("reject", Some(seen)) => {
                assert!(serious(seen) && seen.good.is_empty() || is_lenient(name), "{name}: {seen:?}")
            }
            // A flip inside of a payload that nothing covers cannot be told.
            ("lie", Some(seen)) => assert!(serious(seen) || !seen.bad.is_empty(), "{name}: {seen:?}"),
            // Hostile names: everything is there, and under names that lead nowhere else.
            ("skip", Some(seen)) => {
                let labels = seen.good.len() + seen.bad.len();
                assert!(labels > 0 && (seen.bad.is_empty() || serious(seen)), "{name}: {seen:?}");
                shown_safely(&folder.join(name), labels, name);
            }
            ("one", Some(seen)) => {
                let told = match name {
                    "label_overlap.vsf" => Some("vsf-overlap"),
                    "dup_label.vsf" => Some("vsf-twin"),
                    "nonminimal.vsf" => Some("vsf-wide"),
                    _ => None,
                };
                let labels = seen.good.len() + seen.bad.len();
                assert!(labels > 0 && (seen.bad.is_empty() || serious(seen)), "{name}: {seen:?}");
                assert!(told.is_none_or(|code| seen.codes.contains(code)), "{name}: {seen:?}");
                shown_safely(&folder.join(name), labels, name);
            }
            (_, other) => panic!("{name}: {expect}, {other:?}"),
        }
    }
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [("lie", 60), ("ok", 12), ("one", 4), ("reject", 37), ("skip", 12)]
    );
}

/// Each label is a file or a directory of its own, by a path that stays where it is.
fn shown_safely(path: &Path, labels: usize, what: &str) {
    let mut pending = vec![Spot::top(common::open(path).unwrap())];
    let (mut below, mut ends) = (BTreeSet::new(), 0);
    while let Some(spot) = pending.pop() {
        let shown = String::from_utf8(spot.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        for part in shown.split('/').skip(usize::from(shown.is_empty())) {
            let is_plain = !matches!(part, "" | "." | "..") && part.len() <= 255;
            assert!(is_plain && !part.contains(|c: char| c.is_control()), "{what}: {shown}");
        }
        if shown != "header.json" {
            assert!(below.insert(shown.clone()), "{what}: {shown} twice");
        }
        let is_door = spot.branch.tree().node(spot.node).door().is_some();
        ends += usize::from(is_door || shown.contains(".bin") && !shown.contains("section"));
        if spot.kind() == FileKind::Directory {
            match spot.enter() {
                Ok(inside) => pending.extend(inside.children()),
                Err(why) => assert!(is_door, "{what}: {why}"),
            }
        }
    }
    assert!(ends >= labels, "{what}: {ends} of {labels} labels in {below:?}");
}

/// A wrong length of the header is reported and not used; everything is found by its markers.
fn is_lenient(name: &str) -> bool {
    ["hl_0.vsf", "hl_huge.vsf", "hl_mid.vsf"].contains(&name)
}

/// An input that counts what is read of it.
struct Counting<'a> {
    head: &'a [u8],
    size: u64,
    read: AtomicU64,
}

impl Input for Counting<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.fill(0);
        for (n, byte) in buf.iter_mut().enumerate() {
            *byte = self.head.get(offset as usize + n).copied().unwrap_or(0);
        }
        Ok(())
    }
}

fn label(out: &mut Vec<u8>, name: &str, offset: u64, size: u64, count: u8) {
    out.extend_from_slice(b"(d3");
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    for (marker, value) in [(b'o', offset), (b'b', size)] {
        out.extend_from_slice(&[marker, b'6']);
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(&[b'n', b'3', count, b')']);
}

fn header(labels: u32, each: impl Fn(&mut Vec<u8>, u64)) -> Vec<u8> {
    let mut out = b"R\xC3\x85<b5\0\0\0\0z3\x02y3\x01n5".to_vec();
    out.extend_from_slice(&labels.to_be_bytes());
    (0..u64::from(labels)).for_each(|n| each(&mut out, n));
    out.push(b'>');
    let bits = (out.len() as u32 * 8).to_be_bytes();
    out[6..10].copy_from_slice(&bits);
    out
}

#[test]
fn ten_gigabytes_are_opened_by_reading_kilobytes() {
    const BLOB: u64 = 500 << 20;
    // One section holds a tensor of a gigabyte between two numbers.
    let start = 2000 + 20 * BLOB;
    let tensor = 1u64 << 30;
    let mut section = b"[(d3\x01a:u3\x01)(d3\x01t:t3\x01u35".to_vec();
    section.extend_from_slice(&(tensor as u32).to_be_bytes());
    let tail = b")(d3\x01z:u3\x02)]";
    let size = section.len() as u64 + tensor + tail.len() as u64;
    let head = header(21, |out, n| match n {
        20 => label(out, "meta", start, size, 3),
        n => label(out, &format!("blob{n}"), 2000 + n * BLOB, BLOB, 0),
    });
    struct Sparse<'a>(Counting<'a>, u64, Vec<u8>, &'a [u8]);
    impl Input for Sparse<'_> {
        fn size(&self) -> u64 {
            self.0.size
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.0.read_at(offset, buf)?;
            let tail = self.0.size - self.3.len() as u64;
            for (at, bytes) in [(self.1, &self.2[..]), (tail, self.3)] {
                for (n, byte) in bytes.iter().enumerate() {
                    let place = (at + n as u64).checked_sub(offset).and_then(|n| buf.get_mut(n as usize));
                    place.into_iter().for_each(|place| *place = *byte);
                }
            }
            Ok(())
        }
    }
    let counting = Counting { head: &head, size: start + size, read: AtomicU64::new(0) };
    let file = Sparse(counting, start, section, tail);
    let read = vsf::open(&file).unwrap();
    let codes: Vec<_> = read.findings.iter().map(|f| f.code).collect();
    assert_eq!((read.labels.len(), &codes[..]), (21, &["vsf-wide"][..]));
    let section = read.section(&file, &read.labels[20]).unwrap().section;
    assert_eq!((section.rest.as_ref(), section.fields.len()), (None, 3));
    let Value::Tensor(found) = &section.fields[1].values[0].value else { panic!("a tensor") };
    assert_eq!((found.shape.as_slice(), found.data.len()), (&[tensor as usize][..], tensor));
    let bytes = file.0.read.load(Ordering::Relaxed);
    assert!(bytes < 16 << 10, "{bytes} bytes were read");
}

#[test]
fn as_many_labels_as_are_allowed_and_no_more() {
    let file = header(100_000, |out, n| label(out, &format!("l{n}"), 0, 0, 0));
    let read = vsf::open(&file).unwrap();
    assert_eq!(read.labels.len(), 100_000);
    assert_eq!(read.labels[99_999].name, b"l99999");
    // A header of over sixteen mebibytes is read as far as that.
    let file = header(900_000, |out, n| label(out, &format!("l{n}"), 0, 0, 0));
    let read = vsf::open(&file).unwrap();
    assert!(read.header.broken.is_some() && read.labels.len() < 900_000);
    let file = [&header(0, |_, _| ())[..22], &b"(d3\x01a)".repeat(2 << 20)[..], b">"].concat();
    let read = vsf::open(&file).unwrap();
    assert_eq!(read.header.broken.unwrap().code, "vsf-labels");
    assert_eq!(read.labels.len() as u64, vsf::MAX_LABELS + 1);
}

/// Every `x` may end at many places, and all of them fail at the end: the work is bounded, not exponential.
#[test]
fn text_that_never_fits_does_not_take_for_ever() {
    let mut body = b"[".to_vec();
    for _ in 0..2000 {
        body.extend_from_slice(b"(d3\x01k:x3\xC8");
        body.extend_from_slice(&b")(d3\x01k:x3\x08abc,".repeat(5));
        body.extend_from_slice(b")");
    }
    let mut file = header(1, |out, _| label(out, "a", 100, body.len() as u64, 9));
    file.resize(100, 0);
    file.extend_from_slice(&body);
    let read = vsf::open(&file).unwrap();
    let section = read.section(&file, &read.labels[0]).unwrap().section;
    assert_eq!(section.rest.unwrap().wrong.code, "vsf-unknown");
}

/// The newest header counts in a file that was appended to, and only in one that can be.
#[test]
fn an_appended_file_shows_its_newest_generation() {
    let body = b"[(d3\x01a:u3\x01)]";
    let first = |z: u8| {
        let mut out = b"R\xC3\x85<z3\x00y3\x09b3\x25n3\x01(d3\x03one:o3\x25,b3\x0C,n3\x01)>".to_vec();
        out[6] = z;
        assert_eq!(out.len(), 0x25);
        [&out[..], body].concat()
    };
    let append = |z: u8, at: u64| {
        let mut file = first(z);
        let start = file.len() as u64;
        let second = b"R\xC3\x85<z3\x0Ay3\x09b3\x25n3\x01(d3\x03two:o3\x25,b3\x0C,n3\x01)>";
        file.extend_from_slice(second);
        file.extend_from_slice(b">\xC3\x85R\0VSF");
        file.extend_from_slice(&(if at == 0 { start } else { at }).to_be_bytes());
        file
    };
    let name = |file: &[u8]| {
        let read = vsf::open(file).unwrap();
        (read.labels[0].title(), read.findings.iter().map(|f| f.code).collect::<Vec<_>>())
    };
    assert_eq!(name(&first(10)), ("one".to_string(), vec![]));
    assert_eq!(name(&append(10, 0)), ("two".to_string(), vec![]));
    assert_eq!(name(&append(9, 0)).0, "one");
    assert_eq!(name(&append(10, 7)), ("one".to_string(), vec!["vsf-generation", "vsf-trailing"]));
    assert_eq!(name(&append(10, 1 << 40)), ("one".to_string(), vec!["vsf-generation", "vsf-trailing"]));
}
