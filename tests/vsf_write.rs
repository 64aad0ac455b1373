//! What we write: the design's own examples byte for byte, and any tree of values there and back.

mod common;

use std::fs;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use vaso::format::vsf::{
    self, Algorithm, Builder, Count, Data, EagleTime, Element, Fields, Input, Item, Mark, Outcome, Packed,
    Sealed, Sealing, Section, Spirix, Tensor, Unfit, Unit, Value, Width, Wrapped,
};

fn bytes(data: impl Into<Vec<u8>>) -> Data {
    Data::Bytes(data.into())
}

/// The value of the only field of a file's only section, as bytes.
fn written(value: &Value) -> Vec<u8> {
    let mut fields = Fields::new();
    fields.add("v", value).unwrap();
    let mut builder = Builder::new();
    builder.section("s", fields).unwrap();
    let file = builder.to_bytes().unwrap();
    let body = file.windows(2).position(|b| b == b"[(").unwrap();
    // `[(d3\x01v:` before and `)]` behind.
    file[body + 7..file.len() - 2].to_vec()
}

/// Twelve bits, 4096 by 3072: the bytes are those that the design prints.
#[test]
fn the_reference_image_is_the_designs_own_bytes() {
    let samples: Vec<u16> = (0..4096 * 3072u32).map(|n| (n.wrapping_mul(2654435761) >> 20) as u16).collect();
    let packed = vsf::pack(12, &samples).unwrap();
    assert_eq!(packed.len(), 18_874_368);
    let image = Packed { bits: 12, shape: vec![4096, 3072], design: true, data: bytes(packed.clone()) };
    let said = written(&Value::Packed(image));
    let head = [0x62, 0x70, 0x33, 0x0C, 0x33, 0x02, 0x34, 0x10, 0x00, 0x34, 0x0C, 0x00];
    assert_eq!(said[..12], head);
    assert!(said[12..] == packed[..]);

    let big: Vec<u8> = samples.iter().flat_map(|s| s.to_be_bytes()).collect();
    assert_eq!(big.len(), 25_165_824);
    let element = Element::Unsigned(Width::W4);
    let tensor =
        Tensor { element, shape: vec![4096, 3072], strides: None, vector: false, data: bytes(big.clone()) };
    let said = written(&Value::Tensor(tensor));
    let head = [0x74, 0x33, 0x02, 0x75, 0x34, 0x34, 0x10, 0x00, 0x34, 0x0C, 0x00];
    assert_eq!(said[..11], head);
    assert!(said[11..] == big[..]);

    let mut unpacked = vec![0u16; samples.len()];
    vsf::unpack(12, &packed, 0, &mut unpacked).unwrap();
    assert!(unpacked == samples);
}

fn rebuild(original: &[u8]) -> Builder {
    let file = vsf::open(original).unwrap();
    let input: Arc<dyn Input> = Arc::new(original.to_vec());
    let mut builder = Builder::new();
    for label in &file.labels {
        let name = std::str::from_utf8(&label.name).unwrap();
        let range = file.range(label).unwrap();
        match label.kind() {
            vsf::Kind::Blob => builder.blob_from(name, input.clone(), range).unwrap(),
            _ => {
                let section = file.section(original, label).unwrap().section;
                builder.section(name, Fields::within(&section, &file, Some(&input)).unwrap()).unwrap()
            }
        };
    }
    if file.header.declared_length() == Some(file.header.span.end) {
        builder.header_length_in_bytes();
    }
    builder
}

/// Files that were made by another writer from the design's text: read, and written again, they are the same bytes.
#[test]
fn files_of_the_design_are_written_byte_for_byte() {
    let folder = common::data("vsf.tar.xz");
    let mut same = 0;
    for name in [
        "ints",
        "many_labels",
        "medical_hierarchy",
        "minimal_bytes",
        "nested_inline",
        "reals_spirix",
        "referenced_field",
        "strided",
        "tensors",
    ] {
        let original = fs::read(folder.path().join("vsf/seed").join(name).with_extension("vsf")).unwrap();
        assert!(rebuild(&original).to_bytes().unwrap() == original, "{name}");
        same += 1;
    }
    assert_eq!(same, 9);
}

