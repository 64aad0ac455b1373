//! Values whose bytes do not say what they are: whatever stands behind them, each is read as it was written, and where
//! nothing can decide, that is said.

#[path = "common/one.rs"]
mod one;

use one::{field, file, open};
use vaso::format::vsf::{self, Count, Data, Value};

/// The count of a time, and its bytes in the file.
fn times() -> Vec<(Count, Vec<u8>)> {
    let mut all = Vec::new();
    for n in [866_654_730.0, 0.5, f64::from_be_bytes(*b"A)(d3\t),"), f64::from_be_bytes(*b"ABCD)(d3"), 3.0e9]
    {
        all.push((Count::F6(n), [&b"ef"[..], &n.to_be_bytes()].concat()));
    }
    for n in [866_654_730.0, 0.5, f32::from_be_bytes(*b"A),:"), -1e-30] {
        all.push((Count::F5(n), [&b"ef"[..], &n.to_be_bytes()].concat()));
    }
    all
}

fn is_time(value: &Value, count: Count) -> bool {
    matches!(value, Value::Time(time) if time.count == count)
}

/// The length of a name is a byte like a blank, a delimiter or a letter, eight bytes behind the marker of a time.
#[test]
fn a_time_without_a_width_is_read_before_names_of_every_length() {
    let name = b"iso_speed_of_the_sensor_when_this_was_taken_as_the_camera_said_it_was";
    for (count, time) in times() {
        for len in 1..=64 {
            let next = field(&name[..len], b"u4\x07\x80");
            let what = format!("{count:?} before a name of {len}");
            for (promised, z, odd) in [(2, 2, &[][..]), (2, 3, &[]), (5, 2, &["vsf-item-count"])] {
                let body = [b"[d3\x01s", &field(b"when", &time)[..], &next, b"]"].concat();
                let (_, section, mut found) = open(&file(z, promised, &body));
                // Four bytes, and a field whose name takes in the next one's, are as good.
                if time.ends_with(b"ABCD)(d3") && matches!(len, 32 | 37) {
                    assert_eq!(
                        found.iter().position(|code| *code == "vsf-ambiguous").map(|at| found.remove(at)),
                        Some("vsf-ambiguous")
                    );
                }
                assert_eq!(found, odd, "{what}");
                assert!(section.rest.is_none() && section.fields.len() == 2, "{what}: {section:?}");
                assert!(is_time(&section.fields[0].values[0].value, count), "{what}: {section:?}");
                assert_eq!(section.fields[1].name, name[..len], "{what}");
            }
            // Nothing reads to the end: what goes furthest counts. (Of this one, the other reading may.)
            if time.ends_with(b"ABCD)(d3") {
                continue;
            }
            let body = [b"[", &field(b"when", &time)[..], &next, b"(d3\x01z:!)]"].concat();
            let (_, section, found) = open(&file(2, 3, &body));
            assert_eq!(found, ["vsf-marker"], "{what}");
            assert_eq!(section.fields.len(), 2, "{what}: {section:?}");
            assert!(is_time(&section.fields[0].values[0].value, count), "{what}: {section:?}");
        }
    }
}

/// In a header what follows is a hash, whose bytes may be anything.
#[test]
fn a_time_without_a_width_is_read_before_hashes_of_every_kind() {
    for (count, time) in times() {
        for first in 0..=255u8 {
            let mut hash = [0xA5; 32];
            hash[0] = first;
            let seals = [b"hp3\x1F", &hash[..], b"hb3\x1F", &hash[..]].concat();
            for wrong_length in [false, true] {
                let mut out =
                    [b"R\xC3\x85<b3\0z3\x03y3\x02", &time[..], &seals, b"n3\x01(d3\x01f)>"].concat();
                out[6] = out.len() as u8 + u8::from(wrong_length);
                let what = format!("{count:?} before a hash that begins with {first}");
                let read = vsf::open(&out[..]).unwrap_or_else(|e| panic!("{what}: {e}"));
                let found: Vec<_> = read.findings.iter().map(|f| f.code).collect();
                assert_eq!(found, if wrong_length { &["vsf-header-length"][..] } else { &[] }, "{what}");
                assert_eq!((read.labels.len(), read.header.items.len()), (1, 7), "{what}");
                assert!(is_time(&read.header.items[3].value, count), "{what}: {:?}", read.header.items[3]);
                let Value::Hash(sealed) = &read.header.items[4].value else { panic!("{what}") };
                assert_eq!(sealed.data.bytes(), Some(&hash[..]), "{what}");
            }
        }
    }
}

