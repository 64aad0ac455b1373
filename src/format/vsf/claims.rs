//! Who a file says has signed it: told without reading more than its header and the ends of its first sections, and so
//! without a check.
//!
//! A signature that stands anywhere but last in its section is not among them, nor one of a section behind [`LOOK`] others;
//! `verify` finds these too. A section that merely ends like a signed one counts as signed: it is a claim.

use serde::Serialize;

use super::file::{File, Kind, Label};
use super::input::Input;
use super::show::hex;
use super::value::{Algorithm, Item, Sealed, Value};

/// What a file claims about who has signed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The public keys in it, in hexadecimal.
    pub keys: Vec<String>,
    /// How many signatures its header and its end have.
    pub signatures: u64,
    /// How many of its sections end in a signature, of those that were looked at.
    #[serde(skip_serializing_if = "is_zero")]
    pub sections: u64,
    /// Whether any of that was checked: never.
    pub verified: bool,
}

/// The most keys that are told of a file: more than any writer puts there.
const ENOUGH: usize = 100;

/// The most sections whose ends are looked at, and how many bytes of each.
const LOOK: usize = 1000;
const END: u64 = 256;

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Whether a section ends in a field that is a signature, by its looks: where its bytes cannot be read, it does not.
fn ends_signed(file: &File, input: &dyn Input, label: &Label) -> bool {
    let Ok(range) = file.range(label) else { return false };
    let mut end = vec![0; END.min(range.end - range.start) as usize];
    let read = input.read_at(range.end - end.len() as u64, &mut end);
    let field = b"d3\x09signature:g";
    read.is_ok() && end.windows(field.len()).any(|bytes| bytes == field)
}

impl Claims {
    /// Those of a file; `None` where it claims nothing.
    pub fn of(file: &File, input: &dyn Input) -> Option<Claims> {
        let sections = file.labels.iter().filter(|label| label.kind() == Kind::Section).take(LOOK);
        let signed = sections.filter(|label| ends_signed(file, input, label)).count() as u64;
        let mut claims = Claims { sections: signed, ..Claims::default() };
        for file in [Some(file), file.earlier.as_deref()].into_iter().flatten() {
            let of_labels = file.labels.iter().filter(|label| label.reference.is_some());
            let trailing = file.trailing.iter().filter_map(|trailing| trailing.field.as_ref());
            let items = file.header.items.iter().chain(of_labels.flat_map(|label| &label.values));
            items.chain(trailing.flat_map(|field| &field.values)).for_each(|item| claims.add(item));
        }
        (claims != Claims::default()).then_some(claims)
    }

    fn add(&mut self, item: &Item) {
        match &item.value {
            Value::Signature(_) => self.signatures += 1,
            Value::Key(Sealed { algorithm: Algorithm::Letter(b'e') | Algorithm::Unsaid, data }) => {
                let key = data.bytes().filter(|bytes| bytes.len() == 32).map(hex);
                self.keys.extend(key.filter(|key| self.keys.len() < ENOUGH && !self.keys.contains(key)));
            }
            _ => {}
        }
    }

    /// The same in words.
    pub fn text(&self) -> String {
        let keys = self.keys.join(", ");
        let unchecked = "; `vaso verify` checks that, and it was not checked here";
        let whole = match (self.keys.len(), self.signatures) {
            (0, 0) => String::new(),
            (0, _) => {
                "by somebody whose key is not in the file; `vaso verify --key KEY` checks whose it is".into()
            }
            (_, 0) => format!("by nobody, as far as its header tells; it names the key {keys}"),
            (1, _) => format!("by {keys}, as the file says{unchecked}"),
            _ => format!("by one or more of {keys}, as the file says{unchecked}"),
        };
        let sections = match self.sections {
            0 => String::new(),
            1 => format!("one section ends in a signature{unchecked}"),
            n => format!("{n} sections end in a signature{unchecked}"),
        };
        [whole, sections].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    }
}
