//! What a project may hold that few think of, and that must not keep its rows from coming back, nor let a recovery in part
//! look like a whole one.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{As, run, succeed, vaso};
use rusqlite::Connection;
use scene::{DATASET, Scene, TRACE};
use serde_json::Value;

/// Changes a copy of a database with SQLite, and gives its path.
fn changed(scene: &Scene, from: &str, sql: &str) -> PathBuf {
    let path = scene.path("project.vaso");
    fs::copy(scene.path(from), &path).unwrap();
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

fn page_size(bytes: &[u8]) -> usize {
    match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        n => n.into(),
    }
}

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Zeros the first page of a table's tree, and gives how many rows it had, if it was an interior one.
fn zero_root(path: &Path, table: &str) -> usize {
    let root = number(path, &format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")) as usize;
    let mut bytes = fs::read(path).unwrap();
    let size = page_size(&bytes);
    let page = &mut bytes[(root - 1) * size..root * size];
    assert!([2, 5].contains(&page[0]), "{table} has one page only");
    let cells = u16::from_be_bytes([page[3], page[4]]);
    page.fill(0);
    fs::write(path, bytes).unwrap();
    cells.into()
}

fn table<'a>(outcome: &'a Value, name: &str) -> &'a Value {
    let tables = outcome["report"]["tables"].as_array().unwrap();
    tables.iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("{outcome}"))
}

fn result(outcome: &Value) -> PathBuf {
    PathBuf::from(outcome["path"].as_str().unwrap())
}

#[test]
fn a_lost_head_keeps_the_version_that_the_columns_tell() {
    let scene = Scene::new();
    let lose_head = |with: u8, path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        (0..100).for_each(|i| bytes[i] = with.wrapping_mul(i as u8 | 1).rotate_left(3));
        fs::write(path, bytes).unwrap();
    };
    for with in [0, 0x5b] {
        for (name, version) in [("v3a.db", 3), ("v5.db", 5), ("v7.db", 7), ("snapshot.db", 7)] {
            let path = changed(&scene, name, "");
            lose_head(with, &path);
            let told = scene.json(0, &["project.vaso"]);
            assert_eq!(number(&result(&told), "PRAGMA user_version"), version, "{name}");
            assert_eq!(told["report"]["user_version"], version, "{name}");
            assert_eq!((&told["complete"], &told["report"]["lost"]), (&true.into(), &0.into()), "{name}");
            let notes = told["report"]["notes"].to_string();
            assert!(notes.contains(&format!("user_version {version} is told by")), "{name}: {notes}");
        }
    }
    // Versions 1 and 2 have the same columns, as have 3 to 5; nothing decides between them here.
    for (name, sql, version) in [("v1.db", "", 1), ("v5.db", "DELETE FROM meta; DROP TABLE figure_recipe", 5)]
    {
        let path = changed(&scene, name, sql);
        lose_head(0, &path);
        let told = scene.json(0, &["project.vaso"]);
        assert_eq!(number(&result(&told), "PRAGMA user_version"), version, "{name}");
        assert_eq!((&told["complete"], &told["report"]["lost"]), (&false.into(), &0.into()), "{name}");
    }
}

#[test]
fn tables_that_count_their_rows_are_recovered_and_count_on() {
    let scene = Scene::new();
    let path = changed(
        &scene,
        "v7.db",
        "CREATE TABLE note(id INTEGER PRIMARY KEY AUTOINCREMENT, txt);
         CREATE TABLE gone(id INTEGER PRIMARY KEY AUTOINCREMENT, txt);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
         INSERT INTO note(txt) SELECT 'note ' || i FROM n;
         INSERT INTO gone(txt) VALUES('a'), ('b'), ('c');
         DELETE FROM note WHERE id > 40; DELETE FROM gone; ANALYZE",
    );
    zero_root(&path, "trace");
    let told = scene.json(0, &["project.vaso"]);
    assert_eq!(table(&told, "note")["recovered"], 40);
    let new = result(&told);
    assert_eq!(number(&new, "SELECT count(*) FROM note WHERE txt = 'note ' || id"), 40);
    assert_eq!(number(&new, "SELECT seq FROM sqlite_sequence WHERE name = 'note'"), 50);
    assert_eq!(number(&new, "SELECT seq FROM sqlite_sequence WHERE name = 'gone'"), 3);
    assert_eq!(number(&new, "SELECT count(*) FROM sqlite_sequence"), 2);
}

