//! What belongs to a dataset beside its rows: results, a thumbnail, references to assets.

use rusqlite::{OptionalExtension, types::ValueRef};
use serde::Serialize;

use super::{Database, value};
use crate::error::Result;

/// A result of an analysis, without what it found, which may be long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Its number in this database.
    pub id: i64,
    /// What kind of result.
    pub kind: String,
    /// The version of the analysis.
    pub version: Option<String>,
    /// When it was made.
    pub created_utc: Option<String>,
    /// Bytes of what it found.
    pub payload_bytes: u64,
}

/// That a dataset uses an asset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reference {
    /// The number of the asset.
    pub asset: i64,
    /// What it is used as: `snapshot_tiff`, `attachment:0`.
    pub role: String,
    /// What is said about it.
    pub note: Option<String>,
}

impl Database {
    /// The results of a dataset, in the order of their numbers.
    pub fn results(&self, dataset: i64) -> Result<Vec<Outcome>> {
        let Some(shape) = self.layout.with("result", &["id", "dataset_id", "kind", "payload_json"]) else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT id, kind, {}, {}, octet_length(payload_json) FROM result WHERE dataset_id = ?1 ORDER BY id",
            shape.or_null("version"),
            shape.or_null("created_utc")
        );
        self.with(|link| {
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query([dataset])?;
            let (mut results, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let Some(id) = value::some_integer(row.get_ref(0)?) else { continue };
                let result = Outcome {
                    id,
                    kind: value::text(row.get_ref(1)?),
                    version: value::some_text(row.get_ref(2)?),
                    created_utc: value::some_text(row.get_ref(3)?),
                    payload_bytes: value::some_integer(row.get_ref(4)?).unwrap_or(0).max(0) as u64,
                };
                self.budget(&mut bytes, result.kind.len() + result.version.as_ref().map_or(0, String::len))?;
                results.push(result);
            }
            Ok(results)
        })
    }

    /// What a result found, as it is stored; usually JSON, which may hold a bare `NaN`.
    pub fn payload(&self, result: i64) -> Result<Option<Vec<u8>>> {
        match self.layout.with("result", &["id", "payload_json"]) {
            Some(_) => self.bytes("SELECT payload_json FROM result WHERE id = ?1", result),
            None => Ok(None),
        }
    }

    /// The small picture of a dataset.
    pub fn thumbnail(&self, dataset: i64) -> Result<Option<Vec<u8>>> {
        match self.layout.with("thumbnail", &["dataset_id", "png"]) {
            Some(_) => self.bytes("SELECT png FROM thumbnail WHERE dataset_id = ?1", dataset),
            None => Ok(None),
        }
    }

    /// The assets that a dataset uses, in the order of their roles.
    pub fn references(&self, dataset: i64) -> Result<Vec<Reference>> {
        let sql = if let Some(shape) = self.layout.with("ref", &["asset_id", "dataset_id", "role"]) {
            let note = shape.or_null("note");
            format!("SELECT asset_id, role, {note} FROM ref WHERE dataset_id = ?1 ORDER BY role, asset_id")
        } else if self.layout.with("asset", &["id", "dataset_id", "role"]).is_some() {
            "SELECT id, role, NULL FROM asset WHERE dataset_id = ?1 ORDER BY role, id".into()
        } else {
            return Ok(Vec::new());
        };
        self.with(|link| {
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query([dataset])?;
            let (mut references, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let Some(asset) = value::some_integer(row.get_ref(0)?) else { continue };
                let (role, note) = (value::text(row.get_ref(1)?), value::some_text(row.get_ref(2)?));
                self.budget(&mut bytes, role.len() + note.as_ref().map_or(0, String::len))?;
                references.push(Reference { asset, role, note });
            }
            Ok(references)
        })
    }

    /// The bytes of one cell, text or not.
    fn bytes(&self, sql: &str, id: i64) -> Result<Option<Vec<u8>>> {
        self.with(|link| {
            let found = link.connection.query_row(sql, [id], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Null => None,
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
                    number => Some(value::text(number).into_bytes()),
                })
            });
            Ok(found.optional()?.flatten())
        })
    }
}
