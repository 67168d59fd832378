# SPDX-License-Identifier: GPL-3.0-or-later
"""stack: what is read from outside against what the interpreter says of itself."""
import contextlib
import os
import re
import signal
import time

import pytest

import reading
from conftest import PATIENCE, safepoint, target_running, until_it_waits
from reading import IMPORT

# Readings of a stack that changes all the time.
NUMBER = int(os.environ.get("STACK_READS", "10000" if os.environ.get("SAFEPOINT_SOAK") else "2000"))


def read(target, *words):
    return safepoint("stack", "--json", target.pid, *words).expect(0).result["threads"]


def rows(thread):
    return [[frame["function"], frame["file"], frame["line"]] for frame in thread["frames"]]


@contextlib.contextmanager
def resting(python, start="stacks.start()", end="stacks.end()"):
    with target_running(python, "idle") as target:
        target.do(IMPORT)
        target.do(start)
        try:
            until_it_waits(target.pid)
            yield target
        finally:
            target.do(end)


def until_all_wait(target):
    """Until every thread waits in the kernel, and so has the stack that it will have when asked."""
    end = time.monotonic() + PATIENCE
    for tid in target.threads():
        while target.proc("task/%d/syscall" % tid).startswith("running"):
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture(scope="module")
def cases(python):
    with resting(python) as target:
        until_all_wait(target)
        yield target, target.ask("stacks.tell()"), target.until_blocked()


def test_frames_are_the_interpreters(python, cases):
    """Every thread, at rest: names, functions, files and lines."""
    target, told, _ = cases
    until_it_waits(target.pid)
    threads = {str(thread["tid"]): thread for thread in read(target)}
    assert set(threads) == set(told) | {str(target.pid)}
    assert len(told) >= 17
    for tid, (name, frames) in told.items():
        thread = threads[tid]
        assert rows(thread) == frames, (python.id, name)
        assert thread["python_name"] == name and thread["python"] and not thread["changing"] and thread["error"] is None
        assert thread["steady"], name
    deep = [frames for name, frames in told.values() if name == "recursion"]
    assert len(deep[0]) > 900


def test_main_thread(python, cases):
    target, _, _ = cases
    until_it_waits(target.pid)
    main = [thread for thread in read(target) if thread["main"]][0]
    functions = [frame["function"] for frame in main["frames"]]
    assert functions == ["serve", "main", "<module>"], functions
    assert main["python_name"] == "MainThread" and main["tid"] == target.pid
    assert main["state"] == "blocked" and main["syscall"] == "read" and main["waits_for"] == "call"


def test_exactly_so_while_it_is_stopped(python, cases):
    target, told, _ = cases
    until_it_waits(target.pid)
    answer = safepoint("stack", "--json", "--stop", target.pid).expect(0)
    assert answer.result["pause_us"] > 0
    threads = {str(thread["tid"]): rows(thread) for thread in answer.result["threads"]}
    assert {tid: frames for tid, (_, frames) in told.items()} == {tid: threads[tid] for tid in told}
    assert target.tracer() == 0 and target.ask("MARK") == "the target's own"


def test_one_thread(python, cases):
    target, told, _ = cases
    tid = [tid for tid, (name, _) in told.items() if name == "sort"][0]
    threads = read(target, "--thread", tid)
    assert [thread["tid"] for thread in threads] == [int(tid)]
    assert [thread["tid"] for thread in read(target, "--thread", "main")] == [target.pid]
    answer = safepoint("stack", target.pid, "--thread", "1").expect(2)
    assert "has no thread 1" in answer.errors


def test_text(python, cases):
    target, told, _ = cases
    text = safepoint("stack", target.pid).expect(0).text
    for tid, (name, frames) in told.items():
        block = text.split("thread %s " % tid)[1].split("\n\n")[0]
        assert block.startswith('"%s"' % name) and "blocked in read" in block.splitlines()[0], block
        function, file, line = frames[0]
        assert "%s  (%s:%d)" % (function, file, line) in block
    assert "the same 900 times more" in text or "the same 899 times more" in text
    assert "\x1b" not in text


def test_blocked_for_how_long(python):
    with target_running(python, "idle") as target:
        target.until_blocked()
        began = time.monotonic()
        time.sleep(0.6)
        main = read(target)[0]
        took = time.monotonic() - began
        # The clock of a processor stands still for those that it is taken away from.
        assert main["blocked_us"] is not None and 0.3e6 < main["blocked_us"] < (took + 1) * 1e6


