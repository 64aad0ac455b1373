//! What the verbs say of projects in which something is amiss, and to whom what they write belongs.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use common::{As, run, vaso};
use rusqlite::Connection;
use scene::{Scene, TRACE};
use serde_json::Value;

const BUNDLE: &str = "orphan_staging.vasopack";

fn said(scene: &Scene, args: &[&str]) -> Output {
    run(vaso(As::Me).args(args).current_dir(scene.path("")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The severities and codes of what `verify` finds at a path.
fn found_at(scene: &Scene, path: &str) -> Vec<(String, String)> {
    let (_, told) = scene.told("verify", BUNDLE);
    let at = |f: &&Value| f["path"] == path;
    let word = |f: &Value, key: &str| f[key].as_str().unwrap().to_string();
    let found = told["findings"].as_array().unwrap().iter().filter(at);
    found.map(|f| (word(f, "severity"), word(f, "code"))).collect()
}

fn notice(code: &str) -> Vec<(String, String)> {
    vec![("notice".to_string(), code.to_string())]
}

fn warning(code: &str) -> Vec<(String, String)> {
    vec![("warning".to_string(), code.to_string())]
}

#[test]
fn what_keeps_the_application_from_opening_a_bundle_is_told() {
    let scene = Scene::new();
    let (head, meta) = (scene.path(BUNDLE).join("HEAD.json"), scene.path(BUNDLE).join("project.meta.json"));
    assert_eq!(found_at(&scene, "HEAD.json"), []);
    assert_eq!(found_at(&scene, "project.meta.json"), []);
    fs::rename(&head, scene.path("head")).unwrap();
    assert_eq!(found_at(&scene, "HEAD.json"), notice("head-missing"));
    symlink(scene.path("head"), &head).unwrap();
    assert_eq!(found_at(&scene, "HEAD.json"), warning("head-unreadable"));
    let because = scene.told("info", BUNDLE).1["chosen_because"].as_str().unwrap().to_string();
    assert!(because.contains("it is a link") && !because.contains("missing"), "{because}");
    fs::remove_file(&head).unwrap();
    fs::create_dir(&head).unwrap();
    assert_eq!(found_at(&scene, "HEAD.json"), warning("head-unreadable"));
    let because = scene.told("info", BUNDLE).1["chosen_because"].as_str().unwrap().to_string();
    assert!(because.contains("it is a folder"), "{because}");
    fs::remove_dir(&head).unwrap();
    fs::rename(scene.path("head"), &head).unwrap();

    for (bytes, found) in [
        (&br#"{"format": "vaso-v9", "project_uuid": "u"}"#[..], warning("meta-foreign")),
        (br#"{"format": 7}"#, warning("meta-foreign")),
        (br#"{"format": "bundle-v1"}"#, vec![]),
        (br#"{"project_uuid": "u"}"#, vec![]),
        (b"{\"format\": \"vas", warning("meta-unreadable")),
        (&[0; 200], warning("meta-unreadable")),
    ] {
        fs::write(&meta, bytes).unwrap();
        assert_eq!(found_at(&scene, "project.meta.json"), found, "{bytes:?}");
    }
    fs::remove_file(&meta).unwrap();
    assert_eq!(found_at(&scene, "project.meta.json"), notice("meta-missing"));
    fs::create_dir(&meta).unwrap();
    assert_eq!(found_at(&scene, "project.meta.json"), warning("meta-unreadable"));
}

#[test]
fn a_journal_beside_a_snapshot_holds_what_was_before() {
    let scene = Scene::new();
    for (name, words) in [("journal", "what is in this file is older"), ("wal", "what it holds is not shown")]
    {
        fs::write(scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite-{name}")), b"something").unwrap();
        let (_, told) = scene.told("verify", BUNDLE);
        let is_of = |f: &&Value| f["path"] == format!("snapshots/000002.sqlite-{name}");
        let message = told["findings"].as_array().unwrap().iter().find(is_of).unwrap()["message"].to_string();
        assert!(message.contains(words), "{message}");
    }
    // The head of a journal, with no record behind it.
    let head: Vec<u8> = [0xd9d5_05f9_u32, 0x20a1_63d7, 0, 0, 9, 512, 4096]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .chain(std::iter::repeat_n(0, 512))
        .collect();
    fs::remove_dir_all(scene.path(&format!("{BUNDLE}/.staging"))).unwrap();
    fs::write(scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite-journal")), head).unwrap();
    let output = said(&scene, &["recover", BUNDLE]);
    assert_eq!(output.status.code(), Some(1));
    let output = text(&output.stdout);
    assert!(output.contains("what was before is not put back from") && !output.contains('✓'), "{output}");
}

#[test]
fn a_bundle_without_a_valid_snapshot_is_no_success_of_info_and_has_no_history_yet() {
    let scene = Scene::new();
    for number in 1..=2 {
        fs::write(scene.path(&format!("{BUNDLE}/snapshots/{number:06}.sqlite")), b"garbage").unwrap();
    }
    assert_eq!(scene.told("info", BUNDLE).0, Some(1));
    fs::remove_dir_all(scene.path(&format!("{BUNDLE}/snapshots"))).unwrap();
    assert_eq!(scene.told("info", BUNDLE).0, Some(1));
    for verb in ["log", "diff"] {
        let output = said(&scene, &[verb, BUNDLE]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stderr);
        assert!(told.contains("no history yet") && !told.contains("keeps no history"), "{told}");
    }
}

#[test]
fn a_name_of_many_zeros_is_a_snapshot() {
    let scene = Scene::new();
    let snapshots = scene.path(&format!("{BUNDLE}/snapshots"));
    fs::copy(snapshots.join("000002.sqlite"), snapshots.join("00000000000000000009.sqlite")).unwrap();
    let (_, told) = scene.told("info", BUNDLE);
    assert_eq!(
        (&told["current"], &told["counts"]["snapshots"]),
        (&"00000000000000000009.sqlite".into(), &3.into())
    );
}

#[test]
fn a_finding_is_told_once_however_often_a_project_is_opened() {
    let scene = Scene::new();
    // Damaged inside: only the check at the second look finds it, and the project is opened anew.
    for args in [
        &["log", "corrupt_current.vasopack"][..],
        &["diff", "corrupt_current.vasopack", "1", "2"],
        &["prune", "corrupt_current.vasopack", "--keep", "50"],
        &["cat", "corrupt_current.vasopack", "browse/project.json"],
    ] {
        let output = said(&scene, args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines: Vec<String> = text(&output.stderr).lines().map(String::from).collect();
        let about = lines.iter().filter(|line| line.contains("000003.sqlite")).count();
        assert_eq!(about, 1, "{args:?}: {lines:?}");
    }
    let cut = cut_container(&scene, 40_960);
    let output = said(&scene, &["recover", &cut]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stderr);
    assert_eq!(told.matches("(directory-lost)").count(), 1, "{told}");
}

/// A ZIP file with these entries.
fn zipped(scene: &Scene, name: &str, entries: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    fs::write(scene.path(name), zip.finish().unwrap().into_inner()).unwrap();
}

/// A container that is cut off so many bytes into its last snapshot, and has a whole one before that.
fn cut_container(scene: &Scene, into: usize) -> String {
    let names = ["snapshots/000001.sqlite", "snapshots/000002.sqlite"];
    let files = names.map(|name| fs::read(scene.path(&format!("{BUNDLE}/{name}"))).unwrap());
    let names = names.map(|name| format!("bundle/{name}"));
    let entries: Vec<_> = names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
    zipped(scene, "cut.vaso", &entries);
    let bytes = fs::read(scene.path("cut.vaso")).unwrap();
    let second = &files[1];
    let at = bytes.windows(second.len()).position(|part| part == second).unwrap();
    fs::write(scene.path("cut.vaso"), &bytes[..at + into]).unwrap();
    "cut.vaso".into()
}

#[test]
fn a_part_of_a_database_is_not_called_lost() {
    let scene = Scene::new();
    let path = scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite"));
    let database = fs::read(path).unwrap();
    for (name, before) in
        [("bundle/snapshots/000002.sqlite", "bundle/HEAD.json"), ("project.vaso", "readme.txt")]
    {
        for before in [None, Some(before)] {
            let before = before.map(|name| (name, &b"{}"[..]));
            let entries: Vec<_> = before.into_iter().chain([(name, &database[..])]).collect();
            zipped(&scene, "torn.vaso", &entries);
            let bytes = fs::read(scene.path("torn.vaso")).unwrap();
            fs::write(scene.path("torn.vaso"), &bytes[..database.len() * 3 / 4]).unwrap();
            for verb in ["info", "verify", "ls"] {
                let output = said(&scene, &[verb, "torn.vaso"]);
                assert_eq!(output.status.code(), Some(2), "{output:?}");
                let told = text(&output.stderr);
                assert!(told.contains("`vaso recover` saves") && !told.contains("from a backup"), "{told}");
            }
            assert_eq!(said(&scene, &["recover", "torn.vaso"]).status.code(), Some(0));
            fs::remove_file(scene.path("torn.recovered.vaso")).unwrap();
        }
    }
    // Nothing of the kind is in this one.
    fs::write(scene.path("torn.vaso"), b"PK\x03\x04 and no more").unwrap();
    let told = text(&said(&scene, &["info", "torn.vaso"]).stderr);
    assert!(!told.contains("vaso recover"), "{told}");
}

/// An entry without a directory. Where it is packed, deflate leaves the bytes as they are, in blocks.
fn entry(name: &str, is_packed: bool, bytes: &[u8]) -> Vec<u8> {
    let block = |part: &[u8]| {
        let len = part.len() as u16;
        [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), part].concat()
    };
    let packed = match is_packed {
        true => bytes.chunks(60_000).flat_map(block).chain([1, 0, 0, 0xff, 0xff]).collect(),
        false => bytes.to_vec(),
    };
    let mut entry = b"PK\x03\x04\x14\0\0\0".to_vec();
    entry.extend([if is_packed { 8 } else { 0 }, 0, 0, 0, 0x21, 0]);
    for number in [crc32fast::hash(bytes), packed.len() as u32, bytes.len() as u32, name.len() as u32] {
        entry.extend(number.to_le_bytes());
    }
    [&entry, name.as_bytes(), &packed].concat()
}

#[test]
fn entries_of_a_package_within_a_package_that_is_cut_off_are_not_the_projects() {
    let manifest = |who: &str| {
        format!(
            r#"{{"schema": "https://vaso.dev/schemas/vaso-package-v1.json", "format_version": "1.0.0", "by": "{who}"}}"#
        )
    };
    let ours = manifest("outer");
    let scene = Scene::new();
    let file = scene.path("cut.vaso");
    let shown = |name: &str| {
        let output = said(&scene, &["cat", "cut.vaso", name]);
        output.status.success().then(|| text(&output.stdout))
    };
    let big = vec![b'x'; 50_000];
    let theirs = manifest("inner");
    let inner = [("manifest.json", theirs.as_bytes()), ("only-inside.txt", b"inner"), ("big.bin", &big)];
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in inner {
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let inner = zip.finish().unwrap().into_inner();
    for is_packed in [false, true] {
        let outer = [("manifest.json", ours.as_bytes()), ("theirs.vaso", &inner), ("last.txt", b"last")];
        let outer = outer.map(|(name, bytes)| entry(name, is_packed, bytes)).concat();
        let begin = outer.windows(11).position(|b| b == b"theirs.vaso").unwrap();
        // Cut off within it; cut off in the entry behind it; and cut off behind all, with a bit of it wrong.
        let mut flipped = outer.clone();
        flipped[begin + 40_000] ^= 1;
        let len = outer.len();
        for (bytes, last) in [
            (outer[..begin + 30_000].to_vec(), None),
            (outer[..len - 3].to_vec(), None),
            (flipped, Some("last".into())),
        ] {
            let whole = bytes.len() == len - 3;
            fs::write(&file, bytes).unwrap();
            assert_eq!(shown("manifest.json").as_ref(), Some(&ours), "{is_packed}");
            assert_eq!([shown("only-inside.txt"), shown("big.bin"), shown("last.txt")], [None, None, last]);
            let theirs = said(&scene, &["cat", "cut.vaso", "theirs.vaso"]);
            assert_eq!(theirs.stdout == inner, whole);
        }
        // A package behind another that is cut off is none of its entries.
        let behind = [&outer[..begin + 30_000], &inner].concat();
        fs::write(&file, behind).unwrap();
        assert_eq!(shown("only-inside.txt"), Some("inner".into()), "{is_packed}");
        // One size that is wrong hides nothing that follows.
        let mut wrong = outer.clone();
        wrong[begin - 30 + 18 + 3] ^= 1;
        fs::write(&file, wrong).unwrap();
        assert_eq!(shown("last.txt"), Some("last".into()), "{is_packed}");
    }
}

#[test]
fn how_each_candidate_was_judged_is_logged_where_it_is_asked_for() {
    let scene = Scene::new();
    let quiet = text(&said(&scene, &["recover", "truncated.vaso", "--list"]).stderr);
    assert!(!quiet.contains("candidate"), "{quiet}");
    for args in
        [["-v", "recover", "truncated.vaso", "--list"], ["recover", "truncated.vaso", "--list", "--verbose"]]
    {
        let told = text(&said(&scene, &args).stderr);
        let line = told.lines().find(|line| line.contains("candidate 1 (current) truncated.vaso"));
        let line = line.unwrap_or_else(|| panic!("{told}"));
        let list = scene.json(0, &["truncated.vaso", "--list"]);
        let report = &list["candidates"][0]["salvage"];
        for (kind, count) in report["pages"].as_object().unwrap() {
            assert!(line.contains(&format!("{count} {kind}")), "{kind}: {line}");
        }
        assert!(line.contains("damaged: ") && line.contains("rows recovered"), "{line}");
    }
    let told = text(&said(&scene, &["-v", "recover", BUNDLE, "--list"]).stderr);
    assert_eq!(told.matches("; sound").count(), 3, "{told}");
}

#[test]
fn what_an_autosave_or_a_session_has_to_fear_is_told_as_it_is() {
    let scene = Scene::new();
    let sql = "update event set label = 'mine' where id = (select min(id) from event)";
    let edited = |from: &str, to: &str| {
        fs::create_dir_all(scene.path(to).parent().unwrap()).unwrap();
        fs::copy(scene.path(from), scene.path(to)).unwrap();
        let db = Connection::open(scene.path(to)).unwrap();
        db.execute_batch(&format!("PRAGMA journal_mode = DELETE; {sql}")).unwrap();
        db.close().unwrap();
    };
    let two = format!("{BUNDLE}/snapshots/000002.sqlite");
    edited("v7.db", "v7.db.autosave");
    edited("v7.db", ".v7.db.staging/one.sqlite");
    edited(&two, "orphan_staging.autosave.sqlite");
    let remedies = |project: &str, code: &str| -> Vec<String> {
        let (_, told) = scene.told("verify", project);
        let found = told["findings"].as_array().unwrap().iter().filter(|f| f["code"] == code);
        found.map(|f| f["remedy"].as_str().unwrap().to_string()).collect()
    };
    for (project, code, is, is_not) in [
        ("v7.db", "autosave", "as soon as it opens", "an hour"),
        (BUNDLE, "autosave", "as soon as it opens", "an hour"),
        ("v7.db", "orphaned-staging", "nothing deletes it", "the application"),
        (BUNDLE, "orphaned-staging", "an hour later", "as soon as"),
    ] {
        let told = remedies(project, code);
        assert_eq!(told.len(), 1, "{project} {code}");
        assert!(told[0].contains(is) && !told[0].contains(is_not), "{project} {code}: {told:?}");
    }
}

/// Entries of an index that the quick check does not look at, and the thorough one does.
fn spoil_index(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA writable_schema = ON;
         CREATE INDEX spoilt ON event(label);
         UPDATE sqlite_schema SET sql = 'CREATE INDEX spoilt ON event(label DESC)' WHERE name = 'spoilt';",
    )
    .unwrap();
    db.close().unwrap();
    let db = Connection::open(path).unwrap();
    let check = |pragma: &str| -> String { db.query_row(pragma, [], |row| row.get(0)).unwrap() };
    assert_eq!(check("PRAGMA quick_check"), "ok");
    assert_ne!(check("PRAGMA integrity_check"), "ok");
}

#[test]
fn both_ways_to_take_a_snapshot_out_agree_on_what_is_valid_and_keep_it_private() {
    let scene = Scene::new();
    let snapshot = scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite"));
    spoil_index(&snapshot);
    let mode = |name: &str| fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (i, (folder, stored)) in [(0o755, 0o600), (0o700, 0o644), (0o755, 0o644)].into_iter().enumerate() {
        set(&snapshot, stored);
        set(&scene.path(BUNDLE), folder);
        let (one, other) = (format!("one{i}.sqlite"), format!("other{i}.sqlite"));
        let output = said(&scene, &["extract", BUNDLE, "2", "-o", &one]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        let output = said(&scene, &["recover", BUNDLE, "--extract", "2", "--output", &other]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        let private = if folder == 0o700 || stored == 0o600 { 0o600 } else { 0o644 };
        assert_eq!((mode(&one), mode(&other)), (private, private), "{folder:o} {stored:o}");
        assert!(fs::read(scene.path(&one)).unwrap() == fs::read(&snapshot).unwrap());
    }
    // What lies in a private file stays private.
    let cut = cut_container(&scene, 40_960);
    set(&scene.path(&cut), 0o600);
    let output = said(&scene, &["recover", &cut]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(mode("cut.recovered.vaso"), 0o600);
    assert!(scene.count("cut.recovered.vaso", TRACE) > 0);
}

#[test]
fn a_link_that_cannot_be_read_is_not_said_to_lead_outside() {
    let scene = Scene::new();
    let long = "x/".repeat(2100);
    let mut pack = common::Pack::new();
    pack.stored("file", b"text").link("fine", "file").link("outside", "../elsewhere").link("long", &long);
    pack.link("locked", "file").link("wrong", "sub/file");
    let mut bytes = pack.bytes();
    let places = |bytes: &[u8], what: &[u8]| -> Vec<usize> {
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(what)).collect()
    };
    let [local, central] = places(&bytes, b"locked")[..] else {
        panic!("a local header and a central record")
    };
    bytes[local - 30 + 6] |= 1;
    bytes[central - 46 + 8] |= 1;
    let target = places(&bytes, b"sub/file")[0];
    bytes[target] ^= 1;
    fs::write(scene.path("Links.vaso"), bytes).unwrap();
    let (code, told) = scene.told("verify", "Links.vaso");
    assert_eq!(code, Some(1));
    let about = |path: &str| -> Vec<(&str, &str)> {
        let of = |f: &&Value| f["path"] == path;
        let word = |f: &Value| f["code"].as_str().unwrap().starts_with("link-");
        let found = told["findings"].as_array().unwrap().iter().filter(of).filter(|f| word(f));
        found.map(|f| (f["code"].as_str().unwrap(), f["message"].as_str().unwrap())).collect()
    };
    assert_eq!(about("fine"), []);
    assert!(matches!(about("outside")[..], [("link-leaves-package", _)]), "{:?}", about("outside"));
    for (path, why) in [("locked", "it is encrypted"), ("wrong", "checksum"), ("long", "longer than a path")]
    {
        let about = about(path);
        assert!(matches!(about[..], [("link-unreadable", said)] if said.contains(why)), "{path}: {about:?}");
    }
}

#[test]
fn what_is_shown_otherwise_than_it_is_stored_is_told_by_verify_as_by_a_mount() {
    let scene = Scene::new();
    let snapshot = scene.path(&format!("{BUNDLE}/snapshots/000002.sqlite"));
    let notices = || -> Vec<(String, String)> {
        let (_, told) = scene.told("verify", BUNDLE);
        let word = |f: &Value, key: &str| f[key].as_str().unwrap().to_string();
        let found = told["findings"].as_array().unwrap().iter();
        let found = found.filter(|f| f["path"].as_str().unwrap().starts_with("browse/"));
        found.map(|f| (word(f, "severity"), word(f, "code"))).collect()
    };
    assert_eq!(notices(), []);
    let db = Connection::open(&snapshot).unwrap();
    db.execute_batch(
        "UPDATE event SET label = CAST(x'61ff62' AS TEXT) WHERE id = (SELECT max(id) FROM event)",
    )
    .unwrap();
    assert_eq!(notices(), notice("text-not-utf8"));
    db.execute_batch(
        "UPDATE trace SET t_us = 9007199254740993 WHERE (dataset_id, t_seconds) =
             (SELECT dataset_id, max(t_seconds) FROM trace WHERE dataset_id = 1)",
    )
    .unwrap();
    assert_eq!(notices(), [notice("integer-rounded"), notice("text-not-utf8")].concat());
}

#[test]
fn a_column_whose_name_is_no_text_is_left_out_alone() {
    for (declared, table) in [(&b"id_diam REAL"[..], "event"), (b"inner_diam REAL", "trace")] {
        let scene = Scene::new();
        let mut bytes = fs::read(scene.path("v7.db")).unwrap();
        let at = bytes.windows(declared.len()).position(|part| part == declared).unwrap();
        bytes[at + declared.len() - 6] = 0xed;
        fs::write(scene.path("x.vaso"), bytes).unwrap();
        let listed = said(&scene, &["ls", "-R", "x.vaso", "browse"]);
        for file in ["trace.csv", "trace.npy", "events.csv"] {
            assert!(text(&listed.stdout).contains(file), "{table} {file}: {listed:?}");
        }
        let (_, told) = scene.told("verify", "x.vaso");
        let found: Vec<&Value> =
            told["findings"].as_array().unwrap().iter().filter(|f| f["path"] == "browse").collect();
        assert_eq!(found.len(), 1, "{told}");
        assert_eq!(found[0]["code"], "columns-not-shown", "{told}");
        assert!(found[0]["message"].as_str().unwrap().contains(&format!("the table {table},")), "{told}");
        for verb in [&["verify"][..], &["info"], &["recover"], &["ls", "-lR"]] {
            let output = said(&scene, &[verb, &["x.vaso"]].concat());
            assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
        }
    }
}

#[test]
fn an_index_whose_name_is_no_text_is_no_damage() {
    let scene = Scene::new();
    let mut bytes = fs::read(scene.path("v7.db")).unwrap();
    let name = b"trace_ds_";
    let places: Vec<usize> =
        (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
    assert!(places.len() > 1);
    places.into_iter().for_each(|at| bytes[at + 7] = 0xf5);
    fs::write(scene.path("x.vaso"), bytes).unwrap();
    let (code, told) = scene.told("verify", "x.vaso");
    assert_eq!((code, told["findings"].as_array().unwrap().len()), (Some(0), 0), "{told}");
}

#[cfg(feature = "parquet")]
#[test]
fn columns_of_a_package_that_are_not_shown_are_told_by_verify() {
    use parquet::data_type::DoubleType;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;

    let scene = Scene::new();
    let schema = "message m { required double t; repeated double many; }";
    let schema = parquet::schema::parser::parse_message_type(schema).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema.into(), WriterProperties::new().into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for levels in [None, Some(&[0, 0][..])] {
        let mut column = group.next_column().unwrap().unwrap();
        let values = if levels.is_none() { &[0.5, 1.5][..] } else { &[] };
        column.typed::<DoubleType>().write_batch(values, levels, levels).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let mut pack = common::Pack::new();
    pack.stored("datasets/d/dataset.json", br#"{"id": "d", "name": "One"}"#);
    pack.stored("datasets/d/channels.parquet", &bytes);
    fs::write(scene.path("lists.vaso"), pack.bytes()).unwrap();
    let (_, told) = scene.told("verify", "lists.vaso");
    let found = told["findings"].as_array().unwrap().iter().find(|f| f["code"] == "columns-not-shown");
    let found = found.unwrap_or_else(|| panic!("{told}"));
    assert_eq!((&found["severity"], &found["path"]), (&"notice".into(), &"browse/One/channels.csv".into()));
}

#[test]
fn what_lies_beside_a_bundle_in_its_zip_file_is_told() {
    let scene = Scene::new();
    let snapshot = fs::read(scene.path("snapshot.db")).unwrap();
    let of_bundle = ("bundle/snapshots/000001.sqlite", snapshot.as_slice());
    zipped(&scene, "plain.vaso", &[of_bundle, ("__MACOSX/._bundle", b"finder")]);
    let codes = |project: &str| -> Vec<String> {
        let (_, told) = scene.told("verify", project);
        let found = told["findings"].as_array().unwrap().iter();
        let path = |f: &Value| f["path"].as_str().unwrap().to_string();
        found.filter(|f| f["code"] == "beside-the-bundle").map(path).collect()
    };
    assert_eq!(codes("plain.vaso"), [""; 0]);
    zipped(&scene, "more.vaso", &[of_bundle, ("notes/readme.txt", b"mine"), ("list.csv", b"1")]);
    assert_eq!(codes("more.vaso").len(), 1);
    let (code, told) = scene.told("verify", "more.vaso");
    assert_eq!(code, Some(0), "it is no reason to act: {told}");
}

#[test]
fn a_project_within_a_zip_file_is_named_as_what_it_is() {
    let scene = Scene::new();
    let snapshot = fs::read(scene.path("snapshot.db")).unwrap();
    // A bundle that was packed as a folder, as file managers do, or its content alone.
    for (at, named) in [("Study.vasopack/", "Study.vasopack"), ("", "snapshots")] {
        let (head, first) = (format!("{at}HEAD.json"), format!("{at}snapshots/000001.sqlite"));
        zipped(&scene, "folder.zip", &[(&head, &b"{}"[..]), (&first, &snapshot)]);
        let output = said(&scene, &["info", "folder.zip"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = text(&output.stderr);
        assert!(told.contains(named) && told.contains("unpack it"), "{told}");
    }
    // A shared project of which the project is a container.
    zipped(&scene, "inner.vaso", &[("bundle/snapshots/000001.sqlite", &snapshot)]);
    let inner = fs::read(scene.path("inner.vaso")).unwrap();
    zipped(&scene, "share.vasopack", &[("project.vaso", &inner)]);
    let (_, told) = scene.told("verify", "share.vasopack");
    let words: Vec<&str> =
        told["findings"].as_array().unwrap().iter().map(|f| f["message"].as_str().unwrap()).collect();
    assert!(words.iter().any(|words| words.contains("this is a ZIP file")), "{words:?}");
    assert_eq!(said(&scene, &["cat", "share.vasopack", "project.vaso"]).stdout, inner);
}
