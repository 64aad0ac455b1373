//! Rows of cells, whatever they are stored in: what views for people are rendered from.
//!
//! A [`Table`] is read in stretches, each from a [`Place`] that an earlier stretch ended at, so that a reader in
//! the middle need not begin at the front, and nothing stays open between two stretches.

use crate::error::Result;

/// What the cells of a column hold, as far as the column's makers say. A cell may hold something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Numbers with a fraction.
    Real,
    /// Whole numbers.
    Integer,
    /// Numbers, of which those that no other cell may hold exactly are texts of digits: `-12.50`.
    Digits,
    /// Text.
    Text,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name for people, with its unit: `inner_diam_um`.
    pub name: String,
    /// What it holds.
    pub cells: Cells,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text, which should be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// A place between two rows of a table, as the table itself writes it; empty at the front. Short, and the same for
/// the same content, so that it may be kept for the next time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(pub Vec<u8>);

/// Rows in an order of their own, that is always the same.
pub trait Table: Send + Sync + std::fmt::Debug {
    /// What a row holds.
    fn columns(&self) -> &[Column];

    /// Whether what the rows lie in is still what it was when it was opened. A read finds that out by itself; this is
    /// for whoever keeps what was read.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// How many rows there are. May have to look at all of them.
    fn rows(&self) -> Result<u64>;

    /// Calls `each` with up to `most` rows from `from` on, and gives the place behind the last of them; `None`
    /// when there are no more. Several threads may read at once.
    fn read(
        &self,
        from: &Place,
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>>;
}
