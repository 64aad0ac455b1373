//! A VSF file from a directory: what was unpacked, or what looks like it.
//!
//! Files that the record knows keep their type as long as what they say fits it; others become the narrowest type
//! that says the same. Every file becomes a value, or the whole is refused and told which one cannot: nothing is
//! left out, and of two files that say the same thing twice, differing ones are refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::build::{Builder, Fields, is_name};
use super::element::Element;
use super::input::Input;
use super::names::unescaped;
use super::npy::{self, Head};
use super::record::{self, Part, Record};
use super::supply::{Joint, OnDisk, Packing, Swapped, same};
use super::value::{Data, Field, Packed, Section, Tensor, Value, Wrapped, count_of};
use super::{MAX_DEPTH, MAX_RANK, rewrite, text};
use crate::error::{Error, Result};

/// The longest text, and the longest head of an array.
const MAX_TEXT: u64 = 64 << 20;

/// The longest record.
const MAX_RECORD: u64 = 1 << 30;

/// Tensors in neither order of indices are put in theirs up to here.
const MAX_SCATTER: u64 = 1 << 30;

type Files = BTreeMap<String, Arc<OnDisk>>;

fn refuse(path: &str, why: impl std::fmt::Display) -> Error {
    Error::Refused(format!("cannot pack {path}: {why}"))
}

/// A builder of the file that the directory makes.
pub fn assemble(dir: &Path) -> Result<Builder> {
    let mut files = find(dir)?;
    let record = match files.remove(record::NAME) {
        Some(file) => Record::parse(&file.load(MAX_RECORD)?)?,
        None => Record::default(),
    };
    if let Some(why) = record.cannot.first() {
        return Err(refuse("this tree", format!("{why}; the file that it was unpacked from has it")));
    }
    let mut pack = Pack { files, record: &record, sections: Vec::new(), builder: Builder::new() };
    if record.in_bytes {
        pack.builder.header_length_in_bytes();
    }
    for part in &record.labels {
        pack.known(part)?;
    }
    pack.others()?;
    pack.finish()
}

