//! The schema of a damaged file: as it is found, and completed from the known versions where it is not whole.

use std::collections::{HashMap, HashSet};

use super::assess::Reader;
use super::harmless::MOST_SQL;
use super::known::{self, Known};
use super::layout::{Layout, Schema};
use super::mend::{Mended, mend};
use super::page::Kind;
use super::plan::Plan;
use super::record::{Encoding, Types};
use super::survey::{Owner, Survey, Use};
use crate::error::{Error, Result};
use crate::tree::Cell as Value;

/// How many pages are looked at to tell the version by the shape of its records.
const SAMPLE: usize = 256;
/// More statements than these are no project's, nor is more text of them.
const MOST: usize = 1024;
const MOST_TEXT: u64 = 64 << 20;

/// A schema, and how it was come by.
#[derive(Debug)]
pub struct Catalog {
    /// Its rows.
    pub schema: Vec<Schema>,
    /// How its tables write their rows.
    pub plan: Plan,
    /// Whether all of it was found in the file.
    pub is_whole: bool,
    /// What of it was changed in a few bytes, and is as it was: kind, name, and the version that says how that was.
    pub mended: Vec<Mended>,
    /// Whether any of that may have been meant as it was.
    pub is_guessed: bool,
    /// The version that what was missing is taken from.
    pub completed_from: Option<i32>,
}

/// Mends the statements of the application that were changed; but not by a guess if something else could not be made then
/// that could be made before. Says what was mended, and whether any of it is a guess.
fn mend_what_is_damaged(schema: &mut Vec<Schema>, encoding: Encoding) -> Result<(Vec<Mended>, bool)> {
    let is_made = |plan: &Plan, row: &Schema| {
        let of =
            |layouts: &[Layout]| layouts.iter().any(|layout| layout.name.eq_ignore_ascii_case(&row.name));
        of(&plan.tables) || of(&plan.indices)
    };
    let (before, found) = (plan(schema, encoding)?, schema.clone());
    let (mended, guessed) = mend(schema, &|row| is_made(&before, row));
    if guessed.is_empty() {
        return Ok((mended, false));
    }
    let after = plan(schema, encoding)?;
    let is_lost = |(was, is): (&Schema, &Schema)| was == is && is_made(&before, was) && !is_made(&after, is);
    if !found.iter().zip(schema.iter()).any(is_lost) {
        return Ok((mended, true));
    }
    *schema = found;
    // What makes nothing as it is, is mended all the same.
    let mut rest: Vec<&mut Schema> = schema.iter_mut().filter(|row| !is_made(&before, row)).collect();
    let mut again: Vec<Schema> = rest.iter().map(|row| (**row).clone()).collect();
    let (mended, guessed) = mend(&mut again, &|_| false);
    rest.iter_mut().zip(again).for_each(|(row, now)| **row = now);
    Ok((mended, !guessed.is_empty()))
}

impl Catalog {
    /// Reads the schema, and completes it, also where it seems whole and `is_distrusted`.
    pub fn read(survey: &mut Survey<'_>, is_distrusted: bool) -> Result<Catalog> {
        let layout = Layout::of_schema();
        let encoding = survey.reader.geometry.encoding;
        let pages = survey.walk(&layout)?;
        let mut schema = Vec::new();
        let (mut told, mut text) = (0, 0);
        for page in &pages.reached {
            told += rows(&survey.reader, *page, &layout, &mut schema, &mut text)?;
        }
        // A long statement may be cut off though its page is whole.
        let is_whole = pages.is_sound() && told == schema.len();
        if !is_whole {
            search(survey, &layout, &mut schema, &mut text)?;
        }
        let (mended, is_guessed) = mend_what_is_damaged(&mut schema, encoding)?;
        let mut seen = HashSet::new();
        schema.retain(|row| seen.insert((row.kind.clone(), row.name.to_ascii_lowercase())));
        let is_whole = is_whole && schema.len() <= MOST;
        schema.truncate(MOST);
        let plan = plan(&schema, encoding)?;
        // A statement that SQLite does not take, or that makes something of another name, was changed.
        let made = |row: &Schema| row.kind != "table" || row.is_internal() || plan.table(&row.name).is_some();
        let is_virtual = |row: &Schema| row.root == 0;
        let is_whole = is_whole && schema.iter().all(|row| made(row) || is_virtual(row));
        let is_whole = is_whole && !is_distrusted && has_own_indices(&schema, &plan);
        let mut catalog = Catalog { plan, schema, is_whole, mended, is_guessed, completed_from: None };
        if !catalog.is_whole {
            catalog.complete(survey)?;
        }
        Ok(catalog)
    }

