//! Projects to be recovered, in a folder of their own.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{As, folder, run, vaso};

pub const TRACE: &str = "SELECT count(*) FROM trace";
pub const DATASET: &str = "SELECT count(*) FROM dataset";

/// The files of `tests/data/salvage.tar.xz`, and what the program does with them.
pub struct Scene(pub TempDir);

impl Scene {
    pub fn new() -> Scene {
        let folder = folder();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/salvage.tar.xz");
        let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status();
        assert!(status.expect("tar is installed").success());
        Scene(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("salvage").join(name)
    }

    pub fn recover(&self, args: &[&str]) -> Output {
        let mut command = vaso(As::Me);
        command.arg("recover").args(args).current_dir(self.path(""));
        run(&mut command)
    }

    #[track_caller]
    pub fn json(&self, code: i32, args: &[&str]) -> Value {
        let output = self.recover(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Every file with its bytes, times and permissions.
    pub fn all(&self) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, i64, u32)> {
        let mut all = BTreeMap::new();
        let mut pending = vec![self.path("")];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                if meta.is_dir() {
                    pending.push(path);
                } else {
                    let times = (meta.mtime_nsec() ^ meta.mtime(), meta.ctime_nsec(), meta.atime_nsec());
                    let bytes = fs::read(&path).unwrap();
                    all.insert(path, (bytes, times.0, times.1, times.2, meta.mode()));
                }
            }
        }
        all
    }

    pub fn count(&self, file: &str, sql: &str) -> i64 {
        let db = Connection::open(self.path(file)).unwrap();
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        assert_eq!(db.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0)).unwrap(), 7);
        db.query_row(sql, [], |r| r.get(0)).unwrap()
    }

    /// What `vaso verify` or `vaso info` says of a project, and how it ends.
    pub fn told(&self, verb: &str, project: &str) -> (Option<i32>, Value) {
        let output = run(vaso(As::Me).args([verb, "--json"]).arg(self.path(project)));
        (
            output.status.code(),
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")),
        )
    }

    /// What is left about a project, as kind and name.
    pub fn left(&self, project: &str) -> Vec<(String, String)> {
        let (_, told) = self.told("verify", project);
        let left = told["leftovers"].as_array().unwrap().iter();
        let name = |path: &Value| path.as_str().unwrap().rsplit('/').next().unwrap().to_string();
        left.map(|l| (l["what"].as_str().unwrap().to_string(), name(&l["path"]))).collect()
    }
}
