//! The views of a project database, written down as files and compared with the database by other means.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::testing::python;
use super::{What, database_view};
use crate::database::Database;
use crate::finding::Findings;
use crate::store::CacheFolder;
use crate::tree::{Branch, Content, Kind, Spot, Time};

/// A project of everything that is odd, made by SQLite itself.
const MAKE: &str = r#"
import hashlib, json, sqlite3, sys, zlib
db = sqlite3.connect(sys.argv[1])
db.executescript('''PRAGMA page_size=1024;
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE dataset(id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_utc TEXT NOT NULL, notes TEXT, fps REAL, pixel_size_um REAL, t0_seconds REAL DEFAULT 0, extra_json TEXT, validation_status TEXT);
CREATE TABLE trace(dataset_id INTEGER NOT NULL, t_seconds REAL NOT NULL, t_us INTEGER, inner_diam REAL, outer_diam REAL, p_avg REAL, p1 REAL, p2 REAL, frame_number INTEGER, tiff_page INTEGER, temp REAL, table_marker INTEGER, caliper_length REAL, PRIMARY KEY(dataset_id, t_seconds)) WITHOUT ROWID;
CREATE TABLE event(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, t_seconds REAL NOT NULL, label TEXT NOT NULL, frame INTEGER, extra_json TEXT, deleted_utc TEXT, deleted_reason TEXT, deleted_by TEXT);
CREATE TABLE asset(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL, compressed INTEGER NOT NULL, chunk_size INTEGER NOT NULL, original_name TEXT, mime TEXT);
CREATE TABLE blob_chunk(asset_id INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(asset_id, seq)) WITHOUT ROWID;
CREATE TABLE ref(asset_id INTEGER NOT NULL, dataset_id INTEGER NOT NULL, role TEXT NOT NULL, note TEXT, PRIMARY KEY(asset_id, dataset_id, role)) WITHOUT ROWID;
CREATE TABLE result(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL, created_utc TEXT NOT NULL, payload_json TEXT NOT NULL);
CREATE TABLE thumbnail(dataset_id INTEGER PRIMARY KEY, png BLOB NOT NULL);
CREATE INDEX event_ds_t ON event(dataset_id, t_seconds);
PRAGMA user_version=7;''')
meta = dict(format='sqlite-v3', project_name='"Näme"', project_tags='["a", 1.50]', experiments_meta=json.dumps({'Dose/Response': {'notes': 'µ', 'x': 1e22}, 'Only meta': {}}), experiment_order=json.dumps(['Only meta', 'gone', 'Dose/Response']))
db.executemany('insert into meta values(?,?)', meta.items())
dose = lambda **more: json.dumps({'experiment': 'Dose/Response', **more})
samples = [
  ('Vessel 01', dose(subfolder='Day 1', n=0.1, snapshot_path='C:\\data\\snap.tif')), ('Vessel 01', dose()), ('Vessel 01~2', dose()),
  ('a/b: weird*name?', '{"experiment": "attachments", "x": NaN}'), ('', None), ('..', '{torn'), ('L' * 300, dose()),
  ('__project_attachments__', '{"attachments": [{"name": "N", "filename": "notes.txt", "asset_role": "project_attachment:0"}]}')]
for i, (name, extra) in enumerate(samples, 1):
    db.execute("insert into dataset values(?,?,?,?,?,?,?,?,?)", (i, name, '2026-01-05T08:00:00Z', 'notes "q"', 10.0, 0.65, None, extra, 'unknown'))
