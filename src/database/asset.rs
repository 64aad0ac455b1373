//! Embedded files: what the table of assets says of them, and their stored bytes, piece by piece.
//!
//! The pieces of an asset lie in `blob_chunk`, numbered from zero; put together they are a zlib stream, or the file
//! itself. A piece that is missing ends what can be read: nobody knows how long it was.
//!
//! A search in `blob_chunk` reads whole pieces wherever it compares a key, for the key and the piece are one record.
//! So nothing is searched for: the lengths of all pieces of all assets are listed once, from front to back, which
//! reads no piece, and a piece is found by its place in that list.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Row, types::ValueRef};
use serde::Serialize;

use super::layout::Shape;
use super::{Database, value};
use crate::error::{Error, Result};
use crate::tree::{Coded, Content};

/// The longest piece that is kept for the next read.
const KEPT: u64 = 4 << 20;

/// Pieces of one asset at most.
const MOST: usize = 1 << 22;

/// What is said of an asset.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AssetInfo {
    /// Its number in this database.
    pub id: i64,
    /// What it is: `snapshot_tiff`, `tiff`, `attachment:0`. In old layouts its role.
    pub kind: String,
    /// The digest of the file's bytes, in hexadecimal digits.
    pub sha256: Option<String>,
    /// The size of the file.
    pub size_bytes: Option<u64>,
    /// Whether the pieces are a zlib stream.
    pub compressed: bool,
    /// Bytes of a piece.
    pub chunk_size: Option<u64>,
    /// The name that the file had.
    pub original_name: Option<String>,
    /// Its media type.
    pub mime: Option<String>,
    /// Where a file lies that is not embedded, relative to the project. It is not read here.
    pub external: Option<String>,
}

/// An asset with its stored bytes.
#[derive(Debug, Clone)]
pub struct Asset {
    /// What is said of it.
    pub info: AssetInfo,
    /// All pieces, put together; `None` if the file is not embedded.
    pub stored: Option<Content>,
}

/// One piece as it is stored.
#[derive(Debug)]
pub struct Stored<'a> {
    /// The asset it belongs to.
    pub asset: i64,
    /// Which of its pieces, from zero; `None` if that is no whole number.
    pub seq: Option<i64>,
    /// The bytes; `None` if they are no blob.
    pub bytes: Option<&'a [u8]>,
}

impl Database {
    /// All assets, in the order of their numbers.
    pub fn assets(&self) -> Result<Vec<AssetInfo>> {
        self.some_assets("", None)
    }

    /// The assets that are not embedded. Layouts that know of none are not asked.
    pub fn external_assets(&self) -> Result<Vec<AssetInfo>> {
        if self.layout.with("asset", &["id", "storage"]).is_none() {
            return Ok(Vec::new());
        }
        Ok(self.assets()?.into_iter().filter(|info| info.external.is_some()).collect())
    }

    /// What is said of one asset.
    pub fn asset_info(&self, id: i64) -> Result<Option<AssetInfo>> {
        Ok(self.some_assets(" WHERE id = ?1", Some(id))?.pop())
    }

    /// One asset. Its pieces are looked up, and not read.
    pub fn asset(self: &Arc<Self>, id: i64) -> Result<Option<Asset>> {
        let Some(info) = self.asset_info(id)? else { return Ok(None) };
        let stored = match info.external {
            Some(_) => None,
            None => Some(Content::Coded(Arc::new(self.pieces(id)?))),
        };
        Ok(Some(Asset { info, stored }))
    }

