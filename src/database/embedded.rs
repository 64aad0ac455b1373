//! Whether the embedded files of a database are those that it says: all pieces there, the size, the digest.
//!
//! All pieces of all assets are read once, in the order in which they lie, and decoded on the way. Memory: one piece,
//! and one buffer. No more is decoded than an asset is said to have, so that a few bytes cannot keep anybody busy.

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};

use super::{AssetInfo, Database, Stored};
use crate::error::Result;

/// Bytes that are decoded in one go.
const BUFFER: usize = 64 << 10;

/// What is wrong with an asset.
#[derive(Debug)]
pub struct Fault {
    /// A short stable word for scripts.
    pub code: &'static str,
    /// In words, with its number and name.
    pub what: String,
    /// The digest that it should have.
    pub sha256: Option<String>,
}

impl Fault {
    /// Whether anything is missing: pieces that belong to nothing are missed by nobody.
    pub fn is_loss(&self) -> bool {
        self.code != STRAY
    }
}

const STRAY: &str = "asset-stray-pieces";

/// Reads all embedded files of `database`, and tells `fault` of each that is not what the database says.
pub fn examine_embedded(database: &Database, fault: &mut dyn FnMut(Fault)) -> Result<()> {
    for (dataset, reference) in database.dangling_references()? {
        let what = format!("dataset {dataset} has asset {} as {}", reference.asset, reference.role);
        let what = format!("{what}, and there is none of that number");
        fault(Fault { code: "asset-missing", what, sha256: None });
    }
    let infos = database.assets()?;
    let mut assets: BTreeMap<i64, Running> = infos
        .iter()
        .filter(|info| info.external.is_none())
        .map(|info| (info.id, Running::new(info)))
        .collect();
    let mut stray = 0;
    let mut buf = vec![0; BUFFER];
    let mut at: Option<i64> = None;
    database.stored_pieces(&mut |piece| {
        if let Some(before) = at.filter(|before| *before != piece.asset) {
            assets.remove(&before).and_then(Running::finish).into_iter().for_each(&mut *fault);
        }
        at = Some(piece.asset);
        match assets.get_mut(&piece.asset) {
            Some(asset) => asset.take(&piece, &mut buf),
            None => stray += 1,
        }
        Ok(())
    })?;
    assets.into_values().filter_map(Running::finish).for_each(&mut *fault);
    if stray > 0 {
        fault(Fault { code: STRAY, what: format!("{stray} pieces belong to no asset"), sha256: None });
    }
    Ok(())
}

/// An asset whose pieces are being read.
struct Running<'a> {
    info: &'a AssetInfo,
    next: i64,
    decoder: Option<Decompress>,
    /// Whether the decoder has seen its end.
    ended: bool,
    digest: Sha256,
    size: u64,
    fault: Option<(&'static str, String)>,
}