def test_states(python):
    """Who runs, who waits for the GIL, for a lock, for work."""
    with target_running(python, "busy") as target:
        target.do("import threading, time; STOP = []; LOCK = threading.Lock(); LOCK.acquire()")
        target.do("def spin():\n    while not STOP: pass\n")
        target.do("def wait():\n    LOCK.acquire(); LOCK.release()\n")
        target.do("def idle():\n    import select\n    select.select([], [], [], 60) if False else None\n    while not STOP: time.sleep(0.2)\n")
        target.do("WORKERS = [threading.Thread(target=f, name=f.__name__) for f in (spin, wait, idle)]")
        target.do("[w.start() for w in WORKERS] and None")
        try:
            seen = set()
            end = time.monotonic() + PATIENCE
            wanted = {("spin", "gil"), ("spin", None), ("MainThread", "gil"), ("wait", "lock"), ("idle", "work")}
            while not wanted <= seen and time.monotonic() < end:
                threads = read(target)
                seen |= {(thread["python_name"], thread["waits_for"]) for thread in threads}
                assert sum(thread["holds_gil"] for thread in threads) <= 1
            assert wanted <= seen, seen
        finally:
            target.do("STOP.append(1); LOCK.release(); [w.join() for w in WORKERS] and None")


def until_stopped(target):
    """In the stop of its signal: when a tracer lets a thread go, that takes the last step into it by itself."""
    end = time.monotonic() + PATIENCE
    while target.state() != "T":
        assert time.monotonic() < end
        time.sleep(0.001)


def test_stopped_process(python):
    """One that was stopped by a signal is read as it is, and says so."""
    with target_running(python, "idle") as target:
        target.until_blocked()
        os.kill(target.pid, signal.SIGSTOP)
        try:
            for words in ((), ("--stop",), ("--native",)):
                until_stopped(target)
                main = read(target, *words)[0]
                assert main["state"] == "stopped", main
                assert [frame["function"] for frame in main["frames"] if frame["kind"] == "python"] == ["serve", "main", "<module>"]
            until_stopped(target)
            assert "stopped in read" in safepoint("stack", target.pid).expect(0).text
        finally:
            os.kill(target.pid, signal.SIGCONT)


# ---------------------------------------------------------------- C's frames


def test_native(python, cases):
    """Python's frames stay what they are; C's stand where they were called."""
    target, told, _ = cases
    until_it_waits(target.pid)
    threads = {str(thread["tid"]): thread for thread in read(target, "--native")}
    for tid, (name, frames) in told.items():
        thread = threads[tid]
        assert thread["native_error"] is None, thread
        own = [[frame["function"], frame["file"], frame["line"]] for frame in thread["frames"] if frame["kind"] == "python"]
        assert own == frames, (python.id, name)
        kinds = [frame["kind"] for frame in thread["frames"]]
        first, last = thread["frames"][0], thread["frames"][-1]
        assert first["object"].startswith("libc") and int(first["address"], 16)
        assert kinds[0] == kinds[-1] == "native" and last["object"].startswith("libc")
        assert [frame for frame in thread["frames"][:kinds.index("python")] if "read" in (frame["function"] or "")]
        assert not [frame for frame in thread["frames"] if (frame["function"] or "").startswith("_PyEval_EvalFrameDefault")]
    assert target.tracer() == 0 and target.ask("MARK") == "the target's own"


def between(thread, inner, outer):
    """C's functions between two of Python's."""
    names = [frame["function"] and frame["function"].split(".")[-1] for frame in thread["frames"]]
    start, end = names.index(inner), names.index(outer)
    assert start < end
    return [frame for frame in thread["frames"][start + 1:end]], names


def test_native_calls_back(python, cases):
    """ctypes calls qsort, which calls back into Python: C's function is between them."""
    target, told, _ = cases
    tid = [tid for tid, (name, _) in told.items() if name == "qsort"][0]
    thread = read(target, "--native", "--thread", tid)[0]
    frames, names = between(thread, "compare", "in_qsort")
    assert [frame for frame in frames if frame["kind"] == "native" and "qsort" in (frame["function"] or "")], names
    text = safepoint("stack", target.pid, "--native", "--thread", tid).expect(0).text
    assert re.search(r"C qsort\w*\+0x[0-9a-f]+  \(libc", text), text


def test_native_all_stopped(python, cases):
    target, told, _ = cases
    threads = {str(thread["tid"]): thread for thread in read(target, "--native", "--stop")}
    for tid, (name, frames) in told.items():
        own = [[frame["function"], frame["file"], frame["line"]] for frame in threads[tid]["frames"] if frame["kind"] == "python"]
        assert own == frames and len(threads[tid]["frames"]) > len(frames), name
    assert target.tracer() == 0


# ---------------------------------------------------------------- variables

EXPECTED = {
    "argument": "'first'", "rest_of_them": "(2,)", "keyword": r"b'\x00bytes\x27'", "others": "{'extra': 4}",
    "text": r"'it\'s a\nstring'", "empty": "''", "small": "17", "negative": "-5", "real": "2.5", "truth": "True",
    "lie": "False", "nothing": "None", "unicode_text": "'größe 漢字'", "numbers": "[1, 2, 3]",
    "many": "[0, 1, 2, 3, 4, ... 100 in all]", "pair": "(1, 'b')", "single": "(1,)",
    "table": "{'key': [1, 2], 3: None}", "members": "{7}", "frozen": "frozenset({8})", "cls": "<class stacks.Point>", "function": "<function rest>",
    "module": "<module os>", "captured": "12",
}
HIDDEN = {"argument": "<str of 5>", "small": "<int>", "real": "<float>", "keyword": "<bytes of 7>", "truth": "True",
          "nothing": "None", "numbers": "[<int>, <int>, <int>]", "table": "{<str of 3>: [<int>, <int>], <int>: None}"}


