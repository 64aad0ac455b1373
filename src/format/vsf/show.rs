//! Values as text and as JSON.
//!
//! Text is for people and their tools, one line a value; JSON says everything, in the words of the format. Numbers of
//! more than 53 bits are strings there, since most readers of JSON would round them.

use serde_json::{Map, Value as Json, json};

use super::colour;
use super::eagle::Unit;
use super::file::{File, Kind, Label};
use super::value::{Algorithm, Data, Item, Section, Value};

/// The longest bytes that are spelled out in JSON.
const SPELLED: usize = 4096;

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn real(n: f64) -> String {
    zmij::Buffer::new().format(n).to_string()
}

/// The shortest digits that are the same number in single precision.
pub fn single(n: f32) -> String {
    zmij::Buffer::new().format(n).to_string()
}

/// The line of a value that is one; `None` for arrays, sections, and what is only bytes.
pub fn line(value: &Value, version: u64) -> Option<Vec<u8>> {
    let complex = |re: String, im: String| {
        let sign = if im.starts_with('-') { "" } else { "+" };
        format!("{re}{sign}{im}j")
    };
    let text = match value {
        Value::Bool(b) => b.to_string(),
        Value::Unsigned(_, n) | Value::Number(_, n) => n.to_string(),
        Value::Signed(_, n) => n.to_string(),
        Value::F5(n) => single(*n),
        Value::F6(n) => real(*n),
        Value::J5([re, im]) => complex(single(*re), single(*im)),
        Value::J6([re, im]) => complex(real(*re), real(*im)),
        Value::Spirix(n) => n.decimal(version),
        Value::Time(time) => time.rfc3339().unwrap_or_else(|| time.count_text()),
        Value::World(place) => format!("{place:#018x}"),
        Value::Name(data) | Value::Ascii(_, data) => return Some(data.bytes()?.to_vec()),
        Value::Hash(s) | Value::Signature(s) | Value::Key(s) | Value::Mac(_, s) => hex(s.data.bytes()?),
        Value::Opaque(data) => colour::line(data.bytes()?)?,
        Value::Text(..) | Value::Wrapped(_) => return None,
        Value::Tensor(_) | Value::Packed(_) | Value::Section(_) => return None,
    };
    Some(text.into_bytes())
}

fn number(n: u128) -> Json {
    if n < 1 << 53 { json!(n as u64) } else { json!(n.to_string()) }
}

fn signed(n: i128) -> Json {
    if n.unsigned_abs() < 1 << 53 { json!(n as i64) } else { json!(n.to_string()) }
}

/// JSON has no infinities; they are strings.
fn float(n: f64) -> Json {
    serde_json::Number::from_f64(n).map_or_else(|| json!(real(n)), Json::Number)
}

