# SPDX-License-Identifier: GPL-3.0-or-later
"""`make soak`: the campaigns of tests/live at length, on every Python found, and a report of what came of them.

usage: soak.py RESULTS_DIRECTORY REPORT
Each campaign's result on each Python is kept in RESULTS_DIRECTORY/ID.json as soon as it is there; the report is made of
all that lies there, so that some Pythons or campaigns can be run now and the others later (or at the same time).
    SOAK_PYTHONS    ids (3.12.1,3.14.10), all when not given
    SOAK_CAMPAIGNS  of stress, kill, signals, children, stacks; all when not given
    SOAK_STRESS, SOAK_KILL, SOAK_SIGNALS, SOAK_CHILDREN, SOAK_STACKS     how many: 5000, 2000, 100000, 5000, 10000
    SOAK_SEED       of the random choices; a new one each time when not given
Exit status 1 when something went wrong in what was run.
"""
import json
import os
import platform
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "live"))
import conftest  # noqa: E402
import killing  # noqa: E402
import reading  # noqa: E402
import signalling  # noqa: E402
import stressing  # noqa: E402

# name: what runs it, how often, and the figures that are in the report.
CAMPAIGNS = {
    "stress": (stressing.stress, 5000,
               ["requests", "several at once", "exit status 0", "exit status 6", "exit status 7", "rounds of work", "deaths", "hangs",
                "lost", "doubled", "late", "failures", "wrong results", "left behind"]),
    "kill": (killing.kill, 2000,
             ["kills", "killed while it ran", "scripts of killed ones that ran", "rounds of work"] + list(killing.TROUBLES)),
    "signals": (signalling.signals, 100000, ["signals sent", "delivered", "requests"]),
    "children": (signalling.children, 5000, ["children", "requests"]),
    "stacks": (reading.read_changing, 10000, ["readings", "whole", "cut to what stayed", "different stacks", "wrong or failed"]),
}
TITLES = {
    "stress": "Requests to a target that works hard",
    "kill": "safepoint, killed by SIGKILL",
    "signals": "Signals that come while the target is stopped",
    "children": "Children that end while the target is stopped",
    "stacks": "Stacks read while they change all the time",
}
TEXTS = {
    "stress": "Four threads do JSON, regular expressions, exceptions, and cycles with `__del__`, and check all results. Requests "
              "of many kinds (`exec` of expressions, code, from standard input, by a directory; scripts that collect, walk all "
              "objects, make cycles, print, raise, exit, run past their deadline or have little time; `stats`), some of "
              "them at once. Each leaves its number, with the time, in the target: *lost*: not there after exit status 0 or 7; "
              "*doubled*: there twice; *late*: it ran after safepoint had ended. *Failures*: another exit status or answer than it should be.",
    "kill": "Half of the instants anywhere in a run, half close around the post; the target's main thread works, waits in a call, or "
            "waits for a lock, and another computes floats, md5 and counters, each round compared with the first. After each one to "
            "three kills a run is let live: it has to be served, and then descriptors, threads, mappings (small anonymous "
            "ones one by one) and tracer are as before, and nothing of the killed ones runs any more.",
    "signals": "Queued real-time signals, to the process and to each of its threads, counted by CPython's wakeup descriptor: a byte for each delivery.",
    "stacks": "A thread calls and returns without a pause, through functions, generators and recursion, of which it is known who may call "
              "whom. Nothing is stopped. *Whole*: eight looks in a row agreed; *cut*: none did, and only outer frames that every look had "
              "are given. *Wrong*: a frame under one that never calls it. The main thread's stack is read as well, and not counted.",
    "children": "One after the other, each with one SIGCHLD, without which the target would wait for ever.",
}


def wanted(name, choices):
    given = [word for word in os.environ.get(name, "").replace(",", " ").split()]
    unknown = [word for word in given if word not in choices]
    if unknown:
        sys.exit("soak: %s: not here: %s (there are %s)" % (name, " ".join(unknown), " ".join(choices)))
    return given or list(choices)


