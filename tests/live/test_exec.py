# SPDX-License-Identifier: GPL-3.0-or-later
"""exec: what goes in, what comes back, and that the target is as it was."""
import os
import re
import textwrap

import pytest

from conftest import NOBODY, SANITIZED, Running, Target, safepoint, target_running


def write(directory, name, text):
    path = os.path.join(os.fspath(directory), name)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return path


# ---------------------------------------------------------------- the forms


def test_version(idle):
    answer = safepoint("exec", idle.pid, "-e", "sys.version").expect(0)
    assert answer.text == repr(idle.python.text) + "\n"
    assert re.search(r"^safepoint: .*pause.*us", answer.errors, re.MULTILINE)


def test_version_when_busy(busy):
    rounds = busy.ask("ROUNDS")
    answer = safepoint("exec", busy.pid, "-e", "sys.version").expect(0)
    assert answer.text == repr(busy.python.text) + "\n"
    assert busy.ask("ROUNDS") >= rounds


def test_version_when_sleeping(python):
    """The main thread sleeps again and again; no sleep is cut short (the target checks)."""
    with target_running(python, "sleep") as target:
        for _ in range(3):
            answer = safepoint("exec", target.pid, "-e", "sys.version").expect(0)
            assert answer.text == repr(python.text) + "\n"


def test_file(idle, tmp_path):
    script = write(tmp_path, "script.py", """
        import sys
        print("out", __name__, __file__, sys.argv)
        print("err", file=sys.stderr)
        """)
    answer = safepoint("exec", "-q", idle.pid, script, "--", "one", "--two", "").expect(0)
    assert answer.text == "out __main__ %s %r\n" % (script, [script, "one", "--two", ""])
    assert answer.errors == "err\n"


def test_relative_file(idle, tmp_path, monkeypatch):
    """The path is ours: it is opened here, not in the target's directory."""
    write(tmp_path, "script.py", "print('here')")
    monkeypatch.chdir(tmp_path)
    assert safepoint("exec", idle.pid, "script.py").expect(0).text == "here\n"


def test_standard_input(idle):
    answer = safepoint("exec", "-q", idle.pid, "-", "--", "x", stdin=b"import sys\nprint(sys.argv, __name__)\n").expect(0)
    assert answer.text == "['-', 'x'] __main__\n" and answer.errors == ""


def test_code(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "import sys; print(sys.argv, __name__)", "--", "a", "b").expect(0)
    assert answer.text == "['-c', 'a', 'b'] __main__\n" and answer.errors == ""


def test_expression(idle):
    answer = safepoint("exec", "-q", idle.pid, "-e", "sys.argv", "--", "a").expect(0)
    assert answer.text == "['-e', 'a']\n" and answer.errors == ""


def test_expression_sees_what_is_loaded(idle):
    answer = safepoint("exec", "-q", idle.pid, "-e", "(len(__main__.orders), __main__.MARK, json.dumps([1]), gc.isenabled())")
    assert answer.expect(0).text == repr((37, "the target's own", "[1]", True)) + "\n"


def test_expression_does_not_import(idle):
    """What is not loaded is a NameError, and stays unloaded."""
    assert not idle.ask("'wave' in sys.modules")
    answer = safepoint("exec", "-q", idle.pid, "-e", "wave.open").expect(7)
    assert "NameError" in answer.errors
    assert not idle.ask("'wave' in sys.modules")


def test_expression_none(idle):
    assert safepoint("exec", "-q", idle.pid, "-e", "None").expect(0).text == "None\n"


def test_dash_arguments_reach_the_script(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "import sys; print(sys.argv[1:])", "--", "--json", "-q", "--", "-").expect(0)
    assert answer.text == "['--json', '-q', '--', '-']\n"


def test_argv_is_restored(idle):
    before = idle.ask("sys.argv")
    safepoint("exec", idle.pid, "-c", "import sys; sys.argv.append('mine')", "--", "x").expect(0)
    assert idle.ask("sys.argv") == before


