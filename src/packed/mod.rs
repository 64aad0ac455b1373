//! Packed streams, read at any place: by several threads, in bounded memory, and checked.
//!
//! ```text
//!   stream     reads a stream anywhere                     whole, sum, coverage   what it has to be in the end
//!   pool       decoders and pieces that streams share      decode, methods        the decoders
//!   index      where decoding can begin in the middle      inflate, ahead         the one that can
//!   input      the packed bytes                           aside                  what another core does
//! ```
//!
//! The packed bytes are any [`Content`]: a range of a file, or pieces that are put together. Every size is a claim; a
//! stream that gives more or less, or whose checksum is wrong, is an error at its end, with a finding.

mod ahead;
mod aside;
mod coverage;
mod decode;
mod index;
mod inflate;
mod input;
#[cfg(feature = "methods")]
mod methods;
mod pool;
mod stream;
mod sum;
mod whole;

use std::sync::Arc;

pub use self::decode::{Decoder, Method, decoder};
#[cfg(any(test, fuzzing))]
pub(crate) use self::index::{HEAD, RECORD, record};
#[cfg(any(test, fuzzing))]
pub(crate) use self::inflate::{Inflater, Mark, Stop, against};
pub use self::input::Input;
pub use self::pool::Decoding;
pub use self::sum::Check;
pub use self::whole::{CUT_OFF, Packed, decode_all};
use crate::error::{Error, Result};
use crate::tree::Content;

/// The decoded bytes of a stream. Nothing is read yet.
pub fn open(packed: Packed, shared: Arc<Decoding>) -> Content {
    Content::Coded(Arc::new(stream::Reading::new(packed, shared)))
}

/// The decoded bytes of a zlib stream of which `size` bytes are expected. Its packed bytes are known by `identity`,
/// which stands for their state, too: an index that was made of others would give wrong bytes.
pub fn zlib(
    content: Content,
    size: u64,
    name: impl Into<String>,
    identity: [u8; 32],
    shared: Arc<Decoding>,
) -> Result<Content> {
    let name = name.into();
    if i64::try_from(size).is_err() {
        return Err(Error::damaged("size-mismatch", name, format!("no file has {size} bytes")));
    }
    let (method, check, identity) = (Method::Zlib, Check::Adler32, Some(identity));
    let mut packed = Packed { entry: 0, name, method, content, size, check, identity };
    if size == 0 {
        // Nobody ever reads it, so nobody would be told.
        return decode_all(&packed, &shared.findings, |_| ()).map(|()| Content::Bytes(Arc::new([])));
    }
    packed.entry = shared.number(packed.key().expect("it has an identity"));
    Ok(open(packed, shared))
}

#[cfg(test)]
mod tests;
