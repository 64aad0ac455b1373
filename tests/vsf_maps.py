#!/usr/bin/env python3
"""What NumPy maps of mounted VSF files, against arrays that were computed without the program.

`write FILE` makes a file of arrays of every kind; `check FILE DIR` maps each array below the mount of that file and
compares it with what went in. `corpus FOLDER DIR` compares all arrays in the mount of a folder with the values that
another reader finds in the files."""

import collections
import sys
from pathlib import Path

import numpy

import vsf_reader
import vsf_writer as vsf

NOISE = numpy.random.Generator(numpy.random.PCG64(5))


def noise(dtype, shape):
    """All bit patterns, NaNs with them."""
    dtype = numpy.dtype(dtype)
    count = int(numpy.prod(shape, dtype=int))
    return numpy.frombuffer(NOISE.bytes(count * dtype.itemsize), dtype).reshape(shape)


def element_of(dtype):
    """The element of an array's type, which is big-endian."""
    power = {1: 0, 2: 1, 4: 2, 8: 3}
    if dtype.kind in "ui":
        return f"{dtype.kind}{power[dtype.itemsize] + 3}"
    return {"f4": "f5", "f8": "f6", "c8": "j5", "c16": "j6"}[dtype.str[1:]]


def array(values):
    """A tensor of an array's values, big-endian, the last index fastest."""
    stored = numpy.ascontiguousarray(values).astype(values.dtype.newbyteorder(">"))
    return vsf.tensor(element_of(values.dtype), values.shape, stored.tobytes())


def strided(element, stored, shape, strides):
    """A strided tensor, and the view that its indices make of what is stored, one element at a time."""
    view = numpy.empty(shape, stored.dtype)
    for index in numpy.ndindex(*shape):
        view[index] = stored[sum(i * s for i, s in zip(index, strides))]
    return vsf.tensor(element, shape, stored.tobytes(), strides), view


def arrays():
    """By name: the stored value, and the array that it means."""
    out = {}
    for number, kind in enumerate(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "c8", "c16"]):
        kind = numpy.dtype(">" + kind)
        for rank, shape in enumerate([(), (977,), (31, 17), (5, 7, 11), (0, 3), (2, 1, 3, 1, 2)]):
            values = noise(kind, shape)
            out[f"plain_{number}_{rank}"] = array(values), values
    values = noise("V16", (9, 3))
    out["wide_unsigned"] = vsf.tensor("u7", (9, 3), values.tobytes()), values
    out["wide_signed"] = vsf.tensor("i7", (9, 3), values.tobytes()), values
    parts = numpy.dtype([("fraction", ">i4"), ("exponent", ">i2")])
    values = noise(parts, (13, 2))
    out["spirix"] = vsf.tensor("s54", (13, 2), values.tobytes()), values
    parts = numpy.dtype([("real", ">i2"), ("imaginary", ">i2"), ("exponent", "|i1")])
    values = noise(parts, (21,))
    out["circle"] = vsf.tensor("c43", (21,), values.tobytes()), values
    truth = NOISE.integers(0, 2, (5, 13)).astype(bool)
    out["truth"] = vsf.tensor("u0", (5, 13), numpy.packbits(truth).tobytes()), truth

    stored = noise(">f8", (24,))
    for title, shape, strides in [
        ("columns", (4, 6), (1, 4)),
        ("columns_of_three", (2, 3, 4), (1, 2, 6)),
        ("rows", (4, 6), (6, 1)),
        ("permuted", (2, 3, 4), (4, 8, 1)),
        ("repeated", (4, 6), (0, 1)),
        ("diagonal", (4, 6), (1, 1)),
        ("every_second", (1, 24), (17, 1)),
    ]:
        out["strided_" + title] = strided("f6", stored, shape, strides)
    stored = noise(">c8", (15,))
    out["strided_complex"] = strided("j5", stored, (3, 5), (1, 3))

    for bits in [1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64]:
        shape = (37, 41)
        width = next(w for w in (1, 2, 4, 8) if 8 * w >= bits)
        values = noise(f"<u{width}", shape) >> numpy.array(8 * width - bits, f"u{width}")
        out[f"packed_{bits}"] = vsf.packed(bits, shape, vsf.pack(bits, values.ravel().tolist())), values
    # Larger than what is read or unpacked in one piece.
    values = NOISE.integers(0, 4096, (640, 480)).astype("<u2")
    pairs = values.reshape(-1, 2).astype("u4")
    threes = pairs[:, 0] << 12 | pairs[:, 1]
    triple = numpy.stack([threes >> 16, threes >> 8 & 255, threes & 255], axis=1).astype("u1")
    out["frame"] = vsf.packed(12, (640, 480), triple.tobytes()), values
    large = noise(">u2", (700, 1000))
    out["large"] = array(large), large
    return out


