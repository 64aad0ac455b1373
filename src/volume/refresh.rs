//! Noticing that the source has changed (R5).
//!
//! Three cases, told by what `stat` says and by what the new state holds:
//!
//! * *replaced*: another file has the name. The old one is still open here, and keeps its bytes;
//! * *appended to*: it grew, and everything that was shown is still where it was. Old ranges stay valid;
//! * *rewritten in place*: anything else. The bytes of the old state are gone, and reading them is an error.
//!
//! A file that is being written has no directory for a moment. Such a state is not believed until the file
//! has rested for [`REST`]. Then nothing of the old one is read any more; but a save that pauses looks the same, so
//! the verdict is left to the next state that can be loaded: if everything is still where it was, it was an append.
//!
//! Writers of ZIP files set the size of the file when all is written, also to what it is already, and that moves its
//! time. Nothing that `stat` says tells this from a rewrite of the same size, so the bytes have to: whatever the old
//! state shows is read once more and held against the checksums in its directory, unless it is more than [`PROOF`].
//! To let a state of that size pass that is only a little younger would have been cheaper, and would have let a rewrite
//! pass that comes as soon. As most writers do both in one go, a state is looked at for [`MOMENT`] before it is shown.
//! Links, mode and owner move a time of a file too; where the directory says the same as before, no more is asked then.
//!
//! Pages that the kernel has kept of any state of the same file are dropped: they may be of bytes that were damaged and
//! are mended now, or of an append whose middle came last.
//!
//! A copy that is being written over a file has the old directory at its end until it is done, so what is loaded from
//! the same file may hold some of each of two states. Unless it goes on from one that is trusted, it is not: every file
//! of it is held against its checksum before a byte of it is given out, whoever opens it. That costs only whoever
//! opens one, however large the whole is. What is appended to a trusted state is young by itself, and the rest is not. The same goes for what was loaded while it was young, without anything to go
//! on from: a mount may begin in the midst of a copy. But that is trusted as soon as it has rested.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::known::Place;
use super::{Invalidation, Part, Revision, Volume};
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::format::{self, Container, Current, OpenOptions, Pin};
use crate::store::{Source, State};
use crate::tree::{Content, Kind, NodeId, Tree};

/// How long a file has to rest before a damaged state of it is believed.
const REST: Duration = Duration::from_millis(700);
/// How long a state that can be loaded has to last before it is shown.
const MOMENT: Duration = Duration::from_millis(20);
/// How many bytes of a state are read to find out whether they are still there: what takes about a second.
const PROOF: u64 = 256 << 20;
/// Bytes that are read in one piece for that.
const PIECE: usize = 1 << 20;
/// How long a reader waits for a verdict about a file that is being written.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What is known about a change that has not settled.
#[derive(Debug, Default)]
pub struct Refresh {
    /// The last state that was seen and could not be loaded, and since when it has been that.
    unsettled: Option<(State, Instant)>,
    /// A state that was refused for good.
    refused: Option<State>,
    /// Since when nothing could be said of what is there: whoever comes after [`PATIENCE`] does not wait as well.
    since: Option<Instant>,
    /// The state that is shown was loaded while another write might have left the very same stamp.
    to_be_seen_again: bool,
}

/// What looking at the source has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was.
    Unchanged,
    /// It has changed, and it is not clear yet into what.
    Unsettled,
    /// A new revision is shown.
    Changed,
    /// What is there now is no project; the last revision stays.
    Refused,
}

/// What a state goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lineage {
    /// Nothing that is trusted.
    Mixed,
    /// What will be trusted once it has rested.
    Young,
    /// What is trusted, and more than that: what was appended is as trusted as any that is loaded so young.
    Appended,
    /// What is trusted.
    Trusted,
}

impl Lineage {
    fn of(revision: &Revision) -> Lineage {
        match (revision.is_trusted(), revision.young.load(Ordering::Acquire)) {
            (true, _) => Lineage::Trusted,
            (false, true) => Lineage::Young,
            (false, false) => Lineage::Mixed,
        }
    }
}

impl Volume {
    /// Looks at the source, and shows its new state if it has one.
    pub fn refresh(&self) -> Result<Outcome> {
        self.refresh_with(&mut self.refreshing.lock())
    }

