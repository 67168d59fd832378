# SPDX-License-Identifier: GPL-3.0-or-later
"""What every live test uses: the Pythons of this machine, targets that check themselves, and safepoint itself."""
import atexit
import collections
import contextlib
import dataclasses
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pythons  # noqa: E402

# Started in the background of a script, all of us would ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = os.path.dirname(os.path.abspath(__file__))
SAFEPOINT = os.environ.get("SAFEPOINT", os.path.join(pythons.TOP, "build", "safepoint"))
TARGETS = os.path.join(HERE, "targets")
SANITIZED = "/asan/" in SAFEPOINT
PATIENCE = 30  # seconds after which a thing that should have happened is a failure
CI = os.environ.get("CI") == "true"
EVERY = bool(os.environ.get("SAFEPOINT_EVERY"))  # no test is left out on any Python

_found = None


def found():
    global _found
    if _found is None:
        _found = pythons.find()
    return _found


_open_directory = None


def open_copy(path):
    """A copy of a file where every user can read and run it: the tree itself may lie in a closed directory."""
    global _open_directory
    if _open_directory is None:
        _open_directory = tempfile.mkdtemp(prefix="safepoint-test-")
        os.chmod(_open_directory, 0o755)
        atexit.register(shutil.rmtree, _open_directory, True)
    copy = os.path.join(_open_directory, os.path.basename(path))
    if not os.path.exists(copy):
        shutil.copy2(path, copy)
        os.chmod(copy, 0o755)
    return copy


# ---------------------------------------------------------------- safepoint


@dataclasses.dataclass
class Answer:
    """What one run of safepoint gave."""

    words: list
    status: int
    out: bytes
    err: bytes
    seconds: float
    max_rss: int  # bytes, 0 when it was over at once

    @property
    def text(self):
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def errors(self):
        return self.err.decode("utf-8", "surrogateescape")

    @property
    def json(self):
        value = json.loads(self.text)
        assert isinstance(value, dict) and value["v"] == 1, self.text[:2000]
        return value

    @property
    def result(self):
        value = self.json
        assert value["ok"] is True, value
        return value["result"]

    @property
    def error(self):
        value = self.json
        assert value["ok"] is False, value
        return value["error"]

    def expect(self, status=0):
        assert self.status == status, "%r: exit status %s instead of %s\n--- stdout\n%s\n--- stderr\n%s" % (
            self.words, self.status, status, self.text[:4000], self.errors[:4000])
        return self


class Running:
    """A safepoint that runs, its output going to files."""

    def __init__(self, words, stdin=subprocess.DEVNULL, as_user=None, env=None, stdout=None, under=()):
        self.words = [os.fspath(word) if not isinstance(word, int) else str(word) for word in words]
        under = list(under)  # a program that becomes safepoint, with its words
        if as_user is not None:
            under += ["setpriv", "--reuid", str(as_user), "--regid", str(as_user), "--clear-groups"]
        command = under + [open_copy(SAFEPOINT) if under else SAFEPOINT] + self.words
        self.files = (stdout or tempfile.TemporaryFile(), tempfile.TemporaryFile())
        self.input = None
        if isinstance(stdin, bytes):
            self.input = tempfile.TemporaryFile()
            self.input.write(stdin)
            self.input.seek(0)
            stdin = self.input
        self.began = time.monotonic()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPOINT")}
        environment.update(env or {})
        self.popen = subprocess.Popen(command, stdin=stdin, stdout=self.files[0], stderr=self.files[1], env=environment)
        self.pid = self.popen.pid

    def finish(self, patience=PATIENCE):
        pidfd, end, max_rss = os.pidfd_open(self.pid), time.monotonic() + patience, 0
        try:
            # Its peak by /proc, as long as it runs: wait4() would count what the forked copy of ourselves had before it.
            while not select.select([pidfd], [], [], 0.01)[0]:
                with contextlib.suppress(OSError, IndexError, ProcessLookupError), open("/proc/%d/status" % self.pid) as file:
                    max_rss = max(max_rss, int(file.read().split("VmHWM:")[1].split()[0]) * 1024)
                if time.monotonic() > end:
                    self.popen.kill()
                    self.popen.wait()
                    self.files[1].seek(0)
                    raise AssertionError("%r did not end in %s s\n%s" % (
                        self.words, patience, self.files[1].read()[-4000:].decode(errors="replace")))
        finally:
            os.close(pidfd)
        self.popen.wait()
        seconds = time.monotonic() - self.began
        texts = []
        for file in self.files:
            if file.readable():
                file.seek(0)
                texts.append(file.read())
            else:
                texts.append(b"")
            file.close()
        if self.input:
            self.input.close()
        answer = Answer(self.words, self.popen.returncode, texts[0], texts[1], seconds, max_rss)
        assert answer.status >= 0, "safepoint died of signal %d\n%s" % (-answer.status, answer.errors[-4000:])
        assert answer.status != 70, "safepoint calls it its own bug\n%s" % answer.errors[-4000:]
        assert b"ERROR: AddressSanitizer" not in answer.err and b"runtime error:" not in answer.err, answer.errors[-8000:]
        assert b"ERROR: LeakSanitizer" not in answer.err, answer.errors[-8000:]
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.returncode is None:
            self.popen.kill()
            self.popen.wait()


