//! Which candidate is taken unasked.
//!
//! What a scientist wants is the newest work, as whole as it can be had; an older file that happens to be sound is no
//! substitute for a newer one that lost a few rows. The rule:
//!
//! 1. If the project's own file (of a bundle: its current snapshot) is sound, there is nothing to recover. The exception is
//!    unsaved work (staging, autosave) that is sound and newer, was begun from that very state, and takes no sample and no
//!    row of a trace away; or that only adds to it. Other unsaved work is told, and can be asked for: it would take back
//!    what was saved since.
//! 2. If it is damaged, a sound file that is not older and holds at least as much as can be salvaged comes first: no
//!    salvage can vouch for the values on a damaged page. Of unsaved work the same is asked as above. So does a session of
//!    which nothing is damaged but its log, if it has all that is left of the project.
//! 3. Else, if the salvage loses no sample and at most one row in a hundred, it is taken, whatever older files lie about.
//!    Where nobody can tell what is lost, it is taken unless the newest sound file has more samples, or more than one row in
//!    a hundred more.
//! 4. Else the newest sound file is taken that stands in for it: one of the same project, with as many samples as the
//!    salvage and no more than one trace row in a hundred less; and if salvage loses no sample and at most one row in thirty,
//!    one that has everything else that is left of it, too: labels, notes and results of last week are worth more than some
//!    rows that the older file has as well. Otherwise the salvage is.
//! 5. An empty project is no recovery: where nothing has any work in it, and something is damaged, there is none.
//!
//! The current snapshot is the newest that is sound, as for readers, or a damaged one that is newer and of which more can
//! be had. Whatever is taken, what the others hold beyond it is told, and any can be taken by its number.

use super::candidate::{Judged, Role};
use super::unsaved;

/// What is to be done unasked.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: the project is sound.
    Sound,
    /// This one is taken, for this reason.
    Take(usize, &'static str),
    /// Nothing can be had of any.
    Nothing,
}

/// Readers of a bundle take the newest snapshot that is sound; HEAD may be behind it after a crash, or a sync. A damaged
/// one that is newer still is what the project was last, if anything can be had of it that the other has not.
pub fn follow_readers(all: &mut [Judged]) {
    let Some(mut at) = all.iter().position(|j| j.role == Role::Current && j.snapshot.is_some()) else {
        return;
    };
    let newer = |at: usize, j: &Judged| j.snapshot > all[at].snapshot;
    // Of one number the first counts: they are in the order of preference.
    let sound = (0..all.len()).filter(|i| all[*i].sound && newer(at, &all[*i]));
    at = sound.min_by_key(|i| std::cmp::Reverse(all[*i].snapshot)).unwrap_or(at);
    let mut damaged: Vec<usize> =
        (0..all.len()).filter(|i| !all[*i].sound && all[*i].has_work() && newer(at, &all[*i])).collect();
    damaged.sort_by_key(|i| std::cmp::Reverse(all[*i].snapshot));
    let has_more = |i: &usize| !all[at].sound || unsaved::has_more(&all[*i], &all[at]);
    at = damaged.into_iter().find(has_more).unwrap_or(at);
    for (i, judged) in all.iter_mut().enumerate() {
        match judged.role {
            _ if i == at => judged.role = Role::Current,
            Role::Current => judged.role = Role::Snapshot,
            _ => {}
        }
    }
}

/// Puts the candidates into order, by what they hold, and numbers them.
pub fn rank(all: &mut [Judged]) {
    let key =
        |j: &Judged| (j.is_of_use(), j.role == Role::Current, j.sound, j.holds.clone().map(|h| h.counts()));
    all.sort_by(|a, b| key(b).cmp(&key(a)).then(b.snapshot.cmp(&a.snapshot)).then(a.path.cmp(&b.path)));
    all.iter_mut().enumerate().for_each(|(i, j)| j.number = i + 1);
}

