# SPDX-License-Identifier: GPL-3.0-or-later
"""The freeze: the memory of a target at its safe point, which stays as it was while the target goes on; and nothing of it is
seen in the target, or left with it. Taken by tests/freeze/freeze.c, which looks at it twice."""
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time

import pytest

import matrix
from conftest import PATIENCE, SAFEPOINT, Running, open_copy, target_running, until_it_waits
from matrix import blocked
from programs import Program, Traces
from test_seccomp import INSTALL

FREEZE = os.path.join(os.path.dirname(SAFEPOINT), "freeze")
SITUATIONS = ["busy", "eight", "worker", "joined", "paused", "idle"]


def freeze(target, *words, status=0):
    """What the program says of a freeze."""
    done = subprocess.run([FREEZE, str(target.pid), *[str(word) for word in words]], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == status and not done.stderr, (done.returncode, done.stdout, done.stderr[-3000:])
    return json.loads(done.stdout)


def children(pid):
    """Also those that are dead and not yet removed."""
    found = []
    for tid in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(FileNotFoundError), open("/proc/%d/task/%s/children" % (pid, tid)) as file:
            found += file.read().split()
    return found


class Frozen(Program):
    def __init__(self, python, situation, objects=0, **keywords):
        super().__init__(python, "frozen", [situation, objects], **keywords)
        places = self.hear(120)
        self.words = ["count", places["count"], "pattern", places["pattern"]]

    def freeze(self, *words, status=0):
        return freeze(self, *self.words, *words, status=status)

    def end(self):
        assert children(self.pid) == [] and self.tracer() == 0
        self.say_no_more()
        verdict = self.hear()
        assert verdict["bad"] == [] and verdict["seen"] == [], verdict
        assert self.wait() == 0, self.printed()[-3000:]


@contextlib.contextmanager
def frozen(python, situation, objects=0, **keywords):
    with Frozen(python, situation, objects, **keywords) as target:
        yield target
        target.end()


def check(answer, way, moves=True, safe=True):
    """It stood still, at a safe point, while the target went on."""
    assert (answer["way"], answer["at_safe_point"]) == (way, safe), answer
    assert answer["frozen"][0] == answer["frozen"][1], answer
    assert answer["uniform"] or not safe, answer
    assert answer["live"][1] > answer["live"][0] or not moves, answer
    assert answer["left"] == "" and 0 < answer["pause_us"] < 10e6, answer
    assert not safe or answer["why"] == "", answer


@pytest.mark.parametrize("situation", SITUATIONS)
def test_situations(python, situation):
    with frozen(python, situation) as target:
        time.sleep(0.05)  # into its work, wherever that is
        traces = Traces(target)
        for _ in range(3):
            answer = target.freeze("hold", 60)
            check(answer, "child")
            assert answer["refused"] == "" and (answer["tid"] == 0 or situation != "idle"), answer
            assert children(target.pid) == []
        check(target.freeze("hold", 60, "fork", "no"), "copy")
        assert not [sentence for sentence in traces.differ() if not sentence.startswith("anonymous bytes")]


@pytest.mark.parametrize("situation", ["busy", "idle"])
def test_without_a_pause(sample_python, situation):
    with frozen(sample_python, situation) as target:
        answer = target.freeze("hold", 60, "pause", "no")
        assert (answer["way"], answer["at_safe_point"], answer["pause_us"]) == ("live", False, 0)
        assert answer["why"] and answer["frozen"][1] > answer["frozen"][0]


def until_it_computes(target):
    """Until it is well inside of its long call in C."""
    end, first = time.monotonic() + PATIENCE, None
    while True:
        with open("/proc/%d/schedstat" % target.pid) as file:
            used = int(file.read().split()[0])
        first = used if first is None else first
        if used - first > 100e6:
            return
        assert time.monotonic() < end
        time.sleep(0.01)


def test_as_it_is(sample_python):
    """C code that holds the GIL for good: stopped at the deadline where it is, and that is said."""
    with target_running(sample_python, "stuck") as target:
        until_it_computes(target)
        for words, way in (((), "child"), (("fork", "no"), "copy")):
            answer = freeze(target, "timeout", 200, *words)
            check(answer, way, moves=False, safe=False)
            assert "holding the GIL" in answer["why"], answer
        assert children(target.pid) == [] and target.tracer() == 0


def test_that_a_torn_one_would_be_seen(sample_python):
    """Without a safe point the pattern is found half set: else the tests above could not fail."""
    with frozen(sample_python, "busy") as target:
        answers = [target.freeze("timeout", 0) for _ in range(30)]
        assert not any(answer["at_safe_point"] for answer in answers)
        assert not all(answer["uniform"] for answer in answers)


def test_stopped(sample_python):
    """By SIGSTOP, which it stays."""
    with frozen(sample_python, "idle") as target:
        os.kill(target.pid, signal.SIGSTOP)
        end = time.monotonic() + PATIENCE
        while target.state() != "T":
            assert time.monotonic() < end
        check(target.freeze("timeout", 5000), "copy", moves=False)
        assert target.state() == "T"
        os.kill(target.pid, signal.SIGCONT)
        check(target.freeze("hold", 60), "child")
        # It has handled SIGCONT, which is ours.
        target.say_no_more()
        assert target.hear()["seen"] == [signal.SIGCONT]
        assert target.wait() == 0
        target.end = lambda: None


def test_what_it_closes_is_closed(sample_python):
    """The child holds no descriptor of the target's: a peer sees the end at once."""
    with socket.create_server(("127.0.0.1", 0)) as server, target_running(sample_python, "idle") as target:
        target.do("import socket\nCONNECTION = socket.create_connection(('127.0.0.1', %d))" % server.getsockname()[1])
        peer = server.accept()[0]
        with peer, subprocess.Popen([FREEZE, str(target.pid), "hold", "60000"], stdin=subprocess.DEVNULL) as popen:
            until_it_has_a_child(target, popen)
            target.do("CONNECTION.close()")
            peer.settimeout(PATIENCE)
            assert peer.recv(1) == b"" and popen.poll() is None
            popen.kill()
        assert freeze(target)["cleared"] == 1


def test_that_becomes_another_program(sample_python):
    """By execve(), while it is held: the child is removed all the same."""
    with target_running(sample_python, "idle") as target:
        popen = subprocess.Popen([FREEZE, str(target.pid), "hold", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until_it_has_a_child(target, popen)
        target.tell("exec import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(100)'])")
        assert popen.wait(PATIENCE) == 0
        assert "time.sleep" in target.proc("cmdline") and children(target.pid) == []
        target.kill()
        target.end = lambda: None


def until_it_has_a_child(target, popen):
    """The freeze is taken."""
    end = time.monotonic() + PATIENCE
    while not children(target.pid):
        assert time.monotonic() < end and popen.poll() is None
        time.sleep(0.005)
    time.sleep(0.05)


def test_interrupted(sample_python):
    """While there is no safe point: everything is undone."""
    with target_running(sample_python, "stuck") as target:
        until_it_computes(target)
        with subprocess.Popen([FREEZE, str(target.pid), "timeout", "60000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as popen:
            end = time.monotonic() + PATIENCE
            while not target.tracer():  # it waits for the main thread
                assert time.monotonic() < end and popen.poll() is None
                time.sleep(0.001)
            popen.send_signal(signal.SIGINT)
            answer = json.loads(popen.stdout.read())
            assert popen.wait(PATIENCE) == 130 and answer["error"] == "INTERRUPTED", answer
        assert target.tracer() == 0 and children(target.pid) == []


OWN_GIL = """
import threading
import %s as interpreters
ID = %s
RUNNING = threading.Thread(target=interpreters.%s, args=(ID, "x = 1\\nwhile x: pass"), daemon=True)
RUNNING.start()
"""


def test_another_gil(python):
    """An interpreter with a GIL of its own (3.12+) that runs is at no safe point of ours: that is said."""
    words = {(3, 12): ("_xxsubinterpreters", "interpreters.create(isolated=True)", "run_string"),
             (3, 13): ("_interpreters", "interpreters.create()", "run_string")}
    if python.minor < (3, 12):
        pytest.skip("one GIL for all of its interpreters")
    with target_running(python, "busy") as target:
        target.do(OWN_GIL % words[min(python.minor, (3, 13))])
        time.sleep(0.3)  # until it runs; when it doesn't yet, the answer is another
        answers = [freeze(target) for _ in range(5)]
        assert any(not answer["at_safe_point"] and "GIL of its own" in answer["why"] for answer in answers), answers
        assert all(answer["way"] == "child" for answer in answers)
        target.kill()
        target.end = lambda: None


# ---------------------------------------------------------------- blocked in every way


class FrozenCall(matrix.Run):
    """A case of targets/blocked.py: its call goes on as if nothing had been."""

    def look(self):
        self.ran, self.started, own = [], time.monotonic(), children(self.target.pid)
        holds = "GIL" in (self.case.named or "")
        for words in ((), ("fork", "no"), ()):
            answer = freeze(self.target, "timeout", 300 if holds else 10000, *words)
            self.answered = time.monotonic()
            self.outcome.check(answer["left"] == "" and children(self.target.pid) == own, "something is left: %s", answer)
            self.outcome.check(answer["at_safe_point"] != holds, "not frozen as it should be: %s", answer)
        self.ran.append(self.answered)

    def run(self):
        try:
            self.prepare()
        except BaseException:
            self.barrier.abort()
            raise
        self.barrier.wait(PATIENCE)
        self.begin()
        self.look()
        self.end.finish(self.target, self.ready)
        self.released = self.answered
        self.answer = self.target.hear()
        self.check_call()
        self.target.say_no_more()
        self.target.hear()
        self.outcome.check(self.target.wait() == 0, "it did not end well")
        return self.outcome


@pytest.fixture(scope="module")
def outcomes(sample_python):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix, "Run", FrozenCall)
        return {outcome.case.name: outcome for outcome in matrix.run_matrix(sample_python)}


@pytest.mark.parametrize("name", [case.name for case in blocked.CASES])
def test_blocked(outcomes, name):
    assert not outcomes[name].problems, "\n".join(outcomes[name].problems)


# ---------------------------------------------------------------- no child to be had


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's limit")
def test_process_limit(open_python):
    """At its limit of processes it can't fork: copied, and the target has no more than it had."""
    script = open_copy(os.path.join(matrix.TARGETS, "frozen.py"))
    user = 64321  # nobody's
    command = open_python.command(user=user)

    def start():
        reading, control = os.pipe()
        answers, writing = os.pipe()
        popen = subprocess.Popen(["prlimit", "--nproc=1:1"] + command + [script, str(reading), str(writing), "busy", "0"],
                                 pass_fds=(reading, writing))
        os.close(reading), os.close(writing)
        return popen, control, answers

    popen, control, answers = start()
    try:
        places = json.loads(os.read(answers, 1000))
        popen_target = type("Popen", (), {"pid": popen.pid})
        answer = freeze(popen_target, "count", places["count"], "pattern", places["pattern"], "hold", 50)
        check(answer, "copy")
        assert "limit on processes" in answer["refused"], answer
        os.close(control)
        control = -1
        verdict = json.loads(os.read(answers, 1000))
        assert verdict["bad"] == [] and verdict["seen"] == []
        assert popen.wait(PATIENCE) == 0
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        os.close(answers)
        if control >= 0:
            os.close(control)


FILTERS = {"EPERM for clone": ("install({56: EPERM}, ALLOW)", "clone"),
           "kills clone": ("install({56: KILL}, ALLOW)", "clone"),
           "kills wait4": ("install({61: KILL}, ALLOW)", "wait4"),
           "allows all": ("install({}, ALLOW)", "")}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are x86_64's")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read a filter")
@pytest.mark.parametrize("mode", ["idle", "busy"])
@pytest.mark.parametrize("name", FILTERS)
def test_filter(sample_python, name, mode):
    code, refused = FILTERS[name]
    with target_running(sample_python, mode) as target:
        target.do(INSTALL + code)
        if mode == "idle":
            target.until_blocked()
        answer = freeze(target)
        check(answer, "copy" if refused else "child", moves=False)
        assert refused in answer["refused"], answer
        assert target.ask("1 + 1") == 2 and children(target.pid) == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are x86_64's")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read a filter")
def test_filter_without_a_safe_point(sample_python):
    """Its raise() would kill it: read when nobody has the GIL, or as it is, and said so."""
    with target_running(sample_python, "busy") as target:
        target.do(INSTALL + "install({234: KILL}, ALLOW)")
        answer = freeze(target)
        assert answer["at_safe_point"] or "tgkill" in answer["why"], answer
        assert target.ask("1 + 1") == 2


@pytest.mark.parametrize("taken", [[signal.SIGURG], [signal.SIGURG, signal.SIGWINCH]])
def test_signals_of_its_own(sample_python, taken):
    """Where it handles one that we would use, another is used; its handlers never see one."""
    with target_running(sample_python, "busy") as target:
        target.do("SEEN = []\nfor number in %r:\n    signal.signal(number, lambda number, frame: SEEN.append(number))"
                  % [int(number) for number in taken])
        check(freeze(target), "child", moves=False)
        assert target.ask("SEEN") == []


# ---------------------------------------------------------------- memory limits


class Group:
    """A memory control group, version 1 or 2."""

    def __init__(self):
        old = os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        self.path = "/sys/fs/cgroup/%ssafepoint-test-%d" % ("memory/" if old else "", os.getpid())
        self.limit_name = "memory.limit_in_bytes" if old else "memory.max"
        self.used_name = "memory.usage_in_bytes" if old else "memory.current"
        os.mkdir(self.path)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

    def used(self):
        with open(os.path.join(self.path, self.used_name)) as file:
            return int(file.read())

    def close(self):
        os.rmdir(self.path)


@pytest.fixture
def group():
    try:
        made = Group()
        made.write(made.limit_name, 1 << 40)
    except OSError as error:
        pytest.skip("no memory control group can be made here: %s" % error)
    yield made
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            made.close()
            return
        assert time.monotonic() < end
        time.sleep(0.05)


def test_memory_limit(sample_python, group):
    """Near its limit it is copied: our memory isn't its own. With room again it is forked."""
    with frozen(sample_python, "busy", 50000) as target:
        group.write("cgroup.procs", target.pid)
        target.proc("status")
        answer = target.freeze("room", "cgroup", "hold", 50)
        check(answer, "child")
        room = 1 << 20
        answer = target.freeze("room", room, "hold", 50)
        check(answer, "copy")
        assert "memory limit" in answer["refused"], answer
    with Frozen(sample_python, "busy", 0) as target:
        group.write("cgroup.procs", target.pid)
        group.write(group.limit_name, group.used() + (8 << 20))
        answer = target.freeze("room", "cgroup", "hold", 50)
        check(answer, "copy")
        assert "memory limit" in answer["refused"], answer
        group.write(group.limit_name, 1 << 40)
        check(target.freeze("room", "cgroup", "hold", 50), "child")
        target.end()


# ---------------------------------------------------------------- large heaps


@pytest.mark.slow
def test_a_million_objects(sample_python):
    if sample_python.debug:
        pytest.skip("it takes long to make them")
    with frozen(sample_python, "busy", 1000000) as target:
        for words, way in (((), "child"), (("fork", "no"), "copy")):
            answer = target.freeze("hold", 200, *words)
            check(answer, way)
            assert answer["pause_us"] < 2e6, answer  # (a machine that is busy with others)


# ---------------------------------------------------------------- killed


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("situation", ["busy", "worker", "idle"])
def test_killed(sample_python, situation):
    """By SIGKILL at random instants: the target goes on, no child is left that lives, and the next one clears away what died."""
    choice = random.Random(4)
    with frozen(sample_python, situation, 20000) as target:
        target.freeze()
        took = time.monotonic()
        check(target.freeze("hold", 10), "child", moves=False)
        took = time.monotonic() - took
        zombies = 0
        traces = Traces(target)
        for _ in range(40):
            popen = subprocess.Popen([FREEZE, str(target.pid), "hold", "10"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(choice.uniform(0, 1.2 * took))
            popen.kill()
            popen.wait()
            zombies = max(zombies, len(children(target.pid)))
            check_only_dead(target)
        answer = target.freeze()
        check(answer, "child", moves=False)
        assert children(target.pid) == [], (answer, zombies)
        assert target.tracer() == 0
        assert not [sentence for sentence in traces.differ() if not sentence.startswith("anonymous bytes")]


def check_only_dead(target):
    """A child of ours that isn't dead dies by itself, and soon."""
    end = time.monotonic() + PATIENCE
    for child in children(target.pid):
        while True:
            try:
                with open("/proc/%s/stat" % child) as file:
                    state = file.read().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                break
            if state in "ZX":
                break
            assert time.monotonic() < end, "child %s lives: %s" % (child, state)
            time.sleep(0.005)


def test_zombies_are_cleared(sample_python):
    """Killed while it holds a freeze: its child is killed with it, and removed by the next."""
    with frozen(sample_python, "busy") as target:
        with open(os.devnull, "w") as nowhere:
            popen = subprocess.Popen([FREEZE, str(target.pid), "hold", "20000"], stdin=subprocess.DEVNULL, stdout=nowhere)
        until_it_has_a_child(target, popen)
        popen.kill()
        popen.wait()
        check_only_dead(target)
        assert len(children(target.pid)) == 1
        answer = target.freeze()
        assert answer["cleared"] == 1 and children(target.pid) == []


def test_somebody_elses_children_stay(sample_python):
    """Zombies that the target has of its own, also of clone() without a signal, are not ours to remove."""
    with target_running(sample_python, "idle") as target:
        target.do("import ctypes\nlibc = ctypes.CDLL(None)\nPID = os.fork()\nif PID == 0: os._exit(7)\n")
        end = time.monotonic() + PATIENCE
        while len(children(target.pid)) != 1:
            assert time.monotonic() < end
        target.until_blocked()
        answer = freeze(target)
        assert answer["cleared"] == 0 and len(children(target.pid)) == 1
        assert target.ask("[os.waitpid(-1, 0)[1] >> 8, PID > 0]") == [7, True]
