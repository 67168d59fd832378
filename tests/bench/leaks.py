# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: leaks and diff on heaps of 10^6 and 10^7 objects, of the process and of snapshot files, beyond what `heap` takes.

COUNTS, ROUNDS: how many objects, and how often each is measured (the least is printed).
"""
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from heap import SAFEPOINT, Target, pythons  # noqa: E402

COUNTS = [int(count) for count in os.environ.get("COUNTS", "1000000 10000000").split()]
ROUNDS = int(os.environ.get("ROUNDS", "3"))


def run(*words):
    """Wall time, processor time in user mode, peak of memory in bytes."""
    begin = time.perf_counter()
    popen = subprocess.Popen([SAFEPOINT, "-q", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(popen.pid, 0)
    popen.returncode = status
    assert status == 0, words
    return time.perf_counter() - begin, usage.ru_utime, usage.ru_maxrss * 1024


def least(*words):
    runs = [run(*words) for _ in range(ROUNDS)]
    return [min(one[i] for one in runs) for i in range(3)]


def measure(python, count):
    target = Target(python, count, None)
    pid = target.popen.pid
    try:
        with tempfile.TemporaryDirectory() as directory:
            before, after = (os.path.join(directory, name) for name in ("before.sps", "after.sps"))
            run("snapshot", pid, "-o", before)
            run("snapshot", pid, "-o", after)
            for what, words, base in (("leaks --cycles PID", ["leaks", "--cycles", pid], ["heap", pid]),
                                      ("leaks --refs PID", ["leaks", "--refs", pid], ["heap", pid]),
                                      ("leaks --cycles FILE", ["leaks", "--cycles", after], ["heap", after]),
                                      ("diff FILE FILE", ["diff", before, after], ["heap", after])):
                have, heap = least(*words), least(*base)
                print("%11s  %-20s %9.3f %9.3f %12.3f %12.1f" % (
                    format(count, ","), what, have[0], have[1], have[1] - heap[1], (have[2] - heap[2]) / count), flush=True)
    finally:
        target.close()


def main():
    chosen = [python for python in pythons.find().supported if not python.root and not python.debug]
    if not chosen:
        print("bench: no Python of this machine's own; leaks and diff were not measured", file=sys.stderr)
        return 1
    print("\nleaks and diff on a heap of CPython %s; seconds, the least of %d runs.\n" % (chosen[-1].number, ROUNDS))
    print("%11s  %-20s %9s %9s %12s %12s" % ("objects", "", "time", "user", "beyond heap", "B/object"))
    for count in COUNTS:
        measure(chosen[-1], count)
    print("beyond heap: processor time and memory beyond those of `heap` on the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
