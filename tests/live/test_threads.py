# SPDX-License-Identifier: GPL-3.0-or-later
"""--thread main, any, new or a thread's id, and --interp."""
import json

import pytest

from conftest import safepoint, target_running

WHO = "import _thread, sys; sys.stdout.write('%d' % _thread.get_native_id())"

# A worker that is blocked in a pipe until it is told to end; its native id is WORKER.
WORKER = """
import os, threading, _thread
READING, WRITING = os.pipe()
began = threading.Event()
def work():
    global WORKER
    WORKER = _thread.get_native_id()
    began.set()
    os.read(READING, 1)
worker = threading.Thread(target=work)
worker.start()
began.wait()
"""
END_WORKER = "os.write(WRITING, b'x'); worker.join(); os.close(READING); os.close(WRITING)"

# Main in somebody else's call with a time-out: nothing may be run on it.
STUCK_MAIN = "exec import ctypes; ctypes.CDLL(None).usleep(1500000)"

MAKE_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
MADE = interpreters.create()  # up to 3.12 the interpreter goes with it
INTERPRETER = int(MADE)
"""


def test_main_is_the_default(busy):
    assert safepoint("exec", "-q", busy.pid, "-c", WHO).expect(0).text == "%d" % busy.pid
    assert safepoint("exec", "-q", "--thread", "main", busy.pid, "-c", WHO).expect(0).text == "%d" % busy.pid
    assert safepoint("exec", "-q", "--thread", busy.pid, busy.pid, "-c", WHO).expect(0).text == "%d" % busy.pid


def test_a_blocked_thread_by_its_id(python):
    with target_running(python, "idle") as target:
        target.do(WORKER)
        worker = target.ask("WORKER")
        answer = safepoint("exec", "--json", "--thread", worker, target.pid, "-c", WHO)
        assert answer.result["stdout"] == "%d" % worker and answer.result["thread"] == worker
        assert target.ask("worker.is_alive()") is True
        target.do(END_WORKER)


def test_any_takes_who_can(python):
    """Main is in a call that may not be disturbed: another thread runs it, at once and once."""
    with target_running(python, "idle") as target:
        target.do(WORKER)
        worker = target.ask("WORKER")
        target.until_blocked()
        target.tell(STUCK_MAIN)
        code = WHO + "; import __main__; __main__.LEDGER.append(1)"
        answer = safepoint("exec", "--json", "--thread", "any", "--timeout", "20s", target.pid, "-c", code)
        assert answer.result["stdout"] in ("%d" % worker, "%d" % target.pid)
        assert target.hear() == {"ok": None}
        assert target.ask("LEDGER") == [1]
        target.do(END_WORKER)


def test_any_runs_each_request_once(python):
    with target_running(python, "threads") as target:
        for i in range(20):
            safepoint("exec", "-q", "--thread", "any", target.pid, "-c", "import __main__; __main__.LEDGER.append(%d)" % i).expect(0)
        assert target.ask("LEDGER") == list(range(20))


def test_new(python):
    """A fresh thread, which may take a lock that main holds for a while; nothing is left of it. Often: some
    version counts them."""
    with target_running(python, "busy") as target:
        threads, names = target.threads(), target.ask("sorted(sys.modules)")
        active = target.ask("len(__import__('threading')._active)")
        for _ in range(40):
            answer = safepoint("exec", "--json", "--thread", "new", target.pid, "-c", "import threading; threading.current_thread(); " + WHO)
            ran = int(answer.result["stdout"])
            assert ran == answer.result["thread"] and ran not in threads
            assert target.threads() == threads
        assert target.ask("len(__import__('threading')._active)") == active
        assert set(target.ask("sorted(sys.modules)")) - set(names) <= {"threading"}


def test_new_may_take_a_lock(python):
    """The lock is free only when main goes on: run on main the script would never end."""
    with target_running(python, "idle") as target:
        target.do("import threading, time; LOCK = threading.Lock()")
        target.until_blocked()
        target.tell("exec with LOCK: time.sleep(0.8)")
        code = "import __main__\nwith __main__.LOCK: print('taken')"
        answer = safepoint("exec", "-q", "--thread", "new", "--timeout", "20s", target.pid, "-c", code).expect(0)
        assert answer.text == "taken\n" and target.hear() == {"ok": None}


def test_new_is_interrupted_at_the_deadline(python):
    with target_running(python, "idle") as target:
        threads = target.threads()
        answer = safepoint("exec", "--thread", "new", "--timeout", "300ms", target.pid, "-c", "while True: pass").expect(6)
        assert "interrupted" in answer.errors
        assert target.threads() == threads and target.ask("1 + 1") == 2


@pytest.mark.parametrize("thread", ["main", "new"])
@pytest.mark.parametrize("channel", ["passed", "directory"])
def test_idle_interpreter(python, thread, channel):
    """Its own modules and names, not the main one's."""
    with target_running(python, "idle") as target:
        target.do(MAKE_INTERPRETER)
        number, modules = target.ask("INTERPRETER"), target.ask("sorted(sys.modules)")
        words = ["exec", "-q", "--interp", number, "--thread", thread, "--channel", channel, target.pid]
        code = "import sys, json; print(hasattr(sys.modules['__main__'], 'LEDGER')); sys.mark = 5"
        assert safepoint(*words, "-c", code).expect(0).text == "False\n"
        assert safepoint(*words, "-e", "sys.mark").expect(0).text == "5\n"
        assert "ZeroDivisionError" in safepoint(*words, "-c", "1/0").expect(7).errors
        assert target.ask("hasattr(sys, 'mark')") is False
        assert set(target.ask("sorted(sys.modules)")) - set(modules) <= {"_socket"}
        answer = safepoint(*words, "--timeout", "300ms", "-c", "while True: pass").expect(6)
        assert "interrupted" in answer.errors
        assert safepoint(*words, "-e", "sys.mark").expect(0).text == "5\n"
        target.do("interpreters.destroy(INTERPRETER)")