/// Real files of every dialect become files of the design that hold the same.
#[test]
fn real_files_can_be_written_in_the_design() {
    let folder = common::data("vsf.tar.xz");
    let mut count = 0;
    for name in [
        "z2/ints_all",
        "z2/strided",
        "z5/tensors_2d",
        "z7/eagle_times",
        "z8/strings",
        "z10/raw_builder_full",
        "z10/text_x",
        "z10/multi_value_flags_dupes",
        "z10/crypto_values",
        "z2/world_colour",
        "z10/spirix",
    ] {
        let original = fs::read(folder.path().join("vsf").join(name).with_extension("vsf")).unwrap();
        let file = vsf::open(&original).unwrap();
        let input: Arc<dyn Input> = Arc::new(original.clone());
        for label in file.labels.iter().filter(|l| l.kind() == vsf::Kind::Section) {
            let section = file.section(&original, label).unwrap().section;
            let mut builder = Builder::new();
            builder.section("copy", Fields::of(&section, Some(&input)).unwrap()).unwrap();
            let copy = builder.to_bytes().unwrap();
            let again = vsf::open(&copy).unwrap();
            let copied = again.section(&copy, &again.labels[0]).unwrap().section;
            assert_eq!(copied.rest, None, "{name}");
            assert_eq!(plain(&section, &original), plain(&copied, &copy), "{name}");
            count += 1;
        }
    }
    assert!(count >= 11);
}

/// Names and values, with the forms that the writer brings together made one.
fn plain(section: &Section, input: &[u8]) -> Vec<(Vec<u8>, Vec<Value>)> {
    let one = |item: &Item| loaded(&item.value, input);
    section.fields.iter().map(|f| (f.name.clone(), f.values.iter().map(one).collect())).collect()
}

fn loaded(value: &Value, input: &[u8]) -> Value {
    let load = |data: &Data| Data::Bytes(data.load(&input).unwrap());
    let sealed = |s: &Sealed| Sealed { algorithm: s.algorithm, data: load(&s.data) };
    match value.clone() {
        Value::Tensor(t) => Value::Tensor(Tensor { data: load(&t.data), vector: false, ..t }),
        Value::Packed(p) => Value::Packed(Packed { data: load(&p.data), design: p.bits <= 64, ..p }),
        Value::Name(d) => Value::Name(load(&d)),
        Value::Ascii(letter, d) => Value::Ascii(letter, load(&d)),
        Value::Text(chars, d) => Value::Text(chars, load(&d)),
        Value::Opaque(d) => Value::Opaque(load(&d)),
        Value::Wrapped(w) => Value::Wrapped(Wrapped { data: load(&w.data), ..w }),
        Value::Hash(s) => Value::Hash(sealed(&s)),
        Value::Signature(s) => Value::Signature(sealed(&s)),
        Value::Key(s) => Value::Key(sealed(&s)),
        Value::Time(t) => {
            let design = matches!(t.count, Count::F5(_) | Count::F6(_));
            Value::Time(EagleTime { mark: if design { Mark::Design } else { t.mark }, ..t })
        }
        Value::Section(s) => Value::Section(Box::new(Section {
            fields: s
                .fields
                .iter()
                .map(|f| vsf::Field {
                    name: f.name.clone(),
                    values: f
                        .values
                        .iter()
                        .map(|i| Item { value: loaded(&i.value, input), span: 0..0 })
                        .collect(),
                    span: 0..0,
                })
                .collect(),
            span: 0..0,
            ..*s
        })),
        other => other,
    }
}

