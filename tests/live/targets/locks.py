# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads that wait for each other in every way there is; their names say how. The main thread waits in a read.

usage: locks.py CONTROL ANSWERS MODE
MODE: all; import (of a module that never ends); gil (a thread keeps it for some seconds); ending (main's end waits for
the others); churn (locks change hands all the time).
Nothing here waits without limit: an alarm ends the process.
"""
import concurrent.futures
import os
import queue
import signal
import sys
import threading
import time

control, answers, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
signal.alarm(int(os.environ.get("TARGET_LIFE", "300")))
first, second, both, python_lock = threading.RLock(), threading.RLock(), threading.Barrier(2), threading._PyRLock()
in_with, taken, left, of_condition = (threading.Lock() for _ in range(4))
event, condition, semaphore, never = threading.Event(), threading.Condition(), threading.Semaphore(0), threading.Event()
of_queue, simple, full = queue.Queue(), queue.SimpleQueue(), queue.Queue(1)
condition_of_lock = threading.Condition(of_condition)
gate = threading.Barrier(2)


def start(function, name, daemon=True):
    thread = threading.Thread(target=function, name=name, daemon=daemon)
    thread.start()
    return thread


def first_then_second():
    with first:
        with first:
            both.wait()
            with second:
                pass


def second_then_first():
    with second:
        both.wait()
        second_inside()


def second_inside():
    first.acquire()


def inside_with():
    with left:
        pass
    with in_with, of_condition:
        for _ in (1, 2):
            gate.wait()
            never.wait()


def takes(lock):
    with lock:
        pass


def acquires(lock, *words):
    lock.acquire(*words)


def left_it():
    """Its frame has had the lock, and may hold what is left over of it."""
    with left:
        pass
    gate.wait()
    never.wait()


def has_python_lock():
    python_lock.acquire()
    gate.wait()
    never.wait()


def notified():
    with condition:
        condition.wait()


def gone():
    gone_lock.acquire()


def all_of_them():
    global gone_lock
    start(first_then_second, "deadlock-1")
    start(second_then_first, "deadlock-2")
    start(inside_with, "inside-with")
    gate.wait()
    start(left_it, "left-it")
    gate.wait()
    start(has_python_lock, "has-python-lock")
    gate.wait()
    taken.acquire()
    left.acquire()
    gone_lock = threading.RLock()
    threading.stack_size(1 << 18)  # nobody else gets this stack, and with it the thread's ident
    start(gone, "gone").join()
    threading.stack_size(0)
    for lock, name in ((in_with, "wants-in-with"), (taken, "wants-taken"), (left, "wants-left"), (first, "wants-first"),
                       (condition_of_lock, "wants-condition"), (python_lock, "wants-python"), (gone_lock, "wants-gone")):
        start(lambda lock=lock: takes(lock), name)
    start(lambda: acquires(taken, True, 1000), "timed")
    full.put(1)
    for function, name in ((notified, "notified"), (event.wait, "event"), (of_queue.get, "queue"), (simple.get, "simple"),
                           (semaphore.acquire, "semaphore"), (lambda: full.put(2), "full")):
        start(function, name)
    target = [thread for thread in threading.enumerate() if thread.name == "inside-with"][0]
    start(target.join, "joins")
    pool = concurrent.futures.ThreadPoolExecutor(1, "pool")
    pool.submit(int).result()
    start(concurrent.futures.Future().result, "future")
    return pool


def imports():
    def one():
        import locks_slow  # noqa: F401

    def two():
        gate.wait()
        import locks_slow  # noqa: F401

    start(one, "imports")
    start(two, "wants-import")


def keep_gil():
    try:
        import ctypes
    except ImportError:
        os.write(answers, b'"no ctypes"\n')
        return
    usleep = ctypes.PyDLL(None).usleep
    os.write(answers, b'"keeps it"\n')
    usleep(3000000)


def churn():
    locks = [threading.Lock(), threading.RLock()]
    lines = queue.Queue(4)

    def work():
        while True:
            for lock in locks:
                with lock:
                    sum(range(50))

    for number in range(4):
        start(work, "worker-%d" % number)
    start(lambda: [lines.put(0) for _ in iter(int, 1)], "puts")
    start(lambda: [lines.get() for _ in iter(int, 1)], "gets")


def main():
    if mode == "all":
        kept = all_of_them()
    elif mode == "import":
        imports()
        gate.wait()
    elif mode == "ending":
        start(never.wait, "left-over", False)
    elif mode == "churn":
        churn()
    time.sleep(0.1)
    os.write(answers, b'"ready"\n')
    if mode == "ending":
        return
    if mode == "gil":
        start(keep_gil, "keeps")
    while True:
        if not os.read(control, 1):
            os._exit(0)
        os.write(answers, b'"here"\n')


main()
