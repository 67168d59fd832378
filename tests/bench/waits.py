# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: `tasks` and `locks` on a usual process with 10 threads, beside asyncio's own ps and pstree (3.14+).

The target is at rest: 20 tasks in groups on one thread's loop, and nine threads that wait for a lock that another has. Whole
commands, as a shell starts them, in turns; medians. The tasks are compared by their names.
"""
import json
import os
import re
import statistics
import subprocess

from stack import ROUNDS, SAFEPOINT, find_python, once, pythons

TARGET = """
import asyncio, threading, time
LOCK = threading.RLock()
def wait():
    with LOCK:
        pass
async def leaf():
    await asyncio.sleep(3600)
async def branch():
    await asyncio.gather(*(asyncio.create_task(leaf()) for _ in range(4)))
async def main():
    branches = [asyncio.create_task(branch()) for _ in range(4)]
    await asyncio.sleep(0.3)
    print("ready", flush=True)
    await asyncio.gather(*branches)
LOCK.acquire()
for number in range(9):
    threading.Thread(target=wait, daemon=True).start()
asyncio.run(main())
"""


def names_of_safepoint(text):
    return sorted(task["name"] for task in json.loads(text)["result"]["tasks"])


def names_of_ps(text):
    """A row: thread, task's address, its name..."""
    return sorted(set(re.findall(r"^\d+\s+0x[0-9a-f]+\s+(\S+)", text, re.M)))


def measure(python, commands):
    target = subprocess.Popen(python.command() + ["-c", TARGET], stdout=subprocess.PIPE)
    try:
        target.stdout.readline()
        rows = commands(str(target.pid))
        times, answers = {name: [] for name in rows}, {}
        for turn in range(ROUNDS):
            for name, (words, parse) in rows.items():
                if "safepoint" not in name and turn >= max(5, ROUNDS // 5):
                    continue  # they take long
                took, text = once(words)
                times[name].append(took)
                answers[name] = (parse or len)(text)
    finally:
        target.kill()
        target.wait()
    return times, answers


def own(pid):
    return {"`safepoint tasks --json`": ([SAFEPOINT, "tasks", "--json", pid], names_of_safepoint),
            "`safepoint locks --json`": ([SAFEPOINT, "locks", "--json", pid], None),
            "`safepoint stack --json`": ([SAFEPOINT, "stack", "--json", pid], None)}


def beside(python):
    def commands(pid):
        inside = ["nsenter", "--target", pid, "--mount", "--", "chroot", python.root, python.path]
        return {**own(pid), "`python -m asyncio ps`": (inside + ["-m", "asyncio", "ps", pid], names_of_ps),
                "`python -m asyncio pstree`": (inside + ["-m", "asyncio", "pstree", pid], None),
                "`python -c 'import asyncio.tools'`": (inside + ["-c", "import asyncio.tools"], None)}

    return commands


def report(python, times, answers):
    names = answers["`safepoint tasks --json`"]
    print("| CPython %s: 10 threads, %d tasks | ms, median | p95 | the same tasks |\n|---|---|---|---|" % (python.id, len(names)))
    for name, values in times.items():
        values.sort()
        same = "-" if "asyncio ps`" not in name else "yes" if answers[name] == names else "no"
        print("| %s | %.1f | %.1f | %s |" % (name, statistics.median(values), values[int(len(values) * 0.95)], same))
    if "`python -m asyncio ps`" in times:
        fastest = min(statistics.median(values) for name, values in times.items() if "-m asyncio" in name)
        print("- asyncio's own takes %.1f times as long as `safepoint tasks`." % (
            fastest / statistics.median(times["`safepoint tasks --json`"])))


def main():
    host = pythons.Python(find_python(), "")
    host.probe()
    report(host, *measure(host, own))
    for path in ("/usr/bin/python3.14", "/usr/bin/python3.15"):
        newest = pythons.Python(path, pythons.SID)
        if not os.path.exists(newest.outside_path):
            print("- not measured: %s -m asyncio ps (no build/sid)" % os.path.basename(path))
            continue
        newest.probe()
        report(newest, *measure(newest, beside(newest)))


if __name__ == "__main__":
    main()
