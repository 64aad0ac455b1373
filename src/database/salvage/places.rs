//! Where the candidates of a project lie: beside a legacy file, and in a bundle.
//!
//! Nothing is opened through a link. A `-wal` or `-journal` is applied to the file of a session or to a legacy file, never
//! to a snapshot, which is complete without one. But a program may have written into it since: what a snapshot and the
//! log beside it give together, if that is anything else, is a candidate that nobody takes unasked: it is foreign.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::candidate::{Candidate, Role, content_of};
use crate::database::{LogDamage, with_logs, with_wal};
use crate::error::{Error, Result};
use crate::signs::{Head, Named, head, names};
use crate::store::Folder;
use crate::tree::Content;

/// How many files of one folder are looked at.
const MOST: usize = 100_000;

/// A name with something behind it.
pub fn with_tail(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(tail);
    path.with_file_name(name)
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
}

/// The database at `path` as SQLite would see it after its own recovery, and as no log is wanted beside it; and what of
/// log and journal could not be used.
fn as_recovered(path: &Path) -> Result<(Content, Option<String>)> {
    let base = content_of(path)?;
    let (wal, journal) = (with_tail(path, "-wal"), with_tail(path, "-journal"));
    let there = |path: &Path| is_file(path).then(|| content_of(path)).transpose();
    let (whole, damage) = with_logs(base, path, there(&journal)?, there(&wal)?)?;
    match whole {
        // Its header asks for a log, which is not there.
        Content::Range(..) if whole.size() >= 100 => {
            Ok((with_wal(whole, Content::Bytes([].into()))?.0, damage))
        }
        whole => Ok((whole, damage)),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|m| m.modified()).ok()
}

/// A database that is no snapshot.
fn candidate(role: Role, path: PathBuf) -> Candidate {
    let time = modified(&path).max(modified(&with_tail(&path, "-wal")));
    let (content, log_damage) = match as_recovered(&path) {
        Ok((content, damage)) => (Ok(content), damage),
        Err(why) => (Err(why), None),
    };
    Candidate { role, snapshot: None, time, content, log_damage, foreign: false, doubt: None, path }
}

/// The files in a folder, in the order of their names. To look for them leaves it its access time.
fn files(folder: &Path) -> Vec<PathBuf> {
    let listed = Folder::open(folder).and_then(|folder| folder.files(MOST));
    let names = listed.unwrap_or_default();
    names.into_iter().map(|name| folder.join(OsString::from_vec(name))).collect()
}

