# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets in odd homes: other namespaces, another root, a program that isn't called python, workers of a server.
(Files that are deleted or damaged are in test_images.py too, user namespaces that refuse us in test_permission.py.)"""
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import pytest

from conftest import NOBODY, PATIENCE, TARGETS, Process, Running, copied, found, safepoint, target_running, until_it_waits
from programs import Traces
from test_permission import AS_NOBODY, Under, needs_no_yama

pytestmark = pytest.mark.long

EMBED = os.path.join(TARGETS, "embed.c")
CHANNELS = ["passed", "directory"]
PRIVATE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
POWERLESS = ["setpriv", "--bounding-set", "-sys_admin,-checkpoint_restore"] if os.geteuid() == 0 else []  # may not open /proc/PID/map_files
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make such a home")


def pytest_generate_tests(metafunc):
    """One Python of each kind that homes make a difference to: without native ids in its threads, with them, and one that
    takes requests by the debugger-support struct."""
    if "dweller" in metafunc.fixturenames:
        usual = [python for python in found().supported if not python.debug]
        kinds = [[python for python in usual if python.minor < (3, 11)], [python for python in usual if (3, 11) <= python.minor < (3, 14)],
                 [python for python in usual if python.minor >= (3, 14)]]
        chosen = [kind[0] for kind in kinds if kind]
        metafunc.parametrize("dweller", chosen, ids=[python.id for python in chosen], scope="module")


def ps_row(pid):
    rows = safepoint("ps", "--json").expect(0).result["processes"]
    found = [row for row in rows if row["pid"] == pid]
    assert len(found) == 1, (pid, rows)
    return found[0]


def is_known(target, container=None):
    """info and ps tell what it is and where."""
    container = container or ("yes" if target.python.root else None)
    row, whole = ps_row(target.pid), safepoint("info", "--json", target.pid).expect(0).json
    assert row["python"] == whole["target"]["python"] and target.python.number in row["python"]
    assert row["container"] == whole["result"]["container"] == container
    assert row["can_attach"] is True and whole["result"]["can_attach"] is True
    assert sorted(thread["tid"] for thread in whole["result"]["threads"] if thread["tid"]) == target.threads()


def runs(pid, *words):
    """Value, output, exception; what the process says of itself."""
    def run(*code, status=0):
        return safepoint("exec", "-q", *words, pid, *code).expect(status)

    assert run("-e", "sys.modules['__main__'].MARK").text == "\"the target's own\"\n"
    answer = run("-c", "import sys; print('out'); print('err', file=sys.stderr)")
    assert (answer.text, answer.errors) == ("out\n", "err\n")
    answer = run("-c", "def deep(): 1/0\ndeep()", status=7)
    assert "in deep" in answer.errors and "ZeroDivisionError" in answer.errors


def serves(target, *words):
    """... and nothing is left of it, and the target goes on."""
    runs(target.pid, *words)  # the first exception of a process imports what shows it
    traces = Traces(target)
    runs(target.pid, *words)
    assert traces.left() == []
    assert target.ask("sum(range(1000))") == 499500


# ---------------------------------------------------------------- mount and network namespaces


@needs_root
@pytest.mark.parametrize("channel", CHANNELS)
def test_mount_namespace(dweller, channel):
    """As a service with a /tmp of its own, which is no container."""
    if any(path.startswith("/tmp/") for path in (TARGETS, dweller.path)):
        pytest.skip("a /tmp of its own needs the tests elsewhere")
    home = Under(dweller, *PRIVATE, 'mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh")
    with target_running(home, "idle") as target:
        assert os.readlink("/proc/%d/ns/mnt" % target.pid) != os.readlink("/proc/self/ns/mnt")
        is_known(target)
        serves(target, "--channel", channel)
        assert os.listdir("/proc/%d/root/tmp" % target.pid) == []


@needs_root
@pytest.mark.parametrize("channel", CHANNELS)
def test_network_namespace(dweller, channel):
    with target_running(Under(dweller, "unshare", "--net"), "idle") as target:
        assert os.readlink("/proc/%d/ns/net" % target.pid) != os.readlink("/proc/self/ns/net")
        is_known(target)
        serves(target, "--channel", channel)


# ---------------------------------------------------------------- pid namespaces


@contextlib.contextmanager
def in_pid_namespace(python, *words, depth=1, user=None):
    """The target of words that end in unshare --fork: its child, known by the child's PID."""
    with target_running(Under(python, *words), "idle", user=user) as target:
        for _ in range(depth):
            with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as file:
                target.pid = int(file.read().split()[0])
        yield target


