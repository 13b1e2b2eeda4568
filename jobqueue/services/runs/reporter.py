"""Reports of a running job: log lines and progress, grouped into few writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import JobCancelledError
from jobqueue.domain.work.verdict import as_percent
from jobqueue.services.signals.outages import outlive
from jobqueue.services.steps.reporting import JobSteps
from jobqueue.store.mongo.group_commit import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.runs.attempts import Attempts


@dataclass(frozen=True, slots=True)
class _Report:
    line: tuple[str, str | None] | None = None
    progress: float | None = None


class JobReporter:
    """Reports on one running job under its claim.

    Args:
        work: takes the reports.
        job: the job.
        token: of the claim.
        on_lost: called when the claim is lost.
        results: of finished steps that came with the claim.
    """

    def __init__(
        self,
        work: Attempts,
        job: Job,
        token: str,
        on_lost: Callable[[str], None],
        results: Mapping[str, Any] | None = None,
    ) -> None:
        self._work = work
        self._job = job
        self._token = token
        self._on_lost = on_lost
        self._send: Batcher[_Report, bool] = Batcher(self._write, most=500)
        self.steps = JobSteps(work.steps, job, token, results or {}, on_lost)

    async def log(self, line: str, level: str | None = None) -> None:
        """Add a log line; it is stored when this returns.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
        """
        await self._report(_Report(line=(line, level)))

    async def progress(self, percent: float) -> None:
        """Set the progress; a number outside 0 to 100 becomes the nearer end.

        Raises:
            JobCancelledError: as `log`.
            ValueError: the value is not a number.
        """
        await self._report(_Report(progress=as_percent(percent)))

    async def _report(self, report: _Report) -> None:
        # A run outlives an outage of the database until its lease ends.
        if not await outlive(lambda: self._send(report)):
            self._on_lost("the claim is not held any more")
            raise JobCancelledError

    async def _write(self, reports: Sequence[_Report]) -> list[bool | BaseException]:
        lines = [report.line for report in reports if report.line is not None]
        steps = [report.progress for report in reports if report.progress is not None]
        beat = await self._work.report(self._job, self._token, progress=steps[-1] if steps else None, lines=lines)
        return [beat is not None] * len(reports)
