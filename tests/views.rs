//! The views of packages that the application has written: what is rendered from Parquet and from lines of JSON is
//! what the same package stores as CSV.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use vaso::finding::Severity;
use vaso::format::{self, Container, OpenOptions};
use vaso::store::{Location, Source};
use vaso::tree::{Kind, Spot};

fn container(path: &Path) -> Arc<dyn Container> {
    let source = Source::open(Arc::new(Location::find(path).unwrap())).unwrap();
    format::open(source, OpenOptions::default()).unwrap()
}

/// All files in the views of a package.
fn views(container: &Arc<dyn Container>) -> BTreeMap<String, Vec<u8>> {
    let view = Spot::top(container.clone()).child(b"browse").unwrap().expect("the views are there");
    let (mut files, mut pending) = (BTreeMap::new(), vec![view]);
    while let Some(spot) = pending.pop() {
        if spot.kind() == Kind::Directory {
            pending.extend(spot.enter().unwrap().children());
            continue;
        }
        let size = spot.size().unwrap();
        let content = spot.branch.open(spot.node).unwrap();
        assert_eq!(content.size(), size);
        let mut bytes = vec![0; size as usize];
        assert_eq!(content.read_at(0, &mut bytes).unwrap() as u64, size);
        let path = String::from_utf8(spot.path()).unwrap();
        files.insert(path.strip_prefix("browse/").unwrap().to_string(), bytes);
    }
    files
}

/// The numbers in a CSV, column by column as bits; a field that is empty is NaN.
fn numbers(csv: &[u8]) -> Vec<(String, Vec<u64>)> {
    let text = std::str::from_utf8(csv).unwrap();
    let mut lines = text.lines();
    let mut columns: Vec<(String, Vec<u64>)> =
        lines.next().unwrap().split(',').map(|name| (name.to_string(), Vec::new())).collect();
    for line in lines {
        for (column, field) in columns.iter_mut().zip(line.split(',')) {
            column.1.push(field.parse().unwrap_or(f64::NAN).to_bits());
        }
    }
    columns
}

/// The same of an NPY whose fields are all doubles.
fn array(npy: &[u8]) -> Vec<(String, Vec<u64>)> {
    assert!(npy.starts_with(b"\x93NUMPY\x01\x00"));
    let head = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let text = std::str::from_utf8(&npy[10..head]).unwrap();
    let names: Vec<&str> = text.split("('").skip(1).map(|part| part.split('\'').next().unwrap()).collect();
    let words: Vec<u64> = npy[head..].chunks(8).map(|w| u64::from_le_bytes(w.try_into().unwrap())).collect();
    let column = |i: usize| words.iter().skip(i).step_by(names.len()).copied().collect();
    names.iter().enumerate().map(|(i, name)| (name.to_string(), column(i))).collect()
}

