"""Signals of a service before it runs: they end the process, which has not begun anything yet.

The kernel keeps from process 1 of a container every signal that it does not handle. So the handlers come first, before
all that takes long to import. This module imports nothing that does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that ask a service to stop."""
_SERVICES = frozenset({"serve", "worker"})
_before: dict[signal.Signals, Any] = {}


def arm(words: Sequence[str]) -> None:
    """Make signals end the process with the exit code 0, if its arguments begin with the name of a service."""
    if not _SERVICES.intersection(words[:1]):
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN:
            _before[number] = handler
            signal.signal(number, _leave)
    os.register_at_fork(after_in_child=_restore)


def hand_over() -> dict[signal.Signals, Any]:
    """Leave forked children to the service; return the handlers that they need, as if nothing was armed."""
    found = {one: signal.getsignal(one) for one in SIGNALS}
    found |= {one: _before[one] for one, handler in found.items() if handler is _leave}
    _before.clear()
    return found


def _leave(_number: int, _frame: FrameType | None) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            stream.flush()
    os._exit(0)


def _restore() -> None:
    """Give a forked child the handlers that it would have without this module."""
    for number, handler in _before.items():
        if signal.getsignal(number) is _leave:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
