//! How rows become bytes.

use crate::tree::Cell;

/// A way to write a table down: a head, then the rows one behind the other. The same rows give the same bytes,
/// wherever a reader begins.
pub trait Form: Send + Sync + std::fmt::Debug {
    /// What stands before the rows. `rows` is their number for a form whose rows have a width, and else nothing.
    fn head(&self, rows: u64) -> Vec<u8>;

    /// The bytes of every row, where all have the same number of them.
    fn width(&self) -> Option<usize>;

    /// Adds a row to `out`.
    fn row(&self, cells: &[Cell<'_>], out: &mut Vec<u8>);

    /// What is worth telling about the rows so far: codes, and what was done to them.
    fn notes(&self) -> Vec<(&'static str, &'static str)>;
}
