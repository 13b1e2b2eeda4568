"""Register the workers of this process and the schemas of their tasks, so that others know what is served."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from jobqueue.services.work.draining import Draining
from jobqueue.store.work.workers import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.services.work.dispatcher import Dispatcher
    from jobqueue.services.work.lanes import Lane
    from jobqueue.store.work.workers import WorkerStore

SIGN_SECONDS: Final = 5.0
"""Seconds between signs of life."""
_FIRST_SECONDS: Final = 0.2
_PUBLISHED_SECONDS: Final = 3600.0
"""Seconds after which a schema is published anew, long before it expires."""
_DIGITS: Final = 32
_REMEMBERED_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 2_000


def worker_name() -> str:
    """Return the name under which this process claims jobs: host, pid and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def about() -> dict[str, Any]:
    """Return the host, the pid and the version of this process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "version": version("jobqueue")}


class WorkerRegistry:
    """Registers the lanes of this process, and the requests of polling workers within the last minute.

    Args:
        store: of the registrations of all processes.
        name: of this process.
        about: its ``host``, ``pid`` and ``version``.
        grace: seconds for which jobs may go on when somebody drains this process.

    Attributes:
        schedules: digests of the schedules that the code of this process declares, by name.
        is_signed: others can see this process.
        drained: workers that poll and that somebody has drained.
    """

    def __init__(self, store: WorkerStore, name: str, about: Mapping[str, Any], grace: float = 0) -> None:
        self._store = store
        self._name = name
        self._about = about
        self._held: list[tuple[Callable[[], Sequence[Lane]], Dispatcher]] = []
        self._published: dict[str, float] = {}
        self._asked: dict[tuple[str, Registration], float] = {}
        self.schedules: dict[str, str] = {}
        self.is_signed = self._have_others = False
        self.drained: frozenset[str] = frozenset()
        self._told: set[str] = set()
        self._known: set[str] = set()
        self.draining = Draining(store.drains, name, grace, lambda: [dispatcher for _, dispatcher in self._held])

    def hold(self, lanes: Callable[[], Sequence[Lane]], dispatcher: Dispatcher) -> None:
        """Register the lanes of a dispatcher while it runs."""
        self._held = [held for held in self._held if not held[1].is_gone]
        self._held.append((lanes, dispatcher))
        self.draining.begun(dispatcher)

    def heard(self, worker: str, queue: str, types: tuple[str, ...] | None) -> None:
        """Note that a polling worker has asked for a job."""
        key = worker, Registration(queue=queue, types=types)
        self._asked.pop(key, None)
        self._asked[key] = time.monotonic()
        if len(self._asked) > _MOST_REMEMBERED:
            self._asked.pop(next(iter(self._asked)))

    async def is_drained(self, worker: str) -> bool:
        """Tell whether a worker that asks for a job is to leave, as `is_told_to_leave`.

        The database is asked about a worker that has not asked this process lately.
        """
        if worker not in self._known and worker not in self.drained:
            if await self._store.drains.of([worker]):
                self.drained |= {worker}
            elif len(self._known) < _MOST_REMEMBERED:
                self._known.add(worker)
        return self.is_told_to_leave(worker)

    def is_told_to_leave(self, worker: str) -> bool:
        """Tell whether a worker that asks for a job is drained; then it is told so, and counts as gone."""
        if worker not in self.drained:
            return False
        self._asked = {key: at for key, at in self._asked.items() if key[0] != worker}
        self._told.add(worker)
        return True

    async def run_once(self) -> float | None:
        """Renew all registrations; return the seconds until the next look if there was no worker yet."""
        posts: dict[str, Sequence[Registration]] = {}
        is_there = any(dispatcher.is_there or dispatcher.running for _, dispatcher in self._held)
        mine = [
            Registration(
                queue=lane.queue, types=lane.types, excluded=lane.excluded, schemas=await self._schemas(lane.schemas())
            )
            for lanes, dispatcher in self._held
            if dispatcher.is_running
            for lane in lanes()
        ]
        # A process that stops or drains claims nothing, and still runs what it has claimed.
        stays = bool(mine) or self.draining.is_begun or any(dispatcher.is_busy for _, dispatcher in self._held)
        if self.is_signed and (self.draining.is_over or not is_there):
            await self.leave()
            self.draining.end()
        elif self.is_signed and not stays:
            self.is_signed = not await self._store.leave_undrained(self._name)
        if is_there and (mine or self.is_signed):
            posts[self._name] = mine
        recent = time.monotonic() - _REMEMBERED_SECONDS
        self._asked = {key: at for key, at in self._asked.items() if at > recent}
        told, self._told = self._told, set()
        posts |= dict.fromkeys(told, ())
        for worker, post in self._asked:
            # A drained worker takes no jobs any more.
            posts[worker] = () if worker in self.drained else [*posts.get(worker, ()), post]
        drains = await self._store.sign(
            posts, process=self._name, about=self._about, schedules=self.schedules, told=told
        )
        self.drained = frozenset(drains) - {self._name}
        self._known = set(posts) - self.drained
        if self._name in posts:
            self.draining.follow(drains.get(self._name))
        self.is_signed = self.is_signed or self._name in posts
        self._have_others = self._have_others or bool(self._asked)
        return None if self.is_signed or self._have_others else _FIRST_SECONDS

    async def _schemas(self, schemas: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return the ids of schemas by their types, after they were published."""
        ids = {kind: hashlib.sha256(schema.encode()).hexdigest()[:_DIGITS] for kind, schema in schemas.items()}
        old = time.monotonic() - _PUBLISHED_SECONDS
        due = {ids[kind]: schema for kind, schema in schemas.items() if self._published.get(ids[kind], old) <= old}
        await self._store.publish(due)
        self._published |= dict.fromkeys(due, time.monotonic())
        return tuple(sorted(ids.items()))

    async def close(self) -> None:
        """Stop waiting for a drain, and `leave`."""
        self.draining.close()
        await self.leave()

    async def leave(self) -> None:
        """Remove the registration of this process; polling workers may ask another process."""
        if self.is_signed:
            await self._store.leave([self._name])
            self.is_signed = False
