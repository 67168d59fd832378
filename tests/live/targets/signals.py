# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that counts each signal that is delivered to it.

usage: signals.py CONTROL_FD ANSWERS_FD            counts what comes from outside
       signals.py CONTROL_FD ANSWERS_FD children   has children, one after the other, and waits for SIGCHLD of each
CPython's C handler writes one byte, the signal's number, to the wakeup descriptor for each delivery; a thread counts the bytes.
The main thread computes and waits in turn; so does a worker. What a program says at its start: {"threads": tids}
(the main thread's, the worker's, the counter's). Answers to a line on CONTROL_FD: {"counts": {number: n}, "bad": [...]}.
"""
import collections
import json
import os
import select
import signal
import sys
import threading
import time

NUMBERS = range(signal.SIGRTMIN + 1, signal.SIGRTMIN + 5)
COUNTS = collections.Counter()
BAD = []
PIPE_SIZE = 1 << 20
F_SETPIPE_SZ = 1031
CHILD_PATIENCE = 30  # seconds
control, answers = int(sys.argv[1]), int(sys.argv[2])
done = False
EXPECTED = sum(index * index for index in range(300))


def say(value):
    os.write(answers, (json.dumps(value) + "\n").encode())


def compute():
    if sum(index * index for index in range(300)) != EXPECTED:
        BAD.append("a sum is wrong")


def open_wakeup():
    import fcntl
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, PIPE_SIZE)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    return reading


def listen(seconds):
    """Answers what is asked."""
    global done
    if select.select([control], [], [], seconds)[0]:
        done = not os.read(control, 100)
        say({"counts": {int(number): count for number, count in COUNTS.items()}, "bad": BAD})


# ---------------------------------------------------------------- signals from outside


def count(reading):
    while True:
        for number in os.read(reading, 65536):
            COUNTS[number] += 1


def work():
    while not done:
        compute()
        time.sleep(0.001)


def start(function):
    """The id of a new thread that runs it."""
    tids, started = [], threading.Event()

    def run():
        tids.append(threading.get_native_id())
        started.set()
        function()

    threading.Thread(target=run, daemon=True).start()
    started.wait()
    return tids[0]


def count_signals():
    for number in NUMBERS:
        signal.signal(number, lambda number, frame: None)
    reading = open_wakeup()
    say({"threads": [os.getpid(), start(work), start(lambda: count(reading))]})
    while not done:
        for _ in range(10):
            compute()
        listen(0.001)


# ---------------------------------------------------------------- children


def reap(number, frame):
    """All children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        COUNTS[signal.SIGCHLD] += 1
        if status != 7 << 8:
            BAD.append("child %d ended with %d" % (pid, status))


def have_child(reading):
    """One, that ends at once: its SIGCHLD is the only one that will come."""
    before = COUNTS[signal.SIGCHLD]
    if os.fork() == 0:
        os._exit(7)
    while COUNTS[signal.SIGCHLD] == before:
        if not select.select([reading], [], [], CHILD_PATIENCE)[0]:
            BAD.append("no SIGCHLD came for child %d" % (before + 1))
            reap(None, None)
            return
        os.read(reading, 100)


def have_children():
    signal.signal(signal.SIGCHLD, reap)
    reading = open_wakeup()
    say({"threads": [os.getpid()]})
    while not done:
        have_child(reading)
        compute()
        listen(0)


sys.setswitchinterval(0.0005)
signal.alarm(int(os.environ.get("TARGET_LIFE", "900")))
(have_children if sys.argv[3:] == ["children"] else count_signals)()
