//! Writes files of the design, to the letter: `RÅ<`, the header's length in bits, version 2 readable from 1 on, the
//! labels, and the sections one behind the other.
//!
//! A [`Builder`] cannot build an invalid file: names are checked when they are given, values when they are added,
//! and every section is read back by the reader before it is accepted. What only the whole shows, as a reference to a
//! section that never came, [`Builder::check`] tells; what remains to fail while writing is the disk. Lengths and offsets depend on each other through the widths of their numbers; they are settled from below,
//! where they can only grow, so that the smallest consistent header is found.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use ed25519_dalek::SigningKey;

use super::eagle::EagleTime;
use super::encode::{Piece, Pieces, Unfit, put_sized, put_value};
use super::file::File;
use super::input::Input;
use super::plan::{Plan, Seal, signature_field};
use super::read_back::{self, SOME_PLACE, Shape, read_back, size_of};
use super::rewrite;
use super::value::{Field, Section, Value};
use super::{MAGIC, MAX_DEPTH, MAX_FIELDS, MAX_HEADER, MAX_LABELS, MAX_NAME, registry};

/// Whether `name` may be given to a section or a field. Capital letters are for names as the registry's `ISOSpeed`.
pub fn is_name(name: &str) -> bool {
    let word = |word: &str| {
        let mut bytes = word.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    name.len() as u64 <= MAX_NAME && name.split('.').all(word)
}

fn check_name(name: &str) -> Result<(), Unfit> {
    if is_name(name) { Ok(()) } else { Err(Unfit::Name(name.chars().take(200).collect())) }
}

/// A value of a field that is being built.
pub(super) enum Given {
    /// One that is no section.
    Value(Value),
    /// The fields of one that is.
    Section(Fields),
}

/// The fields of a section that is being built.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    pieces: Pieces,
    count: u64,
    shape: Shape,
    depth: u32,
    /// Whether the last of them looks like the signature of the section.
    signature: bool,
}

impl Fields {
    /// None yet.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a field of one value, whose bytes are all in memory. Names that the registry knows have the type that
    /// it says.
    pub fn add(&mut self, name: &str, value: &Value) -> Result<&mut Fields, Unfit> {
        self.add_all(name, std::slice::from_ref(value), None)
    }

    /// Adds a field under its canonical name, whichever of its names is given, with its canonical type.
    pub fn add_known(&mut self, name: &str, value: &Value) -> Result<&mut Fields, Unfit> {
        match registry::normalise(name, value) {
            Some(normal) => self.add(normal.key, &normal.value),
            None => self.add(name, value),
        }
    }

    /// Adds a field of any number of values, as newer formats have; none make it a flag. Bytes that are not in
    /// memory are taken from `from` when the file is written. A canonical key has one value of its type.
    pub fn add_all(
        &mut self,
        name: &str,
        values: &[Value],
        from: Option<&Arc<dyn Input>>,
    ) -> Result<&mut Fields, Unfit> {
        registry::check_all(name, values)?;
        self.copy_all(name, values, from, false)
    }

    /// The same for values that were read, whose types are theirs. Places are copied for records alone.
    pub(super) fn copy_all(
        &mut self,
        name: &str,
        values: &[Value],
        from: Option<&Arc<dyn Input>>,
        places: bool,
    ) -> Result<&mut Fields, Unfit> {
        if !places && values.iter().any(Value::is_place) {
            return Err(Unfit::Place(name.to_string()));
        }
        let given = |value: &Value| match value {
            Value::Section(section) if !section.prefix.is_empty() => Err(Unfit::Unclear(name.to_string())),
            Value::Section(section) => Fields::copied(section, from, places).map(Given::Section),
            value => Ok(Given::Value(value.clone())),
        };
        self.put_all(name, values.iter().map(given).collect::<Result<_, _>>()?, from)
    }

