# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of all comparisons as one table at the end; and in CI nothing that this machine could give is left out."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "live"))
import pythons  # noqa: E402

CI = os.environ.get("CI") == "true"
COLUMNS = ("python", "heap", "objects", "missing", "false", "edges", "lost", "found", "refcounts", "sizes", "equal")
_figures = []


@pytest.fixture(scope="session")
def leave_out():
    """Says why a comparison can't be made here; in CI that is a failure."""
    return pytest.fail if CI else pytest.skip


def row_of(python, heap, counts, dead):
    """One line of the table. `false`: objects of ours that are none; `lost`: the oracle's edges that we haven't."""
    edges, objects = counts["edges"], counts["objects"]
    return (python, heap, objects, counts["missing"], len(dead), edges, counts["lost"], "%.3f%%" % (100 - 100 * counts["lost"] / edges),
            counts["refcounts"], counts["sizes"], "%.3f%%" % (100 - 100 * counts["sizes"] / objects))


def pytest_runtest_logreport(report):
    _figures.extend(value for name, value in report.user_properties if name == "figures" and report.when == "call")


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("heaps read from outside, against the oracle inside")
    rows = [COLUMNS] + [tuple(str(cell) for cell in row) for row in sorted(_figures, key=lambda row: (row[1], by_version(row[0])))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        cells = [cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        terminalreporter.write_line("  ".join(cells))
    terminalreporter.write_line("objects and edges are the oracle's; refcounts and sizes: that differ")
    for what, reason in pythons.find().missing:
        terminalreporter.write_line("skipped: %s: %s" % (what, reason))


def by_version(name):
    return [int("".join(digit for digit in part if digit.isdigit()) or 0) for part in name.split(".")], name


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A Python that could be had and was not compared fails the run; -k that chooses nothing here doesn't."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.keyword:
        session.exitstatus = 0
    if not CI or exitstatus or hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    found = pythons.find()
    compared = {row[0] for row in _figures}
    lines = ["%s: %s" % missing for missing in found.missing]
    lines += ["%s: not compared" % python.id for python in found.supported if python.id not in compared]
    for line in lines:
        print("not tested though CI asks for it: %s" % line, file=sys.stderr)
        session.exitstatus = 1
