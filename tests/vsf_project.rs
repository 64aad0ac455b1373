//! VSF files as trees: what `ls` and `cat` see, without a mount.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use vaso::error::Error;
use vaso::format::{self, OpenOptions};
use vaso::store::{Location, Source};
use vaso::tree::{Branch, Content, Kind, Spot};

fn open(path: &Path) -> Result<Arc<dyn Branch>, Error> {
    let location = Location::find(path)?;
    let project = format::open(Source::open(Arc::new(location))?, OpenOptions::default())?;
    assert_eq!(project.kind(), "vsf");
    Ok(project)
}

/// Every file below a spot by its path; what is refused is `None`.
fn files(branch: Arc<dyn Branch>) -> BTreeMap<String, Option<Content>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![Spot::top(branch)];
    while let Some(spot) = pending.pop() {
        let path = String::from_utf8(spot.path()).unwrap();
        if spot.kind() != Kind::Directory {
            let content = spot.branch.open(spot.node);
            if let Ok(content) = &content {
                assert_eq!(spot.size().unwrap(), content.size(), "{path}");
            }
            assert!(found.insert(path, content.ok()).is_none());
            continue;
        }
        match spot.enter() {
            Ok(inside) => pending.extend(inside.children()),
            Err(Error::Damaged { .. }) => drop(found.insert(format!("{path}/"), None)),
            Err(other) => panic!("{path}: {other}"),
        }
    }
    found
}

