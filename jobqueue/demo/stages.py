"""The three kinds of jobs of a run, and what they do."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.demo import sources
from jobqueue.demo.analysis import analyse
from jobqueue.demo.findings import Findings
from jobqueue.domain.backoff import Fixed, Steps
from jobqueue.domain.errors import Die, KeyConflictError, Retry
from jobqueue.domain.job import NewJob
from jobqueue.domain.query import MOST_LISTED, JobQuery
from jobqueue.domain.state import FINAL, UNFINISHED, State
from jobqueue.services.producer import MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from jobqueue.demo.tally import Tally
    from jobqueue.domain.job import Job
    from jobqueue.processors.callback import ActiveJob, BlockingJob
    from jobqueue.services.queue import JobQueue

FIND: Final = "demo.find"
ANALYSE: Final = "demo.analyse"
REPORT: Final = "demo.report"
KINDS: Final = (FIND, ANALYSE, REPORT)
_ATTEMPTS: Final = 3
_LONGEST_KEY: Final = 500
_MOST_COUNTED: Final = 10 * MOST_LISTED
_PER_SECOND: Final = 200
"""How many analyses a second the report expects, to choose when to look again."""
_WAITS: Final = (1.0, 10.0)
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

    def first(self, root: Path, limit: int | None) -> NewJob:
        """Return the job that starts the run; whatever becomes of it, the report follows."""
        meta = {"demo": self.run}
        report = NewJob(
            type=REPORT, queue=self.name, meta=meta, priority=10, attempts=_ATTEMPTS, backoff=Steps((0.5, 2))
        )
        data = {"root": str(root), "limit": limit}
        return NewJob(
            type=FIND,
            queue=self.name,
            data=data,
            meta=meta,
            attempts=_ATTEMPTS,
            backoff=Fixed(1),
            key=self.run,
            on_complete=report,
        )

    async def find(self, job: ActiveJob) -> dict[str, Any]:
        """Find the sources and add an analysis for each that has none yet."""
        root = Path(job.data["root"])
        found = await asyncio.to_thread(sources.find, root)
        await self._log(job, f"{len(found.files):,} Python sources in {root}")
        for directory, count in found.by_directory()[:5]:
            await self._log(job, f"{directory}: {count:,} files")
        for problem in found.problems:
            await self._log(job, problem, "warning")
        await job.progress(_FOUND_PERCENT)
        files = sources.spread(found.files, job.data.get("limit"))
        self._tally.expect(len(files))
        there = {one.data.get("file") async for one in self.analyses()}
        missing = [file for file in files if file not in there]
        for start in range(0, len(missing), MOST_AT_ONCE):
            bulk = missing[start : start + MOST_AT_ONCE]
            await self._add(root, bulk)
            await self._log(job, f"added {start + len(bulk):,} of {len(missing):,} analyses")
            await job.progress(_FOUND_PERCENT + (100 - _FOUND_PERCENT) * (start + len(bulk)) / len(missing))
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
        """Wait until every analysis has ended, and add up what they found."""
        if job.parent_id is None:
            raise Die(f"a {REPORT} is only made by a {FIND}")
        find = await self._queue.get(job.parent_id)
        if find.state not in FINAL:
            raise Retry(f"{FIND} is {find.state}", delay=_WAITS[0])
        if find.state is not State.SUCCESS:
            raise Die(f"{FIND} {find.state}: {find.error.message if find.error else 'no reason given'}")
        await self._wait(find.result["files"])
        findings = Findings(self.run, find.data["root"], find.insert_at)
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

    async def _wait(self, total: int) -> None:
        """Come back later unless all have ended.

        Raises:
            Retry: with how far it is.
        """
        left = 0
        async for _ in self.analyses(sorted(UNFINISHED)):
            left += 1
            if left > _MOST_COUNTED:
                raise Retry(f"more than {_MOST_COUNTED:,} of {total:,} are still to be analysed", delay=_WAITS[1])
        if left:
            delay = min(max(left / _PER_SECOND, _WAITS[0]), _WAITS[1])
            raise Retry(f"{total - left:,} of {total:,} analysed", delay=delay)

    async def _add(self, root: Path, files: Sequence[str]) -> None:
        """Add analyses; if a slow twin of this attempt has added some meanwhile, only the others."""
        try:
            await self._queue.add_all([self._analysis(root, file) for file in files])
        except KeyConflictError:
            there = {one.data.get("file") async for one in self.analyses()}
            if rest := [self._analysis(root, file) for file in files if file not in there]:
                await self._queue.add_all(rest)

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
            backoff=Steps((0.2, 0.5)),
            key=key,
        )

    async def _log(self, job: ActiveJob, line: str, level: str | None = None) -> None:
        self._tally.say(line)
        await job.log(line, level)


def queue_name(run: str) -> str:
    """Return the queue of a run."""
    return f"demo-{run}"