#[test]
fn what_would_be_invalid_cannot_be_built() {
    let unsigned = |n| Value::Unsigned(Width::W3, n);
    let mut fields = Fields::new();
    for name in ["", "a b", "1a", "a..b", ".a", "a.", "é", "a/b", "_a"] {
        assert!(matches!(fields.add(name, &unsigned(1)), Err(Unfit::Name(_))), "{name:?}");
    }
    let tensor = |shape: Vec<usize>, strides, len: usize| {
        Value::Tensor(Tensor {
            element: Element::F6,
            shape,
            strides,
            vector: false,
            data: bytes(vec![0; len]),
        })
    };
    let packed = |bits, len: usize| {
        Value::Packed(Packed { bits, shape: vec![2], design: true, data: bytes(vec![0; len]) })
    };
    for value in [
        unsigned(256),
        Value::Signed(Width::W3, 128),
        Value::Signed(Width::W4, -32769),
        tensor(vec![2], None, 15),
        tensor(vec![usize::MAX, 2], None, 0),
        tensor(vec![usize::MAX, 0, 2], None, 0),
        tensor(vec![1; 65], None, 8),
        tensor(vec![2, 2], Some(vec![1, 3]), 32),
        tensor(vec![2, 2], Some(vec![1]), 32),
        packed(0, 0),
        packed(257, 65),
        packed(12, 4),
        Value::Hash(Sealed { algorithm: Algorithm::Letter(b'b'), data: bytes([]) }),
        Value::Hash(Sealed { algorithm: Algorithm::Letter(b'3'), data: bytes([0; 32]) }),
        Value::Wrapped(Wrapped { code: b'z', bits: 9, data: bytes([0]) }),
        Value::Ascii(b'q', bytes([])),
        Value::Name(Data::At(0..1)),
        Value::Number(b'l', 1),
    ] {
        assert!(fields.add("v", &value).is_err(), "{value:?}");
    }
    assert!(fields.is_empty());
    // What does not read back as it is: a value that ends its own field, and text of the wrong length.
    for value in [Value::Opaque(bytes(b"u3\x01)(d3\x01b:u3\x01".to_vec())), Value::Text(9, bytes([0; 2]))] {
        let mut fields = Fields::new();
        fields.add("v", &value).unwrap();
        assert!(matches!(Builder::new().section("s", fields), Err(Unfit::Unclear(_))), "{value:?}");
    }
    let mut builder = Builder::new();
    assert!(builder.section("s", Fields::new()).is_err());
    builder.blob("s", vec![]).unwrap();
    assert_eq!(builder.blob("s", vec![]).err(), Some(Unfit::Twin("s".into())));
    let mut lost = Fields::new();
    lost.add_reference("where", "nowhere").unwrap();
    builder.section("t", lost).unwrap();
    assert!(builder.to_bytes().unwrap_err().to_string().contains("nowhere"));
    let mut deep = Fields::new();
    deep.add("v", &unsigned(1)).unwrap();
    let nest = |inner| {
        let mut outer = Fields::new();
        outer.add_section("n", inner).map(|_| ()).map(|()| outer)
    };
    let most = (1..64).try_fold(deep, |inner, _| nest(inner)).unwrap();
    assert!(nest(most.clone()).is_err());
    Builder::new().section("deepest", most).unwrap();
}

/// Numbers that say where something lies are right in one file alone: only the builder makes them.
#[test]
fn no_place_is_copied_from_elsewhere() {
    let places = [b'o', b'b', b'n'].map(|letter| Value::Number(letter, 40));
    let refused = |result: Result<&mut Fields, Unfit>| match result {
        Err(Unfit::Place(name)) => assert_eq!(name, "r"),
        other => panic!("{other:?}"),
    };
    refused(Fields::new().add_all("r", &places, None));
    refused(Fields::new().add_all("r", &places[..1], None));
    refused(Fields::new().add("r", &places[1]));
    // The same bytes, said to be something else.
    let mut hidden = Fields::new();
    let hide = |bytes: &[u8]| Value::Opaque(self::bytes(bytes));
    hidden.add_all("r", &[hide(b"o3\x05"), hide(b"b3\x01"), hide(b"n3\0")], None).unwrap();
    assert!(matches!(Builder::new().section("s", hidden), Err(Unfit::Unclear(_))));
    let mut fields = Fields::new();
    fields.add_reference("r", "raw").unwrap();
    let mut outer = Fields::new();
    outer.add_section("in", fields.clone()).unwrap();
    for fields in [fields, outer] {
        let mut builder = Builder::new();
        builder.section("s", fields).unwrap();
        builder.blob("raw", vec![7; 9]).unwrap();
        let written = builder.to_bytes().unwrap();
        let file = vsf::open(&written).unwrap();
        let section = file.section(&written, &file.labels[0]).unwrap().section;
        assert!(matches!(Fields::of(&section, None), Err(Unfit::Place(_))));
    }
}

/// Text whose bytes lie elsewhere is read back as it is, not as zeros.
#[test]
fn text_from_elsewhere_is_looked_at() {
    let supply: Arc<dyn Input> = Arc::new(b"..\x12\x34,u3\x07..".to_vec());
    let mut fields = Fields::new();
    fields.add_all("v", &[Value::Text(5, Data::At(2..8))], Some(&supply)).unwrap();
    assert!(matches!(Builder::new().section("s", fields), Err(Unfit::Unclear(_))));
    let supply: Arc<dyn Input> = Arc::new(b"..\x12\x34\x56..".to_vec());
    let mut fields = Fields::new();
    fields.add_all("v", &[Value::Text(5, Data::At(2..5))], Some(&supply)).unwrap();
    let mut builder = Builder::new();
    builder.section("s", fields).unwrap();
    let written = builder.to_bytes().unwrap();
    assert!(written.ends_with(b"[(d3\x01v:x3\x05\x12\x34\x56)]"));
}

