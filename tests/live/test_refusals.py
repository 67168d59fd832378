# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that are none, or that we may not have: each is refused by its cause, with a cure, and is left alone."""
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from conftest import NOBODY, PATIENCE, SAFEPOINT, Process, Running, Target, copied, safepoint, target_running

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def refused(answer, status, *words):
    answer.expect(status)
    assert answer.out == b""
    text = answer.errors.lower()
    assert answer.errors.startswith("safepoint: "), answer.errors
    for word in words:
        assert word.lower() in text, answer.errors
    return answer


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


# ---------------------------------------------------------------- no such process


@pytest.mark.parametrize("pid", ["999999999", "4194304"])
def test_invalid_pid(pid):
    refused(safepoint("exec", pid, "-e", "1"), 3, pid)


def test_ended_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    refused(safepoint("exec", process.pid, "-e", "1"), 3, str(process.pid))


@pytest.mark.parametrize("pid", ["0", "-1", "12x", "", "1e3", "99999999999999999999", "0x10", " 1"])
def test_no_pid(pid):
    answer = safepoint("exec", pid, "-e", "1")
    assert answer.status in (2, 3), answer
    assert answer.errors.startswith("safepoint: ") and answer.out == b""


def test_invalid_pid_in_json():
    answer = safepoint("exec", "--json", "999999999", "-e", "1").expect(3)
    assert answer.error["code"] == "NO_PROCESS" and "999999999" in answer.error["message"]


