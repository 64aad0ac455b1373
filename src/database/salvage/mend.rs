//! Statements of the application of which a few bytes were changed in place.
//!
//! A page of the schema may look whole, and a letter of a statement be another: then a column has another name or type, or
//! two columns become one. The application's own statements are known. One that differs from them in so few bytes as
//! damage changes is made what it was; the entry keeps the root of its tree.
//!
//! Invariant. A table is the application's only if its entry bears the name that its statement gives it: a table that
//! somebody has called nearly like one of them stays what it is. Blanks and the case of letters mean nothing.
//!
//! A statement that SQLite takes as it is may be meant so: a column may have been renamed, and a later version may say it
//! otherwise. Such a one is mended only if a single letter of it is another, and then it is a guess: no result is complete
//! by it. One that SQLite does not take has a letter that nobody has meant; what else is another in it may be meant. So it
//! is a guess where more letters are, and none is made that would give it more columns or fewer.
//!
//! Limit. Statements that somebody else wrote are nowhere else to be had.

use super::known;
use super::layout::Schema;

/// So many letters may be others, be missing or be too many.
const MOST: usize = 4;

/// What was mended: kind, name, and the version that it was taken from.
pub type Mended = (String, String, i32);

/// Mends what was changed, and gives what that was, and of that what is a guess. `is_made` says of an entry whether SQLite
/// makes what it names.
pub fn mend(schema: &mut [Schema], is_made: &dyn Fn(&Schema) -> bool) -> (Vec<Mended>, Vec<Mended>) {
    let mut statements = Vec::new();
    for known in known::all() {
        for row in known.schema {
            let letters = letters(row.sql.as_deref().unwrap_or_default());
            statements.push((row, letters, known.user_version));
        }
    }
    let (mut mended, mut guessed) = (Vec::new(), Vec::new());
    for found in schema {
        let Some(sql) = found.sql.as_deref() else { continue };
        let own = letters(sql);
        let near = statements.iter().filter(|(row, letters, _)| {
            row.kind == found.kind && is_called(found, row) && own.len().abs_diff(letters.len()) <= MOST
        });
        let near = near.filter_map(|one| Some((distance(&own, &one.1)?, one)));
        let Some((letters, (row, _, version))) = near.min_by_key(|(letters, _)| *letters) else {
            continue;
        };
        if letters == 0
            && found.name.eq_ignore_ascii_case(&row.name)
            && found.table.eq_ignore_ascii_case(&row.table)
        {
            continue;
        }
        let this: Mended = (row.kind.clone(), row.name.clone(), *version);
        let (is_made, has_more) = (letters > 0 && is_made(found), letters > 1);
        if has_more && (is_made || parts(sql) != parts(row.sql.as_deref().unwrap_or_default())) {
            continue;
        }
        if is_made || has_more {
            guessed.push(this.clone());
        }
        mended.push(this);
        let sql = if letters == 0 { found.sql.take() } else { row.sql.clone() };
        *found = Schema { root: found.root, doubtful: found.doubtful, sql, ..row.clone() };
    }
    (mended, guessed)
}

/// Whether an entry has the name of a known one; or its statement has, and the entry nearly.
fn is_called(found: &Schema, known: &Schema) -> bool {
    let is_near = |(own, theirs): (&String, &String)| own.len() == theirs.len() && changed(own, theirs) <= 1;
    let names = [(&found.name, &known.name), (&found.table, &known.table)];
    let same = names.iter().filter(|(own, theirs)| own.eq_ignore_ascii_case(theirs)).count();
    let of_statement = Schema::of_statement(&found.sql.clone().unwrap_or_default());
    let says = of_statement.is_some_and(|row| unquoted(&row.name).eq_ignore_ascii_case(&known.name));
    same == 2 || says && names.into_iter().all(is_near)
}

fn changed(own: &str, theirs: &str) -> usize {
    own.bytes().zip(theirs.bytes()).filter(|(a, b)| !a.eq_ignore_ascii_case(b)).count()
}

fn unquoted(name: &str) -> &str {
    name.trim_matches(['"', '`', '[', ']', '\''])
}

/// What a statement says, without blanks, and without the quotes that a table gets as it is called otherwise.
fn letters(sql: &str) -> Vec<u8> {
    let front = sql.find('(').unwrap_or(sql.len());
    let is_quote = |at: usize, byte: u8| at < front && matches!(byte, b'"' | b'`' | b'[' | b']');
    let bytes =
        sql.bytes().enumerate().filter(|(at, byte)| !byte.is_ascii_whitespace() && !is_quote(*at, *byte));
    bytes.map(|(_, byte)| byte.to_ascii_lowercase()).collect()
}

/// How many columns a statement has, and what else stands between commas like them.
fn parts(sql: &str) -> usize {
    let (mut depth, mut commas) = (0, 0);
    for byte in sql.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 1 => commas += 1,
            _ => {}
        }
    }
    commas
}