UNSHARE_PID = ["unshare", "--pid", "--fork", "--kill-child"]
PID_HOMES = {"its own proc": (UNSHARE_PID + ["--mount-proc"], 1), "the proc outside": (UNSHARE_PID, 1),
             "two deep": ((UNSHARE_PID + ["--mount-proc"]) * 2, 2)}
WORKER = """
import os, threading
WORKER = []
READING, WRITING = os.pipe()
def work():
    WORKER.append(int(os.readlink("/proc/thread-self").split("/")[-1]))
    os.read(READING, 1)
worker = threading.Thread(target=work)
worker.start()
while not WORKER: pass
"""
END_WORKER = "os.write(WRITING, b'x'); worker.join(); os.close(READING); os.close(WRITING)"


@needs_root
@pytest.mark.parametrize("home", PID_HOMES)
def test_pid_namespace(dweller, home):
    words, depth = PID_HOMES[home]
    with in_pid_namespace(dweller, *words, depth=depth) as target:
        assert target.ask("os.getpid()") == 1
        is_known(target, container="yes")
        for channel in CHANNELS:
            serves(target, "--channel", channel)
        answer = safepoint("exec", "--json", target.pid, "-e", "os.getpid()").expect(0)
        assert answer.json["target"]["pid"] == target.pid
        assert (answer.result["value"], answer.result["thread"]) == ("1", target.pid)


@needs_root
def test_threads_by_both_ids(dweller):
    """A thread goes by its id here and by the one inside; what we tell is the one here."""
    with in_pid_namespace(dweller, *UNSHARE_PID, "--mount-proc") as target:
        target.do(WORKER)
        inner, outer = target.ask("WORKER[0]"), max(target.threads())
        assert inner < 100 and inner != outer
        for thread, native, tid in [("1", 1, target.pid), (target.pid, 1, target.pid), (inner, inner, outer), (outer, inner, outer),
                                    ("main", 1, target.pid)]:
            result = safepoint("exec", "--json", "--thread", thread, target.pid, "-e", "__import__('_thread').get_native_id()").result
            assert (result["value"], result["thread"]) == (str(native), tid), thread
        threads = {thread["tid"]: thread["main"] for thread in safepoint("info", "--json", target.pid).expect(0).result["threads"]}
        assert threads == {target.pid: True, outer: False}
        result = safepoint("exec", "--json", "--thread", "new", target.pid, "-e", "__import__('_thread').get_native_id()").result
        assert inner < int(result["value"]) < 100 and result["thread"] != int(result["value"])
        target.do(END_WORKER)
        serves(target)


# ---------------------------------------------------------------- user namespaces


USER_HOMES = {"user": (["unshare", "--user", "--map-root-user"], None),
              "all": (["unshare", "--user", "--map-root-user", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child",
                       "--mount-proc"], "yes")}


@pytest.fixture
def as_user():
    """Words that make somebody without privilege of us, when we have some."""
    return AS_NOBODY if os.geteuid() == 0 else []


@needs_no_yama
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("home", USER_HOMES)
def test_user_namespace(open_python, as_user, home, channel):
    """As rootless containers have them: root inside, and outside a user like any other, who may attach as may root."""
    words, container = USER_HOMES[home]
    with in_pid_namespace(open_python, *as_user, *words, depth=1 if container else 0, user=NOBODY if as_user else None) as target:
        assert os.readlink("/proc/%d/ns/user" % target.pid) != os.readlink("/proc/self/ns/user")
        assert target.ask("os.getuid()") == 0
        serves(target, "--channel", channel)
        if as_user:
            is_known(target, container)
            safepoint("exec", "--channel", channel, target.pid, "-e", "1", as_user=NOBODY).expect(0)
            traces = Traces(target)
            answer = safepoint("exec", "--json", "--channel", channel, target.pid, "-c", "import os; print(os.getuid(), os.getpid())",
                               as_user=NOBODY)
            assert answer.result["stdout"] == "0 %d\n" % (1 if container else target.pid)
            assert traces.left() == []


# ---------------------------------------------------------------- another root