/// Text and colours in a section that no file is around: where they end shows where it does.
#[test]
fn a_section_alone_shows_where_its_values_end() {
    let body = b"[(d3\x01a:x3\x03ab)(d3\x01b:[(d3\x01c:ru\x01\x02\x03)])]";
    let (value, length) = vsf::read_value(body, 2).unwrap();
    assert_eq!(length, body.len());
    assert_eq!(value.to_bytes(None).unwrap(), body);
}

/// What only the whole file shows is told before a byte of it is written.
#[test]
fn a_file_that_could_not_be_read_is_refused_as_a_whole() {
    let key = || SigningKey::from_bytes(&[7; 32]);
    let one = |name: &str, value: &Value| {
        let mut fields = Fields::new();
        fields.add(name, value).unwrap();
        fields
    };
    let refused = |builder: &Builder| {
        let mut written = Vec::new();
        assert!(builder.write(&mut written).is_err() && written.is_empty());
        builder.check().unwrap_err()
    };
    // A signature is a field more.
    let mut fields = Fields::new();
    for _ in 0..1 << 18 {
        fields.add_all("f", &[], None).unwrap();
    }
    let mut full = Builder::new();
    full.section("s", fields).unwrap();
    full.check().unwrap();
    full.signed(key(), true);
    assert!(matches!(refused(&full), Unfit::TooMany(_)));
    // One of the user's own would be taken for that of the section.
    let signature = Sealed { algorithm: Algorithm::Letter(b'e'), data: bytes([1; 64]) };
    let mut own = Builder::new();
    own.section("s", one("signature", &Value::Signature(signature))).unwrap();
    own.check().unwrap();
    own.signed(key(), false);
    assert!(matches!(refused(&own), Unfit::Signature(_)));
    own.signed(key(), true);
    own.check().unwrap();
    let written = own.to_bytes().unwrap();
    // It is no seal any more, and is told of.
    let found = checks(&written);
    let right: Vec<&Sealing> = found.iter().filter(|c| c.1 == Outcome::Right).map(|c| &c.0).collect();
    let section = Sealing::Section("s".into());
    assert_eq!(right, [&Sealing::FileSignature, &section]);
    assert!(matches!(&found[..], [_, (told, Outcome::Unverified(_)), _] if *told == section), "{found:?}");
    // A reference to nothing, a header that is too long, and more bytes than there are numbers for.
    let mut lost = Builder::new();
    let mut fields = Fields::new();
    fields.add_reference("where", "nowhere").unwrap();
    lost.section("t", fields).unwrap();
    assert!(matches!(refused(&lost), Unfit::NoSuchSection(_)));
    let mut long = Builder::new();
    for n in 0..300 {
        long.blob(&format!("n{n}.{}", "x".repeat(60_000)), vec![]).unwrap();
    }
    assert!(matches!(refused(&long), Unfit::TooMany(_)));
    struct Endless;
    impl Input for Endless {
        fn size(&self) -> u64 {
            u64::MAX
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> vaso::error::Result<()> {
            unreachable!("it is not written")
        }
    }
    let endless: Arc<dyn Input> = Arc::new(Endless);
    let mut huge = Builder::new();
    huge.blob_from("a", endless.clone(), 0..u64::MAX).unwrap().blob_from("b", endless.clone(), 0..9).unwrap();
    assert!(matches!(refused(&huge), Unfit::TooMany(_)));
}

#[test]
fn the_registry_holds_its_types_when_writing() {
    let mut fields = Fields::new();
    assert!(matches!(fields.add("iso_speed", &Value::F5(800.0)), Err(Unfit::Type { key: "iso_speed", .. })));
    fields.add_known("ISO", &Value::F5(800.0)).unwrap();
    let mut builder = Builder::new();
    builder.section("s", fields).unwrap();
    let file = builder.to_bytes().unwrap();
    let read = vsf::open(&file).unwrap();
    let section = read.section(&file, &read.labels[0]).unwrap().section;
    assert_eq!(section.field("iso_speed").unwrap().values[0].value, Value::Unsigned(Width::W5, 800));
}

fn sealed_file(seal: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut builder = Builder::new();
    let mut fields = Fields::new();
    fields.add("k", &Value::Unsigned(Width::W6, 1)).unwrap();
    fields.add_reference("pixels", "raw").unwrap();
    builder.section("meta", fields).unwrap();
    builder.blob("raw", b"xge3\x3Fxhb3\x1F".repeat(100)).unwrap();
    seal(&mut builder);
    builder.to_bytes().unwrap()
}

fn checks(bytes: &[u8]) -> Vec<(Sealing, Outcome)> {
    let file = vsf::open(bytes).unwrap();
    let mut checks = vsf::verify(&bytes, &file, &[], &mut |_| ()).unwrap();
    let mut keys = vsf::Keys::of(&file, &[]);
    for label in file.labels.iter().filter(|l| l.kind() == vsf::Kind::Section) {
        let body = file.section(bytes, label).unwrap();
        assert_eq!(file.oddities(label, &body), []);
        checks.extend(vsf::verify_section(&bytes, &file, label, &body, &mut keys).unwrap());
    }
    checks.into_iter().map(|check| (check.sealing, check.outcome)).collect()
}

/// Changed at any place that still reads, it is no longer right.
fn every_change_is_seen(file: &[u8]) {
    for at in (4..file.len()).step_by(7) {
        let mut changed = file.to_vec();
        changed[at] ^= 1;
        let Ok(read) = vsf::open(&changed) else { continue };
        let checks = vsf::verify(&changed, &read, &[], &mut |_| ()).unwrap();
        let right =
            |c: &vsf::Check| c.sealing != Sealing::Section("meta".into()) && c.outcome == Outcome::Right;
        assert!(!checks.iter().any(right), "byte {at}: {checks:?}");
    }
}

#[test]
fn a_hash_is_right_until_a_byte_changes() {
    let file = sealed_file(|builder| {
        builder.hashed();
    });
    assert_eq!(checks(&file), [(Sealing::FileHash, Outcome::Right)]);
    // The hash by hand: of the file with zeros in its place.
    let at = file.windows(4).position(|w| w == b"hb3\x1F").unwrap() + 4;
    let mut zeroed = file.clone();
    zeroed[at..at + 32].fill(0);
    assert_eq!(blake3::hash(&zeroed).as_bytes()[..], file[at..at + 32]);
    every_change_is_seen(&file);
}

#[test]
fn a_signature_is_right_until_a_byte_changes() {
    let file = sealed_file(|builder| {
        builder.signed(SigningKey::from_bytes(&[7; 32]), true);
    });
    let right = |sealing| (sealing, Outcome::Right);
    assert_eq!(checks(&file), [right(Sealing::FileSignature), right(Sealing::Section("meta".into()))]);
    every_change_is_seen(&file);
}

/// Who waits for a large file is told how far it is, hashing included.
#[test]
fn writing_tells_how_far_it_is() {
    for (passes, sections) in [(1, None), (2, Some(false)), (3, Some(true))] {
        let mut builder = Builder::new();
        for name in ["a", "b"] {
            builder.blob(name, vec![7; 3 << 20]).unwrap();
        }
        if let Some(sections) = sections {
            builder.signed(SigningKey::from_bytes(&[7; 32]), sections);
        }
        let (mut told, mut file) = (vec![(0, passes * (6 << 20))], Vec::new());
        builder.write_telling(&mut file, &mut |done, all| told.push((done, all))).unwrap();
        assert!(told.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 == w[1].1), "{told:?}");
        assert!(told.len() > 2 && told.last().is_some_and(|(done, all)| done == all), "{told:?}");
        assert!(told.iter().any(|(done, all)| *done > 0 && done < all) || passes == 1, "{told:?}");
    }
}