    fn some_assets(&self, filter: &str, id: Option<i64>) -> Result<Vec<AssetInfo>> {
        let Some(shape) = self.layout.with("asset", &["id"]) else { return Ok(Vec::new()) };
        let columns: Vec<String> = COLUMNS.iter().map(|column| shape.or_null(column)).collect();
        let sql = format!("SELECT {} FROM asset{filter} ORDER BY id", columns.join(", "));
        self.with(|link| {
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(id))?;
            let (mut assets, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let Some(info) = info(row, shape)? else { continue };
                let sizes = (0..columns.len()).map(|i| Ok(value::size(row.get_ref(i)?)));
                self.budget(&mut bytes, sizes.sum::<rusqlite::Result<usize>>()?)?;
                assets.push(info);
            }
            Ok(assets)
        })
    }

    /// Calls `each` with every piece of every asset, from front to back, in one pass.
    pub fn stored_pieces(&self, each: &mut dyn FnMut(Stored<'_>) -> Result<()>) -> Result<()> {
        if self.layout.with("blob_chunk", &["asset_id", "seq", "data"]).is_none() {
            return Ok(());
        }
        let sql = format!("SELECT asset_id, seq, data {FROM_FRONT}");
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut last = None;
            while let Some(row) = rows.next()? {
                link.watch.renew();
                let Some(asset) = value::some_integer(row.get_ref(0)?) else { break };
                if last.replace(asset).is_some_and(|last| last > asset) {
                    return Err(self.out_of_order().into());
                }
                let bytes = if let ValueRef::Blob(bytes) = row.get_ref(2)? { Some(bytes) } else { None };
                each(Stored { asset, seq: value::some_integer(row.get_ref(1)?), bytes })?;
            }
            Ok(())
        })
    }

    fn out_of_order(&self) -> Error {
        self.damaged("rows-out-of-order", "the pieces of assets are not in order")
    }

    fn pieces(self: &Arc<Self>, asset: i64) -> Result<Pieces> {
        let listed = match self.pieces.get() {
            Some(listed) => listed,
            None => {
                let listed = self.list_pieces()?;
                self.pieces.get_or_init(|| listed)
            }
        };
        let from = listed.partition_point(|piece| piece.asset < asset);
        let mine = listed[from..].iter().take_while(|piece| piece.asset == asset);
        let mut pieces = Pieces {
            database: self.clone(),
            asset,
            first: from as u64,
            ends: Vec::new(),
            broken: None,
            kept: Mutex::new(None),
        };
        mine.for_each(|piece| pieces.add(piece));
        Ok(pieces)
    }

    fn list_pieces(&self) -> Result<Listed> {
        let mut listed: Listed = Vec::new();
        if self.layout.with("blob_chunk", &["asset_id", "seq", "data"]).is_none() {
            return Ok(listed);
        }
        let sql = format!("SELECT asset_id, seq, typeof(data), octet_length(data) {FROM_FRONT}");
        self.with(|link| {
            link.set_patience(self.patience_for_all());
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // What has no number is of no asset, and stands where it does not count: all such come last.
                let Some(asset) = value::some_integer(row.get_ref(0)?) else { break };
                let is_blob = row.get_ref(2)? == ValueRef::Text(b"blob");
                let len = value::some_integer(row.get_ref(3)?).unwrap_or(0).max(0) as u64;
                let seq = value::some_integer(row.get_ref(1)?).filter(|_| is_blob);
                if listed.last().is_some_and(|last| last.asset > asset) {
                    return Err(self.out_of_order().into());
                }
                listed.push(Piece { asset, seq: seq.unwrap_or(-1), len });
                if listed.len() > MOST {
                    return Err(self.unsupported("there are too many pieces of assets").into());
                }
            }
            Ok(())
        })?;
        Ok(listed)
    }
}

/// All pieces, in the order of the primary key.
const FROM_FRONT: &str = "FROM blob_chunk ORDER BY asset_id, seq";

/// All pieces of all assets.
pub(super) type Listed = Vec<Piece>;

/// One piece, as it is listed.
#[derive(Debug)]
pub(super) struct Piece {
    asset: i64,
    /// -1 if it has no number, or is no blob.
    seq: i64,
    len: u64,
}

const COLUMNS: [&str; 12] = [
    "id",
    "kind",
    "sha256",
    "size_bytes",
    "compressed",
    "chunk_size",
    "original_name",
    "mime",
    "role",
    "bytes",
    "storage",
    "rel_path",
];

fn info(row: &Row<'_>, shape: &Shape) -> rusqlite::Result<Option<AssetInfo>> {
    let text = |i: usize| row.get_ref(i).map(value::some_text);
    let size = |i: usize| row.get_ref(i).map(|v| value::some_integer(v).and_then(|n| u64::try_from(n).ok()));
    let Some(id) = value::some_integer(row.get_ref(0)?) else { return Ok(None) };
    let rel_path = text(11)?;
    let is_external = shape.has("storage")
        && match text(10)?.as_deref() {
            Some("embedded") => false,
            Some("external") => true,
            _ => rel_path.is_some(),
        };
    Ok(Some(AssetInfo {
        id,
        kind: text(1)?.or(text(8)?).unwrap_or_default(),
        sha256: text(2)?,
        size_bytes: size(3)?.or(size(9)?),
        compressed: matches!(row.get_ref(4)?, ValueRef::Integer(n) if n != 0),
        chunk_size: size(5)?,
        original_name: text(6)?,
        mime: text(7)?,
        external: is_external.then(|| rel_path.unwrap_or_default()),
    }))
}

