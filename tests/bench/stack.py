# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: the stacks of a usual process with 10 threads, by safepoint, py-spy and pystack in turns, and whether they agree.

The target is a CPython 3.11 or 3.12 of this machine (those that all three know) at rest. Whole commands, as a shell starts
them; medians. The frames are compared as function and line. Tools that can't be had are named and left out.
"""
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "live"))
import pythons  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SAFEPOINT = os.environ.get("SAFEPOINT", os.path.join(TOP, "build", "safepoint"))
VENV = os.path.join(TOP, "build", "bench", "venv-stack")
TOOLS = ["py-spy==0.4.1", "pystack==1.5.1"]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "40"))

TARGET = """
import os, sys, threading, time
gate = os.pipe()[0]
def descend(depth):
    return descend(depth - 1) if depth else os.read(gate, 1)
def work():
    def handle(item):
        return descend(item)
    return [handle(item) for item in (6,)]
for number in range(9):
    threading.Thread(target=work, name="worker-%d" % number, daemon=True).start()
time.sleep(0.3)
print("ready", flush=True)
time.sleep(3600)
"""


def find_python():
    for pattern in ("~/.pyenv/versions/3.12*/bin/python", "~/.pyenv/versions/3.11*/bin/python", "/usr/bin/python3.1[12]"):
        for path in sorted(glob.glob(os.path.expanduser(pattern))):
            return path
    sys.exit("bench: no CPython 3.11 or 3.12 here")


def install():
    """The tools from PyPI, in an environment of their own; those that are there."""
    if not os.path.exists(os.path.join(VENV, "bin", "pip")):
        subprocess.run(["/usr/bin/python3", "-m", "venv", VENV], check=True)
    for tool in TOOLS:
        name = tool.split("==")[0]
        if not os.path.exists(os.path.join(VENV, "bin", name)):
            done = subprocess.run([os.path.join(VENV, "bin", "pip"), "install", "-q", tool], stderr=subprocess.PIPE)
            if done.returncode:
                print("- not measured: %s (%s)" % (tool, done.stderr.decode().strip().splitlines()[-1]))
    return {name: path for name in ("py-spy", "pystack") for path in [os.path.join(VENV, "bin", name)] if os.path.exists(path)}


def once(words):
    began = time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, env=dict(os.environ, LC_ALL="C"))
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError("%s: %s" % (words[0], done.stderr.decode()[-500:]))
    return took * 1000, done.stdout.decode()


# What each printed, as a sorted list of stacks of (function's last name, line), innermost first.

def frames_of_safepoint(text):
    return sorted([(frame["function"].split(".")[-1], frame["line"]) for frame in thread["frames"]]
                  for thread in json.loads(text)["result"]["threads"])


def frames_of_py_spy(text):
    return sorted([(frame["name"], frame["line"]) for frame in thread["frames"]] for thread in json.loads(text))


def frames_of_pystack(text):
    stacks = []
    for block in re.split(r"(?m)^Traceback for thread ", text)[1:]:
        rows = re.findall(r'File "[^"]*", line (\d+), in (\S+)', block)
        stacks.append([(name.split(".")[-1], int(line)) for line, name in reversed(rows)])
    return sorted(stacks)


def main():
    tools = install()
    python = find_python()
    target = subprocess.Popen([python, "-c", TARGET], stdout=subprocess.PIPE)
    try:
        target.stdout.readline()
        pid = str(target.pid)
        commands = {"`safepoint stack --json`": ([SAFEPOINT, "stack", "--json", pid], frames_of_safepoint),
                    "`safepoint stack --json --stop`": ([SAFEPOINT, "stack", "--json", "--stop", pid], frames_of_safepoint)}
        if "py-spy" in tools:
            commands["`py-spy dump --json`"] = ([tools["py-spy"], "dump", "--json", "--pid", pid], frames_of_py_spy)
            commands["`py-spy dump --json --nonblocking`"] = ([tools["py-spy"], "dump", "--json", "--nonblocking", "--pid", pid],
                                                              frames_of_py_spy)
        if "pystack" in tools:
            commands["`pystack remote`"] = ([tools["pystack"], "remote", pid], frames_of_pystack)
        commands["`safepoint stack --native --json`"] = ([SAFEPOINT, "stack", "--json", "--native", pid], None)
        if "pystack" in tools:
            commands["`pystack remote --native`"] = ([tools["pystack"], "remote", "--native", pid], None)
        report(target, commands)
    finally:
        target.kill()
        target.wait()


def report(target, commands):
    times, reading, pauses, stacks = {name: [] for name in commands}, [], {}, {}
    for turn in range(ROUNDS):
        for name, (words, parse) in commands.items():
            took, text = once(words)
            times[name].append(took)
            if parse:
                stacks[name] = parse(text)
            if "safepoint" in name:
                result = json.loads(text)["result"]
                pauses.setdefault(name, []).append(result["pause_us"] or 0)
                if name == "`safepoint stack --json`":
                    reading.append(result["reading_us"])
    first = next(iter(stacks.values()))
    print("| 10 threads, %d frames | ms, median | p95 | pause, us | the same frames |\n|---|---|---|---|---|" % sum(map(len, first)))
    for name, values in times.items():
        values.sort()
        print("| %s | %.1f | %.1f | %s | %s |" % (
            name, statistics.median(values), values[int(len(values) * 0.95)],
            "%d" % statistics.median(pauses[name]) if name in pauses else "-",
            "-" if name not in stacks else "yes" if stacks[name] == first else "no"))
    print("- Of `safepoint stack`, reading takes %d us (p95 %d)." % (statistics.median(reading), sorted(reading)[int(len(reading) * 0.95)]))
    own = statistics.median(times["`safepoint stack --json`"])
    others = [statistics.median(times[name]) for name in stacks if "safepoint" not in name]
    if others:
        print("- The fastest of the others takes %.1f times as long." % (min(others) / own))
    for name in stacks:
        if stacks[name] != first and os.environ.get("BENCH_VERBOSE"):
            print(name, stacks[name], first, file=sys.stderr)


def beside_sampling():
    """CPython 3.15's own `profiling.sampling dump`, of a 3.15 (in its root): which the others don't know yet."""
    python = pythons.Python("/usr/bin/python3.15", pythons.SID)
    if not os.path.exists(python.outside_path):
        print("- not measured: `python3.15 -m profiling.sampling dump` (no build/sid)")
        return
    target = subprocess.Popen(python.command() + ["-c", TARGET], stdout=subprocess.PIPE)
    try:
        target.stdout.readline()
        pid = str(target.pid)
        inside = ["nsenter", "--target", pid, "--mount", "--", "chroot", python.root, python.path]
        dump = inside + ["-m", "profiling.sampling", "dump", "--all-threads", pid]
        ours, theirs = [], []
        for turn in range(max(3, ROUNDS // 5)):
            ours.append(once([SAFEPOINT, "stack", pid])[0])
            theirs.append(once(dump)[0])
        print("- Of a CPython 3.15: `safepoint stack` %.1f ms, `python3.15 -m profiling.sampling dump --all-threads` %.0f ms." % (
            statistics.median(ours), statistics.median(theirs)))
    finally:
        target.kill()
        target.wait()


if __name__ == "__main__":
    main()
    beside_sampling()
