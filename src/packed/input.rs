//! The packed bytes of a stream, from front to back, in pieces of a fixed size.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use super::aside::{Aside, Reading};
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
    /// How many pieces were read.
    pieces: u32,
    buf: Vec<u8>,
    at: usize,
    /// Who reads the next piece, and the piece.
    aside: Option<Arc<Aside>>,
    ahead: Option<Reading>,
    spare: Vec<u8>,
}

impl Input {
    /// Big enough that the system calls do not show beside inflating, small enough to have dozens.
    const PIECE: u64 = 64 * 1024;
    /// For who goes on for long: as much as is decoded while another thread gets to reading it.
    const LARGE: u64 = 256 * 1024;
    /// Who has read so many pieces is going to read more: with an index, no place in the middle needs as many.
    const ROW: u32 = 6;

    /// From `start` on.
    pub fn new(content: Content, start: u64) -> Input {
        let end = content.size();
        let (next, piece, buf, spare) = (start.min(end), Self::PIECE, Vec::new(), Vec::new());
        Input { content, next, end, piece, pieces: 0, buf, at: 0, aside: None, ahead: None, spare }
    }

    /// Has the next piece read by another thread, once it is sure to be needed.
    pub fn ahead_by(mut self, aside: &Arc<Aside>) -> Input {
        self.aside = Some(aside.clone());
        self
    }

    /// How many bytes have not been consumed.
    pub fn remaining(&self) -> u64 {
        self.end - self.next + (self.buf.len() - self.at) as u64
    }

    /// How many bytes it can give without waiting for anybody.
    pub fn in_memory(&self) -> usize {
        self.buf.len() - self.at + self.ahead.as_ref().map_or(0, Reading::there)
    }

    /// Gives its room away, as it is not going to be used for a while. What was not consumed is read again.
    pub fn rest(&mut self) -> Vec<Vec<u8>> {
        let ahead = self.ahead.take().and_then(Reading::give_up);
        self.next -= (self.buf.len() - self.at) as u64;
        let room = [std::mem::take(&mut self.buf), std::mem::take(&mut self.spare)];
        self.at = 0;
        room.into_iter().chain(ahead).collect()
    }

    /// Goes on to the next piece.
    fn refill(&mut self) -> io::Result<()> {
        let there = self.ahead.take().is_some_and(|ahead| {
            let (buf, there) = ahead.finish();
            let used = std::mem::replace(if there { &mut self.buf } else { &mut self.spare }, buf);
            if there {
                self.spare = used;
            }
            there
        });
        if !there {
            self.read_piece()?;
        }
        self.next += self.buf.len() as u64;
        self.at = 0;
        self.pieces = self.pieces.saturating_add(1);
        if let Some(aside) = self.aside.as_ref().filter(|_| self.pieces >= Self::ROW && self.next < self.end)
        {
            let len = Self::LARGE.min(self.end - self.next) as usize;
            self.ahead = Some(aside.read(&self.content, self.next, std::mem::take(&mut self.spare), len));
        }
        Ok(())
    }

    /// Reads a piece. What stands before a place that cannot be read is still given.
    fn read_piece(&mut self) -> io::Result<()> {
        loop {
            let piece = self.piece.min(self.end - self.next);
            self.buf.resize(piece as usize, 0);
            self.at = self.buf.len();
            match self.content.read_at(self.next, &mut self.buf) {
                Ok(_) => return Ok(()),
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
