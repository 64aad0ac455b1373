//! Sections that fields refer to.
//!
//! A reference to a section that a label names is a link to where that is shown, so a walk over the tree meets each
//! section once, however often it is referred to. One that leads back to the section that it stands in, by itself or
//! through others, is a link to itself: whoever follows it gets `ELOOP`. What it says is in `section.json` in any case.
//!
//! Whether one leads back is found out by reading the sections behind it, up to [`READ`] bytes of them; beyond, the
//! system's own limit on links ends a walk in a circle.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::file::{File, Kind, Label};
use super::input::Input;
use super::names::path_of;
use super::value::{Field, Reference, Section, Value};
use super::view::{Entry as Shows, Shown, last};
use crate::error::{Error, Result};
use crate::tree::{Content, Kind as NodeKind};

/// Bytes of sections that are read to find circles.
const READ: u64 = 64 << 20;

/// The sections that the labels of a file name.
#[derive(Debug)]
pub struct Named {
    /// The first label of each range.
    labels: HashMap<Reference, usize>,
    /// The first section of each path: only that one is sure to be shown there.
    owners: HashMap<Vec<u8>, usize>,
    /// The sections that each refers to, of those that were asked for.
    leads: HashMap<usize, Vec<usize>>,
    left: u64,
}

impl Named {
    /// Those of `file`.
    pub fn of(file: &File) -> Named {
        let sections = || file.labels.iter().enumerate().filter(|(_, label)| label.kind() == Kind::Section);
        let (mut labels, mut owners) = (HashMap::new(), HashMap::new());
        for (n, label) in sections() {
            if let Some(reference) = &label.reference {
                labels.entry(reference.clone()).or_insert(n);
            }
            owners.entry(path_of(&label.name).into_owned()).or_insert(n);
        }
        Named { labels, owners, leads: HashMap::new(), left: READ }
    }

    /// The number of the label that names this section.
    pub fn number(&self, reference: &Reference) -> Option<usize> {
        self.labels.get(reference).copied()
    }

    /// Where the section of a label is shown.
    pub fn path(&self, file: &File, number: usize) -> Option<Vec<u8>> {
        let path = path_of(&file.labels[number].name).into_owned();
        (self.owners.get(&path) == Some(&number)).then_some(path)
    }

    /// Whether the references of section `from` lead to `to`.
    pub fn lead(&mut self, file: &File, input: &dyn Input, from: usize, to: usize) -> Result<bool> {
        let (mut pending, mut seen) = (vec![from], HashSet::from([from]));
        while let Some(section) = pending.pop() {
            if section == to {
                return Ok(true);
            }
            let next = self.from(file, input, section)?;
            pending.extend(next.iter().copied().filter(|next| seen.insert(*next)));
        }
        Ok(false)
    }

    fn from(&mut self, file: &File, input: &dyn Input, number: usize) -> Result<&[usize]> {
        let room = match self.leads.entry(number) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(room) => room,
        };
        let label = &file.labels[number];
        let mut found = Vec::new();
        let size = file.range(label).map_or(u64::MAX, |range| range.end - range.start);
        if let Some(left) = self.left.checked_sub(size) {
            self.left = left;
            match file.section(input, label) {
                Ok(body) => collect(&body.section, &self.labels, &mut found),
                // What cannot be read leads nowhere.
                Err(Error::Damaged { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(room.insert(found))
    }
}

fn collect(section: &Section, labels: &HashMap<Reference, usize>, out: &mut Vec<usize>) {
    for field in &section.fields {
        out.extend(to_section(field).and_then(|reference| labels.get(&reference)).copied());
        for item in &field.values {
            if let Value::Section(inner) = &item.value {
                collect(inner, labels, out);
            }
        }
    }
}

/// The section that a field refers to.
fn to_section(field: &Field) -> Option<Reference> {
    let reference = field.reference().filter(|_| field.values.len() <= 3);
    reference.filter(|reference| reference.count.is_some_and(|n| n > 0))
}

impl Shown<'_> {
    /// What a field refers to: bytes as a file, a section as [`Shown::section_elsewhere`] shows it, and otherwise the
    /// numbers.
    pub fn reference(
        &mut self,
        folder: &[u8],
        name: &[u8],
        reference: &Reference,
        file: &File,
    ) -> Result<()> {
        let count = reference.count.map_or(String::new(), |n| n.to_string());
        let attributes = vec![
            ("user.vsf.count", count.clone()),
            ("user.vsf.offset", reference.offset.to_string()),
            ("user.vsf.type", "o".to_string()),
        ];
        match reference.range(file.size) {
            Some(range) if reference.count.is_none_or(|n| n == 0) => {
                self.range(folder, name, ".bin", range, attributes);
            }
            Some(range) if self.section_elsewhere(folder, name, reference, range.clone(), file)? => {}
            _ => {
                let line = format!("{} {} {count}\n", reference.offset, reference.size);
                self.bytes(folder, name, "", line.into_bytes(), attributes);
            }
        }
        Ok(())
    }

    /// The section that a field refers to: a link to where its label shows it; one without a label as a directory, but
    /// not within another such. False if it cannot be shown.
    fn section_elsewhere(
        &mut self,
        folder: &[u8],
        name: &[u8],
        reference: &Reference,
        range: Range<u64>,
        file: &File,
    ) -> Result<bool> {
        let named = self.named.get_or_insert_with(|| Named::of(file));
        let own = self.own.as_ref();
        if let Some(to) = named.number(reference) {
            let Some(target) = named.path(file, to) else { return Ok(false) };
            let circle = match own.and_then(|own| named.number(own)) {
                Some(from) => named.lead(file, self.source.as_ref(), to, from)?,
                None => false,
            };
            self.link(folder, name, (!circle).then_some(&target));
            return Ok(true);
        }
        let own = own.and_then(|own| own.range(file.size));
        if own.is_some_and(|own| own.start < range.end && range.start < own.end) {
            self.link(folder, name, None);
            return Ok(true);
        }
        let size = range.end - range.start;
        if self.referred || size > self.unshown {
            return Ok(false);
        }
        self.unshown -= size;
        let label = Label {
            name: self.told(folder, name).into_bytes(),
            reference: Some(reference.clone()),
            values: Vec::new(),
            span: range,
        };
        let body = match file.section(self.source.as_ref(), &label) {
            Ok(body) => body,
            Err(Error::Damaged { .. }) => return Ok(false),
            Err(other) => return Err(other),
        };
        file.oddities(&label, &body).into_iter().for_each(|finding| self.findings.add(finding));
        let inner = self.free(folder, name, "");
        let (outer, own) = (self.field, self.own.replace(reference.clone()));
        self.referred = true;
        self.section(&inner, &body.section, file)?;
        (self.referred, self.own, self.field) = (false, own, outer);
        Ok(true)
    }

    /// A link to the directory of a section; without one, to itself.
    fn link(&mut self, folder: &[u8], name: &[u8], target: Option<&Vec<u8>>) {
        let path = self.free(folder, name, "");
        let target = target.map_or(last(&path).to_vec(), |target| link(&path, self.above, target));
        let (content, field) = (Content::Bytes(target.into()), self.field);
        self.entries.push(Shows {
            path,
            kind: NodeKind::Link,
            content,
            attributes: Vec::new(),
            suffix: "",
            field,
        });
    }
}

/// The link from `path`, `above` directories below the top, to `target`.
pub fn link(path: &[u8], above: usize, target: &[u8]) -> Vec<u8> {
    let up = above + path.iter().filter(|b| **b == b'/').count();
    [&b"../".repeat(up)[..], target].concat()
}