    /// Whether all of it was found, and it is known of every tree how its pages are written.
    pub fn knows_all(&self) -> bool {
        let told = self.schema.iter().filter(|row| row.kind == "index" && row.root != 0).count();
        self.is_whole && told == self.plan.indices.iter().filter(|layout| layout.root != 0).count()
    }

    /// Adds the tables and indices that are missing, if this is a project.
    fn complete(&mut self, survey: &Survey<'_>) -> Result<()> {
        let versions = known::all();
        let ours = |name: &str| versions[..3].iter().any(|k| k.schema.iter().any(|s| s.name == name));
        if !self.schema.is_empty() && !self.schema.iter().any(|row| ours(&row.name) || row.doubtful) {
            return Ok(());
        }
        let mut best: Option<(u64, Known)> = None;
        let mut least: HashMap<String, usize> = HashMap::new();
        for known in versions {
            let theirs = plan(&known.schema, survey.reader.geometry.encoding)?;
            for table in &theirs.tables {
                let few = least.entry(table.name.clone()).or_insert(usize::MAX);
                *few = table.fields.len().min(*few);
            }
            let score = score(survey, &self.plan, &known, &theirs)?;
            if score > 0 && best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, known));
            }
        }
        if let Some((_, known)) = best {
            self.complete_from(known, survey)?;
        }
        for table in &mut self.plan.tables {
            let few = least.get(&table.name.to_ascii_lowercase());
            table.least = few.map_or(0, |few| table.fields.len().min(*few));
        }
        Ok(())
    }

    /// Adds the tables and indices that are missing of a known version.
    fn complete_from(&mut self, known: Known, survey: &Survey<'_>) -> Result<()> {
        self.completed_from = Some(known.user_version);
        let encoding = survey.reader.geometry.encoding;
        let theirs = plan(&known.schema, encoding)?;
        for row in known.schema {
            self.take(row, &theirs);
        }
        // What is left of damaged statements would make tables that never were.
        let plan = plan(&self.schema, encoding)?;
        self.schema.retain(|row| row.kind != "table" || row.is_internal() || plan.table(&row.name).is_some());
        self.plan = plan;
        Ok(())
    }

    /// Puts a known statement in the place of the one that is missing, or was changed.
    fn take(&mut self, row: Schema, theirs: &Plan) {
        let same = |s: &Schema| s.kind == row.kind && s.name.eq_ignore_ascii_case(&row.name);
        let fields =
            |l: Option<&Layout>| l.map(|l| l.fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>());
        let (own, known) = (fields(self.plan.table(&row.name)), fields(theirs.table(&row.name)));
        // What makes a table of its own name is what somebody has called so, however damaged its page is.
        let like = |s: &Schema| {
            s.doubtful
                && s.kind == row.kind
                && theirs.table(&s.name).is_none()
                && self.plan.table(&s.name).is_none()
                && near(&s.name, &row.name)
        };
        let there = self.schema.iter().position(same);
        let at = there.or_else(|| self.schema.iter().position(like).filter(|_| row.kind == "table"));
        match at {
            None => self.schema.push(row),
            Some(at) => {
                let found = &mut self.schema[at];
                // A letter that is another gives no table all the columns of the known one, and more.
                let has_more = |(own, known): (&Vec<String>, &Vec<String>)| own.starts_with(known);
                let is_other = own != known && !own.as_ref().zip(known.as_ref()).is_some_and(has_more);
                let broken = own.is_none() && row.kind == "table" || found.doubtful && is_other;
                if broken || there.is_none() {
                    *found = Schema { root: found.root, ..row };
                }
            }
        }
    }
}

/// Whether every table has as many indices of its own in the schema as its statement makes: else that was changed.
fn has_own_indices(schema: &[Schema], plan: &Plan) -> bool {
    plan.tables.iter().all(|table| {
        let is_of = |name: &str| name.eq_ignore_ascii_case(&table.name);
        let told = schema.iter().filter(|row| row.kind == "index" && row.sql.is_none() && is_of(&row.table));
        let is_own = |index: &&Layout| index.name.starts_with("sqlite_autoindex_");
        let made = plan.indices.iter().filter(is_own);
        told.count() == made.filter(|index| index.index.as_ref().is_some_and(|of| is_of(&of.table))).count()
    })
}

