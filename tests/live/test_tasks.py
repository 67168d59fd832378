# SPDX-License-Identifier: GPL-3.0-or-later
"""tasks: compared with what asyncio itself says inside the target, at rest; and of a target that never rests."""
import json
import subprocess

import pytest

from conftest import SAFEPOINT, safepoint, until_it_waits
from programs import Program

READS = 60


class Loops(Program):
    def __init__(self, python, make="c"):
        super().__init__(python, "tasks", [make])
        self.make = make
        assert self.hear() == "ready"

    def ask(self, question):
        self.say((question + "\n").encode())
        answer = self.hear()
        assert "error" not in answer, (question, answer, self.printed()[-4000:])
        return answer["ok"]

    def at_rest(self):
        for tid in self.threads():
            until_it_waits(tid)
        return self.pid


def makes(python):
    return ["c", "python"] + (["eager"] if python.minor >= (3, 12) else [])


def read(loops, *words):
    return safepoint("tasks", "--json", *words, loops.at_rest()).expect(0).result


def by_name(result):
    names = [task["name"] for task in result["tasks"]]
    assert len(names) == len(set(names)), names
    return {task["name"]: task for task in result["tasks"]}


def parents(result):
    names = {task["address"]: task["name"] for task in result["tasks"]}
    return {task["name"]: sorted(names[address] for address in task["awaited_by"]) for task in result["tasks"]}


@pytest.fixture(scope="module", params=["c", "python", "eager"])
def loops(request, python):
    if request.param not in makes(python):
        pytest.skip("this version has no eager tasks")
    with Loops(python, request.param) as program:
        assert program.ask("start('first')") and program.ask("finish('first', everything)")
        assert program.ask("start('second')") and program.ask("begin('second', sleeper_2)")
        yield program


def frames(task):
    return [[frame["function"], frame["file"], frame["line"]] for frame in task["stack"]]


def test_the_same_as_asyncio_says(loops):
    """All tasks of two loops: the set, names, stacks with lines; from 3.14 on who awaits, too."""
    said = dict(loops.ask("oracle('first')"), **loops.ask("oracle('second')"))
    result = read(loops)
    found = {task["address"]: task for task in result["tasks"]}
    assert not any(task["changing"] for task in found.values())
    assert result["changing"] is False and result["incomplete"] is False and result["count"] == len(found)
    assert sorted(found) == sorted(said)
    for address, task in found.items():
        truth = said[address]
        assert (task["name"], task["loop"], task["state"]) == (truth["name"], truth["loop"], truth["state"])
        # What asyncio can't see into (asend(), __await__()) we can: then ours goes further in.
        assert frames(task)[-len(truth["stack"]):] == truth["stack"], task["name"]
        assert set(truth["awaited_by"]) <= set(task["awaited_by"]), task["name"]
    threads = {loop["address"]: loop["thread"] for loop in result["loops"]}
    assert set(threads) == {task["loop"] for task in found.values()} and len(set(threads.values())) == 2
    assert set(threads.values()) <= set(loops.threads()) and loops.pid not in threads.values()


def test_the_same_as_ps_says(loops):
    """The interpreter's own reader of tasks, of those in C (it knows no others)."""
    if loops.python.minor < (3, 15) or loops.make == "python":
        pytest.skip("from 3.15 on (3.14's finds none of another thread's loop), of tasks in C")
    said = loops.ask("ps()")
    found = {task["address"]: task for task in read(loops)["tasks"]}
    assert sorted(said) == sorted(found)
    for address, task in found.items():
        truth = said[address]
        assert (task["name"], sorted(task["awaited_by"])) == (truth["name"], truth["awaited_by"])
        # It stops at what has an __await__() and at generators.
        assert frames(task)[-len(truth["stack"]):] == truth["stack"], task["name"]


