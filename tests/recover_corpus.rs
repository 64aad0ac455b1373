//! Every project of the corpus gives at least what the original application recovers of it.
//!
//! `tests/data/upstream.tar.xz` has, in `upstream.json`, the rows of each table that were in the application's result, as
//! its own truth tells them: of a bundle those of the snapshot that it chose, of a container the samples that it opened.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{As, data, run, vaso};
use rusqlite::{Connection, OpenFlags};
use scene::Scene;
use serde_json::Value;

fn count(path: &Path, table: &str) -> u64 {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags).unwrap();
    assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
    let count = format!("select count(*) from \"{table}\"");
    db.query_row(&count, [], |r| r.get::<_, i64>(0)).unwrap() as u64
}

/// What `vaso recover` gives of a project: its result, or the project itself where that is sound.
fn recovered(path: &Path) -> PathBuf {
    let recover = |args: &[&str]| -> Value {
        let output = run(vaso(As::Me).args(["recover", "--json"]).args(args).arg(path));
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", path.display());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let mut told = recover(&[]);
    if told["recovered"] == false {
        let candidates = told["candidates"].as_array().unwrap();
        let main = candidates.iter().find(|c| c["role"] == "current").unwrap();
        assert_eq!((&told["sound"], &main["sound"]), (&true.into(), &true.into()), "{told}");
        told = recover(&["--use", &main["number"].to_string()]);
    }
    PathBuf::from(told["path"].as_str().unwrap())
}

#[test]
fn at_least_what_the_original_application_recovers() {
    let (scene, bundles, more) = (Scene::new(), data("bundles.tar.xz"), data("upstream.tar.xz"));
    let place = |item: &str| {
        let (class, name) = item.split_once('/').unwrap();
        let stem = name.strip_suffix(".vaso").unwrap_or(name);
        let legacy = [scene.path(name), scene.path(&format!("{stem}.db"))];
        match class {
            "legacy" => legacy[1].clone(),
            "legacy_bad" => legacy[0].clone(),
            _ if more.path().join(item).exists() => more.path().join(item),
            _ => bundles.path().join(item),
        }
    };
    let text = fs::read(more.path().join("upstream.json")).unwrap();
    let all: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_slice(&text).unwrap();
    assert_eq!(all.len(), 22);
    for (item, least) in all {
        let path = place(&item);
        assert!(path.exists(), "{item}");
        let result = recovered(&path);
        // It makes an empty database of this one, or nothing; nothing is the least of all.
        assert!(count(&result, "dataset") > 0 && count(&result, "trace") > 0, "{item}");
        for (table, rows) in least {
            let ours = count(&result, &table);
            assert!(ours >= rows, "{item}: {table} has {ours} rows, and the original recovers {rows}");
        }
    }
}
