//! Threads for what takes its time: decoding far into a packed file, or waiting for a file that is being saved; and
//! for what takes none, but came up where there is no time for it.
//!
//! The session's workers answer at once, whatever slow readers there are: a look-up never waits for a read. A
//! job that was begun is finished, also when who asked was killed, since an answer is owed to the kernel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Slow reads at the same time. Beyond that they wait for each other, and for nobody else.
pub(super) const MOST: usize = 12;
/// A thread that has had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// Short jobs that one thread has waiting before another is called: to wake one takes longer than to do some.
const TOGETHER: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that come and go with the work.
#[derive(Clone)]
pub struct Patience {
    state: Arc<State>,
}

struct State {
    queue: Mutex<Queue>,
    more: Condvar,
    name: &'static str,
    /// Whether whoever is at work will be back at once.
    short: bool,
}

/// Every thread is idle, or on its way, or at work.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Asleep; nobody has woken them.
    idle: usize,
    /// Woken, and not there yet.
    woken: usize,
    /// Started, and not there yet.
    started: usize,
}

impl Queue {
    /// Whether more is waiting than those who are on their way will do.
    fn needs_more(&self, short: bool) -> bool {
        let coming = if short { (self.threads - self.idle) * TOGETHER } else { self.woken + self.started };
        self.jobs.len() > coming
    }
}

impl Patience {
    /// For jobs of any length: each has a thread, up to a bound.
    pub fn long() -> Patience {
        Patience::new("vaso-slow", false)
    }

    /// For jobs that are done at once: few threads do them, one after the other.
    pub fn short() -> Patience {
        Patience::new("vaso-soon", true)
    }

    fn new(name: &'static str, short: bool) -> Patience {
        let (queue, more) = (Mutex::default(), Condvar::new());
        Patience { state: Arc::new(State { queue, more, name, short }) }
    }

    /// Has `job` done by another thread.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.state.queue.lock();
        queue.jobs.push_back(Box::new(job));
        if !queue.needs_more(self.state.short) {
            return;
        }
        if queue.idle > 0 {
            queue.idle -= 1;
            queue.woken += 1;
            drop(queue);
            self.state.more.notify_one();
            return;
        }
        if queue.threads >= MOST {
            return;
        }
        queue.threads += 1;
        queue.started += 1;
        drop(queue);
        let state = self.state.clone();
        let started = std::thread::Builder::new().name(self.state.name.into()).spawn(move || state.work());
        if let Err(e) = started {
            log::warn!("cannot start another thread: {e}");
            let mut queue = self.state.queue.lock();
            queue.threads -= 1;
            queue.started -= 1;
            // Whoever is free next does it; where nobody will be, it is done here.
            let job = if queue.threads == 0 { queue.jobs.pop_front() } else { None };
            drop(queue);
            if let Some(job) = job {
                contained(job);
            }
        }
    }
}

/// Does a job whose panic is nobody else's. The request is answered all the same: a reply that is dropped says
/// EIO.
pub fn contained(job: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
        log::error!("a request has met a defect of this program; it gave EIO, and the mount goes on");
    }
}

impl State {
    fn work(&self) {
        let mut queue = self.queue.lock();
        queue.started -= 1;
        loop {
            while let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                contained(job);
                queue = self.queue.lock();
            }
            queue.idle += 1;
            // Whoever sleeps takes a call, whether it was meant for him or not.
            while queue.woken == 0 {
                if self.more.wait_for(&mut queue, IDLE).timed_out() && queue.woken == 0 {
                    queue.idle -= 1;
                    queue.threads -= 1;
                    return;
                }
            }
            queue.woken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_job_that_panics_costs_no_thread() {
        let patience = Patience::long();
        let done = Arc::new(AtomicUsize::new(0));
        for i in 0..MOST * 3 {
            let done = done.clone();
            patience.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
                assert!(i % 2 == 0, "this panic is part of the test");
            });
        }
        let since = std::time::Instant::now();
        while done.load(Ordering::Relaxed) < MOST * 3 {
            assert!(since.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn jobs_run_side_by_side_and_all_of_them_run() {
        let patience = Patience::long();
        let done = Arc::new(AtomicUsize::new(0));
        // None of these ends before all of them have begun.
        let together = Arc::new(Barrier::new(MOST));
        for _ in 0..MOST {
            let (together, done) = (together.clone(), done.clone());
            patience.run(move || {
                together.wait();
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        for _ in 0..500 {
            let done = done.clone();
            patience.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let since = std::time::Instant::now();
        while done.load(Ordering::Relaxed) < MOST + 500 {
            assert!(since.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(patience.state.queue.lock().threads <= MOST);
    }

    #[test]
    fn short_jobs_are_done_by_few_threads_and_all_of_them_are_done() {
        let patience = Patience::short();
        let done = Arc::new(AtomicUsize::new(0));
        for burst in 1..=400 {
            for _ in 0..TOGETHER {
                let done = done.clone();
                patience.run(move || {
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            let since = std::time::Instant::now();
            while done.load(Ordering::Relaxed) < burst * TOGETHER {
                assert!(since.elapsed() < Duration::from_secs(10));
                std::thread::yield_now();
            }
        }
        assert_eq!(patience.state.queue.lock().threads, 1);
        // Behind one that takes longer than it should, another thread goes on.
        let (gate, waiting) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let theirs = (gate.clone(), waiting.clone());
        patience.run(move || {
            theirs.0.wait();
            theirs.1.wait();
        });
        gate.wait();
        for _ in 0..=TOGETHER {
            let done = done.clone();
            patience.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let since = std::time::Instant::now();
        while done.load(Ordering::Relaxed) <= 401 * TOGETHER {
            assert!(since.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        waiting.wait();
    }
}
