//! Values that are unknown, rare, or of a known type in no known form: kept as bytes and shown, and never the end of
//! their neighbours.

mod common;
#[path = "common/one.rs"]
mod one;

use std::fs;
use std::path::Path;
use std::process::Command;

use one::{field, file, open};
use vaso::format::vsf::{self, Data, Section, Value, Width};

/// `value` between two numbers.
fn between(value: &[u8]) -> Vec<u8> {
    [b"[", &field("a", b"u3\x05")[..], &field("t", value), &field("b", b"u3\x07"), b"]"].concat()
}

fn names(section: &Section) -> Vec<&str> {
    section.fields.iter().map(|field| std::str::from_utf8(&field.name).unwrap()).collect()
}

/// The bytes of a value that is only bytes.
fn raw(bytes: &[u8], section: &Section, name: &str) -> Vec<u8> {
    match &section.field(name).unwrap().values[..] {
        [item] => match &item.value {
            Value::Opaque(data) => data.load(&bytes).unwrap(),
            other => panic!("{name}: {other:?}"),
        },
        many => panic!("{name}: {many:?}"),
    }
}

fn number(n: u128) -> Value {
    Value::Unsigned(Width::W3, n)
}

/// Of every kind, the bytes from its marker on, and what is told of it. Those of a length that can be told hold
/// delimiters, and what looks like the end of the section.
fn formless() -> Vec<(Vec<u8>, &'static str)> {
    let filled = |head: &[u8], n: usize| {
        let inside = b"),)(d3\x01z:u3\x01)]".iter().copied().cycle().take(n);
        head.iter().copied().chain(inside).collect::<Vec<u8>>()
    };
    vec![
        // Two, six and four elements of two, eight and 32 bytes.
        (filled(b"t3\x01f43\x02", 4), "vsf-element"),
        (filled(b"t3\x02e63\x023\x03", 48), "vsf-element"),
        (filled(b"t3\x02u83\x023\x02", 128), "vsf-element"),
        (filled(b"tn3\x04f4", 8), "vsf-element"),
        (filled(b"q3\x02f43\x023\x033\x013\x02", 12), "vsf-element"),
        (b"t3\x01x3\x02abcdef".to_vec(), "vsf-element"),
        (b"t3\x01hb3\x02abcdef".to_vec(), "vsf-element"),
        (filled(b"u8", 32), "vsf-width"),
        (filled(b"i9", 64), "vsf-width"),
        (filled(b"s38", 33), "vsf-size-marker"),
        (filled(b"c83", 65), "vsf-width"),
        // Three elements of 65 bits are 25 bytes.
        (filled(b"bp3\x413\x013\x03", 25), "vsf-bits"),
        (b"uq".to_vec(), "vsf-size-marker"),
        (b"u0\x42".to_vec(), "vsf-bool"),
        (b"ef4\x00\x00".to_vec(), "vsf-time"),
    ]
}

#[test]
fn a_value_in_no_known_form_is_no_end_of_its_neighbours() {
    for (value, code) in formless() {
        let bytes = file(10, 3, &between(&value));
        let what = value.escape_ascii().to_string();
        let (_, section, codes) = open(&bytes);
        assert_eq!(names(&section), ["a", "t", "b"], "{what}: {:?}", section.rest);
        assert_eq!((section.rest.as_ref(), &codes[..]), (None, &[code][..]), "{what}");
        assert_eq!(raw(&bytes, &section, "t"), value, "{what}");
        assert_eq!(section.field("b").unwrap().values[0].value, number(7), "{what}");
    }
}

/// A file as another program wrote it: a number, a tensor of two half floats, a number.
#[test]
fn a_tensor_of_half_floats_is_bytes_between_its_neighbours() {
    let hex = "52c3853c623401087a33027933016e330128643301736f33216233286e3303293e\
               5b28643301613a7533052928643301743a74330166343302616263642928643301623a753307295d";
    let bytes: Vec<u8> =
        (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..][..2], 16).unwrap()).collect();
    let (_, section, codes) = open(&bytes);
    assert_eq!((names(&section), codes), (vec!["a", "t", "b"], vec!["vsf-element"]));
    assert_eq!(raw(&bytes, &section, "t"), b"t3\x01f43\x02abcd");
    assert_eq!(section.field("b").unwrap().values[0].value, number(7));
}

