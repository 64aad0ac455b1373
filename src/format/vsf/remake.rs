//! Recorded fields, made again from what their files say now.

use std::sync::Arc;

use super::arrange::array;
use super::assemble::{ANEW, Left, MAX_TEXT, Made, Pack, label_of, leads_to};
use super::build::{Fields, Given};
use super::eagle::EagleTime;
use super::found::refuse;
use super::input::Input;
use super::supply::{Cleared, Joint, OnDisk, same};
use super::value::{Data, Field, Packed, Tensor, Value, Wrapped};
use super::{record, text};
use crate::error::Result;

impl Pack<'_> {
    /// The fields of a section that was recorded.
    pub(super) fn fields(&mut self, recorded: &[Field], left: &mut Left) -> Result<Fields> {
        let mut fields = Fields::new();
        for field in recorded {
            let (files, refers) = (left.files.next(), left.refers.next());
            let (Some(files), Some(refers)) = (files, refers) else {
                return Err(refuse(record::NAME, "it does not make sense; delete it"));
            };
            let name = String::from_utf8_lossy(&field.name).into_owned();
            let unfit = |unfit| refuse(files.first().map_or(&name, |(path, _)| path), unfit);
            // Their files are behind those of this field in the record, wherever they stand among its values.
            let mut inner = Vec::new();
            for item in &field.values {
                if let Value::Section(section) = &item.value {
                    inner.push(self.fields(&section.fields, left)?);
                }
            }
            // One whose files and directories were all deleted is deleted.
            if !files.iter().any(|(path, kind)| self.is_there(path, kind)) {
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
            let values = self.values(field, files, inner, &mut supply)?;
            let supply: Arc<dyn Input> = Arc::new(supply);
            fields.put_all(&name, values, Some(&supply)).map_err(unfit)?;
        }
        Ok(fields)
    }

    fn is_there(&self, path: &str, kind: &str) -> bool {
        match kind {
            record::FOLDER => self.folders.contains(path),
            _ => self.files.contains_key(path) || self.links.contains_key(path),
        }
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

    /// The values of a field, of which `inner` are those that are sections.
    fn values(
        &mut self,
        field: &Field,
        files: &[(String, String)],
        inner: Vec<Fields>,
        supply: &mut Joint,
    ) -> Result<Vec<Given>> {
        let items = &field.values;
        if let [(path, suffix)] = files
            && suffix.is_empty()
        {
            return Ok(self.lines(path, items)?.into_iter().map(Given::Value).collect());
        }
        let senseless = || refuse(record::NAME, "it does not make sense; delete it");
        let (folders, files): (Vec<_>, Vec<_>) = files.iter().partition(|(_, kind)| kind == record::FOLDER);
        let (mut folders, mut files, mut inner) = (folders.into_iter(), files.into_iter(), inner.into_iter());
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if let Value::Section(_) = &item.value {
                let (Some((folder, _)), Some(fields)) = (folders.next(), inner.next()) else {
                    return Err(senseless());
                };
                if !self.folders.contains(folder) {
                    return Err(refuse(folder, "it is missing, and others of its value are there"));
                }
                values.push(Given::Section(fields));
                continue;
            }
            let Some((path, suffix)) = files.next() else { return Err(senseless()) };
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
            self.compare(path, &item.value, &value);
            values.push(Given::Value(value));
        }
        Ok(values)
    }

    /// Tells of what an array is now that it was not.
    fn compare(&mut self, path: &str, old: &Value, new: &Value) {
        let (Value::Tensor(old), Value::Tensor(new)) = (old, new) else { return };
        if old.element != new.element {
            self.notes.push(format!("{path}: its elements were {} and are {} now", old.element, new.element));
        }
        // The same elements lie elsewhere: two that shared a place differ, or there are too many to be put in theirs.
        if let (Some(were), is) = (&old.strides, &new.strides)
            && Some(were) != is.as_ref()
        {
            let is = is.as_ref().map_or("those of rows".into(), |is| format!("{is:?}"));
            self.notes.push(format!("{path}: its strides were {were:?} and are {is} now"));
        }
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
        let mut again = |item: &super::Item, line| {
            let made = text::again(&item.value, version, line);
            let made = made.map_err(|why| refuse(path, format!("{why}, or {ANEW}")))?;
            if let (Value::Time(time), Some(wanted)) = (&made, time_of(line))
                && time.unix_nanos() != wanted.unix_nanos()
            {
                let line = super::show::line(&made, version).unwrap_or_default();
                let line = String::from_utf8_lossy(&line);
                self.notes.push(format!("{path}: the nearest time that its type can hold is {line}"));
            }
            Ok(made)
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
            Value::Opaque(_) => Value::Opaque(data()),
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
                let bits = u128::from(old.count()) * u128::from(old.bits);
                let there = Cleared { inner: stored.as_ref(), bits };
                if !shape || !same((&made, 0), (&there, 0), self.tell)? {
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
}

fn time_of(line: &[u8]) -> Option<EagleTime> {
    EagleTime::of_rfc3339(std::str::from_utf8(line).ok()?)
}