impl Running<'_> {
    fn new(info: &AssetInfo) -> Running<'_> {
        let decoder = info.compressed.then(|| Decompress::new(true));
        let fault = (info.compressed && info.size_bytes.is_none())
            .then(|| ("asset-size", "the database does not say how large it is".to_string()));
        Running { info, next: 0, decoder, ended: false, digest: Sha256::new(), size: 0, fault }
    }

    fn take(&mut self, piece: &Stored<'_>, buf: &mut [u8]) {
        if self.fault.is_some() {
            return;
        }
        if piece.seq != Some(self.next) {
            let what = format!("piece {} is missing, and all after it cannot be placed", self.next);
            self.fault = Some(("asset-missing-piece", what));
            return;
        }
        let Some(bytes) = piece.bytes else {
            self.fault = Some(("asset-missing-piece", format!("piece {} is no blob", self.next)));
            return;
        };
        self.next += 1;
        match self.decoder.take() {
            None => self.add(bytes),
            Some(mut decoder) => {
                self.decode(&mut decoder, bytes, buf);
                self.decoder = Some(decoder);
            }
        }
    }

    fn decode(&mut self, decoder: &mut Decompress, bytes: &[u8], buf: &mut [u8]) {
        let mut left = bytes;
        while self.fault.is_none() {
            if self.ended {
                if !left.is_empty() {
                    let what = "there are bytes behind the end of its stream".to_string();
                    self.fault = Some(("asset-size", what));
                }
                return;
            }
            let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
            let status = decoder.decompress(left, buf, FlushDecompress::None);
            let made = (decoder.total_out() - before_out) as usize;
            let taken = (decoder.total_in() - before_in) as usize;
            left = &left[taken..];
            self.add(&buf[..made]);
            match status {
                Ok(Status::StreamEnd) => self.ended = true,
                // What fills the buffer may have more to give.
                Ok(_) if taken == 0 && made == 0 || left.is_empty() && made < buf.len() => return,
                Ok(_) => {}
                Err(why) => {
                    let what = format!("it cannot be unpacked from byte {} on: {why}", self.size);
                    self.fault = Some(("asset-digest", what));
                }
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.digest.update(bytes);
        if let Some(size) = self.info.size_bytes.filter(|size| self.size > *size) {
            self.fault = Some(("asset-size", format!("it has more than the {size} bytes that are said")));
        }
    }

    fn finish(mut self) -> Option<Fault> {
        if self.fault.is_none() {
            self.fault = self.judge();
        }
        let AssetInfo { id, original_name, kind, sha256, .. } = self.info;
        let name = original_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(kind);
        let (code, what) = self.fault?;
        Some(Fault { code, what: format!("asset {id} ({name}): {what}"), sha256: sha256.clone() })
    }

    /// What is wrong, now that all pieces have been seen.
    fn judge(&self) -> Option<(&'static str, String)> {
        let size = self.info.size_bytes;
        if self.next == 0 && size != Some(0) {
            return Some(("asset-missing-piece", "none of its pieces is there".into()));
        }
        if self.next > 0 && self.decoder.is_some() && !self.ended {
            let what = format!("its pieces end early, after {} bytes", self.size);
            return Some(("asset-missing-piece", what));
        }
        if let Some(said) = size.filter(|said| *said != self.size) {
            return Some(("asset-size", format!("{} bytes are stored, and {said} are said", self.size)));
        }
        let said = self.info.sha256.as_deref()?;
        let found: String = self.digest.clone().finalize().iter().map(|b| format!("{b:02x}")).collect();
        (!said.eq_ignore_ascii_case(&found))
            .then(|| ("asset-digest", format!("its SHA-256 is {found}, and the database says {said}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(info: &AssetInfo, pieces: &[(i64, &[u8])]) -> Option<&'static str> {
        let mut running = Running::new(info);
        let mut buf = vec![0; 100];
        for (seq, bytes) in pieces {
            running.take(&Stored { asset: 1, seq: Some(*seq), bytes: Some(bytes) }, &mut buf);
        }
        running.finish().map(|fault| fault.code)
    }

    /// By Python: `zlib.compress(b"abc" * 1000, 9)`, and the SHA-256 of these 3,000 bytes.
    const PACKED: [u8; 29] = [
        0x78, 0xda, 0xed, 0xc2, 0x41, 0x11, 0x00, 0x00, 0x0c, 0x02, 0xa0, 0xac, 0x6a, 0xff, 0x0e, 0xab, 0xb1,
        0x07, 0x1c, 0xe9, 0xa2, 0xaa, 0xaa, 0xfe, 0x7e, 0xec, 0xd4, 0x7c, 0xad,
    ];
    const DIGEST: &str = "328de8f1895f8bb09f6e6b4c2012ef2b2a6f067cd002794b750aa040a6f6d8bd";

    #[test]
    fn what_is_stored_is_held_against_what_is_said() {
        let info = |size: u64, digest: &str| AssetInfo {
            id: 1,
            size_bytes: Some(size),
            sha256: Some(digest.to_uppercase()),
            compressed: true,
            ..AssetInfo::default()
        };
        let right = info(3000, DIGEST);
        let (front, back) = PACKED.split_at(11);
        let end = &PACKED[..28];
        for (what, info, pieces, code) in [
            ("right", &right, &[(0, &PACKED[..])][..], None),
            ("in pieces", &right, &[(0, front), (1, back)], None),
            ("empty pieces", &right, &[(0, &[]), (1, front), (2, back)], None),
            ("nothing", &right, &[], Some("asset-missing-piece")),
            ("the first is missing", &right, &[(1, back)], Some("asset-missing-piece")),
            ("one in the middle is missing", &right, &[(0, front), (2, back)], Some("asset-missing-piece")),
            ("the last is missing", &right, &[(0, front)], Some("asset-missing-piece")),
            ("cut off", &right, &[(0, end)], Some("asset-missing-piece")),
            ("more behind it", &right, &[(0, &PACKED[..]), (1, b"x")], Some("asset-size")),
            ("more is said", &info(3001, DIGEST), &[(0, &PACKED[..])], Some("asset-size")),
            ("less is said", &info(2999, DIGEST), &[(0, &PACKED[..])], Some("asset-size")),
            ("no stream", &right, &[(0, back)], Some("asset-digest")),
            (
                "another",
                &info(3000, &DIGEST.replace("328d", "328e")),
                &[(0, &PACKED[..])],
                Some("asset-digest"),
            ),
        ] {
            assert_eq!(judged(info, pieces), code, "{what}");
        }
        let plain = AssetInfo {
            compressed: false,
            ..info(3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        };
        assert_eq!(judged(&plain, &[(0, b"ab"), (1, b"c")]), None);
        assert_eq!(judged(&plain, &[(0, b"ab"), (1, b"d")]), Some("asset-digest"));
        assert_eq!(judged(&plain, &[(0, b"ab")]), Some("asset-size"));
        let empty = AssetInfo { size_bytes: Some(0), sha256: None, ..plain };
        assert_eq!(judged(&empty, &[]), None);
        let unsaid = AssetInfo { size_bytes: None, ..right.clone() };
        assert_eq!(judged(&unsaid, &[(0, &PACKED)]), Some("asset-size"));
    }
}