/// A length that can be told is taken where the section is damaged behind it, or is larger than any search.
#[test]
fn a_length_that_can_be_told_is_taken() {
    let tensor = [b"t3\x01f45\0\x02\0\0".to_vec(), vec![b')'; 256 << 10]].concat();
    let bytes = file(10, 3, &between(&tensor));
    let (_, section, codes) = open(&bytes);
    assert_eq!((names(&section), codes), (vec!["a", "t", "b"], vec!["vsf-element"]));
    assert!(section.rest.is_none() && raw(&bytes, &section, "t") == tensor);

    let whole = between(&tensor);
    let torn = [&whole[..whole.len() - 1], b"(d3\x01c:\xFF)]"].concat();
    let bytes = file(10, 4, &torn);
    let (_, section, codes) = open(&bytes);
    assert_eq!((names(&section), codes), (vec!["a", "t", "b"], vec!["vsf-marker", "vsf-element"]));
    assert_eq!(section.rest.unwrap().range.end, bytes.len() as u64);
    assert_eq!(section.fields[1].values[0].value, Value::Opaque(Data::At(52..52 + tensor.len() as u64)));
}

/// What cannot be brought to an end that fits stays the rest, for the same reason.
#[test]
fn what_cannot_be_ended_stays_the_rest() {
    for (value, code) in formless() {
        let cut = [b"[", &field("a", b"u3\x05")[..], b"(d3\x01t:", &value[..value.len() - 1]].concat();
        let cut = cut.iter().map(|b| if b"),".contains(b) { b'.' } else { *b }).collect::<Vec<u8>>();
        let cut = [&b"[(d3\x01a:u3\x05)"[..], &cut[11..]].concat();
        let (_, section, codes) = open(&file(10, 2, &cut));
        assert_eq!((names(&section), section.rest.is_some()), (vec!["a"], true), "{}", value.escape_ascii());
        assert!(codes.len() == 1 && (codes == [code] || codes == ["vsf-short"]), "{codes:?}");
    }
}

fn vaso(args: &[&Path]) -> std::process::Output {
    Command::new(common::program()).args(args).output().unwrap()
}

