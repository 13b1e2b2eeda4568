"""Log lines and progress of a running job over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jobqueue.client.calls import made
from jobqueue.domain.errors import JobCancelledError
from jobqueue.domain.jobs.job import LONGEST_LINE
from jobqueue.domain.text import split
from jobqueue.domain.work.logs import LONGEST_LEVEL
from jobqueue.domain.work.verdict import as_percent

if TYPE_CHECKING:
    from jobqueue.client.transport import Reply
    from jobqueue.client.work.claimed import ClaimReports
    from jobqueue.client.work.steps import HttpSteps

_MOST_LINES: Final = 500


class HttpReporter:
    """Reports of a processor about a running job; lines of many calls at a time share a request.

    Args:
        reports: sends them.
        steps: of the job.
    """

    def __init__(self, reports: ClaimReports, steps: HttpSteps) -> None:
        self._reports = reports
        self.steps = steps
        self._waiting: list[tuple[dict[str, str], asyncio.Future[None] | None]] = []
        self._sending: asyncio.Task[None] | None = None

    async def log(self, line: str, level: str | None = None) -> None:
        """Add a log line; it is stored when this returns.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
        """
        text, more = line.encode("utf-8", "backslashreplace").decode(), _level(level)
        *parts, last = split(text, LONGEST_LINE)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting += [({"m": part, **more}, None) for part in parts]
        self._waiting.append(({"m": last, **more}, done))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_lines())
        await done

    async def progress(self, percent: float) -> None:
        """Set the progress; a number outside 0 to 100 becomes the nearer end.

        Raises:
            JobCancelledError: as `log`.
            ValueError: the value is not a number.
        """
        self._check(await self._reports.post("heartbeat", progress=as_percent(percent)))

    async def _send_lines(self) -> None:
        while self._waiting:
            part, self._waiting = self._waiting[:_MOST_LINES], self._waiting[_MOST_LINES:]
            try:
                self._check(await self._reports.post("heartbeat", logs=[form for form, _ in part]))
            except BaseException as error:  # noqa: BLE001 - each caller gets it
                reason = error if isinstance(error, Exception) else JobCancelledError()
                for _, done in part:
                    if done is not None and not done.done():
                        done.set_exception(reason)
                        # A caller that was cancelled meanwhile does not look.
                        done.exception()
            else:
                for _, done in part:
                    if done is not None and not done.done():
                        done.set_result(None)

    def _check(self, reply: Reply) -> None:
        if made(lambda beat: bool(beat["cancelled"]), reply):
            raise self._reports.lost("the job was killed")


def _level(level: object) -> dict[str, str]:
    """Return a level as a report may have it."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(level or ""))[:LONGEST_LEVEL]
    return {"level": text} if text else {}
