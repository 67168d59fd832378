# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that want us to crash, hang, or eat memory: an error in bounded time and memory, and the target lives.

Here the script that we run plays the agent: it finds the channel's descriptor and says on it what it likes.
"""
import os
import shutil
import subprocess
import tempfile
import time

import pytest

from conftest import CI, SANITIZED, TARGETS, Process, safepoint, target_running

pytestmark = pytest.mark.long

TIMEOUT = 0.8  # seconds, for a script that would go on for ever
RSS = 160 * 1024 * 1024

FIND = """
import os, sys, time, stat
def find():
    return [int(n) for n in os.listdir('/proc/self/fd')
            if os.path.exists('/proc/self/fd/' + n) and stat.S_ISSOCK(os.stat('/proc/self/fd/' + n).st_mode)]
fd, = find()
def frame(kind, payload=b'', size=None):
    os.write(fd, (len(payload) if size is None else size).to_bytes(4, 'little') + kind + payload)
"""

NOTHING = (0, 5, 6, 7)
# name: what the script does, the exit statuses that are right for it, a word of the error
ATTACKS = {
    "garbage": ("for i in range(1000): os.write(fd, os.urandom(1 + i % 900))", (5,), "channel"),
    "wild header": ("frame(b'O', b'x', 1 << 31)", (5,), "frame of"),
    "unknown kind": ("frame(b'~')", (5,), "unknown kind"),
    "large packet": ("frame(b'O', b'x' * 150000)", (5,), "frame of"),
    "cut packets": ("frame(b'O', b'', 60000)\nfor i in range(100): os.write(fd, b'yyyyy')", (0, 5, 6), ""),
    "empty packets": ("import _socket\ns = _socket.socket(fileno=os.dup(fd))\ntry:\n    for i in range(100): s.send(b'')\nfinally:\n    s.close()", (0, 5), ""),
    "wrong way": ("for kind in b'RCG': frame(bytes([kind]), b'x')", (0,), ""),
    "all kinds": ("for i in range(3000): frame(b'HSOEVIXMYNTQ'[i % 12:][:1], os.urandom(i % 700))", (0, 5, 7), ""),
    "endless exceptions": ("while True: frame(b'X', b'E\\0cause')", (5,), "don't end"),
    "endless traceback": ("frame(b'X', b'E\\0')\nwhile True: frame(b'T', b'1\\0f\\0<string>\\0' * 1000)", (6,), "not done"),
    "endless message": ("frame(b'X', b'E\\0')\nwhile True: frame(b'M', b'm' * 30000)", (6,), "not done"),
    "endless notes": ("frame(b'X', b'E\\0')\nwhile True: frame(b'N')", (6,), "not done"),
    "endless starts": ("while True: frame(b'S', bytes(24))", (6,), "not done"),
    "endless exits": ("while True: frame(b'Q')", (6,), "not done"),
    "exception without end": ("frame(b'X', b'E' * 60000)", (5,), "makes no sense"),
    "start without addresses": ("frame(b'S', b'1234567')", (5,), "makes no sense"),
    "addresses of nothing": ("frame(b'S', b'\\xff' * 24)\nfor i in range(13): time.sleep(0.1)", (6,), "not done"),
    "addresses of null": ("frame(b'S', bytes(24))\nfor i in range(13): time.sleep(0.1)", (6,), "not done"),
    "unknown part": ("frame(b'P', b'no such part')", (5,), "part"),
    "says it is done": ("frame(b'D')\ntime.sleep(0.3)", (0,), ""),
    "done, then more": ("frame(b'D')\nfor i in range(50): frame(b'O', b'x')", (0,), ""),
    "closed": ("os.close(fd)", (5,), "without an answer"),
    "closed, then another thing": ("os.close(fd)\nr, w = os.pipe()\nimport __main__\n__main__.KEPT = r, w, fd", (5,), "without an answer"),
    "kept open by a child": ("""
child = os.fork()
if not child:
    time.sleep(1.2)
    os._exit(0)
import __main__
__main__.CHILD = child
os.close(fd)
""", (5, 6), ""),
    "garbage by a child": ("""
child = os.fork()
if not child:
    for i in range(1000): os.write(fd, os.urandom(1 + i % 900))
    os._exit(0)
