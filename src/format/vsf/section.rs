//! The body of a section: fields in brackets, fields alone, or values alone.
//!
//! What cannot be read ends the walk of that section and is kept as its rest; the fields before it stay. Only a
//! failure to get at the bytes is an error.

use std::ops::Range;

use super::input::{Fault, Input, Parsed, Wrong};
use super::value::{Data, Field, Item, Rest, Section, Value};
use super::walk::{Found, Open, Place, Walk};
use super::{MAX_DEPTH, MAX_FIELDS};
use crate::error::Result;

/// The most values of one body of which it is told what is wrong with them.
const MOST_FLAWS: usize = 100;

/// Why a walk ends early, with the field that was begun.
enum Stop {
    Input(crate::error::Error),
    Wrong(Wrong, Option<Field>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        match fault {
            Fault::Input(error) => Stop::Input(error),
            Fault::Wrong(wrong) => Stop::Wrong(wrong, None),
        }
    }
}

/// A section that was read, and what was odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// What it holds.
    pub section: Section,
    /// How many numbers are written wider than they need to be.
    pub wide: u64,
    /// The first value, if any, that may be another one as well: nothing that follows says which.
    pub unsure: Option<u64>,
    /// What is wrong with values that are kept as bytes, the first few of them.
    pub flaws: Vec<Wrong>,
}

/// Reads the body that lies at `range`, for a file of format `version`. `expected` is the number of items that
/// its label promises.
pub fn read(
    input: &dyn Input,
    range: Range<u64>,
    version: Option<u64>,
    expected: Option<u64>,
) -> Result<Body> {
    let mut walk = Walk::new(input, range.clone(), version, Place::Field);
    walk.expected = expected;
    let section = match walk.body(range) {
        Ok(section) => section,
        Err(fault) => return Err(fault.about("")),
    };
    Ok(Body { section, wide: walk.wide, unsure: walk.unsure, flaws: walk.flaws })
}

