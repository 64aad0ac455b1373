//! What a tree of files does not say of the VSF file that it was: types, order, and the bytes of what is small.
//!
//! A record stands beside unpacked files, and is a claim like all that is read: who packs the files again compares
//! them with it, and believes the files.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::build::Fields;
use super::eagle::EagleTime;
use super::encode::{Piece, Pieces, Unfit, Zeros, put_value};
use super::file::{File, Kind, Label};
use super::kept::Kept;
use super::names::{Names, path_of};
use super::project::{Standing, standing};
use super::read_back::Joined;
use super::section;
use super::value::{Data, Field, Section, Value};
use super::view::Shown;
use super::walk::{Found, Place, Walk};
use super::{Input, is_name, rewrite};
use crate::error::{Error, Result};
use crate::store::Source;
use crate::tree::{Content, Kind as Shape};

/// The name of a record among the files.
pub const NAME: &str = ".vsf-record.json";

/// What a directory has as its suffix.
pub const FOLDER: &str = "/";

/// What a link has as its suffix, before where it leads.
pub const LINK: &str = "@";

/// The most bytes of elements that a record holds since no array shows them.
const UNSHOWN: u64 = 16 << 20;

/// The number of this kind of record.
const KIND: u32 = 1;

/// What is known of a whole tree.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    record: u32,
    /// The format's version that the file had.
    pub version: u64,
    /// Whether the header's length is in bytes.
    pub in_bytes: bool,
    /// The hash of `header.json`.
    #[serde(default)]
    pub header: Option<String>,
    /// The time in the header, as it is written.
    #[serde(default)]
    time: Option<String>,
    /// Whether the header has a hash of the file.
    #[serde(default)]
    pub hashed: bool,
    /// What the file has that no tree of files and no writer of the design can say.
    pub cannot: Vec<String>,
    /// What fits the file as it was alone, and will not be in one that is packed: hashes and signatures.
    #[serde(default)]
    pub seals: Vec<String>,
    /// What may mean something else in a file that is packed.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The labels, in their order.
    pub labels: Vec<Part>,
}

/// What is known of one label.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// The name.
    pub name: String,
    /// The file or directory.
    pub path: String,
    /// The hash of its `section.json`.
    #[serde(default)]
    pub json: Option<String>,
    /// The fields as the design writes them; a number stands for as many bytes that are in the files.
    pub stored: Option<Vec<Chunk>>,
    /// Of each field, those within each other counted from front to back: its files, and the suffix of each; of one that
    /// is a section its directory, as [`FOLDER`], and of one that refers to a section its link, as [`LINK`].
    pub files: Vec<Vec<(String, String)>>,
    /// Of each field that refers to a label: its name.
    pub refers: Vec<Option<String>>,
}

/// A stretch of stored bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Chunk {
    /// These, in hexadecimal.
    Hex(String),
    /// So many.
    Gap(u64),
}

impl Record {
    /// The record of an open file.
    pub fn of(source: &Arc<Source>) -> Result<Record> {
        let file = super::open(source.as_ref())?;
        let header = &file.header;
        let mut record = Record {
            record: KIND,
            version: header.version().unwrap_or(0),
            in_bytes: header.declared_length() == Some(header.span.end - header.span.start),
            header: Some(hash(&super::show::header_text(&file))),
            ..Record::default()
        };
        let carried = rewrite::carried(&file, source.as_ref())?;
        record.time = carried.time.map(|time| spelled(&Value::Time(time)));
        record.hashed = carried.hashed;
        record.cannot = carried.lost;
        record.seals = carried.seals;
        let paths: Vec<_> = file.labels.iter().map(|label| path_of(&label.name)).collect();
        let mut names = Names::default();
        let standing = standing(&file, &paths, &mut names);
        let (mut seen, mut left) = (HashSet::new(), UNSHOWN);
        let kept = Arc::default();
        for (label, path) in file.labels.iter().zip(&paths) {
            record.seals.extend(rewrite::seals_of(label).map(|seal| format!("{}: {seal}", label.title())));
            let twin = (!seen.insert(&label.name)).then(|| Unfit::Twin(label.title()).to_string());
            let part = match twin.or_else(|| rewrite::obstacle(&file, label)) {
                Some(why) => Err(why),
                None => {
                    let shared = label.kind() == Kind::Blob || standing.folders.contains(&path[..]);
                    part(
                        source,
                        &file,
                        label,
                        &kept,
                        &mut record.notes,
                        shared.then_some((&mut names, &standing)),
                        &mut left,
                    )?
                }
            };
            match part {
                Ok(part) => record.labels.push(part),
                Err(why) => record.cannot.push(format!("{}: {why}", label.title())),
            }
        }
        Ok(record)
    }

