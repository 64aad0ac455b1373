//! Decoding ahead for whoever reads in order.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::pool::PIECE;
use super::stream::Stream;

/// Threads that decode ahead. They come with the first who reads in order, and end with the package.
#[derive(Debug, Default)]
pub struct Ahead {
    wanted: OnceLock<SyncSender<(Arc<Stream>, Range<u64>)>>,
}

impl Ahead {
    /// How many there are, or would be.
    pub fn threads(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |n| n.get().min(8)) as u64
    }

    /// Has these pieces decoded, unless there is more to do already.
    pub fn want(&self, stream: &Arc<Stream>, pieces: Range<u64>) {
        let wanted = self.wanted.get_or_init(|| {
            let threads = self.threads();
            let (wanted, work) = sync_channel::<(Arc<Stream>, Range<u64>)>(threads as usize * 4);
            let work = Arc::new(Mutex::new(work));
            for _ in 0..threads {
                let work = work.clone();
                let name = "vaso-ahead".to_string();
                let decode = move || {
                    // The lock is for taking work, one thread at a time; it is given back before the work.
                    while let Some((stream, mut pieces)) = next(&work) {
                        // What fails here fails again for whoever reads it, and is told then.
                        while pieces.next().is_some_and(|n| stream.piece(n * PIECE).is_ok()) {}
                    }
                };
                if let Err(e) = std::thread::Builder::new().name(name).spawn(decode) {
                    log::warn!("cannot decode ahead: {e}");
                }
            }
            wanted
        });
        // Full: those who decode are behind already.
        let _ = wanted.try_send((stream.clone(), pieces));
    }
}

fn next<T>(work: &Mutex<Receiver<T>>) -> Option<T> {
    work.lock().recv().ok()
}
