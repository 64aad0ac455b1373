#!/usr/bin/env python3
"""Which pages each row of a sound SQLite database lies on: rows_by_page.py FILE... writes FILE.pages.json.

{table: [[n, [page, ...]], ...]}: in the order of the key, the next n rows lie on these pages (the leaf, or the interior
page of a table WITHOUT ROWID, then the pages of the overflow chain). It shares no code with what it is to check, and
compares the number of rows with what SQLite counts.
"""
import json, sqlite3, sys


def number(b, i):
    v = 0
    for k in range(9):
        c = b[i + k]
        if k == 8:
            return (v << 8) | c, i + 9
        v = (v << 7) | (c & 127)
        if c < 128:
            return v, i + k + 1


class File:
    def __init__(self, path):
        self.b = open(path, "rb").read()
        self.size = int.from_bytes(self.b[16:18], "big")
        self.size = 65536 if self.size == 1 else self.size
        self.usable = self.size - self.b[20]

    def page(self, n):
        return self.b[(n - 1) * self.size : n * self.size]

    def rows(self, n):
        p = self.page(n)
        h = 100 if n == 1 else 0
        kind, cells = p[h], int.from_bytes(p[h + 3 : h + 5], "big")
        first = h + (12 if kind in (2, 5) else 8)
        for i in range(cells):
            at = int.from_bytes(p[first + 2 * i : first + 2 * i + 2], "big")
            if kind in (2, 5):
                yield from self.rows(int.from_bytes(p[at : at + 4], "big"))
                at += 4
            if kind != 5:
                yield [n] + self.chain(p, at, kind)
        if kind in (2, 5):
            yield from self.rows(int.from_bytes(p[h + 8 : h + 12], "big"))

    def chain(self, p, at, kind):
        length, at = number(p, at)
        if kind == 13:
            _, at = number(p, at)
        u = self.usable
        most = u - 35 if kind == 13 else (u - 12) * 64 // 255 - 23
        if length <= most:
            return []
        least = (u - 12) * 32 // 255 - 23
        local = least + (length - least) % (u - 4)
        local = local if local <= most else least
        pages, left = [], length - local
        following = int.from_bytes(p[at + local : at + local + 4], "big")
        while left > 0:
            pages.append(following)
            following = int.from_bytes(self.page(following)[:4], "big")
            left -= u - 4
        return pages


for path in sys.argv[1:]:
    db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    file, out = File(path), {}
    for name, root in db.execute("select name, rootpage from sqlite_schema where type='table'").fetchall():
        runs = []
        for pages in file.rows(root):
            if runs and runs[-1][1] == pages:
                runs[-1][0] += 1
            else:
                runs.append([1, pages])
        count = db.execute(f'select count(*) from "{name}"').fetchone()[0]
        assert count == sum(n for n, _ in runs), (path, name)
        out[name] = runs
    json.dump(out, open(path + ".pages.json", "w"), separators=(",", ":"))
