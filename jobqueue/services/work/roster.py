"""Workers that gave a sign of life lately, with the jobs that they run, and the types of jobs that they serve."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.work.drain import Drain
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.work.neighbours import NeighbourStore, RunningJob
    from jobqueue.store.work.workers import Registration, Worker, WorkerStore

MOST_LOOKED_AT: Final = 1_000
"""Workers, and running jobs, that one look takes."""
_MOST_KEPT: Final = 1_000
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as others see it.

    Attributes:
        alive: its last sign is younger than 30 s.
        last_sign_at: the date of its last sign.
        queues: its registrations.
        running: jobs that it runs, at most 1,000 of all workers of a page.
        draining: somebody has asked it to leave.
        drains: its process knows drains.
        all_queues: those of its registrations, also outside of the scope, and those before its drain.
    """

    name: str
    alive: bool
    last_sign_at: datetime
    host: str | None
    pid: int | None
    version: str | None
    since: datetime | None
    queues: Sequence[Registration]
    running: Sequence[RunningJob]
    draining: Drain | None = None
    drains: bool = False
    all_queues: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedType:
    """A type of jobs that living workers or the configuration of a queue serve.

    Attributes:
        workers: the number of living workers that name the type.
        processor: ``webhook`` or ``command`` if the configuration of the queue names one for the type.
        schemas: the JSON Schemas of its data, that of the newest worker first.
        is_open: a worker for the type has published no schema, so that any data may be right.
    """

    queue: str
    type: str
    workers: int = 0
    processor: str | None = None
    schemas: Sequence[Schema] = field(default_factory=tuple)
    is_open: bool = False

    @property
    def schema(self) -> Schema | None:
        """The schema of the newest worker."""
        return self.schemas[0] if self.schemas else None


class Roster:
    """Reads who is there.

    Args:
        workers: their signs of life.
        neighbours: the jobs that they run.
        configs: the processors of queues.
    """

    def __init__(self, workers: WorkerStore, neighbours: NeighbourStore, configs: QueueConfigs) -> None:
        self._workers = workers
        self._neighbours = neighbours
        self._configs = configs
        self._schemas: LruCache[str, Schema] = LruCache(_MOST_KEPT)

    async def workers(self, scope: Scope, *, after: str | None, limit: int) -> list[WorkerView]:
        """Return workers of the last day, living and silent ones, by name.

        Args:
            scope: of the caller; workers of other queues and their jobs are left out. A caller who is limited to values
                of meta sees the workers that run one of its jobs now: the others are machines of somebody else.
            after: the name after which the page begins.
            limit: of the page.
        """
        seen = [(worker, _visible(worker, scope)) for worker in await self._workers.page(after, MOST_LOOKED_AT)]
        shown = [(worker, posts) for worker, posts in seen if posts or _is_within(worker, scope)]
        if scope.meta:
            return [view for view in await self._views(shown, scope) if view.running][:limit]
        return await self._views(shown[:limit], scope)

    async def worker(self, name: str, scope: Scope) -> WorkerView | None:
        """Return a worker of the last day; ``None`` if there is none of this name in the scope."""
        worker = await self._workers.one(name)
        if worker is None or not ((posts := _visible(worker, scope)) or _is_within(worker, scope)):
            return None
        [view] = await self._views([(worker, posts)], scope)
        return None if scope.meta and not view.running else view

    async def _views(self, shown: Sequence[tuple[Worker, tuple[Registration, ...]]], scope: Scope) -> list[WorkerView]:
        running: dict[str, list[RunningJob]] = {}
        for job in await self._neighbours.running([worker.name for worker, _ in shown], MOST_LOOKED_AT):
            if scope.has_queue(job.queue) and scope.has_meta(job.meta):
                running.setdefault(job.worker, []).append(job)
        return [_view(worker, posts, running.get(worker.name, [])) for worker, posts in shown]

    async def types(self, scope: Scope) -> list[ServedType]:
        """Return the types that living workers name, and those of configured processors, by queue and type."""
        alive = await self._workers.alive()
        await self._configs.fresh("")
        keys: dict[tuple[str, str], None] = {}
        for worker in alive:
            keys |= {(post.queue, kind): None for post in worker.posts for kind in post.types or ()}
        for queue, config in self._configs.known.items():
            keys |= {(queue, kind): None for kind in config.processors}
        return [await self._served(queue, kind, alive) for queue, kind in sorted(keys) if scope.has_queue(queue)]

    async def served(self, queue: str, kind: str) -> ServedType:
        """Return one type, served or not."""
        return await self._served(queue, kind, await self._workers.alive())

    async def _served(self, queue: str, kind: str, alive: Sequence[Worker]) -> ServedType:
        takers = [
            (worker, post)
            for worker in sorted(alive, key=_age, reverse=True)
            for post in worker.posts
            if post.takes(queue, kind)
        ]
        ids = [dict(post.schemas).get(kind) for _, post in takers]
        known = await self._load(name for name in ids if name is not None)
        processor = self._configs.of(queue).processor_for(kind)
        schemas = [known[name] for name in dict.fromkeys(ids) if name is not None and name in known]
        return ServedType(
            queue=queue,
            type=kind,
            workers=len({worker.name for worker, _ in takers}),
            processor=None if processor is None else type(processor).__name__.removesuffix("Config").lower(),
            schemas=schemas,
            is_open=any(name is None or name not in known for name in ids) or processor is not None,
        )

    async def _load(self, ids: Iterable[str]) -> Mapping[str, Schema]:
        """Return schemas by id; one that has expired is left out."""
        wanted = set(ids)
        missing = [name for name in wanted if self._schemas.get(name) is None]
        if missing:
            for name, text in (await self._workers.schemas(missing)).items():
                self._schemas.keep(name, json.loads(text))
        found = {name: self._schemas.get(name) for name in wanted}
        return {name: schema for name, schema in found.items() if schema is not None}


def _visible(worker: Worker, scope: Scope) -> tuple[Registration, ...]:
    return tuple(post for post in worker.posts if scope.has_queue(post.queue))


def _is_within(worker: Worker, scope: Scope) -> bool:
    """Return True if a worker without registrations is in a scope: one that drains has had some."""
    before = worker.drain.queues if worker.drain is not None else ()
    return (scope.is_everything and not worker.posts) or any(map(scope.has_queue, before))


def _view(worker: Worker, posts: Sequence[Registration], running: Sequence[RunningJob]) -> WorkerView:
    about = worker.about
    return WorkerView(
        name=worker.name,
        alive=worker.is_alive,
        last_sign_at=worker.at,
        host=about.get("host"),
        pid=about.get("pid"),
        version=about.get("version"),
        since=about.get("since"),
        queues=posts,
        running=running,
        draining=worker.drain,
        drains=worker.drains,
        all_queues=[*(post.queue for post in worker.posts), *(worker.drain.queues if worker.drain else ())],
    )


def _age(worker: Worker) -> datetime:
    since: datetime = worker.about.get("since", worker.at)
    return since
