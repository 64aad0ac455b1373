"""Writes files of the dialects that no corpus has, from the description of the format, and says what is in them.

The sections are those of cameras: numbers, text, times in the form and unit of their dialect, arrays, raw bytes. The
hashes are bytes like others; nobody checks them here.
"""

import json
import struct
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import vsf_writer as vsf

LANDING = datetime(1969, 7, 20, 20, 17, 40, tzinfo=timezone.utc)
OSCILLATIONS = 1_420_407_826
SECONDS = 1_778_000_000


def utc(seconds):
    return (LANDING + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def u(n):
    return b"u" + vsf.sized(n)


# Of each form of a time: its bytes, what it counts, and the second that it means.
SINGLE = struct.unpack(">f", struct.pack(">f", SECONDS))[0]
FORMS = {
    "bare_single": (b"ef" + struct.pack(">f", SECONDS), "seconds", SINGLE),
    "bare_double": (b"ef" + struct.pack(">d", SECONDS), "seconds", SECONDS),
    "single": (b"ef5" + struct.pack(">f", SECONDS), "seconds", SINGLE),
    "double": (b"ef6" + struct.pack(">d", SECONDS), "seconds", SECONDS),
    "unsigned_seconds": (b"e" + u(SECONDS), "seconds", SECONDS),
    "signed_seconds": (b"ei5" + struct.pack(">i", -1000), "seconds", -1000),
    "unsigned": (b"eu6" + struct.pack(">Q", SECONDS * OSCILLATIONS), "oscillations", SECONDS),
    "signed": (b"ei6" + struct.pack(">q", -1000 * OSCILLATIONS), "oscillations", -1000),
    "plain": (b"e6" + struct.pack(">q", SECONDS * OSCILLATIONS), "oscillations", SECONDS),
}
OLD = ["unsigned_seconds", "signed_seconds"]
DIALECTS = {
    # version: (times in sections, time of the header)
    2: (["bare_single", "bare_double", *OLD], None),
    3: (["bare_single", "bare_double", *OLD], "bare_single"),
    4: (["single", "double", *OLD], "double"),
    5: (["single", "double", *OLD], "unsigned_seconds"),
    6: (["single", "double", "unsigned", "signed"], "unsigned"),
    9: (["single", "double", "plain"], "plain"),
}


def label(z, title, at, size, count):
    parts = [b"o" + vsf.sized(at), b"b" + vsf.sized(size), b"n" + vsf.sized(count)]
    if z <= 3:
        return b"(" + vsf.name(title) + b"".join(parts) + b")"
    return b"(" + vsf.name(title) + b":" + b",".join(parts) + b")"


def head(z, length, total, time, rows):
    numbers = {2: 2, 3: 2, 4: 2, 5: 5, 6: 5, 9: 9}
    version = b"z" + vsf.sized(z) + b"y" + vsf.sized(numbers[z])
    size = b"b" + vsf.sized(length)
    out = b"R\xc3\x85<" + (size + version if z <= 3 else version + size)
    if z >= 6:
        out += (b"L" if z == 6 else b"l") + vsf.sized(total)
    if z >= 3:
        # A hash whose first byte could be the end of a time.
        out += time + b"hp3\x1f" + b"(" + bytes(range(31))
    out += b"hb3\x1f" + b">" * 32
    return out + b"n" + vsf.sized(len(rows)) + b"".join(rows) + b">"


def body(z, times):
    text = (b"a" if z >= 9 else b"l") + vsf.sized(7) + b" , ) (x"
    vector = b"t3\x01u3" + vsf.sized(3) if z <= 3 else b"tn" + vsf.sized(3) + b"u3"
    fields = [
        ("iso_speed", u(800)),
        *((form, FORMS[form][0]) for form in times),
        ("temperature", b"i3\xfb"),
        ("gain", b"f5" + struct.pack(">f", 0.5)),
        ("note", text),
        ("list", vector + b"),("),
        ("raw", b"p" + vsf.sized(1) + b"\x0c" + vsf.sized(3) + vsf.pack(12, [1, 2, 4095])),
        ("pair", u(1) + b"," + u(2)),
    ]
    out = b"[" + (vsf.name("camera") if z <= 6 else b"")
    out += b"".join(b"(" + vsf.name(title) + b":" + value + b")" for title, value in fields)
    return out + b"(" + vsf.name("flag") + b")]", len(fields) + 1


def write(path, z):
    forms, of_header = DIALECTS[z]
    section, count = body(z, forms)
    blob = b"(d3" * 100
    time = FORMS[of_header][0] if of_header else b""
    length = total = 0
    while True:
        rows = [label(z, "camera", length, len(section), count), label(z, "blob", length + len(section), len(blob), 0)]
        out = head(z, length, total, time, rows)
        if (len(out), len(out) + len(section) + len(blob)) == (length, total):
            break
        length, total = len(out), len(out) + len(section) + len(blob)
    path.write_bytes(out + section + blob)
    return {
        "version": z,
        "header": of_header and utc(FORMS[of_header][2]),
        "times": {form: {"unit": FORMS[form][1], "value": utc(FORMS[form][2])} for form in forms},
        "fields": count,
    }


def main(folder):
    truth = {f"z{z}.vsf": write(folder / f"z{z}.vsf", z) for z in DIALECTS}
    json.dump(truth, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
