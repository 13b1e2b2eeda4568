"""Sizes of tests that grow with the given time; JOBQUEUE_TEST_SCALE=full tests all that is promised."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
IS_FULL = os.environ.get("JOBQUEUE_TEST_SCALE") == "full"


def sized(usual: T, full: T) -> T:
    """Return the size that a test has in this run."""
    return full if IS_FULL else usual
