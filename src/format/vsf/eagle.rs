//! Eagle Time: time counted from the landing of Apollo 11, 1969-07-20 20:17:40 UTC.
//!
//! Older formats count seconds, newer ones oscillations of hydrogen; which of them a stored number means is
//! decided once, where it is read. Conversions are exact in integers: to nanoseconds of the Unix epoch, rounded
//! down, and back. Leap seconds are not counted, as in Unix time.

use super::element::Width;

/// The landing in seconds of Unix time.
pub const EPOCH: i64 = -14_182_940;

/// Oscillations of the hydrogen line in a second.
pub const OSCILLATIONS: i128 = 1_420_407_826;

const NANO: i128 = 1_000_000_000;

/// The number of a time, with its width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// Unsigned.
    Unsigned(Width, u128),
    /// Signed.
    Signed(Width, i128),
    /// In single precision.
    F5(f32),
    /// In double precision.
    F6(f64),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Oscillations of the hydrogen line.
    Oscillations,
}

/// How a time is marked in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `T5`, `t6`: the design.
    Design,
    /// `e5`, `e6`, `e7`.
    Plain,
    /// `eu3`, `ei4`, `ef6`.
    Typed,
    /// `ef` with no width.
    Bare,
}

/// One stored time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EagleTime {
    /// The number.
    pub count: Count,
    /// What it counts.
    pub unit: Unit,
    /// How it is marked.
    pub mark: Mark,
}

impl EagleTime {
    /// Whole seconds since the landing, as the design writes them: in the narrowest of `T5`, `T6` and `T7`.
    pub fn seconds(seconds: i128) -> EagleTime {
        let width = Width::of_signed(seconds).max(Width::W5);
        EagleTime { count: Count::Signed(width, seconds), unit: Unit::Seconds, mark: Mark::Design }
    }

    /// Seconds since the landing with a fraction, as the design writes them (`t6`).
    pub fn fraction(seconds: f64) -> EagleTime {
        EagleTime { count: Count::F6(seconds), unit: Unit::Seconds, mark: Mark::Design }
    }

    /// The second of Unix time, without leap seconds.
    pub fn of_unix(seconds: i64) -> EagleTime {
        EagleTime::seconds(i128::from(seconds) - i128::from(EPOCH))
    }

    /// The nanosecond of Unix time, without leap seconds: a whole second as the design writes it (`T`), any other in
    /// oscillations, which tell nanoseconds apart where seconds in floating point do not. `None` where it is further
    /// from the landing than 128 bits of oscillations reach.
    ///
    /// ```
    /// use vaso::format::vsf::EagleTime;
    ///
    /// let time = EagleTime::of_unix_nanos(1_700_000_000_123_456_789).unwrap();
    /// assert_eq!(time.unix_nanos(), Some(1_700_000_000_123_456_789));
    /// assert_eq!(time.rfc3339().unwrap(), "2023-11-14T22:13:20.123456789Z");
    /// ```
    pub fn of_unix_nanos(nanos: i128) -> Option<EagleTime> {
        let since = nanos.checked_sub(i128::from(EPOCH) * NANO)?;
        if since % NANO == 0 {
            return Some(EagleTime::seconds(since / NANO));
        }
        let count = oscillations(since)?;
        let width = Width::of_signed(count).max(Width::W5);
        Some(EagleTime { count: Count::Signed(width, count), unit: Unit::Oscillations, mark: Mark::Plain })
    }

