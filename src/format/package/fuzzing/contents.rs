//! What is in a package: its manifest, and the bytes of its entries.

use serde_json::Value;

use super::scratch::{self, STILL};
use super::trees;
use crate::browse;
use crate::error::Error;
use crate::finding::Severity;
use crate::format::package::document::{Document, Text};
use crate::format::package::kind::{self, SCHEMA, Signs};
use crate::format::package::record::LOCAL_LEN;
use crate::format::package::{Package, describe, verify};
use crate::format::{Container, OpenOptions};
use crate::tree::{Branch, Builder, Content, Kind, Leaf, NodeId, SafePath, Time};

/// What decides the kind, and something that does not.
const SIGNS: [&str; 6] =
    ["bundle/HEAD.json", "manifest.json", "state.json", "metadata.json", "project.vaso", "other/file"];
/// The longest text that is kept of a document.
const MAX_TEXT: usize = 4096;
/// What is asked for at once.
const PIECE: usize = 128 * 1024;
/// Entries that say they are longer are read only in part.
const WHOLE: u64 = 2 << 20;
/// All entries of a package together, as far as they are read whole.
const ALL: u64 = 8 << 20;

pub fn manifest(data: &[u8]) {
    let Some((how, text)) = data.split_first() else { return };
    let document = serde_json::from_slice::<Document>(text).ok();
    let value = serde_json::from_slice::<Value>(text).ok();
    if let Some(value @ Value::Object(_)) = &value {
        // Written anew no key stands twice, so that nothing is wrong with it.
        let again = serde_json::from_slice::<Document>(value.to_string().as_bytes());
        let again = again.unwrap_or_else(|e| panic!("a JSON object is refused: {e}"));
        is_what_it_says(&again, value);
        document.iter().for_each(|document| is_what_it_says(document, value));
    }
    let references = std::str::from_utf8(text).ok().and_then(browse::reference_targets);
    if let Some(Value::Array(list)) = &value {
        let references = references.expect("a list in JSON is a list");
        assert_eq!(references.len(), list.len());
        for (target, item) in references.iter().zip(list) {
            let digest = item["uri"].as_str().and_then(|uri| uri.strip_prefix("vaso://blobs/"));
            assert!(digest.is_none_or(|digest| target.as_deref() == Some(digest)), "{item}");
        }
    }
    kinds(*how, document.as_ref());
}

/// What is kept of a value that should be a text.
fn kept(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text.len() <= MAX_TEXT)
}

fn is_what_it_says(document: &Document, value: &Value) {
    let Document { schema, dollar_schema, format_version, version, format, .. } = document;
    let Document { package_id, id, title, name, modality, summary, .. } = document;
    let fields: [(&Text, &str); 10] = [
        (schema, "schema"),
        (dollar_schema, "$schema"),
        (format_version, "format_version"),
        (version, "version"),
        (format, "format"),
        (package_id, "package_id"),
        (id, "id"),
        (title, "title"),
        (name, "name"),
        (modality, "modality"),
    ];
    for (text, key) in fields {
        assert_eq!(text.get(), kept(&value[key]), "{key}");
    }
    assert_eq!(summary.title.get(), kept(&value["summary"]["title"]), "summary");
}