    /// The same for values of which some are sections that are built already.
    pub(super) fn put_all(
        &mut self,
        name: &str,
        values: Vec<Given>,
        from: Option<&Arc<dyn Input>>,
    ) -> Result<&mut Fields, Unfit> {
        let mut field = Pieces::default();
        let (mut depth, mut shape, count) = (self.depth, Shape::new(), values.len() as u64);
        let signature = name == "signature" && matches!(values[..], [Given::Value(Value::Signature(_))]);
        let mut was_place = false;
        open_field(&mut field, name)?;
        for (n, value) in values.into_iter().enumerate() {
            let is_place = matches!(&value, Given::Value(value) if value.is_place());
            match n {
                0 => field.put(b":"),
                // A reference is three numbers in a row.
                _ if is_place && was_place => {}
                _ => field.put(b","),
            }
            was_place = is_place;
            let mut one = Pieces::default();
            match value {
                Given::Value(value) => {
                    put_value(&mut one, &value, from)?;
                    shape.push(read_back::Part::of(&value, size_of(&one)));
                }
                Given::Section(fields) => {
                    depth = depth.max(fields.depth + 1);
                    let inner = fields.shape.clone();
                    fields.put_into(&mut one);
                    shape.push(read_back::Part::section(size_of(&one)));
                    shape.extend(inner);
                }
            }
            field.append(one);
        }
        field.put(b")");
        self.accept(field, count, shape, depth)?;
        self.signature = signature;
        Ok(self)
    }

    /// Adds a section as a field.
    pub fn add_section(&mut self, name: &str, fields: Fields) -> Result<&mut Fields, Unfit> {
        registry::check_kind(name, "section")?;
        self.nest(name, fields)
    }

    /// The same where the name is the file's own.
    pub(super) fn nest(&mut self, name: &str, fields: Fields) -> Result<&mut Fields, Unfit> {
        self.put_all(name, vec![Given::Section(fields)], None)
    }

    /// Adds a reference to a section of the same file, which may be added to it later.
    pub fn add_reference(&mut self, name: &str, section: &str) -> Result<&mut Fields, Unfit> {
        registry::check_kind(name, "o")?;
        self.refer(name, section)
    }

    /// The same where the name is the file's own.
    pub(super) fn refer(&mut self, name: &str, section: &str) -> Result<&mut Fields, Unfit> {
        let mut field = Pieces::default();
        open_field(&mut field, name)?;
        field.put(b":");
        field.0.push(Piece::Place(section.to_string()));
        field.put(b")");
        let number = read_back::Part::of(&Value::Number(b'o', 0), SOME_PLACE.len() as u64 / 3);
        self.accept(field, 3, vec![number; 3], self.depth)
    }

    /// The fields of a section that was read, with the types that they have. Values before and beside its fields are
    /// not fields, and what could not be read cannot be written; nor can references, which [`Fields::within`] follows.
    pub fn of(section: &Section, from: Option<&Arc<dyn Input>>) -> Result<Fields, Unfit> {
        Fields::copied(section, from, false)
    }

    /// The same for a section of `file`, of which all sections are to be written again: what refers to one of them
    /// refers to it in the new file.
    pub fn within(section: &Section, file: &File, from: Option<&Arc<dyn Input>>) -> Result<Fields, Unfit> {
        let mut fields = Fields::new();
        for (name, field) in named(section)? {
            let values: Vec<Value> = field.values.iter().map(|item| item.value.clone()).collect();
            let refers = rewrite::referred(field, file).map_err(|_| Unfit::Place(name.to_string()))?;
            match (refers, &values[..]) {
                (Some(label), _) => fields.refer(name, &label)?,
                (None, [Value::Section(inner)]) if inner.prefix.is_empty() => {
                    fields.nest(name, Fields::within(inner, file, from)?)?
                }
                (None, values) => fields.copy_all(name, values, from, false)?,
            };
        }
        Ok(fields)
    }

    /// The fields of a section that was read, with its places if they are wanted.
    pub(super) fn copied(
        section: &Section,
        from: Option<&Arc<dyn Input>>,
        places: bool,
    ) -> Result<Fields, Unfit> {
        let mut fields = Fields::new();
        for (name, field) in named(section)? {
            let values: Vec<Value> = field.values.iter().map(|item| item.value.clone()).collect();
            fields.copy_all(name, &values, from, places)?;
        }
        Ok(fields)
    }