ENTER = r"""
root=$1 source=$2 proc=$3 writable=$4 targets=$5
shift 5
mount -t tmpfs tmpfs "$root"
for path in "$source"/*; do
    name=${path#"$source"}
    case $name in
        /proc | /sys | /dev | /tmp | /var | /run) continue ;;
    esac
    if [ -L "$path" ]; then
        cp -P "$path" "$root$name"
    elif [ -d "$path" ]; then
        mkdir "$root$name"
        mount --rbind "$path" "$root$name"
        mount -o remount,bind,ro "$root$name"
    fi
done
mkdir -p "$root/proc" "$root/tmp" "$root$targets"
mount --bind "$targets" "$root$targets"
[ "$proc" = no ] || mount --rbind /proc "$root/proc"
[ "$writable" = yes ] || mount -o remount,ro "$root"
exec chroot "$root" "$@"
"""


class Chroot(Under):
    """A Python in a root of its own, of which only /tmp can be written, or nothing; with or without a /proc."""

    def __init__(self, python, directory, proc, writable):
        super().__init__(python)
        self.made = PRIVATE[:-1] + ["-euc", ENTER, "sh", directory, python.root, proc, writable, TARGETS]

    def command(self, binds=(), user=None):
        return self.made + [self.python.path]


def in_chroot(dweller, directory, proc, writable, mode="idle"):
    return target_running(Chroot(dweller, directory, proc, writable), mode)


@needs_root
@pytest.mark.parametrize("writable", ["yes", "no"], ids=["writable", "read-only"])
@pytest.mark.parametrize("proc", ["yes", "no"], ids=["proc", "no-proc"])
def test_chroot(dweller, tmp_path, proc, writable):
    with in_chroot(dweller, str(tmp_path), proc, writable) as target:
        there = os.listdir("/proc/%d/root/tmp" % target.pid)
        assert target.ask("os.path.exists('/proc/self')") is (proc == "yes")
        assert target.ask("os.access('/tmp', os.W_OK)") is (writable == "yes")
        is_known(target, container="yes")
        serves(target)
        if writable == "yes":
            serves(target, "--channel", "directory")
        else:
            answer = safepoint("exec", "--channel", "directory", target.pid, "-e", "1").expect(5)
            assert "no directory in which we may put a socket" in answer.errors and "writable /tmp" in answer.errors
        assert os.listdir("/proc/%d/root/tmp" % target.pid) == there


@needs_root
@pytest.mark.parametrize("writable", ["yes", "no"], ids=["writable", "read-only"])
def test_thread_in_a_bare_chroot(dweller, tmp_path, writable):
    """Without a /proc another thread than the main one is given its script as a file, where it is by the debugger-support struct."""
    with in_chroot(dweller, str(tmp_path), "no", writable) as target:
        there = os.listdir("/proc/%d/root/tmp" % target.pid)
        target.do(WORKER.replace('int(os.readlink("/proc/thread-self").split("/")[-1])', "threading.get_native_id()"))
        thread = target.ask("WORKER[0]")
        if target.posts_by_struct and writable == "no":
            answer = safepoint("exec", "--thread", thread, target.pid, "-e", "1").expect(5)
            assert "no directory in which we may put a socket" in answer.errors and "hint: " in answer.errors
        else:
            serves(target, "--thread", thread)
        target.do(END_WORKER)
        serves(target)
        assert os.listdir("/proc/%d/root/tmp" % target.pid) == there


# ---------------------------------------------------------------- inside of a program that isn't Python


EMBED_FACTS = """
import json, sysconfig as s
print(json.dumps([s.get_path("include"), s.get_config_var("LIBDIR"), "python" + (s.get_config_var("LDVERSION") or "")]))
"""


def facts_to_embed(python):
    """(directory of headers, directory of the library, its name), as this machine names them, or why not."""
    output = subprocess.run(python.command() + ["-c", EMBED_FACTS], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True).stdout
    headers, libraries, name = json.loads(output)
    headers, libraries = python.root + headers, python.root + libraries
    if not os.path.exists(os.path.join(headers, "Python.h")):
        pytest.skip("no headers of CPython %s in %s" % (python.id, headers))
    if not os.path.exists(os.path.join(libraries, "lib%s.so" % name)):
        pytest.skip("no lib%s.so in %s" % (name, libraries))
    return headers, libraries, name