#[test]
fn parquet_is_what_the_stored_csv_is() {
    let folder = common::data("packages.tar.xz");
    let mut seen = 0;
    for name in ["doc_layout.vaso", "export.pkg.vaso", "two_vessels.vaso", "many_200.vaso"] {
        let files = views(&container(&folder.path().join("pkg").join(name)));
        for (path, npy) in files.iter().filter(|(path, _)| path.ends_with("/channels.npy")) {
            let csv = &files[&path.replace(".npy", ".csv")];
            let (stored, read) = (numbers(csv), array(npy));
            for (column, values) in &read {
                let (_, expected) = stored.iter().find(|(name, _)| name == column).expect(column);
                assert_eq!(values, expected, "{name}: {path}: {column}");
            }
            assert!(read.len() > 3 && !read[0].1.is_empty(), "{path}");
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} tables");
}

#[test]
fn a_line_that_is_no_event_to_a_view_is_none_to_verify() {
    let folder = common::data("packages.tar.xz");
    let path = folder.path().join("pkg/doc_layout.vaso");
    let long = format!(r#"{{"label": "{}"}}"#, "x".repeat(1 << 20));
    for (line, is_told) in [("7", true), ("[]", true), (&long, true), (r#"{"id": 7}"#, false), ("", false)] {
        let mut old = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
        let changed = folder.path().join("changed.vaso");
        let mut new = zip::ZipWriter::new(std::fs::File::create(&changed).unwrap());
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for i in 0..old.len() {
            let (mut entry, mut bytes) = (old.by_index(i).unwrap(), Vec::new());
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            let name = entry.name().unwrap().to_string();
            if name == "events/events.jsonl" {
                bytes.extend_from_slice(format!("{line}\n").as_bytes());
            }
            new.start_file(name, stored).unwrap();
            std::io::Write::write_all(&mut new, &bytes).unwrap();
        }
        new.finish().unwrap();
        let container = container(&changed);
        container.verify(&mut |_, _| ()).unwrap();
        let codes: Vec<&str> = container.findings().list().iter().map(|f| f.code).collect();
        let told = codes.iter().filter(|code| code.starts_with("event-")).count();
        let known = codes.contains(&"event-line-invalid");
        assert_eq!((told, known), (usize::from(is_told), is_told), "{}", &line[..line.len().min(20)]);
    }
}

#[test]
fn a_package_is_shown_with_its_events_assets_and_documents() {
    let folder = common::data("packages.tar.xz");
    let container = container(&folder.path().join("pkg/doc_layout.vaso"));
    let files = views(&container);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "CACHEDIR.TAG",
        "D1/assets/p1.tiff",
        "D1/channels.csv",
        "D1/channels.npy",
        "D1/events.csv",
        "D1/metadata.json",
        "project.json",
    ];
    assert_eq!(names, expected);
    let stored = |path: &str| {
        let node = container.tree().find(path.as_bytes()).unwrap();
        let mut bytes = vec![0; container.tree().node(node).size() as usize];
        container.open(node).unwrap().read_at(0, &mut bytes).unwrap();
        bytes
    };
    let dataset = "datasets/00000000-0000-4410-8000-000000000028";
    let blob = "d5ba162a3a6f57b6321e632b90db1d9aaed40a2e4e87cc63eeb2a9ff3eeed52a";
    assert_eq!(files["D1/assets/p1.tiff"], stored(&format!("{dataset}/blobs/{blob}")));
    // The names of the columns have their units, as the dataset's document says; all else is as it is stored.
    let csv = String::from_utf8(stored(&format!("{dataset}/channels.csv"))).unwrap();
    let (line, rest) = csv.split_once('\n').unwrap();
    assert_eq!(line.trim_end(), "t_seconds,inner_diam,outer_diam,p_avg,p1,p2");
    let line = line.replace(
        "inner_diam,outer_diam,p_avg,p1,p2",
        "inner_diam_um,outer_diam_um,p_avg_mmhg,p1_mmhg,p2_mmhg",
    );
    assert_eq!(String::from_utf8(files["D1/channels.csv"].clone()).unwrap(), format!("{line}\n{rest}"));
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let metadata = json(&files["D1/metadata.json"]);
    assert_eq!(metadata["dataset"], json(&stored(&format!("{dataset}/dataset.json"))));
    assert_eq!(metadata["assets"][0]["file"], "assets/p1.tiff");
    assert_eq!(json(&files["project.json"])["manifest"], json(&stored("manifest.json")));
    let events = stored("events/events.jsonl");
    let mut expected = String::from("id,t_seconds,label,lane,style\n");
    for line in std::str::from_utf8(&events).unwrap().lines() {
        let event = json(line.as_bytes());
        let text = |key: &str| event[key].as_str().unwrap_or("").to_string();
        let style = match event["style"]["color"].as_str() {
            Some(color) => format!("\"{{\"\"color\"\": \"\"{color}\"\"}}\""),
            None => "{}".to_string(),
        };
        expected += &format!("{},{},{},{},{style}\n", text("id"), event["t"], text("label"), text("lane"));
    }
    assert_eq!(String::from_utf8(files["D1/events.csv"].clone()).unwrap(), expected);
}

#[test]
fn what_lies_beside_a_package_as_its_references_say_is_among_its_assets() {
    use sha2::Digest;
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let reference = |uri: &str, hint: &str, role: &str, bytes: &[u8]| {
        let digest: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        serde_json::json!({"sha256": digest, "size": bytes.len(), "uri": uri, "rel_hint": hint, "role": role})
    };
    let references = serde_json::json!([
        reference("C:\\data\\run\\raw 1.tif", "raw/raw 1.tif", "stack", b"a stack"),
        reference("/data/raw2.tif", "", "second", b"another stack"),
        reference("raw3.tif", "raw3.tif", "other", b"what was recorded"),
        reference("../outside.tif", "../outside.tif", "out", b"outside"),
    ]);
    let mut pack = common::Pack::new();
    pack.stored("datasets/d/dataset.json", br#"{"id": "d", "name": "vessel"}"#);
    pack.stored("datasets/d/refs.json", references.to_string().as_bytes());
    pack.write(&path);
    std::fs::create_dir(folder.path().join("raw")).unwrap();
    for (name, bytes) in [
        ("raw/raw 1.tif", &b"a stack"[..]),
        ("raw2.tif", b"another stack"),
        // As long, and not the same.
        ("raw3.tif", b"what is there now"),
        ("../outside.tif", b"outside"),
    ] {
        if !name.starts_with("..") {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
    }
    let container = container(&path);
    let view = Spot::top(container.clone()).child(b"browse").unwrap().unwrap();
    let vessel = view.child(b"vessel").unwrap().unwrap();
    let assets = vessel.child(b"assets").unwrap().unwrap();
    let read = |name: &str| {
        let spot = assets.child(name.as_bytes()).unwrap().unwrap();
        let mut bytes = vec![0; spot.size().unwrap() as usize];
        spot.branch.open(spot.node).unwrap().read_at(0, &mut bytes).map(|_| bytes)
    };
    assert_eq!(read("raw 1.tif").unwrap(), b"a stack");
    assert_eq!(read("second").unwrap(), b"another stack");
    assert!(matches!(read("raw3.tif"), Err(vaso::error::Error::Damaged { .. })));
    assert!(assets.child(b"outside.tif").unwrap().is_none());
    let found: Vec<_> = container.findings().list().into_iter().map(|f| (f.code, f.message)).collect();
    assert!(
        matches!(&found[..], [("reference-not-found", what)] if what.contains("outside.tif")),
        "{found:?}"
    );
    let metadata = vessel.child(b"metadata.json").unwrap().unwrap();
    let mut bytes = vec![0; metadata.size().unwrap() as usize];
    metadata.branch.open(metadata.node).unwrap().read_at(0, &mut bytes).unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let files: Vec<_> =
        metadata["assets"].as_array().unwrap().iter().map(|one| one["file"].as_str()).collect();
    assert_eq!(files, [Some("assets/raw 1.tif"), Some("assets/second"), Some("assets/raw3.tif"), None]);
}

/// A package with a dataset of this id, and these events.
fn with_events(id: &str, events: &[&str]) -> (tempfile::TempDir, Arc<dyn Container>) {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let dataset = format!(r#"{{"id": {id}, "name": "vessel"}}"#);
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, text) in [
        ("manifest.json", common::MANIFEST),
        ("datasets/d/dataset.json", &dataset),
        ("events/events.jsonl", &events.join("\n")),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    (folder, container(&path))
}

#[test]
fn events_of_no_dataset_are_shown_apart_and_every_key_of_an_event_is() {
    let events = [
        r#"{"id": "e1", "dataset_id": "d1", "t": 1, "label": "a", "extra": {"a": 1}}"#,
        r#"{"id": "e2", "dataset_id": "nope", "t": 1, "label": "orphan"}"#,
    ];
    let (_folder, container) = with_events(r#""d1""#, &events);
    let files = views(&container);
    let text = |path: &str| String::from_utf8(files[path].clone()).unwrap();
    let expected = "id,t_seconds,label,lane,style,extra\ne1,1,a,,,\"{\"\"a\"\": 1}\"\n";
    assert_eq!(text("vessel/events.csv"), expected);
    assert_eq!(text("orphans/events.csv"), "dataset_id,id,t_seconds,label,lane,style\nnope,e2,1,orphan,,\n");
    container.verify(&mut |_, _| ()).unwrap();
    let found = container.findings().list();
    let told: Vec<_> = found.iter().filter(|f| f.code == "events-without-dataset").collect();
    assert!(told.len() == 1 && told[0].message.starts_with("1 of its events"), "{found:?}");
    assert_eq!(told[0].severity, Severity::Warning);
}

#[test]
fn events_find_a_dataset_that_has_a_number_and_those_of_the_whole_project_are_no_warning() {
    let events = [
        r#"{"id": "e1", "dataset_id": 5, "t": 1, "label": "a"}"#,
        r#"{"id": "e2", "dataset_id": null, "t": 2, "label": "all"}"#,
        r#"{"id": "e3", "t": 3, "label": "all"}"#,
    ];
    let (_folder, container) = with_events("5", &events);
    let files = views(&container);
    let text = |path: &str| String::from_utf8(files[path].clone()).unwrap();
    assert_eq!(text("vessel/events.csv"), "id,t_seconds,label,lane,style\ne1,1,a,,\n");
    assert_eq!(text("orphans/events.csv").lines().count(), 3);
    let found = container.findings().list();
    let told: Vec<_> = found.iter().filter(|f| f.code == "events-without-dataset").collect();
    assert!(told.len() == 1 && told[0].severity == Severity::Notice, "{found:?}");
}
