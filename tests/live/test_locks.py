# SPDX-License-Identifier: GPL-3.0-or-later
"""locks: each kind of waiting, who has the lock, and deadlocks; of a target at rest and of one that never rests."""
import json
import subprocess
import time

import pytest

from conftest import SAFEPOINT, safepoint, until_it_waits
from programs import Program

READS = 60
NOBODY = {"wants-taken", "wants-left", "timed", "notified", "event", "queue", "simple", "semaphore", "full", "future"}


class Threads(Program):
    def __init__(self, python, mode):
        super().__init__(python, "locks", [mode])
        assert self.hear() == "ready"

    def at_rest(self):
        for tid in self.threads():
            until_it_waits(tid)
        return self.pid

    def answers_still(self):
        self.say(b"?")
        assert self.hear() == "here"


@pytest.fixture(scope="module")
def threads(python):
    with Threads(python, "all") as program:
        yield program
        program.answers_still()


def read(program):
    return safepoint("locks", "--json", program.at_rest()).expect(0).result


def by_name(result):
    names = [wait["name"] for wait in result["waits"]]
    assert len(names) == len(set(names)), names
    return {wait["name"]: wait for wait in result["waits"]}


def test_what_each_waits_for(threads):
    result = read(threads)
    waits = by_name(result)
    kinds = {"deadlock-1": "rlock", "deadlock-2": "rlock", "inside-with": "event", "left-it": "event",
             "has-python-lock": "event", "wants-in-with": "lock", "wants-taken": "lock", "wants-left": "lock",
             "wants-first": "rlock", "wants-condition": "lock", "wants-python": "rlock", "wants-gone": "rlock",
             "timed": "lock", "notified": "condition", "event": "event", "queue": "queue", "simple": "queue",
             "semaphore": "semaphore", "full": "queue", "joins": "join", "future": "future"}
    found = {name: wait["kind"] for name, wait in waits.items()}
    pool = [name for name in found if name.startswith("pool")]
    assert [found.pop(name) for name in pool] == ["worker"]
    assert found == kinds
    assert result["threads"] == len(threads.threads())
    assert all(wait["checked"] is True and wait["changing"] is False for wait in waits.values()), waits
    assert {name for name, wait in waits.items() if wait["timed"]} == {"timed"}
    assert all(wait["tid"] in threads.threads() for wait in waits.values())
    types = {"wants-in-with": "_thread.lock", "deadlock-1": "_thread.RLock", "simple": "_queue.SimpleQueue"}
    assert {name: waits[name]["lock"]["type"] for name in types} == types
    subjects = {"queue": "queue.Queue", "semaphore": "threading.Semaphore", "notified": "threading.Condition",
                "event": "threading.Event", "wants-python": "threading._RLock", "joins": "threading.Thread",
                "wants-condition": "threading.Condition", "future": "concurrent.futures._base.Future"}
    assert {name: waits[name]["of"]["type"] for name in subjects} == subjects
    assert waits["joins"]["of"]["name"] == "inside-with"
    functions = {"deadlock-1": "first_then_second", "deadlock-2": "second_inside", "wants-in-with": "takes",
                 "timed": "acquires", "notified": "notified", "joins": None}
    for name, function in functions.items():
        if function:
            frame = waits[name]["frame"]
            assert frame["function"] == function and frame["file"].endswith("/locks.py") and frame["line"] > 0


def test_who_has_it(threads):
    waits = by_name(read(threads))
    owners = {name: wait["owner"] and (wait["owner"]["name"], wait["owner"]["known_by"]) for name, wait in waits.items()}
    expected = {"deadlock-1": ("deadlock-2", "lock"), "deadlock-2": ("deadlock-1", "lock"),
                "wants-first": ("deadlock-1", "lock"), "wants-python": ("has-python-lock", "lock"),
                "wants-in-with": ("inside-with", "with"), "wants-condition": ("inside-with", "with"),
                "joins": ("inside-with", "thread"), "wants-gone": (None, "lock")}
    assert {name: owners[name] for name in expected} == expected
    # A lock that was acquired by a call notes nobody; a frame that has left its `with` isn't taken for the owner.
    assert {name: owners[name] for name in NOBODY} == dict.fromkeys(NOBODY)
    assert waits["wants-first"]["owner"]["count"] == 2 and waits["deadlock-1"]["owner"]["count"] == 1
    assert waits["wants-gone"]["owner"]["gone"] is True and waits["wants-gone"]["owner"]["tid"] is None
    inside = waits["wants-in-with"]["owner"]
    assert inside["tid"] == waits["inside-with"]["tid"] and inside["frame"]["function"] == "inside_with"


