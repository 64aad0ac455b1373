//! Our reader against another one, `vsf_reader.py`, which was written from the description of the format and shares
//! nothing with ours: on real files, on broken ones, and on what our writer makes.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};
use vaso::format::vsf::{self, Count, Data, Field, Input, Item, Unit, Value};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The value in the other reader's words.
fn told(bytes: &[u8], item: &Item) -> Json {
    let data = |data: &Data| hex(&data.load(&bytes).unwrap());
    let range = |data: &Data| match data {
        Data::At(range) => (range.start, range.end),
        Data::Bytes(_) => panic!("arrays are left where they are"),
    };
    let value = &item.value;
    let (kind, said) = match value {
        Value::Bool(b) => ("u0".to_string(), json!(b)),
        Value::Unsigned(_, n) | Value::Number(_, n) => (value.kind(), json!(n.to_string())),
        Value::Signed(_, n) => (value.kind(), json!(n.to_string())),
        Value::F5(n) => (value.kind(), json!(hex(&n.to_be_bytes()))),
        Value::F6(n) => (value.kind(), json!(hex(&n.to_be_bytes()))),
        Value::J5(n) => (value.kind(), json!(hex(&n.map(f32::to_be_bytes).concat()))),
        Value::J6(n) => (value.kind(), json!(hex(&n.map(f64::to_be_bytes).concat()))),
        Value::Spirix(n) => (value.kind(), json!(hex(&n.to_bytes()))),
        Value::Time(time) => ("e".to_string(), {
            let count = match time.count {
                Count::Unsigned(_, n) => n.to_string(),
                Count::Signed(_, n) => n.to_string(),
                Count::F5(n) => hex(&n.to_be_bytes()),
                Count::F6(n) => hex(&n.to_be_bytes()),
            };
            let unit = match time.unit {
                Unit::Seconds => "seconds",
                Unit::Oscillations => "oscillations",
            };
            json!([count, unit, time.rfc3339()])
        }),
        Value::Name(d) | Value::Ascii(_, d) | Value::Text(_, d) => (value.kind(), json!(data(d))),
        Value::Hash(s) | Value::Signature(s) | Value::Key(s) | Value::Mac(_, s) => {
            (value.kind(), json!(data(&s.data)))
        }
        Value::Wrapped(w) => (value.kind(), json!([w.code, data(&w.data)])),
        Value::Tensor(t) => {
            let (start, end) = range(&t.data);
            (value.kind(), json!([t.element.to_string(), t.shape, t.strides, start, end]))
        }
        Value::Packed(p) => {
            let (start, end) = range(&p.data);
            (value.kind(), json!([p.bits, p.shape, start, end]))
        }
        Value::World(place) => ("w".to_string(), json!(hex(&place.to_be_bytes()))),
        Value::Opaque(d) => ("?".to_string(), json!(data(d))),
        Value::Section(section) => ("section".to_string(), parts(bytes, section)),
    };
    json!(["value", item.span.start, item.span.end, kind, said])
}

fn parts(bytes: &[u8], section: &vsf::Section) -> Json {
    let field = |field: &Field| {
        let values: Vec<Json> = field.values.iter().map(|item| told(bytes, item)).collect();
        json!(["field", field.span.start, field.span.end, hex(&field.name), values])
    };
    let mut parts: Vec<Json> =
        section.prefix.iter().chain(&section.items).map(|item| told(bytes, item)).collect();
    parts.extend(section.fields.iter().map(field));
    json!(parts)
}

