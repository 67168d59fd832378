# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line itself: words, help, exit statuses; no target is touched."""
import subprocess

import pytest

from conftest import SAFEPOINT, Running, Target, safepoint

COMMANDS = ["ps", "info", "doctor", "exec", "stats", "heap", "console", "stack", "gc"]


@pytest.mark.parametrize("words", [
    [], ["exec"], ["exec", "1"], ["exec", "1", "-c"], ["exec", "1", "-e"], ["frobnicate"], ["--frobnicate"], ["exec", "--frobnicate", "1", "-e", "1"],
    ["exec", "1", "a.py", "b.py"], ["exec", "1", "-c", "1", "-e", "1"], ["info"], ["stats"], ["console"], ["info", "1", "2"], ["stats", "1", "x"],
    ["exec", "--timeout", "soon", "1", "-e", "1"], ["exec", "--timeout", "-1s", "1", "-e", "1"], ["exec", "--timeout", "1", "1", "-e"],
    ["exec", "--thread", "nobody", "1", "-e", "1"], ["exec", "--color", "perhaps", "1", "-e", "1"], ["ps", "extra", "words"],
    ["exec", "--timeout", "99999999999999999999h", "1", "-e", "1"], ["exec", "--timeout"],
], ids=lambda words: "_".join(words) or "nothing")
def test_usage_errors(words):
    answer = safepoint(*words).expect(2)
    assert answer.out == b""
    assert answer.errors.startswith(("safepoint: ", "usage: ", "Usage: ")), answer.errors


def test_unknown_command_is_named():
    answer = safepoint("frobnicate", "1").expect(2)
    assert "frobnicate" in answer.errors


def test_close_command_is_suggested():
    answer = safepoint("exce", "1", "-e", "1").expect(2)
    assert "exec" in answer.errors


def test_help():
    answer = safepoint("--help").expect(0)
    assert answer.err == b""
    for command in COMMANDS:
        assert command in answer.text
    assert max(len(line) for line in answer.text.splitlines()) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    answer = safepoint(command, "--help").expect(0)
    assert answer.err == b"" and "safepoint %s" % command in answer.text
    assert "example" in answer.text.lower()


def test_version():
    answer = safepoint("--version").expect(0)
    assert answer.text.startswith("safepoint ") and any(character.isdigit() for character in answer.text) and answer.err == b""


def test_usage_error_in_json():
    answer = safepoint("exec", "--json", "1").expect(2)
    assert answer.error["code"] == "USAGE"


def test_options_anywhere(idle):
    """Common options before or after the command and the target."""
    for words in (["-q", "exec", idle.pid, "-e", "1"], ["exec", "-q", idle.pid, "-e", "1"], ["exec", idle.pid, "-q", "-e", "1"],
                  ["exec", idle.pid, "-e", "1", "-q"]):
        answer = safepoint(*words).expect(0)
        assert answer.text == "1\n" and answer.err == b"", words


@pytest.mark.parametrize("duration", ["900ms", "20s", "1m", "10s"])
def test_durations(some_target, duration):
    safepoint("exec", "--timeout", duration, some_target.pid, "-e", "1").expect(0)


@pytest.fixture(scope="module")
def some_target(some_python):
    target = Target(some_python, "idle")
    yield target
    target.end()


def test_quiet_and_note(some_target):
    assert safepoint("exec", "-q", some_target.pid, "-e", "1").expect(0).err == b""
    answer = safepoint("exec", some_target.pid, "-e", "1").expect(0)
    notes = answer.errors.splitlines()
    assert len(notes) == 1 and notes[0].startswith("safepoint: ") and "us" in notes[0]


def test_output_option(some_target, tmp_path):
    path = tmp_path / "out"
    answer = safepoint("exec", "-o", path, some_target.pid, "-c", "print('to a file')").expect(0)
    assert answer.out == b"" and path.read_text() == "to a file\n"


def test_output_option_to_nowhere(some_target, tmp_path):
    answer = safepoint("exec", "-o", tmp_path / "no" / "where", some_target.pid, "-c", "import __main__; __main__.LEDGER.append(1)")
    assert answer.status in (2, 70) and "where" in answer.errors
    assert some_target.ask("LEDGER") == []


def test_full_disk(some_target):
    """An answer that can't be written is no success."""
    with open("/dev/full", "wb") as full:
        with Running(["exec", "-q", some_target.pid, "-c", "print('x' * 100000)"], stdout=full) as running:
            answer = running.finish()
    assert answer.status not in (0, 7) and answer.errors.startswith("safepoint: ")
    assert some_target.ask("1 + 1") == 2


def test_closed_standard_streams(some_target):
    """Started with descriptors 0 to 2 closed, as daemons do."""
    done = subprocess.run(["sh", "-c", 'exec "$0" exec "$1" -c "import __main__; __main__.LEDGER.append(5)" <&- >&- 2>&-',
                           SAFEPOINT, str(some_target.pid)], timeout=60)
    assert done.returncode >= 0
    assert some_target.ask("LEDGER.pop() if LEDGER else None") in (5, None)
    assert some_target.ask("1 + 1") == 2


def test_thread_main(some_target):
    for thread in ("main", some_target.pid):
        assert safepoint("exec", "-q", "--thread", thread, some_target.pid, "-e", "threading.current_thread() is threading.main_thread()").expect(0).text == "True\n"


def test_not_yet_is_said(some_target):
    """A command of the contract that is not there yet says so or is unknown; it does not pretend."""
    answer = safepoint("heap", some_target.pid)
    assert answer.status in (0, 2, 5) and (answer.status == 0 or answer.errors.startswith("safepoint: "))


def test_color(some_target):
    assert "\x1b[" not in safepoint("ps").expect(0).text
    assert "\x1b[" not in safepoint("ps", "--color", "never").expect(0).text
    assert "\x1b[" not in safepoint("ps", env={"NO_COLOR": "1"}).expect(0).text


def test_locale(some_target):
    """Answers are the target's bytes in any locale of ours."""
    for locale in ("C", "C.UTF-8", "tr_TR.UTF-8"):
        answer = safepoint("exec", "-q", some_target.pid, "-c", "print('\u00e9i')", env={"LC_ALL": locale}).expect(0)
        assert answer.out == "\u00e9i\n".encode()
