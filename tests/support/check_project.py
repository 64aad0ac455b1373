"""Compares a mounted project with what is known of it, with nothing but Python's own library.

usage: check_project.py MOUNT TRUTH.json

Prints a line for each difference; exit code 1 if there is one.
"""

import ast
import csv
import hashlib
import json
import math
import os
import sqlite3
import struct
import sys
from pathlib import Path

NULL = struct.pack("<Q", 0x7FF8000000000000)
UNITS = ("um", "mmhg", "c")
wrong = []


def must(holds, *said):
    if not holds:
        wrong.append(" ".join(str(word) for word in said))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    head, rows = rows[0], rows[1:]
    columns = {}
    for i, name in enumerate(head):
        cells = (row[i] for row in rows)
        try:
            packed = b"".join(NULL if cell == "" else struct.pack("<d", float(cell)) for cell in cells)
        except ValueError:
            packed = None
        columns[name] = packed
    return len(rows), columns


def rows_of(path):
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of_npy(path):
    data = path.read_bytes()
    assert data[:6] == b"\x93NUMPY", path
    (length,) = struct.unpack("<H", data[8:10])
    head = ast.literal_eval(data[10 : 10 + length].decode("latin1"))
    codes = {"<f8": "d", "<i8": "q", "|b1": "?"}
    assert all(kind in codes for _, kind in head["descr"]), head
    record = struct.Struct("<" + "".join(codes[kind] for _, kind in head["descr"]))
    rows = list(record.iter_unpack(data[10 + length :]))
    assert len(rows) == head["shape"][0], path
    pack = lambda value: NULL if math.isnan(value) else struct.pack("<d", value)
    return len(rows), {
        name: b"".join(pack(float(row[i])) for row in rows) for i, (name, _) in enumerate(head["descr"])
    }


def same_columns(where, truth, rows, columns):
    must(rows == truth["trace_rows"], where, "rows", rows, "not", truth["trace_rows"])
    for name, known in truth["trace"].items():
        found = [c for c in columns if c == name or c.startswith(name + "_")]
        found = [name] if name in found else found
        must(len(found) == 1, where, "column", name, "is", found)
        for column in found:
            must(
                hashlib.sha256(columns[column]).hexdigest() == known["f64le_sha256"], where, "column", column, "differs"
            )


def same_events(path, truth):
    for known, row in zip(truth, rows_of(path)):
        for name, value in known.items():
            found = [row[c] for c in row if c == name or c.startswith(name + "_") and c[len(name) + 1 :] in UNITS]
            same = found and (found[0] == (value or "") if isinstance(value, str | None) else float(found[0]) == value)
            must(len(found) == 1 and same, path, name, value, "is", found)


def check_sample(folder, truth):
    known = json.loads((folder / "metadata.json").read_text())
    must(known["name"] == truth["name"], folder, "name", known["name"])
    must(known["experiment"] == truth["experiment"], folder, "experiment", known["experiment"])
    if truth["trace_rows"]:
        same_columns(folder / "trace.csv", truth, *of_csv(folder / "trace.csv"))
        same_columns(folder / "trace.npy", truth, *of_npy(folder / "trace.npy"))
    events = of_csv(folder / "events.csv")[0] if (folder / "events.csv").exists() else 0
    must(events == truth["event_rows"], folder, "events", events, "not", truth["event_rows"])
    same_events(folder / "events.csv", truth.get("events", []))
    same_events(folder / "events.deleted.csv", truth.get("events_deleted", []))
    deleted = of_csv(folder / "events.deleted.csv")[0] if (folder / "events.deleted.csv").exists() else 0
    must(deleted == truth.get("event_rows_deleted", 0), folder, "deleted events", deleted)
    assets = folder / "assets"
    found = sorted(digest(path) for path in assets.iterdir()) if assets.exists() else []
    expected = sorted(a["sha256"] for a in truth["assets"] if a.get("size") is not None and a.get("storage") != "external")
    must(found == expected, folder, "assets", found, "not", expected)


def check_database(top, truth):
    with sqlite3.connect(f"file:{(top / 'current.sqlite').as_posix()}?mode=ro&immutable=1", uri=True) as db:
        (verdict,) = db.execute("pragma quick_check").fetchone()
        must(verdict == "ok", "current.sqlite", verdict)
        (version,) = db.execute("pragma user_version").fetchone()
        must(version == truth["user_version"], "user_version", version)
        for table, known in truth["tables"].items():
            (rows,) = db.execute(f'select count(*) from "{table}"').fetchone()
            must(rows == known["rows"], "table", table, rows, "not", known["rows"])
    browse = top / "browse"
    folders = {}
    for metadata in browse.glob("*/*/metadata.json"):
        folders[json.loads(metadata.read_text())["dataset_id"]] = metadata.parent
    samples = [d for d in truth["datasets"] if d["name"] != "__project_attachments__"]
    must(sorted(folders) == sorted(d["id"] for d in samples), "samples", sorted(folders))
    for sample in samples:
        if sample["id"] in folders:
            check_sample(folders[sample["id"]], sample)


def main():
    top, truth = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())["content"]
    session = (".staging/", ".lock")
    if "files" in truth:
        stored = {p: known for p, known in truth["files"].items() if not p.startswith(session)}
        for path, known in stored.items():
            must(digest(top / path) == known["sha256"], path, "differs")
        found = {
            os.path.relpath(os.path.join(at, name), top)
            for at, dirs, names in os.walk(top)
            for name in names
            if not os.path.relpath(at, top).startswith("browse")
        }
        must(found == set(stored) | {"current.sqlite"}, "files", sorted(found ^ set(stored)))
        current = truth["newest_valid_snapshot"]
        if current:
            same = digest(top / "current.sqlite") == truth["files"]["snapshots/" + current]["sha256"]
            must(same, "current.sqlite is not", current)
        check_database(top, truth["newest_valid_content"])
    else:
        check_database(top, truth)
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()