def safepoint(*words, stdin=subprocess.DEVNULL, as_user=None, env=None, patience=PATIENCE, under=()):
    """Runs safepoint to its end."""
    with Running(words, stdin, as_user, env, under=under) as running:
        return running.finish(patience)


def until_it_waits(pid):
    """Until a process has nothing to do but wait: it sleeps, and has used no processor time since the last look."""
    end = time.monotonic() + PATIENCE
    used = None
    while True:
        with open("/proc/%d/stat" % pid) as file:
            state = file.read().rpartition(")")[2].split()[0]
        with open("/proc/%d/schedstat" % pid) as file:
            ran = file.read()
        assert state != "Z" and time.monotonic() < end, "process %d is not waiting: state %s" % (pid, state)
        if state == "S" and ran == used:
            return
        used = ran
        time.sleep(0.01)


# ---------------------------------------------------------------- targets


class Died(AssertionError):
    pass


class Process:
    """A process that a test started and that it ends by its PID. Its output goes to a file."""

    def __init__(self, command, env=None, stdin=subprocess.DEVNULL, pass_fds=(), cwd=None):
        self.output = tempfile.TemporaryFile()
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("PYTHON") and key not in ("SAFEPOINT", "SAFEPOINT_PYTHONS", "SID")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        environment.update(env or {})
        self.popen = subprocess.Popen(command, stdin=stdin, stdout=self.output, stderr=subprocess.STDOUT, env=environment,
                                      pass_fds=pass_fds, cwd=cwd)
        self.pid = self.popen.pid

    def printed(self):
        position = self.output.tell()
        data = os.pread(self.output.fileno(), 1 << 26, 0)
        assert self.output.tell() == position
        return data

    def alive(self):
        return self.popen.poll() is None

    def wait(self, patience=PATIENCE):
        return self.popen.wait(patience)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self.output.close()

    def proc(self, name):
        with open("/proc/%d/%s" % (self.pid, name)) as file:
            return file.read()

    def descriptors(self):
        directory = "/proc/%d/fd" % self.pid
        table = {}
        for number in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                table[int(number)] = os.readlink(os.path.join(directory, number))
        return table

    def maps(self):
        """The mappings; what the allocator may grow by itself (heap, stack, anonymous) is given as a count of bytes."""
        rows, anonymous = [], 0
        for line in self.proc("maps").splitlines():
            fields = line.split(None, 5)
            start, end = (int(part, 16) for part in fields[0].split("-"))
            path = fields[5] if len(fields) > 5 else ""
            if path and not path.startswith(("[heap]", "[stack", "[anon")):
                rows.append((path, fields[1], fields[2], end - start))
            else:
                anonymous += end - start
        return sorted(rows), anonymous

    def threads(self):
        return sorted(int(tid) for tid in os.listdir("/proc/%d/task" % self.pid))

    def state(self):
        for line in self.proc("status").splitlines():
            if line.startswith("State:"):
                return line.split()[1]

    def tracer(self):
        for line in self.proc("status").splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])


class Speaking(Process):
    """One that answers: a line of JSON each time, on the descriptor that `self.answers` reads."""

    buffered = b""

    def hear(self, patience=PATIENCE):
        end = time.monotonic() + patience
        while b"\n" not in self.buffered:
            if not select.select([self.answers], [], [], max(0, end - time.monotonic()))[0]:
                raise Died("the target does not answer; state %s\n%s" % (self.state(), self.printed()[-4000:].decode(errors="replace")))
            data = os.read(self.answers, 65536)
            if not data:
                raise Died("the target ended by itself: %s\n%s" % (self.popen.wait(PATIENCE), self.printed()[-4000:].decode(errors="replace")))
            self.buffered += data
        line, self.buffered = self.buffered.split(b"\n", 1)
        return json.loads(line)