def test_undecodable_argument(idle):
    """Arguments are bytes to us, and surrogates to Python, as on its own command line."""
    answer = safepoint("exec", "-q", idle.pid, "-e", "sys.argv[1]", "--", b"\xff\xfe").expect(0)
    assert answer.text == "'\\udcff\\udcfe'\n"


# ---------------------------------------------------------------- values, output, exceptions, exit status


def test_no_newline_is_added(idle):
    assert safepoint("exec", "-q", idle.pid, "-c", "import sys; sys.stdout.write('abc')").expect(0).out == b"abc"


def test_output_of_unicode(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "print('\\u00e9\\u4e2d\\U0001f40d')").expect(0)
    assert answer.out == "\u00e9\u4e2d\U0001f40d\n".encode()


def test_output_invalid_utf8_and_surrogates(idle):
    """Bytes that were undecodable come out as the bytes they were; a lone surrogate cannot kill script or wire."""
    answer = safepoint("exec", "-q", idle.pid, "-c", "print('a\\udcff\\udc80b'); print('c\\ud800d')").expect(0)
    first, second = answer.out.split(b"\n")[:2]
    assert first == b"a\xff\x80b"
    assert second.startswith(b"c") and second.endswith(b"d") and len(second) > 2


def test_output_of_bytes(idle):
    """sys.stdout.buffer works as on a real stream."""
    answer = safepoint("exec", "-q", idle.pid, "-c", "import sys; sys.stdout.buffer.write(b'\\x00\\xff\\n'); sys.stdout.flush()")
    assert answer.expect(0).out == b"\x00\xff\n"


def test_invalid_utf8_in_json(idle):
    """JSON stays JSON."""
    answer = safepoint("exec", "--json", idle.pid, "-c", "print('a\\udcffb\\ud800c\\x00\\x1b')").expect(0)
    answer.out.decode("utf-8")
    assert answer.result["stdout"].startswith("a") and answer.result["stdout"].endswith("c\0\x1b\n")


def test_exception(idle, tmp_path):
    script = write(tmp_path, "raises.py", """
        def inner(value):
            raise ValueError("no good: %r" % (value,))

        print("before")
        inner(5)
        """)
    answer = safepoint("exec", "-q", idle.pid, script).expect(7)
    assert answer.text == "before\n"
    assert answer.errors.startswith("Traceback (most recent call last):\n")
    assert '  File "%s", line 6, in <module>\n' % script in answer.errors
    assert '  File "%s", line 3, in inner\n' % script in answer.errors
    assert "ValueError: no good: 5\n" in answer.errors


def test_traceback_shows_only_the_script(idle):
    """No frame of ours in it."""
    answer = safepoint("exec", "-q", idle.pid, "-c", "1/0").expect(7)
    files = re.findall(r'File "([^"]*)"', answer.errors)
    assert files == ["<string>"] or (len(files) == 1 and files[0].startswith("<")), answer.errors


def test_exception_in_expression(idle):
    answer = safepoint("exec", "-q", idle.pid, "-e", "{}['missing']").expect(7)
    assert "KeyError: 'missing'" in answer.errors and answer.text == ""


def test_repr_that_raises(idle):
    code = "type('Bad', (), {'__repr__': lambda self: 1/0})()"
    answer = safepoint("exec", "-q", idle.pid, "-e", code).expect(7)
    assert "ZeroDivisionError" in answer.errors


def test_exception_whose_str_raises(idle):
    code = "class Bad(Exception):\n    def __str__(self): raise RuntimeError('deep')\nraise Bad()"
    answer = safepoint("exec", "-q", idle.pid, "-c", code).expect(7)
    assert "Bad" in answer.errors


def test_chained_exception(idle):
    code = "try:\n    1/0\nexcept Exception as e:\n    raise KeyError('second') from e"
    answer = safepoint("exec", "-q", idle.pid, "-c", code).expect(7)
    assert "ZeroDivisionError" in answer.errors and "KeyError" in answer.errors and "direct cause" in answer.errors


