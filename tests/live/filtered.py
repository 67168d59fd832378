# SPDX-License-Identifier: GPL-3.0-or-later
"""Becomes a program under a seccomp filter, as a container's or a service's.
usage: filtered.py ANSWER CALL[,CALL...] PROGRAM [ARGS...]; ANSWER is the name of an errno, or "kill"."""
import ctypes
import errno
import os
import struct
import sys

NUMBERS = {
    "x86_64": {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434, "pidfd_getfd": 438},
    "aarch64": {"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_open": 434, "pidfd_getfd": 438},
}[os.uname().machine]
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06


def program(answer, calls):
    """Loads the number; each match jumps to the last instruction."""
    rows = [(LOAD_WORD, 0, 0, 0)]
    for i, call in enumerate(calls):
        rows.append((JUMP_EQUAL, len(calls) - i, 0, NUMBERS[call]))
    rows.append((RETURN, 0, 0, ALLOW))
    rows.append((RETURN, 0, 0, KILL_PROCESS if answer == "kill" else ERRNO | getattr(errno, answer)))
    return b"".join(struct.pack("=HBBI", *row) for row in rows), len(rows)


def main():
    code, length = program(sys.argv[1], sys.argv[2].split(","))
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", length, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, MODE_FILTER, header) == 0, os.strerror(ctypes.get_errno())
    os.environ["ASAN_OPTIONS"] = "detect_leaks=0"  # a sanitized safepoint looks for leaks by ptrace
    os.execv(sys.argv[3], sys.argv[3:])


main()
