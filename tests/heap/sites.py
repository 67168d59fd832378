# SPDX-License-Identifier: GPL-3.0-or-later
"""Real libraries for each version of Python, of these exact versions, under build/heap-sites."""
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys

import pythons

SITES = os.path.join(pythons.TOP, "build", "heap-sites")

# What is installed: (from this version of Python on, this release); None: there is no wheel.
PINS = {
    "asgiref": [(8, "3.8.1"), (9, "3.11.1")],
    "backports.zoneinfo": [(8, "0.2.1"), (9, None)],
    "django": [(8, "4.2.30"), (10, "5.2.19")],
    "jinja2": [(8, "3.1.6")],
    "markupsafe": [(8, "2.1.5"), (9, "3.0.4")],
    "numpy": [(8, "1.24.4"), (9, "2.0.2"), (10, "2.2.6"), (11, "2.4.6"), (15, None)],
    "pyyaml": [(8, "6.0.3"), (15, None)],
    "sqlalchemy": [(8, "2.0.58"), (11, "2.1.9")],
    "sqlparse": [(8, "0.5.5"), (10, "0.6.1")],
    "typing_extensions": [(8, "4.13.2"), (9, "4.16.0")],
}
# What the heap of libraries must then have imported.
IMPORTS = {"django": "django", "jinja2": "jinja2", "numpy": "numpy", "pyyaml": "yaml", "sqlalchemy": "sqlalchemy"}


def pins(python):
    chosen = {name: [pin for minor, pin in rows if minor <= python.minor[1]] for name, rows in PINS.items()}
    return {name: rows[-1] for name, rows in chosen.items() if rows and rows[-1]}


def imports(python):
    return {IMPORTS[name] for name in pins(python) if name in IMPORTS}


@contextlib.contextmanager
def locked(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_site(python):
    """A directory with those libraries, made once; and None, or why there is none."""
    site = os.path.join(SITES, "pinned-%d.%d" % python.minor)
    with locked(site + ".lock"):
        if os.path.isdir(site):
            return site, None
        shutil.rmtree(site + ".new", ignore_errors=True)
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", site + ".new",
                               "--python-version", "%d.%d" % python.minor, "--only-binary=:all:"]
                              + ["%s==%s" % pin for pin in sorted(pins(python).items())], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, text=True)
        if done.returncode:
            return None, (done.stdout.strip().splitlines() or ["pip failed"])[-1]
        os.rename(site + ".new", site)
    return site, None
