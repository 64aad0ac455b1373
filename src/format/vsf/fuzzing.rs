//! The parsers, for whoever throws bytes at them: takes any bytes, and panics when something does not hold that
//! always has to.

use super::value::{Data, Field, Item, Section, Value};
use super::{Builder, Fields, Input, Keys, Kind, open, unpack, verify, verify_section};

/// A whole file: opened, every section read, every seal checked; what reads whole is written and read again.
pub fn file(data: &[u8]) {
    let Ok(file) = open(data) else { return };
    assert!(file.header.span.end <= data.len() as u64);
    assert!(file.labels.len() <= data.len());
    for label in &file.labels {
        assert!(label.span.end <= data.len() as u64 && label.span.start < label.span.end);
        label.values.iter().for_each(|item| check_item(data, item));
    }
    // A label is a few bytes and can refer to all of the file: only so many are followed for one input.
    let mut keys = Keys::of(&file, &[]);
    for label in file.labels.iter().filter(|label| label.kind() == Kind::Section).take(50) {
        let Ok(body) = file.section(data, label) else { continue };
        let range = file.range(label).expect("it was just read");
        assert_eq!(body.section.span, range);
        check_section(data, &body.section);
        file.oddities(label, &body);
        verify_section(data, &file, label, &body, &mut keys).expect("all bytes are there");
        write_again(data, &body.section);
    }
    if file.labels.len() < 50 {
        verify(data, &file, &[], &mut |_| ()).expect("all bytes are there");
    }
}

/// One body by itself. The first two bytes are the version and the promised number of items.
pub fn section(data: &[u8]) {
    let [version, count, body @ ..] = data else { return };
    let expected = (*count > 0).then_some(u64::from(*count));
    let version = (*version > 0).then_some(u64::from(*version));
    let read = super::section::read(&body, 0..body.len() as u64, version, expected);
    let section = read.expect("all bytes are there").section;
    check_section(body, &section);
    write_again(body, &section);
}

/// Packed elements. The first two bytes are their width and where to begin.
pub fn packed(data: &[u8]) {
    let [bits, first, packed @ ..] = data else { return };
    let bits = u32::from(*bits);
    let count = (packed.len() * 8).checked_div(bits as usize).unwrap_or(0);
    let mut whole = vec![0u64; count];
    let done = unpack(bits, packed, 0, &mut whole);
    assert_eq!(done.is_ok(), (1..=64).contains(&bits));
    if done.is_err() {
        return;
    }
    let first = usize::from(*first).min(count);
    let mut part = vec![0u64; count - first];
    unpack(bits, packed, first, &mut part).expect("they are there");
    assert_eq!(part, whole[first..]);
    let again = super::pack(bits, &whole).expect("they fit, having come from there");
    let full = count * bits as usize / 8;
    assert_eq!(again[..full], packed[..full]);
}

fn check_section(data: &[u8], section: &Section) {
    section.prefix.iter().chain(&section.items).for_each(|item| check_item(data, item));
    let mut end = section.span.start;
    for Field { values, span, .. } in &section.fields {
        assert!(span.start >= end && span.end <= section.span.end);
        end = span.end;
        let mut at = span.start;
        for item in values {
            assert!(item.span.start >= at && item.span.end <= span.end);
            at = item.span.end;
            check_item(data, item);
        }
    }
    if let Some(rest) = &section.rest {
        assert!(rest.range.start <= rest.range.end && rest.range.end <= data.len() as u64);
    }
}

fn check_item(data: &[u8], item: &Item) {
    assert!(item.span.start < item.span.end && item.span.end <= data.len() as u64);
    let there = |bytes: &Data| {
        if let Data::At(range) = bytes {
            assert!(range.start >= item.span.start && range.end <= item.span.end);
        }
        assert!(bytes.len() <= item.span.end - item.span.start);
    };
    item.value.kind();
    match &item.value {
        Value::Tensor(tensor) => {
            there(&tensor.data);
            tensor.is_within();
            let needed = tensor.element.bytes_of(tensor.count());
            assert!(tensor.strides.is_some() || needed == Some(tensor.data.len()));
        }
        Value::Packed(packed) => there(&packed.data),
        Value::Section(section) => check_section(data, section),
        Value::Time(time) => drop((time.rfc3339(), time.count_text())),
        Value::Spirix(n) => drop((n.decimal(2), n.decimal(10))),
        Value::Wrapped(wrapped) => drop(wrapped.unwrap_bytes(data, 1 << 16)),
        _ => {}
    }
}

/// What can be written reads back with as many fields.
fn write_again(data: &[u8], section: &Section) {
    let input: std::sync::Arc<dyn Input> = std::sync::Arc::new(data.to_vec());
    let Ok(fields) = Fields::of(section, Some(&input)) else { return };
    let mut builder = Builder::new();
    if builder.section("a", fields).is_err() {
        return;
    }
    let written = builder.to_bytes().expect("nothing is missing");
    let file = open(&written).expect("we wrote it");
    assert_eq!(file.findings, []);
    let again = file.section(&written, &file.labels[0]).expect("we wrote it").section;
    assert_eq!((again.rest, again.fields.len()), (None, section.fields.len()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Files with one or a few bytes changed, and bodies of bytes that look like structure.
    const WHOLE: &[u8] = b"R\xC3\x85<b4\x01\x08z3\x02y3\x01n3\x01(d3\x01ao3\x21b3\x54n3\x05)>[(d3\x01k:u3\x07)\
        (d3\x01t:t3\x02u43\x013\x02abcd)(d3\x01q:q3\x01u33\x023\x01xy)(d3\x01x:x3\x03ab)(d3\x01n:[(d3\x01z:f5abcd)])]";

    const PARTS: &[&[u8]] = &[
        b"[(",
        b")]",
        b"(d3\x01a",
        b":",
        b",",
        b")",
        b"[",
        b"]",
        b"u3\x01",
        b"x3\x02",
        b"t3\x01u33\x01",
        b"tn3\x01u3",
        b"q3\x01u33\x023\x01",
        b"bp3\x0C3\x013\x02",
        b"p3\x01\x0C3\x02",
        b"ef",
        b"e6",
        b"ab",
        b"c",
        b"\0\0\0\0",
        b"h5",
        b"hb3\x01",
        b"l3\x02",
        b"w",
        b"vz3\x08",
        b"rr",
        b"na",
        b" ",
        b"T5",
        b"t6",
        b"s33",
        b"zz",
    ];

    #[test]
    fn the_whole_file_is_whole() {
        let file = super::open(WHOLE).unwrap();
        assert_eq!(file.findings, []);
        let section = file.section(WHOLE, &file.labels[0]).unwrap().section;
        assert_eq!((section.fields.len(), section.rest), (5, None));
        super::file(WHOLE);
    }

    proptest! {
        #[test]
        fn no_damage_is_too_much(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
            let mut data = WHOLE.to_vec();
            for (at, byte) in changes {
                let at = at.index(data.len());
                data[at] = byte;
            }
            super::file(&data);
        }

        #[test]
        fn no_body_is_too_odd(
            version in 0u8..12,
            count in 0u8..4,
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..30),
        ) {
            let mut data = vec![version, count];
            data.extend(parts.concat());
            super::section(&data);
        }

        #[test]
        fn no_packing_is_too_odd(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::packed(&data);
        }
    }
}
