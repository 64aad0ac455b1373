//! The table of numbers beside a model of it, and what it keeps alive; what is asked of a revision while it is judged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::error::Result;
use crate::finding::Findings;
use crate::format::{Container, Description};
use crate::store::Source;
use crate::tree::{Branch, Builder, Content, Leaf, SafePath, Time, Tree};
use crate::volume::Revision;

/// A project of which nothing but the tree is asked.
#[derive(Debug)]
struct Shown(Tree);

impl Shown {
    fn new(files: u32) -> Arc<Shown> {
        let mut builder = Builder::new(0);
        for i in 0..files {
            let time = Time { seconds: 1000, nanos: 0 };
            let leaf = Leaf { size: 10, time, mode: 0o444, kind: Kind::File, entry: i, identity: 0 };
            let path = format!("d{}/f{i}", i % 3);
            builder.leaf(SafePath::check(path.as_bytes()).unwrap(), leaf).unwrap();
        }
        Arc::new(Shown(builder.finish().0))
    }
}

impl Branch for Shown {
    fn tree(&self) -> &Tree {
        &self.0
    }

    fn open(&self, _: NodeId) -> Result<Content> {
        unreachable!()
    }

    fn origin(&self, node: NodeId) -> Option<[u8; 32]> {
        // Every other file is the same in all states.
        node.0.is_multiple_of(2).then_some([node.0 as u8; 32])
    }
}

impl Container for Shown {
    fn source(&self) -> &Arc<Source> {
        unreachable!()
    }

    fn kind(&self) -> &'static str {
        unreachable!()
    }

    fn opens_all(&self) -> bool {
        unreachable!()
    }

    fn is_whole(&self) -> bool {
        unreachable!()
    }

    fn findings(&self) -> &Findings {
        unreachable!()
    }

    fn shared_findings(&self) -> Arc<Findings> {
        unreachable!()
    }

    fn describe(&self) -> Description {
        unreachable!()
    }

    fn verify(&self, _: &mut dyn FnMut(u64, u64)) -> Result<()> {
        unreachable!()
    }

    fn continues(&self, _: &dyn Container) -> bool {
        unreachable!()
    }

    fn forget_decoded(&self) {
        unreachable!()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        unreachable!()
    }
}

#[test]
fn no_verdict_is_missed_by_who_asks_while_a_doubt_is_settled() {
    let container: Arc<dyn Container> = Shown::new(1);
    let revisions: Vec<_> = (0..200_000).map(|epoch| Revision::new(epoch, container.clone())).collect();
    for revision in &revisions {
        revision.doubtful.store(true, Ordering::Release);
    }
    let reached = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (i, revision) in revisions.iter().enumerate() {
                reached.store(i, Ordering::Release);
                // As the verdict on a rewrite is given.
                revision.gone.store(true, Ordering::Release);
                revision.doubtful.store(false, Ordering::Release);
            }
        });
        loop {
            let at = reached.load(Ordering::Acquire);
            for revision in &revisions[at..(at + 8).min(revisions.len())] {
                assert!(revision.is_refused(), "the bytes of another state were given out");
            }
            if at + 1 == revisions.len() {
                break;
            }
        }
    });
}

/// The rules of [`Known`] over a plain map that writes everything out.
#[derive(Default)]
struct Model(HashMap<u64, Entry>);

struct Entry {
    place: Place,
    lookups: u64,
    opens: u32,
    drop_cache: bool,
}

impl Model {
    fn remember(&mut self, part: &Arc<Part>, node: NodeId) -> u64 {
        let (own, epoch) = (part.number(node), part.revision.epoch);
        let directory = part.tree().node(node).kind == Kind::Directory;
        let place = Place { part: part.clone(), node };
        for attempt in 0.. {
            let number = if attempt == 0 { own } else { substitute(own, attempt) };
            let Some(entry) = self.0.get_mut(&number) else {
                self.0.insert(number, Entry { place, lookups: 1, opens: 0, drop_cache: false });
                return number;
            };
            let there = &entry.place.part;
            let earlier = there.revision.epoch < epoch;
            let same = there.revision.epoch == epoch && there.root == part.root && entry.place.node == node;
            let gone = there.revision.gone.load(Ordering::Relaxed);
            if earlier && (directory || !gone || entry.opens == 0) {
                entry.drop_cache |= !directory && (gone || !entry.place.same_bytes(&place));
                entry.place = place;
            } else if !same && there.revision.epoch <= epoch {
                continue;
            }
            entry.lookups += 1;
            return number;
        }
        unreachable!()
    }

