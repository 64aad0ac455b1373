//! What every format has to keep, checked without a mount. A new format adds a line to [`projects`].

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use common::{Pack, data, folder, noise, open, recording};
use tempfile::TempDir;
use vaso::error::Error;
use vaso::format::Container;
use vaso::tree::{Content, Kind, NodeId, Tree};

/// Folders that keep the files, and the files.
fn projects() -> (Vec<TempDir>, Vec<PathBuf>) {
    let real = data("packages.tar.xz");
    let own = common::folder();
    let mut pack = Pack::new();
    pack.deflated("empty", b"")
        .stored("stored/small", b"x")
        .stored("stored/large", &noise(1, 3_000_001))
        .deflated("deflated/small", b"hello")
        .deflated("deflated/at the limit", &recording(2, 256 * 1024))
        .deflated("deflated/behind the limit", &recording(3, 256 * 1024 + 1))
        .deflated("deflated/large", &recording(4, 5_000_000))
        .deflated("deflated/noise", &noise(5, 700_000))
        .deflated("ünïcödé/名前 %41", b"name")
        .link("link", "stored/small");
    let path = own.path().join("own.vaso");
    pack.write(&path);
    let mut list = vec![path];
    for place in ["pkg", "pkg/refs", "pkg_bad", "container", "legacy", "bundle"] {
        for entry in std::fs::read_dir(real.path().join(place)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap();
            if [".vaso", ".vasods", ".vasopack"].iter().any(|end| name.ends_with(end)) {
                list.push(path);
            }
        }
    }
    assert!(list.len() > 15, "{list:?}");
    let vsf = data("vsf.tar.xz");
    for name in
        ["z10/raw_builder_full", "z10/unboxed_one", "z2/strided", "seed/medical_hierarchy", "z8/strings"]
    {
        list.push(vsf.path().join("vsf").join(name).with_extension("vsf"));
    }
    let bundles = data("bundles.tar.xz");
    for name in ["one_snapshot", "corrupt_current", "conflict_dropbox", "missing_head", "orphan_staging"] {
        list.push(bundles.path().join("bundle").join(name).with_extension("vasopack"));
    }
    (vec![real, own, vsf, bundles], list)
}

/// The whole of a file, read in one piece; `None` where it refuses.
fn whole(project: &dyn Container, id: NodeId) -> Option<(Content, Vec<u8>)> {
    let content = match project.open(id) {
        Ok(content) => content,
        Err(Error::Damaged { .. } | Error::Unsupported { .. }) => return None,
        Err(other) => panic!("{other}"),
    };
    let mut bytes = vec![0; project.tree().node(id).size() as usize + 1];
    let n = content.read_at(0, &mut bytes).unwrap_or_else(|e| panic!("{}: {e}", project.tree().shown(id)));
    bytes.truncate(n);
    Some((content, bytes))
}

fn files(tree: &Tree) -> impl Iterator<Item = NodeId> + '_ {
    tree.ids().filter(|id| tree.node(*id).kind != Kind::Directory)
}

#[test]
fn a_tree_is_sorted_unique_and_closed() {
    let (_keep, list) = projects();
    for path in list {
        let project = open(&path).unwrap();
        let tree = project.tree();
        let mut numbers = HashSet::new();
        let mut seen = 0;
        let mut pending = vec![Tree::ROOT];
        while let Some(dir) = pending.pop() {
            seen += 1;
            let names: Vec<&[u8]> = tree.children(dir).map(|id| tree.name(id)).collect();
            assert!(names.is_sorted() && names.windows(2).all(|w| w[0] != w[1]), "{path:?}");
            let mut directories = 0;
            for (i, id) in tree.children(dir).enumerate() {
                assert_eq!(tree.node(id).parent(), dir);
                assert_eq!(tree.child(dir, tree.name(id)), Some(id));
                assert_eq!(tree.child_at(dir, i as u64), Some(id));
                assert_eq!(tree.find(&tree.path(id)), Some(id));
                assert!(!tree.name(id).is_empty() && !tree.name(id).contains(&b'/'));
                if tree.node(id).kind == Kind::Directory {
                    directories += 1;
                    pending.push(id);
                } else {
                    seen += 1;
                }
            }
            // What is behind a door is not counted.
            let links = if tree.node(dir).door().is_some() { 1 } else { 2 + directories };
            assert_eq!(tree.node(dir).links(), links, "{path:?}");
        }
        assert_eq!(seen, tree.len(), "every node hangs in the tree");
        for id in tree.ids() {
            let ino = tree.node(id).ino;
            assert!(numbers.insert(ino) && (ino > 1 || id == Tree::ROOT), "{path:?}: number {ino}");
        }
    }
}

