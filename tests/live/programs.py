# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that are programs of their own: targets/NAME.py CONTROL_FD ANSWERS_FD WORDS..."""
import contextlib
import os
import tempfile
import time

from conftest import PATIENCE, TARGETS, Speaking


class Program(Speaking):
    """One, started in a given Python. It reads what `say` writes, and answers a line of JSON each time."""

    def __init__(self, python, name, words=(), pass_fds=(), env=None):
        self.python = python
        control, self.control = os.pipe()
        self.control_inside = control  # its number in the target
        self.answers, answers = os.pipe()
        command = python.command([TARGETS, tempfile.gettempdir()])
        command += [os.path.join(TARGETS, name + ".py"), str(control), str(answers)] + [str(word) for word in words]
        try:
            super().__init__(command, env, pass_fds=(control, answers) + tuple(pass_fds))
        finally:
            os.close(control)
            os.close(answers)

    def say(self, data):
        os.write(self.control, data)

    def say_no_more(self):
        """The end of what it reads."""
        if self.control >= 0:
            os.close(self.control)
            self.control = -1

    def close(self):
        self.kill()
        self.say_no_more()
        with contextlib.suppress(OSError):
            os.close(self.answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def many(makers):
    """Several at once; all are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(make()) for make in makers]


class Worker(Program):
    """targets/stress.py with given works; at its end it says what went wrong in it."""

    def __init__(self, python, works, life=900):
        # All that malloc() takes lies in [heap]: Traces compares the rest.
        super().__init__(python, "stress", works, env={"TARGET_LIFE": str(life), "MALLOC_ARENA_MAX": "1",
                                                       "MALLOC_MMAP_THRESHOLD_": str(1 << 30)})
        assert self.hear() == "ready"
        self.looked_at = 0

    def ask(self, expression):
        self.say(expression.encode() + b"\n")
        answer = self.hear()
        assert "error" not in answer, "%s: %s" % (expression, answer["error"])
        return answer["ok"]

    def look_at_ledger(self):
        """What requests have left since the last look: [number, when]."""
        entries = self.ask("LEDGER[%d:]" % self.looked_at)
        self.looked_at += len(entries)
        return entries

    def until_all_work(self):
        """Until each of its threads has done another round."""
        before, end = self.ask("ROUNDS"), time.monotonic() + PATIENCE
        while True:
            idle = [key for key, rounds in self.ask("ROUNDS").items() if rounds == before[key]]
            if not idle:
                return
            assert time.monotonic() < end, "no round in %d s: %s" % (PATIENCE, idle)
            time.sleep(0.01)

    def end(self):
        """What went wrong in it, [] when nothing; and how many rounds it has done."""
        self.say_no_more()
        verdict = self.hear()["verdict"]
        status = self.wait()
        assert status == 0, "the target ended with %s: %s" % (status, self.printed()[-4000:])
        return verdict["bad"], sum(verdict["rounds"].values())


class Traces:
    """What could be left in a process: compared before and after.

    Python takes and gives back arenas, of 256 KiB or a multiple; what we could leave is some pages. So mappings that are
    smaller are compared one by one, and of all others, in which the kernel may have joined ours, the sum modulo an arena.
    """

    ARENA = 256 * 1024
    SMALL = 128 * 1024

    def __init__(self, target):
        self.target = target
        self.before = self.read()
        self.told = []

    def anonymous(self):
        """(start, size, access) of mappings without a name: no [heap], which the C library grows and shrinks."""
        rows = [line.split() for line in self.target.proc("maps").splitlines()]
        return [(row[0].split("-")[0], int(row[0].split("-")[1], 16) - int(row[0].split("-")[0], 16), row[1])
                for row in rows if len(row) < 6]

    def read(self):
        anonymous = self.anonymous()
        return {"descriptors": self.target.descriptors(), "threads": self.target.threads(),
                "mappings of files": self.target.maps()[0],
                "small anonymous mappings": [row for row in anonymous if row[1] <= self.SMALL],
                "executable anonymous mappings": [row for row in anonymous if "x" in row[2]],
                "anonymous bytes beyond arenas": sum(row[1] for row in anonymous) % self.ARENA}

    def differ(self):
        """What differs now, in sentences."""
        now = self.read()
        found = [self.describe(what, self.before[what], now[what]) for what in now if now[what] != self.before[what]]
        if self.target.tracer():
            found.append("it is traced by %d" % self.target.tracer())
        return found

    @staticmethod
    def describe(what, before, now):
        if isinstance(now, dict):
            before, now = list(before.items()), list(now.items())
        if not isinstance(now, list):
            return "%s: %s instead of %s" % (what, now, before)
        return "%s: %s more, %s less" % (what, [one for one in now if one not in before], [one for one in before if one not in now])

    def left(self):
        """What differs now. What is about to go has some time for it. The same again is not told again."""
        end = time.monotonic() + (0.2 if self.told else PATIENCE / 6)
        while True:
            found = self.differ()
            if not found or time.monotonic() > end:
                break
            time.sleep(0.02)
        if found == self.told:
            return []
        self.told = found
        return found
