"""Adopt documents that other tools have put into the database as jobs.

A document needs only a type: the job gets the defaults of its queue and runs. A document that cannot be read becomes a
failed job that says why; so does a job that another tool has spoilt. No worker claims such a document before that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseError, InvalidInputError, KeyConflictError
from jobqueue.domain.external import documents as external
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.documents.attributes import plain
from jobqueue.store.documents.unsound_statements import SPOILT
from jobqueue.store.external import adoption as documents
from jobqueue.store.external import unsound
from jobqueue.store.jobs.jobs import FULL_BYTES

if TYPE_CHECKING:
    from jobqueue.domain.errors import Problems
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.services.outbox.dependencies import Dependencies
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.external.adoption import ExternalStore

log = get_logger(__name__)
ADOPT_SECONDS: Final = 10.0
"""Seconds between looks, should a change be missed."""


class Adopter:
    """Adopts documents that this package has not written."""

    def __init__(
        self,
        store: ExternalStore,
        dependencies: Dependencies,
        outboxes: Outboxes,
        configs: QueueConfigs,
        notifier: Notifier,
    ) -> None:
        self._store = store
        self._dependencies = dependencies
        self._outboxes = outboxes
        self._configs = configs
        self._notifier = notifier

    async def run_once(self) -> float | None:
        """Adopt all documents that are there; a document that fails does not block the others.

        Returns:
            0 seconds if there is more to do now.
        """
        more = False
        await self._store.mark_spoilt()
        async for page in self._store.pages():
            done = await asyncio.gather(*(self._take(document) for document in page), return_exceptions=True)
            for result in done:
                if isinstance(result, BaseException):
                    raise result
                more = more or result
        return 0 if more else None

    async def _take(self, document: dict[str, Any]) -> bool:
        """Adopt a document; return true if that has made another document to adopt."""
        try:
            return await self._look(document)
        except DatabaseError:
            raise
        except Exception as error:
            log.exception("document not adopted", id=str(document["_id"]))
            return await self._reject(document, f"it cannot be changed: {type(error).__name__}")

    async def _reject(self, document: dict[str, Any], why: str) -> bool:
        try:
            return await self._store.reject(document, why)
        except DatabaseError:
            raise
        except Exception:
            log.exception("document not rejected", id=str(document["_id"]))
            return False

    async def _look(self, document: dict[str, Any]) -> bool:
        if documents.is_remains(document):
            return False
        size = documents.size(document)
        if size > FULL_BYTES:
            why = f"takes {size:,} bytes; the limit is {FULL_BYTES:,}"
            return await self._store.reject(document, why)
        if documents.needs_moving(document):
            return await self._store.move(document)
        if external.is_over(document):
            await self._store.keep(document)
        else:
            await self._adopt(document)
        return False

    async def _adopt(self, document: dict[str, Any]) -> None:
        if document.get(SPOILT) and (faults := unsound.faults(document)):
            await self._refuse(document, faults)
            return
        reading = external.read(plain(document), documents.content_size(document))
        problems = reading.problems
        job = None
        if reading.new is not None:
            try:
                job = await self._make(document, reading.new, reading.notes)
            except InvalidInputError as error:
                problems = error.problems
            except KeyConflictError as error:
                problems = {"key": [f"is held: {error}"]}
        if problems:
            await self._refuse(document, problems)
        elif job is not None:
            await self._announce(job)

    async def _refuse(self, document: dict[str, Any], problems: Problems) -> None:
        job = await self._store.refuse(document, external.reason(problems))
        log.warning("document refused", id=str(document["_id"]), reason=external.reason(problems))
        if job is not None:
            await self._announce(job)

    async def _make(self, document: dict[str, Any], new: NewJob, notes: dict[str, list[str]]) -> Job | None:
        config = await self._configs.fresh(new.queue)
        await self._dependencies.mark_for(new)
        key = config.limit_key(document.get("data") or {}, document.get("meta") or {})
        return await self._store.adopt(document, config.fill(new), key, notes)

    async def _announce(self, job: Job) -> None:
        if job.outbox:
            await self._outboxes.cascade(job.id)
        kinds = {State.PENDING: "ready", State.DELAYED: "delayed"}
        if job.state in kinds:
            self._notifier.tell(Wakeup(kind=kinds[job.state], queue=job.queue))