    fn accept(&mut self, field: Pieces, values: u64, shape: Shape, depth: u32) -> Result<&mut Fields, Unfit> {
        // The section that these fields will be in counts as well.
        if depth + 1 > MAX_DEPTH {
            return Err(Unfit::TooMany("more than 64 sections within each other"));
        }
        if self.len() >= MAX_FIELDS {
            return Err(Unfit::TooMany("more than 262144 fields in one section"));
        }
        self.count += 1;
        self.shape.push(read_back::Part::Field(size_of(&field), values));
        self.shape.extend(shape);
        self.pieces.append(field);
        self.depth = depth;
        self.signature = false;
        Ok(self)
    }

    /// A section of these fields is read back as it is, also where nothing of what lies in other files is looked at.
    pub(super) fn reads_back(&self, name: &str) -> Result<(), Unfit> {
        let mut pieces = Pieces::default();
        self.clone().put_into(&mut pieces);
        read_back(name, &pieces, self.count, &self.shape)?;
        read_back(name, &pieces.unseen(), self.count, &self.shape)
    }

    /// With brackets.
    pub(super) fn put_into(self, out: &mut Pieces) {
        out.put(b"[");
        out.append(self.pieces);
        out.put(b"]");
    }
}

/// The fields of a section that has nothing else, with their names.
fn named(section: &Section) -> Result<Vec<(&str, &Field)>, Unfit> {
    if section.rest.is_some() || !section.items.is_empty() {
        return Err(Unfit::Unclear("a section".into()));
    }
    section.fields.iter().map(|field| Ok((name_of(field)?, field))).collect()
}

fn name_of(field: &Field) -> Result<&str, Unfit> {
    let wrong = |_| Unfit::Name(String::from_utf8_lossy(&field.name).into_owned());
    std::str::from_utf8(&field.name).map_err(wrong)
}

fn open_field(out: &mut Pieces, name: &str) -> Result<(), Unfit> {
    check_name(name)?;
    let mut head = b"(d".to_vec();
    put_sized(&mut head, name.len() as u128);
    out.put(&head);
    out.put(name.as_bytes());
    Ok(())
}

#[derive(Debug)]
struct Part {
    name: String,
    pieces: Pieces,
    count: u64,
    /// Whether its last field looks like its signature.
    signature: bool,
}

/// Where everything lies.
struct Settled {
    header: Vec<u8>,
    hash_at: usize,
    /// Of each section, where it begins and how long it is.
    places: Vec<(u64, u64)>,
}

/// A file that is being built.
#[derive(Debug, Default)]
pub struct Builder {
    parts: Vec<Part>,
    names: HashMap<String, usize>,
    seal: Seal,
    time: Option<EagleTime>,
    in_bytes: bool,
    sign_sections: bool,
}

impl Builder {
    /// A file without sections.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Writes the header's length in bytes, as all known writers do, where the design says bits.
    pub fn header_length_in_bytes(&mut self) -> &mut Builder {
        self.in_bytes = true;
        self
    }

    /// Puts the time of the file into its header, where real files have it: it is that of all that is mounted.
    pub fn time(&mut self, time: EagleTime) -> Result<&mut Builder, Unfit> {
        put_value(&mut Pieces::default(), &Value::Time(time), None)?;
        self.time = Some(time);
        Ok(self)
    }

    /// Puts the BLAKE3 hash of the file into its header.
    pub fn hashed(&mut self) -> &mut Builder {
        self.seal = Seal::Hash;
        self.sign_sections = false;
        self
    }

    /// Whether the hash of the file will be in it.
    pub fn is_hashed(&self) -> bool {
        matches!(self.seal, Seal::Hash)
    }

    /// Signs the file: the key goes into the header, the signature behind all sections. With `sections`, every
    /// section with fields is signed by itself too, in a last field.
    pub fn signed(&mut self, key: SigningKey, sections: bool) -> &mut Builder {
        self.seal = Seal::Signature(Box::new(key));
        self.sign_sections = sections;
        self
    }

    /// Adds a section. One without fields has no body that could be told from raw bytes, and is refused.
    pub fn section(&mut self, name: &str, fields: Fields) -> Result<&mut Builder, Unfit> {
        if fields.is_empty() {
            return Err(Unfit::TooMany("a section without fields cannot be told from raw bytes"));
        }
        let (count, signature, shape) = (fields.count, fields.signature, fields.shape.clone());
        let mut pieces = Pieces::default();
        fields.put_into(&mut pieces);
        read_back(name, &pieces, count, &shape)?;
        self.part(Part { name: name.to_string(), pieces, count, signature })
    }

