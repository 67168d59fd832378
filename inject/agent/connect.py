# SPDX-License-Identifier: GPL-3.0-or-later
#
# Put before the agent where the channel is a socket in a directory
# (protocol/directory.h); the line after it makes CONNECT of it.

def connect(path):
    socket = __import__("_socket")
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(path)
    except OSError:
        return -1
    return link.detach()
