//! Rows that belong to a row of another table that is not there.
//!
//! The application deletes a row with all that belong to it. So the row was lost, and counts as such; but where the tree of
//! its table is whole, and misses none, it may also never have been there, and the rows that belong to it are in doubt.

use rusqlite::{Connection, OptionalExtension};

use super::losses::sql;
use super::report::{Certainty, TableReport};
use super::{Salvage, known};
use crate::database::layout::quoted;
use crate::error::Result;

/// Counts them with the table that has lost what they belong to, or as rows in doubt.
pub fn tell(salvage: &mut Salvage<'_>, db: &Connection, tables: &mut [TableReport]) -> Result<()> {
    // A schema whose references lead nowhere has an error here, and no orphans that could be counted.
    let Ok(groups) = groups(db) else { return Ok(()) };
    let (mut of_lost, mut of_none) = (0, 0);
    for (child, parent, rows) in groups {
        let named = |name: &str, t: &TableReport| t.name.eq_ignore_ascii_case(name);
        let at = tables.iter().position(|t| named(&parent, t));
        let is_sound = |at: usize| tables[at].lost == 0 && tables[at].certainty == Certainty::Exact;
        match at.filter(|at| !is_sound(*at)) {
            Some(at) => {
                let missing = missing(db, &child, &parent).map_err(sql)?.max(1);
                if missing > tables[at].lost {
                    tables[at].lost = missing;
                    tables[at].certainty = Certainty::AtLeast;
                }
                of_lost += rows;
            }
            // What somebody else's tables refer to may never have been there: SQLite asks nobody for it.
            None if !known::has_table(&child) => of_none += rows,
            None => {
                tables.iter_mut().filter(|t| named(&child, t)).for_each(|t| t.orphans += rows);
                of_none += rows;
            }
        }
    }
    if of_lost > 0 {
        salvage.notes.push(format!("{of_lost} rows belong to a row that is lost, and are kept"));
    }
    if of_none > 0 {
        let what = "rows belong to a row that is lost or never was there, and are kept";
        salvage.notes.push(format!("{of_none} {what}"));
    }
    Ok(())
}

/// How many rows of which table belong to a row of which that is not there.
fn groups(db: &Connection) -> rusqlite::Result<Vec<(String, String, u64)>> {
    let mut query =
        db.prepare("SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2")?;
    let group = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)? as u64));
    query.query_map([], group)?.collect()
}

/// How many rows of `parent` those of `child` name that are not there, where they name them by one column.
fn missing(db: &Connection, child: &str, parent: &str) -> rusqlite::Result<u64> {
    let find = "SELECT \"from\", \"to\" FROM pragma_foreign_key_list(?1) WHERE \"table\" = ?2 COLLATE NOCASE
        AND \"to\" IS NOT NULL GROUP BY id HAVING count(*) = 1";
    let mut query = db.prepare(find)?;
    let columns = query.query_map([child, parent], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let mut most = 0;
    for columns in columns {
        let (from, to): (String, String) = columns?;
        let count = format!(
            "SELECT count(*) FROM (SELECT DISTINCT {0} AS named FROM main.{1} WHERE {0} IS NOT NULL)
             WHERE NOT EXISTS (SELECT 1 FROM main.{2} WHERE {3} = named)",
            quoted(&from),
            quoted(child),
            quoted(parent),
            quoted(&to)
        );
        let n: Option<i64> = db.query_row(&count, [], |r| r.get(0)).optional()?;
        most = most.max(n.unwrap_or(0) as u64);
    }
    Ok(most)
}