/// Whether two names differ in few letters, and most are the same.
fn near(a: &str, b: &str) -> bool {
    let others = a.bytes().zip(b.bytes()).filter(|(x, y)| x != y).count();
    a.len() == b.len() && others <= 2 && others * 2 < a.len()
}

fn plan(schema: &[Schema], encoding: Encoding) -> Result<Plan> {
    Plan::of(schema, encoding)
        .map_err(|e| Error::Refused(format!("cannot make an empty database in memory: {e}")))
}

/// How well a known version fits: by the tables whose statements were found, and by the pages of rows.
fn score(survey: &Survey<'_>, found: &Plan, known: &Known, plan: &Plan) -> Result<u64> {
    let mut score = 0;
    for table in &found.tables {
        if let Some(other) = plan.table(&table.name) {
            let names = |l: &Layout| l.fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
            score += if names(table) == names(other) { 1000 } else { 0 };
        }
    }
    let count = survey.reader.pager.count();
    let mut looked = 0;
    for number in 1..=count {
        if looked == SAMPLE {
            break;
        }
        if survey.use_of(number) == Use::Unknown {
            let owner = survey.owner(number, plan, None)?;
            looked += usize::from(owner != Owner::Nobody);
            score += if let Owner::Table(_, fits) = owner { 10 * fits as u64 } else { 0 };
        }
    }
    let named = survey.reader.geometry.user_version == Some(known.user_version);
    Ok(if score > 0 && named { score + 5 } else { score })
}

/// Finds the pages of the schema that nothing leads to any more.
fn search(survey: &mut Survey<'_>, layout: &Layout, schema: &mut Vec<Schema>, text: &mut u64) -> Result<()> {
    for number in 1..=survey.reader.pager.count() {
        if survey.use_of(number) != Use::Unknown {
            continue;
        }
        let page = survey.reader.pager.page(number)?;
        if page.get(survey.reader.geometry.start(number)).and_then(|b| Kind::of(*b)) != Some(Kind::TableLeaf)
        {
            continue;
        }
        let mut here = Vec::new();
        let told = rows(&survey.reader, number, layout, &mut here, text)?;
        if !here.is_empty() && here.len() * 2 > told {
            survey.set_use(number, Use::Found);
            schema.extend(here);
        }
    }
    Ok(())
}

/// The rows of the schema in one page; gives how many it says it has. `text` is how long all are so far.
fn rows(
    reader: &Reader<'_>,
    number: u32,
    layout: &Layout,
    into: &mut Vec<Schema>,
    text: &mut u64,
) -> Result<usize> {
    let Some(holding) = reader.assess(number, layout)? else { return Ok(0) };
    let page = reader.pager.page(number)?;
    let mut types = Types::default();
    for spot in &holding.spots {
        if spot.cell.payload > 2 * MOST_SQL as u64 || *text + spot.cell.payload > MOST_TEXT {
            continue;
        }
        *text += spot.cell.payload;
        let Some(payload) = reader.payload(&page, &spot.cell, &mut |_| true, false)? else {
            continue;
        };
        if types.read(&payload, spot.cell.payload).is_some() {
            let values: Vec<Value<'_>> = types.values(&payload).map_while(|v| v).collect();
            let found = row(&values, reader.geometry.encoding);
            into.extend(found.map(|row| Schema { doubtful: !holding.intact, ..row }));
        }
    }
    Ok(holding.told)
}

/// A row of the schema, if it looks like one.
fn row(values: &[Value<'_>], encoding: Encoding) -> Option<Schema> {
    let text = |at: usize| match values.get(at) {
        Some(Value::Text(text)) if encoding.can_be(text) => String::from_utf8(encoding.utf8(text)).ok(),
        _ => None,
    };
    let kind = text(0).filter(|k| ["table", "index", "view", "trigger"].contains(&k.as_str()))?;
    let root = match values.get(3) {
        Some(Value::Integer(root)) => u32::try_from(*root).unwrap_or(0),
        _ => 0,
    };
    let sql = text(4);
    let is_statement = |sql: &String| sql.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("create"));
    let sound = sql.as_ref().map_or(kind == "index", is_statement);
    sound.then_some(Schema { name: text(1)?, table: text(2)?, kind, root, sql, doubtful: false })
}
