# SPDX-License-Identifier: GPL-3.0-or-later
"""A process whose memory is held in every way that people ask about: each story has a class of its own.

usage: stories.py CONTROL_FD ANSWERS_FD
It answers each expression that it reads, a line each, with a line of JSON; it ends with its input.
"""
import asyncio
import collections
import ctypes
import functools
import gc
import json
import os
import signal
import sys
import threading
import weakref

control, answers = int(sys.argv[1]), int(sys.argv[2])
signal.alarm(900)
gc.disable()
ready = threading.Barrier(4)
never = threading.Event()


def several(one, count=20):
    return [one() for _ in range(count)]


class Order:
    pass


class User:
    def __init__(self):
        self.orders = several(Order)


class Cache:
    def __init__(self):
        self._memo = {"u:%d" % number: User() for number in range(50)}


CACHE = Cache()
ALSO_ORDERS = [CACHE._memo["u:7"].orders[0]]  # one of them; the rest is the cache's alone


class InClosure:
    pass


def make_handler():
    rows = several(InClosure)

    def handle():
        return rows

    return handle


HANDLER = make_handler()


class InFrame:
    pass


def make_kept_frame():
    payload = several(InFrame)
    return sys._getframe(), len(payload)


class HoldsFrame:
    def __init__(self):
        frame, _ = make_kept_frame()

        def show():
            return frame

        self.show = show


FRAME_HOLDER = HoldsFrame()


class InTraceback:
    pass


def fail():
    request = several(InTraceback)
    raise ValueError(len(request))


ERROR = None
try:
    fail()
except ValueError as error:
    ERROR = error


class InThreadLocal:
    pass


LOCAL = threading.local()


def keep_local():
    LOCAL.buffers = several(InThreadLocal)
    ready.wait()
    never.wait()


class Queued:
    pass


async def produce(queue):
    while True:
        await queue.put(Queued())


async def consume_nothing():
    backlog = asyncio.Queue(25)
    producer = asyncio.ensure_future(produce(backlog))
    while not backlog.full():
        await asyncio.sleep(0)
    ready.wait()
    await producer


class Setting:
    pass


class Config:
    registry = several(Setting)


class InSlot:
    pass


class Slotted:
    __slots__ = ("payload",)


SLOTTED = Slotted()
SLOTTED.payload = several(InSlot)


class Recent:
    pass


RECENT = collections.deque(several(Recent))


class Fetched:
    pass


@functools.lru_cache(maxsize=100)
def fetch(number):
    return Fetched()


class FetchedForEver:
    pass


@functools.lru_cache(maxsize=None)
def fetch_for_ever(number):
    return FetchedForEver()


for number in range(20):
    fetch(number)
    fetch_for_ever(number)


class InGlobal:
    pass


GLOBAL = several(InGlobal)


class Row:
    pass


class Worker:
    def run(self):
        rows = several(Row)
        ready.wait()
        never.wait()  # here it stands
        del rows


class Yielded:
    pass


def produce_some():
    held = several(Yielded)
    yield len(held)
    del held


PRODUCER = produce_some()
next(PRODUCER)


class Owner:
    def called(self):
        pass


CALLBACK = Owner().called


class Element:
    pass


SEEN = set(several(Element))


class AsKey:
    pass


KEYS = dict.fromkeys(several(AsKey), 1)


class Link:
    def __init__(self, following):
        self.following = following


CHAIN = None
for number in range(3000):
    CHAIN = Link(CHAIN)


class Cyclic:
    def __init__(self):
        self.me = self


class WeaklyHeld(Cyclic):
    pass


WEAK = weakref.WeakValueDictionary()
for number in range(20):
    Cyclic()
    WEAK[number] = WeaklyHeld()


class FromC:
    pass


def lose():
    one = FromC()
    one.behind = BehindC()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


class BehindC:
    pass


lose()
Evil = type("Evil", (), {})
globals()["ev\x1b]0;il\x9b"] = {"k\x1b\n\x9b": [Evil()]}
for number, run in enumerate([Worker().run, keep_local, lambda: asyncio.run(consume_nothing())]):
    threading.Thread(target=run, name="Worker-%d" % (number + 3), daemon=True).start()
ready.wait()
del number, run


def answer(question):
    try:
        return {"ok": eval(question, globals())}
    except Exception as error:
        return {"error": repr(error)}


def main():
    buffered = b""
    os.write(answers, b'"ready"\n')
    while True:
        data = os.read(control, 65536)
        if not data:
            break
        buffered += data
        *lines, buffered = buffered.split(b"\n")
        for line in lines:
            os.write(answers, json.dumps(answer(line.decode())).encode() + b"\n")


main()
