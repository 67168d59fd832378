# SPDX-License-Identifier: GPL-3.0-or-later
"""A main thread that is blocked is served, and its own call goes on and ends as it should; where that can't be, hands
off, and the blocker is named. The calls are those of targets/blocked.py; each test is one of them."""
import json
import os
import signal
import time

import pytest

import matrix
from conftest import Running, until_it_waits
from programs import Program

CASES = {case.name: case for case in matrix.blocked.CASES}


@pytest.fixture(scope="module")
def outcomes(python):
    """All cases of one Python, run at once."""
    return {outcome.case.name: outcome for outcome in matrix.run_matrix(python)}


@pytest.mark.parametrize("name", CASES)
def test_blocked(outcomes, name):
    outcome = outcomes[name]
    assert not outcome.problems, "\n".join(outcome.problems)
    assert outcome.verdict == CASES[name].verdict


def test_no_wake(python):
    """Left to the target: the script runs when the call is over, and not before."""
    with Program(python, "blocked", ["os.read() of a pipe", json.dumps(None)]) as target:
        target.hear()
        target.say(b".")
        target.hear()
        until_it_waits(target.pid)
        with Running(["exec", "--no-wake", "--timeout", "25s", target.pid, "-e", "__import__('__main__').serve(1)[0]"]) as running:
            until_it_waits(running.pid)
            released = time.monotonic()
            target.say(matrix.blocked.SAID)
            answer = running.finish().expect(0)
        assert float(answer.text) >= released
        assert target.hear()["result"] == matrix.blocked.SAID.decode()
        target.say_no_more()
        assert target.hear()["ledger"] == [1] and target.wait() == 0


@pytest.mark.parametrize("name", ["signal.pause()", "signal.sigwait()", "time.sleep()", "select.epoll()"])
def test_signal_while_the_script_runs(python, name):
    """A signal that comes while a script runs inside of a call ends it, or not, as it would have without the script."""
    with Program(python, "blocked", [name, json.dumps(None)]) as target:
        target.hear()
        target.say(b".")
        began = target.hear()["began"]
        until_it_waits(target.pid)
        code = "import os\nprint('there', flush=True)\nos.read(%d, 1)" % target.control_inside
        reading, writing = os.pipe()
        with open(reading, "rb") as output, open(writing, "wb") as sink:
            with Running(["exec", "-q", target.pid, "-c", code], stdout=sink) as running:
                sink.close()
                word = output.readline()
                if word:  # else refused: nothing to be seen
                    assert word == b"there\n"
                    if CASES[name].end == "signal":
                        os.kill(target.pid, signal.SIGUSR1)
                    until_it_waits(target.pid)
                    target.say(b".")
                answer = running.finish()
        assert answer.status in (0, 6), answer.errors
        if answer.status == 6:
            os.kill(target.pid, signal.SIGUSR1)
        end = target.hear()
        assert end["result"] == CASES[name].result
        if CASES[name].end == "time":
            assert end["ended"] - began >= matrix.blocked.SECONDS - matrix.SLACK
        target.say_no_more()
        target.hear()
        assert target.wait() == 0
