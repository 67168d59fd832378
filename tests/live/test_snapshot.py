# SPDX-License-Identifier: GPL-3.0-or-later
"""snapshot: what is in the file is what is in the process; and a file that isn't whole is refused."""
import collections
import os
import signal
import stat
import struct
import subprocess
import time

import pytest

from conftest import PATIENCE, SAFEPOINT, Running, safepoint, target_running
from test_freeze import children
from test_heap import LISTS, MAKE, heap

DUMP = os.path.join(os.path.dirname(SAFEPOINT), "snapshot-dump")
# The numbers of docs/snapshot.md.
FACTS, TYPES, NODES, EDGES, ROOTS, VALUES = range(1, 7)
FIELD, SLOT, INDEX, KEY, VALUE, ATTRIBUTE, LOCAL = 1, 2, 4, 6, 7, 8, 9
ROOT_FRAME, ROOT_MODULE = 0, 1
STR, INT, FLOAT, BYTES = 1, 2, 3, 4

SECRETS = """
SECRET = "a secret %s" % "told"
HEAP_SECRETS = {SECRET: 1, ("tuple", SECRET): 2}
HEAP_NUMBERS = [12345678901234, -17, 10 ** 40 + 7, -(2 ** 70), 2.5, float("nan"), b"bytes \\x00\\xff", "\\u20ac \\U0001f600 \\n", "long" * 2000]
"""


