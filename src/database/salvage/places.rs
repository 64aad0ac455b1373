//! Where the candidates of a project lie: beside a legacy file, and in a bundle.
//!
//! Nothing is opened through a link. A `-wal` or `-journal` is applied to the file of a session or to a legacy file, never
//! to a snapshot.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::candidate::{Candidate, Role, content_of};
use crate::database::{super_journal, with_journal, with_wal};
use crate::error::{Error, Result};
use crate::tree::Content;

/// How many files of one folder are looked at.
const MOST: usize = 100_000;

/// A name with something behind it.
pub fn with(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(tail);
    path.with_file_name(name)
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
}

/// The database at `path` as SQLite would see it after its own recovery, and as no log is wanted beside it.
fn as_recovered(path: &Path) -> Result<Content> {
    let base = content_of(path)?;
    let (wal, journal) = (with(path, "-wal"), with(path, "-journal"));
    if is_file(&journal) {
        let journal = content_of(&journal)?;
        let is_hot = match super_journal(&journal)? {
            Some(name) => is_file(Path::new(&*String::from_utf8_lossy(&name))),
            None => true,
        };
        return if is_hot { with_journal(base, journal) } else { Ok(base) };
    }
    match is_file(&wal) {
        true => with_wal(base, content_of(&wal)?),
        false if base.size() >= 100 => with_wal(base, Content::Bytes([].into())),
        false => Ok(base),
    }
}

fn candidate(role: Role, path: PathBuf, snapshot: Option<u64>) -> Candidate {
    let content =
        if role == Role::Snapshot || snapshot.is_some() { content_of(&path) } else { as_recovered(&path) };
    let newest = |path: &Path| fs::symlink_metadata(path).and_then(|m| m.modified()).ok();
    let time = newest(&path).max(if snapshot.is_none() { newest(&with(&path, "-wal")) } else { None });
    Candidate { role, path, snapshot, time, content }
}

/// The files in a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<PathBuf> =
        entries.flatten().take(MOST).map(|e| e.path()).filter(|p| is_file(p)).collect();
    all.sort();
    all
}

fn text(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A legacy file and what lies beside it.
pub fn beside(main: &Path) -> Vec<Candidate> {
    let mut all = vec![candidate(Role::Current, main.to_path_buf(), None)];
    all.extend(around(main));
    all
}

/// What lies beside a file and was made from it.
pub fn around(main: &Path) -> Vec<Candidate> {
    let mut all = Vec::new();
    let plain = main.with_extension("");
    let mut add = |role, path: PathBuf| {
        if is_file(&path) {
            all.push(candidate(role, path, None));
        }
    };
    add(Role::Autosave, with(main, ".autosave"));
    add(Role::Autosave, with(&plain, ".autosave.sqlite"));
    for tail in [".bak", ".bak1", ".bak2", ".backup", ".legacy"] {
        add(Role::Backup, with(main, tail));
    }
    let (front, end) = (format!("{}.v", text(&plain)), ".backup.vaso");
    for path in files(main.parent().unwrap_or(Path::new("."))) {
        let name = text(&path);
        let number = name.strip_prefix(&front).and_then(|rest| rest.strip_suffix(end));
        if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
            add(Role::Backup, path);
        }
    }
    all.extend(staging(&with_dot(main)));
    all
}

/// The folder in which this program stages.
fn with_dot(project: &Path) -> PathBuf {
    project.with_file_name(format!(".{}.staging", text(project)))
}

fn staging(folder: &Path) -> Vec<Candidate> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir());
    let all = if is_folder { files(folder) } else { Vec::new() };
    let databases = all.into_iter().filter(|p| p.extension().is_some_and(|e| e == "sqlite"));
    databases.map(|path| candidate(Role::Staging, path, None)).collect()
}

/// The number that the name of a snapshot, or of a conflict copy of one, begins with; and whether it is a plain one.
pub fn snapshot_number(name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_suffix(".sqlite")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..digits].parse().ok().filter(|n| *n < 1_000_000_000_000)?;
    Some((number, digits == rest.len()))
}

/// All snapshots, as number, whether the name is plain, and path; the newest first.
pub fn snapshots(bundle: &Path) -> Vec<(u64, bool, PathBuf)> {
    let folder = bundle.join("snapshots");
    let is_folder = fs::symlink_metadata(&folder).is_ok_and(|m| m.is_dir());
    let all = if is_folder { files(&folder) } else { Vec::new() };
    let numbered = |path: PathBuf| snapshot_number(&text(&path)).map(|(n, plain)| (n, plain, path));
    let mut all: Vec<_> = all.into_iter().filter_map(numbered).collect();
    all.sort_by(|a, b| b.cmp(a));
    all
}

/// The number that `HEAD.json` names.
pub fn head(bundle: &Path) -> Option<u64> {
    let path = bundle.join("HEAD.json");
    let content = is_file(&path).then(|| content_of(&path).ok())?.filter(|c| c.size() < 1 << 20)?;
    let mut text = vec![0; content.size() as usize];
    content.read_at(0, &mut text).ok()?;
    let head: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some(snapshot_number(head.get("current")?.as_str()?)?.0)
}

/// The candidates of a bundle. The current one is what HEAD names, or the newest where it names none that is there.
pub fn in_bundle(bundle: &Path) -> Result<Vec<Candidate>> {
    let snapshots = snapshots(bundle);
    let (head, newest) = (head(bundle), snapshots.first().map(|s| s.0));
    let named = head.filter(|n| snapshots.iter().any(|s| s.0 == *n)).or(newest);
    let mut all = Vec::new();
    let mut current = false;
    for (number, plain, path) in snapshots {
        let is_current = Some(number) == named && plain && !current;
        current |= is_current;
        let role = if is_current { Role::Current } else { Role::Snapshot };
        all.push(candidate(role, path, Some(number)));
    }
    all.extend(staging(&bundle.join(".staging")));
    all.extend(around(bundle));
    if all.is_empty() {
        let why = "there is no snapshot in it, and no session's database";
        return Err(Error::not_a_project(bundle, why));
    }
    Ok(all)
}

/// Folders below each other that are searched.
const DEEPEST: usize = 64;
/// Files and folders that are looked at in one search.
const SEARCHED: usize = 10_000_000;

/// Autosaved files and sessions' databases below a folder. Links are not followed.
pub fn autosaves(top: &Path) -> Result<Vec<PathBuf>> {
    let first = fs::read_dir(top).map_err(|e| Error::io("look into", top, e))?;
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut pending = vec![(first, 0)];
    while let Some((entries, depth)) = pending.pop() {
        for entry in entries.flatten() {
            looked += 1;
            if looked > SEARCHED {
                return Ok(found);
            }
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() && depth < DEEPEST {
                pending.extend(fs::read_dir(&path).ok().map(|entries| (entries, depth + 1)));
            } else if kind.is_file() && is_autosave(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_autosave(path: &Path) -> bool {
    let name = text(path);
    let folder = path.parent().map(text).unwrap_or_default();
    let staged = folder == ".staging" || folder.starts_with('.') && folder.ends_with(".staging");
    name.ends_with(".autosave") || name.ends_with(".autosave.sqlite") || staged && name.ends_with(".sqlite")
}
