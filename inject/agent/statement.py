# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetched by the agent for a statement of a console (agent.py: call).

# A statement of a console: None when more lines are needed to make one.
def compile_statement(source, name):
    results = []
    for tail in ("", "\n", "\n\n"):
        try:
            results.append(compile(source + tail, name, "single", 0x200, True))
        except SyntaxError as error:
            results.append(error)
    if not isinstance(results[0], SyntaxError):
        return results[0]
    if not isinstance(results[1], SyntaxError) and isinstance(results[2], SyntaxError):
        return results[1]
    message = str(results[1])
    if "was never closed" in message or "unterminated triple" in message or "unexpected EOF" in message or \
            "EOF while scanning triple" in message or "expected an indented block" in message and \
            not source.rstrip(" ").endswith("\n") or repr(results[1]) != repr(results[2]):
        return None
    raise results[1]


def statement(sys, send, encode, namespace, bind_modules, mode, name, key, source):
    if mode == "z":
        sys.__dict__.pop(key, None)
        return
    names = sys.__dict__.get(key)
    if names is None:
        names = sys.__dict__[key] = namespace(None)
    code = compile_statement(source.decode("utf-8", "surrogateescape"), name)
    if code is None:
        return send(b"I", b"")

    def show(value):
        if value is not None:
            names["_"] = value
            send(b"V", encode(repr(value)))

    bind_modules(code, names)
    hook, sys.displayhook = sys.displayhook, show
    try:
        exec(code, names)
    finally:
        sys.displayhook = hook