def variables(target, *words):
    thread = [thread for thread in read(target, "--locals", *words) if thread["python_name"] == "variables"][0]
    frame = [frame for frame in thread["frames"] if frame["function"] == "hold_variables"][0]
    return {row["name"]: row["value"] for row in frame["locals"]}, {row["name"]: row["type"] for row in frame["locals"]}


def test_variables(python):
    with resting(python, "stacks.start_variables()", "import os; os.write(stacks.WRITING, b'x'); [t.join() for t in stacks.THREADS] and None") as target:
        until_all_wait(target)
        values, types = variables(target, "--values")
        assert {name: values.get(name) for name in EXPECTED} == EXPECTED
        assert values["big"] == "<int of %d bits>" % (10 ** 30).bit_length() and values["long_text"] == "'" + "x" * 63 + "'... of 1000"
        assert re.match(r"<stacks.Point at 0x[0-9a-f]+>$", values["point"]), values["point"]
        assert re.match(r"<stacks.Names at 0x[0-9a-f]+>$", values["own"])
        assert values["nested"].startswith("[[<list at 0x")
        assert "unbound" not in values and types["point"] == "stacks.Point" and types["table"] == "dict"
        hidden, _ = variables(target)
        assert {name: hidden.get(name) for name in HIDDEN} == HIDDEN
        assert "x" * 10 not in "".join(hidden.values())


def test_class_body_variables(python, cases):
    target, told, _ = cases
    tid = [tid for tid, (name, _) in told.items() if name == "class_body"][0]
    frames = read(target, "--locals", "--values", "--thread", tid)[0]["frames"]
    body = [frame for frame in frames if frame["function"].split(".")[-1] == "Resting"][0]
    assert {"attribute": "5"}.items() <= {row["name"]: row["value"] for row in body["locals"]}.items()


# ---------------------------------------------------------------- a stack that changes all the time


def test_no_stack_that_never_was(python):
    """Of thousands of readings of a thread that calls and returns all the time, every stack is one that can be."""
    result = reading.read_changing(python, NUMBER)
    assert result["problems"] == [], result
    assert result["whole"] > 0 and result["different stacks"] >= 5, result


def test_it_is_read_while_it_runs(python):
    """Nothing is stopped, left, or changed in a busy process."""
    with target_running(python, "threads") as target:
        for _ in range(20):
            threads = read(target)
            assert sorted(thread["tid"] for thread in threads) == target.threads()
            for thread in threads:
                assert not thread["frames"] or thread["frames"][-1]["function"].split(".")[-1] in ("<module>", "_bootstrap")
        assert target.tracer() == 0 and target.ask("BAD") == []


# ---------------------------------------------------------------- interpreters

INTERPRETER = """
import threading, os
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
GATE, OPEN = os.pipe()
MADE = interpreters.create()
def enter():
    run = getattr(interpreters, "run_string")
    run(MADE, "def inside():\\n    import os\\n    os.read(%d, 1)\\ninside()" % GATE)
ENTERED = threading.Thread(target=enter, name="entered")
ENTERED.start()
"""


def test_every_interpreter(python):
    with target_running(python, "idle") as target:
        target.do(INTERPRETER)
        try:
            end = time.monotonic() + PATIENCE
            inner = []
            while not inner and time.monotonic() < end:
                threads = read(target)
                inner = [thread for thread in threads if thread["interpreter"] and thread["frames"]]
            functions = [frame["function"] for frame in inner[0]["frames"]]
            assert functions[0] == "inside" and inner[0]["interpreter"] == target.ask("int(MADE)")
            # Up to 3.12 an interpreter's only state names the thread that made it, not the one that has entered it.
            outer = [thread for thread in threads if thread["python_name"] == "entered"]
            assert outer and "enter" in [frame["function"] for frame in outer[0]["frames"]]
            assert inner[0]["tid"] == (outer[0]["tid"] if python.minor >= (3, 13) else inner[0]["tid"])
        finally:
            target.do("os.write(OPEN, b'x'); ENTERED.join(); os.close(OPEN); os.close(GATE)")


# ---------------------------------------------------------------- refusals


def test_missing():
    answer = safepoint("stack", "999999999").expect(3)
    assert answer.out == b"" and answer.errors.startswith("safepoint: ")


def test_options_of_others():
    assert "doesn't take" in safepoint("info", "1", "--locals").expect(2).errors
