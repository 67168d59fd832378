# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a heap with words overwritten at random: they are read, or refused, in good time, and never crash us."""
import os
import subprocess

import pytest

import pythons

BUILD = os.path.dirname(os.environ.get("SAFEPOINT", os.path.join(pythons.TOP, "build", "safepoint")))
FOUND = pythons.find().supported
ROUNDS = 12
PATIENCE = 120  # seconds for all of them, sanitizers included; one takes about 50 ms
TARGET = ("import asyncio, json, sys, unittest; kept = [{'a': i, 'b': [i, (i,)]} for i in range(5000)]; "
          "print('ready', flush=True); sys.stdin.read()")


@pytest.mark.parametrize("python", FOUND, ids=lambda python: python.id)
def test_torn_copies(python):
    with subprocess.Popen(python.command() + ["-c", TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as target:
        try:
            assert target.stdout.readline() == b"ready\n"
            done = subprocess.run([os.path.join(BUILD, "heap", "torn"), str(target.pid), str(ROUNDS), str(python.version[1])],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, text=True)
        finally:
            target.kill()
    rounds = [line for line in done.stdout.splitlines() if line.startswith("round ")]
    assert done.returncode == 0 and len(rounds) == ROUNDS, done.stdout[-4000:]
    # Few words are torn in most rounds: then nearly all is still found.
    assert sum("objects" in line and int(line.split()[3]) > 15000 for line in rounds) >= ROUNDS // 2, done.stdout
