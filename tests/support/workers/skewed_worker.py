"""A journal worker whose host has a wrong clock: python -m … SECONDS JOURNAL URL DB CONCURRENCY."""

from __future__ import annotations

import datetime as dt
import runpy
import sys
import time
from typing import Any


def shift(seconds: float) -> None:
    """Shift the time of day in Python."""
    right, now = time.time, dt.datetime.now

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return now(tz) + dt.timedelta(seconds=seconds)

    time.time = lambda: right() + seconds
    dt.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    offset = float(sys.argv.pop(1))
    shift(offset)
    runpy.run_module("tests.support.workers.journal_worker", run_name="__main__", alter_sys=True)