    /// The time that was in the header.
    pub fn time(&self) -> Result<Option<EagleTime>> {
        let Some(text) = &self.time else { return Ok(None) };
        let bytes = unhex(text).unwrap_or_default();
        let mut walk = Walk::new(&bytes, 0..bytes.len() as u64, Some(2), Place::Bare);
        match walk.value() {
            Ok(Found::Value(Value::Time(time))) if walk.cursor.left() == 0 => Ok(Some(time)),
            _ => Err(Error::Refused(format!("{NAME} does not make sense: its time is none; delete it"))),
        }
    }

    /// Reads a record.
    pub fn parse(bytes: &[u8]) -> Result<Record> {
        let bad = |why: String| Error::Refused(format!("{NAME} is no record that is understood: {why}"));
        let record: Record = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if record.record == KIND { Ok(record) } else { Err(bad(format!("kind {}", record.record))) }
    }

    /// Adds to what cannot be packed again what is not in `dir`, where it was unpacked to: what is not there counts as
    /// deleted. The reasons that are new.
    pub fn compare(&mut self, dir: &Path) -> &[String] {
        let known = self.cannot.len();
        for part in &self.labels {
            let own = part.stored.is_none().then_some(&part.path);
            let files = part.files.iter().flatten().map(|(path, _)| path);
            let missing = files.chain(own).find(|path| dir.join(path).symlink_metadata().is_err());
            self.cannot.extend(missing.map(|path| format!("{}: {path} could not be unpacked", part.name)));
        }
        &self.cannot[known..]
    }

    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).expect("JSON values are always JSON");
        out.push(b'\n');
        out
    }
}

/// One label; the reason where it cannot be written. `kept` is for all labels, `shared` are the names that its files
/// share with other labels', `left` is how many bytes may still be recorded that no array shows.
fn part(
    source: &Arc<Source>,
    file: &File,
    label: &Label,
    kept: &Arc<Kept>,
    notes: &mut Vec<String>,
    shared: Option<(&mut Names, &Standing)>,
    left: &mut u64,
) -> Result<std::result::Result<Part, String>> {
    let (mut names, standing) = shared.unzip();
    let mut free = |path: Vec<u8>| {
        let path = names.as_deref_mut().map_or_else(|| path.clone(), |names| names.free(path.clone()));
        String::from_utf8_lossy(&path).into_owned()
    };
    let name = String::from_utf8(label.name.clone()).expect("it is a name");
    debug_assert!(is_name(&name));
    let path = String::from_utf8(path_of(&label.name).into_owned()).expect("names are letters");
    if label.kind() == Kind::Blob {
        return Ok(Ok(Part { path: free(format!("{path}.bin").into_bytes()), name, ..Part::default() }));
    }
    let mut body = match file.section(source.as_ref(), label) {
        Ok(body) => body,
        Err(Error::Damaged { what, .. }) => return Ok(Err(what)),
        Err(other) => return Err(other),
    };
    if let Some(why) = rewrite::more_than_fields(&body.section, Some(&label.name)) {
        return Ok(Err(why.into()));
    }
    if let Some(why) = rewrite::other_meaning(file.header.version().unwrap_or(0), &body.section) {
        return Ok(Err(why));
    }
    let note = rewrite::other_book(file.header.version().unwrap_or(0), &body.section);
    notes.extend(note.map(|note| format!("{name}: {note}")));
    let input: Arc<dyn Input> = source.clone();
    if let Some(why) = hold_unshown(&mut body.section, source.as_ref(), left)? {
        return Ok(Err(why));
    }
    let copied = Fields::copied(&body.section, Some(&input), true);
    let fields = match copied.and_then(|fields| fields.reads_back(&name).map(|()| fields)) {
        Ok(fields) => fields,
        Err(unfit) => return Ok(Err(unfit.to_string())),
    };
    if fields.is_empty() {
        return Ok(Err("it has no fields, and would be raw bytes".into()));
    }
    let mut shown = Shown::new(source, file);
    shown.kept = kept.clone();
    shown.reserved = standing.map(|standing| standing.reserved.clone()).unwrap_or_default();
    shown.label(path.as_bytes(), file, label)?;
    let mut refers = Vec::new();
    if let Err(why) = references(&body.section, file, &mut refers) {
        return Ok(Err(why));
    }
    let mut files = vec![Vec::new(); refers.len()];
    let mut json = None;
    for (path, field) in shown.folders.iter().filter(|(_, field)| *field > 0) {
        let path = String::from_utf8_lossy(path).into_owned();
        files[field - 1].push((path, FOLDER.to_string()));
    }
    for entry in &shown.entries {
        let path = free(entry.path.clone());
        if let (0, Content::Bytes(bytes)) = (entry.field, &entry.content) {
            json = Some(hash(bytes));
        }
        if entry.field > 0 {
            let suffix = match (entry.kind, &entry.content) {
                (Shape::Link, Content::Bytes(to)) => format!("{LINK}{}", String::from_utf8_lossy(to)),
                _ => entry.suffix.to_string(),
            };
            files[entry.field - 1].push((path, suffix));
        }
    }
    Ok(Ok(Part { name, path, json, stored: Some(chunks(fields)), files, refers }))
}

