"""Runs a module and writes the number of its asyncio tasks to a file each second: python -m … FILE MODULE ARGUMENTS."""

from __future__ import annotations

import asyncio
import runpy
import sys
import threading
import time
from pathlib import Path

_loops: list[asyncio.AbstractEventLoop] = []
_new_event_loop = asyncio.events.new_event_loop


def _remembered() -> asyncio.AbstractEventLoop:
    _loops.append(_new_event_loop())
    return _loops[-1]


def watch(path: Path) -> None:
    while True:
        time.sleep(1)
        count = sum(len(asyncio.all_tasks(loop)) for loop in _loops if not loop.is_closed())
        path.write_text(str(count))


if __name__ == "__main__":
    asyncio.events.new_event_loop = _remembered
    threading.Thread(target=watch, args=[Path(sys.argv[1])], daemon=True).start()
    module = sys.argv[2]
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
