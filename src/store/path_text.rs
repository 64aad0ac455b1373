//! Paths in JSON, which knows no bytes: what is no UTF-8 in one becomes U+FFFD.
//!
//! serde refuses such a path, and a name from an old disk would keep everything else from being said.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// One path.
pub fn one<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(to)
}

/// One that there may be.
pub fn maybe<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}

/// Any number.
pub fn all<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}
