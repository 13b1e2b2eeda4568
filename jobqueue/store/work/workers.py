"""The `workers` collection: who claims from which queues, as far as it was heard of lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.store.mongo.database import Database

ALIVE_SECONDS: Final = 30.0
"""How long after its last sign a worker counts as alive."""
_KEPT_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One thing that a worker claims: jobs of a queue, of some types or (``None``) of any but the excluded ones."""

    queue: str
    types: tuple[str, ...] | None
    excluded: tuple[str, ...] = ()

    def takes(self, queue: str, kind: str) -> bool:
        """Tell whether a job of this queue and type is one for it."""
        is_type = kind in self.types if self.types is not None else kind not in self.excluded
        return queue == self.queue and is_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker, what it claims, and when it was last heard of."""

    name: str
    posts: tuple[Registration, ...]
    at: datetime


class WorkerStore:
    """Documents ``{_id: name, posts: [{queue, types, excluded}], at, expireAt, isProcess?}``.

    They are gone a day after their last sign. A process signs for itself, and also for the workers that poll it: only
    its own sign says that the worker lives.
    """

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("workers")

    @guarded
    async def sign(self, posts: dict[str, Sequence[Registration]], *, process: str | None = None) -> None:
        """Note that these workers are there and what they claim; one of them may be the process that says so."""
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
        """Note that these workers have gone."""
        await self.collection.delete_many({"_id": {"$in": list(names)}})

    @guarded
    async def alive(self) -> list[Worker]:
        """Return the workers that were heard of within `ALIVE_SECONDS`."""
        recent = {"$gte": ["$at", {"$subtract": [self._clock.present, int(ALIVE_SECONDS * 1000)]}]}
        return [_worker(document) async for document in self.collection.find({"$expr": recent})]

    def _update(self, posts: Sequence[Registration], *, is_process: bool) -> list[dict[str, Any]]:
        stored = [
            {
                "queue": post.queue,
                "types": None if post.types is None else list(post.types),
                "excluded": list(post.excluded),
            }
            for post in posts
        ]
        return [
            {
                "$set": {
                    "posts": {"$literal": stored},
                    "at": self._clock.present,
                    **({"isProcess": True} if is_process else {}),
                    "expireAt": {"$add": [self._clock.present, _KEPT_MS]},
                }
            }
        ]


def _worker(document: dict[str, Any]) -> Worker:
    posts = tuple(
        Registration(
            queue=str(post.get("queue")),
            types=None if post.get("types") is None else tuple(post["types"]),
            excluded=tuple(post.get("excluded") or ()),
        )
        for post in document.get("posts") or ()
    )
    return Worker(name=str(document["_id"]), posts=posts, at=document["at"])
