//! How a damaged file writes text.
//!
//! The head says it in four bytes, and one flipped bit there would cost every text of the file. What the rows of the
//! schema say is believed first: their first value is one of four words, and their last one begins with CREATE. Where no
//! such row is left, the texts on the pages tell it, and the head is believed unless they clearly say otherwise: where
//! many texts are all in UTF-8, or next to none of them is.
//!
//! Without a head, texts of which most are no UTF-8 are UTF-16. Of its two orders it is that in which the first byte of a
//! letter, which tells the script, is one of fewer.

use std::collections::BTreeSet;

use super::page::{Cell, Head};
use super::pager::Pager;
use super::record::{Encoding, Types};
use crate::error::Result;
use crate::tree::Cell as Value;

/// How many pages are looked at, the first ones and as many from all over the file.
const PAGES: u32 = 512;
const ALL: [Encoding; 3] = [Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be];
/// Texts that together leave no choice.
const MANY: usize = 16;
/// What rows of the schema begin with.
const KINDS: [&str; 4] = ["table", "index", "view", "trigger"];
/// The values of such a row, and the place of its statement.
const VALUES: usize = 5;
const STATEMENT: usize = 4;

/// How text is written in a file of which the head says `named`.
pub fn tell(pager: &Pager<'_>, usable: usize, named: Option<Encoding>) -> Result<Encoding> {
    let mut seen = Seen::default();
    let count = pager.count();
    let step = (count / PAGES).max(1) as usize;
    let spread = (1..=count).step_by(step).filter(|number| *number > PAGES).take(PAGES as usize);
    for number in (1..=count.min(PAGES)).chain(spread) {
        let page = pager.page(number)?;
        let start = if number == 1 { 100 } else { 0 };
        let head = Head::read(&page, start, usable).filter(|head| head.kind.has_payload());
        if let Some(head) = head {
            seen.look_at(&page, &head, usable);
        }
    }
    Ok(seen.encoding(named))
}

/// What was seen of the texts of a file.
#[derive(Debug, Default)]
struct Seen {
    /// Rows of the schema, as each encoding reads them.
    rows: [usize; 3],
    /// Texts, and how many have no even length.
    texts: usize,
    uneven: usize,
    /// Pairs of bytes in them, and how many have a zero first, or second.
    pairs: usize,
    first: usize,
    second: usize,
    /// Bytes in them that are ASCII and can be seen.
    plain: usize,
    /// Texts that are no UTF-8, or have signs in them that nobody writes.
    foreign: usize,
    /// Which bytes stand first in pairs, and which second.
    bytes: [BTreeSet<u8>; 2],
}

impl Seen {
    fn look_at(&mut self, page: &[u8], head: &Head, usable: usize) {
        let mut types = Types::default();
        for i in 0..head.cells {
            let Some(at) = head.pointer(page, i) else { continue };
            let Some(cell) = Cell::read(head.kind, page, at, usable) else { continue };
            let local = &page[cell.local];
            if types.read(local, cell.payload).is_none() {
                continue;
            }
            self.count_row(&types, local);
            for value in types.values(local).map_while(|v| v) {
                if let Value::Text(text) = value {
                    self.count(text);
                }
            }
        }
    }

    /// Counts a row of the schema. Its statement may go on elsewhere.
    fn count_row(&mut self, types: &Types, local: &[u8]) {
        let is_text = |serial: &u64| *serial >= 13 && serial % 2 == 1;
        if types.serials.len() != VALUES || !types.serials.get(STATEMENT).is_some_and(is_text) {
            return;
        }
        let Some(Some(Value::Text(kind))) = types.values(local).next() else { return };
        let statement = local.get(types.front(STATEMENT) as usize..).unwrap_or_default();
        for (rows, encoding) in self.rows.iter_mut().zip(ALL) {
            let begins = written("CREATE", encoding);
            let front = statement.get(..begins.len()).unwrap_or_default();
            let is_kind = KINDS.iter().any(|word| written(word, encoding) == kind);
            *rows += usize::from(is_kind && encoding.utf8(front).eq_ignore_ascii_case(b"create"));
        }
    }

