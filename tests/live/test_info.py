# SPDX-License-Identifier: GPL-3.0-or-later
"""info: one process. Reads only."""
import json

import pytest

from conftest import safepoint, target_running


def flat(value):
    return json.dumps(value)


def test_json(python):
    with target_running(python, "threads") as target:
        answer = safepoint("info", "--json", target.pid).expect(0)
        whole = answer.json
        assert whole["command"] == "info" and whole["ok"] is True
        assert whole["target"]["pid"] == target.pid
        assert whole["target"]["python"] == python.number or whole["target"]["python"].startswith(python.number)
        assert whole["target"]["debug"] is python.debug
        threads = whole["result"]["threads"]
        assert sorted(thread["tid"] for thread in threads) == target.threads()
        assert [thread["main"] for thread in threads if thread["tid"] == target.pid] == [True]


def test_what_it_is_doing(python):
    """In a few lines: how many threads run and wait, and how the collector is."""
    with target_running(python, "idle") as target:
        result = safepoint("info", "--json", target.until_blocked()).expect(0).result
        assert result["doing"] == {"running": 0, "gil": 0, "lock": 0, "call": 1, "work": 0}
        assert result["collector"]["enabled"] is True and result["collector"]["collecting"] is False
        assert result["collector"]["collections"] == target.ask("[s['collections'] for s in gc.get_stats()]")
        main = result["threads"][0]
        assert main["python_name"] == "MainThread" and main["waits_for"] == "call" and main["syscall"] == "read"
        lines = safepoint("info", target.pid).expect(0).text.splitlines()
        assert [line.split(None, 1)[1] for line in lines if line.startswith("doing ")] == ["1 thread is blocked in a call"]


def test_text(python):
    with target_running(python, "threads") as target:
        answer = safepoint("info", target.pid).expect(0)
        assert python.number in answer.text
        for tid in target.threads():
            assert str(tid) in answer.text
        assert "RSS" in answer.text
        assert "\x1b" not in answer.text


def test_pid_alone_is_info(idle):
    one, other = safepoint(idle.pid).expect(0), safepoint("info", idle.pid).expect(0)
    assert str(idle.pid) in one.text and idle.python.number in one.text
    assert one.text.splitlines()[0] == other.text.splitlines()[0]


def test_what_threads_are_doing(python):
    """The innermost Python frame by name."""
    with target_running(python, "idle") as target:
        threads = safepoint("info", "--json", target.until_blocked()).expect(0).result["threads"]
        main = [thread for thread in threads if thread["tid"] == target.pid][0]
        assert "serve" in flat(main), main
        assert "target.py" in flat(main), main


@pytest.mark.parametrize("how", ["on", "environment", "option"])
def test_remote_debugging(new_python, how):
    keywords = {"on": {}, "environment": {"env": {"PYTHON_DISABLE_REMOTE_DEBUG": "1"}}, "option": {"options": ["-X", "disable-remote-debug"]}}[how]
    with target_running(new_python, "idle", **keywords) as target:
        result = safepoint("info", "--json", target.pid).expect(0).result
        assert result["remote_debug"] is (how == "on")
        text = safepoint("info", target.pid).expect(0).text
        assert "remote debug" in text.lower()


def test_does_not_stop_it(python):
    """A busy target runs no code of ours: nothing in it is allocated or posted."""
    with target_running(python, "busy") as target:
        for _ in range(20):
            safepoint("info", target.pid).expect(0)
        assert target.tracer() == 0
        assert target.ask("BAD") == []


def test_missing():
    answer = safepoint("info", "999999999").expect(3)
    assert answer.out == b"" and answer.errors.startswith("safepoint: ")
