# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that hit a target while safepoint stops it again and again are all delivered: as many counted as were sent."""
import os
import random
import signal
import subprocess
import sys
import time

from conftest import PATIENCE, safepoint
from programs import Program

SENDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "send_signals.py")
BURST = 12           # signals between two rests of the sender
LIFE = {"TARGET_LIFE": str(24 * 3600)}

# What is done to the target meanwhile, and its exit statuses.
REQUESTS = [
    (["-e", "6 * 7"], {0}),
    (["-c", "for i in range(30): print(i)"], {0}),
    (["--channel", "directory", "-e", "6 * 7"], {0}),
    (["-c", "1 / 0"], {7}),
    (["--timeout", "3ms", "-e", "6 * 7"], {0, 6}),
]
# A signal that comes just when a script is interrupted can be handled on top of it, and its handler in Python gets the
# exception (docs/safety.md): not where that handler counts.
WITH_INTERRUPTS = REQUESTS + [(["--timeout", "20ms", "-c", "while True: pass"], {6})]


class Injections:
    """Requests one after the other, for as long as something goes on."""

    def __init__(self, target, choice, progress, requests):
        self.target, self.choice, self.progress, self.requests = target, choice, progress, requests
        self.count, self.problems = 0, []

    def inject(self):
        words, statuses = self.choice.choices(self.requests, [8, 2, 1, 2, 2, 1][:len(self.requests)])[0]
        answer = safepoint("exec", "-q", *words[:-2], self.target.pid, *words[-2:], patience=60)
        self.count += 1
        self.progress("%d requests" % self.count)
        if answer.status not in statuses:
            self.problems.append("exit status %s of %s: %s" % (answer.status, words, answer.errors))


def ask(target):
    target.say(b"?")
    return target.hear()


def counted(target, number, count):
    """How many of a signal have come: when it is all of them, and a moment more for one too many; or when no more come."""
    end, last, since = time.monotonic() + PATIENCE, -1, time.monotonic()
    while True:
        now = ask(target)["counts"].get(str(number), 0)
        if now != last:
            last, since = now, time.monotonic()
        if (now >= count and time.monotonic() - since > 0.1) or time.monotonic() > end:
            return now
        time.sleep(0.01)


def finish(target):
    """What the target itself found wrong."""
    target.say_no_more()
    bad = target.hear()["bad"]
    status = target.wait()
    return bad + (["the target ended with %s" % status] if status else [])


def shower(injections, tid, number, count):
    """`count` signals to the process (tid 0) or to a thread while there are injections; how many came."""
    target = injections.target
    words = [str(word) for word in (target.pid, tid, number, count, BURST)]
    with subprocess.Popen([sys.executable, "-S", "-E", SENDER] + words, stdin=subprocess.DEVNULL) as sender:
        try:
            while sender.poll() is None:
                injections.inject()
        finally:
            sender.kill()
    delivered = counted(target, number, count)
    if sender.returncode != 0:
        injections.problems.append("the sender ended with %s" % sender.returncode)
    if delivered != count:
        injections.problems.append("%d of %d signals were delivered to %s" % (
            delivered, count, "thread %d" % tid if tid else "the process"))
    return delivered


def signals(python, number, seed, progress=lambda text: None):
    """`number` signals: most to the process, an eighth to each of its three threads. Well when `problems` is empty."""
    start, delivered = time.monotonic(), 0
    with Program(python, "signals", env=LIFE) as target:
        injections = Injections(target, random.Random(seed), progress, WITH_INTERRUPTS)
        try:
            tids = [0] + target.hear()["threads"]
            counts = [number - 3 * (number // 8)] + [number // 8] * 3
            for index, (tid, count) in enumerate(zip(tids, counts)):
                # A number for each part: none is taken for another's.
                delivered += shower(injections, tid, signal.SIGRTMIN + 1 + index, count)
            injections.problems += finish(target)
        except (AssertionError, OSError) as error:
            injections.problems.append(str(error))
    return {"signals sent": number, "delivered": delivered, "requests": injections.count,
            "seconds": round(time.monotonic() - start, 1), "problems": injections.problems}


def children(python, number, seed, progress=lambda text: None):
    """Children that end, one after the other, each with one SIGCHLD, until `number` have. Well when `problems` is empty."""
    start, seen = time.monotonic(), 0
    with Program(python, "signals", ["children"], env=LIFE) as target:
        injections = Injections(target, random.Random(seed), progress, REQUESTS)
        try:
            target.hear()
            while seen < number and not injections.problems:
                injections.inject()
                seen = ask(target)["counts"].get(str(int(signal.SIGCHLD)), 0)
            injections.problems += finish(target)
        except (AssertionError, OSError) as error:
            injections.problems.append(str(error))
    return {"children": seen, "requests": injections.count, "seconds": round(time.monotonic() - start, 1),
            "problems": injections.problems}