    /// Lets go of revisions that nobody holds anything of any more.
    fn sweep(&self) {
        let mut revisions = self.revisions.write();
        let current = revisions.last().map(|top| top.revision.epoch);
        let before = revisions.len();
        // Numbers that the kernel holds, listings, look-ups on their way, and parts that hang in it refer to it.
        revisions.retain(|top| Some(top.revision.epoch) == current || Arc::strong_count(top) > 1);
        let left: Vec<u32> = revisions.iter().map(|top| top.revision.epoch).collect();
        let swept = left.len() < before;
        drop(revisions);
        if swept {
            self.contents.retain(|(epoch, ..)| left.contains(epoch));
        }
    }

    fn refresh_with(&self, state: &mut Refresh) -> Result<Outcome> {
        let outcome = self.refresh_in(state);
        match outcome {
            Ok(Outcome::Unsettled) => drop(state.since.get_or_insert_with(Instant::now)),
            _ => state.since = None,
        }
        outcome
    }

    fn refresh_in(&self, state: &mut Refresh) -> Result<Outcome> {
        self.sweep();
        let top = self.top();
        let current = &top.revision;
        let source = current.container.source();
        // A view that is pinned never moves. Its bytes may: those of a file that is written to.
        let pinned = self.options.open.pin.is_some();
        if pinned && (source.is_folder() || current.is_gone()) {
            return Ok(Outcome::Unchanged);
        }
        if source.location().is_left_by_its_link() {
            let what = "the link by which it was mounted leads elsewhere now; what it led to is shown until the unmount";
            self.note(current, "source-link-moved", what);
        }
        let Some(there) = source.location().state()? else {
            let what = match source.location().is_adrift() {
                false => "the project's file is gone; what is open stays readable until the unmount",
                // The mount holds the folder, and not its path, which may lead into the mount by now.
                true => {
                    "the project's file is gone with its folder, and what is put in their place is not seen; what is \
                     open stays readable until the unmount"
                }
            };
            self.note(current, "source-deleted", what);
            return Ok(Outcome::Unchanged);
        };
        let accepted = source.state();
        if pinned && there.stamp.file != accepted.stamp.file {
            return Ok(Outcome::Unchanged);
        }
        let doubtful = current.is_doubtful();
        // Another write may have left the stamp that is accepted, and none can any more.
        let again = there == accepted && state.to_be_seen_again && there.stamp.settles_in().is_none();
        if there.stamp.size < accepted.stamp.size {
            current.broken.store(true, Ordering::Release);
        }
        if !again && (there == accepted || state.refused == Some(there)) {
            let refused = current.is_gone() || doubtful;
            if !refused && there == accepted {
                current.has_rested();
            }
            return Ok(if refused { Outcome::Refused } else { Outcome::Unchanged });
        }
        // What was in another state meanwhile is not the same for looking the same.
        if !again
            && !doubtful
            && there.beside == accepted.beside
            && !source.is_changed(&accepted.stamp, &there.stamp, false)
        {
            source.accept(there);
            return Ok(Outcome::Unchanged);
        }
        if there.stamp.is_link() {
            *state = Refresh { refused: Some(there), ..Refresh::default() };
            let what = "a link stands in its place, and none is followed under a mount; what was there before is shown";
            self.note(current, "source-unreadable", what);
            return Ok(Outcome::Refused);
        }
        // A state that could not be loaded once is not tried again before it has rested.
        let known = state.unsettled.is_some_and(|(seen, _)| seen == there);
        if known && !state.rested(there) {
            return Ok(Outcome::Unsettled);
        }
        // What is pinned may be gone, and what else is there tells so all the same.
        let loaded = self.load(current, None);
        if loaded.is_ok() && !source.is_folder() {
            std::thread::sleep(MOMENT);
        }
        match loaded {
            // Whatever the loader says of a file that was written meanwhile concerns a state that is past.
            Ok(next) if next.source().state_now()? != next.source().state() => {
                state.unsettled = None;
                Ok(Outcome::Unsettled)
            }
            Ok(next) => {
                let to_be_seen_again = next.source().stamp().settles_in().is_some() && !source.is_folder();
                *state = Refresh { to_be_seen_again, ..Refresh::default() };
                if pinned {
                    self.judge(next.as_ref(), again);
                    self.drop_pages(current);
                    if current.is_gone() {
                        current.container.findings().add(rewritten(String::new()));
                    }
                    return Ok(Outcome::Unchanged);
                }
                self.install(&top, next, again);
                Ok(Outcome::Changed)
            }
            // The disk or the network may be better in a moment.
            Err(error @ Error::Io { .. }) => Err(error),
            Err(_) if !state.rested(there) => Ok(Outcome::Unsettled),
            Err(error) => {
                *state = Refresh { refused: Some(there), ..Refresh::default() };
                if there.stamp.file == accepted.stamp.file && !source.is_folder() {
                    current.doubtful.store(true, Ordering::Release);
                    self.drop_pages(current);
                }
                self.note(current, "source-unreadable", &format!("the new state is not shown: {error}"));
                Ok(Outcome::Refused)
            }
        }
    }

