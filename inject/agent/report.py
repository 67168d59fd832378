# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetched by the agent when the script has raised (agent.py: call).

# An exception and those behind it, oldest first, as data: the other end formats.
def report(error, send, encode):
    chain, seen, why = [], [], b""
    while error is not None and id(error) not in seen and len(chain) < 32:
        chain.append((error, why))
        seen.append(id(error))
        if error.__cause__ is not None:
            error, why = error.__cause__, b"cause"
        elif error.__suppress_context__:
            break
        else:
            error, why = error.__context__, b"context"
    while chain:
        error, why = chain.pop()
        report_one(error, why, send, encode)

def report_one(error, why, send, encode):
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = str(kind.__module__) + "." + name
    try:
        text = str(error)
    except BaseException:
        text = "<exception str() failed>"
    frames, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "__name__" in trace.tb_frame.f_globals:  # not ours
            frames.append("%s\0%s\0%s\0" % (trace.tb_lineno, code.co_name, code.co_filename))
        trace = trace.tb_next
    if len(frames) > 2000:
        frames[1000:-1000] = ["0\0...\0%d frames left out\0" % (len(frames) - 2000)]
    send(b"X", b"\0".join((encode(name), why)))
    send(b"M", encode(text))
    if isinstance(error, SyntaxError):
        send(b"Y", encode("%s\0%s\0%s\0%s" % (error.filename, error.lineno or 0, error.offset or 0, error.text or "")))
        send(b"M", b"\0" + encode(str(error.msg)))
    for note in getattr(error, "__notes__", None) or ():
        send(b"N", encode(str(note)))
    for inner in getattr(error, "exceptions", None) or ():
        if isinstance(inner, BaseException):
            send(b"N", encode("  + %s: %s" % (type(inner).__name__, inner)))
    frames = "".join(frames)
    if frames:
        send(b"T", encode(frames))
