//! How far the kernel reads ahead of who reads a file from the front.
//!
//! Its 128 KiB are right for a disk. Here each request goes through the daemon, and a reader who works on what it reads
//! (a query over a database) waits for each anew: with four times as much, the daemon is ahead of it.

use std::path::PathBuf;

use super::table::Mount;

/// Behind this little is won, and whoever maps a file has as much read around every place that is touched.
const KIB: u32 = 512;

/// Bytes that are asked for at once, at most: all that is read ahead. Cut in two, it wakes two threads, one of which
/// takes the reader's core: a query over a database then took a tenth longer wherever the machine was busy. Each
/// request that waits holds as many bytes, which is why no more than a dozen slow ones are answered at a time.
pub const REQUEST: u32 = KIB << 10;

/// Has the kernel read further ahead in `mount`, if we may say so (root), and nobody wanted more.
pub fn widen(mount: &Mount) {
    let path = PathBuf::from(format!("/sys/class/bdi/{}/read_ahead_kb", mount.device));
    let now = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_some_and(|now| now < KIB)
        && let Err(e) = std::fs::write(&path, KIB.to_string())
    {
        log::debug!("the kernel reads {now:?} KiB ahead: {}: {e}", path.display());
    }
}