fn widths() -> impl Strategy<Value = Width> {
    prop::sample::select(&Width::ALL[..])
}

fn elements() -> impl Strategy<Value = Element> {
    prop_oneof![
        Just(Element::Bool),
        Just(Element::F5),
        Just(Element::F6),
        Just(Element::J5),
        Just(Element::J6),
        widths().prop_map(Element::Unsigned),
        widths().prop_map(Element::Signed),
        (widths(), widths()).prop_map(|(f, e)| Element::Scalar(f, e)),
        (widths(), widths()).prop_map(|(f, e)| Element::Circle(f, e)),
    ]
}

fn raw(len: usize) -> impl Strategy<Value = Vec<u8>> {
    // Bytes that look like structure are likelier than others.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"[](),:<>dxuge3\x3F"[..])];
    prop::collection::vec(byte, len)
}

/// Steps of the dimensions in an order of them that `order` picks; some of them lead to the same elements again.
fn strides(shape: &[usize], mut order: u64) -> Vec<usize> {
    let mut left: Vec<usize> = (0..shape.len()).collect();
    let mut strides = vec![0; shape.len()];
    let mut step = 1;
    while !left.is_empty() {
        let dimension = left.remove((order % left.len() as u64) as usize);
        order /= 5;
        strides[dimension] = if order % 7 == 6 { 0 } else { step };
        step *= shape[dimension].max(1);
    }
    strides
}