@pytest.mark.parametrize("code", ["KeyboardInterrupt()", "GeneratorExit()", "BaseException('odd')"])
def test_base_exceptions(idle, code):
    answer = safepoint("exec", "-q", idle.pid, "-c", "raise " + code).expect(7)
    assert code.split("(")[0] in answer.errors


@pytest.mark.parametrize("code", ["raise SystemExit", "raise SystemExit(0)", "import sys; sys.exit()", "raise SystemExit(None)"])
def test_clean_exit(idle, code):
    answer = safepoint("exec", "-q", idle.pid, "-c", "print('x')\n" + code).expect(0)
    assert answer.text == "x\n" and answer.errors == ""


def test_exit_with_a_number(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "raise SystemExit(3)").expect(7)
    assert "exited with status 3" in answer.errors
    assert "Traceback" not in answer.errors


def test_exit_with_a_text(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "raise SystemExit('that is all')").expect(7)
    assert "that is all" in answer.errors and "Traceback" not in answer.errors


def test_namespace_is_fresh(idle):
    safepoint("exec", idle.pid, "-c", "leftover = 1").expect(0)
    answer = safepoint("exec", "-q", idle.pid, "-c", "print(sorted(globals()))").expect(0)
    names = eval(answer.text)
    assert "leftover" not in names and "MARK" not in names
    assert set(names) <= {"__name__", "__builtins__", "__file__", "__doc__", "__loader__", "__package__", "__spec__"}
    assert idle.ask("'leftover' in globals()") is False


def test_main_module_is_the_targets(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "import __main__; print(__main__.MARK)").expect(0)
    assert answer.text == "the target's own\n"


def test_script_changes_the_target(idle):
    """That is what it is for."""
    safepoint("exec", idle.pid, "-c", "import __main__; __main__.LEDGER.append('been here')").expect(0)
    assert idle.ask("LEDGER.pop()") == "been here"


def test_functions_classes_and_comprehensions(idle):
    """One namespace for all of it, as in a module."""
    code = """
        import math
        SCALE = 3
        def area(r):
            return round(SCALE * math.pi * r)
        class Shape:
            sizes = [area(n) for n in range(3)]
        print(Shape.sizes, [area(n) for n in range(2)], (lambda: SCALE)())
        """
    answer = safepoint("exec", "-q", idle.pid, "-c", textwrap.dedent(code)).expect(0)
    assert answer.text == "[0, 9, 19] [0, 9] 3\n"