import __main__
__main__.CHILD = child
time.sleep(0.3)
""", (5,), "channel"),
}


def bounded(answer, seconds=TIMEOUT + 8):
    assert answer.seconds < seconds, answer.seconds
    assert SANITIZED or answer.max_rss < RSS, answer.max_rss
    assert answer.status == 0 or answer.errors.strip() or "--json" in answer.words, "no word of why"
    return answer


def still_serves(target):
    """It lives, keeps its own, holds nothing of ours, and the next run is served."""
    assert target.ask("MARK") == "the target's own" and target.tracer() == 0
    assert safepoint("exec", "-q", target.pid, "-e", "40 + 2").expect(0).text == "42\n"
    assert not [name for name in target.descriptors().values() if name.startswith(("socket:", "/memfd:safepoint"))]
    assert not target.ask("[child for child in [globals().pop('CHILD', None)] if child and os.waitpid(child, 0)[1]]")


@pytest.mark.parametrize("attack", ATTACKS)
def test_on_the_channel(hostile, attack):
    code, statuses, word = ATTACKS[attack]
    answer = bounded(safepoint("exec", "--timeout", "%ss" % TIMEOUT, hostile.pid, "-c", FIND + code))
    assert answer.status in statuses, (answer.status, answer.errors[-1000:], answer.text[-200:])
    assert word in answer.errors, answer.errors[-1000:]
    still_serves(hostile)


@pytest.fixture
def hostile(some_python):
    with target_running(some_python, "idle") as target:
        yield target


@pytest.mark.parametrize("attack", ["garbage", "closed", "kept open by a child"])
def test_on_each_version(python, attack):
    code, statuses, word = ATTACKS[attack]
    with target_running(python, "idle") as target:
        answer = bounded(safepoint("exec", "--json", "--timeout", "%ss" % TIMEOUT, target.pid, "-c", FIND + code))
        assert answer.status in statuses and word in answer.error["message"], answer.text[-1000:]
        still_serves(target)


@pytest.mark.parametrize("frames", ["O", "V", "E"])
def test_endless_output(hostile, frames):
    """It is passed on as it comes, for as long as the script may take."""
    code = "while True: frame(b'%s', b'x' * 50)" % frames
    answer = bounded(safepoint("exec", "-q", "--timeout", "500ms", hostile.pid, "-c", FIND + code))
    assert answer.status == 6 and (answer.out or answer.err)
    still_serves(hostile)


def test_in_a_console(hostile):
    lines = FIND.replace("\ndef ", "\n\ndef ").replace("\nfd", "\n\nfd") + "\n\nfor i in range(1000): frame(b'V', os.urandom(i))\n\n1 + 1\n"
    answer = bounded(safepoint("console", "--timeout", "%ss" % TIMEOUT, hostile.pid, stdin=lines.encode()))
    assert answer.out.endswith(b"2\n"), (answer.status, answer.errors)
    still_serves(hostile)


STATS = {
    "lines": ("'t 1 1 1 0 0 - x\\n' * 1000000", "lines"),
    "bytes": ("'x' * (1 << 26)", "don't end"),
    "nonsense": ("'t 1 2 3\\n'", "makes no sense"),
    "buckets": ("'t 1 1 1 0 0 64:1 x\\n'", "makes no sense"),
    "numbers": ("'n modules 99999999999999999999999\\ng 17 1 1 1 1 1\\n'", "makes no sense"),
    "zeros": ("'\\0' * 100000", "end in the middle"),
}


@pytest.mark.parametrize("kind", STATS)
def test_statistics(some_python, kind):
    """A collector that isn't the collector: it writes lines of its own."""
    text, word = STATS[kind]
    with target_running(some_python, "idle") as target:
        target.do("import gc\nreal = gc.get_objects\ndef get_objects(generation=None):\n    sys.stdout.write(%s)\n    return real(generation=generation)\ngc.get_objects = get_objects" % text)
        answer = bounded(safepoint("stats", target.pid))
        assert answer.status in (5, 7) and word in answer.errors, answer.errors[-1000:]
        target.do("gc.get_objects = real")
        still_serves(target)


# ---------------------------------------------------------------- while we stage

RACES = {
    "writes": "os.write(fd, os.urandom(50))",
    "closes": "os.close(fd)",
    "replaces": "os.dup2(null, fd)",
}


@pytest.mark.parametrize("race", RACES)
def test_another_thread(python, race):
    """A thread of the target that lies in wait for our descriptors."""
    with target_running(python, "sleep") as target:
        kept = [int(number) for number in target.descriptors()]
        target.do("""
null = os.open('/dev/null', os.O_RDWR)
OVER = []
def lie_in_wait():
    while not OVER:
        for fd in range(%d, %d):
            try:
                os.stat('/proc/self/fd/%%d' %% fd)
                if fd != null:
                    %s
            except OSError:
                pass
WAITING = threading.Thread(target=lie_in_wait)
WAITING.start()
""" % (max(kept) + 1, max(kept) + 8, RACES[race]))
        for _ in range(5):
            answer = bounded(safepoint("exec", "--timeout", "%ss" % TIMEOUT, target.pid, "-e", "1"))
            assert answer.status in (0, 5, 6), (answer.status, answer.errors)
        target.do("OVER.append(1); WAITING.join(); os.close(null)")
        for number in set(target.descriptors()) - set(kept):
            target.do("os.close(%d)" % number)  # what it replaced is its own now
        assert safepoint("exec", "-q", target.pid, "-e", "40 + 2").expect(0).text == "42\n"


# ---------------------------------------------------------------- memory

