//! A VSF file from a directory: what was unpacked, or what looks like it.
//!
//! Files that the record knows keep their type as long as what they say fits it; others become the narrowest type
//! that says the same. Every file becomes a value, or the whole is refused and told which one cannot: nothing is
//! left out, and of two files that say the same thing twice, differing ones are refused.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::arrange::array;
use super::build::{Builder, Fields, is_name};
use super::encode::Unfit;
use super::found::{Files, Found, Links, find, refuse};
use super::input::Input;
use super::names::unescaped;
use super::record::{self, Part, Record};
use super::supply::{Joint, OnDisk, same};
use super::value::{Data, Packed, Section, Value};
use super::{Element, registry, rewrite, text};
use crate::error::{Error, Result};

/// The longest text, and the longest head of an array.
pub(super) const MAX_TEXT: u64 = 64 << 20;

/// The longest record.
const MAX_RECORD: u64 = 1 << 30;

/// What names of fields are.
const NAMES: &str = "names are words of a-z, A-Z, 0-9 and _ that begin with a letter";

/// How the type of a value is changed.
pub(super) const ANEW: &str = "delete .vsf-record.json, and all types are made anew";

/// What a directory makes.
#[derive(Debug)]
pub struct Assembled {
    /// The file.
    pub builder: Builder,
    /// What is another than it was when the directory was unpacked, though nobody may have meant it.
    pub notes: Vec<String>,
}

/// The file that the directory makes. What is there twice is compared; `progress` is told how many bytes were, of all.
pub fn assemble(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Assembled> {
    let Found { mut files, folders, links } = find(dir)?;
    if files.is_empty() {
        return Err(Error::Refused(format!("cannot pack {}: there are no files in it", dir.display())));
    }
    let record = match files.remove(record::NAME) {
        Some(file) => Record::parse(&file.load(MAX_RECORD)?)?,
        None => Record::default(),
    };
    if let Some(why) = record.cannot.first() {
        return Err(refuse("this tree", format!("{why}; the file that it was unpacked from has it")));
    }
    check_derived("header.json", files.remove("header.json"), record.header.as_deref())?;
    let all = files.iter().filter(|(path, _)| path.ends_with(".packed")).map(|(_, file)| file.size()).sum();
    let mut done = 0;
    let mut tell = |bytes| {
        done += bytes;
        progress(done.min(all), all);
    };
    let (sections, builder) = (Vec::new(), Builder::new());
    let left =
        record.seals.iter().map(|seal| format!("left out, since it fits the unpacked file alone: {seal}"));
    let notes = left.collect();
    let mut pack = Pack { files, links, folders, record: &record, sections, builder, tell: &mut tell, notes };
    if record.in_bytes {
        pack.builder.header_length_in_bytes();
    }
    if record.hashed {
        pack.builder.hashed();
    }
    if let Some(time) = record.time()? {
        pack.builder.time(time).map_err(|unfit| refuse(record::NAME, unfit))?;
    }
    for part in &record.labels {
        pack.known(part)?;
    }
    pack.others()?;
    pack.finish()
}

/// What is made from the values says nothing of its own: it is as it was made, or at least looks like it.
fn check_derived(path: &str, file: Option<Arc<OnDisk>>, recorded: Option<&str>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let bytes = file.load(MAX_TEXT)?;
    let made = match recorded {
        Some(hash) => blake3::hash(&bytes).to_hex().as_str() == hash,
        None => {
            let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
            let list = |key| json.as_ref().is_some_and(|json| json.get(key).is_some_and(|v| v.is_array()));
            list("fields") || list("labels")
        }
    };
    let why = "files of this name are made from the values, and this one says something else; remove it, and \
               change the values in their own files";
    if made { Ok(()) } else { Err(refuse(path, why)) }
}

/// A directory on its way to a file.
pub(super) struct Pack<'a> {
    /// Those that no value was made of yet.
    pub files: Files,
    pub links: Links,
    pub folders: BTreeSet<String>,
    pub record: &'a Record,
    pub sections: Vec<(String, Made)>,
    builder: Builder,
    /// Is told of bytes that were compared.
    pub tell: &'a mut dyn FnMut(u64),
    pub notes: Vec<String>,
}

/// What a label becomes.
pub(super) enum Made {
    Fields(Fields),
    Bytes(Arc<OnDisk>),
}

/// The recorded files of the fields that are still to come.
pub(super) struct Left<'a> {
    pub files: std::slice::Iter<'a, Vec<(String, String)>>,
    pub refers: std::slice::Iter<'a, Option<String>>,
}

