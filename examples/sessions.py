# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in leaky_service.py by `safepoint exec PID examples/sessions.py`: how many sessions are kept, and for how long."""
import sys
import time

service = sys.modules["__main__"]
sessions = list(service.SESSIONS.values())
print("%d sessions are kept" % len(sessions))
if sessions:
    oldest = min(sessions, key=lambda session: session.began)
    print("the oldest is %s, made %.1f s ago; its basket is worth %d" % (
        oldest.token, time.time() - oldest.began, oldest.basket.total()))