impl Walk<'_> {
    fn body(&mut self, range: Range<u64>) -> Parsed<Section> {
        self.cursor.blanks()?;
        let bracketed = self.cursor.next()? == Some(b'[');
        self.base = bracketed.into();
        let mut section = self.section(bracketed)?;
        if section.rest.is_none() && range.is_empty() && self.expected.is_some_and(|n| n > 0) {
            let wrong =
                Fault::wrong(range.start, "vsf-empty", "the label promises items, and there are no bytes");
            section.rest = rest(range.clone(), wrong)?;
        }
        if section.rest.is_none() {
            self.cursor.blanks()?;
            if self.cursor.left() > 0 {
                let wrong = Fault::wrong(self.cursor.at(), "vsf-trailing", "bytes behind the section's end");
                section.rest = rest(self.cursor.at()..self.cursor.end(), wrong)?;
            }
        }
        section.span = range.start..self.cursor.end();
        Ok(section)
    }

    /// A section from the cursor on, with its bracket if it has one.
    pub fn section(&mut self, bracketed: bool) -> Parsed<Section> {
        let start = self.cursor.at();
        let none = Section { prefix: vec![], fields: vec![], items: vec![], rest: None, span: start..start };
        let mut section = none;
        if bracketed {
            if self.depth >= MAX_DEPTH {
                let wrong = self
                    .cursor
                    .wrong("vsf-depth", format!("more than {MAX_DEPTH} sections within each other"));
                section.rest = rest(start..self.cursor.end(), wrong)?;
                return Ok(section);
            }
            self.cursor.skip(1)?;
            self.depth += 1;
        }
        let outer = std::mem::replace(&mut self.place, Place::Bare);
        let stopped = self.parts(&mut section, bracketed);
        self.place = outer;
        match stopped {
            Ok(()) => {}
            Err(Stop::Input(error)) => return Err(error.into()),
            Err(Stop::Wrong(wrong, field)) => {
                let mut from = field.as_ref().map_or(self.cursor.at(), |f| f.span.end);
                section.fields.extend(field);
                if section.count() == 0 {
                    // Values before a field that never came may be anything.
                    section.prefix.clear();
                    from = start;
                }
                section.rest = rest(from.min(self.cursor.end())..self.cursor.end(), Fault::Wrong(wrong))?;
            }
        }
        self.depth -= u32::from(bracketed);
        section.span.end = self.cursor.at();
        Ok(section)
    }

    /// Fields and values up to the closing bracket, or to the end.
    fn parts(&mut self, section: &mut Section, bracketed: bool) -> Result<(), Stop> {
        loop {
            self.cursor.blanks()?;
            let start = self.cursor.at();
            match self.cursor.next()? {
                Some(b']') if bracketed => {
                    self.cursor.skip(1)?;
                    return Ok(());
                }
                Some(b'(') => {
                    let field = self.field()?;
                    self.top += u64::from(self.depth == self.base);
                    section.fields.push(field);
                }
                Some(_) if !bracketed && self.expected == Some(section.count()) => {
                    return Err(self.cursor.wrong("vsf-trailing", "bytes behind the promised items").into());
                }
                Some(_) => {
                    let value = self.whole_value(start);
                    if value.is_err() {
                        self.cursor.seek(start);
                    }
                    let value = value?;
                    let item = Item { value, span: start..self.cursor.at() };
                    let before_fields = bracketed && section.fields.is_empty();
                    self.top += u64::from(self.depth == self.base && !before_fields);
                    (if before_fields { &mut section.prefix } else { &mut section.items }).push(item);
                }
                None if !bracketed => return Ok(()),
                None => return Err(self.cursor.wrong("vsf-short", "the section does not end").into()),
            }
            if section.count() > MAX_FIELDS || section.prefix.len() as u64 > MAX_FIELDS {
                return Err(self.cursor.wrong("vsf-fields", format!("more than {MAX_FIELDS} fields")).into());
            }
        }
    }

    /// `(`, a name, values, `)`.
    fn field(&mut self) -> Result<Field, Stop> {
        let start = self.cursor.at();
        let result = self.field_parts(start);
        if let Err(Stop::Wrong(_, None)) = &result {
            // Nothing of it was understood: it belongs to the rest, from its bracket on.
            self.cursor.seek(start);
        }
        result
    }

    fn field_parts(&mut self, start: u64) -> Result<Field, Stop> {
        self.cursor.skip(1)?;
        let name = self.field_name()?;
        let mut field = Field { name, values: Vec::new(), span: start..start };
        loop {
            self.cursor.blanks()?;
            let at = self.cursor.at();
            match self.cursor.next()? {
                Some(b':' | b',') => self.cursor.skip(1)?,
                Some(b')') => {
                    self.cursor.skip(1)?;
                    field.span.end = self.cursor.at();
                    return Ok(field);
                }
                Some(b'[') => {
                    let mut nested = self.section(true)?;
                    let unread = nested.rest.take();
                    let end = unread.as_ref().map_or(self.cursor.at(), |rest| rest.range.start);
                    if unread.is_none() || nested.count() > 0 {
                        nested.span = at..end;
                        let value = Value::Section(Box::new(nested));
                        field.values.push(Item { value, span: at..end });
                    }
                    field.span.end = end;
                    if let Some(rest) = unread {
                        let begun = Some(field).filter(|field| !field.values.is_empty());
                        return Err(Stop::Wrong(rest.wrong, begun));
                    }
                }
                Some(_) => {
                    let place = std::mem::replace(&mut self.place, Place::Field);
                    let value = self.whole_value(at);
                    self.place = place;
                    match value {
                        Ok(value) => field.values.push(Item { value, span: at..self.cursor.at() }),
                        Err(fault) => return Err(fault.into()),
                    }
                }
                None => return Err(self.cursor.wrong("vsf-short", "the field does not end").into()),
            }
        }
    }

    /// The name of a field or label, from the cursor on.
    pub fn field_name(&mut self) -> Parsed<Vec<u8>> {
        self.cursor.blanks()?;
        if !self.cursor.eat(b'd')? {
            return Err(self.cursor.wrong("vsf-name", "a field without a name"));
        }
        match self.named()? {
            Data::Bytes(name) => Ok(name),
            data @ Data::At(_) => data.load(self.cursor.input()),
        }
    }

    /// The value at `start`, its end looked for where it does not say so itself.
    pub fn whole_value(&mut self, start: u64) -> Parsed<Value> {
        match self.decided()? {
            Found::Value(value) => Ok(value),
            Found::Fork(_) => unreachable!("it was decided"),
            Found::Open(open) => {
                if !self.ends.contains_key(&start) {
                    self.resolve(open.clone().into())?;
                }
                let Some(end) = self.ends.get(&start).copied().or(self.likely(&open)?) else {
                    self.cursor.seek(start);
                    let wrong = || self.cursor.wrong("vsf-unknown", unknown(&open));
                    return Err(open.flaw.clone().map_or_else(wrong, Fault::Wrong));
                };
                if self.flaws.len() < MOST_FLAWS {
                    self.flaws.extend(open.flaw.clone());
                }
                self.closed(open, end)
            }
        }
    }

    /// A value whose end was found.
    pub fn closed(&mut self, open: Open, end: u64) -> Parsed<Value> {
        let from = if open.chars.is_some() { open.known } else { open.start };
        self.cursor.seek(from);
        let data = self.data(end - from)?;
        Ok(match open.chars {
            Some(chars) => Value::Text(chars, data),
            None => Value::Opaque(data),
        })
    }
}

fn unknown(open: &Open) -> &'static str {
    match open.chars {
        Some(_) => "text whose end cannot be told without its codebook",
        None => "a value of unknown type, whose end cannot be told",
    }
}

fn rest(range: Range<u64>, fault: Fault) -> Parsed<Option<Rest>> {
    match fault {
        Fault::Wrong(wrong) => Ok(Some(Rest { range, wrong })),
        input => Err(input),
    }
}
