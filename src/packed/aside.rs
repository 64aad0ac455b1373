//! What a decoder leaves to another core: reading what it needs next, and writing down its marks.
//!
//! One thread serves all decoders of a project. Invariant: nobody waits for what that thread has not begun. What it
//! has no room for waits with whoever asked, and a read that is still in the queue is taken back by the decoder that
//! needs it. So a thread that is slow, or missing, costs time and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::tree::Content;

/// Jobs that may wait. Each may hold a piece of input, so this bounds memory, too.
const QUEUE: usize = 16;
/// How often the thread looks for more before it goes to sleep until it is woken.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_micros(500);

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It comes with the first job, and ends with the project.
#[derive(Debug, Default)]
pub struct Aside {
    jobs: OnceLock<Option<SyncSender<Job>>>,
}

impl Aside {
    /// Has `job` done by the thread, or by the caller where there is none. Whether it is going to be done.
    pub fn try_run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        match self.offer(Box::new(job)) {
            Some(job) if self.jobs.get().is_some_and(Option::is_none) => {
                job();
                true
            }
            refused => refused.is_none(),
        }
    }

    /// Gives a job back that it has no room for.
    fn offer(&self, job: Job) -> Option<Job> {
        match self.jobs.get_or_init(start) {
            Some(jobs) => jobs.try_send(job).err().map(|e| match e {
                std::sync::mpsc::TrySendError::Full(job) => job,
                std::sync::mpsc::TrySendError::Disconnected(job) => job,
            }),
            None => Some(job),
        }
    }

    /// Has `len` bytes of a content read from `at`, into `buf`.
    pub fn read(&self, content: &Content, at: u64, mut buf: Vec<u8>, len: usize) -> Reading {
        buf.resize(len, 0);
        let turn = Arc::new(Turn { state: Mutex::new(State::Asked(buf)), read: Condvar::new() });
        let (theirs, content) = (turn.clone(), content.clone());
        // Without room in the queue, the decoder takes it back when it gets there.
        let _ = self.offer(Box::new(move || theirs.take(&content, at)));
        Reading { turn }
    }
}

/// Starts the thread, where there is a core for it.
fn start() -> Option<SyncSender<Job>> {
    if std::thread::available_parallelism().map_or(1, |n| n.get()) == 1 {
        return None;
    }
    let (jobs, work) = sync_channel::<Job>(QUEUE);
    let serve = move || {
        while let Some(job) = next(&work) {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!("reading ahead has met a defect of this program; decoders read for themselves");
            }
        }
    };
    match std::thread::Builder::new().name("vaso-aside".into()).spawn(serve) {
        Ok(_) => Some(jobs),
        Err(e) => {
            log::warn!("cannot start another thread: {e}");
            None
        }
    }
}

/// The next job. While there is work, it is looked for now and then: so whoever has some is spared the system call
/// that wakes a sleeper, which costs as much as decoding some kilobytes.
fn next(work: &Receiver<Job>) -> Option<Job> {
    for _ in 0..LOOKS {
        match work.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Empty) => std::thread::sleep(BETWEEN_LOOKS),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    work.recv().ok()
}

/// Bytes that are read, or are going to be.
#[derive(Debug)]
pub struct Reading {
    turn: Arc<Turn>,
}

#[derive(Debug)]
struct Turn {
    state: Mutex<State>,
    read: Condvar,
}

#[derive(Debug)]
enum State {
    /// Nobody has begun; the room to read into.
    Asked(Vec<u8>),
    Begun,
    /// Whether the bytes are right: an error shows again for whoever reads them by himself.
    Read(Vec<u8>, bool),
    /// Taken back, or given up.
    Gone,
}

impl Turn {
    fn take(&self, content: &Content, at: u64) {
        let mut state = self.state.lock();
        let State::Asked(mut buf) = std::mem::replace(&mut *state, State::Gone) else { return };
        *state = State::Begun;
        drop(state);
        // Whoever waits is told also where a defect of this program shows.
        let outcome = catch_unwind(AssertUnwindSafe(|| content.read_at(at, &mut buf)));
        let right = matches!(outcome, Ok(Ok(n)) if n == buf.len());
        *self.state.lock() = State::Read(buf, right);
        self.read.notify_one();
    }
}

impl Reading {
    /// How many bytes are there already.
    pub fn there(&self) -> usize {
        match &*self.turn.state.lock() {
            State::Read(buf, true) => buf.len(),
            _ => 0,
        }
    }

    /// The room, if nobody is reading into it right now. Waits for nobody.
    pub fn give_up(self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut *self.turn.state.lock(), State::Gone) {
            State::Asked(buf) | State::Read(buf, _) => Some(buf),
            State::Begun | State::Gone => None,
        }
    }

    /// The room, and whether the bytes are in it. Waits where they are being read.
    pub fn finish(self) -> (Vec<u8>, bool) {
        let mut state = self.turn.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Gone) {
                State::Asked(buf) => return (buf, false),
                State::Read(buf, right) => return (buf, right),
                State::Begun => {
                    *state = State::Begun;
                    self.turn.read.wait(&mut state);
                }
                State::Gone => return (Vec::new(), false),
            }
        }
    }
}