def rows(d, n):
    for i in range(n):
        x = (i * 7919 % 1000) / 7
        yield (d, i / 10, i * 100000, x, None if i % 5 else x + .25, 60.0, float('inf') if i == 9 else .1 + .2, 60.0, i, i // 30 if i % 30 == 0 else None, 37.0, 0, -0.0)
for d, n in [(1, 6000), (2, 3), (4, 100), (99, 5)]:
    db.executemany('insert into trace values(?,?,?,?,?,?,?,?,?,?,?,?,?)', rows(d, n))
db.execute("update trace set inner_diam='lost' where dataset_id=4 and t_seconds=0.5")
events = [(1, 0.5, 'KCl, 60 mM', None), (1, 0.25, 'say "x"', None), (1, 2.0, 'gone', '2026-02-01'), (2, 1.0, 'two\nlines', None), (99, 1.0, 'orphan', None)]
for d, t, label, deleted in events:
    db.execute('insert into event(dataset_id,t_seconds,label,frame,extra_json,deleted_utc) values(?,?,?,?,?,?)', (d, t, label, 5, '{"OD (µm)": 1.5}', deleted))
def asset(d, role, data, packed, name, mime, size=None):
    cur = db.execute('insert into asset(kind,sha256,size_bytes,compressed,chunk_size,original_name,mime) values(?,?,?,?,?,?,?)', (role, hashlib.sha256(data).hexdigest(), len(data) if size is None else size, packed, 1000, name, mime))
    stored = zlib.compress(data) if packed else data
    for q, at in enumerate(range(0, len(stored), 1000)): db.execute('insert into blob_chunk values(?,?,?)', (cur.lastrowid, q, stored[at:at + 1000]))
    db.execute('insert into ref values(?,?,?,NULL)', (cur.lastrowid, d, role))
noise = b''.join(hashlib.sha256(bytes([i])).digest() for i in range(200))
asset(1, 'snapshot_tiff', noise, 0, None, 'image/tiff')
asset(1, 'attachment:0', b'plain', 0, '/home/x/same.txt', None)
asset(1, 'attachment:1', b'other', 0, 'D:\\same.txt', None)
asset(1, 'attachment:2', b'', 0, None, 'text/plain')
asset(2, 'tiff', noise, 0, 'short.tiff', None, len(noise) + 1)
asset(4, 'tiff', noise * 50, 1, 'packed.tiff', None)
asset(8, 'project_attachment:0', b'of all', 0, None, None)
frame = {'__type__': 'dataframe', 'value': {'index': [0, 1], 'columns': ['dose_logM', 'pct'], 'data': [[-9, 1.5], [-8, float('nan')]]}}
for d, kind, payload in [(1, 'dose_response', json.dumps(frame)), (1, 'tone', '{"b": 1.10, "a": NaN}'), (1, 'tone', '{torn'), (1, 'x/y', '[]')]:
    db.execute("insert into result(dataset_id,kind,version,created_utc,payload_json) values(?,?,?,?,?)", (d, kind, 'v3', '2026', payload))
db.execute("insert into thumbnail values(1, ?)", (b'\x89PNG' + noise[:100],))
db.commit(); db.close()
"#;

fn make(folder: &Path) -> Option<Content> {
    let path = folder.join("p.sqlite");
    python(MAKE, &[&path])?;
    Some(Content::Bytes(fs::read(path).unwrap().into()))
}

const TIME: Time = Time { seconds: 1_700_000_000, nanos: 5 };
const NEWEST: Time = Time { seconds: 1_800_000_000, nanos: 0 };

pub(super) fn view(
    content: &Content,
    root: u64,
    cache: Option<Arc<CacheFolder>>,
) -> (Arc<dyn Branch>, Arc<Findings>) {
    let findings = Arc::new(Findings::default());
    let database = Database::open(content.clone(), "p.sqlite").unwrap();
    let what = What {
        identity: crate::browse::Identity { here: [3; 32], shown: [3; 32] },
        time: TIME,
        newest: NEWEST,
        root,
    };
    (database_view(database, what, None, cache, findings.clone()).unwrap(), findings)
}

/// All that is in a view: path, number, time, and the bytes or why there are none.
pub(super) type Listing = BTreeMap<String, (u64, Time, Option<Result<Vec<u8>, String>>)>;

pub(super) fn list(top: Spot) -> Listing {
    let (mut all, mut pending) = (Listing::new(), vec![top]);
    while let Some(spot) = pending.pop() {
        let path = String::from_utf8(spot.path()).unwrap();
        let (node, ino) = (spot.branch.tree().node(spot.node), spot.branch.tree().node(spot.node).ino);
        if spot.kind() == Kind::Directory {
            let inside = spot.enter().unwrap();
            let (door, root) = (node.time(), inside.branch.tree().node(inside.node).time());
            assert_eq!(door, root, "{path}: a door has the time of what is behind it");
            pending.extend(inside.children());
            all.insert(path, (ino, door, None));
            continue;
        }
        let bytes = spot.size().and_then(|size| {
            let content = spot.branch.open(spot.node)?;
            assert_eq!(content.size(), size, "{path}");
            let mut bytes = vec![0; size as usize];
            assert_eq!(content.read_at(0, &mut bytes)? as u64, size);
            // Any part of it is what it is in the whole.
            for (at, len) in [(size / 2, 100), (size.saturating_sub(7), 7), (1, 4096)] {
                let mut part = vec![0; len];
                let n = content.read_at(at, &mut part)?;
                assert_eq!(part[..n], bytes[(at.min(size)) as usize..][..n], "{path}");
            }
            Ok(bytes)
        });
        all.insert(path, (ino, node.time(), Some(bytes.map_err(|e| e.to_string()))));
    }
    all
}

#[test]
fn everything_has_its_name_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let Some(content) = make(folder.path()) else { return };
    let (view, findings) = view(&content, 77, None);
    let listing = list(Spot::top(view));
    let names: Vec<&str> = listing.keys().map(String::as_str).collect();
    let long = "L".repeat(255);
    let long = |name: &str| format!("Dose%2FResponse/{long}{name}");
    let (folder, metadata) = (long(""), long("/metadata.json"));
    let tables = ["events.csv", "trace.csv", "trace.npy"].map(|name| long(&format!("/{name}")));
    let mut expected = vec![
        "",
        "CACHEDIR.TAG",
        "Default",
        "Default/%2E%2E",
        "Default/%2E%2E/events.csv",
        "Default/%2E%2E/metadata.json",
        "Default/%2E%2E/trace.csv",
        "Default/%2E%2E/trace.npy",
        "Default/unnamed",
        "Default/unnamed/events.csv",
        "Default/unnamed/metadata.json",
        "Default/unnamed/trace.csv",
        "Default/unnamed/trace.npy",
        "Dose%2FResponse",
        &folder,
        &tables[0],
        &metadata,
        &tables[1],
        &tables[2],
        "Dose%2FResponse/Vessel 01",
        "Dose%2FResponse/Vessel 01/assets",
        "Dose%2FResponse/Vessel 01/assets/attachment:2.txt",
        "Dose%2FResponse/Vessel 01/assets/same.txt",
        "Dose%2FResponse/Vessel 01/assets/same.txt~2",
        "Dose%2FResponse/Vessel 01/assets/snap.tif",
        "Dose%2FResponse/Vessel 01/events.csv",
        "Dose%2FResponse/Vessel 01/events.deleted.csv",
        "Dose%2FResponse/Vessel 01/metadata.json",
        "Dose%2FResponse/Vessel 01/results",
        "Dose%2FResponse/Vessel 01/results/dose_response.csv",
        "Dose%2FResponse/Vessel 01/results/dose_response.json",
        "Dose%2FResponse/Vessel 01/results/tone.json",
        "Dose%2FResponse/Vessel 01/results/tone.json~2",
        "Dose%2FResponse/Vessel 01/results/x%2Fy.json",
        "Dose%2FResponse/Vessel 01/thumbnail.png",
        "Dose%2FResponse/Vessel 01/trace.csv",
        "Dose%2FResponse/Vessel 01/trace.npy",
        "Dose%2FResponse/Vessel 01~2",
        "Dose%2FResponse/Vessel 01~2/assets",
        "Dose%2FResponse/Vessel 01~2/assets/short.tiff",
        "Dose%2FResponse/Vessel 01~2/events.csv",
        "Dose%2FResponse/Vessel 01~2/metadata.json",
        "Dose%2FResponse/Vessel 01~2/trace.csv",
        "Dose%2FResponse/Vessel 01~2/trace.npy",
        "Dose%2FResponse/Vessel 01~2~2",
        "Dose%2FResponse/Vessel 01~2~2/events.csv",
        "Dose%2FResponse/Vessel 01~2~2/metadata.json",
        "Dose%2FResponse/Vessel 01~2~2/trace.csv",
        "Dose%2FResponse/Vessel 01~2~2/trace.npy",
        "Only meta",
        "attachments",
        "attachments/notes.txt",
        "attachments~2",
        "attachments~2/a%2Fb: weird*name?",
        "attachments~2/a%2Fb: weird*name?/assets",
        "attachments~2/a%2Fb: weird*name?/assets/packed.tiff",
        "attachments~2/a%2Fb: weird*name?/events.csv",
        "attachments~2/a%2Fb: weird*name?/metadata.json",
        "attachments~2/a%2Fb: weird*name?/trace.csv",
        "attachments~2/a%2Fb: weird*name?/trace.npy",
        "experiments.json",
        "orphans",
        "orphans/dataset-99",
        "orphans/dataset-99/events.csv",
        "orphans/dataset-99/metadata.json",
        "orphans/dataset-99/trace.csv",
        "orphans/dataset-99/trace.npy",
        "project.json",
    ];
    expected.sort();
    assert_eq!(names, expected);
    for (path, (ino, time, bytes)) in &listing {
        // The tag alone bears the newest time, two seconds after all else.
        let newest = Time { seconds: NEWEST.seconds + 2, ..NEWEST };
        assert_eq!(*time, if path == "CACHEDIR.TAG" { newest } else { TIME }, "{path}");
        assert!(*ino == 77 || listing.values().filter(|(other, ..)| other == ino).count() == 1);
        if let Some(Err(why)) = bytes {
            assert!(path.ends_with("short.tiff"), "{path}: {why}");
        }
    }
    let codes: Vec<&str> = findings.list().iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"asset-size") && codes.contains(&"extra-not-json"), "{codes:?}");
}