/// The overflow pages with `word` in them, and the place in the file of the number that leads to the first.
fn chain(bytes: &[u8], word: &str) -> (usize, u32) {
    let size = page_size(bytes);
    let has = |page: &[u8]| page.windows(word.len()).any(|part| part == word.as_bytes());
    let (leaves, rest): (Vec<_>, Vec<_>) =
        bytes.chunks(size).zip(1u32..).filter(|(page, _)| has(page)).partition(|(page, _)| page[0] == 13);
    let (leaf, at) = leaves[0];
    let place = |number: u32| leaf.windows(4).position(|part| part == number.to_be_bytes());
    let (place, first) = rest.iter().find_map(|(_, n)| Some((place(*n)?, *n))).unwrap();
    ((at as usize - 1) * size + place, first)
}

#[test]
fn a_row_that_ends_in_the_bytes_of_another_is_no_success() {
    let scene = Scene::new();
    let payload = |k: &str| format!("replace(hex(zeroblob(4000)), '00', '{k}-')");
    let mut sql = "DELETE FROM result;".to_string();
    for (id, k) in [(1, "k1"), (2, "k2"), (3, "k3")] {
        let text = payload(k);
        sql += &format!("INSERT INTO result VALUES({id}, 1, '{k}', '1', '2026', {text});");
    }
    let path = changed(&scene, "small.db", &sql);
    let mut bytes = fs::read(&path).unwrap();
    let ((at, _), (_, other)) = (chain(&bytes, "k1-k1-k1-"), chain(&bytes, "k3-k3-k3-"));
    bytes[at..at + 4].copy_from_slice(&other.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let told = scene.json(0, &["project.vaso"]);
    assert_eq!(number(&result(&told), "SELECT payload_json LIKE '%k1-k3%' FROM result WHERE id = 1"), 1);
    assert_eq!((&told["complete"], &told["report"]["lost"]), (&false.into(), &0.into()));
    assert_eq!(table(&told, "result")["doubtful"], 2);
    assert_eq!(table(&told, "result")["doubtful_keys"], serde_json::json!(["1", "3"]));
    let output = scene.recover(&["project.vaso"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Recovered in part") && said.contains("with another row): 1, 3"), "{said}");
}

#[test]
fn values_of_unusual_types_keep_no_row_of_a_whole_page_from_coming_back() {
    let scene = Scene::new();
    // What Python's sqlite3 stores for a whole number of numpy.
    let odd = "UPDATE trace SET tiff_page = x'0100000000000000' WHERE dataset_id = 1";
    for which in ["AND t_seconds BETWEEN 10 AND 11", ""] {
        let path = changed(&scene, "v7.db", &format!("{odd} {which}"));
        let (all, blobs) =
            (number(&path, TRACE), number(&path, &format!("{TRACE} WHERE typeof(tiff_page) = 'blob'")));
        assert!(blobs > 5);
        let on_root = zero_root(&path, "trace") as i64;
        let told = scene.json(0, &["project.vaso"]);
        let new = result(&told);
        assert_eq!(number(&new, TRACE), all - on_root, "{told}");
        let back = number(&new, &format!("{TRACE} WHERE tiff_page = x'0100000000000000'"));
        assert!((blobs - on_root..=blobs).contains(&back), "{back} of {blobs}");
        assert_eq!(table(&told, "trace")["lost"], on_root);
    }
}

#[test]
fn a_trace_of_other_columns_does_not_keep_the_rest_from_coming_back() {
    let scene = Scene::new();
    let fill =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO trace";
    for (columns, values) in [("dataset_id, x", "1, i"), ("t_seconds, x", "i * 0.1, i"), ("x, y", "i, 2")] {
        let sql = format!("DROP TABLE trace; CREATE TABLE trace({columns}); {fill} SELECT {values} FROM n");
        let path = changed(&scene, "v7.db", &sql);
        let events = number(&path, "SELECT count(*) FROM event");
        zero_root(&path, "trace");
        let told = scene.json(0, &["project.vaso"]);
        let new = result(&told);
        assert_eq!(number(&new, TRACE), 9000, "{columns}");
        assert_eq!(number(&new, "SELECT count(*) FROM event"), events);
        assert_eq!(told["report"]["samples"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn times_without_end_and_pauses_are_not_taken_for_lost_rows() {
    let scene = Scene::new();
    let far = "INSERT INTO trace(dataset_id, t_seconds) VALUES(1, 1e300), (1, 2e300), (1, -1.7e308)";
    // A pause of an hour in a recording of ten rows a second would be 36,000 rows.
    let pause = "UPDATE trace SET t_seconds = t_seconds + 3600 WHERE dataset_id = 1 AND t_seconds > 20";
    for sql in [far, pause] {
        let path = changed(&scene, "v1.db", sql);
        let all = number(&path, TRACE);
        let on_root = zero_root(&path, "trace") as i64;
        let told = scene.json(0, &["project.vaso"]);
        assert_eq!(number(&result(&told), TRACE), all - on_root);
        // One page is gone, and no page of rows has more than these.
        let size = page_size(&fs::read(&path).unwrap()) as u64;
        let lost = table(&told, "trace")["lost"].as_u64().unwrap();
        assert!(lost >= on_root as u64 && lost <= size / 20, "{lost}");
        assert!(told["report"]["lost"].as_u64().unwrap() <= size / 20);
    }
}

#[test]
fn a_blob_that_ends_in_zeros_is_given_and_told_to_be_in_doubt() {
    let scene = Scene::new();
    // 589 bytes of the row lie in its page, and 4,092 on each of three more, of which the last begins with the zeros.
    let path = changed(&scene, "v7.db", "");
    let blob = [vec![b'x'; 8_765], vec![0; 4_092]].concat();
    let insert = "INSERT INTO blob_chunk VALUES(900, 0, ?1)";
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute(insert, [&blob]).unwrap();
    drop(db);
    let stored = |path: &Path| -> Vec<u8> {
        let find = "SELECT data FROM blob_chunk WHERE asset_id = 900";
        Connection::open(path).unwrap().query_row(find, [], |row| row.get(0)).unwrap()
    };
    let root = number(&path, "SELECT rootpage FROM sqlite_schema WHERE name = 'trace'") as usize;
    let mut bytes = fs::read(&path).unwrap();
    let size = page_size(&bytes);
    bytes[(root - 1) * size..root * size].fill(0xaa);
    fs::write(&path, &bytes).unwrap();
    let told = scene.json(0, &["project.vaso"]);
    assert!(stored(&result(&told)) == blob);
    let chunks = table(&told, "blob_chunk");
    assert_eq!((&chunks["doubtful"], &chunks["doubtful_keys"][0]), (&1.into(), &"900/0".into()));
    assert_eq!((&chunks["cut_off"], &told["complete"]), (&0.into(), &false.into()));
    // Where pages were lost to zeros, nobody can vouch for these.
    bytes[(root - 1) * size..root * size].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(table(&scene.json(0, &["project.vaso"]), "blob_chunk")["cut_off"], 1);
}

/// Ends a program that waits for ever.
fn patiently(scene: &Scene, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120"]).arg(common::program()).arg("recover").args(args);
    let output = run(command.current_dir(scene.path("")).stdin(Stdio::null()));
    assert!(output.status.code().is_some(), "it waits for ever");
    output
}

#[test]
fn what_cannot_be_a_head_is_not_waited_for_and_not_overwritten() {
    let bundle = "corrupt_current.vasopack";
    let kinds: [fn(&Path); 3] = [
        |head| assert!(Command::new("mkfifo").arg(head).status().unwrap().success()),
        |head| {
            fs::write(head.with_file_name("elsewhere.json"), b"{}").unwrap();
            symlink("elsewhere.json", head).unwrap();
        },
        |head| fs::write(head, vec![b' '; (1 << 20) + 1]).unwrap(),
    ];
    for make in kinds {
        let scene = Scene::new();
        let (head, snapshots) = (scene.path(bundle).join("HEAD.json"), scene.path(bundle).join("snapshots"));
        fs::remove_file(&head).unwrap();
        make(&head);
        let kind = fs::symlink_metadata(&head).unwrap().file_type();
        let count = || fs::read_dir(&snapshots).unwrap().count();
        let before = count();
        let output = patiently(&scene, &[bundle, "--in-place", "--use", "1"]);
        assert!(!output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("HEAD.json"), "{output:?}");
        assert_eq!((count(), fs::symlink_metadata(&head).unwrap().file_type()), (before, kind));
        assert!(!scene.path(bundle).join(".lock").exists());
    }
    let scene = Scene::new();
    let snapshots = scene.path(bundle).join("snapshots");
    fs::create_dir_all(scene.path(bundle).join(".staging")).unwrap();
    fs::copy(scene.path("v7.db"), scene.path(bundle).join(".staging/1.sqlite")).unwrap();
    fs::rename(&snapshots, scene.path("elsewhere")).unwrap();
    symlink(scene.path("elsewhere"), &snapshots).unwrap();
    let before = fs::read_dir(scene.path("elsewhere")).unwrap().count();
    let output = patiently(&scene, &[bundle, "--in-place", "--use", "1"]);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(scene.path("elsewhere")).unwrap().count(), before);
}

#[test]
fn what_python_writes_as_json_keeps_its_sample_in_its_experiment() {
    let scene = Scene::new();
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let far = format!("{}1{}", "[".repeat(3000), "]".repeat(3000));
    let extras = [
        (r#"{"experiment": "WT", "note": "half \ud800"}"#.to_string(), true),
        (r#"{"experiment": "WT", "big": 1e400, "low": [-1e999]}"#.to_string(), true),
        (format!(r#"{{"deep": {deep}, "experiment": "WT"}}"#), true),
        ("\u{feff}{\"experiment\": \"WT\"}".to_string(), true),
        (format!(r#"{{"deep": {far}, "experiment": "WT"}}"#), false),
        (r#"{"experiment": "WT", "note": "torn he"#.to_string(), false),
    ];
    for (extra, is_object) in extras {
        let path = changed(&scene, "v7.db", "");
        let db = Connection::open(&path).unwrap();
        db.execute("UPDATE dataset SET extra_json = ?1, name = 'odd' WHERE id = 1", [&extra]).unwrap();
        drop(db);
        let file = "browse/WT/odd/metadata.json";
        let shown = succeed(vaso(As::Me).arg("cat").arg(&path).arg(file));
        // Read by Python's json, written anew without what only Python reads.
        let script = "import json, sys; e = json.load(sys.stdin)['extra']; \
                      json.dumps(e, ensure_ascii=False).encode(); print(type(e).__name__)";
        let mut python = Command::new("python3");
        python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all(shown.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        let kind = if is_object { "dict\n" } else { "str\n" };
        assert_eq!(String::from_utf8_lossy(&output.stdout), kind, "{extra:.60}");
    }
}

/// Copies a database to `to` with a log of two samples that were committed and never written into the database.
fn logged(from: &Path, to: &Path) -> PathBuf {
    let work = to.with_extension("work");
    fs::copy(from, &work).unwrap();
    let db = Connection::open(&work).unwrap();
    db.execute_batch("pragma journal_mode=wal; pragma wal_autocheckpoint=0").unwrap();
    for id in [77, 78] {
        db.execute_batch(&format!(
            "begin; insert into dataset(id, name, created_utc) values({id}, 'late {id}', '2026-01-01');
             insert into trace(dataset_id, t_seconds) with recursive n(i) as (select 0 union all select i + 1 from n
                 where i < 499) select {id}, i * 0.5 from n; commit;"
        ))
        .unwrap();
    }
    let beside = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    fs::copy(&work, to).unwrap();
    fs::copy(beside(&work), beside(to)).unwrap();
    db.close().unwrap();
    fs::remove_file(work).unwrap();
    beside(to)
}

/// Changes one byte of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x41;
    fs::write(path, bytes).unwrap();
}

const LOG: &str = "the log beside it is damaged";

#[test]
fn a_session_whose_log_is_damaged_is_not_called_saved() {
    let scene = Scene::new();
    let bundle = "orphan_staging.vasopack";
    let staging = scene.path(&format!("{bundle}/.staging"));
    fs::remove_dir_all(&staging).unwrap();
    fs::create_dir(&staging).unwrap();
    let log = logged(&scene.path(&format!("{bundle}/snapshots/000002.sqlite")), &staging.join("s.sqlite"));
    scene.json(0, &[bundle]);
    assert_eq!(
        number(&scene.path("orphan_staging.recovered.vaso"), "select count(*) from dataset where id > 76"),
        2
    );
    flip(&log, 3);
    let (code, told) = scene.told("verify", bundle);
    let findings = told["findings"].as_array().unwrap();
    let said = |f: &&Value| f["message"].as_str().unwrap().contains(LOG) && f["severity"] == "warning";
    assert!(code == Some(1) && findings.iter().any(|f| said(&f)), "{told}");
    let told = scene.json(1, &[bundle]);
    assert_eq!((&told["sound"], told["undecided"].as_array().unwrap().len()), (&false.into(), 1), "{told}");
    let output = scene.recover(&[bundle]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(LOG) && text.contains("frames of it could not be used"), "{text}");
    assert!(!text.contains("sound") && text.contains("may be the newest data"), "{text}");
    // Whatever is taken, it is not all.
    for at in ["1", "2", "3"] {
        assert_eq!(scene.json(0, &[bundle, "--use", at])["complete"], false);
    }
}

#[test]
fn a_database_whose_log_is_damaged_is_recovered_in_part() {
    let scene = Scene::new();
    // Of the header; of the last frame, which ends the second transaction, the page, a salt and the other one.
    for (name, from_end, late) in
        [("head.vaso", 0, 0), ("page.vaso", 100, 1), ("salt.vaso", 4109, 1), ("other_salt.vaso", 4105, 1)]
    {
        let log = logged(&scene.path("v7.db"), &scene.path(name));
        let told = scene.json(0, &[name]);
        assert_eq!(told["sound"], true, "{told}");
        flip(&log, if from_end == 0 { 3 } else { fs::metadata(&log).unwrap().len() as usize - from_end });
        let (code, told) = scene.told("verify", name);
        let is_told = told["findings"].as_array().unwrap().iter().any(|f| f["code"] == "log-damaged");
        assert!(code == Some(1) && is_told, "{told}");
        let found = scene.json(0, &[name]);
        assert_eq!((&found["recovered"], &found["complete"]), (&true.into(), &false.into()), "{found}");
        let result = result(&found);
        assert_eq!(number(&result, "select count(*) from dataset where id > 76"), late, "{name}");
        let text = String::from_utf8(scene.recover(&[name]).stdout).unwrap();
        assert!(text.contains("Recovered in part") && text.contains(LOG), "{text}");
    }
}

#[test]
fn a_database_whose_journal_is_damaged_is_not_called_sound() {
    let scene = Scene::new();
    let (work, path) = (scene.path("work.db"), scene.path("hot.vaso"));
    fs::copy(scene.path("v7.db"), &work).unwrap();
    let db = Connection::open(&work).unwrap();
    db.execute_batch(
        "pragma journal_mode=delete; pragma cache_size=5; pragma cache_spill=5; begin; update trace set inner_diam = -1; update event set label = 'x'",
    )
    .unwrap();
    let journal = PathBuf::from(format!("{}-journal", path.display()));
    fs::copy(&work, &path).unwrap();
    fs::copy(format!("{}-journal", work.display()), &journal).unwrap();
    drop(db);
    fs::remove_file(work).unwrap();
    assert_eq!(scene.told("verify", "hot.vaso").0, Some(0));
    assert_eq!(scene.json(0, &["hot.vaso"])["sound"], true);
    // The sum of the second record.
    flip(&journal, 512 + 2 * (page_size(&fs::read(&path).unwrap()) + 8) - 1);
    let (code, told) = scene.told("verify", "hot.vaso");
    let is_told = told["findings"].as_array().unwrap().iter().any(|f| f["code"] == "journal-damaged");
    assert!(code == Some(1) && is_told, "{told}");
    let found = scene.json(0, &["hot.vaso"]);
    assert_eq!((&found["recovered"], &found["complete"]), (&true.into(), &false.into()), "{found}");
    let text = String::from_utf8(scene.recover(&["hot.vaso"]).stdout).unwrap();
    assert!(
        text.contains("Recovered in part") && text.contains("the journal beside it is damaged"),
        "{text}"
    );
    assert!(!text.contains("sound"), "{text}");
}

#[test]
fn rows_of_a_table_whose_name_is_lost_are_in_the_result_and_told() {
    let scene = Scene::new();
    let path = changed(
        &scene,
        "v7.db",
        "CREATE TABLE notebook(id INTEGER PRIMARY KEY, day TEXT, page BLOB);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO notebook SELECT i, 'day ' || i, CAST('page ' || i AS BLOB) FROM n",
    );
    let traces = number(&path, TRACE);
    let mut bytes = fs::read(&path).unwrap();
    let size = page_size(&bytes);
    let has = |page: &[u8]| page.windows(12).any(|word| word == b"CREATE TABLE");
    let schema: Vec<usize> =
        (0..bytes.len() / size).filter(|page| has(&bytes[page * size..][..size])).collect();
    for page in schema {
        bytes[page * size..][..size].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    let told = scene.json(0, &["project.vaso"]);
    let (new, kept) = (result(&told), &told["report"]["set_apart"]);
    assert_eq!((number(&new, TRACE), &told["complete"]), (traces, &false.into()), "{told}");
    let rows = "SELECT count(*) FROM lost_and_found WHERE c1 = 'day ' || id AND CAST(c2 AS TEXT) = 'page ' || id AND nfield = 3";
    assert_eq!((number(&new, rows), &kept["table"]), (400, &"lost_and_found".into()), "{told}");
    assert_eq!(number(&new, "SELECT count(*) FROM lost_and_found"), kept["rows"].as_i64().unwrap());
    assert_eq!(kept["may_be_deleted"], false, "the list of free pages is whole");
    assert!(
        told["report"]["tables"].as_array().unwrap().iter().all(|table| table["name"] != "lost_and_found")
    );
    let said = String::from_utf8(scene.recover(&["project.vaso"]).stdout).unwrap();
    assert!(
        said.contains("are kept in the table lost_and_found") && said.contains("Recovered in part"),
        "{said}"
    );
    // What was recovered is a project like any other, and what was set apart is nobody's work.
    let (code, verified) = scene.told("verify", new.file_name().unwrap().to_str().unwrap());
    assert!(code == Some(0), "{verified}");
}

#[test]
fn rows_of_a_table_whose_name_is_lost_are_no_samples() {
    let scene = Scene::new();
    // As long as the first values of a sample, and of the same types.
    let sql = "CREATE TABLE notebook(id INTEGER PRIMARY KEY, day TEXT, page TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
        INSERT INTO notebook SELECT i + 100, 'day ' || i, 'page ' || i FROM n";
    for name in ["v3a.db", "v7.db"] {
        let path = changed(&scene, name, sql);
        let samples = number(&path, DATASET);
        let mut bytes = fs::read(&path).unwrap();
        let size = page_size(&bytes);
        let has = |page: &[u8]| page.windows(12).any(|word| word == b"CREATE TABLE");
        bytes.chunks_mut(size).filter(|page| has(page)).for_each(|page| page.fill(0));
        fs::write(&path, bytes).unwrap();
        let told = scene.json(0, &["project.vaso"]);
        assert_eq!(number(&result(&told), DATASET), samples, "{name}: {told}");
        let rows = "SELECT count(*) FROM lost_and_found WHERE c1 = 'day ' || (id - 100) AND nfield = 3";
        assert_eq!(number(&result(&told), rows), 400, "{name}: {told}");
    }
}
