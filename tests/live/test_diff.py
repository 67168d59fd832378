# SPDX-License-Identifier: GPL-3.0-or-later
"""diff and grow: what grew, in numbers that are known, and who keeps it, by the name that Python has for it."""
import shutil
import signal
import subprocess

import pytest

from conftest import PATIENCE, Running, safepoint, target_running
from test_leaks import until_waiting

pytestmark = pytest.mark.graph

PROGRAM = """
import sys, types
app = types.ModuleType("app")
sys.modules["app"] = app
exec('''
class Order:
    def __init__(self, number):
        self.lines = [number * 1.5, "line %d" % number]
class Session:
    def __init__(self): self.history = []
cache = {}
sessions = [Session() for _ in range(50)]
old = [Order(number) for number in range(400)]
steady = {}
def work(times):
    for number in range(len(cache), len(cache) + times):
        cache["key %d" % number] = Order(number)
    for one in sessions: one.history.append({"when": [times]})
    for number in range(100): steady[number] = Order(number)
    del old[:100]
work(300)
''', app.__dict__)
"""


def snapshot(target, path, *words):
    safepoint("snapshot", target.until_blocked(), "-o", path, *words).expect(0)
    return str(path)


def by_type(result):
    return {row["type"]: row for row in result["types"]}


def check_work(result, count, known):
    """After work(count): 100 of the old ones are gone, 100 were replaced, count new ones are in the cache."""
    orders = by_type(result)["app.Order"]
    assert orders["count"] == count - 100
    # One that died gives its memory to one that is made: at most those that died are taken for the old ones.
    assert count - 100 <= orders["new"] <= count + 100 and orders["new"] - orders["gone"] == count - 100
    assert result["new"] - result["gone"] == result["after"]["objects"] - result["before"]["objects"]
    assert result["same"] + result["changed"] + result["blank"] + result["new"] == result["after"]["objects"]
    assert result["after"]["objects"] - result["new"] == result["before"]["objects"] - result["gone"]
    assert sum(result["ages"].values()) == result["new"] and (result["blank"] < 3000) == known
    first, second = result["keepers"][:2]
    assert first["where"] == "app.cache[...]" and first["mostly"] == "app.Order" and first["holder"] == "dict", result["keepers"][:3]
    assert count - 200 <= first["mostly_entries"] <= count and first["holders"] == 1
    assert second["where"].startswith("app.sessions[") and ".history" in second["where"] and second["mostly"] == "dict", result["keepers"][:3]
    assert 40 <= second["holders"] <= 50
    held = sum(row["objects"] for row in result["keepers"])
    assert held + result["unheld"] <= result["new"] and first["objects"] >= 3 * (count - 200)


def test_two_snapshots(python, tmp_path):
    with target_running(python) as target:
        target.do(PROGRAM)
        before = snapshot(target, tmp_path / "a.sps")
        target.do("app.work(900)")
        after = snapshot(target, tmp_path / "b.sps")
        result = safepoint("diff", "--json", before, after).expect(0).result
        check_work(result, 900, False)
        check_work(safepoint("diff", "--json", before, target.until_blocked()).expect(0).result, 900, False)
        told = [snapshot(target, tmp_path / "c.sps", "--values")]
        target.do("app.work(500)")
        told.append(snapshot(target, tmp_path / "d.sps", "--values"))
        check_work(safepoint("diff", "--json", *told).expect(0).result, 500, True)
    same = safepoint("diff", "--json", after, after).expect(0).result
    assert (same["new"], same["gone"], same["changed"], same["types"], same["keepers"]) == (0, 0, 0, [], [])
    back = safepoint("diff", "--json", after, before).expect(0).result
    assert back["new"] - back["gone"] == result["gone"] - result["new"]
    text = safepoint("diff", before, after).expect(0)
    lines = text.text.splitlines()
    assert lines[2].split() == ["COUNT", "BYTES", "NEW", "GONE", "EXCESS", "TYPE"], text.text
    assert "  app.cache[...]" in text.text and "may be others, at addresses used again" in text.errors


def test_reused_address(idle, tmp_path):
    """Another tuple at the address of one that died is new: a tuple never changes."""
    idle.do("import ctypes; DIFF_A, DIFF_B = [1.5], [2.5]; DIFF_T = (DIFF_A, DIFF_A, DIFF_A, DIFF_A, DIFF_A, DIFF_A, DIFF_A); DIFF_L = [DIFF_A]")
    before = snapshot(idle, tmp_path / "a.sps")
    address = idle.ask("id(DIFF_T)")
    idle.do("""
DIFF_L[0] = DIFF_B
DIFF_T = None
DIFF_SPARE = []
while id(DIFF_T) != %d:
    DIFF_T = (DIFF_B,) * 7
    DIFF_SPARE.append(DIFF_T)
    assert len(DIFF_SPARE) < 100000
del DIFF_SPARE
""" % address)
    after = snapshot(idle, tmp_path / "b.sps")
    result = safepoint("diff", "--json", before, after).expect(0).result
    rows = by_type(result)
    assert rows["tuple"]["new"] >= 1 and rows["tuple"]["gone"] >= 1, rows["tuple"]
    assert any("DIFF_T" in keeper["where"] for keeper in result["keepers"]), result["keepers"]
    assert result["changed"] >= 1  # the list, which may change


