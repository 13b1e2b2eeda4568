"""Changes of a job by a person who may have seen another edition of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.errors import EditionChangedError, NotFoundError, TooLargeError, WrongStateError
from jobqueue.domain.jobs import payload
from jobqueue.store.documents import documents, edition_statements, statements, unsound_statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import ReturnDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.history import HistoryStore
    from jobqueue.store.mongo.database import Database


class EditionStore:
    """Reads jobs together with a filter for their edition, and changes them."""

    def __init__(self, database: Database, history: HistoryStore) -> None:
        self._collection = database.collection("jobs")
        self._history = history
        self._clock = database.clock

    @guarded
    async def seen(self, job_id: str) -> tuple[Job, Document]:
        """Return a job with its whole history, and the filter that matches it as long as nobody changes it.

        Raises:
            NotFoundError: there is none of this id.
        """
        document = await self._collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}})
        if document is None:
            raise NotFoundError("job", job_id)
        return documents.job(await self._history.restored(document)), edition_statements.unchanged(document)

    @guarded
    async def refusal(self, job: Job, verb: str, same: Mapping[str, Any] | None = None) -> Exception:
        """Return the error that says why a guarded change of a job has not happened.

        Args:
            job: as it was read.
            verb: for the message.
            same: the filter that `seen` returned; without it the state is the reason.

        Returns:
            `NotFoundError`, `EditionChangedError` or `WrongStateError`.
        """
        job_id = {"_id": ObjectId(job.id)}
        document = await self._collection.find_one(job_id | {"state": {"$exists": True}}, {"state": 1})
        if document is None:
            return NotFoundError("job", job.id)
        if (
            same is not None
            and await self._collection.find_one(edition_statements.both(job_id, same), {"_id": 1}) is None
        ):
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
            EditionChangedError: it is not the same any more.
            WrongStateError: it is processing, or has ended and was to be delayed.
            TooLargeError: data and meta are over their limit together.
        """
        guard = statements.patchable(job.id, job.queue, waiting_only="delayTil" in changes)
        if ("data" in changes) != ("meta" in changes):
            other = "meta" if "data" in changes else "data"
            size = payload.check(changes.get("data", changes.get("meta")), "data") + payload.check(
                dict(getattr(job, other)), other
            )
            if size > payload.MOST_DATA:
                raise TooLargeError("data and meta", size, payload.MOST_DATA)
            guard |= unsound_statements.content(other, getattr(job, other))
        document = await self._collection.find_one_and_update(
            edition_statements.both(guard, same),
            statements.patch(changes, self._clock.present, group),
            return_document=ReturnDocument.AFTER,
        )
        if document:
            return documents.job(document)
        raise await self.refusal(job, "changed", same)