fn tensors() -> impl Strategy<Value = Value> {
    let shape = prop::collection::vec(0usize..5, 0..4);
    (elements(), shape, any::<Option<u64>>()).prop_flat_map(|(element, shape, order)| {
        let count = vsf::count_of(&shape).unwrap();
        let len = element.bytes_of(count).unwrap() as usize;
        raw(len).prop_map(move |data| {
            let strides = order.map(|order| strides(&shape, order));
            Value::Tensor(Tensor { element, shape: shape.clone(), strides, vector: false, data: bytes(data) })
        })
    })
}

fn packs() -> impl Strategy<Value = Value> {
    (1u16..=256, prop::collection::vec(0usize..4, 0..3)).prop_flat_map(|(bits, shape)| {
        let count = vsf::count_of(&shape).unwrap() as usize;
        raw((count * usize::from(bits)).div_ceil(8)).prop_map(move |data| {
            Value::Packed(Packed { bits, shape: shape.clone(), design: bits <= 64, data: bytes(data) })
        })
    })
}

fn sealeds() -> impl Strategy<Value = Value> {
    let letter = || prop::sample::select(&b"bespRH"[..]).prop_map(Algorithm::Letter);
    let algorithm = prop_oneof![Just(Algorithm::Unsaid), letter()];
    let any = (algorithm, (1usize..80).prop_flat_map(raw), 0..3).prop_map(|(algorithm, data, what)| {
        let sealed = Sealed { algorithm, data: bytes(data) };
        match what {
            0 => Value::Hash(sealed),
            1 => Value::Signature(sealed),
            _ => Value::Key(sealed),
        }
    });
    let code = (prop::sample::select(&b"am"[..]), letter(), (1usize..80).prop_flat_map(raw))
        .prop_map(|(which, algorithm, data)| Value::Mac(which, Sealed { algorithm, data: bytes(data) }));
    let sha = prop::sample::select(&[(b'2', 32), (b'5', 64)][..]).prop_flat_map(|(digit, len)| {
        raw(len)
            .prop_map(move |data| Value::Hash(Sealed { algorithm: Algorithm::Sha(digit), data: bytes(data) }))
    });
    prop_oneof![4 => any, 1 => code, 1 => sha]
}

fn times() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i128>().prop_map(EagleTime::seconds),
        any::<i64>().prop_map(|n| EagleTime::seconds(n.into())),
        (-1e300..1e300).prop_map(EagleTime::fraction),
        (-1e30f32..1e30).prop_map(|n| EagleTime {
            count: Count::F5(n),
            unit: Unit::Seconds,
            mark: Mark::Design,
        }),
        (widths(), any::<u128>()).prop_map(|(w, n)| EagleTime {
            count: Count::Unsigned(w, n >> (128 - w.bits())),
            unit: Unit::Seconds,
            mark: Mark::Typed,
        }),
        (widths(), any::<i128>()).prop_map(|(w, n)| EagleTime {
            count: Count::Signed(w, w.sign_extend(n as u128)),
            unit: Unit::Oscillations,
            mark: Mark::Plain,
        }),
    ]
    .prop_map(Value::Time)
}

/// Colours and addresses, which are kept as they are.
fn colours() -> impl Strategy<Value = Value> {
    const KINDS: [(&[u8], usize); 7] =
        [(b"ru", 3), (b"re", 1), (b"rr", 0), (b"rcb", 0), (b"ni", 4), (b"np", 2), (b"nm", 6)];
    prop::sample::select(&KINDS[..]).prop_flat_map(|(marker, len)| {
        raw(len).prop_map(move |data| Value::Opaque(bytes([marker, &data[..]].concat())))
    })
}