/// What our reader makes of a file, in the other reader's words; `None` where it refuses it.
fn ours(bytes: &[u8]) -> Option<Json> {
    let file = vsf::open(bytes).ok()?;
    let items: Vec<Json> = file.header.items.iter().map(|item| told(bytes, item)).collect();
    let mut labels = Vec::new();
    for label in &file.labels {
        let place = label
            .reference
            .as_ref()
            .map(|r| json!([r.offset as u64, r.size as u64, r.count.map(|n| n as u64)]));
        let values: Vec<Json> = label.values.iter().map(|item| told(bytes, item)).collect();
        let mut said = json!({"name": hex(&label.name), "place": place, "values": values});
        if label.kind() == vsf::Kind::Section
            && let Ok(body) = file.section(bytes, label)
        {
            let whole = body.section.rest.is_none() && body.flaws.is_empty();
            said["section"] = if whole { parts(bytes, &body.section) } else { Json::Null };
        }
        labels.push(said);
    }
    Some(json!({"header_end": file.header.span.end, "items": items, "labels": labels}))
}

fn theirs(files: &[PathBuf]) -> BTreeMap<String, Json> {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vsf_reader.py");
    let output =
        Command::new("python3").arg(reader).args(files).output().expect("python3 is needed for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn compare(files: &[PathBuf]) -> usize {
    let theirs = theirs(files);
    for path in files {
        let bytes = fs::read(path).unwrap();
        let mut theirs = theirs[path.to_str().unwrap()].clone();
        let what = path.display();
        if theirs.get("refused").is_some() {
            assert_eq!(ours(&bytes), None, "{what}");
            continue;
        }
        let mut ours =
            ours(&bytes).unwrap_or_else(|| panic!("{what} is refused, and read by the other reader"));
        // A section that does not read whole is `null` in one and absent or null in the other.
        for list in [&mut ours, &mut theirs] {
            for label in list["labels"].as_array_mut().unwrap() {
                if label.get("section").is_some_and(Json::is_null) {
                    label.as_object_mut().unwrap().remove("section");
                }
            }
        }
        assert_eq!(ours, theirs, "{what}");
    }
    files.len()
}

#[test]
fn two_readers_agree_on_every_file_of_the_corpus() {
    let folder = common::data("vsf.tar.xz");
    let mut files = Vec::new();
    for set in ["z2", "z5", "z7", "z8", "z10", "seed", "corrupt"] {
        let entries = fs::read_dir(folder.path().join("vsf").join(set)).unwrap();
        files
            .extend(entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "vsf")));
    }
    files.sort();
    assert_eq!(compare(&files), 76 + 13 + 48);
}

/// Files of the dialects that no corpus has, from another writer.
#[test]
fn what_another_writer_writes_in_every_dialect_is_read() {
    let folder = common::folder();
    let writer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vsf_dialects.py");
    let said = common::succeed(Command::new("python3").arg("-B").arg(writer).arg(folder.path()));
    let truth: BTreeMap<String, Json> = serde_json::from_str(&said).unwrap();
    let files: Vec<PathBuf> = truth.keys().map(|name| folder.path().join(name)).collect();
    assert_eq!(compare(&files), 6);
    for (path, truth) in files.iter().zip(truth.values()) {
        let what = path.display();
        let bytes = fs::read(path).unwrap();
        let file = vsf::open(&bytes).unwrap();
        assert_eq!(file.findings, [], "{what}");
        assert_eq!(json!(file.header.version()), truth["version"], "{what}");
        let written = file.header.items.iter().find_map(|item| match item.value {
            Value::Time(time) => time.rfc3339(),
            _ => None,
        });
        assert_eq!(json!(written), truth["header"], "{what}");
        let body = file.section(&bytes, &file.labels[0]).unwrap();
        assert_eq!(file.oddities(&file.labels[0], &body), [], "{what}");
        let section = body.section;
        assert_eq!(json!(section.fields.len()), truth["fields"], "{what}");
        for (name, expected) in truth["times"].as_object().unwrap() {
            let Value::Time(time) = &section.field(name).unwrap().values[0].value else {
                panic!("{what} {name}")
            };
            let unit = if time.unit == Unit::Seconds { "seconds" } else { "oscillations" };
            assert_eq!(json!({"unit": unit, "value": time.rfc3339()}), *expected, "{what} {name}");
        }
        let value = |name: &str, n: usize| section.field(name).unwrap().values[n].value.clone();
        let w = vsf::Width::W3;
        assert_eq!(value("iso_speed", 0), Value::Unsigned(vsf::Width::W4, 800));
        assert_eq!(value("temperature", 0), Value::Signed(w, -5));
        assert_eq!(value("gain", 0), Value::F5(0.5));
        let letter = if truth["version"] == 9 { b'a' } else { b'l' };
        assert_eq!(value("note", 0), Value::Ascii(letter, Data::Bytes(b" , ) (x".to_vec())));
        assert_eq!([value("pair", 0), value("pair", 1)], [Value::Unsigned(w, 1), Value::Unsigned(w, 2)]);
        assert!(section.field("flag").unwrap().values.is_empty());
        let Value::Tensor(list) = value("list", 0) else { panic!("{what}") };
        assert_eq!((list.shape, list.data.load(&bytes[..]).unwrap()), (vec![3], b"),(".to_vec()));
        let Value::Packed(raw) = value("raw", 0) else { panic!("{what}") };
        let mut samples = [0u16; 3];
        vsf::unpack(raw.bits.into(), &raw.data.load(&bytes[..]).unwrap(), 0, &mut samples).unwrap();
        assert_eq!((raw.shape, samples), (vec![3], [1, 2, 4095]));
        let blob = file.range(&file.labels[1]).unwrap();
        assert_eq!(bytes[blob.start as usize..blob.end as usize], b"(d3".repeat(100));
    }
}