#[test]
fn the_same_project_is_the_same_view_and_another_state_has_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(content) = make(folder.path()) else { return };
    let cache = Arc::new(CacheFolder::open(&folder.path().join("cache"), 1 << 20).unwrap());
    let first = list(Spot::top(view(&content, 77, None).0));
    for _ in 0..2 {
        assert_eq!(list(Spot::top(view(&content, 77, Some(cache.clone())).0)), first);
    }
    let elsewhere = list(Spot::top(view(&content, 78, None).0));
    let numbers = |listing: &Listing| listing.values().map(|(ino, ..)| *ino).collect::<Vec<_>>();
    assert!(numbers(&first).iter().all(|ino| !numbers(&elsewhere).contains(ino)));
    // What is known from an earlier mount is known without work.
    let (known, _) = view(&content, 77, Some(cache));
    let trace = Spot::top(known).child(b"Dose%2FResponse").unwrap().unwrap();
    let trace = trace.child(b"Vessel 01").unwrap().unwrap().child(b"trace.csv").unwrap().unwrap();
    assert_eq!(trace.branch.known_size(trace.node), Some(trace.size().unwrap()));
}

#[test]
fn listing_a_directory_renders_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(content) = make(folder.path()) else { return };
    let (view, _) = view(&content, 77, None);
    let sample = Spot::top(view).child(b"Dose%2FResponse").unwrap().unwrap();
    let sample = sample.child(b"Vessel 01").unwrap().unwrap();
    let late: Vec<Vec<u8>> = sample
        .children()
        .filter(|file| file.branch.tree().node(file.node).is_late())
        .inspect(|file| assert_eq!(file.branch.known_size(file.node), None))
        .map(|file| file.name().to_vec())
        .collect();
    assert_eq!(
        late,
        ["events.csv", "events.deleted.csv", "trace.csv", "trace.npy"].map(|n| n.as_bytes().to_vec())
    );
}