def test_encoding_declaration(idle, tmp_path):
    script = write(tmp_path, "latin.py", b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n")
    assert safepoint("exec", "-q", idle.pid, script).expect(0).text == "'\\xe9'\n"


def test_byte_order_mark_and_crlf(idle, tmp_path):
    script = write(tmp_path, "dos.py", b"\xef\xbb\xbfx = 1\r\nif x:\r\n    print('fine')\r\n")
    assert safepoint("exec", "-q", idle.pid, script).expect(0).text == "fine\n"


def test_no_newline_at_the_end(idle, tmp_path):
    script = write(tmp_path, "end.py", b"if 1:\n    print('fine')")
    assert safepoint("exec", "-q", idle.pid, script).expect(0).text == "fine\n"


def test_generator_and_with(idle):
    """A script may do everything that Python does, imports included."""
    code = "import tempfile\nwith tempfile.TemporaryFile() as f:\n    f.write(b'x' * 10); f.seek(0); print(len(f.read()))"
    assert safepoint("exec", "-q", idle.pid, "-c", code).expect(0).text == "10\n"


# ---------------------------------------------------------------- other threads


def test_other_threads_output_stays(python):
    """While a script prints, another thread of the target prints too: each line goes where it belongs, none is lost."""
    with target_running(python, "threads") as target:
        code = "import time\nfor i in range(40):\n    print('mine %d' % i)\n    time.sleep(0.002)"
        answer = safepoint("exec", "-q", target.pid, "-c", code).expect(0)
        assert answer.text.splitlines() == ["mine %d" % index for index in range(40)]
        number = target.ask("0")
        assert number == 0
        printed = target.printed().decode()
        lines = printed.splitlines()
        if not printed.endswith("\n"):
            lines = lines[:-1]
        assert lines and lines == ["tick %d" % index for index in range(1, len(lines) + 1)]


def test_threads_started_by_the_script_print_in_the_target(idle):
    """What a thread of the script's prints is another thread's print."""
    code = "import threading\nt = threading.Thread(target=print, args=('from a thread',))\nt.start(); t.join()\nprint('mine')"
    answer = safepoint("exec", "-q", idle.pid, "-c", code).expect(0)
    assert answer.text == "mine\n"
    idle.do("sys.stdout.flush()")
    assert idle.printed().endswith(b"from a thread\n")


# ---------------------------------------------------------------- scripts that are no good


def test_missing_script(idle, tmp_path):
    answer = safepoint("exec", idle.pid, tmp_path / "nothing.py").expect(2)
    assert "nothing.py" in answer.errors and "No such file" in answer.errors and answer.out == b""


def test_directory_as_script(idle, tmp_path):
    answer = safepoint("exec", idle.pid, tmp_path).expect(2)
    assert "directory" in answer.errors.lower() and answer.out == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_unreadable_script(open_python, open_tmp_path):
    script = write(open_tmp_path, "secret.py", "print(1)")
    os.chmod(script, 0)
    target = Target(open_python, "idle", user=NOBODY)
    try:
        answer = safepoint("exec", target.pid, script, as_user=NOBODY).expect(2)
        assert "secret.py" in answer.errors and "Permission denied" in answer.errors
        target.end()
    finally:
        target.close()


def test_syntax_error(idle, tmp_path):
    script = write(tmp_path, "broken.py", "x = 1\nif x\n    pass\n")
    answer = safepoint("exec", "-q", idle.pid, script).expect(7)
    assert "SyntaxError" in answer.errors and script in answer.errors and "line 2" in answer.errors


def test_syntax_error_in_expression(idle):
    assert "SyntaxError" in safepoint("exec", "-q", idle.pid, "-e", "1 +").expect(7).errors


def test_nul_bytes(idle, tmp_path):
    """A script with a NUL byte is refused whole; the part before it does not run."""
    script = write(tmp_path, "nul.py", b"import __main__\n__main__.LEDGER.append('ran')\nx = '\0'\n")
    answer = safepoint("exec", "-q", idle.pid, script)
    assert answer.status in (2, 7)
    assert "null byte" in answer.errors.lower() or "nul" in answer.errors.lower(), answer.errors
    assert idle.ask("LEDGER") == []


def test_empty_script(idle, tmp_path):
    answer = safepoint("exec", "-q", idle.pid, write(tmp_path, "empty.py", b"")).expect(0)
    assert answer.out == b"" and answer.err == b""


def test_empty_code_and_input(idle):
    safepoint("exec", "-q", idle.pid, "-c", "").expect(0)
    safepoint("exec", "-q", idle.pid, "-", stdin=b"").expect(0)


def test_big_script(idle, tmp_path):
    """10 MB."""
    line = b"# %s\n" % (b"x" * 97)
    script = write(tmp_path, "big.py", line * (10 * 1024 * 1024 // len(line)) + b"print('end of 10 MB')\n")
    assert os.path.getsize(script) > 10_000_000
    assert safepoint("exec", "-q", idle.pid, script).expect(0).text == "end of 10 MB\n"


def test_undecodable_path(idle, tmp_path):
    script = write(tmp_path, "odd.py", "print(ascii(__file__))")
    odd = os.path.join(os.fsencode(tmp_path), b"\xff\xfe odd \xe9.py")
    os.rename(script, odd)
    answer = safepoint("exec", "-q", idle.pid, odd).expect(0)
    assert answer.text == ascii(os.fsdecode(odd)) + "\n"


def test_path_with_quotes_and_newline(idle, tmp_path):
    script = write(tmp_path, "a'b\"c\\n\nd.py", "print(__file__)")
    assert safepoint("exec", "-q", idle.pid, script).expect(0).text == script + "\n"


def test_long_path(idle, tmp_path):
    """Longer than the 512 bytes of the debugger-support struct's path."""
    directory = tmp_path
    while len(os.fspath(directory)) < 900:
        directory = directory / ("d" * 100)
    directory.mkdir(parents=True)
    script = write(directory, "far.py", "print(len(__file__))")
    assert safepoint("exec", "-q", idle.pid, script).expect(0).text == "%d\n" % len(script)


def test_script_from_a_pipe(idle):
    """FILE need not be a regular file."""
    reading, writing = os.pipe()
    os.write(writing, b"print('through a pipe')")
    os.close(writing)
    try:
        answer = safepoint("exec", "-q", idle.pid, "-", stdin=reading).expect(0)
    finally:
        os.close(reading)
    assert answer.text == "through a pipe\n"


# ---------------------------------------------------------------- scripts that do odd things (a target of their own)


def test_closes_standard_descriptors(python):
    with target_running(python, "idle") as target:
        code = "import os\nfor fd in (1, 2): os.close(fd)\nprint('still heard')"
        answer = safepoint("exec", "-q", target.pid, "-c", code).expect(0)
        assert answer.text == "still heard\n"
        # Our channel must not have landed on a closed standard descriptor the next time either.
        answer = safepoint("exec", "-q", target.pid, "-c", "print('and again')").expect(0)
        assert answer.text == "and again\n"
        assert not {1, 2} & set(target.descriptors())


def test_closes_standard_input_too(python):
    with target_running(python, "sleep") as target:
        code = "import os\nfor fd in (0, 1, 2):\n    s = os.dup(fd); os.close(fd); os.dup2(s, fd); os.close(s)\nprint('still heard')"
        assert safepoint("exec", "-q", target.pid, "-c", code).expect(0).text == "still heard\n"
    # And for good, on a target that needs none of them.
    target = Target(python, "busy")
    try:
        # It must not be in the middle of reading them.
        safepoint("exec", "-q", target.pid, "-c", "import __main__\n__main__.serve = lambda blocking: None").expect(0)
        safepoint("exec", "-q", target.pid, "-e", "0").expect(0)
        code = "import os\nfor fd in (0, 1, 2): os.close(fd)\nprint('still heard')"
        assert safepoint("exec", "-q", target.pid, "-c", code).expect(0).text == "still heard\n"
        assert safepoint("exec", "-q", target.pid, "-e", "2 + 2").expect(0).text == "4\n"
        safepoint("exec", "-q", target.pid, "-c", "import __main__; __main__.done = True").expect(0)
        assert target.hear()["verdict"]["bad"] == []
        assert target.wait() == 0
    finally:
        target.close()


def test_replaces_stdout(idle):
    """A script that puts its own stream there gets it, and the target's own is back afterwards."""
    before = idle.ask("[id(sys.stdout), id(sys.stderr)]")
    code = "import sys, io\nprint('one')\nsys.stdout = io.StringIO()\nprint('two')\nsys.stderr = None"
    answer = safepoint("exec", "-q", idle.pid, "-c", code).expect(0)
    assert answer.text == "one\n"
    assert idle.ask("[id(sys.stdout), id(sys.stderr)]") == before
    assert safepoint("exec", "-q", idle.pid, "-c", "print('three')").expect(0).text == "three\n"


def test_redirect_stdout(idle):
    code = "import contextlib, io\nf = io.StringIO()\nwith contextlib.redirect_stdout(f):\n    print('kept')\nprint('got', f.getvalue())"
    assert safepoint("exec", "-q", idle.pid, "-c", code).expect(0).text == "got kept\n\n"


def test_closes_its_stdout(idle):
    answer = safepoint("exec", "-q", idle.pid, "-c", "import sys\nprint('x'); sys.stdout.close()")
    assert answer.status in (0, 7) and answer.text == "x\n"
    assert safepoint("exec", "-q", idle.pid, "-c", "print('next')").expect(0).text == "next\n"


def test_keeps_its_stdout(idle):
    """A script that stores its streams in the target cannot break later ones, nor write to us when we are gone."""
    safepoint("exec", idle.pid, "-c", "import sys, __main__; __main__.KEPT = [sys.stdout, sys.stderr, print]").expect(0)
    idle.do("try:\n    KEPT[0].write('late'); KEPT[0].flush()\nexcept Exception: pass")
    assert safepoint("exec", "-q", idle.pid, "-c", "print('next')").expect(0).text == "next\n"
    idle.do("del KEPT")


def test_forks(python):
    with target_running(python, "idle") as target:
        code = textwrap.dedent("""
            import os
            print("before")
            child = os.fork()
            if child == 0:
                os._exit(5)
            print("child ended with", os.waitpid(child, 0)[1] >> 8)
            """)
        answer = safepoint("exec", "-q", target.pid, "-c", code).expect(0)
        assert answer.text == "before\nchild ended with 5\n"


def test_forked_child_lives_on(python):
    """A child that keeps every descriptor must not keep us waiting."""
    with target_running(python, "idle") as target:
        code = textwrap.dedent("""
            import os, time, __main__
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            os.close(reading)
            __main__.CHILD, __main__.GATE = child, writing
            print("left it")
            """)
        answer = safepoint("exec", "-q", target.pid, "-c", code).expect(0)
        assert answer.text == "left it\n" and answer.seconds < 20
        target.do("os.close(GATE); CHILD_STATUS = os.waitpid(CHILD, 0)[1]")
        assert target.ask("CHILD_STATUS") == 0


def test_os_exit(python):
    target = Target(python, "idle")
    try:
        answer = safepoint("exec", target.pid, "-c", "import os; print('last words', flush=True); os._exit(9)").expect(8)
        assert answer.text in ("last words\n", "")
        assert target.wait() == 9
    finally:
        target.close()


def test_killed_by_the_script(python):
    target = Target(python, "idle")
    try:
        safepoint("exec", target.pid, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").expect(8)
        assert target.wait() == -9
    finally:
        target.close()


def test_past_the_deadline(python):
    """It had started: it is asked to stop, and the answer says so. The target goes on."""
    with target_running(python, "idle") as target:
        code = "import time\nprint('began', flush=True)\nwhile True: time.sleep(0.01)"
        answer = safepoint("exec", "--timeout", "700ms", target.pid, "-c", code).expect(6)
        assert answer.text == "began\n"
        assert "asked to stop" in answer.errors or "interrupted" in answer.errors
        assert 0.6 < answer.seconds < 15
        assert target.ask("1 + 1") == 2  # the main thread is back: the script has ended
        assert safepoint("exec", "-q", target.pid, "-e", "2 + 2").expect(0).text == "4\n"


def test_past_the_deadline_without_bytecode_that_ends(python):
    with target_running(python, "idle") as target:
        answer = safepoint("exec", "--timeout", "1500ms", target.pid, "-c", "while True: pass").expect(6)
        assert "asked to stop" in answer.errors or "interrupted" in answer.errors
        assert target.ask("1 + 1") == 2


def test_slow_script_within_the_deadline(idle):
    answer = safepoint("exec", "-q", "--timeout", "30s", idle.pid, "-c", "import time; time.sleep(1.2); print('done')").expect(0)
    assert answer.text == "done\n" and answer.seconds >= 1.2


def test_deep_recursion(idle):
    limit = idle.ask("sys.getrecursionlimit()")
    answer = safepoint("exec", "-q", idle.pid, "-c", "def f(n): return f(n + 1)\nf(0)").expect(7)
    assert "RecursionError" in answer.errors
    assert idle.ask("sys.getrecursionlimit()") == limit


def test_deep_recursion_in_a_repr(idle):
    answer = safepoint("exec", "-q", "--timeout", "60s", idle.pid, "-c", "x = []\nfor i in range(100000): x = [x]\nprint(len(repr(x)))")
    assert answer.status in (0, 7)


def test_warnings_and_tracing_stay(idle):
    """A script that sets a trace function or a filter has changed the target, not us."""
    code = "import sys\nsys.settrace(lambda *a: None)\nsys.settrace(None)\nprint('traced')"
    assert safepoint("exec", "-q", idle.pid, "-c", code).expect(0).text == "traced\n"


def test_target_with_a_trace_function(python):
    """The target's own tracer sees nothing that breaks it, and is still there."""
    with target_running(python, "idle") as target:
        target.do("def tracer(frame, event, arg): return tracer\nsys.settrace(tracer)")
        assert safepoint("exec", "-q", target.pid, "-e", "6 * 7").expect(0).text == "42\n"
        assert target.ask("sys.gettrace() is tracer") is True
        target.do("sys.settrace(None)")


def test_target_with_a_pending_exception(python):
    """In the middle of handling one: sys.exc_info of the target is as it was."""
    with target_running(python, "idle") as target:
        target.do(textwrap.dedent("""
            def held():
                global HELD
                try:
                    raise KeyError('held')
                except KeyError:
                    answer(os.read(0, 65536).strip())
                    HELD = repr(sys.exc_info()[1])
            """))
        target.tell("exec held()")
        answer = safepoint("exec", "-q", target.pid, "-c", "try:\n    1/0\nexcept ZeroDivisionError:\n    print('handled')").expect(0)
        assert answer.text == "handled\n"
        target.tell("eval 1")
        assert target.hear() == {"ok": 1}
        assert target.hear() == {"ok": None}
        assert target.ask("HELD") == "KeyError('held')"


# ---------------------------------------------------------------- much output


@pytest.mark.slow
def test_200_megabytes(python, tmp_path):
    """Streamed: not a byte lost, neither end keeps it."""
    with target_running(python, "idle") as target:
        before = target.ask("int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])")
        code = "import sys\nline = 'x' * 999 + '\\n'\nblock = line * 100\nfor i in range(2000): sys.stdout.write(block)\nprint('end')"
        answer = safepoint("exec", "-q", "--timeout", "120s", target.pid, "-c", code).expect(0)
        assert len(answer.out) == 200_000_000 + 4
        assert answer.out == (b"x" * 999 + b"\n") * 200_000 + b"end\n"
        assert 0 < answer.max_rss < (400 if SANITIZED else 32) * 1024 * 1024
        after = target.ask("int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])")
        assert after - before < 16 * 1024


def test_many_small_writes(idle):
    code = "for i in range(20000): print(i)"
    answer = safepoint("exec", "-q", idle.pid, "-c", code).expect(0)
    assert answer.text == "".join("%d\n" % index for index in range(20000))


def test_one_long_line(idle):
    answer = safepoint("exec", "-q", idle.pid, "-e", "'y' * 5000000").expect(0)
    assert answer.text == "'" + "y" * 5000000 + "'\n"


def test_output_arrives_while_it_runs(python):
    """Streaming: a line is here before the script is over."""
    with target_running(python, "idle") as target:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as sink, Running(
                ["exec", "-q", target.pid, "-c",
                 "import sys, __main__\nprint('first'); sys.stdout.flush()\n"
                 "import os\nos.read(0, 1)\nprint('second')"], stdout=sink) as running:
            sink.close()
            with os.fdopen(reading, "rb") as lines:
                assert lines.readline() == b"first\n"
                os.write(target.questions, b" ")  # only now may the script go on
                assert lines.read() == b"second\n"
            running.finish().expect(0)


def test_our_reader_goes_away(python):
    """`safepoint exec ... | head -1`: we end, and the target is well."""
    with target_running(python, "idle") as target:
        reading, writing = os.pipe()
        sink = os.fdopen(writing, "wb")
        code = "for i in range(200000): print('line', i)"
        with Running(["exec", "-q", target.pid, "-c", code], stdout=sink) as running:
            sink.close()
            os.read(reading, 100)
            os.close(reading)
            running.popen.wait(60)
        assert target.ask("1 + 1") == 2
        assert safepoint("exec", "-q", target.pid, "-e", "1 + 1").expect(0).text == "2\n"