def test_deadlocks(threads):
    result = read(threads)
    waits = by_name(result)
    circle = {waits["deadlock-1"]["tid"], waits["deadlock-2"]["tid"]}
    assert [set(tids) for tids in result["deadlocks"]] == [circle]


def test_stopped_meanwhile(threads):
    """--stop: the same, and the process goes on."""
    stopped = safepoint("locks", "--json", "--stop", threads.at_rest()).expect(0)
    assert "were stopped for" in stopped.errors
    one, other = by_name(stopped.result), by_name(read(threads))
    assert {name: (wait["kind"], wait["lock"], wait["owner"]) for name, wait in one.items()} == {
        name: (wait["kind"], wait["lock"], wait["owner"]) for name, wait in other.items()}
    assert threads.tracer() == 0 and threads.state() in "RS"
    threads.answers_still()


def test_since_when(threads):
    began = time.monotonic()
    one = by_name(read(threads))
    time.sleep(0.3)
    other = by_name(read(threads))
    for name in ("event", "wants-in-with", "queue"):
        if one[name]["for_s"] is None:
            pytest.skip("this kernel doesn't tell")
        assert 0.2 < other[name]["for_s"] - one[name]["for_s"] < time.monotonic() - began + 0.2


def test_text(threads):
    text = safepoint("locks", threads.at_rest()).expect(0).text
    assert "a Lock has no owner" in text and "deadlock:\n" in text
    lines = text.splitlines()
    at = [number for number, line in enumerate(lines) if "(wants-in-with) waits for a Lock: _thread.lock at 0x" in line]
    assert len(at) == 1 and "held by thread" in lines[at[0] + 2] and "(inside-with), by a `with` of it" in lines[at[0] + 2]
    assert "it will never be released" in text and "\x1b" not in text


def test_import(python):
    with Threads(python, "import") as program:
        waits = by_name(read(program))
        wait = waits["wants-import"]
        assert wait["kind"] == "import" and wait["of"]["name"] == "locks_slow" and wait["checked"] is True
        assert wait["owner"]["name"] == "imports" and wait["owner"]["known_by"] == "lock"
        program.answers_still()


def test_the_gil(sample_python):
    with Threads(sample_python, "gil") as program:
        if program.hear() == "no ctypes":
            pytest.skip("this Python has no ctypes")
        end, found, asked = time.monotonic() + 2.5, None, 0
        while time.monotonic() < end and not (found and found["owner"]):
            program.say(b"?")  # main wants it back for the answer
            asked += 1
            waits = by_name(safepoint("locks", "--json", program.pid).expect(0).result)
            found = waits.get("MainThread")
        assert found and found["kind"] == "gil" and found["owner"]["name"] == "keeps", waits
        assert [program.hear() for _ in range(asked)] == ["here"] * asked


def test_the_end_of_python(python):
    """The main thread waits for those that are left."""
    with Threads(python, "ending") as program:
        until_it_waits(program.pid)
        waits = by_name(read(program))
        main = [wait for wait in waits.values() if wait["tid"] == program.pid]
        assert [wait["kind"] for wait in main] == ["shutdown"], waits
        assert main[0]["of"]["name"] == "left-over" and main[0]["owner"]["name"] == "left-over"


def test_nobody_waits(idle):
    assert safepoint("locks", "--json", idle.until_blocked()).expect(0).result["waits"] == []
    assert "waits for a lock" in safepoint("locks", idle.pid).expect(0).text


def test_while_they_change(sample_python):
    """Nothing crashes or fails; and an owner is only ever a thread of the target's."""
    with Threads(sample_python, "churn") as program:
        tids = set(program.threads())
        seen = 0
        for number in range(READS):
            done = subprocess.run([SAFEPOINT, "locks", "--json", str(program.pid)], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=60)
            assert done.returncode == 0, (number, done)
            for wait in json.loads(done.stdout)["result"]["waits"]:
                seen += 1
                assert wait["tid"] in tids and wait["kind"] in ("lock", "rlock", "queue", "gil", "futex", "condition"), wait
                if wait["owner"] and not wait["changing"]:
                    assert wait["owner"]["tid"] in tids, wait
        assert seen
        program.answers_still()