class Snapshot:
    """What a file has, by the program that dumps it."""

    def __init__(self, path):
        done = subprocess.run([DUMP, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        self.facts, self.types, self.nodes, self.edges, self.roots, self.values = {}, [], [], [], [], {}
        for line in done.stdout.decode().split("\n"):
            fields = line.split("\t")
            if fields[0] == "fact":
                self.facts[fields[1]] = fields[2]
            elif fields[0] == "type":
                self.types.append(fields[2])
            elif fields[0] == "node":
                self.nodes.append([int(field) for field in fields[1:]])
            elif fields[0] == "edge":
                self.edges.append([int(field) for field in fields[1:6]] + ["\t".join(fields[6:])])
            elif fields[0] == "root":
                self.roots.append([int(field) for field in fields[1:6]] + [fields[6]])
            elif fields[0] == "value":
                self.values[int(fields[1])] = (int(fields[2]), int(fields[3]), bytes.fromhex(fields[4]))
        self.by_address = {node[0]: number for number, node in enumerate(self.nodes)}

    def of_type(self, name):
        return [number for number, node in enumerate(self.nodes) if self.types[node[1]] == name]

    def at(self, target, expression):
        return self.by_address[target.ask("id(%s)" % expression)]

    def out(self, number):
        return [edge for edge in self.edges if edge[0] == number]


def snapshot(target, path, *words):
    target.until_blocked()
    return safepoint("snapshot", "--json", "-o", path, *words, target.pid).expect(0)


def without_how(result):
    return {key: value for key, value in result.items() if key not in ("read_bytes", "torn_pools", "missing_bytes", "partial")}


def test_round_trip(idle, tmp_path):
    """heap of the file gives what heap of the process gives, however it is grouped."""
    idle.do(MAKE)
    path = os.path.join(tmp_path, "heap.sps")
    answer = snapshot(idle, path)
    mode = os.stat(path)
    assert stat.S_IMODE(mode.st_mode) == 0o600 and os.listdir(tmp_path) == ["heap.sps"]
    assert answer.result["file_bytes"] == mode.st_size and answer.result["at_safe_point"] and answer.json["pause_us"] > 0
    for by in LISTS:
        live, file = heap(idle, "--by", by), safepoint("heap", "--json", path, "--by", by).expect(0)
        assert without_how(file.result) == without_how(live)
        assert file.json["target"]["pid"] == idle.pid and file.json["target"]["file"] == path
    assert answer.result["objects"] == file.result["objects"] and children(idle.pid) == []
    info = safepoint("info", "--json", path).expect(0).json
    assert info["target"]["python"].startswith(idle.python.number) and info["target"]["debug"] == idle.python.debug
    assert info["result"]["objects"] == file.result["objects"] and info["result"]["bytes"] == file.result["bytes"]
    assert info["result"]["values"] is False and info["result"]["method"] == "child"
    text = safepoint("info", path).expect(0).text
    assert "process %d" % idle.pid in text and idle.python.number in text
    shown = safepoint("heap", path, "-n", "3").expect(0)
    assert len(shown.text.splitlines()) == 6 and "a snapshot of process %d" % idle.pid in shown.errors


def check_graph(target, file):
    """Every object of a few known types has the references that it should, with their names."""
    known, inner = file.of_type("__main__.Known"), file.of_type("__main__.Outer.Inner")
    assert (len(known), len(inner)) == (1234, 777)
    counted = collections.Counter(edge[1] for edge in file.edges if edge[3])
    assert all(counted[number] == file.nodes[number][3] == 2 for number in known)
    assert all(file.nodes[number][4:6] == [0, 1] for number in known)
    kept = file.at(target, "HEAP_KNOWN")
    items = [edge for edge in file.out(kept) if edge[2] == INDEX]
    assert sorted(edge[1] for edge in items) == known and [edge[4] for edge in items] == list(range(1234))
    names = file.at(target, "globals()")
    held = [edge for edge in file.out(names) if edge[2] == VALUE and edge[1] == kept]
    assert [edge[5] for edge in held] == ["'HEAP_KNOWN'"] and file.types[file.nodes[held[0][4] - 1][1]] == "str"
    one = file.at(target, "HEAP_KNOWN[0].value")
    holders = [edge for edge in file.edges if edge[1] == one and edge[3]]
    assert [edge[5] for edge in holders] in (["value"], ["'value'"]), holders
    slots = {edge[5] for number in inner[:20] for edge in file.out(number) if edge[2] == SLOT}
    assert slots <= {"a"}


def test_graph(idle, tmp_path):
    idle.do(MAKE + "HEAP_INNER[3].a = HEAP_KNOWN\n")
    path = os.path.join(tmp_path, "heap.sps")
    result = snapshot(idle, path).result
    file = Snapshot(path)
    assert (len(file.nodes), len(file.edges), len(file.roots)) == (result["objects"], result["edges"], result["roots"])
    assert sum(node[2] for node in file.nodes) == result["bytes"]
    check_slot = [edge for edge in file.out(file.at(idle, "HEAP_INNER[3]")) if edge[1] == file.at(idle, "HEAP_KNOWN")]
    assert [(edge[2], edge[5]) for edge in check_slot] == [(SLOT, "a")]
    idle.do("del HEAP_INNER[3].a")
    check_graph(idle, file)
    modules = file.at(idle, "sys.modules")
    assert modules in [root[1] for root in file.roots if root[0] == ROOT_MODULE]
    frames = {root[5] for root in file.roots if root[0] == ROOT_FRAME}
    assert frames & {"frame", "question", "code", "function", "buffered"} or len(frames) > 3, frames
    generations = collections.Counter(node[6] for node in file.nodes)
    assert generations[7] and sum(generations[number] for number in (0, 1, 2)) > 1000


def test_values(idle, tmp_path):
    """They are there when it is asked for them; else neither they nor the keys of dicts are."""
    idle.do(MAKE + SECRETS)
    plain, full = os.path.join(tmp_path, "plain"), os.path.join(tmp_path, "full")
    assert snapshot(idle, plain).result["values"] == 0
    assert snapshot(idle, full, "--values").result["values"] > 1000
    dumped = [subprocess.run([DUMP, path], stdout=subprocess.PIPE, check=True).stdout for path in (plain, full)]
    assert b"told" not in dumped[0] and b"a secret told".hex().encode() not in dumped[0] and b"\nvalue" not in dumped[0]
    assert b"HEAP_SECRETS" in dumped[0] and b"value\t" in dumped[1]
    file = Snapshot(full)
    keys = [edge[5] for edge in file.out(file.at(idle, "HEAP_SECRETS")) if edge[2] == VALUE]
    assert "'a secret told'" in keys and any(key.startswith("<tuple at 0x") for key in keys)
    told = [file.values[file.at(idle, "HEAP_NUMBERS[%d]" % index)] for index in range(9)]
    assert told[:4] == [(INT, 0, b"12345678901234"), (INT, 0, b"-17"), (INT, 0, hex(10 ** 40 + 7).encode()), (INT, 0, hex(-(2 ** 70)).encode())]
    assert told[4] == (FLOAT, 0, b"2.5") and told[5][2].strip(b"-") == b"nan"
    assert told[6] == (BYTES, 0, b"bytes \x00\xff") and told[7] == (STR, 0, "\u20ac \U0001f600 \n".encode())
    assert told[8][:2] == (STR, 1) and ("long" * 2000).encode().startswith(told[8][2]) and len(told[8][2]) > 4000


# ---------------------------------------------------------------- damaged


def blocks(data):
    """(offset, kind, size with the head) of each block."""
    at, found = 24, []
    while at < len(data):
        kind, _, _, stored = struct.unpack("<4I", data[at:at + 16])
        found.append((at, kind, 32 + stored))
        at += 32 + stored
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory, some_python):
    path = os.path.join(tmp_path_factory.mktemp("snapshot"), "whole")
    with target_running(some_python, "idle") as target:
        target.do(MAKE)
        snapshot(target, path, "--values")
    with open(path, "rb") as file:
        return file.read()


def refused(path, data):
    with open(path, "wb") as file:
        file.write(data)
    for command in ("heap", "info"):
        answer = safepoint(command, "--json", path).expect(9)
        assert answer.error["code"] == "BAD_FILE" and path in answer.error["message"]
    assert safepoint("heap", path).expect(9).text == ""
    done = subprocess.run([DUMP, path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr


def test_damaged(whole, tmp_path):
    """At each section: cut before it, in its head, in its data; a bit changed in each; left out."""
    path, kinds = os.path.join(tmp_path, "damaged"), []
    for at, kind, size in blocks(whole):
        if kind in kinds:
            continue
        kinds.append(kind)
        for cut in (at, at + 20, at + 32 + (size - 32) // 2):
            if cut < len(whole):
                refused(path, whole[:cut])
        for place in (at, at + 8, at + 30, at + 32 + (size - 32) // 2):
            if place < len(whole):
                refused(path, whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1:])
        if kind:
            refused(path, whole[:at] + whole[at + size:])
    assert kinds == [FACTS, TYPES, NODES, EDGES, ROOTS, VALUES, 0]
    refused(path, whole + b"\n")
    refused(path, whole + whole)


def test_other_files(idle, tmp_path):
    path = os.path.join(tmp_path, "other")
    for data in (b"", b"\x89SPS", b"{}", os.urandom(5000), b"\x7fELF" + bytes(5000)):
        refused(path, data)
    os.unlink(path)
    for words in (["heap", path], ["info", path], ["heap", str(tmp_path)]):
        answer = safepoint(*words)
        assert answer.status in (2, 9) and answer.text == "" and "hint" in answer.errors + "hint"
    safepoint("heap", path).expect(2)
    safepoint("stats", path).expect(2)
    safepoint("snapshot", path, "-o", path + "2").expect(2)
    assert os.listdir(tmp_path) == []


def test_bound_on_memory(whole, tmp_path):
    path = os.path.join(tmp_path, "whole")
    with open(path, "wb") as file:
        file.write(whole)
    safepoint("heap", path, "--max-memory", "100M").expect(0)
    assert "--max-memory" in safepoint("heap", path, "--max-memory", "100K").expect(5).errors
    safepoint("heap", path, "--no-fork").expect(2)


# ---------------------------------------------------------------- the file


def test_where_it_goes(idle, tmp_path):
    idle.until_blocked()
    path = os.path.join(tmp_path, "heap.sps")
    assert "-o FILE" in safepoint("snapshot", idle.pid).expect(2).errors
    safepoint("snapshot", idle.pid, "-o", os.path.join(tmp_path, "none", "heap.sps")).expect(2)
    safepoint("snapshot", idle.pid, "-o", str(tmp_path)).expect(2)
    safepoint("snapshot", idle.pid, "-o", "/dev/null").expect(2)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with open(path, "w") as file:
        file.write("what was there")
    with open(path + ".part", "w") as file:
        file.write("what one that was killed has left")
    os.chmod(path, 0o644)
    safepoint("snapshot", idle.pid, "-o", path).expect(0)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and os.listdir(tmp_path) == ["heap.sps"]
    safepoint("heap", path).expect(0)


def test_nothing_is_left_of_one_that_fails(idle, tmp_path):
    path = os.path.join(tmp_path, "heap.sps")
    safepoint("snapshot", 1 << 22, "-o", path).expect(3)
    safepoint("snapshot", idle.until_blocked(), "-o", path, "--max-memory", "64K").expect(5)
    assert os.listdir(tmp_path) == []
    with open(path, "w") as file:
        file.write("stays")
    full = "ulimit -f 8; trap '' XFSZ; exec \"$@\""  # no file of more than 8 blocks
    answer = safepoint("snapshot", idle.pid, "-o", path, under=["sh", "-c", full, "sh"])
    assert answer.status == 5 and "can't write" in answer.errors
    assert os.listdir(tmp_path) == ["heap.sps"]
    with open(path) as file:
        assert file.read() == "stays"


def test_interrupted(sample_python, tmp_path):
    """Whenever it is: no file, or the whole file."""
    path = os.path.join(tmp_path, "heap.sps")
    with target_running(sample_python, "busy") as target:
        target.do("HEAP = [[str(number)] for number in range(100000)]")
        took = safepoint("snapshot", target.pid, "-o", path).expect(0).seconds
        os.unlink(path)
        statuses = set()
        for part in range(12):
            with Running(["snapshot", target.pid, "-o", path]) as running:
                time.sleep(took * part / 12)
                os.kill(running.pid, signal.SIGINT)
                status = running.popen.wait(PATIENCE)
            statuses.add(status)
            assert os.listdir(tmp_path) == (["heap.sps"] if status == 0 else []), status
            if status == 0:
                safepoint("info", path).expect(0)
                os.unlink(path)
            assert children(target.pid) == [] and target.tracer() == 0
        assert 130 in statuses and statuses <= {0, 130, -signal.SIGINT}
