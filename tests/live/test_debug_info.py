# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts by a build's debug information: our tables against it; a safepoint without tables, which has nothing else."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

import conftest
from conftest import SAFEPOINT, Answer, copied, found, safepoint, target_running
from test_core import heap, rows, taken

BUILT = os.path.dirname(SAFEPOINT)
CHECK = os.path.join(BUILT, "layout-check")
NO_TABLES = os.path.join(BUILT, "safepoint-no-tables")

# Moved within 3.13, nobody has noted when: what reads a heap looks near the table's place.
SEARCHED = {"interpreter.generations", "interpreter.permanent_after"}
KNOWN = ("3.13.0", "3.13.18")


def check(pid):
    done = subprocess.run([CHECK, str(pid)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60)
    return done.returncode, done.stdout.decode()


def without_tables(*words, env=None):
    """The safepoint that knows no layout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPOINT")}
    environment.update(env or {})
    words = [str(word) for word in words]
    done = subprocess.run([NO_TABLES] + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60,
                          env=environment)
    assert done.returncode >= 0 and done.returncode != 70, done
    return Answer(words, done.returncode, done.stdout, done.stderr, 0, 0)


def describes_itself(python):
    """Is there DWARF in the file that has the interpreter?"""
    with target_running(python) as target:
        return check(target.pid)[0] != 2


def test_the_tables_are_what_the_build_says(python):
    with target_running(python) as target:
        status, text = check(target.pid)
    if status == 2:
        assert "there is no debug information" in text
        pytest.skip(text.strip())
    wrong = [line for line in text.splitlines() if ": ours " in line]
    assert int(re.search(r"(\d+) compared", text).group(1)) > 200, text
    searched = SEARCHED if python.minor == (3, 13) and python.number not in KNOWN else ()
    assert not [line for line in wrong if line.split()[1] not in searched], text


def test_a_build_that_no_table_knows(python):
    with target_running(python) as target:
        target.do("class Known:\n    pass\nKNOWN = [Known() for _ in range(321)]")
        pid = target.until_blocked()
        known = heap(pid, "--no-pause")
        if check(pid)[0] == 2:
            refused = without_tables("heap", pid).expect(5)
            assert "debug information" in refused.errors and "--debuginfod" in refused.errors
            assert "CPython " + python.number in refused.errors
            return
        answer = without_tables("heap", pid, "--no-pause", "--json").expect().result
        assert rows(answer) == rows(known) and answer["objects"] == known["objects"]
        assert rows(answer)["__main__.Known"][0] == 321
        ours, theirs = safepoint("info", pid, "--json").expect().result, without_tables("info", pid, "--json").expect().result
        for key in ("python", "build", "static", "gil", "remote_debug"):
            assert ours[key] == theirs[key]
        assert [thread["frame"] for thread in ours["threads"]] == [thread["frame"] for thread in theirs["threads"]]
        assert without_tables("exec", pid, "-e", "len(__import__('__main__').KNOWN)").expect().text.strip() == "321"


@pytest.fixture(scope="module")
def described_python():
    """One with its debug information in a libpython."""
    for python in found().supported:
        if python.shared and not python.root and not python.debug and describes_itself(python):
            return python
    pytest.skip("no Python with a libpython that has debug information")


def split(library, debug, link=False):
    """Moves a file's debug information into another one."""
    subprocess.run(["objcopy", "--only-keep-debug", library, debug], check=True)
    subprocess.run(["strip", "--strip-all", library], check=True)
    if link:
        subprocess.run(["objcopy", "--add-gnu-debuglink=" + debug, library], check=True)


def build_id(path):
    notes = subprocess.run(["readelf", "-n", path], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    return re.search(r"Build ID: ([0-9a-f]+)", notes).group(1)


@contextlib.contextmanager
def directory_for_a_copy():
    with tempfile.TemporaryDirectory(prefix="safepoint-debug-") as path:
        yield path


def test_debug_information_by_its_link(described_python):
    with directory_for_a_copy() as directory:
        started, environment, library = copied(described_python, directory)
        os.mkdir(os.path.join(directory, ".debug"))
        debug = os.path.join(directory, ".debug", "libpython.debug")
        split(library, debug, link=True)
        with target_running(started, env=environment) as target:
            pid = target.until_blocked()
            assert rows(without_tables("heap", pid, "--no-pause", "--json").expect().result) == rows(heap(pid, "--no-pause"))
            os.rename(debug, debug + ".away")
            assert "no debug information" in without_tables("heap", pid).expect(5).errors
            # Another file under its name isn't taken: its checksum is another.
            other = os.path.join(directory, "other")
            shutil.copy2("/bin/true", other)
            subprocess.run(["objcopy", "--only-keep-debug", other, debug], check=True)
            assert "no debug information" in without_tables("heap", pid).expect(5).errors


def test_debug_information_of_a_core_by_its_build_id(described_python):
    with directory_for_a_copy() as directory:
        started, environment, library = copied(described_python, directory)
        identity = build_id(library)
        place = os.path.join(directory, "root/usr/lib/debug/.build-id", identity[:2])
        os.makedirs(place)
        split(library, os.path.join(place, identity[2:] + ".debug"))
        _, live, _, cores = taken(started, directory, env=environment)
        for core in cores:
            assert "no debug information" in without_tables("heap", core).expect(5).errors
            found_there = without_tables("heap", core, "--root", os.path.join(directory, "root"), "--json").expect().result
            assert rows(found_there) == rows(live)


def test_servers_are_asked_only_when_that_is_asked_for(described_python):
    with directory_for_a_copy() as directory, socket.socket() as server:
        started, environment, library = copied(described_python, directory)
        subprocess.run(["strip", "--strip-all", library], check=True)
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        asked = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    asked.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        servers = {"DEBUGINFOD_URLS": "http://127.0.0.1:%d/" % server.getsockname()[1], "DEBUGINFOD_CACHE_PATH": directory}
        with target_running(started, env=environment) as target:
            pid = target.until_blocked()
            assert "no debug information" in without_tables("info", pid, env=servers).expect(5).errors
            assert not asked
            without_tables("info", pid, "--debuginfod", env=servers).expect(5)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(conftest.PATIENCE)
        if not asked:
            pytest.skip("libdw has no libdebuginfod here")
        assert build_id(library).encode() in asked[0]