impl Pack<'_> {
    fn known(&mut self, part: &Part) -> Result<()> {
        let derived = format!("{}/section.json", part.path);
        check_derived(&derived, self.files.remove(&derived), part.json.as_deref())?;
        let made = match part.fields()? {
            None => self.files.remove(&part.path).map(Made::Bytes),
            Some(recorded) => {
                let mut left = Left { files: part.files.iter(), refers: part.refers.iter() };
                let whole = Section {
                    prefix: Vec::new(),
                    fields: recorded,
                    items: Vec::new(),
                    rest: None,
                    span: 0..0,
                };
                if let Some(why) = rewrite::other_meaning(self.record.version, &whole) {
                    return Err(refuse(&part.path, why));
                }
                // Told from the values, whatever the record says of them.
                let note = rewrite::other_book(self.record.version, &whole);
                self.notes.extend(note.map(|note| format!("{}: {note}", part.path)));
                let fields = self.fields(&whole.fields, &mut left)?;
                Some(fields).filter(|fields| !fields.is_empty()).map(Made::Fields)
            }
        };
        self.sections.extend(made.map(|made| (part.name.clone(), made)));
        Ok(())
    }

    /// Files that no record knows.
    fn others(&mut self) -> Result<()> {
        let files = std::mem::take(&mut self.files);
        let within = self.record.labels.iter().flat_map(|part| part.files.iter().flatten());
        let within: HashSet<&str> =
            within.filter(|(_, kind)| kind == record::FOLDER).map(|(path, _)| path.as_str()).collect();
        let links = std::mem::take(&mut self.links);
        for path in files.keys().chain(links.keys()) {
            let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
            if above.any(|folder| within.contains(folder)) {
                let why = "a section within a field has only what the record knows; move it out of there";
                return Err(refuse(path, why));
            }
        }
        for (path, file) in &files {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            if name == "section.json" {
                check_derived(path, Some(file.clone()), None)?;
                continue;
            }
            let stem = |suffix: &str| name.strip_suffix(suffix);
            let label = label_of(folder);
            let joined = |stem: &str| if folder.is_empty() { stem.into() } else { format!("{label}.{stem}") };
            if let Some(stem) = stem(".bin") {
                self.sections.push((joined(stem), Made::Bytes(file.clone())));
                continue;
            }
            if folder.is_empty() {
                return Err(refuse(path, "values are in sections: move it into a directory"));
            }
            let mut supply = Joint::default();
            let (name, values) = match stem(".npy") {
                Some(stem) => (stem, vec![unrecorded_array(path, file, &files, &mut supply, self.tell)?]),
                // Goes with the array of its name, or is refused.
                None if name.ends_with(".packed") => {
                    let array = format!("{}.npy", path.strip_suffix(".packed").unwrap_or(path));
                    if !files.contains_key(&array) {
                        let why = "nothing says its shape and bits: keep the .npy beside it, or the record";
                        return Err(refuse(path, why));
                    }
                    continue;
                }
                None => (name, unrecorded_text(path, name, file)?),
            };
            if !is_name(name) {
                return Err(refuse(path, format!("{NAMES}, and the suffixes .npy and .bin are known")));
            }
            let supply: Arc<dyn Input> = Arc::new(supply);
            let fields = self.section_of(label);
            fields.add_all(name, &values, Some(&supply)).map_err(|unfit| refuse(path, unfit))?;
        }
        for path in links.keys() {
            let Some((folder, _)) = path.rsplit_once('/').filter(|(_, name)| is_name(name)) else {
                return Err(refuse(path, format!("links are values of a section: {NAMES}")));
            };
            self.section_of(label_of(folder));
        }
        links.iter().try_for_each(|(path, target)| self.link(path, target))
    }

    /// A link to the directory of a section refers to that section.
    fn link(&mut self, path: &str, target: &[u8]) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').expect("its section was begun");
        let to = leads_to(folder, target).map(|to| label_of(&to));
        let is_there = |to: &String| {
            self.sections.iter().any(|(label, made)| label == to && matches!(made, Made::Fields(_)))
        };
        let Some(to) = to.filter(is_there) else {
            let why = "it is a link, and does not lead to a section; put there what it leads to, or restore the record";
            return Err(refuse(path, why));
        };
        let fields = self.section_of(label_of(folder));
        fields.add_reference(name, &to).map_err(|unfit| refuse(path, unfit))?;
        Ok(())
    }

    /// The fields of a section, which is begun if it is new.
    fn section_of(&mut self, label: String) -> &mut Fields {
        let made = |(name, made): &(String, Made)| *name == label && matches!(made, Made::Fields(_));
        let at = self.sections.iter().position(made).unwrap_or_else(|| {
            self.sections.push((label, Made::Fields(Fields::new())));
            self.sections.len() - 1
        });
        match &mut self.sections[at].1 {
            Made::Fields(fields) => fields,
            Made::Bytes(_) => unreachable!("its position is that of fields"),
        }
    }

    fn finish(mut self) -> Result<Assembled> {
        for (name, made) in self.sections {
            let done = match made {
                Made::Fields(fields) => self.builder.section(&name, fields),
                Made::Bytes(file) => {
                    let size = file.size();
                    self.builder.blob_from(&name, file, 0..size)
                }
            };
            done.map_err(|unfit| match unfit {
                Unfit::Unclear(_) => {
                    let why =
                        "would not be read back as it is, since it does not say where it ends; restore it";
                    refuse(&name, format!("a .x or .raw file of this section {why}"))
                }
                other => refuse(&name, other),
            })?;
        }
        Ok(Assembled { builder: self.builder, notes: self.notes })
    }
}

