//! The `user_version` of the result: what the head of the file says; where that is lost, what the columns of its tables
//! and its table `meta` say.
//!
//! The columns tell a version, or a few that have the same ones. `meta` tells the version in which the project was made,
//! which later ones do not change, so that it decides where the columns leave a choice, and is a least otherwise.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use rusqlite::Connection;

use super::Salvage;
use super::known;
use super::plan::Plan;
use super::record::Encoding;

/// The tables that every version has.
const CORE: [&str; 4] = ["dataset", "trace", "event", ASSETS];
const ASSETS: &str = "asset";
/// What `meta` says of the version.
const SAID: &str = "SELECT value FROM meta WHERE key IN ('schema_version', 'project_version')";
/// A larger number in `meta` is no version.
const LARGEST: i32 = 1000;

/// A version, and how it was come by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// It.
    pub number: i32,
    /// Whether something tells it, and leaves no choice.
    pub is_known: bool,
    /// For people, if it is not what the head says.
    pub note: Option<String>,
}

/// The version of a file that was looked through, and whose rows are in `db`.
pub fn tell(salvage: &Salvage<'_>, db: &Connection) -> Version {
    if let Some(number) = salvage.survey.reader.geometry.user_version {
        return Version { number, is_known: true, note: None };
    }
    let catalog = &salvage.catalog;
    decide(
        catalog.completed_from.or_else(|| of_columns(&catalog.plan)),
        has_recipes(&catalog.plan),
        in_meta(db),
    )
}

/// Weighs what the columns say against what `meta` says.
fn decide(columns: Option<i32>, recipes: bool, meta: Option<i32>) -> Version {
    let told = |number, is_known, by: &str| {
        let note = format!("the head of the file is lost; its user_version {number} is told by {by}");
        Version { number, is_known, note: Some(note) }
    };
    let Some(number) = columns else {
        return match meta {
            Some(meta) => told(meta, true, "its table meta"),
            None => {
                let note =
                    "the head of the file is lost, and nothing else tells its user_version, which is 0 now";
                Version { note: Some(note.to_string()), ..Version::default() }
            }
        };
    };
    let alike = alike(number, recipes);
    match meta {
        Some(meta) if alike.contains(&meta) && alike.start() < alike.end() => {
            told(meta, true, "the columns of its tables, and its table meta")
        }
        Some(meta) if meta > *alike.end() => told(meta, true, "its table meta"),
        _ if alike.start() == alike.end() => told(number, true, "the columns of its tables"),
        _ => {
            let (from, to) = (alike.start(), alike.end());
            told(number, false, &format!("the columns of its tables, which those of {from} to {to} have"))
        }
    }
}

/// The versions whose tables have the same columns.
fn alike(number: i32, recipes: bool) -> RangeInclusive<i32> {
    match number {
        1 => 1..=2,
        5 if !recipes => 3..=5,
        other => other..=other,
    }
}

fn has_recipes(plan: &Plan) -> bool {
    plan.table("figure_recipe").is_some()
}

/// The version whose columns are all there, and the most of them; of those that are alike, the one that has the fewest
/// tables which are not there, and the newest. Not every project has a table of assets.
fn of_columns(plan: &Plan) -> Option<i32> {
    let versions = known::all().into_iter().filter_map(|known| {
        let theirs = Plan::of(&known.schema, Encoding::Utf8).ok()?;
        let mut columns = 0;
        for name in CORE {
            let Some(own) = plan.table(name) else {
                if name == ASSETS {
                    continue;
                }
                return None;
            };
            let has = |name: &str| own.fields.iter().any(|f| f.name.eq_ignore_ascii_case(name));
            let fields = &theirs.table(name)?.fields;
            columns += fields.len();
            fields.iter().all(|field| has(&field.name)).then_some(())?;
        }
        let missing = theirs.tables.iter().filter(|table| plan.table(&table.name).is_none()).count();
        Some((columns, Reverse(missing), known.user_version))
    });
    versions.max().map(|(.., version)| version)
}

fn in_meta(db: &Connection) -> Option<i32> {
    let mut query = db.prepare(SAID).ok()?;
    let said = query.query_map([], |row| row.get::<_, String>(0)).ok()?;
    let numbers = said.flatten().filter_map(|text| text.trim().parse().ok());
    numbers.filter(|number| (1..=LARGEST).contains(number)).max()
}

#[cfg(test)]
mod tests {
    use super::super::layout::Schema;
    use super::*;

    fn number(columns: Option<i32>, recipes: bool, meta: Option<i32>) -> (i32, bool) {
        let version = decide(columns, recipes, meta);
        assert!(version.note.is_some());
        (version.number, version.is_known)
    }

    #[test]
    fn columns_decide_and_meta_where_they_leave_a_choice() {
        assert_eq!(number(Some(7), true, None), (7, true));
        // It was made by version 3, and brought to version 7 since.
        assert_eq!(number(Some(7), false, Some(3)), (7, true));
        assert_eq!(number(Some(6), true, Some(8)), (8, true));
        for meta in 3..=5 {
            assert_eq!(number(Some(5), false, Some(meta)), (meta, true));
        }
        assert_eq!(number(Some(5), true, Some(3)), (5, true));
        assert_eq!(number(Some(5), false, None), (5, false));
        assert_eq!(number(Some(1), false, Some(2)), (2, true));
        assert_eq!(number(Some(1), false, None), (1, false));
        assert_eq!(number(None, false, Some(4)), (4, true));
        assert_eq!(number(None, false, None), (0, false));
    }

    #[test]
    fn every_known_version_is_told_by_its_columns() {
        for known in known::all() {
            assert_eq!(
                of_columns(&Plan::of(&known.schema, Encoding::Utf8).unwrap()),
                Some(known.user_version)
            );
        }
        assert_eq!(of_columns(&Plan::default()), None);
    }

    #[test]
    fn a_version_is_told_without_a_table_of_assets() {
        for known in known::all() {
            let is_of_assets = |table: &str| matches!(table, "asset" | "blob_chunk" | "ref");
            let schema: Vec<Schema> =
                known.schema.into_iter().filter(|row| !is_of_assets(&row.table)).collect();
            let told = of_columns(&Plan::of(&schema, Encoding::Utf8).unwrap());
            // The third one that has no frames is the first one, without assets.
            let is_first = known.user_version == 3
                && !schema.iter().any(|row| row.sql.iter().any(|sql| sql.contains("frame_number")));
            assert_eq!(told, Some(if is_first { 1 } else { known.user_version }));
        }
    }
}
