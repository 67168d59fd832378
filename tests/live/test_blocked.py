# SPDX-License-Identifier: GPL-3.0-or-later
"""A main thread that is blocked is served, and its own call still lasts its time; where that can't be, hands off."""
import time

import pytest

from conftest import safepoint, target_running

SECONDS = 1.2

# How the main thread is blocked for SECONDS; `took` is measured around it in the target.
BLOCKED = {
    "sleep": "import time; begin(); time.sleep(S)",
    "select": "import select; begin(); select.select([], [], [], S)",
    "poll": "import select; begin(); select.poll().poll(S * 1000)",
    "epoll": "import select; e = select.epoll(); begin(); e.poll(S); e.close()",
    "accept": "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); s.settimeout(S); begin()\n"
              "try:\n    s.accept()\nexcept OSError:\n    s.close()",
    "lock": "import _thread; l = _thread.allocate_lock(); l.acquire(); begin(); l.acquire(True, S)",
    "condition": "import threading; c = threading.Condition(); c.acquire(); begin(); c.wait(S); c.release()",
    "join": "import threading, time; t = threading.Thread(target=time.sleep, args=(S,)); t.start(); begin(); t.join()",
    "pipe": "import os, threading\nr, w = os.pipe(); t = threading.Timer(S, os.write, (w, b'x')); t.start(); begin()\n"
            "assert os.read(r, 1) == b'x'; t.join(); os.close(r); os.close(w)",
}

# Blocked by what Python doesn't repeat: EINTR would end it before its time.
NOT_REPEATED = "import ctypes; sleep = ctypes.CDLL(None).usleep; begin(); sleep(int(S * 1e6))"

FRAME = """
import time as _time
S = %r
_began = []
def begin():
    _began.append(_time.monotonic())
%s
took = _time.monotonic() - _began[0]
"""


def block(target, code):
    """Makes the main thread block; returns when it is in another system call than its reading of questions."""
    target.until_blocked()
    idle = current_call(target)
    target.tell("exec " + FRAME % (SECONDS, code))
    end = time.monotonic() + 30
    call, times = None, 0
    # Again and again the same: not one of the many calls of an import.
    while times < 10:
        assert time.monotonic() < end, "the target was not blocked"
        time.sleep(0.002)
        last, call = call, current_call(target)
        times = times + 1 if call == last and call not in (None, idle) else 0


def current_call(target):
    with open("/proc/%d/syscall" % target.pid) as file:
        words = file.read().split()
    return words if len(words) > 2 else None


def unblocked(target):
    answer = target.hear()
    assert "error" not in answer, answer
    return target.ask("took")


@pytest.mark.parametrize("call", BLOCKED)
def test_served_and_undisturbed(python, call):
    with target_running(python, "idle") as target:
        block(target, BLOCKED[call])
        start = time.monotonic()
        answer = safepoint("exec", "--timeout", "5s", target.pid, "-e", "6 * 7")
        served = time.monotonic() - start
        took = unblocked(target)
        answer.expect(0)
        assert answer.text == "42\n"
        assert served < SECONDS, "it was served only when the call had ended"
        assert SECONDS - 0.05 < took < SECONDS + 1


def test_hands_off(python):
    with target_running(python, "idle") as target:
        block(target, NOT_REPEATED)
        answer = safepoint("exec", "--timeout", "300ms", target.pid, "-e", "6 * 7").expect(6)
        assert "libffi" in answer.errors or "ctypes" in answer.errors
        took = unblocked(target)
        assert SECONDS - 0.05 < took < SECONDS + 1
        # Withdrawn for good, and the next one is served.
        safepoint("exec", target.pid, "-e", "6 * 7").expect(0)


def test_no_wake(python):
    """Left to the target: the answer comes, if at all, when the call is over."""
    with target_running(python, "idle") as target:
        block(target, BLOCKED["pipe"])
        answer = safepoint("exec", "--no-wake", "--timeout", "5s", target.pid, "-e", "6 * 7").expect(0)
        assert answer.text == "42\n"
        assert SECONDS - 0.05 < unblocked(target) < SECONDS + 1
