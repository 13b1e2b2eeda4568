"""One question a second for all that a process may have to do, in place of one for each loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.store.bulk import failure_statements, operation_statements
from jobqueue.store.bulk.operation_documents import ACTIONS
from jobqueue.store.documents import statements
from jobqueue.store.insight import audit_statements
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.queues.config import WITH_TIME, snapshot
from jobqueue.store.work import expiry_statements
from jobqueue.store.workflow import addition_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.queues.config import ConfigSnapshot

_AHEAD_MS: Final = 1_500
"""Milliseconds; work that is due within them counts as due, because the loop then knows the moment itself."""
_OUTBOX: Final = {"outbox": {"$exists": True}}
_FOR_EVER: Final = 1e12
_DATE: Final = {"$type": "date"}


def _soon(field: str) -> Document:
    return {field: _DATE} | _until_soon(field)


def _until_soon(field: str) -> Document:
    return {"$expr": {"$lte": [f"${field}", {"$add": [SERVER_NOW, _AHEAD_MS]}]}}


PARTS: Final[Mapping[str, tuple[tuple[str, Document], ...]]] = {
    "ready": (("jobs", {"state": State.PENDING.value}),),
    "delayed": (("jobs", {"state": State.DELAYED.value} | _soon("delayTil")),),
    "expired": (("jobs", expiry_statements.to_expire() | _until_soon(expiry_statements.FIELD)),),
    "hanging": (("jobs", statements.expired(SERVER_NOW, _FOR_EVER)),),
    "outboxes": (("jobs", _OUTBOX), ("batches", _OUTBOX)),
    "unread": (("jobs", {statements.UNREAD: True}),),
    "failures": (("jobs", failure_statements.unmarked()),),
    "operations": (("operations", operation_statements.free(ACTIONS)),),
    "additions": (("batches", addition_statements.overdue()),),
    "schedules": (("schedules", _soon("nextAt")),),
    "audit": (
        ("config", {"_id": "config", **audit_statements.WAITING}),
        ("schedules", audit_statements.WAITING),
        ("operations", audit_statements.WAITING),
        ("alerts", audit_statements.WAITING),
    ),
    "alerts": (("alerts", {"$nor": [audit_statements.GONE]}),),
}
"""The filters, by collection, of the work of each loop; each has an index that holds little else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseAnswer:
    """The answer of the database.

    Attributes:
        config: all configurations of queues.
        due: the parts with work.
        at: the server's time.
    """

    config: ConfigSnapshot
    due: frozenset[str]
    at: datetime


class PulseStore:
    """Asks for the work of several loops at once."""

    def __init__(self, database: Database) -> None:
        self._config = database.collection("config")
        self._clock = database.clock

    @guarded
    async def look(self, parts: Iterable[str]) -> PulseAnswer:
        """Return the configuration, and which parts have work."""
        answer: dict[str, Any] | None = None
        due: set[str] = set()
        async for row in await aggregate(self._config, pipeline(parts)):
            if "part" in row:
                due.add(row["part"])
            else:
                answer = row
        if answer is None:
            # A router answers nothing of a database without collections.
            answer = {"found": [], "at": await self._clock.ask()}
        return PulseAnswer(config=snapshot(answer), due=frozenset(due), at=answer["at"])


def pipeline(parts: Iterable[str]) -> list[Document]:
    """Return the pipeline on `config`."""
    unions: list[Document] = [
        {
            "$unionWith": {
                "coll": collection,
                "pipeline": [{"$match": query}, {"$limit": 1}, {"$project": {"_id": 0, "part": {"$literal": part}}}],
            }
        }
        for part in parts
        for collection, query in PARTS[part]
    ]
    return [*WITH_TIME, *unions]