/// The pieces of an asset as one stream.
struct Pieces {
    database: Arc<Database>,
    asset: i64,
    /// The place of the first piece in the list of all.
    first: u64,
    /// Where each piece ends.
    ends: Vec<u64>,
    /// The first piece that is missing, and a piece of another number stands in its place.
    broken: Option<usize>,
    /// The piece that was read last.
    kept: Mutex<Option<(usize, Arc<[u8]>)>>,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("asset", &self.asset).field("pieces", &self.ends.len()).finish()
    }
}

impl Pieces {
    fn add(&mut self, piece: &Piece) {
        let at = self.ends.len();
        if self.broken.is_none() && i64::try_from(at) != Ok(piece.seq) {
            self.broken = Some(at);
        }
        let end = self.ends.last().copied().unwrap_or(0).saturating_add(piece.len);
        self.ends.push(end);
    }

    fn begin(&self, piece: usize) -> u64 {
        piece.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn name(&self) -> String {
        format!("{}: asset {}", self.database.name, self.asset)
    }

    /// Bytes `from..from + buf.len()` of one piece.
    fn read_piece(&self, piece: usize, from: u64, buf: &mut [u8]) -> Result<()> {
        if self.broken.is_some_and(|broken| piece >= broken) {
            let what =
                format!("piece {} is missing, and all after it cannot be placed", self.broken.unwrap_or(0));
            return Err(Error::damaged("piece-missing", self.name(), what));
        }
        let len = self.ends[piece] - self.begin(piece);
        if len > KEPT {
            return self.fetch(piece, from, buf.len(), |bytes| buf.copy_from_slice(bytes));
        }
        let kept = self.kept.lock().clone().filter(|(kept, _)| *kept == piece);
        let bytes = match kept {
            Some((_, bytes)) => bytes,
            None => {
                let mut bytes: Arc<[u8]> = Arc::default();
                self.fetch(piece, 0, len as usize, |found| bytes = found.into())?;
                *self.kept.lock() = Some((piece, bytes.clone()));
                bytes
            }
        };
        buf.copy_from_slice(&bytes[from as usize..][..buf.len()]);
        Ok(())
    }

    /// Gives `len` bytes of a piece to `take`.
    fn fetch(&self, piece: usize, from: u64, len: usize, take: impl FnOnce(&[u8])) -> Result<()> {
        let sql = format!("SELECT asset_id, seq, data {FROM_FRONT} LIMIT 1 OFFSET ?1");
        let at = from as usize;
        self.database.with(|link| {
            let place = self.first as i64 + piece as i64;
            let found = link.connection.query_row(&sql, [place], |row| {
                let key = (value::some_integer(row.get_ref(0)?), value::some_integer(row.get_ref(1)?));
                Ok(match row.get_ref(2)? {
                    ValueRef::Blob(bytes) if key == (Some(self.asset), Some(piece as i64)) => {
                        bytes.get(at..at + len).map(take).is_some()
                    }
                    _ => false,
                })
            })?;
            match found {
                true => Ok(()),
                false => {
                    let what = format!("piece {piece} is not as long as it says");
                    Err(Error::damaged("piece-missing", self.name(), what).into())
                }
            }
        })
    }
}

impl Coded for Pieces {
    fn size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn check(&self) -> Result<()> {
        self.database.content.check()
    }

    fn is_ready(&self, offset: u64, len: usize) -> bool {
        match self.database.content {
            Content::Bytes(_) | Content::Range(..) | Content::Whole(_) => true,
            Content::Coded(_) | Content::Headed(..) => {
                let kept = self.kept.lock();
                kept.as_ref().is_some_and(|(piece, _)| {
                    offset >= self.begin(*piece) && offset + len as u64 <= self.ends[*piece]
                })
            }
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let piece = self.ends.partition_point(|end| *end <= at);
            if piece == self.ends.len() {
                return Err(Error::damaged("piece-missing", self.name(), "the pieces end early"));
            }
            let n = (buf.len() - done).min((self.ends[piece] - at) as usize);
            self.read_piece(piece, at - self.begin(piece), &mut buf[done..done + n])?;
            done += n;
        }
        Ok(())
    }
}
