//! Requests of a real kernel while every thread for slow reads is taken.

use std::path::Path;
use std::sync::mpsc;

use super::super::{kernel, options::MountOptions, patience, unmount};
use super::*;
use crate::format::{self, OpenOptions};
use crate::store::{Location, Source};
use crate::volume::Options;

/// A project with one stored file.
fn write_project(path: &Path) {
    let (name, text) = (b"manifest.json", br#"{"schema": "https://vaso.dev/schemas/vaso-package-v1.json"}"#);
    let len = (text.len() as u32).to_le_bytes();
    let about = [
        &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
        &crc32fast::hash(text).to_le_bytes(),
        &len,
        &len,
        &[name.len() as u8, 0, 0, 0],
    ]
    .concat();
    let local = [&b"PK\x03\x04"[..], &about, name, text].concat();
    let central = [&b"PK\x01\x02\x14\0"[..], &about, &[0; 14], name].concat();
    let mut end = [&b"PK\x05\x06"[..], &[0; 4], &[1, 0, 1, 0], &[0; 10]].concat();
    end[12..16].copy_from_slice(&(central.len() as u32).to_le_bytes());
    end[16..20].copy_from_slice(&(local.len() as u32).to_le_bytes());
    std::fs::write(path, [local, central, end].concat()).unwrap();
}

/// Ends a mount with the test, whatever happens.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = unmount::detach(self.0);
    }
}

#[test]
fn no_look_up_waits_for_a_slow_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, point) = (folder.path().join("P.vaso"), folder.path().join("mnt"));
    std::fs::create_dir(&point).unwrap();
    write_project(&path);
    let source = Source::open(Arc::new(Location::find(&path).unwrap())).unwrap();
    let open = OpenOptions::default();
    let project = format::open(source, open.clone()).unwrap();
    let volume = Arc::new(Volume::new(project, Options { uid: 0, gid: 0, umask: 0, open }));
    let adapter = Adapter::new(volume.clone(), true, false);
    let reads = adapter.reads.clone();
    let session = kernel::mount(adapter, &path, &point, &MountOptions::default()).unwrap();
    let mounted = Mounted(&point);
    let serving = std::thread::spawn(move || session.run());

    let gate = Arc::new(parking_lot::Mutex::new(()));
    let shut = gate.lock();
    for _ in 0..patience::MOST * 2 {
        let gate = gate.clone();
        reads.patience.run(move || drop(gate.lock()));
    }
    // What is derived is not there before somebody has looked into it, so this is nothing that is done at once.
    let browse = volume.lookup(crate::volume::ROOT, b"browse").unwrap().ino;
    assert!(
        volume.lookup_at_once(browse, b"CACHEDIR.TAG").is_none() && volume.opendir_at_once(browse).is_none()
    );
    let (tell, told) = mpsc::channel();
    let derived = point.join("browse");
    std::thread::spawn(move || {
        let size = std::fs::metadata(derived.join("CACHEDIR.TAG")).map(|meta| meta.len());
        let names = std::fs::read_dir(derived).map(|names| names.count());
        let _ = tell.send((size, names));
    });
    // Nothing but a look-up that is not served takes so long.
    let looked = told.recv_timeout(Duration::from_secs(60));
    drop(shut);
    let (size, names) = looked.expect("it is served while nobody reads");
    assert!(size.unwrap() > 0 && names.unwrap() > 0);
    drop(mounted);
    serving.join().unwrap().unwrap();
}
