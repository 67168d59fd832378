# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests of many kinds to a process that works hard in 4 threads: none is lost, doubled or late, nobody dies or hangs.

Each request has a number, and its script leaves the number in a ledger in the target, with the time. The rule:
    exit status 0 or 7    exactly once, while safepoint ran
    exit status 6         at most once, and never after safepoint had ended: it was withdrawn, or its script interrupted
"""
import collections
import contextlib
import json
import random
import time

from conftest import Running, safepoint
from programs import Traces, Worker

WORKS = ["json", "regex", "exceptions", "cycles"]
PATIENCE = 60           # seconds after which a request, or the target, hangs
LOOK_EVERY = 50         # requests between two looks at the ledger
MOST_AT_ONCE = 4
MOST_DEATHS = 5         # after so many the campaign is over

LEAVE = "__import__('__main__').serve(%d)"
COLLECT = LEAVE + "\nimport gc; gc.collect()"
WALK = (LEAVE + "\nimport gc, sys\nsizes = {}\nfor one in gc.get_objects():\n"
        "    sizes[type(one)] = sizes.get(type(one), 0) + sys.getsizeof(one, 0)\nprint(len(sizes) > 20)")
LINES = LEAVE + "\nfor i in range(400): print('line', i)"
RING = LEAVE + "\nclass A: pass\na = A(); a.me = a; del a; import gc; gc.collect()"
CAUGHT = LEAVE + "\ntry:\n    {}['nothing']\nexcept KeyError as error:\n    print(repr(error))"

# name: how often, options and words, exit statuses that it may have, what it must print (None: anything).
Kind = collections.namedtuple("Kind", "weight words statuses prints", defaults=[None])
KINDS = {
    "expression": Kind(20, ["-e", LEAVE], {0}, "%d\n"),
    "json": Kind(5, ["--json", "-e", LEAVE], {0}),
    "code": Kind(15, ["-c", LEAVE], {0}, ""),
    "from standard input": Kind(5, ["-"], {0}, ""),
    "by a directory": Kind(4, ["--channel", "directory", "-e", LEAVE], {0}, "%d\n"),
    "collects": Kind(8, ["-c", COLLECT], {0}, ""),
    "walks all objects": Kind(8, ["-c", WALK], {0}, "True\n"),
    "makes cycles": Kind(5, ["-c", RING], {0}, ""),
    "prints": Kind(5, ["-c", LINES], {0}, "".join("line %d\n" % i for i in range(400))),
    "catches": Kind(5, ["-c", CAUGHT], {0}, "KeyError('nothing')\n"),
    "raises": Kind(8, ["-c", LEAVE + "; 1 / 0"], {7}, ""),
    "exits": Kind(4, ["-c", LEAVE + "; raise SystemExit(3)"], {7}, ""),
    "runs too long": Kind(4, ["--timeout", "60ms", "-c", LEAVE + "\nwhile True: pass"], {6}),
    "runs too long, with little time": Kind(3, ["--timeout", "LITTLE", "-c", LEAVE + "\nwhile True: pass"], {6}),
    "has little time": Kind(6, ["--timeout", "LITTLE", "-e", LEAVE], {0, 6}),
    "statistics": Kind(3, [], {0}),
}
# Other threads than the main one: of safepoints that know them.
THREADS = {
    "on any thread": Kind(6, ["--thread", "any", "-e", LEAVE], {0}, "%d\n"),
    "on a new thread": Kind(6, ["--thread", "new", "-e", LEAVE], {0}, "%d\n"),
}


def known_kinds(target):
    """All that this safepoint knows: a word that it doesn't is a mistake in its use (exit status 2)."""
    kinds = dict(KINDS)
    for name, kind in THREADS.items():
        words = [word % 0 if "%d" in word else word for word in kind.words]
        if safepoint("exec", target.pid, *words, patience=PATIENCE).status != 2:
            kinds[name] = kind
    target.look_at_ledger()
    return kinds


class Request:
    """One: started, ended, and held against the ledger."""

    def __init__(self, target, kind_name, kind, number, choice):
        self.number, self.kind_name, self.kind, self.stamps = number, kind_name, kind, []
        words = [word % number if "%d" in word else word for word in kind.words]
        words = ["%dms" % choice.randint(1, 15) if word == "LITTLE" else word for word in words]
        self.leaves = kind_name != "statistics"
        if not self.leaves:
            words = ["stats", "--json", target.pid]
        else:
            words = ["exec", "-q"] + words[:-2] + [target.pid] + words[-2:] if words[-1] != "-" else ["exec", "-q", target.pid, "-"]
        self.began = time.monotonic()
        stdin = {"stdin": (LEAVE % number).encode()} if words[-1] == "-" else {}
        self.running = Running([str(word) for word in words], **stdin)

    def finish(self):
        with self.running:
            self.answer = self.running.finish(PATIENCE)
        self.ended = time.monotonic()

    def problem(self):
        """What is wrong with its answer, or None."""
        answer = self.answer
        if answer.status not in self.kind.statuses:
            return "exit status %s: %s" % (answer.status, (answer.text + answer.errors)[-600:])
        wanted = self.kind.prints
        if wanted is not None and answer.status == 0:
            wanted = wanted % self.number if "%d" in wanted else wanted
            if answer.text != wanted:
                return "it printed %r instead of %r" % (answer.text[:200], wanted[:200])
        return None

    def verdict(self):
        """"" or how it broke the rule: lost, doubled, late."""
        if any(stamp > self.ended for stamp in self.stamps):
            return "late"
        if len(self.stamps) > 1:
            return "doubled"
        if self.leaves and not self.stamps and self.answer.status != 6:
            return "lost"
        return ""


