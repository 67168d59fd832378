# SPDX-License-Identifier: GPL-3.0-or-later
"""heap: the histogram read from outside, compared with what the target knows of itself."""
import fcntl
import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time

import pytest

import matrix
from conftest import PATIENCE, SAFEPOINT, Running, pythons, safepoint, target_running
from programs import Traces
from test_freeze import FrozenCall, check_only_dead, children, frozen, until_it_computes

RECORDS = os.path.join(pythons.TOP, "tests", "bench", "records.py")
MAKE = """
class Known: pass
class Outer:
    class Inner:
        __slots__ = ("a", "__weakref__")
class Text(str): pass
HEAP_KNOWN = [Known() for _ in range(1234)]
HEAP_INNER = [Outer.Inner() for _ in range(777)] * 2
HEAP_TEXT = [Text("t%d" % i) for i in range(55)]
for _one in HEAP_KNOWN: _one.value = [_one]
del _one
gc.collect()
"""
LISTS = {"type": "types", "module": "modules", "size": "sizes", "generation": "generations"}


def heap(target, *words):
    target.until_blocked()
    return safepoint("heap", "--json", *words, target.pid).expect(0).result


def by_type(result):
    """Rows of one name are one here: two classes may share it."""
    rows = {}
    for row in result["types"]:
        have = rows.setdefault(row["type"], dict.fromkeys(("count", "tracked", "bytes", "refs"), 0))
        for name in have:
            have[name] += row.get(name, 0)
    return rows


def check_known(target, rows):
    for name, kept, count in [("Known", "HEAP_KNOWN", 1234), ("Outer.Inner", "HEAP_INNER", 777), ("Text", "HEAP_TEXT", 55)]:
        row = rows["__main__." + name]
        assert row["count"] == count, name
        size = target.ask("sum({id(one): sys.getsizeof(one) for one in %s}.values())" % kept)
        assert row["bytes"] == size, name
    assert rows["__main__.Known"]["refs"] == 2 * 1234  # of the list, and of its own
    assert rows["__main__.Outer.Inner"]["refs"] == 2 * 777
    assert rows["__main__.Known"]["tracked"] == 1234


def test_known_objects(idle):
    idle.do(MAKE)
    result = heap(idle)
    check_known(idle, by_type(result))
    assert result["partial"] is False and result["missing_bytes"] == 0 and result["cut"] is False
    assert result["torn_pools"] == 0 and result["allocator"] == "pymalloc"
    for name in ("count", "tracked", "bytes", "refs"):
        total = {"count": "objects"}.get(name, name)
        assert sum(row[name] for row in result["types"]) == result[total], name


def test_agrees_with_stats(idle):
    """Type by type on what the collector tracks: counts, bytes, references."""
    safepoint("stats", "--json", idle.pid).expect(0)  # what it imports is there from now on
    ours = by_type(heap(idle))
    stats = safepoint("stats", "--json", "--timeout", "60s", idle.pid).expect(0).result
    theirs = by_type(stats)
    frozen = stats["gc"]["frozen"] if "frozen" in stats["gc"] else 0
    for name in sorted(set(theirs) | {name for name, row in ours.items() if row["tracked"]}):
        one = theirs.get(name, {"count": 0, "bytes": 0, "refs": 0})
        more = ours[name]["tracked"] - one["count"]
        if name == "tuple":
            more -= min(frozen or 0, max(0, more))  # which gc.get_objects() leaves out
        assert more == 0, (name, ours[name], one)
        if ours[name]["count"] == ours[name]["tracked"]:
            assert (ours[name]["bytes"], ours[name]["refs"]) == (one["bytes"], one["refs"]), name


def test_grouping(idle):
    """However it is grouped, the sums are the same."""
    idle.do(MAKE)
    result = heap(idle)
    for by, rows in LISTS.items():
        other = heap(idle, "--by", by)
        assert (other["objects"], other["bytes"]) == (result["objects"], result["bytes"])
        assert sum(row["count"] for row in other[rows]) == result["objects"]
        assert sum(row["bytes"] for row in other[rows]) == result["bytes"]
    modules = {row["module"]: row for row in heap(idle, "--by", "module")["modules"]}
    inside = [row for row in result["types"] if row["type"].startswith("__main__.")]
    assert modules["__main__"]["count"] == sum(row["count"] for row in inside)
    generations = {row["generation"]: row for row in heap(idle, "--by", "generation")["generations"]}
    tracked = sum(row["count"] for name, row in generations.items() if name != "not tracked")
    assert tracked == result["tracked"] > 1000
    sizes = heap(idle, "--by", "size", "--sort", "name")["sizes"]
    assert all(row["size"].startswith("<= ") for row in sizes) and len(sizes) > 5