/// An array that no record knows: a tensor, or packed elements if what they are stored as lies beside it.
fn unrecorded_array(
    path: &str,
    file: &Arc<OnDisk>,
    files: &Files,
    supply: &mut Joint,
    tell: &mut dyn FnMut(u64),
) -> Result<Value> {
    let stored = format!("{}.packed", path.strip_suffix(".npy").unwrap_or(path));
    let Some(stored) = files.get(&stored) else { return array(path, file.clone(), None, supply) };
    for bits in 1..=64 {
        let shape = Vec::new();
        let packed = Packed { bits, shape, design: true, data: Data::Bytes(Vec::new()) };
        let mut made = Joint::default();
        let fits = |value: &Value| matches!(value, Value::Packed(p) if p.data.len() == stored.size());
        let Ok(value) = array(path, file.clone(), Some(&Value::Packed(packed)), &mut made) else { continue };
        // Elements that need more bits than that are no packed ones.
        if fits(&value) && same((&made, 0), (stored.as_ref(), 0), tell).unwrap_or(false) {
            let Value::Packed(packed) = value else { continue };
            return Ok(Value::Packed(Packed { data: supply.add(stored.clone(), 0), ..packed }));
        }
    }
    Err(refuse(path, "the .packed beside it says something else; delete the one that is wrong"))
}

/// What a file without a known suffix says; one that is empty is a name without a value. What has a canonical key for
/// its name has the key's type.
fn unrecorded_text(path: &str, name: &str, file: &OnDisk) -> Result<Vec<Value>> {
    if file.size() == 0 {
        return Ok(Vec::new());
    }
    if [".x", ".raw", ".wrapped", ".rest"].iter().any(|suffix| path.ends_with(suffix)) {
        let why = "nothing says what its bytes mean; keep the record, or name it .bin";
        return Err(refuse(path, why));
    }
    let bytes = file.load(MAX_TEXT)?;
    if std::str::from_utf8(&bytes).is_err() || bytes.contains(&0) {
        return Err(refuse(path, "it is no text; name it .bin, and it will be raw bytes"));
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let some = |element| match element {
        Element::Unsigned(width) => Value::Unsigned(width, 0),
        Element::F5 => Value::F5(0.0),
        Element::F6 => Value::F6(0.0),
        _ => Value::Bool(false),
    };
    let known = registry::kind_of(name).and_then(Element::named).map(some);
    let value = match &known {
        None => text::infer(line),
        // Its version says nothing about such numbers.
        Some(known) => text::again(known, 2, line)
            .map_err(|why| refuse(path, format!("{name} means the same everywhere: {why}, or rename it")))?,
    };
    Ok(vec![value])
}

/// The label that is shown as this directory.
pub(super) fn label_of(folder: &str) -> String {
    String::from_utf8_lossy(&unescaped(folder.as_bytes())).into_owned()
}

/// Where a link in `folder` leads, below the top.
pub(super) fn leads_to(folder: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok().filter(|target| !target.starts_with('/'))?;
    let mut path: Vec<&str> = folder.split('/').collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()?),
            name => path.push(name),
        }
    }
    Some(path.join("/"))
}
