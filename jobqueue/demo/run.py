"""One run from beginning to end, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.demo.stages import FIND, KINDS, REPORT, Stages
from jobqueue.demo.tally import Tally
from jobqueue.domain.errors import DatabaseUnavailableError, NotFoundError, WrongStateError
from jobqueue.domain.state import FINAL, State

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue.demo.display import Display
    from jobqueue.domain.job import Job
    from jobqueue.services.queue import JobQueue

_TICK_SECONDS: Final = 0.25
_DELETED_AT_ONCE: Final = 50
_BROKEN: Final = frozenset({State.FAILED, State.KILLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be analysed.

    Attributes:
        root: the directory.
        limit: at most so many files.
    """

    root: Path
    limit: int | None = None


class Run:
    """One run of the demo, new or begun before.

    Args:
        queue: connected, and without handlers of the same run.
        run: the id of a run to go on with; a new one without.
    """

    def __init__(self, queue: JobQueue, run: str | None = None) -> None:
        self.id = run or secrets.token_hex(4)
        self._queue = queue
        self._tally = Tally()
        self._stages = Stages(queue, self.id, self._tally)
        self._outdated: str | None = None

    async def begin(self, order: Order) -> None:
        """Add the first job; everything else follows from it."""
        await self._queue.add_all([self._stages.first(order.root, order.limit)])

    async def resume(self) -> None:
        """Go on with what is left of a run, and begin again the stage that broke off, if one did.

        Raises:
            NotFoundError: there is no such run in this database.
        """
        find, report = await self._stages.newest(FIND), await self._stages.newest(REPORT)
        if find is None:
            raise NotFoundError("demo run", self.id)
        if find.state in _BROKEN:
            # The stage has another report when it ends again.
            self._outdated = report.id if report else None
            await self._requeue(find)
        elif report is not None and report.state in _BROKEN:
            await self._requeue(report)
        if find.state is State.SUCCESS:
            self._tally.expect(find.result["files"])
        done = failed = 0
        async for job in self._stages.analyses(sorted(FINAL)):
            done += job.state is State.SUCCESS
            failed += job.state is not State.SUCCESS
        self._tally.start_from(done=done, failed=failed)

    async def watch(self, display: Display, stop: asyncio.Event) -> Job | None:
        """Show how far it is until the report has ended, and return that job; ``None`` if it was stopped before."""
        with display:
            while not stop.is_set():
                display.show(self._tally.snapshot())
                report = None
                try:
                    report = await self._ended_report()
                except DatabaseUnavailableError as error:
                    self._tally.say(str(error))
                if report is not None:
                    display.show(self._tally.snapshot())
                    return report
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_SECONDS):
                        await stop.wait()
        return None

    async def delete(self) -> int:
        """Delete all jobs of the run and return how many there were."""
        ids = [job.id for kind in KINDS async for job in self._stages.jobs(kind)]
        for start in range(0, len(ids), _DELETED_AT_ONCE):
            await asyncio.gather(*(self._queue.delete(job_id) for job_id in ids[start : start + _DELETED_AT_ONCE]))
        return len(ids)

    async def _requeue(self, job: Job) -> None:
        with contextlib.suppress(WrongStateError):
            await self._queue.requeue(job.id)

    async def _ended_report(self) -> Job | None:
        report = await self._stages.newest(REPORT)
        return report if report and report.id != self._outdated and report.state in FINAL else None