    /// Looks at the source until it is clear what it has become, or patience ends.
    pub(super) fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let Some(mut state) = self.refreshing.try_lock_until(until) else { return };
            let outcome = self.refresh_with(&mut state);
            let until = state.since.map_or(until, |since| until.min(since + PATIENCE));
            drop(state);
            match outcome {
                Ok(Outcome::Unsettled) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(_) => return,
                Err(error) => return log::warn!("{error}"),
            }
        }
    }

    /// The state that is there now. What is left of a file never takes the place of a whole one: only where the
    /// current state was salvaged, the next may be as well.
    fn load(&self, current: &Revision, pin: Option<Pin>) -> Result<Arc<dyn Container>> {
        let location = current.container.source().location().clone();
        let options =
            OpenOptions { salvage: !current.container.is_whole(), pin, ..self.options.open.clone() };
        format::open(Source::open(location)?, options)
    }

    /// Another state of the same source, after the one that `part` is of was found to be the wrong choice.
    pub(super) fn choose_again(&self, part: &Part) -> Result<Arc<Part>> {
        let mut state = self.refreshing.lock();
        let top = self.top();
        // Somebody else has been here.
        if top.revision.epoch == part.revision.epoch {
            let next = self.load(&top.revision, self.options.open.pin)?;
            *state = Refresh::default();
            self.install(&top, next, false);
        }
        Ok(self.top())
    }

    fn note(&self, revision: &Revision, code: &'static str, message: &str) {
        let remedy = "put the project back, or unmount";
        revision.container.findings().add(Finding::new(Severity::Warning, code, "", message, remedy));
    }

    /// Makes `next` the revision that look-ups see, and tells the kernel what to forget. `again`: it bears the stamp of
    /// the one before, under which it may have been rewritten.
    fn install(&self, top: &Arc<Part>, next: Arc<dyn Container>, again: bool) {
        let current = &top.revision;
        let path = next.source().path();
        let mut lineage = None;
        if next.source().is_folder() {
            log::info!("{}: changed; a new revision is shown", path.display());
        } else if current.container.source().stamp().file == next.source().stamp().file {
            lineage = Some(self.judge(next.as_ref(), again));
            match current.is_gone() {
                false => log::info!("{}: appended to; a new revision is shown", path.display()),
                true => log::warn!(
                    "{}: rewritten in place; files open since before give EIO, and each is checked when it is \
                     opened",
                    path.display()
                ),
            }
        } else {
            // The old file has no name any more by which a better state of it would be found.
            if current.is_doubtful() {
                current.gone.store(true, Ordering::Release);
            }
            log::info!("{}: replaced; a new revision is shown", path.display());
        }
        tell_rewritten(next.as_ref(), current);
        tell_choice(next.as_ref(), current.container.current().as_ref());
        match lineage {
            Some(Lineage::Trusted) => next.trust(),
            Some(Lineage::Appended) | None => {}
            Some(Lineage::Young | Lineage::Mixed) => next.distrust(),
        }
        let next = Part::top(Revision::new(current.epoch + 1, next));
        if lineage == Some(Lineage::Mixed) {
            next.revision.young.store(false, Ordering::Release);
        }
        self.revisions.write().push(next.clone());
        current.replaced.store(true, Ordering::Release);
        self.hand_over(&next);
    }

    /// Which of the revisions that were read from this very file can still be read from it, and what `next` goes on
    /// from: what it shows was shown before, or was appended.
    fn judge(&self, next: &dyn Container, again: bool) -> Lineage {
        let state = next.source().state();
        let tops = self.revisions.read().clone();
        let of_file = tops.iter().map(|top| &top.revision).filter(|revision| {
            let source = revision.container.source();
            // The files of a folder are looked at one by one.
            source.stamp().file == state.stamp.file && !source.is_folder()
        });
        let of_file: Vec<&Arc<Revision>> = of_file.collect();
        // The last one's directory says what is there now, and what it says is there as far as anybody can look, or
        // nothing but links, mode and owner has moved a time.
        let proven = of_file.last().is_some_and(|last| {
            let was = last.container.source().stamp();
            let excused = was != state.stamp && !was.may_have_new_bytes(&state.stamp, false);
            let same = next.continues(last.container.as_ref()) && last.container.continues(next);
            same && excused && is_as_recorded(next) != Some(false)
        });
        let broken = of_file.iter().any(|revision| revision.broken.load(Ordering::Acquire));
        let mut lineage = Lineage::Mixed;
        for revision in of_file {
            let old = revision.container.source();
            if old.state() == state && !again {
                let before = if revision.is_gone() { Lineage::Mixed } else { Lineage::of(revision) };
                if before > Lineage::Mixed {
                    next.goes_on_from(revision.container.as_ref());
                }
                lineage = lineage.max(before);
                continue;
            }
            if revision.is_gone() || !next.continues(revision.container.as_ref()) {
                revision.gone.store(true, Ordering::Release);
                continue;
            }
            // What has not grown may be a rewrite, however much its directory looks like before. Who reads meanwhile
            // reads under the new state, and is told at the end that this was in doubt.
            // Nor is it an append where nothing was appended that can be seen, or something was gone meanwhile.
            let same = revision.container.continues(next);
            let grown = state.stamp.size > old.size() && !same && !broken;
            let before = Lineage::of(revision);
            if !grown && !proven {
                revision.doubtful.store(true, Ordering::Release);
            } else if before > Lineage::Mixed {
                next.goes_on_from(revision.container.as_ref());
            }
            revision.container.forget_decoded();
            self.contents.retain(|(epoch, ..)| *epoch != revision.epoch);
            old.accept(state);
            lineage = lineage.max(if proven {
                before
            } else if grown {
                before.min(Lineage::Appended)
            } else {
                match is_as_recorded(revision.container.as_ref()) {
                    Some(true) if same => Lineage::Trusted,
                    Some(true) => Lineage::Mixed,
                    // Nothing speaks for a change but that it could not have been seen.
                    None if again => before,
                    _ => {
                        revision.gone.store(true, Ordering::Release);
                        Lineage::Mixed
                    }
                }
            });
            revision.broken.store(false, Ordering::Release);
            revision.doubtful.store(false, Ordering::Release);
        }
        lineage
    }

    /// Moves the numbers that mean the same in the new revision, and has the kernel look the others up again.
    pub(super) fn hand_over(&self, new: &Arc<Part>) {
        let mut forget = vec![Invalidation::Inode(super::ROOT)];
        let mut parts = HashMap::new();
        for (ino, place) in self.known.each() {
            let old = &place.part;
            if old.revision.epoch == new.revision.epoch {
                // A look-up was faster. Where nobody asks at open, nobody is told there that pages of before are wrong.
                forget.push(Invalidation::Inode(ino));
                continue;
            }
            let tree = old.tree();
            let part = counterpart(&mut parts, old, new);
            let there =
                part.as_ref().and_then(|part| Some((part, same_path(tree, place.node, part.tree())?)));
            let gone = old.revision.gone.load(Ordering::Acquire);
            let directory = tree.node(place.node).kind == Kind::Directory;
            let same = there.filter(|(part, id)| part.number(*id) == ino);
            let [before, now] = [old, new].map(|part| part.revision.container.source());
            let in_place = !now.is_folder() && before.stamp().file == now.stamp().file;
            if let Some((part, node)) = same.filter(|_| directory || !gone) {
                let now = Place { part: part.clone(), node };
                let other_mode = tree.node(place.node).mode != part.tree().node(node).mode;
                if directory || other_mode || in_place || !place.same_bytes(&now) {
                    forget.push(Invalidation::Inode(ino));
                }
                self.known.move_to(ino, &now);
                continue;
            }
            if let Some(parent) = old.parent_number(place.node) {
                forget.push(Invalidation::Name(parent, tree.name(place.node).to_vec()));
            }
            forget.push(Invalidation::Inode(ino));
        }
        self.send(forget);
    }

    /// The bytes of a revision are gone, or in doubt: pages of it must not be read either.
    fn drop_pages(&self, revision: &Revision) {
        let of = |(ino, place): (u64, Place)| {
            (place.part.revision.epoch == revision.epoch).then_some(Invalidation::Inode(ino))
        };
        self.send(self.known.each().filter_map(of).collect());
    }

    pub(super) fn send(&self, list: Vec<Invalidation>) {
        let Some(to) = self.invalidations.lock().clone() else { return };
        for one in list {
            // The receiver is gone only when the mount is.
            if to.send(one).is_err() {
                return;
            }
        }
    }
}

