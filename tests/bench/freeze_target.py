# SPDX-License-Identifier: GPL-3.0-or-later
"""A process with a heap for tests/bench/freeze.py: freeze_target.py CONTROL_FD ANSWERS_FD OBJECTS
It works (walks over all of its objects, which writes to every page) when it is told "walk" and says how long that took in
microseconds; at "busy" it works until it is told something else; it says its longest gap then."""
import json
import os
import select
import sys
import time

control, answers, objects = (int(word) for word in sys.argv[1:])


def make(number):
    """Ten objects of the kinds that programs have, some 600 bytes."""
    return [(number + 1000, number * 0.5, "name %d" % number), (number + 0.25, "a text of %d" % number), [number * 2.5, None],
            "%x" % number]


heap = [make(number) for number in range(objects // 10)]


def say(value):
    os.write(answers, (json.dumps(value) + "\n").encode())


def walk():
    """Every object's reference count goes up and down."""
    start = time.perf_counter_ns()
    for record in heap:
        for item in record:
            for part in item if item.__class__ is tuple else ():
                part
    return (time.perf_counter_ns() - start) // 1000


def busy():
    longest, last = 0, time.perf_counter_ns()
    while not select.select([control], [], [], 0)[0]:
        for _ in range(1000):
            now = time.perf_counter_ns()
            longest = max(longest, now - last)
            last = now
        last = time.perf_counter_ns()
    return longest // 1000


say("ready")
while True:
    word = os.read(control, 16).decode()
    if not word:
        break
    if word == "busy":
        say("busy")
    say({"walk": walk, "busy": busy}[word]())
    if word == "busy":
        os.read(control, 16)
        say("idle")
