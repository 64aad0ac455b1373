//! Whether a file can be written again with nothing lost, and that: for signing, and for packing what was unpacked.
//!
//! The writer knows the design alone. What other dialects add is an obstacle that is told, never left out.

use std::sync::Arc;

use super::build::{Builder, Fields, is_name};
use super::element::Element;
use super::file::{File, Kind, Label};
use super::input::Input;
use super::value::{Algorithm, Field, Section, Value};
use crate::error::{Error, Result};

/// The first version whose Spirix numbers mean something else than the design's.
const OTHER_SPIRIX: u64 = 9;

/// Why a label cannot be written again, if it cannot.
pub fn obstacle(file: &File, label: &Label) -> Option<String> {
    let name = std::str::from_utf8(&label.name).ok().filter(|name| is_name(name));
    if name.is_none() {
        return Some("its name cannot be written: a-z, 0-9 and _, with dots between words".into());
    }
    if !matches!(label.kind(), Kind::Section | Kind::Blob) {
        return Some("values in the header itself cannot be written".into());
    }
    if let Some(item) = label.values.iter().find(|item| !item.value.is_place()) {
        return Some(format!("a value of type {} in its label cannot be written", item.value.kind()));
    }
    file.range(label).err().map(|wrong| wrong.what.to_string())
}

/// Why the header has more than the writer can say; seals are made anew and are none.
fn header_obstacle(file: &File) -> Option<String> {
    let known = |value: &Value| match value {
        Value::Number(b'b' | b'z' | b'y' | b'n', _) => true,
        Value::Hash(sealed) => sealed.algorithm == Algorithm::Letter(b'b'),
        Value::Key(sealed) => sealed.algorithm == Algorithm::Letter(b'e'),
        _ => false,
    };
    let other = file.header.items.iter().find(|item| !known(&item.value));
    if let Some(item) = other {
        return Some(format!("a value of type {} in the header cannot be written", item.value.kind()));
    }
    if file.header.span.start > 0 || file.header.broken.is_some() {
        return Some("its header is not at its beginning, or broken".into());
    }
    let seal = |field: &Field| {
        field.name == b"signature"
            && matches!(field.values[..], [super::Item { value: Value::Signature(_), .. }])
    };
    match &file.trailing {
        Some(trailing) if !trailing.field.as_ref().is_some_and(seal) => {
            Some("bytes behind the last section belong to nothing".into())
        }
        _ => None,
    }
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

fn fields_of(section: &Section, file: &File, from: &Arc<dyn Input>) -> std::result::Result<Fields, String> {
    if section.rest.is_some() || !section.items.is_empty() || !section.prefix.is_empty() {
        return Err("it has values that are no fields".into());
    }
    let mut fields = Fields::new();
    for field in &section.fields {
        let name = std::str::from_utf8(&field.name).map_err(|_| "a name is not UTF-8".to_string())?;
        let values: Vec<Value> = field.values.iter().map(|item| item.value.clone()).collect();
        let done = match (referred(field, file)?, &values[..]) {
            (Some(label), _) => fields.add_reference(name, &label),
            (None, [Value::Section(inner)]) => fields.add_section(name, fields_of(inner, file, from)?),
            (None, values) => fields.add_all(name, values, Some(from)),
        };
        done.map_err(|unfit| unfit.to_string())?;
    }
    Ok(fields)
}

/// A builder of the same file, without its seals; refused where anything would be lost.
pub fn builder_of(file: &File, input: &Arc<dyn Input>) -> Result<Builder> {
    let refuse = |what: &str, why: String| Error::Refused(format!("cannot write {what} again: {why}"));
    if let Some(why) = header_obstacle(file) {
        return Err(refuse("this file", why));
    }
    let mut builder = Builder::new();
    for label in &file.labels {
        let refuse = |why: String| refuse(&label.title(), why);
        if let Some(why) = obstacle(file, label) {
            return Err(refuse(why));
        }
        let name = label.title();
        let range = file.range(label).map_err(|wrong| wrong.about(&name))?;
        let done = if label.kind() == Kind::Blob {
            builder.blob_from(&name, input.clone(), range)
        } else {
            let section = file.section(input.as_ref(), label)?.section;
            if let Some(why) = other_meaning(file.header.version().unwrap_or(0), &section) {
                return Err(refuse(why));
            }
            builder.section(&name, fields_of(&section, file, input).map_err(refuse)?)
        };
        done.map_err(|unfit| refuse(unfit.to_string()))?;
    }
    if file.header.declared_length() == Some(file.header.span.end) {
        builder.header_length_in_bytes();
    }
    Ok(builder)
}
