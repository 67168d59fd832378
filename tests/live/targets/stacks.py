# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads that rest in the middle of something, and one that changes its stack all the time; for test_stack.py.

A target imports it. What a thread's stack is, is told by the interpreter itself: tell().
"""
import ctypes
import os
import sys
import tempfile
import threading
import time

READING, WRITING = os.pipe()
THREADS = []
resting = []


def rest():
    resting.append(threading.current_thread().name)
    os.read(READING, 1)


def in_generator():
    def numbers():
        yield 1
        rest()
        yield 2

    for number in numbers():
        assert number


def in_generator_of_generators():
    def inner():
        yield 1
        rest()

    def outer():
        yield from inner()

    return list(outer())


def in_exception():
    try:
        raise KeyError("somebody's key")
    except KeyError:
        try:
            {}["another"]
        except KeyError:
            rest()


def in_finally():
    try:
        return len("abc")
    finally:
        rest()


def in_import():
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "resting_module_xyz.py"), "w") as file:
            file.write("import stacks\n\n\nclass Body:\n    stacks.rest()\n")
        sys.path.insert(0, directory)
        try:
            import resting_module_xyz  # noqa: F401
        finally:
            sys.path.remove(directory)


def in_sort():
    def key(item):
        if item == 2:
            rest()
        return item

    sorted([3, 2, 1], key=key)


def in_ctypes():
    def called_back(number):
        rest()
        return number

    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(called_back)(7)


def in_qsort():
    def compare(left, right):
        if not passed:
            passed.append(1)
            rest()
        return left[0] - right[0]

    passed = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    ctypes.CDLL(None).qsort((ctypes.c_int * 3)(3, 1, 2), 3, 4, kind(compare))


def in_recursion(depth=900):
    if depth:
        return in_recursion(depth - 1)
    rest()


def in_comprehension():
    rows = [[(rest(), column)[1] for column in range(2) if column or row] for row in range(1, 2)]
    return {key: value for key, value in enumerate(rows)}


def in_dict_comprehension():
    return {rest(): outer for outer in "a"}


def in_lambda():
    (lambda word: (rest(), word))("x")


def in_class_body():
    class Resting:
        attribute = 5
        rest()


def in_method():
    class Worker:
        def __init__(self):
            self.work()

        def work(self):
            self.__call__()

        def __call__(self):
            rest()

        def __repr__(self):
            rest()
            return ""

    repr(Worker.__new__(Worker))


def in_coroutine():
    async def inner():
        rest()

    async def outer():
        async with Context():
            await inner()

    class Context:
        async def __aenter__(self):
            pass

        async def __aexit__(self, *_):
            pass

    try:
        outer().send(None)
    except StopIteration:
        pass


def in_exec():
    exec(compile("\n\ndef größe_漢字():\n    rest()\ngröße_漢字()", "<räume 🐍>", "exec"), {"rest": rest})


def in_descriptor():
    class Owner:
        @property
        def value(self):
            return rest()

    getattr(Owner(), "value")


def in_long_line():
    return (1 +
            len([2]) +
            (rest() or 0) +
            3)


CASES = {name[3:]: function for name, function in list(globals().items()) if name.startswith("in_")}


def start():
    for name, function in sorted(CASES.items()):
        thread = threading.Thread(target=function, name=name)
        THREADS.append(thread)
        thread.start()
    while sorted(set(resting)) != sorted(CASES):
        time.sleep(0.001)
    # All of them are on their way into read(): the tests wait until the kernel has them there.


def end():
    os.write(WRITING, b"x" * len(CASES) * 2)
    for thread in THREADS:
        thread.join()


def tell_frames(frame):
    rows = []
    while frame:
        code = frame.f_code
        rows.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return rows


def tell():
    """{native id: [name, frames from the innermost out]}, of all but the one that tells."""
    frames = sys._current_frames()
    me = threading.get_ident()
    return {str(thread.native_id): [thread.name, tell_frames(frames[thread.ident])]
            for thread in threading.enumerate() if thread.ident != me}


# ------------------------------------------------------- variables

class Point:
    def __init__(self):
        self.x = 1


class Names(dict):
    pass


def hold_variables(argument, *rest_of_them, keyword=b"\x00bytes'", **others):
    text, empty, big, small, negative = "it's a\nstring", "", 10 ** 30, 17, -5
    real, truth, lie, nothing = 2.5, True, False, None
    long_text, unicode_text = "x" * 1000, "größe 漢字"
    numbers, many = [1, 2, 3], list(range(100))
    pair, single, nested = (1, "b"), (1,), [[[[1]]]]
    table, members, frozen = {"key": [1, 2], 3: None}, {7}, frozenset({8})
    point, cls, function, module, own = Point(), Point, rest, os, Names(a=1)
    captured = 12

    def closure():
        return captured, argument

    unbound = closure
    del unbound
    rest()
    return locals()


def start_variables():
    thread = threading.Thread(target=hold_variables, args=("first", 2), kwargs={"extra": 4}, name="variables")
    THREADS.append(thread)
    thread.start()
    while "variables" not in resting:
        time.sleep(0.001)


# ------------------------------------------------------- a stack that changes all the time

done = False


def leaf_one():
    return 1


def leaf_two():
    return 2


def only_one():
    return leaf_one() + leaf_one()


def only_two():
    return leaf_two() + leaf_two()


def left():
    return only_one() + leaf_one()


def right():
    return only_two() + leaf_two()


def yields():
    yield left()
    yield right()


def sums():
    return sum(yields())


def climb(steps):
    return climb(steps - 1) if steps else only_one()


def churn():
    while not done:
        left()
        right()
        sums()
        climb(6)


# Who may call whom; nobody else does.
LEGAL = {
    "churn": ["left", "right", "sums", "climb"],
    "left": ["only_one", "leaf_one"],
    "right": ["only_two", "leaf_two"],
    "only_one": ["leaf_one"],
    "only_two": ["leaf_two"],
    "sums": ["yields"],
    "yields": ["left", "right"],
    "climb": ["climb", "only_one"],
    "leaf_one": [],
    "leaf_two": [],
}


def start_churn():
    thread = threading.Thread(target=churn, name="churn")
    THREADS.append(thread)
    thread.start()


def end_churn():
    global done
    done = True
    for thread in THREADS:
        thread.join()
