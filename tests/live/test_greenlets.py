# SPDX-License-Identifier: GPL-3.0-or-later
"""stack: the greenlets that don't run, against what greenlet says of them; with versions of it of every layout."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

import pythons
from conftest import TARGETS, safepoint, target_running, until_it_waits

# Of each layout one that has wheels for that Python.
VERSIONS = {
    (3, 8): ["1.1.3", "2.0.2", "3.0.3", "3.1.1"],
    (3, 9): ["1.1.3", "2.0.2", "3.2.5"],
    (3, 10): ["1.1.3", "2.0.2", "3.1.1", "3.5.6"],
    (3, 11): ["1.1.3", "2.0.2", "3.1.1", "3.5.6"],
    (3, 12): ["3.0.3", "3.1.1", "3.5.6"],
    (3, 13): ["3.1.1", "3.2.5", "3.5.6"],
    (3, 14): ["3.2.5", "3.3.0", "3.5.6"],
    (3, 15): ["3.5.6"],
}
HOME = os.path.join(pythons.TOP, "build", "greenlet")


def install(minor, version):
    """The module's directory, of its wheel for that Python; None where it can't be had."""
    directory = os.path.join(HOME, "%d.%d-%s" % (minor + (version,)))
    if os.path.isdir(directory):
        return directory
    part = "%s.%d" % (directory, os.getpid())
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary",
                           ":all:", "--python-version", "%d.%d" % minor, "--target", part, "greenlet==" + version],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)
    if done.returncode:
        shutil.rmtree(part, True)
        return None
    with contextlib.suppress(OSError):  # another of us was faster
        os.rename(part, directory)
    shutil.rmtree(part, True)
    return directory


def directories(python):
    if python.debug:
        pytest.skip("greenlet's wheels are for builds without --with-pydebug")
    wanted = {version: install(python.minor, version) for version in VERSIONS[python.minor]}
    missing = [version for version, directory in wanted.items() if not directory]
    if missing:
        pytest.skip("pip has no greenlet %s for %d.%d here" % ((", ".join(missing),) + python.minor))
    return wanted


@contextlib.contextmanager
def running(python, directory, start="greenlets.start()", end="greenlets.end()"):
    with target_running(python, "idle", binds=[directory]) as target:
        target.do("import sys; sys.path[:0] = [%r, %r]; import greenlets" % (TARGETS, directory))
        target.do(start)
        try:
            until_it_waits(target.pid)
            yield target
        finally:
            target.do(end)


def read(target, *words):
    return safepoint("stack", "--json", target.pid, *words).expect(0).result


def read_core(pid, directory):
    path = os.path.join(directory, "gcore")
    subprocess.run(["gcore", "-o", path, str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120)
    return safepoint("stack", "--json", "%s.%d" % (path, pid)).expect(0).result


def rows(one):
    return [[frame["function"], frame["file"], frame["line"]] for frame in one["frames"]]


def compare(told, result, main_tid):
    module = result["greenlet_module"]
    assert module["error"] is None and not module["incomplete"], module
    found = {one["address"]: (one, thread) for thread in result["threads"] for one in thread["greenlets"]}
    found.update({one["address"]: (one, None) for one in module["greenlets"]})
    assert set(found) == set(told)
    for address, (state, parent, main, kind, frames) in told.items():
        one, thread = found[address]
        assert [one["state"], one["parent"], one["main"], one["type"]] == [state, parent, main, kind], one
        assert rows(one) == frames and one["error"] is None and not one["changing"], (state, kind)
        if state in ("suspended", "current"):
            assert thread is not None, one
    for thread in result["threads"]:
        states = [one["state"] for one in thread["greenlets"]]
        assert states.count("current") == 1 and states.count("suspended") >= 14, states
        assert [one["main"] for one in thread["greenlets"]] == [True] + [False] * (len(states) - 1)
        main = thread["greenlets"][0]
        assert main["state"] == ("current" if thread["tid"] == main_tid else "suspended")


def test_they_are_greenlets_own(python):
    for version, directory in directories(python).items():
        with running(python, directory) as target:
            told = target.ask("greenlets.tell()")
            # Before greenlet 2.0 none says that its thread is this one's; each but the current one of a thread has a frame.
            until_it_waits(target.pid)
            result = read(target)
            assert result["greenlet_module"]["version"] == version
            compare(told, result, target.pid)
            compare(told, read(target, "--stop"), target.pid)
            text = safepoint("stack", target.pid, "--locals", "--values").expect(0).text
            assert text.count(": suspended\n") == sum(row[0] == "suspended" for row in told.values())
            assert text.count(": current, its stack is the thread's\n") == 2 and text.count(": not started\n") == 2
            assert text.count("greenlets that have ended: 1\n") == 2 and "depth = 17" in text
            assert target.ask("greenlets.tell()") == told


def test_the_running_stack_is_the_greenlets(python):
    """A thread that waits inside of a greenlet: its frames end where the greenlet began."""
    for version, directory in directories(python).items():
        with running(python, directory) as target:
            inside = [thread for thread in read(target)["threads"] if thread["python_name"] == "inside"][0]
            names = [frame["function"].split(".")[-1] for frame in inside["frames"]]
            assert names == ["inside"], (version, names)
            main = [frame["function"].split(".")[-1] for frame in inside["greenlets"][0]["frames"]]
            assert main == ["rests_inside", "run", "_bootstrap_inner", "_bootstrap"], (version, main)
            native = [thread for thread in read(target, "--native")["threads"] if thread["python_name"] == "inside"][0]
            assert [frame["function"].split(".")[-1] for frame in native["frames"] if frame["kind"] == "python"] == ["inside"]


@pytest.mark.skipif(not shutil.which("gcore"), reason="there is no gcore")
def test_of_a_core(python):
    if python.root:
        pytest.skip("the module is seen in its root while it runs alone")
    version, directory = list(directories(python).items())[-1]
    with running(python, directory) as target, tempfile.TemporaryDirectory(prefix="safepoint-core-") as path:
        told = target.ask("greenlets.tell()")
        compare(told, read_core(target.pid, path), target.pid)


LEGAL = {
    "spin_left": [["turn", "spin_left"]],
    "spin_right": [["turn", "spin_right"], ["turn", "<listcomp>", "spin_right"]],
}


def test_none_that_never_was(python):
    """Two that are switched to all the time: what is shown of them is a stack that they have, or nothing."""
    version, directory = list(directories(python).items())[-1]
    settled = 0
    with running(python, directory, "greenlets.start_turns()", "greenlets.end_turns()") as target:
        for _ in range(20):
            result = read(target)
            assert result["greenlet_module"]["error"] is None
            thread = [thread for thread in result["threads"] if thread["python_name"] == "turns"][0]
            spinners = [one for one in thread["greenlets"] if not one["main"]]
            assert len(spinners) == 2 or result["greenlet_module"]["incomplete"]
            for one in spinners:
                names = [frame["function"].split(".")[-1] for frame in one["frames"]]
                assert not names or names in LEGAL[names[-1]], names
                settled += bool(names)
            stopped = read(target, "--stop")
            for thread in stopped["threads"]:
                for one in thread["greenlets"]:
                    names = [frame["function"].split(".")[-1] for frame in one["frames"]]
                    assert one["main"] or not names or names in LEGAL[names[-1]], names
                    settled += bool(names)
    assert settled


def test_a_layout_that_is_not_known(python):
    """Said, and nothing is guessed."""
    version, directory = list(directories(python).items())[0]
    with running(python, directory) as target:
        target.do("import ctypes; KIND = greenlets.greenlet.greenlet")
        target.do("SIZE = ctypes.c_ssize_t.from_address(id(KIND) + object.__basicsize__ + 16); OLD = SIZE.value")
        target.do("assert OLD == KIND.__basicsize__; SIZE.value = OLD + 256")
        try:
            result = read(target)
            assert "no layout that we know" in result["greenlet_module"]["error"] and version in result["greenlet_module"]["error"]
            assert not [thread for thread in result["threads"] if thread["greenlets"] or not thread["frames"]]
            assert "greenlets: not readable" in safepoint("stack", target.pid).expect(0).text
        finally:
            target.do("SIZE.value = OLD")


def test_no_greenlets_no_cost(python):
    with target_running(python, "idle") as target:
        result = read(target)
        assert result["greenlet_module"] is None and "greenlets" not in result["threads"][0]
