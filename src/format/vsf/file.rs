//! A file's header, and what it says about the rest.
//!
//! The header is walked token by token and never searched: `>` counts only where a token may stand. Its own
//! length is a claim that is compared and not used. A header that breaks off keeps the labels before the break.
//! Sections are read one by one, when they are asked for; opening a file costs its header alone.

use std::ops::Range;

use super::input::{Fault, Input, Parsed, Wrong};
use super::section::{self, Body};
use super::value::{Item, Reference, Value};
use super::walk::{Found, Open, Place, Walk};
use super::{MAGIC, MAX_HEADER, MAX_LABELS, NEWEST};
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};

/// The labels and what stands before them.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The values before the labels.
    pub items: Vec<Item>,
    /// From the magic number to `>`.
    pub span: Range<u64>,
    /// Why it breaks off, if it does.
    pub broken: Option<Wrong>,
}

impl Header {
    fn number(&self, marker: u8) -> Option<u64> {
        self.items.iter().find_map(|item| match item.value {
            Value::Number(m, n) if m == marker => Some(u64::try_from(n).unwrap_or(u64::MAX)),
            _ => None,
        })
    }

    /// The version that the file was written in.
    pub fn version(&self) -> Option<u64> {
        self.number(b'z')
    }

    /// The oldest version whose readers can read it.
    pub fn backward(&self) -> Option<u64> {
        self.number(b'y')
    }

    /// The length that it gives itself.
    pub fn declared_length(&self) -> Option<u64> {
        self.number(b'b')
    }

    /// The number of labels that it promises.
    pub fn declared_labels(&self) -> Option<u64> {
        self.number(b'n')
    }

    /// The file's length without what was appended, where it is given.
    pub fn declared_size(&self) -> Option<u64> {
        self.number(b'l').or_else(|| self.number(b'L'))
    }
}

/// What a label stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fields or values elsewhere in the file.
    Section,
    /// Bytes without structure.
    Blob,
    /// Values in the label itself.
    Inline,
    /// Nothing but its name.
    Flag,
}

/// One entry of the header.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The name, as stored.
    pub name: Vec<u8>,
    /// Where its bytes are.
    pub reference: Option<Reference>,
    /// Its other values: hashes, signatures, or what it holds itself.
    pub values: Vec<Item>,
    /// The label itself, with its brackets.
    pub span: Range<u64>,
}

impl Label {
    /// What it stands for.
    pub fn kind(&self) -> Kind {
        match &self.reference {
            Some(Reference { count: Some(1..), .. }) => Kind::Section,
            Some(_) => Kind::Blob,
            None if self.values.is_empty() => Kind::Flag,
            None => Kind::Inline,
        }
    }

    /// The name for messages.
    pub fn title(&self) -> String {
        String::from_utf8_lossy(&self.name[..self.name.len().min(200)]).into_owned()
    }
}

/// What was found in a file; its sections are read with [`File::section`].
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// The header that counts.
    pub header: Header,
    /// Its labels, in the stored order.
    pub labels: Vec<Label>,
    /// The field behind all data, and where bytes lie that nothing refers to.
    pub trailing: Option<Trailing>,
    /// What was odd.
    pub findings: Vec<Finding>,
    /// How long the file is.
    pub size: u64,
    /// The first header, where another counts because something was appended: with those labels that have more than a
    /// reference.
    pub(super) earlier: Option<Box<File>>,
}

/// What stands behind all sections.
#[derive(Debug, Clone, PartialEq)]
pub struct Trailing {
    /// A field, such as the file's signature.
    pub field: Option<super::Field>,
    /// All bytes behind the last section.
    pub span: Range<u64>,
}

/// Reads the header of a file.
pub fn open(input: &dyn Input) -> Result<File> {
    let mut file = read_header(input, 0).map_err(|fault| fault.about(""))?;
    if file.header.version().is_some_and(|z| z >= 10) {
        file = super::generations::newest(input, file)?;
    }
    file.check(input).map_err(|fault| fault.about(""))?;
    Ok(file)
}

