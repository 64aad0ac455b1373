//! Entries packed by other methods than deflate: read with the feature `methods`, refused with a reason
//! without. The files were made by 7-Zip, by Python's `lzma` and by the `zstd` tool.

mod common;

use std::fs;
use std::path::Path;

use common::{As, Mount, data, open};
use vaso::error::Error;
use vaso::tree::NodeId;

const METHODS: [(&str, &str); 5] =
    [("bzip2", "bzip2"), ("deflate64", "deflate64"), ("lzma", "lzma"), ("xz", "xz"), ("zstd", "zstd")];

fn find(project: &dyn vaso::format::Container, name: &str) -> NodeId {
    project.tree().find(name.as_bytes()).unwrap()
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let project = open(path).unwrap();
    let id = find(project.as_ref(), name);
    let content = project.open(id)?;
    let mut bytes = vec![0; content.size() as usize];
    content.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn every_method_reads_right_or_refuses_with_a_reason() {
    let folder = data("methods.tar.xz");
    for (file, method) in METHODS {
        let path = folder.path().join(format!("{file}.vaso"));
        for name in ["big.csv", "small.txt"] {
            let expected = fs::read(folder.path().join(name)).unwrap();
            let project = open(&path).unwrap();
            let id = find(project.as_ref(), name);
            assert_eq!(project.tree().node(id).size(), expected.len() as u64);
            let attributes = project.attributes(id);
            // 7-Zip stores what packing would not make smaller.
            let packed = attributes.contains(&("user.vaso.method", method.to_string()));
            let stored = attributes.contains(&("user.vaso.method", "stored".to_string()));
            assert!(packed || stored && name == "small.txt", "{file}: {attributes:?}");
            match read(&path, name) {
                Ok(bytes) if cfg!(feature = "methods") || stored => {
                    assert!(bytes == expected, "{file} {name}")
                }
                Err(Error::Unsupported { what, .. }) if !cfg!(feature = "methods") => {
                    assert!(what.contains(method), "{what}")
                }
                other => panic!("{file} {name}: {:?}", other.map(|b| b.len())),
            }
        }
    }
}

#[test]
fn a_window_that_is_too_wide_is_refused() {
    let folder = data("methods.tar.xz");
    let path = folder.path().join("zstd-wide.vaso");
    assert!(matches!(read(&path, "big.csv"), Err(Error::Unsupported { .. })));
}

#[test]
fn damage_in_a_packed_stream_is_an_error_of_that_entry() {
    let folder = data("methods.tar.xz");
    for (file, _) in METHODS {
        let path = folder.path().join(format!("{file}.vaso"));
        let mut bytes = fs::read(&path).unwrap();
        let place = (0..bytes.len()).find(|i| bytes[*i..].starts_with(b"big.csv")).unwrap();
        for byte in &mut bytes[place + 20_000..place + 20_010] {
            *byte ^= 0x5a;
        }
        fs::write(&path, bytes).unwrap();
        match read(&path, "big.csv") {
            Err(Error::Damaged { .. }) if cfg!(feature = "methods") => {}
            Err(Error::Unsupported { .. }) if !cfg!(feature = "methods") => {}
            other => panic!("{file}: {:?}", other.map(|b| b.len())),
        }
        assert!(read(&path, "manifest.json").is_ok());
    }
}

#[test]
fn through_a_mount_it_is_the_same() {
    let folder = data("methods.tar.xz");
    let expected = fs::read(folder.path().join("big.csv")).unwrap();
    for (file, _) in METHODS {
        let mount = Mount::new(As::Me, &folder.path().join(format!("{file}.vaso")), &[]);
        match fs::read(mount.path("big.csv")) {
            Ok(bytes) => assert!(cfg!(feature = "methods") && bytes == expected, "{file}"),
            // EOPNOTSUPP
            Err(e) => assert!(!cfg!(feature = "methods") && e.raw_os_error() == Some(95), "{file}: {e}"),
        }
    }
}