fn values() -> impl Strategy<Value = Value> {
    let spirix =
        (widths(), widths(), any::<bool>(), any::<[u128; 3]>()).prop_map(|(f, e, circle, [a, b, c])| {
            Value::Spirix(Spirix {
                fraction: f,
                exponent: e,
                re: f.sign_extend(a),
                im: circle.then(|| f.sign_extend(b)),
                exp: e.sign_extend(c),
            })
        });
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        (widths(), any::<u128>()).prop_map(|(w, n)| Value::Unsigned(w, n >> (128 - w.bits()))),
        (widths(), any::<u128>()).prop_map(|(w, n)| Value::Signed(w, w.sign_extend(n))),
        any::<f32>().prop_map(Value::F5),
        any::<f64>().prop_map(Value::F6),
        any::<[f32; 2]>().prop_map(Value::J5),
        any::<[f64; 2]>().prop_map(Value::J6),
        spirix,
        times(),
        (0usize..300).prop_flat_map(raw).prop_map(|d| Value::Name(bytes(d))),
        (prop::sample::select(&b"la"[..]), (0usize..300).prop_flat_map(raw))
            .prop_map(|(letter, d)| Value::Ascii(letter, bytes(d))),
        (any::<u8>(), (0usize..40).prop_flat_map(raw), 0u64..8).prop_map(|(code, d, spare)| {
            let bits = (d.len() as u64 * 8).saturating_sub(spare);
            Value::Wrapped(Wrapped { code, bits, data: bytes(d) })
        }),
        any::<u64>().prop_map(Value::World),
        colours(),
        tensors(),
        packs(),
        sealeds(),
    ]
}

fn names() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,6}(\\.[a-z][a-z0-9_]{0,6}){0,2}"
}

fn trees() -> impl Strategy<Value = Vec<(String, Tree)>> {
    let leaf = prop_oneof![
        8 => prop::collection::vec(values(), 0..3).prop_map(Tree::Values),
        1 => any::<usize>().prop_map(Tree::Reference),
    ];
    let node = leaf.prop_recursive(4, 24, 4, |inner| {
        prop::collection::vec((names(), inner), 0..4).prop_map(Tree::Fields)
    });
    prop::collection::vec((names(), node), 1..6)
}

#[derive(Debug, Clone)]
enum Tree {
    Values(Vec<Value>),
    Fields(Vec<(String, Tree)>),
    /// To one of the sections, by its number among them.
    Reference(usize),
}

fn fields_of(tree: &[(String, Tree)], sections: &[&String]) -> Fields {
    let mut fields = Fields::new();
    for (name, tree) in tree {
        match tree {
            Tree::Values(values) => fields.add_all(name, values, None).unwrap(),
            Tree::Fields(inner) => fields.add_section(name, fields_of(inner, sections)).unwrap(),
            Tree::Reference(n) => fields.add_reference(name, sections[n % sections.len()]).unwrap(),
        };
    }
    fields
}

