#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the seeds of fuzz_snapshot in tests/fuzz/corpus/snapshot: sections, as that file describes them. A whole file comes
from the unit test's records: `make_snapshots.py FILE` takes it in as it is."""
import os
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "snapshot")


def number(value):
    data = b""
    while value >= 0x80:
        data, value = data + bytes([value & 0x7f | 0x80]), value >> 7
    return data + bytes([value])


def text(value):
    return number(len(value)) + value


def section(kind, *parts):
    data = b"".join(parts)
    return bytes([kind]) + len(data).to_bytes(2, "little") + data


FACTS = section(1, text(b"pid"), text(b"4711"), text(b"values"), text(b"1"))
TYPES = section(2, number(2), number(0x5000), text(b"type"), text(b"builtins"), number(0x6000), text(b"app.Order"), text(b"app"))
NODES = section(3, number(3), number(0xa00), number(0), number(408), number(9), b"\x1a", number(0x200), number(0), number(1064),
                number(7), b"\x17", number(0x40), number(1), number(48), number(1), b"\x17")
EDGES = section(4, b"\x42", number(4), b"\1", text(b"__dict__"), b"\0\0", b"\x85", number(3), number(17), b"\x62", number(1), b"\2",
                b"\xc8", number(1), number(2), b"\0", text(b"'key'"), b"\x21", number(0))
ROOTS = section(5, b"\0", number(2), number(1), number(0x7fff00), number(3), text(b"local"), b"\6", number(0), number(0), number(0),
                number(0), text(b""))
VALUES = section(6, number(1), b"\1", text(b"text"), number(1), b"\x84", text(b"\0\xff"))

SEEDS = {"whole": FACTS + TYPES + NODES + EDGES + ROOTS + VALUES, "nodes": TYPES + NODES, "unknown": TYPES + NODES + section(7, b"later"),
         "disorder": NODES + TYPES}

if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    for name, data in SEEDS.items():
        with open(os.path.join(HERE, name), "wb") as file:
            file.write(b"\1" + data)
    for path in sys.argv[1:]:
        with open(path, "rb") as source, open(os.path.join(HERE, "file"), "wb") as file:
            file.write(b"\0" + source.read())
