//! What SQLite's files are made of, as bytes: pages, the records in them, and trees of both.
//!
//! Invariant: nothing is believed before it was checked against the bytes it lies in. What is not as it has to be is
//! `None`, and what that means is for whoever asks: recovery takes what is left, rows are read by SQLite instead.

pub mod page;
pub mod record;
pub mod tree;