@pytest.fixture(scope="module")
def embedding(python):
    """A Python for target_running(): embed.c, made with this one's library."""
    headers, libraries, name = facts_to_embed(python)
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        program = os.path.join(directory, "a program of another name")
        # A root's library may need a newer C library than this machine's: it finds that when it runs.
        done = subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program, EMBED, "-I" + headers,
                               "-idirafter", python.root + "/usr/include", os.path.join(libraries, "lib%s.so" % name), "-pthread",
                               "-Wl,--allow-shlib-undefined", "-Wl,-rpath," + libraries[len(python.root):]], stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()
        yield dataclasses.replace(python, path=program)


@contextlib.contextmanager
def embedded(python, where, mode="idle"):
    with target_running(python, mode, options=[where], binds=[os.path.dirname(python.path)], env={"PYTHONHOME": python.prefix}) as target:
        yield target


@pytest.mark.parametrize("where, mode", [("main", "busy"), ("thread", "idle"), ("thread", "busy")])
def test_embedded(embedding, where, mode):
    with embedded(embedding, where, mode) as target:
        is_known(target)
        serves(target)


def worker_of(target):
    return [tid for tid in target.threads() if tid != target.pid][0]


NATIVE_ID = "__import__('_thread').get_native_id()"


def test_embedded_worker(embedding):
    """The program's main thread is Python's too, and stays in C: another is asked. It isn't disturbed unless we may."""
    with embedded(embedding, "worker") as target:
        is_known(target)
        worker = worker_of(target)
        for words in (["--thread", "any"], ["--thread", worker]):
            serves(target, *words)
            assert safepoint("exec", "-q", *words, target.pid, "-e", NATIVE_ID).expect(0).text == "%d\n" % worker
        traces = Traces(target)
        answer = safepoint("exec", "--timeout", "300ms", target.pid, "-c", "import __main__; __main__.LEDGER.append(1)").expect(6)
        assert "blocked in poll called by a program of another name" in answer.errors and "--wake=force" in answer.errors
        assert traces.left() == []
        assert target.ask("LEDGER") == []
        answer = safepoint("exec", "-q", "--wake=force", target.pid, "-e", NATIVE_ID).expect(0)
        assert answer.text == "%d\n" % target.pid
        assert traces.left() == []


def test_embedded_worker_at_work(embedding):
    """The worker computes: before 3.14 only the main thread could be made to run something."""
    with embedded(embedding, "worker", "busy") as target:
        is_known(target)
        if target.posts_by_struct:
            serves(target, "--thread", "any")
        else:
            answer = safepoint("exec", "--thread", "any", "--timeout", "300ms", target.pid, "-e", "1").expect(6)
            assert "blocked in poll called by a program of another name" in answer.errors and "--wake=force" in answer.errors
        serves(target, "--wake=force")


def test_embedded_loop(embedding):
    """Its main thread may be at work when we come, and in its call when it gets the request: that is taken back then, and
    run inside of the call."""
    with embedded(embedding, "loop") as target:
        runs(target.pid, "--wake=force")  # new names: the interpreter's table of them may grow, once
        traces = Traces(target)
        for _ in range(12):
            answer = safepoint("exec", "-q", "--wake=force", "--timeout", "5s", target.pid, "-e", NATIVE_ID).expect(0)
            assert answer.text == "%d\n" % target.pid
        assert traces.left() == []


STATIC_FACTS = """
import json, sys, sysconfig as s
name = "libpython" + s.get_config_var("LDVERSION") + ".a"
print(json.dumps([s.get_path("include") + "/Python.h", [s.get_config_var(at) + "/" + name for at in ("LIBDIR", "LIBPL")],
                  {"select", "_md5", "_struct"} <= set(sys.builtin_module_names)]))
"""


def static_library():
    """A Python of this machine, its headers, and its static library: one with the modules inside that the target needs, which
    couldn't be loaded into a program that exports nothing."""
    for python in [python for python in found().supported if not python.root]:
        output = subprocess.run(python.command() + ["-c", STATIC_FACTS], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True).stdout
        header, libraries, has_modules = json.loads(output)
        libraries = [library for library in libraries if os.path.exists(library)]
        if has_modules and libraries and os.path.exists(header):
            return python, os.path.dirname(header), libraries[0]
    pytest.skip("no Python with headers and a static library that has its modules inside")


