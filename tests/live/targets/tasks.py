# SPDX-License-Identifier: GPL-3.0-or-later
"""Event loops in threads, with tasks that wait in every way there is; the main thread answers questions about them.

usage: tasks.py CONTROL ANSWERS MAKE
A question is a line of Python's, an expression; an answer a line of JSON. MAKE is who makes the tasks: c, python, eager.
Nothing here waits without limit: an alarm ends the process.
"""
import asyncio
import json
import os
import signal
import sys
import threading
import types

control, answers, make = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
signal.alarm(int(os.environ.get("TARGET_LIFE", "300")))
KEPT = []  # tasks that are over, and others that nobody else holds
HELD = threading.Event()  # the loop's thread sits in a coroutine
GO_ON = threading.Event()
LOOPS = {}


if make == "python" and hasattr(asyncio.tasks, "_py_current_task"):
    # From 3.14 on each implementation knows its own current task; time-outs and groups ask for this one.
    asyncio.tasks.current_task = asyncio.current_task = asyncio.tasks._py_current_task


def factory(loop, coroutine, **keywords):
    return asyncio.tasks._PyTask(coroutine, loop=loop, **keywords)


def task(coroutine, name):
    made = asyncio.get_running_loop().create_task(coroutine)
    made.set_name(name)
    return made


async def sleeper(seconds):
    await asyncio.sleep(seconds)


async def sleeper_2():
    await sleeper(700)


async def nested(seconds):
    await sleeper(seconds)


async def ticks(seconds):
    for number in range(3):
        await nested(seconds)
        yield number


async def over_ticks():
    async for _ in ticks(1100):
        pass


@types.coroutine
def by_generator(future):
    yield from future


class Awaitable:
    def __await__(self):
        return nested(1200).__await__()


async def old_style(future):
    await by_generator(future)


async def by_class():
    await Awaitable()


async def with_lock(lock):
    async with lock:
        await asyncio.sleep(1000)


async def get(queue):
    await queue.get()


async def stubborn():
    while True:
        try:
            await asyncio.sleep(1300)
        except asyncio.CancelledError:
            pass


async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(nested(600)).set_name("in-group-1")
        tasks.create_task(nested(601)).set_name("in-group-2")


async def circle(others):
    while not others:
        await asyncio.sleep(0)
    await others[0]


async def crossed(one, other):
    async with one:
        await asyncio.sleep(0.01)
        async with other:
            pass


async def has_condition(condition):
    async with condition:
        await asyncio.sleep(1400)


async def wants_condition(condition):
    async with condition:
        pass


async def failing():
    raise ValueError


async def everything():
    loop = asyncio.get_running_loop()
    lock, queue, event, future = asyncio.Lock(), asyncio.Queue(), asyncio.Event(), loop.create_future()
    semaphore, condition = asyncio.Semaphore(0), asyncio.Condition()
    KEPT.extend([lock, queue, event, future, semaphore, condition])

    async def gatherer():
        await asyncio.gather(task(nested(100), "gathered-1"), task(nested(200), "gathered-2"), asyncio.shield(shielded))

    async def waiter():
        await asyncio.wait({task(get(queue), "waited-1"), task(event.wait(), "waited-2")})

    async def limited():
        await asyncio.wait_for(task(nested(300), "limited-1"), 1000)

    async def direct():
        await task(old_style(future), "awaited")

    async def notified():
        async with condition:
            await condition.wait()

    shielded = task(over_ticks(), "shielded")
    KEPT.append(task(with_lock(lock), "holder"))
    await asyncio.sleep(0)
    KEPT.append(task(with_lock(lock), "locked"))
    for function, name in ((gatherer, "gatherer"), (waiter, "waiter"), (limited, "limited"), (direct, "direct"),
                           (stubborn, "stubborn"), (by_class, "by-class"), (notified, "notified")):
        KEPT.append(task(function(), name))
    KEPT.append(task(semaphore.acquire(), "semaphore"))
    left, right = asyncio.Lock(), asyncio.Lock()
    KEPT.extend([task(crossed(left, right), "crossed-1"), task(crossed(right, left), "crossed-2")])
    await asyncio.sleep(0.02)  # now the condition's lock is free again
    for function in (has_condition, wants_condition):
        KEPT.append(task(function(condition), function.__name__))
    if hasattr(asyncio, "TaskGroup"):
        KEPT.append(task(group(), "group"))
    one, two = [], []
    KEPT.extend([task(circle(two), "circle-1"), task(circle(one), "circle-2")])
    one.append(KEPT[-2])
    two.append(KEPT[-1])
    KEPT.extend([task(failing(), "failed"), task(asyncio.sleep(0), "finished"), task(sleeper(1), "cancelled")])
    await asyncio.sleep(0.05)
    KEPT[-1].cancel()
    [found for found in KEPT if getattr(found, "get_name", str)() == "stubborn"][0].cancel()
    await asyncio.sleep(0.05)