def test_choosing(idle):
    idle.do(MAKE)
    for sort in ("bytes", "count", "refs"):
        rows = [row[sort] for row in heap(idle, "--sort", sort)["types"]]
        assert rows == sorted(rows, reverse=True) and len(rows) > 50
    names = [row["type"] for row in heap(idle, "--sort", "name")["types"]]
    assert names == sorted(names)
    result = heap(idle, "--min", "64K")
    assert result["types"] and min(row["bytes"] for row in result["types"]) >= 65536
    assert result["objects"] > sum(row["count"] for row in result["types"])
    names = {row["type"] for row in heap(idle, "--match", "__main__.*")["types"]}
    assert {"__main__.Known", "__main__.Outer.Inner", "__main__.Text"} <= names
    assert all(name.startswith("__main__.") for name in names)
    assert len(heap(idle, "-n", "3")["types"]) == 3


def test_table(idle):
    idle.do(MAKE)
    idle.until_blocked()
    answer = safepoint("heap", idle.pid, "--sort", "count", "-n", "12").expect(0)
    lines = answer.text.splitlines()
    assert " objects, " in lines[0]
    assert lines[2].split() == ["COUNT", "BYTES", "SHARE", "REFS", "TYPE"]
    assert len(lines) == 3 + 12 and any(line.endswith(" __main__.Known") for line in lines), answer.text
    assert "more rows" in answer.errors and "copied in" in answer.errors
    assert safepoint("heap", "-q", idle.pid).expect(0).errors == ""


def test_bound_on_memory(idle):
    """Less than all is said to be less; and we keep to it."""
    idle.do("HEAP_BIG = [bytes(40000 + i % 7) for i in range(1500)]")  # 60 MB
    try:
        idle.until_blocked()
        whole = safepoint("heap", "--json", idle.pid).expect(0)
        assert whole.result["partial"] is False and whole.max_rss > 60 << 20
        bound = safepoint("heap", "--json", "--max-memory", "32M", idle.pid).expect(0)
        assert bound.result["partial"] is True and bound.result["missing_bytes"] > 30 << 20
        assert 0 < bound.result["objects"] <= whole.result["objects"]
        assert bound.max_rss < (32 << 20) + (8 << 20 if "/asan/" not in SAFEPOINT else 400 << 20)
        assert "PARTIAL" in bound.errors and "PARTIAL" not in whole.errors
    finally:
        idle.do("del HEAP_BIG")


METHODS = {"child": [], "copy": ["--no-fork"], "live": ["--no-pause"]}


@pytest.mark.parametrize("method", METHODS)
def test_while_it_works(busy, method):
    """What stands still in a process that works is counted exactly, again and again; and it works on."""
    busy.do(MAKE)
    for _ in range(3):
        rounds = busy.ask("ROUNDS")
        answer = safepoint("heap", "--json", *METHODS[method], busy.pid).expect(0)
        result, rows = answer.result, by_type(answer.result)
        assert [rows["__main__." + name]["count"] for name in ("Known", "Outer.Inner", "Text")] == [1234, 777, 55]
        assert (result["method"], result["at_safe_point"]) == (method, method != "live"), result
        assert (result["why_not"] is None) == (method != "live") and (result["refused"] is None) == (method == "child")
        assert 0 < answer.json["pause_us"] < 1e6 or (method == "live" and answer.json["pause_us"] == 0)
        assert busy.tracer() == 0 and children(busy.pid) == []
        assert busy.ask("ROUNDS") > rounds


# Exactly 1000 or 2000 at every safe point: each change is one call in C, which holds the GIL.
CHANGING = """
import functools, itertools, operator, threading
class Changed: pass
HEAP_CHANGED = []
CHANGING = True
def change():
    make, number = functools.partial(object.__new__, Changed), 0
    while CHANGING:
        number += 1
        HEAP_CHANGED[:] = map(call, itertools.repeat(make, 1000 + number % 2 * 1000))
call = operator.methodcaller("__call__")
CHANGER = threading.Thread(target=change)
CHANGER.start()
"""


def count_changed(target, *words):
    answer = safepoint("heap", "--json", *words, target.pid)
    if words == ("--no-pause",) and answer.status == 5:  # so torn that it can't be read
        assert "do without --no-pause" in answer.error["hint"]
        return -1, None
    rows = by_type(answer.expect(0).result)
    return rows["__main__.Changed"]["count"] if "__main__.Changed" in rows else 0, answer.result


