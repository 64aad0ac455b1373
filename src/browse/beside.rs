//! Files that a project refers to, and that lie beside it.
//!
//! Whoever has made a project may have written any path into it. Only regular files in the project's own folder, or
//! below it, are looked at, and never through a link or in what is mounted there; one is taken that has the size and, as
//! soon as somebody reads it, the SHA-256 that the reference gives. Nothing is remembered in the project.
//!
//! Limits. What comes or changes later is seen when the project is opened anew. For the digest all of a file is read
//! before its first byte is given out: once, and again where its permissions, its owner or its names have changed.

use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::finding::{Finding, Severity, UNREADABLE};
use crate::store::{Folder, Location, Source, Stamp, State};
use crate::tree::{Coded, Content, SafePath};

/// What a finding says of a file that is not there.
pub const NOT_FOUND: &str = "reference-not-found";
/// Bytes that are read in one piece for the digest.
const PIECE: u64 = 1 << 20;
/// How often a file may come to another state while it is read.
const TURNS: usize = 8;

/// What a reference says of its file.
#[derive(Debug)]
pub struct Wanted {
    /// Its SHA-256, in small letters.
    pub sha256: String,
    /// How long it is.
    pub size: u64,
    /// What it may be called, in the order of belief: paths of any system.
    pub paths: Vec<String>,
}

/// A file that fits a reference, as far as can be told without reading it.
#[derive(Debug)]
pub struct Found {
    location: Arc<Location>,
    sha256: String,
    /// Its state when it was found.
    pub stamp: Stamp,
    /// Whether its digest is right, and in which state that was found out; none before somebody has asked.
    verdict: Mutex<Option<(Stamp, bool)>>,
}

/// Looks for a file below the folder of a project.
pub fn find(folder: &Folder, wanted: &Wanted) -> Option<Found> {
    let paths = wanted.paths.iter().flat_map(|path| below(path));
    paths.into_iter().find_map(|path| {
        let safe = SafePath::check(path.as_bytes()).ok().filter(|safe| !safe.is_directory())?;
        let (above, name) = safe.split();
        let mut inner = None;
        for part in above.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            inner = Some(inner.as_ref().unwrap_or(folder).sub_unmounted(part).ok()?);
        }
        let location = inner.as_ref().unwrap_or(folder).location(name).ok()?;
        let stamp = location.stamp().ok()??;
        let fits = stamp.is_file() && stamp.size == wanted.size;
        let sha256 = wanted.sha256.clone();
        fits.then(|| Found { location, sha256, stamp, verdict: Mutex::new(None) })
    })
}

/// Reads a file, and says what is amiss with it: it is another one, or cannot be read. `about` says who refers to it,
/// and `at` is what the finding is about.
pub fn examine(found: Found, about: &str, at: &str) -> Option<Finding> {
    match Arc::new(found).open().and_then(|content| content.read_at(0, &mut [0; 1])) {
        Ok(_) => None,
        Err(Error::Damaged { code, what, .. }) => {
            Finding::of_damage(&Error::damaged(code, at, format!("{about}: {what}")))
        }
        Err(Error::SourceChanged(_)) => {
            let what = format!("{about}, which was changed while it was looked at");
            let remedy = "look again when nobody writes it";
            Some(Finding::new(Severity::Warning, "reference-changed", at, what, remedy))
        }
        Err(why) => {
            let what = format!("{about}, which lies beside the project and cannot be read: {why}");
            Some(Finding::new(Severity::Error, "unreadable", at, what, UNREADABLE))
        }
    }
}

impl Wanted {
    /// Whether all that is recorded of it is where it lies below the folder. Then what is not there is nowhere; of a path
    /// that leads elsewhere it is not known, for nobody looks there.
    pub fn is_below(&self) -> bool {
        let leads_below = |path: &String| {
            let path = path.replace('\\', "/");
            let path = path.strip_prefix("./").unwrap_or(&path);
            !path.starts_with("file:") && SafePath::check(path.as_bytes()).is_ok()
        };
        self.paths.iter().all(leads_below)
    }
}

/// The places below a folder that a path may mean: itself, if it leads nowhere else, or its last name.
fn below(path: &str) -> Vec<String> {
    let plain = path.strip_prefix("file://").map(unescaped);
    let path = plain.as_deref().unwrap_or(path).replace('\\', "/");
    let name = super::names::last_component(&path).to_string();
    let path = path.strip_prefix("./").unwrap_or(&path).to_string();
    if path == name { vec![name] } else { vec![path, name] }
}