/// Where both readings are whole, one is shown and that is said.
#[test]
fn what_nothing_decides_is_told() {
    // Eight bytes; or four, and behind a comma a number of one byte.
    let body = [b"[", &field(b"when", b"efN\0\0\0,u3\x07")[..], b"]"].concat();
    let (_, section, found) = open(&file(2, 1, &body));
    assert_eq!(found, ["vsf-ambiguous"]);
    assert_eq!(section.fields.len(), 1);
    // In a header, four bytes and a number; or eight.
    let mut out = b"R\xC3\x85<b3\0z3\x03y3\x02efN\0\0\0u4\x07\xFFn3\x01(d3\x01f)>".to_vec();
    out[6] = out.len() as u8;
    let read = vsf::open(&out[..]).unwrap();
    assert_eq!(read.findings.iter().map(|f| f.code).collect::<Vec<_>>(), ["vsf-ambiguous"]);
    assert_eq!(read.labels.len(), 1);
}

/// `l` was text to format 6, and is a number since some time in format 7.
#[test]
fn text_that_begins_like_the_end_of_a_number_is_read_whole() {
    let texts: [&[u8]; 11] = [
        b" hello",
        b", x",
        b")",
        b")(d3",
        b"hello",
        b"\t",
        b"((((",
        b", ,",
        b")]",
        b"a",
        b"(d3\x01a:u3\x01)",
    ];
    for z in [4, 6, 7, 8, 10] {
        for text in texts {
            let value = [b"l3", &[text.len() as u8][..], text].concat();
            let body = [b"[", &field(b"note", &value)[..], &field(b"after", b"u3\x07"), b"]"].concat();
            let (_, section, found) = open(&file(z, 2, &body));
            let what = format!("{z}: {}", text.escape_ascii());
            assert!(found.is_empty(), "{what}: {found:?}");
            assert_eq!(section.fields.len(), 2, "{what}");
            let said = Value::Ascii(b'l', Data::Bytes(text.to_vec()));
            assert_eq!(
                section.fields[0].values.iter().map(|i| &i.value).collect::<Vec<_>>(),
                [&said],
                "{what}"
            );
        }
        // Nothing, or zero.
        let (_, section, found) = open(&file(z, 1, &[b"[", &field(b"note", b"l3\0")[..], b"]"].concat()));
        let expected = match z {
            ..=7 => Value::Ascii(b'l', Data::Bytes(vec![])),
            _ => Value::Number(b'l', 0),
        };
        assert_eq!(section.fields[0].values[0].value, expected);
        assert_eq!(found, if z > 6 { &["vsf-ambiguous"][..] } else { &[] });
        // In the header itself.
        if z > 6 {
            let mut out =
                [b"R\xC3\x85<z3", &[z][..], b"y3\x07b3\0n3\x02(d3\x01a:l3\x06,hello)(d3\x01b)>"].concat();
            out[12] = out.len() as u8;
            let read = vsf::open(&out[..]).unwrap();
            assert_eq!((read.labels.len(), &read.findings[..]), (2, &[][..]));
            assert_eq!(read.labels[0].values[0].value, Value::Ascii(b'l', Data::Bytes(b",hello".to_vec())));
        }
    }
    for z in [7, 10] {
        let (_, section, found) =
            open(&file(z, 1, &[b"[", &field(b"size", b"l4\x01\x02")[..], b"]"].concat()));
        assert_eq!((&section.fields[0].values[0].value, &found[..]), (&Value::Number(b'l', 258), &[][..]));
    }
}

