# SPDX-License-Identifier: GPL-3.0-or-later
"""mem: where the RSS goes, compared with what the kernel, CPython and glibc say of it inside the target."""
import glob
import os
import random
import re
import tempfile
import time

import pytest

import killing
from conftest import PATIENCE, found, safepoint, target_running, until_it_waits

PARTS = ["pymalloc_live", "pymalloc_free_blocks", "pymalloc_free_pools", "pymalloc_overhead", "malloc_live", "malloc_mapped",
         "malloc_free", "malloc_unread", "anonymous", "stacks", "interpreter", "libraries", "files", "shared", "other"]
# What happens between the account and what it is compared with: threads that come for it, a block for an answer.
SLACK = 64 << 10
# 45 MB in blocks of malloc's, of which few stay: glibc keeps the pages between them.
KEPT_FREE = """
KEPT = [bytearray(3000) for _ in range(15000)]
KEPT = KEPT[::100]
"""
# 20 MB of small objects, of which 100 stay.
PINNED = """
PINS = [10**9 + i for i in range(700000)]
PINS = PINS[::7000]
gc.collect()
"""
THREADS = """
import threading
GATE = threading.Event()
BLOCKS = []
def _work(number):
    mine = [bytearray(600 + 37 * i % 9000) for i in range(3000)]
    BLOCKS.append(mine[::3])
    del mine
    GATE.wait()
WORKERS = [threading.Thread(target=_work, args=(i,), daemon=True) for i in range(3)]
for _one in WORKERS: _one.start()
while len(BLOCKS) < 3: time.sleep(0.01)
"""


def mem(target, *words):
    return safepoint("mem", "--json", *words, target.pid).expect(0).result


def kernel_rss(target):
    for line in target.proc("smaps_rollup").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024


def check_sums(result):
    assert sorted(result["parts"]) == sorted(PARTS)
    assert sum(result["parts"].values()) == result["resident_bytes"] > 0
    arenas = result["malloc"]["arenas"]
    assert all(arena["sound"] for arena in arenas), arenas
    heap = result["parts"]["malloc_live"] + result["parts"]["malloc_free"]
    assert sum(arena["resident_bytes"] for arena in arenas) == heap
    assert sum(arena["resident_free_bytes"] for arena in arenas) == result["parts"]["malloc_free"]
    assert sum(stack["resident_bytes"] for stack in result["stacks"]) == result["parts"]["stacks"]