fn kinds(how: u8, manifest: Option<&Document>) {
    let mut builder = Builder::new(0);
    for (i, path) in SIGNS.iter().enumerate().filter(|(i, _)| how >> i & 1 != 0) {
        let leaf = Leaf {
            size: 1,
            time: Time::default(),
            mode: 0o444,
            kind: if how & 64 != 0 { Kind::Link } else { Kind::File },
            entry: i as u32,
            identity: 0,
        };
        builder.leaf(SafePath::check(path.as_bytes()).expect("a plain name"), leaf).expect("a few names");
    }
    let (tree, _) = builder.finish();
    let [whole, salvaged] = [false, true].map(|salvaged| Signs { tree: &tree, manifest, salvaged }.kinds());
    let order: Vec<&str> = whole.iter().map(|kind| kind.word()).collect();
    let all = ["container", "package", "old-zip-b", "old-zip-a", "vasods", "share-zip"];
    let place = |word: &&str| all.iter().position(|known| known == word).expect("a kind that is known");
    assert!(order.iter().map(place).is_sorted_by(|a, b| a < b), "{order:?}");
    assert!(salvaged.iter().all(|kind| *kind == kind::Kind::Package && whole.contains(kind)));
    let names_schema = manifest
        .is_some_and(|m| [&m.schema, &m.dollar_schema].iter().any(|schema| schema.get() == Some(SCHEMA)));
    assert_eq!(names_schema, !salvaged.is_empty());
    let files = how & 64 == 0;
    assert_eq!(order.contains(&"container"), files && how & 1 != 0);
    assert_eq!(order.contains(&"old-zip-a"), files && how & 8 != 0);
}

pub fn package(data: &[u8]) {
    let source = scratch::source(data);
    // Any bit that is a function of the bytes will do.
    let hash = crc32fast::hash(data);
    let options = OpenOptions { check: hash & 1 != 0, ..OpenOptions::default() };
    let mut package = match Package::read(source, options) {
        Ok(package) => package,
        Err(Error::NotAProject { .. }) => return,
        Err(other) => panic!("a file that nobody changes: {other}"),
    };
    // Whatever it is, its entries are read.
    if let Err(error) = package.recognise() {
        assert!(matches!(error, Error::NotAProject { .. }), "{error}");
    }
    trees::check(&package.tree);
    places(&package);
    let ids: Vec<NodeId> = package.tree.ids().collect();
    let (mut left, mut all) = (ALL, true);
    for id in ids.iter().copied() {
        let list = package.attributes(id);
        assert!(list.is_sorted_by_key(|(name, _)| *name));
        if package.tree.node(id).derived().is_some() {
            assert!(matches!(Branch::open(&package, id), Ok(Content::Bytes(_))));
            continue;
        }
        if package.entry(id).is_err() {
            assert_eq!(package.tree.node(id).kind, Kind::Directory);
            assert!(matches!(Branch::open(&package, id), Err(Error::IsADirectory(_))));
            continue;
        }
        let size = package.tree.node(id).size();
        if size <= WHOLE && size <= left {
            left -= size;
            entry_whole(&package, id, hash);
        } else {
            all = false;
            entry_in_part(&package, id);
        }
    }
    assert!(package.continues(&package));
    if all {
        let description = describe::describe(&package);
        assert_eq!(
            description.counts["files"] + description.counts["links"] + description.counts["directories"],
            ids.iter().filter(|id| package.tree.is_stored(**id)).count() as u64
        );
    }
    // This starts threads, and waits for them.
    if all && hash & 0xf0 == 0 {
        verified(&package);
    }
}

/// No two entries that can be located share a byte, and none has a byte behind the limit.
fn places(package: &Package) {
    let mut places = Vec::new();
    for id in package.tree.ids().filter(|id| package.tree.node(*id).kind != Kind::Directory) {
        if let (Ok(range), Ok((_, entry))) = (package.locate(id), package.entry(id)) {
            assert!(entry.header + LOCAL_LEN as u64 <= range.start && range.start <= range.end);
            places.push((entry.header, range.end));
        }
    }
    places.sort_unstable();
    assert!(places.iter().all(|(_, end)| *end <= package.limit));
    assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two entries share bytes");
}

