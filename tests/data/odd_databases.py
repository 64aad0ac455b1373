#!/usr/bin/env python3
"""Project databases of unusual shape, for the tests of recovery: odd_databases.py FOLDER (needs the sqlite3 tool)."""
import os, random, sqlite3, subprocess, sys

REF = "REFERENCES dataset(id) ON DELETE CASCADE"
DDL = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE dataset(id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_utc TEXT NOT NULL, notes TEXT, fps REAL, pixel_size_um REAL, t0_seconds REAL DEFAULT 0, extra_json TEXT, trace_checksum TEXT, events_checksum TEXT, canonical_time_source TEXT NOT NULL DEFAULT 'unknown', trace_source_fingerprint TEXT, events_source_fingerprint TEXT, trace_signature TEXT, events_signature TEXT, signature_version INTEGER NOT NULL DEFAULT 1, last_validated_utc TEXT, validation_status TEXT NOT NULL DEFAULT 'unknown', validation_error TEXT);
CREATE TABLE trace(dataset_id INTEGER NOT NULL {REF}, t_seconds REAL NOT NULL, t_us INTEGER, inner_diam REAL, outer_diam REAL, p_avg REAL, p1 REAL, p2 REAL, frame_number INTEGER, tiff_page INTEGER, temp REAL, table_marker INTEGER, caliper_length REAL, PRIMARY KEY(dataset_id, t_seconds)) WITHOUT ROWID;
CREATE INDEX trace_ds_t ON trace(dataset_id, t_seconds);
CREATE TABLE event(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL {REF}, t_seconds REAL NOT NULL, t_us INTEGER, label TEXT NOT NULL, frame INTEGER, source_frame INTEGER, source_row INTEGER, source_time_str TEXT, p_avg REAL, p1 REAL, p2 REAL, temp REAL, od REAL, id_diam REAL, caliper REAL, od_ref_pct REAL, extra_json TEXT, deleted_utc TEXT, deleted_reason TEXT, deleted_by TEXT);
CREATE INDEX event_ds_t ON event(dataset_id, t_seconds);
CREATE TABLE asset(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE, size_bytes INTEGER NOT NULL, compressed INTEGER NOT NULL, chunk_size INTEGER NOT NULL, original_name TEXT, mime TEXT);
CREATE TABLE blob_chunk(asset_id INTEGER NOT NULL REFERENCES asset(id) ON DELETE CASCADE, seq INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(asset_id, seq)) WITHOUT ROWID;
CREATE TABLE ref(asset_id INTEGER NOT NULL REFERENCES asset(id) ON DELETE CASCADE, dataset_id INTEGER NOT NULL {REF}, role TEXT NOT NULL, note TEXT, PRIMARY KEY(asset_id, dataset_id, role)) WITHOUT ROWID;
CREATE UNIQUE INDEX ref_dataset_role ON ref(dataset_id, role);
CREATE TABLE result(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL {REF}, kind TEXT NOT NULL, version TEXT NOT NULL, created_utc TEXT NOT NULL, payload_json TEXT NOT NULL);
CREATE TABLE thumbnail(dataset_id INTEGER PRIMARY KEY {REF}, png BLOB NOT NULL);
PRAGMA user_version=7;
"""
T = "2026-03-01T12:00:00Z"


def fill(db, rows):
    dice = random.Random(7)
    db.executemany("insert into meta values(?,?)", [("format", "sqlite-v3"), ("modified_utc", T), ("project_name", "Gefäße µm")])
    for d in (1, 2, 3):
        db.execute("insert into dataset(id,name,created_utc,fps,extra_json) values(?,?,?,?,?)", (d, f"Vessel {d} α", T, 10.0, '{"experiment": "Exp 1"}'))
        t = 0.0
        for i in range(rows):
            t = round(t + dice.uniform(0.05, 0.15), 6)
            od = round(dice.gauss(200, 9), 2)
            db.execute("insert into trace values(?,?,?,?,?,?,?,?,?,?,?,?,?)", (d, t, round(t * 1e6), None if i % 50 == 7 else od - 40, od, 60.5, 61.0, 60.0, i, i // 30 if i % 30 == 0 else None, 37.0, 0, 0.0))
        for i in range(12):
            db.execute("insert into event(dataset_id,t_seconds,t_us,label,frame,extra_json) values(?,?,?,?,?,?)", (d, i + 0.5, i * 1000000 + 500000, f"ACh {i} µM", i, '{"OD (µm)": %s}' % ("9" * (10 + 700 * (i % 3)))))
        size = 3000 * d
        db.execute("insert into asset(kind,sha256,size_bytes,compressed,chunk_size,original_name,mime) values('tiff',?,?,0,2097152,?,'image/tiff')", ("%064x" % dice.getrandbits(256), size * 3, f"v{d}.tif"))
        for q in range(3):
            db.execute("insert into blob_chunk values(?,?,?)", (d, q, dice.randbytes(size)))
        db.execute("insert into ref values(?,?,'tiff',NULL)", (d, d))
        db.execute("insert into result(dataset_id,kind,version,created_utc,payload_json) values(?,'fit','1',?,?)", (d, T, '{"a": [%s]}' % ", ".join(map(str, range(500)))))
        db.execute("insert into thumbnail values(?,?)", (d, dice.randbytes(1500)))
    db.commit()


folder = sys.argv[1]
for name, size, pragma, rows, reserve in [
    ("utf16le", 4096, "encoding='UTF-16le'", 300, 0),
    ("utf16be", 1024, "encoding='UTF-16be'", 300, 0),
    ("small_pages", 512, "encoding='UTF-8'", 200, 0),
    ("large_pages", 65536, "encoding='UTF-8'", 900, 0),
    ("auto_vacuum", 1024, "auto_vacuum=1", 300, 0),
    ("reserved", 4096, "encoding='UTF-8'", 300, 32),
    ("with_deleted", 4096, "encoding='UTF-8'", 600, 0),
]:
    path = os.path.join(folder, name + ".db")
    if os.path.exists(path):
        os.unlink(path)
    if reserve:
        subprocess.run(["sqlite3", path], input=f".filectrl reserve_bytes {reserve}\nPRAGMA page_size={size};\nVACUUM;\n", text=True, check=True)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size={size}")
    db.execute(f"PRAGMA {pragma}")
    db.executescript(DDL)
    fill(db, rows)
    if name == "with_deleted":
        # Deleted rows stay on the free pages.
        db.execute("PRAGMA secure_delete=OFF")
        db.execute("delete from trace where dataset_id=2")
        db.execute("delete from event where dataset_id=2")
        db.commit()
    db.close()
