# SPDX-License-Identifier: GPL-3.0-or-later
#
# The agent: what runs in the target at its safe point. Comments, like this one,
# are cut off at build. Python 3.8 to 3.15.
#
# The lines put before it (inject/stage.c, protocol/directory.c) define
#   CHANNEL   (descriptor, inode) of the target's end of the channel, or
#   CONNECT   a function that connects to the socket in a directory, or None
#   NONCE     what is to be said there
#   CLOSE     ((descriptor, inode), ...) to be closed
#   REQUEST   the request's id
#   TARGET    the process that it is for, as it names itself
#   FRESH     shall it run in a thread of its own?
#   INTERPRETER   the id of the interpreter that the script runs in, None: this one
#   MESSAGE   (request, code) in an interpreter where the agent runs as another's guest
# docs/protocol.md describes the frames.
#
# Rules: no lock, no class (a class is garbage only the collector frees), no module
# that isn't loaded (sys, posix, _thread and builtins always are), no cycle
# of objects (a function that calls itself is one), no name left behind. A descriptor is used only if its inode says
# that it still is the one we made.

def forget(names):
    for name in list(names):
        if name != "__builtins__":
            del names[name]

def agent(channel, connect, close, request, trouble):
    sys, posix, thread, builtins = map(__import__, ("sys", "posix", "_thread", "builtins"))
    pid, me = posix.getpid(), thread.get_ident()
    module = type(sys)

    def is_ours(fd, inode):
        try:
            return fd >= 0 and posix.fstat(fd).st_ino == inode
        except OSError:
            return False

    # First of all: as long as the other end is open here too, its owner's death
    # could not be seen.
    for spare in close:
        if is_ours(*spare):
            posix.close(spare[0])
    # A child that was forked since has it all too; but the request is its parent's. (-1: a
    # seccomp filter doesn't let it know.)
    if pid not in (TARGET, -1):
        if is_ours(*channel):
            posix.close(channel[0])
        return
    fd = connect() if connect else channel[0] if is_ours(*channel) else -1
    inode = posix.fstat(fd).st_ino if fd >= 0 else 0
    gone, running, message = [], [None], None

    # One frame a packet. An error when nobody is there: a script that prints then
    # stops as it would at a closed pipe. A forked child has no part in it.
    def send(kind, data):
        if gone or posix.getpid() != pid:
            return
        for start in range(0, len(data) or 1, 32768):
            part = data[start:start + 32768]
            posix.write(fd, len(part).to_bytes(4, "little") + kind + part)

    def encode(text):
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeError:
            return text.encode("utf-8", "backslashreplace")

    def number(value):
        return (value & 0xffffffffffffffff).to_bytes(8, "little")

    # The script and its arguments: frames until "go". Nothing, when nobody is there.
    def receive():
        parts = {b"R": [], b"C": []}
        while True:
            packet = posix.read(fd, 65536)
            if not packet:
                return None
            if packet[4:5] == b"G":
                return b"".join(parts[b"R"]), b"".join(parts[b"C"])
            parts[packet[4:5]].append(packet[5:])

    # Is it the script's thread that writes, in the process that we came to?
    def is_script():
        return thread.get_ident() == me and posix.getpid() == pid

    # A stand-in for sys.stdout or sys.stderr: what the script's thread writes goes to
    # the channel, by lines; all the rest is the original's. A module, since its
    # __getattr__ needs no class.
    def capture(original, kind):
        held = []

        def flush():
            if not is_script():
                return original and original.flush()
            if held:
                data = b"".join(held)
                del held[:]
                send(kind, data)

        def put(data):
            held.append(data)
            if len(data) > 4096 or b"\n" in data or len(held) > 256:
                flush()

        def write(text):
            if not is_script():
                return original.write(text) if original else None
            if not isinstance(text, str):
                raise TypeError("write() argument must be str, not " + type(text).__name__)
            put(encode(text))
            return len(text)

        def get_attribute(name):
            if name in ("buffer", "writelines") and is_script():
                return call(b"stream", name, original, write, put, is_script, flush, module)
            return getattr(original, name)

        stream = module("stream")
        stream.write, stream.flush, stream.__getattr__ = write, flush, get_attribute
        return stream

    # What few requests need is fetched when it is needed: a part defines a function of
    # its own name. It and its globals hold each other until they are cleared; but not
    # of builtins, which up to 3.9 each call of a function looks up there.
    def fetch(part):
        send(b"P", part)
        return receive()[1]

    def call(part, *arguments):
        names = {"__builtins__": builtins}
        try:
            exec(fetch(part), names)
            return names[part.decode()](*arguments)
        finally:
            forget(names)

    # -e: names of loaded modules are there without an import.
    def bind_modules(code, names):
        codes = [code]
        for code in codes:
            for name in code.co_names:
                if name in sys.modules and not hasattr(builtins, name):
                    names.setdefault(name, sys.modules[name])
            codes.extend(inner for inner in code.co_consts if type(inner) is type(code))

    def namespace(path):
        names = {"__name__": "__main__", "__builtins__": builtins, "__doc__": None, "__package__": None,
                 "__spec__": None, "__loader__": None}
        if path:
            names["__file__"] = path
        return names

    # The agent over there closes the channel, and its number may be another's then.
    def be_guest(message):
        try:
            call(b"interpreter", sys, INTERPRETER,
                 "CHANNEL = (%d, %d)\nCONNECT = None\nNONCE = %r\nCLOSE = ()\nREQUEST = %d\nTARGET = %d\nFRESH = False\n"
                 "INTERPRETER = None\nMESSAGE = %r\n" % (fd, inode, NONCE, request, pid, message) + fetch(b"agent").decode())
        finally:
            if not is_ours(fd, inode):
                gone.append(fd)

    def run(mode, name, key, source):
        if mode in "iz":
            return call(b"statement", sys, send, encode, namespace, bind_modules, mode, name, key, source)
        names = namespace(name if mode == "f" else None)
        if mode == "e":
            code = compile(source.strip(), name, "eval", 0, True)
            bind_modules(code, names)
            send(b"V", encode(repr(eval(code, names))))
        else:
            exec(compile(source, name, "exec", 0, True), names)

    # `running` tells the other end, which reads it from outside, whether an
    # interrupt (an asynchronous KeyboardInterrupt) may be raised here now.
    def serve():
        nonlocal message
        send(b"H", number(2) + number(request) + number(pid) + number(me) + number(thread.get_native_id()) + NONCE)
        message = MESSAGE or receive()
        if message is None:
            return
        mode, name, key, *argv = message[0].decode("utf-8", "surrogateescape").split("\0")
        send(b"S", number(id(KeyboardInterrupt)) + number(id(running)) + number(id(True)))
        stdout, stderr, old_argv = sys.stdout, sys.stderr, getattr(sys, "argv", None)
        out, err = sys.stdout, sys.stderr = capture(stdout, b"O"), capture(stderr, b"E")
        sys.argv = new_argv = argv
        try:
            try:
                running[0] = True
                if trouble:
                    raise trouble
                if INTERPRETER is None:
                    run(mode, name, key, message[1])
                else:
                    be_guest(message)
            finally:
                running[0] = None
                for _ in range(4):
                    pass
        except SystemExit as error:
            status = error.code
            out.flush()
            if status is None or isinstance(status, int):
                send(b"Q", number(status or 0))
            else:
                send(b"E", encode(str(status) + "\n"))
                send(b"Q", number(1))
        except BaseException as error:
            out.flush()
            err.flush()
            call(b"report", error, send, encode)
        finally:
            out.flush()
            err.flush()
            # A child that the script has forked must not go on as the target.
            if posix.getpid() != pid:
                posix._exit(0)
            message = None
            # Back to what was there, unless another thread has put its own stream
            # there and keeps ours to put it back: then ours stays and passes on.
            if sys.stdout is out or sys.getrefcount(out) <= 2:
                sys.stdout = stdout
            if sys.stderr is err or sys.getrefcount(err) <= 2:
                sys.stderr = stderr
            if getattr(sys, "argv", None) is new_argv:
                sys.argv = old_argv
        send(b"D", b"")

    try:
        if fd >= 0:
            serve()
    except (OSError, KeyboardInterrupt):
        pass
    finally:
        if is_ours(fd, inode):
            posix.close(fd)
        if FRESH:
            getattr(sys.modules.get("threading"), "_active", {}).pop(me, None)


def begin(trouble=None):
    try:
        agent(CHANNEL, CONNECT, CLOSE, REQUEST, trouble)
    finally:
        forget(globals())


if FRESH:
    try:
        __import__("_thread").start_new_thread(begin, ())
    except RuntimeError as error:
        begin(error)
else:
    begin()
