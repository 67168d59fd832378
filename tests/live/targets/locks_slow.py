# SPDX-License-Identifier: GPL-3.0-or-later
"""A module whose import never ends."""
import time

time.sleep(10000)