/// In how many letters two texts differ, if those are [`MOST`] at most. No more is computed: a stranger's file may have
/// any number of long statements.
fn distance(a: &[u8], b: &[u8]) -> Option<usize> {
    // Between the first `i` letters of one and the first `i + j - MOST` of the other.
    let mut before = [MOST + 1; 2 * MOST + 1];
    for i in 0..=a.len() {
        let mut here = [MOST + 1; 2 * MOST + 1];
        for j in 0..here.len() {
            let Some(at) = (i + j).checked_sub(MOST).filter(|at| *at <= b.len()) else { continue };
            if i == 0 {
                here[j] = at;
                continue;
            }
            let mut least = before.get(j + 1).map_or(MOST + 1, |n| n + 1);
            if at > 0 {
                least = least.min(before[j] + usize::from(a[i - 1] != b[at - 1]));
                least = least.min(j.checked_sub(1).map_or(MOST + 1, |j| here[j] + 1));
            }
            here[j] = least;
        }
        if here.iter().all(|n| *n > MOST) {
            return None;
        }
        before = here;
    }
    let end = (b.len() + MOST).checked_sub(a.len())?;
    before.get(end).copied().filter(|n| *n <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_that_differ() {
        for (a, b, n) in [
            ("abc", "abc", Some(0)),
            ("abc", "axc", Some(1)),
            ("abcdef", "bcdef", Some(1)),
            ("abcdef", "abcdefgh", Some(2)),
            ("kitten", "sitting", Some(3)),
            ("", "abcd", Some(4)),
            ("", "abcde", None),
            ("abcdefgh", "hgfedcba", None),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), n, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), n, "{b} {a}");
        }
    }

    /// Every bit of every statement of the newest version, but those of blanks and of case.
    #[test]
    fn a_statement_of_which_a_bit_is_another_is_what_it_was() {
        let known = known::all().remove(0);
        let (mut mended, mut all) = (0, 0);
        for row in &known.schema {
            let sql = row.sql.as_deref().unwrap();
            for at in 0..sql.len() {
                for bit in [1, 2, 4, 8, 16, 64] {
                    let mut bytes = sql.as_bytes().to_vec();
                    bytes[at] ^= bit;
                    let Ok(text) = String::from_utf8(bytes) else { continue };
                    let mut schema = vec![Schema { sql: Some(text), root: 7, ..row.clone() }];
                    all += 1;
                    mended += mend(&mut schema, &|_| all % 2 == 0).0.len();
                    assert_eq!(letters(schema[0].sql.as_deref().unwrap()), letters(sql));
                    assert_eq!(schema[0].root, 7);
                }
            }
        }
        assert!(all > 10_000 && mended * 100 > all * 95, "{mended} of {all}");
    }

    #[test]
    fn what_is_as_it_was_written_stays_so() {
        for known in known::all() {
            let mut schema = known.schema.clone();
            assert_eq!(mend(&mut schema, &|_| true), Default::default(), "{}", known.user_version);
            assert_eq!(schema, known.schema);
        }
        // Another's, that has nearly the name of one; a later version; one that was renamed.
        for sql in [
            "CREATE TABLE thumbnails(dataset_id INTEGER PRIMARY KEY REFERENCES dataset(id) ON DELETE CASCADE, png BLOB NOT NULL)",
            "CREATE TABLE thumbnail(dataset_id INTEGER PRIMARY KEY REFERENCES dataset(id) ON DELETE CASCADE, png BLOB NOT NULL, n INT)",
            "CREATE TABLE \"thumbnail\" (dataset_id INTEGER PRIMARY KEY REFERENCES dataset(id) ON DELETE CASCADE,\n png BLOB NOT NULL)",
        ] {
            let name = if sql.contains("thumbnails") { "thumbnails" } else { "thumbnail" };
            let row = Schema { name: name.into(), table: name.into(), ..Schema::of_statement(sql).unwrap() };
            let mut schema = vec![row.clone()];
            assert_eq!(mend(&mut schema, &|_| true), Default::default(), "{sql}");
            assert_eq!(schema, [row]);
        }
    }

    #[test]
    fn what_may_be_meant_is_left_or_is_a_guess() {
        let known = known::all().remove(0);
        let row = known.schema.iter().find(|row| row.name == "event").unwrap();
        for (from, to, is_mended) in [("od_ref_pct", "od_ref_um", false), ("p1 REAL", "p3 REAL", true)] {
            let sql = row.sql.clone().unwrap().replace(from, to);
            assert_ne!(Some(&sql), row.sql.as_ref());
            let changed = Schema { sql: Some(sql), ..row.clone() };
            let mut schema = vec![changed.clone()];
            let (mended, guessed) = mend(&mut schema, &|_| true);
            assert_eq!(
                (mended.len(), guessed.len()),
                (usize::from(is_mended), usize::from(is_mended)),
                "{to}"
            );
            assert_eq!(schema[0] == changed, !is_mended);
            // Where it makes nothing, it is not as anybody has meant it; of more letters than one, some may be.
            let (mended, guessed) = mend(&mut [changed], &|_| false);
            assert_eq!((mended.len(), guessed.len()), (1, usize::from(!is_mended)), "{to}");
        }
        let more = row.sql.clone().unwrap().replace("deleted_by TEXT", "deleted_by TEX$, z");
        assert_ne!(Some(&more), row.sql.as_ref());
        assert_eq!(mend(&mut [Schema { sql: Some(more), ..row.clone() }], &|_| false), Default::default());
    }

    #[test]
    fn a_name_of_which_a_bit_is_another_is_what_it_was() {
        let known = known::all().remove(0);
        let row = known.schema.iter().find(|row| row.name == "event").unwrap();
        for (name, table) in [("evenu", "event"), ("event", "evenu")] {
            let mut schema = vec![Schema { name: name.into(), table: table.into(), root: 9, ..row.clone() }];
            assert_eq!(mend(&mut schema, &|_| true).0, [("table".into(), "event".into(), 7)]);
            assert_eq!(schema, [Schema { root: 9, ..row.clone() }]);
        }
    }
}
