//! Packed streams that are read at any place.
//!
//! ```text
//!   stream     reads a stream anywhere               whole, coverage   front to back, and checked
//!   pool       decoders and pieces that streams share   decode, methods   the decoders
//!   index      where decoding can begin in the middle   inflate, ahead    the one that can
//! ```

mod ahead;
mod coverage;
pub mod decode;
pub(crate) mod index;
pub(crate) mod inflate;
#[cfg(feature = "methods")]
mod methods;
pub(crate) mod pool;
pub(crate) mod stream;
pub(crate) mod whole;
