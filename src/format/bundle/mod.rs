//! Projects whose data is an SQLite database: bundles (`.vasopack`), containers (a bundle in a ZIP file), shared
//! projects (a database in a ZIP file), and legacy projects (a database by itself).
//!
//! ```text
//!   files     what is stored, in a folder or in a ZIP file
//!   choose    which snapshot is current, and why                 stock         databases, verdicts and views
//!   history   all snapshots                                      shelf         what outlives a state
//!   verify    checks everything                                  describe      tells what is in it
//!   alone     a database by itself
//!   around    what lies about it, and what of that is unsaved work
//!   versions  log, diff, extract                                 prune         removes old snapshots
//! ```
//!
//! The stored files are shown as they are. `current.sqlite` is the newest valid snapshot, and `browse/` a view of it,
//! both made when somebody looks. Whether the newest snapshot is valid through and through is found out at the
//! first look at one of these two, and not at the mount; if it is not, the project is opened anew with the next one.
//!
//! Nothing is written, no lock is taken, no link is followed, and nothing is unpacked.

mod alone;
mod around;
mod choose;
mod describe;
mod files;
mod history;
mod meta;
mod prune;
mod shelf;
mod stock;
mod verify;
mod versions;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use self::choose::{Candidates, Snapshot};
use self::files::{File, Files};
use self::history::History;
use self::stock::Stock;
use super::{Around, Confirmed, Container, Current, Description, OpenOptions, Pin};
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Severity};
use crate::store::{Source, Stamp};
use crate::tree::{Branch, Builder, Content, Kind, Leaf, NodeId, SafePath, Time, Tree, escaped, free_twin};

pub use self::alone::{open_headless, open_legacy};
pub use self::shelf::Shelf;

/// The project's database, as it is now.
const CURRENT: &str = "current.sqlite";
/// The view of it.
const VIEW: &str = "browse";
/// The number of [`CURRENT`] among the derived files. (0 is the tag's, which is in the view.)
const CURRENT_NUMBER: u32 = 1;

/// An opened project of this family.
#[derive(Debug)]
pub struct Bundle {
    source: Arc<Source>,
    kind: &'static str,
    /// The ZIP file that it lies in.
    package: Option<Arc<dyn Container>>,
    stock: Arc<Stock>,
    candidates: Candidates,
    chosen: Option<(Snapshot, Current)>,
    /// Whether the chosen one was looked at through and through.
    confirmed: AtomicBool,
    tree: Tree,
    history: Option<Arc<History>>,
    around: OnceLock<Around>,
}

/// Opens a folder.
pub fn open_folder(source: Arc<Source>, options: OpenOptions) -> Result<Arc<dyn Container>> {
    let findings = options.findings.clone().unwrap_or_default();
    let files = Files::of_folder(source.location(), options.raw, &findings)?;
    let named = source.path().extension().is_some_and(|ext| ext == "vasopack");
    let signs = |file: &File| file.path == b"HEAD.json" || file.path.starts_with(b"snapshots/");
    if !named && !files.list.iter().any(signs) {
        let why = "this folder is no project: it has neither HEAD.json nor snapshots";
        return Err(Error::not_a_project(source.path(), why));
    }
    Bundle::assemble(source, "bundle", None, files, None, options, findings)
}

/// Opens what lies in a ZIP file: a bundle below `bundle/`, or a database that is shared.
pub fn open_in_package(
    package: Arc<dyn Container>,
    kind: &'static str,
    prefix: &[u8],
    options: OpenOptions,
) -> Result<Arc<dyn Container>> {
    let findings = package.shared_findings();
    tell_of_others(package.tree(), prefix, &findings);
    let files = Files::of_package(package.clone(), prefix);
    Bundle::assemble(package.source().clone(), kind, Some(package), files, None, options, findings)
}

/// Tells of files that lie beside what is shown of a ZIP file.
fn tell_of_others(tree: &Tree, prefix: &[u8], findings: &Findings) {
    let is_other = |id: &NodeId| {
        let node = tree.node(*id);
        let is_stored = node.derived().is_none() && tree.is_stored(*id);
        let path = tree.path(*id);
        node.kind != Kind::Directory
            && is_stored
            && !path.starts_with(prefix)
            && !crate::signs::names::is_of_finder(&path)
    };
    let mut others = tree.ids().skip(1).filter(is_other);
    if let Some(first) = others.next() {
        let path = tree.shown(first);
        let more = others.count();
        let files =
            if more == 0 { "this file lies".into() } else { format!("this file and {more} others lie") };
        findings.add(Finding::new(
            Severity::Notice,
            "beside-the-bundle",
            path,
            format!("{files} beside the bundle in the ZIP file, and not shown"),
            "no reason to act: -o raw shows all that is stored",
        ));
    }
}

