#!/usr/bin/env python3
"""A reader of VSF files that shares nothing with the one under test.

It was written from the description of the format alone. Where the other walks with a cursor and resumes, this one
returns every way in which bytes can be read, lazily, and takes the first that reads to the end. It prints one JSON
document for every file: header values, labels, and the fields of every section that reads whole.
"""

import json
import struct
import sys
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from math import floor, isfinite


class Bad(Exception):
    pass


WIDTH = {ord("3") + i: 1 << i for i in range(5)}
SPACE = b" \t\n\r"
FIELD_END = b"),: \t\n\r"


def number(data, at, end):
    """A size marker and a big-endian number."""
    if at >= end or data[at] not in WIDTH:
        raise Bad("size marker")
    width = WIDTH[data[at]]
    if at + 1 + width > end:
        raise Bad("short")
    return int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width


def span(at, length, end):
    if at + length > end:
        raise Bad("short")
    return at + length


def signed(value, width):
    return value - (1 << 8 * width) if value >> (8 * width - 1) else value


ELEMENT_BITS = {"u0": 1, "f5": 32, "f6": 64, "j5": 64, "j6": 128}
for w in range(5):
    ELEMENT_BITS["u%d" % (w + 3)] = ELEMENT_BITS["i%d" % (w + 3)] = 8 << w
    for v in range(5):
        ELEMENT_BITS["s%d%d" % (w + 3, v + 3)] = (8 << w) + (8 << v)
        ELEMENT_BITS["c%d%d" % (w + 3, v + 3)] = (16 << w) + (8 << v)


def element(data, at):
    for length in (2, 3):
        name = data[at : at + length].decode("latin-1")
        if name in ELEMENT_BITS:
            return name, at + length
    raise Bad("element")


def product(shape):
    total = 1
    for n in shape:
        total *= n
    return total


