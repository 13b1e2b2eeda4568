"""Readiness of this process, with one question to MongoDB for all probes of a second."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import NotReadyError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = get_logger(__name__)
FRESH_SECONDS: Final = 1.0
"""Seconds for which an answer holds, good or bad."""


class Readiness:
    """Keeps the last answer for a moment; probes that arrive together share one question.

    Args:
        ask: asks MongoDB; raises `NotReadyError`.
        clock: steady seconds.
    """

    def __init__(self, ask: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._until = float("-inf")
        self._trouble: NotReadyError | None = None

    async def check(self) -> None:
        """Make sure that requests can be served.

        Raises:
            NotReadyError: requests cannot be served; the message says why.
        """
        async with self._asking:
            if self._clock() >= self._until:
                try:
                    await self._ask()
                    self._note(None)
                except NotReadyError as error:
                    self._note(error)
                self._until = self._clock() + FRESH_SECONDS
        if self._trouble is not None:
            raise NotReadyError(str(self._trouble), self._trouble.cause)

    def _note(self, trouble: NotReadyError | None) -> None:
        """Log a change once, however many probes there are."""
        if trouble is not None and str(trouble) != str(self._trouble):
            log.warning("readiness lost", reason=str(trouble), error=trouble.cause)
        elif trouble is None and self._trouble is not None:
            log.info("readiness restored")
        self._trouble = trouble
