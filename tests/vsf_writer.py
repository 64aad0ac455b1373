"""Writes VSF files of the design, from its description alone: for tests and measurements that share nothing with the
writer under test. Bodies are bytes, or holes of so many zeros that are left to the file system."""


class Hole:
    """So many bytes that are never written."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def sized(n):
    """A size marker and the number, in as few bytes as hold it."""
    for power in range(5):
        if n < 1 << (8 << power):
            return bytes([ord("3") + power]) + n.to_bytes(1 << power, "big")
    raise ValueError(n)


def name(text):
    return b"d" + sized(len(text)) + text.encode()


def join(parts):
    """Bytes next to each other become one; holes stay."""
    out = []
    for part in parts:
        if out and isinstance(part, bytes) and isinstance(out[-1], bytes):
            out[-1] += part
        else:
            out.append(part)
    return out


def field(title, *parts):
    return [b"(" + name(title) + b":", *parts, b")"]


def section(*fields):
    return join([b"[", *(part for one in fields for part in one), b"]"])


def tensor(element, shape, data, strides=None):
    """Bytes in the stored order and a shape, with steps in elements where it is strided."""
    head = (b"t" if strides is None else b"q") + sized(len(shape)) + element.encode()
    head += b"".join(map(sized, shape)) + b"".join(map(sized, strides or ()))
    return [head, data]


def packed(bits, shape, data):
    return [b"bp" + sized(bits) + sized(len(shape)) + b"".join(map(sized, shape)), data]


def pack(bits, numbers):
    """One string of bits, the first number in its high bits, zeros behind the last."""
    string = "".join(format(n, f"0{bits}b") for n in numbers)
    string += "0" * (-len(string) % 8)
    return int(string or "0", 2).to_bytes(len(string) // 8, "big")


def header(parts):
    """The header of (name, size, count) parts that lie one behind the other."""
    length, places = 0, [0] * len(parts)
    while True:
        inside = b"z3\x02y3\x01n" + sized(len(parts))
        rows = zip(parts, places)
        inside += b"".join(
            b"(" + name(title) + b"o" + sized(at) + b"b" + sized(size) + b"n" + sized(count) + b")"
            for (title, size, count), at in rows
        )
        out = b"R\xc3\x85<b" + sized(8 * length) + inside + b">"
        at, now = len(out), []
        for _, size, _ in parts:
            now.append(at)
            at += size
        if len(out) == length and now == places:
            return out
        length, places = len(out), now


def write(path, parts):
    """Parts are (name, count, body); a count of 0 is a section of raw bytes, whose body is bytes or a hole."""
    bodies = [(title, count, body if isinstance(body, list) else [body]) for title, count, body in parts]
    head = header([(title, sum(map(len, body)), count) for title, count, body in bodies])
    with open(path, "wb") as file:
        file.write(head)
        for piece in (piece for _, _, body in bodies for piece in body):
            if isinstance(piece, Hole):
                file.seek(len(piece), 1)
            else:
                file.write(piece)
        file.truncate()
