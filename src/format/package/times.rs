//! The time of an entry, the same on every machine.
//!
//! An extended timestamp is UTC and counts first, then NTFS's; a DOS time has no zone, and is read as UTC:
//! wrong by hours perhaps, but the same hours everywhere. NTFS's field can say what no file system keeps: zero means
//! that nothing is known, and a time that a copy cannot be given makes every backup read the file again. Those are
//! passed over.

use super::record::extra_fields;
use crate::tree::Time;

const EXTENDED: u16 = 0x5455;
const NTFS: u16 = 0x000a;
/// Seconds from 1601, in which Windows counts, to 1970.
const WINDOWS_EPOCH: i64 = 11_644_473_600;
/// The last second of the year 9999.
const LAST: i64 = 253_402_300_799;

/// The time of the last change of the data.
pub fn of(extra: &[u8], dos: (u16, u16)) -> Time {
    extended(extra).or_else(|| ntfs(extra)).unwrap_or_else(|| from_dos(dos))
}

fn extended(extra: &[u8]) -> Option<Time> {
    let (_, body) = extra_fields(extra).find(|(id, _)| *id == EXTENDED)?;
    match body {
        [flags, a, b, c, d, ..] if flags & 1 != 0 => {
            Some(Time { seconds: i32::from_le_bytes([*a, *b, *c, *d]).into(), nanos: 0 })
        }
        _ => None,
    }
}

fn ntfs(extra: &[u8]) -> Option<Time> {
    let (_, body) = extra_fields(extra).find(|(id, _)| *id == NTFS)?;
    let (_, times) = extra_fields(body.get(4..)?).find(|(id, _)| *id == 1)?;
    let ticks = u64::from_le_bytes(times.get(..8)?.try_into().ok()?);
    let seconds = i64::try_from(ticks / 10_000_000).ok()? - WINDOWS_EPOCH;
    let nanos = (ticks % 10_000_000) as u32 * 100;
    (0..=LAST).contains(&seconds).then_some(Time { seconds, nanos })
}

fn from_dos((time, date): (u16, u16)) -> Time {
    let year = 1980 + i64::from(date >> 9);
    // Months, days and seconds that do not exist are real; the nearest that do are taken.
    let month = i64::from(date >> 5 & 15).clamp(1, 12);
    let day = i64::from(date & 31).clamp(1, 31);
    let hour = i64::from(time >> 11).min(23);
    let minute = i64::from(time >> 5 & 63).min(59);
    let second = (i64::from(time & 31) * 2).min(59);
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Time { seconds, nanos: 0 }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar: years are counted from March, so that the leap
/// day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dos(y: u16, mo: u16, d: u16, h: u16, mi: u16, s: u16) -> (u16, u16) {
        ((h << 11) | (mi << 5) | (s / 2), ((y - 1980) << 9) | (mo << 5) | d)
    }

    #[test]
    fn dos_times_are_utc() {
        // `date -u -d '2026-03-01 12:34:56' +%s` and so on.
        assert_eq!(from_dos(dos(2026, 3, 1, 12, 34, 56)).seconds, 1_772_368_496);
        assert_eq!(from_dos(dos(1980, 1, 1, 0, 0, 0)).seconds, 315_532_800);
        assert_eq!(from_dos(dos(2000, 2, 29, 23, 59, 58)).seconds, 951_868_798);
        assert_eq!(from_dos(dos(2107, 12, 31, 0, 0, 0)).seconds, 4_354_732_800);
    }

    #[test]
    fn a_date_that_is_not_one_is_the_first() {
        assert_eq!(from_dos((0, 0)).seconds, 315_532_800);
    }

    #[test]
    fn extended_times_count_first_and_may_be_negative() {
        let extra = [0x55, 0x54, 5, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(of(&extra, (0, 0)), Time { seconds: -1, nanos: 0 });
        let absent = [0x55, 0x54, 1, 0, 0];
        assert_eq!(of(&absent, (0, 0)).seconds, 315_532_800);
    }

    fn field_of(ticks: u64) -> Vec<u8> {
        let mut extra = vec![0x0a, 0, 32, 0, 0, 0, 0, 0, 1, 0, 24, 0];
        extra.extend_from_slice(&ticks.to_le_bytes());
        extra.extend_from_slice(&[0; 16]);
        extra
    }

    #[test]
    fn ntfs_times_have_tenths_of_microseconds() {
        let ticks = (WINDOWS_EPOCH as u64 + 1_000_000_000) * 10_000_000 + 1_234_567;
        assert_eq!(of(&field_of(ticks), (0, 0)), Time { seconds: 1_000_000_000, nanos: 123_456_700 });
    }

    #[test]
    fn ntfs_times_that_no_file_has_are_passed_over() {
        let ticks = |seconds: i64| (WINDOWS_EPOCH + seconds) as u64 * 10_000_000;
        for (ticks, seconds) in [
            (0, 315_532_800),
            (ticks(0) - 1, 315_532_800),
            (ticks(0), 0),
            (ticks(LAST) + 9_999_999, LAST),
            (ticks(LAST + 1), 315_532_800),
            (u64::MAX, 315_532_800),
        ] {
            assert_eq!(of(&field_of(ticks), (0, 0)).seconds, seconds, "{ticks}");
        }
    }
}
