# SPDX-License-Identifier: GPL-3.0-or-later
"""Becomes a program in a Landlock sandbox: it may trace nobody outside. usage: landlocked.py PROGRAM [ARGS...]
Exit status 77: this kernel has no Landlock."""
import ctypes
import os
import struct
import sys

CREATE_RULESET, RESTRICT_SELF, PR_SET_NO_NEW_PRIVS = 444, 446, 38
ACCESS_FS_MAKE_BLOCK = 1 << 11  # a ruleset must forbid something

libc = ctypes.CDLL(None, use_errno=True)
attributes = ctypes.create_string_buffer(struct.pack("=Q", ACCESS_FS_MAKE_BLOCK))
ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(8), 0)
if ruleset < 0:
    sys.exit(77)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.syscall(RESTRICT_SELF, ruleset, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
