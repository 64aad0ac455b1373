//! What values are, and where they end, that do not say so.
//!
//! Text is stored as so many characters, coded with a book of nine megabytes that no file holds; how many bytes
//! they take cannot be computed without it. But a character takes 3 to 24 bits, and what follows has to parse, to
//! the very end of the section and to the number of fields that its label promises; or of the header, to its `>`, to
//! the number of labels and to the length that it promises. So every end is tried, the shortest first, until the
//! rest reads. The end of a value of unknown type is found in the same way, and so is which of several values it is
//! that stands there.
//!
//! A reading that keeps the promises counts for more than one that breaks them, and one without blanks, unknown values,
//! separators that separate nothing and fields without a colon for more than one that needs them: most of what is
//! misread is one of these.
//! Whether a second reading of the same kind sees another value is looked for as well: then nothing decides, and
//! whoever asked is told. Where nothing reads to the end, because it is damaged, the reading counts that goes furthest.
//!
//! The work is bounded: at most [`TRIES`] steps for a search and [`ALL_TRIES`] for a body, and a place that was found to
//! lead nowhere is not visited twice. What stays unresolved is shown as bytes.

use std::collections::HashSet;

use super::file::closed_in_label;
use super::input::{Fault, Parsed};
use super::value::Value;
use super::walk::{Found, Open, Place, Walk};
use super::ways::{Fork, Way};
use super::{MAX_DEPTH, MAX_NAME};

/// Steps that may be taken for one search: values walked over, and ends tried.
const TRIES: u32 = 1 << 20;

/// Steps that may be taken for all searches of one body or header.
pub const ALL_TRIES: u32 = 4 * TRIES;

/// Steps that may be taken to find out whether values may end elsewhere as well.
const ASKED: u32 = 1 << 16;

/// How far the end of a value of unknown type is looked for.
const REACH: u64 = 64 << 10;

/// A place in the walk, as far as it decides what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    at: u64,
    depth: u32,
    top: u64,
    in_field: bool,
    promised: Option<u64>,
}

/// What is to be decided.
#[derive(Debug)]
pub enum Unsure {
    /// Where it ends.
    End(Open),
    /// What it is.
    What(Fork),
}

impl From<Open> for Unsure {
    fn from(open: Open) -> Unsure {
        Unsure::End(open)
    }
}

impl From<Fork> for Unsure {
    fn from(fork: Fork) -> Unsure {
        Unsure::What(fork)
    }
}

/// What counts as a reading.
#[derive(Debug, Clone, Copy)]
struct Mode {
    /// What is kept of what is promised.
    kept: Promises,
    rigour: Rigour,
}

/// What a reading may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rigour {
    /// Nothing that no writer writes (blanks, separators that separate nothing, fields without a colon), and no unknown
    /// values.
    Known,
    /// Unknown values alone.
    Strict,
    /// All of it.
    Loose,
}

impl Mode {
    fn is_strict(self) -> bool {
        self.rigour != Rigour::Loose
    }

    fn knows_all(self) -> bool {
        self.rigour == Rigour::Known
    }

    /// Whether another end of a value says something: two readings that keep no promise, or need what no writer writes,
    /// are told from each other by nothing, and one of them is nearly always there.
    fn tells_ends(self) -> bool {
        self.kept > Promises::None && self.is_strict()
    }
}

/// What is kept of what the label or the header promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Promises {
    None,
    /// How many items there are.
    Count,
    /// And how long the header is.
    All,
}

/// One decision: where a value ends, and what it is if it may be one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    start: u64,
    end: u64,
    way: Option<Way>,
}

/// Decisions that are still to be tried.
enum Untried {
    /// The likely end first, then all of them from `next` to `last`.
    Ends {
        likely: Option<u64>,
        next: u64,
        last: u64,
    },
    Ways(std::vec::IntoIter<(Way, u64)>),
}

/// A value that is being decided.
struct Choice {
    start: u64,
    /// The walk at its marker.
    state: State,
    untried: Untried,
}

enum Step {
    Done,
    /// Nothing can be read from this place on.
    Dead(u64),
    Unsure(Unsure, State),
}

/// What a search found.
#[derive(Default)]
struct Search {
    /// The decisions of a reading to the end.
    found: Option<Vec<Taken>>,
    /// The first value at which another reading is as good.
    other: Option<u64>,
    /// How far one came, with which decisions, and where another came as far.
    furthest: (u64, Vec<Taken>, Option<u64>),
    /// Whether it ended for want of steps.
    spent: bool,
}

