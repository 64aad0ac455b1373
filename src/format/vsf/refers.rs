//! Sections that fields refer to.
//!
//! A reference to a section that a label names is a link to where that is shown, so a walk over the tree meets each
//! section once, however often it is referred to. One that leads back to the section that it stands in, by itself or
//! through others, is a link to itself: whoever follows it gets `ELOOP`. What it says is in `section.json` in any case.
//!
//! Whether one leads back is found out by reading the sections behind it, up to [`READ`] bytes of them for each that is
//! shown; beyond, the system's own limit on links ends a walk in a circle. Where a section leads is remembered for all
//! that is shown of the file, and what leads back to one is asked once for all of its references.

use std::collections::{HashMap, HashSet, VecDeque};
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

/// References of which it is remembered where they lead.
const MOST: usize = 1 << 20;

/// The sections that the labels of a file name, and which of them refer to which.
#[derive(Debug)]
pub struct Named {
    /// The first label of each range.
    labels: HashMap<Reference, usize>,
    /// The first section of each path: only that one is sure to be shown there.
    owners: HashMap<Vec<u8>, usize>,
    /// The sections that each refers to, of those that were asked for, and how many these are.
    leads: HashMap<usize, Vec<usize>>,
    many: usize,
    /// The section that was asked for last, with itself and those that it leads to and that lead back to it.
    circle: Option<(usize, HashSet<usize>)>,
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
        Named { labels, owners, leads: HashMap::new(), many: 0, circle: None }
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

    /// Whether section `to`, which section `own` refers to, leads back to that.
    pub fn leads_back(&mut self, file: &File, input: &dyn Input, own: usize, to: usize) -> Result<bool> {
        if self.circle.as_ref().is_none_or(|(of, _)| *of != own) {
            self.circle = Some((own, self.circle(file, input, own)?));
        }
        Ok(self.circle.as_ref().is_some_and(|(_, circle)| circle.contains(&to)))
    }

    fn circle(&mut self, file: &File, input: &dyn Input, own: usize) -> Result<HashSet<usize>> {
        let mut left = READ;
        let mut before: HashMap<usize, Vec<usize>> = HashMap::new();
        let (mut pending, mut seen) = (VecDeque::from([own]), HashSet::from([own]));
        // The nearest first, since not all of them may be read.
        while let Some(section) = pending.pop_front() {
            let size = file.range(&file.labels[section]).map_or(0, |range| range.end - range.start);
            if !self.leads.contains_key(&section) {
                // The one itself was just read to be shown.
                match left.checked_sub(size) {
                    Some(less) => left = less,
                    None if section != own => continue,
                    None => {}
                }
                self.read(file, input, section)?;
            }
            for next in &self.leads[&section] {
                before.entry(*next).or_default().push(section);
                if seen.insert(*next) {
                    pending.push_back(*next);
                }
            }
        }
        let (mut pending, mut circle) = (vec![own], HashSet::from([own]));
        while let Some(section) = pending.pop() {
            let earlier = before.get(&section).into_iter().flatten().copied();
            pending.extend(earlier.filter(|earlier| circle.insert(*earlier)));
        }
        Ok(circle)
    }

    /// Finds out where the references of a section lead.
    fn read(&mut self, file: &File, input: &dyn Input, number: usize) -> Result<()> {
        let mut found = Vec::new();
        match file.section(input, &file.labels[number]) {
            Ok(body) => collect(&body.section, &self.labels, &mut found),
            // What cannot be read leads nowhere.
            Err(Error::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
        found.sort_unstable();
        found.dedup();
        self.many += found.len();
        if self.many > MOST {
            self.leads.clear();
            self.many = found.len();
        }
        self.leads.insert(number, found);
        Ok(())
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

/// Where a section is shown that a field refers to.
enum Target {
    /// No label names it.
    Unnamed,
    /// Another section has its path.
    Hidden,
    /// It leads back to the section that is shown.
    Circle,
    At(Vec<u8>),
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
        match self.target(reference, file)? {
            Target::Unnamed => {}
            Target::Hidden => return Ok(false),
            Target::Circle => {
                self.link(folder, name, None);
                return Ok(true);
            }
            Target::At(path) => {
                self.link(folder, name, Some(&path));
                return Ok(true);
            }
        }
        let own = self.own.as_ref().and_then(|own| own.range(file.size));
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

    fn target(&self, reference: &Reference, file: &File) -> Result<Target> {
        let mut named = self.kept.named.lock();
        let named = named.get_or_insert_with(|| Named::of(file));
        let Some(to) = named.number(reference) else { return Ok(Target::Unnamed) };
        let Some(path) = named.path(file, to) else { return Ok(Target::Hidden) };
        let circle = match self.own.as_ref().and_then(|own| named.number(own)) {
            Some(own) => named.leads_back(file, self.source.as_ref(), own, to)?,
            None => false,
        };
        Ok(if circle { Target::Circle } else { Target::At(path) })
    }

    /// A link to the directory of a section; without one, to itself.
    fn link(&mut self, folder: &[u8], name: &[u8], target: Option<&[u8]>) {
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