fn read(content: &Content) -> Vec<u8> {
    let mut bytes = vec![0; content.size() as usize];
    assert_eq!(content.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn all(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let found = files(open(path).unwrap());
    found.into_iter().filter_map(|(path, content)| Some((path, read(&content?)))).collect()
}

/// The head and the bytes of an array.
fn array(npy: &[u8]) -> (String, &[u8]) {
    assert_eq!(npy[..8], *b"\x93NUMPY\x01\0");
    let end = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    assert!(end.is_multiple_of(64));
    (String::from_utf8(npy[10..end].to_vec()).unwrap().trim_end().to_string(), &npy[end..])
}

#[test]
fn every_file_of_the_corpus_is_a_tree_that_reads() {
    let folder = common::data("vsf.tar.xz");
    let mut count = 0;
    for set in ["z2", "z5", "z7", "z8", "z10", "seed"] {
        for entry in fs::read_dir(folder.path().join("vsf").join(set)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "vsf") {
                let files = files(open(&path).unwrap());
                assert!(files.contains_key("header.json"), "{path:?}");
                for (name, content) in &files {
                    let bytes = read(content.as_ref().unwrap_or_else(|| panic!("{path:?} {name}")));
                    if name.ends_with(".json") {
                        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
                    }
                    if name.ends_with(".npy") {
                        array(&bytes);
                    }
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, 76 + 13);
}

#[test]
fn a_camera_file_is_a_directory_of_files() {
    let folder = common::data("vsf.tar.xz");
    let path = folder.path().join("vsf/z10/raw_builder_full.vsf");
    let truth: serde_json::Value =
        serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
    let files = all(&path);
    let raw = truth["labels"].as_array().unwrap().iter().find(|l| l["name"] == "raw").unwrap();
    let fields = raw["section"]["fields"].as_array().unwrap();
    let field = |name: &str| &fields.iter().find(|f| f["name"] == name).unwrap()["values"][0];
    let image = field("image");
    let (head, samples) = array(&files["raw/image.npy"]);
    assert_eq!(head, "{'descr': '<u2', 'fortran_order': False, 'shape': (64, 48), }");
    let said: Vec<String> =
        samples.chunks(2).take(16).map(|b| u16::from_le_bytes([b[0], b[1]]).to_string()).collect();
    let expected: Vec<&str> =
        image["samples_head"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!(said, expected);
    let big: Vec<u8> =
        samples.chunks(2).flat_map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])).to_be_bytes()).collect();
    let sha = |bytes: &[u8]| -> String {
        use sha2::Digest;
        sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
    };
    assert_eq!(sha(&big), image["samples_u64be_sha256"]);
    assert_eq!(sha(&files["raw/image.packed"]), image["data_sha256"]);
    let debug = |name: &str| field(name)["debug"].as_str().unwrap();
    assert_eq!(
        format!("u0({})\n", String::from_utf8_lossy(&files["raw/flash_fired"]).trim_end()),
        format!("{}\n", debug("flash_fired"))
    );
    assert_eq!(files["raw/white_level"], b"4095\n");
    let (head, nine) = array(&files["raw/magic_9.npy"]);
    assert_eq!(head, "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 3), }");
    assert_eq!(nine.len(), 36);
    assert!(files.contains_key("raw/camera_make.x") && files.contains_key("raw/section.json"));
}

/// A read of unpacked elements gives the same bytes wherever it begins and ends.
#[test]
fn unpacked_elements_read_alike_at_any_place() {
    let folder = common::data("vsf.tar.xz");
    let files = files(open(&folder.path().join("vsf/z2/bitpacked_12_small.vsf")).unwrap());
    let mut arrays = 0;
    for (name, content) in files.iter().filter(|(name, _)| name.ends_with(".npy")) {
        let content = content.as_ref().unwrap();
        let whole = read(content);
        for from in (0..whole.len()).step_by(37) {
            for len in [1, 2, 3, 7, 64, 1001] {
                let mut part = vec![0; len];
                let n = content.read_at(from as u64, &mut part).unwrap();
                assert_eq!(part[..n], whole[from..(from + len).min(whole.len())], "{name}");
            }
        }
        arrays += 1;
    }
    assert!(arrays > 0);
}

#[test]
fn strided_tensors_are_in_order_or_gathered() {
    let folder = common::data("vsf.tar.xz");
    let files = all(&folder.path().join("vsf/seed/strided.vsf"));
    let (head, stored) = array(&files["tensors/colmajor.npy"]);
    assert_eq!(head, "{'descr': '>u2', 'fortran_order': True, 'shape': (4, 3), }");
    assert_eq!(stored.len(), 24);
    let (head, gathered) = array(&files["tensors/perm.npy"]);
    assert_eq!(head, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }");
    let original = fs::read(folder.path().join("vsf/seed/strided.vsf")).unwrap();
    // The stored elements are the last 24 bytes before `)]`; strides are 4, 8 and 1.
    let stored = &original[original.len() - 26..original.len() - 2];
    let mut expected = Vec::new();
    for a in 0..2 {
        for b in 0..3 {
            (0..4).for_each(|c| expected.push(stored[a * 4 + b * 8 + c]));
        }
    }
    assert_eq!(gathered, expected);
}

#[test]
fn blobs_are_files_where_they_lie_and_names_are_safe() {
    let folder = common::data("vsf.tar.xz");
    let of = |name: &str| folder.path().join("vsf").join(name).with_extension("vsf");
    let files = all(&of("seed/unboxed_multi_gap"));
    let bytes = fs::read(of("seed/unboxed_multi_gap")).unwrap();
    assert_eq!(files["a.bin"], bytes[105..1105]);
    assert_eq!(files["b.bin"], b"");
    assert_eq!(files["c.bin"], bytes[1137..1146]);
    let files = all(&of("seed/medical_hierarchy"));
    assert_eq!(files["medical/imaging/v"], b"3\n");
    assert_eq!(files["a/b/c/d/e/v"], b"6\n");
    assert_eq!(all(&of("seed/referenced_field"))["root/payload.bin"].len(), 256);
    assert_eq!(all(&of("corrupt/name_slash")).keys().collect::<Vec<_>>(), ["a%2Fb.bin", "header.json"]);
    assert_eq!(all(&of("corrupt/name_dots")).keys().collect::<Vec<_>>(), ["%2E%2E.bin", "header.json"]);
    let names = all(&of("corrupt/dup_labels"));
    assert_eq!(names.keys().collect::<Vec<_>>(), ["a.bin", "a/a", "a/section.json", "header.json"]);
    let files = all(&of("z10/multi_value_flags_dupes"));
    assert_eq!(files["multi/triple"], b"1\n2.0\nx\n");
    assert_eq!((&files["multi/present"][..], &files["multi/present~2"][..]), (&b""[..], &b"2\n"[..]));
    assert_eq!(files["empty"], b"");
}

#[test]
fn one_bad_section_leaves_the_others() {
    let folder = common::data("vsf.tar.xz");
    let of = |name: &str| {
        files(open(&folder.path().join("vsf/corrupt").join(name).with_extension("vsf")).unwrap())
    };
    let past = of("offset_past_eof");
    assert!(
        past["b.bin"].is_none() && past.keys().any(|name| name.starts_with("a/") && past[name].is_some())
    );
    let cut = of("z10_trunc_section");
    assert!(cut["metadata/"].is_none() && cut["plane/a.bin"].is_none());
    let bits = of("bp_bits_0");
    assert!(bits.keys().any(|name| name.starts_with("a/") && name.ends_with(".raw")));
    let flipped = of("z10_flip_section");
    assert_eq!(flipped["plane/b.bin"].as_ref().unwrap().size(), 300);
    assert!(open(&folder.path().join("vsf/corrupt/seed_trunc_4.vsf")).is_err());
}

/// A section that others stand below is no door, and all of it is there.
#[test]
fn a_section_may_stand_in_another_ones_directory() {
    use vaso::format::vsf::{Builder, Fields, Value, Width};
    let mut builder = Builder::new();
    let fields = |n| {
        let mut fields = Fields::new();
        fields.add("v", &Value::Unsigned(Width::W3, n)).unwrap();
        fields.add("c", &Value::Bool(true)).unwrap();
        fields
    };
    builder.section("a.b", fields(1)).unwrap();
    builder.section("a.b.c", fields(2)).unwrap();
    builder.blob("a", b"blob".to_vec()).unwrap();
    let folder = common::folder();
    let path = folder.path().join("nested.vsf");
    fs::write(&path, builder.to_bytes().unwrap()).unwrap();
    let files = all(&path);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "a.bin",
        "a/b/c/c",
        "a/b/c/section.json",
        "a/b/c/v",
        "a/b/c~2",
        "a/b/section.json",
        "a/b/v",
        "header.json",
    ];
    assert_eq!(names, expected);
    assert_eq!((&files["a/b/v"][..], &files["a/b/c/v"][..]), (&b"1\n"[..], &b"2\n"[..]));
    assert_eq!((&files["a/b/c~2"][..], &files["a.bin"][..]), (&b"true\n"[..], &b"blob"[..]));
}