fn name(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

fn put_data(out: &mut Map<String, Json>, data: &Data) {
    match data {
        Data::Bytes(bytes) if bytes.len() <= SPELLED => out.insert("hex".into(), json!(hex(bytes))),
        Data::Bytes(bytes) => out.insert("length".into(), json!(bytes.len())),
        Data::At(range) => {
            out.insert("data_offset".into(), json!(range.start));
            out.insert("data_length".into(), json!(range.end - range.start))
        }
    };
}

fn put_text(out: &mut Map<String, Json>, data: &Data) {
    match data.bytes().map(std::str::from_utf8) {
        Some(Ok(text)) if text.len() <= SPELLED => drop(out.insert("value".into(), json!(text))),
        _ => put_data(out, data),
    }
}

/// Everything about one value.
pub fn json(item: &Item, version: u64) -> Json {
    let mut out = Map::new();
    out.insert("type".into(), json!(item.value.kind()));
    out.insert("offset".into(), json!(item.span.start));
    out.insert("length".into(), json!(item.span.end - item.span.start));
    let mut value = |json: Json| drop(out.insert("value".into(), json));
    match &item.value {
        Value::Bool(b) => value(json!(b)),
        Value::Unsigned(_, n) | Value::Number(_, n) => value(number(*n)),
        Value::Signed(_, n) => value(signed(*n)),
        Value::F5(n) => value(float((*n).into())),
        Value::F6(n) => value(float(*n)),
        Value::J5([re, im]) => value(json!([float((*re).into()), float((*im).into())])),
        Value::J6([re, im]) => value(json!([float(*re), float(*im)])),
        Value::World(place) => value(number((*place).into())),
        Value::Spirix(n) => {
            value(json!(n.decimal(version)));
            out.insert("fraction".into(), signed(n.re));
            if let Some(im) = n.im {
                out.insert("imaginary".into(), signed(im));
            }
            out.insert("exponent".into(), signed(n.exp));
        }
        Value::Time(time) => {
            value(json!(time.rfc3339()));
            out.insert("count".into(), json!(time.count_text()));
            let unit = if time.unit == Unit::Seconds { "seconds" } else { "oscillations" };
            out.insert("unit".into(), json!(unit));
        }
        Value::Name(data) | Value::Ascii(_, data) => put_text(&mut out, data),
        Value::Text(chars, data) => {
            out.insert("characters".into(), json!(chars));
            put_data(&mut out, data);
        }
        Value::Hash(s) | Value::Signature(s) | Value::Key(s) | Value::Mac(_, s) => {
            if let Algorithm::Letter(a) | Algorithm::Sha(a) = s.algorithm {
                out.insert("algorithm".into(), json!(char::from(a).to_string()));
            }
            put_data(&mut out, &s.data);
        }
        Value::Wrapped(wrapped) => {
            out.insert("code".into(), json!(char::from(wrapped.code).to_string()));
            out.insert("bits".into(), json!(wrapped.bits));
            put_data(&mut out, &wrapped.data);
        }
        Value::Opaque(data) => {
            data.bytes().and_then(colour::line).into_iter().for_each(|line| value(json!(line)));
            put_data(&mut out, data);
        }
        Value::Tensor(tensor) => {
            out.insert("element".into(), json!(tensor.element.to_string()));
            out.insert("shape".into(), json!(tensor.shape));
            if let Some(strides) = &tensor.strides {
                out.insert("strides".into(), json!(strides));
            }
            put_data(&mut out, &tensor.data);
        }
        Value::Packed(packed) => {
            out.insert("bits".into(), json!(packed.bits));
            out.insert("shape".into(), json!(packed.shape));
            put_data(&mut out, &packed.data);
        }
        Value::Section(section) => drop(out.insert("section".into(), self::section(section, version))),
    }
    Json::Object(out)
}

/// Everything in a section.
pub fn section(section: &Section, version: u64) -> Json {
    let items = |items: &[Item]| items.iter().map(|item| json(item, version)).collect::<Vec<_>>();
    let field = |field: &super::Field| {
        let mut out = Map::new();
        out.insert("name".into(), name(&field.name));
        if let Some(normal) = field.normal() {
            let item = Item { value: normal.value, span: 0..0 };
            let kind = item.value.kind();
            let value = json(&item, version)["value"].take();
            out.insert("normal".into(), json!({ "key": normal.key, "type": kind, "value": value }));
        }
        out.insert("values".into(), json!(items(&field.values)));
        Json::Object(out)
    };
    let mut out = Map::new();
    if !section.prefix.is_empty() {
        out.insert("prefix".into(), json!(items(&section.prefix)));
    }
    if !section.items.is_empty() {
        out.insert("items".into(), json!(items(&section.items)));
    }
    out.insert("fields".into(), section.fields.iter().map(field).collect());
    if let Some(rest) = &section.rest {
        let range = &rest.range;
        out.insert(
            "unread".into(),
            json!({"offset": range.start, "length": range.end - range.start, "why": rest.wrong.what}),
        );
    }
    Json::Object(out)
}

fn label(label: &Label, version: u64) -> Json {
    let mut out = Map::new();
    out.insert("name".into(), name(&label.name));
    let kind = match label.kind() {
        Kind::Section => "section",
        Kind::Blob => "blob",
        Kind::Inline => "inline",
        Kind::Flag => "flag",
    };
    out.insert("kind".into(), json!(kind));
    if let Some(reference) = &label.reference {
        out.insert("offset".into(), number(reference.offset));
        out.insert("size".into(), number(reference.size));
        out.insert("count".into(), reference.count.map_or(Json::Null, number));
    }
    if !label.values.is_empty() {
        out.insert("values".into(), label.values.iter().map(|item| json(item, version)).collect());
    }
    Json::Object(out)
}

/// Everything in the header, as a file: one label on a line, since there may be a million.
pub fn header_text(file: &File) -> Vec<u8> {
    let version = file.header.version().unwrap_or(0);
    let head = json!({
        "version": file.header.version(),
        "backward": file.header.backward(),
        "offset": file.header.span.start,
        "length": file.header.span.end - file.header.span.start,
        "file_size": file.size,
        "values": file.header.items.iter().map(|item| json(item, version)).collect::<Vec<_>>(),
    });
    let mut out = pretty(&head);
    let end = out.len() - "\n}\n".len();
    out.truncate(end);
    out.extend_from_slice(b",\n  \"labels\": [");
    for (n, one) in file.labels.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"\n    " } else { b",\n    " });
        serde_json::to_writer(&mut out, &label(one, version)).expect("memory takes all");
    }
    out.extend_from_slice(b"\n  ]\n}\n");
    out
}

/// As a file: indented, with a newline at its end.
pub fn pretty(json: &Json) -> Vec<u8> {
    let mut out = serde_json::to_vec_pretty(json).expect("JSON values are always JSON");
    out.push(b'\n');
    out
}
