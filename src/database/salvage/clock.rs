//! How long SQLite may work on what a stranger's schema asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;

/// Steps of SQLite's machine between two looks.
const STEPS: i32 = 200;

/// The time at which all statements end that are under way.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    /// From now on.
    pub fn new(time: Duration) -> Clock {
        Clock(Arc::new(Mutex::new(Instant::now() + time)))
    }

    /// Again, from now on.
    pub fn renew(&self, time: Duration) {
        *self.0.lock() = Instant::now() + time;
    }

    /// Ends the statements of `db` when it is time.
    pub fn watch(&self, db: &mut Connection) -> rusqlite::Result<()> {
        let end = Arc::clone(&self.0);
        db.progress_handler(STEPS, Some(move || Instant::now() > *end.lock()))
    }
}