impl Bundle {
    fn assemble(
        source: Arc<Source>,
        kind: &'static str,
        package: Option<Arc<dyn Container>>,
        files: Files,
        whole: Option<Content>,
        options: OpenOptions,
        findings: Arc<Findings>,
    ) -> Result<Arc<dyn Container>> {
        let newest = files.list.iter().map(|file| file.time).max().unwrap_or_default();
        let mut candidates = Candidates::find(&files, &findings)?;
        if !is_single(kind) {
            meta::tell(&files, &findings);
        }
        let location = source.location().clone();
        let mut stock = Stock { files, whole, location, options, findings, newest };
        let chosen = Bundle::choose(kind, &stock, &candidates)?;
        candidates.settle(&|snapshot| stock.glance(snapshot))?;
        if let (Some(_), Some((snapshot, _))) = (stock.options.pin, &chosen) {
            stock.files.hold(&snapshot.file)?;
        }
        let stock = Arc::new(stock);
        let view = chosen
            .as_ref()
            .is_some_and(|(snapshot, _)| !is_single(kind) || alone::is_readable(&stock, snapshot));
        let (tree, history) = match stock.options.raw {
            true => (tree(&stock, kind, None, false)?, None),
            false => {
                let history = match candidates.is_empty() {
                    true => None,
                    false => {
                        Some(Arc::new(History::new(stock.clone(), candidates.all().cloned().collect())?))
                    }
                };
                (tree(&stock, kind, chosen.as_ref().map(|(snapshot, _)| snapshot), view)?, history)
            }
        };
        if let Some((_, current)) = &chosen {
            log::info!("{}: {} is current: {}", source.path().display(), current.name, current.because);
        }
        let confirmed = AtomicBool::new(stock.options.raw || chosen.is_none() || is_single(kind));
        let around = OnceLock::new();
        Ok(Arc::new(Bundle {
            source,
            kind,
            package,
            stock,
            candidates,
            chosen,
            confirmed,
            tree,
            history,
            around,
        }))
    }

    fn choose(
        kind: &'static str,
        stock: &Stock,
        candidates: &Candidates,
    ) -> Result<Option<(Snapshot, Current)>> {
        let findings = &stock.findings;
        let judge = |snapshot: &Snapshot| stock.glance(snapshot);
        let single = match kind {
            "legacy" => stock.files.list.first(),
            "share-zip" => stock.files.find(b"project.vaso"),
            _ => None,
        };
        if let Some(file) = single {
            let snapshot = Snapshot { number: None, file: file.clone(), copy: false };
            let because = match kind {
                "share-zip" => "it is the one that was shared".to_string(),
                _ => "it is the only database".to_string(),
            };
            let current = Current { name: snapshot.name(), because, expected: true };
            return Ok(Some((snapshot, current)));
        }
        let chosen = match stock.options.pin {
            Some(pin @ Pin::Number(_)) => match candidates.pinned(pin, &judge, findings)? {
                // One that is known to be damaged inside is shown as it is to whoever asks for this very one.
                None => candidates.pinned(pin, &|snapshot| stock.looks_valid(snapshot), findings)?,
                some => some,
            },
            Some(pin) => candidates.pinned(pin, &judge, findings)?,
            None => candidates.choose(&judge, findings)?,
        };
        if chosen.is_some() {
            return Ok(chosen);
        }
        if let Some(pin) = stock.options.pin {
            return Err(Error::Refused(format!(
                "there is no valid snapshot for {}; `vaso log` lists them",
                pin.for_people()
            )));
        }
        let (code, what) = match candidates.is_empty() {
            true => ("no-snapshot", "there is no snapshot in it"),
            false => ("no-valid-snapshot", "none of its snapshots is valid"),
        };
        findings.add(Finding::new(
            Severity::Error,
            code,
            "",
            format!("{what}; the stored files are shown, without current.sqlite and browse"),
            "`vaso recover --list` shows what can be recovered",
        ));
        Ok(None)
    }

    /// Tells of a snapshot that is not valid, or of the one database that is damaged: once, however often it is seen.
    fn tell_invalid(&self, snapshot: &Snapshot, why: &Error) {
        if !is_single(self.kind) {
            return self.findings().add(choose::not_valid(snapshot, why));
        }
        let known = self.findings().list();
        if !known.iter().any(|finding| finding.code == "database-damaged") {
            let shown = "what is not damaged is shown, and the rest is an error to whoever reads it";
            self.findings().add(alone::damaged(snapshot, why, shown));
        }
    }

