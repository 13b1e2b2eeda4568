"""One run from beginning to end, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobqueue.demo import sources
from jobqueue.demo.stages import FIND, KINDS, REPORT, Stages
from jobqueue.demo.tally import Tally
from jobqueue.domain.errors import (
    ConflictError,
    DatabaseUnavailableError,
    InvalidInputError,
    NotFoundError,
    WrongStateError,
)
from jobqueue.domain.jobs.states import FINAL, State

if TYPE_CHECKING:
    from jobqueue.demo.display import Display
    from jobqueue.domain.jobs.job import Job
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
        copy_to: analyse a copy of it there that is not whole.
    """

    root: Path
    limit: int | None = None
    copy_to: Path | None = None


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

    async def begin(self, order: Order) -> None:
        """Add the first job and the report; everything else follows from that."""
        await self._queue.add_batch(self._stages.batch(order.root, order.limit, order.copy_to))

    async def resume(self) -> None:
        """Go on with what is left of a run, and begin again the stage that broke off, if one did.

        Raises:
            NotFoundError: there is no such run in this database.
        """
        find, report = await self._first_and_last()
        if find.state in _BROKEN and find.batch_id is not None:
            with contextlib.suppress(ConflictError):
                await self._queue.requeue_batch(find.batch_id)
        elif report is not None and report.state in _BROKEN:
            with contextlib.suppress(WrongStateError):
                await self._queue.requeue(report.id)
        await self._count(find)

    async def repair(self) -> int:
        """Copy what is missing and start again what failed because of it; return how many files were missing.

        Raises:
            NotFoundError: there is no such run in this database.
            InvalidInputError: it works on no copy, so that there is nothing to repair.
        """
        find, _ = await self._first_and_last()
        copy_to = find.data.get("copyTo")
        if copy_to is None or find.batch_id is None:
            raise InvalidInputError({"repair": [f"run {self.id} was not begun with --break"]})
        copied = Path(copy_to)
        missing = [
            job.data["file"] async for job in self._stages.analyses() if not (copied / job.data["file"]).exists()
        ]
        await asyncio.to_thread(sources.copy, Path(find.data["root"]), copied, missing)
        with contextlib.suppress(ConflictError):
            await self._queue.requeue_batch(find.batch_id)
        await self._count(find)
        return len(missing)

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
        """Delete all jobs of the run, and its copy if it has one; return how many jobs there were."""
        find, _ = await self._first_and_last()
        if find.data.get("copyTo") is not None:
            await asyncio.to_thread(shutil.rmtree, find.data["copyTo"], ignore_errors=True)
        ids = [job.id for kind in KINDS async for job in self._stages.jobs(kind)]
        for start in range(0, len(ids), _DELETED_AT_ONCE):
            await asyncio.gather(*(self._queue.delete(job_id) for job_id in ids[start : start + _DELETED_AT_ONCE]))
        return len(ids)

    async def _first_and_last(self) -> tuple[Job, Job | None]:
        find, report = await self._stages.newest(FIND), await self._stages.newest(REPORT)
        if find is None:
            raise NotFoundError("demo run", self.id)
        return find, report

    async def _count(self, find: Job) -> None:
        """Begin to count where the run is."""
        if find.state is State.SUCCESS:
            self._tally.expect(find.result["files"])
        done = failed = 0
        async for job in self._stages.analyses(sorted(FINAL)):
            done += job.state is State.SUCCESS
            failed += job.state is not State.SUCCESS
        self._tally.start_from(done=done, failed=failed)

    async def _ended_report(self) -> Job | None:
        report = await self._stages.newest(REPORT)
        if report is None or report.state not in FINAL:
            return None
        if report.state in _BROKEN and report.batch_id is not None:
            # It falls with the first job that fails; the others are worth waiting for.
            batch = await self._queue.batch(report.batch_id)
            return report if batch.batch.state == "finished" else None
        return report
