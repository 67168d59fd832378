# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: how long until the answer is at the prompt, and how long the target stood still, measured in one run.

The target is a busy CPython 3.14 (build/sid) that keeps the longest gap in its own loop. Every tool gets the same small
question; tools that bring nothing back are also timed until their script has run. Times are medians; what is quoted
should be the ratios. Tools that are not here are named and left out.
"""
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))
import pythons  # noqa: E402

SAFEPOINT = os.environ.get("SAFEPOINT", os.path.join(TOP, "build", "safepoint"))
VENV = os.path.join(TOP, "build", "bench", "venv")
HYPNO = "hypno==1.1.0"
SCRIPT = ("import sys as s, time as t; m = s.modules['__main__']; m.RAN = t.monotonic_ns(); m.RUNS += 1")


class Failed(Exception):
    pass


class Busy:
    """A target; ended by its PID."""

    def __init__(self, python, binds):
        questions, self.questions = os.pipe()
        self.answers, answers = os.pipe()
        self.popen = subprocess.Popen(python.command(binds) + [os.path.join(HERE, "busy.py"), str(answers)], stdin=questions,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(answers,))
        os.close(questions)
        os.close(answers)
        self.pid = self.popen.pid
        self.hear()

    def hear(self):
        if not select.select([self.answers], [], [], 20)[0]:
            raise Failed("the target hangs")
        line = os.read(self.answers, 1000)
        if not line:
            raise Failed("the target died: %s" % self.popen.wait(20))
        return line.decode().strip()

    def ask(self, word):
        try:
            os.write(self.questions, word.encode())
        except BrokenPipeError:
            raise Failed("the target died: %s" % self.popen.wait(20)) from None
        return self.hear()

    def close(self):
        if self.popen.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.popen.wait()
        os.close(self.questions)
        os.close(self.answers)


class Spawner:
    """tests/bench/spawn.py in a root."""

    def __init__(self, command):
        self.popen = subprocess.Popen(command + [os.path.join(HERE, "spawn.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @classmethod
    def beside(cls, target, python):
        """In the target's own mount namespace and root: sys.remote_exec and gdb find its files by their paths."""
        return cls(["nsenter", "--target", str(target.pid), "--mount", "--", "chroot", python.root, python.path])

    def run(self, words):
        self.popen.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def close(self):
        self.popen.stdin.close()
        self.popen.wait()
        self.popen.stdout.close()


class Row:
    def __init__(self, name, brings_back):
        self.name, self.brings_back = name, brings_back
        self.took, self.ran, self.gap, self.failures = [], [], [], []

    def measure(self, target, spawner, words, good):
        target.ask("reset")
        _, _, runs = target.ask("worst").split()
        target.ask("reset")
        answer = spawner.run(words)
        worst, ran, runs_after = 0, 0, runs
        # A tool may be back before its script has run: wait for it, it has happened when the count has changed.
        for _ in range(2000):
            worst, ran, runs_after = target.ask("worst").split()
            if runs_after != runs or not good:
                break
        if answer["status"] != 0 or (good and not good(answer["output"])) or (good and runs_after == runs):
            self.failures.append(answer["output"].strip()[-300:] or "status %s" % answer["status"])
            return answer
        self.took.append(answer["took"] / 1e6)
        if good:
            self.ran.append((int(ran) - answer["began"]) / 1e6)
        self.gap.append(int(worst) / 1e6)
        return answer


def median(values):
    return statistics.median(values) if values else float("nan")


def peak_memory(pid):
    """VmHWM (KiB) of a safepoint while it waits for a script that has printed a lot. wait4() counts its parent's pages too."""
    code = "import sys, time\nfor i in range(20000): sys.stdout.write('x' * 999 + '\\n')\nsys.stdout.flush(); time.sleep(0.5)"
    popen = subprocess.Popen([SAFEPOINT, "exec", "-q", str(pid), "-c", code], stdout=subprocess.DEVNULL)
    pidfd, peak = os.pidfd_open(popen.pid), 0
    while not select.select([pidfd], [], [], 0.02)[0]:
        with open("/proc/%d/status" % popen.pid) as file:
            peak = max([peak] + [int(line.split()[1]) for line in file if line.startswith("VmHWM:")])
    os.close(pidfd)
    popen.wait()
    return peak


def hypno_program():
    """hypno in a virtual environment under build/, or why not."""
    program = os.path.join(VENV, "bin", "hypno")
    if not os.path.exists(program):
        os.makedirs(os.path.dirname(VENV), exist_ok=True)
        for words in (["/usr/bin/python3", "-m", "venv", VENV], [os.path.join(VENV, "bin", "pip"), "install", "-q", HYPNO]):
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
            if done.returncode:
                shutil.rmtree(VENV, ignore_errors=True)
                return None, "cannot be installed: %s" % (done.stdout.strip().splitlines() or ["?"])[-1]
    return (program, "") if os.path.exists(program) else (None, "has no program of that name")


def measure_each(row, count, python, binds, spawner, words_for, good, rows, missing):
    """A target for each run, for tools that can harm it."""
    for _ in range(count):
        target = Busy(python, binds)
        own = spawner or Spawner.beside(target, python)
        try:
            row.measure(target, own, words_for(target), good)
        except Failed as failure:
            row.failures.append(str(failure))
        finally:
            target.close()
            if not spawner:
                own.close()
    if row.took:
        rows.append(row)
    else:
        missing.append("%s: %s" % (row.name, row.failures[-1]))