/// Compares what was written down with the database: `sqlite3` on one side, NumPy, pandas and `json` on the other.
const COMPARE: &str = r#"
import csv, hashlib, json, math, os, sqlite3, struct, sys
import numpy, pandas
db, top = sqlite3.connect(sys.argv[1]), sys.argv[2]
units = dict(inner_diam='inner_diam_um', outer_diam='outer_diam_um', p_avg='p_avg_mmhg', p1='p1_mmhg', p2='p2_mmhg', temp='temp_c')
seen = 0
def same(text, value):
    if value is None: return text == ''
    if isinstance(value, float): return struct.pack('<d', float(text)) == struct.pack('<d', value) and not text.isdigit()
    return text == str(value)
def table(path, sql, args):
    global seen
    cur = db.execute(sql, args); want = cur.fetchall()
    got = list(csv.reader(open(path, newline='', encoding='utf-8')))
    names = [units.get(d[0], d[0]) for d in cur.description]
    assert got[0] == names, (path, got[0], names)
    assert len(got) - 1 == len(want), (path, len(got), len(want))
    for row, expected in zip(got[1:], want): assert all(map(same, row, expected)), (path, row, expected)
    frame = pandas.read_csv(path)
    assert list(frame.columns) == names and len(frame) == len(want)
    seen += 1
    return names, want
