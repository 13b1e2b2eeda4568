"""One run of the demo: a batch of jobs of three kinds, and its report."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.demo import sources
from jobqueue.demo.pipeline import queue_of
from jobqueue.domain.attempts.backoff import SteppedBackoff
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import ConflictError, DatabaseUnavailableError, Die, InvalidInputError, NotFoundError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import MOST_LISTED, JobQuery
from jobqueue.domain.workflow.batch import FINISHED, Member, NewBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
    from jobqueue.services.queue import JobQueue

FIND: Final = "demo.find"
ANALYSE: Final = "demo.analyse"
REPORT: Final = "demo.report"
_ADDED_AT_ONCE: Final = 1000
_LOST: Final = 10
_LISTED: Final = 5
_LOOK_SECONDS: Final = 0.25
_BACKOFF: Final = SteppedBackoff((0.2, 0.5))
_BROKEN: Final = frozenset({State.FAILED, State.KILLED})


class Run:
    """A run, new or begun before; its jobs have a queue of their own, so that no other process takes them.

    Args:
        queue: runs the jobs.
        run: the id of a run that has begun before.
    """

    def __init__(self, queue: JobQueue, run: str | None = None) -> None:
        self.id = run or secrets.token_hex(4)
        self.queue = f"demo-{self.id}"
        self._jobs = queue
        self._line = ""
        self._retried: set[str] = set()
        for kind, handler in ((FIND, self.find), (ANALYSE, self.analyse), (REPORT, self.report)):
            queue.handler(kind, queue=self.queue)(handler)

    async def begin(self, root: Path, limit: int | None = None, copy_to: Path | None = None) -> None:
        """Add the first job, and the report that waits for it and for all jobs it adds.

        With ``copy_to`` the jobs analyse an incomplete copy, and the report needs all of them to succeed.
        """
        data = {"root": str(root), "limit": limit, "copyTo": copy_to and str(copy_to)}
        find, last = self._new(FIND, data), self._new(REPORT, data, None if copy_to else "run")
        members = (Member(job=find, ref=FIND), Member(job=last, ref=REPORT, after=(FIND,)))
        await self._jobs.add_batch(NewBatch(members=members, meta={"demo": self.id}))

    async def resume(self) -> None:
        """Go on with a run, and requeue its batch if no report can come otherwise.

        Raises:
            NotFoundError: the database has no such run.
        """
        find, last = await self._job(FIND), await self._job(REPORT)
        if {find.state, last.state} & _BROKEN and find.batch_id is not None:
            with contextlib.suppress(ConflictError):
                await self._jobs.requeue_batch(find.batch_id)

    async def repair(self) -> int:
        """Copy the missing files, requeue the batch, and return the number of these files.

        Raises:
            NotFoundError: the database has no such run.
            InvalidInputError: the run works on no copy.
        """
        find = await self._job(FIND)
        if find.data.get("copyTo") is None:
            raise InvalidInputError({"repair": [f"run {self.id} was not begun with --break"]})
        target = Path(find.data["copyTo"])
        files = [job.data["file"] for job in await self._all(ANALYSE)]
        missing = [file for file in files if not (target / file).exists()]
        await asyncio.to_thread(sources.copy, Path(find.data["root"]), target, missing)
        await self.resume()
        return len(missing)

    async def watch(self, show: Callable[[int, int | None, str], None], stop: asyncio.Event) -> Job | None:
        """Wait until all jobs have ended; return the job that makes the report, or ``None`` if stopped before.

        Args:
            show: called all the time with the number of ended jobs, that of all jobs if it is known, and a line.
            stop: ends the wait.
        """
        while not stop.is_set():
            with contextlib.suppress(DatabaseUnavailableError):
                find, last = await self._job(FIND), await self._job(REPORT)
                view = await self._jobs.batch(find.batch_id or "")
                ended, failed = (sum(view.counts[state] for state in states) for states in (FINAL, _BROKEN))
                total = find.result["files"] + 2 if find.state is State.SUCCESS else None
                show(ended, total, f"{failed:,} failed, {len(self._retried):,} retried; last: {self._line}")
                if view.batch.state == FINISHED:
                    return last
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
        return None

    async def delete(self) -> int:
        """Delete all jobs of the run, and its copy if it has one; return the number of jobs."""
        if copied := (await self._job(FIND)).data.get("copyTo"):
            await asyncio.to_thread(shutil.rmtree, copied, ignore_errors=True)
        jobs = [*await self._all(), *await self._all(queue=queue_of(self.id))]
        await asyncio.gather(*(self._jobs.delete(job.id) for job in jobs))
        return len(jobs)

    async def find(self, job: ActiveJob) -> dict[str, Any]:
        """Add an analysis for each source that has none yet; the report waits for all of them."""
        root, copy_to, limit = Path(job.data["root"]), job.data.get("copyTo"), job.data.get("limit")
        files = await asyncio.to_thread(sources.find, root)
        count = len(files)
        await job.log(f"{count:,} Python sources in {root}")
        if copy_to is not None:
            # Python's own tests are in part broken on purpose.
            files = [file for file in files if "test" not in file]
        if limit is not None and limit < len(files):
            files = [files[index * len(files) // limit] for index in range(limit)]
        if copy_to is not None:
            kept = [file for index, file in enumerate(files, start=1) if index % _LOST]
            await asyncio.to_thread(sources.copy, root, Path(copy_to), kept)
            root = Path(copy_to)
            await job.log(f"copied {len(kept):,} of {len(files):,} files to {root}")
        known = {analysis.data["file"] for analysis in await self._all(ANALYSE)}
        blocks = ((await self._job(REPORT)).id,)
        new = [
            Member(job=self._new(ANALYSE, {"root": str(root), "file": file}), blocks=blocks)
            for file in files
            if file not in known
        ]
        for start in range(0, len(new), _ADDED_AT_ONCE):
            await job.add_all(new[start : start + _ADDED_AT_ONCE])
            await job.progress(100 * min(start + _ADDED_AT_ONCE, len(new)) / len(new))
        await job.log(f"added {len(new):,} of {len(files):,} analyses")
        return {"found": count, "files": len(files), "added": len(new)}

    def analyse(self, job: BlockingJob) -> dict[str, Any]:
        """Measure one source, in a thread."""
        if job.attempt > 1:
            self._retried.add(job.id)
        measures = sources.measure(job.data["root"], job.data["file"])
        self._line = f"{job.data['file']}: {measures['lines']:,} lines, {measures['functions']:,} functions"
        job.log(self._line)
        return measures

    async def report(self, job: ActiveJob) -> dict[str, Any]:
        """Add up what the analyses found; all have ended. Without sources the job dies."""
        find = await self._job(FIND)
        if find.state is not State.SUCCESS:
            raise Die(f"{FIND} {find.state}: {find.error.message if find.error else 'no reason given'}")
        return summarize(self.id, job.data["root"], job.job.insert_at, await self._all(ANALYSE))

    async def _job(self, kind: str) -> Job:
        page = await self._jobs.list(JobQuery(queue=self.queue, type=kind, limit=1))
        if not page.items:
            raise NotFoundError("demo run", self.id)
        return page.items[0]

    async def _all(self, kind: str | None = None, queue: str | None = None) -> list[Job]:
        query = JobQuery(queue=queue or self.queue, type=kind, oldest_first=True, limit=MOST_LISTED)
        page = await self._jobs.list(query)
        jobs = [*page.items]
        while page.next is not None:
            page = await self._jobs.list(query.at(page.next))
            jobs += page.items
        return jobs

    def _new(self, kind: str, data: dict[str, Any], policy: str | None = None) -> NewJob:
        meta = {"demo": self.id} | ({"file": data["file"]} if "file" in data else {})
        more: dict[str, Any] = {"attempts": 3, "backoff": _BACKOFF, "dependency_policy": policy}
        return NewJob(type=kind, queue=self.queue, data=data, meta=meta, **more)


def summarize(run: str, root: str, started_at: datetime, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the report of a run that began at this time, with these analyses."""
    results = [{"file": job.data["file"], **job.result} for job in jobs if job.state is State.SUCCESS]
    ended_at = max((job.end_at for job in jobs if job.end_at is not None), default=started_at)
    seconds = max((ended_at - started_at).total_seconds(), 0.001)
    largest = Counter({result["file"]: result["lines"] for result in results})
    imports = Counter(module for result in results for module in result["imports"])
    return {
        "run": run,
        "root": root,
        "seconds": round(seconds, 3),
        "filesPerSecond": round(len(jobs) / seconds, 1),
        "totals": {
            "files": len(jobs),
            "analysed": len(results),
            "failed": len(jobs) - len(results),
            "attempts": sum(attempt.start_at is not None for job in jobs for attempt in job.history),
            "retried": sum(job.attempts_made > 1 for job in jobs),
            **{name: sum(result[name] for result in results) for name in ("lines", "functions", "classes")},
        },
        "largest": [{"file": file, "lines": lines} for file, lines in largest.most_common(_LISTED)],
        "mostImported": [{"module": name, "files": count} for name, count in imports.most_common(_LISTED)],
        "mostComplex": _most(results, "mostComplex", "complexity"),
        "longest": _most(results, "longest", "lines"),
        "failures": _failures([job for job in jobs if job.state is not State.SUCCESS]),
    }


def _most(results: Sequence[dict[str, Any]], name: str, measure: str) -> dict[str, Any] | None:
    functions = [{"file": result["file"], **result[name]} for result in results if result[name] is not None]
    return max(functions, key=lambda function: function[measure], default=None)


def _failures(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job in jobs:
        kind, message = (job.error.kind, job.error.message) if job.error else ("unknown", "")
        sample = {"id": job.id, "file": job.data["file"], "attempts": job.attempts_made, "message": message}
        groups.setdefault((kind, job.state.value), []).append(sample)
    return [
        {"kind": kind, "state": state, "count": len(samples), "samples": samples[:3]}
        for (kind, state), samples in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]
