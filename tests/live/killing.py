# SPDX-License-Identifier: GPL-3.0-or-later
"""safepoint, killed by SIGKILL at random instants: the target goes on and computes as ever, the next run is served, and
after it nothing is left of those that were killed.

Half of the instants lie anywhere in the time that a whole run takes, the others close around the post. Between two runs
that are let live, one or more are killed. What a killed one has posted may still run, once, but not after the next run.
"""
import ast
import collections
import os
import random
import signal
import statistics
import time

from conftest import SAFEPOINT, safepoint
from programs import Traces, Worker

# The target's threads; the first is the main thread. How often each is taken.
SITUATIONS = {"busy": (3, ["sums", "sums"]), "waiting": (2, ["waits", "sums"]), "locked": (1, ["locked", "sums"])}

LEAVE = "__import__('__main__').serve(%d)"
# What is killed: words with PID and a number that its script leaves. How often each is taken.
COMMANDS = {
    "expression": (6, ["exec", "-q", "--timeout", "20s", "PID", "-e", LEAVE]),
    "output": (3, ["exec", "-q", "--timeout", "20s", "PID", "-c", LEAVE + "\nfor i in range(300): print('x' * 50)"]),
    "raises": (2, ["exec", "-q", "--timeout", "20s", "PID", "-c", LEAVE + "\n1 / 0"]),
    "not woken": (1, ["exec", "-q", "--no-wake", "--timeout", "20s", "PID", "-e", LEAVE]),
    "statistics": (1, ["stats", "PID"]),
}
AROUND_POST = 0.0002    # seconds: the deviation of the instants close to it
BEYOND_END = 1.1        # of a run's time, the last instant
SPIN = 0.0005           # seconds before the instant that are waited in a loop
WARM_UP = 60            # runs before, so that what an interpreter keeps is there
PROBES = 15