def test_one_instant(python):
    """Counts are of one instant, at a safe point; read while it runs they are of no instant, which this can see."""
    with target_running(python, "busy") as target:
        target.do(CHANGING)
        for words in [[], ["--no-fork"]] * 4:
            count, result = count_changed(target, *words)
            assert count in (0, 1000, 2000) and result["at_safe_point"] and result["torn_pools"] == 0, (words, count)
        torn = {count_changed(target, "--no-pause")[0] for _ in range(15)}
        assert torn - {0, 1000, 2000}, torn
        target.do("CHANGING = False\nCHANGER.join()")


def test_not_at_a_safe_point(sample_python):
    """C code that holds the GIL for good: read as it is, and said so."""
    with target_running(sample_python, "stuck") as target:
        until_it_computes(target)
        answer = safepoint("heap", "--json", "--timeout", "300ms", target.pid).expect(0)
        assert answer.result["method"] == "child" and answer.result["at_safe_point"] is False
        assert "holding the GIL" in answer.result["why_not"] and answer.result["objects"] > 5000
        assert "NOT AT A SAFE POINT" in answer.errors
        assert children(target.pid) == [] and target.tracer() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's limit")
def test_process_limit(open_python):
    """At its limit of processes it can't fork: it is copied, and says why."""
    with target_running(open_python, "busy", user=64322) as target:  # nobody's
        target.do("import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (1, 1))")
        answer = safepoint("heap", "--json", target.pid).expect(0)
        assert answer.result["method"] == "copy" and answer.result["at_safe_point"]
        assert "limit on processes" in answer.result["refused"] and "for want of a child" in answer.errors


def until_locked(target, other):
    """Until another has the process's lock."""
    end = time.monotonic() + PATIENCE
    with open("/proc/%d/mem" % target.pid, "rb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(file, fcntl.LOCK_UN)
            assert time.monotonic() < end and other.popen.poll() is None
            time.sleep(0.005)


def test_one_at_a_time(some_python):
    """Another that is at work on it is waited for, as long as --timeout says."""
    with target_running(some_python, "idle") as target:
        target.until_blocked()
        with Running(["exec", "--timeout", "20s", target.pid, "-c", "import time; time.sleep(1.5)"]) as other:
            until_locked(target, other)
            answer = safepoint("heap", "--timeout", "200ms", target.pid).expect(6)
            assert "another safepoint is at work" in answer.errors
            safepoint("heap", "--timeout", "20s", target.pid).expect(0)
            other.finish().expect(0)


class HeapCall(FrozenCall):
    """A blocked call goes on as if nothing had been, while its process's heap is read."""

    def look(self):
        self.ran, self.started, own = [], time.monotonic(), children(self.target.pid)
        holds = "GIL" in (self.case.named or "")
        for words in ((), ("--no-fork",)):
            result = safepoint("heap", "--json", "--timeout", "300ms" if holds else "10s", *words, self.target.pid).expect(0).result
            self.answered = time.monotonic()
            self.outcome.check(children(self.target.pid) == own, "a child is left: %s", children(self.target.pid))
            self.outcome.check(result["at_safe_point"] != holds and result["objects"] > 3000, "not read as it should be: %s", result)
        self.ran.append(self.answered)


def test_blocked(some_python):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix, "Run", HeapCall)
        problems = {outcome.case.name: outcome.problems for outcome in matrix.run_matrix(some_python) if outcome.problems}
    assert not problems, problems


# ---------------------------------------------------------------- killed, interrupted


def end_some(target, number, signal_number):
    """Starts it again and again, and ends it at a random instant: gives its exit status. Nobody's child lives on."""
    choice, took = random.Random(5), safepoint("heap", target.pid).expect(0).seconds
    for _ in range(number):
        with Running(["heap", "-q", target.pid]) as running:
            time.sleep(choice.uniform(0, took))
            os.kill(running.pid, signal_number)
            status = running.popen.wait(PATIENCE)
        check_only_dead(target)
        yield status


@pytest.mark.parametrize("situation, number", [("busy", 50), ("worker", 20)])
def test_killed(sample_python, situation, number):
    """By SIGKILL: the target goes on, and the next run leaves nothing."""
    with frozen(sample_python, situation, 20000) as target:
        safepoint("heap", target.pid).expect(0)
        traces = Traces(target)
        assert -signal.SIGKILL in set(end_some(target, number, signal.SIGKILL))
        safepoint("exec" if situation == "busy" else "heap", target.pid, *(["-c", "pass"] if situation == "busy" else [])).expect(0)
        assert children(target.pid) == [] and target.tracer() == 0
        assert not [sentence for sentence in traces.differ() if not sentence.startswith("anonymous bytes")]


