# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets under a seccomp filter: served by calls that it allows, or refused by the name of one that it doesn't. Never
killed."""
import os

import pytest

from conftest import safepoint, target_running

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are x86_64's"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root may read a filter")]

CALLS = {"read": 0, "write": 1, "close": 3, "fstat": 5, "mmap": 9, "munmap": 11, "rt_sigreturn": 15, "getpid": 39, "socket": 41,
         "socketpair": 53, "clock_gettime": 228, "gettid": 186, "newfstatat": 262, "memfd_create": 319}

# What a Python that reads questions and answers them calls: read write close fstat lseek mmap munmap brk rt_sigaction
# rt_sigprocmask rt_sigreturn ioctl madvise exit fcntl sigaltstack futex clock_gettime clock_nanosleep exit_group openat newfstatat
OWN = [0, 1, 3, 5, 8, 9, 11, 12, 13, 14, 15, 16, 28, 60, 72, 131, 202, 228, 230, 231, 257, 262]

# What Docker's default profile leaves out (its documentation's list); all else is allowed, these get EPERM.
DOCKER = [163, 248, 321, 305, 227, 174, 176, 313, 177, 239, 175, 173, 172, 312, 246, 320, 250, 212, 237, 165, 279, 180, 304, 298, 135, 155,
          310, 311, 101, 178, 179, 169, 249, 238, 308, 164, 167, 168, 139, 156, 166, 272, 134, 323, 136]

INSTALL = '''
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
ALLOW, KILL, EPERM = 0x7fff0000, 0x80000000, 0x00050001
def install(rules, default):
    program = [(0x20, 0, 0, 0)]
    for number, action in rules.items():
        program += [(0x15, 0, 1, number), (0x06, 0, 0, action)]
    program += [(0x06, 0, 0, default)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))) == 0
'''


def rules(action, *names):
    return "install({%s}, ALLOW)" % ", ".join("%d: %s" % (CALLS[name], action) for name in names)


# filter, what is refused ("" served), on which side of 3.14 that holds
FILTERS = {
    "allows all": ("install({}, ALLOW)", "", ""),
    "two filters": ("install({}, ALLOW); install({}, ALLOW)", "", ""),
    "Docker's default": ("install({n: EPERM for n in %r}, ALLOW)" % DOCKER, "", ""),
    "kills socketpair": (rules("KILL", "socketpair"), "", ""),
    "EPERM for socketpair": (rules("EPERM", "socketpair"), "", ""),
    "kills memfd_create": (rules("KILL", "memfd_create"), "", ""),
    "EPERM for memfd_create": (rules("EPERM", "memfd_create"), "", ""),
    "EPERM for getpid and gettid": (rules("EPERM", "getpid", "gettid"), "", ""),
    "kills socketpair and socket": (rules("KILL", "socketpair", "socket"), "socket", "socket"),
    "kills mmap": (rules("KILL", "mmap"), "mmap", ""),
    "EPERM for clock_gettime": (rules("EPERM", "clock_gettime"), "clock_gettime", ""),
    "kills getpid": (rules("KILL", "getpid"), "getpid", "getpid"),
    "kills all but its own": ("install({n: ALLOW for n in %r}, KILL)" % OWN, "getpid", "getpid"),
    "EPERM for all but its own": ("install({n: ALLOW for n in %r}, EPERM)" % OWN, "socket", "socket"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filter(python, name):
    code, before, since = FILTERS[name]
    refused = since if python.minor >= (3, 14) else before
    with target_running(python, "idle") as target:
        target.do(INSTALL + code)
        descriptors = target.descriptors()
        for _ in range(2):
            target.until_blocked()
            answer = safepoint("exec", "-q", target.pid, "-e", "6 * 7")
            if refused:
                assert "seccomp" in answer.expect(5).errors and refused in answer.errors
            else:
                assert answer.expect(0).text == "42\n"
            assert target.ask("1 + 1") == 2
        assert target.descriptors() == descriptors


def test_filter_without_sigreturn(python):
    """No frame can be used then: the debugger-support struct alone, which doesn't wake."""
    with target_running(python, "busy") as target:
        target.do(INSTALL + rules("KILL", "rt_sigreturn"))
        answer = safepoint("exec", "-q", target.pid, "-e", "6 * 7")
        if target.posts_by_struct:
            assert answer.expect(0).text == "42\n"
        else:
            assert "rt_sigreturn" in answer.expect(5).errors
        assert target.ask("1 + 1") == 2


def test_unreadable_filter(open_python):
    """Without privilege nobody can know what it does: refused, with the cure."""
    from conftest import Target
    target = Target(open_python, "idle", user=65534)
    try:
        target.do(INSTALL + "install({}, ALLOW)")
        answer = safepoint("exec", target.pid, "-e", "1", as_user=65534)
        if answer.status != 4:  # Yama
            assert "seccomp" in answer.expect(5).errors and "root" in answer.errors
        assert target.ask("1 + 1") == 2
        target.end()
    finally:
        target.close()