def tensor(data, at, end, reaching=False):
    strided = data[at] == ord("q")
    if not strided and data[at + 1 : at + 2] == b"n":
        length, at = number(data, at + 2, end)
        kind, at = element(data, at)
        shape = [length]
    else:
        rank, at = number(data, at + 1, end)
        if rank > 64:
            raise Bad("rank")
        kind, at = element(data, at)
        shape = []
        for _ in range(rank):
            n, at = number(data, at, end)
            shape.append(n)
    strides = None
    if strided:
        strides = []
        for _ in shape:
            n, at = number(data, at, end)
            strides.append(n)
    stored = product(shape)
    if reaching:
        stored = 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if stored else 0
        if stored == product(shape):
            raise Bad("as many")
    stop = span(at, (stored * ELEMENT_BITS[kind] + 7) // 8, end)
    said = [kind, shape, strides, at, stop]
    return ["q" if strided else "t", said], stop


def packed(data, at, end):
    if data[at] == ord("b"):
        bits, at = number(data, at + 2, end)
        rank, at = number(data, at, end)
        most, kind = 64, "bp"
    else:
        rank, at = number(data, at + 1, end)
        span(at, 1, end)
        bits, at = data[at] or 256, at + 1
        most, kind = 256, "p"
    if not 1 <= bits <= most or rank > 64:
        raise Bad("bits")
    shape = []
    for _ in range(rank):
        n, at = number(data, at, end)
        shape.append(n)
    stop = span(at, (product(shape) * bits + 7) // 8, end)
    return [kind, [bits, shape, at, stop]], stop


def sealed(data, at, end):
    """h, g, k and codes: the length is stored less one behind a letter."""
    letter, second = chr(data[at]), data[at + 1]
    if letter == "h" and second == ord("2") or data[at : at + 4] == b"h53\x3f" or chr(second).isalpha():
        n, start = number(data, at + 2, end)
        kind = letter + chr(second)
        n += 1
    else:
        n, start = number(data, at + 1, end)
        kind = letter
    stop = span(start, n, end)
    return [kind, data[start:stop].hex()], stop


def fixed(fmt, kind, at, data, end):
    stop = span(at, struct.calcsize(fmt), end)
    return [kind, data[at:stop].hex()], stop


LANDING = datetime(1969, 7, 20, 20, 17, 40, tzinfo=timezone.utc)
OSCILLATIONS = 1420407826


def moment(count, unit, seconds):
    """A time as it is stored, what it counts, and when it is in UTC, to the nanosecond before it."""
    try:
        nanos = floor(seconds * 10**9)
        whole = LANDING + timedelta(seconds=nanos // 10**9)
        fraction = ("%09d" % (nanos % 10**9)).rstrip("0")
        said = "%04d" % whole.year + whole.strftime("-%m-%dT%H:%M:%S")
        return ["e", [count, unit, said + ("." + fraction if fraction else "") + "Z"]]
    except (OverflowError, ValueError):
        return ["e", [count, unit, None]]


def seconds_of(fmt, at, data, end):
    (_, stored), stop = fixed(fmt, "e", at, data, end)
    (value,) = struct.unpack(fmt, bytes.fromhex(stored))
    return moment(stored, "seconds", Fraction(value) if isfinite(value) else Fraction(10**30)), stop


def whole_time(count, counts_seconds):
    if counts_seconds:
        return moment(str(count), "seconds", Fraction(count))
    return moment(str(count), "oscillations", Fraction(count, OSCILLATIONS))


def time(data, at, end, z):
    two = data[at : at + 2]
    if data[at] == ord("T") or two in (b"e3", b"e4", b"e5", b"e6", b"e7"):
        value, stop = number(data, at + 1, end)
        return whole_time(signed(value, stop - at - 2), data[at] == ord("T")), stop
    if two == b"eu":
        value, stop = number(data, at + 2, end)
        return whole_time(value, z <= 5), stop
    if two == b"ei":
        value, stop = number(data, at + 2, end)
        return whole_time(signed(value, stop - at - 3), z <= 5), stop
    if two == b"ef":
        digit = data[at + 2 : at + 3]
        if digit in (b"5", b"6"):
            return seconds_of(">f" if digit == b"5" else ">d", at + 3, data, end)
    raise Bad("time")


def values(data, at, end, z, place):
    """Every (value, end) that can stand at `at`; the likeliest first."""
    followed = {
        "field": lambda p: p < end and data[p] in FIELD_END,
        "label": lambda p: p < end and (data[p] in b"),:" or chr(data[p]).isalpha()),
        "header": lambda p: p < end and (data[p] in b"(>" or chr(data[p]).isalpha()),
        "bare": lambda p: p >= end or data[p] == ord("(") or chr(data[p]).isalpha(),
    }[place]
    several = list(readings(data, at, end, z, place))
    if several:
        # A reading is possible only where a delimiter follows; all that are possible are tried.
        possible = [reading for reading in several if followed(reading[1])]
        yield from possible or several[:1]
        return
    try:
        yield value(data, at, end, z, place, followed)
    except Open as open_value:
        least, most, start = open_value.args
        if Strict.on and data[at] != ord("x"):
            raise Bad("unknown") from None
        for stop in range(start + least, min(start + most, end - 1) + 1):
            if data[stop] in b"),":
                kind = chr(data[at]) if data[at] == ord("x") else "?"
                yield [kind, data[(start if kind == "x" else at) : stop].hex()], stop


class Open(Exception):
    """A value that does not say where it ends: least and most bytes, and from where."""


class Strict:
    """Whether unknown values are refused, and what no writer writes: blanks, idle separators, fields without a colon."""

    on = False


def readings(data, at, end, z, place):
    """What a value may be whose bytes do not say it, the likeliest first; nothing for all others."""
    two = data[at : at + 2]

    def seconds(fmt):
        return lambda: seconds_of(fmt, at + 2, data, end)

    def text():
        n, start = number(data, at + 1, end)
        stop = span(start, n, end)
        return ["l", data[start:stop].hex()], stop

    def length():
        n, stop = number(data, at + 1, end)
        return ["l", str(n)], stop

    def sized_place():
        n, stop = number(data, at + 1, end)
        return ["w", "%016x" % n], stop

    tried = []
    if two == b"ef" and z <= 3:
        tried = [seconds(">d"), seconds(">f"), lambda: time(data, at, end, z)]
    elif two[:1] == b"l" and place != "header" and z == 7:
        tried = [text, length]
    elif two[:1] == b"l" and place != "header" and z > 7:
        tried = [length, text]
    elif two[:1] == b"w" and z == 7:
        tried = [lambda: fixed("8s", "w", at + 1, data, end), sized_place]
    elif two[:1] == b"q":
        tried = [lambda: tensor(data, at, end), lambda: tensor(data, at, end, True)]
    for one in tried:
        try:
            yield one()
        except (Bad, IndexError, struct.error):
            pass


def value(data, at, end, z, place, followed):
    one, two = chr(data[at]), data[at : at + 2]
    sized = at + 1 < end and data[at + 1] in WIDTH
    if one in "uijscobnyzLpTtq" and chr(data[at + 1]) in "89ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        raise Bad("width")
    if one == "u":
        if two == b"u0":
            span(at, 3, end)
            return ["u0", bool(data[at + 2])], at + 3
        if two in (b"u\x00", b"u\xff"):
            return ["u0", two == b"u\xff"], at + 2
        n, stop = number(data, at + 1, end)
        return ["u" + chr(data[at + 1]), str(n)], stop
    if one == "i" and sized:
        n, stop = number(data, at + 1, end)
        return ["i" + chr(data[at + 1]), str(signed(n, stop - at - 2))], stop
    for kind, fmt in (("f5", ">f"), ("f6", ">d"), ("j5", ">ff"), ("j6", ">dd")):
        if two == kind.encode():
            return fixed(fmt, kind, at + 2, data, end)
    if one in "sc" and data[at : at + 3].decode("latin-1") in ELEMENT_BITS:
        kind = data[at : at + 3].decode()
        return fixed("%ds" % (ELEMENT_BITS[kind] // 8), kind, at + 3, data, end)
    if one in "eT":
        return time(data, at, end, z)
    if two in (b"t5", b"t6"):
        return seconds_of(">f" if two == b"t5" else ">d", at + 2, data, end)
    if one in "tq":
        return tensor(data, at, end)
    if two == b"bp" or one == "p" and sized:
        return packed(data, at, end)
    if one in "da" and sized or one == "l" and place != "header" and z < 7:
        n, start = number(data, at + 1, end)
        stop = span(start, n, end)
        return [one, data[start:stop].hex()], stop
    if one in "bnoyzLl" and sized:
        n, stop = number(data, at + 1, end)
        return [one, str(n)], stop
    if one in "hgk" or one in "am" and chr(data[at + 1]).isalpha():
        return sealed(data, at, end)
    if one == "v":
        bits, start = number(data, at + 2, end)
        stop = span(start, (bits + 7) // 8, end)
        return ["v", [data[at + 1], data[start:stop].hex()]], stop
    if one == "w" and z <= 6:
        return fixed("8s", "w", at + 1, data, end)
    if one == "w" and z > 7 and sized:
        n, stop = number(data, at + 1, end)
        return ["w", "%016x" % n], stop
    if one == "x":
        chars, start = number(data, at + 1, end)
        raise Open((3 * chars + 7) // 8, 3 * chars, start)
    if one == "n" and two[1:2] in b"ijmp":
        return fixed("%ds" % {"i": 6, "j": 18, "m": 8, "p": 4}[chr(two[1])], "?", at, data, end)
    for mark, length in ((b"ru", 5), (b"re", 3)):
        if two == mark and at + length < end and followed(at + length):
            return fixed("%ds" % length, "?", at, data, end)
    if one.isalpha() or one == "{":
        raise Open(0, 65536, at + 1)
    raise Bad("marker %r" % one)


def blanks(data, at, end):
    while at < end and data[at] in SPACE:
        if Strict.on:
            raise Bad("blank")
        at += 1
    return at


def separator(data, at, end):
    if Strict.on and data[at + 1 : at + 2] in (b":", b",", b")"):
        raise Bad("nothing is separated")
    return blanks(data, at + 1, end)


def name(data, at, end):
    at = blanks(data, at, end)
    if data[at : at + 1] != b"d":
        raise Bad("name")
    n, start = number(data, at + 1, end)
    stop = span(start, n, end)
    return data[start:stop].hex(), stop


def ways(data, at, end, z, depth, in_field):
    """Every way to read on: yields (parts, end) of a section's inside, or of a field's values."""
    # An explicit stack of alternatives: a section can have more fields than Python has frames.
    stack = [(at, (), iter([None]))]
    while stack:
        at, parts, alternatives = stack[-1]
        try:
            choice = next(alternatives)
        except (StopIteration, Bad, IndexError):
            stack.pop()
            continue
        if choice is not None:
            part, at = choice
            parts = (parts, part)
        try:
            at = blanks(data, at, end)
            while in_field and at < end and data[at] in b":,":
                at = separator(data, at, end)
        except Bad:
            continue
        if at >= end or data[at] in b")]":
            yield unlink(parts), at
        elif data[at] == ord("["):
            if in_field and depth < 64:
                stack.append((at, parts, sections(data, at, end, z, depth + 1)))
        elif data[at] == ord("(") and not in_field:
            stack.append((at, parts, fields(data, at, end, z, depth)))
        else:
            place = "field" if in_field else "bare"
            found = ((["value", at, stop] + v, stop) for v, stop in values(data, at, end, z, place))
            stack.append((at, parts, found))


def unlink(parts):
    out = []
    while parts:
        parts, part = parts
        out.append(part)
    return out[::-1]


def fields(data, at, end, z, depth):
    title, inside = name(data, at + 1, end)
    if Strict.on and data[inside : inside + 1] not in (b":", b")"):
        raise Bad("no colon")
    for parts, stop in ways(data, inside, end, z, depth, True):
        if stop < end and data[stop] == ord(")"):
            yield ["field", at, stop + 1, title, parts], stop + 1


def sections(data, at, end, z, depth):
    for parts, stop in ways(data, at + 1, end, z, depth, False):
        if stop < end and data[stop] == ord("]"):
            yield ["value", at, stop + 1, "section", parts], stop + 1


def modes():
    """With what is promised before without; strictly before not."""
    for kept in (2, 1, 0):
        for Strict.on in (True, False):
            yield kept
    Strict.on = False


def section(data, start, end, z, count):
    """The parts of a body that reads to its end, as well as any way does."""
    for kept in modes():
        if kept == 2 or kept and count is None:
            continue
        try:
            at = blanks(data, start, end)
            bracket = data[at : at + 1] == b"["
            found = sections(data, at, end, z, 1) if bracket else ways(data, at, end, z, 0, False)
            for tries, (parts, stop) in enumerate(found):
                if tries > 1000:
                    break
                if blanks(data, stop, end) != end:
                    continue
                parts = parts[4] if bracket else parts
                own = sum(part[0] == "field" for part in parts) or len(parts)
                if not kept or own == count:
                    Strict.on = False
                    return parts
        except Bad:
            pass
    return None


class Head:
    """A header as far as it was read, in one of the ways in which it can be."""

    def __init__(self, at, z=0, items=(), labels=(), label=None):
        self.at, self.z, self.items, self.labels, self.label = at, z, items, labels, label

    def settled(self):
        """Where the next label or value begins."""
        return self.label[0] if self.label else self.at

    def onward(self, data, end):
        """All ways to read the next token; `None` where the header ends."""
        at, z, items, labels, label = self.at, self.z, self.items, self.labels, self.label
        at = blanks(data, at, end)
        if at >= end:
            raise Bad("header")
        if label is None and data[at] == ord(">"):
            self.at = at + 1
            yield None
        elif label is None and data[at] == ord("("):
            title, inside = name(data, at + 1, end)
            yield Head(inside, z, items, labels, (at, title, ()))
        elif label is None:
            for said, stop in values(data, at, end, z, "header"):
                if said[0] == "?":
                    raise Bad("header value")
                version = int(said[1]) if said[0] == "z" else z
                yield Head(stop, version, (items, ["value", at, stop] + said), labels)
        elif data[at] in b":,":
            yield Head(separator(data, at, end), z, items, labels, label)
        elif data[at] == ord(")"):
            yield Head(at + 1, z, items, (labels, table(label[1], unlink(label[2]))))
        elif data[at] == ord("["):
            for part, stop in sections(data, at, end, z, 1):
                yield Head(stop, z, items, labels, (label[0], label[1], (label[2], part)))
        else:
            for said, stop in values(data, at, end, z, "label"):
                part = ["value", at, stop] + said
                yield Head(stop, z, items, labels, (label[0], label[1], (label[2], part)))


def table(title, parts):
    """A label: the first offset, size and count among its values, and the others."""
    place, others = {}, []
    for part in parts:
        if part[3] in ("o", "b", "n"):
            place.setdefault(part[3], int(part[4]))
        else:
            others.append(part)
    if "o" in place and "b" in place:
        return {"name": title, "place": [place["o"], place["b"], place.get("n")], "values": others}
    return {"name": title, "place": None, "values": parts}


def promises(head):
    """How much is kept of what the header says: nothing, the number of labels, or that and its length."""
    said = {}
    for item in unlink(head.items):
        said.setdefault(item[3], int(item[4]) if item[3] in ("b", "n") else None)
    if said.get("n") != len(unlink(head.labels)):
        return 0
    return 2 if said.get("b", head.at) in (head.at, head.at * 8) else 1


def header(data):
    """The header, as well as any way of reading it does; else the one that goes furthest. And whether it is whole."""
    furthest = Head(4)
    for kept in modes():
        stack = [(Head(4), iter([Head(4)]))]
        for _ in range(1 << 20):
            if not stack:
                break
            here, alternatives = stack[-1]
            try:
                there = next(alternatives)
            except (StopIteration, Bad, IndexError):
                stack.pop()
                furthest = max(furthest, here, key=lambda head: head.at)
                continue
            if there is not None:
                stack.append((there, there.onward(data, len(data))))
            elif promises(here) >= kept:
                Strict.on = False
                return here, True
    return furthest, False


def read(data):
    if data[:4] != b"R\xc3\x85<":
        raise Bad("magic")
    head, whole = header(data)
    labels = unlink(head.labels)
    if not whole and not labels:
        raise Bad("header")
    at = head.at if whole else blanks(data, head.settled(), len(data))
    for found in labels:
        if not found["place"]:
            continue
        offset, size, count = found["place"]
        if count and offset + size <= len(data) and (offset >= at or not size):
            found["section"] = section(data, offset, offset + size, head.z, count)
    return {"header_end": at, "items": unlink(head.items), "labels": labels}


def main():
    out = {}
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            data = file.read()
        try:
            out[path] = read(data)
        except (Bad, IndexError) as why:
            out[path] = {"refused": str(why)}
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
