"""The jobs of a batch and the jobs that each depends on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.store.documents import scope_filters
from jobqueue.store.mongo.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Scope
    from jobqueue.store.mongo.database import Database

_FIELDS: Final = ("ref", "type", "queue", "state", "dependsOn", "attemptsMade", "startAt", "endAt")
_BY_BATCH: Final = "newestOfBatch"
_PAGE: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A job of a graph."""

    id: str
    ref: str | None
    type: str
    queue: str
    state: str
    depends_on: tuple[str, ...]
    attempts_made: int
    start_at: datetime | None
    end_at: datetime | None


class GraphStore:
    """Reads the `jobs` collection."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def of(self, batch_id: str, scope: Scope, most: int) -> list[Node]:
        """Return jobs of a batch in the order in which they were added.

        Args:
            batch_id: of the batch.
            scope: only jobs of this scope.
            most: the number of jobs.
        """
        query = scope_filters.within({"batchId": ObjectId(batch_id), "state": {"$exists": True}}, scope)
        order = [("insertAt", 1), ("_id", 1)]
        cursor = self._jobs.find(query, dict.fromkeys(_FIELDS, 1), sort=order, hint=_BY_BATCH)
        return [_node(document) async for document in cursor.limit(most).batch_size(_PAGE)]


def _node(document: dict[str, Any]) -> Node:
    # Another tool may have written anything.
    above = document.get("dependsOn")
    made = document.get("attemptsMade")
    return Node(
        id=str(document["_id"]),
        ref=_text(document.get("ref")),
        type=_text(document.get("type")) or "",
        queue=_text(document.get("queue")) or "",
        state=_text(document.get("state")) or "",
        depends_on=tuple(map(str, above)) if isinstance(above, list) else (),
        attempts_made=made if isinstance(made, int) else 0,
        start_at=_date(document.get("startAt")),
        end_at=_date(document.get("endAt")),
    )


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _date(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None
