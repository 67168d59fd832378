# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that works hard in several threads and checks all that it does.

usage: stress.py CONTROL_FD ANSWERS_FD WORK...
The main thread does the first WORK, a thread each of the others. Between two rounds the main thread evaluates what it
is asked on CONTROL_FD (an expression a line) and answers on ANSWERS_FD (a line of JSON): {"ok": value} or {"error": text}.
At the end of CONTROL_FD everybody ends, and the last answer is the verdict. An alarm ends it whatever becomes of the tests.

    sums         floats, md5, counters, dictionaries: each round compared with the first
    json         nested values there and back
    regex        patterns compiled anew, matches and substitutions of known results
    exceptions   raised, chained, thrown into generators, through finally and with, deep in recursion
    cycles       objects in rings, with __del__, which looks at its ring; as many deleted as were made
    waits        for a question, in select() with a time-out
    locked       waits for a lock that nobody gives, with a time-out
"""
import contextlib
import gc
import hashlib
import itertools
import json
import os
import re
import select
import signal
import sys
import threading
import time

BAD = []
LEDGER = []  # (number, when), left by requests
ROUNDS = {}  # of each worker
done = False


def serve(number):
    """What a request runs here."""
    LEDGER.append((number, time.monotonic()))
    return number


# ---------------------------------------------------------------- work: functions of a round's number that give the same each time


def work_sums(number):
    digest, value, total, table = hashlib.md5(), 0.5, 0, {}
    for index in range(120):
        digest.update(b"%d" % index)
        value = value * 3.9 * (1.0 - value)
        total += index * index
        table["key%d" % (index % 17)] = [total, value]
    return digest.hexdigest(), value, total, sorted(table), sum(row[0] for row in table.values())


DOCUMENT = {"numbers": list(range(40)), "floats": [n / 7 for n in range(20)], "text": "\u00e9t\u00e9 \"quoted\"\n" * 3,
            "nested": {"level%d" % n: [None, True, {"n": n}] for n in range(12)}}


def work_json(number):
    text = json.dumps(DOCUMENT, sort_keys=True)
    again = json.loads(text)
    return again == DOCUMENT, json.dumps(again, sort_keys=True, indent=1).count("\n"), hashlib.md5(text.encode()).hexdigest()


TEXT = "From: a.b@example.org, c_d@example.com; id=1234 id=98765 " * 8


def work_regex(number):
    # Compiled anew each time: another flag-less group makes it another pattern.
    pattern = re.compile(r"(?P<who%d>[a-z._]+)@(?P<host>[a-z]+)\.(org|com)" % (number % 700))
    found = [match.group("host") + match.group(3) for match in pattern.finditer(TEXT)]
    return found, re.sub(r"id=(\d+)", lambda match: "<%d>" % (int(match.group(1)) * 2), TEXT), len(re.split(r"[;,] ", TEXT))


def echo():
    value = None
    while True:
        try:
            value = yield value
        except KeyError as error:
            value = error.args[0]


def descend(depth):
    if depth == 0:
        raise ValueError("bottom")
    try:
        descend(depth - 1)
    finally:
        depth += 1


@contextlib.contextmanager
def swallow(seen):
    try:
        yield
    except ValueError as error:
        seen.append(str(error))


def work_exceptions(number):
    seen, steps = [], 0
    for index in range(10):
        with swallow(seen):
            descend(index)
        try:
            try:
                {}[index]
            except KeyError as error:
                raise RuntimeError(index) from error
        except RuntimeError as error:
            seen.append((error.args[0], error.__cause__.args[0]))
        trace = sys.exc_info()
        steps += trace == (None, None, None)
    generator = echo()
    next(generator)
    seen += [generator.send(1), generator.throw(KeyError("thrown")), generator.send(2)]
    generator.close()
    return seen, steps


class Ring:
    """One of a ring of objects; at its end it looks whether the ring is as it was made."""

    made, deleted = itertools.count(), itertools.count()

    def __init__(self, number, previous):
        self.number, self.previous, self.next, self.payload = number, previous, None, [number] * 8
        next(Ring.made)

    def __del__(self):
        next(Ring.deleted)
        if self.payload != [self.number] * 8 or self.next.previous is not self:
            BAD.append("a ring was damaged")


def work_cycles(number):
    first = last = Ring(0, None)
    for index in range(1, 20):
        last.next = Ring(index, last)
        last = last.next
    first.previous, last.next = last, first
    lists = [[index] for index in range(10)]
    for one in lists:
        one.append(lists)
    total, at = 0, first
    for _ in range(40):
        total, at = total + at.number, at.next
    if number % 64 == 0:
        gc.collect()
    return total, at is first, len(lists)


def work_waits(number):
    select.select([control], [], [], 0.2)


NEVER_FREE = threading.Lock()
NEVER_FREE.acquire()


def work_locked(number):
    return NEVER_FREE.acquire(timeout=0.02)


WORKS = {name[5:]: function for name, function in globals().items() if name.startswith("work_")}


def worker(name, key, between):
    """Rounds until the end; `between` is called between two."""
    work = WORKS[name]
    expected = work(0)
    while not done:
        try:
            if work(ROUNDS[key]) != expected:
                BAD.append("%s: round %d is wrong" % (key, ROUNDS[key]))
        except BaseException as error:
            BAD.append("%s: round %d: %r" % (key, ROUNDS[key], error))
        ROUNDS[key] += 1
        between()


# ---------------------------------------------------------------- questions


def say(value):
    data = (json.dumps(value) + "\n").encode()
    while data:
        data = data[os.write(answers, data):]


def answer(line):
    try:
        say({"ok": eval(line, globals())})
    except Exception as error:
        say({"error": repr(error)})


def listen():
    global buffered, done
    if not select.select([control], [], [], 0)[0]:
        return
    data = os.read(control, 65536)
    done = not data
    buffered += data
    while b"\n" in buffered:
        line, buffered = buffered.split(b"\n", 1)
        answer(line.decode())


def main():
    signal.alarm(int(os.environ.get("TARGET_LIFE", "900")))
    sys.setswitchinterval(0.0005)
    names = ["%s %d" % (name, number) for number, name in enumerate(sys.argv[3:])]
    ROUNDS.update(dict.fromkeys(names, 0))
    threads = [threading.Thread(target=worker, args=(key.split()[0], key, lambda: None)) for key in names[1:]]
    for thread in threads:
        thread.start()
    say("ready")
    worker(names[0].split()[0], names[0], listen)
    for thread in threads:
        thread.join()
    # Garbage may be kept by garbage: some collections.
    for _ in range(4):
        gc.collect()
    made, deleted = next(Ring.made), next(Ring.deleted)
    if made != deleted:
        BAD.append("%d objects with __del__ were made, %d deleted" % (made, deleted))
    say({"verdict": {"bad": BAD[:20], "rounds": ROUNDS}})


control, answers, buffered = int(sys.argv[1]), int(sys.argv[2]), b""
main()