fn check_tree(tree: &[(String, Tree)], section: &Section, file: &vsf::File, input: &[u8]) {
    assert_eq!(section.rest, None);
    assert_eq!(section.fields.len(), tree.len());
    for ((name, tree), field) in tree.iter().zip(&section.fields) {
        assert_eq!(name.as_bytes(), field.name);
        match tree {
            Tree::Values(values) => {
                let read: Vec<Value> = field.values.iter().map(|i| loaded(&i.value, input)).collect();
                assert_eq!(format!("{read:?}"), format!("{values:?}"));
            }
            Tree::Fields(inner) => match &field.values[..] {
                [Item { value: Value::Section(nested), .. }] => check_tree(inner, nested, file, input),
                other => panic!("{other:?}"),
            },
            Tree::Reference(n) => {
                let label = &file.labels[n % file.labels.len()];
                assert_eq!(field.reference(), label.reference);
                assert!(label.reference.is_some());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_tree_of_values_is_written_and_read(
        sections in prop::collection::btree_map(names(), prop_oneof![
            trees().prop_map(Ok),
            (0usize..300).prop_flat_map(raw).prop_map(Err),
        ], 0..5),
        seal in 0..3,
    ) {
        let mut builder = Builder::new();
        let names: Vec<&String> = sections.keys().collect();
        for (name, section) in &sections {
            match section {
                Ok(tree) => builder.section(name, fields_of(tree, &names)).unwrap(),
                Err(blob) => builder.blob(name, blob.clone()).unwrap(),
            };
        }
        match seal {
            0 => {}
            1 => { builder.hashed(); }
            _ => { builder.signed(SigningKey::from_bytes(&[7; 32]), false); }
        }
        let written = builder.to_bytes().unwrap();
        let file = vsf::open(&written).unwrap();
        prop_assert_eq!(&file.findings, &[]);
        prop_assert_eq!(file.labels.len(), sections.len());
        prop_assert!(checks(&written).iter().all(|(_, outcome)| *outcome == Outcome::Right));
        for (label, (name, section)) in file.labels.iter().zip(&sections) {
            prop_assert_eq!(&label.name, name.as_bytes());
            match section {
                Ok(tree) => {
                    let body = file.section(&written, label).unwrap();
                    prop_assert_eq!(file.oddities(label, &body), []);
                    check_tree(tree, &body.section, &file, &written);
                }
                Err(blob) => {
                    let range = file.range(label).unwrap();
                    prop_assert_eq!(&written[range.start as usize..range.end as usize], &blob[..]);
                }
            }
        }
        if seal == 0 {
            prop_assert!(rebuild(&written).to_bytes().unwrap() == written, "write, read, write");
        }
    }

    /// A value alone is the bytes that it is in a file, and comes back from them.
    #[test]
    fn a_value_alone_is_written_and_read(value in values(), nested in trees()) {
        let bytes = value.to_bytes(None).unwrap();
        prop_assert_eq!(&bytes, &written(&value));
        let known = !matches!(value, Value::Opaque(_));
        if known {
            let (read, length) = vsf::read_value(&bytes, 2).unwrap();
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(format!("{:?}", loaded(&read, &bytes)), format!("{value:?}"));
            let from: Arc<dyn Input> = Arc::new(bytes.clone());
            prop_assert_eq!(read.to_bytes(Some(&from)).unwrap(), bytes);
        }
        let sections: Vec<String> = Vec::new();
        let plain = !format!("{nested:?}").contains("Reference(");
        if plain && !nested.is_empty() {
            let mut builder = Builder::new();
            builder.section("s", fields_of(&nested, &sections.iter().collect::<Vec<_>>())).unwrap();
            let file = builder.to_bytes().unwrap();
            let body = &file[file.len() - vsf::open(&file).unwrap().labels[0].reference.as_ref().unwrap().size as usize..];
            let section = vsf::read_section(body, 2).unwrap().section;
            let (value, length) = vsf::read_value(body, 2).unwrap();
            prop_assert_eq!(length, body.len());
            prop_assert_eq!(&value, &Value::Section(Box::new(section)));
            let from: Arc<dyn Input> = Arc::new(body.to_vec());
            prop_assert_eq!(value.to_bytes(Some(&from)).unwrap(), body);
        }
    }

    /// Text without its codebook does not say where it ends: what reads back otherwise is refused.
    #[test]
    fn coded_text_is_read_as_it_was_written_or_refused(
        texts in prop::collection::vec((0u64..40, any::<u8>(), any::<[u8; 120]>()), 1..4),
        between in values(),
    ) {
        let text = |(chars, longer, noise): &(u64, u8, [u8; 120])| {
            let (least, most) = ((3 * chars).div_ceil(8), 3 * chars);
            let len = least + u64::from(*longer) % (most - least + 1);
            Value::Text(*chars, bytes(&noise[..len as usize]))
        };
        let mut values: Vec<Value> = texts.iter().map(text).collect();
        values.push(between);
        let mut fields = Fields::new();
        for value in &values {
            fields.add_all("v", std::slice::from_ref(value), None).unwrap();
        }
        let mut builder = Builder::new();
        if builder.section("s", fields).is_ok() {
            let written = builder.to_bytes().unwrap();
            let file = vsf::open(&written).unwrap();
            let section = file.section(&written, &file.labels[0]).unwrap().section;
            let read: Vec<Value> =
                section.fields.iter().map(|f| loaded(&f.values[0].value, &written)).collect();
            prop_assert_eq!(format!("{read:?}"), format!("{values:?}"));
        }
    }
}
