//! Names that mean the same everywhere.
//!
//! A canonical key has its unit in its name and one type. Other names for it are aliases, which may count in another
//! unit. On writing, a canonical key has its type or is refused; values that were read keep the type that they had. On
//! reading, a known name is offered under its key, in the key's unit and with the name that it had in the file; the
//! value in the file is untouched. What is whole stays exact: no integer goes through floating point.

use super::eagle::OSCILLATIONS;
use super::encode::Unfit;
use super::value::Value;
use super::{Element, Width};

/// A canonical key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// The name, with its unit.
    pub key: &'static str,
    /// The type, as it is written in files.
    pub kind: &'static str,
    /// Other names, and what they count.
    pub aliases: &'static [(&'static str, Measure)],
}

/// What a name counts, beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The same.
    Same,
    /// Another unit: the first so many of the key's are the second so many of its own.
    Times(u64, u64),
    /// The square of what the key has.
    Square,
}

use Measure::{Same, Square, Times};

macro_rules! entries {
    ($($key:literal $kind:literal [$($alias:literal $measure:expr),* $(,)?])*) => {
        &[$(Entry { key: $key, kind: $kind, aliases: &[$(($alias, $measure)),*] }),*]
    };
}

const GIGA: Measure = Times(1_000_000_000, 1);
const KILO: Measure = Times(1000, 1);
const MILLI: Measure = Times(1, 1000);

/// Nanoseconds of oscillations.
const WAVES: Measure = Times(1_000_000_000, OSCILLATIONS as u64);

/// All that are known.
pub const ENTRIES: &[Entry] = entries! {
    "iso_speed" "u5" ["ISO" Same, "iso" Same, "ISOSpeed" Same, "iso_setting" Same]
    "shutter_time_ns" "u6" ["ShutterTimeNs" Same, "shutter_time_s" GIGA, "ExposureTime" GIGA,
                            "exposure_time_s" GIGA, "exposure_osc" WAVES]
    "focal_length_mm" "f5" ["FocalLength" Same, "focal_length" Same, "focal_length_m" KILO]
    "focus_distance_mm" "f5" ["focus_distance_m" KILO, "SubjectDistance" KILO]
    "lens_min_focal_mm" "f5" ["lens_min_focal_m" KILO]
    "lens_max_focal_mm" "f5" ["lens_max_focal_m" KILO]
    "aperture_f_number" "f5" ["FNumber" Same, "f_number" Same, "aperture_n2" Square]
    "lens_min_aperture_f_number" "f5" ["lens_min_aperture" Same, "lens_min_aperture_n2" Square]
    "lens_max_aperture_f_number" "f5" ["lens_max_aperture" Same, "lens_max_aperture_n2" Square]
    "exposure_compensation_ev" "f5" ["exposure_compensation" Same, "ExposureBiasValue" Same,
                                     "exposure_bias_stops" Same]
    "black_level" "f5" ["BlackLevel" Same]
    "white_level" "f5" ["WhiteLevel" Same]
    "latitude_deg" "f6" ["lat_deg" Same, "lat" Same, "latitude" Same, "GPSLatitude" Same]
    "longitude_deg" "f6" ["lon_deg" Same, "lon" Same, "longitude" Same, "GPSLongitude" Same]
    "altitude_m" "f6" ["alt_m" Same, "altitude" Same, "GPSAltitude" Same]
    "mass_kg" "f6" ["weight_kg" Same, "mass_g" MILLI]
    "flash_fired" "u0" ["Flash" Same]
};

/// Names whose two values are a fraction, in files of version 10.
const FRACTIONS: &[&str] = &[
    "iso_speed",
    "aperture_n2",
    "lens_min_aperture_n2",
    "lens_max_aperture_n2",
    "exposure_bias_stops",
    "focal_length_m",
    "focus_distance_m",
    "lens_min_focal_m",
    "lens_max_focal_m",
];

/// The entry that has `name` as its key or as an alias, and what the name counts.
pub fn find(name: &str) -> Option<(&'static Entry, Measure)> {
    ENTRIES.iter().find_map(|entry| {
        let alias = || entry.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, measure)| *measure);
        let measure = if entry.key == name { Some(Same) } else { alias() };
        measure.map(|measure| (entry, measure))
    })
}