/// They are files, a reader is told of them, and they are packed again byte for byte.
#[test]
fn they_are_shown_verified_and_packed_again() {
    let folder = common::folder();
    // Version 2, which is what is written, has a time with these bytes.
    let parts: Vec<Vec<u8>> =
        formless().into_iter().map(|(value, _)| value).filter(|value| !value.starts_with(b"ef")).collect();
    let fields = parts.iter().enumerate().flat_map(|(n, value)| field(format!("t{n}"), value));
    let body = [b"[".to_vec(), fields.collect(), field("b", b"u3\x07"), b"]".to_vec()].concat();
    let path = folder.path().join("a.vsf");
    fs::write(&path, file(10, parts.len() as u8 + 1, &body)).unwrap();
    let (tree, new) = (folder.path().join("tree"), folder.path().join("new.vsf"));
    let verified = vaso(&["verify".as_ref(), &path]);
    assert_eq!(verified.status.code(), Some(1));
    let done = vaso(&["vsf".as_ref(), "unpack".as_ref(), &path, &tree]);
    assert!(tree.join("m/b").exists(), "{}", String::from_utf8_lossy(&done.stderr));
    for (n, part) in parts.iter().enumerate() {
        assert_eq!(fs::read(tree.join(format!("m/t{n}.raw"))).unwrap(), *part);
    }
    let done = vaso(&["vsf".as_ref(), "pack".as_ref(), &tree, &new]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = fs::read(&new).unwrap();
    let (_, section, _) = open(&bytes);
    for (n, part) in parts.iter().enumerate() {
        assert_eq!(raw(&bytes, &section, &format!("t{n}")), *part);
    }
}

/// One that says how long it is may be longer than what is looked through for an end: its bytes go from file to file.
#[test]
fn a_long_one_that_says_its_length_is_packed_again() {
    let count = 9u32 << 20;
    let head = [b"t3\x01f45", &count.to_be_bytes()[..]].concat();
    let tensor = [head, common::noise(4, 2 * count as usize)].concat();
    let folder = common::folder();
    let [path, tree, new] = ["a.vsf", "tree", "new.vsf"].map(|name| folder.path().join(name));
    fs::write(&path, file(10, 3, &between(&tensor))).unwrap();
    let done = vaso(&["vsf".as_ref(), "unpack".as_ref(), &path, &tree]);
    assert!(!String::from_utf8_lossy(&done.stderr).contains("cannot be packed"), "{done:?}");
    assert!(fs::read(tree.join("m/t.raw")).unwrap() == tensor);
    assert!(fs::metadata(tree.join(vsf::RECORD)).unwrap().len() < 64 << 10);
    let done = vaso(&["vsf".as_ref(), "pack".as_ref(), &tree, &new]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = fs::read(&new).unwrap();
    let (_, section, codes) = open(&bytes);
    assert_eq!((names(&section), codes), (vec!["a", "t", "b"], vec!["vsf-element"]));
    assert!(raw(&bytes, &section, "t") == tensor);
}

/// In every version, in a field and alone: bytes of the length that the writers' encoders give them.
#[test]
fn colours_are_values_and_no_end_of_their_neighbours() {
    let with = |marks: &[u8], n: usize| [marks, &vec![b')'; n]].concat();
    let old = [&b"rr"[..], b"rb", b"rk", b"ro"].map(<[u8]>::to_vec);
    let new = [b"rcr".to_vec(), b"rcb".to_vec(), with(b"rb", 12), with(b"rw", 16), with(b"rd", 4)];
    let both =
        [with(b"re", 1), with(b"ru", 3), with(b"ra", 4), with(b"rs", 6), with(b"rf", 12), with(b"rh", 16)];
    let all = old.iter().map(|c| (2, c)).chain(new.iter().map(|c| (10, c)));
    for (z, colour) in all.chain(both.iter().flat_map(|c| [(2, c), (10, c)])) {
        let what = format!("{z} {}", colour.escape_ascii());
        let bytes = file(z, 3, &between(colour));
        let (_, section, codes) = open(&bytes);
        assert_eq!((names(&section), &codes[..]), (vec!["a", "t", "b"], &[][..]), "{what}");
        assert_eq!(raw(&bytes, &section, "t"), *colour, "{what}");
        let bytes = file(z, 3, &[b"u3\x05", &colour[..], b"u3\x07"].concat());
        let (_, section, codes) = open(&bytes);
        let values: Vec<&Value> = section.items.iter().map(|item| &item.value).collect();
        let expected = [number(5), Value::Opaque(Data::Bytes(colour.clone())), number(7)];
        assert_eq!((values, &codes[..]), (expected.iter().collect(), &[][..]), "{what}");
    }
}

/// Shown as text and in `section.json`, edited, and packed again byte for byte.
#[test]
fn colours_are_lines_of_text() {
    let folder = common::folder();
    let colours: [(&str, &[u8], &str); 5] = [
        ("rgb", b"ru\x01\x80\xFF", "#0180ff"),
        ("rgba", b"ra\x01\x80\xFF\x40", "#0180ff40"),
        ("grey", b"re\x80", "re 128"),
        ("named", b"rcv", "rcv violet"),
        ("deep", b"rs\0\x01\0\x02\xFF\xFF", "rs 1 2 65535"),
    ];
    let fields = colours.iter().flat_map(|(name, value, _)| field(name, value)).collect();
    let path = folder.path().join("a.vsf");
    fs::write(&path, file(10, colours.len() as u8, &[b"[".to_vec(), fields, b"]".to_vec()].concat()))
        .unwrap();
    let (tree, new) = (folder.path().join("tree"), folder.path().join("new.vsf"));
    let done = vaso(&["vsf".as_ref(), "unpack".as_ref(), &path, &tree]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let json = fs::read(tree.join("m/section.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    for (n, (name, bytes, line)) in colours.iter().enumerate() {
        assert_eq!(fs::read_to_string(tree.join("m").join(name)).unwrap(), format!("{line}\n"));
        let value = &json["fields"][n]["values"][0];
        assert_eq!(
            (&value["value"], value["type"].as_str().unwrap().as_bytes()),
            (&(*line).into(), { &bytes[..if *name == "named" { 3 } else { 2 }] })
        );
    }
    fs::write(tree.join("m/rgb"), "#0a0b0c\n").unwrap();
    let done = vaso(&["vsf".as_ref(), "pack".as_ref(), &tree, &new]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let packed = fs::read(&new).unwrap();
    let (_, section, codes) = open(&packed);
    assert!(codes.is_empty() && section.rest.is_none(), "{codes:?}");
    assert_eq!(raw(&packed, &section, "rgb"), b"ru\x0A\x0B\x0C");
    for (name, bytes, _) in &colours[1..] {
        assert_eq!(raw(&packed, &section, name), *bytes);
    }
    fs::write(tree.join("m/grey"), "re 300\n").unwrap();
    let refused = vaso(&["vsf".as_ref(), "pack".as_ref(), &tree, &folder.path().join("no.vsf")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("m/grey"));
}

/// Where an unknown value, or text, may end at more than one place and all else is as it should be, that is said.
#[test]
fn ends_that_nothing_decides_are_told() {
    for value in [&b"Zabc"[..], b"x3\x08abc"] {
        // Promised are two fields, of which the first has two values, or one that is longer.
        let body =
            [b"[", &field("t", &[value, b",u3\x05"].concat())[..], &field("b", b"u3\x07"), b"]"].concat();
        let (_, section, codes) = open(&file(10, 2, &body));
        assert_eq!((names(&section), codes), (vec!["t", "b"], vec!["vsf-ambiguous"]));
        assert_eq!(section.fields[0].values.len(), 2);
        let (_, section, codes) = open(&file(10, 3, &between(value)));
        assert_eq!((names(&section), codes), (vec!["a", "t", "b"], vec![]));
    }
}
