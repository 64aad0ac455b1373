//! Decoding ahead for whoever reads in order.
//!
//! A [`Flow`] is one such reader: it wants the pieces in front of it, more of them the longer it goes on. Threads
//! claim them in order. A claim ends where a mark allows another thread to begin, so all cores work on one
//! stream that has an index; where there is none yet, only the thread that is there already goes on, and keeps
//! its decoder. Requests for what is about to be decoded wait in the flow, and not in a thread.
//!
//! Invariants: whoever waits in a flow waits for a piece of a claim that a thread is at work on, or for one that such a
//! thread claims next; that thread puts each piece where it is found before it tells the flow, and gives up what is left
//! of its claim when it stops. When the last one stops, nobody waits any more.
//! A job that is only asked for promises nothing: readers decode for themselves until it runs.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use super::index::Index;
use super::pool::PIECE;
use super::stream::Stream;
use crate::tree::Then;

/// Pieces that are decoded ahead for all readers together, at most: 6 MiB.
pub const LEAD: u64 = 48;
/// Pieces of a claim at the least: entering at a mark costs about half a piece.
const CLAIM: u64 = 4;
/// Waking a thread costs as much as decoding some kilobytes, so those who wait are told of so many pieces at once;
/// unless the next one may take longer than decoding does.
const TOGETHER: u64 = 4;
/// Requests for neighbouring pieces come in any order, up to this distance: two megabytes of readahead, and what is
/// asked for meanwhile. Beyond it a reader has jumped, and what was decoded ahead was for nothing.
const DISORDER: u64 = 32;
/// One request counts for no more pieces than this.
const STEP: u64 = 8;

/// Threads that decode ahead. They come with the first who reads in order, and end with the package.
#[derive(Debug)]
pub struct Ahead {
    threads: u64,
    /// Pieces of a claim: smaller with more threads, so that all of them have one within the lead.
    claim: u64,
    wanted: OnceLock<SyncSender<Job>>,
    /// How many flows have workers; they share the lead.
    flows: Arc<AtomicU64>,
}

impl Default for Ahead {
    fn default() -> Ahead {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8)) as u64;
        let claim = (LEAD / (threads + 2)).max(CLAIM);
        Ahead { threads, claim, wanted: OnceLock::new(), flows: Arc::default() }
    }
}

struct Job {
    stream: Arc<Stream>,
    flow: Arc<Flow>,
    run: u64,
    /// Tells the jobs of a run apart.
    number: u64,
    claim: u64,
    flows: Arc<AtomicU64>,
}

/// Somebody who may be reading in order.
#[derive(Default)]
pub struct Flow(Mutex<State>);

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flow")
    }
}

#[derive(Default)]
struct State {
    /// Changes with every jump: what was claimed before is not wanted any more.
    run: u64,
    /// The furthest piece that was read since the last jump.
    last: Option<u64>,
    /// How many pieces were read in order.
    length: u64,
    /// The piece that the run began with, and how many requests came.
    first: u64,
    asked: u64,
    /// The first piece that nobody has claimed.
    next: u64,
    /// Pieces before this one are wanted.
    wanted: u64,
    /// Threads that work for this run, or are asked to.
    workers: u64,
    /// How many jobs were asked for in this run.
    jobs: u64,
    /// What is left of the claims that are worked on, by the number of the job.
    active: Vec<(u64, Range<u64>)>,
    /// Who waits for which piece; all of them are promised.
    waiting: Vec<(u64, Then)>,
}

/// How a read follows those before it.
enum Follows {
    /// It is one that was known of.
    Known,
    /// It comes next.
    InOrder,
    /// It is somewhere else, and those who waited for what is not wanted any more have to look by themselves.
    Jump { waiting: Vec<(u64, Then)>, had_workers: bool },
}

