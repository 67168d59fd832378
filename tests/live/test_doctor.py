# SPDX-License-Identifier: GPL-3.0-or-later
"""doctor: what a host, or a process, allows; what it doesn't, with the cure. It touches nothing.
(That it says what exec says of each refusal is in test_permission.py.)"""
import contextlib
import os
import re
import signal
import tempfile
import time

import pytest

from conftest import NOBODY, PATIENCE, Process, Running, safepoint, target_running
from test_journal import Log, private_dev
from test_permission import AS_NOBODY, Under, under_filter, under_yama
from test_refusals import copied

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
PRIVATE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
HOST = ["kernel", "/proc", "ptrace", "pidfd_open", "process_vm", "pidfd_getfd", "memfd_create", "rseq", "targets' filters",
        "real-time priority", "user", "capabilities", "reach", "Yama", "own filter", "security module", "system log", "Python processes"]
TARGET = ["process", "user", "user namespace", "capabilities", "dumpable", "Yama", "own filter", "traced by", "security module", "Python",
          "runtime's file", "remote debugging", "main thread", "its /proc", "stopped", "seccomp", "container", "pid namespace", "open files",
          "pids cgroup", "memory cgroup"]


def checks(answer):
    """By name. Whatever isn't ok has a cure, and the exit status says whether something failed."""
    result = answer.json["result"]
    found = {check["name"]: check for check in result["checks"]}
    assert len(found) == len(result["checks"])
    for check in result["checks"]:
        assert check["state"] in ("ok", "warn", "fail") and check["text"], check
        assert check["state"] == "ok" or check["hint"] or check["name"] == "Python", check
    failed = [check for check in result["checks"] if check["state"] == "fail"]
    assert result["can_attach"] is (not failed) and (answer.status != 0) is bool(failed)
    if failed:
        assert (failed[0]["text"], failed[0]["hint"]) == (answer.error["message"], answer.error["hint"])
    return found


def doctor(*words, status=0, **keywords):
    return checks(safepoint("doctor", "--json", *words, **keywords).expect(status))


def expect(check, state, *words):
    assert check["state"] == state, check
    for word in words:
        assert word in check["text"] + "\n" + (check["hint"] or ""), (word, check)


# ---------------------------------------------------------------- this host


def test_host(some_python):
    with target_running(some_python, "idle"):
        answer = safepoint("doctor", "--json").expect(0)
    found = checks(answer)
    assert list(found) == HOST
    expect(found["kernel"], "ok", os.uname().release)
    expect(found["user"], "ok", "uid %d" % os.geteuid())
    assert answer.result["processes"]["can"] >= 1 and "target" not in answer.json
    assert set(answer.result["processes"]) == {"can", "cannot", "not_looked_at"}


def test_text(some_python):
    answer = safepoint("doctor").expect(0)
    rows = [line for line in answer.text.splitlines() if re.search(r"  (ok  |warn|fail)  ", line)]
    assert [row[:18].strip() for row in rows] == HOST
    for line, after in zip(answer.text.splitlines(), answer.text.splitlines()[1:]):
        assert not re.search(r"  (warn|fail)  ", line) or after.strip().startswith("cure: ")
    assert answer.text.endswith("\nsafepoint can work here\n") and "\x1b" not in answer.text and answer.err == b""
    assert "\x1b[32mok" in safepoint("doctor", "--color", "always").expect(0).text


@needs_root
def test_host_as_nobody(open_python):
    with target_running(open_python, "idle", user=NOBODY), target_running(open_python, "idle"):
        answer = safepoint("doctor", "--json", as_user=NOBODY).expect(0)
    found = checks(answer)
    expect(found["capabilities"], "ok", "none; not dac_override sys_ptrace")
    expect(found["reach"], "warn", "processes of uid %d" % NOBODY, "as root")
    expect(found["targets' filters"], "warn", "may not be read")
    expect(found["real-time priority"], "warn", "limits.conf")
    assert answer.result["processes"]["can"] >= 1 and answer.result["processes"]["not_looked_at"] >= 1