/// All files below `dir`, by their paths in it.
fn find(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut pending = vec![(dir.to_path_buf(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = pending.pop() {
        let failed = |e| Error::io("read the directory", &folder, e);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let shown = format!("{prefix}{}", name.to_string_lossy());
            if name.to_str().is_none() {
                return Err(refuse(&shown, "its name is not UTF-8"));
            }
            let kind = entry.file_type().map_err(failed)?;
            match () {
                () if kind.is_dir() && depth >= MAX_DEPTH => {
                    return Err(refuse(&shown, "more than 64 directories within each other"));
                }
                () if kind.is_dir() => pending.push((entry.path(), format!("{shown}/"), depth + 1)),
                () if kind.is_file() => {
                    let file = OnDisk::find(&entry.path())?;
                    files.insert(shown, Arc::new(file));
                }
                () => return Err(refuse(&shown, "it is neither a file nor a directory")),
            }
        }
    }
    Ok(files)
}

struct Pack<'a> {
    /// Those that no value was made of yet.
    files: Files,
    record: &'a Record,
    sections: Vec<(String, Made)>,
    builder: Builder,
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
        // Derived, and no value.
        self.files.remove(&format!("{}/section.json", part.path));
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
                fields.add_section(&name, inner).map_err(unfit)?;
                continue;
            }
            // One whose files were all deleted is deleted.
            if files.iter().all(|(path, _)| !self.files.contains_key(path)) {
                continue;
            }
            if let Some(label) = refers {
                self.check_reference(field, files, label)?;
                fields.add_reference(&name, label).map_err(unfit)?;
                continue;
            }
            let mut supply = Joint::default();
            let values = self.values(field, files, &mut supply)?;
            let supply: Arc<dyn Input> = Arc::new(supply);
            fields.add_all(&name, &values, Some(&supply)).map_err(unfit)?;
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
                there.map_or(Ok(false), |there| same((there.as_ref(), 0), (file.as_ref(), 0)))?
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
        if items.is_empty() && bytes.is_empty() {
            return Ok(Vec::new());
        }
        if shown.is_some_and(|lines| [lines.join(&b'\n'), b"\n".to_vec()].concat() == bytes) {
            return Ok(items.iter().map(|item| item.value.clone()).collect());
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if let [item] = items {
            return Ok(vec![text::again(&item.value, version, text)]);
        }
        if items.is_empty() {
            return Ok(vec![text::infer(text)]);
        }
        let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        let pairs = lines.iter().enumerate();
        Ok(pairs
            .map(|(n, line)| match items.get(n) {
                Some(item) if lines.len() == items.len() => text::again(&item.value, version, line),
                _ => text::infer(line),
            })
            .collect())
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
            Value::Text(chars, old) => {
                same_size(old)?;
                Value::Text(*chars, data())
            }
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
            Value::Opaque(_) => Value::Opaque(data()),
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
                if !shape || !same((&made, 0), (stored.as_ref(), 0))? {
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
        for (path, file) in std::mem::take(&mut self.files) {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            // They say what the values say.
            if name == "section.json" || path == "header.json" {
                continue;
            }
            let stem = |suffix: &str| name.strip_suffix(suffix);
            let label = String::from_utf8_lossy(&unescaped(folder.as_bytes())).into_owned();
            let joined = |stem: &str| if folder.is_empty() { stem.into() } else { format!("{label}.{stem}") };
            if let Some(stem) = stem(".bin") {
                self.sections.push((joined(stem), Made::Bytes(file)));
                continue;
            }
            if folder.is_empty() {
                return Err(refuse(&path, "values are in sections: move it into a directory"));
            }
            let mut supply = Joint::default();
            let (name, values) = match stem(".npy") {
                Some(stem) => (stem, vec![array(&path, file, None, &mut supply)?]),
                None if file.size() == 0 => (name, Vec::new()),
                None => {
                    let bytes = file.load(MAX_TEXT)?;
                    (name, vec![text::infer(bytes.strip_suffix(b"\n").unwrap_or(&bytes))])
                }
            };
            if !is_name(name) {
                let why = "names are words of a-z, 0-9 and _ that begin with a letter";
                return Err(refuse(&path, format!("{why}, and the suffixes .npy and .bin are known")));
            }
            let supply: Arc<dyn Input> = Arc::new(supply);
            let section =
                self.sections.iter_mut().find(|(n, made)| *n == label && matches!(made, Made::Fields(_)));
            let fields = match section {
                Some((_, Made::Fields(fields))) => fields,
                _ => {
                    self.sections.push((label, Made::Fields(Fields::new())));
                    let Some((_, Made::Fields(fields))) = self.sections.last_mut() else { unreachable!() };
                    fields
                }
            };
            fields.add_all(name, &values, Some(&supply)).map_err(|unfit| refuse(&path, unfit))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Builder> {
        for (name, made) in self.sections {
            let done = match made {
                Made::Fields(fields) => self.builder.section(&name, fields),
                Made::Bytes(file) => {
                    let size = file.size();
                    self.builder.blob_from(&name, file, 0..size)
                }
            };
            done.map_err(|unfit| refuse(&name, unfit))?;
        }
        Ok(self.builder)
    }
}

/// An array as what was recorded, or as the tensor that it is.
fn array(path: &str, file: Arc<OnDisk>, recorded: Option<&Value>, supply: &mut Joint) -> Result<Value> {
    let mut start = vec![0; file.size().min(1 << 20) as usize];
    file.read_at(0, &mut start)?;
    let no_array = || refuse(path, "it is no array of numbers that a tensor can hold");
    let head = npy::parse(&start).ok_or_else(no_array)?;
    let count = count_of(&head.shape).filter(|_| head.shape.len() as u64 <= MAX_RANK);
    let width = if head.element == Element::Bool { 1 } else { head.element.bits() / 8 };
    let bytes = count.and_then(|n| n.checked_mul(width)).ok_or_else(no_array)?;
    if file.size() - head.len != bytes {
        return Err(refuse(path, format!("{bytes} bytes of elements are promised, and it has others")));
    }
    let count = count.unwrap_or(0);
    let file: Arc<dyn Input> = file;
    if let Some(Value::Packed(old)) = recorded {
        let expected = npy::unpacked(old.bits).map(|(_, width)| width as u64);
        let integers = matches!(head.element, Element::Unsigned(_)) && expected == Some(width);
        if !integers || head.fortran || (width > 1 && head.swap == 1) {
            return Err(refuse(path, "it was of little-endian unsigned integers in the order of rows"));
        }
        let bits = old.bits.into();
        let packing = Packing { inner: file, from: head.len, width, bits, count };
        let data = supply.add(Arc::new(packing), 0);
        return Ok(Value::Packed(Packed { shape: head.shape, data, ..old.clone() }));
    }
    let (element, old) = match recorded {
        // NumPy has one type for all elements of 16 bytes that are no complex numbers.
        Some(Value::Tensor(old)) if npy::dtype(old.element) == npy::dtype(head.element) => {
            (old.element, Some(old).filter(|old| old.shape == head.shape && old.is_within()))
        }
        _ => (head.element, None),
    };
    let input: Arc<dyn Input> = match (element, head.swap) {
        (Element::Bool, _) => Arc::new(Packing { inner: file, from: head.len, width: 1, bits: 1, count }),
        (_, 1) => Arc::new(Tail(file, head.len)),
        (_, width) => Arc::new(Swapped { inner: file, from: head.len, width }),
    };
    tensor(path, element, &head, old, input, supply).map(Value::Tensor)
}

/// An input from a byte on.
struct Tail(Arc<dyn Input>, u64);

impl Input for Tail {
    fn size(&self) -> u64 {
        self.0.size() - self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(self.1 + offset, buf)
    }
}

fn tensor(
    path: &str,
    element: Element,
    head: &Head,
    old: Option<&Tensor>,
    input: Arc<dyn Input>,
    supply: &mut Joint,
) -> Result<Tensor> {
    let shape = head.shape.clone();
    let made = |strides, data| Tensor { element, shape: shape.clone(), strides, vector: false, data };
    let recorded = old.and_then(|old| Some((super::arrays::order(old), old.strides.clone()?)));
    use super::arrays::Order;
    match recorded {
        Some((Order::Rows, strides)) if !head.fortran => {
            return Ok(made(Some(strides), supply.add(input, 0)));
        }
        Some((Order::Columns, strides)) if head.fortran => {
            return Ok(made(Some(strides), supply.add(input, 0)));
        }
        Some((Order::Other, strides)) if !head.fortran && input.size() <= MAX_SCATTER => {
            if let Some(stored) = scatter(element, &shape, &strides, input.as_ref())? {
                return Ok(made(Some(strides), supply.add(Arc::new(stored), 0)));
            }
        }
        _ => {}
    }
    if !head.fortran {
        return Ok(made(None, supply.add(input, 0)));
    }
    if element == Element::Bool {
        return Err(refuse(path, "truth values have to be in the order of rows"));
    }
    // The first index is the fastest.
    let mut step = 1usize;
    let mut strides = Vec::with_capacity(shape.len());
    for length in &shape {
        strides.push(step);
        step = step.saturating_mul((*length).max(1));
    }
    Ok(made(Some(strides), supply.add(input, 0)))
}

/// Elements where the strides want them; `None` where two that differ would share a place. What no index leads to is
/// zero.
fn scatter(
    element: Element,
    shape: &[usize],
    strides: &[usize],
    input: &dyn Input,
) -> Result<Option<Vec<u8>>> {
    let width = (element.bits() / 8) as usize;
    let mut view = vec![0; input.size() as usize];
    input.read_at(0, &mut view)?;
    let mut stored = vec![0; view.len()];
    let mut written = vec![false; view.len() / width.max(1)];
    let mut index = vec![0; shape.len()];
    for one in view.chunks_exact(width.max(1)) {
        let place: usize = index.iter().zip(strides).map(|(i, s)| i * s).sum();
        let Some(to) = stored.get_mut(place * width..(place + 1) * width) else { return Ok(None) };
        if written[place] && to != one {
            return Ok(None);
        }
        to.copy_from_slice(one);
        written[place] = true;
        for (at, length) in index.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *length {
                break;
            }
            *at = 0;
        }
    }
    Ok(Some(stored))
}