def main():
    count = int(os.environ.get("COUNT", "60"))
    chosen = [python for python in pythons.find().supported if python.root and python.minor == (3, 14) and not python.debug]
    if not chosen:
        print("bench: no CPython 3.14 in build/sid; nothing was measured", file=sys.stderr)
        return 1
    python = chosen[0]
    rows, missing, pauses = [], [], []
    with tempfile.TemporaryDirectory(prefix="safepoint-test-") as directory:
        os.chmod(directory, 0o755)
        script = os.path.join(directory, "script.py")
        with open(script, "w") as file:
            file.write(SCRIPT + "\nprint('answer', m.RUNS)\n")
        quiet = os.path.join(directory, "quiet.py")
        with open(quiet, "w") as file:
            file.write(SCRIPT + "\n")
        hypno, why = hypno_program()
        if not hypno:
            missing.append("hypno: " + why)
        binds = [HERE, directory] + ([VENV] if hypno else [])
        binds.append(tempfile.gettempdir())  # hypno puts its library there
        outside = Spawner(["/usr/bin/python3"])
        target = Busy(python, binds)
        inside = Spawner.beside(target, python)
        try:
            nothing = Row("nothing (/bin/true)", False)
            ours = Row("safepoint exec", True)
            theirs = Row("sys.remote_exec (python3.14 -ISc)", False)
            remote = "import sys; sys.remote_exec(%d, %r)" % (target.pid, quiet)
            for row, spawner, words, good in [(ours, outside, [SAFEPOINT, "exec", "-q", target.pid, script], lambda text: text.startswith("answer ")),
                                              (theirs, inside, ["/usr/bin/python3.14", "-ISc", remote], lambda text: text == "")] * 3:
                row.measure(target, spawner, words, good)  # warm up
                row.__init__(row.name, row.brings_back)
            # In turns, so that what else the machine does falls on all of them.
            for _ in range(count):
                nothing.measure(target, outside, ["/bin/true"], None)
                ours.measure(target, outside, [SAFEPOINT, "exec", "-q", target.pid, script], lambda text: text.startswith("answer "))
                theirs.measure(target, inside, ["/usr/bin/python3.14", "-ISc", remote], lambda text: text == "")
            rows += [nothing, ours, theirs]
            peak = peak_memory(target.pid)
            for _ in range(count):
                answer = outside.run([SAFEPOINT, "exec", "-q", "--json", target.pid, script])
                if answer["status"] == 0:
                    pauses.append(json.loads(answer["output"])["pause_us"])
        finally:
            target.close()
        if hypno:
            measure_each(Row("hypno", False), 10, python, binds, outside, lambda target: [hypno, target.pid, SCRIPT], lambda text: True, rows, missing)
        if os.path.exists(python.root + "/usr/bin/gdb"):
            measure_each(Row("gdb, call PyRun_SimpleString", False), 10, python, binds, None, lambda target: [
                "gdb", "-nx", "-batch", "-p", target.pid, "-ex", "set $gil = (int) PyGILState_Ensure()",
                "-ex", 'call (int) PyRun_SimpleString("%s")' % SCRIPT, "-ex", "call (void) PyGILState_Release($gil)"],
                lambda text: True, rows, missing)
        else:
            missing.append("gdb: not in " + os.path.basename(python.root))
        inside.close()
        outside.close()

    with open("/proc/cpuinfo") as file:
        cores = file.read().count("processor\t")
    print("One busy CPython %s, %d cores, medians of what N runs gave; times in ms.\n" % (python.number, cores))
    print("%-34s %4s  %12s %8s  %14s  %17s %8s  %8s" % ("", "N", "at the prompt", "p95", "script ran at", "gap in the target", "p95", "failures"))
    for row in rows:
        p95 = lambda values: sorted(values)[int(len(values) * 0.95)] if values else float("nan")
        print("%-34s %4d  %13.2f %8.2f  %14s  %17.3f %8.3f  %8d" % (
            row.name, len(row.took), median(row.took), p95(row.took), "%.2f" % median(row.ran) if row.ran else "-",
            median(row.gap), p95(row.gap), len(row.failures)))
    print()
    if ours.took:
        for row in rows:
            if row is not ours and row is not nothing and row.took:
                done = max(median(row.took), median(row.ran)) if row.ran else median(row.took)
                print("safepoint / %-34s time %.3f (1/%.1f), gap %.3f (1/%.1f)" % (
                    row.name + ":", median(ours.took) / done, done / median(ours.took), median(ours.gap) / median(row.gap), median(row.gap) / median(ours.gap)))
        print("\nsafepoint's resident memory, its peak in a request that prints 20 MB: %.1f MB" % (peak / 1024))
    if pauses:
        print("the target's thread was stopped for (pause_us, as reported): median %.0f us, p95 %.0f us, longest %.0f us, N %d" % (
            median(pauses), sorted(pauses)[int(len(pauses) * 0.95)], max(pauses), len(pauses)))
    for row in rows:
        for failure in sorted(set(row.failures)):
            print("failed %d times: %s: %s" % (row.failures.count(failure), row.name, failure.replace("\n", " | ")))
    for line in missing:
        print("not measured: " + line)
    return 0 if ours.took else 1


if __name__ == "__main__":
    sys.exit(main())
