//! One record: the types of its values, and the values.
//!
//! Invariant: a record is read only when its head and the lengths that its types stand for are together exactly as
//! long as its payload; anything else is no record.

use std::cmp::Ordering;

use super::page::varint;
use crate::tree::Cell as Value;

/// How a database writes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

impl Encoding {
    /// Text as UTF-8; what is none in UTF-16 becomes U+FFFD.
    pub fn utf8(self, text: &[u8]) -> Vec<u8> {
        let unit: fn([u8; 2]) -> u16 = match self {
            Encoding::Utf8 => return text.to_vec(),
            Encoding::Utf16Le => u16::from_le_bytes,
            Encoding::Utf16Be => u16::from_be_bytes,
        };
        let units = text.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect::<String>().into_bytes()
    }

    /// What SQLite calls it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16Le => "UTF-16le",
            Encoding::Utf16Be => "UTF-16be",
        }
    }

    /// Whether these bytes can be text in it.
    pub fn can_be(self, text: &[u8]) -> bool {
        self == Encoding::Utf8 || text.len().is_multiple_of(2)
    }
}

/// The bytes that a value of a type takes; `None` for types that do not exist.
fn size(serial: u64) -> Option<u64> {
    Some(match serial {
        0 | 8 | 9 => 0,
        1..=4 => serial,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => (serial - 12) / 2,
    })
}

/// The types of a record's values, and where the values begin.
#[derive(Debug, Default)]
pub struct Types {
    /// One for each value.
    pub serials: Vec<u64>,
    body: usize,
}

/// The most columns that SQLite can be compiled for.
const MOST_COLUMNS: usize = 32767;

impl Types {
    /// How long the head of the record that begins with `front` is, its own length included.
    pub fn len(front: &[u8]) -> Option<u64> {
        let (len, own) = varint(front)?;
        (len >= own as u64 && len <= 9 * (MOST_COLUMNS as u64 + 1)).then_some(len)
    }

    /// Reads the head of a record whose payload is `payload` long and begins with `front`.
    pub fn read(&mut self, front: &[u8], payload: u64) -> Option<()> {
        self.serials.clear();
        let len = usize::try_from(Types::len(front)?).ok()?;
        let head = front.get(..len)?;
        let (_, mut at) = varint(head)?;
        let mut all = len as u64;
        while at < len {
            let (serial, n) = varint(&head[at..])?;
            at += n;
            all = all.checked_add(size(serial)?)?;
            self.serials.push(serial);
        }
        self.body = len;
        (all == payload && !self.serials.is_empty() && self.serials.len() <= MOST_COLUMNS).then_some(())
    }

    /// The values; `None` when the payload is shorter than its head said.
    pub fn values<'a>(&'a self, payload: &'a [u8]) -> impl Iterator<Item = Option<Value<'a>>> + 'a {
        let mut at = self.body;
        self.serials.iter().map(move |serial| {
            let len = usize::try_from(size(*serial)?).ok()?;
            let bytes = payload.get(at..at.checked_add(len)?)?;
            at += len;
            Some(value(*serial, bytes))
        })
    }

    /// The first `n` values of a payload, kept, of which long ones are kept only in front: no more than `most` bytes.
    /// What lies behind the end of `payload` is cut off, and nothing comes after that.
    pub fn key(&self, payload: &[u8], n: usize, most: usize) -> Option<Key> {
        let (mut at, mut key) = (self.body, Key::new());
        for serial in self.serials.iter().take(n) {
            let len = usize::try_from(size(*serial)?).ok()?;
            let end = at.checked_add(len)?;
            match payload.get(at..end) {
                Some(bytes) if *serial < 12 || len <= most => key.push(Part::of(value(*serial, bytes))),
                there => {
                    let rest = payload.get(at..).unwrap_or_default();
                    let front = if *serial < 12 { &[] } else { &rest[..rest.len().min(most)] };
                    key.push(Part::Cut { text: serial % 2 == 1, front: front.into() });
                    if there.is_none() {
                        break;
                    }
                }
            }
            at = end;
        }
        (key.len() == n || matches!(key.last(), Some(Part::Cut { .. }))).then_some(key)
    }

    /// How much of the payload the head takes.
    pub fn head(&self) -> u64 {
        self.body as u64
    }

    /// How much of the payload the first `n` values and the head take.
    pub fn front(&self, n: usize) -> u64 {
        let values: u64 = self.serials.iter().take(n).filter_map(|s| size(*s)).sum();
        self.body as u64 + values
    }
}

