//! Embedded files: their stored pieces, put together and unpacked.
//!
//! The size that `stat` gives is the one that the database says. A file that has more or fewer bytes is an error at
//! its end, with a finding, and never other bytes.

use std::sync::Arc;

use super::files::Files;
use crate::database::{AssetInfo, Database};
use crate::error::{Error, Result};
use crate::finding::{ELSEWHERE, Finding, Severity};
use crate::packed;
use crate::tree::{Coded, Content, Then};

/// The end of the name of an asset that has none, as its media type or its kind says.
pub fn suffix(info: &AssetInfo) -> &'static str {
    match info.mime.as_deref().unwrap_or("") {
        "image/tiff" => ".tiff",
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "text/plain" => ".txt",
        "text/csv" => ".csv",
        "application/pdf" => ".pdf",
        "application/json" => ".json",
        _ if matches!(info.kind.as_str(), "snapshot_tiff" | "tiff") => ".tiff",
        _ => "",
    }
}

/// What is told of an asset beside its bytes.
pub fn attributes(info: &AssetInfo) -> Vec<(&'static str, String)> {
    info.sha256.iter().map(|digest| ("user.vaso.sha256", digest.clone())).collect()
}

/// The bytes of an asset.
pub fn open(database: &Arc<Database>, files: &Files, id: i64, path: &str) -> Result<Content> {
    let missing = || Error::damaged("asset-missing", path, "the database has no bytes of it");
    let asset = database.asset(id)?.ok_or_else(missing)?;
    let stored = asset.stored.ok_or_else(missing)?;
    if stored.size() == 0 && asset.info.size_bytes != Some(0) {
        return Err(Error::damaged(PIECE, path, "none of its pieces is there"));
    }
    let stored = Content::Coded(Arc::new(Pieces { stored, path: path.to_string() }));
    match (asset.info.compressed, asset.info.size_bytes) {
        (true, Some(size)) => {
            let mut key = blake3::Hasher::new();
            key.update(&files.identity().here).update(b"asset").update(&id.to_le_bytes());
            packed::zlib(stored, size, path, *key.finalize().as_bytes(), files.decoding().clone())
        }
        (true, None) => {
            let what = "the database does not say how large it is, and its bytes are packed";
            Err(Error::Unsupported { entry: path.to_string(), what: what.to_string() })
        }
        (false, Some(size)) if size != stored.size() => {
            let what = format!("{} bytes are stored, and {size} should be", stored.size());
            let why = Error::damaged("asset-size", path, what);
            Finding::of_damage(&why).into_iter().for_each(|finding| files.findings().add(finding));
            Ok(Content::Coded(Arc::new(OtherSize { stored, size, why })))
        }
        (false, _) => Ok(stored),
    }
}

/// The code of what is wrong where a piece is missing, here and in what `vaso verify` says.
const PIECE: &str = "asset-missing-piece";

/// What somebody who knows of a stream alone finds about it, as it is for an embedded file: a stream that is cut off
/// has lost its last pieces, and the file may be had from elsewhere.
pub fn retell(finding: Finding) -> Finding {
    if finding.severity != Severity::Error {
        return finding;
    }
    let (code, message) = match finding.code {
        packed::CUT_OFF => (PIECE, "its pieces end early: one or more are missing at its end".to_string()),
        code => (code, finding.message),
    };
    Finding { code, message, remedy: ELSEWHERE.to_string(), ..finding }
}

/// The stored pieces of an asset, which is called by its path.
#[derive(Debug)]
struct Pieces {
    stored: Content,
    path: String,
}

impl Coded for Pieces {
    fn check(&self) -> Result<()> {
        self.stored.check()
    }

    fn size(&self) -> u64 {
        self.stored.size()
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        self.stored.is_ready(offset, len)
    }

    fn when_ready(&self, offset: u64, len: usize, then: Then) -> Option<Then> {
        self.stored.when_ready(offset, len, then)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self.stored.read_at(offset, buf) {
            Ok(_) => Ok(()),
            Err(Error::Damaged { code: "piece-missing", what, .. }) => {
                Err(Error::damaged(PIECE, &self.path, what))
            }
            Err(other) => Err(other),
        }
    }
}

/// Bytes of which there are more or fewer than was said.
#[derive(Debug)]
struct OtherSize {
    stored: Content,
    size: u64,
    why: Error,
}

/// The kernel asks for pages: all but the last is given.
const PAGE: u64 = 4096;

impl Coded for OtherSize {
    fn check(&self) -> Result<()> {
        self.stored.check()
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        self.stored.is_ready(offset, len)
    }

    fn when_ready(&self, offset: u64, len: usize, then: Then) -> Option<Then> {
        self.stored.when_ready(offset, len, then)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let good = self.stored.size().min((self.size.max(1) - 1) / PAGE * PAGE);
        match offset.checked_add(buf.len() as u64).filter(|end| *end <= good) {
            Some(_) => self.stored.read_at(offset, buf).map(|_| ()),
            None => Err(self.why.clone()),
        }
    }
}