/// A section within a field and a section of its own can have one path: both are there, in either order of labels.
#[test]
fn a_section_within_a_field_hides_no_other() {
    use vaso::format::vsf::{Builder, Fields, Value, Width};
    let number = |name: &str, n| {
        let mut fields = Fields::new();
        fields.add(name, &Value::Unsigned(Width::W3, n)).unwrap();
        fields
    };
    let mut outer = number("own", 1);
    outer.add_section("n", number("x", 2)).unwrap();
    for order in [["a", "a.n"], ["a.n", "a"]] {
        let mut builder = Builder::new();
        for label in order {
            let fields = if label == "a" { outer.clone() } else { number("y", 3) };
            builder.section(label, fields).unwrap();
        }
        let folder = common::folder();
        let path = folder.path().join("nested.vsf");
        fs::write(&path, builder.to_bytes().unwrap()).unwrap();
        let files = all(&path);
        let value = |name: &str| files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(value("a/own").as_deref(), Some("1\n"), "{:?}", files.keys());
        assert_eq!(value("a/n/y").as_deref(), Some("3\n"), "{:?}", files.keys());
        assert_eq!(value("a/n~2/x").as_deref(), Some("2\n"), "{:?}", files.keys());
    }
}

/// The time of the files is the one in the header, where there is one.
#[test]
fn files_bear_the_time_that_is_in_the_file() {
    let folder = common::data("vsf.tar.xz");
    let time = |name: &str| {
        let branch = open(&folder.path().join("vsf").join(name).with_extension("vsf")).unwrap();
        let node = branch.tree().find(b"header.json").unwrap();
        branch.tree().node(node).time().utc()
    };
    // 2528325930280000000 oscillations at 1420407826 a second, from the landing, by Python's `fractions`.
    assert_eq!(time("z10/signed_section"), "2025-12-15T16:44:20Z");
    // The single-precision number 0x4ed7b2c2, which is 1809408256, in seconds from the landing.
    assert_eq!(time("z5/eagle_times"), "2026-11-21T01:41:56Z");
}

/// Before 1970 too; the landing itself is the time of a writer without a clock.
#[test]
fn times_before_1970_are_times() {
    let folder = common::folder();
    let path = folder.path().join("old.vsf");
    let time = |seconds: i32| {
        let bytes = [&b"R\xC3\x85<b3\x12z3\x02y3\x01T5"[..], &seconds.to_be_bytes(), b"n3\0>"].concat();
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
        let branch = open(&path).unwrap();
        let header = branch.tree().find(b"header.json").unwrap();
        branch.tree().node(header).time().utc()
    };
    // By `date -u -d '1969-07-20T20:17:40Z + N seconds'`.
    assert_eq!(time(1), "1969-07-20T20:17:41Z");
    assert_eq!(time(-100_000_000), "1966-05-20T10:31:00Z");
    assert_eq!(time(0), "2001-09-09T01:46:40Z");
}