/// The first value that two readings see differently.
fn parting(a: &[Taken], b: &[Taken]) -> Option<Taken> {
    a.iter().zip(b).find(|(a, b)| a != b).map(|(a, _)| *a)
}

impl Search {
    /// Notes where a reading ended that came to nothing.
    fn came_to(&mut self, at: u64, path: &[Taken]) {
        let (best, decisions, other) = &mut self.furthest;
        if at > *best {
            self.furthest = (at, path.to_vec(), None);
        } else if at == *best {
            let part = parting(decisions, path).filter(|taken| taken.way.is_some());
            *other = other.or(part.map(|taken| taken.start));
        }
    }
}

impl Choice {
    fn new(unsure: Unsure, state: State, end: u64) -> Choice {
        let (start, untried) = match unsure {
            Unsure::What(fork) => (fork.start, Untried::Ways(fork.ways.into_iter())),
            Unsure::End(open) => (open.start, ends_of(&open, end)),
        };
        Choice { start, state, untried }
    }
}

fn ends_of(open: &Open, end: u64) -> Untried {
    let (next, last) = match open.chars {
        Some(chars) => {
            let least = u128::from(chars).saturating_mul(3).div_ceil(8);
            let reach = |n: u128| u64::try_from(n).unwrap_or(u64::MAX).saturating_add(open.known);
            (reach(least), reach(u128::from(chars).saturating_mul(3)))
        }
        None => (open.known, open.known.saturating_add(REACH)),
    };
    Untried::Ends { likely: open.likely, next, last: last.min(end) }
}

