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
use super::value::{Data, Field, Packed, Section, Tensor, Value, Wrapped};
use super::{Element, registry, rewrite, text};
use crate::error::{Error, Result};

/// The longest text, and the longest head of an array.
const MAX_TEXT: u64 = 64 << 20;

/// The longest record.
const MAX_RECORD: u64 = 1 << 30;

/// What names of fields are.
const NAMES: &str = "names are words of a-z, A-Z, 0-9 and _ that begin with a letter";

/// How the type of a value is changed.
const ANEW: &str = "delete .vsf-record.json, and all types are made anew";

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

struct Pack<'a> {
    /// Those that no value was made of yet.
    files: Files,
    links: Links,
    folders: BTreeSet<String>,
    record: &'a Record,
    sections: Vec<(String, Made)>,
    builder: Builder,
    /// Is told of bytes that were compared.
    tell: &'a mut dyn FnMut(u64),
    notes: Vec<String>,
}

/// What a label becomes.
enum Made {
    Fields(Fields),
    Bytes(Arc<OnDisk>),
}

/// The recorded files of the fields that are still to come.
struct Left<'a> {
    files: std::slice::Iter<'a, Vec<(String, String)>>,
    refers: std::slice::Iter<'a, Option<String>>,
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
                let fields = self.fields(&whole.fields, &mut left)?;
                Some(fields).filter(|fields| !fields.is_empty()).map(Made::Fields)
            }
        };
        self.sections.extend(made.map(|made| (part.name.clone(), made)));
        Ok(())
    }

    fn fields(&mut self, recorded: &[Field], left: &mut Left) -> Result<Fields> {
        let mut fields = Fields::new();
        for field in recorded {
            let (files, refers) = (left.files.next(), left.refers.next());
            let (Some(files), Some(refers)) = (files, refers) else {
                return Err(refuse(record::NAME, "it does not make sense; delete it"));
            };
            let name = String::from_utf8_lossy(&field.name).into_owned();
            let unfit = |unfit| refuse(files.first().map_or(&name, |(path, _)| path), unfit);
            if let [super::Item { value: Value::Section(inner), .. }] = &field.values[..] {
                let inner = self.fields(&inner.fields, left)?;
                let is_there =
                    |(path, kind): &(String, String)| kind == record::FOLDER && self.folders.contains(path);
                // One whose directory was deleted is deleted.
                if files.iter().any(is_there) {
                    fields.nest(&name, inner).map_err(unfit)?;
                }
                continue;
            }
            // One whose files were all deleted is deleted.
            if files.iter().all(|(path, _)| !self.files.contains_key(path) && !self.links.contains_key(path))
            {
                continue;
            }
            if let Some(label) = refers {
                self.check_reference(field, files, label)?;
                fields.refer(&name, label).map_err(unfit)?;
                continue;
            }
            if field.values.iter().any(|item| item.value.is_place()) {
                // Where that lies in the new file, nobody knows.
                return Err(refuse(record::NAME, "it refers to places without a section; delete it"));
            }
            let mut supply = Joint::default();
            let values = self.values(field, files, &mut supply)?;
            let supply: Arc<dyn Input> = Arc::new(supply);
            fields.copy_all(&name, &values, Some(&supply), false).map_err(unfit)?;
        }
        Ok(fields)
    }

    fn take(&mut self, path: &str) -> Result<Arc<OnDisk>> {
        self.files
            .remove(path)
            .ok_or_else(|| refuse(path, "it is missing, and others of its value are there"))
    }

    /// A reference follows its section by itself; its file has nothing to say that could be packed.
    fn check_reference(&mut self, field: &Field, files: &[(String, String)], label: &str) -> Result<()> {
        let [(path, suffix)] = files else {
            return Err(refuse(record::NAME, "it does not make sense; delete it"));
        };
        if let Some(target) = suffix.strip_prefix(record::LINK) {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            // One that closes a circle leads to itself, and nothing beside the record says whereto else.
            let true_to = |to: String| label_of(&to) == label;
            let sensible = target == name || leads_to(folder, target.as_bytes()).is_some_and(true_to);
            let there = self.links.remove(path);
            let unchanged = sensible && there.is_some_and(|there| there == target.as_bytes());
            let why = format!("it refers to {label}, and has to be the link to {target} that it was");
            return if unchanged { Ok(()) } else { Err(refuse(path, why)) };
        }
        let file = self.take(path)?;
        let unchanged = match suffix.as_str() {
            ".bin" => {
                let made = self.sections.iter().find(|(name, _)| name == label).map(|(_, made)| made);
                let part = self.record.labels.iter().find(|part| part.name == label);
                let there = match (made, part) {
                    (Some(Made::Bytes(file)), _) => Some(file),
                    (_, Some(part)) => self.files.get(&part.path),
                    _ => None,
                };
                there.map_or(Ok(false), |there| same((there.as_ref(), 0), (file.as_ref(), 0), &mut |_| ()))?
            }
            _ => {
                let said = field.reference().map(|r| {
                    let count = r.count.map_or(String::new(), |n| n.to_string());
                    format!("{} {} {count}\n", r.offset, r.size)
                });
                said.is_some_and(|said| file.load(MAX_TEXT).is_ok_and(|bytes| bytes == said.as_bytes()))
            }
        };
        let why = format!("it only refers to {label}, which says something else");
        if unchanged { Ok(()) } else { Err(refuse(path, why)) }
    }

    fn values(
        &mut self,
        field: &Field,
        files: &[(String, String)],
        supply: &mut Joint,
    ) -> Result<Vec<Value>> {
        let items = &field.values;
        if let [(path, suffix)] = files
            && suffix.is_empty()
        {
            return self.lines(path, items);
        }
        let mut files = files.iter().peekable();
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let Some((path, suffix)) = files.next() else {
                return Err(refuse(record::NAME, "it does not make sense; delete it"));
            };
            let pair = matches!(
                (&item.value, suffix.as_str()),
                (Value::Packed(_), ".npy") | (Value::Wrapped(_), ".bin")
            );
            let value = if pair {
                let (twin, _) = files.next().ok_or_else(|| refuse(path, "the record is incomplete"))?;
                self.pair(path, twin, &item.value, supply)?
            } else if suffix.is_empty() {
                let mut one = self.lines(path, std::slice::from_ref(item))?;
                one.pop().ok_or_else(|| refuse(path, "it is empty"))?
            } else {
                let file = self.take(path)?;
                self.one(path, suffix, file, &item.value, supply)?
            };
            if let (Value::Tensor(old), Value::Tensor(new)) = (&item.value, &value)
                && old.element != new.element
            {
                let note = format!("{path}: its elements were {} and are {} now", old.element, new.element);
                self.notes.push(note);
            }
            values.push(value);
        }
        Ok(values)
    }

    /// The values of a file of text: a line each.
    fn lines(&mut self, path: &str, items: &[super::Item]) -> Result<Vec<Value>> {
        let file = self.take(path)?;
        let bytes = file.load(MAX_TEXT)?;
        let version = self.record.version;
        let shown: Option<Vec<Vec<u8>>> =
            items.iter().map(|item| super::show::line(&item.value, version)).collect();
        let same = shown.is_some_and(|lines| [lines.join(&b'\n'), b"\n".to_vec()].concat() == bytes);
        if same {
            return Ok(items.iter().map(|item| item.value.clone()).collect());
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let again = |item: &super::Item, line| {
            text::again(&item.value, version, line).map_err(|why| refuse(path, format!("{why}, or {ANEW}")))
        };
        let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        match items {
            // A name without a value is an empty file.
            [] if bytes.is_empty() => Ok(Vec::new()),
            [] => Ok(vec![text::infer(text)]),
            [item] => Ok(vec![again(item, text)?]),
            _ if lines.len() == items.len() => {
                items.iter().zip(lines).map(|(item, line)| again(item, line)).collect()
            }
            _ => {
                let (had, has) = (items.len(), lines.len());
                let why =
                    format!("it had {had} lines, each a value, and has {has}; write as many, or {ANEW}");
                Err(refuse(path, why))
            }
        }
    }

    /// A value whose bytes are in a file of its own.
    fn one(
        &self,
        path: &str,
        suffix: &str,
        file: Arc<OnDisk>,
        recorded: &Value,
        supply: &mut Joint,
    ) -> Result<Value> {
        let size = file.size();
        let same_size = |old: &Data| match old.len() == size {
            true => Ok(()),
            false => Err(refuse(path, format!("it had {} bytes, and only so many make sense", old.len()))),
        };
        if suffix == ".npy" {
            return array(path, file, Some(recorded), supply);
        }
        let mut data = || supply.add(file.clone(), 0);
        let sealed = |old: &super::Sealed, data| super::Sealed { algorithm: old.algorithm, data };
        Ok(match recorded {
            Value::Name(_) => Value::Name(data()),
            Value::Ascii(letter, _) => Value::Ascii(*letter, data()),
            Value::Hash(old) => Value::Hash(sealed(old, data())),
            Value::Signature(old) => Value::Signature(sealed(old, data())),
            Value::Key(old) => Value::Key(sealed(old, data())),
            Value::Mac(letter, old) => Value::Mac(*letter, sealed(old, data())),
            // In memory, since where they end shows only in reading them.
            Value::Text(chars, _) => Value::Text(*chars, Data::Bytes(file.load(MAX_TEXT)?)),
            Value::Opaque(_) => Value::Opaque(Data::Bytes(file.load(MAX_TEXT)?)),
            Value::Wrapped(old) => {
                let bits = if old.data.len() == size { old.bits } else { size * 8 };
                Value::Wrapped(Wrapped { code: old.code, bits, data: data() })
            }
            Value::Tensor(old) => {
                same_size(&old.data)?;
                Value::Tensor(Tensor { data: data(), ..old.clone() })
            }
            Value::Packed(old) => {
                same_size(&old.data)?;
                Value::Packed(Packed { data: data(), ..old.clone() })
            }
            _ => return Err(refuse(path, "the record has another type; delete it")),
        })
    }

    /// A value that is shown twice, as stored and as it is meant. Either may be deleted, and both say the same.
    fn pair(&mut self, path: &str, twin: &str, recorded: &Value, supply: &mut Joint) -> Result<Value> {
        let (meant, stored) = (self.files.remove(path), self.files.remove(twin));
        let differ = || refuse(path, format!("{twin} says something else; delete the one that is wrong"));
        match (recorded, meant, stored) {
            (_, None, Some(stored)) => self.one(twin, "", stored, recorded, supply),
            (Value::Packed(_), Some(meant), None) => array(path, meant, Some(recorded), supply),
            (Value::Packed(old), Some(meant), Some(stored)) => {
                let mut made = Joint::default();
                let value = array(path, meant, Some(recorded), &mut made)?;
                let shape = matches!(&value, Value::Packed(new) if new.shape == old.shape);
                if !shape || !same((&made, 0), (stored.as_ref(), 0), self.tell)? {
                    return Err(differ());
                }
                self.one(twin, "", stored, recorded, supply)
            }
            (Value::Wrapped(old), Some(meant), Some(stored)) => {
                let data = Data::At(0..stored.size());
                let now = Wrapped { code: old.code, bits: old.bits, data };
                let inner = now.unwrap_bytes(stored.as_ref(), MAX_TEXT).map_err(|f| f.about(twin))?;
                if inner != Some(meant.load(MAX_TEXT)?) {
                    return Err(differ());
                }
                self.one(twin, "", stored, recorded, supply)
            }
            _ => Err(refuse(path, format!("{twin} is missing"))),
        }
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
fn label_of(folder: &str) -> String {
    String::from_utf8_lossy(&unescaped(folder.as_bytes())).into_owned()
}

/// Where a link in `folder` leads, below the top.
fn leads_to(folder: &str, target: &[u8]) -> Option<String> {
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
