# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings of a stack that changes all the time, each judged: for test_stack.py and, 10,000 of them, for tests/soak."""
import os
import subprocess
import time

from conftest import SAFEPOINT, TARGETS, target_running

# Reads in one process (tests/stack/reads.c), as `safepoint stack` does.
READS = os.path.join(os.path.dirname(SAFEPOINT), "stack-reads")
IMPORT = "import sys; sys.path.insert(0, %r); import stacks" % TARGETS
AT_A_TIME = 500  # readings by one start of it


def judge(line, legal):
    """Of one kind of answer: how often it came, "whole" or "changing", its frames from churn on, and what is wrong with it."""
    count, kind, *functions = line.split()
    names = [function.split(".")[-1] for function in functions]
    if kind == "failed":
        return int(count), kind, None, line
    if "churn" not in names:
        # The main thread, which still answers at first; and of the other what stayed.
        well = names == ["<module>", "main", "serve", "answer", "say"][:len(names)] or kind == "changing"
        return int(count), kind, None, None if well else line
    begin = names.index("churn")
    well = names[:begin] == ["_bootstrap", "_bootstrap_inner", "run"] and all(
        callee in legal[caller] for caller, callee in zip(names[begin:], names[begin + 1:]))
    return int(count), kind, tuple(names[begin:]), None if well else line


def run_reads(pid, number):
    done = subprocess.run([READS, str(pid), str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def read_changing(python, number, seed=0, progress=lambda text: None):
    """Of a thread that calls and returns all the time: how many were whole, how many changed too much, what went wrong."""
    began, done, whole, cut, seen, problems = time.monotonic(), 0, 0, 0, set(), []
    with target_running(python, "idle") as target:
        target.do(IMPORT)
        target.do("stacks.start_churn()")
        try:
            target.until_blocked()
            legal = target.ask("stacks.LEGAL")
            while done < number:
                part = min(AT_A_TIME, number - done)
                for line in run_reads(target.pid, part):
                    count, kind, stack, problem = judge(line, legal)
                    whole += count * (kind == "whole" and stack is not None)
                    cut += count * (kind == "changing")
                    seen.add(stack)
                    problems += [problem] if problem else []
                done += part
                progress("%d readings" % done)
        finally:
            target.do("stacks.end_churn()")
    return {"readings": done, "whole": whole, "cut to what stayed": cut, "different stacks": len(seen - {None}),
            "wrong or failed": len(problems), "problems": problems, "seconds": time.monotonic() - began}