impl Walk<'_> {
    /// Decides `unsure`, and all such values behind it, as far as what follows says.
    pub fn resolve(&mut self, unsure: Unsure) -> Parsed<()> {
        if self.place == Place::Bare && matches!(unsure, Unsure::End(_)) {
            return Ok(());
        }
        let here = self.cursor.at();
        let start = match &unsure {
            Unsure::End(open) => open.start,
            Unsure::What(fork) => fork.start,
        };
        let state = State {
            at: start,
            depth: self.depth,
            top: self.top,
            in_field: matches!(self.place, Place::Field | Place::Label),
            promised: self.expected,
        };
        // Nothing that is only tried is kept or counted.
        let (place, wide, room) = (self.place, self.wide, std::mem::take(&mut self.room));
        let decided = self.decide(&unsure, state);
        (self.place, self.wide, self.room) = (place, wide, room);
        self.cursor.seek(here);
        decided
    }

    fn decide(&mut self, unsure: &Unsure, state: State) -> Parsed<()> {
        let most = match (self.header, state.promised) {
            (Some(_), _) => Promises::All,
            (None, Some(_)) => Promises::Count,
            (None, None) => Promises::None,
        };
        let mut furthest = (0, Vec::new(), None);
        let all = [Promises::All, Promises::Count, Promises::None].into_iter().filter(|kept| *kept <= most);
        let rigours = [Rigour::Known, Rigour::Strict, Rigour::Loose];
        for mode in all.flat_map(|kept| rigours.map(|rigour| Mode { kept, rigour })) {
            // A reading that keeps no promise and needs unknown values says less than how far one goes without.
            if mode.kept == Promises::None && !mode.knows_all() && matches!(unsure, Unsure::What(_)) {
                continue;
            }
            let search = self.search(unsure, state, mode)?;
            if let Some(found) = search.found {
                self.keep(&found);
                self.unsure = self.unsure.or(search.other);
                return Ok(());
            }
            if mode.knows_all() && search.furthest.0 > furthest.0 {
                furthest = search.furthest;
            }
            if search.spent {
                break;
            }
        }
        let (_, decisions, other) = furthest;
        let ways = decisions.iter().take_while(|taken| taken.way.is_some());
        self.keep(&ways.copied().collect::<Vec<_>>());
        self.unsure = self.unsure.or(other);
        Ok(())
    }

    fn keep(&mut self, decisions: &[Taken]) {
        for taken in decisions {
            match taken.way {
                Some(way) => drop(self.picks.insert(taken.start, way)),
                None => drop(self.ends.insert(taken.start, taken.end)),
            }
        }
    }

    fn search(&mut self, unsure: &Unsure, state: State, mode: Mode) -> Parsed<Search> {
        let mut left = TRIES.min(self.tries);
        let spend = left;
        let search = self.search_within(unsure, state, mode, &mut left);
        self.tries -= spend - left;
        search
    }

    fn search_within(&mut self, unsure: &Unsure, state: State, mode: Mode, left: &mut u32) -> Parsed<Search> {
        let end = self.cursor.end();
        let mut search = Search::default();
        let unsure = match unsure {
            Unsure::End(open) if mode.knows_all() && open.chars.is_none() => return Ok(search),
            Unsure::End(open) => Unsure::End(open.clone()),
            Unsure::What(fork) => Unsure::What(fork.clone()),
        };
        let (mut dead, mut alive) = (HashSet::new(), HashSet::new());
        let mut stack = vec![Choice::new(unsure, state, end)];
        let mut path: Vec<Taken> = Vec::new();
        let mut enough = 0;
        loop {
            path.truncate(stack.len().saturating_sub(1));
            let Some(choice) = stack.last_mut() else { break };
            let state = choice.state;
            let Some(taken) = self.next_decision(choice, left)? else {
                dead.extend((!alive.contains(&state)).then_some(state));
                stack.pop();
                if *left <= enough {
                    break;
                }
                continue;
            };
            path.push(taken);
            let mut behind = State { at: taken.end, ..state };
            self.passed(&mut behind);
            match self.skim(behind, mode, left)? {
                Step::Done if search.found.is_none() => {
                    search.found = Some(path.clone());
                    alive.extend(stack.iter().map(|choice| choice.state));
                    // Where values end is a guess in any case; whether there is a better one is not worth more.
                    if path.iter().all(|taken| taken.way.is_none()) {
                        if !mode.tells_ends() {
                            return Ok(search);
                        }
                        enough = left.saturating_sub(ASKED);
                    }
                }
                Step::Unsure(next, state) if !dead.contains(&state) && !alive.contains(&state) => {
                    stack.push(Choice::new(next, state, end));
                }
                Step::Unsure(_, state) if dead.contains(&state) => {}
                Step::Done | Step::Unsure(..) => {
                    let first = search.found.as_deref().unwrap_or_default();
                    let part = parting(first, &path);
                    if let Some(taken) = part.filter(|taken| taken.way.is_some() || mode.tells_ends()) {
                        search.other = Some(taken.start);
                        return Ok(search);
                    }
                }
                Step::Dead(at) => search.came_to(at, &path),
            }
            if *left <= enough {
                break;
            }
        }
        search.spent = *left == 0;
        Ok(search)
    }

    fn next_decision(&mut self, choice: &mut Choice, left: &mut u32) -> Parsed<Option<Taken>> {
        let start = choice.start;
        match &mut choice.untried {
            Untried::Ways(ways) => Ok(ways.next().map(|(way, end)| Taken { start, end, way: Some(way) })),
            Untried::Ends { likely, next, last } => {
                if let Some(end) = likely.take()
                    && self.next_end(end, end, left)?.is_some()
                {
                    return Ok(Some(Taken { start, end, way: None }));
                }
                let found = self.next_end(*next, *last, left)?;
                *next = found.map_or(u64::MAX, |end| end + 1);
                Ok(found.map(|end| Taken { start, end, way: None }))
            }
        }
    }

    /// The next place from `from` to `last` at which a value may end.
    fn next_end(&mut self, from: u64, last: u64, left: &mut u32) -> Parsed<Option<u64>> {
        let mut at = from;
        while at <= last && at < self.cursor.end() && *left > 0 {
            *left -= 1;
            self.cursor.seek(at);
            if matches!(self.cursor.next()?, Some(b')' | b',')) {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Walks on from `state` without keeping anything, to the end or to the next value that is not sure.
    fn skim(&mut self, mut state: State, mode: Mode, left: &mut u32) -> Parsed<Step> {
        self.cursor.seek(state.at);
        while *left > 0 {
            *left -= 1;
            let at = self.cursor.at();
            match self.skim_token(&mut state, mode) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(Fault::Wrong(_)) => return Ok(Step::Dead(at)),
                Err(input) => return Err(input),
            }
        }
        Ok(Step::Dead(self.cursor.at()))
    }

    /// Counts a value that was passed, where it is an item by itself.
    fn passed(&self, state: &mut State) {
        let is_item = self.header.is_none() && !state.in_field && state.depth == self.base;
        state.top += u64::from(is_item && (self.base == 0 || state.top > 0));
    }

    /// Whether all is as it should be where the body or the header ends.
    fn ended(&self, state: &State, mode: Mode) -> Step {
        let count = mode.kept == Promises::None || state.promised == Some(state.top);
        let right = match self.header {
            None => self.cursor.left() == 0 && count,
            Some((start, said)) => {
                let length = self.cursor.at() - start;
                let fits = said.is_none_or(|said| said == length || said == length * 8);
                count && (fits || mode.kept < Promises::All)
            }
        };
        if right { Step::Done } else { Step::Dead(self.cursor.at()) }
    }

    fn skim_token(&mut self, state: &mut State, mode: Mode) -> Parsed<Option<Step>> {
        let before = self.cursor.at();
        self.cursor.blanks()?;
        let at = self.cursor.at();
        let base = self.base;
        let in_header = self.header.is_some() && state.depth == 0;
        if mode.is_strict() && at > before {
            return Ok(Some(Step::Dead(before)));
        }
        match (state.in_field, self.cursor.next()?) {
            (true, Some(b':' | b',')) => {
                self.cursor.skip(1)?;
                if mode.is_strict() && matches!(self.cursor.next()?, Some(b')' | b':' | b',')) {
                    return Ok(Some(Step::Dead(at)));
                }
            }
            (true, Some(b')')) => {
                self.cursor.skip(1)?;
                state.in_field = false;
                state.top += u64::from(state.depth == base);
            }
            (true, Some(b'[')) if state.depth < MAX_DEPTH => {
                self.cursor.skip(1)?;
                (state.depth, state.in_field) = (state.depth + 1, false);
            }
            (false, Some(b'(')) => {
                self.cursor.skip(1)?;
                self.skip_name()?;
                state.in_field = true;
                // In labels it may be missing.
                if mode.is_strict() && !in_header && !matches!(self.cursor.next()?, Some(b':' | b')')) {
                    return Ok(Some(Step::Dead(at)));
                }
            }
            (false, Some(b'>')) if in_header => {
                self.cursor.skip(1)?;
                return Ok(Some(self.ended(state, mode)));
            }
            (false, Some(b']')) if state.depth > 0 => {
                self.cursor.skip(1)?;
                (state.depth, state.in_field) = (state.depth - 1, state.depth > base);
                if state.depth < base {
                    self.cursor.blanks()?;
                    return Ok(Some(self.ended(state, mode)));
                }
            }
            (false, None) if base == 0 && state.depth == 0 && !in_header => {
                return Ok(Some(self.ended(state, mode)));
            }
            (_, None) => return Ok(Some(Step::Dead(at))),
            _ => return self.skim_value(at, state, mode, in_header),
        }
        Ok(None)
    }

    fn skim_value(
        &mut self,
        at: u64,
        state: &mut State,
        mode: Mode,
        in_header: bool,
    ) -> Parsed<Option<Step>> {
        self.place = match (in_header, state.in_field) {
            (true, true) => Place::Label,
            (true, false) => Place::Header,
            (false, true) => Place::Field,
            (false, false) => Place::Bare,
        };
        let here = State { at, ..*state };
        match self.value()? {
            Found::Value(value) => {
                if let (Value::Number(b'n', n), Place::Header) = (&value, self.place) {
                    state.promised = state.promised.or(u64::try_from(*n).ok());
                }
                self.passed(state);
                Ok(None)
            }
            Found::Fork(fork) => Ok(Some(Step::Unsure(fork.into(), here))),
            Found::Open(open) if mode.knows_all() && open.chars.is_none() => Ok(Some(Step::Dead(at))),
            Found::Open(open) => match self.place {
                Place::Field => Ok(Some(Step::Unsure(open.into(), here))),
                Place::Label => closed_in_label(self, open).map(|_| None),
                Place::Header | Place::Bare => Ok(Some(Step::Dead(at))),
            },
        }
    }

    fn skip_name(&mut self) -> Parsed<()> {
        self.cursor.blanks()?;
        if !self.cursor.eat(b'd')? {
            return Err(self.cursor.wrong("vsf-name", "a field without a name"));
        }
        let len = self.count()?;
        if len > MAX_NAME {
            return Err(self.cursor.wrong("vsf-name", "a name that is too long"));
        }
        self.cursor.skip(len)
    }
}
