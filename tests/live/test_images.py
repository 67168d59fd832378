# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that holds the runtime, in odd states: cut of its section headers, out of reach, mapped more than once, damaged."""
import os
import shutil
import struct
import subprocess
import tempfile
import threading

import pytest

from conftest import SAFEPOINT, copied, safepoint, target_running

pytestmark = pytest.mark.long

SECTION_OFFSET, SECTION_COUNT = 0x28, 0x3C  # e_shoff; e_shnum and e_shstrndx
FIRST_PLACE, MIDDLE_PLACE = 0x10000, 0x20000000000  # below a position-independent program, and between it and the libraries
MAP = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
fd = os.open(%r, os.O_RDONLY)
AT = libc.mmap(%#x, os.fstat(fd).st_size, %d, 0x100002, fd, 0)
os.close(fd)
assert AT == %#x, (AT, ctypes.get_errno())
"""


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as path:
        os.chmod(path, 0o755)
        yield path


def patch(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def cut(path):
    """Removes the section headers: what stays is what the loader needs."""
    patch(path, SECTION_OFFSET, bytes(8))
    patch(path, SECTION_COUNT, bytes(4))


def serves(target, run=safepoint):
    """What needs the runtime, its functions, and the layout."""
    answer = run("exec", "-q", target.pid, "-e", "(sys.version, MARK if 'MARK' in globals() else None)").expect(0)
    assert answer.text == "(%r, None)\n" % target.python.text
    assert run("exec", "-q", target.pid, "-c", "import __main__; print(__main__.MARK)").expect(0).text == "the target's own\n"
    assert "main" in run("info", target.pid).expect(0).text
    assert run("stats", "-q", target.pid).expect(0).text


def test_cut(python, directory):
    moved, env, copy = copied(python, directory)
    cut(copy)
    with target_running(moved, "idle", env=env, binds=[directory]) as target:
        assert copy in target.proc("maps")
        serves(target)


DAMAGES = {
    "offset behind the end": (SECTION_OFFSET, struct.pack("<Q", 1 << 40)),
    "offset of nonsense": (SECTION_OFFSET, struct.pack("<Q", 64)),
    "huge count": (SECTION_COUNT, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_headers(some_python, directory, damage):
    moved, env, copy = copied(some_python, directory)
    patch(copy, *DAMAGES[damage])
    with target_running(moved, "idle", env=env, binds=[directory]) as target:
        serves(target)


def test_cut_short_meanwhile(some_python, directory):
    """A mapped file that grows and shrinks while it is read: that must not kill us."""
    copy = os.path.join(directory, "libpython9.9.so")
    with open("/bin/bash", "rb") as file:
        data = file.read()
    with open(copy, "wb") as file:
        file.write(data)
    with target_running(some_python, "idle", binds=[directory]) as target:
        target.do(MAP % (copy, FIRST_PLACE, 5, FIRST_PLACE))
        over = threading.Event()

        def change():
            with open(copy, "r+b", buffering=0) as changing:
                while not over.is_set():
                    for size in (len(data) // 2, 4096, 100, 0):
                        changing.truncate(size)
                    changing.seek(0)
                    changing.write(data)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(40):
                safepoint("info", target.pid).expect(0)
        finally:
            over.set()
            thread.join()
        serves(target)


# ---------------------------------------------------------------- a file that can't be opened


def powerless(*words):
    """safepoint as who may attach, but not open files by /proc/PID/map_files."""
    command = [SAFEPOINT] + [str(word) for word in words]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-sys_admin,-checkpoint_restore"] + command
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    class Answer:
        text = done.stdout.decode()

        def expect(self, status):
            assert done.returncode == status, (command, done)
            return self

    return Answer()


def cannot_open_maps(pid):
    code = "import os, sys; d = '/proc/%s/map_files/' % sys.argv[1]; os.open(d + os.listdir(d)[0], os.O_RDONLY)"
    command = ["/usr/bin/python3", "-c", code, str(pid)]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-sys_admin,-checkpoint_restore"] + command
    return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_out_of_reach(python, directory, replaced):
    """Its libpython deleted, and no right to open it by its mapping: read where the target has loaded it."""
    if not python.shared:
        pytest.skip("a deleted executable can be opened as /proc/PID/exe")
    moved, env, copy = copied(python, directory)
    with target_running(moved, "idle", env=env, binds=[directory]) as target:
        os.unlink(copy)
        if replaced:
            shutil.copy2("/bin/true", copy)
        assert cannot_open_maps(target.pid)
        serves(target, powerless)


# ---------------------------------------------------------------- more than one

@pytest.mark.parametrize("protection", [5, 7], ids=["r-x", "rwx"])
@pytest.mark.parametrize("at", [FIRST_PLACE, MIDDLE_PLACE], ids=["first", "middle"])
def test_file_mapped_twice(python, protection, at):
    """The whole file mapped like data, executable: its symbols point to nonsense there."""
    if not python.shared and at == FIRST_PLACE:
        pytest.skip("no room below the program")
    with target_running(python, "idle") as target:
        path = [row[0] for row in target.maps()[0] if "libpython" in row[0]] if python.shared else [os.readlink("/proc/%d/exe" % target.pid)]
        inside = path[0][len(python.root):] if python.root and path[0].startswith(python.root + "/") else path[0]
        target.do(MAP % (inside, at, protection, at))
        serves(target)


def test_copy_loaded(python, directory):
    """A second libpython, loaded and never started: the one that runs is found."""
    if not python.shared:
        pytest.skip("an executable can't be loaded")
    _, _, copy = copied(python, directory)
    other = os.path.join(directory, "libpython-copy.so")
    os.rename(copy, other)
    with target_running(python, "idle", binds=[directory]) as target:
        target.do("import ctypes\nCOPY = ctypes.PyDLL(%r)" % other)
        assert other in target.proc("maps")
        serves(target)
        # The copy has a runtime of its own, and it isn't initialized.
        assert target.ask("ctypes.addressof(ctypes.c_char.in_dll(COPY, '_PyRuntime')) != ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyRuntime'))")


def test_same_file_loaded_again(python):
    """The very libpython a second time, in a namespace of the loader's, with a C library of its own."""
    if not python.shared:
        pytest.skip("an executable can't be loaded")
    with target_running(python, "idle") as target:
        path = [row[0] for row in target.maps()[0] if "libpython" in row[0]][0]
        target.do("import ctypes\nC = ctypes.CDLL(None)\nC.dlmopen.restype = ctypes.c_void_p\n"
                  "AGAIN = C.dlmopen(ctypes.c_long(-1), %r.encode(), 2)" % path)
        assert target.ask("AGAIN is not None")
        assert len([line for line in target.proc("maps").splitlines() if " r-xp " in line and line.endswith(path)]) == 2
        serves(target)