def test_self(tmp_path):
    """Its own PID: a shell that becomes safepoint knows it."""
    done = subprocess.run(["sh", "-c", 'exec "$0" exec $$ -e 1', SAFEPOINT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 3 and done.stdout == b"", done
    assert b"itself" in done.stderr or b"safepoint's own" in done.stderr or b"not Python" in done.stderr, done.stderr


def test_thread_id(python):
    """A thread's id is no PID: the process is named."""
    with target_running(python, "threads") as target:
        tid = [tid for tid in target.threads() if tid != target.pid][0]
        refused(safepoint("exec", tid, "-e", "1"), 3, str(target.pid))


def test_thread_of_a_process_can_run_it(python):
    """A script of the target that starts safepoint's exec on its own process from a child would deadlock if it waited;
    from another thread it is served like any other."""
    with target_running(python, "idle") as target:
        command = [SAFEPOINT, "exec", "-q", str(target.pid), "-e", "'by its own child'"]
        if python.root:
            answer = safepoint("exec", "-q", target.pid, "-e", "'by its own child'").expect(0)
            assert answer.text == "'by its own child'\n"
            return
        target.do("import subprocess")
        target.do("OUT = subprocess.run(%r, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=50).stdout.decode()" % (command,))
        assert target.ask("OUT") == "'by its own child'\n"


# ---------------------------------------------------------------- not Python


def test_kernel_thread():
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        try:
            with open("/proc/%s/stat" % name) as file:
                flags = int(file.read().rpartition(")")[2].split()[6])
        except (OSError, IndexError):
            continue
        if flags & 0x00200000:
            break
    else:
        pytest.skip("no kernel thread is visible here")
    refused(safepoint("exec", name, "-e", "1"), 3, "kernel thread")


def test_zombie():
    process = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        refused(safepoint("exec", process.pid, "-e", "1"), 3, "zombie")
    finally:
        process.wait()


def test_not_python():
    process = Process(["sleep", "300"])
    try:
        wait_until(lambda: "sleep" in os.readlink("/proc/%d/exe" % process.pid), "sleep did not start")
        refused(safepoint("exec", process.pid, "-e", "1"), 3, "python", str(process.pid))
        answer = safepoint("exec", "--json", process.pid, "-e", "1").expect(3)
        assert answer.error["code"] == "NOT_PYTHON"
        assert process.alive() and process.tracer() == 0
    finally:
        process.kill()


def test_static_32_bit(tmp_path):
    if os.uname().machine != "x86_64":
        pytest.skip("a 32-bit program is made on x86_64 only")
    source = tmp_path / "pause.c"
    source.write_text("void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" : : \"a\"(29)); }\n")
    program = tmp_path / "pause"
    made = subprocess.run(["gcc", "-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-o", program, source], stderr=subprocess.PIPE)
    assert made.returncode == 0, made.stderr
    try:
        process = Process([str(program)])
    except OSError as error:
        pytest.skip("this kernel runs no 32-bit programs: %s" % error)
    try:
        wait_until(lambda: os.path.basename(os.readlink("/proc/%d/exe" % process.pid)) == "pause", "did not start")
        answer = refused(safepoint("exec", process.pid, "-e", "1"), 3)
        assert "32-bit" in answer.errors or "64-bit" in answer.errors or "ython" in answer.errors
        assert process.alive() and process.tracer() == 0
    finally:
        process.kill()


def test_static_program(tmp_path):
    """64-bit, static, no section headers to speak of, not Python."""
    source = tmp_path / "pause.c"
    source.write_text("int main(void) { for (;;) __asm__ volatile(\"\" ::: \"memory\"); }\n")
    program = tmp_path / "spin"
    made = subprocess.run(["gcc", "-static", "-s", "-o", program, source], stderr=subprocess.PIPE)
    assert made.returncode == 0, made.stderr
    process = Process([str(program)])
    try:
        wait_until(lambda: os.path.basename(os.readlink("/proc/%d/exe" % process.pid)) == "spin", "did not start")
        refused(safepoint("exec", process.pid, "-e", "1"), 3, "python")
        assert process.alive()
    finally:
        process.kill()


def test_shell_with_a_python_child(some_python):
    """The wrapper script's PID is what people find first: the child is named."""
    reading, writing = os.pipe()
    shell = Process(["sh", "-c", '"$@" & wait', "sh"] + some_python.command() +
                    ["-c", "import os, time; os.write(%d, b'ready'); os.close(%d); time.sleep(300)" % (writing, writing)],
                    pass_fds=(writing,))
    os.close(writing)
    child = None
    try:
        assert os.read(reading, 5) == b"ready"
        with open("/proc/%d/task/%d/children" % (shell.pid, shell.pid)) as file:
            child = int(file.read().split()[0])
        answer = refused(safepoint("exec", shell.pid, "-e", "1"), 3, str(child))
        assert "hint: " in answer.errors
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
        shell.kill()
        os.close(reading)


# ---------------------------------------------------------------- not ours


@needs_root
def test_another_users_process(some_python):
    with target_running(some_python, "idle") as target:
        answer = refused(safepoint("exec", target.pid, "-e", "1", as_user=NOBODY), 4, "hint: ")
        assert "uid" in answer.errors or "user" in answer.errors or "owner" in answer.errors
        answer = safepoint("exec", "--json", target.pid, "-e", "1", as_user=NOBODY).expect(4)
        assert answer.error["code"] == "PERMISSION" and answer.error["hint"]


@needs_root
def test_same_user_without_privilege(open_python):
    """What everybody may do: attach to a process of one's own (unless Yama says no)."""
    target = Target(open_python, "idle", user=NOBODY)
    try:
        answer = safepoint("exec", "-q", target.pid, "-e", "os.getuid()", as_user=NOBODY)
        scope = 0
        if os.path.exists("/proc/sys/kernel/yama/ptrace_scope"):
            with open("/proc/sys/kernel/yama/ptrace_scope") as file:
                scope = int(file.read())
        if scope:
            refused(answer, 4, "yama")
        else:
            assert answer.expect(0).text == "%d\n" % NOBODY
        target.end()
    finally:
        target.close()


@needs_root
def test_root_on_a_users_process(python):
    """As root on a process of another user, the other usual case; nothing of root's is left in it."""
    if not python.runs_as(NOBODY):
        pytest.skip("another user may not run this Python")
    target = Target(python, "idle", user=NOBODY)
    try:
        assert safepoint("exec", "-q", target.pid, "-e", "os.getuid()").expect(0).text == "%d\n" % NOBODY
        assert safepoint("exec", "-q", "--channel", "directory", target.pid, "-e", "os.getuid()").expect(0).text == "%d\n" % NOBODY
        target.end()
    finally:
        target.close()


def test_traced_by_another(some_python):
    """Held by another debugger: that one is named, and keeps it."""
    with target_running(some_python, "idle") as target:
        tracer = subprocess.Popen([
            "/usr/bin/python3", "-c",
            "import ctypes, sys, os\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "libc.ptrace.argtypes = [ctypes.c_long] * 4\n"
            "assert libc.ptrace(0x4206, %d, 0, 0) == 0\n"
            "print('ready', flush=True)\nsys.stdin.read()\n" % target.pid], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert tracer.stdout.readline() == b"ready\n"
            answer = refused(safepoint("exec", "--timeout", "3s", target.pid, "-e", "1"), 4, str(tracer.pid))
            assert "trace" in answer.errors
        finally:
            tracer.stdin.close()
            tracer.wait()
            tracer.stdout.close()


# ---------------------------------------------------------------- switched off, or not supported


@pytest.mark.parametrize("how", ["environment", "option"])
def test_disabled(new_python, how):
    keywords = {"env": {"PYTHON_DISABLE_REMOTE_DEBUG": "1"}} if how == "environment" else {"options": ["-X", "disable-remote-debug"]}
    with target_running(new_python, "idle", **keywords) as target:
        answer = refused(safepoint("exec", target.pid, "-c", "import __main__; __main__.LEDGER.append(1)"), 5, "disabled", "hint: ")
        answer = safepoint("exec", "--json", target.pid, "-e", "1").expect(5)
        assert answer.error["code"] == "DISABLED"
        assert target.ask("LEDGER") == []


OLD_TARGET = "import os, sys, time\nos.write(%d, b'ready')\nwhile True: time.sleep(300)\n"


def test_unsupported(old_python):
    reading, writing = os.pipe()
    process = Process(old_python.command() + ["-c", OLD_TARGET % writing], pass_fds=(writing,))
    os.close(writing)
    try:
        assert os.read(reading, 5) == b"ready"
        answer = refused(safepoint("exec", process.pid, "-e", "1"), 5, "%d.%d" % old_python.minor)
        assert "3.8" in answer.errors  # what we do support
        answer = safepoint("exec", "--json", process.pid, "-e", "1").expect(5)
        assert answer.error["code"] == "UNSUPPORTED"
        assert process.alive() and process.tracer() == 0
    finally:
        process.kill()
        os.close(reading)


# ---------------------------------------------------------------- deleted files: an upgrade under a running process


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_deleted_runtime(python, replaced):
    """The file with the runtime (libpython, or the executable itself) is deleted, or another file is in its place."""
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        moved, env, copy = copied(python, directory)
        binds = [directory]
        with target_running(moved, "idle", env=env, binds=binds) as target:
            with open("/proc/%d/maps" % target.pid) as file:
                assert copy in file.read()
            os.unlink(copy)
            if replaced:
                shutil.copy2("/bin/true", copy)
            with open("/proc/%d/maps" % target.pid) as file:
                assert copy + " (deleted)" in file.read()
            answer = safepoint("exec", "-q", target.pid, "-e", "sys.version").expect(0)
            assert answer.text == repr(python.text) + "\n"


def test_deleted_executable(python):
    """The executable alone, where the runtime is in a libpython."""
    if not python.shared:
        pytest.skip("covered by test_deleted_runtime: the runtime is in the executable")
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        copy = os.path.join(directory, "python")
        shutil.copy2(os.path.realpath(python.outside_path), copy)
        moved = dataclasses.replace(python, path=copy)
        library = os.path.join(python.prefix, "lib")
        with target_running(moved, "idle", env={"PYTHONHOME": python.prefix, "LD_LIBRARY_PATH": library}) as target:
            os.unlink(copy)
            assert safepoint("exec", "-q", target.pid, "-e", "sys.version").expect(0).text == repr(python.text) + "\n"


# ---------------------------------------------------------------- no safe point


def test_stuck(python):
    """C code that holds the GIL: nothing can be done, and that is the answer. The target is not harmed."""
    with target_running(python, "stuck") as target:
        answer = refused(safepoint("exec", "--timeout", "600ms", target.pid, "-e", "1"), 6)
        assert 0.5 < answer.seconds < 15
        answer = safepoint("exec", "--json", "--timeout", "300ms", target.pid, "-e", "1").expect(6)
        assert answer.error["code"] == "NO_SAFE_POINT"
        assert target.tracer() == 0


def test_left_to_itself(python):
    """--no-wake: a blocked main thread is not woken; the request is withdrawn and never runs."""
    with target_running(python, "idle") as target:
        refused(safepoint("exec", "--no-wake", "--timeout", "400ms", target.until_blocked(), "-c", "import __main__; __main__.LEDGER.append('late')"), 6)
        assert target.ask("1 + 1") == 2
        assert target.ask("sum(i for i in range(100000))") == 4999950000
        assert target.ask("LEDGER") == []


def test_left_to_itself_and_served(python):
    """--no-wake, and the target comes by on its own."""
    with target_running(python, "idle") as target:
        with Running(["exec", "-q", "--no-wake", "--timeout", "30s", target.until_blocked(), "-e", "'served'"]) as running:
            # Whenever the request is posted, one of these questions brings the main thread to its eval loop after it.
            while running.popen.poll() is None:
                assert target.ask("1 + 1") == 2
                time.sleep(0.005)
                if os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                    break
            answer = running.finish()
        assert answer.expect(0).text == "'served'\n"


def test_stopped_target(python):
    """Stopped by SIGSTOP: it cannot come to a safe point; said, and left stopped."""
    with target_running(python, "idle") as target:
        os.kill(target.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: target.state() == "T", "did not stop")
            answer = safepoint("exec", "--timeout", "600ms", target.pid, "-c", "import __main__; __main__.LEDGER.append('late')").expect(6)
            assert "stopped" in answer.errors
            # On its way back from our stop into that one it shows as running, and runs nothing.
            wait_until(lambda: target.state() == "T", "was not left stopped")
        finally:
            os.kill(target.pid, signal.SIGCONT)
        assert target.ask("LEDGER") == []
