//! Whether a file can be written again with nothing lost, and that: for signing, and for packing what was unpacked.
//!
//! The writer knows the design alone. What other dialects add is an obstacle that is told, never left out in silence.
//! Hashes and signatures are of the bytes as they were: they cannot go with the values, and that is told as well.

use std::sync::Arc;

use super::build::{Builder, Fields, is_name};
use super::eagle::EagleTime;
use super::element::Element;
use super::file::{File, Kind, Label};
use super::input::Input;
use super::seal::Outcome;
use super::value::{Algorithm, Field, Section, Value};
use super::verify::{Keys, verify_section};
use crate::error::{Error, Result};

/// The first version whose Spirix numbers mean something else than the design's.
const OTHER_SPIRIX: u64 = 9;

/// The version of what is written.
const VERSION: u64 = 2;

/// Why a label cannot be written again, if it cannot.
pub fn obstacle(file: &File, label: &Label) -> Option<String> {
    let name = std::str::from_utf8(&label.name).ok().filter(|name| is_name(name));
    if name.is_none() {
        return Some("its name cannot be written: a-z, A-Z, 0-9 and _, with dots between words".into());
    }
    if !matches!(label.kind(), Kind::Section | Kind::Blob) {
        return Some("values in the header itself cannot be written".into());
    }
    if let Some(item) = label.values.iter().find(|item| !is_label_seal(&item.value)) {
        return Some(format!("a value of type {} in its label cannot be written", item.value.kind()));
    }
    file.range(label).err().map(|wrong| wrong.what.to_string())
}

/// What stands in a file beside its labels, as far as that can be written again.
#[derive(Debug, Default)]
pub struct Carried {
    /// The time in the header.
    pub time: Option<EagleTime>,
    /// Whether the header has the hash of the file.
    pub hashed: bool,
    /// The seals that only fit the bytes as they were.
    pub seals: Vec<String>,
    /// Whether all of them are such as our own writer makes.
    pub own: bool,
    /// What the writer has no place for.
    pub lost: Vec<String>,
}

/// What is carried over from the header, from behind the last section, and from between sections.
pub fn carried(file: &File, input: &dyn Input) -> Result<Carried> {
    let mut carried = Carried { own: true, ..Carried::default() };
    for item in &file.header.items {
        carried.value(&item.value);
    }
    if let Some(wrong) = &file.header.broken {
        carried.lost.push(format!("the header is broken: {}", wrong.what));
    }
    if file.header.span.start > 0 {
        carried.own = false;
        carried.seals.push("the file as it was before something was appended to it".into());
    }
    match &file.trailing {
        None => {}
        Some(trailing) if trailing.field.as_ref().is_some_and(|field| field.signature().is_some()) => {
            carried.seals.push("the signature of the file behind its last section".into());
        }
        Some(trailing) => {
            let many = trailing.span.end - trailing.span.start;
            carried.lost.push(format!("{many} bytes behind the last section belong to nothing"));
        }
    }
    let stray = if file.header.span.start > 0 { 0 } else { stray(file, input)? };
    if stray > 0 {
        carried.lost.push(format!("{stray} bytes between the sections belong to nothing"));
    }
    Ok(carried)
}

impl Carried {
    fn value(&mut self, value: &Value) {
        let what = || format!("a value of type {} in the header", value.kind());
        match value {
            // They follow from the rest.
            Value::Number(b'b' | b'z' | b'y' | b'n' | b'l' | b'L', _) => {}
            Value::Time(time) if self.time.is_none() => self.time = Some(*time),
            Value::Hash(sealed) if sealed.algorithm == Algorithm::Letter(b'b') => self.hashed = true,
            Value::Hash(_) | Value::Signature(_) | Value::Key(_) => {
                self.own &=
                    matches!(value, Value::Key(sealed) if sealed.algorithm == Algorithm::Letter(b'e'));
                self.seals.push(what());
            }
            _ => self.lost.push(format!("{} cannot be written", what())),
        }
    }
}

/// The hashes and signatures in a label.
pub fn seals_of(label: &Label) -> impl Iterator<Item = String> {
    let seals = label.values.iter().filter(|item| is_label_seal(&item.value));
    seals.map(|item| format!("a value of type {} in its label", item.value.kind()))
}

fn is_label_seal(value: &Value) -> bool {
    matches!(value, Value::Hash(_) | Value::Signature(_))
}

/// How many bytes between the sections are no padding, and no label's.
fn stray(file: &File, input: &dyn Input) -> Result<u64> {
    const STEP: u64 = 1 << 20;
    let ranges = file.labels.iter().filter_map(|label| file.range(label).ok());
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut end, mut stray) = (file.header.span.end, 0);
    let mut buf = Vec::new();
    for range in ranges {
        while end < range.start {
            buf.resize(STEP.min(range.start - end) as usize, 0);
            input.read_at(end, &mut buf)?;
            stray += buf.iter().filter(|b| **b != 0).count() as u64;
            end += buf.len() as u64;
        }
        end = end.max(range.end);
    }
    Ok(stray)
}