@needs_root
@pytest.mark.parametrize("answer, call, name, state, status", [
    ("EPERM", "ptrace", "ptrace", "fail", 4), ("kill", "ptrace", "ptrace", "fail", 4), ("ENOSYS", "pidfd_open", "pidfd_open", "fail", 4),
    ("EPERM", "process_vm_readv", "process_vm", "warn", 0), ("kill", "process_vm_writev", "process_vm", "warn", 0),
    ("ENOSYS", "pidfd_getfd", "pidfd_getfd", "warn", 0),
])
def test_host_under_a_filter(answer, call, name, state, status):
    found = doctor(status=status, under=under_filter(answer, call))
    expect(found[name], state, "seccomp=unconfined")
    expect(found["own filter"], "warn")
    expect(found["targets' filters"], "warn")
    others = {"ptrace", "pidfd_open", "process_vm"} - {name, "pidfd_open" if call == "pidfd_getfd" else name}
    assert all(found[other]["state"] == "ok" for other in others), found


@needs_root
@pytest.mark.parametrize("scope", [0, 1, 2, 3])
def test_host_under_yama(scope):
    """By its setting; the rest of Yama is in test_permission.py."""
    found = doctor(status=4 if scope == 3 else 0, under=under_yama(scope))
    expect(found["Yama"], "fail" if scope == 3 else "ok", *(["not even root", "next boot"] if scope == 3 else []))
    found = doctor(status=4 if scope else 0, under=under_yama(scope) + AS_NOBODY)
    expect(found["Yama"], "fail" if scope else "ok", *(["ptrace_scope = %d" % scope] if scope else []))


@needs_root
def test_host_namespaces():
    expect(doctor(under=["unshare", "-Ur"])["reach"], "warn", "in our user namespace", "on the host")
    inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    expect(doctor(under=inside)["reach"], "ok", "pid namespace")


@needs_root
def test_host_capabilities():
    for capability, word in (("sys_ptrace", "uid 0"), ("dac_override", "CAP_DAC_OVERRIDE")):
        under = ["setpriv", "--bounding-set", "-" + capability, "--inh-caps", "-" + capability]
        found = doctor(under=under)
        expect(found["reach"], "warn", word)
        assert found["capabilities"]["text"].endswith("; not " + capability)