/// What was rewritten in place is found of every state that comes after, for what was open before stays an error.
const REWRITTEN: &str = "rewritten-in-place";

/// Tells what of the source was rewritten since `current` was loaded, and what was so before that.
fn tell_rewritten(next: &dyn Container, current: &Revision) {
    let known = current.container.findings().list().into_iter().filter(|finding| finding.code == REWRITTEN);
    known.for_each(|finding| next.findings().add(finding));
    let tell = |path: String| next.findings().add(rewritten(path));
    if next.source().is_folder() {
        next.rewritten_since(current.container.as_ref()).into_iter().for_each(tell);
    } else if current.is_gone() && current.container.source().stamp().file == next.source().stamp().file {
        tell(String::new());
    }
}

fn rewritten(path: String) -> Finding {
    let what = if path.is_empty() { "the project's file" } else { "the file" };
    // Of a folder's files, only snapshots are never to change.
    let is_grave = path.is_empty() || path.starts_with("snapshots/");
    Finding::new(
        if is_grave { Severity::Warning } else { Severity::Notice },
        REWRITTEN,
        path,
        format!("{what} was rewritten in place; what was open before gives an I/O error"),
        "open it anew; copies are better written under another name and renamed",
    )
}

/// Tells the log what is current, and why: what nobody expects, and every change, to whoever listens for warnings.
pub(super) fn tell_choice(container: &dyn Container, before: Option<&Current>) {
    let Some(current) = container.current() else { return };
    let same = before.is_none_or(|before| before.name == current.name);
    if !same || !current.expected {
        let path = container.source().path().display();
        log::warn!("{path}: {} is current: {}", current.name, current.because);
    }
}