/// Calls `each` with the number and the value of every field of a record that is all there, and gives how many
/// there are. What was given of a record that turns out to be none is not to be used.
pub fn fields<'a>(payload: &'a [u8], mut each: impl FnMut(usize, Value<'a>)) -> Option<usize> {
    let (len, own) = varint(payload)?;
    let (head, mut body) = payload.split_at_checked(usize::try_from(len).ok()?)?;
    let mut types = head.get(own..)?;
    let mut count = 0;
    while let Some((first, rest)) = types.split_first() {
        let serial = match *first {
            one if one < 0x80 => {
                types = rest;
                u64::from(one)
            }
            _ => {
                let (serial, n) = varint(types)?;
                types = &types[n..];
                serial
            }
        };
        let (bytes, behind) = body.split_at_checked(usize::try_from(size(serial)?).ok()?)?;
        body = behind;
        each(count, value(serial, bytes));
        count += 1;
    }
    (body.is_empty() && (1..=MOST_COLUMNS).contains(&count)).then_some(count)
}

fn value(serial: u64, bytes: &[u8]) -> Value<'_> {
    match serial {
        0 => Value::Null,
        1..=6 => Value::Integer(signed(bytes)),
        7 => match f64::from_be_bytes(bytes.try_into().unwrap_or_default()) {
            // What SQLite itself makes of it.
            v if v.is_nan() => Value::Null,
            v => Value::Real(v),
        },
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        s if s % 2 == 0 => Value::Blob(bytes),
        _ => Value::Text(bytes),
    }
}

fn signed(bytes: &[u8]) -> i64 {
    let first = bytes.first().map_or(0, |b| i64::from(*b as i8));
    bytes.iter().skip(1).fold(first, |sum, byte| sum << 8 | i64::from(*byte))
}

/// A part of a key, kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text, as the database writes it.
    Text(Box<[u8]>),
    /// Bytes.
    Blob(Box<[u8]>),
    /// Nothing.
    Null,
    /// What begins so, and was not kept whole: text, or bytes; with no front it may be anything.
    Cut {
        /// Whether it is text.
        text: bool,
        /// How it begins.
        front: Box<[u8]>,
    },
}

/// A key: of a table WITHOUT ROWID its key columns, of another the row number.
pub type Key = Vec<Part>;

impl Part {
    /// A value, kept.
    pub fn of(value: Value<'_>) -> Part {
        match value {
            Value::Null => Part::Null,
            Value::Integer(v) => Part::Integer(v),
            Value::Real(v) => Part::Real(v),
            Value::Text(v) => Part::Text(v.into()),
            Value::Blob(v) => Part::Blob(v.into()),
        }
    }

