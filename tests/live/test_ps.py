# SPDX-License-Identifier: GPL-3.0-or-later
"""ps: which Python processes are here. Reads only."""
import os
import subprocess

import pytest

from conftest import NOBODY, Process, Target, safepoint, target_running


def rows():
    result = safepoint("ps", "--json").expect(0).result
    return {row["pid"]: row for row in result["processes"]}


def test_a_row_for_each_python(python):
    with target_running(python, "idle") as target:
        row = rows()[target.pid]
        assert row["python"] == python.number or row["python"].startswith(python.number)
        assert row["debug"] is python.debug
        assert row["free_threaded"] is False
        assert row["rss_bytes"] > 1_000_000
        assert row["can_attach"] is True


def test_table(python):
    with target_running(python, "idle") as target:
        answer = safepoint("ps").expect(0)
        line = [line for line in answer.text.splitlines() if str(target.pid) in line.split()]
        assert len(line) == 1 and python.number in line[0], answer.text
        assert "\x1b" not in answer.text
        header = answer.text.splitlines()[0].upper()
        assert "PID" in header and "RSS" in header


def test_not_python_is_not_there():
    process = Process(["sleep", "300"])
    try:
        assert process.pid not in rows()
    finally:
        process.kill()


def test_zombie_is_not_there(some_python):
    process = subprocess.Popen(some_python.command() + ["-c", "pass"])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.pid not in rows()
    finally:
        process.wait()


def test_unsupported_is_named(old_python):
    reading, writing = os.pipe()
    process = Process(old_python.command() + ["-c", "import os, time\nos.write(%d, b'r')\ntime.sleep(300)" % writing], pass_fds=(writing,))
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"r"
        answer = safepoint("ps").expect(0)
        line = [line for line in answer.text.splitlines() if str(process.pid) in line.split()]
        assert len(line) == 1 and "%d.%d" % old_python.minor in line[0], answer.text
    finally:
        process.kill()
        os.close(reading)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_anothers_process_is_shown_as_such(open_python, some_python):
    """As an ordinary user: others' processes don't stop the list."""
    target = Target(open_python, "idle", user=NOBODY)
    try:
        with target_running(some_python, "idle") as other:
            answer = safepoint("ps", "--json", as_user=NOBODY).expect(0)
            listed = {row["pid"] for row in answer.result["processes"]}
            assert target.pid in listed
            assert other.alive()
        target.end()
    finally:
        target.close()


def test_touches_nothing(python):
    """No stop: a busy target is not traced, and no thread of it changes state."""
    with target_running(python, "busy") as target:
        for _ in range(5):
            safepoint("ps").expect(0)
            assert target.tracer() == 0