/// The type of a canonical key.
pub fn kind_of(key: &str) -> Option<&'static str> {
    ENTRIES.iter().find(|entry| entry.key == key).map(|entry| entry.kind)
}

/// Whether a canonical key is given a value of its type. Other names take anything.
pub fn check(name: &str, value: &Value) -> Result<(), Unfit> {
    check_kind(name, &value.kind())
}

/// The same for a field of any number of values, of which a canonical key has one.
pub fn check_all(name: &str, values: &[Value]) -> Result<(), Unfit> {
    match values {
        [value] => check(name, value),
        _ => check_kind(name, if values.is_empty() { "a flag" } else { "several values" }),
    }
}

/// Whether a canonical key is given what is of another kind than its own.
pub fn check_kind(name: &str, given: &str) -> Result<(), Unfit> {
    match ENTRIES.iter().find(|entry| entry.key == name) {
        Some(entry) if entry.kind != given => {
            Err(Unfit::Type { key: entry.key, wanted: entry.kind, given: given.to_string() })
        }
        _ => Ok(()),
    }
}

/// A value under its canonical key.
#[derive(Debug, Clone, PartialEq)]
pub struct Normal {
    /// The key.
    pub key: &'static str,
    /// The name in the file.
    pub original: String,
    /// The value in the key's unit, and in its type where it fits.
    pub value: Value,
}

/// `value` under the canonical key of `name`; `None` where none is known, or the value is no number. A value that
/// would lose digits in the key's type keeps its own.
pub fn normalise(name: &str, value: &Value) -> Option<Normal> {
    normalise_all(name, [value])
}

/// The same for the values of a field, which may be a fraction of two.
pub fn normalise_all<'a>(name: &str, values: impl IntoIterator<Item = &'a Value>) -> Option<Normal> {
    let (entry, measure) = find(name)?;
    let mut values = values.into_iter();
    let value = match (values.next()?, values.next(), values.next()) {
        (value, None, _) => single(entry, measure, value)?,
        (over, Some(under), None) if FRACTIONS.contains(&name) => {
            let number = Number::of(over)?.over(under)?.measured(measure)?;
            number.as_kind(entry.kind, measure == Same).unwrap_or(Value::F6(number.real()))
        }
        _ => return None,
    };
    Some(Normal { key: entry.key, original: name.to_string(), value })
}

fn single(entry: &Entry, measure: Measure, value: &Value) -> Option<Value> {
    if entry.kind == value.kind() && measure == Same {
        return Some(value.clone());
    }
    if entry.kind == "u0" {
        return match value {
            Value::Unsigned(_, n @ (0 | 1)) => Some(Value::Bool(*n == 1)),
            _ => None,
        };
    }
    let number = Number::of(value)?.measured(measure)?;
    let same = measure == Same;
    let own = || if same { value.clone() } else { Value::F6(number.real()) };
    Some(number.as_kind(entry.kind, same).unwrap_or_else(own))
}

/// A number on its way into another type.
#[derive(Debug, Clone, Copy)]
enum Number {
    /// A sign, and a fraction that is not reduced.
    Fraction { below_zero: bool, over: u128, under: u128 },
    /// In floating point.
    Real(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        let whole = |below_zero, over| Number::Fraction { below_zero, over, under: 1 };
        match value {
            Value::Unsigned(_, n) => Some(whole(false, *n)),
            Value::Signed(_, n) => Some(whole(*n < 0, n.unsigned_abs())),
            Value::F5(n) => Some(Number::Real((*n).into())),
            Value::F6(n) => Some(Number::Real(*n)),
            _ => None,
        }
    }

    /// Divided by an integer.
    fn over(self, value: &Value) -> Option<Number> {
        match (self, Number::of(value)?) {
            (
                Number::Fraction { below_zero, over, under: 1 },
                Number::Fraction { below_zero: sign, over: n, .. },
            ) if n > 0 => Some(Number::Fraction { below_zero: below_zero != sign, over, under: n }),
            _ => None,
        }
    }