def check(folder, d):
    columns = [r[1] for r in db.execute('pragma table_info(trace)')][1:]
    names, want = table(f'{folder}/trace.csv', f"select {','.join(columns)} from trace where dataset_id=? order by t_seconds", (d,))
    array = numpy.load(f'{folder}/trace.npy', mmap_mode='r') if want else numpy.load(f'{folder}/trace.npy')
    assert list(array.dtype.names) == names and array.shape == (len(want),)
    for i, name in enumerate(names):
        expected = numpy.array([r[i] if isinstance(r[i], (int, float)) else math.nan for r in want], '<f8')
        assert (array[name].view('<u8') == expected.view('<u8')).all(), (folder, name)
    numpy.genfromtxt(f'{folder}/trace.csv', names=True, delimiter=',')
    e = [r[1] for r in db.execute('pragma table_info(event)') if r[1] != 'dataset_id']
    live = [c for c in e if not c.startswith('deleted')]
    table(f'{folder}/events.csv', f"select {','.join(live)} from event where dataset_id=? and deleted_utc is null order by t_seconds", (d,))
    if os.path.exists(f'{folder}/events.deleted.csv'):
        table(f'{folder}/events.deleted.csv', f"select {','.join(e)} from event where dataset_id=? and deleted_utc is not null order by t_seconds", (d,))
    return json.load(open(f'{folder}/metadata.json'))
listed = json.load(open(f'{top}/experiments.json'))
assert [x['name'] for x in listed] == ['Only meta', 'Dose/Response', 'attachments', 'Default'], listed
assert listed[1]['meta'] == {'notes': 'µ', 'x': 1e22}
samples = {}
for x in listed:
    for s in x['samples']:
        folder = f"{top}/{x['folder']}/{s['folder']}"
        d = json.load(open(f'{folder}/metadata.json'))['dataset_id']
        meta = check(folder, d)
        name, extra = db.execute('select name, extra_json from dataset where id=?', (d,)).fetchone()
        assert meta['name'] == s['name'] == name and meta['experiment'] == x['name'] and meta['subfolder'] == s['subfolder']
        if extra is not None and extra != '{torn': assert str(meta['extra']) == str(json.loads(extra)), meta
        if extra == '{torn': assert meta['extra'] == extra
        samples[d] = (folder, meta)
assert sorted(samples) == [1, 2, 3, 4, 5, 6, 7]
check(f'{top}/orphans/dataset-99', 99)
folder, meta = samples[1]
assets = {a['role']: a for a in meta['assets']}
for role, asset in assets.items():
    data = open(f"{folder}/{asset['file']}", 'rb').read()
    assert hashlib.sha256(data).hexdigest() == asset['sha256'] and len(data) == asset['size_bytes'], role
assert assets['attachment:1']['file'] == 'assets/same.txt~2'
for result, (payload,) in zip(meta['results'], db.execute('select payload_json from result order by id')):
    assert open(f"{folder}/{result['files'][0]}", encoding='utf-8').read() == payload
frame = pandas.read_csv(f'{folder}/results/dose_response.csv')
assert list(frame.columns) == ['dose_logM', 'pct'] and frame['pct'][0] == 1.5 and math.isnan(frame['pct'][1]) and list(frame['dose_logM']) == [-9, -8]
assert open(f'{folder}/thumbnail.png', 'rb').read() == db.execute('select png from thumbnail').fetchone()[0]
assert open(f'{top}/attachments/notes.txt').read() == 'of all'
packed = f'{samples[4][0]}/assets/packed.tiff'
assert hashlib.sha256(open(packed, 'rb').read()).hexdigest() == samples[4][1]['assets'][0]['sha256']
project = json.load(open(f'{top}/project.json'))
assert project['user_version'] == 7 and project['meta']['project_tags'] == ['a', 1.5] and project['meta']['project_name'] == '"Näme"'
print('the same', seen)
"#;

#[test]
fn python_finds_in_the_view_what_sqlite_finds_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let Some(content) = make(folder.path()) else { return };
    let top = folder.path().join("view");
    for (path, (_, _, bytes)) in list(Spot::top(view(&content, 77, None).0)) {
        match bytes {
            None => fs::create_dir_all(top.join(path)).unwrap(),
            Some(Ok(bytes)) => fs::write(top.join(path), bytes).unwrap(),
            Some(Err(_)) => {}
        }
    }
    let said = python(COMPARE, &[&folder.path().join("p.sqlite"), &top]).unwrap();
    assert_eq!(said, "the same 17\n");
}
