# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench-freeze`: how long a target stands still for a freeze of its memory, from 10^5 to 10^7 objects; what it costs the
target afterwards to write to its pages while the child lives; and how much memory the child takes.

Medians of some runs, the target's RSS first. Pauses as safepoint measures them, of a target that waits (idle) and of one that
works (busy); `gap` is the longest time in which a loop of the target's own did not come round, by its own clock (what else took
the processor away from it counts too). `copied`: by a copy in our memory instead of a child. `walk`: how long the target takes to
write to all of its pages (each object's reference count), alone and while a child lives, which then has the old pages for
itself (`child`); `tables`: the child's page tables, which it takes in any case.
"""
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))
import pythons  # noqa: E402

FREEZE = os.path.join(os.path.dirname(os.environ.get("SAFEPOINT", os.path.join(TOP, "build", "safepoint"))), "freeze")
OBJECTS = [int(float(number)) for number in os.environ.get("BENCH_OBJECTS", "1e5 1e6 1e7").split()]
RUNS = int(os.environ.get("BENCH_RUNS", "15"))
PATIENCE = 300


class Target:
    def __init__(self, python, objects):
        control, self.control = os.pipe()
        self.answers, answers = os.pipe()
        command = python.command([HERE]) + [os.path.join(HERE, "freeze_target.py"), str(control), str(answers), str(objects)]
        self.popen = subprocess.Popen(command, pass_fds=(control, answers), stdin=subprocess.DEVNULL)
        os.close(control), os.close(answers)
        self.pid = self.popen.pid
        self.reader = os.fdopen(self.answers)
        self.hear()

    def hear(self):
        return json.loads(self.reader.readline())

    def ask(self, word):
        os.write(self.control, word.encode())
        return self.hear()

    def memory(self, field, pid=None):
        with open("/proc/%d/status" % (pid or self.pid)) as file:
            return int(file.read().split(field + ":")[1].split()[0]) * 1024

    def close(self):
        os.close(self.control)
        self.popen.wait(PATIENCE)
        self.reader.close()


def freeze(target, *words):
    done = subprocess.run([FREEZE, str(target.pid)] + [str(word) for word in words], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def pauses(target, runs, *words):
    """Of a target that waits, and of one that works with the longest gap in its own loop."""
    idle = [freeze(target, *words)["pause_us"] for _ in range(runs)]
    busy, gaps = [], []
    for _ in range(runs):
        target.ask("busy")
        time.sleep(0.02)
        answer = freeze(target, *words)
        assert answer["at_safe_point"], answer
        busy.append(answer["pause_us"])
        gaps.append(target.ask("stop"))
        target.hear()
    return idle, busy, gaps


def held(target):
    """How long a walk over all objects takes while a child lives; and the child's own memory, before and after."""
    popen = subprocess.Popen([FREEZE, str(target.pid), "hold", "3000000"], stdout=subprocess.DEVNULL)
    child = wait_for_child(target)
    tables = target.memory("VmPTE", child)
    first, second = target.ask("walk"), target.ask("walk")
    own = private(child)
    popen.kill()
    popen.wait()
    freeze(target)  # removes what is left
    return first, second, tables, own


def wait_for_child(target):
    while True:
        with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as file:
            found = file.read().split()
        if found:
            time.sleep(0.1)
            return int(found[0])
        time.sleep(0.01)


def private(pid):
    with open("/proc/%d/smaps_rollup" % pid) as file:
        text = file.read()
    return sum(int(text.split(field + ":")[1].split()[0]) * 1024 for field in ("Private_Clean", "Private_Dirty"))


def ms(values):
    return "%.2f" % (statistics.median(values) / 1e3)


def measure(python, objects):
    target = Target(python, objects)
    try:
        alone = statistics.median(target.ask("walk") for _ in range(5))
        idle, busy, gaps = pauses(target, RUNS)
        copy_idle, copy_busy, _ = pauses(target, max(3, RUNS // 5), "fork", "no")
        walks = [held(target) for _ in range(3)]
        first, tables, own = (statistics.median(walk[index] for walk in walks) for index in (0, 2, 3))
        print("%9d  %7.0f  %8s  %8s  %8s  %8s  %8s  %9.1f  %9.1f  %8.1f  %8.1f" % (
            objects, target.memory("VmRSS") / 2 ** 20, ms(idle), ms(busy), ms(gaps), ms(copy_idle), ms(copy_busy),
            alone / 1e3, first / 1e3, tables / 2 ** 20, own / 2 ** 20), flush=True)
    finally:
        target.close()


def main():
    wanted = os.environ.get("BENCH_PYTHON", "")
    chosen = [python for python in pythons.find().supported if not python.debug and wanted in python.id]
    python = chosen[-1]
    print("CPython %s, %d runs, medians; times in ms, memory in MiB" % (python.id, RUNS))
    print("%9s  %7s  %8s  %8s  %8s  %8s  %8s  %9s  %9s  %8s  %8s" % (
        "objects", "RSS", "idle", "busy", "gap", "copied", "c. busy", "walk", "and child", "tables", "child"))
    for objects in OBJECTS:
        measure(python, objects)


main()
