"""Endless loops that survive unforeseen errors."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST_PAUSE: Final = 1.0
"""Seconds between an unforeseen error and the next turn; each further error in a row doubles them."""
LONGEST_PAUSE: Final = 30.0


def ignore(loop: str) -> None:
    """Count nothing."""


class LoopErrors:
    """Log and count the unforeseen errors of a loop, so that the loop goes on.

    Args:
        loop: the name of the loop, for the log and for metrics.
        count: is called with the name for each error.
        longest: seconds of the longest pause.
    """

    def __init__(self, loop: str, count: Callable[[str], None] = ignore, *, longest: float = LONGEST_PAUSE) -> None:
        self._loop = loop
        self.count = count
        self._longest = longest
        self._errors = 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next turn; 0 after a turn without an error."""
        if not self._errors:
            return 0
        return float(min(self._longest, FIRST_PAUSE * 2 ** min(self._errors - 1, 10)))

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Surround a turn: an error ends the block, and not the loop.

        Raises:
            CancelledError: the task of the loop is cancelled. A cancelled call inside the turn is an error like others.
        """
        try:
            yield
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a loop that ends is worse than any error
            self._failed(error)
        else:
            self._errors = 0

    def _failed(self, error: BaseException) -> None:
        from jobqueue.journal import get_logger  # noqa: PLC0415 - takes long to load, and --help needs no log

        self._errors += 1
        get_logger(__name__).error("loop failed", loop=self._loop, exc_info=error)
        self.count(self._loop)
