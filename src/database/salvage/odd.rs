//! Rows that are whole and look like others: each comes back.

use super::hostile::{TRACE, made, one, recovered};

#[test]
fn a_zero_in_eight_bytes_with_more_behind_it_is_no_torn_row() {
    // SQLite writes the time of the first row so, which lies where its page ends.
    let (bytes, root) = made(&TRACE.replace("1 + i * 0.1", "i * 0.1"), "trace");
    assert!(bytes.windows(12).any(|w| w[..3] == [9, 7, 8] && w[4..] == [0; 8]));
    // Clean, and with another page gone.
    for other in [None, Some(root)] {
        let mut bytes = bytes.clone();
        other.into_iter().for_each(|page| bytes[(page - 1) * 4096..page * 4096].fill(0));
        let (report, c, _) = recovered(bytes);
        assert_eq!(one(&c, "select count(*) from trace where t_seconds = 0.0 and inner_diam = 5.0"), 1);
        let trace = report.tables.iter().find(|t| t.name == "trace").unwrap();
        assert!(other.is_some() || trace.lost == 0, "{trace:?}");
    }
}