    fn forget(&mut self, ino: u64, count: u64) {
        let Some(entry) = self.0.get_mut(&ino) else { return };
        entry.lookups = entry.lookups.saturating_sub(count);
        if entry.lookups == 0 {
            self.0.remove(&ino);
        }
    }
}

fn top(epoch: u32, shown: &Arc<Shown>) -> Arc<Part> {
    Part::top(Revision::new(epoch, shown.clone()))
}

/// What is said of a number, as far as it can be compared.
fn said(place: Option<Place>) -> Option<(u32, u64, NodeId)> {
    place.map(|place| (place.part.revision.epoch, place.part.root, place.node))
}

#[test]
fn everything_is_as_in_a_plain_map() {
    let shown = Shown::new(40);
    let files: Vec<NodeId> = shown.0.ids().skip(1).collect();
    // Of one state two parts whose nodes have the same numbers, of which one has to give way.
    let first = top(0, &shown);
    let beside = Part::controlled(first.revision.clone(), shown.clone(), 4);
    let parts = [first.clone(), beside, top(1, &Shown::new(40)), top(2, &Shown::new(40))];
    let (known, mut model) = (Known::default(), Model::default());
    let mut given = Vec::new();
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((random >> 33) % below as u64) as usize
    };
    for step in 0..60_000 {
        // States come one after the other, and the bytes of some go.
        let newest = 2 + step / 20_000;
        if step % 20_000 == 10_000 {
            parts[step / 20_000].revision.gone.store(true, Ordering::Relaxed);
        }
        let ino = if given.is_empty() { 1000 } else { given[next(given.len())] };
        match next(8) {
            0..3 => {
                let (part, node) = (&parts[next(newest.min(4))], files[next(files.len())]);
                let number = known.remember(part, node);
                assert_eq!(number, model.remember(part, node), "at {step}");
                given.push(number);
            }
            3 | 4 => {
                let count = 1 + next(3) as u64;
                known.forget(ino, count);
                model.forget(ino, count);
            }
            5 => {
                let entry = model.0.get_mut(&ino);
                let kept = entry.map(|entry| {
                    entry.opens += 1;
                    !std::mem::take(&mut entry.drop_cache)
                });
                assert_eq!(known.opened(ino), kept.unwrap_or(false), "at {step}");
            }
            6 => {
                known.released(ino);
                if let Some(entry) = model.0.get_mut(&ino) {
                    entry.opens = entry.opens.saturating_sub(1);
                }
            }
            _ => {
                let place = Place { part: parts[3].clone(), node: files[next(files.len())] };
                if newest > 3 && place.part.number(place.node) == ino {
                    known.move_to(ino, &place);
                    model.0.get_mut(&ino).into_iter().for_each(|entry| entry.place = place.clone());
                }
            }
        }
        assert_eq!(
            said(known.get(ino)),
            said(model.0.get(&ino).map(|entry| entry.place.clone())),
            "at {step}"
        );
    }
    let listed: HashSet<_> = known.each().map(|(ino, place)| (ino, said(Some(place)))).collect();
    let modelled: HashSet<_> = model.0.iter().map(|(ino, e)| (*ino, said(Some(e.place.clone())))).collect();
    assert_eq!(listed, modelled);
    let own: HashSet<u64> = files.iter().map(|node| first.number(*node)).collect();
    assert!(model.0.keys().any(|ino| !own.contains(ino)), "some numbers stand in place of others");
    for ino in given {
        known.forget(ino, u64::MAX);
    }
    assert_eq!(known.each().count(), 0);
    drop(model);
    assert_eq!(Arc::strong_count(&parts[3]), 1, "nothing of a part is left");
}