    fn real(self) -> f64 {
        match self {
            Number::Fraction { below_zero, over, under } => {
                let size = over as f64 / under as f64;
                if below_zero { -size } else { size }
            }
            Number::Real(n) => n,
        }
    }

    /// In the key's unit.
    fn measured(self, measure: Measure) -> Option<Number> {
        match (measure, self) {
            (Same, number) => Some(number),
            (Times(by, per), Number::Fraction { below_zero, over, under }) => {
                let exact = over.checked_mul(by.into()).zip(under.checked_mul(per.into()));
                let real = || Number::Real(self.real() * by as f64 / per as f64);
                Some(exact.map_or_else(real, |(over, under)| Number::Fraction { below_zero, over, under }))
            }
            (Times(by, per), Number::Real(n)) => Some(Number::Real(n * by as f64 / per as f64)),
            (Square, number) => Some(Number::Real(number.real().sqrt())).filter(|n| !n.real().is_nan()),
        }
    }

    /// In the type of a key, if it fits; where that is wanted, with no digit less.
    fn as_kind(self, kind: &str, exact: bool) -> Option<Value> {
        match Element::named(kind)? {
            Element::Unsigned(width) => self.whole(width, exact).map(|n| Value::Unsigned(width, n)),
            Element::F5 if exact && !self.fits(24, |n| f64::from(n as f32)) => None,
            Element::F5 => Some(Value::F5(self.real() as f32)),
            _ if exact && !self.fits(53, |n| n) => None,
            _ => Some(Value::F6(self.real())),
        }
    }

    /// Whether it is the same with so many binary digits, or after `rounded`; a fraction is what is next to it.
    fn fits(self, digits: u32, rounded: impl Fn(f64) -> f64) -> bool {
        match self {
            Number::Fraction { over: 0, .. } => true,
            Number::Fraction { over, under, .. } => {
                under > 1 || 128 - over.leading_zeros() - over.trailing_zeros() <= digits
            }
            Number::Real(n) => rounded(n) == n,
        }
    }

