# SPDX-License-Identifier: GPL-3.0-or-later
"""A process whose memory is frozen while it works: frozen.py CONTROL_FD ANSWERS_FD SITUATION OBJECTS
SITUATION:
    busy      the main thread works
    eight     it works, and seven more
    worker    it waits in a read, and another thread works
    joined    it waits for the other thread that works
    paused    it waits for a signal, and another thread works
    idle      it waits in a read, and another thread sleeps again and again
Work is a counter, and bytes that are set as a whole by one call in C, which holds the GIL: at a safe point they are all
the same. It answers one JSON value a line: {"count": address, "pattern": "address:size"}, and at the end of CONTROL_FD what
it has seen of children, signals, and calls that ended before their time.
"""
import ctypes
import json
import os
import select
import signal
import sys
import threading
import time

SIZE = 4 << 20
control, answers, situation, objects = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
signal.alarm(900)

SEEN = []
BAD = []
done = False
heap = [[number] for number in range(objects)]
counter = ctypes.c_uint64(0)
pattern = bytearray(SIZE)
PLACE = (ctypes.c_char * SIZE).from_buffer(pattern)
PATTERNS = [bytes([byte]) * SIZE for byte in range(1, 4)]


def say(value):
    os.write(answers, (json.dumps(value) + "\n").encode())


def one_round():
    value, total, table = 0.5, 0, {}
    for index in range(100):
        value = value * 3.9 * (1.0 - value)
        total += index * index
        table["key%d" % (index % 17)] = [total, value]
    return value, total, sorted(table)


EXPECTED = one_round()


def is_over():
    return bool(select.select([control], [], [], 0)[0])


def work(looks):
    global done
    while not done:
        counter.value += 1
        pattern[:] = PATTERNS[counter.value % 3]
        if one_round() != EXPECTED:
            BAD.append("a round is wrong")
        if looks and is_over():
            done = True


def sleep():
    while not done:
        before = time.monotonic()
        time.sleep(0.05)
        if time.monotonic() - before < 0.0499:
            BAD.append("a sleep was cut short")
        counter.value += 1


def wait():
    global done
    if os.read(control, 1):
        BAD.append("the read gave something")
    done = True


def pause():
    while not done:
        signal.pause()
        if not done:
            BAD.append("a pause ended without its signal")


def work_and_signal():
    work(True)
    os.kill(os.getpid(), signal.SIGUSR2)


def have_no_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def see(number, _):
    SEEN.append(number)


def main():
    helpers = {"eight": [(work, (False,))] * 7, "worker": [(work, (False,))], "joined": [(work, (True,))], "idle": [(sleep, ())],
               "paused": [(work_and_signal, ())]}
    threads = [threading.Thread(target=function, args=words) for function, words in helpers.get(situation, [])]
    for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTRAP, signal.SIGCONT):
        signal.signal(number, see)
    signal.signal(signal.SIGUSR2, lambda number, frame: None)
    for thread in threads:
        thread.start()
    say({"count": ctypes.addressof(counter), "pattern": "%d:%d" % (ctypes.addressof(PLACE), SIZE)})
    if situation in ("busy", "eight"):
        work(True)
    elif situation == "paused":
        pause()
    elif situation != "joined":
        wait()
    for thread in threads:
        thread.join()
    if not have_no_children():
        BAD.append("wait() sees a child")
    if heap != [[number] for number in range(objects)]:
        BAD.append("the heap is another")
    say({"seen": SEEN, "bad": BAD, "count": counter.value})


main()
