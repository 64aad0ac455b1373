//! The control folder as the kernel's requests see it.

mod common;

use std::collections::HashSet;
use std::sync::mpsc;

use common::Pack;
use vaso::finding::{Finding, Severity};
use vaso::volume::{Invalidation, Options, ROOT, Volume};

#[test]
fn a_number_that_stands_for_another_text_is_told_to_the_kernel_also_when_a_listing_gives_it() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    pack.stored("a", b"1");
    pack.write(&path);
    let open = vaso::format::OpenOptions::default();
    let volume = Volume::new(common::open(&path).unwrap(), Options { uid: 0, gid: 0, umask: 0, open });
    let (to_kernel, told) = mpsc::channel();
    volume.notify(to_kernel);
    let control = volume.lookup(ROOT, b".vaso").unwrap().ino;
    let mut known = HashSet::new();
    for n in 0..12 {
        let text = format!("number {n}");
        let current = volume.current();
        current.container().findings().add(Finding::new(Severity::Notice, "test", "", text, "none"));
        let (mut files, mut dots) = (Vec::new(), Vec::new());
        volume.readdir_plus(&volume.opendir(control).unwrap(), 0, |attr, next, name| {
            let list = if next <= 2 { &mut dots } else { &mut files };
            list.push((String::from_utf8(name.to_vec()).unwrap(), attr.ino, attr.size));
            false
        });
        assert_eq!((dots[0].1, dots[1].1), (control, ROOT));
        let said: HashSet<u64> = told
            .try_iter()
            .map(|one| match one {
                Invalidation::Inode(ino) => ino,
                Invalidation::Name(..) => panic!("no name has changed"),
            })
            .collect();
        for (name, ino, size) in files {
            let same = volume.lookup(control, name.as_bytes()).unwrap();
            assert_eq!((same.ino, same.size), (ino, size), "{name}");
            // New each time, for each finding changes both texts.
            assert!(known.insert(ino) || said.contains(&ino), "{name}: {ino} has stood for another text");
        }
    }
    assert!(known.len() < 24, "numbers are used again");
}