/// Eight bytes without a size, until somewhere in format 7.
#[test]
fn a_place_with_a_size_is_told_from_one_without() {
    for (value, z, place) in [
        (&b"w6\x01\x02\x03\x04\x05\x06\x07)"[..], 7, 0x0102_0304_0506_0729),
        (b"w6\x01\x02\x03\x04\x05\x06\x07,", 7, 0x0102_0304_0506_072C),
        (b"w6\x01\x02\x03\x04\x05\x06 ", 7, u64::from_be_bytes(*b"6\x01\x02\x03\x04\x05\x06 ")),
        (b"w6\x01\x02\x03\x04\x05\x06\x07\x08", 7, 0x0102_0304_0506_0708),
        (b"w6\x01\x02\x03\x04\x05\x06\x07", 7, 0x3601_0203_0405_0607),
        (b"w\x01\x02\x03\x04\x05\x06\x07\x08", 7, 0x0102_0304_0506_0708),
        (b"w3\x07", 7, 7),
        (b"w4\x01\x02", 8, 0x0102),
        (b"w6\x01\x02\x03\x04\x05\x06\x07)", 9, 0x0102_0304_0506_0729),
        (b"w6\x01\x02\x03\x04\x05\x06\x07", 6, 0x3601_0203_0405_0607),
    ] {
        let body = [b"[", &field(b"where", value)[..], &field(b"after", b"u3\x07"), b"]"].concat();
        let (_, section, found) = open(&file(z, 2, &body));
        let what = format!("{z}: {}", value.escape_ascii());
        assert_eq!((section.fields.len(), found.len()), (2, 0), "{what} {found:?}");
        assert_eq!(section.fields[0].values[0].value, Value::World(place), "{what}");
    }
}

/// As many elements as the shape has, whatever the last of them look like; or as many as the strides reach.
#[test]
fn strided_tensors_end_where_all_that_follows_says() {
    let tensor = |data: &[u8]| [b"q3\x02u33\x023\x023\x033\x01", data].concat();
    for (data, odd) in [
        (&b"ab\x03\x04"[..], Some("vsf-stride")),
        (b"abcde", None),
        (b"abcd)", None),
        (b"abc),", None),
        (b"a,,)", Some("vsf-stride")),
    ] {
        let body = [b"[", &field(b"t", &tensor(data))[..], &field(b"after", b"u3\x07"), b"]"].concat();
        let (_, section, found) = open(&file(2, 2, &body));
        let what = data.escape_ascii();
        assert!(
            odd.is_none_or(|odd| found.contains(&odd)) && odd.is_some() != found.is_empty(),
            "{what} {found:?}"
        );
        assert_eq!(section.fields.len(), 2, "{what}");
        let Value::Tensor(read) = &section.fields[0].values[0].value else { panic!("{what}") };
        assert_eq!(read.data.len(), data.len() as u64, "{what}");
    }
}

/// Where elements repeat, the strides reach fewer than the shape has; all are stored, whatever they look like.
#[test]
fn strided_tensors_that_repeat_are_as_many_elements_as_the_shape() {
    for (tensor, data) in [
        (&b"q3\x02u33\x023\x023\x003\x01"[..], &b"ab,)"[..]),
        (b"q3\x02u33\x023\x023\x003\x01", b"ab)("),
        (b"q3\x02u33\x023\x023\x003\x00", b"a,,,"),
        (b"q3\x02u03\x033\x043\x003\x00", b"\0,"),
        (b"q3\x02u03\x023\x013\x003\x01", b"\0"),
    ] {
        let what = [tensor, data].concat();
        let body = [b"[", &field(b"t", &what)[..], &field(b"after", b"u3\x07"), b"]"].concat();
        let (_, section, found) = open(&file(2, 2, &body));
        let what = what.escape_ascii();
        assert!(found.is_empty(), "{what} {found:?}");
        assert_eq!(section.fields.len(), 2, "{what}");
        let Value::Tensor(read) = &section.fields[0].values[0].value else { panic!("{what}") };
        assert_eq!(read.data.len(), data.len() as u64, "{what}");
    }
}

/// However many there are, and however little decides them.
#[test]
fn many_that_nothing_decides_take_bounded_work() {
    let one = field(b"t", b"efN\0\0\0,u3\x07");
    let n = 4000u16;
    for end in [&b"]"[..], b"(d3\x01z:!)]"] {
        let body = [b"[", &one.repeat(n.into())[..], end].concat();
        let mut bytes = b"R\xC3\x85<z3\x02y3\x02n3\x01(d3\x01ao3\x30b5".to_vec();
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(b"n4");
        bytes.extend_from_slice(&n.to_be_bytes());
        bytes.extend_from_slice(b")>");
        bytes.resize(0x30, b' ');
        bytes.extend_from_slice(&body);
        let (_, section, found) = open(&bytes);
        assert_eq!(section.fields.len(), usize::from(n));
        assert!(found.contains(&"vsf-ambiguous"), "{found:?}");
    }
}
