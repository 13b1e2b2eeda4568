"""The `workers` collection: the workers that gave a sign of life lately, and the jobs that they claim."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.queues.needs import ABILITIES
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.store.mongo.database import Database

ALIVE_SECONDS: Final = 30.0
"""Seconds for which a worker counts as alive after its last sign."""
_KEPT_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A claim of a worker on jobs of a queue: of some types or, with ``None``, of all but the excluded types."""

    queue: str
    types: tuple[str, ...] | None
    excluded: tuple[str, ...] = ()

    def takes(self, queue: str, kind: str) -> bool:
        """Return True if the worker claims jobs of this queue and type."""
        is_type = kind in self.types if self.types is not None else kind not in self.excluded
        return queue == self.queue and is_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker, its registrations, and the time of its last sign of life.

    Attributes:
        abilities: of the process that claims for it, as `needs` lists them; of an older version none.
    """

    name: str
    posts: tuple[Registration, ...]
    at: datetime
    abilities: tuple[str, ...] = ()


class WorkerStore:
    """Documents ``{_id: name, posts: [{queue, types, excluded}], at, expireAt, abilities, isProcess?}``.

    A document expires a day after the last sign. A process signs for itself, and for the workers that poll it. Only
    the sign of a worker's own process shows that the worker lives.
    """

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("workers")

    @guarded
    async def sign(self, posts: dict[str, Sequence[Registration]], *, process: str | None = None) -> None:
        """Note the signs of life of workers and their registrations; ``process`` is the one that signs for itself."""
        if posts:
            await self.collection.bulk_write(
                [
                    UpdateOne({"_id": name}, self._update(held, is_process=name == process), upsert=True)
                    for name, held in posts.items()
                ],
                ordered=False,
            )

    @guarded
    async def leave(self, names: Sequence[str]) -> None:
        """Forget workers that have left."""
        await self.collection.delete_many({"_id": {"$in": list(names)}})

    @guarded
    async def alive(self) -> list[Worker]:
        """Return the workers whose last sign is at most `ALIVE_SECONDS` old."""
        recent = {"$gte": ["$at", {"$subtract": [self._clock.present, int(ALIVE_SECONDS * 1000)]}]}
        return [_worker(document) async for document in self.collection.find({"$expr": recent})]

    def _update(self, posts: Sequence[Registration], *, is_process: bool) -> list[dict[str, Any]]:
        now = self._clock.present
        stored = {"$literal": [asdict(post) for post in posts]}
        changed: dict[str, Any] = {"posts": stored, "at": now, "expireAt": {"$add": [now, _KEPT_MS]}}
        changed["abilities"] = list(ABILITIES)
        return [{"$set": changed | ({"isProcess": True} if is_process else {})}]


def _worker(document: dict[str, Any]) -> Worker:
    posts = tuple(
        Registration(
            queue=str(post.get("queue")),
            types=None if post.get("types") is None else tuple(post["types"]),
            excluded=tuple(post.get("excluded") or ()),
        )
        for post in document.get("posts") or ()
    )
    known = document.get("abilities")
    abilities = tuple(str(ability) for ability in known) if isinstance(known, list) else ()
    return Worker(name=str(document["_id"]), posts=posts, at=document["at"], abilities=abilities)