class Target(Speaking):
    """targets/target.py in a given Python: it shakes hands, answers questions, and at the end says how it was."""

    def __init__(self, python, mode="idle", options=(), env=None, binds=(), life=900, user=None):
        self.python, self.mode = python, mode
        questions, self.questions = os.pipe()
        self.answers, answers = os.pipe()
        binds = [TARGETS, tempfile.gettempdir()] + list(binds)
        script = os.path.join(TARGETS, "target.py")
        if user is not None:
            script = open_copy(script)
        command = python.command(binds, user) + list(options) + [script, mode, str(answers)]
        try:
            super().__init__(command, dict({"TARGET_LIFE": str(life)}, **(env or {})), questions, (answers,))
        finally:
            os.close(questions)
            os.close(answers)
        assert self.hear() == "ready"

    def tell(self, question):
        os.write(self.questions, (json.dumps(question) + "\n").encode())

    def ask(self, expression):
        """The value of an expression in the target, by its own hand (not by safepoint)."""
        self.tell("eval " + expression)
        answer = self.hear()
        assert "error" not in answer, "%s: %s" % (expression, answer["error"])
        return answer["ok"]

    def until_blocked(self):
        """Until the main thread of an idle target waits in its read."""
        until_it_waits(self.pid)
        return self.pid

    def do(self, code):
        self.tell("exec " + code)
        answer = self.hear()
        assert "error" not in answer, "%s: %s" % (code, answer["error"])

    def end(self):
        """Ends it and checks that nothing had gone wrong in it."""
        assert self.tracer() == 0
        self.tell("quit ")
        verdict = self.hear()["verdict"]
        status = self.popen.wait(PATIENCE)
        printed = self.printed()
        self.close()
        assert status == 0 and verdict["bad"] == [] and verdict["failure"] is None, (status, verdict, printed[-4000:])
        return verdict

    def close(self):
        self.kill()
        for fd in (self.questions, self.answers):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.questions = self.answers = -1

    @property
    def posts_by_struct(self):
        """3.14 and later: the debugger-support struct, and switches that turn it off."""
        return self.python.minor >= (3, 14)


@contextlib.contextmanager
def target_running(python, mode="idle", **keywords):
    """A target that ends well at the end of the block, or the test fails."""
    target = Target(python, mode, **keywords)
    try:
        yield target
        if mode == "stuck":
            assert target.alive()
        else:
            target.end()
    finally:
        target.close()


def copied(python, directory):
    """Copies the file with the runtime (libpython, or the executable itself); gives the python to start, its environment, and the copy."""
    if python.shared:
        output = subprocess.run(python.command() + ["-c", "print([l.split(None, 5)[5].strip() for l in open('/proc/self/maps') if 'libpython' in l][0])"],
                                stdout=subprocess.PIPE, check=True).stdout
        source = os.fsdecode(output).strip()
        copy = os.path.join(directory, os.path.basename(source))
        shutil.copy2(python.root + source, copy)
        return python, {"LD_PRELOAD": copy}, copy
    copy = os.path.join(directory, os.path.basename(python.path))
    shutil.copy2(os.path.realpath(python.outside_path), copy)
    os.chmod(copy, 0o755)
    return dataclasses.replace(python, path=copy), {"PYTHONHOME": python.prefix}, copy


# ---------------------------------------------------------------- fixtures


def sample():
    """For what hardly depends on the version: the oldest, one that is static, the newest, the newest debug build."""
    plain = [python for python in found().supported if not python.debug]
    static = [python for python in plain if not python.shared and not python.root]
    debug = [python for python in found().supported if python.debug]
    return list({python.id: python for python in plain[:1] + static[:1] + plain[-1:] + debug[-1:]}.values())


def one_of_each_minor():
    """What is computed over a heap's graph: that the graph is right is seen on all (tests/heap)."""
    return list({python.minor: python for python in reversed(found().supported) if not python.debug}.values())[::-1]


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker
        chosen = found().supported
        if marked("graph") and not EVERY:
            chosen = one_of_each_minor()
        elif marked("long") and not EVERY:
            chosen = [python for python in chosen if not python.debug]
        metafunc.parametrize("python", chosen, ids=[python.id for python in chosen], scope="module")
    if "new_python" in metafunc.fixturenames:
        chosen = [python for python in found().supported if python.minor >= (3, 14)]
        metafunc.parametrize("new_python", chosen, ids=[python.id for python in chosen], scope="module")
    if "sample_python" in metafunc.fixturenames:
        chosen = sample()
        metafunc.parametrize("sample_python", chosen, ids=[python.id for python in chosen], scope="module")
    if "old_python" in metafunc.fixturenames:
        chosen = [python for python in found().unsupported if python.minor < (3, 8)]
        metafunc.parametrize("old_python", chosen, ids=[python.id for python in chosen], scope="module")


