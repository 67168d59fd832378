# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls that a main thread can be blocked in, as data; and the process that is blocked in one of them.

The tests import CASES (tests/live/matrix.py runs them); a target runs one:
    blocked.py CONTROL_FD ANSWERS_FD NAME OUTSIDE      (OUTSIDE: JSON, what case.end has made outside for it)
It answers one JSON value a line:
    {"ready": ...}    prepared; `ready` is what it tells those who will end its call, or null
    {"began": time}   right before the call; it has waited for a first byte on CONTROL_FD
    {"ended": time, "result": ..., "handled": n}   right after it (n: how often SIGUSR1 was handled)
    {"ledger": ...}   after the end of CONTROL_FD, until which it is blocked in a read
Times are of the monotonic clock, which the tests read too. An alarm ends the process whatever becomes of the tests.
"""
import collections
import json
import os
import signal
import sys
import time

SECONDS = 3.0  # that a call with a time-out lasts
WORK_SECONDS = 1.5  # of processor time that a long C call takes
SAID = b"let go\n"  # what ends a call that waits for a word

# What shall become of a request while the call lasts.
SERVED = "served"    # by the main thread, and the call goes on
REFUSED = "refused"  # EINTR would end it before its time: not touched, and the caller named
WAITS = "waits"      # no safe point until it returns: named at the deadline, served afterwards

# name: the row's title. prepare(told): what can be done before. call(ready): begins and is blocked; gives its result.
# end: how the call is ended: "time" (after SECONDS, by itself), "work" (when it is done), or by what tests/live/matrix.py
# does from outside.
# result: what the call gives. verdict: see above. named: a pattern of what a refusal says.
Case = collections.namedtuple("Case", "name prepare call end result verdict named")

CASES = []
control = answers = -1
LEDGER = []
HANDLED = []
PHASE = "before"


def case(name, end, result, verdict=SERVED, named=None, prepare=None):
    def add(call):
        CASES.append(Case(name, prepare or (lambda outside: None), call, end, result, verdict, named))
        return call
    return add


def begin():
    global PHASE
    PHASE = "in the call"
    say({"began": time.monotonic()})


def say(value):
    os.write(answers, (json.dumps(value) + "\n").encode())


# ---------------------------------------------------------------- time


@case("time.sleep()", "time", None)
def call_sleep(_):
    begin()
    time.sleep(SECONDS)


# ---------------------------------------------------------------- sockets and polling


def prepare_listener(outside):
    import socket
    global listener
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener.getsockname()[1]


@case("socket.accept()", "connect", "accepted", prepare=prepare_listener)
def call_accept(_):
    begin()
    connection, _ = listener.accept()
    with connection:
        return connection.recv(100).decode()


@case("socket.accept(), with a time-out", "time", "timeout", prepare=prepare_listener)
def call_accept_in_time(_):
    listener.settimeout(SECONDS)
    begin()
    try:
        listener.accept()
    except OSError as error:  # TimeoutError or socket.timeout
        return type(error).__name__.lower().replace("error", "")


def prepare_select(outside):
    import select
    globals()["select"] = select


@case("select.select()", "time", [[], [], []], prepare=prepare_select)
def call_select(_):
    begin()
    return select.select([control], [], [], SECONDS)


@case("select.poll()", "time", [], prepare=prepare_select)
def call_poll(_):
    poll = select.poll()
    poll.register(control, select.POLLIN)
    begin()
    return poll.poll(SECONDS * 1000)


@case("select.epoll()", "time", [], prepare=prepare_select)
def call_epoll(_):
    with select.epoll() as epoll:
        epoll.register(control, select.EPOLLIN)
        begin()
        return epoll.poll(SECONDS)


def prepare_asyncio(outside):
    import asyncio
    globals()["asyncio"] = asyncio


@case("asyncio, idle", "say", SAID.decode(), prepare=prepare_asyncio)
def call_asyncio(_):
    async def main():
        loop = asyncio.get_running_loop()
        said = loop.create_future()
        loop.add_reader(control, lambda: said.done() or said.set_result(os.read(control, 100)))
        begin()
        word = await said
        loop.remove_reader(control)
        return word.decode()

    return asyncio.run(main())


# ---------------------------------------------------------------- files, pipes, terminals


@case("os.read() of a pipe", "say", SAID.decode())
def call_read(_):
    begin()
    return os.read(control, 100).decode()


def prepare_file(outside):
    global file
    file = os.fdopen(os.dup(control), "r")


@case("readline() of a pipe", "say in two parts", "the first part and the second\n", prepare=prepare_file)
def call_readline(_):
    begin()
    line = file.readline()
    file.close()
    return line


def prepare_flock(outside):
    import fcntl
    globals()["fcntl"] = fcntl


@case("fcntl.flock()", "unlock", None, prepare=prepare_flock)
def call_flock(outside):
    fd = os.open(outside, os.O_RDWR)
    begin()
    try:
        return fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def prepare_terminal(outside):
    for fd in (0, 1):
        os.dup2(outside, fd)
    os.environ["TERM"] = "dumb"


def prepare_readline(outside):
    prepare_terminal(outside)
    __import__("readline")


@case("input() on a terminal", "type", "typed here", prepare=prepare_terminal)
def call_input(_):
    begin()
    return input()


@case("input() on a terminal, with readline", "type", "typed here", prepare=prepare_readline)
def call_input_readline(_):
    begin()
    return input()


# ---------------------------------------------------------------- children


# A Python, since every root with targets has one.
def start_child(code, **streams):
    import subprocess
    global child
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=control, **streams)


# Started when nobody else reads what it waits for.
def prepare_child(outside):
    import subprocess  # noqa: F401


@case("subprocess: wait()", "say", 7, prepare=prepare_child)
def call_wait(_):
    start_child("import posix; posix.read(0, 100); posix._exit(7)")
    begin()
    return child.wait()


@case("subprocess: communicate()", "say", [300000, 5050], prepare=prepare_child)
def call_communicate(_):
    start_child("import posix; posix.read(0, 100)\nfor n in range(1, 101):\n    posix.write(1, b'o' * 3000), posix.write(2, b'e' * n)",
                stdout=-1, stderr=-1)
    begin()
    return [len(data) for data in child.communicate()]


# ---------------------------------------------------------------- locks, let go by another thread after a word


def let_go_by(action):
    import threading

    def wait():
        os.read(control, 100)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def prepare_threading(outside):
    import queue
    import threading
    globals().update(threading=threading, queue=queue)


@case("Lock.acquire()", "say", True, prepare=prepare_threading)
def call_lock(_):
    lock = threading.Lock()
    lock.acquire()
    let_go_by(lock.release)
    begin()
    return lock.acquire()


@case("Lock.acquire(), with a time-out", "time", False, prepare=prepare_threading)
def call_lock_in_time(_):
    lock = threading.Lock()
    lock.acquire()
    begin()
    return lock.acquire(True, SECONDS)


@case("RLock.acquire()", "say", True, prepare=prepare_threading)
def call_rlock(_):
    lock, held, said = threading.RLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            said.wait()

    threading.Thread(target=hold).start()
    held.wait()
    let_go_by(said.set)
    begin()
    return lock.acquire()


def notify(condition):
    with condition:
        condition.notify()


@case("Condition.wait()", "say", True, prepare=prepare_threading)
def call_condition(_):
    condition = threading.Condition()
    with condition:
        let_go_by(lambda: notify(condition))
        begin()
        return condition.wait()


@case("Condition.wait(), with a time-out", "time", False, prepare=prepare_threading)
def call_condition_in_time(_):
    condition = threading.Condition()
    with condition:
        begin()
        return condition.wait(SECONDS)


@case("Queue.get()", "say", "an item", prepare=prepare_threading)
def call_queue(_):
    items = queue.Queue()
    let_go_by(lambda: items.put("an item"))
    begin()
    return items.get()


@case("SimpleQueue.get()", "say", "an item", prepare=prepare_threading)
def call_simple_queue(_):
    items = queue.SimpleQueue()
    let_go_by(lambda: items.put("an item"))
    begin()
    return items.get()


@case("Thread.join()", "say", False, prepare=prepare_threading)
def call_join(_):
    thread = let_go_by(lambda: None)
    begin()
    thread.join()
    return thread.is_alive()


# ---------------------------------------------------------------- what a signal ends, and nothing repeats


def prepare_signal(outside):
    signal.signal(signal.SIGUSR1, lambda number, frame: HANDLED.append(number))


@case("signal.pause()", "signal", None, prepare=prepare_signal)
def call_pause(_):
    begin()
    return signal.pause()


def prepare_blocked_signal(outside):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])


@case("signal.sigwait()", "signal", signal.SIGUSR1, prepare=prepare_blocked_signal)
def call_sigwait(_):
    begin()
    return int(signal.sigwait([signal.SIGUSR1]))


def prepare_ctypes(outside):
    import ctypes
    global usleep, usleep_with_gil
    usleep, usleep_with_gil = ctypes.CDLL(None).usleep, ctypes.PyDLL(None).usleep


@case("a sleep called by ctypes", "time", 0, REFUSED, r"libffi|ctypes", prepare=prepare_ctypes)
def call_ctypes_sleep(_):
    begin()
    return usleep(int(SECONDS * 1e6))


# ---------------------------------------------------------------- long C calls


@case("a sleep called by ctypes, with the GIL", "time", 0, WAITS, r"GIL", prepare=prepare_ctypes)
def call_sleep_with_gil(_):
    begin()
    return usleep_with_gil(int(SECONDS * 1e6))


# How much of a work takes WORK_SECONDS.
def measure(work, number):
    while True:
        start = time.thread_time()
        work(number)
        took = time.thread_time() - start
        if took > 0.02:
            return int(number * WORK_SECONDS / took)
        number *= 4


def add_up(number):
    return sum(range(number)) >= 0


def prepare_add_up(outside):
    return measure(add_up, 100000)


@case("a long C call, with the GIL", "work", True, WAITS, r"GIL", prepare=prepare_add_up)
def call_add_up(ready):
    numbers = range(ready)
    begin()
    return sum(numbers) >= 0


def derive(number):
    import hashlib
    return len(hashlib.pbkdf2_hmac("sha256", b"password", b"salt", number))


def prepare_derive(outside):
    return measure(derive, 1000)


@case("a long C call, without the GIL", "work", 32, WAITS, r"libcrypto|_hash", prepare=prepare_derive)
def call_derive(ready):
    import hashlib
    begin()
    return len(hashlib.pbkdf2_hmac("sha256", b"password", b"salt", ready))


# ---------------------------------------------------------------- the target


def serve(number):
    """What a request runs here: leaves its number, and says when it ran and where the main thread was."""
    LEDGER.append(number)
    return [time.monotonic(), PHASE]


def main():
    global control, answers, PHASE
    signal.alarm(300)
    control, answers, outside = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[4])
    chosen = [one for one in CASES if one.name == sys.argv[3]][0]
    ready = chosen.prepare(outside)
    say({"ready": ready})
    os.read(control, 1)
    result = chosen.call(outside if ready is None else ready)
    ended = time.monotonic()
    PHASE = "after"
    say({"ended": ended, "result": result, "handled": len(HANDLED)})
    while os.read(control, 1):
        pass
    say({"ledger": LEDGER})


if __name__ == "__main__":
    main()