#[test]
fn sizes_are_exact_before_the_first_read() {
    let (_keep, list) = projects();
    for path in list {
        let project = open(&path).unwrap();
        let mut sum = 0;
        for id in files(project.tree()) {
            sum += project.tree().node(id).size();
            if let Some((content, bytes)) = whole(project.as_ref(), id) {
                assert_eq!(bytes.len() as u64, project.tree().node(id).size(), "{path:?}");
                assert_eq!(content.size(), bytes.len() as u64);
            }
        }
        assert_eq!(project.tree().bytes(), sum);
    }
}

#[test]
fn every_range_reads_like_the_whole() {
    let (_keep, list) = projects();
    for path in list {
        let project = open(&path).unwrap();
        for id in files(project.tree()) {
            let Some((content, bytes)) = whole(project.as_ref(), id) else { continue };
            for (offset, len) in ranges(bytes.len()) {
                let mut buf = vec![0xAA; len];
                let n = content.read_at(offset as u64, &mut buf).unwrap();
                let expected = &bytes[offset.min(bytes.len())..(offset + len).min(bytes.len())];
                assert_eq!(&buf[..n], expected, "{}: {len} bytes at {offset}", project.tree().shown(id));
            }
        }
    }
}

/// Both ends, both sides of every boundary that an implementation could have, and some of the rest.
fn ranges(size: usize) -> Vec<(usize, usize)> {
    let mut at: Vec<usize> =
        vec![0, 1, size / 3, size / 2, size.saturating_sub(1), size, size + 1, size + 5000];
    for boundary in [512usize, 4096, 65_536, 131_072, 262_144, 1 << 20, 2 << 20] {
        at.extend([boundary - 1, boundary, boundary + 1]);
    }
    at.retain(|offset| *offset <= size + 5000);
    let lengths = [0usize, 1, 2, 4095, 4096, 4097, 131_072, 131_073];
    at.iter().flat_map(|offset| lengths.map(|len| (*offset, len))).collect()
}

#[test]
fn concurrent_readers_at_different_places_agree() {
    let (_keep, list) = projects();
    for path in list {
        let project = open(&path).unwrap();
        let largest = files(project.tree()).max_by_key(|id| project.tree().node(*id).size()).unwrap();
        let Some((_, expected)) = whole(project.as_ref(), largest) else { continue };
        // A container that has decoded nothing yet.
        let project = open(&path).unwrap();
        let content = Arc::new(project.open(largest).unwrap());
        std::thread::scope(|scope| {
            for reader in 0..8usize {
                let (content, expected) = (content.clone(), &expected);
                scope.spawn(move || {
                    let step = 4096 * (reader * 7 + 1);
                    let mut buf = vec![0; 50_000];
                    // Half go forwards and half backwards, all at once.
                    let mut places: Vec<usize> =
                        (0..expected.len()).step_by(step.max(expected.len() / 40)).collect();
                    if reader % 2 == 1 {
                        places.reverse();
                    }
                    for at in places {
                        let n = content.read_at(at as u64, &mut buf).unwrap();
                        assert_eq!(&buf[..n], &expected[at..(at + 50_000).min(expected.len())], "at {at}");
                    }
                });
            }
        });
    }
}

