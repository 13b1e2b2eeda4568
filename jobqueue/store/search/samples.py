"""Samples of the newest jobs, with a bound on the jobs, the values and the time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.external.documents import has_few_values
from jobqueue.domain.search.suggestions import Sample
from jobqueue.store.documents import attributes
from jobqueue.store.mongo.database import guarded, is_too_slow
from jobqueue.store.mongo.driver import PyMongoError, aggregate, timeout
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST_SAMPLED: Final = 2_000
MOST_VALUES: Final = 50_000
"""Different values in a sample; it is complete with them."""
SAMPLE_SECONDS: Final = 2.0
_AT_ONCE: Final = 200
_MOST_QUEUES: Final = 30
"""Queues of a scope that are read in the order of one index; MongoDB merges at most 200 ranges of it."""
_SHOWN: Final = {"_id": 0, "state": 1, "queue": 1, "type": 1, "schedule": 1, "error.kind": 1, "meta": 1}
_NEWEST: Final = {"insertAt": -1, "_id": -1}


class SampleStore:
    """Reads samples of jobs."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def newest(self, scope: Scope) -> Sample:
        """Return a sample of the newest jobs of a scope.

        Of many queues, or values that no index has, it holds those of the newest jobs of all that are in the scope.
        """
        sample, ends = Sample(), time.monotonic() + SAMPLE_SECONDS
        try:
            with timeout(SAMPLE_SECONDS):
                queues = await self._queues(scope) if scope.queues and not scope.meta else []
                pipeline, index = newest(scope, queues)
                async for document in await aggregate(self._jobs, pipeline, hint=index, batchSize=_AT_ONCE):
                    _add(sample, document, scope)
                    if sample.values >= MOST_VALUES or time.monotonic() >= ends:
                        break
        except PyMongoError as error:
            if not is_too_slow(error):
                raise
        return sample

    async def _queues(self, scope: Scope) -> list[str]:
        names = await self._jobs.distinct("queue")
        return [name for name in names if isinstance(name, str) and scope.has_queue(name)]


def newest(scope: Scope, queues: Sequence[str]) -> tuple[list[Document], str]:
    """Return the pipeline of the newest jobs of a scope, and its index.

    Args:
        scope: of the caller.
        queues: the names of its queues, where only queues limit it.
    """
    query: Document = {}
    index = "newest"
    indexed = attributes.indexed(*scope.meta[0]) if scope.meta else {}
    if indexed.get(attributes.FIELD) is not None:
        query, index = indexed, "newestOfAttribute"
    elif scope.queues and not scope.meta and len(queues) <= _MOST_QUEUES:
        query = {"queue": {"$in": list(queues)}, "state": {"$in": [state.value for state in State]}}
        index = "newestOfQueue"
    return [{"$match": query}, {"$sort": _NEWEST}, {"$limit": MOST_SAMPLED}, {"$project": _SHOWN}], index


def _add(sample: Sample, document: Document, scope: Scope) -> None:
    """Count a job, unless it lies outside of a scope or another tool has spoilt it."""
    meta: Any = attributes.plain(document.get("meta"))
    state, queue = typed(str, document.get("state")), typed(str, document.get("queue"))
    if state is None or queue is None or not isinstance(meta, dict) or not has_few_values(meta):
        return
    if not scope.has_queue(queue) or not scope.has_meta(meta):
        return
    error = document.get("error")
    kind = typed(str, error.get("kind")) if isinstance(error, dict) else None
    fields = {"state": state, "queue": queue, "error.kind": kind}
    sample.add(fields | {name: typed(str, document.get(name)) for name in ("type", "schedule")}, meta)
