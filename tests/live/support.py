# SPDX-License-Identifier: GPL-3.0-or-later
"""`make support`: runs every case of targets/blocked.py on every Python found, and writes what became of it.

usage: support.py FILE      (docs/support.md; nothing in it is written by hand)
Exit status 1 when a case did not go as targets/blocked.py says; its cell then says so, and why stands below the table.
"""
import os
import platform
import re
import statistics
import sys
import time

import conftest
import matrix

HEAD = """# Blocked targets, version by version

Written by `make support`, %(date)s: Linux %(kernel)s, %(machine)s, %(cores)d cores. Do not edit: run it again.

A row is a call that the main thread is blocked in when `exec -e` comes; in each cell, how the request was served (see below).
Each time the target's own call is watched to its end, which has to be the one it would have had: a sleep lasts its time, an
`accept()` accepts, `communicate()` returns all data, and so on; then one more request is served. A d after a version: a debug build.
"""

MEANINGS = {
    "refused": "refused (exit status 6): EINTR would end the call before its time. Nothing is touched, and the answer names who called",
    "waits": "no safe point until the call returns: the blocker is named at the deadline (exit status 6), the request withdrawn; "
             "one that has time is served when the call is over",
    "failed": "not as it should be, see below",
}
WAKES = {
    "none": "without a wake",
    "eintr": "the call returned EINTR to Python, which goes on with it",
    "borrowed": "the script ran inside of the call, on its thread",
}


def without_chance(message):
    """Numbers and the place of this tree are not the same in the next run."""
    message = re.sub(r"\b(thread |MainThread \()\d+", r"\1N", message)
    return message.replace(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + "/", "")


def cell(outcome):
    """What stands in the table."""
    if outcome.problems or outcome.verdict != outcome.case.verdict:
        return "failed"
    if outcome.verdict == matrix.blocked.SERVED:
        return "%s, %s" % (outcome.method, outcome.wake)
    return outcome.verdict


def letters(columns):
    """A short sign for each kind of answer that was seen, the commonest first."""
    kinds = [cell(outcome) for outcomes in columns.values() for outcome in outcomes]
    served = sorted({kind for kind in kinds if ", " in kind}, key=lambda kind: (-kinds.count(kind), kind))
    signs = {kind: "yes %s" % "abcdefgh"[number] for number, kind in enumerate(served)}
    signs.update({"refused": "no", "waits": "late", "failed": "FAILED"})
    return {kind: sign for kind, sign in signs.items() if kind in kinds}


def meaning(kind):
    if kind in MEANINGS:
        return MEANINGS[kind]
    method, wake = kind.split(", ")
    return "served by the method `%s`; wake `%s`: %s" % (method, wake, WAKES.get(wake, "see docs/json.md"))


def row(cells):
    return "| %s |\n" % " | ".join(cells)


def table(columns, signs):
    text = row(["blocked in"] + list(columns)) + "|---" * (len(columns) + 1) + "|\n"
    for number, case in enumerate(matrix.blocked.CASES):
        text += row([case.name] + [signs[cell(outcomes[number])] for outcomes in columns.values()])
    return text + row(["served after, ms (median)"] + [waited(outcomes) for outcomes in columns.values()])


def waited(outcomes):
    times = [outcome.waited_us / 1000 for outcome in outcomes if outcome.verdict == matrix.blocked.SERVED]
    return "%.1f" % statistics.median(times) if times else "-"


def refusals(outcomes):
    """What they say."""
    return "".join("- %s: `%s`\n" % (outcome.case.name, without_chance(outcome.message))
                   for outcome in outcomes if outcome.message)


def problems(columns):
    return "".join("- %s, %s: %s\n" % (name, outcome.case.name, "; ".join(outcome.problems).replace("\n", " "))
                   for name, outcomes in columns.items() for outcome in outcomes if cell(outcome) == "failed")


def report(columns):
    signs = letters(columns)
    text = HEAD % {"date": time.strftime("%d %B %Y"), "kernel": platform.release().split("-")[0], "machine": platform.machine(),
                   "cores": os.cpu_count()}
    text += "\n" + table(columns, signs) + "\n"
    text += "".join("- **%s**: %s.\n" % (sign, meaning(kind)) for kind, sign in signs.items())
    text += "\nAll cases of a version ran at once; times are those of a machine that was busy with them.\n"
    newest = [name for name in columns if not name.endswith("d")][-1]
    text += "\n## What a refusal says\n\nIn CPython %s:\n\n%s" % (newest, refusals(columns[newest]))
    if problems(columns):
        text += "\n## What failed\n\n" + problems(columns)
    return text


def main():
    columns = {}
    for python in conftest.found().supported:
        print("support: CPython %s" % python.id, file=sys.stderr, flush=True)
        columns[python.id] = matrix.run_matrix(python)
    text = report(columns)
    with open(sys.argv[1], "w") as file:
        file.write(text)
    failed = problems(columns)
    print("support: %d cases on %d Pythons, in %s\n%s" % (len(matrix.blocked.CASES), len(columns), sys.argv[1], failed), end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