/// The header that begins at `start`.
pub fn read_header(input: &dyn Input, start: u64) -> Parsed<File> {
    let mut walk = Walk::new(input, start..start.saturating_add(MAX_HEADER), None, Place::Header);
    if walk.cursor.peek(MAGIC.len())? != MAGIC {
        return Err(walk.cursor.wrong("vsf-magic", "this is no VSF file: it does not begin with `RÅ<`"));
    }
    walk.cursor.skip(MAGIC.len() as u64)?;
    let header = Header { items: Vec::new(), span: start..start, broken: None };
    let (labels, findings, size) = (Vec::new(), Vec::new(), input.size());
    let mut file = File { header, labels, trailing: None, findings, size, earlier: None };
    match file.walk(&mut walk) {
        Ok(()) => {}
        Err(Fault::Wrong(wrong)) if !file.labels.is_empty() => file.header.broken = Some(wrong),
        Err(fault) => return Err(fault),
    }
    file.header.span.end = walk.cursor.at();
    if let Some(at) = walk.unsure {
        file.find(Severity::Warning, "vsf-ambiguous", "", ambiguous(at));
    }
    if walk.wide > 0 {
        let text = format!("{} numbers are written wider than they need to be", walk.wide);
        file.find(Severity::Notice, "vsf-wide", "", text);
    }
    Ok(file)
}

impl File {
    fn walk(&mut self, walk: &mut Walk) -> Parsed<()> {
        let mut numbers = Vec::new();
        loop {
            walk.cursor.blanks()?;
            let start = walk.cursor.at();
            match walk.cursor.next()? {
                Some(b'>') => return walk.cursor.skip(1),
                Some(b'(') => {
                    let label = label(walk, &mut numbers).inspect_err(|_| walk.cursor.seek(start))?;
                    self.labels.push(label);
                    walk.top += 1;
                    if self.labels.len() as u64 > MAX_LABELS {
                        return Err(walk
                            .cursor
                            .wrong("vsf-labels", format!("more than {MAX_LABELS} labels")));
                    }
                }
                Some(_) => {
                    let Found::Value(value) = walk.decided()? else {
                        walk.cursor.seek(start);
                        return Err(walk.cursor.wrong("vsf-marker", "neither a label nor a known value"));
                    };
                    if let Value::Number(marker, n) = value {
                        let n = Some(u64::try_from(n).unwrap_or(u64::MAX));
                        match (marker, walk.header) {
                            (b'z', _) => walk.version = n,
                            (b'n', _) => walk.expected = walk.expected.or(n),
                            (b'b', Some((start, None))) => walk.header = Some((start, n)),
                            _ => {}
                        }
                    }
                    self.header.items.push(Item { value, span: start..walk.cursor.at() });
                    if self.header.items.len() > 1000 {
                        return Err(walk
                            .cursor
                            .wrong("vsf-header", "more than 1000 values before the labels"));
                    }
                }
                None => return Err(walk.cursor.wrong("vsf-header-open", "the header does not end")),
            }
        }
    }

    fn find(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: impl Into<String>,
        text: impl Into<String>,
    ) {
        let remedy = match severity {
            Severity::Error => "restore the file from a backup; what is shown is right as far as it goes",
            Severity::Warning => "ask for a file from its writer that does not contradict itself",
            Severity::Notice => "nothing has to be done",
        };
        self.findings.push(Finding::new(severity, code, path, text, remedy));
    }

    /// Compares what the header says with what there is.
    fn check(&mut self, input: &dyn Input) -> Parsed<()> {
        if let Some(wrong) = &self.header.broken {
            let text = format!("the header breaks off at byte {}: {}", wrong.at, wrong.what);
            self.find(Severity::Error, "vsf-header-open", "", text);
        }
        self.check_claims();
        super::layout::settle_units(self);
        super::layout::check(self);
        super::layout::find_trailing(self, input)
    }