def test_who_awaits_whom(loops):
    result = read(loops)
    awaited_by = {name: awaiters for name, awaiters in parents(result).items() if awaiters}
    expected = {"gathered-1": ["gatherer"], "gathered-2": ["gatherer"], "shielded": ["gatherer"], "waited-1": ["waiter"],
                "waited-2": ["waiter"], "limited-1": ["limited"], "awaited": ["direct"], "circle-1": ["circle-2"],
                "circle-2": ["circle-1"]}
    if loops.python.minor >= (3, 11):
        expected.update({"in-group-1": ["group"], "in-group-2": ["group"]})
    assert awaited_by == expected
    tasks = by_name(result)
    circles = [sorted(tasks[name + number]["address"] for number in "12") for name in ("circle-", "crossed-")]
    assert sorted(sorted(addresses) for addresses in result["deadlocks"]) == sorted(circles)


def test_who_has_the_lock(loops):
    """A task that stands inside of `async with` of it; not one that is about to enter, nor one whose condition gave it back."""
    tasks = by_name(read(loops))
    names = {task["address"]: name for name, task in tasks.items()}
    holders = {name: names.get(task["waits_for"]["held_by"]) for name, task in tasks.items() if task["waits_for"]}
    expected = {"locked": "holder", "crossed-1": "crossed-2", "crossed-2": "crossed-1", "wants_condition": "has_condition"}
    assert {name: holder for name, holder in holders.items() if holder} == expected


def test_what_they_wait_for(loops):
    tasks = by_name(read(loops))
    kinds = {"gatherer": "gather", "waiter": "wait", "direct": "task", "awaited": "future", "waited-1": "queue",
             "waited-2": "event", "locked": "lock", "holder": "sleep", "semaphore": "semaphore", "notified": "condition",
             "gathered-1": "sleep", "shielded": "sleep", "by-class": "sleep"}
    if loops.python.minor >= (3, 11):
        kinds["group"] = "taskgroup"
    assert {name: tasks[name]["waits_for"]["kind"] for name in kinds} == kinds
    assert tasks["limited"]["waits_for"]["kind"] == ("task" if loops.python.minor >= (3, 12) else "wait_for")
    assert tasks["locked"]["waits_for"]["type"] == "asyncio.locks.Lock"
    assert tasks["direct"]["waits_for"]["address"] == tasks["awaited"]["address"]
    sleep = tasks["gathered-2"]["waits_for"]
    assert sleep["delay_s"] == 200 and 100 < sleep["left_s"] < 200 and abs(sleep["age_s"] + sleep["left_s"] - 200) < 0.01
    assert [frame["function"] for frame in tasks["shielded"]["stack"]] == ["sleep", "sleeper", "nested", "ticks", "over_ticks"]
    assert [frame["function"] for frame in tasks["by-class"]["stack"]] == ["sleep", "sleeper", "nested", "by_class"]
    assert "by_generator" in [frame["function"] for frame in tasks["awaited"]["stack"]]
    assert tasks["stubborn"]["cancel_requests"] == (1 if loops.python.minor >= (3, 11) else 0)
    assert not any(task["must_cancel"] for task in tasks.values())


def test_stopped_meanwhile(loops):
    """--stop: the same, and the process goes on."""
    stopped = safepoint("tasks", "--json", "--stop", loops.at_rest()).expect(0)
    assert "were stopped for" in stopped.errors
    assert [task["address"] for task in stopped.result["tasks"]] == [task["address"] for task in read(loops)["tasks"]]
    assert stopped.result["changing"] is False and loops.tracer() == 0 and loops.state() in "RS" and loops.ask("1 + 1") == 2


def test_finished_ones(loops):
    """Those that are kept by somebody, where asyncio's registry still has them (up to 3.13)."""
    every, some = by_name(read(loops, "--all")), by_name(read(loops))
    assert not {"failed", "finished", "cancelled"} & set(some)
    states = {name: every[name]["state"] for name in ("failed", "finished", "cancelled") if name in every}
    if loops.python.minor < (3, 12):
        assert states == {"failed": "done", "finished": "done", "cancelled": "cancelled"}
    assert all(state == ("cancelled" if name == "cancelled" else "done") for name, state in states.items())
    assert set(every) - set(states) <= set(some) | {"everything"} | {name for name in every if name.startswith("Task-")}


