//! Where a value ends that does not say so.
//!
//! Text is stored as so many characters, coded with a book of nine megabytes that no file holds; how many bytes
//! they take cannot be computed without it. But a character takes 3 to 24 bits, and what follows has to parse, to
//! the very end of the section and to the number of fields that its label promises. So every end is tried, the
//! shortest first, until the rest of the section reads. A value of unknown type is found its end in the same way.
//!
//! The work is bounded: at most [`TRIES`] steps for a section, and a place that was found to lead nowhere is not
//! visited twice. What stays unresolved is shown as bytes.

use std::collections::{HashMap, HashSet};

use super::MAX_DEPTH;
use super::input::{Fault, Parsed};
use super::walk::{Found, Open, Place, Walk};

/// Steps that may be taken for one section: values walked over, and ends tried.
const TRIES: u32 = 1 << 20;

/// How far the end of a value of unknown type is looked for.
const REACH: u64 = 64 << 10;

/// A place in the walk, as far as it decides what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    at: u64,
    depth: u32,
    top: u64,
    in_field: bool,
}

/// A value whose end is being tried.
struct Choice {
    open: Open,
    /// The walk at its marker.
    state: State,
    next: u64,
    last: u64,
}

enum Step {
    Done,
    Dead,
    Open(Open, State),
}

impl Choice {
    fn new(open: Open, state: State, end: u64) -> Choice {
        let (next, last) = match open.chars {
            Some(chars) => {
                let least = u128::from(chars).saturating_mul(3).div_ceil(8);
                let reach = |n: u128| u64::try_from(n).unwrap_or(u64::MAX).saturating_add(open.known);
                (reach(least), reach(u128::from(chars).saturating_mul(3)))
            }
            None => (open.known, open.known.saturating_add(REACH)),
        };
        Choice { open, state, next, last: last.min(end) }
    }
}

impl Walk<'_> {
    /// Finds the end of `open`, and of all such values behind it, and notes them.
    pub fn resolve(&mut self, open: Open) -> Parsed<()> {
        if self.place == Place::Bare {
            return Ok(());
        }
        let here = self.cursor.at();
        let state = State { at: open.start, depth: self.depth, top: self.top, in_field: true };
        let place = std::mem::replace(&mut self.place, Place::Field);
        let (room, wide) = (self.room, self.wide);
        // First with the promised number of fields, then with any.
        for exact in [true, false] {
            if exact && self.expected.is_none() {
                continue;
            }
            if let Some(found) = self.search(open, state, exact)? {
                self.ends.extend(found);
                break;
            }
        }
        (self.place, self.room, self.wide) = (place, room, wide);
        self.cursor.seek(here);
        Ok(())
    }

    fn search(&mut self, open: Open, state: State, exact: bool) -> Parsed<Option<HashMap<u64, u64>>> {
        let end = self.cursor.end();
        let mut left = TRIES;
        let mut dead = HashSet::new();
        let mut stack = vec![Choice::new(open, state, end)];
        let mut ends: Vec<u64> = Vec::new();
        loop {
            let Some(choice) = stack.last_mut() else { return Ok(None) };
            let (open, state) = (choice.open, choice.state);
            ends.truncate(stack.len() - 1);
            let choice = stack.last_mut().expect("it was there above");
            let from = choice.next;
            let last = choice.last;
            let Some(found) = self.next_end(from, last, &mut left)? else {
                dead.insert(state);
                stack.pop();
                if left == 0 {
                    return Ok(None);
                }
                continue;
            };
            stack.last_mut().expect("it was there above").next = found + 1;
            ends.push(found);
            debug_assert!(found >= open.start);
            match self.skim(State { at: found, ..state }, exact, &mut left)? {
                Step::Done => {
                    return Ok(Some(stack.iter().map(|c| c.open.start).zip(ends).collect()));
                }
                Step::Open(open, state) if !dead.contains(&state) => {
                    stack.push(Choice::new(open, state, end))
                }
                Step::Open(..) | Step::Dead => {}
            }
            if left == 0 {
                return Ok(None);
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

    /// Walks on from `state` without keeping anything, to the end of the body or the next open value.
    fn skim(&mut self, mut state: State, exact: bool, left: &mut u32) -> Parsed<Step> {
        self.cursor.seek(state.at);
        while *left > 0 {
            *left -= 1;
            match self.skim_token(&mut state, exact) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(Fault::Wrong(_)) => return Ok(Step::Dead),
                Err(input) => return Err(input),
            }
        }
        Ok(Step::Dead)
    }

    fn skim_token(&mut self, state: &mut State, exact: bool) -> Parsed<Option<Step>> {
        self.cursor.blanks()?;
        let at = self.cursor.at();
        let base = self.base;
        let ended = |walk: &Self, state: &State| {
            let right = walk.cursor.left() == 0 && (!exact || walk.expected == Some(state.top));
            Some(if right { Step::Done } else { Step::Dead })
        };
        match (state.in_field, self.cursor.next()?) {
            (true, Some(b':' | b',')) => self.cursor.skip(1)?,
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
                self.field_name()?;
                state.in_field = true;
            }
            (false, Some(b']')) if state.depth > 0 => {
                self.cursor.skip(1)?;
                (state.depth, state.in_field) = (state.depth - 1, state.depth > base);
                if state.depth < base {
                    self.cursor.blanks()?;
                    return Ok(ended(self, state));
                }
            }
            (false, None) if base == 0 && state.depth == 0 => return Ok(ended(self, state)),
            (_, None) => return Ok(Some(Step::Dead)),
            _ => {
                if let Found::Open(open) = self.value()? {
                    let state = State { at, ..*state };
                    return Ok(Some(if state.in_field { Step::Open(open, state) } else { Step::Dead }));
                }
            }
        }
        Ok(None)
    }
}
