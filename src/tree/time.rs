//! Points in time.

use std::time::{Duration, SystemTime};

/// A point in time: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> SystemTime {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let nanos = Duration::from_nanos(time.nanos.into());
        match time.seconds {
            0.. => SystemTime::UNIX_EPOCH + whole + nanos,
            _ => SystemTime::UNIX_EPOCH - whole + nanos,
        }
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Time { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
            Err(before) => Time { seconds: -(before.duration().as_secs_f64().ceil() as i64), nanos: 0 },
        }
    }
}

impl Time {
    /// As RFC 3339 in UTC, to the second.
    pub fn utc(&self) -> String {
        let days = self.seconds.div_euclid(86_400);
        let second = self.seconds.rem_euclid(86_400);
        // From days since 1970 to a date: years are counted from March, so that the leap day comes last.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
    }

    /// The last moment that a time, as it is given, may mean: times are told to the second, and whoever gives back what
    /// was told means what happened within that second too. A day or a minute alone is its first second.
    pub fn parse_last(text: &str) -> Option<Time> {
        let time = Time::parse(text)?;
        let fraction = text.split_once('.').map_or("", |(_, behind)| behind);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count().min(9);
        let left_open = 10u32.pow(9 - digits as u32);
        Some(Time { nanos: time.nanos / left_open * left_open + (left_open - 1), ..time })
    }

    /// Reads RFC 3339, a date with or without a time; without a zone it is UTC.
    pub fn parse(text: &str) -> Option<Time> {
        let (date, rest) = text.split_at_checked(10)?;
        let mut parts = date.split('-');
        let mut part = |width| parts.next().and_then(|part| whole(part, width));
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
            return None;
        }
        let clock = rest.strip_prefix(['T', 't', ' ']).unwrap_or(rest);
        let (clock, zone) = match clock.find(['Z', 'z', '+', '-']) {
            Some(at) => clock.split_at(at),
            None => (clock, "Z"),
        };
        let offset = match zone {
            "Z" | "z" => 0,
            zone => {
                let (hours, minutes) = zone[1..].split_once(':').unwrap_or((&zone[1..], "0"));
                let below = |text, most| whole(text, 0).filter(|n| *n < most);
                let seconds = below(hours, 24)? * 3600 + below(minutes, 60)? * 60;
                if zone.starts_with('-') { -seconds } else { seconds }
            }
        };
        let mut of_clock = clock.split(':').filter(|text| !text.is_empty());
        let mut number = |most| of_clock.next().map_or(Some(0), |text| whole(text, 2).filter(|n| *n < most));
        let (hours, minutes) = (number(24)?, number(60)?);
        let seconds = of_clock.next().map_or(Some(0.0), |text| {
            let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            text.parse::<f64>().ok().filter(|n| digits && *n < 61.0)
        })?;
        if of_clock.next().is_some() {
            return None;
        }
        // The reverse of what `utc` does: years from March on, in eras of 400 years.
        let years = if month <= 2 { year - 1 } else { year };
        let era = years.div_euclid(400);
        let year_of_era = years.rem_euclid(400);
        let from_march = (month + 9) % 12;
        let day_of_year = (153 * from_march + 2) / 5 + day - 1;
        let days =
            era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let whole = days * 86_400 + hours * 3600 + minutes * 60 + seconds as i64 - offset;
        Some(Time { seconds: whole, nanos: (seconds.fract() * 1e9).round() as u32 % 1_000_000_000 })
    }
}

/// Digits and nothing else, `width` of them unless that is 0.
fn whole(text: &str, width: usize) -> Option<i64> {
    let fits = width == 0 || text.len() == width;
    let digits = !text.is_empty() && text.len() < 10 && text.bytes().all(|b| b.is_ascii_digit());
    (fits && digits).then(|| text.parse().ok()).flatten()
}

/// How many days a month has.
fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_utc() {
        // By `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_868_798, "2000-02-29T23:59:58Z"),
            (1_772_368_496, "2026-03-01T12:34:56Z"),
            (4_354_732_800, "2107-12-31T00:00:00Z"),
        ] {
            assert_eq!(Time { seconds, nanos: 0 }.utc(), text);
            assert_eq!(Time::parse(text), Some(Time { seconds, nanos: 0 }));
        }
    }

    #[test]
    fn a_time_means_all_that_is_told_by_the_same_words() {
        for (text, nanos) in [
            ("2026-03-01T12:00:33Z", 999_999_999),
            ("2026-03-01T12:00", 999_999_999),
            ("2026-03-01", 999_999_999),
            ("2026-03-01T12:00:33.5Z", 599_999_999),
            ("2026-03-01T12:00:33.584+01:00", 584_999_999),
            ("2026-03-01T12:00:33.584123456Z", 584_123_456),
            ("2026-03-01T12:00:33.5841234567890Z", 584_123_457),
        ] {
            let (first, last) = (Time::parse(text).unwrap(), Time::parse_last(text).unwrap());
            assert_eq!((last.seconds, last.nanos), (first.seconds, nanos), "{text}");
        }
        assert_eq!(Time::parse_last("yesterday"), None);
    }

    #[test]
    fn times_are_read_in_the_forms_that_people_type() {
        // By `date -u -d TEXT +%s`.
        for (text, seconds) in [
            ("2026-03-01T12:00Z", 1_772_366_400),
            ("2026-03-01T12:00", 1_772_366_400),
            ("2026-03-01 12:00:30", 1_772_366_430),
            ("2026-03-01T13:00+01:00", 1_772_366_400),
            ("2026-03-01", 1_772_323_200),
            ("2024-02-29T00:00:00-05:00", 1_709_182_800),
        ] {
            assert_eq!(Time::parse(text).map(|time| time.seconds), Some(seconds), "{text}");
        }
        assert_eq!(Time::parse("2026-03-01T12:00:00.25Z").unwrap().nanos, 250_000_000);
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-03",
            "2026-03-01T25:99:99x",
            "12:00",
            "2026-02-30",
            "2025-02-29",
            "1900-02-29",
            "2026-04-31",
            "2026-00-10",
            "2026-01-00",
            "2026-01-01T24:00Z",
            "2026-01-01T10:60Z",
            "2026-01-01T10:00:61Z",
            "2026-01-01T10:00:00:00Z",
            "2026-01-01T10:00+24:00",
            "2026-01-01T10:00+",
            "+202-01-01",
            "2026-1-001",
        ] {
            assert_eq!(Time::parse(wrong), None, "{wrong}");
        }
        assert!(Time::parse("2000-02-29").is_some());
    }
}
