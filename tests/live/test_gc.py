# SPDX-License-Identifier: GPL-3.0-or-later
"""gc: what is read from outside against what the gc module says inside."""
import time

import pytest

from conftest import PATIENCE, safepoint, target_running

TOLD = ("[gc.isenabled(), gc.get_debug(), list(gc.get_threshold()), gc.get_freeze_count(), len(gc.garbage),"
        " [[s['collections'], s['collected'], s['uncollectable']] for s in gc.get_stats()], list(gc.get_count())]")


def read(target):
    return safepoint("gc", "--json", target.pid).expect(0).result["interpreters"]


def numbers(state):
    generations = state["generations"]
    return [state["enabled"], state["debug"], [g["threshold"] for g in generations], state["frozen"], state["garbage"],
            [[g["collections"], g["collected"], g["uncollectable"]] for g in generations]]


@pytest.mark.parametrize("setting", [
    "None",
    "gc.set_threshold(555, 7, 3)",
    "(gc.disable(), gc.collect(0), gc.collect(1), gc.collect(1), gc.collect(2), gc.collect())",
    "(gc.freeze(), gc.enable())",
    "(gc.unfreeze(), gc.set_debug(gc.DEBUG_SAVEALL), gc.collect(), gc.set_debug(gc.DEBUG_UNCOLLECTABLE))",
], ids=["plain", "threshold", "disabled", "frozen", "debug"])
def test_as_the_module_says(python, setting):
    with target_running(python, "idle") as target:
        target.do("import gc\nclass Cycle: pass\ndef make(n):\n    for _ in range(n):\n        c = Cycle(); c.own = c\nmake(500)")
        target.do("gc.disable(); make(1234); gc.enable()")
        target.do(setting)
        target.until_blocked()
        told = target.ask(TOLD)
        target.until_blocked()
        state = read(target)[0]
        assert numbers(state) == told[:-1]
        assert state["interpreter"] == 0 and state["collecting"] is False
        # Between its answer and our look it makes and drops a few objects.
        counts = [g["count"] for g in state["generations"]]
        assert counts[1:] == told[-1][1:] and abs(counts[0] - told[-1][0]) < 200
        assert (state["generations"][0]["time_us"] is not None) == (python.minor >= (3, 15))
        target.do("gc.set_debug(0); gc.garbage.clear()")


def test_collecting_now(python):
    """A long collection is seen as such."""
    with target_running(python, "sleep") as target:
        target.do("import gc; KEPT = [[i] for i in range(600000)]; gc.disable()")
        target.do("import threading; DONE = []\ndef again():\n    while not DONE: gc.collect()\n")
        target.do("COLLECTOR = threading.Thread(target=again); COLLECTOR.start()")
        try:
            end, seen = time.monotonic() + PATIENCE, set()
            while seen != {True} and time.monotonic() < end and True not in seen:
                seen.add(read(target)[0]["collecting"])
            assert True in seen
        finally:
            target.do("DONE.append(1)")
            target.do("COLLECTOR.join(); KEPT.clear()")


def test_busy(python):
    with target_running(python, "threads") as target:
        last = -1
        for _ in range(10):
            state = read(target)[0]
            assert state["enabled"] and state["generations"][0]["threshold"] > 0
            assert state["generations"][0]["collections"] >= last
            last = state["generations"][0]["collections"]
        assert target.tracer() == 0


def test_each_interpreter(python):
    with target_running(python, "idle") as target:
        target.do("""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
MADE = interpreters.create()
interpreters.run_string(MADE, "import gc; gc.set_threshold(321, 9, 8)")
""")
        states = read(target)
        if python.minor == (3, 8):
            assert len(states) == 1  # all share one collector
        else:
            assert [state["interpreter"] for state in states] == [0, target.ask("int(MADE)")]
            assert [g["threshold"] for g in states[1]["generations"]] == [321, 9, 8]
        target.do("interpreters.destroy(MADE); del MADE")


def test_text(python, idle):
    text = safepoint("gc", idle.pid).expect(0).text
    rows = text.splitlines()
    assert rows[0].split() == ["enabled", "yes"] and "0 (young)" in text and "THRESHOLD" in text
    assert "collector" in safepoint("info", idle.pid).expect(0).text


def test_missing():
    assert safepoint("gc", "999999999").expect(3).errors.startswith("safepoint: ")
