# SPDX-License-Identifier: GPL-3.0-or-later
"""The busy target of the measurements: it reads the clock in a tight loop and keeps the longest gap between two readings.

usage: busy.py ANSWERS_FD        questions on standard input: "reset", "worst", "quit"; one answer a line
"""
import os
import select
import signal
import sys
import time

signal.alarm(900)
RAN = 0  # when a measured script ran, by time.monotonic_ns()
RUNS = 0
worst = 0


def main(answers):
    global worst
    clock = time.perf_counter_ns
    os.write(answers, b"ready\n")
    last = clock()
    while True:
        for _ in range(5000):
            now = clock()
            if now - last > worst:
                worst = now - last
            last = now
        if select.select([0], [], [], 0)[0]:
            word = os.read(0, 100).strip()
            if word == b"reset":
                answer = "ok"
            elif word == b"worst":
                answer = "%d %d %d" % (worst, RAN, RUNS)
            else:
                return
            os.write(answers, (answer + "\n").encode())
            if word == b"reset":
                worst = 0
            last = clock()


main(int(sys.argv[1]))
