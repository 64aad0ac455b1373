//! Project databases as the application wrote them, against what they are known to hold; and databases that want
//! to do harm. `data/databases.tar.xz` has a choice of the corpus with its truth.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vaso::database::{Database, glance};
use vaso::finding::Findings;
use vaso::tree::{Cell, Content, Place, Table};

fn unpacked() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tar = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/databases.tar.xz");
    let status = Command::new("tar").arg("-xJf").arg(tar).arg("-C").arg(dir.path()).status().unwrap();
    assert!(status.success());
    dir
}

fn content(path: &Path) -> Content {
    Content::Bytes(fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).into())
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// All rows, read in stretches of `most`.
fn rows(table: &dyn Table, most: u64) -> Vec<Vec<Value>> {
    let (mut all, mut from) = (Vec::new(), Place::default());
    loop {
        let mut n = 0;
        let next = table.read(&from, most, &mut |cells| {
            assert_eq!(cells.len(), table.columns().len());
            n += 1;
            all.push(cells.iter().map(json).collect());
            Ok(())
        });
        assert!(n <= most);
        match next.unwrap() {
            Some(place) => {
                assert_eq!(n, most);
                from = place;
            }
            None => return all,
        }
    }
}

fn json(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(i) => (*i).into(),
        Cell::Real(r) => (*r).into(),
        Cell::Text(t) => String::from_utf8_lossy(t).into(),
        Cell::Blob(b) => hex(b).into(),
    }
}

/// What a column is called for people.
fn title(column: &str) -> &str {
    match column {
        "inner_diam" => "inner_diam_um",
        "outer_diam" => "outer_diam_um",
        "p_avg" => "p_avg_mmhg",
        "p1" => "p1_mmhg",
        "p2" => "p2_mmhg",
        "temp" => "temp_c",
        other => other,
    }
}

fn place(table: &dyn Table, column: &str) -> usize {
    table.columns().iter().position(|c| c.name == title(column)).unwrap_or_else(|| panic!("no {column}"))
}

fn check(database: &Arc<Database>, truth: &Value) {
    let findings = Findings::default();
    assert_eq!(database.user_version(), truth["user_version"].as_i64().unwrap());
    database.quick_check().unwrap();
    let meta: Value = serde_json::to_value(database.meta().unwrap()).unwrap();
    assert_eq!(meta, truth["meta"]);
    let counts = database.row_counts().unwrap();
    for (table, told) in truth["tables"].as_object().unwrap() {
        assert_eq!(counts[table], told["rows"].as_u64().unwrap(), "{table}");
    }
    let samples = database.samples(&findings).unwrap();
    let told = truth["datasets"].as_array().unwrap();
    assert_eq!(samples.len(), told.len());
    for (sample, told) in samples.iter().zip(told) {
        assert_eq!(sample.id, told["id"]);
        assert_eq!(sample.name, told["name"]);
        assert_eq!(sample.experiment, told["experiment"]);
        assert_eq!(serde_json::to_value(&sample.notes).unwrap(), told["notes"]);
        check_trace(&*database.trace(sample.id).unwrap().unwrap(), told);
        check_events(database, sample.id, told);
        check_parts(database, sample.id, told);
    }
    assert_eq!(findings.list(), []);
    assert!(database.orphans().unwrap().is_empty());
}

fn check_trace(trace: &dyn Table, told: &Value) {
    let all = rows(trace, 97);
    assert_eq!(all, rows(trace, 1 << 40), "the stretches do not matter");
    assert_eq!(trace.rows().unwrap(), told["trace_rows"].as_u64().unwrap());
    assert_eq!(all.len() as u64, trace.rows().unwrap());
    let columns = told["trace"].as_object().unwrap();
    assert_eq!(columns.len(), trace.columns().len());
    for (column, told) in columns {
        let at = place(trace, column);
        let mut digest = Sha256::new();
        for row in &all {
            let bits = row[at].as_f64().map_or(0x7ff8_0000_0000_0000, f64::to_bits);
            digest.update(bits.to_le_bytes());
        }
        assert_eq!(hex(digest.finalize()), told["f64le_sha256"], "{column}");
    }
}