#[test]
fn a_file_of_a_newer_version_says_what_to_do() {
    let folder = common::folder();
    let path = folder.path().join("newer.vsf");
    for (z, y, odd) in [(10, 9, false), (11, 9, true), (11, 11, true), (9, 11, true)] {
        fs::write(&path, [b"R\xC3\x85<z3", &[z][..], b"y3", &[y], b"n3\0>"].concat()).unwrap();
        let project = common::open(&path).unwrap();
        let list = project.findings().list();
        let newer: Vec<_> = list.iter().filter(|finding| finding.code == "vsf-newer").collect();
        assert_eq!(newer.len(), usize::from(odd), "{z} {y}");
        assert!(newer.iter().all(|finding| finding.remedy.contains("update vaso")));
    }
}

/// What each kind of file bears, and that the offset is where its bytes, or its value, begin.
#[test]
fn every_file_bears_what_is_known_of_it() {
    use vaso::format::vsf::{Builder, Data, Element, Fields, Packed, Tensor, Value, Width, Wrapped};
    let folder = common::folder();
    let path = folder.path().join("Known.vsf");
    let mut fields = Fields::new();
    let tensor = |strides| {
        let (element, data) = (Element::Unsigned(Width::W4), Data::Bytes(b"ABCDEFGHIJKL".to_vec()));
        Value::Tensor(Tensor { element, shape: vec![2, 3], strides, vector: false, data })
    };
    let packed = Packed { bits: 12, shape: vec![2], design: true, data: Data::Bytes(b"PQR".to_vec()) };
    let wrapped = Wrapped { code: Wrapped::BLOB, bits: 40, data: Data::Bytes(b"WRAPS".to_vec()) };
    fields.add("iso", &Value::Unsigned(Width::W4, 800)).unwrap();
    fields.add("rows", &tensor(None)).unwrap();
    fields.add("steps", &tensor(Some(vec![1, 2]))).unwrap();
    fields.add("bits", &Value::Packed(packed)).unwrap();
    fields.add("wrap", &Value::Wrapped(wrapped)).unwrap();
    fields.add("colour", &Value::Opaque(Data::Bytes(b"ru\x01\x02\x03".to_vec()))).unwrap();
    fields.add_all("flag", &[], None).unwrap();
    let mut builder = Builder::new();
    builder.section("cam", fields).unwrap();
    builder.blob("raw", b"blob".to_vec()).unwrap();
    let bytes = builder.to_bytes().unwrap();
    fs::write(&path, &bytes).unwrap();
    let top = Spot::top(open(&path).unwrap());
    let at = |text: &[u8]| bytes.windows(text.len()).position(|w| w == text).unwrap().to_string();
    let tensor_at = at(b"ABCDEFGHIJKL");
    let steps_at = bytes.windows(6).rposition(|w| w == b"ABCDEF").unwrap().to_string();
    for (file, expected) in [
        ("cam/iso", vec![("offset", at(b"u4\x03\x20")), ("type", "u4".into())]),
        (
            "cam/rows.npy",
            vec![
                ("bits", "16".into()),
                ("count", "6".into()),
                ("offset", tensor_at),
                ("shape", "2,3".into()),
                ("type", "u4".into()),
            ],
        ),
        (
            "cam/steps.npy",
            vec![
                ("bits", "16".into()),
                ("count", "6".into()),
                ("offset", steps_at),
                ("shape", "2,3".into()),
                ("strides", "1,2".into()),
                ("type", "u4".into()),
            ],
        ),
        (
            "cam/bits.packed",
            vec![
                ("bits", "12".into()),
                ("count", "2".into()),
                ("offset", at(b"PQR")),
                ("shape", "2".into()),
                ("type", "bp".into()),
            ],
        ),
        ("cam/wrap.wrapped", vec![("offset", at(b"WRAPS")), ("type", "vb".into())]),
        ("cam/wrap.bin", vec![("offset", at(b"WRAPS")), ("type", "vb".into())]),
        ("cam/colour", vec![("offset", at(b"ru\x01")), ("type", "ru".into())]),
        ("cam/flag", vec![("offset", at(b"(d3\x04flag")), ("type", "flag".into())]),
        ("raw.bin", vec![("count", "0".into()), ("offset", at(b"blob")), ("type", "unboxed".into())]),
    ] {
        let mut spot = top.clone();
        for part in file.split('/') {
            spot = spot.child(part.as_bytes()).unwrap().unwrap_or_else(|| panic!("{file}"));
        }
        let found = spot.branch.attributes(spot.node);
        let expected: Vec<_> =
            expected.into_iter().map(|(name, value)| (format!("user.vsf.{name}"), value)).collect();
        let found: Vec<_> = found.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        assert_eq!(found, expected, "{file}");
    }
}

