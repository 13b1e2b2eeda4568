"""End a service by a signal before it runs.

The kernel withholds from process 1 of a container every signal that it does not handle. So the handlers are set before
slow imports. This module imports nothing slow.
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
    """Make signals end the process with exit code 0, if its arguments begin with the name of a service."""
    if not _SERVICES.intersection(words[:1]):
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN:
            _before[number] = handler
            signal.signal(number, _leave)
    os.register_at_fork(after_in_child=_restore)


def hand_over() -> dict[signal.Signals, Any]:
    """Leave forked children to the service; return the handlers that they need without `arm`."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    handlers |= {number: _before[number] for number, handler in handlers.items() if handler is _leave}
    _before.clear()
    return handlers


def _leave(_number: int, _frame: FrameType | None) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            stream.flush()
    os._exit(0)


def _restore() -> None:
    """Give a forked child the handlers of a process without `arm`."""
    for number, handler in _before.items():
        if signal.getsignal(number) is _leave:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