class Campaign:
    """`number` requests to one Python; the result is data."""

    def __init__(self, python, number, seed, progress):
        self.python, self.number, self.progress = python, number, progress
        self.choice = random.Random(seed)
        self.requests = []
        self.counts = collections.Counter()
        self.problems = []
        self.rounds = 0

    def trouble(self, what, sentence):
        self.counts[what] += 1
        if len(self.problems) < 20:
            self.problems.append("%s: %s" % (what, sentence))

    def batch(self, target):
        """One request, or several at once."""
        size = 1 if self.choice.random() < 0.7 else self.choice.randint(2, MOST_AT_ONCE)
        names = self.choice.choices(list(self.kinds), [kind.weight for kind in self.kinds.values()], k=size)
        # Those with little time would spend it waiting for the others.
        if size > 1:
            names = ["expression" if name == "runs too long" else name for name in names]
        batch = [Request(target, name, self.kinds[name], len(self.requests) + index, self.choice) for index, name in enumerate(names)]
        self.requests += batch
        self.counts["at once"] += size > 1
        for request in batch:
            self.finish(request)

    def finish(self, request):
        try:
            request.finish()
        except AssertionError as error:
            request.answer, request.ended = None, time.monotonic()
            self.trouble("hangs" if "did not end" in str(error) else "failures", "%s: %s" % (request.kind_name, error))
            return
        self.counts["exit status %d" % request.answer.status] += 1
        problem = request.problem()
        if problem:
            self.trouble("failures", "request %d, %s: %s" % (request.number, request.kind_name, problem))

    def look(self, target):
        for number, stamp in target.look_at_ledger():
            self.requests[number].stamps.append(stamp)
        target.until_all_work()

    def segment(self, target):
        """Requests until the number is reached, or the target is gone."""
        looked = len(self.requests)
        while len(self.requests) < self.number:
            self.batch(target)
            if len(self.requests) - looked >= LOOK_EVERY:
                looked = len(self.requests)
                self.look(target)
                self.progress("%d of %d requests" % (len(self.requests), self.number))

    def with_target(self):
        with Worker(self.python, WORKS, life=24 * 3600) as target:
            self.kinds = known_kinds(target)
            first = len(self.requests)
            traces = Traces(target)
            try:
                self.segment(target)
                self.look(target)
                # A look later: what comes late is seen as well.
                target.until_all_work()
                self.look(target)
                for sentence in self.left(target, traces):
                    self.trouble("left behind", sentence)
                bad, rounds = target.end()
                self.rounds += rounds
                for sentence in bad:
                    self.trouble("wrong results", sentence)
            except (AssertionError, OSError) as error:
                what = "hangs" if target.alive() else "deaths"
                self.trouble(what, "after request %d: %s" % (len(self.requests), error))
                return
        self.judge(self.requests[first:])

    def left(self, target, traces):
        """Descriptors and threads; the works themselves take and give memory."""
        return [sentence for sentence in traces.left() if sentence.startswith(("descriptors", "threads", "it is", "executable"))]

    def judge(self, requests):
        for request in requests:
            verdict = request.answer and request.verdict()
            if verdict:
                self.trouble(verdict, "request %d, %s, exit status %s: began %.6f, ended %.6f, ran at %s" % (
                    request.number, request.kind_name, request.answer.status, request.began, request.ended, request.stamps))

    def run(self):
        start = time.monotonic()
        while len(self.requests) < self.number and self.counts["deaths"] + self.counts["hangs"] < MOST_DEATHS:
            self.with_target()
        names = ("deaths", "hangs", "lost", "doubled", "late", "failures", "wrong results", "left behind")
        result = {"requests": len(self.requests), "rounds of work": self.rounds, "kinds": sorted(self.kinds),
                  "several at once": self.counts["at once"], "seconds": round(time.monotonic() - start, 1), "problems": self.problems}
        result.update({name: self.counts[name] for name in names})
        result.update({name: count for name, count in sorted(self.counts.items()) if name.startswith("exit status")})
        return result


def stress(python, number, seed, progress=lambda text: None):
    """The result of a campaign; well when `problems` is empty."""
    return Campaign(python, number, seed, progress).run()