/// The rule at the head of this module.
pub fn choose(all: &[Judged]) -> Choice {
    let current = all.iter().position(|j| j.role == Role::Current);
    let is_missed = |j: &Judged| !j.sound && current.is_none_or(|at| j.is_newer_than(&all[at]));
    if !all.iter().any(Judged::has_work)
        && (all.iter().any(is_missed) || current.is_none_or(|at| !all[at].sound))
    {
        return Choice::Nothing;
    }
    if let Some(main) = current.map(|at| &all[at]).filter(|main| main.sound) {
        let goes_on = |j: &&Judged| {
            let goes_on = j.unsaved.as_ref().is_some_and(|unsaved| unsaved.goes_on_from(main));
            // Of what is neither older nor newer nobody can tell which of the two somebody has corrected.
            let is_newer = || main.is_older_than(j) || is_not_older(j, main) && only_adds(j);
            j.is_sound_and_own() && goes_on && is_newer()
        };
        return match newest(all.iter().filter(goes_on)) {
            Some(j) => Choice::Take(place(all, j), "unsaved work that the project has not"),
            None => Choice::Sound,
        };
    }
    let sound = || all.iter().filter(|j| j.is_sound_and_own() && j.has_work());
    let current = current.map(|at| &all[at]).filter(|main| main.has_work());
    let Some((main, held)) = current.and_then(|j| Some((j, j.holds.as_ref()?))) else {
        if let Some(j) = newest(sound()) {
            return Choice::Take(place(all, j), "the newest that is sound");
        }
        // Nobody knows whose a log beside a snapshot is: it is taken if somebody asks for it.
        let own = all.iter().filter(|j| j.has_work() && !j.foreign);
        let most = own.max_by_key(|j| j.holds.clone().map(|h| h.counts()));
        return most.map_or(Choice::Nothing, |j| Choice::Take(place(all, j), "what holds the most"));
    };
    let covers = |j: &&Judged| {
        let is_of_main = !j.is_of_session() || j.unsaved.as_ref().is_some_and(|u| u.is_of(main));
        let goes_on = || j.unsaved.as_ref().is_some_and(|unsaved| unsaved.goes_on_from(main));
        is_not_older(j, main) && is_of_main && (goes_on() || j.holds.as_ref().is_some_and(|h| h.covers(held)))
    };
    if let Some(j) = newest(sound().filter(&covers)) {
        return Choice::Take(place(all, j), "sound, not older, and holds at least as much");
    }
    let without_log = |j: &&Judged| j.lacks_its_log_alone() && j.has_work() && j.lacks.is_none() && covers(j);
    if let Some(j) = newest(all.iter().filter(without_log)) {
        return Choice::Take(
            place(all, j),
            "not older, and holds at least as much, though its log is damaged",
        );
    }
    if main.seems_to_lose_little() {
        if main.knows_its_losses() {
            return Choice::Take(place(all, main), "the newest work, with little or nothing lost");
        }
        let holds_more = |j: &Judged| j.holds.as_ref().is_some_and(|h| !held.is_nearly(h));
        if !newest(sound()).is_some_and(holds_more) {
            return Choice::Take(place(all, main), "the newest work, and no sound file holds more");
        }
    }
    let holds_as_much =
        |j: &&Judged| j.holds.as_ref().is_some_and(|h| h.is_nearly(held) && h.shares_a_sample_with(held));
    let stands_in = |j: &&Judged| holds_as_much(j) && !(j.lacks.is_some() && main.loses_little_beside(j));
    match newest(sound().filter(stands_in)) {
        Some(j) => {
            let because =
                "the newest that is sound, with as many samples as salvage gives, and nearly as many rows";
            Choice::Take(place(all, j), because)
        }
        None if sound().any(|j| holds_as_much(&j)) => {
            Choice::Take(place(all, main), "the newest work, of which no sound file has all that is left")
        }
        None => Choice::Take(place(all, main), "no other file holds as much"),
    }
}

/// Whether nothing says that it is older than `main`. The time of a session's file is no reason against one in which
/// something was added to `main`, and nothing else: it was never saved.
fn is_not_older(j: &Judged, main: &Judged) -> bool {
    j.is_as_new_as(main) || j.role == Role::Staging && j.says_it_is_as_new_as(main) && only_adds(j)
}

fn only_adds(j: &Judged) -> bool {
    j.unsaved.as_ref().is_some_and(|unsaved| unsaved.only_adds())
}

fn place(all: &[Judged], one: &Judged) -> usize {
    all.iter().position(|j| std::ptr::eq(j, one)).unwrap_or(0)
}

fn newest<'a>(all: impl Iterator<Item = &'a Judged>) -> Option<&'a Judged> {
    all.reduce(|best, j| if best.is_older_than(j) { j } else { best })
}
