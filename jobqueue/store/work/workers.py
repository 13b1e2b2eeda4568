"""The `workers` collection: the workers that gave a sign of life lately, and the jobs that they claim."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.queues.needs import ABILITIES
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import ReturnDocument, UpdateOne
from jobqueue.store.mongo.odd_values import date_or_none, texts
from jobqueue.store.work import drains

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from jobqueue.domain.work.drain import Drain
    from jobqueue.store.mongo.database import Database

ALIVE_SECONDS: Final = 30.0
"""Seconds for which a worker counts as alive after its last sign."""
_PAIR: Final = 2
_KEPT_MS: Final = 86_400_000
ABOUT: Final = ("host", "pid", "version", "since")
"""Fields of a process."""
_SHOWN: Final = dict.fromkeys(("posts", "at", "abilities", drains.FIELD, drains.KNOWN, *ABOUT), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A claim of a worker on jobs of a queue: of some types or, with ``None``, of all but the excluded types.

    Attributes:
        schemas: pairs of a type and the id of the JSON Schema of its data, as far as that is known.
    """

    queue: str
    types: tuple[str, ...] | None
    excluded: tuple[str, ...] = ()
    schemas: tuple[tuple[str, str], ...] = ()

    def takes(self, queue: str, kind: str) -> bool:
        """Return True if the worker claims jobs of this queue and type."""
        is_type = kind in self.types if self.types is not None else kind not in self.excluded
        return queue == self.queue and is_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker, its registrations, and the time of its last sign of life.

    Attributes:
        abilities: of the process that claims for it, as `needs` lists them; of an older version none.
        is_alive: its last sign is at most `ALIVE_SECONDS` old.
        about: the host, the pid, the version and the start of its process, as far as they are known.
        schedules: pairs of a schedule that its code declares and the digest of the definition.
        drain: that somebody has asked for.
        drains: its process knows drains.
    """

    name: str
    posts: tuple[Registration, ...]
    at: datetime
    abilities: tuple[str, ...] = ()
    is_alive: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)
    schedules: tuple[tuple[str, str], ...] = ()
    drain: Drain | None = None
    drains: bool = False


class WorkerStore:
    """Documents ``{_id: name, posts: [{queue, types, excluded, schemas}], at, expireAt, abilities, drain?, …}``.

    A process also has ``isProcess``,
    ``host``, ``pid``, ``version``, ``since`` and ``schedules``. The collection `schemas` has what
    posts refer to: ``{_id, schema, expireAt}``, with the schema as the text of its JSON. A document expires a day
    after the last sign. A process signs for itself, and for the workers that poll it. Only the sign of a worker's own
    process shows that the worker lives.
    """

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("workers")
        self.drains = drains.DrainStore(database)
        self._schemas = database.collection("schemas")

    @guarded
    async def sign(
        self,
        posts: Mapping[str, Sequence[Registration]],
        *,
        process: str | None = None,
        about: Mapping[str, Any] | None = None,
        schedules: Mapping[str, str] | None = None,
        told: Collection[str] = (),
    ) -> dict[str, Drain]:
        """Note the signs of life of workers and their registrations; return their drains by name.

        The sign of a process is one command that also reads its drain.

        Args:
            posts: registrations by the name of the worker.
            process: the worker that signs for itself.
            about: the process: ``host``, ``pid`` and ``version``.
            schedules: digests of the schedules that the code of the process declares, by name.
            told: workers that poll and were told of their drain since the last sign.
        """
        process_fields = {**(about or {}), "schedules": {"$literal": sorted((schedules or {}).items())}}
        found: dict[str, Drain] = {}
        if process is not None and process in posts:
            own = [{"$set": self._signed(posts[process]) | self._process(process_fields)}]
            shown = {drains.FIELD: 1}
            after = ReturnDocument.AFTER
            document = await self.collection.find_one_and_update(
                {"_id": process}, own, shown, upsert=True, return_document=after
            )
            if (drain := drains.read(document)) is not None:
                found[process] = drain
        others = {name: held for name, held in posts.items() if name != process}
        if others:
            now = self._clock.present
            await self.collection.bulk_write(
                [
                    UpdateOne(
                        {"_id": name},
                        [{"$set": self._signed(held) | drains.kept(now, is_told=name in told)}],
                        upsert=True,
                    )
                    for name, held in others.items()
                ],
                ordered=False,
            )
            found |= await self.drains.of(list(others))
        return found

    @guarded
    async def leave(self, names: Sequence[str]) -> None:
        """Forget workers that have left."""
        await self.collection.delete_many({"_id": {"$in": list(names)}})

    @guarded
    async def leave_undrained(self, name: str) -> bool:
        """Forget a worker that has left, and return True; one with a drain, which it has to read, stays."""
        deleted = await self.collection.delete_one({"_id": name, drains.FIELD: {"$exists": False}})
        return deleted.deleted_count > 0

    @guarded
    async def alive(self) -> list[Worker]:
        """Return the workers whose last sign is at most `ALIVE_SECONDS` old.

        A sign far ahead of the present is older: the server's clock was set back.
        """
        dated: Any = {"$cond": [{"$eq": [{"$type": "$at"}, "date"]}, "$at", EPOCH]}
        apart: Any = {"$abs": {"$subtract": [dated, self._clock.present]}}
        recent = {"$lte": [apart, int(ALIVE_SECONDS * 1000)]}
        return _readable([document async for document in self.collection.find({"$expr": recent})])

    @guarded
    async def page(self, after: str | None, limit: int) -> list[Worker]:
        """Return workers that gave a sign within the last day, living and silent ones, by name."""
        recent = {"$gte": ["$at", {"$subtract": [self._clock.present, int(ALIVE_SECONDS * 1000)]}]}
        query = {} if after is None else {"_id": {"$gt": after}}
        found = self.collection.find(query, {"isAlive": recent, **_SHOWN}).sort("_id", 1).limit(limit)
        return _readable([document async for document in found])

    @guarded
    async def publish(self, schemas: Mapping[str, str]) -> None:
        """Keep JSON Schemas by their ids for a day from now."""
        until = {"$add": [self._clock.present, _KEPT_MS]}
        writes = [
            UpdateOne({"_id": name}, [{"$set": {"schema": {"$literal": schema}, "expireAt": until}}], upsert=True)
            for name, schema in schemas.items()
        ]
        if writes:
            await self._schemas.bulk_write(writes, ordered=False)

    @guarded
    async def schemas(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the JSON Schemas that are kept, by their ids."""
        found = self._schemas.find({"_id": {"$in": sorted(ids)}})
        return {str(document["_id"]): str(document["schema"]) async for document in found}

    @guarded
    async def one(self, name: str) -> Worker | None:
        """Return a worker that gave a sign within the last day, living or silent; ``None`` if there is none."""
        recent = {"$gte": ["$at", {"$subtract": [self._clock.present, int(ALIVE_SECONDS * 1000)]}]}
        document = await self.collection.find_one({"_id": name}, {"isAlive": recent, **_SHOWN})
        return next(iter(_readable([document] if document else [])), None)

    def _signed(self, posts: Sequence[Registration]) -> dict[str, Any]:
        now = self._clock.present
        stored = {"$literal": [asdict(post) for post in posts]}
        return {"posts": stored, "at": now, "expireAt": {"$add": [now, _KEPT_MS]}, "abilities": list(ABILITIES)}

    def _process(self, about: Mapping[str, Any]) -> dict[str, Any]:
        now = self._clock.present
        return {"isProcess": True, drains.KNOWN: True, "since": {"$ifNull": ["$since", now]}, **about}


