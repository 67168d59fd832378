# SPDX-License-Identifier: GPL-3.0-or-later
"""console: a Python prompt inside the process, on a terminal and fed by a pipe."""
import os
import re
import signal
import time

import pexpect
import pytest

from conftest import PATIENCE, SAFEPOINT, SANITIZED, Target, safepoint, target_running, until_it_waits

pytestmark = pytest.mark.long

PROMPT = ">>> "


def fed(target, text, *options):
    return safepoint("console", "-q", *options, target.pid, stdin=text.encode())


class Terminal:
    def __init__(self, target, *words, home=None, nudge=None):
        env = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPOINT")}
        env.update({"TERM": "xterm", "INPUTRC": "/dev/null", "NO_COLOR": "1"})
        if home:
            env.update({"HOME": os.fspath(home), "XDG_STATE_HOME": os.path.join(home, "state"), "XDG_DATA_HOME": os.path.join(home, "data"),
                        "XDG_CACHE_HOME": os.path.join(home, "cache")})
        self.child = pexpect.spawn(SAFEPOINT, ["console", *words, str(target.pid)], env=env, encoding="utf-8", timeout=PATIENCE,
                                   dimensions=(40, 150))
        self.child.delaybeforesend = None
        self.prompt(nudge)

    def prompt(self, nudge=None):
        """What comes before the next prompt. `nudge` is called meanwhile, for a target that is not to be woken by us."""
        end = time.monotonic() + PATIENCE
        while nudge and self.child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=0.02):
            assert time.monotonic() < end, self.child.before
            nudge()
        if not nudge:
            self.child.expect_exact(PROMPT)
        return self.clean(self.child.before)

    @staticmethod
    def clean(text):
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", text)

    def say(self, line):
        """Types a line and gives what came before the next prompt, without the echo."""
        self.child.sendline(line)
        text = self.prompt()
        assert text.startswith(line), (line, text)
        return text[len(line):].lstrip("\n")

    def leave(self, patience=PATIENCE):
        self.child.sendeof()
        self.child.expect(pexpect.EOF, timeout=patience)
        self.child.close()
        assert self.child.exitstatus == 0, (self.child.exitstatus, self.child.signalstatus, self.child.before)


@pytest.fixture
def terminal(idle, tmp_path):
    terminals = []

    def open_one(*words, target=idle):
        terminal = Terminal(target, *words, home=tmp_path)
        terminals.append(terminal)
        return terminal

    yield open_one
    for terminal in terminals:
        terminal.child.close(force=True)


# ---------------------------------------------------------------- on a terminal


def test_values(idle, terminal):
    console = terminal()
    assert console.say("1 + 1") == "2\n"
    assert console.say("x = 5") == ""
    assert console.say("x * 2") == "10\n"
    assert console.say("None") == ""
    assert console.say("print('hello')") == "hello\n"
    console.leave()


def test_names_of_the_target(idle, terminal):
    console = terminal()
    assert console.say("import __main__") == ""
    assert console.say("len(__main__.orders)") == "37\n"
    console.leave()


def test_traceback_and_on(idle, terminal):
    console = terminal()
    text = console.say("1/0")
    assert "Traceback (most recent call last):" in text and "ZeroDivisionError" in text
    assert console.say("2 + 2") == "4\n"
    console.leave()


def test_several_lines(idle, terminal):
    console = terminal()
    console.child.sendline("for i in range(3):")
    console.child.expect_exact("... ")
    console.child.sendline("    print('row', i)")
    console.child.expect_exact("... ")
    console.child.sendline("")
    text = console.prompt()
    assert "row 0\nrow 1\nrow 2\n" in text
    console.leave()


def test_own_commands(idle, terminal):
    console = terminal()
    assert ":stats" in console.say(":help")
    assert re.search(r"[0-9]{3}", console.say(":stats"))
    text = console.say(":nonsense")
    assert "nonsense" in text
    assert console.say("1 + 1") == "2\n"
    console.leave()


def test_history(idle, terminal):
    console = terminal()
    assert console.say("40 + 2") == "42\n"
    console.child.send("\x1b[A\r")  # up, enter
    assert "42\n" in console.prompt()
    console.leave()


def test_interrupt_of_a_running_statement(idle, terminal):
    """Ctrl-C gives the statement up; the console and the target go on."""
    console = terminal()
    console.child.sendline("print('began', flush=True)\rwhile True: pass\r")
    console.child.expect_exact("began\r\n")
    console.child.expect_exact("... ")
    time.sleep(0.3)
    console.child.sendintr()
    console.prompt()
    assert console.say("3 + 3") == "6\n"
    console.leave()
    assert idle.ask("1 + 1") == 2


def test_interrupt_of_a_waiting_request(python, tmp_path):
    """The target does not come by: Ctrl-C withdraws the request, which never runs."""
    with target_running(python, "idle") as target:
        console = Terminal(target, "--no-wake", "--timeout", "60s", home=tmp_path, nudge=lambda: target.ask("0"))
        try:
            console.child.sendline("__import__('__main__').LEDGER.append('late')")
            console.child.expect_exact("\r\n")
            until_it_waits(console.child.pid)
            console.child.sendintr()
            console.prompt(nudge=None)
            assert target.ask("sum(i for i in range(100000))") == 4999950000
            assert target.ask("LEDGER") == []
        finally:
            console.child.close(force=True)