    fn check_claims(&mut self) {
        let (version, backward) = (self.header.version(), self.header.backward());
        if let Some(newer) = backward.max(version).filter(|newest| *newest > NEWEST) {
            let needed = backward.is_some_and(|y| y > NEWEST);
            let text = match needed {
                true => format!("readers before version {newer} cannot read it, and this one knows {NEWEST}"),
                false => format!(
                    "it is of version {newer}, and this reader knows {NEWEST}: what is new is not read"
                ),
            };
            let severity = if needed { Severity::Warning } else { Severity::Notice };
            let remedy = "update vaso to read all of it; what is shown is right as far as it goes";
            self.findings.push(Finding::new(severity, "vsf-newer", "", text, remedy));
        } else if version.is_none() {
            self.find(Severity::Warning, "vsf-version", "", "the header names no version");
        }
        if let (Some(z), Some(y)) = (version, backward)
            && y > z
        {
            let text = format!("written in version {z}, readable from version {y} on");
            self.find(Severity::Warning, "vsf-version", "", text);
        }
        if self.header.broken.is_some() {
            return;
        }
        let length = self.header.span.end - self.header.span.start;
        if let Some(declared) = self.header.declared_length()
            && declared != length
            && declared != length * 8
        {
            let text = format!("the header says that it is {declared} long, and it has {length} bytes");
            self.find(Severity::Warning, "vsf-header-length", "", text);
        }
        let labels = self.labels.len() as u64;
        if let Some(declared) = self.header.declared_labels()
            && declared != labels
        {
            let text = format!("the header promises {declared} labels and holds {labels}");
            self.find(Severity::Warning, "vsf-label-count", "", text);
        }
    }

    pub(super) fn note(&mut self, severity: Severity, code: &'static str, path: String, text: String) {
        self.find(severity, code, path, text);
    }

    /// Where the bytes of a label lie; refused where they are not all there, or would be the header's.
    pub fn range(&self, label: &Label) -> Result<Range<u64>, Wrong> {
        let wrong = |code, what: String| Wrong { at: label.span.start, code, what: what.into() };
        let Some(reference) = &label.reference else {
            return Err(wrong("vsf-no-bytes", "the label refers to no bytes".into()));
        };
        let Some(range) = reference.range(self.size) else {
            let Reference { offset, size, .. } = reference;
            let text = format!("{size} bytes at {offset} are not within the file, which has {}", self.size);
            return Err(wrong("vsf-past-end", text));
        };
        let header = &self.header.span;
        if !range.is_empty() && range.start < header.end && range.end > header.start {
            let text = format!("bytes {} to {} are the header's own", range.start, range.end);
            return Err(wrong("vsf-in-header", text));
        }
        Ok(range)
    }

    /// The items of a label that is a section. What cannot be read of it is its rest; an error means that there
    /// is nothing to read.
    pub fn section(&self, input: &(impl Input + ?Sized), label: &Label) -> Result<Body> {
        let range = self.range(label).map_err(|wrong| wrong.about(&label.title()))?;
        let count = label.reference.as_ref().and_then(|r| r.count);
        let expected = count.map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        section::read(&input, range, self.header.version(), expected)
    }

    /// What is odd about a section that was read.
    pub fn oddities(&self, label: &Label, body: &Body) -> Vec<Finding> {
        let mut found = Vec::new();
        let title = label.title();
        if let Some(rest) = &body.section.rest {
            let error = Error::damaged(rest.wrong.code, &title, rest.wrong.what.to_string());
            found.extend(Finding::of_damage(&error));
        }
        for flaw in &body.flaws {
            found.extend(Finding::of_damage(&flaw.about(&title)));
        }
        let mut unstored = Vec::new();
        astray(title.clone(), &body.section, &mut unstored);
        for name in unstored {
            let text = "strides point past the stored elements; only the stored bytes can be shown";
            found.push(Finding::new(
                Severity::Error,
                "vsf-stride",
                name,
                text,
                "ask for a file that has them all",
            ));
        }
        let count = body.section.count();
        let promised = label.reference.as_ref().and_then(|r| r.count);
        if let Some(promised) = promised.filter(|n| *n != u128::from(count) && body.section.rest.is_none()) {
            let text = format!("the label promises {promised} items and there are {count}");
            let remedy = "nothing is lost; the label is wrong";
            found.push(Finding::new(Severity::Warning, "vsf-item-count", &title, text, remedy));
        }
        if let Some(at) = body.unsure {
            let remedy = "compare what is shown from there on with what its writer says is in it";
            found.push(Finding::new(Severity::Warning, "vsf-ambiguous", &title, ambiguous(at), remedy));
        }
        if body.wide > 0 {
            let text = format!("{} numbers are written wider than they need to be", body.wide);
            found.push(Finding::new(Severity::Notice, "vsf-wide", &title, text, "nothing has to be done"));
        }
        found
    }
}