class Stopped:
    """The target runs `code` to its end and is blocked right behind it, in the same frame, until the block's end."""

    def __init__(self, target, code):
        self.target = target
        target.do("import os; GO = os.pipe()")
        self.pipe = target.ask("GO[1]")
        target.tell("exec " + code + "\nos.read(GO[0], 1)\n")
        until_it_waits(target.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with open("/proc/%d/fd/%d" % (self.target.pid, self.pipe), "wb") as file:
            file.write(b"x")
        assert "error" not in self.target.hear()


@pytest.fixture
def idle(python):
    with target_running(python) as target:
        yield target


def test_sum_is_the_rss(idle):
    idle.do("ZEROS = bytearray(9 << 20); GROWN = list(range(100000))")
    idle.until_blocked()
    mem(idle)  # the code that takes it to its safe point is in memory from now on
    for words in [(), ("--no-fork",), ("--no-pause",)]:
        before = kernel_rss(idle)
        result = mem(idle, *words)
        check_sums(result)
        assert abs(result["resident_bytes"] - before) <= SLACK, words
        if not words:  # else what is read of files' variables comes to be in memory
            assert abs(kernel_rss(idle) - before) <= SLACK
        assert result["malloc"]["allocator"] == "glibc" and result["malloc"]["readable"]
        assert [stack["found"] for stack in result["stacks"] if stack["main"]] == [True]
        assert result["parts"]["malloc_mapped"] >= 9 << 20
        assert result["parts"]["interpreter"] > 1 << 20
        assert result["no_objects"] is None and result["objects"] > 5000
        assert result["verdict"].strip()


def debug_stats(text):
    """{block: (pools, used, free)} of sys._debugmallocstats()."""
    rows = {}
    for line in text.splitlines():
        row = re.match(r"\s*\d+\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*$", line)
        if row:
            block, pools, used, free = map(int, row.groups())
            rows[block] = (pools, used, free)
    arenas = re.search(r"# arenas allocated current\s*=\s*([\d,]+)", text)
    return rows, int(arenas.group(1).replace(",", "")) if arenas else None


def test_size_classes(idle):
    """Pools, blocks in use and free of each class, as the interpreter counts them."""
    path = os.path.join(tempfile.gettempdir(), "safepoint-mem-%d" % idle.pid)
    idle.do("HOLES = [[object(), b'x' * (i % 500)] for i in range(20000)][::7]\ngc.collect(); gc.disable()")
    try:
        with Stopped(idle, "FILE = open(%r, 'w'); SAVED = os.dup(2); os.dup2(FILE.fileno(), 2)\n"
                     "sys._debugmallocstats(); os.dup2(SAVED, 2)" % path):
            result = mem(idle)
            with open(path) as file:
                expected, arenas = debug_stats(file.read())
    finally:
        os.unlink(path)
    found = {row["block"]: (row["pools"], row["used"], row["free"]) for row in result["pymalloc"]["classes"]}
    assert len(expected) > 10 and sorted(found) == sorted(expected)
    assert result["pymalloc"]["arenas"] == arenas and result["pymalloc"]["torn_pools"] == 0
    for block, row in expected.items():
        assert found[block][0] == row[0] and sum(found[block][1:]) == sum(row[1:]), block
        assert abs(found[block][1] - row[1]) <= 4, block  # what the call itself took


MALLINFO = """
import ctypes
LIBC = ctypes.CDLL(None)
MALLINFO = getattr(LIBC, "mallinfo2", None) or LIBC.mallinfo  # 2.33 and later, or with ints
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t if hasattr(LIBC, "mallinfo2") else ctypes.c_int) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
MALLINFO.restype = Info
MALLINFO()
"""


def check_mallinfo(target):
    with Stopped(target, "INFO = MALLINFO()"):
        result = mem(target)
    check_sums(result)
    info = target.ask("{name: getattr(INFO, name) for name, _ in Info._fields_}")
    arenas = result["malloc"]["arenas"]

    def total(*states):
        return sum(arena[state]["bytes"] for arena in arenas for state in states)

    assert sum(arena["system_bytes"] for arena in arenas) == info["arena"]
    assert abs(total("free", "fastbin", "top") - info["fordblks"]) <= 4096
    assert abs(total("fastbin") - info["fsmblks"]) <= 1024
    assert abs(info["arena"] - total("free", "fastbin", "top") - info["uordblks"]) <= 4096
    assert arenas[0]["top"]["bytes"] == info["keepcost"]
    assert result["malloc"]["mapped_blocks"] == info["hblks"]
    return result


def test_mallinfo(idle):
    """What malloc has in use and free, in the main arena and in those of threads, as glibc counts it."""
    try:
        idle.do(MALLINFO)
    except AssertionError as error:
        pytest.skip("no ctypes: %s" % error)
    idle.do(KEPT_FREE + "LARGE = [bytearray(1 << 20) for _ in range(5)]")
    check_mallinfo(idle)
    idle.do(THREADS)
    result = check_mallinfo(idle)
    assert len(result["malloc"]["arenas"]) >= 2
    assert sum(arena["tcache"]["count"] for arena in result["malloc"]["arenas"]) > 50
    assert len(result["stacks"]) >= 4 and all(stack["found"] and stack["resident_bytes"] > 0 for stack in result["stacks"])
    idle.do("GATE.set()\nfor _one in WORKERS: _one.join()")


def test_pinned_arenas(idle):
    idle.do(PINNED)
    idle.until_blocked()
    result = mem(idle)
    check_sums(result)
    pymalloc = result["pymalloc"]
    assert pymalloc["sparse_arenas"] > 10 and pymalloc["sparse_resident_bytes"] > 10 << 20
    assert pymalloc["pins"][0]["type"] == "int" and 50 <= pymalloc["pins"][0]["objects"] <= 400
    assert pymalloc["pins"][0]["alone"] > 10
    assert re.search(r"pymalloc keeps [\d.]+ MiB free.*pinned by.* int in \d+", result["verdict"]), result["verdict"]


def test_malloc_keeps_free(idle):
    idle.do(KEPT_FREE)
    idle.until_blocked()
    result = mem(idle, "--trim")
    check_sums(result)
    assert result["parts"]["malloc_free"] > 30 << 20
    assert re.match(r"glibc keeps [\d.]+ MiB free, of which malloc_trim\(\) would give back [\d.]+ MiB", result["verdict"])
    trim = result["trim"]
    assert trim["returned_bytes"] == trim["before_bytes"] - trim["after_bytes"] > 30 << 20
    assert abs(trim["returned_bytes"] - result["malloc"]["trimmable_bytes"]) <= SLACK
    assert abs(kernel_rss(idle) - trim["after_bytes"]) <= SLACK
    after = mem(idle)
    check_sums(after)
    assert after["malloc"]["trimmable_bytes"] <= 1 << 20
    assert idle.ask("len(KEPT), all(len(one) == 3000 and not any(one) for one in KEPT)") == [150, True]


def test_trim_of_a_busy_thread(sample_python):
    with target_running(sample_python, "busy") as target:
        end = time.monotonic() + PATIENCE
        result = mem(target, "--trim")
        assert sum(result["parts"].values()) == result["resident_bytes"]
        assert result["trim"]["thread"] == target.pid and time.monotonic() < end


def test_trim_without_a_safe_point(sample_python):
    """Nothing is called, and that is said; where the memory goes can be told all the same."""
    with target_running(sample_python, "stuck") as target:
        answer = safepoint("mem", "--trim", "--json", "--no-pause", "--timeout", "400ms", target.pid).expect(6)
        assert "malloc_trim() was not called" in answer.error["message"]
        result = mem(target, "--no-pause")
        assert sum(result["parts"].values()) == result["resident_bytes"]


def test_killed_while_it_trims(sample_python):
    """Whenever it is killed, the call is made to its end or not at all, and the target computes as ever."""
    chance = random.Random(7)
    with target_running(sample_python, "busy") as target:
        whole = safepoint("mem", "--trim", "-q", target.pid).expect(0).seconds
        killed = sum(killing.shoot(["mem", "--trim", "-q", str(target.pid)], chance.uniform(0.3, 1.05) * whole)
                     for _ in range(12))
        assert killed >= 4
        safepoint("mem", "--trim", "-q", target.pid).expect(0)
        assert safepoint("exec", "-e", "6 * 7", target.pid).expect(0).text.strip() == "42"


def test_without_pymalloc(sample_python):
    with target_running(sample_python, env={"PYTHONMALLOC": "malloc"}) as target:
        target.do("HELD = [b'%100d' % i for i in range(200000)]")
        target.until_blocked()
        result = mem(target)
        check_sums(result)
        assert result["pymalloc"]["arenas"] == 0 and result["parts"]["pymalloc_live"] == 0
        assert result["parts"]["malloc_live"] > 200000 * 133
        assert re.match(r"(Most of it|The largest part) is live Python objects", result["verdict"])


@pytest.mark.parametrize("name", ["jemalloc", "tcmalloc", "mimalloc"])
def test_another_malloc(name):
    """It is named, and malloc_trim() isn't called on what isn't glibc's."""
    libraries = sorted(glob.glob("/usr/lib/*/lib%s*.so.[0-9]" % name))
    hosts = [python for python in found().supported if not python.root]
    if not libraries or not hosts:
        pytest.skip("no %s here" % name)
    with target_running(hosts[-1], env={"LD_PRELOAD": libraries[0]}) as target:
        target.do("HELD = [bytearray(3000) for _ in range(10000)]")
        target.until_blocked()
        result = mem(target)
        assert sum(result["parts"].values()) == result["resident_bytes"]
        assert result["malloc"]["allocator"] == name and name in result["malloc"]["path"]
        assert re.match("Most of it is live Python objects", result["verdict"]), result["verdict"]
        answer = safepoint("mem", "--trim", "--json", target.pid).expect(5)
        assert name in answer.error["message"] and "glibc" in answer.error["hint"]


def test_text(sample_python):
    with target_running(sample_python) as target:
        target.do(PINNED)
        target.until_blocked()
        answer = safepoint("mem", "-v", target.pid).expect(0)
        assert "are resident" in answer.text and "pymalloc by size class" in answer.text
        assert re.search(r"^main +1 ", answer.text, re.M) and re.search(r"^ *%d .*main$" % target.pid, answer.text, re.M)
        assert answer.text.rstrip().endswith(".")


def test_a_file_has_no_memory(sample_python, tmp_path):
    path = str(tmp_path / "heap")
    with target_running(sample_python) as target:
        safepoint("snapshot", target.pid, "-o", path).expect(0)
    answer = safepoint("mem", path).expect(2)
    assert "has a process's objects, not its memory" in answer.errors and "safepoint heap" in answer.errors
    assert safepoint("mem", "--json", path).expect(2).error["code"] == "USAGE"