impl State {
    /// Takes note that `piece` is read.
    fn read(&mut self, piece: u64, lead: u64) -> Follows {
        self.asked += 1;
        match self.last {
            Some(last) if piece <= last && last - piece < DISORDER => Follows::Known,
            Some(last) if piece > last && piece - last <= DISORDER => {
                self.length += STEP.min(piece - last);
                self.last = Some(piece);
                if self.active.is_empty() {
                    self.next = self.next.max(piece + 1);
                }
                // Who leaves out most of what lies between is not helped by it.
                if self.asked * STEP >= piece - self.first {
                    self.wanted = piece + 1 + lead.min(self.length * 2);
                }
                Follows::InOrder
            }
            _ => {
                let before = std::mem::take(self);
                (self.run, self.last, self.next) = (before.run + 1, Some(piece), piece + 1);
                (self.first, self.asked) = (piece, 1);
                Follows::Jump { waiting: before.waiting, had_workers: before.workers > 0 }
            }
        }
    }

    /// Takes the next pieces for a thread whose decoder is at `position`, and which is done with those before.
    fn claim(&mut self, job: &Job, position: Option<u64>, index: Option<&Index>) -> Option<Range<u64>> {
        if self.run != job.run {
            return None;
        }
        self.active.retain(|(number, _)| *number != job.number);
        let start = self.next;
        let alone = self.workers == 1;
        if start >= self.wanted || (!alone && position != Some(start) && !near(index, start)) {
            return None;
        }
        let mark = index.and_then(|index| index.after((start + job.claim - CLAIM / 2) * PIECE));
        // Without a mark nobody else could begin anywhere.
        let end = mark.map_or(u64::MAX, |out| out.div_ceil(PIECE).min(start + job.claim));
        self.next = end.min(self.wanted);
        self.active.push((job.number, start..self.next));
        Some(start..self.next)
    }

    /// Whether somebody is at work on a piece, or comes to it next.
    fn is_promised(&self, piece: u64) -> bool {
        promised(&self.active, self.next..self.wanted, piece)
    }

    /// Those who wait for what nobody has promised any more: it is there, or they have to look by themselves.
    fn free(&mut self) -> Vec<(u64, Then)> {
        let State { active, waiting, next, wanted, .. } = self;
        let coming = *next..*wanted;
        waiting.extract_if(.., |(piece, _)| !promised(active, coming.clone(), *piece)).collect()
    }
}

/// Whether a piece is in one of the `active` claims; or among those that are `coming` next, which whoever is at work
/// claims when it is done, unless it stops.
fn promised(active: &[(u64, Range<u64>)], coming: Range<u64>, piece: u64) -> bool {
    let claimed = active.iter().any(|(_, left)| left.contains(&piece));
    claimed || (!active.is_empty() && coming.contains(&piece))
}

/// Whether another thread may begin right before `piece`. Not at the newest mark of a first pass: whoever made it is
/// about to go on there with a decoder that needs no entrance.
fn near(index: Option<&Index>, piece: u64) -> bool {
    let at = piece * PIECE;
    index.is_some_and(|index| index.reach(at) + PIECE > at && index.after(at + PIECE).is_some())
}

impl Flow {
    /// Calls `then` as soon as a piece is decoded, if somebody is about to do so; else gives it back.
    pub fn when_ready(&self, stream: &Stream, piece: u64, then: Then) -> Option<Then> {
        let mut state = self.0.lock();
        // Looked at under the lock: whoever decodes it puts it there first, and tells then.
        if !state.is_promised(piece) || stream.cached(piece).is_some() {
            return Some(then);
        }
        state.waiting.push((piece, then));
        None
    }

    /// The next pieces for a job.
    fn claim(&self, job: &Job, position: Option<u64>, index: Option<&Index>) -> Option<Range<u64>> {
        let mut state = self.0.lock();
        let claim = state.claim(job, position, index);
        let_go(state);
        claim
    }

    /// A job has come past `piece`. Whether its run still goes on.
    fn done(&self, job: &Job, piece: u64) -> bool {
        let mut state = self.0.lock();
        if state.run != job.run {
            return false;
        }
        if let Some((_, left)) = state.active.iter_mut().find(|(number, _)| *number == job.number) {
            left.start = piece + 1;
        }
        let_go(state);
        true
    }