/// The label that a field refers to; an error where it refers to anything else.
pub fn referred(field: &Field, file: &File) -> std::result::Result<Option<String>, String> {
    let Some(reference) = field.reference() else {
        return match field.values.iter().any(|item| item.value.is_place()) {
            true => Err("a number of its place is no reference".into()),
            false => Ok(None),
        };
    };
    let found = file.labels.iter().find(|label| label.reference.as_ref() == Some(&reference));
    let name = found.and_then(|label| String::from_utf8(label.name.clone()).ok());
    match name.filter(|_| field.values.len() == 3) {
        Some(name) => Ok(Some(name)),
        None => Err("it refers to bytes that are no section of the file".into()),
    }
}

/// Whether a section has text that is coded with a book: `x`, or what is wrapped in the manner of `c`.
fn is_coded(section: &Section) -> bool {
    let coded = |value: &Value| match value {
        Value::Text(..) => true,
        Value::Wrapped(wrapped) => wrapped.code == b'c',
        Value::Section(inner) => is_coded(inner),
        _ => false,
    };
    section.fields.iter().any(|field| field.values.iter().any(|item| coded(&item.value)))
}

/// What has to be told of the text of a section in a file of the design, which it goes into bit by bit: version 2 had
/// another book. Refusing it would leave out most pictures that cameras make.
pub fn other_book(version: u64, section: &Section) -> Option<&'static str> {
    let text = "its text of type x or vc is coded with the book of the version that it comes from, and a packed file is \
                of version 2, whose readers may see other characters; keep the file that it was unpacked from";
    (version != VERSION && is_coded(section)).then_some(text)
}

/// The Spirix number in a section that would change its meaning.
fn changes(section: &Section) -> bool {
    let spirix = |value: &Value| match value {
        Value::Spirix(_) => true,
        Value::Tensor(t) => matches!(t.element, Element::Scalar(..) | Element::Circle(..)),
        Value::Section(inner) => changes(inner),
        _ => false,
    };
    section.fields.iter().any(|field| field.values.iter().any(|item| spirix(&item.value)))
}

/// Why the numbers of a section would mean something else in a file of the design.
pub fn other_meaning(version: u64, section: &Section) -> Option<String> {
    let text = "its Spirix numbers mean something else in files of version 2";
    (version >= OTHER_SPIRIX && changes(section)).then(|| text.to_string())
}

/// Why a section has more than its fields, if it has. Before these, older formats repeat what the label says.
pub fn more_than_fields(section: &Section, label: Option<&[u8]>) -> Option<&'static str> {
    let repeated = |item: &super::Item| match &item.value {
        Value::Name(data) => label.is_some_and(|name| data.bytes() == Some(name)),
        Value::Number(b'n' | b'b', _) => label.is_some(),
        _ => false,
    };
    let whole = section.rest.is_none() && section.items.is_empty() && section.prefix.iter().all(repeated);
    (!whole).then_some("it has values that are no fields")
}

/// A builder of the same file, without its seals, and whether it had signed sections; refused where anything would be
/// lost.
pub fn builder_of(file: &File, input: &Arc<dyn Input>) -> Result<(Builder, bool)> {
    let mut signed = false;
    let refuse = |what: &str, why: String| Error::Refused(format!("cannot write {what} again: {why}"));
    let carried = carried(file, input.as_ref())?;
    let foreign = carried.seals.iter().filter(|_| !carried.own);
    if let Some(why) = carried.lost.iter().chain(foreign).next() {
        return Err(refuse("this file", why.clone()));
    }
    let (mut builder, mut keys) = (Builder::new(), Keys::of(file, &[]));
    if let Some(time) = carried.time {
        builder.time(time).map_err(|unfit| refuse("this file", unfit.to_string()))?;
    }
    for label in &file.labels {
        let refuse = |why: String| refuse(&label.title(), why);
        if let Some(why) = obstacle(file, label).or_else(|| seals_of(label).next()) {
            return Err(refuse(why));
        }
        let name = label.title();
        let range = file.range(label).map_err(|wrong| wrong.about(&name))?;
        let done = if label.kind() == Kind::Blob {
            builder.blob_from(&name, input.clone(), range)
        } else {
            let mut body = file.section(input.as_ref(), label)?;
            let seals = verify_section(input.as_ref(), file, label, &body, &mut keys)?;
            // One that fits is made anew; any other is a field as all others.
            if seals.iter().any(|check| check.outcome == Outcome::Right) {
                body.section.fields.pop();
                signed = true;
            }
            let section = body.section;
            if let Some(why) = other_meaning(file.header.version().unwrap_or(0), &section) {
                return Err(refuse(why));
            }
            if let Some(why) = more_than_fields(&section, Some(&label.name)) {
                return Err(refuse(why.into()));
            }
            let fields = Fields::within(&section, file, Some(input));
            fields.and_then(|fields| builder.section(&name, fields))
        };
        done.map_err(|unfit| refuse(unfit.to_string()))?;
    }
    if file.header.declared_length() == Some(file.header.span.end) {
        builder.header_length_in_bytes();
    }
    Ok((builder, signed))
}
