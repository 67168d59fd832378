# SPDX-License-Identifier: GPL-3.0-or-later
"""What we read of a heap from outside, against what the oracle inside it says: every Python that was found."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import pythons
import sites
from conftest import row_of

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.dirname(os.environ.get("SAFEPOINT", os.path.join(pythons.TOP, "build", "safepoint")))
PATIENCE = 600  # seconds: a debug build with half a million objects on a machine that others use
FOUND = pythons.find().supported
ALLOCATORS = ["debug", "malloc", "malloc_debug"]
INCLUDE = "import sysconfig; print(sysconfig.get_paths()['include'])"


def build_oracle(python, directory, leave_out):
    """The extension, against that Python's own headers."""
    done = subprocess.run(python.command() + ["-c", INCLUDE], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=True)
    include = python.root + done.stdout.decode().strip()
    if not os.path.exists(os.path.join(include, "Python.h")):
        leave_out("no headers of %s: %s" % (python.id, include))
    more = ["-I" + include[:-1]] if include.endswith("d") and python.debug else []
    more += ["-idirafter", python.root + "/usr/include"] if python.root else []
    subprocess.run([os.environ.get("CC", "gcc"), "-w", "-O1", "-shared", "-fPIC", "-I" + include, *more,
                    "-o", os.path.join(directory, "oracle.so"), os.path.join(HERE, "oracle.c")], check=True)


def is_stopped(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def wait_for(condition, popen, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert popen.poll() is None, "the target ended with %s before %s" % (popen.returncode, what)
        assert time.monotonic() < end, "no " + what
        time.sleep(0.02)


def run_compare(pid, output):
    done = subprocess.run([os.path.join(BUILD, "heap", "compare"), str(pid), output, output + ".suspects"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, text + done.stderr.decode(errors="replace")
    counts = {}
    for line in text.splitlines()[:3]:
        counts.update(re.findall(r"([a-z]+) ([0-9.a-z]+)", line))
    return {name: int(value) if value.isdigit() else value for name, value in counts.items()}, text


def compare(python, directory, leave_out, script, words=(), env=None):
    """Runs a heap to its oracle, reads it from outside, lets the oracle judge the rest."""
    build_oracle(python, directory, leave_out)
    output = os.path.join(directory, "heap")
    binds = [directory, HERE] + [word for word in words if os.path.isdir(word)]
    command = python.command(binds) + ["-X", "tracemalloc=1", os.path.join(HERE, script), directory, output, *words]
    popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
    try:
        wait_for(lambda: os.path.exists(output + ".done") and is_stopped(popen.pid), popen, "oracle's answer")
        counts, text = run_compare(popen.pid, output)
        popen.send_signal(signal.SIGCONT)
        assert popen.wait(timeout=PATIENCE) == 0, "the target did not end well after it was read"
        with open(output + ".verdict") as file:
            verdict = json.load(file)
    finally:
        popen.kill()
        popen.wait()
    return counts, text, verdict


def check(counts, text, dead):
    assert counts["objects"] > 20000, text
    assert counts["missing"] == 0, text
    assert counts["types"] == 0, text
    assert counts["refcounts"] == 0, text
    assert counts["kept"] > 20000 and counts["differ"] == 0, text  # the walk's references, and those of each object by itself
    assert counts["torn"] == 0 and counts["broken"] == 0, text
    assert counts["lost"] <= counts["edges"] * 0.0005, text
    assert counts["sizes"] <= counts["objects"] * 0.001, text
    # What the oracle can't reach is held by something that we found, or its block is in use.
    assert dead == [], text


@pytest.fixture
def judge(python, tmp_path, leave_out, record_property):
    """Compares a heap, writes its line of the table, and insists on its figures. Returns counts, their text, and the verdict."""

    def run(heap, script, words=(), env=None):
        counts, text, verdict = compare(python, str(tmp_path), leave_out, script, words, env)
        record_property("figures", row_of(python.id, heap, counts, verdict["dead"]))
        check(counts, text, verdict["dead"])
        return counts, text, verdict

    return run


@pytest.mark.parametrize("python", FOUND, ids=lambda python: python.id)
def test_odd_shapes(python, judge):
    judge("odd shapes", "shapes.py")


@pytest.mark.long
@pytest.mark.parametrize("python", FOUND, ids=lambda python: python.id)
def test_libraries(python, judge, leave_out):
    site, why_not = sites.find_site(python)
    if not site:
        leave_out("no libraries for %s: %s" % (python.id, why_not))
    counts, text, verdict = judge("libraries", "libraries.py", [site, "100000"])
    assert counts["objects"] > 100000, text
    assert sites.imports(python) <= set(verdict["loaded"])


@pytest.mark.long
@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("python", FOUND, ids=lambda python: python.id)
def test_other_allocators(python, allocator, judge):
    counts, text, _verdict = judge("odd shapes, " + allocator, "shapes.py", env={"PYTHONMALLOC": allocator})
    assert counts["allocator"] == ("pymalloc" if allocator == "debug" else "malloc"), text