def write(path):
    every = arrays()
    fields = [vsf.field(title, *value) for title, (value, _) in every.items()]
    parts = [("some.arrays", len(fields), vsf.section(*fields)), ("raw", 0, bytes(range(256)) * 999)]
    vsf.write(path, parts)


def check(path, top):
    every = arrays()
    found = sorted(file.stem for file in (top / "some/arrays").glob("*.npy"))
    assert found == sorted(every), set(found) ^ set(every)
    for title, (_, expected) in every.items():
        mapped = numpy.load(top / f"some/arrays/{title}.npy", mmap_mode="r")
        assert isinstance(mapped, numpy.memmap), title
        assert mapped.dtype == expected.dtype, (title, mapped.dtype, expected.dtype)
        assert mapped.shape == expected.shape, (title, mapped.shape)
        assert mapped.tobytes() == expected.tobytes(), title
        if expected.ndim == 2 and expected.size:
            # From the middle, backwards, a column: no order of pages is special.
            assert mapped[::-1, -1].tobytes() == expected[::-1, -1].tobytes(), title
    raw = numpy.memmap(top / "raw.bin", mode="r")
    assert raw.tobytes() == bytes(range(256)) * 999
    print(len(every))


KINDS = {"u0": "b1", "f5": "f4", "f6": "f8", "j5": "c8", "j6": "c16"}
for n in range(4):
    KINDS[f"u{n + 3}"], KINDS[f"i{n + 3}"] = f"u{1 << n}", f"i{1 << n}"


def meant(data, kind, said):
    """The array that a value means, as shape and big-endian bytes; None for what NumPy has no numbers for."""
    if kind == "p" or kind == "bp":
        bits, shape, start, stop = said
        if bits > 64:
            return None
        string = int.from_bytes(data[start:stop], "big") >> (8 * (stop - start) - vsf_reader.product(shape) * bits)
        count, low = vsf_reader.product(shape), (1 << bits) - 1
        numbers = [string >> bits * (count - 1 - n) & low for n in range(count)]
        width = next(w for w in (1, 2, 4, 8) if 8 * w >= bits)
        return tuple(shape), b"".join(n.to_bytes(width, "big") for n in numbers)
    element, shape, strides, start, stop = said
    if element not in KINDS or len(shape) > 32:
        return None
    if element == "u0":
        bits = numpy.unpackbits(numpy.frombuffer(data[start:stop], "u1"))
        return tuple(shape), bits[: vsf_reader.product(shape)].tobytes()
    stored = numpy.frombuffer(data[start:stop], ">" + KINDS[element])
    if strides is None:
        return tuple(shape), stored.tobytes()
    if stored.size and sum((n - 1) * s for n, s in zip(shape, strides)) >= stored.size:
        return None
    return tuple(shape), strided(element, stored, shape, strides)[1].tobytes()


def values(parts):
    for part in parts:
        if part[0] == "field":
            yield from values(part[4])
        elif part[3] == "section":
            yield from values(part[4])
        else:
            yield part[3], part[4]


def corpus(folder, top):
    files = arrays_seen = 0
    for path in sorted(folder.rglob("*.vsf")):
        data = path.read_bytes()
        expected = collections.Counter()
        for label in vsf_reader.read(data)["labels"]:
            every = list(values(label["values"])) + list(values(label.get("section") or []))
            each = [meant(data, kind, said) for kind, said in every if kind in ("t", "q", "p", "bp")]
            expected.update(one for one in each if one)
        found = collections.Counter()
        for file in (top / path.relative_to(folder)).rglob("*.npy"):
            mapped = numpy.load(file, mmap_mode="r")
            if mapped.dtype.kind != "V":
                big = mapped.astype(mapped.dtype.newbyteorder(">"), order="C")
                found[mapped.shape, big.tobytes()] += 1
        assert found == expected, (path, found - expected, expected - found)
        files, arrays_seen = files + 1, arrays_seen + sum(found.values())
    print(files, arrays_seen)


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    {"write": write, "check": check, "corpus": corpus}[verb](*map(Path, paths))