    /// Adds bytes without structure.
    pub fn blob(&mut self, name: &str, bytes: Vec<u8>) -> Result<&mut Builder, Unfit> {
        self.raw(name, Piece::Bytes(bytes))
    }

    /// Adds a range of something else as bytes without structure.
    pub fn blob_from(
        &mut self,
        name: &str,
        from: Arc<dyn Input>,
        range: Range<u64>,
    ) -> Result<&mut Builder, Unfit> {
        if range.start > range.end || range.end > from.size() {
            return Err(Unfit::Elsewhere);
        }
        self.raw(name, Piece::From(from, range))
    }

    fn raw(&mut self, name: &str, piece: Piece) -> Result<&mut Builder, Unfit> {
        self.part(Part { name: name.to_string(), pieces: Pieces(vec![piece]), count: 0, signature: false })
    }

    fn part(&mut self, part: Part) -> Result<&mut Builder, Unfit> {
        check_name(&part.name)?;
        if self.parts.len() as u64 >= MAX_LABELS {
            return Err(Unfit::TooMany("more than a million sections"));
        }
        if self.names.contains_key(&part.name) {
            return Err(Unfit::Twin(part.name));
        }
        self.names.insert(part.name.clone(), self.parts.len());
        self.parts.push(part);
        Ok(self)
    }

    /// Whether all of it makes a file: every reference leads to a section, the header is short enough to be read, and
    /// there is room for the signatures. [`Builder::write`] asks for that itself, before its first byte.
    pub fn check(&self) -> Result<(), Unfit> {
        self.settle().map(drop)
    }

