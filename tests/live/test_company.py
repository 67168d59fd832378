# SPDX-License-Identifier: GPL-3.0-or-later
"""In company: several of us at once on one target, a debugger that is there already, and a target that forks, becomes
another program, is stopped, ends or is killed in the middle of a request."""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from conftest import PATIENCE, SAFEPOINT, SANITIZED, Running, Target, safepoint, target_running, until_it_waits
from programs import Program, Traces

BOUND = 8  # seconds in which safepoint gives up when its target does, however short its deadline


def test_many_at_once(python):
    """Each is served in its turn."""
    with target_running(python, "busy") as target:
        all_of_them = [subprocess.Popen([SAFEPOINT, "exec", "-q", "--timeout", "60s", str(target.pid), "-e", "%d * 3" % i],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                       for i in range(8)]
        for i, popen in enumerate(all_of_them):
            out, err = popen.communicate(timeout=60)
            assert (popen.returncode, out) == (0, b"%d\n" % (i * 3)), err


def test_the_second_says_who(python):
    with target_running(python, "busy") as target:
        code = "import sys, time; print('there', flush=True); time.sleep(0.8)"
        first = subprocess.Popen([SAFEPOINT, "exec", "-q", str(target.pid), "-c", code], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE)
        assert first.stdout.readline() == b"there\n"
        second = safepoint("exec", "--timeout", "100ms", target.pid, "-e", "1").expect(6)
        assert "another safepoint" in second.errors
        assert first.communicate(timeout=60) == (b"", None) and first.returncode == 0
        safepoint("exec", target.pid, "-e", "1").expect(0)


# ---------------------------------------------------------------- a debugger is there


@contextlib.contextmanager
def attached(words, target):
    """A debugger that holds the target."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as popen:
        try:
            end = time.monotonic() + PATIENCE
            while target.tracer() == 0:
                assert popen.poll() is None, "%s ended with %s" % (words[0], popen.returncode)
                assert time.monotonic() < end, "%s did not attach" % words[0]
                time.sleep(0.01)
            yield
        finally:
            popen.terminate()


@pytest.mark.parametrize("name, words", [("strace", ["-f", "-o", "/dev/null"]), ("gdb", ["-nx", "-q"])])
def test_debugger(some_python, name, words):
    """It is named, and keeps the target."""
    program = shutil.which(name)
    if not program:
        pytest.skip("no %s on this machine" % name)
    with target_running(some_python, "idle") as target:
        with attached([program] + words + ["-p", str(target.pid)], target):
            tracer = target.tracer()
            answer = safepoint("exec", "--timeout", "3s", target.pid, "-e", "1").expect(4)
            assert name in answer.errors and str(tracer) in answer.errors and "hint: " in answer.errors
            assert safepoint("exec", "--json", target.pid, "-e", "1").expect(4).error["code"] == "PERMISSION"
            assert target.tracer() == tracer
            assert safepoint("info", target.pid).status == 0
        safepoint("exec", target.pid, "-e", "1").expect(0)


# ---------------------------------------------------------------- it forks, it becomes another


def serve(target, number, *options):
    """A request that leaves its number in a ledger."""
    return safepoint("exec", "-q", *options, target.pid, "-e", "__import__('__main__').serve(%d)" % number)


def test_target_that_forks(python):
    """Each request is the parent's, exactly once; children that are born in the middle of one run none of it."""
    with Program(python, "company", ["forks"]) as target:
        assert target.hear() == "ready"
        number = 30 if SANITIZED or python.debug else 60
        for request in range(number):
            answer = serve(target, request).expect(0)
            assert answer.text == "%d\n" % request
        target.say(b"?")
        answer = target.hear()
        assert answer["bad"] == []
        assert [entry[0] for entry in answer["ledger"]] == list(range(number))
        target.say_no_more()
        assert target.wait() == 0


def test_target_that_becomes_another(python):
    """By execve(), at random instants: an answer, or a word why not, in time; nothing is left in who it has become."""
    with Program(python, "company", ["execs", 0]) as target:
        first = last = target.hear()
        number, end = 0, time.monotonic() + PATIENCE
        while number < 25 or (last["started"] < 6 and time.monotonic() < end):
            number += 1
            began = time.monotonic()
            answer = safepoint("exec", "--timeout", "2s", target.pid, "-e", "6 * 7")
            assert answer.status in (0, 3, 6, 8), answer.errors
            assert time.monotonic() - began < BOUND, answer.errors
            if number % 5 == 0:
                last = target.hear()
        time.sleep(1)  # one that starts now isn't in the middle of a request
        target.say(b".")
        status = target.wait()
        with contextlib.suppress(AssertionError):
            while True:
                last = target.hear()
        assert status == 0, target.printed()
        assert last["started"] > 5 and last["descriptors"] == first["descriptors"]


def test_script_that_makes_it_another(python):
    """The program is gone, the process is not."""
    with Program(python, "company", ["execs", 0]) as target:
        began = time.monotonic()
        code = "import os, sys\nos.set_inheritable(%d, True)\nos.execv(sys.executable, [sys.executable, '-c', 'import os; os.read(%d, 1)'])"
        while True:  # until it comes to that, and not to an exec of its own
            answer = safepoint("exec", "--timeout", "5s", target.pid, "-c", code % (target.control_inside, target.control_inside))
            if b"-c" in open("/proc/%d/cmdline" % target.pid, "rb").read().split(b"\0"):
                break
            assert time.monotonic() - began < PATIENCE
        assert answer.status == 8, answer.errors
        target.say(b"..")
        assert target.wait() == 0


# ---------------------------------------------------------------- it ends


@pytest.mark.parametrize("how", ["exits", "is killed"])
def test_target_that_ends(python, how):
    """At a random instant of a request: an answer, or exit status 8 (3 when it was gone before), in time."""
    choice = random.Random(how)
    for _ in range(6):
        target = Target(python, "busy")
        try:
            with Running(["exec", "--timeout", "20s", target.pid, "-c", "print(sum(range(100000)))"]) as running:
                time.sleep(choice.uniform(0, 0.02))  # any instant will do
                if how == "exits":
                    target.tell("quit ")
                    verdict = target.hear()["verdict"]
                    assert verdict["bad"] == [] and verdict["failure"] is None
                    assert target.wait() == 0, target.printed()
                else:
                    os.kill(target.pid, signal.SIGKILL)
                    target.wait()
                since = time.monotonic()
                answer = running.finish()
            assert answer.status in (0, 3, 8), answer.errors
            assert time.monotonic() - since < BOUND
        finally:
            target.close()


def memory_cgroup():
    """Where a memory cgroup can be made below ours: (directory, limit's file), or None."""
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            roots = {"memory": ["/sys/fs/cgroup/memory"], "": ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]}.get(controllers, [])
            for root in roots:
                for own in (root + path.rstrip("/"), root):
                    limit = "memory.limit_in_bytes" if controllers else "memory.max"
                    if os.access(own, os.W_OK) and (controllers or "memory" in open(own + "/cgroup.subtree_control").read().split()):
                        return own, limit
    return None


