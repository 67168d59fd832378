# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that the tests attach to. It checks itself and says so at its end.

usage: target.py MODE READY_FD
It reads questions from standard input, one JSON string a line, and answers on READY_FD, one JSON value a line:
    eval EXPR / exec CODE   in this module's names
    quit                    ends; the last line is the verdict
MODE:
    idle      the main thread waits for questions in a blocking read
    busy      it computes (md5, floats, counters, exceptions, dicts), each round compared with the first one
    threads   busy, and another thread prints a numbered line again and again
    sleep     it sleeps for long stretches; a second thread answers
    stuck     it sits in C code that holds the GIL and never reaches a safe point; answers nothing, must be killed
Nothing here waits without limit: an alarm ends the process after TARGET_LIFE seconds whatever becomes of the tests.
"""
import gc
import hashlib
import json
import os
import select
import signal
import sys
import threading
import time

mode = sys.argv[1]
answers = int(sys.argv[2])
questions = 0
signal.alarm(int(os.environ.get("TARGET_LIFE", "900")))

MARK = "the target's own"
ROUNDS = 0
BAD = []
LEDGER = []  # what scripts leave here, tests ask for
MAX_GAP_NS = 0
RECORD_GAP = False
done = False
buffered = b""


class Order:
    """Something to find in the target's memory."""

    def __init__(self, number):
        self.number = number


orders = [Order(number) for number in range(37)]


def one_round():
    digest, value, total, table = hashlib.md5(), 0.5, 0, {}
    for index in range(150):
        digest.update(b"%d" % index)
        value = value * 3.9 * (1.0 - value)
        total += index * index
        table["key%d" % (index % 17)] = [total, value]
        try:
            if index % 50 == 0:
                raise KeyError(index)
        except KeyError as error:
            total += error.args[0]
    return digest.hexdigest(), value, total, sorted(table)


EXPECTED = one_round()


def say(value):
    data = (json.dumps(value) + "\n").encode()
    while data:
        data = data[os.write(answers, data):]


def answer(line):
    global done
    word, _, rest = json.loads(line.decode()).partition(" ")
    try:
        if word == "eval":
            say({"ok": eval(rest, globals())})
        elif word == "exec":
            exec(rest, globals())
            say({"ok": None})
        elif word == "quit":
            done = True
        else:
            say({"error": "unknown question"})
    except Exception as error:
        say({"error": repr(error)})


def serve(blocking):
    """Answers what has been asked; waits for a question when blocking."""
    global buffered, done
    while not done and (blocking or select.select([questions], [], [], 0)[0]):
        data = os.read(questions, 65536)
        if not data:
            done = True
        buffered += data
        while b"\n" in buffered and not done:
            line, buffered = buffered.split(b"\n", 1)
            answer(line)


def compute():
    global ROUNDS, MAX_GAP_NS
    last = time.perf_counter_ns()
    while not done:
        if one_round() != EXPECTED:
            BAD.append("round %d is wrong" % ROUNDS)
        ROUNDS += 1
        if RECORD_GAP:
            # Finer than a round: what stops this loop shows as a gap between two readings.
            for _ in range(2000):
                now = time.perf_counter_ns()
                if now - last > MAX_GAP_NS:
                    MAX_GAP_NS = now - last
                last = now
        if ROUNDS % 8 == 0:
            serve(False)
        last = time.perf_counter_ns()


def ticker():
    number = 0
    while not done:
        number += 1
        print("tick %d" % number)
        sys.stdout.flush()
        time.sleep(0.001)


def main():
    threads = []
    if mode == "threads":
        threads.append(threading.Thread(target=ticker))
    if mode == "sleep":
        threads.append(threading.Thread(target=serve, args=(True,), daemon=True))
    for thread in threads:
        thread.start()
    say("ready")
    if mode == "idle":
        serve(True)
    elif mode in ("busy", "threads"):
        compute()
    elif mode == "sleep":
        while not done:
            before = time.monotonic()
            time.sleep(0.4)
            if time.monotonic() - before < 0.399:
                BAD.append("a sleep was cut short")
            ROUNDS_LIST.append(1)
    elif mode == "stuck":
        sum(range(10 ** 15))
    for thread in threads:
        if not thread.daemon:
            thread.join()


ROUNDS_LIST = []
failure = None
try:
    main()
except BaseException as error:
    failure = repr(error)
if one_round() != EXPECTED:
    BAD.append("the last round is wrong")
gc.collect()
say({"verdict": {"rounds": ROUNDS + len(ROUNDS_LIST), "bad": BAD, "failure": failure}})
