//! The packed bytes of a stream, from front to back, in pieces of a fixed size.

use std::io::{self, BufRead, Read};

use crate::error::Error;
use crate::tree::Content;

/// Reads a content from some place to its end.
#[derive(Debug)]
pub struct Input {
    content: Content,
    /// What was not read yet: from here to there.
    next: u64,
    end: u64,
    /// How much is read at once.
    piece: u64,
    buf: Vec<u8>,
    at: usize,
}

impl Input {
    /// Big enough that the system calls do not show beside inflating, small enough to have dozens.
    const PIECE: u64 = 64 * 1024;

    /// From `start` on.
    pub fn new(content: Content, start: u64) -> Input {
        let end = content.size();
        Input { content, next: start.min(end), end, piece: Self::PIECE, buf: Vec::new(), at: 0 }
    }

    /// How many bytes have not been consumed.
    pub fn remaining(&self) -> u64 {
        self.end - self.next + (self.buf.len() - self.at) as u64
    }

    /// Reads the next piece. What stands before a place that cannot be read is still given.
    fn refill(&mut self) -> io::Result<()> {
        loop {
            let piece = self.piece.min(self.end - self.next);
            self.buf.resize(piece as usize, 0);
            self.at = self.buf.len();
            match self.content.read_at(self.next, &mut self.buf) {
                Ok(_) => {
                    self.next += piece;
                    self.at = 0;
                    return Ok(());
                }
                Err(Error::Damaged { .. }) if piece > 1 => self.piece = piece / 2,
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buf.len() && self.next < self.end {
            self.refill()?;
        }
        Ok(&self.buf[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let n = piece.len().min(out.len());
        out[..n].copy_from_slice(&piece[..n]);
        self.consume(n);
        Ok(n)
    }
}
