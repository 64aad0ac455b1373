//! Who a file says has signed it: told without reading more than its header, and so without a check.
//!
//! Signatures within sections are not among them; `verify` finds these too.

use serde::Serialize;

use super::file::File;
use super::show::hex;
use super::value::{Algorithm, Item, Sealed, Value};

/// What a file claims about who has signed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The public keys in it, in hexadecimal.
    pub keys: Vec<String>,
    /// How many signatures its header and its end have.
    pub signatures: u64,
    /// Whether any of that was checked: never.
    pub verified: bool,
}

/// The most keys that are told of a file: more than any writer puts there.
const ENOUGH: usize = 100;

impl Claims {
    /// Those of a file; `None` where it claims nothing.
    pub fn of(file: &File) -> Option<Claims> {
        let mut claims = Claims::default();
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
        match (self.keys.len(), self.signatures) {
            (0, _) => {
                "by somebody whose key is not in the file; `vaso verify --key KEY` checks whose it is".into()
            }
            (_, 0) => format!("by nobody, as far as its header tells; it names the key {keys}"),
            (1, _) => format!("by {keys}, as the file says{unchecked}"),
            _ => format!("by one or more of {keys}, as the file says{unchecked}"),
        }
    }
}
