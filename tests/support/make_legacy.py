"""Legacy projects that no collection has, with what is known of them: made by Python and the real SQLite alone.

usage: make_legacy.py layouts FOLDER     every layout of old, NAME.vaso with its truth beside it, NAME.json
       make_legacy.py hot FOLDER         projects with a log or journal beside them, as a crash leaves them
       make_legacy.py real FILE          lets SQLite open FILE, recovery and all, and prints what it sees
       make_legacy.py seen MOUNT         prints the same of a mounted project
"""

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import struct
import sys
from pathlib import Path

DATASET = "id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_utc TEXT NOT NULL, notes TEXT, fps REAL, pixel_size_um REAL, t0_seconds REAL DEFAULT 0, extra_json TEXT"
TRACE = ["t_seconds REAL NOT NULL", "inner_diam REAL", "outer_diam REAL", "p_avg REAL", "p1 REAL", "p2 REAL"]
FRAMES = ["frame_number INTEGER", "tiff_page INTEGER", "temp REAL", "table_marker INTEGER", "caliper_length REAL"]
EVENT = ["t_seconds REAL NOT NULL", "label TEXT NOT NULL", "frame INTEGER", "p_avg REAL", "p1 REAL", "p2 REAL", "temp REAL"]
DIAMETERS = ["od REAL", "id_diam REAL", "caliper REAL", "od_ref_pct REAL"]
SOURCES = ["source_frame INTEGER", "source_row INTEGER", "source_time_str TEXT"]
DELETED = ["deleted_utc TEXT", "deleted_reason TEXT", "deleted_by TEXT"]
SIGNED = ", canonical_time_source TEXT NOT NULL DEFAULT 'unknown', trace_signature TEXT, events_signature TEXT, signature_version INTEGER NOT NULL DEFAULT 1"
ASSETS = """
CREATE TABLE asset(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE, size_bytes INTEGER NOT NULL, compressed INTEGER NOT NULL, chunk_size INTEGER NOT NULL, original_name TEXT, mime TEXT);
CREATE TABLE blob_chunk(asset_id INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(asset_id, seq)) WITHOUT ROWID;
CREATE TABLE ref(asset_id INTEGER NOT NULL, dataset_id INTEGER NOT NULL, role TEXT NOT NULL, note TEXT, PRIMARY KEY(asset_id, dataset_id, role)) WITHOUT ROWID;
CREATE UNIQUE INDEX ref_dataset_role ON ref(dataset_id, role);"""
OLD_ASSETS = """
CREATE TABLE asset(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, role TEXT NOT NULL, storage TEXT NOT NULL, rel_path TEXT, mime TEXT, sha256 TEXT, bytes INTEGER);
CREATE TABLE blob_chunk(asset_id INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(asset_id, seq)) WITHOUT ROWID;"""
AUDIT = "CREATE TABLE event_audit(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, event_id INTEGER, action TEXT NOT NULL, old_json TEXT, new_json TEXT, source TEXT NOT NULL, utc_ts TEXT NOT NULL);"
RECIPE = "CREATE TABLE figure_recipe(recipe_id TEXT PRIMARY KEY, dataset_id INTEGER NOT NULL, name TEXT NOT NULL, spec_json TEXT NOT NULL);"

# name: user_version, trace, dataset, event, assets, more tables
LAYOUTS = {
    "v2": (2, TRACE, "", EVENT, OLD_ASSETS, ""),
    "v3b": (3, TRACE + FRAMES, "", EVENT + DIAMETERS, ASSETS, ""),
    "v3c": (3, TRACE + FRAMES, ", trace_checksum TEXT, events_checksum TEXT", EVENT + DIAMETERS, ASSETS, ""),
    "v4": (4, TRACE + FRAMES, ", trace_checksum TEXT, events_checksum TEXT", EVENT + DIAMETERS, ASSETS, RECIPE),
    "v6": (
        6,
        TRACE + FRAMES,
        ", trace_checksum TEXT, events_checksum TEXT" + SIGNED,
        EVENT + DIAMETERS + ["t_us INTEGER"] + SOURCES + DELETED,
        ASSETS,
        AUDIT,
    ),
}
SAMPLES = [(1, "Vessel 1", "WT", 300), (2, "Gefäß/2 µ", "WT", 75), (5, "Vessel 1", "KO", 1)]
T = "2025-03-01T10:00:00Z"


def names(columns):
    return [column.split()[0] for column in columns]


