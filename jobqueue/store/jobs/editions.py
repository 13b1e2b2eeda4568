"""Changes of a job by a person who may have seen another edition of the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.errors import EditionChangedError, NotFoundError, TooLargeError, WrongStateError
from jobqueue.domain.values import payload
from jobqueue.store.documents import documents, statements, unsound_statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import ReturnDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.history import HistoryStore
    from jobqueue.store.mongo.database import Database


_TOLD_BY_OTHERS: Final = frozenset({"result", "logs"})
"""Large fields that change only together with others: the state, and the number of lines."""


def unchanged(document: Mapping[str, Any]) -> Document:
    """Match a job's document as it was read: all its fields, and no field besides."""
    same: Document = {
        name: {"$eq": value}
        for name, value in document.items()
        if name not in _TOLD_BY_OTHERS and not name.startswith("$") and "." not in name
    }
    return same | {"$expr": {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, len(document)]}}


def both(guard: Document, same: Mapping[str, Any] | None) -> Document:
    """Return the conjunction of two filters; ``None`` matches all documents."""
    return guard if same is None else {"$and": [guard, same]}


class EditionStore:
    """Reads jobs together with a filter for their edition, and changes them."""

    def __init__(self, database: Database, history: HistoryStore) -> None:
        self._collection = database.collection("jobs")
        self._history = history
        self._clock = database.clock

    @guarded
    async def seen(self, job_id: str) -> tuple[Job, Document]:
        """Return a job with its whole history, and the filter that matches it until its next change.

        Raises:
            NotFoundError: no job has this id.
        """
        document = await self._collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}})
        if document is None:
            raise NotFoundError("job", job_id)
        return documents.job(await self._history.restored(document)), unchanged(document)

    @guarded
    async def refusal(self, job: Job, verb: str, same: Mapping[str, Any] | None = None) -> Exception:
        """Return the reason why a guarded change of a job has not happened.

        Args:
            job: as it was read.
            verb: for the message.
            same: the filter of `seen`; without it the state is the reason.

        Returns:
            `NotFoundError`, `EditionChangedError` or `WrongStateError`.
        """
        job_id = {"_id": ObjectId(job.id)}
        document = await self._collection.find_one(job_id | {"state": {"$exists": True}}, {"state": 1})
        if document is None:
            return NotFoundError("job", job.id)
        if same is not None and await self._collection.find_one(both(job_id, same), {"_id": 1}) is None:
            return EditionChangedError("job", job.id)
        return WrongStateError(job.id, str(document["state"]), verb)

    @guarded
    async def patch(
        self,
        job: Job,
        changes: Document,
        group: Document | None = None,
        same: Mapping[str, Any] | None = None,
    ) -> Job:
        """Change fields of a job that is not processing; ``group`` as in `regrouped`, ``same`` as in `refusal`.

        Raises:
            EditionChangedError: the job has changed.
            WrongStateError: the job is processing, or has ended and cannot be delayed.
            TooLargeError: data and meta together exceed their limit.
        """
        guard = statements.patchable(job.id, job.queue, waiting_only=bool({"delayTil", "startBefore"} & changes.keys()))
        if ("data" in changes) != ("meta" in changes):
            other = "meta" if "data" in changes else "data"
            size = payload.check(changes.get("data", changes.get("meta")), "data")
            size += payload.check(dict(getattr(job, other)), other)
            if size > payload.MOST_DATA:
                raise TooLargeError("data and meta", size, payload.MOST_DATA)
            guard |= unsound_statements.content(other, getattr(job, other))
        document = await self._collection.find_one_and_update(
            both(guard, same),
            statements.patch(changes, self._clock.present, group),
            return_document=ReturnDocument.AFTER,
        )
        if document:
            return documents.job(document)
        raise await self.refusal(job, "changed", same)