@pytest.mark.parametrize("option", ["-rdynamic", "-s"], ids=["exported", "stripped"])
def test_linked_in(tmp_path, option):
    """Python is a part of the program; where nothing names its functions, they can't be called, and that is said."""
    python, headers, library = static_library()
    program = str(tmp_path / "a program of another name")
    done = subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-no-pie", option, "-o", program, EMBED, "-I" + headers, library,
                           "-Wl,--no-as-needed", "-lm", "-pthread", "-ldl", "-lutil", "-lz", "-lexpat"], stderr=subprocess.PIPE)
    if done.returncode != 0:
        pytest.skip("a static Python can't be linked here: %s" % done.stderr.decode(errors="replace").splitlines()[-1])
    with embedded(dataclasses.replace(python, path=program), "main") as target:
        is_known(target)
        if option == "-rdynamic":
            serves(target)
        else:
            traces = Traces(target)
            answer = safepoint("exec", target.pid, "-e", "1").expect(5)
            assert "has no symbol Py" in answer.errors and "-rdynamic" in answer.errors
            assert traces.left() == [] and target.ask("1 + 1") == 2


# ---------------------------------------------------------------- another version in its place


def test_upgraded(dweller, tmp_path):
    """The file that it runs from has made way for another version's, whose symbols are elsewhere."""
    others = [python for python in found().supported if python.minor != dweller.minor and python.shared]
    if not others:
        pytest.skip("no other libpython on this machine")
    (tmp_path / "its").mkdir()
    (tmp_path / "other").mkdir()
    moved, env, copy = copied(dweller, str(tmp_path / "its"))
    other = copied(others[0], str(tmp_path / "other"))[2]
    with target_running(moved, "idle", env=env, binds=[str(tmp_path)]) as target:
        os.rename(other, copy)
        assert copy + " (deleted)" in target.proc("maps")
        is_known(target)
        serves(target)
        answer = safepoint("exec", "-q", target.pid, "-e", "sys.version", under=POWERLESS).expect(0)
        assert answer.text == "%r\n" % dweller.text
        assert dweller.number in safepoint("info", target.pid, under=POWERLESS).expect(0).text


# ---------------------------------------------------------------- servers and their workers


PREFORK = """
import os, signal, threading
LEDGER = []
READING, WRITING = os.pipe()
def child():
    os.close(WRITING)
    signal.alarm(300)
    while os.read(READING, 1): pass
    os._exit(0)
def fork():
    pid = os.fork()
    if not pid: child()
    CHILDREN.append(pid)
CHILDREN = []
"""
FORKS = {
    "os.fork": "for _ in range(2): fork()",
    "fork in a thread": "for _ in range(2): t = threading.Thread(target=fork); t.start(); t.join()",
    "multiprocessing": "import multiprocessing as m; m = m.get_context('fork')\n"
                       "WORKERS = [m.Process(target=child) for _ in range(2)]\n"
                       "for w in WORKERS: w.start()\n"
                       "CHILDREN = [w.pid for w in WORKERS]",
}


def test_prefork(python):
    """Each worker goes by its own PID, and what is asked of one happens in that one."""
    check_prefork(python, "fork in a thread")  # whose copy is the child's main thread: in its state is the parent's id


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_usual_prefork(dweller, how):
    check_prefork(dweller, how)


def check_prefork(python, how):
    with target_running(python, "idle") as target:
        target.do(PREFORK)
        target.do(FORKS[how])
        workers = target.ask("CHILDREN")
        for worker in workers:
            until_it_waits(worker)
        listed = {row["pid"] for row in safepoint("ps", "--json").expect(0).result["processes"]}
        assert listed >= {target.pid, *workers}
        for pid in [*workers, target.pid, *workers]:
            descriptors = sorted(os.listdir("/proc/%d/fd" % pid))
            runs(pid)
            result = safepoint("exec", "--json", pid, "-c", "import os, __main__; __main__.LEDGER.append(os.getpid())").result
            assert result["thread"] == pid
            threads = safepoint("info", "--json", pid).expect(0).result["threads"]
            assert [(thread["tid"], thread["main"]) for thread in threads] == [(pid, True)]
            assert sorted(os.listdir("/proc/%d/fd" % pid)) == descriptors
        for pid, times in [(target.pid, 1)] + [(worker, 2) for worker in workers]:
            ledger = safepoint("exec", "-q", pid, "-e", "__import__('__main__').LEDGER").expect(0).text
            assert ledger == "%r\n" % ([pid] * times)
        target.do("os.close(WRITING); ENDED = sorted(os.waitpid(pid, 0) for pid in CHILDREN); os.close(READING)")
        assert target.ask("ENDED") == sorted([worker, 0] for worker in workers)