@pytest.fixture(scope="module")
def shared_targets():
    """One target of each kind for the tests of a module on one Python; ended, and checked, after the last one."""
    kept = {}
    yield kept
    failures = []
    for target in kept.values():
        try:
            target.end()
        except AssertionError as error:
            failures.append(str(error))
        finally:
            target.close()
    assert not failures, failures


def shared(kept, python, mode):
    key = (python.id, mode)
    # Others' targets are ended first: at most one Python's are alive at a time.
    for other in [other for other in kept if other[0] != python.id]:
        target = kept.pop(other)
        try:
            target.end()
        finally:
            target.close()
    if key in kept and not kept[key].alive():
        kept.pop(key).close()
    if key not in kept:
        kept[key] = Target(python, mode)
    return kept[key]


@pytest.fixture
def idle(python, shared_targets):
    target = shared(shared_targets, python, "idle")
    yield target
    still_well(target)


@pytest.fixture
def busy(python, shared_targets):
    target = shared(shared_targets, python, "busy")
    yield target
    still_well(target)


def still_well(target):
    """After each test on a shared target: it answers, nobody traces it, it is not stopped."""
    assert target.alive(), "the target died: %s\n%s" % (target.popen.returncode, target.printed()[-4000:])
    assert target.ask("MARK") == "the target's own"
    assert target.ask("BAD") == []
    assert target.tracer() == 0
    assert target.state() in "RSD"


@pytest.fixture(scope="session")
def some_python():
    """For what does not depend on the version: this machine's own, or the first."""
    chosen = [python for python in found().supported if not python.root and not python.debug]
    return (chosen or found().supported)[-1]


NOBODY = 65534


@pytest.fixture(scope="session")
def open_python():
    """One that every user may run."""
    for python in found().supported:
        if not python.root and python.runs_as(NOBODY):
            return python
    pytest.skip("no Python that another user may run")


@pytest.fixture
def open_tmp_path():
    """A directory that other users can read."""
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        os.chmod(directory, 0o755)
        yield directory


# ---------------------------------------------------------------- order, and what is said at the end


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        callspec = getattr(item, "callspec", None)
        parts = [item.path.stem]
        for name in ("python", "sample_python", "new_python", "old_python"):
            if callspec and name in callspec.params:
                parts.append(callspec.params[name].id)
        # One worker for one module on one Python: its tests share targets.
        item.add_marker(pytest.mark.xdist_group("-".join(parts)))


def pytest_configure(config):
    if not os.access(SAFEPOINT, os.X_OK):
        raise pytest.UsageError("no %s: run `make`, or set SAFEPOINT" % SAFEPOINT)


_counts = collections.defaultdict(collections.Counter)


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        for python in found().supported:
            if re.search(r"[\[-]%s[\]-]" % re.escape(python.id), report.nodeid):
                _counts[python.id][report.outcome] += 1


def untested():
    """Pythons that this machine should have given and that no test passed on."""
    lines = ["%s: %s" % missing for missing in found().missing]
    lines += ["%s: no test passed on it" % python.id for python in found().supported if not _counts[python.id]["passed"]]
    return lines


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("Pythons")
    for python in found().supported:
        counts = ", ".join("%d %s" % (count, outcome) for outcome, count in sorted(_counts[python.id].items()))
        where = python.path if not python.root else "%s in build/%s" % (python.path, os.path.basename(python.root))
        terminalreporter.write_line("%-10s %-30s %s" % (python.id, counts or "not tested", where.replace(os.path.expanduser("~"), "~")))
    covered = {python.minor for python in found().supported}
    for minor in pythons.SUPPORTED:
        if minor not in covered:
            terminalreporter.write_line("%-10s not on this machine: skipped" % ("%d.%d" % minor))
    for what, reason in found().missing:
        terminalreporter.write_line("skipped: %s: %s" % (what.replace(os.path.expanduser("~"), "~"), reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """In CI a Python that could be had and was not tested fails the run."""
    if CI and not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        lines = untested()
        if lines and exitstatus == 0:
            session.exitstatus = 1
            for line in lines:
                print("not tested though CI asks for it: %s" % line, file=sys.stderr)
