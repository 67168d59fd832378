# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets in odd homes: other namespaces, another root, a program that isn't called python, workers of a server.
(Files that are deleted or damaged are in test_images.py too, user namespaces that refuse us in test_permission.py.)"""
import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile

import pytest

from conftest import PATIENCE, TARGETS, safepoint, target_running
from programs import Traces

EMBED = os.path.join(TARGETS, "embed.c")


def ps_row(pid):
    rows = safepoint("ps", "--json").expect(0).result["processes"]
    found = [row for row in rows if row["pid"] == pid]
    assert len(found) == 1, (pid, rows)
    return found[0]


def is_known(target, container=None):
    """info and ps tell what it is and where."""
    container = container or ("yes" if target.python.root else None)
    row, whole = ps_row(target.pid), safepoint("info", "--json", target.pid).expect(0).json
    assert row["python"] == whole["target"]["python"] and target.python.number in row["python"]
    assert row["container"] == whole["result"]["container"] == container
    assert row["can_attach"] is True and whole["result"]["can_attach"] is True
    assert sorted(thread["tid"] for thread in whole["result"]["threads"] if thread["tid"]) == target.threads()


def runs(pid, *words):
    """Value, output, exception; what the process says of itself."""
    def run(*code, status=0):
        return safepoint("exec", "-q", *words, pid, *code).expect(status)

    assert run("-e", "sys.modules['__main__'].MARK").text == "\"the target's own\"\n"
    answer = run("-c", "import sys; print('out'); print('err', file=sys.stderr)")
    assert (answer.text, answer.errors) == ("out\n", "err\n")
    answer = run("-c", "def deep(): 1/0\ndeep()", status=7)
    assert "in deep" in answer.errors and "ZeroDivisionError" in answer.errors


def serves(target, *words):
    """... and nothing is left of it, and the target goes on."""
    runs(target.pid, *words)  # the first exception of a process imports what shows it
    traces = Traces(target)
    runs(target.pid, *words)
    assert traces.left() == []
    assert target.ask("sum(range(1000))") == 499500


# ---------------------------------------------------------------- inside of a program that isn't Python


EMBED_FACTS = """
import json, sysconfig as s
print(json.dumps([s.get_path("include"), s.get_config_var("LIBDIR"), "python" + (s.get_config_var("LDVERSION") or "")]))
"""


def facts_to_embed(python):
    """(directory of headers, directory of the library, its name), as this machine names them, or why not."""
    output = subprocess.run(python.command() + ["-c", EMBED_FACTS], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True).stdout
    headers, libraries, name = json.loads(output)
    headers, libraries = python.root + headers, python.root + libraries
    if not os.path.exists(os.path.join(headers, "Python.h")):
        pytest.skip("no headers of CPython %s in %s" % (python.id, headers))
    if not os.path.exists(os.path.join(libraries, "lib%s.so" % name)):
        pytest.skip("no lib%s.so in %s" % (name, libraries))
    return headers, libraries, name


@pytest.fixture(scope="module")
def embedding(python):
    """A Python for target_running(): embed.c, made with this one's library."""
    headers, libraries, name = facts_to_embed(python)
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        program = os.path.join(directory, "a program of another name")
        # A root's library may need a newer C library than this machine's: it finds that when it runs.
        done = subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program, EMBED, "-I" + headers,
                               "-idirafter", python.root + "/usr/include", os.path.join(libraries, "lib%s.so" % name), "-pthread",
                               "-Wl,--allow-shlib-undefined", "-Wl,-rpath," + libraries[len(python.root):]], stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()
        yield dataclasses.replace(python, path=program)


@contextlib.contextmanager
def embedded(python, where, mode="idle"):
    with target_running(python, mode, options=[where], binds=[os.path.dirname(python.path)], env={"PYTHONHOME": python.prefix}) as target:
        yield target


@pytest.mark.parametrize("mode", ["idle", "busy"])
@pytest.mark.parametrize("where", ["main", "thread"])
def test_embedded(embedding, where, mode):
    with embedded(embedding, where, mode) as target:
        is_known(target)
        serves(target)
