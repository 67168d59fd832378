# SPDX-License-Identifier: GPL-3.0-or-later
"""safepoint dies by SIGKILL: some of what `make soak` does at length (tests/soak), and what it could leave elsewhere."""
import os
import subprocess
import time

import pytest

import killing
import pythons
from conftest import PATIENCE, SAFEPOINT, SANITIZED, TARGETS, Process, Running, safepoint, target_running, until_it_waits
from programs import Traces

KILLS = 30 if SANITIZED else 40  # on each Python


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_random_instants(python):
    result = killing.kill(python, KILLS, seed=1)
    assert not result["problems"], "\n".join(result["problems"])
    assert result["kills"] >= KILLS - 5
    # The instants were well chosen: most came while it ran, and some before its script had begun.
    assert result["killed while it ran"] > KILLS / 2
    assert result["scripts of killed ones that ran"] < result["kills"]


def test_killed_while_its_request_waits(python):
    """Posted, not woken, and killed: the request never runs, and the next one clears it away."""
    with target_running(python, "idle") as target:
        safepoint("exec", target.pid, "-e", "1").expect(0)
        traces = Traces(target)
        for _ in range(3):
            with Running(["exec", "--no-wake", "--timeout", "60s", target.until_blocked(), "-c",
                          "import __main__; __main__.LEDGER.append('late')"]) as running:
                until_it_waits(running.pid)
                running.popen.kill()
                running.popen.wait()
        assert safepoint("exec", "-q", target.pid, "-e", "2 + 2").expect(0).text == "4\n"
        assert traces.left() == []
        assert target.ask("LEDGER") == []


def test_killed_with_a_directory(some_python, tmp_path):
    """What it has put into the target's /tmp (here one of the target's own) is cleared away by the next run."""
    if os.getuid() != 0 or any(path.startswith("/tmp/") for path in (TARGETS, some_python.path, pythons.TOP)):
        pytest.skip("a /tmp of its own needs root, and the tests elsewhere")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs none /tmp && exec "$@"', "sh"]
    reading, writing = os.pipe()
    code = "import os, time\nos.write(%d, b'ready')\nwhile True: time.sleep(0.01)" % writing
    process = Process(command + some_python.command() + ["-c", code], pass_fds=(writing,))
    os.close(writing)
    try:
        assert os.read(reading, 5) == b"ready"
        own = "/proc/%d/root/tmp" % process.pid
        for words in (["--timeout", "60s"], ["--no-wake", "--timeout", "60s"]):
            popen = subprocess.Popen([SAFEPOINT, "exec", "--channel", "directory"] + words + [str(process.pid), "-c", "while True: pass"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for_entry(own)
            popen.kill()
            popen.wait()
        safepoint("exec", "--channel", "directory", process.pid, "-e", "1").expect(0)
        assert os.listdir(own) == []
    finally:
        process.kill()
        os.close(reading)


def wait_for_entry(directory):
    end = time.monotonic() + PATIENCE
    while not os.listdir(directory):
        assert time.monotonic() < end, "nothing came into its /tmp"
        time.sleep(0.001)
