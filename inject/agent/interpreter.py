# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetched by the agent for a script that shall run in another interpreter, which nobody
# runs just now (agent.py: call).

# The agent runs there once more, with the message that this one has received.
def interpreter(sys, number, text):
    loaded = set(sys.modules)
    try:
        import _interpreters as module
        failed = module.run_string(number, text, restrict=False)
    except ImportError:
        import _xxsubinterpreters as module
        failed = module.run_string(number, text)
    finally:
        for name in ("_interpreters", "_xxsubinterpreters"):
            if name not in loaded:
                sys.modules.pop(name, None)
    if failed is not None:
        raise RuntimeError(failed.formatted)
