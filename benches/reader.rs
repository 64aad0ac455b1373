//! Reads as `scripts/bench` asks, and says how much and how long as one JSON object. An interpreter would be the
//! slowest part of what it measures.
//!
//! ```text
//! reader seq FILE...                  each file from front to end, all at the same time, a thread each
//! reader random FILE N SEED THREADS   N blocks of 4 KiB, no block twice, shared out between threads
//! reader blocks FILE SECONDS SEED     blocks of 4 KiB at random places, again and again until the time is over
//! reader tail FILE                    the last 4 KiB
//! reader list DIR INDEX               open, read and close each file that an index of `bare` names
//! reader inflate FILE OFFSET PACKED   the inflate library alone: a deflate stream, from memory into a buffer
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::{Decompress, FlushDecompress, Status};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

const BLOCK: usize = 4096;
/// As large as what `cat` reads at a time.
const CHUNK: usize = 128 << 10;

/// Numbers in no order, the same for the same seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Reads a file to its end.
fn whole(path: &str) -> io::Result<u64> {
    let (mut file, mut buffer, mut bytes) = (File::open(path)?, vec![0; CHUNK], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

/// Opens a file in which the kernel reads nothing ahead.
fn unordered(path: &str) -> io::Result<File> {
    let file = File::open(path)?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?;
    Ok(file)
}

/// Does the same for each in a thread of its own, and adds up what they say.
fn at_once<T: Send + Sync>(each: &[T], work: impl Fn(&T) -> io::Result<u64> + Sync) -> io::Result<u64> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = each.iter().map(|item| scope.spawn(|| work(item))).collect();
        threads.into_iter().map(|t| t.join().map_err(|_| io::Error::other("a reader failed"))?).sum()
    })
}

fn random(path: &str, count: usize, seed: u64, threads: usize) -> io::Result<(u64, u64, Duration)> {
    let blocks = std::fs::metadata(path)?.len() as usize / BLOCK;
    if count > blocks {
        return Err(io::Error::other(format!("{path} has only {blocks} blocks")));
    }
    let mut order: Vec<u64> = (0..blocks as u64).collect();
    let mut numbers = Numbers(seed);
    for i in 0..count {
        order.swap(i, i + numbers.below(blocks - i));
    }
    let shares: Vec<&[u64]> = order[..count].chunks(count.div_ceil(threads)).collect();
    let start = Instant::now();
    let bytes = at_once(&shares, |share| {
        let (file, mut buffer) = (unordered(path)?, [0; BLOCK]);
        share.iter().try_for_each(|block| file.read_exact_at(&mut buffer, block * BLOCK as u64))?;
        Ok((share.len() * BLOCK) as u64)
    })?;
    Ok((count as u64, bytes, start.elapsed()))
}

/// Places are aligned to nothing, so that what the kernel keeps of one block rarely serves another.
fn blocks(path: &str, seconds: f64, seed: u64) -> io::Result<(u64, u64, Duration)> {
    let (file, mut buffer, mut numbers) = (unordered(path)?, [0; BLOCK], Numbers(seed));
    let room = file.metadata()?.len() as usize - BLOCK;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < seconds {
        file.read_exact_at(&mut buffer, numbers.below(room) as u64)?;
        count += 1;
    }
    Ok((count, count * BLOCK as u64, start.elapsed()))
}

fn tail(path: &str) -> io::Result<u64> {
    let file = unordered(path)?;
    let mut buffer = [0; BLOCK];
    file.read_exact_at(&mut buffer, file.metadata()?.len() - BLOCK as u64)?;
    Ok(BLOCK as u64)
}

fn list(dir: &str, index: &str) -> io::Result<(u64, u64, Duration)> {
    let index = std::fs::read(index)?;
    let name = |line: &'_ [u8]| line.splitn(5, |&b| b == b'\t').nth(4).map(<[u8]>::to_vec);
    let names: Vec<Vec<u8>> = index.split(|&b| b == b'\n').filter_map(name).collect();
    let paths: Vec<_> = names.iter().map(|n| Path::new(dir).join(std::ffi::OsStr::from_bytes(n))).collect();
    let (start, mut bytes, mut buffer) = (Instant::now(), 0, vec![0; CHUNK]);
    for path in &paths {
        bytes += File::open(path)?.read(&mut buffer)? as u64;
    }
    Ok((paths.len() as u64, bytes, start.elapsed()))
}

/// Inflates in pieces of the size in which a reader asks.
fn inflate(path: &str, offset: u64, packed: usize) -> io::Result<(u64, u64, Duration)> {
    let mut input = vec![0; packed];
    File::open(path)?.read_exact_at(&mut input, offset)?;
    let (mut decoder, mut output) = (Decompress::new(false), vec![0; CHUNK]);
    let start = Instant::now();
    let (mut taken, mut given) = (0, 0);
    loop {
        let status = decoder.decompress(&input[taken..], &mut output, FlushDecompress::None)?;
        let before = (taken, given);
        (taken, given) = (decoder.total_in() as usize, decoder.total_out());
        match status {
            Status::StreamEnd => return Ok((1, given, start.elapsed())),
            _ if before == (taken, given) => return Err(io::Error::other("the stream is cut off")),
            _ => {}
        }
    }
}

fn timed(work: impl FnOnce() -> io::Result<u64>) -> io::Result<(u64, u64, Duration)> {
    let start = Instant::now();
    let bytes = work()?;
    Ok((1, bytes, start.elapsed()))
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (count, bytes, time) = match words[..] {
        ["seq", ref files @ ..] if !files.is_empty() => timed(|| at_once(files, |path| whole(path)))?,
        ["random", path, n, seed, threads] => {
            random(path, number(n)? as usize, number(seed)?, number(threads)?.max(1) as usize)?
        }
        ["blocks", path, seconds, seed] => {
            blocks(path, seconds.parse().map_err(io::Error::other)?, number(seed)?)?
        }
        ["tail", path] => timed(|| tail(path))?,
        ["list", dir, index] => list(dir, index)?,
        ["inflate", path, offset, packed] => inflate(path, number(offset)?, number(packed)? as usize)?,
        _ => return Err(io::Error::other("see the head of benches/reader.rs for what may be asked")),
    };
    println!("{{\"count\": {count}, \"bytes\": {bytes}, \"seconds\": {}}}", time.as_secs_f64());
    Ok(())
}
