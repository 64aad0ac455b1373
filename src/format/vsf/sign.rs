//! Signs files, and makes the keys for it.
//!
//! A signature covers the file and has its room in it, so that a signed file is a new file: the same sections with
//! the same values at other offsets. What cannot be written again without a loss is not signed.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::{SigningKey, VerifyingKey};

use super::build::Builder;
use super::input::Input;
use super::record::unhex;
use super::rewrite;
use super::show::hex;
use crate::error::{Error, Result};
use crate::store::Source;

/// Makes a key and writes it to a new file that its owner alone can read; the public key in hexadecimal.
pub fn generate(path: &Path) -> Result<String> {
    let mut seed = [0; 32];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
    random.map_err(|e| Error::io("read", "/dev/urandom", e))?;
    let key = SigningKey::from_bytes(&seed);
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = new.map(|mut file| {
        let done = file.write_all(format!("{}\n", hex(&seed)).as_bytes()).and_then(|()| file.sync_all());
        // Half a key is none.
        done.inspect_err(|_| drop(fs::remove_file(path)))
    });
    written.and_then(|done| done).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Error::Refused(format!(
            "{} exists already, and a key is never overwritten; choose another name",
            path.display()
        )),
        _ => Error::Refused(format!("cannot write {}: {e}", path.display())),
    })?;
    Ok(hex(key.verifying_key().as_bytes()))
}

/// Reads a key that [`generate`] has written.
pub fn key_from(path: &Path) -> Result<SigningKey> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(1000).read_to_string(&mut text));
    let no_key = || {
        let text = "is no key: 64 hexadecimal digits are expected; `vaso vsf keygen` makes one";
        Error::Refused(format!("{} {text}", path.display()))
    };
    read.map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => no_key(),
        _ => Error::io("read", path, e),
    })?;
    let seed: Option<[u8; 32]> = unhex(text.trim()).and_then(|bytes| bytes.try_into().ok());
    Ok(SigningKey::from_bytes(&seed.ok_or_else(no_key)?))
}

/// The public key that [`generate`] has told.
pub fn public_from(text: &str) -> Result<VerifyingKey> {
    let bytes: Option<[u8; 32]> = unhex(text.trim()).and_then(|bytes| bytes.try_into().ok());
    bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).ok_or_else(|| {
        Error::Usage(format!(
            "{text} is no public key: the 64 digits that `vaso vsf keygen` prints are expected"
        ))
    })
}

/// A public key as [`public_from`] reads it.
pub fn public_text(key: &VerifyingKey) -> String {
    hex(key.as_bytes())
}

/// A builder of the same file, signed, and whether its sections are too: where that is wanted (`sections`), or they
/// were.
pub fn signed(source: &Arc<Source>, key: SigningKey, sections: bool) -> Result<(Builder, bool)> {
    let file = super::open(source.as_ref()).map_err(|error| match error {
        Error::Damaged { what, .. } => Error::not_a_project(source.path(), what),
        other => other,
    })?;
    let version = file.header.version().unwrap_or(0);
    if version > 2 {
        return Err(Error::Refused(format!(
            "{} is of version {version}, and files of version 2 are signed; unpack and pack it first",
            source.path().display()
        )));
    }
    let input: Arc<dyn Input> = source.clone();
    let (mut builder, were) = rewrite::builder_of(&file, &input)?;
    builder.signed(key, sections || were);
    Ok((builder, sections || were))
}