def cell(column, sample, i):
    """A value of a trace or an event: each column has its own, some of them nothing."""
    t = round(i * 0.1 + sample * 1e-3, 6)
    if column == "t_seconds":
        return t
    if column == "t_us":
        return round(t * 1e6)
    if column == "label":
        return f"ACh {i} µM, \"{sample}\""
    if column == "tiff_page":
        return i // 30 if i % 30 == 0 else None
    if column in ("frame", "frame_number", "source_frame", "source_row", "table_marker"):
        return i * len(column)
    if column == "source_time_str":
        return f"00:00:{i:02d}"
    if column.startswith("deleted"):
        return f"{column} {i}" if i == 3 else None
    if column == "inner_diam" and i % 7 == 3:
        return None
    return round(len(column) * 10 + sample + i / 3, 3)


def sha_of(cells):
    pack = lambda value: struct.pack("<Q", 0x7FF8000000000000) if value is None else struct.pack("<d", float(value))
    return hashlib.sha256(b"".join(map(pack, cells))).hexdigest()


def make_layout(folder, name):
    version, trace, dataset, event, assets, more = LAYOUTS[name]
    db = sqlite3.connect(folder / f"{name}.vaso")
    db.executescript(
        f"""CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE dataset({DATASET}{dataset});
        CREATE TABLE trace(dataset_id INTEGER NOT NULL, {", ".join(trace)}, PRIMARY KEY(dataset_id, t_seconds)) WITHOUT ROWID;
        CREATE TABLE event(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, {", ".join(event)}, extra_json TEXT);
        CREATE INDEX event_ds_t ON event(dataset_id, t_seconds);
        {assets} {more}
        CREATE TABLE result(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL, created_utc TEXT NOT NULL, payload_json TEXT NOT NULL);
        CREATE TABLE thumbnail(dataset_id INTEGER PRIMARY KEY, png BLOB NOT NULL);
        PRAGMA user_version={version};"""
    )
    db.executemany("INSERT INTO meta VALUES(?, ?)", [("project_name", f"Old {name}"), ("schema_version", "3")])
    known = []
    for sample, title, experiment, rows in SAMPLES:
        extra = json.dumps({"experiment": experiment})
        db.execute("INSERT INTO dataset(id, name, created_utc, fps, extra_json) VALUES(?, ?, ?, 10, ?)", (sample, title, T, extra))
        columns = names(trace)
        table = [[cell(c, sample, i) for c in columns] for i in range(rows)]
        marks = ", ".join("?" * (len(columns) + 1))
        db.executemany(f"INSERT INTO trace VALUES({marks})", [[sample] + row for row in table])
        events = [{c: cell(c, sample, i) for c in names(event)} for i in range(5)]
        for one in events:
            marks = ", ".join("?" * (len(one) + 1))
            sql = f"INSERT INTO event(dataset_id, {', '.join(one)}) VALUES({marks})"
            db.execute(sql, [sample] + list(one.values()))
        deleted = [e for e in events if e.get("deleted_utc")]
        live = [{c: e[c] for c in e if not c.startswith("deleted")} for e in events if e not in deleted]
        blob = bytes((i * sample) % 251 for i in range(10_000))
        sha = hashlib.sha256(blob).hexdigest()
        pieces = [blob[at : at + 4096] for at in range(0, len(blob), 4096)]
        if version < 3:
            db.execute("INSERT INTO asset VALUES(?, ?, 'tiff', 'embedded', NULL, 'image/tiff', ?, ?)", (sample, sample, sha, len(blob)))
        else:
            db.execute("INSERT INTO asset VALUES(?, 'tiff', ?, ?, 0, 4096, 'a.tif', 'image/tiff')", (sample, sha, len(blob)))
            db.execute("INSERT INTO ref VALUES(?, ?, 'tiff', NULL)", (sample, sample))
        db.executemany("INSERT INTO blob_chunk VALUES(?, ?, ?)", [(sample, i, piece) for i, piece in enumerate(pieces)])
        known.append(
            {
                "id": sample,
                "name": title,
                "experiment": experiment,
                "trace_rows": rows,
                "trace": {c: {"f64le_sha256": sha_of(row[k] for row in table)} for k, c in enumerate(columns)},
                "event_rows": len(live),
                "event_rows_deleted": len(deleted),
                "events": live,
                "events_deleted": deleted,
                "assets": [{"sha256": sha, "size": len(blob)}],
            }
        )
    db.commit()
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    rows = {t: {"rows": db.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0]} for t in tables}
    db.close()
    truth = {"content": {"user_version": version, "tables": rows, "datasets": known}}
    (folder / f"{name}.json").write_text(json.dumps(truth))