fn check_events(database: &Arc<Database>, id: i64, told: &Value) {
    let events = database.events(id).unwrap().unwrap();
    let all = rows(&*events, 1);
    assert_eq!(all.len() as u64, events.rows().unwrap());
    assert_eq!(Value::from(all.len()), told["event_rows"]);
    for head in told["events_head"].as_array().unwrap() {
        let row = all.iter().find(|row| row[place(&*events, "id")] == head[0]).unwrap();
        for (i, column) in ["id", "t_seconds", "label", "frame"].into_iter().enumerate() {
            assert_eq!(row[place(&*events, column)], head[i]);
        }
    }
    let deleted = database.deleted_events(id).unwrap().map_or(0, |t| t.rows().unwrap());
    assert_eq!(Value::from(deleted), told["event_rows_deleted"]);
}

fn check_parts(database: &Arc<Database>, id: i64, told: &Value) {
    let results = database.results(id).unwrap();
    let told_results = told["results"].as_array().unwrap();
    assert_eq!(results.len(), told_results.len());
    for (result, told) in results.iter().zip(told_results) {
        assert_eq!(result.kind, told["kind"]);
        let payload = database.payload(result.id).unwrap().unwrap();
        assert_eq!(payload.len() as u64, result.payload_bytes);
        assert_eq!(sha256(&payload), told["payload_sha256"]);
    }
    let picture = database.thumbnail(id).unwrap();
    match &told["thumbnail"] {
        Value::Null => assert_eq!(picture, None),
        told => assert_eq!(sha256(&picture.unwrap()), told["sha256"]),
    }
    let references = database.references(id).unwrap();
    let told = told["assets"].as_array().unwrap();
    assert_eq!(references.len(), told.len());
    for told in told {
        let reference = references.iter().find(|r| told["asset_id"] == r.asset).unwrap();
        assert_eq!(reference.role, told["role"]);
        let asset = database.asset(reference.asset).unwrap().unwrap();
        let Some(stored) = asset.stored else {
            assert_eq!(told["storage"], "external");
            assert_eq!(told["rel_path"], asset.info.external.unwrap());
            continue;
        };
        let mut bytes = vec![0; stored.size() as usize];
        stored.read_at(0, &mut bytes).unwrap();
        let mut piece = vec![0; bytes.len().min(1000)];
        let middle = (bytes.len() - piece.len()) / 2;
        stored.read_at(middle as u64, &mut piece).unwrap();
        assert_eq!(piece, bytes[middle..][..piece.len()]);
        if asset.info.compressed {
            let mut plain = Vec::new();
            flate2::read::ZlibDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
            bytes = plain;
        }
        assert_eq!(asset.info.size_bytes, Some(bytes.len() as u64));
        assert_eq!(sha256(&bytes), told["sha256"]);
        assert_eq!(asset.info.sha256.as_deref(), told["sha256"].as_str());
    }
}

fn check_item(dir: &Path, item: &str) {
    let truth: Value = serde_json::from_slice(&fs::read(dir.join(format!("{item}.json"))).unwrap()).unwrap();
    let truth = &truth["content"];
    let content = content(&dir.join(item));
    let seen = glance(&content, item).unwrap();
    assert_eq!(Value::from(seen.page_size), truth["page_size"]);
    assert_eq!(Value::from(seen.pages), truth["page_count"]);
    check(&Database::open(content, item).unwrap(), truth);
}

#[test]
fn layouts_of_all_times_hold_what_they_are_known_to_hold() {
    let dir = unpacked();
    for item in ["v1.vaso", "v3a.vaso", "v7.vaso"] {
        check_item(&dir.path().join("databases"), item);
    }
}

#[test]
fn the_whole_corpus_holds_what_it_is_known_to_hold() {
    // Where the corpus is unpacked; it is not part of the sources.
    let Ok(corpus) = std::env::var("VASO_CORPUS") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for item in ["v1", "v3a", "v5", "v7"] {
        let path = format!("{corpus}/legacy/{item}.vaso");
        fs::copy(path, dir.path().join(item)).unwrap();
        let truth = format!("{corpus}/truth/legacy__{item}.vaso.json");
        fs::copy(truth, dir.path().join(format!("{item}.json"))).unwrap();
        check_item(dir.path(), item);
        seen += 1;
    }
    for entry in fs::read_dir(format!("{corpus}/bundle")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let truth = fs::read(format!("{corpus}/truth/bundle__{name}.json")).unwrap();
        let truth: Value = serde_json::from_slice(&truth).unwrap();
        let Some(file) = truth["content"]["newest_valid_snapshot"].as_str() else { continue };
        let database = Database::open(content(&path.join("snapshots").join(file)), file).unwrap();
        check(&database, &truth["content"]["newest_valid_content"]);
        seen += 1;
    }
    assert!(seen > 10, "{seen} databases were seen");
}