def test_running_interpreter(python):
    """One that runs on a thread of its own: posted to on 3.14+, refused by name before."""
    with target_running(python, "idle") as target:
        target.do(MAKE_INTERPRETER)
        number = target.ask("INTERPRETER")
        target.do("import os, threading; READING, WRITING = os.pipe(); CODE = 'import os; os.write(%d, b\"y\"); os.read(%d, 1)'\n"
                  "BACK, FORTH = os.pipe()\n"
                  "runner = threading.Thread(target=lambda: interpreters.run_string(INTERPRETER, CODE % (FORTH, READING)))\n"
                  "runner.start(); os.read(BACK, 1)")
        words = ["exec", "-q", "--interp", number, "--timeout", "700ms", target.pid, "-e", "'LEDGER' in dir(__import__('__main__'))"]
        if target.posts_by_struct:
            assert safepoint(*words).expect(0).text == "False\n"
        else:
            assert "interpreter %d runs" % number in safepoint(*words).expect(6).errors
        target.do("os.write(WRITING, b'x'); runner.join(); [os.close(n) for n in (READING, WRITING, BACK, FORTH)]")
        target.do("interpreters.destroy(INTERPRETER)")


def test_bad_choices(idle):
    assert "no interpreter 77" in safepoint("exec", "--interp", "77", idle.pid, "-e", "1").expect(2).errors
    assert "runs no Python" in safepoint("exec", "--thread", "1", idle.pid, "-e", "1").expect(2).errors
    for word in ("", "some", "-1", "99999999999", "0"):
        safepoint("exec", "--thread", word, idle.pid, "-e", "1").expect(2)
    safepoint("exec", "--interp", "x", idle.pid, "-e", "1").expect(2)
    answer = safepoint("exec", "--json", "--thread", "1", idle.pid, "-e", "1").expect(2)
    assert json.loads(answer.text)["error"]["code"] == "USAGE"
