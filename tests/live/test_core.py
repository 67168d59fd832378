# SPDX-License-Identifier: GPL-3.0-or-later
"""Core files as targets: the kernel's and gcore's, with their files here, elsewhere or lost; cut short, damaged, of others."""
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile

import pytest

from conftest import PATIENCE, Target, copied, found, safepoint, until_it_waits

GCORE = shutil.which("gcore")
LOSSY = {}
SOUND = (0, 3, 5, 9)  # what a core may come to, whatever is wrong with it


def kernel_pattern():
    with open("/proc/sys/kernel/core_pattern") as file:
        return file.read().strip()


def is_dumped_here():
    """Does the kernel write a core where the process is?"""
    pattern = kernel_pattern()
    return not pattern.startswith("|") and "/" not in pattern


def end_with_core(process, directory):
    """Ends a process whose working directory this is; its core, or None where the kernel gives it to somebody else."""
    before = set(os.listdir(directory))
    os.kill(process.pid, signal.SIGABRT)
    process.wait()
    made = [name for name in set(os.listdir(directory)) - before if name.startswith("core")]
    if made:
        return os.path.join(directory, made[0])
    assert not is_dumped_here(), "no core in %s: %s" % (directory, os.listdir(directory))
    return None


def gcore(pid, directory):
    path = os.path.join(directory, "gcore")
    done = subprocess.run([GCORE, "-o", path, str(pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL)
    os.rename("%s.%d" % (path, pid), path)
    # gdb can't read past the guard pages in stacks of glibc 2.42 and later, and leaves zeros.
    LOSSY[path] = any(int(at, 16) < 1 << 47 for at in re.findall(rb"Memory read failed .* at (0x[0-9a-f]+)", done.stderr))
    return path


def prepare(target, directory):
    """It will leave its core in the directory, and holds some objects that can be counted."""
    target.do("import os, resource; os.chdir(%r); resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))" % directory)
    target.do("class Known:\n    pass\nKNOWN = [Known() for _ in range(1234)]; TEXTS = {str(i): [i] for i in range(5000)}")
    target.until_blocked()


def heap(*words, **keywords):
    return safepoint("heap", *words, "--json", **keywords).expect().result


def rows(result):
    return {row["type"]: (row["count"], row["bytes"], row["refs"], row["tracked"], row["immortal"]) for row in result["types"]}


def taken(python, directory, prepared=prepare, **keywords):
    """A target at rest: what its heap was by a read of the process itself, its threads, and its cores."""
    target = Target(python, "idle", **keywords)
    try:
        prepared(target, directory)
        live = heap(target.pid, "--no-pause")
        info = safepoint("info", target.pid, "--json").expect().result
        cores = [gcore(target.pid, directory)] if GCORE else []
        written = end_with_core(target, directory)
        cores += [written] if written else []
        if not cores:
            pytest.skip("core_pattern is %r, and there is no gcore" % kernel_pattern())
        return target.pid, live, info, cores
    finally:
        target.close()


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="safepoint-core-") as path:
        yield path


def check_same(core, live, *words):
    result = heap(core, *words)
    assert rows(result) == rows(live)
    assert (result["objects"], result["bytes"]) == (live["objects"], live["bytes"])
    assert result["method"] == "core" and result["at_safe_point"] is True and result["partial"] is False


def test_the_heap_and_the_threads_are_those_of_the_process(python, directory):
    pid, live, info, cores = taken(python, directory)
    assert rows(live)["__main__.Known"][0] == 1234
    for core in cores:
        # The kernel names files as the process does; gcore as we do.
        root = ["--root", python.root] if python.root and "gcore" not in core else []
        check_same(core, live, *root)
        answer = safepoint("info", core, "--json", *root).expect()
        target, result = answer.json["target"], answer.result
        assert (target["file"], target["pid"], target["python"]) == (core, pid, python.number)
        assert result["kind"] == "core" and result["partial"] is False and result["static"] == info["static"]
        threads = {thread["tid"]: thread for thread in result["threads"]}
        for thread in info["threads"]:
            assert threads[thread["tid"]]["frame"] == thread["frame"] and threads[thread["tid"]]["python"] == thread["python"]
        assert len(threads) == len(info["threads"])
    written = [core for core in cores if "gcore" not in core]
    if written:
        text = safepoint(written[0], *root).expect().text
        assert "signal           SIGABRT" in text and "CPython " + python.number in text


def test_files_are_found_where_one_says_and_only_the_right_ones(sample_python, directory):
    started, environment, copy = copied(sample_python, directory)
    _, live, _, cores = taken(started, directory, env=environment, binds=[directory])
    root = os.path.join(directory, "root")
    for core in cores:
        if sample_python.root and "gcore" in core:
            continue  # its name goes through the root that the process had
        info = safepoint("info", core, "--json").expect().result
        file, = [file for file in info["files"] if file["path"] == copy]
        elsewhere = root + copy
        os.makedirs(os.path.dirname(elsewhere), exist_ok=True)
        shutil.move(copy, elsewhere)
        try:
            lost = safepoint("heap", core).expect(9)
            assert os.path.basename(copy) in lost.errors and "--root" in lost.errors
            check_same(core, live, "--root", root)
            if not sample_python.shared:
                check_same(core, live, "--exe", elsewhere)
            # By its build-id, wherever its name has gone.
            place = os.path.join(directory, "ids", "usr/lib/debug/.build-id", file["build_id"][:2])
            os.makedirs(place, exist_ok=True)
            shutil.copy2(elsewhere, os.path.join(place, file["build_id"][2:]))
            check_same(core, live, "--root", os.path.join(directory, "ids"))
            # Another file under its name.
            shutil.copy2("/bin/true", copy)
            wrong = safepoint("heap", core).expect(9)
            assert copy in wrong.errors and file["build_id"] in wrong.errors and "another file" in wrong.errors
            check_same(core, live, "--root", root)
            os.unlink(copy)
            wrong = safepoint("heap", core, "--exe", "/bin/true", "--root", root).expect(9)
            assert "/bin/true is another file" in wrong.errors
        finally:
            shutil.move(elsewhere, copy)


def loads(core):
    """The program headers: (type, offset, address, stored, size)."""
    with open(core, "rb") as file:
        head = file.read(64)
        offset, = struct.unpack_from("<Q", head, 32)
        count, = struct.unpack_from("<H", head, 56)
        file.seek(offset)
        table = file.read(56 * count)
    for i in range(count):
        kind, _, at, address, _, stored, size, _ = struct.unpack_from("<IIQQQQQQ", table, 56 * i)
        yield kind, at, address, stored, size


def cut(core, size):
    path = core + ".cut"
    with open(core, "rb") as file, open(path, "wb") as out:
        out.write(file.read(size))
    return path


@pytest.fixture(scope="module")
def static_python(some_python):
    """One whose variables lie before its heap: of it much can be lost, and the rest be read."""
    return ([python for python in found().supported if not (python.shared or python.root or python.debug)] or [some_python])[0]


@pytest.mark.parametrize("kind", ["some_python", "static_python"])
def test_one_that_is_cut_short(request, kind, directory):
    _, live, _, cores = taken(request.getfixturevalue(kind), directory)
    for core in cores:
        size = max(at + stored for _, at, _, stored, _ in loads(core))  # gcore has section headers behind it
        table = 64 + 56 * len(list(loads(core)))
        for at in (0, 3, 63, 64, table - 1):
            answer = safepoint("heap", cut(core, at)).expect(9)
            assert "Traceback" not in answer.errors and answer.errors.startswith("safepoint: ")
        answers = set()
        for at in [table, table + 5000] + [size * i // 12 for i in range(1, 12)] + [size - 4096, size - 1]:
            answer = safepoint("heap", cut(core, at), "--json")
            assert answer.status in (0, 9), answer.expect()
            answers.add(answer.status)
            if answer.status:
                assert answer.error["code"] == "BAD_FILE" and "cut short" in answer.error["message"]
                continue
            assert answer.result["partial"] is True and answer.result["missing_bytes"] >= size - at
            assert answer.result["objects"] <= live["objects"]
            assert "PARTIAL" in safepoint("heap", cut(core, at)).expect().errors
        assert answers == {0, 9}
        assert "CUT SHORT" in safepoint("info", cut(core, size - 4096)).expect().text


def test_one_that_is_damaged(some_python, directory):
    """Bytes of the headers, notes and memory changed at random: an answer or an error of its own, in bounded time."""
    _, _, _, cores = taken(some_python, directory)
    chance = random.Random(20)
    for core in cores:
        whole = bytearray(open(core, "rb").read())
        heads = 64 + 56 * len(list(loads(core)))
        notes, = [(at, stored) for kind, at, _, stored, _ in loads(core) if kind == 4]
        places = [(0, 64), (64, heads), (notes[0], notes[0] + notes[1]), (heads, len(whole))]
        for trial in range(24):
            first, last = places[trial % len(places)]
            damaged = bytearray(whole)
            for _ in range(chance.choice((1, 8, 64, 1000))):
                damaged[chance.randrange(first, last)] = chance.randrange(256)
            path = os.path.join(directory, "damaged")
            with open(path, "wb") as file:
                file.write(damaged)
            for command in ("heap", "info"):
                answer = safepoint(command, path)
                assert answer.status in SOUND, (trial, answer.expect())
                assert answer.max_rss < 2 << 30


def test_what_is_no_core(some_python, directory):
    path = os.path.join(directory, "text")
    with open(path, "w") as file:
        file.write("This is no core.\n")
    for command in ("heap", "info"):
        safepoint(command, path).expect(9)
        safepoint(command, "/bin/true").expect(9)
    assert "are for a core file" in safepoint("heap", path, "--root", "/").expect(2).errors
    assert "are for a core file" in safepoint("heap", str(os.getpid()), "--exe", "/bin/true").expect(2).errors
    safepoint("heap", os.path.join(directory, "nothing")).expect(2)


def test_the_core_of_something_else(directory):
    limit = lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    popen = subprocess.Popen(["/bin/sleep", "1000"], cwd=directory, preexec_fn=limit, stdin=subprocess.DEVNULL)
    try:
        until_it_waits(popen.pid)
        cores = [gcore(popen.pid, directory)] if GCORE else []
    finally:
        popen.send_signal(signal.SIGABRT)
        popen.wait()
    cores += [os.path.join(directory, name) for name in os.listdir(directory) if name.startswith("core")]
    if not cores:
        pytest.skip("core_pattern is %r, and there is no gcore" % kernel_pattern())
    for core in cores:
        for command in ("heap", "info"):
            assert "sleep" in safepoint(command, core).expect(3).errors


def test_what_needs_a_process_says_so(some_python, directory):
    _, live, _, cores = taken(some_python, directory)
    core = cores[-1]
    for words in (["exec", core, "-c", "1"], ["exec", core, "-e", "1"], ["stats", core], ["console", core], ["doctor", core]):
        answer = safepoint(*words).expect(2)
        assert "%s needs a live process, and %s is a core file" % (words[0], core) in answer.errors
    for option in ("--no-pause", "--no-fork"):
        assert "is a core file" in safepoint("heap", core, option).expect(2).errors
    # A snapshot of it is one like any other.
    file = os.path.join(directory, "kept")
    safepoint("snapshot", core, "-o", file, "--values").expect()
    kept = heap(file)
    assert rows(kept) == rows(live) and kept["method"] == "core"


def test_one_of_a_process_that_ran(some_python, directory):
    """Not at a safe point: said, and answered as well as it goes."""
    target = Target(some_python, "idle")
    try:
        prepare(target, directory)
        target.tell("exec import os\nwhile True: KNOWN.append(os.getpid())")
        cores = []
        for _ in range(20):  # until it was dumped while it held the GIL: nearly always
            if GCORE:
                cores = [gcore(target.pid, directory)]
                if heap(cores[0])["at_safe_point"] is False:
                    break
        written = end_with_core(target, directory)
        cores += [written] if written else []
    finally:
        target.close()
    if not cores:
        pytest.skip("core_pattern is %r, and there is no gcore" % kernel_pattern())
    for core in cores:
        answer = safepoint("heap", core, "--json").expect()
        assert answer.result["at_safe_point"] is False and answer.result["why_not"]
        assert rows(answer.result)["__main__.Known"][0] == 1234
        assert "NOT AT A SAFE POINT" in safepoint("heap", core).expect().errors


LOOP = """
import asyncio, threading
LOCK = threading.Lock()
LOCK.acquire()
async def leaf():
    await asyncio.sleep(1000)
async def trunk():
    await asyncio.create_task(leaf(), name="leaf")
def run():
    asyncio.run(trunk())
def wait(number):
    LOCK.acquire()
threading.Thread(target=run, name="loop", daemon=True).start()
threading.Thread(target=wait, args=(7,), name="waiter", daemon=True).start()
"""
# What isn't in a core: what the kernel calls a thread, and since when it is blocked.
NOT_IN_A_CORE = ("name", "blocked_us", "reading_us", "pause_us", "for_s", "age_s", "left_s", "delay_s")


def told(value):
    """An answer without what a core can't tell."""
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items() if key not in NOT_IN_A_CORE or key == "name" and "awaits" in value}
    return [told(item) for item in value] if isinstance(value, list) else value


QUESTIONS = {"stack": ["stack", "--locals", "--values"], "native": ["stack", "--native"], "gc": ["gc"], "tasks": ["tasks"],
             "locks": ["locks"]}


def ask_all(target, *words):
    answers = {}
    for name, question in QUESTIONS.items():
        answer = safepoint(*question, target, "--json", *words).expect().result
        answers[name] = told(answer)
    return answers


def test_stacks_tasks_locks_and_the_collector_are_those_of_the_process(python, directory):
    target = Target(python, "idle")
    try:
        prepare(target, directory)
        target.do(LOOP)
        for _ in range(2):  # the loop's thread makes no other, and waits
            for tid in target.threads():
                until_it_waits(tid)
        live = ask_all(target.pid)
        cores = [gcore(target.pid, directory)] if GCORE else []
        written = end_with_core(target, directory)
        cores += [written] if written else []
    finally:
        target.close()
    if not cores:
        pytest.skip("core_pattern is %r, and there is no gcore" % kernel_pattern())
    assert len(live["tasks"]["tasks"]) == 2 and len(live["stack"]["threads"]) == 3
    for core in cores:
        root = ["--root", python.root] if python.root and "gcore" not in core else []
        if LOSSY.get(core):
            safepoint("stack", core).expect()
            continue
        of_core = ask_all(core, *root)
        for name in QUESTIONS:
            assert of_core[name] == live[name], name
        assert "a core file: --stop" in safepoint("stack", core, "--stop").expect(2).errors
        text = safepoint("stack", core, *root).expect().text
        assert '"waiter"' in text and "wait  (<string>" in text