    /// Whether another snapshot may take the place of the chosen one, where that is damaged.
    fn has_another(&self) -> bool {
        let is_valid = |snapshot: &Snapshot| self.stock.check(snapshot).is_ok();
        match self.stock.options.pin {
            None => true,
            Some(Pin::Number(number)) => self.candidates.of_number(number).iter().any(is_valid),
            Some(Pin::At(time)) => self.candidates.until(time).any(is_valid),
        }
    }

    fn chosen(&self) -> Result<&Snapshot> {
        match &self.chosen {
            Some((snapshot, _)) => Ok(snapshot),
            None => Err(Error::NotFound(CURRENT.into())),
        }
    }
}

/// Whether a project has one database, and nothing to choose.
fn is_single(kind: &str) -> bool {
    matches!(kind, "legacy" | "share-zip")
}

/// The stored files, and what is derived beside them.
fn tree(stock: &Stock, kind: &'static str, chosen: Option<&Snapshot>, view: bool) -> Result<Tree> {
    let files = &stock.files;
    let mut builder = Builder::new(files.list.len());
    let mut filled: HashSet<&[u8]> = HashSet::new();
    // A database by itself is shown as `current.sqlite` alone.
    let stored = if kind == "legacy" && chosen.is_some() { &[][..] } else { &files.list[..] };
    let mut taken: HashSet<Vec<u8>> = HashSet::new();
    for (i, file) in stored.iter().enumerate() {
        let path = shown_path(&file.path);
        let Ok(safe) = SafePath::check(&path) else {
            stock.findings.add(Finding::new(
                Severity::Warning,
                "unsafe-name",
                files::shown(&file.path),
                "a name that cannot be shown; it is absent",
                "rename the file",
            ));
            continue;
        };
        taken.insert(safe.components().next().unwrap_or_default().to_vec());
        let Time { seconds, nanos } = file.time;
        let leaf = Leaf {
            size: file.size,
            time: Time { seconds, nanos },
            mode: file.mode,
            kind: file.kind,
            entry: i as u32,
            identity: file.identity,
        };
        builder.leaf(safe, leaf)?;
        for (at, _) in file.path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            filled.insert(&file.path[..at]);
        }
    }
    for (path, time) in files.folders.iter().filter(|(path, _)| !filled.contains(path.as_slice())) {
        if let Ok(safe) = SafePath::check(&shown_path(path)) {
            taken.insert(safe.components().next().unwrap_or_default().to_vec());
            builder.directory(safe, *time, None)?;
        }
    }
    if let Some(snapshot) = chosen {
        let size = stock.whole.as_ref().map_or(snapshot.file.size, Content::size);
        let leaf = Leaf {
            size,
            time: snapshot.time(),
            mode: 0o444,
            kind: Kind::File,
            entry: Leaf::derived(CURRENT_NUMBER),
            identity: snapshot.number.unwrap_or(0),
        };
        let free = |name| free_twin(name, |name| taken.contains(name));
        builder.leaf(SafePath::check(free(CURRENT).as_bytes()).expect("a plain name"), leaf)?;
        if view {
            builder.door(SafePath::check(free(VIEW).as_bytes()).expect("a plain name"), stock.newest, 0)?;
        }
    }
    Ok(builder.finish().0)
}

/// A stored path as it is shown: a backslash parts directories on other systems.
fn shown_path(path: &[u8]) -> Vec<u8> {
    escaped(path, |c| c == Some('\\'))
}

impl Branch for Bundle {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn open(&self, node: NodeId) -> Result<Content> {
        let it = self.tree.node(node);
        if it.derived() == Some(CURRENT_NUMBER) {
            return self.stock.content(&self.chosen()?.file);
        }
        match it.entry() {
            Some(entry) => self.stock.files.open(&self.stock.files.list[entry as usize]),
            None => Err(Error::IsADirectory(self.tree.shown(node))),
        }
    }

    fn origin(&self, node: NodeId) -> Option<[u8; 32]> {
        let it = self.tree.node(node);
        let file = match (it.derived(), &self.chosen, it.entry()) {
            (Some(CURRENT_NUMBER), Some((snapshot, _)), _) => &snapshot.file,
            (None, _, Some(entry)) => &self.stock.files.list[entry as usize],
            _ => return None,
        };
        Some(self.stock.files.identity(file))
    }

    fn behind(&self, node: NodeId) -> Option<Result<Arc<dyn Branch>>> {
        let it = self.tree.node(node);
        it.door()?;
        Some(self.chosen().and_then(|snapshot| self.stock.view(snapshot, it.ino)))
    }

    fn open_door(&self, node: NodeId) -> Option<Arc<dyn Branch>> {
        let it = self.tree.node(node);
        it.door()?;
        self.stock.open_view(self.chosen().ok()?, it.ino)
    }
}

