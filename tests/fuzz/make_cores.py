#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the seeds of fuzz_core in tests/fuzz/corpus/core: small cores of x86_64 with all the notes that are read."""
import os
import struct

NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494c45
BASE, DATA, HEAP = 0x555555554000, 0x555555556000, 0x7f0000000000


def note(kind, value):
    value += b"\0" * (-len(value) % 4)
    return struct.pack("<III", 5, len(value), kind) + b"CORE\0\0\0\0" + value


def thread(tid):
    return note(NT_PRSTATUS, struct.pack("<iiih2xQQiiii", 6, 0, 0, 6, 0, 0, tid, 1, tid, tid) + b"\0" * 64 +
                struct.pack("<27Q", *range(27)) + b"\0" * 8)


def program():
    return note(NT_PRPSINFO, struct.pack("<4c4xQIIiiii", b"R", b"R", b"\0", b"\0", 0, 0, 0, 41, 1, 41, 41) +
                b"python".ljust(16, b"\0") + b"python app.py".ljust(80, b"\0"))


def files():
    rows = [(BASE, BASE + 0x2000, 0, b"/usr/bin/python3"), (DATA, DATA + 0x1000, 2, b"/usr/bin/python3"),
            (HEAP - 0x2000, HEAP - 0x1000, 0, b"/tmp/gone (deleted)")]
    return note(NT_FILE, struct.pack("<QQ", len(rows), 4096) + b"".join(struct.pack("<QQQ", *row[:3]) for row in rows) +
                b"".join(row[3] + b"\0" for row in rows))


def head():
    """What the core has of the program's begin: its ELF header, a PT_NOTE, a build-id."""
    identity = b"\x7fELF\2\1\1" + b"\0" * 9
    build_id = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
    elf = identity + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0x1000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 4, 4, 120, 120, 120, len(build_id), len(build_id), 4)
    return (elf + build_id).ljust(4096, b"\0")


def core(loads, notes):
    count = len(loads) + 1
    offset = 64 + 56 * count
    headers = struct.pack("<IIQQQQQQ", 4, 0, offset, 0, 0, len(notes), 0, 4)
    body, offset = notes, offset + len(notes)
    for flags, address, bytes_, size in loads:
        headers += struct.pack("<IIQQQQQQ", 1, flags, offset, address, 0, len(bytes_), size, 4096)
        body, offset = body + bytes_, offset + len(bytes_)
    return (b"\x7fELF\2\1\1" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0) +
            headers + body)


def main():
    loads = [(5, BASE, head(), 0x2000), (6, DATA, b"\1" * 4096, 0x1000), (6, DATA + 0x1000, b"", 0x1000),
             (6, HEAP, b"\2" * 8192, 0x4000)]
    auxv = note(NT_AUXV, struct.pack("<QQQQ", 9, BASE + 0x1000, 0, 0))
    whole = core(loads, thread(41) + program() + auxv + files() + thread(42))
    directory = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "core")
    os.makedirs(directory, exist_ok=True)
    for name, content in (("whole", whole), ("cut", whole[:-5000]), ("headers", whole[:300]),
                          ("gcore", core(loads[1:], thread(41) + files()))):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)


main()