fn ambiguous(at: u64) -> String {
    format!(
        "the value at byte {at} can be read in more than one way, and nothing that follows says which is meant"
    )
}

/// The paths of the strided tensors that are not all there, below `path`. Sections are nested to a limit.
fn astray(path: String, section: &super::Section, found: &mut Vec<String>) {
    let fields = section.fields.iter().map(|field| (&field.name[..], &field.values));
    for (name, items) in fields.chain([(&b""[..], &section.items)]) {
        let name = String::from_utf8_lossy(&name[..name.len().min(200)]);
        let path = if name.is_empty() { path.clone() } else { format!("{path}/{name}") };
        for item in items.iter().filter(|_| found.len() < 100).collect::<Vec<_>>() {
            match &item.value {
                Value::Tensor(tensor) if !tensor.is_within() => found.push(path.clone()),
                Value::Section(nested) => astray(path.clone(), nested, found),
                _ => {}
            }
        }
    }
}

/// The label at the cursor; `numbers` is room for its reference.
fn label(walk: &mut Walk, numbers: &mut Vec<Item>) -> Parsed<Label> {
    let start = walk.cursor.at();
    walk.cursor.skip(1)?;
    walk.place = Place::Label;
    let name = walk.field_name()?;
    let mut values = Vec::new();
    numbers.clear();
    loop {
        walk.cursor.blanks()?;
        let at = walk.cursor.at();
        let value = match walk.cursor.next()? {
            Some(b':' | b',') => {
                walk.cursor.skip(1)?;
                continue;
            }
            Some(b')') => {
                walk.cursor.skip(1)?;
                break;
            }
            Some(b'[') => inline_section(walk)?,
            Some(_) => match walk.decided()? {
                Found::Value(value) => value,
                Found::Open(open) => closed_in_label(walk, open)?,
                Found::Fork(_) => unreachable!("it was decided"),
            },
            None => return Err(walk.cursor.wrong("vsf-header-open", "the label does not end")),
        };
        let is_place = value.is_place();
        (if is_place { &mut *numbers } else { &mut values }).push(Item { value, span: at..walk.cursor.at() });
        if values.len() + numbers.len() > 10_000 {
            return Err(walk.cursor.wrong("vsf-label", "more than 10000 values in a label"));
        }
    }
    walk.place = Place::Header;
    let reference = Reference::among(numbers);
    if reference.is_none() {
        values.append(numbers);
    }
    values.shrink_to_fit();
    Ok(Label { name, reference, values, span: start..walk.cursor.at() })
}

fn inline_section(walk: &mut Walk) -> Parsed<Value> {
    let section = walk.section(true)?;
    match &section.rest {
        Some(rest) => Err(Fault::Wrong(rest.wrong.clone())),
        None => Ok(Value::Section(Box::new(section))),
    }
}

/// In a label there is no end to parse to: a value without one ends before `)` and the next label, or before
/// another value.
pub fn closed_in_label(walk: &mut Walk, open: Open) -> Parsed<Value> {
    let (least, most) = match open.chars {
        Some(chars) => (chars.saturating_mul(3).div_ceil(8), chars.saturating_mul(3)),
        None => (0, 4096),
    };
    for end in open.known.saturating_add(least)..=open.known.saturating_add(most.min(1 << 20)) {
        if end >= walk.cursor.end() {
            break;
        }
        walk.cursor.seek(end);
        let fits = match walk.cursor.peek(2)? {
            [b')', next] => matches!(next, b'(' | b'>' | b' ' | b'\n' | b'\r' | b'\t'),
            [b',', next] => next.is_ascii_alphabetic(),
            _ => false,
        };
        if fits {
            return walk.closed(open, end);
        }
    }
    walk.cursor.seek(open.start);
    Err(walk.cursor.wrong("vsf-unknown", "a value whose end cannot be told"))
}