class Progress:
    """On a terminal one line that changes; else a line a minute."""

    def __init__(self, prefix):
        self.prefix, self.told = prefix, 0.0

    def __call__(self, text):
        terminal = sys.stderr.isatty()
        if time.monotonic() - self.told < (0.2 if terminal else 60):
            return
        self.told = time.monotonic()
        print("%s%s: %s%s" % ("\r" if terminal else "", self.prefix, text, "\033[K" if terminal else "\n"), end="",
              file=sys.stderr, flush=True)


def conditions():
    version = conftest.safepoint("--version").text.strip()
    return {"date": time.strftime("%Y-%m-%d"), "kernel": platform.release().split("-")[0], "machine": platform.machine(),
            "cores": os.cpu_count(), "safepoint": version}


def run(python, name, path):
    """One campaign on one Python, put beside what is there already."""
    function, number, _ = CAMPAIGNS[name]
    number = int(os.environ.get("SOAK_" + name.upper(), number))
    seed = int(os.environ.get("SOAK_SEED", random.randrange(1 << 30)))
    progress = Progress("soak: %s, %s" % (python.id, name))
    result = function(python, number, seed, progress)
    result.update(conditions(), seed=seed, number=number)
    kept = read(path)
    kept[name] = result
    with open(path + ".new", "w") as file:
        json.dump(kept, file, indent=1)
    os.rename(path + ".new", path)
    well = "well" if not result["problems"] else "%d PROBLEMS" % len(result["problems"])
    print("%ssoak: %s, %s: %d in %d s, seed %d: %s" % ("\r\033[K" if sys.stderr.isatty() else "", python.id, name, number,
                                                    result["seconds"], seed, well), flush=True)
    for problem in result["problems"]:
        print("    %s" % problem, flush=True)
    return not result["problems"]


def read(path):
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


# ---------------------------------------------------------------- the report


def row(cells):
    return "| %s |\n" % " | ".join(str(cell) for cell in cells)


def version_key(name):
    digits = name.rstrip("d").split("+")[0]
    return [int(part) for part in digits.split(".")] + [name]


def section(name, results):
    figures = CAMPAIGNS[name][2]
    text = "\n## %s\n\n%s\n\n" % (TITLES[name], TEXTS[name])
    text += row(["CPython"] + figures + ["minutes", "date"]) + "|---" * (len(figures) + 3) + "|\n"
    for python in sorted(results, key=version_key):
        one = results[python]
        text += row([python] + [one.get(figure, 0) for figure in figures] + ["%.1f" % (one["seconds"] / 60), one["date"]])
    sums = [sum(one.get(figure, 0) for one in results.values()) for figure in figures]
    text += row(["all"] + sums + ["%.1f" % (sum(one["seconds"] for one in results.values()) / 60), ""])
    problems = ["- %s: %s\n" % (python, " ".join(problem.split())) for python in results for problem in results[python]["problems"]]
    return text + ("\nWhat went wrong:\n\n" + "".join(problems) if problems else "")


def report(directory):
    kept = {name[:-5]: read(os.path.join(directory, name)) for name in sorted(os.listdir(directory)) if name.endswith(".json")}
    places = sorted({"Linux %(kernel)s, %(machine)s, %(cores)s cores, %(safepoint)s" % one
                     for results in kept.values() for one in results.values()})
    text = "# Soaked\n\nWritten by `make soak`. Do not edit: run it again.\n\n"
    text += "Run on: %s. A d after a version: a debug build.\n" % "; ".join(places)
    for name in CAMPAIGNS:
        results = {python: campaigns[name] for python, campaigns in kept.items() if name in campaigns}
        if results:
            text += section(name, results)
    return text


def main():
    directory, path = sys.argv[1:]
    os.makedirs(directory, exist_ok=True)
    pythons = {python.id: python for python in conftest.found().supported}
    chosen, campaigns = wanted("SOAK_PYTHONS", pythons), wanted("SOAK_CAMPAIGNS", CAMPAIGNS)
    well = [run(pythons[python], name, os.path.join(directory, python + ".json")) for python in chosen for name in campaigns]
    with open(path, "w") as file:
        file.write(report(directory))
    print("soak: %d of %d campaigns well, report in %s" % (sum(well), len(well), path))
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