def test_interrupted_anywhere(sample_python):
    """By Ctrl-C: it leaves nothing by itself."""
    with frozen(sample_python, "busy", 20000) as target:
        safepoint("heap", target.pid).expect(0)
        traces = Traces(target)
        for status in end_some(target, 25, signal.SIGINT):
            assert status in (0, 130, -signal.SIGINT), status  # the last: before it had begun
            assert children(target.pid) == [] and target.tracer() == 0
        assert not [sentence for sentence in traces.differ() if not sentence.startswith("anonymous bytes")]


@pytest.mark.parametrize("allocator", ["debug", "malloc", "malloc_debug"])
def test_other_allocators(python, allocator):
    with target_running(python, env={"PYTHONMALLOC": allocator}) as target:
        target.do(MAKE)
        result = heap(target)
        check_known(target, by_type(result))
        assert result["allocator"] == ("pymalloc" if allocator == "debug" else "malloc")


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
HEAP_SUB = [interpreters.create() for _ in range(2)]
for one in HEAP_SUB:
    getattr(interpreters, "run_string", None)(one, "class Inside: pass\\nkept = [Inside() for _ in range(321)]\\nkept[0].big = tuple(range(1000))")
"""


def test_subinterpreters(python):
    """Objects of all interpreters, those with an allocator of their own too."""
    with target_running(python) as target:
        target.do(SUBINTERPRETER)
        rows = by_type(heap(target))
        assert rows["__main__.Inside"]["count"] == 2 * 321
        assert rows["__main__.Inside"]["tracked"] == 2 * 321
        target.do("for one in HEAP_SUB: interpreters.destroy(one)")


def test_errors(idle, tmp_path):
    for words in (["--by", "colour"], ["--sort", "colour"], ["-n", "0"], ["-n", "x"], ["--min", "much"], ["--max-memory", "-1"]):
        answer = safepoint("heap", *words, idle.pid).expect(2)
        assert answer.text == "" and words[1] in answer.errors
    safepoint("heap").expect(2)
    safepoint("heap", idle.pid, "--thread", "main").expect(2)
    safepoint("stats", idle.pid, "--no-fork").expect(2)
    safepoint("stats", idle.pid, "--by", "type").expect(2)
    with subprocess.Popen(["/bin/sleep", "100"]) as other:
        try:
            answer = safepoint("heap", "--json", other.pid).expect(3)
            assert json.loads(answer.text)["ok"] is False
        finally:
            other.kill()
    answer = safepoint("heap", idle.pid, "--max-memory", "64K").expect(5)
    assert "hint: give it more room: --max-memory" in answer.errors
    answer = safepoint("heap", idle.pid, "--no-fork", "--max-memory", "1M").expect(5)
    assert "hint: give it more: --max-memory" in answer.errors
    assert children(idle.pid) == []


@pytest.fixture(scope="module")
def large():
    """A heap that takes a while to read."""
    popen = subprocess.Popen([sys.executable, RECORDS, "3000000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert popen.stdout.readline() == b"ready\n"
    yield popen.pid
    popen.kill()
    popen.communicate()


def test_progress_on_a_terminal(large):
    ours, theirs = pty.openpty()
    popen = subprocess.Popen([SAFEPOINT, "heap", str(large)], stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    seen, end = b"", time.monotonic() + PATIENCE
    while select.select([ours], [], [], max(0, end - time.monotonic()))[0]:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    output = popen.communicate(timeout=PATIENCE)[0]
    os.close(ours)
    assert popen.returncode == 0 and b"__main__.Record" in output
    assert b"\rreading objects " in seen or b"\rcopying memory " in seen, seen
    assert b"%\x1b[K" in seen and seen.rindex(b"\r\x1b[K") > seen.rindex(b"%\x1b[K")


def test_interrupted(large):
    """While it reads; nothing is printed, and the target is as it was."""
    with Running(["heap", large]) as running:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with open("/proc/%d/status" % running.pid) as file:
                if int(file.read().split("VmRSS:")[1].split()[0]) > 40000:
                    break
        os.kill(running.pid, signal.SIGINT)
        answer = running.finish(PATIENCE)
    assert answer.status == 130 and answer.text == "" and "interrupted" in answer.errors