    /// A whole number; the nearest, where it need not be exact.
    fn whole(self, width: Width, exact: bool) -> Option<u128> {
        let whole = match self {
            Number::Fraction { below_zero: true, over: 1.., .. } => return None,
            Number::Fraction { over, under, .. } => {
                let (whole, rest) = (over / under, over % under);
                match rest {
                    0 => whole,
                    _ if exact => return None,
                    _ => whole + u128::from(rest >= under - rest),
                }
            }
            Number::Real(n) => {
                let nearest = n.round();
                let fits = (0.0..2f64.powi(127)).contains(&nearest) && (!exact || nearest == n);
                fits.then_some(nearest as u128)?
            }
        };
        (Width::of_unsigned(whole) <= width).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_two_things() {
        let mut names: Vec<&str> = ENTRIES.iter().map(|e| e.key).collect();
        names.extend(ENTRIES.iter().flat_map(|e| e.aliases.iter().map(|(alias, _)| *alias)));
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn aliases_become_their_key_and_keep_their_name() {
        for name in ["ISO", "iso", "ISOSpeed"] {
            let normal = normalise(name, &Value::F5(800.0)).unwrap();
            assert_eq!((normal.key, normal.original.as_str()), ("iso_speed", name));
            assert_eq!(normal.value, Value::Unsigned(Width::W5, 800));
        }
        // A hundredth of a second, in oscillations as real files have it.
        let normal = normalise("exposure_osc", &Value::Unsigned(Width::W5, 14_204_078)).unwrap();
        assert_eq!((normal.key, normal.value), ("shutter_time_ns", Value::Unsigned(Width::W6, 10_000_000)));
        assert_eq!(normalise("iso", &Value::F5(12.5)).unwrap().value, Value::F5(12.5));
        assert_eq!(normalise("something_else", &Value::F5(12.5)), None);
    }

    /// Expected values from Python's integers and fractions.
    #[test]
    fn whole_numbers_stay_exact() {
        let value = |name, value| normalise(name, &value).map(|normal| normal.value);
        let odd = (1 << 53) + 1;
        assert_eq!(
            value("ShutterTimeNs", Value::Unsigned(Width::W7, odd)),
            Some(Value::Unsigned(Width::W6, odd))
        );
        assert_eq!(value("ISO", Value::Signed(Width::W3, 100)), Some(Value::Unsigned(Width::W5, 100)));
        // What does not fit keeps its type and its digits.
        for own in [
            ("ShutterTimeNs", Value::Unsigned(Width::W7, u128::MAX)),
            ("ISO", Value::Signed(Width::W3, -1)),
            ("ISO", Value::Unsigned(Width::W6, 1 << 32)),
            ("latitude", Value::Unsigned(Width::W6, odd)),
            ("latitude", Value::Unsigned(Width::W7, u128::MAX)),
            ("BlackLevel", Value::Unsigned(Width::W5, (1 << 24) + 1)),
        ] {
            assert_eq!(value(own.0, own.1.clone()), Some(own.1));
        }
        assert_eq!(value("BlackLevel", Value::Unsigned(Width::W6, 1 << 40)), Some(Value::F5(2f32.powi(40))));
        // 9007199254740993 seconds are too many nanoseconds for 64 bits; 18446744073 are not.
        let seconds = Value::Unsigned(Width::W6, 18_446_744_073);
        let nanos = Value::Unsigned(Width::W6, 18_446_744_073_000_000_000);
        assert_eq!(value("shutter_time_s", seconds), Some(nanos));
        assert_eq!(
            value("shutter_time_s", Value::Unsigned(Width::W6, odd)),
            Some(Value::F6(9.007199254740993e24))
        );
        // 2**62 + 1 oscillations: round(Fraction((2**62 + 1) * 10**9, 1420407826)).
        let waves = Value::Unsigned(Width::W6, (1 << 62) + 1);
        assert_eq!(value("exposure_osc", waves), Some(Value::Unsigned(Width::W6, 3_246_733_743_656_089_871)));
        assert_eq!(value("mass_g", Value::Unsigned(Width::W4, 2500)), Some(Value::F6(2.5)));
    }

    #[test]
    fn the_names_of_version_10_are_known() {
        let u = |n| Value::Unsigned(Width::W5, n);
        let value = |name, over, under| normalise_all(name, [&over, &under]).map(|n| (n.key, n.value));
        let f5 = |n| Value::F5(n);
        assert_eq!(value("iso_speed", u(1600), u(2)), Some(("iso_speed", u(800))));
        assert_eq!(value("iso_speed", u(25), u(2)), Some(("iso_speed", Value::F6(12.5))));
        assert_eq!(value("aperture_n2", u(784), u(100)), Some(("aperture_f_number", f5(2.8))));
        let stops = Value::Signed(Width::W3, -5);
        assert_eq!(value("exposure_bias_stops", stops, u(2)), Some(("exposure_compensation_ev", f5(-2.5))));
        assert_eq!(value("focal_length_m", u(35), u(1000)), Some(("focal_length_mm", f5(35.0))));
        assert_eq!(value("lens_max_aperture_n2", u(4), u(1)), Some(("lens_max_aperture_f_number", f5(2.0))));
        // No fraction, and no pair of anything else.
        assert_eq!(value("iso_speed", u(100), u(0)), None);
        assert_eq!(value("black_level", u(64), u(64)), None);
        let below = Value::Signed(Width::W3, -1);
        assert_eq!(value("aperture_n2", below, u(1)), None);
    }

    #[test]
    fn a_key_of_another_type_is_refused() {
        assert!(check("iso_speed", &Value::Unsigned(Width::W5, 800)).is_ok());
        assert!(matches!(check("iso_speed", &Value::Unsigned(Width::W4, 800)), Err(Unfit::Type { .. })));
        assert!(check("iso_speeds", &Value::Bool(true)).is_ok());
        let iso = Value::Unsigned(Width::W5, 800);
        assert!(check_all("iso_speed", std::slice::from_ref(&iso)).is_ok());
        for values in [&[][..], &[iso.clone(), iso]] {
            assert!(matches!(check_all("iso_speed", values), Err(Unfit::Type { .. })));
        }
        assert!(check_kind("iso_speed", "section").is_err() && check_kind("speed", "section").is_ok());
    }
}