@needs_root
def test_host_proc():
    hidden = PRIVATE + ['mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]
    expect(doctor(under=hidden)["/proc"], "warn", "hidepid")
    none = PRIVATE + ['mount -t tmpfs tmpfs /proc && exec "$@"', "sh"]
    unsanitized = {"ASAN_OPTIONS": "detect_leaks=0"}  # which needs /proc
    expect(doctor(status=5, under=none, env=unsanitized)["/proc"], "fail", "not mounted", "mount -t proc")
    another = ["unshare", "--pid", "--fork"]
    expect(doctor(status=5, under=another, env=unsanitized)["/proc"], "fail", "another pid namespace")


@needs_root
def test_host_log():
    expect(doctor(under=private_dev(None))["system log"], "warn", "not recorded", "journald")
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        log = Log(os.path.join(directory, "log"), 2)
        expect(doctor(under=log.under)["system log"], "ok")
        assert log.lines() == []  # asked, not written to
        log.close()


def test_nothing_is_left_of_the_probes():
    """They run in children, which are gone with it: in a session of its own nobody is left."""
    with Running(["doctor"], under=["setsid"]) as running:
        running.finish().expect(0)
    sessions = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/%s/stat" % pid) as file:
            sessions.add(int(file.read().rpartition(")")[2].split()[3]))
    assert os.getsid(0) in sessions and running.pid not in sessions


# ---------------------------------------------------------------- a process


def test_well(python):
    """It says yes, and is right; it changes nothing."""
    with target_running(python, "idle") as target:
        target.until_blocked()
        before = target.maps(), target.descriptors(), target.threads()
        answer = safepoint("doctor", "--json", target.pid)
        found = checks(answer.expect(0))
        assert (target.maps(), target.descriptors(), target.threads()) == before and target.tracer() == 0
        assert list(found) == TARGET
        assert answer.json["target"]["pid"] == target.pid and answer.json["target"]["start_time"] > 0
        assert {name for name, check in found.items() if check["state"] != "ok"} <= {"memory cgroup", "pids cgroup"}
        expect(found["Python"], "ok", "CPython " + python.number)
        assert ("debug" in found["Python"]["text"]) is python.debug
        expect(found["main thread"], "ok", "blocked in read")
        expect(found["remote debugging"], "ok", "on" if python.minor >= (3, 14) else "no switch")
        assert safepoint("doctor", target.pid).expect(0).text.endswith("\nsafepoint can attach to process %d\n" % target.pid)
        assert safepoint("exec", "-q", target.pid, "-e", "6 * 7").expect(0).text == "42\n"


def test_disabled(new_python):
    with target_running(new_python, "idle", env={"PYTHON_DISABLE_REMOTE_DEBUG": "1"}) as target:
        expect(doctor(target.pid, status=5)["remote debugging"], "fail", "off", "PYTHON_DISABLE_REMOTE_DEBUG")


def test_old(old_python):
    reading, writing = os.pipe()
    process = Process(old_python.command() + ["-c", "import os, time\nos.write(%d, b'r')\ntime.sleep(300)" % writing], pass_fds=(writing,))
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"r"
        expect(doctor(process.pid, status=5)["Python"], "fail", "%d.%d" % old_python.minor)
    finally:
        process.kill()
        os.close(reading)


def test_no_process():
    found = doctor("999999999", status=3)
    assert list(found) == ["process"]
    safepoint("doctor", "12x").expect(2)


def test_not_python():
    process = Process(["sleep", "300"])
    try:
        end = time.monotonic() + PATIENCE
        while "sleep" not in os.readlink("/proc/%d/exe" % process.pid) and time.monotonic() < end:
            time.sleep(0.005)
        answer = safepoint("doctor", "--json", process.pid).expect(3)
        assert answer.error["code"] == "NOT_PYTHON"
        expect(checks(answer)["Python"], "fail", "Python")
        assert process.alive() and process.tracer() == 0
    finally:
        process.kill()


def test_stopped(some_python):
    with target_running(some_python, "idle") as target:
        os.kill(target.pid, signal.SIGSTOP)
        try:
            end = time.monotonic() + PATIENCE
            while target.state() != "T" and time.monotonic() < end:
                time.sleep(0.005)
            expect(doctor(target.pid, status=6)["stopped"], "fail", "kill -CONT %d" % target.pid)
            assert target.state() == "T"
        finally:
            os.kill(target.pid, signal.SIGCONT)


def test_deleted_runtime(some_python):
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        moved, env, copy = copied(some_python, directory)
        with target_running(moved, "idle", env=env) as target:
            expect(doctor(target.pid)["runtime's file"], "ok", copy)
            os.unlink(copy)
            expect(doctor(target.pid)["runtime's file"], "warn", copy, "restart")


def test_open_files(some_python):
    with target_running(some_python, "idle") as target:
        target.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); KEPT = []")
        expect(doctor(target.pid)["open files"], "ok", "of the 64")
        target.do("while len(os.listdir('/proc/self/fd')) - 1 < 63: KEPT.append(os.dup(1))")
        expect(doctor(target.pid)["open files"], "warn", "63 of the 64", "--channel directory", "prlimit --pid %d" % target.pid)
        safepoint("exec", target.pid, "--channel", "directory", "-e", "1").expect(0)  # as the cure says
        target.do("KEPT.append(os.dup(1))")
        expect(doctor(target.pid, status=5)["open files"], "fail", "none is left")
        safepoint("exec", "--timeout", "500ms", target.pid, "-e", "1").expect(5)
        target.do("[os.close(fd) for fd in KEPT]; KEPT.clear()")


def test_main_thread_in_c(open_python):
    """In a call that holds the GIL."""
    with target_running(open_python, "idle") as target:
        target.tell("exec import ctypes; ctypes.PyDLL(None).sleep(3)")
        end = time.monotonic() + 2
        found = doctor(target.pid)["main thread"]
        while "sleep" not in found["text"] and time.monotonic() < end:
            found = doctor(target.pid)["main thread"]
        expect(found, "warn", "nanosleep, holding the GIL", "--timeout")
        assert "error" not in target.hear()


@needs_root
def test_filtered_target(open_python):
    with target_running(Under(open_python, *AS_NOBODY, *under_filter("EPERM", "ptrace")), "idle", user=NOBODY) as target:
        expect(doctor(target.pid)["seccomp"], "ok", "1 of 1 threads", "may read")
        safepoint("exec", target.pid, "-e", "1").expect(0)
        expect(doctor(target.pid, status=5, as_user=NOBODY)["seccomp"], "fail", "1 of 1 threads", "may not read")
        safepoint("exec", target.pid, "-e", "1", as_user=NOBODY).expect(5)