/// Takes tensors into memory whose strides do not lead to all of their elements: what is shown of them does not have
/// the others. The reason where they are too many.
fn hold_unshown(section: &mut Section, source: &Source, left: &mut u64) -> Result<Option<String>> {
    for field in &mut section.fields {
        for item in &mut field.values {
            match &mut item.value {
                Value::Tensor(tensor) if tensor.leaves_out() => {
                    let Some(less) = left.checked_sub(tensor.data.len()) else {
                        let name = String::from_utf8_lossy(&field.name);
                        let why = "its strides leave out stored elements, which are too many to be recorded";
                        return Ok(Some(format!("{name}: {why}")));
                    };
                    *left = less;
                    tensor.data = Data::Bytes(tensor.data.load(source).map_err(|fault| fault.about(""))?);
                }
                Value::Section(inner) => {
                    if let Some(why) = hold_unshown(inner, source, left)? {
                        return Ok(Some(why));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

/// The same when they were recorded.
fn held_unshown(fields: &mut [Field], there: &Joined) {
    for item in fields.iter_mut().flat_map(|field| &mut field.values) {
        match &mut item.value {
            Value::Tensor(tensor) if tensor.leaves_out() => {
                if let Data::At(range) = &tensor.data
                    && let Some(bytes) = there.held(range)
                {
                    tensor.data = Data::Bytes(bytes.to_vec());
                }
            }
            Value::Section(inner) => held_unshown(&mut inner.fields, there),
            _ => {}
        }
    }
}

/// A value that is all in memory, as it is written.
fn spelled(value: &Value) -> String {
    let mut pieces = Pieces::default();
    put_value(&mut pieces, value, None).expect("it was read");
    match &pieces.0[..] {
        [Piece::Bytes(bytes)] => super::show::hex(bytes),
        _ => unreachable!("it is nothing but bytes"),
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Which label each field refers to, with those of nested sections.
fn references(
    section: &Section,
    file: &File,
    out: &mut Vec<Option<String>>,
) -> std::result::Result<(), String> {
    for field in &section.fields {
        out.push(rewrite::referred(field, file)?);
        for item in &field.values {
            if let Value::Section(inner) = &item.value {
                references(inner, file, out)?;
            }
        }
    }
    Ok(())
}

fn chunks(fields: Fields) -> Vec<Chunk> {
    let mut pieces = Pieces::default();
    fields.put_into(&mut pieces);
    let chunk = |piece: Piece| match piece {
        Piece::Bytes(bytes) => Chunk::Hex(super::show::hex(&bytes)),
        Piece::From(_, range) => Chunk::Gap(range.end - range.start),
        Piece::Place(_) | Piece::Signature => unreachable!("fields that were read have neither"),
    };
    pieces.0.into_iter().map(chunk).collect()
}

/// The bytes that hexadecimal digits say.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let pair =
        |at: usize| text.as_bytes()[at..at + 2].iter().all(u8::is_ascii_hexdigit).then(|| &text[at..at + 2]);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(pair(at)?, 16).ok()).collect()
}

impl Part {
    /// The fields that are recorded. Bytes that are in files are ranges that lead nowhere.
    pub fn fields(&self) -> Result<Option<Vec<Field>>> {
        let Some(chunks) = &self.stored else { return Ok(None) };
        let bad = || Error::Refused(format!("{NAME} does not make sense for {}; delete it", self.name));
        let mut pieces = Pieces::default();
        let zeros: Arc<dyn Input> = Arc::new(Zeros);
        let mut total = 0u64;
        for chunk in chunks {
            match chunk {
                Chunk::Hex(text) => pieces.put(&unhex(text).ok_or_else(bad)?),
                Chunk::Gap(n) => {
                    total = total.checked_add(*n).filter(|n| *n < 1 << 62).ok_or_else(bad)?;
                    pieces.0.push(Piece::From(zeros.clone(), 0..*n));
                }
            }
        }
        let there = Joined::new(&pieces);
        let body = section::read(&there, 0..there.size(), Some(2), None).map_err(|_| bad())?;
        let mut section = body.section;
        held_unshown(&mut section.fields, &there);
        let count = count(&section.fields);
        let whole = section.rest.is_none() && section.items.is_empty();
        if !whole || count != self.files.len() || count != self.refers.len() {
            return Err(bad());
        }
        Ok(Some(section.fields))
    }
}

fn count(fields: &[Field]) -> usize {
    let inner = |field: &Field| -> usize {
        let sections = field.values.iter().filter_map(|item| match &item.value {
            Value::Section(section) => Some(count(&section.fields)),
            _ => None,
        });
        sections.sum()
    };
    fields.iter().map(|field| 1 + inner(field)).sum()
}
