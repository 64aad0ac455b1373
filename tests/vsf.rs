//! VSF files of every dialect, against what their writers said is in them.
//!
//! The truth files were made by the writers' own decoders; `error` in one means that the writer could not read its
//! own file. The expected values of those are written out here, from the bytes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use vaso::format::vsf::{self, Algorithm, Count, Data, File, Item, Kind, Section, Tensor, Value};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "vsf"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn truth_of(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The value in the words of the writers' debug output, where those say all of it.
fn debug(value: &Value) -> Option<String> {
    let list = |data: &Data| format!("{:?}", data.bytes().unwrap());
    let text = |data: &Data| String::from_utf8(data.bytes().unwrap().to_vec()).unwrap();
    Some(match value {
        Value::Bool(b) => format!("u0({b})"),
        Value::Unsigned(_, n) => format!("{}({n})", value.kind()),
        Value::Signed(_, n) => format!("{}({n})", value.kind()),
        Value::F5(n) => format!("f5({n:?})"),
        Value::F6(n) => format!("f6({n:?})"),
        Value::J5([re, im]) => format!("j5(Complex {{ re: {re:?}, im: {im:?} }})"),
        Value::J6([re, im]) => format!("j6(Complex {{ re: {re:?}, im: {im:?} }})"),
        Value::Name(data) => format!("d({:?})", text(data)),
        Value::Ascii(letter, data) => format!("{}({:?})", char::from(*letter), text(data)),
        Value::Number(letter @ (b'b' | b'l'), n) => format!("{}({n}, false)", char::from(*letter)),
        Value::Number(letter, n) => format!("{}({n})", char::from(*letter)),
        Value::Hash(s) | Value::Signature(s) | Value::Key(s) => {
            format!("{}({})", value.kind(), list(&s.data))
        }
        Value::Wrapped(w) => format!("v({}, {})", w.code, list(&w.data)),
        _ => return None,
    })
}