def _readable(documents: Iterable[dict[str, Any]]) -> list[Worker]:
    """Return workers; documents that another tool has spoilt are left out."""
    workers = []
    for document in documents:
        with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError):
            workers.append(_worker(document))
    return workers


def _worker(document: dict[str, Any]) -> Worker:
    posts = tuple(
        Registration(
            queue=str(post.get("queue")),
            types=None if post.get("types") is None else texts(post["types"]),
            excluded=texts(post.get("excluded")),
            schemas=_pairs(post.get("schemas")),
        )
        for post in document.get("posts") or ()
    )
    known = document.get("abilities")
    abilities = tuple(str(ability) for ability in known) if isinstance(known, list) else ()
    return Worker(
        name=str(document["_id"]),
        posts=posts,
        at=date_or_none(document.get("at")) or EPOCH,
        abilities=abilities,
        is_alive=document.get("isAlive") is not False,
        about=_about(document),
        schedules=_pairs(document.get("schedules")),
        drain=drains.read(document),
        drains=document.get(drains.KNOWN) is True,
    )


def _about(document: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a process: texts, the number ``pid``, and the date ``since``."""
    kinds = {"host": str, "pid": int, "version": str, "since": datetime}
    return {name: document[name] for name, kind in kinds.items() if isinstance(document.get(name), kind)}


def _pairs(stored: object) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a stored list; a spoilt one does not hide its worker, for whom others may have to wait."""
    entries = stored if isinstance(stored, list) else []
    return tuple((str(each[0]), str(each[1])) for each in entries if isinstance(each, list) and len(each) == _PAIR)
