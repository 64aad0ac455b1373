//! Hashes and signatures, by the rules of the dialect that a file is in.
//!
//! A hash stands inside of what it covers; where it stands, the covered bytes count as zeros. The provenance hash
//! also counts as zeros whatever looks like a signature, anywhere in the file, payloads included: that is how its
//! writers compute it. What no rule or no key is known for is reported as unverified, never as right.
//!
//! A key in the file says nothing about who that is: whoever changes a file can sign it anew, with a key of theirs. Who
//! made a file is known only to those who give the keys that they trust. Then one of these has to have signed it.

use std::ops::Range;

use ed25519_dalek::{Signature, VerifyingKey};

use super::file::{File, Label};
use super::input::Input;
use super::section;
use super::value::{Algorithm, Item, Sealed, Value};
use crate::error::Result;
use crate::finding::{Finding, Severity};

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    /// The hash of the file, in the header (`hb`).
    FileHash,
    /// The hash of what the file was made from (`hp`).
    Provenance,
    /// The signature of the file.
    FileSignature,
    /// The hash of a section's bytes, in its label.
    Content(String),
    /// The signature of a section.
    Section(String),
}

/// How the check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bytes are those that were sealed.
    Right,
    /// They are not.
    Wrong,
    /// They are, by the file's own key, which is none of those that were given.
    Stranger,
    /// A signature is not there that should be, for this reason.
    Missing(&'static str),
    /// That cannot be told, for this reason.
    Unverified(&'static str),
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub sealing: Sealing,
    /// How it went.
    pub outcome: Outcome,
    /// Whose signature it is, where it is one and fits the bytes.
    pub signer: Option<VerifyingKey>,
}

impl Check {
    /// What is to be reported, if anything is.
    pub fn finding(&self) -> Option<Finding> {
        let (path, what) = match &self.sealing {
            Sealing::FileHash => ("", "the hash of the file"),
            Sealing::Provenance => ("", "the provenance hash"),
            Sealing::FileSignature => ("", "the signature of the file"),
            Sealing::Content(label) => (label.as_str(), "the hash of the section"),
            Sealing::Section(label) => (label.as_str(), "the signature of the section"),
        };
        match self.outcome {
            Outcome::Right => None,
            Outcome::Stranger => {
                let key = self.signer.map(|key| super::show::hex(key.as_bytes())).unwrap_or_default();
                let text = format!("{what} is by none of the given keys, but by {key}");
                let remedy =
                    "ask its maker whether that is their key; otherwise it is not the file that they made";
                Some(Finding::new(Severity::Error, "vsf-signer", path, text, remedy))
            }
            Outcome::Missing(why) => {
                let text = format!("{what} is missing: {why}");
                let remedy = "ask its maker for the signed file; this one may have been changed";
                Some(Finding::new(Severity::Error, "vsf-unsigned", path, text, remedy))
            }
            Outcome::Wrong => {
                let text = format!("{what} does not fit the bytes: they were changed after it was made");
                let remedy = "restore the file from a backup, or ask its maker";
                Some(Finding::new(Severity::Error, "vsf-seal", path, text, remedy))
            }
            Outcome::Unverified(why) => {
                let text = format!("{what} was not verified: {why}");
                Some(Finding::new(Severity::Notice, "vsf-unverified", path, text, "nothing has to be done"))
            }
        }
    }
}

const NO_KEY: &str = "the key is not in the file";
const CUT: &str = "the header names the key of a signer, and nothing is signed by it";
const NOT_BY_THESE: &str = "none of the given keys has signed all of the file";
const TOO_MUCH: &str = "there are more seals than a file of its size can need";
const NO_RULE: &str = "no rule is known for this algorithm";

/// Letters behind `g` of the signatures that the provenance hash leaves out; writers knew fewer at first.
const LETTERS: [&[u8]; 3] = [b"eprmfsd", b"epr", b"e"];

/// Checks everything that can be checked; reads all of the file, for some rules more than once. Where there are
/// `keys`, one of them has to have signed the file, and no other key makes a signature right; where there are none,
/// those in the file are tried. `progress` is told how many bytes were read.
pub fn verify(
    input: &(impl Input + ?Sized),
    file: &File,
    keys: &[VerifyingKey],
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Check>> {
    let left = file.size.saturating_mul(64).saturating_add(1 << 30);
    let keys = Keys::of(file, keys);
    let mut verifier = Verifier { input: &input, file, keys, progress, checks: Vec::new(), left };
    verifier.header()?;
    for label in &file.labels {
        verifier.label(label)?;
    }
    verifier.trailing()?;
    verifier.missing();
    Ok(verifier.checks)
}

/// Checks the signature that is the last field of a section that was read, as our own writer makes them. `keys` are as
/// for [`verify`].
pub fn verify_section(
    input: &(impl Input + ?Sized),
    file: &File,
    label: &Label,
    body: &section::Body,
    keys: &[VerifyingKey],
) -> Result<Option<Check>> {
    let signature = body.section.fields.last().filter(|field| field.name == b"signature");
    let Some([item]) = signature.map(|field| &field.values[..]) else { return Ok(None) };
    let Value::Signature(sealed) = &item.value else { return Ok(None) };
    let mut ignored = |_| ();
    let keys = Keys::of(file, keys);
    let mut verifier =
        Verifier { input: &input, file, keys, progress: &mut ignored, checks: Vec::new(), left: 0 };
    let hole = hole(item, sealed);
    let (hash, _) = verifier.hash(body.section.span.clone(), &[hole], &[])?;
    let (outcome, signer) = verifier.signature(sealed, hash.as_bytes())?;
    Ok(Some(Check { sealing: Sealing::Section(label.title()), outcome, signer }))
}

/// How the check of a signature went, and whose it is.
type Signed = (Outcome, Option<VerifyingKey>);

struct Verifier<'a> {
    input: &'a dyn Input,
    file: &'a File,
    keys: Keys,
    progress: &'a mut dyn FnMut(u64),
    checks: Vec<Check>,
    /// How many more bytes may be hashed for labels, which can all refer to the whole file.
    left: u64,
}

/// Where the bytes of a hash or signature lie: at the end of its value.
fn hole(item: &Item, sealed: &Sealed) -> Range<u64> {
    item.span.end - sealed.data.len()..item.span.end
}

/// The keys that signatures are tried with.
#[derive(Debug, Clone, Default)]
struct Keys {
    /// Of which one has to have signed, if there are any.
    given: Vec<VerifyingKey>,
    /// Those in the file.
    good: Vec<VerifyingKey>,
    /// Whether there is one by which nothing can have been signed: about half of all changes make such of a key.
    broken: bool,
}

impl Keys {
    fn of(file: &File, given: &[VerifyingKey]) -> Keys {
        let mut keys = Keys { given: given.to_vec(), ..Keys::default() };
        keys.add(&file.header.items);
        keys
    }

    fn add(&mut self, items: &[Item]) {
        for item in items {
            let Value::Key(Sealed { algorithm: Algorithm::Letter(b'e') | Algorithm::Unsaid, data }) =
                &item.value
            else {
                continue;
            };
            let key = data.bytes().and_then(|bytes| VerifyingKey::from_bytes(bytes.try_into().ok()?).ok());
            self.broken |= key.is_none();
            self.good.extend(key);
        }
    }

    fn is_empty(&self) -> bool {
        self.given.is_empty() && self.good.is_empty() && !self.broken
    }
}

impl Verifier<'_> {
    fn add(&mut self, sealing: Sealing, outcome: Outcome) {
        self.checks.push(Check { sealing, outcome, signer: None });
    }

    fn add_signature(&mut self, sealing: Sealing, (outcome, signer): Signed) {
        self.checks.push(Check { sealing, outcome, signer });
    }

    /// A signature of all bytes that should be there.
    fn missing(&mut self) {
        // From format 5 on, what a label has covers the file.
        let whole = self.file.header.version().is_some_and(|z| z > 4);
        let covers = |check: &&Check| match check.sealing {
            Sealing::FileSignature => true,
            Sealing::Section(_) => whole,
            _ => false,
        };
        let mut covering = self.checks.iter().filter(covers);
        let why = if !self.keys.given.is_empty() {
            let told = |check: &Check| !matches!(check.outcome, Outcome::Unverified(_) | Outcome::Missing(_));
            (!covering.any(told)).then_some(NOT_BY_THESE)
        } else {
            let named = !self.keys.good.is_empty() || self.keys.broken;
            (named && covering.next().is_none()).then_some(CUT)
        };
        if let Some(why) = why {
            self.add(Sealing::FileSignature, Outcome::Missing(why));
        }
    }

    fn header(&mut self) -> Result<()> {
        let items = &self.file.header.items;
        let hash = |letter: u8| {
            items.iter().find_map(|item| match &item.value {
                Value::Hash(sealed) if sealed.algorithm == Algorithm::Letter(letter) => Some((item, sealed)),
                _ => None,
            })
        };
        let rolling = hash(b'b').map(|(item, sealed)| (hole(item, sealed), sealed));
        if let Some((hole, sealed)) = &rolling {
            let right = self.any_extent(&mut |this, end| {
                Ok(is(sealed, &this.hash(0..end, std::slice::from_ref(hole), &[])?.0))
            })?;
            self.add(Sealing::FileHash, right);
        }
        if let Some((item, sealed)) = hash(b'p') {
            let mut holes = vec![hole(item, sealed)];
            holes.extend(rolling.map(|(hole, _)| hole));
            let right = self.any_extent(&mut |this, end| this.provenance(sealed, &holes, end))?;
            self.add(Sealing::Provenance, right);
        }
        for item in items {
            if let Value::Signature(sealed) = &item.value {
                let whole = 0..self.file.size;
                let (hash, _) = self.hash(whole, &[hole(item, sealed)], &[])?;
                let signed = self.signature(sealed, hash.as_bytes())?;
                self.add_signature(Sealing::FileSignature, signed);
            }
        }
        Ok(())
    }

    /// A hash covers the whole file, or in one that was appended to, as much as its header says.
    fn any_extent(&mut self, check: &mut dyn FnMut(&mut Self, u64) -> Result<bool>) -> Result<Outcome> {
        let declared = self.file.header.declared_size().filter(|l| *l < self.file.size);
        for end in [Some(self.file.size), declared].into_iter().flatten() {
            if check(self, end)? {
                return Ok(Outcome::Right);
            }
        }
        Ok(Outcome::Wrong)
    }

    fn provenance(&mut self, sealed: &Sealed, holes: &[Range<u64>], end: u64) -> Result<bool> {
        for letters in LETTERS {
            let (hash, signatures) = self.hash(0..end, holes, letters)?;
            if is(sealed, &hash) {
                return Ok(true);
            }
            if signatures == 0 {
                break;
            }
        }
        Ok(false)
    }

    fn label(&mut self, label: &Label) -> Result<()> {
        let Ok(range) = self.file.range(label) else { return Ok(()) };
        for item in &label.values {
            let sealing = match item.value {
                Value::Hash(_) => Sealing::Content(label.title()),
                Value::Signature(_) => Sealing::Section(label.title()),
                _ => continue,
            };
            // A signature covers the file.
            let cost =
                if matches!(item.value, Value::Hash(_)) { range.end - range.start } else { self.file.size };
            let Some(left) = self.left.checked_sub(cost) else {
                self.add(sealing, Outcome::Unverified(TOO_MUCH));
                continue;
            };
            self.left = left;
            match &item.value {
                Value::Hash(sealed) if sealed.algorithm == Algorithm::Letter(b'b') => {
                    let (hash, _) = self.hash(range.clone(), &[], &[])?;
                    let outcome = if is(sealed, &hash) { Outcome::Right } else { Outcome::Wrong };
                    self.add(sealing, outcome);
                }
                Value::Hash(_) => self.add(sealing, Outcome::Unverified(NO_RULE)),
                Value::Signature(sealed) => {
                    let signed = self.label_signature(label, item, sealed, range.clone())?;
                    self.add_signature(sealing, signed);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// To format 4 the section's own bytes are signed, later the hash of the file.
    fn label_signature(
        &mut self,
        label: &Label,
        item: &Item,
        sealed: &Sealed,
        range: Range<u64>,
    ) -> Result<Signed> {
        let own = self.keys.clone();
        self.keys.add(&label.values);
        let raw = self.file.header.version().is_some_and(|z| z <= 4);
        let outcome = if raw && !self.keys.is_empty() {
            match self.input_range(range)? {
                Some(bytes) => self.signature(sealed, &bytes)?,
                None => (Outcome::Unverified("the section is too large to verify in one piece"), None),
            }
        } else {
            let whole = 0..self.file.size;
            let (hash, _) = self.hash(whole, &[hole(item, sealed)], &[])?;
            self.signature(sealed, hash.as_bytes())?
        };
        self.keys = own;
        Ok(outcome)
    }

    fn input_range(&self, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        if range.end - range.start > 256 << 20 {
            return Ok(None);
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.input.read_at(range.start, &mut bytes)?;
        Ok(Some(bytes))
    }

    fn trailing(&mut self) -> Result<()> {
        let Some(field) = self.file.trailing.as_ref().and_then(|t| t.field.as_ref()) else { return Ok(()) };
        let [item] = &field.values[..] else { return Ok(()) };
        let Value::Signature(sealed) = &item.value else { return Ok(()) };
        let (hash, _) = self.hash(0..self.file.size, &[hole(item, sealed)], &[])?;
        let signed = self.signature(sealed, hash.as_bytes())?;
        self.add_signature(Sealing::FileSignature, signed);
        Ok(())
    }

    fn signature(&self, sealed: &Sealed, message: &[u8]) -> Result<Signed> {
        let known = matches!(sealed.algorithm, Algorithm::Letter(b'e') | Algorithm::Unsaid);
        let bytes = sealed.data.bytes().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|_| known) else { return Ok((Outcome::Unverified(NO_RULE), None)) };
        if self.keys.is_empty() {
            return Ok((Outcome::Unverified(NO_KEY), None));
        }
        let signature = Signature::from_bytes(&bytes);
        let signer = |keys: &[VerifyingKey]| {
            keys.iter().find(|key| key.verify_strict(message, &signature).is_ok()).copied()
        };
        let (given, own) = (signer(&self.keys.given), signer(&self.keys.good));
        let outcome = match own {
            _ if given.is_some() => Outcome::Right,
            Some(_) if self.keys.given.is_empty() => Outcome::Right,
            Some(_) => Outcome::Stranger,
            None if sealed.algorithm == Algorithm::Unsaid => Outcome::Unverified(NO_RULE),
            None => Outcome::Wrong,
        };
        Ok((outcome, given.or(own)))
    }

    /// The BLAKE3 hash of `range` with zeros in `holes`, and in the bytes of whatever looks like a signature of one
    /// of `letters`; and how many of those there were.
    fn hash(
        &mut self,
        range: Range<u64>,
        holes: &[Range<u64>],
        letters: &[u8],
    ) -> Result<(blake3::Hash, u64)> {
        const STEP: u64 = 1 << 20;
        // A signature's head: its two letters, a size marker and up to sixteen bytes.
        const HEAD: u64 = 19;
        let mut hasher = blake3::Hasher::new();
        let (mut at, mut zero_until, mut signatures) = (range.start, range.start, 0);
        let mut buf = Vec::new();
        while at < range.end {
            let len = STEP.min(range.end - at) as usize;
            let seen = (STEP + HEAD).min(range.end - at) as usize;
            buf.resize(seen, 0);
            self.input.read_at(at, &mut buf)?;
            let mut next = (zero_until.saturating_sub(at)).min(seen as u64) as usize;
            buf[..next].fill(0);
            while let Some(found) = find_signature(&buf[next.min(len)..], len - next.min(len), letters) {
                let start = at + (next + found.start) as u64;
                next += found.head_only();
                if start + found.len > range.end {
                    continue;
                }
                signatures += 1;
                zero_until = start + found.len;
                let end = (zero_until - at).min(seen as u64) as usize;
                let from = (start - at).min(seen as u64) as usize;
                buf[from..end].fill(0);
                next = end;
            }
            for hole in holes {
                let from = hole.start.clamp(at, at + len as u64) - at;
                let to = hole.end.clamp(at, at + len as u64) - at;
                buf[from as usize..to as usize].fill(0);
            }
            hasher.update(&buf[..len]);
            (self.progress)(len as u64);
            at += len as u64;
        }
        Ok((hasher.finalize(), signatures))
    }
}

/// What looks like a signature.
struct Lookalike {
    /// Where its `g` stands.
    head: usize,
    /// Where its bytes begin.
    start: usize,
    /// How many they are.
    len: u64,
}

impl Lookalike {
    /// Where to look on if it is none after all.
    fn head_only(&self) -> usize {
        self.head + 1
    }
}

/// The first `g`, one of `letters`, and a length, whose `g` is among the first `within` bytes.
fn find_signature(bytes: &[u8], within: usize, letters: &[u8]) -> Option<Lookalike> {
    if letters.is_empty() {
        return None;
    }
    let mut from = 0;
    while let Some(n) = bytes[from..within].iter().position(|b| *b == b'g') {
        let head = from + n;
        from = head + 1;
        let Some([letter, marker]) = bytes.get(head + 1..head + 3) else { continue };
        let Some(width) = super::input::width_of(*marker).filter(|_| letters.contains(letter)) else {
            continue;
        };
        let Some(number) = bytes.get(head + 3..head + 3 + width) else { continue };
        let less_one = number.iter().fold(0u128, |v, b| v << 8 | u128::from(*b));
        if let Some(len) = u64::try_from(less_one).ok().and_then(|n| n.checked_add(1))
            && len < 1 << 62
        {
            return Some(Lookalike { head, start: head + 3 + width, len });
        }
    }
    None
}

fn is(sealed: &Sealed, hash: &blake3::Hash) -> bool {
    sealed.data.bytes() == Some(hash.as_bytes())
}