fn usizes(json: &Json) -> Vec<usize> {
    json.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// Compares one value; how many comparisons were made of its content.
fn check_item(bytes: &[u8], item: &Item, truth: &Json, what: &str) -> usize {
    let span = item.span.start as usize..item.span.end as usize;
    assert_eq!(item.span.start, truth["offset"].as_u64().unwrap(), "{what}");
    assert_eq!(item.span.end - item.span.start, truth["length"].as_u64().unwrap(), "{what}");
    assert_eq!(sha256(&bytes[span.clone()]), truth["encoded_sha256"], "{what}");
    if let Some(expected) = truth["hex"].as_str() {
        assert_eq!(hex(&bytes[span]), expected, "{what}");
    }
    let kind = truth["type"].as_str().unwrap();
    match &item.value {
        Value::Tensor(tensor) => {
            check_tensor(bytes, tensor, truth, what);
            return 1;
        }
        Value::Packed(packed) => {
            assert_eq!(kind, "p");
            assert_eq!(u64::from(packed.bits), truth["bits"].as_u64().unwrap());
            assert_eq!(packed.shape, usizes(&truth["shape"]));
            check_data(bytes, &packed.data, truth, what);
            let data = packed.data.load(&bytes).unwrap();
            let mut samples = vec![0u64; packed.count() as usize];
            vsf::unpack(packed.bits.into(), &data, 0, &mut samples).unwrap();
            let head: Vec<String> = samples.iter().take(16).map(u64::to_string).collect();
            let expected: Vec<&str> =
                truth["samples_head"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
            assert_eq!(head, expected, "{what}");
            let big: Vec<u8> = samples.iter().flat_map(|s| s.to_be_bytes()).collect();
            assert_eq!(sha256(&big), truth["samples_u64be_sha256"], "{what}");
            return 1;
        }
        _ => {}
    }
    let said = truth["debug"].as_str().unwrap();
    // Version 2 has the digits of the length in its type names.
    let strip = |s: &str| s.replacen("hb3", "hb", 1).replacen("ge3", "ge", 1).replacen("ke3", "ke", 1);
    if let Some(ours) = debug(&item.value) {
        // Long texts were cut in the truth.
        if said.ends_with("...") || said.len() < ours.len() && said.len() > 190 {
            assert!(ours.starts_with(&strip(said)[..said.len() - 4]), "{what}: {ours} {said}");
        } else {
            assert_eq!(ours, strip(said), "{what}");
        }
    } else if let Value::Text(chars, _) = &item.value {
        let text = said.strip_prefix("x(\"").unwrap().strip_suffix("\")").unwrap();
        assert_eq!(*chars, text.chars().count() as u64, "{what}");
    } else if let Value::Time(time) = &item.value {
        let number = match time.count {
            Count::Unsigned(_, n) => format!("{n}"),
            Count::Signed(_, n) => format!("{n}"),
            Count::F5(n) => format!("{n:?}"),
            Count::F6(n) => format!("{n:?}"),
        };
        assert!(said.starts_with("e(") && said.contains(&format!("({number})")), "{what}: {said} {number}");
        check_moment(time, said.as_bytes()[2], what);
    } else {
        panic!("{what}: {said} was read as {:?}", item.value);
    }
    assert!(strip(kind) == item.value.kind(), "{what}: {kind} {:?}", item.value);
    1
}

/// Whether a time counts what its form does, `letter` being the first of that; and the moment that it means.
fn check_moment(time: &vsf::EagleTime, letter: u8, what: &str) {
    let oscillates = match letter {
        b'e' => true,
        b'f' => false,
        _ => !what.starts_with("z2/") && !what.starts_with("z5/"),
    };
    let unit = if oscillates { vsf::Unit::Oscillations } else { vsf::Unit::Seconds };
    assert_eq!(time.unit, unit, "{what}");
    // 1969-07-20 20:17:40 UTC, and the frequency of the hydrogen line.
    let nanos = match (time.count, oscillates) {
        (Count::F5(n), _) => (f64::from(n) * 1e9) as i128,
        (Count::F6(n), _) => (n * 1e9) as i128,
        (Count::Unsigned(_, n), true) => (n as i128 * 1_000_000_000).div_euclid(1_420_407_826),
        (Count::Signed(_, n), true) => (n * 1_000_000_000).div_euclid(1_420_407_826),
        (Count::Unsigned(_, n), false) => n as i128 * 1_000_000_000,
        (Count::Signed(_, n), false) => n * 1_000_000_000,
    };
    assert_eq!(time.unix_nanos(), Some(nanos - 14_182_940_000_000_000), "{what}");
}

fn check_tensor(bytes: &[u8], tensor: &Tensor, truth: &Json, what: &str) {
    let kind = truth["type"].as_str().unwrap();
    if let Some(element) = kind.strip_prefix("v_") {
        // A vector; the truth holds only its text.
        assert_eq!(tensor.element.to_string(), element);
        assert!(tensor.vector);
        let data = tensor.data.load(&bytes).unwrap();
        let size = tensor.element.bits() as usize / 8;
        let list: Vec<i64> = data
            .chunks(size)
            .map(|c| c.iter().skip(1).fold(i64::from(c[0] as i8), |v, b| v << 8 | i64::from(*b)))
            .collect();
        assert!(truth["debug"].as_str().unwrap().contains(&format!("{list:?}")), "{what}");
        return;
    }
    assert_eq!(if tensor.strides.is_some() { "q" } else { "t" }, kind, "{what}");
    assert_eq!(tensor.element.to_string(), truth["dtype"], "{what}");
    assert_eq!(tensor.shape, usizes(&truth["shape"]), "{what}");
    if let Some(strides) = &tensor.strides {
        assert_eq!(*strides, usizes(&truth["stride"]), "{what}");
    }
    check_data(bytes, &tensor.data, truth, what);
}

fn check_data(bytes: &[u8], data: &Data, truth: &Json, what: &str) {
    let Data::At(range) = data else { panic!("{what}: a tensor is left where it is") };
    if let Some(offset) = truth["data_offset"].as_u64() {
        assert_eq!(range.start, offset, "{what}");
        assert_eq!(range.end - range.start, truth["data_length"].as_u64().unwrap(), "{what}");
    }
    assert_eq!(sha256(&data.load(&bytes).unwrap()), truth["data_sha256"], "{what}");
}

fn read(path: &Path) -> (Vec<u8>, File) {
    let bytes = fs::read(path).unwrap();
    let file = vsf::open(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (bytes, file)
}

/// Checks the label table, which all truth files have; returns the sections, by label.
fn check_labels(bytes: &[u8], file: &File, truth: &Json, what: &str) -> Vec<Option<Section>> {
    let labels = truth["labels"].as_array().unwrap();
    assert_eq!(file.labels.len(), labels.len(), "{what}");
    assert_eq!(truth["label_count"].as_u64().unwrap() as usize, labels.len());
    let mut sections = Vec::new();
    for (label, truth) in file.labels.iter().zip(labels) {
        assert_eq!(label.name, truth["name"].as_str().unwrap().as_bytes(), "{what}");
        let kind = match label.kind() {
            Kind::Section => "section",
            Kind::Blob => "blob",
            Kind::Inline | Kind::Flag => "inline",
        };
        assert_eq!(kind, truth["kind"], "{what}");
        let mut section = None;
        if let Some(reference) = &label.reference {
            let range = file.range(label).unwrap();
            assert_eq!(range.start, truth["offset"].as_u64().unwrap(), "{what}");
            assert_eq!(range.end - range.start, truth["size"].as_u64().unwrap(), "{what}");
            assert_eq!(reference.count.map(|n| n as u64), truth["count"].as_u64(), "{what}");
            assert_eq!(sha256(&bytes[range.start as usize..range.end as usize]), truth["sha256"], "{what}");
        }
        if label.kind() == Kind::Section {
            let body = file.section(&bytes, label).unwrap();
            assert_eq!(body.section.rest, None, "{what}");
            assert_eq!(file.oddities(label, &body), [], "{what}");
            section = Some(body.section);
        }
        sections.push(section);
    }
    sections
}

#[test]
fn real_files_hold_what_their_writers_said() {
    let folder = common::data("vsf.tar.xz");
    let (mut read_files, mut values) = (0, 0);
    for dialect in ["z2", "z5", "z7", "z8", "z10"] {
        for path in files(&folder.path().join("vsf").join(dialect)) {
            let what = path.file_stem().unwrap().to_string_lossy().into_owned();
            let what = format!("{dialect}/{what}");
            let truth = truth_of(&path);
            let (bytes, file) = read(&path);
            assert_eq!(file.findings, [], "{what}");
            assert_eq!(file.header.version(), truth["version"].as_u64(), "{what}");
            assert_eq!(file.header.backward(), truth["backward"].as_u64(), "{what}");
            assert_eq!(file.header.span, 0..truth["header_end"].as_u64().unwrap(), "{what}");
            assert_eq!(file.header.declared_length(), truth["header_length"].as_u64(), "{what}");
            let items = truth["header_items"].as_array().unwrap();
            assert_eq!(file.header.items.len(), items.len(), "{what}");
            for (item, truth) in file.header.items.iter().zip(items) {
                values += check_item(&bytes, item, truth, &what);
            }
            let sections = check_labels(&bytes, &file, &truth, &what);
            for ((label, section), truth) in
                file.labels.iter().zip(sections).zip(truth["labels"].as_array().unwrap())
            {
                assert_eq!(label.span.start, truth["label"]["offset"].as_u64().unwrap(), "{what}");
                let others = truth["label"]["values"].as_array().unwrap().iter();
                let others = others.filter(|v| !["o", "b", "n"].contains(&v["type"].as_str().unwrap()));
                let others: Vec<&Json> = others.collect();
                assert_eq!(label.values.len(), others.len(), "{what}");
                for (item, truth) in label.values.iter().zip(others) {
                    values += check_item(&bytes, item, truth, &what);
                }
                if truth.get("error").is_none()
                    && let Some(section) = section
                {
                    values += check_section(&bytes, &section, &truth["section"], &what);
                }
            }
            read_files += 1;
        }
    }
    // The values of headers, labels (beside place, size and count), section heads and fields in all truth files.
    assert_eq!((read_files, values), (76, 499 + 6 + 68 + 538));
}

fn check_section(bytes: &[u8], section: &Section, truth: &Json, what: &str) -> usize {
    let mut values = 0;
    let prefix = truth["prefix"].as_array().unwrap();
    assert_eq!(section.prefix.len(), prefix.len(), "{what}");
    for (item, truth) in section.prefix.iter().zip(prefix) {
        values += check_item(bytes, item, truth, what);
    }
    assert_eq!(section.span.start, truth["offset"].as_u64().unwrap(), "{what}");
    assert_eq!(section.span.end - section.span.start, truth["length"].as_u64().unwrap(), "{what}");
    let fields = truth["fields"].as_array().unwrap();
    assert_eq!(section.fields.len(), fields.len(), "{what}");
    for (field, truth) in section.fields.iter().zip(fields) {
        let what = format!("{what} {}", truth["name"]);
        assert_eq!(field.name, truth["name"].as_str().unwrap().as_bytes(), "{what}");
        assert_eq!(field.span.start, truth["offset"].as_u64().unwrap(), "{what}");
        assert_eq!(field.span.end - field.span.start, truth["length"].as_u64().unwrap(), "{what}");
        let items = truth["values"].as_array().unwrap();
        assert_eq!(field.values.len(), items.len(), "{what}");
        for (item, truth) in field.values.iter().zip(items) {
            values += check_item(bytes, item, truth, &what);
        }
    }
    values
}

/// The two files that their writers cannot read, from their bytes.
#[test]
fn files_that_their_own_writer_cannot_read_are_read() {
    let folder = common::data("vsf.tar.xz");
    let of = |name: &str| {
        let (bytes, file) = read(&folder.path().join("vsf").join(name));
        let section = file.section(&bytes, &file.labels[0]).unwrap().section;
        (bytes, section)
    };
    let value = |section: &Section, name: &str| section.field(name).unwrap().values[0].value.clone();

    let (_, colours) = of("z2/world_colour.vsf");
    assert_eq!(colours.rest, None);
    assert_eq!(value(&colours, "where"), Value::World(0x2800_0000_1727_7f40));
    for (name, raw) in [("rgb", &b"ru\x01\x02\x03"[..]), ("red", b"rr"), ("grey", b"re\x80")] {
        assert_eq!(value(&colours, name), Value::Opaque(Data::Bytes(raw.to_vec())));
    }

    let (bytes, spirix) = of("z10/spirix.vsf");
    assert_eq!(spirix.rest, None);
    // The writer stored 1, 1, and the tensor [[0, 1], [2, 3]].
    for name in ["s44", "s64"] {
        let Value::Spirix(number) = value(&spirix, name) else { panic!("{name} is a scalar") };
        assert_eq!(number.decimal(10), "1.0");
    }
    let Value::Tensor(tensor) = value(&spirix, "t44") else { panic!("t44 is a tensor") };
    assert_eq!((tensor.element.to_string().as_str(), &tensor.shape[..]), ("s44", &[2, 2][..]));
    let data = tensor.data.load(&bytes).unwrap();
    let w4 = vsf::Width::W4;
    let decimals: Vec<String> =
        data.chunks(4).map(|c| vsf::Spirix::of_bytes(w4, w4, false, c).unwrap().decimal(10)).collect();
    assert_eq!(decimals, ["0", "1.0", "2.0", "3.0"]);
}

/// Files that follow the design to the letter, and two other readings of it.
#[test]
fn files_of_the_design_hold_what_was_put_into_them() {
    let folder = common::data("vsf.tar.xz");
    let mut fields = 0;
    for path in files(&folder.path().join("vsf/seed")) {
        let what = path.file_stem().unwrap().to_string_lossy().into_owned();
        let truth = truth_of(&path);
        let (bytes, file) = read(&path);
        assert!(file.findings.iter().all(|f| f.code == "vsf-overlap"), "{what}: {:?}", file.findings);
        assert_eq!(file.header.version(), truth["version"].as_u64(), "{what}");
        assert_eq!(file.header.backward(), truth["backward"].as_u64(), "{what}");
        assert_eq!(file.header.span.end, truth["header_bytes"].as_u64().unwrap(), "{what}");
        let sections = check_labels(&bytes, &file, &truth, &what);
        for (section, truth) in sections.iter().zip(truth["labels"].as_array().unwrap()) {
            if let Some(section) = section {
                fields += check_design_fields(&bytes, section, &truth["fields"], &what);
            }
        }
    }
    assert_eq!(fields, 540 + 3);
}

fn check_design_fields(bytes: &[u8], section: &Section, truth: &Json, what: &str) -> usize {
    let truth = truth.as_array().unwrap();
    assert_eq!(section.fields.len(), truth.len(), "{what}");
    let mut count = truth.len();
    for (field, truth) in section.fields.iter().zip(truth) {
        let what = format!("{what} {}", truth["name"]);
        assert_eq!(field.name, truth["name"].as_str().unwrap().as_bytes(), "{what}");
        let kind = truth["type"].as_str().unwrap();
        if kind == "ref" {
            let reference = field.reference().unwrap();
            let range = reference.range(bytes.len() as u64).unwrap();
            assert_eq!(range.start, truth["offset"].as_u64().unwrap());
            assert_eq!(sha256(&bytes[range.start as usize..range.end as usize]), truth["sha256"]);
            assert_eq!(reference.count, Some(0));
            continue;
        }
        let [item] = &field.values[..] else { panic!("{what}: one value") };
        let number = |text: String| {
            let said = &truth["value"];
            assert_eq!(text, said.as_str().map_or(said.to_string(), str::to_string), "{what}");
        };
        match &item.value {
            Value::Section(nested) => count += check_design_fields(bytes, nested, &truth["fields"], &what),
            Value::Tensor(tensor) => check_tensor(bytes, tensor, truth, &what),
            Value::Unsigned(w, n) => {
                number(n.to_string());
                let minimal = format!("{}", vsf::Width::of_unsigned(*n) == *w);
                assert!(kind == item.value.kind() || kind == "u" && minimal == "true", "{what}");
            }
            Value::Signed(_, n) => number(n.to_string()),
            Value::F5(n) => number(format!("{n:?}")),
            Value::F6(n) => number(format!("{n:?}")),
            Value::J5([re, im]) => number(format!("[{re:?},{im:?}]")),
            Value::J6([re, im]) => number(format!("[{re:?},{im:?}]")),
            Value::Name(data) => number(String::from_utf8(data.bytes().unwrap().to_vec()).unwrap()),
            Value::Time(time) => number(time.count_text()),
            Value::Spirix(n) => {
                assert_eq!(n.element().to_string(), kind);
                let stored = n.to_bytes();
                assert_eq!(stored.len() as u64, truth["bytes"].as_u64().unwrap());
                // A fraction of `5a…` and an exponent that counts up.
                let fraction = n.fraction.bytes() * if n.im.is_some() { 2 } else { 1 };
                assert!(stored[..fraction].iter().all(|b| *b == 0x5A || n.im.is_some()));
                assert!(stored[fraction..].iter().enumerate().all(|(i, b)| usize::from(*b) == i), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    count
}

#[test]
fn algorithms_are_told_from_lengths() {
    let parse = |value: &[u8]| {
        let mut body = b"[(d3\x01k:".to_vec();
        body.extend_from_slice(value);
        body.extend_from_slice(b")]");
        let mut bytes = b"R\xC3\x85<b3\x21z3\x02y3\x01n3\x01(d3\x01ao3\x21b4".to_vec();
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(b"n3\x01)>");
        assert_eq!(bytes.len(), 0x21);
        bytes.extend_from_slice(&body);
        let file = vsf::open(&bytes).unwrap();
        let section = file.section(&bytes, &file.labels[0]).unwrap().section;
        assert_eq!(section.rest, None);
        section.fields[0].values[0].value.clone()
    };
    let hash = |bytes: &[u8]| match parse(bytes) {
        Value::Hash(sealed) => (sealed.algorithm, sealed.data.len()),
        other => panic!("{other:?}"),
    };
    let with = |head: &[u8], n: usize| [head, &vec![7; n]].concat();
    assert_eq!(hash(&with(b"hb3\x1F", 32)), (Algorithm::Letter(b'b'), 32));
    assert_eq!(hash(&with(b"h23\x1F", 32)), (Algorithm::Sha(b'2'), 32));
    assert_eq!(hash(&with(b"h53\x3F", 64)), (Algorithm::Sha(b'5'), 64));
    assert_eq!(hash(&with(b"h3\x20", 32)), (Algorithm::Unsaid, 32));
    assert_eq!(hash(&with(b"h5\0\0\0\x20", 32)), (Algorithm::Unsaid, 32));
}

/// By rules that were found with independent code; the corpus is whole, so every hash is right.
#[test]
fn every_hash_in_real_files_is_right() {
    let folder = common::data("vsf.tar.xz");
    let mut counts = std::collections::BTreeMap::new();
    for dialect in ["z2", "z5", "z7", "z8", "z10"] {
        for path in files(&folder.path().join("vsf").join(dialect)) {
            let (bytes, file) = read(&path);
            for check in vsf::verify(&bytes, &file, &[], &mut |_| ()).unwrap() {
                let what = format!("{} {check:?}", path.display());
                let kind = match check.sealing {
                    vsf::Sealing::FileHash => "file",
                    vsf::Sealing::Provenance => "provenance",
                    vsf::Sealing::FileSignature => "file signature",
                    vsf::Sealing::Content(_) => "content",
                    vsf::Sealing::Section(_) => "section signature",
                    other => panic!("{other:?}"),
                };
                match check.outcome {
                    vsf::Outcome::Right => *counts.entry(kind).or_insert(0) += 1,
                    vsf::Outcome::Unverified(why) => {
                        assert_eq!(
                            (kind, why),
                            ("section signature", "the key is not in the file"),
                            "{what}"
                        );
                    }
                    _ => panic!("{what}"),
                }
            }
            // One changed bit, in the last byte, is seen by every hash of the file.
            let mut changed = bytes.clone();
            *changed.last_mut().unwrap() ^= 1;
            let file = vsf::open(&changed).unwrap();
            for check in vsf::verify(&changed, &file, &[], &mut |_| ()).unwrap() {
                if matches!(check.sealing, vsf::Sealing::FileHash | vsf::Sealing::Provenance) {
                    assert_eq!(check.outcome, vsf::Outcome::Wrong, "{}", path.display());
                }
            }
        }
    }
    // As many as the truth files have among the values of headers (`hb`, `hp`) and labels (`hb`).
    let expected = [("content", 3), ("file", 74), ("provenance", 59)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}
