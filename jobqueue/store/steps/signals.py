"""Signals of jobs: kept in the document of the job, with large values in the collection `steps`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import InvalidInputError, NotFoundError, TooLargeError
from jobqueue.domain.steps.signal import INLINE_VALUE, MOST_WAITING
from jobqueue.domain.steps.step import MOST_STEPS
from jobqueue.store.documents import documents, signal_statements, statements
from jobqueue.store.mongo.database import guarded, new_id, translated
from jobqueue.store.mongo.driver import ReturnDocument
from jobqueue.store.steps import step_statements

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_ADVICE: Final = "split the work into jobs of their own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """The job as a signal found it.

    Attributes:
        state: of the job before.
        is_known: the job had the signal already.
        is_full: too many signals of the job wait.
        is_answered: the question of the signal was answered before.
    """

    state: str
    is_known: bool
    is_full: bool
    is_answered: bool

    @property
    def is_kept(self) -> bool:
        """True if the signal was new, and is kept."""
        return not (self.state in FINAL or self.is_known or self.is_full or self.is_answered)


class SignalStore:
    """Keeps signals of jobs, and hands them to the steps that wait for them; each by one update of the job."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._values = database.collection("steps")

    @guarded
    async def send(
        self,
        job: Job,
        name: str,
        value: Any,
        *,
        size: int,
        signal_id: str | None,
        by: str,
        question: str | None,
    ) -> tuple[str, Arrival]:
        """Keep a signal, unless the job has ended or has it already; return its id and the job as it was.

        Args:
            job: its id and queue count.
            name: of the signal.
            value: as it can be stored.
            size: bytes of the value.
            signal_id: of the request; ``None`` makes one.
            by: the name of the sender.
            question: as in `signal_statements.arrival`.

        Raises:
            NotFoundError: there is no such job any more.
        """
        entry: Document = {"id": signal_id or new_id(), "name": name, "by": by, "size": size}
        if size <= INLINE_VALUE:
            return entry["id"], await self._send(job, entry | {"value": value}, question)
        stored_id = ObjectId(new_id())
        document = {"_id": stored_id, "jobId": ObjectId(job.id), "queue": job.queue, "run": job.run}
        await self._values.insert_one(document | {"signal": name, "result": value})
        try:
            with translated():
                arrival = await self._send(job, entry | {"stored": True, "storedId": stored_id}, question)
        except (NotFoundError, TooLargeError):
            # The deletion of the job may have looked for its values before, and a full document takes no signal.
            await self._values.delete_one({"_id": stored_id})
            raise
        if not arrival.is_kept:
            await self._values.delete_one({"_id": stored_id})
        return entry["id"], arrival

    @guarded
    async def begin(self, job: Job, token: str, name: str, signal: str, *, seconds: float | None) -> Step | None:
        """Return a step that waits for a signal; it has finished if the signal was there or its time is over.

        Args:
            job: that runs.
            token: of its claim.
            name: of the step.
            signal: the name of the signal.
            seconds: of the wait, from its first beginning; ``None`` for ever.

        Returns:
            The step; ``None`` if the claim is lost.

        Raises:
            InvalidInputError: the job has too many steps.
        """
        now = self._clock.present
        update = [*signal_statements.begin(name, signal, now, seconds=seconds), *statements.renew(now)]
        fields = {"step": step_statements.named(name)}
        held = statements.held(job.id, job.queue, token)
        after = await self._jobs.find_one_and_update(
            held, update, projection=fields, return_document=ReturnDocument.AFTER
        )
        if after is None:
            return None
        steps = documents.steps(after["step"])
        if not steps:
            raise InvalidInputError({"name": [f"a job has at most {MOST_STEPS:,} steps: {_ADVICE}"]})
        return steps[0]

    @guarded
    async def holder(self, queue: str, key: str) -> str:
        """Return the id of the unfinished job of a queue that has a key.

        Raises:
            NotFoundError: there is none.
        """
        document = await self._jobs.find_one(statements.key_holder(queue, key), {"_id": 1})
        if document is None:
            raise NotFoundError("unfinished job with the key", key)
        return str(document["_id"])

    @guarded
    async def is_open(self, job_id: str, question: str, signal: str, signal_id: str) -> bool:
        """Return True if a job has not ended, has no signal of this name and id, and a step has not finished.

        Raises:
            NotFoundError: there is no such job.
        """
        is_known = signal_statements.known({"name": signal, "id": signal_id})
        found = {"state": 1, "isAnswered": {"$or": [is_known, signal_statements.is_finished(question)]}}
        document = await self._jobs.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}}, found)
        if document is None:
            raise NotFoundError("job", job_id)
        return document["state"] not in FINAL and not document["isAnswered"]

    async def _send(self, job: Job, entry: Document, question: str | None) -> Arrival:
        found: Document = {
            "state": 1,
            "isKnown": signal_statements.known(entry),
            "waiting": {"$size": signal_statements.waiting()},
            "isAnswered": signal_statements.is_finished(question) if question is not None else {"$literal": False},
        }
        before = await self._jobs.find_one_and_update(
            {"_id": ObjectId(job.id), "queue": job.queue, "state": {"$exists": True}},
            signal_statements.arrival(entry, self._clock.present, question=question),
            projection=found,
            return_document=ReturnDocument.BEFORE,
        )
        if before is None:
            raise NotFoundError("job", job.id)
        return Arrival(
            state=str(before["state"]),
            is_known=before["isKnown"],
            is_full=before["waiting"] >= MOST_WAITING,
            is_answered=before["isAnswered"],
        )