    /// The time that a text says (RFC 3339), counted, marked and as wide as this one; `None` where that is not the same
    /// time. In floating point it is the nearest that there is.
    pub fn again(&self, text: &str) -> Option<EagleTime> {
        let (unix, fraction) = parse(text)?;
        let since = i128::from(unix) - i128::from(EPOCH);
        let digits = fraction.unwrap_or("");
        match (self.count, self.unit) {
            (Count::F5(_), Unit::Seconds) => {
                return Some(EagleTime { count: Count::F5(decimal(since, digits)?.parse().ok()?), ..*self });
            }
            (Count::F6(_), Unit::Seconds) => {
                return Some(EagleTime { count: Count::F6(decimal(since, digits)?.parse().ok()?), ..*self });
            }
            _ => {}
        }
        let nanos = nanos_of(digits)?;
        let wanted = since * NANO + nanos;
        let whole = || (nanos == 0).then_some(since);
        let count = match (self.count, self.unit) {
            (Count::Unsigned(width, _), Unit::Seconds) => Count::Unsigned(width, whole()?.try_into().ok()?),
            (Count::Signed(width, _), Unit::Seconds) => Count::Signed(width, whole()?),
            (Count::Unsigned(width, _), _) => Count::Unsigned(width, oscillations(wanted)?.try_into().ok()?),
            (Count::Signed(width, _), _) => Count::Signed(width, oscillations(wanted)?),
            (Count::F5(_) | Count::F6(_), _) => return None,
        };
        let fits = match count {
            Count::Unsigned(width, n) => Width::of_unsigned(n) <= width,
            Count::Signed(width, n) => Width::of_signed(n) <= width,
            Count::F5(_) | Count::F6(_) => true,
        };
        let time = EagleTime { count, ..*self };
        let same = time.unix_nanos() == wanted.checked_add(i128::from(EPOCH) * NANO);
        (fits && same).then_some(time)
    }

    /// Nanoseconds of Unix time, rounded down; `None` where they are not a number of 127 bits, or none at all.
    pub fn unix_nanos(&self) -> Option<i128> {
        let whole = match self.count {
            Count::Unsigned(_, n) => i128::try_from(n).ok(),
            Count::Signed(_, n) => Some(n),
            Count::F5(_) | Count::F6(_) => None,
        };
        let nanos = match (whole, self.unit, self.count) {
            (Some(n), Unit::Seconds, _) => n.checked_mul(NANO)?,
            (Some(n), Unit::Oscillations, _) => {
                let (seconds, rest) = (n.div_euclid(OSCILLATIONS), n.rem_euclid(OSCILLATIONS));
                seconds.checked_mul(NANO)?.checked_add(rest * NANO / OSCILLATIONS)?
            }
            (None, unit, Count::F5(n)) => real_nanos(n.into(), unit)?,
            (None, unit, Count::F6(n)) => real_nanos(n, unit)?,
            (None, ..) => return None,
        };
        nanos.checked_add(i128::from(EPOCH) * NANO)
    }

    /// As RFC 3339 in UTC, with as many digits of a second as there are; `None` outside the years 0 to 9999.
    pub fn rfc3339(&self) -> Option<String> {
        let nanos = self.unix_nanos()?;
        let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(i64::try_from(days).ok()?)?;
        let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let fraction = match nanos {
            0 => String::new(),
            _ => format!(".{nanos:09}").trim_end_matches('0').to_string(),
        };
        Some(format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}Z"))
    }

    /// Reads RFC 3339. Whole seconds make an integer, a fraction a `t6` where that is the very nanosecond, and
    /// oscillations where it is not; a leap second is the one after it.
    pub fn of_rfc3339(text: &str) -> Option<EagleTime> {
        let (unix, fraction) = parse(text)?;
        let Some(digits) = fraction else { return Some(EagleTime::of_unix(unix)) };
        let since = i128::from(unix) - i128::from(EPOCH);
        let real = EagleTime::fraction(decimal(since, digits)?.parse().ok()?);
        let Some(nanos) = nanos_of(digits) else { return Some(real) };
        let nanos = i128::from(unix) * NANO + nanos;
        if real.unix_nanos() == Some(nanos) { Some(real) } else { EagleTime::of_unix_nanos(nanos) }
    }

    /// The number as text.
    pub fn count_text(&self) -> String {
        match self.count {
            Count::Unsigned(_, n) => n.to_string(),
            Count::Signed(_, n) => n.to_string(),
            Count::F5(n) => zmij::Buffer::new().format(n).to_string(),
            Count::F6(n) => zmij::Buffer::new().format(n).to_string(),
        }
    }
}

/// The second of Unix time that RFC 3339 says, and the digits of its fraction.
fn parse(text: &str) -> Option<(i64, Option<&str>)> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.split('-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || date.len() != 10 {
        return None;
    }
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let offset = zone_seconds(zone)?;
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(c, f)| (c, Some(f)));
    let mut parts = clock.split(':').map(digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || clock.len() != 8 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_of(year, month, day)?;
    let unix = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - offset;
    let digits = |f: &str| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit());
    fraction.is_none_or(digits).then_some((unix, fraction))
}

/// The nanoseconds that the digits of a fraction say, if they are whole ones.
fn nanos_of(digits: &str) -> Option<i128> {
    format!("{digits:0<9}").parse().ok().filter(|_| digits.len() <= 9)
}

