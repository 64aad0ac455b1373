//! The walls of the house: which room may know which, checked on the sources themselves.
//!
//! The drawing is at the head of `src/lib.rs`. A room stands above everything that it uses.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up: each may use those before it, and no other.
const ROOMS: &[(&str, &[&str])] = &[
    ("error.rs", &[]),
    ("finding.rs", &["error"]),
    ("store", &["error"]),
    ("tree", &["error", "store"]),
    ("signs", &["error", "store"]),
    ("packed", &["error", "finding", "store", "tree"]),
    ("database", &["error", "finding", "store", "tree", "signs", "packed"]),
    ("browse", &["error", "finding", "store", "tree", "packed", "database"]),
    ("format", &["error", "finding", "store", "tree", "signs", "packed", "database", "browse"]),
    ("volume", &["error", "finding", "store", "tree", "signs", "format"]),
    // The format is opened here, and only through its table.
    ("mount", &["error", "store", "tree", "format", "volume"]),
    ("cli", &["error", "finding", "store", "tree", "signs", "database", "format", "volume", "mount"]),
];

/// Crates that are named in their own places only.
const CRATES: &[(&str, &str)] = &[
    ("fuser", "src/mount/"),
    ("zip", "src/format/package/"),
    ("flate2", "src/database/embedded.rs"),
    ("flate2", "src/format/package/"),
    ("flate2", "src/packed/"),
    ("zlib_rs", "src/packed/sum.rs"),
    ("rusqlite", "src/database/"),
    ("parquet", "src/browse/parquet.rs"),
    ("bytes", "src/browse/parquet.rs"),
    ("ed25519_dalek", "src/format/vsf/"),
    ("memmap2", "src/store/"),
    ("clap", "src/cli/"),
    ("indicatif", "src/cli/"),
    ("bzip2", "src/packed/methods.rs"),
    ("ruzstd", "src/packed/methods.rs"),
    ("ruzstd", "src/format/vsf/wrapped.rs"),
    ("lzma_rust2", "src/packed/methods.rs"),
    ("deflate64", "src/packed/methods.rs"),
];

/// The modules that may have unsafe code.
const UNSAFE: [&str; 3] = ["src/database/file.rs", "src/mount/memory.rs", "src/store/quiet.rs"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All sources, as path below the root and code without comments.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![root().join("src")];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
                found.push((name, code(&path)));
            }
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let without_comment = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.to_string(),
    };
    text.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

/// Whether `code` names `path` as a whole word followed by `::`.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + path.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            && (after.starts_with("::") || after.starts_with(';') && code[..at].ends_with("use "))
    })
}

#[test]
fn a_room_uses_only_what_it_stands_on() {
    let rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| room.trim_end_matches(".rs")).collect();
    for (file, code) in sources() {
        let Some((room, may)) = ROOMS
            .iter()
            .find(|(room, _)| file == format!("src/{room}") || file.starts_with(&format!("src/{room}/")))
        else {
            assert!(matches!(file.as_str(), "src/lib.rs" | "src/main.rs"), "{file} is in no room");
            continue;
        };
        let own = room.trim_end_matches(".rs");
        for other in rooms.iter().filter(|other| **other != own && !may.contains(other)) {
            let through =
                names(&code, &format!("crate::{other}")) || code.contains(&format!("use crate::{{{other}"));
            assert!(!through, "{file} uses `{other}`, which is not below `{own}`");
        }
    }
}

#[test]
fn every_room_of_the_drawing_is_there_and_no_other() {
    let mut there: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "lib.rs" | "main.rs"))
        .collect();
    there.sort();
    let mut drawn: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    drawn.sort();
    assert_eq!(there, drawn);
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for room in drawn {
        assert!(map.contains(room), "the map in lib.rs does not show {room}");
    }
}

#[test]
fn a_crate_is_named_only_where_it_belongs() {
    for (file, code) in sources() {
        for (name, _) in CRATES {
            let mut places = CRATES.iter().filter(|(other, _)| other == name).map(|(_, place)| place);
            assert!(
                !names(&code, name) || places.any(|place| file.starts_with(place)),
                "{file} names `{name}`, which belongs elsewhere"
            );
        }
    }
}

#[test]
fn a_format_knows_nothing_of_the_kernel() {
    for (file, code) in sources() {
        if file.starts_with("src/format/") || file.starts_with("src/tree/content") {
            for word in ["Errno", "errno", "libc", "FileHandle"] {
                assert!(!code.contains(word), "{file} speaks of `{word}`");
            }
        }
    }
}

#[test]
fn the_mount_knows_no_particular_format() {
    for (file, code) in sources() {
        if file.starts_with("src/mount/") || file.starts_with("src/volume/") {
            for word in ["package::", "Package", "bundle::", "vsf::"] {
                assert!(!code.contains(word), "{file} speaks of `{word}`");
            }
        }
    }
}

#[test]
fn unsafe_code_is_only_where_a_c_interface_asks_for_it() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
    for (file, code) in sources() {
        if UNSAFE.contains(&file.as_str()) {
            continue;
        }
        assert!(!code.contains("unsafe_code"), "{file} allows unsafe code");
        for form in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"] {
            assert!(!code.contains(form), "{file} has unsafe code");
        }
    }
}

#[test]
fn no_file_has_outgrown_its_name() {
    for (file, _) in sources() {
        let lines = fs::read_to_string(root().join(&file)).unwrap().lines().count();
        assert!(lines <= 600, "{file} has {lines} lines: it is more than one thing by now");
    }
}

#[test]
fn no_error_is_mapped_by_a_catch_all() {
    for file in ["src/mount/errno.rs", "src/cli/exit.rs"] {
        let code = code(&root().join(file));
        assert!(code.contains("match error {") && !code.contains("_ =>"), "{file}");
    }
}

#[test]
fn the_check_itself_sees_what_it_looks_for() {
    assert!(names("use fuser::Session;", "fuser"));
    assert!(names("let x = crate::mount::run();", "crate::mount"));
    assert!(!names("let defuser::x", "fuser"));
    assert!(!names("crate::mounting::x", "crate::mount"));
}