    /// The value again.
    pub fn value(&self) -> Value<'_> {
        match self {
            Part::Null => Value::Null,
            Part::Integer(v) => Value::Integer(*v),
            Part::Real(v) => Value::Real(*v),
            Part::Text(v) => Value::Text(v),
            Part::Blob(v) => Value::Blob(v),
            Part::Cut { .. } => Value::Null,
        }
    }

    /// How many bytes it takes, at most.
    pub fn size(&self) -> usize {
        match self {
            Part::Null | Part::Cut { .. } => 0,
            Part::Integer(_) | Part::Real(_) => 8,
            Part::Text(bytes) | Part::Blob(bytes) => bytes.len(),
        }
    }

    /// Whether it was not kept whole.
    pub fn is_cut(&self) -> bool {
        matches!(self, Part::Cut { .. })
    }

    /// Whether nobody knows which comes first, because of what was not kept.
    fn is_undecided(&self, other: &Part, collation: Collation) -> bool {
        let begins = |front: &[u8], other: &Part| match other {
            _ if front.is_empty() => true,
            Part::Text(v) | Part::Blob(v) => v.starts_with(front),
            Part::Cut { front: v, .. } => v.starts_with(front) || front.starts_with(v),
            _ => false,
        };
        let same = |front: &[u8], other| front.is_empty() || self.rank() == Part::rank(other);
        if collation != Collation::Binary && (self.is_cut() || other.is_cut()) && self.rank() == other.rank()
        {
            return true;
        }
        match (self, other) {
            (Part::Cut { front, .. }, other) => same(front, other) && begins(front, other),
            (_, Part::Cut { front, .. }) => same(front, other) && begins(front, self),
            _ => false,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Part::Null => 0,
            Part::Integer(_) | Part::Real(_) => 1,
            Part::Text(_) => 2,
            Part::Blob(_) => 3,
            Part::Cut { text, .. } => 3 - u8::from(*text),
        }
    }

    fn order(&self, other: &Part, sort: Sort) -> Ordering {
        let order = match (sort.collation, self, other) {
            (Collation::Binary, ..) => self.plain_order(other),
            (collation, Part::Text(a), Part::Text(b)) => collation.order(a, b),
            _ => self.plain_order(other),
        };
        if sort.descending { order.reverse() } else { order }
    }

    fn plain_order(&self, other: &Part) -> Ordering {
        match (self, other) {
            (Part::Integer(a), Part::Integer(b)) => a.cmp(b),
            (Part::Real(a), Part::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Part::Integer(a), Part::Real(b)) => whole_and_real(*a, *b),
            (Part::Real(a), Part::Integer(b)) => whole_and_real(*b, *a).reverse(),
            (Part::Text(a), Part::Text(b)) | (Part::Blob(a), Part::Blob(b)) => a.cmp(b),
            (Part::Cut { front: a, .. }, Part::Text(b) | Part::Blob(b)) if self.rank() == other.rank() => {
                a.cmp(b).then(Ordering::Greater)
            }
            (Part::Text(a) | Part::Blob(a), Part::Cut { front: b, .. }) if self.rank() == other.rank() => {
                a.cmp(b).then(Ordering::Less)
            }
            (Part::Cut { front: a, .. }, Part::Cut { front: b, .. }) if self.rank() == other.rank() => {
                a.cmp(b)
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// The order of a whole number and one with a fraction, exact where a conversion would round.
fn whole_and_real(a: i64, b: f64) -> Ordering {
    if b >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if b < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    let whole = b.trunc();
    a.cmp(&(whole as i64)).then(whole.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// The rule by which texts stand in order, and which of them are the same. SQLite has three of its own, and reads text as
/// UTF-8 for all but the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Collation {
    /// By the bytes, as the database writes them.
    #[default]
    Binary,
    /// By the bytes, the letters of ASCII without regard to case. Behind a zero in both, lengths alone count.
    NoCase,
    /// By the bytes, without spaces at the end.
    Rtrim,
}

impl Collation {
    /// By its name; none for one that SQLite does not have by itself.
    pub fn named(name: &str) -> Option<Collation> {
        match name.to_ascii_uppercase().as_str() {
            "BINARY" => Some(Collation::Binary),
            "NOCASE" => Some(Collation::NoCase),
            "RTRIM" => Some(Collation::Rtrim),
            _ => None,
        }
    }

    fn order(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Collation::Binary => a.cmp(b),
            Collation::Rtrim => {
                let trimmed = |text: &[u8]| text.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1);
                a[..trimmed(a)].cmp(&b[..trimmed(b)])
            }
            Collation::NoCase => {
                let lower = |(a, b): (&u8, &u8)| (a.to_ascii_lowercase(), b.to_ascii_lowercase());
                let decides = |(a, b): &(u8, u8)| a != b || *a == 0;
                let first = a.iter().zip(b).map(lower).find(decides);
                first.map_or(Ordering::Equal, |(a, b)| a.cmp(&b)).then(a.len().cmp(&b.len()))
            }
        }
    }
}

/// How the values of one column of a key stand in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sort {
    /// The order of texts.
    pub collation: Collation,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// The order in which a b-tree keeps its keys. What it has no [`Sort`] for is in plain order.
#[derive(Debug, Clone, Copy)]
pub struct Sorted<'a>(pub &'a [Sort]);

impl Sorted<'_> {
    fn parts<'k>(&self, a: &'k [Part], b: &'k [Part]) -> impl Iterator<Item = (&'k Part, &'k Part, Sort)> {
        let sorts = self.0.iter().copied().chain(std::iter::repeat(Sort::default()));
        a.iter().zip(b).zip(sorts).map(|((a, b), sort)| (a, b, sort))
    }

    /// Whether a key comes before another, as far as both are known.
    pub fn precedes(&self, a: &[Part], b: &[Part]) -> bool {
        for (a, b, sort) in self.parts(a, b) {
            if a.is_undecided(b, sort.collation) {
                return true;
            }
            match a.order(b, sort) {
                Ordering::Equal => {}
                other => return other == Ordering::Less,
            }
        }
        a.len() < b.len()
    }

    /// The order of two keys. What was cut off comes behind what is whole.
    pub fn order(&self, a: &[Part], b: &[Part]) -> Ordering {
        for (a, b, sort) in self.parts(a, b) {
            match a.order(b, sort) {
                Ordering::Equal => {}
                other => return other,
            }
        }
        a.len().cmp(&b.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_long_as_its_types_say_or_none() {
        // Head of four bytes: NULL, a one-byte number, text of two letters.
        let record = [4, 0, 1, 17, 0xfe, b'o', b'k'];
        let mut types = Types::default();
        types.read(&record, 7).unwrap();
        let values: Vec<_> = types.values(&record).map(Option::unwrap).collect();
        assert_eq!(values, [Value::Null, Value::Integer(-2), Value::Text(b"ok")]);
        assert!(types.read(&record, 8).is_none());
        assert!(types.read(&[4, 0, 1, 10], 5).is_none(), "type 10 does not exist");
        assert!(types.read(&[9, 0, 1], 5).is_none(), "the head is cut off");
    }

    #[test]
    fn fields_are_those_that_the_types_name() {
        let mut state = 7u64;
        let (mut types, mut right) = (Types::default(), 0);
        for case in 0..200_000 {
            let mut record = vec![6, 0, 1, 17, 7, 8, 0xfe, b'o', b'k', 64, 9, 33, 251, 84, 68, 45, 24];
            for _ in 0..1 + case % 3 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 50) as usize % record.len();
                match state >> 62 {
                    0 => record[at] = (state >> 40) as u8 & 31,
                    1 => record.insert(at, (state >> 40) as u8),
                    2 => drop(record.remove(at)),
                    _ => record[at] = (state >> 40) as u8,
                }
            }
            let mut seen = Vec::new();
            let count = fields(&record, |n, value| {
                assert_eq!(n, seen.len());
                seen.push(Some(value));
            });
            match types.read(&record, record.len() as u64) {
                Some(()) => {
                    right += 1;
                    assert_eq!((types.values(&record).collect(), count), (seen, Some(types.serials.len())));
                }
                None => assert_eq!(count, None, "{record:?}"),
            }
        }
        assert!(right > 500, "{right}");
    }

    #[test]
    fn whole_numbers_and_fractions_stand_in_exact_order() {
        let big = (1i64 << 53) + 1;
        let keys =
            [Part::Null, Part::Real(-0.5), Part::Integer(0), Part::Real(0.5), Part::Real(9007199254740992.0)];
        for pair in keys.windows(2) {
            assert_eq!(pair[0].plain_order(&pair[1]), Ordering::Less);
        }
        assert_eq!(Part::Integer(big).plain_order(&Part::Real(9007199254740992.0)), Ordering::Greater);
        assert_eq!(Part::Integer(i64::MAX).plain_order(&Part::Real(9.3e18)), Ordering::Less);
    }

    #[test]
    fn what_was_not_kept_decides_nothing() {
        // Head of four bytes: text of five letters, a one-byte number, bytes.
        let record = [4, 23, 1, 16, b'a', b'b', b'c', b'd', b'e', 7, 1, 2];
        let mut types = Types::default();
        types.read(&record, 12).unwrap();
        let text = |text: &str| Part::Text(text.as_bytes().into());
        let cut = |front: &str| Part::Cut { text: true, front: front.as_bytes().into() };
        assert_eq!(types.key(&record, 2, 9), Some(vec![text("abcde"), Part::Integer(7)]));
        assert_eq!(types.key(&record, 2, 3), Some(vec![cut("abc"), Part::Integer(7)]));
        assert_eq!(types.key(&record[..7], 2, 9), Some(vec![cut("abc")]));
        assert_eq!(
            types.key(&record[..9], 2, 9),
            Some(vec![text("abcde"), Part::Cut { text: true, front: [].into() }])
        );
        let keys =
            [vec![Part::Integer(9)], vec![text("ab")], vec![cut("abc")], vec![text("abd")], vec![text("b")]];
        let plain = Sorted(&[]);
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert_eq!(plain.order(a, b), i.cmp(&j));
                assert_eq!(plain.precedes(a, b), i < j || i == 2 && j == 2, "{a:?} {b:?}");
            }
        }
        for (a, b) in [(cut("abc"), text("abcd")), (cut("abc"), cut("ab")), (cut(""), Part::Null)] {
            let (a, b) = ([a], [b]);
            assert!(plain.precedes(&a, &b) && plain.precedes(&b, &a));
        }
    }

    #[test]
    fn texts_stand_in_the_order_of_their_collation() {
        let texts = [
            "", " ", "a", "A", "b ", "B", "b", "ab", "aB ", "a\0c", "A\0b", "a\0", "ä", "Ä", "_", "Z", "z  ",
        ];
        let db = rusqlite::Connection::open_in_memory().unwrap();
        for (name, collation) in
            [("binary", Collation::Binary), ("nocase", Collation::NoCase), ("rtrim", Collation::Rtrim)]
        {
            assert_eq!(Collation::named(name), Some(collation));
            for (a, b) in texts.iter().flat_map(|a| texts.iter().map(move |b| (*a, *b))) {
                let ask = format!("SELECT (?1 > ?2 COLLATE {name}) - (?1 < ?2 COLLATE {name})");
                let theirs: i32 = db.query_row(&ask, [a, b], |row| row.get(0)).unwrap();
                for descending in [false, true] {
                    let key = |text: &str| [Part::Text(text.as_bytes().into())];
                    let ours = Sorted(&[Sort { collation, descending }]).order(&key(a), &key(b));
                    let ours = if descending { ours.reverse() } else { ours };
                    assert_eq!(ours as i32, theirs, "{a:?} {b:?} {name}");
                }
            }
        }
    }

    #[test]
    fn text_of_all_three_encodings_becomes_utf8() {
        assert_eq!(Encoding::Utf16Le.utf8(&[0xb5, 0, b'm', 0]), "µm".as_bytes());
        assert_eq!(Encoding::Utf16Be.utf8(&[0, 0xb5, 0, b'm']), "µm".as_bytes());
        assert_eq!(Encoding::Utf8.utf8("µm".as_bytes()), "µm".as_bytes());
    }
}
