# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: the histogram of a heap from outside, beside objgraph.typestats() and a script with gc and sys.getsizeof()
in the same process, for 10^5 to 10^7 objects. The target is held up as long as those two take; by us for the pause.

COUNTS, ROUNDS: how many objects, and how often each is measured (the least is printed).
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

SAFEPOINT = os.environ.get("SAFEPOINT", os.path.join(TOP, "build", "safepoint"))
SITE = os.path.join(TOP, "build", "bench", "objgraph")
OBJGRAPH = "objgraph==3.6.2"
COUNTS = [int(count) for count in os.environ.get("COUNTS", "100000 1000000 10000000").split()]
ROUNDS = int(os.environ.get("ROUNDS", "5"))


def find_objgraph():
    """A directory with objgraph, made once; or why there is none."""
    if os.path.isdir(SITE):
        return SITE, None
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", SITE, OBJGRAPH],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return (SITE, None) if done.returncode == 0 else (None, (done.stdout.strip().splitlines() or ["pip failed"])[-1])


class Target:
    def __init__(self, python, count, site):
        self.popen = subprocess.Popen(python.command() + [os.path.join(HERE, "records.py"), str(count)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=site or ""))
        assert self.popen.stdout.readline() == "ready\n"

    def ask(self, expression):
        self.popen.stdin.write(expression + "\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def close(self):
        self.popen.stdin.close()
        self.popen.wait()
        self.popen.stdout.close()


QUESTIONS = [["retained"], ["retained", "--by", "type"], ["why", "__main__.Point"], ["refs", "__main__.Record"]]


def run(words, pid):
    """Wall time, processor time, our peak, the answer, and the pause in milliseconds."""
    begin = time.perf_counter()
    popen = subprocess.Popen([SAFEPOINT, words[0], "-q", "--json", str(pid)] + words[1:], stdout=subprocess.PIPE)
    output = popen.stdout.read()
    _, status, usage = os.wait4(popen.pid, 0)
    popen.returncode = status
    took = time.perf_counter() - begin
    assert status == 0, output
    answer = json.loads(output)
    return (took, usage.ru_utime + usage.ru_stime, usage.ru_utime, usage.ru_maxrss * 1024, answer["result"], answer["pause_us"] / 1000)


def measure(python, count, site):
    target = Target(python, count, site)
    try:
        ours, theirs, script, asked = [], [], [], {}
        for _ in range(ROUNDS):  # in turns: what else the machine does falls on all of them
            # Twice: memory that a virtual machine must first get from its host is slow, and no matter of ours.
            ours += [run(["heap"], target.popen.pid), run(["heap"], target.popen.pid)]
            for words in QUESTIONS:
                asked.setdefault(" ".join(words), []).append(run(words, target.popen.pid))
            if site:
                theirs.append(target.ask("timed(typestats)"))
            script.append(target.ask("timed(sizes)"))
    finally:
        target.close()
    wall, cpu, user = (min(row[i] for row in ours) for i in range(3))
    result, peak = ours[-1][4], max(row[3] for row in ours)
    beyond = (peak - result["read_bytes"]) / result["objects"]
    pause = statistics.median(row[5] for row in ours)
    print("%11s %11s %9.1f %9.3f %9.3f %9.3f %10.1f  %14s  %14.3f" % (
        format(result["objects"], ","), format(result["tracked"], ","), pause, wall, cpu, user, beyond,
        "%.3f" % min(row[0] for row in theirs) if theirs else "-", min(row[0] for row in script)), flush=True)
    return result["objects"], wall, cpu, asked


def print_questions(rows):
    """What each question takes beyond `heap`."""
    print("\n%11s  %-22s %14s %14s %10s" % ("all objects", "", "beyond heap: s", "processor", "B/object"))
    for objects, wall, cpu, asked in rows:
        for words, runs in asked.items():
            beyond = (max(row[3] for row in runs) - runs[-1][4]["read_bytes"]) / objects
            print("%11s  %-22s %14.3f %14.3f %10.1f" % (format(objects, ","), words, min(row[0] for row in runs) - wall,
                                                        min(row[1] for row in runs) - cpu, beyond))


def main():
    chosen = [python for python in pythons.find().supported if not python.root and not python.debug]
    if not chosen:
        print("bench: no Python of this machine's own; heap was not measured", file=sys.stderr)
        return 1
    site, why = find_objgraph()
    print("\nThe histogram of a heap of CPython %s; seconds, the least of %d runs.\n" % (chosen[-1].number, ROUNDS))
    print("%45s heap%26s objgraph  gc + getsizeof" % ("safepoint", ""))
    print("%11s %11s %9s %9s %9s %9s %10s  %14s  %14s" % ("all objects", "tracked", "pause, ms", "time", "processor", "(user)", "B/object", "tracked alone", "tracked alone"))
    rows = [measure(chosen[-1], count, site) for count in COUNTS]
    print("pause: the median; objgraph and gc + getsizeof hold the process up for all of their time")
    print("B/object: our memory at its peak, beyond the copy of the process's")
    print_questions(rows)
    if why:
        print("not measured: objgraph: " + why)
    return 0


if __name__ == "__main__":
    sys.exit(main())
