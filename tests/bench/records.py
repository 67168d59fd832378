# SPDX-License-Identifier: GPL-3.0-or-later
"""A target with a heap of about COUNT objects: records as services keep them. It answers questions on standard input.

usage: records.py COUNT
It says "ready", then for each line EXPR of its input the value, as JSON; it ends with its input.
"""
import gc
import json
import sys
import time


class Record:
    def __init__(self, number):
        self.number = number
        self.price = number * 0.25
        self.tags = ["tag%d" % (number % 1000), number % 7]


class Point:
    __slots__ = ("x", "y", "next")

    def __init__(self, number, following):
        self.x, self.y, self.next = number, -number, following


def make(count):
    """Of each 17 objects: a record, a row of JSON, a point, a tuple as a key."""
    gc.disable()
    kept, point = [], None
    for number in range(1000, 1000 + count // 17):
        point = Point(number, point if number % 100 else None)
        kept.append(Record(number))
        kept.append({"id": number, "name": "name %d" % number, "values": [number * 0.5, (number, "v%d" % number)]})
        kept.append((point, {("key", number): b"x" * (number % 60)}))
    gc.enable()
    return kept


def timed(count):
    """How long a count of objects takes, the whole program being held up meanwhile; and how many objects it counted."""
    begin = time.perf_counter()
    objects = count()
    return [time.perf_counter() - begin, objects]


def guppied(ask):
    """The same of guppy3, with its processor time; what it needs for a session is made before."""
    import guppy

    made = guppy.hpy()
    begin = time.perf_counter(), time.process_time()
    ask(made)
    return [time.perf_counter() - begin[0], time.process_time() - begin[1]]


def typestats():
    import objgraph

    return sum(objgraph.typestats().values())


def sizes():
    """The script that people write: what the collector tracks, by type, with sys.getsizeof()."""
    table = {}
    for one in gc.get_objects():
        row = table.setdefault(type(one), [0, 0])
        row[0] += 1
        row[1] += sys.getsizeof(one)
    return sum(row[0] for row in table.values())


if __name__ == "__main__":
    kept = make(int(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(eval(line)), flush=True)
