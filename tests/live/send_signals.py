# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues real-time signals to a process, or to one of its threads.

usage: send_signals.py PID TID NUMBER COUNT BURST      (TID 0: to the process)
In bursts, with a short rest between, and never so many waiting that the kernel refuses one; one that it refuses is sent again.
"""
import ctypes
import errno
import os
import random
import sys
import time

MOST_WAITING = 4000
REST = 0.0008  # seconds at most


class Value(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("pointer", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, Value]


def waiting():
    """How many signals are queued for all processes of this user."""
    with open("/proc/self/status") as file:
        return int(file.read().split("SigQ:")[1].split("/")[0])


def send(pid, tid, number, value):
    while True:
        result = libc.tgkill(pid, tid, number) if tid else libc.sigqueue(pid, number, Value(number=value))
        if result == 0:
            return
        if ctypes.get_errno() != errno.EAGAIN:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        time.sleep(0.001)


def main():
    pid, tid, number, count, burst = map(int, sys.argv[1:])
    base = waiting()
    for sent in range(count):
        send(pid, tid, number, sent)
        if sent % burst == 0:
            time.sleep(random.random() * REST)
        if sent % 500 == 0:
            while waiting() - base > MOST_WAITING:
                time.sleep(0.002)


main()
