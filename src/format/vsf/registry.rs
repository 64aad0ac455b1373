//! Names that mean the same everywhere.
//!
//! A canonical key has its unit in its name and one type. Other names for it are aliases; those that count in
//! another unit bear the factor between them. On writing, a canonical key has its type or is refused. On reading, a
//! known name is offered under its key, with the name that it had in the file; the value in the file is untouched.

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
    /// Other names, and how many of this unit one of theirs is.
    pub aliases: &'static [(&'static str, f64)],
}

macro_rules! entries {
    ($($key:literal $kind:literal [$($alias:literal * $factor:expr),* $(,)?])*) => {
        &[$(Entry { key: $key, kind: $kind, aliases: &[$(($alias, $factor)),*] }),*]
    };
}

const NANOSECONDS_PER_OSCILLATION: f64 = 1e9 / OSCILLATIONS as f64;

/// All that are known.
pub const ENTRIES: &[Entry] = entries! {
    "iso_speed" "u5" ["ISO" * 1.0, "iso" * 1.0, "ISOSpeed" * 1.0, "iso_setting" * 1.0]
    "shutter_time_ns" "u6" ["ShutterTimeNs" * 1.0, "shutter_time_s" * 1e9, "ExposureTime" * 1e9,
                            "exposure_time_s" * 1e9, "exposure_osc" * NANOSECONDS_PER_OSCILLATION]
    "focal_length_mm" "f5" ["FocalLength" * 1.0, "focal_length" * 1.0, "focal_length_m" * 1e3]
    "focus_distance_mm" "f5" ["focus_distance_m" * 1e3, "SubjectDistance" * 1e3]
    "lens_min_focal_mm" "f5" ["lens_min_focal_m" * 1e3]
    "lens_max_focal_mm" "f5" ["lens_max_focal_m" * 1e3]
    "aperture_f_number" "f5" ["FNumber" * 1.0, "f_number" * 1.0]
    "exposure_compensation_ev" "f5" ["exposure_compensation" * 1.0, "ExposureBiasValue" * 1.0]
    "black_level" "f5" ["BlackLevel" * 1.0]
    "white_level" "f5" ["WhiteLevel" * 1.0]
    "latitude_deg" "f6" ["lat_deg" * 1.0, "lat" * 1.0, "latitude" * 1.0, "GPSLatitude" * 1.0]
    "longitude_deg" "f6" ["lon_deg" * 1.0, "lon" * 1.0, "longitude" * 1.0, "GPSLongitude" * 1.0]
    "altitude_m" "f6" ["alt_m" * 1.0, "altitude" * 1.0, "GPSAltitude" * 1.0]
    "mass_kg" "f6" ["weight_kg" * 1.0, "mass_g" * 1e-3]
    "flash_fired" "u0" ["Flash" * 1.0]
};

/// The entry that has `name` as its key or as an alias, and the alias's factor.
pub fn find(name: &str) -> Option<(&'static Entry, f64)> {
    ENTRIES.iter().find_map(|entry| {
        let alias = || entry.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, factor)| *factor);
        let factor = if entry.key == name { Some(1.0) } else { alias() };
        factor.map(|factor| (entry, factor))
    })
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
    let (entry, factor) = find(name)?;
    let normal = |value: Value| Some(Normal { key: entry.key, original: name.to_string(), value });
    if entry.kind == value.kind() && factor == 1.0 {
        return normal(value.clone());
    }
    if entry.kind == "u0" {
        return match value {
            Value::Unsigned(_, n @ (0 | 1)) => normal(Value::Bool(*n == 1)),
            _ => None,
        };
    }
    let number = match value {
        Value::Unsigned(_, n) => *n as f64,
        Value::Signed(_, n) => *n as f64,
        Value::F5(n) => f64::from(*n),
        Value::F6(n) => *n,
        _ => return None,
    } * factor;
    let typed = match Element::named(entry.kind)? {
        Element::Unsigned(width) => whole(number, width, factor != 1.0),
        Element::F5 => {
            Some(Value::F5(number as f32)).filter(|_| factor != 1.0 || f64::from(number as f32) == number)
        }
        _ => Some(Value::F6(number)),
    };
    normal(typed.unwrap_or_else(|| if factor == 1.0 { value.clone() } else { Value::F6(number) }))
}

/// A whole number; the nearest, where the unit was converted anyway.
fn whole(number: f64, width: Width, converted: bool) -> Option<Value> {
    let nearest = number.round();
    let fits = (0.0..2f64.powi(width.bits() as i32)).contains(&nearest) && (converted || nearest == number);
    fits.then_some(Value::Unsigned(width, nearest as u128))
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

    #[test]
    fn a_key_of_another_type_is_refused() {
        assert!(check("iso_speed", &Value::Unsigned(Width::W5, 800)).is_ok());
        assert!(matches!(check("iso_speed", &Value::Unsigned(Width::W4, 800)), Err(Unfit::Type { .. })));
        assert!(check("iso_speeds", &Value::Bool(true)).is_ok());
    }
}
