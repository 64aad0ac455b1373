//! Threads for what takes its time: decoding far into a packed file, or waiting for a file that is being saved.
//!
//! The session's workers answer at once, whatever slow readers there are: a look-up never waits for a read. A
//! job that was begun is finished, also when who asked was killed, since an answer is owed to the kernel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Slow reads at the same time. Beyond that they wait for each other, and for nobody else.
const MOST: usize = 32;
/// A thread that has had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads that come and go with the work.
#[derive(Default, Clone)]
pub struct Patience {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Patience {
    /// Has `job` done by another thread.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.state.queue.lock();
        queue.jobs.push_back(Box::new(job));
        if queue.jobs.len() <= queue.idle || queue.threads >= MOST {
            drop(queue);
            self.state.more.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let state = self.state.clone();
        let started = std::thread::Builder::new().name("vaso-slow".into()).spawn(move || state.work());
        if let Err(e) = started {
            log::warn!("cannot start another thread: {e}");
            let mut queue = self.state.queue.lock();
            queue.threads -= 1;
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
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                contained(job);
                queue = self.queue.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.more.wait_for(&mut queue, IDLE);
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
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
        let patience = Patience::default();
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
        let patience = Patience::default();
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
}
