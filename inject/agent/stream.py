# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetched by the agent (agent.py: call) when a script wants sys.stdout.buffer or
# writelines. `name` says which; all else is agent.py's.

def stream(name, original, write, put, is_script, flush, module):
    def writelines(lines):
        for line in lines:
            write(line)

    def write_bytes(data):
        if not is_script():
            return original.buffer.write(data)
        data = bytes(data)
        put(data)
        return len(data)

    if name == "writelines":
        return writelines
    buffer = module("buffer")
    buffer.write, buffer.flush = write_bytes, flush
    buffer.__getattr__ = lambda name: getattr(original.buffer, name)
    return buffer