    /// A job has ended.
    fn leave(&self, job: &Job) {
        let mut state = self.0.lock();
        if state.run != job.run {
            return;
        }
        state.active.retain(|(number, _)| *number != job.number);
        state.workers -= 1;
        if state.workers == 0 {
            job.flows.fetch_sub(1, Ordering::Relaxed);
        }
        let_go(state);
    }
}

/// Tells those who wait for what nobody has promised any more.
fn let_go(mut state: MutexGuard<'_, State>) {
    let free = state.free();
    drop(state);
    tell(free);
}

fn tell(waiting: Vec<(u64, Then)>) {
    waiting.into_iter().for_each(|(_, then)| then(true));
}

impl Ahead {
    /// Takes note that `piece` of a stream is read, and has what comes next decoded if that is in order.
    pub fn read(&self, stream: &Arc<Stream>, flow: &Arc<Flow>, piece: u64, index: Option<&Index>) {
        let mut state = flow.0.lock();
        match state.read(piece, LEAD / self.flows.load(Ordering::Relaxed).max(1)) {
            Follows::Known => return,
            Follows::InOrder => {}
            Follows::Jump { waiting, had_workers } => {
                drop(state);
                if had_workers {
                    self.flows.fetch_sub(1, Ordering::Relaxed);
                }
                return tell(waiting);
            }
        }
        state.wanted = state.wanted.min(stream.pieces());
        if state.next >= state.wanted {
            return;
        }
        let enough = state.wanted - state.next >= self.claim / 2 || state.wanted == stream.pieces();
        let can = state.workers == 0 || (state.workers < self.threads && near(index, state.next));
        if !enough || !can {
            return;
        }
        let (stream, claim, flows) = (stream.clone(), self.claim, self.flows.clone());
        let job = Job { stream, flow: flow.clone(), run: state.run, number: state.jobs, claim, flows };
        if self.wanted.get_or_init(|| self.start()).try_send(job).is_ok() {
            state.jobs += 1;
            state.workers += 1;
            if state.workers == 1 {
                self.flows.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn start(&self) -> SyncSender<Job> {
        let (wanted, work) = sync_channel::<Job>(self.threads as usize * 4);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..self.threads {
            let work = work.clone();
            // The lock is for taking work, one thread at a time; it is given back before the work.
            let decode = move || {
                while let Some(job) = next(&work) {
                    job.run();
                }
            };
            if let Err(e) = std::thread::Builder::new().name("vaso-ahead".into()).spawn(decode) {
                log::warn!("cannot decode ahead: {e}");
            }
        }
        wanted
    }
}

fn next<T>(work: &Mutex<Receiver<T>>) -> Option<T> {
    work.lock().recv().ok()
}

impl Job {
    fn run(&self) {
        // Whoever waits must be told also where a defect of this program shows.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.decode()));
        self.flow.leave(self);
        if outcome.is_err() {
            log::error!("decoding ahead has met a defect of this program; readers decode for themselves");
        }
    }

    /// What fails here fails again for whoever reads it, and is told then.
    fn decode(&self) {
        let index = self.stream.index();
        let mut position = None;
        while let Some(pieces) = self.flow.claim(self, position, index.as_deref()) {
            position = Some(pieces.end);
            // The rest of a claim is told of with the next one.
            let done = |piece: u64, may_wait: bool| {
                let later = !may_wait && !(piece + 1).is_multiple_of(TOGETHER);
                later || self.flow.done(self, piece)
            };
            if self.stream.decode(pieces, done).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_what_nobody_is_at_work_on() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut state = State { active: vec![(0, 4..8), (1, 8..12)], ..State::default() };
        assert!([3, 12].iter().all(|piece| !state.is_promised(*piece)) && state.is_promised(11));
        for piece in [4, 7, 9] {
            let told = told.clone();
            state.waiting.push((piece, Box::new(move |_| told.lock().push(piece))));
        }
        assert!(state.free().is_empty());
        // The first job has come past 5, the second is gone.
        state.active = vec![(0, 6..8)];
        tell(state.free());
        assert_eq!(*told.lock(), [4, 9]);
        // What comes next is waited for as long as anybody is at work, and no longer.
        (state.next, state.wanted) = (12, 20);
        assert!(state.is_promised(19) && !state.is_promised(20));
        let theirs = told.clone();
        state.waiting.push((13, Box::new(move |_| theirs.lock().push(13))));
        assert!(state.free().is_empty());
        let active = std::mem::take(&mut state.active);
        assert!(!state.is_promised(19));
        tell(state.free());
        assert_eq!(*told.lock(), [4, 9, 7, 13]);
        told.lock().truncate(2);
        state.active = active;
        let theirs = told.clone();
        state.waiting.push((7, Box::new(move |_| theirs.lock().push(7))));
        let Follows::Jump { waiting, had_workers: false } = state.read(1000, LEAD) else {
            panic!("far away is a jump");
        };
        tell(waiting);
        assert_eq!(*told.lock(), [4, 9, 7]);
        assert!(state.active.is_empty() && state.waiting.is_empty());
    }

    #[test]
    fn the_lead_grows_with_what_was_read_in_order() {
        let mut state = State::default();
        assert!(matches!(state.read(0, LEAD), Follows::Jump { .. }));
        assert_eq!(state.wanted, 0, "one read is no order");
        assert!(matches!(state.read(1, LEAD), Follows::InOrder));
        assert_eq!(state.wanted, 4);
        // The kernel's requests come in any order.
        assert!(matches!(state.read(4, LEAD), Follows::InOrder));
        assert!(matches!(state.read(2, LEAD), Follows::Known));
        assert_eq!((state.last, state.next, state.wanted), (Some(4), 5, 13));
        // A window of two megabytes, its last request first: more is wanted when more was asked for.
        assert!(matches!(state.read(20, LEAD), Follows::InOrder));
        assert_eq!((state.length, state.wanted), (4 + STEP, 21 + 2 * (4 + STEP)));
        assert!((5..20).rev().all(|piece| matches!(state.read(piece, LEAD), Follows::Known)));
        assert!(matches!(state.read(53, LEAD), Follows::Jump { .. }));
        // Who leaves out most of what lies between reads in no order.
        assert!((1..20).all(|n| !matches!(state.read(53 + n * 20, LEAD), Follows::Jump { .. })));
        assert_eq!(state.wanted, 0);
    }

    #[test]
    fn with_an_index_several_threads_have_a_claim_each() {
        use super::super::{Check, Decoding, Method, Packed};
        let packed = Packed {
            entry: 0,
            name: "asset".into(),
            method: Method::Deflate,
            content: crate::tree::Content::Bytes(Arc::new([0; 10])),
            size: 1 << 30,
            check: Check::None,
            identity: None,
        };
        let stream = Stream::new(packed, Decoding::new(Arc::default(), None));
        let flows = Arc::<AtomicU64>::default();
        let job = |number| {
            let (stream, flow, flows) = (stream.clone(), Arc::default(), flows.clone());
            Job { stream, flow, run: 1, number, claim: 12, flows }
        };
        let index = Arc::new(Index::open(None, 1 << 30, 1 << 30));
        let claims = |index: Option<&Index>| {
            let mut state = State { run: 1, next: 4, wanted: 4 + LEAD, workers: 2, ..State::default() };
            let claims = [0, 1].map(|number| state.claim(&job(number), None, index));
            (claims, state.active.len())
        };
        // Where nobody can begin, whoever is there goes on alone.
        assert_eq!(claims(Some(&index)), ([None, None], 0));
        for piece in 1..200 {
            let mark = super::super::Mark { out: piece * PIECE - 1000, at: 8 * piece, block: 8 * piece };
            index.add(mark, Arc::new([]));
        }
        let ([first, second], active) = claims(Some(&index));
        let (first, second) = (first.expect("it is near a mark"), second.expect("so is the next"));
        assert_eq!((first.start, first.end, active), (4, second.start, 2));
        assert!(second.end <= 4 + LEAD && first.end - first.start <= 12);
    }
}