def test_running(python):
    """A task that runs just now has the stack of its thread; one beside it was cancelled before it began."""
    with Loops(python) as loops:
        assert loops.ask("start('first')")
        assert loops.ask("LOOPS['first'].call_soon_threadsafe(lambda: KEPT.append(LOOPS['first'].create_task(sit()))) is not None")
        assert loops.ask("HELD.wait(60)")
        tasks = read(loops)["tasks"]
        running = [task for task in tasks if task["coroutine"] == "sit"]
        assert [task["state"] for task in running] == ["running"] and running[0]["waits_for"] is None
        names = [frame["function"].split(".")[-1] for frame in running[0]["stack"]]
        assert names[-2:] == ["hold", "sit"] and names[0] == "wait", names
        early = [task for task in tasks if task["name"] == "early"]
        assert [(task["state"], task["must_cancel"], len(task["stack"])) for task in early] == [("pending", True, 1)]
        assert loops.ask("GO_ON.set()") is None


def test_groups(loops):
    whole, result = read(loops), read(loops, "--group")
    assert "tasks" not in result and sum(group["count"] for group in result["groups"]) == whole["count"]
    counts = [group["count"] for group in result["groups"]]
    assert counts == sorted(counts, reverse=True) and counts[0] >= 3
    assert [group for group in result["groups"] if group["coroutine"] == "nested"][0]["count"] >= 3
    text = safepoint("tasks", "--group", loops.pid).expect(0).text
    assert "%d x nested: pending, waits: sleep" % counts[0] in text


def test_text(loops):
    """Each task once, under the one that awaits it."""
    text = safepoint("tasks", loops.at_rest()).expect(0).text
    lines = text.splitlines()
    indents = {line.strip()[2:].split(" (")[0]: len(line) - len(line.lstrip()) for line in lines
               if line.strip().startswith("- ") and "see above" not in line}
    assert indents["gatherer"] < indents["gathered-1"] and indents["direct"] < indents["awaited"]
    assert indents["gatherer"] == indents["waiter"] == 2
    assert text.count("- gathered-1 (") == 1
    assert "waits: gather of 3 tasks" in text and "of 3 min 20 s" in text
    assert "deadlock: circle-" in text
    assert "\x1b" not in text


def test_no_tasks(idle):
    result = safepoint("tasks", "--json", idle.pid).expect(0).result
    assert result["tasks"] == [] and result["loops"] == [] and result["count"] == 0
    assert "no asyncio tasks" in safepoint("tasks", idle.pid).expect(0).text


def test_a_name_that_is_no_text(python):
    with Loops(python) as loops:
        assert loops.ask("start('first')") and loops.ask("begin('first', by_class)")
        assert loops.ask("KEPT[0].set_name('\\x1b[31m\\n\\u00fc \\U0001f600')") is None
        text = safepoint("tasks", loops.at_rest()).expect(0).text
        assert "\x1b" not in text and "\u00fc \U0001f600" in text
        assert read(loops)["tasks"][0]["name"] == "\x1b[31m\n\u00fc \U0001f600"


def test_while_they_change(sample_python):
    """Nothing is torn so that we crash, fail, or show a function that isn't there."""
    known = {"churn", "churn.<locals>.short", "sleep", "__sleep0"}
    for make in ("c", "python"):
        with Loops(sample_python, make) as loops:
            assert loops.ask("start('first')") and loops.ask("begin('first', churn)")
            seen = 0
            for number in range(READS):
                command = [SAFEPOINT, "tasks", "--json", str(loops.pid)]
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
                assert done.returncode == 0, (number, done)
                result = json.loads(done.stdout)["result"]
                for task in result["tasks"]:
                    if task["state"] == "pending" and not task["changing"]:
                        functions = {frame["function"] for frame in task["stack"]}
                        assert functions <= known, (number, functions)
                        seen += 1
            assert seen and loops.alive() and loops.ask("1 + 1") == 2


def test_refusals(sample_python):
    assert "no number" not in safepoint("tasks").expect(2).errors
    assert safepoint("tasks", "--json", "--by", "type", "1").expect(2).error["code"] == "USAGE"
    safepoint("heap", "--group", "1").expect(2)