/// Seconds and the digits of a fraction of one more as a decimal number, which may be negative; `None` where there are
/// more digits than any clock tells.
fn decimal(seconds: i128, digits: &str) -> Option<String> {
    let part: i128 = format!("{digits:0<18}").parse().ok().filter(|_| digits.len() <= 18)?;
    let one = 10i128.pow(18);
    let all = seconds.checked_mul(one)?.checked_add(part)?;
    let (sign, all) = (if all < 0 { "-" } else { "" }, all.unsigned_abs());
    Some(format!("{sign}{}.{:018}", all / one as u128, all % one as u128))
}

/// The first oscillation in a nanosecond since the landing, of which each has one at least.
fn oscillations(nanos: i128) -> Option<i128> {
    let (seconds, rest) = (nanos.div_euclid(NANO), nanos.rem_euclid(NANO));
    let part = (rest * OSCILLATIONS + NANO - 1) / NANO;
    seconds.checked_mul(OSCILLATIONS)?.checked_add(part)
}

/// A float's whole seconds and its fraction, apart, so that no digit is lost in the product.
fn real_nanos(count: f64, unit: Unit) -> Option<i128> {
    let seconds = match unit {
        Unit::Seconds => count,
        Unit::Oscillations => count / OSCILLATIONS as f64,
    };
    if !seconds.is_finite() || seconds.abs() > 1e18 {
        return None;
    }
    let whole = seconds.floor();
    Some(whole as i128 * 1_000_000_000 + ((seconds - whole) * 1e9) as i128)
}

fn digits(text: &str) -> Option<u32> {
    (text.bytes().all(|b| b.is_ascii_digit()) && (1..=4).contains(&text.len())).then(|| text.parse().ok())?
}

