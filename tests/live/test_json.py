# SPDX-License-Identifier: GPL-3.0-or-later
"""--json: one object on standard output, whatever happens, with the exit status unchanged."""
import datetime
import json
import time

import pytest

from conftest import Target, safepoint, target_running


def test_exec_value(idle):
    began = time.time()
    answer = safepoint("exec", "--json", idle.pid, "-e", "[1, 'two']").expect(0)
    whole = answer.json
    assert whole["command"] == "exec" and whole["host"] and whole["ok"] is True
    assert "error" not in whole
    target = whole["target"]
    assert target["pid"] == idle.pid
    assert target["python"].startswith(idle.python.number)
    assert target["free_threaded"] is False and target["debug"] is idle.python.debug
    assert isinstance(whole["pause_us"], (int, float)) and 0 <= whole["pause_us"] < 5_000_000
    result = whole["result"]
    assert result["value"] == "[1, 'two']"
    assert result["stdout"] == "" and result["stderr"] == ""
    assert result["exception"] is None
    assert isinstance(result["waited_us"], (int, float)) and result["waited_us"] >= 0
    assert isinstance(result["wake"], str)
    when = whole["time"]
    if isinstance(when, str):
        when = datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()
    assert began - 2 < when < time.time() + 2


def test_exec_streams(idle):
    code = "import sys\nprint('out'); print('err', file=sys.stderr)"
    answer = safepoint("exec", "--json", idle.pid, "-c", code).expect(0)
    assert answer.result["stdout"] == "out\n" and answer.result["stderr"] == "err\n"
    assert answer.result["value"] is None
    assert answer.out.startswith(b"{") and answer.out.endswith(b"}\n")


def test_exec_exception(idle):
    """The script raised: not ok, and the result still tells what it printed and raised."""
    answer = safepoint("exec", "--json", idle.pid, "-c", "print('before')\nraise ValueError('no \"good\"')").expect(7)
    whole = answer.json
    assert whole["ok"] is False and whole["error"]["code"] == "SCRIPT"
    exception = whole["result"]["exception"]
    assert exception["type"] == "ValueError" and exception["message"] == 'no "good"'
    assert "Traceback" in exception["traceback"] and "line 2" in exception["traceback"]
    assert whole["result"]["stdout"] == "before\n"


def test_exec_exit(idle):
    whole = safepoint("exec", "--json", idle.pid, "-c", "raise SystemExit(3)").expect(7).json
    assert whole["result"]["exit_code"] == 3
    whole = safepoint("exec", "--json", idle.pid, "-c", "raise SystemExit(0)").expect(0).json
    assert whole["ok"] is True and whole["result"]["exit_code"] in (0, None)


def test_thread_and_wake(idle, busy):
    results = [safepoint("exec", "--json", busy.pid, "-e", "1").expect(0).result for _ in range(10)]
    # Now and then it is caught in a system call of its own.
    assert "none" in [result["wake"] for result in results]
    assert {result["thread"] for result in results} == {busy.pid}
    # A target that reads from a pipe has to be woken.
    assert safepoint("exec", "--json", idle.until_blocked(), "-e", "1").expect(0).json["result"]["wake"] != "none"


def test_special_characters(idle):
    text = "\"\\/\b\f\n\r\t\x01\x7f\u2028\u00e9\U0001f40d"
    answer = safepoint("exec", "--json", idle.pid, "-c", "import sys; sys.stdout.write(%s)" % ascii(text)).expect(0)
    assert answer.result["stdout"] == text


def test_output_file(idle, tmp_path):
    path = tmp_path / "answer.json"
    answer = safepoint("exec", "--json", "-o", path, idle.pid, "-e", "1 + 1").expect(0)
    assert answer.out == b""
    assert json.loads(path.read_text())["result"]["value"] == "2"


def test_much_output_in_json(idle):
    answer = safepoint("exec", "--json", idle.pid, "-c", "for i in range(50000): print('line', i)").expect(0)
    assert answer.result["stdout"] == "".join("line %d\n" % index for index in range(50000))


def test_error_has_a_hint_field(some_python):
    error = safepoint("exec", "--json", "999999999", "-e", "1").expect(3).error
    assert set(error) >= {"code", "message", "hint"}


def test_error_keeps_the_envelope():
    whole = safepoint("exec", "--json", "999999999", "-e", "1").expect(3).json
    assert whole["v"] == 1 and whole["command"] == "exec" and whole["ok"] is False


@pytest.mark.parametrize("command", ["ps", "info", "stats"])
def test_other_commands(idle, command):
    words = [command, "--json"] + ([] if command == "ps" else [idle.pid])
    whole = safepoint(*words).expect(0).json
    assert whole["command"] == command and whole["ok"] is True and isinstance(whole["result"], dict)
    if command == "stats":
        assert whole["pause_us"] >= 0


def test_timeout(python):
    with target_running(python, "idle") as target:
        whole = safepoint("exec", "--json", "--no-wake", "--timeout", "100ms", target.until_blocked(), "-e", "1").expect(6).json
        assert whole["error"]["code"] == "NO_SAFE_POINT" and whole["target"]["pid"] == target.pid


def test_target_ended(python):
    target = Target(python, "idle")
    try:
        whole = safepoint("exec", "--json", target.pid, "-c", "import os; os._exit(3)").expect(8).json
        assert whole["error"]["code"] == "TARGET_ENDED"
        target.wait()
    finally:
        target.close()