/// Sections are directories in four ways: behind a door, beside other labels below their name, within a field, and in the
/// label itself. Each says what it is; what is in one that a label has is listed in it.
#[test]
fn sections_say_what_they_are_wherever_they_are_directories() {
    let folder = common::folder();
    let path = folder.path().join("Nested.vsf");
    let body = b"[(d3\x01k:u3\x07)(d3\x01n:[(d3\x01i:u3\x01)(d3\x01j:u3\x02)])]";
    let mut bytes = b"R\xC3\x85<b3\0z3\x0Ay3\x09n3\x04".to_vec();
    for (name, number) in [("a", 0), ("a.b", 1), ("c", 2)] {
        bytes.extend([b"(d3", &[name.len() as u8][..], name.as_bytes(), b"o3", &[number], b"b3"].concat());
        bytes.extend([body.len() as u8, b'n', b'3', 2, b')']);
    }
    bytes.extend(b"(d3\x01e:[(d3\x01k:u3\x09)])>");
    let start = bytes.len();
    bytes[6] = start as u8;
    for number in 0..3u8 {
        let at = bytes.windows(5).position(|w| w == [b'o', b'3', number, b'b', b'3']).unwrap();
        bytes[at + 2] = (start + usize::from(number) * body.len()) as u8;
    }
    (0..3).for_each(|_| bytes.extend(body));
    fs::write(&path, &bytes).unwrap();
    let top = Spot::top(open(&path).unwrap());
    let nested = body.windows(2).position(|w| w == b":[").unwrap() + 1;
    let inline = bytes.windows(7).position(|w| w == b"d3\x01e:[(").unwrap() + 5;
    for (directory, offset, count, lists) in [
        ("a", start, 2, true),
        ("a/n", start + nested, 2, false),
        ("a/b", start + body.len(), 2, true),
        ("a/b/n", start + body.len() + nested, 2, false),
        ("c", start + 2 * body.len(), 2, true),
        ("c/n", start + 2 * body.len() + nested, 2, false),
        ("e", inline, 1, true),
    ] {
        let mut spot = top.clone();
        for part in directory.split('/') {
            spot = spot.child(part.as_bytes()).unwrap().unwrap_or_else(|| panic!("{directory}"));
        }
        assert_eq!(spot.kind(), Kind::Directory);
        let found = spot.branch.attributes(spot.node);
        let expected =
            [("count", count.to_string()), ("offset", offset.to_string()), ("type", "section".into())];
        let expected = expected.map(|(name, value)| (format!("user.vsf.{name}"), value));
        let found: Vec<_> = found.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        assert_eq!(found, expected, "{directory}");
        assert_eq!(spot.child(b"section.json").unwrap().is_some(), lists, "{directory}");
    }
    let files = all(&path);
    let json: serde_json::Value = serde_json::from_slice(&files["e/section.json"]).unwrap();
    assert_eq!((&json["fields"][0]["name"], &files["e/k"][..]), (&"k".into(), &b"9\n"[..]));
    assert_eq!(json["fields"][0]["values"][0]["value"], 9);
}

/// A million labels of one name: each is found under a name of its own, without a search for each.
#[test]
fn twins_without_end_take_no_longer_than_others() {
    let folder = common::folder();
    let path = folder.path().join("twins.vsf");
    let labels = 300_000;
    let mut bytes = b"R\xC3\x85<b3\0z3\x02y3\x01n3\0".to_vec();
    bytes.extend(b"(d3\x01a)".repeat(labels));
    bytes.push(b'>');
    fs::write(&path, &bytes).unwrap();
    let branch = open(&path).unwrap();
    assert_eq!(branch.tree().len(), labels + 2);
    assert!(branch.tree().find(b"a~300000").is_some());
}
