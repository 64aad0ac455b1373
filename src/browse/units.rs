//! The columns of a package's channels as people know them: with their units.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::database::json;
use crate::error::Result;
use crate::tree::{Cell, Column, Content, Place, Table};

/// A first line that is longer is none.
const MAX_HEAD: u64 = 64 << 10;

/// What each channel is called with its unit, by its key.
#[derive(Debug, Default)]
pub struct Units(BTreeMap<String, String>);

impl Units {
    /// The units in the document of a dataset.
    pub fn of(document: &str) -> Units {
        let entries = json::entries(document).unwrap_or_default();
        let channels =
            entries.iter().find(|entry| entry.name == "channels").map_or("[]", |entry| entry.value);
        let mut units = BTreeMap::new();
        for channel in json::items(channels).into_iter().flatten() {
            let fields = json::fields(channel).unwrap_or_default();
            let said = |name: &str| fields.get(name).and_then(|text| json::said(text));
            if let (Some(key), Some(unit)) = (said("key"), said("unit")) {
                let name = with_unit(&key, &unit);
                units.insert(key, name);
            }
        }
        Units(units)
    }

    /// The names with their units, but for one whose new name another has already.
    fn rename(&self, names: &[&str]) -> Vec<String> {
        let new = |name: &&str| match self.0.get(*name) {
            Some(with) if !names.contains(&with.as_str()) => with.clone(),
            _ => name.to_string(),
        };
        names.iter().map(new).collect()
    }

    /// A table with its columns renamed.
    pub fn on_table(&self, table: Arc<dyn Table>) -> Arc<dyn Table> {
        let names: Vec<&str> = table.columns().iter().map(|column| column.name.as_str()).collect();
        let renamed = self.rename(&names).into_iter().zip(table.columns());
        let columns = renamed.map(|(name, column)| Column { name, cells: column.cells }).collect();
        Arc::new(Renamed { table, columns })
    }

    /// The first line of stored CSV with its columns renamed, and how long it was; `None` where it stays as it is.
    pub fn on_csv(&self, stored: &Content) -> Result<Option<(Vec<u8>, u64)>> {
        let mut head = vec![0; stored.size().min(MAX_HEAD) as usize];
        let n = stored.read_at(0, &mut head)?;
        head.truncate(n);
        let Some(end) = head.iter().position(|b| matches!(b, b'\n' | b'\r')) else { return Ok(None) };
        head.truncate(end);
        let Ok(line) = std::str::from_utf8(&head) else { return Ok(None) };
        // A mark of the encoding stays where it is.
        let (mark, line) = line.strip_prefix('\u{feff}').map_or(("", line), |line| ("\u{feff}", line));
        if line.contains('"') {
            return Ok(None);
        }
        let names: Vec<&str> = line.split(',').collect();
        let renamed = format!("{mark}{}", self.rename(&names).join(","));
        Ok((renamed.as_bytes() != head).then(|| (renamed.into_bytes(), end as u64)))
    }
}

/// Units that names have in words.
const IN_WORDS: [(&str, &str); 5] =
    [("s", "seconds"), ("s", "sec"), ("ms", "milliseconds"), ("us", "microseconds"), ("min", "minutes")];

/// `inner_diam` and `um` as `inner_diam_um`.
fn with_unit(key: &str, unit: &str) -> String {
    let plain = unit.replace(['\u{b5}', '\u{3bc}'], "u").replace('%', "pct").to_lowercase();
    let plain: String = plain.chars().filter(char::is_ascii_alphanumeric).collect();
    let says = |word: &str| key.rsplit_once('_').is_some_and(|(_, last)| last == word);
    let says_word = IN_WORDS.iter().any(|(unit, word)| *unit == plain && says(word));
    match plain.is_empty() || plain == "1" || says(&plain) || says_word {
        true => key.to_string(),
        false => format!("{key}_{plain}"),
    }
}

/// A table whose columns are called otherwise.
#[derive(Debug)]
struct Renamed {
    table: Arc<dyn Table>,
    columns: Vec<Column>,
}

impl Table for Renamed {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn check(&self) -> Result<()> {
        self.table.check()
    }

    fn rows(&self) -> Result<u64> {
        self.table.rows()
    }

    fn read(
        &self,
        from: &Place,
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>> {
        self.table.read(from, most, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gets_its_unit_once_and_in_plain_letters() {
        for (key, unit, name) in [
            ("inner_diam", "um", "inner_diam_um"),
            ("inner_diam", "\u{b5}m", "inner_diam_um"),
            ("inner_diam", "\u{3bc}m", "inner_diam_um"),
            ("p_avg", "mmHg", "p_avg_mmhg"),
            ("temp", "\u{b0}C", "temp_c"),
            ("t_seconds", "s", "t_seconds"),
            ("tone", "s", "tone_s"),
            ("seconds", "ms", "seconds_ms"),
            ("flow_um", "um", "flow_um"),
            ("ratio", "%", "ratio_pct"),
            ("count", "", "count"),
            ("count", "1", "count"),
            ("x", "=cmd|'/c'!A1", "x_cmdca1"),
        ] {
            assert_eq!(with_unit(key, unit), name, "{key} {unit}");
        }
    }

    #[test]
    fn the_first_line_alone_is_written_anew() {
        let units = Units::of(
            r#"{"channels": [{"key": "d", "unit": "um"}, {"key": "p", "unit": "mmHg"}, {"key": "q", "unit": null}]}"#,
        );
        let line = |csv: &str| {
            let content = Content::Bytes(csv.as_bytes().into());
            units.on_csv(&content).unwrap().map(|(line, end)| (String::from_utf8(line).unwrap(), end))
        };
        assert_eq!(line("t,d,p,q\n1,2,3,4\n"), Some(("t,d_um,p_mmhg,q".into(), 7)));
        assert_eq!(line("t,d\r\n1,2\r\n"), Some(("t,d_um".into(), 3)));
        assert_eq!(line("\u{feff}d\n"), Some(("\u{feff}d_um".into(), 4)));
        assert_eq!(line("d,d_um\n1,2\n"), None, "the name is taken");
        assert_eq!(line("\"d\",p\n"), None);
        assert_eq!(line("d"), None);
        assert_eq!(line(""), None);
    }
}