@needs_root
def test_without_proc(some_python):
    with target_running(Under(some_python, *PRIVATE, 'mount -t tmpfs tmpfs /proc && exec "$@"', "sh"), "idle") as target:
        expect(doctor(target.pid)["its /proc"], "warn", "private directory")
        safepoint("exec", target.pid, "-e", "1").expect(0)


@needs_root
def test_pid_namespace(some_python):
    """Made by unshare, whose child is the process."""
    with target_running(Under(some_python, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"), "idle") as target:
        with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as file:
            pid = int(file.read().split()[0])
        found = doctor(pid)
        expect(found["pid namespace"], "ok", "where it is 1")
        expect(found["container"], "ok", "yes")
        safepoint("exec", pid, "-e", "1").expect(0)


def fake_cgroups(target, files):
    """/sys/fs/cgroup with files of ours, seen by safepoint alone. files: {(controller or None for version 2, levels up, name): text}"""
    with open("/proc/%d/cgroup" % target.pid) as file:
        paths = {line.split(":")[1] or None: line.rstrip("\n").split(":", 2)[2] for line in file}
    steps = ["mount -t tmpfs tmpfs /sys/fs/cgroup"]
    for (controller, up, name), text in files.items():
        if controller not in paths:
            pytest.skip("no cgroup %s here" % (controller or "version 2"))
        parts = paths[controller].strip("/").split("/")
        if up > len(parts):
            pytest.skip("its cgroup has no parents here")
        path = "/".join(["/sys/fs/cgroup"] + ([controller] if controller else []) + parts[:len(parts) - up])
        steps.append("mkdir -p %s && printf '%s' >%s/%s" % (path, text, path, name))
    return PRIVATE + [" && ".join(steps) + ' && exec "$@"', "sh"]


CGROUPS = {
    "pids v2": ("pids cgroup", "warn", "1,900 of 2,000", {(None, 0, "pids.max"): "2000\\n", (None, 0, "pids.current"): "1900\\n"}),
    "pids v2 room": ("pids cgroup", "ok", "1,100 of 2,000", {(None, 0, "pids.max"): "2000\\n", (None, 0, "pids.current"): "1100\\n"}),
    "pids v2 none": ("pids cgroup", "ok", "no limit", {(None, 0, "pids.max"): "max\\n", (None, 0, "pids.current"): "1100\\n"}),
    "memory v2": ("memory cgroup", "warn", "95.0 MiB of 100 MiB",
                  {(None, 0, "memory.max"): "104857600\\n", (None, 0, "memory.current"): "99614720\\n"}),
    "memory v2 cache": ("memory cgroup", "ok", "50.0 MiB of 100 MiB",
                        {(None, 0, "memory.max"): "104857600\\n", (None, 0, "memory.current"): "99614720\\n",
                         (None, 0, "memory.stat"): "anon 1\\ninactive_file 47185920\\nfile 3\\n"}),
    "memory v1": ("memory cgroup", "warn", "95.0 MiB of 100 MiB",
                  {("memory", 0, "memory.limit_in_bytes"): "104857600\\n", ("memory", 0, "memory.usage_in_bytes"): "99614720\\n"}),
    "memory v1 parent": ("memory cgroup", "warn", "95.0 MiB of 100 MiB",
                         {("memory", 0, "memory.limit_in_bytes"): "9223372036854771712\\n", ("memory", 0, "memory.usage_in_bytes"): "5\\n",
                          ("memory", 1, "memory.limit_in_bytes"): "104857600\\n", ("memory", 1, "memory.usage_in_bytes"): "99614720\\n"}),
    "pids v1": ("pids cgroup", "warn", "99 of 100", {("pids", 0, "pids.max"): "100\\n", ("pids", 0, "pids.current"): "99\\n"}),
}


@needs_root
@pytest.mark.parametrize("case", CGROUPS, ids=lambda case: case.replace(" ", "-"))
def test_cgroups(case, some_python):
    name, state, text, files = CGROUPS[case]
    with target_running(some_python, "idle") as target:
        expect(doctor(target.pid, under=fake_cgroups(target, files))[name], state, text)


def test_hostile_words(some_python):
    """What a process calls itself doesn't reach the terminal."""
    with target_running(some_python, "idle", options=["-X", "a\x1b]0;x\x07\nfake  ok"]) as target:
        text = safepoint("doctor", target.pid).expect(0).text
        assert "\x1b" not in text and "\x07" not in text and "\nfake" not in text