class Server(Process):
    """uWSGI of this machine: a master and two workers that it forks."""

    APPLICATION = b"""
import os
MARK = "the target's own"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"""

    def __init__(self, directory, *options):
        path = os.path.join(directory, "application.py")
        with open(path, "wb") as file:
            file.write(self.APPLICATION)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        super().__init__(["uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:%d" % self.port, "--master", "--processes", "2",
                          "--die-on-term", "--no-orphans", "--need-app", "--wsgi-file", path, *options])

    def request(self):
        """The PID of the worker that answered."""
        with urllib.request.urlopen("http://127.0.0.1:%d/" % self.port, timeout=PATIENCE) as answer:
            return int(answer.read())

    def until_it_serves(self):
        end = time.monotonic() + PATIENCE
        while b"spawned uWSGI worker 2" not in self.printed():
            assert self.alive() and time.monotonic() < end, self.printed()
            time.sleep(0.01)
        assert self.request() in self.workers()

    def workers(self):
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as file:
            return [int(pid) for pid in file.read().split()]

    def end(self):
        self.popen.send_signal(signal.SIGTERM)
        assert self.wait() == 0 and b"goodbye to uWSGI" in self.printed(), self.printed()


@contextlib.contextmanager
def uwsgi(directory, *options):
    if not shutil.which("uwsgi"):
        pytest.skip("no uwsgi on this machine")
    server = Server(directory, *options)
    try:
        server.until_it_serves()
        yield server
        server.end()
    finally:
        server.kill()


IN_APPLICATION = "[m for n, m in sys.modules.items() if 'uwsgi_file' in n][0].MARK"


@pytest.mark.parametrize("threads", [True, False], ids=["GIL released", "GIL held"])
def test_uwsgi(tmp_path, threads):
    """It waits for requests in C, and without --enable-threads keeps the GIL there."""
    with uwsgi(str(tmp_path), *["--enable-threads"] * threads) as server:
        processes = [server.pid] + server.workers()
        assert len(processes) == 3
        for pid in processes:
            row, information = ps_row(pid), safepoint("info", "--json", pid).expect(0).json
            assert row["python"] == information["target"]["python"] and row["can_attach"] is True
            assert "uwsgi" in os.path.basename(information["result"]["executable"])
            descriptors = sorted(os.listdir("/proc/%d/fd" % pid))
            answer = safepoint("exec", "--timeout", "300ms", pid, "-e", "1").expect(6)
            assert "blocked in epoll_wait called by uwsgi" in answer.errors
            assert ("holding the GIL" in answer.errors) is not threads and ("--wake=force" in answer.errors) is threads
            if threads:
                answer = safepoint("exec", "-q", "--wake=force", pid, "-e", "(os.getpid(), sys.argv[0])").expect(0)
                assert eval(answer.text)[0] == pid
                assert "ZeroDivisionError" in safepoint("exec", "--wake=force", pid, "-c", "1/0").expect(7).errors
            assert sorted(os.listdir("/proc/%d/fd" % pid)) == descriptors
        for pid in server.workers():
            with Running(["exec", "-q", "--timeout", "30s", pid, "-e", "(os.getpid(), %s)" % IN_APPLICATION]) as running:
                while running.popen.poll() is None:
                    assert server.request() in processes
                    if os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                        break
                answer = running.finish().expect(0)
            assert eval(answer.text) == (pid, "the target's own")
        assert [server.pid] + server.workers() == processes


# ---------------------------------------------------------------- without a GIL


def test_free_threaded():
    """Served, or refused by name; looked at in any case."""
    pythons = [python for python in found().unsupported if python.free_threaded and python.minor >= (3, 13)]
    if not pythons:
        pytest.skip("no free-threaded Python: Debian has none, and SAFEPOINT_PYTHONS names none")
    for python in pythons:
        with target_running(python, "threads") as target:
            row = ps_row(target.pid)
            assert row["free_threaded"] is True
            answer = safepoint("exec", "-q", target.pid, "-e", "6 * 7")
            if row["can_attach"]:
                assert answer.expect(0).text == "42\n"
            else:
                assert "free-threaded" in answer.expect(5).errors
