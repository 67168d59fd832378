# SPDX-License-Identifier: GPL-3.0-or-later
"""Several at once on one target."""
import subprocess

from conftest import SAFEPOINT, safepoint, target_running


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