impl Container for Bundle {
    fn source(&self) -> &Arc<Source> {
        &self.source
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    fn current(&self) -> Option<Current> {
        let (_, mut current) = self.chosen.clone()?;
        if !self.confirmed.load(Ordering::Acquire) && self.is_checked() == Some(false) {
            current.because = current.because.replacen("it is", "it seems to be", 1);
            current.because += "; it is not checked through yet";
        }
        Some(current)
    }

    fn is_checked(&self) -> Option<bool> {
        let (snapshot, _) = self.chosen.as_ref()?;
        Some(self.stock.known_verdict(snapshot).is_some_and(|verdict| verdict.is_ok()))
    }

    fn awaits(&self, node: NodeId) -> bool {
        let it = self.tree.node(node);
        (it.door().is_some() || it.derived().is_some()) && !self.confirmed.load(Ordering::Acquire)
    }

    fn confirm(&self) -> Result<Confirmed> {
        if self.confirmed.load(Ordering::Acquire) {
            return Ok(Confirmed::Right);
        }
        let chosen = self.chosen()?;
        let verdict = self.stock.check(chosen);
        if let Err(why @ (Error::Damaged { .. } | Error::Io { .. })) = &verdict {
            self.findings().add(choose::not_valid(chosen, why));
        }
        match verdict {
            Err(Error::Damaged { .. }) if self.has_another() => return Ok(Confirmed::Wrong),
            Err(why) if matches!(self.stock.options.pin, Some(Pin::At(_))) => return Err(why),
            // Somebody has asked for this very one, and gets what is there.
            Ok(()) | Err(Error::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
        self.confirmed.store(true, Ordering::Release);
        Ok(Confirmed::Right)
    }

    fn history(&self) -> Option<Arc<dyn Branch>> {
        self.history.clone().map(|history| history as Arc<dyn Branch>)
    }

    fn versions(&self) -> Option<&dyn super::history::Versions> {
        (!self.candidates.is_empty()).then_some(self as _)
    }

    fn opens_all(&self) -> bool {
        false
    }

    fn is_whole(&self) -> bool {
        self.package.as_ref().is_none_or(|package| package.is_whole())
    }

    fn findings(&self) -> &Findings {
        &self.stock.findings
    }

    fn shared_findings(&self) -> Arc<Findings> {
        self.stock.findings.clone()
    }

    fn around(&self) -> &Around {
        self.around.get_or_init(|| around::look(self))
    }

    fn describe(&self) -> Description {
        describe::describe(self)
    }

    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        verify::verify(self, progress)
    }

    fn continues(&self, older: &dyn Container) -> bool {
        if self.source.state() == older.source().state() {
            return true;
        }
        let older = older.as_any().downcast_ref::<Bundle>().and_then(|older| older.package.as_ref());
        match (&self.package, older) {
            (Some(new), Some(old)) => new.continues(old.as_ref()),
            _ => false,
        }
    }

    fn rewritten_since(&self, older: &dyn Container) -> Vec<String> {
        let older = older.as_any().downcast_ref::<Bundle>().filter(|_| self.source.is_folder());
        let Some(older) = older else { return Vec::new() };
        let stamps = |bundle: &'_ Bundle| -> HashMap<Vec<u8>, (Stamp, Option<SystemTime>)> {
            let of = |file: &File| file.stamp().map(|stamp| (file.path.clone(), (stamp, file.born())));
            bundle.stock.files.list.iter().filter_map(of).collect()
        };
        let before = stamps(older);
        // The number of a file that is gone goes to the next that is made.
        let is_rewritten = |(path, (now, born)): &(Vec<u8>, (Stamp, Option<SystemTime>))| {
            let was = before.get(path).filter(|(was, was_born)| was.file == now.file && was_born == born);
            was.is_some_and(|(was, _)| was.may_have_new_bytes(now, false))
        };
        let mut paths: Vec<Vec<u8>> =
            stamps(self).into_iter().filter(is_rewritten).map(|(path, _)| path).collect();
        paths.sort();
        paths.iter().map(|path| files::shown(path)).collect()
    }

    fn forget_decoded(&self) {
        if let Some(package) = &self.package {
            package.forget_decoded();
        }
    }

    fn goes_on_from(&self, older: &dyn Container) {
        if let (Some(package), Some(older)) = (&self.package, older.enclosing()) {
            package.goes_on_from(older);
        }
    }

    fn distrust(&self) {
        if let Some(package) = &self.package {
            package.distrust();
        }
    }

    fn distrusts(&self) -> bool {
        self.package.as_ref().is_some_and(|package| package.distrusts())
    }

    fn trust(&self) {
        if let Some(package) = &self.package {
            package.trust();
        }
    }

    fn enclosing(&self) -> Option<&dyn Container> {
        self.package.as_deref()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
