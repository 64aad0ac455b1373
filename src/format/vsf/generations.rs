//! Files of format 10 that were appended to.
//!
//! Such a file ends in 16 bytes: a magic number and the offset of its newest header, whose labels refer to bytes
//! from the start of the file. The bytes are believed only in a file whose first header is of format 10, and only
//! if a header really stands there; else the first header counts. Of the first one, the seals stay with the newest:
//! they are of the bytes before the end was appended, and nobody else checks those.

use super::file::{File, read_header};
use super::input::{Fault, Input};
use crate::error::Result;
use crate::finding::Severity;

/// The end of an appended file, before the offset.
const TRAILER: &[u8; 8] = b">\xC3\x85R\0VSF";

/// The newest generation of a file whose first header is `first`.
pub fn newest(input: &dyn Input, mut first: File) -> Result<File> {
    let mut end = [0; 16];
    if first.size < first.header.span.end + end.len() as u64 {
        return Ok(first);
    }
    input.read_at(first.size - end.len() as u64, &mut end)?;
    let (magic, offset) = end.split_at(TRAILER.len());
    if magic != TRAILER {
        return Ok(first);
    }
    let offset = u64::from_be_bytes(offset.try_into().expect("eight of sixteen bytes"));
    if offset == 0 {
        return Ok(first);
    }
    match read_header(input, offset) {
        Ok(mut newest) if newest.header.broken.is_none() => {
            newest.earlier = Some(Box::new(seals_of(first)));
            Ok(newest)
        }
        Err(Fault::Input(error)) => Err(error),
        Ok(_) | Err(Fault::Wrong(_)) => {
            let text = format!("the file's end names a newer header at byte {offset}, and there is none");
            first.note(Severity::Warning, "vsf-generation", String::new(), text);
            Ok(first)
        }
    }
}

/// The header, with those labels that have seals; with all of them where they alone tell how far the file went.
fn seals_of(mut first: File) -> File {
    if first.header.declared_size().is_some_and(|size| size <= first.size) {
        first.labels.retain(|label| !label.values.is_empty());
        first.labels.shrink_to_fit();
    }
    first
}
