# SPDX-License-Identifier: GPL-3.0-or-later
"""Each call of safepoint's to the system fails once: the target survives, everything is undone, the error says what failed.

The program is build/fault/safepoint (tests/fault/fault.c). `make check` fails the first call from each place of the source,
on a few Pythons; with SAFEPOINT_SOAK=1 every single call, on all of them.
"""
import os
import re

import pytest

import conftest
from conftest import PATIENCE, SAFEPOINT, found, safepoint, target_running

PROGRAM = os.environ.get("SAFEPOINT_FAULTS") or os.path.join(os.path.dirname(SAFEPOINT), "fault", "safepoint")
SOAK = bool(os.environ.get("SAFEPOINT_SOAK"))

# class: errors of the system that it fails with; what the message must have a word of
CLASSES = {
    "ptrace": (["EIO", "ESRCH"], r"thread \d+|attach|ended|gone"),
    "read": (["EFAULT", "EPERM", "ESRCH"], r"read|memory|list|Python|gone|try again"),
    "write": (["EFAULT", "EPERM", "ESRCH"], r"write|gone|page"),
    "call": ([None], r"page|socket pair|memory file|descriptor|stay|withdrawn"),
    "function": ([None], r"no safe point"),
    "alloc": (["ENOMEM"], r"out of memory|temporary file|C library|CPython"),
    "socket": (["EMFILE", "EPIPE"], r"descriptor|channel|socket|send|without an answer|kernel"),
    "file": (["EACCES", "EMFILE", "EINTR"], r"open|read|can't|list|C library|Python|doesn't show|refuses"),
}
# 70 (our own bug) and a death by a signal are failures of their own (conftest.Running).
STATUSES = {0, 3, 4, 5, 6, 8}


def chosen_pythons():
    pythons = found().supported
    if SOAK or not pythons:
        return pythons
    by_minor = {python.minor: python for python in pythons if not python.debug}
    return [by_minor[minor] for minor in sorted(by_minor) if minor in ((3, 8), (3, 12), max(by_minor))]


def pytest_generate_tests(metafunc):
    if "faulty_python" in metafunc.fixturenames:
        pythons = chosen_pythons()
        metafunc.parametrize("faulty_python", pythons, ids=[python.id for python in pythons], scope="module")


class Wrong(Exception):
    """Collected: one test shows all that is wrong, a line each."""


def need(condition, text):
    if not condition:
        raise Wrong(text)


def difference(was, now):
    was, now = ({repr(item) for part in (dict(state[0]).items(), *state[1:]) for item in part} for state in (was, now))
    return "left: %s; missing: %s" % (sorted(now - was), sorted(was - now))


class Faulty:
    """Runs of the program on one target, each with one fault."""

    def __init__(self, target, directory):
        self.target = target
        self.log = os.path.join(directory, "log")
        target.do("COUNT = []; import _socket")  # what the private directory needs
        safepoint("exec", target.pid, "-e", "1").expect(0)
        self.state = self.look()

    def look(self):
        return self.target.descriptors(), self.target.maps()[0], self.target.threads(), self.ours()

    def ours(self):
        """Mappings that may be ours: executable ones without a file, and single pages far from all others."""
        rows = []
        for line in self.target.proc("maps").splitlines():
            fields = line.split()
            start, end = (int(part, 16) for part in fields[0].split("-"))
            rows.append((start, end, fields[1], len(fields) > 5))
        return [row for before, row, after in zip([(0, 0)] + rows, rows, rows[1:] + [(1 << 64,)]) if not row[3] and (
            "x" in row[2] or row[1] - row[0] == 4096 and row[0] - before[1] > 1 << 20 and after[0] - row[1] > 1 << 20)]

    def run(self, fault):
        """What a run with that fault gave, and what failed in it: nothing, when it made fewer calls."""
        env = {"SAFEPOINT_FAULT": fault, "SAFEPOINT_FAULT_LOG": self.log}
        if not SOAK and not fault.startswith("call"):
            env["SAFEPOINT_FAULT_SITES"] = "1"
        conftest.SAFEPOINT = PROGRAM
        try:
            answer = safepoint("exec", "-q", "--timeout", "700ms", self.target.pid, "-e",
                               "__import__('__main__').COUNT.append(1) or 40 + 2", env=env)
        finally:
            conftest.SAFEPOINT = SAFEPOINT
        with open(self.log) as file:
            failed = [line.split()[1] for line in file.read().splitlines() if line.startswith("failed ")]
        return answer, failed

    def check(self, answer, pattern):
        """The right answer, or the right error; the script ran once, or not at all."""
        need(answer.status in STATUSES, "exit status %d" % answer.status)
        ran = self.target.ask("(len(COUNT), COUNT.clear())[0]")
        if answer.status == 0:
            need((answer.text, ran) == ("42\n", 1), "it answered %r after %d runs" % (answer.text, ran))
        else:
            need(ran <= 1, "it ran %d times" % ran)
            need(answer.errors.startswith("safepoint: ") and re.search(pattern, answer.errors), "the error doesn't say what failed")

    def check_target(self):
        """It goes on, and holds nothing of ours: at once, or after the next run."""
        target = self.target
        need(target.tracer() == 0 and target.state() in "RSD", "tracer %d, state %s" % (target.tracer(), target.state()))
        need(target.ask("MARK") == "the target's own" and target.ask("BAD") == [], "it was changed")
        if self.look() != self.state:
            answer = safepoint("exec", "-q", "--timeout", "%ds" % PATIENCE, target.pid, "-e", "40 + 2")
            need((answer.status, answer.text) == (0, "42\n"), "the next run: %d, %s" % (answer.status, answer.errors))
            now = self.look()
            need(now == self.state, difference(self.state, now))


@pytest.mark.skipif(not os.access(PROGRAM, os.X_OK), reason="make faults has not been run")
@pytest.mark.timeout(1800 if SOAK else 300)
@pytest.mark.parametrize("mode", ["idle", "busy"])
@pytest.mark.parametrize("kind", CLASSES)
def test_each(faulty_python, mode, kind, tmp_path):
    errors, pattern = CLASSES[kind]
    problems, reached = [], 0
    with target_running(faulty_python, mode) as target:
        faulty = Faulty(target, tmp_path)
        for error in errors if SOAK else errors[:1]:
            number = misses = 0
            # A run can make a few calls less than the one before: it waited shorter.
            while misses < (10 if SOAK else 2):
                number += 1
                fault = "%s:%d" % (kind, number) + ("" if error is None else ":%d" % getattr(__import__("errno"), error))
                answer, failed = faulty.run(fault)
                misses = 0 if failed else misses + 1
                reached += bool(failed)
                for check in (lambda: faulty.check(answer, pattern if failed else "nothing should fail"), faulty.check_target):
                    try:
                        check()
                    except Wrong as wrong:
                        problems.append("%s %s (%s): %s\n    %s" % (fault, error, ", ".join(failed), wrong, answer.errors.strip()))
                        faulty.state = faulty.look()
        assert safepoint("exec", "-q", target.pid, "-e", "40 + 2").expect(0).text == "42\n"
        assert target.ask("len(COUNT)") == 0
    if problems:
        pytest.fail("%d of %d:\n%s" % (len(problems), reached, "\n".join(problems)), pytrace=False)
    assert reached or kind == "function", "no such call was made"


def test_not_in_the_program():
    """The production build can't be made to fail so."""
    with open(SAFEPOINT, "rb") as file:
        assert b"SAFEPOINT_FAULT" not in file.read()
