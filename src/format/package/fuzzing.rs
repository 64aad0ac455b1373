//! The parsers, for whoever throws bytes at them: one function for each, which takes any bytes and panics when
//! something does not hold that always has to.
//!
//! `fuzz/` calls these with bytes that are made to reach every branch; the tests below with a few that are known.
//! Work is bounded for each input, so that many can be tried; where a limit of the program itself would let one
//! input take seconds, the input is made smaller instead of the limit.

mod contents;
mod forged;
mod headers;
mod paths;
mod scratch;
mod trees;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub use scratch::source;

/// The end of a file and its central directory, up to the tree. The first byte says whether the rest is a file,
/// or the records of a directory for which a right end record is made.
pub fn directory(data: &[u8]) {
    headers::directory(data);
}

/// Local headers, descriptors, and a file that has lost its directory. The first byte says whether the rest is
/// a file, or what one is to be made of.
pub fn local(data: &[u8]) {
    headers::local(data);
}

/// An index in the cache folder that somebody has written to.
pub fn index(data: &[u8]) {
    forged::index(data);
}

/// A deflate stream, held against what another decoder makes of it. The first eight bytes say in which pieces it comes.
pub fn inflate(data: &[u8]) {
    headers::inflate(data);
}

/// Stored names, up to the tree. One on a line, with a byte before it that says what it belongs to.
pub fn names(data: &[u8]) {
    paths::names(data);
}

/// A manifest, and what it makes of a package. The first byte says which files stand beside it.
pub fn manifest(data: &[u8]) {
    contents::manifest(data);
}

/// A whole package: opened, listed, and every entry read in several ways.
pub fn package(data: &[u8]) {
    contents::package(data);
}

/// Bytes that are taken from the front; zeros when there are none left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
