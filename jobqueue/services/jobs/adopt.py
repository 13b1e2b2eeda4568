"""Taking over the jobs that other tools have put into the database.

A document with a type is enough: it gets the defaults of its queue and runs. One that cannot be understood becomes a
failed job that says why, and so does a job that somebody has spoilt with another tool afterwards. Until then nobody
claims it, so that it is in nobody's way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseError, InvalidInputError, KeyConflictError
from jobqueue.domain.external import documents as external
from jobqueue.domain.jobs.states import State
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
ADOPT_SECONDS: Final = 5.0
"""Between looks, should a change be missed."""


class Adopter:
    """Makes jobs of documents that this package has not written."""

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
        """Do it for all that are there; what cannot be taken over holds up nothing else.

        Returns:
            No seconds at all if there is more to do now.
        """
        more = False
        await self._store.mark_spoilt()
        async for some in self._store.pages():
            done = await asyncio.gather(*(self._take(one) for one in some), return_exceptions=True)
            for one in done:
                if isinstance(one, BaseException):
                    raise one
                more = more or one
        return 0 if more else None

    async def _take(self, document: dict[str, Any]) -> bool:
        """Take over a document; tell whether there is another one now because of that."""
        try:
            return await self._look(document)
        except DatabaseError:
            raise
        except Exception as error:
            log.exception("a document of another tool cannot be taken over", id=str(document["_id"]))
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
        found = external.read(plain(document), documents.content_size(document))
        problems = found.problems
        job = None
        if found.new is not None:
            try:
                job = await self._make(document, found.new, found.notes)
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
        key = config.limit_key(document.get("data") or {}, document.get("meta") or {}) if config.grouped else None
        return await self._store.adopt(document, config.fill(new), key, notes)

    async def _announce(self, job: Job) -> None:
        if job.outbox:
            await self._outboxes.cascade(job.id)
        kinds = {State.PENDING: "ready", State.DELAYED: "delayed"}
        if job.state in kinds:
            self._notifier.tell(Wakeup(kind=kinds[job.state], queue=job.queue))