def test_interrupt_at_the_prompt(idle, terminal):
    """It clears the line."""
    console = terminal()
    console.child.send("some text")
    console.child.expect_exact("some text")
    console.child.sendintr()
    console.prompt()
    assert console.say("1 + 2") == "3\n"
    console.leave()


def test_leaves_nothing(python, tmp_path):
    """Names of the session, modules, descriptors, mappings: gone after Ctrl-D."""
    with target_running(python, "idle") as target:
        safepoint("exec", target.pid, "-e", "1").expect(0)
        state = "[sorted(sys.modules), sorted(globals()), sys.argv, len(threading.enumerate()), hasattr(__import__('builtins'), '_')]"
        before, descriptors, maps = target.ask(state), target.descriptors(), target.maps()[0]
        console = Terminal(target, home=tmp_path)
        assert console.say("left = [1] * 100") == ""
        assert console.say("len(left)") == "100\n"
        assert "NameError" in console.say("nothing")
        console.leave()
        after = target.ask(state)
        allowed = {"linecache", "tokenize", "token", "traceback", "textwrap", "keyword", "contextlib", "_colorize", "codeop"}
        assert set(after[0]) - set(before[0]) <= allowed
        assert after[1:] == before[1:]
        assert target.descriptors() == descriptors and target.maps()[0] == maps
        assert target.ask("any(getattr(o, 'get', None) and type(o) is dict and o.get('left') == [1] * 100 for o in gc.get_objects())") is False


def test_killed_terminal(python, tmp_path):
    """The terminal goes away (SIGHUP): so do we."""
    with target_running(python, "idle") as target:
        console = Terminal(target, home=tmp_path)
        assert console.say("1 + 1") == "2\n"
        os.kill(console.child.pid, signal.SIGHUP)
        console.child.expect(pexpect.EOF)
        console.child.close(force=True)
        assert target.ask("1 + 1") == 2


def test_target_ends(python, tmp_path):
    target = Target(python, "idle")
    try:
        console = Terminal(target, home=tmp_path)
        target.popen.kill()
        target.wait()
        console.child.sendline("1 + 1")
        console.child.expect(pexpect.EOF)
        console.child.close()
        assert console.child.exitstatus == 8
    finally:
        target.close()


def test_history_file_is_private(idle, terminal, tmp_path):
    console = terminal()
    console.say("'secret of mine'")
    console.leave()
    for directory, _, names in os.walk(tmp_path):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                if b"secret of mine" in file.read():
                    assert os.stat(path).st_mode & 0o077 == 0, path


# ---------------------------------------------------------------- fed by a pipe


def test_pipe(idle):
    answer = fed(idle, "x = 20\nx + 2\nprint('hello')\n").expect(0)
    assert answer.text == "22\nhello\n"


def test_pipe_several_lines(idle):
    answer = fed(idle, "def f(n):\n    return n * 2\n\nf(21)\nfor i in range(2):\n    print(i)\n\nclass A:\n    size = 3\n\nA.size\n").expect(0)
    assert answer.text == "42\n0\n1\n3\n"


def test_pipe_block_at_the_end(idle):
    """No empty line after the last block."""
    assert fed(idle, "for i in range(2):\n    print(i)").expect(0).text == "0\n1\n"


def test_pipe_exception_goes_on(idle):
    answer = fed(idle, "1/0\n2 + 2\n")
    assert answer.status in (0, 7) and answer.text == "4\n" and "ZeroDivisionError" in answer.errors


def test_pipe_syntax_error_goes_on(idle):
    answer = fed(idle, "x y z\n2 + 2\n")
    assert answer.status in (0, 7) and answer.text == "4\n" and "SyntaxError" in answer.errors


def test_pipe_own_commands(idle):
    answer = fed(idle, ":stats\n:help\n")
    assert answer.status == 0 and ":help" in answer.text + answer.errors


def test_pipe_unicode_and_strings_over_lines(idle):
    answer = fed(idle, "s = '''one\ntwo'''\nlen(s), '\u00e9\U0001f40d'\n").expect(0)
    assert answer.text == "(7, '\u00e9\U0001f40d')\n"


def test_pipe_empty(idle):
    assert fed(idle, "").expect(0).text == ""


def test_pipe_exit(idle):
    """exit() ends the session, not the target."""
    answer = fed(idle, "print(1)\nraise SystemExit\nprint(2)\n")
    assert answer.text in ("1\n", "1\n2\n") and answer.status in (0, 7)
    assert idle.ask("1 + 1") == 2


def test_pipe_busy(busy):
    assert fed(busy, "import sys\nsys.version_info[0]\n").expect(0).text == "3\n"


def test_pipe_many_statements(idle):
    count = 60 if SANITIZED else 200
    answer = fed(idle, "total = 0\n" + "total += 1\n" * count + "total\n").expect(0)
    assert answer.text == "%d\n" % count


def test_no_such_process():
    answer = safepoint("console", "999999999", stdin=b"1\n").expect(3)
    assert answer.out == b"" and answer.errors.startswith("safepoint: ")
