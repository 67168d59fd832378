# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals to a target that is stopped again and again are all delivered: some of what `make soak` does at length."""
import pytest

import signalling
from conftest import SANITIZED

SIGNALS = 20000
CHILDREN = 100 if SANITIZED else 400


@pytest.mark.long
def test_all_are_delivered(python):
    result = signalling.signals(python, SIGNALS, seed=1)
    assert not result["problems"], "\n".join(result["problems"])
    assert result["delivered"] == result["signals sent"] == SIGNALS and result["requests"] > 4


@pytest.mark.long
def test_each_child_is_seen(python):
    result = signalling.children(python, CHILDREN, seed=1)
    assert not result["problems"], "\n".join(result["problems"])
    assert result["children"] >= CHILDREN and result["requests"] > 4