#[test]
fn no_reference_is_lost_beyond_what_a_small_field_counts() {
    let (known, part) = (Known::default(), top(0, &Shown::new(4)));
    let node = NodeId(5);
    let counts = [(1 << 16) - 1, 1 << 16, 70_000];
    for count in counts {
        let ino = (0..count).map(|_| known.remember(&part, node)).last().unwrap();
        assert_eq!(ino, part.number(node));
        known.forget(ino, count - 1);
        assert_eq!(said(known.get(ino)), Some((0, crate::volume::ROOT, node)), "of {count} one is left");
        known.forget(ino, 1);
        assert!(known.get(ino).is_none());
    }
    assert_eq!(Arc::strong_count(&part), 1);
}

#[test]
fn a_part_lives_as_long_as_a_number_stands_for_a_node_of_it() {
    let (known, shown) = (Known::default(), Shown::new(100));
    let part = top(0, &shown);
    // What hangs behind a door is made anew for each look-up.
    let hung = |i: u32| {
        let (revision, above) = (part.revision.clone(), Some((part.clone(), NodeId(1))));
        let it = Arc::new(Part { revision, branch: shown.clone(), root: 77, above });
        known.remember(&it, NodeId(4 + i));
        Arc::downgrade(&it)
    };
    let made: Vec<_> = (0..90).map(hung).collect();
    let living = made.iter().filter(|part| part.strong_count() > 0).count();
    assert!((1..=SHARDS).contains(&living), "{living} are kept where one for a shard is enough");
    for i in 0..90 {
        assert!(Arc::strong_count(&part) > 1, "{i} are forgotten, and others are held");
        known.forget(part.number(NodeId(4 + i)), 1);
    }
    assert_eq!(Arc::strong_count(&part), 1);
    assert!(made.iter().all(|part| part.strong_count() == 0));
}

#[test]
fn there_may_be_more_parts_than_a_small_field_counts() {
    let shown = Shown::new(1);
    let revision = Revision::new(0, shown.clone());
    let roots = 16..16 + (1u64 << 15) + 100;
    let mut numbers = Numbers::default();
    for root in roots.clone() {
        numbers.insert(root, &Part::controlled(revision.clone(), shown.clone(), root), Tree::ROOT);
    }
    for root in roots.clone() {
        let held = numbers.get(root).unwrap();
        assert_eq!((numbers.part(&held).root, held.lookups), (root, 1));
    }
    for root in roots {
        assert_eq!(numbers.remove(root).map(|part| part.root), Some(root));
    }
    assert_eq!(Arc::strong_count(&revision), 1);
}

#[test]
fn shards_are_of_sizes_spread_evenly_between_one_and_two() {
    let mut sizes = [0u32; SHARDS];
    for i in 0..1u64 << 16 {
        sizes[shard_of(i << 48 | 0xffff_ffff_ffff)] += 1;
    }
    assert_eq!((shard_of(0), shard_of(u64::MAX)), (0, SHARDS - 1));
    for (i, size) in sizes.iter().enumerate() {
        let share = 2f64.powf((i as f64 + 0.5) / SHARDS as f64) * 2f64.ln() / SHARDS as f64;
        let expected = share * f64::from(1 << 16);
        assert!((f64::from(*size) - expected).abs() < 0.02 * expected, "{i}: {size} and not {expected}");
    }
}

/// Of some of these files the bytes may be others under the same number, which only an open would find out.
#[test]
fn what_is_looked_up_before_the_kernel_is_told_of_a_new_state_is_forgotten_with_the_rest() {
    use crate::volume::{Invalidation, Options, ROOT, Volume};
    let options = Options { uid: 0, gid: 0, umask: 0, open: Default::default() };
    let volume = Volume::new(Shown::new(9), options);
    volume.opens_are_unknown();
    let (to_kernel, told) = std::sync::mpsc::channel();
    volume.notify(to_kernel);
    let look = || {
        let folder = volume.lookup(ROOT, b"d1").unwrap().ino;
        [b"f1", b"f4", b"f7"].map(|name| volume.lookup(folder, name).unwrap().ino)
    };
    let before = look();
    let next = Part::top(Revision::new(1, Shown::new(9)));
    volume.revisions.write().push(next.clone());
    assert_eq!(look(), before, "the numbers say that nothing has changed");
    volume.hand_over(&next);
    let told: Vec<Invalidation> = told.try_iter().collect();
    assert!(before.into_iter().all(|ino| told.contains(&Invalidation::Inode(ino))), "{told:?}");
}
