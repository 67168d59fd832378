# SPDX-License-Identifier: GPL-3.0-or-later
"""Each call of the commands that only read fails once: never a crash, nor an answer that isn't so, and the target is unharmed.

With the same program as test_faults.py. An answer may lack what couldn't be read (null, an empty list, its own `error`); what it has must
be what it has without a fault.
"""
import json
import os

import pytest

import conftest
from conftest import SAFEPOINT, safepoint, target_running, until_it_waits
from test_faults import PROGRAM, SOAK, chosen_pythons

COMMANDS = {
    "stack": ["stack", "--locals", "--values"],
    "stopped stack": ["stack", "--stop"],
    "native stack": ["stack", "--native"],
    "tasks": ["tasks"],
    "locks": ["locks"],
    "gc": ["gc"],
    "info": ["info"],
}
CLASSES = {"ptrace": "EIO", "read": "EFAULT", "alloc": "ENOMEM", "file": "EACCES"}
STATUSES = {0, 3, 4, 5, 6, 8}

SETUP = """
import asyncio, gc, threading
GC_WAS = gc.isenabled(); gc.disable()
HELD = threading.RLock(); HELD.acquire()
def waits():
    with HELD:
        pass
async def leaf():
    await STOP.wait()
async def tree():
    global LOOP, STOP
    LOOP, STOP = asyncio.get_running_loop(), asyncio.Event()
    await asyncio.gather(leaf(), leaf())
THREADS = [threading.Thread(target=waits, name="waits"), threading.Thread(target=asyncio.run, args=(tree(),), name="loop")]
[thread.start() for thread in THREADS] and None
"""
CLEAN = "HELD.release(); LOOP.call_soon_threadsafe(STOP.set); [thread.join() for thread in THREADS]; GC_WAS and gc.enable()"

# What differs from one reading to the next.
VOLATILE = {"time", "reading_us", "pause_us", "blocked_us", "steady", "uptime_s", "rss_bytes", "peak_rss_bytes", "descriptors", "for_s", "left_s",
            "age_s", "time_us", "holds_gil", "gil", "address", "offset", "search_us", "doing"}
# What says of itself that something is missing.
TROUBLED = ("error", "native_error", "changing", "incomplete", "collecting", "why_not")


def stable(value):
    if isinstance(value, dict):
        return {key: stable(part) for key, part in value.items() if key not in VOLATILE}
    # Where the unwind tables of a library can't be had, the way through C's frames is a guess that its file doesn't tell.
    return [stable(part) for part in value if not is_native(part)] if isinstance(value, list) else value


def is_native(part):
    return isinstance(part, dict) and part.get("kind") == "native"


def is_bare(told, true):
    """A class without its module; a command of which the program's name alone is known; a list of variables without some."""
    if isinstance(told, str) and isinstance(true, str):
        return true.endswith("." + told.lstrip("<")) or (told[:1] == "[" and told[1:-1] in true)
    return isinstance(told, list) and isinstance(true, list) and all("value" in one and one in true for one in told)


def contradictions(told, true, path=""):
    """Where an answer says something else than the true one; less is none."""
    if told is None or told == true or told in ([], "", "<?>", "?", "unknown") or is_bare(told, true):
        return []
    if isinstance(told, dict) and isinstance(true, dict):
        if any(told.get(key) and not true.get(key) for key in TROUBLED) or (true.get("checked") and not told.get("checked")):
            return []
        return [one for key in told for one in contradictions(told[key], true.get(key), path + "." + key)]
    if isinstance(told, list) and isinstance(true, list) and len(told) == len(true):
        return [one for number, pair in enumerate(zip(told, true)) for one in contradictions(*pair, "%s[%d]" % (path, number))]
    return ["%s: %s instead of %s" % (path, json.dumps(told)[:200], json.dumps(true)[:200])]


def run(target, words, fault, log):
    env = {"SAFEPOINT_FAULT": fault, "SAFEPOINT_FAULT_LOG": log}
    if not SOAK:
        env["SAFEPOINT_FAULT_SITES"] = "1"
    conftest.SAFEPOINT = PROGRAM
    try:
        answer = safepoint(*words, "--json", target.pid, env=env)
    finally:
        conftest.SAFEPOINT = SAFEPOINT
    with open(log) as file:
        return answer, [line.split()[1] for line in file.read().splitlines() if line.startswith("failed ")]


def judge(answer, true):
    """What is wrong with it."""
    if answer.status not in STATUSES:
        return ["exit status %d: %s" % (answer.status, answer.errors.strip())]
    try:
        told = json.loads(answer.text)
    except ValueError:
        return ["no JSON: %r" % answer.text[-200:]]
    if answer.status:
        return [] if told["ok"] is False and told["error"]["message"] else ["no error is told"]
    return contradictions(stable(told["result"]), true)


def pytest_generate_tests(metafunc):
    if "faulty_python" in metafunc.fixturenames:
        pythons = chosen_pythons()
        pythons = pythons if SOAK else pythons[:1] + pythons[1:][-1:]  # the oldest and the newest
        metafunc.parametrize("faulty_python", pythons, ids=[python.id for python in pythons], scope="module")


@pytest.fixture(scope="module")
def at_rest(faulty_python):
    with target_running(faulty_python) as target:
        target.do(SETUP)
        for tid in target.threads():
            until_it_waits(tid)
        yield target
        target.do(CLEAN)


@pytest.mark.skipif(not os.access(PROGRAM, os.X_OK), reason="make faults has not been run")
@pytest.mark.timeout(1800 if SOAK else 300)
@pytest.mark.parametrize("name", COMMANDS)
def test_each(at_rest, name, tmp_path):
    words, log, problems, reached = COMMANDS[name], str(tmp_path / "log"), [], 0
    state = at_rest.descriptors(), at_rest.maps()[0], at_rest.threads()
    true = stable(safepoint(*words, "--json", at_rest.pid).expect(0).result)
    for kind, error in CLASSES.items():
        number = misses = 0
        while misses < 2:
            number += 1
            fault = "%s:%d:%d" % (kind, number, getattr(__import__("errno"), error))
            for _ in "ab":  # it may really have run for an instant, after a stop
                answer, failed = run(at_rest, words, fault, log)
                wrong = judge(answer, true) + ([] if at_rest.tracer() == 0 else ["the target is held"])
                if not wrong:
                    break
            misses = 0 if failed else misses + 1
            reached += bool(failed)
            problems += ["%s (%s): %s" % (fault, ", ".join(failed), "; ".join(wrong))] if wrong else []
    assert (at_rest.descriptors(), at_rest.maps()[0], at_rest.threads()) == state
    assert stable(safepoint(*words, "--json", at_rest.pid).expect(0).result) == true
    assert reached > 50 and at_rest.ask("BAD") == []
    at_rest.until_blocked()
    if problems:
        pytest.fail("%d of %d:\n%s" % (len(problems), reached, "\n".join(problems)), pytrace=False)