def with_journal(path, committed=False):
    """A project in the middle of a transaction whose pages have reached the file already, copied as it lies there; or
    with all of the transaction in the file, and the journal not removed yet."""
    work = path.with_name("work.db")
    db = sqlite3.connect(work, isolation_level=None)
    db.execute("PRAGMA page_size=1024")
    db.executescript(
        f"""CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE dataset({DATASET});
        CREATE TABLE trace(dataset_id INTEGER NOT NULL, {", ".join(TRACE)}, PRIMARY KEY(dataset_id, t_seconds)) WITHOUT ROWID;
        CREATE TABLE event(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, {", ".join(EVENT)}, extra_json TEXT);
        INSERT INTO dataset(id, name, created_utc) VALUES(1, 'Vessel 1', '{T}'), (2, 'Vessel 2', '{T}');
        PRAGMA user_version=3;"""
    )
    rows = [[d] + [cell(c, d, i) for c in names(TRACE)] for d in (1, 2) for i in range(400)]
    db.execute("BEGIN")
    db.executemany("INSERT INTO trace VALUES(?, ?, ?, ?, ?, ?, ?)", rows)
    db.execute("COMMIT")
    db.execute("PRAGMA cache_size=2")
    db.execute("BEGIN")
    db.execute("UPDATE trace SET inner_diam = 7, outer_diam = 8")
    db.execute("DELETE FROM trace WHERE dataset_id = 2 AND t_seconds > 20")
    db.execute("UPDATE dataset SET name = 'Half done'")
    journal = f"{work}-journal"
    assert os.path.getsize(journal) > 10_000, "the transaction has not reached the disk"
    shutil.copy(journal, f"{path}-journal")
    if committed:
        db.execute("COMMIT")
    shutil.copy(work, path)
    if not committed:
        db.execute("ROLLBACK")
    db.close()
    work.unlink()


def name_super_journal(path, name):
    """What SQLite writes at the end of the journals of a transaction over several databases."""
    name = os.fsencode(name)
    total = sum(struct.unpack(f"{len(name)}b", name)) & 0xFFFFFFFF
    with open(f"{path}-journal", "ab") as journal:
        journal.write(struct.pack(">I", 0x40000000 // 1024 + 1) + name + struct.pack(">II", len(name), total))
        journal.write(bytes.fromhex("d9d505f920a163d7"))


def make_hot(folder):
    with_journal(folder / "hot.vaso")
    for name, place in [("there", folder), ("gone", folder), ("moved", Path("/nowhere/at/all"))]:
        path = folder / f"{name}.vaso"
        with_journal(path, committed=name == "gone")
        name_super_journal(path, place / f"{name}.vaso-mj0123")
        if name != "gone":
            (folder / f"{name}.vaso-mj0123").write_bytes(os.fsencode(f"{path}-journal") + b"\0")
    # A log that nobody has brought into the file.
    work = folder / "work.db"
    with_journal(work.with_name("base.vaso"))
    shutil.move(folder / "base.vaso", work)
    shutil.move(folder / "base.vaso-journal", f"{work}-journal")
    db = sqlite3.connect(work, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("UPDATE trace SET inner_diam = 9 WHERE dataset_id = 1")
    db.execute("INSERT INTO dataset(id, name, created_utc) VALUES(3, 'In the log', ?)", (T,))
    db.execute("INSERT INTO trace SELECT 3, t_seconds, inner_diam, outer_diam, p_avg, p1, p2 FROM trace WHERE dataset_id = 1")
    shutil.copy(work, folder / "log.vaso")
    shutil.copy(f"{work}-wal", folder / "log.vaso-wal")
    db.close()


def real(path):
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    return told(db)


def told(db):
    columns = "t_seconds, inner_diam, outer_diam, p_avg, p1, p2"
    said = {}
    for number, name in db.execute("SELECT id, name FROM dataset ORDER BY id"):
        rows = db.execute(f"SELECT {columns} FROM trace WHERE dataset_id = ? ORDER BY t_seconds", (number,)).fetchall()
        said[f"{number} {name}"] = [len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()]
    return said


def seen(mount):
    database = mount / "current.sqlite"
    said = told(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True))
    # What is rendered of it is the same.
    shown = {}
    for metadata in (mount / "browse").glob("*/*/metadata.json"):
        known = json.loads(metadata.read_text())
        with open(metadata.with_name("trace.csv"), newline="", encoding="utf-8") as file:
            rows = [tuple(float(c) if c else None for c in row) for row in list(csv.reader(file))[1:]]
        shown[f"{known['dataset_id']} {known['name']}"] = [len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()]
    assert shown == said, f"{shown} is not {said}"
    return said


if __name__ == "__main__":
    what, place = sys.argv[1], Path(sys.argv[2])
    if what == "layouts":
        for name in LAYOUTS:
            make_layout(place, name)
    elif what == "hot":
        make_hot(place)
    else:
        print(json.dumps({"real": real, "seen": seen}[what](place), sort_keys=True))