#[test]
fn opened_again_it_is_equal() {
    let (_keep, list) = projects();
    for path in list {
        let (a, b) = (open(&path).unwrap(), open(&path).unwrap());
        assert_eq!(a.tree().len(), b.tree().len());
        for id in a.tree().ids() {
            let (m, n) = (a.tree().node(id), b.tree().node(id));
            assert_eq!(a.tree().path(id), b.tree().path(id));
            assert_eq!(
                (m.ino, m.size(), m.time(), m.mode, m.kind),
                (n.ino, n.size(), n.time(), n.mode, n.kind)
            );
            assert_eq!(a.attributes(id), b.attributes(id));
            if m.kind != Kind::Directory {
                assert_eq!(whole(a.as_ref(), id).map(|w| w.1), whole(b.as_ref(), id).map(|w| w.1));
            }
        }
        assert!(a.continues(b.as_ref()) && b.continues(a.as_ref()));
    }
}

#[test]
fn directories_have_no_bytes_and_attributes_never_fail() {
    let (_keep, list) = projects();
    for path in list {
        let project = open(&path).unwrap();
        for id in project.tree().ids() {
            let names: Vec<&str> = project.attributes(id).iter().map(|(name, _)| *name).collect();
            assert!(names.is_sorted(), "{names:?}");
            if project.tree().node(id).kind == Kind::Directory {
                assert!(matches!(project.open(id), Err(Error::IsADirectory(_))));
            }
        }
    }
}

#[test]
fn verifying_a_sound_project_finds_nothing_and_a_damaged_one_something() {
    let (_keep, list) = projects();
    for path in list {
        let project = open(&path).unwrap();
        let mut last = (0, 0);
        project.verify(&mut |done, all| last = (done, all)).unwrap();
        assert_eq!(last.0, last.1, "progress ends at the end");
        let findings = project.findings().list();
        let clean = findings.iter().all(|f| f.severity == vaso::finding::Severity::Notice);
        let unsound =
            ["pkg_bad", "corrupt_current", "conflict_dropbox", "orphan_staging", "/autosave.", "/refs."];
        let sound = !unsound.iter().any(|name| path.to_str().unwrap().contains(name));
        assert_eq!(clean, sound, "{path:?}: {findings:?}");
        // Verifying twice does not find things twice.
        project.verify(&mut |_, _| ()).unwrap();
        assert_eq!(project.findings().list(), findings);
    }
}

/// Both were refused by a reader that took one sign for the whole.
#[test]
fn what_other_programs_write_around_entries_hides_none() {
    let bytes = {
        let mut pack = Pack::new();
        pack.stored("trace", b"1, 2, 3");
        pack.bytes()
    };
    let end = bytes.len() - 22;
    let last = bytes.windows(4).rposition(|part| part == b"PK\x01\x02").unwrap();
    let wide = {
        // The disk that it starts on, 0, stands in the field for large numbers.
        let mut field = bytes[last..end].to_vec();
        field[34..36].fill(0xff);
        let extra = u16::from_le_bytes([field[30], field[31]]) + 8;
        field[30..32].copy_from_slice(&extra.to_le_bytes());
        let behind_the_name = 46 + "trace".len();
        field.splice(behind_the_name..behind_the_name, [1, 0, 4, 0, 0, 0, 0, 0]);
        let mut tail = bytes[end..].to_vec();
        let size = u32::from_le_bytes(tail[12..16].try_into().unwrap()) + 8;
        tail[12..16].copy_from_slice(&size.to_le_bytes());
        [&bytes[..last], &field, &tail].concat()
    };
    let commented = {
        let comment = [&b"PK\x05\x06"[..], &[0; 18]].concat();
        let mut bytes = [&bytes[..], &comment].concat();
        bytes[end + 20] = comment.len() as u8;
        bytes
    };
    for bytes in [wide, commented] {
        let home = folder();
        let path = home.path().join("P.vaso");
        fs::write(&path, bytes).unwrap();
        let project = open(&path).unwrap();
        let id = project.tree().find(b"trace").unwrap();
        assert_eq!(whole(&*project, id).map(|(_, bytes)| bytes), Some(b"1, 2, 3".to_vec()));
        assert!(project.findings().list().is_empty());
    }
}
