"""Keep the signals of a service apart from those of the processes that its handlers fork."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ForkGuard:
    """Gives a forked child the signal handlers that the process had before it became a service.

    An event loop takes signals through a socket, and a forked child shares that socket. Without the guard the child
    ignores SIGTERM, and the service takes a SIGTERM of the child for its own. Signals are blocked while a thread forks,
    so that none reaches the child before the guard is done.

    Args:
        handlers: the handlers that a child gets for the signals of the service.
    """

    def __init__(self, handlers: Mapping[signal.Signals, Any]) -> None:
        self._handlers = dict(handlers)
        self._blocked = threading.local()
        self._active = True
        os.register_at_fork(before=self._before, after_in_parent=self._unblock, after_in_child=self._after_in_child)

    def end(self) -> None:
        """Stop guarding: children inherit the handlers of this process again."""
        self._active = False

    def _before(self) -> None:
        if self._active:
            self._blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)

    def _after_in_child(self) -> None:
        # The thread that forks is the main thread of the child, and only a main thread may set these.
        try:
            if self._active:
                signal.set_wakeup_fd(-1)
                for number, handler in self._handlers.items():
                    signal.signal(number, signal.SIG_DFL if handler is None else handler)
        finally:
            self._unblock()

    def _unblock(self) -> None:
        before = self._blocked.__dict__.pop("before", None)
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
