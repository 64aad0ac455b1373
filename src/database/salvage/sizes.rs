//! Files of every page size, most of which is long rows: whatever is lost of the head, the pages are cut as they were.

use super::hostile::{made, one, recovered};
use super::known;

const SIZES: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// A file with results and pictures of as many bytes as `long` gives, and few other rows.
fn file(size: usize, long: &mut dyn FnMut() -> u64) -> Vec<u8> {
    let known = known::all().into_iter().find(|known| known.user_version == 7).unwrap();
    let tables: String = known.schema.into_iter().filter_map(|row| row.sql).map(|sql| sql + ";").collect();
    let mut sql = format!("pragma page_size = {size}; pragma foreign_keys = off; begin; {tables}");
    for i in 1..=24 {
        sql += &format!(
            "insert into dataset(id, name, created_utc) values({i}, 'sample', '2026');
             insert into trace(dataset_id, t_seconds, inner_diam) select {i}, value * 0.1, value from generated;
             insert into thumbnail values({i}, randomblob({}));
             insert into result(dataset_id, kind, version, created_utc, payload_json)
             select {i}, 'k', '1', '2026', replace(hex(zeroblob({})), '0', 'x') from twice;",
            long(),
            long() / 2,
        );
    }
    let generated = "create temp table generated as with recursive n(value) as
        (select 1 union all select value + 1 from n where value < 20) select value from n;
        create temp table twice as select value from generated limit 2;";
    made(&format!("{generated} {sql} commit;"), "result").0
}

/// How many rows the tables have.
fn all(c: &rusqlite::Connection) -> [i64; 4] {
    ["dataset", "trace", "result", "thumbnail"].map(|t| one(c, &format!("select count(*) from {t}")))
}

#[test]
fn pages_are_cut_as_they_were_whatever_is_lost_of_the_head() {
    let mut dice = Dice(7);
    for size in SIZES {
        let (least, more) = (300 + dice.below(3000), 1 + dice.below(40_000));
        let constant = size as u64 * 4 - 184;
        let mut random = || least + dice.below(more);
        for bytes in [file(size, &mut random), file(size, &mut || constant)] {
            for lost in [0..100, 16..18, 0..size] {
                let mut bytes = bytes.clone();
                bytes[lost.clone()].fill(0);
                let (report, c, _) = recovered(bytes);
                assert_eq!(report.page_size, size, "{lost:?}: {:?}", report.notes);
                assert_eq!(all(&c), [24, 480, 48, 24], "{size} {lost:?}: {report:?}");
            }
            // The head is as it was.
            let tail = bytes.len() - 3 * size;
            let mut zeroed = bytes.clone();
            zeroed[tail..].fill(0);
            for bytes in [zeroed, bytes[..tail].to_vec()] {
                let (report, c, _) = recovered(bytes);
                assert_eq!(report.page_size, size, "{:?}", report.notes);
                // Three pages of few bytes hold parts of three long rows at most.
                let lost = 48 + 24 - all(&c)[2] - all(&c)[3];
                assert!(lost <= 3 || size > 2048, "{size}: {report:?}");
            }
        }
    }
}
