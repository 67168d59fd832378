# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts commands and times them, from within the root where they live.

It reads one JSON list a line (the words of a command) and answers with one JSON object: when it began (monotonic, ns),
how long it took until its end (ns), exit status, the output.
"""
import json
import os
import sys
import time

NULL = os.open("/dev/null", os.O_RDWR)
for line in sys.stdin:
    words = json.loads(line)
    output = os.memfd_create("output")
    actions = [(os.POSIX_SPAWN_DUP2, NULL, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    began = time.monotonic_ns()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = time.monotonic_ns() - began
    text = os.pread(output, 1 << 20, 0).decode(errors="replace")
    os.close(output)
    print(json.dumps({"began": began, "took": took, "status": status, "output": text}), flush=True)
