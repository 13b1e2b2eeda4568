"""Keeping steps: small results in the document of their job, others in the collection `steps`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import bson
from bson import ObjectId

from jobqueue.domain.errors import InvalidInputError, NotFoundError, TooLargeError
from jobqueue.domain.steps.step import (
    INLINE_RESULT,
    INLINE_RESULTS,
    INLINE_STEPS,
    MOST_RESULTS,
    MOST_STEPS,
    SMALL_RESULT,
    Step,
    StepKind,
)
from jobqueue.lru_cache import LruCache
from jobqueue.store.documents import documents, statements
from jobqueue.store.mongo.database import guarded, new_id, translated
from jobqueue.store.mongo.driver import LENIENT, ReturnDocument
from jobqueue.store.steps import step_statements

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_MOST_REMEMBERED: Final = 2_000
"""Claims of which it is remembered that their documents have no room for results."""
_ADVICE: Final = "split the work into jobs of their own"


class StepStore:
    """Writes steps of running jobs, each by one update that the claim of the job guards."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self.collection = database.collection("steps")
        # True for documents that have room for small results.
        self._full: LruCache[str, bool] = LruCache(_MOST_REMEMBERED)
        self._crowded: LruCache[tuple[str, bool], bool] = LruCache(_MOST_REMEMBERED)

    @guarded
    async def record(
        self, job: Job, token: str, name: str, result: Any, *, size: int, tries: int, seconds: float
    ) -> tuple[Step, bool] | None:
        """Keep the result of a step; the first result of a name wins.

        Args:
            job: that runs.
            token: of its claim.
            name: of the step.
            result: as it can be stored.
            size: bytes of the result.
            tries: how often the step was run.
            seconds: how long it ran.

        Returns:
            The step that is kept, and whether it was there before; ``None`` if the claim is lost.

        Raises:
            InvalidInputError: the job has too many steps.
            TooLargeError: the results of all steps take too much together.
        """
        # As the next attempt reads it: a list for a tuple, a date in milliseconds.
        result = bson.decode(bson.encode({"result": result}), LENIENT)["result"]
        entry: Document = {"kind": StepKind.STEP.value, "tries": tries}
        new = Step(name=name, end_at=job.start_at, result=result, size=size)
        if self._may_be_inside(token, size):
            inside = entry | {"result": result}
            kept = await self._put(job, token, new, inside, seconds, inline=True)
            if kept is not False:
                return (kept, kept is not new) if kept else None
        stored_id = new_id()
        document = {"_id": ObjectId(stored_id), "jobId": ObjectId(job.id), "queue": job.queue, "run": job.run}
        await self.collection.insert_one(document | {"name": name, "result": result})
        outside = entry | {"stored": True, "storedId": ObjectId(stored_id)}
        try:
            with translated():
                kept = await self._put(job, token, new, outside, seconds, inline=False)
        except (InvalidInputError, TooLargeError):
            await self.collection.delete_one({"_id": ObjectId(stored_id)})
            raise
        if kept is not new:
            await self.collection.delete_one({"_id": ObjectId(stored_id)})
        return (kept, kept is not new) if kept else None

    @guarded
    async def begin_sleep(
        self, job: Job, token: str, name: str, *, seconds: float | None, until: datetime | None
    ) -> Step | None:
        """Return a sleep, noted with its end; a sleep that is known already keeps its end. ``None`` as in `record`.

        Raises:
            InvalidInputError: the job has too many steps.
        """
        update = step_statements.begin_sleep(name, self._clock.present, seconds=seconds, until=until)
        step = await self._change(job, token, name, update)
        if step is not None and step.name != name:
            raise _too_many()
        return step

    @guarded
    async def failed(self, job: Job, token: str, name: str, *, tries: int, error: JobError, wait: float) -> Step | None:
        """Return a step that has failed and is to be tried again after ``wait`` seconds; ``None`` as in `record`."""
        update = step_statements.failed(name, self._clock.present, tries=tries, error=error, wait=wait)
        return await self._change(job, token, name, update)

    @guarded
    async def forget(self, job: Job, token: str, name: str) -> bool:
        """Forget a step, which runs again; return False if the claim is lost.

        A result outside of the document stays until the job is deleted.
        """
        held = statements.held(job.id, job.queue, token)
        done = await self._jobs.update_one(held, step_statements.forget(name, self._clock.present))
        return bool(done.matched_count)

    @guarded
    async def results(self, job: Job, names: Sequence[str]) -> dict[str, Any]:
        """Return results that are kept outside of the document, by the name of the step."""
        by_id = {
            ObjectId(step.stored_id): step.name
            for step in job.steps or ()
            if step.name in set(names) and step.stored_id
        }
        cursor = self.collection.find({"_id": {"$in": list(by_id)}}, {"result": 1})
        return {by_id[document["_id"]]: document["result"] async for document in cursor}

    @guarded
    async def of(self, job_id: str) -> tuple[Step, ...]:
        """Return the steps of a job, without results."""
        document = await self._jobs.find_one({"_id": ObjectId(job_id)}, {"steps": step_statements.without_results()})
        return documents.steps((document or {}).get("steps")) or ()

    @guarded
    async def finished(self, job_id: str, name: str) -> Step:
        """Return a finished step with its result.

        Raises:
            NotFoundError: there is no such job, or no such step of it.
        """
        is_job = {"_id": ObjectId(job_id), "state": {"$exists": True}}
        document = await self._jobs.find_one(is_job, {"step": step_statements.named(name)})
        if document is None:
            raise NotFoundError("job", job_id)
        steps = documents.steps(document.get("step"))
        if not steps or not steps[0].is_finished:
            raise NotFoundError("step", name)
        if not steps[0].stored or steps[0].is_paged:
            return steps[0]
        outside = await self.collection.find_one({"_id": ObjectId(steps[0].stored_id)}, {"result": 1})
        if outside is None:
            raise NotFoundError("step", name)
        return replace(steps[0], stored=None, result=outside["result"], has_result=True)

    @guarded
    async def keep_forgotten(self, job: Job, names: Collection[str] | None) -> None:
        """Keep the entries of steps that a requeue is about to forget, under the run in which they finished."""
        document = await self._jobs.find_one({"_id": ObjectId(job.id)}, {"steps": 1})
        stored = (document or {}).get("steps")
        entries = [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []
        if names is not None:
            entries = [entry for entry in entries if entry.get("name") in names]
        if entries:
            key = {"jobId": ObjectId(job.id), "run": job.run, "forgotten": {"$exists": True}}
            await self.collection.update_one(key, {"$set": {"queue": job.queue, "forgotten": entries}}, upsert=True)

    async def delete(self, job_ids: Collection[Any]) -> None:
        """Delete what is kept outside of the documents of jobs; ids as ``ObjectId``."""
        await self.collection.delete_many({"jobId": {"$in": list(job_ids)}})

    def _may_be_inside(self, token: str, size: int) -> bool:
        takes_small = self._full.get(token)
        return size <= (INLINE_RESULT if takes_small is None else SMALL_RESULT if takes_small else -1)

    async def _put(
        self, job: Job, token: str, step: Step, entry: Document, seconds: float, *, inline: bool
    ) -> Step | Literal[False] | None:
        """Write a step; return the step that is kept, ``None`` if the claim is lost, and False if it lacks room inside.

        A step of a new name in a document that certainly has room takes a plain look and an update. All else, and the
        reason where nothing was written, takes an update that costs twice as much, and returns what was there.

        Raises:
            InvalidInputError, TooLargeError: as `record`.
        """
        held = statements.held(job.id, job.queue, token)
        how: dict[str, Any] = {"size": step.size, "inline": inline, "seconds": seconds}
        written = token, step.name, entry, self._clock.present
        if self._crowded.get((token, inline)) is None and step_statements.may_have_room(step.size, inline=inline):
            room = step_statements.has_room(step.name, size=step.size, inline=inline)
            if (await self._jobs.update_one(held | room, step_statements.append(*written, **how))).matched_count:
                return step
        before: Document | None = await self._jobs.find_one_and_update(
            held,
            step_statements.record(*written, **how),
            projection=step_statements.before(step.name),
            return_document=ReturnDocument.BEFORE,
        )
        if before is None:
            return None
        known = self._known(before, step.size)
        if known is not None:
            return known
        has_place = step.size <= SMALL_RESULT or before["inlineSteps"] < INLINE_STEPS
        if inline and not (has_place and before["inlineBytes"] + step.size <= INLINE_RESULTS):
            self._full.keep(token, not has_place)
            return False
        self._crowded.keep((token, inline), True)  # noqa: FBT003 - a value
        return step

    async def _change(self, job: Job, token: str, name: str, update: list[Document]) -> Step | None:
        held = statements.held(job.id, job.queue, token)
        after = await self._jobs.find_one_and_update(
            held, update, projection=step_statements.before(name), return_document=ReturnDocument.AFTER
        )
        if after is None:
            return None
        steps = documents.steps(after["step"])
        return steps[0] if steps else Step(name="")

    @staticmethod
    def _known(before: Document, size: int) -> Step | None:
        """Return the step that had finished before a result came; ``None`` if the result is kept or lacks room inside.

        Raises:
            InvalidInputError, TooLargeError: as `record`.
        """
        steps = documents.steps(before["step"])
        if steps and steps[0].is_finished:
            return steps[0]
        if before["steps"] >= MOST_STEPS:
            raise _too_many()
        if before["bytes"] + size > MOST_RESULTS:
            raise TooLargeError("the results of all steps", before["bytes"] + size, MOST_RESULTS)
        return None


def _too_many() -> InvalidInputError:
    return InvalidInputError({"name": [f"a job has at most {MOST_STEPS:,} steps: {_ADVICE}"]})