GROWING = """
import threading
GROW_STOP = threading.Event()
class Grown: pass
GROW_CACHE = {}
def grow_rows():
    rows, number = [], 0
    while not GROW_STOP.wait(0.002):
        number += 1
        GROW_CACHE[number] = Grown()
        rows.append([number])
GROW_THREAD = threading.Thread(target=grow_rows, name="Grower")
GROW_THREAD.start()
"""


def test_grow(python):
    """A cache, and a local of a thread's function: named, and seen to rise at every look."""
    with target_running(python) as target:
        target.do(GROWING)
        try:
            answer = safepoint("grow", "--json", "--for", "900ms", "--every", "300ms", target.pid).expect(0)
        finally:
            target.do("GROW_STOP.set(); GROW_THREAD.join()")
    result = answer.result
    assert result["looks"] >= 3 and result["interrupted"] is False and 0.9 <= result["seconds"] < PATIENCE
    row = by_type(result)["__main__.Grown"]
    assert row["count"] == row["new"] > 20 and row["rises"] == result["looks"] - 1 and row["gone"] == 0
    keepers = {keeper["mostly"]: keeper["where"] for keeper in reversed(result["keepers"])}
    assert keepers["__main__.Grown"] == "__main__.GROW_CACHE[...]", result["keepers"]
    assert keepers["list"].startswith("local rows[...] of grow_rows (") and keepers["list"].endswith(", thread Grower)"), result["keepers"]


def test_grow_interrupted(idle):
    with Running(["grow", "--json", "--for", "1h", idle.until_blocked()]) as running:
        until_waiting(running)
        running.popen.send_signal(signal.SIGINT)
        result = running.finish().expect(0).result
    assert result["interrupted"] is True and result["looks"] == 2 and result["keepers_found"] >= 0


def test_grow_text_and_end(some_python):
    with target_running(some_python) as target:
        target.do(GROWING)
        text = safepoint("grow", "--for", "300ms", "--every", "100ms", target.pid).expect(0).text
        assert "ROSE" in text and "GROW_CACHE[...]" in text and "Who keeps what is new:" in text
        target.do("GROW_STOP.set(); GROW_THREAD.join()")
        with Running(["grow", "--json", target.until_blocked()]) as running:
            until_waiting(running)
            target.end()
            assert running.finish().expect(8).error["code"] == "TARGET_ENDED"
        target.end = lambda: None


def test_usage(idle, tmp_path):
    file = snapshot(idle, tmp_path / "a.sps")
    assert "needs a live process" in safepoint("grow", file).expect(2).errors
    assert "a word is missing" in safepoint("diff", file).expect(2).errors
    with open(file, "r+b") as damaged:
        damaged.seek(200)
        damaged.write(b"damage")
    safepoint("diff", file, idle.until_blocked()).expect(9)
    with target_running(idle.python) as other:
        whole, others = snapshot(idle, tmp_path / "b.sps"), snapshot(other, tmp_path / "c.sps")
    assert "TWO PROCESSES" in safepoint("diff", whole, others).expect(0).errors


def note_of(*words):
    """What is said of whose heaps they are."""
    return [line for line in safepoint("diff", *words).expect(0).errors.splitlines() if "PROCESS" in line]


@pytest.mark.skipif(not shutil.which("gcore"), reason="there is no gcore")
def test_a_core_of_the_same_process(idle, tmp_path):
    """A core has no start time; the random bytes of the program's start are in it."""
    def gcore(pid):
        subprocess.run(["gcore", "-o", str(tmp_path / "core"), str(pid)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=PATIENCE)
        return "%s.%d" % (tmp_path / "core", pid)

    file, core = snapshot(idle, tmp_path / "a.sps"), gcore(idle.pid)
    assert note_of(file, core) == note_of(core, file) == note_of(core, idle.until_blocked()) == []
    idle.do("import os; CHILD = os.fork(); CHILD or (os.read(os.pipe()[0], 1), os._exit(0))")
    child = idle.ask("CHILD")
    try:
        forked = note_of(file, gcore(child))
        assert len(forked) == 1 and "PERHAPS" in forked[0] and str(child) in forked[0]
        assert note_of(file, child) == forked
    finally:
        idle.do("os.kill(CHILD, 9); os.waitpid(CHILD, 0)")
    with target_running(idle.python) as other:
        others = snapshot(other, tmp_path / "b.sps")
    assert note_of(others, core) == ["safepoint: TWO PROCESSES, %d and %d: only counts and bytes by type mean something" % (
        other.pid, idle.pid)]
