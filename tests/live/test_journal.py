# SPDX-License-Identifier: GPL-3.0-or-later
"""The system log has one line for each injection, and whatever the log does, the request is not held up."""
import contextlib
import os
import re
import signal
import socket
import tempfile

import pytest

from conftest import NOBODY, Running, safepoint, target_running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a /dev of its own")

AUTHPRIV_NOTICE = 10 << 3 | 5
LINE = re.compile(r'<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d safepoint\[(\d+)\]: (\w+): uid (\d+)( \(\w+\))?(, logged in as uid [^,]*)?, '
                  r'pid (\d+) \(uid (\d+), CPython ([^)]*)\) "(.*)", request ([0-9a-f]{16})\0?')


def private_dev(path):
    """/dev with nothing but our log in it, seen by safepoint alone. Without a path: with nothing at all."""
    bind = "touch /dev/log && mount --bind %s /dev/log && " % path if path else ""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs tmpfs /dev && ' + bind + 'exec "$@"', "sh"]


class Log:
    """A system log of the test's own."""

    def __init__(self, path, kind):
        self.path, self.kind = path, kind
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        if kind == socket.SOCK_STREAM:
            self.socket.listen(8)
        self.socket.setblocking(False)
        self.under = private_dev(path)
        self.kept = []

    def lines(self):
        texts = []
        with contextlib.suppress(BlockingIOError):
            while True:
                if self.kind == socket.SOCK_DGRAM:
                    texts.append(self.socket.recv(65536).decode())
                else:
                    with self.socket.accept()[0] as connection:
                        texts.append(connection.recv(65536).decode())
        return texts

    def fill(self):
        """Until nothing more goes in: as with a daemon that hangs."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.kept.append(socket.socket(socket.AF_UNIX, self.kind))
                self.kept[-1].setblocking(False)
                self.kept[-1].connect(self.path)
                while self.kind == socket.SOCK_DGRAM:
                    self.kept[-1].send(b"x")

    def close(self):
        for each in self.kept + [self.socket]:
            each.close()


@pytest.fixture(params=[socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagrams", "stream"])
def log(request):
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        os.chmod(directory, 0o755)
        log = Log(os.path.join(directory, "log"), request.param)
        yield log
        log.close()


def test_one_line_for_each_injection(log, some_python):
    with target_running(some_python, "idle") as target:
        with Running(["exec", "-q", target.pid, "-e", "'sec' + 'ret'"], under=log.under) as running:
            assert running.finish().expect(0).text == "'secret'\n"
        text, = log.lines()
        match = LINE.fullmatch(text)
        assert match, text
        priority, own_pid, command, uid, _, _, pid, its_uid, version, words, _ = match.groups()
        assert (int(priority), int(own_pid), command, int(uid)) == (AUTHPRIV_NOTICE, running.pid, "exec", 0)
        assert (int(pid), int(its_uid)) == (target.pid, 0) and version.startswith(some_python.number)
        assert "target.py idle" in words
        assert "secret" not in text and "'sec'" not in text
        assert text.endswith("\0") == (log.kind == socket.SOCK_STREAM)
        safepoint("stats", target.pid, under=log.under).expect(0)
        text, = log.lines()
        assert LINE.fullmatch(text).group(3) == "stats"


def test_a_line_for_a_freeze(log, some_python):
    """It has a thread do something; --no-pause only reads."""
    with target_running(some_python, "idle") as target:
        safepoint("heap", "--no-pause", target.pid, under=log.under).expect(0)
        assert log.lines() == []
        safepoint("heap", target.pid, under=log.under).expect(0)
        text, = log.lines()
        assert LINE.fullmatch(text).group(3) == "heap"


def test_a_line_for_each_statement(log, some_python):
    """A console's statements are injections too."""
    with target_running(some_python, "idle") as target:
        safepoint("console", "-q", target.pid, stdin=b"secret = 1\nsecret + 1\n", under=log.under).expect(0)
        lines = [LINE.fullmatch(text) for text in log.lines()]
        assert len(lines) >= 2 and all(match and match.group(3) == "console" for match in lines)
        assert len({match.group(11) for match in lines}) == len(lines)


def test_tried_again_is_no_second_line(log, some_python):
    """A stopped process is tried again and again."""
    with target_running(some_python, "idle") as target:
        os.kill(target.pid, signal.SIGSTOP)
        try:
            safepoint("exec", "--timeout", "500ms", target.pid, "-e", "1", under=log.under).expect(6)
        finally:
            os.kill(target.pid, signal.SIGCONT)
        assert len(log.lines()) == 1


def test_no_line_for_what_runs_no_code(log, some_python):
    with target_running(some_python, "idle") as target:
        for words in (["info", target.pid], ["ps"]):
            safepoint(*words, under=log.under).expect(0)
        as_nobody = log.under + ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        safepoint("exec", target.pid, "-e", "1", under=as_nobody).expect(4)  # refused: nothing was posted
        assert log.lines() == []


@pytest.mark.parametrize("words", ['\n<86>Jan  1 00:00:00 sshd[1]: all is well\x1b]0;x\x07', '", request 0000000000000000', "\\", "\u20ac" * 1000,
                                   "x" * 100000], ids=["lines", "quote", "backslash", "long utf-8", "long"])
def test_words_of_the_target(words, log, some_python):
    """They can't end our line, or pass for another's."""
    with target_running(some_python, "idle", options=["-X", words]) as target:
        safepoint("exec", "-q", target.pid, "-e", "1", under=log.under).expect(0)
        text, = log.lines()
        match = LINE.fullmatch(text)
        assert match and int(match.group(7)) == target.pid, text
        assert not re.search(r"[\x00-\x1f\x7f]", text.rstrip("\0")) and len(text) < 600
        assert not re.search(r'(?<!\\)(\\\\)*"', match.group(10)), text  # no quote of its own that isn't escaped
        assert len(words) < 200 or '..."' in text


def test_without_a_log(some_python):
    with target_running(some_python, "idle") as target:
        answer = safepoint("exec", target.pid, "-e", "6 * 7", under=private_dev(None)).expect(0)
        assert answer.text == "42\n" and "log" not in answer.errors
        assert "/dev/log" in safepoint("exec", "-v", target.pid, "-e", "6 * 7", under=private_dev(None)).expect(0).errors


def test_stuck_log(log, some_python):
    """Nobody reads, and nothing more goes in: syslog(3) would wait here for good."""
    with target_running(some_python, "idle") as target:
        log.fill()
        answer = safepoint("exec", target.pid, "-e", "6 * 7", under=log.under).expect(0)
        assert answer.text == "42\n" and answer.seconds < 5
        assert "/dev/log" in safepoint("exec", "-v", target.pid, "-e", "6 * 7", under=log.under).expect(0).errors
