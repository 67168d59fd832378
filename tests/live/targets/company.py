# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that does what makes a request's life hard: it forks, becomes another, ends slowly.

usage: company.py CONTROL_FD ANSWERS_FD MODE [WORDS]
    forks           says "ready", has children again and again that run Python for a while; answers a line on CONTROL_FD with
                    {"ledger": ..., "bad": ...}; ends with CONTROL_FD
    execs N         after a random while becomes itself, with N + 1; says {"started": N, "descriptors": n}; a byte ends it
    ending HOW      ends at once; says "here" where that takes long (ENDINGS), and a byte lets it go on
"""
import atexit
import json
import os
import random
import select
import signal
import sys
import threading
import time

control, answers, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LEDGER = []
BAD = []


def serve(number):
    """What a request runs here."""
    LEDGER.append((number, time.monotonic(), os.getpid()))
    return number


def say(value):
    os.write(answers, (json.dumps(value) + "\n").encode())


def compute():
    if sum(index * index for index in range(100)) != 328350:
        BAD.append("a sum is wrong")


# ---------------------------------------------------------------- forks


def have_child():
    child = os.fork()
    for _ in range(30):
        compute()
    if child == 0:
        # A request is its parent's alone.
        os._exit(1 if any(pid == os.getpid() for number, when, pid in LEDGER) else 0)
    _, status = os.waitpid(child, 0)
    if status:
        BAD.append("a request ran in a child" if status == 256 else "a child ended with %d" % status)


def forks():
    say("ready")
    while True:
        have_child()
        if select.select([control], [], [], 0)[0]:
            if not os.read(control, 100):
                return
            say({"ledger": LEDGER, "bad": BAD})


# ---------------------------------------------------------------- execs


def execs():
    number = int(sys.argv[4])
    say({"started": number, "descriptors": len(os.listdir("/proc/self/fd"))})
    end = time.monotonic() + random.random() * 0.03
    while time.monotonic() < end:
        compute()
    if not select.select([control], [], [], 0)[0]:
        sys.argv[4] = str(number + 1)
        for fd in (control, answers):
            os.set_inheritable(fd, True)
        os.execv(sys.executable, [sys.executable] + sys.argv)


# ---------------------------------------------------------------- endings


def hold():
    say("here")
    os.read(control, 1)


def hold_busily():
    say("here")
    while not select.select([control], [], [], 0)[0]:
        compute()


def hold_when_main_has_ended():
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    hold()


def work_for_ever():
    while True:
        compute()


class Last:
    """Kept by sys, its end is that of the interpreter: modules' names are gone then, so it brings what it uses."""

    def __del__(self, read=os.read, write=os.write, control=control, answers=answers):
        write(answers, b'"here"\n')
        read(control, 1)


def keep_to_the_last():
    sys.kept = Last()


ENDINGS = {
    "atexit, blocked": lambda: atexit.register(hold),
    "atexit, busy": lambda: atexit.register(hold_busily),
    "a thread is joined": lambda: threading.Thread(target=hold_when_main_has_ended).start(),
    "a daemon thread works": lambda: (threading.Thread(target=work_for_ever, daemon=True).start(), atexit.register(hold)),
    "the interpreter is taken down": keep_to_the_last,
}

if __name__ == "__main__":
    signal.alarm(300)
    if mode == "ending":
        ENDINGS[sys.argv[4]]()
    else:
        {"forks": forks, "execs": execs}[mode]()
