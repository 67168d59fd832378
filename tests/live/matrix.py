# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the cases of targets/blocked.py on one Python, all at once, each in a process of its own.

test_blocked.py holds each outcome against the case; tests/live/support.py writes them down (docs/support.md).

Each case in turn:  prepared -> all are prepared, go -> blocked (seen by its system call or the processor time that it has
used) -> requests -> its call is ended -> its result and time -> one more request -> the ledger of what ran in it.
"""
import ast
import concurrent.futures
import dataclasses
import fcntl
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time

from conftest import PATIENCE, TARGETS, Running, safepoint, until_it_waits
from programs import Program

sys.path.insert(0, TARGETS)
import blocked  # noqa: E402

LIMIT = "400ms"     # the deadline of a request that is to be refused
TRIES = 3           # of a case whose call was over before safepoint had its turn: the machine was too busy
SLACK = 0.02        # seconds by which clocks and time-outs may differ
USED = 0.05         # seconds of processor time after which a target is in its long call


# ---------------------------------------------------------------- what ends a call


class ByItself:
    """And what is the same for all: `outside` is told to the target."""

    outside, pass_fds = None, ()

    def meanwhile(self, target):
        """While it is blocked, before the requests."""

    def finish(self, target, ready):
        """After them."""

    def close(self):
        pass


class BySaying(ByItself):
    def finish(self, target, ready):
        target.say(blocked.SAID)


class BySayingInTwoParts(ByItself):
    def meanwhile(self, target):
        target.say(b"the first part")

    def finish(self, target, ready):
        target.say(b" and the second\n")


class ByConnecting(ByItself):
    def finish(self, target, ready):
        with socket.create_connection(("127.0.0.1", ready), PATIENCE) as connection:
            connection.sendall(b"accepted")


class ByUnlocking(ByItself):
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="safepoint-test-")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.outside = self.file.name

    def finish(self, target, ready):
        fcntl.flock(self.file, fcntl.LOCK_UN)

    def close(self):
        self.file.close()


class ByTyping(ByItself):
    def __init__(self):
        self.master, self.outside = os.openpty()
        self.pass_fds = (self.outside,)

    def finish(self, target, ready):
        os.write(self.master, b"typed here\n")

    def close(self):
        os.close(self.master)
        os.close(self.outside)


class BySignal(ByItself):
    def finish(self, target, ready):
        os.kill(target.pid, signal.SIGUSR1)


ENDS = {"time": ByItself, "work": ByItself, "say": BySaying, "say in two parts": BySayingInTwoParts, "connect": ByConnecting,
        "unlock": ByUnlocking, "type": ByTyping, "signal": BySignal}


# ---------------------------------------------------------------- one case


@dataclasses.dataclass
class Outcome:
    case: blocked.Case
    verdict: str = ""     # served, refused, waits; "" when none of them
    method: str = ""
    wake: str = ""
    waited_us: int = -1
    message: str = ""     # of the refusal
    problems: list = dataclasses.field(default_factory=list)

    def check(self, condition, problem, *details):
        if not condition:
            self.problems.append(problem % details if details else problem)


class Inconclusive(Exception):
    """The call was over before safepoint had its turn."""


class Run:
    """One case on its way."""

    def __init__(self, python, case, barrier):
        self.case, self.barrier, self.outcome = case, barrier, Outcome(case)
        self.end = ENDS[case.end]()
        self.expected = []  # numbers that the ledger must hold in the end
        self.next = 0
        try:
            self.target = Program(python, "blocked", [case.name, json.dumps(self.end.outside)], self.end.pass_fds)
        except BaseException:
            self.end.close()
            raise

    def close(self):
        self.target.close()
        self.end.close()

    # -- requests

    def words(self, *options):
        self.next += 1
        return ["exec", "--json", *options, self.target.pid, "-e", "__import__('__main__').serve(%d)" % self.next]

    def took_place(self, answer):
        """When and where the script of a request ran; None when it did not."""
        if answer.status != 0:
            self.outcome.check(False, "exit status %s: %s", answer.status, (answer.text + answer.errors).strip()[-600:])
            return None
        self.expected.append(self.next)
        self.outcome.check(answer.result["thread"] == self.target.pid, "not the main thread ran it: %s", answer.result["thread"])
        return ast.literal_eval(answer.result["value"])

    def is_timed(self):
        return self.case.end in ("time", "work")

    # -- the steps

    def prepare(self):
        self.ready = self.target.hear()["ready"]

    def begin(self):
        self.target.say(b".")
        self.began = self.target.hear()["began"]
        if self.case.end == "work":
            self.until_it_works()
        else:
            until_it_waits(self.target.pid)
        self.end.meanwhile(self.target)
        if self.case.end == "time":
            # Well into the time: one that began anew would end noticeably late.
            time.sleep(max(0, self.began + 0.4 * blocked.SECONDS - time.monotonic()))

    def until_it_works(self):
        end = time.monotonic() + PATIENCE
        first = self.processor_time()
        while self.processor_time() - first < USED:
            assert time.monotonic() < end, "%s does not work" % self.case.name
            time.sleep(0.01)

    def processor_time(self):
        with open("/proc/%d/schedstat" % self.target.pid) as file:
            return int(file.read().split()[0]) / 1e9

    def request_while_blocked(self):
        """Two requests in one call: it goes on after the first, and is blocked again."""
        self.ran = []
        for _ in range(2):
            self.started = time.monotonic()
            answer = safepoint(*self.words("--timeout", "10s"))
            self.answered = time.monotonic()
            place = self.took_place(answer)
            if place is None:
                return
            stamp, phase = place
            if not self.ran:
                result = answer.result
                self.outcome.method, self.outcome.wake, self.outcome.waited_us = result["method"], result["wake"], result["waited_us"]
            self.ran.append(stamp)
            self.outcome.check(phase == "in the call", "it ran when the call was over")
            until_it_waits(self.target.pid)
        self.outcome.verdict = blocked.SERVED

    def request_in_vain(self):
        self.started = time.monotonic()
        answer = safepoint(*self.words("--timeout", LIMIT))
        self.answered = time.monotonic()
        self.outcome.check(answer.status == 6, "exit status %s instead of 6: %s", answer.status, (answer.text + answer.errors)[-600:])
        if answer.status == 0:
            self.took_place(answer)
            self.outcome.method, self.outcome.wake = answer.result["method"], answer.result["wake"]
        if answer.status != 6:
            return
        error = answer.error
        self.outcome.check(error["code"] == "NO_SAFE_POINT", "error code %s", error["code"])
        self.outcome.message = error["message"]
        self.outcome.check(re.search(self.case.named, error["message"]), "the message doesn't name what blocks it (%s): %s",
                           self.case.named, error["message"])
        self.outcome.check(answer.seconds < 8, "it took %.1f s to give up after %s", answer.seconds, LIMIT)
        self.outcome.verdict = self.case.verdict

    def finish(self):
        """Ends the call, looks at what it gave; a request that waits is served then."""
        waiting = Running(self.words("--timeout", "25s")) if self.case.verdict == blocked.WAITS else None
        self.released = time.monotonic()
        self.end.finish(self.target, self.ready)
        self.answer = self.target.hear()
        if waiting:
            with waiting:
                place = self.took_place(waiting.finish())
            self.outcome.check(place is None or place[0] >= self.began, "it ran before the call")
        self.check_call()

    def check_call(self):
        ended, check, case = self.answer["ended"], self.outcome.check, self.case
        check(self.answer["result"] == case.result, "the call gave %r instead of %r", self.answer["result"], case.result)
        check(self.answer["handled"] == (case.name == "signal.pause()"), "%d signals were handled", self.answer["handled"])
        if not self.is_timed():
            check(ended >= self.released, "the call ended %.3f s before its time", self.released - ended)
            return
        if ended < self.answered and (case.verdict != blocked.SERVED or self.started > self.began + 0.8 * blocked.SECONDS):
            raise Inconclusive
        if case.end == "time":
            self.check_time(ended - self.began)

    def check_time(self, took):
        self.outcome.check(took >= blocked.SECONDS - SLACK, "the call took %.3f s instead of %.1f", took, blocked.SECONDS)
        if self.case.verdict == blocked.SERVED and self.ran:
            since = self.ran[-1] - self.began
            self.outcome.check(took < blocked.SECONDS + 0.75 * since, "the call took %.3f s instead of %.1f: it began anew after a "
                               "request at %.3f", took, blocked.SECONDS, since)

    def settle(self):
        """Afterwards it is served as ever; what ran is what was told to have run."""
        until_it_waits(self.target.pid)
        self.took_place(safepoint(*self.words()))
        self.outcome.check(self.target.tracer() == 0, "it is still traced")
        self.target.say_no_more()
        ledger = self.target.hear()["ledger"]
        self.outcome.check(ledger == self.expected, "requests %s ran, and %s were told to have run", ledger, self.expected)
        status = self.target.wait()
        self.outcome.check(status == 0, "the target ended with %s", status)

    def run(self):
        """All steps; `barrier` is where all cases wait for each other."""
        try:
            self.prepare()
        except BaseException:
            self.barrier.abort()
            raise
        self.barrier.wait(4 * PATIENCE)  # until the slowest of them has begun: one that fails breaks it at once
        self.begin()
        if self.case.verdict == blocked.SERVED:
            self.request_while_blocked()
        else:
            self.request_in_vain()
        self.finish()
        self.settle()
        return self.outcome


def run_once(python, case, barrier):
    run = Run(python, case, barrier)
    try:
        return run.run()
    except (AssertionError, OSError, threading.BrokenBarrierError) as error:
        run.outcome.problems.append("%s: %s" % (type(error).__name__, error))
        return run.outcome
    finally:
        run.close()


def run_case(python, case, barrier):
    for number in range(TRIES):
        try:
            return run_once(python, case, barrier if number == 0 else threading.Barrier(1))
        except Inconclusive:
            continue
    return Outcome(case, problems=["in %d tries, the call was over before safepoint had its turn" % TRIES])


def run_matrix(python, cases=tuple(blocked.CASES)):
    """The outcome of each case."""
    barrier = threading.Barrier(len(cases))
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(lambda case: run_case(python, case, barrier), cases))