/// What is cut off at any place is read alike, as far as it goes.
#[test]
fn two_readers_agree_on_files_that_are_cut_off() {
    let folder = common::data("vsf.tar.xz");
    let cut = common::folder();
    let mut files = Vec::new();
    for name in ["z10/text_x", "z10/multi_value_flags_dupes", "z2/world_colour", "seed/nested_inline"] {
        let bytes = fs::read(folder.path().join("vsf").join(name).with_extension("vsf")).unwrap();
        for len in (0..bytes.len()).step_by(3) {
            let path = cut.path().join(format!("{}-{len:04}.vsf", name.replace('/', "-")));
            fs::write(&path, &bytes[..len]).unwrap();
            files.push(path);
        }
    }
    assert!(compare(&files) > 150);
}

#[test]
fn two_readers_agree_on_what_we_write() {
    use vsf::{Builder, EagleTime, Element, Fields, Packed, Tensor, Width};
    let folder = common::folder();
    let mut builder = Builder::new();
    let mut fields = Fields::new();
    let element = Element::Unsigned(Width::W4);
    let tensor = |strides| Tensor {
        element,
        shape: vec![2, 3],
        strides,
        vector: false,
        data: Data::Bytes((0..12).collect()),
    };
    let packed = vsf::pack(12, &[1u16, 2, 0xFFF]).unwrap();
    let packed = Packed { bits: 12, shape: vec![3], design: true, data: Data::Bytes(packed) };
    for (name, value) in [
        ("iso_speed", Value::Unsigned(Width::W5, 800)),
        ("taken", Value::Time(EagleTime::of_unix(1_700_000_000))),
        ("taken_exactly", Value::Time(EagleTime::fraction(0.25))),
        ("pixels", Value::Tensor(tensor(None))),
        ("columns", Value::Tensor(tensor(Some(vec![1, 2])))),
        ("raw", Value::Packed(packed)),
        ("note", Value::Ascii(b'l', Data::Bytes(b"a ) in ( text".to_vec()))),
    ] {
        fields.add(name, &value).unwrap();
    }
    let mut nested = Fields::new();
    nested.add("deep", &Value::Bool(true)).unwrap();
    nested.add_reference("where", "pixels.raw").unwrap();
    fields.add_section("more", nested).unwrap();
    builder.section("imaging.raw", fields).unwrap();
    builder.blob("pixels.raw", vec![b'>'; 1000]).unwrap();
    let path = folder.path().join("ours.vsf");
    let bytes = builder.to_bytes().unwrap();
    assert_eq!(bytes.as_slice().size(), bytes.len() as u64);
    fs::write(&path, &bytes).unwrap();
    compare(&[path]);
}