impl Refresh {
    /// Whether the file has been at this stamp for long enough.
    fn rested(&mut self, there: State) -> bool {
        match self.unsettled {
            Some((seen, since)) if seen == there => since.elapsed() >= REST,
            _ => {
                self.unsettled = Some((there, Instant::now()));
                false
            }
        }
    }
}

/// Whether everything that a container shows has the checksum that its directory gives, now; `None` where that cannot be
/// told, since it has none or is too much to read. What is refused for its kind gives no bytes that could be others.
fn is_as_recorded(container: &dyn Container) -> Option<bool> {
    // What is derived is made of what lies there.
    let container = container.enclosing().unwrap_or(container);
    let tree = container.tree();
    let files = || tree.ids().filter(|id| tree.node(*id).kind != Kind::Directory);
    if files().map(|id| tree.node(id).size()).fold(0, u64::saturating_add) > PROOF
        || files().any(|id| tree.is_stored(id) && container.crc32(id).is_none())
    {
        return None;
    }
    let mut buf = vec![0; PIECE];
    Some(files().all(|id| match (container.crc32(id), container.open(id)) {
        (Some(crc), Ok(content)) => checksum(&content, &mut buf).is_ok_and(|found| found == crc),
        (_, Err(Error::Unsupported { .. })) => true,
        _ => false,
    }))
}

fn checksum(content: &Content, buf: &mut [u8]) -> Result<u32> {
    let (mut sum, mut at) = (crc32fast::Hasher::new(), 0);
    loop {
        match content.read_at(at, buf)? {
            0 => return Ok(sum.finalize()),
            n => (sum.update(&buf[..n]), at += n as u64).1,
        }
    }
}

/// The node of another tree that has the same path.
fn same_path(tree: &Tree, id: NodeId, other: &Tree) -> Option<NodeId> {
    other.find(&tree.path(id))
}

/// The part of the new revision that shows what `old` shows: where the same branch hangs behind the same door, and is
/// there already. To open one for the sake of numbers that nobody may ask for again would cost more than it saves.
fn counterpart(
    parts: &mut HashMap<(u32, u64), Option<Arc<Part>>>,
    old: &Arc<Part>,
    new: &Arc<Part>,
) -> Option<Arc<Part>> {
    let key = (old.revision.epoch, old.root);
    if let Some(known) = parts.get(&key) {
        return known.clone();
    }
    let found = match &old.above {
        None if old.root == super::ROOT => Some(new.clone()),
        // What hangs in the control folder is asked for anew.
        None => None,
        Some((above, door)) => counterpart(parts, above, new).and_then(|part| {
            let node = same_path(above.tree(), *door, part.tree())?;
            let branch = part.branch.open_door(node)?;
            Arc::ptr_eq(&branch, &old.branch).then(|| part.hang(node, branch))
        }),
    };
    parts.insert(key, found.clone());
    found
}