/// One entry decoded whole, and read in pieces: the same bytes; and what is not right is not complete either.
fn entry_whole(package: &Package, id: NodeId, hash: u32) {
    let size = package.tree.node(id).size();
    let whole = package.read_whole(id);
    if let Ok(bytes) = &whole {
        assert_eq!(bytes.len() as u64, size, "a size that was not the one it was listed with");
    }
    for forwards in [hash & 2 != 0, hash & 2 == 0] {
        let content = match Branch::open(package, id) {
            Ok(content) => content,
            Err(error) => {
                let refused = matches!(error, Error::Damaged { .. } | Error::Unsupported { .. });
                assert!(refused && whole.is_err(), "an entry that can be decoded does not open: {error}");
                return;
            }
        };
        assert_eq!(content.size(), size);
        let read = read_all(&content, forwards);
        match (&whole, read) {
            (Ok(whole), Ok(read)) => assert!(whole[..] == read[..], "in pieces it is something else"),
            (Ok(_), Err(error)) => panic!("an entry that can be decoded cannot be read: {error}"),
            // Stored bytes are given out as they lie there, unless they are to be checked.
            (Err(_), Ok(_)) => {
                assert!(
                    matches!(content, Content::Range(..)) && !package.options.check,
                    "damage goes unnoticed"
                );
            }
            (Err(_), Err(error)) => {
                assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }))
            }
        }
        if let Ok(whole) = &whole {
            some_places(&content, whole, hash);
        }
        if !matches!(content, Content::Coded(_)) {
            break;
        }
        package.forget_decoded();
    }
}

/// Reads everything in pieces, and what was read last once more: once all of it was decoded, the verdict stands.
fn read_all(content: &Content, forwards: bool) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; content.size() as usize];
    let mut failed = None;
    let mut pieces: Vec<(usize, &mut [u8])> = bytes.chunks_mut(PIECE).enumerate().collect();
    if !forwards {
        pieces.reverse();
    }
    for (number, piece) in pieces {
        match content.read_at((number * PIECE) as u64, piece) {
            Ok(n) => assert_eq!(n, piece.len()),
            Err(error) => failed = Some(error),
        }
    }
    if let Some(last) = content.size().checked_sub(1) {
        let _ = content.is_ready(last, 1);
        failed = content.read_at(last, &mut [0]).err().or(failed);
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(bytes),
    }
}

/// Reads that begin and end anywhere.
fn some_places(content: &Content, whole: &[u8], hash: u32) {
    for (offset, len) in
        [(whole.len() / 3, 1000), (hash as usize % (whole.len() + 1), PIECE), (whole.len(), 5)]
    {
        let mut buf = vec![0; len];
        let n =
            content.read_at(offset as u64, &mut buf).unwrap_or_else(|e| panic!("read before, not now: {e}"));
        let expected = &whole[offset..whole.len().min(offset + len)];
        assert!(buf[..n] == *expected, "another place is something else");
    }
    assert_eq!(content.read_at(u64::MAX, &mut [0; 8]).expect("there is nothing to read"), 0);
}

/// An entry that says it is long: its first piece, and where that costs little, its end.
fn entry_in_part(package: &Package, id: NodeId) {
    let Ok(content) = Branch::open(package, id) else { return };
    let size = content.size();
    let mut places = vec![0];
    // Deflate packs a thousandfold at most, so that the end of a short stream is near.
    if package.entry(id).is_ok_and(|(_, entry)| entry.packed < 2048) {
        places.extend([size - 1, size / 2]);
    }
    for place in places {
        match content.read_at(place, &mut vec![0; PIECE]) {
            Ok(n) => assert_eq!(n as u64, (size - place).min(PIECE as u64)),
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }), "{error}")
            }
        }
    }
}

/// Checking everything finds what reading everything finds.
fn verified(package: &Package) {
    verify::verify(package, &mut |_, _| ()).expect(STILL);
    let found = package.findings.list();
    let damaged = |id: &NodeId| matches!(package.read_whole(*id), Err(Error::Damaged { .. }));
    for path in package.tree.ids().filter(damaged).map(|id| package.tree.shown(id)) {
        assert!(
            found.iter().any(|f| f.severity == Severity::Error && f.path == path),
            "the damage of {path:?} is not told"
        );
    }
}