    fn count(&mut self, text: &[u8]) {
        self.texts += 1;
        self.uneven += text.len() % 2;
        self.pairs += text.len() / 2;
        let pairs = text.chunks_exact(2);
        self.first += pairs.clone().filter(|pair| pair[0] == 0).count();
        self.second += pairs.clone().filter(|pair| pair[1] == 0).count();
        let is_sign = |c: char| !c.is_control() || c.is_whitespace();
        self.foreign += usize::from(!std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_sign)));
        for pair in pairs {
            for (seen, byte) in self.bytes.iter_mut().zip(pair) {
                seen.insert(*byte);
            }
        }
        self.plain += text.iter().filter(|b| matches!(b, b' '..=b'~' | b'\n')).count();
    }

    fn encoding(&self, named: Option<Encoding>) -> Encoding {
        let most = self.rows.iter().copied().max().unwrap_or(0);
        if let Some((_, encoding)) = self.rows.iter().zip(ALL).find(|(rows, _)| most > 0 && **rows == most) {
            return encoding;
        }
        // UTF-8 has next to no zeros, and UTF-16 has them on one side only.
        let (low, high) = (self.second, self.first);
        let has_zeros = (low + high) * 8 > self.pairs;
        let is_even = self.uneven * 8 < self.texts;
        match () {
            () if has_zeros && is_even && low > 4 * high => Encoding::Utf16Le,
            () if has_zeros && is_even && high > 4 * low => Encoding::Utf16Be,
            // Letters of two bytes hardly ever consist of such bytes alone, and never of one byte.
            () if self.texts > 0 && (!is_even || self.plain > self.pairs * 2 * 7 / 8) => Encoding::Utf8,
            () => named.filter(|named| !self.denies(*named)).unwrap_or_else(|| self.without_head()),
        }
    }

    /// Whether there are many texts and they were not written in what the head names: bytes in pairs are hardly ever
    /// UTF-8 throughout, UTF-8 is never none, and of the two bytes of a letter that which tells the script varies less.
    fn denies(&self, named: Encoding) -> bool {
        let [first, second] = [0, 1].map(|at: usize| self.bytes[at].len());
        let one_varies = first > 2 * second || second > 2 * first;
        self.texts.min(self.pairs) >= MANY
            && match named {
                Encoding::Utf8 => self.foreign * 8 > self.texts * 7,
                _ if self.foreign == 0 => true,
                named => one_varies && self.foreign * 2 > self.texts && self.without_head() != named,
            }
    }

    fn without_head(&self) -> Encoding {
        let [first, second] = [0, 1].map(|at: usize| self.bytes[at].len());
        match self.foreign * 2 > self.texts {
            true if first > second => Encoding::Utf16Le,
            true if first < second => Encoding::Utf16Be,
            _ => Encoding::Utf8,
        }
    }
}

/// A word of ASCII as bytes.
fn written(word: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Utf8 => word.as_bytes().to_vec(),
        Encoding::Utf16Le => word.bytes().flat_map(|b| [b, 0]).collect(),
        Encoding::Utf16Be => word.bytes().flat_map(|b| [0, b]).collect(),
    }
}

/// The name of an encoding, for people.
pub fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Utf8 => "UTF-8",
        Encoding::Utf16Le => "UTF-16, low byte first",
        Encoding::Utf16Be => "UTF-16, high byte first",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[&[u8]], named: Encoding) -> Encoding {
        let mut seen = Seen::default();
        texts.iter().for_each(|text| seen.count(text));
        seen.encoding(Some(named))
    }

    fn pairs(text: &str, high_first: bool) -> Vec<u8> {
        let pair = |unit: u16| if high_first { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(pair).collect()
    }

    #[test]
    fn without_a_head_the_texts_tell_what_they_are() {
        let told = |texts: &[Vec<u8>]| {
            let mut seen = Seen::default();
            texts.iter().for_each(|text| seen.count(text));
            seen.encoding(None)
        };
        for texts in [["血管漢字試料測定", "直径圧力温度変化"], ["сосуддавление", "диаметрсосуда"]]
        {
            for high_first in [false, true] {
                let is = if high_first { Encoding::Utf16Be } else { Encoding::Utf16Le };
                assert_eq!(told(&texts.map(|text| pairs(text, high_first))), is, "{texts:?}");
            }
            assert_eq!(told(&texts.map(|text| text.as_bytes().to_vec())), Encoding::Utf8, "{texts:?}");
        }
        assert_eq!(told(&[]), Encoding::Utf8);
    }

    #[test]
    fn many_texts_are_believed_whatever_the_head_says() {
        let words = ["сосуд", "давление", "диаметр", "температура", "время", "образец", "опыт", "канал"];
        let signs = [
            "血管漢字",
            "試料測定値",
            "直径圧力",
            "温度変化記",
            "実験記録",
            "動脈標本",
            "薬物投与量",
            "対照群例",
        ];
        for all in [words, signs] {
            let all: Vec<&str> = all.into_iter().cycle().take(2 * MANY).collect();
            for is in ALL {
                let write = |text: &&str| match is {
                    Encoding::Utf8 => text.as_bytes().to_vec(),
                    _ => pairs(text, is == Encoding::Utf16Be),
                };
                let texts: Vec<Vec<u8>> = all.iter().map(write).collect();
                let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                for named in ALL {
                    // Of the two orders the head is believed where both bytes vary.
                    let both = named != Encoding::Utf8 && is != Encoding::Utf8 && all[0] == signs[0];
                    assert_eq!(
                        told(&texts, named),
                        if both { named } else { is },
                        "{all:?} {is:?} {named:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_head_is_believed_where_texts_leave_a_choice() {
        for named in ALL {
            assert_eq!(told(&[], named), named);
            assert_eq!(told(&[b"even", b"text", b"only!!"], named), Encoding::Utf8);
            assert_eq!(told(&["grün".as_bytes(), "Gefäß".as_bytes(), b"a"], named), Encoding::Utf8);
            for high_first in [false, true] {
                let is = if high_first { Encoding::Utf16Be } else { Encoding::Utf16Le };
                assert_eq!(told(&[&pairs("Gefäß 1", high_first)], named), is);
                let signs = pairs("血管漢字試料測定", high_first);
                assert_eq!(told(&[&signs], named), named);
            }
        }
    }
}
