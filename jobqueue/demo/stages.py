"""The three kinds of jobs of a run, and what they do."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.demo import sources
from jobqueue.demo.analysis import analyse
from jobqueue.demo.findings import Findings
from jobqueue.domain.errors import Die
from jobqueue.domain.jobs.backoff import FixedBackoff, SteppedBackoff
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.query import MOST_LISTED, JobQuery
from jobqueue.domain.workflow.batch import Member, NewBatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from jobqueue.demo.tally import Tally
    from jobqueue.domain.jobs.job import Job
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
    from jobqueue.services.queue import JobQueue

FIND: Final = "demo.find"
ANALYSE: Final = "demo.analyse"
REPORT: Final = "demo.report"
KINDS: Final = (FIND, ANALYSE, REPORT)
_ATTEMPTS: Final = 3
_LONGEST_KEY: Final = 500
_AT_ONCE: Final = 1000
_FOUND_PERCENT: Final = 10


class Stages:
    """One run: its jobs are in a queue of its own, so that no other process takes them unasked.

    Args:
        queue: runs the jobs.
        run: the run's id.
        tally: hears of everything.
    """

    def __init__(self, queue: JobQueue, run: str, tally: Tally) -> None:
        self.run = run
        self.name = queue_name(run)
        self._queue = queue
        self._tally = tally
        queue.handler(FIND, queue=self.name)(self.find)
        queue.handler(ANALYSE, queue=self.name)(self.analyse)
        queue.handler(REPORT, queue=self.name)(self.report)

    def batch(self, root: Path, limit: int | None, copy_to: Path | None = None) -> NewBatch:
        """Return the jobs that start the run: the first one, and the report that waits for it and for all it adds.

        Args:
            root: the directory to analyse.
            limit: at most so many files.
            copy_to: analyse a copy, which will not be whole; then the report needs every analysis to succeed.
        """
        meta = {"demo": self.run}
        data = {"root": str(root), "limit": limit, "copyTo": None if copy_to is None else str(copy_to)}
        report = NewJob(
            type=REPORT,
            queue=self.name,
            data=data,
            meta=meta,
            priority=10,
            attempts=_ATTEMPTS,
            backoff=SteppedBackoff((0.5, 2)),
            dependency_policy="run" if copy_to is None else "kill",
        )
        find = NewJob(
            type=FIND, queue=self.name, data=data, meta=meta, attempts=_ATTEMPTS, backoff=FixedBackoff(1), key=self.run
        )
        return NewBatch(
            members=(Member(job=find, ref=FIND), Member(job=report, ref=REPORT, after=(FIND,))),
            meta=meta,
        )

    async def find(self, job: ActiveJob) -> dict[str, Any]:
        """Find the sources and add an analysis for each that has none yet; the report waits for all of them."""
        root = Path(job.data["root"])
        found = await asyncio.to_thread(sources.find, root)
        await self._log(job, f"{len(found.files):,} Python sources in {root}")
        for directory, count in found.by_directory()[:5]:
            await self._log(job, f"{directory}: {count:,} files")
        for problem in found.problems:
            await self._log(job, problem, "warning")
        await job.progress(_FOUND_PERCENT)
        copy_to = job.data.get("copyTo")
        wanted = found.files if copy_to is None else sources.sound(found.files)
        files = sources.spread(wanted, job.data.get("limit"))
        if copy_to is not None:
            copied = await asyncio.to_thread(sources.copy, root, Path(copy_to), sources.but_some(files))
            root = Path(copy_to)
            await self._log(job, f"copied {copied:,} of {len(files):,} files to {root}")
        self._tally.expect(len(files))
        there = {one.data.get("file") async for one in self.analyses()}
        missing = [file for file in files if file not in there]
        report = await self.newest(REPORT)
        blocks = () if report is None else (report.id,)
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            await job.add_all([Member(job=self._analysis(root, file), blocks=blocks) for file in some])
            await self._log(job, f"added {start + len(some):,} of {len(missing):,} analyses")
            await job.progress(_FOUND_PERCENT + (100 - _FOUND_PERCENT) * (start + len(some)) / len(missing))
        return {"found": len(found.files), "files": len(files), "added": len(missing), "problems": len(found.problems)}

    def analyse(self, job: BlockingJob) -> dict[str, Any]:
        """Analyse one source, in a thread."""
        file = job.data["file"]
        with self._tally.attempt(job.job):
            result = analyse(job.data["root"], file)
            line = (
                f"{file}: {result['lines']:,} lines, {result['functions']:,} functions, {result['classes']:,} classes"
            )
            self._tally.say(line)
            job.log(line)
        return result

    async def report(self, job: ActiveJob) -> dict[str, Any]:
        """Add up what the analyses found: all have ended."""
        find = next((one for one in job.parents if one["type"] == FIND), None)
        if find is None or find["state"] != State.SUCCESS:
            first = await self.newest(FIND)
            reason = first.error.message if first and first.error else "no reason given"
            raise Die(f"{FIND} {first.state if first else 'is gone'}: {reason}")
        findings = Findings(self.run, job.data["root"], job.job.insert_at)
        async for one in self.analyses():
            findings.add(one)
        report = findings.report()
        totals = report["totals"]
        await self._log(job, f"{totals['analysed']:,} of {totals['files']:,} analysed, {totals['failed']:,} failed")
        return report

    async def jobs(self, kind: str, states: Sequence[State] = ()) -> AsyncIterator[Job]:
        """Go through the jobs of one kind, oldest first."""
        query = JobQuery(
            queue=self.name,
            type=kind,
            states=tuple(states),
            meta=(("demo", self.run),),
            oldest_first=True,
            limit=MOST_LISTED,
        )
        cursor: str | None = None
        while True:
            page = await self._queue.list(query.at(cursor))
            for job in page.items:
                yield job
            cursor = page.next
            if cursor is None:
                return

    def analyses(self, states: Sequence[State] = ()) -> AsyncIterator[Job]:
        """Go through the analyses, oldest first."""
        return self.jobs(ANALYSE, states)

    async def newest(self, kind: str) -> Job | None:
        """Return the job of a kind that was added last, or ``None``."""
        page = await self._queue.list(JobQuery(queue=self.name, type=kind, limit=1))
        return page.items[0] if page.items else None

    def _analysis(self, root: Path, file: str) -> NewJob:
        key = f"{self.run}/{file}"
        if len(key) > _LONGEST_KEY:
            key = f"{self.run}/{hashlib.sha256(file.encode()).hexdigest()}"
        return NewJob(
            type=ANALYSE,
            queue=self.name,
            data={"root": str(root), "file": file},
            meta={"demo": self.run, "file": file},
            attempts=_ATTEMPTS,
            backoff=SteppedBackoff((0.2, 0.5)),
            key=key,
        )

    async def _log(self, job: ActiveJob, line: str, level: str | None = None) -> None:
        self._tally.say(line)
        await job.log(line, level)


def queue_name(run: str) -> str:
    """Return the queue of a run."""
    return f"demo-{run}"