fn zone_seconds(zone: &str) -> Option<i64> {
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    let (h, m) = (digits(hours)?, digits(minutes)?);
    (clock.len() == 5 && h < 24 && m < 60).then(|| sign * i64::from(h * 3600 + m * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: u32) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from year 0 to the first of January of `year`.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    365 * year + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + 1
}

/// Days from year 0 to 1970-01-01.
const UNIX_DAYS: i64 = 719_528;

/// Days since 1970-01-01 of a date that exists.
fn days_of(year: u32, month: u32, day: u32) -> Option<i64> {
    let y = i64::from(year);
    if !(1..=12).contains(&month) || !(1..=month_days(y, month)).contains(&i64::from(day)) {
        return None;
    }
    let before: i64 = (1..month).map(|m| month_days(y, m)).sum();
    Some(days_before(y) + before + i64::from(day) - 1 - UNIX_DAYS)
}

/// The date that many days after 1970-01-01, in the years 0 to 9999.
fn civil(days: i64) -> Option<(i64, u32, i64)> {
    let days = days.checked_add(UNIX_DAYS).filter(|d| (0..days_before(10_000)).contains(d))?;
    let mut year = days * 400 / 146_097;
    while days_before(year) > days {
        year -= 1;
    }
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before(year);
    let mut month = 1;
    while rest >= month_days(year, month) {
        rest -= month_days(year, month);
        month += 1;
    }
    Some((year, month, rest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_landing_is_zero() {
        let landing = EagleTime::seconds(0);
        assert_eq!(landing.rfc3339().unwrap(), "1969-07-20T20:17:40Z");
        assert_eq!(EagleTime::of_rfc3339("1969-07-20T20:17:40Z"), Some(landing));
        assert_eq!(EagleTime::of_rfc3339("1969-07-20T22:17:40+02:00"), Some(landing));
    }

    /// Expected values from Python's `datetime`.
    #[test]
    fn dates_agree_with_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-62_135_596_800, "0001-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(EagleTime::of_unix(unix).rfc3339().as_deref(), Some(text));
            assert_eq!(EagleTime::of_rfc3339(text), Some(EagleTime::of_unix(unix)), "{text}");
        }
        assert_eq!(EagleTime::of_unix(253_402_300_800).rfc3339(), None);
        assert_eq!(EagleTime::of_rfc3339("2100-02-29T00:00:00Z"), None);
        assert_eq!(EagleTime::of_rfc3339("2100-13-01T00:00:00Z"), None);
        assert_eq!(EagleTime::of_rfc3339("2100-12-01T00:00:00"), None);
    }

    #[test]
    fn oscillations_are_exact() {
        let count = Count::Signed(Width::W6, 1000 * OSCILLATIONS + OSCILLATIONS / 2);
        let time = EagleTime { count, unit: Unit::Oscillations, mark: Mark::Plain };
        assert_eq!(time.rfc3339().unwrap(), "1969-07-20T20:34:20.5Z");
        let before = EagleTime { count: Count::Signed(Width::W5, -1), ..time };
        assert_eq!(before.rfc3339().unwrap(), "1969-07-20T20:17:39.999999999Z");
    }

    #[test]
    fn every_nanosecond_has_a_time() {
        for nanos in
            [0, 1, -1, 999_999_999, 1_700_000_000_123_456_789, -14_182_940_000_000_001, i64::MAX.into()]
        {
            assert_eq!(EagleTime::of_unix_nanos(nanos).unwrap().unix_nanos(), Some(nanos));
        }
        assert_eq!(EagleTime::of_unix_nanos(1_000_000_000), Some(EagleTime::of_unix(1)));
        assert_eq!(EagleTime::of_unix_nanos(i128::MIN), None);
    }

    /// No digit of a second is lost, whether a double holds it or not.
    #[test]
    fn a_fraction_of_a_second_is_that_fraction() {
        for (text, float) in [
            ("2024-01-01T00:00:00.5Z", true),
            ("2024-01-01T00:00:00.1Z", false),
            ("2024-01-01T00:00:00.123456789Z", false),
            ("1960-01-01T00:00:00.6Z", false),
            ("1969-07-20T20:17:40.25Z", true),
            ("9999-12-31T23:59:59.999999999Z", false),
        ] {
            let time = EagleTime::of_rfc3339(text).unwrap();
            assert_eq!(time.rfc3339().as_deref(), Some(text));
            assert_eq!(matches!(time.count, Count::F6(_)), float, "{text}");
        }
    }

    /// A time that is corrected stays of its kind, or is none.
    #[test]
    fn a_time_is_written_again_as_it_was() {
        let count = |count, unit| EagleTime { count, unit, mark: Mark::Plain };
        let narrow = count(Count::Signed(Width::W5, 1), Unit::Seconds);
        let again = |time: EagleTime, text: &str| time.again(text).map(|time| time.count);
        assert_eq!(again(narrow, "1969-07-20T20:18:40Z"), Some(Count::Signed(Width::W5, 60)));
        assert_eq!(again(narrow, "1969-07-20T22:18:40+02:00"), Some(Count::Signed(Width::W5, 60)));
        assert_eq!(again(narrow, "1969-07-20T20:18:40.5Z"), None);
        assert_eq!(again(narrow, "2050-07-20T20:18:40Z"), None);
        assert_eq!(again(narrow, "yesterday"), None);
        let waves = count(Count::Signed(Width::W6, 1), Unit::Oscillations);
        let half = Count::Signed(Width::W6, OSCILLATIONS / 2);
        assert_eq!(again(waves, "1969-07-20T20:17:40.5Z"), Some(half));
        assert_eq!(again(waves, "1969-07-20T20:17:40.1234567891Z"), None);
        let real = count(Count::F6(0.0), Unit::Seconds);
        assert_eq!(again(real, "1969-07-20T20:17:40.25Z"), Some(Count::F6(0.25)));
        // `float("1800000000.6")` and its neighbours, of Python.
        assert_eq!(again(real, "2026-08-04T04:17:40.6Z"), Some(Count::F6(1800000000.6)));
        assert_eq!(again(real, "1969-07-20T20:17:39.9Z"), Some(Count::F6(-0.1)));
        let single = count(Count::F5(0.0), Unit::Seconds);
        assert_eq!(again(single, "2026-08-04T04:17:41Z"), Some(Count::F5(1800000000.0)));
        let unsigned = count(Count::Unsigned(Width::W5, 0), Unit::Seconds);
        assert_eq!(again(unsigned, "1969-07-20T20:17:39Z"), None);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for count in [Count::F6(f64::NAN), Count::F6(1e300), Count::Unsigned(Width::W7, u128::MAX)] {
            let time = EagleTime { count, unit: Unit::Seconds, mark: Mark::Design };
            assert_eq!(time.rfc3339(), None);
        }
    }
}