def spawn(words):
    """safepoint as fast as it can be started, its output to nowhere."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPOINT")}
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    return os.posix_spawn(SAFEPOINT, ["safepoint"] + words, environment, file_actions=nowhere)


def shoot(words, delay):
    """Starts it and kills it after `delay` seconds. Was it still running?"""
    instant = time.perf_counter() + delay
    pid = spawn(words)
    time.sleep(max(0, instant - SPIN - time.perf_counter()))
    while time.perf_counter() < instant:
        pass
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


class Kills:
    """A number of kills in one situation; what was found goes into a campaign's counts."""

    def __init__(self, python, situation, number, choice, progress):
        self.number, self.choice, self.progress = number, choice, progress
        self.situation, self.works = situation, SITUATIONS[situation][1]
        self.counts, self.problems = collections.Counter(), []
        self.python = python
        self.duration = self.post = 0.0
        self.next_number = 0
        self.killed = {}  # since the last run that was let live: number, what and when
        self.ran = collections.Counter()

    def trouble(self, what, sentence):
        self.counts[what] += 1
        if len(self.problems) < 10:
            self.problems.append("%s, main thread %s: %s; killed before: %s" % (what, self.situation, sentence, list(self.killed.values())))

    def words(self, target, command):
        self.next_number += 1
        return [word.replace("PID", str(target.pid)).replace("%d", str(self.next_number)) for word in COMMANDS[command][1]]

    def measure(self, target):
        """How long a run takes, and when in it the post is."""
        times, posts = [], []
        for _ in range(PROBES):
            start = time.perf_counter()
            pid = spawn(self.words(target, "expression"))
            os.waitpid(pid, 0)
            times.append(time.perf_counter() - start)
            start = time.monotonic()
            answer = safepoint("exec", "--json", target.pid, "-e", "__import__('time').monotonic()").expect(0)
            posts.append(ast.literal_eval(answer.result["value"]) - start - answer.result["waited_us"] / 1e6)
        self.duration, self.post = statistics.median(times), statistics.median(posts)

    def instant(self):
        if self.choice.random() < 0.5:
            return self.choice.uniform(0, BEYOND_END * self.duration)
        return max(0, self.choice.gauss(self.post, AROUND_POST))

    def kill_some(self, target):
        """One, or a few in a row."""
        for _ in range(self.choice.choice([1, 1, 1, 2, 3])):
            name = self.choice.choices(list(COMMANDS), [weight for weight, _ in COMMANDS.values()])[0]
            words, instant = self.words(target, name), self.instant()
            hit = shoot(words, instant)
            self.counts["kills"] += 1
            self.counts["killed while it ran"] += hit
            self.killed[self.next_number] = "%s at %.2f ms" % (name, instant * 1e3)

    def run_one(self, target):
        """The next run: served; afterwards nothing is left, and nothing runs any more."""
        number = self.next_number = self.next_number + 1
        answer = safepoint("exec", "-q", "--timeout", "20s", target.pid, "-e", LEAVE % number, patience=60)
        ended = time.monotonic()
        if answer.status != 0 or answer.text != "%d\n" % number:
            self.trouble("not served", "exit status %s: %s" % (answer.status, answer.text + answer.errors))
        for sentence in self.traces.left():
            self.trouble("left behind", sentence)
        self.look(target, number, ended)

    def look(self, target, live, ended):
        entries = target.look_at_ledger()
        for number, stamp in entries:
            self.ran[number] += 1
            if number != live and number not in self.killed:
                self.trouble("late", "request %d, killed before the run before" % number)
            if stamp > ended:
                self.trouble("late", "request %d ran %.6f s after the next run's end" % (number, stamp - ended))
            if self.ran[number] > 1:
                self.trouble("doubled", "request %d" % number)
        if live not in [number for number, _ in entries]:
            self.trouble("lost", "request %d" % live)
        self.counts["scripts of killed ones that ran"] += len(entries) - 1
        self.killed = {}

    def with_target(self, target):
        for _ in range(WARM_UP):
            safepoint("exec", "-q", target.pid, "-e", "1").expect(0)
        self.measure(target)
        target.look_at_ledger()
        self.traces = Traces(target)
        while self.counts["kills"] < self.number and not self.counts["deaths"]:
            self.kill_some(target)
            self.run_one(target)
            self.progress("%d of %d kills, main thread %s" % (self.counts["kills"], self.number, self.situation))
        target.until_all_work()
        bad, self.counts["rounds"] = target.end()
        for sentence in bad:
            self.trouble("wrong results", sentence)

    def run(self):
        with Worker(self.python, self.works, life=24 * 3600) as target:
            try:
                self.with_target(target)
            except (AssertionError, OSError) as error:
                self.trouble("hangs" if target.alive() else "deaths", "after %d kills: %s" % (self.counts["kills"], error))


TROUBLES = ("deaths", "hangs", "wrong results", "left behind", "not served", "lost", "doubled", "late")


def kill(python, number, seed, progress=lambda text: None):
    """The result of `number` kills, shared among the situations; well when `problems` is empty."""
    start, choice = time.monotonic(), random.Random(seed)
    weights = sum(weight for weight, _ in SITUATIONS.values())
    counts, problems, timing = collections.Counter(), [], {}
    for situation, (weight, _) in SITUATIONS.items():
        kills = Kills(python, situation, number * weight // weights, choice, progress)
        kills.run()
        counts.update(kills.counts)
        problems += kills.problems
        timing[situation] = {"run_ms": round(kills.duration * 1e3, 2), "post_ms": round(kills.post * 1e3, 2)}
    result = {"kills": counts["kills"], "killed while it ran": counts["killed while it ran"],
              "scripts of killed ones that ran": counts["scripts of killed ones that ran"], "rounds of work": counts["rounds"],
              "timing": timing, "seconds": round(time.monotonic() - start, 1), "problems": problems}
    result.update({name: counts[name] for name in TROUBLES})
    return result