    /// Writes the file; how long it is.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<u64> {
        self.write_telling(out, &mut |_, _| ())
    }

    /// The same, for whoever wants to know how far it is: bytes that are done, of all. A hash or signature reads them
    /// once more.
    pub fn write_telling(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64, u64)) -> io::Result<u64> {
        let mut plan = self
            .settle()
            .and_then(|settled| self.plan(settled))
            .map_err(|unfit| io::Error::new(io::ErrorKind::InvalidInput, unfit))?;
        let bodies: u64 = plan.bodies.iter().map(size_of).sum();
        let seals = match self.seal {
            Seal::None => 0,
            Seal::Hash => 1,
            Seal::Signature(_) => 1 + u64::from(self.sign_sections),
        };
        let all = bodies.saturating_mul(1 + seals);
        let mut done = 0;
        let mut tell = |bytes: usize| {
            done += bytes as u64;
            progress(done.min(all), all);
        };
        plan.seal(&self.seal, &mut tell)?;
        let total = plan.each(&mut |bytes| {
            tell(bytes.len());
            out.write_all(bytes)
        })?;
        progress(all, all);
        Ok(total)
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.write(&mut out)?;
        Ok(out)
    }

    /// Seals that would make a file that cannot be read, or is read as something else.
    fn check_seals(&self) -> Result<(), Unfit> {
        let Seal::Signature(_) = self.seal else { return Ok(()) };
        match self.parts.iter().find(|part| part.signature) {
            Some(part) if !self.sign_sections => return Err(Unfit::Signature(part.name.clone())),
            _ => {}
        }
        match self.parts.iter().any(|part| self.count_of(part) > MAX_FIELDS) {
            true => Err(Unfit::TooMany("more than 262144 fields in one section, with its signature")),
            false => Ok(()),
        }
    }

    /// Settles where everything lies.
    fn settle(&self) -> Result<Settled, Unfit> {
        self.check_seals()?;
        let mut places = vec![(0u64, 0u64); self.parts.len()];
        let mut length = 0;
        // Each round can only lengthen numbers, of which there are finitely many with five widths each.
        loop {
            let (header, hash_at) = self.header(length, &places);
            let mut at = header.len() as u64;
            let mut settled = vec![(0, 0); self.parts.len()];
            for (n, part) in self.parts.iter().enumerate() {
                let size = self.size_of(part, &places)?;
                settled[n] = (at, size);
                at = at.checked_add(size).ok_or(Unfit::TooMany("more bytes than a file can have"))?;
            }
            if header.len() as u64 > MAX_HEADER {
                return Err(Unfit::TooMany("a header of over 16 MiB"));
            }
            if header.len() as u64 == length && settled == places {
                return Ok(Settled { header, hash_at, places });
            }
            (length, places) = (header.len() as u64, settled);
        }
    }

    fn place(&self, name: &str, places: &[(u64, u64)]) -> Result<Vec<u8>, Unfit> {
        let n = *self.names.get(name).ok_or_else(|| Unfit::NoSuchSection(name.to_string()))?;
        let mut out = Vec::new();
        put_place(&mut out, places[n], self.count_of(&self.parts[n]));
        Ok(out)
    }

    fn count_of(&self, part: &Part) -> u64 {
        part.count + u64::from(self.sign_sections && part.count > 0)
    }

    fn size_of(&self, part: &Part, places: &[(u64, u64)]) -> Result<u64, Unfit> {
        let mut size: u64 =
            if self.sign_sections && part.count > 0 { signature_field().len() as u64 + 64 + 1 } else { 0 };
        for piece in &part.pieces.0 {
            let more = match piece {
                Piece::Bytes(bytes) => bytes.len() as u64,
                Piece::From(_, range) => range.end - range.start,
                Piece::Place(name) => self.place(name, places)?.len() as u64,
                Piece::Signature => 64,
            };
            // Then it is found to be too much where the places are settled.
            size = size.saturating_add(more);
        }
        Ok(size)
    }

    /// The header, and where its hash is in it.
    fn header(&self, length: u64, places: &[(u64, u64)]) -> (Vec<u8>, usize) {
        let mut out = MAGIC.to_vec();
        let put = |out: &mut Vec<u8>, marker: u8, value: u64| {
            out.push(marker);
            put_sized(out, value.into());
        };
        put(&mut out, b'b', if self.in_bytes { length } else { length * 8 });
        put(&mut out, b'z', 2);
        put(&mut out, b'y', 1);
        if let Some(time) = self.time {
            let mut pieces = Pieces::default();
            put_value(&mut pieces, &Value::Time(time), None).expect("it was checked when it was given");
            pieces.0.iter().for_each(|piece| match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                _ => unreachable!("a time is nothing but bytes"),
            });
        }
        let hash_at = out.len() + b"hb3\x1F".len();
        match &self.seal {
            Seal::None => {}
            Seal::Hash => out.extend_from_slice(&[b"hb3\x1F", &[0; 32][..]].concat()),
            Seal::Signature(key) => {
                out.extend_from_slice(&[b"ke3\x1F", &key.verifying_key().to_bytes()[..]].concat());
            }
        }
        put(&mut out, b'n', self.parts.len() as u64);
        for (part, place) in self.parts.iter().zip(places) {
            out.extend_from_slice(b"(d");
            put_sized(&mut out, part.name.len() as u128);
            out.extend_from_slice(part.name.as_bytes());
            put_place(&mut out, *place, self.count_of(part));
            out.push(b')');
        }
        out.push(b'>');
        (out, hash_at)
    }

    /// All pieces with their places filled in, and room for signatures.
    fn plan(&self, settled: Settled) -> Result<Plan, Unfit> {
        let Settled { header, hash_at, places } = settled;
        let mut bodies = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut body = Pieces::default();
            for piece in &part.pieces.0 {
                match piece {
                    Piece::Place(name) => body.put(&self.place(name, &places)?),
                    Piece::Bytes(bytes) => body.put(bytes),
                    other => body.0.push(other.clone()),
                }
            }
            if self.sign_sections && part.count > 0 {
                let Some(Piece::Bytes(last)) = body.0.last_mut() else {
                    unreachable!("it ends with a bracket")
                };
                last.pop();
                body.put(&signature_field());
                body.0.push(Piece::Signature);
                body.put(b")]");
            }
            bodies.push(body);
        }
        Ok(Plan { header, hash_at, bodies, trailer: Vec::new() })
    }
}

/// `o`, `b`, `n`.
fn put_place(out: &mut Vec<u8>, (offset, size): (u64, u64), count: u64) {
    for (marker, value) in [(b'o', offset), (b'b', size), (b'n', count)] {
        out.push(marker);
        put_sized(out, value.into());
    }
}