async def sit():
    """Runs, for as long as it is wanted: with a task beside it that was cancelled before its first step."""
    early = task(sleeper(1), "early")
    early.cancel()
    KEPT.append(early)
    hold()
    await asyncio.sleep(0)


def hold():
    HELD.set()
    GO_ON.wait()
    GO_ON.clear()


async def churn():
    """Tasks that come and go all the time."""
    async def short(depth):
        await (asyncio.sleep(0) if not depth else asyncio.gather(*[short(depth - 1) for _ in range(3)]))

    while True:
        await asyncio.gather(*[short(2) for _ in range(5)], return_exceptions=True)


def run(loop, name):
    asyncio.set_event_loop(loop)
    if make == "python":
        loop.set_task_factory(factory)
    elif make == "eager":
        loop.set_task_factory(asyncio.eager_task_factory)
    LOOPS[name] = loop
    loop.run_forever()


def start(name):
    loop = asyncio.new_event_loop()
    threading.Thread(target=run, args=(loop, name), name=name, daemon=True).start()
    while name not in LOOPS:
        pass
    return True


def call(name, function):
    """What a function gives, called by the loop: no task is made for it."""
    done, result = threading.Event(), []

    def there():
        try:
            result.append(function())
        finally:
            done.set()

    LOOPS[name].call_soon_threadsafe(there)
    done.wait()
    return result[0]


def begin(name, function):
    """Starts a task there."""
    def there():
        made = LOOPS[name].create_task(function())
        made.set_name(function.__name__)
        KEPT.append(made)
    call(name, there)
    return True


def finish(name, function):
    """The same, and waits for its end."""
    asyncio.run_coroutine_threadsafe(function(), LOOPS[name]).result()
    return True


def stack_of(awaited):
    """Its frames by the interpreter's own attributes, innermost first. What an asend() or __await__() hides is looked
    for no further: tests are given the frames up to there."""
    frames = []
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            if hasattr(awaited, kind + "_frame"):
                frame = getattr(awaited, kind + "_frame")
                if frame is not None:
                    frames.append([awaited.__qualname__, frame.f_code.co_filename, frame.f_lineno])
                awaited = getattr(awaited, kind + ("_yieldfrom" if kind == "gi" else "_await"))
                break
        else:
            break
    return frames[::-1]


def described(one):
    state = "pending"
    if one.done():
        state = "cancelled" if one.cancelled() else "done"
    awaited_by = getattr(one, "_asyncio_awaited_by", None)
    return {"name": one.get_name(), "state": state, "stack": stack_of(one.get_coro()), "loop": hex(id(one.get_loop())),
            "awaited_by": sorted(hex(id(other)) for other in awaited_by or () if hasattr(other, "get_coro"))}


def oracle(name):
    """{address: what it is} of the loop's tasks, as asyncio itself has them."""
    # From 3.14 on asyncio's two implementations know their own tasks alone.
    registries = {asyncio.all_tasks, getattr(asyncio.tasks, "_py_all_tasks", asyncio.all_tasks)}
    return call(name, lambda: {hex(id(one)): described(one) for known in registries for one in known(LOOPS[name])})


INSIDE = """
import asyncio, os
async def one():
    os.write(%d, b"1")
    await asyncio.sleep(1000)
asyncio.run(one())
"""


def start_inside():
    """A loop in an interpreter of its own, in a thread of its own; it waits until that runs."""
    try:
        import _interpreters as module
        run = module.exec
    except ImportError:
        import _xxsubinterpreters as module
        run = module.run_string
    ends = os.pipe()
    threading.Thread(target=run, args=(module.create(), INSIDE % ends[1]), daemon=True).start()
    return os.read(ends[0], 1) == b"1"


def line_of(frame):
    return frame.lineno if hasattr(frame, "lineno") else frame.location[0]


def ps():
    """{address: stack and awaiters} as the interpreter's own reader (3.14+: python -m asyncio ps) has them."""
    from _remote_debugging import RemoteUnwinder
    found = {}
    for one in (one for thread in RemoteUnwinder(os.getpid(), all_threads=True).get_all_awaited_by() for one in thread.awaited_by):
        stack = [[frame.funcname, frame.filename, line_of(frame)] for part in one.coroutine_stack for frame in part.call_stack]
        found[hex(one.task_id)] = {"name": one.task_name, "stack": stack,
                                   "awaited_by": sorted({hex(part.task_name) for part in one.awaited_by})}
    return found


def main():
    buffered = b""
    os.write(answers, b'"ready"\n')
    while True:
        data = os.read(control, 65536)
        if not data:
            return
        buffered += data
        while b"\n" in buffered:
            line, buffered = buffered.split(b"\n", 1)
            try:
                answer = {"ok": eval(line.decode(), globals())}
            except BaseException as error:
                answer = {"error": repr(error)}
            os.write(answers, json.dumps(answer).encode() + b"\n")


main()
os._exit(0)