/// A text with its `%XX` as bytes.
fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let code = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => (bytes.push(byte), rest = &behind[2..]).1,
            None => (bytes.push(*first), rest = behind).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Found {
    /// Its bytes, which are held against the digest before the first is given out.
    pub fn open(self: &Arc<Found>) -> Result<Content> {
        // What is gone says so when it is opened.
        let now = self.location.stamp()?.unwrap_or(self.stamp);
        if !self.is_it(&now) {
            return Err(self.changed());
        }
        let source = Source::open_listed(self.location.clone(), now)?;
        Ok(Content::Coded(Arc::new(Opened { found: self.clone(), source })))
    }

    /// What tells its content from any other, on every machine alike: the digest that is asked for, its size, and the
    /// time at which it was written.
    pub fn identity(&self) -> [u8; 32] {
        let (seconds, nanos) = self.stamp.mtime;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.sha256.as_bytes()).update(&self.stamp.size.to_le_bytes());
        hasher.update(&seconds.to_le_bytes()).update(&nanos.to_le_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Whether it may be the file that was found: its permissions, its owner and its names say nothing of its bytes.
    /// They move its ctime, as a write under the old time does, so that it is held against its digest anew.
    fn is_it(&self, now: &Stamp) -> bool {
        let Stamp { file, size, mtime, .. } = self.stamp;
        now.is_file() && (now.file, now.size, now.mtime) == (file, size, mtime)
    }

    fn changed(&self) -> Error {
        Error::SourceChanged(self.location.path().to_path_buf())
    }

    /// Whether these are the bytes that the reference means, in the state in which they are.
    fn confirm(&self, source: &Source, stamp: Stamp) -> Result<()> {
        let mut verdict = self.verdict.lock();
        let is_right = match *verdict {
            Some((of, known)) if of == stamp => known,
            _ => digest(source)?.eq_ignore_ascii_case(&self.sha256),
        };
        if source.stamp() != stamp {
            return Err(self.changed());
        }
        *verdict = Some((stamp, is_right));
        let what = "the file beside the project is another one than it refers to: it has another SHA-256";
        let name = || self.location.path().display().to_string();
        is_right.then_some(()).ok_or_else(|| Error::damaged("reference-differs", name(), what))
    }
}

fn digest(source: &Source) -> Result<String> {
    let (mut sum, size) = (Sha256::new(), source.size());
    let mut buf = vec![0; size.min(PIECE) as usize];
    for at in (0..size).step_by(PIECE as usize) {
        let piece = &mut buf[..(size - at).min(PIECE) as usize];
        source.read_at(at, piece)?;
        sum.update(piece);
    }
    Ok(sum.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// A file that is open.
#[derive(Debug)]
struct Opened {
    found: Arc<Found>,
    source: Arc<Source>,
}

impl Opened {
    /// Does something with the file in a state in which its bytes were found right, and once more where it has come to
    /// another one meanwhile in which they may be.
    fn confirmed(&self, read: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        for _ in 0..TURNS {
            let stamp = self.source.stamp();
            match self.found.confirm(&self.source, stamp).and_then(|()| read()) {
                // Others who read it may have come upon another state, which is not what was confirmed here.
                Ok(()) if self.source.stamp() == stamp => return Ok(()),
                Ok(()) => {}
                Err(changed @ Error::SourceChanged(_)) => {
                    let now = self.source.stamp_now()?;
                    if !self.found.is_it(&now) || now == stamp && self.source.stamp() == stamp {
                        return Err(changed);
                    }
                    self.source.accept(State { stamp: now, beside: 0 });
                }
                Err(other) => return Err(other),
            }
        }
        Err(self.found.changed())
    }
}

impl Coded for Opened {
    fn size(&self) -> u64 {
        self.found.stamp.size
    }

    fn check(&self) -> Result<()> {
        match self.source.check() {
            Err(Error::SourceChanged(_)) => self.confirmed(&mut || self.source.check()),
            other => other,
        }
    }

    fn is_ready(&self, _: u64, _: usize) -> bool {
        let now = self.source.stamp_now().ok();
        let verdict = self.found.verdict.try_lock().and_then(|verdict| *verdict);
        verdict.is_some_and(|(of, _)| Some(of) == now)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.confirmed(&mut || self.source.read_at(offset, buf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_system_means_a_place_below_or_a_name() {
        for (path, places) in [
            ("raw/a.tif", &["raw/a.tif", "a.tif"][..]),
            ("./a.tif", &["a.tif"]),
            ("/data/x/a.tif", &["/data/x/a.tif", "a.tif"]),
            ("C:\\data\\a.tif", &["C:/data/a.tif", "a.tif"]),
            ("file:///data/a%20b%c2%b5%.tif", &["/data/a b\u{b5}%.tif", "a b\u{b5}%.tif"]),
            ("../a.tif", &["../a.tif", "a.tif"]),
        ] {
            assert_eq!(below(path), places, "{path}");
            let wanted = Wanted { sha256: String::new(), size: 0, paths: vec!["a.tif".into(), path.into()] };
            assert_eq!(wanted.is_below(), ["raw/a.tif", "./a.tif"].contains(&path), "{path}");
        }
    }

    #[test]
    fn nothing_is_found_but_regular_files_below_the_folder() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("own");
        std::fs::create_dir_all(folder.join("raw")).unwrap();
        std::fs::write(top.path().join("secret"), b"12345").unwrap();
        std::fs::write(folder.join("raw/a"), b"12345").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
        std::fs::write(folder.join("P.vaso"), b"").unwrap();
        let folder = Location::find(&folder.join("P.vaso")).unwrap().above().unwrap();
        // As `sha256sum` has it.
        let sha256 = "5994471ABB01112AFCC18159F6CC74B4F511B99806DA59B3CAF5A9C173CACFC5";
        let look = |path: &str, size| {
            let wanted = Wanted { sha256: sha256.to_lowercase(), size, paths: vec![path.into()] };
            find(&folder, &wanted)
        };
        for path in
            ["../secret", "/etc/hostname", "link", "up/secret", "raw", "", "..", "/", "raw/../raw/a\0"]
        {
            assert!(look(path, 5).is_none(), "{path}");
        }
        assert!(look("raw/a", 4).is_none());
        let found = Arc::new(look("raw\\a", 5).unwrap());
        let mut bytes = [0; 5];
        found.open().unwrap().read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"12345");
        std::fs::write(top.path().join("own/raw/a"), b"12346").unwrap();
        assert!(matches!(found.open(), Err(Error::SourceChanged(_))));
        let other = Arc::new(look("raw/a", 5).unwrap());
        let content = other.open().unwrap();
        assert!(matches!(content.read_at(0, &mut bytes), Err(Error::Damaged { .. })));
    }
}
