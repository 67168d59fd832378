# SPDX-License-Identifier: GPL-3.0-or-later
"""Every cause for which the kernel refuses us: told apart, each with its cure; and what is allowed is served."""
import os
import subprocess
import sys
import tempfile

import pytest

from conftest import HERE, NOBODY, SANITIZED, safepoint, target_running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")

SOMEBODY = 65533
AS_NOBODY = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]


class Under:
    """A Python that is started by another program, which becomes it: in a namespace, with capabilities."""

    def __init__(self, python, *words):
        self.python, self.words = python, list(words)

    def __getattr__(self, name):
        return getattr(self.python, name)

    def command(self, binds=(), user=None):
        return self.words + self.python.command(binds)


def yama():
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


needs_no_yama = pytest.mark.skipif(yama() != 0, reason="Yama refuses what this test is about")


def refused(target, *words, **keywords):
    """exec is refused with these words in its message and its hint, doctor says the same, and the target isn't touched."""
    answer = safepoint("exec", "--json", target.pid, "-c", "import __main__; __main__.LEDGER.append(1)", **keywords).expect(4)
    assert answer.error["code"] == "PERMISSION" and answer.error["hint"], answer.text
    text = answer.error["message"] + "\n" + answer.error["hint"]
    for word in words:
        assert word in text, (word, text)
    doctor = safepoint("doctor", "--json", target.pid, **keywords).expect(4)
    assert doctor.error == answer.error and doctor.json["result"]["can_attach"] is False
    assert answer.error["message"] in [check["text"] for check in doctor.json["result"]["checks"] if check["state"] == "fail"]
    assert target.ask("LEDGER") == [] and target.tracer() == 0


def served(target, **keywords):
    assert safepoint("exec", "-q", target.pid, "-e", "6 * 7", **keywords).expect(0).text == "42\n"
    safepoint("doctor", target.pid, **keywords).expect(0)


# ---------------------------------------------------------------- users and capabilities


def test_another_user(open_python):
    with target_running(open_python, "idle", user=SOMEBODY) as target:
        refused(target, "belongs to uid %d, and we run as uid %d" % (SOMEBODY, NOBODY), "sudo -u '#%d'" % SOMEBODY, as_user=NOBODY)


def test_another_group(open_python):
    started = Under(open_python, "setpriv", "--reuid", str(NOBODY), "--regid", str(SOMEBODY), "--clear-groups")
    with target_running(started, "idle", user=NOBODY) as target:
        refused(target, "group %d, and we with group %d" % (SOMEBODY, NOBODY), as_user=NOBODY)


def test_some_of_the_uids(open_python):
    """As a set-uid program has them."""
    started = Under(open_python, "setpriv", "--ruid", str(NOBODY), "--euid", str(SOMEBODY), "--regid", str(NOBODY), "--clear-groups")
    with target_running(started, "idle", user=NOBODY) as target:
        refused(target, "the uids %d, %d and %d" % (NOBODY, SOMEBODY, SOMEBODY), as_user=NOBODY)


@pytest.mark.parametrize("capability, words", [
    ("sys_ptrace", ["CAP_SYS_PTRACE", "--cap-add=SYS_PTRACE", "--reuid %d" % NOBODY]),
    ("dac_override", ["CAP_DAC_OVERRIDE", "--reuid %d" % NOBODY]),
])
def test_root_without(capability, words, open_python):
    """As root is in most containers."""
    under = ["setpriv", "--bounding-set", "-" + capability, "--inh-caps", "-" + capability]
    with target_running(open_python, "idle", user=NOBODY) as target:
        refused(target, "uid %d" % NOBODY, *words, under=under)
        served(target)
    with target_running(open_python, "idle") as target:
        if capability == "dac_override":
            served(target, under=under)
        else:
            refused(target, "capabilities that we haven't: sys_ptrace", under=under)


