"""Steps that must not run twice: their marks, late results, and decisions of people about doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.errors import ConflictError, InvalidInputError, NotFoundError
from jobqueue.domain.steps.step import MOST_STEPS
from jobqueue.store.documents import documents, statements
from jobqueue.store.mongo.database import guarded, new_id
from jobqueue.store.mongo.driver import ReturnDocument
from jobqueue.store.steps import once_statements, step_statements

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_INLINE: Final = 1024
"""Bytes of a result that is kept in the document; there is no count of these results."""


class OnceStore:
    """Writes marks of steps, each by one update of the job."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._results = database.collection("steps")

    @guarded
    async def mark(self, job: Job, token: str, name: str, *, tries: int, key: str | None = None) -> Step | None:
        """Return a step, marked as begun unless it has finished or has a mark already; ``None`` if the claim is lost.

        Raises:
            InvalidInputError: the job has too many steps.
        """
        now = self._clock.present
        update = [*once_statements.mark(token, name, now, tries=tries, key=key), *statements.renew(now)]
        after = await self._jobs.find_one_and_update(
            statements.held(job.id, job.queue, token),
            update,
            projection={"step": step_statements.named(name)},
            return_document=ReturnDocument.AFTER,
        )
        if after is None:
            return None
        steps = documents.steps(after["step"])
        if not steps:
            raise InvalidInputError({"name": [f"a job has at most {MOST_STEPS:,} steps"]})
        return steps[0]

    @guarded
    async def unmark(self, job: Job, token: str, name: str) -> bool:
        """Take back the mark of a claim; return False if the claim is lost."""
        update = [*once_statements.unmark(token, name), *statements.renew(self._clock.present)]
        return bool((await self._jobs.update_one(statements.held(job.id, job.queue, token), update)).matched_count)

    @guarded
    async def finish_late(self, job: Job, token: str, name: str, result: Any, *, size: int) -> bool:
        """Finish a step that still has the mark of a claim which is lost; return False if it has none."""
        entry, stored_id = await self._kept(job, name, result, size)
        update = once_statements.finish(name, entry, self._clock.present)
        done = await self._jobs.update_one(once_statements.marked(job.id, job.queue, token, name), update)
        if not done.matched_count and stored_id is not None:
            await self._results.delete_one({"_id": stored_id})
        return bool(done.matched_count)

    @guarded
    async def decide(self, job: Job, name: str, result: Any, *, size: int, happened: bool) -> None:
        """End a doubt: the step has happened, with a result, or it has not.

        Raises:
            NotFoundError: there is no such job, or no such step of it.
            ConflictError: the step is not in doubt, or it runs.
        """
        entry, stored_id = await self._kept(job, name, result, size) if happened else (None, None)
        before = await self._jobs.find_one_and_update(
            {"_id": ObjectId(job.id), "queue": job.queue, "state": {"$exists": True}},
            once_statements.decide(name, entry, self._clock.present),
            projection=once_statements.found(name),
            return_document=ReturnDocument.BEFORE,
        )
        if before is not None and before["isInDoubt"] and not before["isRunning"]:
            return
        if stored_id is not None:
            await self._results.delete_one({"_id": stored_id})
        if before is None:
            raise NotFoundError("job", job.id)
        if not before["isThere"]:
            raise NotFoundError("step", name)
        raise ConflictError(f"step {name} {'runs at this moment' if before['isRunning'] else 'is not in doubt'}")

    async def _kept(self, job: Job, name: str, result: Any, size: int) -> tuple[Document, ObjectId | None]:
        """Return the fields of a result, and the id of a result that is kept outside of the document."""
        if size <= _INLINE:
            return {"result": result, "size": size}, None
        stored_id = ObjectId(new_id())
        document = {"_id": stored_id, "jobId": ObjectId(job.id), "queue": job.queue, "run": job.run}
        await self._results.insert_one(document | {"name": name, "result": result})
        return {"stored": True, "storedId": stored_id, "size": size}, stored_id
