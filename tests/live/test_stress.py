# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests to a target that works hard: some of what `make soak` does at length (tests/soak)."""
import pytest

import stressing
from conftest import safepoint, target_running

REQUESTS = 60


@pytest.mark.slow
@pytest.mark.long
def test_stress(python):
    result = stressing.stress(python, REQUESTS, seed=1)
    assert not result["problems"], "\n".join(result["problems"])
    assert result["requests"] >= REQUESTS and result["exit status 0"] > REQUESTS / 2 and result["exit status 7"] > 0


@pytest.mark.long
def test_short_deadlines(python):
    """Wherever in its life an endless script's deadline falls: when safepoint has ended, the script has too, or never runs."""
    with target_running(python, "busy") as target:
        for milliseconds in list(range(1, 13)) * 4:
            code = "import __main__; __main__.LEDGER.append(1)\nwhile True: pass"
            answer = safepoint("exec", "--timeout", "%dms" % milliseconds, target.pid, "-c", code).expect(6)
            ran = target.ask("len(LEDGER)")
            assert ran <= 1
            assert target.ask("(sum(range(100000)), len(LEDGER))[1]") == ran, answer.errors
            target.do("LEDGER.clear()")