@contextlib.contextmanager
def limited(target, megabytes):
    """The target, in a memory cgroup of its own."""
    place = memory_cgroup()
    if place is None:
        pytest.skip("no memory cgroup can be made here; a target killed from outside is another test's")
    own = os.path.join(place[0], "safepoint-test-%d" % target.pid)
    try:
        os.mkdir(own)
    except OSError as error:
        pytest.skip("no memory cgroup can be made here: %s" % error)
    try:
        for name, value in ((place[1], megabytes << 20), ("cgroup.procs", target.pid)):
            with open(os.path.join(own, name), "w") as file:
                file.write(str(value))
        yield own
    finally:
        target.close()
        os.rmdir(own)


def test_target_out_of_memory(some_python):
    """The kernel's OOM killer ends it in the middle of a script, which asks for more than its cgroup has."""
    target = Target(some_python, "idle")
    with limited(target, 64):
        safepoint("exec", target.pid, "-e", "1").expect(0)
        code = "kept = []\nprint('there', flush=True)\nwhile True: kept.append(bytearray(1 << 20))"
        answer = safepoint("exec", "--timeout", "60s", target.pid, "-c", code).expect(8)
        assert answer.text == "there\n" and answer.seconds < 60
        assert target.wait() == -signal.SIGKILL


ENDINGS = {
    "atexit, blocked": {0},
    "atexit, busy": {0, 6},  # 3.8 takes no pending calls any more
    "a thread is joined": {0},
    "a daemon thread works": {0},
    "the interpreter is taken down": {6, 8},
}


@pytest.mark.parametrize("how", ENDINGS)
def test_target_that_is_ending(python, how):
    """As long as it runs Python it is served; afterwards not, and that is said; it ends as it would have."""
    with Program(python, "company", ["ending", how]) as target:
        assert target.hear() == "here"
        if "busy" not in how:
            until_it_waits(target.pid)
        answer = serve(target, 1, "--timeout", "2s")
        assert answer.status in ENDINGS[how], answer.errors
        assert answer.status == 0 or "shutting down" in answer.errors, answer.errors
        target.say(b".")
        assert target.wait() == 0, target.printed()
        assert target.printed() == b""


# ---------------------------------------------------------------- it is stopped


def test_target_stopped_in_the_middle(python):
    """By SIGSTOP, at random instants of a request: it stays stopped, whatever becomes of the request, and goes on when told to.
    A request that ended in vain has not begun by then, and never does."""
    choice = random.Random(1)
    with target_running(python, "busy") as target:
        safepoint("exec", target.pid, "-e", "1").expect(0)
        traces = Traces(target)
        for number in range(6):
            code = "import __main__, time; __main__.LEDGER.append(time.monotonic())"
            with Running(["exec", "--timeout", "500ms", target.pid, "-c", code]) as running:
                time.sleep(choice.uniform(0, 0.012))  # any instant will do
                os.kill(target.pid, signal.SIGSTOP)
                try:
                    answer = running.finish()
                    ended = time.monotonic()
                    until_stopped(target)
                finally:
                    os.kill(target.pid, signal.SIGCONT)
            assert answer.status in (0, 6), answer.errors
            stamps = target.ask("[LEDGER.pop() for i in range(len(LEDGER))]")
            assert len(stamps) == 1 if answer.status == 0 else all(stamp < ended for stamp in stamps), (answer.errors, stamps)
            safepoint("exec", target.pid, "-e", "1").expect(0)
            assert traces.left() == []
            assert target.ask("LEDGER") == []


def until_stopped(target):
    end = time.monotonic() + PATIENCE
    while target.state() != "T":
        assert time.monotonic() < end, "it was not left stopped: %s" % target.state()
        time.sleep(0.001)
