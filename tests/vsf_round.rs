//! What was unpacked and is packed again is equal in every value; what cannot be is told before anybody relies on it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use proptest::prelude::*;
use vaso::format::vsf::{
    self, Algorithm, Builder, Data, EagleTime, Element, Field, Fields, Input, Item, Kind, Packed, Sealed,
    Section, Spirix, Tensor, Value, Width, Wrapped,
};

fn bytes(data: impl Into<Vec<u8>>) -> Data {
    Data::Bytes(data.into())
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn vsf_verb(verb: &str, args: [&Path; 2]) -> Output {
    common::command(common::As::Me, common::program()).args(["vsf", verb]).args(args).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file that was unpacked.
struct Trip {
    home: tempfile::TempDir,
    /// What was told.
    told: String,
}

impl Trip {
    fn of(file: &[u8]) -> Trip {
        let home = common::folder();
        let path = home.path().join("Shot.vsf");
        fs::write(&path, file).unwrap();
        let output = vsf_verb("unpack", [&path, &home.path().join("tree")]);
        assert!(output.status.success(), "{output:?}");
        Trip { home, told: told(&output) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("tree").join(name)
    }

    /// The file of the directory and what was told, or why there is none.
    fn pack(&self) -> Result<(Vec<u8>, String), String> {
        let to = self.home.path().join("New.vsf");
        let output = vsf_verb("pack", [&self.path(""), &to]);
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            return Err(told(&output));
        }
        let file = fs::read(&to).unwrap();
        fs::remove_file(to).unwrap();
        Ok((file, told(&output)))
    }

    /// It was unpacked and is packed without a word.
    fn packed(&self) -> Vec<u8> {
        assert_eq!(self.told, "");
        let (file, told) = self.pack().unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(told, "");
        file
    }
}

/// One value with all of its bytes, those that no index leads to included; as it is written, so that no `NaN` hides
/// behind another.
fn value(value: &Value, input: &Arc<dyn Input>) -> String {
    let mut one = value.clone();
    if let Value::Tensor(tensor) = &mut one {
        let mut all = tensor.data.load(input.as_ref()).unwrap();
        // What fills the last byte up is no element.
        let spare = all.len() as u64 * 8 - tensor.count() * tensor.element.bits();
        if let Some(last) = all.last_mut() {
            *last &= 0xFFu8 << spare;
        }
        tensor.data = bytes(all);
    }
    match &one {
        Value::Section(section) => format!("[{}]", fields(section, input)),
        other => format!("{:?}", other.to_bytes(Some(input)).unwrap().escape_ascii().to_string()),
    }
}

fn fields(section: &Section, input: &Arc<dyn Input>) -> String {
    assert_eq!(section.rest, None);
    let one = |field: &Field| {
        let name = field.name.escape_ascii();
        match field.reference() {
            // It may lie elsewhere now.
            Some(reference) => {
                let range = reference.range(input.size()).unwrap();
                let mut there = vec![0; (range.end - range.start) as usize];
                input.read_at(range.start, &mut there).unwrap();
                format!("({name} @ {} bytes, {:?} items)", there.len(), reference.count)
            }
            None => {
                let values: Vec<String> = field.values.iter().map(|item| value(&item.value, input)).collect();
                format!("({name}: {})", values.join(", "))
            }
        }
    };
    section.fields.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// All values of a file, by its labels.
fn said(file: &[u8]) -> Vec<String> {
    let input: Arc<dyn Input> = Arc::new(file.to_vec());
    let read = vsf::open(file).unwrap();
    let label = |label: &vsf::Label| {
        let body = match label.kind() {
            Kind::Section => fields(&read.section(file, label).unwrap().section, &input),
            _ => {
                let range = read.range(label).unwrap();
                file[range.start as usize..range.end as usize].escape_ascii().to_string()
            }
        };
        format!("{}: {body}", label.title())
    };
    read.labels.iter().map(label).collect()
}

fn equal(file: &[u8]) {
    assert_eq!(said(&Trip::of(file).packed()), said(file));
}

fn file_of(sections: &[(&str, &[(&str, Value)])]) -> Vec<u8> {
    let mut builder = Builder::new();
    for (name, values) in sections {
        let mut fields = Fields::new();
        for (name, value) in *values {
            fields.add(name, value).unwrap();
        }
        builder.section(name, fields).unwrap();
    }
    builder.to_bytes().unwrap()
}

fn section(list: Vec<(&str, Vec<Value>)>) -> Value {
    let item = |value| Item { value, span: 0..0 };
    let field = |(name, values): (&str, Vec<Value>)| Field {
        name: name.into(),
        values: values.into_iter().map(item).collect(),
        span: 0..0,
    };
    let fields = list.into_iter().map(field).collect();
    Value::Section(Box::new(Section { prefix: vec![], fields, items: vec![], rest: None, span: 0..0 }))
}

fn u3(n: u128) -> Value {
    Value::Unsigned(Width::W3, n)
}

fn tensor(element: Element, shape: &[usize], strides: Option<&[usize]>, data: Vec<u8>) -> Value {
    let strides = strides.map(<[usize]>::to_vec);
    Value::Tensor(Tensor { element, shape: shape.to_vec(), strides, vector: false, data: bytes(data) })
}

fn every_element() -> Vec<Element> {
    let widths = || Width::ALL.into_iter();
    let pairs = || widths().flat_map(|f| Width::ALL.map(|e| (f, e)));
    let mut all = vec![Element::Bool, Element::F5, Element::F6, Element::J5, Element::J6];
    all.extend(widths().flat_map(|w| [Element::Unsigned(w), Element::Signed(w)]));
    all.extend(pairs().flat_map(|(f, e)| [Element::Scalar(f, e), Element::Circle(f, e)]));
    all
}

#[test]
fn strided_elements_of_every_type_are_packed_again() {
    // Two by three bits, the first index fastest.
    let columns = "52c3853c623401087a33027933016e330128643301736f33216233176e3301293e5b286433016d3a71330275303302330433013302b1295d";
    equal(&unhex(columns));
    let steps: [(&str, [usize; 3]); 7] = [
        ("rows", [15, 5, 1]),
        ("columns", [1, 2, 6]),
        ("mixed", [3, 1, 6]),
        ("other", [5, 10, 1]),
        ("again", [0, 5, 1]),
        ("near", [1, 1, 1]),
        ("one", [0, 0, 0]),
    ];
    let mut seed = 1u32;
    let mut noise = |len: u64| -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let mut builder = Builder::new();
    for element in every_element() {
        let mut fields = Fields::new();
        for (name, strides) in &steps {
            let data = noise(element.bytes_of(30).unwrap());
            fields.add(name, &tensor(element, &[2, 3, 5], Some(strides), data)).unwrap();
        }
        builder.section(&element.to_string(), fields).unwrap();
    }
    equal(&builder.to_bytes().unwrap());
}

/// An array does not show what its strides leave out, and it is not lost.
#[test]
fn what_no_index_leads_to_is_kept_or_told() {
    let broadcast = |strides: &[usize], shape: &[usize], data: Vec<u8>| {
        file_of(&[("s", &[("q", tensor(Element::Signed(Width::W5), shape, Some(strides), data))])])
    };
    let numbers: Vec<u8> = (1..=24i32).flat_map(i32::to_be_bytes).collect();
    let small = broadcast(&[0, 1], &[4, 6], numbers.clone());
    let packed = Trip::of(&small).packed();
    assert_eq!(said(&packed), said(&small));
    assert!(packed.windows(numbers.len()).any(|w| w == numbers));
    // More of it than a record takes.
    let large = Trip::of(&broadcast(&[0, 1], &[2, 3 << 20], vec![7; 24 << 20]));
    assert!(large.told.contains("q: its strides leave out stored elements"), "{}", large.told);
    assert!(large.pack().unwrap_err().contains("strides leave out"));
    // One that shares nothing may be as large as it likes.
    let turned = Trip::of(&broadcast(&[1, 2], &[2, 3 << 20], vec![7; 24 << 20]));
    turned.packed();
    // Two elements that share a place, and differ now.
    let trip = Trip::of(&small);
    let mut array = fs::read(trip.path("s/q.npy")).unwrap();
    *array.last_mut().unwrap() = 99;
    fs::write(trip.path("s/q.npy"), &array).unwrap();
    let (file, told) = trip.pack().unwrap();
    assert!(told.contains("s/q.npy: its strides were [0, 1] and are those of rows now"), "{told}");
    assert!(file.ends_with(&[&array[array.len() - 24 * 4..], b")]"].concat()));
}

#[test]
fn an_empty_section_is_no_deleted_one() {
    let shared = "52c3853c623401907a33027933016e330228643301736f33326233156e33022928643303732e746f334762330c6e3301293e5b28643301613a7533052928643301653a5b5d295d5b28643301783a753305295d";
    equal(&unhex(shared));
    let trip = Trip::of(&unhex(shared));
    assert!(trip.path("s/e").is_dir());
    // One that is deleted is.
    fs::remove_dir(trip.path("s/e")).unwrap();
    assert!(!said(&trip.packed()).concat().contains("(e:"));
    // A twin of an empty one, and one deep inside.
    let deep = section(vec![("in", vec![section(vec![])])]);
    let mut fields = Fields::new();
    for (name, value) in [("f", section(vec![])), ("f", u3(1)), ("f", section(vec![])), ("t", deep)] {
        fields.add(name, &value).unwrap();
    }
    let mut builder = Builder::new();
    builder.section("s", fields).unwrap();
    let alone = builder.to_bytes().unwrap();
    builder.blob("s.t", vec![1, 2]).unwrap().blob("s.t.f", vec![3]).unwrap();
    for file in [alone, builder.to_bytes().unwrap()] {
        equal(&file);
    }
    // In a label, `(meta: [])`.
    let inline = b"R\xC3\x85<b3\x18z3\x02y3\x01n3\x01(d3\x04meta:[])>";
    let trip = Trip::of(inline);
    assert!(trip.path("meta").is_dir());
    assert!(trip.told.contains("cannot be packed again"), "{}", trip.told);
}

/// Every dot of a name is a directory.
#[test]
fn many_directories_within_each_other_are_packed_again() {
    let deep = (0..60).fold(section(vec![("v", vec![u3(1)])]), |inner, _| section(vec![("n", vec![inner])]));
    equal(&file_of(&[(&vec!["a"; 200].join("."), &[("n", deep)])]));
}

/// What is not in the directory counts as deleted: a path that no system takes is told when it is not unpacked.
#[test]
fn what_is_not_unpacked_is_told() {
    let name = "n".repeat(190);
    let deep = (0..30).fold(section(vec![]), |inner, _| section(vec![(&name, vec![inner])]));
    let trip = Trip::of(&file_of(&[("s", &[("deep", deep), ("v", u3(1))])]));
    assert!(trip.told.contains("cannot be packed again: s: s/deep/nnn"), "{}", trip.told);
    assert!(trip.pack().unwrap_err().contains("could not be unpacked"));
}

/// The end of text without its codebook may be looked for in what lies behind it, which has to be read for that.
#[test]
fn text_that_would_be_read_from_its_neighbours_is_refused() {
    let plain = Element::Unsigned(Width::W3);
    let mut fields = Fields::new();
    fields.add("a", &Value::Text(8, bytes([b'A'; 20]))).unwrap();
    let both = [tensor(plain, &[60], None, vec![1; 60]), tensor(plain, &[20], None, vec![2; 20])];
    fields.add_all("t", &both, None).unwrap();
    let mut builder = Builder::new();
    builder.section("s", fields).unwrap();
    let trip = Trip::of(&builder.to_bytes().unwrap());
    trip.packed();
    let set = |name: &str, data: &[u8]| {
        let old = fs::read(trip.path(name)).unwrap();
        fs::write(trip.path(name), [&old[..old.len() - data.len()], data].concat()).unwrap();
    };
    set("s/a.x", b"AAA)(d3\x01t:t3\x01u33\x25BBB");
    set("s/t.npy", &[&[b'C'; 20][..], b",t3\x01u33\x3C", &[b'D'; 32]].concat());
    set("s/t.npy~2", &[b'E'; 20]);
    let why = trip.pack().unwrap_err();
    assert!(why.contains("a .x or .raw file of this section would not be read back"), "{why}");
}

/// Bits that mean other text under another book are told, twice, and pictures are packed all the same.
#[test]
fn text_of_another_book_is_told() {
    let folder = common::data("vsf.tar.xz");
    for (name, other) in [("z10/text_x", true), ("z10/raw_builder_full", true), ("z2/strided", false)] {
        let file = fs::read(folder.path().join("vsf").join(name).with_extension("vsf")).unwrap();
        let trip = Trip::of(&file);
        let (packed, told) = trip.pack().unwrap();
        for told in [&trip.told, &told] {
            assert_eq!(
                told.contains("coded with the book of the version that it comes from"),
                other,
                "{told}"
            );
        }
        // What was packed is of version 2, and comes from there.
        assert!(!Trip::of(&packed).told.contains("book"), "{name}");
    }
    let wrapped = Value::Wrapped(Wrapped { code: b'c', bits: 16, data: bytes([1, 2]) });
    let mut file = file_of(&[("s", &[("v", wrapped)])]);
    Trip::of(&file).packed();
    let at = file.windows(3).position(|w| w == b"z3\x02").unwrap();
    file[at + 2] = 10;
    assert!(Trip::of(&file).told.contains("s: its text of type x or vc"));
}

#[test]
fn two_labels_of_one_name_are_told_when_they_are_unpacked() {
    let twins = "52c3853c623401807a33027933016e330228643301736f333062330c6e33012928643301736f333c62330c6e3301293e5b28643301613a753305295d5b28643301613a753306295d";
    let trip = Trip::of(&unhex(twins));
    assert!(
        trip.told.contains("cannot be packed again: s: there is a section \"s\" already"),
        "{}",
        trip.told
    );
    assert!(trip.pack().unwrap_err().contains("there is a section \"s\" already"));
}

#[test]
fn a_section_among_the_values_of_a_field_stays_where_it_is() {
    let inner = |n| section(vec![("b", vec![u3(n)]), ("c", vec![section(vec![("d", vec![u3(n)])]), u3(9)])]);
    let pixels = tensor(Element::Bool, &[3], None, vec![0xA0]);
    for values in [
        vec![u3(5), inner(1)],
        vec![inner(1), u3(5)],
        vec![inner(1), inner(2)],
        vec![inner(1), section(vec![]), inner(2)],
        vec![u3(5), inner(1), pixels, u3(6), inner(2), u3(7)],
    ] {
        let mut fields = Fields::new();
        fields.add("z", &u3(1)).unwrap().add_all("a", &values, None).unwrap();
        fields.add("a", &inner(3)).unwrap().add("b", &u3(2)).unwrap();
        let mut builder = Builder::new();
        builder.section("s", fields).unwrap();
        equal(&builder.to_bytes().unwrap());
        builder.blob("s.t", vec![1]).unwrap();
        let file = builder.to_bytes().unwrap();
        equal(&file);
        // One of them is gone, and the others are not.
        let trip = Trip::of(&file);
        fs::remove_dir_all(trip.path("s/a")).or_else(|_| fs::remove_file(trip.path("s/a"))).unwrap();
        let why = trip.pack().unwrap_err();
        assert!(why.contains("s/a: ") && why.contains("missing"), "{why}");
    }
}

/// What fills up the last byte of packed elements says nothing, and is no contradiction to the array.
#[test]
fn what_fills_the_last_byte_is_no_contradiction() {
    let packed = Packed { bits: 3, shape: vec![3], design: true, data: bytes([0x29, 0xFF]) };
    equal(&file_of(&[("s", &[("p", Value::Packed(packed))])]));
}

#[test]
fn no_digit_of_a_second_is_lost() {
    let time = |trip: &Trip, line: &str| {
        fs::write(trip.path("s/when"), line).unwrap();
        let (file, told) = trip.pack().unwrap();
        let read = vsf::open(&file).unwrap();
        let section = read.section(&file, &read.labels[0]).unwrap().section;
        match section.field("when").unwrap().values[0].value {
            Value::Time(time) => (time.unix_nanos().unwrap(), told),
            ref other => panic!("{other:?}"),
        }
    };
    let trip = Trip::of(&file_of(&[("s", &[("k", u3(1))])]));
    // Midnight of that new year is the second 1704067200, as `date -u` says.
    for (line, nanos) in [
        ("2024-01-01T00:00:00Z", 0),
        ("2024-01-01T00:00:00.5Z", 500_000_000),
        ("2024-01-01T00:00:00.1Z", 100_000_000),
        ("2024-01-01T00:00:00.123456789Z", 123_456_789),
    ] {
        let expected = 1_704_067_200_000_000_000 + nanos;
        assert_eq!(time(&trip, &format!("{line}\n")), (expected, String::new()), "{line}");
    }
    let recorded = Trip::of(&file_of(&[("s", &[("when", Value::Time(EagleTime::fraction(0.5)))])]));
    let (nanos, told) = time(&recorded, "2024-01-01T00:00:00.6Z\n");
    // float(1704067200 + 14182940 + 0.6).as_integer_ratio() is 0.599999904… past the second.
    assert_eq!(nanos, 1_704_067_200_599_999_904);
    assert!(
        told.contains("s/when: the nearest time that its type can hold is 2024-01-01T00:00:00.599999904Z")
    );
    assert_eq!(time(&recorded, "2024-01-01T00:00:00.5Z\n"), (1_704_067_200_500_000_000, String::new()));
}

fn raw(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"[](),:<>dxuge3\x3F\n"[..])];
    prop::collection::vec(byte, len)
}

fn tensors() -> impl Strategy<Value = Value> {
    let shape = prop::collection::vec(0usize..5, 0..4);
    let steps = prop::option::of(prop::collection::vec(0usize..7, 4));
    (prop::sample::select(every_element()), shape, steps).prop_flat_map(|(element, shape, steps)| {
        let count = vsf::count_of(&shape).unwrap();
        raw(element.bytes_of(count).unwrap() as usize).prop_map(move |data| {
            let made = |strides: Option<&[usize]>| tensor(element, &shape, strides, data.clone());
            let strided = made(steps.as_deref().map(|steps| &steps[..shape.len()]));
            let fits = Fields::new().add("v", &strided).is_ok();
            if fits { strided } else { made(None) }
        })
    })
}

fn values() -> impl Strategy<Value = Value> {
    let packed = (1u16..=100, 0usize..9).prop_flat_map(|(bits, n)| {
        raw((n * usize::from(bits)).div_ceil(8)).prop_map(move |data| {
            Value::Packed(Packed { bits, shape: vec![n], design: bits <= 64, data: bytes(data) })
        })
    });
    let number = (0u8..5, any::<u128>()).prop_map(|(w, n)| {
        let width = Width::ALL[usize::from(w)];
        Value::Unsigned(width, n >> (128 - width.bits()))
    });
    let sealed = (raw(1..70), 0..3).prop_map(|(data, what)| {
        let sealed = Sealed { algorithm: Algorithm::Letter(b'b'), data: bytes(data) };
        match what {
            0 => Value::Hash(sealed),
            1 => Value::Signature(sealed),
            _ => Value::Key(sealed),
        }
    });
    let wrapped = (prop::sample::select(&b"bzcq"[..]), raw(0..40))
        .prop_map(|(code, d)| Value::Wrapped(Wrapped { code, bits: d.len() as u64 * 8, data: bytes(d) }));
    let spirix = any::<[i16; 3]>().prop_map(|[re, im, exp]| {
        let (fraction, exponent) = (Width::W4, Width::W4);
        let im = (im % 2 == 0).then_some(im.into());
        Value::Spirix(Spirix { fraction, exponent, re: re.into(), im, exp: exp.into() })
    });
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Value::Bool),
        1 => number,
        1 => any::<i64>().prop_map(|n| Value::Signed(Width::W6, n.into())),
        1 => any::<f32>().prop_map(Value::F5),
        1 => any::<u64>().prop_map(|n| Value::F6(f64::from_bits(n))),
        1 => any::<[f32; 2]>().prop_map(Value::J5),
        1 => any::<[f64; 2]>().prop_map(Value::J6),
        1 => spirix,
        1 => any::<i64>().prop_map(|n| Value::Time(EagleTime::seconds(n.into()))),
        1 => any::<u64>().prop_map(|n| Value::Time(EagleTime::fraction(f64::from_bits(n)))),
        1 => any::<i64>().prop_map(|n| Value::Time(EagleTime::of_unix_nanos(n.into()).unwrap())),
        1 => raw(0..60).prop_map(|d| Value::Name(bytes(d))),
        1 => raw(0..60).prop_map(|d| Value::Ascii(b'l', bytes(d))),
        1 => any::<u8>().prop_map(|b| Value::Ascii(b'a', bytes(vec![b; 70_000]))),
        1 => (1u64..20, any::<[u8; 20]>()).prop_map(|(n, d)| Value::Text(n, bytes(&d[..n as usize]))),
        1 => any::<[u8; 3]>().prop_map(|d| Value::Opaque(bytes([&b"ru"[..], &d].concat()))),
        1 => any::<u64>().prop_map(Value::World),
        3 => tensors(),
        1 => packed,
        1 => sealed,
        1 => wrapped,
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let fields = prop::collection::vec((names(), prop::collection::vec(inner, 0..3)), 0..4);
        fields.prop_map(|fields| section(fields.iter().map(|(n, v)| (n.as_str(), v.clone())).collect()))
    })
}

