//! Where sections lie: in which unit, upon each other, and what lies behind them.

use std::ops::Range;

use hashbrown::HashSet;

use super::file::{File, Trailing};
use super::input::{Input, Parsed};
use super::section;
use super::value::Reference;
use crate::error::Result;
use crate::finding::Severity;

/// The most findings of one kind; a hostile file could have a million.
const ENOUGH: usize = 100;

/// Offsets and sizes are bytes. One reading of the design has them in bits, like the header's length; a file is
/// read so only where nothing else is possible: its header's length is in bits, every label is impossible in
/// bytes, and every one is possible in bits. Whatever is left then would be unreadable otherwise.
pub fn settle_units(file: &mut File) {
    let header = file.header.span.clone();
    let in_bits = file.header.declared_length() == Some((header.end - header.start) * 8);
    let old = file.header.version().is_some_and(|z| z <= 2);
    let size = file.size;
    let eighth = |r: &Reference| {
        let whole = r.offset.is_multiple_of(8) && r.size.is_multiple_of(8);
        whole.then_some(Reference { offset: r.offset / 8, size: r.size / 8, count: r.count })
    };
    let possible =
        |r: &Reference| eighth(r).and_then(|r| r.range(size)).is_some_and(|range| range.start >= header.end);
    let mut references = file.labels.iter().filter_map(|label| label.reference.as_ref()).peekable();
    if !in_bits || !old || file.header.broken.is_some() || references.peek().is_none() {
        return;
    }
    if !references.all(|r| r.range(size).is_none() && possible(r)) {
        return;
    }
    for reference in file.labels.iter_mut().filter_map(|label| label.reference.as_mut()) {
        *reference = eighth(reference).expect("it was possible");
    }
    let text = "offsets and sizes make sense only as bits, and are read so";
    file.note(Severity::Warning, "vsf-offsets-in-bits", String::new(), text.to_string());
}

/// Labels that cannot be read, that lie upon each other, or that share a name.
pub fn check(file: &mut File) {
    let mut ranges: Vec<(Range<u64>, usize)> = Vec::with_capacity(file.labels.len());
    let mut names = HashSet::with_capacity(file.labels.len());
    let mut found = Vec::new();
    for (n, label) in file.labels.iter().enumerate() {
        if !names.insert(&label.name) && found.len() < ENOUGH {
            let text = "more than one label has this name".to_string();
            found.push((Severity::Warning, "vsf-twin", label.title(), text));
        }
        match file.range(label) {
            Ok(range) if range.is_empty() => {}
            Ok(range) => ranges.push((range, n)),
            Err(wrong) if label.reference.is_some() && found.len() < ENOUGH => {
                found.push((Severity::Error, wrong.code, label.title(), wrong.what.to_string()));
            }
            Err(_) => {}
        }
    }
    drop(names);
    ranges.sort_unstable_by_key(|(range, n)| (range.start, *n));
    let mut end = 0;
    for (range, n) in &ranges {
        if range.start < end && found.len() < ENOUGH {
            let text = "its bytes are, in part, another label's too".to_string();
            found.push((Severity::Warning, "vsf-overlap", file.labels[*n].title(), text));
        }
        end = end.max(range.end);
    }
    for (severity, code, path, text) in found {
        file.note(severity, code, path, text);
    }
}

/// What stands behind the last section. Nothing is said to be behind sections that are themselves cut off.
pub fn find_trailing(file: &mut File, input: &dyn Input) -> Parsed<()> {
    if file.header.broken.is_some() || file.header.span.start > 0 {
        return Ok(());
    }
    let mut end = file.header.span.end;
    for label in file.labels.iter().filter(|label| label.reference.is_some()) {
        match file.range(label) {
            Ok(range) => end = end.max(range.end),
            Err(_) => return Ok(()),
        }
    }
    if end >= file.size {
        return Ok(());
    }
    let span = end..file.size;
    let body: Result<_> = section::read(input, span.clone(), file.header.version(), None);
    let field = match body {
        Ok(body) if body.section.rest.is_none() && body.section.items.is_empty() => {
            <[_; 1]>::try_from(body.section.fields).ok().map(|[field]| field)
        }
        Ok(_) => None,
        Err(error) => return Err(error.into()),
    };
    if field.is_none() {
        let text = format!("{} bytes behind the last section belong to nothing", file.size - end);
        file.note(Severity::Notice, "vsf-trailing", String::new(), text);
    }
    file.trailing = Some(Trailing { field, span });
    Ok(())
}