@needs_no_yama
def test_root_without_on_its_like(open_python):
    """In a container without CAP_SYS_PTRACE root can still look into what runs as root in it."""
    without = ["setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]
    with target_running(Under(open_python, *without), "idle") as target:
        served(target, under=without)


@needs_no_yama
def test_target_with_capabilities(open_python):
    """A service that may bind low ports (systemd's AmbientCapabilities)."""
    started = Under(open_python, *AS_NOBODY, "--inh-caps", "+net_bind_service", "--ambient-caps", "+net_bind_service")
    with target_running(started, "idle", user=NOBODY) as target:
        refused(target, "capabilities that we haven't: net_bind_service", "as root", as_user=NOBODY)
        served(target)


# ---------------------------------------------------------------- undumpable


@needs_no_yama
def test_undumpable(open_python):
    with target_running(open_python, "idle", user=NOBODY) as target:
        served(target, as_user=NOBODY)
        target.do("import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)")
        refused(target, "undumpable", "prctl", as_user=NOBODY)
        served(target)
        target.do("ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)")
        served(target, as_user=NOBODY)


def test_changed_its_user(open_python):
    """As servers do that are started by root."""
    with target_running(open_python, "idle") as target:
        target.do("os.setgroups([]); os.setresgid(%d, %d, %d); os.setresuid(%d, %d, %d)" % ((NOBODY,) * 6))
        refused(target, "undumpable", "changed its user", as_user=NOBODY)
        served(target)


# ---------------------------------------------------------------- user namespaces


def test_target_in_a_namespace_of_ours(open_python):
    """Who made a user namespace may do all in it."""
    with target_running(Under(open_python, *AS_NOBODY, "unshare", "-Ur"), "idle", user=NOBODY) as target:
        assert os.readlink("/proc/%d/ns/user" % target.pid) != os.readlink("/proc/self/ns/user")
        served(target, as_user=NOBODY)
        served(target)


def test_target_in_a_namespace_of_anothers(open_python):
    with target_running(Under(open_python, *AS_NOBODY, "unshare", "-Ur"), "idle", user=NOBODY) as target:
        refused(target, "uid %d" % NOBODY, "uid %d" % SOMEBODY, as_user=SOMEBODY)


@pytest.mark.parametrize("user", [NOBODY, 0])
def test_target_outside_of_our_namespace(user, open_python):
    """Root in a rootless container, and the target is on the host."""
    become = AS_NOBODY if user else []
    with target_running(open_python, "idle", user=user or None) as target:
        refused(target, "outside of our user namespace, and we are root inside of it only", "root of the host",
                under=become + ["unshare", "-Ur"])
        refused(target, "outside of our user namespace", under=become + ["unshare", "-U"])


# ---------------------------------------------------------------- traced


TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
assert libc.ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("which", ["main", "another"])
def test_traced(which, open_python):
    """By the main thread or any other: info and exec name who holds it."""
    with target_running(open_python, "threads") as target:
        tid = target.pid if which == "main" else [tid for tid in target.threads() if tid != target.pid][0]
        tracer = subprocess.Popen(["/usr/bin/python3", "-c", TRACER, str(tid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert tracer.stdout.readline() == b"ready\n"
            words = "already traced by process %d (python3" % tracer.pid
            result = safepoint("info", "--json", target.pid).expect(0).result
            assert result["can_attach"] is False and words in result["why_not"]
            answer = safepoint("exec", "--json", target.pid, "-e", "1")
            if which == "main":
                assert words in answer.expect(4).error["message"] and "debugger" in answer.error["hint"]
        finally:
            tracer.stdin.close()
            tracer.wait()
            tracer.stdout.close()
        served(target)


# ---------------------------------------------------------------- a filter on ourselves


def under_filter(answer, *calls):
    return [sys.executable, os.path.join(HERE, "filtered.py"), answer, ",".join(calls)]


@pytest.mark.parametrize("answer, words", [("EPERM", "Operation not permitted"), ("ENOSYS", "Function not implemented"),
                                           ("kill", "it kills who calls it")])
def test_filter_on_ourselves(answer, words, open_python):
    """As in an old Docker, or in a systemd unit with SystemCallFilter."""
    with target_running(open_python, "idle") as target:
        refused(target, "seccomp filter on safepoint itself forbids ptrace (%s)" % words, "--security-opt seccomp=unconfined",
                under=under_filter(answer, "ptrace"))


def test_filter_forbids_pidfd_open(open_python):
    with target_running(open_python, "idle") as target:
        refused(target, "filter on safepoint itself forbids pidfd_open", under=under_filter("ENOSYS", "pidfd_open"))


@pytest.mark.parametrize("answer", ["EPERM", "ENOSYS"])
def test_filter_that_leaves_a_way(answer, open_python):
    """Memory goes by /proc/PID/mem then, the channel by a private directory."""
    with target_running(open_python, "idle") as target:
        served(target, under=under_filter(answer, "process_vm_readv", "process_vm_writev"))
        served(target, under=under_filter(answer, "pidfd_getfd"))


# ---------------------------------------------------------------- what /proc doesn't show, and what nobody tells


@pytest.mark.parametrize("hidepid", ["1", "2"])
def test_hidden(hidepid, open_python):
    with target_running(open_python, "idle") as target:
        under = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                 'mount -t proc -o hidepid=%s proc /proc && exec "$@"' % hidepid, "sh"] + AS_NOBODY
        refused(target, "process %d is there, but /proc doesn't show it" % target.pid, "hidepid=0", under=under)
        answer = safepoint("exec", "--json", 999999999, "-e", "1", under=under).expect(3)
        assert answer.error["code"] == "NO_PROCESS"


def test_security_module(open_python):
    """Landlock: the one that every kernel lets us set up. The kernel tells nobody why."""
    under = [sys.executable, os.path.join(HERE, "landlocked.py")]
    if subprocess.run(under + ["/bin/true"]).returncode == 77:
        pytest.skip("this kernel has no Landlock")
    with target_running(open_python, "idle") as target:
        refused(target, "doesn't say why: a security module", "Landlock", "dmesg", under=under)


# ---------------------------------------------------------------- Yama


@pytest.fixture(scope="module")
def refusal():
    """The library that makes the kernel's answers what Yama's are."""
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        os.chmod(directory, 0o755)
        library = os.path.join(directory, "refused.so")
        made = subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "refused.c")], stderr=subprocess.PIPE)
        assert made.returncode == 0, made.stderr
        yield library