/// Few, so that they meet each other and the names of sections.
fn names() -> impl Strategy<Value = String> {
    prop::sample::select(&["a", "b", "t", "u", "t.u", "section.json", "A"][..]).prop_map(str::to_string)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_file_comes_back_equal_or_is_told(
        sections in prop::collection::btree_map(
            prop::sample::select(&["s", "s.t", "s.t.u", "s.a", "b", "t"][..]),
            prop::option::weighted(0.9, prop::collection::vec(
                (names(), prop::option::weighted(0.9, prop::collection::vec(values(), 0..4))), 1..6)),
            1..4,
        ),
    ) {
        let labels: Vec<&str> = sections.keys().copied().collect();
        let mut builder = Builder::new();
        for (n, (label, list)) in sections.iter().enumerate() {
            let Some(list) = list else {
                builder.blob(label, vec![b'['; n]).unwrap();
                continue;
            };
            let mut fields = Fields::new();
            for (name, values) in list {
                match values {
                    Some(values) => fields.add_all(name, values, None).unwrap(),
                    None => fields.add_reference(name, labels[name.len() % labels.len()]).unwrap(),
                };
            }
            // Text that would be read as something else is no file.
            if builder.section(label, fields).is_err() {
                builder.blob(label, vec![9]).unwrap();
            }
        }
        let file = builder.to_bytes().unwrap();
        let trip = Trip::of(&file);
        match trip.pack() {
            Ok((packed, told)) => {
                prop_assert!(!trip.told.contains("cannot be packed again"), "{}", trip.told);
                // What is odd in the file is told by whoever looks into it, and is as odd in the packed one.
                prop_assert!(told.lines().all(|line| line.starts_with("vaso: warn: ")), "{}", told);
                prop_assert_eq!(said(&packed), said(&file));
            }
            Err(why) => prop_assert!(trip.told.contains("cannot be packed again"), "{} {}", trip.told, why),
        }
    }
}
