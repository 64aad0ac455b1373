//! The key of a row: what a place in a table is made of.
//!
//! Keys are compared as SQLite does: nothing, numbers, text, bytes; a whole number and one with a fraction by
//! their exact values.

use std::cmp::Ordering;

use rusqlite::types::ValueRef;

use crate::tree::Place;

/// The longest key that is not a number.
const LONGEST: usize = 1024;

/// One column of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Key {
    /// How this one stands to that of another row.
    pub fn compare(&self, other: ValueRef<'_>) -> Ordering {
        match (self, other) {
            (Key::Real(a), ValueRef::Real(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Key::Integer(a), ValueRef::Integer(b)) => a.cmp(&b),
            (Key::Integer(a), ValueRef::Real(b)) => exactly(*a, b),
            (Key::Real(a), ValueRef::Integer(b)) => exactly(b, *a).reverse(),
            (Key::Text(a), ValueRef::Text(b)) | (Key::Blob(a), ValueRef::Blob(b)) => a.as_slice().cmp(b),
            _ => self.class().cmp(&class(other)),
        }
    }

    fn class(&self) -> u8 {
        match self {
            Key::Null => 0,
            Key::Integer(_) | Key::Real(_) => 1,
            Key::Text(_) => 2,
            Key::Blob(_) => 3,
        }
    }

    /// Becomes the key of another row; `false` if it is too long to be one.
    pub fn set(&mut self, cell: ValueRef<'_>) -> bool {
        *self = match cell {
            ValueRef::Null => Key::Null,
            ValueRef::Integer(i) => Key::Integer(i),
            ValueRef::Real(r) => Key::Real(r),
            ValueRef::Text(b) | ValueRef::Blob(b) if b.len() > LONGEST => return false,
            ValueRef::Text(t) => Key::Text(t.to_vec()),
            ValueRef::Blob(b) => Key::Blob(b.to_vec()),
        };
        true
    }

    /// A place behind the row with these keys.
    pub fn encode(keys: &[Key]) -> Place {
        let mut out = Vec::new();
        for key in keys {
            out.push(b"nirtb"[key.tag()]);
            match key {
                Key::Null => {}
                Key::Integer(i) => out.extend_from_slice(&i.to_le_bytes()),
                Key::Real(r) => out.extend_from_slice(&r.to_le_bytes()),
                Key::Text(b) | Key::Blob(b) => {
                    out.extend_from_slice(&(b.len() as u16).to_le_bytes());
                    out.extend_from_slice(b);
                }
            }
        }
        Place(out)
    }

    fn tag(&self) -> usize {
        match self {
            Key::Null => 0,
            Key::Integer(_) => 1,
            Key::Real(_) => 2,
            Key::Text(_) => 3,
            Key::Blob(_) => 4,
        }
    }

    /// The keys of a place: none at the front, else `count`; `None` if it is no place of this table.
    pub fn decode(place: &Place, count: usize) -> Option<Vec<Key>> {
        let mut rest = place.0.as_slice();
        let mut keys = Vec::new();
        while let Some((tag, after)) = rest.split_first() {
            let (key, after) = match tag {
                b'n' => (Key::Null, after),
                b'i' => after.split_first_chunk().map(|(b, r)| (Key::Integer(i64::from_le_bytes(*b)), r))?,
                b'r' => after.split_first_chunk().map(|(b, r)| (Key::Real(f64::from_le_bytes(*b)), r))?,
                b't' | b'b' => {
                    let (len, after) = after.split_first_chunk()?;
                    let (bytes, after) = after.split_at_checked(u16::from_le_bytes(*len).into())?;
                    let bytes = bytes.to_vec();
                    (if *tag == b't' { Key::Text(bytes) } else { Key::Blob(bytes) }, after)
                }
                _ => return None,
            };
            keys.push(key);
            rest = after;
        }
        (keys.is_empty() || keys.len() == count).then_some(keys)
    }
}

fn class(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

/// Compares without rounding.
fn exactly(integer: i64, real: f64) -> Ordering {
    if real.is_nan() {
        return Ordering::Greater;
    }
    // Beyond any whole number of 64 bits, infinities included, this saturates on the right side.
    let whole = real.trunc() as i128;
    i128::from(integer).cmp(&whole).then_with(|| 0.0.partial_cmp(&real.fract()).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_as_sqlite_does() {
        let c = rusqlite::Connection::open_in_memory().unwrap();
        let all = [
            Key::Null,
            Key::Real(f64::NEG_INFINITY),
            Key::Integer(i64::MIN),
            Key::Real(-2.5),
            Key::Integer(-2),
            Key::Real(-0.0),
            Key::Integer(0),
            Key::Real(0.5),
            Key::Integer(1 << 53),
            Key::Integer((1 << 53) + 1),
            Key::Real(((1i64 << 53) + 2) as f64),
            Key::Integer(i64::MAX),
            Key::Real(9.3e18),
            Key::Real(f64::INFINITY),
            Key::Text(b"".to_vec()),
            Key::Text(b"a".to_vec()),
            Key::Blob(b"".to_vec()),
            Key::Blob(b"a".to_vec()),
        ];
        for a in &all {
            for b in &all {
                let less = "select (?1 is null and ?2 is not null) or coalesce(?1 < ?2, 0)";
                let less: bool = c.query_row(less, [a, b], |row| row.get(0)).unwrap();
                let output = rusqlite::ToSql::to_sql(b).unwrap();
                let rusqlite::types::ToSqlOutput::Borrowed(value) = output else { panic!() };
                assert_eq!(a.compare(value) == Ordering::Less, less, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_place_reads_back() {
        let keys = vec![Key::Real(1.5), Key::Text(b"x".to_vec()), Key::Null, Key::Integer(-1)];
        let place = Key::encode(&keys);
        assert_eq!(Key::decode(&place, 4), Some(keys));
        assert_eq!(Key::decode(&place, 3), None);
        assert_eq!(Key::decode(&Place::default(), 3), Some(Vec::new()));
        for cut in 1..place.0.len() {
            assert_eq!(Key::decode(&Place(place.0[..cut].to_vec()), 4), None);
        }
        assert_eq!(Key::decode(&Place(vec![b'?']), 1), None);
    }
}
