# SPDX-License-Identifier: GPL-3.0-or-later
"""Every CPython on this machine that the live tests can start as a target."""
import dataclasses
import glob
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SID = os.environ.get("SID", os.path.join(TOP, "build", "sid"))
SUPPORTED = [(3, minor) for minor in range(8, 16)]

PROBE = """
import json, sys
try:
    import sysconfig
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
except ImportError:
    free_threaded = False
with open("/proc/self/maps") as maps:
    shared = "libpython" in maps.read()
print(json.dumps({"version": list(sys.version_info), "text": sys.version, "debug": hasattr(sys, "gettotalrefcount"),
                  "free_threaded": free_threaded, "shared": shared, "prefix": sys.prefix, "executable": sys.executable}))
"""


@dataclasses.dataclass
class Python:
    path: str  # in its own root
    root: str  # "" for this machine's
    id: str = ""
    version: tuple = ()
    text: str = ""
    debug: bool = False
    free_threaded: bool = False
    shared: bool = False  # with a libpython
    prefix: str = ""

    @property
    def minor(self):
        return tuple(self.version[:2])

    @property
    def number(self):
        return "%d.%d.%d" % tuple(self.version[:3])

    @property
    def outside_path(self):
        return self.root + self.path

    def command(self, binds=(), user=None):
        """The words that start it (as another user); the process that runs them becomes the Python."""
        if not self.root:
            become = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"] if user is not None else []
            return become + [self.path]
        return [os.path.join(HERE, "enter-root.sh"), self.root, ":".join(binds), "" if user is None else str(user), self.path]

    def runs_as(self, user):
        """May that user run it? (Not where it lives in somebody's closed home.)"""
        done = subprocess.run(self.command(user=user) + ["-c", "pass"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL, timeout=60)
        return done.returncode == 0

    def probe(self):
        output = subprocess.run(self.command() + ["-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                timeout=60, stdin=subprocess.DEVNULL)
        if output.returncode != 0:
            raise RuntimeError(output.stderr.decode(errors="replace").strip().splitlines()[-1:] or output.returncode)
        answer = json.loads(output.stdout)
        self.version = tuple(answer["version"])
        self.text, self.prefix = answer["text"], answer["prefix"]
        self.debug, self.free_threaded, self.shared = answer["debug"], answer["free_threaded"], answer["shared"]
        kind = self.version[3] if len(self.version) > 3 else "final"
        self.id = self.number + ("" if kind == "final" else kind[0]) + ("t" if self.free_threaded else "")
        self.id += "d" if self.debug else ""


@dataclasses.dataclass
class Found:
    supported: list
    unsupported: list  # older than ours, free-threaded, newer
    missing: list  # (what, reason): what the machine should have given and didn't


def candidates():
    for path in sorted(glob.glob("/usr/bin/python[23].*") + glob.glob("/usr/local/bin/python[23].*")):
        if re.search(r"/python\d\.\d+t?d?$", path):
            yield Python(path, "")
    for directory in sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*"))):
        yield Python(os.path.join(directory, "bin", "python"), "")
    for path in os.environ.get("SAFEPOINT_PYTHONS", "").split(":"):
        if path:
            yield Python(path, "")
    for version in ("3.13", "3.14", "3.15"):
        for suffix in ("", "d", "t", "td"):
            path = "/usr/bin/python%s%s" % (version, suffix)
            if os.path.exists(SID + path):
                yield Python(path, SID)


def find():
    found, seen = Found([], [], []), set()
    for python in candidates():
        real = os.path.realpath(python.outside_path)
        if real in seen:
            continue
        seen.add(real)
        try:
            python.probe()
        except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            found.missing.append((python.outside_path, "does not start: %s" % (error,)))
            continue
        if python.minor in SUPPORTED and not python.free_threaded:
            same = [other for other in found.supported if other.id == python.id]
            if same:
                python.id += "+%d" % len(same)
            found.supported.append(python)
        else:
            found.unsupported.append(python)
    if not any(python.root for python in found.supported):
        try:
            with open(SID + ".reason") as file:
                reason = file.read().strip()
        except OSError:
            reason = "`make sid` has not been run"
        found.missing.append(("Debian sid's 3.13, 3.14, 3.15 and their debug builds", reason))
    order = lambda python: (python.version[:3], python.debug, python.id)
    found.supported.sort(key=order)
    found.unsupported.sort(key=order)
    return found
