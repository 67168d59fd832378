# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: what a heap costs to export, for 10^6 and 10^7 objects; and guppy3 beside it, which asks the same questions inside
of the process, and holds it up for all of its time. (PyHeap isn't on PyPI: the project of that name there is another.)

COUNTS, ROUNDS: how many objects, and how often each is measured (the least is printed).
"""
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))
sys.path.insert(0, HERE)
import heap  # noqa: E402
import pythons  # noqa: E402

GUPPY = "guppy3==3.1.7"
COUNTS = [int(count) for count in os.environ.get("COUNTS", "1000000 10000000").split()]
ROUNDS = int(os.environ.get("ROUNDS", "3"))
OURS = [("heap", ["heap"]), ("retained", ["retained"]), ("heapsnapshot", ["export", "--format", "heapsnapshot"]),
        ("  --values", ["export", "--format", "heapsnapshot", "--values"]), ("jsonl", ["export", "--format", "jsonl"])]
# In the target: what its words are, and how long each takes. hpy() is made before, as in a session.
THEIRS = [("heap().bytype", "guppied(lambda made: str(made.heap().bytype))"),
          ("heap()", "guppied(lambda made: str(made.heap()))"),
          ("heap().domisize", "guppied(lambda made: made.heap().domisize)")]


def find_guppy(python):
    """A directory with guppy3 for this Python, made once; or why there is none."""
    site = os.path.join(TOP, "build", "bench", "guppy3-" + python.id)
    if os.path.isdir(site):
        return site, None
    done = subprocess.run(python.command() + ["-m", "pip", "install", "--quiet", "--no-deps", "--target", site, GUPPY],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return (site, None) if done.returncode == 0 else (None, (done.stdout.strip().splitlines() or ["pip failed"])[-1])


def run_ours(words, pid, directory):
    """Wall time, processor time, our peak, the file's bytes, the answer and the pause in milliseconds."""
    path = os.path.join(directory, "export")
    begin = time.perf_counter()
    popen = subprocess.Popen([heap.SAFEPOINT, words[0], "-q", "--json", str(pid), *words[1:]] + (["-o", path] if words[0] == "export" else []),
                             stdout=subprocess.PIPE)
    output = popen.stdout.read()
    _, status, usage = os.wait4(popen.pid, 0)
    popen.returncode = status
    took = time.perf_counter() - begin
    assert status == 0, output
    answer = json.loads(output)
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, answer["result"], answer["pause_us"] / 1000


def show(name, rows, objects):
    wall, cpu, pause = (min(row[i] for row in rows) for i in (0, 1, 4))
    result, peak = rows[-1][3], max(row[2] for row in rows)
    beyond = (peak - result["read_bytes"]) / objects
    size = "%.0f MiB" % (result["file_bytes"] / 2 ** 20) if "file_bytes" in result else "-"
    print("  %-23s %9.3f %9.3f %10.1f %10.1f %10s" % (name, wall, cpu, pause, beyond, size), flush=True)


def measure(python, count, site, directory):
    target = heap.Target(python, count, site)
    try:
        rows = {name: [run_ours(words, target.popen.pid, directory) for _ in range(ROUNDS)] for name, words in OURS}
        objects = rows["heap"][-1][3]["objects"]
        print("%s objects\n  %-23s %9s %9s %10s %10s %10s" % (format(objects, ","), "safepoint", "time", "processor", "pause, ms", "B/object", "file"))
        for name, _ in OURS:
            show(name, rows[name], objects)
        for name, question in THEIRS if site and count <= 1000000 else []:
            took = [target.ask(question) for _ in range(ROUNDS)]
            print("  %-23s %9.3f %9.3f %10.1f" % ("guppy3: " + name, *(min(row[i] for row in took) for i in (0, 1)), min(row[0] for row in took) * 1000))
    finally:
        target.close()


def main():
    chosen = [python for python in pythons.find().supported if not python.root and not python.debug]
    if not chosen:
        print("bench: no Python of this machine's own; export was not measured", file=sys.stderr)
        return 1
    site, why = find_guppy(chosen[-1])
    print("\nExport of a heap of CPython %s; seconds, the least of %d runs.\n" % (chosen[-1].number, ROUNDS))
    os.makedirs(os.path.join(TOP, "build", "bench"), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build", "bench")) as directory:
        for count in COUNTS:
            measure(chosen[-1], count, site, directory)
    print("B/object: our memory at its peak, beyond the copy of the process's; guppy3 holds the process up for all of its time")
    if why:
        print("not measured: guppy3: " + why)
    return 0


if __name__ == "__main__":
    sys.exit(main())