# Where a thread state keeps its `next`, `interp` and thread id is found by what they must be.
THREADS = """
import ctypes, gc
api = ctypes.pythonapi
for name in ("PyThreadState_Get", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
    getattr(api, name).restype = ctypes.c_void_p
api.PyInterpreterState_ThreadHead.argtypes = api.PyThreadState_Next.argtypes = [ctypes.c_void_p]
HEAD = None
def words(at):
    return (ctypes.c_uint64 * 60).from_address(at)
def look(interpreter):
    global HEAD, LAST, NEXT, INTERP
    HEAD = api.PyInterpreterState_ThreadHead(interpreter)
    LAST = api.PyThreadState_Next(HEAD)
    NEXT, = [i for i in range(60) if words(HEAD)[i] == LAST][:1]
    INTERP, = [i for i in range(60) if words(HEAD)[i] == interpreter and words(LAST)[i] == interpreter][:1]
api.PyInterpreterState_Head.restype = ctypes.c_void_p
look(api.PyInterpreterState_Head())
gc.disable()
"""
MANY = 100000
LISTS = {
    "a cycle": ("words(LAST)[NEXT] = HEAD", "doesn't end"),
    "itself": ("words(LAST)[NEXT] = LAST", "doesn't end"),
    "nowhere": ("words(LAST)[NEXT] = 0xdead0000", "the list of threads"),
    "odd": ("words(LAST)[NEXT] = HEAD + 1", "no address"),
    # Each thread state of this list is 512 bytes after the one before.
    "many": ("""
MANY = ctypes.create_string_buffer(512 * %d)
first = ctypes.addressof(MANY) + 15 & ~15
for at in range(first, first + 512 * %d, 512):
    ctypes.memmove(at, LAST, 480)
    ctypes.c_uint64.from_address(at + 8 * NEXT).value = at + 512
words(LAST)[NEXT] = first
""" % (MANY + 1, MANY), "doesn't end"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_thread_lists(python, kind):
    code, word = LISTS[kind]
    with target_running(python, "sleep") as target:
        target.do(THREADS)
        target.do(code)
        try:
            for words in (["info", target.pid], ["exec", "--timeout", "%ss" % TIMEOUT, target.pid, "-e", "1"], ["stats", target.pid]):
                answer = bounded(safepoint(*words), 15)
                assert answer.status in (5, 6) and word in answer.errors, (answer.status, answer.errors)
        finally:
            target.do("words(LAST)[NEXT] = 0\ngc.enable()")
        assert safepoint("exec", "-q", target.pid, "-e", "40 + 2").expect(0).text == "42\n"


# ---------------------------------------------------------------- files and /proc


@pytest.fixture(scope="module")
def hostile_program():
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler and not CI:
        pytest.skip("no compiler")
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        program = os.path.join(directory, "hostile")
        subprocess.run([compiler, "-D_GNU_SOURCE", "-O1", "-o", program, os.path.join(TARGETS, "hostile.c")], check=True)
        yield program


@pytest.mark.parametrize("mode, status, message", [("cookies", 5, "no CPython was found"), ("symbols", 3, "is not Python")])
def test_mappings(hostile_program, mode, status, message):
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        read, write = os.pipe()
        process = Process([hostile_program, mode, os.path.join(directory, "file")], stdin=read)
        os.close(read)
        try:
            while process.alive() and process.printed() != b"ready\n":
                time.sleep(0.01)
            assert process.alive()
            answer = bounded(safepoint("info", process.pid).expect(status), 15 if not SANITIZED else 60)
            assert message in answer.errors
            assert process.alive() and process.tracer() == 0
        finally:
            os.close(write)
            process.kill()


COMMAND = """
import ctypes, mmap
fields = open('/proc/self/stat').read().rpartition(')')[2].split()
field = lambda number: int(fields[number - 3])
SIZE = 1 << 29
TEXT = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE)
for at in range(0, SIZE, 1 << 20):
    TEXT[at:at + (1 << 20)] = b'x' * (1 << 20)
TEXT[SIZE - 1] = 0
text = ctypes.addressof(ctypes.c_char.from_buffer(TEXT))
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_void_p
# struct prctl_mm_map: code, data, brk, stack, arguments, environment, no auxiliary vector, no other program
places = [field(26), field(27), field(45), field(46), field(47), libc.sbrk(0), field(28), text, text + SIZE, field(50), field(51), 0]
numbers = (ctypes.c_uint64 * 13)(*places, 0xffffffff00000000)
assert libc.prctl(35, ctypes.c_ulong(14), numbers, ctypes.c_ulong(104), ctypes.c_ulong(0)) == 0, ctypes.get_errno()
"""


def test_command_line(some_python):
    """As long as its memory: half a gibibyte."""
    with target_running(some_python, "idle") as target:
        target.do(COMMAND)
        assert len(target.proc("cmdline")) > 1 << 28
        for words in (["info", target.pid], ["ps"], ["ps", "-v"], ["info", "--json", target.pid]):
            answer = bounded(safepoint(*words).expect(0), 15)
            assert b"xxxxx" in answer.out and len(answer.out) < 1 << 20
        still_serves(target)
