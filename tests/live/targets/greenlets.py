# SPDX-License-Identifier: GPL-3.0-or-later
"""Greenlets in every state, in two threads; for test_greenlets.py. What each is, greenlet itself tells: tell()."""
import gc
import os
import sys
import threading
import time

import greenlet
from stacks import tell_frames

READING, WRITING = os.pipe()
KEPT, HUBS, THREADS, ready = [], [], [], []


class Worker(greenlet.greenlet):
    """A class of somebody's own, as gevent's are."""


def away():
    """To the one that began it all in this thread."""
    current = greenlet.getcurrent()
    while current.parent is not None:
        current = current.parent
    current.switch()


def waits():
    away()


def waits_deep(depth=30):
    if depth:
        return waits_deep(depth - 1)
    away()


def waits_in_generator():
    def numbers():
        yield 1
        away()
        yield 2

    return [number for number in numbers()]


def waits_in_a_callback():
    """The eval loop is entered from C: twice."""
    def key(item):
        if item == 2:
            return sorted([item, 5], key=lambda other: away() or other)[0]
        return item

    sorted([3, 2, 1], key=key)


def waits_in_exception():
    try:
        raise KeyError("its own")
    except KeyError:
        away()


def waits_in_child():
    """Its child has switched away, to the main one: this one waits too."""
    child = Worker(waits)
    KEPT.append(child)
    child.switch()


CASES = [waits, waits_deep, waits_in_generator, waits_in_a_callback, waits_in_exception, waits_in_child]


def make():
    for case in CASES:
        for kind in (greenlet.greenlet, Worker):
            one = kind(case)
            KEPT.append(one)
            one.switch()
    KEPT.append(greenlet.greenlet(waits))
    KEPT.append(Worker(len))
    KEPT[-1].switch(())


def rests_inside():
    """A thread that waits inside of a greenlet: its main one is suspended."""
    def inside():
        ready.append(1)
        os.read(READING, 1)

    make()
    one = Worker(inside)
    KEPT.append(one)
    HUBS.append(greenlet.getcurrent())
    one.switch()


def start():
    HUBS.append(greenlet.getcurrent())
    make()
    thread = threading.Thread(target=rests_inside, name="inside")
    THREADS.append(thread)
    thread.start()
    while not ready:
        time.sleep(0.001)
    gc.collect()


def end():
    os.write(WRITING, b"x")
    for thread in THREADS:
        thread.join()


def state_of(one):
    if one.dead:
        return "ended"
    if one.gr_frame is not None:
        return "suspended"
    return "current" if one else "new"


def tell():
    """{address: [state, its parent's address, is it a main one, its type, frames from the innermost out]}"""
    rows = {}
    for one in KEPT + HUBS:
        kind = type(one)
        name = kind.__module__ + "." + kind.__qualname__
        rows[hex(id(one))] = [state_of(one), one.parent and hex(id(one.parent)), one.parent is None, name, tell_frames(one.gr_frame)]
    return rows


# ------------------------------------------------------- that switch all the time

done = False
turns = [0]


def turn():
    turns[0] += 1
    HUBS[0].switch()


def spin_left():
    while not done:
        turn()


def spin_right():
    while not done:
        [turn() for _ in "ab"]


def serve_turns():
    HUBS.append(greenlet.getcurrent())
    spinners = [greenlet.greenlet(spin_left), greenlet.greenlet(spin_right)]
    KEPT.extend(spinners)
    while not done:
        for one in spinners:
            one.switch()


def start_turns():
    thread = threading.Thread(target=serve_turns, name="turns")
    THREADS.append(thread)
    thread.start()
    while turns[0] < 10:
        time.sleep(0.001)


def end_turns():
    global done
    done = True
    for thread in THREADS:
        thread.join()