fn text(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A legacy file and what lies beside it.
pub fn beside(main: &Path) -> Vec<Candidate> {
    let mut all = vec![candidate(Role::Current, main.to_path_buf())];
    all.extend(around(main));
    all
}

/// What lies beside a file and was made from it.
pub fn around(main: &Path) -> Vec<Candidate> {
    let mut all = Vec::new();
    let plain = main.with_extension("");
    let mut add = |role, path: PathBuf| {
        if is_file(&path) {
            all.push(candidate(role, path));
        }
    };
    add(Role::Autosave, with_tail(main, ".autosave"));
    add(Role::Autosave, with_tail(&plain, ".autosave.sqlite"));
    for tail in [".bak", ".bak1", ".bak2", ".backup", ".legacy"] {
        add(Role::Backup, with_tail(main, tail));
    }
    let (front, end) = (format!("{}.v", text(&plain)), ".backup.vaso");
    // A bare name has an empty one.
    let folder = main.parent().filter(|folder| !folder.as_os_str().is_empty());
    for path in files(folder.unwrap_or(Path::new("."))) {
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
    databases.map(|path| candidate(Role::Staging, path)).collect()
}

/// The snapshots of a bundle and their copies, in the order of preference: the newest first.
pub fn snapshots(bundle: &Path) -> Vec<(Named, PathBuf)> {
    let named = |path: PathBuf| Some((Named::of(name_of(&path))?, path));
    let mut all: Vec<_> = stored(bundle).into_iter().filter_map(named).collect();
    all.sort();
    all
}

/// The folder of snapshots, as a place to write to: a link would lead out of the project.
pub fn snapshots_folder(bundle: &Path) -> Result<PathBuf> {
    let folder = bundle.join("snapshots");
    match fs::symlink_metadata(&folder) {
        Ok(meta) if !meta.is_dir() => {
            let why = "it is no folder; move it away, and make a folder of that name";
            Err(Error::Refused(format!("{}: {why}", folder.display())))
        }
        _ => Ok(folder),
    }
}

/// The files in the folder of snapshots that have a database's suffix.
fn stored(bundle: &Path) -> Vec<PathBuf> {
    let folder = bundle.join("snapshots");
    let is_folder = fs::symlink_metadata(&folder).is_ok_and(|m| m.is_dir());
    let all = if is_folder { files(&folder) } else { Vec::new() };
    all.into_iter().filter(|path| name_of(path).ends_with(b".sqlite")).collect()
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

/// What `HEAD.json` and the copies that sync tools have made of it say, each with its name.
pub fn heads(bundle: &Path) -> Vec<(String, Head)> {
    let all = files(bundle).into_iter().filter(|path| names::is_head(name_of(path)));
    all.filter_map(|path| Some((text(&path), head_in(&content_of(&path).ok()?)?))).collect()
}

/// The bytes of `HEAD.json`, if there is one. What cannot be a HEAD is refused, before anything is put in its place.
pub fn head_text(bundle: &Path) -> Result<Option<Vec<u8>>> {
    let path = bundle.join("HEAD.json");
    let Ok(meta) = fs::symlink_metadata(&path) else { return Ok(None) };
    let refuse = |what: &str| {
        let remedy = "nothing is put in its place; move it away, or take the result beside the project";
        Err(Error::Refused(format!("{} {what}: {remedy}", path.display())))
    };
    if !meta.is_file() {
        return refuse("is no ordinary file");
    }
    if meta.len() > head::MAX {
        return refuse("is too long for what it should be");
    }
    let content = content_of(&path)?;
    let mut text = vec![0; content.size().min(head::MAX) as usize];
    let n = content.read_at(0, &mut text)?;
    text.truncate(n);
    Ok(Some(text))
}

/// What a HEAD says, if it says something.
pub fn head_in(content: &Content) -> Option<Head> {
    let mut text = vec![0; content.size().min(head::MAX + 1) as usize];
    content.read_at(0, &mut text).ok()?;
    Head::parse(&text).ok()
}

/// A file among the snapshots.
#[derive(Debug)]
pub struct Stored {
    /// Its path.
    pub path: PathBuf,
    /// When it was last written.
    pub time: Option<SystemTime>,
    /// Its bytes.
    pub content: Result<Content>,
    /// Why those may not be what was written.
    pub doubt: Option<String>,
}

impl Stored {
    /// As what it is for its project.
    pub fn as_candidate(self, role: Role, snapshot: Option<u64>) -> Candidate {
        let Stored { path, time, content, doubt } = self;
        Candidate { role, path, snapshot, time, content, log_damage: None, foreign: false, doubt }
    }
}

/// The files among the snapshots of a bundle as candidates, in the order of preference. The current one is what HEAD
/// names, or the newest where it names none that is there. What has no snapshot's name may be one all the same.
pub fn of_snapshots(all: Vec<Stored>, head: Option<&Head>) -> Vec<Candidate> {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for stored in all {
        match Named::of(name_of(&stored.path)) {
            Some(name) => named.push((name, stored)),
            None => others.push(stored),
        }
    }
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    let first = |number: u64| named.iter().position(|(name, _)| name.number.0 == number);
    let newest = || named.first().and_then(|(name, _)| first(name.number.0));
    let current = head.and_then(|head| first(head.current?)).or_else(newest);
    let mut candidates = Vec::new();
    for (at, (name, stored)) in named.into_iter().enumerate() {
        let role = if Some(at) == current { Role::Current } else { Role::Snapshot };
        candidates.push(stored.as_candidate(role, Some(name.number.0)));
    }
    candidates.extend(others.into_iter().map(|stored| stored.as_candidate(Role::Snapshot, None)));
    candidates
}

/// A snapshot with the log beside it, if that is more than the snapshot.
fn with_log(snapshot: &Path) -> Option<Candidate> {
    let path = with_tail(snapshot, "-wal");
    let (content, damage, adds) = applied(snapshot, is_file(&path).then_some(&path)?).ok()?;
    if damage.is_none() && !adds {
        return None;
    }
    let (role, time) = (Role::Staging, modified(&path));
    let (content, log_damage) = (Ok(content), damage.map(|damage| damage.words()));
    Some(Candidate { role, path, snapshot: None, time, content, log_damage, foreign: true, doubt: None })
}

/// The database at `path` with a log, what of that could not be used, and whether it adds anything to the database.
fn applied(path: &Path, log: &Path) -> Result<(Content, Option<LogDamage>, bool)> {
    let base = content_of(path)?;
    let (content, damage) = with_wal(base.clone(), content_of(log)?)?;
    let without = with_wal(base, Content::Bytes([].into()))?.0;
    let adds = !is_same(&content, &without).unwrap_or(false);
    Ok((content, damage, adds))
}

/// Whether a log holds anything that the database at `path` has not, or may hold it.
pub fn adds_to(log: &Path, path: &Path) -> bool {
    !applied(path, log).is_ok_and(|(_, damage, adds)| damage.is_none() && !adds)
}

fn is_same(one: &Content, other: &Content) -> Result<bool> {
    let (mut at, mut first, mut second) = (0, vec![0; 1 << 16], vec![0; 1 << 16]);
    while one.size() == other.size() {
        let n = one.read_at(at, &mut first)?;
        if other.read_at(at, &mut second)? != n || first[..n] != second[..n] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
        at += n as u64;
    }
    Ok(false)
}

/// The candidates of a bundle.
pub fn in_bundle(bundle: &Path) -> Result<Vec<Candidate>> {
    let at = |path: PathBuf| Stored { time: modified(&path), content: content_of(&path), doubt: None, path };
    let stored = stored(bundle);
    let with_logs: Vec<Candidate> = stored.iter().filter_map(|path| with_log(path)).collect();
    let heads = heads(bundle);
    let head = heads.iter().find(|(name, _)| name == head::NAME).map(|(_, head)| head);
    let mut all = of_snapshots(stored.into_iter().map(at).collect(), head);
    all.extend(with_logs);
    all.extend(staging(&bundle.join(".staging")));
    all.extend(around(bundle));
    if all.is_empty() {
        let why = "there is no snapshot in it, and no session's database";
        return Err(Error::not_a_project(bundle, why));
    }
    Ok(all)
}

/// Files and folders that are looked at in one search.
const SEARCHED: usize = 10_000_000;

/// What a search for autosaved files has found.
#[derive(Debug, Default)]
pub struct Search {
    /// The files, in the order of their paths.
    pub found: Vec<PathBuf>,
    /// What could not be looked into.
    pub closed: Vec<Error>,
    /// Whether there was too much to look at all of it.
    pub is_cut_short: bool,
}

/// Autosaved files and sessions' databases below a folder, as far as there is a byte in them. Links are not followed.
pub fn autosaves(top: &Path) -> Result<Search> {
    let (mut search, mut looked) = (Search::default(), 0);
    fs::read_dir(top).map_err(|e| Error::io("look into", top, e))?;
    let mut pending = vec![top.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let entries = fs::read_dir(&folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let entries = match entries {
            Ok(entries) => entries,
            // It has gone meanwhile, and what was in it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => {
                search.closed.push(Error::io("look into", folder, e));
                continue;
            }
        };
        for entry in entries {
            looked += 1;
            if looked > SEARCHED {
                search.is_cut_short = true;
                pending.clear();
                break;
            }
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() && is_autosave(&path) && entry.metadata().is_ok_and(|m| m.len() > 0) {
                search.found.push(path);
            }
        }
    }
    search.found.sort();
    Ok(search)
}

fn is_autosave(path: &Path) -> bool {
    let name = text(path);
    let folder = path.parent().map(text).unwrap_or_default();
    let staged = folder == ".staging" || folder.starts_with('.') && folder.ends_with(".staging");
    name.ends_with(".autosave") || name.ends_with(".autosave.sqlite") || staged && name.ends_with(".sqlite")
}
