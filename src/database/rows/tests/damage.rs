//! Damage: whatever is wrong with a file, both ways give the same rows up to the same error.

use super::*;

/// Numbers by chance, always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Pages that look like those of a tree WITHOUT ROWID, as offsets.
fn tree_pages(bytes: &[u8], size: usize) -> Vec<usize> {
    (size..bytes.len()).step_by(size).filter(|at| matches!(bytes[*at], 2 | 10)).collect()
}

fn harm(bytes: &mut Vec<u8>, size: usize, dice: &mut Dice) {
    let pages = tree_pages(bytes, size);
    let interior: Vec<usize> = pages.iter().copied().filter(|at| bytes[*at] == 2).collect();
    let page = pages[dice.below(pages.len())];
    let other = pages[dice.below(pages.len())];
    let cells = u16::from_be_bytes([bytes[page + 3], bytes[page + 4]]) as usize;
    let pointers = page + if bytes[page] == 2 { 12 } else { 8 };
    match dice.below(12) {
        0 => bytes[page + dice.below(size)] ^= 1 << dice.below(8),
        1 => bytes[page + dice.below(12)] = dice.below(256) as u8,
        2 => bytes[page..page + size].fill(0),
        3 => {
            let one = bytes[page..page + size].to_vec();
            bytes.copy_within(other..other + size, page);
            bytes[other..other + size].copy_from_slice(&one);
        }
        4 => bytes.copy_within(other..other + size, page),
        5 => {
            let cut = bytes.len() - dice.below(bytes.len() / 2);
            bytes.truncate(cut);
            // As far as the header says, nothing is missing.
            let whole = (bytes.len() / size) as u32;
            bytes[28..32].copy_from_slice(&whole.to_be_bytes());
        }
        // Two cells change places, or one stands twice.
        6 if cells > 1 => {
            let (a, b) = (pointers + 2 * dice.below(cells), pointers + 2 * dice.below(cells));
            let (one, two) = ([bytes[a], bytes[a + 1]], [bytes[b], bytes[b + 1]]);
            bytes[a..a + 2].copy_from_slice(&two);
            bytes[b..b + 2].copy_from_slice(&one);
        }
        7 if cells > 0 => {
            let a = pointers + 2 * dice.below(cells);
            bytes[a + dice.below(2)] = dice.below(256) as u8;
        }
        // A child is another page: of this tree, of another, or itself.
        8 | 9 if !interior.is_empty() => {
            let parent = interior[dice.below(interior.len())];
            let n = u16::from_be_bytes([bytes[parent + 3], bytes[parent + 4]]) as usize;
            let i = dice.below(n + 1);
            let at = match i == n {
                true => parent + 8,
                false => {
                    let cell = parent + 12 + 2 * i;
                    parent + u16::from_be_bytes([bytes[cell], bytes[cell + 1]]) as usize
                }
            };
            let child = (if dice.below(2) == 0 { other } else { parent } / size + 1) as u32;
            bytes[at..at + 4].copy_from_slice(&child.to_be_bytes());
        }
        // Fewer or more cells.
        10 => bytes[page + 4] = bytes[page + 4].wrapping_add(dice.below(7) as u8).wrapping_sub(3),
        // Somewhere in the records.
        _ => {
            for _ in 0..4 {
                bytes[page + size / 8 + dice.below(size - size / 8)] = dice.below(256) as u8;
            }
        }
    }
}

#[test]
fn damage_gives_the_same_rows_either_way() {
    let sizes = [512usize, 1024, 4096];
    let wholes = sizes.map(|size| {
        let sql = format!("{} {}", USUAL[2], many(4000));
        fs::read(Made::new(&format!("pragma page_size = {size}"), &sql).path).unwrap()
    });
    let mut dice = Dice(20_260_105);
    let (mut failed, mut whole, mut opened, mut resumed) = (0, 0, 0, 0);
    for case in 0..600 {
        let which = case % sizes.len();
        let mut bytes = wholes[which].clone();
        for _ in 0..1 + dice.below(3) {
            harm(&mut bytes, sizes[which], &mut dice);
        }
        let Ok(database) = Database::open(Content::Bytes(bytes.into()), "x") else { continue };
        opened += 1;
        for dataset in 1..=3 {
            let Ok(Some(usual)) =
                database.rows_of("trace", &columns::TRACE, dataset, "", &[], Called::ForPeople)
            else {
                continue;
            };
            let (_, sqlite) = both(&database, dataset).unwrap();
            for most in [13, 300, u64::MAX] {
                let (ours, theirs) = (stretches(&usual, most), stretches(&sqlite, most));
                assert!(
                    ours == theirs,
                    "case {case}, dataset {dataset}, by {most}: {:?} {:?}",
                    ours.1,
                    theirs.1
                );
                failed += u32::from(ours.1.is_some());
                whole += u32::from(ours.1.is_none());
            }
            let (is_direct, rows) = is_direct(&usual);
            resumed += u32::from(!is_direct && rows > 0);
        }
    }
    // Enough of each: what fails, what is whole, and what begins in the pages and is ended by SQLite.
    assert!(
        opened > 400 && failed > 500 && whole > 500 && resumed > 100,
        "{opened} {failed} {whole} {resumed}"
    );
}

#[test]
fn a_page_that_is_refused_once_is_refused_always() {
    let sql = format!("{} {}", USUAL[2], many(4000));
    let mut bytes = fs::read(Made::new("", &sql).path).unwrap();
    let leaves: Vec<usize> = tree_pages(&bytes, 4096).into_iter().filter(|at| bytes[*at] == 10).collect();
    for page in leaves {
        // The last cell lies partly behind the page.
        let cells = u16::from_be_bytes([bytes[page + 3], bytes[page + 4]]) as usize;
        let Some(last) = cells.checked_sub(1) else { continue };
        bytes[page + 8 + 2 * last..][..2].copy_from_slice(&[0x0f, 0xfb]);
    }
    let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
    let (usual, sqlite) = both(&database, 1).unwrap();
    for _ in 0..3 {
        for table in [&usual, &sqlite] {
            assert!(matches!(rows_of(table), Err(Error::Damaged { code: "database-damaged", .. })));
        }
    }
}