def under_yama(scope):
    """With a ptrace_scope of its own in /proc/sys, where nobody else sees it."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount -t tmpfs tmpfs /proc/sys && mkdir -p /proc/sys/kernel/yama && echo %d >/proc/sys/kernel/yama/ptrace_scope && exec "$@"' % scope,
            "sh"]


YAMA = {1: ["ptrace_scope = 1", "only by its parents", "PR_SET_PTRACER", "sysctl kernel.yama.ptrace_scope=0"],
        2: ["ptrace_scope = 2", "only root", "sudo"],
        3: ["ptrace_scope = 3", "not even root", "next boot"]}


@pytest.mark.skipif(SANITIZED, reason="nothing can be preloaded before ASan")
@pytest.mark.parametrize("scope", [1, 2, 3])
def test_yama(scope, open_python, refusal):
    with target_running(open_python, "idle", user=NOBODY) as target:
        refused(target, *YAMA[scope], under=under_yama(scope) + AS_NOBODY, env={"LD_PRELOAD": refusal})
        words = YAMA[3] if scope == 3 else ["doesn't say why"]  # root isn't asked by the others
        refused(target, *words, under=under_yama(scope), env={"LD_PRELOAD": refusal})


@pytest.mark.skipif(yama() == 0, reason="a kernel without Yama, or with a scope of 0")
def test_yama_itself(open_python):
    with target_running(open_python, "idle", user=NOBODY) as target:
        refused(target, *YAMA[yama()], as_user=NOBODY)