/// Asks a database for everything that it could be asked for.
fn ask(database: &Arc<Database>) -> vaso::error::Result<()> {
    let findings = Findings::default();
    database.meta()?;
    database.row_counts()?;
    database.orphans()?;
    for asset in database.assets()? {
        if let Some(stored) = database.asset(asset.id)?.and_then(|asset| asset.stored) {
            let mut buf = vec![0; 1 << 20];
            let _ = stored.read_at(stored.size() / 2, &mut buf);
        }
    }
    for sample in database.samples(&findings)? {
        for table in
            [database.trace(sample.id)?, database.events(sample.id)?, database.deleted_events(sample.id)?]
        {
            let Some(table) = table else { continue };
            let (mut from, mut seen, count) = (Place::default(), 0, table.rows()?);
            while let Some(place) = table.read(&from, 1000, &mut |_| Ok(()))? {
                seen += 1000;
                assert!(seen <= count + 1000, "rows without end");
                from = place;
            }
        }
        for result in database.results(sample.id)? {
            database.payload(result.id)?;
        }
        database.thumbnail(sample.id)?;
        database.references(sample.id)?;
    }
    database.quick_check()
}

#[test]
fn nothing_that_a_file_can_say_does_harm() {
    let dir = unpacked();
    let mut refused = 0;
    for entry in fs::read_dir(dir.path().join("databases/hostile")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let _ = glance(&content(&path), &name);
        match Database::open(content(&path), &name).and_then(|database| ask(&database)) {
            Ok(()) => panic!("{name} is no project database"),
            Err(error) => assert!(error.to_string().starts_with(&name), "{error}"),
        }
        refused += 1;
    }
    assert!(refused > 30);
}

/// Bytes of a real project, each changed in its turn: an answer or an error, in bounded time.
#[test]
fn damage_of_any_kind_is_survived() {
    let dir = unpacked();
    let whole = fs::read(dir.path().join("databases/v1.vaso")).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut intact, mut hurt) = (0, 0);
    for round in 0..300 {
        let mut bytes = whole.clone();
        match round % 5 {
            0 => bytes.truncate(random(whole.len())),
            1 => {
                let page = random(whole.len() / 4096) * 4096;
                bytes[page..page + 4096].fill(0);
            }
            2 => {
                let (a, b) = (random(whole.len() / 4096) * 4096, random(whole.len() / 4096) * 4096);
                bytes.copy_within(a..a + 4096, b);
            }
            _ => {
                for _ in 0..=random(20) {
                    let page = random(whole.len() / 4096) * 4096;
                    bytes[page + random(64)] = random(256) as u8;
                }
            }
        }
        match Database::open(Content::Bytes(bytes.into()), "x").and_then(|database| ask(&database)) {
            Ok(()) => intact += 1,
            Err(_) => hurt += 1,
        }
    }
    assert!(hurt > 100 && intact > 5, "{hurt} were hurt, {intact} were not");
}

#[test]
fn what_lies_in_the_log_alone_is_seen() {
    let dir = unpacked();
    let dir = dir.path().join("databases");
    let truth: Value =
        serde_json::from_slice(&fs::read(dir.join("wal_leftover.vaso.json")).unwrap()).unwrap();
    // The database under the log is that of `v7.vaso`.
    let base = content(&dir.join("v7.vaso"));
    let with = vaso::database::with_wal(base, content(&dir.join("wal_leftover.vaso-wal"))).unwrap().0;
    let database = Database::open(with, "wal_leftover.vaso").unwrap();
    let told = &truth["content_with_wal"];
    assert_eq!(told["datasets"].as_array().unwrap().len(), 4);
    check(&database, told);
}
