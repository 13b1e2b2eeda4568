"""The death of a worker at a chosen moment of a job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Processor, Reporter, Verdict


class Crash:
    """Stops the run of a job when one of its steps has been kept.

    Args:
        job_id: of the job.
        step: the name of the step.

    Attributes:
        happened: set when the step has been kept.
    """

    def __init__(self, job_id: str, step: str) -> None:
        self.job_id = job_id
        self.step = step
        self.happened = asyncio.Event()

    def processor(self, processor: Processor) -> Processor:
        """Return a processor that stops in this step."""
        return _CrashingProcessor(processor, self)


class _CrashingProcessor:
    def __init__(self, processor: Processor, crash: Crash) -> None:
        self._processor = processor
        self._crash = crash
        self.stop_seconds = processor.stop_seconds

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        return await self._processor.run(job, cast("Reporter", _CrashingReporter(reporter, self._crash)))


class _CrashingReporter:
    def __init__(self, reporter: Reporter, crash: Crash) -> None:
        self._reporter = reporter
        self.steps = _CrashingSteps(reporter.steps, crash)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reporter, name)


class _CrashingSteps:
    def __init__(self, steps: Any, crash: Crash) -> None:
        self._steps = steps
        self._crash = crash

    def __getattr__(self, name: str) -> Any:
        return getattr(self._steps, name)

    async def record(self, name: str, result: Any, **how: Any) -> Any:
        kept = await self._steps.record(name, result, **how)
        if name == self._crash.step:
            self._crash.happened.set()
            # The handler gets no further: the drain stops it here.
            await asyncio.get_running_loop().create_future()
        return kept
